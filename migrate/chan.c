/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan.c - what all channels share: whole transfers, error codes, and
 * which back end an address means.
 *
 * The flag `down` is set before the back end is woken, so whoever comes back
 * from a wait, with whatever result, sees it and says -ECANCELED.
 */
#include "migrate/chan.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "migrate/chan_priv.h"
#include "vmm/error.h"

#define NS_PER_MS 1000000
/* Reads of more pieces than that are large ones: they take nothing along. */
#define AHEAD_PIECES 3

/* ---- time ---- */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

int64_t chan_end_ns(int ms)
{
	return ms < 0 ? INT64_MAX : now_ns() + (int64_t)ms * NS_PER_MS;
}

/* For ppoll(2): what is left until @end_ns, NULL for ever. */
static struct timespec *left(int64_t end_ns, struct timespec *ts)
{
	int64_t ns;

	if (end_ns == INT64_MAX)
		return NULL;
	ns = end_ns - now_ns();
	if (ns < 0)
		ns = 0;
	*ts = (struct timespec){
		.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
	return ts;
}

int chan_wait(int fd, short events, int cancel_fd, int64_t end_ns)
{
	struct pollfd pfd[2] = {{.fd = cancel_fd, .events = POLLIN},
		{.fd = fd, .events = events}};
	struct timespec ts;
	int n;

	do
		n = ppoll(pfd, 2, left(end_ns, &ts), NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (pfd[0].revents)
		return -ECANCELED;
	return n == 0 ? -ETIMEDOUT : 0;
}

/* ---- moving bytes ---- */

void chan_init(struct chan *chan, const struct chan_ops *ops, const char *name)
{
	chan->ops = ops;
	chan->deadline_ms = -1;
	chan->down = false;
	chan->ahead = NULL;
	chan->ahead_cap = chan->ahead_at = chan->ahead_len = 0;
	snprintf(chan->name, sizeof(chan->name), "%s", name);
}

/* Drop the first @n bytes of *@iov and any empty pieces that follow. */
static void advance(struct iovec **iov, int *iovs, size_t n)
{
	while (*iovs > 0 && n >= (*iov)->iov_len) {
		n -= (*iov)->iov_len;
		(*iov)++;
		(*iovs)--;
	}
	if (*iovs > 0) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
		(*iov)->iov_len -= n;
	}
}

static int iov_limit(int iovs)
{
	return iovs < IOV_MAX ? iovs : IOV_MAX;
}

int chan_writev(struct chan *chan, struct iovec *iov, int iovs)
{
	ssize_t n;

	advance(&iov, &iovs, 0);
	while (iovs > 0) {
		if (chan->down)
			return -ECANCELED;
		n = chan->ops->writev(chan, iov, iov_limit(iovs));
		if (n < 0)
			return chan->down ? -ECANCELED : (int)n;
		advance(&iov, &iovs, (size_t)n);
	}
	return 0;
}

int chan_write(struct chan *chan, const void *buf, size_t len)
{
	/* writev(2) only reads, but its iovec has no const. */
	union {
		const void *in;
		void *out;
	} base = {.in = buf};
	struct iovec iov = {.iov_base = base.out, .iov_len = len};

	return chan_writev(chan, &iov, 1);
}

/* ---- reading ahead ---- */

int chan_read_ahead(struct chan *chan, size_t bytes)
{
	assert(!chan->ahead);
	chan->ahead = malloc(bytes);
	if (!chan->ahead)
		return -ENOMEM;
	chan->ahead_cap = bytes;
	return 0;
}

bool chan_has_ahead(const struct chan *chan)
{
	return chan->ahead_len > 0;
}

/* Into the first piece, some of what was read before. */
static ssize_t take_ahead(struct chan *chan, const struct iovec *iov)
{
	size_t n =
		iov->iov_len < chan->ahead_len ? iov->iov_len : chan->ahead_len;

	memcpy(iov->iov_base, chan->ahead + chan->ahead_at, n);
	chan->ahead_at += n;
	chan->ahead_len -= n;
	return (ssize_t)n;
}

/* As the back end's readv. */
static ssize_t read_some(struct chan *chan, struct iovec *iov, int iovs)
{
	struct iovec more[AHEAD_PIECES + 1];
	size_t want = 0;
	ssize_t n;
	int i;

	if (chan->ahead_len > 0)
		return take_ahead(chan, iov);
	if (!chan->ahead || iovs > AHEAD_PIECES)
		return chan->ops->readv(chan, iov, iov_limit(iovs));
	for (i = 0; i < iovs; i++) {
		more[i] = iov[i];
		want += iov[i].iov_len;
	}
	more[iovs] = (struct iovec){chan->ahead, chan->ahead_cap};
	n = chan->ops->readv(chan, more, iovs + 1);
	if (n <= 0 || (size_t)n <= want)
		return n;
	chan->ahead_at = 0;
	chan->ahead_len = (size_t)n - want;
	return (ssize_t)want;
}

int chan_fill(struct chan *chan)
{
	struct iovec iov = {chan->ahead, chan->ahead_cap};
	ssize_t n;

	if (chan->down)
		return -ECANCELED;
	if (chan->ahead_len > 0)
		return 0;
	n = chan->ops->readv(chan, &iov, 1);
	if (n <= 0 && chan->down)
		return -ECANCELED;
	if (n <= 0)
		return n == 0 ? -ENODATA : (int)n;
	chan->ahead_at = 0;
	chan->ahead_len = (size_t)n;
	return 0;
}

int chan_readv(struct chan *chan, struct iovec *iov, int iovs)
{
	bool some = false;
	ssize_t n;

	advance(&iov, &iovs, 0);
	while (iovs > 0) {
		if (chan->down)
			return -ECANCELED;
		n = read_some(chan, iov, iovs);
		if (n <= 0 && chan->down)
			return -ECANCELED;
		if (n == 0)
			return some ? -ECONNRESET : -ENODATA;
		if (n < 0)
			return (int)n;
		some = true;
		advance(&iov, &iovs, (size_t)n);
	}
	return 0;
}

int chan_read(struct chan *chan, void *buf, size_t len)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};

	return chan_readv(chan, &iov, 1);
}

