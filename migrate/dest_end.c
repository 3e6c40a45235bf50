/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_end.c - the return path, and the verdict who owns the guest.
 *
 * Before COMMIT is read the guest is the source's, after that it is ours; what
 * is said to the source (ERROR, STATUS) binds us.  So ERROR is sent only while
 * the guest is not ours, and who has answered a QUERY in LOADED with "yours"
 * refuses the COMMIT that may still be on its way.
 *
 * Threads: dest_settle() is migrate-in's; the rest may come from any.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"
#include "migrate/pager.h"

bool dest_is_loss(int code)
{
	return code == -ENODATA || code == -ECONNRESET || code == -EPIPE ||
	       code == -ETIMEDOUT;
}

enum wire_owner dest_owner_locked(const struct dest *d)
{
	if (d->run == DEST_RUN_FAILED)
		return WIRE_OWNER_SOURCE; /* it never ran here */
	if (d->committed)
		return WIRE_OWNER_DESTINATION;
	if (d->state == DEST_LOADED && !d->failed)
		return WIRE_OWNER_LOADED;
	return WIRE_OWNER_SOURCE;
}

/* ---- the return path ---- */

int dest_send_empty(struct dest *d, enum wire_type type, struct error *err)
{
	struct dest_conn *c = &d->main;
	int code;

	pthread_mutex_lock(&c->lock);
	code = frame_send_empty(c->chan, &c->out, type, &c->out_seq, err);
	pthread_mutex_unlock(&c->lock);
	return code;
}

static int send_error_locked(struct dest_conn *c, const struct error *why)
{
	struct wire_error e = {.code = why->code < 0 ? why->code : -EPROTO};
	size_t len = strnlen(why->text, WIRE_TEXT_MAX);

	memcpy(e.text, why->text, len);
	wire_begin(&c->out, WIRE_ERROR);
	wire_put_error(&c->out, &e);
	return frame_send(c->chan, &c->out, &c->out_seq, NULL, 0, NULL);
}

int dest_send_error(struct dest *d, const struct error *why)
{
	int code;

	pthread_mutex_lock(&d->main.lock);
	code = send_error_locked(&d->main, why);
	pthread_mutex_unlock(&d->main.lock);
	return code;
}

/* For the owner's thread, which a peer that never reads must not hold up. */
static void try_send_error(struct dest *d, const struct error *why)
{
	struct pollfd p = {.fd = chan_fd(d->main.chan), .events = POLLOUT};
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec++; /* a writer that is stuck does not come back sooner */
	if (pthread_mutex_timedlock(&d->main.lock, &ts) != 0)
		return;
	if (poll(&p, 1, 0) == 1)
		send_error_locked(&d->main, why);
	pthread_mutex_unlock(&d->main.lock);
}

/* The first reason stays; the source is told unless the guest is ours. */
static void record(struct dest *d, const struct error *why)
{
	bool first, ours, tell;

	pthread_mutex_lock(&d->lock);
	first = !d->failed;
	if (first) {
		d->failed = true;
		d->error = *why;
	}
	ours = d->committed && d->run != DEST_RUN_FAILED;
	tell = !ours && (first || d->run == DEST_RUN_FAILED);
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (tell)
		dest_send_error(d, why);
}

void dest_fail(struct dest *d, const struct error *why)
{
	record(d, why);
	chan_shutdown(d->main.chan);
}

/* ---- how it ends: migrate-in ---- */

void dest_stop_load(struct dest *d)
{
	pthread_mutex_lock(&d->lock);
	d->load_over = true;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (d->load_started)
		pthread_join(d->load_thread, NULL);
	d->load_started = false;
}

/* Not ours: nobody may go on waiting for a page, then nobody may hold RAM. */
static void let_go(struct dest *d)
{
	pthread_mutex_lock(&d->lock);
	d->disowned = true;
	dest_urgent_end_locked(d);
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	dest_postcopy_fini(d);
	dest_stop_load(d);
	/* The source may want the images while we still wait for a question. */
	if (d->guest.ops && d->guest.ops->abandon)
		d->guest.ops->abandon(d->guest.opaque);
}

static void deadline(struct timespec *ts, int timeout_ms)
{
	uint64_t until = dest_now_ns() + (uint64_t)timeout_ms * 1000000u;

	ts->tv_sec = (time_t)(until / 1000000000u);
	ts->tv_nsec = (long)(until % 1000000000u);
}

/* @timeout_ms: -1 for ever. */
static enum dest_run wait_run(struct dest *d, int timeout_ms)
{
	struct timespec ts;
	enum dest_run run;
	int err = 0;

	deadline(&ts, timeout_ms);
	pthread_mutex_lock(&d->lock);
	while (d->run == DEST_RUN_GOING && err != ETIMEDOUT) {
		if (timeout_ms < 0)
			pthread_cond_wait(&d->cond, &d->lock);
		else
			err = pthread_cond_timedwait(&d->cond, &d->lock, &ts);
	}
	run = d->run;
	pthread_mutex_unlock(&d->lock);
	return run;
}

