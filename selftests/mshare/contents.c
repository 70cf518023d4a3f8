// SPDX-License-Identifier: GPL-2.0
/*
 * What can be in a region, and what happens to it there: files, huge pages, swap,
 * policies, poison; and who pays for it.
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
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define KIB		1024UL
#define HUGE_SIZE	(2 * MIB)
#define HUGE_PAGES	"/proc/sys/vm/nr_hugepages"
#define LARGE_SHMEM	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled"

FIXTURE(contents)
{
	int fd;
	char *w;
};

FIXTURE_SETUP(contents)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_region(4 * GRANULE, 0);
	ASSERT_LE(0, self->fd);
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
}

FIXTURE_TEARDOWN(contents)
{
	if (self->fd < 0)
		return;
	munmap(self->w, 4 * GRANULE);
	close(self->fd);
}

/* A check that another process makes, by a window of its own */
struct check {
	int fd;
	size_t offset, size;
	uint64_t seed;
};

static int checks(struct pn_child *child, void *arg)
{
	struct check *check = arg;
	char *w = ms_attach(check->fd, 0);

	return w && !ms_wrong_words(w + check->offset, check->size, check->seed) ? 0 : 1;
}

#define EXPECT_SEEN(at, len, with) do {						\
	struct check _check = { self->fd, at, len, with };			\
										\
	EXPECT_EQ(0, pn_run(checks, &_check, 60));				\
	EXPECT_EQ(0, ms_wrong_words(self->w + (at), len, with));		\
} while (0)

/* A file: what is written to the one is in the other. */
static void check_file(FIXTURE_DATA(contents) *self, struct __test_metadata *_metadata,
		       int file, size_t at)
{
	const size_t len = 16 * PAGE;
	uint64_t *copy = malloc(len);

	ASSERT_EQ(0, ftruncate(file, len));
	ms_write_words(copy, len, 7);
	ASSERT_EQ((ssize_t)len, pwrite(file, copy, len, 0));
	ASSERT_EQ(0, ms_map_file(self->fd, at, len, RW, file, 0));
	/* A part of it, somewhere else */
	ASSERT_EQ(0, ms_map_file(self->fd, at + len, PAGE, RW, file, 3 * PAGE));
	EXPECT_SEEN(at, len, 7);
	ms_write_words(self->w + at, len, 8);
	ASSERT_EQ((ssize_t)len, pread(file, copy, len, 0));
	EXPECT_EQ(0, ms_wrong_words(copy, len, 8));
	EXPECT_EQ(0, memcmp(self->w + at + len, self->w + at + 3 * PAGE, PAGE));
	EXPECT_SEEN(at, len, 8);
	/* What is cut off is gone for all, and comes back empty. */
	ASSERT_EQ(0, ftruncate(file, 4 * PAGE));
	EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(self->w + at + 4 * PAGE, 'r'));
	ASSERT_EQ(0, ftruncate(file, len));
	EXPECT_EQ(0, self->w[at + 4 * PAGE]);
	EXPECT_SEEN(at, 4 * PAGE, 8);
	free(copy);
}

TEST_F_TIMEOUT(contents, files, 200)
{
	char path[] = "/tmp/ms_contents.XXXXXX";
	int memfd = memfd_create("ms", MFD_CLOEXEC), file = mkstemp(path);

	ASSERT_LE(0, memfd);
	ASSERT_LE(0, file);
	unlink(path);
	check_file(self, _metadata, memfd, 0);
	check_file(self, _metadata, file, GRANULE);
	close(memfd);
	close(file);
}

/* The file is not open any more, and the mapping stays. */
TEST_F_TIMEOUT(contents, closed, 200)
{
	int memfd = memfd_create("ms", MFD_CLOEXEC);

	ASSERT_EQ(0, ftruncate(memfd, MIB));
	ASSERT_EQ(0, ms_map_file(self->fd, 0, MIB, RW, memfd, 0));
	close(memfd);
	ms_write_words(self->w, MIB, 1);
	EXPECT_SEEN(0, MIB, 1);
}

/* Mapped over, cut out, mapped next to: as in any address space */
TEST_F_TIMEOUT(contents, layout, 200)
{
	char *w = self->w;

	ASSERT_EQ(0, ms_map_anon(self->fd, 0, MIB, RW));
	ms_write_words(w, MIB, 1);
	ASSERT_EQ(0, mshare_unmap(self->fd, 16 * PAGE, 16 * PAGE, 0));
	EXPECT_EQ(0, ms_wrong_words(w, 16 * PAGE, 1));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w + 16 * PAGE, 'r'));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w + 32 * PAGE - 1, 'r'));
	EXPECT_EQ(0, ms_wrong_words(w + 32 * PAGE, PAGE, 1 + 32 * PAGE / 8));
	ASSERT_EQ(0, ms_map_anon(self->fd, 16 * PAGE, 16 * PAGE, RW));
	EXPECT_EQ(0, w[16 * PAGE]);
	/* Across a granule */
	ASSERT_EQ(0, ms_map_anon(self->fd, GRANULE - 2 * MIB, 4 * MIB, RW));
	ms_write_words(w + GRANULE - 2 * MIB, 4 * MIB, 2);
	EXPECT_SEEN(GRANULE - 2 * MIB, 4 * MIB, 2);
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, 4 * GRANULE, 0));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w + GRANULE, 'r'));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, MIB, RW));
	EXPECT_EQ(0, w[0]);
}

