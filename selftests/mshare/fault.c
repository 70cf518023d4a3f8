// SPDX-License-Identifier: GPL-2.0
/*
 * Accesses to a window: by the program, by the kernel for it, and by others. What
 * is not permitted is refused on each of these ways, with the right signal and
 * address.
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
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define SIZE		(GRANULE + 3 * PAGE)
#define RW		(PROT_READ | PROT_WRITE)
#define RWX		(PROT_READ | PROT_WRITE | PROT_EXEC)

#define SEGV_HOLE	MS_SIGNAL(SIGSEGV, SEGV_MAPERR)
#define SEGV_RIGHTS	MS_SIGNAL(SIGSEGV, SEGV_ACCERR)
#define BUS_NOTHING	MS_SIGNAL(SIGBUS, BUS_ADRERR)

/* Where in the region what is */
#define AT_RW		0UL
#define AT_RO		(2 * MIB)
#define AT_NONE		(4 * MIB)
#define AT_CODE		(6 * MIB)
#define AT_HOLE		(8 * MIB)
#define AT_FILE		(10 * MIB)		/* a memfd of two pages, four mapped */
#define LEN		(4 * PAGE)

FIXTURE(fault)
{
	int fd, memfd;
	char *w, *ro, *x;		/* windows: plain, MSHARE_RDONLY, MSHARE_EXEC */
};

FIXTURE_SETUP(fault)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_region(SIZE, 0);
	ASSERT_LE(0, self->fd);
	self->memfd = memfd_create("ms_fault", MFD_CLOEXEC);
	ASSERT_LE(0, self->memfd);
	ASSERT_EQ(0, ftruncate(self->memfd, 2 * PAGE));
	ASSERT_EQ(0, ms_map_anon(self->fd, AT_RW, LEN, RW));
	ASSERT_EQ(0, ms_map_anon(self->fd, AT_RO, LEN, PROT_READ));
	ASSERT_EQ(0, ms_map_anon(self->fd, AT_NONE, LEN, PROT_NONE));
	ASSERT_EQ(0, ms_map_anon(self->fd, AT_CODE, LEN, RWX));
	ASSERT_EQ(0, ms_map_file(self->fd, AT_FILE, LEN, RW, self->memfd, 0));
	self->w = ms_attach(self->fd, 0);
	self->ro = ms_attach(self->fd, MSHARE_RDONLY);
	self->x = ms_attach(self->fd, MSHARE_EXEC);
	ASSERT_NE(NULL, self->w);
	ASSERT_NE(NULL, self->ro);
	ASSERT_NE(NULL, self->x);
}

FIXTURE_TEARDOWN(fault)
{
	if (self->fd < 0)
		return;
	munmap(self->w, 2 * GRANULE);
	munmap(self->ro, 2 * GRANULE);
	munmap(self->x, 2 * GRANULE);
	close(self->memfd);
	close(self->fd);
}

TEST_F(fault, signals)
{
	int populated;

	/* Before there is a page, and with it */
	for (populated = 0; populated < 2; populated++) {
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->ro + AT_RW, 'w'));
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_RO, 'w'));
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_CODE, 'x'));
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->x + AT_RW, 'x'));
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_NONE, 'r'));
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_NONE, 'w'));
		EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->x + AT_NONE, 'x'));
		EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + AT_HOLE, 'r'));
		EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + AT_HOLE, 'w'));
		EXPECT_EQ(SEGV_HOLE, ms_signal(self->x + AT_HOLE, 'x'));
		/* What the kernel has added to the size */
		EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + SIZE, 'r'));
		EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + 2 * GRANULE - PAGE, 'w'));
		EXPECT_EQ(BUS_NOTHING, ms_signal(self->w + AT_FILE + 2 * PAGE, 'r'));
		EXPECT_EQ(BUS_NOTHING, ms_signal(self->w + AT_FILE + 3 * PAGE, 'w'));
		EXPECT_EQ(0, ms_signal(self->ro + AT_RW, 'r'));
		EXPECT_EQ(0, ms_signal(self->w + AT_RW, 'w'));
		EXPECT_EQ(0, ms_signal(self->w + AT_RO, 'r'));
		EXPECT_EQ(0, ms_signal(self->w + AT_FILE + PAGE, 'w'));
		EXPECT_EQ(0, ms_signal(self->x + AT_CODE, 'w'));
		ms_write_code(self->w + AT_CODE);
		EXPECT_EQ(0, ms_signal(self->x + AT_CODE, 'x'));
	}
	/* The last page that there is */
	ASSERT_EQ(0, ms_map_anon(self->fd, SIZE - PAGE, PAGE, RW));
	EXPECT_EQ(0, ms_signal(self->w + SIZE - PAGE, 'w'));
	EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + SIZE, 'w'));
}

