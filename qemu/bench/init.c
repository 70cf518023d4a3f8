// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of the benchmark guest. It runs each operation N and 2N
 * times and writes the differences to the second serial port, a line per
 * operation: "op NAME N d1 d2 ...". Under QEMU's -icount shift=0 the time
 * stamp counter advances by one per instruction, so a difference divided by N
 * is instructions per operation, without the cost of measuring.
 *
 * A sample begins right after a timer interrupt and ends before the next
 * one: neither the tick nor work that the kernel defers to it is counted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE		4096UL
#define WARM		4	/* samples that are not reported */
#define GAP		400	/* a pause this long in a tight loop is a tick */
#define PUBLIC_NODE	2	/* has no CPU */
#define MPOL_BIND	2
#define MPOL_F_PRIVATE	(1 << 12)
#define PARAM		"/sys/module/pagebench/parameters/"

typedef unsigned long long u64;

static int out = -1;
/* For the fault tests: by the task's policy, bound to nodes with memory only */
static char *area, *public_area, *private_area, *shared_area;
/* To a process that sends back what it gets, and from it */
static int ping[2], pong[2];

static void say(const char *format, ...)
{
	char line[4096];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (len > (int)sizeof(line) - 1)
		len = sizeof(line) - 1;
	if (write(out, line, len) != len)
		_exit(1);	/* init dies, the kernel panics, the host sees it */
}

static void finish(void)
{
	tcdrain(out);
	reboot(RB_AUTOBOOT);	/* QEMU runs with -no-reboot: it exits */
	_exit(1);
}

static void die(const char *what)
{
	say("error %s: %s\n", what, strerror(errno));
	finish();
}

static int read_text(const char *path, char *buf, int size)
{
	int fd = open(path, O_RDONLY), len;

	if (fd < 0)
		return -1;
	len = read(fd, buf, size - 1);
	close(fd);
	if (len < 0)
		return -1;
	buf[len] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return len;
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), len = strlen(text);

	if (fd < 0 || write(fd, text, len) != len)
		die(path);
	close(fd);
}

static void set_number(const char *path, int number)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	write_text(path, text);
}

/* Each returns the instructions that N operations took. */
static u64 do_getppid(int n)
{
	u64 t = __rdtsc();

	while (n--)
		syscall(SYS_getppid);
	return __rdtsc() - t;
}

static u64 do_module(int n, const char *name)
{
	char text[32];

	set_number(PARAM "n", n);
	if (read_text(name, text, sizeof(text)) <= 0)
		die(name);
	return strtoull(text, NULL, 10);
}

static u64 do_page_one(int n)
{
	return do_module(n, PARAM "one");
}

static u64 do_page_block(int n)
{
	return do_module(n, PARAM "block");
}

static u64 do_zonelists(int n)
{
	return do_module(n, PARAM "zonelists");
}

static u64 fault(volatile char *where, int n)
{
	u64 t = __rdtsc();

	for (int i = 0; i < n; i++)
		where[i * PAGE] = 1;
	t = __rdtsc() - t;
	if (madvise((void *)where, n * PAGE, MADV_DONTNEED))
		die("madvise");
	return t;
}

static u64 do_fault(int n)
{
	return fault(area, n);
}

static u64 do_fault_public(int n)
{
	return fault(public_area, n);
}

static u64 do_fault_private(int n)
{
	return fault(private_area, n);
}

static u64 do_fault_free(int n)
{
	u64 t = __rdtsc();

	for (int i = 0; i < n; i++)
		((volatile char *)area)[i * PAGE] = 1;
	if (madvise(area, n * PAGE, MADV_DONTNEED))
		die("madvise");
	return __rdtsc() - t;
}

/* The pages are there, in the page cache. */
static u64 do_fault_shared(int n)
{
	return fault(shared_area, n);
}

/* To look for a futex in shared memory, GUP-fast gets its page. */
static u64 do_gup_fast(int n)
{
	u64 t = __rdtsc();

	while (n--)
		if (syscall(SYS_futex, shared_area + 511 * PAGE, FUTEX_WAKE, 1, NULL, NULL, 0))
			die("futex");
	return __rdtsc() - t;
}

static u64 do_gup(int n)
{
	static char buf[16 * PAGE];
	struct iovec to = { buf, sizeof(buf) }, from = { shared_area, sizeof(buf) };
	u64 t = __rdtsc();

	while (n--)
		if (syscall(SYS_process_vm_readv, getpid(), &to, 1, &from, 1, 0) != sizeof(buf))
			die("process_vm_readv");
	return __rdtsc() - t;
}

/* To another process and back */
static u64 do_switch(int n)
{
	u64 t = __rdtsc();
	char byte = 0;

	while (n--)
		if (write(ping[1], &byte, 1) != 1 || read(pong[0], &byte, 1) != 1)
			die("pipe");
	return __rdtsc() - t;
}

