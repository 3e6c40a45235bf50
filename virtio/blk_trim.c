/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk_trim.c - discards and zeroes (virtio 1.2, 5.2.6.2).
 *
 * Their data are segments: u64 first sector, u32 sectors, u32 flags.  All are
 * copied and checked before the first is begun; then one after another is done.
 *
 * Thread: the device's loop.
 */
#include <endian.h>
#include <stdlib.h>

#include "virtio/blk_private.h"
#include "virtio/iov.h"

#define SEGS_MAX  BLK_DISCARD_SEGS
#define SEG_BYTES sizeof(struct virtio_blk_discard_write_zeroes)

/* A request in flight. */
struct trim {
	struct blk *blk;
	struct virtio_ticket ticket;
	struct disk_request disk; /* for the segment at work */
	struct iovec status;
	unsigned next, count;
	struct {
		uint64_t offset, bytes;
		bool unmap;
	} seg[]; /* count */
};

static void next_segment(struct trim *t);

static void segment_done(void *opaque, int result)
{
	struct trim *t = opaque;

	/* After a reset nobody wants the rest. */
	if (result == 0 && t->next < t->count &&
		!virtio_dev_stale(&t->blk->dev, t->ticket)) {
		next_segment(t);
		return;
	}
	blk_finish_result(t->blk, t->ticket, &t->status, &t->disk, result, 0);
	free(t);
}

static void next_segment(struct trim *t)
{
	int rc;

	t->disk.offset = t->seg[t->next].offset;
	t->disk.range = t->seg[t->next].bytes;
	t->disk.unmap = t->seg[t->next].unmap;
	t->next++;
	rc = disk_submit(t->blk->disk, &t->disk);
	if (rc < 0) {
		t->next = t->count;
		segment_done(t, rc);
	}
}

/* The segment at @i of @p's data, in host order. */
static bool read_segment(const struct blk_parsed *p, unsigned i,
	struct virtio_blk_discard_write_zeroes *ret_seg)
{
	if (iov_read(p->out, p->outs, (uint64_t)i * sizeof(*ret_seg), ret_seg,
		    sizeof(*ret_seg)) < sizeof(*ret_seg))
		return false;
	ret_seg->sector = le64toh(ret_seg->sector);
	ret_seg->num_sectors = le32toh(ret_seg->num_sectors);
	ret_seg->flags = le32toh(ret_seg->flags);
	return true;
}

uint64_t blk_trim_bytes(const struct blk_parsed *p)
{
	uint64_t sum = 0;
	struct virtio_blk_discard_write_zeroes s;
	unsigned i;

	for (i = 0; i < SEGS_MAX && read_segment(p, i, &s); i++)
		sum += (uint64_t)s.num_sectors * BLK_SECTOR;
	return sum;
}

static uint8_t check(const struct blk *blk,
	const struct virtio_blk_discard_write_zeroes *s, enum disk_op op)
{
	uint32_t flags =
		op == DISK_ZERO ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	uint32_t most =
		op == DISK_ZERO ? BLK_ZERO_SECTORS : BLK_DISCARD_SECTORS;

	if (s->flags & ~flags)
		return VIRTIO_BLK_S_UNSUPP;
	if (s->num_sectors == 0 || s->num_sectors > most ||
		!blk_range_ok(blk, s->sector, s->num_sectors))
		return VIRTIO_BLK_S_IOERR;
	return VIRTIO_BLK_S_OK;
}

static uint8_t take_segments(struct trim *t, const struct blk_parsed *p)
{
	uint8_t status;
	struct virtio_blk_discard_write_zeroes s;
	unsigned i;

	for (i = 0; i < t->count; i++) {
		if (!read_segment(p, i, &s))
			return VIRTIO_BLK_S_IOERR;
		status = check(t->blk, &s, t->disk.op);
		if (status != VIRTIO_BLK_S_OK)
			return status;
		t->seg[i].offset = s.sector * BLK_SECTOR;
		t->seg[i].bytes = (uint64_t)s.num_sectors * BLK_SECTOR;
		t->seg[i].unmap = s.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	}
	return VIRTIO_BLK_S_OK;
}

uint8_t blk_trim(struct blk *blk, struct virtio_ticket ticket,
	const struct blk_parsed *p, enum disk_op op)
{
	uint64_t n = p->out_bytes / SEG_BYTES;
	uint64_t most = op == DISK_ZERO ? BLK_ZERO_SEGS : BLK_DISCARD_SEGS;
	struct trim *t;
	uint8_t status;

	if (blk->readonly || n == 0 || n > most ||
		p->out_bytes % SEG_BYTES != 0)
		return VIRTIO_BLK_S_IOERR;
	t = calloc(1, sizeof(*t) + n * sizeof(t->seg[0]));
	if (!t)
		return VIRTIO_BLK_S_IOERR;
	t->blk = blk;
	t->ticket = ticket;
	t->status = p->status;
	t->count = (unsigned)n;
	t->disk.op = op;
	t->disk.done = segment_done;
	t->disk.opaque = t;
	status = take_segments(t, p);
	if (status != VIRTIO_BLK_S_OK) {
		free(t);
		return status;
	}
	disk_set_writethrough(blk->disk, blk_writethrough(blk));
	next_segment(t);
	return VIRTIO_BLK_S_OK;
}
