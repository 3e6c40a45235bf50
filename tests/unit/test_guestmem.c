/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_guestmem.c - guest RAM: bounds, the hole, dirty marks. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

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

/* ---- giving memory back ---- */

static unsigned resident(const struct guestmem *gm, uint64_t off, uint64_t len)
{
	unsigned char map[1024];
	unsigned i, n = 0;

	assert_true(len / 4096 <= sizeof(map));
	assert_int_equal(mincore(gm->base + off, len, map), 0);
	for (i = 0; i < len / 4096; i++)
		n += map[i] & 1;
	return n;
}

static void what_is_discarded_costs_nothing_and_reads_as_zero(void **state)
{
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	unsigned i;

	for (i = 0; i < 2; i++) {
		struct guestmem gm = make(4 * MIB, backing[i]);

		memset(gm.base, 0xaa, 4 * MIB);
		assert_int_equal(guestmem_unit(&gm), 4096);
		/* Whole pages only. */
		assert_int_equal(guestmem_discard(&gm, 4097, 3 * 4096), 0);
		assert_int_equal(resident(&gm, 0, 4 * MIB), 1022);
		assert_int_equal(gm.base[2 * 4096 - 1], 0xaa);
		assert_int_equal(gm.base[2 * 4096], 0);
		assert_int_equal(gm.base[4 * 4096 - 1], 0);
		assert_int_equal(gm.base[4 * 4096], 0xaa);
		assert_int_equal(guestmem_discard(&gm, 8 * 4096 + 1, 4095), 0);
		assert_int_equal(guestmem_discard(&gm, 8 * 4096, 4095), 0);
		assert_int_equal(gm.base[8 * 4096], 0xaa);
		assert_int_equal(guestmem_discard(&gm, 0, 4 * MIB), 0);
		assert_int_equal(resident(&gm, 0, 4 * MIB), 0);
		/* And it is memory still. */
		gm.base[0] = 1;
		assert_int_equal(resident(&gm, 0, 4 * MIB), 1);
		guestmem_fini(&gm);
	}
}

static void only_ram_of_one_region_is_discarded(void **state)
{
	struct guestmem gm = make(3 * GIB + 2 * MIB, GUESTMEM_ANON);
	static const struct {
		uint64_t gpa, len;
	} bad[] = {
		{0, 0},
		{3 * GIB, 4096},
		{3 * GIB - 4096, 8192},
		{4 * GIB - 4096, 8192},
		{4 * GIB, 2 * MIB + 1},
		{4 * GIB + 2 * MIB, 1},
		{0, UINT64_MAX},
		{UINT64_MAX - 4095, 4096},
		{UINT64_MAX, 2},
	};
	unsigned i;

	gm.base[3 * GIB - 1] = gm.base[3 * GIB] = 7;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
			guestmem_discard(&gm, bad[i].gpa, bad[i].len), -EINVAL);
	assert_int_equal(gm.base[3 * GIB - 1], 7);
	assert_int_equal(gm.base[3 * GIB], 7);
	assert_int_equal(guestmem_discard(&gm, 4 * GIB, 4096), 0);
	assert_int_equal(gm.base[3 * GIB - 1], 7);
	assert_int_equal(gm.base[3 * GIB], 0);
	assert_int_equal(guestmem_gpa(&gm, gm.base + 3 * GIB - 1), 3 * GIB - 1);
	assert_int_equal(guestmem_gpa(&gm, gm.base + 3 * GIB), 4 * GIB);
	guestmem_fini(&gm);
}

static void of_huge_pages_only_whole_ones_are_discarded(void **state)
{
	struct guestmem gm = make(6 * MIB, GUESTMEM_MEMFD);

	gm.backing = GUESTMEM_HUGETLB; /* what matters is their size */
	memset(gm.base, 0xaa, 6 * MIB);
	assert_int_equal(guestmem_unit(&gm), 2 * MIB);
	assert_int_equal(guestmem_discard(&gm, 4096, 4 * MIB - 4096), 0);
	assert_int_equal(gm.base[2 * MIB - 1], 0xaa);
	assert_int_equal(gm.base[2 * MIB], 0);
	assert_int_equal(gm.base[4 * MIB - 1], 0);
	assert_int_equal(gm.base[4 * MIB], 0xaa);
	assert_int_equal(guestmem_discard(&gm, 4096, 3 * MIB), 0);
	assert_int_equal(gm.base[0], 0xaa);
	guestmem_fini(&gm);
}

