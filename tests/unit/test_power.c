/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_power.c - promises of devices/power.h. */
#include "devices/power.h"

#include "tests/unit/device_test.h"
#include "vmm/layout.h"
#include "vmm/log.h"

#define SLP_EN 0x20u

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
	return power_create(sink_to(&f->log), &f->dev, &f->range);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	free(f);
	return 0;
}

static void sleep_type_5_with_enable_powers_off(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->range.base, LAYOUT_PIO_POWER);
	out(&f->range, 0, 1, 5 << 2 | SLP_EN);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_POWEROFF);
}

static void no_sleep_without_the_enable_bit(void **state)
{
	struct fixture *f = *state;
	unsigned v;

	for (v = 0; v < 256; v++)
		if (!(v & SLP_EN))
			out(&f->range, 0, 1, v);
	assert_int_equal(f->log.count, 0);
}

static void other_sleep_types_do_nothing(void **state)
{
	struct fixture *f = *state;
	unsigned type;

	for (type = 0; type < 8; type++)
		if (type != 5)
			out(&f->range, 0, 1, type << 2 | SLP_EN);
	assert_int_equal(f->log.count, 0);
}

static void only_the_reset_value_resets(void **state)
{
	struct fixture *f = *state;
	unsigned v;

	for (v = 0; v < 256; v++)
		if (v != LAYOUT_POWER_RESET)
			out(&f->range, 2, 1, v);
	assert_int_equal(f->log.count, 0);
	out(&f->range, 2, 1, LAYOUT_POWER_RESET);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_RESET);
}

static void control_reads_back_its_type_but_not_the_enable_bit(void **state)
{
	struct fixture *f = *state;

	out(&f->range, 0, 1, 0xff);
	assert_int_equal(in(&f->range, 0, 1), 7 << 2);
	assert_int_equal(in(&f->range, 1, 1), 0);
	assert_int_equal(in(&f->range, 2, 1), 0);
	f->dev->ops->reset(f->dev);
	assert_int_equal(in(&f->range, 0, 1), 0);
}

static void a_wide_write_is_its_bytes(void **state)
{
	struct fixture *f = *state;

	/* status, reset */
	out(&f->range, 1, 2, LAYOUT_POWER_RESET << 8 | 0x80);
	assert_int_equal(f->log.count, 1);
	assert_int_equal(f->log.event, GUEST_EVENT_RESET);
	out(&f->range, 0, 2, 0xff00 | 5 << 2 | SLP_EN);
	assert_int_equal(f->log.count, 2);
	assert_int_equal(f->log.event, GUEST_EVENT_POWEROFF);
}

static void state_survives_and_is_golden(void **state)
{
	struct fixture *f = *state;
	struct device *other;
	struct bus_range range;

	assert_int_equal(power_create(sink_to(&f->log), &other, &range), 0);
	out(&f->range, 0, 1, 3 << 2);
	assert_golden("power-v1", f->dev, other);
	assert_int_equal(in(&range, 0, 1), 3 << 2);
	assert_survives(f->dev, other);
	other->ops->destroy(other);
}

static void a_load_refuses_what_cannot_be(void **state)
{
	struct fixture *f = *state;
	struct bytes good = saved(f->dev);

	out(&f->range, 0, 1, 7 << 2); /* to see that it stays */
	assert_refuses_wrong_lengths(f->dev, &good);
	f->dev->ops->reset(f->dev);
	assert_int_equal(load_with_byte(f->dev, &good, 0, SLP_EN), -EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, 0, 1), -EPROTO);
	assert_saves_as(f->dev, &good);
	assert_int_equal(f->log.count, 0);
	free(good.p);
}

static void no_access_does_harm(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state;

	hammer(&f->range, &rnd);
	assert_survives(f->dev, f->dev);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(sleep_type_5_with_enable_powers_off),
		TEST(no_sleep_without_the_enable_bit),
		TEST(other_sleep_types_do_nothing),
		TEST(only_the_reset_value_resets),
		TEST(control_reads_back_its_type_but_not_the_enable_bit),
		TEST(a_wide_write_is_its_bytes),
		TEST(state_survives_and_is_golden),
		TEST(a_load_refuses_what_cannot_be),
		TEST(no_access_does_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
