/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_wire.c - frames: the golden bytes, every bound of every
 * decoder, and whole frames over a channel.
 */
#include "migrate/wire.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "migrate/chan.h"
#include "migrate/frame.h"
#include "tests/lib/chan_cut.h"
#include "tests/lib/testing.h"
#include "tests/lib/wire_frames.h"
#include "tests/unit/device_test.h"
#include "vmm/error.h"

#define META WIRE_HEADER_BYTES

/* A frame of its own: header, meta, data. */
struct frame {
	uint8_t *p; /* owned */
	size_t len;
};

static struct frame golden_frame(const char *name)
{
	struct bytes_out b;
	unsigned i;

	for (i = 0; golden_name(i); i++)
		if (strcmp(golden_name(i), name) == 0)
			break;
	assert_non_null(golden_name(i));
	golden_build(i, &b);
	return (struct frame){b.p, b.len};
}

/* Header, check, decode: what a receiver makes of one frame. */
static int receive(const uint8_t *p, size_t len, struct error *err)
{
	struct wire_header h;
	int rc;

	if (len < WIRE_HEADER_BYTES)
		return -EBADMSG;
	rc = wire_header(p, &h, err);
	if (rc < 0)
		return rc;
	if (h.meta_len > len - WIRE_HEADER_BYTES)
		return -EBADMSG;
	rc = wire_check(p, &h, p + META, 0, err);
	if (rc < 0)
		return rc;
	return wire_decode(&h, p + META, GOLDEN_PAGES, err);
}

/* ---- golden ---- */

static void todays_frames_are_the_golden_ones(void **state)
{
	char path[80];
	unsigned i;

	for (i = 0; i < golden_count(); i++) {
		struct bytes_out now;
		struct bytes fresh, file;

		golden_build(i, &now);
		fresh = (struct bytes){now.p, now.len};
		snprintf(path, sizeof(path), "wire/%s", golden_name(i));
		file = golden(path, &fresh);
		assert_int_equal(file.len, now.len);
		assert_memory_equal(file.p, now.p, now.len);
		if (golden_is_frame(i))
			assert_int_equal(receive(file.p, file.len, NULL), 0);
		free(file.p);
		free(now.p);
	}
}

static void every_type_has_a_golden_frame(void **state)
{
	bool seen[256] = {false};
	struct wire_header h;
	struct bytes_out b;
	unsigned i, type;

	for (i = 0; golden_is_frame(i); i++) {
		golden_build(i, &b);
		assert_int_equal(wire_header(b.p, &h, NULL), 0);
		seen[h.type] = true;
		free(b.p);
	}
	for (type = 0; type < 256; type++)
		if (strcmp(wire_type_name((uint16_t)type), "?") != 0 &&
			!wire_in_package_only((uint16_t)type))
			assert_true(seen[type]);
}

static void what_was_put_comes_back(void **state)
{
	struct frame f = golden_frame("hello-v1");
	struct wire_hello hello;
	struct wire_error error;
	struct wire_request request;
	struct wire_package package;
	struct wire_round round;
	struct wire_header h;
	struct wire_page page;
	struct wire_range range;
	uint32_t count, id;
	char *text;

	assert_int_equal(wire_get_hello(f.p + META, 44, &hello, NULL), 0);
	assert_int_equal(hello.version_max, 1);
	assert_int_equal(hello.features, 3);
	assert_int_equal(hello.session[15], 0x1f);
	assert_int_equal(hello.ram_bytes, 65536);
	free(f.p);
	f = golden_frame("error-v1");
	assert_int_equal(
		wire_get_error(f.p + META, f.len - META, &error, NULL), 0);
	assert_int_equal(error.code, -ENOMEM);
	assert_string_equal(error.text, "no room for 65536 bytes");
	free(f.p);
	f = golden_frame("request-v1");
	assert_int_equal(
		wire_get_request(f.p + META, 12, 16, &request, NULL), 0);
	assert_int_equal(request.page, 12);
	assert_int_equal(request.count, 4);
	free(f.p);
	f = golden_frame("round-v1");
	assert_int_equal(wire_get_round(f.p + META, 20, &round, NULL), 0);
	assert_int_equal(round.round, 2);
	assert_int_equal(round.dirty, 7);
	assert_true(round.stream_ns == 1234567890123);
	free(f.p);
	f = golden_frame("sync-v1");
	assert_int_equal(wire_get_sync(f.p + META, 4, &id, NULL), 0);
	assert_int_equal(id, 0xa1b2c3d4);
	free(f.p);
	f = golden_frame("machine-v1");
	assert_int_equal(
		wire_get_text(f.p + META, f.len - META, &text, NULL), 0);
	assert_string_equal(text, "{\"memory\":65536}");
	free(text);
	free(f.p);
	f = golden_frame("pages-v1");
	assert_int_equal(wire_header(f.p, &h, NULL), 0);
	assert_int_equal(wire_get_pages(&h, f.p + META, 16, &count, NULL), 0);
	assert_int_equal(count, 3);
	page = wire_page_at(f.p + META, 1);
	assert_int_equal(page.page, 3);
	assert_int_equal(page.kind, WIRE_PAGE_ZERO);
	free(f.p);
	f = golden_frame("discard-v1");
	assert_int_equal(
		wire_get_discard(f.p + META, f.len - META, 16, &count, NULL),
		0);
	assert_int_equal(count, 3);
	range = wire_range_at(f.p + META, 2);
	assert_int_equal(range.page, 10);
	assert_int_equal(range.count, 6);
	free(f.p);
	f = golden_frame("package-precopy-v1");
	assert_int_equal(
		wire_get_package(f.p + META, f.len - META, &package, NULL), 0);
	assert_false(package.listen);
	assert_int_equal(package.state_len, 5);
	assert_memory_equal(package.state, "state", 5);
	assert_true(package.run.paused);
	assert_int_equal(package.run.stop_ns, 99);
	free(f.p);
}

