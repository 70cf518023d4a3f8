// SPDX-License-Identifier: GPL-2.0
/* What the private node tests share: see pn_util.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/kernel-page-flags.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "pn_util.h"

int pn_read_file(const char *path, char *buf, size_t size)
{
	size_t done = 0;
	ssize_t n = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	while (done < size - 1 && (n = read(fd, buf + done, size - 1 - done)) > 0)
		done += n;
	close(fd);
	buf[done] = 0;
	return n < 0 ? -1 : 0;
}

int pn_read_line(const char *path, char *line, size_t size)
{
	if (pn_read_file(path, line, size))
		return -1;
	line[strcspn(line, "\n")] = 0;
	return 0;
}

int pn_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

long pn_read_long(const char *path)
{
	char buf[64];

	return pn_read_file(path, buf, sizeof(buf)) ? -1 : atol(buf);
}

long pn_page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/* Node lists look like "0-2,5". */
unsigned long pn_node_mask(const char *state)
{
	unsigned long mask = 0;
	char path[128], buf[256], *p = buf;

	snprintf(path, sizeof(path), PN_NODE_DIR "/%s", state);
	if (pn_read_file(path, buf, sizeof(buf)))
		return 0;
	while (*p >= '0' && *p <= '9') {
		long first = strtol(p, &p, 10), last = first;

		if (*p == '-')
			last = strtol(p + 1, &p, 10);
		for (; first <= last && first < PN_MAXNODE; first++)
			mask |= NODE_BIT(first);
		if (*p == ',')
			p++;
	}
	return mask;
}

static int lowest(unsigned long mask)
{
	return mask ? __builtin_ctzl(mask) : -1;
}

bool pn_forced(void)
{
	return getenv("PN_FORCE_NODE");
}

int pn_flag(void)
{
	return pn_forced() ? 0 : MPOL_F_PRIVATE;
}

int pn_private_node(void)
{
	return pn_forced() ? atoi(getenv("PN_FORCE_NODE")) :
			     lowest(pn_node_mask("has_private_memory"));
}

unsigned long pn_public_nodes(void)
{
	unsigned long mask = pn_node_mask("has_memory");

	return pn_forced() ? mask & ~NODE_BIT(pn_private_node()) : mask;
}

bool pn_is_private(int nid)
{
	return pn_forced() ? nid == pn_private_node() :
			     pn_node_mask("has_private_memory") & NODE_BIT(nid);
}

bool pn_has_cap(int nid, const char *cap)
{
	char path[100], caps[200], *word, *rest = caps;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/capabilities", nid);
	if (pn_read_file(path, caps, sizeof(caps)))
		return false;
	while ((word = strsep(&rest, ",\n")))
		if (!strcmp(word, cap))
			return true;
	return false;
}

long pn_counter(int nid, const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/%s", nid, name);
	return pn_read_long(path);
}

int pn_control_node(void)
{
	return lowest(pn_public_nodes() & ~pn_node_mask("has_cpu"));
}

int pn_cpu_node(void)
{
	return lowest(pn_public_nodes() & pn_node_mask("has_cpu"));
}

int pn_absent_node(void)
{
	return lowest(~pn_node_mask("online") & ~NODE_BIT(PN_MAXNODE - 1));
}

/* The kernel takes one bit less than maxnode says. */
long pn_set_mempolicy(int mode, const unsigned long *mask)
{
	return syscall(SYS_set_mempolicy, mode, mask, mask ? PN_MAXNODE + 1 : 0);
}

long pn_mbind(void *addr, size_t len, int mode, const unsigned long *mask,
	      unsigned int flags)
{
	return syscall(SYS_mbind, addr, len, mode, mask,
		       mask ? PN_MAXNODE + 1 : 0, flags);
}

