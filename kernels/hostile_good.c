/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_good.c - a good driver for each kind of device, short and
 * strict: after every attack it must find the device as on the first day.
 */
#include "kernels/hostile.h"

#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"

#define SECTOR	   512u
#define NET_HEADER 12u
#define RX_SLOTS   16u
#define RX_BYTES   2048u
#define RX_AT	   16384u /* in v->data */

/* Where the parts of a request lie in v->data. */
#define AT_HEADER 0u
#define AT_STATUS 64u
#define AT_DATA	  1024u

/* ---- rng: some bytes, and nothing past them ---- */

static unsigned rng_build(struct victim *v, struct virtq_desc *d)
{
	memset(v->data, CANARY, 256);
	put(&d[0], v->data, 64, D_WRITE, 0);
	return 1;
}

static bool rng_check(struct victim *v, uint32_t len)
{
	unsigned i;

	if (len == 0 || len > 64)
		return wrong_at("rng: length", len);
	for (i = len; i < 256; i++)
		if (v->data[i] != CANARY)
			return wrong_at("rng: written past its length", i);
	return true;
}

/* ---- blk: write a sector, read it back ---- */

static void blk_header(struct victim *v, uint32_t type, uint64_t sector)
{
	memcpy(v->data + AT_HEADER, &type, 4);
	memset(v->data + AT_HEADER + 4, 0, 4);
	memcpy(v->data + AT_HEADER + 8, &sector, 8);
	v->data[AT_STATUS] = CANARY;
}

static unsigned blk_build(struct victim *v, struct virtq_desc *d)
{
	blk_header(v, 0, v->sectors - 1);
	memset(v->data + AT_DATA, CANARY, 2 * SECTOR);
	put(&d[0], v->data + AT_HEADER, 16, D_NEXT, 1);
	put(&d[1], v->data + AT_DATA, SECTOR, D_NEXT | D_WRITE, 2);
	put(&d[2], v->data + AT_STATUS, 1, D_WRITE, 0);
	return 3;
}

static bool blk_check(struct victim *v, uint32_t len)
{
	unsigned i;

	if (len != SECTOR + 1 || v->data[AT_STATUS] != 0)
		return wrong_at("blk: read: length and status",
			(uint64_t)v->data[AT_STATUS] << 32 | len);
	for (i = 0; i < SECTOR; i++)
		if (v->data[AT_DATA + SECTOR + i] != CANARY)
			return wrong_at("blk: written past the data", i);
	return true;
}

static bool blk_more(struct victim *v)
{
	struct virtq_desc *d = v->ring[0].desc;
	uint8_t salt = (uint8_t)chance();
	unsigned i;

	if (v->readonly)
		return true;
	blk_header(v, 1, v->sectors - 1);
	for (i = 0; i < SECTOR; i++)
		v->data[AT_DATA + i] = (uint8_t)(salt + 7 * i);
	put(&d[0], v->data + AT_HEADER, 16, D_NEXT, 1);
	put(&d[1], v->data + AT_DATA, SECTOR, D_NEXT, 2);
	put(&d[2], v->data + AT_STATUS, 1, D_WRITE, 0);
	if (!given_back(v, 0, 0, 1))
		return false;
	if (v->data[AT_STATUS] != 0)
		return wrong_at("blk: write: status", v->data[AT_STATUS]);
	blk_build(v, d);
	if (!given_back(v, 0, 0, SECTOR + 1) || !blk_check(v, SECTOR + 1))
		return false;
	for (i = 0; i < SECTOR; i++)
		if (v->data[AT_DATA + i] != (uint8_t)(salt + 7 * i))
			return wrong_at("blk: what was written is gone", i);
	return true;
}

/* ---- console: a line ---- */

static unsigned console_build(struct victim *v, struct virtq_desc *d)
{
	memcpy(v->data, "good\n", 5);
	put(&d[0], v->data, 5, 0, 0);
	return 1;
}

static bool nothing_written(struct victim *v, uint32_t len)
{
	return len == 0 || wrong_at("length of what we sent", len);
}

/* ---- net: who has 10.0.2.2? ---- */

