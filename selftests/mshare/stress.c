// SPDX-License-Identifier: GPL-2.0
/*
 * Operations at random on a region, against a model of what must be there: members
 * read and write pages on several ways, map, unmap, protect, advise, move and punch,
 * attach and detach, fork, are stopped and killed; owners pass the region on and are
 * killed; the memory is short, and the knobs of the system are turned. Not a test
 * that runs by itself: it takes as long as it is told to.
 *
 * The region has slots, each with a lock in plain shared memory. Who has the lock
 * knows what each page of the slot must contain and who may do what with it, and
 * that an access which must not succeed raises the right signal: a stale translation
 * anywhere is a wrong byte, or a missing signal, somewhere. Beside that, a second
 * thread of each member reads all the time without a lock: what it finds must belong
 * to the place where it is.
 *
 * STRESS_SECONDS (60) is for how long, STRESS_SEED the seed (0: by the clock),
 * STRESS_OPS a file to which the last operations of each process are written, for
 * the case that the kernel does not survive. A seed repeats what each process does,
 * not how it is interleaved with the others.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "ms_util.h"
#include "kselftest.h"

#define PAGE		((size_t)4096)
#define WORDS		(PAGE / sizeof(uint64_t))
#define RW		(PROT_READ | PROT_WRITE)
#define SIZE		(2 * GRANULE)
#define MEMBERS		4
#define WINDOWS		4
#define RING		64
#define TEXT		100
#define ROUND_SECONDS	20
#define CGROUPS		"/tmp/ms_stress"
#define SWAP		(256 * MIB)
/* Where nothing else is mapped by itself */
#define WINDOW_AT(n)	((char *)(0x100000000000UL + (n) * 2 * SIZE))
/* A member that found the region dead ends with this. */
#define SAW_DEATH	3

/* Small slots on both sides of where two granules meet, and some for huge pages */
#define SMALL		24
#define SMALL_PAGES	16U
#define LARGE		5
#define LARGE_PAGES	1024U
#define SLOTS		(SMALL + LARGE)
#define PAGES		(SMALL * SMALL_PAGES + LARGE * LARGE_PAGES)

enum kind { NONE, ANON, MEMFD };

/* Generations count what was written to a page; 0: zeros */
struct page {
	uint8_t kind, prot;
	uint32_t anon, file;
};

struct slot {
	pthread_mutex_t lock;
	size_t at;		/* offset in the region */
	unsigned int first, pages;
	uint32_t last;		/* generation */
	struct page page[LARGE_PAGES];
};

struct worker {
	unsigned long ops, signals;
	unsigned int head;
	char ring[RING][TEXT];
	char why[4 * TEXT];
};

static struct {
	int fd, memfd, scratch;
	/* volatile: others change them */
	volatile bool stop, killing;
	volatile pid_t next_owner;
	struct worker worker[MEMBERS + 1];	/* the last one turns knobs */
	struct slot slot[SLOTS];
} *st;

static struct worker *me;
static double begin;

static void __attribute__((format(printf, 1, 2))) op(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(me->ring[me->head++ % RING], TEXT, fmt, args);
	va_end(args);
	me->ops++;
}

static void __attribute__((format(printf, 1, 2), noreturn)) fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(me->why, sizeof(me->why), fmt, args);
	va_end(args);
	_exit(1);
}

static bool dead(void)
{
	char *window = mshare_attach(st->fd, 0, 0, NULL, 0);

	if (window != MAP_FAILED)
		munmap(window, SIZE);
	return window == MAP_FAILED && errno == ENODEV;
}

/* What only a region that has ended does */
static void __attribute__((noreturn)) saw_death(void)
{
	if (!dead())
		fail("SIGBUS or ENODEV, though the region is there");
	_exit(SAW_DEATH);
}

/*
 * Accesses
 */
static __thread sigjmp_buf back;
static __thread struct pn_fault seen;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	seen = (struct pn_fault){ sig, info->si_code, info->si_addr };
	siglongjmp(back, 1);
}

static uint64_t word(unsigned int page, uint32_t gen, unsigned int i)
{
	return gen ? (uint64_t)(page + 1) << 44 | (uint64_t)gen << 9 | i : 0;
}

static uint32_t *gen_of(struct page *page)
{
	return page->kind == ANON ? &page->anon : &page->file;
}

/* What must happen when a page is used in a window: 0, or the code of SIGSEGV */
static int expected(const struct page *page, bool rdonly, bool write)
{
	if (write && rdonly)
		return SEGV_ACCERR;
	if (page->kind == NONE)
		return SEGV_MAPERR;
	return page->prot & (write ? PROT_WRITE : PROT_READ) ? 0 : SEGV_ACCERR;
}

/* What was seen must be what was expected, at an address of the page. */
static void judge(const struct slot *slot, unsigned int n, char *addr, int want,
		  const char *how)
{
	if (seen.sig == SIGBUS)
		saw_death();
	if (seen.sig)
		me->signals++;
	if (!want && !seen.sig)
		return;
	if (!want || seen.sig != SIGSEGV || seen.code != want || seen.addr < addr ||
	    seen.addr >= addr + PAGE)
		fail("%s page %u at %p, kind %d, prot %d: signal %d, code %d, at %p; not %d",
		     how, slot->first + n, addr, slot->page[n].kind, slot->page[n].prot,
		     seen.sig, seen.code, seen.addr, want);
}

