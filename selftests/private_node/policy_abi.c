// SPDX-License-Identifier: GPL-2.0
/*
 * MPOL_F_PRIVATE in set_mempolicy(2) and mbind(2): what is accepted, every
 * error, what get_mempolicy(2) and numa_maps tell, and what becomes of a
 * policy at fork, at exec and when mappings could merge.
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
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

/* Seen by the program that exec started: see report_policy(). */
#define REPORT		"--report-policy"
#define REPORT_SECURE	100

FIXTURE(policy)
{
	int priv, control;
	unsigned long privs, both;
	char *mem;
	size_t len;
};

FIXTURE_VARIANT(policy)
{
	bool task;
};

FIXTURE_VARIANT_ADD(policy, set_mempolicy) { .task = true };
FIXTURE_VARIANT_ADD(policy, mbind) { .task = false };

FIXTURE_SETUP(policy)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	self->both = self->privs | NODE_BIT(self->control);
	self->len = 2 * MIB;
	self->mem = pn_map(self->len);
	ASSERT_NE(NULL, self->mem);
}

FIXTURE_TEARDOWN(policy)
{
	pn_set_mempolicy(MPOL_DEFAULT, NULL);
}

/* 0 or the error number */
static int apply_ptr(FIXTURE_DATA(policy) *self, bool task, int mode,
		     const unsigned long *mask)
{
	long ret = task ? pn_set_mempolicy(mode, mask) :
			  pn_mbind(self->mem, self->len, mode, mask, 0);

	return ret ? errno : 0;
}

static int apply(FIXTURE_DATA(policy) *self, bool task, int mode, unsigned long mask)
{
	return apply_ptr(self, task, mode, &mask);
}

static long report(FIXTURE_DATA(policy) *self, bool task, int *mode, unsigned long *mask)
{
	*mode = -1;
	*mask = 0;
	return task ? pn_get_mempolicy(mode, mask, NULL, 0) :
		      pn_get_mempolicy(mode, mask, self->mem, MPOL_F_ADDR);
}

#define EXPECT_POLICY(want_mode, want_mask) do {				\
	int __mode;								\
	unsigned long __mask;							\
										\
	EXPECT_EQ(0, report(self, variant->task, &__mode, &__mask));		\
	EXPECT_EQ((want_mode), __mode);						\
	EXPECT_EQ((unsigned long)(want_mask), __mask);				\
} while (0)

/* "get_mempolicy(2) reports the flag and the whole mask" */
TEST_F(policy, accepted)
{
	const struct {
		int mode;
		unsigned long mask;
	} good[] = {
		{ MPOL_BIND | pn_flag(), self->privs },
		{ MPOL_BIND | pn_flag(), self->both },
		{ MPOL_BIND | pn_flag() | MPOL_F_STATIC_NODES, self->privs },
		{ MPOL_BIND | pn_flag() | MPOL_F_STATIC_NODES, self->both },
		{ MPOL_PREFERRED | pn_flag(), self->privs },
		{ MPOL_PREFERRED | pn_flag() | MPOL_F_STATIC_NODES, self->privs },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_EQ(0, apply(self, variant->task, good[i].mode, good[i].mask))
			TH_LOG("mode %#x mask %#lx", good[i].mode, good[i].mask);
		EXPECT_POLICY(good[i].mode, good[i].mask);
	}
	ASSERT_EQ(0, apply_ptr(self, variant->task, MPOL_DEFAULT, NULL));
	EXPECT_POLICY(MPOL_DEFAULT, 0);
}

/* An ordinary policy is reported without the flag, as ever. */
TEST_F(policy, ordinary)
{
	ASSERT_EQ(0, apply(self, variant->task, MPOL_BIND, NODE_BIT(self->control)));
	EXPECT_POLICY(MPOL_BIND, NODE_BIT(self->control));
}

