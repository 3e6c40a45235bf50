/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_loop_uring.c - the ring: operations, batches, overflow,
 * removal, and hosts that forbid it (L6, L7, L15).
 *
 * Faults are injected with seccomp, which is a thread's own affair: a thread
 * that may not, or not always, call io_uring runs the loop.
 */
#include "tests/unit/test_loop_common.h"

#include <liburing.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "loop/fdmon_uring.h"
#include "loop/uring.h"

struct request {
	struct loop_op op;
	struct iovec iov;
	int calls;
	int32_t res;
};

static void request_done(void *opaque, int32_t res)
{
	struct request *r = opaque;

	r->calls++;
	r->res = res;
}

static void finish(struct loop *loop, const struct request *r)
{
	while (r->calls == 0)
		loop_poll(loop, true);
}

static void operation_completes(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct request r = {.calls = 0};
	struct loop_stats st;
	char out[4096];
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_int_equal(pwrite(fd, "hello", 5, 4096), 5);
	loop_op_init(&r.op, loop, request_done, &r);
	assert_true(loop_uring_available(loop));
	io_uring_prep_read(loop_uring_prep(&r.op), fd, out, 4096, 4096);
	assert_true(loop_poll(loop, true));
	finish(loop, &r);
	assert_int_equal(r.res, 4096);
	assert_string_equal(out, "hello");
	loop_stats(loop, &st);
	assert_int_equal(st.ops_run, 1);
	/* The same storage serves again; an error is a result. */
	r.calls = 0;
	io_uring_prep_read(loop_uring_prep(&r.op), -1, out, 4096, 0);
	finish(loop, &r);
	assert_int_equal(r.res, -EBADF);
	close(fd);
}

static void operation_can_be_cancelled(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct request r = {.calls = 0};
	uint64_t out;
	int fd = eventfd(0, EFD_CLOEXEC); /* a read waits */

	loop_op_init(&r.op, loop, request_done, &r);
	assert_int_equal(loop_uring_cancel(&r.op), 0); /* harmless */
	io_uring_prep_read(loop_uring_prep(&r.op), fd, &out, 8, 0);
	assert_false(loop_poll(loop, false));
	assert_int_equal(r.calls, 0);
	assert_int_equal(loop_uring_cancel(&r.op), 0);
	finish(loop, &r);
	assert_int_equal(r.res, -ECANCELED);
	loop_notify(loop);
	assert_false(loop_poll(loop, true));
	assert_int_equal(r.calls, 1);
	close(fd);
}

static void batch_limits_what_is_held_back(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct io_uring *ring = &loop->uring->ring;
	struct request r[10];
	int i, done = 0;

	loop_poll(loop, false); /* arms the eventfd */
	for (i = 0; i < 10; i++) {
		r[i].calls = 0;
		loop_op_init(&r[i].op, loop, request_done, &r[i]);
	}
	loop_uring_set_batch(loop, 4);
	for (i = 0; i < 10; i++) {
		io_uring_prep_nop(loop_uring_prep(&r[i].op));
		assert_int_equal(io_uring_sq_ready(ring), i % 4 + 1);
	}
	while (loop_poll(loop, false))
		;
	/* 0: the default. */
	loop_uring_set_batch(loop, 0);
	for (i = 0; i < 10; i++) {
		done += r[i].calls;
		io_uring_prep_nop(loop_uring_prep(&r[i].op));
		assert_int_equal(io_uring_sq_ready(ring), i % URING_BATCH + 1);
	}
	assert_int_equal(done, 10);
	while (loop_poll(loop, false))
		;
	for (i = 0; i < 10; i++)
		assert_int_equal(r[i].calls, 2);
}

static void more_operations_than_entries(void **state)
{
	struct loop *loop = fixture_loop(state);
	static struct request r[5000];
	struct io_uring_sqe *sqe;
	int i;

	/* Never polled meanwhile unless the kernel asks for it. */
	for (i = 0; i < 5000; i++) {
		r[i].calls = 0;
		loop_op_init(&r[i].op, loop, request_done, &r[i]);
		while (!(sqe = loop_uring_prep(&r[i].op)))
			loop_poll(loop, false);
		io_uring_prep_nop(sqe);
	}
	while (loop_ops_in_flight(loop))
		loop_poll(loop, true);
	for (i = 0; i < 5000; i++)
		assert_int_equal(r[i].calls, 1);
}

static bool count_and_leave(void *opaque, unsigned ready)
{
	struct loop_fd **h = opaque;

	loop_fd_del(*h);
	*h = NULL;
	return true;
}

