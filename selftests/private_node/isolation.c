// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel memory, page cache and shared memory never come from a private node,
 * whatever the task's policy says and whatever node an interface is told.
 *
 * Each test first runs its workload against an ordinary memory-only node,
 * where the memory must land: otherwise the test would prove nothing. Slab
 * pages do not follow a policy: pressure.c has those.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define REQUIRE_NODES(self) do {						\
	(self)->priv = pn_private_node();					\
	(self)->control = pn_control_node();					\
	if ((self)->priv < 0)							\
		SKIP(return, "no private node: boot with private_node=<nid>");	\
	if ((self)->control < 0)						\
		SKIP(return, "no ordinary node without CPUs");			\
} while (0)

struct job {
	pn_work_fn *work;
	size_t size;
	int nid;
	int mode;		/* policy of the task, -1: none */
};

/* The workload's own anonymous memory may go where the policy says. */
static int run_job(struct pn_child *child, void *arg)
{
	struct job *job = arg;
	unsigned long mask = NODE_BIT(job->nid);
	int ret;

	if (job->mode >= 0 && pn_set_mempolicy(job->mode, &mask))
		return 100;
	ret = job->work(job->size, job->nid);
	if (ret)
		return ret;
	pn_hold(child);
	return 0;
}

FIXTURE(kernel_memory)
{
	int priv, control;
};

FIXTURE_VARIANT(kernel_memory)
{
	pn_work_fn *work;
	size_t size;
	bool by_node;		/* the interface takes a node */
};

/* Rows 56, 61: page cache of a task whose policy names the node. */
FIXTURE_VARIANT_ADD(kernel_memory, block_read) {
	.work = pn_work_block_read, .size = 48 * MIB,
};

/* Row 57: page cache by mapping. */
FIXTURE_VARIANT_ADD(kernel_memory, block_mmap) {
	.work = pn_work_block_mmap, .size = 48 * MIB,
};

/* Rows 47, 59: shared memory goes by an explicit shared policy only. */
FIXTURE_VARIANT_ADD(kernel_memory, shmem) {
	.work = pn_work_shmem, .size = 32 * MIB,
};

FIXTURE_VARIANT_ADD(kernel_memory, shared_anon) {
	.work = pn_work_shared_anon, .size = 32 * MIB,
};

/* Row 30 */
FIXTURE_VARIANT_ADD(kernel_memory, page_tables) {
	.work = pn_work_page_tables, .size = 32 * MIB,
};

/* Row 58 */
FIXTURE_VARIANT_ADD(kernel_memory, pipes) {
	.work = pn_work_pipes, .size = 32 * MIB,
};

/* Rows 26, 27, 28: kernel stacks, task structures */
FIXTURE_VARIANT_ADD(kernel_memory, processes) {
	.work = pn_work_processes, .size = 8 * MIB,
};

/* Row 32: the user names the node. */
FIXTURE_VARIANT_ADD(kernel_memory, bpf_map) {
	.work = pn_work_bpf_map, .size = 32 * MIB, .by_node = true,
};

FIXTURE_SETUP(kernel_memory)
{
	REQUIRE_NODES(self);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	/* Page cache of an earlier run would hide that nothing is allocated. */
	pn_write_file("/proc/sys/vm/drop_caches", "3");
}

