/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/user_net_private.h - the insides of a user-mode network, for
 * user_net.c (frames, forwards, life) and user_net_poll.c (sockets and timers
 * of libslirp on our loop) only.  Everything belongs to one loop.
 */
#ifndef GODWIT_VIRTIO_BACKEND_USER_NET_PRIVATE_H
#define GODWIT_VIRTIO_BACKEND_USER_NET_PRIVATE_H

#include "loop/loop.h"
#include "virtio/backend/slirp_lib.h"
#include "virtio/backend/user_net.h"
#include "vmm/log.h"

#define USER_FIFO_BYTES (256u << 10) /* a power of two */
#define USER_FIFO_HIGH	(128u << 10) /* beyond: read no more sockets */
#define USER_FIFO_LOW	(32u << 10)  /* below: go on */

/* Frames for the guest, each after its length (u32); head and tail count bytes
 * and wrap. */
struct user_fifo {
	uint8_t *data; /* owned, USER_FIFO_BYTES */
	uint32_t head, tail;
};

/* A socket of libslirp's. */
struct user_fd {
	struct user_net *net;
	struct loop_fd *watch; /* owned */
	int fd;		       /* libslirp's */
	unsigned events;       /* LOOP_*, watched for */
	int wanted, ready;     /* SLIRP_POLL_* */
	bool maybe;	       /* the loop saw something: look again */
};

struct user_poll {
	struct user_fd **by_fd; /* owned; room entries; NULL: not watched */
	unsigned room;
	int *active; /* owned; room entries, of them count fds watched */
	unsigned count;
	struct pollfd *look;  /* owned; room entries, for one call */
	struct loop_bh *turn; /* owned */
	struct loop_timer timer;
	bool choked; /* the guest does not take frames: sockets wait */
};

struct user_net {
	struct net_backend be; /* first */
	struct loop *loop;     /* borrowed */
	char name[NET_NAME_MAX];
	struct slirp_lib lib;
	Slirp *slirp; /* owned; NULL: it could not be made again */
	bool started;
	bool used; /* the guest has sent something */
	bool forwarding;
	uint32_t network;
	unsigned prefix;
	uint16_t mtu;
	struct user_net_forward *forward; /* owned */
	unsigned forwards;
	struct user_fifo fifo;
	struct user_poll poll;
	/* Sockets of libslirp's: those of the last turn and those made since.
	 * While the FIFO is full there are no turns. */
	unsigned sockets;
	uint64_t dropped; /* frames for which the FIFO had no room */
	struct log_limit limit;
	uint8_t tx[NET_FRAME_MAX]; /* a frame in one piece */
};

/* ---- user_net_poll.c ---- */

int user_poll_init(struct user_net *u, struct error *err);
/* Watch nothing and forget what was ready; the turn may come again. */
void user_poll_clear(struct user_net *u);
void user_poll_fini(struct user_net *u);
/* Let libslirp look at its sockets and timers soon. */
void user_poll_soon(struct user_net *u);
/* Stop watching @fd, which is about to be closed. */
void user_poll_forget(struct user_net *u, int fd);
/* libslirp's callbacks for timers. */
void *user_timer_new(SlirpTimerCb fn, void *fn_opaque, void *opaque);
void user_timer_free(void *timer, void *opaque);
void user_timer_mod(void *timer, int64_t expire_ms, void *opaque);

/* ---- user_net.c ---- */

static inline uint32_t user_fifo_bytes(const struct user_fifo *f)
{
	return f->tail - f->head;
}

#endif
