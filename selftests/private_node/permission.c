// SPDX-License-Identifier: GPL-2.0
/*
 * Who may use a private node: nobody by default; a policy needs CAP_SYS_NICE
 * in the initial user namespace when it is made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define NOBODY	65534

enum identity { CAPLESS_ROOT, USER, NAMESPACE_ROOT, USER_WITH_CAP };

FIXTURE(permission)
{
	int priv;
	unsigned long privs;
	char *mem;
	size_t len;
};

FIXTURE_VARIANT(permission)
{
	enum identity who;
	bool allowed;
};

FIXTURE_VARIANT_ADD(permission, root_without_the_capability) { CAPLESS_ROOT, false };
FIXTURE_VARIANT_ADD(permission, user) { USER, false };
FIXTURE_VARIANT_ADD(permission, root_of_a_user_namespace) { NAMESPACE_ROOT, false };
FIXTURE_VARIANT_ADD(permission, user_with_the_capability) { USER_WITH_CAP, true };

FIXTURE_SETUP(permission)
{
	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	ASSERT_EQ(0, geteuid()) TH_LOG("run as root");
	self->privs = NODE_BIT(self->priv);
	self->len = MIB;
	self->mem = pn_map(self->len);
	ASSERT_NE(NULL, self->mem);
}

FIXTURE_TEARDOWN(permission)
{
}

static int become(enum identity who)
{
	int cap;

	switch (who) {
	case CAPLESS_ROOT:
		return pn_drop_cap(CAP_SYS_NICE);
	case USER:
		return setgroups(0, NULL) || setresuid(NOBODY, NOBODY, NOBODY);
	case NAMESPACE_ROOT:
		/* All capabilities, but over the new namespace only. */
		return setresuid(NOBODY, NOBODY, NOBODY) || prctl(PR_SET_DUMPABLE, 1) ||
		       unshare(CLONE_NEWUSER);
	case USER_WITH_CAP:
		if (prctl(PR_SET_KEEPCAPS, 1) || setresuid(NOBODY, NOBODY, NOBODY))
			return -1;
		break;
	}
	/* Keep CAP_SYS_NICE and nothing else; make it effective. */
	for (cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap != CAP_SYS_NICE)
			pn_drop_cap(cap);
	return pn_raise_cap(CAP_SYS_NICE);
}

/* "Default deny": EPERM, and no part of the call takes effect */
TEST_F(permission, making_a_policy)
{
	static const int modes[] = { MPOL_BIND, MPOL_PREFERRED };
	unsigned long mask;
	size_t i;
	int mode;

	ASSERT_EQ(0, become(variant->who));
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		int want = modes[i] | pn_flag();

		if (variant->allowed) {
			ASSERT_EQ(0, pn_mbind(self->mem, self->len, want, &self->privs, 0));
			ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
			EXPECT_EQ(self->priv, pn_node_of(self->mem));
			EXPECT_EQ(0, pn_set_mempolicy(want, &self->privs));
			EXPECT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
			continue;
		}
		EXPECT_EQ(-1, pn_set_mempolicy(want, &self->privs));
		EXPECT_EQ(EPERM, errno);
		/* Half of the mapping: a part would show as a split. */
		EXPECT_EQ(-1, pn_mbind(self->mem, self->len / 2, want, &self->privs, 0));
		EXPECT_EQ(EPERM, errno);
		ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, NULL, 0));
		EXPECT_EQ(MPOL_DEFAULT, mode);
		ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, self->mem, MPOL_F_ADDR));
		EXPECT_EQ(MPOL_DEFAULT, mode);
	}
	if (!variant->allowed) {
		ASSERT_EQ(self->len, pn_touch(self->mem, self->len, pn_page_size(), NULL));
		EXPECT_NE(self->priv, pn_node_of(self->mem));
	}
}

/* A refusal leaves the policy that was there before. */
TEST_F(permission, old_policy_stays)
{
	unsigned long mask, cpus = NODE_BIT(pn_cpu_node());
	int mode;

	if (variant->allowed)
		return;
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_PREFERRED, &cpus));
	ASSERT_EQ(0, pn_mbind(self->mem, self->len, MPOL_BIND, &cpus, 0));
	ASSERT_EQ(0, become(variant->who));
	EXPECT_EQ(-1, pn_set_mempolicy(MPOL_BIND | pn_flag(), &self->privs));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, pn_mbind(self->mem, self->len, MPOL_BIND | pn_flag(), &self->privs, 0));
	EXPECT_EQ(EPERM, errno);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, NULL, 0));
	EXPECT_EQ(MPOL_PREFERRED, mode);
	EXPECT_EQ(cpus, mask);
	ASSERT_EQ(0, pn_get_mempolicy(&mode, &mask, self->mem, MPOL_F_ADDR));
	EXPECT_EQ(MPOL_BIND, mode);
	EXPECT_EQ(cpus, mask);
}

/* What is wrong in itself is told first: EFAULT and EINVAL before EPERM. */
TEST_F(permission, order_of_errors)
{
	unsigned long public = NODE_BIT(pn_cpu_node()), *bad;

	bad = mmap(NULL, pn_page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, bad);
	ASSERT_EQ(0, become(variant->who));

	EXPECT_EQ(-1, pn_set_mempolicy(MPOL_BIND | MPOL_F_PRIVATE, bad));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pn_mbind(self->mem, self->len, MPOL_BIND | MPOL_F_PRIVATE, bad, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, pn_set_mempolicy(MPOL_LOCAL | MPOL_F_PRIVATE, &self->privs));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pn_set_mempolicy(MPOL_BIND | MPOL_F_PRIVATE, &public));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pn_set_mempolicy(MPOL_BIND | MPOL_F_PRIVATE | MPOL_F_RELATIVE_NODES,
				       &self->privs));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pn_mbind(self->mem, self->len, MPOL_BIND | MPOL_F_PRIVATE, &public, 0));
	EXPECT_EQ(EINVAL, errno);
}

static int touch_bound(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(permission) *self = arg;
	char *p = pn_map(self->len);

	if (!p || pn_touch(p, self->len, pn_page_size(), NULL) != self->len)
		return 1;
	if (pn_node_of(p) != self->priv)
		return 2;
	/* The mapping's policy, of another half that nobody touched yet */
	if (pn_touch(self->mem, self->len, pn_page_size(), NULL) != self->len)
		return 3;
	return pn_node_of(self->mem) == self->priv ? 0 : 4;
}

/*
 * "the policy was set by a holder of CAP_SYS_NICE": it works on when the
 * process gives the capability up, and in its children.
 */
TEST_F(permission, policy_outlives_the_capability)
{
	ASSERT_EQ(0, pn_mbind(self->mem, self->len, MPOL_BIND | pn_flag(), &self->privs, 0));
	pn_prefault_stack();
	ASSERT_EQ(0, pn_set_mempolicy(MPOL_BIND | pn_flag(), &self->privs));
	ASSERT_EQ(0, become(variant->who));
	EXPECT_EQ(0, pn_run(touch_bound, self, 20));
	EXPECT_EQ(0, touch_bound(NULL, self));
	EXPECT_EQ(0, pn_set_mempolicy(MPOL_DEFAULT, NULL));
}

TEST_HARNESS_MAIN