long pn_get_mempolicy(int *mode, unsigned long *mask, void *addr,
		      unsigned int flags)
{
	/* Room for any number of nodes that a kernel may have. */
	unsigned long bits[1024 / (8 * sizeof(long))] = { 0 };
	long ret = syscall(SYS_get_mempolicy, mode, mask ? bits : NULL,
			   mask ? 1024 : 0, addr, flags);

	if (mask)
		*mask = bits[0];
	return ret;
}

long pn_move_pages(int pid, unsigned long count, void **pages,
		   const int *nodes, int *status, int flags)
{
	return syscall(SYS_move_pages, pid, count, pages, nodes, status, flags);
}

long pn_migrate_pages(int pid, unsigned long from, unsigned long to)
{
	return syscall(SYS_migrate_pages, pid, PN_MAXNODE + 1, &from, &to);
}

long pn_set_home_node(void *addr, size_t len, unsigned long node)
{
	return syscall(SYS_set_mempolicy_home_node, addr, len, node, 0);
}

char *pn_map(size_t len)
{
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

char *pn_map_bound(size_t len, int mode, unsigned long mask)
{
	char *p = pn_map(len);

	if (!p)
		return NULL;
	if (pn_mbind(p, len, mode, &mask, 0)) {
		int err = errno;

		munmap(p, len);
		errno = err;
		return NULL;
	}
	return p;
}

int pn_node_of(void *addr)
{
	int status = -1;

	return pn_move_pages(0, 1, &addr, NULL, &status, 0) ? -errno : status;
}

long pn_count_nodes(void *addr, size_t len, long *count)
{
	enum { BATCH = 1024 };
	void *pages[BATCH];
	int status[BATCH];
	size_t size = pn_page_size(), left = len / size;
	long present = 0;
	char *p = addr;

	memset(count, 0, PN_MAXNODE * sizeof(*count));
	while (left) {
		size_t n = left < BATCH ? left : BATCH, i;

		for (i = 0; i < n; i++, p += size)
			pages[i] = p;
		if (pn_move_pages(0, n, pages, NULL, status, 0))
			return -1;
		for (i = 0; i < n; i++) {
			if (status[i] < 0 || status[i] >= PN_MAXNODE)
				continue;
			count[status[i]]++;
			present++;
		}
		left -= n;
	}
	return present;
}

long pn_on_node(void *addr, size_t len, int nid)
{
	long count[PN_MAXNODE];

	return pn_count_nodes(addr, len, count) < 0 ? -1 : count[nid];
}

char *pn_filled(size_t len, int nid)
{
	char *p = pn_map_bound(len, MPOL_BIND | (pn_is_private(nid) ? pn_flag() : 0),
			       NODE_BIT(nid));

	if (!p)
		return NULL;
	/* Large folios would blur what is counted in pages. */
	madvise(p, len, MADV_NOHUGEPAGE);
	if (pn_touch(p, len, pn_page_size(), NULL) != len) {
		munmap(p, len);
		return NULL;
	}
	pn_settle();
	return p;
}

long pn_move_range(void *addr, size_t len, int nid, int *status)
{
	long i, pages = len / pn_page_size(), ret = -1;
	void **list = calloc(pages, sizeof(*list));
	int *nodes = calloc(pages, sizeof(*nodes));
	int *result = calloc(pages, sizeof(*result));

	if (list && nodes && result) {
		for (i = 0; i < pages; i++) {
			list[i] = (char *)addr + i * pn_page_size();
			nodes[i] = nid;
			result[i] = -1000;
		}
		ret = pn_move_pages(0, pages, list, nodes, result, MPOL_MF_MOVE);
		if (status)
			memcpy(status, result, pages * sizeof(*result));
	}
	free(list);
	free(nodes);
	free(result);
	return ret;
}

int pn_numa_maps(void *addr, char *line, size_t size)
{
	FILE *file = fopen("/proc/self/numa_maps", "re");
	int ret = -1;

	if (!file)
		return -1;
	while (ret && fgets(line, size, file))
		if (strtoul(line, NULL, 16) == (unsigned long)addr)
			ret = 0;
	fclose(file);
	return ret;
}

static sigjmp_buf fault_jump;
static struct pn_fault fault_seen;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	fault_seen.sig = sig;
	fault_seen.code = info->si_code;
	fault_seen.addr = info->si_addr;
	siglongjmp(fault_jump, 1);
}

