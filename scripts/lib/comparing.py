# SPDX-License-Identifier: GPL-2.0
"""Holds the results of the same tests on several systems against each other.

Results are {variant: {unit: {test: outcome}}}. What one system has and the
other has not is "missing", and a difference like any other."""
import collections
import fnmatch
import os
import re

import common
import guest
import ktap

PLAN = os.path.join(common.TOP, "configs", "compare.plan")
ALLOW = os.path.join(common.TOP, "configs", "compare.allow")
BASE = "base"
MISSING = "missing"
TRIES = 3
# from good to bad, where results of several boots become one
WORSE = (ktap.SKIP, ktap.PASS, ktap.FAIL, ktap.TIMEOUT, ktap.CRASH,
         ktap.BROKEN)
BOOT = re.compile(r" \(boot \d+\)")
# what differs from run to run in the names of tests
VARIES = ((re.compile(r"\b0x[0-9a-f]{5,}\b"), "0x..."),
          (re.compile(r"\b(pid|inode|ino)[ =:]+\d+"), r"\1 ..."),
          (re.compile(r"\bMemTotal \d+ -> \d+ kB"), "MemTotal ... -> ... kB"),
          # mrelease_test: twice as much until it is quick enough to reap it
          (re.compile(r"(reaping a child with) \d+MB"), r"\1 ...MB"),
          # what pagemap_ioctl and its like have counted
          (re.compile(r"\b(Extra pages|extra thread faults) \d+"
                      r"( \(\d+\.\d+%\))?"), r"\1 ..."))

Unit = collections.namedtuple(
    "Unit", "name profile cpus limit command by_status")
Rule = collections.namedtuple("Rule", "kind test variant reason")
Difference = collections.namedtuple(
    "Difference", "unit test variant base other")


def _lines(path):
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split()
            if words and not line.startswith("#"):
                yield f"{path}:{number}", words


class Plan:
    """configs/compare.plan: .units; .variants, {name: {profile: (kernel,
    arguments)}}; .control, {profile: (kernel, arguments)}; .left, {what:
    reason}."""

    def __init__(self, path=PLAN):
        self.units, self.variants, self.control = [], {}, {}
        self.left = {}
        for place, words in _lines(path):
            try:
                self._take(*words)
            except (TypeError, ValueError, KeyError) as error:
                raise common.Fail(f"{place}: wants 'variant NAME PROFILE "
                                  "KERNEL [ARGUMENTS]', 'control PROFILE "
                                  "KERNEL [ARGUMENTS]', 'run|exit "
                                  "COLLECTION/NAME PROFILE CPUS LIMIT "
                                  "COMMAND' or 'leave UNIT REASON'") from error
        if BASE not in self.variants:
            raise common.Fail(f"{path}: no variant '{BASE}'")
        for name, count in collections.Counter(
                unit.name for unit in self.units).items():
            if count > 1:
                raise common.Fail(f"{path}: {name} is there {count} times")
        for unit in self.units:
            if unit.profile not in self.variants[BASE]:
                raise common.Fail(f"{path}: {unit.name} wants profile "
                                  f"{unit.profile}, which has no '{BASE}'")

    def _take(self, kind, first, second, *rest):
        if kind == "variant":
            self._machine(second)
            self.variants.setdefault(first, {})[second] = (
                rest[0] if rest else None, " ".join(rest[1:]))
            if not rest:
                raise ValueError("no kernel")
        elif kind == "control":
            self._machine(first)
            self.control[first] = (second, " ".join(rest))
        elif kind == "leave":
            self.left[first] = " ".join((second,) + rest)
        elif kind in ("run", "exit") and first.count("/") == 1:
            cpus, limit, *command = rest
            self._machine(second)
            if not command:
                raise ValueError("no command")
            self.units.append(Unit(first, second, int(cpus), int(limit),
                                   " ".join(command), kind == "exit"))
        else:
            raise ValueError(kind)

    @staticmethod
    def _machine(profile):
        if profile not in guest.PROFILES:
            raise KeyError(profile)

    def collections(self):
        """The folders of tests that are needed."""
        return sorted({unit.name.split("/")[0] for unit in self.units})


