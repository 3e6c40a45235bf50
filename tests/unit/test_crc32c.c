/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_crc32c.c - every method gives the sum of the definition. */
#include "migrate/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "tests/lib/testing.h"

#define LEN 20000 /* several blocks of either lane length, and rests */

typedef uint32_t crc_fn(uint32_t crc, const void *buf, size_t len);

static crc_fn *const methods[] = {
	crc32c, crc32c_portable, crc32c_instruction, state_crc32c};

/* The methods of this host; the instruction is the third of them. */
static bool usable(unsigned i)
{
	return methods[i] != crc32c_instruction || crc32c_has_instruction();
}

#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* One bit at a time, straight from the definition. */
static uint32_t slow(const uint8_t *p, size_t len)
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

static uint8_t *random_bytes(uint64_t *rnd)
{
	uint8_t *p = malloc(LEN + 16);
	size_t i;

	assert_non_null(p);
	for (i = 0; i < LEN + 16; i++)
		p[i] = (uint8_t)testing_random(rnd);
	return p;
}

static void the_published_vectors_come_out(void **state)
{
	uint8_t buf[32];
	unsigned i, j;

	for (i = 0; i < METHODS; i++) {
		if (!usable(i))
			continue;
		memset(buf, 0, sizeof(buf));
		assert_int_equal(methods[i](0, buf, 32), 0x8a9136aa);
		memset(buf, 0xff, sizeof(buf));
		assert_int_equal(methods[i](0, buf, 32), 0x62a8ab43);
		for (j = 0; j < 32; j++)
			buf[j] = (uint8_t)j;
		assert_int_equal(methods[i](0, buf, 32), 0x46dd794e);
		for (j = 0; j < 32; j++)
			buf[j] = (uint8_t)(31 - j);
		assert_int_equal(methods[i](0, buf, 32), 0x113fdb5c);
		assert_int_equal(methods[i](0, "123456789", 9), 0xe3069283);
		assert_int_equal(methods[i](0, NULL, 0), 0);
		assert_int_equal(methods[i](7, NULL, 0), 7);
	}
}

/* Every length around the places where the method changes: 8, 3 * 128 and
 * 3 * 1360 bytes, and their multiples. */
static void every_length_and_alignment_gives_the_sum(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	uint8_t *p = random_bytes(&rnd);
	size_t len, at;
	unsigned i;

	for (len = 0; len < LEN; len += len < 900	? 1
					: len % 384 < 8 ? 1
							: 61) {
		uint32_t want;

		at = testing_random(&rnd) % 16;
		want = slow(p + at, len);
		for (i = 0; i < METHODS; i++)
			if (usable(i))
				assert_int_equal(
					methods[i](0, p + at, len), want);
	}
	for (len = 4070; len < 4092; len++)
		assert_int_equal(crc32c(0, p, len), slow(p, len));
	free(p);
}

static void a_sum_can_be_continued_anywhere(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	uint8_t *p = random_bytes(&rnd);
	uint32_t want = slow(p, LEN), got;
	unsigned i, round;

	for (i = 0; i < METHODS; i++) {
		if (!usable(i))
			continue;
		for (round = 0; round < 100; round++) {
			size_t cut = testing_random(&rnd) % (LEN + 1);

			got = methods[i](0, p, cut);
			got = methods[i](got, p + cut, LEN - cut);
			assert_int_equal(got, want);
		}
	}
	free(p);
}

/* What the sum is for: any one bit. */
static void any_flipped_bit_changes_the_sum(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	uint8_t *p = random_bytes(&rnd);
	uint32_t want = crc32c(0, p, LEN);
	size_t bit;

	for (bit = 0; bit < LEN * 8; bit += 37) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(crc32c(0, p, LEN), want);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_vectors_come_out),
		cmocka_unit_test(every_length_and_alignment_gives_the_sum),
		cmocka_unit_test(a_sum_can_be_continued_anywhere),
		cmocka_unit_test(any_flipped_bit_changes_the_sum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
