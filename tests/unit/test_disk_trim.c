/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_disk_trim.c - discards, zeroes, cache modes, resize, and what
 * giving an image up means.
 */
#include "tests/unit/test_disk_common.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "virtio/backend/disk_private.h"

/* ---- what the host has ---- */

static uint64_t allocated(const struct bench *b)
{
	struct stat st;

	assert_int_equal(stat(b->path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void fill_image(const struct bench *b, uint8_t value)
{
	static uint8_t buf[BYTES];
	int fd = open(b->path, O_RDWR | O_CLOEXEC);

	memset(buf, value, sizeof(buf));
	assert_int_equal(pwrite(fd, buf, BYTES, 0), BYTES);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

/* Every byte of the image is 0 within [from, to) and @value elsewhere. */
static void assert_image(
	const struct bench *b, uint8_t value, size_t from, size_t to)
{
	static uint8_t buf[BYTES];
	int fd = open(b->path, O_RDONLY | O_CLOEXEC);
	size_t i;

	assert_int_equal(pread(fd, buf, BYTES, 0), BYTES);
	close(fd);
	for (i = 0; i < BYTES; i++)
		if (buf[i] != (i >= from && i < to ? 0 : value))
			fail_msg("byte %zu is %u", i, buf[i]);
}

static int do_trim(struct bench *b, struct disk *disk, enum disk_op op,
	uint64_t offset, uint64_t bytes, bool unmap)
{
	struct io io = {.req = {.op = op,
				.offset = offset,
				.range = bytes,
				.unmap = unmap,
				.done = io_done,
				.opaque = &io}};
	int rc = disk_submit(disk, &io.req);

	return rc < 0 ? rc : finish(b, &io);
}

static struct disk *open_cached(struct bench *b, enum disk_cache cache)
{
	struct disk_options opt = {.name = "disk7",
		.path = b->path,
		.fd = -1,
		.cache = cache,
		.engine = b->engine->engine};
	struct disk *disk = NULL;
	struct error err = {0};

	if (disk_open(b->loop, b->pool, &opt, &disk, &err) < 0)
		fail_msg("%s", err.text);
	return disk;
}

/* ---- discards and zeroes ---- */

static void a_discard_gives_storage_back(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;

	fill_image(b, 0x5a);
	disk = open_ok(b, false, false);
	if (!disk_can_discard(disk)) {
		disk_close(disk);
		print_message("# skip: no holes in the files of /tmp\n");
		skip();
	}
	assert_true(allocated(b) >= BYTES);
	assert_int_equal(
		do_trim(b, disk, DISK_DISCARD, 65536, BYTES - 65536, false), 0);
	assert_image(b, 0x5a, 65536, BYTES);
	assert_true(allocated(b) < BYTES / 2);
	close_checked(b, disk);
}

static void the_question_for_holes_changes_nothing(void **state)
{
	struct bench *b = bench_of(state);
	struct stat st;

	fill_image(b, 0x11);
	disk_close(open_ok(b, false, false));
	assert_image(b, 0x11, 0, 0);
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_size, BYTES);
	assert_true(allocated(b) >= BYTES);
}

static void zeroes_are_exact(void **state)
{
	static const size_t range[][2] = {{0, 512}, {512, 4096}, {1, 7},
		{4095, 4098}, {100000, 300001}, {BYTES - 1, BYTES}};
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	unsigned i;

	for (i = 0; i < 12; i++) {
		fill_image(b, 0xa5);
		assert_int_equal(
			do_trim(b, disk, DISK_ZERO, range[i / 2][0],
				range[i / 2][1] - range[i / 2][0], i % 2),
			0);
		assert_image(b, 0xa5, range[i / 2][0], range[i / 2][1]);
	}
	disk_close(disk);
}

static void zeroes_keep_their_storage_unless_it_may_go(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;

	fill_image(b, 1);
	disk = open_ok(b, false, false);
	assert_int_equal(do_trim(b, disk, DISK_ZERO, 0, BYTES, false), 0);
	assert_image(b, 1, 0, BYTES);
	assert_true(allocated(b) >= BYTES);
	fill_image(b, 1);
	assert_int_equal(do_trim(b, disk, DISK_ZERO, 0, BYTES, true), 0);
	assert_image(b, 1, 0, BYTES);
	if (disk_can_discard(disk))
		assert_true(allocated(b) < BYTES / 2);
	disk_close(disk);
}

/* Files of a memfd know holes, but no ranges of zeroes. */
static void zeroes_that_the_host_cannot_make_are_written(void **state)
{
	struct bench *b = bench_of(state);
	int fd = memfd_create("image", MFD_CLOEXEC);
	static uint8_t buf[BYTES], want[BYTES];
	struct disk *disk;
	unsigned i;

	assert_int_equal(ftruncate(fd, BYTES), 0);
	memset(buf, 7, BYTES);
	memset(want, 7, BYTES);
	memset(want + 1000, 0, 500000);
	disk = open_this(b, fd);
	for (i = 0; i < 2; i++) {
		assert_int_equal(pwrite(fd, buf, BYTES, 0), BYTES);
		assert_int_equal(
			do_trim(b, disk, DISK_ZERO, 1000, 500000, false), 0);
		assert_int_equal(pread(fd, buf, BYTES, 0), BYTES);
		assert_memory_equal(buf, want, BYTES);
		memset(buf, 7, BYTES);
	}
	disk_close(disk);
}

static void direct_zeroes_exclude_writes_of_parts_of_blocks(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;
	struct io io[32];
	char xyz[] = "xyz";
	struct iovec iov = {xyz, 3};
	unsigned i;

	fill_image(b, 0x77);
	disk = open_ok(b, false, true);
	/* A read-modify-write beside each range of zeroes, in its block. */
	for (i = 0; i < 32; i++) {
		if (i % 2) {
			begin(disk, &io[i], DISK_WRITE, &iov, 1, i / 2 * 4096);
			continue;
		}
		io[i] = (struct io){.req = {.op = DISK_ZERO,
					    .offset = i / 2 * 4096 + 512,
					    .range = 3584,
					    .done = io_done,
					    .opaque = &io[i]}};
		assert_int_equal(disk_submit(disk, &io[i].req), 0);
	}
	for (i = 0; i < 32; i++)
		assert_int_equal(finish(b, &io[i]), 0);
	for (i = 0; i < 16; i++) {
		uint8_t back[4096], zero[3584] = {0};

		assert_int_equal(
			do_io(b, disk, DISK_READ, back, 4096, i * 4096), 0);
		assert_memory_equal(back, "xyz\x77", 4);
		assert_memory_equal(back + 512, zero, sizeof(zero));
	}
	disk_close(disk);
}

static void what_is_outside_or_read_only_is_refused(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);

	assert_int_equal(do_trim(b, disk, DISK_ZERO, BYTES, 1, false), -EINVAL);
	assert_int_equal(
		do_trim(b, disk, DISK_DISCARD, 1, BYTES, false), -EINVAL);
	assert_int_equal(
		do_trim(b, disk, DISK_DISCARD, UINT64_MAX, 2, false), -EINVAL);
	assert_int_equal(do_trim(b, disk, DISK_ZERO, 5, 0, false), 0);
	disk_close(disk);
	disk = open_ok(b, true, false);
	assert_false(disk_can_discard(disk));
	assert_int_equal(do_trim(b, disk, DISK_ZERO, 0, 512, false), -EROFS);
	assert_int_equal(do_trim(b, disk, DISK_DISCARD, 0, 512, false), -EROFS);
	disk_close(disk);
}

/* ---- cache modes ---- */

struct cache_range {
	uint64_t off, len;
};

struct cache_state {
	uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

#define SYS_CACHESTAT 451

static struct cache_state page_cache(const struct disk *disk)
{
	struct cache_range all = {0, BYTES};
	struct cache_state st = {0};

	if (syscall(SYS_CACHESTAT, disk->fd, &all, &st, 0) < 0) {
		print_message("# skip: cachestat(2): %s\n", strerror(errno));
		skip();
	}
	st.dirty += st.writeback;
	return st;
}

/* Some file systems are never clean, for they have nothing below. */
static void need_stable_storage(struct bench *b)
{
	struct disk *disk = open_ok(b, false, false);
	uint8_t buf[4096] = {1};
	uint64_t dirty;

	assert_int_equal(pwrite(disk->fd, buf, 4096, 0), 4096);
	assert_int_equal(fsync(disk->fd), 0);
	dirty = page_cache(disk).dirty;
	disk_close(disk);
	if (dirty == 0)
		return;
	print_message("# skip: /tmp has no stable storage\n");
	skip();
}

static void writeback_is_stable_after_a_flush(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;
	uint8_t buf[8192] = {1};

	need_stable_storage(b);
	disk = open_cached(b, DISK_WRITEBACK);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 8192, 0), 0);
	assert_true(page_cache(disk).dirty > 0);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(page_cache(disk).dirty, 0);
	close_checked(b, disk);
}

static void writethrough_is_stable_after_each_write(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;
	uint8_t buf[8192] = {1};
	struct iovec two[2] = {{buf, 4096}, {buf + 4096, 4096}};

	need_stable_storage(b);
	disk = open_cached(b, DISK_WRITETHROUGH);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 8192, 0), 0);
	assert_int_equal(page_cache(disk).dirty, 0);
	assert_int_equal(do_iov(b, disk, DISK_WRITE, two, 2, 8192), 0);
	assert_int_equal(page_cache(disk).dirty, 0);
	disk_set_writethrough(disk, false);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 8192, 0), 0);
	assert_true(page_cache(disk).dirty > 0);
	disk_set_writethrough(disk, true);
	assert_int_equal(do_trim(b, disk, DISK_ZERO, 1, 20000, false), 0);
	assert_int_equal(page_cache(disk).dirty, 0);
	disk_close(disk);
}

