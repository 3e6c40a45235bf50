/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk_state.c - what a block device tells and keeps: configuration
 * space, capacity, cache mode; save and load.
 *
 * Saved: u64 capacity in sectors, which the image at hand must have; a larger
 * one is used that far until a resize.  Subsection "wce" (u8), if the driver
 * has chosen a cache mode and it is writethrough.  Limits are the host's: where
 * a machine goes on it begins with those of that host, and what waits for them
 * is in the rings.
 *
 * Thread: the device's loop, but where it says otherwise.
 */
#include <endian.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "migrate/state.h"
#include "virtio/blk_private.h"
#include "vmm/error.h"

#define SUB_WCE		"wce"
#define SUB_WCE_VERSION 1u
#define CONFIG_BYTES	offsetof(struct virtio_blk_config, unused1)
#define CONFIG_WCE	offsetof(struct virtio_blk_config, wce)

/* ---- what the driver sees ---- */

uint64_t blk_features(const struct blk *blk, unsigned queues, bool discard)
{
	uint64_t f = 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_SEG_MAX |
		     1ull << VIRTIO_BLK_F_BLK_SIZE |
		     1ull << VIRTIO_BLK_F_CONFIG_WCE;

	if (queues > 1)
		f |= 1ull << VIRTIO_BLK_F_MQ;
	if (blk->readonly)
		return f | 1ull << VIRTIO_BLK_F_RO;
	if (discard && disk_can_discard(blk->disk))
		f |= 1ull << VIRTIO_BLK_F_DISCARD;
	return f | 1ull << VIRTIO_BLK_F_WRITE_ZEROES;
}

static bool offers(const struct blk *blk, unsigned bit)
{
	return blk->dev.features >> bit & 1;
}

void blk_set_config(struct blk *blk)
{
	uint32_t block = disk_block_bytes(blk->disk);
	struct virtio_blk_config c = {
		.capacity = htole64(blk->sectors),
		.seg_max = htole32(BLK_SEG_MAX),
		.blk_size = htole32(block),
		.wce = atomic_load(&blk->wce),
		.num_queues = htole16((uint16_t)blk->dev.queues),
	};

	if (offers(blk, VIRTIO_BLK_F_DISCARD)) {
		c.max_discard_sectors = htole32(BLK_DISCARD_SECTORS);
		c.max_discard_seg = htole32(BLK_DISCARD_SEGS);
		c.discard_sector_alignment = htole32(block / BLK_SECTOR);
	}
	if (offers(blk, VIRTIO_BLK_F_WRITE_ZEROES)) {
		c.max_write_zeroes_sectors = htole32(BLK_ZERO_SECTORS);
		c.max_write_zeroes_seg = htole32(BLK_ZERO_SEGS);
		c.write_zeroes_may_unmap = offers(blk, VIRTIO_BLK_F_DISCARD);
	}
	virtio_dev_set_config(&blk->dev, 0, &c, CONFIG_BYTES, false);
}

static void set_capacity(struct blk *blk, uint64_t sectors, bool announce)
{
	uint64_t le = htole64(sectors);

	blk->sectors = sectors;
	virtio_dev_set_config(&blk->dev, 0, &le, sizeof(le), announce);
}

/* ---- cache mode (5.2.5.2) ---- */

