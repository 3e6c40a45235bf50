/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/device_test.h - what the tests of small devices share: accesses as
 * a vCPU makes them, saved bytes, golden streams, and a sink that counts.
 *
 * A golden stream is tests/data/NAME.hex, whole sections in hex.  It is ABI: a
 * version once released is never written again.  GODWIT_GOLDEN=write makes the
 * files that are missing, and never changes one.
 */
#ifndef GODWIT_TESTS_UNIT_DEVICE_TEST_H
#define GODWIT_TESTS_UNIT_DEVICE_TEST_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "devices/event.h"
#include "migrate/state.h"
#include "tests/lib/testing.h"
#include "vmm/bus.h"
#include "vmm/error.h"

/* ---- accesses ---- */

static inline uint64_t in(
	const struct bus_range *range, unsigned off, unsigned len)
{
	return range->ops->read(range->opaque, off, len);
}

static inline void out(const struct bus_range *range, unsigned off,
	unsigned len, uint64_t value)
{
	range->ops->write(range->opaque, off, len, value);
}

/* 10000 accesses of every width at every offset of @range. */
static inline void hammer(const struct bus_range *range, uint64_t *rnd)
{
	static const unsigned widths[4] = {1, 2, 4, 8};
	unsigned i;

	for (i = 0; i < 10000; i++) {
		unsigned len = widths[testing_random(rnd) & 3];
		unsigned off;

		if (len > range->size)
			len = 1;
		off = (unsigned)(testing_random(rnd) % (range->size - len + 1));
		if (testing_random(rnd) & 1)
			out(range, off, len, testing_random(rnd));
		else
			in(range, off, len);
	}
}

/* ---- events ---- */

struct sink_log {
	unsigned count;
	enum guest_event event; /* the last one */
	uint32_t code;
};

static inline void sink_note(
	void *opaque, enum guest_event event, uint32_t code)
{
	struct sink_log *log = opaque;

	log->count++;
	log->event = event;
	log->code = code;
}

static inline struct guest_event_sink sink_to(struct sink_log *log)
{
	*log = (struct sink_log){0};
	return (struct guest_event_sink){sink_note, log};
}

/* ---- saved state ---- */

struct bytes {
	uint8_t *p; /* owned */
	size_t len;
};

static inline struct bytes saved(const struct device *dev)
{
	struct state_writer w;

	state_writer_init(&w);
	assert_int_equal(device_save(dev, &w), 0);
	return (struct bytes){w.buf, w.len};
}

static inline int load_bytes(struct device *dev, const struct bytes *b)
{
	const uint8_t *pos = b->p;
	struct error err = {0};
	struct state_reader r;

	assert_int_equal(state_next(&pos, b->p + b->len, &r, &err), 1);
	return device_load(dev, &r, &err);
}

/* The body of @b with @n bytes at @off replaced, as a good section again, goes
 * into @dev.  Return: what device_load() says. */
static inline int load_patched(struct device *dev, const struct bytes *b,
	size_t off, const void *patch, size_t n)
{
	const uint8_t *pos = b->p;
	struct state_reader r;
	struct state_writer w;
	struct bytes body;
	int rc;

	assert_int_equal(state_next(&pos, b->p + b->len, &r, NULL), 1);
	body.len = (size_t)(r.end - r.pos);
	assert_true(off + n <= body.len);
	body.p = malloc(body.len);
	assert_non_null(body.p);
	memcpy(body.p, r.pos, body.len);
	memcpy(body.p + off, patch, n);
	state_writer_init(&w);
	state_begin(&w, r.name, r.version);
	state_put_bytes(&w, body.p, body.len);
	state_end(&w);
	assert_int_equal(state_writer_error(&w), 0);
	rc = load_bytes(dev, &(struct bytes){w.buf, w.len});
	free(body.p);
	state_writer_fini(&w);
	return rc;
}

static inline int load_with_byte(
	struct device *dev, const struct bytes *b, size_t off, uint8_t value)
{
	return load_patched(dev, b, off, &value, 1);
}

static inline void assert_same_bytes(
	const struct bytes *a, const struct bytes *b)
{
	assert_int_equal(a->len, b->len);
	assert_memory_equal(a->p, b->p, a->len);
}

static inline void assert_saves_as(
	const struct device *dev, const struct bytes *want)
{
	struct bytes have = saved(dev);

	assert_same_bytes(&have, want);
	free(have.p);
}

/* save @from, load into @to, save again: the same bytes. */
static inline void assert_survives(struct device *from, struct device *to)
{
	struct bytes first = saved(from);

	assert_int_equal(load_bytes(to, &first), 0);
	assert_saves_as(to, &first);
	free(first.p);
}

/* Every section cut short by one to all bytes, or one byte too long, is refused
 * and leaves @dev as it was. */
static inline void assert_refuses_wrong_lengths(
	struct device *dev, const struct bytes *good)
{
	struct bytes was = saved(dev);
	const uint8_t *pos = good->p;
	struct state_reader r;
	size_t len, cut;
	uint8_t body[8192] = {0};

	assert_int_equal(state_next(&pos, good->p + good->len, &r, NULL), 1);
	len = (size_t)(r.end - r.pos);
	assert_true(len < sizeof(body));
	memcpy(body, r.pos, len);
	for (cut = 0; cut <= len + 1; cut++) {
		struct state_writer w;

		if (cut == len)
			continue;
		state_writer_init(&w);
		state_begin(&w, r.name, r.version);
		state_put_bytes(&w, body, cut);
		state_end(&w);
		assert_true(load_bytes(dev, &(struct bytes){w.buf, w.len}) < 0);
		state_writer_fini(&w);
		assert_saves_as(dev, &was);
	}
	free(was.p);
}

/* ---- golden streams ---- */

static inline void golden_write(const char *path, const struct bytes *b)
{
	FILE *f = fopen(path, "wx");
	size_t i;

	assert_non_null(f);
	for (i = 0; i < b->len; i++)
		fprintf(f, "%02x%s", b->p[i],
			i % 32 == 31 || i + 1 == b->len ? "\n" : "");
	assert_int_equal(fclose(f), 0);
}

/* tests/data/@name.hex; @fresh are today's bytes, for a file that is missing
 * and to be written.  The caller frees. */
static inline struct bytes golden(const char *name, const struct bytes *fresh)
{
	const char *mode = getenv("GODWIT_GOLDEN");
	struct bytes b = {0};
	unsigned byte;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "tests/data/%s.hex", name);
	f = fopen(path, "r");
	if (!f && mode && strcmp(mode, "write") == 0) {
		golden_write(path, fresh);
		f = fopen(path, "r");
	}
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	b.p = malloc(65536);
	assert_non_null(b.p);
	while (b.len < 65536 && fscanf(f, "%2x", &byte) == 1)
		b.p[b.len++] = (uint8_t)byte;
	fclose(f);
	return b;
}

/* @dev saves the bytes of the golden stream, and @other, having loaded them,
 * does too. */
static inline void assert_golden(
	const char *name, struct device *dev, struct device *other)
{
	struct bytes now = saved(dev), file = golden(name, &now);

	assert_same_bytes(&now, &file);
	assert_int_equal(load_bytes(other, &file), 0);
	assert_saves_as(other, &file);
	free(now.p);
	free(file.p);
}

#endif
