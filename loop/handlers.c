/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/handlers.c - fd handlers: who is watched, and running the batch (L7,
 * L8).
 *
 * The set of handlers is guarded by loop->lock, which no callback runs under.
 * A batch is a list of the home thread.  A removed handler is dead at once
 * and leaves the set; its memory goes to the graveyard and is freed when the
 * outermost poll ends, for only then is it sure that no batch, event array or
 * callback on the stack still points to it.
 */
#include "loop/private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

short fdmon_to_poll(unsigned watch)
{
	return (short)((watch & LOOP_READ ? POLLIN : 0) |
		       (watch & LOOP_WRITE ? POLLOUT : 0));
}

unsigned fdmon_from_poll(unsigned revents)
{
	return (revents & POLLIN ? LOOP_READ : 0) |
	       (revents & POLLOUT ? LOOP_WRITE : 0) |
	       (revents & (POLLERR | POLLHUP | POLLNVAL) ? LOOP_ERROR : 0);
}

unsigned loop_fd_wanted(const struct loop_fd *h)
{
	if (atomic_load_explicit(&h->dead, memory_order_relaxed))
		return WATCH_OFF;
	if (h->flags & LOOP_FD_EXTERNAL &&
		atomic_load_explicit(
			&h->loop->external_off, memory_order_relaxed) > 0)
		return WATCH_OFF;
	return WATCH_ON |
	       atomic_load_explicit(&h->events, memory_order_relaxed);
}

/* Lock held. */
static int update(struct loop_fd *h)
{
	struct loop *loop = h->loop;

	if (h->watched == loop_fd_wanted(h))
		return 0;
	return atomic_load(&loop->mon)->update(loop, h);
}

/* A poll that waits must look at the new set.  Lock not held. */
static void wake_if_foreign(struct loop *loop)
{
	if (!loop_is_home(loop))
		loop_wake(loop);
}

/*
 * Only epoll tells an fd that cannot be polled from one that is always ready,
 * so it is asked on behalf of every monitor; and it is asked only where the
 * answer can be no.
 */
static int check_pollable(int fd)
{
	struct epoll_event ev = {.events = 0};
	struct stat st;
	int err = 0, probe;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode))
		return 0;
	probe = epoll_create1(EPOLL_CLOEXEC);
	if (probe < 0)
		return -errno;
	if (epoll_ctl(probe, EPOLL_CTL_ADD, fd, &ev) < 0)
		err = -errno;
	close(probe);
	return err;
}

/* See that by_fd has a place for @fd.  Lock held. */
static int reserve(struct loop *loop, int fd)
{
	size_t len = loop->by_fd_len ? loop->by_fd_len : 64;
	struct loop_fd **table;

	while (len <= (size_t)fd)
		len *= 2;
	if (len == loop->by_fd_len)
		return 0;
	table = realloc(loop->by_fd, len * sizeof(struct loop_fd *));
	if (!table)
		return -ENOMEM;
	memset(table + loop->by_fd_len, 0,
		(len - loop->by_fd_len) * sizeof(struct loop_fd *));
	loop->by_fd = table;
	loop->by_fd_len = len;
	return 0;
}

/* Enter @h in the set.  Lock held. */
static int insert(struct loop *loop, struct loop_fd *h)
{
	int err = reserve(loop, h->fd);

	if (err < 0)
		return err;
	if (loop->by_fd[h->fd])
		return -EEXIST;
	h->seq = 1 + atomic_load_explicit(&loop->fd_seq, memory_order_relaxed);
	/* See loop_fds_acquire(). */
	atomic_store_explicit(&loop->fd_seq, h->seq, memory_order_release);
	err = atomic_load(&loop->mon)->update(loop, h);
	if (err < 0)
		return err;
	loop->by_fd[h->fd] = h;
	h->list_prev = loop->last;
	if (loop->last)
		loop->last->list_next = h;
	else
		loop->first = h;
	loop->last = h;
	atomic_fetch_add_explicit(&loop->fd_count, 1, memory_order_relaxed);
	return 0;
}

int loop_fd_add(struct loop *loop, int fd, unsigned events, unsigned flags,
	loop_fd_fn *fn, void *opaque, const char *name,
	struct loop_fd **ret_handler)
{
	struct loop_fd *h;
	int err;

