/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/rng.c - entropy from getrandom(2).
 *
 * One queue of buffers to fill.  A request gets at most VIRTIO_RNG_REQUEST_MAX
 * bytes, whatever it asks for, so that its length cannot hold the loop.
 * It has no state of its own.  Thread: the device's loop.
 */
#include "virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "virtio/dev.h"
#include "virtio/iov.h"
#include "vmm/error.h"

#define RNG_QUEUE_SIZE 64u

struct rng {
	struct virtio_dev dev; /* first */
};

static size_t fill(const struct iovec *iov, unsigned count)
{
	struct iovec part[VIRTQ_SIZE_MAX];
	unsigned parts, i;
	size_t done = 0;
	ssize_t n;

	parts = iov_slice(
		iov, count, 0, VIRTIO_RNG_REQUEST_MAX, part, VIRTQ_SIZE_MAX);
	for (i = 0; i < parts; i++) {
		n = getrandom(part[i].iov_base, part[i].iov_len, 0);
		if (n < 0)
			break;
		done += (size_t)n;
		if ((size_t)n < part[i].iov_len)
			break; /* a signal; the guest asks again */
	}
	return done;
}

static void rng_request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	const struct iovec *in = virtq_chain_in(chain);
	size_t len = fill(in, chain->writable);

	virtq_mark_written(dev->gm, in, chain->writable, len);
	virtio_dev_done(dev, ticket, (uint32_t)len);
}

static void rng_destroy(struct virtio_dev *dev)
{
	free(dev);
}

static const struct virtio_dev_ops rng_ops = {
	.kind = "virtio-rng",
	.id = VIRTIO_ID_RNG,
	.version = 1,
	.request = rng_request,
	.destroy = rng_destroy,
};

int virtio_rng_create(const struct virtio_env *env, const char *name,
	struct virtio_dev **ret_dev, struct error *err)
{
	static const uint16_t sizes[] = {RNG_QUEUE_SIZE};
	struct rng *rng = malloc(sizeof(*rng));
	int rc;

	if (!rng)
		return error_errno(err, -ENOMEM, "%s", name);
	rc = virtio_dev_init(&rng->dev, &rng_ops, env, name, 0, sizes, 1, err);
	if (rc < 0) {
		free(rng);
		return rc;
	}
	*ret_dev = &rng->dev;
	return 0;
}
