# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/branch and scripts/export."""
# pylint: disable=missing-function-docstring
import os
import shutil

from .case import SERIES, Case, snapshot, write


class Export(Case):
    """The series as a branch, and back."""

    def setUp(self):
        super().setUp()
        self.branch = self.build + "/branch"
        self.canonical()

    def project(self):
        """What export may write."""
        return {path: data for path, data in snapshot(self.top).items()
                if not path.startswith("scripts/")}

    def commit(self, files, message):
        """Commit files on the branch."""
        write(self.branch, files)
        self.git("add", "-A")
        self.git("commit", "-qm", message)

    def names(self):
        """The patches in 'series'."""
        with open(self.top + "/series", encoding="utf-8") as file:
            return [line.split()[0] for line in file
                    if line.strip() and line[0] != "#"]

    def test_branch_is_base_plus_queue(self):
        self.assertEqual(snapshot(self.branch), self.wanted())
        self.assertEqual(self.git("rev-list", "--count", "base..series"),
                         "2\n")

    def test_export_after_branch_changes_nothing(self):
        before = self.project()
        self.run_it("scripts/export")
        self.assertEqual(self.project(), before)
        shutil.rmtree(self.branch)
        self.run_it("scripts/branch")
        self.run_it("scripts/export", "--check")
        self.run_it("scripts/export", "--force")
        self.assertEqual(self.project(), before)
        self.assertEqual(before["series"][0].decode(), SERIES)
        self.assertIn(b"a note for reviewers",
                      before["patches/add-a-test.patch"][0])

    def test_branches_are_the_same_commits(self):
        one = self.git("rev-parse", "base", "base^{tree}", "HEAD^{tree}")
        shutil.rmtree(self.branch)
        self.run_it("scripts/branch")
        self.assertEqual(one, self.git("rev-parse", "base", "base^{tree}",
                                       "HEAD^{tree}"))

    def test_branch_again_is_quick_and_keeps_work(self):
        self.assertIn("up to date", self.run_it("scripts/branch"))
        self.commit({"mm/a.c": "int a;\n"}, "mm: a")
        self.assertIn("not exported", self.run_it("scripts/branch", status=1))
        self.run_it("scripts/branch", "--reset")
        self.assertEqual(snapshot(self.branch), self.wanted())
        self.assertIn("mm: a", self.git("log", "--oneline", "series-old"))

    def test_first_export_makes_everything(self):
        wanted = self.project()
        for name in ("patches", "kunit", "selftests"):
            shutil.rmtree(os.path.join(self.top, name))
        os.remove(self.top + "/series")
        os.remove(self.branch + "/.git/series-sync.json")
        self.git("update-ref", "-d", "refs/notes/series")
        self.run_it("scripts/export")
        self.assertEqual(self.names(),
                         ["mm-change-line-20.patch", "mm-add-a-test.patch"])
        now = self.project()
        for path in ("kunit/new_kunit.c", "kunit/empty.c",
                     "selftests/pn/run.sh"):
            self.assertEqual(now[path], wanted[path])
        self.assertIn("up to date", self.run_it("scripts/branch"))

    def test_new_and_removed_patches(self):
        self.git("reset", "-q", "--hard", "HEAD~1")
        self.commit({"mm/hello2.c": "x\n"}, "mm: New, and odd!\n\nText.")
        self.run_it("scripts/export")
        self.assertEqual(self.names(),
                         ["change-line.patch", "mm-new-and-odd.patch"])
        self.assertFalse(os.path.exists(self.top + "/kunit/new_kunit.c"))
        with open(self.top + "/series", encoding="utf-8") as file:
            self.assertIn("# --- tests: one\n", file.read())

    def test_new_order_keeps_names_and_comments(self):
        self.commit({"mm/third.c": "x\n"}, "mm: third")
        one, two, three = self.git("rev-list", "--reverse",
                                   "base..HEAD").split()
        self.git("reset", "-q", "--hard", "base")
        for commit in (two, three, one):
            self.git("cherry-pick", commit)
        self.run_it("scripts/export")
        self.assertEqual(self.names(), ["add-a-test.patch", "mm-third.patch",
                                        "change-line.patch"])
        with open(self.top + "/series", encoding="utf-8") as file:
            text = file.read()
        self.assertIn("# made up\n", text)
        self.assertIn("# --- tests: one\nadd-a-test.patch        # a remark",
                      text)

    def test_a_new_subject_keeps_the_name(self):
        self.git("commit", "-q", "--amend", "-m", "mm: another subject")
        self.git("rebase", "-q", "--force-rebase", "base")
        self.run_it("scripts/export")
        self.assertEqual(self.names(), ["change-line.patch",
                                        "add-a-test.patch"])

    def test_user_is_not_in_the_patches(self):
        self.commit({"mm/third.c": "x\n"}, "mm: third")
        self.run_it("scripts/export")
        text = self.project()["patches/mm-third.patch"][0]
        self.assertIn(b"\nFrom: mm series <series@localhost.invalid>\n", text)
        self.assertNotIn(b"example.org", text)

    def test_what_follows_three_dashes_is_a_note(self):
        self.commit({"mm/third.c": "x\n"}, "mm: third\n\nWhy.\n---\nv2: x")
        self.run_it("scripts/export")
        text = self.project()["patches/mm-third.patch"][0]
        self.assertIn(b"\nWhy.\n---\nv2: x\n\ndiff", text)
        self.run_it("scripts/branch")
        self.run_it("scripts/export", "--check")

    def test_overlay_change_goes_to_the_overlay(self):
        write(self.branch, {"mm/tests/new_kunit.c": "int changed;\n"})
        self.git("commit", "-qa", "--amend", "--no-edit")
        before = self.project()
        self.run_it("scripts/export")
        now = self.project()
        self.assertEqual(now.pop("kunit/new_kunit.c")[0], b"int changed;\n")
        before.pop("kunit/new_kunit.c")
        self.assertEqual(now, before)

    def test_edits_on_both_sides(self):
        write(self.top, {"kunit/new_kunit.c": "int here;\n"})
        self.assertIn("kept kunit/new_kunit.c",
                      self.run_it("scripts/export"))
        write(self.branch, {"mm/tests/new_kunit.c": "int there;\n"})
        self.git("commit", "-qa", "--amend", "--no-edit")
        before = self.project()
        self.assertIn("kunit/new_kunit.c",
                      self.run_it("scripts/export", status=1))
        self.assertEqual(self.project(), before)
        self.run_it("scripts/export", "--keep-overlays")
        self.assertEqual(self.project(), before)
        write(self.top, {"kunit/new_kunit.c": "int here2;\n"})
        self.run_it("scripts/export", "--force")
        self.assertEqual(self.project()["kunit/new_kunit.c"][0],
                         b"int there;\n")

    def test_edit_here_reaches_the_branch(self):
        write(self.top, {"kunit/new_kunit.c": "int here;\n"})
        self.run_it("scripts/export")
        self.run_it("scripts/branch")
        self.assertEqual(snapshot(self.branch), self.wanted())

    def refuses(self, *words):
        """Export fails, says WORDS and writes nothing."""
        before = self.project()
        text = self.run_it("scripts/export", status=1)
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(self.project(), before)

    def test_later_change_of_an_overlay(self):
        self.commit({"mm/tests/new_kunit.c": "int b;\n"}, "mm: again")
        self.refuses("mm: again", "mm/tests/new_kunit.c", "autosquash")

    def test_uncommitted_and_unknown_files(self):
        write(self.branch, {"mm/forgotten.c": "x\n"})
        self.refuses("uncommitted changes", "mm/forgotten.c")
        os.remove(self.branch + "/mm/forgotten.c")
        write(self.branch, {"mm/hello.c": "x\n"})
        self.refuses("uncommitted changes", "mm/hello.c")

    def test_merges(self):
        self.git("checkout", "-q", "-b", "side", "base")
        self.commit({"mm/side.c": "x\n"}, "mm: side")
        self.git("checkout", "-q", "series")
        self.git("merge", "-q", "-m", "merge", "side")
        self.refuses("merges")

    def test_fixup_that_was_not_folded_in(self):
        self.commit({"mm/x.c": "x\n"}, "fixup! mm: change line 20")
        self.refuses("autosquash")

    def test_not_a_branch(self):
        self.assertIn("scripts/branch", self.run_it(
            "scripts/export", self.base, status=1))

    def test_patch_that_does_not_apply_leaves_the_branch(self):
        before = snapshot(self.branch)
        path = self.top + "/patches/change-line.patch"
        with open(path, encoding="utf-8") as file:
            text = file.read().replace("line 17", "line x17")
        write(self.top, {"patches/change-line.patch": text})
        self.assertIn("change-line.patch",
                      self.run_it("scripts/branch", status=1))
        self.assertEqual(snapshot(self.branch), before)
