/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_console.c - bytes both ways, with backpressure. */
#include "virtio/console.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "vmm/error.h"

#define RX  0
#define TX  1
#define BUF 0x400000u

static struct vbench b;
static int in_pipe[2], out_pipe[2]; /* ours: in_pipe[1], out_pipe[0] */

static void plug(int in, int out)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev;
	struct error err = {0};

	if (virtio_console_create(&env, "hvc0", in, out, &dev, &err) < 0)
		fail_msg("%s", err.text);
	vbench_plug(&b, dev);
}

static int setup(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	vbench_init(&b);
	if (pipe2(in_pipe, O_CLOEXEC) < 0 || pipe2(out_pipe, O_CLOEXEC) < 0)
		return -1;
	plug(in_pipe[0], out_pipe[1]);
	return 0;
}

static int teardown(void **state)
{
	unsigned i;

	vbench_fini(&b);
	for (i = 0; i < 2; i++) {
		close(in_pipe[i]);
		close(out_pipe[i]);
	}
	return 0;
}

static void start(void)
{
	vd_start(&b, 1ull << VIRTIO_RING_F_EVENT_IDX, 2, 16);
}

static void give_buffer(uint64_t gpa, uint32_t len)
{
	struct vd_buf buf = {gpa, len, true};

	vd_add(&b, RX, &buf, 1);
	vd_kick(&b, RX);
}

static void say(uint64_t gpa, const void *text, uint32_t len)
{
	struct vd_buf buf = {gpa, len, false};

	memcpy(vd_at(&b, gpa), text, len);
	vd_add(&b, TX, &buf, 1);
	vd_kick(&b, TX);
}

static void type(const char *text)
{
	assert_int_equal(write(in_pipe[1], text, strlen(text)), strlen(text));
}

/* Exactly @text must have come out. */
static void expect_out(const char *text)
{
	char got[256];
	ssize_t n = read(out_pipe[0], got, sizeof(got));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void output_reaches_the_fd(void **state)
{
	struct vd_buf cut[3] = {
		{BUF, 2, false}, {BUF + 64, 0, false}, {BUF + 5, 3, false}};

	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_CONSOLE);
	start();
	say(BUF, "hello", 5);
	assert_int_equal(vd_wait(&b, TX), 0);
	expect_out("hello");
	memcpy(vd_at(&b, BUF), "ab...cde", 8);
	vd_add(&b, TX, cut, 3);
	vd_kick(&b, TX);
	assert_int_equal(vd_wait(&b, TX), 0);
	expect_out("abcde");
}

static void input_fills_the_buffers_given(void **state)
{
	start();
	give_buffer(BUF, 4);
	give_buffer(BUF + 64, 64);
	type("hello");
	assert_int_equal(vd_wait(&b, RX), 4);
	assert_int_equal(vd_wait(&b, RX), 1);
	assert_memory_equal(vd_at(&b, BUF), "hell", 4);
	assert_memory_equal(vd_at(&b, BUF + 64), "o\0", 2);
	give_buffer(BUF, 64);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, RX), 0);
	type("more");
	assert_int_equal(vd_wait(&b, RX), 4);
}

static void input_waits_for_the_guest_and_holds_up_the_writer(void **state)
{
	static char big[1 << 20];
	size_t sent = 0;
	unsigned round;
	ssize_t n;

	assert_int_equal(fcntl(in_pipe[1], F_SETFL, O_NONBLOCK | O_WRONLY), 0);
	start();
	for (round = 0; round < 20; round++) {
		n = write(in_pipe[1], big, sizeof(big));
		if (n > 0)
			sent += (size_t)n;
		vd_settle(&b);
	}
	/* A pipe full, and one buffer in the device. */
	assert_true(sent <= (64 << 10) + 4096);
	assert_int_equal(write(in_pipe[1], big, 1), -1);
	while (sent > 0) {
		give_buffer(BUF, 4096);
		sent -= vd_wait(&b, RX);
	}
}

