// SPDX-License-Identifier: GPL-2.0
/*
 * What became of each private_node= of the command line: the node is private,
 * or a message says why it is not.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <unistd.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define OPTION		"private_node="
#define KLOG_READ_ALL	3
#define KLOG_SIZE	10

FIXTURE(boot)
{
	char line[4096], *log;
	unsigned long privs, memory, cpus;
};

FIXTURE_SETUP(boot)
{
	int size = klogctl(KLOG_SIZE, NULL, 0), len;

	ASSERT_EQ(0, pn_read_file("/proc/cmdline", self->line, sizeof(self->line)));
	if (!strstr(self->line, OPTION))
		SKIP(return, "no private_node= on the command line");
	ASSERT_LT(0, size);
	self->log = malloc(size + 1);
	ASSERT_NE(NULL, self->log);
	len = klogctl(KLOG_READ_ALL, self->log, size);
	ASSERT_LT(0, len);
	self->log[len] = '\0';
	self->privs = pn_node_mask("has_private_memory");
	self->memory = pn_node_mask("has_memory");
	self->cpus = pn_node_mask("has_cpu");
}

FIXTURE_TEARDOWN(boot)
{
	free(self->log);
}

/* Is there a line of the kernel log with both? */
static bool logged(const char *log, const char *a, const char *b)
{
	while ((log = strstr(log, "private_node: "))) {
		size_t len = strcspn(log, "\n");
		char *line = strndup(log, len);
		bool found = line && strstr(line, a) && strstr(line, b);

		free(line);
		if (found)
			return true;
		log += len;
	}
	return false;
}

/* The node whose memory is at a physical address, or -1 */
static int node_of(unsigned long long addr)
{
	char path[100], text[40];
	int nid;

	if (pn_read_line("/sys/devices/system/memory/block_size_bytes", text, sizeof(text)))
		return -1;
	addr /= strtoull(text, NULL, 16);
	for (nid = 0; nid < PN_MAXNODE; nid++) {
		snprintf(path, sizeof(path), "/sys/devices/system/memory/memory%llu/node%d",
			 addr, nid);
		if (!access(path, F_OK))
			return nid;
	}
	return -1;
}

