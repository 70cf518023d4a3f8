// SPDX-License-Identifier: GPL-2.0
/*
 * Words that the kernel writes to or wakes by when a task ends or gets a signal:
 * locks whose owner dies, the word that is cleared for a thread, signal stacks. In
 * windows, and so at another address for each process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define LEN		MIB
#define STACK		(64 * 1024UL)

/* What is in the region */
struct shared {
	pthread_mutex_t lock;
	int taken, tid, go;
};

FIXTURE(lock)
{
	int fd;
	char *w;
	struct shared *shared;
};

FIXTURE_SETUP(lock)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_used_region(LEN, &self->w);
	ASSERT_LE(0, self->fd);
	self->shared = (struct shared *)self->w;
}

FIXTURE_TEARDOWN(lock)
{
	if (self->fd < 0)
		return;
	munmap(self->w, GRANULE);
	close(self->fd);
}

static long futex(int *addr, int op, int value, const struct timespec *timeout)
{
	return syscall(SYS_futex, addr, op, value, timeout, NULL, 0);
}

static int make_lock(struct shared *shared, bool robust, bool pi)
{
	pthread_mutexattr_t attr;

	return pthread_mutexattr_init(&attr) ||
	       pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) ||
	       pthread_mutexattr_setrobust(&attr, robust ? PTHREAD_MUTEX_ROBUST :
							   PTHREAD_MUTEX_STALLED) ||
	       pthread_mutexattr_setprotocol(&attr, pi ? PTHREAD_PRIO_INHERIT :
							 PTHREAD_PRIO_NONE) ||
	       pthread_mutex_init(&shared->lock, &attr) ? -1 : 0;
}

/* The lock at an address that no other process here has it at */
static struct shared *attach(int fd)
{
	ms_attach(fd, MSHARE_RDONLY);
	return (struct shared *)ms_attach(fd, 0);
}

static int takes(struct pn_child *child, void *arg)
{
	struct shared *shared = attach(*(int *)arg);

	if (!shared || pthread_mutex_lock(&shared->lock))
		return 1;
	pn_hold(child);
	return 0;
}

static int takes_and_unlocks(struct pn_child *child, void *arg)
{
	struct shared *shared = attach(*(int *)arg);

	if (!shared || pthread_mutex_lock(&shared->lock))
		return 1;
	shared->taken = 1;
	pn_hold(child);
	shared->taken = 2;
	return pthread_mutex_unlock(&shared->lock) ? 2 : 0;
}

static void *takes_in_thread(void *arg)
{
	return pthread_mutex_lock(arg) ? arg : NULL;
}

/* It is a thread that dies with it, and not the process. */
static int thread_takes(struct pn_child *child, void *arg)
{
	struct shared *shared = attach(*(int *)arg);
	pthread_t thread;
	void *failed;

	if (!shared || pthread_create(&thread, NULL, takes_in_thread, &shared->lock) ||
	    pthread_join(thread, &failed) || failed)
		return 1;
	pn_hold(child);
	return 0;
}

static int waits_for(struct pn_child *child, struct shared *shared, int expected)
{
	struct timespec limit;
	int err;

	if (!shared)
		return 1;
	pn_hold(child);
	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += pn_slow(4);
	err = pthread_mutex_timedlock(&shared->lock, &limit);
	if (err != expected) {
		pn_note("lock: %s", strerror(err));
		return 2;
	}
	if (expected == EOWNERDEAD && pthread_mutex_consistent(&shared->lock))
		return 3;
	return pthread_mutex_unlock(&shared->lock) ? 4 : 0;
}

static int waits_for_unlock(struct pn_child *child, void *arg)
{
	return waits_for(child, attach(*(int *)arg), 0);
}

static int waits_for_death(struct pn_child *child, void *arg)
{
	return waits_for(child, attach(*(int *)arg), EOWNERDEAD);
}

/* Until it sleeps in the kernel: in the futex, since it has been let go */
static int wait_asleep(struct pn_child *child)
{
	double deadline = pn_now() + pn_slow(10);
	char path[40], line[40];

	snprintf(path, sizeof(path), "/proc/%d/syscall", child->pid);
	do {
		if (!pn_read_line(path, line, sizeof(line)) && atol(line) == SYS_futex)
			return 0;
		poll(NULL, 0, 2);
	} while (pn_now() < deadline);
	return -1;
}

