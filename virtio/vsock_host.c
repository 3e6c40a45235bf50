/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/vsock_host.c - the UNIX sockets of a socket device: the listener and
 * its clients until they have said what they want, and the host's side of each
 * connection.
 *
 * Clients may be slow, many or wrong: VSOCK_CLIENTS of them at a time have a
 * limited time for one short line.
 *
 * A connection's socket is watched for what could be done now.  When that is
 * nothing it is not watched at all, because a hang-up would be reported again
 * and again, while there may be bytes in front of it for which the guest has no
 * room yet.
 *
 * Thread: the device's loop.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio/iov.h"
#include "virtio/vsock_private.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define COMMAND	     "CONNECT "
#define ACCEPT_BATCH 16u
#define TRIES	     25u	 /* to take a path that somebody has yet, */
#define TRY_NS	     200000000ll /* so far apart */
#define BREATHER_NS  100000000ll /* after an accept that failed */

/* The peer is to see it now, though the loop may hold on to the socket until
 * its next wait. */
static void close_socket(int fd)
{
	if (fd < 0)
		return;
	shutdown(fd, SHUT_RDWR);
	close(fd);
}

/* ---- a connection's socket ---- */

/* Could bytes for the guest still come? */
static bool may_read(const struct vsock_conn *c)
{
	return !(c->our_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
	       !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* What to watch for; 0: just a hang-up; -1: nothing. */
static int wanted(const struct vsock_conn *c)
{
	unsigned events = 0;

	if (c->stage == VSOCK_ASKED)
		return 0;
	if (c->stage != VSOCK_OPEN)
		return -1;
	if (may_read(c) && !c->readable && vsock_credit(c) > 0)
		events |= LOOP_READ;
	if (vsock_buffered(c) > 0)
		events |= LOOP_WRITE;
	return events == 0 && may_read(c) ? -1 : (int)events;
}

static bool host_ready(void *opaque, unsigned ready)
{
	struct vsock_conn *c = opaque;
	uint32_t host_port = c->host_port, guest_port = c->guest_port;
	struct vsock *v = c->v;

	if (c->stage == VSOCK_ASKED) {
		vsock_reset(c); /* the client did not wait */
		return true;
	}
	if (ready & (LOOP_WRITE | LOOP_ERROR))
		vsock_host_flush(c);
	if (c->stage == VSOCK_OPEN && !may_read(c)) {
		if (ready & LOOP_ERROR)
			vsock_shut(c, VSOCK_SHUT_BOTH);
	} else if (c->stage == VSOCK_OPEN && ready & (LOOP_READ | LOOP_ERROR)) {
		c->readable = true;
		vsock_queue(c);
	}
	virtio_dev_serve(&v->dev, VSOCK_RX);
	c = vsock_find(v, host_port, guest_port); /* an RST frees it */
	if (c)
		vsock_host_watch(c);
	return true;
}

static void unwatch(struct vsock_conn *c)
{
	loop_fd_del(c->watch);
	c->watch = NULL;
}

void vsock_host_watch(struct vsock_conn *c)
{
	struct vsock *v = c->v;
	int events = wanted(c), err = 0;

	if (events < 0) {
		unwatch(c);
		return;
	}
	if (!c->watch)
		err = loop_fd_add(v->dev.loop, c->fd, (unsigned)events,
			LOOP_FD_EXTERNAL, host_ready, c, v->dev.name,
			&c->watch);
	else if (c->watched != (unsigned)events)
		err = loop_fd_set(c->watch, (unsigned)events);
	c->watched = (unsigned)events;
	if (err < 0) {
		log_limited(&v->dev.limit, LOG_WARN,
			"%s: watch a connection: %s (it is closed)",
			v->dev.name, strerror(-err));
		vsock_reset(c);
	}
}

void vsock_host_close(struct vsock_conn *c)
{
	unwatch(c);
	close_socket(c->fd);
	c->fd = -1;
	c->readable = false;
}

int vsock_host_connect(const struct vsock *v, uint32_t port)
{
	char path[sizeof(v->path) + 16];

	snprintf(path, sizeof(path), "%s_%u", v->path, port);
	return unix_connect(path);
}

bool vsock_host_accepted(struct vsock_conn *c)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "OK %u\n", c->host_port);

	return send(c->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) ==
	       len;
}

