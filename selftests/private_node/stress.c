// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once: memory of private nodes under all policies, nodes that
 * are full, public memory that is short, and the knobs of the system turned at
 * random. Not a test that runs by itself: it takes as long as it is told to.
 *
 * Rounds of about a minute, the LRU another in each. At the end of each all
 * memory of the private nodes must be free again. STRESS_SECONDS (60) is for
 * how long, STRESS_SEED the seed (0: by the clock), STRESS_OPS a file to which
 * the last operations of each process are written every few seconds, for the
 * case that the kernel does not survive. A seed repeats what each process
 * does, not how it is interleaved with the others.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "pn_util.h"
#include "stress.h"

#define ROUND_SECONDS	60
#define CHECK_SECONDS	5
#define LRU_GEN		"/sys/kernel/mm/lru_gen/enabled"
#define ROOM		(320 * MIB)	/* public memory that the pool leaves */
#define LEAK		(64 * MIB)

const struct st_worker st_workers[ST_WORKERS] = {
	{ "filler", ST_CAPABLE, false, true },
	{ "capable-1", ST_CAPABLE, false, false },
	{ "capable-2", ST_CAPABLE, true, false },
	{ "capable-3", ST_CAPABLE, true, false },
	{ "granted-1", ST_GRANTED, false, false },
	{ "granted-2", ST_GRANTED, true, false },
	{ "denied", ST_DENIED, false, false },
};

struct st_shared *st;
struct st_slot *st_me;
unsigned long st_privs, st_migrate, st_reclaim, st_publics;
unsigned long st_pages[PN_MAXNODE];

/* Each node's share of the counters when the round began */
static long allocations[PN_MAXNODE], counted[PN_MAXNODE];
static long first_used = -1;

int st_rand_node(unsigned long mask)
{
	int n = pn_rand(__builtin_popcountl(mask));

	while (n--)
		mask &= mask - 1;
	return __builtin_ctzl(mask);
}

void st_op(const char *fmt, ...)
{
	char *text = st_me->ring[st_me->head % ST_RING];
	va_list args;
	int n = snprintf(text, ST_TEXT, "%.3f ", pn_now() - st->start);

	va_start(args, fmt);
	vsnprintf(text + n, ST_TEXT - n, fmt, args);
	va_end(args);
	st_me->head++;
}

void st_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	if (!__atomic_exchange_n(&st_me->failed, 1, __ATOMIC_SEQ_CST))
		vsnprintf(st_me->why, sizeof(st_me->why), fmt, args);
	va_end(args);
	_exit(1);
}

static const char *slot_name(int i)
{
	return i < ST_WORKERS ? st_workers[i].name : i == ST_CHAOS ? "knobs" : "ballast";
}

static void show_slot_ops(FILE *file, const char *mark, int i)
{
	struct st_slot *slot = &st->slot[i];
	unsigned int n = slot->head, from = n > ST_RING ? n - ST_RING : 0;

	fprintf(file, "%s%s, the last of %lu operations, %.3f:\n", mark, slot_name(i),
		slot->ops, pn_now() - st->start);
	for (; from < n; from++)
		fprintf(file, "%s  %.*s\n", mark, ST_TEXT, slot->ring[from % ST_RING]);
	if (slot->doing)
		fprintf(file, "%s  now %s\n", mark, slot->doing);
}

/* Those that failed at the end, where one looks first */
static void show_ops(FILE *file, const char *mark)
{
	int i;

	for (i = 0; i < ST_SLOTS; i++)
		if (!st->slot[i].failed)
			show_slot_ops(file, mark, i);
	for (i = 0; i < ST_SLOTS; i++)
		if (st->slot[i].failed)
			show_slot_ops(file, mark, i);
}

static void keep_ops(void)
{
	const char *path = getenv("STRESS_OPS");
	FILE *file = path ? fopen(path, "we") : NULL;

	if (!file)
		return;
	show_ops(file, "");
	fclose(file);
}

