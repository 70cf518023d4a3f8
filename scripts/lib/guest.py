# SPDX-License-Identifier: GPL-2.0
"""Boot a kernel under QEMU, run a command in the guest, say how it ended."""
import fcntl
import os
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time

from common import B, BUILD, HOST_TOOLS, TOP, Fail, in_root, say
from machine import (PROFILES, choose_accel, guest_root, initrd, job_text,
                     machine, slow)

__all__ = ["KERNELS", "PROFILES", "Result", "boot", "image", "slow"]

KERNELS = ("test", "debug", "base", "extra")
BOOT_SECONDS = 120
KVM_SECONDS = 30     # or it will never come up
PANIC = re.compile(rb"Kernel panic - not syncing|^\[[ .0-9]*\] Oops:", re.M)


class Result:
    """How a boot ended. outcome: 'ok' the command ran and status is its exit
    code; 'panic' the kernel died; 'timeout'; 'boot' the guest never came up.
    accel: kvm or tcg; seconds: wall time; detail: one line for people;
    console: the file with the kernel log."""

    # pylint: disable=too-few-public-methods,too-many-arguments
    def __init__(self, outcome, status, *, accel, seconds, detail, console):
        self.outcome = outcome
        self.status = status
        self.accel = accel
        self.seconds = seconds
        self.detail = detail
        self.console = console


def image(kernel):
    """The bzImage of a kernel (test, debug, base), or of a given path."""
    if "/" in kernel:
        path = os.path.abspath(kernel)
    else:
        path = os.path.join(BUILD, "kernel", kernel, "arch/x86/boot/bzImage")
    if not os.path.exists(path):
        raise Fail(f"no kernel {path}: build it with "
                   f"'scripts/kernel {kernel}'" if "/" not in kernel
                   else f"no kernel {path}")
    return path


class _Ports:
    """The host's ends of the guest's serial ports."""

    def __init__(self, stdout, stderr):
        self.sinks = {"out": stdout or sys.stdout.buffer,
                      "err": stderr or sys.stderr.buffer}
        self.select = selectors.DefaultSelector()
        self.ctl = b""
        self.guest_ends = []
        self.options = ["-device", "virtio-serial-pci,bus=pcie.0"]
        for name in ("ctl", "out", "err"):
            ours, theirs = socket.socketpair()
            self.select.register(ours, selectors.EVENT_READ, name)
            self.guest_ends.append(theirs)
            self.options += ["-chardev",
                             f"socket,id={name},fd={theirs.fileno()}",
                             "-device",
                             f"virtserialport,chardev={name},name={name}"]

    def started(self):
        """QEMU has its ends: close ours, so that its end is seen."""
        for end in self.guest_ends:
            end.close()

    def poll(self, seconds):
        """Pass on what came. False when all ports are closed."""
        if not self.select.get_map():
            time.sleep(min(seconds, 0.05))
            return False
        for key, _ in self.select.select(seconds):
            try:
                data = key.fileobj.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                self.select.unregister(key.fileobj)
                key.fileobj.close()
            elif key.data == "ctl":
                self.ctl += data
            else:
                self.sinks[key.data].write(data)
                self.sinks[key.data].flush()
        return True

    def close(self):
        """Close what is still open."""
        for key in list(self.select.get_map().values()):
            key.fileobj.close()
        self.select.close()
        self.started()

    @property
    def hello(self):
        """Whether the guest's agent runs."""
        return b"hello\n" in self.ctl

    @property
    def status(self):
        """The command's exit status, None as long as it runs."""
        match = re.search(rb"^exit (\d+)\n", self.ctl, re.M)
        return int(match[1]) if match else None


def _take(path):
    """Open a console file that no other machine writes to; None if one
    does."""
    # pylint: disable=consider-using-with
    log = open(path, "ab")
    try:
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.close()
        return None
    log.truncate(0)
    return log


def _console(profile, path):
    """(path, open file) for the kernel log: PATH, or a name that is free."""
    folder = os.path.join(BUILD, "out")
    names = [path] if path else [
        os.path.join(folder, f"console-{profile}{end}.log")
        for end in ("", "-2", "-3", "-4", "-5", "-6", "-7", "-8")]
    for name in map(os.path.abspath, names):
        os.makedirs(os.path.dirname(name), exist_ok=True)
        log = _take(name)
        if log:
            return name, log
    raise Fail(f"{names[-1]} belongs to a machine that is running: wait for "
               "it, or name another console file")


def _wait(proc, ports, timeout, limit):
    """Serve the guest until QEMU ends. Returns what ran out, if anything.
    LIMIT is that for booting."""
    start = time.monotonic()
    while ports.poll(0.5) or proc.poll() is None:
        now = time.monotonic() - start
        if not ports.hello and now > limit:
            return f"no sign of life after {limit:g} s"
        if timeout and now > timeout:
            return f"time limit of {timeout:g} s reached"
    return ""


