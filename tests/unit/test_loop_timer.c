/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_timer.c - timers: L9. */
#include "tests/unit/test_loop_common.h"

#define MS  INT64_C(1000000)
#define FAR (INT64_MAX / 2)

struct alarm_clock {
	struct loop_timer timer;
	struct loop *loop;
	int fired;
	int nth; /* order of the last firing */
	int *order;
	int64_t rearm_ns; /* != 0: set again to this */
	struct alarm_clock *cancel, *set_past;
};

static void on_alarm(void *opaque)
{
	struct alarm_clock *a = opaque;

	a->fired++;
	if (a->order)
		a->nth = ++*a->order;
	if (a->rearm_ns)
		assert_int_equal(loop_timer_set(&a->timer, a->rearm_ns), 0);
	if (a->cancel)
		loop_timer_cancel(&a->cancel->timer);
	if (a->set_past)
		assert_int_equal(loop_timer_set(&a->set_past->timer, 0), 0);
}

static void alarm_init(
	struct alarm_clock *a, struct loop *loop, enum loop_clock clock)
{
	*a = (struct alarm_clock){.loop = loop};
	loop_timer_init(&a->timer, loop, clock, on_alarm, a);
}

static void set(struct alarm_clock *a, int64_t deadline_ns)
{
	assert_int_equal(loop_timer_set(&a->timer, deadline_ns), 0);
}

static void fires_not_early(void **state)
{
	struct loop *loop = fixture_loop(state);
	enum loop_clock clock;
	struct alarm_clock a;
	int64_t deadline;

	for (clock = 0; clock < LOOP_CLOCKS; clock++) {
		alarm_init(&a, loop, clock);
		deadline = loop_now_ns(loop, clock) + 3 * MS / 2;
		set(&a, deadline);
		loop_poll(loop, false);
		while (a.fired == 0)
			loop_poll(loop, true);
		assert_true(loop_now_ns(loop, clock) >= deadline);
		assert_int_equal(a.fired, 1);
		assert_false(loop_poll(loop, false));
	}
}

static void blocking_poll_waits_for_timer(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;
	struct alarm_clock a;

	alarm_init(&a, loop, LOOP_MONOTONIC);
	set(&a, loop_now_ns(loop, LOOP_MONOTONIC) + 2 * MS);
	/* One poll does it: an early wake-up is not handed to the caller. */
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.fired, 1);
	loop_stats(loop, &st);
	assert_int_equal(st.timers_run, 1);
}

static void deadline_then_start_order(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock a[200];
	int order = 0, i, nth;

	/* Deadlines 1..5 in turn, each shared by 40 timers. */
	for (i = 0; i < 200; i++) {
		alarm_init(&a[i], loop, LOOP_MONOTONIC);
		a[i].order = &order;
		set(&a[i], 1 + i * 7 % 5);
	}
	set(&a[3], 1 + 3 * 7 % 5); /* set again: last among its equals */
	assert_true(loop_poll(loop, false));
	assert_int_equal(order, 200);
	for (i = 0; i < 200; i++) {
		/* Equals before it: those of its residue started earlier. */
		nth = (int)a[i].timer.deadline_ns * 40 - 40 + i / 5 + 1;
		if (i % 5 == 3)
			nth = i == 3 ? nth + 39 : nth - 1;
		assert_int_equal(a[i].nth, nth);
	}
}

static void heap_keeps_order(void **state)
{
	struct loop *loop = fixture_loop(state);
	uint64_t seed = testing_seed("heap_keeps_order");
	static struct alarm_clock a[1000];
	struct alarm_clock *was = NULL;
	int order = 0, i, round, armed;

	for (i = 0; i < 1000; i++) {
		alarm_init(&a[i], loop, LOOP_MONOTONIC);
		a[i].order = &order;
	}
	for (round = 0; round < 5000; round++) {
		i = (int)(testing_random(&seed) % 1000);
		if (testing_random(&seed) % 3 == 0)
			loop_timer_cancel(&a[i].timer);
		else
			set(&a[i], (int64_t)(testing_random(&seed) % 500));
	}
	for (i = 0, armed = 0; i < 1000; i++)
		armed += a[i].timer.heap_index != 0;
	loop_poll(loop, false);
	assert_int_equal(order, armed);
	for (order = 1; order <= armed; order++) {
		for (i = 0; a[i].nth != order; i++)
			assert_true(i < 999);
		if (was) {
			assert_true(was->timer.deadline_ns <=
				    a[i].timer.deadline_ns);
			if (was->timer.deadline_ns == a[i].timer.deadline_ns)
				assert_true(was->timer.seq < a[i].timer.seq);
		}
		was = &a[i];
	}
}

