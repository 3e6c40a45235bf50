/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_postcopy.c - the guest runs over there, its pages are here.
 *
 * Whoever takes a page's bit out of the "unsent" map sends the page: the
 * migrate thread, which pushes one after the other on the first connection, or
 * a reader thread, which answers a request.  So each page goes once.  A request
 * also moves the push to the page behind it, where the guest will go next.
 *
 * Threads: migrate and the two readers; the maps are atomic.
 */
#include <errno.h>

#include "migrate/chan.h"
#include "migrate/source_priv.h"
#include "vmm/guestmem.h"

/* In flight on the first connection after the switch: a page that was pushed
 * just before it is asked for waits behind so much. */
#define PUSH_BUFFER_MIN (UINT64_C(256) << 10)
#define PUSH_BUFFER_MAX (UINT64_C(8) << 20)

/* The link must not run dry either. */
static void bound_buffer(struct source *s)
{
	double want = (double)s->stats.bytes_per_s * (double)s->rtt_ns * 2e-9;
	uint64_t bytes = PUSH_BUFFER_MIN;

	if (want > (double)PUSH_BUFFER_MAX)
		bytes = PUSH_BUFFER_MAX;
	else if (want > (double)PUSH_BUFFER_MIN)
		bytes = (uint64_t)want;
	chan_set_buffer(s->main.chan, bytes);
}

void source_postcopy_begin(struct source *s)
{
	uint64_t i, left = 0;

	for (i = 0; i < s->words; i++) {
		s->unsent[i] = s->dirty[i];
		left += (uint64_t)__builtin_popcountll(s->dirty[i]);
	}
	s->left = left;
	s->nothing_missing = left == 0;
	s->stats.pages_left = left;
	s->hint = SOURCE_NO_PAGE;
}

/* ---- claiming ---- */

static uint64_t low_mask(uint64_t bits)
{
	return bits >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << bits) - 1;
}

/* Take what is unsent of [page, page + count) within one word. */
static uint64_t claim_bits(struct source *s, uint64_t page, uint64_t count)
{
	uint64_t mask = low_mask(count) << (page % 64);
	_Atomic uint64_t *word = &s->unsent[page / 64];

	if (!(atomic_load_explicit(word, memory_order_relaxed) & mask))
		return 0;
	return atomic_fetch_and(word, ~mask) & mask;
}

static uint32_t list_bits(uint64_t word, uint64_t bits, uint64_t *page)
{
	uint32_t n = 0;

	for (; bits != 0; bits &= bits - 1)
		page[n++] = word * 64 + (uint64_t)__builtin_ctzll(bits);
	return n;
}

static void claimed(struct source *s, uint32_t pages)
{
	atomic_fetch_sub(&s->left, pages);
	atomic_fetch_sub_explicit(
		&s->stats.pages_left, pages, memory_order_relaxed);
}

/* Unsent pages of [first, first + count), ascending. */
static uint32_t claim_range(
	struct source *s, uint64_t first, uint64_t count, uint64_t *page)
{
	uint64_t end = first + count, part;
	uint32_t n = 0;

	while (first < end) {
		part = 64 - first % 64;
		if (part > end - first)
			part = end - first;
		n += list_bits(
			first / 64, claim_bits(s, first, part), page + n);
		first += part;
	}
	if (n > 0)
		claimed(s, n);
	return n;
}

/* The next unsent pages from *@cursor on, within one block of
 * SOURCE_PUSH_PAGES; 0 when there are none up to the end of RAM. */
static uint32_t claim_next(struct source *s, uint64_t *cursor, uint64_t *page)
{
	uint64_t at = *cursor, count;
	uint32_t n = 0;

	while (n == 0 && at < s->pages) {
		if (at % 64 == 0 && atomic_load_explicit(&s->unsent[at / 64],
					    memory_order_relaxed) == 0) {
			at += 64;
			continue;
		}
		count = SOURCE_PUSH_PAGES - at % SOURCE_PUSH_PAGES;
		if (count > s->pages - at)
			count = s->pages - at;
		n = claim_range(s, at, count, page);
		at += count;
	}
	*cursor = at;
	return n;
}

/* ---- pushing ---- */

