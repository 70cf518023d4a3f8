// SPDX-License-Identifier: GPL-2.0
/*
 * "Nothing leaves either": pages of a private node stay there, and nothing
 * else moves in, whichever migration call is made. Each test does the same
 * between two ordinary nodes first, where the pages must move.
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

#define PAGES	64

FIXTURE(leaving)
{
	int priv, control, cpu;
	char *on_priv, *on_control;
	size_t len;
};

FIXTURE_SETUP(leaving)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	self->cpu = pn_cpu_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->len = PAGES * pn_page_size();
	self->on_priv = pn_map_bound(self->len, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, self->on_priv);
	self->on_control = pn_map_bound(self->len, MPOL_BIND, NODE_BIT(self->control));
	ASSERT_NE(NULL, self->on_control);
	ASSERT_EQ(self->len, pn_touch(self->on_priv, self->len, pn_page_size(), NULL));
	ASSERT_EQ(self->len, pn_touch(self->on_control, self->len, pn_page_size(), NULL));
}

FIXTURE_TEARDOWN(leaving)
{
	if (!self->on_priv)
		return;
	munmap(self->on_priv, self->len);
	munmap(self->on_control, self->len);
}

/* Where all of the pages are, with what was written to them; else -1. */
static int all_on(char *addr)
{
	long count[PN_MAXNODE];
	size_t i;
	int nid;

	for (i = 0; i < PAGES; i++) {
		unsigned long *word = (unsigned long *)(addr + i * pn_page_size());

		if (*word != (unsigned long)word)
			return -1;
	}
	if (pn_count_nodes(addr, PAGES * pn_page_size(), count) != PAGES)
		return -1;
	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (count[nid])
			return count[nid] == PAGES ? nid : -1;
	return -1;
}

static long move_all(char *addr, int nid, int *status)
{
	void *pages[PAGES];
	int nodes[PAGES], i;

	for (i = 0; i < PAGES; i++) {
		pages[i] = addr + i * pn_page_size();
		nodes[i] = nid;
		status[i] = -1000;
	}
	return pn_move_pages(0, PAGES, pages, nodes, status, MPOL_MF_MOVE);
}

/* Row 43: move_pages(2) away from the node leaves the pages where they are. */
TEST_F(leaving, move_pages_from)
{
	int status[PAGES];

	ASSERT_EQ(0, move_all(self->on_control, self->cpu, status));
	EXPECT_EQ(self->cpu, all_on(self->on_control));

	/* The result is the number of pages that were not moved. */
	EXPECT_EQ(PAGES, move_all(self->on_priv, self->cpu, status));
	EXPECT_EQ(self->priv, all_on(self->on_priv));
	EXPECT_NE(self->cpu, status[0]);
}

/* Row 43: "to a private node: ENODEV ... as for any node without memory" */
TEST_F(leaving, move_pages_to)
{
	int status[PAGES];

	EXPECT_EQ(-1, move_all(self->on_control, self->priv, status));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(self->control, all_on(self->on_control));
}

/* "Query mode of move_pages tells the truth about where a page is" */
TEST_F(leaving, move_pages_query)
{
	EXPECT_EQ(self->priv, all_on(self->on_priv));
	EXPECT_EQ(self->control, all_on(self->on_control));
}

/* Row 43: migrate_pages(2) from the node moves nothing. */
TEST_F(leaving, migrate_pages_from)
{
	ASSERT_LE(0, pn_migrate_pages(0, NODE_BIT(self->control), NODE_BIT(self->cpu)));
	EXPECT_EQ(self->cpu, all_on(self->on_control));

	EXPECT_EQ(PAGES, pn_migrate_pages(0, NODE_BIT(self->priv), NODE_BIT(self->cpu)));
	EXPECT_EQ(self->priv, all_on(self->on_priv));
}

/* Row 43: the same of migrate_pages(2) */
TEST_F(leaving, migrate_pages_to)
{
	EXPECT_EQ(-1, pn_migrate_pages(0, NODE_BIT(self->control), NODE_BIT(self->priv)));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(self->control, all_on(self->on_control));
}

