/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_source_ends.c - the sending side when something goes wrong:
 * before COMMIT the guest runs on here, after it the destination's word counts.
 */
#include "tests/unit/source_rig.h"

#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SMALL 500u
#define LARGE 8192u /* more than the connection's buffers hold */

/* All that a hybrid migration sends before COMMIT, in order. */
static const uint16_t before_commit[] = {WIRE_HELLO, WIRE_ATTACH, WIRE_MACHINE,
	WIRE_ADVISE, WIRE_SYNC, WIRE_PAGES, WIRE_ROUND, WIRE_DISCARD,
	WIRE_PACKAGE};
#define BEFORE_COMMIT (sizeof(before_commit) / sizeof(before_commit[0]))

/* ---- what a peer may do with the nth frame of a type ---- */

static bool is_it(struct rig *r, struct peer *p, uint16_t type)
{
	return type == r->type && p->frames[type] == r->nth;
}

static enum peer_deed hang_up(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	return is_it(opaque, p, type) ? PEER_HANG_UP : PEER_OBEY;
}

static enum peer_deed complain(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	if (!is_it(opaque, p, type))
		return PEER_OBEY;
	peer_error(p, -ENOSPC, "no room for it");
	return PEER_HANG_UP;
}

static enum peer_deed say_nothing(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	return is_it(opaque, p, type) ? PEER_IGNORE : PEER_OBEY;
}

static enum peer_deed cancel(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (is_it(r, p, type))
		assert_int_equal(source_cancel(r->source), 0);
	return PEER_OBEY;
}

static enum peer_deed run_early(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	if (is_it(opaque, p, type))
		peer_send_empty(p, WIRE_RUNNING);
	return PEER_OBEY;
}

static enum peer_deed request_early(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	if (is_it(opaque, p, type))
		peer_request(p, false, 3, 1);
	return PEER_OBEY;
}

static enum peer_deed request_beyond(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	if (!is_it(opaque, p, type))
		return PEER_OBEY;
	/* Past the end of RAM by one; the answer to the frame comes late. */
	peer_request(p, true, p->pages - 1, 2);
	if (type == WIRE_PACKAGE)
		peer_read(p, false);
	return PEER_OBEY;
}

/* A guest that leaves something to discard and to push. */
static void leave_dirty(void *opaque, struct fake_guest *g, enum fake_op op)
{
	if (op == FAKE_DIRTY_SYNC && fake_guest_calls(g, FAKE_STOP) == 0)
		fake_guest_write(g, 10, 300);
}

static void hybrid(struct rig *r, uint16_t type, unsigned nth, peer_hook *hook)
{
	rig_init(r, SMALL, SOURCE_POSTCOPY_AFTER);
	fake_guest_write(&r->src, 0, SMALL);
	r->src.hook = leave_dirty;
	r->type = type;
	r->nth = nth;
	r->peer.hook = hook;
	r->peer.opaque = r;
}

/* ---- before COMMIT ---- */

static void a_peer_gone_at_any_frame_leaves_the_guest_here(void **state)
{
	struct rig r;
	unsigned i, nth;

	for (i = 0; i < BEFORE_COMMIT; i++)
		for (nth = 1; nth <= 2; nth++) {
			hybrid(&r, before_commit[i], nth, hang_up);
			rig_run(&r);
			if (r.peer.frames[before_commit[i]] < nth) {
				rig_moved(&r); /* there is no second one */
			} else {
				rig_stayed(&r, 0);
				assert_int_equal(source_stats(r.source)->phase,
					MIGRATE_FAILED);
			}
			rig_fini(&r);
		}
}

static void a_peer_s_complaint_is_what_is_reported(void **state)
{
	struct rig r;
	unsigned i;

	for (i = 0; i < BEFORE_COMMIT; i++) {
		hybrid(&r, before_commit[i], 1, complain);
		rig_run(&r);
		rig_stayed(&r, -ENOSPC);
		assert_non_null(strstr(r.err.text, "no room for it"));
		rig_fini(&r);
	}
}