/* What is there by GUP, and by a window that no CPU has used yet: a stale translation? */
static void wrong(const struct slot *slot, unsigned int n, unsigned int i, uint64_t found,
		  uint32_t gen, const char *how, char *window)
{
	size_t at = slot->at + n * PAGE + i * sizeof(uint64_t);
	uint64_t gup = -1, other = -1, again = *(volatile uint64_t *)(window + at);
	struct iovec mine = { &gup, sizeof(gup) }, there = { window + at, sizeof(gup) };
	char *new = mshare_attach(st->fd, 0, 0, NULL, 0);

	process_vm_readv(getpid(), &mine, 1, &there, 1, 0);
	if (new != MAP_FAILED)
		other = *(volatile uint64_t *)(new + at);
	op("page %u, kind %d, prot %d, generation %u", slot->first + n, slot->page[n].kind,
	   slot->page[n].prot, gen);
	fail("%s: word %u is %#lx, again %#lx, by GUP %#lx, elsewhere %#lx; not %#lx", how, i,
	     found, again, gup, other, word(slot->first + n, gen, i));
}

static void read_page(struct slot *slot, unsigned int n, char *window, bool rdonly,
		      unsigned int step)
{
	struct page *page = &slot->page[n];
	char *addr = window + slot->at + n * PAGE;
	int want = expected(page, rdonly, false);
	volatile uint64_t *words = (void *)addr;
	volatile unsigned int i;

	seen.sig = 0;
	if (!sigsetjmp(back, 0))
		for (i = 0; i < WORDS; i += step) {
			uint64_t found = words[i];

			if (!want && found != word(slot->first + n, *gen_of(page), i))
				wrong(slot, n, i, found, *gen_of(page), "read",
				      window);
			if (want)
				break;
		}
	judge(slot, n, addr, want, "read");
}

static void write_page(struct slot *slot, unsigned int n, char *window, bool rdonly)
{
	struct page *page = &slot->page[n];
	char *addr = window + slot->at + n * PAGE;
	int want = expected(page, rdonly, true);
	volatile uint64_t *words = (void *)addr;
	uint32_t gen = ++slot->last;
	volatile unsigned int i;

	op("slot %ld: write page %u, generation %u, expected %d", slot - st->slot, n, gen, want);
	seen.sig = 0;
	if (!sigsetjmp(back, 0))
		for (i = 0; i < WORDS; i++)
			words[i] = word(slot->first + n, gen, i);
	judge(slot, n, addr, want, "write");
	if (!want)
		*gen_of(page) = gen;
}

/* A whole page by a system call: of the window, or of the memfd behind it */
enum way { REMOTE, COPY, FILES, WAYS };

static ssize_t transfer(enum way way, bool write, char *addr, uint64_t *mine, off_t at)
{
	struct iovec local = { mine, PAGE }, there = { addr, PAGE };

	switch (way) {
	case REMOTE:
		if (write)
			return process_vm_writev(getpid(), &local, 1, &there, 1, 0);
		return process_vm_readv(getpid(), &local, 1, &there, 1, 0);
	case COPY:
		/* Each process has a page of the file for itself. */
		at = (me - st->worker) * PAGE;
		if (write)
			return pwrite(st->scratch, mine, PAGE, at) == PAGE ?
			       pread(st->scratch, addr, PAGE, at) : -1;
		if (pwrite(st->scratch, addr, PAGE, at) != PAGE)
			return -1;
		return pread(st->scratch, mine, PAGE, at);
	default:
		return write ? pwrite(st->memfd, mine, PAGE, at) :
			       pread(st->memfd, mine, PAGE, at);
	}
}

static void transfer_page(struct slot *slot, unsigned int n, char *window, bool rdonly,
			  enum way way, bool write)
{
	static const char * const names[] = {
		"process_vm_readv", "process_vm_writev", "write from", "read to",
		"read of the file", "write of the file",
	};
	struct page *page = &slot->page[n];
	int want = way == FILES ? 0 : expected(page, rdonly, write);
	uint32_t *gen = way == FILES ? &page->file : gen_of(page), new = ++slot->last;
	static uint64_t mine[PAGE / sizeof(uint64_t)];
	const char *name = names[2 * way + write];
	unsigned int i;
	ssize_t ret;
	int err;

	op("slot %ld: %s page %u, generation %u, expected %d", slot - st->slot, name, n,
	   write ? new : *gen, want);
	for (i = 0; i < WORDS; i++)
		mine[i] = write ? word(slot->first + n, new, i) : ~0UL;
	errno = 0;
	ret = transfer(way, write, window + slot->at + n * PAGE, mine,
		       (slot->first + n) * PAGE);
	err = errno;
	if (!want && ret < 0 && err == EFAULT && dead())
		_exit(SAW_DEATH);
	if (want ? ret >= 0 || err != EFAULT : ret != PAGE)
		fail("%s page %u, kind %d, prot %d: %zd, %s; expected code %d", name,
		     slot->first + n, page->kind, page->prot, ret, strerror(err), want);
	for (i = 0; !want && !write && i < WORDS; i++)
		if (mine[i] != word(slot->first + n, *gen, i))
			wrong(slot, n, i, mine[i], *gen, name, window);
	if (!want && write)
		*gen = new;
}

