/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/pool.h - threads for work that blocks (L11).
 *
 * A job runs on a worker thread; its end is reported by a bottom half on the
 * loop that submitted it.  A worker owns no loop: loop_current() is NULL there.
 * One pool may serve many loops.
 */
#ifndef GODWIT_LOOP_POOL_H
#define GODWIT_LOOP_POOL_H

#include <stdbool.h>

#include "loop/loop.h"

struct error;
struct pool;
struct pool_job;

struct pool_options {
	const char *name;     /* borrowed; thread names and messages */
	unsigned min_threads; /* kept when idle; may be 0 */
	unsigned max_threads; /* 0: 8 */
	unsigned idle_ms;     /* an extra thread's patience; 0: 10 s */
};

/**
 * pool_create - start a pool with @opt->min_threads threads.
 * @opt:  NULL for the defaults (min 0).
 * Thread: any.
 * Return: 0, -EINVAL (min > max), -ENOMEM, or -EAGAIN when the host gives no
 *         thread; nothing is left behind.
 */
int pool_create(const struct pool_options *opt, struct pool **ret_pool,
	struct error *err);

/* End the threads and free @pool.  No job may be in flight (pool_drain()).
 * Thread: any but a worker.  NULL is allowed. */
void pool_destroy(struct pool *pool);

/* On a worker.  Return: handed to pool_done_fn, 0 or -errno by custom. */
typedef int pool_work_fn(void *opaque);
/* On the home thread of the submitting loop, exactly once a job. */
typedef void pool_done_fn(void *opaque, int result);

/**
 * pool_submit - run @work on a worker, then @done on @loop.
 * @ret_job:  NULL, or where to put a handle that is valid until @done began.
 * Thread: any; pool_cancel() wants @loop's home thread.
 * Return: 0, -ENOMEM, or -EAGAIN when no thread runs and none can be started.
 */
int pool_submit(struct pool *pool, struct loop *loop, pool_work_fn *work,
	pool_done_fn *done, void *opaque, struct pool_job **ret_job);

/**
 * pool_cancel - take back a job that has not started.
 * Return: true: its work will not run, its done comes in a later poll with
 *         -ECANCELED.  False: it runs or ran, done comes with its result.
 * Thread: home of its loop.
 */
bool pool_cancel(struct pool_job *job);

/* Poll @loop until no job that it submitted is in flight, those included that
 * a done submits.  Thread: home of @loop. */
void pool_drain(struct pool *pool, struct loop *loop);

struct pool_stats {
	unsigned threads, idle; /* now */
	unsigned queued;	/* jobs no thread has taken */
	unsigned in_flight;	/* jobs whose done has not run */
	unsigned most_threads;	/* ever */
};

/* Thread: any. */
void pool_stats(struct pool *pool, struct pool_stats *ret_stats);

#endif
