/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_rtc.c - promises of devices/rtc.h, on a clock of the test. */
#include "devices/rtc.h"

#include <time.h>

#include "tests/unit/device_test.h"
#include "vmm/log.h"

#define S INT64_C(1000000000)

#define SEC	0x00
#define MIN	0x02
#define HOUR	0x04
#define WDAY	0x06
#define MDAY	0x07
#define MONTH	0x08
#define YEAR	0x09
#define A	0x0a
#define B	0x0b
#define C	0x0c
#define D	0x0d
#define CENTURY 0x32

#define UIP    0x80
#define SET    0x80
#define BINARY 0x04
#define H24    0x02
#define UF     0x10

struct fixture {
	int64_t now_ns;
	struct device *dev;
	struct bus_range range;
};

static int64_t test_clock(void *opaque)
{
	return ((struct fixture *)opaque)->now_ns;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct rtc_options opt = {test_clock, f};

	*state = f;
	log_set_level(LOG_ERROR);
	f->now_ns = 1700000000 * S + 250000000; /* Tue 2023-11-14 22:13:20 */
	return rtc_create(&opt, &f->dev, &f->range);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->dev->ops->destroy(f->dev);
	free(f);
	return 0;
}

static uint8_t get(struct fixture *f, uint8_t reg)
{
	out(&f->range, 0, 1, reg);
	return (uint8_t)in(&f->range, 1, 1);
}

static void put(struct fixture *f, uint8_t reg, uint8_t value)
{
	out(&f->range, 0, 1, reg);
	out(&f->range, 1, 1, value);
}

/* Guest time in seconds since 1970, by the C library; binary, 24 h. */
static int64_t guest_time(struct fixture *f)
{
	uint8_t b = get(f, B);
	struct tm tm = {0};

	put(f, B, BINARY | H24);
	tm.tm_sec = get(f, SEC);
	tm.tm_min = get(f, MIN);
	tm.tm_hour = get(f, HOUR);
	tm.tm_mday = get(f, MDAY);
	tm.tm_mon = get(f, MONTH) - 1;
	tm.tm_year = get(f, CENTURY) * 100 + get(f, YEAR) - 1900;
	put(f, B, b);
	return timegm(&tm);
}

/* Set all fields in one go, binary, 24 h, as Linux does. */
static void set_time(struct fixture *f, const struct tm *tm, bool divider)
{
	int year = tm->tm_year + 1900;

	put(f, B, SET | BINARY | H24);
	if (divider)
		put(f, A, 0x70);
	put(f, SEC, (uint8_t)tm->tm_sec);
	put(f, MIN, (uint8_t)tm->tm_min);
	put(f, HOUR, (uint8_t)tm->tm_hour);
	put(f, MDAY, (uint8_t)tm->tm_mday);
	put(f, MONTH, (uint8_t)(tm->tm_mon + 1));
	put(f, YEAR, (uint8_t)(year % 100));
	put(f, CENTURY, (uint8_t)(year / 100));
	put(f, B, BINARY | H24);
	if (divider)
		put(f, A, 0x26);
}

static void at_power_on_it_shows_the_host_time_in_bcd_and_24_h(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(f->range.base, 0x70);
	assert_int_equal(f->range.size, 2);
	assert_int_equal(get(f, B), H24);
	assert_int_equal(get(f, SEC), 0x20);
	assert_int_equal(get(f, MIN), 0x13);
	assert_int_equal(get(f, HOUR), 0x22);
	assert_int_equal(get(f, WDAY), 0x03);
	assert_int_equal(get(f, MDAY), 0x14);
	assert_int_equal(get(f, MONTH), 0x11);
	assert_int_equal(get(f, YEAR), 0x23);
	assert_int_equal(get(f, CENTURY), 0x20);
	assert_int_equal(get(f, D), 0x80);
	assert_int_equal(get(f, A), 0x26);
}

static void register_b_chooses_binary_and_12_h(void **state)
{
	static const struct {
		uint8_t hour, bcd12, bin12;
	} want[] = {{0, 0x12, 12}, {1, 0x01, 1}, {11, 0x11, 11},
		{12, 0x92, 0x8c}, {13, 0x81, 0x81}, {23, 0x91, 0x8b}};
	struct fixture *f = *state;
	unsigned i;

	put(f, B, H24 | BINARY);
	assert_int_equal(get(f, SEC), 20);
	assert_int_equal(get(f, HOUR), 22);
	assert_int_equal(get(f, YEAR), 23);
	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		f->now_ns = want[i].hour * 3600 * S;
		put(f, B, 0);
		assert_int_equal(get(f, HOUR), want[i].bcd12);
		put(f, B, BINARY);
		assert_int_equal(get(f, HOUR), want[i].bin12);
	}
}

