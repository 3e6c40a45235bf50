/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_loop_polling.c - adaptive polling: L10.
 *
 * Time is taken out of it: a budget is set to an hour or to a nanosecond, and
 * the counts of calls decide.
 */
#include "tests/unit/test_loop_common.h"

#include <pthread.h>

#define HOUR INT64_C(3600000000000)

struct polled {
	struct loop *loop;
	struct loop_fd *handler;
	int fd;
	int checks, readies, begins, ends, calls;
	int positive_at; /* the check that says yes; 0: none */
	bool after_end;	 /* yes once end was called */
	bool remove;	 /* ready removes its handler */
	_Atomic bool checking;
	int64_t burn_ns; /* time that ready takes */
};

static bool check(void *opaque)
{
	struct polled *p = opaque;

	p->checks++;
	atomic_store(&p->checking, true);
	return p->checks == p->positive_at || (p->after_end && p->ends > 0);
}

static bool ready(void *opaque)
{
	struct polled *p = opaque;
	int64_t end = loop_now_ns(p->loop, LOOP_MONOTONIC) + p->burn_ns;

	p->readies++;
	p->after_end = false;
	while (loop_now_ns(p->loop, LOOP_MONOTONIC) < end)
		;
	if (p->remove) {
		loop_fd_del(p->handler);
		p->handler = NULL;
	}
	return true;
}

static void begin(void *opaque)
{
	((struct polled *)opaque)->begins++;
}

static void end(void *opaque)
{
	((struct polled *)opaque)->ends++;
}

static bool kicked(void *opaque, unsigned events)
{
	struct polled *p = opaque;

	p->calls++;
	return drain_fd(p->fd);
}

static const struct loop_poll_fns fns = {check, ready, begin, end};

static void polled_open(struct polled *p, struct loop *loop, unsigned flags)
{
	*p = (struct polled){.loop = loop, .fd = new_eventfd(0)};
	assert_int_equal(loop_fd_add(loop, p->fd, LOOP_READ, flags, kicked, p,
				 "polled", &p->handler),
		0);
	loop_fd_set_polling(p->handler, &fns);
}

static void polled_close(struct polled *p)
{
	loop_fd_del(p->handler);
	close(p->fd);
}

/* Check for so long; the adaptation cannot change it. */
static void set_budget(struct loop *loop, int64_t ns)
{
	const struct loop_polling polling = {HOUR, 2, 1};

	assert_int_equal(loop_set_polling(loop, &polling), 0);
	loop->poll_ns = ns;
}

static void positive_check_spares_the_wait(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;
	struct polled p;

	polled_open(&p, loop, 0);
	set_budget(loop, HOUR);
	p.positive_at = 100;
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.checks, 100);
	assert_int_equal(p.readies, 1);
	assert_int_equal(p.calls, 0);
	assert_int_equal(p.begins, 1);
	assert_int_equal(p.ends, 0);
	loop_stats(loop, &st);
	assert_int_equal(st.waits, 0);
	assert_int_equal(st.polls_paid, 1);
	assert_int_equal(st.polls_vain, 0);
	assert_true(st.polled_ns > 0);
	/* Still polled: begin is not repeated. */
	p.positive_at = 110;
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.begins, 1);
	polled_close(&p);
}

static void end_comes_before_the_wait(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;
	struct polled p;

	polled_open(&p, loop, 0);
	set_budget(loop, 1);
	/* Work that came just before notifications were on again. */
	p.after_end = true;
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.begins, 1);
	assert_int_equal(p.ends, 1);
	assert_int_equal(p.readies, 1);
	loop_stats(loop, &st);
	assert_int_equal(st.waits, 0);
	assert_int_equal(st.polls_vain, 1);
	/* With nothing left it waits, for the kick. */
	raise_fd(p.fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.calls, 1);
	polled_close(&p);
}

static void *schedule_while_checking(void *opaque)
{
	struct polled *p = opaque;

	while (!atomic_load(&p->checking))
		sched_yield();
	loop_bh_oneshot(p->loop, count_call, &p->calls, "bh");
	return NULL;
}

static void no_write_while_checking(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;
	pthread_t thread;
	struct polled p;

	polled_open(&p, loop, 0);
	set_budget(loop, HOUR);
	pthread_create(&thread, NULL, schedule_while_checking, &p);
	assert_true(loop_poll(loop, true));
	pthread_join(thread, NULL);
	assert_int_equal(p.calls, 1);
	loop_stats(loop, &st);
	assert_int_equal(st.notify_writes, 0);
	assert_int_equal(st.waits, 0);
	polled_close(&p);
}

