/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/charfd.c - fds that never make us wait; see charfd.h.
 *
 * Main loop only.
 */
#include "devices/charfd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* A POLLOUT of a pipe promises a page; of a terminal, a few hundred bytes. */
#define BOUNDED_TTY 64u

/* Opening /dev/ptmx again would make another terminal pair. */
static bool is_pty_master(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(5, 2);
}

static int reopen(int fd, int mode, const struct stat *was)
{
	struct stat st;
	char path[32];
	int again;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (again < 0)
		return -errno;
	if (fstat(again, &st) == 0 && st.st_dev == was->st_dev &&
		st.st_ino == was->st_ino && st.st_rdev == was->st_rdev)
		return again;
	close(again);
	return -ESTALE;
}

int charfd_init(struct charfd *c, int fd, int mode)
{
	struct stat st;
	int flags, again;

	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((flags & O_ACCMODE) != mode && (flags & O_ACCMODE) != O_RDWR)
		return -EBADF;
	*c = (struct charfd){.fd = fd, .kind = CHARFD_BOUNDED};
	if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) || S_ISDIR(st.st_mode) ||
		(S_ISCHR(st.st_mode) && !isatty(fd))) {
		c->kind = CHARFD_FILE;
	} else if (S_ISSOCK(st.st_mode)) {
		c->kind = CHARFD_SOCKET;
	} else if (flags & O_NONBLOCK) {
		c->kind = CHARFD_STREAM;
	} else if ((S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) &&
		   !is_pty_master(&st)) {
		again = reopen(fd, mode, &st);
		if (again >= 0)
			*c = (struct charfd){again, CHARFD_STREAM, true};
	}
	return 0;
}

void charfd_fini(struct charfd *c)
{
	if (c->owned)
		close(c->fd);
	*c = (struct charfd){.fd = -1};
}

/* Return: 0, -EAGAIN if @events would have to wait, -errno. */
static int ready_now(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};
	int n = poll(&p, 1, 0);

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n == 0 ? -EAGAIN : 0;
}

ssize_t charfd_read(struct charfd *c, void *buf, size_t len)
{
	ssize_t n;
	int err;

	if (c->kind == CHARFD_BOUNDED) {
		err = ready_now(c->fd, POLLIN);
		if (err < 0)
			return err;
	}
	do {
		n = c->kind == CHARFD_SOCKET
			    ? recv(c->fd, buf, len, MSG_DONTWAIT)
			    : read(c->fd, buf, len);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t write_bounded(int fd, const struct iovec *iov)
{
	size_t len = iov->iov_len, most = isatty(fd) ? BOUNDED_TTY : PIPE_BUF;
	int err = ready_now(fd, POLLOUT);

	ssize_t n;

	if (err < 0)
		return err;
	do {
		n = write(fd, iov->iov_base, len < most ? len : most);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

ssize_t charfd_write(struct charfd *c, const struct iovec *iov, int count)
{
	struct msghdr msg = {0};
	ssize_t n;

	switch (c->kind) {
	case CHARFD_SOCKET:
		msg.msg_iovlen = (size_t)count;
		/* The kernel only reads through it. */
		msg.msg_iov = (struct iovec *)(uintptr_t)iov;
		do {
			n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		} while (n < 0 && errno == EINTR);
		break;
	case CHARFD_BOUNDED:
		return write_bounded(c->fd, iov);
	default:
		do {
			n = writev(c->fd, iov, count);
		} while (n < 0 && errno == EINTR);
		break;
	}
	return n < 0 ? -errno : n;
}

int charfd_wait_writable(struct charfd *c, int timeout_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLOUT};
	int n;

	do {
		n = poll(&p, 1, timeout_ms);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}
