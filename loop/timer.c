/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/timer.c - timers of three clocks (L9).  Home thread only.
 *
 * One 4-ary min-heap a clock, ordered by deadline, then by start order.  A turn
 * first moves all that is due from the heaps to the due list, then runs that
 * list until it is empty, so a callback that re-arms itself in the past waits
 * for the next turn.  A nested poll adds to the due list and empties it, like
 * bh.c does with its list.
 */
#include "loop/private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define ARITY  4u
#define IN_DUE UINT32_MAX
#define SECOND INT64_C(1000000000)

struct timer_entry {
	int64_t deadline_ns; /* copy of the timer's: saves a cache miss */
	struct loop_timer *timer;
};

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

int64_t loop_now_ns(const struct loop *loop, enum loop_clock clock)
{
	switch (clock) {
	case LOOP_VIRTUAL:
		if (loop->virtual_stops > 0)
			return loop->virtual_ns;
		return clock_ns(CLOCK_MONOTONIC) - loop->virtual_ns;
	case LOOP_REALTIME:
		return clock_ns(CLOCK_REALTIME);
	default:
		return clock_ns(CLOCK_MONOTONIC);
	}
}

void loop_virtual_stop(struct loop *loop)
{
	int64_t now = loop_now_ns(loop, LOOP_VIRTUAL);

	if (loop->virtual_stops++ == 0)
		loop->virtual_ns = now;
}

void loop_virtual_start(struct loop *loop)
{
	assert(loop->virtual_stops > 0);
	if (--loop->virtual_stops == 0)
		loop->virtual_ns = clock_ns(CLOCK_MONOTONIC) - loop->virtual_ns;
}

void loop_virtual_set_ns(struct loop *loop, int64_t now_ns)
{
	assert(loop->virtual_stops > 0);
	loop->virtual_ns = now_ns;
}

/* ---- heap ---- */

static bool before(const struct timer_entry *a, const struct timer_entry *b)
{
	if (a->deadline_ns != b->deadline_ns)
		return a->deadline_ns < b->deadline_ns;
	return a->timer->seq < b->timer->seq;
}

static void put(struct timer_heap *heap, uint32_t i, struct timer_entry e)
{
	heap->entry[i] = e;
	e.timer->heap_index = i + 1;
}

static void sift_up(struct timer_heap *heap, uint32_t i, struct timer_entry e)
{
	uint32_t parent;

	while (i > 0) {
		parent = (i - 1) / ARITY;
		if (!before(&e, &heap->entry[parent]))
			break;
		put(heap, i, heap->entry[parent]);
		i = parent;
	}
	put(heap, i, e);
}

static void sift_down(struct timer_heap *heap, uint32_t i, struct timer_entry e)
{
	uint32_t child, last, least;

	/* len <= UINT32_MAX / ARITY - 1, see reserve(): no overflow. */
	while ((child = i * ARITY + 1) < heap->len) {
		last = child + ARITY < heap->len ? child + ARITY : heap->len;
		least = child;
		while (++child < last)
			if (before(&heap->entry[child], &heap->entry[least]))
				least = child;
		if (!before(&heap->entry[least], &e))
			break;
		put(heap, i, heap->entry[least]);
		i = least;
	}
	put(heap, i, e);
}

static void heap_remove(struct timer_heap *heap, uint32_t i)
{
	struct timer_entry moved = heap->entry[--heap->len];

	if (i == heap->len)
		return;
	if (i > 0 && before(&moved, &heap->entry[(i - 1) / ARITY]))
		sift_up(heap, i, moved);
	else
		sift_down(heap, i, moved);
}

