// SPDX-License-Identifier: GPL-2.0
/*
 * Windows and what else processes are and have: threads that share an address space,
 * other users, filters of system calls, memory that the kernel writes to on its own,
 * stacks that grow, and who watches.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <grp.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>

#include "ms_util.h"
#include "kselftest_harness.h"

#define PAGE		((size_t)pn_page_size())
#define RW		(PROT_READ | PROT_WRITE)
#define USED		MIB
#define SEED		99
#define NOBODY		65534
#define SHM		(64 * PAGE)
#define LATE		20

FIXTURE(process)
{
	int fd;
	char *w;
};

FIXTURE_SETUP(process)
{
	const char *missing = ms_missing();

	self->fd = -1;
	if (missing)
		SKIP(return, "%s", missing);
	self->fd = ms_used_region(USED, &self->w);
	ASSERT_LE(0, self->fd);
	ms_write_words(self->w, USED, SEED);
}

FIXTURE_TEARDOWN(process)
{
	if (self->fd < 0)
		return;
	EXPECT_EQ(1, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(1, ms_fdinfo(self->fd, "members"));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
	munmap(self->w, GRANULE);
	close(self->fd);
}

struct shared {
	int fd;
	char *w;
};

static int attaches(void *arg)
{
	struct shared *shared = arg;

	shared->w = mshare_attach(shared->fd, 0, 0, NULL, 0);
	return shared->w == MAP_FAILED;
}

/* A child that borrows the address space attaches for both. */
TEST_F_TIMEOUT(process, vfork, 200)
{
	struct shared shared = { .fd = self->fd };
	char *stack = mmap(NULL, MIB, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, stack);
	pid = clone(attaches, stack + MIB, CLONE_VM | CLONE_VFORK | SIGCHLD, &shared);
	ASSERT_LT(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EQ(2, ms_fdinfo(self->fd, "windows"));
	EXPECT_EQ(1, ms_fdinfo(self->fd, "members"));
	EXPECT_EQ(0, ms_wrong_words(shared.w, USED, SEED));
	EXPECT_EQ(0, munmap(shared.w, GRANULE));
	munmap(stack, MIB);
}

static int holds(struct pn_child *child, void *arg)
{
	char *w = ms_attach(*(int *)arg, 0);

	if (!w || ms_wrong_words(w, USED, SEED))
		return 1;
	pn_hold(child);
	/* The other one has gone since. */
	return ms_wrong_words(w, USED, SEED) ? 2 : 0;
}

static int comes_and_goes(struct pn_child *child, void *arg)
{
	char *w = ms_attach(*(int *)arg, 0);

	return w && !ms_wrong_words(w, USED, SEED) && !munmap(w, GRANULE) &&
	       ms_signal(w, 'r') ? 0 : 1;
}

/* Who detaches does it for itself. */
TEST_F_TIMEOUT(process, others_stay, 200)
{
	struct pn_child stays;

	ASSERT_EQ(0, pn_spawn(&stays, holds, &self->fd));
	ASSERT_EQ(0, pn_ready(&stays, LATE));
	EXPECT_EQ(0, pn_run(comes_and_goes, &self->fd, LATE));
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
	EXPECT_EQ(0, pn_reap(&stays, LATE));
}

static unsigned long attached;

static void *attaches_on(void *arg)
{
	int fd = *(int *)arg;
	char *w;

	while (1) {
		w = mshare_attach(fd, 0, 0, NULL, 0);
		if (w == MAP_FAILED)
			_exit(3);
		*(volatile char *)w;
		__atomic_fetch_add(&attached, 1, __ATOMIC_RELAXED);
		munmap(w, GRANULE);
	}
	return NULL;
}

static int execs(struct pn_child *child, void *arg)
{
	pthread_t thread[3];
	size_t i;

	for (i = 0; i < 3; i++)
		if (pthread_create(&thread[i], NULL, attaches_on, arg))
			return 1;
	while (__atomic_load_n(&attached, __ATOMIC_RELAXED) < 3)
		sched_yield();
	usleep(pn_rand(3000));
	execl("/bin/true", "true", NULL);
	return 2;
}

/* The address space is exchanged while others map windows in it. */
TEST_F_TIMEOUT(process, exec_meanwhile, 200)
{
	int round;

	for (round = 0; round < 30; round++) {
		pn_seed(round);
		ASSERT_EQ(0, pn_run(execs, &self->fd, LATE));
	}
	EXPECT_EQ(0, ms_wrong_words(self->w, USED, SEED));
}

static int is_nobody(struct pn_child *child, void *arg)
{
	struct mshare_map_args args = { .offset = USED, .size = PAGE, .prot = RW, .fd = -1 };
	int fd = *(int *)arg;
	char *w;

	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	w = ms_attach(fd, 0);
	if (!w || ms_wrong_words(w, USED, SEED))
		return 2;
	((uint64_t *)w)[1] = 0;
	if (!ms_wrong_words(w, USED, SEED))
		return 2;
	ms_write_words(w, PAGE, SEED);
	/* What is the owner's is not for everybody who has the descriptor. */
	if (!mshare_map(fd, &args, sizeof(args), 0) || errno != EPERM ||
	    !mshare_unmap(fd, 0, PAGE, 0) || errno != EPERM)
		return 3;
	return unshare(CLONE_NEWUSER) || !ms_attach(fd, 0) ? 4 : 0;
}

/* Another user, in another user namespace: who has the descriptor may attach. */
TEST_F_TIMEOUT(process, other_user, 200)
{
	EXPECT_EQ(0, pn_run(is_nobody, &self->fd, LATE));
}

/* Takes the descriptor that another process has. */
static int takes(struct pn_child *child, void *arg)
{
	int pidfd = syscall(SYS_pidfd_open, getppid(), 0), theirs = *(int *)arg, fd;
	char *w;

	close(theirs);
	fd = syscall(SYS_pidfd_getfd, pidfd, theirs, 0);
	w = fd < 0 ? NULL : ms_attach(fd, 0);
	if (!w || ms_wrong_words(w, USED, SEED))
		return 1;
	if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		return 2;
	return syscall(SYS_pidfd_getfd, pidfd, theirs, 0) != -1 || errno != EPERM ? 3 : 0;
}

/* Who may look into the process may, nobody else. */
TEST_F_TIMEOUT(process, taken, 200)
{
	EXPECT_EQ(0, pn_run(takes, &self->fd, LATE));
}

struct force {
	char *at;
	bool stop;
	long tries, written;
};

static void *forces(void *arg)
{
	struct force *force = arg;
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	uint64_t word = 0;

	if (mem < 0)
		force->written = 1;
	while (!__atomic_load_n(&force->stop, __ATOMIC_RELAXED)) {
		force->written += pwrite(mem, &word, sizeof(word), (off_t)force->at) != -1;
		force->tries++;
	}
	close(mem);
	return NULL;
}

/* Can somebody write to what is read-only for the process itself? */
static bool can_force(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	bool ret = pwrite(mem, "x", 1, (off_t)p) == 1 && *p == 'x';

	close(mem);
	munmap(p, PAGE);
	return ret;
}

/* What is read-only is so for who insists, while pages come and go. */
TEST_F_TIMEOUT(process, forced, 100)
{
	char *ro = ms_attach(self->fd, MSHARE_RDONLY);
	struct force force = { .at = ro + 8 };
	struct iovec range = { ro, USED };
	double end = pn_now() + 1;
	pthread_t thread;

	if (!can_force())
		SKIP(return, "a kernel on which /proc/PID/mem cannot force");
	ASSERT_NE(NULL, ro);
	ASSERT_EQ(0, pthread_create(&thread, NULL, forces, &force));
	while (pn_now() < end) {
		EXPECT_EQ(0, mshare_advise(self->fd, 0, USED, MADV_DONTNEED, 0));
		*(volatile char *)ro;
	}
	__atomic_store_n(&force.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, force.written);
	EXPECT_LT(0, force.tries);
	EXPECT_EQ(0, ms_wrong_words(ro, USED, SEED));
	EXPECT_EQ(-1, madvise(ro, PAGE, MADV_POPULATE_WRITE));
	EXPECT_EQ(0, madvise(ro, PAGE, MADV_POPULATE_READ));
	EXPECT_ERROR(EINVAL, syscall(SYS_process_madvise, PIDFD_SELF_PROCESS, &range, 1,
				     MADV_COLD, 0));
	munmap(ro, GRANULE);
}

static int filter(unsigned int nr, unsigned int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* Each call has its number, by which it can be refused; windows that are there stay. */
static int is_filtered(struct pn_child *child, void *arg)
{
	char *w = ms_attach(*(int *)arg, 0);
	unsigned int nr, other;

	for (nr = __NR_mshare_create; nr <= __NR_mshare_set_owner; nr++) {
		if (filter(nr, ENOTSUP))
			return 1;
		for (other = __NR_mshare_create; other <= __NR_mshare_set_owner; other++) {
			/* Nothing of it makes sense: another error, without the filter */
			if (syscall(other, -1, -1L, -1L, -1L, -1L, -1L) != -1 ||
			    !(errno == ENOTSUP) != !(other <= nr))
				return 2;
		}
	}
	return ms_wrong_words(w, USED, SEED) || munmap(w, GRANULE) ? 3 : 0;
}

static int strictly(int *fd, bool refused)
{
	char *w = ms_attach(*fd, 0);

	if (!w || prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		return 1;
	*(volatile char *)w;
	/* Of the ways to end, this one is permitted. */
	if (!refused)
		syscall(SYS_exit, 0);
	mshare_create(0);
	syscall(SYS_exit, 2);
	return 3;
}

static int is_strict(struct pn_child *child, void *arg)
{
	return strictly(arg, false);
}

static int is_refused(struct pn_child *child, void *arg)
{
	return strictly(arg, true);
}

TEST_F_TIMEOUT(process, seccomp, 200)
{
	EXPECT_EQ(0, pn_run(is_filtered, &self->fd, LATE));
	EXPECT_EQ(0, pn_run(is_strict, &self->fd, LATE));
	EXPECT_EQ(SIGKILL, pn_run(is_refused, &self->fd, LATE));
}

#define CPU_ID	4	/* where it is in struct rseq */

static long rseq(void *area, int flags)
{
	return syscall(SYS_rseq, area, 32, flags, RSEQ_SIG);
}

static bool tells_cpu(char *area)
{
	cpu_set_t all, one;
	int cpu, nr = 0;

	if (sched_getaffinity(0, sizeof(all), &all))
		return false;
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one) ||
		    *(volatile int *)(area + CPU_ID) != cpu)
			return false;
		nr++;
	}
	return nr && !sched_setaffinity(0, sizeof(all), &all);
}

