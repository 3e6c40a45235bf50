/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/fake_net.c - see fake_net.h. */
#include "tests/lib/fake_net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/iov.h"

static struct fake_net *fake_of(struct net_backend *be)
{
	return (struct fake_net *)be;
}

static void fake_start(struct net_backend *be)
{
	fake_of(be)->started = true;
	fake_of(be)->starts++;
}

static void fake_stop(struct net_backend *be)
{
	fake_of(be)->started = false;
}

static ssize_t fake_recv(struct net_backend *be, unsigned queue,
	const struct iovec *iov, unsigned count)
{
	struct fake_net *f = fake_of(be);
	struct fake_frame *frame;
	ssize_t len;

	f->recvs++;
	if (f->broken < 0)
		return f->broken;
	if (f->head[queue] == f->tail[queue])
		return -EAGAIN;
	frame = &f->in[queue][f->head[queue]++ % FAKE_NET_FRAMES];
	iov_write(iov, count, 0, frame->data, frame->len);
	len = frame->len;
	free(frame->data);
	frame->data = NULL;
	return len;
}

static int fake_send(struct net_backend *be, unsigned queue,
	const struct iovec *iov, unsigned count)
{
	struct fake_net *f = fake_of(be);

	if (f->again)
		return -EAGAIN;
	if (f->refuse < 0)
		return f->refuse;
	f->sent_len =
		(uint32_t)iov_read(iov, count, 0, f->sent, sizeof(f->sent));
	assert(f->sent_len == iov_bytes(iov, count));
	assert(f->sent_len <= NET_FRAME_MAX + be->header_bytes);
	f->sent_queue = queue;
	f->sent_count++;
	return 0;
}

static int fake_offload(struct net_backend *be, unsigned offloads)
{
	assert((offloads & ~be->offloads) == 0);
	fake_of(be)->offloads = offloads;
	return 0;
}

static int fake_use_queues(struct net_backend *be, unsigned queues)
{
	assert(queues >= 1 && queues <= be->queues);
	fake_of(be)->queues_used = queues;
	return 0;
}

static void fake_announce(struct net_backend *be, const uint8_t mac[6])
{
	fake_of(be)->announced++;
	memcpy(fake_of(be)->mac, mac, 6);
}

static void fake_settle(struct net_backend *be, bool here)
{
	fake_of(be)->here = here;
}

static void fake_forget(struct net_backend *be)
{
	fake_of(be)->forgot++;
}

static void fake_destroy(struct net_backend *be)
{
	struct fake_net *f = fake_of(be);
	unsigned q, i;

	assert(!f->started);
	if (f->destroyed)
		*f->destroyed = true;
	for (q = 0; q < NET_QUEUES_MAX; q++)
		for (i = 0; i < FAKE_NET_FRAMES; i++)
			free(f->in[q][i].data);
	free(f);
}

static const struct net_backend_ops fake_ops = {
	.kind = "fake",
	.start = fake_start,
	.stop = fake_stop,
	.recv = fake_recv,
	.send = fake_send,
	.offload = fake_offload,
	.use_queues = fake_use_queues,
	.announce = fake_announce,
	.settle = fake_settle,
	.forget = fake_forget,
	.destroy = fake_destroy,
};

struct fake_net *fake_net_create(
	unsigned queues, unsigned header_bytes, unsigned offloads)
{
	struct fake_net *f = calloc(1, sizeof(*f));

	assert(f);
	f->be.ops = &fake_ops;
	f->be.queues = queues;
	f->be.header_bytes = header_bytes;
	f->be.offloads = offloads;
	return f;
}

unsigned fake_net_waiting(const struct fake_net *f, unsigned queue)
{
	return f->tail[queue] - f->head[queue];
}

void fake_net_push(
	struct fake_net *f, unsigned queue, const void *frame, uint32_t len)
{
	struct fake_frame *slot =
		&f->in[queue][f->tail[queue] % FAKE_NET_FRAMES];
	bool first = fake_net_waiting(f, queue) == 0;

	assert(fake_net_waiting(f, queue) < FAKE_NET_FRAMES);
	slot->data = malloc(len + 1);
	assert(slot->data);
	memcpy(slot->data, frame, len);
	slot->len = len;
	f->tail[queue]++;
	if (first && f->started)
		f->be.front.readable(f->be.front.opaque, queue);
}

void fake_net_writable(struct fake_net *f, unsigned queue)
{
	f->again = false;
	f->be.front.writable(f->be.front.opaque, queue);
}
