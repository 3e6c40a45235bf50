/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_small.c - attacks on rng and console devices.
 * Source: virtio 1.2, 5.3 and 5.4.
 */
#include "kernels/hostile.h"

#include "kernels/lib/io.h"
#include "kernels/lib/string.h"

#define RX 0u
#define TX 1u

#define RNG_MOST (1u << 20) /* no device should give more at once */

/* ---- rng ---- */

static bool rng_huge(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	unsigned i;

	if (!rig_open(v))
		return false;
	put_gpa(&d[0], ram_end() - (32u << 20), 32u << 20, D_WRITE, 0);
	if (!given_back_up_to(v, 0, 0, RNG_MOST))
		return false;
	for (i = 0; i < RING_SIZE; i++)
		put_gpa(&d[i], ram_end() - (32u << 20), 32u << 20,
			D_WRITE | (i + 1 < RING_SIZE ? D_NEXT : 0), i + 1);
	return given_back_up_to(v, 0, 0, RNG_MOST) && good_request(v);
}

static bool rng_readable(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	unsigned i;

	if (!rig_open(v))
		return false;
	memset(v->data, CANARY, 8192);
	put(&d[0], v->data, 4096, 0, 0);
	if (!given_back(v, 0, 0, 0))
		return false;
	put(&d[0], v->data, 4096, D_NEXT, 1);
	put(&d[1], v->data + 4096, 8, D_WRITE, 0);
	if (!given_back_up_to(v, 0, 0, 8))
		return false;
	for (i = 0; i < 4096; i++)
		if (v->data[i] != CANARY)
			return wrong("it was written");
	return good_request(v);
}

static bool rng_one_byte(struct victim *v)
{
	unsigned i;

	if (!rig_open(v))
		return false;
	memset(v->data, CANARY, 256);
	for (i = 0; i < RING_SIZE; i++)
		put(&v->ring[0].desc[i], v->data + 2 * i, 1,
			D_WRITE | (i + 1 < RING_SIZE ? D_NEXT : 0), i + 1);
	if (!given_back_up_to(v, 0, 0, RING_SIZE))
		return false;
	for (i = 1; i < 2 * RING_SIZE; i += 2)
		if (v->data[i] != CANARY)
			return wrong_at("between the buffers", i);
	return good_request(v);
}

static bool rng_flood(struct victim *v)
{
	struct ring *r = &v->ring[0];
	uint32_t id, len;
	unsigned i, j;

	if (!rig_open(v))
		return false;
	for (i = 0; i < RING_SIZE; i++)
		put(&r->desc[i], v->data, 65535, D_WRITE, 0);
	for (i = 0; i < 20; i++) {
		for (j = 0; j < RING_SIZE; j++)
			offer(r, (uint16_t)j);
		kick(v, 0);
		for (j = 0; j < RING_SIZE; j++)
			if (!used(v, 0, &id, &len) || len > 65535)
				return wrong_at("length", len);
	}
	return good_request(v);
}

/* ---- console ---- */

static bool console_ports(struct victim *v)
{
	unsigned q;

	if (!rig_reset(v))
		return false;
	for (q = 2; q < 64; q++) {
		wr(v, REG_QUEUE_SEL, q);
		if (rd(v, REG_QUEUE_MAX) != 0)
			return wrong_at("a queue without MULTIPORT", q);
	}
	return true;
}

/* 5.3.6: emerg_wr, which is not offered. */
static bool console_emergency(struct victim *v)
{
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 100; i++)
		wr(v, REG_CONFIG + 8, 'E');
	return good_request(v);
}

static bool console_send_writable(struct victim *v)
{
	if (!rig_open(v))
		return false;
	memset(v->data, CANARY, 64);
	put(&v->ring[TX].desc[0], v->data, 64, D_WRITE, 0);
	if (!given_back(v, TX, 0, 0))
		return false;
	return (v->data[0] == CANARY || wrong("it was written")) &&
	       good_request(v);
}

static bool console_receive_readable(struct victim *v)
{
	struct ring *r = &v->ring[RX];
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < RING_SIZE; i++) {
		put(&r->desc[i], v->data, 64, 0, 0);
		offer(r, (uint16_t)i);
	}
	kick(v, RX);
	return good_request(v);
}

/* A MiB in pieces of one byte and of many: out it goes, or it is dropped. */
static bool console_long(struct victim *v)
{
	unsigned i, round;

	if (!rig_open(v))
		return false;
	memset(v->data, '.', 32768);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < RING_SIZE; i++)
			put(&v->ring[TX].desc[i], v->data,
				i % 2 == 0 ? 1 : 8192,
				i + 1 < RING_SIZE ? D_NEXT : 0, i + 1);
		if (!given_back(v, TX, 0, 0))
			return false;
	}
	return good_request(v);
}

/* The chain changes, or goes, while it is being written out. */
static bool console_shrinks(struct victim *v)
{
	struct ring *r = &v->ring[TX];
	unsigned i, j;
	uint32_t id, len;

	if (!rig_open(v))
		return false;
	memset(v->data, '.', 65535);
	for (i = 0; i < 50; i++) {
		for (j = 0; j < 16; j++)
			put(&r->desc[j], v->data, 65535, j < 15 ? D_NEXT : 0,
				j + 1);
		offer(r, 0);
		kick(v, TX);
		for (j = 0; j < i * 20; j++)
			cpu_pause();
		*(volatile uint16_t *)&r->desc[i % 16].flags = 0;
		*(volatile uint32_t *)&r->desc[0].len = 1;
		if (!used(v, TX, &id, &len))
			return false;
		if (len != 0)
			return wrong_at("length", len);
	}
	return good_request(v);
}

const struct hostile_case hostile_small[] = {
	{"rng_huge", ID_RNG, "give a bounded part", rng_huge},
	{"rng_readable", ID_RNG, "write nothing there", rng_readable},
	{"rng_one_byte", ID_RNG, "write only into the buffers", rng_one_byte},
	{"rng_flood", ID_RNG, "give each buffer back", rng_flood},
	{"console_ports", ID_CONSOLE, "have no queues of more ports",
		console_ports},
	{"console_emergency", ID_CONSOLE, "ignore it", console_emergency},
	{"console_send_writable", ID_CONSOLE, "give it back, length 0",
		console_send_writable},
	{"console_receive_readable", ID_CONSOLE, "live with it",
		console_receive_readable},
	{"console_long", ID_CONSOLE, "give it back, length 0", console_long},
	{"console_shrinks", ID_CONSOLE, "give it back, length 0",
		console_shrinks},
	{NULL, 0, NULL, NULL},
};