static void a_discard_is_a_write_for_the_dirty_log(void **state)
{
	struct guestmem gm = make(4 * MIB, GUESTMEM_ANON);
	uint64_t map[1024 / 64] = {0};

	assert_int_equal(guestmem_dirty_log_start(&gm), 0);
	assert_int_equal(guestmem_discard(&gm, 64 * 4096 - 1, 2 * 4096 + 2), 0);
	guestmem_inhibit_discard(&gm);
	assert_int_equal(guestmem_discard(&gm, 0, 4096), -EBUSY);
	guestmem_allow_discard(&gm);
	guestmem_dirty_fetch(&gm, map);
	assert_int_equal(map[0], 0);
	assert_int_equal(map[1], 3);
	guestmem_fini(&gm);
}

static void note_allowed(void *opaque)
{
	++*(unsigned *)opaque;
}

static void inhibits_are_counted_and_the_last_end_is_told(void **state)
{
	struct guestmem gm = make(4 * MIB, GUESTMEM_ANON);
	unsigned a = 0, c = 0;
	struct guestmem_watch one = {note_allowed, &a, NULL};
	struct guestmem_watch two = {note_allowed, &c, NULL};

	guestmem_watch_add(&gm, &one);
	guestmem_watch_add(&gm, &two);
	assert_false(guestmem_discard_inhibited(&gm));
	gm.base[0] = 7;
	guestmem_inhibit_discard(&gm);
	guestmem_inhibit_discard(&gm);
	guestmem_allow_discard(&gm);
	assert_true(guestmem_discard_inhibited(&gm));
	assert_int_equal(guestmem_discard(&gm, 0, 4096), -EBUSY);
	assert_int_equal(gm.base[0], 7);
	assert_int_equal(a + c, 0);
	guestmem_allow_discard(&gm);
	assert_int_equal(a, 1);
	assert_int_equal(c, 1);
	guestmem_watch_remove(&gm, &one);
	guestmem_watch_remove(&gm, &one);
	guestmem_inhibit_discard(&gm);
	guestmem_allow_discard(&gm);
	assert_int_equal(a, 1);
	assert_int_equal(c, 2);
	assert_int_equal(guestmem_discard(&gm, 0, 4096), 0);
	assert_int_equal(gm.base[0], 0);
	guestmem_fini(&gm);
}

struct racer {
	struct guestmem *gm;
	_Atomic bool stop;
	unsigned done;
};

static void *discard_all_the_time(void *opaque)
{
	struct racer *r = opaque;

	while (!atomic_load(&r->stop))
		r->done += guestmem_discard(r->gm, 0, 64 * 4096) == 0;
	return NULL;
}

static void after_an_inhibit_no_page_goes_whoever_discards(void **state)
{
	struct guestmem gm = make(4 * MIB, GUESTMEM_ANON);
	struct racer r = {.gm = &gm};
	unsigned round, i;
	pthread_t thread;

	assert_int_equal(
		pthread_create(&thread, NULL, discard_all_the_time, &r), 0);
	for (round = 0; round < 300; round++) {
		guestmem_inhibit_discard(&gm);
		for (i = 0; i < 64; i++)
			gm.base[i * 4096] = (uint8_t)(round | 1);
		sched_yield();
		for (i = 0; i < 64; i++)
			assert_int_equal(
				gm.base[i * 4096], (uint8_t)(round | 1));
		guestmem_allow_discard(&gm);
	}
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
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
		cmocka_unit_test(
			what_is_discarded_costs_nothing_and_reads_as_zero),
		cmocka_unit_test(only_ram_of_one_region_is_discarded),
		cmocka_unit_test(of_huge_pages_only_whole_ones_are_discarded),
		cmocka_unit_test(a_discard_is_a_write_for_the_dirty_log),
		cmocka_unit_test(inhibits_are_counted_and_the_last_end_is_told),
		cmocka_unit_test(
			after_an_inhibit_no_page_goes_whoever_discards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
