/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/console.c - bytes between a guest's console and two fds of the host.
 *
 * Neither side can make us wait or hoard:
 *   input   one buffer is read when the guest has taken the last one; until
 *           then nobody watches in_fd, and the writer there is held up
 *   output  goes from guest RAM to out_fd.  What does not fit stays where it
 *           is: the chain is put back and only how much of it is out is kept,
 *           so no request is ever in flight between two turns
 *
 * Saved: u16 columns, rows; "rx" (input read and not yet taken) and "tx" (u64
 * bytes of the next output chain that are out), each only if there is some.
 * Thread: the device's loop.
 */
#include "virtio/console.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "devices/charfd.h"
#include "migrate/state.h"
#include "virtio/dev.h"
#include "virtio/iov.h"
#include "vmm/error.h"

#define RX	      0u /* queue numbers: device to driver */
#define TX	      1u
#define CONSOLE_QUEUE 64u
#define RX_BYTES      4096u
#define TX_TURN_BYTES (64u << 10) /* in one write */
#define TX_TURN_IOVS  64u
#define CONFIG_BYTES  4u /* cols, rows; the rest needs MULTIPORT */
#define SUB_RX	      "rx"
#define SUB_TX	      "tx"
#define SUB_VERSION   1u

/* All that is saved but the size, which lives in the configuration space. */
struct pending {
	uint64_t tx_skip;	 /* bytes of the next output chain: done */
	unsigned rx_pos, rx_len; /* rx[rx_pos..rx_len) is not yet taken */
	uint8_t rx[RX_BYTES];
};

struct console {
	struct virtio_dev dev; /* first */
	struct charfd in, out; /* .fd -1: none */
	int out_dup;	       /* owned, -1: out uses the caller's fd */
	struct loop_fd *in_watch, *out_watch; /* owned; NULL: not watched */
	bool in_over;			      /* nothing will come any more */
	bool in_is_file; /* cannot be watched: is always ready */
	struct pending now, staged;
	struct virtio_console_config staged_size;
};

static struct console *console_of(struct virtio_dev *dev)
{
	return (struct console *)dev;
}

/* ---- input ---- */

/* Read once, into the empty buffer. */
static void rx_fill(struct console *c)
{
	ssize_t n = charfd_read(&c->in, c->now.rx, sizeof(c->now.rx));

	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		c->in_over = true;
		if (n < 0)
			log_warn("%s: input: %s (no more is read)", c->dev.name,
				strerror((int)-n));
		return;
	}
	c->now.rx_pos = 0;
	c->now.rx_len = (unsigned)n;
}

/* Not watching is how the host's writer is held up.  A watch that is merely
 * masked would still report a hang-up, again and again. */
static void rx_unwatch(struct console *c)
{
	loop_fd_del(c->in_watch);
	c->in_watch = NULL;
}

static bool rx_readable(void *opaque, unsigned ready)
{
	struct console *c = opaque;

	rx_fill(c);
	if (c->now.rx_pos == c->now.rx_len && !c->in_over)
		return false;
	rx_unwatch(c);
	virtio_dev_run(&c->dev, RX);
	return true;
}

static void rx_watch(struct console *c)
{
	int err;

	if (c->in.fd < 0 || c->in_watch || c->in_over || c->in_is_file)
		return;
	err = loop_fd_add(c->dev.loop, c->in.fd, LOOP_READ, LOOP_FD_EXTERNAL,
		rx_readable, c, c->dev.name, &c->in_watch);
	if (err == -EPERM) {
		c->in_is_file = true;
		virtio_dev_run(&c->dev, RX);
	} else if (err < 0) {
		c->in_over = true;
		log_warn("%s: watch input: %s (no more is read)", c->dev.name,
			strerror(-err));
	}
}

static void rx_request(
	struct console *c, struct virtq_chain *chain, struct virtio_ticket t)
{
	const struct iovec *in = virtq_chain_in(chain);
	size_t n = iov_write(in, chain->writable, 0, c->now.rx + c->now.rx_pos,
		c->now.rx_len - c->now.rx_pos);

	virtq_mark_written(c->dev.gm, in, chain->writable, n);
	virtio_dev_done(&c->dev, t, (uint32_t)n);
	c->now.rx_pos += (unsigned)n;
	if (c->now.rx_pos == c->now.rx_len)
		rx_watch(c);
}

