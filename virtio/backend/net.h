/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/net.h - what a network back end is: Ethernet frames out and
 * in, on one or more queues, without ever waiting.
 *
 * It knows frames and nothing of virtio.  If header_bytes is not 0, a header of
 * that size precedes each frame both ways: struct virtio_net_hdr_v1 of
 * <linux/virtio_net.h>, little endian, as a tap device has it; its last two
 * bytes (num_buffers) mean nothing here.
 *
 * Pull, not push: the back end says that there are frames and the front end
 * fetches them when it has room.  Until recv() says -EAGAIN it is not told
 * again, so frames that nobody fetches keep no loop busy; where they wait, and
 * when they are dropped, is the host's matter.
 *
 * Thread: everything, creation too, on the home of one loop.
 */
#ifndef GODWIT_VIRTIO_BACKEND_NET_H
#define GODWIT_VIRTIO_BACKEND_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct error;
struct iovec;
struct net_backend;

#define NET_NAME_MAX	 32u	/* bytes of a name for messages */
#define NET_QUEUES_MAX	 4u	/* of a back end */
#define NET_FRAME_MIN	 14u	/* bytes: an Ethernet header */
#define NET_FRAME_MAX	 65550u /* a 64 KiB segment with its headers */
#define NET_HEADER_BYTES 12u	/* when there is one */

/* Work the peer leaves undone, as it has been allowed to by offload(). */
#define NET_OFFLOAD_CSUM 1u /* checksums left to the receiver */
#define NET_OFFLOAD_TSO4 2u /* TCP segments larger than the MTU; want CSUM */
#define NET_OFFLOAD_TSO6 4u

/* The front end, as the back end calls it: from handlers of the loop, never
 * from inside its own functions. */
struct net_front {
	/* There may be frames on @queue: fetch them now or later. */
	void (*readable)(void *opaque, unsigned queue);
	/* send() said -EAGAIN on @queue; it is worth another try. */
	void (*writable)(void *opaque, unsigned queue);
	/* It is over, with @err < 0: nothing comes or goes any more. */
	void (*gone)(void *opaque, int err);
	void *opaque;
};

struct net_backend_ops {
	const char *kind; /* "tap", "user" */

	/* Tell the front end of frames from now on; and no more. */
	void (*start)(struct net_backend *be);
	void (*stop)(struct net_backend *be);

	/**
	 * Fetch a frame, with its header if there is one, into @iov.
	 * Return: bytes, those of the whole frame even if it was cut to fit;
	 *         -EAGAIN: none; other -errno: it is over.
	 */
	ssize_t (*recv)(struct net_backend *be, unsigned queue,
		const struct iovec *iov, unsigned count);

	/**
	 * Send a frame, with its header if there is one.
	 * Return: 0; -EAGAIN: not now, writable() follows; other -errno: the
	 *         frame was refused and is to be dropped.
	 */
	int (*send)(struct net_backend *be, unsigned queue,
		const struct iovec *iov, unsigned count);

	/* The peer may leave undone NET_OFFLOAD_* @offloads in frames that come
	 * in.  NULL: never does.  0 or -errno. */
	int (*offload)(struct net_backend *be, unsigned offloads);
	/* Queues 0 to @queues - 1 are in use.  NULL: there is only one. */
	int (*use_queues)(struct net_backend *be, unsigned queues);

	/* The guest came here with @mac: tell the network where it is now.
	 * NULL: nobody would want to know. */
	void (*announce)(struct net_backend *be, const uint8_t mac[6]);
	/* The guest is here from now on (@here), or is not any more: take, or
	 * give up, what only one host can have.  NULL: there is no such thing.
	 * What cannot be had is logged. */
	void (*settle)(struct net_backend *be, bool here);
	/* The guest's state was replaced: forget its connections. */
	void (*forget)(struct net_backend *be);

	/* Stopped.  Free with all it owns. */
	void (*destroy)(struct net_backend *be);
};

/* Embedded first in each back end. */
struct net_backend {
	const struct net_backend_ops *ops;
	struct net_front front; /* set before start() */
	unsigned queues;	/* 1 .. NET_QUEUES_MAX */
	unsigned header_bytes;	/* 0 or NET_HEADER_BYTES */
	unsigned offloads;	/* NET_OFFLOAD_* it can do, both ways */
};

#endif
