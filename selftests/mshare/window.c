// SPDX-License-Identifier: GPL-2.0
/*
 * A window is a mapping that is there or not: what else can be done to mappings is
 * refused or leaves it out, and nothing is done by halves.
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#ifndef __NR_mseal
#define __NR_mseal	462
#endif

#define PAGE		((size_t)pn_page_size())
#define USED		(4 * MIB)
#define SEED		12345

/* Two granules of window between two pages of ordinary memory, and what they hold */
FIXTURE(window)
{
	int fd;
	char *area, *before, *w, *after;
};

FIXTURE_SETUP(window)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_region(2 * GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, USED, PROT_READ | PROT_WRITE));
	self->area = mmap(NULL, 6 * GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->area);
	self->w = ms_granule_up(self->area + GRANULE);
	ASSERT_EQ(self->w, mshare_attach(self->fd, 0, 0, self->w, MSHARE_FIXED));
	self->before = self->w - PAGE;
	self->after = self->w + 2 * GRANULE;
	ASSERT_EQ(self->before, mmap(self->before, PAGE, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	ASSERT_EQ(self->after, mmap(self->after, PAGE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	*self->before = 1;
	*self->after = 2;
	ms_write_words(self->w, USED, SEED);
}

FIXTURE_TEARDOWN(window)
{
	if (self->fd < 0)
		return;
	munmap(self->area, 6 * GRANULE);
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	close(self->fd);
}

/* The window is there, with all that is in it. */
#define EXPECT_WHOLE() do {							\
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));				\
	EXPECT_EQ(2 * (long)GRANULE / 1024, ms_smaps(self->w, "Size"));		\
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));			\
} while (0)

#define EXPECT_NEIGHBOURS() do {						\
	EXPECT_EQ(1, *self->before);						\
	EXPECT_EQ(2, *self->after);						\
} while (0)

