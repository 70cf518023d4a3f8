// SPDX-License-Identifier: GPL-2.0
/*
 * A worker of the stress program: maps memory under all kinds of policies, and
 * keeps a model of each page: what it must contain, on which private nodes it
 * may be, and whether a signal is the right answer to a fault.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <linux/mman.h>

#include "pn_util.h"
#include "stress.h"

#define REGIONS		10
#define PAGE		4096UL
#define BATCH		256
#define HUGE		(2 * MIB / PAGE)
#define FILLED		8192		/* pages: other regions are smaller */

/*
 * An operation that fails in the middle, as by a signal, leaves a page with
 * words of before and words of after: both are right then. After two of them
 * in a row nothing is known.
 */
struct page {
	uint32_t a, b;
	uint16_t may;		/* private nodes where it can be by now */
	uint16_t want;		/* private nodes of its policy */
	uint8_t bus;		/* the policy has SIGBUS for an answer */
	uint8_t any;
};

struct region {
	char *p;
	size_t n;
	uint64_t salt;
	int fd;			/* shared memory, or -1 */
	bool split;		/* more than one VMA, or other flags */
	bool pure;		/* one policy of private nodes only, since ever */
	bool merge;		/* has equal pages */
	struct page *page;
};

static const struct st_worker *self;
static struct region regions[REGIONS];
static uint32_t generation;
static sigjmp_buf jump;
static volatile sig_atomic_t guarded;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	if (guarded && sig == SIGBUS && info->si_code == BUS_ADRERR)
		siglongjmp(jump, 1);
	st_fail("signal %d, code %d, at %p%s", sig, info->si_code, info->si_addr,
		guarded ? "" : ", outside an access");
}

static const size_t offsets[] = { 0, 1032, 4088 };
#define WORDS 3

static uint64_t word(const struct region *r, size_t i, uint32_t gen, int k)
{
	if (!gen)
		return 0;
	return r->merge ? pn_mix(gen % 4 + 1) + k : pn_mix(r->salt + i * 64 + k) + gen;
}

static uint64_t *place(const struct region *r, size_t i, int k)
{
	return (uint64_t *)(r->p + i * PAGE + offsets[k]);
}

static size_t index_of(const struct region *r)
{
	return r - regions;
}

/* Pages [i, i + n) of the region, a random part that is not too long */
static size_t part(const struct region *r, size_t *i, size_t max)
{
	size_t n = 1 + pn_rand(max < r->n ? max : r->n);

	*i = pn_rand(r->n - n + 1);
	/* Often the whole of a huge page */
	if (r->n >= 2 * HUGE && !pn_rand(3)) {
		*i = pn_rand(r->n / HUGE) * HUGE;
		n = *i + HUGE <= r->n ? HUGE : r->n - *i;
		n = n < max ? n : max;
	}
	return n;
}

/* One access; false if it was answered by a signal. */
static bool access_word(uint64_t *p, uint64_t *value, bool write)
{
	if (sigsetjmp(jump, 1)) {
		guarded = 0;
		st_me->signals++;
		return false;
	}
	guarded = 1;
	if (write)
		*(volatile uint64_t *)p = *value;
	else
		*value = *(volatile uint64_t *)p;
	guarded = 0;
	return true;
}

static void signal_fits(const struct region *r, size_t i)
{
	if (!r->page[i].bus)
		st_fail("region %zu page %zu at %p: SIGBUS without a policy for it",
			index_of(r), i, r->p + i * PAGE);
}

/* Writes pages until a signal; returns how many. */
static size_t write_pages(struct region *r, size_t i, size_t n)
{
	uint32_t gen = ++generation;
	size_t done;
	int k;

	for (done = 0; done < n; done++, i++) {
		struct page *page = &r->page[i];

		page->may |= page->want;
		for (k = 0; k < WORDS; k++) {
			uint64_t value = word(r, i, gen, k);

			if (!access_word(place(r, i, k), &value, true))
				break;
		}
		if (k == WORDS) {
			page->a = gen;
			page->b = gen;
			page->any = 0;
			continue;
		}
		signal_fits(r, i);
		/* The first word of the page tells whether it has changed at all. */
		if (k) {
			page->any |= page->a != page->b;
			page->b = gen;
		}
		return done;
	}
	return done;
}

