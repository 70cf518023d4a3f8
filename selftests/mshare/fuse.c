// SPDX-License-Identifier: GPL-2.0
/*
 * A file of a region whose server answers late, or never: faults that wait for it
 * keep nobody from anything, can be killed, and end when the server does, who may
 * be a member, and the owner.
 *
 * The server is in this program and speaks the protocol of /dev/fuse itself. What
 * it does with requests to read is on a board in shared memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/fuse.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define FOLDER		"/tmp/ms_fuse"
#define NAME		"file"
#define FILE_ID		2
#define PAGES		64
#define PAGE_MAX	4096
#define MAX_WRITE	65536
#define AT_ANON		GRANULE		/* anonymous memory in the region */
#define ANON		(16 * MIB)
#define LIMIT		(16 * MIB)	/* of a memory cgroup */
#define LATE		10		/* seconds: what must come at once has come */

#define SEGV_HOLE	MS_SIGNAL(SIGSEGV, SEGV_MAPERR)

/* What server and test tell each other */
struct board {
	bool writeback;			/* the page cache may keep what is written */
	bool hold;			/* requests to read wait for this to end */
	unsigned int fail;		/* so many of each page get an error before */
	unsigned int held;		/* requests that wait */
	unsigned int interrupts;
	unsigned int reads[PAGES];
	/* The server is a member, and touches this much before it answers. */
	bool member;
	size_t touched;
	/* It is the owner, and uses too much memory when it is let go. */
	bool owner, greedy;
	char data[PAGES * PAGE_MAX];
};

struct server {
	struct board *board;
	int dev, region, sock;
	char *w;
	struct fuse_in_header waiting[PAGES];
	struct fuse_read_in what[PAGES];
};

static void answer(struct server *server, uint64_t unique, int error, const void *data,
		   size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + size, .error = error, .unique = unique,
	};
	struct iovec iov[2] = {
		{ &out, sizeof(out) }, { (void *)data, size },
	};

	/* Who asked may not be there any more. */
	if (writev(server->dev, iov, size ? 2 : 1) < 0 && errno != ENOENT)
		pn_note("answer to FUSE: %s", strerror(errno));
}

static struct fuse_attr attributes(uint64_t id)
{
	return (struct fuse_attr){
		.ino = id, .nlink = 1, .blksize = PAGE_MAX,
		.size = id == FILE_ID ? PAGES * PAGE_MAX : 0,
		.mode = id == FILE_ID ? S_IFREG | 0600 : S_IFDIR | 0700,
	};
}

/* Who serves what others wait for must not wait for it. */
static int touch_region(struct server *server)
{
	struct board *board = server->board;

	if (!server->w)
		server->w = ms_attach(server->region, 0);
	if (!server->w)
		return -1;
	server->w[AT_ANON + board->touched % ANON] = 1;
	board->touched += PAGE;
	return 0;
}

static void answer_read(struct server *server, uint64_t unique, const struct fuse_read_in *in)
{
	struct board *board = server->board;
	size_t left = in->offset < sizeof(board->data) ? sizeof(board->data) - in->offset : 0;

	if (board->member && touch_region(server)) {
		answer(server, unique, -EIO, NULL, 0);
		return;
	}
	answer(server, unique, 0, board->data + in->offset, in->size < left ? in->size : left);
}

static void start_read(struct server *server, const struct fuse_in_header *in,
		       const struct fuse_read_in *what)
{
	struct board *board = server->board;
	unsigned int *reads = &board->reads[what->offset / PAGE_MAX % PAGES];

	if (__atomic_fetch_add(reads, 1, __ATOMIC_SEQ_CST) < board->fail) {
		answer(server, in->unique, -EIO, NULL, 0);
	} else if (__atomic_load_n(&board->hold, __ATOMIC_SEQ_CST) && board->held < PAGES) {
		server->waiting[board->held] = *in;
		server->what[board->held] = *what;
		__atomic_fetch_add(&board->held, 1, __ATOMIC_SEQ_CST);
	} else {
		answer_read(server, in->unique, what);
	}
}

/* Who waits has got a signal. */
static void interrupt(struct server *server, uint64_t unique)
{
	struct board *board = server->board;
	unsigned int i, last;

	for (i = 0; i < board->held; i++) {
		if (server->waiting[i].unique != unique)
			continue;
		answer(server, unique, -EINTR, NULL, 0);
		last = board->held - 1;
		server->waiting[i] = server->waiting[last];
		server->what[i] = server->what[last];
		__atomic_store_n(&board->held, last, __ATOMIC_SEQ_CST);
		break;
	}
	__atomic_fetch_add(&board->interrupts, 1, __ATOMIC_SEQ_CST);
}

