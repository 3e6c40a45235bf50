/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed_vsock.c - a stream through the first socket device.
 *
 *   vtx:PORT  connect to that port of the host and send
 *   vrx:PORT  connect and receive
 *
 * Packets of up to 64 KiB out, buffers of 4 KiB in, 256 KiB of room for what
 * comes: what Linux has.  Data is neither made nor looked at.
 */
#include "kernels/speed.h"

#include "kernels/lib/cpu.h"

#define ID_VSOCK   19u
#define RX	   0u
#define TX	   1u
#define EVENT	   2u
#define HEADER	   44u
#define RX_SLOTS   256u
#define RX_BYTES   (4096u + HEADER)
#define RX_STRIDE  8192u
#define TX_SLOTS   64u
#define TX_BYTES   65536u
#define TX_STRIDE  (2u * TX_BYTES)
#define ROOM	   262144u
#define HOST_CID   2u
#define FIRST_PORT 5000u
#define STREAM	   1u
#define SHUT_BOTH  3u

enum {
	OP_REQUEST = 1,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_UPDATE,
	OP_ASK
};

struct header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

/* The one connection.  Counters are modulo 2^32. */
static struct {
	uint32_t cid, port;
	bool open, gone;
	uint32_t sent, peer_fwd, peer_alloc;
	uint32_t received, told;
	unsigned fresh; /* send slots never used */
} conn;

static struct header *slot_of(unsigned queue, unsigned slot)
{
	uint64_t at = SPEED_DATA;

	if (queue == TX)
		at += SPEED_BYTES / 2 + (uint64_t)slot * TX_STRIDE;
	else
		at += (uint64_t)slot * RX_STRIDE;
	return (struct header *)at;
}

static void set_up(void *arg)
{
	struct virtio_queue *rx = &speed.dev->queue[RX];
	unsigned i;

	for (i = 0; i < RX_SLOTS && i < rx->size; i++) {
		slot_of(RX, i)->len = 0;
		rx->desc[i] = (struct virtq_desc){
			(uint64_t)slot_of(RX, i), RX_BYTES, D_WRITE, 0};
		virtio_slot_offer(rx, (uint16_t)i);
	}
	for (i = 0; i < TX_SLOTS * TX_STRIDE; i += 4096)
		((volatile uint8_t *)slot_of(TX, 0))[i] = 0;
	conn.cid = virtio_config32(speed.dev, 0);
	conn.fresh = 0;
	user_leave(0);
}

/* ---- out ----------------------------------------------------------------*/

static bool free_slot(uint32_t *ret_slot)
{
	struct virtio_queue *q = &speed.dev->queue[TX];
	uint32_t len;

	if (conn.fresh < TX_SLOTS && conn.fresh < q->size) {
		*ret_slot = conn.fresh++;
		return true;
	}
	return speed_take(q, ret_slot, &len) && *ret_slot < TX_SLOTS;
}

/* False: no room in the ring. */
static bool send(unsigned op, uint32_t flags, uint32_t len)
{
	struct virtio_queue *q = &speed.dev->queue[TX];
	struct header *h;
	uint32_t slot;

	if (!free_slot(&slot))
		return false;
	h = slot_of(TX, slot);
	*h = (struct header){
		.src_cid = conn.cid,
		.dst_cid = HOST_CID,
		.src_port = conn.port,
		.dst_port = (uint32_t)speed.number[0],
		.len = len,
		.type = STREAM,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = ROOM,
		.fwd_cnt = conn.received,
	};
	conn.told = conn.received;
	conn.sent += len;
	q->desc[slot] = (struct virtq_desc){(uint64_t)h, HEADER + len, 0, 0};
	virtio_slot_offer(q, (uint16_t)slot);
	speed_kick(TX);
	return true;
}

static bool send_some(void)
{
	uint32_t n = conn.peer_alloc - (conn.sent - conn.peer_fwd);

	if (n > TX_BYTES)
		n = TX_BYTES;
	return n > 0 && send(OP_RW, 0, n);
}

/* ---- in -----------------------------------------------------------------*/

static void on_packet(const struct header *h, uint32_t len)
{
	if (len < HEADER || h->len != len - HEADER || h->src_cid != HOST_CID ||
		h->dst_port != conn.port) {
		speed.wrong += h->op != OP_RST;
		return;
	}
	conn.peer_alloc = h->buf_alloc;
	conn.peer_fwd = h->fwd_cnt;
	if (h->op == OP_RESPONSE)
		conn.open = true;
	else if (h->op == OP_RW)
		conn.received += h->len;
	else if (h->op == OP_RST || h->op == OP_SHUTDOWN)
		conn.gone = true;
}

/* All that has come.  Return: how much that was. */
static unsigned take_all(void)
{
	struct virtio_queue *q = &speed.dev->queue[RX];
	uint32_t slot, len;
	unsigned n;

	for (n = 0; speed_take(q, &slot, &len); n++) {
		if (slot >= RX_SLOTS) {
			speed.wrong++;
			user_leave(0);
		}
		on_packet(slot_of(RX, slot), len);
		virtio_slot_offer(q, (uint16_t)slot);
	}
	if (n > 0)
		speed_kick(RX);
	return n;
}

static void wait_and_take(void)
{
	if (take_all() > 0)
		return;
	if (!speed_wait(RX, 0))
		user_leave(0);
	take_all();
}

/* ---- jobs ---------------------------------------------------------------*/

static void must_send(unsigned op, uint32_t flags)
{
	while (!send(op, flags, 0))
		if (!speed_wait(TX, 0))
			user_leave(0);
}

static void begin(void)
{
	speed_begin();
	conn.port++;
	conn.open = conn.gone = false;
	conn.sent = conn.received = conn.told = conn.peer_fwd = 0;
	conn.peer_alloc = 0;
	speed_kick(RX);
	must_send(OP_REQUEST, 0);
	while (!conn.open && !conn.gone)
		wait_and_take();
}

/* Reset, whatever is under way; the host answers to nothing after that. */
static void end(void)
{
	if (!conn.gone)
		must_send(OP_RST, SHUT_BOTH);
	conn.port = 0;
	user_leave(0);
}

/* Counts what the host has taken. */
static void send_all(void *arg)
{
	static uint32_t port;
	uint32_t taken = 0;

	conn.port = FIRST_PORT + port++;
	begin();
	while (!conn.gone && !speed.over) {
		while (send_some())
			;
		wait_and_take();
		speed_note(1, conn.peer_fwd - taken);
		taken = conn.peer_fwd;
	}
	end();
}

static void receive_all(void *arg)
{
	static uint32_t port;
	uint32_t before;

	conn.port = FIRST_PORT + 1000 + port++;
	begin();
	while (!conn.gone && !speed.over) {
		before = conn.received;
		wait_and_take();
		/* Linux: when less than a buffer is left. */
		if (conn.received - conn.told > ROOM - TX_BYTES)
			must_send(OP_UPDATE, 0);
		speed_note(1, conn.received - before);
	}
	end();
}

const struct speed_job speed_vsock_jobs[] = {
	{"vtx", "turns", ID_VSOCK, 3, set_up, send_all, false},
	{"vrx", "turns", ID_VSOCK, 3, set_up, receive_all, false},
	{0},
};
