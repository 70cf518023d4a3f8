# SPDX-License-Identifier: GPL-2.0
"""Unit tests of the runner's parsers on canned text."""
import json
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ET

import common
import follower
import ktap
import report
import runner
import splats
import units


def brief(text):
    """{name: outcome} of KTAP TEXT."""
    return {t.name: t.outcome for t in ktap.parse(text)}


class Ktap(unittest.TestCase):
    """The parser: nesting, and what is missing is a failure."""

    def test_flat(self):
        """Pass, fail and skip, with and without dash and number."""
        self.assertEqual(brief(
            "TAP version 13\n1..4\nok 1 a\nnot ok 2 - b\n"
            "ok 3 c # SKIP no node\nok - d\n# Totals: pass:1\n"),
            {"a": "pass", "b": "fail", "c": "skip", "d": "pass"})

    def test_kunit(self):
        """Suites, cases and parameters without a plan."""
        self.assertEqual(brief(
            "KTAP version 1\n1..1\n    KTAP version 1\n"
            "    # Subtest: suite\n    1..2\n"
            "        KTAP version 1\n        # Subtest: par\n"
            "        ok 1 x\n        not ok 2 y\n"
            "    # par: EXPECTATION FAILED at a.c:1\n    not ok 1 par\n"
            "    ok 2 plain\nnot ok 1 suite\n"),
            {"suite/par/x": "pass", "suite/par/y": "fail",
             "suite/plain": "pass"})

    def test_kselftest_nesting(self):
        """A runner's output nests with "# ", three deep."""
        self.assertEqual(brief(
            "TAP version 13\n1..1\n# TAP version 13\n# 1..2\n"
            "# # TAP version 13\n# # 1..1\n# # ok 1 leaf\n"
            "# # # Totals: pass:1\n# ok 1 inner\n# not ok 2 other # exit=1\n"
            "not ok 1 outer # exit=1\n"),
            {"outer/inner/leaf": "pass", "outer/other": "fail"})

    def test_missing(self):
        """No plan, too few results, an end inside a nested test."""
        self.assertEqual(brief("ok 1 a\n")["(plan)"], "fail")
        self.assertEqual(brief("1..2\nok 1 a\n")["(plan)"], "fail")
        self.assertEqual(brief("")["(plan)"], "fail")
        self.assertEqual(brief("1..0\n")["(plan)"], "fail")
        self.assertEqual(brief("1..1\n    KTAP version 1\n    1..1\n"
                               "    ok 1 a\n")["(end)"], "fail")
        self.assertEqual(brief("1..1\n    1..2\n    ok 1 a\nok 1 b\n")
                         ["b/(plan)"], "fail")

    def test_numbers(self):
        """A result printed twice, as a forked buffer would."""
        self.assertIn("a (number)", brief("1..1\nok 1 a\nok 1 a\n"))

    def test_parent_alone(self):
        """A parent that fails though its parts pass counts."""
        self.assertEqual(brief("1..1\n    1..1\n    ok 1 a\nnot ok 1 b\n"),
                         {"b/a": "pass", "b": "fail"})

    def test_not_ours(self):
        """Diagnostics that look like results are no results."""
        self.assertEqual(brief("1..1\n# ok 7 no\n  ok 2 no\nok 1 a\n"),
                         {"a": "pass"})

    def test_endings(self):
        """What the harness says about crashed and hung tests."""
        self.assertEqual(brief(
            "1..4\n# f.a: Test terminated unexpectedly by signal 11\n"
            "not ok 1 f.a\n# b: Test terminated by timeout\nnot ok 2 b\n"
            "not ok 3 c # TIMEOUT 45 seconds\nok 4 d # XFAIL known\n"),
            {"f.a": "crash", "b": "timeout", "c": "timeout", "d": "pass"})

    def test_whole_skip(self):
        """A program that skips itself; a bail-out is a failure."""
        self.assertEqual(brief("TAP version 13\n1..0 # SKIP not root\n"),
                         {"": "skip"})
        self.assertEqual(brief("1..2\nok 1 a\nBail out! no memory\n")
                         ["(bail out)"], "fail")

    def test_output(self):
        """A test keeps the lines above its result."""
        test = ktap.parse("1..1\n# because\nnot ok 1 a\n")[0]
        self.assertEqual(test.output, ["# because"])


