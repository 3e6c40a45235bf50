/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_queue.c - attacks by what stands in the rings: chains,
 * indirect tables, indices, buffers.  Source: virtio 1.2, 2.7.
 *
 * A chain that makes no sense comes back with length 0; an index that makes no
 * sense stops the device (NEEDS_RESET).
 */
#include "kernels/hostile.h"

#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"
#include "vmm/layout.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ALL	 (F_VERSION1 | F_EVENT | F_INDIRECT)

static struct virtq_desc *descs(struct victim *v)
{
	return v->ring[v->work].desc;
}

/* Where a case may build an indirect table: 2048 entries. */
static struct virtq_desc *table_of(struct victim *v)
{
	return (struct virtq_desc *)(v->data + 16384);
}

/* The chain at descriptor 0 is malformed: it comes back empty, and the device
 * goes on with the next one. */
static bool malformed(struct victim *v)
{
	return given_back(v, v->work, 0, 0) && good_request(v);
}

static bool chain_loop(struct victim *v)
{
	if (!rig_open(v))
		return false;
	put(&descs(v)[0], v->data, 4, D_NEXT, 1);
	put(&descs(v)[1], v->data, 4, D_NEXT, 2);
	put(&descs(v)[2], v->data, 4, D_NEXT, 1);
	return malformed(v);
}

static bool chain_loop_self(struct victim *v)
{
	if (!rig_open(v))
		return false;
	put(&descs(v)[0], v->data, 4, D_NEXT | D_WRITE, 0);
	return malformed(v);
}

static bool chain_next_range(struct victim *v)
{
	static const uint16_t next[] = {
		RING_SIZE, RING_SIZE + 1, 256, 0x7fff, 0x8000, 0xffff};
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < COUNT(next); i++) {
		put(&descs(v)[0], v->data, 4, D_NEXT, next[i]);
		if (!malformed(v))
			return false;
	}
	return true;
}

static bool chain_whole_ring(struct victim *v)
{
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < RING_SIZE; i++)
		put(&descs(v)[i], v->data + i, 1,
			D_WRITE | (i + 1 < RING_SIZE ? D_NEXT : 0), i + 1);
	/* Legal; what it means is for the device to say. */
	return given_back_up_to(v, v->work, 0, RING_SIZE) && good_request(v);
}

static bool chain_unknown_flags(struct victim *v)
{
	uint32_t id, len;

	if (!rig_open(v))
		return false;
	good_build(v, descs(v));
	descs(v)[0].flags |= 0xfff8;
	offer(&v->ring[v->work], 0);
	kick(v, v->work);
	return used(v, v->work, &id, &len) && good_check(v, len);
}

static bool chain_order(struct victim *v)
{
	if (!rig_open(v))
		return false;
	put(&descs(v)[0], v->data, 16, D_NEXT, 1);
	put(&descs(v)[1], v->data + 512, 16, D_NEXT | D_WRITE, 2);
	put(&descs(v)[2], v->data + 1024, 16, D_NEXT, 3);
	put(&descs(v)[3], v->data + 2048, 1, D_WRITE, 0);
	return malformed(v);
}

static bool buffer_zero(struct victim *v)
{
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 3; i++) {
		put(&descs(v)[0], v->data, 0, i == 2 ? D_NEXT : 0, 1);
		put_gpa(&descs(v)[1], ~0ull, 0, D_WRITE, 0);
		if (i == 1)
			descs(v)[0].flags = D_WRITE;
		if (!given_back(v, v->work, 0, 0))
			return false;
	}
	return good_request(v);
}

/* A good request with an empty buffer between any two. */
static bool buffer_zero_between(struct victim *v)
{
	struct virtq_desc good[STEPS];
	unsigned i, n;
	uint32_t id, len;

	if (!rig_open(v))
		return false;
	n = good_build(v, good);
	for (i = 0; i < n; i++) {
		put_gpa(&descs(v)[2 * i], 0xd0000000ull, 0,
			D_NEXT | (good[i].flags & D_WRITE), 2 * i + 1);
		descs(v)[2 * i + 1] = good[i];
		descs(v)[2 * i + 1].next = (uint16_t)(2 * i + 2);
	}
	offer(&v->ring[v->work], 0);
	kick(v, v->work);
	return used(v, v->work, &id, &len) && good_check(v, len);
}

