/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/fdmon_uring.c - watching fds with io_uring (L6).
 *
 * Level-triggered like the other monitors: a handler's poll is one-shot and is
 * armed again before the first wait after it fired, in the system call of that
 * wait; arming looks at the fd, so unread data fires again at once.  A handler
 * that promises to drain its fd (LOOP_FD_DRAINS), and the loop's eventfd, get
 * a multishot poll, armed once.
 *
 * A changed or removed handler's poll is cancelled and, if need be, a new one
 * armed under the next generation.  A completion of an older generation is
 * dropped, so it never reaches a handler that is gone or wants other events;
 * and a handler is freed only when no poll of it is outstanding.
 *
 * The kernel tells in shared memory whether it holds anything for us (CQ tail,
 * TASKRUN, CQ_OVERFLOW), so a poll that must not wait needs no system call
 * when there is nothing to fetch.
 *
 * Home thread, but for uring_update() (any, lock held).
 */
#include "loop/fdmon_uring.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "loop/private.h"
#include "vmm/error.h"

#define SQ_ENTRIES 128
#define CQ_ENTRIES 1024
#define MAX_POLLS  7 /* generations that 3 bits tell apart */

/* In the SQ ring's flags: the kernel holds completions back. */
#define HELD_BACK (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)

static const struct fdmon fdmon_uring;

static uint64_t poll_ud(const struct loop_fd *h)
{
	return (uintptr_t)h | (uint64_t)h->uring_gen << 1;
}

static unsigned sq_flags(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags);
}

/* ---- the kernel's door ---- */

/* Unwelcome for ever: readiness moves to epoll; no new operation is taken. */
static void give_up(struct loop *loop, int err)
{
	loop->uring->dead = true;
	log_warn("loop %s: io_uring_enter: errno %d, going on with epoll",
		loop->name, -err);
}

static void enter_failed(struct loop *loop, int err)
{
	struct pollfd notify = {.fd = loop->event_fd, .events = POLLIN};
	const struct timespec ms = {.tv_nsec = 1000000};

	if (err == -EINTR || err == -ETIME)
		return;
	if (err != -EAGAIN && err != -EBUSY && err != -ENOMEM) {
		give_up(loop, err);
		return;
	}
	/* Short of memory.  What is prepared stays so; no spinning. */
	log_limited(&loop->uring->limit, LOG_WARN,
		"loop %s: io_uring_enter: errno %d, trying again", loop->name,
		-err);
	if (io_uring_cq_ready(&loop->uring->ring) == 0)
		ppoll(&notify, 1, &ms, NULL);
}

static void enter(struct loop *loop, int64_t timeout_ns)
{
	struct uring *u = loop->uring;
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	int ret = 0;

	u->prepared = 0;
	if (timeout_ns != 0 && io_uring_cq_ready(&u->ring) == 0) {
		ts.tv_sec = timeout_ns / 1000000000;
		ts.tv_nsec = timeout_ns % 1000000000;
		ret = io_uring_submit_and_wait_timeout(
			&u->ring, &cqe, 1, timeout_ns < 0 ? NULL : &ts, NULL);
	} else if (io_uring_sq_ready(&u->ring) > 0 || sq_flags(u) & HELD_BACK) {
		ret = io_uring_submit_and_get_events(&u->ring);
	}
	if (loop_unlikely(ret < 0))
		enter_failed(loop, ret);
}

/* The task that enables the ring is the one that may use it. */
static void make_own(struct loop *loop)
{
	struct uring *u = loop->uring;
	int ret = 0;

	u->enabled = true;
	if (u->ring.flags & IORING_SETUP_R_DISABLED)
		/* Not io_uring_enable_rings(), which liburing 2.3 declares
		 * but does not export. */
		ret = io_uring_register((unsigned)u->ring.ring_fd,
			IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (ret < 0)
		give_up(loop, ret);
	else
		io_uring_register_ring_fd(&u->ring); /* spares an fget a call */
}

struct io_uring_sqe *uring_sqe(struct loop *loop)
{
	struct uring *u = loop->uring;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	int ret;

	if (sqe)
		return sqe;
	if (!u->enabled)
		make_own(loop);
	u->prepared = 0;
	ret = io_uring_submit(&u->ring);
	if (ret < 0)
		enter_failed(loop, ret);
	return io_uring_get_sqe(&u->ring);
}

/* ---- arming ---- */

static bool arm_notify(struct loop *loop)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);

	if (!sqe)
		return false;
	io_uring_prep_poll_multishot(sqe, loop->event_fd, POLLIN);
	io_uring_sqe_set_data64(sqe, UD_NOTIFY);
	loop->uring->notify_armed = true;
	return true;
}