static void write_data(struct server *server, uint64_t unique, const struct fuse_write_in *in)
{
	struct fuse_write_out out = { .size = in->size };
	struct board *board = server->board;

	if (in->offset + in->size > sizeof(board->data)) {
		answer(server, unique, -EFBIG, NULL, 0);
		return;
	}
	memcpy(board->data + in->offset, in + 1, in->size);
	answer(server, unique, 0, &out, sizeof(out));
}

static void handle(struct server *server, const struct fuse_in_header *in)
{
	const void *arg = in + 1;
	struct fuse_entry_out entry = {
		.nodeid = FILE_ID, .entry_valid = 1000, .attr_valid = 1000,
		.attr = attributes(FILE_ID),
	};
	struct fuse_attr_out attr = { .attr_valid = 1000, .attr = attributes(in->nodeid) };
	struct fuse_open_out open_out = { .fh = 1, .open_flags = FOPEN_KEEP_CACHE };
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION,
		/* A request for each page */
		.max_readahead = PAGE_MAX, .max_write = MAX_WRITE, .time_gran = 1,
		.max_background = PAGES, .congestion_threshold = PAGES,
		.flags = FUSE_ASYNC_READ | FUSE_BIG_WRITES |
			 (server->board->writeback ? FUSE_WRITEBACK_CACHE : 0),
	};

	switch (in->opcode) {
	case FUSE_INIT:
		answer(server, in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		if (strcmp(arg, NAME))
			answer(server, in->unique, -ENOENT, NULL, 0);
		else
			answer(server, in->unique, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
	case FUSE_SETATTR:
		answer(server, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		answer(server, in->unique, 0, &open_out, sizeof(open_out));
		break;
	case FUSE_READ:
		start_read(server, in, arg);
		break;
	case FUSE_WRITE:
		write_data(server, in->unique, arg);
		break;
	case FUSE_INTERRUPT:
		interrupt(server, ((const struct fuse_interrupt_in *)arg)->unique);
		break;
	case FUSE_FSYNC:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		answer(server, in->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		answer(server, in->unique, -ENOSYS, NULL, 0);
	}
}

static void *serve(void *arg)
{
	static union {
		struct fuse_in_header in;
		char bytes[MAX_WRITE + PAGE_MAX];
	} buf;
	struct server *server = arg;
	struct board *board = server->board;
	struct pollfd pfd = { .fd = server->dev, .events = POLLIN };

	while (1) {
		poll(&pfd, 1, 5);
		if (pfd.revents & POLLERR)
			return NULL;
		if (pfd.revents & POLLIN &&
		    read(server->dev, &buf, sizeof(buf)) >= (ssize_t)sizeof(buf.in))
			handle(server, &buf.in);
		while (board->held && !__atomic_load_n(&board->hold, __ATOMIC_SEQ_CST)) {
			unsigned int last = board->held - 1;

			answer_read(server, server->waiting[last].unique, &server->what[last]);
			__atomic_store_n(&board->held, last, __ATOMIC_SEQ_CST);
		}
	}
}

/* A region with the file and some anonymous memory in it, or -1 */
static int make_region(int file)
{
	int fd = ms_region(2 * GRANULE, MSHARE_SHARED_CONTROL);

	if (fd < 0 || ms_map_file(fd, 0, PAGES * PAGE, RW, file, 0) ||
	    ms_map_anon(fd, AT_ANON, ANON, RW))
		return -1;
	return fd;
}

static int serves(struct pn_child *child, void *arg)
{
	struct server *server = arg;
	pthread_t thread;
	char *greedy;
	int file;

	if (pthread_create(&thread, NULL, serve, server))
		return 1;
	if (server->board->owner) {
		file = ms_receive_fd(server->sock);
		server->region = make_region(file);
		if (server->region < 0 || ms_send_fd(server->sock, server->region))
			return 2;
		close(file);
	}
	if (server->board->greedy && pn_write_file(MS_GROUP "/cgroup.procs", "0"))
		return 3;
	pn_hold(child);
	if (server->board->greedy) {
		greedy = mmap(NULL, 64 * MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(greedy, 1, 64 * MIB);
	}
	return 0;
}

FIXTURE(fuse)
{
	struct board *board;
	struct pn_child server;
	int sock[2], file, fd;
	char *w;
	long shmem;
	bool mounted;
};

/*
 * A fault that waits for the first time has let go of all locks. After two errors
 * it is there for the second time, and waits with the mmap_lock of the region.
 */
FIXTURE_VARIANT(fuse)
{
	unsigned int fail;
};

FIXTURE_VARIANT_ADD(fuse, first)
{
	.fail = 0,
};

FIXTURE_VARIANT_ADD(fuse, again)
{
	.fail = 2,
};

FIXTURE_SETUP(fuse)
{
	const char *missing = ms_missing();
	int page;

	self->fd = -1;
	self->file = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (access("/dev/fuse", R_OK | W_OK))
		SKIP(return, "no /dev/fuse: kernel without CONFIG_FUSE_FS");
	self->board = mmap(NULL, sizeof(*self->board), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->board);
	ASSERT_EQ(PAGE_MAX, PAGE);
	self->board->fail = variant->fail;
	for (page = 0; page < PAGES; page++)
		ms_write_words(self->board->data + page * PAGE, PAGE, page);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, self->sock));
	self->shmem = pn_meminfo(-1, "Shmem");
}

/* Mount it, and what is needed of region, file and window. */
static int start(FIXTURE_DATA(fuse) *self)
{
	struct server server = { .board = self->board, .sock = self->sock[1], .region = -1 };
	char options[80];

	server.dev = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0",
		 server.dev);
	mkdir(FOLDER, 0700);
	if (server.dev < 0 || mount("ms_fuse", FOLDER, "fuse", MS_NOSUID | MS_NODEV, options))
		return -1;
	self->mounted = true;
	if (!self->board->owner && self->board->member) {
		/* It gets what it is a member of, and is let in on the file later. */
		server.region = ms_region(2 * GRANULE, MSHARE_SHARED_CONTROL);
		self->fd = server.region;
		if (ms_map_anon(self->fd, AT_ANON, ANON, RW))
			return -1;
	}
	/* The server alone has the other end: when it is gone, there is none. */
	if (pn_spawn(&self->server, serves, &server) || close(server.dev))
		return -1;
	self->file = open(FOLDER "/" NAME, O_RDWR | O_CLOEXEC);
	if (self->file < 0)
		return -1;
	if (self->board->owner) {
		if (ms_send_fd(self->sock[0], self->file))
			return -1;
		self->fd = ms_receive_fd(self->sock[0]);
	} else if (!self->board->member) {
		self->fd = make_region(self->file);
	} else if (ms_map_file(self->fd, 0, PAGES * PAGE, RW, self->file, 0)) {
		return -1;
	}
	if (self->fd < 0 || pn_ready(&self->server, 20))
		return -1;
	self->w = ms_attach(self->fd, 0);
	return self->w ? 0 : -1;
}

static void hold(FIXTURE_DATA(fuse) *self, bool hold)
{
	/* After an error nothing is read ahead any more: not even what is needed. */
	if (hold)
		posix_fadvise(self->file, 0, 0, POSIX_FADV_NORMAL);
	__atomic_store_n(&self->board->hold, hold, __ATOMIC_SEQ_CST);
}

FIXTURE_TEARDOWN(fuse)
{
	if (!self->board)
		return;
	hold(self, false);
	if (self->server.pid > 0) {
		kill(self->server.pid, SIGKILL);
		waitpid(self->server.pid, NULL, 0);
		close(self->server.sock);
	}
	if (self->w)
		munmap(self->w, 2 * GRANULE);
	if (self->fd >= 0)
		close(self->fd);
	if (self->file >= 0)
		close(self->file);
	if (self->mounted)
		EXPECT_EQ(0, umount2(FOLDER, MNT_DETACH));
	close(self->sock[0]);
	close(self->sock[1]);
	munmap(self->board, sizeof(*self->board));
}

/* Wait until so many requests wait. */
static int wait_held(FIXTURE_DATA(fuse) *self, unsigned int held)
{
	double deadline = pn_now() + pn_slow(LATE);

	while (__atomic_load_n(&self->board->held, __ATOMIC_SEQ_CST) != held) {
		if (pn_now() > deadline) {
			pn_note("%u requests wait, expected %u", self->board->held, held);
			return -1;
		}
		poll(NULL, 0, 2);
	}
	return 0;
}

/* Is the process still at it? */
static bool runs(struct pn_child *child)
{
	siginfo_t info = { };

	return !waitid(P_PID, child->pid, &info, WEXITED | WNOHANG | WNOWAIT) && !info.si_pid;
}

/* Is it asleep in this system call, so that it has come as far as it can? */
static int wait_in_call(struct pn_child *child, long nr)
{
	double deadline = pn_now() + pn_slow(LATE);
	char path[40], line[200];

	snprintf(path, sizeof(path), "/proc/%d/syscall", child->pid);
	do {
		if (!pn_read_line(path, line, sizeof(line)) && line[0] >= '0' &&
		    line[0] <= '9' && atol(line) == nr)
			return 0;
		poll(NULL, 0, 2);
	} while (pn_now() < deadline);
	return -1;
}

/* Is it asleep, wherever? */
static int wait_asleep(struct pn_child *child)
{
	double deadline = pn_now() + pn_slow(LATE);
	char path[40], line[300], *state;

	snprintf(path, sizeof(path), "/proc/%d/stat", child->pid);
	do {
		if (pn_read_line(path, line, sizeof(line)))
			return -1;
		state = strrchr(line, ')');
		if (state && (state[2] == 'S' || state[2] == 'D'))
			return 0;
		poll(NULL, 0, 2);
	} while (pn_now() < deadline);
	return -1;
}

/* The ways to come by a page: touched, by the kernel, and by GUP */
#define WAYS		"rwWRVPF"

struct try {
	int fd, file;
	char way;
	int page;
	struct pn_fault fault;
};

/* The status: 0 when all is right, 100 and the signal, 1 for an error, 2 for data */
static int try_way(struct try *try, char *at)
{
	struct timespec soon = { .tv_nsec = 1000 };
	int file = memfd_create("ms_fuse", MFD_CLOEXEC);
	char *buf = calloc(1, PAGE);
	struct iovec mine = { buf, PAGE }, theirs = { at, PAGE };
	const size_t half = PAGE / 2;

	switch (try->way) {
	case 'r':
	case 'w':
		ms_try(at, try->way, &try->fault);
		if (try->fault.sig)
			return try->fault.addr == at ? 100 + try->fault.sig : 3;
		break;
	case 'W':
		if (write(file, at, PAGE) != (ssize_t)PAGE ||
		    pread(file, buf, PAGE, 0) != (ssize_t)PAGE)
			return 1;
		break;
	case 'R':
		/* What is there already, to one half of it */
		ms_write_words(buf, PAGE, try->page);
		if (pwrite(file, buf, PAGE, 0) != (ssize_t)PAGE ||
		    pread(file, at, half, 0) != (ssize_t)half)
			return 1;
		break;
	case 'V':
		if (process_vm_readv(getpid(), &mine, 1, &theirs, 1, 0) != (ssize_t)PAGE)
			return 1;
		break;
	case 'P':
		if (madvise(at, PAGE, MADV_POPULATE_READ))
			return 1;
		break;
	case 'F':
		if (syscall(SYS_futex, at, FUTEX_WAIT, try->page, &soon, NULL, 0) != -1 ||
		    errno != ETIMEDOUT)
			return 1;
		break;
	}
	if (strchr("WV", try->way) && ms_wrong_words(buf, PAGE, try->page))
		return 2;
	return ms_wrong_words(at, PAGE, try->page) ? 2 : 0;
}

static int tries(struct pn_child *child, void *arg)
{
	struct try *try = arg;
	char *w = ms_attach(try->fd, 0);

	return w ? try_way(try, w + try->page * PAGE) : 4;
}

#define STATUS(code)	((code) << 8)

/* A late answer, for two members, whatever they do */
TEST_F_TIMEOUT(fuse, late, 200)
{
	struct try try = { };
	struct pn_child one, two;
	const char *way;

	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	for (way = WAYS; *way; way++, try.page++) {
		try.way = *way;
		hold(self, true);
		ASSERT_EQ(0, pn_spawn(&one, tries, &try));
		ASSERT_EQ(0, wait_held(self, 1)) TH_LOG("way %c", *way);
		EXPECT_EQ(variant->fail + 1, self->board->reads[try.page]);
		ASSERT_EQ(0, pn_spawn(&two, tries, &try));
		ASSERT_EQ(0, wait_asleep(&two));
		EXPECT_TRUE(runs(&one));
		EXPECT_TRUE(runs(&two));
		EXPECT_EQ(1, self->board->held);
		/* Nobody else waits for them. */
		EXPECT_EQ(0, ms_signal(self->w + AT_ANON + try.page * PAGE, 'w'));
		hold(self, false);
		EXPECT_EQ(0, pn_reap(&one, LATE)) TH_LOG("way %c", *way);
		EXPECT_EQ(0, pn_reap(&two, LATE)) TH_LOG("way %c", *way);
		EXPECT_EQ(0, ms_wrong_words(self->w + try.page * PAGE, PAGE, try.page));
		/* Read once, for all. */
		EXPECT_EQ(variant->fail + 1, self->board->reads[try.page]);
	}
}

/* Who waits can be killed, and takes nothing along. */
TEST_F_TIMEOUT(fuse, killed, 200)
{
	struct try try = { };
	struct pn_child one, two;
	const char *way;

	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	for (way = WAYS; *way; way++, try.page++) {
		try.way = *way;
		hold(self, true);
		ASSERT_EQ(0, pn_spawn(&one, tries, &try));
		ASSERT_EQ(0, wait_held(self, 1)) TH_LOG("way %c", *way);
		kill(one.pid, SIGKILL);
		EXPECT_EQ(SIGKILL, pn_reap(&one, LATE)) TH_LOG("way %c", *way);
		/* The next one waits for the same answer, or asks again. */
		ASSERT_EQ(0, pn_spawn(&two, tries, &try));
		ASSERT_EQ(0, wait_held(self, 1));
		ASSERT_EQ(0, wait_asleep(&two));
		EXPECT_TRUE(runs(&two));
		hold(self, false);
		EXPECT_EQ(0, pn_reap(&two, LATE)) TH_LOG("way %c", *way);
	}
	EXPECT_EQ(1, ms_fdinfo(self->fd, "members"));
	/* In the second case the server was told, else it was not needed. */
	EXPECT_EQ(variant->fail ? sizeof(WAYS) - 1 : 0, self->board->interrupts);
}

static int unmaps(struct pn_child *child, void *arg)
{
	struct try *try = arg;

	return mshare_unmap(try->fd, try->page * PAGE, PAGE, 0);
}

/* The owner unmaps what a member waits for. */
TEST_F_TIMEOUT(fuse, unmap, 200)
{
	const char *way;
	struct try try = { };
	struct pn_child one, two;

	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	for (way = WAYS; *way; way++, try.page++) {
		try.way = *way;
		hold(self, true);
		ASSERT_EQ(0, pn_spawn(&one, tries, &try));
		ASSERT_EQ(0, wait_held(self, 1)) TH_LOG("way %c", *way);
		ASSERT_EQ(0, pn_spawn(&two, unmaps, &try));
		if (variant->fail) {
			/* It has to wait for the fault; then it need not live on. */
			ASSERT_EQ(0, wait_in_call(&two, __NR_mshare_unmap));
			EXPECT_TRUE(runs(&two));
			kill(two.pid, SIGKILL);
			EXPECT_EQ(SIGKILL, pn_reap(&two, LATE));
			EXPECT_TRUE(runs(&one));
			hold(self, false);
			EXPECT_EQ(0, pn_reap(&one, LATE)) TH_LOG("way %c", *way);
			EXPECT_EQ(0, pn_run(unmaps, &try, LATE));
		} else {
			EXPECT_EQ(0, pn_reap(&two, LATE)) TH_LOG("way %c", *way);
			EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + try.page * PAGE, 'r'));
			EXPECT_EQ(1, self->board->held);
			hold(self, false);
			/* What it waited for is not there when it comes back. */
			EXPECT_EQ(STATUS(strchr("rw", *way) ? 100 + SIGSEGV : 1),
				  pn_reap(&one, LATE)) TH_LOG("way %c", *way);
		}
		EXPECT_EQ(SEGV_HOLE, ms_signal(self->w + try.page * PAGE, 'r'));
	}
}