static void a_cancel_at_any_frame_leaves_the_guest_here(void **state)
{
	struct rig r;
	unsigned i;

	for (i = 0; i < BEFORE_COMMIT; i++) {
		hybrid(&r, before_commit[i], 1, cancel);
		rig_run(&r);
		rig_stayed(&r, -ECANCELED);
		assert_int_equal(
			source_stats(r.source)->phase, MIGRATE_CANCELLED);
		assert_int_equal(source_cancel(r.source), -EALREADY);
		rig_fini(&r);
	}
}

static void a_cancelled_peer_is_told(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_PACKAGE, 1, cancel);
	rig_run(&r);
	rig_stayed(&r, -ECANCELED);
	assert_int_equal(r.peer.frames[WIRE_CANCEL], 1);
	rig_fini(&r);
}

static enum peer_deed cancel_and_listen(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (type == WIRE_CANCEL)
		sem_post(&r->reached);
	return cancel(opaque, p, type, urgent);
}

static void wait_until_told(void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct rig *r = opaque;
	struct timespec end;

	if (op != FAKE_RESTART)
		return;
	/* For ever, were it not for the watchdog's sake. */
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20;
	r->seen = sem_timedwait(&r->reached, &end) == 0;
}

/* It may have locked the images that the restart wants. */
static void a_peer_with_the_package_is_told_before_the_restart(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_PACKAGE, 1, cancel_and_listen);
	r.src.hook = wait_until_told;
	r.src.hook_opaque = &r;
	rig_run(&r);
	rig_stayed(&r, -ECANCELED);
	assert_int_equal(r.peer.frames[WIRE_CANCEL], 1);
	assert_int_equal(r.seen, 1);
	rig_fini(&r);
}

static void a_silent_peer_is_given_up(void **state)
{
	static const uint16_t answered[] = {
		WIRE_HELLO, WIRE_ADVISE, WIRE_SYNC, WIRE_PACKAGE};
	struct rig r;
	unsigned i;

	for (i = 0; i < sizeof(answered) / sizeof(answered[0]); i++) {
		hybrid(&r, answered[i], 1, say_nothing);
		r.opt.timeout_ms = 3000; /* what comes before takes less */
		rig_run(&r);
		rig_stayed(&r, -ETIMEDOUT);
		assert_int_equal(r.peer.frames[WIRE_ERROR], 1);
		rig_fini(&r);
	}
}

static void answers_that_are_not_due_are_refused(void **state)
{
	struct rig r;
	unsigned i;

	for (i = 0; i < BEFORE_COMMIT; i++) {
		hybrid(&r, before_commit[i], 1, run_early);
		rig_run(&r);
		rig_stayed(&r, -EPROTO);
		rig_fini(&r);
	}
}

static void requests_before_the_switch_are_refused(void **state)
{
	struct rig r;
	unsigned i;

	for (i = 0; before_commit[i] != WIRE_PACKAGE; i++) {
		hybrid(&r, before_commit[i], 1, request_early);
		rig_run(&r);
		rig_stayed(&r, -EPROTO);
		assert_non_null(strstr(r.err.text, "REQUEST"));
		rig_fini(&r);
	}
}

static void a_request_beyond_ram_before_commit_is_refused(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_PACKAGE, 1, request_beyond);
	rig_run(&r);
	rig_stayed(&r, -EPROTO);
	assert_int_equal(r.peer.frames[WIRE_ERROR], 1);
	rig_fini(&r);
}

/* ---- the guest's own troubles ---- */

static void a_guest_that_fails_runs_on_here(void **state)
{
	static const struct {
		enum fake_op op;
		unsigned call;
	} at[] = {{FAKE_DIRTY_START, 1}, {FAKE_DIRTY_SYNC, 1},
		{FAKE_DIRTY_SYNC, 2}, {FAKE_DIRTY_SYNC, 3},
		{FAKE_DIRTY_CLEAR, 1}, {FAKE_STOP, 1}};
	struct rig r;
	unsigned i;

	for (i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		hybrid(&r, WIRE_HELLO, 1, NULL);
		r.src.fail_at[at[i].op] = at[i].call;
		rig_run(&r);
		rig_stayed(&r, -EIO);
		assert_int_equal(r.peer.frames[WIRE_ERROR], 1);
		rig_fini(&r);
	}
}