void pn_catch(void (*access)(void *arg), void *arg, struct pn_fault *fault)
{
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	struct sigaction bus, segv;

	memset(&fault_seen, 0, sizeof(fault_seen));
	sigaction(SIGBUS, &act, &bus);
	sigaction(SIGSEGV, &act, &segv);
	if (!sigsetjmp(fault_jump, 1))
		access(arg);
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	if (fault)
		*fault = fault_seen;
}

struct touch {
	char *addr;
	size_t size, step;
	volatile size_t done;
};

static void touch_all(void *arg)
{
	struct touch *touch = arg;

	for (; touch->done < touch->size; touch->done += touch->step)
		*(volatile unsigned long *)(touch->addr + touch->done) =
			(unsigned long)touch->addr + touch->done;
}

size_t pn_touch(char *addr, size_t size, size_t step, struct pn_fault *fault)
{
	struct touch touch = { addr, size, step };

	pn_catch(touch_all, &touch, fault);
	return touch.done < size ? touch.done : size;
}

int pn_zones(int nid, struct pn_zones *zones)
{
	FILE *file = fopen("/proc/zoneinfo", "re");
	unsigned long boost = 0, min = 0, high = 0, spanned = 0, present = 0, value;
	bool mine = false, seen = false, movable = false;
	char line[256], name[64];

	memset(zones, 0, sizeof(*zones));
	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file)) {
		int node;

		if (sscanf(line, "Node %d, zone %63s", &node, name) == 2) {
			mine = node == nid;
			movable = !strcmp(name, "Movable");
			present = 0;
			seen |= mine;
			continue;
		}
		if (!mine)
			continue;
		if (sscanf(line, " pages free %lu", &value) == 1) {
			zones->free += value;
			continue;
		}
		if (sscanf(line, " %63[a-z_]%*[:] %lu", name, &value) != 2 &&
		    sscanf(line, " %63[a-z_] %lu", name, &value) != 2)
			continue;
		if (!strcmp(name, "boost")) {
			boost = value;
		} else if (!strcmp(name, "min")) {
			/* A boosted watermark is shown with its boost. */
			min = value - boost;
		} else if (!strcmp(name, "high") && !present) {
			high = value;
		} else if (!strcmp(name, "spanned")) {
			spanned = value;
		} else if (!strcmp(name, "present")) {
			present = value;
			zones->present += value;
			/* Zones without memory have watermarks, too. */
			if (present && !movable)
				zones->min += min;
			if (present)
				zones->high += high;
		} else if (!strcmp(name, "managed")) {
			zones->managed += value;
		} else if (!strcmp(name, "count") && present) {
			zones->pcp += value;
		} else if (!strcmp(name, "start_pfn") && present) {
			if (!zones->end_pfn || value < zones->start_pfn)
				zones->start_pfn = value;
			if (value + spanned > zones->end_pfn)
				zones->end_pfn = value + spanned;
		}
	}
	fclose(file);
	return seen ? 0 : -1;
}

/* What a CPU has counted is added to the sums now and then, or when asked for. */
static void fold_counters(void)
{
	char buf[16];

	pn_read_file("/proc/sys/vm/stat_refresh", buf, sizeof(buf));
}

void pn_settle(void)
{
	void *nowhere = NULL;
	int node = pn_cpu_node(), status;

	/* Page migration empties the batches of pages on their way to the LRU. */
	pn_move_pages(0, 1, &nowhere, &node, &status, MPOL_MF_MOVE);
	fold_counters();
}

long pn_used(int nid)
{
	struct pn_zones zones;

	pn_settle();
	if (pn_zones(nid, &zones))
		return -1;
	return (long)zones.managed - (long)zones.free - (long)zones.pcp;
}

