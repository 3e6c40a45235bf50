/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed_blk.c - reads of the first disk: at random, 4 KiB each, or one
 * after another, 128 KiB each.
 *
 * bench/devices makes the image: each block of 4 KiB begins with its number,
 * so that what was read can be told from what was not, at the cost of a word a
 * block.  A request is one descriptor with a table, as Linux makes them.
 */
#include "kernels/speed.h"

#include "kernels/lib/cpu.h"

#define BLOCK	    4096u
#define SECTOR	    512u
#define SLOTS	    64u
#define SLOT_BYTES  (256u << 10) /* of a slot in SPEED_DATA */
#define READ_BYTES  (128u << 10) /* a sequential one */
#define DATA_OFFSET (64u << 10)	 /* in a slot, behind header and table */
#define BLK_IN	    0u
#define BLK_OK	    0u
#define BLK_NONE    0xeeu

struct head {
	uint32_t type, reserved;
	uint64_t sector;
	struct virtq_desc table[3];
	volatile uint8_t status;
};

static uint64_t blocks; /* of the disk */

static struct head *head_of(unsigned slot)
{
	return (struct head *)(SPEED_DATA + (uint64_t)slot * SLOT_BYTES);
}

static volatile uint64_t *data_of(unsigned slot)
{
	return (volatile uint64_t *)((uint8_t *)head_of(slot) + DATA_OFFSET);
}

static void set_up(void *arg)
{
	struct virtio_queue *q = &speed.dev->queue[0];
	unsigned i, at;

	for (i = 0; i < SLOTS; i++) {
		struct head *h = head_of(i);

		/* Memory that is there: no fault later. */
		for (at = 0; at < READ_BYTES / 8; at += BLOCK / 8)
			data_of(i)[at] = ~0ull;
		h->table[0] = (struct virtq_desc){(uint64_t)h, 16, D_NEXT, 1};
		h->table[1] = (struct virtq_desc){
			(uint64_t)data_of(i), BLOCK, D_NEXT | D_WRITE, 2};
		h->table[2] = (struct virtq_desc){
			(uint64_t)&h->status, 1, D_WRITE, 0};
		q->desc[i] = (struct virtq_desc){
			(uint64_t)h->table, sizeof(h->table), D_INDIRECT, 0};
	}
	blocks = (virtio_config32(speed.dev, 0) |
			 (uint64_t)virtio_config32(speed.dev, 4) << 32) /
		 (BLOCK / SECTOR);
	user_leave(0);
}

struct reads {
	uint64_t state; /* of the random numbers */
	uint64_t at;	/* the next block, one after another */
	unsigned size;	/* blocks of a request */
	bool random;
};

static void ask(struct reads *r, unsigned slot)
{
	struct head *h = head_of(slot);
	uint64_t block = r->at;

	if (r->random) {
		r->state ^= r->state << 13;
		r->state ^= r->state >> 7;
		r->state ^= r->state << 17;
		block = r->state % blocks;
	} else {
		r->at += r->size;
		if (r->at + r->size > blocks)
			r->at = 0;
	}
	h->sector = block * (BLOCK / SECTOR);
	h->status = BLK_NONE;
	virtio_slot_offer(&speed.dev->queue[0], (uint16_t)slot);
}

/* Is it what was asked for? */
static bool answered(const struct reads *r, unsigned slot, uint32_t len)
{
	const struct head *h = head_of(slot);
	uint64_t block = h->sector / (BLOCK / SECTOR);
	unsigned i;

	if (h->status != BLK_OK || len != r->size * BLOCK + 1)
		return false;
	for (i = 0; i < r->size; i++)
		if (data_of(slot)[i * (BLOCK / 8)] != block + i)
			return false;
	return true;
}

static void read_all(struct reads *r, unsigned depth)
{
	struct virtio_queue *q = &speed.dev->queue[0];
	unsigned i, flying = depth, n;
	uint32_t slot, len;

	speed_begin();
	for (i = 0; i < depth; i++) {
		head_of(i)->table[1].len = r->size * BLOCK;
		head_of(i)->type = BLK_IN;
		ask(r, i);
	}
	speed_kick(0);
	while (flying > 0 && speed_wait(0, 0)) {
		for (n = 0; speed_take(q, &slot, &len); n++) {
			if (slot >= depth || !answered(r, slot, len)) {
				speed.wrong++;
				user_leave(0);
			}
			if (speed.over)
				flying--;
			else
				ask(r, slot);
		}
		if (!speed.over)
			speed_kick(0);
		speed_note(n, (uint64_t)n * r->size * BLOCK);
	}
	user_leave(0);
}

static unsigned depth_wanted(void)
{
	uint64_t depth = speed.number[0];

	return depth == 0 ? 1 : depth > SLOTS ? SLOTS : (unsigned)depth;
}

static void read_random(void *arg)
{
	struct reads r = {.state = rdtsc() | 1, .size = 1, .random = true};

	read_all(&r, depth_wanted());
}

static void read_in_order(void *arg)
{
	struct reads r = {.size = READ_BYTES / BLOCK};

	read_all(&r, depth_wanted());
}

const struct speed_job speed_blk_jobs[] = {
	{"rand", "reads", VIRTIO_ID_BLOCK, 1, set_up, read_random, false},
	{"seq", "reads", VIRTIO_ID_BLOCK, 1, set_up, read_in_order, false},
	{0},
};
