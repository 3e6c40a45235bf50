/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/verbs.c - see verbs.h: from words to a command. */
#include "vmm/verbs.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/config.h"
#include "vmm/config_list.h"
#include "vmm/config_values.h"
#include "vmm/error.h"

#define COUNT(a)       (sizeof(a) / sizeof((a)[0]))
#define VERB_WORDS_MAX 3

typedef int value_fn(
	struct verbs_request *req, const char *value, struct error *err);

struct option {
	const char *name;
	const char *value; /* what it is called; NULL: takes none */
	value_fn *fn;	   /* value "" for one that takes none */
};

struct verb {
	const char *word;
	const char *second; /* "set" of "cpu set"; or NULL */
	const char *cmd;
	const char *usage;		       /* of the words */
	unsigned min, max;		       /* words after the verb */
	value_fn *word_fn[VERB_WORDS_MAX - 1]; /* for those after NAME */
	const struct option *options;	       /* name NULL ends; or NULL */
	enum verbs_show show;
	bool job, last;
};

/* ---- values ---- */

/* Takes @value. */
static int put(struct verbs_request *req, const char *key, json_t *value,
	struct error *err)
{
	if (json_object_set_new(req->args, key, value) < 0)
		return error_errno(err, -ENOMEM, "%s", req->verb);
	return 0;
}

static int put_text(struct verbs_request *req, const char *key,
	const char *value, struct error *err)
{
	json_t *text = json_string(value);

	if (!text)
		return error_set(err, -EINVAL,
			"%s: '%.160s' is not UTF-8 (a command is JSON, which "
			"cannot hold it)",
			req->verb, value);
	return put(req, key, text, err);
}

static int put_number(struct verbs_request *req, const char *key,
	const char *what, const char *value, uint32_t min, struct error *err)
{
	uint32_t number;

	if (config_parse_u32(value, &number) < 0 || number < min)
		return error_set(err, -EINVAL,
			"%s: %s: '%.60s' is no such number (give %u or more, in "
			"digits)",
			req->verb, what, value, min);
	return put(req, key, json_integer(number), err);
}

/* @before and the absolute form of @path. */
static int put_path(struct verbs_request *req, const char *key,
	const char *before, const char *path, struct error *err)
{
	char cwd[PATH_MAX] = "", *text;
	int ret;

	if (path[0] == '\0')
		return error_set(err, -EINVAL,
			"%s: the file name is empty (give FILE)", req->verb);
	if (path[0] != '/' && !getcwd(cwd, sizeof(cwd)))
		return error_errno(err, -errno,
			"%s: the working directory (give an absolute path)",
			req->verb);
	if (asprintf(&text, "%s%s%s%s", before, cwd, cwd[0] ? "/" : "", path) <
		0)
		return error_errno(err, -ENOMEM, "%s", req->verb);
	ret = put_text(req, key, text, err);
	free(text);
	return ret;
}

static int take_count(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(req, "count", "N", value, 1, err);
}

static int take_job(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(req, "id", "JOB", value, 1, err);
}

static int take_cmd(
	struct verbs_request *req, const char *value, struct error *err)
{
	req->cmd = value;
	return 0;
}

static int take_json(
	struct verbs_request *req, const char *value, struct error *err)
{
	json_error_t why;
	json_t *args = json_loads(value, JSON_REJECT_DUPLICATES, &why);

	if (!json_is_object(args)) {
		json_decref(args);
		return error_set(err, -EINVAL,
			"%s: the arguments are no JSON object: %s (give "
			"'{\"key\": value}')",
			req->verb, args ? "something else" : why.text);
	}
	json_decref(req->args);
	req->args = args;
	return 0;
}

/* The VM's process resolves it, and is elsewhere in the file system. */
static int take_address(
	struct verbs_request *req, const char *value, struct error *err)
{
	static const char *const local[] = {"unix:", "file:"};
	unsigned i;

	for (i = 0; i < COUNT(local); i++)
		if (strncmp(value, local[i], strlen(local[i])) == 0)
			return put_path(req, "address", local[i],
				value + strlen(local[i]), err);
	return put_text(req, "address", value, err);
}

static int take_file(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_path(req, "file", "", value, err);
}

static int take_timeout(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(req, "timeout_ms", "--timeout", value, 1, err);
}

static int take_postcopy(
	struct verbs_request *req, const char *value, struct error *err)
{
	static const char *const plain[] = {
		"never", "manual", "stalled", "immediate"};
	uint32_t rounds;
	unsigned i;

