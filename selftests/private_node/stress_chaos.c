// SPDX-License-Identifier: GPL-2.0
/*
 * The process of the stress program that turns the knobs of the system, at
 * random, one after the other, and asks the kernel for services.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/swap.h>
#include <linux/loop.h>

#include "pn_util.h"
#include "stress.h"

#define THP	"/sys/kernel/mm/transparent_hugepage/"
#define KSM	"/sys/kernel/mm/ksm/"
#define VM	"/proc/sys/vm/"
#define ZSWAP	"/sys/module/zswap/parameters/"
#define SCHED	"/sys/kernel/debug/sched/numa_balancing/"
#define DAMON	"/sys/kernel/mm/damon/admin/kdamonds/"
#define MEMORY	"/sys/devices/system/memory"
#define POOL	PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages"

static struct knob {
	const char *path;
	const char *values[6];
	char saved[64];
} knobs[] = {
	{ THP "enabled", { "always", "madvise", "never" } },
	{ THP "defrag", { "always", "defer", "madvise", "never" } },
	{ THP "shmem_enabled", { "always", "within_size", "advise", "never" } },
	{ THP "hugepages-64kB/enabled", { "always", "inherit", "never" } },
	{ THP "khugepaged/scan_sleep_millisecs", { "0", "100", "10000" } },
	{ THP "khugepaged/pages_to_scan", { "512", "4096", "65536" } },
	{ THP "khugepaged/max_ptes_none", { "0", "64", "511" } },
	{ KSM "run", { "0", "1", "1", "2" } },
	{ KSM "merge_across_nodes", { "0", "1" } },
	{ KSM "sleep_millisecs", { "0", "20" } },
	{ KSM "pages_to_scan", { "100", "4000" } },
	{ "/proc/sys/kernel/numa_balancing", { "0", "1", "2", "3" } },
	{ SCHED "scan_period_min_ms", { "50", "1000" } },
	{ SCHED "scan_delay_ms", { "10", "1000" } },
	{ VM "zone_reclaim_mode", { "0", "1", "7" } },
	{ VM "swappiness", { "10", "60", "200" } },
	{ VM "compaction_proactiveness", { "0", "20", "100" } },
	{ VM "watermark_boost_factor", { "0", "15000" } },
	{ VM "watermark_scale_factor", { "10", "200" } },
	{ VM "percpu_pagelist_high_fraction", { "0", "8", "100" } },
	{ VM "page-cluster", { "0", "3", "5" } },
	{ "/sys/kernel/mm/numa/demotion_enabled", { "0", "1" } },
	{ "/sys/kernel/mm/swap/vma_ra_enabled", { "true", "false" } },
	{ ZSWAP "enabled", { "Y", "N" } },
	{ ZSWAP "shrinker_enabled", { "Y", "N" } },
	{ ZSWAP "max_pool_percent", { "1", "20" } },
	{ "/sys/devices/system/cpu/cpu2/online", { "0", "1" } },
	{ "/sys/devices/system/cpu/cpu1/online", { "0", "1" } },
};

/* What was found there; of a list of words, the one in brackets */
static void save(struct knob *knob)
{
	char text[256], *from, *to;

	if (pn_read_file(knob->path, text, sizeof(text)))
		return;
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : strchr(text, '\n');
	from = from ? from + 1 : text;
	snprintf(knob->saved, sizeof(knob->saved), "%.*s", (int)(to ? to - from : 0), from);
}

