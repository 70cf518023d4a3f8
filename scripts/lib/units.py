# SPDX-License-Identifier: GPL-2.0
"""What there is to test, and where: KUnit suites, kselftest programs, and
the table configs/tests.plan."""
import fnmatch
import glob
import os
import re

import common
import guest

PLAN = os.path.join(common.TOP, "configs", "tests.plan")
SUITE = re.compile(r"struct\s+kunit_suite\s+\w+\s*=\s*\{(.*?)^\};",
                   re.S | re.M)
SUITE_NAME = re.compile(r"\.name\s*=\s*\"([^\"]+)\"")


class Unit:
    """One thing to run in the guest: KIND kunit (WHAT is a suite) or program
    (WHAT is COLLECTION/PROGRAM), LIMIT seconds, APPEND its command line."""

    def __init__(self, name, kind, what, limit=60, append=""):
        self.name = name
        self.kind = kind
        self.what = what
        self.limit = limit
        self.append = append


class Plan:
    """The table: run lines and skip lines."""

    def __init__(self, path=PLAN):
        self.path = path
        self.runs = []      # (glob, profile, limit, append)
        self.skips = []     # (glob, profile, reason)
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                words = line.split()
                if words and not line.startswith("#"):
                    self._take(number, words)

    def _take(self, number, words):
        where = f"{self.path}:{number}"
        if len(words) < 4 and words[0] == "skip":
            raise common.Fail(f"{where}: a skip wants a test, a profile and "
                              "the reason")
        if len(words) < 4 or words[0] not in ("run", "skip"):
            raise common.Fail(f"{where}: wants 'run UNIT PROFILE LIMIT "
                              "[ARGUMENTS]' or 'skip TEST PROFILE REASON'")
        kind, pattern, profile, third = words[:4]
        if profile not in guest.PROFILES:
            raise common.Fail(f"{where}: no profile {profile}; there are "
                              + ", ".join(guest.PROFILES))
        if kind == "skip":
            self.skips.append((pattern, profile, " ".join(words[3:])))
        elif third != "settings" and not third.isdigit():
            raise common.Fail(f"{where}: the limit is a number of seconds or "
                              f"'settings', not {third}")
        else:
            self.runs.append((pattern, profile, third, " ".join(words[4:])))

    def expected_skip(self, test, profile):
        """The reason why TEST may skip there, or None."""
        for pattern, where, reason in self.skips:
            if where == profile and fnmatch.fnmatchcase(test, pattern):
                return reason
        return None

    def check(self, names):
        """Fail where the table and the units (NAMES) do not fit."""
        for name in names:
            if not any(fnmatch.fnmatchcase(name, run[0])
                       for run in self.runs):
                raise common.Fail(f"no line of {self.path} runs {name}")
        for pattern, *_ in self.runs:
            if not fnmatch.filter(names, pattern):
                raise common.Fail(f"{self.path}: no unit is called {pattern}; "
                                  "there are " + ", ".join(names or ["none"]))

    def units(self, profile, names, settings=lambda name: 45):
        """The units (of NAMES) that PROFILE runs; SETTINGS tells the time
        limit of a kselftest program."""
        chosen, seen = [], set()
        for pattern, where, limit, append in self.runs:
            if where != profile:
                continue
            for name in fnmatch.filter(names, pattern):
                if (name, append) in seen:
                    continue
                seen.add((name, append))
                kind = "kunit" if name.startswith("kunit/") else "program"
                what = name[len("kunit/"):] if kind == "kunit" else name
                seconds = settings(name) if limit == "settings" \
                    else int(limit)
                chosen.append(Unit(name, kind, what, seconds, append))
        return chosen


def kunit_suites(folder=os.path.join(common.TOP, "kunit")):
    """The names of the suites in our KUnit sources."""
    names = []
    for path in sorted(glob.glob(os.path.join(folder, "*.c"))):
        with open(path, encoding="utf-8") as text:
            for body in SUITE.findall(text.read()):
                names += SUITE_NAME.findall(body)[:1]
    return ["kunit/" + name for name in names]


def collections():
    """The kselftest folders of the series."""
    return sorted(name for name in os.listdir(
        os.path.join(common.TOP, "selftests"))
        if os.path.isdir(os.path.join(common.TOP, "selftests", name)))


def programs(installed):
    """The kselftest programs of ours in the folder INSTALLED."""
    path = os.path.join(installed, "kselftest-list.txt")
    try:
        with open(path, encoding="utf-8") as lines:
            listed = [line.strip().replace(":", "/", 1) for line in lines
                      if line.strip()]
    except OSError as error:
        raise common.Fail(f"no list of kselftests ({path}): build them with "
                          "scripts/kernel --selftests, or leave out "
                          "--no-build") \
            from error
    return sorted(name for name in listed
                  if name.split("/")[0] in collections())


def settings_limit(installed, name):
    """The timeout= of the settings file beside the program NAME."""
    path = os.path.join(installed, os.path.dirname(name), "settings")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as text:
            found = re.search(r"^timeout=(\d+)", text.read(), re.M)
        if found:
            return int(found.group(1)) or 3600
    return 45               # what kselftest's own runner takes
