/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/migrate_peer.c - see migrate_peer.h. */
#include "tests/lib/migrate_peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "tests/lib/testing.h"
#include "vmm/error.h"

#define WAIT_MS 60000 /* a peer that hangs ends some day */

bool peer_has(const uint64_t *map, uint64_t page)
{
	return map[page / 64] >> (page % 64) & 1;
}

static void bit_set(uint64_t *map, uint64_t page)
{
	map[page / 64] |= UINT64_C(1) << (page % 64);
}

static void bit_clear(uint64_t *map, uint64_t page)
{
	map[page / 64] &= ~(UINT64_C(1) << (page % 64));
}

static void conn_init(struct peer_conn *c)
{
	memset(c, 0, sizeof(*c));
	wire_out_init(&c->out);
}

void peer_drop(struct peer_conn *c)
{
	chan_close(c->chan);
	c->chan = NULL;
}

static void conn_fini(struct peer_conn *c)
{
	peer_drop(c);
	frame_in_fini(&c->in);
	wire_out_fini(&c->out);
}

void peer_init(struct peer *p, struct fake_guest *guest, const char *address)
{
	struct error err;

	memset(p, 0, sizeof(*p));
	p->version = WIRE_VERSION;
	p->features = WIRE_FEATURE_POSTCOPY | WIRE_FEATURE_URGENT;
	p->owner = -1;
	p->guest = guest;
	p->pages = guest->pages;
	p->words = migrate_bitmap_words(p->pages);
	p->have = calloc(p->words, sizeof(*p->have));
	p->discarded = calloc(p->words, sizeof(*p->discarded));
	p->missing = calloc(p->words, sizeof(*p->missing));
	p->came = calloc(p->pages, sizeof(*p->came));
	p->sent_early = calloc(p->pages, sizeof(*p->sent_early));
	assert_true(p->have && p->discarded && p->missing && p->came &&
		    p->sent_early);
	conn_init(&p->main);
	conn_init(&p->urgent);
	if (address) {
		snprintf(p->address, sizeof(p->address), "%s", address);
	} else {
		char dir[] = "/tmp/godwit-peer-XXXXXX";

		assert_non_null(mkdtemp(dir));
		snprintf(p->address, sizeof(p->address), "unix:%s/s", dir);
	}
	if (chan_listen(p->address, &p->listener, &err) < 0)
		fail_msg("%s", err.text);
}

void peer_fini(struct peer *p)
{
	char *slash = strrchr(p->address, '/');

	conn_fini(&p->main);
	conn_fini(&p->urgent);
	chan_listener_close(p->listener);
	if (strncmp(p->address, "unix:", 5) == 0 && slash) {
		*slash = '\0';
		rmdir(p->address + 5);
	}
	free(p->have);
	free(p->discarded);
	free(p->missing);
	free(p->came);
	free(p->sent_early);
}

/* ---- out: trouble ends the peer, as it would end a destination ---- */

static void sent(struct peer *p, int code)
{
	if (code < 0)
		p->end = true;
}

void peer_send_empty(struct peer *p, enum wire_type type)
{
	sent(p, frame_send_empty(p->main.chan, &p->main.out, type,
			&p->main.out_seq, NULL));
}

static void send_out(struct peer *p, struct peer_conn *c)
{
	sent(p, frame_send(c->chan, &c->out, &c->out_seq, NULL, 0, NULL));
}

void peer_request(struct peer *p, bool urgent, uint64_t page, uint32_t count)
{
	struct wire_request m = {.page = page, .count = count};
	struct peer_conn *c = urgent ? &p->urgent : &p->main;

	wire_begin(&c->out, WIRE_REQUEST);
	wire_put_request(&c->out, &m);
	send_out(p, c);
}

void peer_error(struct peer *p, int code, const char *text)
{
	struct wire_error m = {.code = code};

	snprintf(m.text, sizeof(m.text), "%s", text);
	wire_begin(&p->main.out, WIRE_ERROR);
	wire_put_error(&p->main.out, &m);
	send_out(p, &p->main);
}

/* ---- in ---- */