/* ---- the rest of a channel's life ---- */

void chan_set_deadline(struct chan *chan, int ms)
{
	chan->deadline_ms = ms;
	if (chan->ops->set_deadline)
		chan->ops->set_deadline(chan, ms);
}

int chan_fd(const struct chan *chan)
{
	return chan->ops->fd ? chan->ops->fd(chan) : -1;
}

void chan_set_buffer(struct chan *chan, size_t bytes)
{
	if (chan->ops->set_buffer)
		chan->ops->set_buffer(chan, bytes);
}

bool chan_is_two_way(const struct chan *chan)
{
	return chan->ops->two_way;
}

const char *chan_name(const struct chan *chan)
{
	return chan->name;
}

int chan_finish(struct chan *chan, struct error *err)
{
	int rc;

	if (chan->down)
		return error_errno(err, -ECANCELED, "%s", chan->name);
	rc = chan->ops->finish ? chan->ops->finish(chan, err) : 0;
	if (rc < 0 && chan->down)
		return error_errno(err, -ECANCELED, "%s", chan->name);
	return rc;
}

void chan_linger(struct chan *chan, int ms)
{
	const int64_t end_ns = chan_end_ns(ms);
	char waste[16384];
	struct iovec iov;

	if (chan->down || !chan->ops->end_write)
		return;
	chan->ops->end_write(chan);
	while (chan_fd(chan) >= 0 && !chan->down) {
		if (chan_wait(chan_fd(chan), POLLIN, -1, end_ns) < 0)
			return;
		iov = (struct iovec){waste, sizeof(waste)};
		if (chan->ops->readv(chan, &iov, 1) <= 0)
			return;
		if (now_ns() >= end_ns)
			return; /* a peer that never stops */
	}
}

void chan_shutdown(struct chan *chan)
{
	chan->down = true;
	chan->ops->shutdown(chan);
}

void chan_close(struct chan *chan)
{
	if (!chan)
		return;
	chan_shutdown(chan);
	free(chan->ahead);
	chan->ops->destroy(chan);
}

int chan_exit_status(struct chan *chan)
{
	return chan->ops->exit_status ? chan->ops->exit_status(chan) : 0;
}

/* ---- opening ---- */

int chan_connect_cancel(const char *addr, unsigned index, int timeout_ms,
	int cancel_fd, struct chan **ret_chan, struct error *err)
{
	const int64_t end_ns = chan_end_ns(timeout_ms);
	struct chan_addr a;
	int rc = chan_addr_parse(addr, &a, err);

	if (rc < 0)
		return rc;
	switch (a.kind) {
	case CHAN_UNIX:
	case CHAN_TCP:
		return chan_socket_connect(
			&a, end_ns, cancel_fd, ret_chan, err);
	case CHAN_FD:
		return chan_socket_inherit(&a, index, ret_chan, err);
	case CHAN_EXEC:
	case CHAN_FILE:
		break;
	}
	if (index > 0)
		return error_set(
			err, -ENOTSUP, "%s: has one connection only", addr);
	return a.kind == CHAN_EXEC ? chan_exec(&a, ret_chan, err)
				   : chan_file(&a, true, ret_chan, err);
}

int chan_connect(const char *addr, unsigned index, int timeout_ms,
	struct chan **ret_chan, struct error *err)
{
	return chan_connect_cancel(addr, index, timeout_ms, -1, ret_chan, err);
}

/* ---- listeners ---- */

int chan_listen(const char *addr, struct chan_listener **ret_listener,
	struct error *err)
{
	struct chan_listener *l;
	struct chan_addr a;
	int rc = chan_addr_parse(addr, &a, err);

	if (rc < 0)
		return rc;
	if (a.kind == CHAN_UNIX || a.kind == CHAN_TCP)
		rc = chan_socket_listen(&a, &l, err);
	else
		rc = chan_ready_listen(&a, &l, err);
	if (rc < 0)
		return rc;
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake < 0) {
		rc = error_errno(err, -errno, "%s: eventfd", addr);
		chan_listener_close(l);
		return rc;
	}
	*ret_listener = l;
	return 0;
}

int chan_accept(struct chan_listener *listener, int timeout_ms,
	struct chan **ret_chan, struct error *err)
{
	struct chan *chan;
	int rc;

	/* Asked first: a listener that was shut down stays so. */
	rc = chan_wait(-1, 0, listener->wake, 0);
	if (rc == -ETIMEDOUT)
		rc = listener->ops->accept(listener, timeout_ms, &chan, err);
	else
		error_errno(err, rc, "%s", listener->address);
	if (rc < 0)
		return rc;
	listener->accepted++;
	*ret_chan = chan;
	return 0;
}

const char *chan_listener_address(const struct chan_listener *listener)
{
	return listener->address;
}

void chan_listener_shutdown(struct chan_listener *listener)
{
	/* Cannot fail: the counter is far from its end. */
	(void)!eventfd_write(listener->wake, 1);
}

void chan_listener_close(struct chan_listener *listener)
{
	if (!listener)
		return;
	if (listener->wake >= 0)
		close(listener->wake);
	free(listener->address);
	listener->ops->destroy(listener);
}
