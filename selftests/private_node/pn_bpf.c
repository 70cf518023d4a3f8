// SPDX-License-Identifier: GPL-2.0
/* Programs of BPF LSM that refuse what a hook asks for: pn_bpf.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <linux/bpf.h>
#include <linux/btf.h>

#include "pn_bpf.h"
#include "pn_util.h"

#define VMLINUX_BTF	"/sys/kernel/btf/vmlinux"

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

const char *pn_lsm_missing(const char *hook)
{
	if (access(VMLINUX_BTF, R_OK))
		return "a kernel without BPF LSM: see configs/extra.config";
	return function_id(hook) ? NULL : "no such hook, or no BPF LSM";
}

int pn_lsm_refuse(const char *hook, int args, unsigned long long cgroup, bool others)
{
	struct bpf_insn insns[] = {
		/* The result so far is behind the arguments. */
		INSN(BPF_LDX | BPF_MEM | BPF_DW, BPF_REG_6, BPF_REG_1, 8 * args, 0),
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
		.attach_btf_id = function_id(hook),
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
