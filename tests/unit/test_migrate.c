/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_migrate.c - both ends of a migration against each other, with
 * guests of plain memory: every way to switch, every kind of channel, and the
 * link cut at every frame in either direction.
 *
 * Whatever happens: never two owners, every page right where the guest runs,
 * and both ends come to an end and say the same.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate/chan.h"
#include "migrate/dest.h"
#include "migrate/pager.h"
#include "migrate/source.h"
#include "tests/lib/chan_cut.h"
#include "tests/lib/fake_guest.h"
#include "vmm/error.h"

#define PAGES 1024u
#define WORK  300u /* pages that the dirtier writes to */

enum net { NET_UNIX, NET_TCP, NET_FDS, NETS };

enum how {
	HOW_NEVER,
	HOW_IMMEDIATE,
	HOW_AFTER,
	HOW_STALLED,
	HOW_MANUAL,
	HOW_AT_THE_END,
	HOWS
};

static const char *const net_name[NETS] = {"unix", "tcp", "fd"};
static const char *const how_name[HOWS] = {
	"never", "immediate", "after=1", "stalled", "manual", "at the end"};

struct move {
	char dir[64], listen[96], connect[96];
	struct chan_listener *listener;
	struct cut_proxy *proxy;
	struct fake_world world;
	struct fake_guest a, b;
	struct source *source;
	struct dest *dest;
	struct source_options opt;
	pthread_t thread;
	int urgent_fd; /* the source's, if it may not be taken */
	int timeout_ms, accept_ms;

	pthread_mutex_t lock; /* what follows */
	pthread_cond_t cond;
	bool source_done, dest_done;
	enum source_result source_result;
	enum dest_result dest_result;
	struct error source_error, dest_error;
};

static void source_done(
	void *opaque, enum source_result result, const struct error *err)
{
	struct move *m = opaque;

	pthread_mutex_lock(&m->lock);
	m->source_done = true;
	m->source_result = result;
	if (err)
		m->source_error = *err;
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
}

static void dest_done(
	void *opaque, enum dest_result result, const struct error *err)
{
	struct move *m = opaque;

	pthread_mutex_lock(&m->lock);
	m->dest_done = true;
	m->dest_result = result;
	if (err)
		m->dest_error = *err;
	pthread_cond_broadcast(&m->cond);
	pthread_mutex_unlock(&m->lock);
}

/* `godwit receive`. */
static void *receive(void *arg)
{
	struct dest_options opt = {.postcopy = true};
	struct move *m = arg;
	struct migrate_guest g = fake_guest_migrate(&m->b);
	struct error err = {0};

	opt.timeout_ms = m->timeout_ms;
	if (dest_accept(m->listener, &opt, m->accept_ms, &m->dest, &err) < 0 ||
		dest_start(m->dest, &g, dest_done, m, &err) < 0)
		dest_done(m, DEST_NOT_OURS, &err);
	return NULL;
}

static void make_addresses(struct move *m, enum net net)
{
	int a[2], b[2];

	m->urgent_fd = -1;
	strcpy(m->dir, "/tmp/godwit-move-XXXXXX");
	assert_non_null(mkdtemp(m->dir));
	if (net == NET_UNIX) {
		snprintf(m->listen, sizeof(m->listen), "unix:%s/s", m->dir);
	} else if (net == NET_TCP) {
		strcpy(m->listen, "tcp:127.0.0.1:0");
	} else {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
		m->urgent_fd = b[0];
		snprintf(
			m->connect, sizeof(m->connect), "fd:%d,%d", a[0], b[0]);
		snprintf(m->listen, sizeof(m->listen), "fd:%d,%d", a[1], b[1]);
	}
}

static void move_init(struct move *m, enum net net)
{
	struct error err = {0};

	alarm(TESTING_WATCHDOG_S); /* nothing here may hang */
	memset(m, 0, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->cond, NULL);
	m->timeout_ms = m->accept_ms = 20000;
	make_addresses(m, net);
	if (chan_listen(m->listen, &m->listener, &err) < 0)
		fail_msg("%s", err.text);
	if (net != NET_FDS)
		snprintf(m->connect, sizeof(m->connect), "%s",
			chan_listener_address(m->listener));
	fake_guest_init(&m->a, &m->world, PAGES);
	fake_guest_init(&m->b, &m->world, PAGES);
	m->b.load_touches = 16;
	for (uint64_t i = 0; i < PAGES; i++)
		if (i % 5 != 0)
			fake_guest_write(&m->a, i, 1);
	fake_guest_start(&m->a, false);
}

static void dirty(struct move *m)
{
	fake_guest_work(&m->a, 0, WORK);
	fake_guest_work(&m->b, 0, WORK);
	fake_guest_wait_writes(&m->a, 100);
}

