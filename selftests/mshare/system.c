// SPDX-License-Identifier: GPL-2.0
/*
 * What the rest of the system does with regions and windows: other ways of input and
 * output, what happens to a file beside a region, other users and name spaces, and what
 * is said about regions when memory runs out.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/aio_abi.h>
#include <linux/errqueue.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY		60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY		0x4000000
#endif

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define KIB		1024UL
#define USED		MIB
#define SEED		55
#define NOBODY		65534
#define PROGRAM		"/tmp/ms_system"
#define IDLE_BITMAP	"/sys/kernel/mm/page_idle/bitmap"
#define LARGE_SHMEM	"/sys/kernel/mm/transparent_hugepage/hugepages-64kB/shmem_enabled"

/* Half of the window is anonymous, half is a file that is mapped elsewhere, too. */
FIXTURE(system)
{
	int fd, file;
	char *w, *plain;
};

FIXTURE_SETUP(system)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->file = memfd_create("ms_system", MFD_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, ftruncate(self->file, 4 * USED));
	self->fd = ms_used_region(USED, &self->w);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_file(self->fd, USED, 4 * USED, RW, self->file, 0));
	self->plain = mmap(NULL, 4 * USED, RW, MAP_SHARED, self->file, 0);
	ASSERT_NE(MAP_FAILED, self->plain);
	ms_write_words(self->w, 2 * USED, SEED);
}

FIXTURE_TEARDOWN(system)
{
	if (self->fd < 0)
		return;
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
	munmap(self->plain, 4 * USED);
	munmap(self->w, GRANULE);
	close(self->fd);
	close(self->file);
}

struct toucher {
	int fd;
	size_t offset;
};

static int touches(struct pn_child *child, void *arg)
{
	struct toucher *toucher = arg;
	char *w = ms_attach(toucher->fd, 0);

	if (!w)
		return 1;
	*(volatile char *)(w + toucher->offset);
	return 0;
}

static int idle(unsigned long pfn, bool set)
{
	int fd = open(IDLE_BITMAP, O_RDWR | O_CLOEXEC);
	uint64_t bits = 1ULL << pfn % 64;
	ssize_t n;

	n = set ? pwrite(fd, &bits, 8, pfn / 64 * 8) : pread(fd, &bits, 8, pfn / 64 * 8);
	close(fd);
	return n == 8 ? !!(bits & 1ULL << pfn % 64) : -1;
}

/* Idle pages: an access through a window is one to the page. */
TEST_F(system, idle_pages)
{
	struct toucher toucher = { self->fd, USED + 5 * PAGE };
	unsigned long pfn;

	if (access(IDLE_BITMAP, W_OK))
		SKIP(return, "a kernel without CONFIG_IDLE_PAGE_TRACKING");
	pfn = pn_frame(self->plain + 5 * PAGE);
	ASSERT_NE(0, pfn);
	/* Only the region's table knows of accesses now. */
	munmap(self->plain, 4 * USED);
	pn_settle();
	/* Pages that were only just used are not on a list yet */
	EXPECT_EQ(0, idle(pfn, false));
	ASSERT_EQ(1, idle(pfn, true));
	EXPECT_EQ(1, idle(pfn, false));
	EXPECT_EQ(0, pn_run(touches, &toucher, 20));
	EXPECT_EQ(0, idle(pfn, false));
}

