// SPDX-License-Identifier: GPL-2.0
/*
 * No member has anything cached of what the tables of a region say no more: when
 * a call returns, it is so for all members, on all CPUs. Each test has readers or
 * writers in several processes, more than there are CPUs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define PAGES		64
#define LEN		(PAGES * PAGE)
#define MEMBERS		6

/* In plain shared memory: what members and the test tell each other */
struct board {
	/* Odd while it changes; else readers must find value[epoch / 2 % 2] */
	unsigned long epoch;
	unsigned long value[2];
	unsigned long reads, stale, faults;
	bool stop;
	unsigned long written[MEMBERS][PAGES];
};

FIXTURE(tlb)
{
	int fd, memfd[2];
	char *w;
	struct board *board;
	struct pn_child child[MEMBERS];
	int started, nr;
};

FIXTURE_SETUP(tlb)
{
	const char *missing = ms_missing();
	unsigned long i, p;

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_region(2 * GRANULE, 0);
	ASSERT_LE(0, self->fd);
	self->board = mmap(NULL, sizeof(*self->board), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->board);
	for (i = 0; i < 2; i++) {
		self->board->value[i] = i + 1;
		self->memfd[i] = memfd_create("ms_tlb", MFD_CLOEXEC);
		ASSERT_LE(0, self->memfd[i]);
		ASSERT_EQ(0, ftruncate(self->memfd[i], LEN));
		for (p = 0; p < PAGES; p++)
			ASSERT_EQ(8, pwrite(self->memfd[i], &self->board->value[i], 8, p * PAGE));
	}
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
}

static void stop(FIXTURE_DATA(tlb) *self, struct __test_metadata *_metadata)
{
	__atomic_store_n(&self->board->stop, true, __ATOMIC_RELAXED);
	while (self->started)
		EXPECT_EQ(0, pn_reap(&self->child[--self->started], 30));
}

FIXTURE_TEARDOWN(tlb)
{
	if (self->fd < 0)
		return;
	if (self->board)
		stop(self, _metadata);
	close(self->fd);
}

static int start(FIXTURE_DATA(tlb) *self, int (*fn)(struct pn_child *, void *))
{
	while (self->started < MEMBERS) {
		self->nr = self->started;
		if (pn_spawn(&self->child[self->started], fn, self))
			return -1;
		self->started++;
	}
	return 0;
}

/* Until members have looked n more times in all, or it takes too long */
static int wait_reads(struct board *board, unsigned long n)
{
	unsigned long from = __atomic_load_n(&board->reads, __ATOMIC_RELAXED);
	double deadline = pn_now() + pn_slow(30);

	while (__atomic_load_n(&board->reads, __ATOMIC_RELAXED) - from < n) {
		if (pn_now() > deadline)
			return -1;
		sched_yield();
	}
	return 0;
}

static sigjmp_buf back;

static void on_fault(int sig)
{
	siglongjmp(back, 1);
}

/* Reads the first word of page after page; looks whether it may be what it is. */
static int reads(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(tlb) *self = arg;
	struct board *board = self->board;
	char *w = self->nr % 2 ? ms_attach(self->fd, MSHARE_RDONLY) : self->w;
	unsigned long before, value, n = 0;
	size_t page = self->nr;

	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
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
		page++;
		/* Not all the time, else nobody gets at the line */
		if (!(++n % 64))
			__atomic_fetch_add(&board->reads, 64, __ATOMIC_RELAXED);
	}
	return 0;
}

static void change(struct board *board)
{
	__atomic_fetch_add(&board->epoch, 1, __ATOMIC_SEQ_CST);
}

/* Another file, in place of the one that is there */
TEST_F_TIMEOUT(tlb, replace, 120)
{
	struct board *board = self->board;
	int round;

	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	ASSERT_EQ(0, start(self, reads));
	for (round = 1; round <= 50; round++) {
		ASSERT_EQ(0, wait_reads(board, 1000));
		change(board);
		EXPECT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[round % 2], 0));
		change(board);
	}
	ASSERT_EQ(0, wait_reads(board, 1000));
	EXPECT_EQ(0, board->stale);
}