static void verify_pages(struct region *r, size_t i, size_t n)
{
	size_t end = i + n;
	int k;

	for (; i < end; i++) {
		struct page *page = &r->page[i];

		page->may |= page->want;
		for (k = 0; k < WORDS; k++) {
			uint64_t value;

			if (!access_word(place(r, i, k), &value, false)) {
				signal_fits(r, i);
				return;
			}
			if (page->any || value == word(r, i, page->a, k) ||
			    value == word(r, i, page->b, k))
				continue;
			st_fail("region %zu page %zu word %d at %p: %#lx, not %#lx%s (%u or %u)",
				index_of(r), i, k, place(r, i, k), (unsigned long)value,
				(unsigned long)word(r, i, page->a, k),
				value ? "" : ": lost", page->a, page->b);
		}
	}
}

/* Where are the pages, and may they be there? */
static void check_nodes(struct region *r, size_t i, size_t n)
{
	void *pages[BATCH];
	int status[BATCH];
	size_t k;

	n = n < BATCH ? n : BATCH;
	for (k = 0; k < n; k++)
		pages[k] = r->p + (i + k) * PAGE;
	if (pn_move_pages(0, n, pages, NULL, status, 0))
		st_fail("move_pages() as a query: %s", strerror(errno));
	for (k = 0; k < n; k++) {
		struct page *page = &r->page[i + k];
		unsigned long may = page->may | page->want, must = 0;

		if (status[k] < 0)
			continue;
		/* Others can have it moved to where that is possible. */
		if (self->movable && r->fd < 0)
			may |= st_migrate;
		if (r->pure && !(self->movable && (page->want & st_migrate)))
			must = page->want;
		if ((NODE_BIT(status[k]) & st_privs) && !(NODE_BIT(status[k]) & may))
			st_fail("region %zu page %zu at %p: node %d, policy %#x, before %#x",
				index_of(r), i + k, pages[k], status[k], page->want, page->may);
		if (must && !(NODE_BIT(status[k]) & must))
			st_fail("region %zu page %zu at %p: node %d, always bound to %#lx",
				index_of(r), i + k, pages[k], status[k], must);
	}
}

/* A random policy with private nodes */
static void random_policy(int *mode, unsigned long *mask)
{
	static const int modes[] = {
		MPOL_BIND, MPOL_BIND, MPOL_PREFERRED, MPOL_PREFERRED_MANY, MPOL_INTERLEAVE,
	};
	int first = st_rand_node(st_privs);

	*mode = modes[pn_rand(5)];
	*mask = NODE_BIT(first);
	if (*mode == MPOL_PREFERRED)
		return;
	switch (pn_rand(4)) {
	case 0:
		*mask = st_privs;
		break;
	case 1:
		*mask |= NODE_BIT(st_rand_node(st_publics));
		break;
	}
}

