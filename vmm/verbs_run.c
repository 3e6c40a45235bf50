/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/verbs_run.c - see verbs.h: send the command, wait, show.
 *
 * While a job is waited for SIGINT cancels it, once; another one leaves it to
 * itself.  It is blocked but in ppoll(), so none is lost.
 */
#include "vmm/verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/client.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/progress.h"

#define LINE_EVERY_MS 1000 /* when it is no terminal */

/* Set by the handler, taken by wait_job(). */
static volatile sig_atomic_t interrupted;

struct wait {
	const struct verbs_request *req;
	struct client *client;
	FILE *out;
	bool terminal;
	bool drawn;	/* a line without newline is on the terminal */
	char phase[32]; /* as printed last */
	int64_t printed_ms;
	json_int_t job;
	uint64_t cancel_id; /* of the job-cancel that was sent; 0: none */
};

struct signals {
	struct sigaction action;
	sigset_t mask; /* of before */
};

static void on_interrupt(int signo)
{
	interrupted = 1;
}

static void signals_take(struct signals *was)
{
	struct sigaction action = {.sa_handler = on_interrupt};
	sigset_t block;

	interrupted = 0;
	sigemptyset(&action.sa_mask);
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigprocmask(SIG_BLOCK, &block, &was->mask);
	sigaction(SIGINT, &action, &was->action);
}

