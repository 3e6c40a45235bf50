/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_precopy.c - rounds over the dirty pages while the guest runs,
 * and the decision when to stop it.
 *
 * A round sends every page of s->dirty in chunks; each chunk's pages are put
 * under the log's watch again right before they are read.  After it the stream
 * is drained, so that what follows the stop waits behind nothing, and the log
 * is read.  Slowing the guest down, for one that dirties faster than the link
 * takes, would hook into after_round().  Pages that the guest does not need
 * (source_hints.c) are left out as the round comes to them.
 *
 * Thread: migrate.
 */
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "migrate/source_priv.h"
#include "vmm/guestmem.h"

/* What a stop costs beside the pages: save, package, load, run. */
#define STOP_NS UINT64_C(500000)
/* With the goal met, more rounds are worth their while if each leaves less than
 * half as much: so many at most. */
#define POLISH_ROUNDS 3u
#define POLISH_NS     UINT64_C(100000) /* of pages: not worth another round */
#define STALL_ROUNDS  2u
#define LIMIT_MS      10u /* of a limited chunk */

uint64_t source_count_bits(const uint64_t *map, uint64_t words)
{
	uint64_t i, n = 0;

	for (i = 0; i < words; i++)
		n += (uint64_t)__builtin_popcountll(map[i]);
	return n;
}

/* ---- one chunk ---- */

struct chunk {
	uint64_t page[WIRE_PAGES_MAX];
	uint32_t pages;
	uint64_t first, end; /* words; s->dirty is zero from the cursor to
				first */
};

static uint64_t word_of(struct source *s, uint64_t w)
{
	if (s->hinting)
		source_hints_take(s, w);
	return s->dirty[w];
}

/* The next @limit pages of s->dirty or a few less, whole words if it can be;
 * none are left: 0 pages, and the cursor is at the end. */
static void gather(
	struct source *s, uint64_t *cursor, uint32_t limit, struct chunk *c)
{
	uint64_t w = *cursor, bits;
	uint32_t weight;

	while (w < s->words && source_hints_room(s) && word_of(s, w) == 0)
		w++;
	c->first = w;
	c->end = w;
	c->pages = 0;
	for (; w < s->words && c->pages < limit && source_hints_room(s); w++) {
		bits = word_of(s, w);
		weight = (uint32_t)__builtin_popcountll(bits);
		if (c->pages > 0 && weight > limit - c->pages)
			break;
		for (; bits != 0 && c->pages < limit; bits &= bits - 1)
			c->page[c->pages++] =
				w * 64 + (uint64_t)__builtin_ctzll(bits);
		if (weight != 0)
			c->end = w + 1;
		if (bits != 0)
			break; /* the rest of this word is for the next time */
	}
	*cursor = w;
}

static void forget(struct source *s, const struct chunk *c)
{
	uint32_t i;

	for (i = 0; i < c->pages; i++)
		s->dirty[c->page[i] / 64] &=
			~(UINT64_C(1) << (c->page[i] % 64));
}

static int watch_again(
	struct source *s, const struct chunk *c, struct error *err)
{
	uint64_t first = c->first * 64, end = c->end * 64;

	if (end > s->pages)
		end = s->pages;
	return s->guest.ops->dirty_clear(
		s->guest.opaque, s->dirty, first, end - first, err);
}

/* ---- bandwidth ---- */

static uint32_t chunk_limit(struct source *s, bool live)
{
	uint64_t rate = s->bandwidth, pages;

	if (rate == 0 || !live)
		return SOURCE_BULK_PAGES;
	pages = rate / 1000 * LIMIT_MS / GUESTMEM_PAGE;
	if (pages < 1)
		return 1;
	return pages < SOURCE_BULK_PAGES ? (uint32_t)pages : SOURCE_BULK_PAGES;
}

/* What stops a round.  1: a switch; else -errno. */
static int interrupted(struct source *s, struct error *err)
{
	if (s->cancel)
		return error_set(err, -ECANCELED, "cancelled");
	if (s->want_switch && s->advised)
		return 1;
	if (!source_is_broken(s))
		return 0;
	pthread_mutex_lock(&s->lock);
	*err = s->error;
	pthread_mutex_unlock(&s->lock);
	return err->code;
}

/* Wait until the limit lets us write; source_set_limits(), a cancel and a
 * switch end it. */
