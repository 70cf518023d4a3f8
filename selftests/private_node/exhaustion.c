// SPDX-License-Identifier: GPL-2.0
/*
 * What happens when a private node is full. "Exhaustion is contained": SIGBUS
 * for who bound itself to it, never the OOM killer, never other memory.
 *
 * Every path has a deadline: an error that is not converted shows as an
 * endless repetition of the fault.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/capability.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define DEADLINE		30
#define SAME_PAGES		256

FIXTURE(exhaustion)
{
	int priv, control;
	unsigned long privs;
	struct pn_child hog;
	bool full;
	long kills;
	char *mem;
	size_t len;
};

/* Takes all of the node, and holds it. */
static int take_all(struct pn_child *child, void *arg)
{
	int nid = *(int *)arg;
	struct pn_zones zones;
	struct pn_fault fault;
	size_t len, done;
	char *p;

	if (pn_zones(nid, &zones))
		return 1;
	len = zones.managed * pn_page_size() + 64 * MIB;
	p = pn_map_bound(len, MPOL_BIND | pn_flag(), NODE_BIT(nid));
	if (!p)
		return 2;
	madvise(p, len, MADV_HUGEPAGE);
	/* The rest of it, page by page, is what the last touches take. */
	done = pn_touch(p, len, pn_page_size(), &fault);
	if (done == len || fault.sig != SIGBUS)
		return 3;
	pn_hold(child);
	return 0;
}

FIXTURE_SETUP(exhaustion)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->kills = pn_vmstat("oom_kill");
	ASSERT_LE(0, self->kills);
	/* Per-CPU pages of another CPU would make the first touch succeed. */
	pn_pin(0);

	self->len = 32 * MIB;
	self->mem = pn_map_bound(self->len, MPOL_BIND | pn_flag(), self->privs);
	ASSERT_NE(NULL, self->mem);
	madvise(self->mem, self->len, MADV_NOHUGEPAGE);

	ASSERT_EQ(0, pn_spawn(&self->hog, take_all, &self->priv));
	if (pn_ready(&self->hog, 100)) {
		int status = pn_reap(&self->hog, 1);

		ASSERT_EQ(0, status) TH_LOG("the node could not be filled up");
	}
	self->full = true;
}

