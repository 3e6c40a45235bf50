/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_charfd.c - promises of devices/charfd.h, one kind of fd each.
 * "Does not block" is tested by doing it: a test that hangs has failed. */
#include "devices/charfd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

#include "tests/lib/testing.h"

static char block[4096];

static ssize_t put(struct charfd *c, const char *text)
{
	char copy[64];
	struct iovec iov = {copy, strlen(text)};

	memcpy(copy, text, iov.iov_len);
	return charfd_write(c, &iov, 1);
}

static ssize_t put_block(struct charfd *c)
{
	struct iovec iov = {block, sizeof(block)};

	return charfd_write(c, &iov, 1);
}

/* Write until it takes no more.  Return: bytes. */
static size_t fill(struct charfd *c)
{
	size_t sum = 0;
	ssize_t n;

	while ((n = put_block(c)) > 0)
		sum += (size_t)n;
	assert_int_equal(n, -EAGAIN);
	return sum;
}

static void raw_pty(int *master, int *slave)
{
	struct termios tio;

	assert_int_equal(openpty(master, slave, NULL, NULL, NULL), 0);
	assert_int_equal(tcgetattr(*slave, &tio), 0);
	cfmakeraw(&tio);
	assert_int_equal(tcsetattr(*slave, TCSANOW, &tio), 0);
}

