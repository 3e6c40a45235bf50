/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_bucket.c - token buckets and groups of them. */
#include "virtio/backend/bucket.h"

#include "tests/lib/testing.h"

#define SECOND 1000000000ll

static struct bucket made(uint64_t rate, uint64_t burst)
{
	struct bucket_limit limit = {.rate = rate, .burst = burst};
	struct bucket b;

	bucket_init(&b, &limit, 0);
	return b;
}

/* Units that pass in [0, until), each as soon as it may; sizes are random. */
static uint64_t passed(
	struct bucket *b, int64_t until, uint64_t max, uint64_t *seed)
{
	uint64_t units = 0, n;
	int64_t now = 0, wait;

	for (;;) {
		wait = bucket_wait_ns(b, now);
		if (wait >= until - now)
			return units;
		now += wait;
		assert_int_equal(bucket_wait_ns(b, now), 0);
		n = 1 + testing_random(seed) % max;
		bucket_charge(b, n);
		units += n;
	}
}

static void no_limit_means_no_waiting(void **state)
{
	struct bucket b = made(0, 0);
	unsigned i;

	for (i = 0; i < 1000; i++) {
		assert_int_equal(bucket_wait_ns(&b, i), 0);
		bucket_charge(&b, BUCKET_BURST_MAX);
	}
}

static void the_rate_holds_to_the_last_unit(void **state)
{
	static const uint64_t rates[] = {
		1, 3, 1000, 999983, 125000000, 7919ull << 20};
	uint64_t seed = testing_seed("bucket"), units, least;
	unsigned i;

	for (i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		struct bucket b = made(rates[i], rates[i] / 4);
		uint64_t max = rates[i] / 50 + 1;

		/* Ten seconds and the burst, and the last one on credit. */
		least = 10 * rates[i] + (uint64_t)(b.full / SECOND);
		units = passed(&b, 10 * SECOND, max, &seed);
		assert_true(units <= least + max);
		assert_true(units >= least - 1);
	}
}

static void a_burst_passes_at_once_and_no_more(void **state)
{
	struct bucket b = made(100, 20);
	unsigned i;

	for (i = 0; i < 20; i++) {
		assert_int_equal(bucket_wait_ns(&b, 5), 0);
		bucket_charge(&b, 1);
	}
	/* Empty is not in debt: one more, then 1/100 s. */
	assert_int_equal(bucket_wait_ns(&b, 5), 0);
	bucket_charge(&b, 1);
	assert_int_equal(bucket_wait_ns(&b, 5), SECOND / 100);
	assert_int_equal(bucket_wait_ns(&b, 5 + SECOND / 200), SECOND / 200);
	assert_int_equal(bucket_wait_ns(&b, 5 + SECOND / 100), 0);
	/* A long rest fills it and does not overfill it. */
	assert_int_equal(bucket_wait_ns(&b, INT64_MAX), 0);
	assert_int_equal(b.tokens, b.full);
	assert_int_equal(b.full, 20 * SECOND);
}

static void a_charge_larger_than_the_burst_is_paid_later(void **state)
{
	struct bucket b = made(10, 1);

	assert_int_equal(bucket_wait_ns(&b, 0), 0);
	bucket_charge(&b, 101);
	assert_int_equal(bucket_wait_ns(&b, 0), 10 * SECOND);
	assert_int_equal(bucket_wait_ns(&b, 10 * SECOND - 1), 1);
	assert_int_equal(bucket_wait_ns(&b, 10 * SECOND), 0);
}

static void extreme_values_neither_wrap_nor_stick(void **state)
{
	struct bucket b = made(UINT64_MAX, UINT64_MAX);
	unsigned i;

	assert_true(b.full > 0);
	for (i = 0; i < 100; i++)
		bucket_charge(&b, UINT64_MAX);
	assert_true(b.tokens < 0);
	assert_true(bucket_wait_ns(&b, 0) > 0);
	assert_int_equal(bucket_wait_ns(&b, INT64_MAX), 0);
	b = made(1, 1);
	for (i = 0; i < 100; i++)
		bucket_charge(&b, UINT64_MAX);
	assert_true(bucket_wait_ns(&b, 0) > 0);
	assert_true(bucket_wait_ns(&b, INT64_MAX) == 0);
}