static void unsafe_flushes_nothing(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;
	uint8_t buf[8192] = {1};

	need_stable_storage(b);
	disk = open_cached(b, DISK_UNSAFE);
	disk_set_writethrough(disk, true);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 8192, 0), 0);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_true(page_cache(disk).dirty > 0);
	disk_unlock(disk);
	assert_true(page_cache(disk).dirty > 0);
	disk_close(disk);
}

static void an_image_given_up_is_stable_and_free(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk, *other;
	struct error err;
	uint8_t buf[8192] = {1};

	need_stable_storage(b);
	disk = open_cached(b, DISK_WRITEBACK);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 8192, 0), 0);
	assert_true(page_cache(disk).dirty > 0);
	assert_int_equal(
		try_open(b, b->path, false, false, &other, &err), -EBUSY);
	disk_unlock(disk);
	assert_int_equal(page_cache(disk).dirty, 0);
	other = open_ok(b, false, false);
	assert_int_equal(disk_lock(disk, &err), -EBUSY);
	disk_close(other);
	assert_int_equal(disk_lock(disk, &err), 0);
	disk_close(disk);
}

/* Somebody else's dirty pages show whether we flush. */
static bool unlock_flushes(struct disk *disk)
{
	struct error err;
	uint64_t dirty;
	uint8_t byte = 1;

	assert_int_equal(pwrite(disk->fd, &byte, 1, 500000), 1);
	disk_unlock(disk);
	dirty = page_cache(disk).dirty;
	assert_int_equal(disk_lock(disk, &err), 0);
	return dirty == 0;
}

