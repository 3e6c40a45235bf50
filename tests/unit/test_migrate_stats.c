/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_migrate_stats.c - figures of a migration as JSON. */
#include "tests/lib/testing.h"

#include <string.h>

#include <jansson.h>

#include "migrate/stats.h"

static json_int_t count_below(const json_t *stats, json_int_t below_us)
{
	json_t *item, *bound;
	size_t i;

	json_array_foreach(
		json_object_get(json_object_get(stats, "faults"), "histogram"),
		i, item)
	{
		bound = json_object_get(item, "below_us");
		if (bound ? json_integer_value(bound) == below_us
			  : below_us == 0)
			return json_integer_value(
				json_object_get(item, "count"));
	}
	return 0;
}

static void faults_are_counted_below_powers_of_two(void **state)
{
	static const uint64_t ns[] = {0, 999, 1000, 1999, 2000, 3999, 4000,
		127999, 128000, UINT64_MAX / 16};
	static struct migrate_stats s;
	json_t *stats;
	unsigned i;

	for (i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
		migrate_stats_fault(&s, ns[i]);
	stats = migrate_stats_json(&s);
	assert_int_equal(count_below(stats, 1), 2);
	assert_int_equal(count_below(stats, 2), 2);
	assert_int_equal(count_below(stats, 4), 2);
	assert_int_equal(count_below(stats, 8), 1);
	assert_int_equal(count_below(stats, 128), 1);
	assert_int_equal(count_below(stats, 256), 1);
	assert_int_equal(count_below(stats, 0), 1); /* the last: no bound */
	assert_int_equal(json_integer_value(json_object_get(
				 json_object_get(stats, "faults"), "count")),
		10);
	json_decref(stats);
}

static void downtime_is_split_as_far_as_it_is_known(void **state)
{
	static struct migrate_stats s;
	json_t *stats = migrate_stats_json(&s), *downtime;

	downtime = json_object_get(stats, "downtime");
	assert_int_equal(json_object_size(downtime), 0);
	json_decref(stats);
	s.stop_ns = 1000000;
	s.stopped_ns = 1100000;
	s.sent_ns = 1300000;
	stats = migrate_stats_json(&s);
	downtime = json_object_get(stats, "downtime");
	assert_int_equal(json_object_size(downtime), 2);
	json_decref(stats);
	s.loaded_ns = 1600000;
	s.running_ns = 2000000;
	stats = migrate_stats_json(&s);
	downtime = json_object_get(stats, "downtime");
	assert_true(
		json_real_value(json_object_get(downtime, "save_us")) == 100);
	assert_true(
		json_real_value(json_object_get(downtime, "send_us")) == 200);
	assert_true(
		json_real_value(json_object_get(downtime, "load_us")) == 300);
	assert_true(
		json_real_value(json_object_get(downtime, "run_us")) == 400);
	assert_true(
		json_real_value(json_object_get(downtime, "total_us")) == 1000);
	json_decref(stats);
}

static void every_counter_has_its_field(void **state)
{
	static struct migrate_stats s;
	const struct {
		_Atomic uint64_t *value;
		const char *name;
	} pages[] = {
		{&s.pages_full, "full"},
		{&s.pages_zero, "zero"},
		{&s.pages_requested, "requested"},
		{&s.pages_background, "background"},
		{&s.pages_duplicate, "duplicate"},
		{&s.pages_discarded, "discarded"},
		{&s.pages_left, "left"},
		{&s.pages_placed, "placed"},
		{&s.pages_again, "again"},
	};
	json_t *stats;
	unsigned i;

	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		*pages[i].value = 100 + i;
	s.bytes = 1;
	s.ram_bytes = 2;
	s.bytes_per_s = 3;
	s.dirty_per_s = 4;
	s.round = 5;
	s.start_ns = 1000000;
	s.end_ns = 3500000;
	stats = migrate_stats_json(&s);
	for (i = 0; i < sizeof(pages) / sizeof(pages[0]); i++)
		assert_int_equal(json_integer_value(json_object_get(
					 json_object_get(stats, "pages"),
					 pages[i].name)),
			100 + i);
	assert_int_equal(
		json_integer_value(json_object_get(stats, "bytes")), 1);
	assert_int_equal(
		json_integer_value(json_object_get(stats, "ram_bytes")), 2);
	assert_int_equal(
		json_integer_value(json_object_get(stats, "bytes_per_s")), 3);
	assert_int_equal(
		json_integer_value(json_object_get(stats, "dirty_pages_per_s")),
		4);
	assert_int_equal(
		json_integer_value(json_object_get(stats, "round")), 5);
	assert_true(
		json_real_value(json_object_get(stats, "elapsed_ms")) == 2.5);
	json_decref(stats);
}

static void every_phase_has_a_name(void **state)
{
	unsigned i, j;

	for (i = MIGRATE_IDLE; i <= MIGRATE_UNKNOWN; i++)
		for (j = MIGRATE_IDLE; j < i; j++)
			assert_string_not_equal(
				migrate_phase_name((enum migrate_phase)i),
				migrate_phase_name((enum migrate_phase)j));
	assert_string_equal(migrate_phase_name(MIGRATE_PRECOPY), "precopy");
	assert_string_equal(
		migrate_phase_name((enum migrate_phase)99), "invalid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_are_counted_below_powers_of_two),
		cmocka_unit_test(downtime_is_split_as_far_as_it_is_known),
		cmocka_unit_test(every_counter_has_its_field),
		cmocka_unit_test(every_phase_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
