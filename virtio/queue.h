/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/queue.h - the device's side of a split virtqueue (virtio 1.2, 2.7).
 *
 * Three areas in guest RAM: the descriptor table and the available ring, which
 * the driver writes, and the used ring, which we write.  The driver is hostile:
 * every field it can change is read once into host memory, checked there, and
 * only the copy is used.
 *
 *   last_avail  the next available entry to take; runs behind avail->idx by
 *               at most the queue size, or the driver is broken
 *   used_idx    our own count of used entries; what is in guest RAM is output
 *   inflight    chains taken and not yet used; at most the queue size
 *
 * One struct virtq belongs to one loop; no lock.  Pointers into guest RAM are
 * translated once, because the mapping of RAM never changes.
 */
#ifndef GODWIT_VIRTIO_QUEUE_H
#define GODWIT_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct guestmem;
struct vring_avail;
struct vring_desc;
struct vring_used;

#define VIRTQ_SIZE_MAX 256u /* entries; also the most iovecs of a chain */

/* What the driver wrote into the queue registers; also a queue's saved form. */
struct virtq_regs {
	uint64_t desc, avail, used; /* gpa */
	uint16_t size;		    /* entries */
	bool ready;
};

/* Positions, for save and load. */
struct virtq_pos {
	uint16_t last_avail, used_idx;
	uint16_t signalled; /* used_idx at the last interrupt decision */
};

struct virtq {
	const struct guestmem *gm;	 /* borrowed */
	const struct vring_desc *desc;	 /* into guest RAM */
	const struct vring_avail *avail; /* into guest RAM */
	struct vring_used *used;	 /* into guest RAM */
	uint64_t used_gpa;
	struct virtq_pos pos;
	uint16_t size, inflight;
	bool event_idx, indirect; /* negotiated */
	bool broken;		  /* hands out nothing until it is reset */
};

/* A request of the driver: device-readable iovecs first, then writable. */
struct virtq_chain {
	uint16_t head;
	uint16_t readable, writable; /* iovecs */
	struct iovec iov[VIRTQ_SIZE_MAX];
};

static inline struct iovec *virtq_chain_in(struct virtq_chain *c)
{
	return c->iov + c->readable;
}

/* Power of two within @size_max, aligned as 2.7 asks, wholly in RAM? */
bool virtq_regs_ok(const struct virtq_regs *regs, uint16_t size_max,
	const struct guestmem *gm);

/**
 * virtq_start - begin at @pos (all zero for a fresh queue).
 *       The chains between used_idx and last_avail are in flight.
 * @features: what was negotiated; EVENT_IDX and INDIRECT_DESC matter here.
 * Return: 0, or -EINVAL unless virtq_regs_ok().
 */
int virtq_start(struct virtq *q, const struct virtq_regs *regs,
	uint16_t size_max, uint64_t features, const struct virtq_pos *pos,
	const struct guestmem *gm);

/**
 * virtq_pop - take the next chain.
 * Return: 1 and @ret_chain; 0 if there is none; -EBADMSG for a malformed chain,
 *         which went back to the driver as used with length 0; -EPROTO when
 *         the queue is broken: the device needs a reset.
 */
int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain);

/* Follow the chain of @head, which is in flight, once more: 1 or -EBADMSG as
 * above. */
int virtq_again(struct virtq *q, uint16_t head, struct virtq_chain *ret_chain);

/* Put the chain popped last back, to be popped again; it was not done. */
void virtq_unpop(struct virtq *q);

/* Give the chain of @head back; @len bytes were written from its start. */
void virtq_done(struct virtq *q, uint16_t head, uint32_t len);

/* The same for several chains that the driver must see all at once: @nth, from
 * 0 on, puts each into the used ring; then publish shows @count of them. */
void virtq_use(struct virtq *q, uint16_t nth, uint16_t head, uint32_t len);
void virtq_publish(struct virtq *q, uint16_t count);

/* Ask the driver not to kick while we look ourselves for a moment. */
void virtq_notify_off(struct virtq *q);
/* The same for a longer time, in which it may add much: until notify_on(). */
void virtq_notify_mute(struct virtq *q);
/* Ask it to kick again.  True if it added something meanwhile: look again. */
bool virtq_notify_on(struct virtq *q);

/* How far the driver has got, to be compared with an earlier answer only. */
uint16_t virtq_added(const struct virtq *q);

/* Does the driver want an interrupt for what was used since the last call? */
bool virtq_wants_interrupt(struct virtq *q);
/* After a resume: could there be used entries it was never told about? */
bool virtq_may_be_unseen(const struct virtq *q);

/* Tell dirty logging that @bytes from the start of @iov were written. */
void virtq_mark_written(const struct guestmem *gm, const struct iovec *iov,
	unsigned count, uint64_t bytes);

#endif
