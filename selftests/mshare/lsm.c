// SPDX-License-Identifier: GPL-2.0
/*
 * A security module is asked for what is mapped into a region, and for windows, as for
 * any mapping: here a program of BPF LSM, which decides by cgroup.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "../private_node/pn_bpf.h"
#include "ms_util.h"
#include "kselftest_harness.h"

#define CGROUPS		"/tmp/ms_lsm"
#define INSIDE		CGROUPS "/inside"
#define HOOK		"bpf_lsm_mmap_file"
#define HOOK_ARGS	4
#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)

FIXTURE(lsm)
{
	int fd, file;
	char *w;
	unsigned long long cgroup;
};

FIXTURE_SETUP(lsm)
{
	const char *missing = ms_missing() ?: pn_lsm_missing(HOOK);
	struct stat st;

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	mkdir(CGROUPS, 0755);
	ASSERT_EQ(0, mount("ms", CGROUPS, "cgroup2", 0, NULL));
	ASSERT_EQ(0, mkdir(INSIDE, 0755));
	ASSERT_EQ(0, stat(INSIDE, &st));
	self->cgroup = st.st_ino;
	self->file = memfd_create("ms_lsm", MFD_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ftruncate(self->file, MIB));
	self->fd = ms_used_region(MIB, &self->w);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(lsm)
{
	if (self->fd < 0)
		return;
	close(self->fd);
	close(self->file);
	EXPECT_EQ(0, rmdir(INSIDE));
	EXPECT_EQ(0, umount2(CGROUPS, MNT_DETACH));
}

/* 0, or the error */
static int error_of(long result)
{
	return result == -1 ? errno : 0;
}

TEST_F(lsm, by_cgroup)
{
	int link = pn_lsm_refuse(HOOK, HOOK_ARGS, self->cgroup, false);
	int file, anon, attach, touch;

	ASSERT_LE(0, link);
	/* The control: others are not refused. */
	EXPECT_EQ(0, ms_map_file(self->fd, MIB, MIB, RW, self->file, 0));
	/* In there, nothing can be mapped: nor is anything said. */
	ASSERT_EQ(0, pn_write_file(INSIDE "/cgroup.procs", "0"));
	file = error_of(ms_map_file(self->fd, 2 * MIB, MIB, RW, self->file, 0));
	anon = error_of(ms_map_anon(self->fd, 2 * MIB, MIB, RW));
	attach = error_of((long)mshare_attach(self->fd, 0, 0, NULL, 0));
	touch = ms_signal(self->w + PAGE, 'w');
	ASSERT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));
	EXPECT_EQ(EACCES, file);
	EXPECT_EQ(EACCES, anon);
	EXPECT_EQ(EACCES, attach);
	/* What there is can be used. */
	EXPECT_EQ(0, touch);
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(MS_SIGNAL(SIGSEGV, SEGV_MAPERR), ms_signal(self->w + 2 * MIB, 'r'));
	close(link);
	ASSERT_EQ(0, pn_write_file(INSIDE "/cgroup.procs", "0"));
	EXPECT_EQ(0, ms_map_file(self->fd, 2 * MIB, MIB, RW, self->file, 0));
	ASSERT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));
}

TEST_HARNESS_MAIN
