// SPDX-License-Identifier: GPL-2.0
/*
 * splice(2) and its relatives (row 58): what a task with a private policy sends
 * through pipes and sockets takes no private memory, and private memory that it
 * gives away does not become page cache.
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
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "pn_work.h"
#include "kselftest_harness.h"

#define PAGES		16
#define LEN		((size_t)PAGES * pn_page_size())

FIXTURE(splice)
{
	int priv, control, pipe[2];
};

FIXTURE_SETUP(splice)
{
	self->priv = pn_private_node();
	self->control = pn_control_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (self->control < 0)
		SKIP(return, "no ordinary node without CPUs");
	ASSERT_EQ(0, pn_start_empty(self->priv));
	ASSERT_EQ(0, pipe2(self->pipe, O_NONBLOCK));
	ASSERT_LE((int)LEN, fcntl(self->pipe[1], F_SETPIPE_SZ, LEN));
}

FIXTURE_TEARDOWN(splice)
{
	if (self->priv < 0 || self->control < 0)
		return;
	close(self->pipe[0]);
	close(self->pipe[1]);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* Pages of a file, by node; -1 if it cannot be told */
static long file_on_node(int fd, int nid)
{
	char *p = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
	long i, n;

	if (p == MAP_FAILED)
		return -1;
	for (i = 0; i < PAGES; i++)
		(void)*(volatile char *)(p + i * pn_page_size());
	n = pn_on_node(p, LEN, nid);
	munmap(p, LEN);
	return n;
}

static void pattern(char *p)
{
	long i;

	for (i = 0; i < PAGES; i++)
		p[i * pn_page_size()] = i + 1;
}

static long wrong(const char *p)
{
	long i, n = 0;

	for (i = 0; i < PAGES; i++)
		n += p[i * pn_page_size()] != i + 1;
	return n;
}

/*
 * Gift pages to a pipe and unmap them: they stay where they are as long as the
 * pipe has them. Moved into a file, the file has copies in public memory.
 */
TEST_F(splice, gift)
{
	const int nodes[2] = { self->control, self->priv };
	static const int flags[] = { 0, SPLICE_F_GIFT };
	size_t f;
	int i;

	for (i = 0; i < 2; i++) {
		for (f = 0; f < ARRAY_SIZE(flags); f++) {
			char *p = pn_filled(LEN, nodes[i]), buf[1];
			struct iovec iov = { p, LEN };
			int file = memfd_create("pn", MFD_CLOEXEC);

			ASSERT_NE(NULL, p);
			ASSERT_LE(0, file);
			ASSERT_EQ(0, ftruncate(file, LEN));
			pattern(p);
			ASSERT_EQ((ssize_t)LEN, vmsplice(self->pipe[1], &iov, 1, flags[f]));
			EXPECT_EQ(PAGES, pn_on_node(p, LEN, nodes[i]));
			munmap(p, LEN);
			if (nodes[i] == self->priv) {
				/* the pipe's, and nobody else's */
				EXPECT_EQ(0, pn_wait_only_anon(self->priv, PAGES));
				EXPECT_LE(PAGES, pn_used(self->priv));
			}
			ASSERT_EQ((ssize_t)LEN, splice(self->pipe[0], NULL, file, NULL, LEN,
						       SPLICE_F_MOVE));
			EXPECT_EQ(0, file_on_node(file, self->priv));
			for (size_t n = 0; n < PAGES; n++) {
				ASSERT_EQ(1, pread(file, buf, 1, n * pn_page_size()));
				EXPECT_EQ((char)(n + 1), buf[0]);
			}
			EXPECT_EQ(0, pn_wait_empty(self->priv));
			close(file);
		}
	}
}

/* tee(2) makes another owner of the pages, not of the node. */
TEST_F(splice, tee)
{
	char *p = pn_filled(LEN, self->priv), *q = malloc(LEN);
	struct iovec iov = { p, LEN };
	int other[2];

	ASSERT_NE(NULL, p);
	ASSERT_NE(NULL, q);
	pattern(p);
	ASSERT_EQ(0, pipe2(other, O_NONBLOCK));
	ASSERT_LE((int)LEN, fcntl(other[1], F_SETPIPE_SZ, LEN));
	ASSERT_EQ((ssize_t)LEN, vmsplice(self->pipe[1], &iov, 1, 0));
	ASSERT_EQ((ssize_t)LEN, tee(self->pipe[0], other[1], LEN, 0));
	munmap(p, LEN);
	close(self->pipe[0]);
	close(self->pipe[1]);
	ASSERT_EQ(0, pipe2(self->pipe, O_NONBLOCK));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, PAGES));
	EXPECT_EQ((ssize_t)LEN, read(other[0], q, LEN));
	EXPECT_EQ(0, wrong(q));
	close(other[0]);
	close(other[1]);
	free(q);
}

