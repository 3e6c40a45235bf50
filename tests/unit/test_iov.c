/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_iov.c - arithmetic on iovecs against a flat copy. */
#include "virtio/iov.h"

#include <string.h>

#include "tests/lib/testing.h"

#define BYTES 200

/* Cut @flat into pieces of random sizes, empty ones among them. */
static unsigned cut(uint8_t *flat, struct iovec *iov, uint64_t *rnd)
{
	unsigned n = 0;
	size_t at = 0, len;

	while (at < BYTES) {
		len = testing_random(rnd) % 30;
		if (len > BYTES - at)
			len = BYTES - at;
		iov[n++] = (struct iovec){flat + at, len};
		at += len;
	}
	return n;
}

static void reads_and_writes_equal_those_of_flat_memory(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	uint8_t flat[BYTES], copy[BYTES], want[BYTES];
	struct iovec iov[BYTES * 4];
	unsigned round, n, i;
	size_t off, len, fits;

	for (round = 0; round < 2000; round++) {
		for (i = 0; i < BYTES; i++)
			flat[i] = (uint8_t)testing_random(&rnd);
		n = cut(flat, iov, &rnd);
		assert_int_equal(iov_bytes(iov, n), BYTES);
		off = testing_random(&rnd) % (BYTES + 10);
		len = testing_random(&rnd) % BYTES;
		fits = off >= BYTES ? 0 : len < BYTES - off ? len : BYTES - off;
		assert_int_equal(iov_read(iov, n, off, copy, len), fits);
		assert_memory_equal(copy, flat + (fits ? off : 0), fits);
		memcpy(want, flat, BYTES);
		memset(copy, (int)round, BYTES);
		if (fits)
			memset(want + off, (int)round, fits);
		assert_int_equal(iov_write(iov, n, off, copy, len), fits);
		assert_memory_equal(flat, want, BYTES);
	}
}

static void a_slice_is_those_bytes_and_no_more(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct iovec iov[BYTES * 4], part[BYTES * 4];
	uint8_t flat[BYTES];
	unsigned round, n, parts, i;
	size_t off, len, fits, at;

	for (round = 0; round < 2000; round++) {
		n = cut(flat, iov, &rnd);
		off = testing_random(&rnd) % (BYTES + 10);
		len = testing_random(&rnd) % BYTES;
		fits = off >= BYTES ? 0 : len < BYTES - off ? len : BYTES - off;
		parts = iov_slice(iov, n, off, len, part, n);
		at = off;
		for (i = 0; i < parts; i++) {
			assert_true(part[i].iov_len > 0);
			assert_ptr_equal(part[i].iov_base, flat + at);
			at += part[i].iov_len;
		}
		assert_int_equal(at - off, fits);
	}
}

static void a_slice_stays_within_its_room(void **state)
{
	uint8_t flat[3];
	struct iovec iov[3] = {{flat, 1}, {flat + 1, 1}, {flat + 2, 1}};
	struct iovec part[3] = {{0}};

	assert_int_equal(iov_slice(iov, 3, 0, 3, part, 2), 2);
	assert_null(part[2].iov_base);
	assert_int_equal(iov_slice(iov, 3, 0, UINT64_MAX, iov, 3), 3);
	assert_int_equal(iov_slice(iov, 3, UINT64_MAX, 1, part, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_equal_those_of_flat_memory),
		cmocka_unit_test(a_slice_is_those_bytes_and_no_more),
		cmocka_unit_test(a_slice_stays_within_its_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
