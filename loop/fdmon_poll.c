/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/fdmon_poll.c - watching fds with ppoll(2): best for a few.
 *
 * The home thread waits on an array that is its own.  An update only marks
 * the array as out of date, and makes sure that room for a bigger one exists,
 * so that rebuilding it before the next wait cannot fail.
 */
#include "loop/private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include "vmm/error.h"
#include "vmm/log.h"

/* Room for @need entries, in use or spare.  Lock held, or not yet shared. */
static int reserve(struct loop *loop, uint32_t need)
{
	uint32_t cap = loop->spare_cap ? loop->spare_cap : 16;
	struct loop_fd **of;
	struct pollfd *fds;

	if (loop->spare_cap >= need)
		return 0;
	while (cap < need)
		cap *= 2;
	fds = malloc(cap * sizeof(*fds));
	of = malloc(cap * sizeof(struct loop_fd *));
	if (!fds || !of) {
		free(fds);
		free(of);
		return -ENOMEM;
	}
	free(loop->spare_fds);
	free(loop->spare_of);
	loop->spare_fds = fds;
	loop->spare_of = of;
	loop->spare_cap = cap;
	return 0;
}

static int poll_update(struct loop *loop, struct loop_fd *h)
{
	unsigned wanted = loop_fd_wanted(h);
	/* The eventfd, the handlers that are in the set, and maybe @h. */
	uint32_t need =
		2 + atomic_load_explicit(&loop->fd_count, memory_order_relaxed);
	int err;

	if (!atomic_load_explicit(&h->dead, memory_order_relaxed)) {
		err = reserve(loop, need);
		if (err < 0)
			return err;
	}
	h->watched = wanted;
	atomic_store_explicit(&loop->poll_dirty, true, memory_order_release);
	return 0;
}

static void rebuild(struct loop *loop)
{
	struct loop_fd *h;
	uint32_t n = 1;

	pthread_mutex_lock(&loop->lock);
	atomic_store_explicit(&loop->poll_dirty, false, memory_order_relaxed);
	if (loop->spare_fds) {
		free(loop->poll_fds);
		free(loop->poll_of);
		loop->poll_fds = loop->spare_fds;
		loop->poll_of = loop->spare_of;
		loop->spare_fds = NULL; /* spare_cap: what we hold now */
		loop->spare_of = NULL;
	}
	loop->poll_fds[0].fd = loop->event_fd;
	loop->poll_fds[0].events = POLLIN;
	for (h = loop->first; h; h = h->list_next) {
		if (h->watched == WATCH_OFF)
			continue;
		loop->poll_fds[n].fd = h->fd;
		loop->poll_fds[n].events = fdmon_to_poll(h->watched);
		loop->poll_of[n++] = h;
	}
	loop->poll_len = n;
	pthread_mutex_unlock(&loop->lock);
}

static void poll_wait(struct loop *loop, int64_t timeout_ns)
{
	struct timespec ts;
	uint32_t i;
	int n;

	if (atomic_load_explicit(&loop->poll_dirty, memory_order_acquire))
		rebuild(loop);
	ts.tv_sec = timeout_ns / 1000000000;
	ts.tv_nsec = timeout_ns % 1000000000;
	n = ppoll(loop->poll_fds, loop->poll_len, timeout_ns < 0 ? NULL : &ts,
		NULL);
	if (n < 0 && errno != EINTR) {
		/* ENOMEM, or EINVAL when RLIMIT_NOFILE was lowered. */
		log_limited(&loop->wait_limit, LOG_ERROR,
			"loop %s: ppoll: errno %d", loop->name, errno);
		return;
	}
	if (n <= 0)
		return;
	if (loop->poll_fds[0].revents) {
		loop->notify_seen = true;
		n--;
	}
	for (i = 1; n > 0 && i < loop->poll_len; i++) {
		unsigned revents = (unsigned short)loop->poll_fds[i].revents;

		if (!revents)
			continue;
		n--;
		loop_fd_ready(loop->poll_of[i], fdmon_from_poll(revents));
	}
}

static bool poll_need_wait(struct loop *loop)
{
	/* Nothing but a system call can tell of an fd; the eventfd has a
	 * flag (L4). */
	return atomic_load_explicit(&loop->fd_count, memory_order_relaxed) > 0;
}

static const struct fdmon fdmon_poll = {
	.name = "ppoll",
	.update = poll_update,
	.wait = poll_wait,
	.need_wait = poll_need_wait,
};

int fdmon_poll_start(struct loop *loop, struct error *err)
{
	if (reserve(loop, 2) < 0)
		return error_errno(err, -ENOMEM, "pollfd array");
	atomic_store(&loop->poll_dirty, true);
	atomic_store(&loop->mon, &fdmon_poll);
	return 0;
}

void fdmon_poll_stop(struct loop *loop)
{
	free(loop->poll_fds);
	free(loop->poll_of);
	free(loop->spare_fds);
	free(loop->spare_of);
	loop->poll_fds = loop->spare_fds = NULL;
	loop->poll_of = loop->spare_of = NULL;
	loop->spare_cap = 0;
}
