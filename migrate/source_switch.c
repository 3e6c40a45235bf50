/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_switch.c - the guest changes hands.
 *
 *   discards known so far, drained     the guest still runs here
 *   stop, last dirty pages or discards
 *   PACKAGE, LOADED                    an error up to here: it goes on here
 *   COMMIT                             from its first byte on it is theirs
 *   RUNNING
 *
 * When the answer to COMMIT is lost the destination is asked who has the guest,
 * on a connection of its own, and its word counts; nothing is guessed.
 *
 * Thread: migrate.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migrate/chan.h"
#include "migrate/prompt.h"
#include "migrate/source_priv.h"
#include "migrate/state.h"
#include "vmm/guestmem.h"

/* Between two attempts to ask. */
#define ASK_MS 50
/* A connection that is there but says nothing. */
#define ASK_ANSWER_MS 1000

/* ---- discards (P6) ---- */

struct discard {
	struct wire_range range[WIRE_RANGES_MAX];
	uint32_t ranges;
	uint64_t pages;
};

static int discard_flush(struct source *s, struct discard *d, struct error *err)
{
	struct source_conn *c = &s->main;
	int code;

	if (d->ranges == 0)
		return 0;
	source_begin(c, WIRE_DISCARD);
	code = wire_discard(&c->out, d->range, d->ranges, c->out_seq);
	if (code < 0) {
		pthread_mutex_unlock(&c->lock);
		return error_errno(err, code, "frame of discards");
	}
	code = source_send(s, c, err);
	migrate_count(&s->stats.pages_discarded, d->pages);
	d->ranges = 0;
	d->pages = 0;
	return code;
}

static int discard_add(struct source *s, struct discard *d, uint64_t first,
	uint64_t end, struct error *err)
{
	struct wire_range *last = &d->range[d->ranges];
	int code;

	d->pages += end - first;
	if (d->ranges > 0 && last[-1].page + last[-1].count == first) {
		last[-1].count += end - first;
		return 0;
	}
	if (d->ranges == WIRE_RANGES_MAX) {
		d->pages -= end - first;
		code = discard_flush(s, d, err);
		if (code < 0)
			return code;
		d->pages = end - first;
		last = d->range;
	}
	*last = (struct wire_range){.page = first, .count = end - first};
	d->ranges++;
	return 0;
}

static int discard_word(struct source *s, struct discard *d, uint64_t w,
	uint64_t bits, struct error *err)
{
	uint64_t first = 0, run;
	int code = 0;

	while (code == 0 && bits != 0) {
		first = (uint64_t)__builtin_ctzll(bits);
		run = ~(bits >> first);
		run = run == 0 ? 64 : (uint64_t)__builtin_ctzll(run);
		if (run > 64 - first)
			run = 64 - first;
		code = discard_add(
			s, d, w * 64 + first, w * 64 + first + run, err);
		if (first + run == 64)
			break;
		bits &= ~UINT64_C(0) << (first + run);
	}
	return code;
}

/* Discard every page of s->dirty that was not discarded before: pages that are
 * stale over there, and those that never went, whose memory may yet be part of
 * a huge page. */
static int discard_dirty(struct source *s, struct error *err)
{
	struct discard *d = calloc(1, sizeof(*d));
	uint64_t w, bits;
	int code = 0;

	if (!d)
		return error_set(err, -ENOMEM, "migrate: out of memory");
	for (w = 0; code == 0 && w < s->words; w++) {
		bits = s->dirty[w] & ~s->told[w];
		if (bits == 0)
			continue;
		code = discard_word(s, d, w, bits, err);
		s->told[w] |= bits;
	}
	if (code == 0)
		code = discard_flush(s, d, err);
	free(d);
	return code;
}

/* Most discards while the guest still runs: none of these pages will be sent
 * before the switch, so they only become more. */
static int discard_early(struct source *s, struct error *err)
{
	int code = 0;

	if (s->logging)
		code = source_dirty_sync(s, err);
	if (code == 0)
		code = discard_dirty(s, err);
	return code < 0 ? code : source_drain(s, false, err);
}

/* ---- stop and package ---- */

