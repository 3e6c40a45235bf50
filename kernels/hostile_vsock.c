/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_vsock.c - attacks on socket devices: packets that lie about
 * where they come from, what they are and how long they are.  Source: virtio
 * 1.2, 5.10.  No program listens on the host, so each connection is refused.
 */
#include "kernels/hostile.h"

#include "kernels/lib/string.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RX	 0u
#define TX	 1u
#define EVENT	 2u
#define HEADER	 44u
#define REQUEST	 1u
#define RW	 5u
#define AT_RX	 32768u
#define RX_BYTES 256u
#define HOST	 2ull

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static struct packet good(const struct victim *v, uint16_t op)
{
	return (struct packet){.src_cid = v->sectors,
		.dst_cid = HOST,
		.src_port = 5000,
		.dst_port = 9,
		.type = 1,
		.op = op,
		.buf_alloc = 65536};
}

/* Send @p with @payload bytes behind it. */
static bool send(struct victim *v, const struct packet *p, uint32_t payload)
{
	memcpy(v->data, p, HEADER);
	put(&v->ring[TX].desc[0], v->data, HEADER + payload, 0, 0);
	return given_back(v, TX, 0, 0);
}

/* Open, with buffers for refusals, which are taken whenever they come. */
static bool begin(struct victim *v)
{
	struct ring *r = &v->ring[RX];
	unsigned i;

	if (!rig_open(v))
		return false;
	for (i = 0; i < RING_SIZE; i++) {
		put(&r->desc[i], v->data + AT_RX + i * RX_BYTES, RX_BYTES,
			D_WRITE, 0);
		offer(r, (uint16_t)i);
	}
	kick(v, RX);
	return true;
}

/* Give back what has come, so that the device never waits for us. */
static void refill(struct victim *v)
{
	struct ring *r = &v->ring[RX];

	while (r->used_idx != r->used[1]) {
		offer(r, (uint16_t)(r->used_idx % RING_SIZE));
		r->used_idx++;
	}
	kick(v, RX);
}

static bool header_short(struct victim *v)
{
	struct packet p = good(v, RW);
	uint32_t n;

	if (!begin(v))
		return false;
	memcpy(v->data, &p, HEADER);
	for (n = 1; n < HEADER; n++) {
		put(&v->ring[TX].desc[0], v->data, n, 0, 0);
		if (!given_back(v, TX, 0, 0))
			return wrong_at("of length", n);
	}
	return good_request(v);
}

static bool cids(struct victim *v)
{
	const uint64_t cid[] = {0, 1, HOST, v->sectors, v->sectors + 1,
		0xffffffffull, 1ull << 32 | HOST, 1ull << 63, ~0ull};
	struct packet p;
	unsigned i, j;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(cid); i++)
		for (j = 0; j < COUNT(cid); j++) {
			p = good(v, REQUEST);
			p.src_cid = cid[i];
			p.dst_cid = cid[j];
			if (!send(v, &p, 0))
				return wrong_at("cids", i << 8 | j);
			refill(v);
		}
	return good_request(v);
}

static bool ops(struct victim *v)
{
	static const uint16_t types[] = {0, 1, 2, 3, 0x8000, 0xffff};
	struct packet p;
	unsigned i, op;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(types); i++)
		for (op = 0; op < 12; op++) {
			p = good(v, (uint16_t)(op == 11 ? 0xffff : op));
			p.type = types[i];
			p.flags = chance();
			p.src_port = chance();
			p.dst_port = op % 2 == 0 ? chance() : 0;
			if (!send(v, &p, 0))
				return wrong_at("type and op",
					(uint64_t)types[i] << 16 | op);
			refill(v);
		}
	return good_request(v);
}

static bool length_lies(struct victim *v)
{
	static const uint32_t lens[] = {1, 99, 101, 4096, 65537, 0x7fffffff,
		0x80000000u, 0xffffffd4u, 0xffffffffu};
	struct packet p;
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < COUNT(lens); i++) {
		p = good(v, RW);
		p.len = lens[i];
		if (!send(v, &p, 100))
			return wrong_at("len", lens[i]);
		refill(v);
		p.op = REQUEST;
		if (!send(v, &p, 0))
			return wrong_at("len", lens[i]);
		refill(v);
	}
	return good_request(v);
}

static bool credit_lies(struct victim *v)
{
	struct packet p;
	unsigned i;

	if (!begin(v))
		return false;
	for (i = 0; i < 300; i++) {
		p = good(v, (uint16_t)(chance() % 8));
		p.src_port = 5000 + chance() % 4;
		p.buf_alloc = chance() % 2 == 0 ? chance() : 0;
		p.fwd_cnt = chance();
		p.len = chance() % 2 == 0 ? 0 : 64;
		if (!send(v, &p, 64))
			return wrong_at("packet", i);
		refill(v);
	}
	return good_request(v);
}

