/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest.h - the receiving side (P1, P2, P4, P5).
 *
 * Threads: "migrate-in" reads the stream from the start and is the listen
 * thread after LISTEN; "migrate-load" loads the package and runs the guest, so
 * that reading never waits for a page; "migrate-door" accepts further
 * connections (ATTACH, QUERY); the pager's fault threads answer faults by the
 * urgent connection.  The owner of the machine only runs its loop.
 *
 * States, one way only; anything out of order is -EPROTO:
 *   HELLO -> BUILD -> RAM -> ADVISED -> DISCARD -> LISTEN -> LOADED -> RUNNING
 *   -> END
 */
#ifndef GODWIT_MIGRATE_DEST_H
#define GODWIT_MIGRATE_DEST_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/guest.h"
#include "migrate/stats.h"
#include "migrate/wire.h"

struct chan_listener;
struct dest;
struct error;

struct dest_options {
	int timeout_ms; /* without progress; 0: 10 s */
	bool postcopy;	/* false: refuse ADVISE */
};

enum dest_result {
	DEST_RUNS_HERE, /* every page is here */
	DEST_NOT_OURS,	/* failed or cancelled before COMMIT: end the VM */
	DEST_LOST_LINK, /* ours and running, but pages will never come */
};

/* On a migration thread, once. */
typedef void dest_done_fn(
	void *opaque, enum dest_result result, const struct error *err);

/**
 * dest_accept - wait for a source and read HELLO and MACHINE.
 * @listener:   borrowed until dest_join(), which shuts it down (a failure, too):
 *              one listener, one dest.
 * @timeout_ms: for a source to come; -1: for ever.
 * Connections that speak something else are closed with one warning and the
 * wait goes on.
 * Return: 0, or -errno with @err.
 */
int dest_accept(struct chan_listener *listener, const struct dest_options *opt,
	int timeout_ms, struct dest **ret_dest, struct error *err);

/* The machine description, borrowed until dest_join(). */
const char *dest_description(const struct dest *dest);
uint64_t dest_ram_bytes(const struct dest *dest);

/* Say no: the source hears @why and runs on.  Then dest_join(). */
void dest_refuse(struct dest *dest, const struct error *why);

/**
 * dest_start - the machine is built: ACCEPT, then everything else.
 * @guest: copied; its RAM is all zero and untouched.
 * Return: 0 or -errno with @err; then dest_join().
 */
int dest_start(struct dest *dest, const struct migrate_guest *guest,
	dest_done_fn *done, void *opaque, struct error *err);

/* Give up before COMMIT; -EALREADY after it.  Any thread. */
int dest_cancel(struct dest *dest);

const struct migrate_stats *dest_stats(const struct dest *dest);
/* True once done has been called and returned (or dest_start() never was). */
bool dest_ended(const struct dest *dest);
/* Join and free; NULL is allowed.  After done. */
void dest_join(struct dest *dest);

#endif