/* Row 43: among others it is left out, as a node without memory is. */
TEST_F(leaving, migrate_pages_to_all)
{
	unsigned long all = NODE_BIT(self->cpu) | NODE_BIT(self->priv);

	EXPECT_LE(0, pn_migrate_pages(0, NODE_BIT(self->control), all));
	EXPECT_EQ(self->cpu, all_on(self->on_control));
}

static int migrate_parent(struct pn_child *child, void *arg)
{
	return pn_migrate_pages(getppid(), NODE_BIT(*(int *)arg), NODE_BIT(pn_cpu_node())) < 0;
}

/* Row 43: neither for another process with CAP_SYS_NICE */
TEST_F(leaving, migrate_pages_of_another)
{
	ASSERT_EQ(0, pn_run(migrate_parent, &self->control, 20));
	EXPECT_EQ(self->cpu, all_on(self->on_control));

	pn_run(migrate_parent, &self->priv, 20);
	EXPECT_EQ(self->priv, all_on(self->on_priv));
}

/* Row 44: a new policy with MPOL_MF_MOVE moves nothing out ... */
TEST_F(leaving, mbind_move_from)
{
	unsigned long cpus = NODE_BIT(self->cpu), mask;
	int mode;

	ASSERT_EQ(0, pn_mbind(self->on_control, self->len, MPOL_BIND, &cpus, MPOL_MF_MOVE));
	EXPECT_EQ(self->cpu, all_on(self->on_control));

	pn_mbind(self->on_priv, self->len, MPOL_BIND, &cpus, MPOL_MF_MOVE);
	EXPECT_EQ(self->priv, all_on(self->on_priv));
	pn_mbind(self->on_priv, self->len, MPOL_BIND, &cpus, MPOL_MF_MOVE_ALL);
	EXPECT_EQ(self->priv, all_on(self->on_priv));
	/* ... and with MPOL_MF_STRICT says that it did not. */
	EXPECT_EQ(-1, pn_mbind(self->on_priv, self->len, MPOL_BIND, &cpus,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(self->priv, all_on(self->on_priv));
	/* The policy is the new one all the same, as with any page that stays. */
	EXPECT_EQ(-1, pn_mbind(self->on_priv, self->len, MPOL_INTERLEAVE, &cpus,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, self->on_priv, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_INTERLEAVE, mode);
}

/* Row 44: nor does a policy for the node draw pages in. */
TEST_F(leaving, mbind_move_to)
{
	unsigned long privs = NODE_BIT(self->priv), mask;
	int mode;

	EXPECT_EQ(0, pn_mbind(self->on_control, self->len, MPOL_BIND | pn_flag(), &privs, 0));
	EXPECT_EQ(self->control, all_on(self->on_control));
	pn_mbind(self->on_control, self->len, MPOL_BIND | pn_flag(), &privs, MPOL_MF_MOVE);
	EXPECT_EQ(self->control, all_on(self->on_control));
	EXPECT_EQ(-1, pn_mbind(self->on_control, self->len, MPOL_BIND | pn_flag(), &privs,
			       MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(-1, pn_mbind(self->on_control, self->len, MPOL_BIND | pn_flag(), &privs,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(self->control, all_on(self->on_control));
	/* "the call fails with EIO and the policy is not changed" */
	EXPECT_EQ(-1, pn_mbind(self->on_control, self->len, MPOL_PREFERRED | pn_flag(), &privs,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, self->on_control, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_BIND | pn_flag(), mode);
}

/* Pages that are where the policy wants them satisfy MPOL_MF_STRICT. */
TEST_F(leaving, mbind_strict_in_place)
{
	unsigned long privs = NODE_BIT(self->priv);
	unsigned long both = privs | NODE_BIT(self->control);

	EXPECT_EQ(0, pn_mbind(self->on_priv, self->len, MPOL_BIND | pn_flag(), &privs,
			      MPOL_MF_STRICT));
	EXPECT_EQ(0, pn_mbind(self->on_control, self->len, MPOL_BIND | pn_flag(), &both,
			      MPOL_MF_STRICT));
	EXPECT_EQ(self->priv, all_on(self->on_priv));
}

TEST_HARNESS_MAIN