/* ---- damage ---- */

static void a_flipped_bit_anywhere_in_header_or_meta_is_noticed(void **state)
{
	unsigned i, bit;
	size_t at, end;

	for (i = 0; golden_is_frame(i); i++) {
		struct wire_header h;
		struct bytes_out b;

		golden_build(i, &b);
		assert_int_equal(wire_header(b.p, &h, NULL), 0);
		end = META + h.meta_len;
		for (at = 0; at < end; at++)
			for (bit = 0; bit < 8; bit++) {
				b.p[at] ^= (uint8_t)(1u << bit);
				assert_true(receive(b.p, b.len, NULL) < 0);
				b.p[at] ^= (uint8_t)(1u << bit);
			}
		assert_int_equal(receive(b.p, b.len, NULL), 0);
		free(b.p);
	}
}

static void a_meta_of_another_length_is_refused_before_it_is_read(void **state)
{
	unsigned i;

	for (i = 0; golden_is_frame(i); i++) {
		static const int32_t off[] = {-8, -4, -1, 1, 4, 8};
		struct wire_header h, other;
		struct bytes_out b;
		unsigned j;

		golden_build(i, &b);
		assert_int_equal(wire_header(b.p, &h, NULL), 0);
		for (j = 0; j < 6; j++) {
			uint32_t len = h.meta_len + (uint32_t)off[j];
			int rc;

			if ((int32_t)len < 0)
				continue;
			wire_reseal(b.p, 0, 0);
			memcpy(b.p + 8, &len, 4);
			rc = wire_header(b.p, &other, NULL);
			if (rc == 0) /* of variable length: within its bounds */
				assert_true(other.type == WIRE_MACHINE ||
					    other.type == WIRE_DONE ||
					    other.type == WIRE_ERROR ||
					    other.type == WIRE_PACKAGE ||
					    other.type == WIRE_PAGES);
			else
				assert_int_equal(rc, -EBADMSG);
		}
		free(b.p);
	}
}

static void a_flag_nobody_has_defined_is_refused(void **state)
{
	struct frame f = golden_frame("advise-v1");
	unsigned bit;

	for (bit = 0; bit < 16; bit++) {
		memset(f.p + 6, 0, 2);
		f.p[6 + bit / 8] = (uint8_t)(1u << bit % 8);
		wire_reseal(f.p, 0, 0);
		assert_int_equal(receive(f.p, f.len, NULL), -EBADMSG);
	}
	free(f.p);
}

/* A header as a peer may write it; CRC and seq do not matter here. */
static int header_of(uint16_t type, uint32_t meta_len, uint32_t data_len)
{
	uint8_t p[WIRE_HEADER_BYTES] = {
		'G', 'W', 'F', '1', (uint8_t)type, (uint8_t)(type >> 8)};
	struct wire_header h;

	meta_len = htole32(meta_len);
	data_len = htole32(data_len);
	memcpy(p + 8, &meta_len, 4);
	memcpy(p + 12, &data_len, 4);
	return wire_header(p, &h, NULL);
}

