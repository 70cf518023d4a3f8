// SPDX-License-Identifier: GPL-2.0
/*
 * The whole way from a CXL device to a private node and back: region, devdax,
 * the attribute "private", kmem, use, and tear-down. Needs a CXL memory device
 * without a region, and the tools cxl and daxctl.
 *
 * Environment: PN_ROUNDS=N repeats the way N times (default 2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "pn_dax.h"
#include "pn_util.h"
#include "kselftest_harness.h"

#define HUGE_SIZE	(2 * MIB)

static const char *attribute(const char *name)
{
	static char text[100];
	char path[120];

	snprintf(path, sizeof(path), PN_DAX "%s", name);
	return pn_read_line(path, text, sizeof(text)) ? "(unreadable)" : text;
}

static const char *node_attribute(int nid, const char *name)
{
	static char text[100];
	char path[120];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/%s", nid, name);
	return pn_read_line(path, text, sizeof(text)) ? "(none)" : text;
}

/* 0 or the error of the write */
static int set_private(const char *value)
{
	return pn_write_file(PN_DAX "private", value) ? errno : 0;
}

FIXTURE(dax)
{
	bool possible, stuck;
	int nid;
};

FIXTURE_SETUP(dax)
{
	self->stuck = false;
	if (!pn_dax_possible())
		SKIP(return, "no CXL or soft-reserved memory, or no cxl and daxctl");
	self->possible = true;
	self->nid = pn_dax_create("");
	ASSERT_LE(0, self->nid);
}

FIXTURE_TEARDOWN(dax)
{
	/* What a driver has left behind is there until the next boot */
	if (!self->possible || self->stuck)
		return;
	pn_dax_run("daxctl offline-memory dax0.0;"
		   "daxctl reconfigure-device -m devdax --force dax0.0");
	EXPECT_EQ(0, pn_dax_destroy());
	EXPECT_FALSE(pn_node_mask("has_private_memory") & NODE_BIT(self->nid));
	EXPECT_FALSE(pn_node_mask("has_memory") & NODE_BIT(self->nid));
}

static int to_devdax(void)
{
	int ret = pn_dax_run("daxctl reconfigure-device -m devdax --force dax0.0");

	/* Some drivers begin with it, and then the device cannot become private. */
	pn_write_file(PN_DAX "memmap_on_memory", "0");
	return ret;
}

static int to_system_ram(void)
{
	return pn_dax_run("daxctl reconfigure-device -m system-ram dax0.0");
}

/* Memory blocks of the node: writes to the state of all, the first error */
static int all_blocks(int nid, const char *state)
{
	char pattern[100], path[200], now[20];
	size_t i;
	glob_t found;
	int err = ENOENT;

	snprintf(pattern, sizeof(pattern), PN_NODE_DIR "/node%d/memory[0-9]*", nid);
	if (glob(pattern, 0, NULL, &found))
		return err;
	for (i = 0, err = 0; i < found.gl_pathc; i++) {
		snprintf(path, sizeof(path), "%s/state", found.gl_pathv[i]);
		/* A block that is in the state already refuses it */
		if (!pn_read_file(path, now, sizeof(now)) &&
		    !strncmp(now, state, strcspn(now, "\n")))
			continue;
		if (pn_write_file(path, state) && !err)
			err = errno;
	}
	globfree(&found);
	return err;
}

static long present_in_zone(int nid, const char *zone)
{
	char line[256], name[20];
	FILE *info = fopen("/proc/zoneinfo", "re");
	long present = -1;
	int node = -1;

	if (!info)
		return -1;
	name[0] = 0;
	while (fgets(line, sizeof(line), info)) {
		long value;

		if (sscanf(line, "Node %d, zone %19s", &node, name) == 2)
			continue;
		if (node == nid && !strcmp(name, zone) &&
		    sscanf(line, " present %ld", &value) == 1)
			present = value;
	}
	fclose(info);
	return present;
}

/* Kilobytes that public nodes have in use, but for caches */
static long public_used(void)
{
	unsigned long nodes = pn_node_mask("has_memory");
	long used = 0;
	int nid;

	/* RCU and workers free what is left of the last round. */
	poll(NULL, 0, 200);
	pn_write_file("/proc/sys/vm/drop_caches", "3");
	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (nodes & NODE_BIT(nid))
			used += pn_used(nid);
	return used * (pn_page_size() / 1024) - pn_meminfo(-1, "Cached") -
	       pn_meminfo(-1, "Buffers");
}