/* mshare_protect() is for all members, and no window has more than it was given. */
TEST_F(fault, protect)
{
	ms_write_code(self->w + AT_RW);
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->x + AT_RW, 'x'));
	ASSERT_EQ(0, mshare_protect(self->fd, AT_RW, LEN, PROT_READ | PROT_EXEC, 0));
	EXPECT_EQ(0, ms_signal(self->x + AT_RW, 'x'));
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_RW, 'x'));
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_RW, 'w'));
	EXPECT_EQ(0, ms_signal(self->ro + AT_RW, 'r'));
	ASSERT_EQ(0, mshare_protect(self->fd, AT_RW, LEN, PROT_NONE, 0));
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->ro + AT_RW, 'r'));
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->x + AT_RW, 'x'));
	ASSERT_EQ(0, mshare_protect(self->fd, AT_RW, LEN, RW, 0));
	EXPECT_EQ(0, ms_signal(self->w + AT_RW, 'w'));
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->ro + AT_RW, 'w'));
	/* A part of a mapping */
	ASSERT_EQ(0, mshare_protect(self->fd, AT_RW + PAGE, PAGE, PROT_READ, 0));
	EXPECT_EQ(0, ms_signal(self->w + AT_RW, 'w'));
	EXPECT_EQ(SEGV_RIGHTS, ms_signal(self->w + AT_RW + PAGE, 'w'));
	EXPECT_EQ(0, ms_signal(self->w + AT_RW + 2 * PAGE, 'w'));
}

struct other {
	pid_t pid;
	char *address;
};

/* Reading and writing by process_vm_*(): 0 or the error */
static int vm_copy(pid_t pid, char *remote, char *local, bool write)
{
	struct iovec mine = { local, 64 }, theirs = { remote, 64 };
	ssize_t n = write ? process_vm_writev(pid, &mine, 1, &theirs, 1, 0) :
			    process_vm_readv(pid, &mine, 1, &theirs, 1, 0);

	return n == 64 ? 0 : n < 0 ? errno : EIO;
}

static int mem_copy(int fd, char *remote, char *local, bool write)
{
	ssize_t n = write ? pwrite(fd, local, 64, (unsigned long)remote) :
			    pread(fd, local, 64, (unsigned long)remote);

	return n == 64 ? 0 : n < 0 ? errno : EIO;
}

static int sleeps(struct pn_child *child, void *arg)
{
	pn_hold(child);
	return 0;
}

