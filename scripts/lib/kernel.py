# SPDX-License-Identifier: GPL-2.0
"""Configure and build a kernel of the project, and its kselftests."""
import fcntl
import json
import os
import re
import shutil
import subprocess
import time

import base
import series
from common import B, BUILD, HOST_TOOLS, TOP, Fail, in_root, run, say

# Each kernel's configuration, of the fragments in configs/.
FRAGMENTS = {
    "base": ("test",),
    "test": ("test", "series"),
    "debug": ("test", "series", "debug"),
    "extra": ("test", "series", "extra"),
}
# A build that does not depend on when, where and by whom: what ccache needs.
ENVIRONMENT = {
    "KBUILD_BUILD_USER": "pn",
    "KBUILD_BUILD_HOST": "pn",
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan 1 00:00:00 UTC 2026",
    "KBUILD_BUILD_VERSION": "1",
    "CCACHE_MAXSIZE": "5G",
}
SYMBOL = re.compile(r"^(?:CONFIG_(\w+)=(.*)|# CONFIG_(\w+) is not set)$")
COMPILED = re.compile(r"^\s+(?:CC|AS|LD|AR|HOSTCC)\s+(?:\[M\] )?(\S+)")
PROGRESS_SECONDS = 30


def _symbols(text):
    """The symbols that a fragment or .config sets: name -> value."""
    found = {}
    for line in text.splitlines():
        match = SYMBOL.match(line.strip())
        if match:
            found[match[1] or match[3]] = match[2] if match[1] else "n"
    return found


def fragment(kernel):
    """The merged configuration fragment: the last word on a symbol wins."""
    merged = {}
    for name in FRAGMENTS[kernel]:
        with open(os.path.join(TOP, "configs", f"{name}.config"),
                  encoding="utf-8") as text:
            merged.update(_symbols(text.read()))
    return "".join(f"CONFIG_{name}={value}\n"
                   for name, value in merged.items())


def source(kernel):
    """The source tree of a kernel, as the tools see it."""
    return f"{B}/base/linux" if kernel == "base" else f"{B}/tree"


def _outside(path):
    """A path as the tools see it, seen from here."""
    return BUILD + path[len(B):] if path.startswith(B + "/") else path


def make_command(kernel, obj, args, tree=None):
    """Argument list and environment for make in a kernel tree (default: that
    of KERNEL): whoever runs make there must use these, or the next build
    starts over."""
    env = dict(os.environ, **ENVIRONMENT)
    binds = []
    if env.get("CCACHE_DIR"):
        os.makedirs(env["CCACHE_DIR"], exist_ok=True)
        env["CCACHE_DIR"] = os.path.realpath(env["CCACHE_DIR"])
        binds.append(env["CCACHE_DIR"])
    else:
        env["CCACHE_DIR"] = B + "/ccache"
    have_ccache = not HOST_TOOLS or shutil.which("ccache")
    # not what a make above us may have set for itself
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        env.pop(name, None)
    argv = ["make", "-C", tree or source(kernel), f"O={obj}",
            f"-j{os.cpu_count()}"]
    if have_ccache:
        argv.append("CC=ccache gcc")
    return in_root(argv + list(args), binds), env


def _kconfig_newer(obj, stamp):
    """Whether a Kconfig file that the configuration read is newer."""
    then = os.stat(stamp).st_mtime
    deps = os.path.join(_outside(obj), "include/config/auto.conf.cmd")
    try:
        with open(deps, encoding="utf-8") as text:
            names = re.findall(r"\S*/Kconfig\S*", text.read())
    except FileNotFoundError:
        return False
    for name in names:
        try:
            if os.stat(_outside(name)).st_mtime > then:
                return True
        except FileNotFoundError:
            return True
    return False


def configure(kernel, obj=None):
    """Make .config from the fragments unless it is up to date, and check
    that each requested symbol is in it."""
    obj = obj or f"{B}/kernel/{kernel}"
    real = _outside(obj)
    os.makedirs(real, exist_ok=True)
    wanted = fragment(kernel)
    frag = os.path.join(real, "frag")
    stamp = os.path.join(real, "frag.stamp")
    config = os.path.join(real, ".config")
    old = None
    if os.path.exists(stamp) and os.path.exists(config):
        with open(stamp, encoding="utf-8") as text:
            old = text.read()
    if old == wanted and not _kconfig_newer(obj, stamp):
        return
    with open(frag, "w", encoding="utf-8") as out:
        out.write(wanted)
    log = os.path.join(real, "config.log")
    argv, env = make_command(kernel, obj, [
        "-s", f"KCONFIG_ALLCONFIG={obj}/frag", "allnoconfig"])
    if os.path.exists(log):
        os.remove(log)
    run(argv, log=log, env=env, what=f"configuring the {kernel} kernel")
    verify(kernel, wanted, config)
    with open(stamp, "w", encoding="utf-8") as out:
        out.write(wanted)


