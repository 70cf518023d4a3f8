# SPDX-License-Identifier: GPL-2.0
"""The same checks on the project's own series and the real base tree (on
the files that the series touches, so that it takes seconds)."""
# pylint: disable=missing-function-docstring
import os
import shutil

import common
import series
import staging

from .case import Case, snapshot

BASE = os.path.join(common.BUILD, "base", "linux")
ALSO = ("Makefile", "Kconfig", ".gitattributes", ".gitignore")


class Real(Case):
    """A copy of the project beside the touched files of the base tree."""

    def setUp(self):
        super().setUp()
        if not os.path.exists(os.path.join(BASE, "Makefile")):
            self.skipTest(f"no base tree in {BASE}: run make kernel first")
        if not series.read_series():
            self.skipTest("the series is empty")
        for name in ("patches", "series", "kunit", "selftests", "samples",
                     "Documentation"):
            path, copy = (os.path.join(top, name)
                          for top in (common.TOP, self.top))
            if os.path.isdir(copy):
                shutil.rmtree(copy)
            if os.path.isdir(path):
                shutil.copytree(path, copy, symlinks=True)
            elif os.path.exists(path):
                shutil.copy(path, copy)
        self.lib("series.assemble()")
        queue = staging.read_queue(self.build + "/queue")
        staging.stage(BASE, [*staging.touched(queue), *ALSO], self.base)
        os.makedirs(self.base + "/mm", exist_ok=True)

    def test_applies_to_the_base_tree_without_fuzz(self):
        self.run_it("scripts/apply", "--check", BASE)

    def test_git_and_plain_tree_agree(self):
        one, two = self.copy("git", git=True), self.copy("plain")
        self.run_it("scripts/apply", one)
        self.run_it("scripts/apply", two)
        self.assertEqual(snapshot(one), snapshot(two))
        self.assertNotEqual(snapshot(two), snapshot(self.base))
        self.lib("series.sync_tree()")
        self.assertEqual(snapshot(self.build + "/tree"), snapshot(two))

    def test_export_after_branch_changes_nothing(self):
        before = snapshot(self.top)
        self.run_it("scripts/branch")
        self.run_it("scripts/export", "--check")
        self.run_it("scripts/export", "--force")
        self.assertEqual(snapshot(self.top), before)

    def test_mails_equal_quilt(self):
        if not os.path.exists(self.build + "/root.stamp"):
            self.skipTest("quilt needs the root file system: scripts/setup")
        self.run_it("scripts/dist", "--signoff", "A <a@b.example>")
