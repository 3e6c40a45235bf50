/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_disk.c - raw images: open, refuse, transfer, lock. */
#include "tests/unit/test_disk_common.h"

#include <sys/resource.h>
#include <sys/stat.h>

/* Random pieces at random places against a copy in memory. */
static void compare_with_memory(struct bench *b, bool direct, unsigned unit)
{
	uint64_t rnd = testing_seed(__func__);
	static uint8_t model[BYTES], mem[BYTES + 64], back[BYTES];
	struct disk *disk = open_ok(b, false, direct);
	struct iovec iov[200];
	unsigned round, n, i;
	size_t off, len, at, cut;

	memset(model, 0, sizeof(model));
	for (round = 0; round < 120; round++) {
		off = testing_random(&rnd) % BYTES / unit * unit;
		len = testing_random(&rnd) % (round % 8 ? 9000 : 400000);
		if (len > BYTES - off)
			len = BYTES - off;
		len = len / unit * unit;
		if (len == 0)
			continue;
		/* Memory from an odd address on, in up to 200 pieces. */
		at = round % 3 ? testing_random(&rnd) % 64 : 0;
		for (i = 0; i < len; i++)
			mem[at + i] = (uint8_t)testing_random(&rnd);
		for (n = 0, i = 0; i < len; i += (unsigned)cut, n++) {
			cut = testing_random(&rnd) % 4096 + 1;
			if (cut > len - i || n == 199)
				cut = len - i;
			iov[n] = (struct iovec){mem + at + i, cut};
		}
		if (round % 2) {
			memcpy(model + off, mem + at, len);
			assert_int_equal(
				do_iov(b, disk, DISK_WRITE, iov, n, off), 0);
		} else {
			assert_int_equal(
				do_iov(b, disk, DISK_READ, iov, n, off), 0);
			assert_memory_equal(mem + at, model + off, len);
		}
	}
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, back, BYTES, 0), 0);
	assert_memory_equal(back, model, BYTES);
	disk_close(disk);
}

static void any_bytes_are_transferred_as_they_are(void **state)
{
	compare_with_memory(bench_of(state), false, 1);
}

static void direct_io_takes_sectors_at_any_memory_address(void **state)
{
	compare_with_memory(bench_of(state), true, 512);
}

static void direct_io_takes_bytes_that_are_no_whole_blocks(void **state)
{
	compare_with_memory(bench_of(state), true, 1);
}

/* ---- many at a time ---- */

#define SLOTS 24

struct slot {
	struct io io;
	struct iovec iov[8];
	uint8_t *mem;
	size_t off, len;
	bool busy;
};

static bool collides(const struct slot *slot, size_t off, size_t len)
{
	unsigned i;

	for (i = 0; i < SLOTS; i++)
		if (slot[i].busy && off < slot[i].off + slot[i].len &&
			slot[i].off < off + len)
			return true;
	return false;
}

/* Look at what ended. */
static void reap(struct slot *slot, const uint8_t *model)
{
	unsigned i;

	for (i = 0; i < SLOTS; i++) {
		if (!slot[i].busy || !slot[i].io.done)
			continue;
		slot[i].busy = false;
		assert_int_equal(slot[i].io.result, 0);
		if (slot[i].io.req.op == DISK_READ)
			assert_memory_equal(slot[i].mem + slot[i].off % 512,
				model + slot[i].off, slot[i].len);
	}
}

/* Begin something random in @s, if that touches no other's bytes. */
static void begin_random(struct disk *disk, struct slot *all, struct slot *s,
	uint8_t *model, uint64_t *rnd, unsigned unit)
{
	size_t off = testing_random(rnd) % BYTES / unit * unit, i, cut;
	size_t len = (testing_random(rnd) % 12000 + 1 + unit) / unit * unit;
	bool odd = testing_random(rnd) % 4 == 0;
	uint8_t *at = s->mem + off % 512;
	unsigned n = 0;
	enum disk_op op = testing_random(rnd) % 2 ? DISK_READ : DISK_WRITE;

	if (testing_random(rnd) % 100 == 0) {
		s->len = s->off = 0;
		begin(disk, &s->io, DISK_FLUSH, NULL, 0, 0);
		s->busy = true;
		return;
	}
	if (len > BYTES - off)
		len = BYTES - off;
	if (collides(all, off, len))
		return;
	if (op == DISK_WRITE) {
		for (i = 0; i < len; i++)
			at[i] = (uint8_t)testing_random(rnd);
		memcpy(model + off, at, len);
	}
	for (i = 0; i < len; i += cut, n++) {
		cut = testing_random(rnd) % 4096 + 1;
		cut = odd ? cut : cut / 512 * 512 + 512;
		if (cut > len - i || n == 7)
			cut = len - i;
		s->iov[n] = (struct iovec){at + i, cut};
	}
	s->off = off;
	s->len = len;
	s->busy = true;
	begin(disk, &s->io, op, s->iov, n, off);
}