static long find_value(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	char line[256], key[128];
	long value, ret = -1;

	if (!file)
		return -1;
	while (ret < 0 && fgets(line, sizeof(line), file)) {
		char *text = line;
		int node, skip = 0;

		if (sscanf(line, "Node %d %n", &node, &skip) == 1)
			text += skip;
		if (sscanf(text, "%127[^: \t]%*[: \t]%ld", key, &value) == 2 &&
		    !strcmp(key, name))
			ret = value;
	}
	fclose(file);
	return ret;
}

long pn_vmstat(const char *name)
{
	fold_counters();
	return find_value("/proc/vmstat", name);
}

long pn_node_vmstat(int nid, const char *name)
{
	char path[128];

	fold_counters();
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/vmstat", nid);
	return find_value(path, name);
}

long pn_meminfo(int nid, const char *name)
{
	char path[128];

	fold_counters();
	if (nid < 0)
		return find_value("/proc/meminfo", name);
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/meminfo", nid);
	return find_value(path, name);
}

long pn_allocations(int nid)
{
	char path[128];
	long hit, miss;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/numastat", nid);
	hit = find_value(path, "numa_hit");
	miss = find_value(path, "numa_miss");
	return hit < 0 || miss < 0 ? -1 : hit + miss;
}

int pn_kinds(int nid, struct pn_kinds *kinds)
{
	enum { BATCH = 8192 };
	static uint64_t flags[BATCH];
	struct pn_zones zones;
	unsigned long pfn;
	int fd;

	memset(kinds, 0, sizeof(*kinds));
	if (pn_zones(nid, &zones))
		return -1;
	fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	for (pfn = zones.start_pfn; pfn < zones.end_pfn; pfn += BATCH) {
		size_t n = zones.end_pfn - pfn, i;
		ssize_t got;

		n = (n < BATCH ? n : BATCH) * sizeof(*flags);
		got = pread(fd, flags, n, pfn * sizeof(*flags));
		if (got < 0) {
			close(fd);
			return -1;
		}
		for (i = 0; i < got / sizeof(*flags); i++) {
			uint64_t f = flags[i];

#define KPF(name) (f & (1ULL << KPF_##name))
			/* Free and per-CPU pages, holes: nobody's. */
			if (!f || KPF(BUDDY) || KPF(NOPAGE))
				continue;
			if (KPF(SLAB))
				kinds->slab++;
			else if (KPF(PGTABLE))
				kinds->pgtable++;
			else if (KPF(HUGE))
				kinds->hugetlb++;
			else if (KPF(ANON))
				kinds->anon++;
			else if (KPF(SWAPBACKED))
				kinds->shmem++;
			else if (KPF(LRU) || KPF(MMAP))
				kinds->file++;
			else if (KPF(COMPOUND_HEAD) || KPF(COMPOUND_TAIL))
				kinds->other++;
#undef KPF
		}
	}
	close(fd);
	return 0;
}

/* Which pages of a node are in use, the first few of them */
static void show_pages(int nid)
{
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int maps = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	int shown = 0, max = 12;
	struct pn_zones zones;
	uint64_t f, count;
	unsigned long pfn;

	if (flags < 0 || maps < 0 || pn_zones(nid, &zones))
		max = 0;
	for (pfn = max ? zones.start_pfn : 0; shown < max && pfn < zones.end_pfn; pfn++) {
		if (pread(flags, &f, sizeof(f), pfn * sizeof(f)) != sizeof(f))
			break;
		if (!f || f & (1ULL << KPF_BUDDY | 1ULL << KPF_NOPAGE))
			continue;
		if (pread(maps, &count, sizeof(count), pfn * sizeof(count)) <= 0)
			count = 0;
		pn_note("  page %#lx: flags %#llx (see kernel-page-flags.h), mapped %llu times",
			pfn, (unsigned long long)f, (unsigned long long)count);
		shown++;
	}
	close(flags);
	close(maps);
}