/* By /proc/PID/mem: a fault that cannot come back with other locks */
static int reads_mem(struct pn_child *child, void *arg)
{
	struct try *try = arg;
	char *w = ms_attach(try->fd, 0);
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	uint64_t word = 1;

	if (!w || mem < 0 ||
	    pread(mem, &word, sizeof(word), (off_t)(w + AT_ANON + ANON - PAGE)) != sizeof(word))
		return 1;
	return word ? 2 : 0;
}

/* One member waits, the owner waits for it, and so does the next member: it ends. */
TEST_F_TIMEOUT(fuse, queued, 200)
{
	struct try try = { .way = 'r' }, other = { .page = PAGES - 1 };
	struct pn_child one, two, three;

	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	other.fd = self->fd;
	hold(self, true);
	ASSERT_EQ(0, pn_spawn(&one, tries, &try));
	ASSERT_EQ(0, wait_held(self, 1));
	ASSERT_EQ(0, pn_spawn(&two, unmaps, &other));
	if (variant->fail) {
		ASSERT_EQ(0, wait_in_call(&two, __NR_mshare_unmap));
		ASSERT_EQ(0, pn_spawn(&three, reads_mem, &try));
		ASSERT_EQ(0, wait_in_call(&three, SYS_pread64));
		EXPECT_TRUE(runs(&three));
		kill(three.pid, SIGKILL);
		EXPECT_EQ(SIGKILL, pn_reap(&three, LATE));
		hold(self, false);
		EXPECT_EQ(0, pn_reap(&two, LATE));
	} else {
		EXPECT_EQ(0, pn_reap(&two, LATE));
		EXPECT_EQ(0, pn_run(reads_mem, &try, LATE));
		hold(self, false);
	}
	EXPECT_EQ(0, pn_reap(&one, LATE));
	EXPECT_EQ(0, pn_run(reads_mem, &try, LATE));
}