static u64 do_unmap(int n)
{
	u64 t = __rdtsc();

	while (n--) {
		void *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

		if (p == MAP_FAILED || munmap(p, 16 * PAGE))
			die("mmap");
	}
	return __rdtsc() - t;
}

static u64 do_mmap(int n)
{
	u64 t = __rdtsc();

	while (n--) {
		void *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED || munmap(p, 16 * PAGE))
			die("mmap");
	}
	return __rdtsc() - t;
}

static u64 do_fork(int n)
{
	u64 t = __rdtsc();

	while (n--) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			die("fork");
	}
	return __rdtsc() - t;
}

static const struct op {
	const char *name;
	u64 (*run)(int n);
	int n, samples;
	int pads;	/* more of them from sample to sample, see pagebench.c */
	int settle;	/* microseconds for deferred work to finish first */
} ops[] = {
	{ "getppid", do_getppid, 1000, 16 },
	{ "page-one", do_page_one, 1000, 16 },
	{ "page-block", do_page_block, 256, 32 },
	{ "fault", do_fault, 128, 48 },
	{ "fault-free", do_fault_free, 128, 48 },
	{ "fault-shared", do_fault_shared, 128, 48 },
	{ "gup-fast", do_gup_fast, 1000, 16 },
	{ "gup", do_gup, 100, 16 },
	{ "mmap", do_mmap, 100, 32 },
	{ "unmap", do_unmap, 16, 48 },
	{ "switch", do_switch, 100, 32 },
	{ "fork", do_fork, 5, 96, 37, 40000 },
	{ "fault-public", do_fault_public, 128, 192 },
	{ "zonelists", do_zonelists, 8, 32, 0, 40000 },
}, private_ops[] = {
	{ "fault-private", do_fault_private, 128, 192 },
};

static void wait_for_tick(void)
{
	u64 last = __rdtsc(), now;

	while ((now = __rdtsc()) - last < GAP)
		last = now;
}

/* Idle time costs nothing: the emulated clock jumps over it. */
static void settle(const struct op *op)
{
	if (op->settle)
		usleep(op->settle);
	wait_for_tick();
}

static void measure(const struct op *op)
{
	static char line[4096];
	int len = snprintf(line, sizeof(line), "op %s %d", op->name, op->n);

	for (int i = -WARM; i < op->samples; i++) {
		u64 once, twice;

		if (op->pads)
			set_number(PARAM "pads", (i + WARM) * op->pads % 256);
		settle(op);
		once = op->run(op->n);
		settle(op);
		twice = op->run(2 * op->n);
		if (i >= 0)
			len += snprintf(line + len, sizeof(line) - len, " %lld",
					(long long)(twice - once));
	}
	say("%s\n", line);
}

/* An area of small pages; MODE -1: with no policy of its own */
static char *map_area(int mode, int node)
{
	unsigned long mask = 1UL << node;
	char *p = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	if (mode >= 0 && syscall(SYS_mbind, p, 512 * PAGE, mode, &mask, 64, 0))
		die("mbind");
	madvise(p, 512 * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static void map_shared(void)
{
	shared_area = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (shared_area == MAP_FAILED)
		die("mmap");
}

static void start_other(void)
{
	char byte;

	if (pipe(ping) || pipe(pong))
		die("pipe");
	if (fork())
		return;
	while (read(ping[0], &byte, 1) == 1)
		if (write(pong[1], &byte, 1) != 1)
			break;
	_exit(1);
}

/* The figures are of the node that they are said to be. */
static void check_node(char *p, int node)
{
	void *page = p;
	int status = -1;

	*(volatile char *)p = 1;
	if (syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0) || status != node) {
		errno = EXDEV;
		die("memory of the wrong node");
	}
	if (madvise(p, PAGE, MADV_DONTNEED))
		die("madvise");
}

int main(void)
{
	static const char private_mask[] =
		"/sys/devices/system/node/has_private_memory";
	char text[256];
	int fd;

	out = open("/dev/ttyS1", O_WRONLY | O_NOCTTY);
	if (out < 0)
		return 1;
	if (mount("sysfs", "/sys", "sysfs", 0, NULL))
		die("mount /sys");
	fd = open("/pagebench.ko", O_RDONLY);
	if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
		die("loading pagebench.ko");
	close(fd);
	start_other();
	map_shared();
	area = map_area(-1, 0);
	public_area = map_area(MPOL_BIND, PUBLIC_NODE);
	check_node(public_area, PUBLIC_NODE);

	if (read_text("/sys/devices/system/node/has_memory", text,
		      sizeof(text)) < 0)
		die("has_memory");
	say("public %s\n", text);
	if (read_text(private_mask, text, sizeof(text)) < 0)
		text[0] = 0;
	say("private %s\n", text);
	for (unsigned int i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		measure(&ops[i]);
	if (*text) {
		private_area = map_area(MPOL_BIND | MPOL_F_PRIVATE, atoi(text));
		check_node(private_area, atoi(text));
		measure(&private_ops[0]);
	}
	say("end\n");
	finish();
}
