/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_rig.c - registers and rings without any manners.
 *
 * Only polling: interrupts stay masked, so a case is the only actor.
 */
#include "kernels/hostile.h"

#include "kernels/lib/apic.h"
#include "kernels/lib/io.h"
#include "kernels/lib/string.h"

#define PATIENCE_MS 10000u
#define SPINS	    2000u

static uint64_t silence; /* never counted up */

void rest(void)
{
	irq_wait(&silence, 1, 1);
}

/* ---- registers ---- */

uint32_t rd(const struct victim *v, unsigned reg)
{
	return mmio_read32(v->gpa + reg);
}

void wr(const struct victim *v, unsigned reg, uint32_t value)
{
	mmio_write32(v->gpa + reg, value);
}

uint64_t rd_width(const struct victim *v, unsigned reg, unsigned bytes)
{
	uint64_t gpa = v->gpa + reg, value;
	uint16_t half;

	switch (bytes) {
	case 1:
		return mmio_read8(gpa);
	case 2:
		__asm__ volatile("movw (%1), %0"
				 : "=r"(half)
				 : "r"(gpa)
				 : "memory");
		return half;
	case 4:
		return mmio_read32(gpa);
	default:
		__asm__ volatile("movq (%1), %0"
				 : "=r"(value)
				 : "r"(gpa)
				 : "memory");
		return value;
	}
}

void wr_width(
	const struct victim *v, unsigned reg, unsigned bytes, uint64_t value)
{
	uint64_t gpa = v->gpa + reg;

	switch (bytes) {
	case 1:
		mmio_write8(gpa, (uint8_t)value);
		break;
	case 2:
		__asm__ volatile("movw %0, (%1)"
				 :
				 : "r"((uint16_t)value), "r"(gpa)
				 : "memory");
		break;
	case 4:
		mmio_write32(gpa, (uint32_t)value);
		break;
	default:
		__asm__ volatile("movq %0, (%1)"
				 :
				 : "r"(value), "r"(gpa)
				 : "memory");
	}
}

/* ---- life of a driver ---- */

/* Does @reg & @mask become @want in time? */
static bool becomes(
	const struct victim *v, unsigned reg, uint32_t mask, uint32_t want)
{
	unsigned i;

	for (i = 0; i < PATIENCE_MS; i++) {
		if ((rd(v, reg) & mask) == want)
			return true;
		rest();
	}
	return false;
}

bool rig_reset(struct victim *v)
{
	wr(v, REG_STATUS, 0);
	if (!becomes(v, REG_STATUS, ~0u, 0))
		return wrong("the reset does not end");
	return true;
}

bool rig_begin(struct victim *v, uint64_t features)
{
	unsigned i;

	if (!rig_reset(v))
		return false;
	wr(v, REG_STATUS, ST_ACKNOWLEDGE);
	wr(v, REG_STATUS, ST_ACKNOWLEDGE | ST_DRIVER);
	v->features = features & v->offered;
	for (i = 0; i < 2; i++) {
		wr(v, REG_DRIVER_SEL, i);
		wr(v, REG_DRIVER_FEATURES, (uint32_t)(v->features >> 32 * i));
	}
	wr(v, REG_STATUS, ST_READY);
	if (rd(v, REG_STATUS) != ST_READY)
		return wrong("good features are refused");
	return true;
}

static void wr64(const struct victim *v, unsigned reg, uint64_t value)
{
	wr(v, reg, (uint32_t)value);
	wr(v, reg + 4, (uint32_t)(value >> 32));
}

void rig_queue_at(struct victim *v, unsigned q, uint16_t size, uint64_t desc,
	uint64_t avail, uint64_t used_gpa)
{
	struct ring *r = &v->ring[q];

	memset(r->desc, 0, RING_SIZE * sizeof(r->desc[0]));
	memset((void *)(uintptr_t)r->avail, 0, 6 + 2 * RING_SIZE);
	memset((void *)(uintptr_t)r->used, 0, 6 + 8 * RING_SIZE);
	r->size = size;
	r->avail_idx = r->used_idx = 0;
	wr(v, REG_QUEUE_SEL, q);
	wr(v, REG_QUEUE_NUM, size);
	wr64(v, REG_QUEUE_DESC, desc);
	wr64(v, REG_QUEUE_DRIVER, avail);
	wr64(v, REG_QUEUE_DEVICE, used_gpa);
}