/*
 * Rows 110, 115, 134: there and back again, with memory in use meanwhile, and nothing
 * is lost: neither what describes the node's memory, which is megabytes each time,
 * nor, if that is done often enough, a page.
 */
TEST_F_TIMEOUT(dax, there_and_back, 3000)
{
	int round, rounds = getenv("PN_ROUNDS") ? atoi(getenv("PN_ROUNDS")) : 2;
	unsigned long before = pn_node_mask("has_memory"), mask = NODE_BIT(self->nid);
	struct pn_zones zones;
	char *p, *q;
	long used = 0;
	size_t len;

	for (round = 0; round < rounds; round++) {
		/* What is made once is there after the first */
		if (round == 1)
			used = public_used();
		ASSERT_EQ(0, to_devdax());
		ASSERT_EQ(0, set_private(round % 2 ? "reclaim,migrate" : "1"));
		EXPECT_STREQ(round % 2 ? "reclaim,migrate" : "1", attribute("private"));
		ASSERT_EQ(0, to_system_ram());
		EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
		EXPECT_EQ(before, pn_node_mask("has_memory"));
		EXPECT_STREQ("dax/kmem", node_attribute(self->nid, "owner"));
		EXPECT_STREQ(round % 2 ? "reclaim,migrate" : "",
			     node_attribute(self->nid, "capabilities"));

		p = pn_map(32 * MIB);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(-1, pn_mbind(p, 32 * MIB, MPOL_BIND, &mask, 0));
		EXPECT_EQ(EINVAL, errno);
		ASSERT_EQ(0, pn_mbind(p, 32 * MIB, MPOL_BIND | MPOL_F_PRIVATE, &mask, 0));
		ASSERT_EQ(32 * MIB, pn_touch(p, 32 * MIB, pn_page_size(), NULL));
		EXPECT_EQ(self->nid, pn_node_of(p));
		EXPECT_EQ(self->nid, pn_node_of(p + 32 * MIB - 1));

		/* What is in use stays, and so does the node. */
		EXPECT_EQ(EBUSY, all_blocks(self->nid, "offline"));
		EXPECT_EQ(self->nid, pn_node_of(p));
		EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
		ASSERT_EQ(0, all_blocks(self->nid, "online"));
		q = pn_map_bound(MIB, MPOL_BIND | MPOL_F_PRIVATE, mask);
		ASSERT_NE(NULL, q);
		ASSERT_EQ(MIB, pn_touch(q, MIB, pn_page_size(), NULL));
		EXPECT_EQ(self->nid, pn_node_of(q));
		munmap(p, 32 * MIB);
		munmap(q, MIB);

		/* All of it but what is not free in such pieces */
		ASSERT_EQ(0, pn_zones(self->nid, &zones));
		len = zones.free * pn_page_size() & ~(HUGE_SIZE - 1);
		p = pn_map_bound(len, MPOL_BIND | MPOL_F_PRIVATE, mask);
		ASSERT_NE(NULL, p);
		madvise(p, len, MADV_HUGEPAGE);
		EXPECT_LE(len - len / 16, pn_touch(p, len, HUGE_SIZE, NULL));
		munmap(p, len);
		pn_settle();
		EXPECT_EQ(0, pn_wait_empty(self->nid));

		ASSERT_EQ(0, pn_dax_run("daxctl offline-memory dax0.0"));
		EXPECT_EQ(0, pn_node_mask("has_private_memory"));
		/* Offline, but still the owner's */
		EXPECT_STREQ("dax/kmem", node_attribute(self->nid, "owner"));
		ASSERT_EQ(0, to_devdax());
		EXPECT_STREQ("(none)", node_attribute(self->nid, "owner"));
		/* Nothing is left of the region when it is made anew. */
		ASSERT_EQ(0, pn_dax_destroy());
		ASSERT_EQ(self->nid, pn_dax_create(""));
	}
	if (rounds > 1) {
		used = public_used() - used;
		pn_note("%d rounds: %ld kB", rounds, used);
		EXPECT_GT(1024 + 2 * rounds, used);
	}
}

/* A private node of a driver can be public the next time. */
TEST_F_TIMEOUT(dax, public_again, 300)
{
	unsigned long mask = NODE_BIT(self->nid);

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("1"));
	ASSERT_EQ(0, to_system_ram());
	EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
	ASSERT_EQ(0, pn_dax_run("daxctl offline-memory dax0.0"));
	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("0"));
	ASSERT_EQ(0, to_system_ram());
	EXPECT_EQ(0, pn_node_mask("has_private_memory"));
	EXPECT_EQ(mask, pn_node_mask("has_memory") & mask);
}

