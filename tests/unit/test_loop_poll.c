/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_poll.c - poll, notify, current loop, failure: L1-L4,
 * L12, L13. */
#include "tests/unit/test_loop_common.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>

/* ---- L1 ---- */

struct waker {
	struct loop *loop;
	struct loop_bh *bh;
	_Atomic bool done;
};

static void *notify_sleeper(void *opaque)
{
	struct waker *w = opaque;

	await_sleep(w->loop);
	atomic_store(&w->done, true);
	loop_notify(w->loop);
	return NULL;
}

static void blocking_poll_waits(void **state)
{
	struct waker w = {.loop = fixture_loop(state)};
	struct loop_stats st;
	pthread_t thread;

	pthread_create(&thread, NULL, notify_sleeper, &w);
	/* A bare notify ends the wait but is no progress. */
	assert_false(loop_poll(w.loop, true));
	assert_true(atomic_load(&w.done));
	pthread_join(thread, NULL);
	loop_stats(w.loop, &st);
	/* More if the kernel interrupts one, as a ring's end may do. */
	assert_true(st.waits >= 1);
	assert_true(st.notify_writes <= 1);
}

static void nonblocking_poll_returns(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;

	assert_false(loop_poll(loop, false));
	assert_false(loop_poll(loop, false));
	loop_stats(loop, &st);
	assert_int_equal(st.polls, 2);
	assert_int_equal(st.waits, 0);
}

static void notify_before_poll(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;

	loop_notify(loop);
	assert_false(loop_poll(loop, true)); /* would hang if it were lost */
	loop_stats(loop, &st);
	assert_int_equal(st.notify_writes, 0);
	assert_int_equal(st.notify_avoided, 1);
}

static void *notify_twice(void *opaque)
{
	struct waker *w = opaque;

	await_sleep(w->loop);
	loop_notify(w->loop);
	while (!atomic_load(&w->done))
		sched_yield();
	await_sleep(w->loop);
	loop_notify(w->loop);
	return NULL;
}

static void notification_is_cleared(void **state)
{
	struct waker w = {.loop = fixture_loop(state)};
	struct loop_stats st;
	pthread_t thread;

	pthread_create(&thread, NULL, notify_twice, &w);
	loop_poll(w.loop, true);
	atomic_store(&w.done, true);
	/* Were the eventfd still readable, this would not sleep, and the
	 * thread would wait for that in vain. */
	loop_poll(w.loop, true);
	pthread_join(thread, NULL);
	loop_stats(w.loop, &st);
	assert_true(st.waits >= 2);
	assert_true(st.notify_writes <= 2);
	assert_false(loop_poll(w.loop, false));
	assert_false(drain_fd(w.loop->event_fd));
}

static void late_notify_is_cleared(void **state)
{
	struct loop *loop = fixture_loop(state);
	const uint64_t one = 1;

	/* A notifier that was stopped between its write and its flag. */
	assert_int_equal(write(loop->event_fd, &one, sizeof(one)), 8);
	assert_false(loop_poll(loop, true));
	assert_false(drain_fd(loop->event_fd));
	atomic_store(&loop->notified, true);
	assert_false(loop_poll(loop, false));
	assert_false(atomic_load(&loop->notified));
}

/* ---- L2 ---- */

struct nested {
	struct loop *loop;
	struct loop_bh *inner;
	int inner_runs;
	unsigned claims; /* notify_me while the outer poll dispatches */
	bool progress;
};

static void poll_inside(void *opaque)
{
	struct nested *n = opaque;

	n->claims = atomic_load(&n->loop->notify_me);
	loop_bh_schedule(n->inner);
	n->progress = loop_poll(n->loop, true);
	assert_ptr_equal(loop_current(), n->loop);
}

static void handler_may_poll(void **state)
{
	struct nested n = {.loop = fixture_loop(state)};

	assert_int_equal(loop_bh_create(n.loop, count_call, &n.inner_runs,
				 "inner", NULL, &n.inner),
		0);
	assert_int_equal(loop_bh_oneshot(n.loop, poll_inside, &n, "outer"), 0);
	assert_true(loop_poll(n.loop, true));
	assert_int_equal(n.claims, 0);
	assert_true(n.progress);
	assert_int_equal(n.inner_runs, 1);
	assert_int_equal(atomic_load(&n.loop->notify_me), 0);
	loop_bh_delete(n.inner);
}

