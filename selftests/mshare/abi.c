// SPDX-License-Identifier: GPL-2.0
/*
 * Each call with each of its errors, and what the file descriptor of a region can
 * and cannot do. Nothing that fails changes anything.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/fs.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define SIZE		(2 * GRANULE - 5 * PAGE)
#define FOLDER		"/tmp/ms_abi"
#define MAX_FILES	"/proc/sys/fs/file-max"
#define MAX_MAPPINGS	"/proc/sys/vm/max_map_count"
#define OVERCOMMIT	"/proc/sys/vm/overcommit_memory"
#define OVERCOMMIT_KIB	"/proc/sys/vm/overcommit_kbytes"
#define OVERCOMMIT_RATIO "/proc/sys/vm/overcommit_ratio"
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAIL_SLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/"

FIXTURE(abi)
{
	int fd, bare;		/* with a size, and without */
};

FIXTURE_SETUP(abi)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_region(SIZE, 0);
	self->bare = mshare_create(0);
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, self->bare);
}

FIXTURE_TEARDOWN(abi)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	close(self->bare);
}

TEST_F(abi, create)
{
	int fd = mshare_create(O_CLOEXEC), bit;
	struct rlimit limit, none;
	struct stat st;

	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, fcntl(self->fd, F_GETFD));
	EXPECT_EQ(0, fstat(fd, &st));
	EXPECT_EQ(0, st.st_size);
	EXPECT_TRUE(S_ISREG(st.st_mode));
	close(fd);
	for (bit = 0; bit < 32; bit++) {
		unsigned int flag = 1U << bit;

		if (flag & (O_CLOEXEC | MSHARE_SHARED_CONTROL))
			continue;
		EXPECT_ERROR(EINVAL, mshare_create(flag));
		EXPECT_ERROR(EINVAL, mshare_create(flag | O_CLOEXEC));
	}
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	none = limit;
	none.rlim_cur = self->fd;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	EXPECT_ERROR(EMFILE, mshare_create(0));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
}

static long map(int fd, uint64_t offset, uint64_t size, uint64_t file_offset,
		uint32_t prot, int file, unsigned int flags)
{
	struct mshare_map_args args = {
		.offset = offset, .size = size, .file_offset = file_offset,
		.prot = prot, .fd = file,
	};

	return mshare_map(fd, &args, sizeof(args), flags);
}

static int makes_files(struct pn_child *child, void *arg)
{
	int fd = *(int *)arg;

	pn_hold(child);
	if (pn_drop_cap(21 /* CAP_SYS_ADMIN */))
		return 1;
	if (mshare_create(0) != -1 || errno != ENFILE)
		return 2;
	if (mshare_attach(fd, 0, 0, NULL, 0) != MAP_FAILED || errno != ENFILE)
		return 3;
	return map(fd, 0, PAGE, 0, RW, -1, 0) != -1 || errno != ENFILE ? 4 : 0;
}

/* Each of these makes a file, and there are as many as there may be in all. */
TEST_F(abi, files)
{
	int shared = ms_region(GRANULE, MSHARE_SHARED_CONTROL);
	struct pn_child child;
	char before[30];

	ASSERT_LE(0, shared);
	ASSERT_EQ(0, pn_read_line(MAX_FILES, before, sizeof(before)));
	ASSERT_EQ(0, pn_spawn(&child, makes_files, &shared));
	ASSERT_EQ(0, pn_ready(&child, 20));
	ASSERT_EQ(0, pn_write_file(MAX_FILES, "0"));
	EXPECT_EQ(0, pn_reap(&child, 20));
	EXPECT_EQ(0, pn_write_file(MAX_FILES, before));
	EXPECT_EQ(0, ms_fdinfo(shared, "windows"));
	EXPECT_EQ(0, map(shared, 0, PAGE, 0, RW, -1, MSHARE_MAP_NOREPLACE));
	close(shared);
}

/* What a file can do that has nothing to read */
TEST_F(abi, file)
{
	int fds[2] = { self->fd, self->bare }, i, pipes[2];
	char path[40], buf[8] = "";
	struct stat st;

	ASSERT_EQ(0, pipe(pipes));
	for (i = 0; i < 2; i++) {
		EXPECT_ERROR(EINVAL, read(fds[i], buf, sizeof(buf)));
		EXPECT_ERROR(EINVAL, write(fds[i], buf, sizeof(buf)));
		EXPECT_ERROR(ESPIPE, lseek(fds[i], 0, SEEK_SET));
		EXPECT_ERROR(ESPIPE, pread(fds[i], buf, sizeof(buf), 0));
		EXPECT_ERROR(ENODEV, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fds[i], 0));
		EXPECT_ERROR(ENODEV, mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fds[i], 0));
		EXPECT_ERROR(ENOTTY, ioctl(fds[i], TCGETS, buf));
		EXPECT_ERROR(EINVAL, splice(fds[i], NULL, pipes[1], NULL, 1, 0));
		EXPECT_ERROR(EINVAL, fcntl(fds[i], F_ADD_SEALS, F_SEAL_WRITE));
		EXPECT_ERROR(EOPNOTSUPP, fallocate(fds[i], 0, 0, PAGE));
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[i]);
		EXPECT_ERROR(ENXIO, open(path, O_RDWR));
		EXPECT_ERROR(ENXIO, open(path, O_RDONLY));
		EXPECT_EQ(0, flock(fds[i], LOCK_EX | LOCK_NB));
		EXPECT_EQ(0, fcntl(fds[i], F_SETFL, O_NONBLOCK));
	}
	EXPECT_EQ(0, fstat(self->fd, &st));
	EXPECT_EQ((long)SIZE, st.st_size);
	EXPECT_EQ((long)SIZE, ms_fdinfo(self->fd, "size"));
	EXPECT_EQ((long)GRANULE, ms_fdinfo(self->fd, "granule"));
	EXPECT_EQ((long)GRANULE, pn_read_long("/sys/kernel/mm/mshare/granule"));
	EXPECT_EQ(getpid(), ms_fdinfo(self->fd, "owner"));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(0, ms_fdinfo(self->bare, "size"));
	close(pipes[0]);
	close(pipes[1]);
}

