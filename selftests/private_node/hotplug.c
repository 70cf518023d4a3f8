// SPDX-License-Identifier: GPL-2.0
/*
 * "A private node never becomes public": its memory blocks go offline and come
 * back online by sysfs, and the node is what it was.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define MAX_BLOCKS	512

FIXTURE(hotplug)
{
	int priv;
	unsigned long privs, private, public;
	long total, min_free;
	char block[MAX_BLOCKS][128];
	int nr;
};

static int by_name(const void *a, const void *b)
{
	return strverscmp(a, b);
}

/* The file of the state of a node's next block, or NULL at the end */
static char *next_block(DIR *dir)
{
	static char state[80];
	struct dirent *entry;
	int number, end;

	while ((entry = readdir(dir))) {
		end = 0;
		if (sscanf(entry->d_name, "memory%d%n", &number, &end) != 1 ||
		    entry->d_name[end])
			continue;
		snprintf(state, sizeof(state), "/sys/devices/system/memory/memory%d/state",
			 number);
		return state;
	}
	return NULL;
}

static DIR *open_node(int nid)
{
	char path[64];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d", nid);
	return opendir(path);
}

FIXTURE_SETUP(hotplug)
{
	char *state;
	DIR *dir;

	self->nr = 0;
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	self->privs = NODE_BIT(self->priv);
	self->private = pn_node_mask("has_private_memory");
	self->public = pn_public_nodes();
	self->total = pn_meminfo(-1, "MemTotal");
	self->min_free = pn_read_long("/proc/sys/vm/min_free_kbytes");
	ASSERT_EQ(0, pn_start_empty(self->priv));

	dir = open_node(self->priv);
	ASSERT_NE(NULL, dir);
	while (self->nr < MAX_BLOCKS && (state = next_block(dir)))
		strcpy(self->block[self->nr++], state);
	closedir(dir);
	qsort(self->block, self->nr, sizeof(self->block[0]), by_name);
	ASSERT_LT(0, self->nr);
}

FIXTURE_TEARDOWN(hotplug)
{
	char state[32];
	int i;

	for (i = 0; i < self->nr; i++) {
		if (!pn_read_file(self->block[i], state, sizeof(state)) &&
		    !strncmp(state, "offline", 7))
			pn_write_file(self->block[i], "online");
	}
	if (self->nr)
		EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* The state of the nodes and what is counted for all, as before */
static bool unchanged(struct __test_metadata *_metadata,
		      FIXTURE_DATA(hotplug) *self)
{
	bool same = true;

	same &= pn_node_mask("has_private_memory") == self->private;
	same &= pn_public_nodes() == self->public;
	same &= pn_meminfo(-1, "MemTotal") == self->total;
	same &= pn_read_long("/proc/sys/vm/min_free_kbytes") == self->min_free;
	if (!same)
		TH_LOG("private %lx, public %lx, MemTotal %ld, min_free_kbytes %ld",
		       pn_node_mask("has_private_memory"), pn_public_nodes(),
		       pn_meminfo(-1, "MemTotal"),
		       pn_read_long("/proc/sys/vm/min_free_kbytes"));
	return same;
}

static long fill_some(unsigned long privs, int nid)
{
	size_t len = 8 * MIB;
	char *p = pn_map_bound(len, MPOL_BIND | pn_flag(), privs);
	long ok;

	if (!p)
		return -1;
	ok = pn_touch(p, len, pn_page_size(), NULL) == len && pn_node_of(p) == nid;
	munmap(p, len);
	return ok;
}

/* Rows 111, 112: one block, in each way to bring it back */
TEST_F_TIMEOUT(hotplug, one_block, 200)
{
	static const char * const ways[] = { "online", "online_kernel", "online_movable" };
	const char *block = self->block[self->nr - 1];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		ASSERT_EQ(0, pn_write_file(block, "offline")) TH_LOG("%s", block);
		EXPECT_TRUE(unchanged(_metadata, self));
		ASSERT_EQ(0, pn_write_file(block, ways[i])) TH_LOG("%s", ways[i]);
		EXPECT_TRUE(unchanged(_metadata, self)) TH_LOG("after %s", ways[i]);
		EXPECT_EQ(1, fill_some(self->privs, self->priv));
	}
}

/*
 * Rows 1, 115, 116: all blocks. The node has no memory then, neither private
 * nor public; what comes back is private from its first page.
 */
TEST_F_TIMEOUT(hotplug, all_blocks, 200)
{
	char *p = pn_map(MIB);
	int i, round;

	ASSERT_NE(NULL, p);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < self->nr; i++)
			ASSERT_EQ(0, pn_write_file(self->block[i], "offline"))
				TH_LOG("%s", self->block[i]);
		EXPECT_EQ(self->private & ~self->privs, pn_node_mask("has_private_memory"));
		EXPECT_EQ(self->public, pn_public_nodes());
		EXPECT_EQ(self->total, pn_meminfo(-1, "MemTotal"));
		/* It is the same with the node as without it. */
		EXPECT_EQ(self->min_free, pn_read_long("/proc/sys/vm/min_free_kbytes"));
		/* "A private node that is not there: EINVAL" */
		EXPECT_EQ(-1, pn_mbind(p, MIB, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0));
		EXPECT_EQ(EINVAL, errno);

		for (i = 0; i < self->nr; i++)
			ASSERT_EQ(0, pn_write_file(self->block[i], "online"));
		EXPECT_TRUE(unchanged(_metadata, self));
		EXPECT_EQ(1, fill_some(self->privs, self->priv));
	}
	munmap(p, MIB);
}