/* Requests that do not touch each other's bytes, though often each other's
 * blocks, against a copy in memory. */
static void crowd_against_memory(struct bench *b, bool direct, unsigned unit)
{
	uint64_t rnd = testing_seed(__func__);
	struct disk *disk = open_ok(b, false, direct);
	uint8_t *model = calloc(1, BYTES), *back = malloc(BYTES);
	static struct slot slot[SLOTS];
	struct disk_stats st;
	unsigned round, i;

	memset(slot, 0, sizeof(slot));
	for (i = 0; i < SLOTS; i++)
		slot[i].mem = aligned_alloc(4096, 16384);
	for (round = 0; round < 10000; round++) {
		i = testing_random(&rnd) % SLOTS;
		if (slot[i].busy)
			loop_poll(b->loop, true);
		else
			begin_random(disk, slot, &slot[i], model, &rnd, unit);
		reap(slot, model);
	}
	disk_drain(disk);
	reap(slot, model);
	assert_int_equal(do_io(b, disk, DISK_READ, back, BYTES, 0), 0);
	assert_memory_equal(back, model, BYTES);
	for (i = 0; i < SLOTS; i++)
		free(slot[i].mem);
	free(model);
	free(back);
	disk_stats(disk, &st);
	assert_int_equal(st.moved, 0);
	assert_true((b->engine == &engine_uring) == (st.uring > 0));
	disk_close(disk);
}

static void a_crowd_of_requests_leaves_the_right_bytes(void **state)
{
	crowd_against_memory(bench_of(state), false, 1);
}

static void a_crowd_of_direct_requests_leaves_the_right_bytes(void **state)
{
	crowd_against_memory(bench_of(state), true, 512);
}

static void a_crowd_of_odd_direct_requests_leaves_the_right_bytes(void **state)
{
	crowd_against_memory(bench_of(state), true, 1);
}

/* Two neighbours in one block, written at the same time over and over. */
static void parts_of_one_block_do_not_overwrite_each_other(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, true);
	uint8_t buf[4][128], back[512];
	struct iovec iov[4];
	struct io io[4];
	unsigned round, i;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < 4; i++) {
			memset(buf[i], (int)(round * 4 + i), 128);
			iov[i] = (struct iovec){buf[i], 128};
			begin(disk, &io[i], DISK_WRITE, &iov[i], 1,
				4096 + 128 * i);
		}
		disk_drain(disk);
		assert_int_equal(do_io(b, disk, DISK_READ, back, 512, 4096), 0);
		for (i = 0; i < 4; i++)
			assert_memory_equal(back + 128 * i, buf[i], 128);
	}
	disk_close(disk);
}

static void requests_outside_the_disk_are_refused(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	uint8_t buf[512];
	struct iovec iov[2] = {{buf, 512}, {buf, 512}};
	static const uint64_t bad[] = {
		BYTES - 1023, BYTES, UINT64_MAX, UINT64_MAX - 511, 1ull << 63};
	struct disk_request req = {
		.op = DISK_READ, .iov = iov, .iovs = 2, .done = io_done};
	unsigned i;

	assert_int_equal(disk_bytes(disk), BYTES);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		req.offset = bad[i];
		assert_int_equal(disk_submit(disk, &req), -EINVAL);
	}
	assert_int_equal(do_iov(b, disk, DISK_READ, iov, 2, BYTES - 1024), 0);
	disk_close(disk);
}

static void a_read_only_disk_takes_no_writes(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, true, false);
	uint8_t buf[512];
	struct iovec iov = {buf, 512};
	struct disk_request req = {
		.op = DISK_WRITE, .iov = &iov, .iovs = 1, .done = io_done};

	assert_true(disk_readonly(disk));
	assert_int_equal(disk_submit(disk, &req), -EROFS);
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 512, 0), 0);
	disk_close(disk);
}