static int put(const char *dir, const char *name, const char *text)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return pn_write_file(path, text);
}

static bool has_cap(int nid, const char *cap)
{
	char path[128], text[256], *word, *rest = text;

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/capabilities", nid);
	if (pn_read_file(path, text, sizeof(text)))
		return false;
	while ((word = strsep(&rest, ",\n")))
		if (!strcmp(word, cap))
			return true;
	return false;
}

static int setup(void)
{
	int nid;

	st_privs = pn_node_mask("has_private_memory");
	if (pn_forced())
		st_privs = NODE_BIT(pn_private_node());
	st_publics = pn_public_nodes();
	for (nid = 0; nid < PN_MAXNODE; nid++) {
		if (!(st_privs & NODE_BIT(nid)))
			continue;
		st_migrate |= has_cap(nid, "migrate") ? NODE_BIT(nid) : 0;
		st_reclaim |= has_cap(nid, "reclaim") ? NODE_BIT(nid) : 0;
		if (pn_start_empty(nid))
			return -1;
	}
	mkdir(ST_CGROUPS, 0755);
	if (mount("pn", ST_CGROUPS, "cgroup2", 0, NULL)) {
		pn_note("cannot mount cgroup2: %s", strerror(errno));
		return -1;
	}
	st = mmap(NULL, sizeof(*st), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (st == MAP_FAILED)
		return -1;
	st_restore();
	for (nid = 0; nid < PN_MAXNODE; nid++) {
		struct pn_zones zones;

		if (!(st_privs & NODE_BIT(nid)))
			continue;
		if (pn_zones(nid, &zones))
			return -1;
		st_pages[nid] = zones.managed;
	}
	return 0;
}

static int groups_on(void)
{
	char nodes[64] = "";
	const char *name;
	int nid, len = 0;

	for (nid = 0; nid < PN_MAXNODE; nid++)
		if (st_privs & NODE_BIT(nid))
			len += snprintf(nodes + len, sizeof(nodes) - len, "%s%d",
					len ? "," : "", nid);
	put(ST_CGROUPS, "cgroup.subtree_control", "+memory");
	put(ST_CGROUPS, "cgroup.subtree_control", "+cpuset");
	if (mkdir(ST_TOP, 0755) || put(ST_TOP, "cgroup.subtree_control", "+memory") ||
	    put(ST_TOP, "cgroup.subtree_control", "+cpuset"))
		return -1;
	for (name = "abcd"; *name; name++) {
		char dir[128];

		snprintf(dir, sizeof(dir), ST_TOP "/%c", *name);
		if (mkdir(dir, 0755))
			return -1;
	}
	if (pn_forced())
		return 0;
	return put(ST_TOP, "cpuset.mems.private", nodes) ||
	       put(ST_TOP "/c", "cpuset.mems.private", "none") ? -1 : 0;
}

static int groups_off(void)
{
	int tries = 100, ret = 0;

	put(ST_TOP, "cgroup.kill", "1");
	while (tries-- && (rmdir(ST_TOP "/a") & rmdir(ST_TOP "/b") & rmdir(ST_TOP "/c") &
			  rmdir(ST_TOP "/d")) &&
	       errno == EBUSY)
		poll(NULL, 0, 50);
	ret = rmdir(ST_TOP);
	if (ret)
		pn_note("a cgroup is still in use: %s", strerror(errno));
	return ret;
}

/* Public memory is short: the pool has the rest. */
static void take_pool(bool take)
{
	int nid, n = __builtin_popcountl(st_publics);

	for (nid = 0; nid < PN_MAXNODE; nid++) {
		struct pn_zones zones;
		char path[128], text[32];
		long pages = 0;

		if (!(st_publics & NODE_BIT(nid)) || pn_zones(nid, &zones))
			continue;
		if (take)
			pages = (long)(zones.free * pn_page_size() / (2 * MIB)) -
				(long)(ROOM / n / (2 * MIB));
		snprintf(path, sizeof(path),
			 PN_NODE_DIR "/node%d/hugepages/hugepages-2048kB/nr_hugepages", nid);
		snprintf(text, sizeof(text), "%ld", pages > 0 ? pages : 0);
		pn_write_file(path, text);
	}
}

static void launch(int i, uint64_t seed)
{
	struct st_slot *slot = &st->slot[i];
	const char *group = NULL;
	int ret;

	/* No limit there: they would spend their time with it */
	if (i == ST_BALLAST || (i < ST_WORKERS && st_workers[i].fills))
		group = ST_TOP "/d";
	else if (i < ST_WORKERS)
		group = st_workers[i].right == ST_DENIED ? ST_TOP "/c" : ST_TOP "/a";

	memset(slot, 0, sizeof(*slot));
	fflush(NULL);
	slot->pid = fork();
	if (slot->pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	slot->pid = getpid();
	st_me = slot;
	pn_seed(seed + i);
	if (group && put(group, "cgroup.procs", "0"))
		st_fail("cannot enter %s: %s", group, strerror(errno));
	pn_write_file("/proc/self/oom_score_adj", i == ST_BALLAST ? "1000" : "-1000");
	if (i < ST_WORKERS && st_workers[i].right != ST_CAPABLE && pn_drop_cap(CAP_SYS_NICE))
		st_fail("cannot drop CAP_SYS_NICE: %s", strerror(errno));
	if (i == ST_CHAOS)
		ret = st_chaos();
	else
		ret = i == ST_BALLAST ? st_ballast() : st_work(&st_workers[i]);
	_exit(ret);
}

/* Only memory of processes, and of files in memory, is on private nodes. */
static int check_kinds(void)
{
	int nid;

	for (nid = 0; nid < PN_MAXNODE; nid++) {
		struct pn_kinds kinds;
		int tries = 3;
		bool bad;

		if (!(st_privs & NODE_BIT(nid)))
			continue;
		do {
			if (pn_new_kinds(nid, &kinds))
				return 0;	/* its memory is offline at the moment */
			bad = kinds.slab > 0 || kinds.pgtable > 0 || kinds.hugetlb > 0 ||
			      kinds.file > 0;
		} while (bad && --tries);
		if (!bad)
			continue;
		pn_note("node %d: slab %ld page tables %ld hugetlb %ld files %ld", nid,
			kinds.slab, kinds.pgtable, kinds.hugetlb, kinds.file);
		return -1;
	}
	return 0;
}

static int failures(void)
{
	int i, n = 0;

	for (i = 0; i < ST_SLOTS; i++)
		n += st->slot[i].failed;
	return n;
}

/* Processes that ended; the ballast may, by the OOM killer, and is begun anew. */
static int reap(uint64_t seed, bool ending)
{
	static unsigned int times;
	int status, i;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (i = 0; i < ST_SLOTS && st->slot[i].pid != pid; i++)
			;
		if (i == ST_SLOTS)
			continue;
		st->slot[i].pid = 0;
		if (i == ST_BALLAST && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
			if (!ending)
				launch(i, seed + ++times * 1000);
			continue;
		}
		if (ending && !status)
			continue;
		if (!st->slot[i].failed) {
			snprintf(st->slot[i].why, sizeof(st->slot[i].why),
				 "ended with status %#x", status);
			st->slot[i].failed = 1;
		}
	}
	return failures();
}

static bool all_ended(void)
{
	int i;

	for (i = 0; i < ST_SLOTS; i++)
		if (st->slot[i].pid)
			return false;
	return true;
}

static int check_counters(int nid)
{
	static const char * const names[] = {
		"nr_inactive_anon", "nr_active_anon", "nr_inactive_file", "nr_active_file",
		"nr_unevictable", "nr_isolated_anon", "nr_isolated_file", "nr_anon_pages",
		"nr_mapped", "nr_file_pages", "nr_shmem", "nr_anon_transparent_hugepages",
		"nr_shmem_hugepages", "nr_slab_reclaimable", "nr_slab_unreclaimable",
		"nr_page_table_pages", "nr_kernel_stack", "nr_swapcached", "nr_mlock",
		"nr_dirty", "nr_writeback",
	};
	char path[128];
	int bad = 0;
	size_t i;
	long n;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		n = pn_node_vmstat(nid, names[i]);
		if (n <= 0)
			continue;
		pn_note("node %d is empty, but its %s is %ld", nid, names[i], n);
		bad = 1;
	}
	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/allocations", nid);
	n = pn_read_long(path) - counted[nid];
	if (n != pn_allocations(nid) - allocations[nid]) {
		pn_note("node %d: %ld private allocations, but %ld in numastat", nid, n,
			pn_allocations(nid) - allocations[nid]);
		bad = 1;
	}
	return bad;
}

