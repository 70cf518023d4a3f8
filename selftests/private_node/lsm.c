// SPDX-License-Identifier: GPL-2.0
/*
 * A security module can refuse the use of a private node, on top of cgroups and
 * capabilities: here a program of BPF LSM, which decides by cgroup.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "pn_bpf.h"
#include "pn_util.h"
#include "kselftest_harness.h"

#define CGROUPS		"/tmp/pn_lsm"
#define INSIDE		CGROUPS "/inside"
#define HOOK		"bpf_lsm_private_node"
#define LEN		(16 * (size_t)pn_page_size())

FIXTURE(lsm)
{
	int priv;
	unsigned long long cgroup;
	bool mounted;
};

FIXTURE_VARIANT(lsm)
{
	/* Refuse all others than the cgroup */
	bool others;
};

FIXTURE_VARIANT_ADD(lsm, refused_cgroup) { .others = false };
FIXTURE_VARIANT_ADD(lsm, allowed_cgroup) { .others = true };

FIXTURE_SETUP(lsm)
{
	const char *missing;
	struct stat st;

	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	missing = pn_lsm_missing(HOOK);
	if (missing)
		SKIP(return, "%s", missing);
	mkdir(CGROUPS, 0755);
	ASSERT_EQ(0, mount("pn", CGROUPS, "cgroup2", 0, NULL));
	self->mounted = true;
	ASSERT_EQ(0, mkdir(INSIDE, 0755));
	ASSERT_EQ(0, stat(INSIDE, &st));
	/* The id of a cgroup is the number of its inode. */
	self->cgroup = st.st_ino;
}

FIXTURE_TEARDOWN(lsm)
{
	if (!self->mounted)
		return;
	EXPECT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(INSIDE));
	umount2(CGROUPS, MNT_DETACH);
	rmdir(CGROUPS);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* 0, or the error with which the policy is refused */
static int ask(int nid)
{
	unsigned long mask = NODE_BIT(nid);
	char *p = pn_map(LEN);
	int err = 0;

	if (!p)
		return -1;
	if (pn_mbind(p, LEN, MPOL_BIND | pn_flag(), &mask, 0))
		err = errno;
	else if (pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
		 pn_node_of(p) != nid)
		err = -2;
	munmap(p, LEN);
	return err;
}

/* Is the node among those that get_mempolicy() says may be used? */
static bool usable(int nid)
{
	unsigned long mask = 0;
	int mode;

	return !pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE) &&
	       (mask & NODE_BIT(nid));
}

/* "A new LSM hook can refuse on top of either", and that is EPERM. */
TEST_F(lsm, by_cgroup)
{
	unsigned long mask = NODE_BIT(self->priv);
	int link;

	EXPECT_EQ(0, ask(self->priv));
	link = pn_lsm_refuse(HOOK, 1, self->cgroup, variant->others);
	ASSERT_LE(0, link);

	EXPECT_EQ(variant->others ? EPERM : 0, ask(self->priv));
	EXPECT_EQ(!variant->others, usable(self->priv));
	ASSERT_EQ(0, pn_write_file(INSIDE "/cgroup.procs", "0"));
	EXPECT_EQ(variant->others ? 0 : EPERM, ask(self->priv));
	EXPECT_EQ(variant->others, usable(self->priv));
	if (!variant->others) {
		/* Nothing of a refused call takes effect. */
		int mode = -1;

		EXPECT_EQ(-1, pn_set_mempolicy(MPOL_BIND | pn_flag(), &mask));
		EXPECT_EQ(EPERM, errno);
		ASSERT_EQ(0, pn_get_mempolicy(&mode, NULL, NULL, 0));
		EXPECT_EQ(MPOL_DEFAULT, mode);
	}
	ASSERT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));

	close(link);
	EXPECT_EQ(0, ask(self->priv));
	ASSERT_EQ(0, pn_write_file(INSIDE "/cgroup.procs", "0"));
	EXPECT_EQ(0, ask(self->priv));
}

/* A policy that was accepted stays; memory by it is not asked for again. */
TEST_F(lsm, set_before)
{
	char *p = pn_map_bound(LEN, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	int link;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_write_file(variant->others ? CGROUPS "/cgroup.procs" :
					INSIDE "/cgroup.procs", "0"));
	link = pn_lsm_refuse(HOOK, 1, self->cgroup, variant->others);
	ASSERT_LE(0, link);
	EXPECT_EQ(EPERM, ask(self->priv));
	EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
	EXPECT_EQ(self->priv, pn_node_of(p));
	munmap(p, LEN);
	close(link);
}

TEST_HARNESS_MAIN
