// SPDX-License-Identifier: GPL-2.0
/*
 * Device memory and private nodes: what is on a private node is not moved to a
 * device, which can use it where it is. The module test_hmm is the device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "../../../../lib/test_hmm_uapi.h"
#include "pn_util.h"
#include "kselftest_harness.h"

#define DEVICE		"/dev/hmm_dmirror0"
#define LEN		(2 * MIB)
#define PATTERN		0x35

FIXTURE(device)
{
	int priv, control, dev;
	long pages;
	char *copy;
	unsigned char *what;
};

FIXTURE_SETUP(device)
{
	self->dev = -1;
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	if (pn_module("test_hmm", true) || access(DEVICE, R_OK | W_OK))
		SKIP(return, "no module test_hmm (CONFIG_TEST_HMM)");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->dev);
	self->pages = LEN / pn_page_size();
	self->copy = pn_map(LEN);
	self->what = malloc(self->pages);
	ASSERT_NE(NULL, self->copy);
	ASSERT_NE(NULL, self->what);
}

FIXTURE_TEARDOWN(device)
{
	if (self->dev < 0)
		return;
	munmap(self->copy, LEN);
	free(self->what);
	close(self->dev);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	EXPECT_EQ(0, pn_module("test_hmm", false));
}

/* Pages that the device did it to, or the negative error */
static long tell(FIXTURE_DATA(device) *self, unsigned long request, char *p, void *data)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (unsigned long)p, .ptr = (unsigned long)data, .npages = self->pages,
	};

	return ioctl(self->dev, request, &cmd) ? -errno : (long)cmd.cpages;
}

/* How many pages are in the device's memory now */
static long in_device(FIXTURE_DATA(device) *self, char *p)
{
	long count = 0, i;

	if (tell(self, HMM_DMIRROR_SNAPSHOT, p, self->what) != self->pages)
		return -1;
	for (i = 0; i < self->pages; i++)
		/* The lower bits are rights and size */
		count += (self->what[i] & 0xf0) == HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	return count;
}

static void fill(char *p)
{
	size_t i;

	for (i = 0; i < LEN; i++)
		p[i] = (i / 4096 + i) % 251;
}

static long wrong(const char *p)
{
	long count = 0;
	size_t i;

	for (i = 0; i < LEN; i++)
		count += p[i] != (char)((i / 4096 + i) % 251);
	return count;
}

/* Row 104: there and back from an ordinary node; not at all from a private one */
TEST_F_TIMEOUT(device, small_pages, 120)
{
	char *p = pn_filled(LEN, self->control);

	ASSERT_NE(NULL, p);
	fill(p);
	EXPECT_EQ(self->pages, tell(self, HMM_DMIRROR_MIGRATE_TO_DEV, p, self->copy));
	EXPECT_EQ(0, wrong(self->copy));
	EXPECT_EQ(self->pages, in_device(self, p));
	EXPECT_EQ(0, pn_on_node(p, LEN, self->control));
	EXPECT_EQ(self->pages, tell(self, HMM_DMIRROR_MIGRATE_TO_SYS, p, self->copy));
	EXPECT_EQ(self->pages, pn_on_node(p, LEN, self->control));
	EXPECT_EQ(0, wrong(p));
	munmap(p, LEN);

	p = pn_filled(LEN, self->priv);
	ASSERT_NE(NULL, p);
	fill(p);
	/* None of it is in what it then looks at. */
	EXPECT_EQ(-ENOENT, tell(self, HMM_DMIRROR_MIGRATE_TO_DEV, p, self->copy));
	EXPECT_EQ(0, in_device(self, p));
	EXPECT_EQ(self->pages, pn_on_node(p, LEN, self->priv));
	EXPECT_EQ(0, wrong(p));
	/* Where it is, the device has it. */
	EXPECT_EQ(self->pages, tell(self, HMM_DMIRROR_READ, p, self->copy));
	EXPECT_EQ(0, wrong(self->copy));
	memset(self->copy, PATTERN, LEN);
	EXPECT_EQ(self->pages, tell(self, HMM_DMIRROR_WRITE, p, self->copy));
	EXPECT_EQ(PATTERN, p[0]);
	EXPECT_EQ(PATTERN, p[LEN - 1]);
	EXPECT_EQ(self->pages, pn_on_node(p, LEN, self->priv));
	munmap(p, LEN);
}

static char *huge(FIXTURE_DATA(device) *self, int nid)
{
	char *map = pn_map_bound(2 * LEN, MPOL_BIND | (nid == self->priv ? pn_flag() : 0),
				 NODE_BIT(nid));
	char *p = (char *)(((unsigned long)map + LEN - 1) & ~(LEN - 1));

	if (!map || madvise(p, LEN, MADV_HUGEPAGE))
		return NULL;
	fill(p);
	return p;
}

TEST_F_TIMEOUT(device, huge_page, 120)
{
	char *p = huge(self, self->control);

	ASSERT_NE(NULL, p);
	EXPECT_EQ(self->pages, tell(self, HMM_DMIRROR_MIGRATE_TO_DEV, p, self->copy));
	EXPECT_EQ(self->pages, in_device(self, p));
	EXPECT_EQ(0, wrong(p));
	p = huge(self, self->priv);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(-ENOENT, tell(self, HMM_DMIRROR_MIGRATE_TO_DEV, p, self->copy));
	EXPECT_EQ(0, in_device(self, p));
	EXPECT_EQ(self->pages, pn_on_node(p, LEN, self->priv));
	EXPECT_EQ(0, wrong(p));
	munmap(p, LEN);
}

/* The device alone has a page for a while, and gives it back where it is. */
TEST_F_TIMEOUT(device, exclusive, 120)
{
	char *p = pn_filled(LEN, self->priv);

	ASSERT_NE(NULL, p);
	fill(p);
	EXPECT_EQ(self->pages, tell(self, HMM_DMIRROR_EXCLUSIVE, p, self->copy));
	EXPECT_EQ(0, wrong(self->copy));
	EXPECT_EQ(0, wrong(p));
	EXPECT_EQ(self->pages, pn_on_node(p, LEN, self->priv));
	munmap(p, LEN);
}

/*
 * Half of the pages are there, on the private node; where there is none, the device
 * may put one of its own. When that comes back it obeys the policy, too.
 */
TEST_F_TIMEOUT(device, holes, 120)
{
	long page = pn_page_size(), i, there = 0;
	char *p = pn_map_bound(LEN, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	struct pn_fault fault;

	ASSERT_NE(NULL, p);
	madvise(p, LEN, MADV_NOHUGEPAGE);
	for (i = 0; i < self->pages; i += 2)
		p[i * page] = i % 100 + 1;
	/* What it does not get it does not find. */
	EXPECT_EQ(-ENOENT, tell(self, HMM_DMIRROR_MIGRATE_TO_DEV, p, self->copy));
	EXPECT_EQ(self->pages / 2, in_device(self, p));
	EXPECT_EQ(self->pages / 2, pn_on_node(p, LEN, self->priv));
	EXPECT_EQ(LEN, pn_touch(p + 8, LEN - 8, page, &fault) + 8);
	for (i = 0; i < self->pages; i++) {
		EXPECT_EQ(i % 2 ? 0 : i % 100 + 1, p[i * page]);
		there += pn_node_of(p + i * page) == self->priv;
	}
	EXPECT_EQ(self->pages, there);
	munmap(p, LEN);
}

TEST_HARNESS_MAIN
