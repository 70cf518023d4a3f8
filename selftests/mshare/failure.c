// SPDX-License-Identifier: GPL-2.0
/*
 * Memory in a region that fails, once and again, or that is taken out of use before
 * it does; and CPUs that go and come back while members run on them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define PAGES		16
#define LEN		(PAGES * PAGE)
#define BAD		5
#define MEMBERS		4
#define POISONED	MS_SIGNAL(SIGBUS, BUS_MCEERR_AR)
#define DEBUGFS		"/sys/kernel/debug"
#define SOFT_OFFLINE	"/sys/devices/system/memory/soft_offline_page"
#define CPU_ONLINE	"/sys/devices/system/cpu/cpu1/online"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

struct board {
	/* Odd while it changes; else readers must find value[epoch / 2 % 2] */
	unsigned long epoch, value[2];
	unsigned long reads, stale, faults;
	unsigned long written[MEMBERS][PAGES];
	bool stop;
};

FIXTURE(failure)
{
	int fd, memfd, nr;
	char *w, *plain;
	struct board *board;
};

FIXTURE_SETUP(failure)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->board = mmap(NULL, sizeof(*self->board), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->board);
	self->memfd = memfd_create("ms_failure", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(self->memfd, LEN));
	self->plain = mmap(NULL, LEN, PROT_READ, MAP_SHARED, self->memfd, 0);
	ASSERT_NE(MAP_FAILED, self->plain);
	self->fd = ms_region(GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd, 0));
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
}

FIXTURE_TEARDOWN(failure)
{
	if (self->fd < 0)
		return;
	munmap(self->w, GRANULE);
	munmap(self->plain, LEN);
	close(self->fd);
	close(self->memfd);
}

static int touches(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(failure) *self = arg;
	char *w = ms_attach(self->fd, 0), buf[8];
	struct iovec mine = { buf, 8 }, theirs = { w + BAD * PAGE, 8 };
	int null = open("/dev/null", O_WRONLY), i;
	int pipes[2];

	if (!w || pipe(pipes))
		return 1;
	/* Not only the first time, and not only for those who were told */
	for (i = 0; i < 3; i++) {
		if (ms_signal(w + BAD * PAGE + 8, i % 2 ? 'w' : 'r') != POISONED)
			return 2;
		if (process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0) != -1 ||
		    errno != EFAULT)
			return 3;
		if (write(pipes[1], w + BAD * PAGE, 8) != -1 || errno != EFAULT)
			return 4;
	}
	close(null);
	return ms_wrong_words(w, BAD * PAGE, 1) ? 5 : 0;
}

/* A page that has failed fails again, for each way to touch it. */
TEST_F_TIMEOUT(failure, again, 100)
{
	const char *corrupt = DEBUGFS "/hwpoison/corrupt-pfn";
	struct pn_child child;
	unsigned long pfn;
	int i;

	if (access(corrupt, W_OK))
		SKIP(return, "no hwpoison in debugfs (CONFIG_HWPOISON_INJECT)");
	ms_write_words(self->w, LEN, 1);
	pfn = pn_frame(self->plain + BAD * PAGE);
	ASSERT_NE(0, pfn);
	signal(SIGBUS, SIG_IGN);
	ASSERT_EQ(0, pn_write_number(corrupt, pfn));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(POISONED, ms_signal(self->w + BAD * PAGE, 'r'));
		ASSERT_EQ(0, pn_spawn(&child, touches, self));
		EXPECT_EQ(0, pn_reap(&child, 20));
		/* It is reported once more, by a machine check, and by request */
		EXPECT_NE(0, pn_write_number(corrupt, pfn));
		EXPECT_ERROR(EFAULT, madvise(self->w + BAD * PAGE, PAGE, MADV_HWPOISON));
		/* As for any mapping */
		EXPECT_ERROR(EFAULT, madvise(self->plain + BAD * PAGE, PAGE, MADV_HWPOISON));
	}
	/* What is around it is as it was; a new page can take its place. */
	EXPECT_EQ(0, ms_wrong_words(self->w, BAD * PAGE, 1));
	EXPECT_EQ(0, ms_wrong_words(self->w + (BAD + 1) * PAGE, PAGE, 1 + (BAD + 1) * PAGE / 8));
	ASSERT_EQ(0, fallocate(self->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BAD * PAGE,
			       PAGE));
	ASSERT_EQ(0, ms_map_file(self->fd, BAD * PAGE, PAGE, RW, self->memfd, BAD * PAGE));
	EXPECT_EQ(0, ms_signal(self->w + BAD * PAGE, 'w'));
	EXPECT_EQ(0, self->w[BAD * PAGE]);
	EXPECT_EQ(0, pn_unpoison(pfn));
}

