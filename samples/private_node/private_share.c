// SPDX-License-Identifier: GPL-2.0
/*
 * Shared memory on private nodes. A server that may use the nodes makes a file
 * of memory there and hands it to whoever connects; the client need not be
 * allowed to use the nodes, since the policy belongs to the file.
 *
 * usage: private_share serve SOCKET [MIB]    until it gets SIGTERM
 *        private_share use SOCKET
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "private_node.h"

static const char hello[] = "private nodes";

static int make_socket(const char *path, struct sockaddr_un *address)
{
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (sock < 0)
		die("socket");
	if (strlen(path) >= sizeof(address->sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, strlen(path));
	return sock;
}

/* Room for one file descriptor beside a message */
struct parcel {
	struct msghdr msg;
	struct iovec data;
	char text[16];
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
};

static void make_parcel(struct parcel *parcel)
{
	memset(parcel, 0, sizeof(*parcel));
	parcel->data.iov_base = parcel->text;
	parcel->data.iov_len = sizeof(parcel->text);
	parcel->msg.msg_iov = &parcel->data;
	parcel->msg.msg_iovlen = 1;
	parcel->msg.msg_control = &parcel->control;
	parcel->msg.msg_controllen = sizeof(parcel->control);
}

static int send_fd(int sock, int fd)
{
	struct parcel parcel;

	make_parcel(&parcel);
	memcpy(parcel.text, hello, sizeof(hello));
	parcel.control.head.cmsg_level = SOL_SOCKET;
	parcel.control.head.cmsg_type = SCM_RIGHTS;
	parcel.control.head.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&parcel.control.head), &fd, sizeof(fd));
	return sendmsg(sock, &parcel.msg, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static int receive_fd(int sock)
{
	struct parcel parcel;
	struct cmsghdr *head;
	int fd;

	make_parcel(&parcel);
	if (recvmsg(sock, &parcel.msg, MSG_CMSG_CLOEXEC) < 0)
		die("recvmsg");
	head = CMSG_FIRSTHDR(&parcel.msg);
	if (!head || head->cmsg_level != SOL_SOCKET ||
	    head->cmsg_type != SCM_RIGHTS ||
	    head->cmsg_len != CMSG_LEN(sizeof(int)) ||
	    strncmp(parcel.text, hello, sizeof(parcel.text))) {
		errno = EPROTO;
		die("no memory received");
	}
	memcpy(&fd, CMSG_DATA(head), sizeof(fd));
	return fd;
}

/*
 * The file is on the nodes, whoever touches it: the policy of a shared mapping
 * is that of what is mapped. The right to the nodes is ours, now and later.
 */
static int make_memory(const struct nodes *nodes, size_t len)
{
	int fd = memfd_create("private_share", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *mem;

	if (fd < 0 || ftruncate(fd, len))
		die("memfd");
	/*
	 * Nobody shall make it shorter, which would be SIGBUS for the others, or
	 * add the seal against writing, which would shut out those who come later.
	 */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		die("F_ADD_SEALS");
	mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		die("mmap");
	if (bind_memory(mem, len, MPOL_BIND | MPOL_F_PRIVATE, nodes))
		die("mbind of the file");
	/*
	 * Take the memory now, so that no client gets SIGBUS for want of it, as
	 * long as nobody punches a hole into it; ENOSPC means that the nodes are full.
	 */
	if (fallocate(fd, 0, 0, len))
		die("fallocate");
	snprintf(mem, len, "%s", hello);
	munmap(mem, len);
	return fd;
}

static int serve(const char *path, size_t len)
{
	struct sockaddr_un address;
	struct nodes nodes;
	int listener, sock, fd;

	usable_private_nodes(&nodes);
	nodes_print("private nodes:", &nodes);
	if (nodes_empty(&nodes)) {
		fprintf(stderr, "none that we may use: grant some by cpuset.mems.private\n");
		return 1;
	}
	/*
	 * Our own memory: these nodes as long as they have some. With MPOL_BIND
	 * a full node would be SIGBUS for a page of the stack.
	 */
	if (set_task_policy(MPOL_PREFERRED_MANY | MPOL_F_PRIVATE, &nodes))
		die("set_mempolicy");
	fd = make_memory(&nodes, len);

	listener = make_socket(path, &address);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 8))
		die(path);
	printf("serving %zu MiB\n", len >> 20);
	fflush(stdout);
	while ((sock = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		if (send_fd(sock, fd))
			perror("sendmsg");
		close(sock);
	}
	die("accept");
	return 1;
}

static int use(const char *path)
{
	struct sockaddr_un address;
	struct stat stat;
	struct nodes nodes;
	int sock, fd;
	char *mem;
	off_t i;

	usable_private_nodes(&nodes);
	nodes_print("private nodes:", &nodes);
	sock = make_socket(path, &address);
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)))
		die(path);
	fd = receive_fd(sock);
	if (fstat(fd, &stat))
		die("fstat");
	mem = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		die("mmap");
	printf("received %lld MiB: %.*s\n", (long long)stat.st_size >> 20,
	       (int)sizeof(hello), mem);
	for (i = sizeof(hello); i < stat.st_size; i++)
		mem[i] = i;
	print_pages(mem, stat.st_size);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 3 && argc <= 4 && !strcmp(argv[1], "serve"))
		return serve(argv[2], (argc > 3 ? strtoul(argv[3], NULL, 0) : 16) << 20);
	if (argc == 3 && !strcmp(argv[1], "use"))
		return use(argv[2]);
	fprintf(stderr, "usage: private_share serve SOCKET [MIB] | use SOCKET\n");
	return 2;
}
