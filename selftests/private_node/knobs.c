// SPDX-License-Identifier: GPL-2.0
/*
 * Row 128: whatever root writes to the knobs of the memory management, in any
 * order, nobody gets memory of a private node, and what is there stays. The
 * order is random, but always the same: PN_SEED sets another.
 */
#define _GNU_SOURCE
#include <dirent.h>
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
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define MOST		1024
#define ROUNDS		400
#define LEN		(4 * MIB)

static char *knobs[MOST];
static char *values[MOST];
static int nr_knobs;

/* These stop the test itself, or the machine: no memory for anybody, panic. */
static const char * const spared[] = {
	"panic_on_oom", "oom_dump_tasks", "min_free_kbytes", "overcommit_", "max_map_count",
	"admin_reserve", "user_reserve", "mmap_min_addr", "mmap_rnd", "hugetlb_shm_group",
	"memfd_noexec", "nr_trim_pages", "lowmem_reserve_ratio", "watermark_scale_factor",
	"swappiness", "/damon/", "page_idle", "uevent", "/power/", "/private/", "hard_offline",
};

static bool is_spared(const char *path)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(spared); i++)
		if (strstr(path, spared[i]))
			return true;
	return false;
}

/* What to write to have it as it was: of a choice, the part in brackets */
static char *value_of(const char *path)
{
	static char text[4096];
	char *open, *close;

	if (pn_read_file(path, text, sizeof(text)))
		return NULL;
	open = strchr(text, '[');
	close = strchr(text, ']');
	if (open && close > open) {
		*close = 0;
		return strdup(open + 1);
	}
	return strdup(text);
}

static void collect(const char *dir, int depth)
{
	struct dirent *entry;
	char path[512];
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((entry = readdir(d)) && nr_knobs < MOST) {
		struct stat st;

		if (*entry->d_name == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		if (lstat(path, &st) || is_spared(path))
			continue;
		if (S_ISDIR(st.st_mode) && depth)
			collect(path, depth - 1);
		if (!S_ISREG(st.st_mode) || !(st.st_mode & 0200))
			continue;
		values[nr_knobs] = st.st_mode & 0400 ? value_of(path) : NULL;
		knobs[nr_knobs++] = strdup(path);
	}
	closedir(d);
}

static uint64_t seed;

static unsigned int draw(unsigned int n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

FIXTURE(knobs)
{
	int priv, control;
};

FIXTURE_SETUP(knobs)
{
	char path[100];
	int i;

	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	collect("/proc/sys/vm", 1);
	collect("/sys/kernel/mm", 4);
	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), PN_NODE_DIR "/node%d",
			 i ? self->control : self->priv);
		collect(path, 2);
	}
	ASSERT_LT(50, nr_knobs);
}

FIXTURE_TEARDOWN(knobs)
{
	int i;

	for (i = 0; i < nr_knobs; i++)
		if (values[i])
			pn_write_file(knobs[i], values[i]);
	if (self->priv >= 0 && self->control >= 0) {
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

/* Some of everything, as a task whose policy is none, or names the node */
static int work(struct pn_child *child, void *arg)
{
	static pn_work_fn * const works[] = {
		pn_work_block_read, pn_work_shmem, pn_work_shared_anon, pn_work_page_tables,
		pn_work_sockets, pn_work_pipes,
	};
	unsigned int *what = arg;

	/* It may be killed, for want of public memory. */
	pn_write_file("/proc/self/oom_score_adj", "1000");
	return works[what[0] % ARRAY_SIZE(works)](4 * MIB, 0);
}

TEST_F_TIMEOUT(knobs, random_writes, 600)
{
	static const char * const text[] = {
		"0", "1", "2", "3", "7", "100", "200", "1000", "-1", "y", "n", "always", "never",
		"madvise", "max", "4096", "8M", "4M swappiness=max", "18446744073709551615",
	};
	const char *given = getenv("PN_SEED");
	long i, written = 0, before, control, pages = LEN / pn_page_size();
	double deadline = pn_now() + pn_slow(90);
	char *p = pn_filled(LEN, self->priv);

	ASSERT_NE(NULL, p);
	seed = given ? strtoull(given, NULL, 0) : 2654435761u;
	seed |= 1;
	pn_note("PN_SEED=%llu", (unsigned long long)seed);
	before = pn_allocations(self->priv);
	control = pn_allocations(self->control);
	for (i = 0; i < ROUNDS && pn_now() < deadline; i++) {
		const char *value = text[draw(ARRAY_SIZE(text))];
		int knob = draw(nr_knobs);

		/* Huge pages for all memory would leave none for the test itself. */
		if (strstr(knobs[knob], "hugepages"))
			value = text[draw(5)];
		written += !pn_write_file(knobs[knob], value);
		if (i % 16 == 0) {
			unsigned int what = draw(1000);

			pn_run(work, &what, 60);
		}
		if (before != pn_allocations(self->priv) ||
		    pages != pn_on_node(p, LEN, self->priv)) {
			TH_LOG("after writing %s to %s", value, knobs[knob]);
			break;
		}
	}
	/* A node that is open for compaction takes pages of its own. */
	EXPECT_EQ(before, pn_allocations(self->priv));
	EXPECT_EQ(pages, pn_on_node(p, LEN, self->priv));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, pages));
	/* The control: much was accepted, and the ordinary node noticed. */
	EXPECT_LT(i / 8, written);
	EXPECT_LT(control, pn_allocations(self->control));
	pn_note("%ld writes to %d knobs, %ld accepted", i, nr_knobs, written);
	munmap(p, LEN);
}

TEST_HARNESS_MAIN
