/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/net_state.c - save and load of a network device.
 *
 *   u8[6] MAC | u16 status | u16 queue pairs in use | u16 MTU (0: not told)
 *
 * The status is what the driver has read: should the link be another one here,
 * it is told after the resume.  The MTU must be ours.  Offloads follow from the
 * features, the number of queues from the shared part.  What the back end knows
 * (connections, frames that wait) is not saved: networks lose frames.
 */
#include <endian.h>
#include <string.h>

#include "migrate/state.h"
#include "virtio/net_private.h"

#define STATUS_BITS (VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE)

void net_save(const struct virtio_dev *dev, struct state_writer *w)
{
	const struct net *n = (const struct net *)dev;
	struct virtio_net_config c;

	memcpy(&c, dev->config, NET_CONFIG_BYTES);
	state_put_bytes(w, c.mac, sizeof(c.mac));
	state_put_u16(w, le16toh(c.status));
	state_put_u16(w, (uint16_t)n->pairs);
	state_put_u16(w, n->mtu);
}

int net_load(struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	struct net *n = net_of(dev);
	struct net_staged *s = &n->staged;
	static const uint8_t none[6];
	uint16_t mtu;

	state_get_bytes(r, s->mac, sizeof(s->mac));
	s->status = state_get_u16(r);
	s->pairs = state_get_u16(r);
	mtu = state_get_u16(r);
	if (r->error)
		return r->error;
	if (s->mac[0] & 1 || memcmp(s->mac, none, sizeof(none)) == 0)
		return state_reject(r, err, "a MAC address no device can have");
	if (s->status & ~STATUS_BITS)
		return state_reject(r, err, "an impossible link status");
	if (s->pairs < 1 || s->pairs > n->pairs_max)
		return state_reject(r, err, "too many queue pairs");
	if (mtu != n->mtu)
		return state_reject(r, err, "another MTU (see mtu= of --net)");
	return 0;
}

void net_loaded(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	uint16_t status = n->staged.status;

	/* Only the features, which are known now, can make these so. */
	n->pairs = virtio_dev_has(dev, VIRTIO_NET_F_MQ) ? n->staged.pairs : 1;
	if (!virtio_dev_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		status &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
	n->announcing = status & VIRTIO_NET_S_ANNOUNCE;
	net_set_mac(n, n->staged.mac);
	status = htole16(status);
	virtio_dev_set_config(dev, offsetof(struct virtio_net_config, status),
		&status, sizeof(status), false);
	n->moved = true;
	if (n->backend->ops->forget)
		n->backend->ops->forget(n->backend);
}
