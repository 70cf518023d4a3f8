// SPDX-License-Identifier: GPL-2.0
/*
 * Who may use a private node: cpuset.mems.private of cgroup v2, handed down,
 * taken back, and inherited; and how it goes together with CAP_SYS_NICE.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define LEN		(16 * pn_page_size())
#define NOBODY		65534

/* What children and their parent tell each other */
struct shared {
	int step;
	int sig;
	long pages;
	char *addr;
};

FIXTURE(access)
{
	int priv, control;
	unsigned long privs;
	char root[40], a[80], b[100], c[100];
	struct shared *shared;
};

static int put(const char *dir, const char *name, const char *text)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	/* A write of nothing is none. */
	return pn_write_file(path, *text ? text : "\n");
}

static const char *get(const char *dir, const char *name)
{
	static char text[200];
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return pn_read_line(path, text, sizeof(text)) ? "(unreadable)" : text;
}

#define EXPECT_FILE(text, dir, name)	EXPECT_STREQ(text, get(dir, name))

static const char *number(int nid)
{
	static char text[8];

	snprintf(text, sizeof(text), "%d", nid);
	return text;
}

/* root -> a -> b, and a sibling c of a without any grant */
FIXTURE_SETUP(access)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	if (pn_forced())
		SKIP(return, "there is nothing to grant");
	self->privs = NODE_BIT(self->priv);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	strcpy(self->root, "/tmp/pn_access.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->root));
	ASSERT_EQ(0, mount("pn", self->root, "cgroup2", 0, NULL));
	ASSERT_EQ(0, chmod(self->root, 0755));
	snprintf(self->a, sizeof(self->a), "%s/pn_a", self->root);
	snprintf(self->b, sizeof(self->b), "%s/b", self->a);
	snprintf(self->c, sizeof(self->c), "%s/pn_c", self->root);
	ASSERT_EQ(0, put(self->root, "cgroup.subtree_control", "+cpuset"));
	ASSERT_EQ(0, mkdir(self->a, 0755));
	ASSERT_EQ(0, put(self->a, "cgroup.subtree_control", "+cpuset"));
	ASSERT_EQ(0, mkdir(self->b, 0755));
	ASSERT_EQ(0, mkdir(self->c, 0755));
	self->shared = mmap(NULL, pn_page_size(), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->shared);
	memset(self->shared, 0, sizeof(*self->shared));
}

FIXTURE_TEARDOWN(access)
{
	if (self->priv < 0 || self->control < 0 || pn_forced())
		return;
	rmdir(self->b);
	rmdir(self->a);
	rmdir(self->c);
	umount2(self->root, MNT_DETACH);
	rmdir(self->root);
	munmap(self->shared, pn_page_size());
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

static int become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return -1;
	/* Parents look at it and write to it */
	return prctl(PR_SET_DUMPABLE, 1);
}

static int enter(const char *dir)
{
	return put(dir, "cgroup.procs", "0");
}

/* What is in the files, before and after it was written */
TEST_F(access, files)
{
	char text[40];

	EXPECT_FILE("", self->root, "cpuset.mems.private.effective");
	EXPECT_FILE("(unreadable)", self->root, "cpuset.mems.private");
	EXPECT_FILE("", self->a, "cpuset.mems.private");
	EXPECT_FILE("", self->a, "cpuset.mems.private.effective");
	EXPECT_FILE("", self->b, "cpuset.mems.private.effective");

	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_FILE(number(self->priv), self->a, "cpuset.mems.private");
	EXPECT_FILE(number(self->priv), self->a, "cpuset.mems.private.effective");
	/* inherited */
	EXPECT_FILE("", self->b, "cpuset.mems.private");
	EXPECT_FILE(number(self->priv), self->b, "cpuset.mems.private.effective");
	EXPECT_FILE("", self->c, "cpuset.mems.private.effective");

	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", "none"));
	EXPECT_FILE("none", self->b, "cpuset.mems.private");
	EXPECT_FILE("", self->b, "cpuset.mems.private.effective");
	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", ""));
	EXPECT_FILE("", self->b, "cpuset.mems.private");
	EXPECT_FILE(number(self->priv), self->b, "cpuset.mems.private.effective");

	/* What is not private is remembered, and means nothing. */
	snprintf(text, sizeof(text), "%d,%d", self->control, self->priv);
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", text));
	EXPECT_FILE(number(self->priv), self->a, "cpuset.mems.private.effective");
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->control)));
	EXPECT_FILE("", self->a, "cpuset.mems.private.effective");

	/* A child cannot have what its parent has not. */
	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", number(self->priv)));
	EXPECT_FILE("", self->b, "cpuset.mems.private.effective");
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_FILE(number(self->priv), self->b, "cpuset.mems.private.effective");
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", ""));
	EXPECT_FILE("", self->b, "cpuset.mems.private.effective");
	/* None of it has to do with cpuset.mems. */
	EXPECT_FILE("", self->a, "cpuset.mems");
}

