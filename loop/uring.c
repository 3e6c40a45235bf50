/* SPDX-License-Identifier: Apache-2.0 */
/* loop/uring.c - see uring.h.  The ring itself is fdmon_uring.c's.  Home. */
#include "loop/uring.h"

#include <assert.h>
#include <errno.h>

#include "loop/fdmon_uring.h"
#include "loop/private.h"

bool loop_uring_available(const struct loop *loop)
{
	return loop->uring && !loop->uring->dead;
}

void loop_op_init(
	struct loop_op *op, struct loop *loop, loop_op_fn *fn, void *opaque)
{
	assert(fn);
	*op = (struct loop_op){.loop = loop, .fn = fn, .opaque = opaque};
}

static uint64_t op_ud(const struct loop_op *op)
{
	return (uintptr_t)op | UD_OP;
}

struct io_uring_sqe *loop_uring_prep(struct loop_op *op)
{
	struct loop *loop = op->loop;
	struct uring *u = loop->uring;
	struct io_uring_sqe *sqe;

	assert(!op->in_flight);
	if (!loop_uring_available(loop))
		return NULL;
	/* Those before this one: this one is not filled in yet. */
	if (u->prepared >= u->batch && u->enabled) {
		u->prepared = 0;
		io_uring_submit(&u->ring); /* on failure the wait retries */
	}
	sqe = uring_sqe(loop);
	if (!sqe)
		return NULL;
	io_uring_sqe_set_data64(sqe, op_ud(op));
	op->in_flight = true;
	u->in_flight++;
	u->prepared++;
	return sqe;
}

int loop_uring_cancel(struct loop_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->in_flight)
		return 0;
	sqe = uring_sqe(op->loop);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_cancel64(sqe, op_ud(op), 0);
	io_uring_sqe_set_data64(sqe, UD_NOBODY);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	return 0;
}

void loop_uring_set_batch(struct loop *loop, unsigned max)
{
	if (loop->uring)
		loop->uring->batch = max ? max : URING_BATCH;
}

bool loop_ops_pending(struct loop *loop)
{
	return loop->uring && loop->uring->done;
}

bool loop_ops_in_flight(const struct loop *loop)
{
	return loop->uring && loop->uring->in_flight > 0;
}

void loop_ops_run_one(struct loop *loop)
{
	struct uring *u = loop->uring;
	struct loop_op *op = u->done;

	u->done = op->next;
	u->in_flight--;
	op->in_flight = false;
	stat_add(&loop->ops_run, 1);
	loop_trace(loop, LOOP_EVENT_OP, NULL, op->res);
	op->fn(op->opaque, op->res);
}

bool loop_ops_run(struct loop *loop)
{
	bool ran = false;

	for (; loop_ops_pending(loop); ran = true)
		loop_ops_run_one(loop);
	return ran;
}
