# SPDX-License-Identifier: GPL-2.0
"""Tests of scripts/dist and scripts/checkpatch's allow list."""
# pylint: disable=missing-function-docstring
import os
import tarfile

import common

from .case import Case, snapshot, write

HAVE_ROOT = os.path.exists(os.path.join(common.BUILD, "root.stamp"))


class Dist(Case):
    """The mails and the tarball."""

    def setUp(self):
        super().setUp()
        if not HAVE_ROOT:
            self.skipTest("quilt needs the root file system: scripts/setup")
        self.out = self.build + "/dist"

    def mails(self):
        """The mails, cover letter first."""
        folder = self.out + "/mails"
        return [os.path.join(folder, name)
                for name in sorted(os.listdir(folder))]

    def test_mails_give_the_tree(self):
        self.run_it("scripts/dist")
        tree = self.copy("t", git=True)
        self.git("am", "-q", *self.mails()[1:], where=tree)
        self.assertEqual(snapshot(tree), self.wanted())
        with open(self.mails()[0], encoding="utf-8") as file:
            text = file.read()
        self.assertIn("Subject: [PATCH 0/2] made up\n", text)
        self.assertIn("\nHello.\n", text)
        self.assertNotIn("***", text)
        with open(self.mails()[2], encoding="utf-8") as file:
            text = file.read()
        self.assertIn("\n---\na note for reviewers\n\n", text)
        self.assertIn("4 files changed", text)
        self.assertNotIn("Signed-off-by", text)

    def test_same_bytes_again(self):
        self.run_it("scripts/dist")
        first = snapshot(self.out)
        self.run_it("scripts/dist")
        self.assertEqual(snapshot(self.out), first)
        self.assertEqual(len(first), 5)

    def test_tarball_is_the_queue(self):
        self.run_it("scripts/dist")
        with tarfile.open(self.out + "/private-nodes-queue.tar.xz") as tar:
            members = {os.path.basename(info.name): tar.extractfile(info)
                       .read() for info in tar}
        queue = {path: data for path, (data, _) in
                 snapshot(self.build + "/queue").items()}
        self.assertEqual(members, queue)

    def test_signoff(self):
        self.run_it("scripts/dist", "--signoff", "A. B\u00e9 <a@b.example>")
        tree = self.copy("t", git=True)
        self.git("am", "-q", *self.mails()[1:], where=tree)
        log = self.git("log", "-2", "--format=%an <%ae>%n%(trailers)",
                       where=tree)
        self.assertEqual(log.count("A. B\u00e9 <a@b.example>\n"), 4)
        self.assertIn("Link: https://example.org/\nSigned-off-by:", log)
        self.assertNotIn("localhost", log)

    def test_malformed_signoff(self):
        for text in ("me", "me@example.org", "<me@example.org>", "Me <me>",
                     "Me <a@b> x", "A <a@b.example>\nCc: x"):
            self.env["SIGNOFF"] = text
            self.assertIn("malformed", self.run_it("scripts/dist", status=1))
        self.assertFalse(os.path.exists(self.out))

    def test_b4_reads_the_thread(self):
        self.run_it("scripts/dist")
        os.makedirs(self.tmp + "/b4")
        self.run_it("scripts/lib/enter", "--bind", self.tmp, "--", "sh", "-c",
                    f"cd {self.tmp}/b4 && git init -q . && XDG_CACHE_HOME="
                    f"{self.tmp}/b4 b4 --offline-mode am -m "
                    f"{self.out}/private-nodes.mbox -o . -n thread")
        tree = self.copy("t", git=True)
        self.git("am", "-q", self.tmp + "/b4/thread.mbx", where=tree)
        self.assertEqual(snapshot(tree), self.wanted())


class AllowList(Case):
    """scripts/checkpatch."""

    def test_malformed_line(self):
        write(self.top, {"configs/checkpatch.allow": "* LONG_LINE\n"})
        self.assertIn("line 1: malformed",
                      self.run_it("scripts/checkpatch", status=1))

    def test_finding_fails_until_it_is_allowed(self):
        script = ('$p=$ARGV[-1]; open(F,$p); $n=0; while(<F>){$n++; print '
                  '"$p:$n: WARNING:MADE_UP: odd\\n" if /twenty/}; print '
                  '"$p:1: ERROR:BROKEN: bad\\n" if $p =~ /add-a/ && -e '
                  f'"{self.tmp}/broken"; exit 1;\n')
        if not HAVE_ROOT:
            self.skipTest("perl needs the root file system: scripts/setup")
        write(self.base, {"scripts/checkpatch.pl": script})
        write(self.top, {"configs/checkpatch.allow": "# none\n"})
        text = self.run_it("scripts/checkpatch", "change-line.patch",
                           status=1)
        self.assertIn("WARNING: MADE_UP: odd  [mm/hello.c]", text)
        write(self.top, {"configs/checkpatch.allow":
                         "change-* MADE_UP made for this test\n"})
        self.run_it("scripts/checkpatch", "change-line.patch")
