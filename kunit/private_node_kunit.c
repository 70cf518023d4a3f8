// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of private memory nodes: what they are to the page allocator and
 * to memory policies. They run on the live allocator of a machine that has a
 * private node, booted with private_node= for instance, and are skipped where
 * there is none. What user space can see and provoke is tested by
 * tools/testing/selftests/private_node.
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <kunit/visibility.h>
#include <linux/cpuset.h>
#include <linux/device.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/irq.h>
#include <linux/irq_work.h>
#include <linux/memory.h>
#include <linux/mempolicy.h>
#include <linux/mm.h>
#include <linux/page-isolation.h>
#include <linux/panic.h>
#include <linux/private_node.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "../internal.h"
#include "../page_alloc.h"
#include "../private_node.h"

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");

struct private_node_ctx {
	int nid;	/* the private node */
	int control;	/* a public node, without CPUs if there is one */
	unsigned long taint;
};

static int private_node_test_init(struct kunit *test)
{
	struct private_node_ctx *ctx;
	int nid;

	ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx);
	test->priv = ctx;
	ctx->taint = get_taint();

	ctx->nid = first_node(node_states[N_PRIVATE]);
	ctx->control = first_node(node_states[N_MEMORY]);
	for_each_node_state(nid, N_MEMORY)
		if (!node_state(nid, N_CPU))
			ctx->control = nid;
	return 0;
}

static void private_node_test_exit(struct kunit *test)
{
	struct private_node_ctx *ctx = test->priv;

	/* Warnings taint: the assertion in the allocator is one of them */
	if (ctx)
		KUNIT_EXPECT_EQ(test, get_taint() & BIT(TAINT_WARN),
				ctx->taint & BIT(TAINT_WARN));
}

/* The private node to test, or the end of the test where there is none */
static int private_nid(struct kunit *test)
{
	struct private_node_ctx *ctx = test->priv;

	if (ctx->nid >= MAX_NUMNODES)
		kunit_skip(test, "no private node: boot with private_node=");
	return ctx->nid;
}

static int control_nid(struct kunit *test)
{
	return ((struct private_node_ctx *)test->priv)->control;
}

/* Pages of a node that are in use, and not on any CPU's list of free pages */
static unsigned long used_pages(int nid)
{
	unsigned long used = 0;
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++) {
		struct zone *zone = &NODE_DATA(nid)->node_zones[i];

		if (!populated_zone(zone))
			continue;
		drain_all_pages(zone);
		used += zone_managed_pages(zone) -
			zone_page_state_snapshot(zone, NR_FREE_PAGES);
	}
	return used;
}

/*
 * Values of the boot option.
 */
struct parse_case {
	const char *arg;
	int ret;
	int nid;
	const char *caps;
};

static const struct parse_case parse_cases[] = {
	{ "0", 0, 0, NULL },
	{ "3", 0, 3, NULL },
	{ "03", 0, 3, NULL },
	{ "3:reclaim", 0, 3, "reclaim" },
	{ "3:reclaim,pin", 0, 3, "reclaim,pin" },
	{ "3::", 0, 3, ":" },
	{ "", -EINVAL },
	{ ":", -EINVAL },
	{ "3:", -EINVAL },
	{ ":reclaim", -EINVAL },
	{ "-1", -EINVAL },
	{ "+1", -EINVAL },
	{ " 1", -EINVAL },
	{ "1 ", -EINVAL },
	{ "0x3", -EINVAL },
	{ "3,4", -EINVAL },
	{ "three", -EINVAL },
	{ "99999", -EINVAL },
	{ "4294967299", -EINVAL },
	{ "18446744073709551619", -EINVAL },
};

static void parse_case_desc(const struct parse_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "'%s'", c->arg);
}

KUNIT_ARRAY_PARAM(parse, parse_cases, parse_case_desc);

static void private_node_test_parse(struct kunit *test)
{
	const struct parse_case *c = test->param_value;
	const char *caps = "unset";
	int nid = -42;

	KUNIT_EXPECT_EQ(test, private_node_parse(c->arg, &nid, &caps), c->ret);
	if (c->ret) {
		KUNIT_EXPECT_EQ(test, nid, -42);
		KUNIT_EXPECT_STREQ(test, caps, "unset");
		return;
	}
	KUNIT_EXPECT_EQ(test, nid, c->nid);
	if (c->caps)
		KUNIT_EXPECT_STREQ(test, caps, c->caps);
	else
		KUNIT_EXPECT_NULL(test, caps);
}

static void private_node_test_parse_limit(struct kunit *test)
{
	const char *caps;
	char arg[16];
	int nid;

	snprintf(arg, sizeof(arg), "%d", MAX_NUMNODES - 1);
	KUNIT_EXPECT_EQ(test, private_node_parse(arg, &nid, &caps), 0);
	KUNIT_EXPECT_EQ(test, nid, MAX_NUMNODES - 1);
	snprintf(arg, sizeof(arg), "%d", MAX_NUMNODES);
	KUNIT_EXPECT_EQ(test, private_node_parse(arg, &nid, &caps), -EINVAL);
}

/*
 * Row 129: lists of capabilities, and which go together.
 */
struct caps_case {
	const char *list;
	int ret;
	unsigned int caps;
};

