/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/progress.h - what the client verbs print: a job's progress and result,
 * and data as indented lines.  The JSON comes from a server, so anything may be
 * missing or of another type.
 *
 * Thread: any; nothing is kept.
 */
#ifndef GODWIT_VMM_PROGRESS_H
#define GODWIT_VMM_PROGRESS_H

#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

#define PROGRESS_LINE_MAX 160

/* One line without newline into @line, cut at @size: "precopy  63%  ..." for
 * the statistics of a migration, else "KIND: running". */
void progress_line(
	const char *kind, const json_t *progress, char *line, size_t size);

/* What a migration or snapshot came to, several lines; nothing for results of
 * other kinds. */
void progress_summary(const json_t *result, FILE *out);

/* @value as "key: value" lines, objects and arrays indented below their key. */
void progress_tree(const json_t *value, FILE *out);

/* {"jobs": [...]}: a line each. */
void progress_jobs(const json_t *data, FILE *out);

#endif
