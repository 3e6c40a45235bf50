/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_serial.c - rings, back-pressure, pause and state of COM1.
 * The registers themselves: test_uart.c. */
#include "devices/serial.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/uart.h"
#include "loop/loop.h"
#include "tests/unit/device_test.h"
#include "vmm/log.h"

struct fixture {
	struct loop *loop;
	struct device *dev;
	struct bus_range range;
	int in[2], out[2]; /* pipes: the device has in[0] and out[1] */
	int irq;
	int fds;
	/* for the front */
	bool ready, leave;
};

/* ---- fixture ---- */

static struct serial_options options(struct fixture *f)
{
	return (struct serial_options){.loop = f->loop,
		.in_fd = f->in[0],
		.out_fd = f->out[1],
		.irq_fd = f->irq};
}

static void create(struct fixture *f, const struct serial_options *opt)
{
	assert_int_equal(serial_create(opt, &f->dev, &f->range, NULL), 0);
}

static int bare_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	log_set_level(LOG_ERROR);
	f->fds = testing_fd_count();
	f->irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (f->irq < 0 || pipe(f->in) < 0 || pipe(f->out) < 0)
		return -1;
	if (fcntl(f->in[1], F_SETFL, O_NONBLOCK) < 0 ||
		fcntl(f->out[0], F_SETFL, O_NONBLOCK) < 0)
		return -1;
	return loop_create(NULL, &f->loop, NULL);
}

static int setup(void **state)
{
	struct serial_options opt;
	struct fixture *f;
	int rc = bare_setup(state);

	f = *state;
	opt = options(f);
	return rc ? rc : serial_create(&opt, &f->dev, &f->range, NULL);
}

static void shut(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int left;

	if (f->dev)
		f->dev->ops->destroy(f->dev);
	loop_destroy(f->loop);
	shut(&f->irq);
	shut(&f->in[0]);
	shut(&f->in[1]);
	shut(&f->out[0]);
	shut(&f->out[1]);
	left = testing_fd_count() - f->fds;
	free(f);
	return left;
}

/* ---- the guest ---- */

static uint8_t rd(struct fixture *f, unsigned reg)
{
	return (uint8_t)in(&f->range, reg, 1);
}

static void wr(struct fixture *f, unsigned reg, unsigned value)
{
	out(&f->range, reg, 1, value);
}

static bool thre(struct fixture *f)
{
	return rd(f, UART_LSR) & UART_LSR_THRE;
}

static bool dr(struct fixture *f)
{
	return rd(f, UART_LSR) & UART_LSR_DR;
}

static void print(struct fixture *f, const char *text)
{
	while (*text)
		wr(f, UART_RBR, (uint8_t)*text++);
}

/* Byte @i of a sequence that shows a loss, a swap or a repetition. */
static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

/* ---- the host ---- */

/* What is due now; all of it comes from this thread. */
static void settle(struct fixture *f)
{
	while (loop_poll(f->loop, false))
		;
}

static unsigned pulses(struct fixture *f)
{
	uint64_t n = 0;

	return read(f->irq, &n, sizeof(n)) == sizeof(n) ? (unsigned)n : 0;
}

static void expect_out(struct fixture *f, const char *text)
{
	char buf[256];
	ssize_t n;

	settle(f);
	n = read(f->out[0], buf, sizeof(buf));
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void expect_no_out(struct fixture *f)
{
	char c;

	settle(f);
	assert_int_equal(read(f->out[0], &c, 1), -1);
}

/* Read what has come and check that it goes on at @pos. */
static size_t check_out(struct fixture *f, int fd, size_t pos)
{
	uint8_t buf[4096];
	ssize_t n, i;

	n = read(fd, buf, sizeof(buf));
	for (i = 0; i < n; i++, pos++)
		assert_int_equal(buf[i], pattern(pos));
	return pos;
}

static void type(struct fixture *f, const char *text)
{
	assert_int_equal(
		write(f->in[1], text, strlen(text)), (ssize_t)strlen(text));
}

static void expect_in(struct fixture *f, const char *text)
{
	for (; *text; text++) {
		while (!dr(f))
			assert_true(loop_poll(f->loop, true));
		assert_int_equal(rd(f, UART_RBR), *text);
	}
	assert_false(dr(f));
}

static int waiting(int fd)
{
	int n = -1;

	assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
	return n;
}

/* ---- output ---- */

static void it_is_com1(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->range.base, 0x3f8);
	assert_int_equal(f->range.size, 8);
}