static void begin_counters(void)
{
	char path[128];
	int nid;

	for (nid = 0; nid < PN_MAXNODE; nid++) {
		if (!(st_privs & NODE_BIT(nid)))
			continue;
		snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private/allocations", nid);
		allocations[nid] = pn_allocations(nid);
		counted[nid] = pn_read_long(path);
	}
}

/* What processes have on a node, ourselves among them */
static void show_processes(int nid)
{
	char path[64], line[4096], name[64], want[16];
	struct dirent *entry;
	DIR *proc = opendir("/proc");
	FILE *maps;
	int pid;

	snprintf(want, sizeof(want), " N%d=", nid);
	while (proc && (entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		if (pid < 1 || pn_read_line(path, name, sizeof(name)))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/numa_maps", pid);
		maps = fopen(path, "re");
		while (maps && fgets(line, sizeof(line), maps))
			if (strstr(line, want))
				pn_note("  %s (%d): %.120s", name, pid, line);
		if (maps)
			fclose(maps);
	}
	if (proc)
		closedir(proc);
}

/* All have gone: what is left? */
static int check_end(void)
{
	unsigned long privs = pn_forced() ? 0 : pn_node_mask("has_private_memory");
	long used = 0, kept;
	int nid, bad = 0;

	if (!pn_forced() && privs != st_privs) {
		pn_note("private nodes are %#lx now, were %#lx", privs, st_privs);
		bad = 1;
	}
	put("/proc/sys/vm", "drop_caches", "3");
	for (nid = 0; nid < PN_MAXNODE; nid++) {
		if (st_publics & NODE_BIT(nid))
			used += pn_used(nid);
		if (!(st_privs & NODE_BIT(nid)))
			continue;
		if (pn_wait_empty(nid)) {
			show_processes(nid);
			bad = 1;
		} else if (!pn_forced()) {
			bad |= check_counters(nid);
		}
	}
	kept = (used - first_used) * pn_page_size();
	/* What the first round leaves in caches is there in all of them. */
	if (first_used < 0)
		first_used = used;
	else if (kept > (long)LEAK)
		bad = 1;
	pn_note("  %ld MiB of public memory in use%s", used * pn_page_size() / (long)MIB,
		kept > (long)LEAK && first_used != used ? ": that is more and more" : "");
	return bad;
}

static void progress(double now)
{
	unsigned long ops = 0, signals = 0;
	int i;

	for (i = 0; i < ST_SLOTS; i++) {
		ops += st->slot[i].ops;
		signals += st->slot[i].signals;
	}
	pn_note("  %3.0f s: %lu operations, %lu signals, %ld MiB in swap", now, ops, signals,
		(pn_meminfo(-1, "SwapTotal") - pn_meminfo(-1, "SwapFree")) / 1024);
}

/* The end of a round, with everything as it was. 0 if all is well. */
static int finish(uint64_t seed)
{
	char path[64], text[4096];
	double end;
	int i, tries, bad = 0;

	st->stop = 1;
	end = pn_now() + pn_slow(30);
	while (!all_ended() && pn_now() < end) {
		reap(seed, true);
		poll(NULL, 0, 50);
	}
	for (i = 0; i < ST_SLOTS; i++) {
		if (!st->slot[i].pid)
			continue;
		pn_note("%s does not come to its end", slot_name(i));
		/* Where it is */
		snprintf(path, sizeof(path), "/proc/%d/stack", st->slot[i].pid);
		if (!pn_read_file(path, text, sizeof(text)))
			fprintf(stderr, "%s", text);
		/* Or, if it runs, what all CPUs do: in the kernel log, for a while */
		for (tries = 0; tries < 3; tries++) {
			pn_write_file("/proc/sysrq-trigger", "l");
			poll(NULL, 0, 300);
		}
		kill(st->slot[i].pid, SIGKILL);
		bad = 1;
	}
	while (!all_ended() && pn_now() < end + 20) {
		reap(seed, true);
		poll(NULL, 0, 50);
	}
	if (bad || failures())
		show_ops(stderr, "# ");
	for (i = 0; i < ST_SLOTS; i++)
		if (st->slot[i].failed) {
			pn_note("%s: %s", slot_name(i), st->slot[i].why);
			bad = 1;
		}
	keep_ops();
	take_pool(false);
	st_restore();
	if (st_swap_off()) {
		pn_note("swap does not go off: %s", strerror(errno));
		bad = 1;
	}
	return bad | !!groups_off() | check_end();
}

static int run_round(uint64_t seed, double seconds, bool lru_gen)
{
	double start = pn_now(), next = start + CHECK_SECONDS;
	int i, checks = 0, bad = 0;

	memset(st, 0, sizeof(*st));
	st->start = start;
	pn_write_file(LRU_GEN, lru_gen ? "7" : "0");
	begin_counters();
	if (groups_on() || st_swap_on()) {
		pn_note("cannot set up cgroups or swap: %s", strerror(errno));
		bad = 1;
	}
	take_pool(true);
	for (i = 0; i < ST_SLOTS && !bad; i++)
		launch(i, seed);
	while (!bad && pn_now() < start + seconds) {
		poll(NULL, 0, 100);
		bad = !!reap(seed, false);
		if (pn_now() < next)
			continue;
		bad |= check_kinds();
		keep_ops();
		if (!(++checks % 4))
			progress(pn_now() - start);
		next = pn_now() + CHECK_SECONDS;
	}
	progress(pn_now() - start);
	return finish(seed) || bad;
}

int main(void)
{
	double left = getenv("STRESS_SECONDS") ? atof(getenv("STRESS_SECONDS")) : 60;
	uint64_t seed = getenv("STRESS_SEED") ? strtoull(getenv("STRESS_SEED"), NULL, 0) : 0;
	double begin = pn_now();
	int i = 0, failed;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	if (pn_private_node() < 0) {
		printf("1..0 # SKIP no private node: boot with private_node=<nid>\n");
		return 4;
	}
	if (!seed)
		seed = time(NULL);
	if (setup()) {
		printf("Bail out! cannot begin\n");
		return 1;
	}
	pn_note("seed %llu, private nodes %#lx, with migrate %#lx, with reclaim %#lx",
		(unsigned long long)seed, st_privs, st_migrate, st_reclaim);
	/* On a slow machine a round takes longer than it should: fewer of them. */
	do {
		bool lru_gen = ++i % 2 == 0;

		failed = run_round(pn_mix(seed) + pn_mix(i),
				   left < ROUND_SECONDS ? left : ROUND_SECONDS, lru_gen);
		printf("%s %d - round %d, seed %llu, lru_gen %s\n", failed ? "not ok" : "ok", i, i,
		       (unsigned long long)seed, lru_gen ? "on" : "off");
	} while (!failed && pn_now() - begin < left);
	printf("1..%d\n", i);
	return failed;
}
