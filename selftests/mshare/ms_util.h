/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of mshare share, besides what they have of private_node/pn_util.h */
#ifndef MS_UTIL_H
#define MS_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/mman.h>

#include "../private_node/pn_util.h"
#include "mshare.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB	(21U << 26)
#define MFD_HUGE_1GB	(30U << 26)
#endif

#ifndef PIDFD_SELF_PROCESS
#define PIDFD_SELF_PROCESS -10001
#endif

#define GRANULE		(1UL << 30)
#define SHMEM_THP	"/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"

/* For who includes kselftest_harness.h: the call fails, with this error. */
#define EXPECT_ERROR(error, call) do {						\
	errno = 0;								\
	EXPECT_EQ(-1, (long)(call));						\
	EXPECT_EQ(error, errno) TH_LOG("%s: %s", #call, strerror(errno));	\
} while (0)

/* Is there mshare? If not, why not */
const char *ms_missing(void);

/* A region of so many bytes, or -1 */
int ms_region(size_t size, unsigned int flags);
/* Map shared anonymous memory, or a file, into it. */
int ms_map_anon(int fd, size_t offset, size_t size, int prot);
int ms_map_file(int fd, size_t offset, size_t size, int prot, int file,
		size_t file_offset);
/* A window of all of it, or NULL */
char *ms_attach(int fd, unsigned int flags);
/* A region of a granule, so much of it anonymous memory, and a window; or -1 */
int ms_used_region(size_t used, char **window);
/* The first multiple of a granule that is not below */
char *ms_granule_up(void *addr);
/* A field of its fdinfo (without "mshare-"), or -1 */
long ms_fdinfo(int fd, const char *field);
/* A field of /proc/self/status or smaps in kB, or -1 */
long ms_status(const char *field);
long ms_smaps(void *addr, const char *field);

/* Of a file with choices, "a [b] c" as it was read: choose that again. 0 or -1 */
int ms_restore_choice(const char *path, const char *was);

/*
 * Try one access: 'r', 'w' or 'x' (call what is there). 0 if it went well, else
 * the si_code; the signal and the address in fault if it is not NULL.
 */
int ms_try(void *addr, char how, struct pn_fault *fault);

/* What ms_try() says as one number, for comparisons */
#define MS_SIGNAL(sig, code)	((sig) << 8 | (code))
int ms_signal(void *addr, char how);

/* Words that tell where they are: written, and how many are wrong */
void ms_write_words(void *addr, size_t size, uint64_t seed);
size_t ms_wrong_words(void *addr, size_t size, uint64_t seed);

/* The machine code of a function that returns 42 */
void ms_write_code(void *addr);

/* Send and receive a descriptor; -1 on failure */
int ms_send_fd(int sock, int fd);
int ms_receive_fd(int sock);

/* The cgroups of a test, with the memory controller: mounted. 0 or -1 */
#define MS_CGROUPS	"/tmp/ms_cgroups"
int ms_mount_cgroups(void);
/* They, and one group in them, with this memory.max unless it is NULL; and its end */
#define MS_GROUP	MS_CGROUPS "/ms"
int ms_begin_group(const char *max);
int ms_end_group(void);

/* Let a child go that is in pn_hold(), and do not wait for it. 0 or -1 */
int ms_let_go(struct pn_child *child);

/* Minor faults of this thread */
long ms_minor_faults(void);
/* Interrupts to flush translations, of all CPUs */
long ms_shootdowns(void);

#endif /* MS_UTIL_H */