/*
 * Slots
 */
/* Unknown is what it contains: nothing, from now on. */
static void clear_slot(struct slot *slot)
{
	size_t size = slot->pages * PAGE;
	int tries = 0;

	while (mshare_unmap(st->fd, slot->at, size, 0)) {
		if (errno == ENODEV)
			saw_death();
		/* Memory is short: for the parts of what reaches beyond the slot */
		if (errno != ENOMEM || tries++ > 1000)
			fail("mshare_unmap of a slot: %s", strerror(errno));
		poll(NULL, 0, 5);
	}
	while (fallocate(st->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 slot->first * PAGE, size))
		if (errno != EINTR)
			fail("fallocate: %s", strerror(errno));
	memset(slot->page, 0, sizeof(slot->page));
}

static void lock(struct slot *slot)
{
	int err = pthread_mutex_lock(&slot->lock);

	if (err == EOWNERDEAD) {
		/* Killed while it changed something */
		pthread_mutex_consistent(&slot->lock);
		op("slot %ld: its holder was killed", slot - st->slot);
		clear_slot(slot);
	} else if (err) {
		fail("pthread_mutex_lock: %s", strerror(err));
	}
}

static void unlock(struct slot *slot)
{
	pthread_mutex_unlock(&slot->lock);
}

/* A part of a slot; of one for huge pages often all of it, or one of them */
static void choose(struct slot *slot, unsigned int *from, unsigned int *count)
{
	unsigned int how = pn_rand(4);

	if (slot->pages == LARGE_PAGES && how < 2) {
		*from = how ? pn_rand(2) * (LARGE_PAGES / 2) : 0;
		*count = how ? LARGE_PAGES / 2 : LARGE_PAGES;
		return;
	}
	*from = pn_rand(slot->pages);
	*count = 1 + pn_rand(slot->pages - *from);
	if (slot->pages == LARGE_PAGES && *count > 64)
		*count = 1 + pn_rand(64);
	if (!how)
		*from = 0, *count = slot->pages;
}

/* How many pages of it are mapped until the first that is not */
static unsigned int mapped(const struct slot *slot, unsigned int from, unsigned int count)
{
	unsigned int n = 0;

	while (n < count && slot->page[from + n].kind != NONE)
		n++;
	return n;
}

static bool all_have(const struct slot *slot, unsigned int from, unsigned int count, int prot)
{
	unsigned int n;

	for (n = from; n < from + count; n++)
		if (slot->page[n].kind == NONE || (slot->page[n].prot & prot) != prot)
			return false;
	return true;
}

static int map(struct slot *slot, unsigned int from, unsigned int count, enum kind kind,
	       int prot, unsigned int flags)
{
	struct mshare_map_args args = {
		.offset = slot->at + from * PAGE,
		.size = count * PAGE,
		.file_offset = kind == MEMFD ? (slot->first + from) * PAGE : 0,
		.prot = prot,
		.fd = kind == MEMFD ? st->memfd : -1,
	};

	return mshare_map(st->fd, &args, sizeof(args), flags);
}

/* After a call: 0 it did what it should, else the slot is empty now. */
static int settle(struct slot *slot, int ret, int want, const char *what)
{
	int err = ret ? errno : 0;

	if (err == ENODEV)
		saw_death();
	if (err == want)
		return 0;
	/* Half done, perhaps, for want of memory */
	if (err != ENOMEM && err != EAGAIN)
		fail("%s: %s; expected: %s", what, err ? strerror(err) : "went well",
		     want ? strerror(want) : "no error");
	op("%s: %s", what, strerror(err));
	clear_slot(slot);
	return -1;
}

static void change_map(struct slot *slot)
{
	static const int prots[] = { RW, RW, RW, RW, PROT_READ, PROT_NONE };
	unsigned int from, count, n, flags = pn_rand(4) ? 0 : MSHARE_MAP_NOREPLACE;
	enum kind kind = pn_rand(2) ? ANON : MEMFD;
	int prot = prots[pn_rand(6)], want = 0;

	choose(slot, &from, &count);
	for (n = from; flags && n < from + count; n++)
		if (slot->page[n].kind != NONE)
			want = EEXIST;
	op("slot %ld: map %u+%u, kind %d, prot %d, flags %u", slot - st->slot, from, count,
	   kind, prot, flags);
	if (settle(slot, map(slot, from, count, kind, prot, flags), want, "mshare_map") || want)
		return;
	for (n = from; n < from + count; n++) {
		slot->page[n].kind = kind;
		slot->page[n].prot = prot;
		slot->page[n].anon = 0;
	}
}

static void change_unmap(struct slot *slot)
{
	unsigned int from, count, n;

	choose(slot, &from, &count);
	op("slot %ld: unmap %u+%u", slot - st->slot, from, count);
	if (settle(slot, mshare_unmap(st->fd, slot->at + from * PAGE, count * PAGE, 0), 0,
		   "mshare_unmap"))
		return;
	for (n = from; n < from + count; n++)
		slot->page[n].kind = NONE;
}

