// SPDX-License-Identifier: GPL-2.0
/*
 * samples/mshare/mshare_preload.c: large shared anonymous mappings are windows, all
 * others and all that is refused are what they are without it.
 *
 * The program runs itself once more with the library loaded.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/limits.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define LARGE		(64 * MIB)
#define RW		(PROT_READ | PROT_WRITE)
#define SHARED		(MAP_SHARED | MAP_ANONYMOUS)
#define SEED		4711
#define ROLE		"MS_PRELOAD_ROLE"
#define REGIONS		64

/* The size of the window at p, 0 if something else is there */
static size_t window_at(void *p)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long start, end;
	size_t size = 0;
	char line[PATH_MAX];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx", &start, &end) == 2 && (void *)start == p &&
		    strstr(line, " mshare:["))
			size = end - start;
	}
	if (maps)
		fclose(maps);
	return size;
}

/* How many control descriptors there are, and one of them */
static int controls(int *fd)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	char name[32];
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, name, sizeof(name));

		if (len < 8 || strncmp(name, "mshare:[", 8))
			continue;
		if (fd)
			*fd = atoi(entry->d_name);
		n++;
	}
	if (!dir)
		return -1;
	closedir(dir);
	return n;
}

static char *map(size_t size)
{
	return mmap(NULL, size, RW, SHARED, -1, 0);
}

/* What the program is when a test runs it: the exit status says what it got. */
static void role(const char *name)
{
	size_t size = !strcmp(name, "small") ? MIB : LARGE;

	_exit(!!window_at(map(size)));
}

__attribute__((constructor)) static void with_library(int argc, char **argv)
{
	static const char library[] = "/mshare_preload.so";
	char path[PATH_MAX], *name;
	ssize_t len;

	if (getenv(ROLE))
		role(getenv(ROLE));
	if (getenv("LD_PRELOAD"))
		return;
	len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(library));
	if (len < 0)
		abort();
	path[len] = 0;
	name = strrchr(path, '/');
	memcpy(name, library, sizeof(library));
	setenv("LD_PRELOAD", path, 1);
	setenv("MSHARE_PRELOAD_VERBOSE", "1", 1);
	execv("/proc/self/exe", argv);
	abort();
}

FIXTURE(preload)
{
};

FIXTURE_SETUP(preload)
{
	const char *missing = ms_missing();

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, controls(NULL));
}

FIXTURE_TEARDOWN(preload)
{
}

TEST_F_TIMEOUT(preload, large, 200)
{
	void *(*const calls[])(void *, size_t, int, int, int, off_t) = { mmap, mmap64 };
	const size_t sizes[] = { LARGE, LARGE + 1, GRANULE + PAGE };
	size_t i;
	int j;

	for (i = 0; i < 3; i++) {
		for (j = 0; j < 2; j++) {
			const size_t used = (sizes[i] + PAGE - 1) & ~(PAGE - 1);
			char *p;

			errno = 0;
			p = calls[j](NULL, sizes[i], RW, SHARED, -1, 0);
			ASSERT_NE(MAP_FAILED, p);
			EXPECT_EQ(0, errno);
			EXPECT_EQ((used + GRANULE - 1) & ~(GRANULE - 1), window_at(p));
			EXPECT_EQ(0, p[0]);
			EXPECT_EQ(0, p[used - 1]);
			p[0] = 1;
			p[used - 1] = 1;
			EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(p + used, 'r'));
			EXPECT_EQ(1, controls(NULL));
			errno = 0;
			EXPECT_EQ(0, munmap(p, sizes[i]));
			EXPECT_EQ(0, errno);
			EXPECT_EQ(0, window_at(p));
			EXPECT_EQ(0, controls(NULL));
		}
	}
}