static const uint8_t our_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static unsigned net_build(struct victim *v, struct virtq_desc *d)
{
	static const uint8_t arp[] = {8, 6, 0, 1, 8, 0, 6, 4, 0, 1};
	uint8_t *f = v->data + NET_HEADER;

	memset(v->data, 0, NET_HEADER + 60);
	memset(f, 0xff, 6);
	memcpy(f + 6, our_mac, 6);
	memcpy(f + 12, arp, sizeof(arp));
	memcpy(f + 22, our_mac, 6);
	memcpy(f + 28, "\x0a\x00\x02\x0f", 4);
	memcpy(f + 38, "\x0a\x00\x02\x02", 4);
	put(&d[0], v->data, NET_HEADER + 60, 0, 0);
	return 1;
}

static void net_post(struct victim *v)
{
	struct ring *r = &v->ring[0];
	unsigned i;

	for (i = 0; i < RX_SLOTS; i++) {
		put(&r->desc[i], v->data + RX_AT + i * RX_BYTES, RX_BYTES,
			D_WRITE, 0);
		offer(r, (uint16_t)i);
	}
	kick(v, 0);
}

/* Ask, and hear the answer among what else comes. */
static bool net_more(struct victim *v)
{
	const uint8_t *f;
	uint32_t id, len;
	unsigned i;

	net_post(v);
	net_build(v, v->ring[1].desc);
	if (!given_back(v, 1, 0, 0))
		return false;
	for (i = 0; i < RX_SLOTS; i++) {
		if (!used(v, 0, &id, &len))
			return wrong("net: no answer to ARP");
		if (id >= RX_SLOTS || len > RX_BYTES)
			return wrong("net: received more than there is");
		f = v->data + RX_AT + id * RX_BYTES + NET_HEADER;
		if (len >= NET_HEADER + 42 && f[12] == 8 && f[13] == 6 &&
			f[21] == 2)
			return true;
	}
	return wrong("net: only other frames");
}

/* ---- balloon: a page in, a page out ---- */

static unsigned balloon_build(struct victim *v, struct virtq_desc *d)
{
	uint32_t pfn = (uint32_t)((uint64_t)(v->data + 8192) >> 12);

	memcpy(v->data, &pfn, 4);
	put(&d[0], v->data, 4, 0, 0);
	return 1;
}

static bool balloon_more(struct victim *v)
{
	memset(v->data + 8192, CANARY, 4096);
	balloon_build(v, v->ring[0].desc);
	if (!given_back(v, 0, 0, 0))
		return false;
	balloon_build(v, v->ring[1].desc);
	return given_back(v, 1, 0, 0);
}

/* ---- vsock: a connection to a port where nobody listens ---- */

static void vsock_packet(struct victim *v, uint16_t op)
{
	uint64_t cid[2] = {v->sectors, 2};
	uint32_t port[2] = {4000, 9};
	uint16_t type_op[2] = {1, op};
	uint32_t credit[2] = {65536, 0};

	memset(v->data, 0, 44);
	memcpy(v->data, cid, 16);
	memcpy(v->data + 16, port, 8);
	memcpy(v->data + 28, type_op, 4);
	memcpy(v->data + 36, credit, 8);
}

/* RST of what is not: needs no answer, so it works without receive buffers. */
static unsigned vsock_build(struct victim *v, struct virtq_desc *d)
{
	vsock_packet(v, 3);
	put(&d[0], v->data, 44, 0, 0);
	return 1;
}

static bool vsock_more(struct victim *v)
{
	struct ring *r = &v->ring[0];
	uint16_t op;
	uint32_t id, len, port;
	unsigned i;

	for (i = 0; i < RX_SLOTS; i++) {
		put(&r->desc[i], v->data + RX_AT + i * RX_BYTES, RX_BYTES,
			D_WRITE, 0);
		offer(r, (uint16_t)i);
	}
	kick(v, 0);
	vsock_build(v, v->ring[1].desc);
	vsock_packet(v, 1); /* REQUEST */
	if (!given_back(v, 1, 0, 0))
		return false;
	for (i = 0; i < RX_SLOTS; i++) {
		if (!used(v, 0, &id, &len))
			return wrong("vsock: no answer");
		if (id >= RX_SLOTS || len < 44 || len > RX_BYTES)
			return wrong_at("vsock: length of a packet", len);
		memcpy(&op, v->data + RX_AT + id * RX_BYTES + 30, 2);
		memcpy(&port, v->data + RX_AT + id * RX_BYTES + 20, 4);
		if (op == 3 && port == 4000) /* RST */
			return true;
	}
	return wrong("vsock: only other packets");
}