/* Modes without a meaning for private nodes: EINVAL */
TEST_F(policy, modes_refused)
{
	static const int modes[] = {
		MPOL_DEFAULT, MPOL_LOCAL, MPOL_WEIGHTED_INTERLEAVE,
	};
	const unsigned long masks[] = { 0, self->privs, self->both, NODE_BIT(self->control) };
	size_t m, k;

	for (m = 0; m < ARRAY_SIZE(modes); m++) {
		for (k = 0; k < ARRAY_SIZE(masks); k++) {
			EXPECT_EQ(EINVAL, apply(self, variant->task,
						modes[m] | MPOL_F_PRIVATE, masks[k]))
				TH_LOG("mode %d mask %#lx", modes[m], masks[k]);
		}
	}
	EXPECT_EQ(EINVAL, apply_ptr(self, variant->task, MPOL_DEFAULT | MPOL_F_PRIVATE, NULL));
	EXPECT_POLICY(MPOL_DEFAULT, 0);
}

/* Other mode flags beside MPOL_F_PRIVATE: EINVAL, except static nodes */
TEST_F(policy, flags_refused)
{
	static const int flags[] = {
		MPOL_F_RELATIVE_NODES, MPOL_F_NUMA_BALANCING,
		MPOL_F_RELATIVE_NODES | MPOL_F_STATIC_NODES,
		MPOL_F_NUMA_BALANCING | MPOL_F_STATIC_NODES,
	};
	static const int modes[] = {
		MPOL_BIND, MPOL_PREFERRED, MPOL_PREFERRED_MANY, MPOL_INTERLEAVE,
	};
	size_t f, m;

	for (f = 0; f < ARRAY_SIZE(flags); f++) {
		for (m = 0; m < ARRAY_SIZE(modes); m++) {
			EXPECT_EQ(EINVAL, apply(self, variant->task,
						modes[m] | flags[f] | MPOL_F_PRIVATE,
						self->privs))
				TH_LOG("mode %d flags %#x", modes[m], flags[f]);
		}
	}
	EXPECT_POLICY(MPOL_DEFAULT, 0);
}

/* Row 41: no other bit of the mode word means anything or opens a node. */
TEST_F(policy, unknown_bits)
{
	int bit;

	for (bit = 3; bit < 31; bit++) {
		if ((1 << bit) & (MPOL_MODE_FLAGS | MPOL_F_PRIVATE))
			continue;
		EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | 1 << bit, self->both))
			TH_LOG("bit %d", bit);
		EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | pn_flag() | 1 << bit,
					self->both))
			TH_LOG("bit %d", bit);
	}
	EXPECT_POLICY(MPOL_DEFAULT, 0);
}

/* Masks that the flag refuses: EINVAL, and the old policy stays */
TEST_F(policy, masks_refused)
{
	int absent = pn_absent_node();
	unsigned long both = self->both;

	ASSERT_EQ(0, apply(self, variant->task, MPOL_BIND, NODE_BIT(self->control)));
	/* none at all */
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | MPOL_F_PRIVATE, 0));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_PREFERRED | MPOL_F_PRIVATE, 0));
	EXPECT_EQ(EINVAL, apply_ptr(self, variant->task, MPOL_BIND | MPOL_F_PRIVATE, NULL));
	EXPECT_EQ(EINVAL, apply_ptr(self, variant->task, MPOL_PREFERRED | MPOL_F_PRIVATE, NULL));
	/* no private node in it */
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | MPOL_F_PRIVATE,
				NODE_BIT(self->control)));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_PREFERRED | MPOL_F_PRIVATE,
				NODE_BIT(self->control)));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | MPOL_F_PRIVATE,
				pn_public_nodes()));
	/* preferred: exactly one node */
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_PREFERRED | MPOL_F_PRIVATE, both));
	/* a node that is not there, alone and among others */
	if (absent >= 0) {
		EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | MPOL_F_PRIVATE,
					NODE_BIT(absent)));
		EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | MPOL_F_PRIVATE,
					NODE_BIT(absent) | self->privs));
		EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_PREFERRED | MPOL_F_PRIVATE,
					NODE_BIT(absent)));
	}
	EXPECT_POLICY(MPOL_BIND, NODE_BIT(self->control));
}

