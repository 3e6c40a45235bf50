/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_dest.c - the receiving side when all goes well, and what it
 * takes from whom in which state.  How it fails: test_dest_ends.c.
 */
#include "tests/unit/dest_rig.h"

/* ---- moves that go well ---- */

static void test_precopy_brings_every_page_and_runs(void **state)
{
	struct rig r;

	rig_init(&r);
	load_all(&r);
	assert_string_equal(dest_description(r.dest), "{\"machine\":\"fake\"}");
	assert_int_equal(dest_ram_bytes(r.dest), PAGES * 4096);
	assert_false(fake_guest_is_running(&r.to));
	assert_int_equal(put_empty(&r.main, WIRE_COMMIT), 0);
	expect(&r.main, WIRE_RUNNING);
	complete(&r);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_DESTINATION);
	rig_fini(&r);
}

static void test_zero_pages_take_no_memory_but_clear_what_was_there(
	void **state)
{
	struct rig r;

	rig_init(&r);
	accept_it(&r);
	assert_int_equal(put_pages(&r, &r.main, 0, PAGES), 0);
	assert_int_equal(put_sync(&r.main), 0);
	expect(&r.main, WIRE_SYNCED);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(resident(&r, i), i % 3 != 0);
	/* A page that became zero at the source. */
	r.from.count[4] = 0;
	assert_int_equal(put_pages(&r, &r.main, 4, 1), 0);
	assert_int_equal(put_sync(&r.main), 0);
	expect(&r.main, WIRE_SYNCED);
	for (unsigned i = 0; i < 4096; i++)
		assert_int_equal(r.to.gm.base[4 * 4096 + i], 0);
	rig_fini(&r);
}

static void test_postcopy_places_what_is_missing(void **state)
{
	struct rig r;

	NEED_PAGER;
	rig_init(&r);
	run_half(&r);
	assert_int_equal(put_pages(&r, &r.main, HALF, HALF), 0);
	complete(&r);
	rig_fini(&r);
}

static void test_duplicates_after_the_switch_change_nothing(void **state)
{
	struct rig r;

	NEED_PAGER;
	rig_init(&r);
	attach(&r); /* waits in the backlog until the door opens */
	end_fini(&r.urgent);
	run_half(&r);
	assert_int_equal(put_pages(&r, &r.main, HALF, HALF), 0);
	/* All of them again, with other contents. */
	memset(r.from.gm.base, 0xee, PAGES * 4096);
	assert_int_equal(put_pages(&r, &r.main, 0, PAGES), 0);
	complete(&r);
	rig_fini(&r);
}

/* Answer requests on @e until @n pages were asked for. */
static void answer(struct rig *r, struct end *e, uint32_t n)
{
	struct wire_request req;

	while (n > 0) {
		expect(e, WIRE_REQUEST);
		assert_int_equal(wire_get_request(e->in.meta, e->h.meta_len,
					 PAGES, &req, NULL),
			0);
		assert_true(req.page >= HALF);
		assert_int_equal(put_pages(r, e, req.page, req.count), 0);
		n -= req.count < n ? req.count : n;
	}
}

static void test_load_may_wait_for_missing_pages(void **state)
{
	NEED_PAGER;
	for (int urgent = 0; urgent < 2; urgent++) {
		struct rig r;

		rig_init(&r);
		r.to.load_touches = 8; /* four of them are missing */
		advise(&r);
		if (urgent) {
			attach(&r);
			wait_attached(&r);
		}
		assert_int_equal(put_pages(&r, &r.main, 0, HALF), 0);
		assert_int_equal(put_package(&r, &r.main, true), 0);
		answer(&r, urgent ? &r.urgent : &r.main, 4);
		expect(&r.main, WIRE_LOADED);
		assert_int_equal(put_empty(&r.main, WIRE_COMMIT), 0);
		expect(&r.main, WIRE_RUNNING);
		assert_int_equal(put_pages(&r, &r.main, HALF, HALF), 0);
		complete(&r);
		rig_fini(&r);
	}
}

