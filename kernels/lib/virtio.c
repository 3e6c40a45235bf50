/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/virtio.c - find and open devices, run their split rings.
 *
 * Barriers: x86 keeps stores and loads in order among themselves, so only the
 * compiler must be held back, except between publishing our index and reading
 * what the device asked for (barrier_full()).
 *
 * Source: virtio 1.2, sections 2.7 (split rings) and 4.2 (MMIO).
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"
#include "kernels/lib/virtio.h"
#include "vmm/layout.h"

#define REG_MAGIC	     0x000
#define REG_VERSION	     0x004
#define REG_DEVICE_ID	     0x008
#define REG_FEATURES	     0x010
#define REG_FEATURES_SEL     0x014
#define REG_DRIVER_FEATURES  0x020
#define REG_DRIVER_SEL	     0x024
#define REG_QUEUE_SEL	     0x030
#define REG_QUEUE_MAX	     0x034
#define REG_QUEUE_NUM	     0x038
#define REG_QUEUE_READY	     0x044
#define REG_QUEUE_NOTIFY     0x050
#define REG_INTERRUPT_STATUS 0x060
#define REG_INTERRUPT_ACK    0x064
#define REG_STATUS	     0x070
#define REG_QUEUE_DESC	     0x080
#define REG_QUEUE_DRIVER     0x090
#define REG_QUEUE_DEVICE     0x0a0
#define REG_CONFIG	     0x100

#define MAGIC		   0x74726976u
#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER	   2u
#define STATUS_DRIVER_OK   4u
#define STATUS_FEATURES_OK 8u

#define DESC_NEXT     1u
#define DESC_WRITE    2u
#define DESC_INDIRECT 4u
#define NO_INTERRUPT  1u /* avail flags */
#define NO_NOTIFY     1u /* used flags */

#define QEMU_FIRST  0xfeb00000ull
#define QEMU_STRIDE 0x200u
#define QEMU_SLOTS  24u

/* By number of the device; the handler needs them without a search. */
static struct {
	uint64_t gpa, count;
} irqs[VIRTIO_MAX];

static uint64_t silence; /* never counted up: for waits that only time out */

uint32_t virtio_probe(uint64_t gpa)
{
	page_map(gpa, 0x200);
	if (mmio_read32(gpa + REG_MAGIC) != MAGIC ||
		mmio_read32(gpa + REG_VERSION) != 2)
		return 0;
	return mmio_read32(gpa + REG_DEVICE_ID);
}

/* Append the place unless it is known or empty. */
static unsigned add_place(
	struct virtio_place *ret, unsigned n, uint64_t gpa, uint32_t gsi)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (ret[i].gpa == gpa)
			return n;
	if (n == VIRTIO_MAX || virtio_probe(gpa) == 0)
		return n;
	ret[n] = (struct virtio_place){gpa, gsi};
	return n + 1;
}

static unsigned scan(struct virtio_place *ret, unsigned n)
{
	unsigned i;

	for (i = 0; i < LAYOUT_VIRTIO_MAX; i++)
		n = add_place(
			ret, n, layout_virtio_gpa(i), layout_virtio_gsi(i));
	for (i = 0; i < QEMU_SLOTS; i++) /* its GSIs depend on acpi= */
		n = add_place(
			ret, n, QEMU_FIRST + i * QEMU_STRIDE, VIRTIO_NO_GSI);
	return n;
}

unsigned virtio_find(struct virtio_place *ret)
{
	const char *word;
	unsigned i, n = 0;
	uint64_t gpa;

	for (i = 0;; i++) {
		word = boot_word("virtio_mmio.device", i);
		if (word == NULL)
			break;
		while (*word != '@' && *word != ' ' && *word != '\0')
			word++;
		if (*word != '@')
			continue;
		gpa = parse_uint(word + 1, &word);
		if (*word == ':')
			n = add_place(ret, n, gpa,
				(uint32_t)parse_uint(word + 1, NULL));
	}
	return boot_word("auto", 0) != NULL ? scan(ret, n) : n;
}

