/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/backend/tap.h - frames to and from a tap device of the host. */
#ifndef GODWIT_VIRTIO_BACKEND_TAP_H
#define GODWIT_VIRTIO_BACKEND_TAP_H

#include <stdbool.h>

#include "virtio/backend/net.h"

struct loop;

struct tap_options {
	const char *name;   /* "net0", for messages; copied */
	const char *ifname; /* of the interface; NULL: the fds below */
	/* Inherited fds of one tap device, one a queue; taken, also on failure.
	 * Shape: queues entries. */
	const int *fd;
	unsigned queues; /* 1 .. NET_QUEUES_MAX */
	bool plain;	 /* without offloads, whatever the device can do */
};

/**
 * tap_open - attach to a tap device.
 * An interface that does not exist is made, if that is permitted, and goes away
 * with us.  An inherited one without IFF_VNET_HDR does no offloads.
 * Thread: home of @loop.
 * Return: 0, or -errno with @err naming device, reason and remedy: -EPERM,
 *         -EBUSY (somebody else has it), -EINVAL (no tap device, or made with
 *         or without multi_queue), -ENOENT (no /dev/net/tun), -EBADF, -ENOMEM.
 * Source: Documentation/networking/tuntap.rst.
 */
int tap_open(struct loop *loop, const struct tap_options *opt,
	struct net_backend **ret_backend, struct error *err);

#endif
