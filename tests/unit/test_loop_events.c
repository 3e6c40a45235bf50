/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_events.c - the trace of a loop, and replaying one. */
#include "tests/unit/test_loop_common.h"

#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include "loop/trace.h"
#include "loop/uring.h"

struct cast {
	struct loop *loop;
	struct loop_bh *bh[3];
	struct loop_fd *h[2];
	struct loop_timer timer;
	int fd[2];
	char text[64];
};

static void tell(struct cast *c, char letter)
{
	c->text[strlen(c->text)] = letter;
}

static void say_0(void *opaque)
{
	tell(opaque, '0');
}

static void say_1(void *opaque)
{
	tell(opaque, '1');
}

static void say_2(void *opaque)
{
	tell(opaque, '2');
}

static bool say_x(void *opaque, unsigned ready)
{
	struct cast *c = opaque;

	tell(c, 'x');
	return drain_fd(c->fd[0]);
}

static bool say_y(void *opaque, unsigned ready)
{
	struct cast *c = opaque;

	tell(c, 'y');
	return drain_fd(c->fd[1]);
}

static void say_t(void *opaque)
{
	tell(opaque, 't');
}

static void cast_open(struct cast *c, struct loop *loop)
{
	static loop_bh_fn *const says[3] = {say_0, say_1, say_2};
	static const char *const names[3] = {"zero", "one", "two"};
	int i;

	*c = (struct cast){.loop = loop};
	for (i = 0; i < 3; i++)
		assert_int_equal(loop_bh_create(loop, says[i], c, names[i],
					 NULL, &c->bh[i]),
			0);
	for (i = 0; i < 2; i++) {
		c->fd[i] = new_eventfd(0);
		assert_int_equal(loop_fd_add(loop, c->fd[i], LOOP_READ, 0,
					 i ? say_y : say_x, c,
					 i ? "fd y" : "fd x", &c->h[i]),
			0);
	}
	loop_timer_init(&c->timer, loop, LOOP_MONOTONIC, say_t, c);
}

static void cast_close(struct cast *c)
{
	int i;

	for (i = 0; i < 3; i++)
		loop_bh_delete(c->bh[i]);
	for (i = 0; i < 2; i++) {
		loop_fd_del(c->h[i]);
		close(c->fd[i]);
	}
	loop_timer_cancel(&c->timer);
}

static void events_are_recorded(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_event e;
	struct cast c;

	assert_int_equal(loop_trace_start(loop, 0), -EINVAL);
	assert_false(loop_trace_get(loop, 0, &e));
	assert_int_equal(loop_trace_start(loop, 50), 0);
	assert_false(loop_trace_get(loop, 0, &e));
	cast_open(&c, loop);
	loop_bh_schedule(c.bh[1]);
	raise_fd(c.fd[1]);
	loop_timer_set(&c.timer, 7);
	loop_notify(loop);
	assert_true(loop_poll(loop, true));
	assert_true(loop_trace_get(loop, 0, &e));
	assert_int_equal(e.kind, LOOP_EVENT_TIMER);
	assert_int_equal(e.value, 7);
	assert_true(loop_trace_get(loop, 1, &e));
	assert_int_equal(e.kind, LOOP_EVENT_FD);
	assert_int_equal(e.value, LOOP_READ);
	assert_string_equal(e.name, "fd y");
	assert_true(loop_trace_get(loop, 2, &e));
	assert_int_equal(e.kind, LOOP_EVENT_BH);
	assert_string_equal(e.name, "one");
	assert_true(e.time_ns > 0);
	assert_true(e.time_ns <= loop_now_ns(loop, LOOP_MONOTONIC));
	cast_close(&c);
}

static void *wake_sleeper(void *opaque)
{
	await_sleep(opaque);
	loop_notify(opaque);
	return NULL;
}

