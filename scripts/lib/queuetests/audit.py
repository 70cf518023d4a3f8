# SPDX-License-Identifier: GPL-2.0
"""scripts/audit: a new user of memory makes it fail, and is named."""
# pylint: disable=missing-function-docstring
import os
import shutil

import common

from .case import Case, write

REAL = os.path.join(common.BUILD, "tree")
CODE = """\
/* for_each_online_node() in a comment is none */
static int first(int nid)
{
	if (!node_state(nid, N_MEMORY))
		return say("N_MEMORY");
	return 0;
}

#define LOOP(nid) \\
	for_each_online_node(nid)

static void stub(void)
{}

SYSCALL_DEFINE1(second, int, nid)
{
	struct thing *t;
again:
	t->node_online = nid;
	return alloc(__GFP_THISNODE, nid) + totalram_pages();
}
"""
LIST = """\
# made up
* ok-public-sum Of public memory.
	* totalram_pages

mm/one.c ok-N_MEMORY-excludes Because.
	first N_MEMORY
mm/one.c ok-structural Because.
	#LOOP for_each_online_node
	SYSCALL_DEFINE1(second) __GFP_THISNODE
"""
PLANTED = """
void planted(void)
{
	for_each_online_node(nid)
		alloc_pages_node(nid, GFP_KERNEL, 0);
}
"""


class Audit(Case):
    """A made-up tree and list, then the real ones."""

    def setUp(self):
        super().setUp()
        self.tree = os.path.join(self.tmp, "tree")
        self.files = {"mm/page_alloc.c": "", "mm/one.c": CODE}
        self.allow = LIST

    def audit(self, status, *more):
        write(self.tree, self.files)
        write(self.tmp, {"allow": self.allow})
        return self.run_it("scripts/audit", "--tree", self.tree, "--allow",
                           os.path.join(self.tmp, "allow"), *more,
                           status=status)

    def test_what_was_looked_at_passes(self):
        self.assertIn("4 uses in 1 files", self.audit(0))

    def test_lines_do_not_matter(self):
        self.files["mm/one.c"] = "int x;\n\n" + CODE.replace("{", "{\n\n")
        self.audit(0)

    def test_new_user_is_named(self):
        self.files["drivers/new.c"] = PLANTED
        text = self.audit(1)
        self.assertIn("drivers/new.c: planted: for_each_online_node: 1 uses "
                      "(lines 4), none looked at", text)
        self.assertIn("drivers/new.c: planted: alloc_pages_node", text)

    def test_another_use_in_the_same_function_is_new(self):
        self.files["mm/one.c"] = CODE.replace("return 0", "return N_MEMORY")
        self.assertIn("mm/one.c: first: N_MEMORY: 2 uses (lines 4, 6), 1 "
                      "looked at", self.audit(1))

    def test_same_use_in_another_function_is_new(self):
        self.files["mm/one.c"] = CODE.replace("first(", "other(")
        text = self.audit(1)
        self.assertIn("mm/one.c: other: N_MEMORY: 1 uses", text)
        self.assertIn("mm/one.c: first: N_MEMORY: in the list, line 6, but "
                      "not in the tree", text)

    def test_entries_that_are_gone_fail(self):
        self.files["mm/one.c"] = CODE.replace("N_MEMORY)", "N_CPU)")
        self.assertIn("first: N_MEMORY: in the list", self.audit(1))
        self.files["mm/one.c"] = CODE.replace(" + totalram_pages()", "")
        self.assertIn("*: *: totalram_pages: in the list", self.audit(1))

    def test_other_places_are_not_searched(self):
        for name in ("tools/a.c", "arch/s390/a.c", "mm/tests/a.c",
                     "lib/a_kunit.c", "Documentation/a.c"):
            self.files[name] = PLANTED
        self.audit(0)

    def test_new_entries_complete_the_list(self):
        self.files["net/new.c"] = PLANTED
        new = self.audit(0, "--new")
        self.allow += new.replace("VERDICT REASON", "ok-structural Because.")
        self.assertIn("net/new.c", self.allow)
        self.audit(0)

    def test_defects_are_documented(self):
        self.allow = LIST.replace("ok-N_MEMORY-excludes", "documented-defect")
        self.assertIn("mm/one.c: documented-defect, but", self.audit(1))
        write(self.top, {"Documentation/project/known-defects.md":
                         "| `first()` | wrong |\n"})
        self.audit(0)

    def test_errors(self):
        self.allow = LIST.replace("ok-structural", "ok-whatever")
        self.assertIn("allow:7: wants 'FILE VERDICT REASON'", self.audit(2))
        self.allow = LIST.replace(" Because.", "", 1)
        self.assertIn("allow:5: wants", self.audit(2))
        self.allow = LIST.replace("\tfirst N_MEMORY", "\tfirst N_MEMROY")
        self.assertIn("allow:6: N_MEMROY is no pattern", self.audit(2))
        self.allow = LIST + "\tfirst N_MEMORY\n"
        self.assertIn("listed twice", self.audit(2))
        self.assertIn("no kernel tree in", self.run_it(
            "scripts/audit", "--tree", self.tmp, status=2))

    def test_real_list_notices_a_new_user(self):
        if not os.path.exists(os.path.join(REAL, "mm", "private_node.c")):
            self.skipTest(f"no patched tree in {REAL}: run make kernel first")
        os.makedirs(self.tree)
        for name in os.listdir(REAL):
            if name != "mm":
                os.symlink(os.path.join(REAL, name),
                           os.path.join(self.tree, name))
        shutil.copytree(os.path.join(REAL, "mm"), self.tree + "/mm")
        with open(self.tree + "/mm/compaction.c", "a",
                  encoding="utf-8") as code:
            code.write(PLANTED)
        for name in ("configs", "Documentation/project"):
            shutil.copytree(os.path.join(common.TOP, name),
                            os.path.join(self.top, name), dirs_exist_ok=True)
        text = self.run_it("scripts/audit", "--tree", self.tree, status=1)
        self.assertIn("mm/compaction.c: planted: for_each_online_node: 1 uses",
                      text)
        self.assertIn("\n1 differences", text)