static sigjmp_buf back;

static void on_fault(int sig)
{
	siglongjmp(back, 1);
}

/* Each has a word of his own in each page, and knows how often he has added to it. */
static int writes(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(failure) *self = arg;
	struct board *board = self->board;
	char *w = ms_attach(self->fd, 0);
	size_t page = self->nr;

	while (w && !__atomic_load_n(&board->stop, __ATOMIC_RELAXED)) {
		page = (page + 1) % PAGES;
		((volatile unsigned long *)(w + page * PAGE))[self->nr]++;
		board->written[self->nr][page]++;
		__atomic_fetch_add(&board->reads, 1, __ATOMIC_RELAXED);
	}
	return w ? 0 : 1;
}

/* Until members have looked n more times, or it takes too long */
static int wait_reads(struct board *board, unsigned long n)
{
	unsigned long from = __atomic_load_n(&board->reads, __ATOMIC_RELAXED);
	double deadline = pn_now() + pn_slow(20);

	while (__atomic_load_n(&board->reads, __ATOMIC_RELAXED) - from < n) {
		if (pn_now() > deadline)
			return -1;
		sched_yield();
	}
	return 0;
}

/* Pages that are taken out of use are moved, under who writes to them. */
TEST_F_TIMEOUT(failure, soft_offline, 100)
{
	struct pn_child child[MEMBERS];
	unsigned long was[PAGES], lost = 0;
	int page, nr;

	if (access(SOFT_OFFLINE, W_OK))
		SKIP(return, "no memory failure recovery");
	memset(self->w, 0, LEN);
	for (self->nr = 0; self->nr < MEMBERS; self->nr++)
		ASSERT_EQ(0, pn_spawn(&child[self->nr], writes, self));
	for (page = 0; page < PAGES; page++) {
		ASSERT_EQ(0, wait_reads(self->board, 500));
		was[page] = pn_frame(self->plain + page * PAGE);
		ASSERT_NE(0, was[page]);
		/* By the administrator, and by a member */
		EXPECT_EQ(0, page % 2 ? pn_write_number(SOFT_OFFLINE, was[page] * PAGE) :
			  madvise(self->w + page * PAGE, PAGE, MADV_SOFT_OFFLINE))
			TH_LOG("%d: %s", page, strerror(errno));
		EXPECT_NE(was[page], pn_frame(self->plain + page * PAGE));
	}
	ASSERT_EQ(0, wait_reads(self->board, 500));
	__atomic_store_n(&self->board->stop, true, __ATOMIC_RELAXED);
	for (nr = 0; nr < MEMBERS; nr++)
		EXPECT_EQ(0, pn_reap(&child[nr], 20));
	for (nr = 0; nr < MEMBERS; nr++)
		for (page = 0; page < PAGES; page++)
			lost += ((unsigned long *)(self->w + page * PAGE))[nr] !=
				self->board->written[nr][page];
	EXPECT_EQ(0, lost);
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(0, pn_unpoison(was[page]));
}