/* A path to it is no descriptor, neither while there is one nor after. */
TEST_F(abi, path)
{
	int fd = mshare_create(0), path, i;
	char name[2][40];

	ASSERT_LE(0, fd);
	snprintf(name[0], sizeof(name[0]), "/proc/self/fd/%d", fd);
	path = open(name[0], O_PATH | O_CLOEXEC);
	ASSERT_LE(0, path);
	snprintf(name[1], sizeof(name[1]), "/proc/self/fd/%d", path);
	for (i = 0; i < 2; i++)
		EXPECT_ERROR(EINVAL, truncate(name[i], GRANULE));
	EXPECT_EQ(0, ms_fdinfo(fd, "size"));
	EXPECT_ERROR(EBADF, ftruncate(path, GRANULE));
	EXPECT_ERROR(EBADF, mshare_attach(path, 0, 0, NULL, 0));
	EXPECT_EQ(0, ftruncate(fd, GRANULE));
	close(fd);
	/* What is left of it is freed after a while. */
	for (i = 0; i < 20; i++) {
		EXPECT_ERROR(EINVAL, truncate(name[1], GRANULE));
		poll(NULL, 0, 10);
	}
	EXPECT_ERROR(ENXIO, open(name[1], O_RDWR));
	close(path);
}

/* Regions that a process has windows of: so many, and not more */
TEST_F_TIMEOUT(abi, many_regions, 100)
{
	int fd[70], i, n = 0;
	char *w[70];

	for (i = 0; i < 70; i++) {
		fd[i] = ms_region(PAGE, 0);
		ASSERT_LE(0, fd[i]);
		ASSERT_EQ(0, map(fd[i], 0, PAGE, 0, PROT_READ | PROT_WRITE, -1, 0));
		w[i] = ms_attach(fd[i], 0);
		if (!w[i]) {
			EXPECT_EQ(ENOSPC, errno);
			EXPECT_EQ(0, ms_fdinfo(fd[i], "windows"));
			continue;
		}
		EXPECT_EQ(i, n);
		n++;
		*w[i] = i;
	}
	EXPECT_EQ(64, n);
	/* Who leaves one can have another. */
	ASSERT_EQ(0, munmap(w[3], GRANULE));
	EXPECT_NE(NULL, w[3] = ms_attach(fd[69], 0));
	*w[3] = 69;
	EXPECT_EQ(NULL, ms_attach(fd[68], 0));
	for (i = 0; i < 64; i++) {
		EXPECT_EQ(i == 3 ? 69 : i, *w[i]);
		munmap(w[i], GRANULE);
	}
	for (i = 0; i < 70; i++)
		close(fd[i]);
}

static int not_the_owner(struct pn_child *child, void *arg)
{
	int fd = *(int *)arg;

	errno = 0;
	return ftruncate(fd, GRANULE) == -1 ? errno : 0;
}

TEST_F(abi, size)
{
	const off_t bad[] = { 0, 1, PAGE - 1, PAGE + 1, GRANULE + 1, LONG_MAX,
			      LONG_MAX & ~(PAGE - 1), 1UL << 47, -1, -PAGE };
	/* The last one takes 32 MiB of page tables. */
	const off_t good[] = { PAGE, GRANULE, GRANULE - PAGE, 513 * GRANULE, 8192 * GRANULE };
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_ERROR(EINVAL, ftruncate(self->bare, bad[i]));
	}
	EXPECT_EQ(EPERM << 8, pn_run(not_the_owner, &self->bare, 20));
	EXPECT_EQ(0, ms_fdinfo(self->bare, "size"));
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		fd = ms_region(good[i], 0);
		EXPECT_LE(0, fd) TH_LOG("%lx: %s", good[i], strerror(errno));
		EXPECT_EQ(good[i], ms_fdinfo(fd, "size"));
		close(fd);
	}
	/* Once */
	EXPECT_ERROR(EINVAL, ftruncate(self->fd, SIZE));
	EXPECT_ERROR(EINVAL, ftruncate(self->fd, SIZE + PAGE));
	EXPECT_ERROR(EINVAL, ftruncate(self->fd, PAGE));
	EXPECT_EQ((long)SIZE, ms_fdinfo(self->fd, "size"));
}

static void *set_size(void *arg)
{
	int fd = *(int *)arg;

	return (void *)(long)!ftruncate(fd, GRANULE);
}

TEST_F(abi, size_race)
{
	pthread_t thread[8];
	int round, fd;
	void *won;
	long n;
	size_t i;

	for (round = 0; round < 50; round++) {
		fd = mshare_create(0);
		ASSERT_LE(0, fd);
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, set_size, &fd));
		for (i = n = 0; i < ARRAY_SIZE(thread); i++) {
			pthread_join(thread[i], &won);
			n += (long)won;
		}
		EXPECT_EQ(1, n);
		close(fd);
	}
}

