// SPDX-License-Identifier: GPL-2.0
/*
 * What numactl.sh needs and no command has: where the memory of a process is,
 * what a node has served, and policies with MPOL_F_PRIVATE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "pn_util.h"
#include "kselftest.h"

static const char * const modes[] = {
	[MPOL_PREFERRED] = "preferred",
	[MPOL_BIND] = "bind",
	[MPOL_INTERLEAVE] = "interleave",
	[MPOL_PREFERRED_MANY] = "preferred-many",
	[MPOL_WEIGHTED_INTERLEAVE] = "weighted-interleave",
};

static int usage(void)
{
	fputs("usage: numa_probe COMMAND\n"
	      "  topology           a private node, an ordinary one without and one with CPUs\n"
	      "                     (-1 where there is none), all public nodes\n"
	      "  empty NODE         wait until all pages of the node are free\n"
	      "  allocations NODE   how many pages the node has ever served\n"
	      "  touch KIB          use memory; prints the pages on each node\n"
	      "  set MODE NODE      set_mempolicy() and mbind(), without MPOL_F_PRIVATE\n"
	      "  run MODE NODE COMMAND...   with a task policy with MPOL_F_PRIVATE\n"
	      "  hold MODE NODE KIB use memory with that policy until it is killed\n"
	      "  sleep KIB          the same with the policy that it was started with\n"
	      "Exit status: 0 done, 1 failed (standard error says why), 2 wrong usage\n",
	      stderr);
	return 2;
}

static int fail(const char *what)
{
	fprintf(stderr, "numa_probe: %s: %s\n", what, strerror(errno));
	return 1;
}

static int mode_of(const char *name)
{
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(modes); i++)
		if (modes[i] && !strcmp(modes[i], name))
			return i;
	exit(usage());
}

static unsigned long mask_of(const char *node)
{
	char *end;
	unsigned long nid = strtoul(node, &end, 10);

	if (end == node || *end || nid >= PN_MAXNODE)
		exit(usage());
	return NODE_BIT(nid);
}

static char *use(size_t len)
{
	char *p = pn_map(len);

	if (p && pn_touch(p, len, pn_page_size(), NULL) != len) {
		errno = EFAULT;
		return NULL;
	}
	return p;
}

static int topology(void)
{
	unsigned long public = pn_public_nodes();
	int nid;

	printf("%d %d %d", pn_private_node(), pn_control_node(), pn_cpu_node());
	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (public & NODE_BIT(nid))
			printf(" %d", nid);
	puts("");
	return 0;
}

/* One line, "node:pages" for each node that has some. */
static int touch(size_t len)
{
	char *p = use(len);
	long count[PN_MAXNODE];
	int nid;

	if (!p || pn_count_nodes(p, len, count) < 0)
		return fail("touch");
	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (count[nid])
			printf("%d:%ld ", nid, count[nid]);
	puts("");
	return 0;
}

static int hold(size_t len)
{
	if (!use(len))
		return fail("hold");
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static int set(int mode, unsigned long mask)
{
	char *p = pn_map(pn_page_size());
	int task, range;

	if (!p)
		return fail("mmap");
	range = pn_mbind(p, pn_page_size(), mode, &mask, 0) ? errno : 0;
	task = pn_set_mempolicy(mode, &mask) ? errno : 0;
	printf("set_mempolicy: %s\nmbind: %s\n", strerror(task), strerror(range));
	return task || range;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";
	unsigned long mask;

	if (argc == 2 && !strcmp(command, "topology"))
		return topology();
	if (argc == 3 && !strcmp(command, "empty"))
		return pn_wait_empty(atoi(argv[2])) ? 1 : 0;
	if (argc == 3 && !strcmp(command, "allocations"))
		return printf("%ld\n", pn_allocations(atoi(argv[2]))) < 0;
	if (argc == 3 && !strcmp(command, "touch"))
		return touch(strtoul(argv[2], NULL, 10) << 10);
	if (argc == 3 && !strcmp(command, "sleep"))
		return hold(strtoul(argv[2], NULL, 10) << 10);
	if (argc == 4 && !strcmp(command, "set"))
		return set(mode_of(argv[2]), mask_of(argv[3]));
	if (argc < 5)
		return usage();

	mask = mask_of(argv[3]);
	if (pn_set_mempolicy(mode_of(argv[2]) | pn_flag(), &mask))
		return fail("set_mempolicy");
	if (!strcmp(command, "run")) {
		execvp(argv[4], argv + 4);
		return fail(argv[4]);
	}
	return strcmp(command, "hold") ? usage() :
	       hold(strtoul(argv[4], NULL, 10) << 10);
}
