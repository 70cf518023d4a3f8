// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd and private nodes (row 98): what it fills in comes from where the
 * mapping's policy says, what it moves stays where it is, and is looked after
 * as private memory in a mapping that knows nothing of it.
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/userfaultfd.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define PAGES		64
#define LEN		((size_t)PAGES * pn_page_size())
#define HUGE_SIZE	(2 * MIB)

/* What a monitored process tells its manager */
struct ward {
	int fd;
	char *plain, *bound;
};

FIXTURE(userfault)
{
	int priv, control, fd;
	char *filler, *src;
	size_t filled;
	struct ward *ward;
	bool swap;
};

static int open_fd(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static int watch(int fd, void *p, size_t len, uint64_t mode)
{
	struct uffdio_register reg = { .range = { (uintptr_t)p, len }, .mode = mode };

	return ioctl(fd, UFFDIO_REGISTER, &reg);
}

static int copy(int fd, void *dst, void *src, size_t len)
{
	struct uffdio_copy arg = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = len };

	return ioctl(fd, UFFDIO_COPY, &arg);
}

static int zero(int fd, void *dst, size_t len)
{
	struct uffdio_zeropage arg = { .range = { (uintptr_t)dst, len } };

	return ioctl(fd, UFFDIO_ZEROPAGE, &arg);
}

static int move(int fd, void *dst, void *src, size_t len)
{
	struct uffdio_move arg = { .dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = len };

	return ioctl(fd, UFFDIO_MOVE, &arg);
}

static char *bound(FIXTURE_DATA(userfault) *self, int nid)
{
	char *p = pn_map_bound(LEN, MPOL_BIND | (nid == self->priv ? pn_flag() : 0),
			       NODE_BIT(nid));

	if (p)
		madvise(p, LEN, MADV_NOHUGEPAGE);
	return p;
}

/* How many pages are not what pn_touch() wrote to src */
static long wrong(const char *p, const char *src)
{
	long i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += *(unsigned long *)(p + i * pn_page_size()) !=
		     (unsigned long)(src + i * pn_page_size());
	return n;
}

FIXTURE_SETUP(userfault)
{
	self->fd = -1;
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->fd = open_fd(UFFD_FEATURE_MOVE | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			   UFFD_FEATURE_WP_ASYNC);
	if (self->fd < 0)
		SKIP(return, "no userfaultfd that moves and protects pages");
	self->src = pn_map(LEN);
	ASSERT_NE(NULL, self->src);
	ASSERT_EQ(LEN, pn_touch(self->src, LEN, pn_page_size(), NULL));
	self->ward = mmap(NULL, pn_page_size(), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->ward);
}

FIXTURE_TEARDOWN(userfault)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	if (self->filler)
		munmap(self->filler, self->filled);
	munmap(self->src, LEN);
	if (self->swap) {
		EXPECT_EQ(0, pn_swap_off());
	}
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* UFFDIO_COPY follows the policy of the mapping. */
TEST_F(userfault, copy)
{
	const int nodes[2] = { self->control, self->priv };
	int i;

	for (i = 0; i < 2; i++) {
		char *p = bound(self, nodes[i]);

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, watch(self->fd, p, LEN, UFFDIO_REGISTER_MODE_MISSING));
		EXPECT_EQ(0, copy(self->fd, p, self->src, LEN));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		EXPECT_EQ(0, wrong(p, self->src));
		munmap(p, LEN);
	}
}

/* "UFFDIO_COPY: ENOMEM" when the node is full, and no memory from elsewhere */
TEST_F_TIMEOUT(userfault, copy_full, 200)
{
	long kills = pn_vmstat("oom_kill"), exhausted = pn_counter(self->priv, "exhausted");
	struct pn_zones zones;
	char *p;

	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	self->filled = zones.managed * pn_page_size() + 64 * MIB;
	self->filler = pn_map_bound(self->filled, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	ASSERT_NE(NULL, self->filler);
	madvise(self->filler, self->filled, MADV_HUGEPAGE);
	ASSERT_GT(self->filled, pn_touch(self->filler, self->filled, pn_page_size(), NULL));
	p = bound(self, self->priv);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, watch(self->fd, p, LEN, UFFDIO_REGISTER_MODE_MISSING));
	EXPECT_EQ(-1, copy(self->fd, p, self->src, LEN));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(0, pn_on_node(p, LEN, self->control));
	EXPECT_LT(exhausted, pn_counter(self->priv, "exhausted"));
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
	/* With room it goes on. */
	munmap(self->filler, self->filled);
	self->filler = NULL;
	EXPECT_EQ(0, copy(self->fd, p, self->src, LEN));
	EXPECT_EQ(PAGES, pn_on_node(p, LEN, self->priv));
	munmap(p, LEN);
}

