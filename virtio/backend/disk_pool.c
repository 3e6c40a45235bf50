/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/disk_pool.c - engine: a worker of the thread pool transfers,
 * by way of an aligned buffer if it must.
 *
 * Workers run all but the last function and work_over(), which are the home's.
 * They share nothing that changes: disk.c sees to it that a write of parts of
 * blocks, which reads first, has no other write beside it.
 */
#include "virtio/backend/disk_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "loop/pool.h"
#include "virtio/iov.h"

#define BOUNCE_BYTES (1u << 20) /* a multiple of every alignment */
#define BATCH_IOVS   64u

/* The bytes of @req from @done on, straight to or from its iovecs. */
static int transfer(
	const struct disk *disk, const struct disk_request *req, uint64_t done)
{
	struct iovec part[BATCH_IOVS];
	unsigned parts;
	off_t at;
	ssize_t n;

	while (done < req->bytes) {
		parts = iov_slice(req->iov, req->iovs, done, req->bytes - done,
			part, BATCH_IOVS);
		at = (off_t)(req->offset + done);
		n = req->op == DISK_READ
			    ? preadv(disk->fd, part, (int)parts, at)
			    : pwritev(disk->fd, part, (int)parts, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO; /* somebody cut the file short */
		done += (uint64_t)n;
	}
	return 0;
}

/* The same for one piece of plain aligned memory. */
static int transfer_plain(const struct disk *disk, enum disk_op op, void *buf,
	uint64_t len, uint64_t offset)
{
	struct iovec iov = {.iov_base = buf, .iov_len = (size_t)len};
	struct disk_request req = {.op = op,
		.iov = &iov,
		.iovs = 1,
		.offset = offset,
		.bytes = len};

	return transfer(disk, &req, 0);
}

/* Bytes [done, done + len) of @req by way of @bounce, which takes the blocks
 * [start, end) of the disk that they touch. */
static int bounce_chunk(const struct disk *disk, const struct disk_request *req,
	uint64_t done, uint64_t len, uint8_t *bounce)
{
	uint64_t at = req->offset + done;
	uint64_t start = at & ~(uint64_t)(disk->align - 1);
	uint64_t end =
		(at + len + disk->align - 1) & ~(uint64_t)(disk->align - 1);
	int err = 0;

	if (req->op == DISK_READ || start != at || end != at + len)
		err = transfer_plain(
			disk, DISK_READ, bounce, end - start, start);
	if (err < 0)
		return err;
	if (req->op == DISK_READ) {
		iov_write(req->iov, req->iovs, done, bounce + (at - start),
			(size_t)len);
		return 0;
	}
	if (req->op == DISK_ZERO)
		memset(bounce + (at - start), 0, (size_t)len);
	else
		iov_read(req->iov, req->iovs, done, bounce + (at - start),
			(size_t)len);
	return transfer_plain(disk, DISK_WRITE, bounce, end - start, start);
}

static int transfer_bounced(
	const struct disk *disk, const struct disk_request *req)
{
	uint8_t *bounce = aligned_alloc(DISK_BLOCK_MAX, BOUNCE_BYTES);
	uint64_t done = 0, len;
	int err = 0;

	if (!bounce)
		return -ENOMEM;
	for (; done < req->bytes && err == 0; done += len) {
		/* Up to the end of the buffer's last block, so that all but
		 * the first and the last chunk are whole blocks. */
		len = BOUNCE_BYTES - (req->offset + done) % disk->align;
		if (len > req->bytes - done)
			len = req->bytes - done;
		err = bounce_chunk(disk, req, done, len, bounce);
	}
	free(bounce);
	return err;
}

int disk_write_zeroes(const struct disk_request *req)
{
	return transfer_bounced(req->disk, req);
}

int disk_fdatasync(const struct disk *disk)
{
	int ret;

	do
		ret = fdatasync(disk->fd);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

static int work(void *opaque)
{
	const struct disk_request *req = opaque;
	int rc;

	if (req->op == DISK_FLUSH)
		return disk_fdatasync(req->disk);
	if (req->op == DISK_DISCARD || req->op == DISK_ZERO)
		rc = disk_trim_work(req);
	else if (req->bounce)
		rc = transfer_bounced(req->disk, req);
	else
		rc = transfer(req->disk, req, req->transferred);
	return rc == 0 && req->sync ? disk_fdatasync(req->disk) : rc;
}

static void work_over(void *opaque, int result)
{
	disk_request_over(opaque, result);
}

int disk_pool_begin(struct disk_request *req)
{
	return pool_submit(
		req->disk->pool, req->disk->loop, work, work_over, req, NULL);
}
