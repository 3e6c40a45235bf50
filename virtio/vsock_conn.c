/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/vsock_conn.c - connections: packets of the guest, packets for it, and
 * the credit of both directions.  See vsock_private.h for the bounds.
 *
 * The guest is hostile: a header is copied once and each field of it checked.
 * What it may not do to a connection ends that one by RST; what belongs to no
 * connection is answered by RST, but for an RST.
 *
 * A connection is freed when its RST is on its way to the guest, or came from
 * there, and nowhere else but at a reset of the device: vsock_reset() leaves it
 * in the table.
 *
 * Thread: the device's loop.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio/iov.h"
#include "virtio/vsock_private.h"

/* Before any data. */
#define OWE_FIRST                                                              \
	(VSOCK_OWE_RST | VSOCK_OWE_REQUEST | VSOCK_OWE_RESPONSE |              \
		VSOCK_OWE_SHUTDOWN)

/* A header of the guest, host endian. */
struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len, flags, buf_alloc, fwd_cnt;
	uint16_t type, op;
	const struct iovec *iov; /* header and payload */
	unsigned count;
};

/* ---- the table ---- */

int vsock_table_init(struct vsock *v)
{
	v->buckets = 16;
	while (v->buckets < v->conns_max)
		v->buckets *= 2;
	v->bucket = calloc(v->buckets, sizeof(*v->bucket));
	if (!v->bucket)
		return -ENOMEM;
	if (getrandom(&v->secret, sizeof(v->secret), GRND_NONBLOCK) !=
		sizeof(v->secret))
		v->secret = (uintptr_t)v->bucket; /* early in the boot */
	TAILQ_INIT(&v->waiting);
	return 0;
}

static struct vsock_bucket *bucket_of(
	const struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	uint64_t key = (uint64_t)host_port << 32 | guest_port;

	key = (key ^ v->secret) * 0x9e3779b97f4a7c15ull;
	key = (key ^ key >> 29) * 0xbf58476d1ce4e5b9ull;
	return &v->bucket[key >> 32 & (v->buckets - 1)];
}

struct vsock_conn *vsock_find(
	const struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	struct vsock_conn *c;

	LIST_FOREACH(c, bucket_of(v, host_port, guest_port), bucket)
	if (c->host_port == host_port && c->guest_port == guest_port)
		return c;
	return NULL;
}

static void too_late(void *opaque)
{
	vsock_reset(opaque);
}

struct vsock_conn *vsock_conn_new(struct vsock *v, uint32_t host_port,
	uint32_t guest_port, enum vsock_stage stage, int fd)
{
	struct vsock_conn *c = NULL;

	if (v->conns < v->conns_max)
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return NULL;
	}
	c->v = v;
	c->host_port = host_port;
	c->guest_port = guest_port;
	c->stage = stage;
	c->fd = fd;
	loop_timer_init(&c->timer, v->dev.loop, LOOP_VIRTUAL, too_late, c);
	LIST_INSERT_HEAD(bucket_of(v, host_port, guest_port), c, bucket);
	v->conns++;
	return c;
}

static void unqueue(struct vsock_conn *c)
{
	if (c->queued)
		TAILQ_REMOVE(&c->v->waiting, c, line);
	c->queued = false;
}

static void conn_free(struct vsock_conn *c)
{
	loop_timer_cancel(&c->timer);
	vsock_host_close(c);
	unqueue(c);
	LIST_REMOVE(c, bucket);
	c->v->conns--;
	free(c->buffer);
	free(c);
}

void vsock_forget_all(struct vsock *v)
{
	unsigned i;

	for (i = 0; i < v->buckets; i++)
		while (!LIST_EMPTY(&v->bucket[i]))
			conn_free(LIST_FIRST(&v->bucket[i]));
	v->refusals = 0;
}

/* ---- what is owed ---- */