static void send_done(struct dest *d)
{
	struct dest_conn *c = &d->main;
	json_t *stats = migrate_stats_json(&d->stats);
	char *text = stats ? json_dumps(stats, JSON_COMPACT) : NULL;
	struct error err = {0};
	int code;

	json_decref(stats);
	pthread_mutex_lock(&c->lock);
	wire_begin(&c->out, WIRE_DONE);
	wire_put_text(&c->out, text ? text : "{}");
	code = frame_send(c->chan, &c->out, &c->out_seq, NULL, 0, &err);
	pthread_mutex_unlock(&c->lock);
	if (code < 0)
		log_info("migration: tell the source that all is here: %s",
			err.text);
	free(text);
}

static void finish_pager(struct dest *d, bool lost)
{
	int code = d->pager ? pager_finish(d->pager, lost) : 0;

	if (code < 0)
		log_warn("migration: end paging: error %d", -code);
}

/* Committed; @code is 0 after COMPLETE, else the link is of no use. */
static enum dest_result settle_ours(struct dest *d, int code, struct error *err)
{
	uint64_t missing = 0;
	enum dest_run run;

	if (code < 0) {
		chan_shutdown(d->main.chan); /* fault threads may write */
		pthread_mutex_lock(&d->lock);
		dest_urgent_end_locked(d);
		pthread_mutex_unlock(&d->lock);
	}
	finish_pager(d, code < 0);
	if (d->pager)
		missing = pager_missing(d->pager);
	/* It may be waiting for one of them. */
	run = wait_run(d, missing > 0 ? d->opt.timeout_ms : -1);
	if (run == DEST_RUN_FAILED) {
		let_go(d);
		error_set(err, err->code,
			"%s; the guest did not run here, the source owns it",
			d->error.text);
		return DEST_NOT_OURS;
	}
	atomic_store_explicit(
		&d->stats.pages_left, missing, memory_order_relaxed);
	if (missing == 0)
		return DEST_RUNS_HERE;
	error_set(err, d->error.code,
		"%s; the guest runs here, but %llu of %llu pages are missing: "
		"who touches one waits for it",
		d->error.text, (unsigned long long)missing,
		(unsigned long long)d->pages);
	return DEST_LOST_LINK;
}

/* LOADED was said, then the link was lost: COMMIT may be written and the source
 * be asking who has the guest.  If nobody answers, nobody runs it. */
static void wait_question(struct dest *d)
{
	struct timespec ts;
	int err = 0;

	deadline(&ts, d->opt.timeout_ms);
	pthread_mutex_lock(&d->lock);
	while (!d->asked && !d->cancelled && !d->closing && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&d->cond, &d->lock, &ts);
	pthread_mutex_unlock(&d->lock);
}

static enum dest_result settle_not_ours(struct dest *d, struct error *err)
{
	bool loaded;

	pthread_mutex_lock(&d->lock);
	loaded = d->state == DEST_LOADED;
	pthread_mutex_unlock(&d->lock);
	/* Last words first: a source that still writes must not miss them. */
	chan_linger(d->main.chan, DEST_LINGER_MS);
	chan_shutdown(d->main.chan);
	let_go(d);
	if (loaded && dest_is_loss(d->error.code))
		wait_question(d);
	error_set(err, d->error.code,
		"%s; the guest did not run here, the source owns it",
		d->error.text);
	return DEST_NOT_OURS;
}

static enum migrate_phase last_phase(
	const struct dest *d, enum dest_result result)
{
	if (result == DEST_RUNS_HERE)
		return MIGRATE_DONE;
	if (result == DEST_LOST_LINK)
		return MIGRATE_LOST;
	return d->cancelled ? MIGRATE_CANCELLED : MIGRATE_FAILED;
}

void dest_settle(struct dest *d, int code, struct error *err)
{
	enum dest_result result;
	bool committed;

	if (code < 0)
		record(d, err);
	pthread_mutex_lock(&d->lock);
	committed = d->committed; /* only this thread sets it */
	pthread_mutex_unlock(&d->lock);
	result =
		committed ? settle_ours(d, code, err) : settle_not_ours(d, err);
	atomic_store_explicit(
		&d->stats.end_ns, dest_now_ns(), memory_order_relaxed);
	dest_set_phase(d, last_phase(d, result));
	dest_set_state(d, DEST_END);
	if (result == DEST_RUNS_HERE && code == 0)
		send_done(d);
	d->done(d->opaque, result, result == DEST_RUNS_HERE ? NULL : err);
	atomic_store(&d->ended, true);
	chan_linger(d->main.chan, DEST_LINGER_MS);
	chan_shutdown(d->main.chan);
}

/* ---- by order of the user ---- */

int dest_cancel(struct dest *dest)
{
	bool first;
	int code = 0;

	pthread_mutex_lock(&dest->lock);
	first = !dest->failed;
	if (dest->committed || dest->state == DEST_END) {
		code = -EALREADY;
	} else {
		dest->cancelled = true;
		pthread_cond_broadcast(&dest->cond);
	}
	if (code == 0 && first) {
		dest->failed = true;
		error_set(&dest->error, -ECANCELED,
			"cancelled at the destination");
	}
	pthread_mutex_unlock(&dest->lock);
	if (code < 0 || !first)
		return code;
	try_send_error(dest, &dest->error);
	chan_shutdown(dest->main.chan);
	return 0;
}
