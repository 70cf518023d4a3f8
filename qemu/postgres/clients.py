# SPDX-License-Identifier: GPL-2.0
"""All connections at once, one step after the other."""
import subprocess
import time

from server import HOME, USER, Fail, read

TOUCH = 8           # buffers: the 64 KiB that a fault maps
# Kinds of steps
NOTHING = -1
BUFFERS = 0         # read them
READS = 1           # select-only
CHANGES = 2         # simple-update

# What each client does, as often as the driver says: "left" transactions of a kind;
# then it waits for the lock that the driver has, and asks what comes next. The
# statements are those of pgbench's own select-only and simple-update.
SCRIPT = """
\\if :kind = {buffers}
select 1 / (count(abalance) = {rows})::int from pgbench_accounts
 where aid = any ((select aids from touch)::int[]);
\\elif :kind != {nothing}
\\set aid random(1, 100000 * {scale})
\\if :kind = {reads}
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
\\else
\\set bid random(1, 1 * {scale})
\\set tid random(1, 10 * {scale})
\\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
 VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
\\endif
\\endif
\\set left :left - 1
\\if :left <= 0
select pg_advisory_lock_shared(:lock);
select kind, lock, "left" from step \\gset
\\endif
"""


class Clients:
    """pgbench with all connections, which do one step after the other together:
    so each step begins when all have ended the one before."""

    def __init__(self, server, count, rows, scale):
        self.session = server.session
        self.count = count
        self.lock = 1
        self.log = server.folder + "/clients"
        script = server.folder + "/script.sql"
        with open(script, "w", encoding="utf-8") as file:
            file.write(SCRIPT.format(
                rows=rows, scale=scale, buffers=BUFFERS, nothing=NOTHING,
                reads=READS))
        self.session.ask("insert into step values (0, 0, 0)")
        self.session.ask("select pg_advisory_lock(1)")
        with open(self.log, "wb") as log:
            # pylint: disable=consider-using-with
            self.pgbench = subprocess.Popen(
                ["pgbench", "-n", "-h", server.folder, "-c", str(count), "-j",
                 "2", "-M", "prepared", "-t", "2000000000", "-f", script, "-D",
                 f"kind={NOTHING}", "-D", "left=1", "-D", "lock=1", "postgres"],
                **USER, cwd=HOME, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log)
        # pgbench connects one after the other, and begins when all are there
        self.gather(all_there=False)

    def gather(self, all_there=True):
        """Wait until all are waiting."""
        end = time.monotonic() + 600
        while True:
            waiting, there = map(int, self.session.ask(
                "select (select count(*) from pg_locks where locktype = "
                f"'advisory' and objid = {self.lock} and not granted), "
                "(select count(*) from pg_stat_activity where "
                "application_name = 'pgbench')")[0].split("|"))
            if waiting == self.count:
                return
            if self.pgbench.poll() is not None or \
                    all_there and there < self.count:
                raise Fail(f"{there} of {self.count} connections are left\n"
                           + read(self.log)[:2000])
            if time.monotonic() > end:
                raise Fail(f"of {self.count} connections only {waiting} have "
                           "ended their step")
            time.sleep(0.2)

    def step(self, kind, count):
        """Let each do so many transactions; seconds until all have."""
        ask = self.session.ask
        ask(f"select pg_advisory_lock({self.lock + 1})")
        ask(f"update step set kind = {kind}, lock = {self.lock + 1}, "
            f"\"left\" = {count}")
        start = time.monotonic()
        ask(f"select pg_advisory_unlock({self.lock})")
        self.lock += 1
        self.gather()
        return time.monotonic() - start

    def end(self):
        """They have done what they were to do."""
        self.pgbench.kill()
        self.pgbench.wait()
