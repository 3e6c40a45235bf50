/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/wire_get.c - metas are checked and taken apart here.  The bytes are a
 * hostile peer's: lengths first, then every field.  No state; any thread.
 */
#include "migrate/wire.h"

#include <errno.h>
#include <stdlib.h>

#include "migrate/wire_priv.h"
#include "vmm/error.h"

/* A RAM larger than KVM can have; page numbers stay far from wrapping. */
#define RAM_BYTES_MAX  (UINT64_C(1) << 52)
#define ATTACH_INDICES 64u
#define ERRNO_MAX      4095

static int length(const char *name, size_t len, size_t want, struct error *err)
{
	if (len == want)
		return 0;
	return error_set(
		err, -EBADMSG, "%s: %zu bytes, not %zu", name, len, want);
}

int wire_get_hello(const uint8_t *meta, size_t len, struct wire_hello *ret,
	struct error *err)
{
	struct wire_hello m;
	int rc = length("HELLO", len, HELLO_BYTES, err);

	if (rc < 0)
		return rc;
	m.version_min = load_le32(meta);
	m.version_max = load_le32(meta + 4);
	m.features = load_le64(meta + 8);
	memcpy(m.session, meta + 16, WIRE_SESSION_BYTES);
	m.page_bytes = load_le32(meta + 32);
	m.ram_bytes = load_le64(meta + 36);
	if (m.version_min < 1 || m.version_min > m.version_max)
		return error_set(err, -EPROTO, "HELLO: versions %u to %u",
			m.version_min, m.version_max);
	if (m.page_bytes != WIRE_PAGE_BYTES)
		return error_set(err, -EPROTO,
			"HELLO: pages of %u bytes, here they have %u",
			m.page_bytes, WIRE_PAGE_BYTES);
	if (m.ram_bytes == 0 || m.ram_bytes % WIRE_PAGE_BYTES != 0 ||
		m.ram_bytes > RAM_BYTES_MAX)
		return error_set(err, -EPROTO, "HELLO: a RAM of %llu bytes",
			(unsigned long long)m.ram_bytes);
	*ret = m;
	return 0;
}

int wire_get_welcome(const uint8_t *meta, size_t len, struct wire_welcome *ret,
	struct error *err)
{
	int rc = length("WELCOME", len, WELCOME_BYTES, err);

	if (rc < 0)
		return rc;
	if (load_le32(meta) < 1)
		return error_set(err, -EPROTO, "WELCOME: version 0");
	ret->version = load_le32(meta);
	ret->features = load_le64(meta + 4);
	return 0;
}

int wire_get_round(const uint8_t *meta, size_t len, struct wire_round *ret,
	struct error *err)
{
	int rc = length("ROUND", len, ROUND_BYTES, err);

	if (rc < 0)
		return rc;
	if (load_le32(meta) < 1)
		return error_set(err, -EPROTO, "ROUND: number 0");
	ret->round = load_le32(meta);
	ret->dirty = load_le64(meta + 4);
	ret->stream_ns = load_le64(meta + 12);
	return 0;
}

int wire_get_request(const uint8_t *meta, size_t len, uint64_t pages,
	struct wire_request *ret, struct error *err)
{
	int rc = length("REQUEST", len, REQUEST_BYTES, err);
	uint64_t page;
	uint32_t count;

	if (rc < 0)
		return rc;
	page = load_le64(meta);
	count = load_le32(meta + 8);
	if (count < 1 || count > WIRE_REQUEST_MAX)
		return error_set(
			err, -EPROTO, "REQUEST: %u pages at once", count);
	if (count > pages || page > pages - count)
		return error_set(err, -EPROTO,
			"REQUEST: page %llu, %u of them, outside the guest's %llu",
			(unsigned long long)page, count,
			(unsigned long long)pages);
	*ret = (struct wire_request){.page = page, .count = count};
	return 0;
}

int wire_get_attach(const uint8_t *meta, size_t len, struct wire_attach *ret,
	struct error *err)
{
	int rc = length("ATTACH", len, ATTACH_BYTES, err);
	struct wire_attach m;

	if (rc < 0)
		return rc;
	memcpy(m.session, meta, WIRE_SESSION_BYTES);
	m.role = load_le32(meta + 16);
	m.index = load_le32(meta + 20);
	if (m.role != WIRE_ROLE_URGENT && m.role != WIRE_ROLE_BULK)
		return error_set(err, -EPROTO, "ATTACH: role %u", m.role);
	if (m.index >= ATTACH_INDICES)
		return error_set(err, -EPROTO, "ATTACH: index %u", m.index);
	*ret = m;
	return 0;
}

