/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_flood.c - attacks by number and by time: kicks without end,
 * resets with requests in flight, rings that change under the device's eyes.
 * Source: virtio 1.2, 2.1, 2.7, 4.2.2; ANCHORS' classes "completion after
 * reset", "double fetch", "endless work".
 */
#include "kernels/hostile.h"

#include "kernels/lib/io.h"
#include "kernels/lib/string.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define ALL	 (F_VERSION1 | F_EVENT | F_INDIRECT)

static bool kick_unready(struct victim *v)
{
	unsigned q;

	if (!rig_reset(v))
		return false;
	for (q = 0; q < QUEUES; q++)
		kick(v, q);
	if (!rig_begin(v, F_VERSION1))
		return false;
	for (q = 0; q < QUEUES; q++)
		kick(v, q);
	/* Kicked before it was ready, with something in it: either way. */
	rig_queue(v, v->work, RING_SIZE);
	good_build(v, v->ring[v->work].desc);
	offer(&v->ring[v->work], 0);
	kick(v, v->work);
	return rd(v, REG_STATUS) == ST_READY || wrong("the status has changed");
}

static bool kick_range(struct victim *v)
{
	static const uint32_t values[] = {QUEUES, 16, 255, 256, 0xffff, 0x10000,
		0x10001, 0x80000000u, 0xffffffffu};
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < COUNT(values); i++)
		wr(v, REG_QUEUE_NOTIFY, values[i]);
	return good_request(v);
}

static bool kick_widths(struct victim *v)
{
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 8; i++) {
		wr_width(v, REG_QUEUE_NOTIFY - 4 + i, 1, 0);
		wr_width(v, REG_QUEUE_NOTIFY - 4 + i, 2, 0);
		wr_width(v, REG_QUEUE_NOTIFY - 4 + i, 8, 0);
	}
	return good_request(v);
}

static bool kick_flood(struct victim *v)
{
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 5000; i++)
		kick(v, i % v->queues);
	return good_request(v);
}

static bool reset_flood(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 100; i++) {
		if (!rig_open(v))
			return false;
		kick(v, v->work);
		wr(v, REG_STATUS, 0);
		kick(v, v->work);
	}
	return true;
}

/* Many requests, a kick, a reset: from the reset on nothing is written. */
static bool reset_in_flight(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint8_t *image = v->data + 32768;
	unsigned i, n, q, round;

	for (round = 0; round < 8; round++) {
		if (!rig_open_with(v, ALL))
			return false;
		for (i = 0; i + 2 < RING_SIZE; i += 3) {
			n = good_build(v, &r->desc[i]);
			while (n-- > 0)
				r->desc[i + n].next =
					(uint16_t)(r->desc[i + n].next + i);
			offer(r, (uint16_t)i);
		}
		/* And buffers for what may come in. */
		for (q = 0; q < v->queues; q++) {
			if (q == v->work)
				continue;
			put(&v->ring[q].desc[0], v->data + 8192, 2048, D_WRITE,
				0);
			offer(&v->ring[q], 0);
			kick(v, q);
		}
		kick(v, v->work);
		for (i = 0; i < round * 100; i++)
			cpu_pause();
		if (!rig_reset(v))
			return false;
		/* All that is ours, as it is now, and a while later. */
		memset(v->data, CANARY, 16384);
		memcpy(image, (const void *)(uintptr_t)r->used, 1024);
		for (i = 0; i < 3; i++)
			rest();
		for (i = 0; i < 16384; i++)
			if (v->data[i] != CANARY)
				return wrong_at("written after the reset", i);
		if (memcmp(image, (const void *)(uintptr_t)r->used, 1024) != 0)
			return wrong("used after the reset");
	}
	return true;
}

/* Another value for one field of one descriptor. */
static void twist(struct victim *v, struct virtq_desc *d)
{
	static const uint32_t lens[] = {
		0, 1, 16, 512, 4096, 0xffffffffu, 0x80000000u};
	const uint64_t at[] = {(uint64_t)v->data, (uint64_t)v->data + 8192,
		v->gpa, 0xc0000000ull, ram_end() - 1, ~0ull};

	switch (chance() % 4) {
	case 0:
		*(volatile uint64_t *)&d->addr = at[chance() % COUNT(at)];
		break;
	case 1:
		*(volatile uint32_t *)&d->len = lens[chance() % COUNT(lens)];
		break;
	case 2:
		*(volatile uint16_t *)&d->flags = (uint16_t)(chance() & 7);
		break;
	default:
		*(volatile uint16_t *)&d->next = (uint16_t)(chance() % 70);
	}
}

/* Descriptors change while the device reads them. */
static bool double_fetch(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	struct virtq_desc *table = (void *)(v->data + 32768);
	unsigned i, j, n;

	if (!rig_open_with(v, ALL))
		return false;
	for (i = 0; i < 200; i++) {
		n = good_build(v, r->desc);
		good_build(v, table);
		put(&r->desc[8], table, 16 * n, D_INDIRECT, 0);
		offer(r, i % 2 == 0 ? 0 : 8);
		kick(v, v->work);
		for (j = 0; j < 8; j++) {
			twist(v, &r->desc[chance() % n]);
			twist(v, &table[chance() % n]);
		}
		if ((rd(v, REG_STATUS) & ST_NEEDS_RESET) != 0)
			return wrong("it gave up over a chain");
	}
	return rig_reset(v);
}

