/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_fd.c - fd handlers on every back end: L6, L7, L8. */
#include "tests/unit/test_loop_common.h"

#include <fcntl.h>
#include <pthread.h>

#define MANY 40

/* One watched eventfd (or other fd) and what befell it. */
struct source {
	struct loop *loop;
	struct loop_fd *handler;
	int fd;
	int calls;
	unsigned ready;	       /* of the last call */
	bool keep;	       /* leave it readable */
	bool idle;	       /* claim no progress */
	struct source *victim; /* removed by the callback */
	int victims;
	int *order; /* shared: next number */
	int nth;
};

static void source_close(struct source *s)
{
	loop_fd_del(s->handler);
	s->handler = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static bool on_ready(void *opaque, unsigned ready)
{
	struct source *s = opaque;
	int i;

	s->calls++;
	s->ready = ready;
	if (s->order)
		s->nth = ++*s->order;
	if (!s->keep)
		drain_fd(s->fd);
	for (i = 0; i < s->victims; i++)
		source_close(&s->victim[i]);
	return !s->idle;
}

static void source_open(
	struct source *s, struct loop *loop, unsigned count, unsigned flags)
{
	*s = (struct source){.loop = loop, .fd = new_eventfd(count)};
	assert_int_equal(loop_fd_add(loop, s->fd, LOOP_READ, flags, on_ready, s,
				 "source", &s->handler),
		0);
}

static void ready_fd_is_dispatched(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a, b;
	struct loop_stats st;

	source_open(&a, loop, 0, 0);
	source_open(&b, loop, 0, 0);
	assert_false(loop_poll(loop, false));
	raise_fd(b.fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.calls, 0);
	assert_int_equal(b.calls, 1);
	assert_int_equal(b.ready, LOOP_READ);
	assert_false(loop_poll(loop, false));
	assert_int_equal(b.calls, 1);
	loop_stats(loop, &st);
	assert_int_equal(st.fds_run, 1);
	source_close(&a);
	source_close(&b);
}

static void level_triggered(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a;
	int i;

	source_open(&a, loop, 1, 0);
	a.keep = true;
	for (i = 1; i <= 3; i++) {
		assert_true(loop_poll(loop, true));
		assert_int_equal(a.calls, i);
	}
	a.keep = false;
	assert_true(loop_poll(loop, true));
	assert_false(loop_poll(loop, false));
	assert_int_equal(a.calls, 4);
	source_close(&a);
}

static void no_progress_if_handler_says_so(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a;

	source_open(&a, loop, 1, 0);
	a.idle = true;
	assert_false(loop_poll(loop, true));
	assert_int_equal(a.calls, 1);
	source_close(&a);
}

static void events_can_change(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a;

	source_open(&a, loop, 1, 0);
	a.keep = true;
	assert_int_equal(loop_fd_set(a.handler, 0), 0);
	assert_false(loop_poll(loop, false));
	assert_int_equal(loop_fd_set(a.handler, LOOP_WRITE), 0);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.ready, LOOP_WRITE);
	assert_int_equal(loop_fd_set(a.handler, LOOP_READ | LOOP_WRITE), 0);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.ready, LOOP_READ | LOOP_WRITE);
	assert_int_equal(loop_fd_set(a.handler, LOOP_READ), 0);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.ready, LOOP_READ);
	source_close(&a);
}

static void hang_up_is_reported(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a = {.loop = loop, .keep = true};
	int pipefd[2];

	assert_int_equal(pipe2(pipefd, O_CLOEXEC | O_NONBLOCK), 0);
	a.fd = pipefd[0];
	assert_int_equal(
		loop_fd_add(loop, a.fd, 0, 0, on_ready, &a, "pipe", &a.handler),
		0);
	assert_int_equal(write(pipefd[1], "x", 1), 1);
	assert_false(loop_poll(loop, false)); /* reading was not asked for */
	close(pipefd[1]);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.ready, LOOP_ERROR);
	assert_int_equal(loop_fd_set(a.handler, LOOP_READ), 0);
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.ready, LOOP_READ | LOOP_ERROR);
	source_close(&a);
}

