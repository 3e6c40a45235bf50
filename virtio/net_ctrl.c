/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/net_ctrl.c - the control queue (5.1.6.5).
 *
 * A command is a class, a number and data in readable buffers, cut as the
 * driver likes, and an answer byte in writable ones.  The data is copied once,
 * up to what the longest command needs.  Receive modes and filters are taken
 * and make no difference: the device passes everything on.
 */
#include <endian.h>
#include <string.h>

#include "virtio/iov.h"
#include "virtio/net_private.h"

#define FILTERS_MAX (64u << 10) /* bytes of MAC addresses in one command */

struct command {
	struct virtio_net_ctrl_hdr h;
	const struct iovec *iov; /* of the whole chain's readable part */
	unsigned count;
	uint64_t len; /* bytes after the header */
};

/* Exactly @len bytes of data, into @dst. */
static bool get(const struct command *c, void *dst, size_t len)
{
	return c->len == len &&
	       iov_read(c->iov, c->count, sizeof(c->h), dst, len) == len;
}

static bool set_rx_mode(struct net *n, const struct command *c)
{
	uint8_t on;

	return virtio_dev_has(&n->dev, VIRTIO_NET_F_CTRL_RX) &&
	       (c->h.cmd == VIRTIO_NET_CTRL_RX_PROMISC ||
		       c->h.cmd == VIRTIO_NET_CTRL_RX_ALLMULTI) &&
	       get(c, &on, 1) && on <= 1;
}

/* Two lists {u32 entries, macs}: their lengths must add up. */
static bool set_filters(struct net *n, const struct command *c)
{
	uint64_t at = 0;
	uint32_t entries;
	unsigned i;

	if (!virtio_dev_has(&n->dev, VIRTIO_NET_F_CTRL_RX) ||
		c->len > FILTERS_MAX)
		return false;
	for (i = 0; i < 2; i++) {
		if (c->len - at < sizeof(entries))
			return false;
		iov_read(c->iov, c->count, sizeof(c->h) + at, &entries,
			sizeof(entries));
		at += sizeof(entries);
		if (le32toh(entries) > (c->len - at) / 6)
			return false;
		at += 6 * (uint64_t)le32toh(entries);
	}
	return at == c->len;
}

static bool set_mac(struct net *n, const struct command *c)
{
	static const uint8_t none[6];
	uint8_t mac[6];

	if (!virtio_dev_has(&n->dev, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
		!get(c, mac, sizeof(mac)))
		return false;
	if (mac[0] & 1 || memcmp(mac, none, sizeof(mac)) == 0)
		return false;
	net_set_mac(n, mac);
	return true;
}

static bool announced(struct net *n, const struct command *c)
{
	if (!virtio_dev_has(&n->dev, VIRTIO_NET_F_GUEST_ANNOUNCE) ||
		c->len != 0)
		return false;
	n->announcing = false;
	net_set_status(n, false); /* the driver knows */
	return true;
}

void net_use_pairs(struct net *n, unsigned pairs)
{
	unsigned i;
	int rc = 0;

	for (i = pairs; i < n->pairs; i++)
		net_rx_unhold(n, i);
	n->pairs = pairs;
	if (n->backend->ops->use_queues && !n->gone)
		rc = n->backend->ops->use_queues(n->backend, pairs);
	if (rc < 0)
		log_limited(&n->dev.limit, LOG_WARN, "%s: use %u queues: %s",
			n->dev.name, pairs, strerror(-rc));
	for (i = 0; i < pairs; i++)
		virtio_dev_run(&n->dev, 2 * i);
}

static bool set_pairs(struct net *n, const struct command *c)
{
	uint16_t pairs;

	if (!virtio_dev_has(&n->dev, VIRTIO_NET_F_MQ) ||
		!get(c, &pairs, sizeof(pairs)))
		return false;
	pairs = le16toh(pairs);
	if (pairs < 1 || pairs > n->pairs_max)
		return false;
	net_use_pairs(n, pairs);
	return true;
}

static bool obey(struct net *n, const struct command *c)
{
	switch (c->h.class) {
	case VIRTIO_NET_CTRL_RX:
		return set_rx_mode(n, c);
	case VIRTIO_NET_CTRL_MAC:
		if (c->h.cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
			return set_filters(n, c);
		return c->h.cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET &&
		       set_mac(n, c);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return c->h.cmd == VIRTIO_NET_CTRL_ANNOUNCE_ACK &&
		       announced(n, c);
	case VIRTIO_NET_CTRL_MQ:
		return c->h.cmd == VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET &&
		       set_pairs(n, c);
	default:
		return false;
	}
}

void net_ctrl_request(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t)
{
	uint64_t total = iov_bytes(chain->iov, chain->readable);
	const struct iovec *in = virtq_chain_in(chain);
	struct command c = {.iov = chain->iov, .count = chain->readable};
	uint8_t ack = VIRTIO_NET_ERR;
	size_t len = 0;

	if (chain->writable == 0) {
		log_limited(&n->dev.limit, LOG_WARN,
			"%s: a command without room for the answer",
			n->dev.name);
	} else {
		if (total >= sizeof(c.h)) {
			iov_read(c.iov, c.count, 0, &c.h, sizeof(c.h));
			c.len = total - sizeof(c.h);
			if (obey(n, &c))
				ack = VIRTIO_NET_OK;
		}
		len = iov_write(in, chain->writable, 0, &ack, 1);
		virtq_mark_written(n->dev.gm, in, chain->writable, len);
	}
	virtio_dev_done(&n->dev, t, (uint32_t)len);
}