#define TRACING		"/sys/kernel/tracing/"

int pn_trace(bool on)
{
	if (on && pn_write_file(TRACING "trace", "\n"))
		return -1;
	return pn_write_file(TRACING "events/private_node/enable", on ? "1" : "0");
}

bool pn_traced(const char *event, int nid)
{
	char line[512], wanted[80];
	bool found = false;
	FILE *trace = fopen(TRACING "trace", "re");

	if (nid < 0)
		snprintf(wanted, sizeof(wanted), "%s: ", event);
	else
		snprintf(wanted, sizeof(wanted), "%s: nid=%d ", event, nid);
	while (trace && fgets(line, sizeof(line), trace))
		found |= !!strstr(line, wanted);
	if (trace)
		fclose(trace);
	return found;
}

int pn_log_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

int pn_log_next(int fd, char *line, size_t size)
{
	ssize_t n;

	do {
		n = read(fd, line, size - 1);
		/* Some lines are lost when many come at once. */
	} while (n < 0 && errno == EPIPE);
	if (n <= 0)
		return n < 0 && errno != EAGAIN ? -1 : 0;
	line[n] = 0;
	return 1;
}

unsigned long pn_frame(void *addr)
{
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	*(volatile char *)addr;
	if (pread(pagemap, &entry, 8, (unsigned long)addr / pn_page_size() * 8) != 8 ||
	    !(entry >> 63))
		entry = 0;
	close(pagemap);
	return entry & ((1UL << 55) - 1);
}

int pn_write_number(const char *path, unsigned long number)
{
	char text[24];

	snprintf(text, sizeof(text), "%#lx", number);
	return pn_write_file(path, text);
}

int pn_unpoison(unsigned long pfn)
{
	static const char path[] = "/sys/kernel/debug/hwpoison/unpoison-pfn";

	if (access(path, W_OK)) {
		pn_note("no hwpoison in debugfs: page %#lx stays out of use", pfn);
		return 0;
	}
	return pn_write_number(path, pfn);
}

int pn_online(const char *state)
{
	double deadline = pn_now() + pn_slow(5);

	while (pn_write_file(state, "online")) {
		pn_note("%s does not go online: %s", state, strerror(errno));
		if (pn_now() > deadline)
			return -1;
		poll(NULL, 0, 200);
	}
	return 0;
}

int pn_remove_group(const char *path)
{
	int tries = 200;

	while (rmdir(path)) {
		if (!--tries)
			return -1;
		poll(NULL, 0, 20);
	}
	return 0;
}

#define POWER		"/sys/power/"
#define ZRAM		"/sys/block/zram0/"
#define ZRAM_DEVICE	"/dev/zram0"

int pn_swap_off(void)
{
	return swapoff(ZRAM_DEVICE) || pn_write_file(ZRAM "reset", "1");
}

