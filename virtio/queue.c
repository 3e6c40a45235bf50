/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/queue.c - see queue.h.  Source: virtio 1.2, section 2.7.
 *
 * Ordering.  Indices are published and observed with atomics; seq_cst is used
 * where each side stores one word and then reads the other's (a "kick me" or
 * "interrupt me" wish against a new index): with anything weaker both could
 * miss the other's store, and the queue would hang.  The driver pairs these
 * with its own full barriers.
 */
#include "virtio/queue.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/guestmem.h"

#define DESC_ALIGN  16u
#define AVAIL_ALIGN 2u
#define USED_ALIGN  4u

/* Ring sizes with the event word at their ends (2.7, table of sizes). */
static uint64_t desc_bytes(uint16_t size)
{
	return (uint64_t)size * sizeof(struct vring_desc);
}

static uint64_t avail_bytes(uint16_t size)
{
	return 6 + 2 * (uint64_t)size;
}

static uint64_t used_bytes(uint16_t size)
{
	return 6 + 8 * (uint64_t)size;
}

static uint16_t load16(const uint16_t *p, int order)
{
	return le16toh(__atomic_load_n(p, order));
}

/* ---- set-up ---- */

bool virtq_regs_ok(const struct virtq_regs *regs, uint16_t size_max,
	const struct guestmem *gm)
{
	uint16_t size = regs->size;

	if (size == 0 || size > size_max || size > VIRTQ_SIZE_MAX ||
		(size & (size - 1)) != 0)
		return false;
	if (regs->desc % DESC_ALIGN != 0 || regs->avail % AVAIL_ALIGN != 0 ||
		regs->used % USED_ALIGN != 0)
		return false;
	return guestmem_at(gm, regs->desc, desc_bytes(size)) &&
	       guestmem_at(gm, regs->avail, avail_bytes(size)) &&
	       guestmem_at(gm, regs->used, used_bytes(size));
}

int virtq_start(struct virtq *q, const struct virtq_regs *regs,
	uint16_t size_max, uint64_t features, const struct virtq_pos *pos,
	const struct guestmem *gm)
{
	if (!virtq_regs_ok(regs, size_max, gm))
		return -EINVAL;
	*q = (struct virtq){
		.gm = gm,
		.desc = guestmem_at(gm, regs->desc, desc_bytes(regs->size)),
		.avail = guestmem_at(gm, regs->avail, avail_bytes(regs->size)),
		.used = guestmem_at(gm, regs->used, used_bytes(regs->size)),
		.used_gpa = regs->used,
		.pos = *pos,
		.inflight = (uint16_t)(pos->last_avail - pos->used_idx),
		.size = regs->size,
		.event_idx = features >> VIRTIO_RING_F_EVENT_IDX & 1,
		.indirect = features >> VIRTIO_RING_F_INDIRECT_DESC & 1,
	};
	return 0;
}

/* ---- descriptor chains ---- */

/* One read of a guest-shared descriptor.  The barrier keeps the compiler from
 * going back to guest memory for a field it already looked at. */
static struct vring_desc read_desc(const struct vring_desc *src)
{
	struct vring_desc d;

	memcpy(&d, src, sizeof(d)); /* an indirect table need not be aligned */
	__asm__ volatile("" ::: "memory");
	d.addr = le64toh(d.addr);
	d.len = le32toh(d.len);
	d.flags = le16toh(d.flags);
	d.next = le16toh(d.next);
	return d;
}

/* Add a buffer to @c.  Empty ones carry no bytes and are dropped. */
static bool add_buffer(const struct virtq *q, struct virtq_chain *c,
	const struct vring_desc *d)
{
	bool writable = d->flags & VRING_DESC_F_WRITE;
	void *p;

	if (!writable && c->writable > 0)
		return false; /* 2.7.4.2: readable ones come first */
	if (d->len == 0)
		return true;
	p = guestmem_at(q->gm, d->addr, d->len);
	if (!p)
		return false;
	c->iov[c->readable + c->writable] =
		(struct iovec){.iov_base = p, .iov_len = d->len};
	if (writable)
		c->writable++;
	else
		c->readable++;
	return true;
}

