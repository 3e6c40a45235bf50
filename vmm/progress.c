/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/progress.c - see progress.h.  Fields: migrate/stats.c, docs/control.md.
 */
#include "vmm/progress.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define MIB	   1048576.0
#define PAGE_BYTES 4096.0
#define DEPTH_MAX  16
#define INDENT	   2
#define US_PER_MS  1000.0
#define MS_PER_S   1000.0
#define ETA_MAX_S  360000.0

static double number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static long long integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

/* "?" if there is none. */
static const char *text(const json_t *object, const char *key)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value ? value : "?";
}

/* Server text on a terminal: no control characters. */
static void put_clean(const char *s, FILE *out)
{
	for (; *s != '\0'; s++)
		fputc(iscntrl((unsigned char)*s) ? '?' : *s, out);
}

/* ---- one line ---- */

/* Append as much as fits. */
static void add(char *line, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add(char *line, size_t size, const char *fmt, ...)
{
	size_t len = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + len, size - len, fmt, ap);
	va_end(ap);
}

static void migrate_line(const json_t *stats, char *line, size_t size)
{
	double ram = number(stats, "ram_bytes");
	double left =
		number(json_object_get(stats, "pages"), "left") * PAGE_BYTES;
	double rate = number(stats, "bytes_per_s");
	double dirty = number(stats, "dirty_pages_per_s") * PAGE_BYTES;
	double downtime = number(stats, "expected_downtime_us");

	add(line, size, "%-8s", text(stats, "phase"));
	if (ram > 0 && left >= 0 && left <= ram)
		add(line, size, " %3.0f%%", 100.0 * (ram - left) / ram);
	/* What the source has not measured yet is what it did so far. */
	if (rate <= 0 && number(stats, "elapsed_ms") > 0)
		rate = number(stats, "bytes") /
		       (number(stats, "elapsed_ms") / MS_PER_S);
	if (strcmp(text(stats, "phase"), "postcopy") == 0)
		dirty = 0; /* it is dirtied elsewhere */
	add(line, size, "  %.0f MiB/s", rate / MIB);
	if (dirty > 0)
		add(line, size, "  dirty %.0f MiB/s", dirty / MIB);
	add(line, size, "  round %lld", integer(stats, "round"));
	if (downtime > 0)
		add(line, size, "  downtime ~%.1f ms", downtime / US_PER_MS);
	if (rate > dirty && left > 0 && left / (rate - dirty) < ETA_MAX_S)
		add(line, size, "  ETA %.0f s", left / (rate - dirty));
}

