# SPDX-License-Identifier: GPL-2.0
"""What scripts/dist makes: the tarball, the mails, the thread."""
import email.utils
import hashlib
import io
import lzma
import os
import re
import shutil
import tarfile
import tempfile

import importer
import mail
import series
import staging
from common import BUILD, TOP, Fail, in_root, run, say
from gitseries import git

COVER = os.path.join(TOP, "Documentation", "project", "cover-letter.txt")
NAME = "private-nodes"


def author_of(signoff):
    """SIGNOFF, checked."""
    if signoff is None:
        return None
    if not re.fullmatch(r"[^<>\"\n@]*[^<>\"\n@\s] <[^<>@\s]+@[^<>@\s]+>",
                        signoff) or not email.utils.parseaddr(signoff)[0]:
        raise Fail(f"SIGNOFF={signoff!r} is malformed: write "
                   "SIGNOFF=\"Name <name@example.org>\"")
    return signoff


def tarball(path, patches):
    """The queue as a tar.xz whose bytes depend on the queue only."""
    dates = [email.utils.parsedate_to_datetime(patch.date).timestamp()
             for _, patch in patches]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w",
                      format=tarfile.USTAR_FORMAT) as tar:
        for name in ["series", *(name for name, _ in patches)]:
            with open(os.path.join(series.QUEUE, name), "rb") as file:
                data = file.read()
            info = tarfile.TarInfo(f"{NAME}-queue/{name}")
            info.size, info.mode, info.mtime = len(data), 0o644, max(dates)
            info.mtime = int(info.mtime)
            tar.addfile(info, io.BytesIO(data))
    with open(path, "wb") as file:
        file.write(lzma.compress(buffer.getvalue(), preset=6))


def cover_text():
    """(subject, body) of the cover letter."""
    head, _, body = mail.read(COVER).partition("\n\n")
    lines = [line for line in head.split("\n") if line[:1] != "#"]
    if len(lines) != 1 or not lines[0].startswith("Subject: "):
        raise Fail(f"{COVER}: the first lines must be comments (#) and then "
                   "'Subject: ...', with an empty line after them")
    return lines[0][len("Subject: "):], body.strip("\n") + "\n"


def commits(repo, base, patches, author):
    """Make REPO: the touched files of the base tree and a commit a patch."""
    stage = repo + ".stage"
    staging.stage(base, [".gitattributes", *staging.touched(patches)], stage)
    with open(os.path.join(stage, ".base"), "w", encoding="ascii") as file:
        file.write("the files of the base tree that the series touches\n")
    importer.create(repo, stage, "base")
    text = ""
    for _, patch in patches:
        patch.author, notes = author or patch.author, patch.notes
        patch.notes = []
        text += patch.mail()
        patch.notes = notes
    who = (author or mail.AUTHOR)[:-1].split(" <")
    env = dict(os.environ, GIT_COMMITTER_NAME=who[0],
               GIT_COMMITTER_EMAIL=who[1])
    git(repo, "am", "--quiet", "--keep-cr", "--no-scissors", "--no-3way",
        "--whitespace=nowarn", *(["--signoff"] if author else []),
        input=text, env=env)
    return env


def write_mails(repo, out, patches, env, version):
    """format-patch with the cover letter filled in; returns the files."""
    options = [f"-v{version}"] if version > 1 else []
    git(repo, "format-patch", "--quiet", "-n", "--cover-letter", *options,
        "--zero-commit", "--no-renames", "--abbrev=12", "--stat=76",
        "--signature=", "--no-thread", "--output-directory", out, "base",
        env=env)
    files = sorted(os.listdir(out))
    prefix = f"v{version}-" if version > 1 else ""
    cover = f"{prefix}0000-cover-letter.patch"
    subject, body = cover_text()
    path = os.path.join(out, cover)
    text = mail.read(path)
    text = text.replace("*** SUBJECT HERE ***", subject)
    text = text.replace("*** BLURB HERE ***\n", body)
    dates = [patch.date for _, patch in patches]
    text = re.sub(r"(?m)^Date: .*$", "Date: " + dates[-1], text, count=1)
    series.write_if_changed(path, mail.encode(text))
    mails = [name for name in files if name != cover]
    for name, (_, patch) in zip(mails, patches):
        if patch.notes:
            path = os.path.join(out, name)
            notes = "---\n" + "\n".join(patch.notes) + "\n\n"
            text = re.sub(r"(?m)^---\n", lambda _: notes, mail.read(path),
                          count=1)
            series.write_if_changed(path, mail.encode(text))
    return [cover, *mails]