TEST_F(abi, attach)
{
	const unsigned int known = MSHARE_FIXED | MSHARE_FIXED_NOREPLACE | MSHARE_RDONLY |
				   MSHARE_EXEC;
	char *here = mmap(NULL, 4 * GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *at, *p;
	int bit, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	ASSERT_NE(MAP_FAILED, here);
	at = ms_granule_up(here);
	EXPECT_ERROR(EBADF, mshare_attach(-1, 0, 0, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(null, 0, 0, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->bare, 0, 0, NULL, 0));
	for (bit = 0; bit < 32; bit++)
		if (!(1U << bit & known))
			EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, 0, NULL, 1U << bit));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, 0, at,
					   MSHARE_FIXED | MSHARE_FIXED_NOREPLACE));
	/* Where in the region */
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, PAGE, 0, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 2 * GRANULE, 0, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, SIZE, 0, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, PAGE, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, GRANULE + PAGE, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, 2 * GRANULE, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, GRANULE, GRANULE, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, -GRANULE, 0, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, -GRANULE, 2 * GRANULE, NULL, 0));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, -GRANULE, NULL, 0));
	/* Where in the process */
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, 0, at + PAGE, MSHARE_FIXED));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, 0, at + PAGE, MSHARE_FIXED_NOREPLACE));
	EXPECT_ERROR(EINVAL, mshare_attach(self->fd, 0, 0, (void *)-GRANULE, MSHARE_FIXED));
	EXPECT_ERROR(EEXIST, mshare_attach(self->fd, 0, 0, at, MSHARE_FIXED_NOREPLACE));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));

	/* A hint that is taken is a hint. */
	p = mshare_attach(self->fd, 0, 0, at, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_NE(at, p);
	EXPECT_EQ(0, (unsigned long)p % GRANULE);
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(0, munmap(p, 2 * GRANULE));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));

	EXPECT_EQ(at, mshare_attach(self->fd, 0, 0, at, MSHARE_FIXED));
	EXPECT_EQ(0, munmap(at, 2 * GRANULE));
	EXPECT_EQ(at, mshare_attach(self->fd, 0, 0, at, MSHARE_FIXED_NOREPLACE));
	EXPECT_ERROR(EEXIST, mshare_attach(self->fd, 0, 0, at, MSHARE_FIXED_NOREPLACE));
	EXPECT_EQ(0, munmap(at, 2 * GRANULE));
	EXPECT_EQ(at, mshare_attach(self->fd, 0, 0, at, 0));
	EXPECT_EQ(0, munmap(at, 2 * GRANULE));
	EXPECT_EQ(at, mshare_attach(self->fd, 0, 0, at - PAGE, 0));
	EXPECT_EQ(0, munmap(at, 2 * GRANULE));
	/* Parts: the first granule, and the last one */
	EXPECT_EQ(at, mshare_attach(self->fd, 0, GRANULE, at, MSHARE_FIXED));
	EXPECT_EQ(at + GRANULE, mshare_attach(self->fd, GRANULE, SIZE - GRANULE, at + GRANULE,
					      MSHARE_FIXED));
	EXPECT_EQ(2, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(0, munmap(at, 2 * GRANULE));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	munmap(here, 4 * GRANULE);
	close(null);
}

static int limited(struct pn_child *child, void *arg)
{
	struct rlimit limit = { GRANULE / 2, GRANULE / 2 };
	int fd = *(int *)arg;

	if (setrlimit(RLIMIT_AS, &limit))
		return 1;
	if (mshare_attach(fd, 0, 0, NULL, 0) != MAP_FAILED || errno != ENOMEM)
		return 2;
	if (ms_fdinfo(fd, "windows"))
		return 3;
	/* What is in a region is limited, too, by who maps it. */
	fd = ms_region(GRANULE, 0);
	return ms_map_anon(fd, 0, GRANULE, RW) != -1 || errno != ENOMEM ? 4 : 0;
}

static int no_exec(struct pn_child *child, void *arg)
{
	int fd = *(int *)arg;

	if (prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
		return 1;
	if (mshare_attach(fd, 0, 0, NULL, MSHARE_EXEC) != MAP_FAILED || errno != EACCES)
		return 2;
	return mshare_attach(fd, 0, 0, NULL, 0) == MAP_FAILED ? 3 : 0;
}

static int low(struct pn_child *child, void *arg)
{
	int fd = *(int *)arg;

	/* Below vm.mmap_min_addr, without the capability for it */
	if (pn_drop_cap(17 /* CAP_SYS_RAWIO */) || setresuid(65534, 65534, 65534))
		return 1;
	if (mshare_attach(fd, 0, 0, NULL, MSHARE_FIXED) != MAP_FAILED || errno != EPERM)
		return 2;
	return 0;
}

/* What the process may not have */
TEST_F(abi, attach_limits)
{
	EXPECT_EQ(0, pn_run(limited, &self->fd, 20));
	EXPECT_EQ(0, pn_run(no_exec, &self->fd, 20));
	EXPECT_EQ(0, pn_run(low, &self->fd, 20));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
}

TEST_F(abi, map)
{
	const uint32_t rw = PROT_READ | PROT_WRITE;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int dir = open("/tmp", O_RDONLY | O_CLOEXEC);
	int self_exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int proc = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	int sysfs = open("/sys/kernel/mm/mshare/granule", O_RDONLY | O_CLOEXEC);
	int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	char *shared = mmap(NULL, PAGE, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0), path[80];
	int memfd = memfd_create("ms", MFD_CLOEXEC | MFD_ALLOW_SEALING), pipes[2], bit;
	int anon, write_only;
	struct {
		struct mshare_map_args args;
		uint64_t more;
	} big = { .args = { .size = PAGE, .prot = rw, .fd = -1 } };

	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, ftruncate(memfd, 16 * PAGE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	write_only = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, write_only);
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
		 (unsigned long)shared, (unsigned long)shared + PAGE);
	anon = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, anon);
	EXPECT_ERROR(EBADF, map(-1, 0, PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(null, 0, PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->bare, 0, PAGE, 0, rw, -1, 0));
	for (bit = 1; bit < 32; bit++) {
		EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, -1, 1U << bit));
		/* Protection keys and what else mmap() knows */
		if (1U << bit > PROT_EXEC)
			EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw | 1U << bit, -1, 0));
	}
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, PROT_EXEC, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, PROT_EXEC | PROT_WRITE, -1, 0));
	/* The range */
	EXPECT_ERROR(EINVAL, map(self->fd, 0, 0, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 1, PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE + 1, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, SIZE, PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, SIZE - PAGE, 2 * PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, -PAGE, 2 * PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, PAGE, -PAGE, 0, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, PAGE, rw, -1, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 1, rw, memfd, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, 2 * PAGE, -PAGE, rw, memfd, 0));
	/* The file */
	EXPECT_ERROR(EBADF, map(self->fd, 0, PAGE, 0, rw, -2, 0));
	EXPECT_ERROR(EBADF, map(self->fd, 0, PAGE, 0, rw, 1000, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, null, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, zero, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, self->fd, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, self->bare, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, pipes[0], 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, PROT_READ, dir, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, PROT_READ, proc, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, PROT_READ, sysfs, 0));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, rw, anon, 0));
	EXPECT_ERROR(ENODEV, map(self->fd, 0, PAGE, 0, PROT_READ, mounts, 0));
	EXPECT_ERROR(EOVERFLOW, map(self->fd, 0, PAGE, 1UL << 63, rw, memfd, 0));
	EXPECT_ERROR(EACCES, map(self->fd, 0, PAGE, 0, PROT_WRITE, write_only, 0));
	EXPECT_ERROR(EACCES, map(self->fd, 0, PAGE, 0, rw, self_exe, 0));
	EXPECT_EQ(0, map(self->fd, 0, PAGE, 0, PROT_READ, self_exe, 0));
	EXPECT_ERROR(EACCES, mshare_protect(self->fd, 0, PAGE, rw, 0));
	/* What will be in the file stays writable in the region, or is not mapped. */
	EXPECT_EQ(0, map(self->fd, 0, 16 * PAGE, 0, rw, memfd, 0));
	EXPECT_ERROR(EBUSY, fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, 16 * PAGE, 0));
	EXPECT_EQ(0, fcntl(memfd, F_ADD_SEALS, F_SEAL_WRITE));
	EXPECT_ERROR(EPERM, map(self->fd, 0, PAGE, 0, rw, memfd, 0));
	EXPECT_EQ(0, map(self->fd, 0, PAGE, 0, PROT_READ, memfd, 0));
	EXPECT_ERROR(EACCES, mshare_protect(self->fd, 0, PAGE, rw, 0));
	/* What is there already */
	EXPECT_ERROR(EEXIST, map(self->fd, 0, PAGE, 0, rw, -1, MSHARE_MAP_NOREPLACE));
	EXPECT_EQ(0, map(self->fd, PAGE, PAGE, 0, rw, -1, MSHARE_MAP_NOREPLACE));
	EXPECT_EQ(0, map(self->fd, 0, 2 * PAGE, 0, rw, -1, 0));
	EXPECT_EQ(0, map(self->fd, SIZE - PAGE, PAGE, 0, rw, -1, 0));
	/* Structs of older and newer programs */
	EXPECT_ERROR(EINVAL, mshare_map(self->fd, &big.args, sizeof(big.args) - 1, 0));
	EXPECT_ERROR(EINVAL, mshare_map(self->fd, &big.args, 0, 0));
	EXPECT_ERROR(E2BIG, mshare_map(self->fd, &big.args, 1 << 20, 0));
	EXPECT_ERROR(EFAULT, mshare_map(self->fd, (void *)8, sizeof(big.args), 0));
	EXPECT_EQ(0, mshare_map(self->fd, &big.args, sizeof(big), 0));
	big.more = 1;
	EXPECT_ERROR(E2BIG, mshare_map(self->fd, &big.args, sizeof(big), 0));
	close(null);
	close(zero);
	close(dir);
	close(self_exe);
	close(proc);
	close(sysfs);
	close(mounts);
	close(anon);
	close(write_only);
	munmap(shared, PAGE);
	close(memfd);
	close(pipes[0]);
	close(pipes[1]);
}