/* Begin; false if the source would not start. */
static void move_start(struct move *m)
{
	struct migrate_guest g = fake_guest_migrate(&m->a);
	struct error err = {0};

	assert_int_equal(pthread_create(&m->thread, NULL, receive, m), 0);
	m->opt.address = m->connect;
	if (m->opt.timeout_ms == 0)
		m->opt.timeout_ms = m->timeout_ms;
	if (source_start(&m->opt, &g, "{}", source_done, m, &m->source, &err) <
		0)
		fail_msg("%s", err.text);
}

static void move_wait(struct move *m)
{
	pthread_mutex_lock(&m->lock);
	while (!m->source_done || !m->dest_done)
		pthread_cond_wait(&m->cond, &m->lock);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
}

static void move_fini(struct move *m)
{
	source_join(m->source);
	dest_join(m->dest);
	cut_proxy_stop(m->proxy);
	chan_listener_close(m->listener);
	fake_guest_fini(&m->a);
	fake_guest_fini(&m->b);
	if (m->urgent_fd >= 0 && m->opt.postcopy == SOURCE_POSTCOPY_NEVER)
		close(m->urgent_fd);
	rmdir(m->dir);
	alarm(0);
}

/* The guest is at @g, all of it, and nowhere else. */
static void assert_here(struct move *m, struct fake_guest *g)
{
	if (g->set_count > 0)
		fake_guest_wait_writes(g, 2 * WORK);
	fake_guest_work(g, 0, 0);
	pthread_mutex_lock(&g->lock);
	while (g->runs)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
	assert_true(fake_guest_is_running(g));
	assert_int_equal(m->world.running, 1);
	assert_int_equal(m->world.two_owners, 0);
	assert_int_equal(fake_guest_check(g), 0);
	assert_int_equal(g->wrong, 0);
	assert_int_equal(m->a.bad_calls, 0);
	assert_int_equal(m->b.bad_calls, 0);
}

static bool no_pager(void)
{
	struct error err;

	if (pager_probe(NULL, &err) == 0)
		return false;
	print_message("%s\n", err.text);
	return true;
}

#define NEED_PAGER                                                             \
	do {                                                                   \
		if (no_pager())                                                \
			skip();                                                \
	} while (0)

/* ---- the matrix ---- */

/* In the second round: switch. */
static void switch_in_round_2(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct move *m = opaque;

	if (op == FAKE_DIRTY_SYNC && fake_guest_calls(g, op) == 2)
		source_switch(m->source);
}

static void one_move(enum net net, enum how how, bool dirtier)
{
	static const enum source_postcopy policy[HOWS] = {
		[HOW_NEVER] = SOURCE_POSTCOPY_NEVER,
		[HOW_IMMEDIATE] = SOURCE_POSTCOPY_IMMEDIATE,
		[HOW_AFTER] = SOURCE_POSTCOPY_AFTER,
		[HOW_STALLED] = SOURCE_POSTCOPY_STALLED,
		[HOW_MANUAL] = SOURCE_POSTCOPY_MANUAL,
		[HOW_AT_THE_END] = SOURCE_POSTCOPY_MANUAL,
	};
	struct move m;

	move_init(&m, net);
	m.opt.postcopy = policy[how];
	m.opt.after_rounds = 1;
	m.opt.max_rounds = 6;
	/* A goal that a dirtier never lets be met. */
	m.opt.max_downtime_ns = dirtier ? 1 : 0;
	if (how == HOW_MANUAL) {
		m.a.hook = switch_in_round_2;
		m.a.hook_opaque = &m;
	}
	if (dirtier)
		dirty(&m);
	move_start(&m);
	move_wait(&m);
	if (m.source_result != SOURCE_MOVED || m.dest_result != DEST_RUNS_HERE)
		fail_msg("%s, %s, %s: source %d (%s), destination %d (%s)",
			net_name[net], how_name[how],
			dirtier ? "dirtier" : "idle", m.source_result,
			m.source_error.text, m.dest_result, m.dest_error.text);
	if (how == HOW_AT_THE_END)
		assert_int_equal(source_switch(m.source), -EALREADY);
	assert_here(&m, &m.b);
	if (!dirtier)
		assert_memory_equal(
			m.a.gm.base, m.b.gm.base, PAGES * WIRE_PAGE_BYTES);
	/* The immediate one sends every page after the switch. */
	if (how == HOW_IMMEDIATE)
		assert_int_equal(dest_stats(m.dest)->pages_placed, PAGES);
	if (how == HOW_NEVER)
		assert_int_equal(dest_stats(m.dest)->pages_placed, 0);
	assert_non_null(source_peer_stats(m.source));
	move_fini(&m);
}