def thread(out, names, path):
    """All mails in one mbox, with the ids that make them a thread."""
    texts = [mail.read(os.path.join(out, name)) for name in names]
    mark = hashlib.sha256(mail.encode("".join(texts))).hexdigest()[:16]
    ids = [f"<{mark}-{n}@{NAME}.invalid>" for n in range(len(texts))]
    with open(path, "wb") as file:
        for number, text in enumerate(texts):
            head = f"Message-ID: {ids[number]}\n"
            if number:
                head += f"In-Reply-To: {ids[0]}\nReferences: {ids[0]}\n"
            file.write(mail.encode(text.replace("\nSubject:",
                                                f"\n{head}Subject:", 1)
                                   .rstrip("\n") + "\n\n"))


def verify(work, base, patches, mails):
    """Fail unless git am of the mails gives what quilt gives."""
    one, two = os.path.join(work, "am"), os.path.join(work, "quilt")
    paths = staging.touched(patches)
    for where in (one, two):
        staging.stage(base, paths, where)
    with open(os.path.join(one, ".base"), "w", encoding="ascii") as file:
        file.write("not empty\n")
    importer.create(one + ".git", one, "base")
    git(one + ".git", "am", "--quiet", "--keep-cr", *mails,
        env=dict(os.environ, GIT_COMMITTER_NAME="x", GIT_COMMITTER_EMAIL="x"))
    env = {"QUILT_PATCHES": series.QUEUE, "QUILT_PATCH_OPTS": "-F0",
           "QUILT_PC": ".pc", "LC_ALL": "C"}
    cmd = ["env", *(f"{key}={value}" for key, value in env.items()),
           "quilt", "--quiltrc=-", "push", "-aq"]
    if not shutil.which("quilt"):
        cmd = in_root(cmd, [work])
    run(cmd, log=os.path.join(work, "quilt.log"), what="quilt push -a",
        cwd=two)
    for path in paths:
        if not staging.same(os.path.join(one + ".git", path),
                            os.path.join(two, path)):
            raise Fail(f"the mails and quilt push -a differ in {path}")


def make(out, signoff, version):
    """Everything, in the folder OUT."""
    author = author_of(signoff)
    base = series.base_tree()
    series.assemble()
    patches = staging.read_queue(series.QUEUE)
    if not patches:
        raise Fail("the series is empty")
    os.makedirs(BUILD, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dist-", dir=BUILD) as work:
        env = commits(os.path.join(work, "repo"), base, patches, author)
        new = os.path.join(work, "out")
        mails = os.path.join(new, "mails")
        os.makedirs(mails)
        names = write_mails(os.path.join(work, "repo"), mails, patches, env,
                            version)
        say("dist: comparing git am with quilt push -a")
        verify(work, base, patches,
               [os.path.join(mails, name) for name in names[1:]])
        thread(mails, names, os.path.join(new, f"{NAME}.mbox"))
        tarball(os.path.join(new, f"{NAME}-queue.tar.xz"), patches)
        for name in ("mails", f"{NAME}.mbox", f"{NAME}-queue.tar.xz"):
            old = os.path.join(out, name)
            if os.path.isdir(old):
                shutil.rmtree(old)
            os.makedirs(out, exist_ok=True)
            shutil.move(os.path.join(new, name), old)
    say(f"dist: {len(names)} mails, {NAME}.mbox and {NAME}-queue.tar.xz in "
        f"{out}" + ("" if author else "; not signed off: give SIGNOFF="))
