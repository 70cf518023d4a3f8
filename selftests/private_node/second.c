// SPDX-License-Identifier: GPL-2.0
/*
 * Two private nodes beside each other, with different capabilities, and an
 * ordinary node as control. One never opens the other: not when it is full,
 * not by its capabilities, and not by a grant. Rows 46 and 133.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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
#include <linux/capability.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define HUGE_SIZE	(2 * MIB)
#define KSM		"/sys/kernel/mm/ksm/"
#define COUNTERS	3

static const char * const counters[COUNTERS] = { "allocations", "exhausted", "refused" };

struct state {
	long allocations, counter[COUNTERS];
};

FIXTURE(second)
{
	int priv, other, control;
	unsigned long privs, others, both;
	long empty;		/* what is in use on the other node */
	char *filler;
	size_t filled;
	bool swap;
	char root[40], group[80];
};

/* The private node that is not the first one */
static int second_node(int first)
{
	unsigned long mask = pn_node_mask("has_private_memory");

	/* Where nodes are only treated as private: the last one without CPUs */
	if (pn_forced())
		mask = pn_node_mask("has_memory") & ~pn_node_mask("has_cpu") &
		       ~NODE_BIT(pn_control_node());
	mask &= ~NODE_BIT(first);
	return mask ? __builtin_ctzl(mask) : -1;
}

/*
 * Wait until so much of the node is in use. To fold the counters may empty a
 * per-CPU batch, which leaves something in the counters: look more than once.
 */
static long wait_used(int nid, long want)
{
	double deadline = pn_now() + pn_slow(5);
	long used;

	while ((used = pn_used(nid)) != want && pn_now() < deadline)
		poll(NULL, 0, 20);
	return used;
}

FIXTURE_SETUP(second)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	self->other = second_node(self->priv);
	if (self->other < 0)
		SKIP(return, "no second private node: give private_node= twice");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	self->others = NODE_BIT(self->other);
	self->both = self->privs | self->others;
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->empty = pn_forced() ? pn_used(self->other) : 0;
	ASSERT_EQ(self->empty, wait_used(self->other, self->empty));
}

FIXTURE_TEARDOWN(second)
{
	if (self->priv < 0 || self->other < 0 || self->control < 0)
		return;
	if (self->filler)
		munmap(self->filler, self->filled);
	if (self->swap) {
		EXPECT_EQ(0, pn_swap_off());
	}
	if (*self->group)
		rmdir(self->group);
	if (*self->root) {
		umount2(self->root, MNT_DETACH);
		rmdir(self->root);
	}
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	EXPECT_EQ(self->empty, wait_used(self->other, self->empty));
}

static struct state look(int nid)
{
	struct state s = { pn_allocations(nid) };
	int i;

	for (i = 0; i < COUNTERS; i++)
		s.counter[i] = pn_counter(nid, counters[i]);
	return s;
}

/* Nothing at all has happened on the node. */
#define EXPECT_SAME(nid, before) do {						\
	struct state _now = look(nid), _then = before;				\
	int _i;									\
										\
	EXPECT_EQ(_then.allocations, _now.allocations);				\
	for (_i = 0; _i < COUNTERS; _i++)					\
		EXPECT_EQ(_then.counter[_i], _now.counter[_i])			\
			TH_LOG("counter %d", _i);				\
} while (0)

/* Leave nothing of a node; filler and filled are for the teardown. */
static int fill(FIXTURE_DATA(second) *self, int nid)
{
	struct pn_zones zones;

	if (pn_zones(nid, &zones))
		return -1;
	self->filled = zones.managed * pn_page_size() + 64 * MIB;
	self->filler = pn_map_bound(self->filled, MPOL_BIND | pn_flag(), NODE_BIT(nid));
	if (!self->filler)
		return -1;
	madvise(self->filler, self->filled, MADV_HUGEPAGE);
	/* Huge pages first, then what is left in small ones, until the signal */
	return pn_touch(self->filler, self->filled, pn_page_size(), NULL) < self->filled ? 0 : -1;
}