static void change_protect(struct slot *slot)
{
	static const int prots[] = { RW, RW, PROT_READ, PROT_READ, PROT_NONE };
	unsigned int from, count, n, there;
	int prot = prots[pn_rand(5)];

	choose(slot, &from, &count);
	there = mapped(slot, from, count);
	op("slot %ld: protect %u+%u (%u mapped), prot %d", slot - st->slot, from, count,
	   there, prot);
	if (there < count) {
		if (settle(slot, mshare_protect(st->fd, slot->at + from * PAGE, count * PAGE,
						prot, 0), ENOMEM, "mshare_protect of a hole"))
			return;
		/* What comes before a hole is changed, if memory was not short, too. */
		if (!there)
			return;
	}
	if (settle(slot, mshare_protect(st->fd, slot->at + from * PAGE, there * PAGE, prot, 0),
		   0, "mshare_protect"))
		return;
	for (n = from; n < from + there; n++)
		slot->page[n].prot = prot;
}

static void change_contents(struct slot *slot)
{
	static const struct {
		int advice, prot;
		bool may_fail;
		const char *name;
	} advice[] = {
		{ MADV_REMOVE, PROT_NONE, false, "REMOVE" },
		{ MADV_DONTNEED, PROT_NONE, false, "DONTNEED" },
		{ MADV_COLD, PROT_NONE, false, "COLD" },
		{ MADV_PAGEOUT, PROT_NONE, false, "PAGEOUT" },
		{ MADV_WILLNEED, PROT_NONE, false, "WILLNEED" },
		{ MADV_HUGEPAGE, PROT_NONE, false, "HUGEPAGE" },
		{ MADV_NOHUGEPAGE, PROT_NONE, false, "NOHUGEPAGE" },
		{ MADV_POPULATE_READ, PROT_READ, false, "POPULATE_READ" },
		{ MADV_POPULATE_WRITE, PROT_WRITE, false, "POPULATE_WRITE" },
		{ MADV_COLLAPSE, PROT_NONE, true, "COLLAPSE" },
		{ MADV_PAGEOUT, PROT_NONE, false, "PAGEOUT" },
		{ MADV_COLLAPSE, PROT_NONE, true, "COLLAPSE" },
	};
	unsigned int from, count, n, which = pn_rand(ARRAY_SIZE(advice));
	char what[32];
	int ret;

	choose(slot, &from, &count);
	if (!all_have(slot, from, count, advice[which].prot))
		return;
	snprintf(what, sizeof(what), "MADV_%s", advice[which].name);
	op("slot %ld: %s %u+%u", slot - st->slot, what, from, count);
	ret = mshare_advise(st->fd, slot->at + from * PAGE, count * PAGE,
			    advice[which].advice, 0);
	if (ret && advice[which].may_fail &&
	    (errno == EINVAL || errno == EBUSY || errno == EAGAIN || errno == ENOMEM))
		return;
	if (settle(slot, ret, 0, what) || advice[which].advice != MADV_REMOVE)
		return;
	for (n = from; n < from + count; n++)
		*gen_of(&slot->page[n]) = 0;
}

static void change_policy(struct slot *slot)
{
	static const unsigned int modes[] = { MPOL_BIND, MPOL_PREFERRED, MPOL_DEFAULT };
	unsigned long nodes = pn_public_nodes(), mask;
	struct mshare_mbind_args args = { .flags = 1 << 1 /* MPOL_MF_MOVE */ };
	unsigned int from, count, n = pn_rand(__builtin_popcountl(nodes));

	choose(slot, &from, &count);
	if (mapped(slot, from, count) < count)
		return;
	while (n--)
		nodes &= nodes - 1;
	mask = nodes & -nodes;
	args.offset = slot->at + from * PAGE;
	args.size = count * PAGE;
	args.mode = modes[pn_rand(3)];
	if (args.mode != MPOL_DEFAULT) {
		args.nodemask = (uintptr_t)&mask;
		args.maxnode = 64;
	}
	op("slot %ld: mbind %u+%u, mode %u, nodes %#lx", slot - st->slot, from, count,
	   args.mode, mask);
	settle(slot, mshare_mbind(st->fd, &args, sizeof(args), 0), 0, "mshare_mbind");
}

static void change_file(struct slot *slot)
{
	unsigned int from, count, n;

	choose(slot, &from, &count);
	op("slot %ld: punch %u+%u of the file", slot - st->slot, from, count);
	if (fallocate(st->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (slot->first + from) * PAGE, count * PAGE))
		fail("fallocate: %s", strerror(errno));
	for (n = from; n < from + count; n++)
		slot->page[n].file = 0;
}

/*
 * Members
 */
static struct window {
	char *volatile addr;
	bool rdonly;
} windows[WINDOWS];
static char *volatile to_read[WINDOWS];