/* Nothing, and something again */
TEST_F_TIMEOUT(tlb, unmap, 120)
{
	struct board *board = self->board;
	int round;

	/* Who reads what is not there gets a signal, and says 0. */
	board->value[1] = 0;
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	ASSERT_EQ(0, start(self, reads));
	for (round = 0; round < 50; round++) {
		ASSERT_EQ(0, wait_reads(board, 200));
		change(board);
		EXPECT_EQ(0, mshare_unmap(self->fd, 0, LEN, 0));
		change(board);
		ASSERT_EQ(0, wait_reads(board, 200));
		change(board);
		EXPECT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
		change(board);
	}
	EXPECT_EQ(0, board->stale);
	EXPECT_LT(0, board->faults);
}

/* A hole in the file: by the region, and by who has the file */
TEST_F_TIMEOUT(tlb, punch, 120)
{
	struct board *board = self->board;
	unsigned long one = 1;
	int round, p;

	board->value[1] = 0;
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	ASSERT_EQ(0, start(self, reads));
	for (round = 0; round < 30; round++) {
		ASSERT_EQ(0, wait_reads(board, 1000));
		change(board);
		EXPECT_EQ(0, round % 2 ? mshare_advise(self->fd, 0, LEN, MADV_REMOVE, 0) :
			  fallocate(self->memfd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				    0, LEN));
		change(board);
		ASSERT_EQ(0, wait_reads(board, 1000));
		change(board);
		for (p = 0; p < PAGES; p++)
			EXPECT_EQ(8, pwrite(self->memfd[0], &one, 8, p * PAGE));
		change(board);
	}
	EXPECT_EQ(0, board->stale);
	EXPECT_EQ(0, board->faults);
}

/* Each has a word of his own in each page, and knows how often he has added to it. */
static int writes(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(tlb) *self = arg;
	struct board *board = self->board;
	const int nr = self->nr;
	volatile size_t page = nr;
	char *w = nr % 2 ? ms_attach(self->fd, 0) : self->w;

	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	while (!__atomic_load_n(&board->stop, __ATOMIC_RELAXED)) {
		if (sigsetjmp(back, 1)) {
			__atomic_fetch_add(&board->faults, 1, __ATOMIC_RELAXED);
			sched_yield();
			continue;
		}
		((volatile unsigned long *)(w + page % PAGES * PAGE))[nr]++;
		board->written[nr][page % PAGES]++;
		page++;
		if (!(page % 64))
			__atomic_fetch_add(&board->reads, 64, __ATOMIC_RELAXED);
	}
	return 0;
}

#define EXPECT_ALL_WRITTEN() do {						\
	unsigned long _lost = 0;						\
	int _p, _nr;								\
										\
	for (_nr = 0; _nr < MEMBERS; _nr++)					\
		for (_p = 0; _p < PAGES; _p++)					\
			_lost += ((unsigned long *)(self->w + _p * PAGE))[_nr] !=	\
				 self->board->written[_nr][_p];			\
	EXPECT_EQ(0, _lost);							\
} while (0)

TEST_F_TIMEOUT(tlb, protect, 120)
{
	struct board *board = self->board;
	char *then = malloc(LEN);
	int round;

	ASSERT_EQ(0, ms_map_anon(self->fd, 0, LEN, RW));
	ASSERT_EQ(0, start(self, writes));
	for (round = 0; round < 50; round++) {
		ASSERT_EQ(0, wait_reads(board, 1000));
		ASSERT_EQ(0, mshare_protect(self->fd, 0, LEN, PROT_READ, 0));
		memcpy(then, self->w, LEN);
		poll(NULL, 0, 2);
		EXPECT_EQ(0, memcmp(then, self->w, LEN));
		ASSERT_EQ(0, mshare_protect(self->fd, 0, LEN, RW, 0));
	}
	EXPECT_LT(0, board->faults);
	stop(self, _metadata);
	EXPECT_ALL_WRITTEN();
	free(then);
}

