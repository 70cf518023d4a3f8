// SPDX-License-Identifier: GPL-2.0
/*
 * Shared memory on private nodes: memfd, tmpfs, shared anonymous memory and
 * System V segments, by a policy of the file and never by that of a task.
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
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE	0x0010
#endif

#define LEN		(64 * pn_page_size())
#define HUGE_SIZE	(2 * MIB)

FIXTURE(shared)
{
	int priv, control, fd;
	unsigned long privs, both;
	char *mem, dir[40];
};

FIXTURE_SETUP(shared)
{
	self->fd = -1;
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	self->privs = NODE_BIT(self->priv);
	self->both = self->privs | NODE_BIT(self->control);
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->fd = memfd_create("pn", MFD_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, LEN));
	self->mem = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
}

FIXTURE_TEARDOWN(shared)
{
	if (self->fd < 0)
		return;
	munmap(self->mem, LEN);
	close(self->fd);
	if (self->dir[0]) {
		umount2(self->dir, MNT_DETACH);
		rmdir(self->dir);
	}
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Maps what others have written, too. */
static void read_all(const volatile char *p)
{
	long i;

	for (i = 0; i < LEN; i += pn_page_size())
		p[i];
}

#define EXPECT_PAGES(nid, addr) do {						\
	long _count[PN_MAXNODE];						\
	read_all(addr);								\
	ASSERT_EQ(64, pn_count_nodes(addr, LEN, _count));			\
	EXPECT_EQ(64, _count[nid]);						\
} while (0)

/* A mapping of each kind, bound and touched */
TEST_F(shared, kinds)
{
	char *anon = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int id = shmget(IPC_PRIVATE, LEN, IPC_CREAT | 0600);
	char *sysv = id < 0 ? (char *)-1 : shmat(id, NULL, 0);

	shmctl(id, IPC_RMID, NULL);
	ASSERT_NE(MAP_FAILED, anon);
	ASSERT_NE((char *)-1, sysv);
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, pn_mbind(anon, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(0, pn_mbind(sysv, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(LEN, (long)pn_touch(self->mem, LEN, pn_page_size(), NULL));
	ASSERT_EQ(LEN, (long)pn_touch(anon, LEN, pn_page_size(), NULL));
	ASSERT_EQ(LEN, (long)pn_touch(sysv, LEN, pn_page_size(), NULL));
	EXPECT_PAGES(self->priv, self->mem);
	EXPECT_PAGES(self->priv, anon);
	EXPECT_PAGES(self->priv, sysv);
	munmap(anon, LEN);
	shmdt(sysv);
}

static int touch_as_nobody(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;
	unsigned long mask;
	char *p;
	int mode;

	if (setgid(65534) || setuid(65534))
		return 1;
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, 0);
	if (p == MAP_FAILED || (long)pn_touch(p, LEN, pn_page_size(), NULL) != LEN)
		return 2;
	if (pn_get_mempolicy(&mode, &mask, p, MPOL_F_ADDR) ||
	    mode != (MPOL_BIND | pn_flag()) || mask != self->privs)
		return 3;
	return 0;
}

/*
 * "The mapping must be shared and writable": one that a seal keeps from writing
 * has no say in where the memory of the others is.
 */
TEST_F(shared, sealed)
{
	unsigned long mask = NODE_BIT(self->priv);
	int fd = memfd_create("pn", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *p;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, MIB));
	p = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, pn_mbind(p, MIB, MPOL_BIND | pn_flag(), &mask, 0));
	munmap(p, MIB);

	ASSERT_EQ(0, fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	p = mmap(NULL, MIB, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(-1, pn_mbind(p, MIB, MPOL_BIND | pn_flag(), &mask, 0));
	EXPECT_EQ(EINVAL, errno);
	munmap(p, MIB);
	close(fd);
}

/* Whose right counts: that of who set the policy; all who touch it follow it. */
TEST_F(shared, set_by_one_touched_by_another)
{
	int status;

	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	status = pn_run(touch_as_nobody, self, 30);
	EXPECT_EQ(0, status) TH_LOG("exit status %d", WEXITSTATUS(status));
	EXPECT_PAGES(self->priv, self->mem);
}

/* What a task copies of the file is its own, and the policy of the file not for it. */
static int copies(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;
	char *cow = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0);

	if (setgid(65534) || setuid(65534) || cow == MAP_FAILED)
		return 1;
	/* Of pages that are there, and of holes */
	if ((long)pn_touch(cow, LEN, pn_page_size(), NULL) != LEN)
		return 2;
	return pn_on_node(cow, LEN, self->priv) ? 3 : 0;
}

TEST_F(shared, private_copies)
{
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(LEN / 2, (long)pn_touch(self->mem, LEN / 2, pn_page_size(), NULL));
	EXPECT_EQ(0, pn_run(copies, self, 30));
	EXPECT_EQ(32, pn_on_node(self->mem, LEN / 2, self->priv));
}

/* Who may not write to the file does not take its policy away, either. */
TEST_F(shared, kept)
{
	unsigned long control = NODE_BIT(self->control), mask;
	char *cow = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, 0), *ro;
	char path[40];
	int fd, mode;

	if (pn_forced())
		SKIP(return, "nothing to refuse");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, fd);
	ro = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, cow);
	ASSERT_NE(MAP_FAILED, ro);
	/* The control: an ordinary policy is anybody's to change. */
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND, &control, 0));
	EXPECT_EQ(0, pn_mbind(ro, LEN, MPOL_PREFERRED, &control, 0));
	EXPECT_EQ(0, pn_mbind(ro, LEN, MPOL_DEFAULT, NULL, 0));
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0));
	EXPECT_EQ(-1, pn_mbind(ro, LEN, MPOL_LOCAL, NULL, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, pn_mbind(ro + LEN / 2, LEN / 2, MPOL_BIND, &control, 0));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, pn_mbind(cow, LEN, MPOL_LOCAL, NULL, 0));
	EXPECT_EQ(EPERM, errno);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, self->mem + LEN / 2, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_BIND | MPOL_F_PRIVATE, mode);
	EXPECT_EQ(self->privs, mask);
	/* Who may write can. */
	EXPECT_EQ(0, pn_mbind(self->mem, LEN / 2, MPOL_DEFAULT, NULL, 0));
	EXPECT_EQ(0, pn_mbind(ro, LEN / 2, MPOL_BIND, &control, 0));
	munmap(cow, LEN);
	munmap(ro, LEN);
	close(fd);
}

