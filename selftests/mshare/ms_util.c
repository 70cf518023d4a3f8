// SPDX-License-Identifier: GPL-2.0
/* What the tests of mshare share: ms_util.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ms_util.h"

const char *ms_missing(void)
{
	int fd = mshare_create(0);

	if (fd < 0)
		return errno == ENOSYS ? "no mshare: kernel without CONFIG_MSHARE" : NULL;
	close(fd);
	return NULL;
}

int ms_region(size_t size, unsigned int flags)
{
	int fd = mshare_create(flags);

	if (fd >= 0 && ftruncate(fd, size)) {
		close(fd);
		return -1;
	}
	return fd;
}

int ms_map_file(int fd, size_t offset, size_t size, int prot, int file,
		size_t file_offset)
{
	struct mshare_map_args args = {
		.offset = offset, .size = size, .file_offset = file_offset,
		.prot = prot, .fd = file,
	};

	return mshare_map(fd, &args, sizeof(args), 0);
}

int ms_map_anon(int fd, size_t offset, size_t size, int prot)
{
	return ms_map_file(fd, offset, size, prot, -1, 0);
}

char *ms_attach(int fd, unsigned int flags)
{
	char *window = mshare_attach(fd, 0, 0, NULL, flags);

	return window == MAP_FAILED ? NULL : window;
}

int ms_used_region(size_t used, char **window)
{
	int fd = ms_region(GRANULE, 0);

	if (fd < 0)
		return -1;
	*window = ms_map_anon(fd, 0, used, PROT_READ | PROT_WRITE) ? NULL : ms_attach(fd, 0);
	if (*window)
		return fd;
	close(fd);
	return -1;
}

char *ms_granule_up(void *addr)
{
	return (char *)(((unsigned long)addr + GRANULE - 1) & ~(GRANULE - 1));
}

/* The number after "field:" in the lines of a file from the one that begins with */
static long field_of(const char *path, const char *begin, const char *field)
{
	FILE *file = fopen(path, "re");
	size_t len = strlen(field);
	char line[512];
	long ret = -1;
	bool there = !begin;

	if (!file)
		return -1;
	while (ret < 0 && fgets(line, sizeof(line), file)) {
		if (!there)
			there = !strncmp(line, begin, strlen(begin));
		else if (!strncmp(line, field, len) && line[len] == ':')
			ret = atol(line + len + 1);
	}
	fclose(file);
	return ret;
}

long ms_fdinfo(int fd, const char *field)
{
	char path[40], name[60];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	snprintf(name, sizeof(name), "mshare-%s", field);
	return field_of(path, NULL, name);
}

long ms_status(const char *field)
{
	return field_of("/proc/self/status", NULL, field);
}

long ms_smaps(void *addr, const char *field)
{
	char begin[24];

	snprintf(begin, sizeof(begin), "%lx-", (unsigned long)addr);
	return field_of("/proc/self/smaps", begin, field);
}

int ms_restore_choice(const char *path, const char *was)
{
	const char *choice = strchr(was, '[');
	char text[40];

	if (!choice)
		return -1;
	snprintf(text, sizeof(text), "%.*s", (int)strcspn(choice + 1, "]"), choice + 1);
	return pn_write_file(path, text);
}

struct try {
	char *addr, how;
	int ret;
};

static void try_it(void *arg)
{
	struct try *try = arg;

	if (try->how == 'r')
		*(volatile char *)try->addr;
	else if (try->how == 'w')
		/* One access, which does not read before it writes */
		__atomic_fetch_or(try->addr, 0, __ATOMIC_RELAXED);
	else if (((int (*)(void))try->addr)() != 42)
		try->ret = -1;
}

int ms_try(void *addr, char how, struct pn_fault *fault)
{
	struct try try = { addr, how };
	struct pn_fault seen;

	pn_catch(try_it, &try, &seen);
	if (fault)
		*fault = seen;
	return seen.sig ? seen.code : try.ret;
}

int ms_signal(void *addr, char how)
{
	struct pn_fault fault;
	int code = ms_try(addr, how, &fault);

	if (!fault.sig)
		return code;
	if (fault.addr != addr)
		pn_note("address %p reported, %p accessed", fault.addr, addr);
	return fault.addr == addr ? MS_SIGNAL(fault.sig, code) : -2;
}

void ms_write_words(void *addr, size_t size, uint64_t seed)
{
	uint64_t *p = addr;
	size_t i;

	for (i = 0; i < size / sizeof(*p); i++)
		p[i] = seed + i;
}

size_t ms_wrong_words(void *addr, size_t size, uint64_t seed)
{
	uint64_t *p = addr;
	size_t i, wrong = 0;

	for (i = 0; i < size / sizeof(*p); i++)
		wrong += p[i] != seed + i;
	return wrong;
}

void ms_write_code(void *addr)
{
	/* mov $42, %eax; ret */
	static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 };

	memcpy(addr, code, sizeof(code));
}

int ms_mount_cgroups(void)
{
	mkdir(MS_CGROUPS, 0755);
	if (mount("ms", MS_CGROUPS, "cgroup2", 0, NULL))
		return -1;
	return pn_write_file(MS_CGROUPS "/cgroup.subtree_control", "+memory");
}

int ms_begin_group(const char *max)
{
	if (ms_mount_cgroups() || mkdir(MS_GROUP, 0755))
		return -1;
	return max ? pn_write_file(MS_GROUP "/memory.max", max) : 0;
}

int ms_end_group(void)
{
	int left = pn_remove_group(MS_GROUP);

	return umount2(MS_CGROUPS, MNT_DETACH) || left ? -1 : 0;
}

int ms_send_fd(int sock, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { };
	struct iovec iov = { .iov_base = "", .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -1;
}

int ms_receive_fd(int sock)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header;
	} control = { };
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&msg))
		return -1;
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

int ms_let_go(struct pn_child *child)
{
	return send(child->sock, "", 1, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

long ms_minor_faults(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? -1 : usage.ru_minflt;
}

long ms_shootdowns(void)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char line[4096], *p, *end;
	long sum = -1, n;

	while (file && fgets(line, sizeof(line), file)) {
		p = strstr(line, "TLB:");
		if (!p)
			continue;
		sum = 0;
		for (p += 4; n = strtol(p, &end, 10), end != p; p = end)
			sum += n;
	}
	if (file)
		fclose(file);
	return sum;
}
