/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/loop.c - life of a loop and the phases of a poll (L1, L2, L12, L13).
 *
 *   polling   if offered: check without sleeping (polling.c)
 *   prepare   claim the wait (notify_me), then look whether anything pends
 *   wait      the monitor fetches ready fds, for so long at most
 *   accept    give the claim back, clear the notification
 *   dispatch  bottom halves, fd handlers by registration, timers by deadline
 *
 * Home thread, but for loop_create(), loop_destroy() and the two getters.
 */
#include "loop/private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "vmm/error.h"
#include "vmm/log.h"

/* Above so many handlers a LOOP_AUTO without a ring moves from ppoll to epoll.
 * A handler costs ppoll some 0.2 us a turn (bench/loop); epoll costs a system
 * call a change and another fd. */
#define UPGRADE_FDS 4

static _Thread_local struct loop *current;

uintptr_t loop_self(void)
{
	static _Thread_local char self;

	return (uintptr_t)&self;
}

struct loop *loop_current(void)
{
	return current;
}

static int start_monitor(
	struct loop *loop, enum loop_backend backend, struct error *err)
{
	struct error why;

	switch (backend) {
	case LOOP_AUTO:
		if (fdmon_uring_start(loop, &why) == 0)
			return 0;
		log_warn("loop %s: %s; using ppoll and epoll", loop->name,
			why.text);
		loop->auto_upgrade = true;
		return fdmon_poll_start(loop, err);
	case LOOP_POLL:
		return fdmon_poll_start(loop, err);
	case LOOP_EPOLL:
		return fdmon_epoll_start(loop, err);
	case LOOP_URING:
		return fdmon_uring_start(loop, err);
	}
	return error_set(err, -EINVAL, "unknown back end %d", (int)backend);
}

int loop_create(const struct loop_options *opt, struct loop **ret_loop,
	struct error *err)
{
	const struct loop_options defaults = {.backend = LOOP_AUTO};
	struct loop *loop;
	int ret;

	if (!opt)
		opt = &defaults;
	loop = aligned_alloc(_Alignof(struct loop), sizeof(*loop));
	if (!loop)
		return error_errno(err, -ENOMEM, "loop");
	*loop = (struct loop){
		.name = opt->name ? opt->name : "loop",
		.epoll_fd = -1,
		.polling = {.max_ns = 32000, .grow = 2, .shrink = 0},
	};
	if (opt->polling)
		loop->polling = *opt->polling;
	pthread_mutex_init(&loop->lock, NULL);
	loop->virtual_ns = loop_now_ns(loop, LOOP_MONOTONIC);
	ret = loop_notify_init(loop, err);
	if (ret < 0)
		goto fail;
	ret = start_monitor(loop, opt->backend, err);
	if (ret < 0)
		goto fail_notify;
	*ret_loop = loop;
	return 0;
fail_notify:
	loop_notify_fini(loop);
fail:
	error_prepend(err, "loop %s", loop->name);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
	return ret;
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	assert(loop->depth == 0);
	assert(atomic_load(&loop->home) == 0 || loop_is_home(loop));
	fdmon_uring_stop(loop);
	loop_bh_fini(loop);
	loop_fds_fini(loop);
	loop_timers_fini(loop);
	loop_trace_stop(loop);
	fdmon_poll_stop(loop);
	fdmon_epoll_stop(loop);
	loop_notify_fini(loop);
	pthread_mutex_destroy(&loop->lock);
	if (current == loop)
		current = NULL;
	free(loop);
}

void loop_adopt(struct loop *loop)
{
	uintptr_t home = 0, self = loop_self();

	if (!atomic_compare_exchange_strong(&loop->home, &home, self))
		assert(home == self); /* another thread polls it */
	current = loop;
}

void loop_disown(struct loop *loop)
{
	assert(loop->depth == 0 && loop_is_home(loop));
	fdmon_uring_disown(loop);
	if (current == loop)
		current = NULL;
	atomic_store(&loop->home, 0);
}

static void upgrade(struct loop *loop)
{
	int err;

	pthread_mutex_lock(&loop->lock);
	err = fdmon_epoll_start(loop, NULL);
	pthread_mutex_unlock(&loop->lock);
	loop->auto_upgrade = false; /* one attempt */
	if (err < 0)
		log_warn("loop %s: no epoll (errno %d), staying with ppoll",
			loop->name, -err);
	else
		fdmon_poll_stop(loop);
}

