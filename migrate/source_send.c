/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_send.c - frames out, under each connection's lock.
 *
 * Threads: any of the source's; see source_priv.h.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migrate/chan.h"
#include "migrate/source_priv.h"
#include "migrate/touched.h"
#include "migrate/zero.h"
#include "vmm/guestmem.h"

static void conn_lock(struct source_conn *c, bool first)
{
	if (first)
		c->urgent++;
	pthread_mutex_lock(&c->lock);
	if (first) {
		if (--c->urgent == 0)
			pthread_cond_broadcast(&c->turn);
		return;
	}
	while (c->urgent > 0)
		pthread_cond_wait(&c->turn, &c->lock);
}

struct wire_out *source_begin(struct source_conn *c, enum wire_type type)
{
	conn_lock(c, false);
	wire_begin(&c->out, type);
	return &c->out;
}

int source_send_locked(
	struct source *s, struct source_conn *c, int iovs, struct error *err)
{
	uint64_t bytes = 0, begin;
	int i, code;

	if (c->spoiled)
		return error_set(err, -EPIPE, "%s: not usable any more",
			chan_name(c->chan));
	for (i = 0; i < iovs; i++)
		bytes += c->iov[i].iov_len;
	begin = source_now_ns();
	c->busy_ns = begin;
	code = frame_send(c->chan, &c->out, &c->out_seq, c->iov, iovs, err);
	c->busy_ns = 0;
	c->write_ns += source_now_ns() - begin;
	if (code < 0) {
		c->spoiled = true;
		return code;
	}
	migrate_count(&s->stats.bytes, bytes + c->out.len);
	return 0;
}

int source_send(struct source *s, struct source_conn *c, struct error *err)
{
	int code = source_send_locked(s, c, 0, err);

	pthread_mutex_unlock(&c->lock);
	return code;
}

int source_send_empty(struct source *s, enum wire_type type, struct error *err)
{
	source_begin(&s->main, type);
	return source_send(s, &s->main, err);
}

/* A page that has no memory is zero, and is not to get some by being looked at.
 * @run: pages with memory, [run[0], run[1]), the next ones as far as known. */
static bool is_bare(struct touched *t, uint64_t page, uint64_t *run)
{
	if (page >= run[1])
		run[0] = touched_next(t, page, &run[1]);
	if (run[0] >= t->pages)
		run[1] = t->pages;
	return page < run[0];
}

/* Fill in c->entry and c->iov, pages that lie side by side as one piece.
 * Return: full pages. */
static int describe(struct source *s, struct source_conn *c,
	const uint64_t *page, uint32_t pages, struct touched *t, int *ret_iovs)
{
	uint64_t run[2] = {0, 0};
	uint8_t *end = NULL; /* of the last piece */
	uint32_t i;
	int full = 0, iovs = 0;

	if (t) {
		/* What is known is older than the last dirty_clear(). */
		t->first = t->count = 0;
		t->pages = page[pages - 1] + 1;
	}
	for (i = 0; i < pages; i++) {
		uint8_t *at = s->guest.gm->base + page[i] * GUESTMEM_PAGE;

		if ((t && is_bare(t, page[i], run)) || page_is_zero(at)) {
			c->entry[i] = wire_page_entry(page[i], WIRE_PAGE_ZERO);
			continue;
		}
		c->entry[i] = wire_page_entry(page[i], WIRE_PAGE_FULL);
		full++;
		if (at == end)
			c->iov[iovs - 1].iov_len += GUESTMEM_PAGE;
		else
			c->iov[iovs++] = (struct iovec){
				.iov_base = at, .iov_len = GUESTMEM_PAGE};
		end = at + GUESTMEM_PAGE;
	}
	*ret_iovs = iovs;
	return full;
}

static int send_pages(struct source *s, struct source_conn *c,
	const uint64_t *page, uint32_t pages, struct touched *t, bool first,
	struct error *err)
{
	int full, iovs, code;

	conn_lock(c, first);
	full = describe(s, c, page, pages, t, &iovs);
	code = wire_pages(&c->out, c->entry, pages, c->out_seq);
	if (code < 0)
		error_errno(err, code, "frame of %u pages", pages);
	else
		code = source_send_locked(s, c, iovs, err);
	pthread_mutex_unlock(&c->lock);
	if (code < 0)
		return code;
	migrate_count(&s->stats.pages_full, (uint64_t)full);
	migrate_count(&s->stats.pages_zero, pages - (uint64_t)full);
	return full;
}

int source_send_bulk(struct source *s, const uint64_t *page, uint32_t pages,
	struct error *err)
{
	int code = send_pages(s, &s->main, page, pages,
		s->sparse ? &s->touched : NULL, false, err);

	if (code < 0)
		return code;
	s->sparse = (uint32_t)code * 2 <= pages;
	return 0;
}

int source_send_urgent(struct source *s, struct source_conn *c,
	const uint64_t *page, uint32_t pages, struct error *err)
{
	int code = send_pages(s, c, page, pages, NULL, true, err);

	return code < 0 ? code : 0;
}
