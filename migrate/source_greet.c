/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_greet.c - from an address to a machine that is built over
 * there: connections, HELLO, MACHINE, ADVISE.
 *
 * Thread: migrate; and "migrate-dial", which only connects.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "migrate/chan.h"
#include "migrate/source_priv.h"
#include "vmm/guestmem.h"

int source_conn_init(struct source_conn *c)
{
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->turn, NULL);
	wire_out_init(&c->out);
	c->entry = calloc(WIRE_PAGES_MAX, sizeof(*c->entry));
	c->iov = calloc(WIRE_PAGES_MAX, sizeof(*c->iov));
	return c->entry && c->iov ? 0 : -ENOMEM;
}

void source_conn_fini(struct source_conn *c)
{
	chan_close(c->chan);
	frame_in_fini(&c->in);
	wire_out_fini(&c->out);
	free(c->entry);
	free(c->iov);
	pthread_cond_destroy(&c->turn);
	pthread_mutex_destroy(&c->lock);
}

/* ---- connecting ---- */

/* A connect can be in the hands of a name server: it runs on a thread of its
 * own, and who gives up waiting leaves it behind. */
struct dial {
	struct source *source; /* borrowed; gone once left */
	char *address;	       /* owned */
	unsigned index;
	int timeout_ms;
	_Atomic bool over;
	pthread_mutex_t lock;
	bool left;	   /* lock: nobody waits */
	int code;	   /* once over */
	struct chan *chan; /* owned until taken; once over */
	struct error err;
};

static void dial_free(struct dial *d)
{
	chan_close(d->chan);
	pthread_mutex_destroy(&d->lock);
	free(d->address);
	free(d);
}

