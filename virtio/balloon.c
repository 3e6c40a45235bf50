/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon.c - see balloon.h: life, configuration, queues, state.
 *
 * Which queue is which depends on features.  5.5.2 gives each a number of its
 * own; Linux and QEMU number those that exist one after the other.  Both agree
 * unless a feature is missing below another; then a driver of either kind is
 * told by the queues it has set up.
 *
 * Saved: u32 num_pages, actual, poison_val, free_page_hint_cmd_id; u32 hint id
 * given last; bool: the driver waits for DONE.  Subsection "done": u64 bytes of
 * the next inflate, deflate and reporting chain that are done with; only if
 * there are some.  Not saved: statistics, and which pages are in the balloon
 * but still have memory: they have it on the other side as well.
 *
 * The driver writes "actual" and "poison_val" on a vCPU thread; everything else
 * is done on the device's loop.
 */
#include "virtio/balloon_private.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"

#define QUEUE_SIZE   128u /* Linux wants 32 for reporting */
#define CONFIG_BYTES 16u
#define SUB_DONE     "done"
#define SUB_VERSION  1u

static const uint8_t feature_of[BALLOON_ROLES] = {
	[BALLOON_STATS_ROLE] = VIRTIO_BALLOON_F_STATS_VQ,
	[BALLOON_HINT] = VIRTIO_BALLOON_F_FREE_PAGE_HINT,
	[BALLOON_REPORT] = VIRTIO_BALLOON_F_REPORTING,
};

static const enum balloon_role chunked[] = {
	BALLOON_INFLATE, BALLOON_DEFLATE, BALLOON_REPORT};

/* ---- configuration ---- */

uint32_t balloon_config(struct balloon *b, unsigned off)
{
	uint32_t v;

	virtio_dev_read_config(&b->dev, off, &v, sizeof(v));
	return le32toh(v);
}

void balloon_set_config(
	struct balloon *b, unsigned off, uint32_t value, bool announce)
{
	value = htole32(value);
	virtio_dev_set_config(&b->dev, off, &value, sizeof(value), announce);
}

/* A vCPU thread.  Fields are written whole (4.2.2.2). */
static void balloon_write_config(
	struct virtio_dev *dev, uint64_t off, unsigned len, uint32_t value)
{
	struct balloon *b = balloon_of(dev);
	uint32_t status = atomic_load(&dev->status);

	if (len != 4 || !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	if (off == BALLOON_AT_ACTUAL) {
		balloon_set_config(b, BALLOON_AT_ACTUAL, value, false);
		loop_bh_schedule(b->changed);
	} else if (off == BALLOON_AT_POISON &&
		   !(status & VIRTIO_CONFIG_S_DRIVER_OK) &&
		   dev->driver_features >> VIRTIO_BALLOON_F_PAGE_POISON & 1) {
		balloon_set_config(b, BALLOON_AT_POISON, value, false);
	}
}

static void tell_changed(void *opaque)
{
	const struct balloon *b = opaque;

	if (b->opt.changed)
		b->opt.changed(b->opt.opaque);
}

int virtio_balloon_set(
	struct virtio_dev *dev, uint64_t bytes, struct error *err)
{
	if (bytes > dev->gm->size || bytes / GUESTMEM_PAGE > UINT32_MAX)
		return error_set(err, -EINVAL,
			"%s: a balloon of %" PRIu64
			" MiB, the guest has %" PRIu64 " MiB (give less)",
			dev->name, bytes >> 20, dev->gm->size >> 20);
	balloon_set_config(balloon_of(dev), BALLOON_AT_TARGET,
		(uint32_t)(bytes / GUESTMEM_PAGE), true);
	return 0;
}

void virtio_balloon_info(struct virtio_dev *dev, struct balloon_info *ret_info)
{
	struct balloon *b = balloon_of(dev);

	*ret_info = (struct balloon_info){
		.target_bytes =
			balloon_config(b, BALLOON_AT_TARGET) * GUESTMEM_PAGE,
		.actual_bytes =
			balloon_config(b, BALLOON_AT_ACTUAL) * GUESTMEM_PAGE,
		.returned_bytes = b->returned_bytes,
		.reported_bytes = b->reported_bytes,
		.held_bytes = balloon_pages_waiting(b) * GUESTMEM_PAGE,
		.refused_pages = b->refused_pages,
		.inhibited = guestmem_discard_inhibited(dev->gm),
		.driver = dev->active,
	};
}

/* ---- queues ---- */

static bool wanted(const struct balloon *b, unsigned role)
{
	return role <= BALLOON_DEFLATE ||
	       virtio_dev_has(&b->dev, feature_of[role]);
}

/* Has the driver set up the queues that 5.5.2 names? */
static bool numbered_by_the_book(const struct balloon *b)
{
	unsigned i;

	for (i = 0; i < BALLOON_ROLES; i++)
		if (wanted(b, i) &&
			(i >= b->dev.queues || !b->dev.queue[i].active))
			return false;
	return true;
}

static void settle_roles(struct balloon *b)
{
	bool by_the_book = numbered_by_the_book(b);
	unsigned i, next = 0;

	memset(b->role, BALLOON_ROLES, sizeof(b->role));
	for (i = 0; i < BALLOON_ROLES; i++)
		if (wanted(b, i))
			b->role[by_the_book ? i : next++] = (uint8_t)i;
}

static bool balloon_ready(struct virtio_dev *dev, unsigned q)
{
	struct balloon *b = balloon_of(dev);

	switch (b->role[q]) {
	case BALLOON_STATS_ROLE:
		return balloon_stats_ready(b);
	case BALLOON_INFLATE:
	case BALLOON_DEFLATE:
	case BALLOON_REPORT:
		return balloon_pages_ready(b, q);
	default:
		return true;
	}
}

static void balloon_request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	struct balloon *b = balloon_of(dev);
	enum balloon_role role = b->role[ticket.queue];

