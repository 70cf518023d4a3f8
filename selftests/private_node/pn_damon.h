/* SPDX-License-Identifier: GPL-2.0 */
/* DAMON by its files in sysfs: one scheme at a time, of one target */
#ifndef PN_DAMON_H
#define PN_DAMON_H

#include <stdbool.h>
#include <sys/types.h>

bool pn_damon_missing(void);
/*
 * Apply an action to [first, end): addresses of a process, or physical ones if pid
 * is 0. target: the node that the action wants, or -1. 0, or -1 with a note
 */
int pn_damon_start(pid_t pid, const char *action, int target, unsigned long first,
		   unsigned long end);
/* Wait until it has been tried on so many bytes. 0, or -1 with a note */
int pn_damon_wait(unsigned long bytes);
/* The bytes that it was applied to, at the last pn_damon_wait() */
long pn_damon_applied(void);
void pn_damon_stop(void);

#endif /* PN_DAMON_H */