static void bytes_come_out_in_order_and_only_from_the_loop(void **state)
{
	struct fixture *f = *state;

	print(f, "hello, ");
	print(f, "world\n");
	assert_int_equal(waiting(f->out[0]), 0); /* no vCPU touched the fd */
	expect_out(f, "hello, world\n");
}

static void a_wide_access_is_its_bytes(void **state)
{
	struct fixture *f = *state;

	out(&f->range, UART_RBR, 4, 0x03000061); /* THR, IER, FCR, LCR */
	expect_out(f, "a");
	assert_int_equal(in(&f->range, UART_LCR, 1), 3);
	out(&f->range, UART_SCR, 1, 0x5a);
	assert_int_equal(in(&f->range, UART_MSR, 2), 0x5ab0);
	assert_int_equal(in(&f->range, 0, 8) >> 56, 0x5a);
}

static void a_slow_reader_holds_thre_back_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, seen = 0, total = 300000, held = 0;

	while (seen < total) {
		while (sent < total && thre(f))
			wr(f, UART_RBR, pattern(sent++));
		settle(f);
		if (sent < total && !thre(f)) {
			/* The pipe is full and the ring too: nobody blocks. */
			held++;
			assert_true(sent > seen);
			seen = check_out(f, f->out[0], seen);
			settle(f);
		} else if (sent == total) {
			seen = check_out(f, f->out[0], seen);
			settle(f);
		}
	}
	assert_true(held > 10);
	assert_int_equal(seen, total);
	expect_no_out(f);
}

static void a_full_fifo_fits_whenever_thre_is_up(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, seen = 0, i;

	for (i = 0; i < 5; i++)
		wr(f, UART_RBR, pattern(sent++));
	/* As Linux does: one look at THRE, then 16 bytes. */
	while (thre(f)) {
		for (i = 0; i < UART_FIFO; i++)
			wr(f, UART_RBR, pattern(sent++));
	}
	assert_int_equal(serial_flush(f->dev), 0);
	while (seen < sent)
		seen = check_out(f, f->out[0], seen);
	assert_int_equal(seen, sent);
}

static void room_again_is_an_interrupt(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, seen = 0;

	wr(f, UART_IER, UART_IER_THRI);
	while (thre(f)) {
		wr(f, UART_RBR, pattern(sent++));
		settle(f);
	}
	rd(f, UART_IIR);
	pulses(f);
	assert_int_equal(rd(f, UART_IIR), UART_IIR_NONE);
	while (seen < sent) {
		seen = check_out(f, f->out[0], seen);
		settle(f);
	}
	assert_true(pulses(f) >= 1);
	assert_int_equal(rd(f, UART_IIR), UART_IIR_THRI);
	assert_true(thre(f));
}

static void a_guest_that_ignores_thre_loses_only_the_end(void **state)
{
	struct fixture *f = *state;
	size_t i, seen = 0, last;

	for (i = 0; i < 3 * SERIAL_TX_BYTES; i++)
		wr(f, UART_RBR, pattern(i));
	do {
		settle(f);
		last = seen;
		seen = check_out(f, f->out[0], seen);
	} while (seen > last);
	assert_int_equal(seen, SERIAL_TX_BYTES);
	assert_true(thre(f));
}

/* The smallest handler there is: it never reads IIR. */
static void an_interrupt_handler_of_one_byte_prints_everything(void **state)
{
	struct fixture *f = *state;
	const char *text = "an edge for each byte", *p = text;

	wr(f, UART_IER, UART_IER_THRI);
	while (*p) {
		while (!pulses(f))
			assert_true(loop_poll(f->loop, true));
		wr(f, UART_RBR, (uint8_t)*p++);
	}
	expect_out(f, text);
}

static void a_handler_like_that_of_linux_needs_few_interrupts(void **state)
{
	struct fixture *f = *state;
	unsigned irqs = 0, i;
	size_t sent = 0;

	wr(f, UART_IER, UART_IER_THRI);
	while (sent < 1024) {
		while (!pulses(f))
			assert_true(loop_poll(f->loop, true));
		irqs++;
		while (rd(f, UART_IIR) == UART_IIR_THRI && sent < 1024)
			for (i = 0; i < UART_FIFO; i++)
				wr(f, UART_RBR, pattern(sent++));
	}
	settle(f);
	assert_int_equal(check_out(f, f->out[0], 0), 1024);
	assert_int_equal(irqs, 1);
}

