/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/fdmon.h - private: the seam between the loop and the kernel's ways of
 * watching fds (L6).
 *
 * A monitor is three functions.  Creating and ending one is a plain function
 * of its file, called by loop.c alone.  All monitors must give the same trace:
 * level-triggered, batches ordered by registration, nothing for an idle fd.
 */
#ifndef GODWIT_LOOP_FDMON_H
#define GODWIT_LOOP_FDMON_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"

struct error;

/* What a monitor is told to watch for; unlike LOOP_* it tells "nothing, not
 * even errors" (WATCH_OFF) from "errors only" (WATCH_ON). */
#define WATCH_OFF 0u
#define WATCH_ON  8u
/* Beside LOOP_* in ready: a check of poll_fns was positive. */
#define READY_POLLED 16u

struct loop_fd {
	struct loop *loop; /* borrowed */
	loop_fd_fn *fn;
	void *opaque;
	const char *name;	 /* borrowed */
	uint64_t seq;		 /* registration order = dispatch order */
	int fd;			 /* borrowed */
	unsigned flags;		 /* LOOP_FD_* */
	_Atomic unsigned events; /* LOOP_READ | LOOP_WRITE; lock to write */
	_Atomic bool dead;	 /* deleted, not yet freed; lock to write */

	/* Guarded by loop->lock. */
	struct loop_fd *list_next, *list_prev;
	struct loop_fd *dead_next, *changed_next;
	bool uring_changed; /* on uring->changed */
	unsigned watched;   /* WATCH_*, LOOP_*: what the monitor watches now */
	bool registered;    /* epoll knows the fd */

	/* Home thread only. */
	struct loop_fd *ready_next;
	unsigned ready; /* LOOP_* seen and not yet dispatched */
	bool queued;	/* on loop->ready */
	const struct loop_poll_fns *poll_fns; /* borrowed; on loop->pollers */
	struct loop_fd *poll_next;
	bool poll_begun; /* begin was called, end was not */
	struct loop_fd *rearm_next;
	bool uring_rearm;     /* on uring->rearm */
	unsigned uring_armed; /* WATCH_*, LOOP_* of the poll in the kernel */
	uint8_t uring_gen;    /* of that poll, 0 to 7 */
	uint8_t uring_polls;  /* polls that still owe a last completion */
};

struct fdmon {
	const char *name;
	bool transparent; /* need_wait() sees all, without a system call */
	/* Bring @h's watch in line with loop_fd_wanted().  Any thread, lock
	 * held; -errno leaves the old watch. */
	int (*update)(struct loop *loop, struct loop_fd *h);
	/* Wait up to @timeout_ns (-1: no limit) and hand what is ready to
	 * loop_fd_ready().  Home thread.  May return early for no reason. */
	void (*wait)(struct loop *loop, int64_t timeout_ns);
	/* Could the kernel hold readiness which only wait() can fetch?  Home.
	 */
	bool (*need_wait)(struct loop *loop);
};

/* Thread of each: creating or home; -errno and @err as loop_create(). */
int fdmon_poll_start(struct loop *loop, struct error *err);
void fdmon_poll_stop(struct loop *loop);
int fdmon_epoll_start(struct loop *loop, struct error *err);
void fdmon_epoll_stop(struct loop *loop);
int fdmon_uring_start(struct loop *loop, struct error *err);
void fdmon_uring_disown(struct loop *loop); /* home, when it ends */
void fdmon_uring_stop(struct loop *loop);

/* WATCH_OFF, or WATCH_ON | LOOP_* as @h and the loop now want it. */
unsigned loop_fd_wanted(const struct loop_fd *h);

/* Call when a wait gave a pointer to a handler that another thread may have
 * made: the kernel passed it on, this makes the compiler believe it. */
void loop_fds_acquire(struct loop *loop);

/* Queue @h for this turn's batch; @ready as LOOP_*.  Home thread. */
void loop_fd_ready(struct loop_fd *h, unsigned ready);

/* poll(2)'s bits for a watch, and back. */
short fdmon_to_poll(unsigned watch);
unsigned fdmon_from_poll(unsigned revents);

#endif