TEST_F(access, bad_values)
{
	static const char * const bad[] = { "x", "none,1", "NONE", "1-", "-1", "3-1", "none 1" };
	size_t i;

	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, put(self->a, "cpuset.mems.private", bad[i])) TH_LOG("%s", bad[i]);
		EXPECT_EQ(EINVAL, errno) TH_LOG("%s", bad[i]);
	}
	EXPECT_EQ(-1, put(self->a, "cpuset.mems.private", "99999"));
	EXPECT_EQ(ERANGE, errno);
	EXPECT_EQ(-1, put(self->a, "cpuset.mems.private.effective", "0"));
	/* and nothing has changed. */
	EXPECT_FILE(number(self->priv), self->a, "cpuset.mems.private");
	EXPECT_FILE(number(self->priv), self->a, "cpuset.mems.private.effective");
}

static int use_as_nobody(FIXTURE_DATA(access) *self, const char *dir)
{
	unsigned long mask;
	char *p;
	int mode;

	if (enter(dir) || become_nobody())
		return 1;
	p = pn_map(LEN);
	if (!p)
		return 2;
	if (pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0))
		return errno == EPERM ? 100 : 3;
	if ((long)pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
	    pn_node_of(p) != self->priv)
		return 4;
	/* And by the other call */
	if (pn_set_mempolicy(MPOL_PREFERRED | MPOL_F_PRIVATE, &self->privs))
		return 5;
	p = pn_map(LEN);
	if (!p || (long)pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
	    pn_node_of(p) != self->priv)
		return 6;
	return pn_get_mempolicy(&mode, &mask, NULL, 0) || mask != self->privs ? 7 : 0;
}

static int use_in_a(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;

	return use_as_nobody(self, self->a);
}

static int use_in_b(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;

	return use_as_nobody(self, self->b);
}

static int use_in_c(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;

	return use_as_nobody(self, self->c);
}

#define EXPECT_RUN(code, fn) do {						\
	int _status = pn_run(fn, self, 60);					\
	EXPECT_EQ(code, WIFEXITED(_status) ? WEXITSTATUS(_status) : -_status);	\
} while (0)

/* A grant is enough; without one it is EPERM. */
TEST_F(access, grant)
{
	EXPECT_RUN(100, use_in_a);
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_RUN(0, use_in_a);
	EXPECT_RUN(0, use_in_b);
	EXPECT_RUN(100, use_in_c);
	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", "none"));
	EXPECT_RUN(0, use_in_a);
	EXPECT_RUN(100, use_in_b);
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->control)));
	EXPECT_RUN(100, use_in_a);
}

/* Touches a page whenever it is told to, and says what came of it. */
static int toucher(struct pn_child *child, FIXTURE_DATA(access) *self, bool nobody)
{
	struct shared *shared = self->shared;
	struct pn_fault fault;
	int step = 0;
	char *p;

	if (nobody && become_nobody())
		return 1;
	p = pn_map(LEN);
	if (!p || pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0))
		return 2;
	/* What the answer needs must not be private itself. */
	pn_prefault_stack();
	shared->addr = p;
	while (__atomic_load_n(&shared->step, __ATOMIC_ACQUIRE) >= 0) {
		if (__atomic_load_n(&shared->step, __ATOMIC_ACQUIRE) == step) {
			usleep(1000);
			continue;
		}
		step = shared->step;
		shared->sig = 0;
		if (pn_touch(p + (step - 1) * pn_page_size(), pn_page_size(),
			     pn_page_size(), &fault) != (size_t)pn_page_size())
			shared->sig = fault.sig;
		__atomic_store_n(&shared->pages, step, __ATOMIC_RELEASE);
	}
	return 0;
}