static const struct caps_case caps_cases[] = {
	{ "reclaim", 0, PRIVATE_NODE_RECLAIM },
	{ "migrate", 0, PRIVATE_NODE_MIGRATE },
	{ "compaction", 0, PRIVATE_NODE_COMPACTION },
	{ "pin", 0, PRIVATE_NODE_PIN },
	{ "offline", 0, PRIVATE_NODE_OFFLINE },
	{ "merge", 0, PRIVATE_NODE_MERGE },
	{ "collapse", 0, PRIVATE_NODE_COLLAPSE },
	{ "balancing,migrate", 0, PRIVATE_NODE_BALANCING | PRIVATE_NODE_MIGRATE },
	{ "reclaim,damon", 0, PRIVATE_NODE_RECLAIM | PRIVATE_NODE_DAMON },
	{ "pin,pin", 0, PRIVATE_NODE_PIN },
	{ "pin\n", 0, PRIVATE_NODE_PIN },
	{ "balancing", -EINVAL },
	{ "damon", -EINVAL },
	{ "damon,migrate", -EINVAL },
	{ "", -EINVAL },
	{ "\n", -EINVAL },
	{ "all", -EINVAL },
	{ "Pin", -EINVAL },
	{ "pi", -EINVAL },
	{ "pinn", -EINVAL },
	{ ",pin", -EINVAL },
	{ "pin,", -EINVAL },
	{ "pin,,offline", -EINVAL },
	{ "pin, offline", -EINVAL },
	{ "pin\noffline", -EINVAL },
	{ "demotion", -EINVAL },
};

static void caps_case_desc(const struct caps_case *c, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "'%s'", c->list);
	strreplace(desc, '\n', '|');
}

KUNIT_ARRAY_PARAM(caps, caps_cases, caps_case_desc);

static void private_node_test_parse_caps(struct kunit *test)
{
	const struct caps_case *c = test->param_value;
	unsigned int caps = ~0U;

	KUNIT_EXPECT_EQ(test, private_node_parse_caps(c->list, &caps), c->ret);
	KUNIT_EXPECT_EQ(test, caps, c->ret ? ~0U : c->caps);
}

static void private_node_test_check_caps(struct kunit *test)
{
	unsigned int caps, again;
	char text[PRIVATE_NODE_CAPS_LEN];
	int good = 0, len;

	for (caps = 0; caps < BIT(PRIVATE_NODE_NR_CAPS); caps++) {
		bool wanted = true;

		if ((caps & PRIVATE_NODE_BALANCING) && !(caps & PRIVATE_NODE_MIGRATE))
			wanted = false;
		if ((caps & PRIVATE_NODE_DAMON) && !(caps & PRIVATE_NODE_RECLAIM))
			wanted = false;
		if (private_node_check_caps(caps) != (wanted ? 0 : -EINVAL))
			KUNIT_FAIL(test, "capabilities %#x", caps);

		/* What is printed reads the same again, and always fits */
		len = private_node_print_caps(text, sizeof(text), caps);
		KUNIT_EXPECT_EQ(test, len, strlen(text));
		KUNIT_EXPECT_LT(test, len, sizeof(text) - 1);
		if (!wanted || !caps)
			continue;
		good++;
		KUNIT_EXPECT_EQ(test, private_node_parse_caps(text, &again), 0);
		KUNIT_EXPECT_EQ(test, again, caps);
	}
	/* Of each pair three of the four combinations, less the empty set */
	KUNIT_EXPECT_EQ(test, good, 3 * 3 * 32 - 1);
	KUNIT_EXPECT_EQ(test, private_node_check_caps(BIT(PRIVATE_NODE_NR_CAPS)), -EINVAL);
	KUNIT_EXPECT_EQ(test, private_node_check_caps(BIT(31)), -EINVAL);
	KUNIT_EXPECT_EQ(test, private_node_caps(0), 0);
}

/*
 * Rows 1 to 3: the states.
 */
static void private_node_test_states(struct kunit *test)
{
	int nid = private_nid(test), n;

	KUNIT_EXPECT_TRUE(test, node_is_private(nid));
	KUNIT_EXPECT_TRUE(test, private_node_registered(nid));
	for_each_node(n) {
		if (!node_is_private(n))
			continue;
		KUNIT_EXPECT_FALSE(test, node_state(n, N_MEMORY));
		KUNIT_EXPECT_FALSE(test, node_state(n, N_NORMAL_MEMORY));
		KUNIT_EXPECT_FALSE(test, node_state(n, N_HIGH_MEMORY));
		KUNIT_EXPECT_GT(test, NODE_DATA(n)->node_present_pages, 0);
		/* No daemons: nobody has anything to do there */
		KUNIT_EXPECT_NULL(test, NODE_DATA(n)->kswapd);
#ifdef CONFIG_COMPACTION
		KUNIT_EXPECT_NULL(test, NODE_DATA(n)->kcompactd);
#endif
	}
	KUNIT_EXPECT_FALSE(test, node_is_private(control_nid(test)));
	KUNIT_EXPECT_FALSE(test, private_node_registered(control_nid(test)));
}

/*
 * Rows 6 to 10: the zonelists.
 */
static void private_node_test_zonelists(struct kunit *test)
{
	int nid, type;

	private_nid(test);
	for_each_node(nid) {
		for (type = 0; type < MAX_ZONELISTS; type++) {
			struct zoneref *z = NODE_DATA(nid)->node_zonelists[type]._zonerefs;
			nodemask_t seen = NODE_MASK_NONE;

			for (; z->zone; z++)
				node_set(zone_to_nid(z->zone), seen);
			KUNIT_EXPECT_FALSE_MSG(test,
					       nodes_intersects(seen, node_states[N_PRIVATE]),
					       "node %d, list %d: %*pbl", nid, type,
					       nodemask_pr_args(&seen));
			if (type == ZONELIST_FALLBACK)
				KUNIT_EXPECT_TRUE_MSG(test,
						      nodes_equal(seen, node_states[N_MEMORY]),
						      "node %d: fallback to %*pbl", nid,
						      nodemask_pr_args(&seen));
			else if (node_state(nid, N_MEMORY))
				KUNIT_EXPECT_EQ(test, nodes_weight(seen), 1);
			else
				KUNIT_EXPECT_EQ(test, nodes_weight(seen), 0);
		}
	}
}

/* The way out of a private node leads to the nearest public node first */
static void private_node_test_fallback_order(struct kunit *test)
{
	int nid = private_nid(test), last = -1, n;
	struct zoneref *z = NODE_DATA(nid)->node_zonelists[ZONELIST_FALLBACK]._zonerefs;
	nodemask_t seen = NODE_MASK_NONE;

	KUNIT_ASSERT_NOT_NULL(test, z->zone);
	for (; z->zone; z++) {
		n = zone_to_nid(z->zone);
		if (n == last)
			continue;
		KUNIT_EXPECT_FALSE(test, node_isset(n, seen));
		if (last >= 0)
			KUNIT_EXPECT_LE(test, node_distance(nid, last),
					node_distance(nid, n));
		node_set(n, seen);
		last = n;
	}
}

