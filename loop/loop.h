/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/loop.h - the event loop: fds, bottom halves, timers, notify.
 *
 * One struct loop has one home thread, which polls it.  Other threads reach it
 * through loop_bh_schedule(), loop_notify() and the handler list only.  The
 * rows L1-L15 of docs/loop.md are the contract.
 *
 * A poll has fixed phases: prepare (claim the wait, compute the timeout), wait,
 * accept (clear the notification), dispatch (bottom halves, fds, timers).
 */
#ifndef GODWIT_LOOP_LOOP_H
#define GODWIT_LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct loop;
struct loop_fd;
struct loop_bh;

enum loop_backend { LOOP_AUTO, LOOP_POLL, LOOP_EPOLL, LOOP_URING };

struct loop_polling;

struct loop_options {
	enum loop_backend backend; /* LOOP_AUTO chooses and upgrades (L6) */
	const char *name;	   /* borrowed; for traces and messages */
	const struct loop_polling *polling; /* NULL: the default */
};

/**
 * loop_create - a loop whose home thread is the first one to poll it.
 * @opt:  NULL for the defaults.
 * Thread: any.
 * Return: 0, or -errno with @err naming the step (EMFILE, ENFILE, ENOMEM,
 *         EINVAL for an unknown back end, ENOSYS for one this host forbids).
 */
int loop_create(const struct loop_options *opt, struct loop **ret_loop,
	struct error *err);

/* Make the calling thread the home thread now, not at its first poll.  The
 * loop must have none yet. */
void loop_adopt(struct loop *loop);

/* The home thread's last act on @loop, if another thread is to destroy it. */
void loop_disown(struct loop *loop);

/* Free @loop.  No handler may be left but bottom halves already deleted, no
 * operation in flight.  Home thread, outside a poll; any, if it has no home.
 * NULL is allowed. */
void loop_destroy(struct loop *loop);

/**
 * loop_poll - one turn (L1, L2).
 * @blocking: wait until something happens or somebody notifies.
 * Thread: home; handlers may call it again (nested).
 * Return: true iff a bottom half, a timer or the end of an operation
 *         (loop/uring.h) ran, or an fd handler that said it made progress.  A
 * bare notify is not progress.  Test your condition before each call.
 */
bool loop_poll(struct loop *loop, bool blocking);

/* Make the poll on @loop that waits now, or else the next one, return
 * without (further) waiting (L3, L4).  Thread: any, signal handlers too. */
void loop_notify(struct loop *loop);

/* The loop whose home thread this is, or NULL on a worker (L12). */
struct loop *loop_current(void);

/* ---- file descriptors ---- */

#define LOOP_READ  1u
#define LOOP_WRITE 2u
#define LOOP_ERROR 4u /* reported always: error or hang-up */

/* @ready: LOOP_* bits seen.  Return true iff it made progress. */
typedef bool loop_fd_fn(void *opaque, unsigned ready);

#define LOOP_FD_EXTERNAL 1u /* guest-facing: silent while quiesced (L8) */
#define LOOP_FD_DRAINS                                                         \
	2u /* empties its fd each time it is called, so it need                \
	    * not be told again of what it left; faster */

/**
 * loop_fd_add - watch @fd.
 * @fd:     borrowed; loop_fd_del() before closing it (L7).
 * @events: LOOP_READ | LOOP_WRITE; 0 leaves LOOP_ERROR only.
 * @flags:  LOOP_FD_*.
 * @name:   borrowed, for traces.
 * Thread: any.
 * Return: 0 or -errno (ENOMEM, EPERM for an fd that cannot be polled, EBADF,
 *         EEXIST for one watched already, EMFILE, ENFILE, ENOSPC).
 */
int loop_fd_add(struct loop *loop, int fd, unsigned events, unsigned flags,
	loop_fd_fn *fn, void *opaque, const char *name,
	struct loop_fd **ret_handler);

/* Change what @handler waits for.  Thread: any. */
int loop_fd_set(struct loop_fd *handler, unsigned events);

/* Stop watching: inactive at once, freed after the running batch.  Legal from
 * any handler including its own.  Thread: any; from a thread other than home
 * the callback may be running at this very moment.  NULL is allowed. */
void loop_fd_del(struct loop_fd *handler);

/* Counted; while disabled no LOOP_FD_EXTERNAL handler is dispatched (L8).
 * Level-triggered readiness is seen after the last enable.  Thread: home. */
void loop_disable_external(struct loop *loop);
void loop_enable_external(struct loop *loop);

/* ---- adaptive polling (L10) ---- */

/* What a handler offers so that the loop can look before it sleeps. */
struct loop_poll_fns {
	/* Is there work?  Cheap, without side effects. */
	bool (*check)(void *opaque);
	/* Do it, in the dispatch phase after a positive check.  Return: true
	 * iff it made progress. */
	bool (*ready)(void *opaque);
	/* NULL, or: checking begins, so notifications may be suppressed ... */
	void (*begin)(void *opaque);
	/* ... and ends, so they must be on again; one more check follows.  A
	 * handler that is removed while it is polled gets no end. */
	void (*end)(void *opaque);
};

