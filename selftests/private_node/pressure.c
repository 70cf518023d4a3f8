// SPDX-License-Identifier: GPL-2.0
/*
 * When public memory runs out, nothing spills over to a private node.
 *
 * A process of its own fills the public nodes to a little above their
 * watermarks, but leaves some room on an ordinary memory-only node: whatever
 * the zonelists offer next is what the workloads get. The ordinary node is the
 * positive control, the private one must not notice.
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
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define CPU_ROOM	(8 * MIB)
#define CONTROL_ROOM	(160 * MIB)

static struct pn_child squeezer;
static bool squeezed;

/*
 * Pages of the hugetlb pool are not cleared before somebody maps them: much
 * faster than touching as much memory.
 */
static void fill_by_pool(int nid, long pages)
{
	char path[160], text[32];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 nid);
	snprintf(text, sizeof(text), "%ld", pages > 0 ? pages : 0);
	pn_write_file(path, text);
}

/* Take all memory of a node but room; the first part of it for the pool. */
static int leave_room(int nid, size_t room, bool use_pool)
{
	unsigned long mask = NODE_BIT(nid);

	for (;;) {
		struct pn_zones zones;
		size_t size, spare;
		char *p;

		pn_settle();
		if (pn_zones(nid, &zones))
			return -1;
		spare = zones.high * pn_page_size() + room;
		size = zones.free * pn_page_size();
		if (size < spare + 4 * MIB)
			return 0;
		if (use_pool) {
			fill_by_pool(nid, (size - spare) / (2 * MIB) - 4);
			use_pool = false;
			continue;
		}
		/* Half of it each time: the estimate is a moving target. */
		size = ((size - spare) / 2 + 2 * MIB) & ~(2 * MIB - 1);
		p = pn_map(size);
		if (!p || pn_mbind(p, size, MPOL_BIND, &mask, 0))
			return -1;
		madvise(p, size, MADV_HUGEPAGE);
		/* Workloads that fork must not copy its page tables. */
		madvise(p, size, MADV_DONTFORK);
		if (pn_touch(p, size, pn_page_size(), NULL) != size)
			return -1;
	}
}

/* What the last test and the caches gave back must not hide a spill. */
static int squeeze_again(void)
{
	unsigned long nodes = pn_public_nodes() & ~NODE_BIT(pn_control_node());
	int nid, ret = 0;

	pn_write_file("/proc/sys/vm/drop_caches", "3");
	for (nid = 0; nid < PN_MAXNODE && !ret; nid++)
		if (nodes & NODE_BIT(nid))
			ret = leave_room(nid, CPU_ROOM, false);
	return ret;
}

static int squeeze(struct pn_child *child, void *arg)
{
	unsigned long nodes = pn_public_nodes();
	int nid, ret = 0;

	/* It has to clean up when the tests end, however they end. */
	prctl(PR_SET_PDEATHSIG, 0);
	pn_write_file("/proc/self/oom_score_adj", "-1000");
	for (nid = 0; nid < PN_MAXNODE && !ret; nid++)
		if (nodes & NODE_BIT(nid))
			ret = leave_room(nid, nid == pn_control_node() ? CONTROL_ROOM : CPU_ROOM,
					 true);
	if (!ret)
		pn_hold(child);
	pn_write_file("/proc/sys/vm/nr_hugepages", "0");
	return ret;
}

/* One process on each CPU: each starts from another node's zonelist. */
struct job {
	pn_work_fn *work;
	size_t size;
	int cpu, nid;
};

static int run_job(struct pn_child *child, void *arg)
{
	struct job *job = arg;
	int ret;

	pn_write_file("/proc/self/oom_score_adj", "1000");
	pn_pin(job->cpu);
	ret = job->work(job->size, job->nid);
	if (ret)
		return ret;
	pn_hold(child);
	return 0;
}

FIXTURE(pressure)
{
	int priv, control, cpus;
	long allocations;
};

FIXTURE_VARIANT(pressure)
{
	pn_work_fn *work;
	size_t size;
	long least;		/* pages that must come from the control node */
};

