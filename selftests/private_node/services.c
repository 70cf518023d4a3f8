// SPDX-License-Identifier: GPL-2.0
/*
 * Each service of the memory management against a private node: it acts if the
 * node has the capability, and then as on an ordinary node; if not, it does
 * nothing and says so where it can. Which of both is to be seen depends on
 * what the node was given (private_node=<nid>:<capabilities>).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define HUGE_SIZE	(2 * MIB)
#define KSM		"/sys/kernel/mm/ksm/"
#define PATTERN		0x5a

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

/* A mapping on a node, private or not, that was written to. */
static char *filled(int nid, int priv, size_t len)
{
	int mode = MPOL_BIND | (nid == priv ? pn_flag() : 0);
	char *p = pn_map_bound(len, mode, NODE_BIT(nid));

	if (!p || pn_touch(p, len, pn_page_size(), NULL) != len)
		return NULL;
	pn_settle();
	return p;
}

FIXTURE(services)
{
	int priv, control, cpu;
	bool swap;
};

FIXTURE_SETUP(services)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	self->cpu = pn_cpu_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
}

FIXTURE_TEARDOWN(services)
{
	if (self->priv < 0 || self->control < 0)
		return;
	if (self->swap) {
		EXPECT_EQ(0, pn_swap_off());
	}
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Rows 70, 132: MADV_PAGEOUT; what comes back is as it was. */
TEST_F_TIMEOUT(services, pageout, 120)
{
	size_t i, len = 8 * MIB;
	long pages = len / pn_page_size();
	char *p;

	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;

	p = filled(self->control, self->priv, len);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, len, MADV_PAGEOUT));
	EXPECT_GT(pages / 2, pn_on_node(p, len, self->control));
	munmap(p, len);

	p = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, p);
	for (i = 0; i < len; i += pn_page_size())
		p[i + 100] = i / pn_page_size() % 251;
	pn_settle();
	ASSERT_EQ(0, madvise(p, len, MADV_PAGEOUT));
	if (pn_has_cap(self->priv, "reclaim")) {
		EXPECT_GT(pages / 2, pn_on_node(p, len, self->priv));
	} else {
		EXPECT_EQ(pages, pn_on_node(p, len, self->priv));
	}
	for (i = 0; i < len; i += pn_page_size())
		ASSERT_EQ((char)(i / pn_page_size() % 251), p[i + 100]);
	munmap(p, len);
}

/* Row 70: MADV_FREE marks nothing. */
TEST_F(services, lazyfree)
{
	size_t len = 4 * MIB;
	long pages = len / pn_page_size(), before;
	char *p = filled(self->control, self->priv, len);

	ASSERT_NE(NULL, p);
	before = pn_vmstat("pglazyfree");
	ASSERT_EQ(0, madvise(p, len, MADV_FREE));
	/* Some wait in a batch of the CPU */
	pages -= 64;
	EXPECT_LE(pages, pn_vmstat("pglazyfree") - before);
	munmap(p, len);

	p = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, p);
	before = pn_vmstat("pglazyfree");
	ASSERT_EQ(0, madvise(p, len, MADV_FREE));
	if (pn_has_cap(self->priv, "reclaim")) {
		EXPECT_LE(pages, pn_vmstat("pglazyfree") - before);
	} else {
		EXPECT_EQ(0, pn_vmstat("pglazyfree") - before);
	}
	munmap(p, len);
}

/* Row 120: nor is it memory that others could get. */
TEST_F(services, lazyfree_available)
{
	size_t len = 128 * MIB;
	long kb = len / 1024, before;
	char *p = filled(self->control, self->priv, len);

	ASSERT_NE(NULL, p);
	before = pn_meminfo(-1, "MemAvailable");
	ASSERT_EQ(0, madvise(p, len, MADV_FREE));
	pn_settle();
	EXPECT_LT(kb / 4, pn_meminfo(-1, "MemAvailable") - before);
	munmap(p, len);

	p = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, p);
	before = pn_meminfo(-1, "MemAvailable");
	ASSERT_EQ(0, madvise(p, len, MADV_FREE));
	pn_settle();
	EXPECT_GT(kb / 4, pn_meminfo(-1, "MemAvailable") - before);
	munmap(p, len);
}

/* Row 70: the reclaim file of the node */
TEST_F_TIMEOUT(services, node_reclaim, 120)
{
	size_t len = 32 * MIB;
	long pages = len / pn_page_size();
	char path[100], *p;

	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	self->swap = true;
	p = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, p);
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/reclaim", self->priv);
	if (pn_has_cap(self->priv, "reclaim")) {
		EXPECT_EQ(0, pn_write_file(path, "16M swappiness=max"));
		EXPECT_GT(pages - (long)(8 * MIB) / pn_page_size(),
			  pn_on_node(p, len, self->priv));
	} else {
		EXPECT_EQ(-1, pn_write_file(path, "16M swappiness=max"));
		EXPECT_EQ(EAGAIN, errno);
		EXPECT_EQ(pages, pn_on_node(p, len, self->priv));
	}
	munmap(p, len);
}