/* May bytes be read for it, and could there be some? */
static bool has_data(const struct vsock_conn *c)
{
	return c->stage == VSOCK_OPEN && c->readable && vsock_credit(c) > 0 &&
	       !(c->our_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
	       !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

/* Put @c in the line if it has something for the guest. */
static bool line_up(struct vsock_conn *c)
{
	if (c->queued || (!c->owed && !has_data(c)))
		return c->queued;
	TAILQ_INSERT_TAIL(&c->v->waiting, c, line);
	c->queued = true;
	return true;
}

void vsock_queue(struct vsock_conn *c)
{
	if (!c->queued && line_up(c))
		virtio_dev_run(&c->v->dev, VSOCK_RX);
}

void vsock_owe(struct vsock_conn *c, unsigned packets)
{
	c->owed |= packets;
	vsock_queue(c);
}

void vsock_reset(struct vsock_conn *c)
{
	if (c->stage == VSOCK_OVER)
		return;
	loop_timer_cancel(&c->timer);
	vsock_host_close(c);
	c->stage = VSOCK_OVER;
	c->owed = 0;
	vsock_owe(c, VSOCK_OWE_RST);
}

void vsock_deadline(struct vsock_conn *c, int64_t ns)
{
	struct loop *loop = c->v->dev.loop;

	if (loop_timer_set(&c->timer, loop_now_ns(loop, LOOP_VIRTUAL) + ns) < 0)
		vsock_reset(c);
}

static void drop_buffer(struct vsock_conn *c)
{
	c->forwarded = c->received;
	free(c->buffer);
	c->buffer = NULL;
}

void vsock_shut(struct vsock_conn *c, uint32_t flags)
{
	if (c->stage != VSOCK_OPEN || (c->our_shut | flags) == c->our_shut)
		return;
	c->our_shut |= flags;
	if (c->our_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
		drop_buffer(c); /* nobody is there to take it */
	if (c->our_shut == VSOCK_SHUT_BOTH) {
		vsock_host_close(c);
		c->stage = VSOCK_LINGER;
		vsock_deadline(c, c->v->linger_ns);
	}
	if (c->stage != VSOCK_OVER)
		vsock_owe(c, VSOCK_OWE_SHUTDOWN);
}

void vsock_check_credit(struct vsock_conn *c)
{
	uint32_t room = VSOCK_BUFFER_BYTES - (c->received - c->told);

	if (c->told != c->forwarded && room < VSOCK_BUFFER_BYTES / 2)
		vsock_owe(c, VSOCK_OWE_CREDIT_UPDATE);
}

/* ---- to the guest ---- */

static void put_header(const struct iovec *iov, unsigned count,
	struct virtio_vsock_hdr h, uint64_t guest_cid)
{
	h.dst_cid = htole64(guest_cid);
	iov_write(iov, count, 0, &h, sizeof(h));
}

static void put_packet(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint16_t op, uint32_t len)
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(VSOCK_HOST_CID),
		.src_port = htole32(c->host_port),
		.dst_port = htole32(c->guest_port),
		.len = htole32(len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(op),
		.buf_alloc = htole32(VSOCK_BUFFER_BYTES),
		.fwd_cnt = htole32(c->forwarded),
	};

	if (op == VIRTIO_VSOCK_OP_SHUTDOWN)
		h.flags = htole32(c->our_shut);
	put_header(iov, count, h, c->v->cid);
	c->told = c->forwarded;
	c->owed &= ~(unsigned)VSOCK_OWE_CREDIT_UPDATE;
}

static void put_refusal(
	struct vsock *v, const struct iovec *iov, unsigned count)
{
	const struct vsock_refusal *r = &v->refusal[v->refused_first];
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(r->src_cid),
		.src_port = htole32(r->src_port),
		.dst_port = htole32(r->dst_port),
		.type = htole16(r->type),
		.op = htole16(VIRTIO_VSOCK_OP_RST),
	};

	put_header(iov, count, h, v->cid);
	/* The guest's queue was left alone if there was no room. */
	if (v->refusals == VSOCK_REFUSALS)
		virtio_dev_run(&v->dev, VSOCK_TX);
	v->refused_first = (v->refused_first + 1) % VSOCK_REFUSALS;
	v->refusals--;
}

static uint16_t take_owed(struct vsock_conn *c)
{
	static const struct {
		unsigned owed;
		uint16_t op;
	} order[] = {
		{VSOCK_OWE_RST, VIRTIO_VSOCK_OP_RST},
		{VSOCK_OWE_REQUEST, VIRTIO_VSOCK_OP_REQUEST},
		{VSOCK_OWE_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE},
		{VSOCK_OWE_SHUTDOWN, VIRTIO_VSOCK_OP_SHUTDOWN},
		{VSOCK_OWE_CREDIT_REQUEST, VIRTIO_VSOCK_OP_CREDIT_REQUEST},
		{VSOCK_OWE_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_UPDATE},
	};
	unsigned i;

	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		if (!(c->owed & order[i].owed))
			continue;
		c->owed &= ~order[i].owed;
		return order[i].op;
	}
	return VIRTIO_VSOCK_OP_INVALID;
}

/* Data, as much as there is, has room and is allowed. */
static uint32_t put_data(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t room)
{
	uint32_t len = vsock_credit(c);

	if (len > room - VSOCK_HEADER)
		len = (uint32_t)(room - VSOCK_HEADER);
	len = vsock_host_read(c, iov, count, VSOCK_HEADER, len);
	if (len == 0)
		return 0;
	c->sent += len;
	put_packet(c, iov, count, VIRTIO_VSOCK_OP_RW, len);
	if (vsock_credit(c) == 0)
		c->owed |= VSOCK_OWE_CREDIT_REQUEST;
	return VSOCK_HEADER + len;
}