static int gather_nothing(
	void *opaque, const _Atomic bool *cancel, struct error *err)
{
	struct rig *r = opaque;

	r->seen++;
	assert_false(*cancel);
	return error_set(err, -EBADMSG, "a page is lost");
}

/* Reading it would never end. */
static void ram_that_cannot_be_gathered_ends_it_before_anybody_is_called(
	void **state)
{
	struct rig r;

	hybrid(&r, WIRE_HELLO, 1, NULL);
	r.opt.gather = gather_nothing;
	r.opt.gather_opaque = &r;
	rig_run(&r);
	rig_stayed(&r, -EBADMSG);
	assert_int_equal(r.seen, 1);
	assert_int_equal(r.peer.frames[WIRE_HELLO], 0);
	rig_fini(&r);
}

static void a_guest_that_cannot_restart_is_reported_stuck(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_PACKAGE, 1, complain);
	r.src.fail_at[FAKE_RESTART] = 1;
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_STUCK);
	assert_non_null(strstr(r.err.text, "could not be restarted"));
	assert_non_null(strstr(r.err.text, "no room for it"));
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 1);
	rig_fini(&r);
}

static void a_load_that_fails_leaves_the_guest_here(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_HELLO, 1, NULL);
	r.dst.fail_at[FAKE_LOAD] = 1;
	rig_run(&r);
	rig_stayed(&r, -EIO);
	rig_fini(&r);
}

/* ---- strangers ---- */

static void other_versions_and_features_are_refused(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_HELLO, 1, NULL);
	r.peer.version = WIRE_VERSION + 1;
	rig_run(&r);
	rig_stayed(&r, -EPROTO);
	assert_non_null(strstr(r.err.text, "version 2"));
	rig_fini(&r);

	hybrid(&r, WIRE_HELLO, 1, NULL);
	r.peer.extra_features = UINT64_C(1) << 40;
	rig_run(&r);
	rig_stayed(&r, -EPROTO);
	rig_fini(&r);

	hybrid(&r, WIRE_HELLO, 1, NULL);
	r.peer.features = 0;
	rig_run(&r);
	rig_stayed(&r, -EOPNOTSUPP);
	assert_non_null(strstr(r.err.text, "postcopy"));
	rig_fini(&r);
}

static enum peer_deed talk_http(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	static const char text[] =
		"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

	chan_write(p->main.chan, text, sizeof(text) - 1);
	return PEER_HANG_UP;
}

static void a_peer_that_is_no_godwit_is_recognised(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_HELLO, 1, talk_http);
	rig_run(&r);
	rig_stayed(&r, -EBADMSG);
	rig_fini(&r);
}

static void nobody_there_is_reported(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_HELLO, 1, NULL);
	chan_listener_close(r.peer.listener);
	r.peer.listener = NULL;
	fake_guest_start(&r.src, false);
	{
		struct migrate_guest g = fake_guest_migrate(&r.src);

		assert_int_equal(source_start(&r.opt, &g, "{}", rig_done, &r,
					 &r.source, NULL),
			0);
	}
	sem_wait(&r.ended);
	rig_stayed(&r, -ENOENT);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_STOP), 0);
	rig_fini(&r);
}

/* ---- blocked ---- */

/* Stop reading until the source has ended. */
static enum peer_deed stop_reading(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct rig *r = opaque;

	if (!is_it(r, p, type))
		return PEER_OBEY;
	sem_post(&r->reached);
	sem_wait(&r->go);
	return PEER_HANG_UP;
}

static void a_blocked_write_hears_a_cancel(void **state)
{
	struct rig r;

	rig_init(&r, LARGE, SOURCE_POSTCOPY_NEVER);
	fake_guest_write(&r.src, 0, LARGE);
	r.type = WIRE_PAGES;
	r.peer.hook = stop_reading;
	r.peer.opaque = &r;
	rig_start(&r);
	sem_wait(&r.reached);
	assert_int_equal(source_cancel(r.source), 0);
	sem_wait(&r.ended);
	sem_post(&r.go);
	peer_join(&r.peer);
	rig_stayed(&r, -ECANCELED);
	rig_fini(&r);
}

