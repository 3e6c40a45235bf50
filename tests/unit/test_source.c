/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_source.c - the sending side when all goes well: policies,
 * what is sent when, and that nothing is lost.  How it fails:
 * test_source_ends.c.
 */
#include "tests/unit/source_rig.h"

#include <sched.h>

#include "migrate/bucket.h"

#define SMALL 1000u /* pages; no multiple of 64 */
#define LARGE 8192u /* more than the connection's buffers hold */

/* Give @n random pages contents. */
static void scatter(struct rig *r, unsigned n)
{
	while (n-- > 0)
		fake_guest_write(
			&r->src, testing_random(&r->random) % r->src.pages, 1);
}

/* Dirty @n random pages behind the sender's back, and note them. */
static void dirty_some(struct rig *r, struct fake_guest *g, unsigned n)
{
	while (n-- > 0) {
		uint64_t page = testing_random(&r->random) % g->pages;

		fake_guest_write(g, page, 1);
		r->written[page / 64] |= UINT64_C(1) << (page % 64);
	}
}

static uint64_t stat_of(const struct rig *r, size_t offset)
{
	return *(const _Atomic uint64_t *)((const char *)source_stats(
						   r->source) +
					   offset);
}
#define STAT(r, name) stat_of(r, offsetof(struct migrate_stats, name))

/* The destination's pages against the source's writes. */
static void all_right(struct rig *r)
{
	uint64_t page;

	for (page = 0; page < r->dst.pages; page++) {
		assert_true(peer_has(r->peer.have, page));
		assert_true(fake_guest_page_right(&r->dst, page));
	}
}

/* ---- precopy ---- */

static void an_idle_guest_moves_by_precopy(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	scatter(&r, 300);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_int_equal(r.peer.frames[WIRE_ADVISE], 0);
	assert_int_equal(r.peer.frames[WIRE_ATTACH], 0);
	assert_int_equal(r.peer.frames[WIRE_ROUND], 1);
	assert_false(r.peer.listen);
	assert_int_equal(STAT(&r, pages_full) + STAT(&r, pages_zero), SMALL);
	assert_in_range(STAT(&r, pages_zero), SMALL - 300, SMALL - 1);
	assert_int_equal(STAT(&r, pages_left), 0);
	assert_int_equal(source_stats(r.source)->phase, MIGRATE_DONE);
	while (!source_ended(r.source))
		sched_yield(); /* done is about to return */
	rig_fini(&r);
}

static void precopy_loses_no_write(void **state)
{
	struct rig r;
	int all_dirty;

	for (all_dirty = 0; all_dirty < 2; all_dirty++) {
		rig_init(&r, 2 * SMALL, SOURCE_POSTCOPY_NEVER);
		r.src.all_dirty = all_dirty;
		r.opt.max_downtime_ns = 1;
		r.opt.max_rounds = 5;
		fake_guest_start(&r.src, false);
		fake_guest_work(&r.src, 100, 700);
		fake_guest_work(&r.dst, 100, 700);
		fake_guest_wait_writes(&r.src, 1000);
		rig_run(&r);
		rig_moved(&r);
		fake_guest_wait_writes(&r.dst, 1000);
		fake_guest_work(&r.dst, 0, 0);
		assert_in_range(r.peer.frames[WIRE_ROUND], 1, 5);
		rig_fini(&r);
	}
}

static void a_paused_guest_arrives_paused(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	fake_guest_start(&r.src, true);
	rig_run(&r);
	rig_moved(&r);
	assert_true(r.dst.paused);
	rig_fini(&r);
}

/* Every page, at every look at the log while the guest runs. */
static void dirty_all(void *opaque, struct fake_guest *g, enum fake_op op)
{
	if (op == FAKE_DIRTY_SYNC && fake_guest_calls(g, FAKE_STOP) == 0)
		fake_guest_write(g, 0, g->pages);
}

static void the_round_limit_ends_a_hopeless_precopy(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	r.opt.max_downtime_ns = 1;
	r.opt.max_rounds = 3;
	r.src.hook = dirty_all;
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_int_equal(r.peer.frames[WIRE_ROUND], 3);
	/* Zero in the first round; then twice, and once more stopped. */
	assert_int_equal(STAT(&r, pages_zero), SMALL);
	assert_int_equal(STAT(&r, pages_full), 3 * SMALL);
	rig_fini(&r);
}

