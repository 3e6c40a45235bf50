/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan_socket.c - channels over stream sockets: tcp:, unix:, fd:.
 *
 * The sockets block, and deadlines are the socket's own timeouts, so that a
 * transfer is one system call in the usual case; shutdown(2) wakes a sleeper.
 * A timeout counts from the start of a call, and a call that moved a byte
 * returns it, so what expires has moved nothing for at least that long.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "migrate/chan_priv.h"
#include "vmm/error.h"

/* A vanished peer is noticed after 10 + 3 * 5 s, even by who only listens. */
#define KEEP_IDLE_S 10
#define KEEP_EACH_S 5
#define KEEP_COUNT  3
#define RETRY_MS    5 /* a UNIX listener's queue is full */

struct chan_socket {
	struct chan chan;
	int fd; /* owned */
	bool tcp;
};

static struct chan_socket *sock_of(struct chan *chan)
{
	return (struct chan_socket *)chan;
}

static ssize_t result(ssize_t n)
{
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return -ETIMEDOUT;
	return -errno;
}

static ssize_t sock_readv(struct chan *chan, struct iovec *iov, int iovs)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)iovs};
	ssize_t n;

	do
		n = recvmsg(sock_of(chan)->fd, &msg, 0);
	while (n < 0 && errno == EINTR && !chan->down);
	return result(n);
}

static ssize_t sock_writev(struct chan *chan, struct iovec *iov, int iovs)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)iovs};
	ssize_t n;

	do
		n = sendmsg(sock_of(chan)->fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR && !chan->down);
	return result(n);
}

static void sock_shutdown(struct chan *chan)
{
	shutdown(sock_of(chan)->fd, SHUT_RDWR);
}

static void sock_end_write(struct chan *chan)
{
	shutdown(sock_of(chan)->fd, SHUT_WR);
}

static void sock_destroy(struct chan *chan)
{
	close(sock_of(chan)->fd);
	free(sock_of(chan));
}

static int sock_fd(const struct chan *chan)
{
	return ((const struct chan_socket *)chan)->fd;
}

static void sock_set_deadline(struct chan *chan, int ms)
{
	struct timeval tv = {.tv_sec = 0}; /* for ever */
	int fd = sock_of(chan)->fd;

	if (ms == 0)
		tv.tv_usec = 1;
	else if (ms > 0)
		tv = (struct timeval){
			.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

/*
 * Without CAP_NET_ADMIN a size is cut to net.core.[rw]mem_max, mostly 208 KiB,
 * and a size set by hand ends TCP's own growth (to 4 and 6 MiB), which would be
 * a loss: TCP is then left alone.
 */
static void set_one_buffer(
	const struct chan_socket *s, int force, int plain, int value)
{
	if (setsockopt(s->fd, SOL_SOCKET, force, &value, sizeof(value)) < 0 &&
		!s->tcp)
		setsockopt(s->fd, SOL_SOCKET, plain, &value, sizeof(value));
}

static void sock_set_buffer(struct chan *chan, size_t bytes)
{
	int value = bytes > INT_MAX / 2 ? INT_MAX / 2 : (int)bytes;

	set_one_buffer(sock_of(chan), SO_SNDBUFFORCE, SO_SNDBUF, value);
	set_one_buffer(sock_of(chan), SO_RCVBUFFORCE, SO_RCVBUF, value);
}

static const struct chan_ops sock_ops = {
	.readv = sock_readv,
	.writev = sock_writev,
	.shutdown = sock_shutdown,
	.destroy = sock_destroy,
	.end_write = sock_end_write,
	.fd = sock_fd,
	.set_deadline = sock_set_deadline,
	.set_buffer = sock_set_buffer,
	.two_way = true,
};

static void set_tcp_options(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE_S},
		{IPPROTO_TCP, TCP_KEEPINTVL, KEEP_EACH_S},
		{IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT}};
	size_t i;

	for (i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		setsockopt(fd, options[i].level, options[i].name,
			&options[i].value, sizeof(options[i].value));
}

static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t len = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == IPPROTO_TCP;
}

int chan_socket_wrap(int fd, const char *name, struct chan **ret_chan)
{
	struct chan_socket *s;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -errno;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	chan_init(&s->chan, &sock_ops, name);
	s->fd = fd;
	s->tcp = is_tcp(fd);
	if (s->tcp)
		set_tcp_options(fd);
	sock_set_deadline(&s->chan, -1); /* an inherited one may have another */
	*ret_chan = &s->chan;
	return 0;
}

/* ---- fd: ---- */

/* NULL, or why @fd is of no use. */
static const char *fd_problem(int fd, int *ret_code)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer), type_len = sizeof(int);
	struct stat st;
	int type;

	if (fstat(fd, &st) < 0) {
		*ret_code = -errno;
		return "not open (pass it down, without close-on-exec)";
	}
	*ret_code = -ENOTSOCK;
	if (!S_ISSOCK(st.st_mode))
		return "not a socket (for files and pipes use file: or exec:)";
	*ret_code = -EPROTOTYPE;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 ||
		type != SOCK_STREAM)
		return "not a stream socket";
	*ret_code = -ENOTCONN;
	if (getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return "not connected (connect or accept it before)";
	return NULL;
}

