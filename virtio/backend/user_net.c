/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/user_net.c - see user_net.h.
 *
 * Frames from the guest are copied and handed over; frames for it wait in a
 * FIFO until they are fetched.  While the FIFO is rather full no socket is
 * read, so the peers' own flow control holds them up; what libslirp makes all
 * the same is dropped when it is quite full.
 *
 * The guest decides how many sockets we open.  Above USER_NET_SOCKETS_MAX the
 * frames that could open another one are dropped until some have ended.
 */
#include "virtio/backend/user_net.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "virtio/backend/user_net_private.h"
#include "virtio/iov.h"
#include "vmm/error.h"

#define NETWORK_DEFAULT 0x0a000200u /* 10.0.2.0 */
#define HOST_OFFSET	2u
#define DNS_OFFSET	3u
#define DHCP_OFFSET	15u

static struct user_net *user_of(struct net_backend *be)
{
	return (struct user_net *)be;
}

/* ---- the FIFO ---- */

static void fifo_copy_in(struct user_fifo *f, const void *src, uint32_t len)
{
	uint32_t at = f->tail % USER_FIFO_BYTES, n = USER_FIFO_BYTES - at;

	if (n > len)
		n = len;
	memcpy(f->data + at, src, n);
	memcpy(f->data, (const uint8_t *)src + n, len - n);
	f->tail += len;
}

static bool fifo_push(struct user_fifo *f, const void *frame, uint32_t len)
{
	if (len > NET_FRAME_MAX ||
		USER_FIFO_BYTES - user_fifo_bytes(f) < len + sizeof(len))
		return false;
	fifo_copy_in(f, &len, sizeof(len));
	fifo_copy_in(f, frame, len);
	return true;
}

/* Bytes [f->head, f->head + len) as one or two pieces. */
static unsigned fifo_front(
	const struct user_fifo *f, uint32_t len, struct iovec piece[2])
{
	uint32_t at = f->head % USER_FIFO_BYTES, n = USER_FIFO_BYTES - at;

	if (n >= len) {
		piece[0] = (struct iovec){f->data + at, len};
		return 1;
	}
	piece[0] = (struct iovec){f->data + at, n};
	piece[1] = (struct iovec){f->data, len - n};
	return 2;
}

/* Copy the first frame out; its length, or 0 if there is none. */
static uint32_t fifo_pop(
	struct user_fifo *f, const struct iovec *iov, unsigned count)
{
	struct iovec piece[2];
	unsigned parts, i;
	uint64_t at = 0;
	uint32_t len;

	if (user_fifo_bytes(f) == 0)
		return 0;
	parts = fifo_front(f, sizeof(len), piece);
	iov_read(piece, parts, 0, &len, sizeof(len));
	f->head += sizeof(len);
	parts = fifo_front(f, len, piece);
	for (i = 0; i < parts; i++) {
		iov_write(iov, count, at, piece[i].iov_base, piece[i].iov_len);
		at += piece[i].iov_len;
	}
	f->head += len;
	return len;
}

/* ---- libslirp's callbacks; its lock is held ---- */

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct user_net *u = opaque;

	if (len > UINT32_MAX || !fifo_push(&u->fifo, buf, (uint32_t)len))
		u->dropped++;
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	struct user_net *u = opaque;

	log_limited(&u->limit, LOG_WARN, "%s: %.200s", u->name, msg);
}

static int64_t clock_get_ns(void *opaque)
{
	const struct user_net *u = opaque;

	return loop_now_ns(u->loop, LOOP_VIRTUAL);
}

/* The next turn asks for all of them anyway. */
static void register_fd(int fd, void *opaque)
{
	struct user_net *u = opaque;

	u->sockets++;
	user_poll_soon(u);
}

/* It is closed next.  The loop's ring may hold the file a little longer, and a
 * port must be free at once. */
static void unregister_fd(int fd, void *opaque)
{
	user_poll_forget(opaque, fd);
	shutdown(fd, SHUT_RDWR);
}

static void notify(void *opaque)
{
	user_poll_soon(opaque);
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_new = user_timer_new,
	.timer_free = user_timer_free,
	.timer_mod = user_timer_mod,
	.register_poll_fd = register_fd,
	.unregister_poll_fd = unregister_fd,
	.notify = notify,
};

static struct in_addr addr(uint32_t host_endian)
{
	return (struct in_addr){.s_addr = htonl(host_endian)};
}