	switch (role) {
	case BALLOON_INFLATE:
	case BALLOON_DEFLATE:
		balloon_pages_request(b, chain, ticket, role);
		break;
	case BALLOON_STATS_ROLE:
		balloon_stats_request(b, chain, ticket);
		break;
	case BALLOON_HINT:
		balloon_hint_request(b, chain, ticket);
		break;
	case BALLOON_REPORT:
		balloon_report_request(b, chain, ticket);
		break;
	case BALLOON_ROLES: /* of a feature that was not accepted */
		virtio_dev_done(dev, ticket, 0);
		break;
	}
}

static void balloon_start(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	settle_roles(b);
	b->poisoned = virtio_dev_has(dev, VIRTIO_BALLOON_F_PAGE_POISON) &&
		      balloon_config(b, BALLOON_AT_POISON) != 0;
}

/* The guest begins anew: whatever was in the balloon is its own again. */
static void balloon_stop(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	balloon_stats_stop(b);
	balloon_hint_reset(b);
	balloon_pages_forget(b);
	b->poisoned = false;
	balloon_set_config(b, BALLOON_AT_ACTUAL, 0, false);
	balloon_set_config(b, BALLOON_AT_POISON, 0, false);
}

static void balloon_pause(struct virtio_dev *dev)
{
	balloon_stats_pause(balloon_of(dev));
}

static void balloon_resume(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	balloon_hint_resume(b);
	loop_bh_schedule(b->late);
}

static void discards_allowed(void *opaque)
{
	const struct balloon *b = opaque;

	loop_bh_schedule(b->late);
}

/* ---- state ---- */

static void balloon_save(const struct virtio_dev *dev, struct state_writer *w)
{
	const struct balloon *b = (const struct balloon *)dev;
	uint32_t v[CONFIG_BYTES / 4];
	bool any = false;
	unsigned i;

	memcpy(v, dev->config, sizeof(v));
	state_put_u32(w, le32toh(v[BALLOON_AT_TARGET / 4]));
	state_put_u32(w, le32toh(v[BALLOON_AT_ACTUAL / 4]));
	state_put_u32(w, le32toh(v[BALLOON_AT_POISON / 4]));
	state_put_u32(w, le32toh(v[BALLOON_AT_HINT / 4]));
	state_put_u32(w, b->hint.id);
	state_put_bool(w, b->hint.owed);
	for (i = 0; i < 3; i++)
		any |= b->done[chunked[i]] > 0;
	if (!any)
		return;
	state_sub_begin(w, SUB_DONE, SUB_VERSION);
	for (i = 0; i < 3; i++)
		state_put_u64(w, b->done[chunked[i]]);
	state_sub_end(w);
}

static const char *check_hint(const struct balloon_staged *s)
{
	if (s->hint_id != 0 && s->hint_id < BALLOON_HINT_ID_MIN)
		return "an impossible hint command id";
	if (s->hint_owed && s->hint_id == 0)
		return "hints without a command";
	switch (s->hint_config) {
	case VIRTIO_BALLOON_CMD_ID_STOP:
		return NULL;
	case VIRTIO_BALLOON_CMD_ID_DONE:
		return s->hint_id == 0 || s->hint_owed ? "hints done too early"
						       : NULL;
	default:
		return s->hint_config != s->hint_id || !s->hint_owed
			       ? "a hint command that was never given"
			       : NULL;
	}
}

static int balloon_load(
	struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	struct balloon *b = balloon_of(dev);
	struct balloon_staged *s = &b->staged;
	const char *wrong;

	memset(s, 0, sizeof(*s));
	s->target = state_get_u32(r);
	s->actual = state_get_u32(r);
	s->poison = state_get_u32(r);
	s->hint_config = state_get_u32(r);
	s->hint_id = state_get_u32(r);
	s->hint_owed = state_get_bool(r);
	if (r->error)
		return r->error;
	if (s->target > dev->gm->size / GUESTMEM_PAGE)
		return state_reject(r, err, "a balloon larger than RAM");
	wrong = check_hint(s);
	return wrong ? state_reject(r, err, wrong) : 0;
}

