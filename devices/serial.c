/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/serial.c - the UART's threads, rings and fds; see serial.h.
 *
 * vCPU threads reach registers and rings under the lock; they never touch an
 * fd but the interrupt's.  All else is the main loop's.  One bottom half does
 * whatever may be due: write, tell the guest that there is room, read on.
 *
 * The ring bytes between tail and head belong to the reader of that ring and
 * are not changed by its writer, so the fd is written to without the lock.
 */
#include "devices/serial.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "devices/charfd.h"
#include "devices/device.h"
#include "devices/uart.h"
#include "loop/loop.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/layout.h"
#include "vmm/log.h"

#define TX_MASK	  (SERIAL_TX_BYTES - 1)
#define RX_MASK	  (SERIAL_RX_BYTES - 1)
#define RETRY_NS  INT64_C(500000000)
#define STALL_NS  INT64_C(1000000000)
#define FLUSH_MS  2000
#define LINGER_NS INT64_C(1000000)
#define READ_SIZE 1024u

struct serial {
	struct device dev;
	struct serial_options opt;
	struct serial_front front;
	struct log_limit lost;

	pthread_mutex_t lock; /* from here to rx */
	struct uart uart;
	bool started;	 /* input may be read */
	bool quiesced;	 /* the guest's side stands still */
	bool irq_later;	 /* THR was written: look at it when bytes are out */
	bool out_gone;	 /* output is dropped */
	bool lingering;	 /* the main loop comes to fetch output by itself */
	bool rx_waiting; /* the main loop waits for room in rx */
	uint32_t tx_head, tx_tail; /* free running; count = head - tail */
	uint32_t rx_head, rx_tail;
	uint8_t tx[SERIAL_TX_BYTES];
	uint8_t rx[SERIAL_RX_BYTES];

	/* Main loop only. */
	struct charfd in, out;		      /* fd -1: none, or given up */
	struct loop_bh *bh;		      /* owned */
	struct loop_fd *watch_in, *watch_out; /* owned; NULL: not watched */
	struct loop_timer retry;  /* look again at what gives no event */
	struct loop_timer linger; /* fetch what came after the last write */
	bool in_polled;		  /* no events from this fd, just read it */
	bool in_lossy;	     /* stalled guest: read on, drop what is over */
	uint32_t stall_tail; /* rx_tail when the ring was found full */
};

static struct serial *serial_of(struct device *dev)
{
	return (struct serial *)dev;
}

static void pulse(struct serial *s)
{
	uint64_t one = 1;

	/* It fails only with 2^64 - 2 edges pending: one more adds nothing. */
	if (s->opt.irq_fd >= 0 && write(s->opt.irq_fd, &one, sizeof(one)) < 0)
		return;
}

static uint32_t tx_free_locked(const struct serial *s)
{
	return SERIAL_TX_BYTES - (s->tx_head - s->tx_tail);
}

static uint32_t rx_free_locked(const struct serial *s)
{
	return SERIAL_RX_BYTES - (s->rx_head - s->rx_tail);
}

/* ---- the guest's side ---- */

/* Ring to FIFO.  Return: UART_* bits. */
static unsigned feed_locked(struct serial *s)
{
	unsigned room = uart_rx_room(&s->uart), n;
	uint8_t buf[UART_FIFO];

	for (n = 0; n < room && s->rx_tail != s->rx_head; n++)
		buf[n] = s->rx[s->rx_tail++ & RX_MASK];
	return n ? uart_rx(&s->uart, buf, n) : 0;
}

static void transmit_locked(struct serial *s, uint8_t value)
{
	if (s->out_gone) {
		uart_tx_done(&s->uart, true);
	} else {
		if (tx_free_locked(s))
			s->tx[s->tx_head++ & TX_MASK] = value;
		uart_tx_done(&s->uart, tx_free_locked(s) >= UART_FIFO);
	}
	s->irq_later = true;
}

