// SPDX-License-Identifier: GPL-2.0
/*
 * MMU notifiers and windows exclude each other: who mirrors the address space of a
 * process is not told of what changes in a window. Opening a device of the module
 * test_hmm registers a notifier on the process.
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../../../../lib/test_hmm_uapi.h"
#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define DEVICE		"/dev/hmm_dmirror0"
#define AFTER_EXEC	"MS_NOTIFIER_FD"

FIXTURE(notifier)
{
	int fd;
};

FIXTURE_SETUP(notifier)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (pn_module("test_hmm", true) || access(DEVICE, R_OK | W_OK))
		SKIP(return, "no module test_hmm (CONFIG_TEST_HMM)");
	self->fd = ms_region(GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, PAGE, RW));
}

FIXTURE_TEARDOWN(notifier)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	/* Nobody has it open: else what a test did not close would be here */
	EXPECT_EQ(0, pn_module("test_hmm", false));
}

static int mirror(void)
{
	return open(DEVICE, O_RDWR | O_CLOEXEC);
}

/* A notifier that is there does what it is for: reading by the device. */
static int mirror_works(int dev)
{
	char *p = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *copy = malloc(PAGE);
	struct hmm_dmirror_cmd cmd = {
		.addr = (unsigned long)p, .ptr = (unsigned long)copy, .npages = 1,
	};
	int ret;

	if (p == MAP_FAILED || !copy)
		return -1;
	strcpy(p, "first");
	ret = ioctl(dev, HMM_DMIRROR_READ, &cmd) || strcmp(copy, "first");
	/* What the device has of it is to be forgotten. */
	munmap(p, PAGE);
	if (!ret)
		ret = !ioctl(dev, HMM_DMIRROR_READ, &cmd);
	free(copy);
	return ret ? -1 : 0;
}

/* An mm that has never had a notifier, and one that has had one */
TEST_F(notifier, window_first)
{
	char *w = ms_attach(self->fd, 0), *other = ms_attach(self->fd, MSHARE_RDONLY);
	int round, dev;

	for (round = 0; round < 3; round++) {
		ASSERT_NE(NULL, w);
		ASSERT_NE(NULL, other);
		EXPECT_ERROR(EBUSY, mirror());
		EXPECT_ERROR(EBUSY, mirror());
		EXPECT_EQ(0, ms_signal(w, 'w'));
		ASSERT_EQ(0, munmap(round % 2 ? w : other, GRANULE));
		EXPECT_ERROR(EBUSY, mirror());
		ASSERT_EQ(0, munmap(round % 2 ? other : w, GRANULE));
		dev = mirror();
		ASSERT_LE(0, dev);
		EXPECT_EQ(0, mirror_works(dev));
		close(dev);
		w = ms_attach(self->fd, 0);
		other = ms_attach(self->fd, 0);
	}
	/* A window without its region is one, too. */
	close(self->fd);
	self->fd = ms_region(GRANULE, 0);
	EXPECT_ERROR(EBUSY, mirror());
	munmap(w, GRANULE);
	munmap(other, GRANULE);
	dev = mirror();
	EXPECT_LE(0, dev);
	close(dev);
}

TEST_F(notifier, notifier_first)
{
	int dev = mirror(), again = mirror(), round;
	char *w;

	for (round = 0; round < 3; round++) {
		ASSERT_LE(0, dev);
		ASSERT_LE(0, again);
		EXPECT_ERROR(EBUSY, mshare_attach(self->fd, 0, 0, NULL, 0));
		EXPECT_ERROR(EBUSY, mshare_attach(self->fd, 0, 0, NULL, MSHARE_RDONLY));
		close(dev);
		EXPECT_ERROR(EBUSY, mshare_attach(self->fd, 0, 0, NULL, 0));
		/* That it failed is no reason to refuse another notifier. */
		dev = mirror();
		ASSERT_LE(0, dev);
		EXPECT_EQ(0, mirror_works(dev));
		EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
		EXPECT_EQ(0, ms_fdinfo(self->fd, "members"));
		close(dev);
		close(again);
		/* That there was one is no reason to refuse a window. */
		w = ms_attach(self->fd, 0);
		ASSERT_NE(NULL, w);
		EXPECT_EQ(0, ms_signal(w, 'w'));
		EXPECT_ERROR(EBUSY, mirror());
		ASSERT_EQ(0, munmap(w, GRANULE));
		dev = mirror();
		again = mirror();
	}
	close(dev);
	close(again);
}