TEST_F_TIMEOUT(contents, hugetlb, 200)
{
	int file = memfd_create("ms_huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	int giant = memfd_create("ms_giant", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_1GB);
	unsigned long mask = NODE_BIT(pn_cpu_node());
	struct mshare_mbind_args args = {
		.offset = HUGE_SIZE, .size = PAGE, .maxnode = PN_MAXNODE + 1,
		.mode = MPOL_BIND, .nodemask = (unsigned long)&mask,
	};
	char *plain, before[20];

	if (file < 0)
		SKIP(return, "no hugetlb");
	ASSERT_EQ(0, pn_read_line(HUGE_PAGES, before, sizeof(before)));
	ASSERT_EQ(0, pn_write_file(HUGE_PAGES, "8"));
	if (pn_meminfo(-1, "HugePages_Free") != 8) {
		pn_write_file(HUGE_PAGES, before);
		SKIP(return, "no 8 huge pages to be had, or more in use already");
	}
	ASSERT_EQ(0, ftruncate(file, 4 * HUGE_SIZE));
	EXPECT_ERROR(EINVAL, ms_map_file(self->fd, PAGE, HUGE_SIZE, RW, file, 0));
	EXPECT_ERROR(EINVAL, ms_map_file(self->fd, 0, PAGE, RW, file, 0));
	EXPECT_ERROR(EINVAL, ms_map_file(self->fd, 0, HUGE_SIZE, RW, file, PAGE));
	/* The size of a file of giant pages does not need any. */
	ASSERT_LE(0, giant);
	EXPECT_ERROR(EINVAL, ms_map_file(self->fd, 0, GRANULE, RW, giant, 0));
	close(giant);
	ASSERT_EQ(0, ms_map_file(self->fd, HUGE_SIZE, 4 * HUGE_SIZE, RW, file, 0));
	/* Others have it by tables of their own. */
	plain = mmap(NULL, 4 * HUGE_SIZE, RW, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, plain);
	ms_write_words(plain, 4 * HUGE_SIZE, 5);
	EXPECT_SEEN(HUGE_SIZE, 4 * HUGE_SIZE, 5);
	EXPECT_EQ(4 * (long)HUGE_SIZE / 1024, ms_fdinfo(self->fd, "hugetlb"));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(self->w, 'r'));
	ASSERT_EQ(0, mshare_protect(self->fd, HUGE_SIZE, 2 * HUGE_SIZE, PROT_READ, 0));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_ACCERR), ms_signal(self->w + HUGE_SIZE, 'w'));
	EXPECT_EQ(0, ms_signal(self->w + 3 * HUGE_SIZE, 'w'));
	/* Not a part of a page */
	EXPECT_ERROR(EINVAL, mshare_unmap(self->fd, HUGE_SIZE, PAGE, 0));
	EXPECT_ERROR(EINVAL, mshare_protect(self->fd, 3 * HUGE_SIZE, PAGE, PROT_READ, 0));
	EXPECT_ERROR(EINVAL, mshare_mbind(self->fd, &args, sizeof(args), 0));
	EXPECT_ERROR(EINVAL, mshare_advise(self->fd, HUGE_SIZE + PAGE, PAGE,
					   MADV_DONTNEED, 0));
	ASSERT_EQ(0, mshare_unmap(self->fd, HUGE_SIZE, 4 * HUGE_SIZE, 0));
	EXPECT_EQ(0, ms_wrong_words(plain, 4 * HUGE_SIZE, 5));
	munmap(plain, 4 * HUGE_SIZE);
	close(file);
	EXPECT_EQ(8, pn_meminfo(-1, "HugePages_Free"));
	/* More than there are */
	file = memfd_create("ms_huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	ASSERT_EQ(0, ftruncate(file, 16 * HUGE_SIZE));
	EXPECT_ERROR(ENOMEM, ms_map_file(self->fd, 0, 16 * HUGE_SIZE, RW, file, 0));
	close(file);
	EXPECT_EQ(0, pn_meminfo(-1, "HugePages_Rsvd"));
	EXPECT_EQ(0, pn_write_file(HUGE_PAGES, before));
}

static int touches(struct pn_child *child, void *arg)
{
	struct check *check = arg;
	char *w = ms_attach(check->fd, 0);
	long faults = ms_minor_faults();

	if (!w || ms_wrong_words(w + check->offset, check->size, check->seed))
		return 1;
	return ms_minor_faults() - faults < 16 ? 0 : 2;
}

TEST_F_TIMEOUT(contents, thp, 200)
{
	struct check check = { self->fd, 0, 8 * MIB, 2 };
	char was[80];
	long tables;

	if (pn_read_line(SHMEM_THP, was, sizeof(was)))
		SKIP(return, "no huge pages of shared memory");
	ASSERT_EQ(0, pn_write_file(SHMEM_THP, "advise"));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 8 * MIB, RW));
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 8 * MIB, MADV_HUGEPAGE, 0));
	tables = ms_fdinfo(self->fd, "tables");
	ms_write_words(self->w, 8 * MIB, 1);
	/* Mapped by huge entries: no further tables */
	EXPECT_EQ(tables, ms_fdinfo(self->fd, "tables"));
	EXPECT_EQ(8 * (long)MIB / 1024, ms_fdinfo(self->fd, "huge"));
	EXPECT_SEEN(0, 8 * MIB, 1);
	/* Split, by mapping, unmapping and protecting parts */
	ASSERT_EQ(0, mshare_protect(self->fd, PAGE, PAGE, PROT_READ, 0));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_ACCERR), ms_signal(self->w + PAGE, 'w'));
	EXPECT_EQ(0, ms_signal(self->w, 'w'));
	EXPECT_LT(tables, ms_fdinfo(self->fd, "tables"));
	EXPECT_SEEN(0, 8 * MIB, 1);
	ASSERT_EQ(0, mshare_protect(self->fd, 0, 8 * MIB, RW, 0));
	ASSERT_EQ(0, mshare_advise(self->fd, 2 * MIB, PAGE, MADV_REMOVE, 0));
	EXPECT_EQ(0, self->w[2 * MIB]);
	EXPECT_SEEN(4 * MIB, 4 * MIB, 1 + 4 * MIB / 8);
	/* And back */
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 8 * MIB, RW));
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 8 * MIB, MADV_NOHUGEPAGE, 0));
	ms_write_words(self->w, 8 * MIB, 2);
	EXPECT_LE(tables + 16, ms_fdinfo(self->fd, "tables"));
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 8 * MIB, MADV_HUGEPAGE, 0));
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 8 * MIB, MADV_COLLAPSE, 0));
	EXPECT_EQ(0, pn_run(touches, &check, 60));
	EXPECT_EQ(tables, ms_fdinfo(self->fd, "tables"));
	EXPECT_EQ(0, ms_restore_choice(SHMEM_THP, was));
}

/* A page that somebody holds is not replaced, until it is let go of. */
TEST_F_TIMEOUT(contents, collapse_held, 200)
{
	struct iovec iov = { .iov_base = self->w, .iov_len = PAGE };
	char was[80];
	int pipes[2];

	if (pn_read_line(SHMEM_THP, was, sizeof(was)))
		SKIP(return, "no huge pages of shared memory");
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, pn_write_file(SHMEM_THP, "advise"));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, HUGE_SIZE, RW));
	ms_write_words(self->w, HUGE_SIZE, 1);
	ASSERT_EQ(0, mshare_advise(self->fd, 0, HUGE_SIZE, MADV_HUGEPAGE, 0));
	ASSERT_EQ((ssize_t)PAGE, vmsplice(pipes[1], &iov, 1, 0));
	EXPECT_ERROR(EAGAIN, mshare_advise(self->fd, 0, HUGE_SIZE, MADV_COLLAPSE, 0));
	close(pipes[0]);
	close(pipes[1]);
	EXPECT_EQ(0, mshare_advise(self->fd, 0, HUGE_SIZE, MADV_COLLAPSE, 0));
	EXPECT_EQ(0, ms_wrong_words(self->w, HUGE_SIZE, 1));
	EXPECT_EQ(0, ms_restore_choice(SHMEM_THP, was));
}