static void *dial_main(void *arg)
{
	struct dial *d = arg;
	struct source *s = d->source;
	bool left;

	d->code = chan_connect(
		d->address, d->index, d->timeout_ms, &d->chan, &d->err);
	if (d->code < 0)
		d->chan = NULL;
	pthread_mutex_lock(&d->lock);
	left = d->left;
	if (!left) {
		pthread_mutex_lock(&s->lock);
		d->over = true;
		pthread_cond_broadcast(&s->cond);
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_unlock(&d->lock);
	if (left)
		dial_free(d);
	return NULL;
}

static struct dial *dial_start(
	struct source *s, unsigned index, int timeout_ms, struct error *err)
{
	struct dial *d = calloc(1, sizeof(*d));
	pthread_t thread;
	int code;

	if (!d) {
		error_set(err, -ENOMEM, "migrate: out of memory");
		return NULL;
	}
	d->source = s;
	d->address = strdup(s->opt.address);
	d->index = index;
	d->timeout_ms = timeout_ms;
	pthread_mutex_init(&d->lock, NULL);
	code = d->address ? source_thread(&thread, "migrate-dial", dial_main, d)
			  : -ENOMEM;
	if (code < 0) {
		error_errno(
			err, code, "migrate: connect to %s", s->opt.address);
		dial_free(d);
		return NULL;
	}
	pthread_detach(thread);
	return d;
}

int source_dial(struct source *s, unsigned index, int timeout_ms,
	struct chan **ret_chan, struct error *err)
{
	struct dial *d = dial_start(s, index, timeout_ms, err);
	int code;

	if (!d)
		return err->code;
	pthread_mutex_lock(&s->lock);
	while (!d->over && !(s->cancel && !s->committed))
		pthread_cond_wait(&s->cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_lock(&d->lock);
	if (!d->over) {
		d->left = true;
		pthread_mutex_unlock(&d->lock);
		return error_set(err, -ECANCELED, "cancelled");
	}
	pthread_mutex_unlock(&d->lock);
	code = d->code;
	if (code < 0) {
		*err = d->err;
	} else {
		*ret_chan = d->chan;
		d->chan = NULL;
	}
	dial_free(d);
	return code;
}

/* ---- handshake ---- */

static int open_main(struct source *s, struct error *err)
{
	struct chan *chan = NULL;
	int code = source_dial(s, 0, s->opt.timeout_ms, &chan, err);

	if (code < 0)
		return code;
	pthread_mutex_lock(&s->lock);
	s->main.chan = chan;
	pthread_mutex_unlock(&s->lock);
	if (!chan_is_two_way(chan))
		return error_set(err, -EINVAL,
			"%s: a migration needs an answer, this is one way "
			"(`godwit snapshot` writes files)",
			chan_name(chan));
	chan_set_deadline(chan, s->opt.timeout_ms);
	chan_set_buffer(chan, SOURCE_BULK_BUFFER);
	code = source_thread(
		&s->return_thread, "migrate-return", source_return_main, s);
	if (code < 0)
		return error_errno(err, code, "migrate: return thread");
	s->return_started = true;
	return 0;
}

static int hello(struct source *s, struct error *err)
{
	struct wire_hello m = {
		.version_min = WIRE_VERSION,
		.version_max = WIRE_VERSION,
		.page_bytes = WIRE_PAGE_BYTES,
		.ram_bytes = s->guest.gm->size,
	};
	int code;

	if (s->opt.postcopy != SOURCE_POSTCOPY_NEVER)
		m.features = WIRE_FEATURE_POSTCOPY | WIRE_FEATURE_URGENT;
	memcpy(m.session, s->session, sizeof(m.session));
	source_expect(s, SOURCE_GOT_WELCOME);
	wire_put_hello(source_begin(&s->main, WIRE_HELLO), &m);
	code = source_send(s, &s->main, err);
	if (code == 0)
		code = source_wait(
			s, SOURCE_GOT_WELCOME, s->opt.timeout_ms, false, err);
	if (code < 0)
		return code;
	if (s->welcome.version != WIRE_VERSION)
		return error_set(err, -EPROTO,
			"%s: the destination wants protocol version %u, this "
			"godwit speaks %u (use a godwit of the same release "
			"series there)",
			chan_name(s->main.chan), s->welcome.version,
			WIRE_VERSION);
	if (s->welcome.features & ~m.features)
		return error_set(err, -EPROTO,
			"%s: the destination chose features %#" PRIx64
			", offered were %#" PRIx64,
			chan_name(s->main.chan), s->welcome.features,
			m.features);
	if (m.features && !(s->welcome.features & WIRE_FEATURE_POSTCOPY))
		return error_set(err, -EOPNOTSUPP,
			"%s: the destination does not take part in postcopy "
			"(migrate with --postcopy never)",
			chan_name(s->main.chan));
	return 0;
}

static int open_urgent(struct source *s, struct error *err)
{
	struct wire_attach m = {.role = WIRE_ROLE_URGENT};
	struct chan *chan = NULL;
	int code;

	if (!(s->welcome.features & WIRE_FEATURE_URGENT))
		return 0;
	code = source_dial(s, 1, s->opt.timeout_ms, &chan, err);
	if (code == -ENOTSUP)
		return 0; /* requests come on the first one */
	if (code < 0)
		return code;
	pthread_mutex_lock(&s->lock);
	s->urgent.chan = chan;
	pthread_mutex_unlock(&s->lock);
	chan_set_deadline(chan, s->opt.timeout_ms);
	code = chan_read_ahead(chan, SOURCE_AHEAD);
	if (code < 0)
		return error_errno(err, code, "migrate: urgent connection");
	memcpy(m.session, s->session, sizeof(m.session));
	wire_put_attach(source_begin(&s->urgent, WIRE_ATTACH), &m);
	code = source_send(s, &s->urgent, err);
	if (code < 0)
		return code;
	code = source_thread(
		&s->urgent_thread, "migrate-urgent", source_urgent_main, s);
	if (code < 0)
		return error_errno(err, code, "migrate: urgent thread");
	s->urgent_started = true;
	return 0;
}

static int machine(struct source *s, struct error *err)
{
	int wait = s->opt.timeout_ms > SOURCE_BUILD_MS ? s->opt.timeout_ms
						       : SOURCE_BUILD_MS;
	int code;

	source_expect(s, SOURCE_GOT_ACCEPT);
	wire_put_text(source_begin(&s->main, WIRE_MACHINE), s->description);
	code = source_send(s, &s->main, err);
	if (code == 0)
		code = source_wait(s, SOURCE_GOT_ACCEPT, wait, false, err);
	return code;
}

static int advise(struct source *s, struct error *err)
{
	int code;

	if (s->opt.postcopy == SOURCE_POSTCOPY_NEVER)
		return 0;
	source_expect(s, SOURCE_GOT_ADVISED);
	code = source_send_empty(s, WIRE_ADVISE, err);
	if (code == 0)
		code = source_wait(
			s, SOURCE_GOT_ADVISED, s->opt.timeout_ms, false, err);
	s->advised = code == 0;
	return code;
}

/* The way there and back, with nothing under way. */
static int measure_rtt(struct source *s, struct error *err)
{
	uint64_t begin = source_now_ns();
	int code = source_drain(s, false, err);

	s->rtt_ns = source_now_ns() - begin;
	return code;
}

int source_greet(struct source *s, struct error *err)
{
	int code;

	if (getrandom(s->session, sizeof(s->session), 0) !=
		(ssize_t)sizeof(s->session))
		return error_errno(err, -EIO, "migrate: getrandom");
	code = open_main(s, err);
	if (code == 0)
		code = hello(s, err);
	if (code == 0)
		code = open_urgent(s, err);
	if (code == 0)
		code = machine(s, err);
	if (code == 0)
		code = advise(s, err);
	if (code == 0)
		code = measure_rtt(s, err);
	return code;
}
