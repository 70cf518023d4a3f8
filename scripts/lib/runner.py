# SPDX-License-Identifier: GPL-2.0
"""Runs units in guests and judges each: boot, follow, read the results.

A verdict starts as failure. A unit passes when it ended by itself, its KTAP
is whole, its exit status fits, the kernel logged no splat and gained no
taint meanwhile."""
import os
import shutil

import common
import guest
import ktap
import splats
from follower import GRACE, Follower, read

# How much longer a unit may take, by kernel; times KSFT_MACHINE_SLOW.
FACTOR = {"debug": 4.0}
RUN_UNITS = os.path.join(common.TOP, "qemu", "run-units")


class Done:
    """A judged test: a ktap.Test with its unit, time and kernel messages."""

    def __init__(self, test, unit, seconds=None, log=()):
        self.name = f"{unit}/{test.name}".rstrip("/") if unit else test.name
        self.unit = unit
        self.outcome = test.outcome
        self.reason = test.reason
        self.output = test.output
        self.seconds = seconds
        self.log = list(log)


class Run:
    """Units on one machine with one kernel; results gather in .done."""

    # pylint: disable-next=too-many-arguments,too-many-positional-arguments
    def __init__(self, profile, kernel, out, files=None, plan=None,
                 env=None, cpus=None):
        self.profile = profile
        self.cpus = cpus                # default: what the profile says
        self.kernel = kernel
        self.out = os.path.realpath(out)
        self.files = files or {}        # collection name -> folder
        self.plan = plan                # for the expected skips
        self.env = env or {}            # for the units
        # what the machine needs before the units, if anything
        self.setup = os.path.join(common.TOP, "qemu", f"setup-{profile}")
        self.factor = guest.slow() * FACTOR.get(kernel, 1.0)
        self.rules = splats.read_allow(os.path.join(
            common.TOP, "configs", "splats.allow"))
        self.done = []
        self.accel = ""
        self.boots = 0
        self.position = 0
        self.total = 0

    def run(self, units):
        """All UNITS, a boot for each kernel command line."""
        self.total = len(units)
        groups = {}
        for unit in units:
            groups.setdefault(unit.append, []).append(unit)
        for append, members in groups.items():
            label = f" [{append}]" if append and len(groups) > 1 else ""
            while members:
                members = self._boot(append, members, label)
        return self.done

    def _announce(self, unit):
        self.position += 1
        common.say(f"{self.profile}/{self.kernel}: {unit.name} "
                   f"({self.position} of {self.total}, at most "
                   f"{unit.limit * self.factor:.0f} s)")

    def _share(self, numbered):
        """Fills the folder that the guest sees."""
        share = os.path.join(self.out, f"boot-{self.boots}")
        shutil.rmtree(share, ignore_errors=True)
        os.makedirs(os.path.join(share, "files"))
        shutil.copy(RUN_UNITS, os.path.join(share, "run-units"))
        if os.path.exists(self.setup):
            shutil.copy(self.setup, os.path.join(share, "setup"))
        names = {u.what.split("/")[0] for _, u in numbered
                 if u.kind == "program"}
        # what shell scripts among them source
        if names and "kselftest" in self.files:
            names.add("kselftest")
        for name in names:
            shutil.copytree(self.files[name],
                            os.path.join(share, "files", name), symlinks=True)
        with open(os.path.join(share, "units"), "w",
                  encoding="utf-8") as lines:
            for number, unit in numbered:
                lines.write(f"{number}\t{unit.name}\t{unit.kind}\t"
                            f"{unit.limit * self.factor:.0f}\t{unit.what}\n")
        return share

    def _boot(self, append, units, label):
        """One boot. Returns the units that still have to run."""
        self.boots += 1
        numbered = list(enumerate(units, 1))
        share = self._share(numbered)
        console = os.path.join(self.out, f"console-{self.boots}.log")
        follower = Follower(share, numbered, self.factor, self._announce)
        follower.start()
        common.say(f"{self.profile}/{self.kernel}: boot {self.boots}"
                   + (f", with {append}" if append else ""))
        total = sum(u.limit * self.factor + GRACE for u in units)
        try:
            with open(os.path.join(self.out, f"agent-{self.boots}.log"),
                      "wb") as said:
                result = guest.boot(
                    self.profile, self.kernel,
                    ["/bin/sh", "/share/run-units", "/share"],
                    append=append, share=share, timeout=total + 600,
                    cpus=self.cpus, console=console, stdout=said, stderr=said,
                    extra=["-pidfile", os.path.join(share, "qemu.pid")],
                    env={"KSFT_MACHINE_SLOW": f"{self.factor:g}",
                         **self.env})
        finally:
            follower.over.set()
            follower.join()
        self.accel = result.accel
        log = read(console) or ""
        found = splats.scan(log, self.rules)
        left = []
        for number, unit in numbered:
            folder = os.path.join(share, str(number))
            if os.path.exists(os.path.join(folder, "started")):
                self._judge(unit, folder, label, log, found, result,
                            follower.killed is unit)
            else:
                left.append(unit)
        if len(left) == len(units):
            # it never came to a unit: another boot would not either
            for unit in left:
                self._broken(unit, label, result, share, console)
            return []
        # what killed the kernel, or had to be left hanging, has no end
        cut = any(not os.path.exists(os.path.join(share, str(n), "seconds"))
                  for n, unit in numbered if unit not in left)
        self._kernel(share, label, log, found, result, cut)
        shutil.rmtree(os.path.join(share, "files"), ignore_errors=True)
        return left

    def _broken(self, unit, label, result, share, console):
        """Set-up did not get as far as UNIT."""
        why = (read(share, "setup.output") or "").splitlines()[-10:]
        said = read(self.out, f"agent-{self.boots}.log") or ""
        log = (read(console) or "").splitlines()[-25:]
        outcome = ktap.CRASH if result.outcome == "panic" else ktap.BROKEN
        reason = "before the unit ran: " + (
            f"the machine's set-up ended with {result.detail}"
            if result.outcome == "ok" else result.detail)
        self.done.append(Done(
            ktap.Test("", outcome, reason, why + said.splitlines()[-10:]),
            unit.name + label, None, log))

    def _judge(self, unit, folder, label, log, found, result, killed):
        """Reads one unit's results and adds its tests to .done."""
        output = read(folder, "output") or ""
        status = (read(folder, "status") or "").split()
        times = (read(folder, "seconds") or "").split()
        seconds = float(times[1]) - float(times[0]) if len(times) == 2 \
            else None
        name = unit.name + label
        messages = splats.unit_log(log, unit.name)
        tests = self._tests(unit, output, status, result, killed)
        mine = [s for s in found if s.unit == unit.name and not s.allowed]
        if status:              # a panic's own messages are its "crash"
            for number, splat in enumerate(mine, 1):
                tests.append(ktap.Test(f"(kernel log {number})", ktap.FAIL,
                                       splat.title, splat.lines))
        before, after = read(folder, "taint.before"), read(folder, "taint")
        if after:
            gained = int(after) & ~int(before or 0)
            if unit.kind == "kunit":
                gained &= ~splats.TAINT_TEST
            if gained:
                tests.append(ktap.Test(
                    "(taint)", ktap.FAIL, "the kernel became tainted: "
                    + splats.taint_names(gained)))
        if not any(t.outcome != ktap.SKIP for t in tests) and not tests:
            tests.append(ktap.Test("", ktap.FAIL, "no result at all",
                                   output.splitlines()))
        for test in tests:
            entry = Done(test, name, seconds, messages)
            self._skips(entry, unit.name + ("/" + test.name
                                            if test.name else ""))
            self.done.append(entry)

    def _tests(self, unit, output, status, result, killed):
        """The ktap.Tests of a unit that was started."""
        lines = output.splitlines()
        tests = ktap.parse(output)
        limit = unit.limit * self.factor
        if status[:1] == ["timeout"] or killed or (
                not status and result.outcome == "timeout"):
            end = ktap.Test("(unit)", ktap.TIMEOUT, f"not finished after "
                            f"{limit:.0f} s", lines[-40:])
        elif not status:
            end = ktap.Test("(unit)", ktap.CRASH, "the kernel died: "
                            + result.detail, lines[-40:])
        else:
            code = int(status[1])
            if code == 0 and unit.kind == "kunit":
                for test in tests:          # ".../SUITE/TEST": SUITE is ours
                    test.name = test.name.removeprefix(unit.what).lstrip("/")
            end = self._exit(unit, code, tests, lines)
            if not end or end.outcome == ktap.FAIL:
                return tests + ([end] if end else [])
        # what it managed before it hung or died still counts; that the rest
        # is missing needs no line of its own
        return [t for t in tests if not t.name.startswith("(")] + [end]

    @staticmethod
    def _exit(unit, code, tests, lines):
        """What the exit status says that the results do not."""
        if code == 127:
            return ktap.Test("(unit)", ktap.BROKEN, f"cannot run {unit.what}",
                             lines[-10:])
        if code > 128:
            return ktap.Test("(unit)", ktap.CRASH,
                             f"killed by signal {code - 128}", lines[-40:])
        failed = any(t.outcome not in (ktap.PASS, ktap.SKIP) for t in tests)
        skipped = tests and all(t.outcome == ktap.SKIP for t in tests)
        if code == 0 or failed or (code == 4 and skipped):
            return None
        return ktap.Test("(unit)", ktap.FAIL, f"exit status {code}, though "
                         "no test failed", lines[-40:])

    def _skips(self, entry, test):
        """An unexpected skip is a failure."""
        if entry.outcome != ktap.SKIP or self.plan is None:
            return
        expected = self.plan.expected_skip(test, self.profile)
        if expected:
            entry.reason = f"{entry.reason} (expected: {expected})".strip()
        else:
            entry.outcome = ktap.FAIL
            entry.reason = f"unexpected skip: {entry.reason}"

    def _kernel(self, share, label, log, found, result, cut):
        """What the boot as a whole shows outside the units: log and leaks,
        and whether it came to its end, unless a unit CUT it short."""
        unit = "kernel" + label
        if self.boots > 1:
            unit += f" (boot {self.boots})"
        bad = [s for s in found if not s.unit and not s.allowed]
        for number, splat in enumerate(bad, 1):
            self.done.append(Done(
                ktap.Test(f"log {number}", ktap.FAIL, splat.title,
                          splat.lines), unit))
        if not bad:
            self.done.append(Done(ktap.Test("log", ktap.PASS), unit))
        taint = read(share, "end", "taint")
        leaks = read(share, "end", "leaks")
        if leaks is not None:
            lost = [s for s in splats.leaks(leaks, self.rules)
                    if not s.allowed]
            lines = [line for s in lost[:10] for line in s.lines]
            self.done.append(Done(
                ktap.Test("leaks", ktap.FAIL if lost else ktap.PASS,
                          f"kmemleak: {len(lost)} objects" if lost else "",
                          lines), unit))
        if taint is None and not cut:
            self.done.append(Done(
                ktap.Test("end", ktap.BROKEN, "the run did not reach its "
                          f"end: {result.outcome}, {result.detail}"),
                unit, None, log.splitlines()[-25:]))
