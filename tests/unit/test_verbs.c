/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_verbs.c - the client verbs: words to commands, the folder of
 * the sockets, and whole conversations with a server of this process.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <jansson.h>

#include "vmm/client.h"
#include "vmm/error.h"
#include "vmm/help.h"
#include "vmm/log.h"
#include "vmm/progress.h"
#include "vmm/runtime_dir.h"
#include "vmm/verbs.h"

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define WORDS_MOST 16
#define ALARM_S	   TESTING_WATCHDOG_S /* ends what hangs */

/* @line is split at blanks. */
static int parse(
	const char *line, struct verbs_request *ret_request, struct error *err)
{
	static char copy[512];
	char *argv[WORDS_MOST], *rest = copy;
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", line);
	while ((argv[argc] = strsep(&rest, " ")))
		argc++;
	return verbs_parse(argc, argv, ret_request, err);
}

/* ---- words ---- */

static void words_become_commands(void **state)
{
	static const struct {
		const char *line, *cmd, *args;
	} good[] = {
		{"info vm1", "info", "{}"},
		{"pause vm1", "pause", "{}"},
		{"resume vm1 --json", "resume", "{}"},
		{"stop ./x.sock", "stop", "{}"},
		{"reset vm1", "reset", "{}"},
		{"balloon vm1", "balloon", "{}"},
		{"balloon vm1 512M", "balloon", "{\"bytes\": 536870912}"},
		{"balloon vm1 0", "balloon", "{\"bytes\": 0}"},
		{"balloon-stats vm1", "balloon-stats", "{}"},
		{"balloon-stats vm1 --interval 5", "balloon-stats",
			"{\"interval\": 5}"},
		{"throttle vm1 0", "throttle", "{\"percent\": 0}"},
		{"cpu set vm1 4", "cpu-set", "{\"count\": 4}"},
		{"cpu set vm1 --timeout 500 4", "cpu-set",
			"{\"count\": 4, \"timeout_ms\": 500}"},
		{"cpu set vm1 4 --timeout=7", "cpu-set",
			"{\"count\": 4, \"timeout_ms\": 7}"},
		{"jobs vm1", "jobs", "{}"},
		{"cancel vm1 12", "job-cancel", "{\"id\": 12}"},
		{"command vm1 echo", "echo", "{}"},
		{"command vm1 echo {\"a\":[1]}", "echo", "{\"a\": [1]}"},
		{"migrate vm1 tcp:h:1", "migrate",
			"{\"address\": \"tcp:h:1\"}"},
		{"migrate vm1 unix:/a/b", "migrate",
			"{\"address\": \"unix:/a/b\"}"},
		{"migrate vm1 fd:3,4 --postcopy after=2 --bandwidth 3M "
		 "--push-bandwidth 1K "
		 "--max-downtime 5 --max-rounds 9 --timeout 100",
			"migrate",
			"{\"address\": \"fd:3,4\", \"postcopy\": \"after=2\", "
			"\"bandwidth\": 3145728, \"push_bandwidth\": 1024, "
			"\"max_downtime_ms\": 5, "
			"\"max_rounds\": 9, \"timeout_ms\": 100}"},
		{"migrate vm1 tcp:h:1 --postcopy after=2 --postcopy stalled",
			"migrate",
			"{\"address\": \"tcp:h:1\", \"postcopy\": "
			"\"stalled\"}"},
		{"migrate vm1 tcp:h:1 --timeline t.json", "migrate",
			"{\"address\": \"tcp:h:1\", \"timeline\": true}"},
		{"postcopy vm1", "migrate-postcopy", "{}"},
		{"snapshot vm1 /a/b", "snapshot", "{\"file\": \"/a/b\"}"},
		{"snapshot vm1 /a/b --keep-paused", "snapshot",
			"{\"file\": \"/a/b\", \"then\": \"pause\"}"},
		{"snapshot vm1 --stop -- /a/b", "snapshot",
			"{\"file\": \"/a/b\", \"then\": \"stop\"}"},
	};
	struct verbs_request req;
	struct error err;
	unsigned i;

	for (i = 0; i < COUNT(good); i++) {
		json_t *want = json_loads(good[i].args, 0, NULL);

		if (parse(good[i].line, &req, &err) < 0)
			fail_msg("%s: %s", good[i].line, err.text);
		assert_string_equal(req.cmd, good[i].cmd);
		if (!json_equal(req.args, want))
			fail_msg("%s: other arguments: %s", good[i].line,
				json_dumps(req.args, 0));
		json_decref(want);
		verbs_fini(&req);
	}
}

