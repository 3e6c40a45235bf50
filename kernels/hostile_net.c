/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_net.c - attacks on network devices: headers and frames that
 * lie, and commands.  Source: virtio 1.2, 5.1.6.
 *
 * A frame that cannot be sent is dropped, and its buffers come back.
 */
#include "kernels/hostile.h"

#include "kernels/lib/string.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define RX	 0u
#define TX	 1u
#define CTRL	 2u
#define HEADER	 12u
#define F_CTRL	 (1ull << 17)
#define F_MRG	 (1ull << 15)

struct net_header {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, buffers;
};

/* Send @len bytes of v->data, header and all. */
static bool send(struct victim *v, uint32_t len)
{
	put(&v->ring[TX].desc[0], v->data, len, 0, 0);
	return given_back(v, TX, 0, 0);
}

static bool short_frames(struct victim *v)
{
	uint32_t len;

	if (!rig_open(v))
		return false;
	memset(v->data, 0, 128);
	for (len = 1; len < HEADER + 60; len++)
		if (!send(v, len))
			return wrong_at("of length", len);
	return good_request(v);
}

static bool giant_frames(struct victim *v)
{
	static const uint32_t lens[] = {
		HEADER + 1514, HEADER + 1515, 9000, 65535, 65536};
	unsigned i;

	if (!rig_open(v))
		return false;
	memset(v->data, 0xff, 32);
	memset(v->data, 0, HEADER);
	for (i = 0; i < COUNT(lens); i++)
		if (!send(v, lens[i]))
			return wrong_at("of length", lens[i]);
	/* 63 MiB in one frame. */
	for (i = 0; i < RING_SIZE; i++)
		put_gpa(&v->ring[TX].desc[i], ram_end() - (1u << 20), 1u << 20,
			i + 1 < RING_SIZE ? D_NEXT : 0, i + 1);
	return given_back(v, TX, 0, 0) && good_request(v);
}

static bool header_pieces(struct victim *v)
{
	struct virtq_desc whole;
	unsigned i;

	if (!rig_open(v))
		return false;
	good_build(v, &whole);
	for (i = 0; i < 40; i++)
		put(&v->ring[TX].desc[i], v->data + i, 1, D_NEXT, i + 1);
	put(&v->ring[TX].desc[40], v->data + 40, whole.len - 40, 0, 0);
	return given_back(v, TX, 0, 0) && good_request(v);
}

static bool header_lies(struct victim *v, uint64_t features)
{
	static const uint16_t values[] = {0, 1, 13, 14, 34, 59, 60, 61, 1500,
		0x7fff, 0x8000, 0xfffe, 0xffff};
	struct net_header h;
	struct virtq_desc d;
	unsigned i;

	if (!rig_open_with(v, features))
		return false;
	for (i = 0; i < 300; i++) {
		good_build(v, &d);
		h.flags = (uint8_t)(chance() % 3 == 0 ? chance() : 1);
		h.gso_type =
			(uint8_t)(chance() % 3 == 0 ? chance() : chance() % 6);
		h.hdr_len = values[chance() % COUNT(values)];
		h.gso_size = values[chance() % COUNT(values)];
		h.csum_start = values[chance() % COUNT(values)];
		h.csum_offset = values[chance() % COUNT(values)];
		h.buffers = values[chance() % COUNT(values)];
		memcpy(v->data, &h, sizeof(h));
		if (!send(v, d.len))
			return wrong_at("header", i);
	}
	return good_request(v);
}

static bool gso_lies(struct victim *v)
{
	return header_lies(v, v->offered) && header_lies(v, F_VERSION1);
}

static bool send_writable(struct victim *v)
{
	if (!rig_open(v))
		return false;
	memset(v->data, CANARY, 2048);
	put(&v->ring[TX].desc[0], v->data, 2048, D_WRITE, 0);
	if (!given_back(v, TX, 0, 0))
		return false;
	if (v->data[0] != CANARY)
		return wrong("it was written");
	put(&v->ring[TX].desc[0], v->data, 12, D_NEXT, 1);
	put(&v->ring[TX].desc[1], v->data + 64, 1514, D_WRITE, 0);
	return given_back(v, TX, 0, 0) && good_request(v);
}

/* Receive buffers that are useless; a frame comes for them.  With @small
 * enough for one frame together, none is large enough alone. */
