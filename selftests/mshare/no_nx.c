// SPDX-License-Identifier: GPL-2.0
/*
 * A machine that cannot keep memory from being executed: a window has to say that it
 * can be. Booting with clearcpuid=nx makes one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)

FIXTURE(no_nx)
{
	int fd;
};

/* Does the processor have it, as far as the kernel uses it? */
static bool has_nx(void)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[8192];
	bool has = false;

	while (file && fgets(line, sizeof(line), file))
		has |= !strncmp(line, "flags", 5) && strstr(line, " nx ");
	if (file)
		fclose(file);
	return has;
}

FIXTURE_SETUP(no_nx)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (has_nx())
		SKIP(return, "a processor that can keep memory from being executed");
	self->fd = ms_region(GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_anon(self->fd, 0, PAGE, RW));
}

FIXTURE_TEARDOWN(no_nx)
{
	if (self->fd >= 0)
		close(self->fd);
}

TEST_F(no_nx, attach)
{
	char *w, *ro;

	EXPECT_ERROR(EOPNOTSUPP, mshare_attach(self->fd, 0, 0, NULL, 0));
	EXPECT_ERROR(EOPNOTSUPP, mshare_attach(self->fd, 0, 0, NULL, MSHARE_RDONLY));
	EXPECT_EQ(0, ms_fdinfo(self->fd, "windows"));
	w = ms_attach(self->fd, MSHARE_EXEC);
	ro = ms_attach(self->fd, MSHARE_EXEC | MSHARE_RDONLY);
	ASSERT_NE(NULL, w);
	ASSERT_NE(NULL, ro);
	EXPECT_EQ(0, ms_signal(w, 'w'));
	EXPECT_EQ(0, ms_signal(ro, 'r'));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_ACCERR), ms_signal(ro, 'w'));
	munmap(w, GRANULE);
	munmap(ro, GRANULE);
}

TEST_HARNESS_MAIN
