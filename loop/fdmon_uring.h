/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/fdmon_uring.h - private: the ring that fdmon_uring.c and uring.c share.
 * Home thread, but for the list of changed handlers.
 */
#ifndef GODWIT_LOOP_FDMON_URING_H
#define GODWIT_LOOP_FDMON_URING_H

#include <liburing.h>
#include <stdbool.h>

#include "loop/fdmon.h"
#include "loop/uring.h"
#include "vmm/log.h"

/* Measured at depth 32 (bench/loop): without a limit all reads complete and are
 * submitted together and the device idles in between, 0.87 of fio; 4 to 8 are
 * level with it, and fewer cost system calls when the data is cached. */
#define URING_BATCH 8

struct uring {
	struct io_uring ring; /* owned */
	bool enabled;	      /* home thread has made it its own */
	bool notify_armed;
	bool dead;	   /* io_uring_enter is refused for good */
	unsigned batch;	   /* submit when so many are prepared */
	unsigned prepared; /* operations since the last submit */
	unsigned in_flight;
	struct loop_fd *changed; /* loop->lock: what settle() must look at */
	struct loop_fd *rearm;	 /* one-shot polls that fired, and the like */
	struct loop_op *done, *done_last;
	struct log_limit limit;
};

/* A free entry, submitting what is there if need be.  NULL: the kernel takes
 * nothing now. */
struct io_uring_sqe *uring_sqe(struct loop *loop);

/* user_data: 0 is nobody, 1 the eventfd, odd an operation, even a handler
 * with the generation of its poll in bits 1 to 3. */
#define UD_NOBODY 0u
#define UD_NOTIFY 1u
#define UD_OP	  1u

#endif
