// SPDX-License-Identifier: GPL-2.0
/*
 * Memory comes back from swap to the nodes of its policy, even if it was
 * somewhere else before, and takes nobody else's memory with it.
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <linux/loop.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define BY_ADDRESS	"/sys/kernel/mm/swap/vma_ra_enabled"
#define PAGES		256
#define LEN		((size_t)PAGES * pn_page_size())
#define SWAP_SIZE	(32 * MIB)
#define CGROUPS		"/tmp/pn_swapin"
#define GROUP		CGROUPS "/pn_swapin"

FIXTURE(swapin)
{
	int priv, control, loop;
	unsigned long privs;
	char device[32];
	bool on;
	char *mem;
};

/* zram answers at once, and is read without readahead; a disk is not. */
FIXTURE_VARIANT(swapin)
{
	bool disk;
};

FIXTURE_VARIANT_ADD(swapin, zram) { .disk = false };
FIXTURE_VARIANT_ADD(swapin, disk) { .disk = true };

static int disk_on(FIXTURE_DATA(swapin) *self)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), n, file;
	union {
		char bytes[4096];
		struct {
			char boot[1024];
			unsigned int version, last_page;
		};
	} header = { };

	if (control < 0)
		return -1;
	n = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	if (n < 0)
		return -1;
	snprintf(self->device, sizeof(self->device), "/dev/loop%d", n);
	file = memfd_create("pn_swap", MFD_CLOEXEC);
	if (file < 0 || ftruncate(file, SWAP_SIZE))
		return -1;
	header.version = 1;
	header.last_page = SWAP_SIZE / 4096 - 1;
	memcpy(header.bytes + 4096 - 10, "SWAPSPACE2", 10);
	if (pwrite(file, &header, 4096, 0) != 4096)
		return -1;
	self->loop = open(self->device, O_RDWR | O_CLOEXEC);
	if (self->loop < 0 || ioctl(self->loop, LOOP_SET_FD, file))
		return -1;
	close(file);
	return swapon(self->device, 0);
}

static int off(FIXTURE_DATA(swapin) *self, bool disk)
{
	int ret;

	self->on = false;
	if (!disk)
		return pn_swap_off();
	ret = swapoff(self->device);
	ioctl(self->loop, LOOP_CLR_FD, 0);
	close(self->loop);
	return ret;
}

FIXTURE_SETUP(swapin)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	/* A memory cgroup, to be able to ask for reclaim */
	mkdir(CGROUPS, 0755);
	ASSERT_EQ(0, mount("pn", CGROUPS, "cgroup2", 0, NULL));
	ASSERT_EQ(0, pn_write_file(CGROUPS "/cgroup.subtree_control", "+memory"));
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	ASSERT_EQ(0, pn_write_file(GROUP "/cgroup.procs", "0"));
	ASSERT_EQ(0, variant->disk ? disk_on(self) : pn_swap_on(SWAP_SIZE));
	self->on = true;
	self->mem = pn_map(LEN);
	ASSERT_NE(NULL, self->mem);
	/* One page, one slot: whatever is read ahead is read in small pages. */
	madvise(self->mem, LEN, MADV_NOHUGEPAGE);
}

FIXTURE_TEARDOWN(swapin)
{
	if (self->priv < 0 || self->control < 0)
		return;
	if (self->mem)
		munmap(self->mem, LEN);
	if (self->on)
		EXPECT_EQ(0, off(self, variant->disk));
	EXPECT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(GROUP));
	umount2(CGROUPS, MNT_DETACH);
	rmdir(CGROUPS);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static void fill(char *p, unsigned int seed)
{
	size_t i;

	for (i = 0; i < LEN; i += pn_page_size())
		*(unsigned int *)(p + i) = seed + i;
}

static size_t wrong(char *p, unsigned int seed)
{
	size_t i, n = 0;

	for (i = 0; i < LEN; i += pn_page_size())
		n += *(unsigned int *)(p + i) != seed + i;
	return n;
}

/* How many pages are mapped */
static long present(char *p)
{
	long count[PN_MAXNODE];

	return pn_count_nodes(p, LEN, count);
}