static void private_node_test_own_zonelist(struct kunit *test)
{
	int nid = private_nid(test), n;

	for_each_node(n) {
		struct zonelist *zonelist = private_node_zonelist(n);
		unsigned long present = 0;
		int prev = MAX_NR_ZONES;
		struct zoneref *z;

		if (!node_is_private(n)) {
			KUNIT_EXPECT_NULL(test, zonelist);
			continue;
		}
		KUNIT_ASSERT_NOT_NULL(test, zonelist);
		for (z = zonelist->_zonerefs; z->zone; z++) {
			KUNIT_EXPECT_EQ(test, zone_to_nid(z->zone), n);
			KUNIT_EXPECT_EQ(test, z->zone_idx, zone_idx(z->zone));
			KUNIT_EXPECT_LT(test, z->zone_idx, prev);
			prev = z->zone_idx;
			present += z->zone->present_pages;
		}
		KUNIT_EXPECT_EQ(test, present, NODE_DATA(n)->node_present_pages);
	}
	KUNIT_EXPECT_PTR_NE(test, private_node_zonelist(nid), NULL);
}

static void walk_zonelist(struct kunit *test, struct zonelist *zonelist)
{
	unsigned int nbits = min(nr_node_ids, 6U), mask, n;
	int zoneidx;

	for (zoneidx = 0; zoneidx < MAX_NR_ZONES; zoneidx++) {
		for (mask = 0; mask < BIT(nbits); mask++) {
			nodemask_t nodes = NODE_MASK_NONE;
			struct zoneref *z;

			for (n = 0; n < nbits; n++)
				if (mask & BIT(n))
					node_set(n, nodes);
			z = first_zones_zonelist(zonelist, zoneidx,
						 mask ? &nodes : NULL);
			n = z->zone ? zone_to_nid(z->zone) : 0;
			KUNIT_ASSERT_TRUE(test, !z->zone || !node_is_private(n));
		}
	}
}

/* No nodemask and no zone limit makes an ordinary zonelist lead to the node */
static void private_node_test_first_zones(struct kunit *test)
{
	int nid, type;

	private_nid(test);
	for_each_online_node(nid)
		for (type = 0; type < MAX_ZONELISTS; type++)
			walk_zonelist(test, &NODE_DATA(nid)->node_zonelists[type]);
}

/* Row 126: what is near a private node is a public node */
static void private_node_test_local_memory(struct kunit *test)
{
	int nid = private_nid(test), cpu;

	if (IS_ENABLED(CONFIG_HAVE_MEMORYLESS_NODES))
		KUNIT_EXPECT_TRUE(test, node_state(local_memory_node(nid), N_MEMORY));
	for_each_possible_cpu(cpu)
		KUNIT_EXPECT_FALSE(test, node_is_private(cpu_to_mem(cpu)));
}

/*
 * Rows 11 and 12: every way to allocate, told to use the private node. The
 * same call for a public node gets its memory from there, so the test can see
 * what it looks for.
 */
struct alloc_api {
	const char *name;
	bool takes_mask;
	/* the node of the memory that was got and freed, or NUMA_NO_NODE */
	int (*nid_of)(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask);
};

static int free_and_nid(struct page *page, unsigned int order)
{
	int nid = NUMA_NO_NODE;

	if (page) {
		nid = page_to_nid(page);
		__free_pages(page, order);
	}
	return nid;
}

static int api_alloc_pages_node(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	return free_and_nid(alloc_pages_node(nid, gfp, order), order);
}

static int api_alloc_pages(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	return free_and_nid(__alloc_pages(gfp, order, nid, mask, ALLOC_DEFAULT), order);
}

static int api_folio_alloc(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	struct folio *folio = __folio_alloc(gfp, order, nid, mask);
	int got = NUMA_NO_NODE;

	if (folio) {
		got = folio_nid(folio);
		folio_put(folio);
	}
	return got;
}

static int api_alloc_pages_exact(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	void *p = alloc_pages_exact_nid(nid, PAGE_SIZE << order, gfp);
	int got = NUMA_NO_NODE;

	if (p) {
		got = page_to_nid(virt_to_page(p));
		free_pages_exact(p, PAGE_SIZE << order);
	}
	return got;
}

static int api_alloc_bulk(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	struct page *pages[16] = { };
	unsigned long i, nr = min(1UL << order, ARRAY_SIZE(pages));
	int got = NUMA_NO_NODE;

	nr = alloc_pages_bulk_noprof(gfp, nid, mask, nr, pages);
	for (i = 0; i < nr; i++) {
		/* A private page anywhere in the array is what counts */
		if (got == NUMA_NO_NODE || node_is_private(page_to_nid(pages[i])))
			got = page_to_nid(pages[i]);
		__free_page(pages[i]);
	}
	return got;
}

static int api_alloc_nolock(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	struct page *page = alloc_pages_nolock(gfp & __GFP_ACCOUNT, nid, order);
	int got = NUMA_NO_NODE;

	if (page) {
		got = page_to_nid(page);
		free_pages_nolock(page, order);
	}
	return got;
}

static int api_kmalloc(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	void *p = kmalloc_node(8UL << (order + 2), gfp, nid), *large;
	int got = NUMA_NO_NODE;

	if (p)
		got = page_to_nid(virt_to_page(p));
	large = kmalloc_node(PAGE_SIZE << order, gfp, nid);
	if (large && (!p || node_is_private(page_to_nid(virt_to_page(large)))))
		got = page_to_nid(virt_to_page(large));
	kfree(p);
	kfree(large);
	return got;
}