/* ---- L3, L4 ---- */

static void no_write_unless_waiting(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_stats st;
	struct loop_bh *bh;
	int runs = 0, i;

	loop_bh_create(loop, count_call, &runs, "bh", NULL, &bh);
	for (i = 0; i < 100; i++) {
		loop_bh_schedule(bh);
		assert_true(loop_poll(loop, i % 2));
	}
	loop_stats(loop, &st);
	assert_int_equal(runs, 100);
	assert_int_equal(st.notify_writes, 0);
	assert_int_equal(st.notify_avoided, 100);
	loop_bh_delete(bh);
}

static void *schedule_sleeper(void *opaque)
{
	struct waker *w = opaque;

	await_sleep(w->loop);
	/* As if another notifier had set it and accept were just to clear it:
	 * the set side must write all the same. */
	atomic_store(&w->loop->notified, true);
	loop_bh_schedule(w->bh);
	return NULL;
}

static void set_side_is_never_skipped(void **state)
{
	struct waker w = {.loop = fixture_loop(state)};
	pthread_t thread;
	int runs = 0;

	loop_bh_create(w.loop, count_call, &runs, "bh", NULL, &w.bh);
	pthread_create(&thread, NULL, schedule_sleeper, &w);
	while (runs == 0)
		loop_poll(w.loop, true);
	pthread_join(thread, NULL);
	loop_bh_delete(w.bh);
}

/* A signal handler's view of the test. */
static struct loop_bh *signal_bh;

static void on_signal(int sig)
{
	(void)sig;
	loop_bh_schedule(signal_bh);
}

struct sleeper {
	struct loop *loop;
	pthread_t thread;
};

static void *signal_sleeper(void *opaque)
{
	struct sleeper *s = opaque;

	await_sleep(s->loop);
	pthread_kill(s->thread, SIGUSR1);
	return NULL;
}

static void signal_handler_schedules(void **state)
{
	struct sleeper s = {fixture_loop(state), pthread_self()};
	struct sigaction act = {.sa_handler = on_signal}, old;
	pthread_t thread;
	int runs = 0;

#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer holds a handler back until a call it knows, and it
	 * does not know the raw system calls of liburing. */
	if (strcmp(loop_backend_name(s.loop), "io_uring") == 0) {
		print_message("# skip: signals under tsan with io_uring\n");
		skip();
	}
#endif
	loop_bh_create(s.loop, count_call, &runs, "bh", NULL, &signal_bh);
	sigaction(SIGUSR1, &act, &old);
	pthread_create(&thread, NULL, signal_sleeper, &s);
	while (runs == 0)
		loop_poll(s.loop, true);
	assert_int_equal(runs, 1);
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &old, NULL);
	loop_bh_delete(signal_bh);
}

static void on_idle_signal(int sig)
{
	(void)sig;
}

struct storm {
	struct loop *loop;
	pthread_t thread;
	int signals;
};

static void *signal_storm(void *opaque)
{
	struct storm *s = opaque;
	int i;

	for (i = 0; i < s->signals; i++) {
		await_sleep(s->loop);
		pthread_kill(s->thread, SIGUSR1);
	}
	loop_notify(s->loop);
	return NULL;
}

static void eintr_does_not_end_a_wait(void **state)
{
	struct storm s = {fixture_loop(state), pthread_self(), 1000};
	struct sigaction act = {.sa_handler = on_idle_signal}, old;
	struct loop_stats st;
	pthread_t thread;

	sigaction(SIGUSR1, &act, &old);
	pthread_create(&thread, NULL, signal_storm, &s);
	assert_false(loop_poll(s.loop, true));
	pthread_join(thread, NULL);
	sigaction(SIGUSR1, &old, NULL);
	loop_stats(s.loop, &st);
	assert_int_equal(st.polls, 1);
}

/* ---- L12 ---- */

static void *worker_sees_no_loop(void *opaque)
{
	return loop_current();
}