/* 0 if something pends already, else how long a wait may be; -1 for ever. */
static int64_t allowed_wait(struct loop *loop)
{
	if (loop_kicked(loop))
		return 0;
	if (loop_unlikely(loop->replay != NULL))
		return loop_replay_pending(loop) ? 0 : -1;
	if (loop->ready || loop_ops_pending(loop) || loop_bh_pending(loop))
		return 0;
	return loop_timers_timeout_ns(loop);
}

static void wait_once(struct loop *loop, int64_t timeout_ns)
{
	const struct fdmon *mon =
		atomic_load_explicit(&loop->mon, memory_order_relaxed);

	if (timeout_ns != 0) {
		stat_add(&loop->waits, 1);
		loop_trace(loop, LOOP_EVENT_WAIT, NULL, timeout_ns);
	} else if (!mon->need_wait(loop)) {
		return;
	}
	mon->wait(loop, timeout_ns);
}

/* Claim the wait, look once more, wait, give the claim back. */
static int64_t claimed_wait(struct loop *loop)
{
	int64_t timeout_ns;

	atomic_fetch_add_explicit(&loop->notify_me, 1, memory_order_acq_rel);
	timeout_ns = allowed_wait(loop);
	if (timeout_ns != 0 && loop_polling_end(loop))
		timeout_ns = 0;
	wait_once(loop, timeout_ns);
	atomic_fetch_sub_explicit(&loop->notify_me, 1, memory_order_acq_rel);
	return timeout_ns;
}

/* Busy checking, then prepare, wait and accept, until there is something to
 * dispatch or somebody notified: a signal, a watch that went stale, a step of
 * the wall clock are neither. */
static void wait_for_work(struct loop *loop)
{
	int64_t timeout_ns, start_ns = 0;
	bool polls = loop_polling_wanted(loop), woken;

	if (polls) {
		timeout_ns = allowed_wait(loop);
		start_ns = loop_now_ns(loop, LOOP_MONOTONIC);
		if (timeout_ns != 0 &&
			loop_polling_run(loop, start_ns, timeout_ns)) {
			loop_accept(loop);
			return;
		}
	}
	do {
		timeout_ns = claimed_wait(loop);
		woken = loop_accept(loop);
	} while (timeout_ns != 0 && !woken && allowed_wait(loop) != 0);
	if (polls && timeout_ns != 0)
		loop_polling_adapt(loop, start_ns);
}

static void upgrade_if_many(struct loop *loop)
{
	if (loop_unlikely(loop->auto_upgrade) &&
		atomic_load_explicit(&loop->fd_count, memory_order_relaxed) >
			UPGRADE_FDS)
		upgrade(loop);
}

static bool dispatch(struct loop *loop)
{
	bool progress;

	if (loop_unlikely(loop->replay != NULL))
		return loop_replay_dispatch(loop);
	progress = loop_bh_run(loop);
	progress |= loop_ops_run(loop);
	progress |= loop_fds_run(loop);
	progress |= loop_timers_run(loop);
	return progress;
}

bool loop_poll(struct loop *loop, bool blocking)
{
	/* A thread may have more loops than one: back to that of the callback
	 * that called us.  An idle one might be gone by then. */
	struct loop *outer = current && current->depth > 0 ? current : NULL;
	bool progress;

	if (loop_unlikely(!loop_is_home(loop)) || current != loop)
		loop_adopt(loop);
	loop->depth++;
	stat_add(&loop->polls, 1);
	upgrade_if_many(loop);
	if (blocking) {
		wait_for_work(loop);
	} else {
		wait_once(loop, 0);
		if (loop->begun > 0) /* nobody notifies then */
			loop_polling_check(loop);
		loop_accept(loop);
	}
	progress = dispatch(loop);
	if (--loop->depth == 0)
		loop_fds_reap(loop);
	if (outer)
		current = outer;
	return progress;
}

void loop_stats(const struct loop *loop, struct loop_stats *ret_stats)
{
	*ret_stats = (struct loop_stats){
		.polls = atomic_load(&loop->polls),
		.waits = atomic_load(&loop->waits),
		.notify_writes = atomic_load(&loop->notify_writes),
		.notify_avoided = atomic_load(&loop->notify_avoided),
		.fds_run = atomic_load(&loop->fds_run),
		.bhs_run = atomic_load(&loop->bhs_run),
		.timers_run = atomic_load(&loop->timers_run),
		.ops_run = atomic_load(&loop->ops_run),
		.polled_ns = atomic_load(&loop->polled_ns),
		.polls_paid = atomic_load(&loop->polls_paid),
		.polls_vain = atomic_load(&loop->polls_vain),
	};
}

const char *loop_backend_name(const struct loop *loop)
{
	return atomic_load(&loop->mon)->name;
}
