/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/control_line.c - see control_line.h. */
#include "vmm/control_line.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"

/* Only what a client must tell apart has a class of its own (C4). */
#define CLASS_UNKNOWN "command-unknown"

/* What a line asks for, once it is understood. */
struct request {
	const struct control_command *command; /* borrowed */
	bool own;
	json_t *args; /* owned object */
	json_t *id;   /* owned; or NULL */
};

json_t *control_text(const char *text)
{
	json_t *value = json_string(text);
	char *copy, *p;

	if (value)
		return value;
	copy = strdup(text);
	if (!copy)
		return NULL;
	for (p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	value = json_string(copy);
	free(copy);
	return value;
}

static const char *class_of(int code)
{
	switch (code) {
	case -ENOSYS:
		return CLASS_UNKNOWN;
	case -EINVAL:
		return "invalid";
	case -EBUSY:
	case -EAGAIN:
		return "busy";
	default:
		return "generic";
	}
}

json_t *control_error_json(const struct error *err)
{
	return json_pack("{s:s, s:o}", "class", class_of(err->code), "desc",
		control_text(err->text));
}

/* ---- understanding ---- */

static bool type_is(const char *type, const json_t *value)
{
	if (strcmp(type, "string") == 0)
		return json_is_string(value);
	if (strcmp(type, "integer") == 0)
		return json_is_integer(value);
	if (strcmp(type, "boolean") == 0)
		return json_is_boolean(value);
	if (strcmp(type, "number") == 0)
		return json_is_number(value);
	assert(strcmp(type, "object") == 0);
	return json_is_object(value);
}

static const struct control_arg *find_arg(
	const struct control_command *command, const char *name)
{
	const struct control_arg *arg;

	for (arg = command->args; arg && arg->name; arg++)
		if (strcmp(arg->name, name) == 0)
			return arg;
	return NULL;
}

static int check_args(
	const struct control_command *command, json_t *args, struct error *err)
{
	const struct control_arg *arg;
	const char *key;
	json_t *value;

	json_object_foreach(args, key, value)
	{
		arg = find_arg(command, key);
		if (!arg)
			return error_set(err, -EINVAL,
				"%s: '%.60s' is not an argument of it "
				"(\"commands\" lists them)",
				command->name, key);
		if (!type_is(arg->type, value))
			return error_set(err, -EINVAL,
				"%s: %s is of the wrong type (give %s %s)",
				command->name, key,
				strchr("aeiou", arg->type[0]) ? "an" : "a",
				arg->type);
	}
	for (arg = command->args; arg && arg->name; arg++)
		if (arg->required && !json_object_get(args, arg->name))
			return error_set(err, -EINVAL, "%s: %s is missing (%s)",
				command->name, arg->name, arg->help);
	return 0;
}

static const struct control_command *find_command(
	const struct control_command *table, const char *name)
{
	for (; table && table->name; table++)
		if (strcmp(table->name, name) == 0)
			return table;
	return NULL;
}

static int find(const struct control_tables *tables, const char *name,
	struct request *req, struct error *err)
{
	req->command = find_command(tables->own, name);
	req->own = req->command;
	if (!req->command)
		req->command = find_command(tables->more, name);
	if (!req->command)
		return error_set(err, -ENOSYS,
			"%.60s: unknown command (\"commands\" lists them)",
			name);
	return 0;
}

/* The id comes back in the reply, so it is bounded. */
static int take_id(json_t *message, struct request *req, struct error *err)
{
	json_t *id = json_object_get(message, "id");

	if (!id)
		return 0;
	if (json_dumpb(id, NULL, 0, JSON_ENCODE_ANY | JSON_COMPACT) >
		CONTROL_ID_MAX)
		return error_set(err, -EINVAL,
			"id: too long (give at most %u bytes)", CONTROL_ID_MAX);
	req->id = json_incref(id);
	return 0;
}

static int check_keys(json_t *message, struct error *err)
{
	const char *key;
	json_t *value;

	json_object_foreach(message, key, value)
	{
		if (strcmp(key, "cmd") != 0 && strcmp(key, "args") != 0 &&
			strcmp(key, "id") != 0)
			return error_set(err, -EINVAL,
				"'%.60s': unknown key (give cmd, args and id)",
				key);
	}
	return 0;
}

static int understand(const struct control_tables *tables, json_t *message,
	struct request *req, struct error *err)
{
	json_t *cmd, *args;
	int ret;

	if (!json_is_object(message))
		return error_set(err, -EINVAL,
			"the line is not an object (give {\"cmd\": NAME})");
	ret = take_id(message, req, err);
	if (ret == 0)
		ret = check_keys(message, err);
	if (ret < 0)
		return ret;
	cmd = json_object_get(message, "cmd");
	if (!json_is_string(cmd))
		return error_set(err, -EINVAL,
			"cmd is missing or no string (give \"cmd\": NAME)");
	ret = find(tables, json_string_value(cmd), req, err);
	if (ret < 0)
		return ret;
	args = json_object_get(message, "args");
	if (args && !json_is_object(args))
		return error_set(err, -EINVAL,
			"%s: args is not an object (give \"args\": {...})",
			req->command->name);
	req->args = args ? json_incref(args) : json_object();
	if (!req->args)
		return error_errno(err, -ENOMEM, "%s", req->command->name);
	return check_args(req->command, req->args, err);
}

/* ---- answering ---- */

/* @what is consumed. */
static json_t *reply(const char *key, json_t *what, json_t *id)
{
	json_t *message = json_object();

	if (!message || json_object_set_new(message, key, what) < 0 ||
		(id && json_object_set(message, "id", id) < 0)) {
		json_decref(message);
		return NULL;
	}
	return message;
}

static bool is_blank(const char *line, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!strchr(" \t\r\n", line[i]) || line[i] == '\0')
			return false;
	return true;
}