int chan_socket_inherit(const struct chan_addr *addr, unsigned index,
	struct chan **ret_chan, struct error *err)
{
	const char *what;
	char name[CHAN_NAME_MAX];
	int rc;

	if (index >= addr->fds)
		return error_set(err, -ENOTSUP,
			"%s: has no connection number %u", addr->text,
			index + 1);
	what = fd_problem(addr->fd[index], &rc);
	if (what)
		return error_set(err, rc, "%s: fd %d: %s", addr->text,
			addr->fd[index], what);
	snprintf(name, sizeof(name), "fd:%d", addr->fd[index]);
	fcntl(addr->fd[index], F_SETFD, FD_CLOEXEC);
	rc = chan_socket_wrap(addr->fd[index], name, ret_chan);
	return rc < 0 ? error_errno(err, rc, "%s", addr->text) : 0;
}

/* ---- connecting ---- */

static const char *remedy(int rc)
{
	switch (rc) {
	case -ECONNREFUSED:
	case -ENOENT:
		return " (is `godwit receive` running there?)";
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return " (check the address, routes and firewalls)";
	case -EACCES:
	case -EPERM:
		return " (run as the user who receives)";
	default:
		return "";
	}
}

/* connect(2) to a UNIX listener whose queue is full gives no event to wait for:
 * try again by and by. */
static int connect_retrying(int fd, const struct sockaddr *sa, socklen_t len,
	int64_t end_ns, int cancel_fd)
{
	int rc;

	for (;;) {
		if (connect(fd, sa, len) == 0)
			return 0;
		if (errno != EAGAIN || sa->sa_family != AF_UNIX)
			return -errno;
		rc = chan_wait(-1, 0, cancel_fd, chan_end_ns(RETRY_MS));
		if (rc == -ECANCELED)
			return rc;
		if (chan_end_ns(0) >= end_ns)
			return -ETIMEDOUT;
	}
}

/* One attempt; a non-blocking socket in @ret_fd. */
static int connect_to(const struct sockaddr *sa, socklen_t len, int64_t end_ns,
	int cancel_fd, int *ret_fd)
{
	socklen_t code_len = sizeof(int);
	int fd, rc, code = 0;

	fd = socket(
		sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	rc = connect_retrying(fd, sa, len, end_ns, cancel_fd);
	if (rc == -EINPROGRESS) {
		rc = chan_wait(fd, POLLOUT, cancel_fd, end_ns);
		if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &code,
				       &code_len) == 0)
			rc = -code;
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

static int connect_unix(const struct chan_addr *addr, int64_t end_ns,
	int cancel_fd, int *ret_fd)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	strcpy(un.sun_path, addr->path); /* chan_addr_parse() checked it */
	return connect_to((const struct sockaddr *)&un, sizeof(un), end_ns,
		cancel_fd, ret_fd);
}

/* Every address the name has, until one answers; the last failure else. */
static int connect_tcp(const struct chan_addr *addr, int64_t end_ns,
	int cancel_fd, int *ret_fd, struct error *err)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list, *ai;
	int rc;

	rc = getaddrinfo(addr->host, addr->port, &hints, &list);
	if (rc != 0)
		return error_set(err,
			rc == EAI_SYSTEM   ? -errno
			: rc == EAI_MEMORY ? -ENOMEM
					   : -ENOENT,
			"%s: %s: %s (check the name)", addr->text, addr->host,
			gai_strerror(rc));
	rc = -EADDRNOTAVAIL;
	for (ai = list; ai; ai = ai->ai_next) {
		rc = connect_to(
			ai->ai_addr, ai->ai_addrlen, end_ns, cancel_fd, ret_fd);
		if (rc == 0 || rc == -ECANCELED || rc == -ETIMEDOUT)
			break;
	}
	freeaddrinfo(list);
	if (rc < 0)
		error_errno(err, rc, "%s: connect%s", addr->text, remedy(rc));
	return rc;
}

int chan_socket_connect(const struct chan_addr *addr, int64_t end_ns,
	int cancel_fd, struct chan **ret_chan, struct error *err)
{
	int fd, rc;

	if (addr->kind == CHAN_TCP) {
		if (strspn(addr->port, "0") == strlen(addr->port))
			return error_set(err, -EINVAL,
				"%s: port 0 is for listening only", addr->text);
		rc = connect_tcp(addr, end_ns, cancel_fd, &fd, err);
	} else {
		rc = connect_unix(addr, end_ns, cancel_fd, &fd);
		if (rc < 0)
			error_errno(err, rc, "%s: connect%s", addr->text,
				remedy(rc));
	}
	if (rc < 0)
		return rc;
	rc = chan_socket_wrap(fd, addr->text, ret_chan);
	if (rc < 0) {
		close(fd);
		return error_errno(err, rc, "%s", addr->text);
	}
	return 0;
}
