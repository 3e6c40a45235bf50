/* SPDX-License-Identifier: Apache-2.0 */
/* loop/replay.c - the test mode of trace.h: callbacks in a given order. */
#include "loop/private.h"
#include "loop/trace.h"

void loop_replay_start(
	struct loop *loop, const struct loop_step *steps, size_t count)
{
	loop->replay = count > 0 ? steps : NULL;
	loop->replay_left = count;
}

size_t loop_replay_left(const struct loop *loop)
{
	return loop->replay_left;
}

bool loop_replay_pending(struct loop *loop)
{
	const struct loop_step *step = loop->replay;

	switch (step->kind) {
	case LOOP_EVENT_BH:
		return loop_bh_find(loop, step->name);
	case LOOP_EVENT_FD:
		return loop_fd_find(loop, step->name);
	case LOOP_EVENT_TIMER:
		return loop_timers_timeout_ns(loop) == 0;
	default:
		return loop_ops_pending(loop);
	}
}

static void run_step(struct loop *loop, const struct loop_step *step)
{
	switch (step->kind) {
	case LOOP_EVENT_BH:
		loop_bh_run_one(loop, step->name);
		break;
	case LOOP_EVENT_FD:
		loop_fd_run_one(loop, step->name);
		break;
	case LOOP_EVENT_TIMER:
		loop_timers_run_one(loop);
		break;
	default:
		loop_ops_run_one(loop);
	}
}

bool loop_replay_dispatch(struct loop *loop)
{
	const struct loop_step *step;
	bool ran = false;

	while (loop->replay && loop_replay_pending(loop)) {
		step = loop->replay;
		/* First, since a nested poll goes on with the next one. */
		loop->replay = --loop->replay_left > 0 ? step + 1 : NULL;
		run_step(loop, step);
		ran = true;
	}
	return ran;
}