/* Asynchronous I/O of the old kind, from and to a window, before it is touched, too */
TEST_F(system, aio)
{
	char *from = self->w, *to = self->w + USED + 2 * USED;
	int out = memfd_create("ms_aio", MFD_CLOEXEC);
	struct iocb write = {
		.aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = out,
		.aio_buf = (unsigned long)from, .aio_nbytes = USED,
	}, read = {
		.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = out,
		.aio_buf = (unsigned long)to, .aio_nbytes = USED,
	}, *list;
	aio_context_t context = 0;
	struct io_event event;

	if (syscall(__NR_io_setup, 4, &context) && errno == ENOSYS)
		SKIP(return, "a kernel without CONFIG_AIO");
	list = &write;
	ASSERT_EQ(1, syscall(__NR_io_submit, context, 1, &list));
	ASSERT_EQ(1, syscall(__NR_io_getevents, context, 1, 1, &event, NULL));
	EXPECT_EQ((long)USED, event.res);
	list = &read;
	ASSERT_EQ(1, syscall(__NR_io_submit, context, 1, &list));
	ASSERT_EQ(1, syscall(__NR_io_getevents, context, 1, 1, &event, NULL));
	EXPECT_EQ((long)USED, event.res);
	EXPECT_EQ(0, ms_wrong_words(to, USED, SEED));
	EXPECT_EQ(0, ms_wrong_words(self->plain + 2 * USED, USED, SEED));
	syscall(__NR_io_destroy, context);
	close(out);
}

/* Both ends of a connection over the loopback device, or -1 */
static int connection(int end[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	socklen_t len = sizeof(addr);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ret = -1;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	end[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	end[1] = -1;
	if (listener < 0 || end[0] < 0 || ioctl(listener, SIOCSIFFLAGS, &lo))
		goto out;
	if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&addr, &len) ||
	    connect(end[0], (struct sockaddr *)&addr, len))
		goto out;
	end[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ret = end[1] < 0 ? -1 : 0;
out:
	close(listener);
	return ret;
}

/* Sent without a copy: what is sent are the pages that were there. */
TEST_F(system, zerocopy)
{
	const size_t len = 8 * PAGE;
	char *got = malloc(len), control[100];
	struct msghdr msg = { .msg_control = control, .msg_controllen = sizeof(control) };
	struct pollfd ready;
	int end[2], one = 1;

	if (connection(end))
		SKIP(return, "no connection over the loopback device");
	ASSERT_EQ(0, setsockopt(end[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)));
	ASSERT_EQ((ssize_t)len, send(end[0], self->w + USED, len, MSG_ZEROCOPY));
	/* What is unmapped is still sent. */
	ASSERT_EQ(0, mshare_unmap(self->fd, USED, len, 0));
	ASSERT_EQ((ssize_t)len, recv(end[1], got, len, MSG_WAITALL));
	EXPECT_EQ(0, ms_wrong_words(got, len, SEED + USED / 8));
	ready = (struct pollfd){ .fd = end[0] };
	EXPECT_EQ(1, poll(&ready, 1, 1000 * pn_slow(10)));
	EXPECT_EQ(0, recvmsg(end[0], &msg, MSG_ERRQUEUE));
	EXPECT_NE(NULL, CMSG_FIRSTHDR(&msg));
	close(end[0]);
	close(end[1]);
	free(got);
}

#define WORD_A		0
#define WORD_B		(64 * PAGE)

static long futex(void *word, int op, unsigned int value, unsigned long value2, void *other,
		  unsigned int value3)
{
	return syscall(__NR_futex, word, op, value, value2, other, value3);
}

static int waits(struct pn_child *child, void *arg)
{
	char *w = ms_attach(*(int *)arg, 0);

	if (!w || !pn_say(child))
		return 1;
	return futex(w + 2 * USED + WORD_A, FUTEX_WAIT, 0, 0, NULL, 0) ? 2 : 0;
}

/* Who waits for a word is moved to another one, by who sees both elsewhere. */
TEST_F_TIMEOUT(system, requeued, 60)
{
	char *a = self->w + 2 * USED + WORD_A, *b = self->w + 2 * USED + WORD_B;
	double deadline = pn_now() + pn_slow(20);
	struct pn_child child[2];
	long n = 0;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pn_spawn(&child[i], waits, &self->fd));
		ASSERT_EQ(0, pn_ready(&child[i], 20));
	}
	/* They wait a moment after they have said so. */
	while (n < 2 && pn_now() < deadline) {
		long more = futex(a, FUTEX_CMP_REQUEUE, 0, 2, b, 0);

		ASSERT_LE(0, more);
		n += more;
		poll(NULL, 0, 10);
	}
	EXPECT_EQ(2, n);
	EXPECT_EQ(0, futex(a, FUTEX_WAKE, 2, 0, NULL, 0));
	/* The file from elsewhere is the same word */
	EXPECT_EQ(1, futex(self->plain + USED + WORD_B, FUTEX_WAKE, 1, 0, NULL, 0));
	EXPECT_EQ(1, futex(b, FUTEX_WAKE, 2, 0, NULL, 0));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, pn_reap(&child[i], 20));
}

