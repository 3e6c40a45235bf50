/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_setup.c - attacks on the set-up of queues: which, when, how
 * large and where.  Source: virtio 1.2, 2.7 (sizes, alignment), 3.1 (order),
 * 4.2.2 (registers).
 */
#include "kernels/hostile.h"

#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"
#include "vmm/layout.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool queue_select(struct victim *v)
{
	static const uint32_t sel[] = {
		64, 255, 256, 0x10000, 0x80000000u, 0xffffffffu};
	unsigned i, reg;

	if (!rig_begin(v, F_VERSION1))
		return false;
	for (i = 0; i < COUNT(sel); i++) {
		wr(v, REG_QUEUE_SEL, sel[i]);
		if (rd(v, REG_QUEUE_MAX) != 0)
			return wrong_at("there is a queue", sel[i]);
		for (reg = REG_QUEUE_NUM; reg < REG_CONFIG; reg += 4)
			if (reg != REG_STATUS && reg != REG_QUEUE_NOTIFY)
				wr(v, reg, 1);
		if (rd(v, REG_QUEUE_READY) != 0)
			return wrong_at("it is ready", sel[i]);
	}
	return true;
}

/* The rings of the first set-up stay in use, whatever is written then. */
static bool queue_after_ok(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	unsigned reg;

	if (!rig_open(v))
		return false;
	wr(v, REG_QUEUE_SEL, v->work);
	wr(v, REG_QUEUE_READY, 0);
	if (rd(v, REG_QUEUE_READY) != 1)
		return wrong("a running queue is not ready any more");
	wr(v, REG_QUEUE_NUM, 2);
	for (reg = REG_QUEUE_DESC; reg < REG_SHM_SEL - 4; reg += 4)
		wr(v, reg, 0xfffff000u);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_QUEUE_READY, 2);
	r->avail_idx = r->used_idx = 0;
	return good_request(v) && good_request(v) && good_request(v);
}

static bool queue_early(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	static const uint8_t steps[] = {
		0, ST_ACKNOWLEDGE, ST_ACKNOWLEDGE | ST_DRIVER};
	unsigned i;

	if (!rig_reset(v))
		return false;
	for (i = 0; i < COUNT(steps); i++) {
		wr(v, REG_STATUS, steps[i]);
		rig_queue_at(v, v->work, RING_SIZE, (uint64_t)r->desc,
			(uint64_t)r->avail, (uint64_t)r->used);
		wr(v, REG_QUEUE_READY, 1);
		if (rd(v, REG_QUEUE_READY) != 0)
			return wrong_at("ready at status", steps[i]);
	}
	return true;
}

static bool queue_while_ready(struct victim *v)
{
	unsigned reg;

	if (!rig_begin(v, F_VERSION1))
		return false;
	rig_queue(v, v->work, RING_SIZE);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_QUEUE_NUM, 1);
	for (reg = REG_QUEUE_DESC; reg < REG_SHM_SEL - 4; reg += 4)
		wr(v, reg, 0xffffffffu);
	wr(v, REG_STATUS, ST_RUNNING);
	return good_request(v);
}

static bool queue_toggle(struct victim *v)
{
	unsigned i;

	if (!rig_begin(v, F_VERSION1))
		return false;
	for (i = 0; i < 100; i++) {
		rig_queue_at(v, v->work, 2, chance(), chance(), chance());
		wr(v, REG_QUEUE_READY, 1);
		wr(v, REG_QUEUE_READY, 0);
		if (rd(v, REG_QUEUE_READY) != 0)
			return wrong("it stays ready");
	}
	rig_queue(v, v->work, RING_SIZE);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_STATUS, ST_RUNNING);
	return good_request(v);
}

static bool queue_ready_odd(struct victim *v)
{
	static const uint32_t values[] = {2, 3, 0x100, 0x10000, 0xffffffffu};
	unsigned i;

	if (!rig_begin(v, F_VERSION1))
		return false;
	rig_queue(v, v->work, RING_SIZE);
	for (i = 0; i < COUNT(values); i++) {
		wr(v, REG_QUEUE_READY, values[i]);
		if (rd(v, REG_QUEUE_READY) > 1)
			return wrong_at("ready reads", values[i]);
	}
	return true;
}

static bool queue_none(struct victim *v)
{
	unsigned q;

	if (!rig_begin(v, F_VERSION1))
		return false;
	wr(v, REG_STATUS, ST_RUNNING);
	for (q = 0; q < v->queues; q++)
		kick(v, q);
	return rd(v, REG_STATUS) == ST_RUNNING ||
	       wrong_at("status", rd(v, REG_STATUS));
}