	assert(fn && !(events & ~(LOOP_READ | LOOP_WRITE | LOOP_ERROR)));
	err = check_pollable(fd);
	if (err < 0)
		return err;
	h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->loop = loop;
	h->fn = fn;
	h->opaque = opaque;
	h->name = name;
	h->fd = fd;
	h->flags = flags;
	atomic_init(&h->events, events & (LOOP_READ | LOOP_WRITE));
	pthread_mutex_lock(&loop->lock);
	err = insert(loop, h);
	if (err == 0)
		*ret_handler = h;
	pthread_mutex_unlock(&loop->lock);
	if (err < 0) {
		free(h);
		return err;
	}
	wake_if_foreign(loop);
	return 0;
}

int loop_fd_set(struct loop_fd *handler, unsigned events)
{
	struct loop *loop = handler->loop;
	unsigned old;
	int err;

	assert(!(events & ~(LOOP_READ | LOOP_WRITE | LOOP_ERROR)));
	events &= LOOP_READ | LOOP_WRITE;
	pthread_mutex_lock(&loop->lock);
	old = atomic_load_explicit(&handler->events, memory_order_relaxed);
	atomic_store_explicit(&handler->events, events, memory_order_relaxed);
	err = update(handler);
	if (err < 0)
		atomic_store_explicit(
			&handler->events, old, memory_order_relaxed);
	pthread_mutex_unlock(&loop->lock);
	wake_if_foreign(loop);
	return err;
}

void loop_fd_del(struct loop_fd *handler)
{
	struct loop *loop;

	if (!handler)
		return;
	loop = handler->loop;
	pthread_mutex_lock(&loop->lock);
	assert(!atomic_load(&handler->dead));
	atomic_store_explicit(&handler->dead, true, memory_order_release);
	/* Cannot fail: it takes nothing. */
	atomic_load(&loop->mon)->update(loop, handler);
	loop->by_fd[handler->fd] = NULL;
	if (handler->list_prev)
		handler->list_prev->list_next = handler->list_next;
	else
		loop->first = handler->list_next;
	if (handler->list_next)
		handler->list_next->list_prev = handler->list_prev;
	else
		loop->last = handler->list_prev;
	handler->dead_next = atomic_load(&loop->graveyard);
	atomic_store(&loop->graveyard, handler);
	atomic_fetch_sub_explicit(&loop->fd_count, 1, memory_order_relaxed);
	pthread_mutex_unlock(&loop->lock);
	wake_if_foreign(loop);
}

/* ---- external sources ---- */

/* Cannot fail: no monitor needs memory for an fd that it knows. */
static void update_external(struct loop *loop)
{
	struct loop_fd *h;

	for (h = loop->first; h; h = h->list_next)
		if (h->flags & LOOP_FD_EXTERNAL)
			update(h);
}

void loop_disable_external(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	if (atomic_fetch_add(&loop->external_off, 1) == 0)
		update_external(loop);
	pthread_mutex_unlock(&loop->lock);
}

void loop_enable_external(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	assert(atomic_load(&loop->external_off) > 0);
	if (atomic_fetch_sub(&loop->external_off, 1) == 1)
		update_external(loop);
	pthread_mutex_unlock(&loop->lock);
}

/* ---- the batch: home thread ---- */

/* What of @ready may be dispatched to @h now, as LOOP_*. */
static unsigned deliverable(const struct loop_fd *h, unsigned ready)
{
	unsigned wanted = loop_fd_wanted(h);

	return wanted == WATCH_OFF
		       ? 0
		       : ready & (wanted | LOOP_ERROR | READY_POLLED);
}

void loop_fds_acquire(struct loop *loop)
{
	(void)atomic_load_explicit(&loop->fd_seq, memory_order_acquire);
}

void loop_fd_ready(struct loop_fd *h, unsigned ready)
{
	struct loop *loop = h->loop;

	ready = deliverable(h, ready);
	if (!ready)
		return;
	h->ready |= ready;
	if (h->queued)
		return;
	h->queued = true;
	h->ready_next = NULL;
	if (!loop->ready) {
		loop->ready = h;
	} else {
		loop->ready_last->ready_next = h;
		if (h->seq < loop->ready_last->seq)
			loop->ready_unsorted = true;
	}
	loop->ready_last = h;
}