static void every_type_bounds_its_lengths(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t least, most, unit;
	} bound[] = {
		{WIRE_HELLO, 44, 44, 1},
		{WIRE_MACHINE, 2, WIRE_DESCRIPTION_MAX, 1},
		{WIRE_PAGES, 8, 512 * 8, 8},
		{WIRE_DISCARD, 16, 4096 * 16, 16},
		{WIRE_PACKAGE, 57, WIRE_PACKAGE_MAX, 1},
		{WIRE_DONE, 0, WIRE_STATS_MAX, 1},
		{WIRE_ERROR, 4, 4 + WIRE_TEXT_MAX, 1},
		{WIRE_COMMIT, 0, 0, 1},
		{WIRE_STATUS, 20, 20, 1},
		{WIRE_QUERY, 16, 16, 1},
	};
	size_t i;

	for (i = 0; i < sizeof(bound) / sizeof(bound[0]); i++) {
		uint16_t t = bound[i].type;
		uint32_t unit = bound[i].unit;

		assert_int_equal(header_of(t, bound[i].least, 0), 0);
		assert_int_equal(header_of(t, bound[i].most, 0), 0);
		assert_int_equal(
			header_of(t, bound[i].most + unit, 0), -EBADMSG);
		assert_int_equal(header_of(t, UINT32_MAX, 0), -EBADMSG);
		assert_int_equal(header_of(t, bound[i].least - 1, 0), -EBADMSG);
		if (unit > 1)
			assert_int_equal(
				header_of(t, bound[i].least + 1, 0), -EBADMSG);
		if (t != WIRE_PAGES)
			assert_int_equal(
				header_of(t, bound[i].least, 4096), -EBADMSG);
	}
	assert_int_equal(header_of(WIRE_PAGES, 16, 8192), 0);
	assert_int_equal(header_of(WIRE_PAGES, 16, 8191), -EBADMSG);
	assert_int_equal(header_of(WIRE_PAGES, 16, 12288), -EBADMSG);
	assert_int_equal(header_of(WIRE_PAGES, 4096, 513 * 4096), -EBADMSG);
	assert_int_equal(header_of(WIRE_PAGES, 8, 0xfffff000), -EBADMSG);
	assert_int_equal(header_of(0, 0, 0), -EPROTO);
	assert_int_equal(header_of(11, 0, 0), -EPROTO);
	assert_int_equal(header_of(0x0101, 44, 0), -EPROTO);
}

/* @value put at @off of the meta of a golden frame, with all sums right. */
struct patch {
	const char *name;
	unsigned off, width;
	uint64_t value;
	int want;
};

static int try_patch(const struct patch *p)
{
	struct frame f = golden_frame(p->name);
	uint64_t v = htole64(p->value);
	struct wire_header h;
	int rc;

	assert_int_equal(wire_header(f.p, &h, NULL), 0);
	assert_true(p->off + p->width <= h.meta_len);
	memcpy(f.p + META + p->off, &v, p->width);
	wire_reseal(f.p, h.meta_len, 0);
	rc = receive(f.p, f.len, NULL);
	free(f.p);
	return rc;
}

