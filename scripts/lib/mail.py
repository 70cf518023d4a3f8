# SPDX-License-Identifier: GPL-2.0
"""A patch as a mail: read it, check it, write it in one fixed form."""
import hashlib
import re

from common import Fail

ZERO = "From " + "0" * 40 + " Mon Sep 17 00:00:00 2001"
AUTHOR = "mm series <series@localhost.invalid>"
MIME = ("MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\n"
        "Content-Transfer-Encoding: 8bit\n")
HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
STAT = re.compile(r" \S.* \|\s+(\d+|Bin)|"
                  r" \d+ files? changed| (create|delete) mode ")
OVERLAY = re.compile(r"Overlay: (\S+) -> (\S+)")


def decode(data):
    """Bytes to text such that encode() gives the same bytes back."""
    return data.decode("utf-8", "surrogateescape")


def encode(text):
    """Text from decode() to bytes."""
    return text.encode("utf-8", "surrogateescape")


def read(path):
    """The text of the file PATH."""
    with open(path, "rb") as file:
        return decode(file.read())


class FileDiff:
    """What a patch does to one file."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        head = text.partition("\n@@ ")[0]
        self.created = "\nnew file mode " in head
        self.executable = "\nnew file mode 100755" in head

    def content(self):
        """The bytes of a file that the patch creates."""
        lines = self.text.split("\n@@ ")[1:]
        if not lines:
            return b""
        body = lines[0].partition("\n")[2]
        text = "".join(line[1:] + "\n" for line in body.split("\n")
                       if line.startswith("+"))
        if "\n\\ No newline" in body:
            text = text[:-1]
        return encode(text)


def new_file(path, data, executable, name):
    """The FileDiff that creates PATH, as git writes it."""
    if b"\0" in data:
        raise Fail(f"{name}: overlay for {path} is not a text file")
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()[:12]
    mode = "100755" if executable else "100644"
    text = (f"diff --git a/{path} b/{path}\nnew file mode {mode}\n"
            f"index {'0' * 12}..{blob}\n")
    if data:
        lines = decode(data).split("\n")
        last = lines.pop()
        count = len(lines) + bool(last)
        size = "1" if count == 1 else f"1,{count}"
        text += f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +{size} @@\n"
        text += "".join(f"+{line}\n" for line in lines)
        if last:
            text += f"+{last}\n\\ No newline at end of file\n"
    return FileDiff(path, text)


def _end_of_hunk(lines, at, where):
    """The index after the hunk whose @@ line is lines[at]."""
    match = HUNK.match(lines[at])
    if not match:
        raise Fail(f"{where}: malformed hunk header: {lines[at]}")
    old, new = (1 if n is None else int(n) for n in match.groups())
    at += 1
    while old > 0 or new > 0:
        sign = lines[at][:1]
        if sign not in (" ", "", "-", "+", "\\") or at == len(lines) - 1:
            raise Fail(f"{where}: malformed: the hunk is shorter than its "
                       "header says; write the patch again with "
                       "scripts/export")
        old -= sign in (" ", "", "-")
        new -= sign in (" ", "", "+")
        at += 1
    if old < 0 or new < 0:
        raise Fail(f"{where}: malformed: the hunk is longer than its header "
                   "says")
    if at < len(lines) and lines[at].startswith("\\"):
        at += 1
    return at


def split_diff(text, name):
    """The FileDiffs of a git diff; each hunk's line counts are checked."""
    lines = text.split("\n")
    files, at = [], 0
    while at < len(lines):
        line = lines[at]
        if line == "-- " or not "".join(lines[at:]).strip():
            break
        if not line.startswith("diff --git a/"):
            raise Fail(f"{name}: malformed: unexpected line between two "
                       f"files' hunks: {line!r}")
        pair = line[len("diff --git "):]
        path = pair[2:(len(pair) - 1) // 2]
        if pair != f"a/{path} b/{path}":
            raise Fail(f"{name}: {line}: renames are not supported (make "
                       "the patch with git format-patch --no-renames)")
        start, hunk = at, 0
        at += 1
        while at < len(lines) and not lines[at].startswith("diff --git "):
            if lines[at].startswith("@@ "):
                hunk += 1
                at = _end_of_hunk(lines, at, f"{name}: {path} hunk {hunk}")
            elif hunk:
                break       # the end: signature or blank lines
            elif lines[at].startswith(("GIT binary", "Binary files")):
                raise Fail(f"{name}: {path}: binary patches are not "
                           "supported")
            elif lines[at]:
                at += 1
            else:
                break
        files.append(FileDiff(path, "\n".join(lines[start:at]) + "\n"))
    return files


class Patch:
    """One patch of the series, without or with its overlays filled in."""

    def __init__(self, subject, body, date, author=AUTHOR):
        self.subject, self.body = subject, body.strip("\n")
        self.date, self.author = date, author
        self.notes, self.overlays, self.files = [], [], []

    def check_message(self, name):
        """Raise Fail for a message that git am would cut or change."""
        if not self.subject.isascii():
            raise Fail(f"{name}: the subject must be plain ASCII")
        for line in self.body.split("\n"):
            if line.startswith(("diff -", "Index: ")) or \
                    re.match(r"---(\s|$)", line):
                raise Fail(f"{name}: git am would cut the message at its "
                           f"line {line!r}: indent it")
        if re.match(r"(From|Date|Subject): ", self.body):
            raise Fail(f"{name}: the message must not begin with a mail "
                       "header")

    def mail(self):
        """The patch as the text of a mail, always in the same form."""
        mime = "" if self.body.isascii() else MIME
        notes = [f"Overlay: {a} -> {b}" for a, b in sorted(self.overlays)]
        notes += self.notes
        text = (f"{ZERO}\nFrom: {self.author}\nDate: {self.date}\n"
                f"Subject: [PATCH] {self.subject}\n{mime}\n")
        text += self.body + "\n" if self.body else ""
        text += "---\n" + "".join(line + "\n" for line in notes)
        files = sorted(self.files, key=lambda file: encode(file.path))
        if files:
            text += "\n" + "".join(file.text for file in files)
        return text


def parse(text, name):
    """Read the mail TEXT of the patch NAME into a Patch."""
    head, _, rest = text.partition("\n\n")
    fields = {}
    for line in re.sub(r"\n[ \t]+", " ", head).split("\n"):
        key, colon, value = line.partition(": ")
        if colon:
            fields[key.lower()] = value.strip()
    for key in ("from", "date", "subject"):
        if not fields.get(key):
            raise Fail(f"patches/{name}: malformed: no '{key.title()}:' "
                       "header; a patch is a git format-patch mail")
    subject = re.sub(r"^(\[[^]]*\]\s*)+", "", fields["subject"])
    lines = rest.split("\n")
    end = next((n for n, line in enumerate(lines)
                if line == "---" or line.startswith("diff --git ")),
               len(lines))
    diff = next((n for n in range(end, len(lines))
                 if lines[n].startswith("diff --git ")), len(lines))
    patch = Patch(subject, "\n".join(lines[:end]), fields["date"],
                  fields["from"])
    for line in lines[end + 1:diff]:
        match = OVERLAY.fullmatch(line.strip())
        if match:
            patch.overlays.append(match.groups())
        elif line.startswith("Overlay:"):
            raise Fail(f"patches/{name}: malformed: {line!r}; write "
                       "'Overlay: FILE HERE -> FILE IN THE KERNEL'")
        elif line == "-- ":
            break
        elif not STAT.match(line):
            patch.notes.append(line)
    while patch.notes and not patch.notes[-1].strip():
        patch.notes.pop()
    while patch.notes and not patch.notes[0].strip():
        patch.notes.pop(0)
    patch.check_message(name)
    patch.files = split_diff("\n".join(lines[diff:]), name)
    if not patch.files and not patch.overlays:
        raise Fail(f"patches/{name}: malformed: it changes nothing")
    return patch