/* A huge page of public memory, in an area of twice that size; or NULL */
static char *huge_page(char **area)
{
	char *p;

	*area = pn_map(2 * HUGE_SIZE);
	if (!*area)
		return NULL;
	p = (char *)(((unsigned long)*area + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	if (madvise(p, HUGE_SIZE, MADV_HUGEPAGE))
		return NULL;
	*p = 1;
	/* All came with one touch */
	return pn_node_of(p + HUGE_SIZE - 1) < 0 ? NULL : p;
}

/*
 * Row 44: a part of a huge page is bound to the node. What is beside it has another
 * policy, and does not go there.
 */
TEST_F_TIMEOUT(services, mbind_part, 120)
{
	unsigned long mask = NODE_BIT(self->priv);
	const size_t half = HUGE_SIZE / 2;
	char *area, *p = huge_page(&area);

	ASSERT_NE(NULL, p);
	pn_mbind(p, half, MPOL_BIND | pn_flag(), &mask, MPOL_MF_MOVE);
	EXPECT_EQ(0, pn_on_node(p + half, half, self->priv));
	/* The whole of it may go, with the capability. */
	pn_mbind(p, HUGE_SIZE, MPOL_BIND | pn_flag(), &mask, MPOL_MF_MOVE);
	EXPECT_EQ(pn_has_cap(self->priv, "migrate") ? (long)(HUGE_SIZE / pn_page_size()) : 0,
		  pn_on_node(p, HUGE_SIZE, self->priv));
	munmap(area, 2 * HUGE_SIZE);
}

/* The same when it is the policy of the task that is to be followed from now on */
TEST_F_TIMEOUT(services, mbind_part_default, 120)
{
	unsigned long mask = NODE_BIT(self->priv);
	const size_t half = HUGE_SIZE / 2;
	char *area, *p = huge_page(&area);

	ASSERT_NE(NULL, p);
	pn_prefault_stack();
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND | pn_flag(), &mask));
	pn_mbind(p, half, MPOL_DEFAULT, NULL, MPOL_MF_MOVE);
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
	EXPECT_EQ(0, pn_on_node(p + half, half, self->priv));
	munmap(area, 2 * HUGE_SIZE);
}

