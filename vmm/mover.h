/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/mover.h - what moves one VM: at most one migration, snapshot or arrival
 * at a time, from the VM's point of view.
 *
 * It joins the migration engines (migrate/), which have threads of their own,
 * with the VM's loop, and knows who owns the guest.
 *
 * Thread: the owner of the VM, in vm_run() or vm_serve() or before it.
 */
#ifndef GODWIT_VMM_MOVER_H
#define GODWIT_VMM_MOVER_H

#include <stdbool.h>
#include <stdint.h>

struct chan_listener;
struct dest;
struct error;
struct json_t;
struct mover;
struct snapshot;
struct source_options;
struct vm;

/* Where the guest is. */
enum mover_place {
	MOVER_HERE,	  /* ours, and nothing is going on */
	MOVER_LEAVING,	  /* ours, being migrated */
	MOVER_SAVING,	  /* ours, stopped for a snapshot */
	MOVER_ARRIVING,	  /* not ours yet, or pages are still to come */
	MOVER_GONE,	  /* the other side's */
	MOVER_LOST_PAGES, /* ours, but pages will not come */
	MOVER_LOST_LINK, /* the other side's, which lacks pages that are here */
	MOVER_UNRESOLVED, /* nobody knows: COMMIT sent, no answer */
};

const char *mover_place_name(enum mover_place place); /* "here" */

int mover_create(struct vm *vm, struct mover **ret_mover, struct error *err);
/* The run is over: cancel what can be, and wait for the rest.  Not from a
 * callback of its own. */
void mover_finish(struct mover *mover);
/* Finish and free.  NULL is allowed. */
void mover_destroy(struct mover *mover);

/* Ten times a second and at the end; both borrowed. */
struct mover_watch {
	void (*progress)(void *opaque, struct json_t *stats);
	/* @result: statistics, and "timeline" when there is one. */
	void (*ended)(void *opaque, int code, const struct error *err,
		struct json_t *result);
	void *opaque;
};

/* Begin to move the guest.  When it has gone, vm_run() ends with VM_END_MOVED.
 * Return: 0, then ended() comes; -EBUSY, -EINVAL, -errno with @err. */
int mover_migrate(struct mover *mover, const struct source_options *opt,
	const struct mover_watch *watch, struct error *err);
/* As source_switch(), source_cancel(), source_set_limits(); -ESRCH when no
 * migration runs. */
int mover_switch(struct mover *mover, struct error *err);
int mover_cancel(struct mover *mover, struct error *err);
int mover_set_limits(struct mover *mover, uint64_t bandwidth,
	uint64_t max_downtime_ns, struct error *err);

enum mover_after { MOVER_THEN_RUN, MOVER_THEN_PAUSE, MOVER_THEN_STOP };

/* Write a snapshot to @path; then run on, stay paused, or end the VM. */
int mover_snapshot(struct mover *mover, const char *path,
	enum mover_after after, const struct mover_watch *watch,
	struct error *err);

/* @vm was made from @dest's description: let it come.  @dest is taken, also on
 * failure; @listener is borrowed until mover_destroy().  If it does not come
 * the run ends with VM_END_HOST. */
int mover_receive(struct mover *mover, struct dest *dest, struct error *err);

/* @vm was made from @snapshot's description: load it.  Taken, also on failure.
 * @lazy: pages come as they are touched, the rest by and by.  The VM is left
 * paused; *@ret_paused says if the user had paused it. */
int mover_restore(struct mover *mover, struct snapshot *snapshot, bool lazy,
	bool *ret_paused, struct error *err);

/* Call @changed whenever the place changes; NULL: no more. */
void mover_on_change(
	struct mover *mover, void (*changed)(void *opaque), void *opaque);

/* Pages are missing and will not come, ever: a vCPU, or the main loop, that
 * waits for one cannot be stopped.  Signal handlers on the owner's thread, too.
 */
bool mover_lost_pages(const struct mover *mover);
/* Call @lost when that becomes so; any thread, before the place changes.  Set
 * it before anything is moved. */
void mover_on_lost(
	struct mover *mover, void (*lost)(void *opaque), void *opaque);

enum mover_place mover_place(const struct mover *mover);
/* {"place": ..., "migration": {...} or null, "missing_pages": N}: a new object,
 * NULL without memory. */
struct json_t *mover_info(const struct mover *mover);
/* Take the guest back when nobody knows where it is (MOVER_UNRESOLVED, or
 * MOVER_LOST_LINK): only after making sure that the other side does not run it.
 * Return: 0, -EINVAL (other places), -errno; with @err. */
int mover_take_back(struct mover *mover, struct error *err);

#endif