static int api_vmalloc(gfp_t gfp, unsigned int order, int nid, nodemask_t *mask)
{
	void *p = __vmalloc_node(PAGE_SIZE << order, 1, gfp, nid, NULL);
	int got = NUMA_NO_NODE;
	unsigned long i;

	if (!p)
		return got;
	for (i = 0; i < 1UL << order; i++) {
		int n = page_to_nid(vmalloc_to_page(p + i * PAGE_SIZE));

		if (!i || node_is_private(n))
			got = n;
	}
	vfree(p);
	return got;
}

static const struct alloc_api alloc_apis[] = {
	{ "alloc_pages_node", false, api_alloc_pages_node },
	{ "__alloc_pages", true, api_alloc_pages },
	{ "__folio_alloc", true, api_folio_alloc },
	{ "alloc_pages_exact_nid", false, api_alloc_pages_exact },
	{ "alloc_pages_bulk", true, api_alloc_bulk },
	{ "alloc_pages_nolock", false, api_alloc_nolock },
	{ "kmalloc_node", false, api_kmalloc },
	{ "vmalloc_node", false, api_vmalloc },
};

static void alloc_api_desc(const struct alloc_api *api, char *desc)
{
	strscpy(desc, api->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(alloc, alloc_apis, alloc_api_desc);

static const gfp_t alloc_gfps[] = {
	GFP_KERNEL,
	GFP_ATOMIC,
	GFP_NOWAIT,
	GFP_KERNEL_ACCOUNT,
	GFP_KERNEL | __GFP_ZERO,
	GFP_KERNEL | __GFP_MEMALLOC,
	GFP_KERNEL | __GFP_NOFAIL,
	GFP_DMA32,
	GFP_USER,
	GFP_HIGHUSER_MOVABLE,
	GFP_TRANSHUGE,
};

/* Which gfp flags an interface takes at all */
static bool gfp_fits(const struct alloc_api *api, gfp_t gfp, unsigned int order)
{
	if (api->nid_of == api_kmalloc || api->nid_of == api_vmalloc) {
		if (gfp & (__GFP_HIGHMEM | __GFP_MOVABLE | __GFP_COMP | GFP_DMA32))
			return false;
		if (api->nid_of == api_vmalloc && !(gfp & __GFP_DIRECT_RECLAIM))
			return false;
	}
	if (api->nid_of == api_alloc_pages_exact &&
	    (gfp & (__GFP_HIGHMEM | __GFP_COMP)))
		return false;
	return !(gfp & __GFP_NOFAIL) || order <= 1;
}

/* What private_node_test_alloc() hands down */
struct alloc_run {
	const struct alloc_api *api;
	int nid;
	unsigned int calls;
};

/* All masks, with and without __GFP_THISNODE, for one order and gfp */
static void alloc_masks(struct kunit *test, struct alloc_run *run,
			unsigned int order, gfp_t gfp)
{
	const struct alloc_api *api = run->api;
	nodemask_t only = nodemask_of_node(run->nid), all;
	nodemask_t *masks[3] = { NULL, &only, &all };
	unsigned int m, thisnode;

	nodes_or(all, node_states[N_MEMORY], only);

	for (m = 0; m < (api->takes_mask ? 3 : 1); m++) {
		for (thisnode = 0; thisnode < 2; thisnode++) {
			gfp_t f = gfp | (thisnode ? __GFP_THISNODE : 0);
			int got;

			/* As on a node without memory, it never ends */
			if ((gfp & __GFP_NOFAIL) && (thisnode || m == 1))
				continue;
			/* These two drop __GFP_THISNODE */
			if (thisnode && (api->nid_of == api_alloc_nolock ||
					 api->nid_of == api_vmalloc))
				continue;

			got = api->nid_of(f, order, run->nid, masks[m]);
			run->calls++;
			KUNIT_ASSERT_FALSE_MSG(test, got >= 0 && node_is_private(got),
					       "node %d for order %u, gfp %pGg, mask %u",
					       got, order, &f, m);
			/* Slab has objects of its own, and drops the flag */
			if (thisnode && api->nid_of != api_kmalloc)
				KUNIT_EXPECT_EQ_MSG(test, got, NUMA_NO_NODE,
						    "order %u, gfp %pGg, mask %u",
						    order, &f, m);
		}
	}
}

static void private_node_test_alloc(struct kunit *test)
{
	const struct alloc_api *api = test->param_value;
	struct alloc_run run = { .api = api, .nid = private_nid(test) };
	unsigned int order, g, control_hits = 0, flags;
	unsigned long used = used_pages(run.nid);
	int control = control_nid(test), got;

	for (order = 0; order <= MAX_PAGE_ORDER; order++) {
		for (g = 0; g < ARRAY_SIZE(alloc_gfps); g++) {
			gfp_t gfp = alloc_gfps[g];

			if (!gfp_fits(api, gfp, order))
				continue;
			if (!(gfp & __GFP_NOFAIL))
				gfp |= __GFP_NOWARN | __GFP_NORETRY;
			alloc_masks(test, &run, order, gfp);
			got = api->nid_of(gfp, order, control, NULL);
			control_hits += got == control;
		}
	}

	/* Row 12: with access to reserves, every check but the list is off */
	flags = memalloc_noreclaim_save();
	got = api->nid_of(GFP_KERNEL | __GFP_NOWARN, 0, run.nid, NULL);
	memalloc_noreclaim_restore(flags);
	KUNIT_EXPECT_FALSE(test, got >= 0 && node_is_private(got));

	KUNIT_EXPECT_GT(test, run.calls, 0);
	KUNIT_EXPECT_GT(test, control_hits, 0);
	KUNIT_EXPECT_EQ(test, used_pages(run.nid), used);
}

/* Row 19: contiguous ranges are looked for in ordinary zonelists, too */
static void private_node_test_alloc_contig(struct kunit *test)
{
#ifdef CONFIG_CONTIG_ALLOC
	int nid = private_nid(test);
	nodemask_t only = nodemask_of_node(nid);
	struct page *page;

	page = alloc_contig_pages(512, GFP_KERNEL | __GFP_NOWARN, nid, &only);
	KUNIT_EXPECT_NULL(test, page);
	if (page)
		free_contig_range(page_to_pfn(page), 512);
#else
	kunit_skip(test, "no CONFIG_CONTIG_ALLOC");
#endif
}

/* Row 14: in an interrupt neither cpuset nor policy stands in the way */
struct irq_alloc {
	struct irq_work work;
	struct completion done;
	int nid;
	int got;
	int got_thisnode;
};

static void irq_alloc_fn(struct irq_work *work)
{
	struct irq_alloc *a = container_of(work, struct irq_alloc, work);

	a->got = api_alloc_pages_node(GFP_ATOMIC | __GFP_NOWARN, 0, a->nid, NULL);
	a->got_thisnode = api_alloc_pages_node(GFP_ATOMIC | __GFP_NOWARN |
					       __GFP_THISNODE, 0, a->nid, NULL);
	complete(&a->done);
}

static void private_node_test_alloc_irq(struct kunit *test)
{
	struct irq_alloc *a = kunit_kzalloc(test, sizeof(*a), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, a);
	a->nid = private_nid(test);
	init_completion(&a->done);
	/* not _HARD: zone->lock is a sleeping lock for PREEMPT_RT */
	a->work = IRQ_WORK_INIT(irq_alloc_fn);
	/* and it is taken */
	drain_all_pages(NULL);
	irq_work_queue(&a->work);
	wait_for_completion(&a->done);
	irq_work_sync(&a->work);
	KUNIT_EXPECT_GE(test, a->got, 0);
	KUNIT_EXPECT_FALSE(test, node_is_private(max(0, a->got)));
	KUNIT_EXPECT_EQ(test, a->got_thisnode, NUMA_NO_NODE);

	/* the same on a public node */
	a->nid = control_nid(test);
	reinit_completion(&a->done);
	irq_work_queue(&a->work);
	wait_for_completion(&a->done);
	irq_work_sync(&a->work);
	KUNIT_EXPECT_EQ(test, a->got_thisnode, a->nid);
}

/*
 * Row 16: the way in.
 */
static void private_node_test_way_in(struct kunit *test)
{
	int nid = private_nid(test);
	unsigned long used = used_pages(nid);
	unsigned int order, i;
	static const gfp_t gfps[] = {
		GFP_HIGHUSER_MOVABLE,
		GFP_HIGHUSER_MOVABLE | __GFP_ZERO,
		GFP_HIGHUSER_MOVABLE & ~__GFP_RECLAIM,
		GFP_TRANSHUGE_LIGHT,
		GFP_HIGHUSER,
	};

	for (order = 0; order <= MAX_PAGE_ORDER; order++) {
		for (i = 0; i < ARRAY_SIZE(gfps); i++) {
			struct folio *folio = folio_alloc_private(gfps[i], order, nid);
			void *p;

			KUNIT_ASSERT_NOT_NULL(test, folio);
			KUNIT_EXPECT_EQ(test, folio_nid(folio), nid);
			KUNIT_EXPECT_EQ(test, folio_order(folio), order);
			KUNIT_EXPECT_EQ(test, folio_ref_count(folio), 1);
			KUNIT_EXPECT_EQ(test, used_pages(nid), used + (1UL << order));
			p = folio_address(folio);
			if (gfps[i] & __GFP_ZERO)
				KUNIT_EXPECT_NULL(test, memchr_inv(p, 0, folio_size(folio)));
			folio_put(folio);
		}
	}
	KUNIT_EXPECT_EQ(test, used_pages(nid), used);
}

static void private_node_test_way_in_refused(struct kunit *test)
{
	struct folio *folio;
	int n;

	for_each_node(n) {
		if (node_is_private(n))
			continue;
		folio = folio_alloc_private(GFP_HIGHUSER_MOVABLE, 0, n);
		KUNIT_EXPECT_NULL(test, folio);
		if (folio)
			folio_put(folio);
	}

	folio = folio_alloc_private(GFP_HIGHUSER_MOVABLE | __GFP_NOWARN,
				    MAX_PAGE_ORDER + 1, private_nid(test));
	KUNIT_EXPECT_NULL(test, folio);
}

/* It ends where the node ends, changes no other node, and all comes back */
static void private_node_test_exhaustion(struct kunit *test)
{
	int nid = private_nid(test), order;
	unsigned long used = used_pages(nid), got = 0, left, nr = 0;
	unsigned long managed = 0;
	struct folio *folio, *next;
	LIST_HEAD(folios);
	int i;

	for (i = 0; i < MAX_NR_ZONES; i++)
		managed += zone_managed_pages(&NODE_DATA(nid)->node_zones[i]);

	for (order = MAX_PAGE_ORDER; order >= 0; order--) {
		while ((folio = folio_alloc_private(GFP_HIGHUSER_MOVABLE, order, nid))) {
			if (folio_nid(folio) != nid)
				KUNIT_FAIL(test, "folio of node %d", folio_nid(folio));
			list_add(&folio->lru, &folios);
			got += 1UL << order;
			/* an endless supply would be from elsewhere */
			if (got > managed)
				break;
			if (!(++nr & 255))
				cond_resched();
		}
	}
	KUNIT_EXPECT_LE(test, got + used, managed);
	left = managed - got - used;
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_NULL(test, folio_alloc_private(GFP_HIGHUSER_MOVABLE, 0, nid));

	list_for_each_entry_safe(folio, next, &folios, lru) {
		list_del(&folio->lru);
		folio_put(folio);
	}
	KUNIT_EXPECT_EQ(test, used_pages(nid), used);
}

/*
 * Row 20: watermarks and totals of public memory.
 */
static void private_node_test_watermarks(struct kunit *test)
{
	unsigned long sum = 0, lowmem = 0, pages_min, public = 0, nr = 0;
	struct zone *zone;

	private_nid(test);
	/* Memory that was freed since they were set counts, too */
	setup_per_zone_wmarks();
	pages_min = min_free_kbytes >> (PAGE_SHIFT - 10);
	for_each_populated_zone(zone) {
		if (node_is_private(zone_to_nid(zone))) {
			KUNIT_EXPECT_LE(test, min_wmark_pages(zone), 128);
			continue;
		}
		public += zone_managed_pages(zone);
		if (zone_idx(zone) == ZONE_MOVABLE || is_highmem(zone))
			continue;
		lowmem += zone_managed_pages(zone);
		sum += min_wmark_pages(zone);
		nr++;
	}
	/* All of min_free_kbytes is in public zones, but for rounding */
	KUNIT_EXPECT_LE(test, sum, pages_min);
	KUNIT_EXPECT_GE(test, sum + nr, pages_min);

	for_each_populated_zone(zone) {
		if (node_is_private(zone_to_nid(zone)) ||
		    zone_idx(zone) == ZONE_MOVABLE || is_highmem(zone))
			continue;
		KUNIT_EXPECT_EQ(test, min_wmark_pages(zone),
				mult_frac(zone_managed_pages(zone), pages_min, lowmem));
	}

	KUNIT_EXPECT_EQ(test, totalram_pages(), public);
	KUNIT_EXPECT_LE(test, nr_public_free_pages(), public);
}

/*
 * Policies with private nodes: what the kernel sees of them.
 */
static struct mempolicy *make_policy(struct kunit *test, unsigned short mode,
				     unsigned short flags, nodemask_t *nodes)
{
	struct nodemask_scratch *scratch;
	struct mempolicy *pol;
	int ret;

	scratch = kunit_kzalloc(test, sizeof(*scratch), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, scratch);
	pol = mpol_new(mode, flags | MPOL_F_PRIVATE, nodes);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(pol));
	task_lock(current);
	ret = mpol_set_nodemask(pol, nodes, scratch);
	task_unlock(current);
	if (ret)
		mpol_put(pol);
	KUNIT_ASSERT_EQ(test, ret, 0);
	return pol;
}

static void expect_user_view(struct kunit *test, struct mempolicy *pol,
			     unsigned short mode, nodemask_t *nodes)
{
	nodemask_t seen;

	KUNIT_EXPECT_EQ(test, mpol_user_mode(pol), mode);
	mpol_user_nodes(pol, &seen);
	KUNIT_EXPECT_TRUE_MSG(test, nodes_equal(seen, *nodes), "%*pbl, not %*pbl",
			      nodemask_pr_args(&seen), nodemask_pr_args(nodes));
}

/* Row 37, private nodes only: the kernel sees MPOL_LOCAL, whatever happens */
static void private_node_test_policy_only(struct kunit *test)
{
	int nid = private_nid(test), n;
	nodemask_t nodes = nodemask_of_node(nid);
	static const struct {
		unsigned short mode;
		unsigned short flags;
	} kinds[] = {
		{ MPOL_BIND, 0 },
		{ MPOL_BIND, MPOL_F_STATIC_NODES },
		{ MPOL_PREFERRED, 0 },
		{ MPOL_PREFERRED, MPOL_F_STATIC_NODES },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct mempolicy *pol = make_policy(test, kinds[i].mode,
						    kinds[i].flags, &nodes);

		for_each_node_state(n, N_MEMORY) {
			nodemask_t allowed = nodemask_of_node(n);

			KUNIT_EXPECT_EQ(test, pol->mode, MPOL_LOCAL);
			KUNIT_EXPECT_TRUE(test, nodes_empty(pol->nodes));
			expect_user_view(test, pol, kinds[i].mode, &nodes);
			mpol_rebind_policy(pol, &allowed);
		}
		KUNIT_EXPECT_EQ(test, pol->mode, MPOL_LOCAL);
		KUNIT_EXPECT_TRUE(test, nodes_empty(pol->nodes));
		expect_user_view(test, pol, kinds[i].mode, &nodes);
		mpol_put(pol);
	}
}

/* Row 37, mixed: rebinding moves the public part among public nodes */
static void private_node_test_policy_mixed(struct kunit *test)
{
	int nid = private_nid(test), public = first_node(node_states[N_MEMORY]), n;
	static const unsigned short flags[] = { 0, MPOL_F_STATIC_NODES };
	nodemask_t nodes = nodemask_of_node(nid);
	int i;

	node_set(public, nodes);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct mempolicy *pol = make_policy(test, MPOL_BIND, flags[i], &nodes);

		KUNIT_EXPECT_EQ(test, pol->mode, MPOL_BIND);
		KUNIT_EXPECT_TRUE(test, node_isset(public, pol->nodes));
		KUNIT_EXPECT_EQ(test, nodes_weight(pol->nodes), 1);
		expect_user_view(test, pol, MPOL_BIND, &nodes);

		for_each_node_state(n, N_MEMORY) {
			nodemask_t allowed = nodemask_of_node(n), view;

			mpol_rebind_policy(pol, &allowed);
			KUNIT_EXPECT_TRUE(test, nodes_equal(pol->nodes, allowed));
			view = allowed;
			node_set(nid, view);
			expect_user_view(test, pol, MPOL_BIND, &view);
		}
		mpol_rebind_policy(pol, &node_states[N_MEMORY]);
		KUNIT_EXPECT_FALSE(test, nodes_intersects(pol->nodes,
							  node_states[N_PRIVATE]));
		mpol_put(pol);
	}
}

