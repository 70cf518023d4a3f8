// SPDX-License-Identifier: GPL-2.0
/*
 * DAMON and private nodes (row 94): without the capability "damon" none of its
 * actions touches what is there, by virtual or by physical address; with it they
 * act as on any node, but move nothing to or from the node.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "pn_damon.h"
#include "pn_util.h"
#include "kselftest_harness.h"

#define LEN		(8 * MIB)

FIXTURE(damon)
{
	int priv, control, cpu;
	bool swap;
};

FIXTURE_VARIANT(damon)
{
	bool physical;
};

FIXTURE_VARIANT_ADD(damon, virtual) { .physical = false };
FIXTURE_VARIANT_ADD(damon, physical) { .physical = true };

FIXTURE_SETUP(damon)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	self->cpu = pn_cpu_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	if (pn_damon_missing())
		SKIP(return, "no DAMON");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;
}

FIXTURE_TEARDOWN(damon)
{
	if (!self->swap)
		return;
	pn_damon_stop();
	EXPECT_EQ(0, pn_swap_off());
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/*
 * Apply an action to memory that is on the node, or to all of the node, until DAMON
 * has been over that three times. 0 or -1
 */
static int apply(bool physical, const char *action, int target, char *p, int nid)
{
	unsigned long first = (unsigned long)p, end = first + LEN;
	struct pn_zones zones;
	int ret;

	if (physical) {
		if (pn_zones(nid, &zones))
			return -1;
		first = zones.start_pfn * pn_page_size();
		end = zones.end_pfn * pn_page_size();
	}
	ret = pn_damon_start(physical ? 0 : getpid(), action, target, first, end) ||
	      pn_damon_wait(3 * (end - first));
	pn_damon_stop();
	return ret ? -1 : 0;
}

/* How many pages of a mapping that is on the node are there afterwards, or -1 */
static long left_after(bool physical, const char *action, int target, int nid)
{
	char *p = pn_filled(LEN, nid);
	long left = -1;

	if (!p)
		return -1;
	if (!apply(physical, action, target, p, nid))
		left = pn_on_node(p, LEN, nid);
	munmap(p, LEN);
	return left;
}

/* "pageout" */
TEST_F_TIMEOUT(damon, pageout, 200)
{
	long pages = LEN / pn_page_size(), left;

	EXPECT_GT(pages / 2, left_after(variant->physical, "pageout", -1, self->control));
	left = left_after(variant->physical, "pageout", -1, self->priv);
	/* By address it is MADV_PAGEOUT, for which "reclaim" is enough. */
	if (pn_has_cap(self->priv, variant->physical ? "damon" : "reclaim")) {
		EXPECT_GT(pages / 2, left);
	} else {
		EXPECT_EQ(pages, left);
	}
}

/* "migrate_cold" and "migrate_hot" away from the node */
TEST_F_TIMEOUT(damon, migrate_from, 300)
{
	static const char * const actions[] = { "migrate_cold", "migrate_hot" };
	long pages = LEN / pn_page_size();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		EXPECT_GT(pages / 2, left_after(variant->physical, actions[i], self->cpu,
						self->control));
		EXPECT_EQ(pages, left_after(variant->physical, actions[i], self->cpu,
					    self->priv));
	}
}

/* and onto it: DAMON does not know who may use the node. */
TEST_F_TIMEOUT(damon, migrate_to, 300)
{
	static const char * const actions[] = { "migrate_cold", "migrate_hot" };
	long pages = LEN / pn_page_size(), before = pn_allocations(self->priv);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(actions); i++) {
		EXPECT_EQ(pages, left_after(variant->physical, actions[i], self->priv,
					    self->control));
	}
	EXPECT_EQ(before, pn_allocations(self->priv));
	EXPECT_GT(pages / 2, left_after(variant->physical, "migrate_cold", self->cpu,
					self->control));
}

/* Pages that the active list of the node has gained by an action */
static long active_after(const char *action, int nid)
{
	long before, gained = -1000000;
	char *p = pn_filled(LEN, nid);

	if (!p)
		return gained;
	before = pn_node_vmstat(nid, "nr_active_anon");
	if (!apply(true, action, -1, p, nid)) {
		pn_settle();
		gained = pn_node_vmstat(nid, "nr_active_anon") - before;
	}
	munmap(p, LEN);
	return gained;
}

/* "lru_prio" changes what is reclaimed first: that, too, is reclaim's business. */
TEST_F_TIMEOUT(damon, lru_prio, 200)
{
	long pages = LEN / pn_page_size();

	if (!variant->physical)
		SKIP(return, "only physical addresses have this action");
	EXPECT_LT(pages / 2, active_after("lru_prio", self->control));
	if (pn_has_cap(self->priv, "damon")) {
		EXPECT_LT(pages / 2, active_after("lru_prio", self->priv));
	} else {
		EXPECT_EQ(0, active_after("lru_prio", self->priv));
	}
}

TEST_HARNESS_MAIN