static void every_field_is_checked(void **state)
{
	static const struct patch patch[] = {
		{"hello-v1", 0, 4, 0, -EPROTO},
		{"hello-v1", 0, 4, 2, -EPROTO},
		{"hello-v1", 4, 4, UINT32_MAX, 0},
		{"hello-v1", 8, 8, UINT64_MAX, 0},
		{"hello-v1", 32, 4, 16384, -EPROTO},
		{"hello-v1", 36, 8, 0, -EPROTO},
		{"hello-v1", 36, 8, 4097, -EPROTO},
		{"hello-v1", 36, 8, UINT64_MAX << 12, -EPROTO},
		{"welcome-v1", 0, 4, 0, -EPROTO},
		{"round-v1", 0, 4, 0, -EPROTO},
		{"request-v1", 0, 8, 13, -EPROTO},
		{"request-v1", 0, 8, UINT64_MAX, -EPROTO},
		{"request-v1", 0, 8, UINT64_MAX - 3, -EPROTO},
		{"request-v1", 8, 4, 0, -EPROTO},
		{"request-v1", 8, 4, 5, -EPROTO},
		{"request-v1", 8, 4, 257, -EPROTO},
		{"request-v1", 8, 4, UINT32_MAX, -EPROTO},
		{"attach-v1", 16, 4, 0, -EPROTO},
		{"attach-v1", 16, 4, 3, -EPROTO},
		{"attach-v1", 20, 4, 64, -EPROTO},
		{"status-v1", 16, 4, 3, -EPROTO},
		{"error-v1", 0, 4, 0, -EPROTO},
		{"error-v1", 0, 4, 5, -EPROTO},
		{"error-v1", 0, 4, (uint32_t)-4096, -EPROTO},
		{"error-v1", 0, 4, 0x80000000, -EPROTO},
		{"machine-v1", 4, 1, 0, -EPROTO},
		{"pages-v1", 0, 1, 2, -EPROTO},	      /* kind */
		{"pages-v1", 0, 1, 1, -EBADMSG},      /* data_len */
		{"pages-v1", 8, 1, 0, -EBADMSG},      /* data_len */
		{"pages-v1", 8, 8, 0x001, -EPROTO},   /* repeated */
		{"pages-v1", 8, 8, 0xf01, -EPROTO},   /* not ascending */
		{"pages-v1", 16, 8, 0x1000, -EPROTO}, /* past the end */
		{"pages-v1", 16, 8, ~UINT64_C(255), -EPROTO},
		{"discard-v1", 8, 8, 0, -EPROTO},
		{"discard-v1", 8, 8, 3, -EPROTO},  /* touches */
		{"discard-v1", 16, 8, 1, -EPROTO}, /* overlaps */
		{"discard-v1", 40, 8, 7, -EPROTO},
		{"discard-v1", 40, 8, UINT64_MAX, -EPROTO},
		{"discard-v1", 32, 8, UINT64_MAX, -EPROTO}, /* wraps */
		{"discard-v1", 32, 8, UINT64_MAX - 5, -EPROTO},
	};
	size_t i;

	for (i = 0; i < sizeof(patch) / sizeof(patch[0]); i++)
		if (try_patch(&patch[i]) != patch[i].want)
			fail_msg("%s at %u: %d, not %d", patch[i].name,
				patch[i].off, try_patch(&patch[i]),
				patch[i].want);
}

static void a_text_from_a_peer_cannot_drive_a_terminal(void **state)
{
	struct wire_error in = {.code = -EIO}, got;
	struct wire_out out;

	strcpy(in.text, "a\x1b[2Jb\n\x9b\xff");
	wire_out_init(&out);
	wire_begin(&out, WIRE_ERROR);
	wire_put_error(&out, &in);
	assert_int_equal(wire_finish(&out, 0, 0), 0);
	assert_int_equal(
		wire_get_error(out.buf + META, out.len - META, &got, NULL), 0);
	assert_string_equal(got.text, "a?[2Jb???");
	wire_out_fini(&out);
}

static void an_error_text_of_full_length_arrives_and_no_more(void **state)
{
	struct wire_error in = {.code = -EIO}, got;
	struct wire_out out;

	memset(in.text, 'x', sizeof(in.text)); /* not even a NUL */
	wire_out_init(&out);
	wire_begin(&out, WIRE_ERROR);
	wire_put_error(&out, &in);
	assert_int_equal(wire_finish(&out, 0, 0), 0);
	assert_int_equal(out.len, META + 4 + WIRE_TEXT_MAX);
	assert_int_equal(receive(out.buf, out.len, NULL), 0);
	assert_int_equal(
		wire_get_error(out.buf + META, out.len - META, &got, NULL), 0);
	assert_int_equal(strlen(got.text), WIRE_TEXT_MAX);
	wire_out_fini(&out);
}

static void a_frame_too_large_is_not_built(void **state)
{
	static char text[WIRE_DESCRIPTION_MAX + 2];
	const size_t most = WIRE_PACKAGE_MAX - 3 * META - 9;
	const struct wire_run run = {0};
	uint8_t *big = calloc(1, most + 1);
	struct wire_package p;
	struct wire_out out;

	wire_out_init(&out);
	memset(text, ' ', sizeof(text) - 1);
	wire_begin(&out, WIRE_MACHINE);
	wire_put_text(&out, text);
	assert_int_equal(wire_finish(&out, 0, 0), -EMSGSIZE);
	text[WIRE_DESCRIPTION_MAX] = 0;
	wire_begin(&out, WIRE_MACHINE);
	wire_put_text(&out, text);
	assert_int_equal(wire_finish(&out, 0, 0), 0);
	assert_int_equal(
		wire_package(&out, true, big, most + 1, &run, 0), -EMSGSIZE);
	assert_int_equal(wire_package(&out, true, big, most, &run, 0), 0);
	assert_int_equal(out.len, META + WIRE_PACKAGE_MAX);
	assert_int_equal(
		wire_get_package(out.buf + META, out.len - META, &p, NULL), 0);
	assert_int_equal(p.state_len, most);
	wire_out_fini(&out);
	free(big);
}

