/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/charfd.h - the host end of a character device, never blocking.
 *
 * The fd may be anything a user can name: a file, a pipe, a socket, a terminal
 * or /dev/null, often inherited.  O_NONBLOCK is a flag of the open file
 * *description*, which an inherited stdin or stdout shares with the shell and
 * with whatever else the user runs, so it is never set here.  Instead:
 *
 *   pipe, terminal  a description of our own: /proc/self/fd/N opened again
 *   socket          MSG_DONTWAIT on each call (a socket cannot be re-opened)
 *   file, /dev/null used as is: they do not wait for a peer, and re-opening a
 *                   file would lose the offset shared with the parent
 *   what is left    (no /proc, no permission, a pty master): poll() first, then
 *                   at most as much as the kernel takes for one POLLOUT
 *
 * The process must ignore SIGPIPE; terminal_enter() sees to that.
 */
#ifndef GODWIT_DEVICES_CHARFD_H
#define GODWIT_DEVICES_CHARFD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct iovec;

enum charfd_kind {
	CHARFD_FILE,	/* as is */
	CHARFD_STREAM,	/* has O_NONBLOCK, ours or the giver's */
	CHARFD_SOCKET,	/* MSG_DONTWAIT */
	CHARFD_BOUNDED, /* poll, then a little */
};

struct charfd {
	int fd; /* what to watch; owned iff owned */
	enum charfd_kind kind;
	bool owned;
};

/**
 * charfd_init - make @fd usable without blocking.
 * @fd:   borrowed for the life of @c.
 * @mode: O_RDONLY or O_WRONLY: what it will be used for.
 * Return: 0, -EBADF, or -errno of fstat().
 */
int charfd_init(struct charfd *c, int fd, int mode);

/* Close what charfd_init() opened. */
void charfd_fini(struct charfd *c);

/* Return: bytes read, 0 at the end, -EAGAIN if there is nothing, -errno. */
ssize_t charfd_read(struct charfd *c, void *buf, size_t len);

/* Return: bytes taken (may be few), -EAGAIN if none now, -errno. */
ssize_t charfd_write(struct charfd *c, const struct iovec *iov, int count);

/* Wait until it takes bytes again.  May block.
 * Return: 0, -ETIMEDOUT, or -errno. */
int charfd_wait_writable(struct charfd *c, int timeout_ms);

#endif
