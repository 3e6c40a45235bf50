/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_loop_trace.c - one random script, the same trace on every
 * back end (L6).
 *
 * A script is a stream of random numbers from a seed.  The top level and every
 * callback take their actions from that one stream, so a single callback out
 * of order changes all that follows.  Time plays no part: a timer is due at
 * once or never.  LOOP_SCRIPTS says how many scripts; GODWIT_SEED repeats one.
 */
#include "tests/unit/test_loop_common.h"

#include <stdio.h>

#define FDS	 6
#define BHS	 5
#define TIMERS	 4
#define STEPS	 40  /* actions of the top level */
#define BUDGET	 300 /* actions of a script, so that it ends */
#define MAX_DEEP 3

struct script;

struct actor {
	struct script *script;
	int id;
	int fd; /* of a source */
	struct loop_fd *handler;
	struct loop_bh *bh;
	struct loop_timer timer;
};

struct script {
	struct loop *loop;
	uint64_t random;
	struct actor source[FDS], half[BHS], clock[TIMERS];
	struct loop_guard guard[2];
	int disabled; /* depth of loop_disable_external() */
	int deep, budget;
	char *text;
	size_t len, cap;
};

static void log_event(struct script *s, char what, int id, int value)
{
	if (s->cap - s->len < 32) {
		s->cap = s->cap ? s->cap * 2 : 4096;
		s->text = realloc(s->text, s->cap);
		assert_non_null(s->text);
	}
	s->len += (size_t)snprintf(
		s->text + s->len, s->cap - s->len, "%c%d:%d ", what, id, value);
}

static unsigned pick(struct script *s, unsigned n)
{
	return (unsigned)(testing_random(&s->random) % n);
}

static void act(struct script *s);

/* What a callback does besides leaving its mark. */
static void maybe_act(struct script *s)
{
	unsigned n = pick(s, 3);

	while (n-- > 0)
		act(s);
}

static bool source_ready(void *opaque, unsigned ready)
{
	struct actor *a = opaque;
	struct script *s = a->script;
	bool progress;

	log_event(s, 'f', a->id, (int)ready);
	if (pick(s, 4) > 0) /* else it stays ready */
		drain_fd(a->fd);
	progress = pick(s, 4) > 0;
	maybe_act(s);
	return progress;
}

static void half_runs(void *opaque)
{
	struct actor *a = opaque;

	log_event(a->script, 'b', a->id, a->script->deep);
	maybe_act(a->script);
}

static void once_runs(void *opaque)
{
	log_event(opaque, 'o', 0, 0);
	maybe_act(opaque);
}

static void clock_fires(void *opaque)
{
	struct actor *a = opaque;

	log_event(a->script, 't', a->id, a->script->deep);
	maybe_act(a->script);
}

/* ---- actions ---- */

static void act_source(struct script *s)
{
	struct actor *a = &s->source[pick(s, FDS)];
	unsigned events = pick(s, 4), flags = pick(s, 2);

	if (!a->handler) {
		assert_int_equal(loop_fd_add(s->loop, a->fd, events,
					 flags ? LOOP_FD_EXTERNAL : 0,
					 source_ready, a, "src", &a->handler),
			0);
		log_event(s, 'A', a->id, (int)events);
	} else if (pick(s, 2)) {
		assert_int_equal(loop_fd_set(a->handler, events), 0);
		log_event(s, 'S', a->id, (int)events);
	} else {
		loop_fd_del(a->handler);
		a->handler = NULL;
		log_event(s, 'D', a->id, 0);
		if (pick(s, 2)) { /* and the number goes to a new file */
			close(a->fd);
			a->fd = new_eventfd(pick(s, 2));
		}
	}
}

static void act_half(struct script *s)
{
	struct actor *a = &s->half[pick(s, BHS)];

	switch (pick(s, 8)) {
	case 0:
		loop_bh_cancel(a->bh);
		log_event(s, 'C', a->id, 0);
		break;
	case 1:
		loop_bh_delete(a->bh);
		assert_int_equal(
			loop_bh_create(s->loop, half_runs, a, "half",
				a->id < 2 ? &s->guard[a->id] : NULL, &a->bh),
			0);
		log_event(s, 'R', a->id, 0);
		break;
	default:
		loop_bh_schedule(a->bh);
		log_event(s, 'B', a->id, 0);
	}
}

static void act_clock(struct script *s)
{
	struct actor *a = &s->clock[pick(s, TIMERS)];

	switch (pick(s, 4)) {
	case 0:
		loop_timer_cancel(&a->timer);
		break;
	case 1:
		loop_timer_set(&a->timer, INT64_MAX / 2);
		break;
	default:
		loop_timer_set(&a->timer, 1 + (int)pick(s, 3));
	}
	log_event(s, 'T', a->id, (int)(a->timer.deadline_ns & 3));
}