static void polled_output_raises_no_interrupt(void **state)
{
	struct fixture *f = *state;

	print(f, "quiet");
	expect_out(f, "quiet");
	assert_int_equal(pulses(f), 0);
}

/* Lines on stderr while @fn runs. */
static unsigned warnings(void (*fn)(struct fixture *), struct fixture *f)
{
	int was = dup(STDERR_FILENO);
	FILE *t = tmpfile();
	unsigned lines = 0;
	int c;

	assert_non_null(t);
	assert_true(was >= 0);
	dup2(fileno(t), STDERR_FILENO);
	log_set_level(LOG_WARN);
	fn(f);
	log_set_level(LOG_ERROR);
	dup2(was, STDERR_FILENO);
	close(was);
	rewind(t);
	while ((c = fgetc(t)) != EOF)
		lines += c == '\n';
	fclose(t);
	return lines;
}

static void print_to_nobody(struct fixture *f)
{
	size_t i;

	for (i = 0; i < 5 * SERIAL_TX_BYTES; i++) {
		assert_true(thre(f));
		wr(f, UART_RBR, 'x');
		if (i % 100 == 0)
			settle(f);
	}
	assert_int_equal(serial_flush(f->dev), 0);
}

static void when_the_reader_goes_the_guest_goes_on_with_one_warning(
	void **state)
{
	struct fixture *f = *state;

	shut(&f->out[0]);
	assert_int_equal(warnings(print_to_nobody, f), 1);
}

static void a_full_disk_loses_bytes_but_not_the_guest(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);

	opt.out_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(opt.out_fd >= 0);
	create(f, &opt);
	print(f, "no room");
	settle(f);
	assert_true(thre(f));
	print(f, "still none");
	assert_int_equal(serial_flush(f->dev), -ENOSPC);
	close(opt.out_fd);
}

static void when_the_disk_has_room_again_output_goes_on(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	struct rlimit was, four = {.rlim_cur = 4};
	FILE *t = tmpfile();
	char buf[8] = {0};

	assert_non_null(t);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	four.rlim_max = was.rlim_max;
	opt.out_fd = fileno(t);
	create(f, &opt);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &four), 0);
	print(f, "abcd");
	settle(f);
	print(f, "lost");
	while (pread(opt.out_fd, buf, 8, 0) < 4)
		loop_poll(f->loop, true);
	loop_poll(f->loop, true); /* fetch the rest, in vain */
	settle(f);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	print(f, "e");
	while (pread(opt.out_fd, buf, 8, 0) < 5)
		loop_poll(f->loop, true);
	assert_string_equal(buf, "abcde");
	fclose(t);
}

static void without_an_output_thre_is_always_up(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);

	opt.out_fd = -1;
	create(f, &opt);
	print_to_nobody(f);
}

static void an_output_that_cannot_be_written_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	struct error err = {0};

	opt.out_fd = f->out[0];
	assert_int_equal(serial_create(&opt, &f->dev, &f->range, &err), -EBADF);
	assert_non_null(strstr(err.text, "serial0"));
	f->dev = NULL;
}

static void a_file_gets_every_byte(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	FILE *t = tmpfile();
	size_t i, seen = 0;

	assert_non_null(t);
	opt.out_fd = fileno(t);
	create(f, &opt);
	for (i = 0; i < 100000; i++) {
		if (!thre(f))
			settle(f);
		wr(f, UART_RBR, pattern(i));
	}
	assert_int_equal(serial_flush(f->dev), 0);
	rewind(t);
	while (seen < i) {
		size_t last = seen;

		seen = check_out(f, fileno(t), seen);
		assert_true(seen > last);
	}
	fclose(t);
}

struct reader {
	int fd;
	size_t want, seen;
	bool wrong;
};

static void *read_all(void *opaque)
{
	struct reader *r = opaque;
	uint8_t buf[512];
	ssize_t n, i;

	while (r->seen < r->want && (n = read(r->fd, buf, sizeof(buf))) > 0)
		for (i = 0; i < n; i++, r->seen++)
			r->wrong |= buf[i] != pattern(r->seen);
	return NULL;
}

