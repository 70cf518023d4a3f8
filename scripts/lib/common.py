# SPDX-License-Identifier: GPL-2.0
"""What the scripts share: folders, progress, errors, the tools root."""
import os
import signal
import subprocess
import sys
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.realpath(os.environ.get("BUILD") or os.path.join(TOP, "build"))
HOST_TOOLS = os.environ.get("TOOLS") == "host"
# The build folder as the tools see it: a fixed name, for ccache and for
# binaries that do not depend on where the project lies.
B = BUILD if HOST_TOOLS else "/b"
ENTER = os.path.join(TOP, "scripts", "lib", "enter")
START = time.monotonic()


class Fail(Exception):
    """An error for the user: what went wrong and what to do about it."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def elapsed(since=None):
    """Time since the program (or SINCE) started, as m:ss."""
    seconds = int(time.monotonic() - (START if since is None else since))
    return f"{seconds // 60}:{seconds % 60:02d}"


def say(text):
    """One line of progress on standard error, with the time so far."""
    print(f"[{elapsed():>6}] {text}", file=sys.stderr, flush=True)


def in_root(cmd, binds=()):
    """The argument list that runs CMD (a list) with the project's tools."""
    argv = [ENTER]
    for path in binds:
        argv += ["--bind", path]
    return argv + ["--"] + list(cmd)


def run(cmd, log=None, what=None, **kw):
    """Run CMD; its output goes to the file LOG if given. Raises Fail with
    the log's last lines when it fails. Returns the CompletedProcess."""
    if log:
        os.makedirs(os.path.dirname(log), exist_ok=True)
        with open(log, "ab") as out:
            done = subprocess.run(cmd, stdout=out, stderr=subprocess.STDOUT,
                                  stdin=subprocess.DEVNULL, check=False, **kw)
    else:
        done = subprocess.run(cmd, check=False, **kw)
    if done.returncode:
        tail = ""
        if log:
            with open(log, errors="replace") as text:
                tail = "".join("\n    " + line.rstrip()
                               for line in text.readlines()[-15:])
            tail += f"\n  whole log: {log}"
        name = what or " ".join(map(str, cmd[:6]))
        raise Fail(f"{name} failed (exit {done.returncode}){tail}")
    return done


def main(function):
    """Run FUNCTION as a program: Fail becomes a message and an exit code."""
    # so that what is started, or begun, ends as it does otherwise
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(function() or 0)
    except Fail as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
