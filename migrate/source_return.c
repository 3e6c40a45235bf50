/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_return.c - what the destination says, noted for whoever waits.
 *
 * Threads: "migrate-return" and "migrate-urgent" run the two mains.  The first
 * sleeps in poll(2), the other in the read itself: a system call less on the
 * way of a page.  Either way a deadline counts only when a frame has begun.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "migrate/prompt.h"
#include "migrate/source_priv.h"
#include "vmm/log.h"

/* A write that has gone on for so long when somebody wants to cancel is taken
 * for stuck. */
#define STUCK_NS      UINT64_C(200000000)
#define STUCK_POLL_MS 50
#define FOLLOW_EVERY  64u /* requests */

/* ---- waiting ---- */

void source_kick(struct source *s)
{
	uint64_t one = 1;

	/* Full is as good as written: the reader is awake. */
	if (write(s->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void source_break(struct source *s, const struct error *err, bool end)
{
	struct chan *urgent;

	pthread_mutex_lock(&s->lock);
	if (!s->broken) {
		s->broken = true;
		s->error = *err;
	}
	urgent = s->urgent.chan;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
	if (!end)
		return;
	chan_shutdown(s->main.chan);
	if (urgent)
		chan_shutdown(urgent);
	source_kick(s);
}

bool source_is_broken(struct source *s)
{
	bool broken;

	pthread_mutex_lock(&s->lock);
	broken = s->broken;
	pthread_mutex_unlock(&s->lock);
	return broken;
}

void source_expect(struct source *s, enum source_answer answer)
{
	pthread_mutex_lock(&s->lock);
	s->expected |= answer;
	s->got &= ~(uint32_t)answer;
	pthread_mutex_unlock(&s->lock);
}

static const char *answer_name(enum source_answer answer)
{
	switch (answer) {
	case SOURCE_GOT_WELCOME:
		return "WELCOME";
	case SOURCE_GOT_ACCEPT:
		return "ACCEPT (machine built)";
	case SOURCE_GOT_ADVISED:
		return "ADVISED (postcopy possible)";
	case SOURCE_GOT_LOADED:
		return "LOADED";
	case SOURCE_GOT_RUNNING:
		return "RUNNING";
	case SOURCE_GOT_DONE:
		return "DONE";
	case SOURCE_GOT_SYNCED:
		return "SYNCED";
	}
	return "?";
}

static int wait_verdict_locked(struct source *s, enum source_answer answer,
	bool switch_ends, struct error *err)
{
	if (s->got & answer)
		return 0;
	if (s->broken) {
		*err = s->error;
		return s->error.code;
	}
	if (s->cancel && !s->committed)
		return error_set(err, -ECANCELED, "cancelled");
	if (switch_ends && s->want_switch)
		return error_set(err, -EINTR, "switch to postcopy");
	return 1;
}

int source_wait(struct source *s, enum source_answer answer, int timeout_ms,
	bool switch_ends, struct error *err)
{
	uint64_t limit = (uint64_t)timeout_ms * 1000000u;
	uint64_t begin = source_now_ns(), end, seen;
	struct timespec ts;
	int code;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		code = wait_verdict_locked(s, answer, switch_ends, err);
		if (code != 1)
			break;
		/* Pages that are asked for and sent are progress. */
		seen = s->progress_ns;
		end = (seen > begin ? seen : begin) + limit;
		if (source_now_ns() >= end) {
			code = error_set(err, -ETIMEDOUT,
				"%s: no %s from the destination for %d ms "
				"(is it still alive?)",
				chan_name(s->main.chan), answer_name(answer),
				timeout_ms);
			break;
		}
		ts.tv_sec = (time_t)(end / 1000000000u);
		ts.tv_nsec = (long)(end % 1000000000u);
		pthread_cond_timedwait(&s->cond, &s->lock, &ts);
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

int source_drain(struct source *s, bool switch_ends, struct error *err)
{
	uint32_t id;
	int code;

	pthread_mutex_lock(&s->lock);
	id = ++s->sync_id;
	s->expected |= SOURCE_GOT_SYNCED;
	s->got &= ~(uint32_t)SOURCE_GOT_SYNCED;
	pthread_mutex_unlock(&s->lock);
	wire_put_sync(source_begin(&s->main, WIRE_SYNC), id);
	code = source_send(s, &s->main, err);
	if (code < 0)
		return code;
	return source_wait(
		s, SOURCE_GOT_SYNCED, s->opt.timeout_ms, switch_ends, err);
}

/* ---- in ---- */

/* Note an answer; -EPROTO if nobody asked. */
static int note(struct source *s, enum source_answer answer, struct error *err)
{
	int code = 0;

	pthread_mutex_lock(&s->lock);
	if (s->expected & answer) {
		s->expected &= ~(uint32_t)answer;
		s->got |= answer;
		pthread_cond_broadcast(&s->cond);
	} else {
		code = error_set(err, -EPROTO, "%s: %s came, but was not due",
			chan_name(s->main.chan), answer_name(answer));
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

static int on_welcome(
	struct source *s, const struct wire_header *h, struct error *err)
{
	struct wire_welcome m;
	int code = wire_get_welcome(s->main.in.meta, h->meta_len, &m, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&s->lock);
	if (s->expected & SOURCE_GOT_WELCOME)
		s->welcome = m;
	pthread_mutex_unlock(&s->lock);
	return note(s, SOURCE_GOT_WELCOME, err);
}

/* Answers to a SYNC that nobody waits for any more are late, not wrong. */
static int on_synced(
	struct source *s, const struct wire_header *h, struct error *err)
{
	uint32_t id;
	int code = wire_get_sync(s->main.in.meta, h->meta_len, &id, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&s->lock);
	if (id == 0 || id > s->sync_id) {
		code = error_set(err, -EPROTO,
			"%s: SYNCED %u was not asked for",
			chan_name(s->main.chan), id);
	} else if (id == s->sync_id) {
		s->got |= SOURCE_GOT_SYNCED;
		pthread_cond_broadcast(&s->cond);
	}
	pthread_mutex_unlock(&s->lock);
	return code;
}

static int on_sync(
	struct source *s, const struct wire_header *h, struct error *err)
{
	uint32_t id;
	int code = wire_get_sync(s->main.in.meta, h->meta_len, &id, err);

	if (code < 0)
		return code;
	wire_put_sync(source_begin(&s->main, WIRE_SYNCED), id);
	return source_send(s, &s->main, err);
}

static int on_done(
	struct source *s, const struct wire_header *h, struct error *err)
{
	char *text;
	int code = wire_get_text(s->main.in.meta, h->meta_len, &text, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&s->lock);
	if (s->expected & SOURCE_GOT_DONE) {
		free(s->peer_stats);
		s->peer_stats = text;
		text = NULL;
	}
	pthread_mutex_unlock(&s->lock);
	free(text);
	return note(s, SOURCE_GOT_DONE, err);
}

static int on_error(
	struct source *s, const struct wire_header *h, struct error *err)
{
	struct wire_error m;
	int code = wire_get_error(s->main.in.meta, h->meta_len, &m, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&s->lock);
	s->peer_gave_up = true;
	pthread_mutex_unlock(&s->lock);
	return error_set(err, m.code < 0 ? m.code : -EREMOTEIO,
		"destination: %s", m.text);
}

static int on_request(struct source *s, struct source_conn *c,
	const struct wire_header *h, struct error *err)
{
	struct wire_request m;
	int code;

	if (!s->serving)
		return error_set(err, -EPROTO,
			"%s: REQUEST came before the switch to postcopy",
			chan_name(c->chan));
	code = wire_get_request(c->in.meta, h->meta_len, s->pages, &m, err);
	if (code < 0)
		return code;
	return source_answer_request(s, c, &m, err);
}

static int on_frame(
	struct source *s, const struct wire_header *h, struct error *err)
{
	switch (h->type) {
	case WIRE_WELCOME:
		return on_welcome(s, h, err);
	case WIRE_ACCEPT:
		return note(s, SOURCE_GOT_ACCEPT, err);
	case WIRE_ADVISED:
		return note(s, SOURCE_GOT_ADVISED, err);
	case WIRE_LOADED:
		return note(s, SOURCE_GOT_LOADED, err);
	case WIRE_RUNNING:
		return note(s, SOURCE_GOT_RUNNING, err);
	case WIRE_DONE:
		return on_done(s, h, err);
	case WIRE_SYNCED:
		return on_synced(s, h, err);
	case WIRE_SYNC:
		return on_sync(s, h, err);
	case WIRE_REQUEST:
		return on_request(s, &s->main, h, err);
	case WIRE_ERROR:
		return on_error(s, h, err);
	default:
		return error_set(err, -EPROTO, "%s: %s is not for a source",
			chan_name(s->main.chan), wire_type_name(h->type));
	}
}

/* The source has no use for long frames. */
static int recv_frame(
	struct source_conn *c, struct wire_header *h, struct error *err)
{
	int code = frame_recv_header(c->chan, h, &c->in, err);

	if (code < 0)
		return code;
	if (h->data_len > 0 || h->meta_len > WIRE_STATS_MAX)
		return error_set(err, -EPROTO, "%s: %s is not for a source",
			chan_name(c->chan), wire_type_name(h->type));
	return frame_recv_meta(c->chan, h, &c->in, &c->in_seq, err);
}

/* Who wants to cancel cannot write on a connection that takes nothing. */
static int nap_ms(struct source *s)
{
	uint64_t busy = s->main.busy_ns;

	if (!s->cancel)
		return -1;
	if (busy != 0 && source_now_ns() - busy > STUCK_NS)
		chan_shutdown(s->main.chan);
	return STUCK_POLL_MS;
}

/* Sleep until there is something to read on the first connection.  False: we
 * are closing. */
static bool readable(struct source *s)
{
	struct pollfd fds[2] = {
		{.fd = chan_fd(s->main.chan), .events = POLLIN},
		{.fd = s->wake_fd, .events = POLLIN},
	};
	uint64_t drop;

	while (!s->closing) {
		if (fds[0].fd < 0)
			return true; /* in memory: reading waits */
		if (poll(fds, 2, nap_ms(s)) < 0 && errno != EINTR)
			return true; /* reading will tell */
		if (fds[0].revents)
			return true;
		if (fds[1].revents && read(s->wake_fd, &drop, sizeof(drop)) < 0)
			continue;
	}
	return false;
}

void *source_return_main(void *arg)
{
	struct source *s = arg;
	struct wire_header h;
	struct error err;
	bool ours = false;
	int code = 0;

	s->return_tid = gettid();
	prompt_turns(0, true);
	while (code == 0 && readable(s)) {
		code = recv_frame(&s->main, &h, &err);
		if (code == -ETIMEDOUT && chan_fd(s->main.chan) < 0) {
			code = 0;
			continue;
		}
		if (code < 0)
			break;
		s->progress_ns = source_now_ns();
		code = on_frame(s, &h, &err);
		/* Well framed, but wrong: the peer can be told. */
		ours = code < 0;
	}
	if (code == -ENODATA)
		error_set(&err, -ECONNRESET,
			"%s: the destination ended the connection",
			chan_name(s->main.chan));
	if (code < 0)
		source_break(s, &err, !ours || s->peer_gave_up);
	s->return_tid = 0;
	/* After the reason, which whoever waits for this wants to see. */
	pthread_mutex_lock(&s->lock);
	s->return_over = true;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static int on_urgent_frame(
	struct source *s, const struct wire_header *h, struct error *err)
{
	if (h->type == WIRE_REQUEST)
		return on_request(s, &s->urgent, h, err);
	return error_set(err, -EPROTO,
		"%s: %s is not for the urgent connection",
		chan_name(s->urgent.chan), wire_type_name(h->type));
}

/* Run where its packets come in: on the way to whoever waits for the answer no
 * other CPU is to be woken.  Only a preference. */
static void follow_packets(
	struct source_conn *c, struct prompt_stay *stay, int *cpu)
{
	int now = prompt_packet_cpu(chan_fd(c->chan));

	if (now < 0 || now == *cpu)
		return;
	*cpu = now;
	prompt_stay(stay, 0, now);
}

/* The urgent connection is a help: without it the destination asks on the first
 * one.  Nonsense on it is no better than nonsense there. */
void *source_urgent_main(void *arg)
{
	struct source *s = arg;
	struct wire_header h;
	struct error err;
	struct prompt_stay stay = {.kept = false};
	int code = 0, cpu = -1;
	unsigned frames = 0;

	prompt_turns(0, true);
	while (!s->closing) {
		/* A request after long is as good as one at once. */
		code = chan_fill(s->urgent.chan);
		if (code == -ETIMEDOUT)
			continue;
		if (code == 0)
			code = recv_frame(&s->urgent, &h, &err);
		else
			error_errno(
				&err, code, "%s", chan_name(s->urgent.chan));
		if (code < 0)
			break;
		s->progress_ns = source_now_ns();
		code = on_urgent_frame(s, &h, &err);
		if (code < 0)
			break;
		if (frames++ % FOLLOW_EVERY == 0)
			follow_packets(&s->urgent, &stay, &cpu);
	}
	if (s->closing)
		return NULL;
	if (code == -EPROTO || code == -EBADMSG)
		source_break(s, &err, false);
	else
		source_urgent_lost(s);
	return NULL;
}
