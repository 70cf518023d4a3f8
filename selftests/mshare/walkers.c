// SPDX-License-Identifier: GPL-2.0
/*
 * Who walks the page tables of a member, or holds on to what is there: those that
 * walk see a hole, those that hold get the pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "../private_node/pn_damon.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define USED		(8 * MIB)
#define SEED		77
#define KSM_RUN		"/sys/kernel/mm/ksm/run"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define BALANCING_SCAN	"/sys/kernel/debug/sched/numa_balancing/"
#define CORE_PATTERN	"/proc/sys/kernel/core_pattern"

FIXTURE(walkers)
{
	int fd;
	char *w;
	long rss;
};

FIXTURE_SETUP(walkers)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_region(2 * GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, USED, RW));
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
	ms_write_words(self->w, USED, SEED);
	self->rss = ms_fdinfo(self->fd, "rss-shmem");
}

FIXTURE_TEARDOWN(walkers)
{
	if (self->fd < 0)
		return;
	EXPECT_EQ(self->rss, ms_fdinfo(self->fd, "rss-shmem"));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
	munmap(self->w, 2 * GRANULE);
	close(self->fd);
}

/* Another process moves what a member has, and this is not what it has. */
TEST_F_TIMEOUT(walkers, migrate_pages, 120)
{
	int cpu = pn_cpu_node(), control = pn_control_node();
	long before, there;
	size_t i;

	if (control < 0)
		SKIP(return, "no second ordinary node");
	before = pn_used(control);
	EXPECT_EQ(0, pn_migrate_pages(0, NODE_BIT(cpu), NODE_BIT(control)));
	there = pn_used(control);
	EXPECT_EQ(0, pn_migrate_pages(0, NODE_BIT(control), NODE_BIT(cpu)));
	/* What else the process has goes, too, but is a part of that */
	EXPECT_GT(before + (long)(USED / PAGE / 2), there);
	EXPECT_GT(before + (long)(USED / PAGE / 4), pn_used(control));
	for (i = 0; i < USED; i += MIB)
		EXPECT_EQ(-ENOENT, pn_node_of(self->w + i));
}

/* Pages of this process that KSM has merged */
static long merged(void)
{
	char text[400], *line;

	if (pn_read_file("/proc/self/ksm_stat", text, sizeof(text)))
		return -1;
	line = strstr(text, "ksm_merging_pages ");
	return line ? atol(strchr(line, ' ')) : -1;
}

/* Marks of all kinds in the tables of a process: none in the region's */
TEST_F_TIMEOUT(walkers, marks, 120)
{
	char was[20];
	int ksm = pn_read_line(KSM_RUN, was, sizeof(was));
	char *p = mmap(NULL, MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	double start;
	long faults;

	ASSERT_NE(MAP_FAILED, p);
	madvise(p, MIB, MADV_NOHUGEPAGE);
	memset(p, 1, MIB);
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0));
	if (!ksm)
		EXPECT_EQ(0, pn_write_file(KSM_RUN, "1"));
	EXPECT_EQ(0, pn_write_file("/proc/self/clear_refs", "4"));
	if (!pn_read_line(BALANCING, was, sizeof(was)))
		EXPECT_EQ(0, pn_write_file(BALANCING, "1"));
	/* A second of work at least, for those that come now and then */
	start = pn_now();
	while (pn_now() < start + 1 ||
	       (!ksm && merged() < (long)(MIB / PAGE / 2) && pn_now() < start + pn_slow(20)))
		EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
	if (!ksm)
		EXPECT_LE((long)(MIB / PAGE / 2), merged());
	/* The control: what has a mark, or is merged, faults when it is written to. */
	faults = ms_minor_faults();
	memset(p, 2, MIB);
	EXPECT_LE((long)(MIB / PAGE / 2), ms_minor_faults() - faults);
	faults = ms_minor_faults();
	ms_write_words(self->w, USED, SEED);
	EXPECT_GT(64, ms_minor_faults() - faults);
	if (!ksm)
		EXPECT_EQ(0, pn_write_file(KSM_RUN, "2"));
	EXPECT_EQ(0, prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0));
	pn_write_file(BALANCING, was);
	munmap(p, MIB);
}

