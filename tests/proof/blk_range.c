/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/blk_range.c - every sector, every length, every size of disk that
 * has a size in bytes.
 * promise: what a request reads, writes or trims lies wholly on its disk
 * functions: blk_range_ok,bytes_ok,check
 * break: virtio/blk.c s/n <= blk->sectors - sector/sector + n <= blk->sectors/
 * break: virtio/blk_trim.c s/s->num_sectors > most \|\|//
 */
#include "tests/proof/proof.h"

#include "virtio/blk_private.h"

/*@ predicate on_disk(struct blk *blk, integer first, integer n) =
	0 <= first && 0 <= n && first + n <= blk->sectors;

    predicate sane(struct blk *blk) =
	\valid_read(blk) && blk->sectors <= UINT64_MAX / BLK_SECTOR;
*/

/*@ requires sane(blk);
    assigns \nothing;
    ensures \result != 0 <==> on_disk(blk, sector, n);
*/
bool blk_range_ok(const struct blk *blk, uint64_t sector, uint64_t n);

/* So that neither offset nor end wraps when they become bytes. */
/*@ requires sane(blk);
    assigns \nothing;
    ensures \result != 0 <==> 0 < bytes <= VIRTIO_BLK_REQUEST_MAX &&
	bytes % BLK_SECTOR == 0 && on_disk(blk, sector, bytes / BLK_SECTOR);
    ensures \result != 0 ==>
	sector * BLK_SECTOR + bytes <= blk->sectors * BLK_SECTOR <= UINT64_MAX;
*/
static bool bytes_ok(const struct blk *blk, uint64_t sector, uint64_t bytes);

/*@ requires sane(blk) && \valid_read(s) && \separated(s, blk);
    assigns \nothing;
    ensures \result == VIRTIO_BLK_S_OK ==>
	on_disk(blk, s->sector, s->num_sectors);
    ensures \result == VIRTIO_BLK_S_OK ==> 0 < s->num_sectors <=
	(op == DISK_ZERO ? BLK_ZERO_SECTORS : BLK_DISCARD_SECTORS);
    ensures \result == VIRTIO_BLK_S_OK && op == DISK_DISCARD ==>
	s->flags == 0;
    ensures s->num_sectors > 0 && s->flags == 0 && s->num_sectors <=
	(op == DISK_ZERO ? BLK_ZERO_SECTORS : BLK_DISCARD_SECTORS) &&
	on_disk(blk, s->sector, s->num_sectors) ==>
	\result == VIRTIO_BLK_S_OK;
*/
static uint8_t check(const struct blk *blk,
	const struct virtio_blk_discard_write_zeroes *s, enum disk_op op);

#include "virtio/blk.c"
#include "virtio/blk_trim.c"
