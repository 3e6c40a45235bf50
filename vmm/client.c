/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/client.c - see client.h. */
#include "vmm/client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/runtime_dir.h"

#define PROTOCOL    1
#define GREETING_MS 10000
#define MS_PER_S    1000
#define NS_PER_MS   1000000

struct client {
	char *name;	      /* owned; as the user gave it */
	int fd;		      /* owned */
	const sigset_t *mask; /* borrowed; or NULL */
	char *in;	      /* owned; [pos, len) not yet taken */
	size_t in_pos, in_len, in_size;
	uint64_t last_id;
};

const char *client_name(const struct client *client)
{
	return client->name;
}

int client_refusal(const json_t *error, struct error *err)
{
	const char *desc = json_string_value(json_object_get(error, "desc"));

	return error_set(
		err, -EREMOTEIO, "%s", desc ? desc : "refused without a word");
}

static int lost(const struct client *client, struct error *err)
{
	return error_set(err, -ECONNRESET,
		"%.200s: the connection is lost (`godwit info` tells whether "
		"the VM is still there)",
		client->name);
}

/* ---- receiving ---- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * MS_PER_S + now.tv_nsec / NS_PER_MS;
}

/* Until there is something to read.  @deadline: ms; -1: never. */
static int wait_readable(struct client *client, int64_t deadline)
{
	struct pollfd pfd = {.fd = client->fd, .events = POLLIN};
	struct timespec left, *timeout = NULL;
	int64_t ms;
	int ret;

	if (deadline >= 0) {
		ms = deadline - now_ms();
		if (ms < 0)
			ms = 0;
		left.tv_sec = ms / MS_PER_S;
		left.tv_nsec = ms % MS_PER_S * NS_PER_MS;
		timeout = &left;
	}
	ret = ppoll(&pfd, 1, timeout, client->mask);
	if (ret < 0)
		return -errno;
	return ret == 0 ? -ETIMEDOUT : 0;
}

static int make_room(struct client *client, struct error *err)
{
	size_t size = client->in_size ? client->in_size * 2 : 65536;
	char *in;

	if (client->in_pos > 0) {
		memmove(client->in, client->in + client->in_pos,
			client->in_len - client->in_pos);
		client->in_len -= client->in_pos;
		client->in_pos = 0;
	}
	if (client->in_len < client->in_size)
		return 0;
	if (client->in_size >= CLIENT_LINE_MAX)
		return error_set(err, -EPROTO,
			"%.200s: a line without end (is it a godwit?)",
			client->name);
	in = realloc(client->in, size);
	if (!in)
		return error_errno(err, -ENOMEM, "%.200s", client->name);
	client->in = in;
	client->in_size = size;
	return 0;
}

static int read_some(struct client *client, int64_t deadline, struct error *err)
{
	ssize_t got;
	int ret = make_room(client, err);

	if (ret < 0)
		return ret;
	ret = wait_readable(client, deadline);
	if (ret < 0)
		return error_errno(err, ret, "%.200s", client->name);
	got = recv(client->fd, client->in + client->in_len,
		client->in_size - client->in_len, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0)
		return lost(client, err);
	client->in_len += (size_t)got;
	return 0;
}

int client_next(struct client *client, int timeout_ms, json_t **ret_message,
	struct error *err)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	size_t seen = client->in_pos;
	char *end, *start;
	json_t *message;
	int ret;

	for (;;) {
		end = NULL;
		if (client->in_len > seen)
			end = memchr(
				client->in + seen, '\n', client->in_len - seen);
		if (end)
			break;
		seen = client->in_len - client->in_pos; /* pos becomes 0 */
		ret = read_some(client, deadline, err);
		if (ret < 0)
			return ret;
	}
	start = client->in + client->in_pos;
	client->in_pos = (size_t)(end - client->in) + 1;
	message = json_loadb(start, (size_t)(end - start), 0, NULL);
	if (!json_is_object(message)) {
		json_decref(message);
		return error_set(err, -EPROTO,
			"%.200s: what came is no JSON object (is it a godwit?)",
			client->name);
	}
	*ret_message = message;
	return 0;
}

/* ---- sending ---- */

static int send_all(
	struct client *client, const char *text, size_t len, struct error *err)
{
	ssize_t sent;

