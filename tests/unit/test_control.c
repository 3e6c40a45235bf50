/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_control.c - the control socket, with clients of this thread.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "loop/loop.h"
#include "vmm/control.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define ALARM_S TESTING_WATCHDOG_S /* ends what hangs */

struct fixture {
	struct loop *loop;
	struct loop_guard guard;
	struct control *control;
	struct control_job *job;
	char dir[32];
	char path[64];
	int fds;
	unsigned calls; /* of "echo" */
	unsigned cancels;
	int peer; /* of "drop": closed in the middle of the command */
};

/* ---- a table ---- */

static int echo(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct fixture *f = opaque;

	f->calls++;
	*ret_data = json_incref(args);
	return 0;
}

static int fail_so(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	const char *how = json_string_value(json_object_get(args, "how"));

	if (strcmp(how, "busy") == 0)
		return error_set(err, -EBUSY, "thing: in use (wait)");
	if (strcmp(how, "nosys") == 0)
		return error_set(err, -ENOSYS, "thing: not in this kernel");
	return error_set(err, -EIO, "thing: broken \xff (mend it)");
}

static int cancel_job(void *opaque, struct error *err)
{
	struct fixture *f = opaque;

	if (f->cancels++ > 0)
		return error_set(err, -EALREADY, "asked already");
	return 0;
}

static int begin_job(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct fixture *f = opaque;
	bool cancellable = json_is_true(json_object_get(args, "cancel"));

	f->job = control_job_begin(
		control, "work", cancellable ? cancel_job : NULL, f);
	if (!f->job)
		return error_set(err, -EBUSY, "work: too many");
	*ret_data =
		json_pack("{s:I}", "job", (json_int_t)control_job_id(f->job));
	return 0;
}

static int drop(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	struct fixture *f = opaque;
	int i;

	close(f->peer);
	f->peer = -1;
	for (i = 0; i < 5; i++)
		loop_poll(f->loop, false);
	return 0;
}

static const struct control_arg echo_args[] = {
	{"text", "string", false, "any"},
	{"count", "integer", false, "any"},
	{"flag", "boolean", false, "any"},
	{"ratio", "number", false, "any"},
	{"more", "object", false, "any"},
	{.name = NULL},
};
static const struct control_arg fail_args[] = {
	{"how", "string", true, "busy, nosys or other"},
	{.name = NULL},
};
static const struct control_arg job_args[] = {
	{"cancel", "boolean", false, "it can be cancelled"},
	{.name = NULL},
};
static const struct control_command table[] = {
	{"echo", "gives the arguments back", echo_args, echo, false},
	{"fail", "fails", fail_args, fail_so, false},
	{"work", "begins a job", job_args, begin_job, true},
	{"drop", "the client goes in the middle", NULL, drop, false},
	{.name = NULL},
};
static const struct control_event_type events[] = {
	{"plain", "comes always", 0},
	{"slow", "at most every hour", 3600000},
	{"quick", "at most every 20 ms", 20},
	{"later", "at most every 200 ms, which is later than \"job\"", 200},
	{.name = NULL},
};

static int create(
	struct fixture *f, struct control **ret_control, struct error *err)
{
	struct control_options opt = {
		.path = f->path,
		.vm_name = "vm1",
		.commands = table,
		.events = events,
		.guard = &f->guard,
		.opaque = f,
	};

	return control_create(f->loop, &opt, ret_control, err);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct error err = {0};

	assert_non_null(f);
	alarm(ALARM_S);
	log_set_level(LOG_ERROR);
	f->fds = testing_fd_count();
	f->peer = -1;
	strcpy(f->dir, "/tmp/godwit-test.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/c.sock", f->dir);
	assert_int_equal(loop_create(NULL, &f->loop, &err), 0);
	loop_poll(f->loop, false);
	if (create(f, &f->control, &err) < 0)
		fail_msg("%s", err.text);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_destroy(f->control);
	loop_poll(f->loop, false);
	loop_destroy(f->loop);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(rmdir(f->dir), 0);
	assert_int_equal(testing_fd_count(), f->fds);
	free(f);
	return 0;
}

