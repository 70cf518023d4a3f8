// SPDX-License-Identifier: GPL-2.0
/*
 * Want of memory at each step from a dax device to a private node and back. The
 * first allocation of the step fails, then the second one, and so on until
 * there are no more. Each time either the step fails and leaves nothing behind,
 * and works at the next attempt; or it can do without, and the node is whole.
 *
 * The faults are injected into the task that writes to sysfs, which does all
 * this itself. Not covered is what others do for it: kthreadd, which makes
 * kswapd and kcompactd; the workqueue that tells cpusets; udev. Neither is a
 * device whose memory goes online while it is bound to kmem: where the driver
 * core wants memory after that, it takes the device from kmem again, which
 * cannot take back memory that is online, for private nodes as for others. So
 * the memory is added first, and goes online by the file "state" of the device
 * or by those of its memory blocks.
 *
 * Needs a kernel with fault injection, and what dax.c needs.
 *
 * Environment: PN_INJECT_TRACE=1 logs a stack for each fault. On a slow machine
 * (KSFT_MACHINE_SLOW) only a sample of the allocations fails where many are made.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "pn_dax.h"
#include "pn_util.h"
#include "kselftest_harness.h"

#define KMEM		"/sys/bus/dax/drivers/kmem/"
#define MEMORY		"/sys/devices/system/memory/"
#define FAIL_NTH	"/proc/thread-self/fail-nth"
#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/"

/* Two memory blocks, so that something can go wrong in between */
#define REGION		"-s 256M"
#define MAX_FAULTS	5000
#define USED		(2 * MIB)

/* What is written for faults to be made */
static const struct {
	const char *path, *value;
} knobs[] = {
	{ FAILSLAB "ignore-gfp-wait", "N" },
	{ FAILSLAB "verbose_ratelimit_interval_ms", "0" },
	{ FAILSLAB "verbose", "0" },
	{ FAIL_PAGES "ignore-gfp-wait", "N" },
	{ FAIL_PAGES "ignore-gfp-highmem", "N" },
	{ FAIL_PAGES "min-order", "0" },
	{ FAIL_PAGES "verbose_ratelimit_interval_ms", "0" },
	{ FAIL_PAGES "verbose", "0" },
};

static char saved_knobs[ARRAY_SIZE(knobs)][32];

/* The errors that a step may fail with for want of memory */
#define NOMEM		(1ULL << ENOMEM)
/*
 * To add memory: as no memory for a resource looks to those who asked for the
 * range, kmem and memory hotplug.
 */
#define NO_RESOURCE	(1ULL << EBUSY | 1ULL << EEXIST)
/* To bring it online: as what notifiers refuse looks, KASAN's for its shadow */
#define REFUSED		(1ULL << EPERM)

/* Something that is written to sysfs, and what takes it back */
struct step {
	const char *name;
	const char *path, *text;
	const char *undo_path, *undo_text;
	unsigned long long errors;
	/* How many faults there are to be at least */
	int faults;
	/* Memory is added: see sweep() */
	bool adds;
};

/* What can be seen of the node, and of the machine as a whole */
struct state {
	/* What must be the same whenever the step is done */
	char *node;
	/* Names of files: what is missing for want of memory changes these only */
	char *files;
};

FIXTURE(inject)
{
	bool possible;
	int nid;
	int nth;
	unsigned long nr_blocks;
	char blocks[8][80];
	const char *caps;
	struct state empty;
};

static int read_word(const char *path, char *buf, size_t size)
{
	if (!pn_read_line(path, buf, size))
		return 0;
	snprintf(buf, size, "-");
	return -1;
}