def verify(kernel, wanted, config):
    """Fail with a list of the requested symbols that .config lacks."""
    with open(config, encoding="utf-8") as text:
        got = _symbols(text.read())
    lost = [f"CONFIG_{name}: wanted {value}, got {got.get(name, 'n')}"
            for name, value in _symbols(wanted).items()
            if got.get(name, "n") != value]
    if lost:
        raise Fail(
            f"{len(lost)} symbols of configs/ did not survive in the {kernel} "
            "kernel's configuration (a missing dependency, or gone in this "
            "version):\n    " + "\n    ".join(lost))


def _errors(log):
    """What a person wants to see of a failed build's log."""
    with open(log, encoding="utf-8", errors="replace") as text:
        lines = text.read().splitlines()
    hits = [i for i, line in enumerate(lines)
            if re.search(r"error:|\*\*\*|undefined reference|Error \d", line)]
    if not hits:
        return lines[-15:]
    return lines[max(0, hits[0] - 2):hits[0] + 18]


def _compile(kernel, obj, targets):
    """Run make with progress; the whole output goes to build.log."""
    log = os.path.join(_outside(obj), "build.log")
    argv, env = make_command(kernel, obj, targets)
    count, last, shown = 0, "", time.monotonic()
    with open(log, "w", encoding="utf-8") as out:
        with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT,
                              errors="replace") as proc:
            for line in proc.stdout:
                out.write(line)
                match = COMPILED.match(line)
                if match:
                    count, last = count + 1, match[1]
                if time.monotonic() - shown >= PROGRESS_SECONDS:
                    shown = time.monotonic()
                    say(f"  {kernel} kernel: {count} objects built, "
                        f"now {last}")
    if proc.returncode:
        raise Fail(f"the {kernel} kernel does not build:\n    "
                   + "\n    ".join(_errors(log)) + f"\n  whole log: {log}")
    return count


def _modules_folder(kernel, obj):
    """The /lib/modules that the guest is given: the few modules that there
    are, and the lists of what is built in, which daxctl asks for."""
    real = _outside(obj)
    with open(os.path.join(real, "include/config/kernel.release"),
              encoding="utf-8") as text:
        release = text.read().strip()
    folder = os.path.join(real, "modules/lib/modules", release)
    made = os.path.join(folder, "modules.builtin.bin")
    newest = max(os.stat(os.path.join(real, name)).st_mtime
                 for name in ("modules.builtin", "modules.order", "vmlinux"))
    if os.path.exists(made) and os.stat(made).st_mtime > newest:
        return
    shutil.rmtree(os.path.join(real, "modules"), ignore_errors=True)
    os.makedirs(folder)
    for name in ("modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(os.path.join(real, name), folder)
    with open(os.path.join(real, "modules.order"), encoding="utf-8") as text:
        modules = [re.sub(r"\.o$", ".ko", line) for line in text.read().split()]
    for name in modules:
        os.makedirs(os.path.join(folder, "kernel", os.path.dirname(name)),
                    exist_ok=True)
        shutil.copy(os.path.join(real, name),
                    os.path.join(folder, "kernel", name))
    with open(os.path.join(folder, "modules.order"), "w",
              encoding="utf-8") as text:
        text.writelines(f"kernel/{name}\n" for name in modules)
    run(in_root(["depmod", "-b", f"{obj}/modules", release]),
        log=os.path.join(real, "depmod.log"),
        what=f"depmod for the {kernel} kernel")


def _lock(name):
    """Keep two builds from meeting in a folder: that of a kernel, or the
    tree. Freed when the returned file is closed."""
    folder = os.path.join(BUILD, "kernel")
    os.makedirs(folder, exist_ok=True)
    # pylint: disable=consider-using-with
    handle = open(os.path.join(folder, name + ".lock"), "w",
                  encoding="utf-8")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"waiting for another build ({name})")
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _inputs(kernel):
    """What a build depends on, to see at once that nothing has changed:
    configuration, tools, base tree, and the patched files."""
    found = {"config": fragment(kernel)}
    for name in ("root.stamp", "base/origin", "tree.state"):
        path = os.path.join(BUILD, name)
        if os.path.exists(path) and (kernel != "base"
                                     or name != "tree.state"):
            with open(path, encoding="utf-8") as text:
                found[name] = text.read()
    tree = os.path.join(BUILD, "tree")
    names = ["Makefile"]
    if kernel == "base":
        tree = os.path.join(BUILD, "base", "linux")
    else:
        names += json.loads(found["tree.state"])["touched"]
    for name in names:
        path = os.path.join(tree, name)
        info = os.stat(path) if os.path.exists(path) else None
        found[name] = info and [info.st_size, info.st_mtime_ns]
    return json.dumps(found)


