/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/mover_priv.h - the insides of struct mover, for mover.c (leaving, saving)
 * and mover_in.c (coming).
 *
 * All of it belongs to the VM's owner, but for what an engine's callback writes
 * before it schedules @ended, which reads it.
 */
#ifndef GODWIT_VMM_MOVER_PRIV_H
#define GODWIT_VMM_MOVER_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"
#include "migrate/dest.h"
#include "migrate/snapshot.h"
#include "migrate/source.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/mover.h"
#include "vmm/vm_migrate.h"

struct mover {
	struct vm *vm;		  /* borrowed */
	struct loop *loop;	  /* borrowed: the VM's */
	struct vm_migrate *guest; /* owned */
	enum mover_place place;	  /* mover_set_place() */
	void (*changed)(void *opaque);
	void *changed_opaque;	    /* borrowed */
	void (*lost)(void *opaque); /* any thread */
	void *lost_opaque;	    /* borrowed */
	_Atomic bool lost_pages;
	struct loop_bh *ended; /* owned: an engine ended */
	struct loop_timer progress;
	struct mover_watch watch;
	struct json_t *last; /* owned: statistics of the last move, or NULL */
	struct error err;    /* of the engine that ended */

	struct source *source; /* owned, or NULL */
	enum source_result source_result;

	struct save {
		pthread_t thread;	  /* while MOVER_SAVING */
		char *path, *description; /* owned */
		struct state_writer state;
		enum mover_after after;
		bool was_paused;
		uint64_t stop_ns;
		struct migrate_stats stats;
		int code;
	} save;
	_Atomic bool cancel; /* of the save */

	struct dest *dest; /* owned, or NULL */
	enum dest_result dest_result;
	struct snapshot *snapshot; /* owned while lazy */
	struct lazy *_Atomic lazy; /* owned, or NULL; read by signal handlers */
	struct migrate_stats in_stats;
	struct loop_timer look; /* at what comes lazily, or lingers */
	bool looking;
	bool keeping; /* pages are missing: no discards */
};

/* Inhibit discards while RAM is not all there; or not any more.  Idempotent. */
void mover_keep_pages(struct mover *m, bool keep);

void mover_set_place(struct mover *m, enum mover_place place);

/* Pages are lost.  Any thread. */
void mover_tell_lost(struct mover *m);

/* 0, or -EBUSY: something else goes on. */
int mover_check_idle(
	const struct mover *m, const char *what, struct error *err);
/* New object, or null. */
struct json_t *mover_stats_json(const struct mover *m);

/* The destination engine ended.  Bottom half with the guard. */
void mover_in_ended(struct mover *m);
void mover_in_fini(struct mover *m);

#endif
