// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages of hugetlb in a region: who pays for them, and that the page tables of
 * a region are shared as mshare does it, not as hugetlb does with its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define RW		(PROT_READ | PROT_WRITE)
#define HUGE_SIZE	(2 * MIB)
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define CGROUPS		"/tmp/ms_hugetlb"
#define USED		8UL		/* huge pages that a test touches */

static char before[20];

/* The pool gets so many pages; 0 or -1 */
static int set_pool(int nr)
{
	char text[12];
	int tries;

	snprintf(text, sizeof(text), "%d", nr);
	/* What others have left in the way may have to be moved. */
	for (tries = 0; tries < 5; tries++) {
		if (pn_write_file(HUGE_PAGES, text))
			return -1;
		if (pn_read_long(HUGE_PAGES) == nr)
			return 0;
		pn_write_file("/proc/sys/vm/drop_caches", "3");
		pn_write_file("/proc/sys/vm/compact_memory", "1");
	}
	pn_note("%ld huge pages, not %d", pn_read_long(HUGE_PAGES), nr);
	return -1;
}

/* So many of them free on a node; 0 or -1 */
static int set_pool_of(int nid, long nr)
{
	char path[120], more[20];
	int tries;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages",
		 nid);
	snprintf(more, sizeof(more), "%ld", nr);
	for (tries = 0; tries < 5; tries++) {
		if (pn_write_file(path, more))
			return -1;
		if (pn_read_long(path) >= nr)
			return 0;
		pn_write_file("/proc/sys/vm/drop_caches", "3");
		pn_write_file("/proc/sys/vm/compact_memory", "1");
	}
	pn_note("%ld huge pages on node %d, not %ld", pn_read_long(path), nid, nr);
	return -1;
}

/* What a region had is free soon after it has ended. */
static int wait_free(void)
{
	double deadline = pn_now() + pn_slow(5);

	while (pn_meminfo(-1, "HugePages_Free") < pn_meminfo(-1, "HugePages_Total")) {
		if (pn_now() > deadline)
			return -1;
		poll(NULL, 0, 20);
	}
	return 0;
}

static int huge_file(size_t size)
{
	int file = memfd_create("ms_huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);

	return file >= 0 && !ftruncate(file, size) ? file : -1;
}

FIXTURE(charge)
{
	int fd, file;
	char owner[60], member[60];
	int sock[2];
	bool mounted;
};

/* The memory cgroup pays for huge pages if it is told to. */
FIXTURE_VARIANT(charge)
{
	const char *options, *file, *field;
};

FIXTURE_VARIANT_ADD(charge, hugetlb)
{
	.file = "hugetlb.2MB.current",
};

FIXTURE_VARIANT_ADD(charge, memory)
{
	.options = "memory_hugetlb_accounting", .file = "memory.stat", .field = "hugetlb",
};

FIXTURE_SETUP(charge)
{
	const char *missing = ms_missing();

	self->fd = -1;
	self->file = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (pn_read_line(HUGE_PAGES, before, sizeof(before)))
		SKIP(return, "no hugetlb");
	ASSERT_EQ(0, set_pool(16));
	mkdir(CGROUPS, 0755);
	ASSERT_EQ(0, mount("ms", CGROUPS, "cgroup2", 0, variant->options));
	self->mounted = true;
	ASSERT_EQ(0, pn_write_file(CGROUPS "/cgroup.subtree_control", "+memory +hugetlb"));
	snprintf(self->owner, sizeof(self->owner), CGROUPS "/ms_owner");
	snprintf(self->member, sizeof(self->member), CGROUPS "/ms_member");
	ASSERT_EQ(0, mkdir(self->owner, 0755));
	ASSERT_EQ(0, mkdir(self->member, 0755));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, self->sock));
}

