// SPDX-License-Identifier: GPL-2.0
/*
 * Memory of different speeds: demotion, promotion and what the scheduler prefers
 * know nothing of private nodes, be they slow or fast. Rows 38 and 79 to 83. Needs
 * an ordinary node without CPUs that is slower than those with CPUs: the control,
 * where what is demoted must arrive.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define HUGE_SIZE	(2 * MIB)
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define MIN_SLAB	"/proc/sys/vm/min_slab_ratio"
#define DEMOTION	"/sys/kernel/mm/numa/demotion_enabled"
#define TIERS		"/sys/devices/virtual/memory_tiering/"
#define WEIGHTS		"/sys/kernel/mm/mempolicy/weighted_interleave/"
#define BALANCING	"/proc/sys/kernel/numa_balancing"
#define SCHED		"/sys/kernel/debug/sched/numa_balancing/"

/* The tier of a node, the fastest first; -1: in none */
static int tier_of(int nid)
{
	int i, tier = -1;
	glob_t found;

	if (glob(TIERS "memory_tier*", 0, NULL, &found))
		return -1;
	for (i = 0; i < (int)found.gl_pathc; i++) {
		const char *name = strrchr(found.gl_pathv[i], '/') + 1;
		char file[100];

		/* A list of nodes, as below PN_NODE_DIR */
		snprintf(file, sizeof(file), "../../virtual/memory_tiering/%s/nodelist", name);
		if (pn_node_mask(file) & NODE_BIT(nid))
			tier = atoi(name + strlen("memory_tier"));
	}
	globfree(&found);
	return tier;
}

static long demoted(int nid)
{
	return pn_node_vmstat(nid, "pgdemote_kswapd") + pn_node_vmstat(nid, "pgdemote_direct") +
	       pn_node_vmstat(nid, "pgdemote_khugepaged") +
	       pn_node_vmstat(nid, "pgdemote_proactive");
}

/* The first node of the mask from nid on */
static int next_in(int nid, unsigned long mask)
{
	while (nid < PN_MAXNODE && !(mask & NODE_BIT(nid)))
		nid++;
	return nid;
}

#define for_each_in(nid, mask) \
	for (nid = next_in(0, mask); nid < PN_MAXNODE; nid = next_in(nid + 1, mask))

/* What all tests go by */
struct machine {
	int cpu, control;
	unsigned long privs;
	long served[PN_MAXNODE];	/* allocations before the test */
	char demotion[16], slab[16], balancing[16];	/* settings before the test */
};

/* NULL, or why there is nothing to test. What cannot be set up is an error. */
static const char *look_at(struct machine *machine, int *error)
{
	int nid;

	*error = 0;
	machine->cpu = pn_cpu_node();
	machine->control = pn_control_node();
	if (pn_private_node() < 0)
		return "no private node: boot with private_node=<nid>";
	machine->privs = pn_forced() ? NODE_BIT(pn_private_node()) :
				       pn_node_mask("has_private_memory");
	if (machine->control < 0)
		return "no ordinary node without CPUs";
	if (tier_of(machine->control) <= tier_of(machine->cpu))
		return "no ordinary node that is slower than those with CPUs";
	for_each_in(nid, machine->privs) {
		if (pn_start_empty(nid))
			*error = 1;
		machine->served[nid] = pn_allocations(nid);
	}
	if (pn_read_line(DEMOTION, machine->demotion, sizeof(machine->demotion)) ||
	    pn_read_line(MIN_SLAB, machine->slab, sizeof(machine->slab)) ||
	    pn_read_line(BALANCING, machine->balancing, sizeof(machine->balancing)))
		*error = 2;
	return NULL;
}

/* 0 if no memory of the private nodes is left in use */
static int leave(struct machine *machine)
{
	int nid, ret = 0;

	if (pn_write_file(DEMOTION, machine->demotion) ||
	    pn_write_file(MIN_SLAB, machine->slab) ||
	    pn_write_file(BALANCING, machine->balancing))
		ret = 1;
	for_each_in(nid, machine->privs) {
		if (pn_wait_empty(nid))
			ret = 2;
	}
	return ret;
}

FIXTURE(tiers)
{
	struct machine m;
	bool ready;
};

FIXTURE_SETUP(tiers)
{
	int error;
	const char *reason = look_at(&self->m, &error);

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(0, error);
	self->ready = true;
}

FIXTURE_TEARDOWN(tiers)
{
	if (self->ready) {
		EXPECT_EQ(0, leave(&self->m));
	}
}

