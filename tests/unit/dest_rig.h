/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/dest_rig.h - a destination, its guest and a scripted source, which
 * may say anything at any time, for the tests of migrate/dest.
 */
#ifndef GODWIT_TESTS_UNIT_DEST_RIG_H
#define GODWIT_TESTS_UNIT_DEST_RIG_H

#include "tests/lib/testing.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"
#include "migrate/frame.h"
#include "migrate/pager.h"
#include "migrate/state.h"
#include "tests/lib/fake_guest.h"
#include "vmm/error.h"

#define PAGES 256u
#define HALF  (PAGES / 2)
#define BOTH  (WIRE_FEATURE_POSTCOPY | WIRE_FEATURE_URGENT)

/* One connection of the scripted source. */
struct end {
	struct chan *chan;
	struct frame_in in;
	struct wire_out out;
	uint32_t in_seq, out_seq;
	struct wire_header h; /* last read */
};

struct rig {
	char path[64], addr[96];
	struct chan_listener *listener;
	struct dest *dest;
	struct dest_options opt;
	struct fake_world world;
	struct fake_guest from, to; /* from: what the script sends */
	struct state_writer state;
	struct end main, urgent;
	uint8_t session[WIRE_SESSION_BYTES];
	uint64_t features;

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t cond;
	bool done, loading, go_on;
	enum dest_result result;
	struct error error;
};

/* ---- the script's side ---- */

static inline void end_init(struct rig *r, struct end *e)
{
	struct error err = {0};

	memset(e, 0, sizeof(*e));
	wire_out_init(&e->out);
	if (chan_connect(r->addr, 0, 5000, &e->chan, &err) < 0)
		fail_msg("%s", err.text);
	chan_set_deadline(e->chan, 20000);
}

static inline void end_fini(struct end *e)
{
	chan_close(e->chan);
	frame_in_fini(&e->in);
	wire_out_fini(&e->out);
	memset(e, 0, sizeof(*e));
}

static inline int put(struct end *e, const struct iovec *iov, int iovs)
{
	return frame_send(e->chan, &e->out, &e->out_seq, iov, iovs, NULL);
}

static inline int put_empty(struct end *e, enum wire_type type)
{
	wire_begin(&e->out, type);
	return put(e, NULL, 0);
}

static inline int get(struct end *e)
{
	struct error err;

	return frame_recv(e->chan, &e->h, &e->in, &e->in_seq, &err);
}

static inline void expect(struct end *e, enum wire_type type)
{
	struct wire_error why;

	assert_int_equal(get(e), 0);
	if (e->h.type == WIRE_ERROR && type != WIRE_ERROR &&
		wire_get_error(e->in.meta, e->h.meta_len, &why, NULL) == 0)
		fail_msg("ERROR instead of %s: %s", wire_type_name(type),
			why.text);
	assert_string_equal(wire_type_name(e->h.type), wire_type_name(type));
}

/* The text of the ERROR that comes next, other frames left aside. */
static inline void expect_error(struct end *e, const char *part)
{
	struct wire_error why;

	do
		assert_int_equal(get(e), 0);
	while (e->h.type != WIRE_ERROR);
	assert_int_equal(
		wire_get_error(e->in.meta, e->h.meta_len, &why, NULL), 0);
	if (!strstr(why.text, part))
		fail_msg("\"%s\" has no \"%s\"", why.text, part);
}

static inline int put_hello(struct rig *r, struct end *e)
{
	struct wire_hello m = {
		.version_min = WIRE_VERSION,
		.version_max = WIRE_VERSION,
		.features = r->features,
		.page_bytes = WIRE_PAGE_BYTES,
		.ram_bytes = PAGES * (uint64_t)WIRE_PAGE_BYTES,
	};

	memcpy(m.session, r->session, sizeof(m.session));
	wire_begin(&e->out, WIRE_HELLO);
	wire_put_hello(&e->out, &m);
	return put(e, NULL, 0);
}

static inline int put_machine(struct end *e)
{
	wire_begin(&e->out, WIRE_MACHINE);
	wire_put_text(&e->out, "{\"machine\":\"fake\"}");
	return put(e, NULL, 0);
}

/* Pages [first, first + count) as they are at the source; zero ones as such. */
static inline int put_pages(
	struct rig *r, struct end *e, uint64_t first, uint32_t count)
{
	uint64_t entry[WIRE_PAGES_MAX];
	struct iovec iov[WIRE_PAGES_MAX];
	int iovs = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t page = first + i;
		bool zero = r->from.count[page] == 0;

		entry[i] = wire_page_entry(
			page, zero ? WIRE_PAGE_ZERO : WIRE_PAGE_FULL);
		if (zero)
			continue;
		iov[iovs].iov_base = r->from.gm.base + page * WIRE_PAGE_BYTES;
		iov[iovs++].iov_len = WIRE_PAGE_BYTES;
	}
	wire_pages(&e->out, entry, count, 0);
	return put(e, iov, iovs);
}