static int trouble(struct source *s, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&s->lock);
	if (s->broken) {
		*err = s->error;
		code = err->code;
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

/* True: it may not go on yet, but look again at what else there is.  Requests
 * are answered by others, who do not wait. */
static bool push_waits(struct source *s)
{
	uint64_t rate = s->opt.push_bandwidth, until;
	struct timespec ts;

	if (rate == 0 ||
		source_bucket_wait(&s->bucket, rate, source_now_ns()) == 0)
		return false;
	until = s->bucket.paid_ns;
	ts.tv_sec = (time_t)(until / 1000000000u);
	ts.tv_nsec = (long)(until % 1000000000u);
	pthread_mutex_lock(&s->lock);
	/* Who takes the last page of all wakes us. */
	if (!s->broken && s->left > 0)
		pthread_cond_timedwait(&s->cond, &s->lock, &ts);
	pthread_mutex_unlock(&s->lock);
	return true;
}

static int push_all(struct source *s, struct error *err)
{
	uint64_t page[SOURCE_PUSH_PAGES], cursor = 0, hint;
	uint32_t n;
	int code;

	while (s->left > 0) {
		code = trouble(s, err);
		if (code < 0)
			return code;
		if (push_waits(s))
			continue;
		hint = atomic_exchange(&s->hint, SOURCE_NO_PAGE);
		if (hint != SOURCE_NO_PAGE)
			cursor = hint;
		n = claim_next(s, &cursor, page);
		if (n == 0) {
			/* Round to the start, or somebody else took the last
			 * ones this moment. */
			cursor = 0;
			continue;
		}
		code = source_send_bulk(s, page, n, err);
		if (code < 0)
			return code;
		if (s->opt.push_bandwidth != 0)
			source_bucket_take(&s->bucket, n * GUESTMEM_PAGE,
				s->opt.push_bandwidth, source_now_ns());
		migrate_count(&s->stats.pages_background, n);
		source_sample(s, false);
	}
	return 0;
}

/* Pages taken by a reader are on their way only when it is through. */
static void wait_answered(struct source *s)
{
	pthread_mutex_lock(&s->lock);
	s->settling = true;
	while (s->answering > 0)
		pthread_cond_wait(&s->cond, &s->lock);
	s->settling = false;
	pthread_mutex_unlock(&s->lock);
}

int source_postcopy_push(struct source *s, struct error *err)
{
	int code;

	source_set_phase(s, MIGRATE_POSTCOPY);
	bound_buffer(s);
	do {
		code = push_all(s, err);
		if (code < 0)
			return code;
		wait_answered(s);
	} while (s->left > 0);
	return trouble(s, err);
}

/* ---- requests ---- */

static int answer(struct source *s, struct source_conn *c,
	const struct wire_request *req, struct error *err)
{
	uint64_t page[WIRE_REQUEST_MAX], end = req->page + req->count;
	uint32_t n = claim_range(s, req->page, req->count, page), i;
	int code;

	s->hint = end < s->pages ? end : 0;
	/* The page that somebody waits for is the first one. */
	if (n == 0 || page[0] != req->page)
		migrate_count(&s->stats.pages_duplicate, 1);
	if (n == 0)
		return 0;
	if (c == &s->urgent) {
		for (i = 0; i < n; i++)
			atomic_fetch_or(&s->by_urgent[page[i] / 64],
				UINT64_C(1) << (page[i] % 64));
		s->urgent_owes = true;
	}
	code = source_send_urgent(s, c, page, n, err);
	if (code == 0)
		migrate_count(&s->stats.pages_requested, n);
	return code;
}

int source_answer_request(struct source *s, struct source_conn *c,
	const struct wire_request *req, struct error *err)
{
	int code;

	/* Before a bit is taken: who finds the map empty and nobody answering
	 * knows that every page was written. */
	s->answering++;
	/* Who has an urgent connection asks here only when it has lost it, and
	 * may know that before we do. */
	if (c == &s->main)
		source_urgent_lost(s);
	code = answer(s, c, req, err);
	/* The push sleeps on another CPU, and to wake that one for nothing
	 * would cost more than the answer.  It says that it waits before it
	 * looks at what we count, and we count before we look. */
	if (--s->answering == 0 && (s->settling || s->left == 0)) {
		pthread_mutex_lock(&s->lock);
		pthread_cond_broadcast(&s->cond);
		pthread_mutex_unlock(&s->lock);
	}
	return code;
}

void source_urgent_lost(struct source *s)
{
	uint64_t i, bits, back;

	if (!atomic_exchange(&s->urgent_owes, false))
		return;
	for (i = 0; i < s->words; i++) {
		if (atomic_load_explicit(
			    &s->by_urgent[i], memory_order_relaxed) == 0)
			continue;
		/* What was taken is what is counted: the urgent thread may add
		 * bits all the time, and be here, too.  The count first: it may
		 * be too high for a moment, never too low. */
		bits = atomic_exchange(&s->by_urgent[i], 0);
		back = (uint64_t)__builtin_popcountll(bits);
		s->left += back;
		s->stats.pages_left += back;
		atomic_fetch_or(&s->unsent[i], bits);
	}
}
