/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_balloon.c - attacks on balloons: pages that are none, counts
 * without end, statistics and reports that lie.  Source: virtio 1.2, 5.5.
 *
 * Only pages of our own that nothing depends on are given away.
 */
#include "kernels/hostile.h"

#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"

#define COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define INFLATE	  0u
#define DEFLATE	  1u
#define STATS	  2u
#define HINT	  3u
#define REPORT	  4u
#define F_STATS	  (1ull << 1)
#define F_HINT	  (1ull << 3)
#define F_REPORT  (1ull << 5)
#define AT_TARGET REG_CONFIG
#define AT_ACTUAL (REG_CONFIG + 4)
#define AT_POISON (REG_CONFIG + 12)
#define AT_PAGE	  32768u /* in v->data: pages to give away */

static bool begin(struct victim *v)
{
	return rig_open_with(v, v->offered);
}

/* @count page numbers at v->data, into @queue. */
static bool pages(
	struct victim *v, unsigned queue, const uint32_t *pfn, unsigned count)
{
	memcpy(v->data, pfn, 4 * count);
	put(&v->ring[queue].desc[0], v->data, 4 * count, 0, 0);
	return given_back(v, queue, 0, 0);
}

static bool pages_nowhere(struct victim *v)
{
	const uint32_t pfn[] = {(uint32_t)(ram_end() >> 12), 0xc0000, 0xd0000,
		0xfec00, 0xfee00, 0xfffff, 0x100000, 0x7fffffff, 0x80000000u,
		0xffffffffu};

	return begin(v) && pages(v, INFLATE, pfn, COUNT(pfn)) &&
	       pages(v, DEFLATE, pfn, COUNT(pfn)) && good_request(v);
}

static bool pages_cut(struct victim *v)
{
	unsigned len, q;

	if (!begin(v))
		return false;
	memset(v->data, 0xff, 64);
	for (q = INFLATE; q <= DEFLATE; q++)
		for (len = 1; len < 20; len++) {
			put(&v->ring[q].desc[0], v->data, len, 0, 0);
			if (!given_back(v, q, 0, 0))
				return wrong_at("of length", len);
		}
	/* One number over four buffers. */
	for (len = 0; len < 4; len++)
		put(&v->ring[0].desc[len], v->data + len, 1,
			len < 3 ? D_NEXT : 0, len + 1);
	return given_back(v, INFLATE, 0, 0) && good_request(v);
}

static bool pages_writable(struct victim *v)
{
	if (!begin(v))
		return false;
	memset(v->data, CANARY, 4096);
	put(&v->ring[INFLATE].desc[0], v->data, 4096, D_WRITE, 0);
	return given_back(v, INFLATE, 0, 0) &&
	       (v->data[0] == CANARY || wrong("it was written")) &&
	       good_request(v);
}

/* A million numbers in one request, all wrong or all the same. */
static bool pages_million(struct victim *v)
{
	uint32_t pfn = (uint32_t)((uint64_t)(v->data + AT_PAGE) >> 12);
	unsigned i, q, round;

	if (!begin(v))
		return false;
	for (round = 0; round < 2; round++) {
		for (i = 0; i < AT_PAGE; i += 4)
			memcpy(v->data + i, &pfn, 4);
		for (q = INFLATE; q <= DEFLATE; q++) {
			for (i = 0; i < RING_SIZE; i++)
				put(&v->ring[q].desc[i], v->data, AT_PAGE,
					i + 1 < RING_SIZE ? D_NEXT : 0, i + 1);
			if (!given_back(v, q, 0, 0))
				return false;
		}
		pfn = 0xfffffff0u;
	}
	return good_request(v);
}

/* The page that holds the numbers, and the page of the used ring. */
static bool pages_in_use(struct victim *v)
{
	struct ring *r = &v->ring[INFLATE];
	uint32_t pfn[2];

	if (!begin(v))
		return false;
	pfn[0] = (uint32_t)((uint64_t)v->data >> 12);
	pfn[1] = (uint32_t)((uint64_t)r->used >> 12);
	return pages(v, INFLATE, pfn, 1) && pages(v, INFLATE, pfn, 2) &&
	       good_request(v);
}

static bool deflate_alone(struct victim *v)
{
	uint32_t pfn = (uint32_t)((uint64_t)(v->data + AT_PAGE) >> 12);

	if (!begin(v))
		return false;
	memset(v->data + AT_PAGE, CANARY, 4096);
	if (!pages(v, DEFLATE, &pfn, 1) || !pages(v, DEFLATE, &pfn, 1))
		return false;
	return (v->data[AT_PAGE] == CANARY &&
		       v->data[AT_PAGE + 4095] == CANARY) ||
	       wrong("a page that never left is changed");
}

static bool actual_lies(struct victim *v)
{
	static const uint32_t sizes[] = {
		1, 0x7fffffff, 0x80000000u, 0xffffffffu, 0};
	uint32_t target;
	unsigned i;

	if (!begin(v))
		return false;
	target = rd(v, AT_TARGET);
	for (i = 0; i < COUNT(sizes); i++) {
		wr(v, AT_ACTUAL, sizes[i]);
		wr(v, AT_TARGET, sizes[i]);
		wr(v, AT_POISON, sizes[i]);
		wr_width(v, AT_ACTUAL + i, 1, 0xff);
		wr_width(v, AT_ACTUAL + i, 2, 0xffff);
		wr_width(v, AT_ACTUAL, 8, ~0ull);
		if (rd(v, AT_TARGET) != target)
			return wrong("the target was written");
		if (!good_request(v))
			return false;
	}
	return true;
}