/*
 * A huge page that was only read, then written to by small entries that need no fault
 * for it, then mapped by one entry again, and dropped if nobody knows what it contains.
 */
static int written_and_collapsed(char *w, int (*protect)(char *w, int prot),
				 int (*advise)(char *w, int advice))
{
	volatile char *byte = w;

	if (advise(w, MADV_HUGEPAGE) || *byte || protect(w, PROT_READ) || *byte)
		return -1;
	*byte = 'x';
	if (protect(w, RW) || advise(w, MADV_COLLAPSE) || advise(w, MADV_PAGEOUT))
		return -1;
	return *byte;
}

static int collapsed_region = -1;

static int protect_there(char *w, int prot)
{
	return mshare_protect(collapsed_region, PAGE, PAGE, prot, 0);
}

static int advise_there(char *w, int advice)
{
	return mshare_advise(collapsed_region, 0, HUGE_SIZE, advice, 0);
}

static int protect_here(char *w, int prot)
{
	return mprotect(w + PAGE, PAGE, prot);
}

static int advise_here(char *w, int advice)
{
	return madvise(w, HUGE_SIZE, advice);
}

TEST_F_TIMEOUT(contents, written_and_collapsed, 200)
{
	char was[80], *room, *other;
	int file;

	if (pn_read_line(SHMEM_THP, was, sizeof(was)))
		SKIP(return, "no huge pages of shared memory");
	if (pn_swap_on(64 * MIB))
		SKIP(return, "no zram to swap to");
	collapsed_region = self->fd;
	ASSERT_EQ(0, pn_write_file(SHMEM_THP, "advise"));
	file = memfd_create("collapsed", MFD_CLOEXEC);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, HUGE_SIZE));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, HUGE_SIZE, RW));
	EXPECT_EQ('x', written_and_collapsed(self->w, protect_there, advise_there));
	/* So it is for mappings that are none of a region. */
	room = mmap(NULL, 2 * HUGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, room);
	other = (char *)(((unsigned long)room + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1));
	ASSERT_EQ(other, mmap(other, HUGE_SIZE, RW, MAP_SHARED | MAP_FIXED, file, 0));
	EXPECT_EQ('x', written_and_collapsed(other, protect_here, advise_here));
	munmap(room, 2 * HUGE_SIZE);
	close(file);
	EXPECT_EQ(0, pn_swap_off());
	EXPECT_EQ(0, ms_restore_choice(SHMEM_THP, was));
}

static void check_swap(FIXTURE_DATA(contents) *self, struct __test_metadata *_metadata,
		       uint64_t seed)
{
	long out;

	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 4 * MIB, RW));
	ms_write_words(self->w, 4 * MIB, seed);
	out = pn_vmstat("pswpout");
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 4 * MIB, MADV_PAGEOUT, 0));
	EXPECT_LT(500, pn_vmstat("pswpout") - out);
	EXPECT_SEEN(0, 4 * MIB, seed);
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 4 * MIB, MADV_PAGEOUT, 0));
	EXPECT_EQ(0, pn_swap_off());
	EXPECT_SEEN(0, 4 * MIB, seed);
}

TEST_F_TIMEOUT(contents, swap, 200)
{
	if (access("/sys/block/zram0", F_OK))
		SKIP(return, "no zram to swap to");
	check_swap(self, _metadata, 3);
}

/* The same with the other kind of lists of pages */
TEST_F_TIMEOUT(contents, swap_lru_gen, 200)
{
	char was[20];

	if (access("/sys/block/zram0", F_OK) || access(LRU_GEN, W_OK))
		SKIP(return, "no zram to swap to, or a kernel without CONFIG_LRU_GEN");
	ASSERT_EQ(0, pn_read_line(LRU_GEN, was, sizeof(was)));
	ASSERT_EQ(0, pn_write_file(LRU_GEN, "y"));
	check_swap(self, _metadata, 4);
	EXPECT_EQ(0, pn_write_file(LRU_GEN, was));
	EXPECT_SEEN(0, 4 * MIB, 4);
}

/*
 * Folios larger than a page and smaller than a huge one: one touch brings all of it,
 * and parts of it can be protected and given back.
 */
TEST_F_TIMEOUT(contents, large_folios, 200)
{
	const size_t folio = 64 * KIB, len = 16 * folio;
	unsigned char there[len / PAGE];
	int file = memfd_create("ms_large", MFD_CLOEXEC);
	size_t i, nr = 0;
	char *other;

	if (access(LARGE_SHMEM, W_OK))
		SKIP(return, "a kernel without large folios for shared memory");
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, len));
	other = mmap(NULL, len, RW, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, other);
	ASSERT_EQ(0, ms_map_file(self->fd, 0, len, RW, file, 0));
	ASSERT_EQ(0, pn_write_file(LARGE_SHMEM, "always"));
	for (i = 0; i < len; i += folio)
		*(volatile char *)(self->w + i + PAGE) = 1;
	EXPECT_EQ(0, pn_write_file(LARGE_SHMEM, "never"));
	EXPECT_EQ(0, mincore(other, len, there));
	for (i = 0; i < len / PAGE; i++)
		nr += there[i] & 1;
	/* Some at least: it takes free memory in one piece */
	EXPECT_LE(8 * folio / PAGE, nr);
	ms_write_words(self->w, len, 5);
	EXPECT_SEEN(0, len, 5);
	for (i = 0; i < len; i += 2 * folio) {
		EXPECT_EQ(0, mshare_protect(self->fd, i + 3 * PAGE, PAGE, PROT_READ, 0));
		EXPECT_EQ(0, mshare_advise(self->fd, i + 5 * PAGE, PAGE, MADV_REMOVE, 0));
		EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_ACCERR), ms_signal(self->w + i + 3 * PAGE, 'w'));
		EXPECT_EQ(0, *(uint64_t *)(self->w + i + 5 * PAGE + 8));
		EXPECT_EQ(0, ms_wrong_words(self->w + i + folio, folio, 5 + (i + folio) / 8));
	}
	munmap(other, len);
	close(file);
}

/*
 * Shared memory at the begin of a region, and mapped as ever: there can be seen on
 * which nodes its pages are.
 */