	for (i = 0; i < COUNT(plain); i++)
		if (strcmp(value, plain[i]) == 0)
			return put_text(req, "postcopy", value, err);
	if (strncmp(value, "after=", 6) != 0)
		return error_set(err, -EINVAL,
			"%s: --postcopy %.60s: no such way (give never, manual, "
			"after=N, stalled or immediate)",
			req->verb, value);
	if (config_parse_u32(value + 6, &rounds) < 0 || rounds == 0)
		return error_set(err, -EINVAL,
			"%s: --postcopy %.60s: no number of rounds (give 1 or "
			"more, in digits)",
			req->verb, value);
	return put_text(req, "postcopy", value, err);
}

static int take_downtime(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(
		req, "max_downtime_ms", "--max-downtime", value, 1, err);
}

static int put_rate(struct verbs_request *req, const char *name,
	const char *option, const char *value, struct error *err)
{
	uint64_t bytes;

	if (config_parse_size(value, &bytes) < 0 || bytes > INT64_MAX)
		return error_set(err, -EINVAL,
			"%s: %s %.60s: not a rate (give bytes a second, or "
			"with K, M or G; 0: no limit)",
			req->verb, option, value);
	return put(req, name, json_integer((json_int_t)bytes), err);
}

static int take_bandwidth(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_rate(req, "bandwidth", "--bandwidth", value, err);
}

static int take_push_bandwidth(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_rate(req, "push_bandwidth", "--push-bandwidth", value, err);
}

static int take_rounds(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(req, "max_rounds", "--max-rounds", value, 1, err);
}

static int take_timeline(
	struct verbs_request *req, const char *value, struct error *err)
{
	if (value[0] == '\0')
		return error_set(err, -EINVAL,
			"%s: --timeline: the file name is empty (give "
			"--timeline FILE)",
			req->verb);
	req->timeline = value;
	return put(req, "timeline", json_true(), err);
}

static int then(struct verbs_request *req, const char *word, struct error *err)
{
	json_t *was = json_object_get(req->args, "then");

	if (was && strcmp(json_string_value(was), word) != 0)
		return error_set(err, -EINVAL,
			"%s: --keep-paused and --stop exclude each other (give "
			"one)",
			req->verb);
	return put_text(req, "then", word, err);
}

static int then_pause(
	struct verbs_request *req, const char *value, struct error *err)
{
	return then(req, "pause", err);
}

static int then_stop(
	struct verbs_request *req, const char *value, struct error *err)
{
	return then(req, "stop", err);
}

static int take_bytes(
	struct verbs_request *req, const char *value, struct error *err)
{
	uint64_t bytes;

	if (config_parse_size(value, &bytes) < 0 || bytes > INT64_MAX)
		return error_set(err, -EINVAL,
			"%s: SIZE: '%.60s' is not a size (give bytes, or with "
			"K, M or G; 0: the guest gets all back)",
			req->verb, value);
	return put(req, "bytes", json_integer((json_int_t)bytes), err);
}

static int take_disk(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_text(req, "disk", value, err);
}

static int take_size(
	struct verbs_request *req, const char *value, struct error *err)
{
	uint64_t bytes;

	if (config_parse_size(value, &bytes) < 0 || bytes == 0 ||
		bytes > INT64_MAX)
		return error_set(err, -EINVAL,
			"%s: SIZE: '%.60s' is not a size (give bytes, or with "
			"K, M, G or T)",
			req->verb, value);
	return put(req, "bytes", json_integer((json_int_t)bytes), err);
}

static int take_shrink(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put(req, "shrink", json_true(), err);
}

static int take_limit(struct verbs_request *req, const struct config_item *item,
	struct error *err)
{
	struct bucket_limits limits;
	uint64_t *slot, value;

	if (!item->value || config_parse_size(item->value, &value) < 0 ||
		value > INT64_MAX ||
		!config_limit_slot(&limits, item->key, &slot))
		return error_set(err, -EINVAL,
			"%s: LIMITS: '%.60s' is not understood (give none, or "
			"iops=N,bps=N and the like, as for --disk)",
			req->verb, item->key);
	return put(req, item->key, json_integer((json_int_t)value), err);
}

static int take_limits(
	struct verbs_request *req, const char *value, struct error *err)
{
	struct config_item item;
	const char *pos = value;
	int ret;