/* Rows 11 to 13, 22, 24, 27, 30, 56, 58, 59, 61 */
FIXTURE_VARIANT_ADD(pressure, block_read) {
	.work = pn_work_block_read, .size = 512 * MIB, .least = 4096,
};

FIXTURE_VARIANT_ADD(pressure, block_mmap) {
	.work = pn_work_block_mmap, .size = 256 * MIB, .least = 4096,
};

FIXTURE_VARIANT_ADD(pressure, shmem) {
	.work = pn_work_shmem, .size = 96 * MIB, .least = 4096,
};

FIXTURE_VARIANT_ADD(pressure, shared_anon) {
	.work = pn_work_shared_anon, .size = 96 * MIB, .least = 4096,
};

FIXTURE_VARIANT_ADD(pressure, page_tables) {
	.work = pn_work_page_tables, .size = 80 * MIB, .least = 4096,
};

FIXTURE_VARIANT_ADD(pressure, sockets) {
	.work = pn_work_sockets, .size = 64 * MIB, .least = 1024,
};

FIXTURE_VARIANT_ADD(pressure, files) {
	.work = pn_work_files, .size = 40 * MIB, .least = 1024,
};

FIXTURE_VARIANT_ADD(pressure, pipes) {
	.work = pn_work_pipes, .size = 80 * MIB, .least = 4096,
};

FIXTURE_VARIANT_ADD(pressure, processes) {
	.work = pn_work_processes, .size = 24 * MIB, .least = 512,
};

FIXTURE_SETUP(pressure)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	self->cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_TRUE(squeezed);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, squeeze_again());
	self->allocations = pn_allocations(self->priv);
}

FIXTURE_TEARDOWN(pressure)
{
	if (self->priv < 0 || self->control < 0)
		return;
	/* Not one page, not for a moment. */
	EXPECT_EQ(self->allocations, pn_allocations(self->priv));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

TEST_F_TIMEOUT(pressure, no_spill, 300)
{
	int cpu, cpus = self->cpus < 16 ? self->cpus : 16, tries = 0;
	struct pn_child child[16];
	struct job job[16];
	long before, more;

	do {
		/* What the caches gave back since the last time may have been enough. */
		if (tries)
			ASSERT_EQ(0, squeeze_again());
		before = pn_used(self->control);
		for (cpu = 0; cpu < cpus; cpu++) {
			job[cpu] = (struct job){ variant->work, variant->size / cpus, cpu,
						 self->priv };
			ASSERT_EQ(0, pn_spawn(&child[cpu], run_job, &job[cpu]));
		}
		for (cpu = 0; cpu < cpus; cpu++) {
			EXPECT_EQ(0, pn_ready(&child[cpu], 60));
		}
		more = pn_used(self->control) - before;
		EXPECT_EQ(0, pn_wait_empty(self->priv));
		for (cpu = 0; cpu < cpus; cpu++) {
			EXPECT_EQ(0, pn_reap(&child[cpu], 60));
		}
	} while (more < variant->least && ++tries < 3);
	/* The control */
	EXPECT_LE(variant->least, more);
}

FIXTURE(exhausted)
{
	int priv, control;
	long allocations;
};

FIXTURE_SETUP(exhausted)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_TRUE(squeezed);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, squeeze_again());
	self->allocations = pn_allocations(self->priv);
}

