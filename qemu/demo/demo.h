/* SPDX-License-Identifier: GPL-2.0 */
/* What demo.c's attempts and rows are made of. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/mempolicy.h>

#ifndef MPOL_F_PRIVATE
#define MPOL_F_PRIVATE	(1 << 12)
#endif
#define MIB		(1UL << 20)
#define PAGE		4096UL
#define SOME		(128 * MIB)	/* what a modest program asks for */
#define RESERVE		(192 * MIB)	/* of public memory, left alone */
#define SETTLED		256L		/* KiB: as good as nothing */
#define NOBODY		65534

/* What one attempt came to; in memory shared with the parent. */
struct report {
	int error;			/* errno of the policy call */
	long pages, ordinary, private;	/* present pages; those on the nodes */
	volatile long touched;		/* bytes; read after a signal */
	char maps[160];			/* line of /proc/self/numa_maps */
};

static struct report *report;
/* as scripts/demo boots the machine */
static const int ordinary = 2, private = 3;
static const char *file_name;
static int bad_rows;

/* A "NAME number" line of a /proc or sysfs file; -1 if there is none. */
static long number_in(const char *path, const char *name)
{
	FILE *file = fopen(path, "r");
	char line[256];
	long value = -1;

	while (file && fgets(line, sizeof(line), file)) {
		char *at = strstr(line, name);

		if (at && strspn(at + strlen(name), ": \t")) {
			value = strtol(at + strlen(name) +
				       strspn(at + strlen(name), ": \t"),
				       NULL, 10);
			break;
		}
	}
	if (file)
		fclose(file);
	return value;
}

static long node_kib(int node, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 node);
	return number_in(path, name);
}

static char *map(size_t size)
{
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			  MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED) {
		perror("demo: mmap");
		_exit(99);
	}
	madvise(area, size, MADV_NOHUGEPAGE);
	return area;
}

static void touch(char *area, size_t size)
{
	for (size_t at = 0; at < size; at += PAGE) {
		*(volatile char *)(area + at) = 1;
		report->touched = at + PAGE;
	}
}

/* Ask the kernel where each page of the area is. */
static void locate(char *area, size_t size)
{
	void *page[512];
	int node[512];

	for (size_t at = 0; at < size;) {
		int count = 0;

		while (count < 512 && at < size) {
			page[count++] = area + at;
			at += PAGE;
		}
		if (syscall(SYS_move_pages, 0, (long)count, page, NULL, node, 0))
			_exit(98);
		while (count--) {
			report->pages += node[count] >= 0;
			report->ordinary += node[count] == ordinary;
			report->private += node[count] == private;
		}
	}
}

static void note_maps(char *area)
{
	FILE *file = fopen("/proc/self/numa_maps", "r");
	char line[256] = "";

	while (file && fgets(line, sizeof(line), file))
		if (strtoul(line, NULL, 16) == (unsigned long)area) {
			line[strcspn(line, "\n")] = 0;
			memcpy(report->maps, line, sizeof(report->maps) - 1);
		}
	if (file)
		fclose(file);
}

/* Run an attempt in a process of its own; how it ended, as wait(2) says. */
static int attempt(void (*work)(void))
{
	int status;
	pid_t pid;

	memset(report, 0, sizeof(*report));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		setpgid(0, 0);
		work();
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("demo: fork");
		exit(2);
	}
	return status;
}

/* Free memory of a node in KiB, with the pages on the per-CPU lists. */
static long free_kib(int node)
{
	FILE *file = fopen("/proc/zoneinfo", "r");
	long kib = 0, number;
	char line[256];
	int at = -1;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Node %d,", &at) == 1 || at != node)
			continue;
		if (sscanf(line, " pages free %ld", &number) == 1 ||
		    sscanf(line, " count: %ld", &number) == 1)
			kib += number * 4;
	}
	if (file)
		fclose(file);
	return kib;
}

/* The same, once what was freed last has arrived there. */
static long settled_free(int node, long wanted)
{
	long now = free_kib(node);

	for (int i = 0; i < 50 && labs(now - wanted) > SETTLED; i++) {
		usleep(200000);
		now = free_kib(node);
	}
	return now;
}

static void row(const char *what, bool holds)
{
	printf("  %-48s%10ld%10ld%10ld   %s\n", what, report->pages,
	       report->ordinary, report->private, holds ? "ok" : "WRONG");
	if (!holds && report->error)
		printf("      the policy call failed: %s\n",
		       strerror(report->error));
	bad_rows += !holds;
}

static void fact(const char *what, const char *value, bool holds)
{
	printf("  %-48s%30s   %s\n", what, value, holds ? "ok" : "WRONG");
	bad_rows += !holds;
}

static void title(const char *text)
{
	printf("\n  %s\n  %-48s%10s%10s%10s\n", text, "(figures are pages)",
	       "got", "node 2", "node 3");
}