static void test_a_guest_moves_whole_however_and_over_whatever(void **state)
{
	int fds = testing_fd_count();
	unsigned cases = 0;

	NEED_PAGER;
	for (unsigned net = 0; net < NETS; net++)
		for (unsigned how = 0; how < HOWS; how++)
			for (unsigned dirtier = 0; dirtier < 2; dirtier++) {
				one_move(net, how, dirtier);
				cases++;
			}
	print_message("%u moves\n", cases);
	assert_int_equal(testing_fd_count(), fds);
}

static void test_it_moves_on_and_back_again(void **state)
{
	NEED_PAGER;
	for (int i = 0; i < 10; i++)
		one_move(i % 2 ? NET_TCP : NET_UNIX, HOW_AFTER, true);
}

static void test_a_paused_guest_arrives_paused(void **state)
{
	struct move m;

	move_init(&m, NET_UNIX);
	m.a.paused = true;
	move_start(&m);
	move_wait(&m);
	assert_int_equal(m.dest_result, DEST_RUNS_HERE);
	assert_true(m.b.paused);
	move_fini(&m);
}

/* ---- cuts ---- */

/* Frames that one whole move has, by connection and direction. */
struct length {
	uint64_t frames[2][2];
};

/* What the two ends may say together, and where the guest is then. */
static void assert_one_owner(struct move *m, const char *what, bool can_ask)
{
	bool ran_here = fake_guest_calls(&m->b, FAKE_RUN) > 0;
	enum source_result s = m->source_result;
	enum dest_result d = m->dest_result;
	bool ok;

	switch (d) {
	case DEST_RUNS_HERE:
		ok = ran_here && (s == SOURCE_MOVED || s == SOURCE_LOST_LINK ||
					 s == SOURCE_UNRESOLVED);
		break;
	case DEST_LOST_LINK:
		ok = ran_here &&
		     (s == SOURCE_LOST_LINK || s == SOURCE_UNRESOLVED);
		break;
	default:
		ok = !ran_here &&
		     (s == SOURCE_RUNS_HERE || s == SOURCE_UNRESOLVED);
	}
	/* Who can ask gets to know. */
	ok = ok && !(can_ask && s == SOURCE_UNRESOLVED);
	if (!ok || m->world.two_owners || m->world.running > 1)
		fail_msg("%s: source %d (%s), destination %d (%s), %u ran",
			what, s, m->source_error.text, d, m->dest_error.text,
			m->world.running);
	if (s == SOURCE_RUNS_HERE)
		assert_here(m, &m->a);
	else if (d == DEST_RUNS_HERE)
		assert_here(m, &m->b);
}

/* One move through a proxy with @plan; its results in @counts. */
static void cut_move(enum how how, const struct cut_plan *plan,
	struct length *ret_length, unsigned *counts)
{
	char addr[96], what[128];
	struct error err = {0};
	struct move m;

	move_init(&m, NET_UNIX);
	m.opt.postcopy = how == HOW_NEVER   ? SOURCE_POSTCOPY_NEVER
			 : how == HOW_AFTER ? SOURCE_POSTCOPY_AFTER
					    : SOURCE_POSTCOPY_IMMEDIATE;
	m.opt.after_rounds = 1;
	m.opt.max_rounds = 2;
	m.opt.max_downtime_ns = 1;
	m.accept_ms = plan ? 300 : 20000;
	/* An answer that can come is to come in time. */
	m.timeout_ms = !plan ? 20000 : plan->all ? 1000 : 5000;
	fake_guest_work(&m.a, 0, WORK);
	fake_guest_work(&m.b, 0, 0);
	fake_guest_wait_writes(&m.a, WORK);
	snprintf(addr, sizeof(addr), "unix:%s/p", m.dir);
	if (cut_proxy_start(addr, m.listen, plan, &m.proxy, &err) < 0)
		fail_msg("%s", err.text);
	snprintf(
		m.connect, sizeof(m.connect), "%s", cut_proxy_address(m.proxy));
	move_start(&m);
	move_wait(&m);
	if (ret_length)
		for (unsigned c = 0; c < 2; c++)
			for (unsigned w = 0; w < 2; w++)
				ret_length->frames[c][w] =
					cut_proxy_frames(m.proxy, c, w);
	if (plan)
		snprintf(what, sizeof(what),
			"%s, connection %u, %s, frame %llu%s", how_name[how],
			plan->connection,
			plan->to_source ? "to the source"
					: "to the destination",
			(unsigned long long)plan->frame,
			plan->all ? ", all" : "");
	else
		snprintf(what, sizeof(what), "%s, no cut", how_name[how]);
	assert_one_owner(&m, what, !plan || !plan->all);
	if (!plan)
		assert_int_equal(m.source_result, SOURCE_MOVED);
	if (counts)
		counts[m.dest_result]++;
	move_fini(&m);
}

