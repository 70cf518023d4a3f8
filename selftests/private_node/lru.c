// SPDX-License-Identifier: GPL-2.0
/*
 * The two kinds of LRU lists and the swap cache in compressed memory, and private
 * nodes: rows 70 to 72 and 76 to 78. Each test runs with the multi-gen LRU off and
 * on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define LRU_MIN_TTL	"/sys/kernel/mm/lru_gen/min_ttl_ms"
#define LRU_GEN_DEBUG	"/sys/kernel/debug/lru_gen"
#define ZSWAP		"/sys/module/zswap/parameters/"

FIXTURE(lru)
{
	int priv, control;
	bool swap, zswap, ready;
	char pool[16];
};

FIXTURE_VARIANT(lru)
{
	const char *gen;
};

FIXTURE_VARIANT_ADD(lru, classic) { .gen = "n" };
FIXTURE_VARIANT_ADD(lru, gen) { .gen = "y" };

FIXTURE_SETUP(lru)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	if (access(LRU_GEN, F_OK))
		SKIP(return, "no multi-gen LRU");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, pn_write_file(LRU_GEN, variant->gen));
	self->ready = true;
}

FIXTURE_TEARDOWN(lru)
{
	if (!self->ready)
		return;
	if (self->zswap) {
		pn_write_file(ZSWAP "enabled", "N");
		pn_write_file(ZSWAP "max_pool_percent", self->pool);
	}
	if (self->swap) {
		EXPECT_EQ(0, pn_swap_off());
	}
	EXPECT_EQ(0, pn_write_file(LRU_MIN_TTL, "0"));
	EXPECT_EQ(0, pn_write_file(LRU_GEN, "n"));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static long on_lists(int nid)
{
	return pn_node_vmstat(nid, "nr_active_anon") + pn_node_vmstat(nid, "nr_inactive_anon") +
	       pn_node_vmstat(nid, "nr_unevictable");
}

/* Row 71: from one kind of list to the other and back, nothing is lost. */
TEST_F(lru, change)
{
	const int nodes[2] = { self->control, self->priv };
	size_t len = 4 * MIB;
	long pages = len / pn_page_size();
	int i, n;

	for (i = 0; i < 2; i++) {
		long before = on_lists(nodes[i]);
		char *p = pn_filled(len, nodes[i]);

		ASSERT_NE(NULL, p);
		for (n = 0; n < 6; n++) {
			ASSERT_EQ(0, pn_write_file(LRU_GEN, n % 2 ? "y" : "n"));
			pn_settle();
			EXPECT_LE(pages, on_lists(nodes[i]) - before + 1);
			EXPECT_EQ(pages, pn_on_node(p, len, nodes[i]));
		}
		munmap(p, len);
	}
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	EXPECT_EQ(0, on_lists(self->priv));
}

/* Rows 69, 70, 78: reclaim by request, and what comes back, several times */
TEST_F_TIMEOUT(lru, pageout, 300)
{
	const int nodes[2] = { self->control, self->priv };
	size_t len = 16 * MIB, i;
	long pages = len / pn_page_size();
	int k, round;

	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;
	for (k = 0; k < 2; k++) {
		bool open = k == 0 || pn_has_cap(nodes[k], "reclaim");
		long stolen = pn_vmstat("pswpout"), wrong = 0;
		char *p = pn_filled(len, nodes[k]);

		ASSERT_NE(NULL, p);
		for (round = 0; round < 3; round++) {
			pn_settle();
			EXPECT_EQ(0, madvise(p, len, MADV_PAGEOUT));
			EXPECT_EQ(open, pn_on_node(p, len, nodes[k]) < pages / 2);
			for (i = 0; i < len; i += pn_page_size())
				wrong += *(unsigned long *)(p + i) != (unsigned long)(p + i);
			EXPECT_EQ(pages, pn_on_node(p, len, nodes[k]));
		}
		EXPECT_EQ(0, wrong);
		EXPECT_EQ(open, pn_vmstat("pswpout") - stolen >= pages);
		munmap(p, len);
	}
	if (!pn_has_cap(self->priv, "reclaim")) {
		EXPECT_EQ(0, pn_node_vmstat(self->priv, "workingset_refault_anon"));
	}
}