/* One queue at these places; the device must see it and give up. */
static bool refused_at(
	struct victim *v, uint64_t desc, uint64_t avail, uint64_t used_gpa)
{
	if (!rig_begin(v, F_VERSION1))
		return false;
	rig_queue_at(v, v->work, RING_SIZE, desc, avail, used_gpa);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_STATUS, ST_RUNNING);
	if (!needs_reset(v))
		return false;
	/* Nothing but a reset helps. */
	kick(v, v->work);
	wr(v, REG_QUEUE_READY, 0);
	wr(v, REG_STATUS, ST_RUNNING);
	wr(v, REG_STATUS, ST_READY);
	return (rd(v, REG_STATUS) & ST_NEEDS_RESET) != 0 ||
	       wrong("NEEDS_RESET was taken back");
}

/* Each of the three parts there, the others where they should be. */
static bool refused_parts(struct victim *v, uint64_t gpa)
{
	struct ring *r = &v->ring[v->work];
	uint64_t desc = (uint64_t)r->desc, avail = (uint64_t)r->avail;
	uint64_t used_gpa = (uint64_t)r->used;

	return refused_at(v, gpa, avail, used_gpa) &&
	       refused_at(v, desc, gpa, used_gpa) &&
	       refused_at(v, desc, avail, gpa);
}

static bool size_zero(struct victim *v)
{
	if (!rig_begin(v, F_VERSION1))
		return false;
	rig_queue(v, v->work, 0);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_STATUS, ST_RUNNING);
	return needs_reset(v);
}

/* Either the value is ignored, or the device gives up; it never runs a ring of
 * such a size. */
static bool size_bad(struct victim *v)
{
	static const uint32_t sizes[] = {
		3, 5, 63, 65, 0x8001, 0x10000, 0x10040, 0x80000000, 0xffffffff};
	unsigned i;

	for (i = 0; i <= COUNT(sizes); i++) {
		if (!rig_begin(v, F_VERSION1))
			return false;
		rig_queue(v, v->work, 0);
		wr(v, REG_QUEUE_NUM,
			i < COUNT(sizes) ? sizes[i] : 2 * rd(v, REG_QUEUE_MAX));
		wr(v, REG_QUEUE_READY, 1);
		wr(v, REG_STATUS, ST_RUNNING);
		if (!needs_reset(v))
			return wrong_at("a queue size is taken", i);
	}
	return true;
}

static bool size_one(struct victim *v)
{
	if (!rig_begin(v, F_VERSION1 | F_INDIRECT))
		return false;
	rig_queue(v, v->work, 1);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_STATUS, ST_RUNNING);
	put(&v->ring[v->work].desc[0], v->data + 512, 0, D_INDIRECT, 0);
	v->ring[v->work].desc[0].len =
		16 * good_build(v, (struct virtq_desc *)(v->data + 512));
	if ((v->offered & F_INDIRECT) == 0)
		return true;
	return given_back_up_to(v, v->work, 0, 513) &&
	       given_back_up_to(v, v->work, 0, 513);
}

static bool ring_unaligned(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint64_t desc = (uint64_t)r->desc, avail = (uint64_t)r->avail;
	uint64_t used_gpa = (uint64_t)r->used;

	return refused_at(v, desc + 8, avail, used_gpa) &&
	       refused_at(v, desc + 1, avail, used_gpa) &&
	       refused_at(v, desc, avail + 1, used_gpa) &&
	       refused_at(v, desc, avail, used_gpa + 2) &&
	       refused_at(v, desc, avail, used_gpa + 1);
}

static bool ring_past_ram(struct victim *v)
{
	uint64_t end = ram_end();

	return refused_parts(v, end) && refused_parts(v, end + PAGE_SIZE) &&
	       refused_parts(v, end - 16); /* the first bytes are RAM */
}

/* To the last byte of RAM: that is allowed. */
static bool ring_at_end(struct victim *v)
{
	struct ring *r = &v->ring[v->work], kept = *r;
	uint64_t end = ram_end(), block = (end - 1) & ~(BLOCK_SIZE - 1);
	bool ok;

	page_map(block, BLOCK_SIZE);
	r->used = (void *)(end - PAGE_SIZE);
	r->desc = (void *)(end - 2 * PAGE_SIZE);
	r->avail = (void *)(end - 6 - 2 * RING_SIZE);
	ok = rig_begin(v, F_VERSION1);
	rig_queue(v, v->work, RING_SIZE);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_STATUS, ST_RUNNING);
	ok = ok && (rd(v, REG_STATUS) == ST_RUNNING || wrong("it is refused"));
	ok = ok && good_request(v) && good_request(v);
	*r = kept;
	return ok;
}

static bool ring_mmio(struct victim *v)
{
	return refused_parts(v, v->gpa) &&
	       refused_parts(v, v->gpa + LAYOUT_VIRTIO_STRIDE) &&
	       refused_parts(v, LAYOUT_IOAPIC) &&
	       refused_parts(v, LAYOUT_LAPIC) && refused_parts(v, LAYOUT_TSS);
}

static bool ring_hole(struct victim *v)
{
	return refused_parts(v, 0xc0000000ull) &&
	       refused_parts(v, 0xe0000000ull) &&
	       refused_parts(v, 0xfffff000ull) &&
	       refused_parts(v, 0xfffffff0ull);
}

