# SPDX-License-Identifier: GPL-2.0
"""Count the instructions of kernel operations in a guest of one program.

The guest is QEMU with -icount: one CPU, one instruction is one tick of the
time stamp counter, no device that the host's load could hurry or delay. Its
initramfs holds qemu/bench/init.c and a small module; results come out of the
second serial port. See qemu/bench/ for what is measured and how.
"""
import os
import shutil
import stat
import subprocess

import common
import kernel as kernels
import machine

OPERATIONS = [
    ("page-one", "order-0 page, allocate + free"),
    ("page-block", "order-4 block (no per-CPU list), allocate + free"),
    ("fault", "anonymous page fault"),
    ("fault-free", "anonymous page fault + free"),
    ("fault-shared", "shared memory page fault"),
    ("gup-fast", "futex in shared memory (GUP-fast)"),
    ("gup", "process_vm_readv of 16 pages (GUP)"),
    ("mmap", "mmap + munmap"),
    ("unmap", "mmap, populate and munmap 16 pages"),
    ("switch", "to another process and back"),
    ("fork", "fork + exit + wait"),
    ("getppid", "getppid (control)"),
    ("fault-public", "anonymous page fault, bound to another node"),
]
# Measured in the same runs, but not held against the base kernel
OTHERS = ["zonelists"]
MEASURED = [name for name, _ in OPERATIONS] + OTHERS
FUNCTIONS = ["get_page_from_freelist", "__alloc_frozen_pages_noprof",
             "alloc_pages_mpol", "vma_alloc_folio_noprof",
             "handle_mm_fault"]
SOURCE = os.path.join(common.TOP, "qemu", "bench")
TIMEOUT = 900
APPEND = ("console=ttyS0 loglevel=4 panic=-1 oops=panic tsc=reliable nokaslr "
          "norandmaps randomize_kstack_offset=off nowatchdog "
          "transparent_hugepage=never")


def copy_if_changed(source, target):
    """Keep TARGET's time stamp, and so make's work, if nothing changed."""
    with open(source, "rb") as file:
        new = file.read()
    try:
        with open(target, "rb") as file:
            if file.read() == new:
                return
    except FileNotFoundError:
        pass
    with open(target, "wb") as file:
        file.write(new)


