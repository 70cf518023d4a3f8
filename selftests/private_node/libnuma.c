// SPDX-License-Identifier: GPL-2.0
/*
 * Programs that use libnuma meet a private node as one without memory. The
 * library is the one that is installed, taken as it is.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define LEN		(256 * pn_page_size())

/* numa.h of the library, as far as it is needed: building wants no package. */
struct bitmask {
	unsigned long size;
	unsigned long *maskp;
};

static struct {
	struct bitmask **all_nodes_ptr, **nodes_ptr;
	int (*available)(void);
	int (*max_node)(void);
	int (*num_task_nodes)(void);
	int (*distance)(int from, int to);
	int (*node_to_cpus)(int node, struct bitmask *cpus);
	long long (*node_size64)(int node, long long *free);
	struct bitmask *(*allocate_nodemask)(void);
	struct bitmask *(*allocate_cpumask)(void);
	struct bitmask *(*bitmask_setbit)(struct bitmask *mask, unsigned int bit);
	unsigned int (*bitmask_weight)(const struct bitmask *mask);
	struct bitmask *(*get_mems_allowed)(void);
	struct bitmask *(*get_membind)(void);
	struct bitmask *(*get_interleave_mask)(void);
	struct bitmask *(*parse_nodestring)(const char *text);
	struct bitmask *(*parse_nodestring_all)(const char *text);
	int (*preferred)(void);
	void *(*alloc)(size_t size);
	void *(*alloc_local)(size_t size);
	void *(*alloc_onnode)(size_t size, int node);
	void *(*alloc_interleaved)(size_t size);
	void *(*alloc_interleaved_subset)(size_t size, struct bitmask *nodes);
	void *(*realloc)(void *mem, size_t old, size_t size);
	void (*free)(void *mem, size_t size);
	void (*tonode_memory)(void *mem, size_t size, int node);
	void (*tonodemask_memory)(void *mem, size_t size, struct bitmask *nodes);
	void (*interleave_memory)(void *mem, size_t size, struct bitmask *nodes);
	void (*setlocal_memory)(void *mem, size_t size);
	void (*set_bind_policy)(int strict);
	void (*set_membind)(struct bitmask *nodes);
	void (*set_interleave_mask)(struct bitmask *nodes);
	void (*set_preferred)(int node);
	void (*set_localalloc)(void);
	void (*bind)(struct bitmask *nodes);
	int (*run_on_node)(int node);
	int (*migrate_pages)(int pid, struct bitmask *from, struct bitmask *to);
	int (*move_pages)(int pid, unsigned long count, void **pages,
			  const int *nodes, int *status, int flags);
} numa;

static const struct {
	void **where;
	const char *name;
} symbols[] = {
#define SYMBOL(member)	{ (void **)&numa.member, "numa_" #member }
	SYMBOL(all_nodes_ptr), SYMBOL(nodes_ptr), SYMBOL(available),
	SYMBOL(max_node), SYMBOL(num_task_nodes), SYMBOL(distance),
	SYMBOL(node_to_cpus), SYMBOL(node_size64), SYMBOL(allocate_nodemask),
	SYMBOL(allocate_cpumask), SYMBOL(bitmask_setbit),
	SYMBOL(bitmask_weight), SYMBOL(get_mems_allowed), SYMBOL(get_membind),
	SYMBOL(get_interleave_mask), SYMBOL(parse_nodestring),
	SYMBOL(parse_nodestring_all), SYMBOL(preferred), SYMBOL(alloc),
	SYMBOL(alloc_local), SYMBOL(alloc_onnode), SYMBOL(alloc_interleaved),
	SYMBOL(alloc_interleaved_subset), SYMBOL(realloc), SYMBOL(free),
	SYMBOL(tonode_memory), SYMBOL(tonodemask_memory),
	SYMBOL(interleave_memory), SYMBOL(setlocal_memory),
	SYMBOL(set_bind_policy), SYMBOL(set_membind),
	SYMBOL(set_interleave_mask), SYMBOL(set_preferred),
	SYMBOL(set_localalloc), SYMBOL(bind), SYMBOL(run_on_node),
	SYMBOL(migrate_pages), SYMBOL(move_pages),
};

