/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/control_socket.c - the socket file: nobody else's is taken away, and a
 * dead one does not stand in the way.
 */
#include "vmm/control_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/log.h"

#define BACKLOG 16

/* Those who replace a dead socket in a folder of our own do so one after the
 * other.  In a folder that others can open, a lock would let them stop us.
 * Return: an fd to close, or -1. */
static int lock_folder(const char *path)
{
	char *copy = strdup(path);
	struct stat st;
	int fd = -1;

	if (!copy)
		return -1;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() ||
		(st.st_mode & 077) != 0 || flock(fd, LOCK_EX) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Does somebody listen there?  1, 0 (dead) or -errno. */
static int is_live(const struct sockaddr_un *addr)
{
	int fd, ret = 1;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		if (errno == ECONNREFUSED)
			ret = 0;
		else if (errno != EAGAIN) /* full, so alive */
			ret = -errno;
	}
	close(fd);
	return ret;
}

/* 0: nothing is there (any more). */
static int clear_place(const struct sockaddr_un *addr, struct error *err)
{
	struct stat st;
	int ret;

	if (lstat(addr->sun_path, &st) < 0) {
		if (errno == ENOENT)
			return 0;
		return error_errno(
			err, -errno, "control socket %s", addr->sun_path);
	}
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST,
			"control socket %s: something else has this name (give "
			"--control another FILE)",
			addr->sun_path);
	ret = is_live(addr);
	if (ret < 0)
		return error_errno(
			err, ret, "control socket %s", addr->sun_path);
	if (ret > 0)
		return error_set(err, -EADDRINUSE,
			"control socket %s: a running VM has it (give another "
			"--name or --control FILE)",
			addr->sun_path);
	log_info("control socket %s: its godwit is gone, replaced",
		addr->sun_path);
	if (unlink(addr->sun_path) < 0 && errno != ENOENT)
		return error_errno(err, -errno, "control socket %s: replace it",
			addr->sun_path);
	return 0;
}

static int bind_there(
	struct control *control, const struct sockaddr_un *addr, int *ret_fd)
{
	struct stat st;
	int fd, code;

	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The file gets the mode that the socket has: no moment of another,
	 * and no umask of the process to change.  unix(7) */
	if (fchmod(fd, 0600) < 0 ||
		bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		goto fail;
	if (listen(fd, BACKLOG) < 0 || lstat(addr->sun_path, &st) < 0) {
		code = -errno;
		unlink(addr->sun_path);
		close(fd);
		return code;
	}
	control->dev = st.st_dev;
	control->ino = st.st_ino;
	*ret_fd = fd;
	return 0;
fail:
	code = -errno;
	close(fd);
	return code;
}

int control_socket_open(struct control *control, struct error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = strlen(control->path);
	int lock, ret;

	if (len == 0)
		return error_set(err, -EINVAL,
			"control socket: the name is empty (give --control "
			"FILE)");
	if (len >= sizeof(addr.sun_path))
		return error_set(err, -ENAMETOOLONG,
			"control socket %.300s: the path has %zu bytes (give "
			"one of at most %zu)",
			control->path, len, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, control->path, len + 1);
	lock = lock_folder(control->path);
	ret = clear_place(&addr, err);
	if (ret == 0) {
		ret = bind_there(control, &addr, &control->fd);
		if (ret < 0)
			error_errno(
				err, ret, "control socket %s", control->path);
		if (ret == -ENOENT)
			error_set(err, ret,
				"control socket %s: its folder does not exist "
				"(create it)",
				control->path);
	}
	if (lock >= 0)
		close(lock);
	return ret;
}

void control_socket_close(struct control *control)
{
	struct stat st;
	int lock;

	if (control->fd < 0)
		return;
	lock = lock_folder(control->path);
	if (lstat(control->path, &st) == 0 && st.st_dev == control->dev &&
		st.st_ino == control->ino)
		unlink(control->path);
	if (lock >= 0)
		close(lock);
	close(control->fd);
	control->fd = -1;
}
