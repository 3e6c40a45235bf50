/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/pool.c - see pool.h.
 *
 * One lock guards everything but the jobs' bottom halves.  A thread is started
 * when a job finds none idle and fewer than max run; above min an idle one
 * leaves after a while.  A thread that left is joined by the next submit or
 * by pool_destroy(), so none is ever detached.
 */
#include "loop/pool.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "loop/private.h"
#include "vmm/error.h"

#define DEFAULT_MAX	8
#define DEFAULT_IDLE_MS 10000

struct pool_job {
	struct loop_bh bh; /* tells the loop; embedded, so it cannot fail */
	struct pool *pool; /* borrowed */
	pool_work_fn *work;
	pool_done_fn *done;
	void *opaque;
	int result;
	struct pool_job *next, *prev;	      /* in queue; lock */
	struct pool_job *all_next, *all_prev; /* in flight; lock */
	bool queued;			      /* lock */
};

struct worker {
	struct pool *pool;
	pthread_t thread;
	struct worker *next;
};

struct pool {
	const char *name; /* borrowed */
	unsigned min_threads, max_threads;
	unsigned idle_ms;

	pthread_mutex_t lock;
	pthread_cond_t work_or_stop, gone;
	/* All below: lock. */
	struct pool_job *queue, *queue_last;
	struct pool_job *in_flight;
	struct worker *running, *left; /* owned lists */
	struct pool_stats now;
	bool stop;
};

/* ---- lists; lock held ---- */

static void queue_append(struct pool *pool, struct pool_job *job)
{
	job->next = NULL;
	job->prev = pool->queue_last;
	if (job->prev)
		job->prev->next = job;
	else
		pool->queue = job;
	pool->queue_last = job;
	job->queued = true;
	pool->now.queued++;
}

static void queue_remove(struct pool *pool, struct pool_job *job)
{
	if (job->prev)
		job->prev->next = job->next;
	else
		pool->queue = job->next;
	if (job->next)
		job->next->prev = job->prev;
	else
		pool->queue_last = job->prev;
	job->queued = false;
	pool->now.queued--;
}

static void flight_add(struct pool *pool, struct pool_job *job)
{
	job->all_prev = NULL;
	job->all_next = pool->in_flight;
	if (job->all_next)
		job->all_next->all_prev = job;
	pool->in_flight = job;
	pool->now.in_flight++;
}

static void flight_remove(struct pool *pool, struct pool_job *job)
{
	if (job->all_prev)
		job->all_prev->all_next = job->all_next;
	else
		pool->in_flight = job->all_next;
	if (job->all_next)
		job->all_next->all_prev = job->all_prev;
	pool->now.in_flight--;
}

static void worker_left(struct pool *pool, struct worker *w)
{
	struct worker **at = &pool->running;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->next = pool->left;
	pool->left = w;
	pool->now.threads--;
	pthread_cond_signal(&pool->gone);
}

/* ---- workers ---- */

/* Wait for a job; false: leave.  Lock held. */
static bool idle(struct pool *pool)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += pool->idle_ms / 1000;
	until.tv_nsec += (long)(pool->idle_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pool->now.idle++;
	while (!pool->queue && !pool->stop) {
		if (err == ETIMEDOUT && pool->now.threads > pool->min_threads)
			break;
		/* A thread of the minimum has all the time. */
		if (err == ETIMEDOUT || pool->now.threads <= pool->min_threads)
			err = pthread_cond_wait(
				&pool->work_or_stop, &pool->lock);
		else
			err = pthread_cond_timedwait(
				&pool->work_or_stop, &pool->lock, &until);
	}
	pool->now.idle--;
	return pool->queue != NULL;
}