static int homes_without_right(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;

	if (pn_drop_cap(23 /* CAP_SYS_NICE */))
		return 1;
	return pn_set_home_node(self->mem, LEN, self->control) == -1 ? errno : 0;
}

/* A policy that was inherited is not set once more without the right to it. */
TEST_F(shared, home_node)
{
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(0, pn_set_home_node(self->mem, LEN, self->control));
	if (!pn_forced())
		EXPECT_EQ(EPERM, WEXITSTATUS(pn_run(homes_without_right, self, 30)));
}

/* Memory that is written with write(2) belongs to the file as well. */
TEST_F(shared, write)
{
	char *data = pn_map(LEN);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(LEN, (long)pn_touch(data, LEN, pn_page_size(), NULL));
	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(LEN, pwrite(self->fd, data, LEN, 0));
	EXPECT_EQ(0, memcmp(data, self->mem, LEN));
	EXPECT_PAGES(self->priv, self->mem);
	munmap(data, LEN);
}

/* Half of the file; the other half is as before. */
TEST_F(shared, range)
{
	long count[PN_MAXNODE];

	ASSERT_EQ(0, pn_mbind(self->mem, LEN / 2, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(LEN, (long)pn_touch(self->mem, LEN, pn_page_size(), NULL));
	ASSERT_EQ(64, pn_count_nodes(self->mem, LEN, count));
	EXPECT_EQ(32, count[self->priv]);
	EXPECT_EQ(self->priv, pn_node_of(self->mem));
	EXPECT_NE(self->priv, pn_node_of(self->mem + LEN / 2));
}

TEST_F(shared, interleave)
{
	long count[PN_MAXNODE];

	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_INTERLEAVE | pn_flag(), &self->both, 0));
	ASSERT_EQ(LEN, (long)pn_touch(self->mem, LEN, pn_page_size(), NULL));
	ASSERT_EQ(64, pn_count_nodes(self->mem, LEN, count));
	EXPECT_EQ(32, count[self->priv]);
	EXPECT_EQ(32, count[self->control]);
}

