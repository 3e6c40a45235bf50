/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/control_priv.h - the insides of struct control, for control.c (socket and
 * clients), control_event.c (events and jobs) and control_socket.c (the file).
 *
 * Everything belongs to the home thread of the loop.
 */
#ifndef GODWIT_VMM_CONTROL_PRIV_H
#define GODWIT_VMM_CONTROL_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <jansson.h>

#include "loop/loop.h"
#include "vmm/control.h"
#include "vmm/log.h"

#define CONTROL_PROTOCOL 1
#define CONTROL_OUT_MAX	 (4u << 20) /* bytes that may wait for a client */

struct control_client {
	struct control *control; /* borrowed */
	int fd;			 /* owned; -1: the peer is gone */
	struct loop_fd *handler; /* owned; NULL likewise */
	unsigned events;	 /* what handler waits for */
	uint8_t *in;		 /* owned; [pos, len) not yet run */
	size_t in_pos, in_len, in_size;
	size_t line_end; /* just past a whole line at pos; 0: none yet */
	size_t scanned;	 /* [pos, scanned) has no newline */
	bool skipping;	 /* the rest of a line that was too long */
	bool eof;	 /* nothing more will be read */
	bool dead;	 /* to be freed when its command has returned */
	char *out;	 /* owned; [pos, len) to be sent */
	size_t out_pos, out_len, out_size;
};

struct control_job {
	struct control *control; /* borrowed */
	struct control_job *next;
	uint64_t id;
	const char *kind; /* borrowed */
	control_cancel_fn *cancel;
	void *opaque;
	bool ended;
	bool failed;
	json_t *data;  /* owned: last progress, then the result; or NULL */
	json_t *error; /* owned: {class, desc}; failed only */
};

/* When an event of a kind and id was sent last, and what waits. */
struct control_limit {
	struct control_limit *next;
	const struct control_event_type *type;
	uint64_t id;
	int64_t open_ns; /* the next may go then; LOOP_MONOTONIC */
	json_t *held;	 /* owned; or NULL */
};

struct control {
	struct loop *loop; /* borrowed */
	char *path;	   /* owned */
	char *vm_name;	   /* owned */
	dev_t dev;
	ino_t ino; /* of the socket file, so that only ours is removed */
	int fd;	   /* owned, listening */
	struct loop_fd *listener; /* owned */
	struct loop_bh *bh;	  /* owned; runs the commands */
	struct loop_guard guard;  /* for those who give none */
	struct log_limit slow;
	struct loop_timer limit_timer, accept_timer;
	const struct control_command *commands;
	const struct control_event_type *events;
	void *opaque;
	struct control_client *client[CONTROL_CLIENTS_MAX]; /* owned */
	struct control_client *current; /* whose command runs now, or NULL */
	bool running;			/* a command runs: events wait */
	json_t *deferred;		/* owned array of those */
	struct control_job *jobs;	/* owned, oldest first */
	uint64_t last_job;
	struct control_limit *limits; /* owned */
};

/* ---- control_event.c ---- */

/* The event types of its own; name NULL ends. */
extern const struct control_event_type control_own_events[];
/* Those that waited for the end of a command. */
void control_flush_deferred(struct control *control);
void control_events_init(struct control *control);
void control_events_fini(struct control *control);

int control_list_jobs(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err);
int control_cancel_job(void *opaque, struct control *control, json_t *args,
	json_t **ret_data, struct error *err);

/* ---- control.c ---- */

/* To every client, as a line. */
void control_broadcast(struct control *control, const json_t *message);

/* ---- control_socket.c ---- */

/* Listen at control->path: fd, dev, ino.  As control_create(). */
int control_socket_open(struct control *control, struct error *err);
/* Remove the file, if it is still ours, and close. */
void control_socket_close(struct control *control);

#endif