void progress_line(
	const char *kind, const json_t *progress, char *line, size_t size)
{
	const char *phase = text(progress, "phase");
	char *p;

	line[0] = '\0';
	if (strcmp(phase, "idle") == 0)
		add(line, size, "%s: %.0f MiB", kind,
			number(progress, "bytes") / MIB);
	else if (strcmp(phase, "?") != 0)
		migrate_line(progress, line, size);
	else
		add(line, size, "%s: running", kind);
	for (p = line; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
}

/* ---- the end ---- */

/* The bound that @share of the counts are below; 0: not known. */
static long long below(const json_t *histogram, double share)
{
	double sum = 0, total = 0;
	json_t *item;
	size_t i;

	json_array_foreach(histogram, i, item) total += number(item, "count");
	json_array_foreach(histogram, i, item)
	{
		sum += number(item, "count");
		if (total > 0 && sum >= share * total)
			return integer(item, "below_us");
	}
	return 0;
}

static void print_faults(const char *where, const json_t *faults, FILE *out)
{
	const json_t *histogram = json_object_get(faults, "histogram");
	json_t *item;
	size_t i;

	if (integer(faults, "count") <= 0)
		return;
	fprintf(out,
		"faults:    %lld at the %s, mean %.1f us, half below %lld us, "
		"99%% below %lld us\n",
		integer(faults, "count"), where, number(faults, "mean_us"),
		below(histogram, 0.5), below(histogram, 0.99));
	json_array_foreach(histogram, i, item)
	{
		if (json_object_get(item, "below_us"))
			fprintf(out, "           below %8lld us: %lld\n",
				integer(item, "below_us"),
				integer(item, "count"));
		else
			fprintf(out, "           above             : %lld\n",
				integer(item, "count"));
	}
}

/* A span that was not measured is left out. */
static void print_span(
	const json_t *downtime, const char *key, const char *word, FILE *out)
{
	if (json_object_get(downtime, key))
		fprintf(out, "  %s %.0f us", word, number(downtime, key));
}

static void print_stats(const json_t *stats, FILE *out)
{
	const json_t *pages = json_object_get(stats, "pages");
	const json_t *downtime = json_object_get(stats, "downtime");
	double ms = number(stats, "elapsed_ms");
	double bytes = number(stats, "bytes");

	/* A snapshot has no phases, and need not have been timed. */
	if (strcmp(text(stats, "phase"), "idle") != 0) {
		fputs("phase:     ", out);
		put_clean(text(stats, "phase"), out);
		fprintf(out, ", %lld rounds, %.1f ms\n",
			integer(stats, "round"), ms);
	}
	fprintf(out, "bytes:     %.1f MiB", bytes / MIB);
	if (number(stats, "ram_bytes") > 0)
		fprintf(out, " of %.1f MiB RAM",
			number(stats, "ram_bytes") / MIB);
	if (ms > 0)
		fprintf(out, ", %.0f MiB/s", bytes / MIB / (ms / MS_PER_S));
	fprintf(out, "\npages:     %lld full, %lld zero",
		integer(pages, "full"), integer(pages, "zero"));
	if (integer(pages, "background") + integer(pages, "requested") > 0)
		fprintf(out,
			"; after the switch %lld requested, %lld in the "
			"background, %lld asked for twice",
			integer(pages, "requested"),
			integer(pages, "background"),
			integer(pages, "duplicate"));
	fputc('\n', out);
	if (!json_object_get(downtime, "total_us"))
		return;
	fprintf(out, "downtime:  %.0f us:", number(downtime, "total_us"));
	print_span(downtime, "save_us", "save", out);
	print_span(downtime, "send_us", "send", out);
	print_span(downtime, "load_us", "load", out);
	print_span(downtime, "run_us", "run", out);
	fputc('\n', out);
}

void progress_summary(const json_t *result, FILE *out)
{
	const json_t *peer = json_object_get(result, "destination");

	if (!json_object_get(result, "phase"))
		return;
	print_stats(result, out);
	print_faults("source", json_object_get(result, "faults"), out);
	print_faults("destination", json_object_get(peer, "faults"), out);
}

/* ---- data ---- */

static void print_scalar(const json_t *value, FILE *out)
{
	switch (json_typeof(value)) {
	case JSON_STRING:
		put_clean(json_string_value(value), out);
		break;
	case JSON_INTEGER:
		fprintf(out, "%" JSON_INTEGER_FORMAT,
			json_integer_value(value));
		break;
	case JSON_REAL:
		fprintf(out, "%.3f", json_real_value(value));
		break;
	case JSON_TRUE:
		fputs("yes", out);
		break;
	case JSON_FALSE:
		fputs("no", out);
		break;
	default:
		fputs("-", out);
	}
}

static bool is_scalar(const json_t *value)
{
	return !json_is_object(value) && !json_is_array(value);
}

/* On one line: {name: serial, kind: serial} becomes "serial serial". */
static void print_row(const json_t *object, FILE *out)
{
	const char *key, *space = "";
	const json_t *value;
	void *iter;

	iter = json_object_iter((json_t *)(uintptr_t)object);
	for (; iter; iter = json_object_iter_next(
			     (json_t *)(uintptr_t)object, iter)) {
		key = json_object_iter_key(iter);
		value = json_object_iter_value(iter);
		if (!is_scalar(value))
			continue;
		fputs(space, out);
		if (!json_is_string(value)) {
			put_clean(key, out);
			fputc('=', out);
		}
		print_scalar(value, out);
		space = " ";
	}
	fputc('\n', out);
}

static void print_tree(const json_t *value, unsigned depth, FILE *out);

static void print_member(
	const char *key, const json_t *value, unsigned depth, FILE *out)
{
	fprintf(out, "%*s", (int)(depth * INDENT), "");
	put_clean(key, out);
	if (is_scalar(value)) {
		fputs(": ", out);
		print_scalar(value, out);
		fputc('\n', out);
		return;
	}
	fputs(":\n", out);
	print_tree(value, depth + 1, out);
}

static void print_tree(const json_t *value, unsigned depth, FILE *out)
{
	const json_t *item;
	const char *key;
	json_t *member;
	size_t i;

	if (depth > DEPTH_MAX) {
		fprintf(out, "%*s...\n", DEPTH_MAX * INDENT, "");
	} else if (json_is_array(value)) {
		for (i = 0; i < json_array_size(value); i++) {
			item = json_array_get(value, i);
			fprintf(out, "%*s", (int)(depth * INDENT), "");
			if (json_is_object(item)) {
				print_row(item, out);
				continue;
			}
			print_scalar(item, out);
			fputc('\n', out);
		}
	} else if (json_is_object(value)) {
		json_object_foreach((json_t *)(uintptr_t)value, key, member)
		{
			print_member(key, member, depth, out);
		}
	} else {
		print_scalar(value, out);
		fputc('\n', out);
	}
}

void progress_tree(const json_t *value, FILE *out)
{
	print_tree(value, 0, out);
}

void progress_jobs(const json_t *data, FILE *out)
{
	const json_t *jobs = json_object_get(data, "jobs"), *job;
	char line[PROGRESS_LINE_MAX];
	size_t i;

	for (i = 0; i < json_array_size(jobs); i++) {
		job = json_array_get(jobs, i);
		fprintf(out, "%lld  ", integer(job, "id"));
		put_clean(text(job, "kind"), out);
		fputs("  ", out);
		put_clean(text(job, "status"), out);
		if (json_object_get(job, "progress")) {
			progress_line(text(job, "kind"),
				json_object_get(job, "progress"), line,
				sizeof(line));
			fprintf(out, "  %s", line);
		}
		if (json_object_get(job, "error")) {
			fputs("  ", out);
			put_clean(text(json_object_get(job, "error"), "desc"),
				out);
		}
		fputc('\n', out);
	}
}
