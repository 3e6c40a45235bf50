/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/wire_frames.c - see wire_frames.h. */
#include "tests/lib/wire_frames.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/crc32c.h"

/* A stream under construction. */
struct stream {
	struct wire_out out;
	struct bytes_out *to;
	uint32_t seq;
};

static void append(struct bytes_out *b, const void *src, size_t len)
{
	while (b->cap < b->len + len) {
		b->cap = b->cap ? 2 * b->cap : 4096;
		b->p = realloc(b->p, b->cap);
		assert(b->p);
	}
	memcpy(b->p + b->len, src, len);
	b->len += len;
}

/* The frame in s->out, which ends with @full pages of data. */
static void emit(struct stream *s, unsigned full)
{
	uint8_t page[WIRE_PAGE_BYTES];
	unsigned i;
	size_t at;
	int rc = wire_finish(&s->out, s->seq++, full * WIRE_PAGE_BYTES);

	assert(rc == 0);
	append(s->to, s->out.buf, s->out.len);
	for (i = 0; i < full; i++) {
		for (at = 0; at < sizeof(page); at++)
			page[at] = (uint8_t)(at * 7 + i);
		append(s->to, page, sizeof(page));
	}
}

static const uint8_t session[WIRE_SESSION_BYTES] = {0x10, 0x11, 0x12, 0x13,
	0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f};

/* ---- one frame of each type ---- */

static void put_hello(struct stream *s)
{
	struct wire_hello m = {.version_min = 1,
		.version_max = 1,
		.features = WIRE_FEATURE_POSTCOPY | WIRE_FEATURE_URGENT,
		.page_bytes = WIRE_PAGE_BYTES,
		.ram_bytes = GOLDEN_PAGES * WIRE_PAGE_BYTES};

	memcpy(m.session, session, sizeof(session));
	wire_begin(&s->out, WIRE_HELLO);
	wire_put_hello(&s->out, &m);
	emit(s, 0);
}

static void put_machine(struct stream *s)
{
	wire_begin(&s->out, WIRE_MACHINE);
	wire_put_text(&s->out, "{\"memory\":65536}");
	emit(s, 0);
}

static void put_pages(struct stream *s)
{
	const uint64_t entry[] = {wire_page_entry(0, WIRE_PAGE_FULL),
		wire_page_entry(3, WIRE_PAGE_ZERO),
		wire_page_entry(15, WIRE_PAGE_FULL)};
	int rc = wire_pages(&s->out, entry, 3, s->seq);

	assert(rc == 0);
	emit(s, 2);
}

static void put_round(struct stream *s)
{
	const struct wire_round m = {
		.round = 2, .dirty = 7, .stream_ns = 1234567890123};

	wire_begin(&s->out, WIRE_ROUND);
	wire_put_round(&s->out, &m);
	emit(s, 0);
}

static void put_discard(struct stream *s)
{
	const struct wire_range range[] = {{0, 2}, {3, 1}, {10, 6}};
	int rc = wire_discard(&s->out, range, 3, s->seq);

	assert(rc == 0);
	emit(s, 0);
}

static void put_package_of(struct stream *s, bool listen)
{
	const struct wire_run run = {.paused = !listen, .stop_ns = 99};
	int rc = wire_package(
		&s->out, listen, (const uint8_t *)"state", 5, &run, s->seq);

	assert(rc == 0);
	emit(s, 0);
}

static void put_package(struct stream *s)
{
	put_package_of(s, true);
}

static void put_package_precopy(struct stream *s)
{
	put_package_of(s, false);
}

static void put_welcome(struct stream *s)
{
	const struct wire_welcome m = {
		.version = 1, .features = WIRE_FEATURE_POSTCOPY};

	wire_begin(&s->out, WIRE_WELCOME);
	wire_put_welcome(&s->out, &m);
	emit(s, 0);
}

static void put_done(struct stream *s)
{
	wire_begin(&s->out, WIRE_DONE);
	wire_put_text(&s->out, "{\"faults\":3}");
	emit(s, 0);
}

static void put_request(struct stream *s)
{
	const struct wire_request m = {.page = 12, .count = 4};

	wire_begin(&s->out, WIRE_REQUEST);
	wire_put_request(&s->out, &m);
	emit(s, 0);
}

static void put_error(struct stream *s)
{
	const struct wire_error m = {
		.code = -ENOMEM, .text = "no room for 65536 bytes"};

	wire_begin(&s->out, WIRE_ERROR);
	wire_put_error(&s->out, &m);
	emit(s, 0);
}