/* Pages that go to swap, and come back, under writers: nothing is lost. */
TEST_F_TIMEOUT(tlb, reclaim, 200)
{
	long out = pn_vmstat("pswpout");
	int round;

	if (pn_swap_on(32 * MIB))
		SKIP(return, "no zram to swap to");
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, LEN, RW));
	ASSERT_EQ(0, start(self, writes));
	for (round = 0; round < 30; round++) {
		EXPECT_EQ(0, wait_reads(self->board, 500));
		EXPECT_EQ(0, mshare_advise(self->fd, 0, LEN, MADV_PAGEOUT, 0));
	}
	stop(self, _metadata);
	EXPECT_LT(PAGES, pn_vmstat("pswpout") - out);
	EXPECT_ALL_WRITTEN();
	EXPECT_EQ(0, self->board->faults);
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, LEN, 0));
	EXPECT_EQ(0, pn_swap_off());
}

/* Pages that move from node to node, and huge ones that are split and collapsed */
TEST_F_TIMEOUT(tlb, migrate, 200)
{
	unsigned long nodes[2] = { NODE_BIT(pn_cpu_node()), 0 };
	long before = pn_vmstat("pgmigrate_success");
	struct mshare_mbind_args args = {
		.size = 2 * MIB, .maxnode = PN_MAXNODE + 1, .mode = MPOL_BIND,
		.flags = MPOL_MF_MOVE_ALL,
	};
	int round, collapsed = 0;

	if (pn_control_node() < 0)
		SKIP(return, "no second ordinary node");
	nodes[1] = NODE_BIT(pn_control_node());
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 2 * MIB, RW));
	ASSERT_EQ(0, start(self, writes));
	for (round = 0; round < 30; round++) {
		args.nodemask = (unsigned long)&nodes[round % 2];
		EXPECT_EQ(0, wait_reads(self->board, 500));
		EXPECT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
		/* It fails for what somebody is about to write to. */
		if (round % 4 == 1)
			collapsed += !mshare_advise(self->fd, 0, 2 * MIB, MADV_COLLAPSE, 0);
		/* A hole behind what is written splits the huge page. */
		if (round % 4 == 3)
			EXPECT_EQ(0, mshare_advise(self->fd, LEN, PAGE, MADV_REMOVE, 0));
	}
	stop(self, _metadata);
	EXPECT_LT(PAGES, pn_vmstat("pgmigrate_success") - before);
	if (access(SHMEM_THP, F_OK))
		pn_note("no huge pages of shared memory: small ones only");
	else
		EXPECT_LT(0, collapsed);
	EXPECT_ALL_WRITTEN();
	EXPECT_EQ(0, self->board->faults);
}

#define COMPACT		"/proc/sys/vm/compact_memory"
#define MEMORY		"/sys/devices/system/memory/"

/* A file of zeros. 0 or -1 */
static int empty(int file)
{
	return ftruncate(file, 0) || ftruncate(file, LEN) ? -1 : 0;
}

/* The page frames of the file: by a mapping of its own, as windows show none. 0 or -1 */
static int find_frames(FIXTURE_DATA(tlb) *self, unsigned long *frame)
{
	char *p = mmap(NULL, LEN, RW, MAP_SHARED, self->memfd[0], 0);
	int i;

	if (p == MAP_FAILED)
		return -1;
	for (i = 0; i < PAGES; i++)
		frame[i] = pn_frame(p + i * PAGE);
	munmap(p, LEN);
	return 0;
}