static int balloon_load_sub(
	struct virtio_dev *dev, struct state_reader *sub, struct error *err)
{
	struct balloon *b = balloon_of(dev);
	unsigned i;

	if (strcmp(sub->name, SUB_DONE) != 0)
		return 0;
	if (sub->version != SUB_VERSION)
		return state_reject(sub, err, "an unknown version");
	for (i = 0; i < 3; i++)
		b->staged.done[chunked[i]] = state_get_u64(sub);
	if (!sub->error && (b->staged.done[BALLOON_INFLATE] |
				   b->staged.done[BALLOON_DEFLATE]) %
					   4 !=
				   0)
		return state_reject(sub, err, "half a page number");
	return sub->error ? sub->error : 1;
}

static void balloon_loaded(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);
	const struct balloon_staged *s = &b->staged;

	memcpy(b->done, s->done, sizeof(b->done));
	balloon_set_config(b, BALLOON_AT_TARGET, s->target, false);
	balloon_set_config(b, BALLOON_AT_ACTUAL, s->actual, false);
	balloon_set_config(b, BALLOON_AT_POISON, s->poison, false);
	balloon_hint_loaded(b);
}

/* ---- life ---- */

static void balloon_destroy(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	guestmem_watch_remove(dev->gm, &b->watch);
	balloon_hint_fini(b);
	loop_timer_cancel(&b->stats.timer);
	loop_bh_delete(b->late);
	loop_bh_delete(b->changed);
	free(b->held);
	free(b);
}

static const struct virtio_dev_ops balloon_ops = {
	.kind = "virtio-balloon",
	.id = VIRTIO_ID_BALLOON,
	.version = 1,
	.ready = balloon_ready,
	.request = balloon_request,
	.start = balloon_start,
	.stop = balloon_stop,
	.pause = balloon_pause,
	.resume = balloon_resume,
	.write_config = balloon_write_config,
	.save = balloon_save,
	.load = balloon_load,
	.load_sub = balloon_load_sub,
	.loaded = balloon_loaded,
	.destroy = balloon_destroy,
};

static uint64_t features_of(const struct balloon_options *opt)
{
	uint64_t features = 1ull << VIRTIO_BALLOON_F_MUST_TELL_HOST;

	if (opt->stats)
		features |= 1ull << VIRTIO_BALLOON_F_STATS_VQ;
	if (opt->deflate_on_oom)
		features |= 1ull << VIRTIO_BALLOON_F_DEFLATE_ON_OOM;
	if (opt->hinting)
		features |= 1ull << VIRTIO_BALLOON_F_FREE_PAGE_HINT;
	if (opt->reporting)
		features |= 1ull << VIRTIO_BALLOON_F_REPORTING;
	/* Without it a driver that fills free pages cannot have the others. */
	if (opt->hinting || opt->reporting)
		features |= 1ull << VIRTIO_BALLOON_F_PAGE_POISON;
	return features;
}

static unsigned queues_of(const struct balloon_options *opt)
{
	if (opt->reporting)
		return BALLOON_REPORT + 1;
	if (opt->hinting)
		return BALLOON_HINT + 1;
	return opt->stats ? BALLOON_STATS_ROLE + 1 : BALLOON_DEFLATE + 1;
}

static int init_rest(struct balloon *b, struct error *err)
{
	struct virtio_dev *dev = &b->dev;
	int rc;

	balloon_stats_init(b);
	rc = loop_bh_create(
		dev->loop, balloon_pages_late, b, dev->name, NULL, &b->late);
	if (rc == 0)
		rc = loop_bh_create(dev->loop, tell_changed, b, dev->name, NULL,
			&b->changed);
	if (rc < 0)
		return error_errno(err, rc, "%s: bottom half", dev->name);
	balloon_set_config(b, BALLOON_AT_POISON, 0, false); /* all 16 bytes */
	rc = virtio_balloon_set(dev, b->opt.bytes, err);
	if (rc < 0)
		return rc;
	b->watch.allowed = discards_allowed;
	b->watch.opaque = b;
	guestmem_watch_add(dev->gm, &b->watch);
	balloon_hint_init(b);
	return 0;
}

int virtio_balloon_create(const struct virtio_env *env, const char *name,
	const struct balloon_options *opt, struct virtio_dev **ret_dev,
	struct error *err)
{
	static const uint16_t sizes[BALLOON_ROLES] = {
		QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE};
	struct balloon *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return error_errno(err, -ENOMEM, "%s", name);
	b->opt = *opt;
	b->late_page = UINT64_MAX;
	rc = virtio_dev_init(&b->dev, &balloon_ops, env, name, features_of(opt),
		sizes, queues_of(opt), err);
	if (rc < 0) {
		free(b);
		return rc;
	}
	rc = init_rest(b, err);
	if (rc < 0) {
		virtio_dev_fini(&b->dev);
		loop_bh_delete(b->late);
		loop_bh_delete(b->changed);
		free(b);
		return rc;
	}
	*ret_dev = &b->dev;
	return 0;
}