/* Each with both kinds of LRU lists */
FIXTURE(demotion)
{
	struct machine m;
	bool ready, swap;
};

FIXTURE_VARIANT(demotion)
{
	const char *gen;
};

FIXTURE_VARIANT_ADD(demotion, classic) { .gen = "n" };
FIXTURE_VARIANT_ADD(demotion, gen) { .gen = "y" };

FIXTURE_SETUP(demotion)
{
	int error;
	const char *reason = look_at(&self->m, &error);

	if (reason)
		SKIP(return, "%s", reason);
	ASSERT_EQ(0, error);
	self->ready = true;
	ASSERT_EQ(0, pn_write_file(LRU_GEN, variant->gen));
	ASSERT_EQ(0, pn_write_file(DEMOTION, "1"));
	/* Else the reclaim file wants a share of the node to be caches. */
	ASSERT_EQ(0, pn_write_file(MIN_SLAB, "0"));
}

FIXTURE_TEARDOWN(demotion)
{
	if (!self->ready)
		return;
	if (self->swap) {
		EXPECT_EQ(0, pn_swap_off());
	}
	EXPECT_EQ(0, pn_write_file(LRU_GEN, "n"));
	EXPECT_EQ(0, leave(&self->m));
}

/* Nobody has got anything of the private nodes since the set-up. */
#define EXPECT_UNTOUCHED() do {							\
	int _nid;								\
										\
	for_each_in(_nid, self->m.privs) {					\
		EXPECT_EQ(self->m.served[_nid], pn_allocations(_nid))		\
			TH_LOG("node %d", _nid);				\
	}									\
} while (0)

/*
 * Demotes what it can, at most size, and says how many of the pages at p are on
 * each node then. Nothing is swapped out as long as there is no swap space.
 */
static int demote(int nid, size_t size, char *p, size_t len, long *count)
{
	char path[100], text[60];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/reclaim", nid);
	snprintf(text, sizeof(text), "%zu swappiness=max", size);
	/* That it did not find as much as was asked for is no failure. */
	if (pn_write_file(path, text) && errno != EAGAIN)
		return -1;
	return pn_count_nodes(p, len, count) < 0 ? -1 : 0;
}

/* Rows 79, 80: each public node is in one tier, the CPUs' are the fastest. */
TEST_F(tiers, nodes)
{
	unsigned long public = pn_public_nodes();
	int nid, first;

	for_each_in(nid, self->m.privs) {
		EXPECT_EQ(-1, tier_of(nid)) TH_LOG("node %d", nid);
	}
	first = tier_of(self->m.cpu);
	for_each_in(nid, public) {
		EXPECT_LE(0, tier_of(nid)) TH_LOG("node %d", nid);
		/* a private node that is faster than they are does not count */
		if (tier_of(nid) < first)
			first = tier_of(nid);
	}
	EXPECT_EQ(first, tier_of(self->m.cpu));
}

static long bandwidth(int nid)
{
	char path[100];
	long rd, wr;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/access1/initiators/read_bandwidth",
		 nid);
	rd = pn_read_long(path);
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/access1/initiators/write_bandwidth",
		 nid);
	wr = pn_read_long(path);
	return rd < wr ? rd : wr;
}

/* Row 38: the bandwidth of a private node is no part of what public ones weigh. */
TEST_F(tiers, weights)
{
	unsigned long public = pn_public_nodes();
	long raw[PN_MAXNODE], total = 0, divisor = 0;
	char path[100];
	int nid;

	for_each_in(nid, public) {
		if (bandwidth(nid) <= 0)
			SKIP(return, "firmware does not tell the bandwidth of all nodes");
		total += bandwidth(nid);
	}
	/* As reduce_interleave_weights() does it */
	for_each_in(nid, public) {
		long a, b;

		raw[nid] = 32 * bandwidth(nid) / total;
		raw[nid] = raw[nid] ?: 1;
		for (a = raw[nid], b = divisor; b; ) {
			long rest = a % b;

			a = b;
			b = rest;
		}
		divisor = a;
	}
	for_each_in(nid, public) {
		snprintf(path, sizeof(path), WEIGHTS "node%d", nid);
		EXPECT_EQ(raw[nid] / divisor, pn_read_long(path)) TH_LOG("node %d", nid);
	}
}