static void it_agrees_with_the_c_library_on_every_date(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state;
	struct tm tm;
	unsigned i;

	for (i = 0; i < 20000; i++) {
		/* About 1900 to 2200: what int64 nanoseconds hold, less some.
		 */
		int64_t s = (int64_t)(testing_random(&rnd) % 9400000000u) -
			    2200000000;
		time_t t = s;

		f->now_ns = s * S + (int64_t)(testing_random(&rnd) % S);
		assert_int_equal(guest_time(f), s);
		assert_non_null(gmtime_r(&t, &tm));
		assert_int_equal(get(f, WDAY), tm.tm_wday + 1);
	}
}

static void a_time_the_guest_sets_goes_on_from_there(void **state)
{
	static const int years[] = {1970, 1999, 2000, 2024, 2100, 9999, 0};
	struct fixture *f = *state;
	unsigned i;

	for (i = 0; i < sizeof(years) / sizeof(years[0]); i++) {
		struct tm tm = {.tm_year = years[i] - 1900,
			.tm_mon = 1,
			.tm_mday = 28,
			.tm_hour = 23,
			.tm_min = 59,
			.tm_sec = 58};
		int64_t want = timegm(&tm);

		set_time(f, &tm, false);
		assert_int_equal(guest_time(f), want);
		f->now_ns += 100 * S;
		assert_int_equal(guest_time(f), want + 100);
	}
}

static void set_without_divider_keeps_where_seconds_fall(void **state)
{
	struct fixture *f = *state;
	struct tm tm = {.tm_year = 130, .tm_mon = 5, .tm_mday = 1};

	set_time(f, &tm, false); /* at .250 */
	f->now_ns += 749999999;
	assert_int_equal(guest_time(f), timegm(&tm));
	f->now_ns += 1;
	assert_int_equal(guest_time(f), timegm(&tm) + 1);
}

static void after_a_divider_reset_the_first_second_is_half(void **state)
{
	struct fixture *f = *state;
	struct tm tm = {.tm_year = 130, .tm_mon = 5, .tm_mday = 1};
	unsigned i;

	for (i = 0; i < 4; i++) {
		set_time(f, &tm, true);
		f->now_ns += 499999999;
		assert_int_equal(guest_time(f), timegm(&tm));
		f->now_ns += 1;
		assert_int_equal(guest_time(f), timegm(&tm) + 1);
		f->now_ns += 333333333; /* wherever the host's second is */
	}
}

static void while_set_is_on_the_registers_stand_still(void **state)
{
	struct fixture *f = *state;

	put(f, B, H24 | SET);
	f->now_ns += 3600 * S;
	assert_int_equal(get(f, SEC), 0x20);
	assert_int_equal(get(f, HOUR), 0x22);
	put(f, HOUR, 0x05);
	assert_int_equal(get(f, HOUR), 0x05);
	assert_int_equal(get(f, A) & UIP, 0);
}

static void touching_set_without_a_write_loses_no_time(void **state)
{
	struct fixture *f = *state;
	int64_t was = guest_time(f);

	put(f, B, H24 | SET);
	f->now_ns += 50 * S;
	put(f, B, H24);
	assert_int_equal(guest_time(f), was + 50);
}

static void a_single_field_can_be_written_while_it_runs(void **state)
{
	struct fixture *f = *state;
	int64_t was = guest_time(f);

	put(f, HOUR, 0x23);
	assert_int_equal(guest_time(f), was + 3600);
	put(f, YEAR, 0x24);
	assert_int_equal(guest_time(f), was + 3600 + 366 * 86400);
}

static void a_time_in_12_h_is_understood(void **state)
{
	struct fixture *f = *state;

	put(f, B, SET);
	put(f, HOUR, 0x92); /* 12 pm */
	put(f, B, H24);	    /* the old digits, read in the new mode: invalid */
	assert_int_equal(get(f, HOUR), 0x22);
	put(f, B, SET);
	put(f, HOUR, 0x92);
	put(f, B, 0);
	assert_int_equal(get(f, HOUR), 0x92);
	put(f, B, H24);
	assert_int_equal(get(f, HOUR), 0x12);
}

static void dates_that_do_not_exist_leave_the_clock_as_it_was(void **state)
{
	static const struct {
		uint8_t reg, value;
	} bad[] = {{SEC, 0x60}, {SEC, 0x0a}, {SEC, 0xff}, {MIN, 0x60},
		{MIN, 0xa0}, {HOUR, 0x24}, {HOUR, 0x80}, {MDAY, 0x00},
		{MDAY, 0x31}, {MDAY, 0x32}, {MONTH, 0x00}, {MONTH, 0x13},
		{YEAR, 0xa0}, {YEAR, 0x9a}, {CENTURY, 0xff}};
	struct fixture *f = *state;
	int64_t was = guest_time(f); /* in November: 30 days */
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(f, bad[i].reg, bad[i].value);
		assert_int_equal(guest_time(f), was);
		put(f, B, H24 | SET);
		put(f, bad[i].reg, bad[i].value);
		assert_int_equal(get(f, bad[i].reg), bad[i].value);
		put(f, B, H24);
		assert_int_equal(guest_time(f), was);
	}
}

