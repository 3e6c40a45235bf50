/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/trace.h - what a loop did last, for the moment when one asks why; and
 * an order of callbacks forced upon it, for tests.
 *
 * Tracing costs a predictable branch when off.  The buffer is a ring: new
 * events replace the oldest.
 */
#ifndef GODWIT_LOOP_TRACE_H
#define GODWIT_LOOP_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

enum loop_event_kind {
	LOOP_EVENT_BH,	   /* a bottom half runs */
	LOOP_EVENT_FD,	   /* a handler runs; value: LOOP_* ready */
	LOOP_EVENT_TIMER,  /* a timer runs; value: its deadline */
	LOOP_EVENT_OP,	   /* an operation ended; value: its result */
	LOOP_EVENT_WAIT,   /* a wait begins; value: limit in ns or -1 */
	LOOP_EVENT_WOKEN,  /* a notification was accepted */
	LOOP_EVENT_POLLED, /* busy checking ended; value: ns spent */
};

#define LOOP_EVENT_NAME_MAX 24

struct loop_event {
	int64_t time_ns; /* CLOCK_MONOTONIC */
	enum loop_event_kind kind;
	int64_t value;
	char name[LOOP_EVENT_NAME_MAX]; /* the callback's, cut if need be */
};

/**
 * loop_trace_start - keep the last @entries events; forgets earlier ones.
 * @entries: 1 to 2^20, rounded up to a power of two.
 * Thread: home.
 * Return: 0, -EINVAL or -ENOMEM (tracing as before).
 */
int loop_trace_start(struct loop *loop, size_t entries);

/* Stop, and free the buffer: no dump may be under way.  Thread: home. */
void loop_trace_stop(struct loop *loop);

/* Copy the event that is @back before the last.  False: there is none.
 * Thread: home. */
bool loop_trace_get(
	const struct loop *loop, size_t back, struct loop_event *ret_event);

/* Write the events to @fd as text, oldest first, a line each.  Uses write(2)
 * alone.  Thread: any, signal handlers too; an event that is being replaced
 * meanwhile may come out mixed. */
void loop_trace_dump(const struct loop *loop, int fd);

/* ---- replay: test mode ---- */

struct loop_step {
	enum loop_event_kind kind; /* BH, FD, TIMER or OP */
	const char *name;	   /* of a BH or FD; NULL: the first one */
};

/* From now on run callbacks in the order of @steps alone; what is ready out of
 * turn stays so.  When the steps are used up the loop goes on as usual.  A
 * blocking poll waits for the next step, and may spin on other ready fds.
 * @steps: @count of them, borrowed until then.  Thread: home, outside a poll.
 */
void loop_replay_start(
	struct loop *loop, const struct loop_step *steps, size_t count);

/* Steps that have not run yet.  Thread: home. */
size_t loop_replay_left(const struct loop *loop);

#endif