/* On success *ret_data is an object. */
static int run(const struct control_tables *tables, struct control *control,
	const struct request *req, json_t **ret_data, struct error *err)
{
	int ret;

	ret = req->command->fn(req->own ? (void *)control : tables->opaque,
		control, req->args, ret_data, err);
	if (ret == 0 && !*ret_data)
		*ret_data = json_object();
	if (ret == 0 && !*ret_data)
		ret = error_errno(err, -ENOMEM, "%s", req->command->name);
	/* The code decides the class; -ENOSYS is for unknown commands. */
	if (ret < 0)
		err->code = ret == -ENOSYS ? -EOPNOTSUPP : ret;
	return ret;
}

json_t *control_line_run(const struct control_tables *tables,
	struct control *control, const char *line, size_t len)
{
	struct error err = {0};
	struct request req = {0};
	json_t *message, *data = NULL, *answer;
	json_error_t why;
	int ret;

	if (is_blank(line, len))
		return NULL;
	message = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (!message)
		ret = error_set(&err, -EINVAL,
			"byte %d: %s (give one JSON object a line)",
			why.position, why.text);
	else
		ret = understand(tables, message, &req, &err);
	json_decref(message);
	if (ret == 0)
		ret = run(tables, control, &req, &data, &err);
	if (ret == 0)
		answer = reply("ok", data, req.id);
	else
		answer = reply("error", control_error_json(&err), req.id);
	json_decref(req.args);
	json_decref(req.id);
	return answer;
}

/* ---- the tables as data (C3) ---- */

static json_t *args_json(const struct control_arg *arg)
{
	json_t *array = json_array();

	for (; array && arg && arg->name; arg++) {
		if (json_array_append_new(array,
			    json_pack("{s:s, s:s, s:b, s:s}", "name", arg->name,
				    "type", arg->type, "required",
				    arg->required, "help", arg->help)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *control_commands_json(const struct control_command *table)
{
	json_t *array = json_array();

	for (; array && table && table->name; table++) {
		if (json_array_append_new(
			    array, json_pack("{s:s, s:s, s:b, s:o}", "name",
					   table->name, "help", table->help,
					   "job", table->job, "args",
					   args_json(table->args))) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

json_t *control_events_json(const struct control_event_type *table)
{
	json_t *array = json_array();

	for (; array && table && table->name; table++) {
		if (json_array_append_new(
			    array, json_pack("{s:s, s:s, s:i}", "name",
					   table->name, "help", table->help,
					   "min_ms", (int)table->min_ms)) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}