static void a_peer_that_does_not_read_is_given_up(void **state)
{
	struct rig r;

	rig_init(&r, LARGE, SOURCE_POSTCOPY_NEVER);
	fake_guest_write(&r.src, 0, LARGE);
	r.opt.timeout_ms = 2000;
	r.type = WIRE_PAGES;
	r.peer.hook = stop_reading;
	r.peer.opaque = &r;
	rig_start(&r);
	sem_wait(&r.ended);
	sem_post(&r.go);
	peer_join(&r.peer);
	rig_stayed(&r, -ETIMEDOUT);
	rig_fini(&r);
}

static void a_throttled_round_hears_a_cancel(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_PAGES, 1, cancel);
	r.opt.bandwidth = 1; /* bytes/s */
	rig_run(&r);
	rig_stayed(&r, -ECANCELED);
	assert_int_equal(r.peer.frames[WIRE_CANCEL], 1);
	rig_fini(&r);
}

/* A UNIX socket whose queue is full takes no further connection. */
static int full_socket(const char *path, int *fds, int most)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int n = 0;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fds[n], (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fds[n++], 0), 0);
	for (; n < most; n++) {
		fds[n] = socket(
			AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (connect(fds[n], (struct sockaddr *)&sa, sizeof(sa)) < 0)
			return n + 1;
	}
	fail_msg("the socket never fills");
	return n;
}

static void a_connect_that_hangs_hears_a_cancel(void **state)
{
	char path[] = "/tmp/godwit-full-XXXXXX", address[64];
	struct migrate_guest g;
	struct rig r;
	int fds[16], n;

	assert_int_equal(close(mkstemp(path)), 0);
	unlink(path);
	n = full_socket(path, fds, 16);
	snprintf(address, sizeof(address), "unix:%s", path);
	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	r.opt.address = address;
	r.opt.timeout_ms = 60000;
	fake_guest_start(&r.src, false);
	g = fake_guest_migrate(&r.src);
	assert_int_equal(
		source_start(&r.opt, &g, "{}", rig_done, &r, &r.source, NULL),
		0);
	assert_int_equal(source_cancel(r.source), 0);
	sem_wait(&r.ended);
	rig_stayed(&r, -ECANCELED);
	rig_fini(&r);
	while (n-- > 0)
		close(fds[n]);
	unlink(path);
}

/* ---- COMMIT, and no answer ---- */

static enum peer_deed take_and_go(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct migrate_guest g = fake_guest_migrate(p->guest);

	if (type != WIRE_COMMIT)
		return PEER_OBEY;
	if (p->owner == WIRE_OWNER_DESTINATION)
		g.ops->run(g.opaque, false, NULL);
	return PEER_HANG_UP;
}

static void lost_answer(struct rig *r, enum source_postcopy postcopy, int owner)
{
	rig_init(r, SMALL, postcopy);
	fake_guest_write(&r->src, 0, SMALL);
	r->peer.hook = take_and_go;
	r->peer.opaque = r;
	r->peer.owner = owner;
	rig_run(r);
	assert_int_equal(r->peer.frames[WIRE_COMMIT], 1);
	assert_int_equal(r->peer.frames[WIRE_QUERY], 1);
}

static void a_lost_answer_is_asked_for_and_the_guest_is_theirs(void **state)
{
	struct rig r;

	/* All pages were there. */
	lost_answer(&r, SOURCE_POSTCOPY_NEVER, WIRE_OWNER_DESTINATION);
	assert_int_equal(r.result, SOURCE_MOVED);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 0);
	assert_true(fake_guest_is_running(&r.dst));
	rig_fini(&r);

	lost_answer(&r, SOURCE_POSTCOPY_AFTER, WIRE_OWNER_DESTINATION);
	assert_int_equal(r.result, SOURCE_MOVED);
	rig_fini(&r);

	/* None was. */
	lost_answer(&r, SOURCE_POSTCOPY_IMMEDIATE, WIRE_OWNER_DESTINATION);
	assert_int_equal(r.result, SOURCE_LOST_LINK);
	assert_int_equal(source_stats(r.source)->phase, MIGRATE_LOST);
	assert_int_equal(source_stats(r.source)->pages_left, SMALL);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 0);
	rig_fini(&r);
}