/* Row 81: what is demoted goes to the ordinary node, and when that is full nowhere. */
TEST_F_TIMEOUT(demotion, target, 300)
{
	size_t len = 64 * MIB, size, filled;
	long pages = len / pn_page_size(), count[PN_MAXNODE], before = demoted(self->m.cpu);
	char *p = pn_filled(len, self->m.cpu), *q, *filler;
	struct pn_zones zones;
	int nid;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, demote(self->m.cpu, len / 2, p, len, count));
	EXPECT_LT(pages / 4, count[self->m.control]);
	EXPECT_EQ(pages, count[self->m.cpu] + count[self->m.control]);
	EXPECT_LE(count[self->m.control], demoted(self->m.cpu) - before);
	EXPECT_UNTOUCHED();

	ASSERT_EQ(0, pn_zones(self->m.control, &zones));
	size = zones.managed * pn_page_size();
	filler = pn_map_bound(size, MPOL_BIND, NODE_BIT(self->m.control));
	ASSERT_NE(NULL, filler);
	madvise(filler, size, MADV_HUGEPAGE);
	/* Some room is left, but not enough. */
	filled = (zones.free - zones.high - pages / 4) * pn_page_size() & ~(HUGE_SIZE - 1);
	ASSERT_EQ(filled, pn_touch(filler, filled, HUGE_SIZE, NULL));
	q = pn_filled(len, self->m.cpu);
	ASSERT_NE(NULL, q);
	ASSERT_EQ(0, demote(self->m.cpu, len, q, len, count));
	EXPECT_LT(pages / 2, count[self->m.cpu]);
	EXPECT_EQ(pages, count[self->m.cpu] + count[self->m.control]);
	for_each_in(nid, self->m.privs) {
		EXPECT_EQ(0, count[nid]) TH_LOG("node %d", nid);
	}
	EXPECT_UNTOUCHED();
	munmap(filler, size);
	munmap(p, len);
	munmap(q, len);
}

struct pressure {
	int nid;
	long on[PN_MAXNODE];
};

/* More than the node has room for, without swap space */
static int overfill(struct pn_child *child, void *arg)
{
	struct pressure *job = arg;
	size_t filled, len = 128 * MIB;
	struct pn_zones zones;
	char *filler, *p;

	/* Caches would make room first. */
	if (pn_write_file("/proc/sys/vm/drop_caches", "3") || pn_zones(job->nid, &zones))
		return 1;
	filled = (zones.free * pn_page_size() - len / 4) & ~(HUGE_SIZE - 1);
	filler = pn_map_bound(filled, MPOL_BIND, NODE_BIT(job->nid));
	p = pn_map_bound(len, MPOL_BIND, NODE_BIT(job->nid));
	if (!filler || !p)
		return 2;
	madvise(filler, filled, MADV_HUGEPAGE);
	madvise(p, len, MADV_NOHUGEPAGE);
	/* Only what comes later can be demoted. */
	if (mlock(filler, filled))
		return 3;
	if (pn_touch(p, len, pn_page_size(), NULL) != len)
		return 4;
	return pn_count_nodes(p, len, job->on) < 0 ? 5 : 0;
}