static inline int put_discard(struct end *e, uint64_t first, uint64_t count)
{
	struct wire_range range = {.page = first, .count = count};

	wire_discard(&e->out, &range, 1, 0);
	return put(e, NULL, 0);
}

static inline int put_round(struct end *e)
{
	struct wire_round m = {.round = 1, .dirty = 2, .stream_ns = 3};

	wire_begin(&e->out, WIRE_ROUND);
	wire_put_round(&e->out, &m);
	return put(e, NULL, 0);
}

static inline int put_sync(struct end *e)
{
	wire_begin(&e->out, WIRE_SYNC);
	wire_put_sync(&e->out, 7);
	return put(e, NULL, 0);
}

static inline int put_package(struct rig *r, struct end *e, bool listen)
{
	struct wire_run run = {.paused = false, .stop_ns = 1};

	wire_package(&e->out, listen, r->state.buf, r->state.len, &run, 0);
	return put(e, NULL, 0);
}

static inline int put_error(struct end *e)
{
	struct wire_error m = {.code = -EIO, .text = "the script's reason"};

	wire_begin(&e->out, WIRE_ERROR);
	wire_put_error(&e->out, &m);
	return put(e, NULL, 0);
}

static inline int put_attach(
	struct end *e, const uint8_t *session, uint32_t role)
{
	struct wire_attach m = {.role = role, .index = 0};

	memcpy(m.session, session, sizeof(m.session));
	wire_begin(&e->out, WIRE_ATTACH);
	wire_put_attach(&e->out, &m);
	return put(e, NULL, 0);
}

static inline void attach(struct rig *r)
{
	end_init(r, &r->urgent);
	assert_int_equal(
		put_attach(&r->urgent, r->session, WIRE_ROLE_URGENT), 0);
}

/* Nothing tells the source that it got through, so look inside. */
static inline void wait_attached(struct rig *r)
{
	pthread_mutex_lock(&r->dest->lock);
	while (!r->dest->urgent_taken)
		pthread_cond_wait(&r->dest->cond, &r->dest->lock);
	pthread_mutex_unlock(&r->dest->lock);
}

/* Who owns the guest?  -1: no answer. */
static inline int query(struct rig *r, const uint8_t *session)
{
	struct wire_status status;
	struct end e;
	int owner = -1;

	end_init(r, &e);
	wire_begin(&e.out, WIRE_QUERY);
	wire_put_query(&e.out, session);
	if (put(&e, NULL, 0) == 0 && get(&e) == 0 && e.h.type == WIRE_STATUS) {
		assert_int_equal(
			wire_get_status(e.in.meta, e.h.meta_len, &status, NULL),
			0);
		assert_memory_equal(status.session, session, 16);
		owner = (int)status.owner;
	}
	end_fini(&e);
	return owner;
}

/* ---- the rig ---- */

