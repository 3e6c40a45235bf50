/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_blk.c - attacks on disks: lengths, sectors and types that
 * lie.  Source: virtio 1.2, 5.2.6.
 *
 * A request that cannot be served has a status that says so; one without room
 * for a status comes back with length 0.  The last sectors are written by the
 * good driver, so nothing here may write at all: what was in sector 0 before a
 * case is there after it.
 */
#include "kernels/hostile.h"

#include "kernels/lib/string.h"

#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define SECTOR	   512u
#define T_IN	   0u
#define T_OUT	   1u
#define T_FLUSH	   4u
#define T_GET_ID   8u
#define T_DISCARD  11u
#define T_ZEROES   13u
#define T_ERASE	   14u
#define S_OK	   0u
#define S_IOERR	   1u
#define S_UNSUPP   2u
#define NO_STATUS  CANARY
#define AT_STATUS  64u
#define AT_SECTOR0 2048u  /* a copy of it */
#define AT_LOOK	   4096u  /* another */
#define AT_DATA	   16384u /* of a request: to the end */

static uint8_t status(const struct victim *v)
{
	return *(volatile uint8_t *)&v->data[AT_STATUS];
}

static void header(struct victim *v, uint32_t type, uint64_t sector)
{
	memcpy(v->data, &type, 4);
	memset(v->data + 4, 0, 4);
	memcpy(v->data + 8, &sector, 8);
	v->data[AT_STATUS] = NO_STATUS;
}

/* One request with @len bytes at AT_DATA.  Return: its status; NO_STATUS when
 * there was no answer, or one that says it wrote more than there is. */
static uint8_t ask(struct victim *v, uint32_t type, uint64_t sector,
	uint32_t len, bool writable)
{
	struct virtq_desc *d = v->ring[0].desc;
	unsigned n = 1;

	header(v, type, sector);
	put(&d[0], v->data, 16, D_NEXT, 1);
	if (len > 0) {
		put(&d[1], v->data + AT_DATA, len,
			D_NEXT | (writable ? D_WRITE : 0), 2);
		n = 2;
	}
	put(&d[n], v->data + AT_STATUS, 1, D_WRITE, 0);
	if (!given_back_up_to(v, 0, 0, 1 + (writable ? len : 0)))
		return NO_STATUS;
	return status(v);
}

/* It is answered, and not by "ok". */
static bool refused(uint8_t got, uint64_t what)
{
	if (got == S_IOERR || got == S_UNSUPP)
		return true;
	return wrong_at(got == S_OK ? "it is served" : "no status", what);
}

static bool look(struct victim *v, unsigned at)
{
	if (ask(v, T_IN, 0, SECTOR, true) != S_OK)
		return wrong("sector 0 cannot be read");
	memcpy(v->data + at, v->data + AT_DATA, SECTOR);
	return true;
}

/* Open the disk and remember sector 0. */
static bool begin(struct victim *v)
{
	uint64_t all = v->offered & ~(1ull << 19); /* not ZONED, if ever */

	return rig_open_with(v, all) && look(v, AT_SECTOR0);
}

static bool end(struct victim *v)
{
	if (!look(v, AT_LOOK))
		return false;
	return memcmp(v->data + AT_SECTOR0, v->data + AT_LOOK, SECTOR) == 0 ||
	       wrong("sector 0 has changed");
}

static bool header_short(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	uint32_t n;

	if (!begin(v))
		return false;
	for (n = 1; n < 16; n++) {
		header(v, T_IN, 0);
		put(&d[0], v->data, n, D_NEXT, 1);
		put(&d[1], v->data + AT_DATA, SECTOR, D_NEXT | D_WRITE, 2);
		put(&d[2], v->data + AT_STATUS, 1, D_WRITE, 0);
		if (!given_back_up_to(v, 0, 0, 1) || !refused(status(v), n))
			return false;
	}
	/* None at all. */
	v->data[AT_STATUS] = NO_STATUS;
	put(&d[0], v->data + AT_STATUS, 1, D_WRITE, 0);
	return given_back_up_to(v, 0, 0, 1) && refused(status(v), 0) && end(v);
}

static bool header_only(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;

	if (!begin(v))
		return false;
	header(v, T_IN, 0);
	put(&d[0], v->data, 16, 0, 0);
	if (!given_back(v, 0, 0, 0))
		return false;
	header(v, T_OUT, 0);
	put(&d[0], v->data, 16, D_NEXT, 1);
	put(&d[1], v->data + AT_DATA, SECTOR, 0, 0);
	return given_back(v, 0, 0, 0) && end(v);
}