static void attach(struct window *window)
{
	char *at = WINDOW_AT(window - windows);

	window->rdonly = !pn_rand(3);
	op("attach %ld%s", window - windows, window->rdonly ? ", read-only" : "");
	window->addr = mshare_attach(st->fd, 0, 0, at, MSHARE_FIXED_NOREPLACE |
				     (window->rdonly ? MSHARE_RDONLY : 0));
	if (window->addr == at) {
		to_read[window - windows] = at;
		return;
	}
	if (window->addr == MAP_FAILED && errno == ENODEV)
		saw_death();
	if (window->addr != MAP_FAILED || errno != ENOMEM)
		fail("mshare_attach: %p, %s", window->addr, strerror(errno));
	window->addr = NULL;
}

static void detach(struct window *window)
{
	op("detach %ld", window - windows);
	to_read[window - windows] = NULL;
	if (munmap(window->addr, SIZE))
		fail("munmap of a window: %s", strerror(errno));
	window->addr = NULL;
	seen.sig = 0;
	if (!sigsetjmp(back, 0))
		*(volatile char *)WINDOW_AT(window - windows);
	if (seen.sig != SIGSEGV)
		fail("signal %d after a window is gone", seen.sig);
}

/* The child of a member has the windows, too. */
static void fork_and_look(struct slot *slot, struct window *window)
{
	unsigned int n = pn_rand(slot->pages);
	int status;
	pid_t pid;

	op("slot %ld: fork", slot - st->slot);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		read_page(slot, n, window->addr, window->rdonly, 1);
		_exit(0);
	}
	if (pid < 0) {
		if (errno != ENOMEM && errno != EAGAIN)
			fail("fork: %s", strerror(errno));
		return;
	}
	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	if (status == SAW_DEATH << 8)
		saw_death();
	if (status)		/* it has said why */
		_exit(1);
}

/* Without a lock: what is read may be old, but belongs where it is. */
static void *reads_on(void *arg)
{
	uint64_t x = *(uint64_t *)arg;

	while (1) {
		/* The others want to do something, too. */
		if (!(x % 256))
			poll(NULL, 0, 1);
		char *window;
		struct slot *slot;
		unsigned int n;
		uint64_t found;

		x = pn_mix(x);
		window = to_read[x % WINDOWS];
		slot = &st->slot[(x >> 8) % SLOTS];
		n = (x >> 24) % slot->pages;
		if (!window || sigsetjmp(back, 0))
			continue;
		found = *(volatile uint64_t *)(window + slot->at + n * PAGE);
		if (found && ((found >> 44) != slot->first + n + 1 || found & 511))
			fail("page %u, read without a lock: %#llx, of page %lld",
			     slot->first + n, (unsigned long long)found,
			     (long long)(found >> 44) - 1);
	}
	return NULL;
}

static void step(void)
{
	struct window *window = &windows[pn_rand(WINDOWS)];
	struct slot *slot = &st->slot[pn_rand(SLOTS)];
	unsigned int what = pn_rand(100), n, count;

	if (!window->addr) {
		attach(window);
		return;
	}
	if (what < 3) {
		detach(window);
		return;
	}
	lock(slot);
	if (what < 35) {
		/* Some words of many pages, or all of a few */
		count = 1 + pn_rand(pn_rand(8) ? 8 : 64);
		for (n = pn_rand(slot->pages); count-- && n < slot->pages; n++)
			read_page(slot, n, window->addr, window->rdonly, pn_rand(8) ? 61 : 1);
	} else if (what < 60) {
		count = 1 + pn_rand(4);
		for (n = pn_rand(slot->pages); count-- && n < slot->pages; n++)
			write_page(slot, n, window->addr, window->rdonly);
	} else if (what < 70) {
		transfer_page(slot, pn_rand(slot->pages), window->addr, window->rdonly,
			      pn_rand(WAYS), pn_rand(2));
	} else if (what < 78) {
		change_map(slot);
	} else if (what < 82) {
		change_unmap(slot);
	} else if (what < 88) {
		change_protect(slot);
	} else if (what < 94) {
		change_contents(slot);
	} else if (what < 96) {
		change_policy(slot);
	} else if (what < 98) {
		change_file(slot);
	} else if (what < 99) {
		fork_and_look(slot, window);
	} else {
		/* As full as it can be, for the next ones */
		for (n = 0; n < slot->pages && slot->pages == SMALL_PAGES; n++)
			write_page(slot, n, window->addr, window->rdonly);
	}
	me->ops++;
	unlock(slot);
}

struct start {
	unsigned int who;
	uint64_t seed;
};

static void catch_faults(void)
{
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &act, NULL);
	sigaction(SIGBUS, &act, NULL);
}

static int plays(struct pn_child *child, void *arg)
{
	struct start *start = arg;
	uint64_t seed = start->seed;
	pthread_t thread;

	me = &st->worker[start->who];
	pn_seed(start->seed);
	catch_faults();
	if (pthread_create(&thread, NULL, reads_on, &seed))
		fail("pthread_create");
	while (!st->stop)
		step();
	return 0;
}

/*
 * Owners. SIGUSR1: the region goes to the process st->next_owner.
 */
static void on_hand_over(int sig)
{
	int pidfd = syscall(SYS_pidfd_open, st->next_owner, 0);

	if (pidfd < 0 || mshare_set_owner(st->fd, pidfd, 0))
		_exit(1);
	close(pidfd);
}