/* @len bytes at @gpa, as something to read and as something to write. */
static bool refused_buffer(struct victim *v, uint64_t gpa, uint32_t len)
{
	put_gpa(&descs(v)[0], gpa, len, 0, 0);
	if (!given_back(v, v->work, 0, 0))
		return wrong_at("to read", gpa);
	put_gpa(&descs(v)[0], gpa, len, D_WRITE, 0);
	if (!given_back(v, v->work, 0, 0))
		return wrong_at("to write", gpa);
	/* Behind a part that is fine. */
	put(&descs(v)[0], v->data, 64, D_NEXT, 1);
	put_gpa(&descs(v)[1], gpa, len, D_WRITE, 0);
	if (!given_back(v, v->work, 0, 0))
		return wrong_at("at the end of a chain", gpa);
	return true;
}

static bool buffer_outside(struct victim *v)
{
	uint64_t end = ram_end();

	return rig_open(v) && refused_buffer(v, end, 1) &&
	       refused_buffer(v, end - 1, 2) &&
	       refused_buffer(v, end - 4096, 8192) &&
	       refused_buffer(v, 1ull << 32, 4096) &&
	       refused_buffer(v, 1ull << 51, 4096) &&
	       refused_buffer(v, 1ull << 63, 4096) && good_request(v);
}

static bool buffer_mmio(struct victim *v)
{
	return rig_open(v) && refused_buffer(v, v->gpa, 4) &&
	       refused_buffer(v, v->gpa + REG_QUEUE_NOTIFY, 4) &&
	       refused_buffer(v, LAYOUT_IOAPIC, 16) &&
	       refused_buffer(v, LAYOUT_LAPIC, 4096) &&
	       refused_buffer(v, LAYOUT_TSS, 4096) && good_request(v);
}

static bool buffer_hole(struct victim *v)
{
	return rig_open(v) && refused_buffer(v, 0xc0000000ull, 4096) &&
	       refused_buffer(v, 0xe0000000ull, 1) &&
	       refused_buffer(v, 0xffffffffull, 1) &&
	       refused_buffer(v, 0xbfffffffull, 2) && good_request(v);
}

static bool buffer_wrap(struct victim *v)
{
	return rig_open(v) && refused_buffer(v, ~0ull, 1) &&
	       refused_buffer(v, ~0ull, 2) &&
	       refused_buffer(v, ~0ull - 4095, 8192) &&
	       refused_buffer(v, ~0ull - 0xfffffffe, 0xffffffffu) &&
	       good_request(v);
}

static bool buffer_4g(struct victim *v)
{
	return rig_open(v) && refused_buffer(v, 0, 0xffffffffu) &&
	       refused_buffer(v, (uint64_t)v->data, 0xffffffffu) &&
	       refused_buffer(v, (uint64_t)v->data, 0x80000000u) &&
	       good_request(v);
}

/* The rings themselves as buffers. */
static bool buffer_rings(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint32_t id, len;
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 3; i++) {
		good_build(v, descs(v));
		put(&descs(v)[8],
			i == 0	 ? (void *)r->desc
			: i == 1 ? (void *)(uintptr_t)r->avail
				 : (void *)(uintptr_t)r->used,
			512, 0, 0);
		offer(r, 8);
		kick(v, v->work);
		if (!used(v, v->work, &id, &len))
			return false;
	}
	return good_request(v);
}

/* ---- indirect ---- */

/* Descriptor 0 refers to a table of @bytes at @gpa. */
static void indirect(
	struct victim *v, uint64_t gpa, uint32_t bytes, unsigned flags)
{
	put_gpa(&descs(v)[0], gpa, bytes, D_INDIRECT | flags, 1);
	put(&descs(v)[1], v->data, 4, 0, 0);
}