static bool ring_far(struct victim *v)
{
	return refused_parts(v, 1ull << 40) && refused_parts(v, 1ull << 52) &&
	       refused_parts(v, 1ull << 63);
}

static bool ring_wrap(struct victim *v)
{
	return refused_parts(v, 0xfffffffffffff000ull) &&
	       refused_parts(v, 0xfffffffffffffff0ull) &&
	       refused_parts(v, 0ull - 16 * RING_SIZE);
}

/* All three at one place: what is written there makes no sense soon. */
static bool ring_overlap(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint64_t gpa = (uint64_t)v->data + 32768;
	unsigned i, shift;

	for (shift = 0; shift <= 256; shift += 16) {
		if (!rig_begin(v, F_VERSION1 | F_EVENT | F_INDIRECT))
			return false;
		rig_queue_at(v, v->work, RING_SIZE, gpa, gpa + shift,
			gpa + shift / 2 / 4 * 4);
		for (i = 0; i < 16384; i += 4)
			*(uint32_t *)(gpa + i % 4096) = chance() & 0x3f;
		wr(v, REG_QUEUE_READY, 1);
		wr(v, REG_STATUS, ST_RUNNING);
		for (i = 0; i < 20; i++) {
			*(volatile uint16_t *)(gpa + shift + 2) += 1;
			kick(v, v->work);
		}
		if (!rig_reset(v))
			return false;
		memset((void *)gpa, 0, 8192);
	}
	r->avail_idx = r->used_idx = 0;
	return true;
}

/* The used ring on top of the descriptors, with requests that work. */
static bool ring_used_on_desc(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	unsigned i;

	if (!rig_begin(v, F_VERSION1 | F_INDIRECT))
		return false;
	rig_queue_at(v, v->work, RING_SIZE, (uint64_t)r->desc,
		(uint64_t)r->avail, (uint64_t)r->desc);
	wr(v, REG_QUEUE_READY, 1);
	wr(v, REG_STATUS, ST_RUNNING);
	for (i = 0; i < RING_SIZE; i++) {
		good_build(v, r->desc);
		offer(r, (uint16_t)(i % 3));
		kick(v, v->work);
	}
	return rig_reset(v);
}

/* Two queues of a device at the same place. */
static bool ring_shared(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	unsigned q, i;

	if (!rig_begin(v, F_VERSION1))
		return false;
	for (q = 0; q < v->queues; q++) {
		rig_queue_at(v, q, RING_SIZE, (uint64_t)r->desc,
			(uint64_t)r->avail, (uint64_t)r->used);
		wr(v, REG_QUEUE_READY, 1);
	}
	wr(v, REG_STATUS, ST_RUNNING);
	for (i = 0; i < RING_SIZE; i++) {
		good_build(v, r->desc);
		offer(r, 0);
		for (q = 0; q < v->queues; q++)
			kick(v, q);
	}
	r->avail_idx = r->used_idx = 0;
	return rig_reset(v);
}

const struct hostile_case hostile_setup[] = {
	{"queue_select", ID_ANY, "have no queue past its last", queue_select},
	{"queue_after_ok", ID_ANY, "keep its queues after DRIVER_OK",
		queue_after_ok},
	{"queue_early", ID_ANY, "ignore queues before FEATURES_OK",
		queue_early},
	{"queue_while_ready", ID_ANY, "keep a queue that is ready",
		queue_while_ready},
	{"queue_toggle", ID_ANY, "use the last set-up", queue_toggle},
	{"queue_ready_odd", ID_ANY, "be ready or not", queue_ready_odd},
	{"queue_none", ID_ANY, "run without a queue", queue_none},
	{"size_zero", ID_ANY, "set NEEDS_RESET", size_zero},
	{"size_bad", ID_ANY, "refuse sizes that are no power of 2, too large",
		size_bad},
	{"size_one", ID_ANY, "run a ring of one", size_one},
	{"ring_unaligned", ID_ANY, "set NEEDS_RESET", ring_unaligned},
	{"ring_past_ram", ID_ANY, "set NEEDS_RESET", ring_past_ram},
	{"ring_at_end", ID_ANY, "use the last byte of RAM", ring_at_end},
	{"ring_mmio", ID_ANY, "set NEEDS_RESET", ring_mmio},
	{"ring_hole", ID_ANY, "set NEEDS_RESET", ring_hole},
	{"ring_far", ID_ANY, "set NEEDS_RESET", ring_far},
	{"ring_wrap", ID_ANY, "set NEEDS_RESET", ring_wrap},
	{"ring_overlap", ID_ANY, "be well after a reset", ring_overlap},
	{"ring_used_on_desc", ID_ANY, "be well after a reset",
		ring_used_on_desc},
	{"ring_shared", ID_ANY, "be well after a reset", ring_shared},
	{NULL, 0, NULL, NULL},
};
