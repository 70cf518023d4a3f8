# SPDX-License-Identifier: GPL-2.0
"""The series: its order, its overlays, the assembled queue, the tree."""
import contextlib
import fcntl
import fnmatch
import json
import os
import re
import shutil
import stat

import mail
import staging
from common import BUILD, TOP, Fail, run, say

PATCHES = os.path.join(TOP, "patches")
SERIES = os.path.join(TOP, "series")
QUEUE = os.path.join(BUILD, "queue")
TREE = os.path.join(BUILD, "tree")
STATE = TREE + ".state"
# Where a file that the series creates lives as a real file of the project:
# folder in the kernel tree, folder here. Anything else stays in its patch.
OVERLAYS = (
    ("tools/testing/selftests/", "selftests/"),
    ("mm/tests/", "kunit/"),
    ("samples/", "samples/"),
    ("Documentation/", "Documentation/"),
)
# Documents of the project itself, which no patch takes to the kernel.
OWN = "Documentation/project/"


def overlay_of(path):
    """The overlay file for a file that a patch creates, or None."""
    for kernel, here in OVERLAYS:
        if path.startswith(kernel):
            return here + path[len(kernel):]
    return None


def series_lines():
    """The lines of the file 'series' (none if there is no such file)."""
    if not os.path.exists(SERIES):
        return []
    return mail.read(SERIES).splitlines()


def name_in(line):
    """The patch that a line of 'series' names, or an empty string."""
    return line.split("#")[0].strip()


def read_series():
    """The names of the patches in order, checked against patches/."""
    names = []
    for number, line in enumerate(series_lines(), 1):
        name = name_in(line)
        if not name:
            continue
        if not re.fullmatch(r"[a-z0-9][a-z0-9._+-]*\.patch", name):
            raise Fail(f"series line {number}: malformed: {line!r}; a line "
                       "is one patch (slug.patch) or a comment")
        if name in names:
            raise Fail(f"series line {number}: {name} is listed twice")
        if not os.path.isfile(os.path.join(PATCHES, name)):
            raise Fail(f"series line {number}: patches/{name} is missing")
        names.append(name)
    found = os.listdir(PATCHES) if os.path.isdir(PATCHES) else []
    for name in sorted(found):
        if name.endswith(".patch") and name not in names:
            raise Fail(f"patches/{name} is not listed in 'series': list it "
                       "or delete it")
    return names


def overlay_files():
    """Every overlay file of the project: what version control would
    ignore (by the folder's own .gitignore) and project documents aside."""
    result = []
    for top in sorted({here.split("/")[0] for _, here in OVERLAYS}):
        for folder, dirs, files in os.walk(os.path.join(TOP, top)):
            dirs[:] = sorted(d for d in dirs if d != "__pycache__")
            ignore = []
            if ".gitignore" in files:
                text = mail.read(os.path.join(folder, ".gitignore"))
                ignore = [line.strip().lstrip("/") for line
                          in text.split("\n") if line and line[0] != "#"]
            for name in sorted(files):
                path = os.path.relpath(os.path.join(folder, name), TOP)
                keep = "!" + name in ignore or not any(
                    fnmatch.fnmatch(name, glob) for glob in ignore if glob)
                if keep and not path.startswith(OWN):
                    result.append(path)
    return result


def load(name):
    """The patch NAME of patches/ as a mail.Patch."""
    return mail.parse(mail.read(os.path.join(PATCHES, name)), name)


def fill_in(name, patch, owner):
    """Turn the patch's overlay lines into diffs. OWNER: {overlay file:
    patch that introduced it}, over the whole series."""
    mine = {kernel for _, kernel in patch.overlays}
    for file in patch.files:
        source = overlay_of(file.path)
        if file.path in mine or owner.get(source):
            by = name if file.path in mine else owner[source]
            raise Fail(f"patches/{name} has hunks for {file.path}, which is "
                       f"the overlay {source} of {by}: edit the overlay file "
                       "instead, a patch cannot change it")
        if file.created and source:
            raise Fail(f"patches/{name} creates {file.path}: such a file "
                       f"lives in {source}; move it there and write "
                       f"'Overlay: {source} -> {file.path}' below the ---")
    for source, target in sorted(patch.overlays):
        path = os.path.join(TOP, source)
        if overlay_of(target) != source or ".." in source.split("/"):
            raise Fail(f"patches/{name}: Overlay: {source} -> {target}: the "
                       f"overlay of that kernel file must be "
                       f"{overlay_of(target) or 'in the patch itself'}")
        if source in owner:
            raise Fail(f"patches/{name}: overlay {source} is listed already "
                       f"by {owner[source]}")
        if os.path.islink(path) or not os.path.isfile(path):
            raise Fail(f"patches/{name}: overlay file {source} is missing "
                       "or not a plain file")
        owner[source] = name
        with open(path, "rb") as file:
            data = file.read()
        executable = os.stat(path).st_mode & stat.S_IXUSR
        patch.files.append(mail.new_file(target, data, executable, name))
    patch.overlays = []


