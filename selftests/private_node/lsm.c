// SPDX-License-Identifier: GPL-2.0
/*
 * A security module can refuse the use of a private node, on top of cgroups and
 * capabilities. The module is a program of BPF LSM, which decides by cgroup; it
 * is so short that it is written down in instructions, and needs no compiler.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/bpf.h>
#include <linux/btf.h>

#include "pn_util.h"
#include "kselftest_harness.h"

#define CGROUPS		"/tmp/pn_lsm"
#define INSIDE		CGROUPS "/inside"
#define VMLINUX_BTF	"/sys/kernel/btf/vmlinux"
#define HOOK		"bpf_lsm_private_node"
#define LEN		(16 * (size_t)pn_page_size())

static long bpf(int cmd, union bpf_attr *attr)
{
	return syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

/* How many bytes of details follow a type */
static size_t details(const struct btf_type *type)
{
	unsigned int n = BTF_INFO_VLEN(type->info);

	switch (BTF_INFO_KIND(type->info)) {
	case BTF_KIND_INT:
		return sizeof(__u32);
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_VAR:
		return sizeof(struct btf_var);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	case BTF_KIND_DECL_TAG:
		return sizeof(struct btf_decl_tag);
	default:
		return 0;
	}
}

/* The id of a function in the kernel's types, or 0 */
static unsigned int function_id(const char *name)
{
	int fd = open(VMLINUX_BTF, O_RDONLY | O_CLOEXEC);
	const struct btf_header *header;
	unsigned int id, found = 0;
	char *types, *end, *names;
	struct stat st;
	char *data;
	ssize_t n;
	size_t at;

	if (fd < 0 || fstat(fd, &st))
		return 0;
	data = malloc(st.st_size);
	for (at = 0; data && at < (size_t)st.st_size; at += n) {
		n = read(fd, data + at, st.st_size - at);
		if (n <= 0)
			return 0;
	}
	close(fd);
	if (!data)
		return 0;

	header = (void *)data;
	types = data + header->hdr_len + header->type_off;
	end = types + header->type_len;
	names = data + header->hdr_len + header->str_off;
	for (id = 1; types < end && !found; id++) {
		const struct btf_type *type = (void *)types;

		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC &&
		    !strcmp(names + type->name_off, name))
			found = id;
		types += sizeof(*type) + details(type);
	}
	free(data);
	return found;
}

#define INSN(c, d, s, o, i)						\
	((struct bpf_insn) { .code = (c), .dst_reg = (d), .src_reg = (s), \
			     .off = (o), .imm = (i) })

/*
 * Refuse those in the cgroup, or all others; leave alone what another module
 * has refused. Returns the attachment, or -1.
 */
static int attach(unsigned int id, unsigned long long cgroup, bool others)
{
	struct bpf_insn insns[] = {
		/* The result so far is behind the one argument. */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_6, BPF_REG_1, 8, 0),
		INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_current_cgroup_id),
		INSN(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, 0, 0, cgroup),
		INSN(0, 0, 0, 0, cgroup >> 32),
		INSN(BPF_JMP | (others ? BPF_JEQ : BPF_JNE) | BPF_X,
		     BPF_REG_0, BPF_REG_1, 2, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, -EACCES),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};
	static char log[16384];
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_LSM,
		.expected_attach_type = BPF_LSM_MAC,
		.insn_cnt = sizeof(insns) / sizeof(*insns),
		.insns = (unsigned long)insns,
		.license = (unsigned long)"GPL",
		.attach_btf_id = id,
		.log_level = 1,
		.log_buf = (unsigned long)log,
		.log_size = sizeof(log),
	};
	int prog = bpf(BPF_PROG_LOAD, &attr), link;

	if (prog < 0) {
		pn_note("BPF_PROG_LOAD: %s\n%s", strerror(errno), log);
		return -1;
	}
	memset(&attr, 0, sizeof(attr));
	attr.raw_tracepoint.prog_fd = prog;
	link = bpf(BPF_RAW_TRACEPOINT_OPEN, &attr);
	if (link < 0)
		pn_note("BPF_RAW_TRACEPOINT_OPEN: %s", strerror(errno));
	close(prog);
	return link;
}

FIXTURE(lsm)
{
	int priv;
	unsigned int id;
	unsigned long long cgroup;
	bool mounted;
};

FIXTURE_VARIANT(lsm)
{
	/* Refuse all others than the cgroup */
	bool others;
};

FIXTURE_VARIANT_ADD(lsm, refused_cgroup) { .others = false };
FIXTURE_VARIANT_ADD(lsm, allowed_cgroup) { .others = true };

