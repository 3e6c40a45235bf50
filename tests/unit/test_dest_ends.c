/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_dest_ends.c - the receiving side in trouble: who owns the
 * guest then, and streams that are cut, flipped, silent or endless.
 */
#include "tests/unit/dest_rig.h"

/* ---- who owns the guest ---- */

static void test_a_link_lost_before_commit_leaves_it_to_the_source(void **state)
{
	struct rig r;

	rig_init(&r);
	load_all(&r);
	end_fini(&r.main);
	/* COMMIT may have been lost on the way: it stays to be asked. */
	pthread_mutex_lock(&r.dest->lock);
	while (!r.dest->disowned)
		pthread_cond_wait(&r.dest->cond, &r.dest->lock);
	pthread_mutex_unlock(&r.dest->lock);
	usleep(50000); /* not needed, but shows one that does not stay */
	assert_false(dest_ended(r.dest));
	assert_in_range(
		query(&r, r.session), WIRE_OWNER_SOURCE, WIRE_OWNER_LOADED);
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_error(&r, "the source owns it");
	assert_int_equal(fake_guest_calls(&r.to, FAKE_RUN), 0);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_SOURCE);
	rig_fini(&r);
}

static void test_a_link_lost_after_commit_does_not_stop_a_whole_guest(
	void **state)
{
	struct rig r;

	rig_init(&r);
	load_all(&r);
	put_empty(&r.main, WIRE_COMMIT);
	end_fini(&r.main);
	assert_int_equal(wait_done(&r), DEST_RUNS_HERE);
	assert_true(fake_guest_is_running(&r.to));
	assert_int_equal(fake_guest_check(&r.to), 0);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_DESTINATION);
	rig_fini(&r);
}

static void test_a_link_lost_after_commit_is_reported_with_what_is_missing(
	void **state)
{
	struct rig r;
	pthread_t t;

	NEED_PAGER;
	rig_init(&r);
	run_half(&r);
	put_pages(&r, &r.main, HALF, 28);
	end_fini(&r.main);
	assert_int_equal(wait_done(&r), DEST_LOST_LINK);
	assert_error(&r, "100 of 256 pages are missing");
	assert_true(fake_guest_is_running(&r.to));
	for (uint64_t i = 0; i < HALF + 28; i++)
		assert_true(fake_guest_page_right(&r.to, i));
	assert_int_equal(dest_stats(r.dest)->pages_left, 100);
	/* Who touches one waits until the end. */
	r.to.count[PAGES - 1] = 0;
	assert_int_equal(pthread_create(&t, NULL, touch_last, &r), 0);
	dest_join(r.dest);
	r.dest = NULL;
	pthread_join(t, NULL);
	rig_fini(&r);
}

static void test_query_is_answered_at_any_time(void **state)
{
	static const uint8_t other[16] = {1};
	struct rig r;

	rig_init(&r);
	greet(&r);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_SOURCE);
	assert_int_equal(query(&r, other), -1);
	end_fini(&r.main);
	rig_fini(&r);
}

static void test_who_was_told_that_it_owns_the_guest_cannot_commit(void **state)
{
	struct rig r;

	rig_init(&r);
	load_all(&r);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_LOADED);
	put_empty(&r.main, WIRE_COMMIT);
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_int_equal(fake_guest_calls(&r.to, FAKE_RUN), 0);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_SOURCE);
	rig_fini(&r);
}

static void test_a_guest_that_cannot_be_loaded_stays_the_sources(void **state)
{
	struct rig r;

	rig_init(&r);
	r.to.fail_at[FAKE_LOAD] = 1;
	accept_it(&r);
	put_pages(&r, &r.main, 0, PAGES);
	put_package(&r, &r.main, false);
	expect_error(&r.main, "load: told to fail");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_error(&r, "the source owns it");
	rig_fini(&r);
}

static void test_a_guest_that_cannot_be_started_is_given_back(void **state)
{
	struct rig r;

	rig_init(&r);
	r.to.fail_at[FAKE_RUN] = 1;
	load_all(&r);
	put_empty(&r.main, WIRE_COMMIT);
	expect_error(&r.main, "run: told to fail");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_error(&r, "the source owns it");
	assert_int_equal(query(&r, r.session), WIRE_OWNER_SOURCE);
	rig_fini(&r);
}