static bool disarm(struct loop *loop, struct loop_fd *h)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);

	if (!sqe)
		return false;
	io_uring_prep_poll_remove(sqe, poll_ud(h));
	io_uring_sqe_set_data64(sqe, UD_NOBODY);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	h->uring_armed = WATCH_OFF;
	return true;
}

static bool arm(struct loop *loop, struct loop_fd *h, unsigned wanted)
{
	struct io_uring_sqe *sqe = NULL;

	if (h->uring_polls < MAX_POLLS)
		sqe = uring_sqe(loop);
	if (!sqe)
		return false;
	h->uring_gen = (h->uring_gen + 1) & MAX_POLLS;
	if (h->flags & LOOP_FD_DRAINS)
		io_uring_prep_poll_multishot(
			sqe, h->fd, (unsigned)fdmon_to_poll(wanted));
	else
		io_uring_prep_poll_add(
			sqe, h->fd, (unsigned)fdmon_to_poll(wanted));
	io_uring_sqe_set_data64(sqe, poll_ud(h));
	h->uring_armed = wanted;
	h->uring_polls++;
	return true;
}

/* Bring the poll in line with what is wanted.  False: later, no entry. */
static bool settle(struct loop *loop, struct loop_fd *h)
{
	unsigned wanted = loop_fd_wanted(h);

	if (h->uring_armed == wanted)
		return true;
	if (h->uring_armed != WATCH_OFF && !disarm(loop, h))
		return false;
	return wanted == WATCH_OFF || arm(loop, h, wanted);
}

static void rearm_later(struct loop *loop, struct loop_fd *h)
{
	if (h->uring_rearm)
		return;
	h->uring_rearm = true;
	h->rearm_next = loop->uring->rearm;
	loop->uring->rearm = h;
}

static void settle_all(struct loop *loop)
{
	struct uring *u = loop->uring;
	struct loop_fd *h, *list;

	if (!u->notify_armed)
		arm_notify(loop);
	if (atomic_load_explicit(&loop->poll_dirty, memory_order_acquire)) {
		pthread_mutex_lock(&loop->lock);
		atomic_store(&loop->poll_dirty, false);
		while ((h = u->changed)) {
			u->changed = h->changed_next;
			h->uring_changed = false;
			rearm_later(loop, h);
		}
		pthread_mutex_unlock(&loop->lock);
	}
	list = u->rearm;
	u->rearm = NULL;
	while ((h = list)) {
		list = h->rearm_next;
		h->uring_rearm = false;
		if (!settle(loop, h))
			rearm_later(loop, h);
	}
}

/* ---- completions ---- */

static void poll_done(struct loop *loop, const struct io_uring_cqe *cqe)
{
	uint64_t ud = cqe->user_data;
	struct loop_fd *h = (struct loop_fd *)(uintptr_t)(ud & ~UINT64_C(15));
	bool more = cqe->flags & IORING_CQE_F_MORE;

	if (!more)
		h->uring_polls--;
	if (ud != poll_ud(h) || h->uring_armed == WATCH_OFF)
		return; /* cancelled since */
	if (!more) {
		h->uring_armed = WATCH_OFF;
		rearm_later(loop, h);
	}
	/* An fd that went bad is an error, as poll(2) tells it. */
	loop_fd_ready(h, cqe->res < 0 ? LOOP_ERROR
				      : fdmon_from_poll((unsigned)cqe->res));
}

static void op_done(struct loop *loop, const struct io_uring_cqe *cqe)
{
	struct loop_op *op = (struct loop_op *)(uintptr_t)(cqe->user_data &
							   ~(uint64_t)UD_OP);
	struct uring *u = loop->uring;

	op->res = cqe->res;
	op->next = NULL;
	if (u->done)
		u->done_last->next = op;
	else
		u->done = op;
	u->done_last = op;
}

static void reap(struct loop *loop)
{
	struct uring *u = loop->uring;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		n++;
		if (cqe->user_data == UD_NOTIFY) {
			loop->notify_seen = true;
			if (!(cqe->flags & IORING_CQE_F_MORE))
				u->notify_armed = false;
		} else if (cqe->user_data & UD_OP) {
			op_done(loop, cqe);
		} else if (cqe->user_data != UD_NOBODY) {
			poll_done(loop, cqe);
		}
	}
	io_uring_cq_advance(&u->ring, n);
}

/* ---- the monitor ---- */

static int uring_update(struct loop *loop, struct loop_fd *h)
{
	h->watched = loop_fd_wanted(h);
	if (!h->uring_changed) {
		h->uring_changed = true;
		h->changed_next = loop->uring->changed;
		loop->uring->changed = h;
	}
	atomic_store_explicit(&loop->poll_dirty, true, memory_order_release);
	return 0;
}