static int stop_guest(struct source *s, struct state_writer *w,
	bool *ret_paused, struct error *err)
{
	int code;

	if (s->cancel)
		return error_set(err, -ECANCELED, "cancelled");
	source_set_phase(s, MIGRATE_SWITCH);
	s->stats.stop_ns = source_now_ns();
	code = s->guest.ops->stop(s->guest.opaque, w, ret_paused, err);
	if (code < 0)
		return code;
	s->stopped = true;
	s->stats.stopped_ns = source_now_ns();
	code = state_writer_error(w);
	if (code < 0)
		return error_errno(err, code, "save the machine's state");
	return 0;
}

/* The pages written since the last look.  A switch that is asked for only now
 * still is one. */
static int last_pages(struct source *s, struct error *err)
{
	int code = 0;

	if (s->logging)
		code = source_dirty_sync(s, err);
	if (code < 0)
		return code;
	if (!s->postcopy) {
		code = source_send_dirty(s, false, err);
		s->postcopy = code == 1;
	}
	if (code < 0 || !s->postcopy)
		return code;
	code = discard_dirty(s, err);
	if (code == 0)
		source_postcopy_begin(s);
	return code;
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int send_package(struct source *s, const struct state_writer *w,
	const struct wire_run *run, struct error *err)
{
	struct source_conn *c = &s->main;
	int code;

	source_expect(s, SOURCE_GOT_LOADED);
	pthread_mutex_lock(&s->lock);
	s->switched = true;
	pthread_mutex_unlock(&s->lock);
	source_begin(c, WIRE_PACKAGE);
	code = wire_package(
		&c->out, s->postcopy, w->buf, w->len, run, c->out_seq);
	if (code < 0) {
		pthread_mutex_unlock(&c->lock);
		return error_errno(err, code,
			"package of %zu bytes of state (%u at most)", w->len,
			WIRE_PACKAGE_MAX);
	}
	/* Loading may ask for pages as soon as the package is read. */
	s->serving = s->postcopy;
	code = source_send(s, c, err);
	s->stats.sent_ns = source_now_ns();
	return code;
}

static int hand_over(struct source *s, struct error *err)
{
	struct wire_run run = {.stop_ns = wall_ns()};
	struct state_writer w;
	int code;

	state_writer_init(&w);
	code = stop_guest(s, &w, &run.paused, err);
	if (code == 0)
		code = last_pages(s, err);
	if (code == 0)
		code = send_package(s, &w, &run, err);
	state_writer_fini(&w);
	if (code == 0)
		code = source_wait(
			s, SOURCE_GOT_LOADED, s->opt.timeout_ms, false, err);
	if (code == 0)
		s->stats.loaded_ns = source_now_ns();
	return code;
}

/* ---- commit ---- */

/* Past this line nothing can be taken back. */
static int decide(struct source *s, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&s->lock);
	if (s->cancel)
		code = error_set(err, -ECANCELED, "cancelled");
	else if (s->broken) {
		*err = s->error;
		code = err->code;
	} else {
		s->committed = true;
		s->expected |= SOURCE_GOT_RUNNING;
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

static bool said_running(struct source *s)
{
	bool running;

	pthread_mutex_lock(&s->lock);
	running = s->got & SOURCE_GOT_RUNNING;
	pthread_mutex_unlock(&s->lock);
	return running;
}

/* One question.  0 and @ret_owner, or -errno. */
static int ask(struct source *s, enum wire_owner *ret_owner, struct error *err)
{
	struct frame_in in = {.meta = NULL};
	struct wire_status m;
	struct wire_header h;
	struct wire_out out;
	struct chan *chan = NULL;
	uint32_t seq = 0;
	int code;

	code = source_dial(s, 0, s->opt.timeout_ms, &chan, err);
	if (code < 0)
		return code;
	chan_set_deadline(chan, ASK_ANSWER_MS);
	wire_out_init(&out);
	wire_begin(&out, WIRE_QUERY);
	wire_put_query(&out, s->session);
	code = frame_send(chan, &out, &seq, NULL, 0, err);
	seq = 0;
	if (code == 0)
		code = frame_recv_header(chan, &h, &in, err);
	if (code == 0 && h.type != WIRE_STATUS)
		code = error_set(err, -EPROTO, "%s: %s is no answer to QUERY",
			chan_name(chan), wire_type_name(h.type));
	if (code == 0)
		code = frame_recv_meta(chan, &h, &in, &seq, err);
	if (code == 0)
		code = wire_get_status(in.meta, h.meta_len, &m, err);
	if (code == 0 && memcmp(m.session, s->session, sizeof(m.session)) != 0)
		code = error_set(err, -EPROTO,
			"%s: STATUS is of another migration", chan_name(chan));
	if (code == 0)
		*ret_owner = m.owner;
	wire_out_fini(&out);
	frame_in_fini(&in);
	chan_close(chan);
	return code;
}

/* Let some time go by, or until RUNNING comes after all. */
static void pause_asking(struct source *s)
{
	uint64_t end = source_now_ns() + ASK_MS * UINT64_C(1000000);
	struct timespec ts = {
		.tv_sec = (time_t)(end / 1000000000u),
		.tv_nsec = (long)(end % 1000000000u),
	};

	pthread_mutex_lock(&s->lock);
	while (!(s->got & SOURCE_GOT_RUNNING) &&
		pthread_cond_timedwait(&s->cond, &s->lock, &ts) == 0)
		;
	pthread_mutex_unlock(&s->lock);
}

static bool can_ask(const struct source *s)
{
	return strncmp(s->opt.address, "unix:", 5) == 0 ||
	       strncmp(s->opt.address, "tcp:", 4) == 0;
}

/* The destination's own word that the guest is not its, which it cannot take
 * back: it refuses COMMIT from then on. */
static int given_back(struct source *s, struct error *err)
{
	s->given_back = true;
	return error_prepend(err, "the destination gave the guest back");
}

static bool gave_up(struct source *s)
{
	bool up;

	pthread_mutex_lock(&s->lock);
	up = s->peer_gave_up && !(s->got & SOURCE_GOT_RUNNING);
	pthread_mutex_unlock(&s->lock);
	return up;
}

/* COMMIT was written, at least in part, and RUNNING did not come; @err says
 * why. */
static int find_owner(struct source *s, struct error *err)
{
	uint64_t end = source_now_ns() +
		       (uint64_t)s->opt.timeout_ms * UINT64_C(1000000);
	enum wire_owner owner;
	struct error why;
	int code;

	for (;;) {
		if (said_running(s))
			return source_is_broken(s);
		if (gave_up(s))
			return given_back(s, err);
		if (!can_ask(s))
			return error_prepend(err,
				"commit sent, answer lost, and %s cannot be "
				"asked again",
				s->opt.address);
		code = ask(s, &owner, &why);
		if (code == 0 && owner == WIRE_OWNER_DESTINATION)
			return source_is_broken(s);
		if (code == 0)
			return given_back(s, err);
		if (source_now_ns() >= end)
			return error_set(err, -ETIMEDOUT,
				"commit sent, answer lost, and asking %s was "
				"of no avail: %s",
				s->opt.address, why.text);
		pause_asking(s);
	}
}

static int change_hands(struct source *s, struct error *err)
{
	int code = hand_over(s, err);

	if (code == 0)
		code = decide(s, err);
	if (code < 0)
		return code;
	code = source_send_empty(s, WIRE_COMMIT, err);
	if (code == 0)
		code = source_wait(
			s, SOURCE_GOT_RUNNING, s->opt.timeout_ms, false, err);
	if (code < 0) {
		source_find_cause(s, err);
		code = find_owner(s, err);
	}
	if (code >= 0)
		s->stats.running_ns = source_now_ns();
	return code;
}

/* From the stop to RUNNING two threads take turns (prompt.h). */
struct together {
	struct prompt_stay self, other;
};

static void stay_together(struct source *s, struct together *t)
{
	int cpu = sched_getcpu();

	prompt_turns(0, true);
	prompt_stay(&t->self, 0, cpu);
	if (s->return_tid != 0)
		prompt_stay(&t->other, s->return_tid, cpu);
}

static void part(struct together *t)
{
	prompt_leave(&t->other);
	prompt_leave(&t->self);
	prompt_turns(0, false);
}

int source_switch_over(struct source *s, struct error *err)
{
	struct together t = {.self = {.kept = false}};
	int code = 0;

	if (s->postcopy)
		code = discard_early(s, err);
	if (code < 0)
		return code;
	stay_together(s, &t);
	code = change_hands(s, err);
	part(&t);
	return code;
}
