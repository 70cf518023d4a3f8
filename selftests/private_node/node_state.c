// SPDX-License-Identifier: GPL-2.0
/*
 * What a private node looks like from outside, and that the sums, limits and
 * watermarks of the system leave it out.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <elf.h>
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
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

FIXTURE(node_state)
{
	int priv;
	unsigned long privs, public;
};

FIXTURE_SETUP(node_state)
{
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	self->privs = pn_forced() ? NODE_BIT(self->priv) : pn_node_mask("has_private_memory");
	self->public = pn_public_nodes();
}

FIXTURE_TEARDOWN(node_state)
{
}

/* Rows 1, 2: in no other state that speaks of memory */
TEST_F(node_state, states_disjoint)
{
	EXPECT_NE(0, self->public);
	EXPECT_EQ(self->privs, pn_node_mask("online") & self->privs);
	EXPECT_EQ(0, pn_node_mask("has_memory") & self->privs);
	EXPECT_EQ(0, pn_node_mask("has_normal_memory") & self->privs);
	EXPECT_EQ(0, pn_node_mask("has_high_memory") & self->privs);
	EXPECT_EQ(0, pn_node_mask("has_cpu") & self->privs);
}

/*
 * "Early boot allocations keep off it from the first moment": whatever is
 * present became free memory. Reserved pages are invisible to other tests.
 */
TEST_F(node_state, nothing_reserved_at_boot)
{
	struct pn_zones zones;

	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	EXPECT_LT(0, zones.present);
	EXPECT_EQ(zones.present, zones.managed);
}