/* A mask that cannot be read: EFAULT; one too long: EINVAL */
TEST_F(policy, bad_mask_pointer)
{
	unsigned long *bad = mmap(NULL, pn_page_size(), PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long mask = self->privs;
	long ret;

	ASSERT_NE(MAP_FAILED, bad);
	EXPECT_EQ(EFAULT, apply_ptr(self, variant->task, MPOL_BIND | pn_flag(), bad));
	errno = 0;
	ret = variant->task ?
		syscall(SYS_set_mempolicy, MPOL_BIND | pn_flag(), &mask,
			8 * pn_page_size() + 2) :
		syscall(SYS_mbind, self->mem, self->len, MPOL_BIND | pn_flag(), &mask,
			8 * pn_page_size() + 2, 0);
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EINVAL, errno);
	EXPECT_POLICY(MPOL_DEFAULT, 0);
}

/*
 * Row 35: "Without the flag a private node counts as a node without memory":
 * dropped from the mask, EINVAL if nothing is left.
 */
TEST_F(policy, without_the_flag)
{
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND, self->privs));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_PREFERRED, self->privs));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_INTERLEAVE, self->privs));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_PREFERRED_MANY, self->privs));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_WEIGHTED_INTERLEAVE, self->privs));
	EXPECT_EQ(EINVAL, apply(self, variant->task, MPOL_BIND | MPOL_F_STATIC_NODES,
				self->privs));
	EXPECT_POLICY(MPOL_DEFAULT, 0);

	EXPECT_EQ(0, apply(self, variant->task, MPOL_BIND, self->both));
	EXPECT_POLICY(MPOL_BIND, NODE_BIT(self->control));
	EXPECT_EQ(0, apply(self, variant->task, MPOL_INTERLEAVE, pn_node_mask("online")));
	EXPECT_POLICY(MPOL_INTERLEAVE, pn_public_nodes());
}

/* fork: the child has the policy, and memory by it */
static int forked(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(policy) *self = arg;
	unsigned long mask;
	int mode;

	/* The variant is told by the task's policy. */
	if (pn_get_mempolicy(&mode, &mask, NULL, 0))
		return 1;
	if (mode == MPOL_DEFAULT) {
		if (report(self, false, &mode, &mask))
			return 2;
	} else {
		self->mem = pn_map(self->len);
	}
	if (mode != (MPOL_BIND | pn_flag()) || mask != self->privs)
		return 3;
	if (pn_touch(self->mem, self->len, pn_page_size(), NULL) != self->len)
		return 4;
	return pn_node_of(self->mem) == self->priv ? 0 : 5;
}

TEST_F(policy, fork_inherits)
{
	ASSERT_EQ(0, apply(self, variant->task, MPOL_BIND | pn_flag(), self->privs));
	EXPECT_EQ(0, pn_run(forked, self, 20));
}

static int exec_path(struct pn_child *child, void *arg)
{
	char mode[32], mask[32];

	snprintf(mode, sizeof(mode), "%d", MPOL_BIND | pn_flag());
	snprintf(mask, sizeof(mask), "%lx", NODE_BIT(pn_private_node()));
	execl(arg, arg, REPORT, mode, mask, NULL);
	return 50;
}

/* In the new program: 0 when the policy is the one that was named. */
static int report_policy(char **argv)
{
	unsigned long mask, want = strtoul(argv[3], NULL, 16);
	int mode, ret = getauxval(AT_SECURE) ? REPORT_SECURE : 0;

	if (pn_get_mempolicy(&mode, &mask, NULL, 0))
		return 10;
	if (mode == MPOL_DEFAULT && !mask)
		return ret + 1;
	return mode == atoi(argv[2]) && mask == want ? ret : ret + 2;
}

/* "a task policy survives exec"; a mapping's policy dies with the mapping */
TEST_F(policy, exec_keeps)
{
	int status;

	ASSERT_EQ(0, apply(self, variant->task, MPOL_BIND | pn_flag(), self->privs));
	status = pn_run(exec_path, "/proc/self/exe", 20);
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(variant->task ? 0 : 1, WEXITSTATUS(status));
}

