/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_door.c - who comes to the listener, and what he wants.
 *
 * "migrate-door" accepts from dest_accept() to dest_join() and does nothing
 * else; each connection has a short-lived thread that reads its first frame and
 * gives it away: HELLO makes it the migration's first connection (one), ATTACH
 * the urgent one (one), QUERY is answered.  Everything else, and whoever is too
 * slow, is closed.  At most DEST_PEERS are undecided at a time: the oldest goes
 * when one more comes, so that nobody can keep the right one out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"

int dest_conn_init(struct dest_conn *conn)
{
	memset(conn, 0, sizeof(*conn));
	wire_out_init(&conn->out);
	return -pthread_mutex_init(&conn->lock, NULL);
}

void dest_conn_fini(struct dest_conn *conn)
{
	chan_close(conn->chan);
	conn->chan = NULL;
	frame_in_fini(&conn->in);
	wire_out_fini(&conn->out);
	pthread_mutex_destroy(&conn->lock);
}

void dest_urgent_end_locked(struct dest *d)
{
	d->urgent_taken = true; /* none will be let in any more */
	if (d->urgent.chan)
		chan_shutdown(d->urgent.chan);
}

/* One connection's first frame. */
struct caller {
	struct dest_peer *peer;
	struct chan *chan; /* borrowed from peer */
	struct frame_in in;
	struct wire_header h;
	uint32_t seq;
};

static bool same_session(const struct dest *d, const uint8_t *session)
{
	uint8_t differ = 0;

	for (size_t i = 0; i < WIRE_SESSION_BYTES; i++)
		differ |= (uint8_t)(d->hello.session[i] ^ session[i]);
	return differ == 0;
}

/* lock held: from here on @conn owns the connection. */
static void take_over(struct dest *d, struct dest_conn *conn, struct caller *c)
{
	conn->chan = c->chan;
	conn->in = c->in;
	conn->in_seq = c->seq;
	c->in = (struct frame_in){0};
	c->peer->chan = NULL;
	chan_set_deadline(conn->chan, d->opt.timeout_ms);
}

static void refuse(struct caller *c, const struct error *why)
{
	struct wire_error e = {.code = why->code};
	struct wire_out out;
	uint32_t seq = 0;

	memcpy(e.text, why->text, strnlen(why->text, WIRE_TEXT_MAX));
	wire_out_init(&out);
	wire_begin(&out, WIRE_ERROR);
	wire_put_error(&out, &e);
	frame_send(c->chan, &out, &seq, NULL, 0, NULL);
	wire_out_fini(&out);
}

static int on_hello(struct dest *d, struct caller *c, struct error *err)
{
	struct wire_hello hello;
	bool taken;
	int code;

	code = wire_get_hello(c->in.meta, c->h.meta_len, &hello, err);
	if (code < 0)
		return code;
	pthread_mutex_lock(&d->lock);
	taken = !d->main_up && !d->closing;
	if (taken) {
		d->hello = hello;
		take_over(d, &d->main, c);
		d->main_up = true;
		pthread_cond_broadcast(&d->cond);
	}
	pthread_mutex_unlock(&d->lock);
	if (taken)
		return 0;
	return error_set(err, -EBUSY, "a migration has begun here already");
}

static int on_attach(struct dest *d, struct caller *c, struct error *err)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct wire_attach attach;
	int code;

	code = wire_get_attach(c->in.meta, c->h.meta_len, &attach, err);
	if (code < 0)
		return code;
	pthread_mutex_lock(&d->lock);
	if (!d->main_up || !same_session(d, attach.session)) {
		code = error_set(err, -EPROTO, "ATTACH to no migration here");
	} else if (attach.role != WIRE_ROLE_URGENT || attach.index != 0 ||
		   !(d->features & WIRE_FEATURE_URGENT)) {
		code = error_set(err, -EPROTO,
			"ATTACH with a role that was not agreed on");
	} else if (d->state == DEST_END || d->closing) {
		code = error_set(
			err, -EBUSY, "ATTACH to a migration that has ended");
	} else if (d->urgent_taken) {
		code = error_set(err, -EBUSY,
			"ATTACH, but there is an urgent connection already");
	} else {
		d->urgent_taken = true;
		take_over(d, &d->urgent, c);
		/* Without memory for it, it is only slower. */
		(void)chan_read_ahead(d->urgent.chan, DEST_AHEAD);
		atomic_store(&d->urgent_was, true);
		atomic_store(&d->urgent_up, true);
		if (epoll_ctl(d->urgent_set, EPOLL_CTL_ADD,
			    chan_fd(d->urgent.chan), &ev) < 0)
			atomic_store(&d->urgent_up, false);
		pthread_cond_broadcast(&d->cond);
	}
	pthread_mutex_unlock(&d->lock);
	return code;
}