static void flush_waits_for_a_slow_reader(void **state)
{
	struct fixture *f = *state;
	struct reader r = {.fd = f->out[0]};
	pthread_t thread;

	while (thre(f)) {
		wr(f, UART_RBR, pattern(r.want++));
		settle(f);
	}
	assert_true(r.want > SERIAL_TX_BYTES); /* pipe and ring are full */
	assert_int_equal(fcntl(f->out[0], F_SETFL, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_all, &r), 0);
	assert_int_equal(serial_flush(f->dev), 0);
	pthread_join(thread, NULL);
	assert_false(r.wrong);
	assert_int_equal(r.seen, r.want);
}

static void flush_gives_up_on_a_reader_that_does_not_read(void **state)
{
	struct fixture *f = *state;

	while (thre(f)) {
		wr(f, UART_RBR, 'x');
		settle(f);
	}
	assert_int_equal(serial_flush(f->dev), -ETIMEDOUT);
	assert_int_equal(serial_flush(f->dev), 0); /* nothing is left */
}

/* ---- input ---- */

static void typed_bytes_arrive_in_order(void **state)
{
	struct fixture *f = *state;

	type(f, "ls -l\n");
	expect_in(f, "ls -l\n");
	type(f, "exit\n");
	expect_in(f, "exit\n");
}

static void input_is_not_touched_before_the_guest_or_a_resume(void **state)
{
	struct fixture *f = *state;

	type(f, "early");
	f->dev->ops->reset(f->dev);
	settle(f);
	assert_int_equal(waiting(f->in[0]), 5);
	f->dev->ops->resume(f->dev);
	settle(f);
	assert_int_equal(waiting(f->in[0]), 0);
	expect_in(f, "early");
}

static void input_is_an_interrupt_for_each_batch(void **state)
{
	struct fixture *f = *state;
	unsigned i;

	wr(f, UART_IIR, UART_FCR_ENABLE);
	wr(f, UART_IER, UART_IER_RDI);
	settle(f);
	type(f, "0123456789abcdefg"); /* one more than a FIFO */
	while (!dr(f))
		assert_true(loop_poll(f->loop, true));
	assert_int_equal(pulses(f), 1);
	for (i = 0; i < UART_FIFO; i++) {
		assert_int_equal(pulses(f), 0);
		rd(f, UART_RBR);
	}
	assert_int_equal(pulses(f), 1);
	assert_int_equal(rd(f, UART_RBR), 'g');
	assert_int_equal(pulses(f), 0);
}

static void a_fast_sender_waits_and_loses_nothing(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, seen = 0, total = 300000, i;
	uint8_t buf[1000];
	ssize_t n;

	wr(f, UART_IIR, UART_FCR_ENABLE);
	while (seen < total) {
		for (i = 0; i < sizeof(buf); i++)
			buf[i] = pattern(sent + i);
		n = total - sent < sizeof(buf) ? (ssize_t)(total - sent)
					       : (ssize_t)sizeof(buf);
		n = write(f->in[1], buf, (size_t)n);
		sent += n > 0 ? (size_t)n : 0;
		settle(f);
		for (i = 0; i < 100 && dr(f); i++, seen++)
			assert_int_equal(rd(f, UART_RBR), pattern(seen));
	}
	assert_int_equal(seen, total);
	assert_false(dr(f));
}

static void a_file_as_input_is_read_to_its_end(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	size_t seen, total = 50000;
	FILE *t = tmpfile();

	assert_non_null(t);
	for (seen = 0; seen < total; seen++)
		fputc(pattern(seen), t);
	rewind(t);
	opt.in_fd = fileno(t);
	create(f, &opt);
	for (seen = 0; seen < total; seen++) {
		while (!dr(f))
			assert_true(loop_poll(f->loop, true));
		assert_int_equal(rd(f, UART_RBR), pattern(seen));
	}
	settle(f);
	assert_false(dr(f));
	fclose(t);
}

