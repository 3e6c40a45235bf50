/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/console.h - console with one port (virtio 1.2, 5.3) on two fds. */
#ifndef GODWIT_VIRTIO_CONSOLE_H
#define GODWIT_VIRTIO_CONSOLE_H

#include <stdint.h>

struct error;
struct virtio_dev;
struct virtio_env;

/**
 * virtio_console_create - a console that reads @in_fd and writes @out_fd.
 * @in_fd:  borrowed; -1: no input.
 * @out_fd: borrowed; -1: output is dropped.  May be the same as @in_fd.
 *          O_NONBLOCK is neither needed nor set, see devices/charfd.h.
 * The size is that of the terminal @out_fd, if it is one.
 * Return: 0, or -errno with @err (EBADF, ENOMEM, EMFILE).
 */
int virtio_console_create(const struct virtio_env *env, const char *name,
	int in_fd, int out_fd, struct virtio_dev **ret_dev, struct error *err);

/* The terminal has a new size, characters.  @dev: from the above.  Any thread.
 */
void virtio_console_resize(
	struct virtio_dev *dev, uint16_t cols, uint16_t rows);

#endif