/* ---- output ---- */

static void tx_unwatch(struct console *c)
{
	loop_fd_del(c->out_watch);
	c->out_watch = NULL;
}

static bool tx_writable(void *opaque, unsigned ready)
{
	struct console *c = opaque;

	tx_unwatch(c);
	virtio_dev_run(&c->dev, TX);
	return true;
}

static void tx_over(struct console *c, int err)
{
	log_warn("%s: output: %s (the rest is dropped)", c->dev.name,
		strerror(-err));
	charfd_fini(&c->out);
}

static void tx_watch(struct console *c)
{
	int err = loop_fd_add(c->dev.loop, c->out.fd, LOOP_WRITE,
		LOOP_FD_EXTERNAL, tx_writable, c, c->dev.name, &c->out_watch);

	if (err < 0)
		tx_over(c, err);
}

/* Write some of the chain, or see that we hear when that is possible. */
static void tx_some(struct console *c, const struct virtq_chain *chain)
{
	struct iovec part[TX_TURN_IOVS];
	unsigned parts = iov_slice(chain->iov, chain->readable, c->now.tx_skip,
		TX_TURN_BYTES, part, TX_TURN_IOVS);
	ssize_t n;

	n = charfd_write(&c->out, part, (int)parts);
	if (n == -EAGAIN)
		tx_watch(c);
	else if (n < 0)
		tx_over(c, (int)n);
	else
		c->now.tx_skip += (uint64_t)n;
}

static void tx_request(
	struct console *c, struct virtq_chain *chain, struct virtio_ticket t)
{
	uint64_t total = iov_bytes(chain->iov, chain->readable);

	if (c->out.fd >= 0 && c->now.tx_skip < total) {
		tx_some(c, chain);
		/* Not all out yet: the queue offers it again, now or when
		 * out_fd is writable.  It may have changed; so be it. */
		if (c->out.fd >= 0 && c->now.tx_skip < total) {
			virtio_dev_putback(&c->dev, t);
			return;
		}
	}
	c->now.tx_skip = 0;
	virtio_dev_done(&c->dev, t, 0);
}

/* ---- virtio_dev_ops ---- */

static bool console_ready(struct virtio_dev *dev, unsigned q)
{
	struct console *c = console_of(dev);

	if (q == TX)
		return !c->out_watch;
	if (c->now.rx_pos == c->now.rx_len && c->in_is_file && !c->in_over)
		rx_fill(c);
	return c->now.rx_pos < c->now.rx_len;
}

static void console_request(struct virtio_dev *dev, struct virtq_chain *chain,
	struct virtio_ticket ticket)
{
	if (ticket.queue == RX)
		rx_request(console_of(dev), chain, ticket);
	else
		tx_request(console_of(dev), chain, ticket);
}

static void console_start(struct virtio_dev *dev)
{
	struct console *c = console_of(dev);

	if (c->now.rx_pos == c->now.rx_len)
		rx_watch(c);
}

/* Input that was read stays for the next driver. */
static void console_stop(struct virtio_dev *dev)
{
	struct console *c = console_of(dev);

	rx_unwatch(c);
	tx_unwatch(c);
	c->now.tx_skip = 0;
}

/* ---- state ---- */

static void console_save(const struct virtio_dev *dev, struct state_writer *w)
{
	const struct console *c = (const struct console *)dev;
	unsigned left = c->now.rx_len - c->now.rx_pos;
	struct virtio_console_config size;

	memcpy(&size, dev->config, CONFIG_BYTES);
	state_put_u16(w, le16toh(size.cols));
	state_put_u16(w, le16toh(size.rows));
	if (left > 0) {
		state_sub_begin(w, SUB_RX, SUB_VERSION);
		state_put_u16(w, (uint16_t)left);
		state_put_bytes(w, c->now.rx + c->now.rx_pos, left);
		state_sub_end(w);
	}
	if (c->now.tx_skip > 0) {
		state_sub_begin(w, SUB_TX, SUB_VERSION);
		state_put_u64(w, c->now.tx_skip);
		state_sub_end(w);
	}
}

