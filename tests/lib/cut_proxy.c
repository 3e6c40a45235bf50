/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/cut_proxy.c - the proxy of chan_cut.h.  One thread accepts, two
 * carry the bytes of each connection; each direction is counted and cut where
 * it is written, so that what came before has been passed on.
 */
#include "tests/lib/chan_cut.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "migrate/chan_priv.h"
#include "vmm/error.h"

#define LINKS_MAX  16
#define CONNECT_MS 10000
#define PIECE	   65536

struct link {
	struct cut_proxy *proxy;
	/* Owned; to[0] leads to the target, to[1] to the source. */
	struct chan *to[2];
	pthread_t thread[2]; /* [i]: writes to[i] */
};

struct cut_proxy {
	struct chan_listener *listener; /* owned */
	char *target;			/* owned */
	struct cut_plan plan;
	pthread_t thread;
	pthread_mutex_t lock;
	struct link link[LINKS_MAX]; /* lock: up to links, then constant */
	unsigned links;		     /* lock */
	bool down;		     /* lock */
	bool released;		     /* lock */
};

static void pump(struct link *l, unsigned way)
{
	struct chan *from = l->to[1 - way], *to = l->to[way];
	uint8_t *buf = malloc(PIECE);
	struct iovec iov = {.iov_base = buf, .iov_len = PIECE};
	ssize_t n = 1;

	assert(buf);
	while (n > 0) {
		n = from->ops->readv(from, &iov, 1);
		if (n > 0 && chan_write(to, buf, (size_t)n) < 0)
			n = -1;
	}
	free(buf);
	if (n == 0) {
		to->ops->end_write(to); /* the other direction goes on */
		return;
	}
	chan_shutdown(from);
	chan_shutdown(to);
}

static void *pump_to_target(void *opaque)
{
	pump(opaque, 0);
	return NULL;
}

static void *pump_to_source(void *opaque)
{
	pump(opaque, 1);
	return NULL;
}

/* The plan's hook of the direction that has it. */
static void hook(void *opaque, uint64_t frame, uint16_t type)
{
	struct cut_proxy *p = opaque;

	if (p->plan.fn)
		p->plan.fn(p->plan.opaque, frame, type);
	if (p->plan.what == CHAN_CUT && p->plan.all)
		cut_proxy_cut(p);
}

/* to[way] counts, and acts if the plan is about it.  0 or -ENOMEM. */
static int wrap(struct link *l, unsigned index, unsigned way)
{
	const struct cut_plan *plan = &l->proxy->plan;
	struct chan_cut how = {.way = CHAN_CUT_WRITE,
		.frame = CHAN_CUT_NEVER,
		.byte = CHAN_CUT_NEVER};

	if (index == plan->connection && way == plan->to_source) {
		how.frame = plan->frame;
		how.byte = plan->byte;
		how.what = plan->what;
		how.fn = hook;
		how.opaque = l->proxy;
	}
	return chan_cut_wrap(l->to[way], &how, &l->to[way]);
}

/* Take @source in as a new link.  Under the lock. */
static void add_link(struct cut_proxy *p, struct chan *source)
{
	struct link *l = &p->link[p->links];
	int rc;

	*l = (struct link){.proxy = p};
	l->to[1] = source;
	rc = chan_connect(p->target, p->links, CONNECT_MS, &l->to[0], NULL);
	if (rc < 0) {
		chan_close(source);
		return;
	}
	rc = wrap(l, p->links, 0);
	assert(rc == 0);
	rc = wrap(l, p->links, 1);
	assert(rc == 0);
	if (p->released) {
		chan_cut_release(l->to[0]);
		chan_cut_release(l->to[1]);
	}
	p->links++;
	rc = pthread_create(&l->thread[0], NULL, pump_to_target, l);
	assert(rc == 0);
	rc = pthread_create(&l->thread[1], NULL, pump_to_source, l);
	assert(rc == 0);
}

static void *accept_all(void *opaque)
{
	struct cut_proxy *p = opaque;
	struct chan *source;

	while (chan_accept(p->listener, -1, &source, NULL) == 0) {
		pthread_mutex_lock(&p->lock);
		if (p->down || p->links == LINKS_MAX)
			chan_close(source);
		else
			add_link(p, source);
		pthread_mutex_unlock(&p->lock);
	}
	return NULL;
}

int cut_proxy_start(const char *listen_addr, const char *target_addr,
	const struct cut_plan *plan, struct cut_proxy **ret_proxy,
	struct error *err)
{
	struct cut_proxy *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return error_errno(err, -ENOMEM, "proxy");
	p->plan = plan ? *plan
		       : (struct cut_plan){.frame = CHAN_CUT_NEVER,
				 .byte = CHAN_CUT_NEVER};
	p->target = strdup(target_addr);
	pthread_mutex_init(&p->lock, NULL);
	rc = chan_listen(listen_addr, &p->listener, err);
	if (rc < 0)
		goto fail;
	rc = -pthread_create(&p->thread, NULL, accept_all, p);
	if (rc < 0) {
		error_errno(err, rc, "proxy: thread");
		goto fail;
	}
	*ret_proxy = p;
	return 0;
fail:
	chan_listener_close(p->listener);
	pthread_mutex_destroy(&p->lock);
	free(p->target);
	free(p);
	return rc;
}

const char *cut_proxy_address(const struct cut_proxy *proxy)
{
	return chan_listener_address(proxy->listener);
}

uint64_t cut_proxy_frames(
	struct cut_proxy *proxy, unsigned index, bool to_source)
{
	uint64_t frames = 0;

	pthread_mutex_lock(&proxy->lock);
	if (index < proxy->links)
		frames = chan_cut_frames(
			proxy->link[index].to[to_source], CHAN_CUT_WRITE);
	pthread_mutex_unlock(&proxy->lock);
	return frames;
}

void cut_proxy_release(struct cut_proxy *proxy)
{
	unsigned i;

	pthread_mutex_lock(&proxy->lock);
	proxy->released = true;
	for (i = 0; i < proxy->links; i++) {
		chan_cut_release(proxy->link[i].to[0]);
		chan_cut_release(proxy->link[i].to[1]);
	}
	pthread_mutex_unlock(&proxy->lock);
}

void cut_proxy_cut(struct cut_proxy *proxy)
{
	unsigned i;

	pthread_mutex_lock(&proxy->lock);
	proxy->down = true;
	for (i = 0; i < proxy->links; i++) {
		chan_shutdown(proxy->link[i].to[0]);
		chan_shutdown(proxy->link[i].to[1]);
	}
	pthread_mutex_unlock(&proxy->lock);
}

void cut_proxy_stop(struct cut_proxy *proxy)
{
	unsigned i;

	if (!proxy)
		return;
	cut_proxy_cut(proxy);
	chan_listener_shutdown(proxy->listener);
	pthread_join(proxy->thread, NULL);
	for (i = 0; i < proxy->links; i++) {
		pthread_join(proxy->link[i].thread[0], NULL);
		pthread_join(proxy->link[i].thread[1], NULL);
		chan_close(proxy->link[i].to[0]);
		chan_close(proxy->link[i].to[1]);
	}
	chan_listener_close(proxy->listener);
	pthread_mutex_destroy(&proxy->lock);
	free(proxy->target);
	free(proxy);
}