/* Rows 69, 78: a node that is too small, with swap space, on both kinds of lists */
TEST_F_TIMEOUT(lru, overcommitted, 600)
{
	size_t len = 64 * MIB, filled, done, i, wrong = 0;
	long kills = pn_vmstat("oom_kill");
	struct pn_fault fault;
	struct pn_zones zones;
	char *filler, *p;

	ASSERT_EQ(0, pn_swap_on(512 * MIB));
	self->swap = true;
	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	filled = (zones.free * pn_page_size() - len / 2) & ~(2 * MIB - 1);
	filler = pn_map_bound(filled, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, filler);
	madvise(filler, filled, MADV_HUGEPAGE);
	ASSERT_EQ(filled, pn_touch(filler, filled, 2 * MIB, NULL));
	p = pn_map_bound(len, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, p);
	madvise(p, len, MADV_NOHUGEPAGE);
	/* Nobody is killed where all is younger than this, either. */
	if (variant->gen[0] == 'y') {
		ASSERT_EQ(0, pn_write_file(LRU_MIN_TTL, "600000"));
	}
	done = pn_touch(p, len, pn_page_size(), &fault);
	if (pn_has_cap(self->priv, "reclaim")) {
		EXPECT_EQ(len, done);
		EXPECT_LT(0, pn_node_vmstat(self->priv, "pgsteal_direct") +
			  pn_node_vmstat(self->priv, "pgsteal_kswapd"));
	} else {
		EXPECT_GT(len, done);
		EXPECT_EQ(SIGBUS, fault.sig);
		EXPECT_EQ(0, pn_node_vmstat(self->priv, "pgscan_direct") +
			  pn_node_vmstat(self->priv, "pgscan_kswapd"));
	}
	/* From here on, what is read back pushes something else out. */
	for (i = 0; i < done; i += pn_page_size())
		wrong += *(unsigned long *)(p + i) != (unsigned long)(p + i);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(0, pn_on_node(p, len, self->control));
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
	munmap(filler, filled);
	munmap(p, len);
}

/* The generations of the root memory cgroup on a node */
static int generations(int nid, unsigned long *id, unsigned long *min, unsigned long *max)
{
	FILE *file = fopen(LRU_GEN_DEBUG, "re");
	char line[512], path[256], own[256] = "";
	bool ours = false, mine = false;
	int n, found = 0;

	if (!file)
		return -1;
	/* The memory cgroup of the test: its own, if that is one, or the root's */
	if (!pn_read_file("/proc/self/cgroup", line, sizeof(line))) {
		char *unified = strstr(line, "0::");

		if (unified)
			sscanf(unified, "0::%255s", own);
	}
	while (fgets(line, sizeof(line), file)) {
		unsigned long seq, ms, a, b, memcg;

		if (sscanf(line, "memcg %lu %255s", &memcg, path) == 2) {
			ours = !strcmp(path, "/") || !strcmp(path, own);
			if (ours) {
				*id = memcg;
				found = 0;
			}
		} else if (sscanf(line, " node %d", &n) == 1) {
			mine = n == nid;
		} else if (ours && mine &&
			   sscanf(line, "%lu %lu %lu %lu", &seq, &ms, &a, &b) == 4) {
			if (!found++)
				*min = seq;
			*max = seq;
		}
	}
	fclose(file);
	return found ? 0 : -1;
}

