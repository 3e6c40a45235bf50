/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/fake_net.h - a network back end of memory, for tests and fuzzers:
 * frames in lists, and a record of what it was told.
 */
#ifndef GODWIT_TESTS_LIB_FAKE_NET_H
#define GODWIT_TESTS_LIB_FAKE_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/backend/net.h"

#define FAKE_NET_FRAMES 1024u
#define FAKE_NET_BYTES	(NET_FRAME_MAX + NET_HEADER_BYTES + 64u)

struct fake_frame {
	uint8_t *data; /* owned */
	uint32_t len;
};

struct fake_net {
	struct net_backend be; /* first */
	/* For the guest, by queue: [head, tail) of a ring. */
	struct fake_frame in[NET_QUEUES_MAX][FAKE_NET_FRAMES];
	unsigned head[NET_QUEUES_MAX], tail[NET_QUEUES_MAX];
	/* From the guest: the last one, and how many. */
	uint8_t sent[FAKE_NET_BYTES];
	uint32_t sent_len;
	unsigned sent_count, sent_queue;
	bool again; /* send() says -EAGAIN */
	int refuse; /* send() returns this */
	int broken; /* recv() returns this */
	bool started, here;
	unsigned starts, recvs, announced, forgot, offloads, queues_used;
	uint8_t mac[6];	 /* announced */
	bool *destroyed; /* set at the end */
};

struct fake_net *fake_net_create(
	unsigned queues, unsigned header_bytes, unsigned offloads);
/* Give the guest @len bytes, header and all, and tell the device unless it
 * still has some it was told of. */
void fake_net_push(
	struct fake_net *f, unsigned queue, const void *frame, uint32_t len);
/* send() works again. */
void fake_net_writable(struct fake_net *f, unsigned queue);
unsigned fake_net_waiting(const struct fake_net *f, unsigned queue);

#endif