WARNING = """\
[    1.000000] Linux version 7.3.4
[    2.000000] private-nodes-unit: start kunit/a
[    2.100000] ------------[ cut here ]------------
[    2.100001] WARNING: mm/page_alloc.c:1 at f+0x1/0x2, CPU#0: t/1
[    2.100002] Call Trace:
[    2.100003] ---[ end trace 0000000000000000 ]---
[    2.200000] private-nodes-unit: end kunit/a
[    3.000000] BUG: Bad rss-counter state mm:1 type:MM_ANONPAGES val:1
"""
EARLY = """\
[    0.1] ==================================================================
[    0.1] BUG: KASAN: wild-memory-access in rcu_is_watching+0x1/0x2
[    0.1] Read of size 4 at addr 1
[    0.1]  identify_cpu+0x1
[    0.1] ==================================================================
[    0.2] BUG: KASAN: use-after-free in other+0x1/0x2
"""


class Splats(unittest.TestCase):
    """The deny list, the allow list, leaks, taint."""

    def test_units(self):
        """A splat belongs to the unit that ran."""
        found = splats.scan(WARNING)
        self.assertEqual([s.unit for s in found], ["kunit/a", ""])
        self.assertTrue(found[0].title.startswith("WARNING: mm/page_alloc"))
        self.assertEqual(len(splats.unit_log(WARNING, "kunit/a")), 4)

    def test_each(self):
        """Each of the messages that must never pass unseen."""
        for line in ("BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
                     "WARNING: possible circular locking dependency detected",
                     "WARNING: inconsistent lock state",
                     "INFO: possible recursive locking detected",
                     "WARNING: suspicious RCU usage",
                     "rcu: INFO: rcu_sched self-detected stall on CPU",
                     "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                     "BUG: Bad rss-counter state mm:0 type:MM_FILEPAGES",
                     "BUG: Bad page state in process a  pfn:1",
                     "unreferenced object 0xffff888100000000 (size 8):",
                     "INFO: task a:1 blocked for more than 120 seconds.",
                     "watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
                     "Oops: general protection fault, probably for non-can",
                     "UBSAN: array-index-out-of-bounds in a.c:1:2",
                     "BUG: kernel NULL pointer dereference, address: 0",
                     "kernel BUG at mm/a.c:1!",
                     "[ BUG: Invalid wait context ]",
                     "BUG: sleeping function called from invalid context"):
            found = splats.scan(f"<4>[    1.5][   T12] {line}\n")
            self.assertEqual([s.title for s in found], [line])

    def test_harmless(self):
        """What a healthy boot logs."""
        for line in ("Fallback order for Node 0: 0 1 2",
                     "Debug: sleeping functions are fine",
                     "kmemleak: 2 new suspected memory leaks (see /sys/...)",
                     "a[1]: segfault at 0 ip 1 sp 2 error 4 in b",
                     "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null)",
                     "    # case: EXPECTATION FAILED at BUG: x"):
            self.assertEqual(splats.scan(f"[    1.5] {line}\n"), [], line)

    def test_allow(self):
        """The narrow exemption covers its report and not the next one."""
        rules = splats.read_allow(os.path.join(common.TOP, "configs",
                                               "splats.allow"))
        found = splats.scan(EARLY, rules)
        self.assertEqual([bool(s.allowed) for s in found], [True, False])

    def test_allow_in_a_unit(self):
        """An exemption for some units is none for others."""
        with tempfile.NamedTemporaryFile("w", suffix=".allow") as rules:
            rules.write("page dumped\ta reason\tkunit/a* kunit/b\n")
            rules.flush()
            read = splats.read_allow(rules.name)
        for unit, allowed in (("kunit/a1", True), ("kunit/b", True),
                              ("kunit/b1", False), ("", False)):
            found = [splats.Splat(unit, "page dumped because: x")]
            splats.allow(found, read)
            self.assertEqual(bool(found[0].allowed), allowed, unit)

    def test_allow_wants_a_reason(self):
        """A rule without a reason is refused."""
        with tempfile.NamedTemporaryFile("w", suffix=".allow") as rules:
            rules.write("WARNING\n")
            rules.flush()
            with self.assertRaises(common.Fail):
                splats.read_allow(rules.name)

    def test_leaks(self):
        """kmemleak's report, object by object."""
        found = splats.leaks("unreferenced object 0x1 (size 8):\n  comm \"a\""
                             "\nunreferenced object 0x2 (size 8):\n  x\n")
        self.assertEqual([len(s.lines) for s in found], [2, 2])
        self.assertEqual(splats.leaks(""), [])

    def test_taint(self):
        """The mask in words."""
        self.assertEqual(splats.taint_names(1 << 9 | 1 << 18),
                         "warning, in-kernel test")