/* Row 81: the same when memory is short, which is kswapd's and the task's business. */
TEST_F_TIMEOUT(demotion, pressure, 300)
{
	struct pressure *job = mmap(NULL, sizeof(*job), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long before = pn_vmstat("pgdemote_kswapd") + pn_vmstat("pgdemote_direct"), pages;
	int nid, status;

	ASSERT_NE(MAP_FAILED, job);
	job->nid = self->m.cpu;
	status = pn_run(overfill, job, 200);
	ASSERT_EQ(0, status);
	pages = (long)(16 * MIB) / pn_page_size();
	EXPECT_LT(pages, job->on[self->m.control]);
	EXPECT_LT(pages, pn_vmstat("pgdemote_kswapd") + pn_vmstat("pgdemote_direct") - before);
	for_each_in(nid, self->m.privs) {
		EXPECT_EQ(0, job->on[nid]) TH_LOG("node %d", nid);
	}
	EXPECT_UNTOUCHED();
	munmap(job, sizeof(*job));
}

/*
 * Rows 79, 81: private memory is demoted nowhere, be the node slow or fast: without
 * the capability nothing happens, with it swap space is the only way out.
 */
TEST_F_TIMEOUT(demotion, private_memory, 300)
{
	size_t len = 32 * MIB;
	long pages = len / pn_page_size(), count[PN_MAXNODE];
	int nid, with_swap;

	for (with_swap = 0; with_swap < 2; with_swap++) {
		if (with_swap) {
			ASSERT_EQ(0, pn_swap_on(128 * MIB));
			self->swap = true;
		}
		for_each_in(nid, self->m.privs) {
			bool open = pn_has_cap(nid, "reclaim") && with_swap;
			long before = demoted(nid), out = pn_vmstat("pswpout"), present;
			char *p = pn_filled(len, nid), *q;

			ASSERT_NE(NULL, p);
			ASSERT_EQ(0, demote(nid, len, p, len, count));
			present = pn_on_node(p, len, nid);
			EXPECT_EQ(before, demoted(nid));
			/* Nothing that is in memory is elsewhere. */
			EXPECT_EQ(present, pn_count_nodes(p, len, count));
			EXPECT_EQ(open, present < pages / 2) TH_LOG("node %d", nid);
			EXPECT_EQ(open, pn_vmstat("pswpout") - out > pages / 4);
			munmap(p, len);

			/* The control: from where there are CPUs it is demoted now. */
			before = demoted(self->m.cpu);
			q = pn_filled(len, self->m.cpu);
			ASSERT_NE(NULL, q);
			ASSERT_EQ(0, demote(self->m.cpu, len, q, len, count));
			EXPECT_LT(pages / 4, count[self->m.control]);
			EXPECT_LT(pages / 4, demoted(self->m.cpu) - before);
			munmap(q, len);
		}
	}
}

struct charged {
	int nid;
	char group[100];
	long count[PN_MAXNODE];
};

/* Memory of one cgroup on one node, of which the cgroup has to give some back */
static int give_back(struct pn_child *child, void *arg)
{
	struct charged *job = arg;
	size_t len = 32 * MIB;
	char path[120], *p;

	snprintf(path, sizeof(path), "%s/cgroup.procs", job->group);
	if (pn_write_file(path, "0"))
		return 1;
	p = pn_filled(len, job->nid);
	if (!p)
		return 2;
	snprintf(path, sizeof(path), "%s/memory.reclaim", job->group);
	if (pn_write_file(path, "16M swappiness=max") && errno != EAGAIN)
		return 3;
	return pn_count_nodes(p, len, job->count) < 0 ? 4 : 0;
}

/* Rows 79, 81: the same on behalf of a memory cgroup */
TEST_F_TIMEOUT(demotion, memory_cgroup, 300)
{
	struct charged *job = mmap(NULL, sizeof(*job), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long pages = (long)(32 * MIB) / pn_page_size(), before;
	char root[] = "/tmp/pn_tiers.XXXXXX", path[100];
	int nid, other;

	ASSERT_NE(MAP_FAILED, job);
	ASSERT_NE(NULL, mkdtemp(root));
	ASSERT_EQ(0, mount("pn", root, "cgroup2", 0, NULL));
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	EXPECT_EQ(0, pn_write_file(path, "+memory"));
	snprintf(job->group, sizeof(job->group), "%s/pn_tiers", root);
	EXPECT_EQ(0, mkdir(job->group, 0755));

	/* The control */
	job->nid = self->m.cpu;
	EXPECT_EQ(0, pn_run(give_back, job, 100));
	EXPECT_LT(pages / 4, job->count[self->m.control]);
	EXPECT_UNTOUCHED();
	for_each_in(nid, self->m.privs) {
		before = demoted(nid);
		job->nid = nid;
		EXPECT_EQ(0, pn_run(give_back, job, 100));
		/* There is no swap space: all of it is where it was. */
		EXPECT_EQ(pages, job->count[nid]) TH_LOG("node %d", nid);
		EXPECT_EQ(before, demoted(nid));
		for_each_in(other, ~NODE_BIT(nid)) {
			EXPECT_EQ(0, job->count[other]) TH_LOG("node %d", other);
		}
	}
	EXPECT_EQ(0, rmdir(job->group));
	umount2(root, MNT_DETACH);
	rmdir(root);
	munmap(job, sizeof(*job));
}

struct hints {
	int nid;
	unsigned long bound;	/* until faults are counted; 0: until memory has moved */
	double seconds;		/* at most; then how long it took */
	long faults, promoted, left;
	long counted;		/* hinting faults that the scheduler knows of */
};

/* Hinting faults on memory of the node, as the scheduler has them */
static long counted_faults(int nid)
{
	FILE *file = fopen("/proc/self/sched", "re");
	long one, other, sum = -1;
	char line[300];
	int node;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "numa_faults node=%d task_private=%ld task_shared=%ld",
			   &node, &one, &other) == 3 && node == nid)
			sum = one + other;
	fclose(file);
	return sum;
}

