// SPDX-License-Identifier: GPL-2.0
/*
 * Shared page tables for programs that do not know of mshare: a library that makes
 * each large piece of shared anonymous memory a region with a window.
 *
 *	LD_PRELOAD=/path/mshare_preload.so PROGRAM
 *
 * It is for servers that map a large buffer once and fork a process for each client,
 * as databases do: the clients inherit the window, and with it the page tables.
 *
 * MSHARE_PRELOAD_MIN		the smallest mapping that becomes a region, in bytes or
 *				with K, M or G (64M)
 * MSHARE_PRELOAD_VERBOSE	if set, say once on stderr why a mapping did not
 *
 * Only mmap() of MAP_SHARED | MAP_ANONYMOUS, with no other flag, and PROT_READ |
 * PROT_WRITE becomes one. Everything else, and what the kernel refuses, is the ordinary
 * mapping that it would have been. What is different in a window:
 *
 * - It ends with the process that made it: processes that outlive this one get SIGBUS.
 *   Not for a program that maps its memory and forks into the background then.
 * - The same if that process closes descriptors that it does not know. They are at the
 *   upper end of the first 1024, and are not inherited by exec.
 * - mprotect(), mremap(), mlock(), mbind(), madvise() but to populate it, and munmap()
 *   of a part fail with EINVAL.
 * - It takes whole GiB of address space, and a process has 64 regions at most.
 * - All of it is charged to the process that made it, whoever uses it.
 *
 * There are no locks: a thread may fork while another one maps memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mshare.h"

#define REGIONS		64	/* of which a process can have windows */
#define FD_TOP		1024	/* what is above costs each process a larger table */
#define BUSY		1UL	/* no address of a window */

static struct region {
	atomic_uintptr_t addr;		/* 0: free, BUSY: a thread is at work on it */
	uintptr_t start;		/* the same while it is BUSY */
	size_t size;			/* what was asked for, in whole pages */
	size_t span;			/* what the window occupies */
	int fd;
} regions[REGIONS];

static size_t minimum = 64UL << 20;
static bool verbose;
static atomic_flag said = ATOMIC_FLAG_INIT;

static void say_once(size_t size, const char *what, int error)
{
	if (verbose && !atomic_flag_test_and_set(&said))
		dprintf(STDERR_FILENO,
			"mshare_preload: an ordinary mapping of %zu bytes: %s: %s\n",
			size, what, strerror(error));
}

/* What the size of a window is a multiple of; 0 if the kernel does not say */
static size_t window_unit(void)
{
	static atomic_size_t size;
	char text[32];
	ssize_t len;
	int fd;

	if (size)
		return size;
	fd = open("/sys/kernel/mm/mshare/granule", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = 0;
	size = strtoul(text, NULL, 10);
	return size;
}

__attribute__((constructor)) static void read_environment(void)
{
	const char *text = getenv("MSHARE_PRELOAD_MIN"), *unit;
	unsigned long long size;
	char *end;

	verbose = getenv("MSHARE_PRELOAD_VERBOSE");
	if (!text)
		return;
	errno = 0;
	size = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || errno)
		goto wrong;
	if (*end) {
		unit = strchr("KMG", *end);
		if (!unit || end[1] || size > SIZE_MAX >> 30)
			goto wrong;
		size <<= 10 * (unit - "KMG" + 1);
	}
	minimum = size;
	return;
wrong:
	fprintf(stderr, "mshare_preload: MSHARE_PRELOAD_MIN=%s is not a size\n", text);
}

/* Out of the way of programs that expect to get the lowest ones */
static int move_up(int fd)
{
	struct rlimit limit;
	int high;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return fd;
	if (limit.rlim_cur > FD_TOP)
		limit.rlim_cur = FD_TOP;
	if (limit.rlim_cur <= REGIONS)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, (int)limit.rlim_cur - REGIONS);
	if (high < 0)
		return fd;
	close(fd);
	return high;
}

