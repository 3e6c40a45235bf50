/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/source_timeline.c - samples of a migration for plots.
 *
 * One every 10 ms at first.  When the store is full every second sample goes
 * and the interval doubles, so that memory is bounded however long it takes.
 *
 * Thread: migrate; the text is made after the end.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "migrate/source_priv.h"

#define SAMPLES	    4096u
#define INTERVAL_NS UINT64_C(10000000)

struct sample {
	uint64_t ns; /* since the start */
	uint32_t phase, round;
	uint64_t bytes, pages_left, dirty_per_s, requested, background;
};

struct source_timeline {
	uint64_t interval_ns, next_ns;
	uint32_t count;
	struct sample sample[SAMPLES];
};

struct source_timeline *source_timeline_create(void)
{
	struct source_timeline *t = calloc(1, sizeof(*t));

	if (t)
		t->interval_ns = INTERVAL_NS;
	return t;
}

void source_timeline_destroy(struct source_timeline *t)
{
	free(t);
}

static void thin_out(struct source_timeline *t)
{
	uint32_t i;

	for (i = 0; i < SAMPLES / 2; i++)
		t->sample[i] = t->sample[2 * i];
	t->count = SAMPLES / 2;
	t->interval_ns *= 2;
}

void source_sample(struct source *s, bool now)
{
	struct source_timeline *t = s->timeline;
	const struct migrate_stats *m = &s->stats;
	uint64_t ns = source_now_ns() - m->start_ns;

	if (!now && ns < t->next_ns)
		return;
	if (t->count == SAMPLES)
		thin_out(t);
	t->sample[t->count++] = (struct sample){
		.ns = ns,
		.phase = m->phase,
		.round = m->round,
		.bytes = m->bytes,
		.pages_left = m->pages_left,
		.dirty_per_s = m->dirty_per_s,
		.requested = m->pages_requested,
		.background = m->pages_background,
	};
	t->next_ns = ns + t->interval_ns;
}

char *source_timeline_text(const struct source_timeline *t)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	uint32_t i;

	if (!f)
		return NULL;
	for (i = 0; i < t->count; i++) {
		const struct sample *p = &t->sample[i];

		fprintf(f,
			"{\"t_ms\": %.3f, \"phase\": \"%s\", \"round\": %" PRIu32
			", \"bytes\": %" PRIu64 ", \"pages_left\": %" PRIu64
			", \"dirty_per_s\": %" PRIu64
			", \"requested\": %" PRIu64 ", \"background\": %" PRIu64
			"}\n",
			(double)p->ns / 1e6, migrate_phase_name(p->phase),
			p->round, p->bytes, p->pages_left, p->dirty_per_s,
			p->requested, p->background);
	}
	if (fclose(f) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
