// SPDX-License-Identifier: GPL-2.0
/*
 * DAMON and private nodes (row 94): without the capability "damon" none of its
 * actions touches what is there, by virtual or by physical address; with it they
 * act as on any node, but move nothing to or from the node.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define ADMIN		"/sys/kernel/mm/damon/admin/kdamonds/"
#define CONTEXT		"0/contexts/0/"
#define SCHEME		CONTEXT "schemes/0/"
#define LEN		(8 * MIB)

static int set(const char *name, const char *fmt, ...)
{
	char path[200], text[64];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), ADMIN "%s", name);
	if (!pn_write_file(path, text))
		return 0;
	pn_note("cannot write %s to %s: %s", text, path, strerror(errno));
	return -1;
}

static long get(const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), ADMIN "%s", name);
	return pn_read_long(path);
}

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
	if (access(ADMIN, F_OK))
		SKIP(return, "no DAMON");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;
}

FIXTURE_TEARDOWN(damon)
{
	if (!self->swap)
		return;
	pn_write_file(ADMIN "0/state", "off");
	pn_write_file(ADMIN "nr_kdamonds", "0");
	EXPECT_EQ(0, pn_swap_off());
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Apply an action to memory that is on the node, or to all of the node. */
static int start(bool physical, const char *action, int target, char *p, int nid)
{
	struct pn_zones zones;
	unsigned long first = (unsigned long)p, end = first + LEN;

	if (physical) {
		if (pn_zones(nid, &zones))
			return -1;
		first = zones.start_pfn * pn_page_size();
		end = zones.end_pfn * pn_page_size();
	}
	if (set("nr_kdamonds", "1") || set("0/contexts/nr_contexts", "1") ||
	    set(CONTEXT "operations", physical ? "paddr" : "fvaddr") ||
	    set(CONTEXT "monitoring_attrs/intervals/sample_us", "5000") ||
	    set(CONTEXT "monitoring_attrs/intervals/aggr_us", "50000") ||
	    set(CONTEXT "targets/nr_targets", "1") ||
	    (!physical && set(CONTEXT "targets/0/pid_target", "%d", getpid())) ||
	    set(CONTEXT "targets/0/regions/nr_regions", "1") ||
	    set(CONTEXT "targets/0/regions/0/start", "%lu", first) ||
	    set(CONTEXT "targets/0/regions/0/end", "%lu", end) ||
	    set(CONTEXT "schemes/nr_schemes", "1") ||
	    set(SCHEME "action", "%s", action) ||
	    (target >= 0 && set(SCHEME "target_nid", "%d", target)) ||
	    set(SCHEME "access_pattern/sz/max", "%lu", ~0UL) ||
	    set(SCHEME "access_pattern/nr_accesses/max", "%u", ~0U) ||
	    set(SCHEME "access_pattern/age/max", "%u", ~0U))
		return -1;
	return set("0/state", "on");
}

/*
 * Let it act until it has been over the range three times. Returns how many
 * pages of the mapping are on the node then.
 */
static long left_after(bool physical, const char *action, int target, int nid)
{
	char *p = pn_filled(LEN, nid);
	double deadline = pn_now() + pn_slow(30);
	unsigned long want = 3 * LEN;
	struct pn_zones zones;
	long left = -1;

	if (!p || pn_zones(nid, &zones))
		return -1;
	if (physical)
		want = 3 * (zones.end_pfn - zones.start_pfn) * pn_page_size();
	if (start(physical, action, target, p, nid))
		goto out;
	do {
		poll(NULL, 0, 50);
		if (set("0/state", "update_schemes_stats"))
			goto out;
	} while ((unsigned long)get(SCHEME "stats/sz_tried") < want && pn_now() < deadline);
	if ((unsigned long)get(SCHEME "stats/sz_tried") < want) {
		pn_note("%s: DAMON tried %ld bytes in all", action, get(SCHEME "stats/sz_tried"));
		goto out;
	}
	left = pn_on_node(p, LEN, nid);
out:
	set("0/state", "off");
	set("nr_kdamonds", "0");
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

/* Pages in the active list of the node after an action */
static long active_after(const char *action, int nid)
{
	char *p = pn_filled(LEN, nid);
	double deadline = pn_now() + pn_slow(30);
	struct pn_zones zones;
	unsigned long want;
	long before, gained = -1000000;

	if (!p || pn_zones(nid, &zones))
		return gained;
	want = 3 * (zones.end_pfn - zones.start_pfn) * pn_page_size();
	before = pn_node_vmstat(nid, "nr_active_anon");
	if (!start(true, action, -1, p, nid)) {
		do {
			poll(NULL, 0, 50);
			set("0/state", "update_schemes_stats");
		} while ((unsigned long)get(SCHEME "stats/sz_tried") < want && pn_now() < deadline);
		pn_settle();
		if ((unsigned long)get(SCHEME "stats/sz_tried") >= want)
			gained = pn_node_vmstat(nid, "nr_active_anon") - before;
	}
	set("0/state", "off");
	set("nr_kdamonds", "0");
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
