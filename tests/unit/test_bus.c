/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_bus.c - dispatch: who answers, who must not. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/bus.h"
#include "vmm/error.h"

struct probe {
	uint64_t off, value;
	unsigned len, reads, writes;
};

static uint64_t probe_read(void *opaque, uint64_t off, unsigned len)
{
	struct probe *p = opaque;

	p->off = off;
	p->len = len;
	p->reads++;
	return 0x1122334455667788u;
}

static void probe_write(
	void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct probe *p = opaque;

	p->off = off;
	p->len = len;
	p->value = value;
	p->writes++;
}

static const struct bus_ops probe_ops = {probe_read, probe_write};

static int add(struct bus *bus, uint64_t base, uint64_t size, struct probe *p)
{
	struct bus_range range = {base, size, &probe_ops, p, "probe"};
	struct error err;

	return bus_add(bus, &range, &err);
}

static void an_access_reaches_the_range_that_holds_it_whole(void **state)
{
	struct probe p[3] = {0};
	struct bus bus = {0};
	uint64_t v;

	/* Added out of order on purpose. */
	assert_int_equal(add(&bus, 0x3f8, 8, &p[1]), 0);
	assert_int_equal(add(&bus, 0xd0000000, 0x200, &p[2]), 0);
	assert_int_equal(add(&bus, 0x60, 5, &p[0]), 0);

	assert_true(bus_write(&bus, 0x3ff, 1, 0xab));
	assert_int_equal(p[1].off, 7);
	assert_int_equal(p[1].value, 0xab);
	assert_true(bus_read(&bus, 0x60, 1, &v));
	assert_int_equal(v, 0x1122334455667788u);
	assert_true(bus_read(&bus, 0xd00001fc, 4, &v));
	assert_int_equal(p[2].off, 0x1fc);
	assert_int_equal(p[2].len, 4);
}

static void nobody_answers_outside_or_across_the_end(void **state)
{
	uint64_t addr[] = {0, 0x3f7, 0x400, 0x5f, UINT64_MAX};
	struct probe p = {0};
	struct bus bus = {0};
	uint64_t v;
	unsigned i;

	assert_int_equal(add(&bus, 0x3f8, 8, &p), 0);
	for (i = 0; i < sizeof(addr) / sizeof(addr[0]); i++) {
		v = 0;
		assert_false(bus_read(&bus, addr[i], 1, &v));
		assert_int_equal(v, UINT64_MAX);
		assert_false(bus_write(&bus, addr[i], 1, 0));
	}
	assert_false(bus_read(&bus, 0x3fe, 4, &v)); /* crosses the end */
	assert_false(bus_read(&bus, 0x3f6, 4, &v)); /* crosses the start */
	assert_int_equal(p.reads + p.writes, 0);
}

static void ranges_that_overlap_wrap_or_are_empty_are_refused(void **state)
{
	struct probe p = {0};
	struct bus bus = {0};

	assert_int_equal(add(&bus, 0x100, 0x10, &p), 0);
	assert_int_equal(add(&bus, 0x10f, 1, &p), -EEXIST);
	assert_int_equal(add(&bus, 0xf0, 0x11, &p), -EEXIST);
	assert_int_equal(add(&bus, 0x0, 0x1000, &p), -EEXIST);
	assert_int_equal(add(&bus, 0x200, 0, &p), -EINVAL);
	assert_int_equal(add(&bus, UINT64_MAX, 2, &p), -EINVAL);
	assert_int_equal(add(&bus, 0x110, 1, &p), 0);
	assert_int_equal(add(&bus, 0xff, 1, &p), 0);
	assert_int_equal(bus.count, 3);
}

static void a_full_table_is_an_error_not_an_overflow(void **state)
{
	struct probe p = {0};
	struct bus bus = {0};
	unsigned i;

	for (i = 0; i < BUS_RANGES_MAX; i++)
		assert_int_equal(add(&bus, 1000 - i * 4, 4, &p), 0);
	assert_int_equal(add(&bus, 5000, 4, &p), -ENOSPC);
	for (i = 1; i < bus.count; i++)
		assert_true(bus.range[i - 1].base < bus.range[i].base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			an_access_reaches_the_range_that_holds_it_whole),
		cmocka_unit_test(nobody_answers_outside_or_across_the_end),
		cmocka_unit_test(
			ranges_that_overlap_wrap_or_are_empty_are_refused),
		cmocka_unit_test(a_full_table_is_an_error_not_an_overflow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