static char *map_in_both(int fd, size_t len)
{
	int memfd = memfd_create("ms_policy", MFD_CLOEXEC);
	char *plain = MAP_FAILED;

	if (!ftruncate(memfd, len) && !ms_map_file(fd, 0, len, RW, memfd, 0))
		plain = mmap(NULL, len, PROT_READ, MAP_SHARED, memfd, 0);
	close(memfd);
	return plain == MAP_FAILED ? NULL : plain;
}

/* The policy is one of the memory: for all who touch it, whatever their own is */
TEST_F_TIMEOUT(contents, policy, 200)
{
	const size_t len = 4 * MIB;
	unsigned long mask, cpu = NODE_BIT(pn_cpu_node());
	struct mshare_mbind_args args = {
		.size = len, .maxnode = PN_MAXNODE + 1, .mode = MPOL_BIND,
		.nodemask = (unsigned long)&mask,
	};
	int control = pn_control_node();
	char *plain;

	if (control < 0)
		SKIP(return, "no second ordinary node");
	plain = map_in_both(self->fd, 2 * len);
	ASSERT_NE(NULL, plain);
	mask = NODE_BIT(control);
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND, &cpu));
	ms_write_words(self->w, 2 * len, 1);
	ASSERT_EQ(0, madvise(plain, 2 * len, MADV_POPULATE_READ));
	EXPECT_EQ((long)(len / PAGE), pn_on_node(plain, len, control));
	EXPECT_EQ((long)(len / PAGE), pn_on_node(plain + len, len, pn_cpu_node()));
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
	/* And back, with what is there, though others have it mapped */
	mask = cpu;
	args.flags = MPOL_MF_STRICT;
	EXPECT_ERROR(EIO, mshare_mbind(self->fd, &args, sizeof(args), 0));
	args.flags = MPOL_MF_MOVE_ALL;
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ASSERT_EQ(0, madvise(plain, len, MADV_POPULATE_READ));
	EXPECT_EQ((long)(len / PAGE), pn_on_node(plain, len, pn_cpu_node()));
	EXPECT_SEEN(0, 2 * len, 1);
	munmap(plain, 2 * len);
}

/* The default is that of the memory, not what the owner has set for itself */
TEST_F_TIMEOUT(contents, policy_default, 200)
{
	const size_t len = 4 * MIB;
	unsigned long mask = NODE_BIT(pn_cpu_node()), own = NODE_BIT(pn_control_node());
	struct mshare_mbind_args args = {
		.size = len, .maxnode = PN_MAXNODE + 1, .mode = MPOL_BIND,
		.nodemask = (unsigned long)&mask,
	};
	char *plain;

	if (pn_control_node() < 0)
		SKIP(return, "no second ordinary node");
	plain = map_in_both(self->fd, len);
	ASSERT_NE(NULL, plain);
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ms_write_words(self->w, len, 1);
	ASSERT_EQ(0, madvise(plain, len, MADV_POPULATE_READ));
	ASSERT_EQ((long)(len / PAGE), pn_on_node(plain, len, pn_cpu_node()));
	args.mode = MPOL_DEFAULT;
	args.nodemask = 0;
	args.maxnode = 0;
	args.flags = MPOL_MF_MOVE_ALL;
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND, &own));
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ASSERT_EQ(0, madvise(plain, len, MADV_POPULATE_READ));
	EXPECT_EQ(0, pn_on_node(plain, len, pn_control_node()));
	/* The control: the default of the caller's own mapping is the caller's. */
	ASSERT_EQ(0, pn_mbind(plain, len, MPOL_DEFAULT, NULL, MPOL_MF_MOVE_ALL));
	ASSERT_EQ(0, madvise(plain, len, MADV_POPULATE_READ));
	EXPECT_LT(0, pn_on_node(plain, len, pn_control_node()));
	/* And away from there again */
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ASSERT_EQ(0, madvise(plain, len, MADV_POPULATE_READ));
	EXPECT_EQ(0, pn_on_node(plain, len, pn_control_node()));
	EXPECT_SEEN(0, len, 1);
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
	munmap(plain, len);
}

/* In turn on several nodes */
TEST_F_TIMEOUT(contents, interleaved, 200)
{
	const size_t len = 4 * MIB;
	int control = pn_control_node();
	unsigned long mask = NODE_BIT(pn_cpu_node()) | NODE_BIT(control);
	struct mshare_mbind_args args = {
		.size = len, .maxnode = PN_MAXNODE + 1, .mode = MPOL_INTERLEAVE,
		.nodemask = (unsigned long)&mask,
	};
	long count[PN_MAXNODE];
	char *plain;

	if (control < 0)
		SKIP(return, "no second ordinary node");
	plain = map_in_both(self->fd, len);
	ASSERT_NE(NULL, plain);
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ms_write_words(self->w, len, 1);
	ASSERT_EQ(0, madvise(plain, len, MADV_POPULATE_READ));
	EXPECT_EQ((long)(len / PAGE), pn_count_nodes(plain, len, count));
	EXPECT_EQ((long)(len / PAGE / 2), count[control]);
	EXPECT_EQ((long)(len / PAGE / 2), count[pn_cpu_node()]);
	EXPECT_SEEN(0, len, 1);
	munmap(plain, len);
}

/* One set of page tables over private memory */
TEST_F_TIMEOUT(contents, private_node, 200)
{
	unsigned long mask;
	struct mshare_mbind_args args = {
		.size = 16 * MIB, .maxnode = PN_MAXNODE + 1,
		.mode = MPOL_BIND | MPOL_F_PRIVATE, .nodemask = (unsigned long)&mask,
	};
	long used;

	if (pn_private_node() < 0 || pn_forced())
		SKIP(return, "no private node: boot with private_node=<nid>");
	mask = NODE_BIT(pn_private_node());
	ASSERT_EQ(0, pn_wait_empty(pn_private_node()));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 16 * MIB, RW));
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ms_write_words(self->w, 16 * MIB, 9);
	used = pn_used(pn_private_node());
	/* Some of them may be in the store of a CPU. */
	EXPECT_LE((long)(16 * MIB / PAGE), used);
	EXPECT_GE((long)(16 * MIB / PAGE) + 64, used);
	EXPECT_SEEN(0, 16 * MIB, 9);
	EXPECT_GE((long)(16 * MIB / PAGE) + 64, pn_used(pn_private_node()));
	args.mode = MPOL_BIND;
	EXPECT_ERROR(EINVAL, mshare_mbind(self->fd, &args, sizeof(args), 0));
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, 16 * MIB, 0));
	EXPECT_EQ(0, pn_wait_empty(pn_private_node()));
}

