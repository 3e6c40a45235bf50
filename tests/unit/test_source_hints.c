/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_source_hints.c - pages that the guest does not need are not
 * sent, and no write to a page in use again is lost (Q6).
 */
#include "tests/unit/source_rig.h"

#define PAGES 4096u
#define FIRST 1024u /* hinted: two thirds of a word less than 1024 pages */
#define COUNT 980u

static uint64_t hinted(const struct rig *r)
{
	return source_stats(r->source)->pages_hinted;
}

static void begin(struct rig *r, fake_phase *phase)
{
	rig_init(r, PAGES, SOURCE_POSTCOPY_NEVER);
	r->src.gives_hints = true;
	r->src.phase = phase;
	r->src.phase_opaque = r;
	r->src.hook_opaque = r;
	fake_guest_write(&r->src, 0, PAGES);
}

/* All pages came, and are right over there but those of [first, first + count).
 */
static void left_out_are(struct rig *r, uint64_t first, uint64_t count)
{
	uint64_t page;

	for (page = 0; page < PAGES; page++) {
		bool left_out = page >= first && page < first + count;

		assert_true(peer_has(r->peer.have, page));
		assert_int_equal(
			fake_guest_page_right(&r->dst, page), !left_out);
	}
}

/* ---- what is left out ---- */

static void hint_at_once(
	void *opaque, struct fake_guest *g, enum migrate_step step)
{
	if (step == MIGRATE_AFTER_SYNC)
		assert_true(fake_guest_hint(g, FIRST, COUNT));
}

static void hinted_pages_are_not_sent(void **state)
{
	struct rig r;

	for (int all_dirty = 0; all_dirty < 2; all_dirty++) {
		begin(&r, hint_at_once);
		r.src.all_dirty = all_dirty;
		rig_run(&r);
		rig_moved(&r);
		left_out_are(&r, FIRST, COUNT);
		assert_int_equal(hinted(&r), COUNT);
		assert_int_equal(
			source_stats(r.source)->pages_full, PAGES - COUNT);
		assert_int_equal(source_stats(r.source)->pages_left, 0);
		assert_string_equal(r.src.steps, "Sabc");
		rig_fini(&r);
	}
}

/* Of ranges that are no whole RAM nothing is believed. */
static void hint_nonsense(
	void *opaque, struct fake_guest *g, enum migrate_step step)
{
	if (step != MIGRATE_AFTER_SYNC)
		return;
	fake_guest_hint(g, PAGES - 1, 2);
	fake_guest_hint(g, PAGES, 1);
	fake_guest_hint(g, UINT64_MAX / GUESTMEM_PAGE, 1);
}

static void hints_outside_ram_are_ignored(void **state)
{
	struct rig r;

	begin(&r, hint_nonsense);
	rig_run(&r);
	rig_moved(&r);
	left_out_are(&r, 0, 0);
	rig_fini(&r);
}

/* ---- what is not lost ---- */

/* Written between the hint and the round that would have sent the page. */
static void hint_and_use(
	void *opaque, struct fake_guest *g, enum migrate_step step)
{
	if (step != MIGRATE_AFTER_SYNC || fake_guest_calls(g, FAKE_DIRTY_SYNC))
		return;
	fake_guest_hint(g, FIRST, COUNT);
	fake_guest_write(g, FIRST + 3, 100);
}

static void a_page_in_use_again_is_sent(void **state)
{
	struct rig r;
	uint64_t page;

	for (int all_dirty = 0; all_dirty < 2; all_dirty++) {
		begin(&r, hint_and_use);
		r.src.all_dirty = all_dirty;
		rig_run(&r);
		rig_moved(&r);
		for (page = FIRST; page < FIRST + COUNT; page++)
			assert_int_equal(fake_guest_page_right(&r.dst, page),
				page >= FIRST + 3 && page < FIRST + 103);
		assert_int_equal(hinted(&r), COUNT);
		rig_fini(&r);
	}
}

/* A driver may give a page back to itself before its hint is read: written
 * first, then hinted. */
static void use_and_hint(
	void *opaque, struct fake_guest *g, enum migrate_step step)
{
	if (step != MIGRATE_AFTER_SYNC || fake_guest_calls(g, FAKE_DIRTY_SYNC))
		return;
	fake_guest_write(g, FIRST, COUNT);
	fake_guest_hint(g, FIRST, COUNT);
}

static void a_page_written_before_its_hint_is_read_is_sent(void **state)
{
	struct rig r;

	begin(&r, use_and_hint);
	r.src.all_dirty = true;
	rig_run(&r);
	rig_moved(&r);
	assert_int_equal(fake_guest_check(&r.dst), 0);
	rig_fini(&r);
}

/* The same in the midst of a round whose chunks are smaller than a word of the
 * bitmap: the first chunk of a word has been chosen; what it will not send is
 * watched again with it, which forgets the write. */
static void use_behind_the_round(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct rig *r = opaque;

	/* The first call is for the whole round. */
	if (op != FAKE_DIRTY_CLEAR ||
		fake_guest_calls(g, FAKE_DIRTY_SYNC) > 0 ||
		fake_guest_calls(g, FAKE_DIRTY_CLEAR) % 2 != 0)
		return;
	fake_guest_write(g, 64ull * r->seen + 40, 8);
	assert_true(fake_guest_hint(g, 64ull * r->seen + 40, 8));
	r->seen++;
}

