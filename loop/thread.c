/* SPDX-License-Identifier: Apache-2.0 */
/* loop/thread.c - see thread.h. */
#include "loop/thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "vmm/error.h"

struct loop_thread {
	struct loop *loop; /* owned */
	pthread_t thread;
	_Atomic bool stop;
};

static void *thread_main(void *opaque)
{
	struct loop_thread *t = opaque;

	loop_adopt(t->loop);
	while (!atomic_load(&t->stop))
		loop_poll(t->loop, true);
	loop_disown(t->loop);
	return NULL;
}

/* pthread_create() with all signals blocked in the new thread. */
static int start(struct loop_thread *t, const char *name)
{
	sigset_t all, old;
	char text[16];
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&t->thread, NULL, thread_main, t);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	snprintf(text, sizeof(text), "%s", name);
	pthread_setname_np(t->thread, text);
	return 0;
}

static void started(void *opaque)
{
	(void)opaque;
}

int loop_thread_start(const struct loop_options *opt,
	struct loop_thread **ret_thread, struct error *err)
{
	struct loop_thread *t = calloc(1, sizeof(*t));
	const char *name = opt && opt->name ? opt->name : "loop";
	int ret;

	if (!t)
		return error_errno(err, -ENOMEM, "loop thread %s", name);
	ret = loop_create(opt, &t->loop, err);
	if (ret < 0)
		goto fail;
	ret = start(t, name);
	if (ret < 0) {
		error_errno(err, ret, "loop thread %s: start", name);
		goto fail_loop;
	}
	/* Until it polls it is not home, and run_sync would mistake callers. */
	loop_run_sync(t->loop, started, NULL, "started");
	*ret_thread = t;
	return 0;
fail_loop:
	loop_destroy(t->loop);
fail:
	free(t);
	return ret;
}

struct loop *loop_thread_loop(struct loop_thread *thread)
{
	return thread->loop;
}

void loop_thread_stop(struct loop_thread *thread)
{
	if (!thread)
		return;
	atomic_store(&thread->stop, true);
	loop_notify(thread->loop);
	pthread_join(thread->thread, NULL);
	loop_destroy(thread->loop);
	free(thread);
}