/* And when one half of it is mapped somewhere else */
TEST_F_TIMEOUT(services, mbind_part_moved, 120)
{
	unsigned long mask = NODE_BIT(self->priv);
	const size_t half = HUGE_SIZE / 2;
	char *area, *p = huge_page(&area), *q = pn_map(half);

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	ASSERT_EQ(q, mremap(p + half, half, half, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	ASSERT_EQ(p + half, mmap(p + half, half, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	pn_mbind(p, HUGE_SIZE, MPOL_BIND | pn_flag(), &mask, MPOL_MF_MOVE);
	EXPECT_EQ(0, pn_on_node(q, half, self->priv));
	munmap(q, half);
	munmap(area, 2 * HUGE_SIZE);
}

#define GROUP	"/sys/fs/cgroup/pn_services"

/* In a memory cgroup, with memory on the node; what is written to it stays. */
static int in_group(struct pn_child *child, void *arg)
{
	size_t i, len = 48 * MIB;
	int *nid = arg;
	char *p;

	if (pn_write_file(GROUP "/cgroup.procs", "0"))
		return 1;
	p = filled(*nid, *nid, len);
	if (!p)
		return 2;
	for (i = 0; i < len; i += pn_page_size())
		p[i + 1] = i / pn_page_size() % 251;
	pn_hold(child);
	for (i = 0; i < len; i += pn_page_size())
		if (p[i + 1] != (char)(i / pn_page_size() % 251))
			return 3;
	return 0;
}

/*
 * Rows 55, 70: what the limit of a memory cgroup takes back, and what its file is
 * asked for. At the limit, without the capability, somebody is killed.
 */
TEST_F_TIMEOUT(services, memcg_reclaim, 300)
{
	bool reclaim = pn_has_cap(self->priv, "reclaim");
	struct pn_child child;
	long used;

	ASSERT_EQ(0, pn_swap_on(128 * MIB));
	self->swap = true;
	pn_write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	EXPECT_EQ(0, pn_spawn(&child, in_group, &self->priv));
	EXPECT_EQ(0, pn_ready(&child, 60));
	used = pn_used(self->priv);
	EXPECT_EQ(reclaim ? 0 : -1, pn_write_file(GROUP "/memory.reclaim", "16M swappiness=max"));
	if (reclaim) {
		EXPECT_GT(used - (long)(8 * MIB) / pn_page_size(), pn_used(self->priv));
	} else {
		/* But for what CPUs have in store */
		EXPECT_GT(used + 64, pn_used(self->priv));
		EXPECT_LT(used - 64, pn_used(self->priv));
	}
	EXPECT_EQ(0, pn_reap(&child, 60));

	EXPECT_EQ(0, pn_write_file(GROUP "/memory.max", "25165824"));
	EXPECT_EQ(0, pn_spawn(&child, in_group, &self->priv));
	EXPECT_EQ(reclaim ? 0 : -1, pn_ready(&child, 60));
	EXPECT_EQ(reclaim ? 0 : SIGKILL, pn_reap(&child, 60));
	EXPECT_EQ(0, pn_remove_group(GROUP));
}

/*
 * Rows 45, 132: a mapping larger than the node fits if there is swap space, and
 * public memory has no part in it; else there is SIGBUS.
 */
TEST_F_TIMEOUT(services, overcommitted, 600)
{
	long before = pn_node_vmstat(self->control, "pgsteal_direct") +
		      pn_node_vmstat(self->control, "pgsteal_kswapd");
	long kills = pn_vmstat("oom_kill");
	size_t len, done, i, wrong = 0;
	struct pn_zones zones;
	struct pn_fault fault;
	char *p, *rest;

	ASSERT_EQ(0, pn_swap_on(512 * MIB));
	self->swap = true;
	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	/* Huge pages to get most of it quickly */
	len = (zones.free * pn_page_size() - 16 * MIB) & ~(HUGE_SIZE - 1);
	p = pn_map_bound(len, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, p);
	madvise(p, len, MADV_HUGEPAGE);
	ASSERT_EQ(len, pn_touch(p, len, HUGE_SIZE, NULL));
	rest = pn_map_bound(48 * MIB, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, rest);
	done = pn_touch(rest, 48 * MIB, pn_page_size(), &fault);
	if (pn_has_cap(self->priv, "reclaim")) {
		EXPECT_EQ(48 * MIB, done);
		EXPECT_LT(0, pn_node_vmstat(self->priv, "pgsteal_direct") +
			  pn_node_vmstat(self->priv, "pgsteal_kswapd"));
		for (i = 0; i < done; i += pn_page_size())
			wrong += *(unsigned long *)(rest + i) != (unsigned long)(rest + i);
		EXPECT_EQ(0, wrong);
	} else {
		EXPECT_GT(48 * MIB, done);
		EXPECT_EQ(SIGBUS, fault.sig);
		EXPECT_EQ(0, pn_node_vmstat(self->priv, "pgscan_direct"));
	}
	/* What is swapped out is compressed in public memory, which may be short of it. */
	EXPECT_GT((long)(MIB / pn_page_size()),
		  pn_node_vmstat(self->control, "pgsteal_direct") +
		  pn_node_vmstat(self->control, "pgsteal_kswapd") - before);
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
	munmap(p, len);
	munmap(rest, 48 * MIB);
}

/* Rows 43, 132: move_pages(2) to and from the node */
TEST_F(services, move_pages)
{
	size_t len = 64 * pn_page_size();
	int status[64];
	char *p = filled(self->control, self->priv, len), *q;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_move_range(p, len, self->cpu, status));
	EXPECT_EQ(64, pn_on_node(p, len, self->cpu));

	q = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, q);
	if (pn_has_cap(self->priv, "migrate")) {
		EXPECT_EQ(0, pn_move_range(p, len, self->priv, status));
		EXPECT_EQ(64, pn_on_node(p, len, self->priv));
		EXPECT_EQ(self->priv, status[63]);
		EXPECT_EQ(0, pn_move_range(q, len, self->cpu, status));
		EXPECT_EQ(64, pn_on_node(q, len, self->cpu));
	} else {
		EXPECT_EQ(-1, pn_move_range(p, len, self->priv, status));
		EXPECT_EQ(ENODEV, errno);
		EXPECT_EQ(64, pn_on_node(p, len, self->cpu));
		pn_move_range(q, len, self->cpu, status);
		EXPECT_EQ(64, pn_on_node(q, len, self->priv));
	}
	munmap(p, len);
	munmap(q, len);
}

/* Decision 8: page cache does not move there, capability or not. */
TEST_F(services, move_page_cache)
{
	size_t len = 16 * pn_page_size();
	int status[16], fd = memfd_create("pn", 0);
	char *p;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, len));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	pn_move_range(p, len, self->control, status);
	EXPECT_EQ(16, pn_on_node(p, len, self->control));
	if (pn_has_cap(self->priv, "migrate")) {
		pn_move_range(p, len, self->priv, status);
		EXPECT_EQ(-EACCES, status[0]);
	} else {
		EXPECT_EQ(-1, pn_move_range(p, len, self->priv, status));
		EXPECT_EQ(ENODEV, errno);
	}
	EXPECT_EQ(16, pn_on_node(p, len, self->control));
	munmap(p, len);
	close(fd);
}