/* ---- a client ---- */

static int plug_in(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	strcpy(addr.sun_path, path);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Polls until it is all written. */
static void say_bytes(struct fixture *f, int fd, const char *text, size_t len)
{
	ssize_t sent;

	while (len > 0) {
		sent = send(fd, text, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EAGAIN) {
			loop_poll(f->loop, false);
			continue;
		}
		assert_true(sent > 0);
		text += sent;
		len -= (size_t)sent;
	}
}

static void say(struct fixture *f, int fd, const char *text)
{
	say_bytes(f, fd, text, strlen(text));
	say_bytes(f, fd, "\n", 1);
}

/* One line as JSON, polling; NULL: the end.  Byte by byte, so that nothing is
 * taken of the next. */
static json_t *hear(struct fixture *f, int fd)
{
	static char line[1 << 21];
	size_t len = 0;
	json_t *message;
	ssize_t got;

	for (;;) {
		got = recv(fd, line + len, 1, 0);
		if (got < 0 && errno == EAGAIN) {
			loop_poll(f->loop, true);
			continue;
		}
		if (got <= 0)
			return NULL;
		if (line[len] == '\n')
			break;
		assert_true(++len < sizeof(line));
	}
	message = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(message))
		fail_msg("not an object: %.*s", (int)len, line);
	return message;
}

static void ignore(struct fixture *f, int fd)
{
	json_t *message = hear(f, fd);

	assert_non_null(message);
	json_decref(message);
}

static int client_of(struct fixture *f)
{
	int fd = plug_in(f->path);

	ignore(f, fd); /* greeting */
	return fd;
}

/* What @text has at "a.b"; NULL if there is nothing. */
static const json_t *at(const json_t *value, const char *path)
{
	char copy[64], *key, *rest = copy;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((key = strsep(&rest, ".")))
		value = json_object_get(value, key);
	return value;
}

static const char *str(const json_t *value, const char *path)
{
	const char *text = json_string_value(at(value, path));

	return text ? text : "(none)";
}

static json_t *ask(struct fixture *f, int fd, const char *text)
{
	say(f, fd, text);
	return hear(f, fd);
}

static void expect_ok(struct fixture *f, int fd, const char *text)
{
	json_t *answer = ask(f, fd, text);

	if (!at(answer, "ok"))
		fail_msg("%s: %s", text, str(answer, "error.desc"));
	json_decref(answer);
}

static void expect_error(struct fixture *f, int fd, const char *text,
	const char *class, const char *part)
{
	json_t *answer = ask(f, fd, text);

	assert_non_null(answer);
	if (strcmp(str(answer, "error.class"), class) != 0 ||
		!strstr(str(answer, "error.desc"), part))
		fail_msg("%s: %s: %s", text, str(answer, "error.class"),
			str(answer, "error.desc"));
	json_decref(answer);
}

/* ---- tests ---- */

static void greets_with_version_protocol_and_name(void **state)
{
	struct fixture *f = *state;
	int fd = plug_in(f->path);
	json_t *hello = hear(f, fd);

	assert_string_equal(str(hello, "godwit.version"), GODWIT_VERSION);
	assert_string_equal(str(hello, "godwit.name"), "vm1");
	assert_int_equal(json_integer_value(at(hello, "godwit.protocol")), 1);
	json_decref(hello);
	close(fd);
}

