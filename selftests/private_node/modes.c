// SPDX-License-Identifier: GPL-2.0
/*
 * The modes of a memory policy with private nodes: which node each page comes
 * from, and what happens when that one is full.
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
#include "kselftest_harness.h"

#define HUGE_SIZE	(2 * MIB)

FIXTURE(modes)
{
	int priv, control;
	unsigned long privs, both;
	char *filler;
	size_t filled;
};

FIXTURE_SETUP(modes)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	self->both = self->privs | NODE_BIT(self->control);
	ASSERT_EQ(0, pn_start_empty(self->priv));
}

FIXTURE_TEARDOWN(modes)
{
	if (self->priv < 0 || self->control < 0)
		return;
	if (self->filler)
		munmap(self->filler, self->filled);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Leave about this much of the private node free. */
static int fill(FIXTURE_DATA(modes) *self, size_t room)
{
	struct pn_zones zones;

	pn_settle();
	if (pn_zones(self->priv, &zones))
		return -1;
	self->filled = (zones.free * pn_page_size() - room) & ~(HUGE_SIZE - 1);
	self->filler = pn_map_bound(self->filled, MPOL_BIND | pn_flag(), self->privs);
	if (!self->filler)
		return -1;
	madvise(self->filler, self->filled, MADV_HUGEPAGE);
	return pn_touch(self->filler, self->filled, HUGE_SIZE, NULL) == self->filled ? 0 : -1;
}

/* What is accepted is reported as it was given. */
TEST_F(modes, reported)
{
	static const struct {
		int mode;
		const char *text;
	} known[] = {
		{ MPOL_PREFERRED_MANY, "prefer (many)=private:" },
		{ MPOL_INTERLEAVE, "interleave=private:" },
	};
	const unsigned long masks[] = { self->privs, self->both };
	char *p = pn_map(MIB), line[512];
	unsigned long mask;
	size_t i, k;
	int mode;

	ASSERT_NE(NULL, p);
	for (i = 0; i < ARRAY_SIZE(known); i++) {
		for (k = 0; k < ARRAY_SIZE(masks); k++) {
			ASSERT_EQ(0, pn_mbind(p, MIB, known[i].mode | pn_flag(), &masks[k], 0));
			ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR));
			EXPECT_EQ(known[i].mode | pn_flag(), mode);
			EXPECT_EQ(masks[k], mask);
			ASSERT_EQ(0, pn_numa_maps(p, line, sizeof(line)));
			EXPECT_NE(NULL, strstr(line, known[i].text)) TH_LOG("%s", line);
		}
	}
	/* Different private nodes, modes: different policies, different mappings */
	ASSERT_EQ(0, pn_mbind(p, MIB / 2, MPOL_INTERLEAVE | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, pn_mbind(p + MIB / 2, MIB / 2, MPOL_PREFERRED_MANY | pn_flag(),
			      &self->privs, 0));
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_INTERLEAVE | pn_flag(), mode);
	munmap(p, MIB);
}

/* Page by page over private and public nodes */
TEST_F(modes, interleave)
{
	size_t len = 64 * pn_page_size(), i;
	char *p = pn_map_bound(len, MPOL_INTERLEAVE | pn_flag(), self->both);
	long count[PN_MAXNODE];
	int first;

	ASSERT_NE(NULL, p);
	/* Backwards: the address decides, not the order of the touches. */
	for (i = len; i; i -= pn_page_size())
		p[i - 1] = 1;
	ASSERT_EQ(64, pn_count_nodes(p, len, count));
	EXPECT_EQ(32, count[self->priv]);
	EXPECT_EQ(32, count[self->control]);
	first = pn_node_of(p);
	for (i = 0; i < 64; i++) {
		EXPECT_EQ(i % 2 == 0, pn_node_of(p + i * pn_page_size()) == first);
	}
	munmap(p, len);

	p = pn_map_bound(len, MPOL_INTERLEAVE | pn_flag(), self->privs);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	ASSERT_EQ(64, pn_count_nodes(p, len, count));
	EXPECT_EQ(64, count[self->priv]);
	munmap(p, len);
}