/* What the kernel tells a thread about its CPU is in the region. */
static int is_restartable(struct pn_child *child, void *arg)
{
	char *mine = (char *)__builtin_thread_pointer() + __rseq_offset;
	int fd = *(int *)arg, page, len;
	char *w = ms_attach(fd, 0), *ro;

	if (!w || !__rseq_size)
		return 1;
	/* As long as the C library has made it */
	for (len = 32; syscall(SYS_rseq, mine, len, RSEQ_FLAG_UNREGISTER, RSEQ_SIG); len++)
		if (len == 1024)
			return 2;
	/* A page that is there, and one that is not */
	for (page = 0; page < 2; page++) {
		char *area = w + page * USED;

		memset(mine, 0, 32);
		if (rseq(area, 0))
			return 3;
		if (!tells_cpu(area))
			return 4;
		if (rseq(area, RSEQ_FLAG_UNREGISTER))
			return 5;
	}
	ms_write_words(w, USED, SEED);
	ro = ms_attach(fd, MSHARE_RDONLY);
	if (!ro || !rseq(ro, 0) || errno != EFAULT)
		return 6;
	/* When the window is gone, it is a signal. */
	if (rseq(w + USED, 0) || !pn_say(child) || munmap(w, GRANULE))
		return 7;
	tells_cpu(ro);
	return 8;
}