static bool receive_into(
	struct victim *v, uint64_t features, uint32_t len, unsigned flags)
{
	struct ring *r = &v->ring[RX];
	unsigned i;

	if (!rig_open_with(v, features))
		return false;
	for (i = 0; i < RING_SIZE; i++) {
		put(&r->desc[i], v->data + 16384 + i * 64, len, flags, 0);
		offer(r, (uint16_t)i);
	}
	kick(v, RX);
	for (i = 0; i < 4; i++)
		if (!good_request(v))
			return false;
	/* The answers come, or not; nothing outside of the buffers. */
	for (i = 0; i < 5; i++)
		rest();
	return (rd(v, REG_STATUS) & ST_NEEDS_RESET) == 0 || wrong("it gave up");
}

static bool receive_small(struct victim *v)
{
	unsigned len, i;

	for (len = 1; len < 64; len += 5) {
		memset(v->data + 16384, CANARY, 64 * RING_SIZE);
		if (!receive_into(v, F_VERSION1, len, D_WRITE) ||
			!receive_into(v, F_VERSION1 | F_MRG, len, D_WRITE))
			return false;
		for (i = 0; i < RING_SIZE; i++)
			if (v->data[16384 + i * 64 + len] != CANARY)
				return wrong_at("past a buffer of", len);
	}
	return true;
}

static bool receive_readable(struct victim *v)
{
	return receive_into(v, F_VERSION1 | F_MRG, 2048, 0) &&
	       receive_into(v, F_VERSION1, 64, 0);
}

/* The same chain for every frame, and frames for it. */
static bool receive_same(struct victim *v)
{
	struct ring *r = &v->ring[RX];
	unsigned i;

	if (!rig_open_with(v, F_VERSION1 | F_MRG))
		return false;
	put(&r->desc[0], v->data + 16384, 40, D_WRITE, 0);
	for (i = 0; i < RING_SIZE; i++)
		offer(r, 0);
	kick(v, RX);
	for (i = 0; i < 8; i++)
		if (!good_request(v))
			return false;
	return rig_reset(v);
}

/* ---- commands ---- */

/* A command of @len bytes at v->data.  Return: the answer; CANARY: none. */
static uint8_t command(struct victim *v, uint32_t len)
{
	struct virtq_desc *d = v->ring[CTRL].desc;

	v->data[8192] = CANARY;
	put(&d[0], v->data, len, D_NEXT, 1);
	put(&d[1], v->data + 8192, 1, D_WRITE, 0);
	if (!given_back(v, CTRL, 0, 1))
		return CANARY;
	return *(volatile uint8_t *)&v->data[8192];
}

static bool open_ctrl(struct victim *v)
{
	return rig_open_with(v, v->offered & ~(1ull << 22)); /* no MQ */
}

static bool ctrl_garbage(struct victim *v)
{
	unsigned class, cmd;
	uint32_t len;
	uint8_t ack;

	if ((v->offered & F_CTRL) == 0)
		return true;
	if (!open_ctrl(v))
		return false;
	for (class = 0; class < 8; class ++)
		for (cmd = 0; cmd < 5; cmd++)
			for (len = 0; len < 20; len += 3) {
				memset(v->data, 0xff, 64);
				v->data[0] = (uint8_t) class;
				v->data[1] = (uint8_t)cmd;
				ack = command(v, 2 + len);
				/* Announcements have no data; the rest of it
				 * is not what any command takes. */
				if (ack != 1 && !(class == 3 && len == 0))
					return wrong_at("answer to",
						class << 16 | cmd << 8 | len);
			}
	return command(v, 1) == 1 || wrong("half a header");
}

static bool ctrl_filters(struct victim *v)
{
	static const uint32_t entries[] = {1, 2, 0x2aaaaaab, 0x55555556,
		0x80000000u, 0xffffffffu, 0xaaaaaaab};
	unsigned i;

	if ((v->offered & F_CTRL) == 0)
		return true;
	if (!open_ctrl(v))
		return false;
	for (i = 0; i < COUNT(entries); i++) {
		memset(v->data, 0, 64);
		v->data[0] = 1; /* MAC, TABLE_SET */
		memcpy(v->data + 2, &entries[i], 4);
		if (command(v, 10) != 1)
			return wrong_at("first list of", entries[i]);
		memset(v->data + 2, 0, 4);
		memcpy(v->data + 6, &entries[i], 4);
		if (command(v, 10) != 1)
			return wrong_at("second list of", entries[i]);
	}
	/* A list that is as long as it says. */
	memset(v->data, 0, 8192);
	v->data[0] = 1;
	v->data[2] = 200;
	return (command(v, 2 + 4 + 1200 + 4) == 0 ||
		       wrong("a good list is refused")) &&
	       good_request(v);
}