/* The table that @d refers to; NULL if a driver must not do so here. */
static const struct vring_desc *indirect_table(
	const struct virtq *q, const struct vring_desc *d, uint32_t *ret_count)
{
	if (!q->indirect || d->flags & VRING_DESC_F_NEXT)
		return NULL;
	if (d->len == 0 || d->len % sizeof(*d) != 0)
		return NULL;
	*ret_count = d->len / sizeof(*d);
	return guestmem_at(q->gm, d->addr, d->len);
}

/* Follow the chain from @head.  Every step takes one of @left, so a loop ends:
 * the queue's size for the ring's own table, what fits a struct virtq_chain
 * for an indirect one (Linux fills those beyond the size of a small ring). */
static bool walk(const struct virtq *q, uint16_t head, struct virtq_chain *c)
{
	const struct vring_desc *table = q->desc;
	uint32_t count = q->size, left = count, next = head;
	bool nested = false;
	struct vring_desc d;

	for (;;) {
		if (left-- == 0 || next >= count)
			return false;
		d = read_desc(&table[next]);
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (nested)
				return false;
			table = indirect_table(q, &d, &count);
			if (!table)
				return false;
			nested = true;
			next = 0;
			left = VIRTQ_SIZE_MAX - c->readable - c->writable;
			continue;
		}
		if (!add_buffer(q, c, &d))
			return false;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return true;
		next = d.next;
	}
}

static int give_up(struct virtq *q)
{
	q->broken = true;
	return -EPROTO;
}

int virtq_pop(struct virtq *q, struct virtq_chain *ret_chain)
{
	uint16_t idx, head, last = q->pos.last_avail;

	if (q->broken)
		return -EPROTO;
	/* Acquire: what the driver wrote before idx is seen after it. */
	idx = load16(&q->avail->idx, __ATOMIC_ACQUIRE);
	if (idx == last)
		return 0;
	/* A chain in flight owns a descriptor, so more than size of them means
	 * that the same one was offered again. */
	if ((uint16_t)(idx - last) > q->size || q->inflight >= q->size)
		return give_up(q);
	head = load16(&q->avail->ring[last & (q->size - 1)], __ATOMIC_RELAXED);
	if (head >= q->size)
		return give_up(q);
	q->pos.last_avail++;
	q->inflight++;
	return virtq_again(q, head, ret_chain);
}

int virtq_again(struct virtq *q, uint16_t head, struct virtq_chain *ret_chain)
{
	ret_chain->head = head;
	ret_chain->readable = ret_chain->writable = 0;
	if (!walk(q, head, ret_chain)) {
		virtq_done(q, head, 0);
		return -EBADMSG;
	}
	return 1;
}

void virtq_unpop(struct virtq *q)
{
	assert(q->inflight > 0);
	q->inflight--;
	q->pos.last_avail--;
}

void virtq_use(struct virtq *q, uint16_t nth, uint16_t head, uint32_t len)
{
	uint16_t slot = (uint16_t)(q->pos.used_idx + nth) & (q->size - 1);
	struct vring_used_elem *e = &q->used->ring[slot];

	assert(nth < q->inflight);
	__atomic_store_n(&e->id, htole32(head), __ATOMIC_RELAXED);
	__atomic_store_n(&e->len, htole32(len), __ATOMIC_RELAXED);
	guestmem_mark_dirty(q->gm, q->used_gpa + 4 + 8u * slot, 8);
}

void virtq_publish(struct virtq *q, uint16_t count)
{
	assert(count <= q->inflight);
	q->inflight -= count;
	q->pos.used_idx += count;
	/* Release for the elements; and seq_cst before the reads of
	 * virtq_wants_interrupt(), see above. */
	__atomic_store_n(
		&q->used->idx, htole16(q->pos.used_idx), __ATOMIC_SEQ_CST);
	guestmem_mark_dirty(q->gm, q->used_gpa, 4);
}

