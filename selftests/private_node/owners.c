// SPDX-License-Identifier: GPL-2.0
/*
 * Two who would have the same node: the one who made it private decides, and only
 * the same owner with the same capabilities may add to it. Row 131, and 110. Needs
 * a dax device that is no memory yet (dax0.0), and daxctl. The first owner is the
 * boot option if the device's node is private already, else half of the device.
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
#include <sys/wait.h>

#include "pn_dax.h"
#include "pn_util.h"
#include "kselftest_harness.h"

#define DAX		"/sys/bus/dax/devices/"
#define REGION		DAX "dax0.0/../dax_region/"

FIXTURE(owners)
{
	int nid;
	bool boot, ready;
	const char *second;		/* the device that comes too late */
	char whole[32], owner[64], caps[200];
	char *memory;			/* of the first */
	long total;
};

static int daxctl(const char *command, const char *device, bool quiet)
{
	char line[200];

	snprintf(line, sizeof(line), "daxctl %s %s", command, device);
	return quiet ? pn_dax_try(line) : pn_dax_run(line);
}

static int to_devdax(const char *device)
{
	return daxctl("reconfigure-device -m devdax --force", device, false);
}

static int to_system_ram(const char *device, bool quiet)
{
	return daxctl("reconfigure-device -m system-ram", device, quiet);
}

static int put(const char *device, const char *name, const char *value)
{
	char path[120];

	snprintf(path, sizeof(path), DAX "%s/%s", device, name);
	return pn_write_file(path, value);
}

static int node_file(int nid, const char *name, char *text, size_t size)
{
	char path[120];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/%s", nid, name);
	return pn_read_line(path, text, size);
}

/* dax0.0 with half of the memory, dax0.1 with the other */
static int split(const char *whole)
{
	char half[32];

	snprintf(half, sizeof(half), "%lld", atoll(whole) / 2);
	return to_devdax("dax0.0") ||
	       daxctl("disable-device", "dax0.0", false) ||
	       put("dax0.0", "size", half) || pn_write_file(REGION "create", "1") ||
	       put("dax0.1", "size", half);
}

FIXTURE_SETUP(owners)
{
	if (access(DAX "dax0.0/private", F_OK) || system("command -v daxctl >/dev/null"))
		SKIP(return, "no dax device dax0.0, or no daxctl");
	self->nid = pn_read_long(DAX "dax0.0/target_node");
	ASSERT_LE(0, self->nid);
	self->boot = pn_node_mask("has_private_memory") & NODE_BIT(self->nid);
	ASSERT_EQ(0, pn_read_file(DAX "dax0.0/size", self->whole, sizeof(self->whole)));
	ASSERT_EQ(0, pn_dax_hold());
	self->ready = true;
	if (self->boot) {
		self->second = "dax0.0";
		ASSERT_EQ(0, to_devdax(self->second));
	} else {
		self->second = "dax0.1";
		ASSERT_EQ(0, split(self->whole));
		ASSERT_EQ(0, put("dax0.0", "private", "migrate"));
		ASSERT_EQ(0, to_system_ram("dax0.0", false));
	}
	EXPECT_EQ(NODE_BIT(self->nid), pn_node_mask("has_private_memory"));
	ASSERT_EQ(0, node_file(self->nid, "owner", self->owner, sizeof(self->owner)));
	EXPECT_STREQ(self->boot ? "boot" : "dax/kmem", self->owner);
	ASSERT_EQ(0, node_file(self->nid, "capabilities", self->caps, sizeof(self->caps)));
	EXPECT_STREQ(self->boot ? "" : "migrate", self->caps);
	ASSERT_EQ(0, pn_wait_empty(self->nid));
	self->memory = pn_filled(MIB, self->nid);
	ASSERT_NE(NULL, self->memory);
	self->total = pn_meminfo(self->nid, "MemTotal");
}

FIXTURE_TEARDOWN(owners)
{
	if (!self->ready)
		return;
	if (self->memory)
		munmap(self->memory, MIB);
	EXPECT_EQ(0, pn_wait_empty(self->nid));
	if (!self->boot) {
		daxctl("offline-memory", "dax0.1", true);
		daxctl("offline-memory", "dax0.0", true);
		daxctl("reconfigure-device -m devdax --force", "dax0.1", true);
		daxctl("reconfigure-device -m devdax --force", "dax0.0", true);
		daxctl("disable-device", "dax0.1", true);
		daxctl("disable-device", "dax0.0", true);
		EXPECT_EQ(0, put("dax0.1", "size", "0"));
		EXPECT_EQ(0, pn_write_file(REGION "delete", "dax0.1"));
		EXPECT_EQ(0, put("dax0.0", "size", self->whole));
		EXPECT_EQ(0, put("dax0.0", "private", "0"));
		EXPECT_EQ(0, pn_node_mask("has_private_memory"));
	}
	EXPECT_EQ(0, pn_dax_unhold());
}