/* Does output want the main loop now?  Not while it lingers, or a guest that
 * prints byte by byte would cost a wake-up, so a system call, a byte.  A guest
 * that waits for "THR empty", or a ring half full, does not have to wait. */
static bool tx_urgent_locked(const struct serial *s)
{
	return !s->lingering || s->uart.ier & UART_IER_THRI ||
	       tx_free_locked(s) <= SERIAL_TX_BYTES / 2;
}

/* Return: whether the main loop has something to do. */
static bool after_access_locked(struct serial *s, unsigned *effects)
{
	bool work = !s->started;

	if (*effects & UART_TX && tx_urgent_locked(s))
		work = true;

	*effects |= feed_locked(s);
	s->started = true;
	/* Half a ring at a time, not a wake-up a byte. */
	if (s->rx_waiting && rx_free_locked(s) >= SERIAL_RX_BYTES / 2) {
		s->rx_waiting = false;
		work = true;
	}
	return work;
}

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	struct serial *s = opaque;
	unsigned effects = 0, i;
	uint64_t v = 0;
	bool work;

	pthread_mutex_lock(&s->lock);
	/* An ISA bus makes byte accesses of a wider one. */
	for (i = 0; i < len; i++)
		v |= (uint64_t)uart_read(&s->uart, (unsigned)off + i, &effects)
		     << 8 * i;
	work = after_access_locked(s, &effects);
	pthread_mutex_unlock(&s->lock);
	if (effects & UART_IRQ)
		pulse(s);
	if (work)
		loop_bh_schedule(s->bh);
	return v;
}

static void port_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct serial *s = opaque;
	unsigned effects = 0, did;
	bool work;

	pthread_mutex_lock(&s->lock);
	for (; len > 0; len--, off++, value >>= 8) {
		did = uart_write(&s->uart, (unsigned)off, (uint8_t)value);
		if (did & UART_TX)
			transmit_locked(s, (uint8_t)value);
		effects |= did;
	}
	work = after_access_locked(s, &effects);
	pthread_mutex_unlock(&s->lock);
	if (effects & UART_IRQ)
		pulse(s);
	if (work)
		loop_bh_schedule(s->bh);
}

/* ---- output ---- */

/* Drop output from now on, or just what is in the ring. */
static void output_failed(struct serial *s, int err)
{
	bool full = err == -ENOSPC || err == -EDQUOT || err == -EFBIG;

	log_limited(&s->lost, LOG_WARN, "%s: output: %s; %s", s->dev.name,
		strerror(-err),
		full ? "some of it is lost" : "it is dropped from now on");
	pthread_mutex_lock(&s->lock);
	s->tx_tail = s->tx_head;
	s->out_gone = !full;
	pthread_mutex_unlock(&s->lock);
}

/* One write of what is there.  Return: 0 when all is out, -EAGAIN, -errno. */
static int write_some(struct serial *s)
{
	uint32_t tail, count, first;
	struct iovec iov[2];
	ssize_t n;

	pthread_mutex_lock(&s->lock);
	tail = s->tx_tail;
	count = s->tx_head - tail;
	pthread_mutex_unlock(&s->lock);
	if (count == 0)
		return 0;
	first = SERIAL_TX_BYTES - (tail & TX_MASK);
	if (first > count)
		first = count;
	iov[0] = (struct iovec){s->tx + (tail & TX_MASK), first};
	iov[1] = (struct iovec){s->tx, count - first};
	n = charfd_write(&s->out, iov, count > first ? 2 : 1);
	if (n < 0)
		return (int)n;
	pthread_mutex_lock(&s->lock);
	s->tx_tail = tail + (uint32_t)n;
	pthread_mutex_unlock(&s->lock);
	return (uint32_t)n == count ? 0 : -EAGAIN;
}

/* The guest hears of room and of bytes that have gone.  Not while it is
 * paused: resume calls this again. */