/* Touches memory of a node again and again, until balancing does something. */
static int balance(struct pn_child *child, void *arg)
{
	struct hints *hints = arg;
	size_t len = 4 * MIB;
	long pages = len / pn_page_size(), counted;
	double start = pn_now();
	char *p;

	pn_pin(0);
	p = pn_filled(len, hints->nid);
	if (!p)
		return 1;
	/*
	 * Balancing keeps off memory that is bound. With its flag there are faults,
	 * but no moves if this CPU is not of the nodes.
	 */
	if (hints->bound ?
	    pn_mbind(p, len, MPOL_BIND | MPOL_F_NUMA_BALANCING, &hints->bound, 0) :
	    pn_mbind(p, len, MPOL_DEFAULT, NULL, 0))
		return 2;
	hints->faults = pn_vmstat("numa_hint_faults");
	hints->promoted = pn_vmstat("pgpromote_success");
	do {
		pn_touch(p, len, pn_page_size(), NULL);
		/* It forgets, too. */
		counted = counted_faults(hints->nid);
		if (counted < 0)
			return 3;
		if (counted > hints->counted)
			hints->counted = counted;
		hints->left = pn_on_node(p, len, hints->nid);
		if (hints->bound ? hints->counted > 0 : hints->left < pages / 2)
			break;
	} while (pn_now() < start + hints->seconds);
	hints->seconds = pn_now() - start;
	hints->faults = pn_vmstat("numa_hint_faults") - hints->faults;
	hints->promoted = pn_vmstat("pgpromote_success") - hints->promoted;
	return 0;
}

static void fast_scans(void)
{
	pn_write_file(SCHED "scan_delay_ms", "100");
	pn_write_file(SCHED "scan_period_min_ms", "100");
}

/*
 * Row 82: promotion, which takes from slow memory what is used, does not take
 * private memory; and where CPUs are is not taken for slow.
 */
TEST_F_TIMEOUT(tiers, promotion, 400)
{
	struct hints *hints = mmap(NULL, sizeof(*hints), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	long pages = (long)(4 * MIB) / pn_page_size();
	double limit;
	int nid;

	ASSERT_NE(MAP_FAILED, hints);
	ASSERT_EQ(0, pn_write_file(BALANCING, "2"));
	fast_scans();
	*hints = (struct hints){ self->m.control, 0, pn_slow(30) };
	ASSERT_EQ(0, pn_run(balance, hints, 60));
	ASSERT_GT(pages / 2, hints->left);
	ASSERT_LE(pages / 2, hints->promoted);
	/* If nothing shall happen, three times as long as the control took */
	limit = 3 * hints->seconds + 1;

	for_each_in(nid, self->m.privs) {
		if (pn_has_cap(nid, "balancing"))
			continue;
		*hints = (struct hints){ nid, 0, limit };
		ASSERT_EQ(0, pn_run(balance, hints, 2 * limit));
		EXPECT_EQ(pages, hints->left) TH_LOG("node %d", nid);
		EXPECT_GT(pages / 2, hints->promoted) TH_LOG("node %d", nid);
	}
	*hints = (struct hints){ self->m.cpu, 0, limit };
	ASSERT_EQ(0, pn_run(balance, hints, 2 * limit));
	EXPECT_GT(pages / 2, hints->faults);
	munmap(hints, sizeof(*hints));
}

/*
 * Row 83: the scheduler prefers the node with the most faults, so there must be
 * none on private ones. It does not count those on slow memory: the control is the
 * other node with CPUs, and the node that would be counted the fast private one.
 */
TEST_F_TIMEOUT(tiers, preferred_node, 400)
{
	struct hints *hints = mmap(NULL, sizeof(*hints), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long others = pn_public_nodes() & pn_node_mask("has_cpu") &
			       ~NODE_BIT(self->m.cpu);
	double limit;
	int nid;

	ASSERT_NE(MAP_FAILED, hints);
	ASSERT_NE(0, others);
	ASSERT_EQ(0, pn_write_file(BALANCING, "1"));
	fast_scans();
	*hints = (struct hints){ __builtin_ctzl(others), others, pn_slow(30) };
	ASSERT_EQ(0, pn_run(balance, hints, 60));
	ASSERT_LT(0, hints->counted);
	/* If nothing shall happen, three times as long as the control took */
	limit = 3 * hints->seconds + 1;
	for_each_in(nid, self->m.privs) {
		if (pn_has_cap(nid, "balancing"))
			continue;
		*hints = (struct hints){ nid, others, limit };
		ASSERT_EQ(0, pn_run(balance, hints, 2 * limit));
		EXPECT_EQ(0, hints->counted) TH_LOG("node %d", nid);
	}
	munmap(hints, sizeof(*hints));
}

TEST_HARNESS_MAIN
