/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/vsock_private.h - the insides of a socket device, for vsock.c (life,
 * queues, state), vsock_conn.c (packets, credit, connections) and vsock_host.c
 * (UNIX sockets) only.  Everything belongs to the device's loop.
 *
 * Bounds.  Nothing here grows with what a guest or a client sends:
 *   connections   max_conns, in a hash table; packets to the guest are flags of
 *                 their connection, made when there is a buffer for them
 *   their bytes   guest to host: one buffer of VSOCK_BUFFER_BYTES each, while
 *                 the host's side is slow; host to guest: none, they stay in
 *                 the socket until the guest has buffers and credit
 *   refusals      VSOCK_REFUSALS; while they are all taken the guest's queue is
 *                 not looked at
 *   clients       VSOCK_CLIENTS that have not sent their line; the others wait
 *                 in the listener's backlog
 *
 * Credit.  Counters are of 32 bits and wrap.  Of each direction the receiver
 * says how many bytes it has room for in all (buf_alloc) and how many it has
 * passed on (fwd_cnt); what is on its way is sent - fwd_cnt.
 */
#ifndef GODWIT_VIRTIO_VSOCK_PRIVATE_H
#define GODWIT_VIRTIO_VSOCK_PRIVATE_H

#include <linux/virtio_vsock.h>
#include <sys/queue.h>

#include "loop/loop.h"
#include "virtio/backend/unix_socket.h"
#include "virtio/dev.h"
#include "virtio/vsock.h"

#define VSOCK_RX    0u /* queue numbers: device to driver */
#define VSOCK_TX    1u
#define VSOCK_EVENT 2u

#define VSOCK_HOST_CID	   2ull
#define VSOCK_HEADER	   ((uint32_t)sizeof(struct virtio_vsock_hdr))
#define VSOCK_BUFFER_BYTES (256u << 10) /* a power of two */
#define VSOCK_WINDOW_MAX   (1u << 30)	/* unanswered bytes to the guest */
#define VSOCK_REFUSALS	   64u
#define VSOCK_CLIENTS	   32u
#define VSOCK_LINE_BYTES   32u	      /* "CONNECT 4294967295\n" has 19 */
#define VSOCK_PORT_FIRST   (1u << 30) /* ports of clients: up to 2^31 */
#define VSOCK_SHUT_BOTH                                                        \
	((uint32_t)(VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND))

enum vsock_stage {
	VSOCK_ASKED, /* the guest was, or will be, asked; a client waits */
	VSOCK_OPEN,
	VSOCK_LINGER, /* we have shut both ways; the guest is to agree */
	VSOCK_OVER,   /* RST is owed, nothing else */
};

/* Packets a connection owes the guest; the lowest goes first. */
enum {
	VSOCK_OWE_RST = 1,
	VSOCK_OWE_REQUEST = 2,
	VSOCK_OWE_RESPONSE = 4,
	VSOCK_OWE_SHUTDOWN = 8,
	/* Data goes before these; each header has our credit anyway. */
	VSOCK_OWE_CREDIT_REQUEST = 16,
	VSOCK_OWE_CREDIT_UPDATE = 32,
};

struct vsock_conn {
	struct vsock *v;
	LIST_ENTRY(vsock_conn) bucket;
	TAILQ_ENTRY(vsock_conn) line; /* in v->waiting, if queued */
	bool queued;
	uint32_t host_port, guest_port;
	enum vsock_stage stage;
	unsigned owed;		 /* VSOCK_OWE_* */
	uint32_t guest_shut;	 /* VIRTIO_VSOCK_SHUTDOWN_*, as it said, */
	uint32_t our_shut;	 /* and as we decided */
	struct loop_timer timer; /* of ASKED, LINGER, and of a last flush */
	/* The host's side. */
	int fd;		       /* owned; -1 in LINGER and OVER */
	struct loop_fd *watch; /* owned; NULL: not watched */
	unsigned watched;      /* LOOP_*; 0: for a hang-up */
	bool readable;	       /* bytes may be there: read before watching */
	/* To the guest. */
	uint32_t sent, peer_fwd, peer_alloc;
	/* From the guest.  received - forwarded bytes are in the buffer, byte n
	 * at n % VSOCK_BUFFER_BYTES. */
	uint32_t received, forwarded;
	uint32_t told;	 /* forwarded, as the guest knows it */
	uint8_t *buffer; /* owned; NULL: none is needed */
};

/* A packet for nobody is answered by RST; with its own addresses turned. */
struct vsock_refusal {
	uint64_t src_cid;
	uint32_t src_port, dst_port;
	uint16_t type;
};

/* A client that has not yet said what it wants. */
struct vsock_client {
	struct vsock *v;
	LIST_ENTRY(vsock_client) link;
	int fd;		       /* owned */
	struct loop_fd *watch; /* owned */
	struct loop_timer timer;
	unsigned have;
	char line[VSOCK_LINE_BYTES];
};

LIST_HEAD(vsock_bucket, vsock_conn);

