/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/control.h - the control socket: JSON over a UNIX stream socket (C1-C4).
 *
 * One line is one JSON object, either way (docs/control.md):
 *
 *   greeting  {"godwit": {"version": "0.1.0", "protocol": 1, "name": NAME}}
 *   command   {"cmd": NAME, "args": {...}, "id": ANY}
 *   reply     {"ok": {...}, "id": ANY}
 *             {"error": {"class": CLASS, "desc": TEXT}, "id": ANY}
 *   event     {"event": NAME, "data": {...},
 *              "timestamp": {"seconds": S, "microseconds": U}}
 *
 * Clients are hostile: lines, clients and what waits to be sent are bounded; a
 * client that does not read is dropped.  One table dispatches and describes.
 *
 * Thread: the home of the VM's loop, but where a line says otherwise.
 */
#ifndef GODWIT_VMM_CONTROL_H
#define GODWIT_VMM_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct control;
struct control_job;
struct error;
struct loop;
struct loop_guard;

#define CONTROL_LINE_MAX    (1u << 20) /* bytes of a command */
#define CONTROL_CLIENTS_MAX 16u
#define CONTROL_JOBS_MAX    64u /* ended ones are forgotten, oldest first */

/* ---- commands ---- */

struct control_arg {
	const char *name;
	/* "string", "integer", "boolean", "number" or "object" */
	const char *type;
	bool required;
	const char *help;
};

/* What a command gets.  Reply by returning: 0 and *ret_data (a new object, or
 * NULL for {}), or -errno with @err.  @args has been checked against the table:
 * types, required, unknown names.  Runs in a bottom half with the VM's guard,
 * so it may pause, save and resume. */
typedef int control_fn(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err);

struct control_command {
	const char *name; /* "cpu-set" */
	const char *help;
	const struct control_arg *args; /* ends with name NULL; or NULL */
	control_fn *fn;
	bool job; /* answers {"job": ID} and goes on afterwards */
};

struct control_event_type {
	const char *name; /* "job" */
	const char *help;
	unsigned min_ms; /* at most one per id in so long; the last one of those
			    held back is sent when it is over (C2).  0: all */
};

struct control_options {
	const char *path; /* of the socket; copied */
	const char *vm_name;
	const struct control_command *commands;	 /* borrowed; name NULL ends */
	const struct control_event_type *events; /* likewise; "job" is ours */
	struct loop_guard *guard; /* borrowed; commands run under it */
	void *opaque;		  /* for the commands */
};

/**
 * control_create - listen at @opt->path.
 * A socket there that nobody listens to is replaced; one that somebody does is
 * -EADDRINUSE.  Mode 0600.  The commands "commands" (the table as data), "jobs"
 * and "job-cancel" are control.c's own.
 * Return: 0, -ENAMETOOLONG, -EADDRINUSE, -errno; with @err.
 */
int control_create(struct loop *loop, const struct control_options *opt,
	struct control **ret_control, struct error *err);
/* Drop the clients, remove the socket.  NULL is allowed. */
void control_destroy(struct control *control);

/* To every client that is there; what happens while a command runs is sent
 * after its reply.  @name: one of the table.  @data: consumed; may be NULL. */
void control_event(struct control *control, const char *name, json_t *data);

/* ---- jobs ---- */

/* Somebody wants it to end.  0, or -errno with @err (too late). */
typedef int control_cancel_fn(void *opaque, struct error *err);

/**
 * control_job_begin - a long command goes on after its reply.
 * @kind: "migrate"; borrowed.
 * Return: NULL without memory, or when CONTROL_JOBS_MAX of them run.
 */
struct control_job *control_job_begin(struct control *control, const char *kind,
	control_cancel_fn *cancel, void *opaque);
uint64_t control_job_id(const struct control_job *job);
/* Event "job" {id, kind, status "running", progress: @data}. */
void control_job_progress(struct control_job *job, json_t *data);
/* Event "job" {id, kind, status "done"|"failed", result: @data | error}; @job
 * is the control's from here on.  @code: 0 or -errno with @err. */
void control_job_end(struct control_job *job, int code, const struct error *err,
	json_t *data);

#endif