class Allowed:
    """configs/compare.allow: what may differ, and why."""

    def __init__(self, path=ALLOW):
        self.rules = []
        for place, words in _lines(path):
            if len(words) < 4 or words[0] not in ("differs", "flaky",
                                                  "idle"):
                raise common.Fail(f"{place}: wants 'differs|flaky|idle TEST "
                                  "VARIANT REASON'")
            self.rules.append(Rule(words[0], words[1], words[2],
                                   " ".join(words[3:])))

    def find(self, kind, test, variant):
        """The rule of that KIND for a test in a variant, or None."""
        for rule in self.rules:
            if rule.kind == kind and fnmatch.fnmatchcase(test, rule.test) \
                    and fnmatch.fnmatchcase(variant, rule.variant):
                return rule
        return None


def gather(done, prefix):
    """{unit: {test: outcome}} of a runner's judged tests. What concerns no
    unit goes to one of the name PREFIX; several boots count as one there."""
    found = {}
    for entry in done:
        unit = BOOT.sub("", entry.unit)
        test = entry.name[len(entry.unit):].lstrip("/")
        # a test that skips may give its name where the reason belongs
        test = test.replace("(no name)", entry.reason or "(no name)")
        for pattern, plain in VARIES:
            test = pattern.sub(plain, test)
        if unit.startswith("kernel"):
            tests = found.setdefault(prefix, {})
            tests[test] = max(tests.get(test, ktap.SKIP), entry.outcome,
                              key=WORSE.index)
            continue
        tests = found.setdefault(unit, {})
        name, number = test, 1
        while name in tests:
            number += 1
            name = f"{test} #{number}"
        tests[name] = entry.outcome
    return found


def add(results, new):
    """Put NEW ({unit: tests}) into RESULTS; boots add up."""
    for unit, tests in new.items():
        if unit.startswith("(") and unit in results:
            for test, outcome in tests.items():
                results[unit][test] = max(results[unit].get(test, ktap.SKIP),
                                          outcome, key=WORSE.index)
        else:
            results[unit] = tests


def differences(base, other, variant, units=None):
    """Where OTHER ({unit: tests}) is not as BASE; UNITS: only these."""
    found = []
    for unit in sorted(set(base) | set(other)):
        if units is not None and unit not in units:
            continue
        old, new = base.get(unit, {}), other.get(unit, {})
        for test in sorted(set(old) | set(new)):
            pair = old.get(test, MISSING), new.get(test, MISSING)
            if pair[0] != pair[1]:
                found.append(Difference(unit, test, variant, *pair))
    return found


def where(difference):
    """A difference's test as one name."""
    return f"{difference.unit}/{difference.test}".rstrip("/")


def idle(base, allowed):
    """Units in which nothing passes on the base kernel: their agreement
    says nothing. As [(unit, reason or None)]."""
    found = []
    for unit, tests in sorted(base.items()):
        if not unit.startswith("(") and ktap.PASS not in tests.values():
            rule = allowed.find("idle", unit, BASE)
            found.append((unit, rule and rule.reason))
    return found


def passes(difference, *systems):
    """Whether the test of DIFFERENCE passes on all SYSTEMS: to fail alike is
    no proof. What the runner has added, as "(plan)", may be absent instead."""
    for units in systems:
        tests = units.get(difference.unit)
        if not tests or tests.get(difference.test) != ktap.PASS and not (
                difference.test.startswith("(")
                and difference.test not in tests):
            return False
    return True


def agreement(base, other):
    """Counter of the outcomes that both have."""
    return collections.Counter(
        outcome for unit, tests in base.items()
        for test, outcome in tests.items()
        if other.get(unit, {}).get(test) == outcome)


def table(rows):
    """ROWS of (Difference, note) as text."""
    if not rows:
        return "no difference\n"
    lines = [("variant", BASE, "there", "test", "")]
    lines += [(d.variant, d.base, d.other, where(d), note)
              for d, note in rows]
    widths = [max(len(line[n]) for line in lines) for n in range(4)]
    return "".join("  ".join(
        [f"{word:{width}}" for word, width in zip(line, widths)]
        + [line[4]]).rstrip() + "\n" for line in lines)
