/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/vtoy.c - see vtoy.h. */
#include "tests/lib/vtoy.h"

#include <assert.h>
#include <stdlib.h>

#include "virtio/iov.h"

static bool ready(struct virtio_dev *dev, unsigned q)
{
	return !((struct vtoy *)dev)->not_ready;
}

static bool polled(const struct virtio_dev *dev, unsigned q)
{
	return ((const struct vtoy *)dev)->polled && q == 0;
}

static void request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	struct vtoy *toy = (struct vtoy *)dev;
	uint64_t len = iov_bytes(virtq_chain_in(chain), chain->writable);

	toy->requests++;
	if (toy->on_request)
		toy->on_request();
	if (!toy->hold) {
		virtio_dev_done(dev, ticket, (uint32_t)len);
		return;
	}
	assert(toy->holds < VTOY_HELD_MAX);
	toy->held[toy->holds++] = ticket;
}

static void release_all(void *opaque)
{
	struct vtoy *toy = opaque;
	unsigned i, n = toy->holds;

	toy->holds = 0;
	for (i = 0; i < n; i++)
		virtio_dev_done(&toy->dev, toy->held[i], 1);
}

void vtoy_release(struct vtoy *toy)
{
	loop_bh_schedule(toy->release);
}

static void start(struct virtio_dev *dev)
{
	((struct vtoy *)dev)->starts++;
}

static void stop(struct virtio_dev *dev)
{
	((struct vtoy *)dev)->stops++;
}

static void destroy(struct virtio_dev *dev)
{
	struct vtoy *toy = (struct vtoy *)dev;

	if (toy->on_destroy)
		toy->on_destroy();
	loop_bh_delete(toy->release);
	free(toy);
}

static const struct virtio_dev_ops ops = {
	.kind = "virtio-toy",
	.id = VTOY_ID,
	.version = 1,
	.ready = ready,
	.request = request,
	.polled = polled,
	.start = start,
	.stop = stop,
	.destroy = destroy,
};

struct vtoy *vtoy_create(const struct virtio_env *env)
{
	static const uint16_t sizes[] = {VTOY_SIZE_0, VTOY_SIZE_1};
	struct vtoy *toy = calloc(1, sizeof(*toy));
	int rc;

	assert(toy);
	rc = virtio_dev_init(&toy->dev, &ops, env, "toy0",
		VTOY_FEATURE | VTOY_HIGH, sizes, 2, NULL);
	assert(rc == 0);
	rc = loop_bh_create(
		env->loop, release_all, toy, "toy", NULL, &toy->release);
	assert(rc == 0);
	virtio_dev_set_config(&toy->dev, 0, "\1\2\3\4\5\6\7\10\11", 9, false);
	return toy;
}