/* Right before the log is told to watch pages again: nobody records these
 * writes, so the pages must not have been read yet. */
static void dirty_all_unseen(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	if (op == FAKE_DIRTY_CLEAR)
		fake_guest_write(g, 0, g->pages);
}

static void the_log_is_cleared_before_the_pages_are_read(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	r.src.all_dirty = true;
	r.opt.max_downtime_ns = 1;
	r.opt.max_rounds = 2;
	r.src.hook = dirty_all_unseen;
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	rig_fini(&r);
}

/* ---- switches ---- */

static void manual_without_a_command_is_precopy(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_MANUAL);
	scatter(&r, 100);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_int_equal(r.peer.frames[WIRE_ADVISE], 1);
	assert_int_equal(r.peer.frames[WIRE_ATTACH], 1);
	assert_false(r.peer.listen);
	assert_int_equal(r.peer.frames[WIRE_DISCARD], 0);
	rig_fini(&r);
}

/* Dirty pages after the round, between the discards and the stop. */
static void dirty_at_the_switch(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct rig *r = opaque;

	if (op == FAKE_DIRTY_SYNC || op == FAKE_STOP)
		if (!(op == FAKE_DIRTY_SYNC &&
			    fake_guest_calls(g, FAKE_STOP) > 0))
			dirty_some(r, g, 60);
}

/* P6 against the model: discarded is what was dirtied after it was sent, and
 * what was never sent; and just that comes, once, after the package. */
static void discards_are_exact(struct rig *r)
{
	uint64_t page;
	bool due;

	assert_true(r->peer.listen);
	assert_int_equal(r->peer.discarded_twice, 0);
	for (page = 0; page < r->src.pages; page++) {
		due = peer_has(r->written, page) ||
		      r->peer.sent_early[page] == 0;
		assert_int_equal(peer_has(r->peer.discarded, page), due);
		assert_int_equal(peer_has(r->peer.missing, page), due);
		assert_int_equal(r->peer.came[page], due);
	}
}

static void after_two_rounds_discards_are_exact(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_AFTER);
	r.opt.after_rounds = 2;
	r.src.hook = dirty_at_the_switch;
	r.src.hook_opaque = &r;
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_int_equal(r.peer.frames[WIRE_ROUND], 2);
	/* What the first round left was sent in the second; the model does not
	 * tell the two apart. */
	assert_int_equal(r.peer.discarded_twice, 0);
	assert_memory_equal(r.peer.discarded, r.peer.missing, r.peer.words * 8);
	assert_int_equal(STAT(&r, pages_background), STAT(&r, pages_discarded));
	rig_fini(&r);
}

static void after_one_round_discards_are_exact(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_AFTER);
	r.src.hook = dirty_at_the_switch;
	r.src.hook_opaque = &r;
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	discards_are_exact(&r);
	rig_fini(&r);
}

static void a_clean_guest_after_one_round_has_nothing_to_discard(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_AFTER);
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	discards_are_exact(&r);
	assert_int_equal(r.peer.frames[WIRE_DISCARD], 0);
	rig_fini(&r);
}

static void immediate_sends_every_page_once_after_the_switch(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_IMMEDIATE);
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	discards_are_exact(&r);
	assert_int_equal(r.peer.frames[WIRE_ROUND], 0);
	assert_int_equal(r.peer.frames[WIRE_DISCARD], 1);
	assert_int_equal(STAT(&r, pages_discarded), SMALL);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_DIRTY_START), 0);
	rig_fini(&r);
}

static void a_stalled_precopy_becomes_postcopy(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_STALLED);
	r.opt.max_downtime_ns = 1;
	r.opt.max_rounds = 100;
	r.src.hook = dirty_all;
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_true(r.peer.listen);
	assert_in_range(r.peer.frames[WIRE_ROUND], 3, 100);
	rig_fini(&r);
}

static void the_round_limit_of_an_automatic_policy_is_a_switch(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_AFTER);
	r.opt.max_downtime_ns = 1;
	r.opt.after_rounds = 50;
	r.opt.max_rounds = 2;
	r.src.hook = dirty_all;
	rig_run(&r);
	rig_moved(&r);
	assert_true(r.peer.listen);
	assert_int_equal(r.peer.frames[WIRE_ROUND], 2);
	rig_fini(&r);
}

static enum peer_deed switch_at(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == r->type && p->frames[type] == r->nth)
		assert_int_equal(source_switch(r->source), 0);
	return PEER_OBEY;
}