static void a_file_as_input_is_not_read_during_a_pause(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	FILE *t = tmpfile();
	struct bytes was;
	size_t seen;

	assert_non_null(t);
	for (seen = 0; seen < 3 * SERIAL_RX_BYTES; seen++)
		fputc(pattern(seen), t);
	rewind(t);
	opt.in_fd = fileno(t);
	create(f, &opt);
	rd(f, UART_LSR);
	settle(f);
	for (seen = 0; seen < SERIAL_RX_BYTES / 2 + 100; seen++)
		assert_int_equal(rd(f, UART_RBR), pattern(seen));
	f->dev->ops->quiesce(f->dev); /* with a bottom half on its way */
	was = saved(f->dev);
	settle(f);
	assert_saves_as(f->dev, &was);
	f->dev->ops->resume(f->dev);
	settle(f);
	for (; seen < 3 * SERIAL_RX_BYTES; seen++) {
		settle(f);
		assert_int_equal(rd(f, UART_RBR), pattern(seen));
	}
	free(was.p);
	fclose(t);
}

static void no_input_or_the_end_of_it_does_not_disturb_the_guest(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int inputs[] = {-1, null, f->in[0], f->out[1]};
	unsigned i;

	shut(&f->in[1]); /* in[0] is at its end */
	for (i = 0; i < 4; i++) {
		opt.in_fd = inputs[i];
		create(f, &opt);
		assert_false(dr(f));
		print(f, "fine");
		expect_out(f, "fine");
		assert_false(dr(f));
		f->dev->ops->destroy(f->dev);
		f->dev = NULL;
		settle(f);
	}
	close(null);
}

static void loopback_keeps_typed_bytes_for_later(void **state)
{
	struct fixture *f = *state;

	wr(f, UART_MCR, UART_MCR_LOOP);
	type(f, "later");
	settle(f);
	assert_false(dr(f));
	wr(f, UART_RBR, 'L');
	assert_int_equal(rd(f, UART_RBR), 'L');
	expect_no_out(f);
	wr(f, UART_MCR, 0);
	expect_in(f, "later");
}

/* ---- the user's front ---- */

static size_t filter(void *opaque, uint8_t *buf, size_t len)
{
	struct fixture *f = opaque;
	size_t i, n = 0;

	for (i = 0; i < len; i++) {
		if (buf[i] == '!')
			f->leave = true;
		else
			buf[n++] = buf[i];
	}
	return n;
}

static bool ready(void *opaque)
{
	return ((struct fixture *)opaque)->ready;
}

static void the_filter_sees_input_before_the_guest(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	struct serial_front front = {.filter = filter, .opaque = f};

	opt.front = &front;
	create(f, &opt);
	rd(f, UART_LSR);
	settle(f);
	type(f, "a!b");
	expect_in(f, "ab");
	assert_true(f->leave);
}

static void the_user_can_leave_a_guest_that_does_not_read(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	struct serial_front front = {.filter = filter, .opaque = f};
	uint8_t buf[2 * SERIAL_RX_BYTES];
	size_t i, seen = 0;

	opt.front = &front;
	create(f, &opt);
	rd(f, UART_LSR);
	for (i = 0; i < sizeof(buf); i++)
		buf[i] = pattern(i) == '!' ? '.' : pattern(i);
	assert_int_equal(write(f->in[1], buf, sizeof(buf)), sizeof(buf));
	settle(f);
	assert_true(waiting(f->in[0]) > 0); /* the guest is given time first */
	type(f, "!");
	while (!f->leave)
		loop_poll(f->loop, true);
	/* What was in the ring is there, and reading goes on after it. */
	while (dr(f))
		assert_int_equal(rd(f, UART_RBR), buf[seen++]);
	assert_true(seen >= SERIAL_RX_BYTES);
	settle(f);
	type(f, "again");
	expect_in(f, "again");
}

static void input_waits_until_the_front_is_ready(void **state)
{
	struct fixture *f = *state;
	struct serial_options opt = options(f);
	struct serial_front front = {.ready = ready, .opaque = f};

	opt.front = &front;
	create(f, &opt);
	rd(f, UART_LSR);
	type(f, "shell");
	settle(f);
	assert_int_equal(waiting(f->in[0]), 5);
	f->ready = true;
	expect_in(f, "shell"); /* found out without an event */
}

/* ---- pause, state ---- */

