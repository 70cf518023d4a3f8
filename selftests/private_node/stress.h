/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stress program: its main part (stress.c) runs rounds of workers, which
 * use memory and know what must be in it and where it may be (stress_work.c),
 * and of one process that turns all knobs of the system (stress_chaos.c).
 */
#ifndef STRESS_H
#define STRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ST_WORKERS	7
#define ST_CHAOS	ST_WORKERS
#define ST_BALLAST	(ST_WORKERS + 1)
#define ST_SLOTS	(ST_WORKERS + 2)
#define ST_RING		24
#define ST_TEXT		112
#define ST_CGROUPS	"/tmp/pn_stress"
#define ST_TOP		ST_CGROUPS "/pn_stress"
/* Swap is on two zram devices, one of them seen as a disk by a loop device. */
#define ST_SWAP_MIB	512

/* What a process tells the main part, in shared memory */
struct st_slot {
	pid_t pid;
	unsigned long ops, signals;
	unsigned int head;
	const char *doing;	/* what is not in the ring yet */
	char ring[ST_RING][ST_TEXT];
	int failed;
	char why[4 * ST_TEXT];
};

struct st_shared {
	int stop;
	double start;
	struct st_slot slot[ST_SLOTS];
};

/* What kind of worker: may it use private nodes, and may others move it? */
enum st_right { ST_CAPABLE, ST_GRANTED, ST_DENIED };

struct st_worker {
	const char *name;
	enum st_right right;
	bool movable;		/* by the migrate_pages() of the knob turner */
	bool fills;		/* whole nodes */
};

extern const struct st_worker st_workers[ST_WORKERS];
extern struct st_shared *st;
extern struct st_slot *st_me;
/* Nodes: private ones, those of them with capabilities, public ones */
extern unsigned long st_privs, st_migrate, st_reclaim, st_publics;
/* Pages of each private node, with all its memory online */
extern unsigned long st_pages[PN_MAXNODE];

int st_rand_node(unsigned long mask);

/* Remember an operation. */
void st_op(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A broken invariant: remember it and end the process. */
void st_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

int st_work(const struct st_worker *worker);
int st_ballast(void);
int st_chaos(void);

int st_swap_on(void);
int st_swap_off(void);
/* What is offline comes online, what was turned is turned back. */
void st_restore(void);

#endif /* STRESS_H */
