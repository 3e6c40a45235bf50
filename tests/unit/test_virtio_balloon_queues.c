/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_balloon_queues.c - free page reporting, which queue is
 * which, and what a hostile driver puts into them. */
#include "tests/unit/test_balloon_common.h"

/* ---- free page reporting ---- */

static void offer_ranges(const struct vd_buf *buf, unsigned count)
{
	vd_add(&b, REPORT, buf, count);
	vd_kick(&b, REPORT);
	assert_int_equal(vd_wait(&b, REPORT), 0);
}

static void whole_pages_of_every_reported_range_are_given_back(void **state)
{
	struct vd_buf buf[4] = {{PAGES + 1, 3 * 4096, true},
		{0x410000, 0, true}, {0x420000, 2 * 4096, true},
		{0x430010, 4000, true}};

	start();
	fill(PAGES, 0x40000);
	offer_ranges(buf, 4);
	assert_int_equal(resident(PAGES, 4 * 4096), 2);
	assert_true(is_filled(PAGES + 4095) && is_filled(PAGES + 0x3000));
	assert_int_equal(resident(0x420000, 3 * 4096), 1);
	assert_true(is_filled(0x430010));
	assert_int_equal(info().reported_bytes, 4 * 4096);
	assert_int_equal(info().returned_bytes, 4 * 4096);
}

static void reports_of_poisoned_pages_change_nothing(void **state)
{
	struct vd_buf buf = {PAGES, 4096, true};
	uint32_t poison;

	for (poison = 0; poison < 2; poison++) {
		b.next_gpa = 0x1000;
		vd_negotiate(&b, ALL | BIT(VIRTIO_F_VERSION_1));
		vd_write(&b, AT_POISON, poison * 0xaaaaaaaa);
		vd_queue(&b, INFLATE, 16);
		vd_queue(&b, DEFLATE, 16);
		vd_queue(&b, STATS, 16);
		vd_queue(&b, HINT, 16);
		vd_queue(&b, REPORT, 16);
		vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
		fill(PAGES, 4096);
		offer_ranges(&buf, 1);
		assert_int_equal(resident(PAGES, 4096), poison);
		assert_int_equal(is_filled(PAGES), poison);
	}
}

static void reports_while_inhibited_are_answered_and_forgotten(void **state)
{
	struct vd_buf buf = {PAGES, 4096, true};

	start();
	fill(PAGES, 4096);
	guestmem_inhibit_discard(&b.gm);
	offer_ranges(&buf, 1);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_true(is_filled(PAGES));
	assert_int_equal(info().held_bytes, 0);
}

static void large_reports_take_turns_and_lose_no_page(void **state)
{
	struct vd_buf buf[40];
	unsigned i;

	start();
	/* 40 times 3.99 MiB, cut within pages: more than two turns' worth. */
	for (i = 0; i < 40; i++)
		buf[i] = (struct vd_buf){PAGES + 100, 0x3fff00 - 100, true};
	vd_add(&b, REPORT, buf, 40);
	vd_kick(&b, REPORT);
	for (i = 0; vd_used(&b, REPORT) == 0; i++) {
		fill(PAGES, PAGES_END - PAGES);
		loop_poll(b.loop, false);
		assert_int_equal(b.vdev->inflight, 0);
	}
	assert_true(i > 2);
	assert_int_equal(vd_wait(&b, REPORT), 0);
	assert_int_equal(info().reported_bytes, 40ull * 0x3fe000);
}

/* ---- which queue is which ---- */

static void every_set_of_features_works_with_either_numbering(void **state)
{
	static const uint8_t bit[5] = {0, 0, VIRTIO_BALLOON_F_STATS_VQ,
		VIRTIO_BALLOON_F_FREE_PAGE_HINT, VIRTIO_BALLOON_F_REPORTING};
	struct vd_buf range = {PAGES, 4096, true}, figure = {LIST, 10, false};
	unsigned set, by_the_book, i, next;
	uint64_t features;
	unsigned at[5];

	for (set = 0; set < 16; set++) {
		by_the_book = set & 1;
		features = BIT(VIRTIO_F_VERSION_1) | BIT(0);
		vd_negotiate(&b, 0);
		for (i = 2, next = 2; i < 5; i++) {
			at[i] = 99;
			if (set >> (i - 1) & 1) {
				features |= BIT(bit[i]);
				at[i] = by_the_book ? i : next++;
			}
		}
		b.next_gpa = 0x1000;
		vd_negotiate(&b, features);
		vd_queue(&b, 0, 16);
		vd_queue(&b, 1, 16);
		for (i = 2; i < 5; i++)
			if (at[i] < 5)
				vd_queue(&b, at[i], 16);
		vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
		assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf);
		fill(PAGES, 4096);
		give_range(INFLATE, PAGES, 4096);
		assert_int_equal(resident(PAGES, 4096), 0);
		fill(PAGES, 4096);
		if (at[STATS] < 5) {
			/* It is kept: that is what statistics do. */
			vd_add(&b, at[STATS], &figure, 1);
			vd_kick(&b, at[STATS]);
			vd_settle(&b);
			assert_int_equal(vd_used(&b, at[STATS]), 0);
			assert_int_equal(b.vdev->inflight, 1);
		}
		if (at[HINT] < 5) {
			vd_add(&b, at[HINT], &range, 1);
			vd_kick(&b, at[HINT]);
			vd_wait(&b, at[HINT]);
			assert_true(is_filled(PAGES));
		}
		if (at[REPORT] < 5) {
			vd_add(&b, at[REPORT], &range, 1);
			vd_kick(&b, at[REPORT]);
			vd_wait(&b, at[REPORT]);
			assert_int_equal(resident(PAGES, 4096), 0);
		}
	}
}

