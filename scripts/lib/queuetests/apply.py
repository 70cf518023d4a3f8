# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/apply and of the other ways to apply the queue."""
# pylint: disable=missing-function-docstring
import os
import shutil

from .case import HELLO, Case, snapshot, write


class Apply(Case):
    """scripts/apply, and the other ways to apply the queue."""

    def test_git_patch_and_quilt_agree(self):
        self.lib("series.assemble()")
        queue = self.build + "/queue"
        one, two, three = (self.copy(f"t{n}", git=n == 1) for n in "123")
        one = self.copy("git", git=True)
        names = ("change-line.patch", "add-a-test.patch")
        paths = [os.path.join(queue, name) for name in names]
        self.git("am", "-q", *paths, where=one)
        for path in paths:
            self.run_it("patch", "-p1", "-F0", "-s", "-i", path, where=two)
        self.assertEqual(snapshot(one), self.wanted())
        self.assertEqual(snapshot(two), self.wanted())
        if not os.path.exists(self.build + "/root.stamp"):
            self.skipTest("quilt needs the root file system: scripts/setup")
        self.run_it("scripts/lib/enter", "--bind", self.tmp, "--", "env",
                    f"QUILT_PATCHES={queue}", "QUILT_PATCH_OPTS=-F0",
                    "quilt", "push", "-aq", where=three)
        shutil.rmtree(three + "/.pc")
        self.assertEqual(snapshot(three), self.wanted())

    def test_git_tree(self):
        tree = self.copy("t", git=True)
        self.run_it("scripts/apply", tree)
        self.assertEqual(snapshot(tree), self.wanted())
        log = self.git("log", "--format=%an|%s|%b", where=tree)
        self.assertIn("mm series|mm: add a test|Na\u00efve", log)
        self.assertIn("mm series|mm: change line 20|Because.", log)
        text = self.run_it("scripts/apply", tree, status=1)
        self.assertIn("is applied to this tree already", text)
        self.assertEqual(snapshot(tree), self.wanted())

    def test_plain_tree(self):
        tree = self.copy("t")
        self.run_it("scripts/apply", tree)
        self.assertEqual(snapshot(tree), self.wanted())
        self.assertIn("is applied to this tree already",
                      self.run_it("scripts/apply", tree, status=1))

    def test_check_changes_nothing(self):
        for git in (False, True):
            tree = self.copy(f"t{git}", git)
            self.run_it("scripts/apply", "--check", tree)
            self.assertEqual(snapshot(tree), snapshot(self.base))

    def test_failing_hunk_is_named_and_nothing_changes(self):
        for git in (False, True):
            for old in ("line 17", "line 20"):  # context: fuzz would do
                tree = self.copy(f"t{git}{old}", git)
                write(tree, {"mm/hello.c": HELLO.replace(old, "other")})
                if git:
                    self.git("commit", "-qam", "other", where=tree)
                before = snapshot(tree)
                text = self.run_it("scripts/apply", tree, status=1)
                for word in ("change-line.patch", "mm/hello.c", "hunk 1",
                             "@@ -17,7 +17,7 @@"):
                    self.assertIn(word, text)
                self.assertEqual(snapshot(tree), before)

    def test_offset_is_fine(self):
        tree = self.copy("t", git=True)
        write(tree, {"mm/hello.c": "one more\n" * 5 + HELLO})
        self.git("commit", "-qam", "other", where=tree)
        self.run_it("scripts/apply", tree)

    def test_dirty_tree_is_refused(self):
        tree = self.copy("t", git=True)
        write(tree, {"mm/hello.c": HELLO + "dirt\n"})
        self.assertIn("uncommitted changes",
                      self.run_it("scripts/apply", tree, status=1))

    def test_git_am_failure_leaves_the_tree(self):
        tree = self.copy("t", git=True)
        # git will not overwrite a file that it does not track
        write(tree, {"Kconfig2": "x\n", "mm/tests/empty.c": ""})
        before = snapshot(tree)
        head = self.git("rev-parse", "HEAD", where=tree)
        text = self.run_it("scripts/apply", tree, status=1)
        self.assertIn("add-a-test.patch", text)
        self.assertEqual(snapshot(tree), before)
        self.assertEqual(self.git("rev-parse", "HEAD", where=tree), head)
        self.assertFalse(os.path.exists(tree + "/.git/rebase-apply"))

    def test_not_a_kernel_tree(self):
        self.assertIn("not the top of a Linux source tree",
                      self.run_it("scripts/apply", self.top, status=1))
        self.assertIn("no such folder",
                      self.run_it("scripts/apply", "/nowhere", status=1))

    def test_pristine_base_is_refused(self):
        self.assertIn("pristine",
                      self.run_it("scripts/apply", self.base, status=1))
