/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/bh.c - bottom halves (L5): work handed to the home thread.
 *
 * A schedule sets flag bits and, if the bottom half was on no list, pushes it
 * on loop->incoming: one exchange and one store, so it is wait-free.  Between
 * the two the chain has a gap, marked LINKING.  The home thread never waits
 * for a gap to close: it leaves the rest for later, because the pusher wakes
 * the loop after the link is in place.
 *
 * The home thread detaches the chain and turns it round into bh_ready, first
 * in first out.  A turn runs bh_ready until it is empty.  What is scheduled
 * meanwhile goes to incoming and so to the next poll; a nested poll moves
 * incoming behind what its outer polls left in bh_ready and runs both, so an
 * outer poll always finds bh_ready empty afterwards.  That is the whole of
 * the slice rule.
 *
 * PENDING means "on some list".  Only the home thread clears it, after it has
 * unlinked; whoever sets it pushes.  So a bottom half is on at most one list,
 * and it can be freed by the thread that unlinked it.
 */
#include "loop/private.h"

#include <assert.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

enum {
	BH_PENDING = 1,	  /* on incoming, chain, reversed, ready or guarded */
	BH_SCHEDULED = 2, /* run it when unlinked */
	BH_DELETED = 4,	  /* free it instead */
	BH_ONESHOT = 8,	  /* free it when run */
	BH_EMBEDDED = 16, /* not ours to free */
};

#define LINKING ((struct loop_bh *)1)

static struct loop_bh *next_of(struct loop_bh *bh)
{
	return atomic_load_explicit(&bh->next, memory_order_relaxed);
}

static void set_next(struct loop_bh *bh, struct loop_bh *next)
{
	atomic_store_explicit(&bh->next, next, memory_order_relaxed);
}

static void list_append(struct bh_list *list, struct loop_bh *bh)
{
	set_next(bh, NULL);
	if (list->tail)
		set_next(list->tail, bh);
	else
		list->head = bh;
	list->tail = bh;
}

static void list_prepend(struct bh_list *list, struct loop_bh *bh)
{
	set_next(bh, list->head);
	list->head = bh;
	if (!list->tail)
		list->tail = bh;
}

static struct loop_bh *list_pop(struct bh_list *list)
{
	struct loop_bh *bh = list->head;

	if (!bh)
		return NULL;
	list->head = next_of(bh);
	if (!list->head)
		list->tail = NULL;
	return bh;
}

/* ---- any thread ---- */

static void init(struct loop_bh *bh, struct loop *loop, loop_bh_fn *fn,
	void *opaque, const char *name, struct loop_guard *guard,
	unsigned flags)
{
	assert(fn);
	bh->loop = loop;
	bh->fn = fn;
	bh->opaque = opaque;
	bh->name = name;
	bh->guard = guard;
	atomic_init(&bh->next, NULL);
	atomic_init(&bh->flags, flags);
}

int loop_bh_create(struct loop *loop, loop_bh_fn *fn, void *opaque,
	const char *name, struct loop_guard *guard, struct loop_bh **ret_bh)
{
	struct loop_bh *bh = malloc(sizeof(*bh));

	if (!bh)
		return -ENOMEM;
	init(bh, loop, fn, opaque, name, guard, 0);
	*ret_bh = bh;
	return 0;
}

void loop_bh_init_embedded(struct loop_bh *bh, struct loop *loop,
	loop_bh_fn *fn, void *opaque, const char *name)
{
	init(bh, loop, fn, opaque, name, NULL, BH_EMBEDDED);
}

/* Set @flags and see that @bh is on a list.  Once it is, the home thread may
 * free it: touch it no more. */
static void enqueue(struct loop_bh *bh, unsigned flags)
{
	struct loop *loop = bh->loop;
	struct loop_bh *older;

	/* Release: the callback sees what the scheduler did before, also when
	 * another thread's push carries it. */
	if (atomic_fetch_or_explicit(
		    &bh->flags, BH_PENDING | flags, memory_order_acq_rel) &
		BH_PENDING)
		return;
	set_next(bh, LINKING);
	older = atomic_exchange_explicit(
		&loop->incoming, bh, memory_order_acq_rel);
	atomic_store_explicit(&bh->next, older, memory_order_release);
}