static int under_task_policy(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;
	char *p;

	if (pn_set_mempolicy(MPOL_BIND | pn_flag(), &self->privs))
		return 1;
	if ((long)pn_touch(self->mem, LEN, pn_page_size(), NULL) != LEN)
		return 2;
	/* The control: memory of its own */
	p = pn_map(pn_page_size());
	if (!p)
		return 3;
	p[0] = 1;
	return pn_node_of(p) == self->priv ? 0 : 4;
}

/* Decision 8: only under an explicit shared policy */
TEST_F(shared, task_policy)
{
	long count[PN_MAXNODE];
	int status = pn_run(under_task_policy, self, 30);

	EXPECT_EQ(0, status) TH_LOG("exit status %d", WEXITSTATUS(status));
	read_all(self->mem);
	ASSERT_EQ(64, pn_count_nodes(self->mem, LEN, count));
	EXPECT_EQ(0, count[self->priv]);
}

static int bind_without_right(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;

	/* CAP_SYS_NICE */
	if (pn_drop_cap(23))
		return 1;
	if (pn_mbind(self->mem, LEN, MPOL_BIND | MPOL_F_PRIVATE, &self->privs, 0) != -1)
		return 2;
	return errno == EPERM ? 0 : 3;
}

TEST_F(shared, without_right)
{
	unsigned long mask;
	int mode;

	if (pn_forced())
		SKIP(return, "nothing to refuse");
	EXPECT_EQ(0, pn_run(bind_without_right, self, 30));
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, self->mem, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_DEFAULT, mode);
}

/* A full node: SIGBUS for a touch, ENOSPC for write(2) and fallocate(2) */
TEST_F_TIMEOUT(shared, exhausted, 300)
{
	size_t len = 64 * MIB, filled;
	long kills = pn_vmstat("oom_kill");
	struct pn_zones zones;
	struct pn_fault fault;
	char *filler, *p, *data = pn_map(MIB);
	int big = memfd_create("pn_big", MFD_CLOEXEC);
	ssize_t written = 0, n;

	ASSERT_NE(NULL, data);
	ASSERT_LE(0, big);
	ASSERT_EQ(MIB, pn_touch(data, MIB, pn_page_size(), NULL));
	ASSERT_EQ(0, ftruncate(big, 3 * len));
	p = mmap(NULL, 3 * len, PROT_READ | PROT_WRITE, MAP_SHARED, big, 0);
	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, pn_mbind(p, 3 * len, MPOL_BIND | pn_flag(), &self->privs, 0));

	ASSERT_EQ(0, pn_zones(self->priv, &zones));
	filled = (zones.free * pn_page_size() - 24 * MIB) & ~(HUGE_SIZE - 1);
	filler = pn_map_bound(filled, MPOL_BIND | pn_flag(), self->privs);
	ASSERT_NE(NULL, filler);
	madvise(filler, filled, MADV_HUGEPAGE);
	ASSERT_EQ(filled, pn_touch(filler, filled, HUGE_SIZE, NULL));

	EXPECT_GT(len, pn_touch(p, len, pn_page_size(), &fault));
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(BUS_ADRERR, fault.code);

	while ((n = pwrite(big, data, MIB, len + written)) > 0 && written < (ssize_t)len)
		written += n;
	EXPECT_EQ(-1, n);
	EXPECT_EQ(ENOSPC, errno);

	EXPECT_EQ(-1, fallocate(big, 0, 2 * len, len));
	EXPECT_EQ(ENOSPC, errno);

	/* Memory without the policy is none of its business. */
	EXPECT_EQ(LEN, (long)pn_touch(self->mem, LEN, pn_page_size(), NULL));
	EXPECT_EQ(kills, pn_vmstat("oom_kill"));
	/* Room again, and it works. */
	munmap(filler, filled);
	pn_settle();
	EXPECT_EQ(len, pn_touch(p, len, pn_page_size(), NULL));
	EXPECT_EQ(self->priv, pn_node_of(p + len - pn_page_size()));
	munmap(p, 3 * len);
	munmap(data, MIB);
	close(big);
}