static int move_without_right(struct pn_child *child, void *arg)
{
	size_t len = 16 * pn_page_size();
	int *nodes = arg, status[16];
	char *p = filled(nodes[1], nodes[0], len);

	if (!p)
		return 1;
	/* CAP_SYS_NICE */
	if (pn_drop_cap(23))
		return 2;
	if (pn_move_range(p, len, nodes[0], status) != -1)
		return 3;
	if (errno != EACCES)
		return 4;
	if (pn_migrate_pages(0, NODE_BIT(nodes[1]), NODE_BIT(nodes[0])) != -1)
		return 5;
	return errno == EACCES ? 0 : 6;
}

/* "EACCES without the grant" */
TEST_F(services, move_without_right)
{
	int nodes[2] = { self->priv, self->control };
	int status;

	/* Without the capability, it is said of all pages: see move_pages. */
	status = WEXITSTATUS(pn_run(move_without_right, nodes, 30));
	EXPECT_EQ(pn_has_cap(self->priv, "migrate") ? 0 : 4, status);
}

/* Row 43: migrate_pages(2) to and from the node */
TEST_F(services, migrate_pages)
{
	size_t len = 64 * pn_page_size();
	char *p = filled(self->control, self->priv, len), *q;

	ASSERT_NE(NULL, p);
	/* That there is no such process comes first, whatever the node */
	EXPECT_EQ(-1, pn_migrate_pages(1 << 30, NODE_BIT(self->control),
				       NODE_BIT(self->priv)));
	EXPECT_EQ(ESRCH, errno);
	ASSERT_LE(0, pn_migrate_pages(0, NODE_BIT(self->control), NODE_BIT(self->cpu)));
	EXPECT_EQ(64, pn_on_node(p, len, self->cpu));
	munmap(p, len);

	p = filled(self->control, self->priv, len);
	ASSERT_NE(NULL, p);
	q = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, q);
	if (pn_has_cap(self->priv, "migrate")) {
		EXPECT_LE(0, pn_migrate_pages(0, NODE_BIT(self->priv), NODE_BIT(self->cpu)));
		EXPECT_EQ(64, pn_on_node(q, len, self->cpu));
		EXPECT_LE(0, pn_migrate_pages(0, NODE_BIT(self->control),
					      NODE_BIT(self->priv)));
		EXPECT_EQ(64, pn_on_node(p, len, self->priv));
	} else {
		EXPECT_EQ(-1, pn_migrate_pages(0, NODE_BIT(self->control),
					       NODE_BIT(self->priv)));
		EXPECT_EQ(ENODEV, errno);
		EXPECT_EQ(64, pn_on_node(p, len, self->control));
		pn_migrate_pages(0, NODE_BIT(self->priv), NODE_BIT(self->cpu));
		EXPECT_EQ(64, pn_on_node(q, len, self->priv));
	}
	munmap(p, len);
	munmap(q, len);
}

/* Row 44: mbind(MPOL_MF_MOVE) out of the node */
TEST_F(services, mbind_move)
{
	size_t len = 64 * pn_page_size();
	unsigned long cpus = NODE_BIT(self->cpu), privs = NODE_BIT(self->priv);
	char *p = filled(self->priv, self->priv, len);

	ASSERT_NE(NULL, p);
	if (pn_has_cap(self->priv, "migrate")) {
		EXPECT_EQ(0, pn_mbind(p, len, MPOL_BIND, &cpus, MPOL_MF_MOVE | MPOL_MF_STRICT));
		EXPECT_EQ(64, pn_on_node(p, len, self->cpu));
		EXPECT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &privs,
				      MPOL_MF_MOVE | MPOL_MF_STRICT));
		EXPECT_EQ(64, pn_on_node(p, len, self->priv));
	} else {
		EXPECT_EQ(-1, pn_mbind(p, len, MPOL_BIND, &cpus,
				       MPOL_MF_MOVE | MPOL_MF_STRICT));
		EXPECT_EQ(EIO, errno);
		EXPECT_EQ(64, pn_on_node(p, len, self->priv));
	}
	munmap(p, len);
}

static int move_all(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(services) *self = arg;

	/* With the capability, pages that others map, too, are moved */
	pn_migrate_pages(0, NODE_BIT(self->control), NODE_BIT(self->priv));
	return 0;
}