static void update_guest(struct serial *s)
{
	unsigned effects = 0;

	pthread_mutex_lock(&s->lock);
	if (!s->quiesced) {
		if (s->uart.tx_held && tx_free_locked(s) >= SERIAL_TX_BYTES / 2)
			effects |= uart_tx_release(&s->uart);
		if (s->irq_later && uart_thr_pending(&s->uart))
			effects |= UART_IRQ;
		s->irq_later = false;
	}
	pthread_mutex_unlock(&s->lock);
	if (effects & UART_IRQ)
		pulse(s);
}

static void retry_later(struct serial *s, int64_t ns)
{
	int64_t at = loop_now_ns(s->opt.loop, LOOP_MONOTONIC) + ns;

	if (s->retry.heap_index == 0 && loop_timer_set(&s->retry, at) < 0)
		loop_bh_schedule(s->bh); /* busy, but nothing is lost */
}

static bool on_output(void *opaque, unsigned ready)
{
	struct serial *s = opaque;

	loop_fd_del(s->watch_out);
	s->watch_out = NULL;
	loop_bh_schedule(s->bh);
	return true;
}

/* After a write: come back soon instead of being called for each byte. */
static void linger(struct serial *s)
{
	int64_t at = loop_now_ns(s->opt.loop, LOOP_MONOTONIC) + LINGER_NS;
	bool on = loop_timer_set(&s->linger, at) == 0;

	pthread_mutex_lock(&s->lock);
	s->lingering = on;
	on = on || s->tx_head == s->tx_tail;
	pthread_mutex_unlock(&s->lock);
	if (!on) /* what came meanwhile was not announced */
		loop_bh_schedule(s->bh);
}

static void on_linger(void *opaque)
{
	struct serial *s = opaque;
	bool more;

	pthread_mutex_lock(&s->lock);
	more = s->tx_head != s->tx_tail;
	s->lingering = false; /* on again after a write that did something */
	pthread_mutex_unlock(&s->lock);
	if (more)
		loop_bh_schedule(s->bh);
}

static void flush_output(struct serial *s)
{
	uint32_t before = s->tx_tail;
	int err;

	if (s->out.fd < 0 || s->watch_out)
		return;
	err = write_some(s);
	if (s->tx_tail != before)
		linger(s);
	if (err == -EAGAIN) {
		/* Not external: a pause may empty the ring. */
		err = loop_fd_add(s->opt.loop, s->out.fd, LOOP_WRITE, 0,
			on_output, s, s->dev.name, &s->watch_out);
		if (err < 0) {
			s->watch_out = NULL;
			retry_later(s, RETRY_NS);
		}
	} else if (err < 0) {
		output_failed(s, err);
	}
}

/* ---- input ---- */

static void unwatch_input(struct serial *s)
{
	loop_fd_del(s->watch_in);
	s->watch_in = NULL;
}

static void input_ends(struct serial *s, int err)
{
	unwatch_input(s);
	if (err < 0)
		log_warn("%s: input: %s; there is no more of it", s->dev.name,
			strerror(-err));
	charfd_fini(&s->in);
}

/* Return: what it may read; 0 means wait for room. */
static uint32_t input_room(struct serial *s)
{
	uint32_t room, tail;

	pthread_mutex_lock(&s->lock);
	room = rx_free_locked(s);
	tail = s->rx_tail;
	s->rx_waiting = room == 0;
	pthread_mutex_unlock(&s->lock);
	if (room > 0 || !s->front.filter) {
		s->in_lossy = false;
		return room;
	}
	if (s->in_lossy && tail == s->stall_tail)
		return READ_SIZE;
	/* Give the guest a second before the user's keys matter more. */
	s->in_lossy = false;
	s->stall_tail = tail;
	retry_later(s, STALL_NS);
	return 0;
}

static void deliver(struct serial *s, const uint8_t *buf, size_t len)
{
	unsigned effects;
	size_t i;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < len && rx_free_locked(s); i++)
		s->rx[s->rx_head++ & RX_MASK] = buf[i];
	effects = feed_locked(s);
	pthread_mutex_unlock(&s->lock);
	if (effects & UART_IRQ)
		pulse(s);
}

