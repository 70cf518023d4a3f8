// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once: members attach, touch and detach, map, unmap and protect, at
 * random, while owners and members are killed. What they see is what there is, an
 * error, or a signal: nothing of another place, and never a surprise afterwards.
 *
 * MSHARE_SEED=N repeats what N began with; MSHARE_ROUNDS=N makes it longer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define MEMBERS		4
#define SLOTS		16
#define SLOT_PAGES	8
#define SLOT		(SLOT_PAGES * PAGE)
#define SIZE		(2 * GRANULE)

/* Half of the slots on each side of where two granules meet */
static size_t slot_at(unsigned int slot)
{
	return GRANULE - SLOTS / 2 * SLOT + slot * SLOT;
}

FIXTURE(race)
{
	int sock[2];
	long shmem;
	unsigned int seed;
	bool ready;
};

FIXTURE_SETUP(race)
{
	const char *missing = ms_missing(), *seed = getenv("MSHARE_SEED");

	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, self->sock));
	self->shmem = pn_meminfo(-1, "Shmem");
	self->seed = seed ? strtoul(seed, NULL, 0) : (unsigned int)(pn_now() * 1000);
	pn_note("MSHARE_SEED=%u", self->seed);
	self->ready = true;
}

FIXTURE_TEARDOWN(race)
{
	if (!self->ready)
		return;
	close(self->sock[0]);
	close(self->sock[1]);
}

static int owns(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(race) *self = arg;
	int fd = ms_region(SIZE, MSHARE_SHARED_CONTROL);

	if (fd < 0 || ms_send_fd(self->sock[1], fd))
		return 1;
	pn_hold(child);
	return 0;
}

static sigjmp_buf back;

static void on_fault(int sig)
{
	siglongjmp(back, 1);
}

struct member {
	int fd;
	unsigned int seed;
};

/*
 * Each word says where in the region it is, or is 0: who reads another number reads
 * what belongs somewhere else.
 */
static int touch(char *w, unsigned int slot, bool write, unsigned int *seed)
{
	size_t at = slot_at(slot) + rand_r(seed) % SLOT_PAGES * PAGE;
	volatile size_t *word = (size_t *)(w + at);
	size_t value;

	if (sigsetjmp(back, 1))
		return 0;
	value = *word;
	if (value && value != at)
		return -1;
	if (write)
		*word = at;
	return 0;
}

/* The same, by a system call */
static int touch_remote(char *w, unsigned int slot, bool write, unsigned int *seed)
{
	size_t at = slot_at(slot) + rand_r(seed) % SLOT_PAGES * PAGE, value = at;
	struct iovec mine = { &value, sizeof(value) }, theirs = { w + at, sizeof(value) };

	if (write)
		return process_vm_writev(getpid(), &mine, 1, &theirs, 1, 0) < 0 &&
		       errno != EFAULT ? -1 : 0;
	if (process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0) < 0)
		return errno == EFAULT ? 0 : -1;
	return !value || value == at ? 0 : -1;
}

/* An operation failed: is it for one of the reasons that it may have? */
static bool fine(long ret)
{
	return ret != -1 || errno == ENODEV || errno == ENOMEM || errno == EINTR ||
	       errno == EEXIST || errno == EAGAIN;
}

/* The end of the test is the end of its socket. */
static bool over(struct pn_child *child)
{
	struct pollfd end = { .fd = child->sock, .events = POLLIN | POLLRDHUP };

	return poll(&end, 1, 0);
}