TEST_F_TIMEOUT(process, rseq, 200)
{
	struct pn_child child;

	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "one CPU");
	ASSERT_EQ(0, ms_map_anon(self->fd, USED, PAGE, RW));
	ASSERT_EQ(0, pn_spawn(&child, is_restartable, &self->fd));
	/* All was well up to the point at which the window goes. */
	EXPECT_EQ(0, pn_ready(&child, LATE));
	EXPECT_EQ(SIGSEGV, pn_reap(&child, LATE));
}

#ifdef __x86_64__
/*
 * Counts until the kernel ends it, which reads in CS, as SLOT tells it, that this is
 * a critical section, and where to go on. FILL: say so in CS first.
 */
static void critical_section(struct rseq_cs *cs, volatile __u64 *slot, __u64 *turns,
			     bool fill)
{
	asm volatile("testb	%[fill], %[fill]\n\t"
		     "jz	1f\n\t"
		     "leaq	2f(%%rip), %%rax\n\t"
		     "leaq	3f(%%rip), %%rcx\n\t"
		     "subq	%%rax, %%rcx\n\t"
		     "movq	$0, 0(%[cs])\n\t"
		     "movq	%%rax, 8(%[cs])\n\t"
		     "movq	%%rcx, 16(%[cs])\n\t"
		     "leaq	4f(%%rip), %%rax\n\t"
		     "movq	%%rax, 24(%[cs])\n"
		     "1:\tmovq	%[cs], (%[slot])\n"
		     "2:\tincq	(%[turns])\n\t"
		     "jmp	2b\n"
		     /* The kernel goes only to what has the signature before it. */
		     "3:\t.byte	0x0f, 0xb9, 0x3d\n\t"
		     ".long	%c[sig]\n"
		     "4:\n"
		     :
		     : [cs] "r" (cs), [slot] "r" (slot), [turns] "r" (turns),
		       [fill] "q" (fill), [sig] "i" (RSEQ_SIG)
		     : "rax", "rcx", "memory", "cc");
}