void virtq_done(struct virtq *q, uint16_t head, uint32_t len)
{
	virtq_use(q, 0, head, len);
	virtq_publish(q, 1);
}

/* ---- notifications ---- */

void virtq_notify_off(struct virtq *q)
{
	/* With EVENT_IDX an old avail_event already means "not now". */
	if (q->event_idx)
		return;
	__atomic_store_n(&q->used->flags, htole16(VRING_USED_F_NO_NOTIFY),
		__ATOMIC_RELAXED);
	guestmem_mark_dirty(q->gm, q->used_gpa, 2);
}

void virtq_notify_mute(struct virtq *q)
{
	/* avail_event is the word behind the last used element. */
	uint16_t *event = (uint16_t *)&q->used->ring[q->size];

	if (!q->event_idx) {
		virtq_notify_off(q);
		return;
	}
	/* Passed just now, so it comes round after 65535 more. */
	__atomic_store_n(event, htole16((uint16_t)(q->pos.last_avail - 1)),
		__ATOMIC_RELAXED);
	guestmem_mark_dirty(q->gm, q->used_gpa + used_bytes(q->size) - 2, 2);
}

uint16_t virtq_added(const struct virtq *q)
{
	return load16(&q->avail->idx, __ATOMIC_ACQUIRE);
}

bool virtq_notify_on(struct virtq *q)
{
	/* avail_event is the word behind the last used element. */
	uint16_t *event = (uint16_t *)&q->used->ring[q->size];

	if (q->event_idx) {
		__atomic_store_n(
			event, htole16(q->pos.last_avail), __ATOMIC_SEQ_CST);
		guestmem_mark_dirty(
			q->gm, q->used_gpa + used_bytes(q->size) - 2, 2);
	} else {
		__atomic_store_n(&q->used->flags, 0, __ATOMIC_SEQ_CST);
		guestmem_mark_dirty(q->gm, q->used_gpa, 2);
	}
	/* Store, then look: the driver adds, then looks at what we stored. */
	return load16(&q->avail->idx, __ATOMIC_SEQ_CST) != q->pos.last_avail;
}

/* used_event is the word behind the last available entry. */
static uint16_t used_event(const struct virtq *q)
{
	return load16(&q->avail->ring[q->size], __ATOMIC_SEQ_CST);
}

static bool interrupts_off(const struct virtq *q)
{
	return load16(&q->avail->flags, __ATOMIC_SEQ_CST) &
	       VRING_AVAIL_F_NO_INTERRUPT;
}

bool virtq_wants_interrupt(struct virtq *q)
{
	uint16_t now = q->pos.used_idx, old = q->pos.signalled;

	q->pos.signalled = now;
	if (now == old)
		return false;
	if (!q->event_idx)
		return !interrupts_off(q);
	/* Did used_event + 1 pass by on the way from old to now? */
	return (uint16_t)(now - used_event(q) - 1) < (uint16_t)(now - old);
}

bool virtq_may_be_unseen(const struct virtq *q)
{
	if (!q->event_idx)
		return q->pos.used_idx != 0 && !interrupts_off(q);
	return (uint16_t)(q->pos.used_idx - used_event(q) - 1) < q->size;
}

/* ---- dirty logging ---- */

void virtq_mark_written(const struct guestmem *gm, const struct iovec *iov,
	unsigned count, uint64_t bytes)
{
	uint64_t n;
	unsigned i;

	for (i = 0; i < count && bytes > 0; i++) {
		n = iov[i].iov_len < bytes ? iov[i].iov_len : bytes;
		if (n > 0)
			guestmem_mark_dirty(
				gm, guestmem_gpa(gm, iov[i].iov_base), n);
		bytes -= n;
	}
}
