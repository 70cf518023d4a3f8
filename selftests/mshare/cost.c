// SPDX-License-Identifier: GPL-2.0
/*
 * What shared memory costs that many processes have: mapped by each, and by mshare.
 * No test: scripts/bench-mshare runs it and makes tables of what it prints, a line
 * for each figure: what, how (none: processes without the memory), GiB of the region,
 * processes, value.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "ms_util.h"

#define MOST		1000
#define SPINNING	100
#define RW		(PROT_READ | PROT_WRITE)
#define HUGE_SIZE	(2 * MIB)

enum how { NONE, PLAIN, MSHARE };

/* What all processes of a figure have */
static struct {
	int fd, memfd;
	enum how how;
	size_t size, step;
} all;

/* In shared memory: what they found */
static struct {
	long faults;
	double seconds;
} *found;

static struct pn_child child[MOST];
static long page;

static void die(const char *what)
{
	fprintf(stderr, "cost: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void print(const char *what, int n, double value)
{
	static const char * const names[] = { "none", "plain", "mshare" };

	printf("%s %s %zu %d %.3f\n", what, names[all.how], all.size / GRANULE, n, value);
	fflush(stdout);
}

static char *get_memory(void)
{
	char *p;

	if (all.how == MSHARE)
		return ms_attach(all.fd, 0);
	p = mmap(NULL, all.size, RW, MAP_SHARED, all.memfd, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* A region of so many GiB, of which a page is used every step bytes */
static void begin(enum how how, size_t gib, size_t step)
{
	all.how = how;
	all.size = gib * GRANULE;
	all.step = step;
	all.memfd = memfd_create("ms_cost", MFD_CLOEXEC);
	if (all.memfd < 0 || ftruncate(all.memfd, all.size))
		die("memfd");
	if (how != MSHARE)
		return;
	all.fd = ms_region(all.size, 0);
	if (all.fd < 0 || ms_map_file(all.fd, 0, all.size, RW, all.memfd, 0))
		die("region");
}

static void end(void)
{
	if (all.how == MSHARE)
		close(all.fd);
	close(all.memfd);
}

static int uses(struct pn_child *self, void *arg)
{
	double start = pn_now();
	long faults = ms_minor_faults();
	char *p = all.how == NONE ? NULL : get_memory();

	if (all.how != NONE && (!p || pn_touch(p, all.size, all.step, NULL) < all.size))
		return 1;
	found->faults = ms_minor_faults() - faults;
	found->seconds = pn_now() - start;
	pn_hold(self);
	return 0;
}

static void spawn(int from, int to)
{
	int i;

	for (i = from; i < to; i++) {
		if (pn_spawn(&child[i], uses, NULL) || pn_ready(&child[i], 60))
			die("process");
	}
}

static void reap(int n)
{
	while (n--)
		if (pn_reap(&child[n], 60))
			die("process");
}

/* Page tables, when those of who has just ended are free */
static long settled(void)
{
	long now = pn_meminfo(-1, "PageTables"), last;

	do {
		last = now;
		poll(NULL, 0, 500);
		now = pn_meminfo(-1, "PageTables");
	} while (now < last);
	return now;
}

/* Page tables, and what the last of n processes had to do for its own */
static void tables(enum how how, size_t gib, const int *counts)
{
	long before = settled();
	int n = 0;

	begin(how, gib, HUGE_SIZE);
	for (; *counts; counts++) {
		spawn(n, *counts);
		n = *counts;
		print("tables-kb", n, pn_meminfo(-1, "PageTables") - before);
		if (how == NONE)
			continue;
		print("faults", n, found->faults);
		print("attach-ms", n, found->seconds * 1000);
	}
	reap(n);
	end();
}

/* Fork and exit of a process that has 1 GiB of it, all of it used */
static void forks(enum how how)
{
	enum { FORKS = 200 };
	double start;
	char *p;
	int i;

	begin(how, 1, 64 * (size_t)page);
	p = get_memory();
	if (!p || pn_touch(p, all.size, all.step, NULL) < all.size)
		die("memory");
	start = pn_now();
	for (i = 0; i < FORKS; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(0);
		if (waitpid(pid, NULL, 0) != pid)
			die("fork");
	}
	print("fork-exit-us", 1, (pn_now() - start) * 1e6 / FORKS);
	munmap(p, all.size);
	end();
}

/* Reads all the time, on another CPU than who changes things */
static int spins(struct pn_child *self, void *arg)
{
	volatile char *p;

	pn_pin(1);
	p = get_memory();
	if (!p)
		return 1;
	if (self - child >= SPINNING) {
		*p;
		pn_hold(self);
		return 0;
	}
	if (!pn_say(self))
		return 2;
	while (!poll(&(struct pollfd){ .fd = self->sock, .events = POLLIN | POLLRDHUP }, 1, 0)) {
		size_t i;

		for (i = 0; i < 4096; i++)
			p[i % 64 * page];
	}
	return 0;
}

/*
 * Interrupts and time of a change, with n members, of which one runs at a time, and
 * only some want to
 */
static void changes(const int *counts)
{
	enum { CALLS = 100 };
	long before;
	double start, sum;
	int n = 0, i;

	if (get_nprocs() < 2)
		return;
	begin(MSHARE, 1, page);
	pn_pin(0);
	for (; *counts; counts++) {
		for (; n < *counts; n++) {
			if (pn_spawn(&child[n], spins, NULL) || pn_ready(&child[n], 60))
				die("process");
		}
		before = ms_shootdowns();
		sum = 0;
		for (i = 0; i < CALLS; i++) {
			start = pn_now();
			if (mshare_protect(all.fd, 0, 64 * page, i % 2 ? RW : PROT_READ, 0))
				die("mshare_protect");
			sum += pn_now() - start;
			poll(NULL, 0, 5);
		}
		print("interrupts-per-call", n, (double)(ms_shootdowns() - before) / CALLS);
		print("protect-us", n, sum * 1e6 / CALLS);
	}
	reap(n);
	end();
}

/* Time for each page that goes to swap, with n members that have used all of it */
static void reclaim(const int *counts)
{
	const size_t len = 16 * MIB;
	char *p;
	int n = 0;

	if (pn_swap_on(256 * MIB))
		return;
	for (; *counts; counts++) {
		double start;
		long out;

		begin(MSHARE, 1, HUGE_SIZE);
		n = *counts;
		spawn(0, n);
		p = get_memory();
		if (!p || pn_touch(p, len, page, NULL) < len)
			die("memory");
		out = pn_vmstat("pswpout");
		start = pn_now();
		if (mshare_advise(all.fd, 0, len, MADV_PAGEOUT, 0))
			die("MADV_PAGEOUT");
		start = pn_now() - start;
		out = pn_vmstat("pswpout") - out;
		if (out > 0)
			print("reclaim-us-per-page", n, start * 1e6 / out);
		munmap(p, all.size);
		reap(n);
		end();
	}
	pn_swap_off();
}

int main(void)
{
	static const int many[] = { 1, 10, 100, 500, MOST, 0 }, some[] = { 1, 10, 50, 0 };
	static const int running[] = { 1, 10, 100, MOST, 0 };
	const char *missing = ms_missing();

	if (missing) {
		fprintf(stderr, "cost: %s\n", missing);
		return 4;
	}
	page = pn_page_size();
	found = mmap(NULL, page, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (found == MAP_FAILED)
		die("memory");
	tables(NONE, 1, many);
	tables(PLAIN, 1, many);
	tables(MSHARE, 1, many);
	tables(PLAIN, 16, some);
	tables(MSHARE, 16, many);
	forks(PLAIN);
	forks(MSHARE);
	changes(running);
	reclaim(running);
	return 0;
}
