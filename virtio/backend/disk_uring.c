/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_uring.c - engine: reads, writes, flushes and
 * fallocate() as operations of the loop's own ring (loop/uring.h).
 *
 * A request needs no memory beside its own.  It is one operation on its iovecs
 * as they lie there; after a short transfer, the rest of the iovec in which
 * that ended, then those after it.  The kernel may look at the iovecs up to the
 * next wait, and at the bytes up to the completion.
 *
 * What a ring refuses to do in its own way, a worker can do by waiting, or in
 * another way.
 *
 * Home.
 */
#include "virtio/backend/disk_private.h"

#include <errno.h>
#include <limits.h>
#include <liburing.h>

/* What one read(2) or write(2) transfers at most; a multiple of any block. */
#define PIECE_MAX 0x7ffff000u

/* What of @req->iov comes next: whole iovecs from *ret_first on, or only part
 * of that one, in *ret_part. */
static bool next_piece(const struct disk_request *req, unsigned *ret_first,
	struct iovec *ret_part)
{
	uint64_t skip = req->transferred;
	unsigned i = 0;

	while (skip >= req->iov[i].iov_len)
		skip -= req->iov[i++].iov_len;
	*ret_first = i;
	ret_part->iov_base = (uint8_t *)req->iov[i].iov_base + skip;
	ret_part->iov_len = req->iov[i].iov_len - skip;
	if (ret_part->iov_len > PIECE_MAX)
		ret_part->iov_len = PIECE_MAX;
	return skip > 0 || i + 1 == req->iovs;
}

static void fill(struct io_uring_sqe *sqe, const struct disk_request *req)
{
	uint64_t at = req->offset + req->transferred;
	int fd = req->disk->fd;
	struct iovec part;
	unsigned i, n;

	if (req->op == DISK_FLUSH) {
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	} else if (req->mode != 0) {
		io_uring_prep_fallocate(sqe, fd, req->mode, at, req->bytes);
	} else if (next_piece(req, &i, &part)) {
		n = (unsigned)part.iov_len;
		if (req->op == DISK_READ)
			io_uring_prep_read(sqe, fd, part.iov_base, n, at);
		else
			io_uring_prep_write(sqe, fd, part.iov_base, n, at);
	} else {
		n = req->iovs - i < IOV_MAX ? req->iovs - i : IOV_MAX;
		if (req->op == DISK_READ)
			io_uring_prep_readv(sqe, fd, req->iov + i, n, at);
		else
			io_uring_prep_writev(sqe, fd, req->iov + i, n, at);
	}
	if (req->op == DISK_WRITE && req->sync)
		sqe->rw_flags = RWF_DSYNC;
}

static bool submit(struct disk_request *req)
{
	struct io_uring_sqe *sqe = loop_uring_prep(&req->uring);

	if (sqe)
		fill(sqe, req);
	return sqe != NULL;
}

static void move_to_pool(struct disk_request *req)
{
	int err = disk_pool_begin(req);

	req->disk->stats.moved++;
	if (err < 0)
		disk_request_over(req, err);
}

/* Is @res that of an operation which a worker may do in another way? */
static bool refused(const struct disk_request *req, int32_t res)
{
	if (res == -EOPNOTSUPP || res == -EINVAL)
		return req->mode != 0 || req->sync;
	return res == -ECANCELED || res == -EAGAIN;
}

static void op_over(void *opaque, int32_t res)
{
	struct disk_request *req = opaque;

	/* ECANCELED: the ring is gone, or the thread that had it; we never
	 * cancel.  EAGAIN: this file only serves who can sleep. */
	if (refused(req, res)) {
		if (res == -EOPNOTSUPP && req->op == DISK_ZERO && !req->unmap)
			req->disk->no_zero_range = true;
		move_to_pool(req);
		return;
	}
	if (res > 0)
		req->transferred += (uint32_t)res;
	if (res < 0 && res != -EINTR)
		disk_request_over(req, res);
	else if (res == 0 && (req->op == DISK_FLUSH || req->mode != 0))
		disk_request_over(req, 0);
	else if (res == 0)
		disk_request_over(req, -EIO); /* the file was cut short */
	else if (res >= 0 && req->transferred >= req->bytes)
		disk_request_over(req, 0);
	else if (!submit(req))
		move_to_pool(req);
}

bool disk_uring_begin(struct disk_request *req)
{
	loop_op_init(&req->uring, req->disk->loop, op_over, req);
	return submit(req);
}
