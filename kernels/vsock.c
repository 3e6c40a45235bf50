/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/vsock.c - drives the first socket device: a client that has the host
 * echo what it sends, streams for benches, and an echo server.
 *
 * The work is done in user mode, natively even where kernel code is emulated:
 * it looks at the rings without end and never sleeps.  The kernel half sets up,
 * takes interrupts and prints.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"
#include "kernels/lib/virtio.h"

#define ID_VSOCK    19u
#define RX	    0u
#define TX	    1u
#define EVENT	    2u
#define SLOTS	    VIRTIO_DEPTH
#define RX_BYTES    4096u
#define TX_BYTES    16384u
#define EVENT_BYTES 64u
#define HEADER	    44u
#define STACK_PAGES 4u
#define DESC_WRITE  2u
#define CONNS	    32u
#define RING_BYTES  32768u /* of a connection; a power of two: our buf_alloc */
#define OUR_PORT    1024u  /* of the first connection that we open */
#define HOST_CID    2u

enum {
	OP_REQUEST = 1,
	OP_RESPONSE,
	OP_RST,
	OP_SHUTDOWN,
	OP_RW,
	OP_UPDATE,
	OP_ASK
};
#define SHUT_BOTH 3u

struct header {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

/* Counters are modulo 2^32; received - forwarded bytes are in the ring. */
struct conn {
	bool used, open, ending, ended;
	bool echo; /* a server's: what comes goes back */
	uint32_t host_port, port;
	uint32_t sent, peer_fwd, peer_alloc;
	uint32_t received, forwarded, told;
	uint8_t *ring;
};

/* Shared by the halves; each runs only while the other waits. */
static struct {
	struct virtio_device dev;
	uint8_t *slot[3];
	uint64_t cid;
	struct conn conn[CONNS];
	struct conn *client;
	uint64_t count; /* bytes, or connections, of a job */
	uint64_t sent, good, wrong;
	uint32_t port;
	uint64_t resets; /* of the transport */
	uint64_t served, refused;
	bool gone; /* the client's connection was reset */
} vs;

static struct cpu boot_cpu;

/* ---- user mode: rings ----------------------------------------------------*/

static const unsigned slot_bytes[3] = {RX_BYTES, TX_BYTES, EVENT_BYTES};

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static void offer(unsigned queue, uint16_t slot)
{
	virtio_slot_offer(&vs.dev.queue[queue], slot);
}

/* Interrupts of the receive queue only. */
static void arm(unsigned queue)
{
	virtio_slot_arm(&vs.dev.queue[queue], queue == RX);
}

static bool take(unsigned queue, uint16_t *ret_slot, uint32_t *ret_len)
{
	return virtio_slot_take(
		&vs.dev.queue[queue], SLOTS, queue == RX, ret_slot, ret_len);
}

/* ---- user mode: packets --------------------------------------------------*/

/* Room for a packet; waits for it. */
static uint8_t *tx_slot(void)
{
	struct virtio_queue *q = &vs.dev.queue[TX];
	uint16_t slot;
	uint32_t len;

	while ((uint16_t)(q->avail_idx - q->used_idx) == q->size) {
		if (!take(TX, &slot, &len))
			cpu_pause();
	}
	return vs.slot[TX] + q->avail_idx % q->size * TX_BYTES;
}

/* The data, if any, is in the slot already. */
static void tx_send(const struct header *h)
{
	struct virtio_queue *q = &vs.dev.queue[TX];
	uint16_t slot = q->avail_idx % q->size;

	memcpy(vs.slot[TX] + slot * TX_BYTES, h, HEADER);
	q->desc[slot].len = HEADER + h->len;
	offer(TX, slot);
	virtio_kick(&vs.dev, TX);
}

static void send_op(struct conn *c, unsigned op, uint32_t flags, uint32_t len)
{
	struct header h = {
		.src_cid = vs.cid,
		.dst_cid = HOST_CID,
		.src_port = c->port,
		.dst_port = c->host_port,
		.len = len,
		.type = 1,
		.op = (uint16_t)op,
		.flags = flags,
		.buf_alloc = RING_BYTES,
		.fwd_cnt = c->forwarded,
	};

	if (op != OP_RW)
		tx_slot();
	c->told = c->forwarded;
	tx_send(&h);
}

static uint32_t credit(const struct conn *c)
{
	uint32_t out = c->sent - c->peer_fwd;

	return c->peer_alloc > out ? c->peer_alloc - out : 0;
}

static struct conn *conn_find(uint32_t host_port, uint32_t port)
{
	unsigned i;

