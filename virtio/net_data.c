/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/net_data.c - frames between the rings and the back end.
 *
 *   rx  a frame is read straight into the driver's next buffer and, as far as
 *       it is longer than that, into a spill area of ours; the rest goes into
 *       the buffers after it, as they come (MRG_RXBUF), and then the driver
 *       sees all of them at once.  Frames that find no buffer stay in the host
 *   tx  the header is copied and checked, the frame goes out of guest RAM.  A
 *       back end that takes nothing now stops the queue
 *
 * What the driver gets wrong costs it frames, each with a warning a second at
 * most.  Nothing is ever in flight but a frame that waits for more buffers.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "virtio/iov.h"
#include "virtio/net_private.h"

#define AT_NUM_BUFFERS 10u /* in the header: two bytes */
#define DISCARD_BATCH  64u

/* ---- throttling ---- */

static void throttle_over(void *opaque)
{
	struct net_throttle *t = opaque;
	unsigned i;

	for (i = 0; i < t->net->pairs_max; i++)
		virtio_dev_run(&t->net->dev, 2 * i + t->first);
}

void net_throttle_init(struct net *n, struct net_throttle *t, unsigned first,
	const struct bucket_limit *bytes, const struct bucket_limit *frames)
{
	int64_t now = loop_now_ns(n->dev.loop, LOOP_VIRTUAL);

	t->net = n;
	t->first = first;
	bucket_init(&t->bytes, bytes, now);
	bucket_init(&t->frames, frames, now);
	loop_timer_init(&t->timer, n->dev.loop, LOOP_VIRTUAL, throttle_over, t);
}

/* Must this direction wait?  Then the timer is on. */
static bool throttled(struct net_throttle *t)
{
	int64_t now, wait, wait_frames;

	if (t->bytes.rate == 0 && t->frames.rate == 0)
		return false;
	now = loop_now_ns(t->net->dev.loop, LOOP_VIRTUAL);
	wait = bucket_wait_ns(&t->bytes, now);
	wait_frames = bucket_wait_ns(&t->frames, now);
	if (wait_frames > wait)
		wait = wait_frames;
	/* Without memory for a timer a frame too many is the lesser evil. */
	return wait > 0 && loop_timer_set(&t->timer, now + wait) == 0;
}

static void charge(struct net_throttle *t, uint64_t bytes)
{
	bucket_charge(&t->bytes, bytes);
	bucket_charge(&t->frames, 1);
}

/* ---- to the guest ---- */

static struct net_pair *pair_of(struct net *n, struct virtio_ticket t)
{
	return &n->pair[t.queue / 2];
}

void net_rx_discard(struct net *n, unsigned pair)
{
	struct net_pair *p = &n->pair[pair];
	struct iovec iov = {p->held.spill, NET_SPILL_BYTES};
	unsigned i;

	for (i = 0; i < DISCARD_BATCH && p->readable && !n->gone; i++) {
		if (n->backend->ops->recv(n->backend, pair, &iov, 1) < 0)
			p->readable = false;
		else
			n->stats.rx.dropped++;
	}
}

bool net_rx_ready(struct net *n, unsigned pair)
{
	struct net_pair *p = &n->pair[pair];

	if (pair >= n->pairs)
		return false;
	if (p->held.count > 0)
		return true; /* its end is not far */
	if (!net_link(n)) {
		net_rx_discard(n, pair);
		if (p->readable && !n->gone)
			virtio_dev_run(&n->dev, 2 * pair);
		return false;
	}
	return p->readable && !throttled(&n->rx);
}

void net_rx_unhold(struct net *n, unsigned pair)
{
	struct net_held *h = &n->pair[pair].held;

	if (h->count > 0)
		n->stats.rx.dropped++;
	while (h->count > 0) {
		struct virtio_ticket t = h->ticket[--h->count];

		if (virtio_dev_stale(&n->dev, t))
			virtio_dev_done(&n->dev, t, 0);
		else
			virtio_dev_putback(&n->dev, t);
	}
}

