/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A security module for tests: a program of BPF LSM, which decides by cgroup. It is
 * so short that it is written down in instructions, and needs no compiler.
 */
#ifndef PN_BPF_H
#define PN_BPF_H

#include <stdbool.h>

/* Why no program can be attached to a hook (bpf_lsm_...), or NULL */
const char *pn_lsm_missing(const char *hook);
/*
 * Let a hook of so many arguments refuse (EACCES) those who are in a cgroup, or all
 * others. The number of a cgroup is that of its inode. What another module has
 * refused is left alone. Returns the attachment, which ends when it is closed, or -1.
 */
int pn_lsm_refuse(const char *hook, int args, unsigned long long cgroup, bool others);

#endif /* PN_BPF_H */