/* Each page is first touched by another process. */
TEST_F_TIMEOUT(fault, remote, 120)
{
	char buf[64] = "written by another", got_buf[64], *w = self->w, *got, path[40];
	struct pn_child child;
	int mem;
	size_t i;

	ASSERT_EQ(0, ms_map_anon(self->fd, 16 * MIB, 64 * PAGE, RW));
	w += 16 * MIB;
	ASSERT_EQ(0, pn_spawn(&child, sleeps, NULL));
	ASSERT_EQ(0, pn_ready(&child, 20));
	snprintf(path, sizeof(path), "/proc/%d/mem", child.pid);
	mem = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, mem);
	for (i = 0; i < 8; i++) {
		EXPECT_EQ(0, vm_copy(child.pid, w + i * PAGE, buf, true));
		EXPECT_STREQ(buf, w + i * PAGE);
		EXPECT_EQ(0, mem_copy(mem, w + (8 + i) * PAGE, buf, true));
		EXPECT_STREQ(buf, w + (8 + i) * PAGE);
		memset(got_buf, 0, sizeof(got_buf));
		got = got_buf;
		EXPECT_EQ(0, vm_copy(child.pid, w + (16 + i) * PAGE, got, false));
		EXPECT_EQ(0, *got);
		EXPECT_EQ(0, mem_copy(mem, w + i * PAGE, got, false));
		EXPECT_STREQ(buf, got);
	}
	/* Across pages, some of which are there */
	EXPECT_EQ(0, vm_copy(child.pid, w + 40 * PAGE - 32, buf, true));
	EXPECT_STREQ(buf, w + 40 * PAGE - 32);
	/* What there is not */
	EXPECT_EQ(EFAULT, vm_copy(child.pid, self->w + AT_HOLE, buf, false));
	EXPECT_EQ(EFAULT, vm_copy(child.pid, self->w + AT_NONE, buf, false));
	EXPECT_EQ(EFAULT, vm_copy(child.pid, self->w + AT_RO, buf, true));
	EXPECT_EQ(EFAULT, vm_copy(child.pid, self->w + AT_FILE + 2 * PAGE, buf, false));
	EXPECT_EQ(0, vm_copy(child.pid, self->w + AT_RO, buf, false));
	EXPECT_EQ(EIO, mem_copy(mem, self->w + AT_HOLE, buf, false));
	/* Nor what is there, and must not be read any more */
	ASSERT_EQ(0, mshare_protect(self->fd, 16 * MIB, PAGE, PROT_NONE, 0));
	EXPECT_EQ(EFAULT, vm_copy(child.pid, w, buf, false));
	/* A debugger's right is none to a window that cannot be written to. */
	EXPECT_EQ(EFAULT, vm_copy(child.pid, self->ro + AT_RW, buf, true));
	EXPECT_EQ(EIO, mem_copy(mem, self->ro + AT_RW, buf, true));
	EXPECT_EQ(EIO, mem_copy(mem, self->w + AT_RO, buf, true));
	close(mem);
	ASSERT_EQ(0, ptrace(PTRACE_SEIZE, child.pid, NULL, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_INTERRUPT, child.pid, NULL, NULL));
	ASSERT_EQ(child.pid, waitpid(child.pid, NULL, 0));
	EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, child.pid, self->w + AT_RW, 4711L));
	EXPECT_EQ(4711, *(long *)(self->w + AT_RW));
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, child.pid, self->ro + AT_RW, 4712L));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(4711, ptrace(PTRACE_PEEKDATA, child.pid, self->ro + AT_RW, NULL));
	ASSERT_EQ(0, ptrace(PTRACE_DETACH, child.pid, NULL, NULL));
	EXPECT_EQ(0, pn_reap(&child, 20));
	EXPECT_EQ(4711, *(long *)(self->ro + AT_RW));
}

/* The kernel copies to and from a window, whether there are pages or not. */
TEST_F(fault, kernel)
{
	const size_t len = 64 * PAGE;
	char *w = self->w + 16 * MIB, *ro = self->ro + 16 * MIB, *x = self->x + 16 * MIB;
	int pipes[2], file = memfd_create("ms_copy", MFD_CLOEXEC), page;

	ASSERT_EQ(0, ms_map_anon(self->fd, 16 * MIB, len, RW));
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ((ssize_t)len, write(file, w, len));
	for (page = 0; page < 64; page++)
		EXPECT_EQ(1, pwrite(file, &(char){ page + 1 }, 1, page * PAGE));
	ASSERT_EQ(0, mshare_advise(self->fd, 16 * MIB, len, MADV_REMOVE, 0));
	EXPECT_EQ((ssize_t)len, pread(file, w, len, 0));
	for (page = 0; page < 64; page++)
		EXPECT_EQ(page + 1, x[page * PAGE]);
	/* Into a window that cannot be written to */
	errno = 0;
	EXPECT_EQ(-1, pread(file, ro, len, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, write(pipes[1], ro, 1));
	EXPECT_EQ(-1, read(pipes[0], ro, 1));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, read(pipes[0], w, 1));
	EXPECT_EQ(-1, write(pipes[1], self->w + AT_HOLE, 1));
	EXPECT_EQ(EFAULT, errno);
	/* Strings */
	strcpy(w, "/proc/self/status");
	EXPECT_EQ(0, access(ro, R_OK));
	EXPECT_EQ(-1, access(self->w + AT_HOLE, R_OK));
	EXPECT_EQ(EFAULT, errno);
	close(file);
	close(pipes[0]);
	close(pipes[1]);
}