/* Rows 1, 46: what each of both is, and is not */
TEST_F(second, files)
{
	unsigned long public = pn_public_nodes();
	char text[8][100], path[100];

	if (!pn_forced()) {
		EXPECT_EQ(self->both, pn_node_mask("has_private_memory"));
	}
	EXPECT_EQ(0, public & self->both);
	EXPECT_NE(0, public & NODE_BIT(self->control));
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/capabilities", self->priv);
	ASSERT_EQ(0, pn_read_file(path, text[0], sizeof(text[0])));
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/capabilities", self->other);
	ASSERT_EQ(0, pn_read_file(path, text[1], sizeof(text[1])));
	/* The machine is made for this; the other tests go by what there is. */
	EXPECT_TRUE(pn_has_cap(self->priv, "reclaim"));
	EXPECT_FALSE(pn_has_cap(self->other, "reclaim"));
}

/* Row 46: memory bound to one is there, and the other does not notice. */
TEST_F(second, apart)
{
	const int nodes[2] = { self->priv, self->other };
	size_t len = 8 * MIB;
	int i;

	for (i = 0; i < 2; i++) {
		struct state before = look(nodes[!i]);
		long allocations = pn_allocations(nodes[i]);
		long served = pn_counter(nodes[i], "allocations");
		char *p = pn_filled(len, nodes[i]);

		ASSERT_NE(NULL, p);
		EXPECT_EQ(len / pn_page_size(), pn_on_node(p, len, nodes[i]));
		EXPECT_LE(len / pn_page_size(), pn_allocations(nodes[i]) - allocations);
		EXPECT_LE(len / pn_page_size(), pn_counter(nodes[i], "allocations") - served);
		munmap(p, len);
		EXPECT_SAME(nodes[!i], before);
	}
}

/* Rows 45, 46: a full one is full, with the other one next to it empty. */
TEST_F_TIMEOUT(second, full, 300)
{
	const int nodes[2] = { self->priv, self->other };
	size_t len = MIB;
	int i;

	for (i = 0; i < 2; i++) {
		struct state before = look(nodes[!i]);
		long exhausted = pn_counter(nodes[i], "exhausted");
		long kills = pn_vmstat("oom_kill");
		struct pn_fault fault;
		char *p;

		ASSERT_EQ(0, fill(self, nodes[i]));
		/* BIND: the signal */
		p = pn_map_bound(len, MPOL_BIND | pn_flag(), NODE_BIT(nodes[i]));
		ASSERT_NE(NULL, p);
		EXPECT_GT(len, pn_touch(p, len, pn_page_size(), &fault));
		EXPECT_EQ(SIGBUS, fault.sig);
		EXPECT_LT(exhausted, pn_counter(nodes[i], "exhausted"));
		munmap(p, len);
		/* PREFERRED: public memory, not the other node's */
		p = pn_map_bound(len, MPOL_PREFERRED | pn_flag(), NODE_BIT(nodes[i]));
		ASSERT_NE(NULL, p);
		EXPECT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
		EXPECT_EQ(0, pn_on_node(p, len, nodes[!i]));
		munmap(p, len);
		EXPECT_SAME(nodes[!i], before);
		EXPECT_EQ(kills, pn_vmstat("oom_kill"));
		munmap(self->filler, self->filled);
		self->filler = NULL;
		pn_settle();
	}
}

/* One policy over both: the nearer one first, then the other, then the signal. */
TEST_F_TIMEOUT(second, both, 300)
{
	size_t len = MIB;
	long pages = len / pn_page_size();
	char *p;

	p = pn_map_bound(len, MPOL_BIND | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(pages, pn_on_node(p, len, self->priv));
	munmap(p, len);
	/* from the home node, if there is one */
	p = pn_map_bound(len, MPOL_BIND | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_set_home_node(p, len, self->other));
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(pages, pn_on_node(p, len, self->other));
	munmap(p, len);

	p = pn_map_bound(len, MPOL_INTERLEAVE | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	madvise(p, len, MADV_NOHUGEPAGE);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(pages / 2, pn_on_node(p, len, self->priv));
	EXPECT_EQ(pages / 2, pn_on_node(p, len, self->other));
	munmap(p, len);

	ASSERT_EQ(0, fill(self, self->priv));
	p = pn_map_bound(len, MPOL_BIND | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(pages, pn_on_node(p, len, self->other));
	munmap(p, len);
	p = pn_map_bound(len, MPOL_INTERLEAVE | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(pages, pn_on_node(p, len, self->other));
	munmap(p, len);
	p = pn_map_bound(len, MPOL_PREFERRED_MANY | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(pages, pn_on_node(p, len, self->other));
	munmap(p, len);
}

/* Different nodes are different policies: mappings of each do not merge. */
TEST_F(second, policies)
{
	size_t len = 64 * pn_page_size();
	char *p = pn_map(2 * len), line[512];
	unsigned long mask;
	int mode;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, pn_mbind(p + len, len, MPOL_BIND | pn_flag(), &self->others, 0));
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR));
	EXPECT_EQ(self->privs, mask);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p + len, MPOL_F_ADDR));
	EXPECT_EQ(self->others, mask);
	ASSERT_EQ(0, pn_numa_maps(p + len, line, sizeof(line)));
	/* The same for both makes them one again. */
	ASSERT_EQ(0, pn_mbind(p, 2 * len, MPOL_BIND | pn_flag(), &self->both, 0));
	EXPECT_EQ(-1, pn_numa_maps(p + len, line, sizeof(line)));
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, pn_mbind(p + len, len, MPOL_BIND | pn_flag(), &self->others, 0));
	ASSERT_EQ(2 * len, pn_touch(p, 2 * len, pn_page_size(), NULL));
	EXPECT_EQ(64, pn_on_node(p, len, self->priv));
	EXPECT_EQ(64, pn_on_node(p + len, len, self->other));
	munmap(p, 2 * len);
}