static int put(const char *value, const char *fmt, ...)
{
	char path[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(path, sizeof(path), fmt, args);
	va_end(args);
	return pn_write_file(path, value) ? errno : 0;
}

static void turn_knob(void)
{
	struct knob *knob = &knobs[pn_rand(sizeof(knobs) / sizeof(*knobs))];
	size_t n = 0;
	int err;

	/* What this kernel does not have stays as it is. */
	if (!*knob->saved)
		return;
	while (n < 6 && knob->values[n])
		n++;
	n = pn_rand(n);
	err = put(knob->values[n], "%s", knob->path);
	st_op("%s to %s: %s", knob->values[n], knob->path, err ? strerror(err) : "ok");
}

static void ask(void)
{
	static const char * const files[] = {
		VM "compact_memory", VM "drop_caches", VM "drop_caches",
		"/sys/kernel/debug/split_huge_pages", "/sys/block/zram0/compact",
	};
	const char *file = files[pn_rand(5)];

	st_op("1 to %s: %s", file, put("1", "%s", file) ? strerror(errno) : "ok");
}

static void ask_node(void)
{
	int nid = st_rand_node(st_privs | st_publics), err;

	if (pn_rand(2)) {
		err = put("1", PN_NODE_DIR "/node%d/compact", nid);
		st_op("compact node %d: %s", nid, err ? strerror(err) : "ok");
		return;
	}
	err = put("4M", PN_NODE_DIR "/node%d/reclaim", nid);
	st_op("reclaim from node %d: %s", nid, err ? strerror(err) : "ok");
	if ((NODE_BIT(nid) & st_privs & ~st_reclaim) && !pn_forced() && err != EAGAIN)
		st_fail("reclaim from private node %d: %s", nid, err ? strerror(err) : "ok");
}

static void ask_cgroup(void)
{
	char group[] = "a";
	int err;

	group[0] = "abc"[pn_rand(3)];
	if (pn_rand(2)) {
		err = put("2M", ST_TOP "/%s/memory.reclaim", group);
		st_op("reclaim from group %s: %s", group, err ? strerror(err) : "ok");
	} else {
		static const char * const limits[] = { "max", "64M", "256M" };
		const char *limit = limits[pn_rand(3)];

		err = put(limit, ST_TOP "/%s/memory.high", group);
		st_op("limit of group %s %s: %s", group, limit, err ? strerror(err) : "ok");
	}
}

static void grant(void)
{
	char text[32] = "none";
	unsigned long mask = 0;
	int nid, len = 0;

	while (st_privs >> 1 && pn_rand(4) && (mask & st_privs) != st_privs)
		mask |= NODE_BIT(st_rand_node(st_privs));
	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (mask & NODE_BIT(nid))
			len += snprintf(text + len, sizeof(text) - len, "%s%d",
					len ? "," : "", nid);
	nid = put(text, ST_TOP "/a/cpuset.mems.private");
	st_op("grant of group a: %s: %s", text, nid ? strerror(nid) : "ok");
	if (nid && !pn_forced())
		st_fail("grant %s: %s", text, strerror(nid));
}

static void move_task(void)
{
	int which = pn_rand(ST_WORKERS), err;
	char group[] = "a", pid[32];

	/* Who is never to have a right stays in its group. */
	if (st_workers[which].right == ST_DENIED || st_workers[which].fills)
		return;
	group[0] = "ab"[pn_rand(2)];
	snprintf(pid, sizeof(pid), "%d", st->slot[which].pid);
	err = put(pid, ST_TOP "/%s/cgroup.procs", group);
	st_op("%s to group %s: %s", st_workers[which].name, group, err ? strerror(err) : "ok");
}

static void migrate(void)
{
	int which = pn_rand(ST_WORKERS);
	unsigned long from, to;
	long ret;

	if (!st_workers[which].movable)
		return;
	from = NODE_BIT(st_rand_node(st_privs | st_publics));
	to = NODE_BIT(st_rand_node(st_privs | st_publics));
	ret = pn_migrate_pages(st->slot[which].pid, from, to);
	st_op("migrate_pages of %s from %#lx to %#lx: %ld %s", st_workers[which].name, from, to,
	      ret, ret < 0 ? strerror(errno) : "");
	if ((to & st_privs & ~st_migrate) && !pn_forced() && ret >= 0)
		st_fail("migrate_pages() to private nodes %#lx: %ld", to, ret);
}

/* A block goes offline if it can, and comes back. */
static void hotplug(void)
{
	unsigned long nodes = pn_rand(3) ? st_privs : st_publics;
	char pattern[128], *path, *name;
	int nid = st_rand_node(nodes), err;
	glob_t found;

	snprintf(pattern, sizeof(pattern), PN_NODE_DIR "/node%d/memory[0-9]*", nid);
	if (glob(pattern, 0, NULL, &found))
		return;
	path = found.gl_pathv[pn_rand(found.gl_pathc)];
	name = strrchr(path, '/') + 1;
	st_op("%s of node %d is to go offline", name, nid);
	err = put("offline", MEMORY "/%s/state", name);
	st_op("%s of node %d offline: %s", name, nid, err ? strerror(err) : "ok");
	if (!err) {
		poll(NULL, 0, pn_rand(50));
		err = put("online", MEMORY "/%s/state", name);
		st_op("%s of node %d online: %s", name, nid, err ? strerror(err) : "ok");
		if (err)
			st_fail("%s of node %d does not come online: %s", name, nid, strerror(err));
	}
	globfree(&found);
}

static void pool(void)
{
	int nid = st_rand_node(st_privs | st_publics), err;
	char text[16], path[128];

	if (pn_forced())
		nid = st_rand_node(st_publics);
	snprintf(text, sizeof(text), "%u", pn_rand(8));
	snprintf(path, sizeof(path), POOL, nid);
	/* The public ones have theirs, which keep memory short */
	if (NODE_BIT(nid) & st_privs)
		err = put(text, "%s", path);
	else
		err = put("8", "/proc/sys/vm/nr_overcommit_hugepages");
	st_op("%s huge pages on node %d: %s", text, nid, err ? strerror(err) : "ok");
	if ((NODE_BIT(nid) & st_privs) && pn_read_long(path) > 0)
		st_fail("private node %d has huge pages of hugetlb", nid);
}

static void swap_again(void)
{
	const char *device = pn_rand(2) ? "/dev/zram0" : "/dev/loop7";
	int err = swapoff(device) ? errno : 0;

	st_op("swapoff %s: %s", device, err ? strerror(err) : "ok");
	/* Full or without a grant: the memory stays in swap. */
	if (err == ENOMEM || err == EINTR)
		return;
	if (err)
		st_fail("swapoff %s: %s", device, strerror(err));
	if (swapon(device, 0))
		st_fail("swapon %s: %s", device, strerror(errno));
}

/* What monitors read, from all that there is */
static void look(void)
{
	static const char * const files[] = {
		"/proc/%d/numa_maps", "/proc/%d/smaps", "/proc/%d/smaps_rollup",
		"/proc/%d/status", "/proc/%d/maps", "/proc/%d/statm",
	};
	static const char * const system_files[] = {
		"/proc/zoneinfo", "/proc/meminfo", "/proc/buddyinfo", "/proc/pagetypeinfo",
		VM "stat_refresh", ST_TOP "/memory.numa_stat", ST_TOP "/memory.stat",
		"/sys/kernel/debug/lru_gen",
	};
	static char text[1 << 20];
	char path[128];

	if (pn_rand(2)) {
		int pid = st->slot[pn_rand(ST_WORKERS)].pid;

		snprintf(path, sizeof(path), files[pn_rand(6)], pid);
	} else {
		snprintf(path, sizeof(path), "%s", system_files[pn_rand(8)]);
	}
	st_op("read %s", path);
	pn_read_file(path, text, sizeof(text));
}

/* DAMON over all memory, with a random action; until the next time. */
static void damon(void)
{
	static const char * const actions[] = {
		"pageout", "lru_prio", "lru_deprio", "migrate_hot", "migrate_cold", "stat",
	};
	const char *action = actions[pn_rand(6)], *state = "on";
	char text[32];
	int err, nid;

	if (access(DAMON "nr_kdamonds", W_OK))
		return;
	put("off", DAMON "0/state");
	if (!pn_rand(3))
		return;
#define C DAMON "0/contexts/0/"
#define S C "schemes/0/"
	err = put("1", DAMON "nr_kdamonds") ?: put("1", DAMON "0/contexts/nr_contexts") ?:
	      put("paddr", C "operations") ?: put("1", C "targets/nr_targets") ?:
	      put("1", C "targets/0/regions/nr_regions") ?:
	      put("1", C "schemes/nr_schemes");
	if (err)
		st_fail("cannot set DAMON up: %s", strerror(err));
	put("0", C "targets/0/regions/0/start");
	put("8589934592", C "targets/0/regions/0/end");
	put("2000", C "monitoring_attrs/intervals/sample_us");
	put("20000", C "monitoring_attrs/intervals/aggr_us");
	put("100000", C "monitoring_attrs/intervals/update_us");
	put(action, S "action");
	nid = st_rand_node(st_privs | st_publics);
	snprintf(text, sizeof(text), "%d", nid);
	put(text, S "target_nid");
	put("4096", S "access_pattern/sz/min");
	put("18446744073709551615", S "access_pattern/sz/max");
	put("100", S "access_pattern/nr_accesses/max");
	put("4294967295", S "access_pattern/age/max");
	put("16777216", S "quotas/bytes");
	put("200", S "quotas/reset_interval_ms");
	err = put(state, DAMON "0/state");
	st_op("DAMON %s, node %d: %s", action, nid, err ? strerror(err) : "ok");
#undef S
#undef C
}

static const struct {
	void (*fn)(void);
	const char *name;
	unsigned int weight;
} actions[] = {
	{ turn_knob, "a knob", 6 }, { ask, "a request to all nodes", 1 },
	{ ask_node, "a request to a node", 2 }, { ask_cgroup, "a limit or reclaim", 2 },
	{ grant, "a grant", 2 }, { move_task, "a move to a group", 2 },
	{ migrate, "migrate_pages", 3 }, { hotplug, "hotplug", 2 },
	{ pool, "huge pages", 1 }, { swap_again, "swapoff and swapon", 1 },
	{ look, "a look", 2 }, { damon, "DAMON", 1 },
};

int st_chaos(void)
{
	unsigned int weights = 0;
	size_t i;

	for (i = 0; i < sizeof(actions) / sizeof(*actions); i++)
		weights += actions[i].weight;
	while (!__atomic_load_n(&st->stop, __ATOMIC_RELAXED)) {
		unsigned int n = pn_rand(weights);

		for (i = 0; n >= actions[i].weight; i++)
			n -= actions[i].weight;
		st_me->doing = actions[i].name;
		actions[i].fn();
		st_me->doing = NULL;
		st_me->ops++;
		/* The workers are to get somewhere, too. */
		poll(NULL, 0, pn_rand(40));
	}
	return 0;
}

/* Called once before the first round, and after each. */
void st_restore(void)
{
	static bool saved;
	size_t i;
	glob_t found;

	for (i = 0; i < sizeof(knobs) / sizeof(*knobs); i++)
		if (!saved)
			save(&knobs[i]);
		else if (*knobs[i].saved)
			pn_write_file(knobs[i].path, knobs[i].saved);
	saved = true;
	put("2", KSM "run");
	put("0", KSM "run");
	put("off", DAMON "0/state");
	if (glob(MEMORY "/memory[0-9]*/state", 0, NULL, &found))
		return;
	for (i = 0; i < found.gl_pathc; i++) {
		char text[32];

		if (!pn_read_file(found.gl_pathv[i], text, sizeof(text)) &&
		    !strncmp(text, "offline", 7))
			pn_write_file(found.gl_pathv[i], "online");
	}
	globfree(&found);
}

/* The second zram device, behind a loop device: then swap is read ahead. */
static int loop_fd = -1;

static int loop_on(void)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_DIRECT_IO };
	union {
		char bytes[4096];
		struct {
			char boot[1024];
			unsigned int version, last_page;
		};
	} header = { };
	char path[64], text[32];
	static int zram = -1;

	if (zram < 0)
		zram = pn_read_long("/sys/class/zram-control/hot_add");
	if (zram < 0)
		return -1;
	snprintf(path, sizeof(path), "/sys/block/zram%d/disksize", zram);
	snprintf(text, sizeof(text), "%lu", ST_SWAP_MIB * MIB);
	if (pn_read_long(path) <= 0 && pn_write_file(path, text))
		return -1;
	snprintf(path, sizeof(path), "/dev/zram%d", zram);
	config.fd = open(path, O_RDWR | O_CLOEXEC);
	header.version = 1;
	header.last_page = ST_SWAP_MIB * MIB / 4096 - 1;
	memcpy(header.bytes + 4096 - 10, "SWAPSPACE2", 10);
	if (config.fd < 0 || pwrite(config.fd, &header, 4096, 0) != 4096 || fsync(config.fd))
		return -1;
	loop_fd = open("/dev/loop7", O_RDWR | O_CLOEXEC);
	if (loop_fd < 0 || ioctl(loop_fd, LOOP_CONFIGURE, &config))
		return -1;
	close(config.fd);
	return swapon("/dev/loop7", 0);
}

int st_swap_on(void)
{
	return pn_swap_on(ST_SWAP_MIB * MIB) || loop_on() ? -1 : 0;
}

int st_swap_off(void)
{
	int err = pn_swap_off();

	err |= swapoff("/dev/loop7");
	if (loop_fd >= 0) {
		err |= ioctl(loop_fd, LOOP_CLR_FD, 0);
		close(loop_fd);
		loop_fd = -1;
	}
	return err ? -1 : 0;
}
