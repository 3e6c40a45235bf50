/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile.h - what the attacks of kernels/hostile_*.c share: a victim,
 * raw access to its registers and rings, and the good driver that must find it
 * well afterwards.
 *
 * Nothing here is checked on the way out, on purpose: lib/virtio.c is the
 * driver that behaves.  Rings and data lie in pages that are used again by
 * every case, so a device that writes late is noticed.
 */
#ifndef GODWIT_KERNELS_HOSTILE_H
#define GODWIT_KERNELS_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/lib/virtio.h"

#define REG_MAGIC	     0x000u
#define REG_VERSION	     0x004u
#define REG_DEVICE_ID	     0x008u
#define REG_VENDOR	     0x00cu
#define REG_FEATURES	     0x010u
#define REG_FEATURES_SEL     0x014u
#define REG_DRIVER_FEATURES  0x020u
#define REG_DRIVER_SEL	     0x024u
#define REG_QUEUE_SEL	     0x030u
#define REG_QUEUE_MAX	     0x034u
#define REG_QUEUE_NUM	     0x038u
#define REG_QUEUE_READY	     0x044u
#define REG_QUEUE_NOTIFY     0x050u
#define REG_INTERRUPT_STATUS 0x060u
#define REG_INTERRUPT_ACK    0x064u
#define REG_STATUS	     0x070u
#define REG_QUEUE_DESC	     0x080u
#define REG_QUEUE_DRIVER     0x090u
#define REG_QUEUE_DEVICE     0x0a0u
#define REG_SHM_SEL	     0x0acu
#define REG_SHM_LEN	     0x0b0u
#define REG_QUEUE_RESET	     0x0c0u
#define REG_GENERATION	     0x0fcu
#define REG_CONFIG	     0x100u
#define REG_END		     0x200u

#define ST_ACKNOWLEDGE 1u
#define ST_DRIVER      2u
#define ST_DRIVER_OK   4u
#define ST_FEATURES_OK 8u
#define ST_NEEDS_RESET 64u
#define ST_FAILED      128u
#define ST_READY       (ST_ACKNOWLEDGE | ST_DRIVER | ST_FEATURES_OK)
#define ST_RUNNING     (ST_READY | ST_DRIVER_OK)

#define D_NEXT	   1u
#define D_WRITE	   2u
#define D_INDIRECT 4u

#define ID_NET	   1u
#define ID_BLOCK   2u
#define ID_CONSOLE 3u
#define ID_RNG	   4u
#define ID_BALLOON 5u
#define ID_VSOCK   19u
#define ID_ANY	   0u	 /* a case for every device */
#define ID_MACHINE 0xffu /* a case for none */

#define F_VERSION1 (1ull << VIRTIO_F_VERSION1)
#define F_EVENT	   (1ull << VIRTIO_F_EVENT)
#define F_INDIRECT (1ull << VIRTIO_F_INDIRECT)

#define QUEUES	   5u	       /* of a device that we set up, at most */
#define RING_SIZE  64u	       /* of each */
#define DATA_BYTES (64u << 10) /* of the victim's data area */
#define CANARY	   0xa5u
#define STEPS	   3u /* descriptors of a good request, at most */

struct ring {
	struct virtq_desc *desc;  /* RING_SIZE */
	volatile uint16_t *avail; /* flags, idx, ring[], used_event */
	volatile uint16_t *used;  /* flags, idx, {id, len}[], avail_event */
	uint16_t size, avail_idx, used_idx;
};

struct victim {
	uint64_t gpa;
	uint32_t id;
	unsigned queues;   /* that it has, up to QUEUES */
	unsigned work;	   /* the queue that takes requests from us */
	uint64_t offered;  /* features */
	uint64_t features; /* negotiated */
	char name[12];	   /* "blk1" */
	uint64_t sectors;  /* blk */
	bool readonly;	   /* blk */
	struct ring ring[QUEUES];
	uint8_t *data; /* DATA_BYTES */
};

struct hostile_case {
	const char *name;
	uint32_t id;	  /* of the devices it is for */
	const char *must; /* what a device must do */
	bool (*run)(struct victim *v);
};

/* In the order in which they are run; a zeroed entry ends each. */
extern const struct hostile_case hostile_mmio[], hostile_setup[],
	hostile_queue[], hostile_flood[], hostile_blk[], hostile_net[],
	hostile_small[], hostile_balloon[], hostile_vsock[], hostile_machine[];

/* The case failed, and why: kept for its line.  Return: false. */
bool wrong(const char *why);
bool wrong_at(const char *why, uint64_t where);

/* The last RAM byte + 1 of the range that we are in. */
uint64_t ram_end(void);

/* The next of a fixed sequence of numbers that look like chance. */
uint32_t chance(void);

/* ---- registers (hostile_rig.c) ---- */

uint32_t rd(const struct victim *v, unsigned reg);
void wr(const struct victim *v, unsigned reg, uint32_t value);
uint64_t rd_width(const struct victim *v, unsigned reg, unsigned bytes);
void wr_width(
	const struct victim *v, unsigned reg, unsigned bytes, uint64_t value);

/* ---- life of a driver ---- */

/* Reset; false if that takes longer than patience has. */
bool rig_reset(struct victim *v);
/* Reset, then up to FEATURES_OK with @features of those offered. */
bool rig_begin(struct victim *v, uint64_t features);
/* Program @q's registers with ring @q, emptied; not yet ready. */
void rig_queue(struct victim *v, unsigned q, uint16_t size);
void rig_queue_at(struct victim *v, unsigned q, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used);
/* All of it: begin, every queue ready, DRIVER_OK.  rig_open() takes all the
 * features a good driver of that device needs, EVENT_IDX and INDIRECT. */
bool rig_open(struct victim *v);
bool rig_open_with(struct victim *v, uint64_t features);

/* ---- rings ---- */

void put(struct virtq_desc *d, const volatile void *data, uint32_t len,
	unsigned flags, unsigned next);
void put_gpa(struct virtq_desc *d, uint64_t gpa, uint32_t len, unsigned flags,
	unsigned next);
void offer(struct ring *r, uint16_t head);
void kick(const struct victim *v, unsigned q);

/* Wait for the next used entry of queue @q; false: none came. */
bool used(struct victim *v, unsigned q, uint32_t *ret_id, uint32_t *ret_len);
/* Offer @head of @q, kick; is it given back with exactly @len? */
bool given_back(struct victim *v, unsigned q, uint16_t head, uint32_t len);
/* The same with 0 up to @most. */
bool given_back_up_to(
	struct victim *v, unsigned q, uint16_t head, uint32_t most);
/* NEEDS_RESET appears, with its interrupt when DRIVER_OK is set? */
bool needs_reset(struct victim *v);
/* Sleep for a millisecond. */
void rest(void);

/* ---- the good driver (hostile_good.c) ---- */

/* Find out what @v is. Return: false for a device nobody here knows. */
bool victim_init(struct victim *v, uint64_t gpa, unsigned nth);
/* A good request for queue v->work in @d[0..], data in v->data.
 * Return: how many descriptors, at most STEPS, chained by NEXT. */
unsigned good_build(struct victim *v, struct virtq_desc *d);
/* Was it served well?  @len: of the used ring. */
bool good_check(struct victim *v, uint32_t len);
/* One good request on a device that is open. */
bool good_request(struct victim *v);
/* Reset, open, one good request, and what else a good driver of it does. */
bool good_driver(struct victim *v);

#endif