static void signals_give_back(const struct signals *was)
{
	sigaction(SIGINT, &was->action, NULL);
	sigprocmask(SIG_SETMASK, &was->mask, NULL);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int print_json(const json_t *value, FILE *out, struct error *err)
{
	if (json_dumpf(value, out, JSON_COMPACT | JSON_ENCODE_ANY) < 0 ||
		fputc('\n', out) == EOF || fflush(out) == EOF)
		return error_set(err, -EIO,
			"standard output: cannot write (is the disk full?)");
	return 0;
}

/* ---- a job goes on ---- */

static void end_line(struct wait *w)
{
	if (w->drawn)
		fputc('\n', w->out);
	w->drawn = false;
}

static void show_progress(struct wait *w, const json_t *data)
{
	const json_t *progress = json_object_get(data, "progress");
	const char *phase =
		json_string_value(json_object_get(progress, "phase"));
	char line[PROGRESS_LINE_MAX];
	int64_t now = now_ms();

	if (!progress)
		return;
	if (!phase)
		phase = "";
	/* A new phase is news at once. */
	if (!w->terminal && w->printed_ms != 0 &&
		now - w->printed_ms < LINE_EVERY_MS &&
		strncmp(phase, w->phase, sizeof(w->phase) - 1) == 0)
		return;
	progress_line(w->req->cmd, progress, line, sizeof(line));
	if (w->terminal)
		fprintf(w->out, "\r%s\033[K", line);
	else
		fprintf(w->out, "%s\n", line);
	fflush(w->out);
	w->drawn = w->terminal;
	w->printed_ms = now;
	snprintf(w->phase, sizeof(w->phase), "%s", phase);
}

static int save_timeline(
	const struct verbs_request *req, json_t *result, struct error *err)
{
	const char *lines =
		json_string_value(json_object_get(result, "timeline"));
	FILE *file;
	int ret = 0;

	if (!req->timeline || !lines)
		return 0;
	file = fopen(req->timeline, "we");
	if (!file)
		return error_errno(err, -errno, "--timeline %.200s: open it",
			req->timeline);
	if (fputs(lines, file) == EOF)
		ret = -EIO;
	if (fclose(file) == EOF)
		ret = -EIO;
	if (ret < 0)
		return error_errno(
			err, ret, "--timeline %.200s: write it", req->timeline);
	json_object_del(result, "timeline");
	return 0;
}

/* Its last event.  Return: as verbs_run(). */
static int show_end(struct wait *w, json_t *data, struct error *err)
{
	const char *status = json_string_value(json_object_get(data, "status"));
	json_t *result = json_object_get(data, "result");
	int ret = save_timeline(w->req, result, err), printed = 0;

	end_line(w);
	if (w->req->json)
		printed = print_json(data, w->out, ret < 0 ? NULL : err);
	else
		progress_summary(result, w->out);
	if (!status || strcmp(status, "done") != 0)
		return client_refusal(json_object_get(data, "error"), err);
	return ret < 0 ? ret : printed;
}

/* Return: 1 when it was the end of the job, else 0 or -errno. */
static int take_message(
	struct wait *w, json_t *message, int *ret_end, struct error *err)
{
	const char *event =
		json_string_value(json_object_get(message, "event"));
	json_t *data = json_object_get(message, "data");
	json_t *refused = json_object_get(message, "error");
	const char *status;
	struct error why;

	if (refused && json_integer_value(json_object_get(message, "id")) ==
			       (json_int_t)w->cancel_id) {
		end_line(w);
		client_refusal(refused, &why);
		log_warn("%s: not cancelled: %s", w->req->verb, why.text);
	}
	if (!event || strcmp(event, "job") != 0 ||
		json_integer_value(json_object_get(data, "id")) != w->job)
		return 0;
	status = json_string_value(json_object_get(data, "status"));
	if (status && strcmp(status, "running") == 0) {
		if (w->req->json)
			return print_json(data, w->out, err);
		show_progress(w, data);
		return 0;
	}
	*ret_end = show_end(w, data, err);
	return 1;
}

/* Return: 0 go on, -EINTR leave, -errno of the connection. */
static int take_interrupt(struct wait *w, struct error *err)
{
	json_t *args;

	interrupted = 0;
	end_line(w);
	if (w->cancel_id != 0)
		return error_set(err, -EINTR,
			"%s: left; job %" JSON_INTEGER_FORMAT
			" goes on in the VM (`godwit jobs %.80s` shows it)",
			w->req->verb, w->job, w->req->name);
	args = json_pack("{s:I}", "id", w->job);
	log_warn("%s: cancelling (Ctrl-C again leaves it to itself)",
		w->req->verb);
	return client_send(w->client, "job-cancel", args, &w->cancel_id, err);
}

static int wait_job(struct wait *w, struct error *err)
{
	json_t *message;
	int ret, end = 0;

	for (;;) {
		ret = client_next(w->client, -1, &message, err);
		if (ret == -EINTR && interrupted)
			ret = take_interrupt(w, err);
		else if (ret == -EINTR)
			ret = 0;
		else if (ret == 0) {
			ret = take_message(w, message, &end, err);
			json_decref(message);
			if (ret == 1)
				return end;
		}
		if (ret == -ECONNRESET)
			error_set(err, ret,
				"%s: the connection is lost; how job "
				"%" JSON_INTEGER_FORMAT
				" ended is not known (ask: godwit jobs %.80s)",
				w->req->verb, w->job, w->req->name);
		if (ret < 0) {
			end_line(w);
			return ret;
		}
	}
}

/* ---- one command ---- */

static int show_data(const struct verbs_request *req, const json_t *data,
	FILE *out, struct error *err)
{
	if (req->json || req->show == VERBS_SHOW_JSON)
		return print_json(data, out, err);
	if (req->show == VERBS_SHOW_TREE)
		progress_tree(data, out);
	else if (req->show == VERBS_SHOW_JOBS)
		progress_jobs(data, out);
	return fflush(out) == EOF ? error_set(err, -EIO,
					    "standard output: cannot write (is "
					    "the disk full?)")
				  : 0;
}

/* The VM closes the connection when it has ended. */
static int wait_close(struct client *client, struct error *err)
{
	json_t *message;
	int ret;

	for (;;) {
		ret = client_next(client, -1, &message, err);
		if (ret == -ECONNRESET)
			return 0;
		if (ret < 0)
			return ret;
		json_decref(message);
	}
}

/* @mask: of when signals were not blocked. */
static int talk(const struct verbs_request *req, FILE *out,
	const sigset_t *mask, struct error *err)
{
	struct wait w = {.req = req, .out = out};
	json_t *data = NULL;
	int ret;

	ret = client_connect(req->name, mask, &w.client, err);
	if (ret < 0)
		return ret;
	ret = client_call(
		w.client, req->cmd, json_incref(req->args), &data, err);
	if (ret == 0 && req->job) {
		w.job = json_integer_value(json_object_get(data, "job"));
		w.terminal = !req->json && isatty(fileno(out));
		ret = wait_job(&w, err);
	} else if (ret == 0) {
		ret = show_data(req, data, out, err);
		if (ret == 0 && req->last)
			ret = wait_close(w.client, err);
	}
	json_decref(data);
	client_close(w.client);
	return ret;
}

int verbs_run(const struct verbs_request *request, FILE *out, struct error *err)
{
	struct signals was;
	int ret;

	if (!request->job)
		return talk(request, out, NULL, err);
	signals_take(&was);
	ret = talk(request, out, &was.mask, err);
	signals_give_back(&was);
	return ret;
}