def prepare(kernel):
    """Bring the kernel's source tree up to date."""
    if kernel not in FRAGMENTS:
        raise Fail(f"no kernel '{kernel}': there are {', '.join(FRAGMENTS)}",
                   2)
    base.ensure()
    if kernel != "base":
        with _lock("tree"):
            series.assemble()
            series.sync_tree()


def build(kernel):
    """Build KERNEL (test, debug, base or extra) as far as needed; returns the
    path of its bzImage."""
    with _lock(kernel):
        prepare(kernel)
        obj = f"{B}/kernel/{kernel}"
        bzimage = os.path.join(_outside(obj), "arch/x86/boot/bzImage")
        stamp = os.path.join(_outside(obj), "build.stamp")
        inputs = _inputs(kernel)
        if os.path.exists(bzimage) and os.path.exists(stamp):
            with open(stamp, encoding="utf-8") as text:
                if text.read() == inputs:
                    say(f"{kernel} kernel is up to date")
                    return bzimage
            os.remove(stamp)
        say(f"building the {kernel} kernel"
            + ("" if os.path.exists(bzimage) else
               " (about 11 minutes from cold on 2 cores, twice that for "
               "debug; seconds with a warm compiler cache)"))
        configure(kernel)
        count = _compile(kernel, obj, ["bzImage", "modules"])
        _modules_folder(kernel, obj)
        with open(stamp, "w", encoding="utf-8") as out:
            out.write(inputs)
        say(f"{kernel} kernel ready, {count} objects built")
    return bzimage


def selftests(kernel="test"):
    """Build our kselftest folders from the patched tree; returns the folder
    they are installed in."""
    folder = os.path.join(BUILD, "kselftest")
    ours = sorted(name for name in os.listdir(os.path.join(TOP, "selftests"))
                  if os.path.exists(os.path.join(TOP, "selftests", name,
                                                 "Makefile")))
    if not ours:
        raise Fail(f"no kselftest folder with a Makefile in {TOP}/selftests")
    with _lock(kernel):
        prepare(kernel)
        log = os.path.join(folder, "build.log")
        # what is no longer built shall not be run
        shutil.rmtree(folder, ignore_errors=True)
        say("building the kselftests " + ", ".join(ours))
        argv, env = make_command(kernel, f"{B}/kernel/{kernel}", [
            "-s", "kselftest-install", "TARGETS=" + " ".join(ours),
            "FORCE_TARGETS=1", f"INSTALL_PATH={B}/kselftest"])
        run(argv, log=log, env=env, what="building the kselftests")
    return folder


def base_selftests(collections):
    """Build the base kernel's own kselftest folders COLLECTIONS; returns
    the folder they are installed in."""
    folder = os.path.join(BUILD, "compare", "tests")
    with _lock("base"):
        prepare("base")
        shutil.rmtree(folder, ignore_errors=True)
        say("building the base kernel's kselftests " + ", ".join(collections))
        argv, env = make_command("base", f"{B}/kernel/base", [
            "-s", "kselftest-install", "TARGETS=" + " ".join(collections),
            "FORCE_TARGETS=1", f"INSTALL_PATH={B}/compare/tests"])
        try:
            run(argv, log=os.path.join(folder, "build.log"), env=env,
                what="building the base kernel's kselftests")
        finally:
            # the one thing that they write into the sources
            for name in ("local_config.mk", "local_config.h_gen"):
                path = os.path.join(base.TREE, "tools/testing/selftests/mm",
                                    name)
                if os.path.exists(path):
                    os.remove(path)
    return folder