static void registration_order(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source s[MANY];
	int i, round, next;

	for (i = 0; i < MANY; i++)
		source_open(&s[i], loop, 0, 0);
	for (round = 0; round < 2; round++) {
		for (i = 0, next = 0; i < MANY; i++) {
			s[i].order = &next;
			/* Made ready in another order: 0 27 14 1 28 .. */
			raise_fd(s[i * 27 % MANY].fd);
		}
		assert_true(loop_poll(loop, true));
		for (i = 0; i < MANY; i++) {
			assert_int_equal(s[i].calls, round + 1);
			assert_int_equal(s[i].nth, i + 1);
		}
	}
	for (i = 0; i < MANY; i++)
		source_close(&s[i]);
}

/* ---- L7 ---- */

static void remove_self(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a;

	source_open(&a, loop, 1, 0);
	a.keep = true;
	a.victim = &a;
	a.victims = 1;
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.calls, 1);
	assert_false(loop_poll(loop, false));
	assert_int_equal(a.calls, 1);
	loop_fd_del(NULL);
}

static void remove_all_others(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source s[MANY];
	int i;

	for (i = 0; i < MANY; i++)
		source_open(&s[i], loop, 1, 0);
	/* The first to run takes all the others with it. */
	s[0].victim = &s[1];
	s[0].victims = MANY - 1;
	assert_true(loop_poll(loop, true));
	assert_int_equal(s[0].calls, 1);
	for (i = 1; i < MANY; i++)
		assert_int_equal(s[i].calls, 0);
	assert_false(loop_poll(loop, false));
	source_close(&s[0]);
}

static bool replace_second(void *opaque, unsigned ready)
{
	struct source *s = opaque;
	int fd = s[1].fd;

	drain_fd(s->fd);
	source_close(&s[1]);
	source_open(&s[1], s->loop, 0, 0);
	assert_int_equal(s[1].fd, fd); /* the number is used again */
	return true;
}