struct vsock {
	struct virtio_dev dev; /* first */
	uint64_t cid, staged_cid;
	int64_t line_ns, answer_ns, linger_ns;
	char path[VIRTIO_VSOCK_PATH_BYTES + 1];
	/* Connections. */
	struct vsock_bucket *bucket; /* owned; buckets of them */
	unsigned buckets, conns, conns_max;
	uint64_t secret; /* of the hash: a guest must not choose its bucket */
	TAILQ_HEAD(vsock_line, vsock_conn) waiting; /* for a buffer to fill */
	struct vsock_refusal refusal[VSOCK_REFUSALS];
	unsigned refused_first, refusals;
	bool reset_owed; /* the guest has moved and does not know */
	/* Clients. */
	struct unix_listener listener;
	struct loop_fd *accepting; /* owned; NULL: nobody is let in */
	struct loop_timer later;   /* listen, or accept, again */
	unsigned tries;		   /* to listen, to go */
	bool settled; /* this host was told that it has the guest */
	LIST_HEAD(vsock_list, vsock_client) client;
	unsigned clients;
	uint32_t next_port;
};

static inline struct vsock *vsock_of(struct virtio_dev *dev)
{
	return (struct vsock *)dev;
}

/* Bytes from the guest that wait for the host. */
static inline uint32_t vsock_buffered(const struct vsock_conn *c)
{
	return c->received - c->forwarded;
}

/* Bytes the guest has room for. */
static inline uint32_t vsock_credit(const struct vsock_conn *c)
{
	uint32_t out = c->sent - c->peer_fwd, all = c->peer_alloc;

	if (all > VSOCK_WINDOW_MAX)
		all = VSOCK_WINDOW_MAX;
	return all > out ? all - out : 0;
}

/* ---- vsock_conn.c ---- */

int vsock_table_init(struct vsock *v);
/* End all connections and forget all refusals; the guest is not told. */
void vsock_forget_all(struct vsock *v);

struct vsock_conn *vsock_find(
	const struct vsock *v, uint32_t host_port, uint32_t guest_port);
/* A connection between @fd (taken, also on failure) and the guest; NULL when
 * there are too many, or no memory. */
struct vsock_conn *vsock_conn_new(struct vsock *v, uint32_t host_port,
	uint32_t guest_port, enum vsock_stage stage, int fd);
/* Owe the guest @packets (VSOCK_OWE_*). */
void vsock_owe(struct vsock_conn *c, unsigned packets);
/* It is over: close the host's side; the guest gets an RST, then @c goes. */
void vsock_reset(struct vsock_conn *c);
/* We receive (RCV), or send (SEND), no more; the guest is told.  If that is
 * both, the host's side is closed and the guest has some time to agree. */
void vsock_shut(struct vsock_conn *c, uint32_t flags);
/* Reset @c unless its timer is cancelled in time. */
void vsock_deadline(struct vsock_conn *c, int64_t ns);
/* Put it in the line for a buffer if it has. */
void vsock_queue(struct vsock_conn *c);
/* The guest should know of the room that there is again. */
void vsock_check_credit(struct vsock_conn *c);

/* A packet of the guest; @iov has @count parts from the header on. */
void vsock_from_guest(struct vsock *v, const struct iovec *iov, unsigned count);
/* Is there something for the guest? */
bool vsock_has_packet(const struct vsock *v);
/* Make a packet in a buffer of @room >= VSOCK_HEADER bytes.  Return: its
 * length; 0: there was none after all. */
uint32_t vsock_to_guest(struct vsock *v, const struct iovec *iov,
	unsigned count, uint64_t room);

/* ---- vsock_host.c ---- */

/* Connect to the socket for @port: an fd or -errno. */
int vsock_host_connect(const struct vsock *v, uint32_t port);
/* Tell the client that the guest has accepted; false: it is gone. */
bool vsock_host_accepted(struct vsock_conn *c);
/* Watch for what is wanted now.  May reset @c. */
void vsock_host_watch(struct vsock_conn *c);
/* Close it. */
void vsock_host_close(struct vsock_conn *c);
/* Pass on @len bytes of @iov from @off on, as many as the host takes.
 * Return: how many. */
uint32_t vsock_host_write(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t off, uint32_t len);
/* Pass on what is in the buffer; if all is out, do what waited for that.  May
 * reset @c. */
void vsock_host_flush(struct vsock_conn *c);
/* Read for the guest at @off of @iov, up to @len bytes; at the end @c is shut.
 * Return: bytes, 0: none now. */
uint32_t vsock_host_read(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t off, uint32_t len);

/* Take the path.  0 or -errno with @err. */
int vsock_host_listen(struct vsock *v, struct error *err);
/* Take or leave the path, see virtio_vsock_settle(). */
void vsock_host_settle(struct vsock *v, bool here);
void vsock_host_init(struct vsock *v);
/* No client, no listener any more. */
void vsock_host_fini(struct vsock *v);

#endif
