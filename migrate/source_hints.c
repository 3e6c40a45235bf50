/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_hints.c - pages of precopy whose contents need not be sent,
 * because the guest does not care for them (Q6); virtio/balloon_hint.c brings
 * them.  They go as zero pages: a word each, and nobody looks at them, so that
 * the destination has every page whatever comes after, a switch to postcopy
 * too.
 *
 * A content may be left out only if every write since the guest has said so is
 * still to be found in the dirty log, or a page in use again would be lost:
 *
 *   - all pages of a round are under the log's watch before the guest is asked,
 *     and not merely those of a chunk before they are sent;
 *   - a round takes the hints for a word of its bitmap once, when it first
 *     comes to it.  What is watched again after that, which forgets an earlier
 *     write, is either sent or was left out already: a hint that comes later is
 *     too late;
 *   - the guest is told to stop, and hints are shut out, before the log is
 * read; what it then says is dirty is sent, hinted or not;
 *   - nothing is asked for in the last pass.
 *
 * Threads: migrate; hints come on the VM's loop and only set bits.
 */
#include <errno.h>
#include <stdlib.h>

#include "migrate/phase.h"
#include "migrate/source_priv.h"
#include "vmm/guestmem.h"

/* A later round of fewer pages is over before a guest has answered. */
#define WORTH_PAGES 2048u

static void tell(struct source *s, const struct migrate_phase_info *info)
{
	if (s->guest.ops->phase)
		s->guest.ops->phase(s->guest.opaque, info);
}

/* The VM's loop. */
static void unused(void *opaque, uint64_t gpa, uint64_t len)
{
	struct source *s = opaque;
	const uint8_t *at = guestmem_at(s->guest.gm, gpa, len);
	uint64_t page, end;

	if (!at)
		return;
	page = (uint64_t)(at - s->guest.gm->base) / GUESTMEM_PAGE;
	end = page + len / GUESTMEM_PAGE;
	for (; page < end; page++)
		atomic_fetch_or_explicit(&s->hinted[page / 64],
			UINT64_C(1) << (page % 64), memory_order_relaxed);
}

int source_hints_setup(struct source *s, struct error *err)
{
	bool wanted = false;
	struct migrate_phase_info info = {
		.phase = MIGRATE_SETUP, .ret_hints = &wanted};

	s->setup = true;
	tell(s, &info);
	if (!wanted)
		return 0;
	s->hinted = calloc(s->words, sizeof(*s->hinted));
	return s->hinted ? 0
			 : error_set(err, -ENOMEM, "migrate: out of memory");
}

int source_hints_begin(struct source *s, struct error *err)
{
	struct migrate_hints hints = {.unused = unused, .opaque = s};
	struct migrate_phase_info info = {
		.phase = MIGRATE_AFTER_SYNC, .hints = &hints};
	uint64_t w;
	int code;

	if (!s->hinted ||
		(s->stats.round > 1 && s->stats.pages_left < WORTH_PAGES))
		return 0;
	code = s->guest.ops->dirty_clear(
		s->guest.opaque, s->dirty, 0, s->pages, err);
	if (code < 0)
		return code;
	for (w = 0; w < s->words; w++)
		atomic_store_explicit(&s->hinted[w], 0, memory_order_relaxed);
	s->hints_at = 0;
	s->hinting = true;
	tell(s, &info);
	return 0;
}

void source_hints_take(struct source *s, uint64_t w)
{
	uint64_t bits, left;

	if (w < s->hints_at)
		return;
	s->hints_at = w + 1;
	/* Pages of a guest that shows them as they come need no order. */
	bits = s->dirty[w] &
	       atomic_load_explicit(&s->hinted[w], memory_order_relaxed);
	s->dirty[w] &= ~bits;
	for (left = bits; left != 0; left &= left - 1)
		s->left_out[s->left_outs++] =
			w * 64 + (uint64_t)__builtin_ctzll(left);
}

int source_hints_send(struct source *s, struct error *err)
{
	struct source_conn *c = &s->main;
	uint32_t i, pages = s->left_outs;
	int code;

	if (pages == 0)
		return 0;
	s->left_outs = 0;
	source_begin(c, WIRE_PAGES);
	for (i = 0; i < pages; i++)
		c->entry[i] = wire_page_entry(s->left_out[i], WIRE_PAGE_ZERO);
	code = wire_pages(&c->out, c->entry, pages, c->out_seq);
	if (code < 0) {
		pthread_mutex_unlock(&c->lock);
		return error_errno(err, code, "frame of %u pages", pages);
	}
	code = source_send(s, c, err);
	if (code < 0)
		return code;
	migrate_count(&s->stats.pages_hinted, pages);
	atomic_fetch_sub_explicit(
		&s->stats.pages_left, pages, memory_order_relaxed);
	return 0;
}

void source_hints_end(struct source *s)
{
	struct migrate_phase_info info = {.phase = MIGRATE_BEFORE_SYNC};

	if (!s->hinting)
		return;
	s->hinting = false;
	tell(s, &info);
}

void source_hints_cleanup(struct source *s)
{
	struct migrate_phase_info info = {.phase = MIGRATE_CLEANUP};

	s->hinting = false;
	if (s->setup)
		tell(s, &info);
	s->setup = false;
}