/* VMAs whose policies differ in private nodes only must not merge */
static void private_node_test_policy_equal(struct kunit *test)
{
	nodemask_t nodes = nodemask_of_node(private_nid(test));
	struct mempolicy *a = make_policy(test, MPOL_BIND, 0, &nodes);
	struct mempolicy *b = make_policy(test, MPOL_BIND, 0, &nodes);
	struct mempolicy *c = make_policy(test, MPOL_PREFERRED, 0, &nodes);
	struct mempolicy *d = mpol_dup(a);

	KUNIT_ASSERT_FALSE(test, IS_ERR(d));
	KUNIT_EXPECT_TRUE(test, mpol_equal(a, b));
	KUNIT_EXPECT_TRUE(test, mpol_equal(a, d));
	KUNIT_EXPECT_FALSE(test, mpol_equal(a, c));
	node_set(control_nid(test), b->private_nodes);
	KUNIT_EXPECT_FALSE(test, mpol_equal(a, b));
	mpol_put(a);
	mpol_put(b);
	mpol_put(c);
	mpol_put(d);
}

/* What is refused, and as what */
static void private_node_test_policy_refused(struct kunit *test)
{
	nodemask_t nodes = nodemask_of_node(private_nid(test));
	nodemask_t public = nodemask_of_node(control_nid(test));
	nodemask_t both, none = NODE_MASK_NONE, absent = nodes;
	int mode, n;

	nodes_or(both, nodes, public);
	for (mode = 0; mode < MPOL_MAX; mode++)
		KUNIT_EXPECT_EQ(test, mpol_check_private(mode, MPOL_F_PRIVATE, &nodes),
				mode == MPOL_BIND || mode == MPOL_PREFERRED ||
				mode == MPOL_PREFERRED_MANY ||
				mode == MPOL_INTERLEAVE ? 0 : -EINVAL);
	KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_BIND, MPOL_F_PRIVATE, &both), 0);
	KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_PREFERRED, MPOL_F_PRIVATE, &both), -EINVAL);
	KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_BIND, MPOL_F_PRIVATE, &public), -EINVAL);
	KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_BIND, MPOL_F_PRIVATE, &none), -EINVAL);
	KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_BIND, MPOL_F_PRIVATE, NULL), -EINVAL);
	/* without the flag it has no opinion */
	KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_INTERLEAVE, 0, &nodes), 0);

	for (n = 0; n < MAX_NUMNODES; n++)
		if (!node_state(n, N_MEMORY) && !node_is_private(n))
			break;
	if (n < MAX_NUMNODES) {
		node_set(n, absent);
		KUNIT_EXPECT_EQ(test, mpol_check_private(MPOL_BIND, MPOL_F_PRIVATE, &absent),
				-EINVAL);
	}
}

