# SPDX-License-Identifier: GPL-2.0
"""The series as commits of a git tree of the kernel, and back."""
import hashlib
import json
import os
import re

import mail
import series
import staging
from common import TOP, Fail

NAME, ADDRESS = mail.AUTHOR[:-1].split(" <")
# What a user's own git configuration must not change.
STABLE = ["-c", "core.autocrlf=false", "-c", "core.quotepath=false",
          "-c", "diff.noprefix=false", "-c", "diff.mnemonicprefix=false",
          "-c", "diff.algorithm=myers", "-c", "diff.indentHeuristic=true",
          "-c", "diff.context=3", "-c", "diff.interHunkContext=0",
          "-c", "core.attributesFile=/dev/null",
          "-c", "diff.suppressBlankEmpty=false", "-c", "diff.renames=false",
          "-c", "gc.auto=0"]
NOTES = "refs/notes/series"


def git(where, *args, check=True, **kw):
    """Output of a git command in WHERE; Fail when it fails, unless CHECK
    is False, which gives (status, output)."""
    done = staging.tool(["git", *STABLE, *args], where, **kw)
    if not check:
        return done.returncode, done.stdout
    if done.returncode:
        raise Fail(f"git {args[0]} in {where} failed: "
                   f"{(done.stdout or '').strip()}")
    return done.stdout


def check_clean(tree, untracked="normal"):
    """Fail when TREE has uncommitted changes or is in the middle of a
    rebase, am, merge or the like."""
    status = git(tree, "status", "--porcelain",
                 f"--untracked-files={untracked}")
    if status:
        lines = status.split("\n")[:5]
        raise Fail(f"{tree} has uncommitted changes; commit, stash or drop "
                   "them first:\n    " + "\n    ".join(lines))
    for state in ("rebase-apply", "rebase-merge", "MERGE_HEAD",
                  "CHERRY_PICK_HEAD", "REVERT_HEAD"):
        path = git(tree, "rev-parse", "--git-path", state).strip()
        if os.path.exists(os.path.join(tree, path)):
            raise Fail(f"{tree} is in the middle of a rebase, am or merge "
                       f"({state}); finish or abort it first")


def am(tree, queue, patches):
    """git am of the queue; on failure TREE is as it was."""
    start = git(tree, "rev-parse", "HEAD").strip()
    env = dict(os.environ)
    if git(tree, "var", "GIT_COMMITTER_IDENT", check=False)[0]:
        env.update(GIT_COMMITTER_NAME=NAME, GIT_COMMITTER_EMAIL=ADDRESS)
    files = [os.path.join(queue, name) for name, _ in patches]
    text = "".join(mail.read(path) for path in files)
    status, output = git(tree, "am", "--quiet", "--no-3way", "--no-scissors",
                         "--whitespace=nowarn", "--keep-cr",
                         input=text, env=env, check=False)
    if status:
        done = int(git(tree, "rev-list", "--count", f"{start}..HEAD"))
        git(tree, "am", "--abort", env=env, check=False)
        if git(tree, "rev-parse", "HEAD").strip() != start:
            git(tree, "reset", "--quiet", "--keep", start)
        name = patches[min(done, len(patches) - 1)][0]
        output = "\n    ".join(line for line in output.split("\n")
                               if not re.match("hint:|When you|If you|To re",
                                               line))
        raise Fail(f"git am failed at patch {done + 1} of "
                   f"{len(patches)}, {name}; {tree} is as it was. git says:"
                   f"\n    {output.strip()}")


def slugify(subject):
    """A patch's file name from its subject."""
    slug = re.sub(r"[^a-z0-9]+", "-", subject.lower()).strip("-")
    if len(slug) > 60:
        slug = slug[:61].rpartition("-")[0] or slug[:60]
    return (slug or "patch") + ".patch"


def annotate(where, names):
    """Remember the patches' names in notes on the commits since base."""
    commits = git(where, "rev-list", "--reverse", "base..HEAD").split()
    for commit, name in zip(commits, names):
        git(where, *identity(), "notes", f"--ref={NOTES}", "add", "-f", "-m",
            name, commit)


def identity():
    """Options that make commits by the project, not by the user."""
    return ["-c", f"user.name={NAME}", "-c", f"user.email={ADDRESS}"]


def commits_of(where):
    """The ids of the commits that make up the series."""
    if not os.path.exists(os.path.join(where, ".git")):
        raise Fail(f"{where} is not a git tree: make one with "
                   "scripts/branch")
    if git(where, "rev-parse", "-q", "--verify", "base^{commit}",
           check=False)[0]:
        raise Fail(f"{where} has no tag 'base' (the commit that the series "
                   "starts from): make the branch with scripts/branch")
    check_clean(where)
    if git(where, "merge-base", "--is-ancestor", "base", "HEAD",
           check=False)[0]:
        raise Fail(f"{where}: HEAD is not based on the tag 'base'")
    merges = git(where, "rev-list", "--merges", "--oneline", "base..HEAD")
    if merges:
        raise Fail(f"{where}: the series must not have merges; rebase it: "
                   f"{merges.splitlines()[0]}")
    return git(where, "rev-list", "--reverse", "base..HEAD").split()


