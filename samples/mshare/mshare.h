/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The system calls of mshare, for programs whose C library does not have them:
 * see Documentation/userspace-api/mshare.rst and mshare(2). Each returns -1 and sets errno
 * when it fails, with ENOSYS on a kernel without mshare.
 */
#ifndef MSHARE_H
#define MSHARE_H

#include <stddef.h>
#include <unistd.h>
#include <sys/syscall.h>

#if __has_include("linux/mshare.h")
#include <linux/mshare.h>
#else
#include <linux/types.h>

#define MSHARE_SHARED_CONTROL	0x1

#define MSHARE_FIXED		0x1
#define MSHARE_FIXED_NOREPLACE	0x2
#define MSHARE_RDONLY		0x4
#define MSHARE_EXEC		0x8

#define MSHARE_MAP_NOREPLACE	0x1

struct mshare_map_args {
	__u64 offset;
	__u64 size;
	__u64 file_offset;
	__u32 prot;
	__s32 fd;
};

struct mshare_mbind_args {
	__u64 offset;
	__u64 size;
	__u64 nodemask;
	__u64 maxnode;
	__u32 mode;
	__u32 flags;
};
#endif

#ifndef __NR_mshare_create
#ifndef __x86_64__
#error "the headers of this kernel do not know mshare"
#endif
#define __NR_mshare_create	473
#define __NR_mshare_attach	474
#define __NR_mshare_map		475
#define __NR_mshare_unmap	476
#define __NR_mshare_protect	477
#define __NR_mshare_advise	478
#define __NR_mshare_mbind	479
#define __NR_mshare_set_owner	480
#endif

static inline int mshare_create(unsigned int flags)
{
	return syscall(__NR_mshare_create, flags);
}

/* The address of the window, or (void *)-1 */
static inline void *mshare_attach(int fd, __u64 offset, __u64 size, void *addr,
				  unsigned int flags)
{
	return (void *)syscall(__NR_mshare_attach, fd, offset, size, addr, flags);
}

static inline int mshare_map(int fd, const struct mshare_map_args *args, size_t size,
			     unsigned int flags)
{
	return syscall(__NR_mshare_map, fd, args, size, flags);
}

static inline int mshare_unmap(int fd, __u64 offset, __u64 size, unsigned int flags)
{
	return syscall(__NR_mshare_unmap, fd, offset, size, flags);
}

static inline int mshare_protect(int fd, __u64 offset, __u64 size, unsigned int prot,
				 unsigned int flags)
{
	return syscall(__NR_mshare_protect, fd, offset, size, prot, flags);
}

static inline int mshare_advise(int fd, __u64 offset, __u64 size, int advice,
				unsigned int flags)
{
	return syscall(__NR_mshare_advise, fd, offset, size, advice, flags);
}

static inline int mshare_mbind(int fd, const struct mshare_mbind_args *args, size_t size,
			       unsigned int flags)
{
	return syscall(__NR_mshare_mbind, fd, args, size, flags);
}

static inline int mshare_set_owner(int fd, int pidfd, unsigned int flags)
{
	return syscall(__NR_mshare_set_owner, fd, pidfd, flags);
}

#endif /* MSHARE_H */