/* Row 43: what two have after a fork is not the memory of one of them. */
TEST_F(services, migrate_forked)
{
	size_t len = 64 * pn_page_size();
	char *p = filled(self->control, self->priv, len);

	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, pn_run(move_all, self, 30));
	EXPECT_EQ(64, pn_on_node(p, len, self->control));
	munmap(p, len);
}

/*
 * The same for mbind(MPOL_DEFAULT), which moves to where the policy of the task
 * says.
 */
TEST_F(services, mbind_default)
{
	unsigned long nodes[2] = { NODE_BIT(self->cpu), NODE_BIT(self->priv) };
	int modes[2] = { MPOL_BIND, MPOL_BIND | pn_flag() };
	int nids[2] = { self->cpu, self->priv }, i;
	size_t len = 64 * pn_page_size();

	for (i = 0; i < 2; i++) {
		bool moves = !i || pn_has_cap(self->priv, "migrate");
		char *p = filled(self->control, self->priv, len);

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, pn_set_mempolicy(modes[i], &nodes[i]));
		EXPECT_EQ(0, pn_mbind(p, len, MPOL_DEFAULT, NULL, MPOL_MF_MOVE));
		ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
		EXPECT_EQ(64, pn_on_node(p, len, moves ? nids[i] : self->control));
		munmap(p, len);
	}
}

/*
 * What is of a file does not move to the node: EIO with MPOL_MF_STRICT. With
 * the capability that is seen when the policy has been set, without it before.
 */
TEST_F(services, mbind_move_page_cache)
{
	size_t len = 16 * pn_page_size();
	unsigned long controls = NODE_BIT(self->control), privs = NODE_BIT(self->priv), mask;
	int fd = memfd_create("pn", 0), mode;
	char *p;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, len));
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(0, pn_mbind(p, len, MPOL_BIND, &controls, MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(16, pn_on_node(p, len, self->control));
	EXPECT_EQ(-1, pn_mbind(p, len, MPOL_BIND | pn_flag(), &privs,
			       MPOL_MF_MOVE | MPOL_MF_STRICT));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(16, pn_on_node(p, len, self->control));
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR));
	EXPECT_EQ(pn_has_cap(self->priv, "migrate") ? MPOL_BIND | pn_flag() : MPOL_BIND, mode);
	munmap(p, len);
	close(fd);
}

#define PROACTIVE	"/proc/sys/vm/compaction_proactiveness"

/* Rows 85, 86: compaction by request looks at the node, and stays in it. */
TEST_F_TIMEOUT(services, compact, 120)
{
	size_t len = 16 * MIB;
	long pages = len / pn_page_size(), before;
	char path[100], was[20], *p = filled(self->priv, self->priv, len);
	size_t i;

	ASSERT_NE(NULL, p);
	/* Holes for the free scanner, pages for the other */
	for (i = 0; i < len; i += 2 * pn_page_size())
		madvise(p + i, pn_page_size(), MADV_DONTNEED);
	pn_settle();
	/* It looks now and then by itself, on any node. */
	ASSERT_EQ(0, pn_read_line(PROACTIVE, was, sizeof(was)));
	ASSERT_EQ(0, pn_write_file(PROACTIVE, "0"));
	before = pn_vmstat("compact_migrate_scanned");
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/compact", self->priv);
	ASSERT_EQ(0, pn_write_file(path, "1"));
	if (pn_has_cap(self->priv, "compaction")) {
		EXPECT_LT(0, pn_vmstat("compact_migrate_scanned") - before);
	} else {
		EXPECT_EQ(0, pn_vmstat("compact_migrate_scanned") - before);
	}
	EXPECT_EQ(pages / 2, pn_on_node(p, len, self->priv));
	munmap(p, len);

	/* The control: the same for an ordinary node */
	p = filled(self->control, self->priv, len);
	ASSERT_NE(NULL, p);
	before = pn_vmstat("compact_migrate_scanned");
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/compact", self->control);
	ASSERT_EQ(0, pn_write_file(path, "1"));
	EXPECT_LT(0, pn_vmstat("compact_migrate_scanned") - before);
	EXPECT_EQ(0, pn_write_file(PROACTIVE, was));
	munmap(p, len);
}

struct hints {
	int nid, priv;
	double seconds;		/* at most; how long it took */
};

/* 0: balancing has moved pages from the node, 1: it has not, else an error */
static int hint_faults(struct hints *hints)
{
	size_t len = 4 * MIB;
	long pages = len / pn_page_size(), before;
	double start = pn_now();
	char *p = filled(hints->nid, hints->priv, len);

	/* Balancing keeps off memory that is bound. */
	if (!p || pn_mbind(p, len, MPOL_DEFAULT, NULL, 0))
		return 2;
	before = pn_vmstat("numa_hint_faults");
	while (pn_now() < start + hints->seconds) {
		pn_touch(p, len, pn_page_size(), NULL);
		if (pn_on_node(p, len, hints->nid) < pages)
			break;
	}
	hints->seconds = pn_now() - start;
	if (pn_on_node(p, len, hints->nid) < pages)
		return pn_vmstat("numa_hint_faults") > before ? 0 : 3;
	return 1;
}