FIXTURE_TEARDOWN(charge)
{
	int tries = 0;

	if (!self->mounted)
		return;
	close(self->fd);
	close(self->file);
	EXPECT_EQ(0, wait_free());
	while ((rmdir(self->owner) && errno != ENOENT) ||
	       (rmdir(self->member) && errno != ENOENT)) {
		ASSERT_GT(500, tries++);
		poll(NULL, 0, 20);
	}
	EXPECT_EQ(0, umount2(CGROUPS, MNT_DETACH));
	/* Options are those of the last mount. */
	EXPECT_EQ(0, mount("ms", CGROUPS, "cgroup2", 0, NULL));
	EXPECT_EQ(0, umount2(CGROUPS, MNT_DETACH));
	close(self->sock[0]);
	close(self->sock[1]);
	EXPECT_EQ(0, pn_write_file(HUGE_PAGES, before));
}

static int enter(const char *group)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	return pn_write_file(path, "0");
}

/* Bytes of huge pages that the group pays for */
static long charged(const FIXTURE_VARIANT(charge) *variant, const char *group)
{
	char path[100], text[8192], *line;

	snprintf(path, sizeof(path), "%s/%s", group, variant->file);
	if (!variant->field)
		return pn_read_long(path);
	if (pn_read_file(path, text, sizeof(text)))
		return -1;
	snprintf(path, sizeof(path), "\n%s ", variant->field);
	line = strstr(text, path);
	return line ? atol(line + strlen(path)) : -1;
}

/* memory.stat is brought up to date every two seconds. */
static int wait_charged(const FIXTURE_VARIANT(charge) *variant, const char *group, long bytes)
{
	double deadline = pn_now() + pn_slow(4);
	long is;

	do {
		is = charged(variant, group);
		if (is == bytes)
			return 0;
		poll(NULL, 0, 50);
	} while (pn_now() < deadline);
	pn_note("%s: %s %ld, expected %ld", group, variant->file, is, bytes);
	return -1;
}

static int owns(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(charge) *self = arg;
	int fd, file;

	if (enter(self->owner))
		return 1;
	fd = ms_region(GRANULE, 0);
	file = huge_file(USED * HUGE_SIZE);
	if (fd < 0 || ms_map_file(fd, 0, USED * HUGE_SIZE, RW, file, 0))
		return 2;
	close(file);
	if (ms_send_fd(self->sock[1], fd))
		return 3;
	pn_hold(child);
	return 0;
}

static int uses(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(charge) *self = arg;
	char *w;

	if (enter(self->member))
		return 1;
	w = ms_attach(self->fd, 0);
	if (!w || pn_touch(w, USED * HUGE_SIZE, HUGE_SIZE, NULL) != USED * HUGE_SIZE)
		return 2;
	pn_hold(child);
	return 0;
}

/* An owner, and a member that has touched all of it */
static int begin(FIXTURE_DATA(charge) *self, struct pn_child *owner, struct pn_child *member)
{
	if (pn_spawn(owner, owns, self))
		return -1;
	self->fd = ms_receive_fd(self->sock[0]);
	if (self->fd < 0 || pn_ready(owner, 20) || pn_spawn(member, uses, self))
		return -1;
	return pn_ready(member, 20);
}

/* Somebody pays, once, and nobody when the owner has gone. */
TEST_F_TIMEOUT(charge, and_back, 100)
{
	struct pn_child owner, member;
	int tries;

	ASSERT_EQ(0, begin(self, &owner, &member));
	/* memory.stat is late */
	for (tries = 0; tries < 100 && charged(variant, self->owner) +
	     charged(variant, self->member) != (long)(USED * HUGE_SIZE); tries++)
		poll(NULL, 0, 100);
	EXPECT_GT(100, tries);
	EXPECT_EQ(0, pn_reap(&owner, 20));
	EXPECT_EQ(0, wait_charged(variant, self->owner, 0));
	EXPECT_EQ(0, wait_charged(variant, self->member, 0));
	EXPECT_EQ(0, pn_reap(&member, 20));
	EXPECT_EQ(16, pn_meminfo(-1, "HugePages_Free"));
}

