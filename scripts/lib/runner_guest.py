# SPDX-License-Identifier: GPL-2.0
"""Small units for a real guest, and what the runner must call each."""
import os
import shutil

import common
import kernel as kernels
import ktap
import report
import runner
import units

OK = "echo 'TAP version 13'; echo 1..1; echo 'ok 1 fine'\n"
# A real WARN_ON(): the kernel refuses FOLL_TOUCH from outside with one. The
# numbers are struct gup_test and GUP_FAST_BENCHMARK of mm/gup_test.h.
WARN = OK + """exec python3 - <<'E'
import ctypes, fcntl, mmap, struct
page = mmap.mmap(-1, 4096)
page[0] = 1
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
job = bytearray(struct.pack("=QQQQIII8I", 0, 0, address, 4096, 1, 1 << 16, 0,
                            *[0] * 8) + b"\\0" * 4)
with open("/sys/kernel/debug/gup_test", "rb+", buffering=0) as device:
    try:
        fcntl.ioctl(device, 3 << 30 | len(job) << 16 | ord("g") << 8 | 1, job)
    except OSError:
        pass
E
"""
# (name, limit, script, [(test, outcome, word in the reason)] in any order)
FAKES = (
    ("passes", 30, OK, [("fine", "pass", "")]),
    ("fails", 30, "echo 1..2; echo 'ok 1 a'; echo '# why'; echo 'not ok 2 b';"
     "exit 1\n", [("a", "pass", ""), ("b", "fail", "")]),
    ("skips", 30, "echo '1..0 # SKIP no such node'; exit 4\n",
     [("", "fail", "unexpected skip: no such node")]),
    ("may-skip", 30, "echo '1..0 # SKIP no such node'; exit 4\n",
     [("", "skip", "expected")]),
    ("hangs", 3, OK.replace("1..1", "1..2") + "setsid sleep 999 & sleep 999\n",
     [("fine", "pass", ""), ("(unit)", "timeout", "after")]),
    ("meets-nothing-left", 30, "echo 1..1; ! pgrep -xf 'sleep 999' || "
     "printf 'not '; echo 'ok 1 alone'\n", [("alone", "pass", "")]),
    ("no-plan", 30, "echo 'ok 1 a'\n",
     [("a", "pass", ""), ("(plan)", "fail", "no plan")]),
    ("stops-early", 30, "echo 1..3; echo 'ok 1 a'\n",
     [("a", "pass", ""), ("(plan)", "fail", "1 results of 3")]),
    ("says-nothing", 30, ":\n", [("(plan)", "fail", "no plan")]),
    ("lies", 30, OK + "exit 1\n",
     [("fine", "pass", ""), ("(unit)", "fail", "exit status 1")]),
    ("dies", 30, OK.replace("1..1", "1..2") + "kill -SEGV $$\n",
     [("fine", "pass", ""), ("(unit)", "crash", "signal 11")]),
    ("warns", 60, WARN, [("fine", "pass", ""),
                         ("(kernel log 1)", "fail", "WARNING"),
                         ("(taint)", "fail", "warning")]),
    ("logs", 30, OK + "echo 'BUG: Bad rss-counter state' >/dev/kmsg\n",
     [("fine", "pass", ""), ("(kernel log 1)", "fail", "rss-counter")]),
    ("taints", 30, OK + "echo 64 >/proc/sys/kernel/tainted\n",
     [("fine", "pass", ""), ("(taint)", "fail", "set by user space")]),
    ("panics", 30, OK.replace("1..1", "1..2")
     + "echo c >/proc/sysrq-trigger; sleep 9\n",
     [("fine", "pass", ""), ("(unit)", "crash", "panic")]),
    ("comes-after-the-panic", 30, OK, [("fine", "pass", "")]),
    # it leaves the group of processes that the runner can kill
    ("cannot-be-killed", 3, "echo 0 >/sys/fs/cgroup/cgroup.procs; sleep 999\n",
     [("(unit)", "timeout", "after")]),
    ("comes-after-the-unkillable", 30, OK, [("fine", "pass", "")]),
)
LEAK = ("leaks", 30, OK + "insmod ./leak.ko; :\n",
        [("fine", "pass", ""), ("(taint)", "fail", "out-of-tree")])


class Plan:                     # pylint: disable=too-few-public-methods
    """Lets one of the fakes skip."""

    @staticmethod
    def expected_skip(test, _profile):
        """As units.Plan does."""
        return "for once" if test.startswith("fake/may-skip") else None


