// SPDX-License-Identifier: GPL-2.0
/* Workloads that make the kernel allocate memory of one kind: pn_work.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/bpf.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "pn_util.h"
#include "pn_work.h"

static char buffer[64 * 1024];

static void many_files(void)
{
	struct rlimit limit = { 1 << 18, 1 << 18 };

	setrlimit(RLIMIT_NOFILE, &limit);
}

/*
 * A block device whose page cache belongs to nobody's policy: a loop device
 * over a sparse memfd. Reading a hole of the memfd allocates nothing there.
 */
static int open_block(size_t size)
{
	struct loop_config config = { .info.lo_flags = LO_FLAGS_AUTOCLEAR };
	int control, memfd, fd = -1, try, index;
	char path[32];

	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -1;
	memfd = memfd_create("pn_block", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, size))
		return -1;
	config.fd = memfd;
	/* Somebody else may take the free device first. */
	for (try = 0; try < 10 && fd < 0; try++) {
		index = ioctl(control, LOOP_CTL_GET_FREE);
		if (index < 0)
			break;
		snprintf(path, sizeof(path), "/dev/loop%d", index);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config)) {
			close(fd);
			fd = -1;
		}
	}
	close(control);
	close(memfd);
	return fd;
}

int pn_work_block_read(size_t size, int nid)
{
	int fd = open_block(size);
	size_t done = 0;

	if (fd < 0)
		return PN_WORK_MISSING;
	while (done < size) {
		ssize_t n = pread(fd, buffer, sizeof(buffer), done);

		if (n <= 0)
			return 2;
		done += n;
	}
	return 0;
}

int pn_work_block_mmap(size_t size, int nid)
{
	int fd = open_block(size);
	volatile char *p;
	size_t i;

	if (fd < 0)
		return PN_WORK_MISSING;
	p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return 2;
	for (i = 0; i < size; i += pn_page_size())
		(void)p[i];
	return 0;
}

int pn_work_shmem(size_t size, int nid)
{
	int fd = memfd_create("pn_shmem", MFD_CLOEXEC);
	size_t done = 0;

	if (fd < 0)
		return 2;
	while (done < size) {
		ssize_t n = write(fd, buffer, sizeof(buffer));

		if (n <= 0)
			return 3;
		done += n;
	}
	return 0;
}

int pn_work_shared_anon(size_t size, int nid)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return 2;
	return pn_touch(p, size, pn_page_size(), NULL) == size ? 0 : 3;
}

/* Reading one byte of each 2 MiB takes a page table each, and no memory. */
int pn_work_page_tables(size_t size, int nid)
{
	size_t step = pn_page_size() / sizeof(long) * pn_page_size();
	size_t len = size / pn_page_size() * step, i;
	volatile char *p = pn_map(len);

	if (!p)
		return 2;
	madvise((void *)p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < len; i += step)
		(void)p[i];
	return 0;
}

/* Messages that nobody reads are kept in slab objects of 4 KiB and less. */
int pn_work_sockets(size_t size, int nid)
{
	size_t done = 0;

	many_files();
	while (done < size) {
		size_t before = done;
		int pair[2];

		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair))
			return 2;
		while (done < size && send(pair[0], buffer, 2000, 0) == 2000)
			done += 4096;
		if (done == before)
			return 3;
	}
	return 0;
}

/* Inodes, directory entries with long names. */
int pn_work_files(size_t size, int nid)
{
	size_t count = size / 1536, i;
	char name[256];

	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("pn", "/tmp", "tmpfs", 0, "nr_inodes=0"))
		return PN_WORK_MISSING;
	for (i = 0; i < count; i++) {
		int fd;

		snprintf(name, sizeof(name), "/tmp/%0200zu", i);
		fd = open(name, O_CREAT | O_WRONLY, 0600);
		if (fd < 0)
			return 2;
		close(fd);
	}
	return 0;
}

int pn_work_pipes(size_t size, int nid)
{
	size_t done = 0;

	many_files();
	while (done < size) {
		size_t before = done;
		int ends[2];

		if (pipe2(ends, O_NONBLOCK))
			return 2;
		fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
		for (;;) {
			ssize_t n = write(ends[1], buffer, sizeof(buffer));

			if (n <= 0)
				break;
			done += n;
		}
		if (done == before)
			return 3;
	}
	return 0;
}

/* Kernel stacks, task structures, page tables: about 64 KiB a process. */
int pn_work_processes(size_t size, int nid)
{
	size_t count = size / (64 * 1024), i;

	for (i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid < 0)
			return 2;
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == 1)
				_exit(0);
			for (;;)
				pause();
		}
	}
	return 0;
}

/* An interface where the user names the node of kernel memory. */
int pn_work_bpf_map(size_t size, int nid)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 4096;
	attr.max_entries = size / 4096;
	attr.map_flags = BPF_F_NUMA_NODE;
	attr.numa_node = nid;
	fd = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		return errno == ENOSYS ? PN_WORK_MISSING : 2;
	return 0;
}