/* What is not just that is not touched. */
TEST_F(preload, others)
{
	const struct {
		size_t size;
		int prot, flags;
	} other[] = {
		{ LARGE - PAGE, RW, SHARED },
		{ LARGE, RW, MAP_PRIVATE | MAP_ANONYMOUS },
		{ LARGE, RW, SHARED | MAP_NORESERVE },
		{ LARGE, RW, SHARED | MAP_POPULATE },
		{ LARGE, PROT_NONE, SHARED },
		{ LARGE, PROT_READ, SHARED },
		{ LARGE, RW | PROT_EXEC, SHARED },
		{ LARGE, RW, MAP_SHARED },
	};
	int file = memfd_create("preload", 0);
	char *p, *place;
	size_t i;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, LARGE));
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		p = mmap(NULL, other[i].size, other[i].prot, other[i].flags,
			 other[i].flags & MAP_ANONYMOUS ? -1 : file, 0);
		ASSERT_NE(MAP_FAILED, p) TH_LOG("case %zu", i);
		EXPECT_EQ(0, window_at(p)) TH_LOG("case %zu", i);
		EXPECT_EQ(0, munmap(p, PAGE));
		EXPECT_EQ(0, munmap(p + PAGE, other[i].size - PAGE));
	}
	place = mmap(NULL, LARGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, place);
	EXPECT_EQ(place, mmap(place, LARGE, RW, SHARED | MAP_FIXED, -1, 0));
	EXPECT_EQ(0, window_at(place));
	EXPECT_EQ(0, controls(NULL));
	EXPECT_ERROR(EINVAL, mmap(NULL, 0, RW, SHARED, -1, 0));
	EXPECT_ERROR(ENOMEM, mmap(NULL, SIZE_MAX, RW, SHARED, -1, 0));
	EXPECT_ERROR(EINVAL, munmap(place + 1, PAGE));
	EXPECT_ERROR(EINVAL, munmap(NULL, 0));
}

/* It is shared by those who fork; who ends it for himself does not end it. */
TEST_F_TIMEOUT(preload, fork, 200)
{
	char *p = map(LARGE);
	int status, fd = -1;
	pid_t pid;

	ASSERT_NE(0, window_at(p));
	ASSERT_EQ(1, controls(&fd));
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_LT(512, fd);
	ms_write_words(p, LARGE / 2, SEED);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		long faults = ms_minor_faults();

		if (ms_wrong_words(p, LARGE / 2, SEED))
			_exit(1);
		/* each page would be one, or each 16 of them */
		if (ms_minor_faults() - faults > LARGE / 2 / (long)PAGE / 64)
			_exit(2);
		ms_write_words(p + LARGE / 2, LARGE / 2, SEED + 1);
		/* And so do its children. */
		pid = fork();
		if (!pid)
			_exit(ms_wrong_words(p + LARGE / 2, LARGE / 2, SEED + 1) ? 3 : 0);
		if (waitpid(pid, &status, 0) != pid || status)
			_exit(4);
		if (munmap(p, LARGE) || window_at(p) || controls(NULL))
			_exit(5);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("exit status %d", WEXITSTATUS(status));
	EXPECT_NE(0, window_at(p));
	EXPECT_EQ(0, ms_wrong_words(p + LARGE / 2, LARGE / 2, SEED + 1));
	EXPECT_EQ(1, ms_fdinfo(fd, "members"));
}

/* A part of it cannot be unmapped, and all of it and more can. */
TEST_F(preload, unmap)
{
	char *p = map(LARGE), *q;

	ASSERT_NE(0, window_at(p));
	*p = 1;
	EXPECT_ERROR(EINVAL, munmap(p, PAGE));
	EXPECT_ERROR(EINVAL, munmap(p, LARGE - PAGE));
	EXPECT_ERROR(EINVAL, munmap(p + PAGE, LARGE - PAGE));
	EXPECT_ERROR(EINVAL, mmap(p, PAGE, RW, SHARED | MAP_FIXED, -1, 0));
	EXPECT_EQ(1, *p);
	EXPECT_EQ(1, controls(NULL));
	EXPECT_EQ(0, munmap(p, GRANULE));
	EXPECT_EQ(0, controls(NULL));

	/* What is mapped over it ends it, and so it does not end what is there next. */
	p = map(LARGE);
	ASSERT_NE(0, window_at(p));
	q = mmap(p, GRANULE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	ASSERT_EQ(p, q);
	EXPECT_EQ(0, controls(NULL));
	EXPECT_EQ(0, munmap(q, LARGE));
	q[LARGE] = 1;
	EXPECT_EQ(0, munmap(q + LARGE, GRANULE - LARGE));

	/* Two at once; the kernel looks from the top down. */
	p = map(LARGE);
	q = map(LARGE);
	ASSERT_EQ(p - GRANULE, q);
	ASSERT_EQ(2, controls(NULL));
	EXPECT_EQ(0, munmap(q, 2 * GRANULE));
	EXPECT_EQ(0, controls(NULL));
}

/* What comes on standard error from here on */
static int stderr_to_file(void)
{
	int file = memfd_create("stderr", MFD_CLOEXEC);

	return file < 0 || dup2(file, STDERR_FILENO) < 0 ? -1 : file;
}

static int lines_in(int file)
{
	char text[4096];
	ssize_t len = pread(file, text, sizeof(text), 0);
	int n = 0;

	while (len-- > 0)
		n += text[len] == '\n';
	return n;
}

/* No descriptor to be had: ordinary memory, and one line that says so */
TEST_F(preload, no_descriptor)
{
	struct rlimit limit;
	int file, lines;
	char *p, *q;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &limit));
	file = stderr_to_file();
	ASSERT_LE(0, file);
	limit.rlim_cur = 3;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	errno = 0;
	p = map(LARGE);
	q = map(LARGE);
	EXPECT_EQ(0, errno);
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	lines = lines_in(file);
	EXPECT_EQ(1, lines);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_NE(MAP_FAILED, q);
	EXPECT_EQ(0, window_at(p));
	EXPECT_EQ(0, window_at(q));
	p[LARGE - 1] = 1;
	EXPECT_EQ(0, munmap(p, PAGE));
	/* And from then on again */
	EXPECT_NE(0, window_at(map(LARGE)));
}