static int joins(const char *group)
{
	char path[80];

	snprintf(path, sizeof(path), CGROUPS "/%s/cgroup.procs", group);
	return pn_write_file(path, "0");
}

static int owns(struct pn_child *child, void *arg)
{
	int *sock = arg, fd;

	signal(SIGUSR1, on_hand_over);
	if (joins("ms_first"))
		return 1;
	fd = ms_region(SIZE, MSHARE_SHARED_CONTROL);
	if (fd < 0 || ms_send_fd(sock[1], fd))
		return 1;
	close(fd);
	fd = ms_receive_fd(sock[1]);	/* where the others have it */
	if (fd < 0 || (fd != st->fd && dup2(fd, st->fd) < 0))
		return 1;
	if (fd != st->fd)
		close(fd);
	pn_hold(child);
	return 0;
}

static int accepts(struct pn_child *child, void *arg)
{
	if (joins("ms_second"))
		return 1;
	/* A region that ends meanwhile has no next owner. */
	while (mshare_set_owner(st->fd, PIDFD_SELF_PROCESS, 0)) {
		if (errno != EPERM)
			return errno == ENODEV ? 0 : 1;
		poll(NULL, 0, 5);
	}
	pn_hold(child);
	return 0;
}

/*
 * Who turns knobs
 */
static void put(const char *path, const char *value)
{
	op("%s to %s: %s", value, path,
	   pn_write_file(path, value) ? strerror(errno) : "ok");
}

static void hog(size_t size)
{
	char *p = mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t at;

	op("%zu MiB of memory", size / MIB);
	if (p == MAP_FAILED)
		return;
	for (at = 0; at < size; at += PAGE)
		p[at] = 1;
	munmap(p, size);
}

static int turns(struct pn_child *child, void *arg)
{
	static const char * const thp[] = { "always", "advise", "within_size", "never" };
	struct start *start = arg;

	me = &st->worker[MEMBERS];
	pn_seed(start->seed);
	while (!st->stop) {
		switch (pn_rand(9)) {
		case 0:
			put("/proc/sys/vm/compact_memory", "1");
			break;
		case 1:
			put("/proc/sys/vm/drop_caches", pn_rand(2) ? "1" : "3");
			break;
		case 2:
			put(SHMEM_THP, thp[pn_rand(4)]);
			break;
		case 3:
			put(CGROUPS "/ms_first/memory.reclaim", pn_rand(2) ? "1M" : "16M");
			break;
		case 4:
			put(CGROUPS "/ms_second/memory.reclaim", pn_rand(2) ? "1M" : "16M");
			break;
		case 5:
			hog((1 + pn_rand(8)) * 16 * MIB);
			break;
		case 6:
			put("/sys/devices/system/cpu/cpu2/online", pn_rand(2) ? "1" : "0");
			break;
		case 7:
			put("/sys/devices/system/cpu/cpu1/online", pn_rand(2) ? "1" : "0");
			break;
		case 8:
			put("/sys/kernel/debug/split_huge_pages", "1");
			break;
		}
		poll(NULL, 0, 20 + pn_rand(200));
	}
	return 0;
}

/*
 * Rounds
 */
static void show(FILE *file, const char *mark)
{
	int i;
	unsigned int n;

	for (i = 0; i <= MEMBERS; i++) {
		struct worker *worker = &st->worker[i];

		fprintf(file, "%s%s %d, the last of %lu operations:\n", mark,
			i < MEMBERS ? "member" : "knobs", i, worker->ops);
		for (n = worker->head > RING ? worker->head - RING : 0; n < worker->head; n++)
			fprintf(file, "%s  %.*s\n", mark, TEXT, worker->ring[n % RING]);
	}
}

static void write_ops(void)
{
	const char *path = getenv("STRESS_OPS");
	FILE *file = path ? fopen(path, "we") : NULL;

	if (!file)
		return;
	show(file, "");
	fclose(file);
}

static long oom_kills(void)
{
	static const char * const groups[] = { "ms_first", "ms_second" };
	char path[80], text[512], *at;
	long sum = 0;
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), CGROUPS "/%s/memory.events", groups[i]);
		if (!pn_read_file(path, text, sizeof(text))) {
			at = strstr(text, "oom_kill ");
			sum += at ? atol(at + 9) : 0;
		}
	}
	return sum;
}

/* All of the model, by a window of this process */
static void look_at_all(void)
{
	char *window = ms_attach(st->fd, 0);
	unsigned int i, n;

	me = &st->worker[MEMBERS];
	if (!window)
		saw_death();
	for (i = 0; i < SLOTS; i++) {
		lock(&st->slot[i]);
		for (n = 0; n < st->slot[i].pages; n++)
			read_page(&st->slot[i], n, window, false, 1);
		for (n = 0; n < st->slot[i].pages; n++)
			transfer_page(&st->slot[i], n, window, false, FILES, false);
		unlock(&st->slot[i]);
	}
}

static int looks(struct pn_child *child, void *arg)
{
	catch_faults();
	look_at_all();
	return 0;
}