static void a_pause_loses_nothing_and_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct bytes was;

	wr(f, UART_IIR, UART_FCR_ENABLE);
	wr(f, UART_IER, UART_IER_RDI | UART_IER_THRI);
	type(f, "before");
	settle(f);
	print(f, "out");
	loop_disable_external(f->loop);
	f->dev->ops->quiesce(f->dev);
	pulses(f);
	was = saved(f->dev);
	type(f, "after");
	expect_out(f, "out"); /* it leaves, but the guest hears nothing */
	settle(f);
	assert_int_equal(pulses(f), 0);
	assert_int_equal(waiting(f->in[0]), 5);
	assert_saves_as(f->dev, &was);
	loop_enable_external(f->loop);
	f->dev->ops->resume(f->dev);
	assert_true(pulses(f) >= 1);
	expect_in(f, "beforeafter");
	free(was.p);
}

static void thre_held_over_a_pause_comes_back_after_it(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, seen = 0;
	struct bytes was;

	wr(f, UART_IER, UART_IER_THRI);
	while (thre(f)) {
		wr(f, UART_RBR, pattern(sent++));
		settle(f);
	}
	f->dev->ops->quiesce(f->dev);
	was = saved(f->dev);
	pulses(f);
	while (seen < sent) {
		seen = check_out(f, f->out[0], seen);
		settle(f);
	}
	assert_saves_as(f->dev, &was);
	assert_int_equal(pulses(f), 0);
	f->dev->ops->resume(f->dev);
	settle(f);
	assert_true(pulses(f) >= 1);
	assert_int_equal(rd(f, UART_IIR), UART_IIR_THRI);
	assert_true(thre(f));
	free(was.p);
}

/* Another device on the same loop, with no fds of its own. */
static void create_other(struct fixture *f, struct fixture *g)
{
	struct serial_options opt = {
		.loop = f->loop, .in_fd = -1, .out_fd = -1, .irq_fd = f->irq};

	*g = (struct fixture){.loop = f->loop, .irq = f->irq};
	create(g, &opt);
}

static void unread_input_moves_with_the_state_and_output_does_not(void **state)
{
	struct fixture *f = *state, g;

	create_other(f, &g);
	wr(f, UART_IIR, UART_FCR_ENABLE);
	type(f, "more than one FIFO of unread input");
	settle(f);
	assert_int_equal(rd(f, UART_RBR), 'm');
	print(f, "printed here, once");
	assert_survives(f->dev, g.dev);
	g.dev->ops->resume(g.dev);
	expect_in(&g, "ore than one FIFO of unread input");
	expect_out(f, "printed here, once");
	expect_no_out(f);
	g.dev->ops->destroy(g.dev);
}

static void a_load_raises_again_what_the_old_host_may_have_lost(void **state)
{
	struct fixture *f = *state, g;

	create_other(f, &g);
	wr(f, UART_IER, UART_IER_THRI);
	pulses(f);
	assert_survives(f->dev, g.dev);
	assert_int_equal(pulses(f), 0);
	g.dev->ops->resume(g.dev);
	assert_int_equal(pulses(f), 1);
	g.dev->ops->destroy(g.dev);
}

/* As after a reset: nothing in the FIFO yet, something behind it. */
static void a_load_interrupts_for_input_that_waits(void **state)
{
	struct fixture *f = *state, g;
	uint8_t ier = UART_IER_RDI;
	struct bytes b;

	create_other(f, &g);
	rd(f, UART_LSR);
	settle(f);
	type(f, "wait");
	settle(f);
	f->dev->ops->reset(f->dev);
	b = saved(f->dev);
	assert_int_equal(load_patched(g.dev, &b, 0, &ier, 1), 0);
	assert_int_equal(pulses(f), 0);
	g.dev->ops->resume(g.dev);
	assert_int_equal(pulses(f), 1);
	expect_in(&g, "ait"); /* the reset took the byte in the register */
	g.dev->ops->destroy(g.dev);
	free(b.p);
}

static void a_state_saved_while_thre_was_held_goes_on_elsewhere(void **state)
{
	struct fixture *f = *state, g;

	create_other(f, &g);
	wr(f, UART_IER, UART_IER_THRI);
	while (thre(f)) {
		wr(f, UART_RBR, 'x');
		settle(f);
	}
	f->dev->ops->quiesce(f->dev);
	assert_survives(f->dev, g.dev);
	pulses(f);
	g.dev->ops->resume(g.dev);
	settle(f);
	assert_true(thre(&g));
	assert_true(pulses(f) >= 1);
	assert_int_equal(rd(&g, UART_IIR), UART_IIR_THRI);
	g.dev->ops->destroy(g.dev);
}