static int plays(struct pn_child *child, void *arg)
{
	struct member *member = arg;
	unsigned int seed = member->seed, slot, advice;
	static const int advise[] = {
		MADV_DONTNEED, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT, MADV_POPULATE_WRITE,
		MADV_WILLNEED,
	};
	char *window[3] = { };
	int fd = member->fd, n;
	long ret;

	signal(SIGSEGV, on_fault);
	signal(SIGBUS, on_fault);
	while (1) {
		char **w = &window[rand_r(&seed) % 3];

		slot = rand_r(&seed) % SLOTS;
		n = rand_r(&seed) % 100;
		ret = 0;
		if (!*w) {
			*w = ms_attach(fd, rand_r(&seed) % 3 ? 0 : MSHARE_RDONLY);
			ret = *w ? 0 : -1;
		} else if (n < 60) {
			if (touch(*w, slot, n % 2, &seed))
				return 2;
		} else if (n < 68) {
			if (touch_remote(*w, slot, n % 2, &seed))
				return 3;
		} else if (n < 72) {
			ret = munmap(*w, SIZE);
			*w = NULL;
		} else if (n < 80) {
			ret = ms_map_anon(fd, slot_at(slot), SLOT, RW);
		} else if (n < 86) {
			ret = mshare_unmap(fd, slot_at(slot), SLOT, 0);
		} else if (n < 92) {
			ret = mshare_protect(fd, slot_at(slot), SLOT, n % 2 ? RW : PROT_READ, 0);
		} else if (n < 97) {
			advice = rand_r(&seed) % ARRAY_SIZE(advise);
			ret = mshare_advise(fd, slot_at(slot), SLOT, advise[advice], 0);
			/* Populating what must not be written to */
			if (ret && (errno == EFAULT || errno == EINVAL || errno == EACCES))
				ret = 0;
		} else if (n < 99) {
			pid_t pid = fork();

			if (!pid)
				_exit(touch(*w, slot, false, &seed) ? 1 : 0);
			if (pid > 0 && (waitpid(pid, &n, 0) != pid || n))
				return 4;
		} else {
			sched_yield();
		}
		if (!fine(ret)) {
			pn_note("operation %d: %s", n, strerror(errno));
			return 5;
		}
		if (!(rand_r(&seed) % 64) && over(child))
			return 0;
	}
}

TEST_F_TIMEOUT(race, at_random, 280)
{
	const char *more = getenv("MSHARE_ROUNDS");
	int rounds = more ? atoi(more) : 12, round, i, tries;
	struct pn_child owner, child[MEMBERS];
	bool swap = !pn_swap_on(64 * MIB);
	unsigned int seed = self->seed;
	struct member member;
	double deadline;

	for (round = 0; round < rounds; round++) {
		ASSERT_EQ(0, pn_spawn(&owner, owns, self));
		member.fd = ms_receive_fd(self->sock[0]);
		ASSERT_LE(0, member.fd);
		ASSERT_EQ(0, pn_ready(&owner, 20));
		for (i = 0; i < MEMBERS; i++) {
			member.seed = seed + round * 100 + i;
			ASSERT_EQ(0, pn_spawn(&child[i], plays, &member));
		}
		poll(NULL, 0, 20 + rand_r(&seed) % 200);
		/* A member, the owner, or nobody is killed in the middle of it. */
		if (round % 3 == 1)
			kill(child[0].pid, SIGKILL);
		if (round % 3 == 2)
			kill(owner.pid, SIGKILL);
		poll(NULL, 0, 20 + rand_r(&seed) % 80);
		for (i = 0; i < MEMBERS; i++) {
			int status = pn_reap(&child[i], 30);

			EXPECT_EQ(i || round % 3 != 1 ? 0 : SIGKILL, status);
		}
		EXPECT_EQ(round % 3 == 2 ? SIGKILL : 0, pn_reap(&owner, 20));
		/* A member that was killed may have had a child, which ends by itself */
		for (tries = 0; tries < 200 && ms_fdinfo(member.fd, "members"); tries++)
			poll(NULL, 0, 50);
		EXPECT_EQ(0, ms_fdinfo(member.fd, "members"));
		EXPECT_ERROR(ENODEV, mshare_attach(member.fd, 0, 0, NULL, 0));
		close(member.fd);
	}
	deadline = pn_now() + pn_slow(10);
	do {
		poll(NULL, 0, 20);
	} while (pn_meminfo(-1, "Shmem") - self->shmem > 1024 && pn_now() < deadline);
	EXPECT_GE(1024, pn_meminfo(-1, "Shmem") - self->shmem);
	for (tries = 0; swap && tries < 50 && pn_swap_off(); tries++)
		poll(NULL, 0, 100);
}

TEST_HARNESS_MAIN