/* The text ends up on somebody's terminal: nothing but plain ASCII passes. */
static char plain(uint8_t c)
{
	return (char)(c >= 0x20 && c <= 0x7e ? c : '?');
}

int wire_get_error(const uint8_t *meta, size_t len, struct wire_error *ret,
	struct error *err)
{
	int32_t code;
	size_t i;

	if (len < ERROR_MIN || len - ERROR_MIN > WIRE_TEXT_MAX)
		return error_set(err, -EBADMSG, "ERROR: %zu bytes", len);
	code = (int32_t)load_le32(meta);
	if (code >= 0 || code < -ERRNO_MAX)
		return error_set(err, -EPROTO, "ERROR: code %d", code);
	ret->code = code;
	for (i = 0; i < len - ERROR_MIN; i++)
		ret->text[i] = plain(meta[ERROR_MIN + i]);
	ret->text[i] = '\0';
	return 0;
}

int wire_get_run(const uint8_t *meta, size_t len, struct wire_run *ret,
	struct error *err)
{
	int rc = length("RUN", len, RUN_BYTES, err);

	if (rc < 0)
		return rc;
	if (meta[0] > 1)
		return error_set(err, -EPROTO, "RUN: paused is %u", meta[0]);
	ret->paused = meta[0] == 1;
	ret->stop_ns = load_le64(meta + 1);
	return 0;
}

int wire_get_sync(
	const uint8_t *meta, size_t len, uint32_t *ret_id, struct error *err)
{
	int rc = length("SYNC", len, 4, err);

	if (rc < 0)
		return rc;
	*ret_id = load_le32(meta);
	return 0;
}

int wire_get_query(const uint8_t *meta, size_t len, uint8_t *ret_session,
	struct error *err)
{
	int rc = length("QUERY", len, WIRE_SESSION_BYTES, err);

	if (rc < 0)
		return rc;
	memcpy(ret_session, meta, WIRE_SESSION_BYTES);
	return 0;
}

int wire_get_status(const uint8_t *meta, size_t len, struct wire_status *ret,
	struct error *err)
{
	int rc = length("STATUS", len, STATUS_BYTES, err);
	uint32_t owner;

	if (rc < 0)
		return rc;
	owner = load_le32(meta + WIRE_SESSION_BYTES);
	if (owner > WIRE_OWNER_DESTINATION)
		return error_set(err, -EPROTO, "STATUS: owner %u", owner);
	memcpy(ret->session, meta, WIRE_SESSION_BYTES);
	ret->owner = owner;
	return 0;
}