static void more_ready_fds_than_entries(void **state)
{
	struct loop *loop = fixture_loop(state);
	static struct loop_fd *h[3000];
	static int fd[3000];
	int i, left, event = new_eventfd(0);

	for (i = 0; i < 3000; i++) {
		fd[i] = dup(event);
		assert_true(fd[i] >= 0);
		assert_int_equal(loop_fd_add(loop, fd[i], LOOP_READ, 0,
					 count_and_leave, &h[i], "dup", &h[i]),
			0);
	}
	loop_poll(loop, false);
	raise_fd(event);
	/* Every one is told, in the first turn, though CQ entries are fewer. */
	assert_true(loop_poll(loop, true));
	for (i = 0, left = 0; i < 3000; i++) {
		left += h[i] != NULL;
		close(fd[i]);
	}
	assert_int_equal(left, 0);
	assert_false(loop_poll(loop, false));
	close(event);
}

static bool never(void *opaque, unsigned ready)
{
	fail_msg("a removed handler was called");
	return true;
}

static bool drained(void *opaque, unsigned ready)
{
	++*(int *)opaque;
	return true;
}

static void late_completion_is_dropped(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_fd *h;
	int i, calls = 0, fd = new_eventfd(0);

	for (i = 0; i < 50; i++) {
		assert_int_equal(loop_fd_add(loop, fd, LOOP_READ, 0, never,
					 NULL, "old", &h),
			0);
		assert_false(loop_poll(loop, false)); /* armed */
		raise_fd(fd); /* its completion is on the way */
		loop_fd_del(h);
		if (i % 2)
			assert_false(loop_poll(loop, false));
		drain_fd(fd);
	}
	/* Event masks come and go faster than completions. */
	assert_int_equal(
		loop_fd_add(loop, fd, LOOP_READ, 0, drained, &calls, "new", &h),
		0);
	for (i = 0; i < 50; i++) {
		loop_fd_set(h, i % 2 ? LOOP_READ : 0);
		loop_poll(loop, false);
		assert_int_equal(calls, 0);
	}
	raise_fd(fd);
	assert_true(loop_poll(loop, true));
	assert_int_equal(calls, 1);
	loop_fd_del(h);
	close(fd);
}

static void removal_lets_go_of_the_file(void **state)
{
	struct loop *loop = fixture_loop(state);
	struct loop_fd *h;
	int pipefd[2];

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(pipefd, O_CLOEXEC | O_NONBLOCK), 0);
	/* Errors only, so that no write ends the poll by itself. */
	assert_int_equal(
		loop_fd_add(loop, pipefd[0], 0, 0, never, NULL, "pipe", &h), 0);
	assert_false(loop_poll(loop, false)); /* the kernel holds the file */
	loop_fd_del(h);
	close(pipefd[0]);
	/* Without a cancellation the reader would live on, and this too. */
	while (write(pipefd[1], "x", 1) == 1)
		loop_poll(loop, false);
	assert_int_equal(errno, EPIPE);
	while (atomic_load(&loop->graveyard))
		loop_poll(loop, false);
	close(pipefd[1]);
}

static bool drain_and_count(void *opaque, unsigned ready)
{
	int *fd_and_calls = opaque;

	if (!drain_fd(fd_and_calls[0]))
		return false;
	fd_and_calls[1]++;
	return true;
}

static void multishot_is_armed_once(void **state)
{
	struct loop *loop = fixture_loop(state);
	int source[2] = {new_eventfd(0), 0}, i;
	struct loop_fd *h;

	assert_int_equal(loop_fd_add(loop, source[0], LOOP_READ, LOOP_FD_DRAINS,
				 drain_and_count, source, "drains", &h),
		0);
	loop_poll(loop, false);
	for (i = 1; i <= 1000; i++) {
		raise_fd(source[0]);
		while (source[1] < i)
			loop_poll(loop, true);
		assert_int_equal(io_uring_sq_ready(&loop->uring->ring), 0);
		assert_null(loop->uring->rearm);
	}
	loop_fd_del(h);
	close(source[0]);
}

/* ---- hosts that say no ---- */

/* Make @nr end as @action from now on, in this thread.  Return: what the
 * system call says; a listener if @flags asks for one. */
