/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Workloads that make the kernel allocate memory of one kind. Each holds what
 * it got until the process ends, uses about size bytes, and returns 0 or an
 * exit status that names the step that failed.
 */
#ifndef PN_WORK_H
#define PN_WORK_H

#include <stddef.h>

/* What a workload could not be started for: a missing kernel feature. */
#define PN_WORK_MISSING	77

/* nid is for interfaces that take a node; others go by policy. */
typedef int pn_work_fn(size_t size, int nid);

pn_work_fn pn_work_block_read;
pn_work_fn pn_work_block_mmap;
pn_work_fn pn_work_shmem;
pn_work_fn pn_work_shared_anon;
pn_work_fn pn_work_page_tables;
pn_work_fn pn_work_sockets;
pn_work_fn pn_work_files;
pn_work_fn pn_work_pipes;
pn_work_fn pn_work_processes;
pn_work_fn pn_work_bpf_map;

#endif /* PN_WORK_H */