static void output_waits_for_the_reader_and_loses_nothing(void **state)
{
	static char got[300000];
	size_t have = 0, i;
	unsigned round;
	uint8_t *data = vd_at(&b, BUF);
	struct vd_buf buf = {BUF, 100000, false};
	ssize_t n;

	start();
	for (i = 0; i < 100000; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
	for (round = 0; round < 3; round++)
		vd_add(&b, TX, &buf, 1);
	vd_kick(&b, TX);
	vd_settle(&b);
	/* More than a pipe holds: the chains wait, the loop does not spin. */
	assert_int_equal(vd_used(&b, TX), 0);
	assert_int_equal(b.vdev->inflight, 0);
	assert_false(loop_poll(b.loop, false));
	while (have < sizeof(got)) {
		n = read(out_pipe[0], got + have, sizeof(got) - have);
		assert_true(n > 0);
		have += (size_t)n;
		vd_settle(&b);
	}
	for (round = 0; round < 3; round++) {
		assert_memory_equal(got + round * 100000, data, 100000);
		assert_int_equal(vd_wait(&b, TX), 0);
	}
}

static void a_reader_that_goes_away_costs_output_only(void **state)
{
	start();
	close(out_pipe[0]);
	say(BUF, "lost", 4);
	assert_int_equal(vd_wait(&b, TX), 0);
	say(BUF, "lost", 4);
	assert_int_equal(vd_wait(&b, TX), 0);
	type("in");
	give_buffer(BUF, 10);
	assert_int_equal(vd_wait(&b, RX), 2);
	out_pipe[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void the_end_of_input_is_the_end_of_input_only(void **state)
{
	start();
	type("bye");
	close(in_pipe[1]);
	in_pipe[1] = -1;
	give_buffer(BUF, 2);
	assert_int_equal(vd_wait(&b, RX), 2);
	vd_settle(&b); /* a hang-up must not keep the loop busy */
	assert_false(loop_poll(b.loop, false));
	give_buffer(BUF, 2);
	assert_int_equal(vd_wait(&b, RX), 1);
	give_buffer(BUF, 2);
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
	assert_int_equal(vd_used(&b, RX), 0);
	say(BUF, "still", 5);
	vd_wait(&b, TX);
	expect_out("still");
}

static void files_work_as_both_ends(void **state)
{
	char in[] = "/tmp/godwit-in-XXXXXX", out[] = "/tmp/godwit-out-XXXXXX";
	int in_fd = mkstemp(in), out_fd = mkstemp(out);
	char got[8] = "";

	unlink(in);
	unlink(out);
	assert_int_equal(pwrite(in_fd, "from file", 9, 0), 9);
	vbench_unplug(&b);
	plug(in_fd, out_fd);
	start();
	give_buffer(BUF, 5);
	assert_int_equal(vd_wait(&b, RX), 5);
	give_buffer(BUF + 5, 64);
	assert_int_equal(vd_wait(&b, RX), 4);
	assert_memory_equal(vd_at(&b, BUF), "from file", 9);
	say(BUF, "to file", 7);
	vd_wait(&b, TX);
	assert_int_equal(pread(out_fd, got, 8, 0), 7);
	assert_string_equal(got, "to file");
	vbench_unplug(&b);
	close(in_fd);
	close(out_fd);
}

static void one_socket_serves_as_both_ends(void **state)
{
	struct vd_buf big = {BUF + 4096, 1 << 20, false};
	static char many[1 << 16];
	size_t have = 0;
	int pair[2];
	char got[8];
	ssize_t n;

	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	vbench_unplug(&b);
	plug(pair[0], pair[0]);
	start();
	give_buffer(BUF, 64);
	say(BUF + 64, "out", 3);
	vd_wait(&b, TX);
	assert_int_equal(read(pair[1], got, 8), 3);
	assert_int_equal(write(pair[1], "in", 2), 2);
	assert_int_equal(vd_wait(&b, RX), 2);
	/* Watched for both at once: input while output is held up. */
	vd_add(&b, TX, &big, 1);
	vd_kick(&b, TX);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, TX), 0);
	give_buffer(BUF, 64);
	assert_int_equal(write(pair[1], "in", 2), 2);
	assert_int_equal(vd_wait(&b, RX), 2);
	while (have < big.len) {
		n = read(pair[1], many, sizeof(many));
		assert_true(n > 0);
		have += (size_t)n;
		vd_settle(&b);
	}
	assert_int_equal(vd_wait(&b, TX), 0);
	vbench_unplug(&b);
	close(pair[0]);
	close(pair[1]);
}

static void without_fds_output_is_dropped_and_no_input_comes(void **state)
{
	vbench_unplug(&b);
	plug(-1, -1);
	start();
	say(BUF, "nobody", 6);
	assert_int_equal(vd_wait(&b, TX), 0);
	give_buffer(BUF, 6);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, RX), 0);
}

