/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/commands_move.c - see commands_move.h; docs/control.md says what each
 * argument means. */
#include "vmm/commands_move.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "migrate/source.h"
#include "vmm/commands.h"
#include "vmm/error.h"
#include "vmm/mover.h"

#define ROUNDS_MAX	 1000000
#define MILLISECONDS_MAX 3600000

const struct control_arg commands_migrate_args[] = {
	{"address", "string", true,
		"where a godwit receives: unix:PATH, tcp:HOST:PORT, "
		"fd:N[,M], exec:COMMAND"},
	{"postcopy", "string", false,
		"never (the default), manual, after=ROUNDS, stalled, "
		"immediate"},
	{"max_downtime_ms", "integer", false, "goal of precopy (300)"},
	{"bandwidth", "integer", false, "of precopy, bytes/s; 0: no limit"},
	{"push_bandwidth", "integer", false,
		"of pages that follow a postcopy guest without being asked "
		"for, bytes/s; 0: no limit"},
	{"max_rounds", "integer", false,
		"of precopy, then stop whatever it costs (30)"},
	{"timeout_ms", "integer", false, "without progress (10000)"},
	{"timeline", "boolean", false, "add samples to the result, for plots"},
	{.name = NULL},
};

const struct control_arg commands_migrate_set_args[] = {
	{"max_downtime_ms", "integer", false, "goal of precopy"},
	{"bandwidth", "integer", false, "of precopy, bytes/s; 0: no limit"},
	{.name = NULL},
};

const struct control_arg commands_snapshot_args[] = {
	{"file", "string", true, "to write, on the VM's host"},
	{"then", "string", false, "run (the default), pause or stop"},
	{.name = NULL},
};

const struct control_arg commands_take_back_args[] = {
	{"sure", "boolean", true,
		"true: the other side was seen not to run the guest"},
	{.name = NULL},
};

/* ---- the job ---- */

struct move_job {
	struct control_job *job; /* borrowed; NULL: unseen */
	bool timeline;
};

static void job_progress(void *opaque, json_t *stats)
{
	struct move_job *j = opaque;

	if (j->job)
		control_job_progress(j->job, json_incref(stats));
}

static void job_ended(
	void *opaque, int code, const struct error *err, json_t *result)
{
	struct move_job *j = opaque;

	if (!j->timeline && result)
		json_object_del(result, "timeline");
	if (j->job)
		control_job_end(j->job, code, err, json_incref(result));
	free(j);
}

static int job_cancel(void *opaque, struct error *err)
{
	struct commands *commands = opaque;

	return mover_cancel(commands->mover, err);
}

/* The job of a move that was just begun.  Without memory it goes on unseen. */
static int begin_job(struct commands *commands, struct move_job *j,
	const char *kind, json_t **ret_data, struct error *err)
{
	j->job = control_job_begin(
		commands->control, kind, job_cancel, commands);
	if (!j->job)
		return error_set(err, -ENOMEM,
			"%s: too many jobs, this one goes on unseen (\"info\" "
			"shows it)",
			kind);
	*ret_data =
		json_pack("{s:I}", "job", (json_int_t)control_job_id(j->job));
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "%s", kind);
}

/* ---- arguments ---- */

/* An optional integer; @max: inclusive. */
static int get_number(json_t *args, const char *name, json_int_t max,
	uint64_t *ret_value, struct error *err)
{
	json_t *value = json_object_get(args, name);
	json_int_t n;

	if (!value)
		return 0;
	n = json_integer_value(value);
	if (n < 0 || n > max)
		return error_set(err, -EINVAL,
			"%s: %" JSON_INTEGER_FORMAT
			" is out of range (give 0 to %" JSON_INTEGER_FORMAT ")",
			name, n, max);
	*ret_value = (uint64_t)n;
	return 0;
}

static int get_postcopy(
	const char *word, struct source_options *opt, struct error *err)
{
	char *end;
	unsigned long rounds;

	opt->postcopy = SOURCE_POSTCOPY_NEVER;
	if (!word || strcmp(word, "never") == 0)
		return 0;
	if (strcmp(word, "manual") == 0) {
		opt->postcopy = SOURCE_POSTCOPY_MANUAL;
	} else if (strcmp(word, "stalled") == 0) {
		opt->postcopy = SOURCE_POSTCOPY_STALLED;
	} else if (strcmp(word, "immediate") == 0) {
		opt->postcopy = SOURCE_POSTCOPY_IMMEDIATE;
	} else {
		rounds = strncmp(word, "after=", 6) == 0 && word[6] >= '0' &&
					 word[6] <= '9'
				 ? strtoul(word + 6, &end, 10)
				 : 0;
		if (rounds < 1 || rounds > ROUNDS_MAX || *end != '\0')
			return error_set(err, -EINVAL,
				"postcopy: '%.40s' is no policy (give never, "
				"manual, after=ROUNDS, stalled or immediate)",
				word);
		opt->postcopy = SOURCE_POSTCOPY_AFTER;
		opt->after_rounds = (uint32_t)rounds;
	}
	return 0;
}