struct threads {
	struct try try;
	char *w;
	int status;
};

static void *tries_in_thread(void *arg)
{
	struct threads *threads = arg;

	threads->status = try_way(&threads->try, threads->w + threads->try.page * PAGE);
	return NULL;
}

/*
 * One thread of a member waits, by a system call; another one goes on: the fault
 * lets go of the lock of the member, as for a mapping that is no window.
 */
static int meanwhile(struct pn_child *child, void *arg, int (*fn)(char *w), int expected)
{
	struct threads threads = { .try = *(struct try *)arg };
	pthread_t thread;

	if (threads.try.file >= 0)
		/* For comparison, a mapping that is none of a region */
		threads.w = mmap(NULL, 2 * GRANULE, RW, MAP_SHARED, threads.try.file, 0);
	else
		threads.w = ms_attach(threads.try.fd, 0);
	if (!threads.w || threads.w == MAP_FAILED ||
	    pthread_create(&thread, NULL, tries_in_thread, &threads))
		return 1;
	pn_hold(child);
	if (fn(threads.w))
		return 2;
	pn_hold(child);
	pthread_join(thread, NULL);
	return threads.status == expected ? 0 : 3;
}

static int detach(char *w)
{
	return munmap(w, 2 * GRANULE);
}

static int detaches(struct pn_child *child, void *arg)
{
	/* What it has waited for is not there. */
	return meanwhile(child, arg, detach, 1);
}

