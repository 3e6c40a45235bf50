/* SPDX-License-Identifier: Apache-2.0 */
/* migrate/stats.c - see stats.h.  The fields of the JSON are in
 * docs/control.md.
 */
#include "migrate/stats.h"

#include <stddef.h>
#include <time.h>

#include <jansson.h>

static const char *const phase_words[] = {
	[MIGRATE_IDLE] = "idle",
	[MIGRATE_CONNECT] = "connect",
	[MIGRATE_PRECOPY] = "precopy",
	[MIGRATE_SWITCH] = "switch",
	[MIGRATE_POSTCOPY] = "postcopy",
	[MIGRATE_DONE] = "done",
	[MIGRATE_FAILED] = "failed",
	[MIGRATE_CANCELLED] = "cancelled",
	[MIGRATE_LOST] = "lost",
	[MIGRATE_UNKNOWN] = "unknown",
};

const char *migrate_phase_name(enum migrate_phase phase)
{
	size_t count = sizeof(phase_words) / sizeof(phase_words[0]);

	return (size_t)phase < count ? phase_words[phase] : "invalid";
}

static uint64_t get(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

void migrate_stats_fault(struct migrate_stats *s, uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned bucket = us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(us);

	if (bucket >= MIGRATE_BUCKETS)
		bucket = MIGRATE_BUCKETS - 1;
	migrate_count(&s->faults, 1);
	migrate_count(&s->fault_ns, ns);
	migrate_count(&s->fault_bucket[bucket], 1);
}

/* Nothing is put when an end of the span is not known. */
static int put_span(
	json_t *object, const char *name, uint64_t from, uint64_t to)
{
	if (from == 0 || to < from)
		return 0;
	return json_object_set_new(
		object, name, json_real((double)(to - from) / 1000.0));
}

/* {total_us, save_us, send_us, load_us, run_us}, as far as they are known. */
static json_t *downtime_json(const struct migrate_stats *s)
{
	uint64_t stop = get(&s->stop_ns), stopped = get(&s->stopped_ns);
	uint64_t sent = get(&s->sent_ns), loaded = get(&s->loaded_ns);
	uint64_t running = get(&s->running_ns);
	json_t *object = json_object();

	if (!object)
		return NULL;
	if (put_span(object, "save_us", stop, stopped) < 0 ||
		put_span(object, "send_us", stopped, sent) < 0 ||
		put_span(object, "load_us", sent, loaded) < 0 ||
		put_span(object, "run_us", loaded, running) < 0 ||
		put_span(object, "total_us", stop, running) < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* [{below_us, count}], empty buckets left out; the last has no bound. */
static json_t *histogram_json(const struct migrate_stats *s)
{
	json_t *array = json_array(), *item;
	uint64_t count;
	unsigned i;

	for (i = 0; array && i < MIGRATE_BUCKETS; i++) {
		count = get(&s->fault_bucket[i]);
		if (count == 0)
			continue;
		item = json_pack("{s:I}", "count", (json_int_t)count);
		if (item && i < MIGRATE_BUCKETS - 1)
			json_object_set_new(item, "below_us",
				json_integer((json_int_t)1 << i));
		if (json_array_append_new(array, item) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

static json_t *faults_json(const struct migrate_stats *s)
{
	uint64_t faults = get(&s->faults);
	double mean = 0;

	if (faults > 0)
		mean = (double)get(&s->fault_ns) / (double)faults / 1000.0;
	return json_pack("{s:I, s:f, s:o}", "count", (json_int_t)faults,
		"mean_us", mean, "histogram", histogram_json(s));
}

static json_t *pages_json(const struct migrate_stats *s)
{
	const struct {
		const char *name;
		const _Atomic uint64_t *value;
	} fields[] = {
		{"full", &s->pages_full},
		{"zero", &s->pages_zero},
		{"requested", &s->pages_requested},
		{"background", &s->pages_background},
		{"duplicate", &s->pages_duplicate},
		{"discarded", &s->pages_discarded},
		{"hinted", &s->pages_hinted},
		{"left", &s->pages_left},
		{"placed", &s->pages_placed},
		{"again", &s->pages_again},
	};
	json_t *object = json_object();
	size_t i;

	for (i = 0; object && i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (json_object_set_new(object, fields[i].name,
			    json_integer((json_int_t)get(fields[i].value))) <
			0) {
			json_decref(object);
			return NULL;
		}
	}
	return object;
}

static double elapsed_ms(const struct migrate_stats *s)
{
	uint64_t start = get(&s->start_ns), end = get(&s->end_ns);
	struct timespec now;

	if (start == 0)
		return 0;
	if (end == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		end = (uint64_t)now.tv_sec * 1000000000ull +
		      (uint64_t)now.tv_nsec;
	}
	return end < start ? 0 : (double)(end - start) / 1e6;
}

json_t *migrate_stats_json(const struct migrate_stats *s)
{
	enum migrate_phase phase = (enum migrate_phase)atomic_load_explicit(
		&s->phase, memory_order_relaxed);
	uint32_t round = atomic_load_explicit(&s->round, memory_order_relaxed);

	return json_pack("{s:s, s:I, s:f, s:I, s:I, s:I, s:I, s:f, s:f, s:o, "
			 "s:o, s:o}",
		"phase", migrate_phase_name(phase), "round", (json_int_t)round,
		"elapsed_ms", elapsed_ms(s), "ram_bytes",
		(json_int_t)get(&s->ram_bytes), "bytes",
		(json_int_t)get(&s->bytes), "bytes_per_s",
		(json_int_t)get(&s->bytes_per_s), "dirty_pages_per_s",
		(json_int_t)get(&s->dirty_per_s), "expected_downtime_us",
		(double)get(&s->expected_downtime_ns) / 1000.0, "load_us",
		(double)get(&s->load_ns) / 1000.0, "pages", pages_json(s),
		"downtime", downtime_json(s), "faults", faults_json(s));
}