static int forbid(int nr, uint32_t action, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

#define MANY 40

struct outcome {
	int filter;		   /* what forbid() said */
	int forced;		   /* loop_create() with LOOP_URING */
	char text[256];		   /* its error */
	const char *first, *later; /* back ends of the automatic loop */
	int calls;
	char log[1024];
};

static bool quiet(void *opaque, unsigned ready)
{
	int *fd_and_calls = opaque;

	return drain_and_count(fd_and_calls, ready);
}

/* Watch MANY fds, make all ready, see all called. */
static int exercise(struct loop *loop, const char **ret_first)
{
	struct loop_fd *h[MANY];
	int source[MANY][2], i, calls = 0;

	for (i = 0; i < MANY; i++) {
		source[i][0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		source[i][1] = 0;
		if (loop_fd_add(loop, source[i][0], LOOP_READ,
			    i % 2 ? LOOP_FD_EXTERNAL : 0, quiet, source[i],
			    "src", &h[i]) < 0)
			return -1;
		if (i == 0) {
			loop_poll(loop, false);
			*ret_first = loop_backend_name(loop);
		}
		if (i == 5)
			loop_disable_external(loop);
		raise_fd(source[i][0]);
	}
	loop_poll(loop, true);
	loop_enable_external(loop);
	while (loop_poll(loop, false))
		;
	for (i = 0; i < MANY; i++) {
		calls += source[i][1];
		loop_fd_del(h[i]);
		close(source[i][0]);
	}
	return calls;
}

static void *live_without(void *opaque)
{
	struct loop_options opt = {.backend = LOOP_URING, .name = "poor"};
	struct outcome *o = opaque;
	struct loop *loop = NULL;
	struct error err;

	o->filter = forbid(SYS_io_uring_setup, SECCOMP_RET_ERRNO | EPERM, 0);
	if (o->filter < 0)
		return NULL;
	o->forced = loop_create(&opt, &loop, &err);
	snprintf(o->text, sizeof(o->text), "%.200s", err.text);
	opt.backend = LOOP_AUTO;
	if (loop_create(&opt, &loop, NULL) < 0)
		return NULL;
	o->calls = exercise(loop, &o->first);
	o->later = loop_backend_name(loop);
	loop_destroy(loop);
	return NULL;
}

/* Run @fn on a thread, its log into @o->log. */
static void run_logged(void *(*fn)(void *), struct outcome *o)
{
	int log = memfd_create("log", MFD_CLOEXEC), saved = dup(2);
	pthread_t thread;
	ssize_t len;

	fflush(stderr);
	dup2(log, 2);
	pthread_create(&thread, NULL, fn, o);
	pthread_join(thread, NULL);
	dup2(saved, 2);
	close(saved);
	len = pread(log, o->log, sizeof(o->log) - 1, 0);
	o->log[len > 0 ? len : 0] = '\0';
	close(log);
}

static int lines(const char *text)
{
	int n = 0;

	while ((text = strchr(text, '\n'))) {
		n++;
		text++;
	}
	return n;
}

static void forbidden_by_seccomp(void **state)
{
	struct outcome o = {.calls = 0};
	int fds = testing_fd_count();

	run_logged(live_without, &o);
	if (o.filter < 0)
		skip();
	assert_int_equal(o.forced, -ENOSYS);
	assert_non_null(strstr(o.text, "loop poor: io_uring_setup"));
	/* An automatic loop does without, says so once, and upgrades. */
	assert_string_equal(o.first, "ppoll");
	assert_string_equal(o.later, "epoll");
	assert_int_equal(o.calls, MANY);
	assert_int_equal(lines(o.log), 1);
	assert_non_null(strstr(o.log, "using ppoll"));
	assert_int_equal(testing_fd_count(), fds);
}

static void *lose_it(void *opaque)
{
	struct loop_options opt = {.backend = LOOP_AUTO, .name = "poor"};
	struct outcome *o = opaque;
	struct request r = {.calls = 0};
	struct loop *loop;

	if (loop_create(&opt, &loop, NULL) < 0)
		return NULL;
	if (!loop_uring_available(loop)) {
		loop_destroy(loop);
		return NULL;
	}
	loop_poll(loop, false);
	/* A sandbox that comes after the loop. */
	o->filter = forbid(SYS_io_uring_enter, SECCOMP_RET_ERRNO | EPERM, 0);
	loop_op_init(&r.op, loop, request_done, &r);
	io_uring_prep_nop(loop_uring_prep(&r.op));
	o->calls = exercise(loop, &o->first);
	o->later = loop_backend_name(loop);
	if (r.calls != 1 || r.res != -ECANCELED || loop_uring_available(loop) ||
		loop_uring_prep(&r.op))
		o->calls = -1;
	loop_destroy(loop);
	return NULL;
}

static void forbidden_later(void **state)
{
	struct outcome o = {.filter = -1};
	int fds = testing_fd_count();

	run_logged(lose_it, &o);
	if (o.filter < 0)
		skip();
	assert_int_equal(o.calls, MANY);
	assert_string_equal(o.later, "epoll");
	assert_int_equal(lines(o.log), 1);
	assert_int_equal(testing_fd_count(), fds);
}

/* ---- a kernel short of memory ---- */

struct shortage {
	int listener;
	_Atomic bool ready, over;
	int refuse, refused, seen; /* calls */
	struct outcome out;
};

/* Answers each io_uring_enter() of the other thread: no memory, or go on. */
static void *refuse_some(void *opaque)
{
	struct seccomp_notif_resp resp;
	struct shortage *s = opaque;
	struct seccomp_notif req;

	while (!atomic_load(&s->ready))
		sched_yield();
	if (s->listener < 0)
		return NULL;
	for (;;) {
		memset(&req, 0, sizeof(req));
		if (ioctl(s->listener, SECCOMP_IOCTL_NOTIF_RECV, &req) < 0) {
			if (errno == EINTR)
				continue;
			return NULL; /* ENOENT: the thread is gone */
		}
		resp = (struct seccomp_notif_resp){.id = req.id};
		s->seen++;
		/* Every other call, until enough were refused. */
		if (s->refused < s->refuse && s->seen % 2) {
			s->refused++;
			resp.error = -ENOMEM;
		} else {
			resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
		}
		ioctl(s->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
		if (atomic_load(&s->over))
			return NULL;
	}
}

static void *run_short(void *opaque)
{
	struct loop_options opt = {.backend = LOOP_URING, .name = "short"};
	struct shortage *s = opaque;
	struct request r[20];
	struct loop *loop;
	char buf[20][16];
	int i, fd = memfd_create("file", MFD_CLOEXEC);

	if (loop_create(&opt, &loop, NULL) < 0 || ftruncate(fd, 64) < 0)
		return NULL;
	s->listener = forbid(SYS_io_uring_enter, SECCOMP_RET_USER_NOTIF,
		SECCOMP_FILTER_FLAG_NEW_LISTENER);
	atomic_store(&s->ready, true);
	if (s->listener < 0)
		goto out;
	for (i = 0; i < 20; i++) {
		r[i].calls = 0;
		loop_op_init(&r[i].op, loop, request_done, &r[i]);
		io_uring_prep_read(
			loop_uring_prep(&r[i].op), fd, buf[i], 16, 0);
		while (r[i].calls == 0)
			loop_poll(loop, true);
		s->out.filter += r[i].res == 16;
	}
	s->out.calls = exercise(loop, &s->out.first);
	s->out.later = loop_backend_name(loop);
out:
	loop_destroy(loop);
	close(fd);
	atomic_store(&s->over, true);
	return NULL;
}

static void *run_short_logged(void *opaque)
{
	struct outcome *o = opaque;

	return run_short((char *)o - offsetof(struct shortage, out));
}

static void enomem_from_enter(void **state)
{
	struct shortage s = {.listener = -1, .refuse = 10};
	int fds = testing_fd_count();
	pthread_t supervisor;

	alarm(TESTING_WATCHDOG_S);
	pthread_create(&supervisor, NULL, refuse_some, &s);
	run_logged(run_short_logged, &s.out);
	if (s.listener >= 0)
		close(s.listener);
	pthread_join(supervisor, NULL);
	alarm(0);
	if (s.listener < 0)
		skip();
	assert_int_equal(s.refused, 10);
	assert_int_equal(s.out.filter, 20); /* every read in full */
	assert_int_equal(s.out.calls, MANY);
	assert_string_equal(s.out.later, "io_uring");
	assert_int_equal(testing_fd_count(), fds);
}

#define RING(promise, fn) WITH(LOOP_URING, promise, fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RING("an operation's result reaches its callback",
			operation_completes),
		RING("an operation can be cancelled",
			operation_can_be_cancelled),
		RING("no more than a batch is held back",
			batch_limits_what_is_held_back),
		RING("more operations than ring entries all complete",
			more_operations_than_entries),
		RING("more ready fds than ring entries are told in one turn",
			more_ready_fds_than_entries),
		RING("a late completion never reaches a removed or changed "
		     "handler",
			late_completion_is_dropped),
		RING("a removed handler's file is let go of",
			removal_lets_go_of_the_file),
		RING("a handler that drains is armed once",
			multishot_is_armed_once),
		{"a host that forbids io_uring gets ppoll, then epoll, and "
		 "one line of log",
			forbidden_by_seccomp, NULL, NULL, NULL},
		{"io_uring forbidden later: the loop goes on with epoll",
			forbidden_later, NULL, NULL, NULL},
		{"ENOMEM from io_uring_enter loses nothing and hangs nothing",
			enomem_from_enter, NULL, NULL, NULL},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