static void *reads_first(void *arg)
{
	*(volatile char *)arg;
	return NULL;
}

/*
 * Who handles faults of a file in its own mapping is not asked about those of a
 * region, neither for pages that are there nor for holes.
 */
TEST_F_TIMEOUT(system, beside_userfaultfd, 60)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)self->plain, .len = 4 * USED },
		.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	struct uffdio_continue go = {
		.range = { .start = (unsigned long)self->plain, .len = PAGE },
	};
	struct toucher toucher = { self->fd, 0 };
	struct uffd_msg msg;
	struct pollfd ready;
	pthread_t thread;
	size_t i;

	if (fd < 0 && errno == ENOSYS)
		SKIP(return, "no userfaultfd()");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, madvise(self->plain, 4 * USED, MADV_DONTNEED));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_API, &api));
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	for (i = 0; i < 8; i++) {
		/* There, and mapped anew; then a hole */
		toucher.offset = USED + i * PAGE;
		ASSERT_EQ(0, mshare_advise(self->fd, toucher.offset, PAGE, MADV_DONTNEED, 0));
		EXPECT_EQ(0, pn_run(touches, &toucher, 20));
		toucher.offset = USED + 2 * USED + i * PAGE;
		EXPECT_EQ(0, pn_run(touches, &toucher, 20));
	}
	EXPECT_ERROR(EAGAIN, read(fd, &msg, sizeof(msg)));
	EXPECT_EQ(0, ms_wrong_words(self->w + USED, USED, SEED + USED / 8));
	/* The control: it is asked about its own. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, reads_first, self->plain));
	ready = (struct pollfd){ .fd = fd, .events = POLLIN };
	EXPECT_EQ(1, poll(&ready, 1, 1000 * pn_slow(10)));
	ASSERT_EQ((ssize_t)sizeof(msg), read(fd, &msg, sizeof(msg)));
	EXPECT_EQ(UFFD_EVENT_PAGEFAULT, msg.event);
	EXPECT_TRUE(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_MINOR);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_CONTINUE, &go));
	EXPECT_EQ(0, pthread_join(thread, NULL));
	close(fd);
}

/* The pages of a file that goes shorter while it is mapped are gone for all. */
static void *truncates(void *arg)
{
	FIXTURE_DATA(system) *self = arg;
	int i;

	for (i = 0; i < 200; i++) {
		if (ftruncate(self->file, 0) || ftruncate(self->file, 4 * USED))
			return self;
	}
	return ftruncate(self->file, 0) ? self : NULL;
}

TEST_F_TIMEOUT(system, truncated_meanwhile, 100)
{
	pthread_t thread;
	void *failed;
	size_t i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, truncates, self));
	while (pthread_tryjoin_np(thread, &failed)) {
		ASSERT_EQ(0, mshare_unmap(self->fd, USED, 4 * USED, 0));
		ASSERT_EQ(0, ms_map_file(self->fd, USED, 4 * USED, RW, self->file, 0));
		for (i = 0; i < 4 * USED; i += 16 * PAGE) {
			int seen = ms_signal(self->w + USED + i, i / PAGE % 32 ? 'r' : 'w');

			EXPECT_TRUE(!seen || seen == MS_SIGNAL(SIGBUS, BUS_ADRERR))
				TH_LOG("%#x", seen);
		}
	}
	EXPECT_EQ(NULL, failed);
	/* It is empty now: of what was mapped while it was not, nothing is left. */
	for (i = 0; i < 4 * USED; i += PAGE)
		EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(self->w + USED + i, 'r'));
	EXPECT_EQ((long)(USED / KIB), ms_fdinfo(self->fd, "rss-shmem"));
}