static void put_sync(struct stream *s)
{
	wire_begin(&s->out, WIRE_SYNC);
	wire_put_sync(&s->out, 0xa1b2c3d4);
	emit(s, 0);
}

static void put_synced(struct stream *s)
{
	wire_begin(&s->out, WIRE_SYNCED);
	wire_put_sync(&s->out, 0xa1b2c3d4);
	emit(s, 0);
}

static void put_attach(struct stream *s)
{
	struct wire_attach m = {.role = WIRE_ROLE_URGENT};

	memcpy(m.session, session, sizeof(session));
	wire_begin(&s->out, WIRE_ATTACH);
	wire_put_attach(&s->out, &m);
	emit(s, 0);
}

static void put_query(struct stream *s)
{
	wire_begin(&s->out, WIRE_QUERY);
	wire_put_query(&s->out, session);
	emit(s, 0);
}

static void put_status(struct stream *s)
{
	struct wire_status m = {.owner = WIRE_OWNER_DESTINATION};

	memcpy(m.session, session, sizeof(session));
	wire_begin(&s->out, WIRE_STATUS);
	wire_put_status(&s->out, &m);
	emit(s, 0);
}

static void put_empty(struct stream *s, enum wire_type type)
{
	wire_begin(&s->out, type);
	emit(s, 0);
}

#define EMPTY(name, type)                                                      \
	static void put_##name(struct stream *s)                               \
	{                                                                      \
		put_empty(s, type);                                            \
	}

EMPTY(advise, WIRE_ADVISE)
EMPTY(commit, WIRE_COMMIT)
EMPTY(complete, WIRE_COMPLETE)
EMPTY(cancel, WIRE_CANCEL)
EMPTY(accept, WIRE_ACCEPT)
EMPTY(advised, WIRE_ADVISED)
EMPTY(loaded, WIRE_LOADED)
EMPTY(running, WIRE_RUNNING)

/* ---- a small postcopy migration, each direction of each connection ---- */

static void put_session(struct stream *s)
{
	put_hello(s);
	put_machine(s);
	put_advise(s);
	put_pages(s);
	put_round(s);
	put_sync(s);
	put_discard(s);
	put_package(s);
	put_commit(s);
	put_pages(s);
	put_complete(s);
}

static void put_session_return(struct stream *s)
{
	put_welcome(s);
	put_accept(s);
	put_advised(s);
	put_synced(s);
	put_loaded(s);
	put_running(s);
	put_done(s);
}

static void put_session_urgent(struct stream *s)
{
	put_attach(s);
	put_pages(s);
}

static void put_session_urgent_return(struct stream *s)
{
	put_request(s);
	put_request(s);
}

static const struct {
	const char *name;
	void (*put)(struct stream *s);
} golden[] = {
	{"hello-v1", put_hello},
	{"machine-v1", put_machine},
	{"advise-v1", put_advise},
	{"pages-v1", put_pages},
	{"round-v1", put_round},
	{"discard-v1", put_discard},
	{"package-v1", put_package},
	{"package-precopy-v1", put_package_precopy},
	{"commit-v1", put_commit},
	{"complete-v1", put_complete},
	{"cancel-v1", put_cancel},
	{"welcome-v1", put_welcome},
	{"accept-v1", put_accept},
	{"advised-v1", put_advised},
	{"loaded-v1", put_loaded},
	{"running-v1", put_running},
	{"done-v1", put_done},
	{"request-v1", put_request},
	{"error-v1", put_error},
	{"sync-v1", put_sync},
	{"synced-v1", put_synced},
	{"attach-v1", put_attach},
	{"query-v1", put_query},
	{"status-v1", put_status},
	{"session-v1", put_session},
	{"session-return-v1", put_session_return},
	{"session-urgent-v1", put_session_urgent},
	{"session-urgent-return-v1", put_session_urgent_return},
};

#define SESSIONS 4u

unsigned golden_count(void)
{
	return sizeof(golden) / sizeof(golden[0]);
}

const char *golden_name(unsigned index)
{
	return index < golden_count() ? golden[index].name : NULL;
}

bool golden_is_frame(unsigned index)
{
	return index < golden_count() - SESSIONS;
}

unsigned golden_session(void)
{
	return golden_count() - SESSIONS;
}

void golden_build(unsigned index, struct bytes_out *ret)
{
	struct stream s = {.to = ret};

	*ret = (struct bytes_out){0};
	wire_out_init(&s.out);
	golden[index].put(&s);
	wire_out_fini(&s.out);
}