/* Unlocked by one member, taken by another one: with both kinds of futexes */
TEST_F_TIMEOUT(lock, passed_on, 100)
{
	struct pn_child one, two;
	int pi;

	for (pi = 0; pi < 2; pi++) {
		ASSERT_EQ(0, make_lock(self->shared, true, pi));
		ASSERT_EQ(0, pn_spawn(&one, takes_and_unlocks, &self->fd));
		ASSERT_EQ(0, pn_ready(&one, 20));
		EXPECT_EQ(1, self->shared->taken);
		EXPECT_EQ(EBUSY, pthread_mutex_trylock(&self->shared->lock));
		ASSERT_EQ(0, pn_spawn(&two, waits_for_unlock, &self->fd));
		ASSERT_EQ(0, pn_ready(&two, 20));
		ASSERT_EQ(0, ms_let_go(&two));
		ASSERT_EQ(0, wait_asleep(&two));
		EXPECT_EQ(0, pn_reap(&one, 20));
		EXPECT_EQ(0, pn_reap(&two, 20)) TH_LOG("pi %d", pi);
		EXPECT_EQ(2, self->shared->taken);
	}
}

/* A member dies with the lock, in each way; who waits for it is told. */
TEST_F_TIMEOUT(lock, owner_dead, 100)
{
	int (*const fn[])(struct pn_child *, void *) = { takes, takes, thread_takes };
	struct pn_child one, two;
	int i;

	for (i = 0; i < 2 * (int)ARRAY_SIZE(fn); i++) {
		ASSERT_EQ(0, make_lock(self->shared, true, i % 2));
		ASSERT_EQ(0, pn_spawn(&one, fn[i / 2], &self->fd));
		ASSERT_EQ(0, pn_ready(&one, 20));
		ASSERT_EQ(0, pn_spawn(&two, waits_for_death, &self->fd));
		ASSERT_EQ(0, pn_ready(&two, 20));
		if (fn[i / 2] == takes) {
			ASSERT_EQ(0, ms_let_go(&two));
			ASSERT_EQ(0, wait_asleep(&two));
		}
		/* Not with a page that happens to be there */
		EXPECT_EQ(0, mshare_advise(self->fd, 0, LEN, MADV_DONTNEED, 0));
		if (i / 2 == 1)
			kill(one.pid, SIGKILL);
		EXPECT_EQ(i / 2 == 1 ? SIGKILL : 0, pn_reap(&one, 20));
		EXPECT_EQ(0, pn_reap(&two, 30)) TH_LOG("%d", i);
	}
}

/* Runs without a C library: it has its creator's thread pointer. */
static int spins(void *arg)
{
	int *go = arg;

	while (!__atomic_load_n(go, __ATOMIC_ACQUIRE))
		;
	return 0;
}

/* The word of a task that shares the memory of its creator is set, and cleared. */
TEST_F_TIMEOUT(lock, clear_tid, 60)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_CHILD_SETTID |
			  CLONE_CHILD_CLEARTID | SIGCHLD;
	char *stack = mmap(NULL, STACK, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* Waited for by another window */
	struct shared *shared = self->shared, *other = attach(self->fd);
	struct timespec limit = { .tv_sec = pn_slow(10) };
	int status, go = 0;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, stack);
	ASSERT_NE(NULL, other);
	pid = clone(spins, stack + STACK, flags, &shared->go, NULL, NULL, &shared->tid);
	ASSERT_LT(0, pid);
	while (!__atomic_load_n(&other->tid, __ATOMIC_ACQUIRE) && !waitpid(pid, NULL, WNOHANG))
		sched_yield();
	EXPECT_EQ(pid, other->tid);
	EXPECT_EQ(0, mshare_advise(self->fd, 0, LEN, MADV_DONTNEED, 0));
	__atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&other->tid, __ATOMIC_ACQUIRE) == pid)
		if (futex(&other->tid, FUTEX_WAIT, pid, &limit) && errno == ETIMEDOUT)
			break;
	EXPECT_EQ(0, other->tid);
	EXPECT_EQ(pid, waitpid(pid, &status, __WALL));
	EXPECT_EQ(0, status);
	/* Where nothing can be written, it ends all the same. */
	pid = clone(spins, stack + STACK, flags, &go, NULL, NULL, &shared->tid);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, mshare_protect(self->fd, 0, LEN, PROT_READ, 0));
	__atomic_store_n(&go, 1, __ATOMIC_RELEASE);
	EXPECT_EQ(pid, waitpid(pid, &status, __WALL));
	EXPECT_EQ(0, status);
	munmap(stack, STACK);
}