	if (strcmp(value, "none") == 0)
		return 0;
	while ((ret = config_list_next(&pos, &item)) > 0) {
		ret = take_limit(req, &item, err);
		free(item.key);
		if (ret < 0)
			return ret;
	}
	return ret;
}

static int take_interval(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(req, "interval", "--interval", value, 0, err);
}

static int take_percent(
	struct verbs_request *req, const char *value, struct error *err)
{
	return put_number(req, "percent", "PERCENT", value, 0, err);
}

/* ---- the table ---- */

static const struct option cpu_options[] = {
	{"timeout", "MS", take_timeout},
	{.name = NULL},
};
static const struct option migrate_options[] = {
	{"postcopy", "never|manual|after=N|stalled|immediate", take_postcopy},
	{"max-downtime", "MS", take_downtime},
	{"bandwidth", "RATE", take_bandwidth},
	{"push-bandwidth", "RATE", take_push_bandwidth},
	{"max-rounds", "N", take_rounds},
	{"timeout", "MS", take_timeout},
	{"timeline", "FILE", take_timeline},
	{.name = NULL},
};
static const struct option snapshot_options[] = {
	{"keep-paused", NULL, then_pause},
	{"stop", NULL, then_stop},
	{.name = NULL},
};

static const struct option balloon_stats_options[] = {
	{"interval", "SECONDS", take_interval},
	{.name = NULL},
};

static const struct option disk_resize_options[] = {
	{"shrink", NULL, take_shrink},
	{.name = NULL},
};

static const struct verb verbs[] = {
	{"info", NULL, "info", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_TREE, false,
		false},
	{"pause", NULL, "pause", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_NOTHING,
		false, false},
	{"resume", NULL, "resume", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_NOTHING,
		false, false},
	{"reset", NULL, "reset", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_NOTHING,
		false, false},
	{"stop", NULL, "stop", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_NOTHING,
		false, true},
	{"cpu", "set", "cpu-set", "NAME N", 2, 2, {take_count}, cpu_options,
		VERBS_SHOW_NOTHING, true, false},
	{"throttle", NULL, "throttle", "NAME PERCENT", 2, 2, {take_percent},
		NULL, VERBS_SHOW_NOTHING, false, false},
	{"balloon", NULL, "balloon", "NAME [SIZE]", 1, 2, {take_bytes}, NULL,
		VERBS_SHOW_TREE, false, false},
	{"balloon-stats", NULL, "balloon-stats", "NAME", 1, 1, {0},
		balloon_stats_options, VERBS_SHOW_TREE, false, false},
	{"disks", NULL, "disks", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_TREE,
		false, false},
	{"disk-resize", NULL, "disk-resize", "NAME DISK [SIZE]", 2, 3,
		{take_disk, take_size}, disk_resize_options, VERBS_SHOW_NOTHING,
		false, false},
	{"disk-throttle", NULL, "disk-throttle", "NAME DISK LIMITS", 3, 3,
		{take_disk, take_limits}, NULL, VERBS_SHOW_NOTHING, false,
		false},
	{"jobs", NULL, "jobs", "NAME", 1, 1, {0}, NULL, VERBS_SHOW_JOBS, false,
		false},
	{"cancel", NULL, "job-cancel", "NAME JOB", 2, 2, {take_job}, NULL,
		VERBS_SHOW_NOTHING, false, false},
	{"command", NULL, NULL, "NAME CMD [JSON]", 2, 3, {take_cmd, take_json},
		NULL, VERBS_SHOW_JSON, false, false},
	{"migrate", NULL, "migrate", "NAME ADDR", 2, 2, {take_address},
		migrate_options, VERBS_SHOW_NOTHING, true, false},
	{"postcopy", NULL, "migrate-postcopy", "NAME", 1, 1, {0}, NULL,
		VERBS_SHOW_NOTHING, false, false},
	{"snapshot", NULL, "snapshot", "NAME FILE", 2, 2, {take_file},
		snapshot_options, VERBS_SHOW_NOTHING, true, false},
};

static const struct verb *find_verb(const char *word)
{
	unsigned i;

	for (i = 0; i < COUNT(verbs); i++)
		if (strcmp(verbs[i].word, word) == 0)
			return &verbs[i];
	return NULL;
}

bool verbs_knows(const char *word)
{
	return find_verb(word) != NULL;
}

/* ---- the walk over argv ---- */