/* The data, too: headers of requests under way. */
static bool double_fetch_data(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	volatile uint32_t *words = (volatile uint32_t *)v->data;
	unsigned i, j;

	if (!rig_open_with(v, ALL))
		return false;
	for (i = 0; i < 200; i++) {
		good_build(v, r->desc);
		offer(r, 0);
		kick(v, v->work);
		for (j = 0; j < 16; j++)
			/* No page number of ours, for a balloon. */
			words[chance() % 12] =
				chance() % 2 == 0 && v->id != ID_BALLOON
					? chance() % 16
					: chance() | 1u << 30;
		if (i % 32 == 31 && !rig_open_with(v, ALL))
			return false;
	}
	return rig_reset(v);
}

/* The index goes on while the device serves: at last it is stopped, or not;
 * a reset ends it. */
static bool avail_race(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	unsigned i, round;

	for (round = 0; round < 10; round++) {
		if (!rig_open_with(v, ALL))
			return false;
		good_build(v, r->desc);
		for (i = 0; i < 500; i++) {
			r->avail[1] = (uint16_t)(r->used[1] + RING_SIZE);
			if (i % 50 == 0)
				kick(v, v->work);
		}
		if (!rig_reset(v))
			return false;
	}
	return true;
}

/* Work without an end: a guest that is always one step ahead must not keep the
 * others from being served, nor its own reset from coming through. */
static bool endless_work(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	unsigned i;

	if (!rig_open_with(v, F_VERSION1))
		return false;
	put(&r->desc[0], v->data, 1, 0, 0);
	for (i = 0; i < 3000; i++) {
		r->avail[1] = (uint16_t)(r->used[1] + RING_SIZE / 2);
		if (i % 64 == 0)
			kick(v, v->work);
		cpu_pause();
	}
	return rig_reset(v);
}

/* The status goes up and down while the device is at work. */
static bool status_race(struct victim *v)
{
	static const uint8_t values[] = {ST_RUNNING, ST_READY, 0, 1, 3, 128,
		ST_RUNNING | ST_FAILED, 64, 4, 0xff};
	struct ring *r = &v->ring[v->work];
	unsigned i, j;

	for (i = 0; i < 50; i++) {
		if (!rig_open_with(v, ALL))
			return false;
		good_build(v, r->desc);
		for (j = 0; j < 10; j++) {
			offer(r, 0);
			kick(v, v->work);
			wr(v, REG_STATUS, values[chance() % COUNT(values)]);
		}
	}
	return true;
}

/* Garbage in every register, in no order. */
static bool registers_random(struct victim *v)
{
	unsigned i, reg;

	for (i = 0; i < 3000; i++) {
		reg = chance() % (REG_END - 8);
		if (chance() % 4 != 0)
			reg &= ~3u;
		if (chance() % 4 == 0)
			rd_width(v, reg, 1u << chance() % 4);
		else
			wr_width(v, reg,
				chance() % 4 == 0 ? 1u << chance() % 4 : 4,
				chance() % 2 == 0 ? chance() & 15 : chance());
	}
	return rig_reset(v);
}

/* Garbage in every ring, with everything set up well. */
static bool rings_random(struct victim *v)
{
	unsigned i, j, q, round;

	for (round = 0; round < 30; round++) {
		if (!rig_open_with(v, ALL))
			return false;
		for (i = 0; i < 20; i++) {
			q = chance() % v->queues;
			good_build(v, v->ring[q].desc);
			for (j = 0; j < 6; j++)
				twist(v, &v->ring[q].desc[chance() % 8]);
			offer(&v->ring[q],
				(uint16_t)(chance() % (RING_SIZE + i / 19)));
			kick(v, q);
		}
	}
	return rig_reset(v);
}

const struct hostile_case hostile_flood[] = {
	{"kick_unready", ID_ANY, "ignore kicks of queues that are not ready",
		kick_unready},
	{"kick_range", ID_ANY, "ignore kicks of queues it has not", kick_range},
	{"kick_widths", ID_ANY, "ignore kicks of another width", kick_widths},
	{"kick_flood", ID_ANY, "serve the next request", kick_flood},
	{"reset_flood", ID_ANY, "be reset each time", reset_flood},
	{"reset_in_flight", ID_ANY, "write nothing after a reset",
		reset_in_flight},
	{"double_fetch", ID_ANY, "not trust what it has read before",
		double_fetch},
	{"double_fetch_data", ID_ANY, "not trust what it has read before",
		double_fetch_data},
	{"avail_race", ID_ANY, "be reset whatever the index does", avail_race},
	{"endless_work", ID_ANY, "hear a reset between two batches",
		endless_work},
	{"status_race", ID_ANY, "be well after a reset", status_race},
	{"registers_random", ID_ANY, "be well after a reset", registers_random},
	{"rings_random", ID_ANY, "be well after a reset", rings_random},
	{NULL, 0, NULL, NULL},
};
