// SPDX-License-Identifier: GPL-2.0
/*
 * What looks at private memory, protects or locks it, and what is mapped in its
 * place: none of it takes a page of the node, or moves one. Rows 91, 95, 99, 100,
 * 119 and 124.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/fs.h>
#include <linux/kernel-page-flags.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define PAGES		64
#define LEN		((size_t)PAGES * pn_page_size())
#define HUGE_SIZE	(2 * MIB)
#define IDLE		"/sys/kernel/mm/page_idle/bitmap"
#define SOFT_DIRTY	(1ULL << 55)
#define PRESENT		(1ULL << 63)
#define PFN_MASK	((1ULL << 55) - 1)

FIXTURE(passive)
{
	int priv, control;
};

FIXTURE_SETUP(passive)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
}

FIXTURE_TEARDOWN(passive)
{
	if (self->priv < 0 || self->control < 0)
		return;
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static long wrong(const char *p)
{
	long i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += *(unsigned long *)(p + i * pn_page_size()) !=
		     (unsigned long)(p + i * pn_page_size());
	return n;
}

/* Row 91: what was never written is the zero page, and takes nothing. */
TEST_F(passive, zero_page)
{
	const int nodes[2] = { self->control, self->priv };
	int i;

	for (i = 0; i < 2; i++) {
		unsigned long mask = NODE_BIT(nodes[i]);
		long before, sum = 0, n;
		char *p;

		p = pn_map_bound(LEN, MPOL_BIND | (i ? pn_flag() : 0), mask);
		ASSERT_NE(NULL, p);
		madvise(p, LEN, MADV_NOHUGEPAGE);
		before = pn_allocations(nodes[i]);
		for (n = 0; n < PAGES; n++)
			sum += p[n * pn_page_size()];
		EXPECT_EQ(0, sum);
		if (i) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
			EXPECT_EQ(0, pn_wait_empty(self->priv));
		}
		EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		munmap(p, LEN);
	}
}

struct huge {
	int nid, mode;
	long zero_pages, allocations;
};

/* Read a huge page's worth that was never written, under a task policy. */
static int read_huge(struct pn_child *child, void *arg)
{
	struct huge *huge = arg;
	unsigned long mask = NODE_BIT(huge->nid);
	char *p = pn_map(2 * HUGE_SIZE), *q;
	long before = pn_vmstat("thp_zero_page_alloc");

	if (!p)
		return 1;
	q = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	madvise(q, HUGE_SIZE, MADV_HUGEPAGE);
	pn_prefault_stack();
	huge->allocations = pn_allocations(huge->nid);
	if (pn_set_mempolicy(huge->mode, &mask))
		return 2;
	if (*(volatile char *)q)
		return 3;
	if (pn_set_mempolicy(MPOL_DEFAULT, NULL))
		return 4;
	huge->allocations = pn_allocations(huge->nid) - huge->allocations;
	huge->zero_pages = pn_vmstat("thp_zero_page_alloc") - before;
	return 0;
}

/* Row 91: the huge zero page is everybody's, whoever reads first. */
TEST_F(passive, huge_zero_page)
{
	struct huge *huge = mmap(NULL, pn_page_size(), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, huge);
	/* It is made anew for the first who needs it when nobody did. */
	ASSERT_EQ(0, pn_write_file("/proc/sys/vm/drop_caches", "3"));
	*huge = (struct huge){ self->control, MPOL_BIND };
	ASSERT_EQ(0, pn_run(read_huge, huge, 30));
	if (!huge->zero_pages)
		SKIP(return, "the huge zero page is never made anew here");
	/* The control: it follows the policy of whoever is first. */
	EXPECT_LT(0, huge->allocations);
	ASSERT_EQ(0, pn_write_file("/proc/sys/vm/drop_caches", "3"));
	*huge = (struct huge){ self->priv, MPOL_BIND | pn_flag() };
	ASSERT_EQ(0, pn_run(read_huge, huge, 30));
	EXPECT_EQ(1, huge->zero_pages);
	EXPECT_EQ(0, huge->allocations);
	munmap(huge, pn_page_size());
}