static struct loop_fd *merge(struct loop_fd *a, struct loop_fd *b)
{
	struct loop_fd *head = NULL, **end = &head;

	while (a && b) {
		struct loop_fd **least = a->seq < b->seq ? &a : &b;

		*end = *least;
		end = &(*end)->ready_next;
		*least = *end;
	}
	*end = a ? a : b;
	return head;
}

/* Merge sort of the first @n of @list; recursion is log2(n) deep. */
static struct loop_fd *sort(struct loop_fd *list, uint32_t n)
{
	struct loop_fd *second = list, *last = NULL;
	uint32_t i;

	if (n < 2)
		return list;
	for (i = 0; i < n / 2; i++) {
		last = second;
		second = second->ready_next;
	}
	last->ready_next = NULL;
	return merge(sort(list, n / 2), sort(second, n - n / 2));
}

/* Registration order, whatever order the monitor found them in. */
static void sort_batch(struct loop *loop)
{
	struct loop_fd *h;
	uint32_t n = 0;

	if (!loop->ready_unsorted)
		return;
	for (h = loop->ready; h; h = h->ready_next)
		n++;
	loop->ready = sort(loop->ready, n);
	loop->ready_unsorted = false;
	for (h = loop->ready; h->ready_next; h = h->ready_next)
		;
	loop->ready_last = h;
}

/* @h was taken off the batch. */
static bool run(struct loop *loop, struct loop_fd *h)
{
	/* Again, since callbacks of this batch may have changed it. */
	unsigned ready = deliverable(h, h->ready);
	bool progress = false;

	h->queued = false;
	h->ready = 0;
	if (!ready)
		return false;
	stat_add(&loop->fds_run, 1);
	loop_trace(loop, LOOP_EVENT_FD, h->name, ready);
	if (ready & READY_POLLED && h->poll_fns)
		progress = h->poll_fns->ready(h->opaque);
	ready &= ~READY_POLLED;
	if (ready && !atomic_load_explicit(&h->dead, memory_order_acquire))
		progress |= h->fn(h->opaque, ready);
	return progress;
}

bool loop_fds_run(struct loop *loop)
{
	bool progress = false;
	struct loop_fd *h;

	sort_batch(loop);
	while ((h = loop->ready)) {
		loop->ready = h->ready_next;
		progress |= run(loop, h);
	}
	return progress;
}

static struct loop_fd **find(struct loop *loop, const char *name)
{
	struct loop_fd **at = &loop->ready;

	sort_batch(loop);
	while (*at && (!deliverable(*at, (*at)->ready) ||
			      (name && strcmp((*at)->name, name) != 0)))
		at = &(*at)->ready_next;
	return at;
}

bool loop_fd_find(struct loop *loop, const char *name)
{
	return *find(loop, name) != NULL;
}

void loop_fd_run_one(struct loop *loop, const char *name)
{
	struct loop_fd **at = find(loop, name), *h = *at, *last;

	if (!h)
		return;
	*at = h->ready_next;
	for (last = loop->ready; last && last->ready_next;)
		last = last->ready_next;
	loop->ready_last = last;
	run(loop, h);
}

/* Could a list or the kernel still hold @h?  Lock held. */
static bool referenced(const struct loop_fd *h)
{
	return h->poll_fns || h->uring_changed || h->uring_rearm ||
	       h->uring_polls > 0;
}

void loop_fds_reap(struct loop *loop)
{
	struct loop_fd *h, *next, *kept = NULL;

	if (!atomic_load_explicit(&loop->graveyard, memory_order_relaxed))
		return;
	loop_polling_reap(loop);
	pthread_mutex_lock(&loop->lock);
	for (h = atomic_load(&loop->graveyard); h; h = next) {
		next = h->dead_next;
		if (referenced(h)) {
			h->dead_next = kept;
			kept = h;
		} else {
			free(h);
		}
	}
	atomic_store(&loop->graveyard, kept);
	pthread_mutex_unlock(&loop->lock);
}

void loop_fds_fini(struct loop *loop)
{
	assert(!loop->first); /* its owner forgot loop_fd_del() */
	loop_fds_reap(loop);
	assert(!atomic_load(&loop->graveyard));
	free(loop->by_fd);
}
