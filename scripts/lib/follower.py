# SPDX-License-Identifier: GPL-2.0
"""Watches a guest that runs test units, by the files that it writes."""
import os
import signal
import threading
import time

# What may pass beyond a unit's limit until its boot is given up.
GRACE = 90


def read(*parts):
    """The text of a file in the results, None if it is not there."""
    try:
        with open(os.path.join(*parts), encoding="utf-8",
                  errors="replace") as text:
            return text.read()
    except OSError:
        return None


class Follower(threading.Thread):
    """Tells what runs while the guest is busy, and ends a guest that has
    stopped answering."""

    def __init__(self, share, units, factor, announce, grace=GRACE):
        super().__init__(daemon=True)
        self.share = share
        self.units = units
        self.factor = factor
        self.announce = announce
        self.grace = grace
        self.over = threading.Event()
        self.killed = None

    def run(self):
        for number, unit in self.units:
            folder = os.path.join(self.share, str(number))
            while not os.path.exists(os.path.join(folder, "started")):
                if self.over.wait(0.3):
                    return
            self.announce(unit)
            deadline = time.monotonic() + unit.limit * self.factor + \
                self.grace
            while not os.path.exists(os.path.join(folder, "status")):
                if self.over.wait(0.3):
                    return
                if time.monotonic() > deadline:
                    self.killed = unit
                    pid = read(self.share, "qemu.pid")
                    if pid:
                        os.kill(int(pid), signal.SIGKILL)
                    return