/* Collapsed by who has mapped the file elsewhere, and split again */
TEST_F_TIMEOUT(system, collapsed_elsewhere, 100)
{
	const size_t huge = 2 * MIB;
	int file = memfd_create("ms_collapsed", MFD_CLOEXEC);
	struct toucher toucher = { self->fd, 0 };
	char *at, *w = self->w + 64 * MIB, *plain;
	int tries;

	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, huge));
	plain = mmap(NULL, 3 * huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, plain);
	at = (char *)(((unsigned long)plain + huge - 1) & ~(huge - 1));
	ASSERT_EQ(at, mmap(at, huge, RW, MAP_SHARED | MAP_FIXED, file, 0));
	ASSERT_EQ(0, ms_map_file(self->fd, 64 * MIB, huge, RW, file, 0));
	/* Page by page, in the table of the region */
	ms_write_words(w, huge, 8);
	for (tries = 0; tries < 20 && madvise(at, huge, MADV_COLLAPSE); tries++) {
		if (errno == EINVAL)
			SKIP(return, "a kernel without CONFIG_TRANSPARENT_HUGEPAGE");
		pn_settle();
	}
	EXPECT_GT(20, tries);
	EXPECT_EQ((long)(huge / KIB), ms_smaps(at, "ShmemPmdMapped"));
	EXPECT_EQ(0, ms_wrong_words(w, huge, 8));
	toucher.offset = 64 * MIB + huge / 2;
	EXPECT_EQ(0, pn_run(touches, &toucher, 20));
	ms_write_words(w, huge, 9);
	EXPECT_EQ(0, ms_wrong_words(at, huge, 9));
	/* A hole in the middle: all of the rest is as it was. */
	ASSERT_EQ(0, fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, huge / 2, PAGE));
	EXPECT_EQ(0, ms_wrong_words(w, huge / 2, 9));
	EXPECT_EQ(0, *(uint64_t *)(w + huge / 2 + 8));
	EXPECT_EQ(0, ms_wrong_words(w + huge / 2 + PAGE, huge / 2 - PAGE,
				    9 + (huge / 2 + PAGE) / 8));
	munmap(plain, 3 * huge);
	close(file);
}

/* Large folios that go to another node, to swap, and come back */
TEST_F_TIMEOUT(system, large_folios_move, 100)
{
	int control = pn_control_node();
	unsigned long mask = NODE_BIT(control);
	struct mshare_mbind_args args = {
		.offset = 64 * MIB, .size = 4 * MIB, .maxnode = PN_MAXNODE + 1,
		.mode = MPOL_BIND, .flags = MPOL_MF_MOVE_ALL,
		.nodemask = (unsigned long)&mask,
	};
	int file = memfd_create("ms_moved", MFD_CLOEXEC);
	char *w = self->w + 64 * MIB, *plain;
	long out;

	if (control < 0)
		SKIP(return, "no second ordinary node");
	if (access(LARGE_SHMEM, W_OK) || access("/sys/block/zram0", F_OK))
		SKIP(return, "no large folios for shared memory, or no zram to swap to");
	ASSERT_LE(0, file);
	ASSERT_EQ(0, ftruncate(file, args.size));
	ASSERT_EQ(0, ms_map_file(self->fd, args.offset, args.size, RW, file, 0));
	ASSERT_EQ(0, pn_swap_on(64 * MIB));
	ASSERT_EQ(0, pn_write_file(LARGE_SHMEM, "always"));
	ms_write_words(w, args.size, 3);
	EXPECT_EQ(0, pn_write_file(LARGE_SHMEM, "never"));
	ASSERT_EQ(0, mshare_mbind(self->fd, &args, sizeof(args), 0));
	plain = mmap(NULL, args.size, PROT_READ, MAP_SHARED | MAP_POPULATE, file, 0);
	ASSERT_NE(MAP_FAILED, plain);
	EXPECT_EQ((long)(args.size / PAGE), pn_on_node(plain, args.size, control));
	munmap(plain, args.size);
	EXPECT_EQ(0, ms_wrong_words(w, args.size, 3));
	out = pn_vmstat("pswpout");
	ASSERT_EQ(0, mshare_advise(self->fd, args.offset, args.size, MADV_PAGEOUT, 0));
	EXPECT_LT((long)(args.size / PAGE / 2), pn_vmstat("pswpout") - out);
	EXPECT_EQ(0, ms_wrong_words(w, args.size, 3));
	EXPECT_EQ(0, pn_swap_off());
	EXPECT_EQ(0, ms_wrong_words(w, args.size, 3));
	close(file);
}