/* NUMA balancing has been through the process: it has passed by the window. */
TEST_F_TIMEOUT(walkers, balanced, 120)
{
	const long pages = MIB / PAGE, before = pn_vmstat("numa_pte_updates");
	double deadline = pn_now() + pn_slow(20);
	long faults, marks = 0;
	char was[20], *p;

	if (pn_read_line(BALANCING, was, sizeof(was)))
		SKIP(return, "a kernel without CONFIG_NUMA_BALANCING");
	if (pn_control_node() < 0)
		SKIP(return, "no second ordinary node");
	/* Not where the process runs, and not because it has to be there */
	p = pn_map_bound(MIB, MPOL_BIND, NODE_BIT(pn_control_node()));
	ASSERT_NE(NULL, p);
	madvise(p, MIB, MADV_NOHUGEPAGE);
	memset(p, 1, MIB);
	ASSERT_EQ(0, pn_mbind(p, MIB, MPOL_DEFAULT, NULL, 0));
	ASSERT_EQ(0, pn_write_file(BALANCING, "1"));
	pn_write_file(BALANCING_SCAN "scan_delay_ms", "100");
	pn_write_file(BALANCING_SCAN "scan_period_min_ms", "100");
	pn_pin(0);
	while (marks < pages / 2 && pn_now() < deadline) {
		memset(p, 1, MIB);
		ms_write_words(self->w, USED, SEED);
		marks = pn_vmstat("numa_pte_updates") - before;
		faults = ms_minor_faults();
		ms_write_words(self->w, USED, SEED);
		EXPECT_GT(64, ms_minor_faults() - faults);
	}
	/* The control */
	EXPECT_LE(pages / 2, marks);
	EXPECT_EQ(0, pn_write_file(BALANCING, was));
	munmap(p, MIB);
}

/* DAMON acts on addresses of a process: not on what it has in a window. */
TEST_F_TIMEOUT(walkers, damon, 120)
{
	unsigned long window = (unsigned long)self->w, own;
	char *p;

	if (pn_damon_missing())
		SKIP(return, "no DAMON");
	if (pn_swap_on(32 * MIB))
		SKIP(return, "no zram to swap to");
	p = mmap(NULL, MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	memset(p, 1, MIB);
	own = (unsigned long)p;
	/* The control */
	EXPECT_EQ(0, pn_damon_start(getpid(), "pageout", -1, own, own + MIB));
	EXPECT_EQ(0, pn_damon_wait(3 * MIB));
	EXPECT_LT(0, pn_damon_applied());
	pn_damon_stop();
	EXPECT_EQ(0, pn_damon_start(getpid(), "pageout", -1, window, window + USED));
	EXPECT_EQ(0, pn_damon_wait(3 * USED));
	EXPECT_EQ(0, pn_damon_applied());
	pn_damon_stop();
	EXPECT_EQ(self->rss, ms_fdinfo(self->fd, "rss-shmem"));
	munmap(p, MIB);
	EXPECT_EQ(0, pn_swap_off());
}

static int dumps(struct pn_child *child, void *arg)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };

	if (setrlimit(RLIMIT_CORE, &limit) || prctl(PR_SET_DUMPABLE, 1))
		return 1;
	/* Shared memory as well, where it is no window */
	if (pn_write_file("/proc/self/coredump_filter", "0x7f"))
		return 2;
	abort();
}

TEST_F_TIMEOUT(walkers, core_dump, 120)
{
	char was[200];
	struct stat st;
	int status;

	ASSERT_EQ(0, pn_read_line(CORE_PATTERN, was, sizeof(was)));
	ASSERT_EQ(0, pn_write_file(CORE_PATTERN, "/tmp/ms_core"));
	status = pn_run(dumps, self, 30);
	EXPECT_EQ(0, pn_write_file(CORE_PATTERN, was));
	EXPECT_TRUE(WIFSIGNALED(status) && WCOREDUMP(status));
	ASSERT_EQ(0, stat("/tmp/ms_core", &st));
	/* What is in the window is not in the dump, and nothing for its size. */
	EXPECT_GT((long)(USED / 2), st.st_blocks * 512);
	EXPECT_GT((long)GRANULE, st.st_size);
	unlink("/tmp/ms_core");
}

