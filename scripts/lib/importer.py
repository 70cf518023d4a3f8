# SPDX-License-Identifier: GPL-2.0
"""Make a git tree from a plain folder, quickly and always the same."""
import os
import shutil
import stat
import subprocess

import gitseries
import mail
from common import Fail, in_root, say

STAMP = "1767225600 +0000"      # fixed, so that commit ids repeat


def _files(top):
    """The sorted relative paths of all files and links below TOP."""
    result = []
    for folder, dirs, files in os.walk(top):
        dirs[:] = [name for name in dirs if name != ".git"]
        links = [name for name in dirs
                 if os.path.islink(os.path.join(folder, name))]
        result += [os.path.relpath(os.path.join(folder, name), top)
                   for name in files + links]
    return sorted(result, key=os.fsencode)


def _send(out, top, path):
    full = os.path.join(top, path)
    info = os.lstat(full)
    if stat.S_ISLNK(info.st_mode):
        mode, data = "120000", os.fsencode(os.readlink(full))
    else:
        mode = "100755" if info.st_mode & stat.S_IXUSR else "100644"
        with open(full, "rb") as file:
            data = file.read()
    out.write(f"M {mode} inline ".encode() + os.fsencode(path)
              + b"\ndata %d\n" % len(data) + data + b"\n")


def fill(where, top, message, branch="series"):
    """Commit every file of TOP, ignored ones too, as the branch's root
    commit with the tag 'base', and check the branch out."""
    files = _files(top)
    cmd = ["git", "-c", "core.compression=1", "-c", "pack.depth=0",
           "fast-import", "--quiet", "--depth=0"]
    if not shutil.which("git"):
        cmd = in_root(cmd, [where])
    text = message.encode() + b"\n"
    with subprocess.Popen(cmd, cwd=where, stdin=subprocess.PIPE) as proc:
        proc.stdin.write(f"commit refs/heads/{branch}\n"
                         f"committer {mail.AUTHOR} {STAMP}\n"
                         f"data {len(text)}\n".encode() + text)
        for number, path in enumerate(files, 1):
            _send(proc.stdin, top, path)
            if number % 10000 == 0:
                say(f"  {number} of {len(files)} files")
        proc.stdin.write(f"\nreset refs/tags/base\nfrom refs/heads/{branch}"
                         "\n\n".encode())
        proc.stdin.close()
        if proc.wait():
            raise Fail(f"git fast-import in {where} failed (see above)")
    gitseries.git(where, "reset", "-q", "--hard", branch)


def create(where, top, message):
    """A git tree WHERE with the files of TOP as its first commit."""
    made = not os.path.exists(where)
    os.makedirs(where, exist_ok=True)
    try:
        gitseries.git(where, "init", "-q", "-b", "series")
        for key, value in (("user.name", gitseries.NAME),
                           ("user.email", gitseries.ADDRESS),
                           ("notes.rewriteRef", gitseries.NOTES),
                           ("gc.auto", "0"), ("core.autocrlf", "false"),
                           ("commit.gpgsign", "false")):
            gitseries.git(where, "config", key, value)
        fill(where, top, message)
    except BaseException:
        # half an import would look like a finished one
        shutil.rmtree(where if made else os.path.join(where, ".git"),
                      ignore_errors=True)
        raise