/*
 * Rows 43, 44, 133: between the two, in each direction, memory moves if both
 * ends are open for it.
 */
TEST_F_TIMEOUT(second, move, 120)
{
	const int nodes[2] = { self->priv, self->other };
	size_t len = 64 * pn_page_size();
	int i;

	for (i = 0; i < 2; i++) {
		int from = nodes[i], to = nodes[!i];
		bool out = pn_has_cap(from, "migrate"), in = pn_has_cap(to, "migrate");
		unsigned long mask = NODE_BIT(to);
		char *p = pn_filled(len, from);
		long left = out && in ? 0 : 64;

		ASSERT_NE(NULL, p);
		if (in) {
			EXPECT_LE(0, pn_move_range(p, len, to, NULL));
		} else {
			EXPECT_EQ(-1, pn_move_range(p, len, to, NULL));
			EXPECT_EQ(ENODEV, errno);
		}
		EXPECT_EQ(left, pn_on_node(p, len, from));
		EXPECT_EQ(64 - left, pn_on_node(p, len, to));
		munmap(p, len);

		p = pn_filled(len, from);
		ASSERT_NE(NULL, p);
		if (in) {
			EXPECT_LE(0, pn_migrate_pages(0, NODE_BIT(from), NODE_BIT(to)));
		} else {
			EXPECT_EQ(-1, pn_migrate_pages(0, NODE_BIT(from), NODE_BIT(to)));
			EXPECT_EQ(ENODEV, errno);
		}
		EXPECT_EQ(left, pn_on_node(p, len, from));
		munmap(p, len);

		/* Where it cannot move, the policy is not changed. */
		p = pn_filled(len, from);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(left ? -1 : 0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &mask,
						  MPOL_MF_MOVE | MPOL_MF_STRICT));
		if (left) {
			EXPECT_EQ(EIO, errno);
		}
		EXPECT_EQ(left, pn_on_node(p, len, from));
		munmap(p, len);

		/* The control: away from it, to ordinary memory */
		p = pn_filled(len, from);
		ASSERT_NE(NULL, p);
		pn_move_range(p, len, self->control, NULL);
		EXPECT_EQ(out ? 0 : 64, pn_on_node(p, len, from));
		munmap(p, len);
	}
}

/* Rows 69, 70, 133: reclaim of one node leaves the other alone. */
TEST_F_TIMEOUT(second, reclaim, 200)
{
	const int nodes[2] = { self->priv, self->other };
	size_t len = 32 * MIB;
	long pages = len / pn_page_size(), scanned[2];
	char *mem[2], *p, path[100];
	int i;

	ASSERT_EQ(0, pn_swap_on(128 * MIB));
	self->swap = true;
	for (i = 0; i < 2; i++) {
		mem[i] = pn_filled(len, nodes[i]);
		ASSERT_NE(NULL, mem[i]);
		scanned[i] = pn_node_vmstat(nodes[i], "pgscan_proactive");
	}
	for (i = 0; i < 2; i++) {
		bool open = pn_has_cap(nodes[i], "reclaim");

		snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/reclaim", nodes[i]);
		EXPECT_EQ(open ? 0 : -1, pn_write_file(path, "16M swappiness=max"));
		EXPECT_EQ(open, pn_node_vmstat(nodes[i], "pgscan_proactive") > scanned[i]);
		EXPECT_EQ(open, pn_on_node(mem[i], len, nodes[i]) < pages);
	}
	for (i = 0; i < 2; i++) {
		bool open = pn_has_cap(nodes[i], "reclaim");

		munmap(mem[i], len);
		mem[i] = pn_filled(len, nodes[i]);
		ASSERT_NE(NULL, mem[i]);
		EXPECT_EQ(0, madvise(mem[i], len, MADV_PAGEOUT));
		EXPECT_EQ(open, pn_on_node(mem[i], len, nodes[i]) < pages / 2);
		munmap(mem[i], len);
	}
	/* The control */
	p = pn_filled(len, self->control);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, madvise(p, len, MADV_PAGEOUT));
	EXPECT_GT(pages / 2, pn_on_node(p, len, self->control));
	munmap(p, len);
}