/* Pages that the kernel holds on to */
TEST_F(fault, pinned)
{
	char *w = self->w + 16 * MIB, *ro = self->ro + 16 * MIB;
	char *plain = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec iov = { .iov_base = w, .iov_len = PAGE };
	int pipes[2];

	ASSERT_NE(MAP_FAILED, plain);
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, ms_map_anon(self->fd, 16 * MIB, 16 * PAGE, RW));
	/* vmsplice(): what the pipe has are the pages themselves */
	EXPECT_EQ((ssize_t)PAGE, vmsplice(pipes[1], &iov, 1, 0));
	strcpy(w, "later");
	EXPECT_EQ((ssize_t)PAGE, read(pipes[0], plain, PAGE));
	EXPECT_STREQ("later", plain);
	/* The other way, into the window */
	strcpy(plain, "piped");
	EXPECT_EQ(6, write(pipes[1], plain, 6));
	iov.iov_base = ro;
	EXPECT_EQ(-1, vmsplice(pipes[0], &iov, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	iov.iov_base = w + PAGE;
	EXPECT_EQ(6, vmsplice(pipes[0], &iov, 1, 0));
	EXPECT_STREQ("piped", ro + PAGE);
	close(pipes[0]);
	close(pipes[1]);
	munmap(plain, PAGE);
}

TEST_F_TIMEOUT(fault, direct_io, 120)
{
	char *w = self->w + 16 * MIB, *ro = self->ro + 16 * MIB;
	int device = open("/dev/zram0", O_RDWR | O_DIRECT | O_CLOEXEC);

	/* What a test left that was stopped */
	if (pn_read_long("/sys/block/zram0/disksize") > 0)
		pn_swap_off();
	if (device < 0 || pn_write_file("/sys/block/zram0/disksize", "16M"))
		SKIP(return, "no zram for direct I/O");
	ASSERT_EQ(0, ms_map_anon(self->fd, 16 * MIB, 16 * PAGE, RW));
	strcpy(w, "direct");
	EXPECT_EQ((ssize_t)PAGE, pwrite(device, w, PAGE, 0));
	EXPECT_EQ((ssize_t)PAGE, pread(device, w + 2 * PAGE, PAGE, 0));
	EXPECT_STREQ("direct", ro + 2 * PAGE);
	/* Reading from the device is writing to memory. */
	EXPECT_EQ(-1, pread(device, ro + 3 * PAGE, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pread(device, ro, PAGE, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ((ssize_t)PAGE, pwrite(device, ro, PAGE, 0));
	close(device);
	EXPECT_EQ(0, pn_write_file("/sys/block/zram0/reset", "1"));
}

static long futex(void *addr, int op, int value, const struct timespec *timeout)
{
	return syscall(SYS_futex, addr, op, value, timeout, NULL, 0);
}

static int waits(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(fault) *self = arg;
	struct timespec limit = { 20 };
	/* At an address of its own */
	int *word = (int *)(ms_attach(self->fd, 0) + AT_RW);

	while (__atomic_load_n(word, __ATOMIC_ACQUIRE) == 1)
		if (futex(word, FUTEX_WAIT, 1, &limit) && errno == ETIMEDOUT)
			return 1;
	return 0;
}

TEST_F(fault, futex)
{
	int *word = (int *)(self->w + AT_RW), tries;
	struct timespec soon = { .tv_nsec = 1000000 };
	struct pn_child child;
	long woken = 0;

	*word = 1;
	ASSERT_EQ(0, pn_spawn(&child, waits, self));
	for (tries = 0; tries < 1000 && !woken; tries++) {
		poll(NULL, 0, 10);
		/* By another window of the same process */
		woken = futex(self->ro + AT_RW, FUTEX_WAKE, 1, NULL);
	}
	EXPECT_EQ(1, woken);
	__atomic_store_n(word, 2, __ATOMIC_RELEASE);
	futex(word, FUTEX_WAKE, 1, NULL);
	EXPECT_EQ(0, pn_reap(&child, 30));
	/* A page that nobody has touched */
	EXPECT_EQ(-1, futex(self->w + AT_RW + PAGE, FUTEX_WAIT, 0, &soon));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(-1, futex(self->w + AT_HOLE, FUTEX_WAIT, 0, &soon));
	EXPECT_EQ(EFAULT, errno);
	/* Those that write: not where it is not permitted */
	EXPECT_EQ(-1, futex(self->ro + AT_RW + PAGE, FUTEX_LOCK_PI, 0, &soon));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, futex(self->w + AT_RW + PAGE, FUTEX_LOCK_PI, 0, NULL));
	EXPECT_EQ(gettid(), *(int *)(self->ro + AT_RW + PAGE) & FUTEX_TID_MASK);
	EXPECT_EQ(0, futex(self->w + AT_RW + PAGE, FUTEX_UNLOCK_PI, 0, NULL));
}

struct crowd {
	char *w;
	size_t size;
	pthread_barrier_t start;
};

static void *touches(void *arg)
{
	struct crowd *crowd = arg;
	size_t i;

	pthread_barrier_wait(&crowd->start);
	for (i = 0; i < crowd->size; i += pn_page_size())
		__atomic_fetch_add((int *)(crowd->w + i), 1, __ATOMIC_RELAXED);
	return NULL;
}

/* Many threads link the same granule and make the same pages at once. */
TEST_F_TIMEOUT(fault, crowd, 120)
{
	struct crowd crowd = { .size = 2 * MIB };
	pthread_t thread[8];
	int round;
	size_t i;

	for (round = 0; round < 30; round++) {
		ASSERT_EQ(0, ms_map_anon(self->fd, 16 * MIB, crowd.size, RW));
		crowd.w = ms_attach(self->fd, 0);
		ASSERT_NE(NULL, crowd.w);
		crowd.w += 16 * MIB;
		pthread_barrier_init(&crowd.start, NULL, ARRAY_SIZE(thread));
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			ASSERT_EQ(0, pthread_create(&thread[i], NULL, touches, &crowd));
		for (i = 0; i < ARRAY_SIZE(thread); i++)
			pthread_join(thread[i], NULL);
		for (i = 0; i < crowd.size; i += PAGE)
			ASSERT_EQ(8, *(int *)(crowd.w + i));
		ASSERT_EQ(0, munmap(crowd.w - 16 * MIB, 2 * GRANULE));
	}
}

struct change {
	int fd;
	size_t at;
	volatile bool *stop;
};

static void *changes(void *arg)
{
	struct change *change = arg;

	while (!*change->stop)
		if (ms_map_anon(change->fd, change->at, pn_page_size(), RW) ||
		    mshare_unmap(change->fd, change->at, pn_page_size(), 0))
			return "it could not be changed";
	return NULL;
}

/* Somebody always waits to change the region; a fault for the kernel gets its turn. */
TEST_F_TIMEOUT(fault, busy_region, 120)
{
	const size_t at = 32 * MIB, len = 256 * PAGE;
	struct change change[16];
	pthread_t thread[16];
	volatile bool stop = false;
	void *failed;
	size_t i;
	int file;

	file = memfd_create("ms_busy", MFD_CLOEXEC);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, len));
	ASSERT_EQ(0, ms_map_anon(self->fd, at, len, RW));
	for (i = 0; i < ARRAY_SIZE(thread); i++) {
		change[i] = (struct change){ self->fd, 64 * MIB + i * PAGE, &stop };
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, changes, &change[i]));
	}
	/* Without a user's registers there is no VMA lock: page by page, as each is new. */
	for (i = 0; i < len; i += PAGE)
		ASSERT_EQ((ssize_t)PAGE, pread(file, self->w + at + i, PAGE, i));
	stop = true;
	for (i = 0; i < ARRAY_SIZE(thread); i++) {
		pthread_join(thread[i], &failed);
		EXPECT_EQ(NULL, failed) TH_LOG("%s", (char *)failed);
	}
	close(file);
}

