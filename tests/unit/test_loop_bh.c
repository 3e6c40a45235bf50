/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_bh.c - bottom halves: L5 and the L3 races on them. */
#include "tests/unit/test_loop_common.h"

#include <pthread.h>

/* Callbacks write their letter here. */
struct story {
	struct loop *loop;
	struct loop_bh *a, *b, *c;
	char text[64];
};

static void tell(struct story *s, char letter)
{
	size_t len = strlen(s->text);

	assert_true(len + 1 < sizeof(s->text));
	s->text[len] = letter;
}

static void say_a(void *opaque)
{
	tell(opaque, 'a');
}

static void say_b(void *opaque)
{
	tell(opaque, 'b');
}

static void say_c(void *opaque)
{
	tell(opaque, 'c');
}

static struct loop_bh *new_bh(
	struct story *s, loop_bh_fn *fn, struct loop_guard *guard)
{
	struct loop_bh *bh = NULL;

	assert_int_equal(loop_bh_create(s->loop, fn, s, "bh", guard, &bh), 0);
	return bh;
}

static void runs_once_in_order(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, say_a, NULL);
	s.b = new_bh(&s, say_b, NULL);
	loop_bh_schedule(s.b);
	loop_bh_schedule(s.a);
	loop_bh_schedule(s.b);
	assert_true(loop_poll(s.loop, true));
	assert_string_equal(s.text, "ba");
	assert_false(loop_poll(s.loop, false));
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
}

static void schedule_b_and_self(void *opaque)
{
	struct story *s = opaque;

	tell(s, 'a');
	loop_bh_schedule(s->b);
	if (strlen(s->text) < 5)
		loop_bh_schedule(s->a);
}

static void scheduled_from_bh_runs_next_poll(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, schedule_b_and_self, NULL);
	s.b = new_bh(&s, say_b, NULL);
	loop_bh_schedule(s.a);
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "a");
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "aba");
	assert_true(loop_poll(s.loop, true));
	assert_string_equal(s.text, "ababa");
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "ababab");
	assert_false(loop_poll(s.loop, false));
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
}

/* First of a slice a, b: schedules c and polls, so b and c run inside. */
static void nest(void *opaque)
{
	struct story *s = opaque;

	tell(s, '(');
	loop_bh_schedule(s->c);
	assert_true(loop_poll(s->loop, true));
	tell(s, ')');
}

static void nested_poll_takes_outer_slice(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, nest, NULL);
	s.b = new_bh(&s, say_b, NULL);
	s.c = new_bh(&s, say_c, NULL);
	loop_bh_schedule(s.a);
	loop_bh_schedule(s.b);
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "(bc)");
	assert_false(loop_poll(s.loop, false));
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
	loop_bh_delete(s.c);
}

/* A nested poll that schedules again what the outer slice still holds. */
static void nest_twice(void *opaque)
{
	struct story *s = opaque;

	tell(s, '(');
	if (strlen(s->text) < 4) {
		loop_bh_schedule(s->a);
		loop_bh_schedule(s->b);
		loop_poll(s->loop, false);
	}
	tell(s, ')');
}

static void nested_polls_chain(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, nest_twice, NULL);
	s.b = new_bh(&s, say_b, NULL);
	s.c = new_bh(&s, say_c, NULL);
	loop_bh_schedule(s.a);
	loop_bh_schedule(s.c);
	assert_true(loop_poll(s.loop, false));
	/* c was scheduled before the nested poll, so it runs there, first. */
	assert_string_equal(s.text, "(c(b()))");
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
	loop_bh_delete(s.c);
}

static void delete_self(void *opaque)
{
	struct story *s = opaque;

	tell(s, 'a');
	loop_bh_schedule(s->a); /* in vain */
	loop_bh_delete(s->a);
	s->a = NULL;
	assert_false(loop_poll(s->loop, false)); /* may free it under us */
	tell(s, '!');
}

static void delete_from_own_callback(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, delete_self, NULL);
	loop_bh_schedule(s.a);
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "a!");
	assert_false(loop_poll(s.loop, false));
}

static void deleted_never_runs(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, say_a, NULL);
	loop_bh_schedule(s.a);
	loop_bh_delete(s.a);
	assert_false(loop_poll(s.loop, false));
	s.b = new_bh(&s, say_b, NULL);
	loop_bh_delete(s.b); /* never polled: loop_destroy() frees it */
	loop_bh_delete(NULL);
	assert_string_equal(s.text, "");
}