static void back(int sig)
{
}

/* What says where a critical section is, and what it counts in, is in the region. */
static int in_critical_sections(struct pn_child *child, void *arg)
{
	struct sigaction alarm = { .sa_handler = back };
	struct itimerval often = { { 0, 5000 }, { 0, 5000 } }, never = { };
	char *mine = (char *)__builtin_thread_pointer() + __rseq_offset;
	char *w = ms_attach(*(int *)arg, 0);
	struct rseq_cs *cs;
	__u64 *turns, *slot = (__u64 *)(mine + offsetof(struct rseq, rseq_cs));
	int i;

	if (!w || !__rseq_size)
		return 1;
	cs = (struct rseq_cs *)(w + USED);
	turns = (__u64 *)(w + USED + PAGE);
	if (sigaction(SIGALRM, &alarm, NULL) || setitimer(ITIMER_REAL, &often, NULL) ||
	    !pn_say(child))
		return 2;
	for (i = 0; i < LATE * 10; i++) {
		__u64 before = *turns;

		/* The kernel forgets the section that it has ended. */
		critical_section(cs, slot, turns, true);
		if (*slot)
			return 3;
		turns[1] += *turns > before;
	}
	/* Now it is the kernel only that looks at it. */
	if (setitimer(ITIMER_REAL, &never, NULL) || turns[1] < LATE)
		return 4;
	turns[2] = 1;
	for (;;)
		critical_section(cs, slot, turns, false);
}

