/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_disk_faults.c - transfers that stop half-way, files and
 * memory that go bad, results that a ring rarely has.
 */
#include "tests/unit/small_fs.h"
#include "tests/unit/test_disk_common.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "virtio/backend/disk_private.h"

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	uint64_t rnd = seed + 1;

	while (len-- > 0)
		*buf++ = (uint8_t)testing_random(&rnd);
}

static void set_file_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* ---- half-way ---- */

/* Poll until some of @io is transferred; a worker would not stop there. */
static void until_half_way(struct bench *b, const struct io *io)
{
	while (io->req.transferred == 0)
		loop_poll(b->loop, true);
	assert_false(io->done);
}

static void a_short_write_goes_on_where_it_stopped(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	static uint8_t buf[16384], back[16384];
	struct iovec iov[5] = {{buf, 100}, {buf + 100, 0}, {buf + 100, 8000},
		{buf + 8100, 8192}, {buf + 16292, 92}};
	static const rlim_t stop[] = {1, 100, 101, 8100, 9000, 16292, 16383};
	struct io io;
	unsigned i;

	for (i = 0; i < sizeof(stop) / sizeof(stop[0]); i++) {
		fill(buf, sizeof(buf), i);
		set_file_limit(40960 + stop[i]);
		begin(disk, &io, DISK_WRITE, iov, 5, 40960);
		until_half_way(b, &io);
		assert_int_equal(io.req.transferred, stop[i]);
		set_file_limit(RLIM_INFINITY);
		assert_int_equal(finish(b, &io), 0);
		assert_int_equal(
			do_io(b, disk, DISK_READ, back, 16384, 40960), 0);
		assert_memory_equal(back, buf, sizeof(buf));
	}
	close_checked(b, disk);
}

static void a_short_read_goes_on_where_it_stopped(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	static uint8_t buf[16384], back[16384];
	struct iovec iov[2] = {{back, 1000}, {back + 1000, 15384}};
	static const off_t stop[] = {1, 1000, 5000, 16383};
	struct io io;
	unsigned i;
	int fd;

	for (i = 0; i < sizeof(stop) / sizeof(stop[0]); i++) {
		fill(buf, sizeof(buf), i);
		fd = open(b->path, O_RDWR | O_CLOEXEC);
		assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), 16384);
		assert_int_equal(ftruncate(fd, stop[i]), 0);
		begin(disk, &io, DISK_READ, iov, 2, 0);
		until_half_way(b, &io);
		assert_int_equal(io.req.transferred, stop[i]);
		assert_int_equal(ftruncate(fd, BYTES), 0);
		memset(buf + stop[i], 0, sizeof(buf) - (size_t)stop[i]);
		assert_int_equal(finish(b, &io), 0);
		assert_memory_equal(back, buf, sizeof(buf));
		close(fd);
	}
	close_checked(b, disk);
}

static void more_iovecs_than_a_call_takes_are_all_used(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	static uint8_t buf[300000], back[300000];
	static struct iovec iov[3000];
	unsigned i;

	fill(buf, sizeof(buf), 1);
	for (i = 0; i < 3000; i++)
		iov[i] = (struct iovec){buf + 100 * i, 100};
	assert_int_equal(do_iov(b, disk, DISK_WRITE, iov, 3000, 77), 0);
	for (i = 0; i < 3000; i++)
		iov[i].iov_base = back + 100 * i;
	assert_int_equal(do_iov(b, disk, DISK_READ, iov, 3000, 77), 0);
	assert_memory_equal(back, buf, sizeof(buf));
	close_checked(b, disk);
}

/* ---- errors ---- */

/* A write of 16 KiB at @at fails with @code half-way, others do not mind. */
static void fails_half_way(
	struct bench *b, struct disk *disk, uint64_t at, int code)
{
	static uint8_t buf[16384], back[4096];

	fill(buf, sizeof(buf), 3);
	assert_int_equal(
		do_io(b, disk, DISK_WRITE, buf, sizeof(buf), at), code);
	assert_int_equal(do_io(b, disk, DISK_READ, back, 4096, at), 0);
	assert_memory_equal(back, buf, 4096);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), 0);
}

static void the_file_size_limit_is_an_error(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);

	set_file_limit(204800);
	fails_half_way(b, disk, 204800 - 8192, -EFBIG);
	set_file_limit(RLIM_INFINITY);
	close_checked(b, disk);
}

static void a_full_file_system_is_an_error(void **state)
{
	struct bench *b = bench_of(state);
	int fd = borrow_small_file();
	uint8_t *rest = calloc(1, 65536 - 8192);
	struct disk *disk;

	if (fd < 0) {
		free(rest);
		print_message(
			"# skip: no tmpfs of our own: %s\n", strerror(errno));
		skip();
	}
	assert_int_equal(ftruncate(fd, BYTES), 0);
	disk = open_this(b, fd);
	/* Two pages are left. */
	assert_int_equal(do_io(b, disk, DISK_WRITE, rest, 65536 - 8192, 0), 0);
	fails_half_way(b, disk, 524288, -ENOSPC);
	free(rest);
	disk_close(disk); /* older tmpfs moves requests to the pool */
}