/* The status byte where the device must not write. */
static bool status_readable(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;

	if (!begin(v))
		return false;
	header(v, T_FLUSH, 0);
	put(&d[0], v->data, 16, D_NEXT, 1);
	put(&d[1], v->data + AT_STATUS, 1, 0, 0);
	if (!given_back(v, 0, 0, 0))
		return false;
	return (status(v) == NO_STATUS || wrong("it was written")) && end(v);
}

static bool header_in_pieces(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	unsigned i;

	if (!begin(v))
		return false;
	header(v, T_IN, 0);
	for (i = 0; i < 16; i++)
		put(&d[i], v->data + i, 1, D_NEXT, i + 1);
	put(&d[16], v->data + AT_DATA, 100, D_NEXT | D_WRITE, 17);
	/* 412 bytes of data and the status in one. */
	put(&d[17], v->data + AT_DATA + 100, 413, D_WRITE, 0);
	if (!given_back(v, 0, 0, SECTOR + 1))
		return false;
	return (v->data[AT_DATA + SECTOR] == S_OK || wrong("status")) && end(v);
}

static bool sector_wrap(struct victim *v)
{
	const uint64_t at[] = {~0ull, ~0ull - 1, 1ull << 55, (1ull << 55) - 1,
		1ull << 63, (1ull << 63) - 1, (~0ull >> 9) + 1, v->sectors,
		v->sectors + 1, (1ull << 55) + v->sectors - 1};
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(at); i++)
		if (!refused(ask(v, T_IN, at[i], SECTOR, true), at[i]) ||
			!refused(ask(v, T_OUT, at[i], SECTOR, false), at[i]))
			return false;
	return end(v);
}

static bool across_end(struct victim *v)
{
	uint64_t last = v->sectors - 1;

	return begin(v) && refused(ask(v, T_IN, last, 1024, true), last) &&
	       refused(ask(v, T_OUT, last, 1024, false), last) &&
	       refused(ask(v, T_IN, last - 1, 1536, true), last) && end(v);
}

static bool length_crooked(struct victim *v)
{
	static const uint32_t lens[] = {1, 8, 511, 513, 1023, 4095, 4097};
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(lens); i++)
		if (!refused(ask(v, T_IN, 0, lens[i], true), lens[i]) ||
			!refused(ask(v, T_OUT, 0, lens[i], false), lens[i]))
			return false;
	return end(v);
}

/* Data on the wrong side of the chain, or none. */
static bool data_wrong_side(struct victim *v)
{
	return begin(v) && refused(ask(v, T_IN, 0, SECTOR, false), T_IN) &&
	       refused(ask(v, T_OUT, 0, SECTOR, true), T_OUT) &&
	       refused(ask(v, T_IN, 0, 0, true), T_IN) &&
	       refused(ask(v, T_OUT, 0, 0, true), T_OUT) && end(v);
}

static bool types(struct victim *v)
{
	static const uint32_t t[] = {2, 3, 5, 6, 7, 9, 12, 15, 16, 0x7777,
		0x80000000u, 0x80000001u, 0x10000, 0xffffffffu};
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(t); i++)
		if (!refused(ask(v, t[i], 0, SECTOR, false), t[i]) ||
			!refused(ask(v, t[i], 0, SECTOR, true), t[i]) ||
			!refused(ask(v, t[i], ~0ull, 0, true), t[i]))
			return false;
	return end(v);
}

/* A flush has neither place nor data: it is answered, and touches nothing. */
static bool flush_with_data(struct victim *v)
{
	uint32_t i;

	if (!begin(v))
		return false;
	for (i = 0; i < 4; i++)
		if (ask(v, T_FLUSH, i % 2 == 0 ? ~0ull : 0, SECTOR, i < 2) >
			S_UNSUPP)
			return wrong("no status");
	return end(v);
}

static bool id_lengths(struct victim *v)
{
	static const uint32_t lens[] = {1, 19, 20, 21, 4096};
	unsigned i, j;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(lens); i++) {
		memset(v->data + AT_DATA, CANARY, 4096 + 32);
		if (ask(v, T_GET_ID, ~0ull, lens[i], true) > S_UNSUPP)
			return wrong_at("no status", lens[i]);
		j = lens[i] < 20 ? lens[i] : 20;
		for (; j < 4096 + 32; j++)
			if (v->data[AT_DATA + j] != CANARY)
				return wrong_at("written past the id", j);
	}
	if (ask(v, T_GET_ID, 0, 0, true) > S_UNSUPP ||
		ask(v, T_GET_ID, 0, 64, false) > S_UNSUPP)
		return wrong("no status");
	return end(v);
}

