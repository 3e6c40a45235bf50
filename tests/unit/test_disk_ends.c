/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_disk_ends.c - requests that wait, callbacks that close or
 * submit, rings and threads that a host refuses.
 *
 * The latter is injected with seccomp, which is a thread's own affair.
 */
#include "tests/unit/test_disk_common.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ---- ends ---- */

struct ordered {
	struct disk_request req;
	unsigned *ended, place;
};

static void note_place(void *opaque, int result)
{
	struct ordered *o = opaque;

	assert_int_equal(result, 0);
	o->place = (*o->ended)++;
}

static void who_waits_is_not_overtaken(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, true);
	uint8_t *mem = aligned_alloc(4096, 3 * 4096);
	/* The second is part of a block. */
	struct iovec iov[3] = {
		{mem, 4096}, {mem + 4096, 100}, {mem + 8192, 4096}};
	struct ordered o[3];
	unsigned i, ended = 0;

	memset(mem, 1, 3 * 4096);
	for (i = 0; i < 3; i++) {
		o[i] = (struct ordered){.req = {.op = DISK_WRITE,
						.iov = &iov[i],
						.iovs = 1,
						.offset = 4096 * i,
						.done = note_place,
						.opaque = &o[i]},
			.ended = &ended};
		assert_int_equal(disk_submit(disk, &o[i].req), 0);
	}
	disk_drain(disk);
	for (i = 0; i < 3; i++)
		assert_int_equal(o[i].place, i);
	disk_close(disk);
	free(mem);
}

#define CROWD 200

static void closing_waits_for_a_crowd(struct bench *b, bool direct)
{
	struct disk *disk = open_ok(b, false, direct);
	static struct io io[CROWD];
	static struct iovec iov[CROWD];
	uint8_t *mem = aligned_alloc(4096, 4096 * CROWD), back[4096];
	unsigned i, op;
	int fd;

	for (i = 0; i < CROWD; i++) {
		op = i % 10 == 9 ? DISK_FLUSH : DISK_WRITE;
		memset(mem + 4096 * i, (int)i + 1, 4096);
		/* Some are parts of a block, and wait for each other. */
		iov[i] = (struct iovec){
			mem + 4096 * i, i % 7 == 0 ? 1000 : 4096};
		begin(disk, &io[i], op, &iov[i], op != DISK_FLUSH,
			op == DISK_FLUSH ? 0 : 4096 * i);
	}
	disk_close(disk);
	fd = open(b->path, O_RDONLY | O_CLOEXEC);
	for (i = 0; i < CROWD; i++) {
		assert_true(io[i].done);
		assert_int_equal(io[i].result, 0);
		if (io[i].req.op == DISK_FLUSH)
			continue;
		assert_int_equal(pread(fd, back, 4096, 4096 * (off_t)i), 4096);
		assert_memory_equal(back, mem + 4096 * i, iov[i].iov_len);
	}
	close(fd);
	free(mem);
}

static void closing_waits_for_the_waiting_too(void **state)
{
	closing_waits_for_a_crowd(bench_of(state), false);
	closing_waits_for_a_crowd(bench_of(state), true);
}

struct closer {
	struct io io;
	struct disk *disk;
	bool closed;
};

static void close_it(void *opaque, int result)
{
	struct closer *c = opaque;

	io_done(&c->io, result);
	disk_close(c->disk);
	c->closed = true;
}

static void the_last_callback_may_close_the_disk(void **state)
{
	struct bench *b = bench_of(state);
	uint8_t buf[5][512];
	struct iovec iov[5];
	struct io others[4];
	struct closer c;
	unsigned len, i;

	/* 0: a request that no engine sees. */
	for (len = 0; len <= 512; len += 512) {
		for (i = 0; i < 5; i++)
			iov[i] = (struct iovec){buf[i], i == 4 ? len : 512};
		c = (struct closer){.disk = open_ok(b, false, false)};
		c.io.req = (struct disk_request){.op = DISK_READ,
			.iov = &iov[4],
			.iovs = 1,
			.done = close_it,
			.opaque = &c};
		assert_int_equal(disk_submit(c.disk, &c.io.req), 0);
		for (i = 0; i < 4; i++)
			begin(c.disk, &others[i], DISK_READ, &iov[i], 1,
				512 * i);
		while (!c.closed)
			loop_poll(b->loop, true);
		for (i = 0; i < 4; i++)
			assert_true(others[i].done && others[i].result == 0);
	}
}

struct chain {
	struct io io;
	struct disk *disk;
	unsigned left, depth;
};

static void next_link(void *opaque, int result)
{
	struct chain *c = opaque;

	assert_int_equal(result, 0);
	assert_int_equal(c->depth, 0); /* not from inside disk_submit() */
	if (c->left-- == 0) {
		c->io.done = true;
		return;
	}
	c->depth++;
	assert_int_equal(disk_submit(c->disk, &c->io.req), 0);
	c->depth--;
}

static void a_callback_may_submit_its_request_again(void **state)
{
	struct bench *b = bench_of(state);
	struct chain c = {.disk = open_ok(b, false, false), .left = 3000};
	uint8_t buf[512];
	struct iovec iov = {buf, 512};

	c.io.req = (struct disk_request){.op = DISK_READ,
		.iov = &iov,
		.iovs = 1,
		.done = next_link,
		.opaque = &c};
	assert_int_equal(disk_submit(c.disk, &c.io.req), 0);
	finish(b, &c.io);
	close_checked(b, c.disk);
}

