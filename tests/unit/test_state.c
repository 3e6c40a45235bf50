/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_state.c - the section format, and the section of a device. */
#include "migrate/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "tests/lib/testing.h"
#include "vmm/error.h"

/* One bit at a time, straight from the definition. */
static uint32_t crc_slow(const uint8_t *p, size_t len)
{
	uint32_t crc = 0xffffffff;
	unsigned bit;

	while (len-- > 0) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static void crc_matches_the_published_vectors(void **state)
{
	uint8_t buf[32];
	unsigned i;

	memset(buf, 0, sizeof(buf));
	assert_int_equal(state_crc32c(0, buf, 32), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(state_crc32c(0, buf, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(state_crc32c(0, buf, 32), 0x46dd794e);
	assert_int_equal(state_crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(state_crc32c(0, buf, 0), 0);
}

static void crc_of_any_length_is_the_definition_and_can_be_continued(
	void **state)
{
	uint64_t rnd = testing_seed(__func__);
	uint8_t buf[100];
	size_t len, cut;

	for (len = 0; len < sizeof(buf); len++)
		buf[len] = (uint8_t)testing_random(&rnd);
	for (len = 0; len <= sizeof(buf); len++) {
		cut = testing_random(&rnd) % (len + 1);
		assert_int_equal(state_crc32c(0, buf, len), crc_slow(buf, len));
		assert_int_equal(state_crc32c(state_crc32c(0, buf, cut),
					 buf + cut, len - cut),
			crc_slow(buf, len));
	}
}

/* The format is wire ABI: these bytes never change. */
static void bytes_are_the_documented_ones(void **state)
{
	static const uint8_t want[] = {'G', 'W', 'S', '1', 2, 'a', '0', 7, 0, 0,
		0,			 /* version */
		33, 0, 0, 0, 0, 0, 0, 0, /* body_len: fields, subsections */
		0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 1, 2, 3, 4, 5, 6, 7,
		8, 1, 'x', 'y', /* fields */
		0xa5, 3, 's', 'u', 'b', 9, 0, 0, 0, 2, 0, 0, 0, 0xcd, 0xab};
	struct state_writer w;
	uint32_t crc;

	state_writer_init(&w);
	state_begin(&w, "a0", 7);
	state_put_u8(&w, 0x11);
	state_put_u16(&w, 0x3322);
	state_put_u32(&w, 0x77665544);
	state_put_u64(&w, 0x0807060504030201);
	state_put_bool(&w, true);
	state_put_bytes(&w, "xy", 2);
	state_sub_begin(&w, "sub", 9);
	state_put_u16(&w, 0xabcd);
	state_sub_end(&w);
	state_end(&w);
	assert_int_equal(state_writer_error(&w), 0);
	assert_int_equal(w.len, sizeof(want) + 4);
	assert_memory_equal(w.buf, want, sizeof(want));
	crc = crc_slow(want, sizeof(want));
	assert_int_equal(w.buf[w.len - 4], crc & 0xff);
	assert_int_equal(w.buf[w.len - 1], crc >> 24);
	state_writer_fini(&w);
}

static void what_was_put_comes_back(void **state)
{
	struct state_reader r, sub;
	struct state_writer w;
	const uint8_t *pos;
	char text[5] = "";
	unsigned i;

	state_writer_init(&w);
	for (i = 0; i < 2; i++) {
		state_begin(&w, i ? "b/2.c-d_e" : "a", i);
		state_put_u64(&w, UINT64_MAX - i);
		state_put_bytes(&w, "four", 4);
		state_put_bool(&w, i == 1);
		state_sub_begin(&w, "one", 1);
		state_put_u32(&w, 0x80000000);
		state_sub_end(&w);
		state_sub_begin(&w, "empty", 2);
		state_sub_end(&w);
		state_end(&w);
	}
	assert_int_equal(state_writer_error(&w), 0);
	pos = w.buf;
	for (i = 0; i < 2; i++) {
		assert_int_equal(state_next(&pos, w.buf + w.len, &r, NULL), 1);
		assert_string_equal(r.name, i ? "b/2.c-d_e" : "a");
		assert_int_equal(r.version, i);
		assert_true(state_get_u64(&r) == UINT64_MAX - i);
		state_get_bytes(&r, text, 4);
		assert_string_equal(text, "four");
		assert_int_equal(state_get_bool(&r), i == 1);
		assert_int_equal(state_sub_next(&r, &sub), 1);
		assert_string_equal(sub.name, "one");
		assert_int_equal(state_get_u32(&sub), 0x80000000);
		assert_int_equal(state_reader_end(&sub), 0);
		assert_int_equal(state_sub_next(&r, &sub), 1);
		assert_int_equal(sub.version, 2);
		assert_int_equal(state_reader_end(&sub), 0);
		assert_int_equal(state_sub_next(&r, &sub), 0);
		assert_int_equal(state_reader_end(&r), 0);
	}
	assert_int_equal(state_next(&pos, w.buf + w.len, &r, NULL), 0);
	state_writer_fini(&w);
}

static void put_section(struct state_writer *w)
{
	state_writer_init(w);
	state_begin(w, "dev", 1);
	state_put_u32(w, 5);
	state_sub_begin(w, "sub", 1);
	state_put_u32(w, 6);
	state_sub_end(w);
	state_end(w);
	assert_int_equal(state_writer_error(w), 0);
}

static void every_cut_and_every_flipped_bit_is_noticed(void **state)
{
	struct state_reader r;
	struct state_writer w;
	const uint8_t *pos;
	struct error err;
	uint8_t *copy;
	size_t i;
	int rc;

	put_section(&w);
	for (i = 1; i < w.len; i++) {
		copy = malloc(i); /* exact: a sanitizer sees one byte more */
		assert_non_null(copy);
		memcpy(copy, w.buf, i);
		pos = copy;
		assert_int_equal(
			state_next(&pos, copy + i, &r, &err), -EBADMSG);
		assert_ptr_equal(pos, copy);
		free(copy);
	}
	for (i = 0; i < w.len * 8; i++) {
		w.buf[i / 8] ^= (uint8_t)(1u << i % 8);
		pos = w.buf;
		rc = state_next(&pos, w.buf + w.len, &r, &err);
		assert_true(rc == -EBADMSG || rc == -EMSGSIZE);
		w.buf[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	state_writer_fini(&w);
}

static void a_getter_that_runs_short_gives_zero_and_sticks(void **state)
{
	uint8_t three[3] = {1, 2, 3}, out[4] = {9, 9, 9, 9}, two = 2;
	struct state_reader r = {.pos = three, .end = three + 3};

	assert_int_equal(state_get_u32(&r), 0);
	assert_int_equal(r.error, -EBADMSG);
	assert_int_equal(state_get_u8(&r), 0); /* there, but sticky */
	state_get_bytes(&r, out, 4);
	assert_int_equal(out[0] | out[3], 0);
	assert_int_equal(state_reader_end(&r), -EBADMSG);

	r = (struct state_reader){.pos = &two, .end = &two + 1};
	assert_false(state_get_bool(&r));
	assert_int_equal(r.error, -EBADMSG);
}

static void bytes_left_over_are_an_error(void **state)
{
	uint8_t three[3] = {1, 2, 3};
	struct state_reader r = {.pos = three, .end = three + 3};

	state_get_u16(&r);
	assert_int_equal(r.error, 0);
	assert_int_equal(state_reader_end(&r), -EBADMSG);
}

static void a_subsection_never_reaches_past_its_section(void **state)
{
	/* mark, name "s", version 1, length 5, and only 4 bytes */
	uint8_t buf[] = {0xa5, 1, 's', 1, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3, 4};
	struct state_reader r = {.pos = buf, .end = buf + sizeof(buf)}, sub;
	size_t cut;

	assert_int_equal(state_sub_next(&r, &sub), -EBADMSG);
	assert_int_equal(state_sub_next(&r, &sub), -EBADMSG);
	buf[7] = 4;
	for (cut = 1; cut < sizeof(buf); cut++) {
		r = (struct state_reader){.pos = buf, .end = buf + cut};
		assert_int_equal(state_sub_next(&r, &sub), -EBADMSG);
	}
	r = (struct state_reader){.pos = buf, .end = buf + sizeof(buf)};
	assert_int_equal(state_sub_next(&r, &sub), 1);
	assert_int_equal(state_get_u32(&sub), 0x04030201);
	buf[0] = 0xa4;
	r = (struct state_reader){.pos = buf, .end = buf + sizeof(buf)};
	assert_int_equal(state_sub_next(&r, &sub), -EBADMSG);
}

static void a_body_over_the_limit_is_refused_both_ways(void **state)
{
	static uint8_t mega[1 << 20];
	struct state_reader r;
	struct state_writer w;
	const uint8_t *pos;
	unsigned i;

	state_writer_init(&w);
	state_begin(&w, "big", 1);
	for (i = 0; i < 64; i++)
		state_put_bytes(&w, mega, sizeof(mega));
	assert_int_equal(w.error, 0);
	state_put_u8(&w, 0);
	assert_int_equal(state_writer_error(&w), -EMSGSIZE);
	state_writer_fini(&w);

	put_section(&w);
	w.buf[4 + 1 + 3 + 4 + 3] = 0x05; /* body_len: 5 << 24 */
	pos = w.buf;
	assert_int_equal(state_next(&pos, w.buf + w.len, &r, NULL), -EMSGSIZE);
	state_writer_fini(&w);
}

enum call { BEGIN, END, SUB, SUB_END, PUT };

static int after_calls(const enum call *call, unsigned calls)
{
	struct state_writer w;
	unsigned i;
	int err;

	state_writer_init(&w);
	for (i = 0; i < calls; i++) {
		switch (call[i]) {
		case BEGIN:
			state_begin(&w, "n", 1);
			break;
		case END:
			state_end(&w);
			break;
		case SUB:
			state_sub_begin(&w, "n", 1);
			break;
		case SUB_END:
			state_sub_end(&w);
			break;
		case PUT:
			state_put_u8(&w, 1);
			break;
		}
	}
	err = state_writer_error(&w);
	state_writer_fini(&w);
	return err;
}

static void calls_out_of_order_are_refused(void **state)
{
	static const enum call bad[][4] = {{END, END, END, END},
		{PUT, BEGIN, END, BEGIN}, {BEGIN, BEGIN, END, END},
		{BEGIN, SUB, END, END}, {BEGIN, SUB, SUB, END},
		{BEGIN, SUB_END, END, BEGIN}, {BEGIN, PUT, PUT, PUT}};
	static const enum call field_last[] = {BEGIN, SUB, SUB_END, PUT, END};
	static const enum call good[] = {BEGIN, PUT, SUB, PUT, SUB_END, SUB,
		SUB_END, END, BEGIN, PUT, END};
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(after_calls(bad[i], 4), -EINVAL);
	assert_int_equal(after_calls(field_last, 5), -EINVAL);
	assert_int_equal(after_calls(good, 11), 0);
}

static int named(const char *name)
{
	struct state_writer w;
	int err;

	state_writer_init(&w);
	state_begin(&w, name, 1);
	state_end(&w);
	err = state_writer_error(&w);
	state_writer_fini(&w);
	return err;
}

static void names_outside_the_alphabet_are_refused(void **state)
{
	char name[STATE_NAME_MAX + 2];

	assert_int_equal(named(""), -EINVAL);
	assert_int_equal(named("A"), -EINVAL);
	assert_int_equal(named("a b"), -EINVAL);
	assert_int_equal(named("a\n"), -EINVAL);
	memset(name, 'z', sizeof(name));
	name[STATE_NAME_MAX + 1] = 0;
	assert_int_equal(named(name), -EINVAL);
	assert_int_equal(named(name + 1), 0); /* the longest */
}

/* ---- device_save and device_load ---- */

struct toy {
	struct device dev;
	uint32_t value;
	int save_error;
};

static int toy_save(const struct device *dev, struct state_writer *w)
{
	const struct toy *toy = (const struct toy *)dev;

	state_put_u32(w, toy->value);
	return toy->save_error;
}

static int toy_load(
	struct device *dev, struct state_reader *r, struct error *err)
{
	struct toy *toy = (struct toy *)dev;
	uint32_t value = state_get_u32(r);

	if (value == 666)
		return state_reject(r, err, "a bad number");
	toy->value = value;
	return 0;
}

static const struct device_ops toy_ops = {
	.kind = "toy", .version = 3, .save = toy_save, .load = toy_load};

static int toy_reload(
	struct toy *toy, const struct state_writer *w, struct error *err)
{
	const uint8_t *pos = w->buf;
	struct state_reader r;

	assert_int_equal(state_next(&pos, w->buf + w->len, &r, err), 1);
	return device_load(&toy->dev, &r, err);
}

static void a_device_loads_what_it_saved(void **state)
{
	struct toy a = {.dev = {&toy_ops, "toy0"}, .value = 12};
	struct toy b = {.dev = {&toy_ops, "toy0"}};
	struct state_writer w;
	struct error err;

	state_writer_init(&w);
	assert_int_equal(device_save(&a.dev, &w), 0);
	assert_int_equal(toy_reload(&b, &w, &err), 0);
	assert_int_equal(b.value, 12);
	state_writer_fini(&w);
}

static void another_name_version_or_value_is_refused(void **state)
{
	struct toy a = {.dev = {&toy_ops, "toy0"}, .value = 666};
	struct device_ops newer = toy_ops;
	struct toy b = {.dev = {&toy_ops, "toy1"}};
	struct state_writer w;
	struct error err;

	newer.version = 4;
	state_writer_init(&w);
	assert_int_equal(device_save(&a.dev, &w), 0);
	assert_int_equal(toy_reload(&b, &w, &err), -EPROTO);
	assert_non_null(strstr(err.text, "toy1"));
	strcpy(b.dev.name, "toy0");
	b.dev.ops = &newer;
	assert_int_equal(toy_reload(&b, &w, &err), -EPROTO);
	assert_non_null(strstr(err.text, "version 3"));
	b.dev.ops = &toy_ops;
	assert_int_equal(toy_reload(&b, &w, &err), -EPROTO);
	assert_non_null(strstr(err.text, "toy0: a bad number"));
	assert_int_equal(b.value, 0);
	state_writer_fini(&w);
}

static void a_section_of_another_length_and_a_failed_save_are_errors(
	void **state)
{
	struct toy a = {.dev = {&toy_ops, "toy0"}, .save_error = -EIO};
	struct state_writer w;
	struct error err;

	state_writer_init(&w);
	assert_int_equal(device_save(&a.dev, &w), -EIO);
	state_writer_fini(&w);
	state_writer_init(&w);
	state_begin(&w, "toy0", 3);
	state_put_u64(&w, 1);
	state_end(&w);
	assert_int_equal(toy_reload(&a, &w, &err), -EBADMSG);
	state_writer_fini(&w);
	state_writer_init(&w);
	state_begin(&w, "toy0", 3);
	state_put_u16(&w, 1);
	state_end(&w);
	assert_int_equal(toy_reload(&a, &w, &err), -EBADMSG);
	state_writer_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_matches_the_published_vectors),
		cmocka_unit_test(
			crc_of_any_length_is_the_definition_and_can_be_continued),
		cmocka_unit_test(bytes_are_the_documented_ones),
		cmocka_unit_test(what_was_put_comes_back),
		cmocka_unit_test(every_cut_and_every_flipped_bit_is_noticed),
		cmocka_unit_test(
			a_getter_that_runs_short_gives_zero_and_sticks),
		cmocka_unit_test(bytes_left_over_are_an_error),
		cmocka_unit_test(a_subsection_never_reaches_past_its_section),
		cmocka_unit_test(a_body_over_the_limit_is_refused_both_ways),
		cmocka_unit_test(calls_out_of_order_are_refused),
		cmocka_unit_test(names_outside_the_alphabet_are_refused),
		cmocka_unit_test(a_device_loads_what_it_saved),
		cmocka_unit_test(another_name_version_or_value_is_refused),
		cmocka_unit_test(
			a_section_of_another_length_and_a_failed_save_are_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