/* The attribute and its errors */
TEST_F_TIMEOUT(dax, attribute, 300)
{
	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("1"));
	ASSERT_EQ(0, to_system_ram());
	/* kmem has it. */
	EXPECT_EQ(EBUSY, set_private("1"));
	EXPECT_EQ(EBUSY, set_private("0"));
	EXPECT_STREQ("1", attribute("private"));
	ASSERT_EQ(0, pn_dax_run("daxctl offline-memory dax0.0"));
	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("0"));
	EXPECT_EQ(EINVAL, set_private("x"));
	EXPECT_EQ(EINVAL, set_private("2"));
	EXPECT_EQ(EINVAL, set_private("1,pin"));
	EXPECT_EQ(EINVAL, set_private("balancing"));
	EXPECT_EQ(EINVAL, set_private("demotion"));
	EXPECT_STREQ("0", attribute("private"));
	EXPECT_EQ(0, set_private("pin,reclaim"));
	/* In the order of the table, whatever the order of the write */
	EXPECT_STREQ("reclaim,pin", attribute("private"));
	EXPECT_EQ(EINVAL, set_private("y"));
	EXPECT_STREQ("reclaim,pin", attribute("private"));
	EXPECT_EQ(0, set_private("1"));
	EXPECT_STREQ("1", attribute("private"));
	EXPECT_EQ(0, set_private("0"));
	EXPECT_STREQ("0", attribute("private"));
}

/* Row 33: what describes private memory is not in it. */
TEST_F_TIMEOUT(dax, memmap_on_memory, 300)
{
	static const char path[] = PN_DAX "memmap_on_memory";

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("0"));
	if (pn_write_file(path, "1")) {
		ASSERT_EQ(EOPNOTSUPP, errno);
		SKIP(return, "boot with memory_hotplug.memmap_on_memory=1");
	}
	EXPECT_EQ(EINVAL, set_private("1"));
	EXPECT_EQ(EINVAL, set_private("reclaim"));
	EXPECT_STREQ("0", attribute("private"));
	ASSERT_EQ(0, pn_write_file(path, "0"));
	ASSERT_EQ(0, set_private("1"));
	EXPECT_EQ(-1, pn_write_file(path, "1"));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_STREQ("0", attribute("memmap_on_memory"));
	ASSERT_EQ(0, set_private("0"));
}

/* Rows 111, 112: neither zone nor privacy is up to memoryN/state. */
TEST_F_TIMEOUT(dax, zone, 300)
{
	static const char * const states[] = { "online", "online_kernel", "online_movable" };
	unsigned long mask = NODE_BIT(self->nid);
	size_t i;

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("1"));
	ASSERT_EQ(0, to_system_ram());
	for (i = 0; i < ARRAY_SIZE(states); i++) {
		ASSERT_EQ(0, all_blocks(self->nid, "offline"));
		EXPECT_EQ(0, pn_node_mask("has_private_memory"));
		ASSERT_EQ(0, all_blocks(self->nid, states[i]));
		EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
		EXPECT_FALSE(pn_node_mask("has_memory") & mask);
		EXPECT_FALSE(pn_node_mask("has_normal_memory") & mask);
		EXPECT_LT(0, present_in_zone(self->nid, "Movable"));
		EXPECT_GE(0, present_in_zone(self->nid, "Normal"));
	}
	/* To be pinned it must not be movable. */
	ASSERT_EQ(0, pn_dax_run("daxctl offline-memory dax0.0"));
	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("pin"));
	ASSERT_EQ(0, to_system_ram());
	EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
	EXPECT_LT(0, present_in_zone(self->nid, "Normal"));
	EXPECT_GE(0, present_in_zone(self->nid, "Movable"));
}

/* Row 105: what cannot be pinned where it is to be is no lack of memory. */
TEST_F_TIMEOUT(dax, longterm_pin, 300)
{
	unsigned long mask = NODE_BIT(self->nid);
	size_t len = 16 * pn_page_size();
	long exhausted;
	char *p;

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("1"));
	ASSERT_EQ(0, to_system_ram());
	exhausted = pn_counter(self->nid, "exhausted");
	p = pn_map_bound(len, MPOL_BIND | MPOL_F_PRIVATE, mask);
	ASSERT_NE(NULL, p);
	/* There is nothing yet, and there is */
	EXPECT_EQ(-ENOMEM, pn_pin_longterm(p, len));
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(-ENOMEM, pn_pin_longterm(p, len));
	EXPECT_EQ(16, pn_on_node(p, len, self->nid));
	munmap(p, len);
	/* Nor is it for shared memory. */
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | MPOL_F_PRIVATE, &mask, 0));
	EXPECT_EQ(-ENOMEM, pn_pin_longterm(p, len));
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(-ENOMEM, pn_pin_longterm(p, len));
	EXPECT_EQ(exhausted, pn_counter(self->nid, "exhausted"));
	munmap(p, len);
}