static void a_full_pipe_says_eagain_and_no_flag_of_it_changes(void **state)
{
	struct charfd c;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(charfd_init(&c, p[1], O_WRONLY), 0);
	assert_int_equal(c.kind, CHARFD_STREAM);
	assert_true(fill(&c) >= 4096);
	assert_int_equal(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(charfd_wait_writable(&c, 0), -ETIMEDOUT);
	assert_int_equal(read(p[0], block, sizeof(block)), sizeof(block));
	assert_int_equal(charfd_wait_writable(&c, 0), 0);
	assert_int_equal(put_block(&c), sizeof(block));
	charfd_fini(&c);
	close(p[0]);
	close(p[1]);
}

static void an_empty_pipe_says_eagain_and_a_closed_one_end(void **state)
{
	struct charfd c;
	char buf[8];
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(charfd_init(&c, p[0], O_RDONLY), 0);
	assert_int_equal(charfd_read(&c, buf, 8), -EAGAIN);
	assert_int_equal(write(p[1], "hi", 2), 2);
	assert_int_equal(charfd_read(&c, buf, 8), 2);
	assert_memory_equal(buf, "hi", 2);
	assert_int_equal(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
	close(p[1]);
	assert_int_equal(charfd_read(&c, buf, 8), 0);
	charfd_fini(&c);
	close(p[0]);
}

static void a_pipe_without_reader_says_epipe(void **state)
{
	struct charfd c;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(charfd_init(&c, p[1], O_WRONLY), 0);
	close(p[0]);
	assert_int_equal(put(&c, "x"), -EPIPE);
	charfd_fini(&c);
	close(p[1]);
}

static void a_socket_does_not_block_either_way(void **state)
{
	struct charfd a, b;
	char buf[8];
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	assert_int_equal(charfd_init(&a, s[0], O_WRONLY), 0);
	assert_int_equal(charfd_init(&b, s[1], O_RDONLY), 0);
	assert_int_equal(a.kind, CHARFD_SOCKET);
	assert_int_equal(charfd_read(&b, buf, 8), -EAGAIN);
	assert_int_equal(put(&a, "abc"), 3);
	assert_int_equal(charfd_read(&b, buf, 8), 3);
	fill(&a);
	assert_int_equal(fcntl(s[0], F_GETFL) & O_NONBLOCK, 0);
	close(s[1]);
	assert_int_equal(put(&a, "x"), -EPIPE);
	charfd_fini(&a);
	close(s[0]);
}

static void a_terminal_does_not_block_either_way(void **state)
{
	int master, slave;
	struct charfd o, i;
	char buf[8];

	raw_pty(&master, &slave);
	assert_int_equal(charfd_init(&o, slave, O_WRONLY), 0);
	assert_int_equal(charfd_init(&i, slave, O_RDONLY), 0);
	assert_int_equal(o.kind, CHARFD_STREAM);
	assert_int_equal(charfd_read(&i, buf, 8), -EAGAIN);
	assert_int_equal(write(master, "k", 1), 1);
	assert_int_equal(poll(&(struct pollfd){i.fd, POLLIN, 0}, 1, -1), 1);
	assert_int_equal(charfd_read(&i, buf, 8), 1);
	fill(&o);
	assert_int_equal(fcntl(slave, F_GETFL) & O_NONBLOCK, 0);
	charfd_fini(&o);
	charfd_fini(&i);
	close(master);
	close(slave);
}

/* Re-opening it would make another pair: it must be this very one. */
static void a_pty_master_is_used_as_it_is(void **state)
{
	int master, slave;
	struct charfd c;
	char buf[8];

	raw_pty(&master, &slave);
	assert_int_equal(charfd_init(&c, master, O_WRONLY), 0);
	assert_int_equal(c.kind, CHARFD_BOUNDED);
	assert_int_equal(put(&c, "hello"), 5);
	assert_int_equal(read(slave, buf, 8), 5);
	fill(&c);
	charfd_fini(&c);
	close(master);
	close(slave);
}

static void without_a_second_description_a_pipe_still_does_not_block(
	void **state)
{
	struct charfd w, r;
	char buf[8];
	int p[2];

	assert_int_equal(pipe(p), 0);
	/* What charfd_init() leaves when /proc is not there. */
	w = (struct charfd){p[1], CHARFD_BOUNDED, false};
	r = (struct charfd){p[0], CHARFD_BOUNDED, false};
	assert_int_equal(charfd_read(&r, buf, 8), -EAGAIN);
	assert_true(fill(&w) >= 4096);
	assert_int_equal(charfd_read(&r, buf, 8), 8);
	close(p[0]);
	close(p[1]);
}

static void when_fds_run_out_it_falls_back(void **state)
{
	struct rlimit was, none = {0};
	struct charfd c;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none.rlim_max = was.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(charfd_init(&c, p[1], O_WRONLY), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(c.kind, CHARFD_BOUNDED);
	assert_int_equal(c.fd, p[1]);
	fill(&c);
	charfd_fini(&c);
	assert_true(fcntl(p[1], F_GETFD) >= 0); /* borrowed: still open */
	close(p[0]);
	close(p[1]);
}

static void a_file_keeps_the_offset_it_shares_with_its_giver(void **state)
{
	FILE *f = tmpfile();
	struct charfd c;
	int fd;

	assert_non_null(f);
	fd = fileno(f);
	assert_int_equal(write(fd, "12", 2), 2);
	assert_int_equal(charfd_init(&c, fd, O_WRONLY), 0);
	assert_int_equal(c.kind, CHARFD_FILE);
	assert_int_equal(put(&c, "345"), 3);
	charfd_fini(&c);
	assert_int_equal(write(fd, "6", 1), 1);
	assert_int_equal(pread(fd, block, 8, 0), 6);
	assert_memory_equal(block, "123456", 6);
	fclose(f);
}

static void dev_null_takes_all_and_gives_none(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct charfd c;

	assert_true(fd >= 0);
	assert_int_equal(charfd_init(&c, fd, O_WRONLY), 0);
	assert_int_equal(c.kind, CHARFD_FILE);
	assert_int_equal(put_block(&c), sizeof(block));
	charfd_fini(&c);
	assert_int_equal(charfd_init(&c, fd, O_RDONLY), 0);
	assert_int_equal(charfd_read(&c, block, 8), 0);
	charfd_fini(&c);
	close(fd);
}

static void an_fd_of_the_wrong_direction_or_none_is_refused(void **state)
{
	struct charfd c;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(charfd_init(&c, p[0], O_WRONLY), -EBADF);
	assert_int_equal(charfd_init(&c, p[1], O_RDONLY), -EBADF);
	close(p[0]);
	close(p[1]);
	assert_int_equal(charfd_init(&c, p[0], O_RDONLY), -EBADF);
}

static void two_pieces_go_out_in_order(void **state)
{
	struct charfd c;
	char a[] = "one ", b[] = "two", buf[8];
	struct iovec iov[2] = {{a, 4}, {b, 3}};
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(charfd_init(&c, p[1], O_WRONLY), 0);
	assert_int_equal(charfd_write(&c, iov, 2), 7);
	assert_int_equal(read(p[0], buf, 8), 7);
	assert_memory_equal(buf, "one two", 7);
	charfd_fini(&c);
	close(p[0]);
	close(p[1]);
}

static int fds_before(void **state)
{
	static int count;

	signal(SIGPIPE, SIG_IGN);
	count = testing_fd_count();
	*state = &count;
	return 0;
}

static int no_fd_left(void **state)
{
	return testing_fd_count() == *(int *)*state ? 0 : -1;
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fds_before, no_fd_left)
	const struct CMUnitTest tests[] = {
		TEST(a_full_pipe_says_eagain_and_no_flag_of_it_changes),
		TEST(an_empty_pipe_says_eagain_and_a_closed_one_end),
		TEST(a_pipe_without_reader_says_epipe),
		TEST(a_socket_does_not_block_either_way),
		TEST(a_terminal_does_not_block_either_way),
		TEST(a_pty_master_is_used_as_it_is),
		TEST(without_a_second_description_a_pipe_still_does_not_block),
		TEST(when_fds_run_out_it_falls_back),
		TEST(a_file_keeps_the_offset_it_shares_with_its_giver),
		TEST(dev_null_takes_all_and_gives_none),
		TEST(an_fd_of_the_wrong_direction_or_none_is_refused),
		TEST(two_pieces_go_out_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