def _write(folder, name, script):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write("#!/bin/sh\n" + script)
    os.chmod(path, 0o755)


def _leak(kernel, folder):
    """Builds qemu/leak, a module that loses memory, for KERNEL and puts it
    into FOLDER."""
    work = os.path.join(common.BUILD, "tmp", "leak")
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(os.path.join(common.TOP, "qemu", "leak"), work)
    log = os.path.join(work, "build.log")
    for targets in (["modules_prepare"],
                    [f"M={common.B}/tmp/leak", "KBUILD_MODPOST_WARN=1",
                     "modules"]):
        argv, env = kernels.make_command(
            kernel, f"{common.B}/kernel/{kernel}", ["-s"] + targets)
        common.run(argv, log=log, env=env, what="building qemu/leak")
    shutil.copy(os.path.join(work, "leak.ko"), folder)


def _compare(done, name, wanted):
    """(whether UNIT came out as WANTED, what it came out as)."""
    have = sorted((e.name[len(name):].lstrip("/"), e.outcome, e.reason)
                  for e in done if e.unit == name)
    wanted = sorted(wanted)
    right = len(have) == len(wanted) and all(
        h[:2] == w[:2] and w[2].lower() in h[2].lower()
        for h, w in zip(have, wanted))
    return right, "; ".join(f"{h[0] or 'the unit'} {h[1]} {h[2]}".strip()
                            for h in have) or "nothing"


def check(kernel, folder):
    """Yields (name, whether the runner judged it right, the judgement)."""
    programs = os.path.join(folder, "programs")
    os.makedirs(programs)
    table = list(FAKES)
    leaky = kernel == "debug"
    if leaky:
        _leak(kernel, programs)
        table.append(LEAK)
    fakes, wanted = [], {}
    for name, limit, script, results in table:
        _write(programs, name, script)
        name = "fake/" + name
        fakes.append(units.Unit(name, "program", name, limit))
        wanted[name] = results
    fakes.insert(0, units.Unit("kunit/no-such-suite", "kunit",
                               "no-such-suite", 30))
    wanted["kunit/no-such-suite"] = [("(unit)", "broken", "cannot run")]
    job = runner.Run("numa", kernel, folder, {"fake": programs}, Plan)
    done = job.run(fakes)
    report.write(done, folder, {"kernel": kernel,
                                "accelerator": job.accel}, "selftest-runner")
    for name, results in wanted.items():
        yield (name,) + _compare(done, name, results)
    rest = {e.name: e for e in done if e.unit.startswith("kernel")}
    expected = {"kernel/log": ktap.PASS, "kernel (boot 2)/log": ktap.PASS,
                "kernel (boot 3)/log": ktap.PASS}
    if leaky:
        expected["kernel (boot 3)/leaks"] = ktap.FAIL
    have = {name: entry.outcome for name, entry in rest.items()}
    yield ("a boot for what a panic and a hang left, and no splat outside "
           "the units", have == expected,
           ", ".join(f"{name} {word}" for name, word in have.items()))
    if leaky:
        lost = rest.get("kernel (boot 3)/leaks")
        text = "\n".join(lost.output) if lost else ""
        yield ("the leak is the module's", "insmod" in text,
               lost.reason if lost else "no result")
    yield from _broken(kernel, folder, programs)


def _broken(kernel, folder, programs):
    """Guests that do not get as far as the first unit."""
    setup = os.path.join(folder, "setup")
    with open(setup, "w", encoding="utf-8") as out:
        out.write("echo the device is missing; exit 1\n")
    for name, append, outcome, words in (
            ("set-up fails", "", ktap.BROKEN, "device is missing"),
            ("the kernel does not come up", "rdinit=/none root=none",
             ktap.CRASH, "panic")):
        job = runner.Run("numa", kernel, os.path.join(folder, "broken"),
                         {"fake": programs})
        job.setup = setup
        done = job.run([units.Unit(f"fake/{unit}", "program", "fake/passes",
                                   30, append) for unit in ("a", "b")])
        text = "\n".join(e.reason + "".join(e.output) for e in done)
        yield (name, [(e.name, e.outcome) for e in done] ==
               [("fake/a", outcome), ("fake/b", outcome)] and words in text
               and job.boots == 1,
               "; ".join(f"{e.name} {e.outcome} {e.reason}" for e in done))