static void test_a_lost_urgent_connection_is_replaced_by_the_first(void **state)
{
	struct rig r;
	pthread_t t;

	NEED_PAGER;
	rig_init(&r);
	advise(&r);
	attach(&r);
	wait_attached(&r);
	assert_int_equal(put_pages(&r, &r.main, 0, HALF), 0);
	assert_int_equal(put_package(&r, &r.main, true), 0);
	expect(&r.main, WIRE_LOADED);
	assert_int_equal(put_empty(&r.main, WIRE_COMMIT), 0);
	expect(&r.main, WIRE_RUNNING);
	assert_int_equal(pthread_create(&t, NULL, touch_last, &r), 0);
	expect(&r.urgent, WIRE_REQUEST);
	end_fini(&r.urgent); /* owes an answer */
	expect(&r.main, WIRE_REQUEST);
	assert_int_equal(put_pages(&r, &r.main, PAGES - 1, 1), 0);
	pthread_join(t, NULL);
	assert_int_equal(put_pages(&r, &r.main, HALF, HALF), 0);
	complete(&r);
	rig_fini(&r);
}

/* COMPLETE is read while the last answer is still on the urgent one. */
static void test_complete_may_overtake_the_urgent_connection(void **state)
{
	NEED_PAGER;
	for (int lost = 0; lost < 2; lost++) {
		struct rig r;

		rig_init(&r);
		advise(&r);
		attach(&r);
		wait_attached(&r);
		put_pages(&r, &r.main, 0, HALF);
		put_package(&r, &r.main, true);
		expect(&r.main, WIRE_LOADED);
		put_empty(&r.main, WIRE_COMMIT);
		expect(&r.main, WIRE_RUNNING);
		put_pages(&r, &r.main, HALF, HALF - 2);
		put_empty(&r.main, WIRE_COMPLETE);
		put_sync(&r.main);
		expect(&r.main, WIRE_SYNCED); /* COMPLETE was read */
		if (lost) {
			end_fini(&r.urgent);
			answer(&r, &r.main, 2);
		} else {
			put_pages(&r, &r.urgent, PAGES - 2, 2);
		}
		expect(&r.main, WIRE_DONE);
		assert_int_equal(wait_done(&r), DEST_RUNS_HERE);
		assert_int_equal(fake_guest_check(&r.to), 0);
		rig_fini(&r);
	}
}

/* ---- what may come when ---- */

enum at {
	AT_RAM,
	AT_ADVISED,
	AT_DISCARD,
	AT_LISTEN,
	AT_LOADED,
	AT_RUNNING,
	ATS
};

static const char *const at_name[ATS] = {
	"RAM", "ADVISED", "DISCARD", "LISTEN", "LOADED", "RUNNING"};

static void go_to(struct rig *r, enum at at)
{
	if (at == AT_LISTEN) {
		r->to.hook = hold_load;
		r->to.hook_opaque = r;
	}
	switch (at) {
	case AT_RAM:
		accept_it(r);
		return;
	case AT_ADVISED:
		advise(r);
		return;
	case AT_DISCARD:
		advise(r);
		assert_int_equal(put_discard(&r->main, 0, PAGES), 0);
		return;
	case AT_LISTEN:
		listen_half(r);
		wait_loading(r);
		return;
	case AT_LOADED:
		listen_half(r);
		expect(&r->main, WIRE_LOADED);
		return;
	default:
		run_half(r);
	}
}

