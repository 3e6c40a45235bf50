/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/control_line.h - one line of the control protocol: check, run, answer.
 * No sockets here, so that a fuzzer can be the client.
 *
 * Thread: any; the commands' own rules apply.
 */
#ifndef GODWIT_VMM_CONTROL_LINE_H
#define GODWIT_VMM_CONTROL_LINE_H

#include <stddef.h>

#include <jansson.h>

#include "vmm/control.h"

#define CONTROL_ID_MAX 1024u /* bytes of "id" as JSON */

/* Where commands are looked up, the first table first. */
struct control_tables {
	const struct control_command *own, *more; /* name NULL ends */
	void *opaque;				  /* for those of more */
};

/**
 * control_line_run - do what the line says.
 * @line: @len bytes, any.
 * @control: for the commands; own ones get it as their opaque, too.
 * Return: the reply, a new object; NULL without memory or for a line of blanks.
 */
json_t *control_line_run(const struct control_tables *tables,
	struct control *control, const char *line, size_t len);

/* {class, desc} of @err; a new object, or NULL. */
json_t *control_error_json(const struct error *err);
/* A string; bytes that JSON cannot hold become '?'.  New, or NULL. */
json_t *control_text(const char *text);
/* [{name, help, job, args: [{name, type, required, help}]}]; or NULL. */
json_t *control_commands_json(const struct control_command *table);
/* [{name, help, min_ms}]; or NULL. */
json_t *control_events_json(const struct control_event_type *table);

#endif