static int reads(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(failure) *self = arg;
	struct board *board = self->board;
	char *w = self->nr % 2 ? ms_attach(self->fd, MSHARE_RDONLY) : self->w;
	unsigned long before, value;
	size_t page = self->nr;

	signal(SIGSEGV, on_fault);
	while (!__atomic_load_n(&board->stop, __ATOMIC_RELAXED)) {
		before = __atomic_load_n(&board->epoch, __ATOMIC_ACQUIRE);
		if (sigsetjmp(back, 1)) {
			value = 0;
			__atomic_fetch_add(&board->faults, 1, __ATOMIC_RELAXED);
		} else {
			value = *(volatile unsigned long *)(w + page % PAGES * PAGE);
		}
		if (__atomic_load_n(&board->epoch, __ATOMIC_ACQUIRE) == before &&
		    !(before & 1) && value != board->value[before / 2 % 2])
			__atomic_fetch_add(&board->stale, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&page, page + 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&board->reads, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

static int plugs(struct pn_child *child, void *arg)
{
	struct board *board = arg;
	int times = 0;

	while (!__atomic_load_n(&board->stop, __ATOMIC_RELAXED) || times < 3) {
		if (pn_write_file(CPU_ONLINE, "0") || pn_write_file(CPU_ONLINE, "1"))
			return 1;
		times++;
	}
	return 0;
}

static void change(struct board *board)
{
	__atomic_fetch_add(&board->epoch, 1, __ATOMIC_SEQ_CST);
}

/* A CPU comes back with nothing of what it had of the region. */
TEST_F_TIMEOUT(failure, hotplug, 200)
{
	struct pn_child child[MEMBERS], plug;
	struct board *board = self->board;
	unsigned long one = 1;
	int round, page;

	if (access(CPU_ONLINE, W_OK))
		SKIP(return, "no CPU that can be taken offline");
	/* Who reads what is not there gets a signal, and says 0. */
	board->value[0] = 1;
	for (page = 0; page < PAGES; page++)
		ASSERT_EQ(8, pwrite(self->memfd, &one, 8, page * PAGE));
	for (self->nr = 0; self->nr < MEMBERS; self->nr++)
		ASSERT_EQ(0, pn_spawn(&child[self->nr], reads, self));
	ASSERT_EQ(0, pn_spawn(&plug, plugs, board));
	for (round = 0; round < 60; round++) {
		ASSERT_EQ(0, wait_reads(board, 200));
		change(board);
		EXPECT_EQ(0, round % 2 ? mshare_unmap(self->fd, 0, LEN, 0) :
			  mshare_protect(self->fd, 0, LEN, PROT_NONE, 0));
		change(board);
		ASSERT_EQ(0, wait_reads(board, 200));
		change(board);
		EXPECT_EQ(0, round % 2 ? ms_map_file(self->fd, 0, LEN, RW, self->memfd, 0) :
			  mshare_protect(self->fd, 0, LEN, RW, 0));
		change(board);
	}
	__atomic_store_n(&board->stop, true, __ATOMIC_RELAXED);
	EXPECT_EQ(0, pn_reap(&plug, 30));
	for (round = 0; round < MEMBERS; round++)
		EXPECT_EQ(0, pn_reap(&child[round], 20));
	EXPECT_EQ(1, pn_read_long(CPU_ONLINE));
	EXPECT_EQ(0, board->stale);
	EXPECT_LT(0, board->faults);
}

/* A ring whose submissions a thread of the kernel takes, which is a member's, too */
struct ring {
	int fd;
	unsigned int *sq_head, *sq_tail, *sq_flags, *array, *cq_head, *cq_tail;
	unsigned int cq_mask;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
};

static int make_ring(struct ring *ring)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 2000 };
	char *sq, *cq;

	ring->fd = syscall(__NR_io_uring_setup, 4, &params);
	if (ring->fd < 0)
		return -1;
	sq = mmap(NULL, params.sq_off.array + params.sq_entries * 4, RW, MAP_SHARED, ring->fd,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, params.cq_off.cqes + params.cq_entries * sizeof(*ring->cqe), RW,
		  MAP_SHARED, ring->fd, IORING_OFF_CQ_RING);
	ring->sqe = mmap(NULL, params.sq_entries * sizeof(*ring->sqe), RW, MAP_SHARED, ring->fd,
			 IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring->sqe == MAP_FAILED)
		return -1;
	ring->sq_tail = (unsigned int *)(sq + params.sq_off.tail);
	ring->sq_flags = (unsigned int *)(sq + params.sq_off.flags);
	ring->array = (unsigned int *)(sq + params.sq_off.array);
	ring->cq_head = (unsigned int *)(cq + params.cq_off.head);
	ring->cq_tail = (unsigned int *)(cq + params.cq_off.tail);
	ring->cq_mask = params.cq_entries - 1;
	ring->cqe = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	return 0;
}

/* Write from memory to a file; the result as of pwrite(), or the negative error */
static int ring_write(struct ring *ring, int file, void *from, unsigned int len)
{
	unsigned int tail = *ring->sq_tail, head = *ring->cq_head;
	double deadline = pn_now() + pn_slow(10);
	int result;

	ring->sqe[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_WRITE, .fd = file, .addr = (unsigned long)from, .len = len,
	};
	ring->array[tail & 3] = 0;
	__atomic_store_n(ring->sq_tail, tail + 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == head) {
		if (__atomic_load_n(ring->sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP)
			syscall(__NR_io_uring_enter, ring->fd, 0, 0, IORING_ENTER_SQ_WAKEUP,
				NULL, 0);
		if (pn_now() > deadline)
			return -ETIME;
		sched_yield();
	}
	result = ring->cqe[head & ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return result;
}

/* What the kernel's thread reads is what is there now, wherever that was before. */
TEST_F_TIMEOUT(failure, polling_thread, 100)
{
	int in[2] = { self->memfd, memfd_create("ms_other", MFD_CLOEXEC) }, now = 0;
	int file = memfd_create("ms_file", MFD_CLOEXEC);
	unsigned long nodes[2] = { NODE_BIT(pn_cpu_node()), NODE_BIT(pn_control_node()) };
	struct mshare_mbind_args args = {
		.size = PAGE, .maxnode = PN_MAXNODE + 1, .mode = MPOL_BIND,
		.flags = MPOL_MF_MOVE_ALL,
	};
	unsigned long n, got, moved = pn_vmstat("pgmigrate_success");
	struct ring ring;

	ASSERT_EQ(0, ftruncate(in[1], LEN));
	if (make_ring(&ring))
		SKIP(return, "no io_uring");
	/* A mapping of another process would keep the page where it is */
	munmap(self->plain, LEN);
	for (n = 1; n <= 150; n++) {
		switch (n % 4) {
		case 0:
			now = !now;
			ASSERT_EQ(0, ms_map_file(self->fd, 0, PAGE, RW, in[now], 0));
			break;
		case 1:
		case 2:
			if (pn_control_node() < 0)
				break;
			args.nodemask = (unsigned long)&nodes[n % 2];
			ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
			break;
		case 3:
			ASSERT_EQ(0, mshare_advise(self->fd, 0, PAGE, MADV_REMOVE, 0));
			break;
		}
		/* By file, so that this CPU does not tell the other one anything */
		ASSERT_EQ(8, pwrite(in[now], &n, 8, 0));
		ASSERT_EQ(8, ring_write(&ring, file, self->w, 8));
		ASSERT_EQ(8, pread(file, &got, 8, 0));
		EXPECT_EQ(n, got);
	}
	if (pn_control_node() >= 0)
		EXPECT_LT(10, pn_vmstat("pgmigrate_success") - moved);
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, PAGE, 0));
	EXPECT_EQ(-EFAULT, ring_write(&ring, file, self->w, 8));
	/* The window goes while the thread has the address space. */
	ASSERT_EQ(0, munmap(self->w, GRANULE));
	EXPECT_EQ(-EFAULT, ring_write(&ring, file, self->w, 8));
	close(ring.fd);
	close(in[1]);
	close(file);
}

TEST_HARNESS_MAIN