static uint64_t pagemap(char *p)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (pread(fd, &entry, sizeof(entry), (uintptr_t)p / pn_page_size() * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	return entry;
}

/* Rows 71, 95: page_idle sees and marks pages, and leaves them where they are. */
TEST_F(passive, page_idle)
{
	const int nodes[2] = { self->control, self->priv };
	int fd = open(IDLE, O_RDWR | O_CLOEXEC), i;

	if (fd < 0)
		SKIP(return, "no idle page tracking");
	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]);
		uint64_t pfn, word, all = ~0ULL;
		long before = pn_allocations(nodes[i]);

		ASSERT_NE(NULL, p);
		pfn = pagemap(p) & PFN_MASK;
		ASSERT_NE(0, pfn);
		ASSERT_EQ(8, pwrite(fd, &all, 8, pfn / 64 * 8));
		ASSERT_EQ(8, pread(fd, &word, 8, pfn / 64 * 8));
		EXPECT_TRUE(word & (1ULL << pfn % 64));
		/* The TLB may still know the page as accessed. */
		ASSERT_EQ(0, mprotect(p, LEN, PROT_READ));
		ASSERT_EQ(0, mprotect(p, LEN, PROT_READ | PROT_WRITE));
		*(volatile unsigned long *)p = (unsigned long)p;
		ASSERT_EQ(8, pread(fd, &word, 8, pfn / 64 * 8));
		EXPECT_FALSE(word & (1ULL << pfn % 64));
		EXPECT_EQ(pfn, pagemap(p) & PFN_MASK);
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		EXPECT_EQ(0, wrong(p));
		if (i) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		munmap(p, LEN);
	}
	close(fd);
}

/* Row 95: clear_refs and the soft-dirty bits */
TEST_F(passive, clear_refs)
{
	static const char * const what[] = { "1", "4", "5" };
	const int nodes[2] = { self->control, self->priv };
	size_t k;
	int i;

	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]);
		long before = pn_allocations(nodes[i]);
		uint64_t entry;

		ASSERT_NE(NULL, p);
		entry = pagemap(p);
		for (k = 0; k < ARRAY_SIZE(what); k++)
			EXPECT_EQ(0, pn_write_file("/proc/self/clear_refs", what[k]));
		EXPECT_FALSE(pagemap(p) & SOFT_DIRTY);
		*(volatile unsigned long *)p = (unsigned long)p;
		EXPECT_TRUE(pagemap(p) & SOFT_DIRTY);
		EXPECT_FALSE(pagemap(p + pn_page_size()) & SOFT_DIRTY);
		EXPECT_EQ(entry & PFN_MASK, pagemap(p) & PFN_MASK);
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		EXPECT_EQ(0, wrong(p));
		if (i) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		munmap(p, LEN);
	}
}

/* Row 95: PAGEMAP_SCAN tells of the pages as of any. */
TEST_F(passive, pagemap_scan)
{
	const int nodes[2] = { self->control, self->priv };
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), i;

	ASSERT_LE(0, fd);
	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]);
		struct page_region found[4] = { };
		struct pm_scan_arg arg = {
			.size = sizeof(arg), .start = (uintptr_t)p, .end = (uintptr_t)p + LEN,
			.vec = (uintptr_t)found, .vec_len = ARRAY_SIZE(found),
			.category_mask = PAGE_IS_PRESENT, .return_mask = PAGE_IS_PRESENT,
		};

		ASSERT_NE(NULL, p);
		ASSERT_EQ(1, ioctl(fd, PAGEMAP_SCAN, &arg));
		EXPECT_EQ((uintptr_t)p, found[0].start);
		EXPECT_EQ((uintptr_t)p + LEN, found[0].end);
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		munmap(p, LEN);
	}
	close(fd);
}

struct lock {
	int nid, mode;
	long pages, unevictable, left;
};

