/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/unix_socket.h - UNIX stream sockets with a name: listening at
 * a path, and connecting to one.  Nothing here blocks.
 *
 * Nobody's live socket is taken away, and a dead one does not stand in the way.
 * Thread: any, one at a time for one listener.
 */
#ifndef GODWIT_VIRTIO_BACKEND_UNIX_SOCKET_H
#define GODWIT_VIRTIO_BACKEND_UNIX_SOCKET_H

#include <sys/types.h>
#include <sys/un.h>

struct error;

#define UNIX_PATH_BYTES (sizeof(((struct sockaddr_un *)0)->sun_path) - 1)

struct unix_listener {
	int fd; /* owned; -1: does not listen */
	char path[UNIX_PATH_BYTES + 1];
	dev_t dev; /* of the file, which is ours as long as it is this one */
	ino_t ino;
};

/**
 * unix_listen - bind a socket of mode 0600 at @path and listen.
 * @who: for messages: "vsock0".
 * Return: 0, or -errno with @err and l->fd -1: -ENAMETOOLONG, -EADDRINUSE
 *         (somebody listens there), -EEXIST (no socket), what bind(2) says.
 */
int unix_listen(struct unix_listener *l, const char *who, const char *path,
	struct error *err);

/* Close, and remove the file unless it is another's by now.  Once or more. */
void unix_unlisten(struct unix_listener *l);

/* A connected non-blocking socket, or -errno: -ECONNREFUSED, -ENOENT, -EAGAIN
 * (the listener has too many waiting), -EMFILE, ... */
int unix_connect(const char *path);

/* The next connection, non-blocking, or -errno: -EAGAIN (none). */
int unix_accept(const struct unix_listener *l);

#endif
