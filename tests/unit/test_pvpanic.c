/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_pvpanic.c - promises of devices/pvpanic.h. */
#include "devices/pvpanic.h"

#include "tests/unit/device_test.h"
#include "vmm/log.h"

struct fixture {
	struct sink_log log;
	struct device *dev;
	struct bus_range range;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	log_set_level(LOG_ERROR);
	return pvpanic_create(sink_to(&f->log), &f->dev, &f->range);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	free(f);
	return 0;
}

static void reading_names_both_events_it_understands(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->range.base, 0x505);
	assert_int_equal(in(&f->range, 0, 1), 3);
	assert_int_equal(f->log.count, 0);
}

static void bit_0_reports_a_panic(void **state)
{
	struct fixture *f = *state;

	out(&f->range, 0, 1, 1);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_PANIC);
}

static void bit_1_reports_that_a_crash_kernel_takes_over(void **state)
{
	struct fixture *f = *state;

	out(&f->range, 0, 1, 2);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_CRASHLOAD);
}

static void both_bits_are_a_panic(void **state)
{
	struct fixture *f = *state;

	out(&f->range, 0, 1, 3);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_PANIC);
}

static void other_bits_report_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned bit;

	out(&f->range, 0, 1, 0);
	for (bit = 2; bit < 8; bit++)
		out(&f->range, 0, 1, 1u << bit);
	assert_int_equal(f->log.count, 0);
}

static void its_state_is_empty_and_golden(void **state)
{
	struct fixture *f = *state;
	struct bytes b = saved(f->dev);

	assert_golden("pvpanic-v1", f->dev, f->dev);
	assert_refuses_wrong_lengths(f->dev, &b);
	free(b.p);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(reading_names_both_events_it_understands),
		TEST(bit_0_reports_a_panic),
		TEST(bit_1_reports_that_a_crash_kernel_takes_over),
		TEST(both_bits_are_a_panic),
		TEST(other_bits_report_nothing),
		TEST(its_state_is_empty_and_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