uint32_t vsock_host_write(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t off, uint32_t len)
{
	struct iovec part[VIRTQ_SIZE_MAX];
	struct msghdr msg = {.msg_iov = part};
	ssize_t n;

	msg.msg_iovlen = iov_slice(iov, count, off, len, part, VIRTQ_SIZE_MAX);
	if (len == 0)
		return 0;
	n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n >= 0)
		return (uint32_t)n;
	if (errno != EAGAIN && errno != EINTR)
		vsock_shut(c, VIRTIO_VSOCK_SHUTDOWN_RCV);
	return 0;
}

void vsock_host_flush(struct vsock_conn *c)
{
	uint32_t len, at, n;

	while (c->stage == VSOCK_OPEN && vsock_buffered(c) > 0) {
		len = vsock_buffered(c);
		at = c->forwarded % VSOCK_BUFFER_BYTES;
		if (len > VSOCK_BUFFER_BYTES - at)
			len = VSOCK_BUFFER_BYTES - at;
		n = vsock_host_write(
			c, &(struct iovec){c->buffer + at, len}, 1, 0, len);
		if (n == 0)
			break;
		c->forwarded += n;
	}
	if (c->stage != VSOCK_OPEN)
		return;
	vsock_check_credit(c);
	if (vsock_buffered(c) > 0)
		return;
	free(c->buffer);
	c->buffer = NULL;
	if (c->guest_shut == VSOCK_SHUT_BOTH)
		vsock_reset(c); /* it is done, and expects this */
	else if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		shutdown(c->fd, SHUT_WR);
}

/* The peer closed its end, rather than half of it. */
static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

uint32_t vsock_host_read(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t off, uint32_t len)
{
	struct iovec part[VIRTQ_SIZE_MAX];
	struct msghdr msg = {.msg_iov = part};
	ssize_t n;

	msg.msg_iovlen = iov_slice(iov, count, off, len, part, VIRTQ_SIZE_MAX);
	n = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	if (n > 0) {
		/* If it was not all, the watch says so. */
		c->readable = (uint32_t)n == len;
		return (uint32_t)n;
	}
	c->readable = false;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	vsock_shut(c, n < 0 || hung_up(c->fd) ? VSOCK_SHUT_BOTH
					      : VIRTIO_VSOCK_SHUTDOWN_SEND);
	return 0;
}

/* ---- clients ---- */

static bool accept_ready(void *opaque, unsigned ready);

/* Let clients in, if there is room for them. */
static void accept_on(struct vsock *v)
{
	int err;

	if (v->accepting || v->listener.fd < 0 || v->clients == VSOCK_CLIENTS)
		return;
	err = loop_fd_add(v->dev.loop, v->listener.fd, LOOP_READ,
		LOOP_FD_EXTERNAL, accept_ready, v, v->dev.name, &v->accepting);
	if (err < 0)
		log_warn("%s: watch %s: %s (no client of the host can connect)",
			v->dev.name, v->path, strerror(-err));
}

static void accept_off(struct vsock *v)
{
	loop_fd_del(v->accepting);
	v->accepting = NULL;
}

/* Its socket is closed too, unless somebody took it. */
static void client_free(struct vsock_client *k)
{
	struct vsock *v = k->v;

	loop_timer_cancel(&k->timer);
	loop_fd_del(k->watch);
	close_socket(k->fd);
	LIST_REMOVE(k, link);
	free(k);
	v->clients--;
	accept_on(v);
}

static void client_too_slow(void *opaque)
{
	client_free(opaque);
}

/* "CONNECT 1234\n", and nothing else. */
static bool parse_line(const struct vsock_client *k, uint32_t *ret_port)
{
	const unsigned skip = sizeof(COMMAND) - 1;
	uint64_t port = 0;
	unsigned i;

	if (k->have < skip + 2 || memcmp(k->line, COMMAND, skip) != 0)
		return false;
	for (i = skip; i + 1 < k->have; i++) {
		if (k->line[i] < '0' || k->line[i] > '9')
			return false;
		port = port * 10 + (unsigned)(k->line[i] - '0');
		if (port > UINT32_MAX)
			return false;
	}
	*ret_port = (uint32_t)port;
	return true;
}

/* A port of ours that goes with @guest_port.  There are more of them than
 * connections. */
static uint32_t new_port(struct vsock *v, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = VSOCK_PORT_FIRST + v->next_port++ % VSOCK_PORT_FIRST;
	} while (vsock_find(v, port, guest_port));
	return port;
}

