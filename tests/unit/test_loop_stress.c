/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_loop_stress.c - real threads on one loop: the lost wake-up
 * of L3, and everything at once.
 *
 * LOOP_STRESS_ROUNDS: rounds of the wake-up test (default 20000);
 * LOOP_STRESS_MS: duration of the other (default 2000).
 */
#include "tests/unit/test_loop_common.h"

#include <pthread.h>
#include <time.h>

static long env_or(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value ? atol(value) : otherwise;
}

/* ---- three threads, one bottom half ---- */

struct wakeup {
	struct loop *loop; /* home: the test's thread, asleep without limit */
	struct loop_bh *bh;
	_Atomic long asked[2], served[2]; /* by scheduling thread */
	long rounds;
	_Atomic int finished;
};

struct scheduler {
	struct wakeup *w;
	int id;
	long round;
};

static void serve(void *opaque)
{
	struct wakeup *w = opaque;
	int i;

	for (i = 0; i < 2; i++)
		atomic_store(&w->served[i], atomic_load(&w->asked[i]));
}

/* Runs on the scheduling thread's own loop, so while that dispatches. */
static void ask(void *opaque)
{
	struct scheduler *s = opaque;

	atomic_store(&s->w->asked[s->id], s->round);
	loop_bh_schedule(s->w->bh);
}

static void *scheduler_main(void *opaque)
{
	struct scheduler *s = opaque;
	struct loop *own = loop_for(LOOP_AUTO);
	struct loop_bh *bh;

	loop_bh_create(own, ask, s, "ask", NULL, &bh);
	for (s->round = 1; s->round <= s->w->rounds; s->round++) {
		loop_bh_schedule(bh);
		while (!loop_poll(own, true))
			;
		/* If the wake-up is lost this never ends: the alarm does. */
		while (atomic_load(&s->w->served[s->id]) != s->round)
			sched_yield();
	}
	loop_bh_delete(bh);
	loop_destroy(own);
	atomic_fetch_add(&s->w->finished, 1);
	loop_notify(s->w->loop);
	return NULL;
}

static void no_lost_wakeup(void **state)
{
	struct wakeup w = {.loop = fixture_loop(state)};
	struct scheduler s[2] = {{&w, 0, 0}, {&w, 1, 0}};
	struct loop_stats st;
	pthread_t thread[2];
	int i;

	w.rounds = env_or("LOOP_STRESS_ROUNDS", 20000);
	loop_bh_create(w.loop, serve, &w, "serve", NULL, &w.bh);
	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, scheduler_main, &s[i]);
	while (atomic_load(&w.finished) < 2)
		loop_poll(w.loop, true);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	loop_stats(w.loop, &st);
	print_message("# %ld rounds: %llu waits, %llu eventfd writes, "
		      "%llu avoided\n",
		w.rounds, (unsigned long long)st.waits,
		(unsigned long long)st.notify_writes,
		(unsigned long long)st.notify_avoided);
	assert_true(st.waits > 0);
	loop_bh_delete(w.bh);
}

/* ---- everything at once ---- */

#define ACTORS 3
#define SHARED 4

struct chaos {
	struct loop *loop;
	struct loop_bh *shared[SHARED];
	_Atomic long asked[SHARED], runs[SHARED];
	_Atomic long oneshots, oneshot_runs, syncs, fd_calls, halves;
	_Atomic bool stop;
	_Atomic int gone;
	long timer_runs;
	struct loop_timer timer;
	int nested;
};

struct shared_half {
	struct chaos *c;
	int i;
};

static void shared_runs(void *opaque)
{
	struct shared_half *h = opaque;
	struct chaos *c = h->c;

	atomic_fetch_add(&c->runs[h->i], 1);
	if (c->nested < 2) {
		c->nested++;
		loop_poll(c->loop, false);
		c->nested--;
	}
}

static void count_atomic(void *opaque)
{
	atomic_fetch_add((_Atomic long *)opaque, 1);
}