static bool ctrl_mac(struct victim *v)
{
	uint64_t before[2];

	if ((v->offered & F_CTRL) == 0)
		return true;
	if (!open_ctrl(v))
		return false;
	before[0] = rd(v, REG_CONFIG);
	memcpy(v->data, "\1\1\xff\xff\xff\xff\xff\xff", 8);
	if (command(v, 8) != 1)
		return wrong("broadcast as an address");
	memcpy(v->data, "\1\1\0\0\0\0\0\0", 8);
	if (command(v, 8) != 1)
		return wrong("no address at all");
	if (rd(v, REG_CONFIG) != before[0])
		return wrong("the address has changed");
	memcpy(v->data, "\1\1\2\0\0\0\0\7", 8);
	if (command(v, 8) != 0)
		return wrong("a good address is refused");
	if (!rig_reset(v))
		return false;
	before[1] = rd(v, REG_CONFIG);
	return before[1] == before[0] || wrong("it outlives the driver");
}

static bool ctrl_pairs(struct victim *v)
{
	static const uint16_t pairs[] = {0, 2, 255, 0x8000, 0x8001, 0xffff};
	unsigned i;

	if ((v->offered & F_CTRL) == 0)
		return true;
	if (!open_ctrl(v))
		return false;
	for (i = 0; i < COUNT(pairs); i++) {
		memcpy(v->data, "\4", 2); /* MQ, PAIRS_SET */
		memcpy(v->data + 2, &pairs[i], 2);
		if (command(v, 4) != 1)
			return wrong_at("so many pairs:", pairs[i]);
	}
	return good_request(v);
}

static bool ctrl_no_answer(struct victim *v)
{
	struct virtq_desc *d = v->ring[CTRL].desc;

	if ((v->offered & F_CTRL) == 0)
		return true;
	if (!open_ctrl(v))
		return false;
	memset(v->data, 0, 64);
	put(&d[0], v->data, 3, 0, 0);
	if (!given_back(v, CTRL, 0, 0))
		return false;
	/* Only room for one. */
	put(&d[0], v->data + 64, 1, D_WRITE, 0);
	if (!given_back_up_to(v, CTRL, 0, 1))
		return false;
	/* 64 MiB of command. */
	put_gpa(&d[0], ram_end() - (32u << 20), 32u << 20, D_NEXT, 1);
	put_gpa(&d[1], ram_end() - (32u << 20), 32u << 20, D_NEXT, 2);
	put(&d[2], v->data + 8192, 1, D_WRITE, 0);
	return given_back(v, CTRL, 0, 1) && good_request(v);
}

static bool ctrl_unnegotiated(struct victim *v)
{
	struct ring *r = &v->ring[CTRL];

	if (v->queues <= CTRL)
		return true;
	if (!rig_open(v))
		return false;
	memset(v->data, 0, 64);
	put(&r->desc[0], v->data, 3, D_NEXT, 1);
	put(&r->desc[1], v->data + 8192, 1, D_WRITE, 0);
	offer(r, 0);
	kick(v, CTRL);
	return good_request(v);
}

/* ---- frames for the far end: ours is to pass them on, its to bear them ----
 */

static uint8_t *ip_frame(struct victim *v, unsigned type, unsigned proto)
{
	uint8_t *f = v->data + HEADER;

	memset(v->data, 0, 2048);
	memcpy(f, "\x52\x55\x0a\0\2\2\x52\x54\0\x12\x34\x56", 12);
	f[12] = (uint8_t)(type >> 8);
	f[13] = (uint8_t)type;
	f[14] = 0x45;
	f[17] = 100;
	f[22] = 64;
	f[23] = (uint8_t)proto;
	memcpy(f + 26, "\x0a\0\2\x0f\x0a\0\2\2", 8);
	return f;
}