static int console_load(
	struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	struct console *c = console_of(dev);

	c->staged.tx_skip = 0;
	c->staged.rx_pos = c->staged.rx_len = 0;
	c->staged_size.cols = htole16(state_get_u16(r));
	c->staged_size.rows = htole16(state_get_u16(r));
	return r->error;
}

static int console_load_sub(
	struct virtio_dev *dev, struct state_reader *sub, struct error *err)
{
	struct console *c = console_of(dev);

	if (strcmp(sub->name, SUB_TX) != 0 && strcmp(sub->name, SUB_RX) != 0)
		return 0;
	if (sub->version != SUB_VERSION)
		return state_reject(sub, err, "an unknown version");
	if (strcmp(sub->name, SUB_TX) == 0) {
		c->staged.tx_skip = state_get_u64(sub);
		return 1;
	}
	c->staged.rx_len = state_get_u16(sub);
	if (c->staged.rx_len > RX_BYTES) {
		c->staged.rx_len = 0;
		return state_reject(sub, err, "more input than fits");
	}
	state_get_bytes(sub, c->staged.rx, c->staged.rx_len);
	return 1;
}

static void console_loaded(struct virtio_dev *dev)
{
	struct console *c = console_of(dev);

	c->now = c->staged;
	virtio_dev_set_config(dev, 0, &c->staged_size, CONFIG_BYTES, false);
}

/* ---- set-up ---- */

void virtio_console_resize(struct virtio_dev *dev, uint16_t cols, uint16_t rows)
{
	struct virtio_console_config size = {
		.cols = htole16(cols), .rows = htole16(rows)};

	virtio_dev_set_config(dev, 0, &size, CONFIG_BYTES, true);
}

static void close_fds(struct console *c)
{
	charfd_fini(&c->in);
	charfd_fini(&c->out);
	if (c->out_dup >= 0)
		close(c->out_dup);
}

static void console_destroy(struct virtio_dev *dev)
{
	struct console *c = console_of(dev);

	rx_unwatch(c);
	tx_unwatch(c);
	close_fds(c);
	free(c);
}

static const struct virtio_dev_ops console_ops = {
	.kind = "virtio-console",
	.id = VIRTIO_ID_CONSOLE,
	.version = 1,
	.ready = console_ready,
	.request = console_request,
	.start = console_start,
	.stop = console_stop,
	.save = console_save,
	.load = console_load,
	.load_sub = console_load_sub,
	.loaded = console_loaded,
	.destroy = console_destroy,
};

static int open_fds(struct console *c, int in_fd, int out_fd)
{
	int err = 0;

	if (in_fd >= 0)
		err = charfd_init(&c->in, in_fd, O_RDONLY);
	if (err < 0 || out_fd < 0)
		return err;
	/* A loop watches an fd once; input and output are watched apart. */
	if (in_fd == out_fd) {
		c->out_dup = fcntl(out_fd, F_DUPFD_CLOEXEC, 0);
		if (c->out_dup < 0)
			return -errno;
		out_fd = c->out_dup;
	}
	return charfd_init(&c->out, out_fd, O_WRONLY);
}

int virtio_console_create(const struct virtio_env *env, const char *name,
	int in_fd, int out_fd, struct virtio_dev **ret_dev, struct error *err)
{
	static const uint16_t sizes[] = {CONSOLE_QUEUE, CONSOLE_QUEUE};
	struct console *c = calloc(1, sizeof(*c));
	struct winsize win = {0};
	int rc;

	if (!c)
		return error_errno(err, -ENOMEM, "%s", name);
	c->in.fd = c->out.fd = c->out_dup = -1;
	rc = open_fds(c, in_fd, out_fd);
	if (rc < 0)
		error_errno(err, rc, "%s: use its fds", name);
	else
		rc = virtio_dev_init(&c->dev, &console_ops, env, name,
			1ull << VIRTIO_CONSOLE_F_SIZE, sizes, 2, err);
	if (rc < 0) {
		close_fds(c);
		free(c);
		return rc;
	}
	if (out_fd >= 0)
		ioctl(out_fd, TIOCGWINSZ, &win); /* no terminal: size 0 */
	virtio_dev_set_config(&c->dev, 0,
		&(struct virtio_console_config){.cols = htole16(win.ws_col),
			.rows = htole16(win.ws_row)},
		CONFIG_BYTES, false);
	*ret_dev = &c->dev;
	return 0;
}