static uint32_t reg_read(const struct virtio_device *dev, unsigned reg)
{
	return mmio_read32(dev->gpa + reg);
}

static void reg_write(const struct virtio_device *dev, unsigned reg, uint32_t v)
{
	mmio_write32(dev->gpa + reg, v);
}

static void reg_write64(
	const struct virtio_device *dev, unsigned reg, const volatile void *p)
{
	reg_write(dev, reg, (uint32_t)(uint64_t)p);
	reg_write(dev, reg + 4, (uint32_t)((uint64_t)p >> 32));
}

uint8_t virtio_config8(const struct virtio_device *dev, unsigned offset)
{
	return mmio_read8(dev->gpa + REG_CONFIG + offset);
}

uint32_t virtio_config32(const struct virtio_device *dev, unsigned offset)
{
	return reg_read(dev, REG_CONFIG + offset);
}

void virtio_set_config32(
	const struct virtio_device *dev, unsigned offset, uint32_t value)
{
	reg_write(dev, REG_CONFIG + offset, value);
}

static bool has(const struct virtio_device *dev, unsigned feature)
{
	return (dev->features >> feature & 1) != 0;
}

static void on_interrupt(struct trap_frame *frame)
{
	unsigned nth = (unsigned)frame->vector - VECTOR_DEVICE;
	uint64_t gpa = irqs[nth].gpa;

	mmio_write32(gpa + REG_INTERRUPT_ACK,
		mmio_read32(gpa + REG_INTERRUPT_STATUS));
	irqs[nth].count++;
	apic_eoi();
}

static const volatile uint64_t *irq_count(const struct virtio_device *dev)
{
	return &irqs[dev->vector - VECTOR_DEVICE].count;
}

uint64_t virtio_irqs(const struct virtio_device *dev)
{
	return *irq_count(dev);
}

bool virtio_irq_wait(
	const struct virtio_device *dev, uint64_t target, uint32_t ms)
{
	return irq_wait(irq_count(dev), target, ms);
}