static void giving_up_flushes_only_what_no_flush_has_covered(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk;
	uint8_t buf[4096] = {1};
	struct iovec iov = {buf, 4096};
	struct io io, flush;

	need_stable_storage(b);
	disk = open_cached(b, DISK_WRITEBACK);
	assert_true(unlock_flushes(disk)); /* who knows what was before */
	assert_false(unlock_flushes(disk));
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 4096, 0), 0);
	assert_false(unlock_flushes(disk));
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 4096, 0), 0);
	assert_true(unlock_flushes(disk));
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 4096, 0), 0);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_false(unlock_flushes(disk));
	/* A flush beside a write promises nothing of it. */
	begin(disk, &io, DISK_WRITE, &iov, 1, 0);
	begin(disk, &flush, DISK_FLUSH, NULL, 0, 0);
	assert_int_equal(finish(b, &io), 0);
	assert_int_equal(finish(b, &flush), 0);
	assert_true(unlock_flushes(disk));
	disk_set_writethrough(disk, true);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 4096, 0), 0);
	assert_false(unlock_flushes(disk));
	disk_close(disk);
}

static void an_image_taken_over_is_read_anew(void **state)
{
	struct bench *b = bench_of(state);
	struct disk_options opt = {.name = "disk7",
		.path = b->path,
		.fd = -1,
		.unlocked = true,
		.engine = b->engine->engine};
	struct error err = {0};
	struct disk *disk;
	uint8_t buf[65536];

	need_stable_storage(b);
	fill_image(b, 3);
	assert_int_equal(disk_open(b->loop, b->pool, &opt, &disk, &err), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, buf, sizeof(buf), 0), 0);
	assert_true(page_cache(disk).cached > 0);
	assert_int_equal(disk_lock(disk, &err), 0);
	assert_int_equal(page_cache(disk).cached, 0);
	/* A lock that is ours already costs nothing. */
	assert_int_equal(do_io(b, disk, DISK_READ, buf, sizeof(buf), 0), 0);
	assert_int_equal(disk_lock(disk, &err), 0);
	assert_true(page_cache(disk).cached > 0);
	disk_close(disk);
}

