/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_control.c - hostile lines for the control socket, without the
 * socket: what is not refused reaches a command with checked arguments, and
 * every answer is one object of one form.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/control_line.h"
#include "vmm/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	json_t *text = json_object_get(args, "text");
	json_t *count = json_object_get(args, "count");
	json_t *flag = json_object_get(args, "flag");
	json_t *ratio = json_object_get(args, "ratio");
	json_t *more = json_object_get(args, "more");

	/* As the table promises. */
	assert(json_is_integer(count));
	assert(!text || json_is_string(text));
	assert(!flag || json_is_boolean(flag));
	assert(!ratio || json_is_number(ratio));
	assert(!more || json_is_object(more));
	assert(json_object_size(args) ==
		1u + !!text + !!flag + !!ratio + !!more);
	if (json_integer_value(count) < 0)
		return error_set(err, -ERANGE, "%.20s",
			text ? json_string_value(text) : "negative");
	*ret_data = json_incref(args);
	return 0;
}

static int nothing(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	assert(json_object_size(args) == 0);
	return 0;
}

static const struct control_arg args_of_take[] = {
	{"count", "integer", true, "any"},
	{"text", "string", false, "any"},
	{"flag", "boolean", false, "any"},
	{"ratio", "number", false, "any"},
	{"more", "object", false, "any"},
	{.name = NULL},
};
static const struct control_command own[] = {
	{"nothing", "does nothing", NULL, nothing, false},
	{.name = NULL},
};
static const struct control_command more[] = {
	{"take", "checks what it gets", args_of_take, take, false},
	{"nothing", "is hidden by the one above", NULL, take, false},
	{.name = NULL},
};

/* An answer is {"ok": {}} or {"error": {class, desc}}, with an "id" perhaps. */
static void check(const json_t *answer)
{
	json_t *ok = json_object_get(answer, "ok");
	json_t *error = json_object_get(answer, "error");
	size_t len;
	char *text;

	assert(!ok != !error);
	assert(json_object_size(answer) ==
		1u + !!json_object_get(answer, "id"));
	assert(!ok || json_is_object(ok));
	assert(!error ||
		(json_is_string(json_object_get(error, "class")) &&
			json_is_string(json_object_get(error, "desc"))));
	text = json_dumps(answer, JSON_COMPACT);
	assert(text);
	len = strlen(text);
	assert(!memchr(text, '\n', len)); /* it is a line */
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct control_tables tables = {.own = own, .more = more};
	const char *line = (const char *)data, *end;
	json_t *answer;
	size_t len;

	while (size > 0) {
		end = memchr(line, '\n', size);
		len = end ? (size_t)(end - line) + 1 : size;
		answer = control_line_run(&tables, NULL, line, len);
		if (answer)
			check(answer);
		json_decref(answer);
		line += len;
		size -= len;
	}
	return 0;
}
