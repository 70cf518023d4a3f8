# SPDX-License-Identifier: GPL-2.0
"""Get the base kernel tree that the series applies to."""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from common import B, BUILD, TOP, Fail, in_root, run, say

TREE = os.path.join(BUILD, "base", "linux")
ORIGIN = os.path.join(BUILD, "base", "origin")
DOWNLOADS = os.path.join(BUILD, "dl")
CONNECT_SECONDS = 10


def facts():
    """The settings of the file BASE."""
    found = {}
    with open(os.path.join(TOP, "BASE"), encoding="utf-8") as lines:
        for line in lines:
            match = re.match(r"([\w.-]+)=(.*)$", line.strip())
            if match:
                found[match[1]] = match[2].strip()
    return found


def version(tree):
    """A kernel tree's version, 'None' if it is no kernel tree."""
    try:
        with open(os.path.join(tree, "Makefile"), encoding="utf-8") as text:
            head = text.read(1000)
    except (FileNotFoundError, NotADirectoryError):
        return None
    numbers = re.findall(
        r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", head, re.M)
    return ".".join(numbers) if len(numbers) == 3 else None


def _check_version(tree, known):
    """Fail unless TREE is of the release the series is made for."""
    found = version(tree)
    wanted = known["version"].rsplit(".", 1)[0]
    if not found or found.rsplit(".", 1)[0] != wanted:
        raise Fail(f"{tree} is Linux {found}, not {wanted}.y"
                   if found else f"{tree} is not a kernel tree")
    return found


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as data:
        for block in iter(lambda: data.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _fetch(url, path=None):
    """Download URL: to the file PATH with progress, or return its bytes."""
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:
            if not path:
                return answer.read()
            total = int(answer.headers.get("Content-Length") or 0)
            done = shown = 0
            with open(path + ".part", "wb") as out:
                for block in iter(lambda: answer.read(1 << 20), b""):
                    out.write(block)
                    done += len(block)
                    if done - shown >= 32 << 20:
                        shown = done
                        say(f"  {done >> 20} MB"
                            + (f" of {total >> 20}" if total else ""))
            os.replace(path + ".part", path)
            return None
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Fail(f"{url}: {reason}") from error


def _unpack(archive):
    """Unpack a tar.xz with one folder on top into TREE, seen whole or not
    at all."""
    say(f"unpacking {os.path.basename(archive)}")
    new = TREE + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    run(["tar", "-xJf", archive, "-C", new, "--strip-components=1"],
        what=f"unpacking {archive}")
    _install(new)


def _install(new):
    """Make the folder NEW the base tree. What was made from another base is
    no longer good."""
    for path in (TREE, os.path.join(BUILD, "tree")):
        if os.path.islink(path):
            os.remove(path)
        elif os.path.exists(path):
            shutil.rmtree(path)
    state = os.path.join(BUILD, "tree.state")
    if os.path.exists(state):
        os.remove(state)
    os.rename(new, TREE)


def _from_user(path, _known):
    """The tree that KSRC names, copied: builds need it clean, and it stays
    the user's."""
    path = os.path.realpath(path)
    if not version(path):
        raise Fail(f"KSRC={path} is not a kernel tree")
    git = None
    if os.path.exists(os.path.join(path, ".git")):
        done = subprocess.run(["git", "-C", path, "rev-parse", "HEAD"],
                              stdout=subprocess.PIPE, text=True, check=False)
        git = done.stdout.strip() if done.returncode == 0 else None
    stamp = git or int(os.stat(os.path.join(path, "Makefile")).st_mtime)
    origin = f"KSRC {path} {stamp}"
    if _origin() == origin and version(TREE):
        return origin
    say(f"copying {path}" + (f" at {git[:12]}" if git else ""))
    new = TREE + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.makedirs(new)
    if git:
        # what is committed, without whatever was built there
        with subprocess.Popen(["git", "-C", path, "archive", git],
                              stdout=subprocess.PIPE) as archive:
            run(["tar", "-x", "-C", new], stdin=archive.stdout,
                what=f"copying {path}")
        if archive.returncode:
            raise Fail(f"git archive failed in {path}")
    else:
        run(["cp", "-a", "--reflink=auto", path + "/.", new],
            what=f"copying {path}")
        if os.path.exists(os.path.join(new, ".config")):
            raise Fail(f"KSRC={path} was built in place: run 'make mrproper' "
                       "there, or name a clean tree")
    _install(new)
    return origin


def _from_kernel_org(known):
    """kernel.org's tarball. Its checksum is the one in BASE if that has one,
    else the one that the same site lists."""
    name = f"linux-{known['version']}.tar.xz"
    site = known["kernel.org"].rstrip("/")
    path = os.path.join(DOWNLOADS, name)
    say(f"trying {site}/{name}")
    wanted = known.get("kernel.org-sha256")
    if not wanted:
        sums = _fetch(f"{site}/sha256sums.asc").decode(errors="replace")
        match = re.search(rf"^([0-9a-f]{{64}})\s+{re.escape(name)}$", sums,
                          re.M)
        if not match:
            raise Fail(f"{site}/sha256sums.asc does not list {name}")
        wanted = match[1]
    if not os.path.exists(path):
        _fetch(f"{site}/{name}", path)
    got = _sha256(path)
    if got != wanted:
        os.rename(path, path + ".bad")
        raise Fail(f"{name} has sha256 {got}, not {wanted}: kept as "
                   f"{path}.bad")
    _unpack(path)
    return f"{site}/{name} sha256 {got}"


def _from_debian(known):
    """Debian's package of the kernel source, by the root's own apt."""
    package = known["debian-package"]
    archive = os.path.join(DOWNLOADS, package + ".tar.xz")
    if not os.path.exists(archive):
        say(f"downloading Debian's {package} (170 MB)")
        log = os.path.join(DOWNLOADS, "apt.log")
        script = (
            'set -e; cd /tmp; p=$1; dl=$2; apt-get update -q; '
            'apt-get download -q "$p"; '
            'dpkg-deb --fsys-tarfile "$p"_*.deb >source.tar; '
            'tar -xOf source.tar "./usr/src/$p.tar.xz" >"$dl/$p.part"; '
            'mv "$dl/$p.part" "$dl/$p.tar.xz"')
        run(in_root(["sh", "-c", script, "sh", package, f"{B}/dl"]), log=log,
            what=f"apt-get download {package}")
    got = _sha256(archive)
    if got != known.get("debian-sha256"):
        say(f"note: {package} is not the {known.get('debian-version')} that "
            "BASE records; any release of the same series will do")
    _unpack(archive)
    return f"Debian {package} sha256 {got}"


def _origin():
    try:
        with open(ORIGIN, encoding="utf-8") as text:
            return text.read().strip()
    except FileNotFoundError:
        return None


def ensure():
    """Path of the base tree, which is got from the first source that has
    it: KSRC, the copy of last time, kernel.org, Debian."""
    known = facts()
    user = os.environ.get("KSRC")
    if version(TREE) and not user:
        _check_version(TREE, known)
        return TREE
    os.makedirs(os.path.dirname(TREE), exist_ok=True)
    os.makedirs(DOWNLOADS, exist_ok=True)
    with open(os.path.join(BUILD, "base", "lock"), "w",
              encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if user:
            origin = _from_user(user, known)
        elif version(TREE):
            return TREE
        else:
            origin = _first(known)
        found = version(TREE)
        if found.rsplit(".", 1)[0] != known["version"].rsplit(".", 1)[0]:
            say(f"warning: the base tree is Linux {found}; the series is "
                f"made for {known['version']}")
        with open(ORIGIN, "w", encoding="utf-8") as out:
            out.write(origin + "\n")
    say(f"base tree: Linux {found} in {TREE}")
    return TREE


def _first(known):
    """Try the sources in turn; returns what the tree came from."""
    tried = ["KSRC: not set", f"{TREE}: not there yet"]
    for source in (_from_kernel_org, _from_debian):
        try:
            origin = source(known)
            _check_version(TREE, known)
            return origin
        except Fail as error:
            tried.append(str(error))
            say(f"  no: {str(error).splitlines()[0]}")
    raise Fail("no base kernel tree; tried:\n    - "
               + "\n    - ".join(tried)
               + f"\n  remedy: set KSRC to a tree of Linux "
               f"{known['version'].rsplit('.', 1)[0]}.y, or allow access to "
               "kernel.org or to a Debian mirror that has backports")