static int fork_once(char *w)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(0);
	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static int forks(struct pn_child *child, void *arg)
{
	return meanwhile(child, arg, fork_once, 0);
}

static int map_other(char *w)
{
	void *p = mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : munmap(p, PAGE);
}

static int maps(struct pn_child *child, void *arg)
{
	return meanwhile(child, arg, map_other, 0);
}

static void check_meanwhile(FIXTURE_DATA(fuse) *self, struct __test_metadata *_metadata,
			    const FIXTURE_VARIANT(fuse) *variant,
			    int (*fn)(struct pn_child *, void *))
{
	static const char ways[] = "WRVP";
	const int nr = strlen(ways);
	struct try try = { };
	struct pn_child child;
	const char *way;

	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	for (; try.page < 2 * nr; try.page++) {
		way = &ways[try.page % nr];
		try.way = *way;
		try.file = try.page < nr ? self->file : -1;
		hold(self, true);
		ASSERT_EQ(0, pn_spawn(&child, fn, &try));
		ASSERT_EQ(0, pn_ready(&child, LATE));
		ASSERT_EQ(0, wait_held(self, 1)) TH_LOG("way %c", *way);
		ASSERT_EQ(0, ms_let_go(&child));
		if (variant->fail) {
			/* As for any mapping, both wait; and both can be killed. */
			kill(child.pid, SIGKILL);
			EXPECT_EQ(SIGKILL, pn_reap(&child, LATE)) TH_LOG("way %c", *way);
			hold(self, false);
			continue;
		}
		ASSERT_EQ(0, pn_ready(&child, LATE)) TH_LOG("page %d, way %c", try.page, *way);
		EXPECT_EQ(1, self->board->held);
		hold(self, false);
		EXPECT_EQ(0, pn_reap(&child, LATE)) TH_LOG("page %d, way %c", try.page, *way);
	}
	EXPECT_EQ(1, ms_fdinfo(self->fd, "members"));
}