FIXTURE_TEARDOWN(kernel_memory)
{
	if (self->priv >= 0) {
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

/* Decision 8: only anonymous memory goes to a private node. Oracles O1, O4. */
TEST_F_TIMEOUT(kernel_memory, stays_off, 240)
{
	static const int modes[] = { MPOL_BIND, MPOL_PREFERRED };
	struct job job = { variant->work, variant->size, self->control,
			   variant->by_node ? -1 : MPOL_BIND };
	struct pn_child child;
	long before, got;
	size_t i;
	int status;

	/* O6, the positive control */
	before = pn_used(self->control);
	ASSERT_EQ(0, pn_spawn(&child, run_job, &job));
	if (pn_ready(&child, 60)) {
		status = pn_reap(&child, 1);
		if (WIFEXITED(status) && WEXITSTATUS(status) == PN_WORK_MISSING)
			SKIP(return, "the kernel lacks what the workload needs");
		ASSERT_EQ(0, status);
	}
	got = (pn_used(self->control) - before) * pn_page_size();
	EXPECT_EQ(0, pn_reap(&child, 60));
	/* Some of it may come from what the kernel keeps cached. */
	EXPECT_GT(got, (long)variant->size / 4)
		TH_LOG("control: %ld KiB on node %d", got >> 10, self->control);

	pn_write_file("/proc/sys/vm/drop_caches", "3");
	for (i = 0; i < (variant->by_node ? 1 : 2); i++) {
		job.nid = self->priv;
		job.mode = variant->by_node ? -1 : modes[i] | pn_flag();
		before = pn_allocations(self->priv);
		ASSERT_EQ(0, pn_spawn(&child, run_job, &job));
		EXPECT_EQ(0, pn_ready(&child, 60));
		EXPECT_EQ(0, pn_wait_only_anon(self->priv, variant->by_node ? 0 :
					       (variant->size + 4 * MIB) / pn_page_size()));
		if (variant->by_node) {
			EXPECT_EQ(before, pn_allocations(self->priv));
		}
		EXPECT_EQ(0, pn_reap(&child, 60));
	}
}

FIXTURE(hugetlb)
{
	int priv, control;
	long pages;
};

FIXTURE_SETUP(hugetlb)
{
	REQUIRE_NODES(self);
	self->pages = pn_read_long("/proc/sys/vm/nr_hugepages");
	if (self->pages < 0)
		SKIP(return, "no hugetlb");
	ASSERT_EQ(0, self->pages);
	ASSERT_EQ(0, pn_start_empty(self->priv));
}

FIXTURE_TEARDOWN(hugetlb)
{
	if (self->pages < 0)
		return;
	pn_write_file("/proc/sys/vm/nr_hugepages", "0");
	pn_write_file("/proc/sys/vm/nr_overcommit_hugepages", "0");
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static long node_hugepages(int nid)
{
	long pages = pn_meminfo(nid, "HugePages_Total");

	return pages < 0 ? 0 : pages;
}

/* Row 62: the pool is spread over public nodes only, however large it is. */
TEST_F_TIMEOUT(hugetlb, pool, 240)
{
	long before = pn_allocations(self->priv);

	ASSERT_EQ(0, pn_write_file("/proc/sys/vm/nr_hugepages", "600"));
	EXPECT_LT(50, node_hugepages(self->control));
	EXPECT_EQ(0, node_hugepages(self->priv));
	/* More than there is */
	pn_write_file("/proc/sys/vm/nr_hugepages", "4096");
	EXPECT_EQ(0, node_hugepages(self->priv));
	EXPECT_EQ(before, pn_allocations(self->priv));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Row 63: the pool of the node itself is absent or stays empty. */
TEST_F_TIMEOUT(hugetlb, per_node_pool, 120)
{
	char path[160];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 self->control);
	if (pn_write_file(path, "8"))
		SKIP(return, "no pool of 2 MiB pages");
	EXPECT_EQ(8, pn_read_long(path));
	EXPECT_EQ(0, pn_write_file(path, "0"));

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 self->priv);
	pn_write_file(path, "8");
	EXPECT_EQ(0, node_hugepages(self->priv));
}

static int fault_surplus(struct pn_child *child, void *arg)
{
	unsigned long mask = NODE_BIT(*(int *)arg);
	size_t len = 16 * MIB;
	char *p;

	if (pn_set_mempolicy(MPOL_BIND | (*(int *)arg == pn_private_node() ? pn_flag() : 0), &mask))
		return 2;
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return 3;
	/* On the private node it may fail or come from elsewhere. */
	pn_touch(p, len, 2 * MIB, NULL);
	pn_hold(child);
	return 0;
}

/* Row 65: surplus pages of a task whose policy names the node. */
TEST_F_TIMEOUT(hugetlb, surplus, 120)
{
	struct pn_child child;

	ASSERT_EQ(0, pn_write_file("/proc/sys/vm/nr_overcommit_hugepages", "64"));
	ASSERT_EQ(0, pn_spawn(&child, fault_surplus, &self->control));
	EXPECT_EQ(0, pn_ready(&child, 60));
	EXPECT_EQ(8, node_hugepages(self->control));
	EXPECT_EQ(0, pn_reap(&child, 60));

	ASSERT_EQ(0, pn_spawn(&child, fault_surplus, &self->priv));
	EXPECT_EQ(0, pn_ready(&child, 60));
	EXPECT_EQ(0, node_hugepages(self->priv));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, MIB / pn_page_size()));
	EXPECT_EQ(0, pn_reap(&child, 60));
}