static void a_switch_ends_a_round_at_once(void **state)
{
	struct rig r;

	rig_init(&r, LARGE, SOURCE_POSTCOPY_MANUAL);
	fake_guest_write(&r.src, 0, LARGE);
	r.type = WIRE_PAGES;
	r.nth = 3;
	r.peer.hook = switch_at;
	r.peer.opaque = &r;
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	discards_are_exact(&r);
	assert_int_equal(r.peer.frames[WIRE_ROUND], 0);
	assert_true(STAT(&r, pages_discarded) > 0);
	rig_fini(&r);
}

static void a_switch_may_come_before_the_first_page(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_MANUAL);
	scatter(&r, 500);
	r.type = WIRE_MACHINE;
	r.peer.hook = switch_at;
	r.peer.opaque = &r;
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	discards_are_exact(&r);
	assert_int_equal(STAT(&r, pages_discarded), SMALL);
	rig_fini(&r);
}

static void a_late_switch_is_refused_or_harmless(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_MANUAL);
	rig_run(&r);
	rig_moved(&r);
	assert_int_equal(source_switch(r.source), -EALREADY);
	assert_int_equal(source_cancel(r.source), -EALREADY);
	rig_fini(&r);

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	rig_run(&r);
	rig_moved(&r);
	assert_int_equal(source_switch(r.source), -EOPNOTSUPP);
	rig_fini(&r);
}

/* ---- bandwidth ---- */

static enum peer_deed hurry_at(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == WIRE_PAGES && p->frames[type] == 1) {
		if (r->nth == 1)
			source_set_limits(r->source, 0, SOURCE_KEEP);
		else
			source_switch(r->source);
	}
	return PEER_OBEY;
}

static void a_throttled_round_hears_new_limits_and_switches(void **state)
{
	struct rig r;
	unsigned how;

	for (how = 1; how <= 2; how++) {
		rig_init(&r, SMALL, SOURCE_POSTCOPY_MANUAL);
		fake_guest_write(&r.src, 0, SMALL);
		r.opt.bandwidth = 1; /* bytes/s: more than an hour a page */
		r.nth = how;
		r.peer.hook = hurry_at;
		r.peer.opaque = &r;
		rig_run(&r);
		rig_moved(&r);
		all_right(&r);
		assert_int_equal(r.peer.listen, how == 2);
		rig_fini(&r);
	}
}

static void the_bucket_keeps_the_rate(void **state)
{
	struct source_bucket b = {.paid_ns = 0};
	uint64_t rate = 12345678, now = 1000000000, begin = now, sent = 0;
	uint64_t random = 7;

	while (sent < 100 * rate) {
		uint64_t bytes = testing_random(&random) % 300000;

		now += source_bucket_wait(&b, rate, now);
		assert_int_equal(source_bucket_wait(&b, rate, now), 0);
		source_bucket_take(&b, bytes, rate, now);
		sent += bytes;
	}
	now += source_bucket_wait(&b, rate, now);
	/* One burst is saved up at the beginning. */
	assert_in_range((now - begin + SOURCE_BUCKET_NS) / 1000,
		(uint64_t)((double)sent * 1e6 / (double)rate) - 10,
		(uint64_t)((double)sent * 1e6 / (double)rate) + 10);
}

static void the_bucket_saves_up_one_burst_only(void **state)
{
	struct source_bucket b = {.paid_ns = 0};
	uint64_t now = UINT64_C(3600) * 1000000000, rate = 1000000;

	source_bucket_take(&b, rate, rate, now);
	assert_int_equal(source_bucket_wait(&b, rate, now),
		1000000000 - SOURCE_BUCKET_NS);
}

static void a_new_limit_applies_to_the_debt(void **state)
{
	struct source_bucket b = {.paid_ns = 0};
	uint64_t now = UINT64_C(3600) * 1000000000, rate = 1000000;

	source_bucket_take(&b, rate, rate, now);
	assert_int_equal(source_bucket_wait(&b, 10 * rate, now),
		(1000000000 - SOURCE_BUCKET_NS) / 10);
	assert_int_equal(source_bucket_wait(&b, rate, now),
		1000000000 - SOURCE_BUCKET_NS);
}

/* ---- requests ---- */