TEST_F_TIMEOUT(fuse, meanwhile_detached, 200)
{
	check_meanwhile(self, _metadata, variant, detaches);
}

TEST_F_TIMEOUT(fuse, meanwhile_forked, 200)
{
	check_meanwhile(self, _metadata, variant, forks);
}

TEST_F_TIMEOUT(fuse, meanwhile_mapped, 200)
{
	check_meanwhile(self, _metadata, variant, maps);
}

/* The server is a member: what it does in the region does not wait for itself. */
TEST_F_TIMEOUT(fuse, member, 200)
{
	struct try try = { };
	struct pn_child one, two;
	const char *way;

	self->board->member = true;
	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	for (way = WAYS; *way; way++, try.page++) {
		struct try other = { .fd = self->fd, .page = PAGES - 1 - try.page };

		try.way = *way;
		hold(self, true);
		ASSERT_EQ(0, pn_spawn(&one, tries, &try));
		ASSERT_EQ(0, wait_held(self, 1)) TH_LOG("way %c", *way);
		/* Somebody may wait to change the region */
		ASSERT_EQ(0, pn_spawn(&two, unmaps, &other));
		if (variant->fail)
			ASSERT_EQ(0, wait_in_call(&two, __NR_mshare_unmap));
		hold(self, false);
		EXPECT_EQ(0, pn_reap(&one, LATE)) TH_LOG("way %c", *way);
		EXPECT_EQ(0, pn_reap(&two, LATE)) TH_LOG("way %c", *way);
	}
	EXPECT_EQ(PAGE * (sizeof(WAYS) - 1), self->board->touched);
}

