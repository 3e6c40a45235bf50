/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/control_event.c - events, how often they may come, and jobs.
 *
 * What happens while a command runs is told after its reply, so that a client
 * knows the id of a job before it hears of it.
 */
#include "vmm/control_priv.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/control_line.h"
#include "vmm/error.h"
#include "vmm/log.h"

const struct control_event_type control_own_events[] = {
	{"job",
		"a job began, went on or ended: id, kind, status (running, "
		"done, failed), progress, result, error",
		100},
	{.name = NULL},
};

static const struct control_event_type *find_type(
	const struct control_event_type *table, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

/* ---- sending ---- */

/* @data is consumed. */
static json_t *event_json(const char *name, json_t *data)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return json_pack("{s:s, s:o, s:{s:I, s:I}}", "event", name, "data",
		data, "timestamp", "seconds", (json_int_t)now.tv_sec,
		"microseconds", (json_int_t)(now.tv_nsec / 1000));
}

/* Consumes @data.  One that finds no memory is lost, and said so. */
static void send_event(struct control *control, const char *name, json_t *data)
{
	json_t *message = data ? event_json(name, data) : NULL;

	if (!message)
		log_warn("control: event %s: no memory, dropped", name);
	else if (!control->running)
		control_broadcast(control, message);
	else if (json_array_append(control->deferred, message) < 0)
		log_warn("control: event %s: no memory, dropped", name);
	json_decref(message);
}

void control_flush_deferred(struct control *control)
{
	size_t i, count = json_array_size(control->deferred);

	assert(!control->running);
	for (i = 0; i < count; i++)
		control_broadcast(
			control, json_array_get(control->deferred, i));
	json_array_clear(control->deferred);
}

/* ---- not too often (C2) ---- */

static void free_limit(struct control_limit **slot)
{
	struct control_limit *limit = *slot;

	*slot = limit->next;
	json_decref(limit->held);
	free(limit);
}

/* Send what has waited long enough, forget what needs no limit any more, and
 * come back for the rest. */
static void open_limits(void *opaque)
{
	struct control *control = opaque;
	int64_t now = loop_now_ns(control->loop, LOOP_MONOTONIC);
	struct control_limit **slot = &control->limits, *limit;
	int64_t next = INT64_MAX;

	while ((limit = *slot)) {
		if (limit->open_ns <= now && !limit->held) {
			free_limit(slot);
			continue;
		}
		if (limit->open_ns <= now) {
			send_event(control, limit->type->name, limit->held);
			limit->held = NULL;
			limit->open_ns =
				now + (int64_t)limit->type->min_ms * 1000000;
		}
		if (limit->open_ns < next)
			next = limit->open_ns;
		slot = &limit->next;
	}
	/* Without memory the next event tries again. */
	if (next != INT64_MAX)
		loop_timer_set(&control->limit_timer, next);
}

static struct control_limit **find_limit(struct control *control,
	const struct control_event_type *type, uint64_t id)
{
	struct control_limit **slot;

	for (slot = &control->limits; *slot; slot = &(*slot)->next)
		if ((*slot)->type == type && (*slot)->id == id)
			break;
	return slot;
}

/* @force: go out now, whatever waited before is older news. */
static void emit(
	struct control *control, const char *name, json_t *data, bool force)
{
	const struct control_event_type *type;
	struct control_limit **slot, *limit;
	json_int_t id;

	type = find_type(control_own_events, name);
	if (!type)
		type = find_type(control->events, name);
	assert(type);
	if (!data)
		data = json_object();
	if (type->min_ms == 0) {
		send_event(control, name, data);
		return;
	}
	id = json_integer_value(json_object_get(data, "id"));
	slot = find_limit(control, type, (uint64_t)id);
	limit = *slot;
	if (force && limit)
		free_limit(slot);
	if (limit && !force) {
		json_decref(limit->held);
		limit->held = data;
	} else {
		send_event(control, name, data);
		limit = force ? NULL : calloc(1, sizeof(*limit));
		if (limit) {
			limit->type = type;
			limit->id = (uint64_t)id;
			limit->open_ns =
				loop_now_ns(control->loop, LOOP_MONOTONIC) +
				(int64_t)type->min_ms * 1000000;
			limit->next = control->limits;
			control->limits = limit;
		}
	}
	open_limits(control);
}