static inline void on_done(
	void *opaque, enum dest_result result, const struct error *err)
{
	struct rig *r = opaque;

	pthread_mutex_lock(&r->lock);
	assert_false(r->done);
	r->done = true;
	r->result = result;
	if (err)
		r->error = *err;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

/* Loading waits for rig_go_on(). */
static inline void hold_load(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct rig *r = opaque;

	if (op != FAKE_LOAD)
		return;
	pthread_mutex_lock(&r->lock);
	r->loading = true;
	pthread_cond_broadcast(&r->cond);
	while (!r->go_on)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static inline void rig_go_on(struct rig *r)
{
	pthread_mutex_lock(&r->lock);
	r->go_on = true;
	pthread_cond_broadcast(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static inline void wait_loading(struct rig *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->loading)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

static inline enum dest_result wait_done(struct rig *r)
{
	pthread_mutex_lock(&r->lock);
	while (!r->done)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
	return r->result;
}

static inline void assert_error(struct rig *r, const char *part)
{
	if (!strstr(r->error.text, part))
		fail_msg("\"%s\" has no \"%s\"", r->error.text, part);
}

static inline void rig_init(struct rig *r)
{
	const struct migrate_guest_ops *ops;
	struct migrate_guest g;
	struct error err = {0};
	bool paused;

	alarm(TESTING_WATCHDOG_S); /* nothing here may hang */
	memset(r, 0, sizeof(*r));
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->cond, NULL);
	strcpy(r->path, "/tmp/godwit-dest-XXXXXX");
	assert_non_null(mkdtemp(r->path));
	snprintf(r->addr, sizeof(r->addr), "unix:%s/s", r->path);
	if (chan_listen(r->addr, &r->listener, &err) < 0)
		fail_msg("%s", err.text);
	r->opt = (struct dest_options){.timeout_ms = 20000, .postcopy = true};
	r->features = BOTH;
	memset(r->session, 0x5a, sizeof(r->session));
	fake_guest_init(&r->from, &r->world, PAGES);
	fake_guest_init(&r->to, &r->world, PAGES);
	/* Every third page stays zero. */
	for (uint64_t i = 0; i < PAGES; i++)
		if (i % 3 != 0)
			fake_guest_write(&r->from, i, 1 + i % 2 * 0);
	fake_guest_start(&r->from, false);
	g = fake_guest_migrate(&r->from);
	ops = g.ops;
	state_writer_init(&r->state);
	assert_int_equal(ops->stop(g.opaque, &r->state, &paused, &err), 0);
}

static inline void rig_fini(struct rig *r)
{
	rig_go_on(r);
	end_fini(&r->main);
	end_fini(&r->urgent);
	if (r->dest && !dest_ended(r->dest)) {
		query(r, r->session); /* it may be waiting for that */
		wait_done(r);
	}
	dest_join(r->dest);
	chan_listener_close(r->listener);
	/* Never two owners, never an order out of turn, never a wrong page. */
	assert_int_equal(r->world.two_owners, 0);
	assert_int_equal(r->to.bad_calls, 0);
	assert_int_equal(r->to.wrong, 0);
	fake_guest_fini(&r->to);
	fake_guest_fini(&r->from);
	state_writer_fini(&r->state);
	rmdir(r->path);
	alarm(0);
}

/* HELLO to MACHINE; the machine is not built yet. */
static inline void greet(struct rig *r)
{
	struct error err = {0};

	end_init(r, &r->main);
	assert_int_equal(put_hello(r, &r->main), 0);
	assert_int_equal(put_machine(&r->main), 0);
	if (dest_accept(r->listener, &r->opt, 20000, &r->dest, &err) < 0)
		fail_msg("%s", err.text);
	expect(&r->main, WIRE_WELCOME);
}

/* To state RAM. */
static inline void accept_it(struct rig *r)
{
	struct migrate_guest g = fake_guest_migrate(&r->to);
	struct error err = {0};

	greet(r);
	if (dest_start(r->dest, &g, on_done, r, &err) < 0)
		fail_msg("%s", err.text);
	expect(&r->main, WIRE_ACCEPT);
}

static inline void advise(struct rig *r)
{
	accept_it(r);
	assert_int_equal(put_empty(&r->main, WIRE_ADVISE), 0);
	expect(&r->main, WIRE_ADVISED);
}

/* To LOADED in plain precopy. */
static inline void load_all(struct rig *r)
{
	accept_it(r);
	assert_int_equal(put_pages(r, &r->main, 0, PAGES), 0);
	assert_int_equal(put_round(&r->main), 0);
	assert_int_equal(put_package(r, &r->main, false), 0);
	expect(&r->main, WIRE_LOADED);
}

/* To LISTEN, with the upper half of the pages missing. */
static inline void listen_half(struct rig *r)
{
	advise(r);
	assert_int_equal(put_pages(r, &r->main, 0, PAGES), 0);
	assert_int_equal(put_discard(&r->main, HALF, HALF), 0);
	assert_int_equal(put_package(r, &r->main, true), 0);
}

static inline void run_half(struct rig *r)
{
	listen_half(r);
	expect(&r->main, WIRE_LOADED);
	assert_int_equal(put_empty(&r->main, WIRE_COMMIT), 0);
	expect(&r->main, WIRE_RUNNING);
}

static inline void complete(struct rig *r)
{
	char *text;

	assert_int_equal(put_empty(&r->main, WIRE_COMPLETE), 0);
	expect(&r->main, WIRE_DONE);
	assert_int_equal(
		wire_get_text(r->main.in.meta, r->main.h.meta_len, &text, NULL),
		0);
	assert_int_equal(text[0], '{');
	free(text);
	assert_int_equal(wait_done(r), DEST_RUNS_HERE);
	assert_true(fake_guest_is_running(&r->to));
	assert_int_equal(fake_guest_check(&r->to), 0);
}

static inline bool resident(struct rig *r, uint64_t page)
{
	unsigned char vec = 0;

	assert_int_equal(mincore(r->to.gm.base + page * WIRE_PAGE_BYTES,
				 WIRE_PAGE_BYTES, &vec),
		0);
	return vec & 1;
}

static inline bool no_pager(void)
{
	struct error err;

	if (pager_probe(NULL, &err) == 0)
		return false;
	print_message("%s\n", err.text);
	return true;
}

#define NEED_PAGER                                                             \
	do {                                                                   \
		if (no_pager())                                                \
			skip();                                                \
	} while (0)

static inline void *touch_last(void *arg)
{
	struct rig *r = arg;

	assert_true(fake_guest_page_right(&r->to, PAGES - 1));
	return NULL;
}

#endif
