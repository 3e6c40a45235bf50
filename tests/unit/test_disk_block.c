/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_disk_block.c - disks that are block devices: loop devices on
 * an image.  Who may not make one skips.
 */
#include "tests/unit/test_disk_common.h"

#include <linux/loop.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define SECTOR 4096u

/* A loop device on the bench's image, gone with its last fd. */
struct looped {
	char path[32];
	int fd;
};

static uint64_t allocated(const struct bench *b)
{
	struct stat st;

	assert_int_equal(stat(b->path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void fill_image(const struct bench *b)
{
	static uint8_t buf[BYTES];
	int fd = open(b->path, O_RDWR | O_CLOEXEC);

	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(pwrite(fd, buf, BYTES, 0), BYTES);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

/* 0, or -errno: not allowed here, or somebody else was faster. */
static int try_loop(const struct bench *b, int number, struct looped *ret)
{
	struct loop_config config = {
		.block_size = SECTOR, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int code = 0;

	snprintf(ret->path, sizeof(ret->path), "/dev/loop%d", number);
	ret->fd = open(ret->path, O_RDWR | O_CLOEXEC);
	if (ret->fd < 0)
		return -errno;
	config.fd = (uint32_t)open(b->path, O_RDWR | O_CLOEXEC);
	if (ioctl(ret->fd, LOOP_CONFIGURE, &config) < 0)
		code = -errno;
	close((int)config.fd);
	if (code < 0)
		close(ret->fd);
	return code;
}

static struct looped looped_of(const struct bench *b)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number;
	int code = control < 0 ? -errno : -EBUSY;
	struct looped l = {.fd = -1};

	while (control >= 0 && code == -EBUSY) {
		number = ioctl(control, LOOP_CTL_GET_FREE);
		code = number < 0 ? -errno : try_loop(b, number, &l);
	}
	if (control >= 0)
		close(control);
	if (code < 0) {
		print_message("# skip: no loop device: %s\n", strerror(-code));
		skip();
	}
	return l;
}

static struct disk *open_looped(
	struct bench *b, const struct looped *l, bool direct)
{
	struct disk *disk = NULL;
	struct error err;

	if (try_open(b, l->path, false, direct, &disk, &err) < 0)
		fail_msg("%s", err.text);
	return disk;
}

static int trim(struct bench *b, struct disk *disk, enum disk_op op,
	uint64_t offset, uint64_t bytes)
{
	struct io io = {.req = {.op = op,
				.offset = offset,
				.range = bytes,
				.unmap = true,
				.done = io_done,
				.opaque = &io}};
	int rc = disk_submit(disk, &io.req);

	return rc < 0 ? rc : finish(b, &io);
}

static void a_block_device_is_read_and_written(void **state)
{
	struct bench *b = bench_of(state);
	struct looped l = looped_of(b);
	struct disk *disk = open_looped(b, &l, false);
	uint8_t out[1536], in[1536];

	assert_int_equal(disk_bytes(disk), BYTES);
	memset(out, 0x77, sizeof(out));
	assert_int_equal(
		do_io(b, disk, DISK_WRITE, out, sizeof(out), BYTES - 1536), 0);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_int_equal(
		do_io(b, disk, DISK_READ, in, sizeof(in), BYTES - 1536), 0);
	assert_memory_equal(in, out, sizeof(in));
	close_checked(b, disk);
	close(l.fd);
}

static void its_sectors_are_told_where_they_matter(void **state)
{
	struct bench *b = bench_of(state);
	struct looped l = looped_of(b);
	struct disk *disk = open_looped(b, &l, true);
	uint8_t out[512], in[512];

	assert_int_equal(disk_block_bytes(disk), SECTOR);
	/* Others work, too. */
	memset(out, 0x33, sizeof(out));
	assert_int_equal(do_io(b, disk, DISK_WRITE, out, sizeof(out), 512), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, in, sizeof(in), 512), 0);
	assert_memory_equal(in, out, sizeof(in));
	disk_close(disk);
	close(l.fd);
}

static void a_discard_reaches_what_lies_under_it(void **state)
{
	struct bench *b = bench_of(state);
	struct looped l;
	struct disk *disk;
	uint64_t before;

	fill_image(b);
	before = allocated(b);
	l = looped_of(b);
	disk = open_looped(b, &l, false);
	if (!disk_can_discard(disk)) {
		disk_close(disk);
		close(l.fd);
		print_message("# skip: this loop device has no discard\n");
		skip();
	}
	assert_int_equal(trim(b, disk, DISK_DISCARD, BYTES / 4, BYTES / 2), 0);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
	assert_true(allocated(b) <= before - BYTES / 2);
	disk_close(disk);
	close(l.fd);
}

static void zeroes_are_zeroes(void **state)
{
	struct bench *b = bench_of(state);
	struct looped l;
	struct disk *disk;
	uint8_t in[3 * SECTOR];
	size_t i;

	fill_image(b);
	l = looped_of(b);
	disk = open_looped(b, &l, false);
	assert_int_equal(trim(b, disk, DISK_ZERO, 512, 2 * SECTOR), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, in, sizeof(in), 0), 0);
	for (i = 0; i < sizeof(in); i++)
		assert_int_equal(
			in[i], i >= 512 && i < 512 + 2 * SECTOR ? 0 : 0x5a);
	disk_close(disk);
	close(l.fd);
}

static void a_second_writer_is_kept_away(void **state)
{
	struct bench *b = bench_of(state);
	struct looped l = looped_of(b);
	struct disk *disk = open_looped(b, &l, false), *second = NULL;
	struct error err;

	assert_int_equal(
		try_open(b, l.path, false, false, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, l.path));
	disk_close(disk);
	disk_close(open_looped(b, &l, false));
	close(l.fd);
}

static void it_has_the_size_that_it_has_and_may_be_looked_at_again(void **state)
{
	struct bench *b = bench_of(state);
	struct looped l = looped_of(b);
	struct disk *disk = open_looped(b, &l, false);
	struct error err = {0};

	assert_int_equal(disk_resize(disk, 2 * BYTES, false, &err), -ENOTBLK);
	assert_int_equal(truncate(b->path, 2 * BYTES), 0);
	assert_int_equal(ioctl(l.fd, LOOP_SET_CAPACITY), 0);
	assert_int_equal(disk_resize(disk, 0, false, &err), 0);
	assert_int_equal(disk_bytes(disk), 2 * BYTES);
	disk_close(disk);
	close(l.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(a_block_device_is_read_and_written),
		ON_BOTH(its_sectors_are_told_where_they_matter),
		ON_BOTH(a_discard_reaches_what_lies_under_it),
		ON_BOTH(zeroes_are_zeroes),
		ON_BOTH(a_second_writer_is_kept_away),
		ON_BOTH(it_has_the_size_that_it_has_and_may_be_looked_at_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
