# SPDX-License-Identifier: GPL-2.0
"""What QEMU is given: machine profiles, accelerator, initramfs, job."""
import os
import re
import shlex
import shutil
import stat

from common import BUILD, HOST_TOOLS, TOP, Fail

PROFILES = ("numa", "soft", "cxl", "caps", "dax", "two", "tiers",
            "stress", "large")


def slow():
    """The factor for slower machines, by the name kselftest uses."""
    try:
        return max(1.0, float(os.environ.get("KSFT_MACHINE_SLOW") or 1))
    except ValueError:
        return 1.0


def read_profile(name):
    """The settings (dict) and QEMU options (list) of a machine profile."""
    path = os.path.join(TOP, "qemu", name)
    if name not in PROFILES:
        raise Fail(f"no profile '{name}': there are {', '.join(PROFILES)}", 2)
    settings, options = {}, []
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            words = shlex.split(line, comments=True)
            if words and words[0].startswith("@"):
                settings[words[0][1:]] = " ".join(words[1:])
            else:
                options += words
    return settings, options


def machine(profile, accel, cpus, append):
    """QEMU options and kernel command line for a profile."""
    settings, options = read_profile(profile)
    if accel == "icount":
        options += ["-accel", "tcg,thread=single", "-cpu", "max",
                    "-icount", "shift=0,sleep=off"]
        cpus = 1
        append = "tsc=reliable nokaslr " + append
    elif accel == "kvm":
        options += ["-accel", "kvm", "-cpu", "host"]
    else:
        options += ["-accel", "tcg,thread=multi", "-cpu", "max"]
    cpus = cpus or int(settings["cpus"])
    # a socket each, else the kernel warns about nodes that share one
    options += ["-smp", f"{cpus},sockets={cpus},cores=1,threads=1"]
    # QEMU wants to know where CPUs are before it hears how fast memory is
    where = next((at - 1 for at, option in enumerate(options)
                  if option.startswith("hmat-")), len(options))
    nodes = int(settings["cpu-nodes"])
    options[where:where] = [
        option for cpu in range(cpus)
        for option in ("-numa", f"cpu,node-id={cpu % nodes},socket-id={cpu}")]
    line = "console=ttyS0 panic=-1 oops=panic loglevel=7 printk.time=1"
    return options, " ".join(f"{line} {settings.get('append', '')} {append}"
                             .split())


def choose_accel(profile, accel=None):
    """kvm where it can work, else tcg. /dev/kvm alone proves nothing: it is
    there on machines whose processor cannot run a guest."""
    if accel:
        return accel
    if read_profile(profile)[0].get("accel") == "tcg":
        return "tcg"
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        flags = re.search(r"^flags\s*:.*", info.read(), re.M)
    capable = flags and re.search(r"\b(vmx|svm)\b", flags[0])
    usable = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return "kvm" if capable and usable else "tcg"


def cpio(entries):
    """A cpio archive in the kernel's 'newc' format, of (name, mode, data,
    device) entries."""
    out = []
    for inode, (name, mode, data, dev) in enumerate(entries, 1):
        numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0,
                   dev[0], dev[1], len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % n for n in numbers)
        head += name.encode() + b"\0"
        out += [head, b"\0" * (-len(head) % 4),
                data, b"\0" * (-len(data) % 4)]
    return b"".join(out)


def initrd(job):
    """The initramfs: busybox, qemu/init, qemu/agent, and the job."""
    root = guest_root()
    busybox = next((p for p in (os.path.join(root, "usr/bin/busybox"),
                                os.path.join(root, "bin/busybox"))
                    if os.path.exists(p)), None)
    if not busybox:
        raise Fail(f"no busybox in {root}: run scripts/setup "
                   "(TOOLS=host: install busybox-static)")

    def text(path):
        with open(path, "rb") as data:
            return data.read()
    file, exe = stat.S_IFREG | 0o644, stat.S_IFREG | 0o755
    entries = [("dev", stat.S_IFDIR | 0o755, b"", (0, 0)),
               ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
               ("bin", stat.S_IFDIR | 0o755, b"", (0, 0)),
               ("bin/busybox", exe, text(busybox), (0, 0)),
               ("init", exe, text(os.path.join(TOP, "qemu/init")), (0, 0)),
               ("agent", exe, text(os.path.join(TOP, "qemu/agent")), (0, 0)),
               ("job", file, job.encode(), (0, 0)),
               ("TRAILER!!!", 0, b"", (0, 0))]
    return cpio(entries)


def guest_root():
    """Where the guest's root file system is on this machine."""
    root = os.path.join(BUILD, "root")
    return "/" if HOST_TOOLS and not os.path.exists(root + ".stamp") else root


def job_text(profile, kernel, command, share, env):
    """The shell fragment that tells the guest what to do."""
    name = kernel if "/" not in kernel else "other"
    values = {"PROFILE": profile, "KERNEL": name,
              "KSFT_MACHINE_SLOW": f"{slow():g}", **(env or {})}
    lines = [f"export {k}={shlex.quote(str(v))}" for k, v in values.items()]
    lines.append(f"SHARE={'1' if share else ''}")
    if command is None:
        size = shutil.get_terminal_size()
        lines += ["INTERACTIVE=1", f"ROWS={size.lines}", f"COLS={size.columns}",
                  f"GUEST_TERM={shlex.quote(os.environ.get('TERM', ''))}"]
    else:
        lines += ["INTERACTIVE=", "job_command() {",
                  "exec_command " + " ".join(map(shlex.quote, command)), "}"]
        # one word is a shell command line, several are an argument list
        lines.append('exec_command() { if [ $# -eq 1 ]; then bash -c "$1"; '
                     'else "$@"; fi; }')
    return "\n".join(lines) + "\n"