static int balance(struct pn_child *child, void *arg)
{
	int *nodes = arg;
	struct hints hints = { nodes[0], nodes[1], pn_slow(20) };

	pn_pin(0);
	if (hint_faults(&hints))
		return 2;
	/* If nothing shall happen, three times as long as the control took */
	hints.nid = nodes[1];
	hints.seconds = pn_has_cap(nodes[1], "balancing") ? pn_slow(20) : 3 * hints.seconds + 1;
	return hint_faults(&hints);
}

/* Row 82: no hinting faults for, and no migration of, what is on the node */
TEST_F_TIMEOUT(services, balancing, 300)
{
	int nodes[2] = { self->control, self->priv }, status;

	ASSERT_EQ(0, pn_write_file("/proc/sys/kernel/numa_balancing", "1"));
	pn_write_file("/sys/kernel/debug/sched/numa_balancing/scan_delay_ms", "100");
	pn_write_file("/sys/kernel/debug/sched/numa_balancing/scan_period_min_ms", "100");
	status = pn_run(balance, nodes, 200);
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(pn_has_cap(self->priv, "balancing") ? 0 : 1, WEXITSTATUS(status));
	EXPECT_EQ(0, pn_write_file("/proc/sys/kernel/numa_balancing", "0"));
}

/* Row 105: a long-term pin works in place or not at all. */
TEST_F(services, longterm_pin)
{
	size_t len = 64 * pn_page_size();
	char *p = filled(self->control, self->priv, len), *q, *r;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_pin_longterm(p, len));
	munmap(p, len);

	p = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, p);
	/* and one that the pin itself faults in */
	q = pn_map_bound(len, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, q);
	r = filled(self->control, self->priv, len);
	ASSERT_NE(NULL, r);
	EXPECT_EQ(pn_has_cap(self->priv, "pin") ? 0 : -ENOMEM, pn_pin_longterm(p, len));
	EXPECT_EQ(64, pn_on_node(p, len, self->priv));
	EXPECT_EQ(pn_has_cap(self->priv, "pin") ? 0 : -ENOMEM, pn_pin_longterm(q, len));
	EXPECT_EQ(0, pn_on_node(q, len, self->control));
	EXPECT_EQ(0, pn_on_node(q, len, self->cpu));
	munmap(p, len);
	munmap(q, len);
	munmap(r, len);
	/* The rings give their pins back from a work item. */
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Row 106: a pin for the time of a system call is nobody's business. */
TEST_F(services, short_pin)
{
	size_t len = 16 * pn_page_size();
	char *p = filled(self->priv, self->priv, len);
	struct iovec iov = { p, len };
	int fds[2];

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ((ssize_t)len, vmsplice(fds[1], &iov, 1, 0));
	close(fds[0]);
	close(fds[1]);
	EXPECT_EQ(16, pn_on_node(p, len, self->priv));
	munmap(p, len);
}

static long ksm_merged(char *p, size_t len)
{
	long scans = pn_read_long(KSM "full_scans");
	double end = pn_now() + pn_slow(20);
	long shared;

	memset(p, PATTERN, len);
	if (madvise(p, len, MADV_MERGEABLE))
		return -1;
	pn_write_file(KSM "pages_to_scan", "10000");
	pn_write_file(KSM "sleep_millisecs", "0");
	pn_write_file(KSM "run", "1");
	while (pn_read_long(KSM "full_scans") < scans + 3 && pn_now() < end)
		usleep(20000);
	shared = pn_read_long(KSM "full_scans") < scans + 3 ? -1 :
		 pn_read_long(KSM "pages_sharing");
	pn_write_file(KSM "run", "2");
	pn_write_file(KSM "run", "0");
	return shared;
}

/* Row 92: KSM neither scans nor merges. */
TEST_F_TIMEOUT(services, ksm, 200)
{
	size_t len = 64 * pn_page_size();
	char *p = filled(self->control, self->priv, len), *q;
	long shared;

	ASSERT_NE(NULL, p);
	EXPECT_LT(32, ksm_merged(p, len));
	/* Identical pages on both sides: nothing crosses the border. */
	q = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, q);
	if (pn_has_cap(self->priv, "merge")) {
		EXPECT_LT(64 + 32, ksm_merged(q, len));
	} else {
		shared = ksm_merged(q, len);
		EXPECT_LE(0, shared);
		EXPECT_GT(64, shared);
	}
	EXPECT_EQ(64, pn_on_node(q, len, self->priv));
	EXPECT_EQ(64, pn_on_node(p, len, self->control));
	munmap(p, len);
	munmap(q, len);
}