/* Lock what is there and what comes, under a task policy. */
static int lock_all(struct pn_child *child, void *arg)
{
	struct lock *lock = arg;
	unsigned long mask = NODE_BIT(lock->nid);
	long before;
	char *p;

	pn_prefault_stack();
	pn_settle();
	before = pn_node_vmstat(lock->nid, "nr_unevictable");
	if (pn_set_mempolicy(lock->mode, &mask) || mlockall(MCL_FUTURE))
		return 1;
	p = pn_map(LEN);
	if (!p)
		return 2;
	lock->pages = pn_on_node(p, LEN, lock->nid);
	pn_settle();
	lock->unevictable = pn_node_vmstat(lock->nid, "nr_unevictable") - before;
	if (munlockall() || mlockall(MCL_CURRENT) || munlockall() ||
	    mlock2(p, LEN / 2, MLOCK_ONFAULT) || munlock(p, LEN / 2))
		return 3;
	lock->left = pn_on_node(p, LEN, lock->nid);
	pn_set_mempolicy(MPOL_DEFAULT, NULL);
	return 0;
}

/* Row 99: MCL_FUTURE brings in memory of the policy, and locking moves none. */
TEST_F(passive, mlockall)
{
	struct lock *lock = mmap(NULL, pn_page_size(), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const int nodes[2] = { self->control, self->priv };
	int i;

	ASSERT_NE(MAP_FAILED, lock);
	for (i = 0; i < 2; i++) {
		*lock = (struct lock){ nodes[i], MPOL_BIND | (i ? pn_flag() : 0) };
		ASSERT_EQ(0, pn_run(lock_all, lock, 60));
		EXPECT_EQ(PAGES, lock->pages);
		EXPECT_LE(PAGES, lock->unevictable);
		EXPECT_EQ(PAGES, lock->left);
	}
	munmap(lock, pn_page_size());
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	EXPECT_EQ(0, pn_node_vmstat(self->priv, "nr_unevictable"));
}

/* Row 100: access rights come and go, mappings split and merge, pages stay. */
TEST_F(passive, mprotect)
{
	const int nodes[2] = { self->control, self->priv };
	struct pn_fault fault;
	int i;

	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]), line[512];
		long before = pn_allocations(nodes[i]);

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, mprotect(p + LEN / 4, LEN / 2, PROT_READ));
		EXPECT_EQ(LEN / 4, pn_touch(p, LEN, pn_page_size(), &fault));
		EXPECT_EQ(SIGSEGV, fault.sig);
		ASSERT_EQ(0, mprotect(p, LEN, PROT_NONE));
		EXPECT_EQ(0, pn_touch(p, LEN, pn_page_size(), &fault));
		ASSERT_EQ(0, mprotect(p, LEN, PROT_READ | PROT_WRITE));
		EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		if (i) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		/* The parts have kept their policy. */
		ASSERT_EQ(0, mprotect(p + LEN / 2, LEN / 2, PROT_READ));
		ASSERT_EQ(0, pn_numa_maps(p + LEN / 2, line, sizeof(line)));
		if (!pn_forced()) {
			EXPECT_EQ(i, !!strstr(line, "private:")) TH_LOG("%s", line);
		}
		munmap(p, LEN);
	}
}

/* Row 100: protection keys */
TEST_F(passive, pkeys)
{
	int key = pkey_alloc(0, 0), i;
	const int nodes[2] = { self->control, self->priv };
	struct pn_fault fault;

	if (key < 0)
		SKIP(return, "no protection keys");
	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]);
		long before = pn_allocations(nodes[i]);

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, pkey_mprotect(p, LEN, PROT_READ | PROT_WRITE, key));
		ASSERT_EQ(0, pkey_set(key, PKEY_DISABLE_WRITE));
		EXPECT_EQ(0, pn_touch(p, LEN, pn_page_size(), &fault));
		EXPECT_EQ(SIGSEGV, fault.sig);
		/* Signal handlers have rights of their own, and it was left by a jump. */
		ASSERT_EQ(0, pkey_set(key, PKEY_DISABLE_WRITE));
		EXPECT_EQ(0, wrong(p));
		ASSERT_EQ(0, pkey_set(key, 0));
		EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		if (i) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		munmap(p, LEN);
	}
	pkey_free(key);
}

