// SPDX-License-Identifier: GPL-2.0
/*
 * Anonymous memory under a private policy comes from the node that was named,
 * whatever kind of fault asks for it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

FIXTURE(placement)
{
	int priv, control;
	unsigned long privs;
	char *mem, *stranger;
	size_t len;
};

FIXTURE_VARIANT(placement)
{
	int mode;
};

FIXTURE_VARIANT_ADD(placement, bind) { .mode = MPOL_BIND };
FIXTURE_VARIANT_ADD(placement, preferred) { .mode = MPOL_PREFERRED };

FIXTURE_SETUP(placement)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->privs = NODE_BIT(self->priv);
	self->len = 8 * MIB;
	self->mem = pn_map_bound(self->len, variant->mode | pn_flag(), self->privs);
	ASSERT_NE(NULL, self->mem);
	madvise(self->mem, self->len, MADV_NOHUGEPAGE);
}

/* Row 134 in small: what was used comes back, every page of it. */
FIXTURE_TEARDOWN(placement)
{
	if (self->mem) {
		munmap(self->mem, self->len);
		EXPECT_EQ(0, pn_wait_empty(self->priv));
	}
}

#define EXPECT_ALL_ON(node, addr, len) do {					\
	long __count[PN_MAXNODE];						\
	long __pages = (len) / pn_page_size();					\
										\
	EXPECT_EQ(__pages, pn_count_nodes(addr, len, __count));			\
	EXPECT_EQ(__pages, __count[node]);					\
} while (0)

/* "Covers first touch": from every CPU, and only as many pages as touched */
TEST_F(placement, first_touch)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), cpu;
	size_t part = self->len / cpus / pn_page_size() * pn_page_size();

	for (cpu = 0; cpu < cpus; cpu++) {
		pn_pin(cpu);
		ASSERT_EQ(part, pn_touch(self->mem + cpu * part, part, pn_page_size(), NULL));
	}
	EXPECT_ALL_ON(self->priv, self->mem, cpus * part);
	EXPECT_LE((long)(cpus * part / pn_page_size()), pn_used(self->priv));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, cpus * part / pn_page_size()));
}

/* "COW": a read maps the zero page, the write copies to the node */
TEST_F(placement, zero_page_write)
{
	size_t i;

	for (i = 0; i < self->len; i += pn_page_size())
		ASSERT_EQ(0, ((volatile char *)self->mem)[i]);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
}

static int write_all(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(placement) *self = arg;
	long count[PN_MAXNODE], pages = self->len / pn_page_size();

	if (pn_touch(self->mem, self->len, pn_page_size(), NULL) != self->len)
		return 1;
	if (pn_count_nodes(self->mem, self->len, count) != pages)
		return 2;
	return count[self->priv] == pages ? 0 : 3;
}

/* Row 97: the child's copy goes where the inherited policy says. */
TEST_F(placement, fork_cow)
{
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	EXPECT_EQ(0, pn_run(write_all, self, 60));
	/* The parent's write comes after the child is gone: no copy needed. */
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
}

/* Row 57: the copies of a private file mapping go to the node, not the file. */
TEST_F(placement, file_cow)
{
	/* A regular file that is there: tmpfs and memfd have policies of files. */
	int fd = open("/bin/sh", O_RDONLY | O_CLOEXEC);
	struct statfs fs;
	struct stat st;
	size_t i, len;
	char *p;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstatfs(fd, &fs));
	if (fs.f_type == TMPFS_MAGIC)
		SKIP(return, "/bin/sh is on tmpfs");
	ASSERT_EQ(0, fstat(fd, &st));
	len = st.st_size & ~(pn_page_size() - 1);
	ASSERT_LT(0, len);
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pn_mbind(p, len, variant->mode | pn_flag(), &self->privs, 0));
	for (i = 0; i < len; i += pn_page_size())
		(void)*(volatile char *)(p + i);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, p, len);
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, len / pn_page_size()));
	munmap(p, len);
	close(fd);
}

/* Kernel-side faults: a read(2) into the range, and MADV_POPULATE_WRITE */
TEST_F(placement, by_the_kernel)
{
	size_t half = self->len / 2;
	int ends[2];
	size_t i;

	ASSERT_EQ(0, pipe(ends));
	for (i = 0; i < half; i += pn_page_size()) {
		ASSERT_EQ(1, write(ends[1], "x", 1));
		ASSERT_EQ(1, read(ends[0], self->mem + i, 1));
	}
	ASSERT_EQ(0, madvise(self->mem + half, half, MADV_POPULATE_WRITE));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
}