/* Row 66: a page that is about to fail is replaced, but not by one of the node. */
TEST_F_TIMEOUT(hugetlb, soft_offline, 120)
{
	unsigned long control = NODE_BIT(self->control), priv = NODE_BIT(self->priv);
	long before = pn_allocations(self->priv), bad = pn_meminfo(-1, "HardwareCorrupted");
	size_t len = 4 * MIB, i;
	unsigned long was[2];
	char path[160], *p;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 self->control);
	ASSERT_EQ(0, pn_write_file(path, "2"));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND, &control, 0));
	ASSERT_EQ(len, pn_touch(p, len, 2 * MIB, NULL));
	/* A pool on the node would be the only one with a free page. */
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 self->priv);
	pn_write_file(path, "2");
	pn_prefault_stack();
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND | pn_flag(), &priv));
	for (i = 0; i < len; i += 2 * MIB) {
		was[i / (2 * MIB)] = pn_frame(p + i);
		EXPECT_NE(0, was[i / (2 * MIB)]);
		EXPECT_EQ(0, madvise(p + i, pn_page_size(), 101 /* MADV_SOFT_OFFLINE */));
		EXPECT_TRUE(pn_public_nodes() & NODE_BIT(pn_node_of(p + i)))
			TH_LOG("node %d", pn_node_of(p + i));
		EXPECT_EQ((unsigned long)p + i, *(unsigned long *)(p + i));
	}
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
	/* The control: two pages have been replaced. */
	EXPECT_EQ(2 * pn_page_size() / 1024, pn_meminfo(-1, "HardwareCorrupted") - bad);
	EXPECT_EQ(0, node_hugepages(self->priv));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, MIB / pn_page_size()));
	EXPECT_GT(MIB / pn_page_size(), pn_allocations(self->priv) - before);
	munmap(p, len);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, pn_unpoison(was[i]));
}

FIXTURE(policies)
{
	int priv, control;
};

FIXTURE_SETUP(policies)
{
	REQUIRE_NODES(self);
	ASSERT_EQ(0, pn_start_empty(self->priv));
}