int wire_get_text(
	const uint8_t *meta, size_t len, char **ret_text, struct error *err)
{
	char *text;

	if (len > WIRE_DESCRIPTION_MAX)
		return error_set(err, -EBADMSG, "a text of %zu bytes", len);
	if (len > 0 && memchr(meta, '\0', len))
		return error_set(err, -EPROTO, "a text with a NUL in it");
	text = malloc(len + 1);
	if (!text)
		return error_errno(err, -ENOMEM, "a text of %zu bytes", len);
	if (len > 0)
		memcpy(text, meta, len);
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

/* ---- PAGES ---- */

struct wire_page wire_page_at(const uint8_t *meta, uint32_t index)
{
	uint64_t v = load_le64(meta + index * (size_t)ENTRY_BYTES);

	return (struct wire_page){
		.page = v >> 8, .kind = (enum wire_page_kind)(v & 0xff)};
}

int wire_get_pages(const struct wire_header *header, const uint8_t *meta,
	uint64_t pages, uint32_t *ret_count, struct error *err)
{
	uint32_t count = header->meta_len / ENTRY_BYTES, full = 0, i;
	uint64_t next = 0; /* the least page number that may come */

	if (header->meta_len % ENTRY_BYTES != 0 || count < 1 ||
		count > WIRE_PAGES_MAX)
		return error_set(err, -EBADMSG, "PAGES: a meta of %u bytes",
			header->meta_len);
	for (i = 0; i < count; i++) {
		uint64_t v = load_le64(meta + i * (size_t)ENTRY_BYTES);
		uint64_t page = v >> 8;
		unsigned kind = v & 0xff;

		if (kind != WIRE_PAGE_FULL && kind != WIRE_PAGE_ZERO)
			return error_set(
				err, -EPROTO, "PAGES: a page of kind %u", kind);
		if (page < next)
			return error_set(err, -EPROTO,
				"PAGES: page %llu out of order",
				(unsigned long long)page);
		if (page >= pages)
			return error_set(err, -EPROTO,
				"PAGES: page %llu of a guest that has %llu",
				(unsigned long long)page,
				(unsigned long long)pages);
		full += kind == WIRE_PAGE_FULL;
		next = page + 1; /* cannot wrap: page < 2^56 */
	}
	if (header->data_len != full * WIRE_PAGE_BYTES)
		return error_set(err, -EBADMSG,
			"PAGES: %u bytes of data for %u full pages",
			header->data_len, full);
	*ret_count = count;
	return 0;
}

/* ---- DISCARD ---- */

struct wire_range wire_range_at(const uint8_t *meta, uint32_t index)
{
	const uint8_t *p = meta + index * (size_t)RANGE_BYTES;

	return (struct wire_range){
		.page = load_le64(p), .count = load_le64(p + 8)};
}

int wire_get_discard(const uint8_t *meta, size_t len, uint64_t pages,
	uint32_t *ret_count, struct error *err)
{
	size_t count = len / RANGE_BYTES, i;
	uint64_t least = 0; /* where the next range may begin */

	if (len % RANGE_BYTES != 0 || count < 1 || count > WIRE_RANGES_MAX)
		return error_set(
			err, -EBADMSG, "DISCARD: a meta of %zu bytes", len);
	for (i = 0; i < count; i++) {
		struct wire_range r = wire_range_at(meta, (uint32_t)i);

		if (r.count < 1 || r.count > pages || r.page > pages - r.count)
			return error_set(err, -EPROTO,
				"DISCARD: page %llu, %llu of them, outside the guest's %llu",
				(unsigned long long)r.page,
				(unsigned long long)r.count,
				(unsigned long long)pages);
		if (r.page < least)
			return error_set(err, -EPROTO,
				"DISCARD: page %llu out of order",
				(unsigned long long)r.page);
		least = r.page + r.count + 1;
	}
	*ret_count = (uint32_t)count;
	return 0;
}

/* ---- PACKAGE ---- */

/* Take the sub-frame @type, number @seq, off [*pos, end). */
static int take_frame(const uint8_t **pos, const uint8_t *end, uint16_t type,
	uint32_t seq, struct wire_header *ret_header, struct error *err)
{
	size_t left = (size_t)(end - *pos);
	struct wire_header h;
	int rc;

	if (left < WIRE_HEADER_BYTES)
		return error_set(err, -EBADMSG, "PACKAGE: cut off before %s",
			wire_type_name(type));
	rc = wire_header(*pos, &h, err);
	if (rc < 0)
		goto fail;
	if (h.type != type)
		return error_set(err, -EPROTO,
			"PACKAGE: %s where %s should come",
			wire_type_name(h.type), wire_type_name(type));
	if (h.meta_len > left - WIRE_HEADER_BYTES)
		return error_set(err, -EBADMSG, "PACKAGE: cut off in %s",
			wire_type_name(type));
	rc = wire_check(*pos, &h, *pos + WIRE_HEADER_BYTES, seq, err);
	if (rc < 0)
		goto fail;
	*pos += WIRE_HEADER_BYTES + h.meta_len;
	*ret_header = h;
	return 0;
fail:
	error_prepend(err, "PACKAGE");
	return rc;
}

int wire_get_package(const uint8_t *meta, size_t len, struct wire_package *ret,
	struct error *err)
{
	const uint8_t *pos = meta, *end = meta + len;
	struct wire_package pkg = {0};
	struct wire_header h;
	uint32_t seq = 0;
	int rc;

	pkg.listen =
		len >= WIRE_HEADER_BYTES && load_le16(meta + 4) == WIRE_LISTEN;
	if (pkg.listen) {
		rc = take_frame(&pos, end, WIRE_LISTEN, seq++, &h, err);
		if (rc < 0)
			return rc;
	}
	rc = take_frame(&pos, end, WIRE_STATE, seq++, &h, err);
	if (rc < 0)
		return rc;
	pkg.state = pos - h.meta_len;
	pkg.state_len = h.meta_len;
	rc = take_frame(&pos, end, WIRE_RUN, seq, &h, err);
	if (rc < 0)
		return rc;
	rc = wire_get_run(pos - h.meta_len, h.meta_len, &pkg.run, err);
	if (rc < 0) {
		error_prepend(err, "PACKAGE");
		return rc;
	}
	if (pos != end)
		return error_set(err, -EPROTO, "PACKAGE: %zu bytes after RUN",
			(size_t)(end - pos));
	*ret = pkg;
	return 0;
}
