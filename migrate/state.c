/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/state.c - encode and decode sections; see state.h for the bytes.
 *
 * Knows nothing about what a section means or where the bytes go.  No state of
 * its own: each writer and reader belongs to one thread at a time.
 */
#include "migrate/state.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/crc32c.h"
#include "vmm/error.h"

#define NONE	 SIZE_MAX
#define HEAD_MIN (4 + 1 + 4 + 8) /* magic, name_len, version, body_len */
#define SUB_MIN	 (1 + 1 + 4 + 4) /* mark, name_len, version, len */
#define CRC_LEN	 4

/* ---- CRC-32C ---- */

uint32_t state_crc32c(uint32_t crc, const void *buf, size_t len)
{
	return crc32c(crc, buf, len);
}

/* ---- names ---- */

static bool name_byte_ok(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
	       c == '_' || c == '/' || c == '-';
}

static bool name_ok(const void *name, size_t len)
{
	const uint8_t *p = name;
	size_t i;

	if (len < 1 || len > STATE_NAME_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (!name_byte_ok(p[i]))
			return false;
	return true;
}

/* ---- writing ---- */

void state_writer_init(struct state_writer *w)
{
	*w = (struct state_writer){.section = NONE, .sub = NONE};
}

void state_writer_fini(struct state_writer *w)
{
	free(w->buf);
	state_writer_init(w);
}

int state_writer_error(const struct state_writer *w)
{
	/* A stream that ends inside a section is the owner's mistake. */
	return !w->error && w->section != NONE ? -EINVAL : w->error;
}

static void writer_fail(struct state_writer *w, int err)
{
	if (!w->error)
		w->error = err;
}

static void append(struct state_writer *w, const void *src, size_t len)
{
	size_t cap = w->cap ? w->cap : 4096;
	uint8_t *buf;

	if (w->error || len == 0)
		return;
	if (len > SIZE_MAX / 4 || w->len > SIZE_MAX / 4) {
		writer_fail(w, -EMSGSIZE);
		return;
	}
	while (cap < w->len + len)
		cap *= 2;
	if (cap != w->cap) {
		buf = realloc(w->buf, cap);
		if (!buf) {
			writer_fail(w, -ENOMEM);
			return;
		}
		w->buf = buf;
		w->cap = cap;
	}
	memcpy(w->buf + w->len, src, len);
	w->len += len;
}

static void append_u8(struct state_writer *w, uint8_t v)
{
	append(w, &v, sizeof(v));
}

static void append_u32(struct state_writer *w, uint32_t v)
{
	v = htole32(v);
	append(w, &v, sizeof(v));
}

static void append_u64(struct state_writer *w, uint64_t v)
{
	v = htole64(v);
	append(w, &v, sizeof(v));
}

static size_t body_start(const struct state_writer *w)
{
	return w->section + HEAD_MIN + w->buf[w->section + 4];
}

static size_t sub_start(const struct state_writer *w)
{
	return w->sub + SUB_MIN + w->buf[w->sub + 1];
}

/* Bytes of a body: the one place that knows the limit. */
static void body_append(struct state_writer *w, const void *src, size_t len)
{
	if (w->error)
		return;
	if (len > STATE_BODY_MAX - (w->len - body_start(w))) {
		writer_fail(w, -EMSGSIZE);
		return;
	}
	append(w, src, len);
}

void state_begin(struct state_writer *w, const char *name, uint32_t version)
{
	size_t at = w->len, len = strnlen(name, STATE_NAME_MAX + 1);

	if (w->error)
		return;
	if (w->section != NONE || !name_ok(name, len)) {
		writer_fail(w, -EINVAL);
		return;
	}
	append_u32(w, STATE_MAGIC);
	append_u8(w, (uint8_t)len);
	append(w, name, len);
	append_u32(w, version);
	append_u64(w, 0); /* the length, known at state_end() */
	w->section = at;
	w->subs = false;
}

void state_end(struct state_writer *w)
{
	uint64_t len;
	size_t start;

	if (w->error)
		return;
	if (w->section == NONE || w->sub != NONE) {
		writer_fail(w, -EINVAL);
		return;
	}
	start = body_start(w);
	len = htole64(w->len - start);
	memcpy(w->buf + start - 8, &len, 8);
	append_u32(
		w, state_crc32c(0, w->buf + w->section, w->len - w->section));
	w->section = NONE;
}

void state_sub_begin(struct state_writer *w, const char *name, uint32_t version)
{
	uint8_t head[SUB_MIN + STATE_NAME_MAX] = {STATE_SUB_MARK};
	size_t at = w->len, len = strnlen(name, STATE_NAME_MAX + 1);

	if (w->error)
		return;
	if (w->section == NONE || w->sub != NONE || !name_ok(name, len)) {
		writer_fail(w, -EINVAL);
		return;
	}
	head[1] = (uint8_t)len;
	memcpy(head + 2, name, len);
	version = htole32(version);
	memcpy(head + 2 + len, &version, 4);
	/* The length, four zero bytes for now, is known at state_sub_end(). */
	body_append(w, head, SUB_MIN + len);
	w->sub = at;
	w->subs = true;
}

void state_sub_end(struct state_writer *w)
{
	uint32_t len;
	size_t start;

	if (w->error)
		return;
	if (w->sub == NONE) {
		writer_fail(w, -EINVAL);
		return;
	}
	start = sub_start(w);
	len = htole32((uint32_t)(w->len - start));
	memcpy(w->buf + start - 4, &len, 4);
	w->sub = NONE;
}

void state_put_bytes(struct state_writer *w, const void *src, size_t len)
{
	if (w->error)
		return;
	if (w->section == NONE || (w->subs && w->sub == NONE)) {
		writer_fail(w, -EINVAL);
		return;
	}
	body_append(w, src, len);
}

void state_put_u8(struct state_writer *w, uint8_t v)
{
	state_put_bytes(w, &v, sizeof(v));
}

void state_put_u16(struct state_writer *w, uint16_t v)
{
	v = htole16(v);
	state_put_bytes(w, &v, sizeof(v));
}

void state_put_u32(struct state_writer *w, uint32_t v)
{
	v = htole32(v);
	state_put_bytes(w, &v, sizeof(v));
}

void state_put_u64(struct state_writer *w, uint64_t v)
{
	v = htole64(v);
	state_put_bytes(w, &v, sizeof(v));
}

void state_put_bool(struct state_writer *w, bool v)
{
	state_put_u8(w, v);
}

/* ---- reading ---- */

static uint32_t load_u32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t load_u64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

int state_next(const uint8_t **pos, const uint8_t *end,
	struct state_reader *ret_section, struct error *err)
{
	const uint8_t *p = *pos;
	size_t left = (size_t)(end - p), name_len;
	struct state_reader r = {0};
	uint64_t body;

	if (left == 0)
		return 0;
	if (left < HEAD_MIN + CRC_LEN)
		return error_set(err, -EBADMSG, "state: cut off in a header");
	if (load_u32(p) != STATE_MAGIC)
		return error_set(err, -EBADMSG, "state: no section here");
	name_len = p[4];
	if (name_len > left - HEAD_MIN - CRC_LEN || !name_ok(p + 5, name_len))
		return error_set(err, -EBADMSG, "state: bad section name");
	memcpy(r.name, p + 5, name_len);
	r.version = load_u32(p + 5 + name_len);
	body = load_u64(p + 9 + name_len);
	if (body > STATE_BODY_MAX)
		return error_set(err, -EMSGSIZE,
			"state: %s: a body of %llu bytes", r.name,
			(unsigned long long)body);
	if (body > left - HEAD_MIN - CRC_LEN - name_len)
		return error_set(err, -EBADMSG, "state: %s: cut off", r.name);
	r.pos = p + HEAD_MIN + name_len;
	r.end = r.pos + body;
	if (state_crc32c(0, p, (size_t)(r.end - p)) != load_u32(r.end))
		return error_set(
			err, -EBADMSG, "state: %s: wrong checksum", r.name);
	*pos = r.end + CRC_LEN;
	*ret_section = r;
	return 1;
}

static void reader_fail(struct state_reader *r, int err)
{
	if (!r->error)
		r->error = err;
}

void state_get_bytes(struct state_reader *r, void *dst, size_t len)
{
	if (r->error || len > (size_t)(r->end - r->pos)) {
		reader_fail(r, -EBADMSG);
		memset(dst, 0, len);
		return;
	}
	memcpy(dst, r->pos, len);
	r->pos += len;
}

uint8_t state_get_u8(struct state_reader *r)
{
	uint8_t v;

	state_get_bytes(r, &v, sizeof(v));
	return v;
}

uint16_t state_get_u16(struct state_reader *r)
{
	uint16_t v;

	state_get_bytes(r, &v, sizeof(v));
	return le16toh(v);
}

uint32_t state_get_u32(struct state_reader *r)
{
	uint32_t v;

	state_get_bytes(r, &v, sizeof(v));
	return le32toh(v);
}

uint64_t state_get_u64(struct state_reader *r)
{
	uint64_t v;

	state_get_bytes(r, &v, sizeof(v));
	return le64toh(v);
}

bool state_get_bool(struct state_reader *r)
{
	uint8_t v = state_get_u8(r);

	if (v > 1)
		reader_fail(r, -EBADMSG);
	return v == 1;
}

int state_sub_next(struct state_reader *r, struct state_reader *ret_sub)
{
	const uint8_t *p = r->pos;
	size_t left = (size_t)(r->end - p), name_len;
	struct state_reader sub = {0};
	uint32_t len;

	if (r->error)
		return r->error;
	if (left == 0)
		return 0;
	if (left < SUB_MIN || p[0] != STATE_SUB_MARK)
		goto bad;
	name_len = p[1];
	if (name_len > left - SUB_MIN || !name_ok(p + 2, name_len))
		goto bad;
	memcpy(sub.name, p + 2, name_len);
	sub.version = load_u32(p + 2 + name_len);
	len = load_u32(p + 6 + name_len);
	if (len > left - SUB_MIN - name_len)
		goto bad;
	sub.pos = p + SUB_MIN + name_len;
	sub.end = sub.pos + len;
	r->pos = sub.end;
	*ret_sub = sub;
	return 1;
bad:
	reader_fail(r, -EBADMSG);
	return -EBADMSG;
}

int state_reader_end(struct state_reader *r)
{
	if (r->pos != r->end)
		reader_fail(r, -EBADMSG);
	return r->error;
}

int state_reject(struct state_reader *r, struct error *err, const char *what)
{
	reader_fail(r, -EPROTO);
	return error_set(err, -EPROTO, "%s: %s", r->name, what);
}
