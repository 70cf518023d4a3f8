/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the private node tests share: policy system calls, child processes
 * with a deadline, and the oracles that tell where memory is.
 *
 * Environment:
 *   PN_FORCE_NODE=N     treat node N as the private node and leave
 *			 MPOL_F_PRIVATE out of every call. On a kernel without
 *			 private nodes this shows the tests failing as they must.
 *   KSFT_MACHINE_SLOW   how much slower than others the machine is: a number, or
 *			 anything for 5. Time limits are longer, some rounds fewer.
 */
#ifndef PN_UTIL_H
#define PN_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <linux/mempolicy.h>

#ifndef MPOL_F_PRIVATE
#define MPOL_F_PRIVATE		(1 << 12)
#endif
#ifndef MPOL_F_MEMS_PRIVATE
#define MPOL_F_MEMS_PRIVATE	(1 << 3)
#endif
#ifndef MPOL_WEIGHTED_INTERLEAVE
#define MPOL_WEIGHTED_INTERLEAVE 6
#endif

#define PN_MAXNODE		64
#define PN_NODE_DIR		"/sys/devices/system/node"
#define MIB			(1UL << 20)

#define NODE_BIT(nid)		(1UL << (nid))

/* Topology: -1 where there is no such node. */
int pn_private_node(void);
int pn_control_node(void);
int pn_cpu_node(void);
int pn_absent_node(void);
bool pn_forced(void);
/* MPOL_F_PRIVATE, or nothing when the node is only treated as private. */
int pn_flag(void);
unsigned long pn_node_mask(const char *state);
/* Is the node private, or treated as such? */
bool pn_is_private(int nid);
/* Has a private node this capability? */
bool pn_has_cap(int nid, const char *cap);
/* A file of nodeN/private with a number, or -1 */
long pn_counter(int nid, const char *name);
unsigned long pn_public_nodes(void);
long pn_page_size(void);

/* Policy system calls, as the kernel has them: errors in errno. */
long pn_set_mempolicy(int mode, const unsigned long *mask);
long pn_mbind(void *addr, size_t len, int mode, const unsigned long *mask,
	      unsigned int flags);
long pn_get_mempolicy(int *mode, unsigned long *mask, void *addr,
		      unsigned int flags);
long pn_move_pages(int pid, unsigned long count, void **pages,
		   const int *nodes, int *status, int flags);
long pn_migrate_pages(int pid, unsigned long from, unsigned long to);
long pn_set_home_node(void *addr, size_t len, unsigned long node);

/* Mapped memory */
char *pn_map(size_t len);
char *pn_map_bound(size_t len, int mode, unsigned long mask);
int pn_node_of(void *addr);
/* Pages of [addr, addr + len) on each node; returns how many are present. */
long pn_count_nodes(void *addr, size_t len, long *count);
/* Pages of [addr, addr + len) on one node, or -1. */
long pn_on_node(void *addr, size_t len, int nid);
/* A mapping bound to a node, private or not, every page written to. */
char *pn_filled(size_t len, int nid);
/* move_pages() of all pages; status: an int for each, or NULL. */
long pn_move_range(void *addr, size_t len, int nid, int *status);
/* The policy and the counts of the mapping at addr, from numa_maps. */
int pn_numa_maps(void *addr, char *line, size_t size);

struct pn_fault {
	int sig;
	int code;
	char *addr;
};

/* What access() raised, SIGSEGV or SIGBUS, is described in fault; else it is 0. */
void pn_catch(void (*access)(void *arg), void *arg, struct pn_fault *fault);
/*
 * Write one word every step bytes. Returns the offset of the first address
 * that raised a signal (described in fault), or size.
 */
size_t pn_touch(char *addr, size_t size, size_t step, struct pn_fault *fault);

/* Oracles */
/* Pages. The sum of min is without ZONE_MOVABLE, whose share is another. */
struct pn_zones {
	unsigned long present, managed, free, pcp, min, high;
	unsigned long start_pfn, end_pfn;
};

struct pn_kinds {
	long anon, slab, pgtable, shmem, file, hugetlb, other;
};

