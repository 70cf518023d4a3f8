// SPDX-License-Identifier: GPL-2.0
/*
 * A file of a file system on a disk, which wants to know of each first write to a
 * page, and protects the page again when it writes it back: what members write
 * between is on the disk after the next fsync(). The disk is a loop device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define IMAGE		"/tmp/ms_writeback.image"
#define FOLDER		"/tmp/ms_writeback"
#define DISK		(32 * MIB)
#define PAGES		32
#define PAGE_MAX	4096
#define LEN		(PAGES * PAGE)
#define MEMBERS		4

/* In plain shared memory: what each member has written last, where */
struct board {
	unsigned long written[MEMBERS][PAGES];
	unsigned long passes, faults;
	bool stop;
};

FIXTURE(writeback)
{
	int fd, file, direct, nr;
	char *w, *buf;
	char loop[20];
	struct board *board;
	bool attached, mounted;
};

/* A loop device with an ext4 on it, mounted; 0 or -1 */
static int make_disk(FIXTURE_DATA(writeback) *self)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), disk, image, status;
	pid_t pid;

	image = open(IMAGE, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (control < 0 || image < 0 || ftruncate(image, DISK))
		return -1;
	pid = fork();
	if (!pid) {
		setenv("PATH", "/usr/sbin:/sbin:/usr/bin:/bin", 1);
		execlp("mke2fs", "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", IMAGE, NULL);
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || status) {
		pn_note("mke2fs: status %x", status);
		return -1;
	}
	snprintf(self->loop, sizeof(self->loop), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
	disk = open(self->loop, O_RDWR | O_CLOEXEC);
	if (disk < 0 || ioctl(disk, LOOP_SET_FD, image))
		return -1;
	self->attached = true;
	/* What is mounted may not be open for writing. */
	close(disk);
	mkdir(FOLDER, 0700);
	if (mount(self->loop, FOLDER, "ext4", MS_NOATIME, NULL))
		return -1;
	self->mounted = true;
	close(control);
	close(image);
	return 0;
}

FIXTURE_SETUP(writeback)
{
	const char *missing = ms_missing();

	self->fd = -1;
	self->file = -1;
	self->direct = -1;
	if (missing)
		SKIP(return, "%s", missing);
	if (access("/dev/loop-control", R_OK))
		SKIP(return, "no loop devices");
	ASSERT_EQ(PAGE_MAX, PAGE);
	ASSERT_EQ(0, make_disk(self));
	self->board = mmap(NULL, sizeof(*self->board), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->board);
	ASSERT_EQ(0, posix_memalign((void **)&self->buf, PAGE, LEN));
	self->file = open(FOLDER "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	self->direct = open(FOLDER "/file", O_RDONLY | O_DIRECT | O_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_LE(0, self->direct);
	memset(self->buf, 0, LEN);
	ASSERT_EQ((ssize_t)LEN, write(self->file, self->buf, LEN));
	ASSERT_EQ(0, fsync(self->file));
	self->fd = ms_region(GRANULE, 0);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->file, 0));
	self->w = ms_attach(self->fd, 0);
	ASSERT_NE(NULL, self->w);
}

FIXTURE_TEARDOWN(writeback)
{
	int disk, tries;

	if (self->w)
		munmap(self->w, GRANULE);
	if (self->fd >= 0)
		close(self->fd);
	close(self->file);
	close(self->direct);
	/* The file is let go of when the region has been taken apart. */
	for (tries = 0; self->mounted && tries < 500 && umount2(FOLDER, 0); tries++)
		poll(NULL, 0, 20);
	EXPECT_GT(500, tries);
	if (self->attached) {
		disk = open(self->loop, O_RDONLY | O_CLOEXEC);
		EXPECT_EQ(0, ioctl(disk, LOOP_CLR_FD, 0));
		close(disk);
	}
	unlink(IMAGE);
	rmdir(FOLDER);
	free(self->buf);
}

/*
 * Each adds to a word of its own in each page, and says so afterwards. The first has
 * a CPU and pages of its own: what that CPU has cached stays, and nobody else makes a
 * page dirty that this one has written to behind the kernel's back.
 */
