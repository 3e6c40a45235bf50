/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed.h - what the jobs of kernels/speed_*.c share: the clock of a
 * job, its figures, and rings as a user-mode driver sees them.
 *
 * A job runs in user mode.  It counts what it does between two moments of the
 * TSC, the first after a while of warming up; then it lets what is in flight
 * come back.  The kernel half sets devices up, takes interrupts and prints.
 */
#ifndef GODWIT_KERNELS_SPEED_H
#define GODWIT_KERNELS_SPEED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/lib/io.h"
#include "kernels/lib/virtio.h"

#define SPEED_DATA   0x1000000ull /* gpa of the jobs' buffers */
#define SPEED_BYTES  0x1000000ull
#define SPEED_NUMBER 3u /* numbers of a job: NAME:N:N:N */

#define D_NEXT	   1u
#define D_WRITE	   2u
#define D_INDIRECT 4u

struct speed_job {
	const char *name, *unit;
	uint32_t id;	 /* of the device */
	unsigned queues; /* of it that are used */
	/* Once, when the device is opened, in user mode; NULL: nothing. */
	void (*set_up)(void *arg);
	void (*run)(void *arg); /* in user mode */
	bool waits;		/* for a byte from the host before that */
};

/* Shared by the halves and the files; each half runs only while the other
 * waits. */
struct speed {
	struct virtio_device *dev; /* of this job */
	uint64_t number[SPEED_NUMBER];
	bool irq;	 /* wait for interrupts, or look at the ring */
	uint64_t period; /* ticks of a job */
	/* What came of it, from @start on. */
	uint64_t start, ticks, count, bytes, kicks, irqs;
	uint64_t wrong;	  /* of the whole job */
	uint64_t give_up; /* TSC */
	bool counting, over;
};

extern struct speed speed;

/* The device whose interrupt comes, and how often it came: speed_irq.S. */
extern uint64_t speed_irq_gpa;
extern volatile uint64_t speed_irq_count;
void speed_irq(void);

/* Lists that end with a job without a name. */
extern const struct speed_job speed_blk_jobs[], speed_net_jobs[],
	speed_rng_jobs[], speed_vsock_jobs[];

/* ---- the clock ----------------------------------------------------------*/

/* The job begins: warm up for a tenth of the period. */
void speed_begin(void);

/* From here on it counts; from here on it does not. */
void speed_count_from_here(void);
void speed_count_to_here(void);

/* @count more with @bytes in all.  Return: true if the time is over. */
bool speed_note(uint64_t count, uint64_t bytes);

/* ---- rings --------------------------------------------------------------*/

/* The next used entry; false: none. */
static inline bool speed_take(
	struct virtio_queue *q, uint32_t *ret_id, uint32_t *ret_len)
{
	const volatile uint32_t *used = (const volatile uint32_t *)&q->used[2];

	if (q->used[1] == q->used_idx)
		return false;
	barrier();
	*ret_id = used[2 * (q->used_idx % q->size)];
	*ret_len = used[2 * (q->used_idx % q->size) + 1];
	q->used_idx++;
	return true;
}

static inline void speed_kick(unsigned queue)
{
	speed.kicks += virtio_kick(speed.dev, queue);
}

/* No interrupts of this queue until speed_wait(). */
void speed_hush(unsigned queue);

/**
 * speed_wait - until the queue has a used entry that was not taken.
 * By interrupts: asks for one after @ahead more entries than the next one
 * (with EVENT_IDX, which has it so).
 * Return: false when the job takes far too long.
 */
bool speed_wait(unsigned queue, unsigned ahead);

#endif