/* A header checksum that is right, so that the lie is looked at. */
static void ip_sum(uint8_t *f)
{
	uint32_t sum = 0;
	unsigned i;

	f[24] = f[25] = 0;
	for (i = 14; i < 34; i += 2)
		sum += (uint32_t)f[i] << 8 | f[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	f[24] = (uint8_t)(sum >> 8);
	f[25] = (uint8_t)sum;
}

static bool frames(struct victim *v)
{
	static const uint16_t types[] = {0x0800, 0x0806, 0x86dd, 0x88f8, 0};
	static const uint8_t protos[] = {1, 6, 17, 58, 2, 255};
	static const uint8_t ports[] = {53, 67, 69, 68, 7};
	unsigned i, j;
	uint8_t *f;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 600; i++) {
		f = ip_frame(v, types[chance() % 8 < 5 ? 0 : chance() % 5],
			protos[chance() % COUNT(protos)]);
		f[37] = ports[chance() % COUNT(ports)];
		for (j = 38; j < 200; j++)
			f[j] = (uint8_t)chance();
		if (chance() % 2 == 0)
			f[30 + chance() % 4] = (uint8_t)chance();
		for (j = chance() % 4; j > 0; j--)
			f[14 + chance() % 60] = (uint8_t)chance();
		ip_sum(f);
		if (!send(v, HEADER + 14 + chance() % 200 + 1))
			return wrong_at("frame", i);
	}
	return good_request(v);
}

static bool fragments(struct victim *v)
{
	unsigned i;
	uint8_t *f;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 600; i++) {
		f = ip_frame(v, 0x0800, 17);
		f[18] = (uint8_t)(i / 4);
		f[20] = (uint8_t)(0x20 | (chance() & 0x1f));
		f[21] = (uint8_t)chance();
		f[17] = (uint8_t)chance();
		ip_sum(f);
		if (!send(v, HEADER + 14 + 120))
			return wrong_at("fragment", i);
	}
	return good_request(v);
}

/* A connection attempt for each port: the far end has its limits. */
static bool connections(struct victim *v)
{
	unsigned i;
	uint8_t *f;

	if (!rig_open(v))
		return false;
	for (i = 0; i < 1000; i++) {
		f = ip_frame(v, 0x0800, 17);
		f[17] = 28 + 8; /* 8 bytes of UDP data to port 9 of 10.0.2.2 */
		f[34] = (uint8_t)(0x80 | i >> 8);
		f[35] = (uint8_t)i;
		f[37] = 9;
		f[39] = 16;
		ip_sum(f);
		if (!send(v, HEADER + 60))
			return wrong_at("datagram", i);
	}
	return good_request(v);
}

const struct hostile_case hostile_net[] = {
	{"net_short_frames", ID_NET, "drop them", short_frames},
	{"net_giant_frames", ID_NET, "drop them", giant_frames},
	{"net_header_pieces", ID_NET, "send it: 2.7.4 allows that",
		header_pieces},
	{"net_gso_lies", ID_NET, "send or drop, and look at no other byte",
		gso_lies},
	{"net_send_writable", ID_NET, "drop it and write nothing",
		send_writable},
	{"net_receive_small", ID_NET, "write nothing past a buffer",
		receive_small},
	{"net_receive_readable", ID_NET, "give them back, length 0",
		receive_readable},
	{"net_receive_same", ID_NET, "use one buffer many times", receive_same},
	{"net_ctrl_garbage", ID_NET, "answer ERR", ctrl_garbage},
	{"net_ctrl_filters", ID_NET, "answer ERR", ctrl_filters},
	{"net_ctrl_mac", ID_NET, "answer ERR, forget it at a reset", ctrl_mac},
	{"net_ctrl_pairs", ID_NET, "answer ERR", ctrl_pairs},
	{"net_ctrl_no_answer", ID_NET, "give it back, length 0",
		ctrl_no_answer},
	{"net_ctrl_unnegotiated", ID_NET, "not look at it", ctrl_unnegotiated},
	{"net_frames", ID_NET, "live with a far end that drops them", frames},
	{"net_fragments", ID_NET, "not collect fragments without end",
		fragments},
	{"net_connections", ID_NET, "not collect sockets without end",
		connections},
	{NULL, 0, NULL, NULL},
};