TEST_F_TIMEOUT(process, critical_section, 200)
{
	volatile __u64 *turns = (__u64 *)(self->w + USED + PAGE);
	double end = pn_now() + pn_slow(LATE);
	struct pn_child child;
	__u64 before;

	ASSERT_EQ(0, ms_map_anon(self->fd, USED, 2 * PAGE, RW));
	ASSERT_EQ(0, pn_spawn(&child, in_critical_sections, &self->fd));
	ASSERT_EQ(0, pn_ready(&child, LATE));
	/* The page table has nothing of it, time and again. */
	while (!turns[2] && pn_now() < end) {
		ASSERT_EQ(0, mshare_advise(self->fd, USED, PAGE, MADV_DONTNEED, 0));
		usleep(500);
	}
	ASSERT_EQ(1, turns[2]);
	before = turns[0];
	while (turns[0] == before && pn_now() < end)
		usleep(1000);
	EXPECT_NE(before, turns[0]);
	ASSERT_EQ(0, mshare_unmap(self->fd, USED, PAGE, 0));
	/* It looks when it has interrupted. */
	kill(child.pid, SIGALRM);
	EXPECT_EQ(SIGSEGV, pn_reap(&child, LATE));
}
#endif

/* The size of a region is none of a file. */
TEST_F_TIMEOUT(process, file_size_limit, 200)
{
	struct rlimit limit, small;
	int fd;

	ASSERT_EQ(0, getrlimit(RLIMIT_FSIZE, &limit));
	small = limit;
	small.rlim_cur = PAGE;
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &small));
	fd = ms_region(2 * GRANULE, 0);
	EXPECT_LE(0, fd);
	EXPECT_EQ(0, ms_map_anon(fd, 0, USED, RW));
	ASSERT_EQ(0, setrlimit(RLIMIT_FSIZE, &limit));
	close(fd);
}

/* The size of the page that a sample of a fault says is at an address, or -1 */
static long sampled_size(struct perf_event_mmap_page *ring, const char *addr)
{
	uint64_t at, head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);
	char *data = (char *)ring + PAGE;
	long size = -1;

	for (at = ring->data_tail; at < head; ) {
		struct {
			struct perf_event_header header;
			uint64_t addr, size;
		} *sample = (void *)(data + at % (8 * PAGE));

		if (sample->header.type == PERF_RECORD_SAMPLE &&
		    sample->addr / PAGE == (uintptr_t)addr / PAGE)
			size = sample->size;
		at += sample->header.size;
	}
	ring->data_tail = head;
	return size;
}

/* Samples have the size of what is mapped at an address, in windows as elsewhere. */
TEST_F_TIMEOUT(process, sampled_pages, 100)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_PAGE_FAULTS_MIN, .sample_period = 1,
		.sample_type = PERF_SAMPLE_ADDR | PERF_SAMPLE_DATA_PAGE_SIZE,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	struct perf_event_mmap_page *ring;
	char *p;

	if (fd < 0 && errno == ENOSYS)
		SKIP(return, "a kernel without CONFIG_PERF_EVENTS");
	ASSERT_LE(0, fd);
	ring = mmap(NULL, 9 * PAGE, RW, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, ring);
	/* The control */
	p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	*(volatile char *)p = 1;
	EXPECT_EQ((long)PAGE, sampled_size(ring, p));

	EXPECT_EQ(0, ms_map_anon(self->fd, USED, PAGE, RW));
	*(volatile char *)(self->w + USED) = 1;
	EXPECT_EQ((long)PAGE, sampled_size(ring, self->w + USED));
	EXPECT_EQ(0, mshare_unmap(self->fd, USED, PAGE, 0));
	munmap(p, PAGE);
	munmap(ring, 9 * PAGE);
	close(fd);
}

/* How many mappings the owner of the counter is said to have made */
static int events(struct perf_event_mmap_page *ring)
{
	char *data = (char *)ring + PAGE;
	uint64_t tail = ring->data_tail, head = __atomic_load_n(&ring->data_head,
								 __ATOMIC_ACQUIRE);
	int nr = 0;

	while (tail < head) {
		struct perf_event_header *event = (void *)(data + tail % (8 * PAGE));

		nr += event->type == PERF_RECORD_MMAP || event->type == PERF_RECORD_MMAP2;
		tail += event->size;
	}
	ring->data_tail = tail;
	return nr;
}