static void hostile_chains_are_answered(void **state)
{
	struct vd_buf readable = {BUF, 8, false}, writable = {BUF, 8, true};

	start();
	type("x");
	vd_add(&b, RX, &readable, 1); /* no room for input */
	vd_kick(&b, RX);
	assert_int_equal(vd_wait(&b, RX), 0);
	vd_add(&b, TX, &writable, 1); /* nothing to print */
	vd_kick(&b, TX);
	assert_int_equal(vd_wait(&b, TX), 0);
	give_buffer(BUF, 8);
	assert_int_equal(vd_wait(&b, RX), 1);
}

static void the_size_is_told_and_changes_are_announced(void **state)
{
	uint32_t generation;

	assert_true(vd_features(&b) >> VIRTIO_CONSOLE_F_SIZE & 1);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_CONFIG), 0); /* a pipe */
	start();
	vd_settle(&b);
	vd_irqs(&b);
	generation = vd_read(&b, VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_console_resize(b.vdev, 132, 43);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_CONFIG), 43 << 16 | 132);
	assert_int_not_equal(
		vd_read(&b, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_int_equal(vd_irqs(&b), 1);
}

static void a_reset_keeps_input_for_the_next_driver(void **state)
{
	start();
	type("kept");
	vd_settle(&b); /* read, and no buffer to put it in */
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	start();
	give_buffer(BUF, 10);
	assert_int_equal(vd_wait(&b, RX), 4);
}

static void a_pause_takes_no_input_and_no_output(void **state)
{
	char c;

	start();
	b.dev->ops->quiesce(b.dev);
	loop_disable_external(b.loop);
	give_buffer(BUF, 10);
	type("in");
	say(BUF + 64, "out", 3);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, RX) + vd_used(&b, TX), 0);
	assert_int_equal(fcntl(out_pipe[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(out_pipe[0], &c, 1), -1);
	loop_enable_external(b.loop);
	b.dev->ops->resume(b.dev);
	assert_int_equal(vd_wait(&b, RX), 2);
	assert_int_equal(vd_wait(&b, TX), 0);
	expect_out("out");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(output_reaches_the_fd),
		T(input_fills_the_buffers_given),
		T(input_waits_for_the_guest_and_holds_up_the_writer),
		T(output_waits_for_the_reader_and_loses_nothing),
		T(a_reader_that_goes_away_costs_output_only),
		T(the_end_of_input_is_the_end_of_input_only),
		T(files_work_as_both_ends),
		T(one_socket_serves_as_both_ends),
		T(without_fds_output_is_dropped_and_no_input_comes),
		T(hostile_chains_are_answered),
		T(the_size_is_told_and_changes_are_announced),
		T(a_reset_keeps_input_for_the_next_driver),
		T(a_pause_takes_no_input_and_no_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
