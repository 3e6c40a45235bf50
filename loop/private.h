/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/private.h - struct loop and what the files of this folder share.
 *
 * Which thread owns what: the first group of struct loop belongs to every
 * thread and is atomic, the second to whoever holds the lock, the rest to the
 * home thread.  Nobody outside loop/ includes this.
 */
#ifndef GODWIT_LOOP_PRIVATE_H
#define GODWIT_LOOP_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/fdmon.h"
#include "loop/loop.h"
#include "loop/trace.h"
#include "loop/uring.h"
#include "vmm/log.h"

#define loop_unlikely(x) __builtin_expect(!!(x), 0)

struct pollfd;
struct epoll_event;

struct loop_bh {
	struct loop *loop; /* borrowed */
	loop_bh_fn *fn;
	void *opaque;
	const char *name;	  /* borrowed */
	struct loop_guard *guard; /* borrowed or NULL */
	_Atomic(struct loop_bh *) next;
	_Atomic unsigned flags;
};

/* First in, first out, linked through next.  Home thread. */
struct bh_list {
	struct loop_bh *head, *tail;
};

struct timer_heap {
	struct timer_entry *entry; /* owned, 4-ary min-heap, len used */
	uint32_t len, cap;
};

struct loop {
	/* Any thread.  One cache line: a scheduler touches nothing else. */
	_Alignas(64) _Atomic(struct loop_bh *) incoming; /* newest first */
	_Atomic uint32_t notify_me; /* threads from prepare to end of wait */
	_Atomic bool notified;	    /* the eventfd may have been written */
	_Atomic bool kicked;	    /* loop_notify() since the last accept */
	int event_fd;		    /* owned */
	_Atomic uint64_t notify_writes, notify_avoided;
	_Atomic uintptr_t home; /* loop_self() of the home thread, or 0 */

	/* Guarded by lock; home reads the atomics without it. */
	_Alignas(64) pthread_mutex_t lock;
	struct loop_fd *first, *last; /* live handlers by seq */
	struct loop_fd **by_fd;	      /* owned, by_fd_len pointers or NULL */
	size_t by_fd_len;
	_Atomic uint64_t fd_seq;	     /* last handler's */
	_Atomic uint32_t fd_count;	     /* live handlers */
	_Atomic(struct loop_fd *) graveyard; /* dead, freed by home */
	_Atomic uint32_t external_off;	     /* loop_disable_external() depth */
	_Atomic(const struct fdmon *) mon;   /* written by home or creator */
	_Atomic bool poll_dirty;	     /* pollfd array is out of date */
	struct pollfd *spare_fds;	     /* owned: the array to move to */
	struct loop_fd **spare_of;
	uint32_t spare_cap;
	int epoll_fd;	     /* owned or -1 */
	struct uring *uring; /* owned or NULL; see fdmon_uring.h */

	/* Home thread. */
	const char *name; /* borrowed */
	unsigned depth;	  /* polls on the stack */
	bool auto_upgrade;
	bool notify_seen;	  /* the monitor found the eventfd readable */
	struct loop_bh *chain;	  /* detached from incoming, newest first */
	struct loop_bh *reversed; /* its tail end, oldest first so far */
	struct bh_list bh_ready, bh_guarded;
	struct loop_fd *ready, *ready_last; /* this turn's batch */
	bool ready_unsorted;
	struct pollfd *poll_fds;  /* owned; [0] is event_fd */
	struct loop_fd **poll_of; /* owned; whose entry it is */
	uint32_t poll_len, poll_cap;
	struct epoll_event *epoll_events; /* owned */
	uint32_t epoll_cap;
	bool no_pwait2; /* kernel before 5.11 */
	struct log_limit wait_limit;
	struct timer_heap heap[LOOP_CLOCKS];
	struct loop_timer *due, *due_last;
	uint64_t timer_seq;
	int64_t virtual_ns; /* reading if stopped, else monotonic minus it */
	unsigned virtual_stops;
	struct loop_polling polling;
	int64_t poll_ns;	 /* how long to check before the next wait */
	unsigned near_misses;	 /* waits that ended not long after max_ns */
	struct loop_fd *pollers; /* handlers with poll_fns */
	uint32_t poller_count, begun;