/*
 * Rows 25, 30 and 56 inside the kernel: with a task policy that names the
 * node, everything that follows the policy of the task still stays away.
 */
static void private_node_test_task_policy(struct kunit *test)
{
	int nid = private_nid(test);
	nodemask_t nodes = nodemask_of_node(nid);
	struct mempolicy *pol = make_policy(test, MPOL_BIND, 0, &nodes), *old;
	unsigned long used = used_pages(nid);
	struct folio *folio;
	struct page *page;
	void *p;
	int i;

	task_lock(current);
	old = current->mempolicy;
	current->mempolicy = pol;
	task_unlock(current);

	KUNIT_EXPECT_FALSE(test, node_is_private(mempolicy_slab_node()));
	for (i = 0; i < 64; i++) {
		page = alloc_pages(GFP_HIGHUSER_MOVABLE, 0);
		KUNIT_EXPECT_FALSE(test, node_is_private(free_and_nid(page, 0)));
		folio = folio_alloc(GFP_KERNEL | __GFP_NOWARN, i % 10);
		if (folio) {
			KUNIT_EXPECT_FALSE(test, node_is_private(folio_nid(folio)));
			folio_put(folio);
		}
		p = kmalloc(64UL << (i % 12), GFP_KERNEL);
		KUNIT_EXPECT_FALSE(test, node_is_private(page_to_nid(virt_to_page(p))));
		kfree(p);
	}

	task_lock(current);
	current->mempolicy = old;
	task_unlock(current);
	mpol_put(pol);
	KUNIT_EXPECT_EQ(test, used_pages(nid), used);
}