static void socket_is_for_its_owner_only(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(lstat(f->path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void a_reply_carries_the_id_whatever_it_is(void **state)
{
	static const char *const ids[] = {
		"7", "\"seven\"", "null", "[1, {\"a\": 2}]", "1.5"};
	struct fixture *f = *state;
	int fd = client_of(f);
	char line[128];
	unsigned i;

	for (i = 0; i < 5; i++) {
		json_t *want = json_loads(ids[i], JSON_DECODE_ANY, NULL);
		json_t *answer;

		snprintf(line, sizeof(line),
			"{\"cmd\": \"echo\", \"args\": {\"count\": %u}, "
			"\"id\": %s}",
			i, ids[i]);
		answer = ask(f, fd, line);
		assert_true(json_equal(at(answer, "id"), want));
		assert_int_equal(json_integer_value(at(answer, "ok.count")), i);
		json_decref(answer);
		json_decref(want);
	}
	close(fd);
}

static void bad_lines_are_refused_and_the_client_goes_on(void **state)
{
	static const struct {
		const char *line, *class, *part;
	} bad[] = {
		{"nonsense", "invalid", "one JSON object a line"},
		{"[1, 2]", "invalid", "not an object"},
		{"\"echo\"", "invalid", "'[' or '{' expected"},
		{"{}", "invalid", "cmd is missing"},
		{"{\"cmd\": 7}", "invalid", "cmd is missing"},
		{"{\"cmd\": \"echo\", \"cmd\": \"echo\"}", "invalid",
			"duplicate"},
		{"{\"cmd\": \"echo\", \"args\": {\"text\": \"a\", \"text\": "
		 "\"b\"}}",
			"invalid", "duplicate"},
		{"{\"cmd\": \"echo\", \"extra\": 1}", "invalid", "extra"},
		{"{\"cmd\": \"nope\"}", "command-unknown", "nope"},
		{"{\"cmd\": \"echo\", \"args\": []}", "invalid",
			"not an object"},
		{"{\"cmd\": \"echo\", \"args\": {\"who\": 1}}", "invalid",
			"who"},
		{"{\"cmd\": \"echo\", \"args\": {\"text\": 1}}", "invalid",
			"give a string"},
		{"{\"cmd\": \"echo\", \"args\": {\"count\": 1.5}}", "invalid",
			"give an integer"},
		{"{\"cmd\": \"echo\", \"args\": {\"flag\": 1}}", "invalid",
			"give a boolean"},
		{"{\"cmd\": \"echo\", \"args\": {\"ratio\": \"1\"}}", "invalid",
			"give a number"},
		{"{\"cmd\": \"echo\", \"args\": {\"more\": [1]}}", "invalid",
			"give an object"},
		{"{\"cmd\": \"echo\", \"args\": {\"count\": "
		 "99999999999999999999}}",
			"invalid", "big"},
		{"{\"cmd\": \"fail\"}", "invalid", "how is missing"},
		{"{\"cmd\": \"echo\", \"args\": {\"text\": \"\xff\"}}",
			"invalid", "unable to decode"},
		{"{\"cmd\": \"echo\"} {\"cmd\": \"echo\"}", "invalid",
			"end of file expected"},
	};
	struct fixture *f = *state;
	int fd = client_of(f);
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_error(f, fd, bad[i].line, bad[i].class, bad[i].part);
	assert_int_equal(f->calls, 0);
	/* A NUL is no blank. */
	say_bytes(f, fd, "\0\n", 2);
	ignore(f, fd);
	expect_ok(f, fd, "  \r\n\n{\"cmd\": \"echo\"}\r");
	assert_int_equal(f->calls, 1);
	close(fd);
}

static void deep_nesting_is_refused(void **state)
{
	enum { DEPTH = 100000 };
	struct fixture *f = *state;
	int fd = client_of(f);
	char *line = malloc(DEPTH + 1);

	assert_non_null(line);
	memset(line, '[', DEPTH);
	line[DEPTH] = '\0';
	expect_error(f, fd, line, "invalid", "depth");
	free(line);
	expect_ok(f, fd, "{\"cmd\": \"echo\"}");
	close(fd);
}

static void an_id_that_is_too_long_is_refused(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);
	char line[3000], id[2001];

	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	snprintf(line, sizeof(line), "{\"cmd\": \"echo\", \"id\": \"%s\"}", id);
	expect_error(f, fd, line, "invalid", "id: too long");
	close(fd);
}

static void a_line_of_any_length_up_to_the_limit_is_taken(void **state)
{
	static const char head[] =
		"{\"cmd\": \"echo\", \"args\": {\"text\": \"";
	struct fixture *f = *state;
	size_t size = CONTROL_LINE_MAX - 1, used = sizeof(head) - 1;
	int fd = client_of(f);
	char *line = malloc(size);

	assert_non_null(line);
	memset(line, 'x', size);
	memcpy(line, head, used);
	memcpy(line + size - 3, "\"}}", 3);
	say_bytes(f, fd, line, size);
	say_bytes(f, fd, "\n", 1);
	{
		json_t *answer = hear(f, fd);

		assert_int_equal(json_string_length(at(answer, "ok.text")),
			size - used - 3);
		json_decref(answer);
	}
	free(line);
	close(fd);
}

static void a_line_too_long_is_refused_once_and_the_next_is_taken(void **state)
{
	enum { LEN = 3 * CONTROL_LINE_MAX + 17 };
	struct fixture *f = *state;
	int fd = client_of(f);
	char *line = malloc(LEN + 1);

	assert_non_null(line);
	memset(line, 'x', LEN);
	line[LEN] = '\0';
	expect_error(f, fd, line, "invalid", "too long");
	free(line);
	expect_ok(f, fd, "{\"cmd\": \"echo\"}");
	assert_int_equal(f->calls, 1);
	close(fd);
}

static void errors_have_the_class_that_clients_need(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);

	expect_error(f, fd,
		"{\"cmd\": \"fail\", \"args\": {\"how\": \"busy\"}}", "busy",
		"in use");
	expect_error(f, fd,
		"{\"cmd\": \"fail\", \"args\": {\"how\": \"nosys\"}}",
		"generic", "not in this kernel");
	/* Bytes that are not UTF-8 do not stop the reply. */
	expect_error(f, fd, "{\"cmd\": \"fail\", \"args\": {\"how\": \"x\"}}",
		"generic", "broken ? (mend it)");
	close(fd);
}

static void many_commands_at_once_are_answered_in_order(void **state)
{
	enum { COUNT = 3000 };
	struct fixture *f = *state;
	int fd = client_of(f), sent = 0, i;
	char line[64];

	for (i = 0; i < COUNT; i++) {
		json_t *answer;

		for (; sent < COUNT && sent < i + 200; sent++) {
			snprintf(line, sizeof(line),
				"{\"cmd\": \"echo\", \"id\": %d}", sent);
			say(f, fd, line);
		}
		answer = hear(f, fd);
		assert_int_equal(json_integer_value(at(answer, "id")), i);
		json_decref(answer);
	}
	assert_int_equal(f->calls, COUNT);
	close(fd);
}

static void commands_wait_for_the_guard(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f), i;

	f->guard.busy = true;
	say(f, fd, "{\"cmd\": \"echo\"}");
	for (i = 0; i < 20; i++)
		loop_poll(f->loop, false);
	assert_int_equal(f->calls, 0);
	f->guard.busy = false;
	ignore(f, fd);
	assert_int_equal(f->calls, 1);
	close(fd);
}