static void february_29_exists_in_leap_years_only(void **state)
{
	static const struct {
		int year;
		bool leap;
	} want[] = {{2023, false}, {2024, true}, {2000, true}, {2100, false},
		{2400, true}, {2500, false}};
	struct fixture *f = *state;
	unsigned i;

	for (i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		struct tm tm = {.tm_year = want[i].year - 1900,
			.tm_mon = 1,
			.tm_mday = 29};
		int64_t was = guest_time(f);

		set_time(f, &tm, false);
		assert_int_equal(
			guest_time(f), want[i].leap ? timegm(&tm) : was);
	}
}

static void uip_warns_244_us_before_each_update(void **state)
{
	struct fixture *f = *state;

	f->now_ns = 1700000000 * S + S - 244001;
	assert_int_equal(get(f, A) & UIP, 0);
	f->now_ns++;
	assert_int_equal(get(f, A) & UIP, UIP);
	f->now_ns = 1700000001 * S;
	assert_int_equal(get(f, A) & UIP, 0);
}

/* Each poll takes 0.3 s, so none falls into the warning. */
static void a_slow_poller_sees_uip_come_and_go_within_two_seconds(void **state)
{
	struct fixture *f = *state;
	unsigned polls = 0;

	while (!(get(f, A) & UIP)) {
		assert_true(++polls < 8);
		f->now_ns += 300000000;
	}
	assert_int_equal(get(f, A) & UIP, 0);
}

static void a_first_look_after_long_does_not_show_uip(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, A) & UIP, 0);
	f->now_ns += 1000 * S;
	assert_int_equal(get(f, A) & UIP, 0);
}

static void register_c_tells_once_that_a_second_has_passed(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, C), 0);
	f->now_ns += S;
	assert_int_equal(get(f, C), UF);
	assert_int_equal(get(f, C), 0);
	put(f, C, 0xff);
	assert_int_equal(get(f, C), 0);
}

static void alarms_rates_and_memory_keep_what_is_written(void **state)
{
	struct fixture *f = *state;
	unsigned reg;

	for (reg = 0x0e; reg < 0x80; reg++)
		if (reg != CENTURY)
			put(f, (uint8_t)reg, (uint8_t)(reg ^ 0x5a));
	put(f, 1, 0xc0);
	put(f, 3, 0xff);
	put(f, 5, 0x07);
	put(f, A, 0xaf);
	put(f, D, 0x00);
	for (reg = 0x0e; reg < 0x80; reg++)
		if (reg != CENTURY)
			assert_int_equal(get(f, (uint8_t)reg), reg ^ 0x5a);
	assert_int_equal(get(f, 1), 0xc0);
	assert_int_equal(get(f, 3), 0xff);
	assert_int_equal(get(f, 5), 0x07);
	assert_int_equal(get(f, A) & 0x7f, 0x2f);
	assert_int_equal(get(f, D), 0x80);
}

static void the_nmi_bit_of_the_index_is_ignored(void **state)
{
	struct fixture *f = *state;

	put(f, 0x40, 0x12);
	assert_int_equal(get(f, 0xc0), 0x12);
	assert_int_equal(in(&f->range, 0, 1), 0xff);
}

static void a_wide_write_sets_index_and_data(void **state)
{
	struct fixture *f = *state;

	out(&f->range, 0, 2, 0x7741);
	assert_int_equal(get(f, 0x41), 0x77);
	assert_int_equal(in(&f->range, 0, 2), 0x77ff);
}

static void reset_keeps_time_and_memory_but_not_the_mode(void **state)
{
	struct fixture *f = *state;
	int64_t was;

	put(f, HOUR, 0x03);
	put(f, 0x50, 0x99);
	was = guest_time(f);
	put(f, B, SET | BINARY | 0x78);
	put(f, A, 0x70);
	f->dev->ops->reset(f->dev);
	assert_int_equal(get(f, B), H24);
	assert_int_equal(get(f, A), 0x26);
	assert_int_equal(get(f, 0x50), 0x99);
	assert_int_equal(guest_time(f), was);
}

static void without_options_it_is_the_time_of_the_host(void **state)
{
	struct fixture f = {0};
	int64_t before, guest, after;

	assert_int_equal(rtc_create(NULL, &f.dev, &f.range), 0);
	/* A second may pass between two register reads: try until none did. */
	do {
		before = time(NULL);
		guest = guest_time(&f);
		after = time(NULL);
	} while (before != after);
	assert_in_range(guest, before - 1, after + 1);
	f.dev->ops->destroy(f.dev);
}

