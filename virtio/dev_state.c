/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/dev_state.c - save and load of the part all virtio devices share.
 *
 *   core:        u32 device id | u64 driver features | u32 status
 *                | u32 config generation | bool active | u16 queues
 *                | per queue: u16 size, bool ready, u64 desc, avail, used,
 *                             u16 last_avail, used_idx, signalled
 *   device:      ops->save
 *   subsections: those of ops->save; "broken" (u64, one bit a queue; only if
 *                some queue is); "held" (for each queue that holds requests:
 *                u16 queue, u16 count, u16 heads; only if one does)
 *
 * Quiesced means that nothing is in flight, so used_idx equals last_avail, but
 * for requests that are held until the resume (virtio_dev_hold()).
 * What depends on features is set up after the last subsection.  Guest RAM is
 * not looked at, since it may still be on its way: virtq_pop() checks
 * |avail - last_avail| <= size after the resume as always, so a guest that
 * breaks its ring breaks that queue and no migration.
 *
 * Main thread, every vCPU paused and the device quiesced; adopt_on_loop() runs
 * on the device's loop.
 */
#include "virtio/dev.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"

#define SUB_BROKEN	   "broken"
#define SUB_BROKEN_VERSION 1u
#define SUB_HELD	   "held"
#define SUB_HELD_VERSION   1u

/* ---- save ---- */

static void save_queue(const struct virtio_queue *q, struct state_writer *w)
{
	static const struct virtq_pos none;
	const struct virtq_pos *pos = q->active ? &q->vq.pos : &none;

	state_put_u16(w, q->regs.size);
	state_put_bool(w, q->regs.ready);
	state_put_u64(w, q->regs.desc);
	state_put_u64(w, q->regs.avail);
	state_put_u64(w, q->regs.used);
	state_put_u16(w, pos->last_avail);
	state_put_u16(w, pos->used_idx);
	state_put_u16(w, pos->signalled);
}

static void save_broken(const struct virtio_dev *dev, struct state_writer *w)
{
	uint64_t mask = 0;
	unsigned i;

	for (i = 0; i < dev->queues; i++)
		if (dev->queue[i].active && dev->queue[i].vq.broken)
			mask |= 1ull << i;
	if (mask == 0)
		return;
	state_sub_begin(w, SUB_BROKEN, SUB_BROKEN_VERSION);
	state_put_u64(w, mask);
	state_sub_end(w);
}

static void save_held(const struct virtio_dev *dev, struct state_writer *w)
{
	unsigned i, k, total = 0;

	for (i = 0; i < dev->queues; i++)
		total += dev->queue[i].helds;
	if (total == 0)
		return;
	state_sub_begin(w, SUB_HELD, SUB_HELD_VERSION);
	for (i = 0; i < dev->queues; i++) {
		const struct virtio_queue *q = &dev->queue[i];

		if (q->helds == 0)
			continue;
		state_put_u16(w, (uint16_t)i);
		state_put_u16(w, (uint16_t)q->helds);
		for (k = 0; k < q->helds; k++)
			state_put_u16(w, q->held[k]);
	}
	state_sub_end(w);
}

void virtio_dev_save(const struct virtio_dev *dev, struct state_writer *w)
{
	unsigned i;

	assert(dev->inflight == 0);
	state_put_u32(w, dev->ops->id);
	state_put_u64(w, dev->driver_features);
	state_put_u32(w, atomic_load(&dev->status));
	state_put_u32(w, atomic_load(&dev->config_generation));
	state_put_bool(w, dev->active);
	state_put_u16(w, (uint16_t)dev->queues);
	for (i = 0; i < dev->queues; i++)
		save_queue(&dev->queue[i], w);
	if (dev->ops->save)
		dev->ops->save(dev, w);
	save_broken(dev, w);
	save_held(dev, w);
}

/* ---- load: read and check ---- */

struct core {
	uint64_t features, broken;
	uint32_t status, generation;
	bool active;
};

static bool status_ok(uint32_t status, bool active)
{
	uint32_t ladder = status & ~(VIRTIO_CONFIG_S_NEEDS_RESET |
					   VIRTIO_CONFIG_S_FAILED);

	switch (ladder) {
	case 0:
	case VIRTIO_CONFIG_S_ACKNOWLEDGE:
	case VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER:
	case VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		VIRTIO_CONFIG_S_FEATURES_OK:
		return !active && !(status & VIRTIO_CONFIG_S_NEEDS_RESET);
	case VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK:
		/* Inactive all the same: the start failed. */
		return active || status & VIRTIO_CONFIG_S_NEEDS_RESET;
	default:
		return false;
	}
}

