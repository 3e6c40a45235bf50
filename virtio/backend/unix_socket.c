/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/backend/unix_socket.c - see unix_socket.h.  Source: unix(7). */
#include "virtio/backend/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/log.h"

#define BACKLOG 32

static bool set_address(struct sockaddr_un *addr, const char *path)
{
	size_t len = strlen(path);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0 || len > UNIX_PATH_BYTES)
		return false;
	memcpy(addr->sun_path, path, len + 1);
	return true;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

static int connect_to(const struct sockaddr_un *addr)
{
	int fd = new_socket(), err;

	if (fd < 0)
		return fd;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int unix_connect(const char *path)
{
	struct sockaddr_un addr;

	return set_address(&addr, path) ? connect_to(&addr) : -ENAMETOOLONG;
}

int unix_accept(const struct unix_listener *l)
{
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

/* ---- listening ---- */

/* Those who replace a dead socket in a folder of their own take turns.  In a
 * folder that others can open they could hold us up, so there is no lock.
 * Return: an fd to close, or -1. */
static int lock_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[UNIX_PATH_BYTES + 1] = ".";
	struct stat st;
	int fd;

	if (slash) {
		/* Of "/x" it is "/". */
		size_t len = slash > path ? (size_t)(slash - path) : 1;

		memcpy(folder, path, len);
		folder[len] = '\0';
	}
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || st.st_uid != geteuid() ||
		(st.st_mode & 077) != 0 || flock(fd, LOCK_EX) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Nothing may be there, or a socket that nobody listens on.  0 or -errno. */
static int clear_place(
	const struct sockaddr_un *addr, const char *who, struct error *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	int rc;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0
				       : error_errno(err, -errno,
						 "%s: socket %s", who, path);
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST,
			"%s: socket %s: something else has this name (use "
			"another path)",
			who, path);
	rc = connect_to(addr);
	if (rc >= 0)
		close(rc);
	if (rc >= 0 || rc == -EAGAIN)
		return error_set(err, -EADDRINUSE,
			"%s: socket %s: somebody listens there already (use "
			"another path)",
			who, path);
	if (rc == -ENOENT)
		return 0;
	if (rc != -ECONNREFUSED)
		return error_errno(err, rc, "%s: socket %s", who, path);
	log_info("%s: socket %s: nobody listens there any more, replaced", who,
		path);
	if (unlink(path) < 0 && errno != ENOENT)
		return error_errno(
			err, -errno, "%s: socket %s: replace it", who, path);
	return 0;
}

static int bind_there(struct unix_listener *l, const struct sockaddr_un *addr)
{
	struct stat st;
	int fd = new_socket(), err;
	bool bound = false;

	if (fd < 0)
		return fd;
	/* The file gets the mode that the socket has. */
	if (fchmod(fd, 0600) < 0 ||
		bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		goto fail;
	bound = true;
	if (listen(fd, BACKLOG) < 0 || lstat(addr->sun_path, &st) < 0)
		goto fail;
	l->fd = fd;
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	memcpy(l->path, addr->sun_path, sizeof(l->path));
	return 0;
fail:
	err = -errno;
	if (bound)
		unlink(addr->sun_path);
	close(fd);
	return err;
}

int unix_listen(struct unix_listener *l, const char *who, const char *path,
	struct error *err)
{
	struct sockaddr_un addr;
	int lock, rc;

	l->fd = -1;
	if (!set_address(&addr, path))
		return error_set(err, -ENAMETOOLONG,
			"%s: socket %.300s: the path has %zu bytes (give 1 to "
			"%zu)",
			who, path, strlen(path), UNIX_PATH_BYTES);
	lock = lock_folder(path);
	rc = clear_place(&addr, who, err);
	if (rc == 0) {
		rc = bind_there(l, &addr);
		if (rc == -ENOENT)
			error_set(err, rc,
				"%s: socket %s: its folder does not exist "
				"(create it)",
				who, path);
		else if (rc < 0)
			error_errno(err, rc, "%s: socket %s", who, path);
	}
	if (lock >= 0)
		close(lock);
	return rc;
}

void unix_unlisten(struct unix_listener *l)
{
	struct stat st;
	int lock;

	if (l->fd < 0)
		return;
	lock = lock_folder(l->path);
	if (lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
		st.st_ino == l->ino)
		unlink(l->path);
	if (lock >= 0)
		close(lock);
	close(l->fd);
	l->fd = -1;
}