TEST_F(window, refused)
{
	unsigned long mask = NODE_BIT(pn_cpu_node());
	const size_t all = 2 * GRANULE;
	char *w = self->w;

	EXPECT_ERROR(EINVAL, mprotect(w, all, PROT_READ));
	EXPECT_ERROR(EINVAL, mprotect(w, all, PROT_READ | PROT_WRITE | PROT_EXEC));
	EXPECT_ERROR(EINVAL, mprotect(w + PAGE, PAGE, PROT_NONE));
	EXPECT_ERROR(EINVAL, syscall(SYS_pkey_mprotect, w, all, PROT_READ, -1));
	EXPECT_ERROR(EINVAL, mremap(w, all, all, MREMAP_MAYMOVE | MREMAP_FIXED,
				    w + 2 * GRANULE));
	EXPECT_ERROR(EINVAL, mremap(w, all, 3 * GRANULE, MREMAP_MAYMOVE));
	EXPECT_ERROR(EINVAL, mremap(w, all, GRANULE, 0));
	EXPECT_ERROR(EINVAL, mremap(w, 0, all, MREMAP_MAYMOVE));
	EXPECT_ERROR(EINVAL, mremap(w, all, all, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	EXPECT_ERROR(EINVAL, mlock(w, PAGE));
	EXPECT_ERROR(EINVAL, mlock2(w, all, MLOCK_ONFAULT));
	EXPECT_ERROR(EINVAL, pn_mbind(w, all, MPOL_BIND, &mask, 0));
	EXPECT_ERROR(EINVAL, pn_mbind(w, all, MPOL_BIND, &mask, MPOL_MF_MOVE));
	EXPECT_ERROR(EINVAL, pn_mbind(w, all, MPOL_DEFAULT, NULL, 0));
	EXPECT_ERROR(ENODEV, remap_file_pages(w, PAGE, 0, 1, 0));
	EXPECT_WHOLE();
}

TEST_F(window, advice)
{
	int advice;

	for (advice = 0; advice < 120; advice++) {
		/* What fails has its own test. */
		if (advice == MADV_HWPOISON || advice == 101 /* MADV_SOFT_OFFLINE */)
			continue;
		if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE) {
			EXPECT_EQ(0, madvise(self->w, USED, advice)) TH_LOG("advice %d", advice);
			continue;
		}
		EXPECT_ERROR(EINVAL, madvise(self->w, USED, advice));
	}
	EXPECT_WHOLE();
	EXPECT_ERROR(EFAULT, madvise(self->w + USED, PAGE, MADV_POPULATE_READ));
}

/* Part of it goes neither by unmapping nor by mapping something else there. */
TEST_F(window, parts)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char *w = self->w;

	EXPECT_ERROR(EINVAL, munmap(w, PAGE));
	EXPECT_ERROR(EINVAL, munmap(w, GRANULE));
	EXPECT_ERROR(EINVAL, munmap(w + GRANULE, GRANULE));
	EXPECT_ERROR(EINVAL, munmap(w + 3 * PAGE, PAGE));
	EXPECT_ERROR(EINVAL, munmap(self->before, 2 * PAGE));
	EXPECT_ERROR(EINVAL, munmap(self->after - PAGE, 2 * PAGE));
	EXPECT_ERROR(EINVAL, mmap(w, PAGE, PROT_READ, flags | MAP_FIXED, -1, 0));
	EXPECT_ERROR(EINVAL, mmap(w + GRANULE, GRANULE, PROT_READ, flags | MAP_FIXED, -1, 0));
	EXPECT_ERROR(EINVAL, mremap(self->before, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
				    w + PAGE));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, GRANULE, w, MSHARE_FIXED));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, GRANULE, w + GRANULE, MSHARE_FIXED));
	EXPECT_ERROR(EEXIST, mmap(w, PAGE, PROT_READ, flags | MAP_FIXED_NOREPLACE, -1, 0));
	EXPECT_NEIGHBOURS();
	EXPECT_WHOLE();
	/* All of it, and more */
	EXPECT_EQ(0, munmap(self->before, 2 * PAGE + 2 * GRANULE));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w, 'r'));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(self->before, 'r'));
	/* What is in the region does not depend on windows. */
	EXPECT_EQ(w, mshare_attach(self->fd, 0, 0, w, MSHARE_FIXED));
	EXPECT_WHOLE();
	EXPECT_EQ(w, mmap(w, 2 * GRANULE, PROT_READ | PROT_WRITE,
			  flags | MAP_FIXED | MAP_NORESERVE, -1, 0));
	EXPECT_EQ(0, *w);
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	*w = 3;
	EXPECT_EQ(w, mshare_attach(self->fd, 0, 0, w, MSHARE_FIXED));
	EXPECT_WHOLE();
}

static int locks_all(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(window) *self = arg;
	struct rlimit limit = { 64 * MIB, 64 * MIB };

	/* The window is more than may be locked, and all else is less. */
	if (munmap(self->area, self->w - self->area) ||
	    munmap(self->after, self->area + 6 * GRANULE - self->after))
		return 1;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || pn_drop_cap(14 /* CAP_IPC_LOCK */))
		return 2;
	if (mlockall(MCL_CURRENT) || munlockall() || mlockall(MCL_FUTURE))
		return 3;
	if (munmap(self->w, 2 * GRANULE) ||
	    mshare_attach(self->fd, 0, 0, self->w, MSHARE_FIXED) == MAP_FAILED)
		return 4;
	return ms_wrong_words(self->w, USED, SEED) ? 5 : 0;
}

TEST_F(window, lock_limit)
{
	EXPECT_EQ(0, pn_run(locks_all, self, 20));
	EXPECT_WHOLE();
}

