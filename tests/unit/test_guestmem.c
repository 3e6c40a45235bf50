/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_guestmem.c - guest RAM: bounds, the hole, dirty marks. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static struct guestmem make(uint64_t size, enum guestmem_backing backing)
{
	struct guestmem_options opt = {.size = size, .backing = backing};
	struct guestmem gm;
	struct error err;

	assert_int_equal(guestmem_init(&gm, &opt, &err), 0);
	return gm;
}

static void ram_is_zeroed_and_every_backing_works(void **state)
{
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	unsigned i;

	for (i = 0; i < 2; i++) {
		struct guestmem gm = make(4 * MIB, backing[i]);
		uint8_t *p = guestmem_at(&gm, 0, 4 * MIB);

		assert_non_null(p);
		assert_int_equal(p[0], 0);
		assert_int_equal(p[4 * MIB - 1], 0);
		p[4 * MIB - 1] = 7;
		assert_int_equal((uintptr_t)gm.base % (2 * MIB), 0);
		assert_int_equal(gm.fd >= 0, backing[i] == GUESTMEM_MEMFD);
		guestmem_fini(&gm);
		assert_null(gm.base);
	}
}

static long huge_pages_free(void)
{
	FILE *f = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/"
			"free_hugepages",
		"re");
	long n = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%ld", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

static void sizes_that_cannot_be_are_refused(void **state)
{
	struct guestmem_options opt = {.size = 0};
	int fds = testing_fd_count();
	struct guestmem gm;
	struct error err;

	assert_int_equal(guestmem_init(&gm, &opt, &err), -EINVAL);
	opt.size = 4097;
	assert_int_equal(guestmem_init(&gm, &opt, &err), -EINVAL);
	assert_non_null(strstr(err.text, "4096"));
	opt.size = 1ull << 60;
	assert_int_equal(guestmem_init(&gm, &opt, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "smaller -m"));
	opt.size = 3 * MIB; /* odd number of MiB is no whole huge page */
	opt.backing = GUESTMEM_HUGETLB;
	assert_int_equal(guestmem_init(&gm, &opt, &err), -EINVAL);
	if (huge_pages_free() < 512) {
		opt.size = 1 * GIB;
		assert_true(guestmem_init(&gm, &opt, &err) < 0);
		assert_non_null(strstr(err.text, "nr_hugepages"));
	}
	assert_int_equal(testing_fd_count(), fds);
}

static void the_hole_is_not_ram_and_what_lies_above_follows_it(void **state)
{
	struct guestmem gm = make(4 * GIB, GUESTMEM_ANON);
	uint8_t *base = gm.base;

	assert_int_equal(gm.regions, 2);
	assert_ptr_equal(guestmem_at(&gm, 3 * GIB - 1, 1), base + 3 * GIB - 1);
	assert_null(guestmem_at(&gm, 3 * GIB, 1));
	assert_null(guestmem_at(&gm, 3 * GIB - 1, 2));
	assert_null(guestmem_at(&gm, 4 * GIB - 1, 1));
	assert_null(guestmem_at(&gm, 4 * GIB - 1, 2));
	assert_ptr_equal(guestmem_at(&gm, 4 * GIB, 1), base + 3 * GIB);
	assert_ptr_equal(guestmem_at(&gm, 5 * GIB - 1, 1), base + 4 * GIB - 1);
	assert_null(guestmem_at(&gm, 5 * GIB, 1));
	guestmem_fini(&gm);
}

static void lengths_that_wrap_find_nothing(void **state)
{
	struct guestmem gm = make(4 * MIB, GUESTMEM_ANON);
	uint8_t byte = 0;

	assert_null(guestmem_at(&gm, 0, 0));
	assert_null(guestmem_at(&gm, 0, UINT64_MAX));
	assert_null(guestmem_at(&gm, 4096, UINT64_MAX - 4095));
	assert_null(guestmem_at(&gm, UINT64_MAX, 1));
	assert_null(guestmem_at(&gm, UINT64_MAX, UINT64_MAX));
	assert_null(guestmem_at(&gm, 4 * MIB - 1, 2));
	assert_non_null(guestmem_at(&gm, 4 * MIB - 1, 1));
	assert_false(guestmem_write(&gm, 4 * MIB, &byte, 1));
	assert_false(guestmem_read(&gm, UINT64_MAX, &byte, 1));
	guestmem_fini(&gm);
}

static uint64_t bits(const uint64_t *map, size_t words)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < words; i++)
		n += (uint64_t)__builtin_popcountll(map[i]);
	return n;
}

static void dirty_marks_are_exact_and_fetched_once(void **state)
{
	struct guestmem gm = make(3 * GIB + 2 * MIB, GUESTMEM_ANON);
	size_t words = (size_t)(gm.size / 4096 + 63) / 64;
	uint64_t *map = calloc(words, 8);
	uint64_t page = 3 * GIB / 4096; /* RAM offset of 4 GiB */

	/* Nothing is recorded before the start. */
	assert_true(guestmem_write(&gm, 0, "x", 1));
	assert_int_equal(guestmem_dirty_log_start(&gm), 0);
	guestmem_dirty_fetch(&gm, map);
	assert_int_equal(bits(map, words), 0);

	assert_true(guestmem_write(&gm, 4095, "xy", 2)); /* pages 0 and 1 */
	guestmem_mark_dirty(&gm, 4 * GIB, 1);
	guestmem_mark_dirty(&gm, 64 * 4096, 4096);
	guestmem_mark_dirty(&gm, UINT64_MAX, 8); /* ignored */
	guestmem_mark_dirty(&gm, 0, 0);
	guestmem_dirty_fetch(&gm, map);
	assert_int_equal(map[0], 3);
	assert_int_equal(map[1], 1);
	assert_int_equal(map[page / 64], 1ull << (page % 64));
	assert_int_equal(bits(map, words), 4);

	memset(map, 0, words * 8);
	guestmem_dirty_fetch(&gm, map);
	assert_int_equal(bits(map, words), 0);
	guestmem_dirty_log_stop(&gm);
	guestmem_mark_dirty(&gm, 0, 1);
	guestmem_dirty_fetch(&gm, map);
	assert_int_equal(bits(map, words), 0);
	free(map);
	guestmem_fini(&gm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ram_is_zeroed_and_every_backing_works),
		cmocka_unit_test(sizes_that_cannot_be_are_refused),
		cmocka_unit_test(
			the_hole_is_not_ram_and_what_lies_above_follows_it),
		cmocka_unit_test(lengths_that_wrap_find_nothing),
		cmocka_unit_test(dirty_marks_are_exact_and_fetched_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