/* It is the owner who pays, whoever touches them. */
TEST_F_TIMEOUT(charge, by_the_owner, 100)
{
	struct pn_child owner, member;

	ASSERT_EQ(0, begin(self, &owner, &member));
	EXPECT_EQ(0, wait_charged(variant, self->owner, USED * HUGE_SIZE));
	EXPECT_EQ(0, charged(variant, self->member));
	EXPECT_EQ(0, pn_reap(&member, 20));
	EXPECT_EQ(0, pn_reap(&owner, 20));
}

static int uses_until_full(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(charge) *self = arg;
	struct pn_fault fault = { };
	size_t done;
	char *w;

	if (enter(self->member))
		return 1;
	w = ms_attach(self->fd, 0);
	if (!w)
		return 2;
	done = pn_touch(w, USED * HUGE_SIZE, HUGE_SIZE, &fault);
	pn_note("signal %d, code %d, after %zu huge pages", fault.sig, fault.code,
		done / HUGE_SIZE);
	return done == USED / 2 * HUGE_SIZE && fault.sig == SIGBUS ? 0 : 3;
}

/* Times that the limit of the group was in the way */
static long refused(const char *group)
{
	char path[100], line[50];

	snprintf(path, sizeof(path), "%s/hugetlb.2MB.events", group);
	if (pn_read_line(path, line, sizeof(line)) || strncmp(line, "max ", 4))
		return -1;
	return atol(line + 4);
}

/* It is the owner's limit, too. */
TEST_F_TIMEOUT(charge, limit, 100)
{
	struct pn_child owner;
	char path[100], text[20];

	snprintf(path, sizeof(path), "%s/hugetlb.2MB.max", self->owner);
	snprintf(text, sizeof(text), "%lu", USED / 2 * HUGE_SIZE);
	ASSERT_EQ(0, pn_write_file(path, text));
	ASSERT_EQ(0, pn_spawn(&owner, owns, self));
	self->fd = ms_receive_fd(self->sock[0]);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, pn_ready(&owner, 20));
	EXPECT_EQ(0, pn_run(uses_until_full, self, 30));
	EXPECT_LT(0, refused(self->owner));
	EXPECT_EQ(0, refused(self->member));
	/* With more, it goes on where it was. */
	ASSERT_EQ(0, pn_write_file(path, "max"));
	EXPECT_EQ(3 << 8, pn_run(uses_until_full, self, 30));
	EXPECT_EQ(0, pn_reap(&owner, 20));
}

FIXTURE(moved)
{
	int fd, file;
	char *w, *plain;
	struct written {
		bool stop;
		unsigned long rounds, times[USED];
	} *written;
};

FIXTURE_SETUP(moved)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (pn_read_line(HUGE_PAGES, before, sizeof(before)))
		SKIP(return, "no hugetlb");
	if (pn_control_node() < 0)
		SKIP(return, "no second ordinary node");
	ASSERT_EQ(0, set_pool_of(pn_cpu_node(), USED + 1));
	ASSERT_EQ(0, set_pool_of(pn_control_node(), USED + 1));
	self->file = huge_file(USED * HUGE_SIZE);
	ASSERT_LE(0, self->file);
	self->fd = ms_region(GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_file(self->fd, 0, USED * HUGE_SIZE, RW, self->file, 0));
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
	self->plain = mmap(NULL, USED * HUGE_SIZE, RW, MAP_SHARED, self->file, 0);
	ASSERT_NE(MAP_FAILED, self->plain);
	self->written = mmap(NULL, sizeof(*self->written), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->written);
}

FIXTURE_TEARDOWN(moved)
{
	if (self->fd < 0)
		return;
	munmap(self->written, sizeof(*self->written));
	munmap(self->plain, USED * HUGE_SIZE);
	munmap(self->w, GRANULE);
	close(self->fd);
	close(self->file);
	EXPECT_EQ(0, wait_free());
	EXPECT_EQ(0, pn_write_file(HUGE_PAGES, before));
}

/* Adds to the last word of each page, and knows how often. */
static int adds(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(moved) *self = arg;
	unsigned long i;

	while (!__atomic_load_n(&self->written->stop, __ATOMIC_RELAXED)) {
		for (i = 0; i < USED; i++) {
			((volatile unsigned long *)(self->w + (i + 1) * HUGE_SIZE))[-1]++;
			self->written->times[i]++;
		}
		__atomic_fetch_add(&self->written->rounds, 1, __ATOMIC_RELAXED);
	}
	return 0;
}