/* Touch the pages of the file on a node, far from one another. 0 or -1 */
static int spread(FIXTURE_DATA(tlb) *self, int nid)
{
	size_t part = (pn_meminfo(nid, "MemFree") << 10) / 2 / PAGES / PAGE * PAGE;
	char *between = pn_map_bound(PAGES * part, MPOL_BIND, NODE_BIT(nid));
	char *p = mmap(NULL, LEN, RW, MAP_SHARED, self->memfd[0], 0);
	unsigned long mask = NODE_BIT(nid);
	int i, ret = -1;

	if (!between || p == MAP_FAILED || !part ||
	    madvise(between, PAGES * part, MADV_NOHUGEPAGE) ||
	    pn_mbind(p, LEN, MPOL_BIND, &mask, 0))
		goto out;
	for (i = 0; i < PAGES; i++) {
		p[i * PAGE] = 0;
		if (pn_touch(between + i * part, part, PAGE, NULL) != part)
			goto out;
	}
	ret = 0;
out:
	munmap(p, LEN);
	munmap(between, PAGES * part);
	return ret;
}

/* Pages that compaction moves to the other end of their node */
TEST_F_TIMEOUT(tlb, compact, 200)
{
	int control = pn_control_node(), round, i, moved = 0;
	unsigned long before[PAGES], after[PAGES];

	if (access(COMPACT, F_OK))
		SKIP(return, "a kernel without CONFIG_COMPACTION");
	if (control < 0)
		SKIP(return, "no second ordinary node");
	for (round = 0; round < 4; round++) {
		ASSERT_EQ(0, empty(self->memfd[0]));
		ASSERT_EQ(0, spread(self, control));
		ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
		memset(self->board, 0, sizeof(*self->board));
		ASSERT_EQ(0, start(self, writes));
		EXPECT_EQ(0, wait_reads(self->board, 500));
		ASSERT_EQ(0, find_frames(self, before));
		EXPECT_EQ(0, pn_write_file(COMPACT, "1"));
		ASSERT_EQ(0, find_frames(self, after));
		for (i = 0; i < PAGES; i++)
			moved += before[i] != after[i];
		EXPECT_EQ(0, wait_reads(self->board, 500));
		stop(self, _metadata);
		EXPECT_ALL_WRITTEN();
		EXPECT_EQ(0, self->board->faults);
	}
	pn_note("%d pages moved in %d rounds", moved, round);
	EXPECT_LT(PAGES, moved);
}

/* Memory that goes offline under the region */
TEST_F_TIMEOUT(tlb, offline, 300)
{
	unsigned long before[PAGES], after[PAGES], block, size, last = 0;
	int control = pn_control_node(), i, p, went = 0, moved = 0;
	char line[32], state[100];

	if (control < 0)
		SKIP(return, "no second ordinary node");
	if (pn_read_line(MEMORY "block_size_bytes", line, sizeof(line)))
		SKIP(return, "a kernel without CONFIG_MEMORY_HOTPLUG");
	/* A block with such a page does not come back. */
	if (pn_meminfo(-1, "HardwareCorrupted"))
		SKIP(return, "some memory has failed");
	size = strtoul(line, NULL, 16) / PAGE;
	ASSERT_EQ(0, empty(self->memfd[0]));
	ASSERT_EQ(0, spread(self, control));
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	ASSERT_EQ(0, start(self, writes));
	for (i = 0; i < PAGES; i++) {
		ASSERT_EQ(0, find_frames(self, before));
		block = before[i] / size;
		snprintf(state, sizeof(state), MEMORY "memory%lu/node%d", block, control);
		/* What has moved away may be on any node. */
		if (block == last || access(state, F_OK))
			continue;
		last = block;
		snprintf(state, sizeof(state), MEMORY "memory%lu/state", block);
		EXPECT_EQ(0, wait_reads(self->board, 500));
		/* Kernel memory may be anywhere there. */
		if (pn_write_file(state, "offline"))
			continue;
		went++;
		ASSERT_EQ(0, find_frames(self, after));
		for (p = 0; p < PAGES; p++) {
			moved += before[p] / size == block;
			EXPECT_NE(block, after[p] / size);
		}
		EXPECT_EQ(0, wait_reads(self->board, 500));
		EXPECT_EQ(0, pn_online(state));
	}
	stop(self, _metadata);
	pn_note("%d blocks, %d pages moved", went, moved);
	EXPECT_LT(0, went);
	EXPECT_LT(0, moved);
	EXPECT_ALL_WRITTEN();
	EXPECT_EQ(0, self->board->faults);
}