/* Pages that stay pinned when they are unmapped: they are what was there. */
TEST_F_TIMEOUT(walkers, longterm_pin, 120)
{
	struct io_uring_params params = { };
	struct iovec iov = { .iov_base = self->w + GRANULE, .iov_len = 16 * PAGE };
	int ring = syscall(__NR_io_uring_setup, 4, &params), file;
	struct io_uring_sqe *sqe;
	unsigned int *sq_tail, *array;
	char *sq, *buf, *ro;

	if (ring < 0)
		SKIP(return, "no io_uring");
	file = memfd_create("ms_ring", MFD_CLOEXEC);
	buf = malloc(16 * PAGE);
	ASSERT_EQ(0, ms_map_anon(self->fd, GRANULE, 16 * PAGE, RW));
	/* Nobody has touched it yet */
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, RW, MAP_SHARED, ring,
		  IORING_OFF_SQ_RING);
	sqe = mmap(NULL, params.sq_entries * sizeof(*sqe), RW, MAP_SHARED, ring,
		   IORING_OFF_SQES);
	ASSERT_NE(MAP_FAILED, sq);
	ASSERT_NE(MAP_FAILED, sqe);
	sq_tail = (unsigned int *)(sq + params.sq_off.tail);
	array = (unsigned int *)(sq + params.sq_off.array);
	ms_write_words(iov.iov_base, iov.iov_len, 5);
	ASSERT_EQ(0, mshare_unmap(self->fd, GRANULE, 16 * PAGE, 0));
	ASSERT_EQ(0, ms_map_anon(self->fd, GRANULE, 16 * PAGE, RW));
	ms_write_words(iov.iov_base, iov.iov_len, 6);
	/* The ring writes what it has, not what is there now. */
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_WRITE_FIXED, .fd = file, .off = 0,
		.addr = (unsigned long)iov.iov_base, .len = iov.iov_len, .buf_index = 0,
	};
	array[0] = 0;
	__atomic_store_n(sq_tail, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(1, syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	ASSERT_EQ((ssize_t)iov.iov_len, pread(file, buf, iov.iov_len, 0));
	EXPECT_EQ(0, ms_wrong_words(buf, iov.iov_len, 5));
	EXPECT_EQ(0, ms_wrong_words(iov.iov_base, iov.iov_len, 6));
	ASSERT_EQ(0, syscall(__NR_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0));
	/* A window that cannot be written to gives no buffer to read into. */
	ro = ms_attach(self->fd, MSHARE_RDONLY);
	ASSERT_NE(NULL, ro);
	iov.iov_base = ro + GRANULE;
	EXPECT_ERROR(EFAULT, syscall(__NR_io_uring_register, ring, IORING_REGISTER_BUFFERS,
				     &iov, 1));
	munmap(ro, 2 * GRANULE);
	ASSERT_EQ(0, mshare_unmap(self->fd, GRANULE, 16 * PAGE, 0));
	munmap(sq, params.sq_off.array + params.sq_entries * 4);
	munmap(sqe, params.sq_entries * sizeof(*sqe));
	free(buf);
	close(file);
	close(ring);
}

static int uses_too_much(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(walkers) *self = arg;
	char *p = mmap(NULL, 64 * MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pn_write_file(MS_GROUP "/cgroup.procs", "0"))
		return 1;
	if (ms_wrong_words(self->w, USED, SEED))
		return 2;
	memset(p, 1, 64 * MIB);
	return 3;
}

/* A member that is killed for want of memory, and reaped, takes nothing along. */
TEST_F_TIMEOUT(walkers, oom_of_a_member, 120)
{
	ASSERT_EQ(0, ms_begin_group("16777216"));
	EXPECT_EQ(SIGKILL, pn_run(uses_too_much, self, 30));
	EXPECT_EQ(getpid(), ms_fdinfo(self->fd, "owner"));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
	EXPECT_EQ(0, ms_end_group());
}

TEST_HARNESS_MAIN