static void add_file(FILE *out, const char *path)
{
	char text[200];

	read_word(path, text, sizeof(text));
	fprintf(out, "%s: %s\n", path, text);
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void add_names(FILE *out, const char *folder)
{
	struct dirent **names;
	int i, n = scandir(folder, &names, visible, alphasort);

	for (i = 0; i < n; i++) {
		char path[300];

		snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
		fprintf(out, "%s\n", path);
		if (names[i]->d_type == DT_DIR)
			add_names(out, path);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static void forget(struct state *state)
{
	free(state->node);
	free(state->files);
}

static void look(FIXTURE_DATA(inject) *self, struct state *state)
{
	static const char * const files[] = {
		PN_NODE_DIR "/online", PN_NODE_DIR "/has_memory",
		PN_NODE_DIR "/has_normal_memory", PN_NODE_DIR "/has_private_memory",
		PN_DAX "private", PN_DAX "state",
	};
	struct pn_zones zones;
	char text[16384];
	unsigned long i;
	size_t size;
	FILE *out;

	out = open_memstream(&state->node, &size);
	for (i = 0; i < ARRAY_SIZE(files); i++)
		add_file(out, files[i]);
	snprintf(text, sizeof(text), PN_NODE_DIR "/node%d/private/owner", self->nid);
	add_file(out, text);
	snprintf(text, sizeof(text), PN_NODE_DIR "/node%d/private/capabilities", self->nid);
	add_file(out, text);
	for (i = 0; i < self->nr_blocks; i++)
		add_file(out, self->blocks[i]);
	fprintf(out, "driver: %d\n", !access(PN_DAX "driver", F_OK));
	fprintf(out, "MemTotal: %ld\n", pn_meminfo(-1, "MemTotal"));
	pn_zones(self->nid, &zones);
	fprintf(out, "zones: %lu present, %lu managed, %#lx-%#lx\n", zones.present,
		zones.managed, zones.start_pfn, zones.end_pfn);
	if (!pn_read_file("/proc/iomem", text, sizeof(text)))
		fputs(text, out);
	fclose(out);

	out = open_memstream(&state->files, &size);
	add_names(out, "/sys/devices/system/memory");
	add_names(out, PN_NODE_DIR);
	add_names(out, PN_DAX);
	fclose(out);
}

/* Show the first line that makes a difference. */
static bool same_text(const char *is, const char *shall_be)
{
	while (*is && *shall_be) {
		size_t n = strcspn(is, "\n"), m = strcspn(shall_be, "\n");

		if (n != m || strncmp(is, shall_be, n))
			break;
		is += n + !!is[n];
		shall_be += m + !!shall_be[m];
	}
	if (!*is && !*shall_be)
		return true;
	pn_note("  is:       %.*s", (int)strcspn(is, "\n"), is);
	pn_note("  shall be: %.*s", (int)strcspn(shall_be, "\n"), shall_be);
	return false;
}

static bool same(FIXTURE_DATA(inject) *self, const struct state *shall_be, bool files)
{
	struct state is;
	bool ret;

	look(self, &is);
	ret = same_text(is.node, shall_be->node) &&
	      (!files || same_text(is.files, shall_be->files));
	forget(&is);
	return ret;
}

/* Memory blocks that are not in this state, into it. False with an errno. */
static bool all_blocks(FIXTURE_DATA(inject) *self, const char *wanted)
{
	unsigned long i;
	char now[20];

	for (i = 0; i < self->nr_blocks; i++) {
		if (read_word(self->blocks[i], now, sizeof(now)) ||
		    (strcmp(now, wanted) && pn_write_file(self->blocks[i], wanted)))
			return false;
	}
	return true;
}

/*
 * The node as it should be, whoever asks: with all of its memory online, it is
 * private, those who name it get memory from it, and nobody else has. Then the
 * memory blocks are what they were before.
 */
static bool works(FIXTURE_DATA(inject) *self)
{
	unsigned long mask = NODE_BIT(self->nid), i;
	char states[ARRAY_SIZE(self->blocks)][20];
	bool ret = false;
	char *p;

	for (i = 0; i < self->nr_blocks; i++)
		read_word(self->blocks[i], states[i], sizeof(states[i]));
	if (!all_blocks(self, "online")) {
		pn_note("  its memory does not go online: %s", strerror(errno));
		return false;
	}
	p = pn_map_bound(USED, MPOL_BIND | MPOL_F_PRIVATE, mask);
	if (!p)
		pn_note("  no policy for node %d: %s", self->nid, strerror(errno));
	else if (pn_touch(p, USED, pn_page_size(), NULL) != USED)
		pn_note("  no memory from node %d", self->nid);
	else if (pn_on_node(p, USED, self->nid) != (long)USED / pn_page_size())
		pn_note("  memory from elsewhere");
	else if (pn_node_mask("has_private_memory") != mask ||
		 pn_node_mask("has_memory") & mask)
		pn_note("  node %d is not private", self->nid);
	else
		ret = true;
	if (p)
		munmap(p, USED);
	if (pn_wait_empty(self->nid))
		ret = false;
	for (i = 0; i < self->nr_blocks; i++)
		if (strcmp(states[i], "online") && pn_write_file(self->blocks[i], states[i])) {
			pn_note("  %s %s: %s", self->blocks[i], states[i], strerror(errno));
			ret = false;
		}
	return ret;
}

/*
 * Write with the nth allocation failing. Returns 0 or the error; what is left
 * of nth is 0 if there were so many of them.
 */
static int write_failing(FIXTURE_DATA(inject) *self, const struct step *step,
			 unsigned int nth, unsigned int *left)
{
	/* All but the write itself beforehand */
	int len, err, fd = open(step->path, O_WRONLY | O_CLOEXEC);
	ssize_t n, size = strlen(step->text);
	char number[20];

	if (fd < 0)
		return errno;
	len = snprintf(number, sizeof(number), "%u", nth);
	if (pwrite(self->nth, number, len, 0) != len) {
		err = errno;
		close(fd);
		return err;
	}
	n = write(fd, step->text, size);
	err = errno;
	memset(number, 0, sizeof(number));
	if (pread(self->nth, number, sizeof(number) - 1, 0) < 1 ||
	    pwrite(self->nth, "0", 1, 0) != 1) {
		n = -1;
		err = EIO;
	}
	*left = atoi(number);
	close(fd);
	return n == size ? 0 : err;
}

/* Is there a thread of the kernel for the node? */
static bool has_thread(int nid, const char *name)
{
	char path[300], comm[40], wanted[40];
	const struct dirent *entry;
	DIR *proc = opendir("/proc");
	bool ret = false;

	snprintf(wanted, sizeof(wanted), "%s%d", name, nid);
	while (proc && !ret && (entry = readdir(proc))) {
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		ret = atoi(entry->d_name) && !read_word(path, comm, sizeof(comm)) &&
		      !strcmp(comm, wanted);
	}
	if (proc)
		closedir(proc);
	return ret;
}

static int do_step(const struct step *step)
{
	return pn_write_file(step->path, step->text) ? errno : 0;
}

static int undo_step(const struct step *step)
{
	return pn_write_file(step->undo_path, step->undo_text) ? errno : 0;
}

/*
 * A claim to a node without memory cannot be seen, but it keeps others from
 * the node. It has to go together with the memory: the node can be public.
 */
static bool unclaimed(FIXTURE_DATA(inject) *self)
{
	bool bound = !access(PN_DAX "driver", F_OK), ret = false;
	char path[80];

	snprintf(path, sizeof(path), PN_NODE_DIR "/node%d/private", self->nid);
	if (bound)
		pn_write_file(KMEM "unbind", "dax0.0");
	if (pn_write_file(PN_DAX "private", "0"))
		pn_note("  private 0: %s", strerror(errno));
	else if (pn_write_file(KMEM "bind", "dax0.0"))
		pn_note("  node %d cannot be public: %s", self->nid, strerror(errno));
	else if (!access(path, F_OK))
		pn_note("  node %d is still private", self->nid);
	else
		ret = true;
	pn_write_file(KMEM "unbind", "dax0.0");
	if (pn_write_file(PN_DAX "private", self->caps) ||
	    (bound && (pn_write_file(KMEM "bind", "dax0.0") ||
		       pn_write_file(PN_DAX "state", "unplugged")))) {
		pn_note("  the device is not what it was: %s", strerror(errno));
		ret = false;
	}
	return ret;
}

/* The step is done: the node as after doing it without a fault, and back. */
static bool check_done(FIXTURE_DATA(inject) *self, const struct step *step,
		       const struct state *before, const struct state *after, bool use)
{
	int err;

	/* What cannot be brought online is left to others, as ever */
	if (step->adds && strstr(after->node, ": online\n") && !all_blocks(self, "online")) {
		pn_note("  memory does not go online: %s", strerror(errno));
		return false;
	}
	if (!same(self, after, false))
		return false;
	if (use && strstr(after->node, "owner: dax/kmem") && !works(self))
		return false;
	err = undo_step(step);
	if (err) {
		pn_note("  cannot be undone: %s", strerror(err));
		return false;
	}
	return same(self, before, true);
}

/* The step has failed: with an error that it may have, and nothing is left. */
static bool check_failed(FIXTURE_DATA(inject) *self, const struct step *step,
			 const struct state *before, int err)
{
	if (err >= 64 || !(step->errors & 1ULL << err)) {
		pn_note("  an error that is not expected");
		return false;
	}
	return same(self, before, true);
}

/*
 * What is made once and kept for the next time may be missing, too: without a
 * success in between, up to the first one. That shows something only while the
 * node has never been private. Returns the number of faults, or -1, explained.
 */
static int first_sweep(FIXTURE_DATA(inject) *self, const struct step *step,
		       const struct state *before)
{
	unsigned int left;
	int nth, err;

	for (nth = 1; nth < MAX_FAULTS; nth++) {
		err = write_failing(self, step, nth, &left);
		if (!err)
			break;
		if (left || !check_failed(self, step, before, err)) {
			pn_note("%s for the first time, fault %d, %s: as above", step->name, nth,
				strerror(err));
			return -1;
		}
	}
	if (!err && step->adds && !works(self)) {
		pn_note("%s for the first time, fault %d: as above", step->name, nth);
		return -1;
	}
	err = undo_step(step);
	if (err || !same(self, before, true)) {
		pn_note("%s for the first time, undone: %s", step->name, strerror(err));
		return -1;
	}
	return left ? nth - 1 : nth;
}

/*
 * A step with one fault after the other. All is as it was before the first one
 * in the end. Returns the number of faults, or -1, explained.
 */
static int sweep(FIXTURE_DATA(inject) *self, const struct step *step)
{
	/* A sample, on machines where each of so many takes seconds */
	int every = step->adds && pn_is_slow() ? 7 : 1;
	int nth, err, first, failed = 0, survived = 0, errors[64] = { 0 };
	struct state before, after = { 0 };
	bool good = false;
	unsigned int left;

	/*
	 * Memory is added to the direct mapping of the kernel, and x86 takes it
	 * for granted that it gets pages for page tables: phys_pud_init() would
	 * fall over a NULL pointer. All larger allocations and all those of
	 * slabs may fail.
	 */
	if (pn_write_file(FAIL_PAGES "min-order", step->adds ? "1" : "0"))
		return -1;

	look(self, &before);
	first = first_sweep(self, step, &before);
	if (first < 0)
		goto out;
	err = do_step(step);
	if (err) {
		pn_note("%s: %s, without a fault", step->name, strerror(err));
		goto out;
	}
	look(self, &after);
	if (!strcmp(before.node, after.node)) {
		pn_note("%s does nothing", step->name);
		goto out;
	}
	if (!check_done(self, step, &before, &after, true)) {
		pn_note("%s: as above, without a fault", step->name);
		goto out;
	}

	for (nth = 1; nth < MAX_FAULTS; nth += every) {
		err = write_failing(self, step, nth, &left);
		if (left) {
			/* There are not so many allocations */
			good = !err && check_done(self, step, &before, &after, true);
			if (!good)
				pn_note("%s, no fault %d: %s", step->name, nth, strerror(err));
			break;
		}
		if (!err) {
			survived++;
			if (check_done(self, step, &before, &after, true))
				continue;
			pn_note("%s, fault %d, without an error: as above", step->name, nth);
			goto out;
		}
		failed++;
		errors[err & 63]++;
		if (!check_failed(self, step, &before, err) ||
		    (step->adds && (!unclaimed(self) || !same(self, &before, true)))) {
			pn_note("%s, fault %d, %s: as above", step->name, nth, strerror(err));
			goto out;
		}
		err = do_step(step);
		if (err || !check_done(self, step, &before, &after, false)) {
			pn_note("%s, once more after fault %d: %s", step->name, nth, strerror(err));
			goto out;
		}
	}
	pn_note("%s: %d and %d faults, %d without an error", step->name, first,
		failed + survived, survived);
	for (err = 0; err < 64; err++)
		if (errors[err])
			pn_note("  %d %s", errors[err], strerror(err));
	if (failed + survived < step->faults / every) {
		pn_note("%s: expected %d faults at least", step->name, step->faults / every);
		good = false;
	}
out:
	forget(&before);
	forget(&after);
	return good ? failed + survived : -1;
}

FIXTURE_VARIANT(inject)
{
	const char *caps;
};

/* In ZONE_MOVABLE, and none of the threads that belong to a node */
FIXTURE_VARIANT_ADD(inject, bare)
{
	.caps = "1",
};

/* In a kernel zone, with a kswapd and a kcompactd */
FIXTURE_VARIANT_ADD(inject, open)
{
	.caps = "reclaim,compaction,pin",
};

/* From whatever has become of it */
static void release_memory(FIXTURE_DATA(inject) *self)
{
	pn_write_file(PN_DAX "state", "unplugged");
	pn_write_file(KMEM "unbind", "dax0.0");
	pn_write_file(PN_DAX "private", "0");
}

FIXTURE_SETUP(inject)
{
	unsigned long i, start, size, block;
	char text[32];

	if (access(FAIL_NTH, W_OK) || access(FAILSLAB, F_OK) || access(FAIL_PAGES, F_OK))
		SKIP(return, "a kernel without failslab, fail_page_alloc and their debugfs files");
	if (!pn_dax_possible())
		SKIP(return, "no CXL memory device, or no cxl and daxctl");
	self->possible = true;
	self->caps = variant->caps;
	self->nid = pn_dax_create(REGION);
	ASSERT_LE(0, self->nid);

	ASSERT_EQ(0, pn_read_file(PN_DAX "resource", text, sizeof(text)));
	start = strtoul(text, NULL, 0);
	size = pn_read_long(PN_DAX "size");
	ASSERT_EQ(0, pn_read_file(MEMORY "block_size_bytes", text, sizeof(text)));
	block = strtoul(text, NULL, 16);
	self->nr_blocks = size / block;
	ASSERT_LE(2, self->nr_blocks);
	ASSERT_GE(ARRAY_SIZE(self->blocks), self->nr_blocks);
	for (i = 0; i < self->nr_blocks; i++)
		snprintf(self->blocks[i], sizeof(self->blocks[i]), MEMORY "memory%lu/state",
			 start / block + i);

	self->nth = open(FAIL_NTH, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->nth);
	for (i = 0; i < ARRAY_SIZE(knobs); i++) {
		ASSERT_EQ(0, read_word(knobs[i].path, saved_knobs[i], sizeof(saved_knobs[i])));
		if (getenv("PN_INJECT_TRACE") && strstr(knobs[i].path, "/verbose") &&
		    !strstr(knobs[i].path, "ratelimit"))
			continue;
		ASSERT_EQ(0, pn_write_file(knobs[i].path, knobs[i].value));
	}

	/* kmem has taken it */
	release_memory(self);
	look(self, &self->empty);
	ASSERT_EQ(0, pn_write_file(PN_DAX "private", variant->caps));
}

FIXTURE_TEARDOWN(inject)
{
	unsigned long i;

	if (!self->possible)
		return;
	for (i = 0; i < ARRAY_SIZE(knobs); i++)
		EXPECT_EQ(0, pn_write_file(knobs[i].path, saved_knobs[i]));
	release_memory(self);
	EXPECT_TRUE(unclaimed(self));
	EXPECT_EQ(0, pn_write_file(PN_DAX "private", "0"));
	EXPECT_TRUE(same(self, &self->empty, true));
	EXPECT_FALSE(has_thread(self->nid, "kswapd"));
	EXPECT_FALSE(has_thread(self->nid, "kcompactd"));
	EXPECT_EQ(0, pn_dax_destroy());
	EXPECT_EQ(0, pn_node_mask("has_private_memory"));
	EXPECT_FALSE(pn_node_mask("has_memory") & NODE_BIT(self->nid));
}

/* Row 109. The device is to become private */
TEST_F_TIMEOUT(inject, attribute, 1800)
{
	const struct step step = {
		.name = "private",
		.path = PN_DAX "private", .text = variant->caps,
		.undo_path = PN_DAX "private", .undo_text = "0",
		.errors = NOMEM,
		.faults = 1,
	};

	ASSERT_EQ(0, pn_write_file(PN_DAX "private", "0"));
	EXPECT_LT(0, sweep(self, &step));
}

/* The node is registered, and its memory added */
TEST_F_TIMEOUT(inject, bind, 1800)
{
	const struct step step = {
		.name = "bind",
		.path = KMEM "bind", .text = "dax0.0",
		.undo_path = KMEM "unbind", .undo_text = "dax0.0",
		.errors = NOMEM | NO_RESOURCE,
		.faults = 50,
		.adds = true,
	};

	EXPECT_LT(0, sweep(self, &step));
}

/* The last memory is removed, and the node is not private any more */
TEST_F_TIMEOUT(inject, unbind, 1800)
{
	const struct step step = {
		.name = "unbind",
		.path = KMEM "unbind", .text = "dax0.0",
		.undo_path = KMEM "bind", .undo_text = "dax0.0",
		.errors = NOMEM,
		.faults = 5,
	};

	ASSERT_EQ(0, pn_write_file(KMEM "bind", "dax0.0"));
	EXPECT_LT(0, sweep(self, &step));
}

/* The first memory block makes the node one with memory, the next adds to it. */
TEST_F_TIMEOUT(inject, online, 1800)
{
	struct step step = {
		.text = "online",
		.undo_text = "offline",
		.errors = NOMEM | REFUSED,
		.faults = 2,
	};
	unsigned long i;

	ASSERT_EQ(0, pn_write_file(KMEM "bind", "dax0.0"));
	for (i = 0; i < self->nr_blocks; i++) {
		step.name = i ? "online, another block" : "online, the first block";
		step.path = self->blocks[i];
		step.undo_path = self->blocks[i];
		EXPECT_LT(0, sweep(self, &step));
		ASSERT_EQ(0, do_step(&step));
	}
	EXPECT_EQ(pn_has_cap(self->nid, "reclaim"), has_thread(self->nid, "kswapd"));
	EXPECT_EQ(pn_has_cap(self->nid, "compaction"), has_thread(self->nid, "kcompactd"));
}

/* The other way round: the last one takes the state with it. */
TEST_F_TIMEOUT(inject, offline, 1800)
{
	struct step step = {
		.text = "offline",
		.undo_text = "online",
		.errors = NOMEM,
		.faults = 2,
	};
	unsigned long i;

	ASSERT_EQ(0, pn_write_file(KMEM "bind", "dax0.0"));
	ASSERT_TRUE(all_blocks(self, "online"));
	for (i = self->nr_blocks; i--; ) {
		step.name = i ? "offline, one block" : "offline, the last block";
		step.path = self->blocks[i];
		step.undo_path = self->blocks[i];
		EXPECT_LT(0, sweep(self, &step));
		ASSERT_EQ(0, do_step(&step));
	}
}

/* The node is registered, its memory added and brought online, all in one */
TEST_F_TIMEOUT(inject, plug, 1800)
{
	const struct step step = {
		.name = "plug",
		.path = PN_DAX "state", .text = "online",
		.undo_path = PN_DAX "state", .undo_text = "unplugged",
		.errors = NOMEM | NO_RESOURCE,
		.faults = 50,
		.adds = true,
	};

	ASSERT_EQ(0, pn_write_file(KMEM "bind", "dax0.0"));
	ASSERT_EQ(0, pn_write_file(PN_DAX "state", "unplugged"));
	EXPECT_LT(0, sweep(self, &step));
}

/* And all gone at once, or put back */
TEST_F_TIMEOUT(inject, unplug, 1800)
{
	const struct step step = {
		.name = "unplug",
		.path = PN_DAX "state", .text = "unplugged",
		.undo_path = PN_DAX "state", .undo_text = "online",
		.errors = NOMEM,
		.faults = 5,
	};

	ASSERT_EQ(0, pn_write_file(KMEM "bind", "dax0.0"));
	ASSERT_EQ(0, pn_write_file(PN_DAX "state", "unplugged"));
	ASSERT_EQ(0, pn_write_file(PN_DAX "state", "online"));
	EXPECT_LT(0, sweep(self, &step));
}

TEST_HARNESS_MAIN