static bool may_read(struct serial *s)
{
	return !s->front.ready || s->front.ready(s->front.opaque);
}

/* One read.  Return: it was one, and another may follow. */
static bool read_some(struct serial *s)
{
	uint32_t room = input_room(s);
	uint8_t buf[READ_SIZE];
	size_t len;
	ssize_t n;

	if (room == 0) {
		unwatch_input(s);
		return false;
	}
	if (!may_read(s)) {
		unwatch_input(s);
		retry_later(s, RETRY_NS);
		return false;
	}
	n = charfd_read(&s->in, buf, room < READ_SIZE ? room : READ_SIZE);
	if (n == -EAGAIN) {
		if (s->in_polled)
			retry_later(s, RETRY_NS);
		return false;
	}
	if (n == -EIO && !may_read(s))
		return true; /* put in the background just now */
	if (n <= 0) {
		input_ends(s, (int)n);
		return false;
	}
	len = (size_t)n;
	if (s->front.filter)
		len = s->front.filter(s->front.opaque, buf, len);
	deliver(s, buf, len);
	return true;
}

static bool on_input(void *opaque, unsigned ready)
{
	return read_some(opaque);
}

static void poll_input(struct serial *s)
{
	bool on;
	int err;

	pthread_mutex_lock(&s->lock);
	on = s->started && !s->quiesced;
	pthread_mutex_unlock(&s->lock);
	if (!on || s->in.fd < 0 || s->watch_in)
		return;
	if (s->in_polled) {
		if (read_some(s))
			loop_bh_schedule(s->bh);
		return;
	}
	if (input_room(s) == 0)
		return;
	err = loop_fd_add(s->opt.loop, s->in.fd, LOOP_READ, LOOP_FD_EXTERNAL,
		on_input, s, s->dev.name, &s->watch_in);
	if (err == 0)
		return;
	s->watch_in = NULL;
	if (err == -EPERM) { /* a file or /dev/null: always ready */
		s->in_polled = true;
		loop_bh_schedule(s->bh);
	} else {
		retry_later(s, RETRY_NS);
	}
}

static void on_bh(void *opaque)
{
	struct serial *s = opaque;

	flush_output(s);
	update_guest(s);
	poll_input(s);
}

static void on_retry(void *opaque)
{
	struct serial *s = opaque;

	/* Still full after STALL_NS, and nothing was taken: the guest does not
	 * read.  input_room() compares with stall_tail. */
	s->in_lossy = true;
	on_bh(s);
}

int serial_flush(struct device *dev)
{
	struct serial *s = serial_of(dev);
	int err;

	if (s->out.fd < 0 || s->out_gone)
		return 0;
	while ((err = write_some(s)) == -EAGAIN) {
		err = charfd_wait_writable(&s->out, FLUSH_MS);
		if (err < 0)
			break;
	}
	if (err < 0)
		output_failed(s, err);
	return err;
}

/* ---- device ---- */

static void reset(struct device *dev)
{
	struct serial *s = serial_of(dev);

	/* Like bytes on the wire, the rings outlive it; the FIFO does not. */
	uart_init(&s->uart);
	s->irq_later = false;
	loop_bh_schedule(s->bh);
}

static void quiesce(struct device *dev)
{
	struct serial *s = serial_of(dev);

	pthread_mutex_lock(&s->lock);
	s->quiesced = true;
	pthread_mutex_unlock(&s->lock);
	unwatch_input(s);
}

static void resume(struct device *dev)
{
	struct serial *s = serial_of(dev);
	unsigned effects;

	pthread_mutex_lock(&s->lock);
	s->quiesced = false;
	s->started = true;
	effects = feed_locked(s);
	/* An edge of the old host may be lost; one too many does no harm. */
	if (uart_pending(&s->uart))
		effects |= UART_IRQ;
	pthread_mutex_unlock(&s->lock);
	if (effects & UART_IRQ)
		pulse(s);
	loop_bh_schedule(s->bh);
}

