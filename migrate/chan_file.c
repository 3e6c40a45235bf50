/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/chan_file.c - a file as a one-way channel.  Regular files and
 * character devices only: to open a FIFO could block for ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "migrate/chan_priv.h"
#include "vmm/error.h"

struct chan_file {
	struct chan chan;
	int fd; /* owned */
	bool write;
};

static ssize_t file_readv(struct chan *chan, struct iovec *iov, int iovs)
{
	struct chan_file *f = (struct chan_file *)chan;
	ssize_t n = readv(f->fd, iov, iovs);

	return n < 0 ? -errno : n;
}

static ssize_t file_writev(struct chan *chan, struct iovec *iov, int iovs)
{
	struct chan_file *f = (struct chan_file *)chan;
	ssize_t n = writev(f->fd, iov, iovs);

	return n < 0 ? -errno : n;
}

static int file_finish(struct chan *chan, struct error *err)
{
	struct chan_file *f = (struct chan_file *)chan;

	if (!f->write || fsync(f->fd) == 0)
		return 0;
	if (errno == EINVAL)
		return 0; /* a device that has nothing to sync */
	return error_errno(err, -errno,
		"%s: fsync (the file may be torn: write it again)", chan->name);
}

static void file_shutdown(struct chan *chan)
{
	/* Reads and writes of files end by themselves. */
}

static void file_destroy(struct chan *chan)
{
	close(((struct chan_file *)chan)->fd);
	free(chan);
}

static int file_fd(const struct chan *chan)
{
	return ((const struct chan_file *)chan)->fd;
}

static const struct chan_ops file_ops = {
	.readv = file_readv,
	.writev = file_writev,
	.finish = file_finish,
	.shutdown = file_shutdown,
	.destroy = file_destroy,
	.fd = file_fd,
	.two_way = false,
};

static int check_type(int fd, const struct chan_addr *addr, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, -errno, "%s: stat", addr->text);
	if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		return error_set(err, -EINVAL,
			"%s: not a regular file (for pipes use exec:)",
			addr->text);
	return 0;
}

int chan_file(const struct chan_addr *addr, bool write, struct chan **ret_chan,
	struct error *err)
{
	const int how = O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
			(write ? O_WRONLY | O_CREAT : O_RDONLY);
	struct chan_file *f;
	int fd, rc;

	fd = open(addr->path, how, 0600);
	if (fd < 0)
		return error_errno(err, -errno, "%s: open", addr->text);
	rc = check_type(fd, addr, err);
	if (rc < 0)
		goto fail;
	/* Now that it is known to be a file: empty it. */
	if (write && ftruncate(fd, 0) < 0 && errno != EINVAL) {
		rc = error_errno(err, -errno, "%s: truncate", addr->text);
		goto fail;
	}
	f = calloc(1, sizeof(*f));
	if (!f) {
		rc = error_errno(err, -ENOMEM, "%s", addr->text);
		goto fail;
	}
	chan_init(&f->chan, &file_ops, addr->text);
	f->fd = fd;
	f->write = write;
	*ret_chan = &f->chan;
	return 0;
fail:
	close(fd);
	return rc;
}