static void cancelled_does_not_run(void **state)
{
	struct story s = {.loop = fixture_loop(state)};
	struct loop_stats st;

	s.a = new_bh(&s, say_a, NULL);
	s.b = new_bh(&s, say_b, NULL);
	loop_bh_cancel(s.a); /* harmless */
	loop_bh_schedule(s.a);
	loop_bh_cancel(s.a);
	assert_false(loop_poll(s.loop, false));
	loop_bh_schedule(s.b);
	loop_bh_schedule(s.a);
	loop_bh_cancel(s.b);
	loop_bh_schedule(s.b);
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "ba");
	/* Cancelled ones must not keep a poll from blocking. */
	loop_bh_schedule(s.a);
	loop_bh_schedule(s.b);
	loop_bh_cancel(s.a);
	loop_bh_cancel(s.b);
	loop_notify(s.loop);
	assert_false(loop_poll(s.loop, true));
	loop_stats(s.loop, &st);
	assert_int_equal(st.bhs_run, 2);
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
}

static _Atomic bool notified;

static void *notify_sleeper(void *opaque)
{
	struct loop *loop = opaque;

	await_sleep(loop);
	atomic_store(&notified, true);
	loop_notify(loop);
	return NULL;
}

static void cancelled_does_not_end_a_wait(void **state)
{
	struct story s = {.loop = fixture_loop(state)};
	pthread_t thread;

	s.a = new_bh(&s, say_a, NULL);
	s.b = new_bh(&s, say_b, NULL);
	loop_bh_schedule(s.a);
	loop_bh_cancel(s.a);
	loop_bh_delete(s.b);
	atomic_store(&notified, false);
	pthread_create(&thread, NULL, notify_sleeper, s.loop);
	assert_false(loop_poll(s.loop, true));
	assert_true(atomic_load(&notified)); /* nothing else ended it */
	pthread_join(thread, NULL);
	loop_bh_delete(s.a);
}

static void cancel_b(void *opaque)
{
	struct story *s = opaque;

	tell(s, 'a');
	loop_bh_cancel(s->b);
}

static void cancel_within_slice(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	s.a = new_bh(&s, cancel_b, NULL);
	s.b = new_bh(&s, say_b, NULL);
	loop_bh_schedule(s.a);
	loop_bh_schedule(s.b);
	assert_true(loop_poll(s.loop, false));
	assert_string_equal(s.text, "a");
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
}

static void oneshot_runs_once(void **state)
{
	struct story s = {.loop = fixture_loop(state)};

	assert_int_equal(loop_bh_oneshot(s.loop, say_a, &s, "one"), 0);
	assert_true(loop_poll(s.loop, true));
	assert_false(loop_poll(s.loop, false));
	assert_string_equal(s.text, "a");
	/* One that never runs is freed with the loop. */
	assert_int_equal(loop_bh_oneshot(s.loop, say_b, &s, "two"), 0);
}

/* ---- guard ---- */

struct device {
	struct story story;
	struct loop_guard guard;
};

static void enter_device(void *opaque)
{
	struct story *s = opaque;
	struct device *d = (struct device *)s;

	tell(s, '(');
	assert_true(d->guard.busy); /* set by the loop: a's guard */
	loop_bh_schedule(s->b);	    /* same device */
	loop_bh_schedule(s->c);	    /* another */
	assert_true(loop_poll(s->loop, true));
	tell(s, ')');
}

static void guard_defers(void **state)
{
	struct device d = {.story.loop = fixture_loop(state)};
	struct story *s = &d.story;

	s->a = new_bh(s, enter_device, &d.guard);
	s->b = new_bh(s, say_b, &d.guard);
	s->c = new_bh(s, say_c, NULL);
	loop_bh_schedule(s->a);
	assert_true(loop_poll(s->loop, false));
	assert_string_equal(s->text, "(c)");
	assert_false(d.guard.busy);
	assert_true(loop_poll(s->loop, true)); /* did not wait: b was ready */
	assert_string_equal(s->text, "(c)b");
	loop_bh_delete(s->a);
	loop_bh_delete(s->b);
	loop_bh_delete(s->c);
}

static void guarded_keeps_place(void **state)
{
	struct device d = {.story.loop = fixture_loop(state)};
	struct story *s = &d.story;

	s->a = new_bh(s, say_a, &d.guard);
	s->b = new_bh(s, say_b, &d.guard);
	s->c = new_bh(s, say_c, NULL);
	d.guard.busy = true;
	loop_bh_schedule(s->a);
	loop_bh_schedule(s->b);
	assert_false(loop_poll(s->loop, false));
	/* It blocks while nothing can run: only the notify ends it. */
	loop_notify(s->loop);
	assert_false(loop_poll(s->loop, true));
	d.guard.busy = false;
	loop_bh_schedule(s->c);
	loop_bh_schedule(s->a); /* is scheduled already */
	assert_true(loop_poll(s->loop, true));
	assert_string_equal(s->text, "abc");
	loop_bh_delete(s->a);
	loop_bh_delete(s->b);
	loop_bh_delete(s->c);
}