static void *notify_while_checking(void *opaque)
{
	struct polled *p = opaque;

	while (!atomic_load(&p->checking))
		sched_yield();
	loop_notify(p->loop);
	return NULL;
}

static void notify_ends_checking(void **state)
{
	struct loop *loop = fixture_loop(state);
	pthread_t thread;
	struct polled p;

	polled_open(&p, loop, 0);
	set_budget(loop, HOUR);
	pthread_create(&thread, NULL, notify_while_checking, &p);
	assert_false(loop_poll(loop, true));
	pthread_join(thread, NULL);
	polled_close(&p);
}

static void work_is_not_counted(void **state)
{
	struct loop *loop = fixture_loop(state);
	const struct loop_polling polling = {1000000, 2, 0};
	struct polled p;

	polled_open(&p, loop, 0);
	assert_int_equal(loop_set_polling(loop, &polling), 0);
	loop->poll_ns = 500000;
	p.positive_at = 1;
	p.burn_ns = 3000000; /* beyond max_ns: joined, it would shrink to 0 */
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.readies, 1);
	assert_int_equal(loop->poll_ns, 500000);
	polled_close(&p);
}

static void budget_adapts(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_polling polling = {HOUR, 3, 4};
	int64_t now = loop_now_ns(loop, LOOP_MONOTONIC), first;
	struct polled p;

	assert_int_equal(loop_set_polling(loop, &polling), 0);
	assert_int_equal(loop->poll_ns, 0);
	loop_polling_adapt(loop, now - HOUR / 8); /* would have paid */
	first = loop->poll_ns;
	assert_true(first > 0);
	loop_polling_adapt(loop, now - HOUR / 8);
	assert_int_equal(loop->poll_ns, first * 3);
	loop->poll_ns = HOUR / 2;
	loop_polling_adapt(loop, now - HOUR / 8); /* within: just right */
	assert_int_equal(loop->poll_ns, HOUR / 2);
	loop_polling_adapt(loop, now - HOUR / 2 - 1000000000);
	assert_int_equal(loop->poll_ns, HOUR);	  /* capped */
	loop_polling_adapt(loop, now - 2 * HOUR); /* a waste */
	assert_int_equal(loop->poll_ns, HOUR / 4);
	polling.shrink = 0;
	assert_int_equal(loop_set_polling(loop, &polling), 0);
	loop->poll_ns = HOUR;
	loop_polling_adapt(loop, now - 2 * HOUR);
	assert_int_equal(loop->poll_ns, 0);
	/* A turn that had no need to wait tells nothing. */
	polling.shrink = 2;
	assert_int_equal(loop_set_polling(loop, &polling), 0);
	polled_open(&p, loop, 0);
	loop_bh_oneshot(loop, count_call, &p.calls, "bh");
	assert_true(loop_poll(loop, true));
	assert_int_equal(loop->poll_ns, 0);
	polled_close(&p);
	polling.grow = 1;
	assert_int_equal(loop_set_polling(loop, &polling), -EINVAL);
}

/* A notification may take longer than any look. */
static void a_probe_finds_what_waits_hide(void **state)
{
	struct loop *loop = fixture_loop(state);
	const struct loop_polling polling = {HOUR, 2, 0};
	int64_t now = loop_now_ns(loop, LOOP_MONOTONIC);
	struct polled p;
	unsigned i;

	polled_open(&p, loop, 0);
	assert_int_equal(loop_set_polling(loop, &polling), 0);
	for (i = 0; i < 1000; i++) /* too long to tell anything */
		loop_polling_adapt(loop, now - 9 * HOUR);
	raise_fd(p.fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.checks, 0);
	loop->poll_ns = 0; /* this one was near */
	for (i = 0; i < 16; i++) {
		assert_int_equal(loop->poll_ns, 0);
		loop_polling_adapt(loop, now - 2 * HOUR);
	}
	p.positive_at = p.checks + 10;
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.readies, 1);
	assert_int_equal(loop->poll_ns, HOUR);
	loop_polling_adapt(loop, now - 2 * HOUR);
	assert_int_equal(loop->poll_ns, 0);
	raise_fd(p.fd); /* one miss is not enough for the next */
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.readies, 1);
	assert_int_equal(p.ends, 1);
	polled_close(&p);
}

static void zero_disables(void **state)
{
	struct loop *loop = fixture_loop(state);
	const struct loop_polling polling = {0, 2, 0};
	struct polled p;

	polled_open(&p, loop, 0);
	assert_int_equal(loop_set_polling(loop, &polling), 0);
	raise_fd(p.fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.checks, 0);
	assert_int_equal(p.begins, 0);
	assert_int_equal(p.calls, 1);
	polled_close(&p);
}