def _run(options, log, command, binds, ports, limits):
    """Start QEMU and see it through. Returns its exit code, and what ran out
    or else what it said."""
    # pylint: disable=too-many-arguments,too-many-positional-arguments
    log.truncate(0)
    with tempfile.TemporaryFile() as messages:
        options = options + [
            "-add-fd", f"fd={log.fileno()},set=1",
            "-chardev", "file,id=console,path=/dev/fdset/1",
            "-serial", "chardev:console"]
        if not HOST_TOOLS:      # an older QEMU may not know it
            options += ["-run-with", "exit-with-parent=on"]
        tty = None if command is None else subprocess.DEVNULL
        fds = [end.fileno() for end in ports.guest_ends] + [log.fileno()]
        with subprocess.Popen(
                in_root(["qemu-system-x86_64"] + options, binds),
                pass_fds=fds, stdin=tty, stdout=tty, stderr=messages) as proc:
            try:
                ports.started()
                expired = _wait(proc, ports, *limits)
            finally:
                if proc.poll() is None:
                    proc.kill()
        messages.seek(0)
        said = messages.read().decode(errors="replace").strip()
        return proc.returncode, expired or said


def _verdict(ports, code, console, why):
    """(outcome, detail) of a finished run. WHY: what QEMU said, or what
    ended it."""
    with open(console, "rb") as log:
        text = log.read()
    match = PANIC.search(text)
    if match:
        line = text[match.start():].split(b"\n", 1)[0]
        return "panic", line.decode(errors="replace").strip()
    if ports.status is not None:
        return "ok", f"exit status {ports.status}"
    if not ports.hello:
        return "boot", ("the guest did not come up: "
                        + (why or "the machine stopped"))
    if why.startswith("time limit"):
        return "timeout", why
    return "panic", f"the machine stopped without a word (QEMU exit {code})"


def _inside(path):
    """A path in the build folder, as the tools see it."""
    return B + path[len(BUILD):] if path.startswith(BUILD + "/") else path


def _devices(share, interactive):
    """QEMU options for what every machine has: a random number source, the
    guest's 9p file systems, and a terminal if wanted."""
    options = ["-device", "virtio-rng-pci,bus=pcie.0"]
    for tag, path, mode in (("root", _inside(guest_root()), ",readonly=on"),
                            ("build", B, ",readonly=on"),
                            ("share", share, "")):
        if path:
            options += ["-fsdev", f"local,id={tag},path={path},"
                        f"security_model=none,multidevs=remap{mode}",
                        "-device", "virtio-9p-pci,bus=pcie.0,"
                        f"fsdev={tag},mount_tag={tag}"]
    if interactive:
        options += ["-chardev", "stdio,id=tty,mux=on,signal=off",
                    "-mon", "tty", "-device", "virtconsole,chardev=tty"]
    return options


def boot(profile, kernel="test", command=None, *, append="", share=None,
         timeout=600, console=None, accel=None, cpus=None, extra=(),
         stdout=None, stderr=None, env=None):
    """Boot KERNEL (test, debug, base, or the path of a bzImage) on the
    machine PROFILE, run COMMAND there (a list; one word alone is a shell
    command line; None: a shell on this terminal), and return a Result.

    The guest sees the build folder at /b (read-only) and the folder SHARE at
    /share; its kernel log goes to the file CONSOLE. STDOUT and STDERR are
    binary file objects that get the command's output (default: our own).
    accel: kvm, tcg, icount, default whatever works. timeout 0: none."""
    # pylint: disable=too-many-arguments,too-many-locals
    bzimage = image(kernel)
    binds = []
    if share:
        share = os.path.realpath(share)
        if not os.path.isdir(share):
            raise Fail(f"--share {share}: no such folder", 2)
        binds.append(share)
    if not bzimage.startswith((BUILD + "/", TOP + "/")):
        binds.append(os.path.dirname(bzimage))
    begin = time.monotonic()
    asked, accel = accel, choose_accel(profile, accel)
    os.makedirs(os.path.join(BUILD, "tmp"), exist_ok=True)
    console, log = _console(profile, console)
    with log, tempfile.NamedTemporaryFile(
            dir=os.path.join(BUILD, "tmp"), prefix="initrd.") as ramfs:
        ramfs.write(initrd(job_text(profile, kernel, command, share, env)))
        ramfs.flush()
        while True:
            options, line = machine(profile, accel, cpus, append)
            ports = _Ports(stdout, stderr)
            options = ["-nodefaults", "-display", "none", "-no-reboot",
                       *options, "-kernel", _inside(bzimage),
                       "-append", line, "-initrd", _inside(ramfs.name),
                       *_devices(share, command is None), *ports.options,
                       *extra]
            limit = KVM_SECONDS if accel == "kvm" else BOOT_SECONDS
            limit = float("inf") if "-S" in extra else limit * slow()
            try:
                code, why = _run(options, log, command, binds, ports,
                                 (timeout, limit))
            finally:
                ports.close()
            if accel != "kvm" or asked or ports.hello:
                break
            say("the guest did not come up with KVM; trying without")
            accel = "tcg"
    outcome, detail = _verdict(ports, code, console, why)
    return Result(outcome, ports.status, accel=accel, console=console,
                  seconds=time.monotonic() - begin, detail=detail)