static void a_file_cut_short_behind_our_back_is_an_io_error(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	uint8_t buf[8192];

	assert_int_equal(truncate(b->path, BYTES - 4096), 0);
	assert_int_equal(
		do_io(b, disk, DISK_READ, buf, 8192, BYTES - 8192), -EIO);
	disk_close(disk);
}

static void closing_waits_for_what_is_in_flight(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	static uint8_t buf[16][65536];
	struct iovec iov[16];
	struct io io[16];
	unsigned i;

	for (i = 0; i < 16; i++) {
		iov[i] = (struct iovec){buf[i], 65536};
		begin(disk, &io[i], DISK_WRITE, &iov[i], 1, i * 65536u);
	}
	disk_close(disk);
	for (i = 0; i < 16; i++)
		assert_true(io[i].done && io[i].result == 0);
}

/* ---- opening ---- */

/* Refused with @code; the text names disk, path and remedy. */
static void refused(struct bench *b, const char *path, bool readonly,
	bool direct, int code, const char *remedy)
{
	int fds = testing_fd_count();
	struct disk *disk = NULL;
	struct error err;

	assert_int_equal(
		try_open(b, path, readonly, direct, &disk, &err), code);
	assert_null(disk);
	assert_int_equal(err.code, code);
	assert_int_equal(strncmp(err.text, "disk7: ", 7), 0);
	assert_non_null(strstr(err.text, path));
	if (!strstr(err.text, remedy))
		fail_msg("no \"%s\" in: %s", remedy, err.text);
	assert_int_equal(testing_fd_count(), fds);
}

static void what_is_no_image_is_refused_with_a_remedy(void **state)
{
	struct bench *b = bench_of(state);
	char path[100];

	refused(b, "/nonexistent/x.img", false, false, -ENOENT, "(give an");
	refused(b, b->dir, false, false, -EISDIR, "(give an image");
	refused(b, b->dir, true, false, -EISDIR, "(give an image");
	refused(b, "/dev/null", false, false, -ENOTBLK, "(give one");
	snprintf(path, sizeof(path), "%s/fifo", b->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused(b, path, true, false, -ENOTBLK, "(give one");
	unlink(path);
	assert_int_equal(truncate(b->path, 0), 0);
	refused(b, b->path, false, false, -ENODATA, "truncate");
	assert_int_equal(truncate(b->path, 511), 0);
	refused(b, b->path, false, false, -ENODATA, "truncate");
}

static void a_file_of_another_user_is_refused_with_a_remedy(void **state)
{
	struct bench *b = bench_of(state);
	bool root = geteuid() == 0;

	assert_int_equal(chmod(b->path, 0400), 0);
	assert_int_equal(chmod(b->dir, 0755), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	refused(b, b->path, false, false, -EACCES, "(run as its owner, or");
	if (root)
		assert_int_equal(seteuid(0), 0);
}

static void running_out_of_fds_is_an_error_with_a_remedy(void **state)
{
	struct bench *b = bench_of(state);
	struct rlimit was, none;
	struct disk *disk;
	struct error err;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(
		try_open(b, b->path, false, false, &disk, &err), -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_non_null(strstr(err.text, "(raise the limit: ulimit -n)"));
}

static void a_size_that_o_direct_cannot_reach_is_refused(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, true); /* or skipped */

	assert_int_equal(disk_bytes(disk) % disk_block_bytes(disk), 0);
	disk_close(disk);
	assert_int_equal(truncate(b->path, BYTES + 100), 0);
	refused(b, b->path, false, true, -EINVAL, "drop ,direct)");
	/* Without O_DIRECT the last part of a sector is left alone. */
	disk = open_ok(b, false, false);
	assert_int_equal(disk_bytes(disk), BYTES);
	disk_close(disk);
}

static void two_writers_are_kept_apart(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *one = open_ok(b, false, false), *two;

	refused(b, b->path, false, false, -EBUSY, "(stop that");
	refused(b, b->path, true, false, -EBUSY, "(stop that");
	disk_close(one);
	one = open_ok(b, true, false);
	two = open_ok(b, true, false); /* readers may share */
	refused(b, b->path, false, false, -EBUSY, ",ro");
	disk_close(one);
	disk_close(two);
	disk_close(open_ok(b, false, false));
	disk_close(NULL);
}

static void an_inherited_fd_is_used_and_taken(void **state)
{
	struct bench *b = bench_of(state);
	int fds = testing_fd_count();
	struct disk_options opt = {.name = "disk7"};
	struct disk *disk;
	struct error err;
	uint8_t buf[512];

	opt.fd = open(b->path, O_RDWR | O_CLOEXEC);
	assert_int_equal(disk_open(b->loop, b->pool, &opt, &disk, &err), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 512, 0), 0);
	disk_close(disk);
	opt.fd = open(b->path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(
		disk_open(b->loop, b->pool, &opt, &disk, &err), -EACCES);
	assert_int_equal(strncmp(err.text, "disk7: open fd ", 15), 0);
	assert_int_equal(testing_fd_count(), fds);
}

/* ---- engines ---- */

static void what_runs_through_which_engine(struct bench *b,
	enum disk_engine engine, bool direct, uint64_t uring, uint64_t pool)
{
	struct disk_options opt = {.name = "disk7",
		.path = b->path,
		.fd = -1,
		.direct = direct,
		.engine = engine};
	uint8_t *buf = aligned_alloc(4096, 8192);
	struct error err = {0};
	struct disk_stats st;
	struct disk *disk;

	if (disk_open(b->loop, b->pool, &opt, &disk, &err) < 0) {
		free(buf);
		if (!direct)
			fail_msg("%s", err.text);
		print_message("# skip: %s\n", err.text);
		skip();
	}
	memset(buf, 1, 4096);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 4096, 0), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 4096, 4096), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, buf + 1, 512, 0), 0);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 0, 0), 0);
	disk_stats(disk, &st);
	assert_int_equal(st.uring, uring);
	assert_int_equal(st.pool, pool);
	assert_int_equal(st.moved, 0);
	disk_close(disk);
	free(buf);
}