int pn_swap_on(size_t size)
{
	static union {
		char bytes[4096];
		struct {
			char boot[1024];
			unsigned int version, last_page;
		};
	} header;
	char text[32];
	int fd, ret;

	/* What a test left that was stopped */
	if (pn_read_long(ZRAM "disksize") > 0)
		pn_swap_off();
	snprintf(text, sizeof(text), "%zu", size);
	if (pn_page_size() != sizeof(header) || pn_write_file(ZRAM "disksize", text))
		return -1;
	header.version = 1;
	header.last_page = size / sizeof(header) - 1;
	memcpy(header.bytes + sizeof(header) - 10, "SWAPSPACE2", 10);
	fd = open(ZRAM_DEVICE, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = write(fd, &header, sizeof(header)) != sizeof(header) || fsync(fd);
	close(fd);
	return ret ? -1 : swapon(ZRAM_DEVICE, 0);
}

const char *pn_hibernation_missing(void)
{
	char modes[128];

	if (pn_read_line(POWER "disk", modes, sizeof(modes)) || !strstr(modes, "test_resume"))
		return "a kernel without CONFIG_HIBERNATION";
	return NULL;
}

int pn_hibernate(void)
{
	char device[32], line[1024];
	int log = pn_log_open();
	bool back = false;

	/* Programs may be out of reach then. There is room for all in the image. */
	if (log < 0 || mlockall(MCL_CURRENT) ||
	    pn_read_line(ZRAM "dev", device, sizeof(device)) ||
	    pn_write_file(POWER "pm_debug_messages", "1") ||
	    pn_write_file(POWER "resume", device) ||
	    pn_write_file(POWER "disk", "test_resume") ||
	    pn_write_file(POWER "image_size", "1073741824") ||
	    pn_write_file(POWER "state", "disk"))
		pn_note("cannot hibernate: %s", strerror(errno));
	while (log >= 0 && pn_log_next(log, line, sizeof(line)) > 0)
		back |= !!strstr(line, "Hibernation image restored successfully.");
	close(log);
	munlockall();
	return back ? 0 : -1;
}

int pn_module(const char *name, bool load)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (load)
			execlp("modprobe", "modprobe", "-q", name, NULL);
		else
			execlp("modprobe", "modprobe", "-q", "-r", name, NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status ? 0 : -1;
}

double pn_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* How much slower than others is the machine? It may only say that it is. */
static double slowness(void)
{
	const char *slow = getenv("KSFT_MACHINE_SLOW");
	char *end;
	double n;

	if (!slow || !*slow)
		return 1;
	n = strtod(slow, &end);
	if (*end)
		return 5;
	return n > 1 ? n : 1;
}

/* A machine on which everything takes a multiple: fewer rounds will do */
bool pn_is_slow(void)
{
	return slowness() > 1;
}

/*
 * A time limit is there for a test to end, and tells nothing about speed: it is
 * generous on any machine.
 */
double pn_slow(double seconds)
{
	double n = slowness();

	return seconds * (n > 5 ? n : 5);
}

/*
 * A node that is only treated as private has pages of the running kernel on
 * it from the start: count what comes on top of them. pn_start_empty() sees to it.
 */
static struct pn_kinds first_kinds;
static long first_used;

int pn_start_empty(int nid)
{
	if (!pn_forced())
		return pn_wait_empty(nid);
	first_used = pn_used(nid);
	return pn_kinds(nid, &first_kinds);
}

int pn_new_kinds(int nid, struct pn_kinds *kinds)
{
	if (pn_kinds(nid, kinds))
		return -1;
	kinds->anon -= first_kinds.anon;
	kinds->slab -= first_kinds.slab;
	kinds->pgtable -= first_kinds.pgtable;
	kinds->shmem -= first_kinds.shmem;
	kinds->file -= first_kinds.file;
	kinds->hugetlb -= first_kinds.hugetlb;
	kinds->other -= first_kinds.other;
	return 0;
}

int pn_wait_only_anon(int nid, unsigned long max)
{
	double deadline = pn_now() + (pn_forced() ? 1 : pn_slow(5));
	struct pn_kinds kinds;
	long used;

	/* Pages that are just being freed take a moment to arrive. */
	do {
		used = pn_used(nid);
		if (used < 0)
			break;
		used -= first_used;
		/* No need for the long look at each page */
		if (!used)
			return 0;
		if (max && used <= (long)max && !pn_new_kinds(nid, &kinds) &&
		    used == kinds.anon && !kinds.slab && !kinds.pgtable &&
		    !kinds.shmem && !kinds.file && !kinds.hugetlb && !kinds.other)
			return 0;
		poll(NULL, 0, 20);
	} while (pn_now() < deadline);
	if (pn_new_kinds(nid, &kinds)) {
		pn_note("cannot read the state of node %d", nid);
		return -1;
	}
	pn_note("node %d: %ld pages in use, expected only anonymous ones, at most %lu", nid,
		used, max);
	pn_note("  anonymous %ld slab %ld page table %ld shmem %ld file %ld", kinds.anon,
		kinds.slab, kinds.pgtable, kinds.shmem, kinds.file);
	pn_note("  hugetlb %ld other compound %ld", kinds.hugetlb, kinds.other);
	show_pages(nid);
	return -1;
}

int pn_wait_empty(int nid)
{
	return pn_wait_only_anon(nid, 0);
}

void pn_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int pn_pin_longterm(char *p, size_t len)
{
	struct io_uring_params params = { };
	struct iovec iov = { p, len };
	int fd = syscall(__NR_io_uring_setup, 4, &params), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(__NR_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1);
	ret = ret ? -errno : 0;
	close(fd);
	return ret;
}

static int change_cap(int cap, bool keep)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	unsigned int bit = 1U << (cap % 32);

	if (syscall(SYS_capget, &head, data))
		return -1;
	if (keep) {
		data[cap / 32].effective |= bit;
	} else {
		data[cap / 32].effective &= ~bit;
		data[cap / 32].permitted &= ~bit;
		data[cap / 32].inheritable &= ~bit;
	}
	return syscall(SYS_capset, &head, data);
}