/* ---- PACKAGE ---- */

/* A PACKAGE whose sub-frames are named by letters: L, S, R, and P for one that
 * holds a PACKAGE, C for COMMIT. */
static int try_package(const char *letters, bool count, struct error *err)
{
	struct wire_package got;
	struct wire_out out, sub;
	const struct wire_run run = {0};
	uint32_t seq = 0;
	int rc;

	wire_out_init(&out);
	wire_out_init(&sub);
	wire_begin(&out, WIRE_PACKAGE);
	for (; *letters; letters++) {
		if (*letters == 'P') {
			wire_package(&sub, true, NULL, 0, &run, seq);
		} else {
			wire_begin(&sub, *letters == 'L'   ? WIRE_LISTEN
					 : *letters == 'S' ? WIRE_STATE
					 : *letters == 'R' ? WIRE_RUN
							   : WIRE_COMMIT);
			if (*letters == 'R')
				wire_put_run(&sub, &run);
			wire_finish(&sub, seq, 0);
		}
		wire_put_bytes(&out, sub.buf, sub.len);
		seq += count;
	}
	rc = wire_get_package(out.buf + META, out.len - META, &got, err);
	wire_out_fini(&sub);
	wire_out_fini(&out);
	return rc;
}

static void a_package_has_its_parts_once_and_in_order(void **state)
{
	static const char *const bad[] = {"", "L", "S", "R", "LS", "LR", "RS",
		"SL", "SLR", "LLSR", "LSSR", "SSR", "LSRR", "LSRL", "LSRC",
		"CSR", "PSR", "LPR", "LSP", "P", "LSRP"};
	struct error err;
	size_t i;

	assert_int_equal(try_package("LSR", true, NULL), 0);
	assert_int_equal(try_package("SR", true, NULL), 0);
	assert_int_equal(try_package("LSR", false, NULL), -EBADMSG);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err.text[0] = 0;
		assert_true(try_package(bad[i], true, &err) < 0);
		assert_int_equal(strncmp(err.text, "PACKAGE", 7), 0);
	}
}

static void a_package_cut_anywhere_is_refused(void **state)
{
	struct frame f = golden_frame("package-v1");
	struct wire_package p;
	size_t len;

	for (len = 0; len < f.len - META; len++) {
		/* Of its own size, so that a sanitizer sees one byte too many.
		 */
		uint8_t *copy = malloc(len + 1);

		copy = realloc(copy, len ? len : 1);
		memcpy(copy, f.p + META, len);
		assert_true(wire_get_package(copy, len, &p, NULL) < 0);
		free(copy);
	}
	free(f.p);
}

static void a_package_with_a_bad_flag_in_run_is_refused(void **state)
{
	struct frame f = golden_frame("package-v1");
	struct wire_package p;
	uint8_t *run = f.p + f.len - 9 - META;

	run[META] = 2;
	wire_reseal(run, 9, 2);
	assert_int_equal(
		wire_get_package(f.p + META, f.len - META, &p, NULL), -EPROTO);
	free(f.p);
}

/* ---- versions ---- */

static void the_highest_common_version_and_only_offered_features_are_chosen(
	void **state)
{
	struct wire_hello hello = {
		.version_min = 1, .version_max = 9, .features = 0xff01};
	struct wire_welcome w;
	struct error err;

	assert_int_equal(
		wire_choose(&hello, WIRE_FEATURE_POSTCOPY | WIRE_FEATURE_URGENT,
			&w, NULL),
		0);
	assert_int_equal(w.version, WIRE_VERSION);
	assert_true(w.features == WIRE_FEATURE_POSTCOPY);
	assert_int_equal(wire_check_welcome(&hello, &w, NULL), 0);
	w.features = WIRE_FEATURE_URGENT;
	assert_int_equal(wire_check_welcome(&hello, &w, NULL), -EPROTO);
	w = (struct wire_welcome){.version = 10};
	assert_int_equal(wire_check_welcome(&hello, &w, NULL), -EPROTO);
	hello.version_min = WIRE_VERSION + 1;
	assert_int_equal(wire_choose(&hello, 0, &w, &err), -EPROTO);
	assert_non_null(strstr(err.text, "2 to 9"));
	w.version = 1;
	assert_int_equal(wire_check_welcome(&hello, &w, NULL), -EPROTO);
}

/* ---- over a channel ---- */