/* Pages in the swap cache, of whomever: as many may still be where they were */
static long cached(void)
{
	return pn_meminfo(-1, "SwapCached") * 1024 / pn_page_size();
}

/* What was written to a disk stays in the swap cache until memory is needed. */
static void empty_swap_cache(void)
{
	double end = pn_now() + pn_slow(3);

	while (pn_now() < end && cached()) {
		pn_write_file(GROUP "/memory.reclaim", "4M swappiness=max");
		usleep(10000);
	}
}

static int swap_out(char *p)
{
	int tries = 20;

	pn_settle();
	while (tries-- && present(p) > PAGES / 8) {
		if (madvise(p, LEN, MADV_PAGEOUT))
			return -1;
		usleep(10000);
	}
	empty_swap_cache();
	return present(p) + cached() > PAGES / 8 ? -1 : 0;
}

/* Row 45: memory that got its policy while it was swapped out */
TEST_F(swapin, bound_meanwhile)
{
	long left;

	fill(self->mem, 7);
	ASSERT_EQ(0, swap_out(self->mem));
	left = present(self->mem) + cached();
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(0, wrong(self->mem, 7));
	EXPECT_EQ(PAGES, present(self->mem));
	EXPECT_LE(PAGES - left, pn_on_node(self->mem, LEN, self->priv));
}

/* Rows 74, 45: pages that the readahead of another policy has brought in */
TEST_F(swapin, read_ahead)
{
	long in, left, ahead;
	size_t i;

	fill(self->mem, 11);
	ASSERT_EQ(0, swap_out(self->mem));
	left = cached();
	ahead = pn_vmstat("swap_ra");
	/* Every 16th: the neighbours are in the swap cache now, if at all */
	for (i = 0; i < LEN; i += 16 * pn_page_size())
		(void)*(volatile char *)(self->mem + i);
	/* The control: there was readahead. From compressed memory there is none. */
	if (variant->disk) {
		for (i = pn_page_size(); i < 16 * (size_t)pn_page_size(); i += pn_page_size())
			(void)*(volatile char *)(self->mem + i);
		EXPECT_LT(0, pn_vmstat("swap_ra") - ahead);
	}
	in = present(self->mem);
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(0, wrong(self->mem, 11));
	EXPECT_LE(PAGES - in - left, pn_on_node(self->mem, LEN, self->priv));
}

/*
 * Row 74: and not the other way round: what belongs to others stays off, though it
 * lies beside it in swap, and is read together with it there.
 */
TEST_F(swapin, strangers)
{
	char *other = pn_map(LEN), was[20] = "";
	long ahead = pn_vmstat("swap_ra");
	size_t i, page = pn_page_size();

	ASSERT_NE(NULL, other);
	madvise(other, LEN, MADV_NOHUGEPAGE);
	/* By place in swap, not by address */
	if (variant->disk && !pn_read_line(BY_ADDRESS, was, sizeof(was)))
		ASSERT_EQ(0, pn_write_file(BY_ADDRESS, "false"));
	fill(self->mem, 13);
	fill(other, 17);
	pn_settle();
	for (i = 0; i < LEN; i += page) {
		madvise(self->mem + i, page, MADV_PAGEOUT);
		madvise(other + i, page, MADV_PAGEOUT);
	}
	ASSERT_EQ(0, swap_out(self->mem));
	ASSERT_EQ(0, swap_out(other));
	/* The control: one after the other, they are read together. */
	for (i = 0; i < LEN / 4; i += page) {
		EXPECT_EQ(13 + i, *(unsigned int *)(self->mem + i));
		EXPECT_EQ(17 + i, *(unsigned int *)(other + i));
	}
	if (variant->disk)
		EXPECT_LT(0, pn_vmstat("swap_ra") - ahead);
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	for (; i < LEN; i += page) {
		EXPECT_EQ(13 + i, *(unsigned int *)(self->mem + i));
		EXPECT_EQ(17 + i, *(unsigned int *)(other + i));
	}
	EXPECT_EQ(0, pn_on_node(other, LEN, self->priv));
	/* What others have read of it in advance came to its node all the same. */
	EXPECT_LE(PAGES / 2, pn_on_node(self->mem, LEN, self->priv));
	if (was[0])
		EXPECT_EQ(0, pn_write_file(BY_ADDRESS, was));
	munmap(other, LEN);
}