static void what_a_client_sent_before_it_left_is_done(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);

	say(f, fd, "{\"cmd\": \"echo\"}");
	say(f, fd, "{\"cmd\": \"echo\"}");
	say_bytes(f, fd, "{\"cmd\": \"echo\"}", 15); /* no newline */
	close(fd);
	while (f->calls < 3)
		loop_poll(f->loop, false);
}

static void half_a_close_still_gets_its_answers(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);

	say(f, fd, "{\"cmd\": \"echo\"}");
	say_bytes(f, fd, "{\"cmd\": \"echo\"}", 15);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	ignore(f, fd);
	ignore(f, fd);
	assert_null(hear(f, fd));
	close(fd);
}

static void a_client_may_go_in_the_middle_of_its_command(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->peer = client_of(f);
	say(f, f->peer, "{\"cmd\": \"drop\"}");
	while (f->peer >= 0)
		loop_poll(f->loop, false);
	fd = client_of(f);
	expect_ok(f, fd, "{\"cmd\": \"echo\"}");
	close(fd);
}

static void a_client_that_reads_nothing_is_dropped(void **state)
{
	struct fixture *f = *state;
	int slow = client_of(f), fd = client_of(f), i;
	char big[4096];
	ssize_t got;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	for (i = 0; i < 3000; i++) {
		control_event(
			f->control, "plain", json_pack("{s:s}", "text", big));
		ignore(f, fd); /* one that reads gets all */
	}
	/* What was queued in its socket, then the end. */
	while ((got = recv(slow, big, sizeof(big), 0)) > 0)
		;
	assert_true(got == 0 || errno == ECONNRESET);
	expect_ok(f, fd, "{\"cmd\": \"echo\"}");
	close(slow);
	close(fd);
}