static int writes(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(writeback) *self = arg;
	struct board *board = self->board;
	char *w = self->nr % 2 ? ms_attach(self->fd, 0) : self->w;
	long faults = ms_minor_faults();
	unsigned long n = 0, page;

	if (!w)
		return 1;
	pn_pin(self->nr ? 0 : get_nprocs() - 1);
	while (!__atomic_load_n(&board->stop, __ATOMIC_RELAXED)) {
		n++;
		for (page = !self->nr; page < PAGES; page += 2) {
			((volatile unsigned long *)(w + page * PAGE))[self->nr] = n;
			__atomic_store_n(&board->written[self->nr][page], n, __ATOMIC_RELEASE);
		}
		__atomic_fetch_add(&board->passes, 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&board->faults, ms_minor_faults() - faults, __ATOMIC_RELAXED);
	return 0;
}

/* Words on the disk that are older than what was written before it was synced */
static long lost(FIXTURE_DATA(writeback) *self, unsigned long (*then)[PAGES])
{
	long count = 0;
	int nr, page;

	if (pread(self->direct, self->buf, LEN, 0) != (ssize_t)LEN)
		return -1;
	for (nr = 0; nr < MEMBERS; nr++)
		for (page = 0; page < PAGES; page++)
			count += ((unsigned long *)(self->buf + page * PAGE))[nr] <
				 then[nr][page];
	return count;
}

static int sync_once(FIXTURE_DATA(writeback) *self, int round)
{
	if (round % 2)
		return fsync(self->file);
	return sync_file_range(self->file, 0, LEN, SYNC_FILE_RANGE_WAIT_BEFORE |
			       SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

/* Members write all the time, while it is written back again and again. */
TEST_F_TIMEOUT(writeback, under_writers, 200)
{
	static unsigned long then[MEMBERS][PAGES];
	struct pn_child child[MEMBERS];
	struct board *board = self->board;
	const int rounds = 60;
	unsigned long passes, first;
	double deadline;
	int round, page;

	/* Not on the first writer's CPU */
	pn_pin(0);
	for (self->nr = 0; self->nr < MEMBERS; self->nr++)
		ASSERT_EQ(0, pn_spawn(&child[self->nr], writes, self));
	for (round = 0; round < rounds; round++) {
		/* All have been at it since the last time. */
		passes = __atomic_load_n(&board->passes, __ATOMIC_RELAXED);
		first = __atomic_load_n(&board->written[0][1], __ATOMIC_RELAXED);
		deadline = pn_now() + pn_slow(20);
		while ((__atomic_load_n(&board->passes, __ATOMIC_RELAXED) - passes < 20 ||
			__atomic_load_n(&board->written[0][1], __ATOMIC_RELAXED) - first < 5) &&
		       pn_now() < deadline)
			sched_yield();
		memcpy(then, board->written, sizeof(then));
		ASSERT_EQ(0, sync_once(self, round));
		EXPECT_EQ(0, lost(self, then)) TH_LOG("round %d", round);
	}
	__atomic_store_n(&board->stop, true, __ATOMIC_RELAXED);
	for (self->nr = 0; self->nr < MEMBERS; self->nr++)
		EXPECT_EQ(0, pn_reap(&child[self->nr], 30));
	memcpy(then, board->written, sizeof(then));
	ASSERT_EQ(0, fsync(self->file));
	EXPECT_EQ(0, lost(self, then));
	for (page = 0; page < PAGES; page++)
		EXPECT_EQ(0, memcmp(self->buf + page * PAGE, self->w + page * PAGE, PAGE));
	/* Writing back has protected pages: members had to ask to write again. */
	pn_note("%lu passes, %lu faults", board->passes, board->faults);
	EXPECT_LT((unsigned long)rounds, board->faults);
}

struct turn {
	int fd, cpu, to[2], from[2];
};

static int writes_when_told(struct pn_child *child, void *arg)
{
	struct turn *turn = arg;
	char *w = ms_attach(turn->fd, 0);
	unsigned long n;
	int page;

	pn_pin(turn->cpu);
	while (w && read(turn->to[0], &n, sizeof(n)) == sizeof(n) && n) {
		for (page = 0; page < PAGES; page++)
			*(volatile unsigned long *)(w + page * PAGE) = n;
		if (write(turn->from[1], "", 1) != 1)
			return 1;
	}
	return w ? 0 : 2;
}

/*
 * In turn: what one member has written is written back, then another one writes,
 * whose CPU may still have the page as one that can be written to.
 */
TEST_F_TIMEOUT(writeback, in_turn, 200)
{
	struct pn_child child[2];
	struct turn turn[2];
	unsigned long n, none = 0;
	char byte;
	int i, page;

	pn_pin(0);
	for (i = 0; i < 2; i++) {
		turn[i].fd = self->fd;
		turn[i].cpu = i % get_nprocs();
		ASSERT_EQ(0, pipe2(turn[i].to, O_CLOEXEC));
		ASSERT_EQ(0, pipe2(turn[i].from, O_CLOEXEC));
		ASSERT_EQ(0, pn_spawn(&child[i], writes_when_told, &turn[i]));
	}
	for (n = 1; n <= 100; n++) {
		i = n % 2;
		ASSERT_EQ((ssize_t)sizeof(n), write(turn[i].to[1], &n, sizeof(n)));
		ASSERT_EQ(1, read(turn[i].from[0], &byte, 1));
		ASSERT_EQ(0, sync_once(self, n / 2));
		ASSERT_EQ((ssize_t)LEN, pread(self->direct, self->buf, LEN, 0));
		for (page = 0; page < PAGES; page++)
			EXPECT_EQ(n, *(unsigned long *)(self->buf + page * PAGE));
	}
	for (i = 0; i < 2; i++) {
		EXPECT_EQ((ssize_t)sizeof(none), write(turn[i].to[1], &none, sizeof(none)));
		EXPECT_EQ(0, pn_reap(&child[i], 20));
	}
}

/* What nobody has synced is on the disk when the owner and all members have gone. */
static int owns_and_writes(struct pn_child *child, void *arg)
{
	FIXTURE_DATA(writeback) *self = arg;
	int fd = ms_region(GRANULE, 0);
	char *w;

	if (fd < 0 || ms_map_file(fd, 0, LEN, RW, self->file, 0))
		return 1;
	w = ms_attach(fd, 0);
	if (!w)
		return 2;
	ms_write_words(w, LEN, 7);
	pn_hold(child);
	return 0;
}

TEST_F_TIMEOUT(writeback, owner_ends, 100)
{
	struct pn_child child;
	int killed;

	for (killed = 0; killed < 2; killed++) {
		memset(self->w, 0, LEN);
		ASSERT_EQ(0, fsync(self->file));
		ASSERT_EQ(0, pn_spawn(&child, owns_and_writes, self));
		ASSERT_EQ(0, pn_ready(&child, 20));
		if (killed)
			kill(child.pid, SIGKILL);
		EXPECT_EQ(killed ? SIGKILL : 0, pn_reap(&child, 20));
		ASSERT_EQ(0, fsync(self->file));
		ASSERT_EQ((ssize_t)LEN, pread(self->direct, self->buf, LEN, 0));
		EXPECT_EQ(0, ms_wrong_words(self->buf, LEN, 7));
	}
}

/* No room on the disk for a page: a signal for who writes, at his own address */
TEST_F_TIMEOUT(writeback, disk_full, 100)
{
	char *other = ms_attach(self->fd, 0), *at = self->w + MIB;
	struct pn_fault fault = { };
	size_t done;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, ftruncate(self->file, 2 * DISK));
	ASSERT_EQ(0, ms_map_file(self->fd, MIB, 2 * DISK - MIB, RW, self->file, MIB));
	done = pn_touch(at, 2 * DISK - MIB, PAGE, &fault);
	EXPECT_GT(2 * DISK - MIB, done);
	EXPECT_LT(DISK / 4, done);
	EXPECT_EQ(SIGBUS, fault.sig);
	EXPECT_EQ(BUS_ADRERR, fault.code);
	EXPECT_EQ(at + done, fault.addr);
	EXPECT_EQ(MS_SIGNAL(SIGBUS, BUS_ADRERR), ms_signal(other + MIB + done, 'w'));
	/* Reading is all right, and with room again writing is, too. */
	EXPECT_EQ(0, ms_signal(other + MIB + done, 'r'));
	ASSERT_EQ(0, fallocate(self->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MIB,
			       DISK / 4));
	ASSERT_EQ(0, fsync(self->file));
	EXPECT_EQ(0, ms_signal(other + MIB + done, 'w'));
	munmap(other, GRANULE);
}

/* A file that is used for swap: nobody else may write to it. */
TEST_F_TIMEOUT(writeback, swap_file, 100)
{
	union {
		char bytes[PAGE_MAX];
		struct {
			char boot[1024];
			unsigned int version, last_page;
		};
	} header = { .version = 1, .last_page = PAGES - 1 };

	memcpy(header.bytes + PAGE_MAX - 10, "SWAPSPACE2", 10);
	ASSERT_EQ(0, mshare_unmap(self->fd, 0, LEN, 0));
	ASSERT_EQ(PAGE_MAX, pwrite(self->file, &header, PAGE_MAX, 0));
	ASSERT_EQ(0, fsync(self->file));
	ASSERT_EQ(0, swapon(FOLDER "/file", 0));
	EXPECT_ERROR(ETXTBSY, ms_map_file(self->fd, 0, LEN, RW, self->file, 0));
	EXPECT_EQ(0, swapoff(FOLDER "/file"));
	EXPECT_EQ(0, ms_map_file(self->fd, 0, LEN, RW, self->file, 0));
}

/* What is dropped of caches is read again, and what is mapped and dirty is not dropped. */
TEST_F_TIMEOUT(writeback, dropped, 200)
{
	unsigned char there[PAGES];
	size_t i, nr;
	char *plain;
	int round;

	plain = mmap(NULL, LEN, PROT_READ, MAP_SHARED, self->file, 0);
	ASSERT_NE(MAP_FAILED, plain);
	for (round = 0; round < 4; round++) {
		ms_write_words(self->w, LEN, round);
		if (round % 2)
			ASSERT_EQ(0, fsync(self->file));
		if (round > 1) {
			/* Nobody has it mapped for a moment, in tables. */
			ASSERT_EQ(0, mshare_advise(self->fd, 0, LEN, MADV_DONTNEED, 0));
		}
		ASSERT_EQ(0, pn_write_file("/proc/sys/vm/drop_caches", "3"));
		/* The control: what is neither mapped nor dirty has gone. */
		ASSERT_EQ(0, mincore(plain, LEN, there));
		for (i = nr = 0; i < PAGES; i++)
			nr += there[i] & 1;
		if (round == 3) {
			EXPECT_EQ(0, nr);
		} else if (round < 2) {
			EXPECT_EQ(PAGES, nr);
		}
		EXPECT_EQ(0, ms_wrong_words(self->w, LEN, round));
	}
	munmap(plain, LEN);
}

TEST_HARNESS_MAIN