/* Row 91: UFFDIO_ZEROPAGE takes nothing of the node, writing to it does. */
TEST_F(userfault, zeropage)
{
	const int nodes[2] = { self->control, self->priv };
	int i;

	for (i = 0; i < 2; i++) {
		char *p = bound(self, nodes[i]);
		long before;

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, watch(self->fd, p, LEN, UFFDIO_REGISTER_MODE_MISSING));
		before = pn_allocations(nodes[i]);
		EXPECT_EQ(0, zero(self->fd, p, LEN));
		EXPECT_EQ(0, *(volatile char *)p);
		EXPECT_EQ(0, pn_on_node(p, LEN, nodes[i]));
		if (nodes[i] == self->priv) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		munmap(p, LEN);
	}
}

/*
 * UFFDIO_MOVE into a mapping without a policy: the pages stay on the node,
 * and what does not reclaim there does not because they have moved.
 */
TEST_F(userfault, move_out)
{
	const int nodes[2] = { self->control, self->priv };
	int i;

	ASSERT_EQ(0, pn_swap_on(32 * MIB));
	self->swap = true;
	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]), *q = pn_map(LEN);
		bool open = nodes[i] == self->control || pn_has_cap(nodes[i], "reclaim");
		long before = pn_allocations(nodes[i]);

		ASSERT_NE(NULL, p);
		ASSERT_NE(NULL, q);
		madvise(q, LEN, MADV_NOHUGEPAGE);
		ASSERT_EQ(0, watch(self->fd, q, LEN, UFFDIO_REGISTER_MODE_MISSING));
		ASSERT_EQ(0, move(self->fd, q, p, LEN));
		EXPECT_EQ(PAGES, pn_on_node(q, LEN, nodes[i]));
		EXPECT_EQ(0, wrong(q, p));
		if (nodes[i] == self->priv) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		pn_settle();
		EXPECT_EQ(0, madvise(q, LEN, MADV_PAGEOUT));
		EXPECT_EQ(open, pn_on_node(q, LEN, nodes[i]) < PAGES);
		EXPECT_EQ(0, wrong(q, p));
		/* What it does not have any more comes from where it is told to. */
		madvise(q, LEN, MADV_DONTNEED);
		EXPECT_EQ(0, copy(self->fd, q, self->src, LEN));
		EXPECT_EQ(0, pn_on_node(q, LEN, self->priv));
		munmap(p, LEN);
		munmap(q, LEN);
	}
}

/* UFFDIO_MOVE the other way: moving makes no private memory of public memory. */
TEST_F(userfault, move_in)
{
	char *p = pn_filled(LEN, self->control), *q = bound(self, self->priv);
	long before = pn_allocations(self->priv);

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	ASSERT_EQ(0, watch(self->fd, q, LEN, UFFDIO_REGISTER_MODE_MISSING));
	ASSERT_EQ(0, move(self->fd, q, p, LEN));
	EXPECT_EQ(PAGES, pn_on_node(q, LEN, self->control));
	EXPECT_EQ(0, wrong(q, p));
	EXPECT_EQ(before, pn_allocations(self->priv));
	munmap(p, LEN);
	munmap(q, LEN);
}