static int throttle(struct source *s, struct error *err)
{
	uint64_t rate, until;
	struct timespec ts;
	int code;

	for (;;) {
		code = interrupted(s, err);
		rate = s->bandwidth;
		if (code != 0 || rate == 0 ||
			source_bucket_wait(&s->bucket, rate, source_now_ns()) ==
				0)
			return code;
		until = s->bucket.paid_ns;
		ts.tv_sec = (time_t)(until / 1000000000u);
		ts.tv_nsec = (long)(until % 1000000000u);
		pthread_mutex_lock(&s->lock);
		if (!s->cancel && !s->broken && s->bandwidth == rate &&
			!(s->want_switch && s->advised))
			pthread_cond_timedwait(&s->cond, &s->lock, &ts);
		pthread_mutex_unlock(&s->lock);
	}
}

/* ---- a round ---- */

static uint64_t bytes_sent(struct source *s)
{
	return atomic_load_explicit(&s->stats.bytes, memory_order_relaxed);
}

static int send_chunk(
	struct source *s, const struct chunk *c, bool live, struct error *err)
{
	uint64_t before = bytes_sent(s), spent = s->main.write_ns;
	uint64_t begin, rate;
	int code = 0;

	if (live)
		code = watch_again(s, c, err);
	if (code < 0)
		return code;
	forget(s, c);
	begin = source_now_ns();
	code = source_send_bulk(s, c->page, c->pages, err);
	if (code < 0)
		return code;
	s->round_bytes += bytes_sent(s) - before;
	s->round_ns += s->main.write_ns - spent;
	rate = s->bandwidth;
	if (live && rate != 0)
		source_bucket_take(
			&s->bucket, bytes_sent(s) - before, rate, begin);
	atomic_fetch_sub_explicit(
		&s->stats.pages_left, c->pages, memory_order_relaxed);
	return 0;
}

int source_send_dirty(struct source *s, bool live, struct error *err)
{
	uint64_t cursor = 0;
	struct chunk c;
	int code;

	for (;;) {
		code = live ? throttle(s, err) : interrupted(s, err);
		if (code != 0)
			return code;
		gather(s, &cursor, chunk_limit(s, live), &c);
		code = source_hints_send(s, err);
		if (code < 0)
			return code;
		if (c.pages == 0 && cursor == s->words)
			return 0;
		if (c.pages > 0)
			code = send_chunk(s, &c, live, err);
		if (code < 0)
			return code;
		source_sample(s, false);
	}
}

int source_dirty_sync(struct source *s, struct error *err)
{
	uint64_t before, after, now, span;
	int code;

	before = source_count_bits(s->dirty, s->words);
	code = s->guest.ops->dirty_sync(s->guest.opaque, s->dirty, err);
	if (code < 0)
		return code;
	now = source_now_ns();
	after = source_count_bits(s->dirty, s->words);
	span = now - s->synced_ns;
	if (s->synced_ns != 0 && span > 0)
		s->stats.dirty_per_s = (uint64_t)((double)(after - before) *
						  1e9 / (double)span);
	s->synced_ns = now;
	s->stats.pages_left = after;
	return 0;
}

/* The link's speed: older rounds count half as much each time, so that a last
 * round of three pages does not say much. */
static void measure(struct source *s, uint64_t drain_ns)
{
	uint64_t limit = s->bandwidth, rate;

	if (drain_ns < s->rtt_ns)
		s->rtt_ns = drain_ns;
	else
		s->round_ns += drain_ns - s->rtt_ns;
	s->bulk_bytes = s->bulk_bytes / 2 + s->round_bytes;
	s->bulk_ns = s->bulk_ns / 2 + s->round_ns;
	s->round_bytes = 0;
	s->round_ns = 0;
	if (s->bulk_ns == 0)
		return;
	rate = (uint64_t)((double)s->bulk_bytes * 1e9 / (double)s->bulk_ns);
	if (limit != 0 && rate > limit)
		rate = limit;
	s->stats.bytes_per_s = rate;
}

static uint64_t pages_ns(struct source *s, uint64_t pages)
{
	uint64_t rate = s->stats.bytes_per_s;
	double ns;

	if (pages == 0)
		return 0;
	ns = (double)pages * GUESTMEM_PAGE * 1e9 / (double)(rate ? rate : 1);
	return ns < 1e18 ? (uint64_t)ns : UINT64_C(1000000000000000000);
}