/* ---- decoding ---- */

static int decode_text(const uint8_t *meta, size_t len, struct error *err)
{
	char *text;
	int rc = wire_get_text(meta, len, &text, err);

	if (rc == 0) {
		assert(strlen(text) == len);
		free(text);
	}
	return rc;
}

static int decode_pages(const struct wire_header *h, const uint8_t *meta,
	uint64_t pages, struct error *err)
{
	uint32_t count, i, full = 0;
	int rc = wire_get_pages(h, meta, pages, &count, err);

	if (rc < 0)
		return rc;
	for (i = 0; i < count; i++) {
		struct wire_page page = wire_page_at(meta, i);

		assert(page.page < pages);
		assert(i == 0 || page.page > wire_page_at(meta, i - 1).page);
		full += page.kind == WIRE_PAGE_FULL;
	}
	assert(h->data_len == full * WIRE_PAGE_BYTES);
	return 0;
}

static int decode_discard(
	const uint8_t *meta, size_t len, uint64_t pages, struct error *err)
{
	uint32_t count, i;
	int rc = wire_get_discard(meta, len, pages, &count, err);

	for (i = 0; rc == 0 && i < count; i++) {
		struct wire_range r = wire_range_at(meta, i);

		assert(r.count > 0 && r.page < pages &&
			r.count <= pages - r.page);
	}
	return rc;
}

static int decode_package(const uint8_t *meta, size_t len, struct error *err)
{
	struct wire_package p;
	int rc = wire_get_package(meta, len, &p, err);

	assert(rc < 0 ||
		(p.state >= meta && p.state_len <= len &&
			(size_t)(p.state - meta) <= len - p.state_len));
	return rc;
}

/* The fixed metas. */
static int decode_fixed(const struct wire_header *h, const uint8_t *meta,
	uint64_t pages, struct error *err)
{
	union {
		struct wire_hello hello;
		struct wire_welcome welcome;
		struct wire_round round;
		struct wire_request request;
		struct wire_attach attach;
		struct wire_error error;
		struct wire_run run;
		struct wire_status status;
		uint8_t session[WIRE_SESSION_BYTES];
		uint32_t id;
	} m;

	switch (h->type) {
	case WIRE_HELLO:
		return wire_get_hello(meta, h->meta_len, &m.hello, err);
	case WIRE_WELCOME:
		return wire_get_welcome(meta, h->meta_len, &m.welcome, err);
	case WIRE_ROUND:
		return wire_get_round(meta, h->meta_len, &m.round, err);
	case WIRE_REQUEST:
		return wire_get_request(
			meta, h->meta_len, pages, &m.request, err);
	case WIRE_ATTACH:
		return wire_get_attach(meta, h->meta_len, &m.attach, err);
	case WIRE_ERROR:
		return wire_get_error(meta, h->meta_len, &m.error, err);
	case WIRE_RUN:
		return wire_get_run(meta, h->meta_len, &m.run, err);
	case WIRE_STATUS:
		return wire_get_status(meta, h->meta_len, &m.status, err);
	case WIRE_QUERY:
		return wire_get_query(meta, h->meta_len, m.session, err);
	case WIRE_SYNC:
	case WIRE_SYNCED:
		return wire_get_sync(meta, h->meta_len, &m.id, err);
	default:
		return 0; /* no meta */
	}
}

int wire_decode(const struct wire_header *header, const uint8_t *meta,
	uint64_t pages, struct error *err)
{
	switch (header->type) {
	case WIRE_MACHINE:
	case WIRE_DONE:
		return decode_text(meta, header->meta_len, err);
	case WIRE_PAGES:
		return decode_pages(header, meta, pages, err);
	case WIRE_DISCARD:
		return decode_discard(meta, header->meta_len, pages, err);
	case WIRE_PACKAGE:
		return decode_package(meta, header->meta_len, err);
	default:
		return decode_fixed(header, meta, pages, err);
	}
}

void wire_reseal(uint8_t *frame, size_t meta_len, uint32_t seq)
{
	uint32_t v = htole32((uint32_t)meta_len);

	memcpy(frame + 8, &v, 4);
	v = htole32(seq);
	memcpy(frame + 16, &v, 4);
	v = crc32c(0, frame, WIRE_HEADER_BYTES - 4);
	v = htole32(crc32c(v, frame + WIRE_HEADER_BYTES, meta_len));
	memcpy(frame + 20, &v, 4);
}
