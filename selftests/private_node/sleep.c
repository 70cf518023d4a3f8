// SPDX-License-Identifier: GPL-2.0
/*
 * A hibernated system has the memory of its private nodes again when it comes back.
 * Image and return are real, in one go ("test_resume"); devices stop and start, which
 * not all that a virtual machine may have can take: a boot of its own, with nothing
 * after it. Not run with the other tests, as it hibernates.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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
#define POWER		"/sys/power/"
#define DONE		"Hibernation image restored successfully."

FIXTURE(sleep)
{
	int priv;
	bool swap;
};

FIXTURE_SETUP(sleep)
{
	char modes[128];

	self->swap = false;
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (pn_read_line(POWER "disk", modes, sizeof(modes)) || !strstr(modes, "test_resume"))
		SKIP(return, "a kernel without CONFIG_HIBERNATION");
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

/* Is there such a line in the log since it was opened? */
static bool logged(int log, const char *text)
{
	char line[1024];
	bool found = false;

	while (pn_log_next(log, line, sizeof(line)) > 0)
		found |= !!strstr(line, text);
	return found;
}

TEST_F_TIMEOUT(sleep, hibernate, 600)
{
	long pages = LEN / pn_page_size();
	char device[32], *private, *public;
	int log;

	log = pn_log_open();
	ASSERT_LE(0, log);
	private = pn_filled(LEN, self->priv);
	ASSERT_NE(NULL, private);
	public = pn_map(LEN);
	ASSERT_NE(NULL, public);
	fill(private, 1);
	fill(public, 2);
	ASSERT_EQ(0, pn_read_line("/sys/block/zram0/dev", device, sizeof(device)));
	ASSERT_EQ(0, pn_write_file(POWER "pm_debug_messages", "1"));
	ASSERT_EQ(0, pn_write_file(POWER "resume", device));
	ASSERT_EQ(0, pn_write_file(POWER "disk", "test_resume"));
	/* Room for all, so that nothing is freed first */
	ASSERT_EQ(0, pn_write_file(POWER "image_size", "1073741824"));
	/* Programs may be out of reach then */
	ASSERT_EQ(0, mlockall(MCL_CURRENT));

	ASSERT_EQ(0, pn_write_file(POWER "state", "disk")) TH_LOG("%m");

	EXPECT_TRUE(logged(log, DONE));
	EXPECT_EQ(0, wrong(private, 1));
	EXPECT_EQ(0, wrong(public, 2));
	EXPECT_EQ(pages, pn_on_node(private, LEN, self->priv));
	EXPECT_EQ(0, pn_on_node(public, LEN, self->priv));
	EXPECT_TRUE(pn_is_private(self->priv));
	ASSERT_EQ(0, munlockall());
	ASSERT_EQ(0, munmap(private, LEN));
	ASSERT_EQ(0, munmap(public, LEN));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	/* And it can be used again. */
	private = pn_filled(LEN, self->priv);
	EXPECT_NE(NULL, private);
	munmap(private, LEN);
	close(log);
}

TEST_HARNESS_MAIN
