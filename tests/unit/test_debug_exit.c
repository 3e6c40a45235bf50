/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_debug_exit.c - promises of devices/debug_exit.h. */
#include "devices/debug_exit.h"

#include "tests/unit/device_test.h"

struct fixture {
	struct sink_log log;
	struct device *dev;
	struct bus_range range;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	*state = f;
	return debug_exit_create(sink_to(&f->log), &f->dev, &f->range);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	free(f);
	return 0;
}

static void it_sits_where_qemu_guests_look_for_it(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->range.base, 0xf4);
	assert_int_equal(f->range.size, 4);
}

static void a_write_of_any_width_reports_exactly_that_value(void **state)
{
	static const struct {
		unsigned len;
		uint32_t code;
	} want[] = {{1, 0x44}, {2, 0x3344}, {4, 0x11223344}, {8, 0x11223344}};
	struct fixture *f = *state;
	unsigned i;

	for (i = 0; i < 4; i++) {
		out(&f->range, 0, want[i].len, UINT64_C(0xffffffff11223344));
		assert_int_equal(f->log.count, i + 1);
		assert_int_equal(f->log.event, GUEST_EVENT_DEBUG_EXIT);
		assert_int_equal(f->log.code, want[i].code);
	}
}

static void zero_is_a_value_like_any_other(void **state)
{
	struct fixture *f = *state;

	out(&f->range, 0, 1, 0);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_DEBUG_EXIT);
	assert_int_equal(f->log.code, 0);
}

static void reading_gives_zero_and_reports_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(&f->range, 0, 1), 0);
	assert_int_equal(in(&f->range, 0, 4), 0);
	assert_int_equal(f->log.count, 0);
}

static void its_state_is_empty_and_golden(void **state)
{
	struct fixture *f = *state;
	struct bytes b = saved(f->dev);

	assert_golden("debug_exit-v1", f->dev, f->dev);
	assert_refuses_wrong_lengths(f->dev, &b);
	assert_int_equal(f->log.count, 0);
	free(b.p);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(it_sits_where_qemu_guests_look_for_it),
		TEST(a_write_of_any_width_reports_exactly_that_value),
		TEST(zero_is_a_value_like_any_other),
		TEST(reading_gives_zero_and_reports_nothing),
		TEST(its_state_is_empty_and_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
