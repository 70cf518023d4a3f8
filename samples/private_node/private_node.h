/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The system calls of the samples, which libnuma does not have with the flags
 * for private nodes. The masks have room for 1024 nodes, the most that a
 * kernel can be built for.
 */
#ifndef PRIVATE_NODE_H
#define PRIVATE_NODE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>

#define MAX_NODES	1024
#define BITS		(8 * sizeof(unsigned long))

struct nodes {
	unsigned long bits[MAX_NODES / BITS];
};

static inline void nodes_add(struct nodes *nodes, unsigned int nid)
{
	nodes->bits[nid / BITS] |= 1UL << (nid % BITS);
}

static inline bool nodes_has(const struct nodes *nodes, unsigned int nid)
{
	return nodes->bits[nid / BITS] >> (nid % BITS) & 1;
}

static inline bool nodes_empty(const struct nodes *nodes)
{
	static const struct nodes none;

	return !memcmp(nodes, &none, sizeof(none));
}

static inline void nodes_print(const char *what, const struct nodes *nodes)
{
	unsigned int nid;

	printf("%s", what);
	for (nid = 0; nid < MAX_NODES; nid++)
		if (nodes_has(nodes, nid))
			printf(" %u", nid);
	printf("%s\n", nodes_empty(nodes) ? " none" : "");
}

/*
 * The private nodes that this process may use. Kernels without private nodes
 * do not know the flag: then there are none.
 */
static inline void usable_private_nodes(struct nodes *nodes)
{
	memset(nodes, 0, sizeof(*nodes));
	if (syscall(SYS_get_mempolicy, NULL, nodes->bits, MAX_NODES, NULL,
		    MPOL_F_MEMS_PRIVATE))
		memset(nodes, 0, sizeof(*nodes));
}

/* The kernel takes one bit less than it is told. */
static inline int bind_memory(void *addr, size_t len, int mode,
			      const struct nodes *nodes)
{
	return syscall(SYS_mbind, addr, len, mode, nodes ? nodes->bits : NULL,
		       nodes ? MAX_NODES + 1 : 0, 0);
}

static inline int set_task_policy(int mode, const struct nodes *nodes)
{
	return syscall(SYS_set_mempolicy, mode, nodes ? nodes->bits : NULL,
		       nodes ? MAX_NODES + 1 : 0);
}

/* How many pages of the range are on which node, a line for each */
static inline void print_pages(char *addr, size_t len)
{
	static unsigned long count[MAX_NODES];
	size_t size = sysconf(_SC_PAGESIZE), i;
	unsigned int nid;

	memset(count, 0, sizeof(count));
	for (i = 0; i < len; i += size) {
		void *page = addr + i;
		int status = -1;

		/* Without target nodes move_pages() tells where pages are. */
		if (!syscall(SYS_move_pages, 0, 1, &page, NULL, &status, 0) &&
		    status >= 0 && status < MAX_NODES)
			count[status]++;
	}
	for (nid = 0; nid < MAX_NODES; nid++)
		if (count[nid])
			printf("node %u: %lu pages\n", nid, count[nid]);
}

static inline void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

#endif /* PRIVATE_NODE_H */
