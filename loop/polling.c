/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/polling.c - looking before sleeping (L10).  Home thread.
 *
 * When a handler offers a cheap check, or an operation is in flight on the
 * ring, a blocking poll first checks for up to poll_ns, without a claim, so
 * that nobody writes the eventfd meanwhile.  What the checks find is done in
 * the dispatch phase like everything else: the time of that work is outside
 * the time that adapts poll_ns.
 *
 * poll_ns follows the time from the start of checking to the event: if within
 * poll_ns, it is right; if above max_ns, checking is a waste and it shrinks;
 * between the two it grows.
 *
 * Only who looks sees how soon an event comes.  A wait has the notification and
 * our wake-up in it, which on some hosts take longer than max_ns by themselves:
 * then nothing would ever grow.  So while waits are not much longer than that,
 * one in a while is preceded by a look of max_ns; should it pay, it stays.
 */
#include "loop/private.h"

#include <assert.h>
#include <errno.h>

#define FIRST_NS 4000 /* what poll_ns grows to from nothing */
#define LEAST_NS 1000 /* below this it is nothing */

#define NEAR	    8u	/* times max_ns: a wait that was not much longer */
#define PROBE_EVERY 16u /* of them */

int loop_set_polling(struct loop *loop, const struct loop_polling *polling)
{
	if (polling->max_ns < 0 || polling->grow < 2)
		return -EINVAL;
	loop->polling = *polling;
	loop->poll_ns = 0;
	loop->near_misses = 0;
	return 0;
}

static void end_one(struct loop *loop, struct loop_fd *h)
{
	if (!h->poll_begun)
		return;
	h->poll_begun = false;
	loop->begun--;
	if (h->poll_fns->end)
		h->poll_fns->end(h->opaque);
}

static void unlink_poller(struct loop *loop, struct loop_fd *h)
{
	struct loop_fd **at = &loop->pollers;

	while (*at != h)
		at = &(*at)->poll_next;
	*at = h->poll_next;
	loop->poller_count--;
	if (h->poll_begun)
		loop->begun--;
	h->poll_begun = false;
	h->poll_fns = NULL;
}

void loop_fd_set_polling(
	struct loop_fd *handler, const struct loop_poll_fns *fns)
{
	struct loop *loop = handler->loop;

	assert(!fns || (fns->check && fns->ready));
	if (handler->poll_fns) {
		end_one(loop, handler);
		unlink_poller(loop, handler);
	}
	if (!fns)
		return;
	handler->poll_fns = fns;
	handler->poll_next = loop->pollers;
	loop->pollers = handler;
	loop->poller_count++;
}

void loop_polling_reap(struct loop *loop)
{
	struct loop_fd *h, *next;

	for (h = loop->pollers; h; h = next) {
		next = h->poll_next;
		if (atomic_load_explicit(&h->dead, memory_order_relaxed))
			unlink_poller(loop, h); /* no end: it is gone */
	}
}

static bool audible(const struct loop_fd *h)
{
	return loop_fd_wanted(h) != WATCH_OFF;
}

bool loop_polling_check(struct loop *loop)
{
	bool found = false;
	struct loop_fd *h;

	for (h = loop->pollers; h; h = h->poll_next) {
		if (audible(h) && h->poll_fns->check(h->opaque)) {
			loop_fd_ready(h, READY_POLLED);
			found = true;
		}
	}
	return found;
}

static void begin(struct loop *loop)
{
	struct loop_fd *h;

	if (loop->begun == loop->poller_count)
		return;
	for (h = loop->pollers; h; h = h->poll_next) {
		if (h->poll_begun || !audible(h))
			continue;
		h->poll_begun = true;
		loop->begun++;
		if (h->poll_fns->begin)
			h->poll_fns->begin(h->opaque);
	}
}

bool loop_polling_end(struct loop *loop)
{
	struct loop_fd *h;

	if (loop->begun == 0)
		return false;
	/* A silenced one is not ended: its notifications would be missed. */
	for (h = loop->pollers; h; h = h->poll_next)
		if (audible(h))
			end_one(loop, h);
	/* What came before the notifications were on again. */
	return loop_polling_check(loop);
}

bool loop_polling_wanted(struct loop *loop)
{
	return loop->polling.max_ns > 0 &&
	       (loop->pollers || loop_ops_in_flight(loop));
}

/* Fetch what the kernel holds, submit what we hold. */
static void look_into_kernel(struct loop *loop)
{
	const struct fdmon *mon = atomic_load(&loop->mon);

	if (mon->transparent && mon->need_wait(loop))
		mon->wait(loop, 0);
}

bool loop_polling_run(struct loop *loop, int64_t start_ns, int64_t limit_ns)
{
	int64_t end_ns = loop->poll_ns, now_ns = start_ns;
	bool probe = end_ns == 0 && loop->near_misses >= PROBE_EVERY, found;

	if (probe) {
		loop->near_misses = 0;
		end_ns = loop->polling.max_ns;
	}
	/* Some fd is visible to the kernel alone: it must not starve. */
	if (end_ns == 0 ||
		(!atomic_load(&loop->mon)->transparent &&
			loop->poller_count < atomic_load(&loop->fd_count)))
		return false;
	if (limit_ns >= 0 && limit_ns < end_ns)
		end_ns = limit_ns;
	end_ns += start_ns;
	begin(loop);
	do {
		look_into_kernel(loop);
		found = loop_polling_check(loop) || loop->ready ||
			loop_ops_pending(loop) || loop_kicked(loop) ||
			loop_bh_pending(loop);
		now_ns = loop_now_ns(loop, LOOP_MONOTONIC);
	} while (!found && now_ns < end_ns);
	if (probe && found)
		loop->poll_ns = loop->polling.max_ns;
	stat_add(&loop->polled_ns, (uint64_t)(now_ns - start_ns));
	stat_add(found ? &loop->polls_paid : &loop->polls_vain, 1);
	loop_trace(loop, LOOP_EVENT_POLLED, NULL, now_ns - start_ns);
	return found;
}

void loop_polling_adapt(struct loop *loop, int64_t start_ns)
{
	const struct loop_polling *p = &loop->polling;
	int64_t took = loop_now_ns(loop, LOOP_MONOTONIC) - start_ns;

	if (took <= loop->poll_ns)
		return;
	if (took > p->max_ns) {
		loop->poll_ns = p->shrink ? loop->poll_ns / p->shrink : 0;
		if (loop->poll_ns < LEAST_NS)
			loop->poll_ns = 0;
		if (took / NEAR <= p->max_ns)
			loop->near_misses++;
	} else {
		loop->poll_ns =
			loop->poll_ns ? loop->poll_ns * p->grow : FIRST_NS;
		if (loop->poll_ns > p->max_ns)
			loop->poll_ns = p->max_ns;
	}
}