static void commands_of_one_that_does_not_read_wait(void **state)
{
	static const char line[] =
		"{\"cmd\": \"echo\", \"args\": {\"text\": "
		"\"0123456789012345678901234567890123456789\"}}\n";
	struct fixture *f = *state;
	int fd = client_of(f), i;
	unsigned calls;

	/* Until neither side takes more. */
	for (i = 0; i < 100;) {
		if (send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL) < 0)
			i++;
		loop_poll(f->loop, false);
	}
	calls = f->calls;
	for (i = 0; i < 20; i++)
		loop_poll(f->loop, false);
	assert_int_equal(f->calls, calls);
	/* Reading sets it going again. */
	while (f->calls == calls)
		ignore(f, fd);
	close(fd);
}

static void one_client_too_many_is_told_so(void **state)
{
	struct fixture *f = *state;
	int fd[CONTROL_CLIENTS_MAX], extra;
	json_t *message;
	unsigned i;

	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fd[i] = client_of(f);
	extra = plug_in(f->path);
	message = hear(f, extra);
	assert_string_equal(str(message, "error.class"), "busy");
	json_decref(message);
	assert_null(hear(f, extra));
	close(extra);
	/* A place that is free again is given away. */
	close(fd[3]);
	while (loop_poll(f->loop, false))
		;
	fd[3] = client_of(f);
	for (i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		expect_ok(f, fd[i], "{\"cmd\": \"echo\"}");
		close(fd[i]);
	}
}

static void storms_of_connections_leave_nothing(void **state)
{
	struct fixture *f = *state;
	int fds = testing_fd_count(), i, fd;

	for (i = 0; i < 500; i++) {
		fd = plug_in(f->path);
		if (i % 3 == 0)
			say_bytes(f, fd, "{\"cmd\":", 7);
		if (i % 5 == 0)
			loop_poll(f->loop, false);
		close(fd);
		while (loop_poll(f->loop, false))
			;
	}
	assert_int_equal(testing_fd_count(), fds);
	fd = client_of(f);
	expect_ok(f, fd, "{\"cmd\": \"echo\"}");
	close(fd);
}

static void commands_describes_the_tables(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);
	json_t *answer = ask(f, fd, "{\"cmd\": \"commands\"}"), *item;
	unsigned found = 0;
	size_t i;

	json_array_foreach(at(answer, "ok.commands"), i, item)
	{
		const char *name = str(item, "name");

		if (strcmp(name, "work") == 0) {
			assert_true(json_is_true(at(item, "job")));
			found |= 1;
		}
		if (strcmp(name, "fail") == 0) {
			const json_t *arg = json_array_get(at(item, "args"), 0);

			assert_string_equal(str(arg, "name"), "how");
			assert_string_equal(str(arg, "type"), "string");
			assert_true(json_is_true(at(arg, "required")));
			found |= 2;
		}
		if (strcmp(name, "job-cancel") == 0)
			found |= 4;
	}
	json_array_foreach(at(answer, "ok.events"), i, item)
	{
		if (strcmp(str(item, "name"), "job") == 0)
			found |= 8;
		if (strcmp(str(item, "name"), "slow") == 0)
			found |= 16;
	}
	assert_int_equal(found, 31);
	json_decref(answer);
	close(fd);
}

/* ---- events ---- */

static void expect_event(struct fixture *f, int fd, const char *name,
	const char *key, json_int_t value)
{
	json_t *message = hear(f, fd);
	char path[32];

	assert_string_equal(str(message, "event"), name);
	snprintf(path, sizeof(path), "data.%s", key);
	assert_int_equal(json_integer_value(at(message, path)), value);
	assert_true(json_integer_value(at(message, "timestamp.seconds")) > 0);
	assert_true(json_is_integer(at(message, "timestamp.microseconds")));
	json_decref(message);
}