/* The line is complete: ask the guest, or leave the client to be closed. */
static void client_connect(struct vsock_client *k)
{
	struct vsock *v = k->v;
	struct vsock_conn *c;
	uint32_t port;
	int fd = k->fd;

	if (!parse_line(k, &port) || !v->dev.active)
		return;
	loop_fd_del(k->watch);
	k->watch = NULL;
	k->fd = -1;
	c = vsock_conn_new(v, new_port(v, port), port, VSOCK_ASKED, fd);
	if (!c)
		return;
	vsock_owe(c, VSOCK_OWE_REQUEST);
	vsock_deadline(c, v->answer_ns);
	vsock_host_watch(c);
}

static bool client_ready(void *opaque, unsigned ready)
{
	struct vsock_client *k = opaque;
	size_t room = sizeof(k->line) - k->have, take;
	char *end;
	ssize_t n;

	/* What follows the line is the guest's, so look before taking. */
	n = recv(k->fd, k->line + k->have, room, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0) {
		end = memchr(k->line + k->have, '\n', (size_t)n);
		take = end ? (size_t)(end - k->line) + 1 - k->have : (size_t)n;
		n = recv(k->fd, k->line + k->have, take, MSG_DONTWAIT);
	} else {
		end = NULL;
	}
	if (n > 0)
		k->have += (unsigned)n;
	if (n > 0 && !end && k->have < sizeof(k->line))
		return true; /* there is more to come */
	if (n > 0 && end)
		client_connect(k);
	client_free(k);
	return true;
}

static void client_new(struct vsock *v, int fd)
{
	struct vsock_client *k = calloc(1, sizeof(*k));
	struct loop *loop = v->dev.loop;
	int64_t end_ns = loop_now_ns(loop, LOOP_VIRTUAL) + v->line_ns;

	if (!k) {
		close(fd);
		return;
	}
	k->v = v;
	k->fd = fd;
	LIST_INSERT_HEAD(&v->client, k, link);
	v->clients++;
	loop_timer_init(&k->timer, loop, LOOP_VIRTUAL, client_too_slow, k);
	if (loop_timer_set(&k->timer, end_ns) < 0 ||
		loop_fd_add(loop, fd, LOOP_READ, LOOP_FD_EXTERNAL, client_ready,
			k, v->dev.name, &k->watch) < 0)
		client_free(k);
}

static bool accept_ready(void *opaque, unsigned ready)
{
	struct vsock *v = opaque;
	unsigned i;
	int fd = 0;

	for (i = 0; i < ACCEPT_BATCH && v->clients < VSOCK_CLIENTS; i++) {
		fd = unix_accept(&v->listener);
		if (fd < 0)
			break;
		client_new(v, fd);
	}
	if (v->clients == VSOCK_CLIENTS) {
		accept_off(v);
	} else if (fd < 0 && fd != -EAGAIN && fd != -EINTR &&
		   fd != -ECONNABORTED) {
		log_limited(&v->dev.limit, LOG_WARN, "%s: accept at %s: %s",
			v->dev.name, v->path, strerror(-fd));
		accept_off(v);
		loop_timer_set(&v->later,
			loop_now_ns(v->dev.loop, LOOP_MONOTONIC) + BREATHER_NS);
	}
	return i > 0;
}

static void drop_clients(struct vsock *v)
{
	while (!LIST_EMPTY(&v->client))
		client_free(LIST_FIRST(&v->client));
}

/* ---- the listener ---- */

int vsock_host_listen(struct vsock *v, struct error *err)
{
	int rc = unix_listen(&v->listener, v->dev.name, v->path, err);

	v->settled = true;
	if (rc == 0)
		accept_on(v);
	return rc;
}

static void try_later(void *opaque)
{
	struct vsock *v = opaque;
	int64_t now = loop_now_ns(v->dev.loop, LOOP_MONOTONIC);
	struct error err;
	int rc = 0;

	if (v->listener.fd < 0)
		rc = vsock_host_listen(v, &err);
	else
		accept_on(v);
	if (rc == -EADDRINUSE && v->tries-- > 0 &&
		loop_timer_set(&v->later, now + TRY_NS) == 0)
		return;
	if (rc < 0)
		log_warn("%s (no client of the host can connect)", err.text);
}

void vsock_host_settle(struct vsock *v, bool here)
{
	loop_timer_cancel(&v->later);
	v->settled = here;
	if (here) {
		v->tries = TRIES;
		try_later(v);
		return;
	}
	accept_off(v);
	unix_unlisten(&v->listener);
	drop_clients(v);
}

void vsock_host_init(struct vsock *v)
{
	v->listener.fd = -1;
	LIST_INIT(&v->client);
	loop_timer_init(&v->later, v->dev.loop, LOOP_MONOTONIC, try_later, v);
}

void vsock_host_fini(struct vsock *v)
{
	vsock_host_settle(v, false);
}