static const char *check_core(
	const struct virtio_dev *dev, const struct core *core)
{
	if (!status_ok(core->status, core->active))
		return "an impossible device status";
	if (core->status & VIRTIO_CONFIG_S_FEATURES_OK &&
		!virtio_dev_features_ok(dev, core->features))
		return "features that this device does not offer";
	if (!(core->status & VIRTIO_CONFIG_S_DRIVER) && core->features != 0)
		return "features without a driver";
	return NULL;
}

static const char *check_queue(
	const struct virtio_queue *q, const struct core *core)
{
	const struct virtio_queue_staged *s = &q->staged;
	bool untouched = s->regs.size == 0 && !s->regs.ready &&
			 s->regs.desc == 0 && s->regs.avail == 0 &&
			 s->regs.used == 0;
	uint16_t size = s->regs.size;

	if (!(core->status & VIRTIO_CONFIG_S_FEATURES_OK) && !untouched)
		return "queue registers set too early";
	if (size > q->size_max || (size & (size - 1)) != 0)
		return "an impossible queue size";
	if (core->active && s->regs.ready) {
		if (!virtq_regs_ok(&s->regs, q->size_max, q->dev->gm))
			return "a queue address outside RAM";
		if ((uint16_t)(s->pos.last_avail - s->pos.used_idx) > size)
			return "more requests in flight than fit";
	} else if (s->pos.last_avail | s->pos.used_idx | s->pos.signalled) {
		return "positions of a queue that is not active";
	}
	return NULL;
}

static int load_queue(struct virtio_queue *q, const struct core *core,
	struct state_reader *r, struct error *err)
{
	struct virtio_queue_staged *s = &q->staged;
	const char *wrong;

	s->broken = false;
	s->helds = 0;
	s->regs.size = state_get_u16(r);
	s->regs.ready = state_get_bool(r);
	s->regs.desc = state_get_u64(r);
	s->regs.avail = state_get_u64(r);
	s->regs.used = state_get_u64(r);
	s->pos.last_avail = state_get_u16(r);
	s->pos.used_idx = state_get_u16(r);
	s->pos.signalled = state_get_u16(r);
	if (r->error)
		return r->error;
	wrong = check_queue(q, core);
	return wrong ? state_reject(r, err, wrong) : 0;
}

static int load_core(struct virtio_dev *dev, struct core *core,
	struct state_reader *r, struct error *err)
{
	const char *wrong;
	unsigned i;
	int rc;