static int copy_program(const char *to)
{
	int out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0700);
	int in = open("/proc/self/exe", O_RDONLY);
	char buf[8192];
	ssize_t n;

	if (in < 0 || out < 0)
		return -1;
	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(out, buf, n) != n)
			return -1;
	/* Set-user-id of somebody else: the exec is a secure one. */
	if (n || fchown(out, 65534, -1) || fchmod(out, 04755))
		return -1;
	close(in);
	close(out);
	return 0;
}

/* "... but loses the flag on a secure exec": all of the policy is dropped */
TEST_F(policy, secure_exec_drops)
{
	char dir[] = "/tmp/pn_exec.XXXXXX", path[64];
	int status;

	ASSERT_NE(NULL, mkdtemp(dir));
	chmod(dir, 0755);
	snprintf(path, sizeof(path), "%s/report", dir);
	ASSERT_EQ(0, copy_program(path));

	ASSERT_EQ(0, apply(self, variant->task, MPOL_BIND | pn_flag(), self->privs));
	status = pn_run(exec_path, path, 20);
	unlink(path);
	rmdir(dir);
	ASSERT_TRUE(WIFEXITED(status));
	if (WEXITSTATUS(status) < REPORT_SECURE)
		SKIP(return, "%s is mounted nosuid", dir);
	EXPECT_EQ(REPORT_SECURE + 1, WEXITSTATUS(status));
}

FIXTURE(mapping)
{
	int priv, control;
	unsigned long privs, both;
};

FIXTURE_SETUP(mapping)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	self->both = self->privs | NODE_BIT(self->control);
}

FIXTURE_TEARDOWN(mapping)
{
}

/* "numa_maps prints the flag and the per-node counts" */
TEST_F(mapping, numa_maps)
{
	size_t len = 64 * pn_page_size();
	char line[512], want[64], *p;
	int low = self->priv < self->control ? self->priv : self->control;
	int high = self->priv < self->control ? self->control : self->priv;

	p = pn_map_bound(len, MPOL_BIND | pn_flag(), self->privs);
	ASSERT_NE(NULL, p);
	madvise(p, len, MADV_NOHUGEPAGE);
	ASSERT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	ASSERT_EQ(0, pn_numa_maps(p, line, sizeof(line)));
	snprintf(want, sizeof(want), " bind=private:%d ", self->priv);
	EXPECT_NE(NULL, strstr(line, want)) TH_LOG("%s", line);
	snprintf(want, sizeof(want), " N%d=64 ", self->priv);
	EXPECT_NE(NULL, strstr(line, want)) TH_LOG("%s", line);

	ASSERT_EQ(0, pn_mbind(p, len, MPOL_PREFERRED | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, pn_numa_maps(p, line, sizeof(line)));
	snprintf(want, sizeof(want), " prefer=private:%d ", self->priv);
	EXPECT_NE(NULL, strstr(line, want)) TH_LOG("%s", line);

	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag() | MPOL_F_STATIC_NODES,
			      &self->both, 0));
	ASSERT_EQ(0, pn_numa_maps(p, line, sizeof(line)));
	snprintf(want, sizeof(want), high == low + 1 ? "private:%d-%d " : "private:%d,%d ",
		 low, high);
	EXPECT_NE(NULL, strstr(line, want)) TH_LOG("%s", line);
	EXPECT_NE(NULL, strstr(line, "static|")) TH_LOG("%s", line);

	/* An ordinary policy looks as it always did. */
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND, &self->both, 0));
	ASSERT_EQ(0, pn_numa_maps(p, line, sizeof(line)));
	snprintf(want, sizeof(want), " bind:%d ", self->control);
	EXPECT_NE(NULL, strstr(line, want)) TH_LOG("%s", line);
	EXPECT_EQ(NULL, strstr(line, "private")) TH_LOG("%s", line);
	munmap(p, len);
}

static bool starts_mapping(char *p)
{
	char line[512];

	return !pn_numa_maps(p, line, sizeof(line));
}