static void waits_are_recorded(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_event e;
	pthread_t thread;

	assert_int_equal(loop_trace_start(loop, 4), 0);
	pthread_create(&thread, NULL, wake_sleeper, loop);
	loop_poll(loop, true);
	pthread_join(thread, NULL);
	assert_true(loop_trace_get(loop, 0, &e));
	assert_int_equal(e.kind, LOOP_EVENT_WOKEN);
	assert_true(loop_trace_get(loop, 1, &e));
	assert_int_equal(e.kind, LOOP_EVENT_WAIT);
	assert_int_equal(e.value, -1);
	/* Nothing else but waits that the kernel interrupted. */
	assert_true(!loop_trace_get(loop, 2, &e) || e.kind == LOOP_EVENT_WAIT);
}

static void old_events_make_room(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_event e;
	struct cast c;
	int i;

	cast_open(&c, loop);
	assert_int_equal(loop_trace_start(loop, 3), 0); /* so 4 */
	for (i = 0; i < 10; i++) {
		loop_bh_schedule(c.bh[i % 3]);
		loop_poll(loop, false);
	}
	assert_true(loop_trace_get(loop, 3, &e));
	assert_string_equal(e.name, "zero"); /* i == 6 */
	assert_false(loop_trace_get(loop, 4, &e));
	loop_trace_stop(loop);
	assert_false(loop_trace_get(loop, 0, &e));
	loop_bh_schedule(c.bh[0]);
	assert_true(loop_poll(loop, false));
	cast_close(&c);
}

static const struct loop *dump_loop;
static int dump_fd;

static void on_crash(int sig)
{
	(void)sig;
	loop_trace_dump(dump_loop, dump_fd);
}

static void crash(void *opaque)
{
	raise(SIGUSR1);
}

static void dump_from_a_signal_handler(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct sigaction act = {.sa_handler = on_crash}, old;
	char text[512] = "", *second;
	long long when;
	int value;
	char kind[16], name[32];

	dump_loop = loop;
	dump_fd = memfd_create("dump", MFD_CLOEXEC);
	loop_trace_dump(loop, dump_fd); /* off: nothing */
	assert_int_equal(pread(dump_fd, text, sizeof(text), 0), 0);
	assert_int_equal(loop_trace_start(loop, 8), 0);
	sigaction(SIGUSR1, &act, &old);
	loop_bh_oneshot(loop, count_call, &(int){0}, "first");
	loop_bh_oneshot(loop, crash, NULL,
		"a name that is longer than there is room for");
	loop_poll(loop, false);
	sigaction(SIGUSR1, &old, NULL);
	assert_true(pread(dump_fd, text, sizeof(text) - 1, 0) > 0);
	assert_int_equal(
		sscanf(text, "%lld %15s %d %31s", &when, kind, &value, name),
		4);
	assert_true(when > 0);
	assert_string_equal(kind, "bh");
	assert_string_equal(name, "first");
	second = strchr(text, '\n') + 1;
	assert_non_null(strstr(second, " bh 0 a name that is longer t\n"));
	close(dump_fd);
}

/* ---- replay ---- */

static void replay_forces_the_order(void **state)
{
	struct loop *loop = fixture_loop(state);
	const struct loop_step steps[] = {
		{LOOP_EVENT_TIMER, NULL},
		{LOOP_EVENT_FD, "fd y"},
		{LOOP_EVENT_BH, "two"},
		{LOOP_EVENT_FD, "fd x"},
		{LOOP_EVENT_BH, "zero"},
	};
	struct cast c;
	int i;

	cast_open(&c, loop);
	loop_replay_start(loop, steps, 5);
	for (i = 0; i < 3; i++)
		loop_bh_schedule(c.bh[i]);
	raise_fd(c.fd[0]);
	raise_fd(c.fd[1]);
	assert_false(loop_poll(loop, false)); /* the timer's turn */
	assert_int_equal(loop_replay_left(loop), 5);
	loop_timer_set(&c.timer, 1);
	while (loop_replay_left(loop) > 0)
		assert_true(loop_poll(loop, true));
	assert_string_equal(c.text, "ty2x0");
	/* Used up: what was held back follows as usual. */
	assert_true(loop_poll(loop, true));
	assert_string_equal(c.text, "ty2x01");
	assert_false(loop_poll(loop, false));
	cast_close(&c);
}