static void reused_fd_number(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source s[2];

	s[0] = (struct source){.loop = loop, .fd = new_eventfd(1)};
	assert_int_equal(loop_fd_add(loop, s[0].fd, LOOP_READ, 0,
				 replace_second, s, "first", &s[0].handler),
		0);
	source_open(&s[1], loop, 1, 0); /* ready too, in the same batch */
	assert_true(loop_poll(loop, true));
	/* The new one is not ready: the old one's event is not its. */
	assert_int_equal(s[1].calls, 0);
	assert_false(loop_poll(loop, false));
	raise_fd(s[1].fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(s[1].calls, 1);
	source_close(&s[0]);
	source_close(&s[1]);
}

static bool remove_next_and_poll(void *opaque, unsigned ready)
{
	struct source *s = opaque;

	s->calls++;
	drain_fd(s->fd);
	source_close(&s[1]);
	loop_poll(s->loop, false); /* runs the rest of the batch */
	assert_int_equal(s[1].calls, 0);
	assert_int_equal(s[2].calls, 1);
	source_close(s);
	loop_poll(s->loop, false);
	return true;
}

static void remove_around_nested_poll(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source s[3];

	s[0] = (struct source){.loop = loop, .fd = new_eventfd(1)};
	assert_int_equal(
		loop_fd_add(loop, s[0].fd, LOOP_READ, 0, remove_next_and_poll,
			s, "nest", &s[0].handler),
		0);
	source_open(&s[1], loop, 1, 0);
	source_open(&s[2], loop, 1, 0);
	assert_true(loop_poll(loop, true));
	assert_int_equal(s[0].calls, 1);
	assert_int_equal(s[2].calls, 1);
	source_close(&s[2]);
}

struct changer {
	struct loop *loop;
	struct source *s;
	_Atomic bool stop;
	int rounds;
};

static bool on_shared(void *opaque, unsigned ready)
{
	drain_fd(((struct source *)opaque)->fd);
	return true;
}

/* Add, make ready, change and remove while the home thread polls. */
static void *change_handlers(void *opaque)
{
	struct changer *c = opaque;
	struct source *s = c->s;
	int i;

	for (i = 0; i < c->rounds; i++) {
		assert_int_equal(loop_fd_add(c->loop, s->fd, LOOP_READ, 0,
					 on_shared, s, "shared", &s->handler),
			0);
		raise_fd(s->fd);
		if (i % 3 == 0)
			loop_fd_set(s->handler, LOOP_READ | LOOP_WRITE);
		loop_fd_del(s->handler);
	}
	atomic_store(&c->stop, true);
	loop_notify(c->loop);
	return NULL;
}

static void other_threads_change_handlers(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a = {.loop = loop, .fd = new_eventfd(0)};
	struct changer c = {.loop = loop, .s = &a, .rounds = 2000};
	struct source own;
	pthread_t thread;

	source_open(&own, loop, 0, 0);
	pthread_create(&thread, NULL, change_handlers, &c);
	do {
		raise_fd(own.fd);
		loop_poll(loop, true);
	} while (!atomic_load(&c.stop));
	pthread_join(thread, NULL);
	assert_true(own.calls > 0);
	source_close(&own);
	close(a.fd);
}

static void *add_to_sleeper(void *opaque)
{
	struct source *s = opaque;

	await_sleep(s->loop);
	assert_int_equal(loop_fd_add(s->loop, s->fd, LOOP_READ, 0, on_ready, s,
				 "late", &s->handler),
		0);
	return NULL;
}

static void added_while_asleep(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a = {.loop = loop, .fd = new_eventfd(1)};
	pthread_t thread;

	pthread_create(&thread, NULL, add_to_sleeper, &a);
	while (a.calls == 0)
		loop_poll(loop, true);
	pthread_join(thread, NULL);
	source_close(&a);
}

/* ---- bad fds ---- */

static void bad_fds_are_refused(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_fd *h = NULL;
	struct source a;
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int dup_fd;

	assert_int_equal(
		loop_fd_add(loop, -1, LOOP_READ, 0, on_ready, NULL, "bad", &h),
		-EBADF);
	assert_int_equal(loop_fd_add(loop, file, LOOP_READ, 0, on_ready, NULL,
				 "file", &h),
		-EPERM);
	assert_int_equal(loop_fd_add(loop, null, LOOP_READ, 0, on_ready, NULL,
				 "null", &h),
		-EPERM);
	source_open(&a, loop, 0, 0);
	assert_int_equal(loop_fd_add(loop, a.fd, LOOP_READ, 0, on_ready, NULL,
				 "twice", &h),
		-EEXIST);
	assert_null(h);
	/* Another number for the same file is another fd. */
	dup_fd = dup(a.fd);
	assert_int_equal(loop_fd_add(loop, dup_fd, LOOP_READ, 0, on_ready, &a,
				 "dup", &h),
		0);
	raise_fd(a.fd);
	a.keep = true;
	assert_true(loop_poll(loop, true));
	assert_int_equal(a.calls, 2);
	loop_fd_del(h);
	close(dup_fd);
	source_close(&a);
	close(file);
	close(null);
}

static void closed_behind_its_back(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source a, b;
	int rounds;

	source_open(&a, loop, 0, 0);
	source_open(&b, loop, 0, 0);
	close(a.fd); /* against the rules */
	raise_fd(b.fd);
	for (rounds = 0; b.calls == 0; rounds++) {
		assert_true(rounds < 10);
		loop_poll(loop, true);
	}
	a.fd = -1;
	source_close(&a);
	raise_fd(b.fd);
	while (b.calls < 2)
		loop_poll(loop, true);
	source_close(&b);
}

/* ---- L8 ---- */

static void external_is_silenced(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source guest, internal;
	int runs = 0;

	source_open(&guest, loop, 1, LOOP_FD_EXTERNAL);
	source_open(&internal, loop, 1, 0);
	loop_disable_external(loop);
	loop_disable_external(loop);
	assert_true(loop_poll(loop, true));
	assert_int_equal(internal.calls, 1);
	assert_int_equal(guest.calls, 0);
	assert_int_equal(loop_bh_oneshot(loop, count_call, &runs, "bh"), 0);
	assert_true(loop_poll(loop, true));
	assert_int_equal(runs, 1);
	loop_enable_external(loop); /* counted: still off */
	assert_false(loop_poll(loop, false));
	assert_int_equal(guest.calls, 0);
	loop_enable_external(loop);
	assert_true(loop_poll(loop, true));
	assert_int_equal(guest.calls, 1);
	source_close(&guest);
	source_close(&internal);
}

static void external_added_while_off(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source guest;

	loop_disable_external(loop);
	source_open(&guest, loop, 1, LOOP_FD_EXTERNAL);
	assert_false(loop_poll(loop, false));
	assert_int_equal(loop_fd_set(guest.handler, LOOP_READ | LOOP_WRITE), 0);
	assert_false(loop_poll(loop, false));
	loop_enable_external(loop);
	assert_true(loop_poll(loop, true));
	assert_int_equal(guest.ready, LOOP_READ | LOOP_WRITE);
	source_close(&guest);
}

static bool disable_others(void *opaque, unsigned ready)
{
	struct source *s = opaque;

	drain_fd(s->fd);
	loop_disable_external(s->loop);
	return true;
}

static void disabled_within_a_batch(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source first = {.loop = loop, .fd = new_eventfd(1)};
	struct source guest;

	assert_int_equal(
		loop_fd_add(loop, first.fd, LOOP_READ, 0, disable_others,
			&first, "first", &first.handler),
		0);
	source_open(&guest, loop, 1, LOOP_FD_EXTERNAL);
	assert_true(loop_poll(loop, true));
	assert_int_equal(guest.calls, 0);
	loop_enable_external(loop);
	assert_true(loop_poll(loop, true));
	assert_int_equal(guest.calls, 1);
	source_close(&first);
	source_close(&guest);
}

static void *notify_sleeper(void *opaque)
{
	struct loop *loop = opaque;

	await_sleep(loop);
	loop_notify(loop);
	return NULL;
}

static void silenced_does_not_spin(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct source guest = {.loop = loop};
	struct loop_stats st;
	pthread_t thread;
	int pipefd[2];

	/* Hung up and readable, that no monitor can mask altogether. */
	assert_int_equal(pipe2(pipefd, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(write(pipefd[1], "x", 1), 1);
	close(pipefd[1]);
	guest.fd = pipefd[0];
	assert_int_equal(
		loop_fd_add(loop, guest.fd, LOOP_READ, LOOP_FD_EXTERNAL,
			on_ready, &guest, "guest", &guest.handler),
		0);
	loop_disable_external(loop);
	pthread_create(&thread, NULL, notify_sleeper, loop);
	assert_false(loop_poll(loop, true));
	pthread_join(thread, NULL);
	loop_stats(loop, &st);
	assert_int_equal(guest.calls, 0);
	assert_true(st.waits < 100); /* once for the hang-up, no more */
	loop_enable_external(loop);
	source_close(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a ready fd is dispatched, an idle one is not",
			ready_fd_is_dispatched),
		ON_ALL("readiness is level-triggered", level_triggered),
		ON_ALL("a handler that made no progress makes no progress",
			no_progress_if_handler_says_so),
		ON_ALL("events can be changed", events_can_change),
		ON_ALL("a hang-up is reported whatever was asked",
			hang_up_is_reported),
		ON_ALL("a batch runs in order of registration",
			registration_order),
		ON_ALL("a handler may remove itself", remove_self),
		ON_ALL("a handler may remove every other handler",
			remove_all_others),
		ON_ALL("a removed handler's event does not reach its "
		       "successor on the fd",
			reused_fd_number),
		ON_ALL("handlers may be removed around nested polls",
			remove_around_nested_poll),
		ON_ALL("other threads may add, change and remove handlers",
			other_threads_change_handlers),
		ON_ALL("an fd added while the loop sleeps is seen",
			added_while_asleep),
		ON_ALL("bad fds are refused, alike on all back ends",
			bad_fds_are_refused),
		ON_ALL("an fd closed behind the loop's back hangs nothing",
			closed_behind_its_back),
		ON_ALL("disabled external handlers are silent, the rest runs",
			external_is_silenced),
		ON_ALL("an external handler added while off speaks when on",
			external_added_while_off),
		ON_ALL("external handlers fall silent within a batch",
			disabled_within_a_batch),
		ON_ALL("a silenced fd that hung up does not make waits spin",
			silenced_does_not_spin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
