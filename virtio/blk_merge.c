/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk_merge.c - reads, writes and flushes on their way to the disk.
 *
 * Neighbours of one batch, in the same direction and each beginning where the
 * one before ends, become one operation of the host.  Guests read and write
 * streams that way, and an operation costs more than its bytes.  Requests
 * which do not fit are never held up for more than the batch.
 *
 * Should the host fail such an operation, nobody knows what became of each
 * part: every request is then done by itself and gets its own status.  That
 * may write the same bytes twice, which a driver cannot tell.
 *
 * Thread: the device's loop.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/blk_private.h"

/* Several requests as one. */
struct merged {
	struct blk *blk;
	struct blk_request *first;
	struct disk_request disk;
	struct iovec iov[]; /* disk.iov */
};

/* ---- one by one ---- */

static void request_done(void *opaque, int result)
{
	struct blk_request *req = opaque;
	struct blk *blk = req->blk;

	/* The bytes landed even if a reset came, or if the read failed late. */
	if (req->disk.op == DISK_READ)
		virtq_mark_written(
			blk->dev.gm, req->iov, req->disk.iovs, req->read_bytes);
	blk_finish_result(blk, req->ticket, &req->status, &req->disk, result,
		req->read_bytes);
	free(req);
}

static void submit(struct blk_request *req)
{
	int rc = disk_submit(req->blk->disk, &req->disk);

	if (rc < 0)
		request_done(req, rc);
}

/* ---- several ---- */

static void merged_done(void *opaque, int result)
{
	struct merged *m = opaque;
	struct blk_request *req, *next;

	for (req = m->first; req; req = next) {
		next = req->next;
		if (result < 0)
			submit(req);
		else
			request_done(req, 0);
	}
	free(m);
}

static bool submit_merged(struct blk *blk, const struct blk_batch *b)
{
	struct merged *m = malloc(sizeof(*m) + b->iovs * sizeof(m->iov[0]));
	const struct blk_request *req;
	unsigned n = 0;

	if (!m)
		return false;
	for (req = b->first; req; req = req->next) {
		memcpy(m->iov + n, req->iov,
			req->disk.iovs * sizeof(req->iov[0]));
		n += req->disk.iovs;
	}
	assert(n == b->iovs);
	m->blk = blk;
	m->first = b->first;
	m->disk = (struct disk_request){
		.op = b->first->disk.op,
		.iov = m->iov,
		.iovs = n,
		.offset = b->first->disk.offset,
		.parts = b->count,
		.done = merged_done,
		.opaque = m,
	};
	if (disk_submit(blk->disk, &m->disk) == 0)
		return true;
	free(m);
	return false;
}

void blk_batch_end(struct blk *blk)
{
	struct blk_batch b = blk->batch;
	struct blk_request *req, *next;

	blk->batch = (struct blk_batch){0};
	if (b.count > 1 && submit_merged(blk, &b))
		return;
	for (req = b.first; req; req = next) {
		next = req->next;
		submit(req);
	}
}

static bool fits(
	const struct blk *blk, const struct blk_request *req, uint64_t bytes)
{
	const struct blk_batch *b = &blk->batch;

	return b->first->disk.op == req->disk.op &&
	       b->first->disk.offset + b->bytes == req->disk.offset &&
	       b->bytes + bytes <= BLK_MERGE_BYTES &&
	       b->iovs + req->disk.iovs <= BLK_MERGE_IOVS &&
	       disk_takes(
		       blk->disk, req->iov, req->disk.iovs, req->disk.offset) &&
	       (b->count > 1 || disk_takes(blk->disk, b->first->iov, b->iovs,
					b->first->disk.offset));
}

static void batch_add(struct blk *blk, struct blk_request *req, uint64_t bytes)
{
	struct blk_batch *b = &blk->batch;

	if (b->first && !fits(blk, req, bytes))
		blk_batch_end(blk);
	if (b->first)
		b->last->next = req;
	else
		b->first = req;
	b->last = req;
	b->count++;
	b->iovs += req->disk.iovs;
	b->bytes += bytes;
}

/* ---- from blk.c ---- */

uint8_t blk_transfer(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p, enum disk_op op)
{
	const struct iovec *iov = op == DISK_READ ? p->in : p->out;
	unsigned count = op == DISK_FLUSH  ? 0
			 : op == DISK_READ ? p->ins
					   : p->outs;
	uint64_t bytes = op == DISK_READ ? p->in_bytes : p->out_bytes;
	struct blk_request *req;

	req = malloc(sizeof(*req) + count * sizeof(req->iov[0]));
	if (!req)
		return VIRTIO_BLK_S_IOERR;
	*req = (struct blk_request){
		.blk = blk,
		.ticket = ticket,
		.disk = {.op = op,
			.iov = req->iov,
			.iovs = count,
			.offset = op == DISK_FLUSH
					  ? 0
					  : p->header.sector * BLK_SECTOR,
			.done = request_done,
			.opaque = req},
		.status = p->status,
		.read_bytes = op == DISK_READ ? (uint32_t)bytes : 0,
	};
	memcpy(req->iov, iov, count * sizeof(req->iov[0]));
	if (op == DISK_WRITE)
		disk_set_writethrough(blk->disk, blk_writethrough(blk));
	if (op == DISK_FLUSH)
		submit(req);
	else
		batch_add(blk, req, bytes);
	return VIRTIO_BLK_S_OK;
}