static bool giant_packet(struct victim *v)
{
	struct packet p = good(v, RW);
	unsigned i;

	if (!begin(v))
		return false;
	p.len = (RING_SIZE - 1) << 20;
	memcpy(v->data, &p, HEADER);
	put(&v->ring[TX].desc[0], v->data, HEADER, D_NEXT, 1);
	for (i = 1; i < RING_SIZE; i++)
		put_gpa(&v->ring[TX].desc[i], ram_end() - (1u << 20), 1u << 20,
			i + 1 < RING_SIZE ? D_NEXT : 0, i + 1);
	return given_back(v, TX, 0, 0) && good_request(v);
}

/* Requests without a buffer for any answer: at some point the device stops
 * looking, but it keeps no more than it has room for. */
static bool refusals(struct victim *v)
{
	struct ring *r = &v->ring[TX];
	struct packet p = good(v, REQUEST);
	unsigned i, n;

	if (!rig_open(v))
		return false;
	for (n = 0; n < 40; n++) {
		for (i = 0; i < RING_SIZE; i++) {
			p.src_port = n * RING_SIZE + i;
			memcpy(v->data + 64 * i, &p, HEADER);
			put(&r->desc[i], v->data + 64 * i, HEADER, 0, 0);
			if ((uint16_t)(r->avail_idx - r->used[1]) < RING_SIZE)
				offer(r, (uint16_t)i);
		}
		kick(v, TX);
		rest();
	}
	return rig_reset(v);
}

static bool receive_small(struct victim *v)
{
	struct ring *r = &v->ring[RX];
	struct packet p = good(v, REQUEST);
	unsigned i, len;

	for (len = 1; len < HEADER; len += 6) {
		if (!rig_open(v))
			return false;
		memset(v->data + AT_RX, CANARY, 8192);
		for (i = 0; i < RING_SIZE; i++) {
			put(&r->desc[i], v->data + AT_RX + i * 64, len, D_WRITE,
				0);
			offer(r, (uint16_t)i);
		}
		kick(v, RX);
		if (!send(v, &p, 0))
			return false;
		rest();
		rest();
		if (!good_request(v))
			return false;
		for (i = 0; i < RING_SIZE; i++)
			if (v->data[AT_RX + i * 64 + len] != CANARY)
				return wrong_at("past a buffer of", len);
	}
	return true;
}

static bool receive_readable(struct victim *v)
{
	struct packet p = good(v, REQUEST);
	unsigned i, q;

	if (!rig_open(v))
		return false;
	for (q = RX; q <= EVENT; q += EVENT)
		for (i = 0; i < RING_SIZE; i++) {
			put(&v->ring[q].desc[i], v->data + AT_RX, 256, 0, 0);
			offer(&v->ring[q], (uint16_t)i);
		}
	memset(v->data + AT_RX, CANARY, 256);
	kick(v, RX);
	kick(v, EVENT);
	for (i = 0; i < 4; i++)
		if (!send(v, &p, 0))
			return false;
	return (v->data[AT_RX] == CANARY || wrong("it was written")) &&
	       good_request(v);
}

static bool send_writable(struct victim *v)
{
	if (!begin(v))
		return false;
	memset(v->data, CANARY, 4096);
	put(&v->ring[TX].desc[0], v->data, 4096, D_WRITE, 0);
	return given_back(v, TX, 0, 0) &&
	       (v->data[0] == CANARY || wrong("it was written")) &&
	       good_request(v);
}

const struct hostile_case hostile_vsock[] = {
	{"vsock_header_short", ID_VSOCK, "drop it", header_short},
	{"vsock_cids", ID_VSOCK, "drop or refuse it", cids},
	{"vsock_ops", ID_VSOCK, "drop or refuse it", ops},
	{"vsock_length_lies", ID_VSOCK, "drop or refuse it", length_lies},
	{"vsock_credit_lies", ID_VSOCK, "drop or refuse it", credit_lies},
	{"vsock_giant_packet", ID_VSOCK, "drop or refuse it", giant_packet},
	{"vsock_refusals", ID_VSOCK, "owe a bounded number of answers",
		refusals},
	{"vsock_receive_small", ID_VSOCK, "write nothing past a buffer",
		receive_small},
	{"vsock_receive_readable", ID_VSOCK, "write nothing", receive_readable},
	{"vsock_send_writable", ID_VSOCK, "drop it and write nothing",
		send_writable},
	{NULL, 0, NULL, NULL},
};