static void on_hello(struct peer *p, const struct wire_header *h)
{
	struct wire_hello m;
	struct wire_welcome w = {.version = p->version};
	struct error err;

	if (wire_get_hello(p->main.in.meta, h->meta_len, &m, &err) < 0)
		fail_msg("%s", err.text);
	memcpy(p->session, m.session, sizeof(m.session));
	w.features = (m.features & p->features) | p->extra_features;
	wire_begin(&p->main.out, WIRE_WELCOME);
	wire_put_welcome(&p->main.out, &w);
	send_out(p, &p->main);
	if (p->deaf) {
		chan_listener_close(p->listener);
		p->listener = NULL;
	}
	if (w.features & WIRE_FEATURE_URGENT && !p->no_urgent && !p->end &&
		chan_accept(p->listener, WAIT_MS, &p->urgent.chan, NULL) < 0)
		p->end = true;
}

static void read_data(struct peer *p, struct peer_conn *c, uint32_t count)
{
	uint8_t *base = p->guest->gm.base, junk[GUESTMEM_PAGE];
	bool drop = c == &p->urgent && p->forget_urgent;
	uint32_t i;

	for (i = 0; i < count && !p->end; i++) {
		struct wire_page w = wire_page_at(c->in.meta, i);
		uint8_t *to = base + w.page * GUESTMEM_PAGE;

		if (w.kind == WIRE_PAGE_ZERO && !drop)
			memset(to, 0, GUESTMEM_PAGE);
		else if (w.kind == WIRE_PAGE_FULL)
			sent(p, chan_read(c->chan, drop ? junk : to,
					GUESTMEM_PAGE));
		if (drop)
			continue;
		if (p->packaged)
			p->came[w.page]++;
		else
			p->sent_early[w.page]++;
		bit_set(p->have, w.page);
	}
}

static void on_pages(
	struct peer *p, struct peer_conn *c, const struct wire_header *h)
{
	struct error err;
	uint32_t count;

	if (wire_get_pages(h, c->in.meta, p->pages, &count, &err) < 0)
		fail_msg("%s", err.text);
	read_data(p, c, count);
}

static void on_discard(struct peer *p, const struct wire_header *h)
{
	struct error err;
	uint32_t count, i;
	uint64_t page;

	if (wire_get_discard(
		    p->main.in.meta, h->meta_len, p->pages, &count, &err) < 0)
		fail_msg("%s", err.text);
	for (i = 0; i < count; i++) {
		struct wire_range r = wire_range_at(p->main.in.meta, i);

		for (page = r.page; page < r.page + r.count; page++) {
			p->discarded_twice += peer_has(p->discarded, page);
			bit_set(p->discarded, page);
			bit_clear(p->have, page);
			memset(p->guest->gm.base + page * GUESTMEM_PAGE, 0xdd,
				GUESTMEM_PAGE);
		}
	}
}

static void on_package(struct peer *p, const struct wire_header *h)
{
	struct wire_package m;
	struct migrate_guest g = fake_guest_migrate(p->guest);
	struct error err;
	uint64_t page;

	if (wire_get_package(p->main.in.meta, h->meta_len, &m, &err) < 0)
		fail_msg("%s", err.text);
	p->packaged = true;
	p->listen = m.listen;
	for (page = 0; page < p->pages; page++)
		if (!peer_has(p->have, page))
			bit_set(p->missing, page);
	p->guest->paused = m.run.paused;
	if (g.ops->load(g.opaque, m.state, m.state_len, &err) < 0) {
		peer_error(p, err.code, err.text);
		p->end = true;
		return;
	}
	p->loaded = true;
	peer_send_empty(p, WIRE_LOADED);
}

static void on_commit(struct peer *p)
{
	struct migrate_guest g = fake_guest_migrate(p->guest);
	struct error err;

	p->committed = true;
	if (g.ops->run(g.opaque, p->guest->paused, &err) < 0)
		fail_msg("%s", err.text);
	peer_send_empty(p, WIRE_RUNNING);
}

static void on_complete(struct peer *p)
{
	p->complete = true;
	wire_begin(&p->main.out, WIRE_DONE);
	wire_put_text(&p->main.out, "{\"peer\": 1}");
	send_out(p, &p->main);
}