FIXTURE_SETUP(lsm)
{
	struct stat st;

	self->priv = pn_private_node();
	if (self->priv < 0)
		SKIP(return, "no private node: boot with private_node=<nid>");
	if (access(VMLINUX_BTF, R_OK))
		SKIP(return, "a kernel without BPF LSM: see configs/extra.config");
	self->id = function_id(HOOK);
	if (!self->id)
		SKIP(return, "no hook for private nodes, or no BPF LSM");
	mkdir(CGROUPS, 0755);
	ASSERT_EQ(0, mount("pn", CGROUPS, "cgroup2", 0, NULL));
	self->mounted = true;
	ASSERT_EQ(0, mkdir(INSIDE, 0755));
	ASSERT_EQ(0, stat(INSIDE, &st));
	/* The id of a cgroup is the number of its inode. */
	self->cgroup = st.st_ino;
}

FIXTURE_TEARDOWN(lsm)
{
	if (!self->mounted)
		return;
	EXPECT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));
	EXPECT_EQ(0, rmdir(INSIDE));
	umount2(CGROUPS, MNT_DETACH);
	rmdir(CGROUPS);
	EXPECT_EQ(0, pn_wait_empty(self->priv));
}

/* 0, or the error with which the policy is refused */
static int ask(int nid)
{
	unsigned long mask = NODE_BIT(nid);
	char *p = pn_map(LEN);
	int err = 0;

	if (!p)
		return -1;
	if (pn_mbind(p, LEN, MPOL_BIND | pn_flag(), &mask, 0))
		err = errno;
	else if (pn_touch(p, LEN, pn_page_size(), NULL) != LEN ||
		 pn_node_of(p) != nid)
		err = -2;
	munmap(p, LEN);
	return err;
}

/* Is the node among those that get_mempolicy() says may be used? */
static bool usable(int nid)
{
	unsigned long mask = 0;
	int mode;

	return !pn_get_mempolicy(&mode, &mask, NULL, MPOL_F_MEMS_PRIVATE) &&
	       (mask & NODE_BIT(nid));
}

/* "A new LSM hook can refuse on top of either", and that is EPERM. */
TEST_F(lsm, by_cgroup)
{
	unsigned long mask = NODE_BIT(self->priv);
	int link;

	EXPECT_EQ(0, ask(self->priv));
	link = attach(self->id, self->cgroup, variant->others);
	ASSERT_LE(0, link);

	EXPECT_EQ(variant->others ? EPERM : 0, ask(self->priv));
	EXPECT_EQ(!variant->others, usable(self->priv));
	ASSERT_EQ(0, pn_write_file(INSIDE "/cgroup.procs", "0"));
	EXPECT_EQ(variant->others ? 0 : EPERM, ask(self->priv));
	EXPECT_EQ(variant->others, usable(self->priv));
	if (!variant->others) {
		/* Nothing of a refused call takes effect. */
		int mode = -1;

		EXPECT_EQ(-1, pn_set_mempolicy(MPOL_BIND | pn_flag(), &mask));
		EXPECT_EQ(EPERM, errno);
		ASSERT_EQ(0, pn_get_mempolicy(&mode, NULL, NULL, 0));
		EXPECT_EQ(MPOL_DEFAULT, mode);
	}
	ASSERT_EQ(0, pn_write_file(CGROUPS "/cgroup.procs", "0"));

	close(link);
	EXPECT_EQ(0, ask(self->priv));
	ASSERT_EQ(0, pn_write_file(INSIDE "/cgroup.procs", "0"));
	EXPECT_EQ(0, ask(self->priv));
}

/* A policy that was accepted stays; memory by it is not asked for again. */
TEST_F(lsm, set_before)
{
	char *p = pn_map_bound(LEN, MPOL_BIND | pn_flag(), NODE_BIT(self->priv));
	int link;

	ASSERT_NE(NULL, p);
	ASSERT_EQ(0, pn_write_file(variant->others ? CGROUPS "/cgroup.procs" :
					INSIDE "/cgroup.procs", "0"));
	link = attach(self->id, self->cgroup, variant->others);
	ASSERT_LE(0, link);
	EXPECT_EQ(EPERM, ask(self->priv));
	EXPECT_EQ(LEN, pn_touch(p, LEN, pn_page_size(), NULL));
	EXPECT_EQ(self->priv, pn_node_of(p));
	munmap(p, LEN);
	close(link);
}

TEST_HARNESS_MAIN