/* Calls for all of a process pass a window by. */
TEST_F(window, passed_by)
{
	ASSERT_EQ(0, mlockall(MCL_CURRENT));
	EXPECT_LT(0, ms_status("VmLck"));
	EXPECT_EQ(0, ms_smaps(self->w, "Locked"));
	EXPECT_EQ(0, munlockall());
	EXPECT_EQ(0, munlock(self->w, 2 * GRANULE));
	/* As of any mapping that has no policy */
	EXPECT_ERROR(ENOENT, pn_set_home_node(self->w, 2 * GRANULE, pn_cpu_node()));
	EXPECT_WHOLE();
	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	ASSERT_EQ(0, munmap(self->w, 2 * GRANULE));
	EXPECT_EQ(self->w, mshare_attach(self->fd, 0, 0, self->w, MSHARE_FIXED));
	EXPECT_EQ(0, ms_smaps(self->w, "Locked"));
	EXPECT_EQ(0, munlockall());
	EXPECT_WHOLE();
}

static int sealed(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(window) *self = arg;

	if (syscall(__NR_mseal, self->w, 2 * GRANULE, 0))
		return 1;
	if (!munmap(self->w, 2 * GRANULE) || errno != EPERM)
		return 2;
	if (mshare_attach(self->fd, 0, 0, self->w, MSHARE_FIXED) != MAP_FAILED || errno != EPERM)
		return 3;
	return ms_wrong_words(self->w, USED, SEED) ? 4 : 0;
}

TEST_F(window, seal)
{
	EXPECT_EQ(0, pn_run(sealed, self, 20));
	EXPECT_WHOLE();
}

TEST_F(window, userfault)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)self->w, .len = USED },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		SKIP(return, "no userfaultfd()");
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	EXPECT_ERROR(EINVAL, ioctl(fd, UFFDIO_REGISTER, &reg));
	reg.mode = UFFDIO_REGISTER_MODE_WP;
	EXPECT_ERROR(EINVAL, ioctl(fd, UFFDIO_REGISTER, &reg));
	reg.mode = UFFDIO_REGISTER_MODE_MINOR;
	EXPECT_ERROR(EINVAL, ioctl(fd, UFFDIO_REGISTER, &reg));
	close(fd);
	EXPECT_WHOLE();
}

/* What was there before leaves nothing behind, and gets nothing of the region. */
TEST_F_TIMEOUT(window, leftovers, 120)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
	long tables = ms_status("VmPTE");
	char *w = self->w;
	int round;
	size_t i;

	for (round = 0; round < 20; round++) {
		ASSERT_EQ(w, mmap(w, 2 * GRANULE, PROT_READ | PROT_WRITE, flags, -1, 0));
		for (i = 0; i < 2 * GRANULE; i += 64 * MIB)
			w[i] = 7;
		if (round % 2)
			ASSERT_EQ(0, munmap(w, 2 * GRANULE));
		ASSERT_EQ(w, mshare_attach(self->fd, 0, 0, w, MSHARE_FIXED));
		EXPECT_EQ(0, ms_wrong_words(w, USED, SEED));
	}
	EXPECT_GE(tables + 8, ms_status("VmPTE"));
}

/* Several windows of one region, and of parts of it, in one process */
TEST_F(window, aliases)
{
	char *again = ms_attach(self->fd, 0), *first, *second;

	ASSERT_NE(NULL, again);
	EXPECT_NE(self->w, again);
	first = mshare_attach(self->fd, 0, GRANULE, NULL, 0);
	second = mshare_attach(self->fd, GRANULE, 0, NULL, 0);
	ASSERT_NE(MAP_FAILED, first);
	ASSERT_NE(MAP_FAILED, second);
	EXPECT_EQ(4, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(0, ms_wrong_words(again, USED, SEED));
	EXPECT_EQ(0, ms_wrong_words(first, USED, SEED));
	ms_write_words(first, USED, SEED + 1);
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED + 1));
	ASSERT_EQ(0, ms_map_anon(self->fd, GRANULE, PAGE, PROT_READ | PROT_WRITE));
	*second = 5;
	EXPECT_EQ(5, again[GRANULE]);
	EXPECT_EQ(5, self->w[GRANULE]);
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(second + PAGE, 'r'));
	EXPECT_EQ(0, munmap(first, GRANULE));
	EXPECT_EQ(0, munmap(again, 2 * GRANULE));
	EXPECT_EQ(5, *second);
	EXPECT_EQ(0, munmap(second, GRANULE));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED + 1));
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
}