static int poisoned(struct pn_child *child, void *arg)
{
	struct check *check = arg;
	char *w = ms_attach(check->fd, 0);
	struct pn_fault fault;

	if (!w)
		return 1;
	pn_hold(child);
	ms_try(w + check->offset + 16, 'r', &fault);
	if (fault.sig != SIGBUS || fault.code != BUS_MCEERR_AR)
		return 2;
	/* Where it is for this process */
	return (char *)((unsigned long)fault.addr & ~(PAGE - 1)) == w + check->offset ? 0 : 3;
}

static siginfo_t poison;

static void on_poison(int sig, siginfo_t *info, void *context)
{
	poison = *info;
}

/* Who has it mapped is told at once, or when he touches it: by his own address. */
TEST_F_TIMEOUT(contents, poison, 200)
{
	struct sigaction action = { .sa_sigaction = on_poison, .sa_flags = SA_SIGINFO };
	int file = memfd_create("ms_poison", MFD_CLOEXEC);
	struct check check = { self->fd, 5 * PAGE, PAGE };
	struct pn_child child[3];
	unsigned long pfn;
	char *plain;
	size_t i;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, MIB));
	ASSERT_EQ(0, ms_map_file(self->fd, 0, MIB, RW, file, 0));
	ms_write_words(self->w, MIB, 1);
	plain = mmap(NULL, MIB, PROT_READ, MAP_SHARED, file, 0);
	ASSERT_NE(MAP_FAILED, plain);
	pfn = pn_frame(plain + check.offset);
	ASSERT_NE(0, pfn);
	munmap(plain, MIB);
	for (i = 0; i < ARRAY_SIZE(child); i++) {
		ASSERT_EQ(0, pn_spawn(&child[i], poisoned, &check));
		ASSERT_EQ(0, pn_ready(&child[i], 20));
	}
	ASSERT_EQ(0, sigaction(SIGBUS, &action, NULL));
	if (madvise(self->w + check.offset, PAGE, MADV_HWPOISON)) {
		ASSERT_EQ(EINVAL, errno);
		for (i = 0; i < ARRAY_SIZE(child); i++)
			pn_reap(&child[i], 20);
		SKIP(return, "no memory failure recovery");
	}
	EXPECT_EQ(BUS_MCEERR_AR, poison.si_code);
	EXPECT_EQ(self->w + check.offset, poison.si_addr);
	for (i = 0; i < ARRAY_SIZE(child); i++)
		EXPECT_EQ(0, pn_reap(&child[i], 20));
	EXPECT_ERROR(EHWPOISON, mshare_advise(self->fd, 0, MIB, MADV_POPULATE_READ, 0));
	EXPECT_EQ(0, ms_wrong_words(self->w, check.offset, 1));
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, MIB, 0));
	close(file);
	EXPECT_EQ(0, pn_unpoison(pfn));
}

/* A cgroup with the memory controller; the process that writes there is in it. */
FIXTURE(paid)
{
	int fd;
	unsigned int flags;
	char owner[60], member[60];
	int sock[2];
};

FIXTURE_SETUP(paid)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, ms_mount_cgroups());
	snprintf(self->owner, sizeof(self->owner), MS_CGROUPS "/ms_owner");
	snprintf(self->member, sizeof(self->member), MS_CGROUPS "/ms_member");
	ASSERT_EQ(0, mkdir(self->owner, 0755));
	ASSERT_EQ(0, mkdir(self->member, 0755));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, self->sock));
	self->fd = 0;
}

FIXTURE_TEARDOWN(paid)
{
	if (self->fd < 0)
		return;
	EXPECT_EQ(0, pn_remove_group(self->owner));
	EXPECT_EQ(0, pn_remove_group(self->member));
	EXPECT_EQ(0, umount2(MS_CGROUPS, MNT_DETACH));
	close(self->sock[0]);
	close(self->sock[1]);
}

static int enter(const char *group)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	return pn_write_file(path, "0");
}

static long charged(const char *group)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/memory.current", group);
	return pn_read_long(path);
}

/* What memory.stat says; current has what CPUs keep in store, too. */
static long stat_of(const char *group, const char *what)
{
	char path[100], text[8192], *line, *rest = text;
	size_t len = strlen(what);

	snprintf(path, sizeof(path), "%s/memory.stat", group);
	if (pn_read_file(path, text, sizeof(text)))
		return -1;
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, what, len) && line[len] == ' ')
			return atol(line + len);
	}
	return -1;
}

/* It is brought up to date every two seconds. */
static int wait_stat(const char *group, const char *what, long low, long high)
{
	double deadline = pn_now() + pn_slow(10);
	long value;

	do {
		value = stat_of(group, what);
		if (value >= low && value <= high)
			return 0;
		poll(NULL, 0, 50);
	} while (pn_now() < deadline);
	pn_note("%s: %s %ld, expected %ld to %ld", group, what, value, low, high);
	return -1;
}

#define PAID		(32 * MIB)

static int owns(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	int fd;

	if (enter(self->owner))
		return 1;
	fd = ms_region(8 * GRANULE, self->flags);
	if (fd < 0 || ms_map_anon(fd, 0, PAID, RW) || ms_send_fd(self->sock[1], fd))
		return 2;
	pn_hold(child);
	return 0;
}

static int start_as(FIXTURE_DATA(paid) *self, struct pn_child *owner,
		    int (*as)(struct pn_child *child, void *arg))
{
	if (pn_spawn(owner, as, self))
		return -1;
	self->fd = ms_receive_fd(self->sock[0]);
	return self->fd < 0 ? -1 : pn_ready(owner, 20);
}

static int start_owner(FIXTURE_DATA(paid) *self, struct pn_child *owner)
{
	return start_as(self, owner, owns);
}

static int uses(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	char *w;

	if (enter(self->member))
		return 1;
	w = ms_attach(self->fd, 0);
	if (!w || pn_touch(w, PAID, PAGE, NULL) != PAID)
		return 2;
	pn_hold(child);
	return 0;
}

