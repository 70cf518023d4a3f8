# SPDX-License-Identifier: GPL-2.0
"""Writes judged tests as text for people, JSON and JUnit XML."""
import json
import os
import re
import xml.etree.ElementTree as ET

import ktap

CONTROL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")
CLOSING = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
# How much of a failed test is shown; the files hold all.
OUTPUT_LINES, LOG_LINES = 40, 40


def counts(done):
    """(passed, failed, skipped): whatever neither passed nor skipped has
    failed."""
    passed = sum(d.outcome == ktap.PASS for d in done)
    skipped = sum(d.outcome == ktap.SKIP for d in done)
    return passed, len(done) - passed - skipped, skipped


def closing(numbers):
    """The last line of every test command."""
    return "{} passed, {} failed, {} skipped".format(*numbers)


def read_closing(text):
    """The counts in the last line of TEXT, or None."""
    lines = text.strip().splitlines()
    found = CLOSING.match(lines[-1].strip()) if lines else None
    return tuple(map(int, found.groups())) if found else None


def _log_that_matters(lines):
    """The end of a unit's kernel log, or the part around a complaint."""
    words = re.compile(r"WARNING|BUG|Oops|panic|KASAN|oom|killed|blocked|"
                       r"private", re.I)
    if len(lines) <= LOG_LINES:
        return lines
    hits = [n for n, line in enumerate(lines) if words.search(line)]
    first = max(0, hits[0] - 3) if hits else len(lines) - LOG_LINES
    first = min(first, len(lines) - LOG_LINES)
    return lines[first:first + LOG_LINES]


def text(done, heading):
    """The summary for people."""
    lines = [heading, ""]
    shown = set()
    units = {}
    for entry in done:
        units.setdefault(entry.unit, []).append(entry)
    width = max([len(u) for u in units] or [0])
    for unit, members in units.items():
        passed, failed, skipped = counts(members)
        took = next((f"  {m.seconds:6.1f} s" for m in members
                     if m.seconds is not None), "")
        word = "FAIL" if failed else "ok  " if passed else "skip"
        lines.append(f"{word} {unit:{width}}  {passed:4} passed "
                     f"{failed:3} failed {skipped:3} skipped{took}")
    for entry in done:
        if entry.outcome in (ktap.PASS, ktap.SKIP):
            continue
        lines += ["", f"{entry.outcome.upper()}: {entry.name}: "
                      f"{entry.reason or 'see below'}"]
        lines += ["    " + line for line in entry.output[-OUTPUT_LINES:]]
        if entry.log and entry.unit not in shown:
            shown.add(entry.unit)
            lines.append("  kernel log meanwhile:")
            lines += ["    " + line for line in _log_that_matters(entry.log)]
    skipped = [e for e in done if e.outcome == ktap.SKIP]
    if skipped:
        lines += ["", "skipped:"]
        lines += [f"    {e.name}: {e.reason}" for e in skipped]
    return "\n".join(lines) + "\n\n" + closing(counts(done)) + "\n"


def write_json(done, path, facts):
    """Everything, for programs. FACTS: what ran where (a dict)."""
    passed, failed, skipped = counts(done)
    data = dict(facts, passed=passed, failed=failed, skipped=skipped,
                tests=[{"name": e.name, "unit": e.unit, "outcome": e.outcome,
                        "reason": e.reason, "unit_seconds": e.seconds,
                        "output": e.output,
                        "log": e.log if e.outcome not in (
                            ktap.PASS, ktap.SKIP) else []} for e in done])
    with open(path, "w", encoding="utf-8") as out:
        json.dump(data, out, indent=1)
        out.write("\n")


def write_junit(done, path, name):
    """JUnit XML, as test dashboards read it."""
    passed, failed, skipped = counts(done)
    errors = sum(e.outcome in (ktap.CRASH, ktap.TIMEOUT, ktap.BROKEN)
                 for e in done)
    suite = ET.Element("testsuite", name=name,
                       tests=str(passed + failed + skipped),
                       failures=str(failed - errors), errors=str(errors),
                       skipped=str(skipped))

    def clean(words):
        return CONTROL.sub("?", words)
    for entry in done:
        case = ET.SubElement(suite, "testcase", classname=clean(entry.unit),
                             name=clean(entry.name))
        body = clean("\n".join(entry.output + entry.log[-LOG_LINES:]))
        if entry.outcome == ktap.SKIP:
            ET.SubElement(case, "skipped", message=clean(entry.reason))
        elif entry.outcome == ktap.FAIL:
            ET.SubElement(case, "failure",
                          message=clean(entry.reason)).text = body
        elif entry.outcome != ktap.PASS:
            ET.SubElement(case, "error", type=entry.outcome,
                          message=clean(entry.reason)).text = body
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def write(done, out, facts, name):
    """All forms into the folder OUT. Returns the text."""
    heading = f"{name} ({facts.get('accelerator') or 'no guest'})"
    summary = text(done, heading)
    with open(os.path.join(out, "summary.txt"), "w",
              encoding="utf-8") as lines:
        lines.write(summary)
    write_json(done, os.path.join(out, "results.json"), facts)
    write_junit(done, os.path.join(out, "junit.xml"), name)
    return summary