static int save(const struct device *dev, struct state_writer *w)
{
	const struct serial *s = (const struct serial *)dev;
	uint32_t count = s->rx_head - s->rx_tail, at = s->rx_tail & RX_MASK;
	uint32_t first = SERIAL_RX_BYTES - at;

	if (first > count)
		first = count;
	uart_save(&s->uart, w);
	state_put_u16(w, (uint16_t)count);
	state_put_bytes(w, s->rx + at, first);
	state_put_bytes(w, s->rx, count - first);
	return 0;
}

static int load(struct device *dev, struct state_reader *r, struct error *err)
{
	struct serial *s = serial_of(dev);
	uint8_t rx[SERIAL_RX_BYTES];
	struct uart uart;
	uint16_t count;
	int rc;

	rc = uart_load(&uart, r, err);
	if (rc < 0)
		return rc;
	count = state_get_u16(r);
	if (count > sizeof(rx))
		return state_reject(r, err, "more input than the ring holds");
	state_get_bytes(r, rx, count);
	rc = state_reader_end(r);
	if (rc < 0)
		return rc;
	s->uart = uart;
	s->irq_later = false;
	memcpy(s->rx, rx, count);
	s->rx_tail = 0;
	s->rx_head = count;
	return 0;
}

static void destroy(struct device *dev)
{
	struct serial *s = serial_of(dev);

	unwatch_input(s);
	loop_fd_del(s->watch_out);
	loop_bh_delete(s->bh);
	loop_timer_cancel(&s->retry);
	loop_timer_cancel(&s->linger);
	charfd_fini(&s->in);
	charfd_fini(&s->out);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static const struct bus_ops port_ops = {port_read, port_write};

static const struct device_ops ops = {
	.kind = "serial",
	.version = 1,
	.reset = reset,
	.quiesce = quiesce,
	.resume = resume,
	.save = save,
	.load = load,
	.destroy = destroy,
};

static int open_fds(struct serial *s, struct error *err)
{
	int rc;

	s->in.fd = s->out.fd = -1;
	if (s->opt.out_fd >= 0) {
		rc = charfd_init(&s->out, s->opt.out_fd, O_WRONLY);
		if (rc < 0)
			return error_errno(err, rc, "%s: output to fd %d",
				s->dev.name, s->opt.out_fd);
	}
	s->out_gone = s->out.fd < 0;
	if (s->opt.in_fd >= 0) {
		rc = charfd_init(&s->in, s->opt.in_fd, O_RDONLY);
		if (rc < 0) /* closed, or nohup's way of saying "none" */
			log_info(
				"%s: no input: %s", s->dev.name, strerror(-rc));
	}
	return 0;
}

int serial_create(const struct serial_options *opt, struct device **ret_dev,
	struct bus_range *ret_range, struct error *err)
{
	struct serial *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return error_set(err, -ENOMEM, "serial: out of memory");
	s->dev.ops = &ops;
	snprintf(s->dev.name, sizeof(s->dev.name), "%s",
		opt->name ? opt->name : "serial0");
	s->opt = *opt;
	if (opt->front)
		s->front = *opt->front;
	uart_init(&s->uart);
	rc = open_fds(s, err);
	if (rc < 0)
		goto fail;
	rc = loop_bh_create(opt->loop, on_bh, s, s->dev.name, NULL, &s->bh);
	if (rc < 0) {
		error_set(err, rc, "%s: out of memory", s->dev.name);
		goto fail;
	}
	loop_timer_init(&s->retry, opt->loop, LOOP_MONOTONIC, on_retry, s);
	loop_timer_init(&s->linger, opt->loop, LOOP_MONOTONIC, on_linger, s);
	pthread_mutex_init(&s->lock, NULL);
	*ret_dev = &s->dev;
	*ret_range = (struct bus_range){
		LAYOUT_PIO_COM1, UART_REGS, &port_ops, s, s->dev.name};
	return 0;
fail:
	charfd_fini(&s->in);
	charfd_fini(&s->out);
	free(s);
	return rc;
}
