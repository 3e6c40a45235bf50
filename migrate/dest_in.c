/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_in.c - "migrate-in": reads the stream from ACCEPT to the end and
 * obeys it.
 *
 * It never waits for a guest page: from LISTEN on it touches guest RAM only
 * through the pager, and what may touch it (load, run) is migrate-load's work.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"
#include "migrate/pager.h"

/* The source has nothing to send while we load or start the guest, however
 * long that takes; but it has while pages are missing. */
static bool silence_is_ours(struct dest *d)
{
	bool busy;

	pthread_mutex_lock(&d->lock);
	busy = d->load_busy && !d->failed;
	pthread_mutex_unlock(&d->lock);
	return busy && (!d->pager || pager_missing(d->pager) == 0);
}

static void wait_input(struct dest *d)
{
	struct pollfd p = {.fd = chan_fd(d->main.chan), .events = POLLIN};

	if (p.fd < 0)
		return;
	while (silence_is_ours(d) && poll(&p, 1, d->opt.timeout_ms) == 0)
		;
}

/* The source asks where we are: the switch may be next, and until COMMIT it is
 * one thread's turn after the other (prompt.h). */
static void keep_close(struct dest *d)
{
	if (d->in_stay.kept)
		return;
	prompt_turns(0, true);
	prompt_stay(&d->in_stay, 0, prompt_packet_cpu(chan_fd(d->main.chan)));
}

/* Data want a CPU of their own. */
static void spread(struct dest *d)
{
	if (!d->in_stay.kept)
		return;
	prompt_leave(&d->in_stay);
	prompt_turns(0, false);
}

static int on_sync(struct dest *d, const struct wire_header *h,
	enum dest_state state, struct error *err)
{
	struct dest_conn *c = &d->main;
	uint32_t id;
	int code;

	code = wire_get_sync(c->in.meta, h->meta_len, &id, err);
	if (code < 0)
		return code;
	pthread_mutex_lock(&c->lock);
	wire_begin(&c->out, WIRE_SYNCED);
	wire_put_sync(&c->out, id);
	code = frame_send(c->chan, &c->out, &c->out_seq, NULL, 0, err);
	pthread_mutex_unlock(&c->lock);
	if (state < DEST_LISTEN)
		keep_close(d);
	return code;
}

static int on_round(
	struct dest *d, const struct wire_header *h, struct error *err)
{
	struct wire_round round;
	int code;

	code = wire_get_round(d->main.in.meta, h->meta_len, &round, err);
	if (code < 0)
		return code;
	atomic_store_explicit(
		&d->stats.round, round.round, memory_order_relaxed);
	atomic_store_explicit(
		&d->stats.pages_left, round.dirty, memory_order_relaxed);
	return 0;
}

static int on_discard(
	struct dest *d, const struct wire_header *h, struct error *err)
{
	dest_set_state(d, DEST_DISCARD);
	return dest_ram_discard(d, h, err);
}

/* The fault threads look for a CPU of their own. */
static int listen_free(struct dest *d, struct error *err)
{
	bool kept = d->in_stay.kept;
	int cpu = sched_getcpu(), code;

	prompt_leave(&d->in_stay);
	code = dest_listen(d, err);
	if (kept)
		prompt_stay(&d->in_stay, 0, cpu);
	return code;
}

static int on_package(struct dest *d, const struct wire_header *h,
	enum dest_state state, struct error *err)
{
	struct dest_conn *c = &d->main;
	int code;

	code = wire_get_package(c->in.meta, h->meta_len, &d->package, err);
	if (code < 0)
		return code;
	if (d->package.listen && state == DEST_RAM)
		return error_set(err, -EPROTO,
			"PACKAGE with LISTEN may not come without ADVISE");
	if (!d->package.listen && d->received_count < d->pages)
		return error_set(err, -EPROTO,
			"PACKAGE without LISTEN, but %llu of %llu pages never "
			"came",
			(unsigned long long)(d->pages - d->received_count),
			(unsigned long long)d->pages);
	d->package_in = c->in; /* load() reads it while we read on */
	c->in = (struct frame_in){0};
	dest_set_phase(d, MIGRATE_SWITCH);
	code = d->package.listen ? listen_free(d, err) : 0;
	if (code < 0)
		return code;
	dest_set_state(d, DEST_LISTEN);
	dest_load_go(d);
	return 0;
}

/* The instant at which the guest becomes ours. */
static int on_commit(struct dest *d, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&d->lock);
	if (d->failed || d->disowned) {
		code = error_set(err, -ECANCELED,
			"COMMIT came after the source was told that the guest "
			"is its own");
	} else {
		d->committed = true;
		d->state = DEST_RUNNING;
		d->run = DEST_RUN_GOING;
		d->load_busy = true;
		pthread_cond_broadcast(&d->cond);
	}
	pthread_mutex_unlock(&d->lock);
	if (code == 0 && d->pager)
		dest_set_phase(d, MIGRATE_POSTCOPY);
	spread(d);
	return code;
}