/* More memory than there is */
TEST_F(abi, too_large)
{
	int fd = ms_region(513 * GRANULE, 0);

	ASSERT_LE(0, fd);
	EXPECT_ERROR(ENOMEM, ms_map_anon(fd, 0, 513 * GRANULE, RW));
	EXPECT_EQ(0, ms_map_anon(fd, 0, GRANULE, RW));
	close(fd);
}

/* What a file cannot do where it is, or where its file system is mounted */
TEST_F(abi, file_systems)
{
	const int rx = PROT_READ | PROT_EXEC;
	int file, flags = FS_APPEND_FL;

	mkdir(FOLDER, 0700);
	ASSERT_EQ(0, mount("ms", FOLDER, "tmpfs", MS_NOEXEC, NULL));
	file = open(FOLDER "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	ASSERT_LE(0, file);
	EXPECT_EQ(0, ftruncate(file, PAGE));
	EXPECT_ERROR(EPERM, map(self->fd, 0, PAGE, 0, rx, file, 0));
	EXPECT_EQ(0, map(self->fd, 0, PAGE, 0, PROT_READ, file, 0));
	EXPECT_ERROR(EACCES, mshare_protect(self->fd, 0, PAGE, rx, 0));
	/* A file that can only become longer */
	EXPECT_EQ(0, ioctl(file, FS_IOC_SETFLAGS, &flags));
	EXPECT_ERROR(EACCES, map(self->fd, PAGE, PAGE, 0, RW, file, 0));
	EXPECT_ERROR(EACCES, map(self->fd, PAGE, PAGE, 0, PROT_READ, file, 0));
	close(file);
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, PAGE, 0));
	EXPECT_EQ(0, umount2(FOLDER, MNT_DETACH));
	/* A file system without holes in files */
	ASSERT_EQ(0, mount("ms", FOLDER, "ramfs", 0, NULL));
	file = open(FOLDER "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	ASSERT_LE(0, file);
	EXPECT_EQ(0, ftruncate(file, PAGE));
	EXPECT_EQ(0, map(self->fd, 0, PAGE, 0, RW, file, 0));
	EXPECT_ERROR(EOPNOTSUPP, mshare_advise(self->fd, 0, PAGE, MADV_REMOVE, 0));
	close(file);
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, PAGE, 0));
	EXPECT_EQ(0, umount2(FOLDER, MNT_DETACH));
	rmdir(FOLDER);
}

TEST_F(abi, secret)
{
	int fd = syscall(SYS_memfd_secret, 0);

	if (fd < 0)
		SKIP(return, "no memfd_secret()");
	ASSERT_EQ(0, ftruncate(fd, PAGE));
	EXPECT_ERROR(EINVAL, map(self->fd, 0, PAGE, 0, PROT_READ, fd, 0));
	close(fd);
}