/* @all: the destination cannot be reached any more, either. */
static void cut_everywhere(enum how how, bool all)
{
	struct length length;
	unsigned counts[3] = {0}, cases = 0;

	cut_move(how, NULL, &length, NULL);
	for (unsigned c = 0; c < 2; c++)
		for (unsigned w = 0; w < 2; w++)
			for (uint64_t f = 0; f <= length.frames[c][w]; f++) {
				struct cut_plan plan = {
					.connection = c,
					.to_source = w,
					.frame = f,
					.byte = CHAN_CUT_NEVER,
					.what = CHAN_CUT,
					.all = all,
				};

				cut_move(how, &plan, NULL, counts);
				cases++;
			}
	print_message("%s%s: %u cuts: %u moved, %u stayed, %u lost the link\n",
		how_name[how], all ? ", for good" : "", cases,
		counts[DEST_RUNS_HERE], counts[DEST_NOT_OURS],
		counts[DEST_LOST_LINK]);
}

static void test_a_cut_at_any_frame_of_precopy_leaves_one_owner(void **state)
{
	cut_everywhere(HOW_NEVER, false);
	cut_everywhere(HOW_NEVER, true);
}

static void test_a_cut_at_any_frame_of_postcopy_leaves_one_owner(void **state)
{
	NEED_PAGER;
	cut_everywhere(HOW_AFTER, false);
	cut_everywhere(HOW_AFTER, true);
	cut_everywhere(HOW_IMMEDIATE, false);
	cut_everywhere(HOW_IMMEDIATE, true);
}

/* ---- trouble at the ends ---- */

static void test_a_destination_that_cannot_load_or_run_leaves_it_here(
	void **state)
{
	static const enum fake_op fails[] = {FAKE_LOAD, FAKE_RUN};

	NEED_PAGER;
	for (unsigned how = 0; how < 2; how++)
		for (unsigned i = 0; i < 2; i++) {
			struct move m;

			move_init(&m, NET_UNIX);
			m.opt.postcopy = how ? SOURCE_POSTCOPY_IMMEDIATE
					     : SOURCE_POSTCOPY_NEVER;
			m.b.fail_at[fails[i]] = 1;
			move_start(&m);
			move_wait(&m);
			assert_int_equal(m.dest_result, DEST_NOT_OURS);
			if (m.source_result != SOURCE_RUNS_HERE)
				fail_msg("source: %d (%s)", m.source_result,
					m.source_error.text);
			assert_non_null(
				strstr(m.source_error.text, "told to fail"));
			assert_here(&m, &m.a);
			move_fini(&m);
		}
}

/* From the guest's last order before @op at the destination. */
static void cancel_at_load(void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct move *m = opaque;

	if (op == FAKE_LOAD)
		assert_int_equal(source_cancel(m->source), 0);
}

static void refuse_cancel_at_run(
	void *opaque, struct fake_guest *g, enum fake_op op)
{
	struct move *m = opaque;

	if (op == FAKE_RUN)
		assert_int_equal(source_cancel(m->source), -EALREADY);
}

static void test_cancel_works_up_to_commit(void **state)
{
	struct move m;

	NEED_PAGER;
	for (unsigned how = 0; how < 2; how++) {
		move_init(&m, NET_UNIX);
		m.opt.postcopy =
			how ? SOURCE_POSTCOPY_IMMEDIATE : SOURCE_POSTCOPY_NEVER;
		m.b.hook = cancel_at_load;
		m.b.hook_opaque = &m;
		move_start(&m);
		move_wait(&m);
		assert_int_equal(m.source_result, SOURCE_RUNS_HERE);
		assert_int_equal(m.dest_result, DEST_NOT_OURS);
		assert_here(&m, &m.a);
		move_fini(&m);

		move_init(&m, NET_UNIX);
		m.opt.postcopy =
			how ? SOURCE_POSTCOPY_IMMEDIATE : SOURCE_POSTCOPY_NEVER;
		m.b.hook = refuse_cancel_at_run;
		m.b.hook_opaque = &m;
		move_start(&m);
		move_wait(&m);
		assert_int_equal(m.source_result, SOURCE_MOVED);
		assert_here(&m, &m.b);
		move_fini(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_a_guest_moves_whole_however_and_over_whatever),
		cmocka_unit_test(test_it_moves_on_and_back_again),
		cmocka_unit_test(test_a_paused_guest_arrives_paused),
		cmocka_unit_test(
			test_a_cut_at_any_frame_of_precopy_leaves_one_owner),
		cmocka_unit_test(
			test_a_cut_at_any_frame_of_postcopy_leaves_one_owner),
		cmocka_unit_test(
			test_a_destination_that_cannot_load_or_run_leaves_it_here),
		cmocka_unit_test(test_cancel_works_up_to_commit),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