/*
 * Rows 45, 69, 133: swap space makes room on the node with "reclaim", a
 * mapping over both fills the other one too, which is never scanned.
 */
TEST_F_TIMEOUT(second, overcommitted, 500)
{
	static const char * const names[] = {
		"pgscan_kswapd", "pgscan_direct", "pgsteal_kswapd", "pgsteal_direct",
	};
	size_t len = 48 * MIB, i, wrong = 0, open = 0;
	long before[ARRAY_SIZE(names)], kills = pn_vmstat("oom_kill");
	char *p;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		before[i] = pn_node_vmstat(self->other, names[i]);
	ASSERT_EQ(0, pn_swap_on(256 * MIB));
	self->swap = true;
	if (pn_has_cap(self->priv, "reclaim")) {
		struct state other = look(self->other);
		struct pn_zones zones;

		ASSERT_EQ(0, pn_zones(self->priv, &zones));
		self->filled = (zones.free * pn_page_size() - 8 * MIB) & ~(HUGE_SIZE - 1);
		self->filler = pn_map_bound(self->filled, MPOL_BIND | pn_flag(), self->privs);
		ASSERT_NE(NULL, self->filler);
		madvise(self->filler, self->filled, MADV_HUGEPAGE);
		ASSERT_EQ(self->filled, pn_touch(self->filler, self->filled, HUGE_SIZE, NULL));
		p = pn_map_bound(len, MPOL_BIND | pn_flag(), self->privs);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
		for (i = 0; i < len; i += pn_page_size())
			wrong += *(unsigned long *)(p + i) != (unsigned long)(p + i);
		EXPECT_EQ(0, wrong);
		EXPECT_LT(0, pn_node_vmstat(self->priv, "pgsteal_direct") +
			  pn_node_vmstat(self->priv, "pgsteal_kswapd"));
		EXPECT_SAME(self->other, other);
		munmap(p, len);
		open++;
	}
	EXPECT_EQ(1, open);
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		EXPECT_EQ(before[i], pn_node_vmstat(self->other, names[i])) TH_LOG("%s", names[i]);
	}
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
}

/* Rows 45, 73: what was swapped out comes back to the node that is bound now. */
TEST_F_TIMEOUT(second, swapin, 120)
{
	size_t len = 8 * MIB, i, wrong = 0;
	long pages = len / pn_page_size(), stayed;
	char *p;

	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;
	p = pn_filled(len, self->priv);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, madvise(p, len, MADV_PAGEOUT));
	stayed = pn_on_node(p, len, self->priv);
	EXPECT_GT(pages / 2, stayed);
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->others, 0));
	for (i = 0; i < len; i += pn_page_size())
		wrong += *(unsigned long *)(p + i) != (unsigned long)(p + i);
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(pages, pn_on_node(p, len, self->priv) + pn_on_node(p, len, self->other));
	/* What still was in the swap cache is its owner's as it is. */
	EXPECT_LE(pages / 2, pn_on_node(p, len, self->other));
	munmap(p, len);
}

static long ksm_sharing(void)
{
	long scans = pn_read_long(KSM "full_scans"), shared;
	double deadline = pn_now() + pn_slow(30);

	pn_write_file(KSM "pages_to_scan", "10000");
	pn_write_file(KSM "sleep_millisecs", "0");
	pn_write_file(KSM "run", "1");
	while (pn_read_long(KSM "full_scans") < scans + 4 && pn_now() < deadline)
		poll(NULL, 0, 20);
	shared = pn_read_long(KSM "pages_sharing");
	pn_write_file(KSM "run", "2");
	pn_write_file(KSM "run", "0");
	return shared;
}