/*
 * Row 92: what is there by the policy of a task is not merged, as KSM would not
 * know it when it takes the pages apart.
 */
TEST_F_TIMEOUT(services, ksm_task_policy, 200)
{
	unsigned long control = NODE_BIT(self->control), priv = NODE_BIT(self->priv);
	size_t len = 64 * pn_page_size();
	char *p = pn_map(len), *q = pn_map(len);
	long shared;

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	pn_prefault_stack();
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND, &control));
	memset(p, 1, len);
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND | pn_flag(), &priv));
	memset(q, 1, len);
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
	ASSERT_EQ(64, pn_on_node(p, len, self->control));
	ASSERT_EQ(64, pn_on_node(q, len, self->priv));

	EXPECT_LT(32, ksm_merged(p, len));
	shared = ksm_merged(q, len);
	EXPECT_LE(0, shared);
	EXPECT_GT(64, shared);
	EXPECT_EQ(64, pn_on_node(q, len, self->priv));
	munmap(p, len);
	munmap(q, len);
}

static bool is_huge(char *p)
{
	char line[256];
	bool here = false;
	FILE *smaps = fopen("/proc/self/smaps", "re");
	long kb = 0;

	if (!smaps)
		return false;
	while (fgets(line, sizeof(line), smaps)) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)p && (unsigned long)p < end;
		else if (here && sscanf(line, "AnonHugePages: %ld", &kb) == 1)
			break;
	}
	fclose(smaps);
	return kb >= (long)(HUGE_SIZE / 1024);
}

/* They stay so until it is asked for. */
static char *lasting_small_pages(int nid, int priv)
{
	char *p = pn_map(2 * HUGE_SIZE), *q;
	unsigned long mask = NODE_BIT(nid);

	if (!p)
		return NULL;
	q = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	if (pn_mbind(q, HUGE_SIZE, MPOL_BIND | (nid == priv ? pn_flag() : 0), &mask, 0))
		return NULL;
	madvise(q, HUGE_SIZE, MADV_NOHUGEPAGE);
	if (pn_touch(q, HUGE_SIZE, pn_page_size(), NULL) != HUGE_SIZE)
		return NULL;
	pn_settle();
	return q;
}

static char *small_pages(int nid, int priv)
{
	char *p = lasting_small_pages(nid, priv);

	if (p)
		madvise(p, HUGE_SIZE, MADV_HUGEPAGE);
	return p;
}

/* Rows 87, 88: MADV_COLLAPSE stays on the node or fails. */
TEST_F_TIMEOUT(services, collapse, 120)
{
	long pages = HUGE_SIZE / pn_page_size();
	char *p = small_pages(self->control, self->priv);

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, madvise(p, HUGE_SIZE, MADV_COLLAPSE));
	EXPECT_TRUE(is_huge(p));
	munmap(p, HUGE_SIZE);

	p = small_pages(self->priv, self->priv);
	ASSERT_NE(NULL, p);
	if (pn_has_cap(self->priv, "collapse")) {
		EXPECT_EQ(0, madvise(p, HUGE_SIZE, MADV_COLLAPSE));
		EXPECT_TRUE(is_huge(p));
	} else {
		EXPECT_EQ(-1, madvise(p, HUGE_SIZE, MADV_COLLAPSE));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_FALSE(is_huge(p));
	}
	EXPECT_EQ(pages, pn_on_node(p, HUGE_SIZE, self->priv));
	munmap(p, HUGE_SIZE);
}

/* Row 88: no more of the node than what the policy asks for now */
TEST_F_TIMEOUT(services, collapse_without_policy, 120)
{
	long pages = HUGE_SIZE / pn_page_size();
	int nodes[] = { self->control, self->priv }, i;

	for (i = 0; i < 2; i++) {
		char *p = small_pages(nodes[i], self->priv);

		ASSERT_NE(NULL, p);
		madvise(p, HUGE_SIZE / 2, MADV_DONTNEED);
		ASSERT_EQ(0, pn_mbind(p, HUGE_SIZE, MPOL_DEFAULT, NULL, 0));
		ASSERT_EQ(i ? -1 : 0, madvise(p, HUGE_SIZE, MADV_COLLAPSE));
		EXPECT_EQ(!i, is_huge(p));
		EXPECT_EQ(i ? pages / 2 : pages, pn_on_node(p, HUGE_SIZE, nodes[i]));
		munmap(p, HUGE_SIZE);
	}
}

