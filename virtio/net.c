/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/net.c - a network device: creation, start and stop, the link, and the
 * announcement after a move (P14).  See net_private.h for the rest.
 *
 * After a move the network must learn where the guest is.  A driver that can
 * (GUEST_ANNOUNCE) is asked to say so itself; for others the back end speaks up
 * a few times.
 */
#include "virtio/net.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio/net_private.h"
#include "vmm/error.h"

#define BIT(n)	     (1ull << (n))
#define ROUNDS	     3u		 /* announcements of the back end, */
#define ROUND_GAP_NS 200000000ll /* so far apart */

/* ---- what the driver reads ---- */

void net_set_status(struct net *n, bool tell)
{
	uint16_t status = 0;

	if (net_link(n))
		status |= VIRTIO_NET_S_LINK_UP;
	if (n->announcing)
		status |= VIRTIO_NET_S_ANNOUNCE;
	status = htole16(status);
	virtio_dev_set_config(&n->dev,
		offsetof(struct virtio_net_config, status), &status,
		sizeof(status), tell);
}

void net_set_mac(struct net *n, const uint8_t mac[6])
{
	virtio_dev_set_config(&n->dev, offsetof(struct virtio_net_config, mac),
		mac, 6, false);
}

/* ---- the back end's calls ---- */

static void front_readable(void *opaque, unsigned queue)
{
	struct net *n = opaque;

	n->pair[queue].readable = true;
	virtio_dev_serve(&n->dev, 2 * queue);
}

static void front_writable(void *opaque, unsigned queue)
{
	struct net *n = opaque;

	n->pair[queue].blocked = false;
	virtio_dev_run(&n->dev, 2 * queue + 1);
}

static void link_changed(struct net *n)
{
	unsigned i;

	for (i = 0; i < n->pairs_max; i++) {
		/* What waits on either side is dropped, or goes on. */
		n->pair[i].blocked = false;
		virtio_dev_run(&n->dev, 2 * i);
		virtio_dev_run(&n->dev, 2 * i + 1);
	}
	net_set_status(n, true);
}

static void front_gone(void *opaque, int err)
{
	struct net *n = opaque;

	if (n->gone)
		return;
	n->gone = true;
	log_warn("%s: %s: %s (the guest's link is down from now on)",
		n->dev.name, n->backend->ops->kind, strerror(-err));
	n->backend->ops->stop(n->backend);
	link_changed(n);
}

/* ---- announcements ---- */

static void announce_round(void *opaque)
{
	struct net *n = opaque;
	int64_t next = loop_now_ns(n->dev.loop, LOOP_VIRTUAL) + ROUND_GAP_NS;

	if (!net_link(n) || n->rounds == 0)
		return;
	n->backend->ops->announce(n->backend, n->dev.config);
	if (--n->rounds > 0)
		loop_timer_set(&n->announce, next);
}

static void announce(struct net *n)
{
	if (!net_link(n))
		return;
	if (n->dev.active &&
		virtio_dev_has(&n->dev, VIRTIO_NET_F_GUEST_ANNOUNCE) &&
		virtio_dev_has(&n->dev, VIRTIO_NET_F_STATUS) &&
		virtio_dev_has(&n->dev, VIRTIO_NET_F_CTRL_VQ)) {
		n->announcing = true; /* net_set_status() follows */
		return;
	}
	if (!n->backend->ops->announce || !n->dev.active)
		return;
	n->rounds = ROUNDS;
	announce_round(n);
}

/* ---- virtio_dev_ops ---- */

static bool net_ready(struct virtio_dev *dev, unsigned q)
{
	struct net *n = net_of(dev);

	if (q == n->ctrl)
		return true;
	if (q / 2 >= n->pairs_max)
		return false; /* a control queue that is not the one in use */
	return q % 2 == 0 ? net_rx_ready(n, q / 2) : net_tx_ready(n, q / 2);
}

/* Frames to send; buffers to receive into are of no interest by themselves. */
static bool net_polled(const struct virtio_dev *dev, unsigned q)
{
	const struct net *n = (const struct net *)dev;

	return q % 2 == 1 && q < 2 * n->pairs_max;
}

static void net_request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	struct net *n = net_of(dev);

	if (ticket.queue == n->ctrl)
		net_ctrl_request(n, chain, ticket);
	else if (ticket.queue % 2 == 0)
		net_rx_request(n, chain, ticket);
	else
		net_tx_request(n, chain, ticket);
}