/* Ask before LOADED, as loading devices may: the answer must come. */
static enum peer_deed ask_early(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == WIRE_PACKAGE) {
		p->packaged = true; /* counts what comes */
		peer_request(p, r->nth == 1, 77, 8);
		peer_read(p, r->nth == 1);
	}
	return PEER_OBEY;
}

static void requests_are_served_before_loaded(void **state)
{
	struct rig r;
	unsigned urgent;
	uint64_t page;

	for (urgent = 0; urgent < 2; urgent++) {
		rig_init(&r, SMALL, SOURCE_POSTCOPY_IMMEDIATE);
		if (!urgent)
			r.peer.features = WIRE_FEATURE_POSTCOPY;
		r.nth = urgent;
		r.peer.hook = ask_early;
		r.peer.opaque = &r;
		scatter(&r, 500);
		rig_run(&r);
		rig_moved(&r);
		all_right(&r);
		for (page = 0; page < SMALL; page++)
			assert_int_equal(r.peer.came[page], 1);
		assert_int_equal(STAT(&r, pages_requested), 8);
		assert_int_equal(STAT(&r, pages_background), SMALL - 8);
		assert_int_equal(STAT(&r, pages_duplicate), 0);
		rig_fini(&r);
	}
}

/* With each frame that is pushed, ask for something random, often again. */
static enum peer_deed ask_all_the_time(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;
	uint64_t page;

	if (type == WIRE_PAGES && p->committed && !urgent) {
		page = testing_random(&r->random) % p->pages;
		r->seen += 2;
		peer_request(p, r->nth == 1, page, 1);
		peer_request(p, r->nth == 1, page, 1);
	}
	return PEER_OBEY;
}

static void each_page_comes_once_whoever_asks(void **state)
{
	struct rig r;
	unsigned urgent;
	uint64_t page;

	for (urgent = 0; urgent < 2; urgent++) {
		rig_init(&r, LARGE, SOURCE_POSTCOPY_IMMEDIATE);
		r.nth = urgent;
		r.peer.hook = ask_all_the_time;
		r.peer.opaque = &r;
		scatter(&r, 6000);
		rig_run(&r);
		rig_moved(&r);
		all_right(&r);
		for (page = 0; page < LARGE; page++)
			assert_int_equal(r.peer.came[page], 1);
		assert_true(STAT(&r, pages_duplicate) >= r.seen / 2 - 4);
		assert_int_equal(
			STAT(&r, pages_requested) + STAT(&r, pages_background),
			LARGE);
		rig_fini(&r);
	}
}

static enum peer_deed ask_far_off(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == WIRE_COMMIT)
		peer_request(p, true, LARGE / 2, 1);
	if (type == WIRE_PAGES && p->committed && !urgent && r->seen == 0 &&
		p->came[LARGE / 2 + 1])
		r->seen = p->frames[WIRE_PAGES];
	return PEER_OBEY;
}

static void a_request_moves_the_push_to_its_place(void **state)
{
	struct rig r;

	rig_init(&r, LARGE, SOURCE_POSTCOPY_IMMEDIATE);
	r.peer.hook = ask_far_off;
	r.peer.opaque = &r;
	fake_guest_write(&r.src, 0, LARGE);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	/* In order it would be after half of the 256 frames of 32 pages. */
	assert_in_range(r.seen, 1, 64);
	rig_fini(&r);
}

/* Ask for some, take the answers for lost, and end the urgent connection. */
static enum peer_deed lose_urgent(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == WIRE_COMMIT) {
		p->packaged = true;
		p->forget_urgent = true;
		peer_request(p, true, 5, 3);
		peer_read(p, true);
		peer_drop(&p->urgent);
		/* Until it knows; else it could have said COMPLETE before. */
		testing_wait(STAT(r, pages_left) == SMALL);
		r->seen++;
	}
	return PEER_OBEY;
}

static void what_a_lost_urgent_connection_owes_is_sent_again(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_IMMEDIATE);
	r.peer.hook = lose_urgent;
	r.peer.opaque = &r;
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_int_equal(r.seen, 1);
	rig_fini(&r);
}

/* The peer has lost the urgent connection, but the source does not know. */
static enum peer_deed ask_again(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == WIRE_COMMIT) {
		p->packaged = true;
		p->forget_urgent = true;
		peer_request(p, true, 5, 3);
		peer_read(p, true);
		peer_request(p, false, 5, 3);
		peer_read(p, false);
		r->seen = p->came[5] + p->came[6] + p->came[7];
	}
	return PEER_OBEY;
}