/* What would be replaced stays when the attach is refused. */
TEST_F(notifier, fixed)
{
	char *p = mmap(NULL, 2 * GRANULE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *at = ms_granule_up(p);
	int dev = mirror();

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_LE(0, dev);
	*at = 1;
	EXPECT_ERROR(EBUSY, mshare_attach(self->fd, 0, 0, at, MSHARE_FIXED));
	EXPECT_EQ(1, *at);
	close(dev);
	EXPECT_EQ(at, mshare_attach(self->fd, 0, 0, at, MSHARE_FIXED));
	EXPECT_EQ(0, *at);
	EXPECT_ERROR(EBUSY, mirror());
	munmap(p, 2 * GRANULE);
}

static int window_is_inherited(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(notifier) *self = arg;
	int dev = mirror();

	if (dev >= 0 || errno != EBUSY)
		return 1;
	if (ms_fdinfo(self->fd, "windows") != 2)
		return 2;
	pn_hold(child);
	return 0;
}

struct inherited {
	int fd, dev;
	char *w;
};

static int window_is_detached(struct pn_child *child, void *arg)
{
	struct inherited *inherited = arg;
	int dev;

	if (munmap(inherited->w, GRANULE))
		return 1;
	dev = mirror();
	if (dev < 0 || mirror_works(dev))
		return 2;
	errno = 0;
	return !ms_attach(inherited->fd, 0) && errno == EBUSY ? 0 : 3;
}

/* The descriptor is inherited, the notifier is the parent's. */
static int notifier_is_not(struct pn_child *child, void *arg)
{
	struct inherited *inherited = arg;
	char *w = ms_attach(inherited->fd, 0);
	int dev;

	if (!w || ms_try(w, 'w', NULL))
		return 1;
	dev = mirror();
	if (dev >= 0 || errno != EBUSY)
		return 2;
	pn_hold(child);
	return 0;
}

TEST_F_TIMEOUT(notifier, forked, 60)
{
	struct inherited inherited = { .fd = self->fd };
	struct pn_child child;

	inherited.w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, inherited.w);
	EXPECT_EQ(0, pn_run(window_is_inherited, self, 20));
	EXPECT_EQ(0, pn_run(window_is_detached, &inherited, 20));
	EXPECT_ERROR(EBUSY, mirror());
	ASSERT_EQ(0, pn_spawn(&child, window_is_inherited, self));
	ASSERT_EQ(0, pn_ready(&child, 20));
	/* The child's window does not count for the parent. */
	ASSERT_EQ(0, munmap(inherited.w, GRANULE));
	inherited.dev = mirror();
	ASSERT_LE(0, inherited.dev);
	EXPECT_EQ(0, pn_reap(&child, 20));
	ASSERT_EQ(0, pn_spawn(&child, notifier_is_not, &inherited));
	ASSERT_EQ(0, pn_ready(&child, 20));
	EXPECT_EQ(0, mirror_works(inherited.dev));
	/* The child has it open, and so the notifier stays where it is. */
	close(inherited.dev);
	EXPECT_ERROR(EBUSY, mshare_attach(self->fd, 0, 0, NULL, 0));
	EXPECT_EQ(0, pn_reap(&child, 20));
	inherited.w = ms_attach(self->fd, 0);
	EXPECT_NE(NULL, inherited.w);
	munmap(inherited.w, GRANULE);
}

/* In the program that executes() starts */
static __attribute__((constructor)) void after_exec(void)
{
	const char *fd = getenv(AFTER_EXEC);
	int dev;

	if (!fd)
		return;
	dev = mirror();
	if (dev < 0 || mirror_works(dev))
		_exit(10);
	close(dev);
	if (!ms_attach(atoi(fd), 0))
		_exit(11);
	_exit(mirror() >= 0 ? 12 : 0);
}

static int executes(struct pn_child *child, void *arg)
{
	struct inherited *inherited = arg;
	char fd[12];

	/* A window, or a notifier on an mm that goes; the descriptor of it stays. */
	if (inherited->dev ? open(DEVICE, O_RDWR) < 0 : !ms_attach(inherited->fd, 0))
		return 1;
	snprintf(fd, sizeof(fd), "%d", dup(inherited->fd));
	setenv(AFTER_EXEC, fd, 1);
	execl("/proc/self/exe", "notifier", NULL);
	return 2;
}