static int usage(const struct verb *verb, struct error *err)
{
	return error_set(err, -EINVAL,
		"%s: give `godwit %s%s%s %s [option...]` (see `godwit help "
		"%s`)",
		verb->word, verb->word, verb->second ? " " : "",
		verb->second ? verb->second : "", verb->usage, verb->word);
}

static const struct option *find_option(
	const struct verb *verb, const char *name, size_t len)
{
	const struct option *opt;

	for (opt = verb->options; opt && opt->name; opt++)
		if (strlen(opt->name) == len &&
			memcmp(opt->name, name, len) == 0)
			return opt;
	return NULL;
}

/* argv[0] begins with '-'.  Return: the words used, or -EINVAL. */
static int take_option(const struct verb *verb, int argc, char *const *argv,
	struct verbs_request *req, struct error *err)
{
	const char *name = argv[0] + 1, *value = strchr(name, '=');
	const struct option *opt = NULL;
	int used = 1, ret;

	if (name[0] == '-')
		opt = find_option(verb, name + 1, strcspn(name + 1, "="));
	if (!opt)
		return error_set(err, -EINVAL,
			"%s: %.160s: unknown option (see `godwit help %s`)",
			req->verb, argv[0], verb->word);
	if (!opt->value && value)
		return error_set(err, -EINVAL,
			"%s: --%s takes no value (give just --%s)", req->verb,
			opt->name, opt->name);
	if (opt->value && !value) {
		if (argc < 2)
			return error_set(err, -EINVAL,
				"%s: --%s: the value is missing (give --%s "
				"%s)",
				req->verb, opt->name, opt->name, opt->value);
		value = argv[1];
		used = 2;
	} else if (value) {
		value++;
	}
	ret = opt->fn(req, value ? value : "", err);
	return ret < 0 ? ret : used;
}

static int take_word(const struct verb *verb, unsigned index, const char *word,
	struct verbs_request *req, struct error *err)
{
	if (index >= verb->max)
		return usage(verb, err);
	if (index > 0)
		return verb->word_fn[index - 1](req, word, err);
	if (word[0] == '\0')
		return usage(verb, err);
	req->name = word;
	return 0;
}

static int parse_words(const struct verb *verb, int argc, char *const *argv,
	struct verbs_request *req, struct error *err)
{
	bool only_words = false;
	unsigned words = 0;
	int used;

	while (argc > 0) {
		used = 1;
		if (!only_words && strcmp(argv[0], "--") == 0) {
			only_words = true;
		} else if (!only_words && (strcmp(argv[0], "--help") == 0 ||
						  strcmp(argv[0], "-h") == 0)) {
			req->help = true;
			return 0;
		} else if (!only_words && strcmp(argv[0], "--json") == 0) {
			req->json = true;
		} else if (!only_words && argv[0][0] == '-') {
			used = take_option(verb, argc, argv, req, err);
		} else {
			used = take_word(verb, words++, argv[0], req, err);
			used = used < 0 ? used : 1;
		}
		if (used < 0)
			return used;
		argc -= used;
		argv += used;
	}
	return words < verb->min ? usage(verb, err) : 0;
}

/* A message is one line whatever was on the command line. */
static void keep_one_line(struct error *err)
{
	char *p;

	for (p = err->text; *p != '\0'; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
}

int verbs_parse(int argc, char *const *argv, struct verbs_request *ret_request,
	struct error *err)
{
	const struct verb *verb = argc > 0 ? find_verb(argv[0]) : NULL;
	struct verbs_request *req = ret_request;
	int skip = 1, ret;

	*req = (struct verbs_request){.args = json_object()};
	if (!req->args)
		return error_errno(err, -ENOMEM, "command line");
	if (!verb)
		return error_set(err, -EINVAL,
			"%.160s: unknown verb (see `godwit help`)",
			argc > 0 ? argv[0] : "");
	req->verb = verb->second ? "cpu set" : verb->word;
	req->cmd = verb->cmd;
	req->show = verb->show;
	req->job = verb->job;
	req->last = verb->last;
	if (verb->second && argc > 1 && strcmp(argv[1], verb->second) == 0)
		skip = 2;
	else if (verb->second && !(argc > 1 && (!strcmp(argv[1], "--help") ||
						       !strcmp(argv[1], "-h"))))
		return usage(verb, err);
	ret = parse_words(verb, argc - skip, argv + skip, req, err);
	if (ret < 0)
		keep_one_line(err);
	return ret;
}

void verbs_fini(struct verbs_request *request)
{
	json_decref(request->args);
	*request = (struct verbs_request){.verb = NULL};
}