static void what_is_asked_for_on_the_first_connection_is_sent_again(
	void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_IMMEDIATE);
	r.peer.hook = ask_again;
	r.peer.opaque = &r;
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	all_right(&r);
	assert_int_equal(r.seen, 3);
	assert_int_equal(STAT(&r, pages_left), 0);
	rig_fini(&r);
}

/* ---- figures ---- */

static void the_timeline_has_every_phase(void **state)
{
	struct rig r;
	char *text;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_AFTER);
	scatter(&r, 500);
	rig_run(&r);
	rig_moved(&r);
	text = source_timeline(r.source);
	assert_non_null(text);
	assert_non_null(strstr(text, "{\"t_ms\": "));
	assert_non_null(strstr(text, "\"phase\": \"precopy\", \"round\": 1"));
	assert_non_null(strstr(text, "\"phase\": \"switch\""));
	assert_non_null(strstr(text, "\"phase\": \"postcopy\""));
	assert_non_null(strstr(text, "\"phase\": \"done\""));
	free(text);
	assert_true(STAT(&r, stop_ns) <= STAT(&r, stopped_ns));
	assert_true(STAT(&r, stopped_ns) <= STAT(&r, sent_ns));
	assert_true(STAT(&r, sent_ns) <= STAT(&r, loaded_ns));
	assert_true(STAT(&r, loaded_ns) <= STAT(&r, running_ns));
	assert_true(STAT(&r, running_ns) <= STAT(&r, end_ns));
	assert_true(STAT(&r, start_ns) <= STAT(&r, stop_ns));
	assert_true(STAT(&r, bytes) >= 8 * SMALL);
	assert_true(STAT(&r, bytes_per_s) > 0);
	rig_fini(&r);
}

static void bad_options_are_refused(void **state)
{
	struct rig r;
	struct migrate_guest g;
	struct error err;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_AFTER);
	g = fake_guest_migrate(&r.src);
	r.opt.after_rounds = 0;
	assert_int_equal(
		source_start(&r.opt, &g, "{}", rig_done, &r, &r.source, &err),
		-EINVAL);
	r.opt.after_rounds = 1;
	r.opt.address = "nonsense";
	assert_int_equal(
		source_start(&r.opt, &g, "{}", rig_done, &r, &r.source, &err),
		-EINVAL);
	assert_null(r.source);
	r.dones = 1; /* none is right here */
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_idle_guest_moves_by_precopy),
		cmocka_unit_test(precopy_loses_no_write),
		cmocka_unit_test(a_paused_guest_arrives_paused),
		cmocka_unit_test(the_round_limit_ends_a_hopeless_precopy),
		cmocka_unit_test(the_log_is_cleared_before_the_pages_are_read),
		cmocka_unit_test(manual_without_a_command_is_precopy),
		cmocka_unit_test(after_one_round_discards_are_exact),
		cmocka_unit_test(after_two_rounds_discards_are_exact),
		cmocka_unit_test(
			a_clean_guest_after_one_round_has_nothing_to_discard),
		cmocka_unit_test(
			immediate_sends_every_page_once_after_the_switch),
		cmocka_unit_test(a_stalled_precopy_becomes_postcopy),
		cmocka_unit_test(
			the_round_limit_of_an_automatic_policy_is_a_switch),
		cmocka_unit_test(a_switch_ends_a_round_at_once),
		cmocka_unit_test(a_switch_may_come_before_the_first_page),
		cmocka_unit_test(a_late_switch_is_refused_or_harmless),
		cmocka_unit_test(
			a_throttled_round_hears_new_limits_and_switches),
		cmocka_unit_test(the_bucket_keeps_the_rate),
		cmocka_unit_test(the_bucket_saves_up_one_burst_only),
		cmocka_unit_test(a_new_limit_applies_to_the_debt),
		cmocka_unit_test(requests_are_served_before_loaded),
		cmocka_unit_test(each_page_comes_once_whoever_asks),
		cmocka_unit_test(a_request_moves_the_push_to_its_place),
		cmocka_unit_test(
			what_a_lost_urgent_connection_owes_is_sent_again),
		cmocka_unit_test(
			what_is_asked_for_on_the_first_connection_is_sent_again),
		cmocka_unit_test(the_timeline_has_every_phase),
		cmocka_unit_test(bad_options_are_refused),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