/* What the first owner has is as it was. */
#define EXPECT_UNCHANGED() do {							\
	char _text[200] = "";							\
										\
	EXPECT_EQ(NODE_BIT(self->nid), pn_node_mask("has_private_memory"));	\
	EXPECT_FALSE(pn_node_mask("has_memory") & NODE_BIT(self->nid));		\
	EXPECT_EQ(0, node_file(self->nid, "owner", _text, sizeof(_text)));	\
	EXPECT_STREQ(self->owner, _text);					\
	EXPECT_EQ(0, node_file(self->nid, "capabilities", _text, sizeof(_text))); \
	EXPECT_STREQ(self->caps, _text);					\
	EXPECT_EQ(self->total, pn_meminfo(self->nid, "MemTotal"));		\
	EXPECT_EQ((long)MIB / pn_page_size(),					\
		  pn_on_node(self->memory, MIB, self->nid));			\
} while (0)

/* Public memory, or other capabilities: no; nor does it take anything along. */
TEST_F_TIMEOUT(owners, refused, 300)
{
	static const char * const values[] = { "0", "reclaim", "migrate,balancing" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++) {
		ASSERT_EQ(0, put(self->second, "private", values[i]));
		EXPECT_NE(0, to_system_ram(self->second, true)) TH_LOG("%s", values[i]);
		EXPECT_UNCHANGED();
		/* Giving up what it has not got gives nothing of the other's back. */
		ASSERT_EQ(0, to_devdax(self->second));
		EXPECT_UNCHANGED();
	}
}

/*
 * The same capabilities: yes for the same owner, which is the control of the test
 * above, and no for another. The node is private as long as either has memory.
 */
TEST_F_TIMEOUT(owners, same_capabilities, 300)
{
	char text[64];

	ASSERT_EQ(0, put(self->second, "private", *self->caps ? self->caps : "1"));
	if (self->boot) {
		EXPECT_NE(0, to_system_ram(self->second, true));
		EXPECT_UNCHANGED();
		ASSERT_EQ(0, to_devdax(self->second));
		EXPECT_UNCHANGED();
		return;
	}
	ASSERT_EQ(0, to_system_ram(self->second, false));
	EXPECT_EQ(2 * self->total, pn_meminfo(self->nid, "MemTotal"));
	/* The one who came later goes first. */
	ASSERT_EQ(0, daxctl("offline-memory", self->second, false));
	ASSERT_EQ(0, to_devdax(self->second));
	EXPECT_UNCHANGED();
	/* And the other way round */
	ASSERT_EQ(0, to_system_ram(self->second, false));
	munmap(self->memory, MIB);
	self->memory = NULL;
	EXPECT_EQ(0, pn_wait_empty(self->nid));
	ASSERT_EQ(0, daxctl("offline-memory", "dax0.0", false));
	ASSERT_EQ(0, to_devdax("dax0.0"));
	EXPECT_EQ(NODE_BIT(self->nid), pn_node_mask("has_private_memory"));
	EXPECT_EQ(self->total, pn_meminfo(self->nid, "MemTotal"));
	EXPECT_EQ(0, node_file(self->nid, "owner", text, sizeof(text)));
	EXPECT_STREQ(self->owner, text);
	/* Nobody's memory is left: the next one decides again. */
	ASSERT_EQ(0, daxctl("offline-memory", self->second, false));
	ASSERT_EQ(0, to_devdax(self->second));
	EXPECT_EQ(-1, node_file(self->nid, "owner", text, sizeof(text)));
	ASSERT_EQ(0, put(self->second, "private", "0"));
	ASSERT_EQ(0, to_system_ram(self->second, false));
	EXPECT_EQ(0, pn_node_mask("has_private_memory"));
	EXPECT_TRUE(pn_node_mask("has_memory") & NODE_BIT(self->nid));
	/* A node with public memory is not made private either. */
	ASSERT_EQ(0, put("dax0.0", "private", "1"));
	EXPECT_NE(0, to_system_ram("dax0.0", true));
	EXPECT_EQ(0, pn_node_mask("has_private_memory"));
	EXPECT_TRUE(pn_node_mask("has_memory") & NODE_BIT(self->nid));
}

TEST_HARNESS_MAIN