FIXTURE_TEARDOWN(exhaustion)
{
	if (self->mem)
		munmap(self->mem, self->len);
	if (self->full) {
		EXPECT_EQ(0, pn_reap(&self->hog, DEADLINE));
		EXPECT_EQ(self->kills, pn_vmstat("oom_kill"));
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

/* Two who go through the same memory at the same time */
struct pair {
	pthread_barrier_t barrier;
	char *mem;
	int zero, rounds;
};

/*
 * Pages that could be written to, of all up to the first that could not. An
 * error instead of a signal, as signal handlers are for the whole process.
 */
static int go_through(struct pair *pair)
{
	int i;

	for (i = 0; i < SAME_PAGES; i++)
		if (pread(pair->zero, pair->mem + i * pn_page_size(), 1, 0) != 1)
			break;
	return i;
}

static void *second(void *arg)
{
	struct pair *pair = arg;
	long wrong = 0;
	int i, done;

	pn_pin(1);
	for (i = 0; i < pair->rounds; i++) {
		pthread_barrier_wait(&pair->barrier);
		done = go_through(pair);
		pthread_barrier_wait(&pair->barrier);
		if (done < SAME_PAGES &&
		    pn_node_of(pair->mem + done * pn_page_size()) >= 0)
			wrong++;
		pthread_barrier_wait(&pair->barrier);
	}
	return (void *)wrong;
}

/*
 * How often one of them got an error for a page that is there when both have
 * ended; or -1 if the memory did not run out each time, or other things failed.
 */
static int race(char *mem, int rounds, int advice)
{
	struct pair pair = { .mem = mem, .rounds = rounds };
	long wrong = 0, of_second = 0;
	bool enough = false;
	pthread_t thread;
	int i, done;

	pair.zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (pair.zero < 0 || pthread_barrier_init(&pair.barrier, NULL, 2) ||
	    pthread_create(&thread, NULL, second, &pair))
		return -1;
	for (i = 0; i < rounds; i++) {
		madvise(mem, SAME_PAGES * pn_page_size(), advice);
		pn_settle();
		pthread_barrier_wait(&pair.barrier);
		done = go_through(&pair);
		pthread_barrier_wait(&pair.barrier);
		if (done == SAME_PAGES)
			enough = true;
		else if (pn_node_of(mem + done * pn_page_size()) >= 0)
			wrong++;
		pthread_barrier_wait(&pair.barrier);
	}
	pthread_join(thread, (void **)&of_second);
	pthread_barrier_destroy(&pair.barrier);
	close(pair.zero);
	return enough ? -1 : wrong + of_second;
}

FIXTURE(last_page)
{
	int priv;
	struct pn_child hog;
	bool full;
	char *mem;
	size_t len;
};

FIXTURE_VARIANT(last_page)
{
	bool shared;
};

FIXTURE_VARIANT_ADD(last_page, anonymous) { .shared = false };
FIXTURE_VARIANT_ADD(last_page, shared) { .shared = true };

FIXTURE_SETUP(last_page)
{
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU: there is no race");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	pn_pin(0);
	self->len = SAME_PAGES * pn_page_size();
	if (variant->shared) {
		unsigned long mask = NODE_BIT(self->priv);

		self->mem = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, self->mem);
		ASSERT_EQ(0, pn_mbind(self->mem, self->len, MPOL_BIND | pn_flag(),
				      &mask, 0));
	} else {
		self->mem = pn_map_bound(self->len, MPOL_BIND | pn_flag(),
					 NODE_BIT(self->priv));
		ASSERT_NE(NULL, self->mem);
		madvise(self->mem, self->len, MADV_NOHUGEPAGE);
	}
	/* Ours before the node is full: a half of it, and the page table */
	ASSERT_EQ(self->len / 2, pn_touch(self->mem, self->len / 2, pn_page_size(), NULL));
	ASSERT_EQ(0, pn_spawn(&self->hog, take_all, &self->priv));
	ASSERT_EQ(0, pn_ready(&self->hog, 100));
	self->full = true;
}

FIXTURE_TEARDOWN(last_page)
{
	if (self->mem)
		munmap(self->mem, self->len);
	if (self->full) {
		EXPECT_EQ(0, pn_reap(&self->hog, DEADLINE));
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

/* Who comes second finds the page of the first, and not that there is none. */
TEST_F_TIMEOUT(last_page, wanted_twice, 300)
{
	EXPECT_EQ(0, race(self->mem, 100, variant->shared ? MADV_REMOVE : MADV_DONTNEED));
}

static int is_refused(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	unsigned long mask = NODE_BIT(self->priv);

	return pn_drop_cap(CAP_SYS_NICE) ||
	       !pn_set_mempolicy(MPOL_BIND | MPOL_F_PRIVATE, &mask) || errno != EPERM;
}

/*
 * Row 45: "SIGBUS (BUS_ADRERR) for a touch", and no page from elsewhere. That, and
 * that somebody may not use the node, can be traced.
 */
TEST_F_TIMEOUT(exhaustion, touch, 200)
{
	struct pn_fault fault;
	long count[PN_MAXNODE], present;
	size_t done;
	bool trace = !pn_trace(true);

	done = pn_touch(self->mem, self->len, pn_page_size(), &fault);
	ASSERT_GT(self->len, done);
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(BUS_ADRERR, fault.code);
	EXPECT_EQ(self->mem + done, fault.addr);
	present = pn_count_nodes(self->mem, self->len, count);
	EXPECT_EQ((long)(done / pn_page_size()), present);
	EXPECT_EQ(present, count[self->priv]);
	/* It does not hurt to try again. */
	EXPECT_EQ(0, pn_touch(self->mem + done, pn_page_size(), pn_page_size(), &fault));
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(0, pn_run(is_refused, self, DEADLINE));
	if (!trace) {
		pn_note("no tracing: not looked at");
		return;
	}
	EXPECT_EQ(0, pn_trace(false));
	EXPECT_TRUE(pn_traced("private_node_exhausted", self->priv));
	EXPECT_TRUE(pn_traced("private_node_refused", -1));
}

/* Row 89: a huge page is not taken from public memory instead. */
TEST_F_TIMEOUT(exhaustion, huge_page, 200)
{
	long count[PN_MAXNODE];
	struct pn_fault fault;
	size_t done;

	madvise(self->mem, self->len, MADV_HUGEPAGE);
	done = pn_touch(self->mem, self->len, pn_page_size(), &fault);
	ASSERT_GT(self->len, done);
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(pn_count_nodes(self->mem, self->len, count), count[self->priv]);
}

/* A read maps the shared page of zeroes; the write that follows: SIGBUS */
TEST_F_TIMEOUT(exhaustion, zero_page_write, 200)
{
	struct pn_fault fault;
	size_t i;

	for (i = 0; i < self->len; i += pn_page_size()) {
		ASSERT_EQ(0, ((volatile char *)self->mem)[i]);
	}
	ASSERT_GT(self->len, pn_touch(self->mem, self->len, pn_page_size(), &fault));
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(BUS_ADRERR, fault.code);
}

/* "EFAULT for a copy to or from user space" */
TEST_F_TIMEOUT(exhaustion, copy_to_user, 200)
{
	size_t done = pn_touch(self->mem, self->len, pn_page_size(), NULL);
	int ends[2];
	char byte;

	ASSERT_GT(self->len, done);
	ASSERT_EQ(0, pipe(ends));
	ASSERT_EQ(1, write(ends[1], "x", 1));
	EXPECT_EQ(-1, read(ends[0], self->mem + done, 1));
	EXPECT_EQ(EFAULT, errno);
	/* The control: the same read into memory that is there */
	EXPECT_EQ(1, read(ends[0], done ? self->mem : &byte, 1));
}

/* "... and MADV_POPULATE_*" */
TEST_F_TIMEOUT(exhaustion, madv_populate, 200)
{
	EXPECT_EQ(-1, madvise(self->mem, self->len, MADV_POPULATE_WRITE));
	EXPECT_EQ(EFAULT, errno);
}

/* "ENOMEM for mlock" */
TEST_F_TIMEOUT(exhaustion, mlock, 200)
{
	EXPECT_EQ(-1, mlock(self->mem, self->len));
	EXPECT_EQ(ENOMEM, errno);
}

static int populate(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	struct pn_fault fault;
	size_t done;
	char *p;

	/* All that runs under the policy needs its memory before. */
	pn_prefault_stack();
	pn_touch((char *)&fault, sizeof(fault), sizeof(fault), NULL);
	mlockall(MCL_CURRENT);
	if (pn_set_mempolicy(MPOL_BIND | pn_flag(), &self->privs))
		return 1;
	p = mmap(NULL, self->len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		return 2;
	done = pn_touch(p, self->len, pn_page_size(), &fault);
	pn_set_mempolicy(MPOL_DEFAULT, NULL);
	return done < self->len && fault.sig == SIGBUS && fault.code == BUS_ADRERR ? 0 : 3;
}

/* "mmap(MAP_POPULATE) succeeds as it does today and the touch gets the signal" */
TEST_F_TIMEOUT(exhaustion, map_populate, 200)
{
	EXPECT_EQ(0, pn_run(populate, self, DEADLINE));
}

static int break_cow(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	struct pn_fault fault;
	size_t done = pn_touch(self->mem, pn_page_size(), pn_page_size(), &fault);

	return !done && fault.sig == SIGBUS && fault.code == BUS_ADRERR ? 0 : 1;
}

/* Row 97: the copy that a child's write needs; what it shares is unharmed. */
TEST_F_TIMEOUT(exhaustion, fork_cow, 200)
{
	size_t done = pn_touch(self->mem, self->len, pn_page_size(), NULL);
	unsigned long *word = (unsigned long *)self->mem;

	if (!done) {
		/* Not a single page is left: have the hog give back some. */
		EXPECT_EQ(0, pn_reap(&self->hog, DEADLINE));
		ASSERT_EQ(2 * MIB, pn_touch(self->mem, 2 * MIB, pn_page_size(), NULL));
		ASSERT_EQ(0, pn_spawn(&self->hog, take_all, &self->priv));
		ASSERT_EQ(0, pn_ready(&self->hog, 100));
	}
	EXPECT_EQ(0, pn_run(break_cow, self, DEADLINE));
	EXPECT_EQ((unsigned long)word, *word);
	EXPECT_EQ(self->priv, pn_node_of(word));
}

static int write_to_parent(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	struct iovec from, to = { self->mem, self->len };
	char *data = pn_map(self->len);
	ssize_t n;

	from = (struct iovec) { data, self->len };
	n = process_vm_writev(getppid(), &from, 1, &to, 1, 0);
	return n < (ssize_t)self->len ? 0 : 1;
}

/* Row 103: another process that writes there is told, and nothing spins. */
TEST_F_TIMEOUT(exhaustion, by_another_process, 200)
{
	long count[PN_MAXNODE];

	EXPECT_EQ(0, pn_run(write_to_parent, self, DEADLINE));
	EXPECT_EQ(pn_count_nodes(self->mem, self->len, count), count[self->priv]);
}

/* "PREFERRED*: the named nodes first, then public memory" */
TEST_F_TIMEOUT(exhaustion, preferred_falls_back, 200)
{
	long count[PN_MAXNODE], pages = self->len / pn_page_size();

	ASSERT_EQ(0, pn_mbind(self->mem, self->len, MPOL_PREFERRED | pn_flag(), &self->privs, 0));
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	ASSERT_EQ(pages, pn_count_nodes(self->mem, self->len, count));
	/* What the hog could not get, of the last pages, is little. */
	EXPECT_GT(pages / 2, count[self->priv]);
}

/* "all tried": the public node of the mask serves when the private one is full */
TEST_F_TIMEOUT(exhaustion, mixed_mask, 200)
{
	unsigned long both = self->privs | NODE_BIT(self->control);
	long count[PN_MAXNODE], pages = self->len / pn_page_size();

	ASSERT_EQ(0, pn_mbind(self->mem, self->len, MPOL_BIND | pn_flag(), &both, 0));
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	ASSERT_EQ(pages, pn_count_nodes(self->mem, self->len, count));
	EXPECT_EQ(pages, count[self->priv] + count[self->control]);
	EXPECT_LT(pages / 2, count[self->control]);
}

#define MIXED		"/sys/fs/cgroup/pn_mixed"

/* Shared memory keeps its policy, whatever those who touch it may use. */
static int may_use_others(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	unsigned long both = self->privs | NODE_BIT(self->control);
	long count[PN_MAXNODE];
	struct pn_fault fault;
	char node[12], *p;

	p = mmap(NULL, self->len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || pn_mbind(p, self->len, MPOL_BIND | pn_flag(), &both, 0))
		return 1;
	snprintf(node, sizeof(node), "%d", pn_cpu_node());
	if (pn_write_file(MIXED "/cpuset.mems", node) ||
	    pn_write_file(MIXED "/cgroup.procs", "0"))
		return 2;
	if (pn_touch(p, self->len, pn_page_size(), &fault) == self->len ||
	    fault.sig != SIGBUS)
		return 3;
	if (pn_count_nodes(p, self->len, count) < 0)
		return 4;
	return count[pn_cpu_node()] || count[self->control] ? 5 : 0;
}

/* "nowhere else": if there is no node of the mask that one may use, neither. */
TEST_F_TIMEOUT(exhaustion, mixed_mask_elsewhere, 200)
{
	/* Where there are cpusets of version 1, there is no controller for it. */
	if (pn_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset"))
		SKIP(return, "no cpuset controller");
	ASSERT_EQ(0, mkdir(MIXED, 0755));
	EXPECT_EQ(0, pn_run(may_use_others, self, 100));
	EXPECT_EQ(0, pn_remove_group(MIXED));
}

struct taker {
	char *p;
	size_t len;
	int errors;
	bool end;
};

static void *takes_again(void *arg)
{
	struct taker *taker = arg;

	while (!__atomic_load_n(&taker->end, __ATOMIC_SEQ_CST)) {
		if (madvise(taker->p, taker->len, MADV_POPULATE_WRITE))
			taker->errors++;
		madvise(taker->p, taker->len, MADV_DONTNEED);
	}
	return NULL;
}

/* The first thread is told first, then the policies of its VMAs, then the others. */
static int moves_with_cpuset(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	unsigned long mask = self->privs | NODE_BIT(pn_cpu_node());
	int nodes[] = { self->control, pn_cpu_node() };
	struct taker taker = { .len = 8 * pn_page_size() };
	double deadline = pn_now() + pn_slow(5);
	pthread_t thread;
	char node[12];
	int i, ret = 0;

	taker.p = pn_map(taker.len);
	snprintf(node, sizeof(node), "%d", nodes[1]);
	if (!taker.p || pn_write_file(MIXED "/cpuset.mems", node) ||
	    pn_write_file(MIXED "/cgroup.procs", "0") ||
	    pn_mbind(taker.p, taker.len, MPOL_BIND | pn_flag(), &mask, 0) ||
	    pthread_create(&thread, NULL, takes_again, &taker))
		return 1;
	/* Each on a CPU of its own */
	pn_pin(1);
	for (i = 0; !ret && pn_now() < deadline; i++) {
		snprintf(node, sizeof(node), "%d", nodes[i % 2]);
		ret = pn_write_file(MIXED "/cpuset.mems", node) ? 2 : 0;
	}
	taker.end = true;
	pthread_join(thread, NULL);
	if (taker.errors)
		pn_note("%d changes, %d errors", i, taker.errors);
	return ret ?: taker.errors ? 3 : 0;
}

/* Who has nodes now, and has others then, has some all the time. */
TEST_F_TIMEOUT(exhaustion, mems_change, 200)
{
	if (pn_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+cpuset"))
		SKIP(return, "no cpuset controller");
	ASSERT_EQ(0, mkdir(MIXED, 0755));
	EXPECT_EQ(0, pn_run(moves_with_cpuset, self, 100));
	EXPECT_EQ(0, pn_remove_group(MIXED));
}

static int take_both(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(exhaustion) *self = arg;
	unsigned long both = self->privs | NODE_BIT(self->control);
	struct pn_zones zones;
	struct pn_fault fault;
	long count[PN_MAXNODE], present;
	size_t len, done;
	char *p;

	if (pn_zones(self->control, &zones))
		return 1;
	len = zones.managed * pn_page_size() + 64 * MIB;
	p = pn_map_bound(len, MPOL_BIND | pn_flag(), both);
	if (!p)
		return 2;
	madvise(p, len, MADV_HUGEPAGE);
	done = pn_touch(p, len, pn_page_size(), &fault);
	if (done == len || fault.sig != SIGBUS || fault.code != BUS_ADRERR)
		return 3;
	present = pn_count_nodes(p, len, count);
	if (present < 0 || present != count[self->priv] + count[self->control])
		return 4;
	return count[self->control] > (long)zones.managed / 2 ? 0 : 5;
}

/*
 * "none outside; the public part is tried without the OOM killer. Nothing
 * left: SIGBUS". The teardown looks for a kill.
 */
TEST_F_TIMEOUT(exhaustion, mixed_mask_full, 300)
{
	EXPECT_EQ(0, pn_run(take_both, self, 100));
}

/* Rows 45, 134: when the memory comes back it can be used again. */
TEST_F_TIMEOUT(exhaustion, recovers, 200)
{
	size_t done = pn_touch(self->mem, self->len, pn_page_size(), NULL);

	ASSERT_GT(self->len, done);
	EXPECT_EQ(0, pn_reap(&self->hog, DEADLINE));
	self->full = false;
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, done / pn_page_size()));
	EXPECT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	EXPECT_EQ(0, munmap(self->mem, self->len));
	self->mem = NULL;
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	EXPECT_EQ(self->kills, pn_vmstat("oom_kill"));
}

FIXTURE(memcg)
{
	int priv, control;
	int nid, mode;		/* of the child's memory */
	char dir[64], group[96];
};

FIXTURE_SETUP(memcg)
{
	char path[128];

	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->nid = self->priv;
	self->mode = MPOL_BIND | pn_flag();
	ASSERT_EQ(0, pn_start_empty(self->priv));
	snprintf(self->dir, sizeof(self->dir), "/tmp/pn_cgroup.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	if (mount("pn", self->dir, "cgroup2", 0, NULL)) {
		rmdir(self->dir);
		self->dir[0] = 0;
		SKIP(return, "no cgroup v2");
	}
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", self->dir);
	snprintf(self->group, sizeof(self->group), "%s/private_node", self->dir);
	if (pn_write_file(path, "+memory"))
		SKIP(return, "no memory controller");
	ASSERT_EQ(0, mkdir(self->group, 0755));
}

FIXTURE_TEARDOWN(memcg)
{
	if (!self->dir[0])
		return;
	rmdir(self->group);
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static int grow(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(memcg) *self = arg;
	char path[160], *p;

	snprintf(path, sizeof(path), "%s/cgroup.procs", self->group);
	if (pn_write_file(path, "0"))
		return 1;
	p = pn_map_bound(256 * MIB, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	if (!p)
		return 2;
	pn_touch(p, 256 * MIB, pn_page_size(), NULL);
	return 3;
}

/*
 * Row 54: "memory.max and its OOM killer apply as to any memory": the pages
 * cannot be reclaimed, so the kill comes soon.
 */
TEST_F_TIMEOUT(memcg, limit, 200)
{
	char path[160], events[512], *kill;
	int status;

	snprintf(path, sizeof(path), "%s/memory.max", self->group);
	ASSERT_EQ(0, pn_write_file(path, "67108864"));
	status = pn_run(grow, self, DEADLINE);
	ASSERT_NE(-1, status);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		TH_LOG("wait status %#x", status);
	snprintf(path, sizeof(path), "%s/memory.events", self->group);
	ASSERT_EQ(0, pn_read_file(path, events, sizeof(events)));
	kill = strstr(events, "\noom_kill ");
	ASSERT_NE(NULL, kill);
	EXPECT_LT(0, atoi(kill + strlen("\noom_kill ")));
}

static int charge(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(memcg) *self = arg;
	char path[160], *p;

	snprintf(path, sizeof(path), "%s/cgroup.procs", self->group);
	if (pn_write_file(path, "0"))
		return 1;
	p = pn_map_bound(16 * MIB, self->mode, NODE_BIT(self->nid));
	if (!p || pn_touch(p, 16 * MIB, pn_page_size(), NULL) != 16 * MIB)
		return 2;
	pn_hold(child);
	return 0;
}

/* Bytes of kind on the node, or -1 */
static int numa_stats(FIXTURE_DATA(memcg) *self, char *text, size_t size)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/memory.numa_stat", self->group);
	return pn_read_file(path, text, size);
}

/* What a line of memory.numa_stat says of the node, or -1 */
static long of_node(FIXTURE_DATA(memcg) *self, const char *line)
{
	char want[16];
	const char *count;

	snprintf(want, sizeof(want), " N%d=", self->nid);
	count = strstr(line, want);
	return count ? atol(count + strlen(want)) : -1;
}

static long numa_stat(FIXTURE_DATA(memcg) *self, const char *kind)
{
	char text[8192], *line, *rest = text;

	if (numa_stats(self, text, sizeof(text)))
		return -1;
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, kind, strlen(kind)) && line[strlen(kind)] == ' ')
			return of_node(self, line);
	}
	return -1;
}

/* Row 54: "memory.numa_stat has the node"; charged once, and given back */
TEST_F_TIMEOUT(memcg, accounting, 100)
{
	double deadline;
	struct pn_child child;
	char path[160];

	ASSERT_EQ(0, pn_spawn(&child, charge, self));
	ASSERT_EQ(0, pn_ready(&child, DEADLINE));
	/* The counters are brought up to date every two seconds. */
	deadline = pn_now() + pn_slow(10);
	while (numa_stat(self, "anon") < (long)(16 * MIB) && pn_now() < deadline)
		poll(NULL, 0, 50);
	EXPECT_EQ((long)(16 * MIB), numa_stat(self, "anon"));
	EXPECT_EQ(0, numa_stat(self, "file"));
	snprintf(path, sizeof(path), "%s/memory.current", self->group);
	EXPECT_LE((long)(16 * MIB), pn_read_long(path));
	EXPECT_EQ(0, pn_reap(&child, DEADLINE));
	deadline = pn_now() + pn_slow(10);
	while (numa_stat(self, "anon") > 0 && pn_now() < deadline)
		poll(NULL, 0, 50);
	EXPECT_EQ(0, numa_stat(self, "anon"));
}

/*
 * Row 55: more than the limit allows, of all kinds, with a task policy that
 * names the node; what is anonymous is on the control node, and comes back from
 * swap again and again.
 */
static int load(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(memcg) *self = arg;
	unsigned long mask = NODE_BIT(self->nid);
	const int rounds = pn_is_slow() ? 2 : 3;
	size_t len = 32 * MIB;
	char path[160], *p, *q;
	int round;

	snprintf(path, sizeof(path), "%s/cgroup.procs", self->group);
	if (pn_write_file(path, "0"))
		return 1;
	pn_prefault_stack();
	/*
	 * What the program has so far is nothing of the load, and on public nodes.
	 * Were it swapped out now, it would come back under the policy set below.
	 */
	if (mlockall(MCL_CURRENT))
		return 6;
	p = pn_map_bound(8 * MIB, self->mode, NODE_BIT(self->nid));
	q = pn_map_bound(len, MPOL_BIND, NODE_BIT(self->control));
	if (!p || !q || pn_touch(p, 8 * MIB, pn_page_size(), NULL) != 8 * MIB)
		return 2;
	madvise(q, len, MADV_NOHUGEPAGE);
	if (pn_set_mempolicy(self->mode, &mask))
		return 3;
	if (pn_work_shmem(4 * MIB, self->nid) || pn_work_block_read(4 * MIB, self->nid) ||
	    pn_work_files(2 * MIB, self->nid))
		return 4;
	for (round = 0; round < rounds; round++)
		if (pn_touch(q, len, pn_page_size(), NULL) != len)
			return 5;
	pn_hold(child);
	return 0;
}

/* How many kinds of memory.numa_stat that are not anonymous memory the node has */
static int other_kinds(FIXTURE_DATA(memcg) *self, bool say)
{
	char text[8192], *line, *rest = text;
	int kinds = 0;

	if (numa_stats(self, text, sizeof(text)))
		return -1;
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, "anon", 4) || !strncmp(line, "active_anon ", 12) ||
		    !strncmp(line, "inactive_anon ", 14))
			continue;
		if (of_node(self, line) <= 0)
			continue;
		kinds++;
		if (say)
			pn_note("node %d: %s", self->nid, line);
	}
	return kinds;
}