static bool stats_lies(struct victim *v)
{
	struct ring *r = &v->ring[STATS];
	unsigned i, round;

	if ((v->offered & F_STATS) == 0)
		return true;
	for (round = 0; round < 30; round++) {
		if (!begin(v))
			return false;
		for (i = 0; i < 4096; i += 4)
			*(uint32_t *)(v->data + AT_PAGE + i) = chance();
		for (i = 0; i < 4; i++) {
			put(&r->desc[i], v->data + AT_PAGE,
				round < 20 ? round : chance() % 32768,
				round % 7 == 6 ? D_WRITE : 0, 0);
			offer(r, (uint16_t)i);
			kick(v, STATS);
		}
		if (!good_request(v))
			return false;
	}
	return true;
}

/* Hints that nobody asked for. */
static bool hints_unasked(struct victim *v)
{
	static const uint32_t ids[] = {0, 1, 2, 0x80000000u, 0xffffffffu};
	struct ring *r = &v->ring[HINT];
	unsigned i;

	if ((v->offered & F_HINT) == 0)
		return true;
	if (!begin(v))
		return false;
	memset(v->data + AT_PAGE, CANARY, 16384);
	for (i = 0; i < COUNT(ids); i++) {
		memcpy(v->data, &ids[i], 4);
		put(&r->desc[0], v->data, i == 2 ? 3 : 4, 0, 0);
		if (!given_back(v, HINT, 0, 0))
			return false;
		put(&r->desc[0], v->data + AT_PAGE + i, 16384, D_WRITE, 0);
		if (!given_back(v, HINT, 0, 0))
			return false;
	}
	for (i = 0; i < 16384; i += 512)
		if (v->data[AT_PAGE + i] != CANARY)
			return wrong_at("it was lost", i);
	return good_request(v);
}

/* Only whole pages of what was reported may go. */
static bool reports_crooked(struct victim *v)
{
	struct ring *r = &v->ring[REPORT];
	uint8_t *p = v->data + AT_PAGE;

	if ((v->offered & F_REPORT) == 0)
		return true;
	if (!begin(v))
		return false;
	memset(p, CANARY, 4 * 4096);
	put(&r->desc[0], p + 4095, 4098, D_WRITE, 0);
	if (!given_back(v, REPORT, 0, 0))
		return false;
	if (p[4095] != CANARY || p[8192] != CANARY || p[3 * 4096] != CANARY)
		return wrong("more than whole pages went");
	memset(p, CANARY, 4 * 4096);
	put(&r->desc[0], p + 1, 8190, D_WRITE, 0);
	if (!given_back(v, REPORT, 0, 0))
		return false;
	if (p[1] != CANARY || p[4096] != CANARY || p[8190] != CANARY)
		return wrong("parts of pages went");
	put(&r->desc[0], p, 16384, 0, 0); /* to read: no report */
	if (!given_back(v, REPORT, 0, 0))
		return false;
	if (p[0] != CANARY || p[8192] != CANARY)
		return wrong("what was to be read went");
	return good_request(v);
}

/* Each page 64 times in one report, and reports in a row. */
static bool reports_flood(struct victim *v)
{
	struct ring *r = &v->ring[REPORT];
	unsigned i, round;

	if ((v->offered & F_REPORT) == 0)
		return true;
	if (!begin(v))
		return false;
	for (i = 0; i < RING_SIZE; i++)
		put(&r->desc[i], v->data + AT_PAGE, 32768,
			D_WRITE | (i + 1 < RING_SIZE ? D_NEXT : 0), i + 1);
	for (round = 0; round < 50; round++)
		if (!given_back(v, REPORT, 0, 0))
			return false;
	return good_request(v);
}

/* Features below others left out: the queues have other numbers then. */
static bool queues_renumbered(struct victim *v)
{
	unsigned bits, q;

	for (bits = 0; bits < 8; bits++) {
		if (!rig_open_with(v, F_VERSION1 | (bits & 1 ? F_STATS : 0) |
					      (bits & 2 ? F_HINT : 0) |
					      (bits & 4 ? F_REPORT : 0)))
			return false;
		for (q = 2; q < v->queues; q++) {
			put(&v->ring[q].desc[0], v->data + AT_PAGE, 4096,
				D_WRITE, 0);
			offer(&v->ring[q], 0);
			kick(v, q);
		}
		if (!good_request(v))
			return false;
	}
	return true;
}

const struct hostile_case hostile_balloon[] = {
	{"balloon_pages_nowhere", ID_BALLOON, "ignore what is no RAM",
		pages_nowhere},
	{"balloon_pages_cut", ID_BALLOON, "ignore parts of a number",
		pages_cut},
	{"balloon_pages_writable", ID_BALLOON, "write nothing", pages_writable},
	{"balloon_pages_million", ID_BALLOON, "come to its end", pages_million},
	{"balloon_pages_in_use", ID_BALLOON, "take them like others",
		pages_in_use},
	{"balloon_deflate_alone", ID_BALLOON, "change nothing", deflate_alone},
	{"balloon_actual_lies", ID_BALLOON, "believe or ignore it",
		actual_lies},
	{"balloon_stats_lies", ID_BALLOON, "believe or ignore them",
		stats_lies},
	{"balloon_hints_unasked", ID_BALLOON, "keep those pages",
		hints_unasked},
	{"balloon_reports_crooked", ID_BALLOON, "take whole pages only",
		reports_crooked},
	{"balloon_reports_flood", ID_BALLOON, "give each back", reports_flood},
	{"balloon_queues_renumbered", ID_BALLOON, "know its queues by features",
		queues_renumbered},
	{NULL, 0, NULL, NULL},
};