struct hammer {
	char *w;
	unsigned long *epoch;
	unsigned long stale, reads;
	bool stop, busy;
};

static void *hammers(void *arg)
{
	struct hammer *hammer = arg;
	unsigned long before, value;
	size_t page = 0;

	while (!__atomic_load_n(&hammer->stop, __ATOMIC_RELAXED)) {
		/* It waits for who is busy; who sees it even is, for it to see. */
		__atomic_store_n(&hammer->busy, true, __ATOMIC_SEQ_CST);
		before = __atomic_load_n(hammer->epoch, __ATOMIC_SEQ_CST);
		if (before & 1) {
			__atomic_store_n(&hammer->busy, false, __ATOMIC_SEQ_CST);
			sched_yield();
			continue;
		}
		value = *(volatile unsigned long *)(hammer->w + page++ % PAGES * PAGE);
		if (__atomic_load_n(hammer->epoch, __ATOMIC_ACQUIRE) == before) {
			hammer->reads++;
			hammer->stale += value != before / 2 % 2 + 1;
		}
		__atomic_store_n(&hammer->busy, false, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/*
 * A window of another region in the same place. Readers are still while there is
 * none; what they have cached of the first region must be gone with its window.
 */
TEST_F_TIMEOUT(tlb, other_region, 120)
{
	int region[2] = { self->fd, ms_region(2 * GRANULE, 0) }, round, i, nr = get_nprocs() + 1;
	struct hammer hammer[9];
	pthread_t thread[9];
	unsigned long epoch = 0;
	char *w = self->w;

	if (nr > 9)
		nr = 9;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, ms_map_file(region[i], 0, LEN, RW, self->memfd[i], 0));
	for (i = 0; i < nr; i++) {
		hammer[i] = (struct hammer){ .w = w, .epoch = &epoch };
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, hammers, &hammer[i]));
	}
	for (round = 1; round <= 150; round++) {
		poll(NULL, 0, 1);
		__atomic_fetch_add(&epoch, 1, __ATOMIC_SEQ_CST);
		for (i = 0; i < nr; i++)
			while (__atomic_load_n(&hammer[i].busy, __ATOMIC_SEQ_CST))
				sched_yield();
		if (round % 3)
			ASSERT_EQ(0, munmap(w, 2 * GRANULE));
		ASSERT_EQ(w, mshare_attach(region[round % 2], 0, 0, w, MSHARE_FIXED));
		__atomic_fetch_add(&epoch, 1, __ATOMIC_SEQ_CST);
	}
	for (i = 0; i < nr; i++) {
		__atomic_store_n(&hammer[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, hammer[i].stale);
		EXPECT_LT(0, hammer[i].reads);
	}
	close(region[1]);
}

struct sleeper {
	char *w;
	int cpu, to[2], from[2];
};

static int looks_when_told(struct pn_child *child, void *arg)
{
	struct sleeper *sleeper = arg;
	unsigned long value;
	size_t page = 0;
	char byte;

	pn_pin(sleeper->cpu);
	while (read(sleeper->to[0], &byte, 1) == 1 && byte != 'q') {
		value = *(volatile unsigned long *)(sleeper->w + page++ % PAGES * PAGE);
		if (write(sleeper->from[1], &value, sizeof(value)) != sizeof(value))
			return 1;
	}
	return 0;
}

/*
 * Members that sleep while it changes: their CPU is idle and still has their
 * translations, or has had eight others meanwhile and has some of theirs.
 */
TEST_F_TIMEOUT(tlb, asleep, 120)
{
	enum { SLEEPERS = 10 };
	struct sleeper sleeper[SLEEPERS];
	struct pn_child child[SLEEPERS];
	int i, round, cpus = get_nprocs(), turn;
	unsigned long value;

	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	for (i = 0; i < SLEEPERS; i++) {
		sleeper[i].w = self->w;
		sleeper[i].cpu = i % cpus;
		ASSERT_EQ(0, pipe2(sleeper[i].to, O_CLOEXEC));
		ASSERT_EQ(0, pipe2(sleeper[i].from, O_CLOEXEC));
		ASSERT_EQ(0, pn_spawn(&child[i], looks_when_told, &sleeper[i]));
	}
	for (round = 0; round < 100; round++) {
		ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[round % 2], 0));
		/* All of them, one on each CPU, or only one */
		for (i = 0; i < SLEEPERS; i++) {
			turn = (i + round) % SLEEPERS;
			if (round % 3 && i >= (round % 3 == 1 ? cpus : 1))
				break;
			ASSERT_EQ(1, write(sleeper[turn].to[1], "", 1));
			ASSERT_EQ(8, read(sleeper[turn].from[0], &value, 8));
			EXPECT_EQ(round % 2 + 1, value);
		}
		if (round % 2)
			poll(NULL, 0, 1);
	}
	for (i = 0; i < SLEEPERS; i++) {
		EXPECT_EQ(1, write(sleeper[i].to[1], "q", 1));
		EXPECT_EQ(0, pn_reap(&child[i], 20));
	}
}

