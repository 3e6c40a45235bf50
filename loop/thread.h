/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/thread.h - a thread that does nothing but poll its own loop.
 */
#ifndef GODWIT_LOOP_THREAD_H
#define GODWIT_LOOP_THREAD_H

#include "loop/loop.h"

struct error;
struct loop_thread;

/**
 * loop_thread_start - create a loop and a thread that is its home.
 * @opt:  as for loop_create(); the name is the thread's too.
 * Thread: any.
 * Return: 0 when the thread polls; -errno as loop_create(), or -EAGAIN when
 *         the host gives no thread.  All signals are blocked on it.
 */
int loop_thread_start(const struct loop_options *opt,
	struct loop_thread **ret_thread, struct error *err);

/* Borrowed, until loop_thread_stop(). */
struct loop *loop_thread_loop(struct loop_thread *thread);

/* End the thread after its current turn, join it, destroy the loop.  Its
 * handlers must be removed before, for instance by loop_run_sync().
 * Thread: any other, holding no lock a handler takes.  NULL is allowed. */
void loop_thread_stop(struct loop_thread *thread);

#endif