static unsigned offloads_wanted(const struct net *n)
{
	const struct virtio_dev *dev = &n->dev;
	unsigned wanted = 0;

	/* Segments come without checksums, so the one needs the other. */
	if (!virtio_dev_has(dev, VIRTIO_NET_F_GUEST_CSUM))
		return 0;
	wanted |= NET_OFFLOAD_CSUM;
	if (virtio_dev_has(dev, VIRTIO_NET_F_GUEST_TSO4))
		wanted |= NET_OFFLOAD_TSO4;
	if (virtio_dev_has(dev, VIRTIO_NET_F_GUEST_TSO6))
		wanted |= NET_OFFLOAD_TSO6;
	return wanted;
}

static void net_start(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	int rc = 0;

	/* Without MQ there is one pair, and so queue 2 (5.1.2). */
	n->ctrl = virtio_dev_has(dev, VIRTIO_NET_F_MQ) ? 2 * n->pairs_max : 2;
	if (!virtio_dev_has(dev, VIRTIO_NET_F_CTRL_VQ))
		n->ctrl = UINT32_MAX;
	if (n->gone)
		return;
	if (n->backend->ops->offload)
		rc = n->backend->ops->offload(n->backend, offloads_wanted(n));
	if (rc < 0) {
		front_gone(n, rc);
		return;
	}
	net_use_pairs(n, n->pairs);
	n->backend->ops->start(n->backend);
}

static void net_stop(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	unsigned i;

	n->backend->ops->stop(n->backend);
	for (i = 0; i < n->pairs_max; i++) {
		net_rx_unhold(n, i);
		n->pair[i].readable = n->pair[i].blocked = false;
	}
	loop_timer_cancel(&n->rx.timer);
	loop_timer_cancel(&n->tx.timer);
	loop_timer_cancel(&n->announce);
	n->rounds = 0;
	n->pairs = 1;
	n->announcing = false;
	net_set_mac(n, n->mac);
	net_set_status(n, false);
}

/* A frame that waits for buffers would hold up the pause for ever. */
static void net_pause(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);
	unsigned i;

	for (i = 0; i < n->pairs_max; i++)
		net_rx_unhold(n, i);
}

/* What the main thread asks for. */
struct order {
	struct net *n;
	bool up;
	struct virtio_net_stats *stats;
};

static void settle(void *opaque)
{
	struct order *o = opaque;

	o->n->settled = o->up;
	if (o->n->backend->ops->settle)
		o->n->backend->ops->settle(o->n->backend, o->up);
}

static void net_resume(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	if (!n->settled)
		settle(&(struct order){.n = n, .up = true});
	if (n->moved)
		announce(n);
	n->moved = false;
	net_set_status(n, true);
}

static struct net *alloc_net(unsigned pairs)
{
	struct net *n = calloc(1, sizeof(*n) + pairs * sizeof(n->pair[0]));
	unsigned i;

	if (!n)
		return NULL;
	n->spill = mmap(NULL, pairs * NET_SPILL_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (n->spill == MAP_FAILED) {
		free(n);
		return NULL;
	}
	n->pairs_max = pairs;
	for (i = 0; i < pairs; i++)
		n->pair[i].held.spill = n->spill + i * NET_SPILL_BYTES;
	return n;
}

static void free_net(struct net *n)
{
	if (!n)
		return;
	munmap(n->spill, n->pairs_max * NET_SPILL_BYTES);
	free(n);
}

static void net_destroy(struct virtio_dev *dev)
{
	struct net *n = net_of(dev);

	loop_timer_cancel(&n->rx.timer);
	loop_timer_cancel(&n->tx.timer);
	loop_timer_cancel(&n->announce);
	n->backend->ops->stop(n->backend);
	n->backend->ops->destroy(n->backend);
	free_net(n);
}

static const struct virtio_dev_ops net_ops = {
	.kind = "virtio-net",
	.id = VIRTIO_ID_NET,
	.version = 1,
	.ready = net_ready,
	.request = net_request,
	.polled = net_polled,
	.start = net_start,
	.stop = net_stop,
	.pause = net_pause,
	.resume = net_resume,
	.save = net_save,
	.load = net_load,
	.loaded = net_loaded,
	.destroy = net_destroy,
};

/* ---- orders from outside ---- */

static void set_link(void *opaque)
{
	struct order *o = opaque;

	if (o->n->link_up == o->up)
		return;
	o->n->link_up = o->up;
	link_changed(o->n);
}

void virtio_net_set_link(struct virtio_dev *dev, bool up)
{
	struct order o = {.n = net_of(dev), .up = up};

	while (loop_run_sync(dev->loop, set_link, &o, dev->name) < 0)
		sched_yield();
}

void virtio_net_settle(struct virtio_dev *dev, bool here)
{
	struct order o = {.n = net_of(dev), .up = here};

	while (loop_run_sync(dev->loop, settle, &o, dev->name) < 0)
		sched_yield();
}

static void copy_stats(void *opaque)
{
	struct order *o = opaque;

	*o->stats = o->n->stats;
}

void virtio_net_stats(
	struct virtio_dev *dev, struct virtio_net_stats *ret_stats)
{
	struct order o = {.n = net_of(dev), .stats = ret_stats};

