# SPDX-License-Identifier: GPL-2.0
"""A PostgreSQL server in the guest, and how to ask it things."""
import glob
import os
import re
import subprocess
import sys
import time

HOME = "/tmp/postgres"
LIBRARY = HOME + "/mshare_preload.so"
USER = {"user": "postgres", "group": "postgres", "extra_groups": []}


class Fail(Exception):
    """What went wrong."""


def say(text):
    """Progress."""
    print(f"  {text}", file=sys.stderr, flush=True)


def figure(how, name, value):
    """A result."""
    print(f"figure {how} {name} {value}", flush=True)


def read(path):
    """A file's text; "" when it is gone."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def meminfo(name):
    """A line of /proc/meminfo, KiB"""
    return int(re.search(rf"^{name}:\s+(\d+)", read("/proc/meminfo"), re.M)[1])


def run(*argv, **options):
    """Run a program of PostgreSQL as its user; what it prints."""
    done = subprocess.run(argv, **USER, cwd=HOME, text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise Fail(f"{' '.join(argv)}: exit status {done.returncode}\n"
                   f"{done.stdout[-2000:]}")
    return done.stdout


class Session:
    """psql, which stays: a new one for each question takes a second here."""

    def __init__(self, folder):
        # pylint: disable=consider-using-with
        self.psql = subprocess.Popen(
            ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", folder, "postgres"],
            **USER, cwd=HOME, text=True, bufsize=1, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)

    def ask(self, query):
        """The rows that a query returns."""
        self.psql.stdin.write(query + ";\n\\echo .\n")
        rows = []
        for line in self.psql.stdout:
            if line == ".\n":
                return rows
            rows.append(line.rstrip("\n"))
        raise Fail(f"the server did not answer: {query}")

    def number(self, query):
        """The one number that a query returns."""
        return int(self.ask(query)[0])

    def close(self):
        """End it."""
        self.psql.stdin.close()
        if self.psql.wait():
            raise Fail(f"psql ended with {self.psql.returncode}")


class Server:
    """A PostgreSQL server; HOW: plain or mshare, which is where it lives, too."""

    def __init__(self, how):
        self.how = how
        self.folder = os.path.join(HOME, how)
        # page tables without it
        self.before = meminfo("PageTables")
        data = os.path.join(self.folder, "data")
        env = dict(os.environ)
        if how == "mshare":
            env.update(LD_PRELOAD=LIBRARY, MSHARE_PRELOAD_VERBOSE="1")
        with open(HOME + "/log", "ab") as log:
            # pylint: disable=consider-using-with
            self.process = subprocess.Popen(
                ["postgres", "-D", data, "-k", self.folder], **USER, cwd=HOME, env=env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while not read(data + "/postmaster.pid").rstrip().endswith("ready"):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Fail("the server does not start")
            time.sleep(0.1)
        self.session = Session(self.folder)

    def tables(self):
        """Page tables that are there because of it and its clients, KiB"""
        return meminfo("PageTables") - self.before

    def processes(self):
        """Its process ids, its own first"""
        own = self.process.pid
        return [own] + read(f"/proc/{own}/task/{own}/children").split()

    def backends(self):
        """Those of connections: their process ids"""
        return self.session.ask("select pid from pg_stat_activity where "
                                "backend_type = 'client backend'")

    def faults(self):
        """Minor faults of all its processes: field 10, after the name"""
        return sum(int(text.rpartition(")")[2].split()[7])
                   for text in (read(f"/proc/{pid}/stat")
                                for pid in self.processes()) if text)

    def regions(self):
        """What fdinfo says of the regions that it controls: dicts"""
        found = []
        for path in glob.glob(f"/proc/{self.process.pid}/fdinfo/*"):
            fields = dict(re.findall(r"^mshare-(\S+):\s+(\d+)", read(path), re.M))
            if fields:
                found.append({name: int(value)
                              for name, value in fields.items()})
        return found

    def check(self, connections, buffers):
        """Is its shared memory where it is to be, in all processes?"""
        windows = [pid for pid in self.backends()
                   if re.search(r" mshare:\[\d+\]$", read(f"/proc/{pid}/maps"),
                                re.M)]
        regions = self.regions()
        if self.how == "plain":
            if windows or regions:
                raise Fail("the plain server has a region")
            return
        if len(regions) != 1 or regions[0]["size"] < buffers << 20:
            raise Fail(f"no region with the shared buffers: {regions}")
        if len(windows) < connections or regions[0]["members"] <= connections:
            raise Fail(f"{len(windows)} of {connections} connections have a "
                       f"window: {regions}")
        figure(self.how, "members", regions[0]["members"])
        figure(self.how, "region-tables-kb", regions[0]["tables"])

    def stop(self):
        """Shut it down, with a checkpoint."""
        self.session.close()
        self.process.send_signal(2)
        if self.process.wait(300):
            raise Fail(f"the server ended with {self.process.returncode}")

    def kill(self):
        """Whatever it does"""
        if self.process.poll() is None:
            self.process.send_signal(3)
            self.process.wait(60)