FIXTURE(libnuma)
{
	int priv, control, cpu;
	unsigned long publics;
	long served;
	struct bitmask *on_priv, *on_control, *on_both;
};

static struct bitmask *nodes_of(unsigned long nodes)
{
	struct bitmask *mask = numa.allocate_nodemask();
	unsigned int nid;

	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (nodes & NODE_BIT(nid))
			numa.bitmask_setbit(mask, nid);
	return mask;
}

FIXTURE_SETUP(libnuma)
{
	void *lib;
	size_t i;

	self->priv = pn_private_node();
	self->control = pn_control_node();
	self->cpu = pn_cpu_node();
	self->publics = pn_public_nodes();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");

	lib = dlopen("libnuma.so.1", RTLD_NOW);
	if (!lib)
		SKIP(return, "libnuma is not installed: %s", dlerror());
	for (i = 0; i < ARRAY_SIZE(symbols); i++) {
		*symbols[i].where = dlsym(lib, symbols[i].name);
		ASSERT_NE(NULL, *symbols[i].where) TH_LOG("no %s", symbols[i].name);
	}
	ASSERT_EQ(0, numa.available());
	self->on_priv = nodes_of(NODE_BIT(self->priv));
	self->on_control = nodes_of(NODE_BIT(self->control));
	self->on_both = nodes_of(NODE_BIT(self->priv) | NODE_BIT(self->control));

	pn_prefault_stack();
	ASSERT_EQ(0, pn_start_empty(self->priv));
	self->served = pn_allocations(self->priv);
}

