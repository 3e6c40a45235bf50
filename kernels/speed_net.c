/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed_net.c - frames through the first network device, one way at a
 * time and of one size.
 *
 *   tx:BYTES         to an address that nobody has
 *   rx:BYTES:FRAMES  so many that wait in the host already, or come; it
 *                    begins when the host says so
 *
 * Sent frames that are done are looked for when there is no room for more.
 */
#include "kernels/speed.h"

#include "kernels/lib/cpu.h"

#define ID_NET	   1u
#define RX	   0u
#define TX	   1u
#define SLOT_BYTES 2048u
#define HEADER	   12u
#define FRAME_MIN  60u
#define FRAME_MAX  1514u
#define TYPE_AT	   (HEADER + 12)
#define BATCH	   64u /* frames between two looks at the clock */

static bool posted; /* the receive buffers are the device's */

static uint8_t *slot_of(unsigned queue, unsigned slot)
{
	return (uint8_t *)(SPEED_DATA + (queue == TX ? SPEED_BYTES / 2 : 0) +
			   (uint64_t)slot * SLOT_BYTES);
}

/* Ethertype 0x88b5, for experiments, which no host looks at. */
static void fill(uint8_t *frame)
{
	static const uint8_t head[14] = {2, 0x67, 0x77, 0x74, 0, 0x99, 2, 0x67,
		0x77, 0x74, 0, 1, 0x88, 0xb5};
	unsigned i;

	for (i = 0; i < SLOT_BYTES; i++)
		frame[i] = 0;
	for (i = 0; i < sizeof(head); i++)
		frame[HEADER + i] = head[i];
}

static void set_up(void *arg)
{
	unsigned queue, i;

	for (queue = RX; queue <= TX; queue++) {
		struct virtio_queue *q = &speed.dev->queue[queue];

		for (i = 0; i < q->size; i++) {
			fill(slot_of(queue, i));
			q->desc[i] = (struct virtq_desc){
				.addr = (uint64_t)slot_of(queue, i),
				.len = SLOT_BYTES,
				.flags = queue == RX ? D_WRITE : 0,
			};
		}
	}
	posted = false;
	user_leave(0);
}

static unsigned frame_bytes(void)
{
	uint64_t n = speed.number[0];

	return n < FRAME_MIN   ? FRAME_MIN
	       : n > FRAME_MAX ? FRAME_MAX
			       : (unsigned)n;
}

/* A slot that is free; false: all of them are the device's. */
static bool free_slot(struct virtio_queue *q, unsigned *fresh, uint32_t *ret)
{
	uint32_t len;

	if (*fresh < q->size) {
		*ret = (*fresh)++;
		return true;
	}
	return speed_take(q, ret, &len) && *ret < q->size;
}

static void send_all(void *arg)
{
	struct virtio_queue *q = &speed.dev->queue[TX];
	unsigned bytes = frame_bytes(), fresh = 0, n = 0;
	uint32_t slot, len;

	speed_begin();
	while (!speed.over) {
		if (n == BATCH) {
			speed_note(n, (uint64_t)n * bytes);
			n = 0;
		}
		/* As Linux does: woken when three quarters are free. */
		if (!free_slot(q, &fresh, &slot)) {
			if (!speed_wait(TX, q->size * 3u / 4))
				user_leave(0);
			continue;
		}
		q->desc[slot].len = HEADER + bytes;
		virtio_slot_offer(q, (uint16_t)slot);
		speed_kick(TX);
		n++;
	}
	while (q->used_idx != q->avail_idx && speed_wait(TX, 0))
		while (speed_take(q, &slot, &len))
			;
	user_leave(0);
}

/* Is it one of those that we wait for? */
static bool ours(unsigned slot)
{
	const volatile uint8_t *type = slot_of(RX, slot) + TYPE_AT;

	return type[0] == 0x88 && type[1] == 0xb5;
}

static void post_all(void)
{
	struct virtio_queue *q = &speed.dev->queue[RX];
	unsigned i;

	for (i = 0; i < q->size && !posted; i++)
		virtio_slot_offer(q, (uint16_t)i);
	posted = true;
	speed_kick(RX);
}

/* Counts from the tenth part of the frames on. */
static void receive_all(void *arg)
{
	struct virtio_queue *q = &speed.dev->queue[RX];
	uint64_t frames = speed.number[1], seen = 0;
	unsigned bytes = frame_bytes();
	uint32_t slot, len;

	speed_begin();
	post_all();
	while (!speed.over && speed_wait(RX, 0)) {
		while (speed_take(q, &slot, &len)) {
			if (slot >= q->size) {
				speed.wrong++;
				user_leave(0);
			}
			if (ours(slot)) {
				speed.wrong += len != HEADER + bytes;
				speed.count++;
				speed.bytes += bytes;
				seen++;
			}
			virtio_slot_offer(q, (uint16_t)slot);
		}
		speed_kick(RX);
		if (!speed.counting && seen >= frames / 10)
			speed_count_from_here();
		else if (seen >= frames)
			speed_count_to_here();
	}
	user_leave(0);
}

const struct speed_job speed_net_jobs[] = {
	{"tx", "frames", ID_NET, 2, set_up, send_all, false},
	{"rx", "frames", ID_NET, 2, set_up, receive_all, true},
	{0},
};