/* What the region had is free although somebody waits. */
static int wait_free(FIXTURE_DATA(fuse) *self)
{
	double deadline = pn_now() + pn_slow(LATE);
	long kib;

	do {
		kib = pn_meminfo(-1, "Shmem") - self->shmem;
		if (kib < (long)(ANON / 1024 / 8) && !ms_fdinfo(self->fd, "rss-file") &&
		    !ms_fdinfo(self->fd, "rss-shmem"))
			return 0;
		poll(NULL, 0, 20);
	} while (pn_now() < deadline);
	pn_note("%ld kB of shared memory are not free", kib);
	return -1;
}

/*
 * The server is the owner, and ends, by a signal or for want of memory: so do its
 * region, and all that wait for it.
 */
static void end_of_server(FIXTURE_DATA(fuse) *self, struct __test_metadata *_metadata,
			  const FIXTURE_VARIANT(fuse) *variant)
{
	struct pn_child child[sizeof(WAYS) - 1];
	struct try try = { };
	const char *way;
	size_t i;
	int status;

	self->board->owner = true;
	self->board->fail = 0;
	ASSERT_EQ(0, start(self));
	ASSERT_EQ(self->server.pid, ms_fdinfo(self->fd, "owner"));
	try.fd = self->fd;
	ASSERT_EQ(ANON, pn_touch(self->w + AT_ANON, ANON, PAGE, NULL));
	/* Pages that are there, one of them with what the server does not know */
	ASSERT_EQ(0, ms_wrong_words(self->w + 32 * PAGE, PAGE, 32));
	self->w[33 * PAGE] = 1;
	self->board->fail = variant->fail;
	for (way = WAYS, i = 0; *way; way++, i++, try.page++) {
		try.way = *way;
		hold(self, true);
		ASSERT_EQ(0, pn_spawn(&child[i], tries, &try));
		ASSERT_EQ(0, wait_held(self, i + 1)) TH_LOG("way %c", *way);
	}
	if (!self->board->greedy)
		kill(self->server.pid, SIGKILL);
	else
		ASSERT_EQ(0, ms_let_go(&self->server));
	EXPECT_EQ(SIGKILL, pn_reap(&self->server, LATE));
	self->server.pid = 0;
	for (way = WAYS, i = 0; *way; way++, i++) {
		status = pn_reap(&child[i], LATE);
		EXPECT_EQ(STATUS(strchr("rw", *way) ? 100 + SIGBUS : 1), status)
			TH_LOG("way %c", *way);
	}
	EXPECT_EQ(0, wait_free(self));
	EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(self->w + 32 * PAGE, 'r'));
	EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(self->w + AT_ANON, 'r'));
	EXPECT_ERROR(ENODEV, mshare_attach(self->fd, 0, 0, NULL, 0));
	EXPECT_EQ(1, ms_fdinfo(self->fd, "members"));
}

