/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan.h - the byte streams a migration travels on (P10).
 *
 * Addresses:
 *   unix:PATH           stream socket
 *   tcp:HOST:PORT       HOST may be [v6]; TCP_NODELAY and keep-alive are set
 *   fd:N                an inherited, connected stream socket (one connection)
 *   fd:N,M              two: the second is the urgent one
 *   exec:COMMAND        sh -c, its stdin and stdout are the stream
 *   file:PATH           one way
 * and the in-memory pair of chan_pair().
 *
 * One thread reads and one thread writes at a time; chan_shutdown() may come
 * from any other and ends both at once with -ECANCELED.  The table of functions
 * behind it has room for TLS, which wraps another chan.
 *
 * Deadlines are about progress: an operation that moves no byte for as long as
 * the deadline ends with -ETIMEDOUT.  SIGPIPE never comes.
 */
#ifndef GODWIT_MIGRATE_CHAN_H
#define GODWIT_MIGRATE_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CHAN_EXEC_GRACE_MS 2000

struct chan;
struct chan_listener;
struct error;
struct iovec;

/* Check the form of @addr without side effects.  0 or -EINVAL with @err. */
int chan_check_address(const char *addr, struct error *err);

/**
 * chan_connect - open the first (@index 0) or a further connection to @addr.
 * @timeout_ms: for the connection to come about.
 * fd:N,M gives N, then M; fd:N, exec: and file: have one connection only:
 * -ENOTSUP for index > 0.
 * Return: 0, or -errno with @err naming the address, the reason and the remedy
 *         (-ECONNREFUSED, -ENOENT, -ETIMEDOUT, -EINVAL, -EBADF ...).
 * Thread: any; blocks, name resolution included.
 */
int chan_connect(const char *addr, unsigned index, int timeout_ms,
	struct chan **ret_chan, struct error *err);

/* The same; @cancel_fd readable (an eventfd; -1: none) ends it with -ECANCELED,
 * but for name resolution, which cannot be stopped.  @cancel_fd is not read. */
int chan_connect_cancel(const char *addr, unsigned index, int timeout_ms,
	int cancel_fd, struct chan **ret_chan, struct error *err);

/**
 * chan_listen - be ready for connections to @addr.
 * A stale UNIX socket (nobody listens) is replaced; a live one is -EADDRINUSE.
 * tcp port 0 lets the kernel choose: chan_listener_address().
 * fd: and exec: "listeners" hand out what they have, once each.
 */
int chan_listen(const char *addr, struct chan_listener **ret_listener,
	struct error *err);
/* @timeout_ms: -1 for ever.  0, -ETIMEDOUT, -ECANCELED (shutdown), -ENOTSUP
 * (no further connection can come), -errno. */
int chan_accept(struct chan_listener *listener, int timeout_ms,
	struct chan **ret_chan, struct error *err);
/* The address to connect to, borrowed: "tcp:127.0.0.1:40123". */
const char *chan_listener_address(const struct chan_listener *listener);
/* Ends a chan_accept() of another thread.  Any thread. */
void chan_listener_shutdown(struct chan_listener *listener);
/* Close; removes the UNIX socket file.  NULL is allowed. */
void chan_listener_close(struct chan_listener *listener);

/* Two ends in memory, @cap bytes of buffer each way.  For tests.  0 or -errno.
 */
int chan_pair(size_t cap, struct chan **ret_a, struct chan **ret_b);

/* Progress deadline of later operations; -1: none (the default). */
void chan_set_deadline(struct chan *chan, int ms);

/* All of it, or -errno: -EPIPE, -ECONNRESET, -ETIMEDOUT, -ECANCELED, -ENOSPC
 * (file).  @iov is used up: its contents are not defined afterwards. */
int chan_writev(struct chan *chan, struct iovec *iov, int iovs);
int chan_write(struct chan *chan, const void *buf, size_t len);
/* All of it.  0, -ENODATA (clean end before the first byte), -ECONNRESET (end
 * in the middle), -ETIMEDOUT, -ECANCELED, -errno. */
int chan_read(struct chan *chan, void *buf, size_t len);
/* The same into several buffers; @iov is used up. */
int chan_readv(struct chan *chan, struct iovec *iov, int iovs);

/**
 * chan_read_ahead - from now on take along what has come beyond what is read,
 * up to @bytes: short frames then cost one system call and not one a piece.
 * Before the first read, or the reader.  Return: 0 or -ENOMEM.
 */
int chan_read_ahead(struct chan *chan, size_t bytes);
/* Something was taken along, of which chan_fd() knows nothing any more. */
bool chan_has_ahead(const struct chan *chan);
/* With chan_read_ahead(): wait until something is there.  0, -ENODATA (end),
 * -ETIMEDOUT (nothing came for the deadline: no harm done), -ECANCELED or
 * -errno. */
int chan_fill(struct chan *chan);

/* For poll(2): readable when chan_read() would find something.  -1: cannot be
 * polled (memory).  Borrowed. */
int chan_fd(const struct chan *chan);
/* Bytes to buffer in the kernel, each way; a hint. */
void chan_set_buffer(struct chan *chan, size_t bytes);
bool chan_is_two_way(const struct chan *chan);
const char *chan_name(const struct chan *chan); /* for messages; borrowed */

/**
 * chan_finish - the writer has written all: make it last, hear how it went.
 * file: fsync.  exec: ends the command's input and waits for the command, for
 * the deadline at most; a status other than 0 is -EPIPE.  Others: nothing.
 * Return: 0, -EPIPE, -ETIMEDOUT, -ECANCELED, -errno (-EIO, -ENOSPC ...).
 */
int chan_finish(struct chan *chan, struct error *err);

/**
 * chan_linger - let last words (an ERROR) reach a peer that is still writing.
 * Ends the writing direction, then drops what comes until the peer ends too,
 * for
 * @ms at most in all.  Without it a close with bytes unread resets a TCP
 * connection, and the reset may overtake the words.  Then chan_close().
 */
void chan_linger(struct chan *chan, int ms);

/* End every operation, now and later, with -ECANCELED; the peer sees the end of
 * the stream.  Any thread, any number of times. */
void chan_shutdown(struct chan *chan);
/* Shut down and free; a file without chan_finish() may be torn.  exec: the
 * command has CHAN_EXEC_GRACE_MS to end, then its process group is killed.
 * NULL is allowed. */
void chan_close(struct chan *chan);
/* exec: the wait status of a command that has ended, else 0 (chan_finish()
 * waits for it). */
int chan_exit_status(struct chan *chan);

#endif