uint64_t source_expected_ns(struct source *s, uint64_t pages)
{
	/* LOADED and RUNNING each take a way there and back. */
	return pages_ns(s, pages) + STOP_NS + 2 * s->rtt_ns;
}

static int send_round_mark(struct source *s, struct error *err)
{
	struct wire_round m = {
		.round = s->stats.round,
		.dirty = s->stats.pages_left,
		.stream_ns = source_now_ns() - s->stats.start_ns,
	};

	wire_put_round(source_begin(&s->main, WIRE_ROUND), &m);
	return source_send(s, &s->main, err);
}

/* Return: 0, 1 for a switch, -errno. */
static int send_round(struct source *s, struct error *err)
{
	uint64_t begin;
	int code;

	code = source_hints_begin(s, err);
	if (code == 0)
		code = source_send_dirty(s, true, err);
	if (code != 0)
		return code;
	begin = source_now_ns();
	code = source_drain(s, s->advised, err);
	if (code == -EINTR)
		return 1;
	if (code < 0)
		return code;
	measure(s, source_now_ns() - begin);
	return 0;
}

/* Return: as send_round(). */
static int one_round(struct source *s, struct error *err)
{
	int code;

	s->stats.round++;
	source_sample(s, true);
	code = send_round(s, err);
	source_hints_end(s);
	if (code != 0)
		return code;
	code = source_dirty_sync(s, err);
	return code < 0 ? code : send_round_mark(s, err);
}

/* ---- when to stop ---- */

struct course {
	uint64_t last_ns; /* estimate of the round before; 0: none */
	uint32_t stalled; /* rounds in a row that did not help */
	uint32_t polish;  /* rounds since the goal was met */
};

enum verdict { GO_ON, STOP, SWITCH };

/* The goal is about pages: what a stop costs anyhow cannot be helped. */
static bool goal_met(struct source *s, uint64_t pages)
{
	uint64_t goal = s->max_downtime_ns;
	uint64_t fixed = source_expected_ns(s, 0);

	goal = goal > fixed + goal / 4 ? goal - fixed : goal / 4;
	return pages_ns(s, pages) <= goal;
}

static bool worth_polishing(
	struct source *s, const struct course *c, uint64_t pages)
{
	uint64_t ns = pages_ns(s, pages);

	return ns > POLISH_NS && c->polish < POLISH_ROUNDS &&
	       (c->polish == 0 || ns < c->last_ns / 2);
}

static enum verdict after_round(struct source *s, struct course *c)
{
	uint64_t left = s->stats.pages_left, ns = pages_ns(s, left);
	bool met = goal_met(s, left), stalled;
	uint32_t round = s->stats.round;
	enum verdict verdict = GO_ON;

	s->stats.expected_downtime_ns = source_expected_ns(s, left);
	stalled = c->last_ns != 0 && ns > c->last_ns - c->last_ns / 10;
	c->stalled = stalled ? c->stalled + 1 : 0;
	if (s->opt.postcopy == SOURCE_POSTCOPY_AFTER &&
		round >= s->opt.after_rounds)
		verdict = SWITCH;
	else if (met && !worth_polishing(s, c, left))
		verdict = STOP;
	else if (round >= s->opt.max_rounds)
		verdict = s->opt.postcopy > SOURCE_POSTCOPY_MANUAL ? SWITCH
								   : STOP;
	else if (!met && s->opt.postcopy == SOURCE_POSTCOPY_STALLED &&
		 c->stalled >= STALL_ROUNDS)
		verdict = SWITCH;
	c->polish = met ? c->polish + 1 : 0;
	c->last_ns = ns;
	return verdict;
}

int source_precopy(struct source *s, struct error *err)
{
	struct course course = {.last_ns = 0};
	enum verdict verdict = GO_ON;
	int code;

	source_set_phase(s, MIGRATE_PRECOPY);
	if (s->opt.postcopy == SOURCE_POSTCOPY_IMMEDIATE) {
		s->postcopy = true;
		return 0;
	}
	s->logging = true;
	code = s->guest.ops->dirty_start(s->guest.opaque, err);
	if (code < 0) {
		s->logging = false;
		return code;
	}
	code = source_hints_setup(s, err);
	if (code < 0)
		return code;
	s->synced_ns = source_now_ns();
	while (verdict == GO_ON) {
		code = one_round(s, err);
		if (code < 0)
			return code;
		verdict = code == 1 ? SWITCH : after_round(s, &course);
	}
	s->postcopy = verdict == SWITCH;
	return 0;
}