static void state_survives_and_is_golden(void **state)
{
	struct fixture *f = *state, g = {.now_ns = f->now_ns};
	struct rtc_options opt = {test_clock, &g};

	assert_int_equal(rtc_create(&opt, &g.dev, &g.range), 0);
	put(f, 0x60, 0xab);
	put(f, YEAR, 0x30); /* an offset */
	get(f, A);
	get(f, C);
	out(&f->range, 0, 1, 0x60);
	assert_golden("rtc-v1", f->dev, g.dev);
	assert_int_equal(in(&g.range, 1, 1), 0xab); /* the index too */
	assert_int_equal(guest_time(&g), guest_time(f));
	assert_int_equal(get(&g, YEAR), 0x30);

	put(f, B, SET | H24); /* held: then the registers are the state */
	put(f, SEC, 0x59);
	assert_golden("rtc-held-v1", f->dev, g.dev);
	put(&g, B, H24);
	assert_int_equal(get(&g, SEC), 0x59);
	g.dev->ops->destroy(g.dev);
}

static void a_save_does_not_depend_on_the_hour(void **state)
{
	struct fixture *f = *state;
	struct bytes was;

	guest_time(f);
	was = saved(f->dev);
	f->now_ns += 12345 * S;
	get(f, HOUR);
	out(&f->range, 0, 1, CENTURY); /* as guest_time() left it */
	get(f, B);
	out(&f->range, 0, 1, B);
	assert_saves_as(f->dev, &was);
	free(was.p);
}

static void a_load_refuses_what_cannot_be(void **state)
{
	struct fixture *f = *state;
	struct bytes good = saved(f->dev);
	uint64_t far = UINT64_C(1) << 62;
	uint32_t ns = 1000000000;
	struct bytes now;

	put(f, YEAR, 0x77); /* to see that it stays */
	put(f, 0x44, 0x44);
	assert_refuses_wrong_lengths(f->dev, &good);
	now = good;
	good = saved(f->dev);
	free(now.p);
	assert_int_equal(load_patched(f->dev, &good, 0, &far, 8), -EPROTO);
	assert_int_equal(load_patched(f->dev, &good, 8, &ns, 4), -EPROTO);
	assert_int_equal(load_patched(f->dev, &good, 20, &far, 8), -EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, 28, 0x80), -EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, 29, 2), -EBADMSG);
	assert_int_equal(load_with_byte(f->dev, &good, 31 + A, UIP), -EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, 31 + C, 1), -EPROTO);
	assert_int_equal(load_with_byte(f->dev, &good, 31 + D, 1), -EPROTO);
	assert_saves_as(f->dev, &good);
	free(good.p);
}

static void no_access_does_harm(void **state)
{
	uint64_t rnd = testing_seed(__func__);
	struct fixture *f = *state;
	unsigned i;

	for (i = 0; i < 50; i++) {
		hammer(&f->range, &rnd);
		/* Time registers mostly, control in between. */
		put(f, (uint8_t)(testing_random(&rnd) % 14),
			(uint8_t)testing_random(&rnd));
		f->now_ns += (int64_t)(testing_random(&rnd) % (90 * 86400 * S));
		assert_survives(f->dev, f->dev);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(at_power_on_it_shows_the_host_time_in_bcd_and_24_h),
		TEST(register_b_chooses_binary_and_12_h),
		TEST(it_agrees_with_the_c_library_on_every_date),
		TEST(a_time_the_guest_sets_goes_on_from_there),
		TEST(set_without_divider_keeps_where_seconds_fall),
		TEST(after_a_divider_reset_the_first_second_is_half),
		TEST(while_set_is_on_the_registers_stand_still),
		TEST(touching_set_without_a_write_loses_no_time),
		TEST(a_single_field_can_be_written_while_it_runs),
		TEST(a_time_in_12_h_is_understood),
		TEST(dates_that_do_not_exist_leave_the_clock_as_it_was),
		TEST(february_29_exists_in_leap_years_only),
		TEST(uip_warns_244_us_before_each_update),
		TEST(a_slow_poller_sees_uip_come_and_go_within_two_seconds),
		TEST(a_first_look_after_long_does_not_show_uip),
		TEST(register_c_tells_once_that_a_second_has_passed),
		TEST(alarms_rates_and_memory_keep_what_is_written),
		TEST(the_nmi_bit_of_the_index_is_ignored),
		TEST(a_wide_write_sets_index_and_data),
		TEST(reset_keeps_time_and_memory_but_not_the_mode),
		TEST(without_options_it_is_the_time_of_the_host),
		TEST(state_survives_and_is_golden),
		TEST(a_save_does_not_depend_on_the_hour),
		TEST(a_load_refuses_what_cannot_be),
		TEST(no_access_does_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
