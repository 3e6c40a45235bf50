/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop/trace.c - see trace.h.
 *
 * The home thread writes; a dump may read at the same time from anywhere.  So
 * each word is a relaxed atomic, and names are copied: the owner of a name may
 * be gone when the crash handler prints it.
 */
#include "loop/trace.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop/private.h"

#define NAME_WORDS (LOOP_EVENT_NAME_MAX / sizeof(uint64_t))

struct entry {
	_Atomic int64_t time_ns, value;
	_Atomic uint64_t kind;
	_Atomic uint64_t name[NAME_WORDS];
};

struct loop_trace {
	size_t mask;	       /* entries - 1 */
	_Atomic uint64_t next; /* events ever */
	struct entry entry[];
};

static struct loop_trace *trace_of(const struct loop *loop)
{
	return atomic_load_explicit(&loop->trace, memory_order_acquire);
}

int loop_trace_start(struct loop *loop, size_t entries)
{
	struct loop_trace *trace;
	size_t size = 1;

	if (entries == 0 || entries > (1u << 20))
		return -EINVAL;
	while (size < entries)
		size *= 2;
	trace = calloc(1, sizeof(*trace) + size * sizeof(trace->entry[0]));
	if (!trace)
		return -ENOMEM;
	trace->mask = size - 1;
	loop_trace_stop(loop);
	atomic_store_explicit(&loop->trace, trace, memory_order_release);
	return 0;
}

void loop_trace_stop(struct loop *loop)
{
	free(atomic_exchange(&loop->trace, NULL));
}

void loop_trace_put(struct loop *loop, enum loop_event_kind kind,
	const char *name, int64_t value)
{
	struct loop_trace *trace = trace_of(loop);
	uint64_t n = atomic_load_explicit(&trace->next, memory_order_relaxed);
	struct entry *e = &trace->entry[n & trace->mask];
	uint64_t words[NAME_WORDS] = {0};
	size_t i;

	strncpy((char *)words, name ? name : "", sizeof(words) - 1);
	for (i = 0; i < NAME_WORDS; i++)
		atomic_store_explicit(
			&e->name[i], words[i], memory_order_relaxed);
	atomic_store_explicit(&e->time_ns, loop_now_ns(loop, LOOP_MONOTONIC),
		memory_order_relaxed);
	atomic_store_explicit(&e->kind, kind, memory_order_relaxed);
	atomic_store_explicit(&e->value, value, memory_order_relaxed);
	atomic_store_explicit(&trace->next, n + 1, memory_order_release);
}

static void read_entry(struct entry *e, struct loop_event *ret)
{
	uint64_t words[NAME_WORDS];
	size_t i;

	for (i = 0; i < NAME_WORDS; i++)
		words[i] =
			atomic_load_explicit(&e->name[i], memory_order_relaxed);
	memcpy(ret->name, words, sizeof(words));
	ret->time_ns = atomic_load_explicit(&e->time_ns, memory_order_relaxed);
	ret->value = atomic_load_explicit(&e->value, memory_order_relaxed);
	ret->kind = (enum loop_event_kind)atomic_load_explicit(
		&e->kind, memory_order_relaxed);
}

bool loop_trace_get(
	const struct loop *loop, size_t back, struct loop_event *ret_event)
{
	struct loop_trace *trace = trace_of(loop);
	uint64_t next;

	if (!trace)
		return false;
	next = atomic_load_explicit(&trace->next, memory_order_acquire);
	if (back > trace->mask || back >= next)
		return false;
	read_entry(&trace->entry[(next - 1 - back) & trace->mask], ret_event);
	return true;
}

/* ---- printing without stdio ---- */

struct line {
	char text[128];
	size_t len;
};

static void add_text(struct line *line, const char *text, size_t max)
{
	size_t len = strnlen(text, max);

	if (len > sizeof(line->text) - line->len)
		len = sizeof(line->text) - line->len;
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static void add_number(struct line *line, int64_t value)
{
	uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
	char digits[24];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (value < 0)
		digits[--at] = '-';
	add_text(line, digits + at, sizeof(digits) - at);
}

static void print_event(const struct loop_event *event, int fd)
{
	static const char *const kinds[] = {
		"bh", "fd", "timer", "op", "wait", "woken", "polled"};
	struct line line = {.len = 0};
	ssize_t ignored;

	add_number(&line, event->time_ns);
	add_text(&line, " ", 1);
	add_text(&line,
		event->kind <= LOOP_EVENT_POLLED ? kinds[event->kind] : "?", 8);
	add_text(&line, " ", 1);
	add_number(&line, event->value);
	add_text(&line, " ", 1);
	add_text(&line, event->name, sizeof(event->name));
	add_text(&line, "\n", 1);
	ignored = write(fd, line.text, line.len);
	(void)ignored; /* nobody to tell: this runs while the program dies */
}

void loop_trace_dump(const struct loop *loop, int fd)
{
	struct loop_trace *trace = trace_of(loop);
	struct loop_event event;
	uint64_t at, next;
	int saved = errno;

	if (!trace)
		return;
	next = atomic_load_explicit(&trace->next, memory_order_acquire);
	at = next > trace->mask ? next - trace->mask - 1 : 0;
	for (; at < next; at++) {
		read_entry(&trace->entry[at & trace->mask], &event);
		print_event(&event, fd);
	}
	errno = saved;
}