/* Row 89: and huge page by huge page */
TEST_F(modes, interleave_huge)
{
	char *p = pn_map(9 * HUGE_SIZE), *q;
	long count[PN_MAXNODE];

	ASSERT_NE(NULL, p);
	q = (char *)(((unsigned long)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	ASSERT_EQ(0, pn_mbind(q, 8 * HUGE_SIZE, MPOL_INTERLEAVE | pn_flag(), &self->both, 0));
	madvise(q, 8 * HUGE_SIZE, MADV_HUGEPAGE);
	ASSERT_EQ(8 * HUGE_SIZE, pn_touch(q, 8 * HUGE_SIZE, HUGE_SIZE, NULL));
	ASSERT_LT(0, pn_count_nodes(q, 8 * HUGE_SIZE, count));
	EXPECT_EQ(4 * (long)HUGE_SIZE / pn_page_size(), count[self->priv]);
	EXPECT_EQ(4 * (long)HUGE_SIZE / pn_page_size(), count[self->control]);
	munmap(p, 9 * HUGE_SIZE);
}

/* "a full node is skipped" */
TEST_F_TIMEOUT(modes, interleave_full_node, 200)
{
	size_t len = 48 * MIB;
	long count[PN_MAXNODE];
	char *p;

	ASSERT_EQ(0, fill(self, 12 * MIB));
	p = pn_map_bound(len, MPOL_INTERLEAVE | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	ASSERT_EQ((long)len / pn_page_size(), pn_count_nodes(p, len, count));
	EXPECT_EQ((long)len / pn_page_size(), count[self->priv] + count[self->control]);
	EXPECT_LT(0, count[self->priv]);
	EXPECT_GT(count[self->control], count[self->priv]);
	munmap(p, len);
}

/* "none left: as BIND" */
TEST_F_TIMEOUT(modes, interleave_exhausted, 200)
{
	long kills = pn_vmstat("oom_kill");
	size_t len = 32 * MIB;
	struct pn_fault fault;
	char *p;

	ASSERT_EQ(0, fill(self, 8 * MIB));
	p = pn_map_bound(len, MPOL_INTERLEAVE | pn_flag(), self->privs);
	ASSERT_NE(NULL, p);
	EXPECT_GT(len, pn_touch(p, len, pn_page_size(), &fault));
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(BUS_ADRERR, fault.code);
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
	munmap(p, len);
}

/* "the named nodes first, then public memory" */
TEST_F_TIMEOUT(modes, preferred_many, 200)
{
	size_t len = 4 * MIB, more = 48 * MIB;
	long pages = len / pn_page_size(), count[PN_MAXNODE];
	char *p = pn_map_bound(len, MPOL_PREFERRED_MANY | pn_flag(), self->privs);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	ASSERT_EQ(pages, pn_count_nodes(p, len, count));
	EXPECT_EQ(pages, count[self->priv]);
	munmap(p, len);

	ASSERT_EQ(0, fill(self, 12 * MIB));
	p = pn_map_bound(more, MPOL_PREFERRED_MANY | pn_flag(), self->privs);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(more, pn_touch(p, more, pn_page_size(), NULL));
	ASSERT_EQ((long)more / pn_page_size(), pn_count_nodes(p, more, count));
	EXPECT_LT(0, count[self->priv]);
	EXPECT_GT((long)more / pn_page_size(), count[self->priv]);
	munmap(p, more);

	/* With a public node among them, that one before the others */
	p = pn_map_bound(more, MPOL_PREFERRED_MANY | pn_flag(), self->both);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(more, pn_touch(p, more, pn_page_size(), NULL));
	ASSERT_EQ((long)more / pn_page_size(), pn_count_nodes(p, more, count));
	EXPECT_EQ((long)more / pn_page_size(), count[self->priv] + count[self->control]);
	munmap(p, more);
}

static int task_interleave(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(modes) *self = arg;
	size_t len = 64 * pn_page_size();
	long count[PN_MAXNODE];
	char *p, *shared;

	pn_prefault_stack();
	if (pn_set_mempolicy(MPOL_INTERLEAVE | pn_flag(), &self->both))
		return 1;
	p = pn_map(len);
	shared = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!p || shared == MAP_FAILED || pn_touch(p, len, pn_page_size(), NULL) != len)
		return 2;
	if (pn_count_nodes(p, len, count) != 64 || count[self->priv] != 32)
		return 3;
	/* What is shared follows the public part. */
	if (pn_touch(shared, len, pn_page_size(), NULL) != len)
		return 4;
	return pn_count_nodes(shared, len, count) == 64 && !count[self->priv] ? 0 : 5;
}

static int next_node(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(modes) *self = arg;
	unsigned long public = self->both & ~self->privs;
	int node = -1;

	if (pn_set_mempolicy(MPOL_INTERLEAVE, &public) ||
	    pn_get_mempolicy(&node, NULL, NULL, MPOL_F_NODE) || NODE_BIT(node) != public)
		return 1;
	if (pn_set_mempolicy(MPOL_INTERLEAVE | pn_flag(), &self->both))
		return 2;
	return pn_get_mempolicy(&node, NULL, NULL, MPOL_F_NODE) == -1 && errno == EINVAL ? 0 : 3;
}

/* Private nodes are interleaved by address: there is no next node to tell. */
TEST_F(modes, next_node)
{
	int status = pn_run(next_node, self, 30);

	EXPECT_EQ(0, status) TH_LOG("exit status %d", WEXITSTATUS(status));
}

TEST_F(modes, task_policy)
{
	int status = pn_run(task_interleave, self, 30);

	EXPECT_EQ(0, status) TH_LOG("exit status %d", WEXITSTATUS(status));
}

TEST_HARNESS_MAIN
