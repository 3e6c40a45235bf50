/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/net.h - network device (virtio 1.2, 5.1) on a back end of the host.
 *
 * Queue pairs 0 .. n - 1 and, after the last pair the driver knows of, the
 * control queue.  One loop serves all of them.
 */
#ifndef GODWIT_VIRTIO_NET_H
#define GODWIT_VIRTIO_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/backend/bucket.h"

struct error;
struct net_backend;
struct virtio_dev;
struct virtio_env;

#define VIRTIO_NET_MTU_MIN 68u /* RFC 791 */

struct virtio_net_options {
	struct net_backend *backend; /* on env->loop; taken, also on failure */
	uint8_t mac[6];		     /* unicast, not zero */
	uint16_t mtu;		     /* told to the guest; 0: nothing is told */
	bool link_down;		     /* at first */
	struct {
		struct bucket_limit bytes, frames; /* a second */
	} rx, tx; /* to the guest, from the guest */
};

/* What went through, or did not, since the device was made. */
struct virtio_net_stats {
	struct {
		uint64_t frames, bytes, dropped;
	} rx, tx;
};

/* Thread: home of env->loop.
 * Return: 0, or -errno with @err (EINVAL: MAC or MTU; ENOMEM, EMFILE). */
int virtio_net_create(const struct virtio_env *env, const char *name,
	const struct virtio_net_options *opt, struct virtio_dev **ret_dev,
	struct error *err);

/* Plug or pull the cable; the guest is told.  While it is out frames of both
 * sides are dropped.  Thread: main; waits for the device's loop. */
void virtio_net_set_link(struct virtio_dev *dev, bool up);

/* The guest is here (@here), or has left: take, or give up, what only one host
 * can have.  A resume takes it too.  Thread: main; waits for the loop. */
void virtio_net_settle(struct virtio_dev *dev, bool here);

/* Thread: main; waits for the device's loop. */
void virtio_net_stats(
	struct virtio_dev *dev, struct virtio_net_stats *ret_stats);

#endif