/* An answer that says "yours" is a promise: COMMIT is refused from then on.
 * While the guest is being started nobody knows yet; the answer waits. */
static enum wire_owner decide(struct dest *d, const struct dest_peer *peer)
{
	enum wire_owner owner;
	struct timespec ts;
	bool promised;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += d->opt.timeout_ms / 1000 + 1;
	pthread_mutex_lock(&d->lock);
	while (d->run == DEST_RUN_GOING && !peer->cut && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&d->cond, &d->lock, &ts);
	owner = dest_owner_locked(d);
	/* From the package on "yours" is a promise: COMMIT is refused. */
	promised = owner != WIRE_OWNER_DESTINATION && d->state >= DEST_LISTEN;
	if (promised)
		d->disowned = true;
	pthread_mutex_unlock(&d->lock);
	if (promised) {
		struct error why;

		error_set(&why, -ECONNABORTED,
			"the source asked who owns the guest and was told that "
			"it does");
		dest_fail(d, &why);
	}
	return owner;
}

static int on_query(struct dest *d, struct caller *c, struct error *err)
{
	struct wire_status status = {0};
	struct wire_out out;
	uint32_t seq = 0;
	bool known;
	int code;

	code = wire_get_query(c->in.meta, c->h.meta_len, status.session, err);
	if (code < 0)
		return code;
	pthread_mutex_lock(&d->lock);
	known = d->main_up && same_session(d, status.session);
	pthread_mutex_unlock(&d->lock);
	if (!known)
		return error_set(err, -EPROTO, "QUERY of no migration here");
	status.owner = decide(d, c->peer);
	wire_out_init(&out);
	wire_begin(&out, WIRE_STATUS);
	wire_put_status(&out, &status);
	code = frame_send(c->chan, &out, &seq, NULL, 0, err);
	wire_out_fini(&out);
	pthread_mutex_lock(&d->lock);
	d->asked = d->asked || code == 0;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	return code;
}

static int first_frame(struct dest *d, struct caller *c, struct error *err)
{
	int code;

	code = frame_recv_header(c->chan, &c->h, &c->in, err);
	if (code < 0)
		return code;
	if (c->h.type != WIRE_HELLO && c->h.type != WIRE_ATTACH &&
		c->h.type != WIRE_QUERY)
		return error_set(err, -EPROTO,
			"%s may not be the first frame of a connection",
			wire_type_name(c->h.type));
	code = frame_recv_meta(c->chan, &c->h, &c->in, &c->seq, err);
	if (code < 0)
		return code;
	switch (c->h.type) {
	case WIRE_HELLO:
		return on_hello(d, c, err);
	case WIRE_ATTACH:
		return on_attach(d, c, err);
	default:
		return on_query(d, c, err);
	}
}

static void *peer_main(void *arg)
{
	struct dest_peer *peer = arg;
	struct dest *d = peer->dest;
	struct caller c = {.peer = peer, .chan = peer->chan};
	struct error err = {0};
	struct chan *rest;
	int code;

	code = first_frame(d, &c, &err);
	if (code < 0) {
		/* Who speaks our language is told why. */
		if (code == -EPROTO || code == -EBUSY)
			refuse(&c, &err);
		if (code != -ECANCELED) /* by us, at the end */
			log_limited(&d->warned, LOG_WARN,
				"migration: %s; closed", err.text);
	}
	frame_in_fini(&c.in);
	pthread_mutex_lock(&d->lock);
	rest = peer->chan;
	peer->chan = NULL;
	d->peers--;
	atomic_store(&peer->over, true);
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	chan_close(rest);
	return NULL;
}