static void a_lost_answer_is_asked_for_and_the_guest_is_ours(void **state)
{
	struct rig r;
	int owner;

	for (owner = WIRE_OWNER_SOURCE; owner <= WIRE_OWNER_LOADED; owner++) {
		lost_answer(&r, SOURCE_POSTCOPY_AFTER, owner);
		assert_int_equal(r.result, SOURCE_RUNS_HERE);
		assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 1);
		assert_true(fake_guest_is_running(&r.src));
		assert_int_equal(source_stats(r.source)->phase, MIGRATE_FAILED);
		assert_non_null(strstr(r.err.text, "gave the guest back"));
		rig_fini(&r);
	}
}

static void nobody_to_ask_leaves_the_guest_stopped(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	r.peer.hook = take_and_go;
	r.peer.opaque = &r;
	r.peer.deaf = true;
	r.opt.timeout_ms = 3000; /* all before COMMIT takes less */
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_UNRESOLVED);
	assert_int_equal(source_stats(r.source)->phase, MIGRATE_UNKNOWN);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 0);
	assert_false(fake_guest_is_running(&r.src));
	assert_non_null(strstr(r.err.text, "who owns the guest is open"));
	rig_fini(&r);
}

/* COMMIT is answered by an ERROR: the destination does not have it. */
static void an_error_instead_of_running_gives_the_guest_back(void **state)
{
	struct rig r;

	hybrid(&r, WIRE_COMMIT, 1, complain);
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_RUNS_HERE);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 1);
	assert_non_null(strstr(r.err.text, "no room for it"));
	assert_int_equal(r.peer.frames[WIRE_QUERY], 0);
	rig_fini(&r);
}

/* The connection is there, but RUNNING does not come in time. */
static enum peer_deed run_without_a_word(
	void *opaque, struct peer *p, uint16_t type, bool urgent)
{
	struct migrate_guest g = fake_guest_migrate(p->guest);

	if (type != WIRE_COMMIT)
		return PEER_OBEY;
	p->committed = true;
	g.ops->run(g.opaque, false, NULL);
	p->owner = WIRE_OWNER_DESTINATION;
	peer_answer_query(p);
	p->owner = -1;
	return PEER_IGNORE;
}

static void postcopy_goes_on_when_only_the_word_was_lost(void **state)
{
	struct rig r;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_IMMEDIATE);
	fake_guest_write(&r.src, 0, SMALL);
	r.opt.timeout_ms = 3000; /* all before COMMIT takes less */
	r.peer.hook = run_without_a_word;
	r.peer.opaque = &r;
	rig_run(&r);
	rig_moved(&r);
	assert_int_equal(fake_guest_check(&r.dst), 0);
	rig_fini(&r);
}

static void a_socketpair_cannot_be_asked(void **state)
{
	char address[32];
	struct rig r;
	int sv[2];

	rig_init(&r, SMALL, SOURCE_POSTCOPY_NEVER);
	peer_fini(&r.peer);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
	snprintf(address, sizeof(address), "fd:%d", sv[1]);
	peer_init(&r.peer, &r.dst, address);
	snprintf(address, sizeof(address), "fd:%d", sv[0]);
	r.opt.address = address;
	r.peer.hook = take_and_go;
	r.peer.opaque = &r;
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_UNRESOLVED);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 0);
	rig_fini(&r);
}

/* ---- after RUNNING ---- */