static int in_the_child(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(window) *self = arg;

	if (ms_fdinfo(self->fd, "windows") != 2 || ms_wrong_words(self->w, USED, SEED))
		return 1;
	ms_write_words(self->w, USED, SEED + 1);
	if (munmap(self->w, 2 * GRANULE) || ms_fdinfo(self->fd, "windows") != 1)
		return 2;
	return 0;
}

static int executes(struct pn_child *child, void *arg)
{
	execl("/bin/sh", "sh", "-c", "! grep -q mshare /proc/self/maps", NULL);
	return 1;
}

TEST_F_TIMEOUT(window, fork_exec, 200)
{
	int i;

	EXPECT_EQ(0, pn_run(in_the_child, self, 20));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED + 1));
	EXPECT_EQ(0, pn_run(executes, NULL, 20));
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
	/* Children that fork on, and end in any order */
	for (i = 0; i < 100; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			if (i % 2 && !fork())
				_exit(self->w[8] == 0);
			_exit(ms_wrong_words(self->w, PAGE, SEED + 1) != 0);
		}
	}
	for (i = 0; i < 100; i++) {
		int status;

		ASSERT_LT(0, wait(&status));
		EXPECT_EQ(0, status);
	}
	for (i = 0; i < 100 && ms_fdinfo(self->fd, "windows") != 1; i++)
		poll(NULL, 0, 50);
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED + 1));
}

/* Larger than the table of a page table: 2 TiB take 8 MiB of tables, once. */
TEST_F_TIMEOUT(window, large, 100)
{
	const size_t size = 2048 * GRANULE, at[] = { 0, 511, 512, 513, 1024, 2047 };
	long tables = pn_meminfo(-1, "PageTables");
	int fd = ms_region(size, 0);
	char *w[2];
	size_t i;

	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(at); i++)
		ASSERT_EQ(0, ms_map_anon(fd, (at[i] + 1) * GRANULE - MIB, MIB,
					 PROT_READ | PROT_WRITE));
	for (i = 0; i < 2; i++) {
		w[i] = ms_attach(fd, 0);
		ASSERT_NE(NULL, w[i]);
	}
	for (i = 0; i < ARRAY_SIZE(at); i++)
		ms_write_words(w[0] + (at[i] + 1) * GRANULE - MIB, MIB, at[i]);
	for (i = 0; i < ARRAY_SIZE(at); i++)
		EXPECT_EQ(0, ms_wrong_words(w[1] + (at[i] + 1) * GRANULE - MIB, MIB, at[i]));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w[1] + 1023 * GRANULE, 'r'));
	/* 8 MiB, and small ones */
	EXPECT_LE(8192, ms_fdinfo(fd, "tables"));
	EXPECT_GT(8192 + 512, ms_fdinfo(fd, "tables"));
	/* Not for each window; others have some meanwhile, or give some back */
	EXPECT_GT(8192 + 512, pn_meminfo(-1, "PageTables") - tables);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, munmap(w[i], size));
	close(fd);
}

