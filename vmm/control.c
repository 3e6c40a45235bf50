/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/control.c - see control.h.  Clients: what they send, whose turn it is,
 * what waits for them.  A line is control_line.c's matter, events and jobs are
 * control_event.c's, the file control_socket.c's.
 *
 * Handlers of fds read and write only; commands run in one bottom half with the
 * VM's guard.  A command may poll the loop, so any client, and that one too,
 * can come or go meanwhile.
 */
#include "vmm/control.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/control_line.h"
#include "vmm/control_priv.h"
#include "vmm/error.h"
#include "vmm/log.h"

#define READ_MAX    (64u << 10) /* bytes a turn */
#define OUT_HIGH    (64u << 10) /* with more waiting no command is run */
#define ACCEPT_MAX  16		/* a turn */
#define RETRY_NS    100000000ll /* after running out of fds */
#define IN_KEEP_MAX (64u << 10) /* larger buffers are given back */

/* ---- its own commands ---- */

static int list_commands(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err);

static const struct control_arg cancel_args[] = {
	{"id", "integer", true, "of the job"},
	{.name = NULL},
};

static const struct control_command own_commands[] = {
	{"commands", "what can be asked and what is told, as data", NULL,
		list_commands, false},
	{"jobs", "those that run, and the last that ended", NULL,
		control_list_jobs, false},
	{"job-cancel", "ask a job to end; its end is an event", cancel_args,
		control_cancel_job, false},
	{.name = NULL},
};

/* Two arrays in one; both are consumed. */
static json_t *joined(json_t *a, json_t *b)
{
	if (!a || !b || json_array_extend(a, b) < 0) {
		json_decref(a);
		a = NULL;
	}
	json_decref(b);
	return a;
}

static int list_commands(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err)
{
	*ret_data = json_pack("{s:o, s:o}", "commands",
		joined(control_commands_json(own_commands),
			control_commands_json(control->commands)),
		"events",
		joined(control_events_json(control_own_events),
			control_events_json(control->events)));
	return *ret_data ? 0 : error_errno(err, -ENOMEM, "commands");
}

/* ---- a client goes ---- */

static void close_client(struct control_client *client)
{
	loop_fd_del(client->handler);
	client->handler = NULL;
	if (client->fd >= 0) {
		/* The loop's ring may hold the socket for a while: the peer
		 * need not wait for that. */
		shutdown(client->fd, SHUT_RDWR);
		close(client->fd);
	}
	client->fd = -1;
	free(client->out);
	client->out = NULL;
	client->out_pos = client->out_len = client->out_size = 0;
}

static void free_client(struct control_client *client)
{
	close_client(client);
	free(client->in);
	free(client);
}

/* Now, or when its command has returned. */
static void drop_client(struct control_client *client)
{
	struct control *control = client->control;
	unsigned i;

	if (control->current == client) {
		close_client(client);
		client->dead = true;
		return;
	}
	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->client[i] == client)
			control->client[i] = NULL;
	free_client(client);
}

/* ---- what a client sends ---- */

/* Is a whole line there?  What the peer left unfinished counts as one. */
static bool has_line(struct control_client *client)
{
	uint8_t *end;

	if (client->line_end > 0)
		return true;
	if (client->in_len == client->in_pos)
		return false;
	end = memchr(client->in + client->scanned, '\n',
		client->in_len - client->scanned);
	client->scanned = client->in_len;
	if (end)
		client->line_end = (size_t)(end - client->in) + 1;
	else if (client->eof && client->in_len > client->in_pos)
		client->line_end = client->in_len;
	return client->line_end > 0;
}

static void take_line(struct control_client *client)
{
	client->in_pos = client->scanned = client->line_end;
	client->line_end = 0;
	if (client->in_pos < client->in_len)
		return;
	client->in_pos = client->in_len = client->scanned = 0;
	if (client->in_size > IN_KEEP_MAX) {
		free(client->in);
		client->in = NULL;
		client->in_size = 0;
	}
}

