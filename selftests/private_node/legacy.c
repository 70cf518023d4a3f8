// SPDX-License-Identifier: GPL-2.0
/*
 * The legacy hierarchy of cpusets (cgroup v1) and private nodes, rows 51 and 52:
 * there is no grant in it, a node is opened by the capability only, and nothing
 * that it does to public memory concerns private memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define PAGES		64
#define LEN		((size_t)PAGES * pn_page_size())

FIXTURE(legacy)
{
	int priv, control, cpu;
	char unified[40], root[40], group[80];
	bool mounted;
};

static int put(const char *dir, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int put(const char *dir, const char *name, const char *fmt, ...)
{
	char path[200], text[100];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return pn_write_file(path, text);
}

static int get(const char *dir, const char *name, char *text, size_t size)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return pn_read_line(path, text, size);
}

/*
 * A controller changes the hierarchy when no cgroup uses it any more, and the
 * end of the last one takes a moment.
 */
static int mount_v1(const char *where)
{
	double deadline = pn_now() + pn_slow(10);
	int ret;

	while ((ret = mount("pn", where, "cgroup", 0, "cpuset")) && errno == EBUSY &&
	       pn_now() < deadline)
		poll(NULL, 0, 50);
	return ret;
}

FIXTURE_SETUP(legacy)
{
	char text[64];

	self->priv = pn_private_node();
	self->control = pn_control_node();
	self->cpu = pn_cpu_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	/* Whoever used cpusets before may have left them on in the other one. */
	strcpy(self->unified, "/tmp/pn_unified.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->unified));
	ASSERT_EQ(0, mount("pn", self->unified, "cgroup2", 0, NULL));
	put(self->unified, "cgroup.subtree_control", "-cpuset");
	strcpy(self->root, "/tmp/pn_legacy.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->root));
	if (mount_v1(self->root)) {
		ASSERT_EQ(EINVAL, errno);
		SKIP(return, "no legacy hierarchy of cpusets");
	}
	self->mounted = true;
	snprintf(self->group, sizeof(self->group), "%s/pn", self->root);
	ASSERT_EQ(0, mkdir(self->group, 0755));
	ASSERT_EQ(0, get(self->root, "cpuset.cpus", text, sizeof(text)));
	ASSERT_EQ(0, put(self->group, "cpuset.cpus", "%s", text));
}

FIXTURE_TEARDOWN(legacy)
{
	if (*self->unified) {
		umount2(self->unified, MNT_DETACH);
		rmdir(self->unified);
	}
	if (*self->root) {
		if (self->mounted) {
			EXPECT_EQ(0, rmdir(self->group));
			/* Not detached: the controller has to go back. */
			EXPECT_EQ(0, umount(self->root));
		}
		rmdir(self->root);
	}
	if (self->mounted) {
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

/* There is nothing to grant, and the node is no node of cpusets. */
TEST_F(legacy, files)
{
	char text[64], path[200];

	ASSERT_EQ(0, put(self->group, "cpuset.mems", "%d", self->control));
	ASSERT_EQ(-1, put(self->group, "cpuset.mems", "%d", self->priv));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(-1, put(self->group, "cpuset.mems", "%d,%d", self->control, self->priv));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, get(self->group, "cpuset.mems", text, sizeof(text)));
	EXPECT_EQ(self->control, atoi(text));
	ASSERT_EQ(0, get(self->root, "cpuset.effective_mems", text, sizeof(text)));
	EXPECT_EQ(NULL, strchr(text, '0' + self->priv)) TH_LOG("%s", text);
	snprintf(path, sizeof(path), "%s/cpuset.mems.private", self->group);
	EXPECT_EQ(-1, access(path, F_OK));
	snprintf(path, sizeof(path), "%s/cpuset.mems.private.effective", self->root);
	EXPECT_EQ(-1, access(path, F_OK));
}

/* 0: everything as it should be; else the step that was not */
static int use(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(legacy) *self = arg;
	unsigned long mask = NODE_BIT(self->priv);
	char *p = pn_map(LEN), *q;
	char text[4096];

	if (put(self->group, "tasks", "0"))
		return 1;
	madvise(p, LEN, MADV_NOHUGEPAGE);
	if (pn_mbind(p, LEN, MPOL_BIND | pn_flag(), &mask, 0))
		return 2;
	if (pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
	    pn_on_node(p, LEN, self->priv) != PAGES)
		return 3;
	if (pn_read_file("/proc/self/status", text, sizeof(text)))
		return 4;
	/* What was granted: nothing */
	if (!pn_forced() && !strstr(text, "Mems_private_allowed_list:\t\n"))
		return 5;
	if (pn_drop_cap(CAP_SYS_NICE))
		return 6;
	/* The policy that was set with the capability stays in force. */
	madvise(p, LEN, MADV_DONTNEED);
	if (pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
	    pn_on_node(p, LEN, self->priv) != PAGES)
		return 7;
	q = pn_map(LEN);
	if (!pn_mbind(q, LEN, MPOL_BIND | pn_flag(), &mask, 0) || errno != EPERM)
		return 8;
	if (!pn_set_mempolicy(MPOL_PREFERRED | pn_flag(), &mask) || errno != EPERM)
		return 9;
	return 0;
}

/* "cgroup v1: the capability only" */
TEST_F(legacy, capability)
{
	int status;

	ASSERT_EQ(0, put(self->group, "cpuset.mems", "%d", self->cpu));
	status = pn_run(use, self, 60);
	EXPECT_EQ(0, status) TH_LOG("step %d", WEXITSTATUS(status));
}

static int wait_for_move(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(legacy) *self = arg;
	double deadline = pn_now() + pn_slow(10);
	unsigned long privs = NODE_BIT(self->priv), mask;
	char *p, *q;
	int mode;

	if (put(self->group, "tasks", "0"))
		return 1;
	p = pn_filled(LEN, self->priv);
	q = pn_filled(LEN, self->cpu);
	if (!p || !q)
		return 2;
	pn_hold(child);
	/* The control: public memory follows the cpuset */
	while (pn_on_node(q, LEN, self->control) != PAGES) {
		if (pn_now() > deadline)
			return 3;
		poll(NULL, 0, 50);
	}
	if (pn_on_node(p, LEN, self->priv) != PAGES)
		return 4;
	if (pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR) || mask != privs ||
	    mode != (MPOL_BIND | pn_flag()))
		return 5;
	if (pn_get_mempolicy(&mode, &mask, q, MPOL_F_ADDR) || mask != NODE_BIT(self->control))
		return 6;
	madvise(p, LEN, MADV_DONTNEED);
	if (pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
	    pn_on_node(p, LEN, self->priv) != PAGES)
		return 7;
	return 0;
}

/* cpuset.memory_migrate moves public memory and rebinds public nodes. */
TEST_F(legacy, migrate)
{
	struct pn_child child;
	int status;

	ASSERT_EQ(0, put(self->group, "cpuset.mems", "%d", self->cpu));
	ASSERT_EQ(0, put(self->group, "cpuset.memory_migrate", "1"));
	ASSERT_EQ(0, pn_spawn(&child, wait_for_move, self));
	EXPECT_EQ(0, pn_ready(&child, 30));
	EXPECT_EQ(0, put(self->group, "cpuset.mems", "%d", self->control));
	status = pn_reap(&child, 30);
	EXPECT_EQ(0, status) TH_LOG("step %d", WEXITSTATUS(status));
}

struct spread {
	FIXTURE_DATA(legacy) *legacy;
	int policy;
};

static int read_spread(struct pn_child *child, void *arg)
{
	struct spread *spread = arg;
	unsigned long mask = NODE_BIT(spread->legacy->priv);
	int ret;

	if (put(spread->legacy->group, "tasks", "0"))
		return 1;
	pn_prefault_stack();
	if (spread->policy >= 0 && pn_set_mempolicy(spread->policy, &mask))
		return 2;
	ret = pn_work_block_read(48 * MIB, 0);
	if (ret)
		return ret;
	pn_hold(child);
	return 0;
}

/* Row 51: page cache is spread over public nodes, whatever the policy. */
TEST_F_TIMEOUT(legacy, spread, 200)
{
	const int policies[] = { -1, MPOL_BIND | pn_flag(), MPOL_PREFERRED | pn_flag() };
	char mems[64];
	size_t i;

	ASSERT_EQ(0, get(self->root, "cpuset.mems", mems, sizeof(mems)));
	ASSERT_EQ(0, put(self->group, "cpuset.mems", "%s", mems));
	ASSERT_EQ(0, put(self->group, "cpuset.memory_spread_page", "1"));
	ASSERT_EQ(0, put(self->group, "cpuset.memory_spread_slab", "1"));
	for (i = 0; i < ARRAY_SIZE(policies); i++) {
		struct spread spread = { self, policies[i] };
		struct pn_child child;
		long before;

		pn_write_file("/proc/sys/vm/drop_caches", "3");
		before = pn_used(self->control);
		ASSERT_EQ(0, pn_spawn(&child, read_spread, &spread));
		EXPECT_EQ(0, pn_ready(&child, 60));
		/* The control: a share of the page cache, without any policy for it */
		EXPECT_LT((long)(8 * MIB) / pn_page_size(), pn_used(self->control) - before);
		EXPECT_EQ(0, pn_wait_only_anon(self->priv, i ? MIB / pn_page_size() : 0));
		EXPECT_EQ(0, pn_reap(&child, 60));
	}
}

TEST_HARNESS_MAIN
