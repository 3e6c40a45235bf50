/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/uring.h - operations on the loop's own io_uring (L6, L15).
 *
 * The ring that watches the loop's fds carries these too, so one system call
 * submits disk I/O and waits for kicks.  Prepare an operation in a callback;
 * it is submitted with the next wait, or when the batch limit is reached.
 * Home thread throughout.
 */
#ifndef GODWIT_LOOP_URING_H
#define GODWIT_LOOP_URING_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"

struct io_uring_sqe;

/* @res: what the system call would return, or -errno. */
typedef void loop_op_fn(void *opaque, int32_t res);

/* Caller's storage, which must last until fn is called; then it may be
 * prepared again.  Fields private to loop/. */
struct loop_op {
	struct loop *loop; /* borrowed */
	loop_op_fn *fn;
	void *opaque;
	struct loop_op *next;
	int32_t res;
	bool in_flight;
};

/* Has @loop a ring?  If not, use a pool (loop/pool.h). */
bool loop_uring_available(const struct loop *loop);

void loop_op_init(
	struct loop_op *op, struct loop *loop, loop_op_fn *fn, void *opaque);

/**
 * loop_uring_prep - take a submission entry for @op, which is then in flight.
 * Fill the entry at once with one io_uring_prep_*(); leave its user_data alone.
 * Buffers stay the operation's until fn.
 * Return: the entry; NULL if @op's loop has no ring, or the kernel takes no
 *         more entries now (then nothing is in flight).
 */
struct io_uring_sqe *loop_uring_prep(struct loop_op *op);

/* Ask for an early end of @op.  Its fn still comes, with -ECANCELED or with
 * the result if that was faster.  Return: 0, or -EAGAIN (no entry free). */
int loop_uring_cancel(struct loop_op *op);

/* Submit when @max operations are prepared, not only with the next wait (L15):
 * the device starts on the first while the last is still prepared.  0: the
 * default, 8. */
void loop_uring_set_batch(struct loop *loop, unsigned max);

#endif