static void bad_words_are_refused_with_a_remedy(void **state)
{
	static const struct {
		const char *line, *part;
	} bad[] = {
		{"info", "info NAME"},
		{"info ", "info NAME"},
		{"info vm1 vm2", "info NAME"},
		{"info --frob vm1", "--frob: unknown option"},
		{"info -x vm1", "-x: unknown option"},
		{"cpu vm1 4", "cpu set NAME N"},
		{"balloon", "balloon NAME [SIZE]"},
		{"balloon vm1 x", "'x' is not a size"},
		{"balloon vm1 -1", "-1: unknown option"},
		{"balloon vm1 1M 2M", "balloon NAME [SIZE]"},
		{"balloon-stats vm1 1", "balloon-stats NAME"},
		{"balloon-stats vm1 --interval x", "no such number"},
		{"cpu", "cpu set NAME N"},
		{"cpu set vm1", "cpu set NAME N"},
		{"cpu set vm1 0", "'0'"},
		{"cpu set vm1 -1", "-1: unknown option"},
		{"cpu set vm1 4x", "'4x'"},
		{"cpu set vm1 99999999999", "'99999999999'"},
		{"cpu set vm1 4 --timeout", "--timeout: the value is missing"},
		{"cpu set vm1 4 --timeout 0", "--timeout: '0'"},
		{"cancel vm1 x", "JOB: 'x'"},
		{"command vm1", "command NAME CMD [JSON]"},
		{"command vm1 x {", "no JSON object"},
		{"command vm1 x [1]", "something else"},
		{"command vm1 x {\"a\":1,\"a\":2}", "duplicate"},
		{"migrate vm1", "migrate NAME ADDR"},
		{"migrate vm1 unix:", "file name is empty"},
		{"migrate vm1 tcp:h:1 --postcopy soon", "--postcopy soon"},
		{"migrate vm1 tcp:h:1 --postcopy after=0",
			"after=0: no number"},
		{"migrate vm1 tcp:h:1 --bandwidth fast", "--bandwidth fast"},
		{"migrate vm1 tcp:h:1 --timeline=", "file name is empty"},
		{"snapshot vm1 f --stop --keep-paused", "exclude each other"},
		{"snapshot vm1 f --stop=1", "--stop takes no value"},
		{"migrate vm1 \xff", "not UTF-8"},
	};
	struct verbs_request req;
	struct error err;
	unsigned i;

	for (i = 0; i < COUNT(bad); i++) {
		if (parse(bad[i].line, &req, &err) != -EINVAL)
			fail_msg("%s: not refused", bad[i].line);
		if (!strstr(err.text, bad[i].part) || !strchr(err.text, '('))
			fail_msg("%s: %s", bad[i].line, err.text);
		verbs_fini(&req);
	}
}

static void relative_files_become_absolute(void **state)
{
	struct verbs_request req;
	char cwd[4096], want[4200];
	struct error err;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(parse("snapshot vm1 a/b", &req, &err), 0);
	snprintf(want, sizeof(want), "%s/a/b", cwd);
	assert_string_equal(
		json_string_value(json_object_get(req.args, "file")), want);
	verbs_fini(&req);
	assert_int_equal(parse("migrate vm1 unix:s", &req, &err), 0);
	snprintf(want, sizeof(want), "unix:%s/s", cwd);
	assert_string_equal(
		json_string_value(json_object_get(req.args, "address")), want);
	verbs_fini(&req);
}

static void every_verb_has_a_help_text(void **state)
{
	static const char *const words[] = {"info", "pause", "resume", "reset",
		"stop", "cpu", "throttle", "balloon", "balloon-stats", "jobs",
		"cancel", "command", "migrate", "postcopy", "snapshot"};
	struct verbs_request req;
	struct error err;
	char line[64];
	FILE *out = fopen("/dev/null", "w");
	unsigned i;

	for (i = 0; i < COUNT(words); i++) {
		assert_true(verbs_knows(words[i]));
		assert_int_equal(help_print(words[i], out), 0);
		snprintf(line, sizeof(line), "%s --help", words[i]);
		assert_int_equal(parse(line, &req, &err), 0);
		assert_true(req.help);
		verbs_fini(&req);
	}
	assert_false(verbs_knows("run"));
	assert_false(verbs_knows("set"));
	fclose(out);
}