static void large_batch_leaves_the_rest(void **state)
{
	struct loop *loop = fixture_loop(state);
	static struct alarm_clock a[1000];
	int i, fired = 0;

	for (i = 0; i < 1000; i++) {
		alarm_init(&a[i], loop, LOOP_MONOTONIC);
		set(&a[i], i % 10 < 7 ? 1 + i * 13 % 200 : FAR - i * 7 % 1000);
	}
	assert_true(loop_poll(loop, false));
	for (i = 0; i < 1000; i++)
		assert_int_equal(a[i].fired, i % 10 < 7);
	/* The others can be cancelled, moved and fire. */
	for (i = 0; i < 1000; i++) {
		if (i % 10 == 7)
			loop_timer_cancel(&a[i].timer);
		if (i % 10 == 8)
			set(&a[i], 5);
	}
	assert_true(loop_poll(loop, false));
	for (i = 0; i < 1000; i++)
		fired += a[i].fired;
	assert_int_equal(fired, 800);
	for (i = 9; i < 1000; i += 10) {
		assert_int_equal(a[i].fired, 0);
		loop_timer_cancel(&a[i].timer);
	}
	loop_notify(loop);
	assert_false(loop_poll(loop, true));
}

static void rearming_cannot_starve(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock a, b;
	int i;

	alarm_init(&a, loop, LOOP_MONOTONIC);
	alarm_init(&b, loop, LOOP_MONOTONIC);
	a.rearm_ns = -5; /* always due, and before b */
	set(&a, -5);
	set(&b, 1);
	for (i = 1; i <= 3; i++) {
		assert_true(loop_poll(loop, true));
		assert_int_equal(a.fired, i);
		assert_int_equal(b.fired, 1);
	}
	loop_timer_cancel(&a.timer);
}

static void batch_can_change(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock a, b, c;

	alarm_init(&a, loop, LOOP_MONOTONIC);
	alarm_init(&b, loop, LOOP_MONOTONIC);
	alarm_init(&c, loop, LOOP_MONOTONIC);
	a.cancel = &b;
	a.set_past = &c;
	set(&a, 1);
	set(&b, 2);
	set(&c, 3);
	assert_true(loop_poll(loop, false));
	assert_int_equal(a.fired, 1);
	assert_int_equal(b.fired, 0); /* cancelled though due */
	assert_int_equal(c.fired, 0); /* moved, to the next turn */
	assert_true(loop_poll(loop, false));
	assert_int_equal(c.fired, 1);
	assert_false(loop_poll(loop, false));
}

static void cancel_and_move(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock a, b;

	alarm_init(&a, loop, LOOP_MONOTONIC);
	alarm_init(&b, loop, LOOP_REALTIME);
	loop_timer_cancel(&a.timer); /* harmless */
	set(&a, 1);
	set(&b, 1);
	loop_timer_cancel(&a.timer);
	set(&b, FAR);
	assert_false(loop_poll(loop, false));
	set(&b, 1);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.fired, 0);
	assert_int_equal(b.fired, 1);
}

static void nested(void *opaque)
{
	struct alarm_clock *a = opaque;

	on_alarm(a);
	a->rearm_ns = 0;
	loop_poll(a->loop, false);
	/* Inside: the rest of the batch, then itself once more. */
	assert_int_equal(a->nth, 3);
}

static void nested_poll_runs_rest_of_batch(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock a, b;
	int order = 0;

	alarm_init(&a, loop, LOOP_MONOTONIC);
	alarm_init(&b, loop, LOOP_MONOTONIC);
	a.timer.fn = nested;
	a.order = b.order = &order;
	a.rearm_ns = 1;
	set(&a, 1);
	set(&b, 2);
	assert_true(loop_poll(loop, false));
	assert_int_equal(b.nth, 2);
	assert_int_equal(a.fired, 2);
	assert_false(loop_poll(loop, false));
}