/* As many interrupts for many members as for one: one for each call and CPU */
TEST_F_TIMEOUT(tlb, interrupts, 120)
{
	enum { CALLS = 200 };
	long before, one = 0, count, others;
	double start_of, took;
	int call;

	if (get_nprocs() < 2)
		SKIP(return, "one CPU only");
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	pn_pin(1);
	ASSERT_EQ(0, pn_spawn(&self->child[self->started], reads, self));
	self->started++;
	while (1) {
		pn_pin(0);
		before = ms_shootdowns();
		start_of = pn_now();
		for (call = 0; call < CALLS; call++) {
			/* Else the interrupts of several calls may be one */
			ASSERT_EQ(0, wait_reads(self->board, 64));
			ASSERT_EQ(0, mshare_protect(self->fd, 0, LEN,
						    call % 2 ? RW : PROT_READ, 0));
		}
		count = ms_shootdowns() - before;
		/* What others do in as much time */
		took = pn_now() - start_of;
		before = ms_shootdowns();
		poll(NULL, 0, 1000 * took);
		others = ms_shootdowns() - before;
		count -= others;
		pn_note("%d members: %ld interrupts for %d calls, %ld of others", self->started,
			count, CALLS, others);
		EXPECT_LT(CALLS / 2, count);
		EXPECT_GT(CALLS + CALLS / 4, count);
		if (one)
			break;
		one = count;
		pn_pin(1);
		ASSERT_EQ(0, start(self, reads));
	}
	EXPECT_GT(one + CALLS / 4, count);
}

static void *reclaims(void *arg)
{
	struct board *board = arg;
	unsigned long n = 0;

	while (!__atomic_load_n(&board->stop, __ATOMIC_RELAXED)) {
		/* By rmap, without any lock of the region; it need not find so much */
		pn_write_file(MS_GROUP "/memory.reclaim", "2M");
		if (!(++n % 4))
			sched_yield();
	}
	return (void *)n;
}