/* A huge page is moved as a whole, and one that has to be split is not copied. */
TEST_F(userfault, move_huge)
{
	char *p = pn_map(2 * HUGE_SIZE), *q = pn_map(2 * HUGE_SIZE), *from, *to;
	unsigned long mask = NODE_BIT(self->priv);
	long pages = HUGE_SIZE / pn_page_size(), before;

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	from = (char *)(((uintptr_t)p + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	to = (char *)(((uintptr_t)q + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	ASSERT_EQ(0, pn_mbind(from, HUGE_SIZE, MPOL_BIND | pn_flag(), &mask, 0));
	madvise(from, HUGE_SIZE, MADV_HUGEPAGE);
	ASSERT_EQ(HUGE_SIZE, pn_touch(from, HUGE_SIZE, pn_page_size(), NULL));
	ASSERT_EQ(pages, pn_on_node(from, HUGE_SIZE, self->priv));
	ASSERT_EQ(0, watch(self->fd, to, HUGE_SIZE, UFFDIO_REGISTER_MODE_MISSING));
	before = pn_allocations(self->priv);
	/* first a part, which splits it, then the rest */
	EXPECT_EQ(0, move(self->fd, to, from, LEN));
	EXPECT_EQ(0, move(self->fd, to + LEN, from + LEN, HUGE_SIZE - LEN));
	EXPECT_EQ(pages, pn_on_node(to, HUGE_SIZE, self->priv));
	EXPECT_EQ(before, pn_allocations(self->priv));
	EXPECT_EQ((unsigned long)from, *(unsigned long *)to);
	munmap(p, 2 * HUGE_SIZE);
	munmap(q, 2 * HUGE_SIZE);
}

/* Write protection does not move anything, nor does its end. */
TEST_F(userfault, write_protect)
{
	const int nodes[2] = { self->control, self->priv };
	int i;

	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]);
		struct uffdio_writeprotect arg = {
			.range = { (uintptr_t)p, LEN }, .mode = UFFDIO_WRITEPROTECT_MODE_WP,
		};
		long before = pn_allocations(nodes[i]);

		ASSERT_NE(NULL, p);
		ASSERT_EQ(0, watch(self->fd, p, LEN, UFFDIO_REGISTER_MODE_WP));
		ASSERT_EQ(0, ioctl(self->fd, UFFDIO_WRITEPROTECT, &arg));
		EXPECT_EQ(LEN / 2, pn_touch(p, LEN / 2, pn_page_size(), NULL));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		arg.mode = 0;
		EXPECT_EQ(0, ioctl(self->fd, UFFDIO_WRITEPROTECT, &arg));
		EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
		EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
		if (nodes[i] == self->priv) {
			EXPECT_EQ(before, pn_allocations(nodes[i]));
		}
		munmap(p, LEN);
	}
}

static int be_watched(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(userfault) *self = arg;
	struct ward *ward = self->ward;

	ward->fd = open_fd(0);
	ward->plain = pn_map(LEN);
	ward->bound = bound(self, self->priv);
	if (ward->fd < 0 || !ward->plain || !ward->bound)
		return 1;
	madvise(ward->plain, LEN, MADV_NOHUGEPAGE);
	if (watch(ward->fd, ward->plain, LEN, UFFDIO_REGISTER_MODE_MISSING) ||
	    watch(ward->fd, ward->bound, LEN, UFFDIO_REGISTER_MODE_MISSING))
		return 2;
	pn_hold(child);
	return 0;
}

/* Of a process's pages those on a node; the manager asks. */
static long pages_of(pid_t pid, char *p, int nid)
{
	void *pages[PAGES];
	int status[PAGES];
	long i, n = 0;

	for (i = 0; i < PAGES; i++)
		pages[i] = p + i * pn_page_size();
	if (pn_move_pages(pid, PAGES, pages, NULL, status, 0))
		return -1;
	for (i = 0; i < PAGES; i++)
		n += status[i] == nid;
	return n;
}

struct manager {
	FIXTURE_DATA(userfault) *self;
	int nid, fd;
};

/* In a process of its own, whose memory may go where its policy says */
static int fill_in(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(userfault) *self = ((struct manager *)arg)->self;
	struct manager *manager = arg;
	unsigned long mask = NODE_BIT(manager->nid);

	if (pn_set_mempolicy(MPOL_BIND | (manager->nid == self->priv ? pn_flag() : 0), &mask))
		return 1;
	return copy(manager->fd, self->ward->plain, self->src, LEN) ||
	       copy(manager->fd, self->ward->bound, self->src, LEN) ? 2 : 0;
}

static int manage(FIXTURE_DATA(userfault) *self, int nid, long *plain, long *bound_to)
{
	struct manager manager = { self, nid };
	struct pn_child child;
	int pidfd, ret = -1;

	if (pn_spawn(&child, be_watched, self) || pn_ready(&child, 30))
		return -1;
	pidfd = syscall(SYS_pidfd_open, child.pid, 0);
	manager.fd = syscall(SYS_pidfd_getfd, pidfd, self->ward->fd, 0);
	if (manager.fd >= 0)
		ret = pn_run(fill_in, &manager, 30);
	*plain = pages_of(child.pid, self->ward->plain, nid);
	*bound_to = pages_of(child.pid, self->ward->bound, self->priv);
	close(manager.fd);
	close(pidfd);
	return pn_reap(&child, 30) || ret;
}

/*
 * "The policy of a task is for its own memory": a manager's private policy does
 * not give its ward private memory; the ward's own does, whoever fills it in.
 */
TEST_F(userfault, manager)
{
	long plain, bound_to;

	ASSERT_EQ(0, manage(self, self->control, &plain, &bound_to));
	EXPECT_EQ(PAGES, plain);
	EXPECT_EQ(PAGES, bound_to);
	ASSERT_EQ(0, manage(self, self->priv, &plain, &bound_to));
	EXPECT_EQ(0, plain);
	EXPECT_EQ(PAGES, bound_to);
}

TEST_HARNESS_MAIN
