# SPDX-License-Identifier: GPL-2.0
"""PostgreSQL in the guest, its shared buffers as they are and in a region of
mshare: qemu/postgres measures, this shows and judges."""
import os
import shutil

import common
import guest
import splats

PROFILE = "large"
MEMORY = 8192           # MiB that it has
LEAST = 160             # MiB of shared buffers
ROWS = (
    ("page tables before, KiB", "tables-connected-kb"),
    ("page tables after, KiB", "tables-read-kb"),
    ("minor faults of all processes", "faults-read"),
    ("time until all have read them, s", "seconds-read"),
    ("select-only, transactions/s", "tps-select-only"),
    ("read-write, transactions/s", "tps-read-write"),
)


class Lines:
    """A binary file that hands each line that is written to a function."""

    def __init__(self, function):
        self.function = function
        self.rest = b""

    def write(self, data):
        """Hand on the lines that are complete."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.function(line.decode(errors="replace"))

    def flush(self):
        """A part of a line is not handed on."""


class Figures:
    """What the guest printed."""

    def __init__(self, connections, buffers):
        self.connections = connections
        self.buffers = buffers
        self.version = ""
        self.values = {"plain": {}, "mshare": {}, "table": {}}

    def line(self, line):
        """Take one."""
        words = line.split()
        if len(words) == 4 and words[0] == "figure" and words[1] in self.values:
            self.values[words[1]][words[2]] = float(words[3])
        elif words[:1] == ["server"]:
            self.version = " ".join(words[1:])
        elif line:
            common.say("postgres: " + line.strip())

    def facts(self):
        """All of it, for JSON"""
        return {"version": self.version, "connections": self.connections,
                "buffers-mib": self.buffers, **self.values}

    def text(self):
        """The table"""
        lines = [f"  {self.version}, {self.connections} connections, "
                 f"{self.buffers} MiB of shared buffers,",
                 f"  of which each connection reads "
                 f"{self.values['table']['kb'] / 1024:.0f} MiB:", "",
                 f"  {'':36}{'plain':>16}{'mshare':>16}"]
        for title, name in ROWS:
            row = [self.values[how].get(name) for how in ("plain", "mshare")]
            if None in row:
                continue
            places = 0 if min(row) >= 100 else 1
            lines.append(f"  {title:36}" + "".join(
                f"{value:>16,.{places}f}" for value in row))
            if f"{name}-most" in self.values["plain"]:
                spread = [f"{self.values[how][name + '-least']:,.0f} to "
                          f"{self.values[how][name + '-most']:,.0f}"
                          for how in ("plain", "mshare")]
                lines.append(f"  {'    least and most':36}" + "".join(
                    f"{words:>16}" for words in spread))
        return "\n".join(lines) + "\n"

    def judge(self):
        """(does mshare save the page tables that it has to, and in words).
        Plain, each connection has a table for each 2 MiB that it has read."""
        plain, mshare = (self.values[how]["tables-read-kb"]
                         for how in ("plain", "mshare"))
        due = self.connections * self.values["table"]["kb"] / 512
        good = plain - mshare >= 0.9 * due
        return good, (f"page tables that mshare saves: {plain - mshare:,.0f} KiB "
                      f"of {due:,.0f} KiB that connections have for what they "
                      f"read (limit 90 %): {'ok' if good else 'TOO FEW'}")


def need(connections, buffers):
    """About how much memory the guest needs, in MiB: for two servers, the
    buffers, the files in a tmpfs, processes, their page tables; and the
    rest."""
    return 4 * buffers + connections * (6 + buffers // 512) + 512


def prepare():
    """The folder that the guest sees, with all that it runs."""
    folder = os.path.join(common.BUILD, "postgres")
    os.makedirs(folder, exist_ok=True)
    log = os.path.join(folder, "build.log")
    if os.path.exists(log):
        os.remove(log)
    source = os.path.join(common.TOP, "samples", "mshare", "mshare_preload.c")
    common.run(common.in_root([
        "gcc", "-O2", "-Wall", "-fPIC", "-shared", "-o",
        f"{common.B}/postgres/mshare_preload.so", source]), log,
        "compiling mshare_preload.c")
    for name in ("run", "server.py", "clients.py"):
        shutil.copy(os.path.join(common.TOP, "qemu", "postgres", name), folder)
    return folder


def measure(connections, buffers, seconds, kernel="test", timeout=1200):
    """Boot KERNEL and run it all; Figures. BUFFERS: MiB; SECONDS: of each
    kind of transactions, 0: none."""
    if connections < 1 or buffers < LEAST or seconds < 0:
        raise common.Fail(f"at least 1 connection, {LEAST} MiB of shared "
                          "buffers and 0 seconds, please", 2)
    if need(connections, buffers) > MEMORY:
        raise common.Fail(
            f"{connections} connections and {buffers} MiB of shared buffers "
            f"need about {need(connections, buffers)} MiB; the machine has "
            f"{MEMORY}", 2)
    folder = prepare()
    figures = Figures(connections, buffers)
    lines = Lines(figures.line)
    console = os.path.join(common.BUILD, "out", "postgres-console.log")
    common.say("postgres: booting")
    result = guest.boot(
        PROFILE, kernel,
        ["/share/run", "--connections", str(connections), "--buffers",
         str(buffers), "--seconds", str(seconds), "--library",
         "/share/mshare_preload.so"],
        share=folder, timeout=timeout * guest.slow(), console=console,
        stdout=lines, stderr=lines)
    if result.outcome != "ok" or result.status:
        raise common.Fail(f"PostgreSQL in the guest: {result.outcome}, "
                          f"{result.detail}; kernel log: {console}")
    with open(console, encoding="utf-8", errors="replace") as log:
        found = [splat for splat in splats.scan(log.read(), splats.read_allow(
            os.path.join(common.TOP, "configs", "splats.allow")))
            if not splat.allowed]
    if found:
        raise common.Fail(f"the kernel log has '{found[0].title}': {console}")
    return figures