static int get_options(
	json_t *args, struct source_options *opt, struct error *err)
{
	uint64_t downtime_ms = 0, rounds = 0, timeout = 0;
	int code;

	opt->address = json_string_value(json_object_get(args, "address"));
	code = get_postcopy(
		json_string_value(json_object_get(args, "postcopy")), opt, err);
	if (code == 0)
		code = get_number(args, "max_downtime_ms", MILLISECONDS_MAX,
			&downtime_ms, err);
	if (code == 0)
		code = get_number(
			args, "bandwidth", INT64_MAX, &opt->bandwidth, err);
	if (code == 0)
		code = get_number(args, "push_bandwidth", INT64_MAX,
			&opt->push_bandwidth, err);
	if (code == 0)
		code = get_number(args, "max_rounds", ROUNDS_MAX, &rounds, err);
	if (code == 0)
		code = get_number(
			args, "timeout_ms", MILLISECONDS_MAX, &timeout, err);
	opt->max_downtime_ns = downtime_ms * 1000000;
	opt->max_rounds = (uint32_t)rounds;
	opt->timeout_ms = (int)timeout;
	return code;
}

/* ---- commands ---- */

int commands_migrate(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	struct source_options opt = {.address = NULL};
	struct mover_watch watch = {
		.progress = job_progress, .ended = job_ended};
	struct move_job *j;
	int code;

	code = get_options(args, &opt, err);
	if (code < 0)
		return code;
	j = calloc(1, sizeof(*j));
	if (!j)
		return error_errno(err, -ENOMEM, "migrate");
	j->timeline = json_is_true(json_object_get(args, "timeline"));
	watch.opaque = j;
	code = mover_migrate(commands->mover, &opt, &watch, err);
	if (code < 0) {
		free(j);
		return code;
	}
	return begin_job(commands, j, "migrate", ret_data, err);
}

int commands_migrate_postcopy(void *opaque, struct control *control,
	json_t *args, json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;

	return mover_switch(commands->mover, err);
}

int commands_migrate_cancel(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;

	return mover_cancel(commands->mover, err);
}

int commands_migrate_set(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	uint64_t bandwidth = SOURCE_KEEP, downtime_ms = SOURCE_KEEP;
	int code;

	code = get_number(args, "bandwidth", INT64_MAX, &bandwidth, err);
	if (code == 0)
		code = get_number(args, "max_downtime_ms", MILLISECONDS_MAX,
			&downtime_ms, err);
	if (code < 0)
		return code;
	return mover_set_limits(commands->mover, bandwidth,
		downtime_ms == SOURCE_KEEP ? SOURCE_KEEP
					   : downtime_ms * 1000000,
		err);
}

static int get_after(
	const char *word, enum mover_after *ret_after, struct error *err)
{
	*ret_after = MOVER_THEN_RUN;
	if (!word || strcmp(word, "run") == 0)
		return 0;
	if (strcmp(word, "pause") == 0)
		*ret_after = MOVER_THEN_PAUSE;
	else if (strcmp(word, "stop") == 0)
		*ret_after = MOVER_THEN_STOP;
	else
		return error_set(err, -EINVAL,
			"then: '%.40s' is not understood (give run, pause or "
			"stop)",
			word);
	return 0;
}

int commands_snapshot(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;
	const char *file = json_string_value(json_object_get(args, "file"));
	struct mover_watch watch = {
		.progress = job_progress, .ended = job_ended};
	enum mover_after after;
	struct move_job *j;
	int code;

	code = get_after(
		json_string_value(json_object_get(args, "then")), &after, err);
	if (code < 0)
		return code;
	if (file[0] == '\0')
		return error_set(err, -EINVAL,
			"snapshot: the file name is empty (give a file)");
	j = calloc(1, sizeof(*j));
	if (!j)
		return error_errno(err, -ENOMEM, "snapshot");
	watch.opaque = j;
	code = mover_snapshot(commands->mover, file, after, &watch, err);
	if (code < 0) {
		free(j);
		return code;
	}
	return begin_job(commands, j, "snapshot", ret_data, err);
}

int commands_take_back(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct commands *commands = opaque;

	if (!json_is_true(json_object_get(args, "sure")))
		return error_set(err, -EINVAL,
			"take-back: two owners would destroy the guest (make "
			"sure that the other side does not run it, then give "
			"sure)");
	return mover_take_back(commands->mover, err);
}