/* Rows 70, 71: the debugfs file of the multi-gen LRU ages and evicts nothing. */
TEST_F_TIMEOUT(lru, debug_file, 120)
{
	size_t len = 8 * MIB;
	long pages = len / pn_page_size();
	unsigned long id, min, max, new, unused;
	char text[80], *p;
	int i, n;

	if (*variant->gen == 'n')
		SKIP(return, "the file is for the other kind of lists");
	if (access(LRU_GEN_DEBUG, F_OK))
		SKIP(return, "no debugfs file of the multi-gen LRU");
	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;

	/* The control, and a node that is open for it */
	for (n = 0; n < (pn_has_cap(self->priv, "reclaim") ? 2 : 1); n++) {
		int nid = n ? self->priv : self->control;

		p = pn_filled(len, nid);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, generations(nid, &id, &min, &max));
		for (i = 0; i < 3; i++) {
			snprintf(text, sizeof(text), "+ %lu %d %lu 200 1", id, nid, max + i);
			ASSERT_EQ(0, pn_write_file(LRU_GEN_DEBUG, text));
		}
		ASSERT_EQ(0, generations(nid, &id, &unused, &new));
		EXPECT_EQ(max + 3, new);
		snprintf(text, sizeof(text), "- %lu %d %lu 200 100000", id, nid, new - 2);
		ASSERT_EQ(0, pn_write_file(LRU_GEN_DEBUG, text));
		EXPECT_GT(pages / 2, pn_on_node(p, len, nid));
		munmap(p, len);
	}
	if (n == 2)
		return;

	/* The node is not even listed. Generations start small. */
	p = pn_filled(len, self->priv);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(-1, generations(self->priv, &unused, &min, &max));
	for (i = 0; i < 8; i++) {
		snprintf(text, sizeof(text), "+ %lu %d %d 200 1", id, self->priv, i);
		EXPECT_EQ(-1, pn_write_file(LRU_GEN_DEBUG, text));
		EXPECT_EQ(EINVAL, errno);
		snprintf(text, sizeof(text), "- %lu %d %d 200 100000", id, self->priv, i);
		EXPECT_EQ(-1, pn_write_file(LRU_GEN_DEBUG, text));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(pages, pn_on_node(p, len, self->priv));
	munmap(p, len);
}

/* Row 72: dropping caches drops nothing of the node. */
TEST_F_TIMEOUT(lru, drop_caches, 120)
{
	static const char * const what[] = { "1", "2", "3" };
	size_t len = 4 * MIB, i;
	long pages = len / pn_page_size(), used, before;
	char *p = pn_filled(len, self->priv);
	unsigned long mask = NODE_BIT(self->control);

	ASSERT_NE(NULL, p);
	/* The control: page cache of an ordinary node */
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND, &mask));
	ASSERT_EQ(0, pn_work_block_read(32 * MIB, self->control));
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
	used = pn_used(self->control);
	before = pn_allocations(self->priv);
	for (i = 0; i < ARRAY_SIZE(what); i++) {
		EXPECT_EQ(0, pn_write_file("/proc/sys/vm/drop_caches", what[i]));
		EXPECT_EQ(pages, pn_on_node(p, len, self->priv));
	}
	EXPECT_LT((long)(16 * MIB) / pn_page_size(), used - pn_used(self->control));
	EXPECT_EQ(before, pn_allocations(self->priv));
	munmap(p, len);
}

static int zswap_on(FIXTURE_DATA(lru) *self)
{
	if (pn_read_file(ZSWAP "max_pool_percent", self->pool, sizeof(self->pool)) ||
	    pn_write_file(ZSWAP "enabled", "Y"))
		return -1;
	self->zswap = true;
	return 0;
}

/* Does not compress */
static void noise(char *p, size_t len, uint64_t x)
{
	uint64_t *word = (uint64_t *)p, *end = (uint64_t *)(p + len);

	for (; word < end; word++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		*word = x;
	}
}

static long differs(const char *p, size_t len, uint64_t x)
{
	const uint64_t *word = (const uint64_t *)p, *end = (const uint64_t *)(p + len);
	long n = 0;

	for (; word < end; word++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		n += *word != x;
	}
	return n;
}

struct zswap {
	int source, priv;
	size_t len;
	long out, back;		/* what happened */
	int policy;
};

/*
 * Compress what is on source, more than the pool may hold, so that some of it
 * is written back; the policy of the task names the private node meanwhile.
 */