/* ---- all of them ---- */

static const struct kind {
	uint32_t id;
	const char *name;
	unsigned work;
	unsigned (*build)(struct victim *v, struct virtq_desc *d);
	bool (*check)(struct victim *v, uint32_t len);
	bool (*more)(struct victim *v); /* NULL: nothing */
} kinds[] = {
	{ID_RNG, "rng", 0, rng_build, rng_check, NULL},
	{ID_BLOCK, "blk", 0, blk_build, blk_check, blk_more},
	{ID_CONSOLE, "console", 1, console_build, nothing_written, NULL},
	{ID_NET, "net", 1, net_build, nothing_written, net_more},
	{ID_BALLOON, "balloon", 0, balloon_build, nothing_written,
		balloon_more},
	{ID_VSOCK, "vsock", 1, vsock_build, nothing_written, vsock_more},
};

static const struct kind *kind_of(uint32_t id)
{
	unsigned i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].id == id)
			return &kinds[i];
	return NULL;
}

static void allocate_rings(struct victim *v)
{
	unsigned q;

	v->data = page_alloc(DATA_BYTES / PAGE_SIZE);
	for (q = 0; q < v->queues; q++) {
		v->ring[q].desc = page_alloc(1);
		v->ring[q].avail = page_alloc(1);
		v->ring[q].used = page_alloc(1);
	}
}

bool victim_init(struct victim *v, uint64_t gpa, unsigned nth)
{
	const struct kind *k;
	size_t n;

	memset(v, 0, sizeof(*v));
	v->gpa = gpa;
	v->id = rd(v, REG_DEVICE_ID);
	k = kind_of(v->id);
	if (k == NULL)
		return false;
	n = strlen(k->name);
	memcpy(v->name, k->name, n);
	v->name[n] = (char)('0' + nth % 10);
	v->work = k->work;
	wr(v, REG_STATUS, 0);
	wr(v, REG_FEATURES_SEL, 1);
	v->offered = (uint64_t)rd(v, REG_FEATURES) << 32;
	wr(v, REG_FEATURES_SEL, 0);
	v->offered |= rd(v, REG_FEATURES);
	for (; v->queues < QUEUES; v->queues++) {
		wr(v, REG_QUEUE_SEL, v->queues);
		if (rd(v, REG_QUEUE_MAX) == 0)
			break;
	}
	/* blk: capacity.  vsock: our CID. */
	v->sectors = rd(v, REG_CONFIG) | (uint64_t)rd(v, REG_CONFIG + 4) << 32;
	v->readonly = (v->offered >> 5 & 1) != 0;
	allocate_rings(v);
	return true;
}

unsigned good_build(struct victim *v, struct virtq_desc *d)
{
	return kind_of(v->id)->build(v, d);
}

bool good_check(struct victim *v, uint32_t len)
{
	return kind_of(v->id)->check(v, len);
}

bool good_request(struct victim *v)
{
	struct ring *r = &v->ring[v->work];
	uint32_t id, len;

	good_build(v, r->desc);
	offer(r, 0);
	kick(v, v->work);
	if (!used(v, v->work, &id, &len))
		return false;
	if (id != 0)
		return wrong_at("another head was given back", id);
	return good_check(v, len);
}

bool good_driver(struct victim *v)
{
	const struct kind *k = kind_of(v->id);

	if (!rig_open(v) || !good_request(v))
		return false;
	if (k->more != NULL && !k->more(v))
		return false;
	if (rd(v, REG_STATUS) != ST_RUNNING)
		return wrong_at("status while it works", rd(v, REG_STATUS));
	return rig_reset(v);
}