/* Oracle O1: with no owner, nobody has a page of it; since boot. */
TEST_F(node_state, empty)
{
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static bool thread_exists(const char *name)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	bool found = false;
	char path[300], comm[64];

	while (dir && !found && (entry = readdir(dir))) {
		if (!isdigit(entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		if (pn_read_line(path, comm, sizeof(comm)))
			continue;
		found = !strcmp(comm, name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Row 68 */
TEST_F(node_state, no_threads)
{
	char name[32];

	snprintf(name, sizeof(name), "kswapd%d", pn_cpu_node());
	EXPECT_TRUE(thread_exists(name));
	snprintf(name, sizeof(name), "kswapd%d", self->priv);
	EXPECT_FALSE(thread_exists(name));
	snprintf(name, sizeof(name), "kcompactd%d", self->priv);
	EXPECT_FALSE(thread_exists(name));
}

/* Rows 60, 120: the system's sums are those of the public nodes. */
TEST_F(node_state, totals)
{
	long total = 0, free = 0, priv, slack = 32 * 1024;
	struct sysinfo info;
	int nid;

	for (nid = 0; nid < PN_MAXNODE; nid++) {
		if (self->public & NODE_BIT(nid)) {
			total += pn_meminfo(nid, "MemTotal");
			free += pn_meminfo(nid, "MemFree");
		}
	}
	priv = pn_meminfo(self->priv, "MemTotal");
	/* Else the comparisons below would be too coarse. */
	ASSERT_LT(4 * slack, priv);
	EXPECT_EQ(total, pn_meminfo(-1, "MemTotal"));
	EXPECT_GT(slack, labs(free - pn_meminfo(-1, "MemFree")));
	/* Page cache counts as available, nothing else beyond what is free. */
	EXPECT_GT(free + pn_meminfo(-1, "Cached") + pn_meminfo(-1, "Buffers") +
		  pn_meminfo(-1, "SReclaimable") + slack, pn_meminfo(-1, "MemAvailable"));
	ASSERT_EQ(0, sysinfo(&info));
	EXPECT_EQ(total, (long)(info.totalram * info.mem_unit >> 10));
	EXPECT_GT(slack, labs(free - (long)(info.freeram * info.mem_unit >> 10)));
}

static int tmpfs_size(struct pn_child *child, void *arg)
{
	char dir[] = "/tmp/pn_tmpfs.XXXXXX";
	struct statfs fs;
	int ret;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    !mkdtemp(dir))
		return 10;
	if (mount("pn", dir, "tmpfs", 0, NULL))
		return 11;
	ret = statfs(dir, &fs);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	if (ret)
		return 12;
	return labs((long)(fs.f_blocks * fs.f_bsize >> 10) - pn_meminfo(-1, "MemTotal") / 2) < 64 ?
	       0 : 1;
}

/* Row 60: limits that are a share of the memory */
TEST_F(node_state, limits)
{
	long ratio = pn_read_long("/proc/sys/vm/overcommit_ratio");
	long dirty = pn_read_long("/proc/sys/vm/dirty_ratio");
	long total = 0, huge, page_kib = pn_page_size() >> 10;
	int nid;

	for (nid = 0; nid < PN_MAXNODE; nid++) {
		if (self->public & NODE_BIT(nid))
			total += pn_meminfo(nid, "MemTotal");
	}
	EXPECT_EQ(0, pn_run(tmpfs_size, NULL, 20));
	huge = pn_meminfo(-1, "HugePages_Total") > 0 ? pn_meminfo(-1, "Hugetlb") : 0;
	if (!pn_read_long("/proc/sys/vm/overcommit_kbytes")) {
		EXPECT_GT(64, labs((total - huge) * ratio / 100 + pn_meminfo(-1, "SwapTotal") -
				   pn_meminfo(-1, "CommitLimit")));
	}
	/* At most all that is public could be dirtied. */
	if (dirty > 0) {
		EXPECT_GE(total * dirty / 100 / page_kib, pn_vmstat("nr_dirty_threshold"));
	}
}

/*
 * Row 20: min_free_kbytes is shared out among the public zones alone, so that
 * their watermarks are the same as without the node.
 */
TEST_F(node_state, watermarks)
{
	const char *scale = "/proc/sys/vm/watermark_scale_factor";
	long min = 0, zones_seen = 0, want;
	struct pn_zones zones;
	char text[32];
	int nid;

	/* Memory freed since the watermarks were set counts when set anew. */
	ASSERT_EQ(0, pn_read_file(scale, text, sizeof(text)));
	ASSERT_EQ(0, pn_write_file(scale, text));
	want = pn_read_long("/proc/sys/vm/min_free_kbytes") / (pn_page_size() >> 10);
	for (nid = 0; nid < PN_MAXNODE; nid++) {
		if (self->public & NODE_BIT(nid)) {
			ASSERT_EQ(0, pn_zones(nid, &zones));
			min += zones.min;
			/* Each share is rounded down. */
			zones_seen += 4;
		}
	}
	EXPECT_GE(want, min);
	EXPECT_LE(want - zones_seen, min);
}

/* Row 38: no weight for it */
TEST_F(node_state, no_interleave_weight)
{
	char path[128];

	if (access("/sys/kernel/mm/mempolicy/weighted_interleave", R_OK))
		SKIP(return, "no weighted interleave");
	snprintf(path, sizeof(path), "/sys/kernel/mm/mempolicy/weighted_interleave/node%d",
		 pn_cpu_node());
	EXPECT_EQ(0, access(path, F_OK));
	snprintf(path, sizeof(path), "/sys/kernel/mm/mempolicy/weighted_interleave/node%d",
		 self->priv);
	EXPECT_EQ(-1, access(path, F_OK));
}

/* Row 79: in no memory tier, so nothing is demoted to it */
TEST_F(node_state, no_memory_tier)
{
	const char *base = "/sys/devices/virtual/memory_tiering";
	DIR *dir = opendir(base);
	struct dirent *entry;
	unsigned long tiers = 0;

	if (!dir)
		SKIP(return, "no memory tiers");
	while ((entry = readdir(dir))) {
		char state[400];

		if (strncmp(entry->d_name, "memory_tier", 11))
			continue;
		snprintf(state, sizeof(state), "../../../..%s/%s/nodelist", base, entry->d_name);
		tiers |= pn_node_mask(state);
	}
	closedir(dir);
	EXPECT_EQ(self->public, tiers & self->public);
	EXPECT_EQ(0, tiers & self->privs);
}

/* Row 53: tasks and cpusets do not have it. */
TEST_F(node_state, mems_allowed)
{
	char text[8192], *line;
	unsigned long low;

	ASSERT_EQ(0, pn_read_file("/proc/self/status", text, sizeof(text)));
	line = strstr(text, "\nMems_allowed:");
	ASSERT_NE(NULL, line);
	/* Groups of 32 bits, the lowest last */
	line[1 + strcspn(line + 1, "\n")] = 0;
	line = strrchr(line, ',') ? strrchr(line, ',') + 1 : strchr(line, ':') + 1;
	low = strtoul(line, NULL, 16);
	ASSERT_GT(32, self->priv);
	EXPECT_EQ(self->public & 0xffffffff, low & self->public);
	EXPECT_EQ(0, low & self->privs);
}

/* Row 121: it can be seen where nodes are listed one by one. */
/*
 * Row 60: what is a share of all memory at boot: about a tenth of it for files,
 * an eighth for the stacks of threads
 */
TEST_F(node_state, limits_of_boot)
{
	long total = pn_meminfo(-1, "MemTotal");
	long files = pn_read_long("/proc/sys/fs/file-max");
	long threads = pn_read_long("/proc/sys/kernel/threads-max");

	ASSERT_LT(0, total);
	EXPECT_LT(total / 20, files);
	EXPECT_GT(total / 9, files);
	/* A stack of 16 KiB; larger ones make it less */
	EXPECT_GT((total + total / 8) / (8 * 16), threads);
}

/* Row 121: and a debugger of the kernel sees its memory. */
TEST_F(node_state, kcore)
{
	struct pn_zones zones;
	unsigned long start;
	Elf64_Ehdr header;
	Elf64_Phdr part;
	bool found = false;
	int i, core;

	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	start = zones.start_pfn * pn_page_size();
	core = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	if (core < 0 && errno == ENOENT)
		SKIP(return, "no CONFIG_PROC_KCORE");
	ASSERT_LE(0, core);
	ASSERT_EQ(sizeof(header), pread(core, &header, sizeof(header), 0));
	for (i = 0; i < header.e_phnum; i++) {
		ASSERT_EQ(sizeof(part),
			  pread(core, &part, sizeof(part), header.e_phoff + i * sizeof(part)));
		found |= part.p_type == PT_LOAD && part.p_paddr <= start &&
			 start < part.p_paddr + part.p_memsz;
	}
	EXPECT_TRUE(found);
	close(core);
}

TEST_F(node_state, own_files)
{
	EXPECT_LT(0, pn_meminfo(self->priv, "MemTotal"));
	EXPECT_LE(0, pn_allocations(self->priv));
	EXPECT_LE(0, pn_node_vmstat(self->priv, "nr_free_pages"));
}

TEST_HARNESS_MAIN