/* Read frames until something is wrong.  Return: the frames; why in @ret_rc. */
static unsigned read_all(struct chan *c, int *ret_rc, struct error *err)
{
	static uint8_t data[WIRE_PAGES_MAX * WIRE_PAGE_BYTES];
	struct frame_in in = {0};
	struct wire_header h;
	uint32_t seq = 0;
	unsigned n = 0;
	int rc;

	for (;; n++) {
		rc = frame_recv(c, &h, &in, &seq, err);
		if (rc == 0)
			rc = wire_decode(&h, in.meta, GOLDEN_PAGES, err);
		if (rc == 0 && h.data_len > 0) {
			rc = chan_read(c, data, h.data_len);
			if (rc == -ENODATA)
				rc = -ECONNRESET;
		}
		if (rc < 0)
			break;
	}
	frame_in_fini(&in);
	*ret_rc = rc;
	return n;
}

static void a_session_cut_at_any_byte_ends_with_a_clean_error(void **state)
{
	unsigned frames = 0, got, last = 0;
	struct chan *a, *b;
	struct bytes_out s;
	struct error err;
	size_t cut;
	int rc;

	golden_build(golden_session(), &s);
	for (cut = 0; cut <= s.len; cut++) {
		err.text[0] = 0;
		assert_int_equal(chan_pair(s.len, &a, &b), 0);
		assert_int_equal(chan_write(a, s.p, cut), 0);
		chan_close(a);
		got = read_all(b, &rc, &err);
		assert_true(rc == -ENODATA || rc == -ECONNRESET);
		/* Clean exactly where a frame has just ended. */
		frames += rc == -ENODATA;
		assert_true(got == last || got == last + 1);
		assert_int_equal(rc == -ENODATA, cut == 0 || got == last + 1);
		if (rc == -ENODATA)
			assert_non_null(strstr(err.text, "closed"));
		last = got;
		chan_close(b);
	}
	assert_int_equal(last, 11);
	assert_int_equal(frames, 12);
	free(s.p);
}

static void frames_lost_repeated_or_swapped_are_noticed(void **state)
{
	static const uint32_t order[][3] = {
		{0, 2, 3}, {0, 0, 1}, {1, 0, 2}, {1, 2, 3}};
	struct wire_out out;
	struct chan *a, *b;
	struct error err;
	size_t i, j;
	int rc;

	wire_out_init(&out);
	for (i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		assert_int_equal(chan_pair(4096, &a, &b), 0);
		for (j = 0; j < 3; j++) {
			uint32_t seq = order[i][j];

			assert_int_equal(frame_send_empty(a, &out, WIRE_ADVISE,
						 &seq, NULL),
				0);
			assert_int_equal(seq, order[i][j] + 1);
		}
		read_all(b, &rc, &err);
		assert_int_equal(rc, -EBADMSG);
		assert_non_null(strstr(err.text, "should come"));
		chan_close(a);
		chan_close(b);
	}
	wire_out_fini(&out);
}

static void parts_of_a_package_are_refused_on_their_own(void **state)
{
	static const enum wire_type part[] = {
		WIRE_LISTEN, WIRE_STATE, WIRE_RUN};
	const struct wire_run run = {0};
	struct wire_out out;
	struct chan *a, *b;
	size_t i;
	int rc;

	wire_out_init(&out);
	for (i = 0; i < 3; i++) {
		uint32_t seq = 0;

		assert_int_equal(chan_pair(4096, &a, &b), 0);
		wire_begin(&out, part[i]);
		if (part[i] == WIRE_RUN)
			wire_put_run(&out, &run);
		assert_int_equal(frame_send(a, &out, &seq, NULL, 0, NULL), 0);
		assert_int_equal(read_all(b, &rc, NULL), 0);
		assert_int_equal(rc, -EPROTO);
		chan_close(a);
		chan_close(b);
	}
	wire_out_fini(&out);
}

static void an_announced_length_alone_costs_no_memory(void **state)
{
	struct frame_in in = {0};
	struct wire_header h;
	struct wire_out out;
	struct chan *a, *b;
	uint32_t seq = 0, len = htole32(WIRE_PACKAGE_MAX);

	wire_out_init(&out);
	wire_begin(&out, WIRE_PACKAGE);
	memcpy(out.buf + 8, &len, 4);
	assert_int_equal(chan_pair(4096, &a, &b), 0);
	assert_int_equal(chan_write(a, out.buf, WIRE_HEADER_BYTES), 0);
	chan_close(a);
	assert_int_equal(frame_recv(b, &h, &in, &seq, NULL), -ECONNRESET);
	assert_true(in.cap < 1u << 20);
	assert_int_equal(seq, 0);
	frame_in_fini(&in);
	wire_out_fini(&out);
	chan_close(b);
}