/* What others say of it */
TEST_F(window, seen)
{
	unsigned char present[USED / 4096];
	uint64_t entry = 1;
	char line[600];
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	long rss = ms_status("VmRSS");

	EXPECT_EQ(0, ms_smaps(self->w, "Rss"));
	EXPECT_EQ(0, ms_smaps(self->w, "Pss"));
	EXPECT_GT((long)(USED / 1024) + rss, ms_status("VmRSS"));
	ASSERT_LE(0, pagemap);
	EXPECT_EQ(8, pread(pagemap, &entry, 8, (unsigned long)self->w / PAGE * 8));
	EXPECT_EQ(0, entry);
	close(pagemap);
	EXPECT_EQ(0, pn_numa_maps(self->w, line, sizeof(line)));
	EXPECT_EQ(NULL, strstr(line, " N"));
	EXPECT_EQ(-ENOENT, pn_node_of(self->w)) TH_LOG("%d", pn_node_of(self->w));
	EXPECT_EQ(0, mincore(self->w, USED, present));
	EXPECT_EQ(NULL, memchr(present, 1, sizeof(present)));
	EXPECT_EQ(0, pn_read_file("/proc/self/smaps_rollup", line, sizeof(line)));
	EXPECT_EQ(0, pn_write_file("/proc/self/clear_refs", "1"));
	EXPECT_EQ(0, pn_write_file("/proc/self/clear_refs", "4"));
	EXPECT_WHOLE();
	EXPECT_NEIGHBOURS();
}

/* Who scans the pages of a process finds none in a window, and those beside it. */
TEST_F(window, scanned)
{
	struct page_region found[4];
	struct pm_scan_arg scan = {
		.size = sizeof(scan), .start = (unsigned long)self->before,
		.end = (unsigned long)self->after + PAGE,
		.vec = (unsigned long)found, .vec_len = 4,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE,
		.return_mask = PAGE_IS_PRESENT,
	};
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	ASSERT_LE(0, pagemap);
	ASSERT_EQ(2, ioctl(pagemap, PAGEMAP_SCAN, &scan));
	EXPECT_EQ((unsigned long)self->before, found[0].start);
	EXPECT_EQ((unsigned long)self->w, found[0].end);
	EXPECT_EQ((unsigned long)self->after, found[1].start);
	EXPECT_EQ((unsigned long)self->after + PAGE, found[1].end);
	/* What cannot be marked is refused, or left alone. */
	scan.flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC;
	EXPECT_ERROR(EPERM, ioctl(pagemap, PAGEMAP_SCAN, &scan));
	close(pagemap);
	EXPECT_WHOLE();
	EXPECT_NEIGHBOURS();
}

/* The VMA as a request for it describes it, and its flag in smaps */
TEST_F(window, queried)
{
	char name[100] = "", line[300], *flags = NULL;
	struct procmap_query query = {
		.size = sizeof(query), .query_addr = (unsigned long)self->w + 3 * PAGE,
		.vma_name_addr = (unsigned long)name, .vma_name_size = sizeof(name),
	};
	const unsigned long rws = PROCMAP_QUERY_VMA_READABLE | PROCMAP_QUERY_VMA_WRITABLE |
				  PROCMAP_QUERY_VMA_SHARED;
	int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long start = 0;

	ASSERT_LE(0, maps);
	ASSERT_NE(NULL, smaps);
	ASSERT_EQ(0, ioctl(maps, PROCMAP_QUERY, &query));
	EXPECT_EQ((unsigned long)self->w, query.vma_start);
	EXPECT_EQ((unsigned long)self->after, query.vma_end);
	EXPECT_EQ(rws, query.vma_flags & rws);
	EXPECT_NE(NULL, strstr(name, "mshare")) TH_LOG("%s", name);
	while (!flags && fgets(line, sizeof(line), smaps)) {
		/* The line of a VMA begins with its address, others with a capital. */
		if (line[0] < 'A' || line[0] >= 'a')
			start = strtoul(line, NULL, 16);
		else if (start == (unsigned long)self->w && !strncmp(line, "VmFlags:", 8))
			flags = line;
	}
	ASSERT_NE(NULL, flags);
	EXPECT_NE(NULL, strstr(flags, " mh")) TH_LOG("%s", flags);
	fclose(smaps);
	close(maps);
}

TEST_HARNESS_MAIN