static void the_stream_is_golden(void **state)
{
	struct fixture *f = *state, g;

	create_other(f, &g);
	wr(f, UART_LCR, UART_LCR_DLAB | 3);
	wr(f, UART_RBR, 1);
	wr(f, UART_IER, 2);
	wr(f, UART_LCR, 3);
	wr(f, UART_IIR, UART_FCR_ENABLE | 0x80);
	wr(f, UART_SCR, 0x42);
	wr(f, UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2); /* deltas */
	wr(f, UART_MCR, UART_MCR_OUT2 | UART_MCR_RTS | UART_MCR_DTR);
	wr(f, UART_IER, UART_IER_RDI | UART_IER_RLSI);
	type(f, "0123456789abcdef and the rest");
	settle(f);
	assert_golden("serial-v1", f->dev, g.dev);
	expect_in(&g, "0123456789abcdef and the rest");
	assert_int_equal(rd(&g, UART_SCR), 0x42);
	g.dev->ops->destroy(g.dev);
}

static void a_load_refuses_what_cannot_be(void **state)
{
	static const struct {
		uint8_t off, value;
		int rc;
	} bad[] = {{0, 0x10, -EPROTO}, /* IER */
		{1, 0x09, -EPROTO},    /* FCR */
		{1, 0xc0, -EPROTO},    /* trigger of no FIFO */
		{3, 0x20, -EPROTO},    /* MCR */
		{7, 0x04, -EPROTO},    /* LSR */
		{8, 0x10, -EPROTO},    /* MSR */
		{9, 2, -EBADMSG},      /* THR empty */
		{10, 1, -EPROTO},      /* held and empty */
		{11, 2, -EPROTO},      /* 2 bytes without FIFO */
		{11, 1, -EBADMSG}};    /* shifts the rest: too short */
	static const uint8_t huge[2] = {0x01, 0x10};
	struct fixture *f = *state;
	struct bytes good = saved(f->dev);
	unsigned i;

	type(f, "stays");
	rd(f, UART_LSR);
	settle(f);
	assert_refuses_wrong_lengths(f->dev, &good);
	free(good.p);
	expect_in(f, "stays");
	good = saved(f->dev);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			load_with_byte(f->dev, &good, bad[i].off, bad[i].value),
			bad[i].rc);
		assert_saves_as(f->dev, &good);
	}
	assert_int_equal(load_patched(f->dev, &good, 12, huge, 2), -EPROTO);
	assert_saves_as(f->dev, &good);
	free(good.p);
}

static void reset_clears_registers_but_prints_what_was_written(void **state)
{
	struct fixture *f = *state;

	print(f, "last words\n");
	wr(f, UART_IER, 0x0f);
	wr(f, UART_LCR, 0x83);
	f->dev->ops->reset(f->dev);
	assert_int_equal(rd(f, UART_IER), 0);
	assert_int_equal(rd(f, UART_LCR), 0);
	expect_out(f, "last words\n");
	type(f, "x");
	expect_in(f, "x");
}

static void no_access_does_harm(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state, g;
	unsigned round;
	char buf[4096];

	create_other(f, &g);
	for (round = 0; round < 20; round++) {
		type(f, "some input");
		hammer(&f->range, &rnd);
		settle(f);
		assert_survives(f->dev, g.dev);
		while (read(f->out[0], buf, sizeof(buf)) > 0)
			settle(f);
	}
	/* And it still works. */
	f->dev->ops->reset(f->dev);
	print(f, "alive");
	expect_out(f, "alive");
	g.dev->ops->destroy(g.dev);
}

/* ---- threads ---- */

struct guest {
	struct fixture *f;
	size_t total;
	_Atomic bool done;
	struct loop_bh *bh;
	bool wrong;
};

static void nothing(void *opaque)
{
}

/* Prints by polling and echoes what it gets, as a vCPU would. */
static void *guest_main(void *opaque)
{
	struct guest *g = opaque;
	size_t sent = 0, seen = 0;

	while (sent < g->total || seen < g->total) {
		if (sent < g->total && thre(g->f))
			wr(g->f, UART_RBR, pattern(sent++));
		else
			sched_yield();
		if (seen < g->total && dr(g->f))
			g->wrong |= rd(g->f, UART_RBR) != pattern(seen++);
	}
	g->done = true;
	loop_bh_schedule(g->bh);
	return NULL;
}