static void act_external(struct script *s)
{
	if (s->disabled > 0 && pick(s, 3)) {
		s->disabled--;
		loop_enable_external(s->loop);
	} else if (s->disabled < 2) {
		s->disabled++;
		loop_disable_external(s->loop);
	}
	log_event(s, 'X', 0, s->disabled);
}

static void act_poll(struct script *s)
{
	bool blocking = pick(s, 2), progress;

	if (s->deep >= MAX_DEEP)
		return;
	if (blocking) /* only with something to end it */
		loop_notify(s->loop);
	s->deep++;
	log_event(s, '(', s->deep, blocking);
	progress = loop_poll(s->loop, blocking);
	log_event(s, ')', s->deep, progress);
	s->deep--;
}

static void act(struct script *s)
{
	if (s->budget-- <= 0)
		return;
	switch (pick(s, 12)) {
	case 0:
	case 1:
		act_source(s);
		break;
	case 2:
	case 3:
	case 4:
		raise_fd(s->source[pick(s, FDS)].fd);
		break;
	case 5:
	case 6:
		act_half(s);
		break;
	case 7:
		act_clock(s);
		break;
	case 8:
		act_external(s);
		break;
	case 9:
		assert_int_equal(
			loop_bh_oneshot(s->loop, once_runs, s, "once"), 0);
		break;
	default:
		act_poll(s);
	}
}

/* ---- a run ---- */

static void script_start(struct script *s, struct loop *loop, uint64_t seed)
{
	int i;

	*s = (struct script){.loop = loop, .random = seed, .budget = BUDGET};
	for (i = 0; i < FDS; i++)
		s->source[i] = (struct actor){
			.script = s, .id = i, .fd = new_eventfd(0)};
	for (i = 0; i < BHS; i++) {
		s->half[i] = (struct actor){.script = s, .id = i};
		assert_int_equal(
			loop_bh_create(loop, half_runs, &s->half[i], "half",
				i < 2 ? &s->guard[i] : NULL, &s->half[i].bh),
			0);
	}
	for (i = 0; i < TIMERS; i++) {
		s->clock[i] = (struct actor){.script = s, .id = i};
		loop_timer_init(&s->clock[i].timer, loop,
			i == 3 ? LOOP_REALTIME : LOOP_MONOTONIC, clock_fires,
			&s->clock[i]);
	}
}

static void script_end(struct script *s)
{
	int i;

	for (i = 0; i < FDS; i++) {
		loop_fd_del(s->source[i].handler);
		close(s->source[i].fd);
	}
	for (i = 0; i < BHS; i++)
		loop_bh_delete(s->half[i].bh);
	for (i = 0; i < TIMERS; i++)
		loop_timer_cancel(&s->clock[i].timer);
}

/* The trace of script @seed; the caller frees it.  NULL: no such back end. */
static char *run_script(enum loop_backend backend, uint64_t seed)
{
	struct loop *loop = loop_for(backend);
	static struct script s;
	int i;

	if (!loop)
		return NULL;
	script_start(&s, loop, seed);
	for (i = 0; i < STEPS; i++) {
		act(&s);
		if (i % 4 == 3)
			act_poll(&s);
	}
	script_end(&s);
	loop_destroy(loop);
	return s.text;
}

static void compare(uint64_t seed, enum loop_backend backend, const char *want,
	const char *got)
{
	size_t same = 0;

	while (want[same] && want[same] == got[same])
		same++;
	if (!want[same] && !got[same])
		return;
	same = same > 60 ? same - 60 : 0;
	fail_msg("GODWIT_SEED=%llu LOOP_SCRIPTS=1: back end %d differs\n"
		 "ppoll: ...%.120s\nother: ...%.120s",
		(unsigned long long)seed, (int)backend, want + same,
		got + same);
}

static void same_trace_everywhere(void **state)
{
	const char *env = getenv("LOOP_SCRIPTS");
	int count = env ? atoi(env) : 1000, i, fds = testing_fd_count();
	uint64_t seed = testing_seed("same_trace_everywhere");
	size_t events = 0;
	enum loop_backend b;
	char *want, *got;

	for (i = 0; i < count; i++) {
		want = run_script(LOOP_POLL, seed);
		events += strlen(want);
		for (b = LOOP_EPOLL; b <= LOOP_URING; b++) {
			got = run_script(b, seed);
			if (!got)
				continue;
			compare(seed, b, want, got);
			free(got);
		}
		free(want);
		testing_random(&seed);
		alarm(TESTING_WATCHDOG_S);
	}
	alarm(0);
	print_message("# %d scripts, %zu bytes of trace\n", count, events);
	assert_int_equal(testing_fd_count(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"one random script gives one trace on all back ends",
			same_trace_everywhere, NULL, NULL, NULL},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