void loop_bh_schedule(struct loop_bh *bh)
{
	struct loop *loop = bh->loop;

	enqueue(bh, BH_SCHEDULED);
	/* Always asked, even if @bh was pending: whoever made it so may have
	 * found the loop awake (the three-thread case of L3). */
	loop_wake(loop);
}

void loop_bh_delete(struct loop_bh *bh)
{
	if (bh)
		enqueue(bh, BH_DELETED); /* nobody waits for a free: no wake */
}

int loop_bh_oneshot(
	struct loop *loop, loop_bh_fn *fn, void *opaque, const char *name)
{
	struct loop_bh *bh = malloc(sizeof(*bh));

	if (!bh)
		return -ENOMEM;
	init(bh, loop, fn, opaque, name, NULL, BH_ONESHOT);
	loop_bh_schedule(bh);
	return 0;
}

struct sync_call {
	loop_bh_fn *fn;
	void *opaque;
	sem_t done;
};

static void run_sync_call(void *opaque)
{
	struct sync_call *call = opaque;

	call->fn(call->opaque);
	sem_post(&call->done);
}

int loop_run_sync(
	struct loop *loop, loop_bh_fn *fn, void *opaque, const char *name)
{
	struct sync_call call = {.fn = fn, .opaque = opaque};
	struct loop_bh bh;

	if (loop_is_home(loop)) {
		fn(opaque);
		return 0;
	}
	sem_init(&call.done, 0, 0);
	loop_bh_init_embedded(&bh, loop, run_sync_call, &call, name);
	loop_bh_schedule(&bh);
	while (sem_wait(&call.done) < 0)
		assert(errno == EINTR);
	sem_destroy(&call.done);
	return 0;
}

/* ---- home thread ---- */

void loop_bh_cancel(struct loop_bh *bh)
{
	/* It stays on its list and is dropped when its turn comes. */
	atomic_fetch_and_explicit(
		&bh->flags, ~(unsigned)BH_SCHEDULED, memory_order_acq_rel);
}

/* Turn loop->chain round into bh_ready.  False: a gap stopped us. */
static bool unchain(struct loop *loop)
{
	struct loop_bh *bh;

	while ((bh = loop->chain)) {
		struct loop_bh *older =
			atomic_load_explicit(&bh->next, memory_order_acquire);

		if (older == LINKING)
			return false;
		set_next(bh, loop->reversed);
		loop->reversed = bh;
		loop->chain = older;
	}
	while ((bh = loop->reversed)) {
		loop->reversed = next_of(bh);
		list_append(&loop->bh_ready, bh);
	}
	return true;
}

/* Must this one wait for its guard?  A deleted or cancelled one need not. */
static bool guarded(struct loop_bh *bh)
{
	unsigned flags = atomic_load_explicit(&bh->flags, memory_order_acquire);

	/* Flags first: the guard of a deleted one may be gone with its device.
	 */
	if ((flags & (BH_SCHEDULED | BH_DELETED)) != BH_SCHEDULED)
		return false;
	return bh->guard && bh->guard->busy;
}

/* Those whose guard was released go first: they were scheduled first. */
static void release_guarded(struct loop *loop)
{
	struct bh_list all = loop->bh_guarded, freed = {NULL, NULL};
	struct loop_bh *bh;

	loop->bh_guarded = (struct bh_list){NULL, NULL};
	while ((bh = list_pop(&all)))
		list_append(guarded(bh) ? &loop->bh_guarded : &freed, bh);
	if (!freed.head)
		return;
	set_next(freed.tail, loop->bh_ready.head);
	if (!loop->bh_ready.head)
		loop->bh_ready.tail = freed.tail;
	loop->bh_ready.head = freed.head;
}

static void collect(struct loop *loop)
{
	if (loop_unlikely(loop->bh_guarded.head))
		release_guarded(loop);
	if (!unchain(loop) ||
		!atomic_load_explicit(&loop->incoming, memory_order_relaxed))
		return;
	loop->chain = atomic_exchange_explicit(
		&loop->incoming, NULL, memory_order_acquire);
	unchain(loop);
}