def read_commit(where, commit):
    """One commit as a mail.Patch without overlay lines."""
    text = git(where, "log", "-1", "--no-notes", "--date=raw",
               "--format=%s%n%aD%n%b", commit)
    subject, date, body = text.split("\n", 2)
    # as in a mail, what follows '---' is a note for reviewers
    body, *notes = re.split(r"(?m)^---$", body.rstrip("\n"), maxsplit=1)
    if re.match(r"(fixup|squash|amend)! ", subject):
        raise Fail(f"commit {commit[:12]} ({subject}) is not folded in yet: "
                   f"git -C {where} rebase -i --autosquash base")
    patch = mail.Patch(subject, body, date)
    patch.notes = "".join(notes).strip("\n").split("\n") \
        if "".join(notes).strip() else []
    patch.check_message(f"commit {commit[:12]}")
    if re.match(r"\[", subject):
        raise Fail(f"commit {commit[:12]} ({subject}): a subject that begins "
                   "with '[' is lost by git am")
    diff = git(where, "diff-tree", "-p", "--no-commit-id", "--no-renames",
               "--no-ext-diff", "--no-textconv", "--no-color", "--abbrev=12",
               "--src-prefix=a/", "--dst-prefix=b/", commit)
    patch.files = mail.split_diff(diff, f"commit {commit[:12]} ({subject})")
    if not patch.files:
        raise Fail(f"commit {commit[:12]} ({subject}) is empty: drop it")
    return patch


def read_branch(where):
    """[(name, Patch)] with overlay lines, and {overlay: (data, exec)}."""
    commits = commits_of(where)
    known = {}
    for name in series.read_series():
        known.setdefault(series.load(name).subject, name)
    listed = git(where, "notes", f"--ref={NOTES}", "list", check=False)[1]
    noted = {line.split()[-1] for line in listed.splitlines()}
    result, overlays, owner, used = [], {}, {}, set()
    for commit in commits:
        patch = read_commit(where, commit)
        label = f"commit {commit[:12]} ({patch.subject})"
        name = known.get(patch.subject) or slugify(patch.subject)
        if commit in noted:
            name = git(where, "notes", f"--ref={NOTES}", "show",
                       commit).strip().split("\n")[0]
        stem, number = name[:-len(".patch")], 2
        while name in used:
            name, number = f"{stem}-{number}.patch", number + 1
        used.add(name)
        keep = []
        for file in patch.files:
            here = series.overlay_of(file.path)
            if file.path in owner:
                by = owner[file.path]
                raise Fail(
                    f"{label} changes {file.path}, which {by} creates; a "
                    "test or document has one patch: fold the change in:\n"
                    f"    git -C {where} commit --fixup={by.split()[1]} ..."
                    f"; git -C {where} rebase -i --autosquash base")
            if file.created and here:
                owner[file.path] = label
                patch.overlays.append((here, file.path))
                overlays[here] = (file.content(), file.executable)
            else:
                keep.append(file)
        patch.files = keep
        old = os.path.join(series.PATCHES, name)
        if os.path.exists(old) and not patch.notes:
            patch.notes = mail.parse(mail.read(old), name).notes
        result.append((name, patch))
    return result, overlays


def digest(data, executable=False):
    """What identifies a file's content in the record of the last sync."""
    return hashlib.sha256(data).hexdigest() + ("x" if executable else "")


def on_disk(path):
    """digest() of a file of the project; None if there is none."""
    full = os.path.join(TOP, path)
    if not os.path.isfile(full):
        return None
    with open(full, "rb") as file:
        return digest(file.read(), path[:8] != "patches/"
                      and os.access(full, os.X_OK))


def project_files():
    """{path: digest} of all that the series consists of, 'series' aside."""
    result = {}
    for name in series.read_series():
        result[f"patches/{name}"] = None
        for here, _ in series.load(name).overlays:
            result[here] = None
    return {path: on_disk(path) for path in result}


def _record_path(where):
    path = git(where, "rev-parse", "--git-path", "series-sync.json").strip()
    return os.path.join(where, path)


def read_record(where):
    """The record of the last scripts/branch or export; {} if none."""
    path = _record_path(where)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def write_record(where, files):
    """Record that branch and project were in step, and at which commit."""
    head = git(where, "rev-parse", "HEAD").strip()
    text = json.dumps({"head": head, "order": series.read_series(),
                       "files": files}, indent=1) + "\n"
    series.write_if_changed(_record_path(where), text.encode())