/* Operations that the kernel never saw end here. */
static void fail_prepared(struct loop *loop)
{
	struct io_uring_sq *sq = &loop->uring->ring.sq;
	struct io_uring_cqe cqe = {.res = -ECANCELED};
	unsigned at = IO_URING_READ_ONCE(*sq->khead);

	for (; at != sq->sqe_tail; at++) {
		cqe.user_data = sq->sqes[at & *sq->kring_mask].user_data;
		if (cqe.user_data != UD_NOTIFY && cqe.user_data & UD_OP)
			op_done(loop, &cqe);
	}
	sq->sqe_tail = sq->sqe_head = *sq->khead;
}

/* After give_up(): from now on another monitor watches. */
static void hand_over(struct loop *loop, int64_t timeout_ns)
{
	struct error err;
	int ret;

	fail_prepared(loop);
	pthread_mutex_lock(&loop->lock);
	ret = fdmon_epoll_start(loop, &err);
	pthread_mutex_unlock(&loop->lock);
	if (ret < 0) {
		log_limited(&loop->uring->limit, LOG_ERROR, "%s", err.text);
		return;
	}
	/* The operations that failed just now have an end to be told of. */
	atomic_load(&loop->mon)->wait(loop, loop->uring->done ? 0 : timeout_ns);
}

static void uring_wait(struct loop *loop, int64_t timeout_ns)
{
	struct uring *u = loop->uring;
	unsigned rounds =
		2 + (u->in_flight + atomic_load(&loop->fd_count)) / 16;

	if (loop_unlikely(!u->enabled))
		make_own(loop);
	settle_all(loop);
	enter(loop, timeout_ns);
	reap(loop);
	/* The kernel hands over a few at a time (20, by 6.18), or had more
	 * than the ring holds.  One turn fetches what was ready at its start,
	 * like the other monitors; but not what keeps coming. */
	for (; loop_unlikely(sq_flags(u) & HELD_BACK) && !u->dead && rounds > 0;
		rounds--) {
		enter(loop, 0);
		reap(loop);
	}
	if (loop_unlikely(u->dead))
		hand_over(loop, timeout_ns);
}

static bool uring_need_wait(struct loop *loop)
{
	struct uring *u = loop->uring;

	return !u->enabled || u->rearm || io_uring_sq_ready(&u->ring) > 0 ||
	       io_uring_cq_ready(&u->ring) > 0 || sq_flags(u) & HELD_BACK ||
	       atomic_load_explicit(&loop->poll_dirty, memory_order_relaxed);
}

static const struct fdmon fdmon_uring = {
	.name = "io_uring",
	.transparent = true,
	.update = uring_update,
	.wait = uring_wait,
	.need_wait = uring_need_wait,
};

/* ---- life ---- */

/* The best ring this kernel offers: 6.1, 5.19, or 5.11 and later. */
static int open_ring(struct io_uring *ring)
{
	static const unsigned flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	struct io_uring_params p;
	unsigned i;
	int ret = -EINVAL;

	for (i = 0; i < 3 && ret == -EINVAL; i++) {
		p = (struct io_uring_params){
			.flags = flags[i] | IORING_SETUP_CQSIZE |
				 IORING_SETUP_CLAMP,
			.cq_entries = CQ_ENTRIES,
		};
		ret = io_uring_queue_init_params(SQ_ENTRIES, ring, &p);
	}
	return ret;
}

int fdmon_uring_start(struct loop *loop, struct error *err)
{
	const unsigned need =
		IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return error_errno(err, -ENOMEM, "io_uring");
	ret = open_ring(&u->ring);
	if (ret < 0) {
		free(u);
		/* Forbidden by sysctl or seccomp, or not there. */
		if (ret == -EPERM || ret == -EACCES)
			ret = -ENOSYS;
		return error_errno(err, ret, "io_uring_setup");
	}
	if ((u->ring.features & need) != need) {
		io_uring_queue_exit(&u->ring);
		free(u);
		return error_set(err, -ENOSYS, "io_uring: kernel too old");
	}
	u->batch = URING_BATCH;
	loop->uring = u;
	atomic_store(&loop->mon, &fdmon_uring);
	return 0;
}

void fdmon_uring_disown(struct loop *loop)
{
	struct uring *u = loop->uring;

	/* By the thread that registered it: the index is the thread's, so from
	 * another one it would hit that one's ring (before 6.0's
	 * SINGLE_ISSUER, which refuses). */
	if (u && u->enabled)
		io_uring_unregister_ring_fd(&u->ring);
}

void fdmon_uring_stop(struct loop *loop)
{
	struct uring *u = loop->uring;
	struct loop_fd *h;

	if (!u)
		return;
	assert(u->in_flight == 0); /* its owner forgot to drain */
	io_uring_queue_exit(&u->ring);
	/* No completion can come any more: let go of the handlers. */
	for (h = atomic_load(&loop->graveyard); h; h = h->dead_next) {
		h->uring_changed = h->uring_rearm = false;
		h->uring_polls = 0;
	}
	free(u);
	loop->uring = NULL;
}