/* ---- resize ---- */

static void assert_resize(struct disk *disk, uint64_t bytes, bool shrink,
	int code, const char *text)
{
	uint64_t was = disk_bytes(disk);
	struct error err = {0};

	assert_int_equal(disk_resize(disk, bytes, shrink, &err), code);
	if (code == 0)
		return;
	assert_non_null(strstr(err.text, text));
	assert_int_equal(disk_bytes(disk), was);
}

static void a_disk_grows_and_shrinks_when_told(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	uint8_t buf[512] = {9};

	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 512, BYTES - 512), 0);
	assert_resize(disk, 2 * BYTES, false, 0, NULL);
	assert_int_equal(disk_bytes(disk), 2 * BYTES);
	assert_int_equal(
		do_io(b, disk, DISK_WRITE, buf, 512, 2 * BYTES - 512), 0);
	assert_resize(disk, BYTES, false, -EPERM, "(say so: shrink)");
	assert_resize(disk, 1000, true, -EINVAL, "give a multiple of 512");
	assert_resize(disk, BYTES, true, 0, NULL);
	assert_int_equal(disk_bytes(disk), BYTES);
	/* By somebody else. */
	assert_int_equal(truncate(b->path, 3 * BYTES), 0);
	assert_int_equal(disk_bytes(disk), BYTES);
	assert_resize(disk, 0, false, 0, NULL);
	assert_int_equal(disk_bytes(disk), 3 * BYTES);
	assert_int_equal(truncate(b->path, 4096), 0);
	assert_resize(disk, 0, false, 0, NULL);
	assert_int_equal(disk_bytes(disk), 4096);
	assert_int_equal(truncate(b->path, 0), 0);
	assert_resize(disk, 0, false, -ENODATA, "is empty");
	disk_close(disk);
	assert_int_equal(truncate(b->path, BYTES), 0);
	disk = open_ok(b, true, false);
	assert_resize(disk, 2 * BYTES, false, -EROFS, "read-only");
	disk_close(disk);
}

static void a_shrink_waits_for_writes_behind_the_new_end(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	static uint8_t buf[65536];
	struct iovec iov = {buf, sizeof(buf)};
	struct io io[8];
	struct stat st;
	unsigned i;

	for (i = 0; i < 8; i++)
		begin(disk, &io[i], DISK_WRITE, &iov, 1, BYTES - 65536);
	assert_resize(disk, 8192, true, 0, NULL);
	for (i = 0; i < 8; i++) {
		assert_true(io[i].done);
		assert_int_equal(io[i].result, 0);
	}
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_size, 8192);
	disk_close(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(a_discard_gives_storage_back),
		ON_BOTH(the_question_for_holes_changes_nothing),
		ON_BOTH(zeroes_are_exact),
		ON_BOTH(zeroes_keep_their_storage_unless_it_may_go),
		ON_BOTH(zeroes_that_the_host_cannot_make_are_written),
		ON_BOTH(direct_zeroes_exclude_writes_of_parts_of_blocks),
		ON_BOTH(what_is_outside_or_read_only_is_refused),
		ON_BOTH(writeback_is_stable_after_a_flush),
		ON_BOTH(writethrough_is_stable_after_each_write),
		ON_BOTH(unsafe_flushes_nothing),
		ON_BOTH(an_image_given_up_is_stable_and_free),
		ON_BOTH(giving_up_flushes_only_what_no_flush_has_covered),
		ON_BOTH(an_image_taken_over_is_read_anew),
		ON_BOTH(a_disk_grows_and_shrinks_when_told),
		ON_BOTH(a_shrink_waits_for_writes_behind_the_new_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