static void a_clock_that_goes_back_brings_nothing(void **state)
{
	struct bucket b = made(1000, 1);

	assert_int_equal(bucket_wait_ns(&b, SECOND), 0);
	bucket_charge(&b, 501);
	assert_int_equal(bucket_wait_ns(&b, SECOND), SECOND / 2);
	assert_int_equal(bucket_wait_ns(&b, 0), SECOND / 2);
	assert_int_equal(bucket_wait_ns(&b, SECOND / 4), SECOND / 4);
}

/* ---- groups ---- */

static void a_group_keeps_every_limit(void **state)
{
	struct bucket_limits limits = {
		.ops[BUCKET_DIRS] = {.rate = 10, .burst = 1},
		.bytes[BUCKET_WRITE] = {.rate = 1000, .burst = 1},
	};
	struct bucket_group g;

	bucket_group_init(&g, &limits, 0);
	assert_int_equal(bucket_group_reserve(&g, BUCKET_READ, 1 << 20, 0), 0);
	/* One operation is left of the burst's two; bytes read are free. */
	assert_int_equal(bucket_group_reserve(&g, BUCKET_READ, 1 << 20, 0), 0);
	assert_int_equal(
		bucket_group_reserve(&g, BUCKET_WRITE, 501, 0), SECOND / 10);
	/* The bytes are what this one waits for. */
	assert_int_equal(
		bucket_group_reserve(&g, BUCKET_WRITE, 1, 0), SECOND / 2);
	bucket_group_fini(&g);
}

static void reservations_are_served_in_order(void **state)
{
	struct bucket_limits limits = {
		.bytes[BUCKET_DIRS] = {.rate = 4096, .burst = 4096}};
	int64_t last = 0, at, now = 0;
	struct bucket_group g;
	unsigned i;

	bucket_group_init(&g, &limits, 0);
	for (i = 0; i < 100; i++) {
		at = now +
		     bucket_group_reserve(&g, i % 2, 1 + i * 37 % 5000, now);
		assert_true(at >= last);
		last = at;
		now += 1000000;
	}
	assert_true(last > SECOND);
	bucket_group_fini(&g);
}

static void a_change_of_limits_keeps_what_was_reserved(void **state)
{
	struct bucket_limits limits = {.ops[BUCKET_DIRS] = {1, 1}};
	struct bucket_group g;
	unsigned i;

	bucket_group_init(&g, &limits, 0);
	for (i = 0; i < 4; i++)
		bucket_group_reserve(&g, BUCKET_READ, 0, 0);
	limits.ops[BUCKET_DIRS].rate = 1000;
	bucket_group_set(&g, &limits, 0);
	assert_int_equal(
		bucket_group_reserve(&g, BUCKET_READ, 0, 0), 3 * SECOND);
	limits.ops[BUCKET_DIRS].rate = 0;
	bucket_group_set(&g, &limits, 0);
	assert_int_equal(bucket_group_reserve(&g, BUCKET_READ, 0, 0), 0);
	bucket_group_fini(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_limit_means_no_waiting),
		cmocka_unit_test(the_rate_holds_to_the_last_unit),
		cmocka_unit_test(a_burst_passes_at_once_and_no_more),
		cmocka_unit_test(a_charge_larger_than_the_burst_is_paid_later),
		cmocka_unit_test(extreme_values_neither_wrap_nor_stick),
		cmocka_unit_test(a_clock_that_goes_back_brings_nothing),
		cmocka_unit_test(a_group_keeps_every_limit),
		cmocka_unit_test(reservations_are_served_in_order),
		cmocka_unit_test(a_change_of_limits_keeps_what_was_reserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