/* Every page was sent.  Those on the urgent connection may be on their way
 * still; if it is lost they are asked for once more. */
static int wait_rest(struct dest *d, struct error *err)
{
	struct pollfd p[2] = {
		{.fd = chan_fd(d->main.chan), .events = POLLIN},
		{.fd = d->wake_fd, .events = POLLIN},
	};
	uint64_t missing;
	int code;

	for (;;) {
		missing = d->pager ? pager_missing(d->pager) : 0;
		if (missing == 0)
			return 1;
		if (!atomic_load(&d->urgent_up) && !d->asked_again) {
			if (!atomic_load(&d->urgent_was))
				break;
			d->asked_again = true;
			code = dest_request_rest(d);
			if (code < 0)
				return error_errno(err, code,
					"ask for the pages that were lost");
		}
		if (poll(p, 2, d->opt.timeout_ms) == 0)
			break;
		if (p[1].revents)
			eventfd_read(d->wake_fd, &(eventfd_t){0});
		if (p[0].revents)
			return 0;
	}
	return error_set(err, -EPROTO, "COMPLETE, but %llu pages never came",
		(unsigned long long)missing);
}

static int on_error(
	struct dest *d, const struct wire_header *h, struct error *err)
{
	struct wire_error e;
	int code;

	code = wire_get_error(d->main.in.meta, h->meta_len, &e, err);
	if (code < 0)
		return code;
	return error_set(err, -ECONNABORTED, "the source gave up: %s", e.text);
}

static int on_cancel(struct dest *d, struct error *err)
{
	pthread_mutex_lock(&d->lock);
	d->cancelled = true;
	pthread_mutex_unlock(&d->lock);
	return error_set(err, -ECANCELED, "cancelled by the source");
}

static int on_pages(struct dest *d, const struct wire_header *h,
	enum dest_state state, struct error *err)
{
	if (h->data_len > DEST_FEW_BYTES)
		spread(d);
	if (state < DEST_LISTEN)
		return dest_ram_pages(d, h, err);
	if (!d->pager)
		return error_set(err, -EPROTO,
			"PAGES may not come after a PACKAGE without LISTEN");
	return dest_place(d, &d->main, d->main_bounce, h, err);
}

/* 1: the end. */
static int obey(struct dest *d, const struct wire_header *h,
	enum dest_state state, struct error *err)
{
	switch (h->type) {
	case WIRE_PAGES:
		return on_pages(d, h, state, err);
	case WIRE_SYNC:
		return on_sync(d, h, state, err);
	case WIRE_ROUND:
		return on_round(d, h, err);
	case WIRE_ADVISE:
		return dest_advise(d, err);
	case WIRE_DISCARD:
		return on_discard(d, h, err);
	case WIRE_PACKAGE:
		return on_package(d, h, state, err);
	case WIRE_COMMIT:
		return on_commit(d, err);
	case WIRE_COMPLETE:
		atomic_store(&d->completing, true);
		return 0;
	case WIRE_CANCEL:
		return on_cancel(d, err);
	case WIRE_ERROR:
		return on_error(d, h, err);
	default:
		return error_set(err, -EPROTO, "%s has no meaning here",
			wire_type_name(h->type));
	}
}

static int one_frame(struct dest *d, struct error *err)
{
	struct dest_conn *c = &d->main;
	struct wire_header h;
	enum dest_state state;
	int code;

	wait_input(d);
	code = frame_recv_header(c->chan, &h, &c->in, err);
	if (code < 0)
		return code;
	pthread_mutex_lock(&d->lock);
	state = d->state;
	pthread_mutex_unlock(&d->lock);
	code = dest_check_frame(state, h.type, err);
	if (code < 0)
		return code;
	code = frame_recv_meta(c->chan, &h, &c->in, &c->in_seq, err);
	if (code < 0)
		return code;
	d->idle_frames =
		h.type == WIRE_PAGES && h.meta_len > 0 ? 0 : d->idle_frames + 1;
	if (d->idle_frames > DEST_IDLE_FRAMES)
		return error_set(err, -EPROTO,
			"%u frames in a row brought no page", d->idle_frames);
	migrate_count(
		&d->stats.bytes, WIRE_HEADER_BYTES + h.meta_len + h.data_len);
	return obey(d, &h, state, err);
}

void *dest_in_main(void *arg)
{
	struct dest *d = arg;
	struct error err = {0};
	int code;

	dest_set_phase(d, MIGRATE_PRECOPY);
	do {
		code = 0;
		if (atomic_load(&d->completing))
			code = wait_rest(d, &err);
		if (code == 0)
			code = one_frame(d, &err);
	} while (code == 0);
	dest_settle(d, code < 0 ? code : 0, &err);
	return NULL;
}