/* "VMAs with different private masks do not merge", equal ones do */
TEST_F(mapping, merging)
{
	size_t len = 16 * pn_page_size();
	char *p = pn_map(3 * len);
	unsigned long control = NODE_BIT(self->control);

	ASSERT_NE(NULL, p);
	/* The public parts are the same: only the private masks differ. */
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND, &control, 0));
	ASSERT_EQ(0, pn_mbind(p + len, len, MPOL_BIND | pn_flag(), &self->both, 0));
	ASSERT_EQ(0, pn_mbind(p + 2 * len, len, MPOL_BIND, &control, 0));
	EXPECT_TRUE(starts_mapping(p + len));
	EXPECT_TRUE(starts_mapping(p + 2 * len));

	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_TRUE(starts_mapping(p + len));

	/* The control: the same policy three times is one mapping. */
	ASSERT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->both, 0));
	ASSERT_EQ(0, pn_mbind(p + 2 * len, len, MPOL_BIND | pn_flag(), &self->both, 0));
	EXPECT_FALSE(starts_mapping(p + len));
	EXPECT_FALSE(starts_mapping(p + 2 * len));
	munmap(p, 3 * len);
}

/* Row 42: MPOL_F_NODE | MPOL_F_ADDR tells where a page is. */
TEST_F(mapping, node_of_address)
{
	char *p = pn_map_bound(MIB, MPOL_BIND | pn_flag(), self->privs);
	int node = -1;

	ASSERT_NE(NULL, p);
	*p = 1;
	ASSERT_EQ(0, pn_get_mempolicy(&node, NULL, p, MPOL_F_NODE | MPOL_F_ADDR));
	EXPECT_EQ(self->priv, node);
	EXPECT_EQ(self->priv, pn_node_of(p));
	munmap(p, MIB);
}

/* Row 42: and MPOL_F_MEMS_ALLOWED does not have the node. */
TEST_F(mapping, mems_allowed)
{
	unsigned long mask = 0;

	ASSERT_EQ(0, pn_get_mempolicy(NULL, &mask, NULL, MPOL_F_MEMS_ALLOWED));
	EXPECT_EQ(0, mask & self->privs);
	EXPECT_EQ(NODE_BIT(self->control), mask & NODE_BIT(self->control));
}

static char *map_for_reading(int fd, size_t len)
{
	char path[40], *p;
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	if (ro < 0)
		return NULL;
	p = mmap(NULL, len, PROT_READ, MAP_SHARED, ro, 0);
	close(ro);
	return p == MAP_FAILED ? NULL : p;
}

