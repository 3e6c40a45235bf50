/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk_throttle.c - requests that must wait for tokens.
 *
 * They wait where they came from: in the ring.  The first of a queue reserves
 * its tokens, goes back, and the queue is not looked at until its time has
 * come.  So the order of each queue is kept, a pause finds nothing to wait for,
 * a move takes the requests along without knowing of them, and a reset forgets
 * them.  Should the driver have put something else in its place meanwhile, that
 * pays anew.
 *
 * A read, a write, zeroes: one operation and its bytes.  A discard: one
 * operation.  Flushes are free, or a limit would make a file system wait for
 * what it has paid already.
 *
 * Thread: the device's loop.
 */
#include <errno.h>
#include <stdlib.h>

#include "virtio/blk_private.h"

static void time_has_come(void *opaque)
{
	struct blk_waiter *w = opaque;

	w->waiting = false;
	virtio_dev_run(&w->blk->dev, w->queue);
}

int blk_throttle_init(struct blk *blk)
{
	unsigned i;

	if (!blk->limits)
		return 0;
	blk->waiter = calloc(blk->dev.queues, sizeof(*blk->waiter));
	if (!blk->waiter)
		return -ENOMEM;
	for (i = 0; i < blk->dev.queues; i++) {
		struct blk_waiter *w = &blk->waiter[i];

		w->blk = blk;
		w->queue = i;
		loop_timer_init(&w->timer, blk->dev.loop, LOOP_MONOTONIC,
			time_has_come, w);
	}
	return 0;
}

void blk_throttle_reset(struct blk *blk)
{
	unsigned i;

	for (i = 0; blk->waiter && i < blk->dev.queues; i++) {
		loop_timer_cancel(&blk->waiter[i].timer);
		blk->waiter[i].waiting = blk->waiter[i].paid = false;
	}
}

void blk_throttle_fini(struct blk *blk)
{
	blk_throttle_reset(blk);
	free(blk->waiter);
}

bool blk_throttle_ready(const struct blk *blk, unsigned queue)
{
	return !blk->waiter || !blk->waiter[queue].waiting;
}

/* What @p costs; false: nothing. */
static bool price(const struct blk_parsed *p, enum bucket_dir *ret_dir,
	uint64_t *ret_bytes)
{
	*ret_dir = BUCKET_WRITE;
	switch (p->header.type) {
	case VIRTIO_BLK_T_IN:
		*ret_dir = BUCKET_READ;
		*ret_bytes = p->in_bytes;
		break;
	case VIRTIO_BLK_T_OUT:
		*ret_bytes = p->out_bytes;
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		*ret_bytes = blk_trim_bytes(p);
		break;
	case VIRTIO_BLK_T_DISCARD:
		*ret_bytes = 0;
		break;
	default:
		return false;
	}
	/* Those that are too large fail, and cost no more than the largest. */
	if (*ret_bytes > VIRTIO_BLK_REQUEST_MAX)
		*ret_bytes = VIRTIO_BLK_REQUEST_MAX;
	return true;
}

bool blk_throttle(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p)
{
	struct blk_waiter *w;
	enum bucket_dir dir;
	uint64_t bytes;
	int64_t now;

	if (!blk->waiter || !price(p, &dir, &bytes))
		return false;
	w = &blk->waiter[ticket.queue];
	now = loop_now_ns(blk->dev.loop, LOOP_MONOTONIC);
	if (!w->paid || w->dir != dir || w->bytes != bytes) {
		w->dir = dir;
		w->bytes = bytes;
		w->start_ns = now + bucket_group_reserve(
					    blk->limits, dir, bytes, now);
	}
	w->paid = false;
	if (now >= w->start_ns)
		return false;
	/* Without memory for a timer one too early is the lesser evil. */
	if (loop_timer_set(&w->timer, w->start_ns) < 0)
		return false;
	w->paid = w->waiting = true;
	blk->stats.throttled++;
	return true;
}

struct change {
	struct blk *blk;
	struct bucket_group *limits;
	int code;
};

static void change_limits(void *opaque)
{
	struct change *c = opaque;
	struct blk *blk = c->blk;
	unsigned i;

	blk->limits = c->limits;
	if (!blk->waiter)
		c->code = blk_throttle_init(blk);
	blk_throttle_reset(blk);
	for (i = 0; i < blk->dev.queues; i++)
		virtio_dev_run(&blk->dev, i);
}

int virtio_blk_set_limits(struct virtio_dev *dev, struct bucket_group *limits)
{
	struct change c = {.blk = blk_of(dev), .limits = limits};
	int rc = loop_run_sync(dev->loop, change_limits, &c, dev->name);

	return rc < 0 ? rc : c.code;
}