int pn_drop_cap(int cap)
{
	return change_cap(cap, false);
}

int pn_raise_cap(int cap)
{
	return change_cap(cap, true);
}

void __attribute__((noinline)) pn_prefault_stack(void)
{
	volatile char room[128 * 1024];
	size_t i;

	for (i = 0; i < sizeof(room); i += 1024)
		room[i] = 1;
}

int pn_spawn(struct pn_child *child, int (*fn)(struct pn_child *child, void *arg),
	     void *arg)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -1;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		child->pid = getpid();
		child->sock = pair[1];
		_exit(fn(child, arg));
	}
	close(pair[1]);
	child->pid = pid;
	child->sock = pair[0];
	return pid < 0 ? -1 : 0;
}

bool pn_say(struct pn_child *child)
{
	char byte = 1;

	return send(child->sock, &byte, 1, MSG_NOSIGNAL) == 1;
}

void pn_hold(struct pn_child *child)
{
	char byte;

	if (pn_say(child))
		while (read(child->sock, &byte, 1) < 0 && errno == EINTR)
			;
}

int pn_ready(struct pn_child *child, double seconds)
{
	struct pollfd pfd = { .fd = child->sock, .events = POLLIN };
	char byte;

	if (poll(&pfd, 1, pn_slow(seconds) * 1000) != 1)
		return -1;
	return read(child->sock, &byte, 1) == 1 ? 0 : -1;
}

int pn_reap(struct pn_child *child, double seconds)
{
	struct pollfd pfd = { .events = POLLIN };
	int status = -1;
	bool late;

	/* Unlike a close, this is seen although later children hold copies. */
	shutdown(child->sock, SHUT_RDWR);
	close(child->sock);
	pfd.fd = syscall(SYS_pidfd_open, child->pid, 0);
	late = pfd.fd < 0 || poll(&pfd, 1, pn_slow(seconds) * 1000) != 1;
	if (late) {
		pn_note("child %d not done within %.0f s: killed", child->pid,
			pn_slow(seconds));
		kill(child->pid, SIGKILL);
	}
	if (pfd.fd >= 0)
		close(pfd.fd);
	waitpid(child->pid, &status, 0);
	return late ? -1 : status;
}

int pn_run(int (*fn)(struct pn_child *child, void *arg), void *arg, double seconds)
{
	struct pn_child child;

	return pn_spawn(&child, fn, arg) ? -1 : pn_reap(&child, seconds);
}

static uint64_t state;

uint64_t pn_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15UL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9UL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebUL;
	return x ^ (x >> 31);
}

void pn_seed(uint64_t seed)
{
	state = pn_mix(seed);
}

uint32_t pn_rand(uint32_t below)
{
	state += 0x9e3779b97f4a7c15UL;
	return (pn_mix(state) >> 32) % below;
}