/* Make room to read into, as far as there may be; 0 or -ENOMEM.  While the peer
 * is there it is called without a whole line, so what moves is less than one.
 */
static int make_room(struct control_client *client)
{
	size_t size = client->in_size ? client->in_size : 4096;
	uint8_t *in;

	if (client->in_pos > 0) {
		memmove(client->in, client->in + client->in_pos,
			client->in_len - client->in_pos);
		client->in_len -= client->in_pos;
		client->scanned -= client->in_pos;
		if (client->line_end > 0)
			client->line_end -= client->in_pos;
		client->in_pos = 0;
	}
	if (client->in && (client->in_len < client->in_size ||
				  client->in_size == CONTROL_LINE_MAX))
		return 0;
	if (client->in)
		size *= 2;
	in = realloc(client->in, size);
	if (!in)
		return -ENOMEM;
	client->in = in;
	client->in_size = size;
	return 0;
}

static void send_json(struct control_client *client, const json_t *message);

static void refuse_long_line(struct control_client *client)
{
	json_t *message =
		json_pack("{s:{s:s, s:s}}", "error", "class", "invalid", "desc",
			"the line is too long (give at most 1048575 bytes)");

	send_json(client, message);
	json_decref(message);
	client->skipping = true;
}

/* Forget what belongs to a line that was refused. */
static void skip(struct control_client *client)
{
	if (!client->skipping)
		return;
	if (!has_line(client)) {
		client->in_pos = client->in_len = client->scanned = 0;
		return;
	}
	take_line(client);
	client->skipping = false;
}

/* The peer has gone: nothing can be sent, what came is still done. */
static void peer_gone(struct control_client *client)
{
	client->eof = true;
	close_client(client);
}

/* One read.  False: no more for now. */
static bool read_some(struct control_client *client)
{
	size_t room;
	ssize_t got;

	if (make_room(client) < 0) {
		log_warn("control: no memory for a client, dropped");
		client->in_pos = client->in_len = client->scanned = 0;
		peer_gone(client);
		return false;
	}
	room = client->in_size - client->in_len;
	if (room == 0) { /* of a peer that has gone: this much is enough */
		client->eof = true;
		return false;
	}
	if (room > READ_MAX)
		room = READ_MAX;
	got = recv(client->fd, client->in + client->in_len, room, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got < 0) {
		peer_gone(client);
		return false;
	}
	if (got == 0)
		client->eof = true;
	client->in_len += (size_t)got;
	skip(client);
	if (!has_line(client) &&
		client->in_len - client->in_pos == CONTROL_LINE_MAX) {
		refuse_long_line(client);
		skip(client);
	}
	return got > 0;
}

/* ---- what waits for a client ---- */

static void flush(struct control_client *client)
{
	ssize_t sent;

	while (client->fd >= 0 && client->out_pos < client->out_len) {
		sent = send(client->fd, client->out + client->out_pos,
			client->out_len - client->out_pos,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && errno == EAGAIN)
			return;
		if (sent < 0) {
			peer_gone(client);
			return;
		}
		client->out_pos += (size_t)sent;
	}
	client->out_pos = client->out_len = 0;
}

/* Room for @len more bytes at out + out_len; false: it reads too slowly, or
 * there is no memory. */
static bool make_out_room(struct control_client *client, size_t len)
{
	size_t waiting = client->out_len - client->out_pos;
	size_t size = client->out_size ? client->out_size : 4096;
	char *out;

	if (len > CONTROL_OUT_MAX - waiting)
		return false;
	if (client->out_pos > 0) {
		memmove(client->out, client->out + client->out_pos, waiting);
		client->out_pos = 0;
		client->out_len = waiting;
	}
	while (size < waiting + len)
		size *= 2;
	if (size == client->out_size)
		return true;
	out = realloc(client->out, size);
	if (!out)
		return false;
	client->out = out;
	client->out_size = size;
	return true;
}