static void events_go_to_every_client(void **state)
{
	struct fixture *f = *state;
	int a = client_of(f), b = client_of(f);

	control_event(f->control, "plain", json_pack("{s:i}", "n", 1));
	control_event(f->control, "plain", json_pack("{s:i}", "n", 2));
	expect_event(f, a, "plain", "n", 1);
	expect_event(f, a, "plain", "n", 2);
	expect_event(f, b, "plain", "n", 1);
	expect_event(f, b, "plain", "n", 2);
	close(a);
	close(b);
}

static void too_many_events_of_a_kind_become_the_last(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f), i;

	for (i = 1; i <= 1000; i++)
		control_event(f->control, "quick", json_pack("{s:i}", "n", i));
	expect_event(f, fd, "quick", "n", 1);
	/* Late, but it comes. */
	expect_event(f, fd, "quick", "n", 1000);
	close(fd);
}

static void limits_are_for_each_id(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f), i;

	for (i = 0; i < 3; i++) {
		control_event(f->control, "slow",
			json_pack("{s:i, s:i}", "id", 1, "n", i));
		control_event(f->control, "slow",
			json_pack("{s:i, s:i}", "id", 2, "n", 10 + i));
	}
	control_event(f->control, "plain", json_pack("{s:i}", "n", 99));
	expect_event(f, fd, "slow", "n", 0);
	expect_event(f, fd, "slow", "n", 10);
	expect_event(f, fd, "plain", "n", 99);
	close(fd);
}

/* ---- jobs ---- */

static void expect_job(struct fixture *f, int fd, json_int_t id,
	const char *status, const char *key, json_int_t value)
{
	json_t *message = hear(f, fd);

	assert_string_equal(str(message, "event"), "job");
	assert_int_equal(json_integer_value(at(message, "data.id")), id);
	assert_string_equal(str(message, "data.kind"), "work");
	assert_string_equal(str(message, "data.status"), status);
	if (key)
		assert_int_equal(json_integer_value(at(message, key)), value);
	json_decref(message);
}

static void a_job_is_heard_of_after_its_reply(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f), other = client_of(f);
	json_t *answer = ask(f, fd, "{\"cmd\": \"work\", \"id\": 5}");

	assert_int_equal(json_integer_value(at(answer, "ok.job")), 1);
	json_decref(answer);
	expect_job(f, fd, 1, "running", NULL, 0);
	expect_job(f, other, 1, "running", NULL, 0);
	control_job_end(f->job, 0, NULL, json_pack("{s:i}", "sum", 42));
	expect_job(f, fd, 1, "done", "data.result.sum", 42);
	expect_job(f, other, 1, "done", "data.result.sum", 42);
	close(fd);
	close(other);
}

static void the_end_of_a_job_overtakes_its_progress(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int fd = client_of(f), i;
	json_t *message;

	expect_ok(f, fd, "{\"cmd\": \"work\"}");
	expect_job(f, fd, 1, "running", NULL, 0);
	for (i = 1; i < 50; i++)
		control_job_progress(f->job, json_pack("{s:i}", "n", i));
	error_set(&err, -EIO, "work: broken (mend it)");
	control_job_end(f->job, err.code, &err, NULL);
	expect_job(f, fd, 1, "running", "data.progress.n", 1);
	message = hear(f, fd);
	assert_string_equal(str(message, "data.status"), "failed");
	assert_string_equal(
		str(message, "data.error.desc"), "work: broken (mend it)");
	json_decref(message);
	/* Nothing held back comes after it: it would before the 2. */
	control_event(f->control, "later", json_pack("{s:i}", "n", 1));
	control_event(f->control, "later", json_pack("{s:i}", "n", 2));
	expect_event(f, fd, "later", "n", 1);
	expect_event(f, fd, "later", "n", 2);
	message = ask(f, fd, "{\"cmd\": \"jobs\"}");
	assert_string_equal(
		str(json_array_get(at(message, "ok.jobs"), 0), "status"),
		"failed");
	json_decref(message);
	close(fd);
}

