/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/chan_cut.c - the wrapper of chan_cut.h; cut_proxy.c has the proxy.
 */
#include "tests/lib/chan_cut.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "migrate/chan_priv.h"
#include "migrate/wire.h"

/* Where one direction is.  Its operation's thread, but for frames. */
struct meter {
	uint64_t bytes;		 /* that passed */
	_Atomic uint64_t frames; /* that began */
	uint64_t left;		 /* of the frame whose header is known */
	uint8_t head[WIRE_HEADER_BYTES];
	unsigned have; /* of head */
	bool lost;     /* no frames here */
};

struct cut {
	struct chan chan;
	struct chan *inner; /* owned */
	struct chan_cut how;
	struct meter meter[2];
	bool done; /* acted; the direction's thread */
	pthread_mutex_t lock;
	pthread_cond_t change;
	bool released; /* lock */
};

static struct cut *cut_of(struct chan *chan)
{
	return (struct cut *)chan;
}

/* How many bytes may pass before the next header is complete or the next frame
 * begins: no more are moved at once, so that none escapes the count. */
static uint64_t until_boundary(const struct meter *m)
{
	if (m->lost)
		return UINT64_MAX;
	return m->left > 0 ? m->left : WIRE_HEADER_BYTES - m->have;
}

static void header_done(struct meter *m)
{
	struct wire_header h;

	m->have = 0;
	if (wire_header(m->head, &h, NULL) < 0)
		m->lost = true;
	else
		m->left = (uint64_t)h.meta_len + h.data_len;
}

/* The first @n bytes of @iov passed; @n <= until_boundary(). */
static void count(struct meter *m, const struct iovec *iov, size_t n)
{
	size_t i, part;

	m->bytes += n;
	if (m->lost)
		return;
	if (m->left > 0) {
		m->left -= n;
		return;
	}
	if (m->have == 0 && n > 0)
		m->frames++;
	for (i = 0; n > 0; i++, n -= part) {
		part = iov[i].iov_len < n ? iov[i].iov_len : n;
		memcpy(m->head + m->have, iov[i].iov_base, part);
		m->have += (unsigned)part;
	}
	if (m->have == WIRE_HEADER_BYTES)
		header_done(m);
}

/* The type of the frame that begins with @iov, if all of that is there. */
static uint16_t peek_type(const struct iovec *iov)
{
	const uint8_t *p = iov->iov_base;

	return iov->iov_len >= 6 ? (uint16_t)(p[4] | p[5] << 8) : 0;
}

static void hold(struct cut *c)
{
	pthread_mutex_lock(&c->lock);
	while (!c->released && !c->chan.down)
		pthread_cond_wait(&c->change, &c->lock);
	pthread_mutex_unlock(&c->lock);
}

/* 0, or -ECANCELED when it was cut here. */
static int act(struct cut *c, uint64_t frame, uint16_t type)
{
	c->done = true;
	if (c->how.fn)
		c->how.fn(c->how.opaque, frame, type);
	if (c->how.what == CHAN_HOLD)
		hold(c);
	if (c->how.what == CHAN_CUT)
		chan_shutdown(&c->chan);
	return c->chan.down ? -ECANCELED : 0;
}

static bool at_frame(const struct cut *c, const struct meter *m)
{
	return !m->lost && m->left == 0 && m->have == 0 &&
	       m->frames == c->how.frame;
}

/* Act if it is time; else how many bytes may pass now. */
static int gate(struct cut *c, enum chan_cut_way way, const struct iovec *iov,
	uint64_t *ret_most)
{
	struct meter *m = &c->meter[way];
	uint64_t most = until_boundary(m);

	if (way == c->how.way && !c->done) {
		if (at_frame(c, m) || m->bytes == c->how.byte) {
			/* What is read is not known before it was read. */
			int rc = act(c, m->frames,
				way == CHAN_CUT_WRITE && at_frame(c, m)
					? peek_type(iov)
					: 0);

			if (rc < 0)
				return rc;
		} else if (c->how.byte - m->bytes < most) {
			most = c->how.byte - m->bytes;
		}
	}
	*ret_most = most;
	return 0;
}