/*
 * Row 31: firmware may say of a device that it is on the node, as an accelerator is
 * whose memory that is. What its driver allocates without thinking of nodes is not.
 */
static int dma_nid(struct kunit *test, struct device *dev)
{
	dma_addr_t addr;
	void *p = dma_alloc_coherent(dev, 64 * PAGE_SIZE, &addr, GFP_KERNEL);
	int nid;

	KUNIT_ASSERT_NOT_NULL(test, p);
	nid = page_to_nid(is_vmalloc_addr(p) ? vmalloc_to_page(p) : virt_to_page(p));
	dma_free_coherent(dev, 64 * PAGE_SIZE, p, addr);
	return nid;
}

static void private_node_test_device(struct kunit *test)
{
	int nid = private_nid(test), irq, i;
	unsigned long used = used_pages(nid);
	struct device *dev;
	void *p;

	dev = kunit_device_register(test, "private_node_test");
	KUNIT_ASSERT_FALSE(test, IS_ERR(dev));
	KUNIT_ASSERT_EQ(test, dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64)), 0);

	/* The control: it is where the device is, where that may be */
	set_dev_node(dev, control_nid(test));
	if (!IS_ENABLED(CONFIG_DMA_CMA) || !dev_get_cma_area(dev))
		KUNIT_EXPECT_EQ(test, dma_nid(test, dev), control_nid(test));

	set_dev_node(dev, nid);
	KUNIT_EXPECT_FALSE(test, node_is_private(dma_nid(test, dev)));
	for (i = 0; i < 64; i++) {
		p = devm_kmalloc(dev, 4000, GFP_KERNEL);
		KUNIT_ASSERT_NOT_NULL(test, p);
		KUNIT_EXPECT_FALSE(test, node_is_private(page_to_nid(virt_to_page(p))));
	}
	irq = irq_alloc_desc(nid);
	KUNIT_EXPECT_GE(test, irq, 0);
	if (irq >= 0) {
		p = irq_to_desc(irq);
		KUNIT_EXPECT_FALSE(test, node_is_private(page_to_nid(virt_to_page(p))));
		irq_free_desc(irq);
	}
	kunit_device_unregister(test, dev);
	KUNIT_EXPECT_EQ(test, used_pages(nid), used);
}