static void on_sync(struct peer *p, const struct wire_header *h)
{
	struct error err;
	uint32_t id;

	if (wire_get_sync(p->main.in.meta, h->meta_len, &id, &err) < 0)
		fail_msg("%s", err.text);
	wire_begin(&p->main.out, WIRE_SYNCED);
	wire_put_sync(&p->main.out, id);
	send_out(p, &p->main);
}

static void obey(
	struct peer *p, struct peer_conn *c, const struct wire_header *h)
{
	switch (h->type) {
	case WIRE_HELLO:
		on_hello(p, h);
		break;
	case WIRE_MACHINE:
		peer_send_empty(p, WIRE_ACCEPT);
		break;
	case WIRE_ADVISE:
		peer_send_empty(p, WIRE_ADVISED);
		break;
	case WIRE_PAGES:
		on_pages(p, c, h);
		break;
	case WIRE_DISCARD:
		on_discard(p, h);
		break;
	case WIRE_PACKAGE:
		on_package(p, h);
		break;
	case WIRE_COMMIT:
		on_commit(p);
		break;
	case WIRE_COMPLETE:
		on_complete(p);
		break;
	case WIRE_SYNC:
		on_sync(p, h);
		break;
	case WIRE_CANCEL:
	case WIRE_ERROR:
		p->end = true;
		break;
	default:
		break; /* ROUND, ATTACH: nothing to do */
	}
}

static void hang_up(struct peer *p)
{
	peer_drop(&p->main);
	peer_drop(&p->urgent);
	p->end = true;
}

void peer_read(struct peer *p, bool urgent)
{
	struct peer_conn *c = urgent ? &p->urgent : &p->main;
	enum peer_deed deed = PEER_OBEY;
	struct frame_in mine;
	struct wire_header h;

	if (frame_recv(c->chan, &h, &c->in, &c->in_seq, NULL) < 0) {
		if (urgent)
			peer_drop(c);
		else
			p->end = true;
		return;
	}
	p->frames[h.type]++;
	if (p->hook) {
		/* A hook may read more frames. */
		mine = c->in;
		c->in = (struct frame_in){.meta = NULL};
		deed = p->hook(p->opaque, p, h.type, urgent);
		frame_in_fini(&c->in);
		c->in = mine;
	}
	if (deed == PEER_HANG_UP)
		hang_up(p);
	else if (deed == PEER_OBEY && !p->end)
		obey(p, c, &h);
	else if (h.data_len > 0)
		hang_up(p); /* a test ignores frames without data only */
}

void peer_answer_query(struct peer *p)
{
	struct wire_status m = {.owner = (enum wire_owner)p->owner};
	struct peer_conn c;
	struct wire_header h;

	conn_init(&c);
	if (chan_accept(p->listener, WAIT_MS, &c.chan, NULL) == 0 &&
		frame_recv(c.chan, &h, &c.in, &c.in_seq, NULL) == 0) {
		p->frames[h.type]++;
		memcpy(m.session, c.in.meta, sizeof(m.session));
		wire_begin(&c.out, WIRE_STATUS);
		wire_put_status(&c.out, &m);
		frame_send(c.chan, &c.out, &c.out_seq, NULL, 0, NULL);
	}
	conn_fini(&c);
}

static void *peer_main(void *arg)
{
	struct peer *p = arg;

	if (chan_accept(p->listener, WAIT_MS, &p->main.chan, NULL) < 0)
		return NULL;
	chan_set_deadline(p->main.chan, WAIT_MS);
	while (!p->end) {
		struct pollfd fds[2] = {
			{.fd = chan_fd(p->main.chan), .events = POLLIN},
			{.fd = p->urgent.chan ? chan_fd(p->urgent.chan) : -1,
				.events = POLLIN},
		};

		if (poll(fds, 2, WAIT_MS) <= 0)
			break;
		if (fds[1].revents)
			peer_read(p, true);
		else
			peer_read(p, false);
	}
	peer_drop(&p->main);
	peer_drop(&p->urgent);
	if (p->owner >= 0)
		peer_answer_query(p);
	return NULL;
}

void peer_start(struct peer *p)
{
	assert_int_equal(pthread_create(&p->thread, NULL, peer_main, p), 0);
}

void peer_join(struct peer *p)
{
	pthread_join(p->thread, NULL);
}