static int toucher_in_b(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;

	return enter(self->b) ? 10 : toucher(child, self, true);
}

static int privileged_in_c(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;

	return enter(self->c) ? 10 : toucher(child, self, false);
}

/* Have the child touch its next page; the signal that it got, or -1. */
static int touch_next(struct shared *shared)
{
	double end = pn_now() + pn_slow(10);
	int step = shared->step + 1;

	__atomic_store_n(&shared->step, step, __ATOMIC_RELEASE);
	while (__atomic_load_n(&shared->pages, __ATOMIC_ACQUIRE) != step) {
		if (pn_now() > end)
			return -1;
		usleep(1000);
	}
	return shared->sig;
}

static void stop(struct shared *shared)
{
	__atomic_store_n(&shared->step, -1, __ATOMIC_RELEASE);
}

/* A revocation is immediate; pages that are there stay; no widening. */
TEST_F_TIMEOUT(access, revoked, 120)
{
	struct pn_child child;
	char text[16];
	long used;

	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	ASSERT_EQ(0, pn_spawn(&child, toucher_in_b, self));
	EXPECT_EQ(0, touch_next(self->shared));
	EXPECT_EQ(0, touch_next(self->shared));
	pn_settle();
	used = pn_used(self->priv);
	EXPECT_LT(0, used);

	/* of the parent of its cgroup */
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", "none"));
	EXPECT_EQ(SIGBUS, touch_next(self->shared));
	pn_settle();
	EXPECT_EQ(used, pn_used(self->priv));
	/* and given back */
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_EQ(0, touch_next(self->shared));
	/* of its own */
	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", "none"));
	EXPECT_EQ(SIGBUS, touch_next(self->shared));
	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", ""));
	EXPECT_EQ(0, touch_next(self->shared));
	/* Moved to where there is no grant */
	snprintf(text, sizeof(text), "%d", child.pid);
	ASSERT_EQ(0, put(self->c, "cgroup.procs", text));
	EXPECT_EQ(SIGBUS, touch_next(self->shared));
	ASSERT_EQ(0, put(self->a, "cgroup.subtree_control", "-cpuset"));
	ASSERT_EQ(0, put(self->b, "cgroup.procs", text));
	/* b has no cpuset of its own now, that of a counts. */
	EXPECT_EQ(0, touch_next(self->shared));
	stop(self->shared);
	EXPECT_EQ(0, pn_reap(&child, 20));
}

/* A policy that was set with CAP_SYS_NICE does not depend on a cgroup. */
TEST_F_TIMEOUT(access, privileged, 120)
{
	struct pn_child child;

	ASSERT_EQ(0, put(self->c, "cpuset.mems.private", "none"));
	ASSERT_EQ(0, pn_spawn(&child, privileged_in_c, self));
	EXPECT_EQ(0, touch_next(self->shared));
	ASSERT_EQ(0, put(self->c, "cpuset.mems.private", number(self->priv)));
	EXPECT_EQ(0, touch_next(self->shared));
	ASSERT_EQ(0, put(self->c, "cpuset.mems.private", "none"));
	EXPECT_EQ(0, touch_next(self->shared));
	stop(self->shared);
	EXPECT_EQ(0, pn_reap(&child, 20));
}

/* Remote access: the right of the owner counts, not that of the debugger. */
TEST_F_TIMEOUT(access, remote, 120)
{
	char data[8] = "private";
	struct iovec from = { data, sizeof(data) }, to = { NULL, sizeof(data) };
	struct pn_child child;

	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	ASSERT_EQ(0, pn_spawn(&child, toucher_in_b, self));
	EXPECT_EQ(0, touch_next(self->shared));
	/* We are in no cgroup that has a grant. */
	to.iov_base = self->shared->addr + 8 * pn_page_size();
	EXPECT_EQ(8, process_vm_writev(child.pid, &from, 1, &to, 1, 0));
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", "none"));
	to.iov_base = self->shared->addr + 9 * pn_page_size();
	EXPECT_EQ(-1, process_vm_writev(child.pid, &from, 1, &to, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	stop(self->shared);
	EXPECT_EQ(0, pn_reap(&child, 20));
}

static int fill_memfd(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	int fd = self->shared->sig, i;
	char *p;

	/* Set by one with the right; a child without touches. */
	if (enter(self->b) || become_nobody())
		return 1;
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return 2;
	/* Policies of parts, so that those of the whole are split and joined */
	for (i = 0; i < 100; i++) {
		if (pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0))
			return 3;
		if (pn_mbind(p + (1 + i % 8) * pn_page_size(), 4 * pn_page_size(),
			     MPOL_DEFAULT, NULL, 0))
			return 4;
		if (pn_mbind(p + (4 + i % 8) * pn_page_size(), pn_page_size(),
			     MPOL_INTERLEAVE | MPOL_F_PRIVATE, &self->privs, 0))
			return 5;
	}
	return pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0) ? 6 : 0;
}