/* Descriptors of what is no memory of files are refused. */
TEST_F(system, other_descriptors)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,
	};
	struct io_uring_params params = { };
	int ring = syscall(__NR_io_uring_setup, 4, &params);
	int perf = syscall(__NR_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	ASSERT_LE(0, null);
	if (ring < 0)
		pn_note("no io_uring: not looked at");
	else
		EXPECT_ERROR(EINVAL, ms_map_file(self->fd, 64 * MIB, PAGE, RW, ring, 0));
	if (perf < 0)
		pn_note("no perf events: not looked at");
	else
		EXPECT_ERROR(EINVAL, ms_map_file(self->fd, 64 * MIB, PAGE, RW, perf, 0));
	EXPECT_ERROR(EINVAL, ms_map_file(self->fd, 64 * MIB, PAGE, RW, null, 0));
	close(ring);
	close(perf);
	close(null);
}

/* Who locks all it will map locks nothing of a region. */
TEST_F(system, locks_the_future)
{
	long rss, locked;

	ASSERT_EQ(0, mlockall(MCL_FUTURE));
	locked = ms_status("VmLck");
	rss = ms_fdinfo(self->fd, "rss-shmem");
	EXPECT_EQ(0, ms_map_anon(self->fd, 64 * MIB, 8 * MIB, RW));
	EXPECT_EQ(rss, ms_fdinfo(self->fd, "rss-shmem"));
	EXPECT_EQ(locked, ms_status("VmLck"));
	EXPECT_EQ(0, munlockall());
}

static int promises(struct pn_child *child, void *arg)
{
	int *sock = arg, fd = ms_region(GRANULE, 0);

	if (fd < 0 || ms_map_anon(fd, 0, 256 * MIB, RW) || ms_send_fd(*sock, fd))
		return 1;
	pn_hold(child);
	return 0;
}

/* What was promised to a region is not any more once its owner has ended. */
TEST_F(system, promised)
{
	const long much = 200 * KIB;
	long before = pn_meminfo(-1, "Committed_AS");
	double deadline = pn_now() + pn_slow(20);
	struct pn_child owner;
	int sock[2], fd;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	ASSERT_EQ(0, pn_spawn(&owner, promises, &sock[1]));
	ASSERT_EQ(0, pn_ready(&owner, 20));
	fd = ms_receive_fd(sock[0]);
	ASSERT_LE(0, fd);
	EXPECT_LT(before + much, pn_meminfo(-1, "Committed_AS"));
	EXPECT_EQ(0, pn_reap(&owner, 20));
	while (pn_meminfo(-1, "Committed_AS") > before + 16 * (long)KIB && pn_now() < deadline)
		poll(NULL, 0, 20);
	EXPECT_GT(before + 16 * (long)KIB, pn_meminfo(-1, "Committed_AS"));
	close(fd);
	close(sock[0]);
	close(sock[1]);
}

#define INHERITED	100

/* A program with the set-user-ID bit, by a member that has the descriptor */
static int runs_another(struct pn_child *child, void *arg)
{
	char *w = ms_attach(INHERITED, 0);

	if (!w || ms_wrong_words(w, USED, SEED))
		return 1;
	execl(PROGRAM, PROGRAM, "--another", NULL);
	return 2;
}

