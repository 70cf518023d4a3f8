# SPDX-License-Identifier: GPL-2.0
"""Tests of series.assemble and series.sync_tree."""
# pylint: disable=missing-function-docstring
import os
import shutil

from .case import FIRST, MAIL, SECOND, SERIES, Case, snapshot, write


class Assemble(Case):
    """series.assemble and what it refuses."""

    def test_same_bytes_again(self):
        self.lib("series.assemble()")
        first = snapshot(self.build + "/queue")
        self.assertEqual(self.lib("series.assemble()"), "")
        shutil.rmtree(self.build + "/queue")
        self.lib("series.assemble()")
        self.assertEqual(first, snapshot(self.build + "/queue"))
        self.assertIn("add-a-test.patch", first)
        self.assertNotIn(b"Overlay:", first["add-a-test.patch"][0])
        self.assertIn(b"a note for reviewers", first["add-a-test.patch"][0])
        paths = [line for line in first["add-a-test.patch"][0].split(b"\n")
                 if line.startswith(b"diff ")]
        self.assertEqual(paths, sorted(paths))

    def refuses(self, *words):
        """assemble() fails with a message that has all WORDS."""
        text = self.lib("series.assemble()", status=1)
        for word in words:
            self.assertIn(word, text)

    def test_unlisted_patch(self):
        write(self.top, {"patches/extra.patch": FIRST})
        self.refuses("patches/extra.patch", "not listed")

    def test_queue_is_as_git_would_write_it(self):
        self.canonical()
        made = self.git("format-patch", "--stdout", "--zero-commit", "-p",
                        "-N", "--no-signature", "--abbrev=12", "base")
        queue = snapshot(self.build + "/queue")
        ours = "".join(queue[name][0].decode() for name in
                       ("change-line.patch", "add-a-test.patch"))
        parts = ours.split("diff --git")[1:]
        self.assertEqual(len(parts), 6)
        for part in parts:
            self.assertIn(part.split("\nFrom ")[0], made)

    def test_missing_patch(self):
        os.remove(self.top + "/patches/change-line.patch")
        self.refuses("patches/change-line.patch is missing")

    def test_listed_twice(self):
        write(self.top, {"series": SERIES + "change-line.patch\n"})
        self.refuses("change-line.patch is listed twice")

    def test_malformed_line(self):
        write(self.top, {"series": SERIES + "two words.patch\n"})
        self.refuses("series line 8", "malformed")

    def test_malformed_hunk(self):
        write(self.top, {"patches/change-line.patch":
                         FIRST.replace(" line 23\n", "")})
        self.refuses("change-line.patch", "mm/hello.c hunk 1", "malformed")

    def test_no_subject(self):
        write(self.top, {"patches/change-line.patch":
                         FIRST.replace("Subject:", "Topic:")})
        self.refuses("change-line.patch", "Subject")

    def test_message_that_git_am_would_cut(self):
        write(self.top, {"patches/change-line.patch":
                         FIRST.replace("Because.", "A:\n--- a/x\nB.")})
        self.refuses("git am would cut")

    def test_unclaimed_overlay(self):
        for path in ("kunit/other.c", "Documentation/mm/other.rst"):
            write(self.top, {path: "x\n"})
            self.refuses(path, "belongs to no patch")
            os.remove(os.path.join(self.top, path))

    def test_ignored_and_own_files_are_not_overlays(self):
        write(self.top, {"kunit/.gitignore": ".gitignore\n*.o\n",
                         "kunit/a.o": "", "Documentation/project/x": "x\n"})
        self.lib("series.assemble()")

    def test_missing_overlay(self):
        os.remove(self.top + "/kunit/new_kunit.c")
        self.refuses("add-a-test.patch", "kunit/new_kunit.c", "missing")

    def test_overlay_twice(self):
        write(self.top, {
            "patches/again.patch": MAIL.format(
                subject="x", body="y", rest="Overlay: kunit/empty.c -> "
                "mm/tests/empty.c\n"), "series": SERIES + "again.patch\n"})
        self.refuses("again.patch", "kunit/empty.c", "add-a-test.patch")

    def test_overlay_in_the_wrong_place(self):
        write(self.top, {"patches/add-a-test.patch": SECOND.replace(
            "-> mm/tests/empty.c", "-> mm/empty.c")})
        self.refuses("kunit/empty.c -> mm/empty.c")

    def test_patch_that_changes_an_overlay(self):
        write(self.top, {
            "patches/again.patch": FIRST.replace("mm/hello.c",
                                                 "mm/tests/new_kunit.c"),
            "series": SERIES + "again.patch\n"})
        self.refuses("again.patch", "kunit/new_kunit.c")


class Sync(Case):
    """series.sync_tree."""

    def sync(self):
        """Assemble and sync."""
        self.lib("series.assemble(); series.sync_tree()")
        return snapshot(self.build + "/tree")

    def test_tree_is_base_plus_queue(self):
        self.assertEqual(self.sync(), self.wanted())

    def test_only_changed_files_are_rewritten(self):
        self.sync()
        path = self.build + "/tree/mm/hello.c"
        before = os.stat(path).st_mtime_ns
        write(self.top, {"kunit/new_kunit.c": "int c;\n"})
        self.assertEqual(self.sync(), self.wanted())
        self.assertEqual(before, os.stat(path).st_mtime_ns)

    def test_shorter_series_restores_and_deletes(self):
        self.sync()
        shutil.rmtree(self.top + "/kunit")
        shutil.rmtree(self.top + "/selftests")
        shutil.rmtree(self.top + "/patches")
        write(self.top, {"series": ""})
        path = self.build + "/tree/mm/hello.c"
        before = os.stat(path).st_mtime_ns
        self.assertEqual(self.sync(), snapshot(self.base))
        self.assertGreater(os.stat(path).st_mtime_ns, before)
        self.assertFalse(os.path.exists(self.build + "/tree/tools"))

    def test_damage_is_repaired(self):
        self.sync()
        write(self.build + "/tree", {"mm/hello.c": "damaged\n"})
        self.assertEqual(self.sync(), self.wanted())
