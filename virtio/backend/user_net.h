/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/user_net.h - a network without privileges: libslirp.
 *
 * The guest sits behind an address translator in this process.  In its network
 * the host is .2, a DNS forwarder .3, and DHCP gives it .15.  What it sends
 * leaves by sockets of ours; in come only answers and forwarded ports.
 *
 * Connections do not survive a move: the other host has other sockets.  The
 * guest's next segment is answered with a reset, and new ones work at once.
 */
#ifndef GODWIT_VIRTIO_BACKEND_USER_NET_H
#define GODWIT_VIRTIO_BACKEND_USER_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/backend/net.h"

#define USER_NET_SOCKETS_MAX 512u /* that a guest can make us open */

struct loop;

/* A port of the host that leads to one of the guest. */
struct user_net_forward {
	bool udp;
	uint32_t host_addr, guest_addr; /* host endian; guest 0: .15 */
	uint16_t host_port, guest_port;
};

struct user_net_options {
	const char *name; /* "net0", for messages; copied */
	/* Network and length of its prefix, 8 to 27, host endian.  0, 0:
	 * 10.0.2.0/24. */
	uint32_t network;
	unsigned prefix;
	uint16_t mtu; /* 0: 1500 */
	/* Copied.  Shape: forwards entries. */
	const struct user_net_forward *forward;
	unsigned forwards;
	bool incoming; /* take the ports when the guest has come: settle() */
};

/**
 * user_net_open - begin a user-mode network.
 * Thread: home of @loop.
 * Return: 0, or -errno with @err naming device, reason and remedy: -ENOENT (no
 *         libslirp), -EADDRINUSE, -EACCES and others of bind(2) for a
 *         forwarded port, -EINVAL (network), -ENOMEM.
 */
int user_net_open(struct loop *loop, const struct user_net_options *opt,
	struct net_backend **ret_backend, struct error *err);

#endif
