/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon_hint.c - free page hints (5.5.6.5): during a migration the
 * guest shows pages whose contents it does not need.
 *
 *   STOP ---- start: a new id, announced ----> REQUESTED
 *   REQUESTED -- the guest says that id -----> START     hints count from here
 *   START ------ the guest says anything else -> STOP    it has no more
 *   REQUESTED, START ---- stop --------------> STOP      id 0, announced
 *   any of them --------- done --------------> DONE      id 1, announced
 *
 * An id is never given twice in 2^31 times, so what a guest says late, or of an
 * earlier command, matches nothing and is ignored: in REQUESTED it does not
 * even end anything.  Nobody waits for the guest.
 *
 * What must hold for the migration (Q6): dirty logging is on before hints
 * start, and they are stopped before the log is read.  Both are steps of the
 * loop, as is each hint, so none comes in between.  None come while the VM is
 * paused, nor with page poison: there free pages must keep what they hold.
 * Thread: the device's loop.
 */
#include "virtio/balloon_private.h"

#include <endian.h>
#include <errno.h>

#include "virtio/iov.h"

static void set_state(struct balloon *b, enum hint_state state, bool announce)
{
	struct balloon_hint *h = &b->hint;
	uint32_t config = VIRTIO_BALLOON_CMD_ID_STOP;

	h->state = state;
	if (state == HINT_REQUESTED || state == HINT_START)
		config = h->id;
	else if (state == HINT_DONE)
		config = VIRTIO_BALLOON_CMD_ID_DONE;
	if (state == HINT_STOP || state == HINT_DONE)
		h->to = (struct migrate_hints){.unused = NULL};
	balloon_set_config(b, BALLOON_AT_HINT, config, announce);
}

static bool has_hints(const struct balloon *b)
{
	return b->dev.active && !b->poisoned &&
	       virtio_dev_has(&b->dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
}

int balloon_hint_start(
	struct virtio_dev *dev, const struct migrate_hints *hints)
{
	struct balloon *b = balloon_of(dev);
	struct balloon_hint *h = &b->hint;

	if (!has_hints(b))
		return -EOPNOTSUPP;
	if (dev->quiesced)
		return -EBUSY;
	h->id = h->id < BALLOON_HINT_ID_MIN || h->id == UINT32_MAX
			? BALLOON_HINT_ID_MIN
			: h->id + 1;
	h->to = *hints;
	h->owed = true;
	set_state(b, HINT_REQUESTED, true);
	return 0;
}

void balloon_hint_stop(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	if (b->hint.state == HINT_REQUESTED || b->hint.state == HINT_START)
		set_state(b, HINT_STOP, true);
}

void balloon_hint_done(struct virtio_dev *dev)
{
	struct balloon *b = balloon_of(dev);

	if (!b->hint.owed)
		return;
	b->hint.owed = false;
	set_state(b, HINT_DONE, true);
}

/* ---- what the guest says ---- */

static void take_id(struct balloon *b, uint32_t id)
{
	struct balloon_hint *h = &b->hint;

	if (h->state == HINT_REQUESTED && id == h->id)
		h->state = HINT_START;
	else if (h->state == HINT_START && id != h->id)
		set_state(b, HINT_STOP, false);
}

static void take_block(struct balloon *b, const struct iovec *iov)
{
	uint64_t gpa, end;

	if (iov->iov_len == 0)
		return;
	gpa = guestmem_gpa(b->dev.gm, iov->iov_base);
	end = (gpa + iov->iov_len) & ~(GUESTMEM_PAGE - 1);
	gpa = (gpa + GUESTMEM_PAGE - 1) & ~(GUESTMEM_PAGE - 1);
	if (gpa < end)
		b->hint.to.unused(b->hint.to.opaque, gpa, end - gpa);
}

void balloon_hint_request(struct balloon *b, const struct virtq_chain *chain,
	struct virtio_ticket t)
{
	const struct iovec *in = chain->iov + chain->readable;
	uint32_t id;
	unsigned i;

	if (iov_read(chain->iov, chain->readable, 0, &id, sizeof(id)) ==
		sizeof(id))
		take_id(b, le32toh(id));
	if (b->hint.state == HINT_START)
		for (i = 0; i < chain->writable; i++)
			take_block(b, &in[i]);
	virtio_dev_done(&b->dev, t, 0);
}

/* ---- life ---- */

static void on_phase(void *opaque, const struct migrate_phase_info *info)
{
	struct virtio_dev *dev = opaque;

	switch (info->phase) {
	case MIGRATE_SETUP:
		if (info->ret_hints && has_hints(balloon_of(dev)) &&
			!dev->quiesced)
			*info->ret_hints = true;
		break;
	case MIGRATE_AFTER_SYNC:
		/* A guest that has no hints to give is migrated without. */
		if (info->hints)
			balloon_hint_start(dev, info->hints);
		break;
	case MIGRATE_BEFORE_SYNC:
	case MIGRATE_COMPLETE:
		balloon_hint_stop(dev);
		break;
	case MIGRATE_CLEANUP:
		balloon_hint_done(dev);
		break;
	}
}

void balloon_hint_init(struct balloon *b)
{
	if (!b->opt.phases || !b->opt.hinting)
		return;
	b->hint.watch.fn = on_phase;
	b->hint.watch.opaque = &b->dev;
	migrate_watch_add(b->opt.phases, &b->hint.watch);
}

void balloon_hint_fini(struct balloon *b)
{
	if (b->hint.watch.fn)
		migrate_watch_remove(b->opt.phases, &b->hint.watch);
}

/* The ids go on: whatever the old driver has still in its queue is stale. */
void balloon_hint_reset(struct balloon *b)
{
	b->hint.owed = false;
	set_state(b, HINT_STOP, false);
}

/* The migration that hints were for is over, and here is its other end. */
void balloon_hint_loaded(struct balloon *b)
{
	struct balloon_hint *h = &b->hint;

	h->id = b->staged.hint_id;
	h->owed = b->staged.hint_owed;
	h->state = b->staged.hint_config == VIRTIO_BALLOON_CMD_ID_DONE
			   ? HINT_DONE
			   : HINT_STOP;
	h->moved = h->owed;
	balloon_set_config(b, BALLOON_AT_HINT, b->staged.hint_config, false);
}

void balloon_hint_resume(struct balloon *b)
{
	if (!b->hint.moved)
		return;
	b->hint.moved = false;
	balloon_hint_done(&b->dev);
}