static int touch_memfd(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	int fd = self->shared->sig;
	size_t half = LEN / 2, offset = self->shared->step ? half : 0;
	char *p;

	if (enter(self->c) || become_nobody())
		return 1;
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return 2;
	if (pn_touch(p + offset, half, pn_page_size(), NULL) != half)
		return 100;
	return pn_node_of(p + offset) == self->priv ? 0 : 3;
}

/* Shared memory: the right of the one who set the policy */
TEST_F_TIMEOUT(access, shared_memory, 120)
{
	int fd = memfd_create("pn", MFD_CLOEXEC);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	ASSERT_EQ(0, fchmod(fd, 0666));
	self->shared->sig = fd;
	EXPECT_RUN(3, fill_memfd);
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_RUN(0, fill_memfd);
	EXPECT_RUN(0, touch_memfd);
	/* Which can be taken back, although that one has gone. */
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", "none"));
	self->shared->step = 1;
	EXPECT_RUN(100, touch_memfd);

	/* Nor does it help that its cgroup has gone, too. */
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_RUN(0, fill_memfd);
	ASSERT_EQ(0, pn_remove_group(self->b));
	EXPECT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LEN));
	EXPECT_RUN(0, touch_memfd);
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", "none"));
	EXPECT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, LEN));
	EXPECT_RUN(100, touch_memfd);
	close(fd);
}

/*
 * The grant of a cgroup at the first level goes with it: there is nobody left who
 * could take it back.
 */
TEST_F_TIMEOUT(access, removed_cgroup, 120)
{
	const char *const dirs[] = { self->b, self->a };
	int fd = memfd_create("pn", MFD_CLOEXEC), i;
	size_t n;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, LEN));
	ASSERT_EQ(0, fchmod(fd, 0666));
	self->shared->sig = fd;
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_RUN(0, fill_memfd);
	EXPECT_RUN(0, touch_memfd);
	for (n = 0; n < ARRAY_SIZE(dirs); n++)
		ASSERT_EQ(0, pn_remove_group(dirs[n]));
	/* What rmdir() has begun, a worker ends. */
	for (i = 0; i < 100; i++) {
		int status;

		EXPECT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				       0, LEN));
		status = pn_run(touch_memfd, self, 20);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			break;
		usleep(50000);
	}
	EXPECT_RUN(100, touch_memfd);
	close(fd);
}

static int dropped(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	char *p;

	if (enter(self->c))
		return 1;
	p = pn_map_bound(LEN, MPOL_BIND | MPOL_F_PRIVATE, self->privs);
	if (!p || become_nobody())
		return 2;
	if ((long)pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
	    pn_node_of(p) != self->priv)
		return 3;
	/* but no new one */
	p = pn_map(LEN);
	if (pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0) != -1)
		return 4;
	return errno == EPERM ? 0 : 5;
}

/* A server may set its policy first, and drop its privileges then. */
TEST_F(access, privileges_dropped)
{
	EXPECT_RUN(0, dropped);
}

static int public_part(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	unsigned long with_cpu = self->privs | NODE_BIT(pn_cpu_node());
	unsigned long with_control = self->privs | NODE_BIT(self->control);
	char *p = pn_map(LEN);

	if (!p || enter(self->b))
		return 1;
	if (pn_set_mempolicy(MPOL_BIND | MPOL_F_PRIVATE, &with_cpu) ||
	    pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &with_cpu, 0) ||
	    pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0))
		return 2;
	if (pn_set_mempolicy(MPOL_BIND | MPOL_F_PRIVATE, &with_control) != -1 || errno != EINVAL)
		return 3;
	if (pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &with_control, 0) != -1 ||
	    errno != EINVAL)
		return 4;
	return 0;
}