/* Row 55: what a memory cgroup under load swaps, caches and refaults is elsewhere. */
TEST_F_TIMEOUT(memcg, load, 900)
{
	const int nids[] = { self->control, self->priv };
	const int modes[] = { MPOL_BIND, MPOL_BIND | pn_flag() };
	/* What an ordinary node has of it */
	const char * const kinds[] = {
		"pagetables", "workingset_refault_anon", "pgscan_direct", "pgsteal_direct",
	};
	struct pn_child child;
	double deadline;
	char path[160];
	int tries;
	size_t i, k;

	if (pn_swap_on(256 * MIB))
		SKIP(return, "no zram to swap to");
	snprintf(path, sizeof(path), "%s/memory.max", self->group);
	EXPECT_EQ(0, pn_write_file(path, "33554432"));
	for (i = 0; i < ARRAY_SIZE(nids); i++) {
		long before = pn_node_vmstat(self->control, "workingset_refault_anon");

		self->nid = nids[i];
		self->mode = modes[i];
		/*
		 * When all has just come back from swap, and so is active, the
		 * OOM killer may come (seen with the control, on a busy host):
		 * it is for the load, and neither for nor against a node.
		 */
		for (tries = 1; tries <= 3; tries++) {
			ASSERT_EQ(0, pn_spawn(&child, load, self));
			if (!pn_ready(&child, 2 * DEADLINE))
				break;
			ASSERT_EQ(SIGKILL, pn_reap(&child, DEADLINE));
			pn_note("node %d: out of memory, try %d", self->nid, tries);
		}
		ASSERT_GE(3, tries);
		/* The load is one. */
		EXPECT_LT((long)(8 * MIB) / pn_page_size(),
			  pn_node_vmstat(self->control, "workingset_refault_anon") - before);
		deadline = pn_now() + pn_slow(10);
		while (i && other_kinds(self, false) && pn_now() < deadline)
			poll(NULL, 0, 50);
		if (i) {
			EXPECT_EQ(0, other_kinds(self, true));
			EXPECT_LE((long)(8 * MIB), numa_stat(self, "anon"));
			EXPECT_EQ(0, pn_wait_only_anon(self->priv, 9 * MIB / pn_page_size()));
		} else {
			for (k = 0; k < ARRAY_SIZE(kinds); k++) {
				EXPECT_LT(0, numa_stat(self, kinds[k])) TH_LOG("%s", kinds[k]);
			}
		}
		EXPECT_EQ(0, pn_reap(&child, DEADLINE));
	}
	EXPECT_EQ(0, pn_swap_off());
}

