/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_loop_common.h - a fresh loop for each test, on each back end.
 *
 * A test that hangs is killed by an alarm; one that leaks an fd fails in its
 * teardown.  A back end this host lacks is a skip with its reason.
 */
#ifndef GODWIT_TESTS_UNIT_TEST_LOOP_COMMON_H
#define GODWIT_TESTS_UNIT_TEST_LOOP_COMMON_H

#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/private.h"
#include "vmm/error.h"

struct fixture {
	struct loop *loop;
	enum loop_backend backend;
	int fds; /* open before the loop was made */
};

static inline struct loop *loop_for(enum loop_backend backend)
{
	struct loop_options opt = {.backend = backend, .name = "test"};
	struct loop *loop = NULL;
	struct error err;
	int ret;

	/* valgrind 3.19 does not know that io_uring_enter() blocks. */
	if (getenv("LOOP_NO_URING")) {
		if (backend == LOOP_URING)
			return NULL;
		if (backend == LOOP_AUTO)
			opt.backend = LOOP_EPOLL;
	}
	ret = loop_create(&opt, &loop, &err);

	if (ret == -ENOSYS) {
		print_message("# skip: %s\n", err.text);
		return NULL;
	}
	if (ret < 0)
		fail_msg("%s", err.text);
	return loop;
}

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	alarm(TESTING_WATCHDOG_S);
	f->backend = (enum loop_backend)(intptr_t)*state;
	f->fds = testing_fd_count();
	f->loop = loop_for(f->backend);
	*state = f;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	int fds;

	loop_destroy(f->loop);
	fds = testing_fd_count();
	alarm(0);
	if (fds != f->fds) {
		print_error("leaked %d fds\n", fds - f->fds);
		free(f);
		return -1;
	}
	free(f);
	return 0;
}

/* The loop of this test, or skip. */
static inline struct loop *fixture_loop(void **state)
{
	struct fixture *f = *state;

	if (!f->loop)
		skip();
	return f->loop;
}

#define WITH(backend, promise, fn)                                             \
	{                                                                      \
		promise, fn, fixture_setup, fixture_teardown,                  \
			(void *)(intptr_t)(backend)                            \
	}
/* Entries of a test table: the promise holds on every back end. */
#define ON_ALL(promise, fn)                                                    \
	WITH(LOOP_POLL, promise " [ppoll]", fn),                               \
		WITH(LOOP_EPOLL, promise " [epoll]", fn),                      \
		WITH(LOOP_URING, promise " [io_uring]", fn)
/* The back end makes no difference. */
#define ON_ONE(promise, fn) WITH(LOOP_AUTO, promise, fn)

static inline void count_call(void *opaque)
{
	++*(int *)opaque;
}

static inline int new_eventfd(unsigned count)
{
	int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

static inline void raise_fd(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* Empty an eventfd; true if it held something. */
static inline bool drain_fd(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Is the process's first thread asleep in the kernel? */
static inline bool main_thread_sleeps(void)
{
	char path[64], stat[256] = "";
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	len = read(fd, stat, sizeof(stat) - 1);
	close(fd);
	assert_true(len > 0);
	return strstr(stat, ") S ") != NULL;
}

/* Return once @loop, whose home is the main thread, sleeps in its wait. */
static inline void await_sleep(struct loop *loop)
{
	while (atomic_load(&loop->notify_me) == 0 || !main_thread_sleeps())
		sched_yield();
}

#endif