static bool indirect_open(struct victim *v)
{
	unsigned n;

	if (!rig_open_with(v, ALL))
		return false;
	n = good_build(v, table_of(v));
	indirect(v, (uint64_t)table_of(v), 16 * n, 0);
	return true;
}

static bool indirect_nested(struct victim *v)
{
	if (!indirect_open(v))
		return false;
	put(&table_of(v)[0], table_of(v) + 8, 16, D_INDIRECT, 0);
	good_build(v, table_of(v) + 8);
	indirect(v, (uint64_t)table_of(v), 16, 0);
	return malformed(v);
}

static bool indirect_nested_late(struct victim *v)
{
	if (!indirect_open(v))
		return false;
	put(&table_of(v)[0], v->data, 4, D_NEXT, 1);
	put(&table_of(v)[1], table_of(v), 32, D_INDIRECT | D_WRITE, 0);
	indirect(v, (uint64_t)table_of(v), 32, 0);
	return malformed(v);
}

static bool indirect_ring_itself(struct victim *v)
{
	if (!indirect_open(v))
		return false;
	indirect(v, (uint64_t)descs(v), 16 * RING_SIZE, 0);
	return malformed(v);
}

static bool indirect_crooked_length(struct victim *v)
{
	static const uint32_t lens[] = {0, 1, 15, 17, 31, 0xffffffffu};
	unsigned i;

	if (!indirect_open(v))
		return false;
	for (i = 0; i < COUNT(lens); i++) {
		indirect(v, (uint64_t)table_of(v), lens[i], 0);
		if (!malformed(v))
			return wrong_at("with length", lens[i]);
	}
	return true;
}

static bool indirect_with_next(struct victim *v)
{
	if (!indirect_open(v))
		return false;
	indirect(v, (uint64_t)table_of(v), 16, D_NEXT);
	return malformed(v);
}

static bool indirect_too_long(struct victim *v)
{
	static const uint32_t lens[] = {0xfffffff0u, 0x80000000u, 0x10000000u};
	unsigned i;

	if (!indirect_open(v))
		return false;
	for (i = 0; i < COUNT(lens); i++) {
		indirect(v, (uint64_t)table_of(v), lens[i], 0);
		if (!malformed(v))
			return wrong_at("with length", lens[i]);
	}
	return true;
}

/* Chains longer than any queue: bounded, and given back. */
static bool indirect_long_chain(struct victim *v)
{
	unsigned i, n = 2048;

	if (!indirect_open(v))
		return false;
	for (i = 0; i < n; i++)
		put(&table_of(v)[i], v->data, 1, D_NEXT, (i + 1) % n);
	indirect(v, (uint64_t)table_of(v), 16 * n, 0);
	if (!given_back(v, v->work, 0, 0))
		return false;
	table_of(v)[n - 1].flags = 0;
	return given_back(v, v->work, 0, 0) && good_request(v);
}

static bool indirect_loop(struct victim *v)
{
	if (!indirect_open(v))
		return false;
	put(&table_of(v)[0], v->data, 0, D_NEXT, 1);
	put(&table_of(v)[1], v->data, 0, D_NEXT, 0);
	indirect(v, (uint64_t)table_of(v), 32, 0);
	return malformed(v);
}

static bool indirect_next_range(struct victim *v)
{
	if (!indirect_open(v))
		return false;
	put(&table_of(v)[0], v->data, 4, D_NEXT, 2);
	indirect(v, (uint64_t)table_of(v), 32, 0);
	if (!malformed(v))
		return false;
	table_of(v)[0].next = 0xffff;
	indirect(v, (uint64_t)table_of(v), 32, 0);
	return malformed(v);
}