/* What is mapped into a region is not at that address in the process that does it. */
TEST_F_TIMEOUT(process, perf, 200)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY, .mmap = 1, .mmap2 = 1, .mmap_data = 1,
	};
	int fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	struct perf_event_mmap_page *ring;
	char *p;

	if (fd < 0 && errno == ENOSYS)
		SKIP(return, "a kernel without CONFIG_PERF_EVENTS");
	ASSERT_LE(0, fd);
	ring = mmap(NULL, 9 * PAGE, RW, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, ring);
	events(ring);
	/* The control */
	p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(1, events(ring));

	EXPECT_EQ(0, ms_map_anon(self->fd, USED, USED, RW | PROT_EXEC));
	EXPECT_EQ(0, mshare_protect(self->fd, USED, PAGE, PROT_READ | PROT_EXEC, 0));
	EXPECT_EQ(0, ms_map_anon(self->fd, USED, PAGE, PROT_READ));
	EXPECT_EQ(0, mshare_unmap(self->fd, USED, USED, 0));
	EXPECT_EQ(0, events(ring));
	munmap(p, PAGE);
	munmap(ring, 9 * PAGE);
	close(fd);
}

/* A window with more than a granule of reserved space on both sides, or NULL */
static char *window_amid(int fd, char **area)
{
	char *w;

	*area = mmap(NULL, 4 * GRANULE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (*area == MAP_FAILED)
		return NULL;
	w = ms_granule_up(*area + GRANULE);
	return mshare_attach(fd, 0, 0, w, MSHARE_FIXED) == w ? w : NULL;
}

/* A stack grows down to its distance from a window, and not into it. */
TEST_F_TIMEOUT(process, stack_above, 200)
{
	const size_t room = 4 * MIB;
	char *area, *w, *stack, *at;
	int sig = 0;

	w = window_amid(self->fd, &area);
	ASSERT_NE(NULL, w);
	ASSERT_EQ(0, munmap(w + GRANULE, room));
	stack = mmap(w + GRANULE + room - PAGE, PAGE, RW,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
	ASSERT_NE(MAP_FAILED, stack);
	*stack = 1;
	for (at = stack - PAGE; at >= w + GRANULE && !sig; at -= PAGE)
		sig = ms_signal(at, 'w');
	EXPECT_NE(0, sig);
	/* The control: it did grow, to where the gap begins */
	EXPECT_GT(w + GRANULE + room / 2, at);
	EXPECT_LT(w + GRANULE, at);
	EXPECT_EQ(1, *stack);
	EXPECT_EQ(0, ms_wrong_words(w, USED, SEED));
	munmap(area, 4 * GRANULE);
}

/* System V shared memory beside a window, and onto it */
TEST_F_TIMEOUT(process, shm_beside, 200)
{
	int id = shmget(IPC_PRIVATE, SHM, IPC_CREAT | 0600);
	char *area, *w, *beside;

	ASSERT_LE(0, id);
	w = window_amid(self->fd, &area);
	ASSERT_NE(NULL, w);
	ASSERT_EQ(0, munmap(w - SHM, SHM));
	beside = shmat(id, w - SHM, 0);
	EXPECT_EQ(w - SHM, beside);
	memset(beside, 7, SHM);
	EXPECT_ERROR(EINVAL, shmat(id, w, 0));
	EXPECT_ERROR(EINVAL, shmat(id, w, SHM_REMAP));
	EXPECT_ERROR(EINVAL, shmat(id, w + GRANULE - SHM, SHM_REMAP));
	EXPECT_EQ(0, ms_wrong_words(w, USED, SEED));
	EXPECT_EQ(0, shmdt(beside));
	EXPECT_EQ(0, ms_wrong_words(w, USED, SEED));
	EXPECT_EQ(0, shmctl(id, IPC_RMID, NULL));
	munmap(area, 4 * GRANULE);
}

TEST_HARNESS_MAIN
