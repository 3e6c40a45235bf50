/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_disk_common.h - an image, a loop and a pool for each test, on
 * each engine of the disk.
 *
 * A test that hangs is killed by an alarm; one that leaks an fd fails in its
 * teardown, and so does one whose requests went through the wrong engine.  A
 * host without io_uring skips that engine with a reason.
 */
#ifndef GODWIT_TESTS_UNIT_TEST_DISK_COMMON_H
#define GODWIT_TESTS_UNIT_TEST_DISK_COMMON_H

#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loop/loop.h"
#include "loop/pool.h"
#include "virtio/backend/disk.h"
#include "vmm/error.h"

#define BYTES (1u << 20)

struct engine {
	const char *name;
	enum loop_backend loop;
	enum disk_engine engine;
};

/* What a ring gets by itself, and what a loop without one gets; that a choice
 * is obeyed where there is one is a test of its own. */
static const struct engine engine_uring = {"uring", LOOP_URING, DISK_AUTO};
static const struct engine engine_pool = {"pool", LOOP_EPOLL, DISK_AUTO};

#define ON(engine, fn)                                                         \
	{                                                                      \
#fn " [" #engine "]", fn, setup, teardown,                     \
			(void *)(uintptr_t)&engine_##engine                    \
	}
#define ON_BOTH(fn) ON(pool, fn), ON(uring, fn)

struct bench {
	const struct engine *engine;
	struct loop *loop;
	struct pool *pool;
	char dir[64], path[80];
	int fds; /* open before it was made */
};

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct loop_options opt = {.name = "test"};
	struct error err = {0};
	int fd;

	alarm(TESTING_WATCHDOG_S);
	b->engine = *state;
	b->fds = testing_fd_count();
	strcpy(b->dir, "/tmp/godwit-disk-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/img", b->dir);
	fd = open(b->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BYTES), 0);
	close(fd);
	opt.backend = b->engine->loop;
	if (loop_create(&opt, &b->loop, &err) < 0)
		print_message("# skip: %s\n", err.text);
	else
		loop_adopt(b->loop);
	assert_int_equal(pool_create(NULL, &b->pool, NULL), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	int fds;

	pool_destroy(b->pool);
	loop_destroy(b->loop);
	unlink(b->path);
	assert_int_equal(rmdir(b->dir), 0);
	fds = testing_fd_count() - b->fds;
	free(b);
	alarm(0);
	if (fds != 0)
		print_error("leaked %d fds\n", fds);
	return fds == 0 ? 0 : -1;
}

/* The bench of this test, or skip. */
static struct bench *bench_of(void **state)
{
	struct bench *b = *state;

	if (!b->loop)
		skip();
	return b;
}

static inline int try_open(struct bench *b, const char *path, bool readonly,
	bool direct, struct disk **ret, struct error *err)
{
	struct disk_options opt = {.name = "disk7",
		.path = path,
		.fd = -1,
		.readonly = readonly,
		.direct = direct,
		.engine = b->engine->engine};

	memset(err, 0, sizeof(*err));
	return disk_open(b->loop, b->pool, &opt, ret, err);
}

static inline struct disk *open_ok(struct bench *b, bool readonly, bool direct)
{
	struct disk *disk = NULL;
	struct error err;

	if (try_open(b, b->path, readonly, direct, &disk, &err) < 0) {
		if (direct && err.code == -EINVAL) {
			print_message("# skip: %s\n", err.text);
			skip();
		}
		fail_msg("%s", err.text);
	}
	return disk;
}

/* A disk on @fd, which is taken. */
static inline struct disk *open_this(struct bench *b, int fd)
{
	struct disk_options opt = {
		.name = "disk7", .fd = fd, .engine = b->engine->engine};
	struct disk *disk = NULL;
	struct error err = {0};

	if (disk_open(b->loop, b->pool, &opt, &disk, &err) < 0)
		fail_msg("%s", err.text);
	return disk;
}

/* Close @disk after it did something with the engine of this test alone. */
static inline void close_checked(struct bench *b, struct disk *disk)
{
	struct disk_stats st;

	disk_drain(disk);
	disk_stats(disk, &st);
	if (b->engine == &engine_uring)
		assert_true(st.uring > 0 && st.pool == 0 && st.moved == 0);
	else
		assert_true(st.uring == 0 && st.pool > 0 && st.moved == 0);
	disk_close(disk);
}

struct io {
	struct disk_request req;
	bool done;
	int result;
};

static inline void io_done(void *opaque, int result)
{
	struct io *io = opaque;

	assert_false(io->done);
	io->done = true;
	io->result = result;
}

static inline void begin(struct disk *disk, struct io *io, enum disk_op op,
	const struct iovec *iov, unsigned iovs, uint64_t offset)
{
	*io = (struct io){.req = {.op = op,
				  .iov = iov,
				  .iovs = iovs,
				  .offset = offset,
				  .done = io_done,
				  .opaque = io}};
	assert_int_equal(disk_submit(disk, &io->req), 0);
	assert_false(io->done); /* never from inside */
}

static inline int finish(struct bench *b, struct io *io)
{
	while (!io->done)
		loop_poll(b->loop, true);
	return io->result;
}

static inline int do_iov(struct bench *b, struct disk *disk, enum disk_op op,
	const struct iovec *iov, unsigned iovs, uint64_t offset)
{
	struct io io;

	begin(disk, &io, op, iov, iovs, offset);
	return finish(b, &io);
}

static inline int do_io(struct bench *b, struct disk *disk, enum disk_op op,
	void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = {buf, len};

	return do_iov(b, disk, op, &iov, op == DISK_FLUSH ? 0 : 1, offset);
}

#endif