/* unmap, protect, advise: the same range, the same rights */
TEST_F(abi, ranges)
{
	const uint64_t bad[][2] = {
		{ 0, 0 }, { 1, PAGE }, { 0, PAGE + 1 }, { SIZE, PAGE }, { -PAGE, 2 * PAGE },
		{ SIZE - PAGE, 2 * PAGE }, { PAGE, -PAGE }, { 2 * GRANULE, PAGE },
	};
	const int read_only = PROT_READ;
	int bit, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t i;

	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 8 * PAGE, PROT_READ | PROT_WRITE));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		uint64_t offset = bad[i][0], size = bad[i][1];

		EXPECT_ERROR(EINVAL, mshare_unmap(self->fd, offset, size, 0));
		EXPECT_ERROR(EINVAL, mshare_protect(self->fd, offset, size, read_only, 0));
		EXPECT_ERROR(EINVAL, mshare_advise(self->fd, offset, size, MADV_COLD, 0));
	}
	for (bit = 0; bit < 32; bit++) {
		EXPECT_ERROR(EINVAL, mshare_unmap(self->fd, 0, PAGE, 1U << bit));
		EXPECT_ERROR(EINVAL, mshare_protect(self->fd, 0, PAGE, read_only, 1U << bit));
		EXPECT_ERROR(EINVAL, mshare_advise(self->fd, 0, PAGE, MADV_COLD, 1U << bit));
		if (1U << bit > PROT_EXEC)
			EXPECT_ERROR(EINVAL, mshare_protect(self->fd, 0, PAGE,
							    PROT_READ | 1U << bit, 0));
	}
	EXPECT_ERROR(EINVAL, mshare_protect(self->fd, 0, PAGE, PROT_EXEC, 0));
	EXPECT_ERROR(EINVAL, mshare_unmap(self->bare, 0, PAGE, 0));
	EXPECT_ERROR(EINVAL, mshare_protect(self->bare, 0, PAGE, read_only, 0));
	EXPECT_ERROR(EINVAL, mshare_advise(self->bare, 0, PAGE, MADV_COLD, 0));
	EXPECT_ERROR(EBADF, mshare_unmap(-1, 0, PAGE, 0));
	EXPECT_ERROR(EBADF, mshare_protect(-1, 0, PAGE, read_only, 0));
	EXPECT_ERROR(EBADF, mshare_advise(-1, 0, PAGE, MADV_COLD, 0));
	EXPECT_ERROR(EINVAL, mshare_unmap(null, 0, PAGE, 0));
	EXPECT_ERROR(EINVAL, mshare_protect(null, 0, PAGE, read_only, 0));
	EXPECT_ERROR(EINVAL, mshare_advise(null, 0, PAGE, MADV_COLD, 0));
	/* A hole */
	EXPECT_ERROR(ENOMEM, mshare_protect(self->fd, 4 * PAGE, 8 * PAGE, read_only, 0));
	EXPECT_ERROR(ENOMEM, mshare_protect(self->fd, 8 * PAGE, PAGE, read_only, 0));
	EXPECT_ERROR(ENOMEM, mshare_advise(self->fd, 8 * PAGE, PAGE, MADV_COLD, 0));
	EXPECT_EQ(0, mshare_unmap(self->fd, 8 * PAGE, PAGE, 0));
	EXPECT_EQ(0, mshare_unmap(self->fd, PAGE, PAGE, 0));
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, SIZE, 0));
	close(null);
}

/* Each advice that there is, or will be: permitted, or refused */
TEST_F(abi, advice)
{
	static const int permitted[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
		MADV_REMOVE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_COLLAPSE,
	};
	char thp[100];
	int advice;
	size_t i;

	/* For MADV_COLLAPSE: the file says which one it is in brackets */
	ASSERT_EQ(0, pn_read_line(SHMEM_THP, thp, sizeof(thp)));
	ASSERT_EQ(0, pn_write_file(SHMEM_THP, "advise"));
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 4 * MIB, PROT_READ | PROT_WRITE));
	for (advice = -1; advice < 200; advice++) {
		bool may = false;

		for (i = 0; i < ARRAY_SIZE(permitted); i++)
			may |= advice == permitted[i];
		/* What was said before is in its way. */
		if (advice == MADV_COLLAPSE) {
			EXPECT_ERROR(EINVAL, mshare_advise(self->fd, 0, 4 * MIB,
							   advice, 0));
			mshare_advise(self->fd, 0, 4 * MIB, MADV_HUGEPAGE, 0);
		}
		if (may) {
			EXPECT_EQ(0, mshare_advise(self->fd, 0, 4 * MIB, advice, 0))
				TH_LOG("advice %d: %s", advice, strerror(errno));
		} else {
			EXPECT_ERROR(EINVAL, mshare_advise(self->fd, 0, 4 * MIB, advice, 0));
		}
	}
	EXPECT_EQ(0, ms_restore_choice(SHMEM_THP, thp));
}

/* Advice that is permitted, and not for this memory */
TEST_F(abi, advice_refused)
{
	int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int memfd = memfd_create("ms", MFD_CLOEXEC);
	const size_t end = 2 * PAGE;

	ASSERT_EQ(0, ftruncate(memfd, PAGE));
	ASSERT_EQ(0, map(self->fd, 0, PAGE, 0, PROT_READ, exe, 0));
	EXPECT_ERROR(EACCES, mshare_advise(self->fd, 0, PAGE, MADV_REMOVE, 0));
	EXPECT_ERROR(EINVAL, mshare_advise(self->fd, 0, PAGE, MADV_POPULATE_WRITE, 0));
	EXPECT_EQ(0, mshare_advise(self->fd, 0, PAGE, MADV_POPULATE_READ, 0));
	ASSERT_EQ(0, mshare_protect(self->fd, 0, PAGE, PROT_NONE, 0));
	EXPECT_ERROR(EINVAL, mshare_advise(self->fd, 0, PAGE, MADV_POPULATE_READ, 0));
	/* Where the file has nothing */
	ASSERT_EQ(0, map(self->fd, 0, end, 0, RW, memfd, 0));
	EXPECT_ERROR(EFAULT, mshare_advise(self->fd, 0, end, MADV_POPULATE_READ, 0));
	EXPECT_ERROR(EFAULT, mshare_advise(self->fd, 0, end, MADV_POPULATE_WRITE, 0));
	EXPECT_EQ(0, mshare_advise(self->fd, 0, PAGE, MADV_POPULATE_WRITE, 0));
	EXPECT_ERROR(ENOMEM, mshare_advise(self->fd, end, PAGE, MADV_POPULATE_READ, 0));
	close(exe);
	close(memfd);
}

static long bind_to(int fd, uint64_t offset, uint64_t size, unsigned long *mask,
		    unsigned int mode, unsigned int bind_flags, unsigned int flags)
{
	struct mshare_mbind_args args = {
		.offset = offset, .size = size, .nodemask = (unsigned long)mask,
		.maxnode = mask ? PN_MAXNODE + 1 : 0, .mode = mode, .flags = bind_flags,
	};

	return mshare_mbind(fd, &args, sizeof(args), flags);
}