/* The public nodes of a mask, if any, have to be allowed by the cpuset: EINVAL. */
TEST_F(access, public_part)
{
	ASSERT_EQ(0, put(self->b, "cpuset.mems", number(pn_cpu_node())));
	EXPECT_RUN(0, public_part);
}

static int user_namespace(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	char *p = pn_map(LEN);

	if (!p || enter(self->c) || become_nobody() || unshare(CLONE_NEWUSER))
		return 1;
	if (pn_mbind(p, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0) != -1)
		return 2;
	return errno == EPERM ? 0 : 3;
}

/* All capabilities of another user namespace are none. */
TEST_F(access, user_namespace)
{
	EXPECT_RUN(0, user_namespace);
}

static int delegated(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	char sub[120];
	int ret = 0;

	if (enter(self->b) || become_nobody())
		return 1;
	snprintf(sub, sizeof(sub), "%s/sub", self->b);
	if (mkdir(sub, 0755) || enter(sub) || put(self->b, "cgroup.subtree_control", "+cpuset"))
		return 2;
	if (strcmp(get(sub, "cpuset.mems.private.effective"), number(self->priv)))
		ret = 3;
	/* It may hand down and hold back what it has, */
	else if (put(sub, "cpuset.mems.private", "none") ||
		 strcmp(get(sub, "cpuset.mems.private.effective"), ""))
		ret = 4;
	else if (put(sub, "cpuset.mems.private", number(self->priv)) ||
		 strcmp(get(sub, "cpuset.mems.private.effective"), number(self->priv)))
		ret = 5;
	/* not change what it was given. */
	else if (put(self->b, "cpuset.mems.private", "0-3") != -1 || errno != EACCES)
		ret = 6;
	return ret;
}

/* Delegation to a user, as of any cgroup resource */
TEST_F(access, delegation)
{
	static const char * const files[] = { "", "cgroup.procs", "cgroup.subtree_control" };
	char path[200];
	size_t i;

	ASSERT_EQ(0, put(self->b, "cpuset.mems.private", number(self->priv)));
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", self->b, files[i]);
		ASSERT_EQ(0, chown(path, NOBODY, NOBODY));
	}
	EXPECT_RUN(0, delegated);
	snprintf(path, sizeof(path), "%s/sub", self->b);
	EXPECT_EQ(0, pn_remove_group(path));
}

static int mems_private(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	unsigned long mask = 0;
	char line[200], want[80];
	int mode = -1;

	/* With the capability: all there are */
	if (pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE) || mode ||
	    mask != pn_node_mask("has_private_memory"))
		return 1;
	if (pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE | MPOL_F_NODE) != -1 ||
	    errno != EINVAL)
		return 2;
	if (pn_get_mempolicy(&mode, &mask, line, MPOL_F_MEMS_PRIVATE | MPOL_F_ADDR) != -1 ||
	    errno != EINVAL)
		return 3;
	if (pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE | MPOL_F_MEMS_ALLOWED) != -1 ||
	    errno != EINVAL)
		return 4;
	if (enter(self->a) || become_nobody())
		return 5;
	/* Nothing is to be known of an address */
	if (pn_get_mempolicy(&mode, &mask, line, MPOL_F_MEMS_PRIVATE) != -1 ||
	    errno != EINVAL)
		return 9;
	if (pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE) || mask != self->privs)
		return 6;
	snprintf(want, sizeof(want), "grep -qx 'Mems_private_allowed_list:\t%d' /proc/%d/status",
		 self->priv, getpid());
	if (system(want))
		return 7;
	return 0;
}

static int mems_private_none(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(access) *self = arg;
	unsigned long mask = ~0UL;
	int mode;

	if (enter(self->c) || become_nobody())
		return 1;
	return pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE) || mask ? 2 : 0;
}

TEST_F(access, mems_private)
{
	ASSERT_EQ(0, put(self->a, "cpuset.mems.private", number(self->priv)));
	EXPECT_RUN(0, mems_private);
	EXPECT_RUN(0, mems_private_none);
}

/* The counter of refusals */
TEST_F(access, refusals_counted)
{
	char path[100];
	long before;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/refused", self->priv);
	before = pn_read_long(path);
	EXPECT_RUN(100, use_in_c);
	EXPECT_EQ(before + 1, pn_read_long(path));
}

TEST_HARNESS_MAIN