static int make_groups(bool high)
{
	static const char * const groups[] = { "ms_first", "ms_second" };
	char path[80];
	int i, ret = 0;

	for (i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), CGROUPS "/%s", groups[i]);
		ret |= mkdir(path, 0755);
		strcat(path, high ? "/memory.high" : "/memory.max");
		ret |= pn_write_file(path, "16777216");
	}
	return ret;
}

static void prepare(void)
{
	pthread_mutexattr_t attr;
	unsigned int i, first = 0;

	memset(st, 0, sizeof(*st));
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	for (i = 0; i < SLOTS; i++) {
		struct slot *slot = &st->slot[i];
		bool large = i < LARGE;

		pthread_mutex_init(&slot->lock, &attr);
		slot->pages = large ? LARGE_PAGES : SMALL_PAGES;
		slot->first = first;
		first += slot->pages;
		/* The large ones in both granules; in the file huge pages fit, too. */
		slot->at = large ? (i + 1) * 300 * MIB :
			   GRANULE + ((long)i - LARGE - SMALL / 2) * (long)(SMALL_PAGES * PAGE);
	}
}

static int bad(const char *fmt, ...)
{
	va_list args;

	printf("# ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	return 1;
}

struct round {
	int sock[2];
	struct pn_child owner, next, member[MEMBERS], knobs;
	bool second;		/* there is a next owner */
	long shmem, tables;
	double end;
	int failed;
};

/* A member has ended, or has to: is it for a reason that it may have? */
static int reap(struct round *round, int who, bool killed)
{
	struct pn_child *child = who < MEMBERS ? &round->member[who] : &round->knobs;
	struct worker *worker = &st->worker[who];
	int status = pn_reap(child, 60);

	if (!status || (killed && status == SIGKILL))
		return 0;
	if (status == SAW_DEATH << 8 && (st->killing || oom_kills()))
		return 0;
	bad("member %d ended with status %#x: %s", who, status,
	    *worker->why ? worker->why : "it did not say why");
	show(stdout, "#   ");
	return 1;
}

static void play(struct round *round, uint64_t seed)
{
	double told = pn_now(), handed = (round->end + pn_now()) / 2;
	unsigned int turn = 0;
	int who;

	while (pn_now() < round->end && !round->failed) {
		poll(NULL, 0, 100 + pn_rand(900));
		if (pn_now() > told + 5) {
			write_ops();
			told = pn_now();
		}
		for (who = 0; who < MEMBERS; who++) {
			siginfo_t info = { };

			/* Early: the region has ended, or it has found something. */
			if (!waitid(P_PID, round->member[who].pid, &info,
				    WEXITED | WNOHANG | WNOWAIT) && info.si_pid)
				return;
		}
		who = pn_rand(MEMBERS);
		switch (pn_rand(6)) {
		case 0: {
			struct start start = { who, seed + 1000 + turn++ };

			kill(round->member[who].pid, SIGKILL);
			round->failed = reap(round, who, true);
			*st->worker[who].why = 0;
			pn_spawn(&round->member[who], plays, &start);
			break;
		}
		case 1:
			kill(round->member[who].pid, SIGSTOP);
			poll(NULL, 0, pn_rand(300));
			kill(round->member[who].pid, SIGCONT);
			break;
		}
		if (!round->second && pn_now() > handed && !pn_spawn(&round->next, accepts, NULL)) {
			round->second = true;
			st->next_owner = round->next.pid;
			kill(round->owner.pid, SIGUSR1);
			if (pn_ready(&round->next, 20)) {
				round->failed = !oom_kills() &&
						bad("the region was not handed over");
				return;
			}
			if (ms_fdinfo(st->fd, "owner") != round->next.pid)
				round->failed = bad("another owner than the one that accepted");
		}
	}
}

static int end_round(struct round *round, bool in_the_middle)
{
	struct pn_child *owner = round->second ? &round->next : &round->owner, look;
	int who, ret = round->failed, status;
	double deadline;

	if (in_the_middle) {
		st->killing = true;
		kill(owner->pid, SIGKILL);
		poll(NULL, 0, pn_rand(500));
	}
	st->stop = true;
	for (who = 0; who <= MEMBERS; who++)
		ret |= reap(round, who, false);
	if (!in_the_middle && !ret && !pn_spawn(&look, looks, NULL)) {
		status = pn_reap(&look, 120);
		if (status && (status != SAW_DEATH << 8 || !oom_kills()))
			ret |= bad("at the end: status %#x, %s", status,
				   st->worker[MEMBERS].why);
	}
	/* A child of a member that was killed may be there for a moment. */
	deadline = pn_now() + pn_slow(10);
	while (ms_fdinfo(st->fd, "members") && pn_now() < deadline)
		poll(NULL, 0, 20);
	if (ms_fdinfo(st->fd, "members"))
		ret |= bad("%ld members are left", ms_fdinfo(st->fd, "members"));
	status = pn_reap(&round->owner, 20);
	if (status && status != SIGKILL)
		ret |= bad("the owner ended with status %#x", status);
	if (round->second) {
		status = pn_reap(&round->next, 20);
		if (status && status != SIGKILL)
			ret |= bad("the second owner ended with status %#x", status);
	}
	if (!dead())
		ret |= bad("a region without owner is there");
	close(st->fd);
	close(st->memfd);
	close(st->scratch);
	close(round->sock[0]);
	close(round->sock[1]);
	deadline = pn_now() + pn_slow(20);
	while ((pn_meminfo(-1, "Shmem") > round->shmem + 512 ||
		pn_meminfo(-1, "PageTables") > round->tables + 1024) && pn_now() < deadline)
		poll(NULL, 0, 100);
	if (pn_meminfo(-1, "Shmem") > round->shmem + 512)
		ret |= bad("%ld kB of shared memory are left",
			   pn_meminfo(-1, "Shmem") - round->shmem);
	if (pn_meminfo(-1, "PageTables") > round->tables + 1024)
		ret |= bad("%ld kB of page tables are left",
			   pn_meminfo(-1, "PageTables") - round->tables);
	return ret;
}

static int run_round(uint64_t seed, double seconds, int number)
{
	struct round round = { .end = pn_now() + seconds };
	unsigned long ops = 0, signals = 0;
	struct start start;
	int i, fd, ret;
	long kills;

	pn_write_file(LRU_GEN, number % 2 ? "n" : "y");
	if (make_groups(number / 2 % 2))
		return bad("no memory cgroups: %s", strerror(errno));
	prepare();
	pn_seed(seed);
	round.shmem = pn_meminfo(-1, "Shmem");
	round.tables = pn_meminfo(-1, "PageTables");
	st->memfd = memfd_create("stress", MFD_CLOEXEC);
	st->scratch = memfd_create("scratch", MFD_CLOEXEC);
	if (st->memfd < 0 || st->scratch < 0 || ftruncate(st->memfd, PAGES * PAGE) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, round.sock))
		return bad("cannot begin: %s", strerror(errno));
	/* A number that is free in the owner, too */
	st->fd = 100;
	if (pn_spawn(&round.owner, owns, round.sock))
		return bad("no owner");
	fd = ms_receive_fd(round.sock[0]);
	if (fd < 0 || dup2(fd, st->fd) < 0 || close(fd) || ms_send_fd(round.sock[0], st->fd) ||
	    pn_ready(&round.owner, 20))
		return bad("the owner does not begin");
	for (i = 0; i <= MEMBERS; i++) {
		start = (struct start){ i, pn_mix(seed) + i };
		if (i < MEMBERS ? pn_spawn(&round.member[i], plays, &start) :
				  pn_spawn(&round.knobs, turns, &start))
			return bad("fork: %s", strerror(errno));
	}
	play(&round, seed);
	ret = end_round(&round, !(number % 3));
	for (i = 0; i < MEMBERS; i++) {
		ops += st->worker[i].ops;
		signals += st->worker[i].signals;
	}
	kills = oom_kills();
	printf("#   %3.0f s: %lu operations, %lu signals%s%s\n", pn_now() - begin, ops, signals,
	       round.second ? ", handed over" : "", kills ? ", an owner was out of memory" : "");
	if (!ops)
		ret |= bad("nothing was done");
	pn_write_file("/sys/devices/system/cpu/cpu1/online", "1");
	pn_write_file("/sys/devices/system/cpu/cpu2/online", "1");
	if (pn_remove_group(CGROUPS "/ms_first") || pn_remove_group(CGROUPS "/ms_second"))
		ret |= bad("a cgroup is busy: %s", strerror(errno));
	return ret;
}