static void *worker_main(void *opaque)
{
	struct worker *w = opaque;
	struct pool *pool = w->pool;
	struct pool_job *job;

	pthread_mutex_lock(&pool->lock);
	while ((job = pool->queue) || idle(pool)) {
		if (!job)
			continue; /* look again: queue is not empty */
		queue_remove(pool, job);
		pthread_mutex_unlock(&pool->lock);
		job->result = job->work(job->opaque);
		loop_bh_schedule(&job->bh); /* job may be gone now */
		pthread_mutex_lock(&pool->lock);
	}
	worker_left(pool, w);
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Lock held. */
static int start_worker(struct pool *pool)
{
	struct worker *w = malloc(sizeof(*w));
	sigset_t all, old;
	char name[16];
	int err;

	if (!w)
		return -ENOMEM;
	w->pool = pool;
	/* Signals are for the threads that expect them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&w->thread, NULL, worker_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		free(w);
		return -err;
	}
	snprintf(name, sizeof(name), "%s", pool->name);
	pthread_setname_np(w->thread, name);
	w->next = pool->running;
	pool->running = w;
	pool->now.threads++;
	if (pool->now.threads > pool->now.most_threads)
		pool->now.most_threads = pool->now.threads;
	return 0;
}

/* Lock not held: they may need it to reach their end. */
static void join_all(struct worker *w)
{
	struct worker *next;

	for (; w; w = next) {
		next = w->next;
		pthread_join(w->thread, NULL);
		free(w);
	}
}

/* ---- the loop's side ---- */

static void job_done(void *opaque)
{
	struct pool_job *job = opaque;
	struct pool *pool = job->pool;
	pool_done_fn *done = job->done;
	void *done_opaque = job->opaque;
	int result = job->result;

	pthread_mutex_lock(&pool->lock);
	flight_remove(pool, job);
	pthread_mutex_unlock(&pool->lock);
	free(job);
	done(done_opaque, result);
}

/* See that somebody will take the queue's head.  Lock held. */
static int ensure_worker(struct pool *pool)
{
	int err = 0;

	if (pool->now.idle < pool->now.queued &&
		pool->now.threads < pool->max_threads)
		err = start_worker(pool);
	pthread_cond_signal(&pool->work_or_stop);
	/* With another thread to do it, one less is only slower. */
	return pool->now.threads > 0 ? 0 : err;
}

int pool_submit(struct pool *pool, struct loop *loop, pool_work_fn *work,
	pool_done_fn *done, void *opaque, struct pool_job **ret_job)
{
	struct pool_job *job = malloc(sizeof(*job));
	struct worker *left;
	int err;

	if (!job)
		return -ENOMEM;
	*job = (struct pool_job){
		.pool = pool,
		.work = work,
		.done = done,
		.opaque = opaque,
	};
	loop_bh_init_embedded(&job->bh, loop, job_done, job, "pool job");
	pthread_mutex_lock(&pool->lock);
	left = pool->left;
	pool->left = NULL;
	queue_append(pool, job);
	flight_add(pool, job);
	if (ret_job)
		*ret_job = job;
	err = ensure_worker(pool);
	if (err < 0) {
		queue_remove(pool, job);
		flight_remove(pool, job);
	}
	pthread_mutex_unlock(&pool->lock);
	join_all(left);
	if (err < 0)
		free(job);
	return err;
}

bool pool_cancel(struct pool_job *job)
{
	struct pool *pool = job->pool;
	bool taken;

	pthread_mutex_lock(&pool->lock);
	taken = job->queued;
	if (taken)
		queue_remove(pool, job);
	pthread_mutex_unlock(&pool->lock);
	if (!taken)
		return false;
	job->result = -ECANCELED;
	loop_bh_schedule(&job->bh);
	return true;
}

static bool busy(struct pool *pool, struct loop *loop)
{
	struct pool_job *job;

	pthread_mutex_lock(&pool->lock);
	for (job = pool->in_flight; job; job = job->all_next)
		if (job->bh.loop == loop)
			break;
	pthread_mutex_unlock(&pool->lock);
	return job != NULL;
}

void pool_drain(struct pool *pool, struct loop *loop)
{
	while (busy(pool, loop))
		loop_poll(loop, true);
}

void pool_stats(struct pool *pool, struct pool_stats *ret_stats)
{
	pthread_mutex_lock(&pool->lock);
	*ret_stats = pool->now;
	pthread_mutex_unlock(&pool->lock);
}

/* ---- life ---- */

int pool_create(const struct pool_options *opt, struct pool **ret_pool,
	struct error *err)
{
	const struct pool_options defaults = {0};
	pthread_condattr_t attr;
	struct pool *pool;
	int ret = 0;

	if (!opt)
		opt = &defaults;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return error_errno(err, -ENOMEM, "thread pool");
	pool->name = opt->name ? opt->name : "pool";
	pool->min_threads = opt->min_threads;
	pool->max_threads = opt->max_threads ? opt->max_threads : DEFAULT_MAX;
	pool->idle_ms = opt->idle_ms ? opt->idle_ms : DEFAULT_IDLE_MS;
	if (pool->min_threads > pool->max_threads) {
		free(pool);
		return error_set(err, -EINVAL,
			"thread pool: more threads at least (%u) than at most",
			opt->min_threads);
	}
	pthread_mutex_init(&pool->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->work_or_stop, &attr);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&pool->gone, NULL);
	pthread_mutex_lock(&pool->lock);
	while (ret == 0 && pool->now.threads < pool->min_threads)
		ret = start_worker(pool);
	pthread_mutex_unlock(&pool->lock);
	if (ret < 0) {
		pool_destroy(pool);
		return error_errno(err, ret, "thread pool: start a thread");
	}
	*ret_pool = pool;
	return 0;
}

void pool_destroy(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	assert(!pool->in_flight); /* its owner forgot pool_drain() */
	pool->stop = true;
	pthread_cond_broadcast(&pool->work_or_stop);
	while (pool->running)
		pthread_cond_wait(&pool->gone, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	join_all(pool->left);
	pthread_cond_destroy(&pool->gone);
	pthread_cond_destroy(&pool->work_or_stop);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}
