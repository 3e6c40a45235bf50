/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source.h - the sending side: precopy, the switch, postcopy.
 *
 * Threads: "migrate" has the forward path, "migrate-return" reads the return
 * path, "migrate-urgent" answers faults on the urgent connection.  They are
 * started by source_start() and gone when source_join() returns.
 *
 * Exactly one side owns the guest: this one until COMMIT is written.  After
 * that it never runs the guest again unless the destination has said that it
 * does not have it.
 */
#ifndef GODWIT_MIGRATE_SOURCE_H
#define GODWIT_MIGRATE_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/guest.h"
#include "migrate/stats.h"

struct error;
struct source;

enum source_postcopy {
	SOURCE_POSTCOPY_NEVER,
	SOURCE_POSTCOPY_MANUAL,	 /* advised, switched by source_switch() */
	SOURCE_POSTCOPY_AFTER,	 /* after so many rounds */
	SOURCE_POSTCOPY_STALLED, /* when the downtime estimate does not fall */
	SOURCE_POSTCOPY_IMMEDIATE, /* before the first round */
};

struct source_options {
	const char *address; /* chan.h; copied */
	enum source_postcopy postcopy;
	uint32_t after_rounds;	  /* SOURCE_POSTCOPY_AFTER; >= 1 */
	uint64_t max_downtime_ns; /* goal; 0: 300 ms */
	uint64_t bandwidth;	  /* bytes/s in precopy; 0: no limit */
	uint64_t push_bandwidth;  /* the same, of pages that nobody has asked
				     for, after the switch */
	uint32_t max_rounds;	  /* then stop whatever it costs; 0: 30 */
	int timeout_ms;		  /* without progress; 0: 10 s */
	/* Before all else, on the migrate thread: see to it that all of RAM is
	 * here, for who reads a page that is lost waits for ever.  Returns soon
	 * when @cancel is set.  0 or -errno.  NULL: it is here. */
	int (*gather)(
		void *opaque, const _Atomic bool *cancel, struct error *err);
	void *gather_opaque; /* borrowed */
};

/* How it ended. */
enum source_result {
	SOURCE_RUNS_HERE, /* failed or cancelled before COMMIT; runs on */
	SOURCE_MOVED,	  /* the destination has all of it */
	SOURCE_LOST_LINK, /* the destination runs it, pages are missing there */
	SOURCE_UNRESOLVED, /* COMMIT written, answer lost; stays stopped */
	SOURCE_STUCK,	   /* ours, but restart() failed; stays stopped */
};

/* On the migrate thread, at the end, once; before source_join() can return. */
typedef void source_done_fn(
	void *opaque, enum source_result result, const struct error *err);

/**
 * source_start - begin to move @guest to @opt->address.
 * @guest:       copied; what it points to outlives the source.
 * @description: JSON text, WIRE_DESCRIPTION_MAX at most; copied.
 * Return: 0, -EINVAL (address, options), -ENOMEM, -EAGAIN (thread); later
 *         trouble comes by @done.
 * Thread: any.
 */
int source_start(const struct source_options *opt,
	const struct migrate_guest *guest, const char *description,
	source_done_fn *done, void *opaque, struct source **ret_source,
	struct error *err);

/* Switch to postcopy as soon as possible.  Any time, any thread; harmless when
 * done or not possible: -EOPNOTSUPP when postcopy was not asked for, -EALREADY
 * after the switch, else 0. */
int source_switch(struct source *source);
/* Give up, unless COMMIT was written.  0, or -EALREADY when it is too late. */
int source_cancel(struct source *source);
/* Change limits while it runs; SOURCE_KEEP leaves one as it is, 0 means what it
 * means in struct source_options. */
#define SOURCE_KEEP UINT64_MAX
void source_set_limits(
	struct source *source, uint64_t bandwidth, uint64_t max_downtime_ns);

const struct migrate_stats *source_stats(const struct source *source);
/* Statistics of the destination as it sent them with DONE; JSON text, borrowed,
 * NULL before. */
const char *source_peer_stats(const struct source *source);
/* Samples of the run for plots: JSON lines {t_ms, phase, bytes, pages_left,
 * ...}; to be freed with free().  After done. */
char *source_timeline(struct source *source);

/* True once done has been called and returned. */
bool source_ended(const struct source *source);
/* Join the threads and free.  After @done; NULL is allowed.  Not from @done. */
void source_join(struct source *source);

#endif