static void others_do_not_starve(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct polled p, plain;

	polled_open(&p, loop, 0);
	polled_open(&plain, loop, 0);
	loop_fd_set_polling(plain.handler, NULL);
	set_budget(loop, HOUR);
	raise_fd(plain.fd);
	while (plain.calls == 0) /* no hour of checking */
		loop_poll(loop, true);
	/* Nor by a handler that always makes progress. */
	raise_fd(plain.fd);
	while (plain.calls == 1) {
		p.positive_at = p.checks + 1;
		loop_poll(loop, true);
		assert_true(p.readies < 1000);
	}
	polled_close(&p);
	polled_close(&plain);
}

static void nothing(void *opaque)
{
	(void)opaque;
}

static void silenced_is_not_checked(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_timer timer;
	struct polled p;

	polled_open(&p, loop, LOOP_FD_EXTERNAL);
	set_budget(loop, 1);
	loop->poll_ns = 1;
	p.positive_at = 1;
	loop_disable_external(loop);
	loop_timer_init(&timer, loop, LOOP_MONOTONIC, nothing, NULL);
	loop_timer_set(&timer, loop_now_ns(loop, LOOP_MONOTONIC) + 1000000);
	assert_true(loop_poll(loop, true)); /* checks, waits, ends by timer */
	assert_int_equal(p.checks, 0);
	loop_enable_external(loop);
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.readies, 1);
	assert_int_equal(p.begins, 1);
	/* Silenced while it is polled: its notifications are off, so it must
	 * be looked at when it may speak again. */
	loop_disable_external(loop);
	loop_notify(loop);
	assert_false(loop_poll(loop, true));
	assert_int_equal(p.ends, 0);
	p.positive_at = p.checks + 1;
	loop_enable_external(loop);
	assert_true(loop_poll(loop, false));
	assert_int_equal(p.readies, 2);
	polled_close(&p);
}

static void removal_while_polled(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct polled p, q;

	polled_open(&p, loop, 0);
	polled_open(&q, loop, 0);
	set_budget(loop, HOUR);
	p.positive_at = 1;
	p.remove = true;
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.ends, 0);
	q.positive_at = q.checks + 5;
	assert_true(loop_poll(loop, true));
	assert_int_equal(p.checks, 1);
	assert_int_equal(q.readies, 1);
	/* Withdrawn, not removed: notifications must be on again. */
	loop_fd_set_polling(q.handler, NULL);
	assert_int_equal(q.ends, 1);
	raise_fd(q.fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(q.calls, 1);
	close(p.fd);
	polled_close(&q);
}

static void *remove_while_checking(void *opaque)
{
	struct polled *p = opaque;

	while (!atomic_load(&p->checking))
		sched_yield();
	loop_fd_del(p->handler);
	loop_notify(p->loop);
	return NULL;
}

static void removed_by_another_thread(void **state)
{
	struct loop *loop = fixture_loop(state);
	pthread_t thread;
	struct polled p;
	int checks;

	polled_open(&p, loop, 0);
	set_budget(loop, HOUR);
	pthread_create(&thread, NULL, remove_while_checking, &p);
	loop_poll(loop, true);
	pthread_join(thread, NULL);
	checks = p.checks;
	loop_poll(loop, false);
	loop_notify(loop);
	loop_poll(loop, true);
	assert_int_equal(p.checks, checks);
	close(p.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a positive check spares the wait",
			positive_check_spares_the_wait),
		ON_ALL("notifications are on again before the wait, and one "
		       "more check is made",
			end_comes_before_the_wait),
		ON_ALL("scheduling while the loop checks writes no eventfd",
			no_write_while_checking),
		ON_ALL("a notify ends the checking", notify_ends_checking),
		ON_ALL("the time of the work found is not counted",
			work_is_not_counted),
		ON_ONE("the budget grows, shrinks and is capped",
			budget_adapts),
		ON_ONE("a probe finds what waits hide, and only near misses "
		       "lead to one",
			a_probe_finds_what_waits_hide),
		ON_ALL("a limit of nothing disables polling", zero_disables),
		ON_ALL("fds without a check do not starve",
			others_do_not_starve),
		ON_ALL("a silenced handler is not checked, but not forgotten",
			silenced_is_not_checked),
		ON_ALL("a handler may be removed or withdrawn while polled",
			removal_while_polled),
		ON_ALL("another thread may remove a handler while polled",
			removed_by_another_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
