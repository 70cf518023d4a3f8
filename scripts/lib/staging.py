# SPDX-License-Identifier: GPL-2.0
"""Apply a queue of patches to the touched files only, fuzz not allowed."""
import os
import re
import shutil
import stat
import subprocess

import mail
from common import Fail, in_root


def tool(cmd, where, **kw):
    """Run CMD (a host program, or the root's where the host has none) in
    the folder WHERE and return the CompletedProcess, output as text."""
    if not shutil.which(cmd[0]):
        cmd = in_root(cmd, [where])
    if "input" in kw:
        kw["input"] = mail.encode(kw["input"])
    done = subprocess.run(cmd, cwd=where, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **kw)
    # not in text mode, which would change carriage returns
    done.stdout = mail.decode(done.stdout)
    return done


def read_queue(queue):
    """[(name, Patch)] of an assembled queue."""
    path = os.path.join(queue, "series")
    if not os.path.exists(path):
        raise Fail(f"{queue} is not a patch queue: it has no file 'series'")
    names = [line.split("#")[0].strip() for line in
             mail.read(path).split("\n")]
    names = [name for name in names if name]
    return [(name, mail.parse(mail.read(os.path.join(queue, name)), name))
            for name in names]


def touched(patches):
    """The sorted paths that the patches ([(name, Patch)]) touch."""
    return sorted({file.path for _, patch in patches for file in patch.files})


def stage(tree, paths, dest):
    """Copy PATHS of TREE, those that exist, to the emptied folder DEST."""
    shutil.rmtree(dest, ignore_errors=True)
    os.makedirs(dest)
    for path in paths:
        source = os.path.join(tree, path)
        if os.path.lexists(source):
            target = os.path.join(dest, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
            if not os.path.islink(target):
                os.chmod(target, os.stat(target).st_mode | stat.S_IWUSR)


def _patch(dest, text, *options):
    done = tool(["patch", "-p1", "-F0", "-f", "-r", "-",
                 "--no-backup-if-mismatch", *options], dest, input=text)
    return done.returncode, done.stdout


def hunk_of(patch, path, number):
    """The header line of a hunk, for messages."""
    for file in patch.files:
        if file.path == path:
            heads = re.findall(r"^@@ .*$", file.text, re.M)
            if number <= len(heads):
                return heads[number - 1]
    return ""


def explain(patch, output):
    """The failed hunks and files in the output of patch(1), as text."""
    found, current = [], None
    for line in output.split("\n"):
        match = re.match(r"(?:checking|patching) file '?([^']*?)'?$", line)
        if match:
            current = match.group(1)
        match = re.match(r"Hunk #(\d+) FAILED", line)
        if match:
            number = int(match.group(1))
            found.append(f"{current}: hunk {number} does not apply: "
                         f"{hunk_of(patch, current, number)}")
        elif "can't find file to patch" in line:
            found.append("a file to patch does not exist in the tree:")
        elif line.startswith("|+++ b/"):
            found.append("  " + line[7:])
    return "\n    ".join(found or [output.strip()])


def push(queue, patches, dest):
    """Apply the queue to DEST; Fail names patch, file and hunk."""
    for number, (name, patch) in enumerate(patches, 1):
        text = mail.read(os.path.join(queue, name))
        # tried first: a patch that applies in part would leave a mixture,
        # of which nothing can be told
        status, output = _patch(dest, text, "--dry-run")
        if not status:
            status, output = _patch(dest, text)
        if not status:
            continue
        hint = ""
        if number == 1 and applied(queue, patches, dest):
            raise Fail("the whole series is applied to this tree already")
        if not _patch(dest, text, "-R", "--dry-run")[0]:
            hint = "\n  this patch seems to be applied already"
        raise Fail(f"patch {number} of {len(patches)}, {name}, does not "
                   f"apply (fuzz is not allowed):\n    "
                   f"{explain(patch, output)}{hint}")


def applied(queue, patches, dest):
    """True when the whole queue can be taken off from a copy of DEST."""
    copy = dest + ".reverse"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(dest, copy, symlinks=True)
    try:
        return bool(patches) and all(
            not _patch(copy, mail.read(os.path.join(queue, name)), "-R")[0]
            for name, _ in reversed(patches))
    finally:
        shutil.rmtree(copy)


def same(one, two):
    """Whether two files have equal content and executable bit (or both
    do not exist)."""
    if not os.path.lexists(one) or not os.path.lexists(two):
        return os.path.lexists(one) == os.path.lexists(two)
    if os.path.islink(one) or os.path.islink(two):
        return (os.path.islink(one) and os.path.islink(two)
                and os.readlink(one) == os.readlink(two))
    if (os.stat(one).st_mode ^ os.stat(two).st_mode) & stat.S_IXUSR:
        return False
    with open(one, "rb") as left, open(two, "rb") as right:
        return left.read() == right.read()


def write_back(source, tree, paths):
    """Make PATHS in TREE as they are in SOURCE. Files that are equal are
    not touched; the others get a new modification time, so that make sees
    them. Returns the changed paths."""
    changed = []
    for path in paths:
        old, new = os.path.join(tree, path), os.path.join(source, path)
        if same(old, new):
            continue
        changed.append(path)
        if not os.path.lexists(new):
            os.remove(old)
            folder = os.path.dirname(old)
            while folder != tree and not os.listdir(folder):
                os.rmdir(folder)
                folder = os.path.dirname(folder)
            continue
        os.makedirs(os.path.dirname(old), exist_ok=True)
        temporary = old + ".series-new"
        shutil.copy(new, temporary, follow_symlinks=False)
        os.replace(temporary, old)
    return changed