static void test_a_load_that_waits_for_a_page_ends_with_the_link(void **state)
{
	struct rig r;

	NEED_PAGER;
	rig_init(&r);
	r.to.load_touches = PAGES;
	listen_half(&r);
	expect(&r.main, WIRE_REQUEST);
	end_fini(&r.main);
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_int_equal(fake_guest_calls(&r.to, FAKE_RUN), 0);
	r.to.wrong = 0; /* the zero pages it got in the end */
	rig_fini(&r);
}

static void test_cancel_ends_it_before_commit_and_not_after(void **state)
{
	struct rig r;

	rig_init(&r);
	load_all(&r);
	assert_int_equal(dest_cancel(r.dest), 0);
	expect_error(&r.main, "cancelled at the destination");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	rig_fini(&r);

	rig_init(&r);
	load_all(&r);
	put_empty(&r.main, WIRE_COMMIT);
	expect(&r.main, WIRE_RUNNING);
	assert_int_equal(dest_cancel(r.dest), -EALREADY);
	complete(&r);
	rig_fini(&r);
}

static void test_refusing_tells_the_source_why(void **state)
{
	struct error why;
	struct rig r;

	rig_init(&r);
	greet(&r);
	error_set(&why, -EINVAL, "this host has no such CPU");
	dest_refuse(r.dest, &why);
	expect_error(&r.main, "no such CPU");
	assert_true(dest_ended(r.dest));
	rig_fini(&r);
}

static void test_another_ram_size_is_refused(void **state)
{
	struct migrate_guest g;
	struct error err = {0};
	struct fake_guest small;
	struct rig r;

	rig_init(&r);
	fake_guest_init(&small, &r.world, PAGES / 2);
	greet(&r);
	g = fake_guest_migrate(&small);
	assert_int_equal(dest_start(r.dest, &g, on_done, &r, &err), -EPROTO);
	expect_error(&r.main, "bytes of RAM");
	rig_fini(&r);
	fake_guest_fini(&small);
}

/* ---- broken streams ---- */

/* A whole move as bytes, and where its frames begin. */
struct tape {
	uint8_t *buf;
	size_t len;
	size_t at[32]; /* of frames, and the end */
	unsigned frames, commit;
};

static void tape_add(
	struct tape *t, struct end *e, struct chan *far, size_t data)
{
	size_t want = e->out.len + data;

	t->buf = realloc(t->buf, t->len + want);
	assert_non_null(t->buf);
	assert_int_equal(chan_read(far, t->buf + t->len, want), 0);
	t->len += want;
	t->at[++t->frames] = t->len;
}

/* Step @step of a move; false after the last. */
static bool tape_step(struct rig *r, struct end *e, bool postcopy,
	unsigned step, size_t *data)
{
	unsigned full = PAGES - (PAGES + 2) / 3;
	unsigned half = 0;

	for (unsigned i = HALF; i < PAGES; i++)
		half += i % 3 != 0;
	*data = 0;
	switch (step) {
	case 0:
		return put_hello(r, e) == 0;
	case 1:
		return put_machine(e) == 0;
	case 2:
		return (postcopy ? put_empty(e, WIRE_ADVISE) : put_sync(e)) ==
		       0;
	case 3:
		*data = full * 4096u;
		return put_pages(r, e, 0, PAGES) == 0;
	case 4:
		return put_round(e) == 0;
	case 5:
		return (postcopy ? put_discard(e, HALF, HALF) : put_sync(e)) ==
		       0;
	case 6:
		return put_package(r, e, postcopy) == 0;
	case 7:
		return put_empty(e, WIRE_COMMIT) == 0;
	case 8:
		if (!postcopy)
			return put_sync(e) == 0;
		*data = half * 4096u;
		return put_pages(r, e, HALF, HALF) == 0;
	case 9:
		return put_empty(e, WIRE_COMPLETE) == 0;
	default:
		return false;
	}
}