static void memory_that_is_not_there_is_an_error(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	uint8_t *mem = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(mem != MAP_FAILED);
	memset(mem, 0x55, 4096);
	assert_int_equal(mprotect(mem + 4096, 4096, PROT_NONE), 0);
	assert_int_equal(do_io(b, disk, DISK_WRITE, mem, 8192, 4096), -EFAULT);
	assert_int_equal(do_io(b, disk, DISK_READ, mem, 8192, 0), -EFAULT);
	assert_int_equal(do_io(b, disk, DISK_READ, mem, 4096, 0), 0);
	close_checked(b, disk);
	munmap(mem, 8192);
}

static void an_fd_closed_behind_our_back_is_an_error(void **state)
{
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	int other, fd = disk->fd;
	uint8_t buf[512] = {0};

	close(fd);
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 512, 0), -EBADF);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 512, 0), -EBADF);
	assert_int_equal(do_io(b, disk, DISK_FLUSH, NULL, 0, 0), -EBADF);
	/* And one that is something else by now. */
	other = open(b->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (other != fd) {
		assert_int_equal(dup2(other, fd), fd);
		close(other);
	}
	assert_int_equal(do_io(b, disk, DISK_READ, buf, 512, 0), -EISDIR);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 512, 0), -EBADF);
	disk_close(disk);
}

static void an_fd_that_must_not_block_serves_all_the_same(void **state)
{
	struct bench *b = bench_of(state);
	int fd = memfd_create("image", MFD_CLOEXEC);
	uint8_t buf[8192], back[8192];
	struct disk *disk;

	assert_int_equal(ftruncate(fd, BYTES), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	disk = open_this(b, fd);
	/* Some kernels answer a ring with EAGAIN otherwise. */
	assert_int_equal(fcntl(disk->fd, F_GETFL) & O_NONBLOCK, 0);
	fill(buf, sizeof(buf), 5);
	assert_int_equal(do_io(b, disk, DISK_WRITE, buf, 8192, 512), 0);
	assert_int_equal(do_io(b, disk, DISK_READ, back, 8192, 512), 0);
	assert_memory_equal(back, buf, 8192);
	close_checked(b, disk);
}

/* Puts results between the ring and the disk. */
struct liar {
	struct io io;
	struct loop_op truth;
	int32_t lie;
	unsigned lies; /* to tell */
};

static void tell_lies(void *opaque, int32_t res)
{
	struct liar *l = opaque;

	if (l->lies > 0) {
		l->lies--;
		res = l->lie;
	}
	l->truth.fn(l->truth.opaque, res);
}

static int do_with_lies(struct bench *b, struct disk *disk, enum disk_op op,
	uint8_t *buf, int32_t lie, unsigned lies)
{
	struct iovec iov[2] = {{buf, 3000}, {buf + 3000, 5192}};
	struct liar l = {.lie = lie, .lies = lies};

	begin(disk, &l.io, op, iov, op == DISK_FLUSH ? 0 : 2, 0);
	l.truth = l.io.req.uring;
	l.io.req.uring.fn = tell_lies;
	l.io.req.uring.opaque = &l;
	finish(b, &l.io);
	assert_int_equal(l.lies, 0);
	return l.io.result;
}

static void what_a_ring_refuses_is_tried_again_or_by_the_pool(void **state)
{
	static const struct {
		int32_t res;
		bool moves;
	} lies[] = {{-EINTR, false}, {-EAGAIN, true}, {-ECANCELED, true}};
	struct bench *b = bench_of(state);
	struct disk *disk = open_ok(b, false, false);
	uint8_t buf[8192], back[8192];
	struct disk_stats st;
	unsigned i, n, moved = 0;

	for (i = 0; i < 3; i++) {
		n = lies[i].moves ? 1 : 5;
		fill(buf, sizeof(buf), i);
		assert_int_equal(
			do_with_lies(b, disk, DISK_WRITE, buf, lies[i].res, n),
			0);
		assert_int_equal(
			do_with_lies(b, disk, DISK_READ, back, lies[i].res, n),
			0);
		assert_memory_equal(back, buf, sizeof(buf));
		assert_int_equal(
			do_with_lies(b, disk, DISK_FLUSH, NULL, lies[i].res, n),
			0);
		moved += lies[i].moves ? 3 : 0;
		disk_stats(disk, &st);
		assert_int_equal(st.moved, moved);
	}
	assert_int_equal(do_with_lies(b, disk, DISK_READ, back, -EIO, 1), -EIO);
	assert_int_equal(
		do_with_lies(b, disk, DISK_FLUSH, NULL, -ENOSPC, 1), -ENOSPC);
	disk_close(disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON(uring, a_short_write_goes_on_where_it_stopped),
		ON(uring, a_short_read_goes_on_where_it_stopped),
		ON_BOTH(more_iovecs_than_a_call_takes_are_all_used),
		ON_BOTH(the_file_size_limit_is_an_error),
		ON_BOTH(a_full_file_system_is_an_error),
		ON_BOTH(memory_that_is_not_there_is_an_error),
		ON_BOTH(an_fd_closed_behind_our_back_is_an_error),
		ON_BOTH(an_fd_that_must_not_block_serves_all_the_same),
		ON(uring, what_a_ring_refuses_is_tried_again_or_by_the_pool),
	};

	/* The limit is to be an error, not the end. */
	signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