/* ---- hosts that say no ---- */

/* Make @nr fail with @err from now on, in this thread. */
static int forbid(int nr, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = 4, .filter = code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog);
}

/* A life on a thread with a ring and a pool of its own.  cmocka's failures
 * are for the main thread: results are looked at there. */
struct exile {
	const char *path;
	bool direct;
	int forbidden, opened;
	int submitted[4], result[4];
	bool done[4];
	struct disk_stats st;
};

static void note_done(void *opaque, int result)
{
	struct io *io = opaque;

	io->done = true;
	io->result = result;
}

static void submit_all(
	struct exile *x, struct disk *disk, struct io *io, struct iovec *iov)
{
	/* Whole blocks, then parts of one, which must wait, then whole. */
	static const unsigned len[4] = {4096, 100, 4096, 4096};
	unsigned i;

	for (i = 0; i < 4; i++) {
		iov[i].iov_len = x->direct ? len[i] : 4096;
		io[i] = (struct io){
			.req = {.op = i == 3 ? DISK_READ : DISK_WRITE,
				.iov = &iov[i],
				.iovs = 1,
				.offset = 4096 * i,
				.done = note_done,
				.opaque = &io[i]}};
		x->submitted[i] = disk_submit(disk, &io[i].req);
	}
}

static void live_on(struct exile *x, void (*refuse)(struct exile *x))
{
	const struct loop_options opt = {
		.backend = LOOP_URING, .name = "exile"};
	struct disk_options disk_opt = {.name = "disk7",
		.path = x->path,
		.fd = -1,
		.direct = x->direct};
	uint8_t *mem = aligned_alloc(4096, 4 * 4096);
	struct iovec iov[4];
	struct loop *loop;
	struct pool *pool;
	struct disk *disk;
	struct io io[4];
	unsigned i;

	memset(mem, 7, 4 * 4096);
	x->forbidden = x->opened = -1;
	if (loop_create(&opt, &loop, NULL) < 0)
		goto out;
	pool_create(NULL, &pool, NULL);
	loop_poll(loop, false);
	x->opened = disk_open(loop, pool, &disk_opt, &disk, NULL);
	if (x->opened == 0) {
		for (i = 0; i < 4; i++)
			iov[i].iov_base = mem + 4096 * i;
		refuse(x);
		submit_all(x, disk, io, iov);
		disk_drain(disk);
		for (i = 0; i < 4; i++) {
			x->done[i] = io[i].done;
			x->result[i] = io[i].result;
		}
		disk_stats(disk, &x->st);
		disk_close(disk);
	}
	pool_destroy(pool);
	loop_destroy(loop);
out:
	free(mem);
}

static void refuse_ring(struct exile *x)
{
	x->forbidden = forbid(SYS_io_uring_enter, EPERM);
}

static void *lose_ring(void *opaque)
{
	live_on(opaque, refuse_ring);
	return NULL;
}

static void refuse_threads(struct exile *x)
{
	x->forbidden = forbid(SYS_clone3, EAGAIN) | forbid(SYS_clone, EAGAIN);
}

static void *lose_threads(void *opaque)
{
	live_on(opaque, refuse_threads);
	return NULL;
}

static void run_exile(struct exile *x, void *(*fn)(void *))
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, fn, x), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (x->opened < 0 || x->forbidden < 0) {
		print_message("# skip: no %s here\n",
			x->opened < 0 ? "ring, or no O_DIRECT" : "seccomp");
		skip();
	}
}

static void a_ring_lost_on_the_way_leaves_it_to_the_pool(void **state)
{
	struct bench *b = bench_of(state);
	struct exile x = {.path = b->path};
	uint8_t back[3 * 4096], want[3 * 4096];
	struct disk *disk;
	unsigned i;

	run_exile(&x, lose_ring);
	for (i = 0; i < 4; i++) {
		assert_int_equal(x.submitted[i], 0);
		assert_true(x.done[i]);
		assert_int_equal(x.result[i], 0);
	}
	assert_int_equal(x.st.uring, 4); /* they were prepared */
	assert_int_equal(x.st.moved, 4);
	memset(want, 7, sizeof(want));
	disk = open_ok(b, false, false);
	assert_int_equal(do_io(b, disk, DISK_READ, back, sizeof(back), 0), 0);
	assert_memory_equal(back, want, sizeof(back));
	disk_close(disk);
}

static void who_waited_in_vain_for_a_thread_is_told(void **state)
{
	struct bench *b = bench_of(state);
	struct exile x = {.path = b->path, .direct = true};

	run_exile(&x, lose_threads);
	assert_int_equal(x.submitted[1], 0); /* it had to wait */
	assert_true(x.done[0] && x.done[1] && x.done[2] && x.done[3]);
	assert_int_equal(x.result[0], 0);
	assert_int_equal(x.result[1], -EAGAIN);
	assert_int_equal(x.result[2], 0);
	assert_int_equal(x.result[3], 0);
	assert_int_equal(x.st.uring, 3);
	assert_int_equal(x.st.pool, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(who_waits_is_not_overtaken),
		ON_BOTH(closing_waits_for_the_waiting_too),
		ON_BOTH(the_last_callback_may_close_the_disk),
		ON_BOTH(a_callback_may_submit_its_request_again),
		ON(uring, a_ring_lost_on_the_way_leaves_it_to_the_pool),
		ON(uring, who_waited_in_vain_for_a_thread_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