static void queues_of_features_not_accepted_only_answer(void **state)
{
	struct vd_buf range = {PAGES, 4096, true};
	unsigned q;

	b.next_gpa = 0x1000;
	vd_start(&b, BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST), 5, 16);
	fill(PAGES, 4096);
	for (q = 2; q < 5; q++) {
		vd_add(&b, q, &range, 1);
		vd_kick(&b, q);
		assert_int_equal(vd_wait(&b, q), 0);
	}
	assert_true(is_filled(PAGES));
}

/* ---- hostile ---- */

static void chains_that_make_no_sense_are_answered_everywhere(void **state)
{
	static const struct {
		const char *name;
		unsigned q;
		struct vd_buf buf;
	} table[] = {
		{"a list to write into", INFLATE, {PAGES, 64, true}},
		{"an empty list", INFLATE, {LIST, 0, false}},
		{"less than a page number", INFLATE, {LIST, 3, false}},
		{"a list to write into", DEFLATE, {PAGES, 64, true}},
		{"less than a page number", DEFLATE, {LIST, 3, false}},
		{"a short command", HINT, {LIST, 3, false}},
		{"an empty block", HINT, {PAGES, 0, true}},
		{"a command nobody gave", HINT, {LIST, 4, false}},
		{"a range to read", REPORT, {PAGES, 4096, false}},
		{"an empty range", REPORT, {PAGES, 0, true}},
		{"half a page", REPORT, {PAGES + 8, 4096, true}},
		{"a list outside RAM", INFLATE, {VBENCH_RAM - 2, 4, false}},
		{"a list at the end of space", INFLATE, {~3ull, 8, false}},
		{"a range outside RAM", REPORT, {VBENCH_RAM, 4096, true}},
		{"a range that wraps", REPORT, {~4095ull, 8192, true}},
		{"a range over the end", REPORT,
			{VBENCH_RAM - 4096, 8192, true}},
		{"a block of MMIO", HINT, {VBENCH_GPA, 4096, true}},
	};
	unsigned i;

	start();
	fill(PAGES, 2 * 4096);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		vd_add(&b, table[i].q, &table[i].buf, 1);
		vd_kick(&b, table[i].q);
		vd_settle(&b);
		if (vd_used(&b, table[i].q) != 1)
			fail_msg("%s: not answered", table[i].name);
		vd_wait(&b, table[i].q);
		assert_true(is_filled(PAGES) && is_filled(PAGES + 4096));
	}
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf);
	/* And a good driver is served. */
	give_range(INFLATE, PAGES, 4096);
	assert_int_equal(resident(PAGES, 4096), 0);
}

/* A guest that gives up the pages its own rings lie in hurts itself only. */
static void the_rings_themselves_may_go_into_the_balloon(void **state)
{
	start();
	offer_list(INFLATE, (const uint32_t[]){PFN(b.q[0].desc), PFN(LIST)}, 2);
	vd_settle(&b);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0);
	start();
	fill(PAGES, 4096);
	give_range(INFLATE, PAGES, 4096);
	assert_int_equal(resident(PAGES, 4096), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(whole_pages_of_every_reported_range_are_given_back),
		T(reports_of_poisoned_pages_change_nothing),
		T(reports_while_inhibited_are_answered_and_forgotten),
		T(large_reports_take_turns_and_lose_no_page),
		T(every_set_of_features_works_with_either_numbering),
		T(queues_of_features_not_accepted_only_answer),
		T(chains_that_make_no_sense_are_answered_everywhere),
		T(the_rings_themselves_may_go_into_the_balloon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
