# SPDX-License-Identifier: GPL-2.0
"""A made-up project with a made-up kernel tree, for the queue tests."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import common

HELLO = "".join(f"line {n}\n" for n in range(1, 41))
TREE = {
    "Makefile": "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 4\n"
                "EXTRAVERSION =\n",
    "Kconfig": "# top\n", "mm/hello.c": HELLO, "mm/gone.c": "int gone;\n",
    "mm/tests/Makefile": "obj-y += old.o\n", ".gitignore": "*.ignored\n",
    "mm/kept.ignored": "in the tree all the same\n",
    "scripts/tool.sh": "#!/bin/sh\n",
}
MAIL = """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: mm series <series@localhost.invalid>
Date: Sat, 21 Nov 2026 01:00:00 +0000
Subject: [PATCH] {subject}

{body}
---
{rest}"""
FIRST = MAIL.format(subject="mm: change line 20", body="Because.", rest="""\

diff --git a/mm/gone.c b/mm/gone.c
deleted file mode 100644
index 6dc1d3d60e4d..000000000000
--- a/mm/gone.c
+++ /dev/null
@@ -1 +0,0 @@
-int gone;
diff --git a/mm/hello.c b/mm/hello.c
index c0a4ff8c7ab2..5b6d0ec41fb5 100644
--- a/mm/hello.c
+++ b/mm/hello.c
@@ -17,7 +17,7 @@ line 16
 line 17
 line 18
 line 19
-line 20
+line twenty
 line 21
 line 22
 line 23
""")
SECOND = MAIL.format(subject="mm: add a test", body="Na\u00efve, but \u2026\n\n"
                     "Link: https://example.org/", rest="""\
Overlay: kunit/empty.c -> mm/tests/empty.c
Overlay: kunit/new_kunit.c -> mm/tests/new_kunit.c
Overlay: selftests/pn/run.sh -> tools/testing/selftests/pn/run.sh
a note for reviewers

diff --git a/mm/tests/Makefile b/mm/tests/Makefile
index b2d8a2d3a4d1..c5b8a0e7a6aa 100644
--- a/mm/tests/Makefile
+++ b/mm/tests/Makefile
@@ -1 +1,2 @@
 obj-y += old.o
+obj-y += new_kunit.o
""")
SERIES = """\
# made up

# --- core: the change
change-line.patch

# --- tests: one
add-a-test.patch        # a remark
"""


def write(top, files):
    """Write {path: text} below TOP; .sh files are executable."""
    for path, text in files.items():
        full = os.path.join(top, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(text.encode())
        os.chmod(full, 0o755 if path.endswith(".sh") else 0o644)


def snapshot(top):
    """{path: (content, executable)} of all files below TOP, .git aside."""
    result = {}
    for folder, dirs, files in os.walk(top):
        dirs[:] = [name for name in dirs if name != ".git"]
        for name in files:
            full = os.path.join(folder, name)
            with open(full, "rb") as file:
                result[os.path.relpath(full, top)] = (
                    file.read(), os.access(full, os.X_OK))
    return result


class Case(unittest.TestCase):
    """A made-up project in a temporary folder."""

    def setUp(self):
        self.tmp = tempfile.mkdtemp(prefix="queue-")
        self.addCleanup(shutil.rmtree, self.tmp)
        self.top = os.path.join(self.tmp, "project")
        self.build = os.path.join(self.tmp, "build")
        self.base = os.path.join(self.build, "base", "linux")
        self.env = dict(os.environ, BUILD=self.build, HOME=self.tmp,
                        GIT_CONFIG_NOSYSTEM="1")
        for name in list(self.env):
            if name.startswith(("GIT_", "KSRC", "SIGNOFF")):
                del self.env[name]
        shutil.copytree(common.TOP + "/scripts", self.top + "/scripts",
                        ignore=shutil.ignore_patterns("__pycache__"))
        write(self.top, {
            "patches/change-line.patch": FIRST,
            "patches/add-a-test.patch": SECOND, "series": SERIES,
            "kunit/new_kunit.c": "int a;\n\n/* \u00e9 */ int b;",
            "kunit/empty.c": "", "selftests/pn/run.sh": "#!/bin/sh\n:\n",
            "Documentation/project/cover-letter.txt":
                "Subject: made up\n\nHello.\n",
            "scripts/lib/base.py": "import os\nimport common\n\n\n"
            "def ensure():\n    return os.path.join(common.BUILD, 'base',"
            " 'linux')\n"})
        write(self.base, TREE)
        for name in ("root", "root.stamp"):
            link = os.path.join(common.BUILD, name)
            if os.path.exists(link):
                os.symlink(link, os.path.join(self.build, name))

    def run_it(self, *cmd, where=None, status=0):
        """Run a command of the project (or another); its output."""
        if cmd[0].startswith("scripts/"):
            cmd = (os.path.join(self.top, cmd[0]),) + cmd[1:]
        done = subprocess.run(cmd, env=self.env, cwd=where or self.top,
                              stdout=subprocess.PIPE, check=False,
                              stderr=subprocess.STDOUT)
        text = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, status, f"{cmd}: {text}")
        return text

    def lib(self, code, status=0):
        """Run a line of Python with the project's modules."""
        return self.run_it(
            sys.executable, "-B", "-c", "import sys; sys.path.insert(0, "
            f"{self.top + '/scripts/lib'!r}); import series, common\n"
            f"def f():\n    {code}\ncommon.main(f)", status=status)

    def canonical(self):
        """Bring patches/ to the form that export writes."""
        self.run_it("scripts/branch")
        self.run_it("scripts/export", "--force")

    def git(self, *args, where=None):
        """Run git in the branch (or WHERE) as a user."""
        return self.run_it("git", "-c", "user.name=U", "-c",
                           "user.email=u@example.org", *args,
                           where=where or self.build + "/branch")

    def copy(self, name, git=False):
        """A copy of the base tree, as a git tree if asked for."""
        tree = os.path.join(self.tmp, name)
        shutil.copytree(self.base, tree)
        if git:
            self.git("init", "-q", where=tree)
            self.git("add", "-Af", where=tree)
            self.git("commit", "-qm", "base", where=tree)
        return tree

    def wanted(self):
        """What the series must make of the base tree."""
        result = snapshot(self.base)
        del result["mm/gone.c"]
        result["mm/hello.c"] = (HELLO.replace("line 20", "line twenty")
                                .encode(), False)
        result["mm/tests/Makefile"] = (
            b"obj-y += old.o\nobj-y += new_kunit.o\n", False)
        for here, there in (
                ("kunit/empty.c", "mm/tests/empty.c"),
                ("kunit/new_kunit.c", "mm/tests/new_kunit.c"),
                ("selftests/pn/run.sh", "tools/testing/selftests/pn/run.sh")):
            with open(os.path.join(self.top, here), "rb") as file:
                result[there] = (file.read(), here.endswith(".sh"))
        return result