class Report(unittest.TestCase):
    """Counts and files."""

    def done(self):
        """One result of each kind."""
        return [runner.Done(ktap.Test(name, name, "why\x1b", ["out\0"]), "u",
                            1.0, ["log"]) for name in ktap.OUTCOMES]

    def test_counts(self):
        """Whatever neither passed nor skipped has failed."""
        self.assertEqual(report.counts(self.done()), (1, 4, 1))

    def test_files(self):
        """All forms agree, and hold the failed test's own output."""
        with tempfile.TemporaryDirectory() as out:
            words = report.write(self.done(), out, {"kernel": "test"}, "x")
            self.assertTrue(words.endswith("1 passed, 4 failed, 1 skipped\n"))
            self.assertIn("CRASH: u/crash: why", words)
            with open(os.path.join(out, "results.json"),
                      encoding="utf-8") as text:
                data = json.load(text)
            self.assertEqual((data["failed"], len(data["tests"])), (4, 6))
            suite = ET.parse(os.path.join(out, "junit.xml")).getroot()
            self.assertEqual((suite.get("failures"), suite.get("errors")),
                             ("1", "3"))

    def test_closing(self):
        """The last line is read as it is written."""
        self.assertEqual(report.read_closing("x\n1 passed, 2 failed, "
                                             "3 skipped\n"), (1, 2, 3))
        self.assertIsNone(report.read_closing("1 passed, 2 failed, "
                                              "3 skipped\nmore\n"))
        self.assertIsNone(report.read_closing(""))


class Follow(unittest.TestCase):
    """The watch over a guest."""

    def follow(self, status):
        """A follower's verdict on a unit that started a while ago, with a
        process in place of QEMU: (unit it gave up, whether QEMU lives)."""
        unit = units.Unit("u", "program", "a/u", 0.1)
        with tempfile.TemporaryDirectory() as share, subprocess.Popen(
                ["sleep", "60"]) as machine:
            os.mkdir(os.path.join(share, "1"))
            for name, text in (("qemu.pid", str(machine.pid)),
                               ("1/started", ""), ("1/status", status)):
                if text is not None:
                    with open(os.path.join(share, name), "w",
                              encoding="utf-8") as out:
                        out.write(text)
            said = []
            watch = follower.Follower(share, [(1, unit)], 1.0, said.append, 0.2)
            watch.start()
            watch.join(10)
            alive = machine.poll() is None
            machine.kill()
            self.assertEqual(said, [unit])
            return watch.killed, alive

    def test_silent_guest(self):
        """A guest that stopped answering is ended, and no other."""
        gone, _ = self.follow(None)
        self.assertEqual(gone.name, "u")
        self.assertEqual(self.follow("exit 0"), (None, True))


class Table(unittest.TestCase):
    """configs/tests.plan and its like."""

    def plan(self, text):
        """A units.Plan of TEXT."""
        with tempfile.NamedTemporaryFile("w", suffix=".plan") as table:
            table.write(text)
            table.flush()
            return units.Plan(table.name)

    def test_choice(self):
        """First line wins for the same command line; others add a run."""
        plan = self.plan("run a/x numa 9 p=1\nrun a/* numa 60 p=1\n"
                         "run a/x numa settings\nskip a/x/* cxl no node\n")
        chosen = plan.units("numa", ["a/x", "a/y"], lambda name: 45)
        self.assertEqual([(u.name, u.limit, u.append) for u in chosen],
                         [("a/x", 9, "p=1"), ("a/y", 60, "p=1"),
                          ("a/x", 45, "")])
        self.assertEqual(plan.expected_skip("a/x/t", "cxl"), "no node")
        self.assertIsNone(plan.expected_skip("a/x/t", "numa"))

    def test_gaps(self):
        """A unit that no line runs, and a line that runs nothing."""
        plan = self.plan("run a/* numa 60\n")
        with self.assertRaises(common.Fail):
            plan.check(["a/x", "b/x"])
        with self.assertRaises(common.Fail):
            plan.check([])

    def test_malformed(self):
        """Each wrong line is refused."""
        for line in ("run a numa", "walk a numa 60", "run a moon 60",
                     "run a numa soon", "skip a/b numa"):
            with self.assertRaises(common.Fail, msg=line):
                self.plan(line + "\n")

    def test_ours(self):
        """The project's own table can be read."""
        self.assertTrue(units.Plan().runs)
