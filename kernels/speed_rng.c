/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed_rng.c - random bytes.
 *
 *   rng:DEPTH   requests of a page, so many at a time
 */
#include "kernels/speed.h"

#include "kernels/lib/cpu.h"

#define SLOTS 64u
#define BYTES 4096u

static volatile uint64_t *data_of(unsigned slot)
{
	return (volatile uint64_t *)(SPEED_DATA + (uint64_t)slot * BYTES);
}

static void set_up(void *arg)
{
	struct virtio_queue *q = &speed.dev->queue[0];
	unsigned i;

	for (i = 0; i < SLOTS && i < q->size; i++) {
		*data_of(i) = 0;
		q->desc[i] = (struct virtq_desc){
			(uint64_t)data_of(i), BYTES, D_WRITE, 0};
	}
	user_leave(0);
}

static void ask_all(void *arg)
{
	struct virtio_queue *q = &speed.dev->queue[0];
	unsigned depth = (unsigned)speed.number[0], flying, n;
	uint32_t slot, len;
	uint64_t bytes;

	if (depth == 0 || depth > SLOTS || depth > q->size)
		depth = 1;
	speed_begin();
	for (flying = 0; flying < depth; flying++)
		virtio_slot_offer(q, (uint16_t)flying);
	speed_kick(0);
	while (flying > 0 && speed_wait(0, 0)) {
		bytes = 0;
		for (n = 0; speed_take(q, &slot, &len); n++) {
			if (slot >= depth || len == 0 || len > BYTES) {
				speed.wrong++;
				user_leave(0);
			}
			bytes += len;
			if (speed.over)
				flying--;
			else
				virtio_slot_offer(q, (uint16_t)slot);
		}
		if (!speed.over)
			speed_kick(0);
		speed_note(n, bytes);
	}
	user_leave(0);
}

const struct speed_job speed_rng_jobs[] = {
	{"rng", "requests", VIRTIO_ID_RNG, 1, set_up, ask_all, false},
	{0},
};