TEST_F(abi, mbind)
{
	unsigned long mask = NODE_BIT(pn_cpu_node()), none = 0, absent = 1UL << 63;
	struct mshare_mbind_args args = { .size = PAGE, .mode = MPOL_DEFAULT };
	struct {
		struct mshare_mbind_args args;
		uint64_t more;
	} big = { .args = args };
	int bit, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 4 * MIB, PROT_READ | PROT_WRITE));
	EXPECT_EQ(0, bind_to(self->fd, 0, 4 * MIB, &mask, MPOL_BIND, 0, 0));
	EXPECT_EQ(0, bind_to(self->fd, 0, 4 * MIB, NULL, MPOL_DEFAULT, 0, 0));
	for (bit = 0; bit < 32; bit++)
		EXPECT_ERROR(EINVAL, bind_to(self->fd, 0, PAGE, &mask, MPOL_BIND, 0, 1U << bit));
	for (bit = 3; bit < 32; bit++)
		EXPECT_ERROR(EINVAL, bind_to(self->fd, 0, PAGE, &mask, MPOL_BIND, 1U << bit, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->fd, 0, PAGE, &none, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->fd, 0, PAGE, &absent, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->fd, 0, PAGE, &mask, 99, 0, 0));
	EXPECT_ERROR(EFAULT, bind_to(self->fd, 0, PAGE, (void *)8, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EFAULT, bind_to(self->fd, 8 * MIB, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->fd, 0, 0, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->fd, 1, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->fd, SIZE, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EBADF, bind_to(-1, 0, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(null, 0, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, bind_to(self->bare, 0, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EINVAL, mshare_mbind(self->fd, &args, sizeof(args) - 1, 0));
	EXPECT_ERROR(E2BIG, mshare_mbind(self->fd, &args, 1 << 20, 0));
	EXPECT_ERROR(EFAULT, mshare_mbind(self->fd, (void *)8, sizeof(args), 0));
	EXPECT_EQ(0, mshare_mbind(self->fd, &big.args, sizeof(big), 0));
	big.more = 1;
	EXPECT_ERROR(E2BIG, mshare_mbind(self->fd, &big.args, sizeof(big), 0));
	close(null);
}

static int binds(struct pn_child *child, void *arg)
{
	unsigned long mask = NODE_BIT(pn_cpu_node());
	int fd = *(int *)arg;

	if (pn_drop_cap(23 /* CAP_SYS_NICE */))
		return 1;
	if (bind_to(fd, 0, PAGE, &mask, MPOL_BIND, MPOL_MF_MOVE, 0))
		return 2;
	if (!bind_to(fd, 0, PAGE, &mask, MPOL_BIND, MPOL_MF_MOVE_ALL, 0) ||
	    errno != EPERM)
		return 3;
	return 0;
}

static int binds_private(struct pn_child *child, void *arg)
{
	unsigned long mask = NODE_BIT(pn_private_node());

	if (pn_drop_cap(23 /* CAP_SYS_NICE */))
		return 1;
	return !bind_to(*(int *)arg, 0, PAGE, &mask, MPOL_BIND | MPOL_F_PRIVATE, 0, 0) ||
	       errno != EPERM ? 2 : 0;
}

/* What needs a right, besides that to change the region */
TEST_F(abi, mbind_rights)
{
	int shared = ms_region(GRANULE, MSHARE_SHARED_CONTROL);

	ASSERT_LE(0, shared);
	ASSERT_EQ(0, ms_map_anon(shared, 0, PAGE, RW));
	EXPECT_EQ(0, pn_run(binds, &shared, 20));
	if (pn_private_node() < 0 || pn_forced())
		pn_note("no private node: not looked at");
	else
		EXPECT_EQ(0, pn_run(binds_private, &shared, 20));
	close(shared);
}

/* As many mappings as there may be: in the region, and in the process */
TEST_F(abi, mappings)
{
	unsigned long mask = NODE_BIT(pn_cpu_node());
	const size_t nr = 600;
	char *own = mmap(NULL, nr * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char before[20];
	size_t i;
	long ret;

	ASSERT_NE(MAP_FAILED, own);
	for (i = 0; i < nr; i += 2)
		ASSERT_EQ(0, mprotect(own + i * PAGE, PAGE, PROT_READ));
	/* One that can become three, and others */
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, 3 * PAGE, RW));
	ASSERT_EQ(0, pn_read_line(MAX_MAPPINGS, before, sizeof(before)));
	ASSERT_EQ(0, pn_write_file(MAX_MAPPINGS, "200"));
	for (i = 1, ret = 0; i < nr && !ret; i++)
		ret = ms_map_anon(self->fd, 2 * i * MIB, PAGE, RW);
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_GT(210, i);
	EXPECT_LT(190, i);
	EXPECT_ERROR(ENOMEM, ms_map_anon(self->fd, PAGE, PAGE, RW));
	EXPECT_ERROR(ENOMEM, mshare_unmap(self->fd, PAGE, PAGE, 0));
	EXPECT_ERROR(ENOMEM, mshare_protect(self->fd, PAGE, PAGE, PROT_READ, 0));
	EXPECT_ERROR(ENOMEM, bind_to(self->fd, PAGE, PAGE, &mask, MPOL_BIND, 0, 0));
	EXPECT_ERROR(EAGAIN, mshare_advise(self->fd, PAGE, PAGE, MADV_RANDOM, 0));
	EXPECT_ERROR(ENOMEM, mshare_attach(self->fd, 0, 0, NULL, 0));
	EXPECT_EQ(0, mshare_protect(self->fd, 0, 3 * PAGE, PROT_READ, 0));
	EXPECT_EQ(0, pn_write_file(MAX_MAPPINGS, before));
	EXPECT_EQ(0, mshare_unmap(self->fd, PAGE, PAGE, 0));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	munmap(own, nr * PAGE);
}

/* So that each allocation can fail, without a word; and as it was */
static const struct {
	const char *path, *value, *before;
} fail_knobs[] = {
	{ FAIL_SLAB "verbose", "0", "0" },
	{ FAIL_SLAB "ignore-gfp-wait", "N", "Y" },
	{ FAIL_PAGES "verbose", "0", "0" },
	{ FAIL_PAGES "ignore-gfp-wait", "N", "Y" },
	{ FAIL_PAGES "min-order", "0", "1" },
};

enum { CREATE, ATTACH, MAP, UNMAP, PROTECT, MBIND, ADVISE, SIZE_OF, CALLS };

/* One of the calls that need memory, with all that is right */
static long needs_memory(int call, int fd, int bare, unsigned long *mask)
{
	switch (call) {
	case CREATE:
		return mshare_create(0);
	case ATTACH:
		return (long)mshare_attach(fd, 0, 0, NULL, 0);
	case MAP:
		return ms_map_anon(fd, 0, 3 * PAGE, RW);
	case UNMAP:
		return mshare_unmap(fd, PAGE, PAGE, 0);
	case PROTECT:
		return mshare_protect(fd, PAGE, PAGE, PROT_READ, 0);
	case MBIND:
		return bind_to(fd, PAGE, PAGE, mask, MPOL_BIND, 0, 0);
	case ADVISE:
		return mshare_advise(fd, PAGE, PAGE, MADV_RANDOM, 0);
	}
	return ftruncate(bare, 4 * GRANULE);
}

/* A descriptor for fail-nth with all set up for it, or -1 if there is none */
static int begin_failing(void)
{
	size_t i;

	if (access(FAIL_NTH, W_OK) || access(FAIL_SLAB, X_OK) || access(FAIL_PAGES, X_OK))
		return -1;
	for (i = 0; i < ARRAY_SIZE(fail_knobs); i++)
		if (pn_write_file(fail_knobs[i].path, fail_knobs[i].value))
			return -1;
	return open(FAIL_NTH, O_RDWR | O_CLOEXEC);
}

static int end_failing(int nth)
{
	int ret = close(nth);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fail_knobs); i++)
		ret |= pn_write_file(fail_knobs[i].path, fail_knobs[i].before);
	return ret;
}

/* The n-th allocation from now on fails. 0 or -1 */
static int fail(int nth, int n)
{
	char text[12];

	return pwrite(nth, text, snprintf(text, sizeof(text), "%d", n), 0) > 0 ? 0 : -1;
}

/* No more; returns how many were left until then, or -1 */
static int fail_no_more(int nth)
{
	char text[12] = "";

	if (pread(nth, text, sizeof(text) - 1, 0) <= 0 || pwrite(nth, "0", 1, 0) != 1)
		return -1;
	return atoi(text);
}

/* Each piece of memory that a call asks for is not there, one at a time. */
TEST_F_TIMEOUT(abi, no_memory, 100)
{
	unsigned long mask = NODE_BIT(pn_cpu_node());
	int nth = begin_failing(), call, n, failed, left, inodes;
	long ret;

	if (nth < 0)
		SKIP(return, "no fault injection");
	for (call = 0; call < CALLS; call++) {
		for (n = 1, failed = left = inodes = 0; n < 500 && !left; n++) {
			EXPECT_EQ(0, ms_map_anon(self->fd, 0, 3 * PAGE, RW));
			ASSERT_EQ(0, fail(nth, n));
			errno = 0;
			ret = needs_memory(call, self->fd, self->bare, &mask);
			if (ret == -1) {
				/* The latter as mmap(): for an inode of shared memory */
				EXPECT_TRUE(errno == (call == ADVISE ? EAGAIN : ENOMEM) ||
					    (call == MAP && errno == ENOSPC))
					TH_LOG("call %d, allocation %d: %m", call, n);
				inodes += errno == ENOSPC;
				failed++;
			}
			/* More than 0: the call has not asked so many times. */
			left = fail_no_more(nth);
			EXPECT_LE(0, left);
			/* Once is all; what failed was something that it can do without. */
			if (call == SIZE_OF && !ret && !left)
				left = 1;
			if (call == CREATE && ret >= 0)
				close(ret);
			if (call == ATTACH && ret != -1)
				EXPECT_EQ(0, munmap((void *)ret, 2 * GRANULE));
		}
		pn_note("call %d: %d of %d allocations fail it", call, failed, n - 2);
		EXPECT_LT(0, failed);
		EXPECT_EQ(call == MAP, inodes > 0);
		EXPECT_LT(0, left);
	}
	EXPECT_EQ(0, end_failing(nth));
	EXPECT_EQ((long)(4 * GRANULE), ms_fdinfo(self->bare, "size"));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "members"));
}