/* Gives pages of a region a policy; fresh ones have never had another. */
static void bind_pages(struct region *r, size_t i, size_t n, bool fresh)
{
	static const unsigned int all_flags[] = {
		0, 0, MPOL_MF_MOVE, MPOL_MF_STRICT, MPOL_MF_MOVE | MPOL_MF_STRICT,
	};
	unsigned int flags = fresh ? 0 : all_flags[pn_rand(5)];
	/* Where nothing is private, nothing is denied: do not ask then. */
	bool private = pn_rand(4) && !(pn_forced() && self->right == ST_DENIED);
	unsigned long mask = 0;
	int mode = MPOL_DEFAULT, err = 0;
	size_t k;

	if (private)
		random_policy(&mode, &mask);
	else if (pn_rand(2))
		mode = MPOL_BIND;
	/* A policy of public nodes that never runs short: the CPUs' nodes */
	if (!private && mode == MPOL_BIND)
		mask = st_publics;
	if (pn_mbind(r->p + i * PAGE, n * PAGE, mode | (private ? pn_flag() : 0),
		     mask ? &mask : NULL, flags))
		err = errno;
	st_op("mbind region %zu [%zu +%zu] mode %d mask %#lx flags %#x: %s", index_of(r), i, n,
	      mode, mask, flags, err ? strerror(err) : "ok");
	if (private && self->right == ST_DENIED && err != EPERM)
		st_fail("mbind() with MPOL_F_PRIVATE without a right: %s",
			err ? strerror(err) : "ok");
	if (err == EPERM && self->right != ST_CAPABLE && private)
		return;
	if (err && err != EIO && err != ENOMEM)
		st_fail("mbind region %zu [%zu +%zu] mode %d mask %#lx flags %#x: %s", index_of(r),
			i, n, mode, mask, flags, strerror(err));

	for (k = i; k < i + n; k++) {
		struct page *page = &r->page[k];
		uint16_t new = private ? mask & st_privs : 0;
		bool bus = private && (mode == MPOL_BIND || mode == MPOL_INTERLEAVE);

		/* What the policy so far can have brought there */
		page->may |= page->want;
		/* By halves, who knows */
		page->want = err ? page->want | new : new;
		page->bus = err ? page->bus | bus : bus;
		if (flags & MPOL_MF_MOVE)
			page->may |= new;
	}
	if (n != r->n)
		r->split = true;
	r->pure = fresh && !err && private && !(mask & ~st_privs) &&
		  (mode == MPOL_BIND || mode == MPOL_INTERLEAVE);
}

static void unmap_region(struct region *r)
{
	if (!r->p)
		return;
	st_op("munmap region %zu", index_of(r));
	if (munmap(r->p, r->n * PAGE))
		st_fail("munmap: %s", strerror(errno));
	if (r->fd >= 0)
		close(r->fd);
	free(r->page);
	memset(r, 0, sizeof(*r));
}

static void map_region(struct region *r, size_t pages)
{
	size_t n = pages ? pages : 16 + pn_rand(pn_rand(4) ? 1024 : 4096);
	bool shared = !pages && !pn_rand(4);

	unmap_region(r);
	r->fd = -1;
	r->n = n;
	r->salt = pn_mix(((uint64_t)getpid() << 32) + generation++) & ~0xffffffffUL;
	r->page = calloc(n, sizeof(*r->page));
	if (shared)
		r->fd = memfd_create("stress", MFD_CLOEXEC);
	if (!r->page || (shared && (r->fd < 0 || ftruncate(r->fd, n * PAGE))))
		st_fail("memory for region %zu: %s", index_of(r), strerror(errno));
	r->p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE,
		    shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, r->fd, 0);
	if (r->p == MAP_FAILED)
		st_fail("mmap of %zu pages: %s", n, strerror(errno));
	st_op("mmap region %zu at %p, %zu pages%s", index_of(r), r->p, n, shared ? ", shared" : "");
	if (pages)
		return;
	if (pn_rand(3))
		bind_pages(r, 0, n, true);
	switch (pn_rand(4)) {
	case 0:
		madvise(r->p, n * PAGE, MADV_HUGEPAGE);
		break;
	case 1:
		madvise(r->p, n * PAGE, MADV_NOHUGEPAGE);
		break;
	case 2:
		if (!shared && !madvise(r->p, n * PAGE, MADV_MERGEABLE))
			r->merge = true;
		break;
	}
}

/* The pages are freed: read as zero, and are nowhere. */
static void forget(struct region *r, size_t i, size_t n)
{
	for (; n--; i++) {
		r->page[i].a = 0;
		r->page[i].b = 0;
		r->page[i].any = 0;
		/*
		 * A huge page that is mapped in parts is one for all of them; and
		 * khugepaged fills a hole from the neighbours.
		 */
		if (r->pure)
			r->page[i].may = 0;
	}
}

static void op_write(struct region *r)
{
	size_t i, n = part(r, &i, 1024), done;

	done = write_pages(r, i, n);
	st_op("write region %zu [%zu +%zu]: %zu", index_of(r), i, n, done);
}

static void op_verify(struct region *r)
{
	size_t i, n = part(r, &i, 2048);

	st_op("verify region %zu [%zu +%zu]", index_of(r), i, n);
	verify_pages(r, i, n);
}