/* Row 74: to ask for it in advance does not bring it into public memory. */
TEST_F(swapin, willneed)
{
	char *other = pn_map(LEN);
	long before;

	ASSERT_NE(NULL, other);
	madvise(other, LEN, MADV_NOHUGEPAGE);
	fill(other, 19);
	fill(self->mem, 23);
	ASSERT_EQ(0, swap_out(other));
	ASSERT_EQ(0, swap_out(self->mem));

	before = cached();
	ASSERT_EQ(0, madvise(other, LEN, MADV_WILLNEED));
	EXPECT_LT(PAGES / 2, cached() - before);
	EXPECT_EQ(0, wrong(other, 19));
	munmap(other, LEN);

	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	before = cached();
	ASSERT_EQ(0, madvise(self->mem, LEN, MADV_WILLNEED));
	EXPECT_GE(PAGES / 8, cached() - before);
	EXPECT_EQ(0, wrong(self->mem, 23));
	EXPECT_LE(PAGES - PAGES / 8, pn_on_node(self->mem, LEN, self->priv));
}

/* Row 75: swapoff brings it to its nodes as well. */
TEST_F_TIMEOUT(swapin, swapoff, 120)
{
	long left;

	fill(self->mem, 19);
	ASSERT_EQ(0, swap_out(self->mem));
	left = present(self->mem) + cached();
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, off(self, variant->disk));
	EXPECT_EQ(PAGES, present(self->mem));
	EXPECT_LE(PAGES - left, pn_on_node(self->mem, LEN, self->priv));
	EXPECT_EQ(0, wrong(self->mem, 19));
}

/* Shared by fork: each of both gets the same content. */
TEST_F(swapin, forked)
{
	pid_t child;
	int status;

	fill(self->mem, 23);
	ASSERT_EQ(0, swap_out(self->mem));
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	child = fork();
	if (!child) {
		fill(self->mem + 0, 29);
		_exit(wrong(self->mem, 29) ? 1 : 0);
	}
	EXPECT_EQ(0, wrong(self->mem, 23));
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, wrong(self->mem, 23));
}

static int read_privately(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(swapin) *self = arg;

	pn_prefault_stack();
	if (pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0))
		return 1;
	if (wrong(self->mem, 31))
		return 2;
	if (pn_on_node(self->mem, LEN, self->priv) < PAGES / 2)
		return 3;
	pn_hold(child);
	return 0;
}

/* Row 74: what others have, too, does not get there with one who wants it there. */
TEST_F(swapin, forked_other)
{
	struct pn_child child;

	fill(self->mem, 31);
	ASSERT_EQ(0, swap_out(self->mem));
	ASSERT_EQ(0, pn_spawn(&child, read_privately, self));
	ASSERT_EQ(0, pn_ready(&child, 30));
	EXPECT_EQ(0, wrong(self->mem, 31));
	EXPECT_EQ(PAGES, present(self->mem));
	EXPECT_EQ(0, pn_on_node(self->mem, LEN, self->priv));
	EXPECT_EQ(0, pn_reap(&child, 30));
	EXPECT_EQ(0, pn_on_node(self->mem, LEN, self->priv));
}

static int read_and_move(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(swapin) *self = arg;
	long ret;

	if (wrong(self->mem, 37) || pn_on_node(self->mem, LEN, self->priv))
		return 1;
	ret = pn_move_range(self->mem, LEN, self->priv, NULL);
	if (!pn_has_cap(self->priv, "migrate"))
		return ret == -1 && errno == ENODEV ? 0 : 2;
	/* The parent has them in swap, and so in the swap cache, too. */
	if (pn_on_node(self->mem, LEN, self->priv))
		return 3;
	/* What has become its own by writing to it can be moved. */
	fill(self->mem, 41);
	pn_settle();
	pn_move_range(self->mem, LEN, self->priv, NULL);
	return pn_on_node(self->mem, LEN, self->priv) < PAGES / 2 ? 4 : 0;
}