FIXTURE_TEARDOWN(policies)
{
	if (self->priv >= 0) {
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

/*
 * Rows 35, 39, 41: no mode, mask or flag opens the node without
 * MPOL_F_PRIVATE. A mask with another node is narrowed to it.
 */
TEST_F_TIMEOUT(policies, without_the_flag, 120)
{
	static const int modes[] = {
		MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED_MANY,
		MPOL_WEIGHTED_INTERLEAVE, MPOL_LOCAL, MPOL_DEFAULT,
	};
	static const int flags[] = { 0, MPOL_F_STATIC_NODES, MPOL_F_RELATIVE_NODES };
	const unsigned long masks[] = {
		NODE_BIT(self->priv),
		NODE_BIT(self->priv) | NODE_BIT(self->control),
		pn_node_mask("online"),
	};
	long before = pn_allocations(self->priv), count[PN_MAXNODE];
	size_t len = MIB, m, f, k, control = 0;

	for (m = 0; m < ARRAY_SIZE(modes); m++) {
		for (f = 0; f < ARRAY_SIZE(flags); f++) {
			for (k = 0; k < ARRAY_SIZE(masks); k++) {
				char *p = pn_map(len);

				ASSERT_NE(NULL, p);
				if (!pn_mbind(p, len, modes[m] | flags[f], &masks[k], 0)) {
					ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
					ASSERT_LT(0, pn_count_nodes(p, len, count));
					EXPECT_EQ(0, count[self->priv])
						TH_LOG("mode %d flags %#x mask %#lx", modes[m],
						       flags[f], masks[k]);
					control += count[self->control];
				} else {
					EXPECT_EQ(EINVAL, errno);
					/* numactl --interleave=all works as before. */
					EXPECT_TRUE(k == 0 || flags[f] || modes[m] == MPOL_LOCAL ||
						    modes[m] == MPOL_DEFAULT);
				}
				munmap(p, len);
			}
		}
	}
	EXPECT_LT(0, control);
	EXPECT_EQ(before, pn_allocations(self->priv));
}

static int policy_of_all(struct pn_child *child, void *arg)
{
	unsigned long mask = pn_node_mask("online");
	char *p;

	if (pn_set_mempolicy(MPOL_INTERLEAVE, &mask))
		return 2;
	p = pn_map(16 * MIB);
	if (!p || pn_touch(p, 16 * MIB, pn_page_size(), NULL) != 16 * MIB)
		return 3;
	return pn_work_pipes(8 * MIB, 0) || pn_work_sockets(8 * MIB, 0) ||
	       pn_work_page_tables(8 * MIB, 0) ? 4 : 0;
}

/* Rows 35, 39: what numactl --interleave=all does leaves the node alone. */
TEST_F_TIMEOUT(policies, interleave_all, 120)
{
	long before = pn_allocations(self->priv), control = pn_allocations(self->control);

	EXPECT_EQ(0, pn_run(policy_of_all, NULL, 60));
	EXPECT_EQ(before, pn_allocations(self->priv));
	/* A third of what was touched, at least: node 2 is in the mask. */
	EXPECT_LT(1000, pn_allocations(self->control) - control);
}

FIXTURE(knobs)
{
	int priv, control;
	bool swap;
};

FIXTURE_SETUP(knobs)
{
	REQUIRE_NODES(self);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	/* Without swap space no anonymous page leaves, guarded or not. */
	if (pn_swap_on(64 * MIB))
		SKIP(return, "no zram to swap to");
	self->swap = true;
}

FIXTURE_TEARDOWN(knobs)
{
	if (!self->swap)
		return;
	EXPECT_EQ(0, pn_swap_off());
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* How many of its pages a mapping on the node has left after fn did its worst. */
static long left_after(int nid, int mode, void (*fn)(char *p, size_t len))
{
	size_t len = 8 * MIB;
	long count[PN_MAXNODE];
	char *p = pn_map_bound(len, mode, NODE_BIT(nid));

	if (!p || pn_touch(p, len, pn_page_size(), NULL) != len)
		return -1;
	/* New pages have been used too recently for some. */
	pn_settle();
	fn(p, len);
	if (pn_count_nodes(p, len, count) < 0)
		return -2;
	munmap(p, len);
	return count[nid];
}

static void pageout(char *p, size_t len)
{
	madvise(p, len, MADV_COLD);
	madvise(p, len, MADV_PAGEOUT);
}

/* Row 70: MADV_COLD and MADV_PAGEOUT */
TEST_F_TIMEOUT(knobs, madv_pageout, 120)
{
	long pages = 8 * MIB / pn_page_size();

	EXPECT_GT(pages / 2, left_after(self->control, MPOL_BIND, pageout));
	EXPECT_EQ(pages, left_after(self->priv, MPOL_BIND | pn_flag(), pageout));
}

TEST_HARNESS_MAIN