/* A socket that pages are spliced into has them until they are read. */
TEST_F(splice, socket)
{
	const int nodes[2] = { self->control, self->priv };
	int i;

	for (i = 0; i < 2; i++) {
		char *p = pn_filled(LEN, nodes[i]), *q = malloc(LEN);
		struct iovec iov = { p, LEN };
		int pair[2];
		size_t done = 0;
		ssize_t n;

		ASSERT_NE(NULL, p);
		ASSERT_NE(NULL, q);
		pattern(p);
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
		ASSERT_EQ((ssize_t)LEN, vmsplice(self->pipe[1], &iov, 1, SPLICE_F_GIFT));
		ASSERT_EQ((ssize_t)LEN, splice(self->pipe[0], NULL, pair[0], NULL, LEN,
					       SPLICE_F_MOVE));
		munmap(p, LEN);
		if (nodes[i] == self->priv) {
			EXPECT_EQ(0, pn_wait_only_anon(self->priv, PAGES));
		}
		while (done < LEN && (n = read(pair[1], q + done, LEN - done)) > 0)
			done += n;
		EXPECT_EQ(LEN, done);
		EXPECT_EQ(0, wrong(q));
		close(pair[0]);
		close(pair[1]);
		free(q);
	}
}

struct job {
	int nid, mode;
};

/* From one file to another, by splice(2) and by sendfile(2), some of it kept */
static int through_pipes(struct pn_child *child, void *arg)
{
	struct job *job = arg;
	unsigned long mask = NODE_BIT(job->nid);
	size_t size = 16 * MIB, done;
	int in, out[2], i;
	static char buf[65536];

	in = memfd_create("pn_in", MFD_CLOEXEC);
	out[0] = memfd_create("pn_out", MFD_CLOEXEC);
	out[1] = memfd_create("pn_out", MFD_CLOEXEC);
	if (in < 0 || out[0] < 0 || out[1] < 0)
		return 1;
	pn_prefault_stack();
	for (done = 0; done < size; done += sizeof(buf))
		if (write(in, buf, sizeof(buf)) != sizeof(buf))
			return 2;
	if (pn_set_mempolicy(job->mode, &mask))
		return 3;
	if (lseek(in, 0, SEEK_SET))
		return 4;
	while (sendfile(out[0], in, NULL, MIB) > 0)
		;
	if (lseek(in, 0, SEEK_SET))
		return 5;
	for (done = 0; done < size; ) {
		int pair[2];
		ssize_t n;

		if (pipe(pair))
			return 6;
		n = splice(in, NULL, pair[1], NULL, MIB, 0);
		if (n <= 0 || splice(pair[0], NULL, out[1], NULL, n, 0) != n)
			return 7;
		done += n;
		close(pair[0]);
		close(pair[1]);
	}
	/* data in pipes: copies, which are the kernel's */
	for (i = 0; i < 100; i++) {
		int pair[2];

		if (pipe(pair) || write(pair[1], buf, sizeof(buf)) != sizeof(buf))
			return 8;
	}
	pn_hold(child);
	return 0;
}

/* None of what moves data about takes memory of the node that the task names. */
TEST_F_TIMEOUT(splice, buffers, 120)
{
	struct job job = { self->control, MPOL_BIND };
	long before = pn_used(self->control);
	struct pn_child child;

	ASSERT_EQ(0, pn_spawn(&child, through_pipes, &job));
	EXPECT_EQ(0, pn_ready(&child, 60));
	/* The control: the pipes' 6.25 MiB at least */
	EXPECT_LT((long)(4 * MIB) / pn_page_size(), pn_used(self->control) - before);
	EXPECT_EQ(0, pn_reap(&child, 60));

	job = (struct job){ self->priv, MPOL_BIND | pn_flag() };
	ASSERT_EQ(0, pn_spawn(&child, through_pipes, &job));
	EXPECT_EQ(0, pn_ready(&child, 60));
	EXPECT_EQ(0, pn_wait_only_anon(self->priv, MIB / pn_page_size()));
	EXPECT_EQ(0, pn_reap(&child, 60));
}

TEST_HARNESS_MAIN