/* Rows 43, 74: nor by moving what was swapped in */
TEST_F(swapin, forked_moved)
{
	fill(self->mem, 37);
	ASSERT_EQ(0, swap_out(self->mem));
	EXPECT_EQ(0, pn_run(read_and_move, self, 60));
	EXPECT_EQ(0, wrong(self->mem, 37));
	EXPECT_EQ(PAGES, present(self->mem));
	EXPECT_EQ(0, pn_on_node(self->mem, LEN, self->priv));
}

/* All of the node but what nobody can have: with nothing left for others */
static int take_all(FIXTURE_DATA(swapin) *self, char *took[2], size_t len[2])
{
	struct pn_zones zones;

	if (pn_zones(self->priv, &zones))
		return -1;
	len[0] = (zones.free * pn_page_size() - 8 * MIB) & ~(2 * MIB - 1);
	len[1] = 32 * MIB;
	took[0] = pn_map_bound(len[0], MPOL_BIND | pn_flag(), self->privs);
	took[1] = pn_map_bound(len[1], MPOL_BIND | pn_flag(), self->privs);
	if (!took[0] || !took[1])
		return -1;
	madvise(took[0], len[0], MADV_HUGEPAGE);
	madvise(took[1], len[1], MADV_NOHUGEPAGE);
	if (pn_touch(took[0], len[0], 2 * MIB, NULL) != len[0])
		return -1;
	return pn_touch(took[1], len[1], pn_page_size(), NULL) < len[1] ? 0 : -1;
}

static void give_back(char *took[2], size_t len[2])
{
	munmap(took[0], len[0]);
	munmap(took[1], len[1]);
	pn_settle();
}

/* A full node: SIGBUS, and no memory from elsewhere; nothing is lost. */
TEST_F_TIMEOUT(swapin, exhausted, 200)
{
	struct pn_fault fault;
	size_t done, len[2];
	char *took[2];
	long elsewhere;

	fill(self->mem, 31);
	ASSERT_EQ(0, swap_out(self->mem));
	ASSERT_EQ(0, take_all(self, took, len));

	elsewhere = present(self->mem) + cached();
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	done = pn_touch(self->mem + LEN / 2, LEN / 2, pn_page_size(), &fault);
	EXPECT_GT(LEN / 2, done);
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_LE(present(self->mem) - pn_on_node(self->mem, LEN, self->priv), elsewhere);
	give_back(took, len);
	EXPECT_EQ(31, *(unsigned int *)self->mem);
	EXPECT_EQ(31 + LEN - pn_page_size(),
		  *(unsigned int *)(self->mem + LEN - pn_page_size()));
}

/*
 * Rows 42, 45: a page of a file that has to come back to a node without room:
 * ENOSPC for read(2) and write(2), a signal for a touch; nothing is lost.
 */
TEST_F_TIMEOUT(swapin, exhausted_file, 200)
{
	size_t page = pn_page_size(), i, got = 0, refused = 0, len[2];
	int fd = memfd_create("pn_swapped", MFD_CLOEXEC);
	struct pn_fault fault;
	unsigned int word;
	char *p, *took[2];
	long elsewhere;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, 37);
	ASSERT_EQ(0, swap_out(p));
	elsewhere = present(p) + cached();
	ASSERT_EQ(0, pn_mbind(p, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, take_all(self, took, len));

	for (i = 0; i < LEN; i += page) {
		if (pread(fd, &word, sizeof(word), i) == sizeof(word)) {
			EXPECT_EQ(37 + i, word);
			got++;
			continue;
		}
		EXPECT_EQ(ENOSPC, errno);
		if (!refused++) {
			EXPECT_EQ(-1, pwrite(fd, &word, sizeof(word), i));
			EXPECT_EQ(ENOSPC, errno);
			EXPECT_EQ(0, pn_touch(p + i, page, page, &fault));
			EXPECT_EQ(SIGBUS, fault.sig);
			EXPECT_EQ(BUS_ADRERR, fault.code);
		}
	}
	/* Some was never away, and a page or two of the node were free. */
	EXPECT_LE(PAGES - elsewhere - 64, refused);
	EXPECT_LE(present(p) - pn_on_node(p, LEN, self->priv), elsewhere);
	give_back(took, len);
	EXPECT_EQ(0, wrong(p, 37));
	munmap(p, LEN);
	close(fd);
}

TEST_HARNESS_MAIN