static void tape_make(struct rig *r, struct tape *t, bool postcopy)
{
	struct chan *far;
	struct end e = {0};
	size_t data;

	memset(t, 0, sizeof(*t));
	wire_out_init(&e.out);
	assert_int_equal(chan_pair(4u << 20, &e.chan, &far), 0);
	t->commit = 7;
	for (unsigned i = 0; tape_step(r, &e, postcopy, i, &data); i++)
		tape_add(t, &e, far, data);
	chan_close(far);
	end_fini(&e);
}

/* Which frame does byte @i belong to? */
static unsigned tape_frame(const struct tape *t, size_t i)
{
	unsigned f = 0;

	while (t->at[f + 1] <= i)
		f++;
	return f;
}

/* Play @t up to byte @end, then end the stream.  Answers are waited for where a
 * source would.  Is the verdict one that may be? */
static void play(struct tape *t, size_t end)
{
	struct migrate_guest g;
	struct error err = {0};
	unsigned whole = 0;
	struct rig r;
	size_t pos = 0;
	int code;

	rig_init(&r);
	end_init(&r, &r.main);
	while (whole < t->frames && t->at[whole + 1] <= end)
		whole++;
	pos = end < t->at[2] ? end : t->at[2];
	assert_int_equal(chan_write(r.main.chan, t->buf, pos), 0);
	if (pos < t->at[2]) {
		chan_shutdown(r.main.chan);
		code = dest_accept(r.listener, &r.opt, 50, &r.dest, &err);
		assert_int_equal(code, -ETIMEDOUT);
		rig_fini(&r);
		return;
	}
	assert_int_equal(
		dest_accept(r.listener, &r.opt, 20000, &r.dest, &err), 0);
	expect(&r.main, WIRE_WELCOME);
	g = fake_guest_migrate(&r.to);
	assert_int_equal(dest_start(r.dest, &g, on_done, &r, &err), 0);
	expect(&r.main, WIRE_ACCEPT);
	/* COMMIT waits for LOADED. */
	if (end > t->at[7]) {
		chan_write(r.main.chan, t->buf + pos, t->at[7] - pos);
		pos = t->at[7];
		do
			assert_int_equal(get(&r.main), 0);
		while (r.main.h.type != WIRE_LOADED);
	}
	chan_write(r.main.chan, t->buf + pos, end - pos);
	if (whole == t->frames)
		wait_done(&r);
	end_fini(&r.main);
	if (whole == t->commit)
		query(&r, r.session);
	wait_done(&r);
	if (whole <= t->commit)
		assert_int_equal(r.result, DEST_NOT_OURS);
	else if (whole >= 9)
		assert_int_equal(r.result, DEST_RUNS_HERE);
	else
		assert_int_not_equal(r.result, DEST_NOT_OURS);
	assert_int_equal(fake_guest_is_running(&r.to), whole > t->commit);
	if (r.result == DEST_RUNS_HERE)
		assert_int_equal(fake_guest_check(&r.to), 0);
	rig_fini(&r);
}

static void test_a_stream_cut_in_any_frame_has_one_owner(void **state)
{
	unsigned cases = 0;

	NEED_PAGER;
	for (int postcopy = 0; postcopy < 2; postcopy++) {
		struct rig r;
		struct tape t;

		rig_init(&r);
		tape_make(&r, &t, postcopy);
		rig_fini(&r);
		for (unsigned f = 0; f < t.frames; f++) {
			size_t len = t.at[f + 1] - t.at[f];
			size_t cut[] = {0, 1, WIRE_HEADER_BYTES - 1,
				WIRE_HEADER_BYTES, len / 2, len - 1};

			for (unsigned i = 0; i < 6; i++) {
				if (cut[i] >= len)
					continue;
				play(&t, t.at[f] + cut[i]);
				cases++;
			}
		}
		play(&t, t.len);
		cases++;
		free(t.buf);
	}
	print_message("%u cuts\n", cases);
}