/* Each system call fails in turn: what was there before is gone. */
TEST_F(preload, no_mshare)
{
	static const int calls[] = { __NR_mshare_attach, __NR_mshare_map,
				     __NR_ftruncate, __NR_mshare_create };
	size_t i;

	ASSERT_EQ(0, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	for (i = 0; i < 4; i++) {
		struct sock_filter filter[] = {
			BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
			BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
			BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		};
		struct sock_fprog program = { .len = 4, .filter = filter };
		char *p;

		if (!i)
			EXPECT_NE(0, window_at(map(LARGE)));
		ASSERT_EQ(0, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
		errno = 0;
		p = map(LARGE);
		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(0, errno);
		EXPECT_EQ(0, window_at(p));
		EXPECT_EQ(1, controls(NULL));
		EXPECT_EQ(0, munmap(p, LARGE));
	}
}

/* As many as a process can have, and one more */
TEST_F_TIMEOUT(preload, many, 200)
{
	char *p[REGIONS + 1];
	int i;

	for (i = 0; i <= REGIONS; i++) {
		p[i] = map(LARGE);
		ASSERT_NE(MAP_FAILED, p[i]);
		EXPECT_EQ(i < REGIONS, !!window_at(p[i]));
	}
	EXPECT_EQ(REGIONS, controls(NULL));
	for (i = 0; i <= REGIONS; i++)
		EXPECT_EQ(0, munmap(p[i], LARGE));
	EXPECT_EQ(0, controls(NULL));
	EXPECT_NE(0, window_at(map(LARGE)));
}

/* Exit status of this program in a role, with MSHARE_PRELOAD_MIN */
static int run(const char *name, const char *minimum)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		setenv(ROLE, name, 1);
		setenv("MSHARE_PRELOAD_MIN", minimum, 1);
		execl("/proc/self/exe", "preload", NULL);
		_exit(127);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
	       WEXITSTATUS(status) : -1;
}

TEST_F_TIMEOUT(preload, minimum, 200)
{
	EXPECT_EQ(1, run("small", "1M"));
	EXPECT_EQ(1, run("small", "1048576"));
	EXPECT_EQ(0, run("small", "1048577"));
	EXPECT_EQ(0, run("small", "1G"));
	EXPECT_EQ(0, run("large", "1G"));
	EXPECT_EQ(1, run("large", "65536K"));
	/* What is none leaves it as it was. */
	EXPECT_EQ(0, run("small", "1MB"));
	EXPECT_EQ(1, run("large", "-1"));
	EXPECT_EQ(1, run("large", ""));
}

static void *maps_and_unmaps(void *arg)
{
	long i, bad = 0;

	for (i = 0; i < 100; i++) {
		char *p = map(LARGE);

		if (p == MAP_FAILED)
			return (void *)-1L;
		*p = i;
		p[LARGE - 1] = i;
		/* Windows begin at a granule, and little else does. */
		bad += (unsigned long)p % GRANULE || *p != (char)i || munmap(p, LARGE);
	}
	return (void *)bad;
}

TEST_F_TIMEOUT(preload, threads, 200)
{
	/* Each copies a process of nine threads: seconds on a debug kernel */
	const int forks = pn_is_slow() ? 8 : 20;
	pthread_t thread[8];
	int i, status;
	void *bad;

	for (i = 0; i < 8; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, maps_and_unmaps, NULL));
	/* A thread may be at it when the process forks. */
	for (i = 0; i < forks; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(maps_and_unmaps(NULL) ? 1 : 0);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
	}
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, pthread_join(thread[i], &bad));
		EXPECT_EQ(NULL, bad);
	}
	EXPECT_EQ(0, controls(NULL));
}

TEST_HARNESS_MAIN