/* The next packet of @c; 0: it has none.  An RST frees it. */
static uint32_t next_packet(struct vsock_conn *c, const struct iovec *iov,
	unsigned count, uint64_t room)
{
	uint32_t len = 0;
	uint16_t op;

	if (!(c->owed & OWE_FIRST) && room > VSOCK_HEADER && has_data(c))
		len = put_data(c, iov, count, room);
	if (len == 0 && c->owed) {
		op = take_owed(c);
		put_packet(c, iov, count, op, 0);
		if (op == VIRTIO_VSOCK_OP_RST) {
			conn_free(c);
			return VSOCK_HEADER;
		}
		len = VSOCK_HEADER;
	} else if (len == 0 && has_data(c)) {
		/* A buffer too small for data must not hold it up. */
		put_packet(c, iov, count, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
		len = VSOCK_HEADER;
	}
	if (!line_up(c))
		vsock_host_watch(c);
	return len;
}

bool vsock_has_packet(const struct vsock *v)
{
	return v->refusals > 0 || !TAILQ_EMPTY(&v->waiting);
}

uint32_t vsock_to_guest(
	struct vsock *v, const struct iovec *iov, unsigned count, uint64_t room)
{
	struct vsock_conn *c;
	uint32_t len;

	if (v->refusals > 0) {
		put_refusal(v, iov, count);
		return VSOCK_HEADER;
	}
	/* Each goes to the end of the line, or leaves it. */
	while ((c = TAILQ_FIRST(&v->waiting)) != NULL) {
		unqueue(c);
		len = next_packet(c, iov, count, room);
		if (len > 0)
			return len;
	}
	return 0;
}

/* ---- from the guest ---- */

static void refuse(struct vsock *v, const struct packet *p)
{
	unsigned at = (v->refused_first + v->refusals) % VSOCK_REFUSALS;

	/* Never an RST for an RST.  The queue is not served without room. */
	if (p->op == VIRTIO_VSOCK_OP_RST || v->refusals == VSOCK_REFUSALS)
		return;
	v->refusal[at] = (struct vsock_refusal){
		.src_cid = p->dst_cid,
		.src_port = p->dst_port,
		.dst_port = p->src_port,
		.type = p->type,
	};
	v->refusals++;
	virtio_dev_run(&v->dev, VSOCK_RX);
}

/* Take what the guest says of its side.  False: that cannot be. */
static bool take_credit(struct vsock_conn *c, const struct packet *p)
{
	uint32_t ahead = p->fwd_cnt - c->peer_fwd;

	/* vCPUs may overtake each other, so what is behind is just old. */
	if (ahead < 1u << 31) {
		if (ahead > c->sent - c->peer_fwd)
			return false;
		c->peer_fwd = p->fwd_cnt;
	}
	c->peer_alloc = p->buf_alloc;
	if (vsock_credit(c) > 0)
		c->owed &= ~(unsigned)VSOCK_OWE_CREDIT_REQUEST;
	return true;
}

static void on_request(struct vsock *v, const struct packet *p)
{
	struct vsock_conn *c = NULL;
	int fd = -1;

	if (v->conns < v->conns_max)
		fd = vsock_host_connect(v, p->dst_port);
	if (fd >= 0)
		c = vsock_conn_new(v, p->dst_port, p->src_port, VSOCK_OPEN, fd);
	if (!c) {
		refuse(v, p);
		return;
	}
	if (!take_credit(c, p)) {
		vsock_reset(c);
		return;
	}
	vsock_owe(c, VSOCK_OWE_RESPONSE);
	vsock_host_watch(c);
}

static void on_response(struct vsock_conn *c)
{
	/* An answer to what was not yet asked is none. */
	if (c->stage != VSOCK_ASKED || c->owed & VSOCK_OWE_REQUEST) {
		vsock_reset(c);
		return;
	}
	loop_timer_cancel(&c->timer);
	c->stage = VSOCK_OPEN;
	if (!vsock_host_accepted(c))
		vsock_reset(c);
}

static void on_shutdown(struct vsock_conn *c, uint32_t flags)
{
	uint32_t added;

	if (flags & ~VSOCK_SHUT_BOTH) {
		vsock_reset(c);
		return;
	}
	added = flags & ~c->guest_shut;
	c->guest_shut |= flags;
	if (c->stage == VSOCK_LINGER) {
		if (c->guest_shut == VSOCK_SHUT_BOTH)
			vsock_reset(c); /* the end that both agree on */
		return;
	}
	if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		c->readable = false;
		shutdown(c->fd, SHUT_RD);
	}
	if (added && c->guest_shut == VSOCK_SHUT_BOTH)
		vsock_deadline(c, c->v->linger_ns);
	vsock_host_flush(c);
}

