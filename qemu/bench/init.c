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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE		4096UL
#define WARM		4	/* samples that are not reported */
#define GAP		400	/* a pause this long in a tight loop is a tick */
#define PARAM		"/sys/module/pagebench/parameters/"

typedef unsigned long long u64;

static int out = -1;
static char *area;		/* for the fault tests */

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

static u64 do_fault(int n)
{
	u64 t = __rdtsc();

	for (int i = 0; i < n; i++)
		((volatile char *)area)[i * PAGE] = 1;
	t = __rdtsc() - t;
	if (madvise(area, n * PAGE, MADV_DONTNEED))
		die("madvise");
	return t;
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
	{ "mmap", do_mmap, 100, 32 },
	{ "fork", do_fork, 5, 96, 37, 40000 },
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
	area = mmap(NULL, 512 * PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		die("mmap");
	madvise(area, 512 * PAGE, MADV_NOHUGEPAGE);

	if (read_text("/sys/devices/system/node/has_memory", text,
		      sizeof(text)) < 0)
		die("has_memory");
	say("public %s\n", text);
	if (read_text(private_mask, text, sizeof(text)) < 0)
		text[0] = 0;
	say("private %s\n", text);
	for (unsigned int i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		measure(&ops[i]);
	say("end\n");
	finish();
}