/* Rows 69, 70: "memory.reclaim" does not see the node. */
TEST_F_TIMEOUT(memcg, proactive_reclaim, 100)
{
	const int nids[] = { self->control, self->priv };
	const int modes[] = { MPOL_BIND, MPOL_BIND | pn_flag() };
	struct pn_child child;
	double deadline;
	char path[160];
	size_t i;

	if (pn_swap_on(64 * MIB))
		SKIP(return, "no zram to swap to");
	snprintf(path, sizeof(path), "%s/memory.reclaim", self->group);
	for (i = 0; i < ARRAY_SIZE(nids); i++) {
		self->nid = nids[i];
		self->mode = modes[i];
		EXPECT_EQ(0, pn_spawn(&child, charge, self));
		EXPECT_EQ(0, pn_ready(&child, DEADLINE));
		pn_settle();
		/* It fails when it cannot reclaim that much. */
		pn_write_file(path, "16M swappiness=max");
		pn_write_file(path, "16M swappiness=max");
		deadline = pn_now() + pn_slow(5);
		while (numa_stat(self, "anon") > (long)(8 * MIB) && pn_now() < deadline)
			poll(NULL, 0, 50);
		if (i) {
			EXPECT_EQ((long)(16 * MIB), numa_stat(self, "anon"));
		} else {
			EXPECT_GT((long)(8 * MIB), numa_stat(self, "anon"));
		}
		EXPECT_EQ(0, pn_reap(&child, DEADLINE));
	}
	EXPECT_EQ(0, pn_swap_off());
}

TEST_HARNESS_MAIN