def write_if_changed(path, data):
    """Write the bytes DATA unless PATH holds just that. True if written."""
    if os.path.exists(path):
        with open(path, "rb") as file:
            if file.read() == data:
                return False
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "wb") as file:
        file.write(data)
    os.replace(path + ".new", path)
    return True


@contextlib.contextmanager
def _locked():
    """One at a time: several commands assemble and sync before they run."""
    os.makedirs(BUILD, exist_ok=True)
    with open(os.path.join(BUILD, "series.lock"), "w",
              encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@_locked()
def assemble():
    """Write the complete, plain quilt queue to BUILD/queue."""
    names, owner, out = read_series(), {}, {}
    for name in names:
        patch = load(name)
        fill_in(name, patch, owner)
        out[name] = mail.encode(patch.mail())
    for path in overlay_files():
        if path not in owner:
            raise Fail(f"{path} belongs to no patch: add an 'Overlay: {path} "
                       "-> ...' line to the patch that introduces it, or "
                       f"delete it (documents of the project go to {OWN})")
    out["series"] = mail.encode("".join(f"{line}\n"
                                        for line in series_lines()))
    os.makedirs(QUEUE, exist_ok=True)
    changed = sum(write_if_changed(os.path.join(QUEUE, name), data)
                  for name, data in out.items())
    for name in os.listdir(QUEUE):
        if name not in out and name.endswith((".patch", ".new")):
            os.remove(os.path.join(QUEUE, name))
            changed += 1
    if changed:
        say(f"queue: {len(names)} patches, {changed} files of {QUEUE} "
            "updated")


def base_tree():
    """The pristine base tree; obtained first if need be."""
    import base     # pylint: disable=import-outside-toplevel
    return base.ensure()


def _identity(tree):
    info = os.stat(os.path.join(tree, "Makefile"))
    return [os.path.relpath(os.path.realpath(tree), BUILD), info.st_size,
            info.st_mtime_ns]


def _save(state):
    write_if_changed(STATE, (json.dumps(state, indent=1) + "\n").encode())


@_locked()
def sync_tree():
    """Make BUILD/tree the base tree with BUILD/queue applied. Only files
    that differ are written, so that a kernel build does no more than it
    has to."""
    tree = base_tree()
    state = {}
    if os.path.isdir(TREE) and os.path.exists(STATE):
        state = json.loads(mail.read(STATE))
    if state.get("base") != _identity(tree):
        say(f"tree: copying the base tree to {TREE} (1.8 GB)")
        for old in (TREE, TREE + ".new"):
            shutil.rmtree(old, ignore_errors=True)
        run(["cp", "-a", "--reflink=auto", os.path.realpath(tree),
             TREE + ".new"], what="copying the base tree")
        os.rename(TREE + ".new", TREE)
        state = {"base": _identity(tree), "touched": []}
        _save(state)
    patches = staging.read_queue(QUEUE)
    now = staging.touched(patches)
    both = sorted(set(now) | set(state["touched"]))
    stage = TREE + ".stage"
    staging.stage(tree, both, stage)
    staging.push(QUEUE, patches, stage)
    # recorded before the first write: what stops half-way is repaired
    _save({"base": state["base"], "touched": both})
    changed = staging.write_back(stage, TREE, both)
    _save({"base": state["base"], "touched": now})
    shutil.rmtree(stage)
    say(f"tree: {len(patches)} patches, {len(now)} files touched, "
        f"{len(changed)} rewritten")