	while (loop_run_sync(dev->loop, copy_stats, &o, dev->name) < 0)
		sched_yield();
}

/* ---- set-up ---- */

static uint64_t features_of(const struct net *n)
{
	uint64_t f = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) |
		     BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) |
		     BIT(VIRTIO_NET_F_CTRL_RX) |
		     BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
		     BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);

	if (n->mtu > 0)
		f |= BIT(VIRTIO_NET_F_MTU);
	if (n->pairs_max > 1)
		f |= BIT(VIRTIO_NET_F_MQ);
	if (n->backend->offloads & NET_OFFLOAD_CSUM)
		f |= BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM);
	if (n->backend->offloads & NET_OFFLOAD_TSO4)
		f |= BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO4);
	if (n->backend->offloads & NET_OFFLOAD_TSO6)
		f |= BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_GUEST_TSO6);
	return f;
}

static int check_options(const char *name, const struct virtio_net_options *opt,
	struct error *err)
{
	static const uint8_t none[6];

	if (opt->mac[0] & 1 || memcmp(opt->mac, none, sizeof(none)) == 0)
		return error_set(err, -EINVAL,
			"%s: the MAC address is not that of one machine", name);
	if (opt->mtu > 0 && opt->mtu < VIRTIO_NET_MTU_MIN)
		return error_set(err, -EINVAL,
			"%s: an MTU of %u bytes (give %u or more)", name,
			opt->mtu, VIRTIO_NET_MTU_MIN);
	return 0;
}

static int init_dev(struct net *n, const struct virtio_env *env,
	const char *name, struct error *err)
{
	uint16_t sizes[2 * NET_QUEUES_MAX + 1];
	unsigned i, queues = 2 * n->pairs_max + 1;
	struct virtio_net_config c = {
		.max_virtqueue_pairs = htole16((uint16_t)n->pairs_max),
		.mtu = htole16(n->mtu),
	};
	int rc;

	for (i = 0; i + 1 < queues; i++)
		sizes[i] = NET_QUEUE_SIZE;
	sizes[i] = NET_CTRL_SIZE;
	rc = virtio_dev_init(&n->dev, &net_ops, env, name, features_of(n),
		sizes, queues, err);
	if (rc < 0)
		return rc;
	memcpy(c.mac, n->mac, sizeof(c.mac));
	virtio_dev_set_config(&n->dev, 0, &c, NET_CONFIG_BYTES, false);
	net_set_status(n, false);
	return 0;
}

int virtio_net_create(const struct virtio_env *env, const char *name,
	const struct virtio_net_options *opt, struct virtio_dev **ret_dev,
	struct error *err)
{
	struct net_backend *be = opt->backend;
	struct net *n = NULL;
	int rc;

	assert(be->queues >= 1 && be->queues <= NET_QUEUES_MAX);
	rc = check_options(name, opt, err);
	if (rc == 0) {
		n = alloc_net(be->queues);
		if (!n)
			rc = error_errno(err, -ENOMEM, "%s", name);
	}
	if (rc == 0) {
		n->backend = be;
		memcpy(n->mac, opt->mac, sizeof(n->mac));
		n->mtu = opt->mtu;
		n->link_up = !opt->link_down;
		n->pairs = 1;
		n->ctrl = UINT32_MAX;
		rc = init_dev(n, env, name, err);
	}
	if (rc < 0) {
		free_net(n);
		be->ops->destroy(be);
		return rc;
	}
	be->front = (struct net_front){
		front_readable, front_writable, front_gone, n};
	net_throttle_init(n, &n->rx, 0, &opt->rx.bytes, &opt->rx.frames);
	net_throttle_init(n, &n->tx, 1, &opt->tx.bytes, &opt->tx.frames);
	loop_timer_init(
		&n->announce, n->dev.loop, LOOP_VIRTUAL, announce_round, n);
	*ret_dev = &n->dev;
	return 0;
}