/* A policy on half of a mapping leaves the other half alone. */
TEST_F(placement, half_a_mapping)
{
	char *p = pn_map(self->len);
	size_t half = self->len / 2;
	long count[PN_MAXNODE];

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_mbind(p, half, variant->mode | pn_flag(), &self->privs, 0));
	ASSERT_EQ(self->len, pn_touch(p, self->len, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, p, half);
	ASSERT_EQ((long)(half / pn_page_size()), pn_count_nodes(p + half, half, count));
	EXPECT_EQ(0, count[self->priv]);
	munmap(p, self->len);
}

/* Row 98: mremap moves the policy and the pages as they are. */
TEST_F(placement, mremap)
{
	size_t half = self->len / 2;
	char *p;

	ASSERT_EQ(half, pn_touch(self->mem, half, pn_page_size(), NULL));
	p = pn_map(self->len);
	ASSERT_NE(NULL, p);
	p = mremap(self->mem, self->len, self->len, MREMAP_MAYMOVE | MREMAP_FIXED, p);
	ASSERT_NE(MAP_FAILED, p);
	self->mem = p;
	ASSERT_EQ(half, pn_touch(p + half, half, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, p, self->len);
}

/* Row 99: locking moves nothing. */
TEST_F(placement, mlock)
{
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	ASSERT_EQ(0, mlock(self->mem, self->len));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
	ASSERT_EQ(0, munlock(self->mem, self->len));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
}

/* Row 101: MADV_DONTNEED gives the pages back, a new touch takes new ones. */
TEST_F(placement, dontneed)
{
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	ASSERT_EQ(0, madvise(self->mem, self->len, MADV_DONTNEED));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
	ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
}

static long huge_kib(char *addr)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	char line[512];
	bool mine = false;
	long ret = -1;

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			mine = (unsigned long)addr >= start && (unsigned long)addr < end;
		else if (mine && sscanf(line, "AnonHugePages: %ld", &ret) == 1)
			break;
	}
	fclose(file);
	return ret;
}

static char *align_up(char *p, size_t size)
{
	return (char *)(((unsigned long)p + size - 1) & ~(size - 1));
}

/* Row 89: huge pages of the node when there are any. */
TEST_F(placement, huge_pages)
{
	char *p = pn_map(self->len + 2 * MIB), *huge;

	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK))
		SKIP(return, "no transparent huge pages");
	ASSERT_NE(NULL, p);
	huge = align_up(p, 2 * MIB);
	ASSERT_EQ(0, pn_mbind(huge, self->len, variant->mode | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, madvise(huge, self->len, MADV_HUGEPAGE));
	ASSERT_EQ(self->len, pn_touch(huge, self->len, pn_page_size(), NULL));
	EXPECT_ALL_ON(self->priv, huge, self->len);
	EXPECT_EQ((long)self->len >> 10, huge_kib(huge));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, self->len / pn_page_size()));

	/* Row 90: split up, the pieces stay. */
	ASSERT_EQ(0, munmap(huge + pn_page_size(), pn_page_size()));
	EXPECT_ALL_ON(self->priv, huge + 2 * pn_page_size(), self->len - 2 * pn_page_size());
	munmap(p, self->len + 2 * MIB);
}

#define MTHP "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/"

/* Row 89: and pages of sizes between the smallest and the huge ones. */
TEST_F(placement, middle_pages)
{
	long before = pn_read_long(MTHP "stats/anon_fault_alloc");
	char *p, old[64] = "never", *start;

	if (pn_read_file(MTHP "enabled", old, sizeof(old)))
		SKIP(return, "no multi-size huge pages");
	/* The value in use is in brackets. */
	start = strchr(old, '[');
	ASSERT_NE(NULL, start);
	*strchrnul(start, ']') = 0;
	ASSERT_EQ(0, pn_write_file(MTHP "enabled", "always"));

	p = pn_map_bound(self->len, variant->mode | pn_flag(), self->privs);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(self->len, pn_touch(p, self->len, pn_page_size(), NULL));
	EXPECT_EQ(0, pn_write_file(MTHP "enabled", start + 1));
	EXPECT_ALL_ON(self->priv, p, self->len);
	EXPECT_LT(before, pn_read_long(MTHP "stats/anon_fault_alloc"));
	munmap(p, self->len);
}

