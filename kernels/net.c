/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/net.c - drives the first network device: ARP, pings, UDP echoes, and
 * floods of frames for benches.  IPv4 over Ethernet, no more than that takes.
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

#define NET_WANTED  (1ull << 5 | 1ull << 15 | 1ull << 16) /* MAC MRG STATUS */
#define ID_NET	    1u
#define RX	    0u
#define TX	    1u
#define SLOTS	    VIRTIO_DEPTH
#define SLOT_BYTES  2048u
#define HEADER	    12u
#define FRAME_MAX   1514u
#define STACK_PAGES 4u
#define PATIENCE    (1ull << 31) /* TSC ticks before something is sent again */
#define TRIES	    10u
#define DESC_WRITE  2u
#define IP_UDP	    17u
#define IP_ICMP	    1u
#define OUR_PORT    9999u

static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

/* Shared by the halves; each runs only while the other waits. */
static struct {
	struct virtio_device dev;
	uint8_t *slot[2]; /* SLOTS of SLOT_BYTES */
	unsigned sent;
	uint8_t mac[6], peer_mac[6];
	uint32_t ip, peer;
	uint16_t port;
	bool have_peer;
	uint64_t count; /* of what a job is about */
	unsigned size;	/* bytes of a frame */
	uint64_t good, wrong, again, foreign;
	uint8_t *frame; /* the one received last */
	unsigned frame_len;
	uint16_t rx_slot;
} net;

static struct cpu boot_cpu;

/* ---- user mode: rings ----------------------------------------------------*/