enum { TOUCH, COPY, PIN, USES };

/* One of the ways to use memory that is not there yet: 0, or the signal or error */
static int uses_new_memory(int how, char *w, int zero)
{
	char bytes[8] = { 1 };
	struct iovec mine = { bytes, 8 }, there = { w, 8 };

	switch (how) {
	case TOUCH:
		return ms_signal(w, 'w');
	case COPY:
		return read(zero, w, 8) == 8 ? 0 : errno;
	}
	return process_vm_writev(getpid(), &mine, 1, &there, 1, 0) == 8 ? 0 : errno;
}

/*
 * Nor is a piece of memory that a fault asks for: a page, or a page table. Who has
 * touched it does so again, and does not see it; a system call fails. Then it is as
 * if nothing had been.
 */
TEST_F_TIMEOUT(abi, fault_no_memory, 100)
{
	int nth = begin_failing(), zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int how, n, failed, left, error;
	char *w = ms_attach(self->fd, 0);

	if (nth < 0)
		SKIP(return, "no fault injection");
	ASSERT_NE(NULL, w);
	for (how = 0; how < USES; how++) {
		for (n = 1, failed = left = 0; n < 100 && !left; n++) {
			EXPECT_EQ(0, ms_map_anon(self->fd, 0, 3 * PAGE, RW));
			ASSERT_EQ(0, fail(nth, n));
			error = uses_new_memory(how, w + PAGE, zero);
			left = fail_no_more(nth);
			EXPECT_LE(0, left);
			if (error) {
				EXPECT_NE(TOUCH, how) TH_LOG("allocation %d: %x", n, error);
				EXPECT_EQ(EFAULT, error);
				failed++;
			}
			EXPECT_EQ(0, uses_new_memory(how, w + PAGE, zero));
			EXPECT_EQ(how == PIN ? 1 : 0, w[PAGE]);
			/* With its page table */
			EXPECT_EQ(0, mshare_unmap(self->fd, 0, 3 * PAGE, 0));
		}
		pn_note("way %d: %d of %d allocations fail it", how, failed, n - 2);
		/* At least a page and a table */
		EXPECT_LE(2, n - 2);
		if (how != TOUCH)
			EXPECT_LT(0, failed);
		EXPECT_LT(0, left);
	}
	EXPECT_EQ(0, end_failing(nth));
	munmap(w, 2 * GRANULE);
	close(zero);
}