void control_event(struct control *control, const char *name, json_t *data)
{
	emit(control, name, data, false);
}

void control_events_init(struct control *control)
{
	loop_timer_init(&control->limit_timer, control->loop, LOOP_MONOTONIC,
		open_limits, control);
}

static void free_job(struct control_job *job)
{
	json_decref(job->data);
	json_decref(job->error);
	free(job);
}

void control_events_fini(struct control *control)
{
	struct control_job *job;

	loop_timer_cancel(&control->limit_timer);
	while (control->limits)
		free_limit(&control->limits);
	while ((job = control->jobs)) {
		control->jobs = job->next;
		free_job(job);
	}
	json_decref(control->deferred);
}

/* ---- jobs ---- */

static const char *status_of(const struct control_job *job)
{
	if (!job->ended)
		return "running";
	return job->failed ? "failed" : "done";
}

/* A new object, or NULL. */
static json_t *job_json(const struct control_job *job)
{
	json_t *object;
	int ret = 0;

	object = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)job->id, "kind",
		job->kind, "status", status_of(job));
	if (!object)
		return NULL;
	if (job->data)
		ret = json_object_set(
			object, job->ended ? "result" : "progress", job->data);
	if (ret == 0 && job->error)
		ret = json_object_set(object, "error", job->error);
	if (ret < 0) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* Room for one more: the oldest that has ended goes.  False: all run. */
static bool make_room(struct control *control)
{
	struct control_job **slot, *job;
	unsigned count = 0;

	for (job = control->jobs; job; job = job->next)
		count++;
	if (count < CONTROL_JOBS_MAX)
		return true;
	for (slot = &control->jobs; (job = *slot); slot = &job->next) {
		if (job->ended) {
			*slot = job->next;
			free_job(job);
			return true;
		}
	}
	return false;
}

struct control_job *control_job_begin(struct control *control, const char *kind,
	control_cancel_fn *cancel, void *opaque)
{
	struct control_job *job, **slot;

	if (!make_room(control))
		return NULL;
	job = calloc(1, sizeof(*job));
	if (!job)
		return NULL;
	job->control = control;
	job->id = ++control->last_job;
	job->kind = kind;
	job->cancel = cancel;
	job->opaque = opaque;
	for (slot = &control->jobs; *slot; slot = &(*slot)->next)
		;
	*slot = job;
	emit(control, "job", job_json(job), true);
	return job;
}

uint64_t control_job_id(const struct control_job *job)
{
	return job->id;
}

void control_job_progress(struct control_job *job, json_t *data)
{
	assert(!job->ended);
	json_decref(job->data);
	job->data = data;
	emit(job->control, "job", job_json(job), false);
}

void control_job_end(struct control_job *job, int code, const struct error *err,
	json_t *data)
{
	assert(!job->ended);
	job->ended = true;
	job->failed = code < 0;
	json_decref(job->data);
	job->data = data;
	if (code < 0)
		job->error = control_error_json(err);
	job->cancel = NULL;
	job->opaque = NULL;
	emit(job->control, "job", job_json(job), true);
}

int control_list_jobs(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	json_t *array = json_array();
	struct control_job *job;

	for (job = control->jobs; array && job; job = job->next) {
		if (json_array_append_new(array, job_json(job)) < 0) {
			json_decref(array);
			array = NULL;
			break;
		}
	}
	*ret_data = json_pack("{s:o}", "jobs", array);
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "jobs");
}

int control_cancel_job(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	json_int_t id = json_integer_value(json_object_get(args, "id"));
	struct control_job *job;
	int ret;

	for (job = control->jobs; job; job = job->next)
		if (id > 0 && job->id == (uint64_t)id)
			break;
	if (!job)
		return error_set(err, -ENOENT,
			"job %" JSON_INTEGER_FORMAT
			": there is none (\"jobs\" lists them)",
			id);
	if (job->ended)
		return error_set(err, -EALREADY,
			"job %" JSON_INTEGER_FORMAT
			": it has ended already (\"jobs\" says how)",
			id);
	if (!job->cancel)
		return error_set(err, -EOPNOTSUPP,
			"job %" JSON_INTEGER_FORMAT
			": a %s cannot be cancelled (wait for its end)",
			id, job->kind);
	ret = job->cancel(job->opaque, err);
	if (ret < 0)
		error_prepend(err, "job %" JSON_INTEGER_FORMAT, id);
	return ret;
}