static void pages_are_gathered_in_order(void **state)
{
	static uint8_t ram[6 * WIRE_PAGE_BYTES], got[3 * WIRE_PAGE_BYTES];
	const uint64_t entry[] = {1 << 8, 2 << 8, 3 << 8 | 1, 5 << 8};
	struct iovec data[3] = {{ram + 4096, 4096}, {ram + 2 * 4096, 4096},
		{ram + 5 * 4096, 4096}};
	struct frame_in in = {0};
	struct wire_header h;
	struct wire_out out;
	struct chan *a, *b;
	uint32_t seq = 7, in_seq = 7;
	unsigned i;

	for (i = 0; i < sizeof(ram); i++)
		ram[i] = (uint8_t)(i / 4096 * 3 + i);
	wire_out_init(&out);
	assert_int_equal(chan_pair(65536, &a, &b), 0);
	assert_int_equal(wire_pages(&out, entry, 4, 99), 0);
	assert_int_equal(frame_send(a, &out, &seq, data, 3, NULL), 0);
	assert_ptr_equal(data[0].iov_base, ram + 4096);
	assert_int_equal(data[0].iov_len, 4096);
	assert_int_equal(frame_recv(b, &h, &in, &in_seq, NULL), 0);
	assert_int_equal(wire_decode(&h, in.meta, 16, NULL), 0);
	assert_int_equal(h.data_len, 3 * 4096);
	assert_int_equal(chan_read(b, got, h.data_len), 0);
	assert_memory_equal(got, ram + 4096, 2 * 4096);
	assert_memory_equal(got + 2 * 4096, ram + 5 * 4096, 4096);
	frame_in_fini(&in);
	wire_out_fini(&out);
	chan_close(a);
	chan_close(b);
}

/* ---- the faults other tests build on ---- */

struct told {
	unsigned calls;
	uint64_t frame;
	uint16_t type;
};

static void tell(void *opaque, uint64_t frame, uint16_t type)
{
	struct told *t = opaque;

	*t = (struct told){t->calls + 1, frame, type};
}

static void a_cut_comes_before_exactly_the_chosen_frame(void **state)
{
	struct bytes_out s;
	unsigned n;
	int rc;

	golden_build(golden_session(), &s);
	for (n = 0; n <= 11; n++) {
		struct told told = {0};
		struct chan_cut how = {.way = CHAN_CUT_WRITE,
			.frame = n,
			.byte = CHAN_CUT_NEVER,
			.fn = tell,
			.opaque = &told};
		struct chan *a, *b;

		assert_int_equal(chan_pair(s.len, &a, &b), 0);
		assert_int_equal(chan_cut_wrap(a, &how, &a), 0);
		assert_int_equal(
			chan_write(a, s.p, s.len), n < 11 ? -ECANCELED : 0);
		assert_int_equal(told.calls, n < 11);
		assert_int_equal(chan_cut_frames(a, CHAN_CUT_WRITE), n);
		if (n == 8)
			assert_int_equal(told.type, WIRE_COMMIT);
		chan_close(a);
		assert_int_equal(read_all(b, &rc, NULL), n);
		assert_int_equal(rc, -ENODATA);
		chan_close(b);
	}
	free(s.p);
}

static void a_cut_of_the_reading_side_is_exact_too(void **state)
{
	struct bytes_out s;
	unsigned n;
	int rc;

	golden_build(golden_session(), &s);
	for (n = 0; n < 11; n++) {
		struct chan_cut how = {.way = CHAN_CUT_READ,
			.frame = n,
			.byte = CHAN_CUT_NEVER};
		struct chan *a, *b;

		assert_int_equal(chan_pair(s.len, &a, &b), 0);
		assert_int_equal(chan_cut_wrap(b, &how, &b), 0);
		assert_int_equal(chan_write(a, s.p, s.len), 0);
		assert_int_equal(read_all(b, &rc, NULL), n);
		assert_int_equal(rc, -ECANCELED);
		chan_close(a);
		chan_close(b);
	}
	free(s.p);
}