/* The second member takes one fault for each granule, not one for each page. */
TEST_F_TIMEOUT(fault, counted, 120)
{
	const size_t len = 32 * MIB;
	char *w = self->w + 64 * MIB, *again;
	long before;

	ASSERT_EQ(0, ms_map_anon(self->fd, 64 * MIB, len, RW));
	ASSERT_EQ(0, mshare_advise(self->fd, 64 * MIB, len, MADV_NOHUGEPAGE, 0));
	before = ms_minor_faults();
	ASSERT_EQ(len, pn_touch(w, len, PAGE, NULL));
	EXPECT_LE((long)(len / PAGE), ms_minor_faults() - before);
	again = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, again);
	/* The code that follows, too, may take some. */
	before = ms_minor_faults();
	ASSERT_EQ(len, pn_touch(again + 64 * MIB, len, PAGE, NULL));
	EXPECT_GE(4, ms_minor_faults() - before);
	munmap(again, 2 * GRANULE);
}

/* What is in memory around a fault is mapped with it, as far as the mapping goes. */
TEST_F_TIMEOUT(fault, around, 120)
{
	const size_t at = 64 * MIB, len = 8 * PAGE;
	int file = memfd_create("ms_around", MFD_CLOEXEC);
	char *w = self->w + at;
	long before;
	size_t i;

	ASSERT_LE(0, file);
	for (i = 0; i < 32; i++)
		ASSERT_EQ(1, pwrite(file, "x", 1, i * PAGE));
	ASSERT_EQ(0, ms_map_file(self->fd, at, len, RW, file, 4 * PAGE));
	before = ms_fdinfo(self->fd, "rss-shmem");
	ASSERT_EQ('x', w[3 * PAGE]);
	EXPECT_EQ((long)(len / 1024), ms_fdinfo(self->fd, "rss-shmem") - before);
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w - PAGE, 'r'));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(w + len, 'r'));
	ASSERT_EQ(0, mshare_unmap(self->fd, at, len, 0));
	close(file);
}

TEST_HARNESS_MAIN