/* Huge pages move from node to node while a member writes to them. */
TEST_F_TIMEOUT(moved, under_a_writer, 120)
{
	int nodes[2] = { pn_cpu_node(), pn_control_node() }, round;
	struct mshare_mbind_args args = {
		.size = USED * HUGE_SIZE, .maxnode = PN_MAXNODE + 1, .mode = MPOL_BIND,
		.flags = MPOL_MF_MOVE_ALL,
	};
	struct pn_child child;
	unsigned long i, mask, rounds;
	double deadline;

	args.nodemask = (unsigned long)&mask;
	for (i = 0; i < USED; i++)
		self->plain[i * HUGE_SIZE] = 1;
	ASSERT_EQ(0, pn_spawn(&child, adds, self));
	for (round = 0; round < 20; round++) {
		rounds = __atomic_load_n(&self->written->rounds, __ATOMIC_RELAXED);
		deadline = pn_now() + pn_slow(10);
		while (__atomic_load_n(&self->written->rounds, __ATOMIC_RELAXED) < rounds + 100 &&
		       pn_now() < deadline)
			poll(NULL, 0, 1);
		mask = NODE_BIT(nodes[round % 2]);
		/* A page that is being written to for the first time again stays. */
		deadline = pn_now() + pn_slow(10);
		do {
			EXPECT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
			for (i = 0; i < USED; i++)
				if (pn_node_of(self->plain + i * HUGE_SIZE) != nodes[round % 2])
					break;
		} while (i < USED && pn_now() < deadline);
		EXPECT_EQ(USED, i);
	}
	self->written->stop = true;
	EXPECT_EQ(0, pn_reap(&child, 20));
	EXPECT_LT(20 * 100, self->written->rounds);
	for (i = 0; i < USED; i++)
		EXPECT_EQ(self->written->times[i],
			  ((unsigned long *)(self->plain + (i + 1) * HUGE_SIZE))[-1]);
}

FIXTURE(tables)
{
	int fd, file;
	char *w, *one, *two;
};

/*
 * hugetlb lets processes share tables of huge pages that map the same file as
 * far as it fills a table: 1 GiB.
 */
FIXTURE_SETUP(tables)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (pn_read_line(HUGE_PAGES, before, sizeof(before)))
		SKIP(return, "no hugetlb");
	ASSERT_EQ(0, set_pool(GRANULE / HUGE_SIZE));
	self->file = huge_file(GRANULE);
	ASSERT_LE(0, self->file);
	self->fd = ms_region(GRANULE, 0);
	ASSERT_LE(0, self->fd);
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
}

FIXTURE_TEARDOWN(tables)
{
	if (self->fd < 0)
		return;
	munmap(self->w, GRANULE);
	close(self->fd);
	close(self->file);
	EXPECT_EQ(0, wait_free());
	EXPECT_EQ(0, pn_meminfo(-1, "HugePages_Rsvd"));
	EXPECT_EQ(0, pn_write_file(HUGE_PAGES, before));
}