/* Keep the last @len of the received bytes, which are at @off of the packet. */
static bool keep(struct vsock_conn *c, const struct packet *p, uint64_t off,
	uint32_t len)
{
	uint32_t at = (c->received - len) % VSOCK_BUFFER_BYTES;
	uint32_t first = VSOCK_BUFFER_BYTES - at;

	if (!c->buffer)
		c->buffer = malloc(VSOCK_BUFFER_BYTES);
	if (!c->buffer)
		return false;
	if (first > len)
		first = len;
	iov_read(p->iov, p->count, off, c->buffer + at, first);
	iov_read(p->iov, p->count, off + first, c->buffer, len - first);
	return true;
}

static void on_data(struct vsock_conn *c, const struct packet *p)
{
	uint32_t out = 0;

	if (c->stage == VSOCK_LINGER)
		return; /* sent before our end was seen */
	if (c->owed & VSOCK_OWE_RESPONSE ||
		c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND ||
		p->len > VSOCK_BUFFER_BYTES - vsock_buffered(c)) {
		vsock_reset(c);
		return;
	}
	c->received += p->len;
	if (!(c->our_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
		vsock_buffered(c) == p->len)
		out = vsock_host_write(
			c, p->iov, p->count, VSOCK_HEADER, p->len);
	if (c->our_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) {
		drop_buffer(c);
	} else {
		c->forwarded += out;
		if (out < p->len &&
			!keep(c, p, VSOCK_HEADER + out, p->len - out)) {
			vsock_reset(c);
			return;
		}
	}
	vsock_check_credit(c);
}

/* A good packet of a connection that is not over. */
static void dispatch(struct vsock_conn *c, const struct packet *p)
{
	switch (p->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		on_response(c);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		on_shutdown(c, p->flags);
		break;
	case VIRTIO_VSOCK_OP_RW:
		on_data(c, p);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		vsock_owe(c, VSOCK_OWE_CREDIT_UPDATE);
		break;
	default:
		vsock_reset(c);
	}
}

static void to_conn(struct vsock_conn *c, const struct packet *p)
{
	if (c->stage == VSOCK_OVER)
		return; /* its RST is on the way */
	if ((c->stage == VSOCK_ASKED && p->op != VIRTIO_VSOCK_OP_RESPONSE) ||
		!take_credit(c, p)) {
		vsock_reset(c);
		return;
	}
	dispatch(c, p);
	if (c->stage != VSOCK_OPEN)
		return;
	vsock_queue(c);
	vsock_host_watch(c);
}

/* Copy the header, once, and see whether the packet is one. */
static const char *read_packet(const struct vsock *v, const struct iovec *iov,
	unsigned count, struct packet *ret_p)
{
	uint64_t bytes = iov_bytes(iov, count);
	struct virtio_vsock_hdr h;

	if (bytes < sizeof(h))
		return "a packet shorter than its header";
	iov_read(iov, count, 0, &h, sizeof(h));
	*ret_p = (struct packet){
		.src_cid = le64toh(h.src_cid),
		.dst_cid = le64toh(h.dst_cid),
		.src_port = le32toh(h.src_port),
		.dst_port = le32toh(h.dst_port),
		.len = le32toh(h.len),
		.flags = le32toh(h.flags),
		.buf_alloc = le32toh(h.buf_alloc),
		.fwd_cnt = le32toh(h.fwd_cnt),
		.type = le16toh(h.type),
		.op = le16toh(h.op),
		.iov = iov,
		.count = count,
	};
	if (ret_p->src_cid != v->cid)
		return "a packet that claims to be another machine's";
	/* Only data has data, and all of it is there. */
	if (ret_p->op != VIRTIO_VSOCK_OP_RW)
		bytes = sizeof(h);
	if (ret_p->len > bytes - sizeof(h))
		ret_p->op = VIRTIO_VSOCK_OP_INVALID;
	return NULL;
}

void vsock_from_guest(struct vsock *v, const struct iovec *iov, unsigned count)
{
	struct vsock_conn *c = NULL;
	const char *wrong;
	struct packet p;

	wrong = read_packet(v, iov, count, &p);
	if (wrong) {
		log_limited(
			&v->dev.limit, LOG_WARN, "%s: %s", v->dev.name, wrong);
		return;
	}
	if (p.dst_cid == VSOCK_HOST_CID && p.type == VIRTIO_VSOCK_TYPE_STREAM)
		c = vsock_find(v, p.dst_port, p.src_port);
	else if (p.op == VIRTIO_VSOCK_OP_REQUEST)
		p.op = VIRTIO_VSOCK_OP_INVALID;
	if (c && p.op == VIRTIO_VSOCK_OP_RST)
		conn_free(c);
	else if (c)
		to_conn(c, &p);
	else if (p.op == VIRTIO_VSOCK_OP_REQUEST)
		on_request(v, &p);
	else
		refuse(v, &p);
}