/*
 * In that program: no window has come along; the descriptor, which it was given, is
 * good for another. 0 if all is right
 */
static int is_another(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[300], *w;

	if (!maps || geteuid() != NOBODY)
		return 11;
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "mshare"))
			return 12;
	w = ms_attach(INHERITED, 0);
	if (!w || ms_wrong_words(w, USED, SEED))
		return 13;
	/* It does not own the region. */
	if (!mshare_unmap(INHERITED, 0, PAGE, 0) || errno != EPERM)
		return 14;
	return 0;
}

TEST_F(system, set_user_id)
{
	char command[100];

	ASSERT_EQ(INHERITED, dup2(self->fd, INHERITED));
	snprintf(command, sizeof(command), "cp /proc/%d/exe " PROGRAM, getpid());
	ASSERT_EQ(0, system(command));
	ASSERT_EQ(0, chown(PROGRAM, NOBODY, -1));
	ASSERT_EQ(0, chmod(PROGRAM, 04755));
	EXPECT_EQ(0, pn_run(runs_another, self, 20));
	unlink(PROGRAM);
	close(INHERITED);
}

static int in_a_namespace(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(system) *self = arg;
	pid_t pid;
	int status;

	if (unshare(CLONE_NEWPID | CLONE_NEWNS))
		return 1;
	pid = fork();
	if (pid)
		return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
		       WEXITSTATUS(status) : 2;
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("proc", "/proc", "proc", 0, NULL))
		_exit(3);
	/* The owner has no number here, and is not the first one of here either. */
	if (ms_fdinfo(self->fd, "owner"))
		_exit(4);
	if (!mshare_unmap(self->fd, 0, PAGE, 0) || errno != EPERM)
		_exit(5);
	if (!ms_attach(self->fd, 0))
		_exit(6);
	_exit(0);
}

/* Other numbers of processes */
TEST_F(system, pid_namespace)
{
	EXPECT_EQ(0, pn_run(in_a_namespace, self, 20));
	EXPECT_EQ(getpid(), ms_fdinfo(self->fd, "owner"));
}

static int wants_much(struct pn_child *child, void *arg)
{
	char *w;
	int fd;

	if (pn_write_file(MS_GROUP "/cgroup.procs", "0"))
		return 1;
	fd = ms_region(GRANULE, 0);
	if (fd < 0 || ms_map_anon(fd, 0, 64 * MIB, RW))
		return 2;
	w = ms_attach(fd, 0);
	if (!w)
		return 3;
	pn_touch(w, 64 * MIB, PAGE, NULL);
	return 4;
}

/* What an owner is killed for is in the report, and that it stalled in its cgroup. */
TEST_F_TIMEOUT(system, reported, 100)
{
	char line[1000], *at, pressure[200];
	int log = pn_log_open();
	long kib = 0;
	double deadline;

	ASSERT_LE(0, log);
	ASSERT_EQ(0, ms_begin_group("16777216"));
	EXPECT_EQ(SIGKILL, pn_run(wants_much, self, 60));
	deadline = pn_now() + pn_slow(5);
	while (!kib && pn_now() < deadline) {
		if (pn_log_next(log, line, sizeof(line)) != 1) {
			poll(NULL, 0, 20);
			continue;
		}
		at = strstr(line, "has mshare regions: ");
		if (at)
			kib = atol(strchr(at, ':') + 1);
	}
	EXPECT_LT((long)(8 * KIB), kib);
	EXPECT_GE((long)(16 * KIB), kib);
	if (pn_read_line(MS_GROUP "/memory.pressure", pressure, sizeof(pressure)))
		pn_note("a kernel without CONFIG_PSI: no pressure to look at");
	else
		EXPECT_LT(0, atol(strstr(pressure, "total=") + 6)) TH_LOG("%s", pressure);
	close(log);
	EXPECT_EQ(0, ms_end_group());
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--another"))
		return is_another();
	return test_harness_run(argc, argv);
}