def build_guest(kernel):
    """Build init and module for KERNEL; the path of the initramfs."""
    folder = os.path.join(common.BUILD, "bench", kernel)
    seen = f"{common.B}/bench/{kernel}"
    os.makedirs(folder, exist_ok=True)
    for name in ("init.c", "pagebench.c", "Kbuild"):
        copy_if_changed(os.path.join(SOURCE, name),
                        os.path.join(folder, name))
    log = os.path.join(folder, "build.log")
    if os.path.exists(log):
        os.remove(log)
    # One init for all kernels: the same instructions in user space.
    init = os.path.join(common.BUILD, "bench", "init")
    common.run(common.in_root(["gcc", "-O2", "-static", "-Wall", "-o",
                               f"{common.B}/bench/init",
                               f"{seen}/init.c"]), log, "compiling init.c")
    obj = f"{common.B}/kernel/{kernel}"
    cmd, env = kernels.make_command(kernel, obj, ["-s", "modules_prepare"])
    common.run(cmd, log, "make modules_prepare", env=env)
    # Only bzImage was built, so there is no Module.symvers: symbols are
    # resolved when the module is loaded.
    cmd, env = kernels.make_command(kernel, obj, [
        "-s", f"M={seen}", "KBUILD_MODPOST_WARN=1", "modules"])
    common.run(cmd, log, "building pagebench.ko", env=env)
    initrd = os.path.join(folder, "initrd.cpio")
    with open(init, "rb") as file:
        program = file.read()
    with open(os.path.join(folder, "pagebench.ko"), "rb") as file:
        module = file.read()
    entries = [
        ("dev", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("dev/console", stat.S_IFCHR | 0o600, b"", (5, 1)),
        ("dev/ttyS1", stat.S_IFCHR | 0o600, b"", (4, 65)),
        ("sys", stat.S_IFDIR | 0o755, b"", (0, 0)),
        ("init", stat.S_IFREG | 0o755, program, (0, 0)),
        ("pagebench.ko", stat.S_IFREG | 0o644, module, (0, 0)),
        ("TRAILER!!!", 0, b"", (0, 0))]
    with open(initrd, "wb") as file:
        file.write(machine.cpio(entries))
    return initrd


def qemu_command(bzimage, initrd, folder, nodes, append):
    """The command line: one CPU on node 0, NODES nodes of 1 GiB each."""
    cmd = ["qemu-system-x86_64", "-accel", "tcg,thread=single",
           "-icount", "shift=0,sleep=off", "-cpu", "max", "-smp", "1",
           "-M", "q35", "-m", f"{nodes}G", "-nodefaults", "-no-user-config",
           "-display", "none", "-no-reboot", "-seed", "1",
           "-rtc", "base=2026-01-01,clock=vm",
           "-serial", f"file:{folder}/console",
           "-serial", f"file:{folder}/results",
           "-kernel", bzimage, "-initrd", initrd, "-append",
           (APPEND + " " + append).strip()]
    for node in range(nodes):
        cpus = "cpus=0," if node == 0 else ""
        cmd += ["-object", f"memory-backend-ram,id=m{node},size=1G",
                "-numa", f"node,nodeid={node},{cpus}memdev=m{node}"]
    return cmd


class Run:
    """One boot of the benchmark guest, working in the background."""

    def __init__(self, title, kernel, nodes=3, append=""):
        self.title = title
        self.nodes = nodes
        self.append = append
        slug = "".join(c if c.isalnum() else "-" for c in title)
        self.folder = os.path.join(common.BUILD, "bench", "runs", slug)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        seen = os.path.join(common.B, "bench", "runs", slug)
        cmd = qemu_command(
            f"{common.B}/kernel/{kernel}/arch/x86/boot/bzImage",
            f"{common.B}/bench/{kernel}/initrd.cpio", seen, nodes, append)
        with open(os.path.join(self.folder, "qemu.log"), "wb") as log:
            # pylint: disable-next=consider-using-with
            self.process = subprocess.Popen(
                common.in_root(cmd), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)

    def lines(self):
        """What the guest has reported so far: complete lines only."""
        try:
            with open(os.path.join(self.folder, "results"),
                      encoding="ascii", errors="replace") as file:
                text = file.read()
        except FileNotFoundError:
            return []
        return [line.strip() for line in text.split("\n")[:-1]]

    def done(self):
        """How many operations of those that all runs have been measured."""
        names = [line.split()[1] for line in self.lines()
                 if line.startswith("op ")]
        return sum(name in MEASURED for name in names)

    def stop(self):
        """End QEMU if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    def result(self):
        """{"public":, "private":, "operations": {name: instructions},
        "samples": {name: [...]}}; Fail when the guest did not finish."""
        lines = self.lines()
        errors = [line for line in lines if line.startswith("error")]
        if errors or "end" not in lines:
            cause = errors[0] if errors else "the guest did not finish"
            raise common.Fail(
                f"run '{self.title}': {cause} (QEMU's exit status "
                f"{self.process.returncode}); see the kernel log and QEMU's "
                f"messages: {self.folder}/console, {self.folder}/qemu.log")
        out = {"title": self.title, "nodes": self.nodes,
               "append": self.append, "operations": {}, "samples": {}}
        for line in lines:
            word = line.split()
            if word[0] in ("public", "private"):
                out[word[0]] = word[1] if len(word) > 1 else ""
            elif word[0] == "op":
                per = [int(w) / int(word[2]) for w in word[3:]]
                out["samples"][word[1]] = per
                out["operations"][word[1]] = trimmed_mean(per)
        return out


def trimmed_mean(values):
    """The mean without the lowest and the highest eighth: a sample that met
    a background thread does not count, refills of the page lists do."""
    values = sorted(values)
    cut = len(values) // 8
    kept = values[cut:len(values) - cut]
    return sum(kept) / len(kept)


def text_sizes(kernel):
    """{"text": bytes of vmlinux's text, function: bytes or None}."""
    path = f"{common.B}/kernel/{kernel}/vmlinux"
    size = subprocess.run(common.in_root(["size", path]), check=True,
                          capture_output=True, text=True).stdout
    sizes = {"text": int(size.splitlines()[1].split()[0])}
    names = subprocess.run(common.in_root(["nm", "-S", path]), check=True,
                           capture_output=True, text=True).stdout
    found = {}
    for line in names.splitlines():
        word = line.split()
        if len(word) == 4 and word[2] in "tT":
            found[word[3].split(".")[0]] = int(word[1], 16)
    for name in FUNCTIONS:
        sizes[name] = found.get(name)
    return sizes