/* How many of the lines that the kernel has logged since are about the node */
static int logged(int fd, int *control, int nid_control, int *priv, int nid_priv)
{
	char line[8192], wanted[2][32];
	int ret;

	snprintf(wanted[0], sizeof(wanted[0]), "Node %d ", nid_control);
	snprintf(wanted[1], sizeof(wanted[1]), "Node %d ", nid_priv);
	*control = 0;
	*priv = 0;
	while ((ret = pn_log_next(fd, line, sizeof(line))) > 0) {
		*control += !!strstr(line, wanted[0]);
		*priv += !!strstr(line, wanted[1]);
	}
	return ret;
}

/* Row 119: SysRq-m shows each node, a private one among them, and lives. */
TEST_F(passive, show_mem)
{
	char *p = pn_filled(LEN, self->priv);
	int fd = pn_log_open();
	int control, priv;

	ASSERT_NE(NULL, p);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pn_write_file("/proc/sysrq-trigger", "m"));
	ASSERT_EQ(0, logged(fd, &control, self->control, &priv, self->priv));
	/* The node as a whole, and its zone in two places */
	EXPECT_LE(3, control);
	EXPECT_LE(3, priv);
	EXPECT_EQ(PAGES, pn_on_node(p, LEN, self->priv));
	munmap(p, LEN);
	close(fd);
}

/* Does a hypervisor want to know which pages are free? */
static bool reporting(void)
{
	char features[80] = "";
	glob_t found;
	bool yes = false;

	if (glob("/sys/bus/virtio/drivers/virtio_balloon/virtio*/features", 0, NULL, &found))
		return false;
	if (!pn_read_file(found.gl_pathv[0], features, sizeof(features)))
		yes = strlen(features) > 5 && features[5] == '1';
	globfree(&found);
	return yes;
}

/* Free blocks of the node that the hypervisor has been told of */
static long reported(int nid)
{
	static uint64_t flags[8192];
	struct pn_zones zones;
	unsigned long pfn;
	long n = 0;
	int fd;

	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pn_zones(nid, &zones))
		return -1;
	for (pfn = zones.start_pfn; pfn < zones.end_pfn; pfn += ARRAY_SIZE(flags)) {
		ssize_t got = pread(fd, flags, sizeof(flags), pfn * sizeof(*flags)), i;

		for (i = 0; i < got / (ssize_t)sizeof(*flags); i++)
			/* PG_reported is the bit of PG_uptodate. */
			n += flags[i] & 1ULL << KPF_BUDDY && flags[i] & 1ULL << KPF_UPTODATE;
	}
	close(fd);
	return n;
}

/* Row 124: free pages are not reported to the hypervisor. */
TEST_F_TIMEOUT(passive, page_reporting, 120)
{
	const int nodes[2] = { self->control, self->priv };
	double deadline = pn_now() + pn_slow(30);
	size_t len = 64 * MIB;
	int i, seen = 0;

	if (!reporting())
		SKIP(return, "no hypervisor that takes reports of free pages");
	/* Something new to report, of either node */
	for (i = 0; i < 2; i++) {
		char *p = pn_filled(len, nodes[i]);

		ASSERT_NE(NULL, p);
		munmap(p, len);
	}
	/* Reports come two seconds after pages are freed. */
	poll(NULL, 0, 3000);
	while (reported(self->control) < 8 && pn_now() < deadline)
		poll(NULL, 0, 100);
	EXPECT_LE(8, reported(self->control));
	/* The node would be the next one. */
	for (i = 0; i < 30 && !seen; i++) {
		seen = reported(self->priv);
		poll(NULL, 0, 100);
	}
	EXPECT_EQ(0, seen);
}

TEST_HARNESS_MAIN