int main(void)
{
	double left = getenv("STRESS_SECONDS") ? atof(getenv("STRESS_SECONDS")) : 60;
	uint64_t seed = getenv("STRESS_SEED") ? strtoull(getenv("STRESS_SEED"), NULL, 0) : 0;
	int i = 0, ret;
	char thp[64] = "", *word;
	const char *missing = ms_missing();

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	if (missing) {
		printf("1..0 # SKIP %s\n", missing);
		return 4;
	}
	if (!seed)
		seed = time(NULL);
	begin = pn_now();
	st = mmap(NULL, sizeof(*st), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mkdir(CGROUPS, 0755);
	if (st == MAP_FAILED || pn_swap_on(SWAP) || mount("ms", CGROUPS, "cgroup2", 0, NULL) ||
	    pn_write_file(CGROUPS "/cgroup.subtree_control", "+memory")) {
		printf("Bail out! cannot begin: %s\n", strerror(errno));
		return 1;
	}
	pn_read_line(SHMEM_THP, thp, sizeof(thp));
	pn_note("seed %llu", (unsigned long long)seed);
	do {
		i++;
		ret = run_round(pn_mix(seed) + pn_mix(i),
				left < ROUND_SECONDS ? left : ROUND_SECONDS, i);
		printf("%s %d - round %d, seed %llu\n", ret ? "not ok" : "ok", i, i,
		       (unsigned long long)seed);
	} while (!ret && pn_now() - begin < left);
	printf("1..%d\n", i);
	word = strchr(thp, '[');
	if (word && strchr(word, ']')) {
		*strchr(word, ']') = 0;
		pn_write_file(SHMEM_THP, word + 1);
	}
	umount2(CGROUPS, MNT_DETACH);
	return ret || pn_swap_off() ? 1 : 0;
}
