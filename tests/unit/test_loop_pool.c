/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_loop_pool.c - the thread pool: L11. */
#include "tests/unit/test_loop_common.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/resource.h>

#include "loop/pool.h"

struct task {
	struct loop *loop; /* where done must run */
	struct pool *pool;
	sem_t *gate; /* work waits for it */
	sem_t *started;
	int works, dones, result;
	int resubmit;
	pthread_t worker;
};

static int work(void *opaque)
{
	struct task *t = opaque;

	t->works++;
	t->worker = pthread_self();
	assert_null(loop_current());
	if (t->started)
		sem_post(t->started);
	if (t->gate)
		while (sem_wait(t->gate) < 0)
			;
	return 42;
}

static void done(void *opaque, int result)
{
	struct task *t = opaque;

	assert_ptr_equal(loop_current(), t->loop);
	t->dones++;
	t->result = result;
	if (t->resubmit > 0) {
		t->resubmit--;
		assert_int_equal(
			pool_submit(t->pool, t->loop, work, done, t, NULL), 0);
	}
}

static struct pool *new_pool(unsigned min, unsigned max, unsigned idle_ms)
{
	const struct pool_options opt = {
		.name = "test pool",
		.min_threads = min,
		.max_threads = max,
		.idle_ms = idle_ms,
	};
	struct pool *pool = NULL;
	struct error err;

	assert_int_equal(pool_create(&opt, &pool, &err), 0);
	return pool;
}

static void job_completes_on_its_loop(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct pool *pool = new_pool(0, 2, 0);
	struct task t = {.loop = loop, .pool = pool};

	assert_int_equal(pool_submit(pool, loop, work, done, &t, NULL), 0);
	while (t.dones == 0)
		loop_poll(loop, true);
	assert_int_equal(t.works, 1);
	assert_int_equal(t.dones, 1);
	assert_int_equal(t.result, 42);
	assert_false(pthread_equal(t.worker, pthread_self()));
	pool_destroy(pool);
}

static void threads_between_min_and_max(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct pool *pool = new_pool(1, 3, 0);
	struct task t[8];
	struct pool_stats st;
	sem_t gate, started;
	int i;

	sem_init(&gate, 0, 0);
	sem_init(&started, 0, 0);
	pool_stats(pool, &st);
	assert_int_equal(st.threads, 1);
	for (i = 0; i < 8; i++) {
		t[i] = (struct task){
			.loop = loop, .gate = &gate, .started = &started};
		assert_int_equal(
			pool_submit(pool, loop, work, done, &t[i], NULL), 0);
	}
	for (i = 0; i < 3; i++)
		sem_wait(&started);
	pool_stats(pool, &st);
	assert_int_equal(st.threads, 3);
	assert_int_equal(st.queued, 5);
	assert_int_equal(st.in_flight, 8);
	assert_int_equal(sem_trywait(&started), -1);
	for (i = 0; i < 8; i++)
		sem_post(&gate);
	pool_drain(pool, loop);
	for (i = 0; i < 8; i++)
		assert_int_equal(t[i].dones, 1);
	pool_stats(pool, &st);
	assert_int_equal(st.most_threads, 3);
	assert_int_equal(st.in_flight, 0);
	pool_destroy(pool);
	sem_destroy(&gate);
	sem_destroy(&started);
}

static void idle_threads_leave(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct pool *pool = new_pool(1, 4, 1);
	struct task t[4];
	struct pool_stats st;
	sem_t gate, started;
	int i;

	sem_init(&gate, 0, 0);
	sem_init(&started, 0, 0);
	for (i = 0; i < 4; i++) {
		t[i] = (struct task){
			.loop = loop, .gate = &gate, .started = &started};
		assert_int_equal(
			pool_submit(pool, loop, work, done, &t[i], NULL), 0);
	}
	for (i = 0; i < 4; i++)
		sem_wait(&started);
	for (i = 0; i < 4; i++)
		sem_post(&gate);
	pool_drain(pool, loop);
	do {
		sched_yield();
		pool_stats(pool, &st);
		assert_true(st.threads >= 1);
	} while (st.threads > 1);
	/* The one that stays still works. */
	t[0] = (struct task){.loop = loop};
	assert_int_equal(pool_submit(pool, loop, work, done, &t[0], NULL), 0);
	pool_drain(pool, loop);
	assert_int_equal(t[0].dones, 1);
	pool_destroy(pool);
	sem_destroy(&gate);
	sem_destroy(&started);
}