static int make_slirp(struct user_net *u, struct error *err)
{
	SlirpConfig cfg = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = addr(u->network),
		.vnetmask = addr(~(UINT32_MAX >> u->prefix)),
		.vhost = addr(u->network + HOST_OFFSET),
		.vdhcp_start = addr(u->network + DHCP_OFFSET),
		.vnameserver = addr(u->network + DNS_OFFSET),
		.if_mtu = u->mtu,
		.if_mru = u->mtu,
	};

	slirp_lib_lock();
	u->slirp = u->lib.new(&cfg, &callbacks, u);
	slirp_lib_unlock();
	if (!u->slirp)
		return error_set(err, -EINVAL,
			"%s: libslirp does not take this network", u->name);
	return 0;
}

static void drop_slirp(struct user_net *u)
{
	if (!u->slirp)
		return;
	slirp_lib_lock();
	u->lib.cleanup(u->slirp);
	slirp_lib_unlock();
	u->slirp = NULL;
	u->sockets = 0;
	u->forwarding = false;
}

/* ---- forwarded ports ---- */

static int forward_failed(const struct user_net *u,
	const struct user_net_forward *f, int code, struct error *err)
{
	char text[INET_ADDRSTRLEN] = "?";
	struct in_addr a = addr(f->host_addr);

	inet_ntop(AF_INET, &a, text, sizeof(text));
	return error_set(err, code, "%s: forward %s port %s:%u: %s (%s)",
		u->name, f->udp ? "udp" : "tcp", text, f->host_port,
		strerror(-code),
		code == -EACCES ? "ports below 1024 want privileges; choose "
				  "another one"
				: "choose another port or address of the host");
}

static void remove_forwards(struct user_net *u, unsigned count)
{
	const struct user_net_forward *f;

	if (!u->slirp)
		return;
	slirp_lib_lock();
	for (f = u->forward; f < u->forward + count; f++)
		u->lib.remove_hostfwd(
			u->slirp, f->udp, addr(f->host_addr), f->host_port);
	slirp_lib_unlock();
	u->forwarding = false;
}

static int add_forwards(struct user_net *u, struct error *err)
{
	const struct user_net_forward *f;
	unsigned i;
	int rc, code = 0;

	for (i = 0; i < u->forwards; i++) {
		f = &u->forward[i];
		slirp_lib_lock();
		errno = 0;
		rc = u->lib.add_hostfwd(u->slirp, f->udp, addr(f->host_addr),
			f->host_port, addr(f->guest_addr), f->guest_port);
		code = errno ? -errno : -EADDRINUSE;
		slirp_lib_unlock();
		if (rc < 0) {
			remove_forwards(u, i);
			return forward_failed(u, f, code, err);
		}
	}
	u->forwarding = true;
	user_poll_soon(u);
	return 0;
}

static void user_settle(struct net_backend *be, bool here)
{
	struct user_net *u = user_of(be);
	struct error err;

	if (!here && u->forwarding)
		remove_forwards(u, u->forwards);
	if (here && !u->forwarding && u->slirp && add_forwards(u, &err) < 0)
		log_warn("%s (no port is forwarded)", err.text);
}

/* ---- frames ---- */

static void user_start(struct net_backend *be)
{
	struct user_net *u = user_of(be);

	u->started = true;
	user_poll_soon(u);
}

static void user_stop(struct net_backend *be)
{
	struct user_net *u = user_of(be);

	u->started = false;
	user_poll_clear(u);
	u->fifo.head = u->fifo.tail;
}

static ssize_t user_recv(struct net_backend *be, unsigned queue,
	const struct iovec *iov, unsigned count)
{
	struct user_net *u = user_of(be);
	uint32_t len = fifo_pop(&u->fifo, iov, count);

	if (u->poll.choked && user_fifo_bytes(&u->fifo) <= USER_FIFO_LOW) {
		u->poll.choked = false;
		user_poll_soon(u);
	}
	return len > 0 ? (ssize_t)len : -EAGAIN;
}

/* Could this frame make libslirp open a socket?  TCP other than a SYN cannot. */
static bool may_open_socket(const uint8_t *frame, uint64_t len)
{
	const uint8_t *ip = frame + NET_FRAME_MIN, *tcp;
	unsigned header;

	if (len < NET_FRAME_MIN + 20u || frame[12] != 8 || frame[13] != 0)
		return false; /* no IPv4 */
	header = 4u * (ip[0] & 15);
	if (ip[9] != IPPROTO_TCP)
		return true;
	tcp = ip + header;
	return len < NET_FRAME_MIN + header + 14u || tcp[13] & 2;
}