	if (state_get_u32(r) != dev->ops->id)
		return state_reject(r, err, "another kind of virtio device");
	core->features = state_get_u64(r);
	core->status = state_get_u32(r);
	core->generation = state_get_u32(r);
	core->active = state_get_bool(r);
	if (state_get_u16(r) != dev->queues && !r->error)
		return state_reject(r, err, "another number of queues");
	if (r->error)
		return r->error;
	wrong = check_core(dev, core);
	if (wrong)
		return state_reject(r, err, wrong);
	for (i = 0; i < dev->queues; i++) {
		rc = load_queue(&dev->queue[i], core, r, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int load_broken(struct virtio_dev *dev, const struct core *core,
	struct state_reader *sub, struct error *err)
{
	uint64_t mask = state_get_u64(sub);
	unsigned i;

	if (sub->version != SUB_BROKEN_VERSION)
		return state_reject(sub, err, "an unknown version");
	if (sub->error)
		return sub->error;
	for (i = 0; i < dev->queues; i++) {
		if (!(mask >> i & 1))
			continue;
		if (!core->active || !dev->queue[i].staged.regs.ready)
			return state_reject(sub, err, "a queue not in use");
		dev->queue[i].staged.broken = true;
		mask &= ~(1ull << i);
	}
	if (mask != 0 || !(core->status & VIRTIO_CONFIG_S_NEEDS_RESET))
		return state_reject(sub, err, "impossible");
	return 0;
}

static int load_held_queue(struct virtio_queue *q, const struct core *core,
	struct state_reader *sub, struct error *err)
{
	struct virtio_queue_staged *s = &q->staged;
	unsigned count = state_get_u16(sub), i;

	if (sub->error)
		return sub->error;
	if (!core->active || !s->regs.ready || s->helds > 0 || count == 0 ||
		count > s->regs.size)
		return state_reject(sub, err, "impossible");
	if (!s->held)
		s->held = calloc(q->size_max, sizeof(*s->held));
	if (!s->held)
		return error_errno(err, -ENOMEM, "%s: load", q->dev->name);
	for (i = 0; i < count; i++) {
		s->held[i] = state_get_u16(sub);
		if (!sub->error && s->held[i] >= s->regs.size)
			return state_reject(sub, err, "no such descriptor");
	}
	s->helds = count;
	return sub->error;
}

static int load_held(struct virtio_dev *dev, const struct core *core,
	struct state_reader *sub, struct error *err)
{
	unsigned index;
	int rc;

	if (sub->version != SUB_HELD_VERSION)
		return state_reject(sub, err, "an unknown version");
	while (sub->pos < sub->end) {
		index = state_get_u16(sub);
		if (sub->error)
			return sub->error;
		if (index >= dev->queues)
			return state_reject(sub, err, "no such queue");
		rc = load_held_queue(&dev->queue[index], core, sub, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* What is taken and not used is held, all of it. */
static int check_held(
	const struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	const struct virtio_queue_staged *s;
	unsigned i;

	for (i = 0; i < dev->queues; i++) {
		s = &dev->queue[i].staged;
		if ((uint16_t)(s->pos.last_avail - s->pos.used_idx) != s->helds)
			return state_reject(r, err, "requests in flight");
	}
	return 0;
}

/* 1 taken, 0 not ours, or -errno. */
static int load_own_sub(struct virtio_dev *dev, const struct core *core,
	struct state_reader *sub, struct error *err)
{
	int rc;

	if (strcmp(sub->name, SUB_BROKEN) == 0)
		rc = load_broken(dev, core, sub, err);
	else if (strcmp(sub->name, SUB_HELD) == 0)
		rc = load_held(dev, core, sub, err);
	else
		return 0;
	return rc < 0 ? rc : 1;
}

static int load_subs(struct virtio_dev *dev, const struct core *core,
	struct state_reader *r, struct error *err)
{
	struct state_reader sub;
	int rc;

	while ((rc = state_sub_next(r, &sub)) > 0) {
		rc = load_own_sub(dev, core, &sub, err);
		if (rc == 0 && dev->ops->load_sub)
			rc = dev->ops->load_sub(dev, &sub, err);
		if (rc == 0)
			rc = state_reject(
				&sub, err, "a subsection not known here");
		if (rc >= 0)
			rc = state_reader_end(&sub);
		if (rc < 0)
			return rc;
	}
	return rc;
}

/* ---- load: adopt ---- */

static int start_queue(struct virtio_queue *q, uint64_t features)
{
	struct virtio_queue_staged *s = &q->staged;
	int rc;

	if (!s->regs.ready)
		return 0;
	rc = virtq_start(
		&q->vq, &s->regs, q->size_max, features, &s->pos, q->dev->gm);
	assert(rc == 0); /* checked before */
	q->vq.broken = s->broken;
	free(q->held);
	q->held = s->held;
	q->helds = s->helds;
	s->held = NULL;
	rc = virtio_dev_watch_queue(q);
	q->active = rc == 0;
	return rc;
}

struct adoption {
	struct virtio_dev *dev;
	const struct core *core;
	int rc;
};

static void adopt_on_loop(void *opaque)
{
	struct adoption *a = opaque;
	const struct core *core = a->core;
	struct virtio_dev *dev = a->dev;
	unsigned i;

	virtio_dev_stop_queues(dev);
	if (dev->ops->stop)
		dev->ops->stop(dev);
	dev->driver_features = core->features;
	atomic_store(&dev->status, core->status);
	atomic_store(&dev->config_generation, core->generation);
	for (i = 0; i < dev->queues; i++)
		dev->queue[i].regs = dev->queue[i].staged.regs;
	for (i = 0; i < dev->queues && core->active && a->rc == 0; i++)
		a->rc = start_queue(&dev->queue[i], core->features);
	dev->active = core->active && a->rc == 0;
	if (a->rc < 0)
		return;
	if (dev->ops->loaded)
		dev->ops->loaded(dev);
	if (dev->active && dev->ops->start)
		dev->ops->start(dev);
}

static int adopt(
	struct virtio_dev *dev, const struct core *core, struct error *err)
{
	struct adoption a = {.dev = dev, .core = core};
	int rc = loop_run_sync(dev->loop, adopt_on_loop, &a, dev->name);

	if (rc < 0)
		return error_errno(err, rc, "%s: load", dev->name);
	if (a.rc < 0) {
		virtio_dev_reset(dev);
		return error_errno(err, a.rc, "%s: watch a queue", dev->name);
	}
	return 0;
}

int virtio_dev_load(
	struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	struct core core = {0};
	int rc;

	assert(dev->inflight == 0);
	rc = load_core(dev, &core, r, err);
	if (rc == 0 && dev->ops->load)
		rc = dev->ops->load(dev, r, err);
	if (rc == 0)
		rc = load_subs(dev, &core, r, err);
	if (rc == 0)
		rc = check_held(dev, r, err);
	if (rc == 0)
		rc = state_reader_end(r);
	if (rc == -EBADMSG)
		return error_set(
			err, rc, "%s: state cut off or malformed", dev->name);
	return rc < 0 ? rc : adopt(dev, &core, err);
}