/* Swapped out and in, it is on the node again (needs reclaim, else it stays). */
TEST_F_TIMEOUT(shared, swap, 120)
{
	unsigned char vec[64];
	int i, in = 0;

	ASSERT_EQ(0, pn_mbind(self->mem, LEN, MPOL_BIND | pn_flag(), &self->privs, 0));
	ASSERT_EQ(LEN, (long)pn_touch(self->mem, LEN, pn_page_size(), NULL));
	pn_settle();
	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	madvise(self->mem, LEN, MADV_PAGEOUT);
	ASSERT_EQ(0, mincore(self->mem, LEN, vec));
	for (i = 0; i < 64; i++)
		in += vec[i] & 1;
	pn_note("%d of 64 pages left after MADV_PAGEOUT", in);
	for (i = 0; i < 64; i++) {
		char *word = self->mem + i * pn_page_size();

		EXPECT_EQ((unsigned long)word, *(unsigned long *)word);
	}
	EXPECT_PAGES(self->priv, self->mem);
	EXPECT_EQ(0, pn_swap_off());
}

static int mount_option(FIXTURE_DATA(shared) *self, const char *format, unsigned long nodes)
{
	char option[100], list[40] = "";
	int nid;

	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (nodes & NODE_BIT(nid))
			snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%d",
				 list[0] ? "," : "", nid);
	snprintf(option, sizeof(option), format, list);
	if (!self->dir[0]) {
		strcpy(self->dir, "/tmp/pn_shared.XXXXXX");
		if (!mkdtemp(self->dir))
			return -1;
	}
	return mount("pn", self->dir, "tmpfs", 0, option) ? errno : 0;
}

/* The option of tmpfs */
TEST_F(shared, tmpfs_option)
{
	static const char * const good[] = {
		"mpol=bind=private:%s", "mpol=interleave=private:%s",
		"mpol=bind=static|private:%s", "mpol=prefer (many)=private:%s",
		"mpol=prefer=private:%s",
	};
	char path[60], line[200], want[100], list[10];
	size_t i;
	char *p;
	int fd;

	if (pn_forced())
		SKIP(return, "a plain option would do");
	snprintf(list, sizeof(list), "%d", self->priv);
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		ASSERT_EQ(0, mount_option(self, good[i], self->privs)) TH_LOG("%s", good[i]);
		snprintf(path, sizeof(path), "%s/file", self->dir);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ftruncate(fd, LEN));
		p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(LEN, (long)pn_touch(p, LEN, pn_page_size(), NULL));
		EXPECT_PAGES(self->priv, p);
		munmap(p, LEN);
		close(fd);
		/* /proc/mounts says what was given. */
		snprintf(want, sizeof(want), good[i], list);
		snprintf(line, sizeof(line), "grep -q '%s .*%s' /proc/mounts", self->dir,
			 want + strlen("mpol="));
		if (!strchr(want, '('))
			EXPECT_EQ(0, system(line)) TH_LOG("%s", line);
		ASSERT_EQ(0, umount2(self->dir, 0));
	}
	/* Private, but no node that is */
	EXPECT_EQ(EINVAL, mount_option(self, "mpol=bind=private:%s", NODE_BIT(self->control)));
	EXPECT_EQ(EINVAL, mount_option(self, "mpol=interleave=private", 0));
}

static int mount_without_right(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return 200;
	if (pn_drop_cap(23))
		return 201;
	return mount_option(self, "mpol=bind=private:%s", self->privs);
}

static int mount_in_userns(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(shared) *self = arg;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
		return 200;
	return mount_option(self, "mpol=bind=private:%s", self->privs);
}

/* The right is the mounter's, and one of the initial user namespace. */
TEST_F(shared, tmpfs_without_right)
{
	if (pn_forced())
		SKIP(return, "nothing to refuse");
	EXPECT_EQ(EPERM, WEXITSTATUS(pn_run(mount_without_right, self, 30)));
	EXPECT_EQ(EPERM, WEXITSTATUS(pn_run(mount_in_userns, self, 30)));
}

TEST_HARNESS_MAIN