static void a_job_outlives_the_client_that_began_it(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);

	expect_ok(f, fd, "{\"cmd\": \"work\"}");
	close(fd);
	while (loop_poll(f->loop, false))
		;
	control_job_progress(f->job, json_pack("{s:i}", "n", 1));
	fd = client_of(f);
	control_job_end(f->job, 0, NULL, NULL);
	expect_job(f, fd, 1, "done", NULL, 0);
	close(fd);
}

static void cancelling_reaches_jobs_that_can_be(void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);

	expect_error(f, fd, "{\"cmd\": \"job-cancel\", \"args\": {\"id\": 1}}",
		"generic", "there is none");
	expect_ok(f, fd, "{\"cmd\": \"work\"}");
	ignore(f, fd);
	expect_error(f, fd, "{\"cmd\": \"job-cancel\", \"args\": {\"id\": 1}}",
		"generic", "cannot be cancelled");
	control_job_end(f->job, 0, NULL, NULL);
	ignore(f, fd);
	expect_error(f, fd, "{\"cmd\": \"job-cancel\", \"args\": {\"id\": 1}}",
		"generic", "has ended already");
	expect_ok(f, fd, "{\"cmd\": \"work\", \"args\": {\"cancel\": true}}");
	ignore(f, fd);
	expect_ok(f, fd, "{\"cmd\": \"job-cancel\", \"args\": {\"id\": 2}}");
	assert_int_equal(f->cancels, 1);
	expect_error(f, fd, "{\"cmd\": \"job-cancel\", \"args\": {\"id\": 2}}",
		"generic", "asked already");
	expect_error(f, fd, "{\"cmd\": \"job-cancel\", \"args\": {\"id\": -2}}",
		"generic", "there is none");
	close(fd);
}

static void ended_jobs_are_forgotten_oldest_first_running_ones_never(
	void **state)
{
	struct fixture *f = *state;
	int fd = client_of(f);
	struct control_job *first;
	json_t *answer;
	unsigned i;

	expect_ok(f, fd, "{\"cmd\": \"work\"}");
	ignore(f, fd);
	first = f->job;
	for (i = 0; i < CONTROL_JOBS_MAX; i++) {
		expect_ok(f, fd, "{\"cmd\": \"work\"}");
		ignore(f, fd);
		if (i == 0 || i == CONTROL_JOBS_MAX - 1) {
			control_job_end(f->job, 0, NULL, NULL);
			ignore(f, fd);
		}
	}
	/* Job 2 went for the last one, which has ended, too. */
	expect_ok(f, fd, "{\"cmd\": \"work\"}");
	ignore(f, fd);
	expect_error(f, fd, "{\"cmd\": \"work\"}", "busy", "too many");
	answer = ask(f, fd, "{\"cmd\": \"jobs\"}");
	assert_int_equal(
		json_array_size(at(answer, "ok.jobs")), CONTROL_JOBS_MAX);
	assert_int_equal(
		json_integer_value(
			at(json_array_get(at(answer, "ok.jobs"), 0), "id")),
		1);
	assert_int_equal(
		json_integer_value(
			at(json_array_get(at(answer, "ok.jobs"), 1), "id")),
		3);
	json_decref(answer);
	control_job_end(first, 0, NULL, NULL);
	close(fd);
}

/* ---- the file ---- */

static void a_live_socket_is_refused(void **state)
{
	struct fixture *f = *state;
	struct control *second = NULL;
	struct error err;
	int fd;

	assert_int_equal(create(f, &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "a running VM has it"));
	assert_null(second);
	fd = client_of(f); /* the first one is as it was */
	close(fd);
}

static void a_dead_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct error err;
	int fd;

	control_destroy(f->control);
	f->control = NULL;
	strcpy(addr.sun_path, f->path);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* without unlink, as SIGKILL does it */
	assert_int_equal(access(f->path, F_OK), 0);
	assert_int_equal(create(f, &f->control, &err), 0);
	fd = client_of(f);
	close(fd);
}