static void cancel_unstarted(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct pool *pool = new_pool(0, 1, 0);
	struct pool_job *job[3];
	struct task t[3];
	sem_t gate, started;
	int i;

	sem_init(&gate, 0, 0);
	sem_init(&started, 0, 0);
	for (i = 0; i < 3; i++) {
		t[i] = (struct task){.loop = loop};
		if (i == 0) {
			t[i].gate = &gate;
			t[i].started = &started;
		}
		assert_int_equal(
			pool_submit(pool, loop, work, done, &t[i], &job[i]), 0);
	}
	sem_wait(&started);
	assert_false(pool_cancel(job[0])); /* runs */
	assert_true(pool_cancel(job[1]));
	assert_false(pool_cancel(job[1])); /* taken back already */
	assert_int_equal(t[1].dones, 0);   /* not from within cancel */
	while (t[1].dones == 0)
		loop_poll(loop, true);
	assert_int_equal(t[1].result, -ECANCELED);
	assert_int_equal(t[1].works, 0);
	assert_int_equal(t[0].dones, 0);
	sem_post(&gate);
	pool_drain(pool, loop);
	assert_int_equal(t[0].result, 42);
	assert_int_equal(t[2].result, 42);
	assert_int_equal(t[1].dones, 1);
	pool_destroy(pool);
	sem_destroy(&gate);
	sem_destroy(&started);
}

static void drain_includes_followers(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop *other = loop_for(LOOP_AUTO);
	struct pool *pool = new_pool(0, 2, 0);
	struct task t = {.loop = loop, .pool = pool, .resubmit = 100};
	struct task foreign = {.loop = other};
	sem_t gate;

	/* Another loop's job does not hold up this loop's drain. */
	sem_init(&gate, 0, 0);
	foreign.gate = &gate;
	assert_int_equal(
		pool_submit(pool, other, work, done, &foreign, NULL), 0);
	assert_int_equal(pool_submit(pool, loop, work, done, &t, NULL), 0);
	pool_drain(pool, loop);
	assert_int_equal(t.dones, 101);
	assert_int_equal(foreign.dones, 0);
	sem_post(&gate);
	pool_drain(pool, other);
	assert_int_equal(foreign.dones, 1);
	pool_destroy(pool);
	loop_destroy(other);
	sem_destroy(&gate);
}

static int report_mask(void *opaque)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	return sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1);
}

static void workers_take_no_signals(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct pool *pool = new_pool(0, 1, 0);
	struct task t = {.loop = loop};

	assert_int_equal(
		pool_submit(pool, loop, report_mask, done, &t, NULL), 0);
	pool_drain(pool, loop);
	assert_int_equal(t.result, 1);
	pool_destroy(pool);
}

static void many_jobs_many_threads(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct pool *pool = new_pool(0, 4, 0);
	static struct task t[3000];
	int i;

	for (i = 0; i < 3000; i++) {
		t[i] = (struct task){.loop = loop};
		assert_int_equal(
			pool_submit(pool, loop, work, done, &t[i], NULL), 0);
		if (i % 16 == 0)
			loop_poll(loop, false);
	}
	pool_drain(pool, loop);
	for (i = 0; i < 3000; i++) {
		assert_int_equal(t[i].works, 1);
		assert_int_equal(t[i].dones, 1);
	}
	pool_destroy(pool);
}

static void bad_options(void **state)
{
	const struct pool_options opt = {.min_threads = 3, .max_threads = 2};
	struct pool *pool = NULL;
	struct error err;

	assert_int_equal(pool_create(&opt, &pool, &err), -EINVAL);
	assert_null(pool);
	pool_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_ALL("a job's end is told on the loop that submitted it",
			job_completes_on_its_loop),
		ON_ONE("threads stay between min and max",
			threads_between_min_and_max),
		ON_ONE("extra threads leave when idle, the minimum stays",
			idle_threads_leave),
		ON_ONE("a job that has not started can be cancelled",
			cancel_unstarted),
		ON_ONE("drain waits for a loop's jobs and their followers",
			drain_includes_followers),
		ON_ONE("workers take no signals", workers_take_no_signals),
		ON_ALL("thousands of jobs each run once and end once",
			many_jobs_many_threads),
		ON_ONE("more threads at least than at most are refused",
			bad_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