/* Queue and try.  The caller looks after the handler (watch()). */
static void send_json(struct control_client *client, const json_t *message)
{
	size_t len, room;

	if (client->fd < 0 || !message)
		return;
	len = json_dumpb(message, NULL, 0, JSON_COMPACT);
	if (len == 0 || !make_out_room(client, len + 1)) {
		log_limited(&client->control->slow, LOG_WARN,
			"control: a client does not read what it is sent, "
			"dropped");
		client->in_pos = client->in_len = client->scanned = 0;
		client->line_end = 0;
		peer_gone(client);
		return;
	}
	room = client->out_size - client->out_len;
	len = json_dumpb(
		message, client->out + client->out_len, room, JSON_COMPACT);
	client->out[client->out_len + len] = '\n';
	client->out_len += len + 1;
	flush(client);
}

static bool is_stalled(const struct control_client *client)
{
	return client->out_len - client->out_pos > OUT_HIGH;
}

/* Wait for what @client needs next; drop it if that is nothing. */
static void watch(struct control_client *client)
{
	bool line = has_line(client);
	unsigned events = 0;

	if (client->dead)
		return;
	if (client->out_pos < client->out_len)
		events |= LOOP_WRITE;
	if (!client->eof && !line)
		events |= LOOP_READ;
	if (client->eof && !line && !(events & LOOP_WRITE)) {
		drop_client(client);
		return;
	}
	if (line && !is_stalled(client))
		loop_bh_schedule(client->control->bh);
	if (client->handler && events != client->events &&
		loop_fd_set(client->handler, events) == 0)
		client->events = events;
}

static bool client_ready(void *opaque, unsigned ready)
{
	struct control_client *client = opaque;

	if (ready & LOOP_WRITE)
		flush(client);
	if (ready & LOOP_READ && client->fd >= 0 && !client->eof &&
		!has_line(client))
		read_some(client);
	/* Both ways are shut, and we would be told so again and again: take
	 * what is left at once. */
	if (ready & LOOP_ERROR && client->fd >= 0) {
		while (client->fd >= 0 && !client->eof && read_some(client))
			;
		peer_gone(client);
	}
	watch(client);
	return true;
}

void control_broadcast(struct control *control, const json_t *message)
{
	struct control_client *client;
	unsigned i;

	for (i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		client = control->client[i];
		if (!client)
			continue;
		send_json(client, message);
		watch(client);
	}
}

/* ---- commands ---- */

static void run_line(struct control *control, struct control_client *client)
{
	struct control_tables tables = {.own = own_commands,
		.more = control->commands,
		.opaque = control->opaque};
	const uint8_t *start = client->in + client->in_pos;
	size_t len = client->line_end - client->in_pos;
	json_t *answer;
	char *line;

	/* A copy, because the buffer moves while the command polls. */
	line = malloc(len);
	if (!line) {
		log_warn("control: no memory for a command, client dropped");
		drop_client(client);
		return;
	}
	memcpy(line, start, len);
	take_line(client);
	control->current = client;
	control->running = true;
	answer = control_line_run(&tables, control, line, len);
	control->running = false;
	control->current = NULL;
	free(line);
	if (client->dead) {
		drop_client(client);
	} else {
		send_json(client, answer);
		watch(client);
	}
	json_decref(answer);
	control_flush_deferred(control);
}

/* Bottom half with the VM's guard: one line of each client in turn.  Whoever
 * has another is scheduled again by watch(). */
static void run_lines(void *opaque)
{
	struct control *control = opaque;
	struct control_client *client;
	unsigned i;

	for (i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		client = control->client[i];
		if (client && has_line(client) && !is_stalled(client))
			run_line(control, client);
	}
}

/* ---- clients come ---- */

static json_t *greeting(const struct control *control)
{
	return json_pack("{s:{s:s, s:i, s:o}}", "godwit", "version",
		GODWIT_VERSION, "protocol", CONTROL_PROTOCOL, "name",
		control_text(control->vm_name));
}