static void what_is_no_socket_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct control *second = NULL;
	struct error err;
	char buf[8] = "";
	int fd;

	snprintf(f->path, sizeof(f->path), "%s/file", f->dir);
	fd = open(f->path, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, "mine", 4), 4);
	close(fd);
	assert_int_equal(create(f, &second, &err), -EEXIST);
	fd = open(f->path, O_RDONLY);
	assert_int_equal(read(fd, buf, sizeof(buf)), 4);
	close(fd);
	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(symlink("/etc/passwd", f->path), 0);
	assert_int_equal(create(f, &second, &err), -EEXIST);
	assert_int_equal(unlink(f->path), 0);
}

static void somebody_elses_socket_is_not_removed(void **state)
{
	struct fixture *f = *state;
	struct control *second = NULL;
	struct error err;

	assert_int_equal(unlink(f->path), 0);
	assert_int_equal(create(f, &second, &err), 0);
	control_destroy(f->control);
	f->control = second;
	assert_int_equal(access(f->path, F_OK), 0);
}

static void paths_that_cannot_be_are_explained(void **state)
{
	struct control_options opt = {.vm_name = "x"};
	struct fixture *f = *state;
	struct control *second = NULL;
	struct error err;
	char longer[200];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	opt.path = longer;
	assert_int_equal(
		control_create(f->loop, &opt, &second, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "at most 107"));
	opt.path = "/nonexistent/folder/x.sock";
	assert_int_equal(control_create(f->loop, &opt, &second, &err), -ENOENT);
	assert_non_null(strstr(err.text, "folder does not exist"));
	opt.path = "";
	assert_int_equal(control_create(f->loop, &opt, &second, &err), -EINVAL);
	assert_null(second);
}

static void clients_see_the_end(void **state)
{
	struct fixture *f = *state;
	struct error err;
	int fd = client_of(f);
	json_t *message;

	control_event(f->control, "plain", json_pack("{s:i}", "n", 1));
	control_destroy(f->control);
	f->control = NULL;
	message = hear(f, fd);
	assert_string_equal(str(message, "event"), "plain");
	json_decref(message);
	assert_null(hear(f, fd));
	close(fd);
	assert_int_equal(access(f->path, F_OK), -1);
	assert_int_equal(create(f, &f->control, &err), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(greets_with_version_protocol_and_name),
		TEST(socket_is_for_its_owner_only),
		TEST(a_reply_carries_the_id_whatever_it_is),
		TEST(bad_lines_are_refused_and_the_client_goes_on),
		TEST(deep_nesting_is_refused),
		TEST(an_id_that_is_too_long_is_refused),
		TEST(a_line_of_any_length_up_to_the_limit_is_taken),
		TEST(a_line_too_long_is_refused_once_and_the_next_is_taken),
		TEST(errors_have_the_class_that_clients_need),
		TEST(many_commands_at_once_are_answered_in_order),
		TEST(commands_wait_for_the_guard),
		TEST(what_a_client_sent_before_it_left_is_done),
		TEST(half_a_close_still_gets_its_answers),
		TEST(a_client_may_go_in_the_middle_of_its_command),
		TEST(a_client_that_reads_nothing_is_dropped),
		TEST(commands_of_one_that_does_not_read_wait),
		TEST(one_client_too_many_is_told_so),
		TEST(storms_of_connections_leave_nothing),
		TEST(commands_describes_the_tables),
		TEST(events_go_to_every_client),
		TEST(too_many_events_of_a_kind_become_the_last),
		TEST(limits_are_for_each_id),
		TEST(a_job_is_heard_of_after_its_reply),
		TEST(the_end_of_a_job_overtakes_its_progress),
		TEST(a_job_outlives_the_client_that_began_it),
		TEST(cancelling_reaches_jobs_that_can_be),
		TEST(ended_jobs_are_forgotten_oldest_first_running_ones_never),
		TEST(a_live_socket_is_refused),
		TEST(a_dead_socket_is_replaced),
		TEST(what_is_no_socket_is_left_alone),
		TEST(somebody_elses_socket_is_not_removed),
		TEST(paths_that_cannot_be_are_explained),
		TEST(clients_see_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
