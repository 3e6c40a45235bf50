/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan_listen.c - waiting for connections: sockets of our own, and
 * addresses that have theirs ready (fd:, exec:, file:).
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
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

#define BACKLOG 16

struct sock_listener {
	struct chan_listener base;
	int fd; /* owned */
	/* The socket file, to be removed at the end if it is still this one. */
	char *path; /* owned, NULL for tcp */
	dev_t dev;
	ino_t ino;
};

/* ---- accepting ---- */

/* The peer's address as far as it has one. */
static void name_peer(const struct sock_listener *l, int fd, char *ret_name)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	snprintf(ret_name, CHAN_NAME_MAX, "%s", l->base.address);
	if (l->path || getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
		return;
	if (getnameinfo((const struct sockaddr *)&ss, len, host, sizeof(host),
		    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	snprintf(ret_name, CHAN_NAME_MAX,
		ss.ss_family == AF_INET6 ? "tcp:[%.100s]:%.8s"
					 : "tcp:%.100s:%.8s",
		host, port);
}

/* A connection that died in the queue is not the listener's trouble. */
static bool is_passing(int code)
{
	switch (code) {
	case EAGAIN:
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

static int sock_accept(struct chan_listener *base, int timeout_ms,
	struct chan **ret_chan, struct error *err)
{
	struct sock_listener *l = (struct sock_listener *)base;
	const int64_t end_ns = chan_end_ns(timeout_ms);
	char name[CHAN_NAME_MAX];
	int fd, rc;

	do {
		rc = chan_wait(l->fd, POLLIN, base->wake, end_ns);
		if (rc < 0)
			return error_errno(
				err, rc, "%s: accept", base->address);
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	} while (fd < 0 && is_passing(errno));
	if (fd < 0)
		return error_errno(err, -errno, "%s: accept", base->address);
	name_peer(l, fd, name);
	rc = chan_socket_wrap(fd, name, ret_chan);
	if (rc < 0) {
		close(fd);
		return error_errno(err, rc, "%s: accept", base->address);
	}
	return 0;
}

static void sock_destroy(struct chan_listener *base)
{
	struct sock_listener *l = (struct sock_listener *)base;
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
		st.st_ino == l->ino)
		unlink(l->path);
	if (l->fd >= 0)
		close(l->fd);
	free(l->path);
	free(l);
}

static const struct chan_listener_ops sock_listener_ops = {
	.accept = sock_accept, .destroy = sock_destroy};

static int new_socket(int family, int *ret_fd)
{
	*ret_fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return *ret_fd < 0 ? -errno : 0;
}

/* ---- unix: ---- */

/* Remove @path if it is a socket that nobody listens on.  0 or -errno. */
static int remove_stale(const struct sockaddr_un *un)
{
	struct stat st;
	int fd, rc;

	if (lstat(un->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	rc = new_socket(AF_UNIX, &fd);
	if (rc < 0)
		return rc;
	rc = connect(fd, (const struct sockaddr *)un, sizeof(*un)) < 0 ? -errno
								       : 0;
	close(fd);
	if (rc == -ENOENT)
		return 0;
	if (rc != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(un->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_unix(const struct chan_addr *addr, struct sock_listener *l,
	struct error *err)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct stat st;
	int rc;

	strcpy(un.sun_path, addr->path); /* chan_addr_parse() checked it */
	rc = remove_stale(&un);
	if (rc == -EADDRINUSE)
		return error_set(err, rc,
			"%s: somebody listens there already (use another path)",
			addr->text);
	if (rc == -EEXIST)
		return error_set(err, rc,
			"%s: exists and is not a socket (use another path)",
			addr->text);
	if (rc == 0)
		rc = new_socket(AF_UNIX, &l->fd);
	/* The file gets the socket's mode: what travels is guest memory. */
	if (rc == 0 && fchmod(l->fd, 0600) < 0)
		rc = -errno;
	if (rc == 0 &&
		bind(l->fd, (const struct sockaddr *)&un, sizeof(un)) < 0)
		rc = -errno;
	if (rc < 0)
		return error_errno(err, rc, "%s: bind", addr->text);
	l->path = strdup(addr->path);
	l->base.address = strdup(addr->text);
	if (!l->path || !l->base.address) {
		unlink(addr->path);
		return error_errno(err, -ENOMEM, "%s", addr->text);
	}
	if (lstat(l->path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	if (listen(l->fd, BACKLOG) < 0)
		return error_errno(err, -errno, "%s: listen", addr->text);
	return 0;
}

/* ---- tcp: ---- */

static int bind_tcp(const struct addrinfo *ai, int *ret_fd)
{
	int one = 1, fd, rc;

	rc = new_socket(ai->ai_family, &fd);
	if (rc < 0)
		return rc;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 ||
		listen(fd, BACKLOG) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

/* The address with the port the kernel chose. */
static char *bound_address(const struct chan_addr *addr, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char port[NI_MAXSERV], *text;

	if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ||
		getnameinfo((const struct sockaddr *)&ss, len, NULL, 0, port,
			sizeof(port), NI_NUMERICSERV) != 0)
		return NULL;
	if (asprintf(&text,
		    strchr(addr->host, ':') ? "tcp:[%s]:%s" : "tcp:%s:%s",
		    addr->host, port) < 0)
		return NULL;
	return text;
}

static int listen_tcp(const struct chan_addr *addr, struct sock_listener *l,
	struct error *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV | AI_PASSIVE};
	struct addrinfo *list, *ai;
	int rc;

	rc = getaddrinfo(addr->host, addr->port, &hints, &list);
	if (rc != 0)
		return error_set(err, rc == EAI_MEMORY ? -ENOMEM : -ENOENT,
			"%s: %s: %s (check the name)", addr->text, addr->host,
			gai_strerror(rc));
	rc = -EADDRNOTAVAIL;
	for (ai = list; ai; ai = ai->ai_next) {
		rc = bind_tcp(ai, &l->fd);
		if (rc == 0)
			break;
	}
	freeaddrinfo(list);
	if (rc < 0)
		return error_errno(err, rc, "%s: listen%s", addr->text,
			rc == -EADDRINUSE ? " (port 0 lets the kernel choose)"
					  : "");
	l->base.address = bound_address(addr, l->fd);
	return l->base.address ? 0
			       : error_errno(err, -ENOMEM, "%s", addr->text);
}

int chan_socket_listen(const struct chan_addr *addr,
	struct chan_listener **ret_listener, struct error *err)
{
	struct sock_listener *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return error_errno(err, -ENOMEM, "%s", addr->text);
	l->base.ops = &sock_listener_ops;
	l->base.wake = -1;
	l->fd = -1;
	rc = addr->kind == CHAN_UNIX ? listen_unix(addr, l, err)
				     : listen_tcp(addr, l, err);
	if (rc < 0) {
		chan_listener_close(&l->base);
		return rc;
	}
	*ret_listener = &l->base;
	return 0;
}

/* ---- fd:, exec:, file: ---- */

struct ready_listener {
	struct chan_listener base;
	struct chan_addr addr;
	struct chan *file; /* owned; opened early so that errors come early */
};

static int ready_accept(struct chan_listener *base, int timeout_ms,
	struct chan **ret_chan, struct error *err)
{
	struct ready_listener *l = (struct ready_listener *)base;

	if (l->addr.kind == CHAN_FD)
		return chan_socket_inherit(
			&l->addr, base->accepted, ret_chan, err);
	if (base->accepted > 0)
		return error_set(err, -ENOTSUP, "%s: has one connection only",
			base->address);
	if (l->addr.kind == CHAN_EXEC)
		return chan_exec(&l->addr, ret_chan, err);
	*ret_chan = l->file;
	l->file = NULL;
	return 0;
}

static void ready_destroy(struct chan_listener *base)
{
	struct ready_listener *l = (struct ready_listener *)base;
	unsigned i;

	chan_close(l->file);
	/* Those never handed out; the others are their channels'. */
	for (i = base->accepted; i < l->addr.fds; i++)
		close(l->addr.fd[i]);
	free(l);
}

static const struct chan_listener_ops ready_ops = {
	.accept = ready_accept, .destroy = ready_destroy};

int chan_ready_listen(const struct chan_addr *addr,
	struct chan_listener **ret_listener, struct error *err)
{
	struct ready_listener *l = calloc(1, sizeof(*l));
	int rc = 0;

	if (!l)
		return error_errno(err, -ENOMEM, "%s", addr->text);
	l->base.ops = &ready_ops;
	l->base.wake = -1;
	l->base.address = strdup(addr->text);
	if (!l->base.address)
		rc = error_errno(err, -ENOMEM, "%s", addr->text);
	else
		rc = chan_addr_parse(l->base.address, &l->addr, err);
	if (rc == 0 && l->addr.kind == CHAN_FILE)
		rc = chan_file(&l->addr, false, &l->file, err);
	if (rc < 0) {
		l->addr.fds = 0; /* on failure nothing is taken */
		chan_listener_close(&l->base);
		return rc;
	}
	*ret_listener = &l->base;
	return 0;
}