int pn_zones(int nid, struct pn_zones *zones);
/* Fold per-CPU counters and empty per-CPU page batches. */
void pn_settle(void);
/* Pages of the node that are allocated, by whom ever. */
long pn_used(int nid);
/* Allocations that the node has ever served. */
long pn_allocations(int nid);
/* What /proc/kpageflags says about the node's pages. */
int pn_kinds(int nid, struct pn_kinds *kinds);
/* What came after pn_start_empty() */
int pn_new_kinds(int nid, struct pn_kinds *kinds);
/*
 * Wait until the node's only allocated pages are anonymous (at most max of
 * them). 0, or -1 with an explanation printed.
 */
int pn_wait_only_anon(int nid, unsigned long max);
/* Wait until every page of the node is free. 0, or -1, explained. */
int pn_wait_empty(int nid);
/*
 * At the start of a test: the node must be empty. What is on a node that is
 * only treated as private is taken as its empty state.
 */
int pn_start_empty(int nid);

/* Counters, with what each CPU still has of them */
long pn_vmstat(const char *name);
long pn_node_vmstat(int nid, const char *name);
long pn_meminfo(int nid, const char *name);	/* kB; nid -1: the system's */
int pn_read_file(const char *path, char *buf, size_t size);
/* The first line, without its end. */
int pn_read_line(const char *path, char *line, size_t size);
int pn_write_file(const char *path, const char *text);
long pn_read_long(const char *path);
/* The page frame at an address, which is touched for that, or 0 */
unsigned long pn_frame(void *addr);
int pn_write_number(const char *path, unsigned long number);
/*
 * Take a page that was soft-offlined into use again: a memory block with such
 * a page does not come back once it went offline. 0 or -1; where the kernel
 * has no way to do that (CONFIG_HWPOISON_INJECT), a note and 0.
 */
int pn_unpoison(unsigned long pfn);
/*
 * A memory block that went offline comes back: under load not always at once. 0, or
 * -1 with a note
 */
int pn_online(const char *state);
/* A cgroup whose last process has just ended may be busy for a moment. 0 or -1. */
int pn_remove_group(const char *path);
/* What happens to private nodes is traced from here on, or no more. 0 or -1. */
int pn_trace(bool on);
/* Is there such a line among what has been traced? With any node for -1 */
bool pn_traced(const char *event, int nid);
/* The kernel log from here on: a descriptor, or -1 */
int pn_log_open(void);
/* Its next line: 1, 0 if there is none yet, or -1 */
int pn_log_next(int fd, char *line, size_t size);

/* Swap space in compressed memory. 0, or -1 when there is no zram. */
int pn_swap_on(size_t size);
int pn_swap_off(void);

/* Why the system cannot hibernate and come back in one go, or NULL */
const char *pn_hibernation_missing(void);
/* It does so, with its image on pn_swap_on(). 0, or -1 with a note */
int pn_hibernate(void);

/* Load or remove a module. 0, or -1 when there is none, or it is in use. */
int pn_module(const char *name, bool load);

/* Children */
struct pn_child {
	pid_t pid;
	int sock;
};

double pn_now(void);
bool pn_is_slow(void);
/* A time limit: this many seconds, times five or what KSFT_MACHINE_SLOW says */
double pn_slow(double seconds);
/* fn runs in the child; its result is the exit status. */
int pn_spawn(struct pn_child *child, int (*fn)(struct pn_child *child, void *arg),
	     void *arg);
/* In the child: say that something is done; each one is a pn_ready(). */
bool pn_say(struct pn_child *child);
/* In the child: say that all is in place, wait until the parent lets go. */
void pn_hold(struct pn_child *child);
/* 0 when the child said so in time, else -1. */
int pn_ready(struct pn_child *child, double seconds);
/* Let go and wait; the wait status, or -1 when the child had to be killed. */
int pn_reap(struct pn_child *child, double seconds);
/* Spawn and reap. */
int pn_run(int (*fn)(struct pn_child *child, void *arg), void *arg, double seconds);
void pn_pin(int cpu);
/* Register memory as a fixed buffer, for a moment: a long-term pin. 0 or -errno */
int pn_pin_longterm(char *p, size_t len);
int pn_drop_cap(int cap);
/* Make a permitted capability effective. */
int pn_raise_cap(int cap);
/* Keep later stack use from faulting under a policy. */
void pn_prefault_stack(void);

/* Random numbers: the same for the same seed, for each process its own */
uint64_t pn_mix(uint64_t x);
void pn_seed(uint64_t seed);
uint32_t pn_rand(uint32_t below);

#define pn_note(fmt, ...) fprintf(stderr, "# " fmt "\n", ##__VA_ARGS__)

#endif /* PN_UTIL_H */