static void put_any(struct rig *r, uint16_t type)
{
	struct end *e = &r->main;

	switch (type) {
	case WIRE_HELLO:
		put_hello(r, e);
		return;
	case WIRE_MACHINE:
	case WIRE_DONE:
		wire_begin(&e->out, (enum wire_type)type);
		wire_put_text(&e->out, "{}");
		break;
	case WIRE_PAGES:
		put_pages(r, e, HALF, 1);
		return;
	case WIRE_ROUND:
		put_round(e);
		return;
	case WIRE_DISCARD:
		put_discard(e, HALF, 1);
		return;
	case WIRE_PACKAGE:
		put_package(r, e, true);
		return;
	case WIRE_ERROR:
		put_error(e);
		return;
	case WIRE_WELCOME:
		wire_begin(&e->out, WIRE_WELCOME);
		wire_put_welcome(&e->out, &(struct wire_welcome){1, 0});
		break;
	case WIRE_REQUEST:
		wire_begin(&e->out, WIRE_REQUEST);
		wire_put_request(&e->out, &(struct wire_request){1, 1});
		break;
	case WIRE_SYNC:
	case WIRE_SYNCED:
		wire_begin(&e->out, (enum wire_type)type);
		wire_put_sync(&e->out, 1);
		break;
	case WIRE_ATTACH:
		put_attach(e, r->session, WIRE_ROLE_URGENT);
		return;
	case WIRE_QUERY:
		wire_begin(&e->out, WIRE_QUERY);
		wire_put_query(&e->out, r->session);
		break;
	case WIRE_STATUS:
		wire_begin(&e->out, WIRE_STATUS);
		wire_put_status(&e->out, &(struct wire_status){.owner = 0});
		break;
	default:
		wire_begin(&e->out, (enum wire_type)type);
	}
	put(e, NULL, 0);
}

/* docs/protocol.md's table for the destination, written down once more. */
static const struct {
	uint16_t type;
	const char *legal; /* one letter a state: r a d l o(loaded) R */
} frames[] = {
	{WIRE_HELLO, ""},
	{WIRE_MACHINE, ""},
	{WIRE_ADVISE, "r"},
	{WIRE_PAGES, "raloR"},
	{WIRE_ROUND, "ra"},
	{WIRE_DISCARD, "ad"},
	{WIRE_PACKAGE, "rad"},
	{WIRE_COMMIT, "o"},
	{WIRE_COMPLETE, "R"},
	{WIRE_CANCEL, "radlo"},
	{WIRE_WELCOME, ""},
	{WIRE_ACCEPT, ""},
	{WIRE_ADVISED, ""},
	{WIRE_LOADED, ""},
	{WIRE_RUNNING, ""},
	{WIRE_DONE, ""},
	{WIRE_REQUEST, ""},
	{WIRE_ERROR, "radloR"},
	{WIRE_SYNC, "radloR"},
	{WIRE_SYNCED, ""},
	{WIRE_ATTACH, ""},
	{WIRE_QUERY, ""},
	{WIRE_STATUS, ""},
};

static void test_each_frame_is_refused_in_each_state_it_has_no_place_in(
	void **state)
{
	unsigned cases = 0;

	NEED_PAGER;
	for (size_t f = 0; f < sizeof(frames) / sizeof(frames[0]); f++) {
		for (unsigned at = 0; at < ATS; at++) {
			bool legal = strchr(frames[f].legal, "radloR"[at]);
			char text[96];
			struct rig r;

			snprintf(text, sizeof(text),
				"%s may not come in state %s",
				wire_type_name(frames[f].type), at_name[at]);
			rig_init(&r);
			go_to(&r, (enum at)at);
			put_any(&r, frames[f].type);
			if (legal)
				end_fini(&r.main);
			else if (at < AT_RUNNING)
				expect_error(&r.main, text);
			rig_go_on(&r);
			end_fini(&r.main);
			if (legal && at >= AT_LISTEN)
				query(&r, r.session);
			wait_done(&r);
			if (legal == !!strstr(r.error.text, text))
				fail_msg("%s: \"%s\"", text, r.error.text);
			if (at < AT_RUNNING && frames[f].type != WIRE_COMMIT)
				assert_int_equal(r.result, DEST_NOT_OURS);
			rig_fini(&r);
			cases++;
		}
	}
	print_message("%u frames in states\n", cases);
}

