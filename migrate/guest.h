/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/guest.h - the machine as a migration sees it.
 *
 * The migration threads know nothing of KVM, vCPUs or devices: they see RAM by
 * page number, a dirty log, and a few orders.  vmm/vm_migrate.c gives the real
 * one; tests give one of plain memory.
 *
 * Pages are numbered by RAM offset / 4096 (vmm/guestmem.h); bitmaps have one
 * bit a page, bit i % 64 of word i / 64.
 *
 * Thread: called from migration threads.  Each order runs on the machine's own
 * thread and returns when it is done there.
 */
#ifndef GODWIT_MIGRATE_GUEST_H
#define GODWIT_MIGRATE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct guestmem;
struct migrate_phase_info;
struct state_writer;

struct migrate_guest_ops {
	/* ---- source ---- */

	/* Begin to record writes, by the guest and by us.  0 or -errno. */
	int (*dirty_start)(void *opaque, struct error *err);
	/* Or what was written since the last sync into @bitmap.  A page is
	 * recorded again only after dirty_clear() of it. */
	int (*dirty_sync)(
		void *opaque, uint64_t *bitmap, struct error *err);
	/* Record writes to pages [first, first + count) again; those not in
	 * @bitmap (indexed by page) may be left alone.  first is a multiple of
	 * 64.  Call before reading the pages to send them. */
	int (*dirty_clear)(void *opaque, const uint64_t *bitmap, uint64_t first,
		uint64_t count, struct error *err);
	void (*dirty_stop)(void *opaque);
	/* Tell those who watch (phase.h); stop() tells COMPLETE by itself.
	 * Hints come between AFTER_SYNC and BEFORE_SYNC or CLEANUP only, and
	 * none is under way when these return.  NULL: nobody watches. */
	void (*phase)(void *opaque, const struct migrate_phase_info *info);

	/* Stop the guest for good, as far as anybody can see: vCPUs out, devices
	 * quiet, state in @w, images unlocked.  RAM does not change after it.
	 * @ret_paused: it had been paused by the user.
	 * An error leaves the guest as it was before. */
	int (*stop)(void *opaque, struct state_writer *w, bool *ret_paused,
		struct error *err);
	/* Undo stop(): lock images again and run on (or stay paused). */
	int (*restart)(void *opaque, struct error *err);

	/* ---- destination ---- */

	/* Load what stop() saved, and lock images; may touch guest RAM.  The
	 * guest stays stopped.  After an error images are unlocked. */
	int (*load)(void *opaque, const uint8_t *state, uint64_t len,
		struct error *err);
	/* It will never be ours: unlock the images, if load() locked them.
	 * NULL: there is nothing to unlock. */
	void (*abandon)(void *opaque);
	/* The guest is ours: run it (unless @paused), announce it. */
	int (*run)(void *opaque, bool paused, struct error *err);
};

struct migrate_guest {
	const struct migrate_guest_ops *ops;
	void *opaque;
	struct guestmem *gm; /* borrowed */
};

static inline uint64_t migrate_bitmap_words(uint64_t pages)
{
	return (pages + 63) / 64;
}

#endif