/* @bh was unlinked with these flags and is not going to run. */
static void dispose(struct loop_bh *bh, unsigned flags)
{
	if (flags & (BH_DELETED | BH_ONESHOT) && !(flags & BH_EMBEDDED))
		free(bh);
}

/* Unlinked: clear PENDING unless it is to run after all. */
static bool drop_idle(struct loop_bh *bh)
{
	unsigned flags = atomic_load_explicit(&bh->flags, memory_order_relaxed);

	do {
		if ((flags & (BH_SCHEDULED | BH_DELETED)) == BH_SCHEDULED)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&bh->flags, &flags,
		flags & ~(unsigned)(BH_PENDING | BH_SCHEDULED),
		memory_order_acq_rel, memory_order_relaxed));
	dispose(bh, flags);
	return true;
}

bool loop_bh_pending(struct loop *loop)
{
	struct loop_bh *bh;

	collect(loop);
	while ((bh = list_pop(&loop->bh_ready))) {
		if (guarded(bh)) {
			list_append(&loop->bh_guarded, bh);
		} else if (!drop_idle(bh)) {
			list_prepend(&loop->bh_ready, bh);
			return true;
		}
	}
	return false;
}

/* @bh is unlinked.  Return: true if it ran. */
static bool run(struct loop *loop, struct loop_bh *bh)
{
	struct loop_guard *guard = bh->guard;
	loop_bh_fn *fn = bh->fn;
	const char *name = bh->name;
	void *opaque = bh->opaque;
	unsigned flags = atomic_fetch_and_explicit(&bh->flags,
		~(unsigned)(BH_PENDING | BH_SCHEDULED), memory_order_acq_rel);

	if ((flags & (BH_SCHEDULED | BH_DELETED)) != BH_SCHEDULED) {
		dispose(bh, flags);
		return false;
	}
	/* From here a nested poll or the callback may free @bh. */
	dispose(bh, flags);
	stat_add(&loop->bhs_run, 1);
	loop_trace(loop, LOOP_EVENT_BH, name, 0);
	if (guard)
		guard->busy = true;
	fn(opaque);
	if (guard)
		guard->busy = false;
	return true;
}

bool loop_bh_run(struct loop *loop)
{
	struct loop_bh *bh;
	bool ran = false;

	collect(loop);
	while ((bh = list_pop(&loop->bh_ready))) {
		if (guarded(bh))
			list_append(&loop->bh_guarded, bh);
		else
			ran |= run(loop, bh);
	}
	return ran;
}

static bool runnable(struct loop_bh *bh, const char *name)
{
	unsigned flags = atomic_load_explicit(&bh->flags, memory_order_relaxed);

	return (flags & (BH_SCHEDULED | BH_DELETED)) == BH_SCHEDULED &&
	       !guarded(bh) && (!name || strcmp(bh->name, name) == 0);
}

bool loop_bh_find(struct loop *loop, const char *name)
{
	struct loop_bh *bh;

	collect(loop);
	for (bh = loop->bh_ready.head; bh; bh = next_of(bh))
		if (runnable(bh, name))
			return true;
	return false;
}

void loop_bh_run_one(struct loop *loop, const char *name)
{
	struct bh_list all = loop->bh_ready;
	struct loop_bh *bh, *found = NULL;

	loop->bh_ready = (struct bh_list){NULL, NULL};
	while ((bh = list_pop(&all))) {
		if (!found && runnable(bh, name))
			found = bh;
		else
			list_append(&loop->bh_ready, bh);
	}
	if (found)
		run(loop, found);
}

void loop_bh_fini(struct loop *loop)
{
	struct loop_bh *bh;
	unsigned flags;

	collect(loop);
	assert(!loop->chain); /* a thread is inside loop_bh_schedule() */
	while ((bh = list_pop(&loop->bh_ready)) ||
		(bh = list_pop(&loop->bh_guarded))) {
		flags = atomic_load(&bh->flags);
		assert(flags & (BH_DELETED | BH_ONESHOT)); /* owner forgot it */
		dispose(bh, flags);
	}
}