static int write_to_parent(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(placement) *self = arg;
	struct iovec from, to = { self->mem, self->len };
	char *data = pn_map(self->len);

	if (!data || pn_touch(data, self->len, pn_page_size(), NULL) != self->len)
		return 1;
	from = (struct iovec) { data, self->len };
	/* Its own policy is of no account: the mapping belongs to the parent. */
	return process_vm_writev(getppid(), &from, 1, &to, 1, 0) == (ssize_t)self->len ? 0 : 2;
}

/* Row 103: memory that somebody else writes to is placed as the owner said. */
TEST_F(placement, by_another_process)
{
	EXPECT_EQ(0, pn_run(write_to_parent, self, 60));
	EXPECT_ALL_ON(self->priv, self->mem, self->len);
}

static int write_to_stranger(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(placement) *self = arg;
	unsigned long mask;
	struct iovec from, to = { self->stranger, self->len };
	char *data = pn_map(self->len);
	int mode;

	if (!data || pn_touch(data, self->len, pn_page_size(), NULL) != self->len)
		return 1;
	from = (struct iovec) { data, self->len };
	if (pn_get_mempolicy(&mode, &mask, self->mem, MPOL_F_ADDR) ||
	    pn_set_mempolicy(mode, &self->privs))
		return 2;
	if (process_vm_writev(getppid(), &from, 1, &to, 1, 0) != (ssize_t)self->len)
		return 3;
	/* The control: what it touches itself goes there. */
	data = pn_map(pn_page_size());
	if (!data || pn_touch(data, pn_page_size(), pn_page_size(), NULL) != (size_t)pn_page_size())
		return 4;
	return pn_node_of(data) == self->priv ? 0 : 5;
}

/* Row 103: the policy of a task is not for the memory of others. */
TEST_F(placement, of_another_process)
{
	long count[PN_MAXNODE];
	int status;

	self->stranger = pn_map(self->len);
	ASSERT_NE(NULL, self->stranger);
	status = pn_run(write_to_stranger, self, 60);
	EXPECT_EQ(0, status) TH_LOG("exit status %d", WEXITSTATUS(status));
	ASSERT_EQ(self->len / pn_page_size(),
		  (size_t)pn_count_nodes(self->stranger, self->len, count));
	EXPECT_EQ(0, count[self->priv]);
	munmap(self->stranger, self->len);
}

static int under_task_policy(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(placement) *self = arg;
	unsigned long mask;
	int mode;
	long count[PN_MAXNODE], pages = self->len / pn_page_size();
	char *p;

	/* The mode of the variant is that of the mapping. */
	if (pn_get_mempolicy(&mode, &mask, self->mem, MPOL_F_ADDR) ||
	    pn_set_mempolicy(mode, &self->privs))
		return 1;
	p = pn_map(self->len);
	if (!p || pn_touch(p, self->len, pn_page_size(), NULL) != self->len)
		return 2;
	if (pn_count_nodes(p, self->len, count) != pages || count[self->priv] != pages)
		return 3;
	/* Back to the default: new memory is public, the old stays. */
	if (pn_set_mempolicy(MPOL_DEFAULT, NULL))
		return 4;
	if (pn_node_of(p) != self->priv)
		return 5;
	p = pn_map(self->len);
	if (!p || pn_touch(p, self->len, pn_page_size(), NULL) != self->len)
		return 6;
	return pn_node_of(p) == self->priv ? 7 : 0;
}

/* The same by the task's policy */
TEST_F(placement, task_policy)
{
	EXPECT_EQ(0, pn_run(under_task_policy, self, 60));
}

/* Who gets pages can be traced. */
TEST_F(placement, traced)
{
	unsigned long mask = NODE_BIT(self->priv);
	char *p;

	if (pn_trace(true))
		SKIP(return, "a kernel without tracing");
	p = pn_map_bound(MIB, MPOL_BIND | pn_flag(), mask);
	ASSERT_NE(NULL, p);
	EXPECT_EQ(MIB, pn_touch(p, MIB, pn_page_size(), NULL));
	EXPECT_EQ(0, pn_trace(false));
	EXPECT_TRUE(pn_traced("private_node_alloc", self->priv));
	if (self->control >= 0)
		EXPECT_FALSE(pn_traced("private_node_alloc", self->control));
	munmap(p, MIB);
}

TEST_HARNESS_MAIN