/* Let @handler be polled; NULL: no more.  @fns: borrowed.  Thread: home. */
void loop_fd_set_polling(
	struct loop_fd *handler, const struct loop_poll_fns *fns);

struct loop_polling {
	int64_t max_ns;	 /* check no longer than this before a wait; 0: never */
	unsigned grow;	 /* factor, at least 2 */
	unsigned shrink; /* divisor; 0: straight to nothing */
};

/* The default is { 32000, 2, 0 }.  Thread: home.  Return: 0 or -EINVAL. */
int loop_set_polling(struct loop *loop, const struct loop_polling *polling);

/* ---- bottom halves (L5) ---- */

typedef void loop_bh_fn(void *opaque);

/* Zero-initialised; one per device.  A bottom half given a guard does not run
 * while the guard is busy: it stays scheduled until a later poll.  While it
 * runs the guard is busy, so the guard must outlive the callback. */
struct loop_guard {
	bool busy; /* home thread only */
};

/**
 * loop_bh_create - a bottom half, not yet scheduled.
 * @name:  borrowed, for traces.
 * @guard: NULL, or the device's re-entrancy guard (borrowed).
 * Thread: any.
 * Return: 0 or -ENOMEM.
 */
int loop_bh_create(struct loop *loop, loop_bh_fn *fn, void *opaque,
	const char *name, struct loop_guard *guard, struct loop_bh **ret_bh);

/* Run @bh in the next poll, once however often it is called before that.
 * Wait-free.  Thread: any, signal handlers too. */
void loop_bh_schedule(struct loop_bh *bh);

/* Forget a schedule that has not run yet.  Thread: home. */
void loop_bh_cancel(struct loop_bh *bh);

/* Asynchronous: never runs again, freed in a later poll or by loop_destroy().
 * Legal from its own callback.  Thread: any; NULL is allowed. */
void loop_bh_delete(struct loop_bh *bh);

/* Run @fn once in the next poll.  Thread: any.  Return: 0 or -ENOMEM. */
int loop_bh_oneshot(
	struct loop *loop, loop_bh_fn *fn, void *opaque, const char *name);

/**
 * loop_run_sync - run @fn on @loop's home thread and wait until it returned.
 * Called on the home thread it runs @fn directly.
 * Thread: any that holds no lock @fn or a handler of @loop could take.
 * Return: 0 or -ENOMEM (@fn did not run).
 */
int loop_run_sync(
	struct loop *loop, loop_bh_fn *fn, void *opaque, const char *name);

/* ---- timers (L9) ---- */

enum loop_clock { LOOP_MONOTONIC, LOOP_VIRTUAL, LOOP_REALTIME, LOOP_CLOCKS };

typedef void loop_timer_fn(void *opaque);

/* Caller's storage; fields private to loop/timer.c.  Thread: home. */
struct loop_timer {
	loop_timer_fn *fn;
	void *opaque;
	struct loop_timer *due_next, *due_prev;
	struct loop *loop; /* borrowed */
	uint64_t seq;	   /* ties fire in start order */
	int64_t deadline_ns;
	uint32_t heap_index; /* 1-based; 0 = not armed, max = in the batch */
	enum loop_clock clock;
};

void loop_timer_init(struct loop_timer *timer, struct loop *loop,
	enum loop_clock clock, loop_timer_fn *fn, void *opaque);

/* Arm, or move, @timer to fire at @deadline_ns of its clock (absolute).
 * Return: 0 or -ENOMEM (unchanged). */
int loop_timer_set(struct loop_timer *timer, int64_t deadline_ns);

/* Disarm; harmless when not armed.  Required before its storage ends. */
void loop_timer_cancel(struct loop_timer *timer);

/* Nanoseconds of @clock as this loop sees it.  Thread: home. */
int64_t loop_now_ns(const struct loop *loop, enum loop_clock clock);

/* Stop and start LOOP_VIRTUAL; counted.  It starts running, at 0.  While it is
 * stopped none of its timers fires; a pause loses no armed timer.
 * Thread: home. */
void loop_virtual_stop(struct loop *loop);
void loop_virtual_start(struct loop *loop);
/* Set LOOP_VIRTUAL's reading (restore, incoming migration); stopped only. */
void loop_virtual_set_ns(struct loop *loop, int64_t now_ns);

/* ---- introspection ---- */

struct loop_stats {
	uint64_t polls, waits;	 /* turns; turns that blocked */
	uint64_t notify_writes;	 /* eventfd writes made */
	uint64_t notify_avoided; /* not needed: nobody waited */
	uint64_t fds_run, bhs_run, timers_run, ops_run;
	uint64_t polled_ns;		 /* spent in busy checking (L10) */
	uint64_t polls_paid, polls_vain; /* such phases that found something */
};

/* Thread: any; the figures need not be of one moment. */
void loop_stats(const struct loop *loop, struct loop_stats *ret_stats);
/* "ppoll", "epoll" or "io_uring": the monitor in use now. */
const char *loop_backend_name(const struct loop *loop);

#endif