static int reserve(struct timer_heap *heap)
{
	struct timer_entry *entry;
	uint32_t cap;

	if (heap->len < heap->cap)
		return 0;
	cap = heap->cap ? heap->cap * 2 : 16;
	if (cap >= UINT32_MAX / ARITY)
		return -ENOMEM;
	entry = realloc(heap->entry, cap * sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	heap->entry = entry;
	heap->cap = cap;
	return 0;
}

/* ---- due list ---- */

static void due_append(struct loop *loop, struct loop_timer *t)
{
	t->heap_index = IN_DUE;
	t->due_next = NULL;
	t->due_prev = loop->due_last;
	if (loop->due_last)
		loop->due_last->due_next = t;
	else
		loop->due = t;
	loop->due_last = t;
}

static void due_remove(struct loop *loop, struct loop_timer *t)
{
	if (t->due_prev)
		t->due_prev->due_next = t->due_next;
	else
		loop->due = t->due_next;
	if (t->due_next)
		t->due_next->due_prev = t->due_prev;
	else
		loop->due_last = t->due_prev;
	t->heap_index = 0;
}

/* ---- timers ---- */

void loop_timer_init(struct loop_timer *timer, struct loop *loop,
	enum loop_clock clock, loop_timer_fn *fn, void *opaque)
{
	assert(fn && clock < LOOP_CLOCKS);
	*timer = (struct loop_timer){
		.loop = loop,
		.fn = fn,
		.opaque = opaque,
		.clock = clock,
	};
}

int loop_timer_set(struct loop_timer *timer, int64_t deadline_ns)
{
	struct loop *loop = timer->loop;
	struct timer_heap *heap = &loop->heap[timer->clock];
	struct timer_entry e;
	uint32_t i = timer->heap_index;

	if (i == 0 || i == IN_DUE) {
		if (reserve(heap) < 0)
			return -ENOMEM;
		if (i == IN_DUE)
			due_remove(loop, timer);
		i = ++heap->len;
	}
	timer->deadline_ns = deadline_ns;
	timer->seq = ++loop->timer_seq;
	e.deadline_ns = deadline_ns;
	e.timer = timer;
	i--;
	if (i > 0 && before(&e, &heap->entry[(i - 1) / ARITY]))
		sift_up(heap, i, e);
	else
		sift_down(heap, i, e);
	return 0;
}

void loop_timer_cancel(struct loop_timer *timer)
{
	if (timer->heap_index == IN_DUE)
		due_remove(timer->loop, timer);
	else if (timer->heap_index > 0)
		heap_remove(&timer->loop->heap[timer->clock],
			timer->heap_index - 1);
	timer->heap_index = 0;
}

/* Can timers of @clock fire at all now? */
static bool ticking(const struct loop *loop, enum loop_clock clock)
{
	return loop->heap[clock].len > 0 &&
	       (clock != LOOP_VIRTUAL || loop->virtual_stops == 0);
}

int64_t loop_timers_timeout_ns(struct loop *loop)
{
	int64_t timeout = -1, now, first;
	int clock;

	if (loop->due)
		return 0;
	for (clock = 0; clock < LOOP_CLOCKS; clock++) {
		if (!ticking(loop, clock))
			continue;
		now = loop_now_ns(loop, clock);
		first = loop->heap[clock].entry[0].deadline_ns;
		if (first <= now)
			return 0;
		/* A step of the wall clock is noticed within a second. */
		if (clock == LOOP_REALTIME && first - now > SECOND)
			first = now + SECOND;
		if (timeout < 0 || first - now < timeout)
			timeout = first - now;
	}
	return timeout;
}

static int by_deadline(const void *a, const void *b)
{
	return before(a, b) ? -1 : 1;
}

/* Sort a bucket: few entries as a rule, all of them at worst. */
static void sort_bucket(struct timer_entry *entry, uint32_t n)
{
	struct timer_entry e;
	uint32_t i, j;

	if (n > 24) {
		qsort(entry, n, sizeof(e), by_deadline);
		return;
	}
	for (i = 1; i < n; i++) {
		e = entry[i];
		for (j = i; j > 0 && before(&e, &entry[j - 1]); j--)
			entry[j] = entry[j - 1];
		entry[j] = e;
	}
}

static uint32_t bucket_of(const struct timer_entry *e, int64_t min, int shift)
{
	return (uint32_t)(((uint64_t)e->deadline_ns - (uint64_t)min) >> shift);
}

/* Spread @n entries by deadline over @room buckets, then sort each: fewer
 * guesses for the branch predictor than comparing all with all. */
static bool bucket_sort(struct timer_entry *entry, uint32_t n, uint32_t room)
{
	struct timer_entry *copy = malloc(n * sizeof(*copy));
	uint32_t *end = calloc(room + 1, sizeof(*end));
	int64_t min = entry[0].deadline_ns, max = min;
	bool done = copy && end;
	uint32_t i;
	int shift = 0;

	for (i = 0; done && i < n; i++) {
		copy[i] = entry[i];
		min = entry[i].deadline_ns < min ? entry[i].deadline_ns : min;
		max = entry[i].deadline_ns > max ? entry[i].deadline_ns : max;
	}
	while (((uint64_t)max - (uint64_t)min) >> shift >= room)
		shift++;
	for (i = 0; done && i < n; i++)
		end[bucket_of(&copy[i], min, shift) + 1]++;
	for (i = 0; done && i < room; i++)
		end[i + 1] += end[i];
	for (i = 0; done && i < n; i++)
		entry[end[bucket_of(&copy[i], min, shift)]++] = copy[i];
	for (i = 0; done && i < room; i++)
		sort_bucket(entry + (i > 0 ? end[i - 1] : 0),
			end[i] - (i > 0 ? end[i - 1] : 0));
	free(copy);
	free(end);
	return done;
}

/* All that is due at @now at one go: gather, sort, and make a heap of what is
 * left.  Cheaper than one by one if much of the heap is due. */
static void take_many(struct loop *loop, struct timer_heap *heap, int64_t now)
{
	uint32_t kept = 0, len = heap->len, i;
	struct timer_entry e;

	for (i = 0; i < len; i++) {
		e = heap->entry[i];
		if (e.deadline_ns <= now)
			continue;
		heap->entry[i] = heap->entry[kept];
		put(heap, kept++, e);
	}
	heap->len = kept;
	if (!bucket_sort(heap->entry + kept, len - kept, (len - kept) / 4 + 1))
		qsort(heap->entry + kept, len - kept, sizeof(e), by_deadline);
	for (i = kept; i < len; i++)
		due_append(loop, heap->entry[i].timer);
	for (i = kept / ARITY + 1; i-- > 0;)
		if (i < kept)
			sift_down(heap, i, heap->entry[i]);
}

static void take_due(struct loop *loop, enum loop_clock clock)
{
	struct timer_heap *heap = &loop->heap[clock];
	int64_t now = loop_now_ns(loop, clock);
	struct loop_timer *t;
	uint32_t taken = 0;

	while (heap->len > 0 && heap->entry[0].deadline_ns <= now) {
		if (taken++ > heap->len / 16 + 16) {
			take_many(loop, heap, now);
			return;
		}
		t = heap->entry[0].timer;
		heap_remove(heap, 0);
		due_append(loop, t);
	}
}

static void take_all_due(struct loop *loop)
{
	int clock;

	for (clock = 0; clock < LOOP_CLOCKS; clock++)
		if (ticking(loop, clock))
			take_due(loop, clock);
}

static void run_first_due(struct loop *loop)
{
	struct loop_timer *t = loop->due;

	__builtin_prefetch(t->due_next);
	due_remove(loop, t);
	stat_add(&loop->timers_run, 1);
	loop_trace(loop, LOOP_EVENT_TIMER, NULL, t->deadline_ns);
	t->fn(t->opaque);
}

bool loop_timers_run(struct loop *loop)
{
	bool ran = false;

	take_all_due(loop);
	for (; loop->due; ran = true)
		run_first_due(loop);
	return ran;
}

void loop_timers_run_one(struct loop *loop)
{
	take_all_due(loop);
	if (loop->due)
		run_first_due(loop);
}

void loop_timers_fini(struct loop *loop)
{
	int clock;

	for (clock = 0; clock < LOOP_CLOCKS; clock++)
		free(loop->heap[clock].entry);
}