static bool indirect_outside(struct victim *v)
{
	const uint64_t at[] = {ram_end(), ram_end() - 16, v->gpa, 0xc0000000ull,
		1ull << 40, ~0ull - 15, ~0ull - 31, 1ull << 63};
	unsigned i;

	if (!indirect_open(v))
		return false;
	for (i = 0; i < COUNT(at); i++) {
		indirect(v, at[i], 32, 0);
		if (!malformed(v))
			return wrong_at("with a table at", at[i]);
	}
	return true;
}

/* 2.7.5.3.2: the device ignores WRITE here. */
static bool indirect_write_flag(struct victim *v)
{
	uint32_t id, len;

	if (!indirect_open(v))
		return false;
	descs(v)[0].flags |= D_WRITE;
	offer(&v->ring[v->work], 0);
	kick(v, v->work);
	return used(v, v->work, &id, &len) && good_check(v, len);
}

static bool indirect_crooked_table(struct victim *v)
{
	struct virtq_desc *t = (void *)((uint8_t *)table_of(v) + 5);
	uint32_t id, len;
	unsigned n;

	if (!indirect_open(v))
		return false;
	n = good_build(v, t);
	indirect(v, (uint64_t)t, 16 * n, 0);
	offer(&v->ring[v->work], 0);
	kick(v, v->work);
	return used(v, v->work, &id, &len) && good_check(v, len);
}

static bool indirect_not_negotiated(struct victim *v)
{
	unsigned n;

	if (!rig_open_with(v, F_VERSION1))
		return false;
	n = good_build(v, table_of(v));
	indirect(v, (uint64_t)table_of(v), 16 * n, 0);
	return malformed(v);
}

/* ---- indices ---- */

/* The available index makes a jump; the device must not follow. */
static bool jump(struct victim *v, unsigned by)
{
	struct ring *r = &v->ring[v->work];
	uint16_t before;

	if (!rig_open(v) || !good_request(v))
		return false;
	r->avail_idx = (uint16_t)(r->avail_idx + by);
	r->avail[1] = r->avail_idx;
	barrier_full();
	kick(v, v->work);
	if (!needs_reset(v))
		return wrong_at("after a jump by", by);
	/* It stays so, and nothing is done any more. */
	before = r->used[1];
	r->avail[1] = (uint16_t)(r->used_idx + 1);
	good_build(v, r->desc);
	kick(v, v->work);
	wr(v, REG_STATUS, ST_RUNNING);
	if (!rig_reset(v))
		return false;
	return r->used[1] == before || wrong("a broken queue is served");
}

static bool avail_jump(struct victim *v)
{
	return jump(v, RING_SIZE + 1) && jump(v, 1000) && jump(v, 0x8000);
}

static bool avail_back(struct victim *v)
{
	return jump(v, 0xffff) && jump(v, 0xfff0);
}

/* As far as is allowed, and each entry the same chain. */
static bool avail_full(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint32_t id, len;
	unsigned i;

	if (!rig_open(v))
		return false;
	good_build(v, r->desc);
	for (i = 0; i < RING_SIZE; i++)
		r->avail[2 + i] = 0;
	r->avail_idx = RING_SIZE;
	r->avail[1] = RING_SIZE;
	barrier_full();
	kick(v, v->work);
	for (i = 0; i < RING_SIZE; i++) {
		if (!used(v, v->work, &id, &len))
			return false;
		if (id != 0)
			return wrong_at("given back", id);
	}
	return good_request(v);
}

static bool head_range(struct victim *v)
{
	static const uint16_t heads[] = {RING_SIZE, 256, 0x8000, 0xffff};
	unsigned i;

	for (i = 0; i < COUNT(heads); i++) {
		if (!rig_open(v))
			return false;
		offer(&v->ring[v->work], heads[i]);
		kick(v, v->work);
		if (!needs_reset(v))
			return wrong_at("with head", heads[i]);
	}
	return true;
}