	while (len > 0) {
		sent = send(client->fd, text, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return lost(client, err);
		text += sent;
		len -= (size_t)sent;
	}
	return 0;
}

int client_send(struct client *client, const char *cmd, json_t *args,
	uint64_t *ret_id, struct error *err)
{
	uint64_t id = ++client->last_id;
	json_t *message;
	char *text;
	int ret;

	message = json_pack("{s:s, s:o*, s:I}", "cmd", cmd, "args", args, "id",
		(json_int_t)id);
	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text)
		return error_set(err, -EINVAL,
			"%.60s: not to be said in JSON (use UTF-8)", cmd);
	ret = send_all(client, text, strlen(text), err);
	if (ret == 0)
		ret = send_all(client, "\n", 1, err);
	free(text);
	if (ret == 0)
		*ret_id = id;
	return ret;
}

/* Is @message the reply to @id? */
static bool is_reply(const json_t *message, uint64_t id)
{
	json_t *got = json_object_get(message, "id");

	/* A line that could not be understood is refused without an id. */
	if (!got)
		return json_object_get(message, "error") != NULL;
	return json_is_integer(got) && (uint64_t)json_integer_value(got) == id;
}

int client_call(struct client *client, const char *cmd, json_t *args,
	json_t **ret_data, struct error *err)
{
	json_t *message, *data;
	uint64_t id;
	int ret;

	ret = client_send(client, cmd, args, &id, err);
	if (ret < 0)
		return ret;
	for (;;) {
		ret = client_next(client, -1, &message, err);
		if (ret == -ECONNRESET || ret == -EINTR)
			error_set(err, ret,
				"%.200s: %s: %s before "
				"the answer; whether it was done is not known "
				"(ask: godwit info %.200s)",
				client->name, cmd,
				ret == -EINTR ? "interrupted"
					      : "the connection was lost",
				client->name);
		if (ret < 0)
			return ret;
		if (is_reply(message, id))
			break;
		json_decref(message);
	}
	data = json_object_get(message, "ok");
	if (data)
		*ret_data = json_incref(data);
	else
		ret = client_refusal(json_object_get(message, "error"), err);
	json_decref(message);
	return ret;
}

/* ---- coming and going ---- */

static int no_such_vm(const char *name, int code, struct error *err)
{
	if (strchr(name, '/'))
		return error_errno(err, code, "control socket %.200s", name);
	return error_set(err, code,
		"%.80s: no VM of this name is running (start one with `godwit "
		"run --name %.80s ...`)",
		name, name);
}

static int open_socket(
	const char *name, const char *path, int *ret_fd, struct error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, code;

	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, -ENAMETOOLONG,
			"control socket %.300s: the path has %zu bytes (give "
			"one of at most %zu)",
			path, strlen(path), sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_errno(err, -errno, "control socket %s", path);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		code = -errno;
		close(fd);
		if (code == -ENOENT || code == -ECONNREFUSED)
			return no_such_vm(name, code, err);
		return error_errno(err, code, "control socket %s", path);
	}
	*ret_fd = fd;
	return 0;
}

static int greet(struct client *client, struct error *err)
{
	json_t *message, *hello, *no;
	int ret = client_next(client, GREETING_MS, &message, err);

	if (ret == -ETIMEDOUT)
		return error_set(err, ret,
			"%.200s: no greeting in %d s (the VM's process hangs or "
			"is stopped)",
			client->name, GREETING_MS / MS_PER_S);
	if (ret < 0)
		return ret;
	hello = json_object_get(message, "godwit");
	no = json_object_get(message, "error");
	if (no) {
		client_refusal(no, err);
		ret = -EBUSY;
		error_prepend(err, "%.200s", client->name);
	} else if (!hello || json_integer_value(json_object_get(
				     hello, "protocol")) != PROTOCOL) {
		ret = error_set(err, -EPROTO,
			"%.200s: speaks another protocol (use the godwit that "
			"runs it)",
			client->name);
	}
	json_decref(message);
	return ret;
}

int client_connect(const char *name, const sigset_t *mask,
	struct client **ret_client, struct error *err)
{
	struct client *client = calloc(1, sizeof(*client));
	char *path = NULL;
	int ret = 0;

	if (!client)
		return error_errno(err, -ENOMEM, "%.200s", name);
	client->fd = -1;
	client->mask = mask;
	client->name = strdup(name);
	if (strchr(name, '/'))
		path = strdup(name);
	else
		ret = runtime_dir_socket(name, false, &path, err);
	if (ret == -ENOENT)
		ret = no_such_vm(name, ret, err);
	else if (ret == 0 && (!path || !client->name))
		ret = error_errno(err, -ENOMEM, "%.200s", name);
	if (ret == 0)
		ret = open_socket(name, path, &client->fd, err);
	free(path);
	if (ret == 0)
		ret = greet(client, err);
	if (ret < 0) {
		client_close(client);
		return ret;
	}
	*ret_client = client;
	return 0;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	if (client->fd >= 0)
		close(client->fd);
	free(client->in);
	free(client->name);
	free(client);
}
