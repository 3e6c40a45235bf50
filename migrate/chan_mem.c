/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan_mem.c - two channel ends joined in memory, for tests.  Two byte
 * rings and one lock; whoever closes last frees them.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "migrate/chan_priv.h"

struct ring {
	uint8_t *buf; /* owned, cap bytes */
	size_t cap, start, len;
	bool no_writer, no_reader; /* that end will not come back */
};

struct pair {
	pthread_mutex_t lock;
	pthread_cond_t moved; /* any change */
	struct ring ring[2];  /* lock; [i]: written by end i */
	unsigned ends;	      /* lock; not yet destroyed */
};

struct chan_mem {
	struct chan chan;
	struct pair *pair; /* shared by both ends */
	unsigned end;	   /* 0 or 1 */
};

static struct chan_mem *mem_of(struct chan *chan)
{
	return (struct chan_mem *)chan;
}

/* Under the lock.  0 or -ETIMEDOUT. */
static int wait_moved(struct pair *p, int64_t end_ns)
{
	struct timespec ts = {
		.tv_sec = end_ns / 1000000000, .tv_nsec = end_ns % 1000000000};

	if (end_ns == INT64_MAX)
		return -pthread_cond_wait(&p->moved, &p->lock);
	return -pthread_cond_timedwait(&p->moved, &p->lock, &ts);
}

/* As much as there is, or room for, of one piece.  Under the lock. */
static size_t ring_take(struct ring *r, uint8_t *dst, size_t len)
{
	size_t n = len < r->len ? len : r->len, first = r->cap - r->start;

	if (first > n)
		first = n;
	memcpy(dst, r->buf + r->start, first);
	memcpy(dst + first, r->buf, n - first);
	r->start = (r->start + n) % r->cap;
	r->len -= n;
	return n;
}

static size_t ring_put(struct ring *r, const uint8_t *src, size_t len)
{
	size_t room = r->cap - r->len, n = len < room ? len : room;
	size_t at = (r->start + r->len) % r->cap, first = r->cap - at;

	if (first > n)
		first = n;
	memcpy(r->buf + at, src, first);
	memcpy(r->buf, src + first, n - first);
	r->len += n;
	return n;
}

static ssize_t mem_readv(struct chan *chan, struct iovec *iov, int iovs)
{
	const int64_t end_ns = chan_end_ns(chan->deadline_ms);
	struct pair *p = mem_of(chan)->pair;
	struct ring *r = &p->ring[1 - mem_of(chan)->end];
	ssize_t n = 0;
	int i, rc = 0;

	pthread_mutex_lock(&p->lock);
	while (r->len == 0 && !r->no_writer && !chan->down && rc == 0)
		rc = wait_moved(p, end_ns);
	if (chan->down)
		n = -ECANCELED;
	else if (r->len == 0 && !r->no_writer)
		n = rc;
	for (i = 0; n >= 0 && i < iovs && r->len > 0; i++)
		n += (ssize_t)ring_take(r, iov[i].iov_base, iov[i].iov_len);
	if (n > 0)
		pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
	return n;
}

static ssize_t mem_writev(struct chan *chan, struct iovec *iov, int iovs)
{
	const int64_t end_ns = chan_end_ns(chan->deadline_ms);
	struct pair *p = mem_of(chan)->pair;
	struct ring *r = &p->ring[mem_of(chan)->end];
	ssize_t n = 0;
	int i, rc = 0;

	pthread_mutex_lock(&p->lock);
	while (r->len == r->cap && !r->no_reader && !chan->down && rc == 0)
		rc = wait_moved(p, end_ns);
	if (chan->down)
		n = -ECANCELED;
	else if (r->no_reader || r->no_writer)
		n = -EPIPE;
	else if (r->len == r->cap)
		n = rc;
	for (i = 0; n >= 0 && i < iovs && r->len < r->cap; i++)
		n += (ssize_t)ring_put(r, iov[i].iov_base, iov[i].iov_len);
	if (n > 0)
		pthread_cond_broadcast(&p->moved);
	pthread_mutex_unlock(&p->lock);
	return n;
}

static void end_rings(struct chan_mem *m, bool reading_too)
{
	pthread_mutex_lock(&m->pair->lock);
	m->pair->ring[m->end].no_writer = true;
	if (reading_too)
		m->pair->ring[1 - m->end].no_reader = true;
	pthread_cond_broadcast(&m->pair->moved);
	pthread_mutex_unlock(&m->pair->lock);
}

static void mem_end_write(struct chan *chan)
{
	end_rings(mem_of(chan), false);
}

static void mem_shutdown(struct chan *chan)
{
	end_rings(mem_of(chan), true);
}

static void free_pair(struct pair *p)
{
	pthread_cond_destroy(&p->moved);
	pthread_mutex_destroy(&p->lock);
	free(p->ring[0].buf);
	free(p->ring[1].buf);
	free(p);
}

static void mem_destroy(struct chan *chan)
{
	struct pair *p = mem_of(chan)->pair;
	unsigned ends;

	pthread_mutex_lock(&p->lock);
	ends = --p->ends;
	pthread_mutex_unlock(&p->lock);
	if (ends == 0)
		free_pair(p);
	free(chan);
}

static const struct chan_ops mem_ops = {
	.readv = mem_readv,
	.writev = mem_writev,
	.shutdown = mem_shutdown,
	.destroy = mem_destroy,
	.end_write = mem_end_write,
	.two_way = true,
};

static struct pair *new_pair(size_t cap)
{
	struct pair *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;

	if (!p)
		return NULL;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->moved, &attr);
	pthread_condattr_destroy(&attr);
	p->ends = 2;
	p->ring[0] = (struct ring){.buf = malloc(cap), .cap = cap};
	p->ring[1] = (struct ring){.buf = malloc(cap), .cap = cap};
	if (!p->ring[0].buf || !p->ring[1].buf) {
		free_pair(p);
		return NULL;
	}
	return p;
}

int chan_pair(size_t cap, struct chan **ret_a, struct chan **ret_b)
{
	struct chan_mem *a, *b;
	struct pair *p;

	if (cap == 0)
		return -EINVAL;
	p = new_pair(cap);
	a = calloc(1, sizeof(*a));
	b = calloc(1, sizeof(*b));
	if (!p || !a || !b) {
		if (p)
			free_pair(p);
		free(a);
		free(b);
		return -ENOMEM;
	}
	chan_init(&a->chan, &mem_ops, "memory:a");
	chan_init(&b->chan, &mem_ops, "memory:b");
	a->pair = b->pair = p;
	b->end = 1;
	*ret_a = &a->chan;
	*ret_b = &b->chan;
	return 0;
}