/*
 * Reclaim has taken a page out of the tables, and put off the flush, when what may be
 * done with the memory changes: the change flushes what reclaim has not, or members
 * still write to it. With both kinds of LRU lists.
 */
TEST_F_TIMEOUT(tlb, protect_and_reclaim, 200)
{
	struct board *board = self->board;
	char *then = malloc(LEN), was[20];
	long out = pn_vmstat("pswpout");
	const int rounds = pn_is_slow() ? 16 : 40;
	double deadline = pn_now() + pn_slow(20);
	pthread_t thread;
	int round;

	if (pn_swap_on(32 * MIB))
		SKIP(return, "no zram to swap to");
	ASSERT_EQ(0, ms_begin_group(NULL));
	ASSERT_EQ(0, pn_write_file(MS_GROUP "/cgroup.procs", "0"));
	/* A region that this cgroup has paid for, and nothing else is in it */
	munmap(self->w, 2 * GRANULE);
	close(self->fd);
	self->fd = ms_region(2 * GRANULE, 0);
	ASSERT_LE(0, self->fd);
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, LEN, RW));
	ASSERT_EQ(0, mshare_advise(self->fd, 0, LEN, MADV_POPULATE_WRITE, 0));
	ASSERT_EQ(0, pn_write_file(MS_CGROUPS "/cgroup.procs", "0"));
	ASSERT_EQ(0, start(self, writes));
	ASSERT_EQ(0, pthread_create(&thread, NULL, reclaims, board));
	if (pn_read_line(LRU_GEN, was, sizeof(was)))
		was[0] = 0;
	/* For as long as it takes until reclaim has been there, too */
	for (round = 0; round < rounds || (pn_vmstat("pswpout") - out <= PAGES &&
					   pn_now() < deadline); round++) {
		if (was[0] && round % 8 == 0)
			EXPECT_EQ(0, pn_write_file(LRU_GEN, round % 16 ? "y" : "n"));
		EXPECT_EQ(0, wait_reads(board, 500));
		ASSERT_EQ(0, mshare_protect(self->fd, 0, LEN, PROT_READ, 0));
		memcpy(then, self->w, LEN);
		poll(NULL, 0, 2);
		EXPECT_EQ(0, memcmp(then, self->w, LEN));
		ASSERT_EQ(0, mshare_protect(self->fd, 0, LEN, RW, 0));
	}
	stop(self, _metadata);
	pthread_join(thread, NULL);
	/* It did find pages that members write to: there are no others. */
	EXPECT_LT(PAGES, pn_vmstat("pswpout") - out);
	EXPECT_ALL_WRITTEN();
	if (was[0])
		EXPECT_EQ(0, pn_write_file(LRU_GEN, was));
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, LEN, 0));
	EXPECT_EQ(0, pn_write_file(MS_CGROUPS "/cgroup.procs", "0"));
	EXPECT_EQ(0, ms_end_group());
	EXPECT_EQ(0, pn_swap_off());
	free(then);
}

/* The file is cut off, by who has nothing to do with the region. */
TEST_F_TIMEOUT(tlb, truncate, 120)
{
	struct board *board = self->board;
	unsigned long p;
	int round;

	board->value[1] = 0;
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->memfd[0], 0));
	ASSERT_EQ(0, start(self, reads));
	for (round = 0; round < 30; round++) {
		ASSERT_EQ(0, wait_reads(board, 200));
		change(board);
		EXPECT_EQ(0, ftruncate(self->memfd[0], 0));
		change(board);
		ASSERT_EQ(0, wait_reads(board, 200));
		change(board);
		EXPECT_EQ(0, ftruncate(self->memfd[0], LEN));
		for (p = 0; p < PAGES; p++)
			EXPECT_EQ(8, pwrite(self->memfd[0], &board->value[0], 8, p * PAGE));
		change(board);
	}
	EXPECT_EQ(0, board->stale);
	EXPECT_LT(0, board->faults);
}

TEST_HARNESS_MAIN