static void rx_drop(struct net *n, struct virtio_ticket t)
{
	n->stats.rx.dropped++;
	virtio_dev_putback(&n->dev, t);
}

/* The header's last field, and with it the header if the back end has none. */
static void put_header(struct net *n, const struct iovec *iov, unsigned count,
	uint16_t buffers)
{
	struct virtio_net_hdr_v1 h = {.num_buffers = htole16(buffers)};

	if (n->backend->header_bytes == 0) {
		iov_write(iov, count, 0, &h, sizeof(h));
		return;
	}
	iov_write(iov, count, AT_NUM_BUFFERS, &h.num_buffers, 2);
	/* A tap says DATA_VALID unasked; without GUEST_CSUM the flags must be
	 * zero (5.1.6.4.1). */
	if (!virtio_dev_has(&n->dev, VIRTIO_NET_F_GUEST_CSUM))
		iov_write(iov, count, 0, &h.flags, sizeof(h.flags));
}

/* The frame does not fit: keep this buffer and go on with the next. */
static void rx_hold(struct net *n, struct virtio_ticket t,
	const struct iovec *in, unsigned count, uint64_t room, uint64_t bytes)
{
	struct net_held *h = &pair_of(n, t)->held;

	h->ticket[0] = t;
	h->len[0] = (uint32_t)room;
	h->count = 1;
	h->num_parts =
		iov_slice(in, count, AT_NUM_BUFFERS, 2, h->num_buffers, 2);
	h->pos = 0;
	h->end = (uint32_t)(bytes - room);
}

/* A frame of @bytes with its header was read for a buffer of @room. */
static void rx_deliver(struct net *n, struct virtq_chain *chain,
	struct virtio_ticket t, uint64_t room, uint64_t bytes)
{
	const struct iovec *in = virtq_chain_in(chain);
	bool fits = bytes <= room;

	if (bytes < NET_HEADER_BYTES + NET_FRAME_MIN ||
		bytes > NET_SPILL_BYTES ||
		(!fits && !virtio_dev_has(&n->dev, VIRTIO_NET_F_MRG_RXBUF))) {
		virtq_mark_written(n->dev.gm, in, chain->writable, bytes);
		rx_drop(n, t);
		return;
	}
	charge(&n->rx, bytes - NET_HEADER_BYTES);
	n->stats.rx.frames++;
	n->stats.rx.bytes += bytes - NET_HEADER_BYTES;
	put_header(n, in, chain->writable, 1);
	virtq_mark_written(n->dev.gm, in, chain->writable, bytes);
	if (fits)
		virtio_dev_done(&n->dev, t, (uint32_t)bytes);
	else
		rx_hold(n, t, in, chain->writable, room, bytes);
}

static void rx_begin(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t)
{
	unsigned skip = NET_HEADER_BYTES - n->backend->header_bytes, parts;
	const struct iovec *in = virtq_chain_in(chain);
	uint64_t room = iov_bytes(in, chain->writable);
	struct net_pair *p = pair_of(n, t);
	struct iovec iov[VIRTQ_SIZE_MAX + 1];
	ssize_t got;

	if (room < NET_HEADER_BYTES) {
		log_limited(&n->dev.limit, LOG_WARN,
			"%s: a receive buffer too small for the header",
			n->dev.name);
		virtio_dev_done(&n->dev, t, 0);
		return;
	}
	parts = iov_slice(
		in, chain->writable, skip, room - skip, iov, VIRTQ_SIZE_MAX);
	iov[parts] = (struct iovec){p->held.spill, NET_SPILL_BYTES};
	got = n->backend->ops->recv(n->backend, t.queue / 2, iov, parts + 1);
	if (got >= 0) {
		rx_deliver(n, chain, t, room, (uint64_t)got + skip);
		return;
	}
	p->readable = false;
	virtio_dev_putback(&n->dev, t);
	if (got != -EAGAIN)
		n->backend->front.gone(n, (int)got);
}

