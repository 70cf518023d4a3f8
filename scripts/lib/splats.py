# SPDX-License-Identifier: GPL-2.0
"""Finds what a healthy kernel does not log: warnings, oopses, lockdep and
KASAN reports, stalls, leaks; and reads the taint mask."""
import fnmatch
import re

import common

DENY = re.compile("|".join((
    r"WARNING: ", r"\bBUG: ", r"\bBUG\b.* at ", r"kernel BUG", r"\bOops\b",
    r"Kernel panic", r"KASAN: ", r"KFENCE: ", r"KCSAN: ", r"KMSAN: ",
    r"UBSAN: ", r"general protection fault", r"Unable to handle kernel",
    r"double fault", r"stack guard page was hit", r"refcount_t: ",
    r"INFO: possible recursive locking", r"possible circular locking",
    r"possible irq lock inversion", r"inconsistent lock state",
    r"INFO: lockdep", r"turning off the locking correctness",
    r"bad unlock balance", r"held lock freed", r"lock held when returning",
    r"suspicious RCU usage", r"detected stalls? on", r"self-detected stall",
    r"rcu_\w+ kthread (?:starved|timer wakeup)", r"expedited stalls",
    r"INFO: task .* blocked for more than", r"soft lockup", r"hard LOCKUP",
    r"Bad rss-counter", r"Bad page state", r"Bad page map",
    r"bad page table", r"non-zero pgtables_bytes", r"list_(?:add|del) corr",
    r"sleeping function called", r"scheduling while atomic",
    r"unreferenced object 0x", r"Corrupted page table", r"page dumped because",
    r"VM_BUG", r"VM_WARN", r"trying to register non-static key",
    r"ODEBUG: ", r"Memory failure: .*unexpected",
)))
# What KUnit says about a failed test is no splat, and kmemleak's report is
# read from its own file.
IGNORE = re.compile(r"kmemleak: \d+ new suspected|^\[[^]]*\]\s+# \w+: ")
# "<4>[   12.345678][  T12] ", but not "[ BUG: Invalid wait context ]"
STAMP = re.compile(r"^(?:\[ *[\d.]+\]|\[ *[TC]\d+\]|<\d+>|\s)*")
START = re.compile(r"private-nodes-unit: start (\S+)")
END = re.compile(r"private-nodes-unit: end (\S+)")
STOP = re.compile(r"---\[ end (?:trace|Kernel)|\[ cut here \]|={20,}")
LONGEST = 80
TAINT = {
    0: "proprietary module", 1: "forced module", 2: "cpu out of spec",
    3: "forced unload", 4: "machine check", 5: "bad page",
    6: "set by user space", 7: "oops", 8: "ACPI override", 9: "warning",
    10: "staging driver", 11: "firmware workaround",
    12: "out-of-tree module", 13: "unsigned module", 14: "soft lockup",
    15: "live patch", 16: "auxiliary", 17: "struct randomisation",
    18: "in-kernel test", 19: "fwctl",
}
TAINT_TEST = 1 << 18


class Splat:
    """One message: the UNIT that ran ("" outside any), its lines, and the
    reason if an allow list exempts it."""

    def __init__(self, unit, line):
        self.unit = unit
        self.title = STAMP.sub("", line)
        self.lines = [line]
        self.allowed = None


def read_allow(path):
    """[(compiled expression, reason, units)] of an allow list file; units are
    globs, or nothing for all."""
    rules = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.rstrip("\n")
            if not line.strip() or line.startswith("#"):
                continue
            expression, _, rest = line.partition("\t")
            reason, _, globs = rest.partition("\t")
            if not reason.strip():
                raise common.Fail(f"{path}:{number}: wants an expression, a "
                                  "tab and the reason")
            try:
                rules.append((re.compile(expression, re.S), reason.strip(),
                              globs.split()))
            except re.error as error:
                raise common.Fail(f"{path}:{number}: {error}") from error
    return rules


def allow(splats, rules):
    """Marks the SPLATS that RULES exempt."""
    for splat in splats:
        text = "\n".join(splat.lines)
        for expression, reason, globs in rules:
            if expression.search(text) and (not globs or any(
                    fnmatch.fnmatchcase(splat.unit, glob) for glob in globs)):
                splat.allowed = reason
                break


def scan(log, rules=()):
    """The splats of a console LOG (a string), in order."""
    found, unit, current = [], "", None
    for line in log.replace("\r", "").split("\n"):
        start, end = START.search(line), END.search(line)
        if start or end:
            unit, current = (start.group(1) if start else ""), None
            continue
        if current is not None:
            if STOP.search(line):
                # the rule below a KASAN title ends nothing yet
                if len(current.lines) > 1 or "cut here" in line:
                    current = None
                continue
            current.lines.append(line)
            if len(current.lines) >= LONGEST:
                current = None
            continue
        if DENY.search(line) and not IGNORE.search(line):
            current = Splat(unit, line)
            found.append(current)
    allow(found, rules)
    return found


def unit_log(log, unit):
    """The lines that the kernel logged while UNIT ran."""
    lines, inside = [], False
    for line in log.replace("\r", "").split("\n"):
        if START.search(line):
            inside = START.search(line).group(1) == unit
        elif END.search(line):
            inside = False
        elif inside:
            lines.append(line)
    return lines


def leaks(report, rules=()):
    """The splats of the text in /sys/kernel/debug/kmemleak."""
    found = []
    for line in report.split("\n"):
        if line.startswith("unreferenced object"):
            found.append(Splat("", line))
        elif found and line:
            found[-1].lines.append(line)
    allow(found, rules)
    return found


def taint_names(mask):
    """The bits of a taint MASK in words."""
    return ", ".join(TAINT.get(bit, f"bit {bit}")
                     for bit in range(32) if mask >> bit & 1)