static void test_listen_needs_advise(void **state)
{
	struct rig r;

	rig_init(&r);
	accept_it(&r);
	put_pages(&r, &r.main, 0, PAGES);
	put_package(&r, &r.main, true);
	expect_error(&r.main, "without ADVISE");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	rig_fini(&r);
}

static void test_a_package_without_listen_needs_every_page(void **state)
{
	struct rig r;

	rig_init(&r);
	accept_it(&r);
	put_pages(&r, &r.main, 1, PAGES - 1);
	put_package(&r, &r.main, false);
	expect_error(&r.main, "1 of 256 pages never came");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	assert_int_equal(fake_guest_calls(&r.to, FAKE_LOAD), 0);
	rig_fini(&r);
}

static void test_pages_after_a_package_without_listen_are_refused(void **state)
{
	struct rig r;

	rig_init(&r);
	load_all(&r);
	put_pages(&r, &r.main, 0, 1);
	expect_error(&r.main, "after a PACKAGE without LISTEN");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	rig_fini(&r);
}

static void test_complete_with_pages_missing_is_a_lost_link(void **state)
{
	struct rig r;

	NEED_PAGER;
	rig_init(&r);
	run_half(&r);
	put_pages(&r, &r.main, HALF, HALF - 1);
	put_empty(&r.main, WIRE_COMPLETE);
	assert_int_equal(wait_done(&r), DEST_LOST_LINK);
	assert_error(&r, "1 pages never came");
	assert_error(&r, "the guest runs here, but 1 of 256 pages");
	assert_true(fake_guest_is_running(&r.to));
	rig_fini(&r);
}

static void test_advise_is_refused_when_postcopy_is_off(void **state)
{
	struct rig r;

	rig_init(&r);
	r.opt.postcopy = false;
	accept_it(&r);
	put_empty(&r.main, WIRE_ADVISE);
	expect_error(&r.main, "postcopy is switched off");
	assert_int_equal(wait_done(&r), DEST_NOT_OURS);
	rig_fini(&r);
}

/* ---- the door ---- */

static void *accept_thread(void *arg)
{
	struct rig *r = arg;
	struct error err = {0};

	if (dest_accept(r->listener, &r->opt, 20000, &r->dest, &err) < 0)
		fail_msg("%s", err.text);
	return NULL;
}

/* Silent, talking nonsense, or with half a frame. */
static void strangers(struct rig *r, struct end *stranger, int n)
{
	for (int i = 0; i < n; i++) {
		end_init(r, &stranger[i]);
		if (i % 3 == 1)
			chan_write(stranger[i].chan,
				"GET / HTTP/1.0\r\n\r\n.......", 25);
		else if (i % 3 == 2)
			chan_write(stranger[i].chan, "GWF1", 4);
	}
}

static void test_strangers_at_the_door_keep_nobody_out(void **state)
{
	struct end stranger[48];
	struct migrate_guest g;
	struct error err;
	struct rig r;
	pthread_t t;

	NEED_PAGER;
	rig_init(&r);
	assert_int_equal(pthread_create(&t, NULL, accept_thread, &r), 0);
	strangers(&r, stranger, 24);
	end_init(&r, &r.main);
	put_hello(&r, &r.main);
	put_machine(&r.main);
	expect(&r.main, WIRE_WELCOME);
	pthread_join(t, NULL);
	g = fake_guest_migrate(&r.to);
	assert_int_equal(dest_start(r.dest, &g, on_done, &r, &err), 0);
	expect(&r.main, WIRE_ACCEPT);
	strangers(&r, stranger + 24, 24);
	assert_int_equal(query(&r, r.session), WIRE_OWNER_SOURCE);
	attach(&r);
	put_empty(&r.main, WIRE_ADVISE);
	expect(&r.main, WIRE_ADVISED);
	put_pages(&r, &r.main, 0, HALF);
	r.to.load_touches = 2;
	wait_attached(&r);
	put_package(&r, &r.main, true);
	answer(&r, &r.urgent, 1);
	expect(&r.main, WIRE_LOADED);
	for (int i = 0; i < 48; i++)
		end_fini(&stranger[i]);
	rig_fini(&r);
}