void rig_queue(struct victim *v, unsigned q, uint16_t size)
{
	struct ring *r = &v->ring[q];

	rig_queue_at(v, q, size, (uint64_t)r->desc, (uint64_t)r->avail,
		(uint64_t)r->used);
}

bool rig_open_with(struct victim *v, uint64_t features)
{
	unsigned q;

	if (!rig_begin(v, features))
		return false;
	for (q = 0; q < v->queues; q++) {
		rig_queue(v, q, RING_SIZE);
		wr(v, REG_QUEUE_READY, 1);
	}
	wr(v, REG_STATUS, ST_RUNNING);
	if (rd(v, REG_STATUS) != ST_RUNNING)
		return wrong("DRIVER_OK is refused");
	return true;
}

bool rig_open(struct victim *v)
{
	return rig_open_with(v, F_VERSION1 | F_EVENT | F_INDIRECT);
}

/* ---- rings ---- */

void put_gpa(struct virtq_desc *d, uint64_t gpa, uint32_t len, unsigned flags,
	unsigned next)
{
	d->addr = gpa;
	d->len = len;
	d->flags = (uint16_t)flags;
	d->next = (uint16_t)next;
}

void put(struct virtq_desc *d, const volatile void *data, uint32_t len,
	unsigned flags, unsigned next)
{
	put_gpa(d, (uint64_t)data, len, flags, next);
}

void offer(struct ring *r, uint16_t head)
{
	r->avail[2 + r->avail_idx % r->size] = head;
	barrier();
	r->avail[1] = ++r->avail_idx;
	barrier_full();
}

void kick(const struct victim *v, unsigned q)
{
	wr(v, REG_QUEUE_NOTIFY, q);
}

bool used(struct victim *v, unsigned q, uint32_t *ret_id, uint32_t *ret_len)
{
	struct ring *r = &v->ring[q];
	const volatile uint32_t *e = (const volatile uint32_t *)&r->used[2];
	unsigned i, ms;

	for (ms = 0; ms < PATIENCE_MS; ms++) {
		for (i = 0; i < SPINS / (1 + ms); i++) {
			if (r->used[1] != r->used_idx)
				goto found;
			cpu_pause();
		}
		if (r->used[1] != r->used_idx)
			goto found;
		rest();
	}
	return wrong("no answer");
found:
	barrier();
	*ret_id = e[2 * (r->used_idx % r->size)];
	*ret_len = e[2 * (r->used_idx % r->size) + 1];
	r->used_idx++;
	return true;
}

bool given_back_up_to(
	struct victim *v, unsigned q, uint16_t head, uint32_t most)
{
	uint32_t id, len;

	offer(&v->ring[q], head);
	kick(v, q);
	if (!used(v, q, &id, &len))
		return false;
	if (id != head)
		return wrong_at("another head was given back", id);
	if (len > most)
		return wrong_at("length of the used entry", len);
	return true;
}

bool given_back(struct victim *v, unsigned q, uint16_t head, uint32_t len)
{
	uint32_t id, got;

	offer(&v->ring[q], head);
	kick(v, q);
	if (!used(v, q, &id, &got))
		return false;
	if (id != head)
		return wrong_at("another head was given back", id);
	if (got != len)
		return wrong_at("length of the used entry", got);
	return true;
}

bool needs_reset(struct victim *v)
{
	if (!becomes(v, REG_STATUS, ST_NEEDS_RESET, ST_NEEDS_RESET))
		return wrong("no NEEDS_RESET");
	if ((rd(v, REG_STATUS) & ST_DRIVER_OK) != 0 &&
		!becomes(v, REG_INTERRUPT_STATUS, 2, 2))
		return wrong("no interrupt with NEEDS_RESET");
	return true;
}