/* Rows 107, 113: with the capability memory in use moves to public nodes. */
TEST_F_TIMEOUT(dax, offline_capability, 300)
{
	unsigned long mask = NODE_BIT(self->nid);
	size_t len = 8 * MIB;
	long count[PN_MAXNODE];
	char *p;

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("offline"));
	ASSERT_EQ(0, to_system_ram());
	p = pn_map_bound(len, MPOL_BIND | MPOL_F_PRIVATE, mask);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(self->nid, pn_node_of(p));
	EXPECT_EQ(0, all_blocks(self->nid, "offline"));
	ASSERT_EQ((long)len / pn_page_size(), pn_count_nodes(p, len, count));
	EXPECT_EQ(0, count[self->nid]);
	EXPECT_EQ((unsigned long)p, *(unsigned long *)p);
	munmap(p, len);
}

/* A full node: SIGBUS, as for any private node. */
TEST_F_TIMEOUT(dax, exhausted, 300)
{
	unsigned long mask = NODE_BIT(self->nid);
	struct pn_fault fault;
	size_t len;
	char *p;

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("1"));
	ASSERT_EQ(0, to_system_ram());
	len = (pn_meminfo(self->nid, "MemTotal") * 1024 + 64 * MIB) & ~(2 * MIB - 1);
	p = pn_map_bound(len, MPOL_BIND | MPOL_F_PRIVATE, mask);
	ASSERT_NE(NULL, p);
	madvise(p, len, MADV_HUGEPAGE);
	pn_touch(p, len - 128 * MIB, 2 * MIB, NULL);
	EXPECT_GT(128 * MIB, pn_touch(p + len - 128 * MIB, 128 * MIB, pn_page_size(), &fault));
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(BUS_ADRERR, fault.code);
	munmap(p, len);
	EXPECT_EQ(0, pn_wait_empty(self->nid));
}

/*
 * Row 117: the driver leaves while its memory is in use. Then it is still there, and
 * still private, and whoever has it keeps it. The last test: nobody can give that
 * memory back.
 */
TEST_F_TIMEOUT(dax, unbound_in_use, 300)
{
	unsigned long before = pn_node_mask("has_memory"), mask = NODE_BIT(self->nid);
	size_t len = 8 * MIB, pages = len / pn_page_size(), i;
	char *p, *q;

	ASSERT_EQ(0, to_devdax());
	ASSERT_EQ(0, set_private("1"));
	ASSERT_EQ(0, to_system_ram());
	p = pn_map_bound(len, MPOL_BIND | MPOL_F_PRIVATE, mask);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	memset(p, 0x5a, len);
	self->stuck = true;
	pn_write_file("/sys/bus/dax/drivers/kmem/unbind", "dax0.0");
	EXPECT_EQ(-1, access(PN_DAX "driver", F_OK));

	EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
	EXPECT_EQ(before, pn_node_mask("has_memory"));
	EXPECT_STREQ("dax/kmem", node_attribute(self->nid, "owner"));
	EXPECT_EQ(pages, pn_on_node(p, len, self->nid));
	for (i = 0; i < len; i++)
		ASSERT_EQ(0x5a, p[i]);
	q = pn_map_bound(len, MPOL_BIND | MPOL_F_PRIVATE, mask);
	ASSERT_NE(NULL, q);
	EXPECT_EQ(len, pn_touch(q, len, pn_page_size(), NULL));

	/* It does not come back as public memory. */
	EXPECT_EQ(0, set_private("0"));
	EXPECT_EQ(-1, pn_write_file("/sys/bus/dax/drivers/kmem/bind", "dax0.0"));
	EXPECT_EQ(mask, pn_node_mask("has_private_memory"));
	EXPECT_EQ(before, pn_node_mask("has_memory"));

	ASSERT_EQ(0, munmap(p, len));
	ASSERT_EQ(0, munmap(q, len));
	EXPECT_EQ(0, pn_wait_empty(self->nid));
	EXPECT_EQ(0, all_blocks(self->nid, "offline"));
	EXPECT_EQ(0, pn_node_mask("has_private_memory"));
	EXPECT_EQ(before, pn_node_mask("has_memory"));
}

TEST_HARNESS_MAIN