static void guarded_can_be_dropped(void **state)
{
	struct device d = {.story.loop = fixture_loop(state)};
	struct story *s = &d.story;

	s->a = new_bh(s, say_a, &d.guard);
	s->b = new_bh(s, say_b, &d.guard);
	d.guard.busy = true;
	loop_bh_schedule(s->a);
	loop_bh_schedule(s->b);
	assert_false(loop_poll(s->loop, false));
	loop_bh_delete(s->a);
	loop_bh_cancel(s->b);
	assert_false(loop_poll(s->loop, false));
	/* At once: a guard may go with its device, once its bh is deleted. */
	assert_null(s->loop->bh_guarded.head);
	d.guard.busy = false;
	assert_false(loop_poll(s->loop, false));
	loop_bh_schedule(s->b);
	assert_true(loop_poll(s->loop, false));
	assert_string_equal(s->text, "b");
	loop_bh_delete(s->b);
}

/* ---- the gap of a push under way ---- */

static void gap_is_not_waited_for(void **state)
{
	struct story s = {.loop = fixture_loop(state)};
	struct loop_bh *const linking = (struct loop_bh *)1;
	struct loop_bh *older;

	s.a = new_bh(&s, say_a, NULL);
	s.b = new_bh(&s, say_b, NULL);
	s.c = new_bh(&s, say_c, NULL);
	loop_bh_schedule(s.a);
	/* A thread stopped after its exchange, before its link: by hand. */
	atomic_store(&s.b->flags, 1 | 2);
	atomic_store(&s.b->next, linking);
	older = atomic_exchange(&s.loop->incoming, s.b);
	assert_ptr_equal(older, s.a);
	loop_bh_schedule(s.c);
	assert_false(loop_poll(s.loop, false));
	loop_notify(s.loop);
	assert_false(loop_poll(s.loop, true));
	loop_bh_schedule(s.a); /* pending: changes nothing */
	assert_false(loop_poll(s.loop, false));
	/* The thread goes on. */
	atomic_store(&s.b->next, older);
	loop_wake(s.loop);
	assert_true(loop_poll(s.loop, true));
	assert_string_equal(s.text, "abc");
	loop_bh_delete(s.a);
	loop_bh_delete(s.b);
	loop_bh_delete(s.c);
}

/* ---- loop_run_sync ---- */

struct remote {
	struct loop *loop;
	struct loop *ran_on;
	int runs;
	_Atomic bool stop;
};

static void run_remotely(void *opaque)
{
	struct remote *r = opaque;

	r->ran_on = loop_current();
	r->runs++;
}

static void *call_loop(void *opaque)
{
	struct remote *r = opaque;
	int i;

	for (i = 1; i <= 1000; i++) {
		assert_int_equal(
			loop_run_sync(r->loop, run_remotely, r, "sync"), 0);
		assert_int_equal(r->runs, i); /* it has returned */
		assert_ptr_equal(r->ran_on, r->loop);
	}
	atomic_store(&r->stop, true);
	loop_notify(r->loop);
	return NULL;
}

static void run_sync_waits(void **state)
{
	struct remote r = {.loop = fixture_loop(state)};
	pthread_t thread;

	loop_adopt(r.loop);
	assert_int_equal(loop_run_sync(r.loop, run_remotely, &r, "sync"), 0);
	assert_int_equal(r.runs, 1); /* home: at once, without a poll */
	r.runs = 0;
	pthread_create(&thread, NULL, call_loop, &r);
	while (!atomic_load(&r.stop))
		loop_poll(r.loop, true);
	pthread_join(thread, NULL);
	assert_int_equal(r.runs, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a bottom half runs once, in the order of scheduling",
			runs_once_in_order),
		ON_ALL("a bottom half scheduled from one runs in the next "
		       "poll",
			scheduled_from_bh_runs_next_poll),
		ON_ALL("a nested poll runs what was scheduled before it",
			nested_poll_takes_outer_slice),
		ON_ALL("slices of nested polls chain", nested_polls_chain),
		ON_ALL("a bottom half may delete itself",
			delete_from_own_callback),
		ON_ALL("a deleted bottom half never runs", deleted_never_runs),
		ON_ALL("a cancelled bottom half does not run",
			cancelled_does_not_run),
		ON_ALL("a cancelled or deleted one does not end a wait",
			cancelled_does_not_end_a_wait),
		ON_ONE("a bottom half may cancel a later one of its slice",
			cancel_within_slice),
		ON_ONE("a oneshot runs once and is freed", oneshot_runs_once),
		ON_ONE("a guard keeps a device's bottom half out while the "
		       "device is in one",
			guard_defers),
		ON_ONE("a guarded bottom half stays scheduled and keeps its "
		       "place",
			guarded_keeps_place),
		ON_ONE("a guarded bottom half can be deleted and cancelled",
			guarded_can_be_dropped),
		ON_ONE("a push under way delays the rest but blocks nobody",
			gap_is_not_waited_for),
		ON_ALL("loop_run_sync runs at home and waits for the end",
			run_sync_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