TEST_F_TIMEOUT(notifier, executed, 60)
{
	struct inherited inherited = { .fd = self->fd };

	for (; inherited.dev < 2; inherited.dev++)
		EXPECT_EQ(0, pn_run(executes, &inherited, 20)) TH_LOG("%d", inherited.dev);
	EXPECT_EQ(0, ms_fdinfo(self->fd, "members"));
}

static int ends_with_window(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(notifier) *self = arg;
	int dev = mirror();
	char *w;

	if (dev < 0 || mirror_works(dev))
		return 1;
	close(dev);
	w = ms_attach(self->fd, 0);
	if (!w || ms_try(w, 'w', NULL))
		return 2;
	pn_hold(child);
	return 0;
}

static int ends_with_notifier(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(notifier) *self = arg;
	char *w = ms_attach(self->fd, 0);

	if (!w || ms_try(w, 'w', NULL) || munmap(w, GRANULE) || mirror_works(mirror()))
		return 1;
	pn_hold(child);
	return 0;
}

/* A process ends with the one after it has had the other. */
TEST_F_TIMEOUT(notifier, exited, 60)
{
	int (*const fn[])(struct pn_child *, void *) = { ends_with_window, ends_with_notifier };
	struct pn_child child;
	int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, pn_spawn(&child, fn[i / 2], self));
		ASSERT_EQ(0, pn_ready(&child, 20));
		if (i % 2)
			kill(child.pid, SIGKILL);
		EXPECT_EQ(i % 2 ? SIGKILL : 0, pn_reap(&child, 20));
		EXPECT_EQ(0, ms_fdinfo(self->fd, "members"));
	}
}

struct rivals {
	int fd;
	bool window, notifier, stop;
	long windows, notifiers, both, errors;
};

static void *opens(void *arg)
{
	struct rivals *rivals = arg;
	int dev;

	while (!__atomic_load_n(&rivals->stop, __ATOMIC_SEQ_CST)) {
		dev = mirror();
		if (dev < 0) {
			rivals->errors += errno != EBUSY;
			continue;
		}
		__atomic_store_n(&rivals->notifier, true, __ATOMIC_SEQ_CST);
		sched_yield();
		if (__atomic_load_n(&rivals->window, __ATOMIC_SEQ_CST))
			__atomic_fetch_add(&rivals->both, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&rivals->notifier, false, __ATOMIC_SEQ_CST);
		rivals->notifiers++;
		close(dev);
		/* The other one's turn, too */
		if (!(rivals->notifiers % 8))
			poll(NULL, 0, 1);
	}
	return NULL;
}

/* A window or a notifier, and never both */
TEST_F_TIMEOUT(notifier, race, 120)
{
	struct rivals rivals = { .fd = self->fd };
	double end = pn_now() + 5;
	pthread_t thread;
	void *w;

	ASSERT_EQ(0, pthread_create(&thread, NULL, opens, &rivals));
	while (pn_now() < end || ((rivals.windows <= 10 || rivals.notifiers <= 10) &&
				  pn_now() < end + pn_slow(20))) {
		w = mshare_attach(self->fd, 0, 0, NULL, 0);
		if (w == MAP_FAILED) {
			EXPECT_EQ(EBUSY, errno);
			continue;
		}
		__atomic_store_n(&rivals.window, true, __ATOMIC_SEQ_CST);
		sched_yield();
		if (__atomic_load_n(&rivals.notifier, __ATOMIC_SEQ_CST))
			__atomic_fetch_add(&rivals.both, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&rivals.window, false, __ATOMIC_SEQ_CST);
		rivals.windows++;
		EXPECT_EQ(0, munmap(w, GRANULE));
		if (!(rivals.windows % 8))
			poll(NULL, 0, 1);
	}
	__atomic_store_n(&rivals.stop, true, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
	pn_note("%ld windows, %ld notifiers", rivals.windows, rivals.notifiers);
	EXPECT_EQ(0, rivals.both);
	EXPECT_EQ(0, rivals.errors);
	EXPECT_LT(10, rivals.windows);
	EXPECT_LT(10, rivals.notifiers);
}

TEST_HARNESS_MAIN
