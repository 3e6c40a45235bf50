/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_loop_interleave.c - every interleaving of the real notify and
 * bottom half code, and every short script of it against a model.
 *
 * loop.c, notify.c and bh.c are compiled into this file with each atomic access
 * and each use of the eventfd made a scheduling point.  Threads are coroutines;
 * a depth-first search runs all schedules with at most so many preemptions.
 * That shows wrong orders of accesses and wrong rules.  Weak memory is not
 * modelled: the pairing of the accesses is argued in notify.c and watched by
 * ThreadSanitizer.
 */
#include "tests/unit/test_loop_common.h"

#include <ucontext.h>

static void step(void);
static void look(const volatile void *p, size_t size, memory_order order);
static void mark(memory_order order);

#ifdef __clang__
#define RAW(op, ...) __c11_atomic_##op(__VA_ARGS__, __ATOMIC_SEQ_CST)
#define RAW_CAS(p, e, v)                                                       \
	__c11_atomic_compare_exchange_strong(                                  \
		p, e, v, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define RAW_LOAD(p)	RAW(load, p)
#define RAW_STORE(p, v) RAW(store, p, v)
#define RAW_XCHG(p, v)	RAW(exchange, p, v)
#else
#define RAW(op, ...) __atomic_##op(__VA_ARGS__, __ATOMIC_SEQ_CST)
#define RAW_CAS(p, e, v)                                                       \
	__atomic_compare_exchange_n(                                           \
		p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define RAW_LOAD(p)	RAW(load_n, p)
#define RAW_STORE(p, v) RAW(store_n, p, v)
#define RAW_XCHG(p, v)	RAW(exchange_n, p, v)
#endif

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit(p, o)	   (look(p, sizeof(*(p)), o), RAW_LOAD(p))
#define atomic_store_explicit(p, v, o)	   (mark(o), RAW_STORE(p, v))
#define atomic_exchange_explicit(p, v, o)  (step(), RAW_XCHG(p, v))
#define atomic_fetch_add_explicit(p, v, o) (step(), RAW(fetch_add, p, v))
#define atomic_fetch_sub_explicit(p, v, o) (step(), RAW(fetch_sub, p, v))
#define atomic_fetch_or_explicit(p, v, o)  (step(), RAW(fetch_or, p, v))
#define atomic_fetch_and_explicit(p, v, o) (step(), RAW(fetch_and, p, v))
#define atomic_compare_exchange_weak_explicit(p, e, v, s, f)                   \
	(step(), RAW_CAS(p, e, v))

/* The eventfd is a bool, and free() is counted. */
static bool event_readable;
static int frees;

static ssize_t event_write(int fd, const void *buf, size_t len)
{
	(void)fd;
	(void)buf;
	step();
	event_readable = true;
	return (ssize_t)len;
}

static ssize_t event_read(int fd, void *buf, size_t len)
{
	bool was;

	(void)fd;
	step();
	was = event_readable;
	event_readable = false;
	memset(buf, 0, len);
	if (!was)
		errno = EAGAIN;
	return was ? (ssize_t)len : -1;
}

static void counted_free(void *p)
{
	frees++;
	free(p);
}

#define write(fd, buf, len) event_write(fd, buf, len)
#define read(fd, buf, len)  event_read(fd, buf, len)
#define free(p)		    counted_free(p)
#include "loop/bh.c"
#include "loop/loop.c"
#include "loop/notify.c"
#undef write
#undef read
#undef free

/* ---- the search ---- */

#define ACTORS	  4 /* 0 is the home thread */
#define STACK	  (256 * 1024)
#define MAX_STEPS 4000

struct choice {
	uint8_t chosen, options;
};

struct actor {
	ucontext_t context;
	void (*body)(void);
	char *stack;
	bool done;
	bool (*blocked)(void); /* NULL: it can run */
};

static struct {
	struct actor actor[ACTORS];
	ucontext_t scheduler;
	int count, current;
	bool running; /* within run_once() */
	struct choice choice[MAX_STEPS];
	int depth, prefix; /* choices made; to be repeated */
	int preemptions, bound;
	long runs;
} search;

static bool enabled(int i)
{
	const struct actor *a = &search.actor[i];

	return !a->done && (!a->blocked || !a->blocked());
}

static void switch_to_scheduler(void)
{
	swapcontext(&search.actor[search.current].context, &search.scheduler);
}

/* A scheduling point: the next atomic access may be another thread's. */
static void step(void)
{
	if (search.running)
		switch_to_scheduler();
}

static struct loop *loop;

/* Links that only the home thread reads, or nobody can reach yet, and figures
 * are accessed relaxed: no scheduling points, or there would be too many. */
static void look(const volatile void *p, size_t size, memory_order order)
{
	if (order != memory_order_relaxed || size < sizeof(void *) ||
		(uintptr_t)p == (uintptr_t)&loop->incoming)
		step();
}

static void mark(memory_order order)
{
	if (order != memory_order_relaxed)
		step();
}

/* Sleep until @blocked is false. */
static void sleep_while(bool (*blocked)(void))
{
	struct actor *self = &search.actor[search.current];

	self->blocked = blocked;
	switch_to_scheduler();
	self->blocked = NULL;
}

static bool others_run(void)
{
	int i;

	for (i = 1; i < search.count; i++)
		if (!search.actor[i].done)
			return true;
	return false;
}

static void actor_main(void)
{
	struct actor *self = &search.actor[search.current];

	self->body();
	self->done = true;
	switch_to_scheduler();
}

/* Who goes next?  -1: nobody can. */
static int choose(void)
{
	int option[ACTORS], options = 0, i;
	bool forced = !enabled(search.current);
	struct choice *c;

	if (!forced)
		option[options++] = search.current;
	if (forced || search.preemptions < search.bound)
		for (i = 0; i < search.count; i++)
			if (i != search.current && enabled(i))
				option[options++] = i;
	if (options == 0)
		return -1;
	if (search.depth >= MAX_STEPS)
		fail_msg("a run without end");
	c = &search.choice[search.depth];
	if (search.depth >= search.prefix)
		*c = (struct choice){0, (uint8_t)options};
	assert_int_equal(c->options, options);
	search.depth++;
	if (!forced && c->chosen > 0)
		search.preemptions++;
	return option[c->chosen];
}

static void prepare(struct actor *a)
{
	a->done = false;
	a->blocked = NULL;
	getcontext(&a->context);
	a->context.uc_stack.ss_sp = a->stack;
	a->context.uc_stack.ss_size = STACK;
	a->context.uc_link = NULL;
	makecontext(&a->context, actor_main, 0);
}

static void run_once(void)
{
	int i, next;

	for (i = 0; i < search.count; i++)
		prepare(&search.actor[i]);
	search.depth = search.preemptions = 0;
	search.current = 0;
	search.running = true;
	while ((next = choose()) >= 0) {
		search.current = next;
		swapcontext(&search.scheduler, &search.actor[next].context);
	}
	search.running = false;
	search.runs++;
}

/* Prepare the next schedule.  False: all were run. */
static bool backtrack(void)
{
	int i = search.depth;

	while (i > 0) {
		struct choice *c = &search.choice[--i];

		if (c->chosen + 1 < c->options) {
			c->chosen++;
			search.prefix = i + 1;
			return true;
		}
	}
	return false;
}

/* ---- the loop under test ---- */

static bool event_silent(void)
{
	return !event_readable;
}

static void fake_wait(struct loop *l, int64_t timeout_ns)
{
	step();
	if (timeout_ns != 0 && !event_readable)
		sleep_while(event_silent);
	if (event_readable)
		l->notify_seen = true;
}

static bool fake_need_wait(struct loop *l)
{
	return true;
}

static int fake_update(struct loop *l, struct loop_fd *h)
{
	return 0;
}

static const struct fdmon fake = {
	.name = "fake",
	.update = fake_update,
	.wait = fake_wait,
	.need_wait = fake_need_wait,
};

static void loop_open(void)
{
	loop = aligned_alloc(_Alignof(struct loop), sizeof(*loop));
	assert_non_null(loop);
	*loop = (struct loop){.name = "test", .epoll_fd = -1, .event_fd = -1};
	atomic_store(&loop->mon, &fake);
	loop_adopt(loop);
	event_readable = false;
	frees = 0;
}

static void loop_close(void)
{
	loop_bh_fini(loop);
	current = NULL;
	free(loop);
}

/* ---- scenarios ---- */

static struct loop_bh *a, *b;
static int data[2], seen[2], runs_a, runs_b, oneshots;
static bool condition, over;

static struct loop_bh *bh_of(loop_bh_fn *fn)
{
	struct loop_bh *bh = NULL;

	assert_int_equal(loop_bh_create(loop, fn, NULL, "bh", NULL, &bh), 0);
	return bh;
}

static void run_a(void *opaque)
{
	runs_a++;
	seen[0] = data[0];
	seen[1] = data[1];
}

static void run_b(void *opaque)
{
	runs_b++;
}

static void schedule_a_0(void)
{
	data[0] = 1;
	loop_bh_schedule(a);
}

static void schedule_a_1(void)
{
	data[1] = 1;
	loop_bh_schedule(a);
}

static void schedule_b(void)
{
	loop_bh_schedule(b);
}

static void poll_until_both_seen(void)
{
	while (!seen[0] || !seen[1])
		loop_poll(loop, true);
	over = true;
}

static void poll_until_a_and_b(void)
{
	while (runs_a == 0 || runs_b == 0)
		loop_poll(loop, true);
	over = true;
}

static void run_a_schedule_b(void *opaque)
{
	runs_a++;
	loop_bh_schedule(b);
}

static void run_a_nested(void *opaque)
{
	run_a(opaque);
	if (runs_a == 1)
		loop_poll(loop, false);
}

static void notify_condition(void)
{
	condition = true;
	loop_notify(loop);
}

static void poll_until_condition(void)
{
	while (!condition)
		loop_poll(loop, true);
	over = true;
}

/* Races of the home thread's cancel; then all must still work. */
static void cancel_and_poll(void)
{
	loop_poll(loop, false);
	loop_bh_cancel(a);
	loop_poll(loop, false);
	sleep_while(others_run);
	loop_bh_cancel(a);
	assert_false(loop_poll(loop, false));
	assert_true(runs_a < search.count); /* one a schedule at most */
	runs_a = 0;
	loop_bh_schedule(a);
	assert_true(loop_poll(loop, true));
	assert_int_equal(runs_a, 1);
	over = true;
}

static void schedule_and_delete_a(void)
{
	loop_bh_schedule(a);
	loop_bh_delete(a);
	a = NULL;
}

static void poll_until_a_is_freed(void)
{
	loop_poll(loop, false);
	sleep_while(others_run);
	while (frees == 0)
		loop_poll(loop, false);
	assert_int_equal(frees, 1);
	assert_true(runs_a <= 1);
	over = true;
}

static void run_oneshot(void *opaque)
{
	oneshots++;
}

static void make_oneshot(void)
{
	assert_int_equal(loop_bh_oneshot(loop, run_oneshot, NULL, "one"), 0);
}

static void poll_until_two_oneshots(void)
{
	while (oneshots < 2)
		loop_poll(loop, true);
	assert_int_equal(frees, 2);
	over = true;
}

struct scenario {
	const char *name;
	loop_bh_fn *a, *b;
	void (*body[ACTORS])(void); /* home first */
	int bound;		    /* preemptions */
};

static const struct scenario scenarios[] = {
	{"one thread schedules", run_a, NULL,
		{poll_until_condition, notify_condition}, 99},
	{"two threads, one bottom half", run_a, NULL,
		{poll_until_both_seen, schedule_a_0, schedule_a_1}, 3},
	{"two threads, two bottom halves", run_a, run_b,
		{poll_until_a_and_b, schedule_a_0, schedule_b}, 3},
	{"three threads, two bottom halves", run_a, run_b,
		{poll_until_both_seen, schedule_a_0, schedule_b, schedule_a_1},
		2},
	{"a bottom half schedules another", run_a_schedule_b, run_b,
		{poll_until_a_and_b, schedule_a_0, schedule_b}, 2},
	{"a nested poll", run_a_nested, run_b,
		{poll_until_both_seen, schedule_a_0, schedule_a_1, schedule_b},
		2},
	{"two notify", run_a, NULL,
		{poll_until_condition, notify_condition, notify_condition}, 3},
	{"cancel", run_a, NULL, {cancel_and_poll, schedule_a_0}, 4},
	{"cancel, two threads", run_a, NULL,
		{cancel_and_poll, schedule_a_0, schedule_a_1}, 2},
	{"delete", run_a, NULL, {poll_until_a_is_freed, schedule_and_delete_a},
		5},
	{"oneshots", NULL, NULL,
		{poll_until_two_oneshots, make_oneshot, make_oneshot}, 3},
};

static void scenario_check(const struct scenario *s)
{
	if (!over)
		fail_msg("%s: lost wake-up, run %ld, %d choices", s->name,
			search.runs, search.depth);
	if (others_run())
		fail_msg("%s: a scheduler was blocked", s->name);
	if (s->body[0] == poll_until_a_and_b && s->a == run_a) {
		assert_int_equal(runs_a, 1);
		assert_int_equal(runs_b, 1);
	}
}

static void explore(const struct scenario *s)
{
	int i;

	search.bound = s->bound;
	search.prefix = 0;
	search.runs = 0;
	for (search.count = 0; search.count < ACTORS && s->body[search.count];
		search.count++)
		search.actor[search.count].body = s->body[search.count];
	do {
		loop_open();
		memset(data, 0, sizeof(data));
		memset(seen, 0, sizeof(seen));
		runs_a = runs_b = oneshots = 0;
		condition = over = false;
		a = s->a ? bh_of(s->a) : NULL;
		b = s->b ? bh_of(s->b) : NULL;
		run_once();
		scenario_check(s);
		loop_bh_delete(a);
		loop_bh_delete(b);
		loop_close();
	} while (backtrack());
	for (i = 0; i < search.count; i++)
		search.actor[i].body = NULL;
	print_message("# %s: %ld interleavings\n", s->name, search.runs);
}

static void no_interleaving_fails(void **state)
{
	size_t i;

#if defined(__SANITIZE_THREAD__)
	print_message("# skip: coroutines confuse ThreadSanitizer\n");
	skip();
#endif
	for (i = 0; i < ACTORS; i++) {
		search.actor[i].stack = malloc(STACK);
		assert_non_null(search.actor[i].stack);
	}
	for (i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
		explore(&scenarios[i]);
	for (i = 0; i < ACTORS; i++)
		free(search.actor[i].stack);
}

/* ---- every short script against a model ---- */

enum habit { /* of bottom half 0 when it runs */
	PLAIN,
	SCHEDULES_OTHER,
	SCHEDULES_SELF,
	POLLS,
	SCHEDULES_BOTH_AND_POLLS,
	CANCELS_OTHER,
	CANCELS_OTHER_AND_POLLS,
	DELETES_SELF,
	DELETES_OTHER_AND_POLLS,
	HABITS
};

#define HALVES 3
#define LENGTH 6
#define OPS    6 /* schedule 0, 1, 2; cancel 1; poll; poll */

struct model {
	int slice[64], next[64]; /* bottom halves, in order */
	int slices, nexts;
	bool pending[HALVES], scheduled[HALVES], deleted[HALVES];
	char text[64];
	int deep;
};

static enum habit habit;
static struct model model;
static struct loop_bh *half[HALVES];
static char text[64];
static int deep;

static void model_schedule(int i)
{
	if (model.deleted[i])
		return;
	model.scheduled[i] = true;
	if (!model.pending[i])
		model.next[model.nexts++] = i;
	model.pending[i] = true;
}

static void model_poll(void);

static void model_run(int i)
{
	model.text[strlen(model.text)] = (char)('0' + i);
	if (i != 0)
		return;
	switch (habit) {
	case SCHEDULES_BOTH_AND_POLLS:
		model_schedule(2);
		/* fall through */
	case SCHEDULES_OTHER:
		model_schedule(1);
		break;
	case SCHEDULES_SELF:
		model_schedule(0);
		break;
	case CANCELS_OTHER:
	case CANCELS_OTHER_AND_POLLS:
		model.scheduled[1] = false;
		break;
	case DELETES_SELF:
		model.deleted[0] = true;
		break;
	case DELETES_OTHER_AND_POLLS:
		model.deleted[1] = true;
		break;
	default:
		break;
	}
	if ((habit == POLLS || habit == SCHEDULES_BOTH_AND_POLLS ||
		    habit == CANCELS_OTHER_AND_POLLS ||
		    habit == DELETES_OTHER_AND_POLLS) &&
		model.deep < 3)
		model_poll();
}

/* The rule in one place: what was scheduled before this poll, and what outer
 * polls have left, runs now, in order; the rest waits for the next poll. */
static void model_poll(void)
{
	int i;

	model.deep++;
	model.text[strlen(model.text)] = '(';
	for (i = 0; i < model.nexts; i++)
		model.slice[model.slices++] = model.next[i];
	model.nexts = 0;
	while (model.slices > 0) {
		i = model.slice[0];
		memmove(model.slice, model.slice + 1,
			sizeof(int) * (size_t)--model.slices);
		model.pending[i] = false;
		if (!model.scheduled[i] || model.deleted[i])
			continue;
		model.scheduled[i] = false;
		model_run(i);
	}
	model.text[strlen(model.text)] = ')';
	model.deep--;
}

static void real_poll(void)
{
	deep++;
	text[strlen(text)] = '(';
	loop_poll(loop, false);
	text[strlen(text)] = ')';
	deep--;
}

static void real_delete(int i)
{
	loop_bh_delete(half[i]);
	half[i] = NULL;
}

static void real_schedule(int i)
{
	if (half[i])
		loop_bh_schedule(half[i]);
}

static void real_run(void *opaque)
{
	int i = (int)(intptr_t)opaque;

	text[strlen(text)] = (char)('0' + i);
	if (i != 0)
		return;
	if (habit == SCHEDULES_BOTH_AND_POLLS)
		real_schedule(2);
	if (habit == SCHEDULES_OTHER || habit == SCHEDULES_BOTH_AND_POLLS)
		real_schedule(1);
	if (habit == SCHEDULES_SELF)
		real_schedule(0);
	if ((habit == CANCELS_OTHER || habit == CANCELS_OTHER_AND_POLLS) &&
		half[1])
		loop_bh_cancel(half[1]);
	if (habit == DELETES_SELF)
		real_delete(0);
	if (habit == DELETES_OTHER_AND_POLLS)
		real_delete(1);
	if ((habit == POLLS || habit == SCHEDULES_BOTH_AND_POLLS ||
		    habit == CANCELS_OTHER_AND_POLLS ||
		    habit == DELETES_OTHER_AND_POLLS) &&
		deep < 3)
		real_poll();
}

static void script_op(int op)
{
	switch (op) {
	case 0:
	case 1:
	case 2:
		model_schedule(op);
		real_schedule(op);
		break;
	case 3:
		model.scheduled[1] = false;
		if (half[1])
			loop_bh_cancel(half[1]);
		break;
	default:
		model_poll();
		real_poll();
	}
}

static void run_script(int number)
{
	int i, n = number;

	loop_open();
	memset(&model, 0, sizeof(model));
	memset(text, 0, sizeof(text));
	for (i = 0; i < HALVES; i++)
		assert_int_equal(
			loop_bh_create(loop, real_run, (void *)(intptr_t)i,
				"half", NULL, &half[i]),
			0);
	for (i = 0; i < LENGTH; i++, n /= OPS)
		script_op(n % OPS);
	script_op(OPS - 1);
	if (strcmp(text, model.text) != 0)
		fail_msg("habit %d, script %d: %s instead of %s", (int)habit,
			number, text, model.text);
	for (i = 0; i < HALVES; i++)
		loop_bh_delete(half[i]);
	loop_close();
}

static void every_script_follows_the_model(void **state)
{
	int scripts = 1, i;

	for (i = 0; i < LENGTH; i++)
		scripts *= OPS;
	for (habit = PLAIN; habit < HABITS; habit++)
		for (i = 0; i < scripts; i++)
			run_script(i);
	print_message("# %d scripts\n", scripts * (int)HABITS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{"no interleaving loses a wake-up, a run or a bottom half",
			no_interleaving_fails, NULL, NULL, NULL},
		{"every short script follows the slice and delete rules",
			every_script_follows_the_model, NULL, NULL, NULL},
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