/* Row 87: a range with pages of both kinds stays as it is. */
TEST_F_TIMEOUT(services, collapse_mixed, 120)
{
	long pages = HUGE_SIZE / pn_page_size();
	unsigned long mask = NODE_BIT(self->control);
	char *p = small_pages(self->priv, self->priv);

	ASSERT_NE(NULL, p);
	madvise(p, HUGE_SIZE / 4, MADV_DONTNEED);
	ASSERT_EQ(0, pn_mbind(p, HUGE_SIZE, MPOL_BIND, &mask, 0));
	ASSERT_EQ(HUGE_SIZE / 4, pn_touch(p, HUGE_SIZE / 4, pn_page_size(), NULL));
	pn_settle();
	EXPECT_EQ(-1, madvise(p, HUGE_SIZE, MADV_COLLAPSE));
	EXPECT_EQ(pages / 4, pn_on_node(p, HUGE_SIZE, self->control));
	EXPECT_EQ(pages - pages / 4, pn_on_node(p, HUGE_SIZE, self->priv));
	munmap(p, HUGE_SIZE);
}

#define SCAN_SLEEP	"/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"

/* Takes all of a node. */
static char *full_node(int nid, size_t *len)
{
	struct pn_zones zones;
	struct pn_fault fault;
	char *p;

	if (pn_zones(nid, &zones))
		return NULL;
	*len = zones.managed * pn_page_size() + 64 * MIB;
	p = pn_map_bound(*len, MPOL_BIND | pn_flag(), NODE_BIT(nid));
	if (!p)
		return NULL;
	madvise(p, *len, MADV_HUGEPAGE);
	return pn_touch(p, *len, pn_page_size(), &fault) < *len && fault.sig == SIGBUS ?
	       p : NULL;
}

/* Row 88: khugepaged does not rest for others as a private node is full. */
TEST_F_TIMEOUT(services, collapse_full, 200)
{
	double deadline;
	char *p, *q, *all = NULL;
	char was[32];
	size_t len;

	q = lasting_small_pages(self->control, self->priv);
	p = lasting_small_pages(self->priv, self->priv);
	ASSERT_NE(NULL, q);
	ASSERT_NE(NULL, p);
	/* The one at the lower address comes first. */
	ASSERT_LT(p, q);
	if (pn_has_cap(self->priv, "collapse")) {
		all = full_node(self->priv, &len);
		ASSERT_NE(NULL, all);
	}
	madvise(p, HUGE_SIZE, MADV_HUGEPAGE);
	madvise(q, HUGE_SIZE, MADV_HUGEPAGE);
	ASSERT_EQ(0, pn_read_line(SCAN_SLEEP, was, sizeof(was)));
	ASSERT_EQ(0, pn_write_file(SCAN_SLEEP, "10"));
	/* It rests for a minute. */
	deadline = pn_now() + 50;
	while (!is_huge(q) && pn_now() < deadline)
		poll(NULL, 0, 50);
	EXPECT_TRUE(is_huge(q));
	EXPECT_FALSE(is_huge(p));
	EXPECT_EQ(0, pn_write_file(SCAN_SLEEP, was));
	if (all)
		munmap(all, len);
	munmap(p, HUGE_SIZE);
	munmap(q, HUGE_SIZE);
}

/* Row 108: soft offlining, an early warning, does not move a page elsewhere. */
TEST_F(services, soft_offline)
{
	size_t len = 4 * pn_page_size();
	char *p = filled(self->control, self->priv, len);
	unsigned long was;

	ASSERT_NE(NULL, p);
	was = pn_frame(p);
	ASSERT_NE(0, was);
	if (madvise(p, pn_page_size(), 101 /* MADV_SOFT_OFFLINE */)) {
		ASSERT_EQ(EINVAL, errno);
		SKIP(return, "no memory failure handling");
	}
	munmap(p, len);
	EXPECT_EQ(0, pn_unpoison(was));
	p = filled(self->priv, self->priv, len);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(-1, madvise(p, pn_page_size(), 101));
	EXPECT_EQ(4, pn_on_node(p, len, self->priv));
	munmap(p, len);
}

/* Row 68: which threads the node has */
TEST_F(services, threads)
{
	static const char * const names[] = { "kswapd", "kcompactd" };
	static const char * const caps[] = { "reclaim", "compaction" };
	char command[100];
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(command, sizeof(command), "grep -qsx '%s%d' /proc/[0-9]*/comm",
			 names[i], self->control);
		EXPECT_EQ(0, system(command));
		snprintf(command, sizeof(command), "grep -qsx '%s%d' /proc/[0-9]*/comm",
			 names[i], self->priv);
		EXPECT_EQ(pn_has_cap(self->priv, caps[i]), system(command) == 0)
			TH_LOG("%s", names[i]);
	}
}

TEST_HARNESS_MAIN