/* Mappings whose memory belongs to a file that they may not write to: EINVAL */
TEST_F(mapping, others_refused)
{
	size_t len = MIB;
	int fd = memfd_create("pn", MFD_CLOEXEC), mode, exe;
	unsigned long mask, control = NODE_BIT(self->control);
	char *readonly, *cow, *text;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, len));
	cow = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, cow);

	/* A policy for a private mapping of it would be one of the file, too. */
	EXPECT_EQ(-1, pn_mbind(cow, len, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, cow, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_DEFAULT, mode);
	/* The file was opened for reading only. */
	exe = open("/bin/sh", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, exe);
	text = mmap(NULL, pn_page_size(), PROT_READ, MAP_SHARED, exe, 0);
	ASSERT_NE(MAP_FAILED, text);
	EXPECT_EQ(-1, pn_mbind(text, pn_page_size(), MPOL_BIND | MPOL_F_PRIVATE,
			       &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	munmap(text, pn_page_size());
	close(exe);
	readonly = map_for_reading(fd, len);
	ASSERT_NE(NULL, readonly);
	EXPECT_EQ(-1, pn_mbind(readonly, len, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	munmap(readonly, len);
	/* The control: an ordinary policy is one of the file. */
	EXPECT_EQ(0, pn_mbind(cow, len, MPOL_BIND, &control, 0));
	munmap(cow, len);
	close(fd);
}

/* "On a hugetlb ... mapping: EINVAL" */
TEST_F(mapping, hugetlb_refused)
{
	size_t len = 4 * MIB;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	unsigned long control = NODE_BIT(self->control);

	if (p == MAP_FAILED)
		SKIP(return, "no hugetlb");
	EXPECT_EQ(0, pn_mbind(p, len, MPOL_BIND, &control, 0));
	EXPECT_EQ(-1, pn_mbind(p, len, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pn_mbind(p, len, MPOL_PREFERRED | MPOL_F_PRIVATE, &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	munmap(p, len);
}

/* "no part of the call takes effect": a range that ends in the memory of a file */
TEST_F(mapping, all_or_nothing)
{
	size_t len = 16 * pn_page_size();
	unsigned long mask;
	int mode;
	char *p = pn_map(2 * len);
	int fd = memfd_create("pn", MFD_CLOEXEC);

	ASSERT_NE(NULL, p);
	ASSERT_LE(0, fd);
	ASSERT_EQ(p + len, mmap(p + len, len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_FIXED, fd, 0));
	close(fd);
	EXPECT_EQ(-1, pn_mbind(p, 2 * len, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_DEFAULT, mode);
	/* The control: its first half alone */
	EXPECT_EQ(0, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->privs, 0));
	munmap(p, 2 * len);
}

/* The errors that mbind(2) always had come with the flag, too. */
TEST_F(mapping, mbind_errors)
{
	size_t len = 16 * pn_page_size();
	char *p = pn_map(3 * len);

	ASSERT_NE(NULL, p);
	EXPECT_EQ(-1, pn_mbind(p + 1, len, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pn_mbind(p, len, MPOL_BIND | pn_flag(), &self->privs, 1 << 10));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pn_mbind(p, -(size_t)pn_page_size(), MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(EINVAL, errno);
	munmap(p + len, len);
	EXPECT_EQ(-1, pn_mbind(p, 3 * len, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(EFAULT, errno);
	munmap(p, 3 * len);
}

static int mount_tmpfs(struct pn_child *child, void *arg)
{
	char dir[] = "/tmp/pn_mpol.XXXXXX";
	int ret;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    !mkdtemp(dir))
		return 200;
	ret = mount("pn", dir, "tmpfs", 0, arg) ? errno : 0;
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	return ret;
}

/* Rows 35, 47: "the tmpfs option refuses it", as any node without memory */
TEST_F(mapping, tmpfs_option_refused)
{
	static const char * const refused[] = {
		"mpol=bind:%d", "mpol=prefer:%d", "mpol=interleave:%d", "mpol=bind=static:%d",
		"mpol=bind=relative|private:%d", "mpol=bind=private|static:%d",
		"mpol=local=private:%d", "mpol=weighted interleave=private:%d",
		"mpol=default=private:%d", "mpol=bind=privat:%d",
	};
	char option[64];
	size_t i;
	int status;

	snprintf(option, sizeof(option), "mpol=bind:%d", self->control);
	ASSERT_EQ(0, pn_run(mount_tmpfs, option, 20));
	for (i = 0; i < ARRAY_SIZE(refused); i++) {
		snprintf(option, sizeof(option), refused[i], self->priv);
		status = pn_run(mount_tmpfs, option, 20);
		ASSERT_TRUE(WIFEXITED(status));
		EXPECT_EQ(EINVAL, WEXITSTATUS(status))
			TH_LOG("%s", option);
	}
}

/* set_mempolicy_home_node(2) works on a bound private mapping. */
TEST_F(mapping, home_node)
{
	char *p = pn_map_bound(MIB, MPOL_BIND | pn_flag(), self->both);
	unsigned long mask;
	int mode;

	ASSERT_NE(NULL, p);
	EXPECT_EQ(0, pn_set_home_node(p, MIB, self->control));
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_BIND | pn_flag(), mode);
	EXPECT_EQ(self->both, mask);
	/* Nearest to the home node: itself. */
	ASSERT_EQ(MIB, pn_touch(p, MIB, pn_page_size(), NULL));
	EXPECT_EQ(self->control, pn_node_of(p));
	munmap(p, MIB);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], REPORT))
		return report_policy(argv);
	return test_harness_run(argc, argv);
}