static void a_cut_after_a_byte_lets_exactly_those_before_it_pass(void **state)
{
	static const uint64_t at[] = {0, 1, 23, 24, 25, 67, 68, 100, 300};
	struct chan *a, *b;
	struct bytes_out s;
	uint8_t buf[301];
	size_t i;

	golden_build(golden_session(), &s);
	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		struct chan_cut how = {.way = CHAN_CUT_WRITE,
			.frame = CHAN_CUT_NEVER,
			.byte = at[i]};

		assert_int_equal(chan_pair(s.len, &a, &b), 0);
		assert_int_equal(chan_cut_wrap(a, &how, &a), 0);
		assert_int_equal(chan_write(a, s.p, s.len), -ECANCELED);
		chan_close(a);
		assert_int_equal(chan_read(b, buf, at[i]), 0);
		assert_int_equal(chan_read(b, buf, 1), -ENODATA);
		chan_close(b);
	}
	free(s.p);
}

static void a_proxy_passes_a_session_and_cuts_it_at_any_frame(void **state)
{
	struct bytes_out s;
	unsigned n;
	int rc;

	golden_build(golden_session(), &s);
	for (n = 0; n <= 11; n++) {
		struct cut_plan plan = {.connection = 1,
			.frame = n,
			.byte = CHAN_CUT_NEVER,
			.all = true};
		struct chan *a[2], *b[2], *none;
		struct chan_listener *l;
		struct cut_proxy *p;
		unsigned i;

		assert_int_equal(chan_listen("tcp:127.0.0.1:0", &l, NULL), 0);
		assert_int_equal(
			cut_proxy_start("tcp:127.0.0.1:0",
				chan_listener_address(l), &plan, &p, NULL),
			0);
		for (i = 0; i < 2; i++) {
			assert_int_equal(chan_connect(cut_proxy_address(p), i,
						 10000, &a[i], NULL),
				0);
			assert_int_equal(chan_accept(l, 10000, &b[i], NULL), 0);
		}
		/* Connection 0 is of no interest to the plan. */
		assert_int_equal(chan_write(a[0], s.p, 44 + META), 0);
		assert_int_equal(chan_write(a[1], s.p, s.len), 0);
		if (n == 11)
			chan_shutdown(a[1]);
		assert_int_equal(read_all(b[1], &rc, NULL), n);
		assert_int_equal(cut_proxy_frames(p, 1, false), n);
		chan_shutdown(a[0]);
		read_all(b[0], &rc, NULL);
		if (n < 11) {
			/* Nobody comes through any more. */
			assert_int_equal(chan_connect(cut_proxy_address(p), 0,
						 10000, &none, NULL),
				0);
			assert_true(chan_read(none, &rc, 1) < 0);
			chan_close(none);
		}
		for (i = 0; i < 2; i++) {
			chan_close(a[i]);
			chan_close(b[i]);
		}
		cut_proxy_stop(p);
		chan_listener_close(l);
	}
	free(s.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(todays_frames_are_the_golden_ones),
		cmocka_unit_test(every_type_has_a_golden_frame),
		cmocka_unit_test(what_was_put_comes_back),
		cmocka_unit_test(
			a_flipped_bit_anywhere_in_header_or_meta_is_noticed),
		cmocka_unit_test(
			a_meta_of_another_length_is_refused_before_it_is_read),
		cmocka_unit_test(a_flag_nobody_has_defined_is_refused),
		cmocka_unit_test(every_type_bounds_its_lengths),
		cmocka_unit_test(every_field_is_checked),
		cmocka_unit_test(a_text_from_a_peer_cannot_drive_a_terminal),
		cmocka_unit_test(
			an_error_text_of_full_length_arrives_and_no_more),
		cmocka_unit_test(a_frame_too_large_is_not_built),
		cmocka_unit_test(a_package_has_its_parts_once_and_in_order),
		cmocka_unit_test(a_package_cut_anywhere_is_refused),
		cmocka_unit_test(a_package_with_a_bad_flag_in_run_is_refused),
		cmocka_unit_test(
			the_highest_common_version_and_only_offered_features_are_chosen),
		cmocka_unit_test(
			a_session_cut_at_any_byte_ends_with_a_clean_error),
		cmocka_unit_test(frames_lost_repeated_or_swapped_are_noticed),
		cmocka_unit_test(parts_of_a_package_are_refused_on_their_own),
		cmocka_unit_test(an_announced_length_alone_costs_no_memory),
		cmocka_unit_test(pages_are_gathered_in_order),
		cmocka_unit_test(a_cut_comes_before_exactly_the_chosen_frame),
		cmocka_unit_test(a_cut_of_the_reading_side_is_exact_too),
		cmocka_unit_test(
			a_proxy_passes_a_session_and_cuts_it_at_any_frame),
		cmocka_unit_test(
			a_cut_after_a_byte_lets_exactly_those_before_it_pass),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