static uint64_t ticks(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static void offer(unsigned queue, uint16_t slot)
{
	virtio_slot_offer(&net.dev.queue[queue], slot);
}

/* Interrupts of the receive queue only: sent frames are looked for. */
static void arm(unsigned queue)
{
	virtio_slot_arm(&net.dev.queue[queue], queue != TX);
}

static bool take(unsigned queue, uint16_t *ret_slot, uint32_t *ret_len)
{
	return virtio_slot_take(
		&net.dev.queue[queue], SLOTS, queue != TX, ret_slot, ret_len);
}

/* Room for a frame to send; waits for it. */
static uint8_t *tx_frame(void)
{
	struct virtio_queue *q = &net.dev.queue[TX];
	uint16_t slot;
	uint32_t len;

	while ((uint16_t)(q->avail_idx - q->used_idx) == q->size) {
		if (!take(TX, &slot, &len))
			cpu_pause();
	}
	return net.slot[TX] + q->avail_idx % q->size * SLOT_BYTES + HEADER;
}

static void tx_send(unsigned len, bool kick)
{
	struct virtio_queue *q = &net.dev.queue[TX];
	uint16_t slot = q->avail_idx % q->size;

	memset(net.slot[TX] + slot * SLOT_BYTES, 0, HEADER);
	q->desc[slot].len = HEADER + len;
	offer(TX, slot);
	if (kick)
		virtio_kick(&net.dev, TX);
}

/* The frame was looked at: give its buffer back. */
static void rx_release(void)
{
	if (net.frame == NULL)
		return;
	net.frame = NULL;
	offer(RX, net.rx_slot);
	virtio_kick(&net.dev, RX);
}

static bool rx_poll(void)
{
	uint32_t len;

	rx_release();
	if (!take(RX, &net.rx_slot, &len))
		return false;
	if (len < HEADER + 14 || len > HEADER + FRAME_MAX) {
		net.wrong++;
		offer(RX, net.rx_slot);
		return false;
	}
	net.frame = net.slot[RX] + net.rx_slot * SLOT_BYTES + HEADER;
	net.frame_len = len - HEADER;
	return true;
}

/* ---- user mode: frames ---------------------------------------------------*/

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static unsigned checksum(uint32_t sum, const uint8_t *p, unsigned len)
{
	unsigned i;

	for (i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (i < len)
		sum += (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void ethernet(uint8_t *f, const uint8_t dst[6], unsigned type)
{
	memcpy(f, dst, 6);
	memcpy(f + 6, net.mac, 6);
	put16(f + 12, type);
}

static void send_arp(unsigned op, const uint8_t dst[6], uint32_t ip)
{
	uint8_t *f = tx_frame();

	memset(f, 0, 60);
	ethernet(f, op == 1 ? broadcast : dst, 0x0806);
	put16(f + 14, 1);
	put16(f + 16, 0x0800);
	put16(f + 18, 0x0604);
	put16(f + 20, op);
	memcpy(f + 22, net.mac, 6);
	put32(f + 28, net.ip);
	if (op == 2)
		memcpy(f + 32, dst, 6);
	put32(f + 38, ip);
	tx_send(60, true);
}

/* The IP header of a frame with @len bytes of payload. */
static uint8_t *ip_header(uint8_t *f, unsigned proto, unsigned len)
{
	uint8_t *ip = f + 14;

	ethernet(f, net.peer_mac, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + len);
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	put32(ip + 12, net.ip);
	put32(ip + 16, net.peer);
	put16(ip + 10, checksum(0, ip, 20));
	return ip + 20;
}

static uint8_t pattern(uint64_t n, unsigned i)
{
	return (uint8_t)(n * 31 + i * 7);
}

static void send_ping(uint64_t n, unsigned bytes)
{
	uint8_t *f = tx_frame(), *p = ip_header(f, IP_ICMP, 8 + bytes);
	unsigned i;

	memset(p, 0, 8);
	p[0] = 8;
	put16(p + 4, 0x4757);
	put16(p + 6, (unsigned)n);
	for (i = 0; i < bytes; i++)
		p[8 + i] = pattern(n, i);
	put16(p + 2, checksum(0, p, 8 + bytes));
	tx_send(42 + bytes, true);
}

/* Without a checksum, as UDP allows.  Its length is that of the frame. */
static void send_udp(uint64_t n, unsigned len, bool kick)
{
	unsigned bytes = len - 42, i;
	uint8_t *f = tx_frame(), *p = ip_header(f, IP_UDP, 8 + bytes);

	put16(p, OUR_PORT);
	put16(p + 2, net.port);
	put16(p + 4, 8 + bytes);
	put16(p + 6, 0);
	put32(p + 8, (uint32_t)n);
	for (i = 4; i < bytes; i++)
		p[8 + i] = pattern(n, i);
	tx_send(len, kick);
}

/* ARP is seen to here; true: it is something else. */
static bool not_arp(void)
{
	const uint8_t *f = net.frame;

	if (get16(f + 12) != 0x0806)
		return true;
	if (net.frame_len < 42)
		return false;
	if (get16(f + 20) == 1 && get32(f + 38) == net.ip)
		send_arp(2, f + 22, get32(f + 28));
	if (get16(f + 20) == 2 && get32(f + 28) == net.peer) {
		memcpy(net.peer_mac, f + 22, 6);
		net.have_peer = true;
	}
	return false;
}

/* The payload of an IP packet of @proto from our peer to us, or NULL. */
static const uint8_t *payload(unsigned proto, unsigned *ret_len)
{
	const uint8_t *ip = net.frame + 14;
	unsigned total;

	if (net.frame_len < 42 || get16(net.frame + 12) != 0x0800 ||
		ip[0] != 0x45 || ip[9] != proto || get32(ip + 16) != net.ip ||
		get32(ip + 12) != net.peer)
		return NULL;
	total = get16(ip + 2);
	if (total < 28 || total + 14 > net.frame_len)
		return NULL;
	*ret_len = total - 20;
	return ip + 20;
}

/* ---- user mode: jobs -----------------------------------------------------*/

static void job_arp(void *arg)
{
	uint64_t since;
	unsigned i;

	for (i = 0; i < TRIES && !net.have_peer; i++) {
		send_arp(1, broadcast, net.peer);
		since = ticks();
		while (!net.have_peer && ticks() - since < PATIENCE) {
			if (rx_poll() && not_arp())
				net.foreign++;
		}
	}
	user_leave(0);
}

/* Ask and look away: the answer has to bring an interrupt.  (Who looks at the
 * ring all the time may be quicker than the device's own look at our wish.) */
static void job_ask(void *arg)
{
	while (rx_poll())
		;
	send_arp(1, broadcast, net.peer);
	user_leave(0);
}

/* Is the received frame the answer to number @n?  Old ones go by. */
static bool is_answer(unsigned proto, uint64_t n, unsigned bytes)
{
	const uint8_t *p;
	unsigned len, i = proto == IP_UDP ? 4 : 0;

	if (!not_arp())
		return false;
	p = payload(proto, &len);
	if (p == NULL || (proto == IP_UDP && get16(p + 2) != OUR_PORT) ||
		(proto == IP_ICMP && p[0] != 0)) {
		net.foreign++;
		return false;
	}
	if (proto == IP_UDP ? get32(p + 8) != (uint32_t)n
			    : get16(p + 6) != (n & 0xffff))
		return false;
	if (len != 8 + bytes)
		net.wrong++;
	for (; i < bytes && len == 8 + bytes; i++) {
		if (p[8 + i] != pattern(n, i)) {
			net.wrong++;
			break;
		}
	}
	return true;
}

/* One question after another, each until it is answered. */
static void converse(unsigned proto)
{
	uint64_t n, since;
	unsigned i, bytes;
	bool done;

	for (n = 1; n <= net.count; n++) {
		/* Every length once in a while. */
		bytes = 18 + (unsigned)(n * 101 % (net.size - 59));
		done = false;
		for (i = 0; i < TRIES && !done; i++) {
			if (i > 0)
				net.again++;
			if (proto == IP_ICMP)
				send_ping(n, bytes);
			else
				send_udp(n, 42 + bytes, true);
			since = ticks();
			while (!done && ticks() - since < PATIENCE)
				done = rx_poll() && is_answer(proto, n, bytes);
		}
		if (!done)
			break;
		net.good++;
	}
	user_leave(0);
}

static void job_ping(void *arg)
{
	converse(IP_ICMP);
}

static void job_udp(void *arg)
{
	converse(IP_UDP);
}

static void job_flood(void *arg)
{
	uint64_t n;

	for (n = 1; n <= net.count; n++) {
		send_udp(n, net.size, n % 8 == 0 || n == net.count);
		net.good++;
	}
	user_leave(0);
}

/* UDP to our port, whoever sent it, until there was enough. */
static void job_sink(void *arg)
{
	while (net.good < net.count) {
		if (!rx_poll() || !not_arp())
			continue;
		if (get16(net.frame + 12) == 0x0800 &&
			net.frame[23] == IP_UDP &&
			get16(net.frame + 36) == OUR_PORT)
			net.good++;
		else
			net.foreign++;
	}
	user_leave(0);
}

/* ---- kernel mode ---------------------------------------------------------*/

static void run(void (*job)(void *arg), uint64_t count, unsigned size)
{
	static uint8_t *stack;

	if (stack == NULL)
		stack = page_alloc(STACK_PAGES);
	net.good = net.wrong = net.again = net.foreign = 0;
	net.count = count;
	net.size = size;
	user_enter(&boot_cpu, job, NULL, stack + STACK_PAGES * PAGE_SIZE);
}

static void talk(const char *name, void (*job)(void *arg), uint64_t count)
{
	if (count == 0)
		return;
	run(job, count, FRAME_MAX);
	print("net: %s good %lu wrong %lu again %lu foreign %lu\n", name,
		net.good, net.wrong, net.again, net.foreign);
	check(name, net.good == count && net.wrong == 0);
}

/* Between the two lines nothing else happens: whoever reads them has a watch.
 */
static void race(const char *name, void (*job)(void *arg), uint64_t count)
{
	unsigned size = (unsigned)boot_number("size", 64);
	uint64_t start, irqs;

	if (count == 0)
		return;
	if (size < 60)
		size = 60;
	if (size > FRAME_MAX)
		size = FRAME_MAX;
	print("net: %s begins frames %lu size %u\n", name, count, size);
	irqs = virtio_irqs(&net.dev);
	start = ticks();
	run(job, count, size);
	start = ticks() - start;
	print("net: %s ends frames %lu ticks %lu interrupts %lu\n", name,
		net.good, start, virtio_irqs(&net.dev) - irqs);
}

static void set_up_rings(void)
{
	unsigned queue, i;

	for (queue = 0; queue < 2; queue++) {
		struct virtio_queue *q = &net.dev.queue[queue];

		net.slot[queue] = page_alloc(SLOTS * SLOT_BYTES / PAGE_SIZE);
		for (i = 0; i < q->size; i++)
			q->desc[i] = (struct virtq_desc){
				.addr = (uint64_t)net.slot[queue] +
					i * SLOT_BYTES,
				.len = SLOT_BYTES,
				.flags = queue == RX ? DESC_WRITE : 0,
			};
		arm(queue);
	}
	for (i = 0; i < net.dev.queue[RX].size; i++)
		offer(RX, (uint16_t)i);
	virtio_kick(&net.dev, RX);
}

static bool set_up(void)
{
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place);
	const char *why;

	for (i = 0; i < n && virtio_probe(place[i].gpa) != ID_NET; i++)
		;
	if (i == n) {
		print("net: no network device\n");
		return false;
	}
	why = virtio_open(&net.dev, &place[i], NET_WANTED, 2, i, true);
	if (why != NULL) {
		print("net: device %u: %s\n", i, why);
		return false;
	}
	page_user_image();
	page_user_block(net.dev.gpa);
	for (n = 0; n < 6; n++)
		net.mac[n] = virtio_config8(&net.dev, n);
	print("net: device %u mac %02x:%02x:%02x:%02x:%02x:%02x link %s\n", i,
		net.mac[0], net.mac[1], net.mac[2], net.mac[3], net.mac[4],
		net.mac[5], virtio_config8(&net.dev, 6) & 1 ? "up" : "down");
	set_up_rings();
	return true;
}

/* A dotted address. */
static uint32_t address(const char *key, uint32_t otherwise)
{
	const char *word = boot_word(key, 0);
	uint32_t ip = 0;
	unsigned i;

	if (word == NULL)
		return otherwise;
	for (i = 0; i < 4; i++) {
		ip = ip << 8 | ((uint32_t)parse_uint(word, &word) & 255);
		if (*word == '.')
			word++;
	}
	return ip;
}

bool guest_main(void)
{
	uint64_t seen;

	cpu_init(&boot_cpu, 0);
	apic_init();
	print("net: entry %s\n", boot_entry_name());
	net.ip = address("ip", 0x0a00020f);
	net.peer = address("peer", 0x0a000202);
	net.port = (uint16_t)boot_number("port", 0);
	if (!check("device", set_up()))
		return check_summary("net");
	run(job_arp, 1, FRAME_MAX);
	if (check("arp", net.have_peer)) {
		seen = virtio_irqs(&net.dev);
		run(job_ask, 1, FRAME_MAX);
		check("interrupt", virtio_irq_wait(&net.dev, seen + 1, 5000));
		talk("ping", job_ping, boot_number("pings", 10));
		if (net.port != 0)
			talk("udp", job_udp, boot_number("echoes", 100));
		race("flood", job_flood, boot_number("flood", 0));
		race("sink", job_sink, boot_number("sink", 0));
	}
	virtio_close(&net.dev);
	return check_summary("net");
}