/* The owner pays for what is in the region, whoever touches it: memory and tables. */
TEST_F_TIMEOUT(paid, by_the_owner, 200)
{
	struct pn_child owner, member;
	char path[60];
	long score;

	ASSERT_EQ(0, start_owner(self, &owner));
	snprintf(path, sizeof(path), "/proc/%d/oom_score", owner.pid);
	score = pn_read_long(path);
	ASSERT_EQ(0, pn_spawn(&member, uses, self));
	ASSERT_EQ(0, pn_ready(&member, 20));
	/* The memory, and a table for each 2 MiB of it */
	EXPECT_EQ(0, wait_stat(self->owner, "shmem", PAID, PAID));
	EXPECT_EQ(0, wait_stat(self->owner, "pagetables", PAID / 512, PAID / 512 + MIB / 2));
	EXPECT_EQ(0, wait_stat(self->member, "pagetables", 0, PAID / 512));
	EXPECT_EQ(0, stat_of(self->member, "shmem"));
	EXPECT_GT((long)(4 * MIB), charged(self->member));
	EXPECT_EQ((long)(PAID / 1024), ms_fdinfo(self->fd, "rss-shmem"));
	EXPECT_LE((long)(PAID / 512 / 1024 + 8 * 4), ms_fdinfo(self->fd, "tables"));
	/* The score is a part of a thousand of what the machine has. */
	if (pn_meminfo(-1, "MemTotal") + pn_meminfo(-1, "SwapTotal") < 16 * (long)MIB)
		EXPECT_LT(score, pn_read_long(path));
	EXPECT_EQ(0, pn_reap(&member, 20));
	EXPECT_EQ(0, wait_stat(self->owner, "shmem", PAID, PAID));
	EXPECT_EQ(0, pn_reap(&owner, 20));
	close(self->fd);
}

static int too_much_from_elsewhere(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	struct pn_fault fault;
	char *w;

	w = ms_attach(self->fd, 0);
	if (!w)
		return 2;
	/* When the owner has been killed for it, this one gets the signal. */
	if (pn_touch(w, PAID, PAGE, &fault) == PAID)
		return 3;
	return fault.sig == SIGBUS ? 0 : 4;
}

static int too_much(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;

	return enter(self->member) ? 1 : too_much_from_elsewhere(child, arg);
}

static int stops(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	char *w = ms_attach(self->fd, 0);

	if (enter(self->member) || !w || pn_touch(w, MIB, PAGE, NULL) != MIB)
		return 1;
	pn_hold(child);
	return 0;
}

/*
 * More than the owner may have: it is the owner who is killed, once, and what the
 * region had is free although there are members that do not run.
 */
TEST_F_TIMEOUT(paid, too_much, 200)
{
	long kills = pn_vmstat("oom_kill"), shmem = pn_meminfo(-1, "Shmem");
	struct pn_child owner, stopped;
	char path[100];

	snprintf(path, sizeof(path), "%s/memory.max", self->owner);
	ASSERT_EQ(0, pn_write_file(path, "16777216"));
	ASSERT_EQ(0, start_owner(self, &owner));
	ASSERT_EQ(0, pn_spawn(&stopped, stops, self));
	ASSERT_EQ(0, pn_ready(&stopped, 20));
	kill(stopped.pid, SIGSTOP);
	EXPECT_EQ(0, pn_run(too_much, self, 60));
	EXPECT_EQ(SIGKILL, pn_reap(&owner, 20));
	EXPECT_GT(shmem + 8 * 1024, pn_meminfo(-1, "Shmem"));
	kill(stopped.pid, SIGCONT);
	EXPECT_EQ(0, pn_reap(&stopped, 20));
	EXPECT_EQ(1, pn_vmstat("oom_kill") - kills);
	EXPECT_ERROR(ENODEV, mshare_attach(self->fd, 0, 0, NULL, 0));
	close(self->fd);
}

/* As owns(), and goes to another cgroup then */
static int moves(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	int ret = owns(child, arg);

	if (ret || enter(self->member))
		return ret ?: 3;
	pn_hold(child);
	return 0;
}

static int stands_by(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;

	if (enter(self->owner))
		return 1;
	pn_hold(child);
	return 0;
}

/*
 * The region is where its owner is: who stays behind in the cgroup that it was made
 * in is not killed for it.
 */
TEST_F_TIMEOUT(paid, moved_owner, 200)
{
	long kills = pn_vmstat("oom_kill");
	struct pn_child owner, other;
	char path[100];

	snprintf(path, sizeof(path), "%s/memory.max", self->owner);
	ASSERT_EQ(0, pn_write_file(path, "16777216"));
	snprintf(path, sizeof(path), "%s/memory.max", self->member);
	ASSERT_EQ(0, pn_write_file(path, "16777216"));
	ASSERT_EQ(0, start_as(self, &owner, moves));
	ASSERT_EQ(0, pn_spawn(&other, stands_by, self));
	ASSERT_EQ(0, pn_ready(&other, 20));
	ASSERT_EQ(0, ms_let_go(&owner));
	ASSERT_EQ(0, pn_ready(&owner, 20));
	EXPECT_EQ(0, pn_run(too_much_from_elsewhere, self, 60));
	EXPECT_EQ(SIGKILL, pn_reap(&owner, 20));
	EXPECT_EQ(0, pn_reap(&other, 20));
	EXPECT_EQ(1, pn_vmstat("oom_kill") - kills);
	EXPECT_GT((long)(4 * MIB), charged(self->owner));
	close(self->fd);
}

static int owns_with_others(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	int fd, memfd = memfd_create("ms_paid", MFD_CLOEXEC);

	if (enter(self->owner))
		return 1;
	fd = ms_region(GRANULE, MSHARE_SHARED_CONTROL);
	if (fd < 0 || ftruncate(memfd, 4 * PAID) || ms_map_file(fd, 0, 4 * PAID, RW, memfd, 0))
		return 2;
	if (ms_send_fd(self->sock[1], fd) || ms_send_fd(self->sock[1], memfd))
		return 3;
	pn_hold(child);
	return 0;
}

static int goes_on(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;

	if (enter(self->member))
		return 1;
	/* Whether it gets to the end is up to who takes the region apart. */
	mshare_advise(self->fd, 0, 4 * PAID, MADV_POPULATE_WRITE, 0);
	return 0;
}

static long bytes_of(int file)
{
	struct stat st;

	return fstat(file, &st) ? -1 : st.st_blocks * 512;
}

/* What is made while the owner ends, and after that, is paid for by somebody. */
TEST_F_TIMEOUT(paid, outlived, 200)
{
	double deadline = pn_now() + pn_slow(20);
	struct pn_child owner, other;
	int memfd;
	long all, paid;

	ASSERT_EQ(0, pn_spawn(&owner, owns_with_others, self));
	self->fd = ms_receive_fd(self->sock[0]);
	memfd = ms_receive_fd(self->sock[0]);
	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, pn_ready(&owner, 20));
	ASSERT_EQ(0, pn_spawn(&other, goes_on, self));
	while (bytes_of(memfd) < (long)PAID / 8 && pn_now() < deadline)
		usleep(1000);
	EXPECT_EQ(0, pn_reap(&owner, 20));
	EXPECT_EQ(0, pn_reap(&other, 60));
	all = bytes_of(memfd);
	EXPECT_LE((long)PAID / 8, all);
	do {
		paid = stat_of(self->owner, "shmem") + stat_of(self->member, "shmem");
		poll(NULL, 0, 50);
	} while (paid != all && pn_now() < deadline);
	EXPECT_EQ(all, paid);
	close(memfd);
	close(self->fd);
}