struct segment { /* of DISCARD, WRITE_ZEROES and SECURE_ERASE */
	uint64_t sector;
	uint32_t sectors, flags;
};

/* Segments that no device may serve, for each type that has them. */
static bool segments(struct victim *v, const struct segment *s, unsigned n)
{
	static const uint32_t type[] = {T_DISCARD, T_ZEROES, T_ERASE};
	unsigned i;

	for (i = 0; i < COUNT(type); i++) {
		memcpy(v->data + AT_DATA, s, n * sizeof(*s));
		if (!refused(
			    ask(v, type[i], 0, n * (uint32_t)sizeof(*s), false),
			    type[i]))
			return false;
	}
	return true;
}

static bool segment_range(struct victim *v)
{
	uint32_t last = (uint32_t)v->sectors - 1;
	const struct segment s[] = {
		{v->sectors, 1, 0},
		{last, 2, 0},
		{~0ull, 1, 0},
		{~0ull, 2, 0},
		{~0ull - 7, 16, 0},
		{0, 0xffffffffu, 0},
		{1, 0xffffffffu, 0},
		{(1ull << 55) - 1, 2, 0},
		{1ull << 55, 8, 0},
		{1ull << 63, 8, 0},
		{0 - (uint64_t)0xffffffffu, 0xffffffffu, 0},
	};
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(s); i++)
		if (!segments(v, &s[i], 1))
			return wrong_at("segment", i);
	return end(v);
}

static bool segment_flags(struct victim *v)
{
	const struct segment s[] = {
		{0, 1, 2},
		{0, 1, 0x80000000u},
		{0, 1, 0xfffffffeu},
		{0, 1, 0xffffffffu},
	};
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(s); i++)
		if (!segments(v, &s[i], 1))
			return wrong_at("segment", i);
	return end(v);
}

/* A good segment of no sectors, then a bad one: the good one does no harm. */
static bool segment_count(struct victim *v)
{
	struct segment s[600];
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(s); i++)
		s[i] = (struct segment){~0ull - i, 3, 0};
	return segments(v, s, COUNT(s)) && segments(v, s, 17) && end(v);
}

static bool segment_cut(struct victim *v)
{
	static const uint32_t type[] = {T_DISCARD, T_ZEROES, T_ERASE};
	static const uint32_t lens[] = {0, 1, 8, 15, 17, 31};
	const struct segment s = {0, 1, 0};
	unsigned i, j;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(type); i++)
		for (j = 0; j < COUNT(lens); j++) {
			memcpy(v->data + AT_DATA, &s, sizeof(s));
			memset(v->data + AT_DATA + 16, 0xff, 32);
			if (!refused(ask(v, type[i], 0, lens[j], false),
				    lens[j]))
				return false;
		}
	return end(v);
}

/* A disk that is only to be read: nothing changes it. */
static bool read_only(struct victim *v)
{
	const struct segment s = {0, 1, 0};

	if (!begin(v))
		return false;
	if (!v->readonly)
		return end(v);
	memset(v->data + AT_DATA, 0x5a, SECTOR);
	return refused(ask(v, T_OUT, 0, SECTOR, false), T_OUT) &&
	       segments(v, &s, 1) && end(v);
}

/* 60 buffers of a MiB each, all in the same place: more than is on the disk,
 * or than one request may have. */
static bool huge(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	unsigned i, writes;

	for (writes = 0; writes < 2; writes++) {
		if (!begin(v))
			return false;
		header(v, writes ? T_OUT : T_IN, 1);
		put(&d[0], v->data, 16, D_NEXT, 1);
		for (i = 1; i < RING_SIZE - 1; i++)
			put_gpa(&d[i], ram_end() - (2u << 20), 2u << 20,
				D_NEXT | (writes ? 0 : D_WRITE), i + 1);
		put(&d[i], v->data + AT_STATUS, 1, D_WRITE, 0);
		if (!given_back_up_to(v, 0, 0, 1) || !refused(status(v), i) ||
			!end(v))
			return false;
	}
	return true;
}

