/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/notify.c - waking a loop that sleeps, and no other (L3, L4).
 *
 * The rule: whoever changes something that prepare looks at (bh list, handler
 * set, kicked) stores it first and then asks whether a poll is between prepare
 * and end of wait.  The poll announces itself first and then looks.  Both
 * sides use a read-modify-write of notify_me, so the two are ordered: if ours
 * comes second we see the claim and write the eventfd; if ours comes first,
 * theirs acquires what we released and the poll sees our change.  The models
 * are tests/model/notify_me.pml and accept.pml.
 *
 * loop_wake(), loop_notify(): any thread and signal handlers.  Rest: home.
 */
#include "loop/private.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/error.h"

int loop_notify_init(struct loop *loop, struct error *err)
{
	loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->event_fd < 0)
		return error_errno(err, -errno, "eventfd");
	return 0;
}

void loop_notify_fini(struct loop *loop)
{
	close(loop->event_fd);
}

void loop_wake(struct loop *loop)
{
	const uint64_t one = 1;
	uint64_t avoided;
	int saved;

	if (atomic_fetch_add_explicit(
		    &loop->notify_me, 0, memory_order_acq_rel) == 0) {
		/* Load and store: a statistic is not worth a locked add. */
		avoided = atomic_load_explicit(
			&loop->notify_avoided, memory_order_relaxed);
		atomic_store_explicit(&loop->notify_avoided, avoided + 1,
			memory_order_relaxed);
		return;
	}
	/*
	 * Written even if notified is set: the poll may be clearing it right
	 * now.  And flag after eventfd: a clear in between then leaves a set
	 * flag (one needless read later), not an eventfd that nobody clears.
	 */
	saved = errno;
	if (write(loop->event_fd, &one, sizeof(one)) < 0)
		errno = saved; /* EAGAIN: the counter is full, so readable */
	atomic_store_explicit(&loop->notified, true, memory_order_release);
	atomic_fetch_add_explicit(
		&loop->notify_writes, 1, memory_order_relaxed);
}

void loop_notify(struct loop *loop)
{
	/* Sticky, so that a notify between the caller's test of its condition
	 * and the start of the poll is not lost. */
	atomic_store_explicit(&loop->kicked, true, memory_order_release);
	loop_wake(loop);
}

bool loop_accept(struct loop *loop)
{
	bool woken = false;
	uint64_t count;

	/* An exchange, not a store: it must acquire what the last of several
	 * notifiers did before, since their flags collapse into one. */
	if (loop_kicked(loop))
		woken = atomic_exchange_explicit(
			&loop->kicked, false, memory_order_acq_rel);
	if (!loop->notify_seen &&
		!atomic_load_explicit(&loop->notified, memory_order_relaxed))
		return woken;
	loop->notify_seen = false;
	/* Flag first, see loop_wake(). */
	atomic_exchange_explicit(&loop->notified, false, memory_order_acq_rel);
	if (read(loop->event_fd, &count, sizeof(count)) < 0)
		return woken; /* EAGAIN: an earlier accept cleared it */
	loop_trace(loop, LOOP_EVENT_WOKEN, NULL, (int64_t)count);
	return true;
}