static void op_nodes(struct region *r)
{
	size_t i, n = part(r, &i, BATCH);

	st_op("nodes of region %zu [%zu +%zu]", index_of(r), i, n);
	check_nodes(r, i, n);
}

static void op_bind(struct region *r)
{
	size_t i, n = pn_rand(2) ? r->n : part(r, &i, r->n);

	if (n == r->n)
		i = 0;
	bind_pages(r, i, n, false);
}

static void op_remap(struct region *r)
{
	size_t n = r->n + pn_rand(64), k;
	struct page *page;
	char *p, *to;

	/* Several VMAs cannot grow as one. */
	if (r->fd >= 0 || r->split) {
		unmap_region(r);
		return;
	}
	if (pn_rand(2)) {
		p = mremap(r->p, r->n * PAGE, n * PAGE, MREMAP_MAYMOVE);
	} else {
		n = r->n;
		to = mmap(NULL, n * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p = mremap(r->p, n * PAGE, n * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	}
	if (p == MAP_FAILED)
		st_fail("mremap region %zu: %s", index_of(r), strerror(errno));
	st_op("mremap region %zu from %p to %p, %zu pages", index_of(r), r->p, p, n);
	page = realloc(r->page, n * sizeof(*page));
	if (!page)
		st_fail("memory for region %zu", index_of(r));
	for (k = r->n; k < n; k++) {
		page[k] = page[0];
		page[k].a = 0;
		page[k].b = 0;
		page[k].any = 0;
	}
	r->page = page;
	r->p = p;
	r->n = n;
}

/* A hole, and new memory in it that has no policy */
static void op_hole(struct region *r)
{
	size_t i, n = part(r, &i, 600), k;
	char *p = r->p + i * PAGE;

	if (r->fd >= 0)
		return;
	st_op("hole in region %zu [%zu +%zu]", index_of(r), i, n);
	if (munmap(p, n * PAGE) ||
	    mmap(p, n * PAGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != p)
		st_fail("a hole in region %zu: %s", index_of(r), strerror(errno));
	r->pure = false;
	r->split = true;
	forget(r, i, n);
	for (k = i; k < i + n; k++) {
		r->page[k].may = 0;
		r->page[k].want = 0;
		r->page[k].bus = 0;
	}
}

static void op_protect(struct region *r)
{
	size_t i, n = part(r, &i, 600);
	char *p = r->p + i * PAGE;

	st_op("mprotect region %zu [%zu +%zu]", index_of(r), i, n);
	r->split = true;
	if (mprotect(p, n * PAGE, PROT_READ))
		st_fail("mprotect: %s", strerror(errno));
	verify_pages(r, i, n);
	if (mprotect(p, n * PAGE, PROT_READ | PROT_WRITE))
		st_fail("mprotect: %s", strerror(errno));
	write_pages(r, i, n);
}

static void op_advise(struct region *r)
{
	static const struct {
		int advice;
		const char *name;
	} all[] = {
		{ MADV_DONTNEED, "DONTNEED" }, { MADV_DONTNEED, "DONTNEED" },
		{ MADV_PAGEOUT, "PAGEOUT" }, { MADV_PAGEOUT, "PAGEOUT" },
		{ MADV_COLD, "COLD" }, { MADV_FREE, "FREE" },
		{ MADV_COLLAPSE, "COLLAPSE" }, { MADV_COLLAPSE, "COLLAPSE" },
		{ MADV_HUGEPAGE, "HUGEPAGE" }, { MADV_NOHUGEPAGE, "NOHUGEPAGE" },
		{ MADV_MERGEABLE, "MERGEABLE" }, { MADV_UNMERGEABLE, "UNMERGEABLE" },
		{ MADV_POPULATE_WRITE, "POPULATE_WRITE" },
		{ MADV_POPULATE_READ, "POPULATE_READ" },
		{ MADV_WILLNEED, "WILLNEED" }, { MADV_REMOVE, "REMOVE" },
	};
	size_t i, n = part(r, &i, 1200), k;
	int which = pn_rand(sizeof(all) / sizeof(*all)), err = 0;
	bool bus = false;

	for (k = i; k < i + n; k++) {
		bus |= r->page[k].bus;
		r->page[k].may |= r->page[k].want;
	}
	if (madvise(r->p + i * PAGE, n * PAGE, all[which].advice))
		err = errno;
	st_op("madvise %s region %zu [%zu +%zu]: %s", all[which].name, index_of(r), i, n,
	      err ? strerror(err) : "ok");
	switch (all[which].advice) {
	case MADV_DONTNEED:
		if (err)
			break;
		if (r->fd < 0)
			forget(r, i, n);
		return;
	case MADV_REMOVE:
		if (!err)
			forget(r, i, n);
		return;
	case MADV_FREE:
		for (k = i; !err && k < i + n; k++) {
			/* Now or later, or when somebody writes it never */
			r->page[k].any |= r->page[k].a != r->page[k].b;
			r->page[k].b = 0;
		}
		return;
	case MADV_POPULATE_WRITE:
	case MADV_POPULATE_READ:
		if (err && !(err == EFAULT && bus))
			break;
		return;
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
		r->split |= n != r->n;
		return;
	default:
		return;
	}
	st_fail("madvise %s region %zu [%zu +%zu]: %s", all[which].name, index_of(r), i, n,
		strerror(err));
}

static void op_lock(struct region *r)
{
	size_t i, n = part(r, &i, 300), k;
	bool bus = false;

	for (k = i; k < i + n; k++) {
		bus |= r->page[k].bus;
		r->page[k].may |= r->page[k].want;
	}
	r->split = true;
	st_op("mlock region %zu [%zu +%zu]", index_of(r), i, n);
	if (mlock(r->p + i * PAGE, n * PAGE) && !(errno == ENOMEM && bus))
		st_fail("mlock: %s", strerror(errno));
	verify_pages(r, i, n);
	if (munlock(r->p + i * PAGE, n * PAGE))
		st_fail("munlock: %s", strerror(errno));
}

/* By system call to any node; a private one must have the capability. */
static void op_move(struct region *r)
{
	size_t i, n = part(r, &i, BATCH), k;
	void *pages[BATCH];
	int nodes[BATCH], status[BATCH], err = 0;
	int target = st_rand_node(st_privs | st_publics);

	for (k = 0; k < n; k++) {
		pages[k] = r->p + (i + k) * PAGE;
		nodes[k] = target;
	}
	if (pn_move_pages(0, n, pages, nodes, status, MPOL_MF_MOVE) < 0)
		err = errno;
	st_op("move_pages region %zu [%zu +%zu] to %d: %s", index_of(r), i, n, target,
	      err ? strerror(err) : "ok");
	if ((NODE_BIT(target) & st_privs & ~st_migrate) && !pn_forced() && err != ENODEV)
		st_fail("move_pages() to private node %d: %s", target,
			err ? strerror(err) : "ok");
	if ((NODE_BIT(target) & st_privs & st_migrate) && self->right == ST_DENIED &&
	    err != EACCES)
		st_fail("move_pages() to private node %d without a right: %s", target,
			err ? strerror(err) : "ok");
	if (err == ENODEV || err == EACCES)
		return;
	if (NODE_BIT(target) & st_privs) {
		/* A huge page moves as a whole. */
		for (k = 0; k < r->n; k++)
			r->page[k].may |= NODE_BIT(target);
	}
	for (k = 0; k < r->n && r->pure; k++)
		r->pure = !(r->page[k].want & st_migrate);
}

/* Both sides write; each has its own from then on. */
static void op_fork(struct region *r)
{
	size_t i, n = part(r, &i, 400);
	int status;
	pid_t child;

	if (r->fd >= 0)
		return;
	st_op("fork over region %zu [%zu +%zu]", index_of(r), i, n);
	child = fork();
	if (child < 0)
		return;
	if (!child) {
		alarm(0);
		generation += 1 << 20;
		if (!pn_rand(4))
			op_move(r);
		write_pages(r, i, n);
		verify_pages(r, i, n);
		check_nodes(r, i, n);
		_exit(0);
	}
	write_pages(r, i, n / 2);
	verify_pages(r, i, n);
	if (waitpid(child, &status, 0) != child || status)
		st_fail("child over region %zu: status %#x", index_of(r), status);
	verify_pages(r, i, n);
}

/* The policy of a task, in a child: it is for the child's stack as well. */
static void op_task_policy(struct region *r)
{
	unsigned long mask = NODE_BIT(st_rand_node(st_privs));
	long count[PN_MAXNODE];
	const size_t len = 64 * PAGE;
	int status, n;
	pid_t child;
	char *p;

	st_op("fork with task policy bind %#lx", mask);
	child = fork();
	if (child < 0)
		return;
	if (!child) {
		/* The program's own data is copied to the node, too. */
		signal(SIGBUS, SIG_DFL);
		p = pn_map(len);
		pn_prefault_stack();
		memset(count, 0, sizeof(count));
		if (pn_set_mempolicy(MPOL_BIND | pn_flag(), &mask))
			_exit(errno == EPERM && self->right != ST_CAPABLE ? 0 : 2);
		if (self->right == ST_DENIED && !pn_forced())
			_exit(3);
		pn_touch(p, len, PAGE, NULL);
		/* The counts are of the child's own memory: no faults any more */
		if (pn_count_nodes(p, len, count) < 0)
			_exit(4);
		for (n = 0; n < PN_MAXNODE; n++)
			if (count[n] && !(NODE_BIT(n) & mask) &&
			    !((mask & (st_migrate | st_reclaim)) && (NODE_BIT(n) & st_publics)))
				_exit(16 + n);
		_exit(0);
	}
	/* Its stack can want a page that is not there. */
	if (waitpid(child, &status, 0) != child ||
	    (status && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)))
		st_fail("child with a task policy bind %#lx: status %#x", mask, status);
}

static void op_file(struct region *r)
{
	char buf[4 * 4096];
	size_t i, n = part(r, &i, 4), k;
	unsigned long want = 0;
	ssize_t got;
	int w;

	if (r->fd < 0)
		return;
	for (k = i; k < i + n; k++) {
		r->page[k].may |= r->page[k].want;
		want |= r->page[k].want;
	}
	got = pread(r->fd, buf, n * PAGE, i * PAGE);
	st_op("pread region %zu [%zu +%zu]: %zd", index_of(r), i, n, got);
	/* What is on swap comes back to where its policy says, or not at all. */
	if (got < 0 && !(errno == ENOSPC && (want & st_privs)))
		st_fail("pread: %s", strerror(errno));
	for (k = 0; got > 0 && k < got / PAGE; k++)
		for (w = 0; w < WORDS; w++) {
			const struct page *page = &r->page[i + k];
			uint64_t value;

			memcpy(&value, buf + k * PAGE + offsets[w], sizeof(value));
			if (!page->any && value != word(r, i + k, page->a, w) &&
			    value != word(r, i + k, page->b, w))
				st_fail("region %zu page %zu word %d: pread %#lx, must be %#lx",
					index_of(r), i + k, w, (unsigned long)value,
					(unsigned long)word(r, i + k, page->a, w));
		}
	if (fallocate(r->fd, 0, i * PAGE, n * PAGE) && errno != ENOSPC && errno != EINTR)
		st_fail("fallocate: %s", strerror(errno));
}

/* More than there is: all of it right, and the rest is a signal. */
static void op_fill(struct region *r)
{
	int nid = st_rand_node(st_privs & ~st_reclaim ? st_privs & ~st_reclaim : st_privs);
	unsigned long mask = NODE_BIT(nid);
	size_t done, i;

	if (!self->fills || pn_forced())
		return;
	for (i = 0; i < REGIONS; i++)
		if (regions[i].n > FILLED)
			return;
	map_region(r, st_pages[nid] + 4096);
	if (pn_mbind(r->p, r->n * PAGE, MPOL_BIND | pn_flag(), &mask, 0))
		st_fail("mbind of %zu pages to node %d: %s", r->n, nid, strerror(errno));
	for (i = 0; i < r->n; i++) {
		r->page[i].want = mask;
		r->page[i].bus = 1;
	}
	r->pure = true;
	for (done = 0; done < r->n && !st->stop; done += i) {
		size_t n = r->n - done < 1024 ? r->n - done : 1024;

		i = write_pages(r, done, n);
		if (i < n) {
			done += i;
			break;
		}
	}
	st_op("fill region %zu, node %d: %zu of %zu", index_of(r), nid, done, r->n);
	if (done == r->n && !(mask & st_reclaim))
		st_fail("%zu pages written to node %d, which has %lu", done, nid, st_pages[nid]);
	verify_pages(r, 0, done);
	/* It stays, as the others are to find the node full. */
}

static void op_renew(struct region *r)
{
	map_region(r, 0);
}

static const struct {
	void (*fn)(struct region *r);
	const char *name;
	unsigned int weight;
} operations[] = {
	{ op_write, "write", 4 }, { op_verify, "verify", 4 }, { op_nodes, "nodes", 3 },
	{ op_bind, "mbind", 2 }, { op_remap, "mremap", 1 }, { op_hole, "a hole", 1 },
	{ op_protect, "mprotect", 1 }, { op_advise, "madvise", 4 }, { op_lock, "mlock", 1 },
	{ op_move, "move_pages", 2 }, { op_fork, "fork", 2 },
	{ op_task_policy, "a task policy", 1 }, { op_file, "pread, fallocate", 2 },
	{ op_fill, "fill", 1 }, { op_renew, "mmap", 2 },
};

int st_work(const struct st_worker *worker)
{
	struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	unsigned int weights = 0;
	size_t i;

	self = worker;
	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL);
	for (i = 0; i < sizeof(operations) / sizeof(*operations); i++)
		weights += operations[i].weight;
	while (!__atomic_load_n(&st->stop, __ATOMIC_RELAXED)) {
		struct region *r = &regions[pn_rand(REGIONS)];
		unsigned int n = pn_rand(weights);

		for (i = 0; n >= operations[i].weight; i++)
			n -= operations[i].weight;
		st_me->doing = operations[i].name;
		if (!r->p)
			map_region(r, 0);
		operations[i].fn(r);
		st_me->doing = NULL;
		st_me->ops++;
	}
	st_me->doing = "a last look";
	for (i = 0; i < REGIONS; i++) {
		struct region *r = &regions[i];
		size_t k;

		if (!r->p)
			continue;
		st_op("last look at region %zu", i);
		for (k = 0; k < r->n; k += BATCH)
			check_nodes(r, k, r->n - k);
		verify_pages(r, 0, r->n);
		unmap_region(r);
	}
	return 0;
}

/* Public memory, as much as there is and more; the OOM killer may come for it. */
int st_ballast(void)
{
	struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	static struct st_worker nobody = { "ballast", ST_DENIED, false, false };

	self = &nobody;
	sigaction(SIGBUS, &act, NULL);
	sigaction(SIGSEGV, &act, NULL);
	while (!__atomic_load_n(&st->stop, __ATOMIC_RELAXED)) {
		struct region *r = &regions[0];
		long free = pn_meminfo(-1, "MemAvailable") / 4;
		size_t done, n;

		unmap_region(r);
		r->fd = -1;
		r->n = free + 4096 + pn_rand(16384);
		r->salt = pn_mix(generation++) & ~0xffffffffUL;
		r->page = calloc(r->n, sizeof(*r->page));
		r->p = pn_map(r->n * PAGE);
		if (!r->page || !r->p)
			st_fail("memory for the ballast");
		st_op("ballast of %zu pages, %ld available", r->n, free);
		for (done = 0; done < r->n && !st->stop; done += n) {
			n = r->n - done < 1024 ? r->n - done : 1024;
			write_pages(r, done, n);
			st_me->ops++;
		}
		for (done = 0; done < r->n && !st->stop; done += n) {
			n = r->n - done < BATCH ? r->n - done : BATCH;
			verify_pages(r, done, n);
			check_nodes(r, done, n);
			st_me->ops++;
		}
	}
	return 0;
}