static int fills(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	char *w;

	if (enter(self->member))
		return 1;
	w = ms_attach(self->fd, 0);
	if (!w)
		return 2;
	ms_write_words(w, PAID, 6);
	return ms_wrong_words(w, PAID, 6) ? 3 : 0;
}

/* By system calls that write a little each: the kernel touches it */
static int receives(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	uint64_t words[2 * PAGE / 8];
	size_t i;
	int file;
	char *w;

	if (enter(self->member))
		return 1;
	file = memfd_create("ms_received", MFD_CLOEXEC);
	w = ms_attach(self->fd, 0);
	if (!w || file < 0)
		return 2;
	for (i = 0; i < PAID; i += sizeof(words)) {
		ms_write_words(words, sizeof(words), 6 + i / 8);
		if (pwrite(file, words, sizeof(words), 0) != sizeof(words) ||
		    pread(file, w + i, sizeof(words), 0) != sizeof(words))
			return 4;
	}
	return ms_wrong_words(w, PAID, 6) ? 3 : 0;
}

/* And by advice to the region, from somebody who is not the owner */
static int populates_parts(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	size_t i;

	if (enter(self->member))
		return 1;
	for (i = 0; i < PAID; i += 64 * KIB)
		if (mshare_advise(self->fd, i, 64 * KIB, MADV_POPULATE_WRITE, 0))
			return 2;
	return 0;
}

/* More than the owner is to have: it is swapped, and members get on. */
static void check_high(FIXTURE_DATA(paid) *self, struct __test_metadata *_metadata,
		       int (*user)(struct pn_child *child, void *arg))
{
	struct pn_child owner;
	char path[100];

	ASSERT_EQ(0, pn_swap_on(128 * MIB));
	snprintf(path, sizeof(path), "%s/memory.high", self->owner);
	ASSERT_EQ(0, pn_write_file(path, "8388608"));
	ASSERT_EQ(0, start_owner(self, &owner));
	EXPECT_EQ(0, pn_run(user, self, 120));
	snprintf(path, sizeof(path), "%s/memory.swap.current", self->owner);
	EXPECT_LT((long)(4 * MIB), pn_read_long(path));
	snprintf(path, sizeof(path), "%s/memory.peak", self->owner);
	EXPECT_GT((long)(16 * MIB), pn_read_long(path));
	EXPECT_GT((long)MIB, stat_of(self->member, "shmem"));
	EXPECT_EQ(0, pn_reap(&owner, 20));
	EXPECT_EQ(0, pn_swap_off());
	close(self->fd);
}

TEST_F_TIMEOUT(paid, high, 400)
{
	if (access("/sys/block/zram0", F_OK))
		SKIP(return, "no zram to swap to");
	check_high(self, _metadata, fills);
}

TEST_F_TIMEOUT(paid, high_by_the_kernel, 400)
{
	if (access("/sys/block/zram0", F_OK))
		SKIP(return, "no zram to swap to");
	check_high(self, _metadata, receives);
}

TEST_F_TIMEOUT(paid, high_by_advice, 400)
{
	if (access("/sys/block/zram0", F_OK))
		SKIP(return, "no zram to swap to");
	self->flags = MSHARE_SHARED_CONTROL;
	check_high(self, _metadata, populates_parts);
}

static int is_not_killed(struct pn_child *child, void *arg)
{
	if (pn_write_file("/proc/self/oom_score_adj", "-1000"))
		return 10;
	return owns(child, arg);
}

/* Nobody can be killed for what members want: they get a signal, and others go on. */
TEST_F_TIMEOUT(paid, nobody_to_kill, 200)
{
	long kills = pn_vmstat("oom_kill");
	struct pn_child owner;
	char path[100];

	snprintf(path, sizeof(path), "%s/memory.max", self->owner);
	ASSERT_EQ(0, pn_write_file(path, "16777216"));
	ASSERT_EQ(0, start_as(self, &owner, is_not_killed));
	EXPECT_EQ(0, pn_run(too_much, self, 60));
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
	EXPECT_EQ(owner.pid, ms_fdinfo(self->fd, "owner"));
	EXPECT_EQ(0, pn_reap(&owner, 20));
	close(self->fd);
}

/* Too little for the tables of the region: an error, and nothing stays. */
static int big(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	int fd;

	if (enter(self->owner))
		return 1;
	fd = mshare_create(0);
	if (fd < 0)
		return 1;
	/* 8192 tables */
	if (!ftruncate(fd, 8192 * GRANULE) || errno != ENOMEM)
		return 2;
	if (ms_fdinfo(fd, "size"))
		return 3;
	/* A smaller size is all right. */
	if (ftruncate(fd, GRANULE) || ms_map_anon(fd, 0, PAGE, RW))
		return 4;
	return 0;
}

TEST_F_TIMEOUT(paid, tables, 200)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/memory.max", self->owner);
	ASSERT_EQ(0, pn_write_file(path, "16777216"));
	EXPECT_EQ(0, pn_run(big, self, 60));
}

/* Too little for the memory, and nobody who could be killed for it */
static int populates(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	int fd;

	if (pn_write_file("/proc/self/oom_score_adj", "-1000") || enter(self->owner))
		return 1;
	fd = ms_region(GRANULE, 0);
	if (fd < 0 || ms_map_anon(fd, 0, PAID, RW))
		return 2;
	if (!mshare_advise(fd, 0, PAID, MADV_POPULATE_WRITE, 0) || errno != ENOMEM)
		return 3;
	/* Nor a huge page for small ones that are there */
	if (!mshare_advise(fd, 0, HUGE_SIZE, MADV_COLLAPSE, 0) || errno != EBUSY)
		return 4;
	return 0;
}

TEST_F_TIMEOUT(paid, no_room, 200)
{
	char path[100], was[80];

	if (pn_read_line(SHMEM_THP, was, sizeof(was)))
		SKIP(return, "no huge pages of shared memory");
	ASSERT_EQ(0, pn_write_file(SHMEM_THP, "never"));
	snprintf(path, sizeof(path), "%s/memory.max", self->owner);
	ASSERT_EQ(0, pn_write_file(path, "16777216"));
	EXPECT_EQ(0, pn_run(populates, self, 60));
	EXPECT_EQ(0, ms_restore_choice(SHMEM_THP, was));
}

