/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/fdmon_epoll.c - watching fds with epoll(7): cost by active fds, not by
 * watched ones.
 *
 * Updates go to the kernel at once, from whichever thread; a wait that is
 * under way sees them.  The array of results is as long as the set of handlers,
 * so one wait fetches all that is ready, like ppoll does.
 */
#include "loop/private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/log.h"

static int epoll_update(struct loop *loop, struct loop_fd *h)
{
	bool dead = atomic_load_explicit(&h->dead, memory_order_relaxed);
	unsigned wanted = loop_fd_wanted(h);
	struct epoll_event ev = {.data.ptr = h};
	int op;

	if (dead) {
		/* May fail: closed too early, the kernel forgot it then. */
		if (h->registered)
			epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, h->fd, &ev);
		h->registered = false;
	} else {
		op = h->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
		/*
		 * A silent external handler stays registered, so that hearing
		 * it again needs no memory.  Errors and hang-ups cannot be
		 * masked, but ONESHOT limits them to one.
		 */
		ev.events = wanted == WATCH_OFF
				    ? EPOLLONESHOT
				    : (uint32_t)fdmon_to_poll(wanted);
		if (epoll_ctl(loop->epoll_fd, op, h->fd, &ev) < 0)
			return -errno;
		h->registered = true;
	}
	h->watched = wanted;
	return 0;
}

static void grow_events(struct loop *loop)
{
	uint32_t need =
		1 + atomic_load_explicit(&loop->fd_count, memory_order_relaxed);
	uint32_t cap = loop->epoll_cap;
	struct epoll_event *events;

	if (need <= cap)
		return;
	while (cap < need)
		cap *= 2;
	events = realloc(loop->epoll_events, cap * sizeof(*events));
	if (!events)
		return; /* then it takes more turns */
	loop->epoll_events = events;
	loop->epoll_cap = cap;
}

static int wait_ns(struct loop *loop, int64_t timeout_ns)
{
	struct timespec ts;
	int64_t ms;
	int n;

	if (timeout_ns > 0 && !loop->no_pwait2) {
		ts.tv_sec = timeout_ns / 1000000000;
		ts.tv_nsec = timeout_ns % 1000000000;
		n = epoll_pwait2(loop->epoll_fd, loop->epoll_events,
			(int)loop->epoll_cap, &ts, NULL);
		if (n >= 0 || errno != ENOSYS)
			return n;
		loop->no_pwait2 = true;
	}
	/* Rounded up: a timer must not be asked for before it is due. */
	ms = timeout_ns > 0 ? (timeout_ns - 1) / 1000000 + 1 : timeout_ns;
	return epoll_wait(loop->epoll_fd, loop->epoll_events,
		(int)loop->epoll_cap, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

static void epoll_wait_ready(struct loop *loop, int64_t timeout_ns)
{
	struct loop_fd *h;
	int i, n;

	grow_events(loop);
	n = wait_ns(loop, timeout_ns);
	if (n < 0 && errno != EINTR)
		log_limited(&loop->wait_limit, LOG_ERROR,
			"loop %s: epoll_wait: errno %d", loop->name, errno);
	loop_fds_acquire(loop);
	for (i = 0; i < n; i++) {
		h = loop->epoll_events[i].data.ptr;
		if (h)
			loop_fd_ready(h,
				fdmon_from_poll(loop->epoll_events[i].events));
		else
			loop->notify_seen = true;
	}
}

static bool epoll_need_wait(struct loop *loop)
{
	/* Nothing but a system call can tell of an fd; the eventfd has a
	 * flag (L4). */
	return atomic_load_explicit(&loop->fd_count, memory_order_relaxed) > 0;
}

static const struct fdmon fdmon_epoll = {
	.name = "epoll",
	.update = epoll_update,
	.wait = epoll_wait_ready,
	.need_wait = epoll_need_wait,
};

/* Register all handlers that another monitor watched.  Lock held. */
static int take_over(struct loop *loop)
{
	struct loop_fd *h;
	int err;

	for (h = loop->first; h; h = h->list_next) {
		h->registered = false;
		err = epoll_update(loop, h);
		if (err < 0 && err != -EBADF) /* closed behind our back */
			return err;
	}
	return 0;
}

int fdmon_epoll_start(struct loop *loop, struct error *err)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int ret;

	loop->epoll_cap = 16;
	loop->epoll_events = malloc(loop->epoll_cap * sizeof(ev));
	if (!loop->epoll_events)
		return error_errno(err, -ENOMEM, "epoll events");
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		ret = error_errno(err, -errno, "epoll_create1");
		goto fail;
	}
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &ev) < 0)
		ret = error_errno(err, -errno, "epoll_ctl: eventfd");
	else if ((ret = take_over(loop)) < 0)
		error_errno(err, ret, "epoll_ctl: handlers");
	if (ret < 0)
		goto fail;
	atomic_store(&loop->mon, &fdmon_epoll);
	return 0;
fail:
	fdmon_epoll_stop(loop);
	return ret;
}

void fdmon_epoll_stop(struct loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
	free(loop->epoll_events);
	loop->epoll_events = NULL;
}