static void a_ring_does_all_but_what_must_be_copied(void **state)
{
	struct bench *b = bench_of(state);

	what_runs_through_which_engine(b, DISK_AUTO, false, 4, 0);
	what_runs_through_which_engine(b, DISK_URING, false, 4, 0);
	what_runs_through_which_engine(b, DISK_POOL, false, 0, 4);
	what_runs_through_which_engine(b, DISK_AUTO, true, 3, 1);
	what_runs_through_which_engine(b, DISK_POOL, true, 0, 4);
}

static void without_a_ring_it_is_the_pool(void **state)
{
	struct bench *b = bench_of(state);
	struct disk_options opt = {.name = "disk7",
		.path = b->path,
		.fd = -1,
		.engine = DISK_URING};
	struct disk *disk = NULL;
	struct error err = {0};

	what_runs_through_which_engine(b, DISK_AUTO, false, 0, 4);
	what_runs_through_which_engine(b, DISK_POOL, false, 0, 4);
	assert_int_equal(
		disk_open(b->loop, b->pool, &opt, &disk, &err), -ENOSYS);
	assert_int_equal(strncmp(err.text, "disk7: engine io_uring: ", 24), 0);
	assert_null(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(any_bytes_are_transferred_as_they_are),
		ON_BOTH(direct_io_takes_sectors_at_any_memory_address),
		ON_BOTH(direct_io_takes_bytes_that_are_no_whole_blocks),
		ON_BOTH(a_crowd_of_requests_leaves_the_right_bytes),
		ON_BOTH(a_crowd_of_direct_requests_leaves_the_right_bytes),
		ON_BOTH(a_crowd_of_odd_direct_requests_leaves_the_right_bytes),
		ON_BOTH(parts_of_one_block_do_not_overwrite_each_other),
		ON_BOTH(requests_outside_the_disk_are_refused),
		ON_BOTH(a_read_only_disk_takes_no_writes),
		ON_BOTH(a_file_cut_short_behind_our_back_is_an_io_error),
		ON_BOTH(closing_waits_for_what_is_in_flight),
		ON_BOTH(what_is_no_image_is_refused_with_a_remedy),
		ON_BOTH(a_file_of_another_user_is_refused_with_a_remedy),
		ON_BOTH(running_out_of_fds_is_an_error_with_a_remedy),
		ON_BOTH(a_size_that_o_direct_cannot_reach_is_refused),
		ON_BOTH(two_writers_are_kept_apart),
		ON_BOTH(an_inherited_fd_is_used_and_taken),
		ON(uring, a_ring_does_all_but_what_must_be_copied),
		ON(pool, without_a_ring_it_is_the_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