static bool chaos_fd(void *opaque, unsigned ready)
{
	struct chaos *c = opaque;

	atomic_fetch_add(&c->fd_calls, 1);
	return true;
}

static void chaos_timer(void *opaque)
{
	struct chaos *c = opaque;

	c->timer_runs++;
	if (!atomic_load(&c->stop))
		loop_timer_set(&c->timer,
			loop_now_ns(c->loop, LOOP_MONOTONIC) + 50000);
}

static void chaos_act(struct chaos *c, uint64_t *random, int fd)
{
	struct loop_bh *bh;
	struct loop_fd *h;
	int i;

	switch (testing_random(random) % 16) {
	case 0:
		loop_bh_create(
			c->loop, count_atomic, &c->halves, "own", NULL, &bh);
		loop_bh_schedule(bh);
		loop_bh_delete(bh);
		break;
	case 1:
		loop_fd_add(c->loop, fd, LOOP_READ, 0, chaos_fd, c, "fd", &h);
		if (testing_random(random) % 2)
			loop_fd_set(h, LOOP_WRITE);
		loop_fd_del(h);
		break;
	case 2:
		atomic_fetch_add(&c->oneshots, 1);
		loop_bh_oneshot(c->loop, count_atomic, &c->oneshot_runs, "one");
		break;
	case 3:
		loop_run_sync(c->loop, count_atomic, &c->syncs, "sync");
		break;
	case 4:
		loop_notify(c->loop);
		break;
	default:
		i = (int)(testing_random(random) % SHARED);
		atomic_fetch_add(&c->asked[i], 1);
		loop_bh_schedule(c->shared[i]);
	}
}

static void *chaos_main(void *opaque)
{
	struct chaos *c = opaque;
	uint64_t random = (uintptr_t)&random;
	int fd = new_eventfd(1);

	while (!atomic_load(&c->stop))
		chaos_act(c, &random, fd);
	close(fd);
	atomic_fetch_add(&c->gone, 1);
	loop_notify(c->loop);
	return NULL;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void everything_at_once(void **state)
{
	long ms = env_or("LOOP_STRESS_MS", 2000) / 4;
	struct chaos c = {.loop = fixture_loop(state)};
	struct shared_half half[SHARED];
	pthread_t thread[ACTORS];
	int64_t end = now_ms() + ms;
	int i;

	alarm((unsigned)(TESTING_WATCHDOG_S + ms / 1000));
	for (i = 0; i < SHARED; i++) {
		half[i] = (struct shared_half){&c, i};
		loop_bh_create(c.loop, shared_runs, &half[i], "shared", NULL,
			&c.shared[i]);
	}
	loop_timer_init(&c.timer, c.loop, LOOP_MONOTONIC, chaos_timer, &c);
	loop_timer_set(&c.timer, 0);
	for (i = 0; i < ACTORS; i++)
		pthread_create(&thread[i], NULL, chaos_main, &c);
	while (atomic_load(&c.gone) < ACTORS) {
		loop_poll(c.loop, true);
		if (now_ms() >= end)
			atomic_store(&c.stop, true);
	}
	for (i = 0; i < ACTORS; i++)
		pthread_join(thread[i], NULL);
	while (loop_poll(c.loop, false))
		;
	loop_timer_cancel(&c.timer);
	assert_int_equal(
		atomic_load(&c.oneshots), atomic_load(&c.oneshot_runs));
	for (i = 0; i < SHARED; i++) {
		assert_true(atomic_load(&c.runs[i]) > 0);
		assert_true(
			atomic_load(&c.runs[i]) <= atomic_load(&c.asked[i]));
		loop_bh_delete(c.shared[i]);
	}
	assert_true(c.timer_runs > 0);
	assert_true(atomic_load(&c.syncs) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("three threads never lose a wake-up", no_lost_wakeup),
		ON_ALL("threads doing everything at once leave it whole",
			everything_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
