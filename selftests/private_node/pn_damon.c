// SPDX-License-Identifier: GPL-2.0
/* DAMON by its files in sysfs: pn_damon.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "pn_damon.h"
#include "pn_util.h"

#define ADMIN		"/sys/kernel/mm/damon/admin/kdamonds/"
#define CONTEXT		"0/contexts/0/"
#define SCHEME		CONTEXT "schemes/0/"

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

bool pn_damon_missing(void)
{
	return access(ADMIN, F_OK);
}

int pn_damon_start(pid_t pid, const char *action, int target, unsigned long first,
		   unsigned long end)
{
	if (set("nr_kdamonds", "1") || set("0/contexts/nr_contexts", "1") ||
	    set(CONTEXT "operations", pid ? "fvaddr" : "paddr") ||
	    set(CONTEXT "monitoring_attrs/intervals/sample_us", "5000") ||
	    set(CONTEXT "monitoring_attrs/intervals/aggr_us", "50000") ||
	    set(CONTEXT "targets/nr_targets", "1") ||
	    (pid && set(CONTEXT "targets/0/pid_target", "%d", pid)) ||
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

int pn_damon_wait(unsigned long bytes)
{
	double deadline = pn_now() + pn_slow(30);
	unsigned long tried;

	do {
		poll(NULL, 0, 50);
		if (set("0/state", "update_schemes_stats"))
			return -1;
		tried = pn_read_long(ADMIN SCHEME "stats/sz_tried");
		if (tried >= bytes)
			return 0;
	} while (pn_now() < deadline);
	pn_note("DAMON tried %lu bytes in all", tried);
	return -1;
}

long pn_damon_applied(void)
{
	return pn_read_long(ADMIN SCHEME "stats/sz_applied");
}

void pn_damon_stop(void)
{
	pn_write_file(ADMIN "0/state", "off");
	pn_write_file(ADMIN "nr_kdamonds", "0");
}