static void a_link_lost_after_the_switch_is_reported(void **state)
{
	struct rig r;
	uint64_t page, came = 0;

	rig_init(&r, SMALL, SOURCE_POSTCOPY_IMMEDIATE);
	fake_guest_write(&r.src, 0, SMALL);
	r.type = WIRE_PAGES;
	r.nth = 4;
	r.peer.hook = hang_up;
	r.peer.opaque = &r;
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_LOST_LINK);
	assert_int_equal(source_stats(r.source)->phase, MIGRATE_LOST);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 0);
	assert_false(fake_guest_is_running(&r.src));
	for (page = 0; page < SMALL; page++)
		came += r.peer.came[page];
	assert_true(came < SMALL);
	rig_fini(&r);
}

static void a_request_beyond_ram_after_the_switch_is_reported(void **state)
{
	struct rig r;

	rig_init(&r, LARGE, SOURCE_POSTCOPY_IMMEDIATE);
	fake_guest_write(&r.src, 0, LARGE);
	/* Bytes a second: it is at it until it has read the request. */
	r.opt.push_bandwidth = 1;
	r.type = WIRE_PAGES;
	r.peer.hook = request_beyond;
	r.peer.opaque = &r;
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_LOST_LINK);
	assert_int_equal(r.err.code, -EPROTO);
	assert_int_equal(fake_guest_calls(&r.src, FAKE_RESTART), 0);
	rig_fini(&r);
}

static void losing_the_link_before_done(void **state)
{
	struct rig r;

	/* Nobody knows whether the last pages arrived. */
	hybrid(&r, WIRE_COMPLETE, 1, hang_up);
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_LOST_LINK);
	rig_fini(&r);

	/* LOADED said that all pages had. */
	hybrid(&r, WIRE_COMPLETE, 1, hang_up);
	r.opt.postcopy = SOURCE_POSTCOPY_NEVER;
	rig_run(&r);
	assert_int_equal(r.result, SOURCE_MOVED);
	assert_null(source_peer_stats(r.source));
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_peer_gone_at_any_frame_leaves_the_guest_here),
		cmocka_unit_test(a_peer_s_complaint_is_what_is_reported),
		cmocka_unit_test(a_cancel_at_any_frame_leaves_the_guest_here),
		cmocka_unit_test(a_cancelled_peer_is_told),
		cmocka_unit_test(
			a_peer_with_the_package_is_told_before_the_restart),
		cmocka_unit_test(a_silent_peer_is_given_up),
		cmocka_unit_test(answers_that_are_not_due_are_refused),
		cmocka_unit_test(requests_before_the_switch_are_refused),
		cmocka_unit_test(a_request_beyond_ram_before_commit_is_refused),
		cmocka_unit_test(a_guest_that_fails_runs_on_here),
		cmocka_unit_test(
			ram_that_cannot_be_gathered_ends_it_before_anybody_is_called),
		cmocka_unit_test(a_guest_that_cannot_restart_is_reported_stuck),
		cmocka_unit_test(a_load_that_fails_leaves_the_guest_here),
		cmocka_unit_test(other_versions_and_features_are_refused),
		cmocka_unit_test(a_peer_that_is_no_godwit_is_recognised),
		cmocka_unit_test(nobody_there_is_reported),
		cmocka_unit_test(a_blocked_write_hears_a_cancel),
		cmocka_unit_test(a_peer_that_does_not_read_is_given_up),
		cmocka_unit_test(a_throttled_round_hears_a_cancel),
		cmocka_unit_test(a_connect_that_hangs_hears_a_cancel),
		cmocka_unit_test(
			a_lost_answer_is_asked_for_and_the_guest_is_theirs),
		cmocka_unit_test(
			a_lost_answer_is_asked_for_and_the_guest_is_ours),
		cmocka_unit_test(nobody_to_ask_leaves_the_guest_stopped),
		cmocka_unit_test(
			an_error_instead_of_running_gives_the_guest_back),
		cmocka_unit_test(postcopy_goes_on_when_only_the_word_was_lost),
		cmocka_unit_test(a_socketpair_cannot_be_asked),
		cmocka_unit_test(a_link_lost_after_the_switch_is_reported),
		cmocka_unit_test(
			a_request_beyond_ram_after_the_switch_is_reported),
		cmocka_unit_test(losing_the_link_before_done),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
