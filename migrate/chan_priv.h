/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan_priv.h - the inside of a channel: the table of functions behind
 * it, for the back ends and for whoever wraps one channel in another (TLS, the
 * tests' chan_cut).
 *
 * chan.c keeps what all have in common: moving all of a request, the order of
 * error codes, the flag of chan_shutdown().
 */
#ifndef GODWIT_MIGRATE_CHAN_PRIV_H
#define GODWIT_MIGRATE_CHAN_PRIV_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "migrate/chan.h"

#define CHAN_NAME_MAX 160
#define CHAN_FDS_MAX  2

/* Functions may be NULL where a comment says what is done instead. */
struct chan_ops {
	/* Some bytes, one at least: > 0, 0 at the end of the stream (readv),
	 * -ETIMEDOUT after the deadline without one, -errno.  @iov holds at
	 * least one byte and stays as it is. */
	ssize_t (*readv)(struct chan *chan, struct iovec *iov, int iovs);
	ssize_t (*writev)(struct chan *chan, struct iovec *iov, int iovs);
	/* Wake both directions for good.  Any thread. */
	void (*shutdown)(struct chan *chan);
	/* Free all; nobody uses the channel any more. */
	void (*destroy)(struct chan *chan);
	/* The peer will read the end after what was written.  NULL: nothing */
	void (*end_write)(struct chan *chan);
	/* NULL: nothing, 0 */
	int (*finish)(struct chan *chan, struct error *err);
	/* NULL: -1 */
	int (*fd)(const struct chan *chan);
	/* NULL: chan->deadline_ms says it all */
	void (*set_deadline)(struct chan *chan, int ms);
	/* NULL: nothing */
	void (*set_buffer)(struct chan *chan, size_t bytes);
	/* NULL: 0 */
	int (*exit_status)(struct chan *chan);
	bool two_way;
};

/* The head of every back end's struct. */
struct chan {
	const struct chan_ops *ops;
	_Atomic int deadline_ms; /* -1: none */
	_Atomic bool down;	 /* chan_shutdown() was called */
	/* Read ahead, the reader's: [at, at + len) is not yet taken. */
	uint8_t *ahead; /* owned; NULL: it reads what it is asked for */
	size_t ahead_cap, ahead_at, ahead_len;
	char name[CHAN_NAME_MAX];
};

void chan_init(struct chan *chan, const struct chan_ops *ops, const char *name);

/* ---- listeners ---- */

struct chan_listener_ops {
	int (*accept)(struct chan_listener *l, int timeout_ms,
		struct chan **ret_chan, struct error *err);
	void (*destroy)(struct chan_listener *l);
};

struct chan_listener {
	const struct chan_listener_ops *ops;
	int wake;	   /* owned eventfd, readable after shutdown */
	char *address;	   /* owned */
	unsigned accepted; /* connections handed out; the accepting thread's */
};

/* ---- addresses ---- */

enum chan_kind { CHAN_UNIX, CHAN_TCP, CHAN_FD, CHAN_EXEC, CHAN_FILE };

struct chan_addr {
	enum chan_kind kind;
	const char *text; /* the whole address, borrowed */
	const char
		*path;	/* UNIX, EXEC, FILE: what follows the colon; borrowed */
	char host[256]; /* TCP, without brackets */
	char port[6];	/* TCP, digits */
	int fd[CHAN_FDS_MAX];
	unsigned fds;
};

/* 0 or -EINVAL with @err. */
int chan_addr_parse(
	const char *addr, struct chan_addr *ret_addr, struct error *err);

/* ---- back ends; addresses are parsed, @ret only written on success ---- */

/* Wait for @events on @fd until @end_ns (CLOCK_MONOTONIC; INT64_MAX: for ever)
 * or until @cancel_fd (-1: none) is readable.  0, -ETIMEDOUT, -ECANCELED. */
int chan_wait(int fd, short events, int cancel_fd, int64_t end_ns);
/* @ms from now; -1: INT64_MAX. */
int64_t chan_end_ns(int ms);

int chan_socket_connect(const struct chan_addr *addr, int64_t end_ns,
	int cancel_fd, struct chan **ret_chan, struct error *err);
/* @fd: a connected stream socket; taken on success. */
int chan_socket_wrap(int fd, const char *name, struct chan **ret_chan);
/* @index: of addr->fd; the fd is taken on success. */
int chan_socket_inherit(const struct chan_addr *addr, unsigned index,
	struct chan **ret_chan, struct error *err);
int chan_exec(const struct chan_addr *addr, struct chan **ret_chan,
	struct error *err);
int chan_file(const struct chan_addr *addr, bool write, struct chan **ret_chan,
	struct error *err);

/* @ret_listener has everything but wake, which chan_listen() adds. */
int chan_socket_listen(const struct chan_addr *addr,
	struct chan_listener **ret_listener, struct error *err);
/* fd:, exec: and file:, which have their connections ready. */
int chan_ready_listen(const struct chan_addr *addr,
	struct chan_listener **ret_listener, struct error *err);

#endif
