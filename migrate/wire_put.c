/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/wire_put.c - frames are built here.  Each wire_out belongs to one
 * thread at a time; errors are sticky, so callers look once, at the end.
 */
#include "migrate/wire.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "migrate/crc32c.h"
#include "migrate/wire_priv.h"

void wire_out_init(struct wire_out *out)
{
	*out = (struct wire_out){0};
}

void wire_out_fini(struct wire_out *out)
{
	free(out->buf);
	wire_out_init(out);
}

/* Room for @len more bytes, which are counted; NULL with out->error set. */
static uint8_t *extend(struct wire_out *out, size_t len)
{
	const size_t most = WIRE_HEADER_BYTES + (size_t)WIRE_PACKAGE_MAX;
	size_t cap = out->cap ? out->cap : 512;
	uint8_t *buf;

	if (out->error)
		return NULL;
	if (len > most - out->len) {
		out->error = -EMSGSIZE;
		return NULL;
	}
	while (cap < out->len + len)
		cap *= 2;
	if (cap != out->cap) {
		buf = realloc(out->buf, cap);
		if (!buf) {
			out->error = -ENOMEM;
			return NULL;
		}
		out->buf = buf;
		out->cap = cap;
	}
	out->len += len;
	return out->buf + out->len - len;
}

static void put_header(struct wire_out *out, enum wire_type type)
{
	uint8_t *p = extend(out, WIRE_HEADER_BYTES);

	if (!p)
		return;
	memset(p, 0, WIRE_HEADER_BYTES);
	store_le32(p, WIRE_MAGIC);
	store_le16(p + 4, (uint16_t)type);
}

void wire_begin(struct wire_out *out, enum wire_type type)
{
	out->len = 0;
	out->error = 0;
	put_header(out, type);
}

void wire_put_bytes(struct wire_out *out, const void *src, size_t len)
{
	uint8_t *p = extend(out, len);

	if (p && len > 0)
		memcpy(p, src, len);
}

void wire_put_u8(struct wire_out *out, uint8_t v)
{
	wire_put_bytes(out, &v, sizeof(v));
}

void wire_put_u32(struct wire_out *out, uint32_t v)
{
	v = htole32(v);
	wire_put_bytes(out, &v, sizeof(v));
}

void wire_put_u64(struct wire_out *out, uint64_t v)
{
	v = htole64(v);
	wire_put_bytes(out, &v, sizeof(v));
}

/* Complete the header at @at; its meta is all that follows it. */
static void close_frame(
	struct wire_out *out, size_t at, uint32_t seq, uint32_t data_len)
{
	const struct wire_type_info *info;
	uint8_t *p;
	size_t meta_len;

	if (out->error)
		return;
	p = out->buf + at;
	meta_len = out->len - at - WIRE_HEADER_BYTES;
	info = wire_type_info(load_le16(p + 4));
	assert(info && data_len <= info->data_max);
	if (meta_len > info->meta_max) {
		out->error = -EMSGSIZE;
		return;
	}
	store_le32(p + 8, (uint32_t)meta_len);
	store_le32(p + 12, data_len);
	store_le32(p + 16, seq);
	store_le32(p + 20, crc32c(crc32c(0, p, HEADER_SUMMED),
				   p + WIRE_HEADER_BYTES, meta_len));
}

int wire_finish(struct wire_out *out, uint32_t seq, uint32_t data_len)
{
	close_frame(out, 0, seq, data_len);
	return out->error;
}

/* ---- metas ---- */

void wire_put_hello(struct wire_out *out, const struct wire_hello *m)
{
	wire_put_u32(out, m->version_min);
	wire_put_u32(out, m->version_max);
	wire_put_u64(out, m->features);
	wire_put_bytes(out, m->session, WIRE_SESSION_BYTES);
	wire_put_u32(out, m->page_bytes);
	wire_put_u64(out, m->ram_bytes);
}

void wire_put_welcome(struct wire_out *out, const struct wire_welcome *m)
{
	wire_put_u32(out, m->version);
	wire_put_u64(out, m->features);
}

void wire_put_round(struct wire_out *out, const struct wire_round *m)
{
	wire_put_u32(out, m->round);
	wire_put_u64(out, m->dirty);
	wire_put_u64(out, m->stream_ns);
}

void wire_put_request(struct wire_out *out, const struct wire_request *m)
{
	wire_put_u64(out, m->page);
	wire_put_u32(out, m->count);
}

void wire_put_attach(struct wire_out *out, const struct wire_attach *m)
{
	wire_put_bytes(out, m->session, WIRE_SESSION_BYTES);
	wire_put_u32(out, m->role);
	wire_put_u32(out, m->index);
}

void wire_put_error(struct wire_out *out, const struct wire_error *m)
{
	wire_put_u32(out, (uint32_t)m->code);
	wire_put_bytes(out, m->text, strnlen(m->text, WIRE_TEXT_MAX));
}

void wire_put_run(struct wire_out *out, const struct wire_run *m)
{
	wire_put_u8(out, m->paused);
	wire_put_u64(out, m->stop_ns);
}

void wire_put_sync(struct wire_out *out, uint32_t id)
{
	wire_put_u32(out, id);
}

void wire_put_query(struct wire_out *out, const uint8_t *session)
{
	wire_put_bytes(out, session, WIRE_SESSION_BYTES);
}

void wire_put_status(struct wire_out *out, const struct wire_status *m)
{
	wire_put_bytes(out, m->session, WIRE_SESSION_BYTES);
	wire_put_u32(out, m->owner);
}

void wire_put_text(struct wire_out *out, const char *text)
{
	wire_put_bytes(out, text, strlen(text));
}

/* ---- whole frames ---- */

int wire_pages(struct wire_out *out, const uint64_t *entry, uint32_t count,
	uint32_t seq)
{
	uint32_t i, full = 0;
	uint64_t v;
	uint8_t *p;

	assert(count >= 1 && count <= WIRE_PAGES_MAX);
	wire_begin(out, WIRE_PAGES);
	p = extend(out, count * (size_t)ENTRY_BYTES);
	if (!p)
		return out->error;
	for (i = 0; i < count; i++) {
		full += (entry[i] & 0xff) == WIRE_PAGE_FULL;
		v = htole64(entry[i]);
		memcpy(p + i * (size_t)ENTRY_BYTES, &v, sizeof(v));
	}
	return wire_finish(out, seq, full * WIRE_PAGE_BYTES);
}

int wire_discard(struct wire_out *out, const struct wire_range *range,
	uint32_t count, uint32_t seq)
{
	uint32_t i;

	assert(count >= 1 && count <= WIRE_RANGES_MAX);
	wire_begin(out, WIRE_DISCARD);
	for (i = 0; i < count; i++) {
		wire_put_u64(out, range[i].page);
		wire_put_u64(out, range[i].count);
	}
	return wire_finish(out, seq, 0);
}

int wire_package(struct wire_out *out, bool listen, const uint8_t *state,
	size_t len, const struct wire_run *run, uint32_t seq)
{
	uint32_t inner = 0;
	size_t at;

	wire_begin(out, WIRE_PACKAGE);
	if (listen) {
		at = out->len;
		put_header(out, WIRE_LISTEN);
		close_frame(out, at, inner++, 0);
	}
	at = out->len;
	put_header(out, WIRE_STATE);
	wire_put_bytes(out, state, len);
	close_frame(out, at, inner++, 0);
	at = out->len;
	put_header(out, WIRE_RUN);
	wire_put_run(out, run);
	close_frame(out, at, inner, 0);
	return wire_finish(out, seq, 0);
}