/* What the device writes is no input of its own. */
static bool used_scribble(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint32_t id, len;
	unsigned i;

	if (!rig_open(v) || !good_request(v))
		return false;
	for (i = 0; i < 100; i++) {
		r->used[0] = (uint16_t)chance();
		r->used[1] = (uint16_t)chance();
		r->used[2 + 4 * RING_SIZE] = (uint16_t)chance();
		/* Ours is what the device must write next. */
		if (r->used[1] == (uint16_t)(i + 2))
			continue;
		good_build(v, r->desc);
		offer(r, 0);
		kick(v, v->work);
		while (r->used[1] != r->avail_idx)
			rest();
		r->used_idx = (uint16_t)(r->avail_idx - 1);
		if (!used(v, v->work, &id, &len) || !good_check(v, len))
			return false;
	}
	return true;
}

/* Wishes about interrupts that make no sense. */
static bool event_lies(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 100; i++) {
		r->avail[0] = (uint16_t)chance();
		r->avail[2 + RING_SIZE] = (uint16_t)chance();
		if (!good_request(v))
			return false;
	}
	return true;
}

const struct hostile_case hostile_queue[] = {
	{"chain_loop", ID_ANY, "give it back, length 0", chain_loop},
	{"chain_loop_self", ID_ANY, "give it back, length 0", chain_loop_self},
	{"chain_next_range", ID_ANY, "give it back, length 0",
		chain_next_range},
	{"chain_whole_ring", ID_ANY, "give it back, no longer than it is",
		chain_whole_ring},
	{"chain_unknown_flags", ID_ANY, "ignore them", chain_unknown_flags},
	{"chain_order", ID_ANY, "give it back, length 0", chain_order},
	{"buffer_zero", ID_ANY, "give it back, length 0", buffer_zero},
	{"buffer_zero_between", ID_ANY, "serve the rest", buffer_zero_between},
	{"buffer_outside", ID_ANY, "give it back, length 0", buffer_outside},
	{"buffer_mmio", ID_ANY, "give it back, length 0", buffer_mmio},
	{"buffer_hole", ID_ANY, "give it back, length 0", buffer_hole},
	{"buffer_wrap", ID_ANY, "give it back, length 0", buffer_wrap},
	{"buffer_4g", ID_ANY, "give it back, length 0", buffer_4g},
	{"buffer_rings", ID_ANY, "give it back", buffer_rings},
	{"indirect_nested", ID_ANY, "give it back, length 0", indirect_nested},
	{"indirect_nested_late", ID_ANY, "give it back, length 0",
		indirect_nested_late},
	{"indirect_ring_itself", ID_ANY, "give it back, length 0",
		indirect_ring_itself},
	{"indirect_crooked_length", ID_ANY, "give it back, length 0",
		indirect_crooked_length},
	{"indirect_with_next", ID_ANY, "give it back, length 0",
		indirect_with_next},
	{"indirect_too_long", ID_ANY, "give it back, length 0",
		indirect_too_long},
	{"indirect_long_chain", ID_ANY, "give it back, length 0",
		indirect_long_chain},
	{"indirect_loop", ID_ANY, "give it back, length 0", indirect_loop},
	{"indirect_next_range", ID_ANY, "give it back, length 0",
		indirect_next_range},
	{"indirect_outside", ID_ANY, "give it back, length 0",
		indirect_outside},
	{"indirect_write_flag", ID_ANY, "ignore the flag", indirect_write_flag},
	{"indirect_crooked_table", ID_ANY, "serve it at any address",
		indirect_crooked_table},
	{"indirect_not_negotiated", ID_ANY, "give it back, length 0",
		indirect_not_negotiated},
	{"avail_jump", ID_ANY, "set NEEDS_RESET and stop", avail_jump},
	{"avail_back", ID_ANY, "set NEEDS_RESET and stop", avail_back},
	{"avail_full", ID_ANY, "serve a full ring", avail_full},
	{"head_range", ID_ANY, "set NEEDS_RESET", head_range},
	{"used_scribble", ID_ANY, "not read its own ring", used_scribble},
	{"event_lies", ID_ANY, "serve requests all the same", event_lies},
	{NULL, 0, NULL, NULL},
};