static const char *negotiate(struct virtio_device *dev, uint64_t wanted)
{
	uint64_t offered;
	unsigned i;

	reg_write(dev, REG_FEATURES_SEL, 0);
	offered = reg_read(dev, REG_FEATURES);
	reg_write(dev, REG_FEATURES_SEL, 1);
	offered |= (uint64_t)reg_read(dev, REG_FEATURES) << 32;
	if ((offered >> VIRTIO_F_VERSION1 & 1) == 0)
		return "does not offer VERSION_1";
	wanted |= 1ull << VIRTIO_F_VERSION1 | 1ull << VIRTIO_F_INDIRECT;
	if (boot_number("event", 1) != 0)
		wanted |= 1ull << VIRTIO_F_EVENT;
	dev->features = offered & wanted;
	for (i = 0; i < 2; i++) {
		reg_write(dev, REG_DRIVER_SEL, i);
		reg_write(dev, REG_DRIVER_FEATURES,
			(uint32_t)(dev->features >> (32 * i)));
	}
	reg_write(dev, REG_STATUS,
		STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	if ((reg_read(dev, REG_STATUS) & STATUS_FEATURES_OK) == 0)
		return "refuses our features";
	return NULL;
}

static const char *open_queue(
	struct virtio_device *dev, unsigned index, unsigned depth)
{
	struct virtio_queue *q = &dev->queue[index];
	uint32_t max, i;

	reg_write(dev, REG_QUEUE_SEL, index);
	if (reg_read(dev, REG_QUEUE_READY) != 0)
		return "queue ready after reset";
	max = reg_read(dev, REG_QUEUE_MAX);
	if (max == 0)
		return "queue missing";
	q->index = index;
	q->size = (uint16_t)(max < depth ? max : depth);
	q->desc = page_alloc(1);
	q->avail = page_alloc(1);
	q->used = page_alloc(1);
	for (i = 0; i < q->size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	q->free_count = q->size;
	reg_write(dev, REG_QUEUE_NUM, q->size);
	reg_write64(dev, REG_QUEUE_DESC, q->desc);
	reg_write64(dev, REG_QUEUE_DRIVER, q->avail);
	reg_write64(dev, REG_QUEUE_DEVICE, q->used);
	reg_write(dev, REG_QUEUE_READY, 1);
	if (reg_read(dev, REG_QUEUE_READY) != 1)
		return "queue does not become ready";
	return NULL;
}

/* 16-bit words from the start of avail, of used. */
static volatile uint16_t *used_event(const struct virtio_queue *q)
{
	return &q->avail[2 + q->size];
}

static uint16_t avail_event(const struct virtio_queue *q)
{
	return q->used[2 + 4 * q->size];
}

/* Ask for an interrupt at the next completion, or for none at all; whoever
 * then sleeps looks at the ring once more first. */
static void want_interrupt(struct virtio_device *dev, struct virtio_queue *q)
{
	if (has(dev, VIRTIO_F_EVENT))
		*used_event(q) =
			(uint16_t)(dev->irq ? q->used_idx : q->used_idx - 1);
	else
		q->avail[0] = dev->irq ? 0 : NO_INTERRUPT;
	barrier_full();
}

const char *virtio_open(struct virtio_device *dev,
	const struct virtio_place *place, uint64_t wanted, unsigned queues,
	unsigned nth, bool irq)
{
	return virtio_open_deep(
		dev, place, wanted, queues, nth, irq, VIRTIO_DEPTH);
}

const char *virtio_open_deep(struct virtio_device *dev,
	const struct virtio_place *place, uint64_t wanted, unsigned queues,
	unsigned nth, bool irq, unsigned depth)
{
	const char *why;
	unsigned i;

	memset(dev, 0, sizeof(*dev));
	dev->gpa = place->gpa;
	dev->gsi = place->gsi;
	dev->irq = irq && place->gsi < IOAPIC_PINS;
	dev->vector = VECTOR_DEVICE + nth;
	dev->id = reg_read(dev, REG_DEVICE_ID);
	reg_write(dev, REG_STATUS, 0);
	for (i = 0; reg_read(dev, REG_STATUS) != 0; i++)
		if (i == 100000)
			return "does not finish its reset";
	reg_write(dev, REG_STATUS, STATUS_ACKNOWLEDGE);
	reg_write(dev, REG_STATUS, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	why = negotiate(dev, wanted);
	for (i = 0; i < queues && why == NULL; i++)
		why = open_queue(dev, i, depth);
	if (why != NULL)
		return why;
	if (dev->irq) {
		irqs[nth].gpa = dev->gpa;
		irqs[nth].count = 0;
		trap_handle(dev->vector, on_interrupt);
		ioapic_route(dev->gsi, dev->vector, apic_id());
	}
	for (i = 0; i < queues; i++)
		want_interrupt(dev, &dev->queue[i]);
	reg_write(dev, REG_STATUS,
		STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK |
			STATUS_DRIVER_OK);
	return NULL;
}

void virtio_close(struct virtio_device *dev)
{
	if (dev->irq)
		ioapic_mask(dev->gsi);
	reg_write(dev, REG_STATUS, 0);
	irq_window();
}

static void fill_desc(struct virtq_desc *d, const struct virtio_buffer *buf)
{
	d->addr = (uint64_t)buf->data;
	d->len = buf->len;
	d->flags = buf->device_writes ? DESC_WRITE : 0;
}

/* The whole request in a table of its own; one descriptor of the ring. */
static void fill_indirect(struct virtio_queue *q, uint16_t head,
	const struct virtio_buffer *buf, unsigned n)
{
	struct virtq_desc *table = q->indirect[head];
	unsigned i;

	if (table == NULL)
		table = q->indirect[head] = page_alloc(1);
	for (i = 0; i < n; i++) {
		fill_desc(&table[i], &buf[i]);
		if (i + 1 < n)
			table[i].flags |= DESC_NEXT;
		table[i].next = (uint16_t)(i + 1);
	}
	q->desc[head].addr = (uint64_t)table;
	q->desc[head].len = n * (uint32_t)sizeof(*table);
	q->desc[head].flags = DESC_INDIRECT;
}

int virtio_add(struct virtio_device *dev, unsigned queue,
	const struct virtio_buffer *buf, unsigned n)
{
	struct virtio_queue *q = &dev->queue[queue];
	uint16_t head = q->free_head, at = head;
	bool indirect = has(dev, VIRTIO_F_INDIRECT) && n > 1;
	uint16_t need = (uint16_t)(indirect ? 1 : n), i;

	if (n == 0 || n > VIRTIO_CHAIN || q->free_count < need)
		return -1;
	if (indirect) {
		fill_indirect(q, head, buf, n);
		at = q->desc[head].next;
	} else {
		for (i = 0; i < n; i++) {
			fill_desc(&q->desc[at], &buf[i]);
			if (i + 1u < n)
				q->desc[at].flags |= DESC_NEXT;
			at = q->desc[at].next;
		}
	}
	q->free_head = at;
	q->free_count = (uint16_t)(q->free_count - need);
	q->chain[head] = need;
	q->avail[2 + q->avail_idx % q->size] = head;
	barrier();
	q->avail[1] = ++q->avail_idx;
	return head;
}

bool virtio_kick(struct virtio_device *dev, unsigned queue)
{
	struct virtio_queue *q = &dev->queue[queue];
	uint16_t added = (uint16_t)(q->avail_idx - q->notified_idx);
	bool wanted;

	barrier_full();
	if (has(dev, VIRTIO_F_EVENT))
		wanted = (uint16_t)(q->avail_idx - avail_event(q) - 1) < added;
	else
		wanted = (q->used[0] & NO_NOTIFY) == 0;
	q->notified_idx = q->avail_idx;
	if (wanted)
		reg_write(dev, REG_QUEUE_NOTIFY, queue);
	return wanted;
}

/* Return: false when the device gave back what it did not have. */
static bool take(struct virtio_device *dev, struct virtio_queue *q,
	struct virtio_done *ret)
{
	const volatile uint32_t *elem = (const volatile uint32_t *)&q->used[2];
	uint32_t head = elem[2 * (q->used_idx % q->size)];
	uint16_t i, last;

	ret->len = elem[2 * (q->used_idx % q->size) + 1];
	if (head >= q->size || q->chain[head] == 0)
		return false;
	ret->head = (uint16_t)head;
	last = (uint16_t)head;
	for (i = 1; i < q->chain[head]; i++)
		last = q->desc[last].next;
	q->desc[last].next = q->free_head;
	q->free_head = (uint16_t)head;
	q->free_count = (uint16_t)(q->free_count + q->chain[head]);
	q->chain[head] = 0;
	q->used_idx++;
	want_interrupt(dev, q);
	return true;
}

bool virtio_wait(struct virtio_device *dev, unsigned queue, uint32_t ms,
	struct virtio_done *ret_done)
{
	struct virtio_queue *q = &dev->queue[queue];
	unsigned spins = 0;
	uint64_t seen;

	for (;;) {
		seen = virtio_irqs(dev);
		if (q->used[1] != q->used_idx) {
			barrier();
			return take(dev, q, ret_done);
		}
		if (dev->irq) {
			if (!virtio_irq_wait(dev, seen + 1, ms) &&
				q->used[1] == q->used_idx)
				return false;
		} else if (++spins % 1024 != 0) {
			cpu_pause();
		} else if (ms-- == 0) {
			return false;
		} else {
			irq_wait(&silence, 1, 1); /* 1 ms of the patience */
		}
	}
}