/* Rows 92, 133: equal pages of two private nodes stay two pages. */
TEST_F_TIMEOUT(second, ksm, 200)
{
	size_t len = 64 * pn_page_size();
	char *a = pn_filled(len, self->priv), *b = pn_filled(len, self->other);
	char *c = pn_filled(len, self->control);
	long most = 63 + (pn_has_cap(self->priv, "merge") ? 63 : 0) +
		    (pn_has_cap(self->other, "merge") ? 63 : 0);

	ASSERT_NE(NULL, a);
	ASSERT_NE(NULL, b);
	ASSERT_NE(NULL, c);
	memset(a, 0x5a, len);
	memset(b, 0x5a, len);
	memset(c, 0x5a, len);
	ASSERT_EQ(0, madvise(a, len, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(b, len, MADV_MERGEABLE));
	ASSERT_EQ(0, madvise(c, len, MADV_MERGEABLE));
	EXPECT_EQ(most, ksm_sharing());
	EXPECT_EQ(64, pn_on_node(a, len, self->priv));
	EXPECT_EQ(64, pn_on_node(b, len, self->other));
	EXPECT_EQ(64, pn_on_node(c, len, self->control));
	munmap(a, len);
	munmap(b, len);
	munmap(c, len);
}

static int put(const char *dir, const char *name, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return pn_write_file(path, text);
}

struct call {
	const char *group;
	unsigned long mask;
	int err;		/* expected */
};

/* 0: as expected; else the step, or 100 + errno */
static int call_without_cap(struct pn_child *child, void *arg)
{
	struct call *call = arg;
	size_t len = 16 * pn_page_size();
	char *p;

	if (put(call->group, "cgroup.procs", "0") || pn_drop_cap(CAP_SYS_NICE))
		return 1;
	p = pn_map(len);
	if (!p)
		return 2;
	errno = 0;
	pn_mbind(p, len, MPOL_BIND | pn_flag(), &call->mask, 0);
	if (errno != call->err)
		return 100 + errno;
	if (!call->err && pn_touch(p, len, pn_page_size(), NULL) != len)
		return 3;
	if (!call->err && pn_on_node(p, len, __builtin_ctzl(call->mask)) != 16)
		return 4;
	errno = 0;
	pn_set_mempolicy(MPOL_INTERLEAVE | pn_flag(), &call->mask);
	return errno != call->err ? 100 + errno : 0;
}

/* Decision 6, row 46: a grant of one is none of the other. */
TEST_F(second, grant)
{
	const int nodes[2] = { self->priv, self->other };
	char text[8];
	int i, status;

	if (pn_forced())
		SKIP(return, "there is nothing to grant");
	strcpy(self->root, "/tmp/pn_second.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->root));
	ASSERT_EQ(0, mount("pn", self->root, "cgroup2", 0, NULL));
	ASSERT_EQ(0, put(self->root, "cgroup.subtree_control", "+cpuset"));
	snprintf(self->group, sizeof(self->group), "%s/pn_second", self->root);
	ASSERT_EQ(0, mkdir(self->group, 0755));
	for (i = 0; i < 2; i++) {
		struct call mine = { self->group, NODE_BIT(nodes[i]), 0 };
		struct call foreign = { self->group, NODE_BIT(nodes[!i]), EPERM };
		struct call both = { self->group, self->both, EPERM };
		long refused = pn_counter(nodes[i], "refused");
		long others = pn_counter(nodes[!i], "refused");

		snprintf(text, sizeof(text), "%d", nodes[i]);
		ASSERT_EQ(0, put(self->group, "cpuset.mems.private", text));
		status = pn_run(call_without_cap, &mine, 30);
		EXPECT_EQ(0, status) TH_LOG("mine: %d", WEXITSTATUS(status));
		EXPECT_EQ(others, pn_counter(nodes[!i], "refused"));
		status = pn_run(call_without_cap, &foreign, 30);
		EXPECT_EQ(0, status) TH_LOG("foreign: %d", WEXITSTATUS(status));
		/* No refusal of the one is counted at the other. */
		EXPECT_EQ(refused, pn_counter(nodes[i], "refused"));
		EXPECT_LT(others, pn_counter(nodes[!i], "refused"));
		status = pn_run(call_without_cap, &both, 30);
		EXPECT_EQ(0, status) TH_LOG("both: %d", WEXITSTATUS(status));
	}
}

TEST_HARNESS_MAIN
