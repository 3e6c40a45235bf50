/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/rng.c - entropy from getrandom(2).
 *
 * One queue of buffers to fill.  A request gets at most VIRTIO_RNG_REQUEST_MAX
 * bytes, whatever it asks for, so that its length cannot hold the loop.
 *
 * With a limit a request waits where it came from, in the ring, until it can be
 * paid for: a pause finds nothing to wait for, and a move takes it along.  A
 * reset does not bring new tokens.
 *
 * It has no state of its own: where a guest arrives or is restored its
 * machine's words say the limit, and the bucket begins full. Thread: the
 * device's loop.
 */
#include "virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <sys/random.h>

#include "loop/loop.h"
#include "virtio/backend/bucket.h"
#include "virtio/dev.h"
#include "virtio/iov.h"
#include "vmm/error.h"

#define RNG_QUEUE_SIZE 64u

struct rng {
	struct virtio_dev dev; /* first */
	struct bucket bytes;
	struct loop_timer timer;
	bool waiting; /* for the timer */
};

static void time_has_come(void *opaque)
{
	struct rng *rng = opaque;

	rng->waiting = false;
	virtio_dev_run(&rng->dev, 0);
}

static bool rng_ready(struct virtio_dev *dev, unsigned q)
{
	return !((struct rng *)dev)->waiting;
}

/* Must the next request wait? */
static bool wait(struct rng *rng)
{
	int64_t now = loop_now_ns(rng->dev.loop, LOOP_MONOTONIC);
	int64_t wait_ns = bucket_wait_ns(&rng->bytes, now);

	/* Without memory for a timer too early is the lesser evil. */
	rng->waiting =
		wait_ns > 0 && loop_timer_set(&rng->timer, now + wait_ns) == 0;
	return rng->waiting;
}

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
	struct rng *rng = (struct rng *)dev;
	size_t len;

	if (wait(rng)) {
		virtio_dev_putback(dev, ticket);
		return;
	}
	len = fill(in, chain->writable);
	bucket_charge(&rng->bytes, len);
	virtq_mark_written(dev->gm, in, chain->writable, len);
	virtio_dev_done(dev, ticket, (uint32_t)len);
}

static void rng_destroy(struct virtio_dev *dev)
{
	loop_timer_cancel(&((struct rng *)dev)->timer);
	free(dev);
}

static const struct virtio_dev_ops rng_ops = {
	.kind = "virtio-rng",
	.id = VIRTIO_ID_RNG,
	.version = 1,
	.ready = rng_ready,
	.request = rng_request,
	.destroy = rng_destroy,
};

int virtio_rng_create(const struct virtio_env *env, const char *name,
	const struct bucket_limit *limit, struct virtio_dev **ret_dev,
	struct error *err)
{
	static const struct bucket_limit none;
	static const uint16_t sizes[] = {RNG_QUEUE_SIZE};
	struct rng *rng = calloc(1, sizeof(*rng));
	int rc;

	if (!rng)
		return error_errno(err, -ENOMEM, "%s", name);
	rc = virtio_dev_init(&rng->dev, &rng_ops, env, name, 0, sizes, 1, err);
	if (rc < 0) {
		free(rng);
		return rc;
	}
	bucket_init(&rng->bytes, limit ? limit : &none,
		loop_now_ns(env->loop, LOOP_MONOTONIC));
	loop_timer_init(
		&rng->timer, env->loop, LOOP_MONOTONIC, time_has_come, rng);
	*ret_dev = &rng->dev;
	return 0;
}