FIXTURE_TEARDOWN(exhausted)
{
	if (self->priv < 0 || self->control < 0)
		return;
	EXPECT_EQ(self->allocations, pn_allocations(self->priv));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static int eat_everything(struct pn_child *child, void *arg)
{
	size_t len = 8192 * MIB;
	char *p;

	pn_write_file("/proc/self/oom_score_adj", "1000");
	pn_pin((long)arg);
	p = pn_map(len);
	if (!p)
		return 2;
	madvise(p, len, MADV_NOHUGEPAGE);
	pn_touch(p, len, pn_page_size(), NULL);
	return 3;
}

/*
 * Rows 12, 13, 118: with only private memory free the OOM killer comes, in
 * bounded time, and neither the victim's reserves nor a retry open the node.
 */
TEST_F_TIMEOUT(exhausted, oom_kill, 300)
{
	long kills = pn_vmstat("oom_kill"), before = pn_allocations(self->control);
	long cpu;

	for (cpu = 0; cpu < 2 && cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++) {
		int status = pn_run(eat_everything, (void *)cpu, 100);

		ASSERT_NE(-1, status);
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	EXPECT_LT(kills, pn_vmstat("oom_kill"));
	EXPECT_LT(4096, pn_allocations(self->control) - before);
	EXPECT_LT(100 * MIB / 1024, pn_meminfo(self->priv, "MemFree"));
}

/* Row 21: and with zone reclaim in its most eager mode. */
TEST_F_TIMEOUT(exhausted, zone_reclaim, 300)
{
	long mode = pn_read_long("/proc/sys/vm/zone_reclaim_mode");
	struct job job = { pn_work_pipes, 64 * MIB, 0, self->priv };
	long before = pn_allocations(self->control);

	if (pn_write_file("/proc/sys/vm/zone_reclaim_mode", "7"))
		SKIP(return, "no zone_reclaim_mode");
	for (job.cpu = 0; job.cpu < sysconf(_SC_NPROCESSORS_ONLN); job.cpu++) {
		EXPECT_EQ(0, pn_run(run_job, &job, 100));
	}
	EXPECT_LT(4096, pn_allocations(self->control) - before);
	EXPECT_EQ(0, pn_write_file("/proc/sys/vm/zone_reclaim_mode", mode == 7 ? "7" : "0"));
}

/* More page cache than the ordinary node has room for has to be reclaimed. */
static int read_on_control(struct pn_child *child, void *arg)
{
	unsigned long mask = NODE_BIT(pn_control_node());

	if (pn_set_mempolicy(MPOL_BIND, &mask))
		return 2;
	return run_job(child, arg);
}

/* What counts those who look at a node's memory, and how it was at the start */
static const char * const scans[] = {
	"pgscan_kswapd", "pgscan_direct", "pgscan_khugepaged", "pgscan_proactive",
	"pgsteal_kswapd", "pgsteal_direct", "pgsteal_khugepaged", "pgsteal_proactive",
	"workingset_refault_anon", "pgdemote_kswapd", "pgdemote_direct",
	"numa_pages_migrated",
};

static long scans_before[ARRAY_SIZE(scans)];

/* Row 69: after all of that (and some more reading) nobody has scanned the node. */
TEST_F_TIMEOUT(exhausted, never_scanned, 120)
{
	struct job job = { pn_work_block_read, 256 * MIB, 0, self->priv };
	size_t i, known = 0;

	EXPECT_EQ(0, pn_run(run_job, &job, 100));
	/* The control */
	job.size = 2 * CONTROL_ROOM;
	EXPECT_EQ(0, pn_run(read_on_control, &job, 100));
	EXPECT_LT(0, pn_node_vmstat(self->control, "pgscan_kswapd") +
		  pn_node_vmstat(self->control, "pgscan_direct"));
	for (i = 0; i < ARRAY_SIZE(scans); i++) {
		long value = pn_node_vmstat(self->priv, scans[i]);

		known += value >= 0;
		EXPECT_EQ(scans_before[i], value) TH_LOG("counter %zu: %ld", i, value);
	}
	EXPECT_LT(0, known);
}

int main(int argc, char **argv)
{
	size_t i;
	int opt;

	/* Listing needs no memory. */
	for (opt = 1; opt < argc; opt++)
		if (!strcmp(argv[opt], "-l") || !strcmp(argv[opt], "-h"))
			return test_harness_run(argc, argv);
	for (i = 0; i < ARRAY_SIZE(scans); i++)
		scans_before[i] = pn_node_vmstat(pn_private_node(), scans[i]);
	if (pn_private_node() >= 0 && pn_control_node() >= 0)
		squeezed = !pn_spawn(&squeezer, squeeze, NULL) && !pn_ready(&squeezer, 120);
	return test_harness_run(argc, argv);
}
