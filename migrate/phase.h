/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/phase.h - the phases of an outgoing migration, for those who want to
 * know: a list of watchers and no more (Q7).
 *
 *   SETUP        dirty logging is on, nothing was sent yet
 *   AFTER_SYNC   a round begins: writes to what it sends are logged
 *   BEFORE_SYNC  the round has ended, the dirty log is about to be read
 *   COMPLETE     the guest is about to be stopped, the rest to be sent
 *   CLEANUP      the end, whatever came of it; SETUP may follow
 *
 * SETUP, then any number of AFTER_SYNC and BEFORE_SYNC pairs, if anybody has
 * said that he would give hints, then COMPLETE (not if it was given up), then
 * CLEANUP.  With postcopy at once there is COMPLETE and no more.
 *
 * Thread: the VM's loop, for all of it.
 */
#ifndef GODWIT_MIGRATE_PHASE_H
#define GODWIT_MIGRATE_PHASE_H

#include <stdbool.h>
#include <stdint.h>

enum migrate_step {
	MIGRATE_SETUP,
	MIGRATE_BEFORE_SYNC,
	MIGRATE_AFTER_SYNC,
	MIGRATE_COMPLETE,
	MIGRATE_CLEANUP,
};

/* Who is told that the guest does not care what pages hold. */
struct migrate_hints {
	/* [gpa, gpa + len) is RAM of one region, whole pages.  What the guest
	 * writes there from now on counts again. */
	void (*unused)(void *opaque, uint64_t gpa, uint64_t len);
	void *opaque;
};

struct migrate_phase_info {
	enum migrate_step phase;
	/* For AFTER_SYNC; to be copied, good until the next phase.  NULL: no
	 * use for it. */
	const struct migrate_hints *hints;
	/* For SETUP; else NULL.  To be set by who would give hints. */
	bool *ret_hints;
};

/* The caller's storage; zero-initialised. */
struct migrate_watch {
	void (*fn)(void *opaque, const struct migrate_phase_info *info);
	void *opaque;
	struct migrate_watch *next; /* phase.c's */
};

/* Zero-initialised: nobody watches. */
struct migrate_phases {
	struct migrate_watch *first; /* borrowed list */
};

/* Watchers are told in the order they were added, and may remove themselves
 * when told. */
void migrate_watch_add(
	struct migrate_phases *phases, struct migrate_watch *watch);
void migrate_watch_remove(
	struct migrate_phases *phases, struct migrate_watch *watch);

void migrate_publish(const struct migrate_phases *phases,
	const struct migrate_phase_info *info);

#endif