/* Shorten @iov to @most bytes, one at least.  Returns the pieces left. */
static int shorten(struct iovec *iov, int iovs, uint64_t most)
{
	int i;

	for (i = 0; i < iovs; i++) {
		if (iov[i].iov_len >= most) {
			iov[i].iov_len = (size_t)most;
			return i + 1;
		}
		most -= iov[i].iov_len;
	}
	return iovs;
}

static ssize_t pass(
	struct chan *chan, enum chan_cut_way way, struct iovec *iov, int iovs)
{
	struct cut *c = cut_of(chan);
	const struct chan_ops *ops = c->inner->ops;
	struct iovec part[IOV_MAX];
	uint64_t most;
	ssize_t n;
	int rc = gate(c, way, iov, &most);

	if (rc < 0)
		return rc;
	memcpy(part, iov, (size_t)iovs * sizeof(*iov)); /* the caller's stays */
	iovs = shorten(part, iovs, most);
	n = way == CHAN_CUT_READ ? ops->readv(c->inner, part, iovs)
				 : ops->writev(c->inner, part, iovs);
	if (n > 0)
		count(&c->meter[way], part, (size_t)n);
	return n;
}

static ssize_t cut_readv(struct chan *chan, struct iovec *iov, int iovs)
{
	return pass(chan, CHAN_CUT_READ, iov, iovs);
}

static ssize_t cut_writev(struct chan *chan, struct iovec *iov, int iovs)
{
	return pass(chan, CHAN_CUT_WRITE, iov, iovs);
}

static void cut_shutdown(struct chan *chan)
{
	struct cut *c = cut_of(chan);

	pthread_mutex_lock(&c->lock);
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
	chan_shutdown(c->inner);
}

static void cut_destroy(struct chan *chan)
{
	struct cut *c = cut_of(chan);

	chan_close(c->inner);
	pthread_cond_destroy(&c->change);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void cut_end_write(struct chan *chan)
{
	struct chan *inner = cut_of(chan)->inner;

	if (inner->ops->end_write)
		inner->ops->end_write(inner);
}

static int cut_finish(struct chan *chan, struct error *err)
{
	return chan_finish(cut_of(chan)->inner, err);
}

static int cut_fd(const struct chan *chan)
{
	return chan_fd(((const struct cut *)chan)->inner);
}

static void cut_set_deadline(struct chan *chan, int ms)
{
	chan_set_deadline(cut_of(chan)->inner, ms);
}

static void cut_set_buffer(struct chan *chan, size_t bytes)
{
	chan_set_buffer(cut_of(chan)->inner, bytes);
}

static int cut_exit_status(struct chan *chan)
{
	return chan_exit_status(cut_of(chan)->inner);
}

static const struct chan_ops cut_ops = {
	.readv = cut_readv,
	.writev = cut_writev,
	.shutdown = cut_shutdown,
	.destroy = cut_destroy,
	.end_write = cut_end_write,
	.finish = cut_finish,
	.fd = cut_fd,
	.set_deadline = cut_set_deadline,
	.set_buffer = cut_set_buffer,
	.exit_status = cut_exit_status,
	.two_way = true,
};

int chan_cut_wrap(
	struct chan *inner, const struct chan_cut *how, struct chan **ret_chan)
{
	struct cut *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	chan_init(&c->chan, &cut_ops, chan_name(inner));
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->change, NULL);
	c->inner = inner;
	c->how = *how;
	*ret_chan = &c->chan;
	return 0;
}

void chan_cut_release(struct chan *chan)
{
	struct cut *c = cut_of(chan);

	pthread_mutex_lock(&c->lock);
	c->released = true;
	pthread_cond_broadcast(&c->change);
	pthread_mutex_unlock(&c->lock);
}

uint64_t chan_cut_frames(struct chan *chan, enum chan_cut_way way)
{
	return cut_of(chan)->meter[way].frames;
}