/* More of a frame that needs several buffers. */
static void rx_continue(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t)
{
	const struct iovec *in = virtq_chain_in(chain);
	struct net_held *h = &pair_of(n, t)->held;
	size_t len = iov_write(
		in, chain->writable, 0, h->spill + h->pos, h->end - h->pos);

	virtq_mark_written(n->dev.gm, in, chain->writable, len);
	h->pos += (uint32_t)len;
	h->ticket[h->count] = t;
	h->len[h->count++] = (uint32_t)len;
	if (h->pos == h->end) {
		uint16_t le = htole16((uint16_t)h->count);

		iov_write(h->num_buffers, h->num_parts, 0, &le, 2);
		virtq_mark_written(n->dev.gm, h->num_buffers, h->num_parts, 2);
		virtio_dev_done_all(&n->dev, h->ticket, h->len, h->count);
		h->count = 0;
	} else if (h->count == n->dev.queue[t.queue].vq.size) {
		/* The whole ring is too small for it. */
		net_rx_unhold(n, t.queue / 2);
	}
}

void net_rx_request(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t)
{
	if (pair_of(n, t)->held.count > 0)
		rx_continue(n, chain, t);
	else
		rx_begin(n, chain, t);
}

/* ---- from the guest ---- */

bool net_tx_ready(struct net *n, unsigned pair)
{
	return !n->pair[pair].blocked && !throttled(&n->tx);
}

/* Nothing may be left to the receiver that was not negotiated. */
static bool header_ok(struct net *n, struct virtio_net_hdr_v1 *h)
{
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->num_buffers = 0;
	if (h->flags && !virtio_dev_has(&n->dev, VIRTIO_NET_F_CSUM))
		return false;
	switch (h->gso_type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return h->flags &&
		       virtio_dev_has(&n->dev, VIRTIO_NET_F_HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return h->flags &&
		       virtio_dev_has(&n->dev, VIRTIO_NET_F_HOST_TSO6);
	default:
		return false;
	}
}

static void tx_drop(struct net *n, struct virtio_ticket t)
{
	n->stats.tx.dropped++;
	virtio_dev_done(&n->dev, t, 0);
}

void net_tx_request(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t)
{
	uint64_t total = iov_bytes(chain->iov, chain->readable);
	unsigned pair = t.queue / 2, parts = 0;
	struct iovec iov[VIRTQ_SIZE_MAX + 1];
	struct virtio_net_hdr_v1 h;
	int rc;

	if (total < NET_HEADER_BYTES + NET_FRAME_MIN ||
		total > NET_HEADER_BYTES + NET_FRAME_MAX) {
		log_limited(&n->dev.limit, LOG_WARN,
			"%s: a frame of %llu bytes with its header",
			n->dev.name, (unsigned long long)total);
		tx_drop(n, t);
		return;
	}
	iov_read(chain->iov, chain->readable, 0, &h, sizeof(h));
	if (!net_link(n) || !header_ok(n, &h)) {
		tx_drop(n, t);
		return;
	}
	if (n->backend->header_bytes > 0)
		iov[parts++] = (struct iovec){&h, sizeof(h)};
	parts += iov_slice(chain->iov, chain->readable, NET_HEADER_BYTES,
		total - NET_HEADER_BYTES, iov + parts, VIRTQ_SIZE_MAX);
	rc = n->backend->ops->send(n->backend, pair, iov, parts);
	if (rc == -EAGAIN) {
		n->pair[pair].blocked = true;
		virtio_dev_putback(&n->dev, t);
		return;
	}
	if (rc < 0) {
		tx_drop(n, t);
		return;
	}
	charge(&n->tx, total - NET_HEADER_BYTES);
	n->stats.tx.frames++;
	n->stats.tx.bytes += total - NET_HEADER_BYTES;
	virtio_dev_done(&n->dev, t, 0);
}