/* Whatever a test asked for: nothing came from the node. */
FIXTURE_TEARDOWN(libnuma)
{
	if (!self->on_priv)
		return;
	pn_settle();
	EXPECT_EQ(self->served, pn_allocations(self->priv));
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* The nodes that the pages of mem are on, all of them touched. */
static unsigned long used_nodes(void *mem, size_t len)
{
	long count[PN_MAXNODE];
	unsigned long nodes = 0;
	int nid;

	if (!mem || pn_touch(mem, len, pn_page_size(), NULL) != len ||
	    pn_count_nodes(mem, len, count) != (long)(len / pn_page_size()))
		return 0;
	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (count[nid])
			nodes |= NODE_BIT(nid);
	numa.free(mem, len);
	return nodes;
}

#define TASK_MEMORY()	used_nodes(pn_map(LEN), LEN)

/* What has a policy for public nodes only */
#define EXPECT_PUBLIC(nodes)						\
do {									\
	unsigned long _nodes = (nodes);					\
									\
	EXPECT_NE(0, _nodes);						\
	EXPECT_EQ(0, _nodes & ~self->publics)				\
		TH_LOG("nodes %lx, public are %lx", _nodes, self->publics); \
} while (0)

/* libnuma writes a message, and leaves errno as the system call did. */
#define EXPECT_ERRNO(err, call)						\
do {									\
	errno = 0;							\
	call;								\
	EXPECT_EQ(err, errno) TH_LOG("%s", #call);			\
} while (0)

/* The masks that programs take "all nodes" from leave the node out. */
TEST_F(libnuma, masks)
{
	char text[16];

	EXPECT_EQ(self->publics, (*numa.all_nodes_ptr)->maskp[0]);
	EXPECT_EQ(self->publics, numa.get_mems_allowed()->maskp[0]);
	EXPECT_EQ(self->publics, numa.get_membind()->maskp[0]);
	EXPECT_EQ(self->publics, numa.parse_nodestring("all")->maskp[0]);
	EXPECT_EQ(__builtin_popcountl(self->publics), numa.num_task_nodes());

	snprintf(text, sizeof(text), "%d", self->priv);
	EXPECT_EQ(NULL, numa.parse_nodestring(text));
	snprintf(text, sizeof(text), "%d", self->control);
	EXPECT_NE(NULL, numa.parse_nodestring(text));
}

/* It is a node all the same: what describes nodes describes it. */
TEST_F(libnuma, description)
{
	struct bitmask *cpus = numa.allocate_cpumask();
	long long free = -1;
	char text[16];

	EXPECT_NE(0, (*numa.nodes_ptr)->maskp[0] & NODE_BIT(self->priv));
	EXPECT_LE(self->priv, numa.max_node());
	EXPECT_EQ(pn_meminfo(self->priv, "MemTotal"),
		  numa.node_size64(self->priv, &free) >> 10);
	EXPECT_EQ(pn_meminfo(self->priv, "MemFree"), free >> 10);
	EXPECT_EQ(10, numa.distance(self->priv, self->priv));
	EXPECT_LT(10, numa.distance(self->cpu, self->priv));
	EXPECT_EQ(0, numa.node_to_cpus(self->priv, cpus));
	EXPECT_EQ(0, numa.bitmask_weight(cpus));
	snprintf(text, sizeof(text), "%d", self->priv);
	EXPECT_NE(NULL, numa.parse_nodestring_all(text));
}

/* numa_alloc*() */
TEST_F(libnuma, alloc)
{
	EXPECT_EQ(NODE_BIT(self->control),
		  used_nodes(numa.alloc_onnode(LEN, self->control), LEN));
	EXPECT_EQ(self->publics, used_nodes(numa.alloc_interleaved(LEN), LEN));
	EXPECT_EQ(NODE_BIT(self->control),
		  used_nodes(numa.alloc_interleaved_subset(LEN, self->on_both), LEN));
	EXPECT_PUBLIC(used_nodes(numa.alloc(LEN), LEN));
	EXPECT_PUBLIC(used_nodes(numa.alloc_local(LEN), LEN));
}

/* With the node alone the policy is not set: as for a node without memory */
TEST_F(libnuma, alloc_refused)
{
	void *mem = NULL;

	EXPECT_ERRNO(0, mem = numa.alloc_onnode(LEN, self->control));
	numa.free(mem, LEN);
	EXPECT_ERRNO(EINVAL, mem = numa.alloc_onnode(LEN, self->priv));
	EXPECT_PUBLIC(used_nodes(mem, LEN));
	numa.set_bind_policy(1);
	EXPECT_ERRNO(EINVAL, mem = numa.alloc_onnode(LEN, self->priv));
	EXPECT_PUBLIC(used_nodes(mem, LEN));
	EXPECT_ERRNO(EINVAL, mem = numa.alloc_interleaved_subset(LEN, self->on_priv));
	EXPECT_PUBLIC(used_nodes(mem, LEN));
}

TEST_F(libnuma, realloc)
{
	void *mem = numa.alloc_onnode(LEN, self->control);

	ASSERT_NE(NULL, mem);
	mem = numa.realloc(mem, LEN, 4 * LEN);
	EXPECT_EQ(NODE_BIT(self->control), used_nodes(mem, 4 * LEN));
	mem = numa.realloc(numa.alloc_onnode(LEN, self->priv), LEN, 4 * LEN);
	EXPECT_PUBLIC(used_nodes(mem, 4 * LEN));
}

/* Policies of ranges */
TEST_F(libnuma, ranges)
{
	void *mem = pn_map(LEN);

	numa.set_bind_policy(1);
	EXPECT_ERRNO(0, numa.tonode_memory(mem, LEN, self->control));
	EXPECT_EQ(NODE_BIT(self->control), used_nodes(mem, LEN));

	mem = pn_map(LEN);
	EXPECT_ERRNO(EINVAL, numa.tonode_memory(mem, LEN, self->priv));
	EXPECT_ERRNO(EINVAL, numa.tonodemask_memory(mem, LEN, self->on_priv));
	EXPECT_ERRNO(EINVAL, numa.interleave_memory(mem, LEN, self->on_priv));
	EXPECT_PUBLIC(used_nodes(mem, LEN));

	mem = pn_map(LEN);
	EXPECT_ERRNO(0, numa.tonodemask_memory(mem, LEN, self->on_both));
	EXPECT_EQ(NODE_BIT(self->control), used_nodes(mem, LEN));

	mem = pn_map(LEN);
	EXPECT_ERRNO(0, numa.interleave_memory(mem, LEN, *numa.all_nodes_ptr));
	EXPECT_EQ(self->publics, used_nodes(mem, LEN));

	mem = pn_map(LEN);
	EXPECT_ERRNO(0, numa.setlocal_memory(mem, LEN));
	EXPECT_PUBLIC(used_nodes(mem, LEN));
}

/* Policies of the task */
TEST_F(libnuma, task)
{
	EXPECT_ERRNO(0, numa.set_membind(self->on_control));
	EXPECT_EQ(NODE_BIT(self->control), TASK_MEMORY());
	EXPECT_ERRNO(0, numa.set_membind(self->on_both));
	EXPECT_EQ(NODE_BIT(self->control), numa.get_membind()->maskp[0]);
	EXPECT_EQ(NODE_BIT(self->control), TASK_MEMORY());

	/* What is refused leaves the policy as it was. */
	EXPECT_ERRNO(EINVAL, numa.set_membind(self->on_priv));
	EXPECT_ERRNO(EINVAL, numa.set_interleave_mask(self->on_priv));
	EXPECT_ERRNO(EINVAL, numa.set_preferred(self->priv));
	EXPECT_EQ(NODE_BIT(self->control), TASK_MEMORY());

	EXPECT_ERRNO(0, numa.set_preferred(self->control));
	EXPECT_EQ(self->control, numa.preferred());
	EXPECT_EQ(NODE_BIT(self->control), TASK_MEMORY());

	EXPECT_ERRNO(0, numa.set_interleave_mask(*numa.all_nodes_ptr));
	EXPECT_EQ(self->publics, numa.get_interleave_mask()->maskp[0]);
	EXPECT_EQ(self->publics, TASK_MEMORY());

	EXPECT_ERRNO(0, numa.set_membind(*numa.all_nodes_ptr));
	EXPECT_PUBLIC(TASK_MEMORY());
	EXPECT_ERRNO(0, numa.set_localalloc());
	EXPECT_PUBLIC(TASK_MEMORY());
}

/* It has no CPUs to run on, with numa_bind() or numa_run_on_node(). */
TEST_F(libnuma, run)
{
	cpu_set_t before, after;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(before), &before));
	EXPECT_EQ(-1, numa.run_on_node(self->priv));
	numa.bind(self->on_priv);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(after), &after));
	EXPECT_TRUE(CPU_EQUAL(&before, &after));
	EXPECT_PUBLIC(TASK_MEMORY());

	numa.bind(nodes_of(NODE_BIT(self->cpu)));
	EXPECT_EQ(NODE_BIT(self->cpu), TASK_MEMORY());
	EXPECT_EQ(0, numa.run_on_node(self->cpu));
}