/* Cgroups that are removed and not gone, as something is charged to them */
static long dying(void)
{
	char text[400], *line;

	if (pn_read_file(MS_CGROUPS "/cgroup.stat", text, sizeof(text)))
		return -1;
	line = strstr(text, "nr_dying_descendants ");
	return line ? atol(strchr(line, ' ')) : -1;
}

static int wait_dying(long most)
{
	double deadline = pn_now() + pn_slow(20);

	while (dying() > most) {
		if (pn_now() > deadline) {
			pn_note("%ld dying cgroups, expected %ld", dying(), most);
			return -1;
		}
		poll(NULL, 0, 50);
		/* What CPUs have in store of it is given back when they need more. */
		pn_settle();
	}
	return 0;
}

static int owns_file(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(paid) *self = arg;
	int fd, memfd;

	if (enter(self->owner))
		return 1;
	fd = ms_region(GRANULE, 0);
	memfd = memfd_create("ms_paid", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(memfd, 2 * PAID) || ms_map_file(fd, 0, 2 * PAID, RW, memfd, 0))
		return 2;
	if (ms_send_fd(self->sock[1], fd) || ms_send_fd(self->sock[1], memfd))
		return 3;
	pn_hold(child);
	/* Somewhere else, for who is to remove the cgroup meanwhile */
	if (enter(self->member))
		return 4;
	pn_hold(child);
	return 0;
}

/*
 * The cgroup that pays is removed: after the owner has died, or while he lives, in
 * another one. What is charged to it can be used, and it goes when that does. What
 * it could have had is no limit then, of what is there or of what ever was.
 */
TEST_F_TIMEOUT(paid, removed_cgroup, 200)
{
	struct pn_child owner;
	int memfd, lives, i;
	double deadline;
	char path[100];
	long before;
	char *w;

	for (lives = 0; lives < 2; lives++) {
		before = dying();
		ASSERT_LE(0, before);
		snprintf(path, sizeof(path), "%s/memory.max", self->owner);
		ASSERT_EQ(0, pn_write_file(path, "67108864"));
		ASSERT_EQ(0, pn_spawn(&owner, owns_file, self));
		self->fd = ms_receive_fd(self->sock[0]);
		memfd = ms_receive_fd(self->sock[0]);
		ASSERT_LE(0, memfd);
		ASSERT_EQ(0, pn_ready(&owner, 20));
		w = ms_attach(self->fd, 0);
		ASSERT_NE(NULL, w);
		ms_write_words(w, PAID, 3);
		EXPECT_EQ(0, wait_stat(self->owner, "shmem", PAID, PAID));
		if (lives) {
			ASSERT_EQ(0, ms_let_go(&owner));
			ASSERT_EQ(0, pn_ready(&owner, 20));
		} else {
			EXPECT_EQ(0, pn_reap(&owner, 20));
			/* A worker takes it apart. */
			deadline = pn_now() + pn_slow(10);
			while (pn_now() < deadline && ms_fdinfo(self->fd, "rss-shmem"))
				poll(NULL, 0, 20);
			EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(w, 'r'));
		}
		ASSERT_EQ(0, rmdir(self->owner));
		if (lives) {
			/* More of it, after there is no such cgroup, and again */
			for (i = 0; i < 3; i++) {
				ASSERT_EQ(0, fallocate(memfd, FALLOC_FL_PUNCH_HOLE |
						       FALLOC_FL_KEEP_SIZE, 0, 2 * PAID));
				ASSERT_EQ(2 * PAID, pn_touch(w, 2 * PAID, PAGE, NULL));
				ms_write_words(w, 2 * PAID, 3);
			}
			EXPECT_EQ(0, wait_stat(self->member, "shmem", 2 * PAID, 2 * PAID));
			EXPECT_EQ(0, ms_wrong_words(w, 2 * PAID, 3));
			EXPECT_EQ((long)(2 * PAID / 1024), ms_fdinfo(self->fd, "rss-shmem"));
			EXPECT_EQ(0, pn_reap(&owner, 20));
		}
		EXPECT_ERROR(ENODEV, mshare_attach(self->fd, 0, 0, NULL, 0));
		munmap(w, GRANULE);
		close(self->fd);
		w = mmap(NULL, PAID, RW, MAP_SHARED, memfd, 0);
		ASSERT_NE(MAP_FAILED, w);
		EXPECT_EQ(0, ms_wrong_words(w, PAID, 3));
		munmap(w, PAID);
		close(memfd);
		EXPECT_EQ(0, wait_dying(before));
		ASSERT_EQ(0, mkdir(self->owner, 0755));
	}
}

#define MANY		200

/* Attaches, uses all of it, and says what that has cost it in page tables. */
static int costs_little(struct pn_child *child, void *arg)
{
	struct check *check = arg;
	long tables = ms_status("VmPTE");
	char *w = ms_attach(check->fd, 0);
	size_t i;

	if (!w)
		return 1;
	for (i = 0; i < check->size; i += PAGE)
		if (*(uint64_t *)(w + i) != check->seed + i / 8)
			return 3;
	/* A table of its own to hang those of the region into, and what is on the way */
	if (ms_status("VmPTE") > tables + 8)
		return 2;
	pn_hold(child);
	return 0;
}

/* Page tables: one copy, and 4 KiB for each member and 512 GiB */
TEST_F_TIMEOUT(contents, many, 200)
{
	static struct pn_child child[MANY];
	struct check check = { self->fd, 0, 16 * MIB, 1 };
	double deadline;
	long tables;
	int i;

	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 16 * MIB, RW));
	ASSERT_EQ(0, mshare_advise(self->fd, 0, 16 * MIB, MADV_NOHUGEPAGE, 0));
	ms_write_words(self->w, 16 * MIB, 1);
	tables = pn_meminfo(-1, "PageTables");
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(0, pn_spawn(&child[i], costs_little, &check));
	for (i = 0; i < MANY; i++)
		EXPECT_EQ(0, pn_ready(&child[i], 60));
	EXPECT_EQ(MANY + 1, ms_fdinfo(self->fd, "members"));
	/* Four granules and eight tables of pages, and what leads there */
	EXPECT_GE(4 * (4 + 8 + 3), ms_fdinfo(self->fd, "tables"));
	for (i = 0; i < MANY; i++)
		EXPECT_EQ(0, pn_reap(&child[i], 60));
	EXPECT_EQ(0, ms_wrong_words(self->w, 16 * MIB, 1));
	/* Those of the processes themselves are freed after a while. */
	deadline = pn_now() + pn_slow(5);
	while (pn_meminfo(-1, "PageTables") > tables + 200 && pn_now() < deadline)
		poll(NULL, 0, 50);
	EXPECT_GE(tables + 200, pn_meminfo(-1, "PageTables"));
}

TEST_HARNESS_MAIN