static unsigned long on_stack;

static void on_signal(int sig)
{
	on_stack = (unsigned long)__builtin_frame_address(0);
}

static int set_stack(char *at)
{
	stack_t stack = { .ss_sp = at, .ss_size = STACK };
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

	return sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &action, NULL) ? -1 : 0;
}

static int control;

static int has_stack(struct pn_child *child, void *arg)
{
	char *at = arg;

	/* Its copy would keep the region. */
	close(control);
	if (set_stack(at))
		return 1;
	pn_hold(child);
	raise(SIGUSR1);
	return on_stack - (unsigned long)at < STACK ? 0 : 2;
}

/* A stack for signals: nobody has touched it yet; and where none can be */
TEST_F_TIMEOUT(lock, signal_stack, 60)
{
	char *ro = ms_attach(self->fd, MSHARE_RDONLY);
	struct pn_child child;

	ASSERT_NE(NULL, ro);
	control = self->fd;
	EXPECT_EQ(0, pn_run(has_stack, self->w + 16 * PAGE, 20));
	EXPECT_EQ(SIGSEGV, pn_run(has_stack, ro + 16 * PAGE, 20));
	EXPECT_EQ(SIGSEGV, pn_run(has_stack, self->w + 2 * LEN, 20));
	ASSERT_EQ(0, pn_spawn(&child, has_stack, self->w + 64 * PAGE));
	ASSERT_EQ(0, pn_ready(&child, 20));
	close(self->fd);
	self->fd = ms_region(GRANULE, 0);
	EXPECT_EQ(SIGSEGV, pn_reap(&child, 20));
	munmap(ro, GRANULE);
}

/* The process that dies with the lock is the owner of the region, too. */
static int owns_and_takes(struct pn_child *child, void *arg)
{
	int memfd = *(int *)arg, fd = ms_region(GRANULE, 0);
	struct shared *shared;

	if (fd < 0 || ms_map_file(fd, 0, PAGE, RW, memfd, 0))
		return 1;
	shared = attach(fd);
	if (!shared || pthread_mutex_lock(&shared->lock))
		return 2;
	pn_hold(child);
	/* That the page is there is not what it depends on. */
	return mshare_advise(fd, 0, PAGE, MADV_DONTNEED, 0) ? 3 : 0;
}

static int waits_by_file(struct pn_child *child, void *arg)
{
	struct shared *shared = mmap(NULL, PAGE, RW, MAP_SHARED, *(int *)arg, 0);

	return waits_for(child, shared == MAP_FAILED ? NULL : shared, EOWNERDEAD);
}

FIXTURE(dead_region)
{
	int memfd;
	struct shared *shared;
};

FIXTURE_VARIANT(dead_region)
{
	bool pi;
};

FIXTURE_VARIANT_ADD(dead_region, robust)
{
	.pi = false,
};

FIXTURE_VARIANT_ADD(dead_region, pi)
{
	.pi = true,
};

FIXTURE_SETUP(dead_region)
{
	const char *missing = ms_missing();

	if (missing)
		SKIP(return, "%s", missing);
	self->memfd = memfd_create("ms_lock", MFD_CLOEXEC);
	ASSERT_EQ(0, ftruncate(self->memfd, PAGE));
	self->shared = mmap(NULL, PAGE, RW, MAP_SHARED, self->memfd, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	ASSERT_EQ(0, make_lock(self->shared, true, variant->pi));
}

FIXTURE_TEARDOWN(dead_region)
{
}

/* The file of the lock lives on: who has mapped it himself waits for it, and is told. */
TEST_F_TIMEOUT(dead_region, told, 100)
{
	struct pn_child one, two;

	ASSERT_EQ(0, pn_spawn(&one, owns_and_takes, &self->memfd));
	ASSERT_EQ(0, pn_ready(&one, 20));
	ASSERT_EQ(0, pn_spawn(&two, waits_by_file, &self->memfd));
	ASSERT_EQ(0, pn_ready(&two, 20));
	ASSERT_EQ(0, ms_let_go(&two));
	ASSERT_EQ(0, wait_asleep(&two));
	EXPECT_EQ(0, pn_reap(&one, 20));
	EXPECT_EQ(0, pn_reap(&two, 30));
}

TEST_HARNESS_MAIN