	/* Written by home with stat_add(), read by any. */
	_Atomic uint64_t polls, waits, fds_run, bhs_run, timers_run, ops_run;
	_Atomic uint64_t polled_ns, polls_paid, polls_vain;

	/* Home thread, and signal handlers to read. */
	_Atomic(struct loop_trace *) trace; /* owned or NULL: off */
	const struct loop_step *replay;	    /* next step; NULL: off */
	size_t replay_left;
};

/* One writer, many readers: no locked instruction needed. */
static inline void stat_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter,
		atomic_load_explicit(counter, memory_order_relaxed) + n,
		memory_order_relaxed);
}

/* Unique among the threads that run now; never 0. */
uintptr_t loop_self(void);
static inline bool loop_is_home(struct loop *loop)
{
	return atomic_load_explicit(&loop->home, memory_order_relaxed) ==
	       loop_self();
}

/* trace.c */
void loop_trace_put(struct loop *loop, enum loop_event_kind kind,
	const char *name, int64_t value);
static inline void loop_trace(struct loop *loop, enum loop_event_kind kind,
	const char *name, int64_t value)
{
	if (loop_unlikely(atomic_load_explicit(
				  &loop->trace, memory_order_relaxed) != NULL))
		loop_trace_put(loop, kind, name, value);
}

/* replay.c; the *_one() and *_find() elsewhere are for it.  Is the next step
 * ready?  Run as many steps as are. */
bool loop_replay_pending(struct loop *loop);
bool loop_replay_dispatch(struct loop *loop);

/* polling.c */
bool loop_polling_wanted(struct loop *loop);
/* Check for up to poll_ns, but not beyond @limit_ns (-1: none) from
 * @start_ns.  True: there is something to dispatch. */
bool loop_polling_run(struct loop *loop, int64_t start_ns, int64_t limit_ns);
bool loop_polling_check(struct loop *loop); /* once */
bool loop_polling_end(struct loop *loop);   /* before a wait; true: do not */
void loop_polling_adapt(struct loop *loop, int64_t start_ns);
void loop_polling_reap(struct loop *loop);

/* notify.c */
int loop_notify_init(struct loop *loop, struct error *err);
void loop_notify_fini(struct loop *loop);
/* Wake a waiting poll, after storing what prepare will look at. */
void loop_wake(struct loop *loop);
/* Clear the notification; true if there was one.  Home. */
bool loop_accept(struct loop *loop);
static inline bool loop_kicked(struct loop *loop)
{
	return atomic_load_explicit(&loop->kicked, memory_order_relaxed);
}

/* bh.c */
/* Storage of the caller, who must not free it before its callback began. */
void loop_bh_init_embedded(struct loop_bh *bh, struct loop *loop,
	loop_bh_fn *fn, void *opaque, const char *name);
bool loop_bh_pending(struct loop *loop); /* is one ready to run?  Home. */
bool loop_bh_run(struct loop *loop);
bool loop_bh_find(struct loop *loop, const char *name);
void loop_bh_run_one(struct loop *loop, const char *name);
void loop_bh_fini(struct loop *loop);

/* handlers.c */
bool loop_fds_run(struct loop *loop);
bool loop_fd_find(struct loop *loop, const char *name);
void loop_fd_run_one(struct loop *loop, const char *name);
void loop_fds_reap(struct loop *loop); /* free the dead; depth 0 */
void loop_fds_fini(struct loop *loop);

/* uring.c */
bool loop_ops_pending(struct loop *loop);
bool loop_ops_run(struct loop *loop);
void loop_ops_run_one(struct loop *loop);
bool loop_ops_in_flight(const struct loop *loop);

/* timer.c */
int64_t loop_timers_timeout_ns(struct loop *loop); /* 0 due, -1 never */
bool loop_timers_run(struct loop *loop);
void loop_timers_run_one(struct loop *loop);
void loop_timers_fini(struct loop *loop);

#endif
