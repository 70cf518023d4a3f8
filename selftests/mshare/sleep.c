// SPDX-License-Identifier: GPL-2.0
/*
 * A hibernated system has its regions again when it comes back, and their members
 * go on. As with private_node/sleep: a boot of its own, with nothing after it.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define LEN		(64 * MIB)

FIXTURE(sleep)
{
	int fd;
	char *w;
	unsigned long *rounds;
};

FIXTURE_SETUP(sleep)
{
	const char *missing = ms_missing() ?: pn_hibernation_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, pn_swap_on(1024 * MIB));
	self->fd = ms_used_region(LEN, &self->w);
	ASSERT_LE(0, self->fd);
	self->rounds = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->rounds);
}

FIXTURE_TEARDOWN(sleep)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	EXPECT_EQ(0, pn_swap_off());
}

/* Adds to the first word of each page, and to that of rounds; says when it is done. */
static int adds(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(sleep) *self = arg;
	char *w = ms_attach(self->fd, 0);
	size_t i;

	while (w && *(volatile unsigned long *)self->rounds < ~0UL / 2) {
		for (i = 0; i < LEN; i += PAGE)
			(*(volatile unsigned long *)(w + i))++;
		__atomic_fetch_add(self->rounds, 1, __ATOMIC_RELAXED);
	}
	return w ? 0 : 1;
}

static unsigned long rounds(FIXTURE_DATA(sleep) *self)
{
	return __atomic_load_n(self->rounds, __ATOMIC_RELAXED);
}

/* Until the member has been through it once more */
static int wait_round(FIXTURE_DATA(sleep) *self)
{
	double deadline = pn_now() + pn_slow(20);
	unsigned long from = rounds(self);

	while (rounds(self) < from + 2) {
		if (pn_now() > deadline)
			return -1;
		sched_yield();
	}
	return 0;
}

TEST_F_TIMEOUT(sleep, hibernate, 600)
{
	struct pn_child child;
	size_t i, wrong = 0;
	unsigned long sum;

	for (i = 0; i < LEN; i += PAGE) {
		*(unsigned long *)(self->w + i) = i;
		ms_write_words(self->w + i + 8, PAGE - 8, i);
	}
	ASSERT_EQ(0, pn_spawn(&child, adds, self));
	ASSERT_EQ(0, wait_round(self));

	ASSERT_EQ(0, pn_hibernate());

	EXPECT_EQ(0, wait_round(self));
	/* That was the last round but the one it is in. */
	__atomic_fetch_add(self->rounds, ~0UL / 2, __ATOMIC_RELAXED);
	EXPECT_EQ(0, pn_reap(&child, 30));
	sum = rounds(self) - ~0UL / 2;
	for (i = 0; i < LEN; i += PAGE) {
		wrong += *(unsigned long *)(self->w + i) != i + sum;
		wrong += ms_wrong_words(self->w + i + 8, PAGE - 8, i);
	}
	EXPECT_EQ(0, wrong);
	EXPECT_EQ((long)(LEN / 1024), ms_fdinfo(self->fd, "rss-shmem"));
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
}

TEST_HARNESS_MAIN