/* All capabilities in the list are known, and none lacks one that it needs. */
static bool good(const char *caps)
{
	static const char * const names[] = {
		"reclaim", "migrate", "compaction", "balancing", "pin",
		"offline", "merge", "collapse", "damon",
	};
	bool migrate = false, balancing = false, reclaim = false, damon = false;
	char copy[200], *rest = copy, *word;
	size_t i;

	snprintf(copy, sizeof(copy), "%s", caps);
	while ((word = strsep(&rest, ","))) {
		for (i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (!strcmp(word, names[i]))
				break;
		if (i == sizeof(names) / sizeof(*names))
			return false;
		migrate |= !strcmp(word, "migrate");
		balancing |= !strcmp(word, "balancing");
		reclaim |= !strcmp(word, "reclaim");
		damon |= !strcmp(word, "damon");
	}
	return (migrate || !balancing) && (reclaim || !damon);
}

/* "Refused, with a message that says why" */
TEST_F(boot, each_option)
{
	char *word, *rest = self->line;

	while ((word = strsep(&rest, "\n "))) {
		char *value = word + strlen(OPTION), *end, node[32];
		unsigned long nid;
		char path[100], caps[200];

		if (strncmp(word, OPTION, strlen(OPTION)))
			continue;
		nid = strtoul(value, &end, 10);
		if (!isdigit(*value) || (*end && *end != ':') || nid >= PN_MAXNODE) {
			EXPECT_TRUE(logged(self->log, value, "not a node id"))
				TH_LOG("no message for '%s'", word);
			continue;
		}

		snprintf(node, sizeof(node), "node %lu ", nid);
		if (self->cpus & NODE_BIT(nid)) {
			EXPECT_FALSE(self->privs & NODE_BIT(nid));
			EXPECT_TRUE(self->memory & NODE_BIT(nid));
			EXPECT_TRUE(logged(self->log, node, "refused: it holds the kernel image") ||
				    logged(self->log, node, "refused: it has CPUs"))
				TH_LOG("no message for '%s'", word);
			continue;
		}
		if (!((self->privs | self->memory) & NODE_BIT(nid))) {
			EXPECT_TRUE(logged(self->log, node, "refused: no such node"))
				TH_LOG("no message for '%s'", word);
			continue;
		}

		EXPECT_TRUE(self->privs & NODE_BIT(nid));
		EXPECT_FALSE(self->memory & NODE_BIT(nid));
		EXPECT_TRUE(logged(self->log, node, "is private, owner boot"));
		snprintf(path, sizeof(path), PN_NODE_DIR "/node%lu/private/capabilities", nid);
		ASSERT_EQ(0, pn_read_file(path, caps, sizeof(caps)));
		caps[strcspn(caps, "\n")] = '\0';
		if (*end == ':' && good(end + 1)) {
			EXPECT_EQ(strlen(end + 1), strlen(caps));
		} else {
			EXPECT_STREQ("", caps);
		}
		if (*end == ':' && !good(end + 1)) {
			EXPECT_TRUE(logged(self->log, node, "gets no capabilities"));
		}
	}
}

/* An area for contiguous allocations: not on a private node, whatever is asked for */
TEST_F(boot, cma)
{
	char *option = strstr(self->line, "cma="), *at = option ? strchr(option, '@') : NULL;
	long size, total;
	int nid;

	if (!at)
		return;
	size = strtol(option + 4, NULL, 10) * 1024;	/* it is in MiB */
	nid = node_of(strtoull(at + 1, NULL, 0));
	ASSERT_LE(0, nid);
	total = pn_meminfo(-1, "CmaTotal");
	if (!(self->privs & NODE_BIT(nid))) {
		EXPECT_EQ(size, total);
		return;
	}
	EXPECT_EQ(0, total);
	EXPECT_NE(NULL, strstr(self->log, "cma: area reserved is on private node"));
	/* The node has all of its memory, and nobody has any of it. */
	EXPECT_GT(size / 2, pn_meminfo(nid, "MemTotal") - pn_meminfo(nid, "MemFree"));
	EXPECT_LT(1000 * 1024, pn_meminfo(nid, "MemTotal"));
}

/*
 * Before there is any policy with private nodes, which is what nobody has looked for
 * until then: who has one page on a node, as somebody moved it there, has no more.
 */
TEST_F(boot, no_policy_yet)
{
	size_t len = 2 * MIB, i;
	char *p = pn_map(2 * len), *q = (char *)(((uintptr_t)p + len - 1) & ~(len - 1));
	void *page = q;
	int nid, status = -1;
	bool may_move;

	ASSERT_NE(NULL, p);
	for (nid = 0; nid < PN_MAXNODE && !(self->privs & NODE_BIT(nid)); nid++)
		;
	if (nid == PN_MAXNODE)
		return;
	may_move = pn_has_cap(nid, "migrate");
	madvise(q, len, MADV_NOHUGEPAGE);
	ASSERT_EQ(len, pn_touch(q, len, pn_page_size(), NULL));
	EXPECT_EQ(may_move ? 0 : -1,
		  pn_move_pages(0, 1, &page, &nid, &status, MPOL_MF_MOVE));
	EXPECT_EQ(may_move, status == nid);
	/* A huge page would be on the node that has most of the small ones. */
	for (i = pn_page_size(); i < len; i += pn_page_size())
		madvise(q + i, pn_page_size(), MADV_DONTNEED);
	madvise(q, len, MADV_HUGEPAGE);
	pn_settle();
	EXPECT_EQ(may_move ? -1 : 0, madvise(q, len, MADV_COLLAPSE));
	EXPECT_EQ(may_move, pn_on_node(q, len, nid));
	munmap(p, 2 * len);
}

TEST_HARNESS_MAIN
