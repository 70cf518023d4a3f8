// SPDX-License-Identifier: GPL-2.0
/*
 * Shows a private node at work next to an ordinary one, as a table. Each row
 * is an attempt to get memory, made by a process of its own; the kernel tells
 * where its pages are, and the row says what it should have told. Exits with
 * 1 if a row does not hold.
 *
 * usage: demo FILE	(FILE: at least 64 MiB, on no tmpfs)
 */
#include "demo.h"

/* The policy BIND to one node for an area, or for this task (no area). */
static bool bind_to(char *area, size_t size, int node, int flag)
{
	unsigned long mask = 1UL << node;
	long ret = area ?
		syscall(SYS_mbind, area, size, MPOL_BIND | flag, &mask, 64UL, 0) :
		syscall(SYS_set_mempolicy, MPOL_BIND | flag, &mask, 64UL);

	report->error = ret ? errno : 0;
	return !ret;
}

static void bound(int node, int flag)
{
	char *area = map(SOME);

	if (!bind_to(area, SOME, node, flag))
		return;
	touch(area, SOME);
	locate(area, SOME);
	note_maps(area);
}

/* The attempts */
static void fill_public(void)
{
	long size = number_in("/proc/meminfo", "MemFree") * 1024 - RESERVE;
	char *area;

	if (size <= 0)
		_exit(97);
	area = map(size);
	touch(area, size);
	locate(area, size);
}

static void interleave_all(void)
{
	unsigned long all = (1UL << 60) - 1;
	char *area = map(SOME);

	/* as numactl --interleave=all does */
	if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &all, 64UL)) {
		report->error = errno;
		return;
	}
	touch(area, SOME);
	locate(area, SOME);
}

static void bind_ordinary(void) { bound(ordinary, 0); }
static void bind_no_flag(void) { bound(private, 0); }
static void bind_private(void) { bound(private, MPOL_F_PRIVATE); }

static void bind_no_right(void)
{
	if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
		_exit(96);
	bound(private, MPOL_F_PRIVATE);
}

static void read_file(void)
{
	int fd = open(file_name, O_RDONLY);
	char *area = mmap(NULL, 64 * MIB, PROT_READ, MAP_SHARED, fd, 0);

	if (fd < 0 || area == MAP_FAILED)
		_exit(95);
	if (!bind_to(NULL, 0, private, MPOL_F_PRIVATE))
		return;
	for (size_t at = 0; at < 64 * MIB; at += PAGE)
		(void)*(volatile char *)(area + at);
	locate(area, 64 * MIB);
}

/* A page each 2 MiB needs a page table each; files and processes need slab. */
static void kernel_memory(void)
{
	size_t size = 512 * 2 * MIB;
	char *area = map(size), name[64];

	if (!bind_to(NULL, 0, private, MPOL_F_PRIVATE))
		return;
	for (size_t at = 0; at < size; at += 2 * MIB)
		area[at] = 1;
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "/dev/shm/demo.%d", i);
		close(open(name, O_CREAT | O_WRONLY, 0600));
	}
	for (int i = 0; i < 32; i++)
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			pause();
			_exit(0);
		}
	report->private = (node_kib(private, "PageTables") +
			   node_kib(private, "Slab") +
			   node_kib(private, "KernelStack")) / 4;
	report->ordinary = 0;
	for (int node = 0; node <= ordinary; node++)
		report->pages += (node_kib(node, "PageTables") +
				  node_kib(node, "Slab") +
				  node_kib(node, "KernelStack")) / 4;
	for (int i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "/dev/shm/demo.%d", i);
		unlink(name);
	}
	signal(SIGTERM, SIG_IGN);
	kill(0, SIGTERM);
}

static void exhaust(void)
{
	size_t size = node_kib(private, "MemTotal") * 1024 + 64 * MIB;
	char *area = map(size);

	if (bind_to(area, size, private, MPOL_F_PRIVATE))
		touch(area, size);
}

/* The rows */
static bool died(int status)
{
	return !WIFEXITED(status) || WEXITSTATUS(status);
}

static bool refused(int status, int error)
{
	return !died(status) && report->error == error && !report->pages;
}

static void who_gets_it(void)
{
	long oom = number_in("/proc/vmstat", "oom_kill"), all;
	int status;
	char text[64];

	title("Who got memory from the private node");
	all = SOME / PAGE;
	status = attempt(bind_ordinary);
	row("mbind(BIND, node 2)", !died(status) && report->ordinary == all);
	status = attempt(bind_private);
	row("mbind(BIND | MPOL_F_PRIVATE, node 3) as root",
	    !died(status) && report->private == all);
	if (report->maps[0])
		printf("      numa_maps: %s\n", report->maps);

	title("Who could not");
	status = attempt(bind_no_flag);
	row("mbind(BIND, node 3), no flag: EINVAL", refused(status, EINVAL));
	status = attempt(bind_no_right);
	row("the same with the flag, as nobody: EPERM", refused(status, EPERM));
	status = attempt(fill_public);
	row("a program that fills all public memory", !died(status) &&
	    report->ordinary > all && !report->private);
	status = attempt(interleave_all);
	row("numactl --interleave=all", !died(status) &&
	    report->ordinary > 0 && !report->private);
	status = attempt(read_file);
	row("page cache, by a task bound to node 3", !died(status) &&
	    !report->error && report->pages == 64 * MIB / PAGE &&
	    !report->private);
	status = attempt(kernel_memory);
	row("page tables, slab, stacks, by such a task", !died(status) &&
	    !report->error && report->pages && !report->private);

	title("When the private node is full");
	status = attempt(exhaust);
	report->pages = report->private = report->touched / PAGE;
	row("touch more than it has: SIGBUS", WIFSIGNALED(status) &&
	    WTERMSIG(status) == SIGBUS && report->touched > (long)SOME);
	oom = number_in("/proc/vmstat", "oom_kill") - oom;
	snprintf(text, sizeof(text), "%ld", oom);
	fact("processes killed for lack of memory", text, !oom);
}

int main(int argc, char **argv)
{
	long before, after, publics = 0, total;
	char text[64];

	if (argc != 2) {
		fprintf(stderr, "usage: demo FILE\n");
		return 2;
	}
	file_name = argv[1];
	report = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (report == MAP_FAILED) {
		perror("demo: mmap");
		return 2;
	}
	before = free_kib(private);
	if (!before || !free_kib(ordinary)) {
		fprintf(stderr, "demo: no node %d or %d\n", ordinary, private);
		return 2;
	}
	who_gets_it();

	printf("\n  What it costs nobody else\n");
	for (int node = 0; node < private; node++)
		publics += node_kib(node, "MemTotal");
	total = number_in("/proc/meminfo", "MemTotal");
	snprintf(text, sizeof(text), "%ld = %ld kB", total, publics);
	fact("MemTotal = the sum of the public nodes", text, total == publics);
	after = settled_free(private, before);
	snprintf(text, sizeof(text), "%ld -> %ld kB", before, after);
	fact("node 3 free, before and after all this", text,
	     labs(after - before) <= SETTLED);
	snprintf(text, sizeof(text), "%ld kB",
		 node_kib(private, "MemTotal"));
	fact("node 3 size", text, node_kib(private, "MemTotal") > 0);
	printf("\n  %s\n", bad_rows ? "Some rows do not hold." :
	       "Every row holds.");
	return bad_rows ? 1 : 0;
}