static void *poll_own_loop(void *opaque)
{
	struct loop *loop = loop_for(LOOP_AUTO);
	struct loop *seen;

	assert_null(loop_current());
	loop_poll(loop, false);
	seen = loop_current();
	assert_ptr_equal(seen, loop);
	loop_destroy(loop);
	assert_null(loop_current());
	return NULL;
}

static void see_current(void *opaque)
{
	*(struct loop **)opaque = loop_current();
}

static void current_loop_is_per_thread(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop *other = loop_for(LOOP_AUTO), *seen = NULL;
	pthread_t thread;
	void *ret;

	loop_adopt(loop);
	assert_ptr_equal(loop_current(), loop);
	pthread_create(&thread, NULL, worker_sees_no_loop, NULL);
	pthread_join(thread, &ret);
	assert_null(ret);
	pthread_create(&thread, NULL, poll_own_loop, NULL);
	pthread_join(thread, NULL);
	/* A thread with two loops: the one that is being polled. */
	loop_bh_oneshot(other, see_current, &seen, "see");
	assert_true(loop_poll(other, false));
	assert_ptr_equal(seen, other);
	loop_destroy(other);
}

/* ---- L13 ---- */

static void running_out_of_fds(void **state)
{
	struct fixture *f = *state;
	struct loop_options opt = {.backend = f->backend, .name = "poor"};
	struct rlimit old, low;
	struct loop *loop = NULL;
	struct error err;
	int ret, fds, failures = 0, lowest;

	fixture_loop(state);
	fds = testing_fd_count();
	getrlimit(RLIMIT_NOFILE, &old);
	lowest = dup(0);
	close(lowest);
	for (low = old, low.rlim_cur = (rlim_t)lowest;; low.rlim_cur++) {
		err.text[0] = '\0';
		setrlimit(RLIMIT_NOFILE, &low);
		ret = loop_create(&opt, &loop, &err);
		setrlimit(RLIMIT_NOFILE, &old);
		if (ret == 0)
			break;
		failures++;
		assert_int_equal(ret, -EMFILE);
		assert_int_equal(err.code, -EMFILE);
		assert_non_null(strstr(err.text, "loop poor: "));
		assert_non_null(strstr(err.text, ": Too many open files"));
		assert_int_equal(testing_fd_count(), fds);
	}
	assert_int_equal(failures, testing_fd_count() - fds);
	assert_true(failures > 0);
	loop_destroy(loop);
	assert_int_equal(testing_fd_count(), fds);
}

static void unknown_backend(void **state)
{
	struct loop_options opt = {.backend = (enum loop_backend)99};
	struct loop *loop = NULL;
	struct error err;
	int fds = testing_fd_count();

	assert_int_equal(loop_create(&opt, &loop, &err), -EINVAL);
	assert_non_null(strstr(err.text, "99"));
	assert_null(loop);
	assert_int_equal(testing_fd_count(), fds);
	loop_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a blocking poll without fds waits for a notify, which "
		       "is no progress",
			blocking_poll_waits),
		ON_ALL("a non-blocking poll returns and never waits",
			nonblocking_poll_returns),
		ON_ALL("a notify before the poll is not lost",
			notify_before_poll),
		ON_ALL("an accepted notification does not end the next wait",
			notification_is_cleared),
		ON_ALL("a notifier stopped half way leaves nothing behind",
			late_notify_is_cleared),
		ON_ALL("a handler may poll, and holds no wait claim",
			handler_may_poll),
		ON_ALL("scheduling with nobody waiting writes no eventfd",
			no_write_unless_waiting),
		ON_ALL("a set flag does not keep the next notifier from "
		       "writing",
			set_side_is_never_skipped),
		ON_ALL("a signal handler wakes the loop it interrupted",
			signal_handler_schedules),
		ON_ALL("a storm of signals does not end a wait",
			eintr_does_not_end_a_wait),
		ON_ONE("each thread has its own current loop, workers none",
			current_loop_is_per_thread),
		ON_ALL("too few fds at any step of creation is an error that "
		       "leaks nothing",
			running_out_of_fds),
		ON_ONE("an unknown back end is refused", unknown_backend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
