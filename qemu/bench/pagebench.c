// SPDX-License-Identifier: GPL-2.0
/*
 * Time the page allocator itself: reading /sys/module/pagebench/parameters/X
 * runs the operation X @n times and gives the instructions used
 * (under -icount the time stamp counter counts instructions).
 */
#include <linux/gfp.h>
#include <linux/kprobes.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <asm/tsc.h>

#define MAX_PADS	256
#define BLOCK_ORDER	(PAGE_ALLOC_COSTLY_ORDER + 1)

static unsigned int n = 1000;
module_param(n, uint, 0600);
MODULE_PARM_DESC(n, "allocations in one reading");

/* One page at a time: the per-CPU list, the fastest path there is. */
static int one_get(char *buf, const struct kernel_param *kp)
{
	unsigned int i, failed = 0;
	u64 t = rdtsc_ordered();

	for (i = 0; i < n; i++) {
		struct page *page = alloc_pages(GFP_KERNEL, 0);

		if (unlikely(!page)) {
			failed++;
			continue;
		}
		__free_pages(page, 0);
	}
	t = rdtsc_ordered() - t;
	return failed ? -ENOMEM : sysfs_emit(buf, "%llu\n", t);
}

/*
 * Blocks of an order that the per-CPU lists do not keep, all held at once:
 * the buddy allocator's own work, split and merge included.
 */
static int block_get(char *buf, const struct kernel_param *kp)
{
	unsigned int i, failed = 0;
	struct page *page, *next;
	LIST_HEAD(pages);
	u64 t = rdtsc_ordered();

	for (i = 0; i < n; i++) {
		page = alloc_pages(GFP_KERNEL, BLOCK_ORDER);
		if (unlikely(!page)) {
			failed++;
			continue;
		}
		list_add(&page->lru, &pages);
	}
	list_for_each_entry_safe(page, next, &pages, lru)
		__free_pages(page, BLOCK_ORDER);
	t = rdtsc_ordered() - t;
	return failed ? -ENOMEM : sysfs_emit(buf, "%llu\n", t);
}

/*
 * What the hotplug of memory does under a lock that the slow path of every
 * allocation looks at. It is not exported.
 */
static void (*build_all_zonelists_fn)(void *pgdat);

static int zonelists_get(char *buf, const struct kernel_param *kp)
{
	unsigned int i;
	u64 t;

	if (!build_all_zonelists_fn)
		return -ENOENT;
	t = rdtsc_ordered();
	for (i = 0; i < n; i++)
		build_all_zonelists_fn(NULL);
	t = rdtsc_ordered() - t;
	return sysfs_emit(buf, "%llu\n", t);
}

static const struct kernel_param_ops one_ops = { .get = one_get };
module_param_cb(one, &one_ops, NULL, 0400);
static const struct kernel_param_ops block_ops = { .get = block_get };
module_param_cb(block, &block_ops, NULL, 0400);
static const struct kernel_param_ops zonelists_ops = { .get = zonelists_get };
module_param_cb(zonelists, &zonelists_ops, NULL, 0400);

/*
 * fork allocates per-CPU counters, and what the search for room costs depends
 * on what happened to be allocated at boot. Holding @pads more allocations
 * moves the starting point: the mean over many is a fair figure.
 */
static void __percpu *pad[MAX_PADS];

static int pads_set(const char *text, const struct kernel_param *kp)
{
	unsigned int i, pads, size;
	int ret = kstrtouint(text, 0, &pads);

	if (ret || pads > MAX_PADS)
		return ret ?: -EINVAL;
	for (i = 0; i < MAX_PADS; i++) {
		free_percpu(pad[i]);
		pad[i] = NULL;
	}
	for (i = 0; i < pads; i++) {
		/* 8 to 256 bytes, in no order */
		size = 8 * (1 + ((i + pads) * 2654435761U >> 27));
		pad[i] = __alloc_percpu(size, sizeof(long));
		if (!pad[i])
			return -ENOMEM;
	}
	return 0;
}

static const struct kernel_param_ops pads_ops = { .set = pads_set };
module_param_cb(pads, &pads_ops, NULL, 0200);

static int __init pagebench_init(void)
{
	/* A probe knows where a function is; it goes before anything is measured. */
	struct kprobe probe = { .symbol_name = "__build_all_zonelists" };

	if (!register_kprobe(&probe)) {
		build_all_zonelists_fn = (void *)probe.addr;
		unregister_kprobe(&probe);
	}
	return 0;
}
module_init(pagebench_init);

static void __exit pagebench_exit(void)
{
}
module_exit(pagebench_exit);

MODULE_DESCRIPTION("instructions per page allocation");
MODULE_LICENSE("GPL");