/* A place for it at which hugetlb would share its tables, or NULL */
static char *map_outside(int file)
{
	char *space = mmap(NULL, 2 * GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at = ms_granule_up(space);

	if (space == MAP_FAILED)
		return NULL;
	return mmap(at, GRANULE, RW, MAP_SHARED | MAP_FIXED, file, 0) == at ? at : NULL;
}

/* Write to a word of each page, or check it; returns the faults that it took. */
static long write_pages(char *p, unsigned long seed)
{
	long faults = ms_minor_faults();
	unsigned long i;

	for (i = 0; i < USED; i++)
		*(volatile unsigned long *)(p + i * HUGE_SIZE) = seed + i;
	return ms_minor_faults() - faults;
}

static long check_pages(char *p, unsigned long seed)
{
	long faults = ms_minor_faults();
	unsigned long i;

	for (i = 0; i < USED; i++)
		if (*(volatile unsigned long *)(p + i * HUGE_SIZE) != seed + i)
			return -1;
	return ms_minor_faults() - faults;
}

struct outside {
	int file;
	long least, most;
};

/* Another process with a mapping of its own */
static int outside(struct pn_child *child, void *arg)
{
	struct outside *outside = arg;
	char *p = map_outside(outside->file);
	long faults;

	if (!p)
		return 1;
	faults = check_pages(p, 1);
	pn_note("%ld faults outside", faults);
	return faults >= outside->least && faults <= outside->most ? 0 : 2;
}

/* The region does not take the tables of others. */
TEST_F_TIMEOUT(tables, others_first, 100)
{
	struct outside sharing = { .file = self->file, .most = 2 };
	long tables, free_pages;
	char *p = map_outside(self->file);

	ASSERT_NE(NULL, p);
	EXPECT_EQ((long)USED, write_pages(p, 1));
	/* The others do share: one of them has no faults for what one has touched. */
	EXPECT_EQ(0, pn_run(outside, &sharing, 20));
	tables = ms_fdinfo(self->fd, "tables");
	free_pages = pn_meminfo(-1, "HugePages_Free");
	ASSERT_EQ(0, ms_map_file(self->fd, 0, GRANULE, RW, self->file, 0));
	EXPECT_LE((long)USED, check_pages(self->w, 1));
	EXPECT_EQ((long)(USED * HUGE_SIZE / 1024), ms_fdinfo(self->fd, "hugetlb"));
	EXPECT_EQ(tables, ms_fdinfo(self->fd, "tables"));
	EXPECT_EQ(free_pages, pn_meminfo(-1, "HugePages_Free"));
	/* Each of them can go without the other one. */
	ASSERT_EQ(0, mshare_protect(self->fd, 0, GRANULE, PROT_READ, 0));
	EXPECT_EQ(0, write_pages(p, 2));
	EXPECT_EQ(0, check_pages(self->w, 2));
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, GRANULE, 0));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "hugetlb"));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(self->w, 'r'));
	EXPECT_EQ(0, check_pages(p, 2));
	ASSERT_EQ(0, ms_map_file(self->fd, 0, GRANULE, RW, self->file, 0));
	EXPECT_LE((long)USED, check_pages(self->w, 2));
	ASSERT_EQ(0, munmap(p, GRANULE));
	EXPECT_EQ(0, check_pages(self->w, 2));
	EXPECT_EQ(0, write_pages(self->w, 3));
	EXPECT_EQ(tables, ms_fdinfo(self->fd, "tables"));
}

/* Others do not take those of the region. */
TEST_F_TIMEOUT(tables, region_first, 100)
{
	struct outside alone = { .file = self->file, .least = USED, .most = 2 * USED };
	long tables = ms_fdinfo(self->fd, "tables");
	char *again, *p;

	ASSERT_EQ(0, ms_map_file(self->fd, 0, GRANULE, RW, self->file, 0));
	EXPECT_LE((long)USED, write_pages(self->w, 1));
	EXPECT_EQ(0, pn_run(outside, &alone, 20));
	p = map_outside(self->file);
	ASSERT_NE(NULL, p);
	EXPECT_EQ((long)USED, check_pages(p, 1));
	EXPECT_EQ(tables, ms_fdinfo(self->fd, "tables"));
	/* A second member has no fault but the one for the granule. */
	again = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, again);
	EXPECT_GE(1, check_pages(again, 1));
	munmap(again, GRANULE);
	ASSERT_EQ(0, munmap(p, GRANULE));
	EXPECT_EQ(0, check_pages(self->w, 1));
	p = map_outside(self->file);
	ASSERT_NE(NULL, p);
	EXPECT_EQ((long)USED, check_pages(p, 1));
	/* The region ends while another one has the file. */
	close(self->fd);
	self->fd = ms_region(GRANULE, 0);
	EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(self->w + 100 * HUGE_SIZE, 'r'));
	EXPECT_EQ(0, check_pages(p, 1));
	munmap(p, GRANULE);
}

TEST_HARNESS_MAIN