/* Moves to the node fail, between others they work. */
TEST_F(libnuma, migration)
{
	struct bitmask *on_cpu = nodes_of(NODE_BIT(self->cpu));
	char *mem = numa.alloc_onnode(LEN, self->control);
	void *page = mem;
	int status = -1;

	ASSERT_NE(NULL, mem);
	ASSERT_EQ(LEN, pn_touch(mem, LEN, pn_page_size(), NULL));
	EXPECT_EQ(0, numa.move_pages(0, 1, &page, &self->cpu, &status, MPOL_MF_MOVE));
	EXPECT_EQ(self->cpu, pn_node_of(mem));
	EXPECT_EQ(-1, numa.move_pages(0, 1, &page, &self->priv, &status, MPOL_MF_MOVE));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(self->cpu, pn_node_of(mem));

	/* The result is the number of pages that stay, of libraries for example. */
	EXPECT_LE(0, numa.migrate_pages(0, on_cpu, self->on_control));
	EXPECT_EQ(self->control, pn_node_of(mem));
	EXPECT_EQ(-1, numa.migrate_pages(0, self->on_control, self->on_priv));
	EXPECT_EQ(self->control, pn_node_of(mem));
	EXPECT_LE(0, numa.migrate_pages(0, self->on_control, *numa.all_nodes_ptr));
	EXPECT_PUBLIC(used_nodes(mem, LEN));
}

TEST_HARNESS_MAIN