/* Row 123: kexec looks for room for its segments by address */
static void private_node_test_range(struct kunit *test)
{
	int nid = private_nid(test);
	phys_addr_t start = PFN_PHYS(node_start_pfn(nid));
	phys_addr_t last = PFN_PHYS(node_end_pfn(nid)) - 1;

	KUNIT_EXPECT_EQ(test, private_node_in_range(start, start), nid);
	KUNIT_EXPECT_EQ(test, private_node_in_range(last, last), nid);
	KUNIT_EXPECT_EQ(test, private_node_in_range(0, PHYS_ADDR_MAX), nid);
	KUNIT_EXPECT_EQ(test, private_node_in_range(start - 1, start), nid);
	KUNIT_EXPECT_EQ(test, private_node_in_range(0, 0), NUMA_NO_NODE);
	if (num_private_nodes() == 1) {
		KUNIT_EXPECT_EQ(test, private_node_in_range(start - 2, start - 1),
				NUMA_NO_NODE);
		KUNIT_EXPECT_EQ(test, private_node_in_range(last + 1, last + 2),
				NUMA_NO_NODE);
	}
}

#ifdef CONFIG_MEMORY_HOTREMOVE
static unsigned long called_back;

static void count_online_page(struct page *page, unsigned int order)
{
	called_back += 1UL << order;
	generic_online_page(page, order);
}

/* Take the first block that can be taken, and give it back. */
static int reonline_block(struct memory_block *mem, void *nid)
{
	int ret;

	if (mem->nid != *(int *)nid || device_offline(&mem->dev))
		return 0;
	ret = device_online(&mem->dev);
	return ret ?: 1;
}
#endif

/* Row 125: what takes memory that goes online, a balloon, does not get it */
static void private_node_test_online_callback(struct kunit *test)
{
#ifdef CONFIG_MEMORY_HOTREMOVE
	int nid = private_nid(test), control = control_nid(test), ret;
	unsigned long used = used_pages(nid);

	if (set_online_page_callback(count_online_page))
		kunit_skip(test, "somebody takes memory that goes online");
	lock_device_hotplug();
	called_back = 0;
	ret = walk_memory_blocks(PFN_PHYS(node_start_pfn(control)),
				 PFN_PHYS(node_spanned_pages(control)), &control,
				 reonline_block);
	KUNIT_EXPECT_EQ(test, ret, 1);
	KUNIT_EXPECT_EQ(test, called_back, PHYS_PFN(memory_block_size_bytes()));

	called_back = 0;
	ret = walk_memory_blocks(PFN_PHYS(node_start_pfn(nid)),
				 PFN_PHYS(node_spanned_pages(nid)), &nid,
				 reonline_block);
	KUNIT_EXPECT_EQ(test, ret, 1);
	KUNIT_EXPECT_EQ(test, called_back, 0UL);
	unlock_device_hotplug();
	KUNIT_EXPECT_EQ(test, restore_online_page_callback(count_online_page), 0);
	KUNIT_EXPECT_EQ(test, used_pages(nid), used);
#else
	kunit_skip(test, "no CONFIG_MEMORY_HOTREMOVE");
#endif
}

/* What can be taken offline has no pages of slabs, of whatever order. */
static void private_node_test_slab_unmovable(struct kunit *test)
{
#ifdef CONFIG_MEMORY_ISOLATION
	static const size_t sizes[] = { 64, PAGE_SIZE };
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		void *object = kmalloc(sizes[i], GFP_KERNEL);
		unsigned long step = 1;
		struct page *page;

		KUNIT_ASSERT_NOT_NULL(test, object);
		page = virt_to_page(object);
		KUNIT_EXPECT_TRUE(test, folio_test_slab(page_folio(page)));
		KUNIT_EXPECT_TRUE(test, page_is_unmovable(page_zone(page), page,
							  PB_ISOLATE_MODE_MEM_OFFLINE,
							  &step));
		kfree(object);
	}
#else
	kunit_skip(test, "no CONFIG_MEMORY_ISOLATION");
#endif
}

static struct kunit_case private_node_cases[] = {
	KUNIT_CASE_PARAM(private_node_test_parse, parse_gen_params),
	KUNIT_CASE(private_node_test_parse_limit),
	KUNIT_CASE_PARAM(private_node_test_parse_caps, caps_gen_params),
	KUNIT_CASE(private_node_test_check_caps),
	KUNIT_CASE(private_node_test_states),
	KUNIT_CASE(private_node_test_zonelists),
	KUNIT_CASE(private_node_test_fallback_order),
	KUNIT_CASE(private_node_test_own_zonelist),
	KUNIT_CASE(private_node_test_first_zones),
	KUNIT_CASE(private_node_test_local_memory),
	KUNIT_CASE_PARAM(private_node_test_alloc, alloc_gen_params),
	KUNIT_CASE(private_node_test_alloc_contig),
	KUNIT_CASE(private_node_test_alloc_irq),
	KUNIT_CASE(private_node_test_way_in),
	KUNIT_CASE(private_node_test_way_in_refused),
	KUNIT_CASE_SLOW(private_node_test_exhaustion),
	KUNIT_CASE(private_node_test_watermarks),
	KUNIT_CASE(private_node_test_policy_only),
	KUNIT_CASE(private_node_test_policy_mixed),
	KUNIT_CASE(private_node_test_policy_equal),
	KUNIT_CASE(private_node_test_policy_refused),
	KUNIT_CASE(private_node_test_task_policy),
	KUNIT_CASE(private_node_test_device),
	KUNIT_CASE(private_node_test_range),
	KUNIT_CASE(private_node_test_online_callback),
	KUNIT_CASE(private_node_test_slab_unmovable),
	{}
};

static struct kunit_suite private_node_suite = {
	.name = "private_node",
	.init = private_node_test_init,
	.exit = private_node_test_exit,
	.test_cases = private_node_cases,
};

kunit_test_suite(private_node_suite);

MODULE_DESCRIPTION("KUnit tests of private memory nodes");
MODULE_LICENSE("GPL");
