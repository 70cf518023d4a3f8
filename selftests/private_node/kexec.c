// SPDX-License-Identifier: GPL-2.0
/*
 * The next kernel that kexec_file_load() prepares is not put onto a private node.
 * What is loaded here has the header of a kernel and nothing behind it: it is never
 * started, only the places that were found for it are looked at.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kexec.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#ifndef KEXEC_FILE_DEBUG
#define KEXEC_FILE_DEBUG	0x00000008
#endif

#define SECTOR		512
#define INITRD		(8 * MIB)
#define MAX_SEGMENTS	16

/* Where the fields of the header are, see Documentation/arch/x86/boot.rst */
#define SETUP_SECTS	0x1f1
#define BOOT_FLAG	0x1fe
#define JUMP_LEN	0x201
#define MAGIC		0x202
#define VERSION		0x206
#define LOADFLAGS	0x211
#define ALIGNMENT	0x230
#define XLOADFLAGS	0x236
#define CMDLINE_SIZE	0x238
#define PREF_ADDRESS	0x258
#define INIT_SIZE	0x260

static void put(char *at, uint64_t value, size_t size)
{
	memcpy(at, &value, size);
}

static int fake_kernel(void)
{
	size_t size = 5 * SECTOR + 4096;
	char *p = calloc(1, size);
	int fd = memfd_create("pn_kexec", MFD_CLOEXEC);

	p[SETUP_SECTS] = 4;
	put(p + BOOT_FLAG, 0xaa55, 2);
	p[JUMP_LEN] = 0x6a;
	memcpy(p + MAGIC, "HdrS", 4);
	put(p + VERSION, 0x020f, 2);
	p[LOADFLAGS] = 1;			/* loaded high */
	put(p + ALIGNMENT, 2 * MIB, 4);
	put(p + XLOADFLAGS, 0x33, 2);		/* 64 bits, above 4 GiB, both depths */
	put(p + CMDLINE_SIZE, 2047, 4);
	put(p + PREF_ADDRESS, 16 * MIB, 8);
	put(p + INIT_SIZE, 4 * MIB, 4);
	if (fd >= 0 && write(fd, p, size) != (ssize_t)size) {
		close(fd);
		fd = -1;
	}
	free(p);
	return fd;
}

static long load(int kernel, int initrd, unsigned long flags)
{
	return syscall(SYS_kexec_file_load, kernel, initrd, 1, "", flags);
}

/* The segments of what is loaded, from the log: how many, or -1 */
static int segments(int log, uint64_t *start, uint64_t *size)
{
	char line[1024], *at;
	int nr = 0, ret;

	while ((ret = pn_log_next(log, line, sizeof(line))) > 0) {
		at = strstr(line, "segment[");
		if (!at || nr == MAX_SEGMENTS)
			continue;
		at = strstr(at, " mem=");
		if (!at || sscanf(at, " mem=%lx memsz=%lx", &start[nr], &size[nr]) != 2)
			return -1;
		nr++;
	}
	return ret ? -1 : nr;
}

FIXTURE(kexec)
{
	int priv, kernel, initrd, log;
	long allocations;
};

FIXTURE_SETUP(kexec)
{
	self->kernel = -1;
	self->initrd = -1;
	self->log = -1;
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (load(-1, -1, ~0UL) && errno == ENOSYS)
		SKIP(return, "a kernel without CONFIG_KEXEC_FILE");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->kernel = fake_kernel();
	ASSERT_LE(0, self->kernel);
	self->initrd = memfd_create("pn_initrd", MFD_CLOEXEC);
	ASSERT_LE(0, self->initrd);
	ASSERT_EQ(0, ftruncate(self->initrd, INITRD));
	self->log = pn_log_open();
	ASSERT_LE(0, self->log);
	self->allocations = pn_allocations(self->priv);
}

FIXTURE_TEARDOWN(kexec)
{
	if (self->log < 0)
		return;
	EXPECT_EQ(0, load(-1, -1, KEXEC_FILE_UNLOAD));
	close(self->log);
	close(self->initrd);
	close(self->kernel);
	/* Nor do the copies of the segments wait there until it is started. */
	EXPECT_EQ(self->allocations, pn_allocations(self->priv));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

TEST_F(kexec, segments)
{
	uint64_t start[MAX_SEGMENTS], size[MAX_SEGMENTS], first, end, top = 0;
	struct pn_zones zones;
	int nr, i, nid;

	ASSERT_EQ(0, load(self->kernel, self->initrd, KEXEC_FILE_DEBUG)) TH_LOG("%m");
	nr = segments(self->log, start, size);
	/* The purgatory, parameters of the boot, the kernel, the initial file system */
	ASSERT_LE(4, nr);
	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	first = zones.start_pfn * pn_page_size();
	end = zones.end_pfn * pn_page_size();
	for (i = 0; i < nr; i++) {
		pn_note("segment of %lu KiB at %#lx", size[i] / 1024, start[i]);
		EXPECT_TRUE(start[i] + size[i] <= first || start[i] >= end);
		if (start[i] > top)
			top = start[i];
	}
	/* The control: they are as high as they may be, in the last of the public nodes. */
	for (nid = 0, end = 0; nid < PN_MAXNODE; nid++)
		if (pn_public_nodes() & NODE_BIT(nid) && !pn_zones(nid, &zones) &&
		    zones.end_pfn * pn_page_size() > end) {
			first = zones.start_pfn * pn_page_size();
			end = zones.end_pfn * pn_page_size();
		}
	EXPECT_LE(first, top);
	EXPECT_GT(end, top);
}

TEST_HARNESS_MAIN