bool blk_writethrough(const struct blk *blk)
{
	const struct virtio_dev *dev = &blk->dev;

	if (virtio_dev_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		return !atomic_load(&blk->wce);
	/* Who cannot flush expects nothing to be flushed. */
	return !virtio_dev_has(dev, VIRTIO_BLK_F_FLUSH) ||
	       disk_cache(blk->disk) == DISK_WRITETHROUGH;
}

/* vCPU thread.  Writes from the next one on are done so. */
void blk_write_config(
	struct virtio_dev *dev, uint64_t off, unsigned len, uint32_t value)
{
	struct blk *blk = blk_of(dev);
	uint8_t wce = value & 1;

	if (off != CONFIG_WCE || len != 1 ||
		!virtio_dev_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		return;
	atomic_store(&blk->wce, wce);
	virtio_dev_set_config(dev, CONFIG_WCE, &wce, 1, false);
}

/* ---- resize, figures: the main thread ---- */

struct resize {
	struct blk *blk;
	uint64_t bytes;
	bool shrink;
	struct error *err;
	int code;
};

static void resize(void *opaque)
{
	struct resize *r = opaque;
	struct blk *blk = r->blk;
	unsigned i;

	/* Or a busy driver would keep the drain of a shrink from ending. */
	blk->frozen = true;
	r->code = disk_resize(blk->disk, r->bytes, r->shrink, r->err);
	blk->frozen = false;
	if (r->code == 0)
		set_capacity(blk, disk_bytes(blk->disk) / BLK_SECTOR, true);
	for (i = 0; i < blk->dev.queues; i++)
		virtio_dev_run(&blk->dev, i);
}

int virtio_blk_resize(
	struct virtio_dev *dev, uint64_t bytes, bool shrink, struct error *err)
{
	struct resize r = {.blk = blk_of(dev),
		.bytes = bytes,
		.shrink = shrink,
		.err = err};
	int rc = loop_run_sync(dev->loop, resize, &r, dev->name);

	return rc < 0 ? error_errno(err, rc, "%s: resize", dev->name) : r.code;
}

struct stats_query {
	struct blk *blk;
	struct virtio_blk_stats *ret;
};

static void get_stats(void *opaque)
{
	struct stats_query *q = opaque;

	*q->ret = q->blk->stats;
	q->ret->bytes = q->blk->sectors * BLK_SECTOR;
	disk_stats(q->blk->disk, &q->ret->disk);
}

void virtio_blk_stats(
	struct virtio_dev *dev, struct virtio_blk_stats *ret_stats)
{
	struct stats_query q = {.blk = blk_of(dev), .ret = ret_stats};

	memset(ret_stats, 0, sizeof(*ret_stats));
	loop_run_sync(dev->loop, get_stats, &q, dev->name);
}

/* ---- save and load: the main thread, quiesced ---- */

void blk_save(const struct virtio_dev *dev, struct state_writer *w)
{
	const struct blk *blk = (const struct blk *)dev;

	state_put_u64(w, blk->sectors);
	if (!virtio_dev_has(dev, VIRTIO_BLK_F_CONFIG_WCE) ||
		atomic_load(&blk->wce))
		return;
	state_sub_begin(w, SUB_WCE, SUB_WCE_VERSION);
	state_put_u8(w, 0);
	state_sub_end(w);
}

int blk_load(struct virtio_dev *dev, struct state_reader *r, struct error *err)
{
	struct blk *blk = blk_of(dev);

	blk->staged.sectors = state_get_u64(r);
	blk->staged.wce = 1;
	if (r->error)
		return r->error;
	if (blk->staged.sectors == 0 ||
		blk->staged.sectors > disk_bytes(blk->disk) / BLK_SECTOR)
		return state_reject(r, err, "a disk of another size");
	return 0;
}

int blk_load_sub(
	struct virtio_dev *dev, struct state_reader *sub, struct error *err)
{
	struct blk *blk = blk_of(dev);

	if (strcmp(sub->name, SUB_WCE) != 0)
		return 0;
	if (sub->version != SUB_WCE_VERSION)
		return state_reject(sub, err, "an unknown version");
	blk->staged.wce = state_get_u8(sub);
	if (sub->error)
		return sub->error;
	if (blk->staged.wce != 0)
		return state_reject(sub, err, "an impossible cache mode");
	return 1;
}

/* The device's loop; the features are known. */
void blk_loaded(struct virtio_dev *dev)
{
	struct blk *blk = blk_of(dev);

	if (virtio_dev_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		atomic_store(&blk->wce, blk->staged.wce);
	blk->sectors = blk->staged.sectors;
	blk_set_config(blk);
}
