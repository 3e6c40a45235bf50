/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/phase.h - the phases of an outgoing migration, for those who want to
 * know: a list of watchers and no more (Q7).
 *
 *   SETUP        dirty logging is on, nothing was sent yet
 *   BEFORE_SYNC  the dirty log is about to be read
 *   AFTER_SYNC   it was read; what is sent next is known
 *   COMPLETE     the guest is stopped, the rest is sent; no more syncs
 *   CLEANUP      the end, whatever came of it; SETUP may follow
 *
 * SETUP, then any number of BEFORE_SYNC and AFTER_SYNC pairs, then COMPLETE
 * (not if it was given up), then CLEANUP.
 *
 * Thread: the VM's loop, for all of it.
 */
#ifndef GODWIT_MIGRATE_PHASE_H
#define GODWIT_MIGRATE_PHASE_H

#include <stdbool.h>
#include <stdint.h>

enum migrate_phase {
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
	enum migrate_phase phase;
	/* A page that is skipped would be asked for after a switch, and nobody
	 * could answer: no hints when that may happen. */
	bool may_postcopy;
	/* For AFTER_SYNC; borrowed until the next phase.  NULL: no use for it.
	 */
	const struct migrate_hints *hints;
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
