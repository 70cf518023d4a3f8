// SPDX-License-Identifier: GPL-2.0
/*
 * A hibernated system has the memory of its private nodes again when it comes back.
 * Image and return are real, in one go ("test_resume"); devices stop and start, which
 * not all that a virtual machine may have can take: a boot of its own, with nothing
 * after it. Not run with the other tests, as it hibernates.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define LEN		(64 * MIB)
#define SWAP		(1024 * MIB)

FIXTURE(sleep)
{
	int priv;
	bool swap;
};

FIXTURE_SETUP(sleep)
{
	const char *missing = pn_hibernation_missing();

	self->swap = false;
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (missing)
		SKIP(return, "%s", missing);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, pn_swap_on(SWAP));
	self->swap = true;
}

FIXTURE_TEARDOWN(sleep)
{
	if (self->swap)
		EXPECT_EQ(0, pn_swap_off());
}

static void fill(char *p, uint64_t seed)
{
	size_t i;

	for (i = 0; i < LEN; i += 8)
		*(uint64_t *)(p + i) = pn_mix(seed + i);
}

static size_t wrong(const char *p, uint64_t seed)
{
	size_t i, wrong = 0;

	for (i = 0; i < LEN; i += 8)
		wrong += *(uint64_t *)(p + i) != pn_mix(seed + i);
	return wrong;
}

TEST_F_TIMEOUT(sleep, hibernate, 600)
{
	long pages = LEN / pn_page_size();
	char *private, *public;

	private = pn_filled(LEN, self->priv);
	ASSERT_NE(NULL, private);
	public = pn_map(LEN);
	ASSERT_NE(NULL, public);
	fill(private, 1);
	fill(public, 2);

	ASSERT_EQ(0, pn_hibernate());

	EXPECT_EQ(0, wrong(private, 1));
	EXPECT_EQ(0, wrong(public, 2));
	EXPECT_EQ(pages, pn_on_node(private, LEN, self->priv));
	EXPECT_EQ(0, pn_on_node(public, LEN, self->priv));
	EXPECT_TRUE(pn_is_private(self->priv));
	ASSERT_EQ(0, munmap(private, LEN));
	ASSERT_EQ(0, munmap(public, LEN));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	/* And it can be used again. */
	private = pn_filled(LEN, self->priv);
	EXPECT_NE(NULL, private);
	munmap(private, LEN);
}

TEST_HARNESS_MAIN