static void a_hint_in_the_midst_of_its_word_is_too_late(void **state)
{
	struct rig r;

	rig_init(&r, 512, SOURCE_POSTCOPY_NEVER);
	r.src.gives_hints = true;
	r.src.hook = use_behind_the_round;
	r.src.hook_opaque = &r;
	r.opt.bandwidth = 32 * GUESTMEM_PAGE * 100 + 100000;
	fake_guest_write(&r.src, 0, 512);
	rig_run(&r);
	rig_moved(&r);
	assert_int_equal(r.seen, 512 / 64);
	assert_int_equal(fake_guest_check(&r.dst), 0);
	rig_fini(&r);
}

/* ---- when nobody is asked ---- */

/* From the sync on, and as long as the guest is stopped. */
static void hint_too_late(void *opaque, struct fake_guest *g, enum fake_op op)
{
	if (op == FAKE_DIRTY_SYNC || op == FAKE_STOP)
		assert_false(fake_guest_hint(g, 0, PAGES));
	if (op == FAKE_DIRTY_SYNC && fake_guest_calls(g, FAKE_STOP) == 0)
		fake_guest_write(g, 0, 10);
}

static void hints_end_before_the_log_is_read_and_with_the_stop(void **state)
{
	struct rig r;

	begin(&r, NULL);
	r.src.hook = hint_too_late;
	r.opt.max_downtime_ns = 1;
	r.opt.max_rounds = 3;
	rig_run(&r);
	rig_moved(&r);
	left_out_are(&r, 0, 0);
	assert_int_equal(hinted(&r), 0);
	/* Rounds of 10 pages are not worth the question. */
	assert_string_equal(r.src.steps, "Sabc");
	rig_fini(&r);
}

static void dirty_all(void *opaque, struct fake_guest *g, enum fake_op op)
{
	if (op == FAKE_DIRTY_SYNC && fake_guest_calls(g, FAKE_STOP) == 0)
		fake_guest_write(g, 0, PAGES);
}

static void hint_after_use(
	void *opaque, struct fake_guest *g, enum migrate_step step)
{
	if (step == MIGRATE_AFTER_SYNC &&
		fake_guest_calls(g, FAKE_DIRTY_SYNC) > 0)
		fake_guest_hint(g, FIRST, COUNT);
}

static void later_rounds_ask_again(void **state)
{
	struct rig r;

	begin(&r, hint_after_use);
	r.src.hook = dirty_all;
	r.opt.max_downtime_ns = 1;
	r.opt.max_rounds = 3;
	rig_run(&r);
	rig_moved(&r);
	assert_string_equal(r.src.steps, "Sabababc");
	/* Left out of two rounds, sent when the guest was stopped: it had
	 * written them since. */
	assert_int_equal(hinted(&r), 2 * COUNT);
	assert_int_equal(fake_guest_check(&r.dst), 0);
	rig_fini(&r);
}

static void a_guest_that_has_no_hints_is_not_asked(void **state)
{
	struct rig r;

	begin(&r, NULL);
	r.src.gives_hints = false;
	rig_run(&r);
	rig_moved(&r);
	left_out_are(&r, 0, 0);
	assert_string_equal(r.src.steps, "Sc");
	rig_fini(&r);
}

/* ---- ends ---- */

/* All of it is hinted and written again: the switch finds both what the round
 * left out and what it has not come to. */
static void hint_all_and_switch(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct rig *r = opaque;

	if (op != FAKE_DIRTY_CLEAR ||
		fake_guest_calls(g, FAKE_DIRTY_CLEAR) != 4)
		return;
	assert_true(fake_guest_hint(g, PAGES / 2, PAGES / 4));
	fake_guest_write(g, PAGES / 2 + 5, 200);
	assert_int_equal(source_switch(r->source), 0);
}

static void after_a_switch_no_page_is_missing(void **state)
{
	struct rig r;
	uint64_t page;

	begin(&r, hint_at_once);
	r.src.hook = hint_all_and_switch;
	r.opt.postcopy = SOURCE_POSTCOPY_MANUAL;
	rig_run(&r);
	rig_moved(&r);
	assert_true(r.peer.listen);
	for (page = 0; page < PAGES; page++) {
		assert_true(peer_has(r.peer.have, page));
		if (page < FIRST || page >= FIRST + COUNT)
			assert_true(fake_guest_page_right(&r.dst, page));
	}
	assert_string_equal(r.src.steps, "Sabc");
	rig_fini(&r);
}

static enum peer_deed hang_up(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	return type == WIRE_PAGES ? PEER_HANG_UP : PEER_OBEY;
}

static void a_failure_in_the_midst_of_hints_ends_them(void **state)
{
	struct rig r;

	begin(&r, hint_at_once);
	r.peer.hook = hang_up;
	rig_run(&r);
	rig_stayed(&r, 0);
	assert_string_equal(r.src.steps, "Sabc");
	assert_false(fake_guest_hint(&r.src, 0, 1));
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hinted_pages_are_not_sent),
		cmocka_unit_test(hints_outside_ram_are_ignored),
		cmocka_unit_test(a_page_in_use_again_is_sent),
		cmocka_unit_test(
			a_page_written_before_its_hint_is_read_is_sent),
		cmocka_unit_test(a_hint_in_the_midst_of_its_word_is_too_late),
		cmocka_unit_test(
			hints_end_before_the_log_is_read_and_with_the_stop),
		cmocka_unit_test(later_rounds_ask_again),
		cmocka_unit_test(a_guest_that_has_no_hints_is_not_asked),
		cmocka_unit_test(after_a_switch_no_page_is_missing),
		cmocka_unit_test(a_failure_in_the_midst_of_hints_ends_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
