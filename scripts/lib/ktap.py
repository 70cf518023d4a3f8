# SPDX-License-Identifier: GPL-2.0
"""Reads KTAP: test results as kselftests and KUnit write them, nested.

parse(text) returns the leaves as Test objects whose names are whole paths.
What a plan promised and no line delivered is a failure, and so is output
without a plan: a test program that died early must not look green.
"""
import re

PASS, FAIL, SKIP = "pass", "fail", "skip"
CRASH, TIMEOUT, BROKEN = "crash", "timeout", "broken"
OUTCOMES = (PASS, FAIL, SKIP, CRASH, TIMEOUT, BROKEN)

PREFIX = re.compile(r"(?:# |  )*")
VERSION = re.compile(r"K?TAP version \d+\s*$")
PLAN = re.compile(r"1\.\.(\d+)(?:\s+#\s*SKIP\b\s*(.*))?\s*$", re.I)
RESULT = re.compile(r"(ok|not ok)\b(?:\s+(\d+))?(?:\s+(.*))?$")
DIRECTIVE = re.compile(r"(?:^|\s)#\s*(SKIP|TODO|XFAIL|TIMEOUT)\b:?\s*(.*)$",
                       re.I)
SUBTEST = re.compile(r"# Subtest: (.*\S)")
BAIL = re.compile(r"Bail out!\s*(.*)")
DIED = re.compile(r"terminated unexpectedly by signal (\d+)")


class Test:
    """One result: NAME is a path, OUTCOME one of OUTCOMES."""

    def __init__(self, name, outcome, reason="", output=()):
        assert outcome in OUTCOMES, outcome
        self.name = name
        self.outcome = outcome
        self.reason = reason
        self.output = list(output)

    def __repr__(self):
        return f"{self.name}: {self.outcome} {self.reason}".rstrip()


class Level:
    """One nesting depth that is open: its indentation, plan and results."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.plan = None
        self.last = 0           # number of the last result line
        self.tests = []         # leaves seen so far
        self.output = []        # lines since the last result
        self.bailed = None
        self.skipped = None     # reason of "1..0 # SKIP"
        self.named = ""         # from a "# Subtest:" line


def _result(word, text):
    """(name, outcome, reason) of a result line's words."""
    reason, outcome = "", PASS if word == "ok" else FAIL
    found = DIRECTIVE.search(text)
    if found:
        kind, reason = found.group(1).upper(), found.group(2).strip()
        text = text[:found.start()]
        if kind == "SKIP":
            outcome = SKIP if word == "ok" else FAIL
        elif kind == "TIMEOUT":
            outcome = TIMEOUT
        elif kind == "XFAIL" and word == "ok":
            reason = "expected failure: " + reason
    name = re.sub(r"\s+#.*$", "", text).strip()
    return (re.sub(r"^- ?", "", name) or "(no name)"), outcome, reason


def _died(outcome, output):
    """The harness says only "not ok" where a test crashed or hung."""
    if outcome == FAIL:
        for line in output:
            found = DIED.search(line)
            if found:
                return CRASH, f"killed by signal {found.group(1)}"
            if "Test terminated by timeout" in line:
                return TIMEOUT, "the test's own time limit"
            if "Test terminated by assertion" in line:
                return FAIL, "assertion"
    return outcome, ""


def _close(level, needs_plan):
    """What the end of LEVEL adds: a leaf for each promise not kept."""
    extra = []
    if level.bailed is not None:
        extra.append(Test("(bail out)", FAIL, level.bailed, level.output))
    if level.skipped is not None and not level.tests:
        extra.append(Test("", SKIP, level.skipped, level.output))
    elif level.plan is None:
        if needs_plan:
            extra.append(Test("(plan)", FAIL, "no plan: the output has no "
                              "1..N line", level.output))
    elif level.last < level.plan:
        extra.append(Test("(plan)", FAIL, f"{level.last} results of "
                          f"{level.plan} planned: the rest is missing",
                          level.output))
    elif level.plan == 0 and not level.tests:
        extra.append(Test("(plan)", FAIL, "a plan of no tests",
                          level.output))
    return extra


class Parser:
    """Line by line; finish() gives the leaves."""

    def __init__(self):
        self.levels = [Level("")]

    def _innermost(self):
        return self.levels[-1]

    def _open_at(self, prefix, may_open):
        """The level of PREFIX. Opens one below the innermost if MAY_OPEN;
        None if a line with this prefix is no KTAP of ours."""
        for level in self.levels:
            if level.prefix == prefix:
                return level
        if may_open and len(prefix) > len(self._innermost().prefix):
            self.levels.append(Level(prefix))
            return self._innermost()
        return None

    def _pop_below(self, level):
        """Closes what is nested in LEVEL: (leaves, output) of it."""
        tests, output, count = [], [], 0
        while self._innermost() is not level:
            inner = self.levels.pop()
            # deeper levels that nobody closed come first
            tests = inner.tests + tests + _close(inner, False)
            output = inner.output + output
            count += 1
        return tests, output, count

    def line(self, text):
        """Takes one line."""
        text = text.rstrip()
        prefix = PREFIX.match(text).group()
        if prefix.endswith("# ") and text.startswith("Subtest: ",
                                                     len(prefix)):
            prefix = prefix[:-2]            # KUnit's name line, no nesting
        rest = text[len(prefix):]
        opens = VERSION.match(rest) or PLAN.match(rest) or \
            SUBTEST.match(rest)
        result = RESULT.match(rest)
        if not (opens or result or BAIL.match(rest)):
            self._innermost().output.append(text)
            return
        level = self._open_at(prefix, opens)
        if level is None:                   # looks like KTAP, is not ours
            self._innermost().output.append(text)
        elif result:
            self._take_result(level, result)
        elif BAIL.match(rest):
            self._innermost().output.append(text)
            level.bailed = BAIL.match(rest).group(1)
        elif PLAN.match(rest):
            if level.plan is None:
                level.plan = int(PLAN.match(rest).group(1))
                if level.plan == 0 and "skip" in rest.lower():
                    level.skipped = PLAN.match(rest).group(2) or ""

    def _take_result(self, level, found):
        nested, nested_output, count = self._pop_below(level)
        name, outcome, reason = _result(found.group(1), found.group(3) or "")
        output = level.output + nested_output
        level.output = []
        number = int(found.group(2) or level.last + 1)
        if number != level.last + 1:
            level.tests.append(Test(f"{name} (number)", FAIL,
                                    f"result {number} follows {level.last}",
                                    output))
        level.last = number
        if not count or not nested:
            died, why = _died(outcome, output)
            level.tests.append(Test(name, died, reason or why, output))
            return
        for test in nested:
            test.name = f"{name}/{test.name}".rstrip("/")
        level.tests += nested
        # the parent speaks for itself only where its parts do not say it
        failed = any(t.outcome not in (PASS, SKIP) for t in nested)
        if outcome not in (PASS, SKIP) and not failed:
            died, why = _died(outcome, output)
            level.tests.append(Test(name, died, reason or why or
                                    "failed, its parts did not", output))

    def finish(self):
        """The leaves, with a failure for each thing missing."""
        top = self.levels[0]
        nested, output, count = self._pop_below(top)
        top.output += output
        if count:                           # the parent never reported
            top.tests += nested
            top.tests.append(Test("(end)", FAIL, "the output ends inside a "
                                  "nested test", top.output))
        return top.tests + _close(top, True)


def parse(text):
    """The leaves of TEXT as a list of Test."""
    parser = Parser()
    for line in text.splitlines():
        parser.line(line)
    return parser.finish()
