/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_thread.c - loops in threads of their own. */
#include "tests/unit/test_loop_common.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>

#include "loop/thread.h"

struct visit {
	struct loop *loop; /* seen */
	pthread_t thread;
	bool blocked; /* SIGTERM is */
};

static void look_around(void *opaque)
{
	struct visit *v = opaque;
	sigset_t mask;

	v->loop = loop_current();
	v->thread = pthread_self();
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	v->blocked = sigismember(&mask, SIGTERM) == 1;
}

static struct loop_thread *start(enum loop_backend backend)
{
	const struct loop_options opt = {.backend = backend, .name = "io"};
	struct loop_thread *t = NULL;
	struct error err;

	if (loop_thread_start(&opt, &t, &err) < 0)
		fail_msg("%s", err.text);
	return t;
}

static void runs_its_loop(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_thread *t = start(((struct fixture *)*state)->backend);
	const char *backend = loop_backend_name(loop);
	struct loop_timer timer;
	struct visit v = {.loop = NULL};
	int i;

	loop_poll(loop, false); /* this thread has a loop of its own */
	for (i = 0; i < 100; i++) {
		memset(&v, 0, sizeof(v));
		assert_int_equal(loop_run_sync(loop_thread_loop(t), look_around,
					 &v, "look"),
			0);
		assert_ptr_equal(v.loop, loop_thread_loop(t));
		assert_false(pthread_equal(v.thread, pthread_self()));
		assert_true(v.blocked);
	}
	loop_thread_stop(t);
	loop_thread_stop(NULL);
	/* Ending the other's ring left ours alone. */
	loop_bh_oneshot(loop, look_around, &v, "look");
	assert_true(loop_poll(loop, true));
	assert_ptr_equal(v.loop, loop);
	loop_timer_init(&timer, loop, LOOP_MONOTONIC, look_around, &v);
	loop_timer_set(&timer, loop_now_ns(loop, LOOP_MONOTONIC) + 1000000);
	assert_true(loop_poll(loop, true)); /* waits in the kernel */
	assert_ptr_equal(loop_current(), loop);
	assert_string_equal(loop_backend_name(loop), backend);
}

struct player {
	struct loop_bh *bh, *other;
	int hits;
	sem_t *over; /* NULL: the one that never ends the game */
};

static void hit(void *opaque)
{
	struct player *p = opaque;

	if (++p->hits < 5000 || !p->over)
		loop_bh_schedule(p->other);
	else
		sem_post(p->over);
}

static void ignore(void *opaque)
{
	(void)opaque;
}

static void two_loops_play(void **state)
{
	enum loop_backend backend = ((struct fixture *)*state)->backend;
	struct loop_thread *t[2];
	struct player p[2];
	sem_t over;
	int i;

	fixture_loop(state);
	sem_init(&over, 0, 0);
	for (i = 0; i < 2; i++) {
		t[i] = start(backend);
		p[i] = (struct player){.over = i ? &over : NULL};
		assert_int_equal(loop_bh_create(loop_thread_loop(t[i]), hit,
					 &p[i], "hit", NULL, &p[i].bh),
			0);
	}
	p[0].other = p[1].bh;
	p[1].other = p[0].bh;
	loop_bh_schedule(p[0].bh);
	while (sem_wait(&over) < 0)
		;
	/* Both callbacks have returned after this. */
	for (i = 0; i < 2; i++)
		loop_run_sync(loop_thread_loop(t[i]), ignore, NULL, "turn");
	for (i = 0; i < 2; i++) {
		assert_int_equal(p[i].hits, 5000);
		loop_bh_delete(p[i].bh);
	}
	for (i = 0; i < 2; i++)
		loop_thread_stop(t[i]);
	sem_destroy(&over);
}

static void no_fds_no_thread(void **state)
{
	struct fixture *f = *state;
	const struct loop_options opt = {.backend = f->backend, .name = "io"};
	struct loop_thread *t = NULL;
	struct rlimit old, low;
	struct error err;
	int fds, ret, lowest;

	fixture_loop(state);
	fds = testing_fd_count();
	lowest = dup(0);
	close(lowest);
	getrlimit(RLIMIT_NOFILE, &old);
	low = old;
	low.rlim_cur = (rlim_t)lowest;
	setrlimit(RLIMIT_NOFILE, &low);
	ret = loop_thread_start(&opt, &t, &err);
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(ret, -EMFILE);
	assert_non_null(strstr(err.text, "loop io"));
	assert_int_equal(testing_fd_count(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a loop thread polls its loop, takes no signals, and "
		       "ends",
			runs_its_loop),
		ON_ALL("two loop threads wake each other thousands of times",
			two_loops_play),
		ON_ALL("a loop thread that cannot be made leaves nothing",
			no_fds_no_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