/* A window of a new region; false if there is none to be had */
static bool map_region(struct region *region, size_t size)
{
	struct mshare_map_args args = {
		.size = size,
		.prot = PROT_READ | PROT_WRITE,
		.fd = -1,
	};
	const char *what = "mshare_create";
	void *addr;

	region->fd = mshare_create(O_CLOEXEC);
	if (region->fd < 0)
		goto fail;
	region->fd = move_up(region->fd);
	what = "granule";
	region->span = window_unit();
	if (!region->span)
		goto fail;
	what = "ftruncate";
	if (ftruncate(region->fd, size))
		goto fail;
	what = "mshare_map";
	if (mshare_map(region->fd, &args, sizeof(args), 0))
		goto fail;
	what = "mshare_attach";
	addr = mshare_attach(region->fd, 0, 0, NULL, 0);
	if (addr == MAP_FAILED)
		goto fail;
	region->start = (uintptr_t)addr;
	region->size = size;
	region->span = (size + region->span - 1) / region->span * region->span;
	return true;
fail:
	say_once(size, what, errno);
	if (region->fd >= 0)
		close(region->fd);
	return false;
}

/* The same, kept in mind until it is unmapped; NULL if there is none */
static void *new_region(size_t size)
{
	struct region *region;
	uintptr_t none;

	for (region = regions; region < regions + REGIONS; region++) {
		none = 0;
		if (!atomic_compare_exchange_strong(&region->addr, &none, BUSY))
			continue;
		if (!map_region(region, size)) {
			region->addr = 0;
			return NULL;
		}
		region->addr = region->start;
		return (void *)region->start;
	}
	say_once(size, "too many", ENOSPC);
	return NULL;
}

/*
 * Windows that are wholly in a range that is about to be unmapped: a bit for each.
 * Nobody else touches them until done_with() says whether they are gone. What is BUSY
 * when another thread forks is lost for the child, which has a place less then.
 */
static unsigned long long take(uintptr_t start, size_t length)
{
	unsigned long long taken = 0;
	int i;

	for (i = 0; i < REGIONS; i++) {
		struct region *region = &regions[i];
		uintptr_t addr = region->addr;

		if (addr <= BUSY || addr < start || addr - start >= length ||
		    !atomic_compare_exchange_strong(&region->addr, &addr, BUSY))
			continue;
		if (region->span <= length - (addr - start))
			taken |= 1ULL << i;
		else
			region->addr = addr;
	}
	return taken;
}

static void done_with(unsigned long long taken, bool gone)
{
	const int error = errno;
	int i;

	for (i = 0; i < REGIONS; i++) {
		if (!(taken & 1ULL << i))
			continue;
		if (gone)
			close(regions[i].fd);
		regions[i].addr = gone ? 0 : regions[i].start;
	}
	errno = error;
}

/* In whole pages; 0 if that overflows */
static size_t whole_pages(size_t length)
{
	const size_t page = sysconf(_SC_PAGESIZE);

	return (length + page - 1) & ~(page - 1);
}

static void *map(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
{
	const int error = errno;
	unsigned long long taken = 0;
	void *result;

	if (flags == (MAP_SHARED | MAP_ANONYMOUS) && prot == (PROT_READ | PROT_WRITE) &&
	    !offset && length >= minimum && whole_pages(length)) {
		result = new_region(whole_pages(length));
		errno = error;
		if (result)
			return result;
	}
	/* What is mapped over a window unmaps it. */
	if (flags & MAP_FIXED)
		taken = take((uintptr_t)addr, whole_pages(length));
	result = (void *)syscall(SYS_mmap, addr, length, prot, flags, fd, offset);
	done_with(taken, result != MAP_FAILED);
	return result;
}

void *mmap(void *addr, size_t length, int prot, int flags, int fd, off_t offset)
{
	return map(addr, length, prot, flags, fd, offset);
}

void *mmap64(void *addr, size_t length, int prot, int flags, int fd, off64_t offset)
{
	return map(addr, length, prot, flags, fd, offset);
}

int munmap(void *addr, size_t length)
{
	const size_t size = whole_pages(length);
	unsigned long long taken;
	int i, result;

	/* Whoever unmaps what was asked for means all of the window. */
	for (i = 0; i < REGIONS; i++) {
		if (addr && regions[i].addr == (uintptr_t)addr && regions[i].size == size) {
			length = regions[i].span;
			break;
		}
	}
	taken = take((uintptr_t)addr, whole_pages(length));
	result = syscall(SYS_munmap, addr, length);
	done_with(taken, !result);
	return result;
}
