/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/client.h - the other end of the control socket, for the client verbs.
 *
 * Thread: one at a time; everything blocks.
 */
#ifndef GODWIT_VMM_CLIENT_H
#define GODWIT_VMM_CLIENT_H

#include <signal.h>
#include <stdint.h>

#include <jansson.h>

struct client;
struct error;

#define CLIENT_LINE_MAX                                                        \
	(8u << 20) /* bytes of what a server may say at once                   \
		    */

/**
 * client_connect - to the VM @name, or to the socket at @name if it has a '/'.
 * @mask: signals that may interrupt waiting, as sigprocmask(2) of before they
 *        were blocked; NULL: none.  Borrowed for the life of the client.
 * Return: 0; -ENOENT, -ECONNREFUSED (no such VM), -EPROTO (not a godwit, or
 *         another protocol), -EBUSY (too many clients), -errno; with @err.
 */
int client_connect(const char *name, const sigset_t *mask,
	struct client **ret_client, struct error *err);
void client_close(struct client *client); /* NULL is allowed */

/* Send a command.  @args: consumed; NULL: none.  Return: 0 or -errno. */
int client_send(struct client *client, const char *cmd, json_t *args,
	uint64_t *ret_id, struct error *err);

/**
 * client_next - the next message, a new object.
 * @timeout_ms: -1: for ever.
 * Return: 0, -ETIMEDOUT, -EINTR (a signal of the mask; go on as you like),
 *         -ECONNRESET (the connection is lost, or its end came), -EPROTO.
 */
int client_next(struct client *client, int timeout_ms, json_t **ret_message,
	struct error *err);

/**
 * client_call - send, and wait for the reply; events before it are dropped.
 * @ret_data: what stood after "ok", new.
 * Return: 0; -EREMOTEIO (the VM says no; @err has its words), -ECONNRESET (it
 * is not known whether it was done), -errno.
 */
int client_call(struct client *client, const char *cmd, json_t *args,
	json_t **ret_data, struct error *err);

/* Make @err of an {class, desc}.  Return: -EREMOTEIO. */
int client_refusal(const json_t *error, struct error *err);
/* For messages; borrowed. */
const char *client_name(const struct client *client);

#endif