	for (i = 0; i < CONNS; i++)
		if (vs.conn[i].used && vs.conn[i].host_port == host_port &&
			vs.conn[i].port == port)
			return &vs.conn[i];
	return NULL;
}

static struct conn *conn_new(uint32_t host_port, uint32_t port)
{
	struct conn *c = NULL;
	uint8_t *ring;
	unsigned i;

	for (i = 0; i < CONNS && c == NULL; i++)
		if (!vs.conn[i].used)
			c = &vs.conn[i];
	if (c == NULL)
		return NULL;
	ring = c->ring;
	memset(c, 0, sizeof(*c));
	c->ring = ring;
	c->used = true;
	c->host_port = host_port;
	c->port = port;
	return c;
}

static void conn_free(struct conn *c)
{
	if (c->echo)
		vs.served++;
	if (c == vs.client)
		vs.gone = true;
	c->used = false;
}

static void refuse(const struct header *h)
{
	struct header r = {
		.src_cid = vs.cid,
		.dst_cid = h->src_cid,
		.src_port = h->dst_port,
		.dst_port = h->src_port,
		.type = h->type,
		.op = OP_RST,
	};

	tx_slot();
	tx_send(&r);
}

static void on_request(const struct header *h)
{
	struct conn *c = NULL;

	if (vs.port != 0 && h->dst_port == vs.port)
		c = conn_new(h->src_port, h->dst_port);
	if (c == NULL) {
		vs.refused++;
		refuse(h);
		return;
	}
	c->echo = c->open = true;
	c->peer_alloc = h->buf_alloc;
	send_op(c, OP_RESPONSE, 0, 0);
}

static void on_data(struct conn *c, const struct header *h, const uint8_t *data)
{
	uint32_t i;

	/* The host must keep to what it was told. */
	if (h->len > RING_BYTES - (c->received - c->forwarded)) {
		vs.wrong++;
		return;
	}
	for (i = 0; i < h->len; i++)
		c->ring[(c->received + i) % RING_BYTES] = data[i];
	c->received += h->len;
}

static void on_packet(const struct header *h, const uint8_t *data)
{
	struct conn *c = conn_find(h->src_port, h->dst_port);

	if (h->src_cid != HOST_CID || h->dst_cid != vs.cid || h->type != 1) {
		vs.wrong++;
		return;
	}
	if (c == NULL) {
		if (h->op == OP_REQUEST)
			on_request(h);
		else if (h->op != OP_RST)
			refuse(h);
		return;
	}
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (h->op == OP_RESPONSE)
		c->open = true;
	else if (h->op == OP_RW)
		on_data(c, h, data);
	else if (h->op == OP_ASK)
		send_op(c, OP_UPDATE, 0, 0);
	else if (h->op == OP_SHUTDOWN && h->flags & 2)
		c->ending = true;
	else if (h->op == OP_RST)
		conn_free(c);
}

/* ---- user mode: turns ----------------------------------------------------*/

static void look_at_events(void)
{
	uint16_t slot;
	uint32_t len;
	unsigned i;

	while (take(EVENT, &slot, &len)) {
		vs.resets++;
		for (i = 0; i < CONNS; i++)
			if (vs.conn[i].used)
				conn_free(&vs.conn[i]);
		offer(EVENT, slot);
		virtio_kick(&vs.dev, EVENT);
	}
}

/* Send what an echo connection holds, and its end. */
static void pump(struct conn *c)
{
	uint32_t n, i;
	uint8_t *p;

	while ((n = c->received - c->forwarded) > 0 && credit(c) > 0) {
		if (n > credit(c))
			n = credit(c);
		if (n > TX_BYTES - HEADER)
			n = TX_BYTES - HEADER;
		p = tx_slot() + HEADER;
		for (i = 0; i < n; i++)
			p[i] = c->ring[(c->forwarded + i) % RING_BYTES];
		c->forwarded += n;
		c->sent += n;
		send_op(c, OP_RW, 0, n);
	}
	if (c->ending && !c->ended && c->received == c->forwarded) {
		c->ended = true;
		send_op(c, OP_SHUTDOWN, SHUT_BOTH, 0);
	}
}

static void tell_room(struct conn *c)
{
	if (c->forwarded - c->told >= RING_BYTES / 2)
		send_op(c, OP_UPDATE, 0, 0);
}

/* Everything that has come. */
static void turn(void)
{
	struct header h;
	const uint8_t *p;
	uint16_t slot;
	uint32_t len;
	unsigned i;
	bool some = false;

	look_at_events();
	while (take(RX, &slot, &len)) {
		p = vs.slot[RX] + slot * RX_BYTES;
		memcpy(&h, p, HEADER);
		if (len < HEADER || len > RX_BYTES || h.len != len - HEADER)
			vs.wrong++;
		else
			on_packet(&h, p + HEADER);
		offer(RX, slot);
		some = true;
	}
	if (!some) {
		cpu_pause();
		return;
	}
	virtio_kick(&vs.dev, RX);
	for (i = 0; i < CONNS; i++)
		if (vs.conn[i].used && vs.conn[i].open && vs.conn[i].echo)
			pump(&vs.conn[i]);
}

/* ---- user mode: jobs -----------------------------------------------------*/

static uint8_t pattern(uint64_t n)
{
	return (uint8_t)(n * 7 + n / 251);
}

static bool client_open(void)
{
	static uint32_t port = OUR_PORT;

	vs.gone = false;
	vs.client = conn_new(vs.port, port++);
	if (vs.client == NULL)
		return false;
	send_op(vs.client, OP_REQUEST, 0, 0);
	while (!vs.gone && !vs.client->open)
		turn();
	return !vs.gone;
}

/* Both ends agree that it is over. */
static void client_close(void)
{
	if (!vs.gone)
		send_op(vs.client, OP_SHUTDOWN, SHUT_BOTH, 0);
	while (!vs.gone)
		turn();
	vs.client = NULL;
}

/* Send as much of the pattern as there is credit for. */
static void client_send(void)
{
	struct conn *c = vs.client;
	uint32_t n = credit(c), i;
	uint8_t *p;

	if (n > TX_BYTES - HEADER)
		n = TX_BYTES - HEADER;
	if (n > vs.count - vs.sent)
		n = (uint32_t)(vs.count - vs.sent);
	if (n == 0)
		return;
	p = tx_slot() + HEADER;
	for (i = 0; i < n; i++)
		p[i] = pattern(vs.sent + i);
	vs.sent += n;
	c->sent += n;
	send_op(c, OP_RW, 0, n);
}

static void client_receive(void)
{
	struct conn *c = vs.client;

	for (; c->received != c->forwarded; c->forwarded++, vs.good++)
		if (c->ring[c->forwarded % RING_BYTES] != pattern(vs.good))
			vs.wrong++;
	tell_room(c);
}

/* The host sends everything back. */
static void job_echo(void *arg)
{
	if (client_open()) {
		while (!vs.gone && vs.good < vs.count) {
			client_send();
			turn();
			if (!vs.gone)
				client_receive();
		}
		client_close();
	}
	user_leave(0);
}

/* Just send; the end is told when the host has all of it. */
static void job_flood(void *arg)
{
	if (client_open()) {
		while (!vs.gone && vs.sent < vs.count) {
			client_send();
			turn();
		}
		client_close();
		vs.good = vs.sent;
	}
	user_leave(0);
}

/* Just receive; what comes is not looked at. */
static void job_sink(void *arg)
{
	if (client_open()) {
		while (!vs.gone && vs.good < vs.count) {
			struct conn *c = vs.client;

			turn();
			vs.good += c->received - c->forwarded;
			c->forwarded = c->received;
			if (!vs.gone)
				tell_room(c);
		}
		client_close();
	}
	user_leave(0);
}

/* Echo, until that many connections are over. */
static void job_serve(void *arg)
{
	while (vs.count == 0 || vs.served < vs.count)
		turn();
	user_leave(0);
}

/* ---- kernel mode ---------------------------------------------------------*/

static void run(void (*job)(void *arg), uint64_t count)
{
	static uint8_t *stack;

	if (stack == NULL)
		stack = page_alloc(STACK_PAGES);
	vs.good = vs.wrong = vs.sent = 0;
	vs.count = count;
	user_enter(&boot_cpu, job, NULL, stack + STACK_PAGES * PAGE_SIZE);
}

static void talk(uint64_t count)
{
	if (count == 0)
		return;
	run(job_echo, count);
	print("vsock: echo good %lu wrong %lu resets %lu\n", vs.good, vs.wrong,
		vs.resets);
	check("echo", vs.good == count && vs.wrong == 0);
}

/* Between the two lines nothing else happens: whoever reads them has a watch.
 */
static void race(const char *name, void (*job)(void *arg), uint64_t count)
{
	uint64_t start, irqs;

	if (count == 0)
		return;
	print("vsock: %s begins bytes %lu\n", name, count);
	irqs = virtio_irqs(&vs.dev);
	start = ticks();
	run(job, count);
	start = ticks() - start;
	print("vsock: %s ends bytes %lu ticks %lu interrupts %lu\n", name,
		vs.good, start, virtio_irqs(&vs.dev) - irqs);
	check(name, vs.good >= count);
}

static void serve(void)
{
	vs.port = (uint32_t)boot_number("listen", 0);
	if (vs.port == 0)
		return;
	print("vsock: listens on %u\n", vs.port);
	run(job_serve, boot_number("conns", 1));
	print("vsock: served %lu refused %lu wrong %lu resets %lu\n", vs.served,
		vs.refused, vs.wrong, vs.resets);
	check("serve", vs.wrong == 0);
}

static void set_up_rings(void)
{
	unsigned queue, i;

	for (queue = 0; queue < 3; queue++) {
		struct virtio_queue *q = &vs.dev.queue[queue];
		uint64_t bytes = (uint64_t)SLOTS * slot_bytes[queue];

		vs.slot[queue] = page_alloc((unsigned)(bytes / PAGE_SIZE));
		for (i = 0; i < q->size; i++)
			q->desc[i] = (struct virtq_desc){
				.addr = (uint64_t)vs.slot[queue] +
					i * slot_bytes[queue],
				.len = slot_bytes[queue],
				.flags = queue == TX ? 0 : DESC_WRITE,
			};
		arm(queue);
		for (i = 0; i < q->size && queue != TX; i++)
			offer(queue, (uint16_t)i);
		if (queue != TX)
			virtio_kick(&vs.dev, queue);
	}
	for (i = 0; i < CONNS; i++)
		vs.conn[i].ring = page_alloc(RING_BYTES / PAGE_SIZE);
}

static bool set_up(void)
{
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place);
	const char *why;

	for (i = 0; i < n && virtio_probe(place[i].gpa) != ID_VSOCK; i++)
		;
	if (i == n) {
		print("vsock: no socket device\n");
		return false;
	}
	why = virtio_open(&vs.dev, &place[i], 1, 3, i, true);
	if (why != NULL) {
		print("vsock: device %u: %s\n", i, why);
		return false;
	}
	page_user_image();
	page_user_block(vs.dev.gpa);
	vs.cid = virtio_config32(&vs.dev, 0);
	print("vsock: device %u cid %lu\n", i, vs.cid);
	set_up_rings();
	return true;
}

bool guest_main(void)
{
	cpu_init(&boot_cpu, 0);
	apic_init();
	print("vsock: entry %s\n", boot_entry_name());
	if (!check("device", set_up()))
		return check_summary("vsock");
	vs.port = (uint32_t)boot_number("connect", 0);
	if (vs.port != 0) {
		talk(boot_number("echo", 0));
		race("flood", job_flood, boot_number("flood", 0));
		race("sink", job_sink, boot_number("sink", 0));
	}
	serve();
	check("interrupts", virtio_irqs(&vs.dev) > 0);
	virtio_close(&vs.dev);
	return check_summary("vsock");
}