static void test_a_flipped_bit_in_any_header_or_meta_is_noticed(void **state)
{
	unsigned cases = 0;
	struct tape t;
	struct rig r;

	NEED_PAGER;
	rig_init(&r);
	tape_make(&r, &t, true);
	rig_fini(&r);
	/* Frames 2 to 6: after ACCEPT, before COMMIT; every 5th byte. */
	for (size_t i = t.at[2]; i < t.at[7]; i += cases % 7 + 1) {
		unsigned f = tape_frame(&t, i);
		struct migrate_guest g;
		struct error err = {0};

		if (f == 3 && i - t.at[f] > 64) {
			i = t.at[4]; /* data have no sum */
			continue;
		}
		rig_init(&r);
		t.buf[i] ^= (uint8_t)(1u << cases % 8);
		end_init(&r, &r.main);
		chan_write(r.main.chan, t.buf, t.at[2]);
		assert_int_equal(
			dest_accept(r.listener, &r.opt, 20000, &r.dest, &err),
			0);
		g = fake_guest_migrate(&r.to);
		assert_int_equal(dest_start(r.dest, &g, on_done, &r, &err), 0);
		chan_write(r.main.chan, t.buf + t.at[2], t.at[7] - t.at[2]);
		end_fini(&r.main); /* what was written can still be read */
		assert_int_equal(wait_done(&r), DEST_NOT_OURS);
		assert_int_equal(fake_guest_calls(&r.to, FAKE_LOAD), 0);
		t.buf[i] ^= (uint8_t)(1u << cases % 8);
		rig_fini(&r);
		cases++;
	}
	free(t.buf);
	print_message("%u flips\n", cases);
}

static void test_silence_ends_it(void **state)
{
	struct rig r;

	rig_init(&r);
	r.opt.timeout_ms = 50;
	accept_it(&r);
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	rig_fini(&r);
}

static void test_a_load_that_takes_long_is_not_the_sources_silence(void **state)
{
	struct rig r;

	rig_init(&r);
	r.opt.timeout_ms = 3000;
	r.to.hook = hold_load;
	r.to.hook_opaque = &r;
	accept_it(&r);
	put_pages(&r, &r.main, 0, PAGES);
	put_package(&r, &r.main, false);
	wait_loading(&r);
	/* Several times the timeout: the clock is what is tested. */
	usleep(7500000);
	pthread_mutex_lock(&r.lock);
	assert_false(r.done);
	pthread_mutex_unlock(&r.lock);
	rig_go_on(&r);
	expect(&r.main, WIRE_LOADED);
	rig_fini(&r);
}

static void test_frames_that_bring_no_page_come_to_an_end(void **state)
{
	unsigned n = 0;
	struct rig r;

	rig_init(&r);
	accept_it(&r);
	while (put_round(&r.main) == 0)
		n++;
	expect_error(&r.main, "frames in a row brought no page");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_true(n >= DEST_IDLE_FRAMES);
	rig_fini(&r);
}

static void test_a_source_that_never_listens_cannot_hold_us(void **state)
{
	struct rig r;

	rig_init(&r);
	r.opt.timeout_ms = 50;
	accept_it(&r);
	while (put_sync(&r.main) == 0)
		;
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_a_link_lost_before_commit_leaves_it_to_the_source),
		cmocka_unit_test(
			test_a_link_lost_after_commit_does_not_stop_a_whole_guest),
		cmocka_unit_test(
			test_a_link_lost_after_commit_is_reported_with_what_is_missing),
		cmocka_unit_test(test_query_is_answered_at_any_time),
		cmocka_unit_test(
			test_who_was_told_that_it_owns_the_guest_cannot_commit),
		cmocka_unit_test(
			test_a_guest_that_cannot_be_loaded_stays_the_sources),
		cmocka_unit_test(
			test_a_guest_that_cannot_be_started_is_given_back),
		cmocka_unit_test(
			test_a_load_that_waits_for_a_page_ends_with_the_link),
		cmocka_unit_test(
			test_cancel_ends_it_before_commit_and_not_after),
		cmocka_unit_test(test_refusing_tells_the_source_why),
		cmocka_unit_test(test_another_ram_size_is_refused),
		cmocka_unit_test(test_a_stream_cut_in_any_frame_has_one_owner),
		cmocka_unit_test(
			test_a_flipped_bit_in_any_header_or_meta_is_noticed),
		cmocka_unit_test(test_silence_ends_it),
		cmocka_unit_test(
			test_a_load_that_takes_long_is_not_the_sources_silence),
		cmocka_unit_test(test_frames_that_bring_no_page_come_to_an_end),
		cmocka_unit_test(
			test_a_source_that_never_listens_cannot_hold_us),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