struct sender {
	int fd;
	size_t total;
};

static void *send_all(void *opaque)
{
	struct sender *s = opaque;
	size_t i;
	uint8_t c;

	for (i = 0; i < s->total; i++) {
		c = pattern(i);
		if (write(s->fd, &c, 1) != 1)
			break;
	}
	return NULL;
}

static void a_vcpu_a_reader_and_a_sender_lose_nothing(void **state)
{
	struct fixture *f = *state;
	struct guest g = {.f = f, .total = 40000};
	struct reader r = {.fd = f->out[0], .want = g.total};
	struct sender s = {.fd = f->in[1], .total = g.total};
	pthread_t vcpu, reader, sender;

	assert_int_equal(fcntl(f->out[0], F_SETFL, 0), 0);
	assert_int_equal(fcntl(f->in[1], F_SETFL, 0), 0);
	assert_int_equal(
		loop_bh_create(f->loop, nothing, NULL, "done", NULL, &g.bh), 0);
	assert_int_equal(pthread_create(&reader, NULL, read_all, &r), 0);
	assert_int_equal(pthread_create(&sender, NULL, send_all, &s), 0);
	assert_int_equal(pthread_create(&vcpu, NULL, guest_main, &g), 0);
	while (!g.done)
		loop_poll(f->loop, true);
	assert_int_equal(serial_flush(f->dev), 0);
	pthread_join(vcpu, NULL);
	pthread_join(sender, NULL);
	pthread_join(reader, NULL);
	assert_false(g.wrong);
	assert_false(r.wrong);
	assert_int_equal(r.seen, g.total);
	loop_bh_delete(g.bh);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define BARE(fn) cmocka_unit_test_setup_teardown(fn, bare_setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(it_is_com1),
		TEST(bytes_come_out_in_order_and_only_from_the_loop),
		TEST(a_wide_access_is_its_bytes),
		TEST(a_slow_reader_holds_thre_back_and_loses_nothing),
		TEST(a_full_fifo_fits_whenever_thre_is_up),
		TEST(room_again_is_an_interrupt),
		TEST(a_guest_that_ignores_thre_loses_only_the_end),
		TEST(an_interrupt_handler_of_one_byte_prints_everything),
		TEST(a_handler_like_that_of_linux_needs_few_interrupts),
		TEST(polled_output_raises_no_interrupt),
		TEST(when_the_reader_goes_the_guest_goes_on_with_one_warning),
		BARE(a_full_disk_loses_bytes_but_not_the_guest),
		BARE(when_the_disk_has_room_again_output_goes_on),
		BARE(without_an_output_thre_is_always_up),
		BARE(an_output_that_cannot_be_written_is_an_error),
		BARE(a_file_gets_every_byte),
		TEST(flush_waits_for_a_slow_reader),
		TEST(flush_gives_up_on_a_reader_that_does_not_read),
		TEST(typed_bytes_arrive_in_order),
		TEST(input_is_not_touched_before_the_guest_or_a_resume),
		TEST(input_is_an_interrupt_for_each_batch),
		TEST(a_fast_sender_waits_and_loses_nothing),
		BARE(a_file_as_input_is_read_to_its_end),
		BARE(a_file_as_input_is_not_read_during_a_pause),
		BARE(no_input_or_the_end_of_it_does_not_disturb_the_guest),
		TEST(loopback_keeps_typed_bytes_for_later),
		BARE(the_filter_sees_input_before_the_guest),
		BARE(the_user_can_leave_a_guest_that_does_not_read),
		BARE(input_waits_until_the_front_is_ready),
		TEST(a_pause_loses_nothing_and_changes_nothing),
		TEST(thre_held_over_a_pause_comes_back_after_it),
		TEST(unread_input_moves_with_the_state_and_output_does_not),
		TEST(a_load_raises_again_what_the_old_host_may_have_lost),
		TEST(a_load_interrupts_for_input_that_waits),
		TEST(a_state_saved_while_thre_was_held_goes_on_elsewhere),
		TEST(the_stream_is_golden),
		TEST(a_load_refuses_what_cannot_be),
		TEST(reset_clears_registers_but_prints_what_was_written),
		TEST(no_access_does_harm),
		TEST(a_vcpu_a_reader_and_a_sender_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