static int compress(struct pn_child *child, void *arg)
{
	struct zswap *z = arg;
	unsigned long mask = NODE_BIT(z->priv);
	char *p = pn_filled(z->len, z->source);
	double deadline = pn_now() + pn_slow(20);

	if (!p)
		return 1;
	noise(p, z->len, 88172645463325252ULL);
	pn_prefault_stack();
	if (z->policy >= 0 && pn_set_mempolicy(z->policy, &mask))
		return 2;
	pn_settle();
	z->out = pn_vmstat("zswpout");
	z->back = pn_vmstat("zswpwb");
	if (madvise(p, z->len, MADV_PAGEOUT))
		return 3;
	/* The one who writes back is a worker. */
	while (pn_vmstat("zswpwb") == z->back && pn_now() < deadline &&
	       z->source != z->priv)
		poll(NULL, 0, 50);
	pn_hold(child);
	if (differs(p, z->len, 88172645463325252ULL))
		return 4;
	z->out = pn_vmstat("zswpout") - z->out;
	z->back = pn_vmstat("zswpwb") - z->back;
	return 0;
}

/*
 * Row 76: neither the pool nor what is written back from it takes memory of the
 * node, whether the data or only the policy is the node's.
 */
TEST_F_TIMEOUT(lru, zswap, 500)
{
	struct zswap *z = mmap(NULL, pn_page_size(), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pn_child child;
	int k, status;

	if (access(ZSWAP "enabled", F_OK))
		SKIP(return, "no zswap");
	ASSERT_NE(MAP_FAILED, z);
	ASSERT_EQ(0, pn_swap_on(256 * MIB));
	self->swap = true;
	ASSERT_EQ(0, zswap_on(self));
	ASSERT_EQ(0, pn_write_file(ZSWAP "max_pool_percent", "1"));
	for (k = 0; k < 2; k++) {
		bool mine = k == 1;
		long pages;

		if (mine && !pn_has_cap(self->priv, "reclaim"))
			continue;
		*z = (struct zswap){
			.source = mine ? self->priv : self->control, .priv = self->priv,
			.len = 64 * MIB, .policy = MPOL_BIND | pn_flag(),
		};
		pages = z->len / pn_page_size();
		ASSERT_EQ(0, pn_spawn(&child, compress, z));
		EXPECT_EQ(0, pn_ready(&child, 100));
		/* Only the memory of the task itself */
		EXPECT_EQ(0, pn_wait_only_anon(self->priv, (mine ? pages : 0) +
					       MIB / pn_page_size()));
		status = pn_reap(&child, 100);
		EXPECT_EQ(0, status);
		/* The control: it did go through the pool, and out of it again. */
		EXPECT_LT(pages / 4, z->out);
		if (!mine) {
			EXPECT_LT(0, z->back);
		}
	}
	munmap(z, pn_page_size());
}

/* Row 77: compaction of compressed memory gets no page of the node either. */
TEST_F_TIMEOUT(lru, zsmalloc_compaction, 200)
{
	size_t len = 32 * MIB, i;
	long before = pn_allocations(self->priv);
	char *p;

	ASSERT_EQ(0, pn_swap_on(128 * MIB));
	self->swap = true;
	p = pn_filled(len, self->control);
	ASSERT_NE(NULL, p);
	noise(p, len, 1234567);
	for (i = 0; i < len; i += pn_page_size())
		memset(p + i, 0, 2000 + i / pn_page_size() % 1000);
	pn_settle();
	ASSERT_EQ(0, madvise(p, len, MADV_PAGEOUT));
	EXPECT_GT((long)(len / pn_page_size()) / 2, pn_on_node(p, len, self->control));
	/* Holes in the pool */
	for (i = 0; i < len; i += 3 * pn_page_size())
		madvise(p + i, pn_page_size(), MADV_DONTNEED);
	EXPECT_EQ(0, pn_write_file("/sys/block/zram0/compact", "1"));
	EXPECT_EQ(0, pn_write_file("/proc/sys/vm/compact_memory", "1"));
	EXPECT_EQ(before, pn_allocations(self->priv));
	munmap(p, len);
}

TEST_HARNESS_MAIN