/* Row 113: a block in use stays, at once, and so does what is on it. */
TEST_F_TIMEOUT(hotplug, in_use, 200)
{
	size_t len = (pn_meminfo(self->priv, "MemFree") / 2) << 10, i;
	char *p = pn_map_bound(len, MPOL_BIND | pn_flag(), self->privs);
	double start;
	int busy = 0, b;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	for (b = 0; b < self->nr; b++) {
		start = pn_now();
		if (pn_write_file(self->block[b], "offline")) {
			EXPECT_EQ(EBUSY, errno);
			EXPECT_GT(pn_slow(20), pn_now() - start);
			busy++;
		}
	}
	/* Half of the node is in use, so half of the blocks at least */
	EXPECT_LE(self->nr / 2, busy);
	for (i = 0; i < len; i += 16 * pn_page_size())
		ASSERT_EQ(self->priv, pn_node_of(p + i));
	munmap(p, len);
}

/* The control: an ordinary node whose blocks come back is public. */
TEST_F_TIMEOUT(hotplug, ordinary, 200)
{
	int control = pn_control_node(), nr = 0;
	char *state;
	DIR *dir;

	if (control < 0)
		SKIP(return, "no ordinary node without CPUs");
	if (pn_meminfo(-1, "HardwareCorrupted"))
		SKIP(return, "some memory has failed");
	dir = open_node(control);
	ASSERT_NE(NULL, dir);
	while ((state = next_block(dir))) {
		/* Kernel memory may be anywhere there; one block is enough. */
		if (pn_write_file(state, "offline"))
			continue;
		nr++;
		EXPECT_EQ(0, pn_write_file(state, "online"));
		break;
	}
	closedir(dir);
	EXPECT_EQ(1, nr);
	EXPECT_EQ(self->public, pn_public_nodes());
	EXPECT_EQ(self->total, pn_meminfo(-1, "MemTotal"));
}

struct writer {
	char *p;
	size_t len;
};

/* Writes to all of it, and looks whether it is what was written, without end */
static int writes(struct pn_child *child, void *arg)
{
	struct writer *writer = arg;
	const size_t step = pn_page_size();
	uint64_t round;
	size_t i;

	for (round = 0; ; round++) {
		for (i = 0; i < writer->len; i += step) {
			uint64_t *word = (uint64_t *)(writer->p + i);

			if (round && *word != pn_mix(round - 1 + i))
				return 1;
			*word = pn_mix(round + i);
		}
		if (round % 2)
			pn_say(child);
	}
}

/*
 * Row 114: memory of an ordinary node goes offline while it is in use. What is there
 * moves to other ordinary nodes, whatever its policy says.
 */
TEST_F_TIMEOUT(hotplug, ordinary_in_use, 300)
{
	int control = pn_control_node(), nr = 0, tries = 0;
	struct writer writer = { .len = 256 * MIB };
	long count[PN_MAXNODE], allocations;
	struct pn_child child;
	unsigned long mask;
	char *state;
	DIR *dir;

	if (control < 0)
		SKIP(return, "no ordinary node without CPUs");
	/* As in ordinary: a block with such a page does not come back. */
	if (pn_meminfo(-1, "HardwareCorrupted"))
		SKIP(return, "some memory has failed");
	mask = NODE_BIT(control);
	writer.p = mmap(NULL, writer.len, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, writer.p);
	ASSERT_EQ(0, pn_mbind(writer.p, writer.len, MPOL_BIND, &mask, 0));
	ASSERT_EQ(writer.len, pn_touch(writer.p, writer.len, pn_page_size(), NULL));
	ASSERT_EQ(0, pn_spawn(&child, writes, &writer));
	ASSERT_EQ(0, pn_ready(&child, 60));
	ASSERT_LT(0, pn_count_nodes(writer.p, writer.len, count));
	ASSERT_LT(0, count[control]);
	allocations = pn_allocations(self->priv);

	dir = open_node(control);
	ASSERT_NE(NULL, dir);
	while ((state = next_block(dir)) && !nr && tries++ < 40) {
		long there = count[control];

		if (pn_write_file(state, "offline"))
			continue;
		pn_count_nodes(writer.p, writer.len, count);
		nr += count[control] < there;
		EXPECT_EQ(0, count[self->priv]);
		EXPECT_EQ(0, pn_online(state));
	}
	closedir(dir);
	/* The control: some of it was in a block that went. */
	EXPECT_LE(1, nr);
	/* All has been looked at since, and nothing was wrong. */
	while (!pn_ready(&child, 0))
		;
	EXPECT_EQ(0, pn_ready(&child, 60));
	EXPECT_EQ(0, pn_ready(&child, 60));
	kill(child.pid, SIGKILL);
	EXPECT_EQ(SIGKILL, pn_reap(&child, 10));
	EXPECT_EQ(allocations, pn_allocations(self->priv));
	EXPECT_EQ(self->public, pn_public_nodes());
	EXPECT_EQ(self->total, pn_meminfo(-1, "MemTotal"));
	munmap(writer.p, writer.len);
}

TEST_HARNESS_MAIN