/* All calls of one who holds the descriptor, and is not the owner: as bits */
static int another(struct pn_child *child, void *arg)
{
	unsigned long mask = NODE_BIT(pn_cpu_node());
	int fd = *(int *)arg, refused = 0;
	char *window;

#define TRY(bit, call) do {							\
	errno = 0;								\
	if ((call) == -1 && errno == EPERM)					\
		refused |= 1 << (bit);						\
	else if (errno)								\
		return 255;							\
} while (0)
	TRY(0, ms_map_anon(fd, MIB, PAGE, PROT_READ));
	TRY(1, mshare_unmap(fd, MIB, PAGE, 0));
	TRY(2, mshare_protect(fd, 0, PAGE, PROT_READ, 0));
	TRY(3, mshare_advise(fd, 0, PAGE, MADV_COLD, 0));
	TRY(4, bind_to(fd, 0, PAGE, &mask, MPOL_BIND, 0, 0));
	TRY(5, mshare_set_owner(fd, PIDFD_SELF_PROCESS, 0));
#undef TRY
	window = ms_attach(fd, 0);
	return window && !ms_try(window, 'r', NULL) ? refused : 254;
}

TEST_F(abi, rights)
{
	int shared = ms_region(GRANULE, MSHARE_SHARED_CONTROL);
	const int rw = PROT_READ | PROT_WRITE;

	ASSERT_LE(0, shared);
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, PAGE, rw));
	ASSERT_EQ(0, ms_map_anon(shared, 0, PAGE, rw));
	EXPECT_EQ(0x3f << 8, pn_run(another, &self->fd, 20));
	EXPECT_EQ(0x20 << 8, pn_run(another, &shared, 20));
	close(shared);
}

/* Where nothing may be executed, nothing of a region is. */
TEST_F(abi, noexec)
{
	int file;

	mkdir(FOLDER, 0700);
	ASSERT_EQ(0, mount("ms", FOLDER, "tmpfs", MS_NOEXEC, NULL));
	file = open(FOLDER "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0700);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, PAGE));
	EXPECT_ERROR(EPERM, ms_map_file(self->fd, 0, PAGE, PROT_READ | PROT_EXEC, file, 0));
	EXPECT_EQ(0, ms_map_file(self->fd, 0, PAGE, RW, file, 0));
	EXPECT_ERROR(EACCES, mshare_protect(self->fd, 0, PAGE, PROT_READ | PROT_EXEC, 0));
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, PAGE, 0));
	close(file);
	EXPECT_EQ(0, umount2(FOLDER, MNT_DETACH));
	rmdir(FOLDER);
}

/* Anonymous memory of a region is promised as all is, and given back. */
TEST_F(abi, overcommit)
{
	const long kib = 256 * 1024;
	long was = pn_read_long(OVERCOMMIT), ratio = pn_read_long(OVERCOMMIT_RATIO);
	char text[20];
	long before = pn_meminfo(-1, "Committed_AS");

	/* Others make promises, too: some room */
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, kib * 1024, RW));
	EXPECT_LE(before + kib * 7 / 8, pn_meminfo(-1, "Committed_AS"));
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, kib * 1024, 0));
	EXPECT_GE(before + kib / 8, pn_meminfo(-1, "Committed_AS"));

	EXPECT_EQ(0, pn_write_file(OVERCOMMIT_KIB, "65536"));
	EXPECT_EQ(0, pn_write_file(OVERCOMMIT, "2"));
	EXPECT_ERROR(ENOMEM, ms_map_anon(self->fd, 0, GRANULE, RW));
	EXPECT_ERROR(ENOMEM, mshare_protect(self->fd, 0, PAGE, PROT_READ, 0));
	snprintf(text, sizeof(text), "%ld", was);
	EXPECT_EQ(0, pn_write_file(OVERCOMMIT, text));
	/* This takes the place of the other one, too. */
	snprintf(text, sizeof(text), "%ld", ratio);
	EXPECT_EQ(0, pn_write_file(OVERCOMMIT_RATIO, text));
	EXPECT_EQ(0, ms_map_anon(self->fd, 0, GRANULE, RW));
	EXPECT_GE(before + kib / 8 + (long)(GRANULE / 1024), pn_meminfo(-1, "Committed_AS"));
}

/* Nor does the file of a window that is shown give anything. */
TEST_F(abi, map_files)
{
	char *w = ms_attach(self->fd, 0), name[80];
	int path;

	ASSERT_NE(NULL, w);
	snprintf(name, sizeof(name), "/proc/self/map_files/%lx-%lx", (unsigned long)w,
		 (unsigned long)w + 2 * GRANULE);
	EXPECT_ERROR(ENXIO, open(name, O_RDWR | O_CLOEXEC));
	EXPECT_ERROR(ENXIO, open(name, O_RDONLY | O_CLOEXEC));
	path = open(name, O_PATH | O_CLOEXEC);
	ASSERT_LE(0, path);
	EXPECT_ERROR(EBADF, mshare_attach(path, 0, 0, NULL, 0));
	EXPECT_ERROR(EBADF, mshare_unmap(path, 0, PAGE, 0));
	close(path);
	munmap(w, 2 * GRANULE);
}

/* Neighbours that fit together are one mapping. */
TEST_F(abi, merged)
{
	const size_t nr = 400;
	int file = memfd_create("ms_merged", MFD_CLOEXEC);
	char before[20];
	size_t i;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, nr * PAGE));
	ASSERT_EQ(0, pn_read_line(MAX_MAPPINGS, before, sizeof(before)));
	ASSERT_EQ(0, pn_write_file(MAX_MAPPINGS, "200"));
	for (i = 0; i < nr; i++)
		EXPECT_EQ(0, ms_map_file(self->fd, i * PAGE, PAGE, RW, file, i * PAGE));
	EXPECT_EQ(0, mshare_protect(self->fd, 0, nr * PAGE, PROT_READ, 0));
	EXPECT_EQ(0, pn_write_file(MAX_MAPPINGS, before));
	EXPECT_EQ(0, mshare_unmap(self->fd, 0, nr * PAGE, 0));
	close(file);
}

TEST_HARNESS_MAIN