static void test_a_second_source_is_refused(void **state)
{
	struct end other;
	struct rig r;

	rig_init(&r);
	accept_it(&r);
	end_init(&r, &other);
	put_hello(&r, &other);
	expect_error(&other, "begun here already");
	end_fini(&other);
	put_sync(&r.main);
	expect(&r.main, WIRE_SYNCED);
	rig_fini(&r);
}

static void test_attach_wants_the_session_the_role_and_to_be_the_first(
	void **state)
{
	static const uint8_t wrong[16] = {9};
	struct end other;
	struct rig r;

	rig_init(&r);
	accept_it(&r);
	end_init(&r, &other);
	put_attach(&other, wrong, WIRE_ROLE_URGENT);
	expect_error(&other, "no migration here");
	end_fini(&other);
	end_init(&r, &other);
	put_attach(&other, r.session, WIRE_ROLE_BULK);
	expect_error(&other, "not agreed on");
	end_fini(&other);
	attach(&r);
	wait_attached(&r);
	end_init(&r, &other);
	put_attach(&other, r.session, WIRE_ROLE_URGENT);
	expect_error(&other, "an urgent connection already");
	end_fini(&other);
	rig_fini(&r);
}

static void test_who_speaks_another_version_is_told_and_the_wait_goes_on(
	void **state)
{
	struct wire_hello m = {.version_min = 77,
		.version_max = 78,
		.page_bytes = 4096,
		.ram_bytes = 4096};
	struct end other;
	struct rig r;
	struct error err;

	rig_init(&r);
	end_init(&r, &other);
	wire_begin(&other.out, WIRE_HELLO);
	wire_put_hello(&other.out, &m);
	put(&other, NULL, 0);
	assert_int_equal(dest_accept(r.listener, &r.opt, 300, &r.dest, &err),
		-ETIMEDOUT);
	expect_error(&other, "77");
	end_fini(&other);
	rig_fini(&r);
}

static void test_nobody_comes_in_time(void **state)
{
	struct error err = {0};
	struct rig r;

	rig_init(&r);
	assert_int_equal(
		dest_accept(r.listener, &r.opt, 10, &r.dest, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "no source came"));
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_precopy_brings_every_page_and_runs),
		cmocka_unit_test(
			test_zero_pages_take_no_memory_but_clear_what_was_there),
		cmocka_unit_test(test_postcopy_places_what_is_missing),
		cmocka_unit_test(
			test_duplicates_after_the_switch_change_nothing),
		cmocka_unit_test(test_load_may_wait_for_missing_pages),
		cmocka_unit_test(
			test_a_lost_urgent_connection_is_replaced_by_the_first),
		cmocka_unit_test(
			test_complete_may_overtake_the_urgent_connection),
		cmocka_unit_test(
			test_each_frame_is_refused_in_each_state_it_has_no_place_in),
		cmocka_unit_test(test_listen_needs_advise),
		cmocka_unit_test(
			test_a_package_without_listen_needs_every_page),
		cmocka_unit_test(
			test_pages_after_a_package_without_listen_are_refused),
		cmocka_unit_test(
			test_complete_with_pages_missing_is_a_lost_link),
		cmocka_unit_test(test_advise_is_refused_when_postcopy_is_off),
		cmocka_unit_test(test_strangers_at_the_door_keep_nobody_out),
		cmocka_unit_test(test_a_second_source_is_refused),
		cmocka_unit_test(
			test_attach_wants_the_session_the_role_and_to_be_the_first),
		cmocka_unit_test(
			test_who_speaks_another_version_is_told_and_the_wait_goes_on),
		cmocka_unit_test(test_nobody_comes_in_time),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
