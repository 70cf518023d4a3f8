// SPDX-License-Identifier: GPL-2.0
/*
 * A buffer on private memory nodes, for a program that shall work everywhere:
 * where there are no private nodes, where it may not use them, and when they
 * are full, ordinary memory does.
 *
 * usage: private_buffer [-n NODE] [-m MIB]
 *
 * Takes all private nodes that it may use unless NODE says which.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "private_node.h"

static sigjmp_buf full;
static char *buffer;
static size_t buffer_len;
static char *failed;

/*
 * A full node is SIGBUS with BUS_ADRERR for the address that was touched. What
 * comes from elsewhere, a truncated file for instance, is not for us.
 */
static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	char *addr = info->si_addr;

	if (info->si_code != BUS_ADRERR || addr < buffer ||
	    addr >= buffer + buffer_len) {
		signal(sig, SIG_DFL);
		return;			/* and the access gets it again */
	}
	failed = addr;
	siglongjmp(full, 1);
}

static void touch(size_t from)
{
	size_t size = sysconf(_SC_PAGESIZE);

	for (; from < buffer_len; from += size)
		buffer[from] = 1;
}

/*
 * Makes the pages of the buffer there; returns the length up to which they
 * are. A program that has no use for a signal handler can have the same by
 * madvise(MADV_POPULATE_WRITE), which fails with EFAULT when the node is full,
 * without saying how far it came.
 */
static size_t fill(size_t from)
{
	/* With the signal mask, since we leave the handler by a jump */
	if (sigsetjmp(full, 1))
		return (failed - buffer) & ~(sysconf(_SC_PAGESIZE) - 1);
	touch(from);
	return buffer_len;
}

static bool ask_for(const struct nodes *nodes)
{
	if (!bind_memory(buffer, buffer_len, MPOL_BIND | MPOL_F_PRIVATE, nodes))
		return true;

	switch (errno) {
	case EPERM:
		printf("not allowed to use private nodes: ordinary memory\n");
		return false;
	case EINVAL:
	case ENOSYS:	/* a kernel without NUMA */
		printf("no such private node: ordinary memory\n");
		return false;
	default:
		die("mbind");
	}
	return false;
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };
	struct nodes nodes;
	size_t done;
	int opt;

	buffer_len = 64UL << 20;
	usable_private_nodes(&nodes);
	nodes_print("private nodes:", &nodes);
	while ((opt = getopt(argc, argv, "n:m:")) != -1) {
		unsigned long value = opt == '?' ? 0 : strtoul(optarg, NULL, 0);

		if (opt == 'n' && value < MAX_NODES) {
			memset(&nodes, 0, sizeof(nodes));
			nodes_add(&nodes, value);
		} else if (opt == 'm' && value) {
			buffer_len = value << 20;
		} else {
			fprintf(stderr, "usage: private_buffer [-n NODE] [-m MIB]\n");
			return 2;
		}
	}

	/* Overcommit knows public memory only: it may find this too much. */
	buffer = mmap(NULL, buffer_len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (buffer == MAP_FAILED)
		die("mmap");
	if (sigaction(SIGBUS, &act, NULL))
		die("sigaction");

	if (nodes_empty(&nodes))
		printf("no private nodes: ordinary memory\n");
	else
		ask_for(&nodes);

	done = fill(0);
	if (done < buffer_len) {
		printf("private nodes are full after %zu MiB: ordinary memory for the rest\n",
		       done >> 20);
		if (bind_memory(buffer + done, buffer_len - done, MPOL_DEFAULT, NULL))
			die("mbind");
		done = fill(done);
	}
	printf("%zu of %zu MiB\n", done >> 20, buffer_len >> 20);
	print_pages(buffer, buffer_len);
	return done < buffer_len;
}
