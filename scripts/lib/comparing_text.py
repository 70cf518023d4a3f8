# SPDX-License-Identifier: GPL-2.0
"""Unit tests of the comparison of results, on made-up results."""
import os
import tempfile
import unittest

import common
import comparing
import ktap
import runner


def done(unit, name, outcome, reason=""):
    """A judged test."""
    return runner.Done(ktap.Test(name, outcome, reason), unit)


class Compare(unittest.TestCase):
    """Losses are seen, and nothing else."""

    def test_lost(self):
        """Another outcome, a test and a unit that are missing."""
        base = {"mm/a": {"x": "pass", "y": "pass"}, "mm/b": {"z": "skip"}}
        other = {"mm/a": {"x": "fail", "new": "pass"}}
        found = {comparing.where(d): (d.base, d.other) for d in
                 comparing.differences(base, other, "patched")}
        self.assertEqual(found, {
            "mm/a/x": ("pass", "fail"), "mm/a/y": ("pass", "missing"),
            "mm/a/new": ("missing", "pass"), "mm/b/z": ("skip", "missing")})
        self.assertEqual(comparing.differences(base, base, "patched"), [])

    def test_gather(self):
        """Equal names stay apart, addresses do not; boots become one."""
        found = comparing.gather([
            done("mm/a", "x", "pass"), done("mm/a", "x", "fail"),
            done("mm/a", "at 0x7f0012345000", "pass"),
            done("mm/a", "Extra pages 18 (0.1%), extra thread faults 2.",
                 "pass"),
            done("mm/a", "(no name)", "skip", "test_b"),
            done("kernel", "log", "pass"),
            done("kernel (boot 2)", "log 1", "fail"),
            done("kernel (boot 2)", "log", "pass")], "(kernel)")
        self.assertEqual(found, {
            "mm/a": {"x": "pass", "x #2": "fail", "at 0x...": "pass",
                     "Extra pages ..., extra thread faults ....": "pass",
                     "test_b": "skip"},
            "(kernel)": {"log": "pass", "log 1": "fail"}})

    def test_again(self):
        """What settles a flaky test: it passes on both, and only that."""
        row = comparing.Difference("mm/a", "x", "patched", "pass", "fail")
        good, bad = {"mm/a": {"x": "pass"}}, {"mm/a": {"x": "fail"}}
        self.assertTrue(comparing.passes(row, good, good))
        for other in (bad, {}, {"mm/a": {"(unit)": "timeout"}}):
            self.assertFalse(comparing.passes(row, good, other))
        self.assertFalse(comparing.passes(row, bad, bad))
        row = row._replace(test="(plan)")
        self.assertTrue(comparing.passes(row, good, good))
        self.assertFalse(comparing.passes(row, good, {}))

    def test_idle(self):
        """Agreement in failure shows nothing."""
        with tempfile.NamedTemporaryFile("w", suffix=".allow") as rules:
            rules.write("# why\nidle mm/b base no such device\n"
                        "flaky mm/*/x patched it races\n")
            rules.flush()
            allowed = comparing.Allowed(rules.name)
        self.assertEqual(comparing.idle(
            {"mm/a": {"x": "fail"}, "mm/b": {"": "skip"},
             "mm/c": {"x": "pass"}}, allowed),
            [("mm/a", None), ("mm/b", "no such device")])
        self.assertEqual(allowed.find("flaky", "mm/a/x", "patched").reason,
                         "it races")
        self.assertIsNone(allowed.find("flaky", "mm/a/x", "unused"))
        self.assertIsNone(allowed.find("differs", "mm/a/x", "patched"))

    def test_files(self):
        """The tables of the project, and lines that are wrong."""
        plan = comparing.Plan()
        comparing.Allowed()
        self.assertTrue(set(plan.variants) > {"base", "patched"})
        self.assertTrue(plan.control)
        for line in ("run mm/a numa 4", "run mm/a nowhere 4 5 ./a",
                     "run a numa 4 5 ./a", "run mm/a numa x 5 ./a",
                     "leave mm/a", "walk mm/a numa 4 5 ./a"):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "plan")
                with open(path, "w", encoding="utf-8") as text:
                    text.write("variant base numa base\n" + line + "\n")
                with self.assertRaises(common.Fail, msg=line):
                    comparing.Plan(path)
