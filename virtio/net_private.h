/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/net_private.h - the insides of a network device, for net.c (life and
 * links), net_data.c (frames), net_ctrl.c (control queue) and net_state.c (save
 * and load) only.  Everything belongs to the device's loop.
 */
#ifndef GODWIT_VIRTIO_NET_PRIVATE_H
#define GODWIT_VIRTIO_NET_PRIVATE_H

#include <linux/virtio_net.h>

#include "loop/loop.h"
#include "virtio/backend/bucket.h"
#include "virtio/backend/net.h"
#include "virtio/dev.h"
#include "virtio/net.h"

#define NET_QUEUE_SIZE	256u
#define NET_CTRL_SIZE	64u
#define NET_SPILL_BYTES (NET_FRAME_MAX + NET_HEADER_BYTES)
/* mac, status, max_virtqueue_pairs, mtu */
#define NET_CONFIG_BYTES 12u

/* A frame on its way into several buffers of the driver. */
struct net_held {
	struct virtio_ticket ticket[NET_QUEUE_SIZE];
	uint32_t len[NET_QUEUE_SIZE];
	unsigned count; /* buffers taken; 0: no frame is under way */
	struct iovec num_buffers[2]; /* in guest RAM, two bytes in all */
	unsigned num_parts;
	uint32_t pos, end; /* spill[pos..end) is still to be written */
	uint8_t *spill;	   /* NET_SPILL_BYTES of net.spill */
};

struct net_pair {
	struct net_held held;
	bool readable; /* the back end may have a frame */
	bool blocked;  /* the back end takes no frame now */
};

/* One direction: how much may pass. */
struct net_throttle {
	struct net *net;
	struct bucket bytes, frames;
	struct loop_timer timer;
	unsigned first; /* queue of pair 0 in this direction */
};

struct net_staged {
	uint8_t mac[6];
	uint16_t status, pairs;
};

struct net {
	struct virtio_dev dev;	     /* first */
	struct net_backend *backend; /* owned */
	uint8_t mac[6];		     /* at power on */
	uint16_t mtu;		     /* 0: not told */
	bool link_up;		     /* the host's wish */
	bool gone;		     /* the back end is over */
	bool announcing;	     /* VIRTIO_NET_S_ANNOUNCE is set */
	bool moved;		     /* a load came: announce at the resume */
	bool settled;		    /* the back end was told that we are here */
	unsigned pairs_max, pairs;  /* made; in use */
	unsigned ctrl;		    /* number of the control queue */
	unsigned rounds;	    /* announcements of the back end to go */
	struct loop_timer announce; /* for the next of them */
	struct net_throttle rx, tx;
	struct virtio_net_stats stats;
	struct net_staged staged;
	/* Owned mapping, for every pair.  It has pages from the first frame on
	 * that needs them, which most drivers never see. */
	uint8_t *spill;
	struct net_pair pair[]; /* pairs_max */
};

static inline struct net *net_of(struct virtio_dev *dev)
{
	return (struct net *)dev;
}

/* Is the way through to the back end open? */
static inline bool net_link(const struct net *n)
{
	return n->link_up && !n->gone;
}

/* ---- net_data.c ---- */

bool net_rx_ready(struct net *n, unsigned pair);
bool net_tx_ready(struct net *n, unsigned pair);
void net_rx_request(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t);
void net_tx_request(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t);
/* Give back, undone, what a half-delivered frame has taken; drop the frame. */
void net_rx_unhold(struct net *n, unsigned pair);
/* Fetch and drop up to a batch of frames. */
void net_rx_discard(struct net *n, unsigned pair);
void net_throttle_init(struct net *n, struct net_throttle *t, unsigned first,
	const struct bucket_limit *bytes, const struct bucket_limit *frames);

/* ---- net_ctrl.c ---- */

void net_ctrl_request(
	struct net *n, struct virtq_chain *chain, struct virtio_ticket t);
/* The back end uses as many queues as the driver does. */
void net_use_pairs(struct net *n, unsigned pairs);

/* ---- net.c ---- */

/* What the driver reads; it is told of a change if @tell. */
void net_set_status(struct net *n, bool tell);
void net_set_mac(struct net *n, const uint8_t mac[6]);

/* ---- net_state.c: see struct virtio_dev_ops ---- */

void net_save(const struct virtio_dev *dev, struct state_writer *w);
int net_load(struct virtio_dev *dev, struct state_reader *r, struct error *err);
void net_loaded(struct virtio_dev *dev);

#endif
