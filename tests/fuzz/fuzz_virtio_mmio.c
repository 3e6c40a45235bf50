/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_virtio_mmio.c - a hostile driver, as a script.
 *
 * Byte 0 selects the device.  Then steps follow: a byte that says what, and
 * its operands, little endian:
 *   0  u16 offset, u8 width, u32 value: a register write
 *   1  u16 offset, u8 width: a register read
 *   2  u16 at, u8 n, n bytes: guest RAM from 2 * @at on
 *   3  u8 queue: a kick
 *   4  u8 turns: polls of the loop
 *   5  u8 log2 of the queue size, u32 low features: a driver's proper start,
 *      rings from gpa 0x1000 on
 *   6  pause, save, load, resume
 *   7  u8 queue, u16 idx: advance that queue's available index by @idx
 */
#include "tests/fuzz/virtio_fuzz.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "migrate/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
	const uint8_t *pos, *end;
};

/* Zeros past the end; the caller stops there. */
static uint32_t take(struct script *s, unsigned bytes)
{
	uint32_t v = 0;
	unsigned i;

	for (i = 0; i < bytes && s->pos < s->end; i++)
		v |= (uint32_t)*s->pos++ << 8 * i;
	return v;
}

static void access_register(struct vbench *b, struct script *s, bool write)
{
	uint64_t off = take(s, 2);
	unsigned len = 1u << (take(s, 1) & 3);

	off %= VIRTIO_MMIO_SIZE - len + 1;
	if (write)
		b->range.ops->write(b->range.opaque, off, len, take(s, 4));
	else
		b->range.ops->read(b->range.opaque, off, len);
}

static void write_ram(struct vbench *b, struct script *s)
{
	uint32_t at = 2 * take(s, 2), n = take(s, 1);

	if (n > (size_t)(s->end - s->pos))
		n = (uint32_t)(s->end - s->pos);
	memcpy(b->gm.base + at, s->pos, n);
	s->pos += n;
}

static void proper_start(struct vbench *b, struct script *s)
{
	uint16_t size = (uint16_t)(1u << (take(s, 1) & 7));
	uint64_t features = take(s, 4);
	unsigned i;

	b->next_gpa = 0x1000;
	vd_negotiate(
		b, (features & vd_features(b)) | 1ull << VIRTIO_F_VERSION_1);
	for (i = 0; i < VDRIVER_QUEUES; i++)
		vd_queue(b, i, size);
	vd_write(b, 0x70, 0xf);
}

static void move(struct vbench *b)
{
	struct state_writer w;
	int rc;

	vbench_save(b, &w);
	rc = vbench_load(b, &w, NULL);
	assert(rc == 0);
	state_writer_fini(&w);
	b->dev->ops->resume(b->dev);
}

static void advance(struct vbench *b, struct script *s)
{
	struct vring_view *v = &b->q[take(s, 1) % VDRIVER_QUEUES];
	struct vring_avail *avail = guestmem_at(&b->gm, v->avail, 6);

	if (avail && v->size > 0)
		avail->idx = (uint16_t)(avail->idx + take(s, 2));
}

static void step(struct vbench *b, struct script *s)
{
	unsigned n;

	switch (take(s, 1) & 7) {
	case 0:
		access_register(b, s, true);
		break;
	case 1:
		access_register(b, s, false);
		break;
	case 2:
		write_ram(b, s);
		break;
	case 3:
		vd_kick(b, take(s, 1));
		break;
	case 4:
		for (n = take(s, 1) % 4; n > 0; n--)
			loop_poll(b->loop, false);
		break;
	case 5:
		proper_start(b, s);
		break;
	case 6:
		move(b);
		break;
	case 7:
		advance(b, s);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {data + 1, data + size};
	struct vbench *b;
	unsigned steps;

	if (size < 1)
		return 0;
	b = fuzz_bench(data[0]);
	for (steps = 0; steps < 128 && s.pos < s.end; steps++)
		step(b, &s);
	fuzz_bench_clear(b);
	memset(b->q, 0, sizeof(b->q));
	return 0;
}
