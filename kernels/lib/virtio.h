/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/virtio.h - a driver for virtio 1.x over virtio-mmio version 2.
 *
 * Split rings with EVENT_IDX (unless the command line says event=0) and
 * INDIRECT_DESC where offered.  One driver thread: the boot CPU.  The device
 * is not trusted to be right: what it returns is checked, and waiting has an
 * end.
 */
#ifndef GODWIT_KERNELS_LIB_VIRTIO_H
#define GODWIT_KERNELS_LIB_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/lib/io.h"

#define VIRTIO_MAX    16u  /* devices of one guest */
#define VIRTIO_QUEUES 5u   /* of one device that we use */
#define VIRTIO_DEPTH  64u  /* descriptors of one queue, at most */
#define VIRTIO_DEEP   256u /* of one that virtio_open_deep() sets up */
#define VIRTIO_CHAIN  16u  /* buffers of one request, at most */

#define VIRTIO_ID_BLOCK	  2u
#define VIRTIO_ID_CONSOLE 3u
#define VIRTIO_ID_RNG	  4u
#define VIRTIO_ID_BALLOON 5u

#define VIRTIO_F_INDIRECT 28u
#define VIRTIO_F_EVENT	  29u
#define VIRTIO_F_VERSION1 32u

/* Where a device is. */
struct virtio_place {
	uint64_t gpa;
	uint32_t gsi; /* VIRTIO_NO_GSI: unknown, poll only */
};

#define VIRTIO_NO_GSI 0xffffffffu

struct virtio_buffer {
	void *data;
	uint32_t len;
	bool device_writes;
};

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct virtio_queue {
	struct virtq_desc *desc;  /* size entries */
	volatile uint16_t *avail; /* flags, idx, ring[size], used_event */
	volatile uint16_t *used;  /* flags, idx, {id, len}[size], avail_event */
	struct virtq_desc *indirect[VIRTIO_DEPTH]; /* by head; NULL: none yet */
	uint16_t chain[VIRTIO_DEPTH];		   /* descriptors of a head */
	uint16_t size, free_head, free_count;
	uint16_t avail_idx, notified_idx, used_idx;
	unsigned index;
};

struct virtio_device {
	uint64_t gpa;
	uint32_t gsi, id;
	uint64_t features; /* negotiated */
	bool irq;	   /* completions by interrupt, else by polling */
	unsigned vector;
	struct virtio_queue queue[VIRTIO_QUEUES];
};

/* What came back. */
struct virtio_done {
	uint16_t head; /* as virtio_add() returned it */
	uint32_t len;  /* bytes the device says it has written */
};

/**
 * virtio_find - devices of the command line.
 * virtio_mmio.device=SIZE@ADDR:GSI words in their order; a word `auto` looks at
 * the addresses where godwit and QEMU microvm put them.
 * @ret:   room for VIRTIO_MAX.
 * Return: how many, places without a device (id 0) left out.
 */
unsigned virtio_find(struct virtio_place *ret);

/* Device id at @gpa; 0 if there is none or not of version 2. */
uint32_t virtio_probe(uint64_t gpa);

/**
 * virtio_open - reset the device and bring it to DRIVER_OK.
 * @wanted: device-specific feature bits (below 24) to accept.
 * @queues: how many to set up, at most VIRTIO_QUEUES.
 * @nth:    number of this device in the guest; chooses its vector.
 * @irq:    completions by interrupt: needs a GSI and apic_init().
 * Return:  NULL, or what went wrong.
 */
const char *virtio_open(struct virtio_device *dev,
	const struct virtio_place *place, uint64_t wanted, unsigned queues,
	unsigned nth, bool irq);

/* The same with queues of up to @depth (VIRTIO_DEEP at most) descriptors.
 * virtio_add() and virtio_wait() know nothing beyond VIRTIO_DEPTH: such queues
 * are their user's own, as the slots below. */
const char *virtio_open_deep(struct virtio_device *dev,
	const struct virtio_place *place, uint64_t wanted, unsigned queues,
	unsigned nth, bool irq, unsigned depth);

/* Reset it and mask its interrupt; memory is not given back. */
void virtio_close(struct virtio_device *dev);

/**
 * virtio_add - make a request of @n buffers available, readable ones first.
 * Return: its head, or -1 when the ring is full.
 */
int virtio_add(struct virtio_device *dev, unsigned queue,
	const struct virtio_buffer *buf, unsigned n);

/* Notify the device of all that was added, unless it asked for silence.
 * Return: true if the register was written. */
bool virtio_kick(struct virtio_device *dev, unsigned queue);

/**
 * virtio_wait - wait for one request, interrupts off before and after.
 * Return: false when @ms passed, or the device broke its ring.
 */
bool virtio_wait(struct virtio_device *dev, unsigned queue, uint32_t ms,
	struct virtio_done *ret_done);

/* Interrupts received from the device since it was opened. */
uint64_t virtio_irqs(const struct virtio_device *dev);

/* Sleep until there are @target of them; false when @ms passed. */
bool virtio_irq_wait(
	const struct virtio_device *dev, uint64_t target, uint32_t ms);

uint8_t virtio_config8(const struct virtio_device *dev, unsigned offset);
uint32_t virtio_config32(const struct virtio_device *dev, unsigned offset);
void virtio_set_config32(
	const struct virtio_device *dev, unsigned offset, uint32_t value);

/* ---- rings whose buffers stay where they are: user mode, no call out ---- */

/* Give the device slot @slot, whose descriptor is filled in for good. */
static inline void virtio_slot_offer(struct virtio_queue *q, uint16_t slot)
{
	q->avail[2 + q->avail_idx % q->size] = slot;
	barrier();
	q->avail[1] = ++q->avail_idx;
}

/* Say whether the next used slot shall interrupt. */
static inline void virtio_slot_arm(struct virtio_queue *q, bool interrupt)
{
	q->avail[0] = !interrupt;
	q->avail[2 + q->size] =
		(uint16_t)(interrupt ? q->used_idx : q->used_idx - 1);
	barrier_full();
}

/* The next used slot, below @slots whatever the device says; false: none. */
static inline bool virtio_slot_take(struct virtio_queue *q, uint16_t slots,
	bool interrupt, uint16_t *ret_slot, uint32_t *ret_len)
{
	const volatile uint32_t *used = (const volatile uint32_t *)&q->used[2];

	barrier();
	if (q->used[1] == q->used_idx)
		return false;
	barrier();
	*ret_slot = (uint16_t)(used[2 * (q->used_idx % q->size)] % slots);
	*ret_len = used[2 * (q->used_idx % q->size) + 1];
	q->used_idx++;
	virtio_slot_arm(q, interrupt);
	return true;
}

#endif