/* ---- the door ---- */

static void end_peer(struct dest *d, struct dest_peer *peer)
{
	if (peer->serial == 0)
		return;
	pthread_mutex_lock(&d->lock);
	peer->cut = true;
	if (peer->chan)
		chan_shutdown(peer->chan);
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	pthread_join(peer->thread, NULL);
	peer->serial = 0;
}

/* A free slot; else one that is done; else the oldest's. */
static struct dest_peer *slot(struct dest *d)
{
	struct dest_peer *best = &d->peer[0];

	for (unsigned i = 0; i < DEST_PEERS; i++) {
		struct dest_peer *p = &d->peer[i];

		if (p->serial == 0)
			return p;
		if (atomic_load(&p->over)) {
			best = p;
			break;
		}
		if (p->serial < best->serial)
			best = p;
	}
	end_peer(d, best);
	return best;
}

/* One-shot connections were made long before; they may take their time. */
static bool is_patient(const struct dest *d)
{
	const char *addr = chan_listener_address(d->listener);

	return strncmp(addr, "fd:", 3) == 0 || strncmp(addr, "exec:", 5) == 0;
}

static void admit(struct dest *d, struct chan *chan)
{
	struct dest_peer *peer = slot(d);

	if (!is_patient(d))
		chan_set_deadline(chan, DEST_PEER_MS);
	pthread_mutex_lock(&d->lock);
	d->peers++;
	pthread_mutex_unlock(&d->lock);
	peer->dest = d;
	peer->chan = chan;
	peer->cut = false;
	atomic_store(&peer->over, false);
	if (dest_thread(&peer->thread, "migrate-peer", peer_main, peer) == 0) {
		peer->serial = ++d->peer_serial;
		return;
	}
	log_limited(&d->warned, LOG_WARN,
		"migration: %s: no thread for it; closed", chan_name(chan));
	peer->chan = NULL;
	chan_close(chan);
	pthread_mutex_lock(&d->lock);
	d->peers--;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
}

/* Out of something for now: wait a little, unless it is over. */
static bool door_pause(struct dest *d)
{
	struct timespec ts;
	bool closing;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec++;
	pthread_mutex_lock(&d->lock);
	if (!d->closing)
		pthread_cond_timedwait(&d->cond, &d->lock, &ts);
	closing = d->closing;
	pthread_mutex_unlock(&d->lock);
	return !closing;
}

static bool is_passing(int code)
{
	return code == -EMFILE || code == -ENFILE || code == -ENOBUFS ||
	       code == -ENOMEM || code == -ECONNABORTED || code == -EPERM ||
	       code == -ETIMEDOUT || code == -EINTR;
}

static void *door_main(void *arg)
{
	struct dest *d = arg;
	struct error err = {0};
	struct chan *chan;
	int code;

	for (;;) {
		code = chan_accept(d->listener, -1, &chan, &err);
		if (code == 0) {
			admit(d, chan);
			continue;
		}
		if (!is_passing(code))
			break;
		log_limited(&d->warned, LOG_WARN, "migration: %s", err.text);
		if (!door_pause(d))
			break;
	}
	pthread_mutex_lock(&d->lock);
	d->door_over = true;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

int dest_door_start(struct dest *d, struct error *err)
{
	int code = dest_thread(&d->door_thread, "migrate-door", door_main, d);

	if (code < 0)
		return error_errno(err, code, "start thread migrate-door");
	d->door_started = true;
	return 0;
}

void dest_door_stop(struct dest *d)
{
	pthread_mutex_lock(&d->lock);
	d->closing = true;
	pthread_cond_broadcast(&d->cond);
	pthread_mutex_unlock(&d->lock);
	if (!d->door_started)
		return;
	chan_listener_shutdown(d->listener);
	pthread_join(d->door_thread, NULL);
	d->door_started = false;
	for (unsigned i = 0; i < DEST_PEERS; i++)
		end_peer(d, &d->peer[i]);
}