static void poll_again(void *opaque)
{
	struct cast *c = opaque;

	tell(c, '(');
	assert_true(loop_poll(c->loop, true));
	tell(c, ')');
}

static void replay_goes_on_in_nested_polls(void **state)
{
	struct loop *loop = fixture_loop(state);
	const struct loop_step steps[] = {
		{LOOP_EVENT_BH, "nest"},
		{LOOP_EVENT_BH, "one"},
		{LOOP_EVENT_BH, "zero"},
	};
	struct cast c;

	cast_open(&c, loop);
	loop_replay_start(loop, steps, 3);
	loop_bh_schedule(c.bh[0]);
	loop_bh_schedule(c.bh[1]);
	loop_bh_oneshot(loop, poll_again, &c, "nest");
	assert_true(loop_poll(loop, true));
	assert_string_equal(c.text, "(10)");
	cast_close(&c);
}

/* A recorded run, replayed on fresh actors, is the same run. */
static void a_trace_can_be_replayed(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_event e[16];
	struct loop_step steps[16];
	size_t n = 0, i;
	struct cast a, b;

	cast_open(&a, loop);
	loop_trace_start(loop, 16);
	loop_bh_schedule(a.bh[2]);
	loop_poll(loop, false);
	raise_fd(a.fd[1]);
	loop_timer_set(&a.timer, 1);
	loop_poll(loop, false);
	loop_bh_schedule(a.bh[1]);
	raise_fd(a.fd[0]);
	loop_poll(loop, false);
	while (loop_trace_get(loop, n, &e[n]))
		n++;
	for (i = 0; i < n; i++)
		steps[i] = (struct loop_step){
			e[n - 1 - i].kind, e[n - 1 - i].name};
	cast_close(&a);
	loop_trace_stop(loop);

	cast_open(&b, loop);
	loop_replay_start(loop, steps, n);
	raise_fd(b.fd[0]); /* all at once, in another order */
	raise_fd(b.fd[1]);
	loop_bh_schedule(b.bh[1]);
	loop_bh_schedule(b.bh[2]);
	loop_timer_set(&b.timer, 1);
	while (loop_replay_left(loop) > 0)
		loop_poll(loop, true);
	assert_string_equal(b.text, a.text);
	assert_string_equal(a.text, "2yt1x");
	cast_close(&b);
}

struct reading {
	struct loop_op op;
	struct cast *cast;
	char letter;
};

static void read_done(void *opaque, int32_t res)
{
	struct reading *r = opaque;

	tell(r->cast, r->letter);
}

static void operations_replay_in_turn(void **state)
{
	struct loop *loop = fixture_loop(state);
	const struct loop_step steps[] = {
		{LOOP_EVENT_BH, "zero"},
		{LOOP_EVENT_OP, NULL},
		{LOOP_EVENT_BH, "one"},
	};
	struct reading r;
	struct cast c;

	if (!loop_uring_available(loop))
		skip();
	cast_open(&c, loop);
	r.cast = &c;
	r.letter = 'r';
	loop_op_init(&r.op, loop, read_done, &r);
	io_uring_prep_nop(loop_uring_prep(&r.op));
	loop_replay_start(loop, steps, 3);
	loop_bh_schedule(c.bh[1]);
	assert_false(loop_poll(loop, false));
	loop_bh_schedule(c.bh[0]);
	while (loop_replay_left(loop) > 0)
		loop_poll(loop, true);
	assert_string_equal(c.text, "0r1");
	cast_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("callbacks are recorded by kind, name and value",
			events_are_recorded),
		ON_ALL("waits and wake-ups are recorded", waits_are_recorded),
		ON_ONE("new events replace the oldest", old_events_make_room),
		ON_ONE("a signal handler can dump the trace",
			dump_from_a_signal_handler),
		ON_ALL("replay forces the order of callbacks",
			replay_forces_the_order),
		ON_ALL("replay goes on in nested polls",
			replay_goes_on_in_nested_polls),
		ON_ALL("a recorded trace can be replayed",
			a_trace_can_be_replayed),
		WITH(LOOP_URING, "operations are replayed in turn",
			operations_replay_in_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