/* ---- the folder ---- */

static void folder_follows_user_and_environment(void **state)
{
	static const struct {
		uid_t uid;
		const char *godwit, *xdg, *want;
	} cases[] = {
		{0, NULL, NULL, "/run/godwit"},
		{0, NULL, "/run/user/0", "/run/godwit"},
		{1000, NULL, "/run/user/1000", "/run/user/1000/godwit"},
		{1000, NULL, NULL, "/tmp/godwit-1000"},
		{1000, NULL, "relative", "/tmp/godwit-1000"},
		{1000, "", NULL, "/tmp/godwit-1000"},
		{0, "/x", "/y", "/x"},
		{1000, "/x", "/y", "/x"},
	};
	unsigned i;
	char *dir;

	for (i = 0; i < COUNT(cases); i++) {
		dir = runtime_dir_choose(
			cases[i].uid, cases[i].godwit, cases[i].xdg);
		assert_string_equal(dir, cases[i].want);
		free(dir);
	}
}

static void folder_is_made_private_and_others_are_refused(void **state)
{
	char top[] = "/tmp/godwit-test.XXXXXX", dir[64], link[64];
	struct error err;
	struct stat st;
	uid_t me = geteuid();

	assert_non_null(mkdtemp(top));
	snprintf(dir, sizeof(dir), "%s/d", top);
	snprintf(link, sizeof(link), "%s/l", top);
	assert_int_equal(runtime_dir_check(dir, me, false, &err), -ENOENT);
	assert_int_equal(runtime_dir_check(dir, me, true, &err), 0);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(runtime_dir_check(dir, me, true, &err), 0);
	/* Somebody else's */
	assert_int_equal(runtime_dir_check(dir, me + 1, true, &err), -EPERM);
	assert_non_null(strstr(err.text, "belongs to user"));
	/* Open to others */
	assert_int_equal(chmod(dir, 0750), 0);
	assert_int_equal(runtime_dir_check(dir, me, true, &err), -EPERM);
	assert_non_null(strstr(err.text, "chmod 700"));
	assert_int_equal(chmod(dir, 0700), 0);
	/* By a symbolic link */
	assert_int_equal(symlink(dir, link), 0);
	assert_true(runtime_dir_check(link, me, true, &err) < 0);
	assert_int_equal(unlink(link), 0);
	/* A file */
	close(open(link, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(runtime_dir_check(link, me, true, &err), -ENOTDIR);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(runtime_dir_check("x", me, true, &err), -EINVAL);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(rmdir(top), 0);
}

static void names_cannot_leave_the_folder(void **state)
{
	static const char *const bad[] = {"", "a/b", "a b", "\xff", "a\n"};
	struct error err;
	char *path;
	unsigned i;

	for (i = 0; i < COUNT(bad); i++)
		assert_int_equal(runtime_dir_socket(bad[i], false, &path, &err),
			-EINVAL);
}

/* ---- conversations ---- */

#define GREETING                                                               \
	"{\"godwit\": {\"version\": \"x\", \"protocol\": 1, \"name\": \"n\"}}\n"

/* A server that says what it was told to, after each line it hears. */
struct server {
	char dir[32], path[64];
	int fd;
	const char *const *say; /* [0] on connect; NULL ends and closes */
	pthread_t thread;
	unsigned interrupts; /* SIGINTs to victim, after each reply */
	pthread_t victim;
	char heard[8][512];
	unsigned lines;
};

static bool hear_line(int fd, char *line, size_t size)
{
	size_t len = 0;

	while (len < size - 1 && recv(fd, line + len, 1, 0) == 1)
		if (line[len++] == '\n') {
			line[len] = '\0';
			return true;
		}
	return false;
}

static void *serve(void *opaque)
{
	struct server *s = opaque;
	int fd = accept(s->fd, NULL, NULL);
	unsigned i;

	for (i = 0; s->say[i]; i++) {
		if (send(fd, s->say[i], strlen(s->say[i]), MSG_NOSIGNAL) < 0)
			break;
		if (i >= 1 && i <= s->interrupts)
			pthread_kill(s->victim, SIGINT);
		if (!s->say[i + 1])
			break;
		if (i < COUNT(s->heard)) {
			if (!hear_line(fd, s->heard[i], sizeof(s->heard[i])))
				break;
			s->lines = i + 1;
		}
	}
	close(fd);
	return NULL;
}

static void server_start(struct server *s, const char *const *say)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	alarm(ALARM_S);
	strcpy(s->dir, "/tmp/godwit-test.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/s", s->dir);
	strcpy(addr.sun_path, s->path);
	s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(
		bind(s->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(s->fd, 1), 0);
	s->say = say;
	s->victim = pthread_self();
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
	pthread_join(s->thread, NULL);
	close(s->fd);
	unlink(s->path);
	rmdir(s->dir);
}

/* Run "VERB path ..." against a server that says @say.
 * @ret_out: what was printed, to be freed. */
static int converse(struct server *s, const char *const *say, const char *verb,
	const char *rest, char **ret_out, struct error *err)
{
	struct verbs_request req;
	char line[256];
	size_t size;
	FILE *out = open_memstream(ret_out, &size);
	int ret;

	log_set_level(LOG_ERROR);
	server_start(s, say);
	snprintf(line, sizeof(line), "%s %s%s", verb, s->path, rest);
	if (parse(line, &req, err) < 0)
		fail_msg("%s", err->text);
	ret = verbs_run(&req, out, err);
	verbs_fini(&req);
	fclose(out);
	server_end(s);
	return ret;
}

static void data_is_shown_as_lines(void **state)
{
	static const char *const say[] = {GREETING,
		"{\"event\": \"vm-state\", \"data\": {}}\n"
		"{\"ok\": {\"state\": \"paused\", \"cpus\": {\"present\": 2}, "
		"\"devices\": [{\"name\": \"a\\u001b\", \"n\": 1}]}, \"id\": "
		"1}\n",
		NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(converse(&s, say, "info", "", &out, &err), 0);
	/* Nothing that could steer a terminal comes through. */
	assert_string_equal(out, "state: paused\ncpus:\n  present: 2\n"
				 "devices:\n  a? n=1\n");
	free(out);
}

static void a_refusal_is_an_error(void **state)
{
	static const char *const say[] = {GREETING,
		"{\"error\": {\"class\": \"busy\", \"desc\": \"pause: no\"}, "
		"\"id\": 1}\n",
		NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(
		converse(&s, say, "pause", "", &out, &err), -EREMOTEIO);
	assert_string_equal(err.text, "pause: no");
	free(out);
}

static void a_lost_connection_says_what_is_not_known(void **state)
{
	static const char *const early[] = {GREETING, "", NULL};
	static const char *const late[] = {
		GREETING, "{\"ok\": {\"job\": 3}, \"id\": 1}\n", NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(
		converse(&s, early, "pause", "", &out, &err), -ECONNRESET);
	assert_non_null(strstr(err.text, "whether it was done is not known"));
	free(out);
	assert_int_equal(converse(&s, late, "migrate", " tcp:h:1", &out, &err),
		-ECONNRESET);
	assert_non_null(strstr(err.text, "how job 3 ended is not known"));
	free(out);
}

#define STATS                                                                  \
	"{\"phase\": \"postcopy\", \"round\": 3, \"ram_bytes\": 1048576, "     \
	"\"bytes_per_s\": 1048576, \"dirty_pages_per_s\": 0, \"pages\": "      \
	"{\"left\": 128, \"full\": 7}, \"downtime\": {\"total_us\": 900, "     \
	"\"save_us\": 100}}"

static void a_job_is_followed_to_its_end(void **state)
{
	static const char *const say[] = {GREETING,
		"{\"ok\": {\"job\": 3}, \"id\": 1}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 2, \"status\": "
		"\"failed\"}}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"running\"}}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"running\", \"progress\": " STATS "}}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"done\", \"result\": " STATS "}}\n",
		NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(
		converse(&s, say, "migrate", " tcp:h:1", &out, &err), 0);
	assert_non_null(strstr(out, "postcopy  50%  1 MiB/s  round 3  "
				    "ETA 0 s\n"));
	assert_non_null(strstr(out, "downtime:  900 us:  save 100 us\n"));
	free(out);
}

static void a_snapshot_shows_its_bytes_and_no_phases(void **state)
{
	static const char *const say[] = {GREETING,
		"{\"ok\": {\"job\": 3}, \"id\": 1}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"running\", \"progress\": {\"phase\": \"idle\", \"bytes\": "
		"5242880}}}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"done\", \"result\": {\"phase\": \"idle\", \"bytes\": "
		"10485760, \"pages\": {\"full\": 3, \"zero\": 4}}}}\n",
		NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(converse(&s, say, "snapshot", " /f", &out, &err), 0);
	assert_string_equal(out, "snapshot: 5 MiB\n"
				 "bytes:     10.0 MiB\n"
				 "pages:     3 full, 4 zero\n");
	free(out);
}

static void a_failed_job_is_an_error_also_as_json(void **state)
{
	static const char *const say[] = {GREETING,
		"{\"ok\": {\"job\": 3}, \"id\": 1}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"failed\", \"error\": {\"desc\": \"no ejection\"}}}\n",
		NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(converse(&s, say, "cpu set", " 2 --json", &out, &err),
		-EREMOTEIO);
	assert_string_equal(err.text, "no ejection");
	assert_non_null(strstr(out, "\"status\":\"failed\""));
	free(out);
}

static void an_interrupt_cancels_the_job_and_waits_for_its_end(void **state)
{
	/* What the server hears after its interrupt is the cancel. */
	static const char *const say[] = {GREETING,
		"{\"ok\": {\"job\": 3}, \"id\": 1}\n",
		"{\"ok\": {}, \"id\": 2}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 3, \"status\": "
		"\"failed\", \"error\": {\"desc\": \"cancelled\"}}}\n",
		NULL};
	struct server s = {.fd = -1, .interrupts = 1};
	struct error err;
	char *out;

	assert_int_equal(converse(&s, say, "migrate", " tcp:h:1", &out, &err),
		-EREMOTEIO);
	assert_string_equal(err.text, "cancelled");
	assert_int_equal(s.lines, 2);
	assert_non_null(strstr(s.heard[1], "\"cmd\":\"job-cancel\""));
	assert_non_null(strstr(s.heard[1], "\"id\":3"));
	free(out);
}

static void a_second_interrupt_leaves_the_job_to_itself(void **state)
{
	static const char *const say[] = {
		GREETING, "{\"ok\": {\"job\": 3}, \"id\": 1}\n", "", "", NULL};
	struct server s = {.fd = -1, .interrupts = 2};
	struct error err;
	char *out;

	assert_int_equal(
		converse(&s, say, "migrate", " tcp:h:1", &out, &err), -EINTR);
	assert_non_null(strstr(err.text, "job 3 goes on"));
	free(out);
}

static void a_peer_that_is_no_godwit_is_refused(void **state)
{
	static const char *const http[] = {"HTTP/1.1 400 Bad Request\n", NULL};
	static const char *const other[] = {
		"{\"godwit\": {\"protocol\": 2}}\n", NULL};
	static const char *const full[] = {
		"{\"error\": {\"desc\": \"too many clients\"}}\n", NULL};
	struct server s = {.fd = -1};
	struct error err;
	char *out;

	assert_int_equal(converse(&s, http, "info", "", &out, &err), -EPROTO);
	free(out);
	assert_int_equal(converse(&s, other, "info", "", &out, &err), -EPROTO);
	free(out);
	assert_int_equal(converse(&s, full, "info", "", &out, &err), -EBUSY);
	assert_non_null(strstr(err.text, "too many clients"));
	free(out);
}

static void a_timeline_goes_to_its_file(void **state)
{
	static const char *const say[] = {GREETING,
		"{\"ok\": {\"job\": 1}, \"id\": 1}\n"
		"{\"event\": \"job\", \"data\": {\"id\": 1, \"status\": "
		"\"done\", \"result\": {\"timeline\": \"{}\\n{}\\n\"}}}\n",
		NULL};
	struct server s = {.fd = -1};
	char file[] = "/tmp/godwit-test.XXXXXX", rest[64], buf[16] = "";
	struct error err;
	char *out;
	int fd = mkstemp(file);

	snprintf(rest, sizeof(rest), " tcp:h:1 --json --timeline %s", file);
	assert_int_equal(converse(&s, say, "migrate", rest, &out, &err), 0);
	assert_int_equal(read(fd, buf, sizeof(buf)), 6);
	assert_string_equal(buf, "{}\n{}\n");
	assert_null(strstr(out, "timeline"));
	free(out);
	close(fd);
	unlink(file);
}

static void no_such_vm_says_how_to_start_one(void **state)
{
	struct verbs_request req;
	struct error err;

	assert_int_equal(parse("info /nonexistent/x", &req, &err), 0);
	assert_int_equal(verbs_run(&req, stdout, &err), -ENOENT);
	verbs_fini(&req);
}

/* ---- a hostile server ---- */

static void a_line_shows_what_is_known(void **state)
{
	static const struct {
		const char *stats, *line;
	} cases[] = {
		{"{\"phase\": \"precopy\", \"round\": 1, \"elapsed_ms\": 500, "
		 "\"bytes\": 5242880, \"ram_bytes\": 0}",
			"precopy   10 MiB/s  round 1"},
		{"{\"phase\": \"precopy\", \"round\": 2, \"ram_bytes\": "
		 "4194304, \"bytes_per_s\": 2097152, \"dirty_pages_per_s\": "
		 "256, \"expected_downtime_us\": 1500, \"pages\": {\"left\": "
		 "512}}",
			"precopy   50%  2 MiB/s  dirty 1 MiB/s  round 2  "
			"downtime ~1.5 ms  ETA 2 s"},
		{"{\"phase\": \"idle\"}", "work: 0 MiB"},
		{"{}", "work: running"},
	};
	char line[PROGRESS_LINE_MAX];
	unsigned i;

	for (i = 0; i < COUNT(cases); i++) {
		json_t *stats = json_loads(cases[i].stats, 0, NULL);

		progress_line("work", stats, line, sizeof(line));
		assert_string_equal(line, cases[i].line);
		json_decref(stats);
	}
}

static void anything_can_be_shown(void **state)
{
	static const char *const odd[] = {"{}", "[]", "null", "7",
		"{\"phase\": 7, \"pages\": [], \"downtime\": \"x\", "
		"\"faults\": {\"count\": 5, \"histogram\": [1, {}]}}",
		"{\"phase\": \"x\", \"ram_bytes\": -5, \"bytes_per_s\": 1e300, "
		"\"pages\": {\"left\": 1e300}, \"elapsed_ms\": -1}",
		"{\"jobs\": [1, {\"progress\": 5, \"error\": []}]}"};
	char line[PROGRESS_LINE_MAX], tiny[4];
	FILE *out = fopen("/dev/null", "w");
	unsigned i;

	for (i = 0; i < COUNT(odd); i++) {
		json_t *value = json_loads(odd[i], JSON_DECODE_ANY, NULL);

		assert_non_null(value);
		progress_line("x", value, line, sizeof(line));
		progress_line("x", value, tiny, sizeof(tiny));
		assert_true(strlen(tiny) < sizeof(tiny));
		progress_summary(value, out);
		progress_tree(value, out);
		progress_jobs(value, out);
		json_decref(value);
	}
	fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_become_commands),
		cmocka_unit_test(bad_words_are_refused_with_a_remedy),
		cmocka_unit_test(relative_files_become_absolute),
		cmocka_unit_test(every_verb_has_a_help_text),
		cmocka_unit_test(folder_follows_user_and_environment),
		cmocka_unit_test(folder_is_made_private_and_others_are_refused),
		cmocka_unit_test(names_cannot_leave_the_folder),
		cmocka_unit_test(data_is_shown_as_lines),
		cmocka_unit_test(a_refusal_is_an_error),
		cmocka_unit_test(a_lost_connection_says_what_is_not_known),
		cmocka_unit_test(a_job_is_followed_to_its_end),
		cmocka_unit_test(a_snapshot_shows_its_bytes_and_no_phases),
		cmocka_unit_test(a_failed_job_is_an_error_also_as_json),
		cmocka_unit_test(
			an_interrupt_cancels_the_job_and_waits_for_its_end),
		cmocka_unit_test(a_second_interrupt_leaves_the_job_to_itself),
		cmocka_unit_test(a_peer_that_is_no_godwit_is_refused),
		cmocka_unit_test(a_timeline_goes_to_its_file),
		cmocka_unit_test(no_such_vm_says_how_to_start_one),
		cmocka_unit_test(a_line_shows_what_is_known),
		cmocka_unit_test(anything_can_be_shown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