/* Part of an IPv4 datagram?  libslirp 4.7 dies of a last part that comes first,
 * and keeps all others for half a minute, however many there are. */
static bool is_fragment(const uint8_t *frame, uint64_t len)
{
	const uint8_t *ip = frame + NET_FRAME_MIN;

	return len >= NET_FRAME_MIN + 20u && frame[12] == 8 && frame[13] == 0 &&
	       (ip[6] & 0xbf || ip[7]); /* all but DF */
}

static int user_send(struct net_backend *be, unsigned queue,
	const struct iovec *iov, unsigned count)
{
	struct user_net *u = user_of(be);
	uint64_t len = iov_bytes(iov, count);

	if (!u->slirp)
		return -ENODEV;
	if (len > sizeof(u->tx))
		return -EMSGSIZE;
	iov_read(iov, count, 0, u->tx, len);
	if (is_fragment(u->tx, len)) {
		log_limited(&u->limit, LOG_WARN,
			"%s: the guest sends IP fragments, which are dropped",
			u->name);
		return -EMSGSIZE;
	}
	if (u->sockets >= USER_NET_SOCKETS_MAX && may_open_socket(u->tx, len)) {
		log_limited(&u->limit, LOG_WARN,
			"%s: the guest has %u connections, more have to wait",
			u->name, u->sockets);
		return -EMFILE;
	}
	u->used = true;
	slirp_lib_lock();
	u->lib.input(u->slirp, u->tx, (int)len);
	slirp_lib_unlock();
	user_poll_soon(u);
	return 0;
}

static void user_forget(struct net_backend *be)
{
	struct user_net *u = user_of(be);
	bool forwarding = u->forwarding;
	struct error err;

	if (!u->used)
		return;
	user_poll_clear(u);
	u->fifo.head = u->fifo.tail;
	drop_slirp(u);
	u->used = false;
	if (make_slirp(u, &err) < 0 ||
		(forwarding && add_forwards(u, &err) < 0))
		log_warn("%s", err.text);
	user_poll_soon(u);
}

/* ---- life ---- */

static void user_destroy(struct net_backend *be)
{
	struct user_net *u = user_of(be);

	drop_slirp(u);
	user_poll_fini(u);
	free(u->forward);
	free(u->fifo.data);
	free(u);
}

static const struct net_backend_ops user_ops = {
	.kind = "user",
	.start = user_start,
	.stop = user_stop,
	.recv = user_recv,
	.send = user_send,
	.settle = user_settle,
	.forget = user_forget,
	.destroy = user_destroy,
};

static int init(struct user_net *u, struct loop *loop,
	const struct user_net_options *opt, struct error *err)
{
	u->be.ops = &user_ops;
	u->be.queues = 1;
	u->loop = loop;
	snprintf(u->name, sizeof(u->name), "%s", opt->name);
	u->network = opt->prefix ? opt->network : NETWORK_DEFAULT;
	u->prefix = opt->prefix ? opt->prefix : 24;
	u->mtu = opt->mtu;
	u->fifo.data = malloc(USER_FIFO_BYTES);
	u->forward = malloc((opt->forwards + 1) * sizeof(u->forward[0]));
	if (!u->fifo.data || !u->forward)
		return error_errno(err, -ENOMEM, "%s", u->name);
	if (opt->forwards > 0)
		memcpy(u->forward, opt->forward,
			opt->forwards * sizeof(u->forward[0]));
	u->forwards = opt->forwards;
	if (u->prefix < 8 || u->prefix > 27 ||
		u->network & UINT32_MAX >> u->prefix)
		return error_set(err, -EINVAL,
			"%s: a network is ADDRESS/8 to ADDRESS/27, and its "
			"host bits are 0",
			u->name);
	return 0;
}

int user_net_open(struct loop *loop, const struct user_net_options *opt,
	struct net_backend **ret_backend, struct error *err)
{
	struct user_net *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return error_errno(err, -ENOMEM, "%s", opt->name);
	rc = init(u, loop, opt, err);
	if (rc == 0)
		rc = slirp_lib_load(u->name, &u->lib, err);
	if (rc == 0)
		rc = user_poll_init(u, err);
	if (rc == 0)
		rc = make_slirp(u, err);
	if (rc == 0 && !opt->incoming)
		rc = add_forwards(u, err);
	if (rc < 0) {
		user_destroy(&u->be);
		return rc;
	}
	*ret_backend = &u->be;
	return 0;
}
