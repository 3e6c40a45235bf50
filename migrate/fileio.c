/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/fileio.c - see fileio.h.
 *
 * After an error no more is begun, but all that is in flight is waited for:
 * the buffers are guest RAM.  Only if the ring itself fails are they left to
 * the kernel, which holds its own reference to those pages.
 */
#include "migrate/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool drop_direct(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_DIRECT) &&
	       fcntl(fd, F_SETFL, flags & ~O_DIRECT) == 0;
}

void fileio_init(struct fileio *io, int fd, bool write, fileio_done_fn *done,
	void *opaque)
{
	memset(io, 0, sizeof(*io));
	io->fd = fd;
	io->write = write;
	io->done = done;
	io->opaque = opaque;
	io->has_ring = io_uring_queue_init(FILEIO_DEPTH, &io->ring, 0) == 0;
	if (!io->has_ring)
		drop_direct(fd);
}

static void over(struct fileio *io, struct fileio_op *op, int code)
{
	op->busy = false;
	if (code == 0 && io->error == 0 && io->done)
		code = io->done(io->opaque, op);
	if (io->error == 0)
		io->error = code;
}

/* What a transfer of @res bytes, or -errno, means.  True: go on with @op. */
static bool more(struct fileio *io, struct fileio_op *op, int64_t res)
{
	if (res > 0) {
		op->done += (uint32_t)res;
		if (op->done < op->len && io->error == 0)
			return true;
		over(io, op, 0);
		return false;
	}
	if (io->error == 0) {
		if (res == -EAGAIN || res == -EINTR)
			return true;
		/* This file, or what is left of a short transfer, cannot be
		 * direct. */
		if ((res == -EINVAL || res == -EOPNOTSUPP) &&
			drop_direct(io->fd))
			return true;
	}
	over(io, op, res < 0 ? (int)res : -EIO);
	return false;
}

/* ---- without a ring ---- */

static void do_now(struct fileio *io, struct fileio_op *op)
{
	ssize_t n;

	do {
		uint8_t *buf = op->buf + op->done;
		size_t len = op->len - op->done;
		off_t at = (off_t)(op->offset + op->done);

		n = io->write ? pwrite(io->fd, buf, len, at)
			      : pread(io->fd, buf, len, at);
	} while (more(io, op, n < 0 ? -errno : n));
}

/* ---- with a ring ---- */

static void ring_failed(struct fileio *io, int code)
{
	io->dead = true;
	if (io->error == 0)
		io->error = code;
}

static void begin(struct fileio *io, struct fileio_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&io->ring);
	uint8_t *buf = op->buf + op->done;
	unsigned len = op->len - op->done;
	uint64_t at = op->offset + op->done;
	int n;

	/* As many entries as operations: there is one. */
	if (io->write)
		io_uring_prep_write(sqe, io->fd, buf, len, at);
	else
		io_uring_prep_read(sqe, io->fd, buf, len, at);
	io_uring_sqe_set_data(sqe, op);
	io->in_flight++;
	do
		n = io_uring_submit(&io->ring);
	while (n == -EINTR || n == -EAGAIN);
	if (n < 0)
		ring_failed(io, n);
}

static void reap(struct fileio *io)
{
	struct io_uring_cqe *cqe;
	struct fileio_op *op;
	int res;

	do
		res = io_uring_wait_cqe(&io->ring, &cqe);
	while (res == -EINTR);
	if (res < 0) {
		ring_failed(io, res);
		return;
	}
	op = io_uring_cqe_get_data(cqe);
	res = cqe->res;
	io_uring_cqe_seen(&io->ring, cqe);
	io->in_flight--;
	if (more(io, op, res))
		begin(io, op);
}

int fileio_submit(struct fileio *io, void *buf, uint64_t offset, uint32_t len)
{
	unsigned i = 0;

	while (io->in_flight == FILEIO_DEPTH && !io->dead)
		reap(io);
	if (io->error != 0)
		return io->error;
	while (io->op[i].busy)
		i++;
	io->op[i] = (struct fileio_op){
		.buf = buf, .offset = offset, .len = len, .busy = true};
	if (io->has_ring)
		begin(io, &io->op[i]);
	else
		do_now(io, &io->op[i]);
	return io->error;
}

int fileio_fini(struct fileio *io)
{
	while (io->in_flight > 0 && !io->dead)
		reap(io);
	if (io->has_ring)
		io_uring_queue_exit(&io->ring);
	return io->error;
}