static void turn_away(int fd)
{
	static const char text[] =
		"{\"error\": {\"class\": \"busy\", \"desc\": \"there are too "
		"many clients (close one, or try again later)\"}}\n";

	/* Fits the empty buffer of a new socket, or it is not to be helped. */
	if (send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("control: a client went before it was refused");
	close(fd);
}

/* Takes @fd. */
static void add_client(struct control *control, int fd)
{
	struct control_client *client;
	json_t *hello;
	unsigned i;

	for (i = 0; i < CONTROL_CLIENTS_MAX && control->client[i]; i++)
		;
	if (i == CONTROL_CLIENTS_MAX) {
		turn_away(fd);
		return;
	}
	client = calloc(1, sizeof(*client));
	if (!client) {
		close(fd);
		return;
	}
	client->control = control;
	client->fd = fd;
	client->events = LOOP_READ;
	if (loop_fd_add(control->loop, fd, LOOP_READ, 0, client_ready, client,
		    "control-client", &client->handler) < 0) {
		free_client(client);
		return;
	}
	control->client[i] = client;
	hello = greeting(control);
	send_json(client, hello);
	json_decref(hello);
	watch(client);
}

static void resume_accept(void *opaque)
{
	struct control *control = opaque;

	loop_fd_set(control->listener, LOOP_READ);
}

static bool accept_ready(void *opaque, unsigned ready)
{
	struct control *control = opaque;
	int i, fd;

	for (i = 0; i < ACCEPT_MAX; i++) {
		fd = accept4(
			control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			add_client(control, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			errno == ENOMEM) {
			/* It stays readable: look away for a while. */
			if (loop_timer_set(&control->accept_timer,
				    loop_now_ns(control->loop, LOOP_MONOTONIC) +
					    RETRY_NS) == 0)
				loop_fd_set(control->listener, 0);
			break;
		}
		if (errno != ECONNABORTED && errno != EINTR)
			break;
	}
	return i > 0;
}

/* ---- create, destroy ---- */

int control_create(struct loop *loop, const struct control_options *opt,
	struct control **ret_control, struct error *err)
{
	struct control *control = calloc(1, sizeof(*control));
	int ret = -ENOMEM;

	if (!control)
		return error_errno(err, ret, "control socket");
	control->loop = loop;
	control->fd = -1;
	control->commands = opt->commands;
	control->events = opt->events;
	control->opaque = opt->opaque;
	loop_timer_init(&control->accept_timer, loop, LOOP_MONOTONIC,
		resume_accept, control);
	control_events_init(control);
	control->path = strdup(opt->path);
	control->vm_name = strdup(opt->vm_name);
	control->deferred = json_array();
	if (control->path && control->vm_name && control->deferred)
		ret = loop_bh_create(loop, run_lines, control, "control",
			opt->guard ? opt->guard : &control->guard,
			&control->bh);
	if (ret < 0) {
		error_errno(err, ret, "control socket");
		goto fail;
	}
	ret = control_socket_open(control, err);
	if (ret < 0)
		goto fail;
	ret = loop_fd_add(loop, control->fd, LOOP_READ, 0, accept_ready,
		control, "control", &control->listener);
	if (ret < 0) {
		error_errno(err, ret, "control socket %s", control->path);
		goto fail;
	}
	*ret_control = control;
	return 0;
fail:
	control_destroy(control);
	return ret;
}

void control_destroy(struct control *control)
{
	unsigned i;

	if (!control)
		return;
	assert(!control->running);
	loop_timer_cancel(&control->accept_timer);
	loop_fd_del(control->listener);
	/* First the name, so that whoever sees the end can use it again. */
	control_socket_close(control);
	for (i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (control->client[i])
			free_client(control->client[i]);
	control_events_fini(control);
	loop_bh_delete(control->bh);
	free(control->path);
	free(control->vm_name);
	free(control);
}