/* The data of a read falls on the header and status of its own request. */
static bool overlap(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;

	if (!begin(v))
		return false;
	header(v, T_IN, 0);
	put(&d[0], v->data, 16, D_NEXT, 1);
	put(&d[1], v->data, SECTOR, D_NEXT | D_WRITE, 2);
	put(&d[2], v->data + AT_STATUS, 1, D_WRITE, 0);
	if (!given_back(v, 0, 0, SECTOR + 1))
		return false;
	return (status(v) == S_OK || wrong_at("status", status(v))) && end(v);
}

/* Sectors are read over the rings: what comes is for the device to bear. */
static bool read_over_rings(struct victim *v)
{
	struct ring *r = &v->ring[0];
	unsigned i;

	for (i = 0; i < 3; i++) {
		if (!begin(v))
			return false;
		header(v, T_IN, 0);
		put(&r->desc[0], v->data, 16, D_NEXT, 1);
		put(&r->desc[1],
			i == 0	 ? (void *)r->desc
			: i == 1 ? (void *)(uintptr_t)r->avail
				 : (void *)(uintptr_t)r->used,
			SECTOR, D_NEXT | D_WRITE, 2);
		put(&r->desc[2], v->data + AT_STATUS, 1, D_WRITE, 0);
		offer(r, 0);
		kick(v, 0);
		kick(v, 0);
		if (!rig_reset(v))
			return false;
	}
	return true;
}

/* Every slot of the ring a read of 32 KiB, and a reset among them. */
static bool deep_reset(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	unsigned i, round;

	for (round = 0; round < 8; round++) {
		if (!rig_open(v))
			return false;
		header(v, T_IN, 0);
		for (i = 0; i + 2 < RING_SIZE; i += 3) {
			put(&d[i], v->data, 16, D_NEXT, i + 1);
			put(&d[i + 1], v->data + AT_DATA, 32768,
				D_NEXT | D_WRITE, i + 2);
			put(&d[i + 2], v->data + AT_STATUS, 1, D_WRITE, 0);
			offer(&v->ring[0], (uint16_t)i);
			if (i % 12 == 0)
				kick(v, 0);
		}
		kick(v, 0);
		if (!rig_reset(v))
			return false;
		memset(v->data + AT_DATA, CANARY, 32768);
		v->data[AT_STATUS] = NO_STATUS;
		rest();
		rest();
		for (i = 0; i < 32768; i += 8)
			if (v->data[AT_DATA + i] != CANARY)
				return wrong("written after the reset");
		if (status(v) != NO_STATUS)
			return wrong("a status after the reset");
	}
	return true;
}

const struct hostile_case hostile_blk[] = {
	{"blk_header_short", ID_BLOCK, "give an error status", header_short},
	{"blk_header_only", ID_BLOCK, "give it back, length 0", header_only},
	{"blk_status_readable", ID_BLOCK, "give it back, length 0",
		status_readable},
	{"blk_header_in_pieces", ID_BLOCK, "serve it: 2.7.4 allows that",
		header_in_pieces},
	{"blk_sector_wrap", ID_BLOCK, "give an error status", sector_wrap},
	{"blk_across_end", ID_BLOCK, "give an error status", across_end},
	{"blk_length_crooked", ID_BLOCK, "give an error status",
		length_crooked},
	{"blk_data_wrong_side", ID_BLOCK, "give an error status",
		data_wrong_side},
	{"blk_types", ID_BLOCK, "give an error status", types},
	{"blk_flush_with_data", ID_BLOCK, "answer", flush_with_data},
	{"blk_id_lengths", ID_BLOCK, "write 20 bytes at most", id_lengths},
	{"blk_segment_range", ID_BLOCK, "give an error status", segment_range},
	{"blk_segment_flags", ID_BLOCK, "give an error status", segment_flags},
	{"blk_segment_count", ID_BLOCK, "give an error status", segment_count},
	{"blk_segment_cut", ID_BLOCK, "give an error status", segment_cut},
	{"blk_read_only", ID_BLOCK, "give an error status", read_only},
	{"blk_huge", ID_BLOCK, "give an error status", huge},
	{"blk_overlap", ID_BLOCK, "use its copy of the header", overlap},
	{"blk_read_over_rings", ID_BLOCK, "be well after a reset",
		read_over_rings},
	{"blk_deep_reset", ID_BLOCK, "write nothing after a reset", deep_reset},
	{NULL, 0, NULL, NULL},
};