TEST_F_TIMEOUT(fuse, owner_killed, 200)
{
	end_of_server(self, _metadata, variant);
}

TEST_F_TIMEOUT(fuse, owner_out_of_memory, 200)
{
	long kills = pn_vmstat("oom_kill");

	ASSERT_EQ(0, ms_begin_group("33554432"));
	self->board->greedy = true;
	end_of_server(self, _metadata, variant);
	EXPECT_EQ(1, pn_vmstat("oom_kill") - kills);
	EXPECT_EQ(0, ms_end_group());
}

/* Ends, but for its robust futexes: it waits for the server to learn of them. */
static int ends(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(fuse) *self = arg;
	void *head = mmap(NULL, PAGE, RW, MAP_PRIVATE, self->file, 0);
	int fd;

	if (head == MAP_FAILED || pn_write_file(MS_GROUP "/cgroup.procs", "0"))
		return 1;
	fd = ms_region(GRANULE, 0);
	if (fd < 0 || ms_map_anon(fd, 0, LIMIT * 4, RW) || ms_send_fd(self->sock[1], fd))
		return 2;
	pn_hold(child);
	return syscall(SYS_set_robust_list, head, sizeof(struct robust_list_head)) ? 3 : 0;
}

static int takes_all(struct pn_child *child, void *arg)
{
	struct pn_fault fault;
	char *w = ms_attach(*(int *)arg, 0);

	if (!w)
		return 1;
	return pn_touch(w, LIMIT * 4, PAGE, &fault) < LIMIT * 4 && fault.sig == SIGBUS ? 0 : 2;
}

/* As long as the owner takes to end, its cgroup pays, and the limit counts. */
TEST_F_TIMEOUT(fuse, owner_ending, 200)
{
	struct pn_child owner;
	char limit[20];
	int fd;

	self->board->fail = 0;
	ASSERT_EQ(0, start(self));
	snprintf(limit, sizeof(limit), "%zu", LIMIT);
	ASSERT_EQ(0, ms_begin_group(limit));
	ASSERT_EQ(0, pn_spawn(&owner, ends, self));
	fd = ms_receive_fd(self->sock[0]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pn_ready(&owner, LATE));
	hold(self, true);
	ASSERT_EQ(0, ms_let_go(&owner));
	ASSERT_EQ(0, wait_held(self, 1));
	EXPECT_EQ(owner.pid, ms_fdinfo(fd, "owner"));
	EXPECT_EQ(0, pn_run(takes_all, &fd, LATE * 3));
	hold(self, false);
	EXPECT_EQ(0, pn_reap(&owner, LATE));
	EXPECT_ERROR(ENODEV, mshare_attach(fd, 0, 0, NULL, 0));
	close(fd);
	EXPECT_EQ(0, ms_end_group());
}

static int writes(struct pn_child *child, void *arg)
{
	struct try *try = arg;
	char *w = ms_attach(try->fd, 0);
	int page;

	/* Each has half of each page, and the number of the round in it. */
	for (page = 0; w && page < PAGES; page++)
		w[page * PAGE + (try->way ? PAGE / 2 : 0)] = try->page;
	return w ? 0 : 1;
}

/* What members write is what the server gets, by fsync(), each time. */
TEST_F_TIMEOUT(fuse, written, 200)
{
	struct try try = { };
	struct pn_child child[2];
	int round, page, i;

	self->board->writeback = variant->fail;
	self->board->fail = 0;
	ASSERT_EQ(0, start(self));
	try.fd = self->fd;
	for (round = 1; round <= 20; round++) {
		try.page = round;
		for (i = 0; i < 2; i++) {
			try.way = i;
			ASSERT_EQ(0, pn_spawn(&child[i], writes, &try));
		}
		if (round % 2)
			EXPECT_EQ(0, fsync(self->file));
		for (i = 0; i < 2; i++)
			EXPECT_EQ(0, pn_reap(&child[i], LATE));
		EXPECT_EQ(0, fsync(self->file));
		for (page = 0; page < PAGES; page++) {
			EXPECT_EQ(round, self->board->data[page * PAGE]);
			EXPECT_EQ(round, self->board->data[page * PAGE + PAGE / 2]);
		}
	}
}

TEST_HARNESS_MAIN