static void virtual_clock_stops(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock v, m;
	int64_t stopped;

	alarm_init(&v, loop, LOOP_VIRTUAL);
	alarm_init(&m, loop, LOOP_MONOTONIC);
	loop_virtual_stop(loop);
	loop_virtual_stop(loop);
	stopped = loop_now_ns(loop, LOOP_VIRTUAL);
	set(&v, stopped + MS);
	set(&m, loop_now_ns(loop, LOOP_MONOTONIC) + 2 * MS);
	/* The wait is for m alone; more than v's time passes. */
	assert_true(loop_poll(loop, true));
	assert_int_equal(m.fired, 1);
	assert_int_equal(v.fired, 0);
	assert_int_equal(loop_now_ns(loop, LOOP_VIRTUAL), stopped);
	loop_virtual_start(loop); /* counted: still stopped */
	assert_int_equal(loop_now_ns(loop, LOOP_VIRTUAL), stopped);
	/* Due, but a paused VM's timers do not fire. */
	loop_virtual_set_ns(loop, stopped + 5 * MS);
	assert_false(loop_poll(loop, false));
	loop_virtual_set_ns(loop, stopped);
	loop_virtual_start(loop);
	assert_true(loop_poll(loop, true));
	assert_int_equal(v.fired, 1);
	assert_true(loop_now_ns(loop, LOOP_VIRTUAL) >= stopped + MS);
}

static void virtual_clock_is_set(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock v;
	int64_t first = loop_now_ns(loop, LOOP_VIRTUAL);

	assert_true(first >= 0);
	alarm_init(&v, loop, LOOP_VIRTUAL);
	set(&v, 1000000 * MS);
	loop_virtual_stop(loop);
	loop_virtual_set_ns(loop, 2000000 * MS);
	loop_virtual_start(loop);
	assert_true(loop_now_ns(loop, LOOP_VIRTUAL) >= 2000000 * MS);
	assert_true(loop_poll(loop, true));
	assert_int_equal(v.fired, 1);
}

static void earliest_clock_bounds_wait(void **state)
{
	struct loop *loop = fixture_loop(state);
	enum loop_clock early, late;
	struct alarm_clock a, b;

	/* Two at a time: the wall clock alone would bound every wait. */
	for (early = 0; early < LOOP_CLOCKS; early++) {
		for (late = 0; late < LOOP_CLOCKS; late++) {
			alarm_init(&a, loop, early);
			alarm_init(&b, loop, late);
			set(&b, FAR);
			set(&a, loop_now_ns(loop, early) + MS / 4);
			while (a.fired == 0)
				loop_poll(loop, true);
			assert_int_equal(b.fired, 0);
			loop_timer_cancel(&b.timer);
		}
	}
}

static void extreme_deadlines(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct alarm_clock past, never;

	alarm_init(&past, loop, LOOP_MONOTONIC);
	alarm_init(&never, loop, LOOP_VIRTUAL);
	set(&past, INT64_MIN);
	set(&never, INT64_MAX);
	assert_true(loop_poll(loop, true));
	assert_int_equal(past.fired, 1);
	loop_notify(loop);
	assert_false(loop_poll(loop, true));
	assert_int_equal(never.fired, 0);
	loop_timer_cancel(&never.timer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a timer of each clock fires once, never early",
			fires_not_early),
		ON_ALL("a blocking poll lasts until the timer fires",
			blocking_poll_waits_for_timer),
		ON_ONE("timers fire by deadline, ties in start order",
			deadline_then_start_order),
		ON_ONE("a thousand random sets and cancels keep the order",
			heap_keeps_order),
		ON_ONE("a large batch leaves the rest armed",
			large_batch_leaves_the_rest),
		ON_ONE("a callback that re-arms itself cannot starve the turn",
			rearming_cannot_starve),
		ON_ONE("a callback may cancel or move another due timer",
			batch_can_change),
		ON_ONE("a timer can be cancelled and moved", cancel_and_move),
		ON_ONE("a nested poll runs the rest of the batch",
			nested_poll_runs_rest_of_batch),
		ON_ALL("the virtual clock stops, and loses no timer",
			virtual_clock_stops),
		ON_ONE("the virtual clock can be set while stopped",
			virtual_clock_is_set),
		ON_ALL("the wait ends at the earliest deadline of all clocks",
			earliest_clock_bounds_wait),
		ON_ALL("extreme deadlines overflow nothing", extreme_deadlines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
