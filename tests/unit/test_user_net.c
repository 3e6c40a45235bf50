/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_user_net.c - the user-mode network, by a guest that builds
 * its frames by hand.
 */
#include "virtio/backend/user_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "virtio/net.h"
#include "vmm/error.h"

#define RX    0
#define TX    1
#define BUF   0x400000u /* receive buffers, then the frame to send */
#define OUT   0x600000u
#define SLOT  2048u
#define SLOTS 64u
#define HDR   NET_HEADER_BYTES

#define GUEST	   0x0a00020fu
#define GATEWAY	   0x0a000202u
#define DNS	   0x0a000203u
#define PROTO_ICMP 1
#define PROTO_TCP  6
#define PROTO_UDP  17
#define FIN	   1
#define SYN	   2
#define RST	   4
#define ACK	   16

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};

static struct vbench b;
static uint8_t frame[65536]; /* the last one received */
static uint32_t frame_len;
static unsigned slots_given;

/* ---- the guest's driver ---- */

static int plug(const struct user_net_options *opt, struct error *err)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_net_options net = {.backend = NULL};
	struct virtio_dev *dev;
	int rc;

	memcpy(net.mac, mac, 6);
	rc = user_net_open(b.loop, opt, &net.backend, err);
	if (rc < 0)
		return rc;
	rc = virtio_net_create(&env, opt->name, &net, &dev, err);
	assert_int_equal(rc, 0);
	vbench_plug(&b, dev);
	return 0;
}

static void give_slot(void)
{
	struct vd_buf buf = {BUF + SLOT * (slots_given++ % SLOTS), SLOT, true};

	vd_add(&b, RX, &buf, 1);
	vd_kick(&b, RX);
}

static void start(void)
{
	unsigned i;

	b.next_gpa = 0x1000;
	vd_start(&b, 1ull << VIRTIO_RING_F_EVENT_IDX, 2, SLOTS);
	slots_given = 0;
	for (i = 0; i < SLOTS; i++)
		give_slot();
}

static void plug_and_start(const struct user_net_options *opt)
{
	struct error err;

	if (plug(opt, &err) < 0)
		fail_msg("%s", err.text);
	start();
}

static void send_frame(const void *data, uint32_t len)
{
	struct vd_buf buf = {OUT, HDR + len, false};

	memset(vd_at(&b, OUT), 0, HDR);
	memcpy((uint8_t *)vd_at(&b, OUT) + HDR, data, len);
	vd_add(&b, TX, &buf, 1);
	vd_kick(&b, TX);
	vd_wait(&b, TX);
}

/* The frame of the buffer that the device has filled. */
static void take_frame(uint16_t head, uint32_t len)
{
	uint64_t at = BUF + SLOT * head;

	assert_true(len >= HDR + 14 && len <= SLOT);
	frame_len = len - HDR;
	memcpy(frame, (uint8_t *)vd_at(&b, at) + HDR, frame_len);
	give_slot();
}

static void wait_frame(void)
{
	uint16_t head;
	uint32_t len;

	while (!vd_take(&b, RX, &head, &len))
		loop_poll(b.loop, true);
	take_frame(head, len);
}

/* ---- frames ---- */

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
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint16_t checksum(uint32_t sum, const uint8_t *p, unsigned len)
{
	unsigned i;

	for (i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void send_arp(unsigned op, uint32_t spa, uint32_t tpa)
{
	uint8_t f[60] = {0};

	memset(f, 0xff, 6);
	memcpy(f + 6, mac, 6);
	put16(f + 12, 0x0806);
	put16(f + 14, 1);
	put16(f + 16, 0x0800);
	put16(f + 18, 0x0604);
	put16(f + 20, op);
	memcpy(f + 22, mac, 6);
	put32(f + 28, spa);
	put32(f + 38, tpa);
	send_frame(f, sizeof(f));
}

/* IPv4 with @len bytes of payload, whose checksum lies at @sum_at. */
static void send_ip(uint8_t proto, uint32_t src, uint32_t dst,
	const void *payload, unsigned len, unsigned sum_at)
{
	uint8_t f[1514] = {0x52, 0x55}, *ip = f + 14, *p = ip + 20;
	uint32_t pseudo = 0;

	put32(f + 2, GATEWAY);
	memcpy(f + 6, mac, 6);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 20 + len);
	ip[8] = 64;
	ip[9] = proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	put16(ip + 10, checksum(0, ip, 20));
	memcpy(p, payload, len);
	if (proto != PROTO_ICMP)
		pseudo = (src >> 16) + (src & 0xffff) + (dst >> 16) +
			 (dst & 0xffff) + proto + len;
	put16(p + sum_at, checksum(pseudo, p, len));
	send_frame(f, 34 + len);
}

static void send_udp(uint32_t src, unsigned sport, uint32_t dst, unsigned dport,
	const void *data, unsigned len)
{
	uint8_t p[1400] = {0};

	put16(p, sport);
	put16(p + 2, dport);
	put16(p + 4, 8 + len);
	memcpy(p + 8, data, len);
	send_ip(PROTO_UDP, src, dst, p, 8 + len, 6);
}

struct tcp {
	uint32_t peer;
	unsigned port, peer_port;
	uint32_t next, expected; /* sequence numbers */
};

static void send_tcp(
	struct tcp *t, unsigned flags, const void *data, unsigned len)
{
	uint8_t p[1400] = {0};

	put16(p, t->port);
	put16(p + 2, t->peer_port);
	put32(p + 4, t->next);
	put32(p + 8, t->expected);
	p[12] = 0x50;
	p[13] = (uint8_t)flags;
	put16(p + 14, 0x8000);
	if (len > 0)
		memcpy(p + 20, data, len);
	t->next += len + (flags & (SYN | FIN) ? 1 : 0);
	send_ip(PROTO_TCP, GUEST, t->peer, p, 20 + len, 16);
}

/* The next frame that is IPv4 of @proto, with all of its header; ARP on the way
 * is answered.  Its payload. */
static const uint8_t *wait_ip(uint8_t proto, unsigned *ret_len)
{
	const uint8_t *ip = frame + 14;
	unsigned total;

	for (;;) {
		wait_frame();
		if (get16(frame + 12) == 0x0806 && get16(frame + 20) == 1) {
			send_arp(2, get32(frame + 38), get32(frame + 28));
			continue;
		}
		if (get16(frame + 12) != 0x0800 || ip[9] != proto)
			continue;
		total = get16(ip + 2);
		assert_true(total + 14 <= frame_len && total >= 20);
		assert_int_equal(checksum(0, ip, 20), 0);
		*ret_len = total - 20;
		return ip + 20;
	}
}

/* ---- the host ---- */

static int bound(int type, uint16_t *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int s = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(s >= 0);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return s;
}

static uint16_t free_port(void)
{
	uint16_t port;

	close(bound(SOCK_STREAM, &port));
	return port;
}

static int begin_connect(uint16_t port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(s >= 0);
	if (connect(s, (struct sockaddr *)&a, sizeof(a)) < 0) {
		close(s);
		return -errno;
	}
	return s;
}

/* ---- tests ---- */

static const struct user_net_options plain = {.name = "net0"};

static int setup(void **state)
{
	vbench_init(&b);
	return 0;
}

static int teardown(void **state)
{
	vbench_fini(&b);
	return 0;
}

static void the_gateway_answers(void)
{
	static const uint8_t echo[16] = {8, 0, 0, 0, 0, 7, 0, 1, 'p', 'i', 'n'};
	const uint8_t *p;
	unsigned len;

	send_arp(1, GUEST, GATEWAY);
	do
		wait_frame();
	while (get16(frame + 12) != 0x0806 || get16(frame + 20) != 2);
	assert_int_equal(get32(frame + 28), GATEWAY);
	assert_memory_equal(frame, mac, 6);
	send_ip(PROTO_ICMP, GUEST, GATEWAY, echo, sizeof(echo), 2);
	p = wait_ip(PROTO_ICMP, &len);
	assert_int_equal(len, sizeof(echo));
	assert_int_equal(p[0], 0); /* echo reply */
	assert_memory_equal(p + 4, echo + 4, sizeof(echo) - 4);
	assert_int_equal(get32(frame + 26), GATEWAY);
}

static void the_gateway_answers_arp_and_ping(void **state)
{
	plug_and_start(&plain);
	the_gateway_answers();
}

static void dhcp_gives_the_address_and_the_name_server(void **state)
{
	uint8_t d[300] = {1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78};
	const uint8_t *p;
	unsigned len, i;
	bool dns = false;

	memcpy(d + 28, mac, 6);
	put32(d + 236, 0x63825363);
	memcpy(d + 240, "\x35\x01\x01\xff", 4); /* DISCOVER */
	plug_and_start(&plain);
	send_udp(0, 68, 0xffffffff, 67, d, sizeof(d));
	p = wait_ip(PROTO_UDP, &len);
	assert_int_equal(get16(p + 2), 68);
	assert_int_equal(get32(p + 8 + 4), 0x12345678);
	assert_int_equal(get32(p + 8 + 16), GUEST);
	for (i = 8 + 240; i + 6 <= len && p[i] != 255; i += 2u + p[i + 1])
		dns |= p[i] == 6 && get32(p + i + 2) == DNS;
	assert_true(dns);
}

static void another_network_can_be_chosen(void **state)
{
	struct user_net_options opt = {
		.name = "net0", .network = 0xc0a80700, .prefix = 24};

	plug_and_start(&opt);
	send_arp(1, 0xc0a8070f, 0xc0a80702);
	do
		wait_frame();
	while (get16(frame + 12) != 0x0806 || get16(frame + 20) != 2);
	assert_int_equal(get32(frame + 28), 0xc0a80702);
}

static void udp_reaches_the_host_and_comes_back(void **state)
{
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	char got[64];
	uint16_t port;
	const uint8_t *p;
	unsigned len;
	int s = bound(SOCK_DGRAM, &port);

	plug_and_start(&plain);
	send_udp(GUEST, 4321, GATEWAY, port, "question", 8);
	assert_int_equal(recvfrom(s, got, sizeof(got), 0,
				 (struct sockaddr *)&from, &from_len),
		8);
	assert_memory_equal(got, "question", 8);
	assert_int_equal(
		sendto(s, "answer", 6, 0, (struct sockaddr *)&from, from_len),
		6);
	p = wait_ip(PROTO_UDP, &len);
	assert_int_equal(get16(p), port);
	assert_int_equal(get16(p + 2), 4321);
	assert_int_equal(len, 14);
	assert_memory_equal(p + 8, "answer", 6);
	close(s);
}

/* A host program's connection, accepted by the guest. */
static int accept_forward(uint16_t port, struct tcp *t)
{
	const uint8_t *p;
	unsigned len;
	int s = begin_connect(port);

	assert_true(s >= 0);
	do /* what is left of another connection goes by */
		p = wait_ip(PROTO_TCP, &len);
	while ((p[13] & (SYN | ACK)) != SYN);
	*t = (struct tcp){.peer = get32(frame + 26),
		.port = get16(p + 2),
		.peer_port = get16(p),
		.next = 1000,
		.expected = get32(p + 4) + 1};
	send_tcp(t, SYN | ACK, NULL, 0);
	return s;
}

static void expect_data(struct tcp *t, const char *text)
{
	const uint8_t *p;
	unsigned len, head;

	do {
		p = wait_ip(PROTO_TCP, &len);
		assert_false(p[13] & RST);
		head = 4u * (p[12] >> 4);
	} while (len == head);
	assert_int_equal(get32(p + 4), t->expected);
	assert_int_equal(len - head, strlen(text));
	assert_memory_equal(p + head, text, strlen(text));
	t->expected += len - head;
	send_tcp(t, ACK, NULL, 0);
}

static void plug_forward(uint16_t port, bool incoming)
{
	struct user_net_forward f = {.host_addr = INADDR_LOOPBACK,
		.host_port = port,
		.guest_port = 80};
	struct user_net_options opt = {.name = "net0",
		.forward = &f,
		.forwards = 1,
		.incoming = incoming};

	plug_and_start(&opt);
	send_arp(1, GUEST, GATEWAY);
}

static void a_forwarded_port_leads_to_the_guest(void **state)
{
	uint16_t port = free_port();
	char got[16];
	struct tcp t;
	int s;

	plug_forward(port, false);
	s = accept_forward(port, &t);
	assert_int_equal(t.port, 80);
	assert_int_equal(write(s, "from host", 9), 9);
	expect_data(&t, "from host");
	send_tcp(&t, ACK, "from guest", 10);
	vd_settle(&b);
	assert_int_equal(read(s, got, sizeof(got)), 10);
	assert_memory_equal(got, "from guest", 10);
	send_tcp(&t, ACK | FIN, NULL, 0);
	while (recv(s, got, sizeof(got), MSG_DONTWAIT) != 0)
		loop_poll(b.loop, true);
	close(s);
}

static void a_taken_port_is_said_to_be_taken(void **state)
{
	struct user_net_forward f = {
		.host_addr = INADDR_LOOPBACK, .guest_port = 80};
	struct user_net_options opt = {
		.name = "net0", .forward = &f, .forwards = 1};
	struct error err;
	char want[96];
	int s = bound(SOCK_STREAM, &f.host_port);

	assert_int_equal(listen(s, 1), 0);
	assert_int_equal(plug(&opt, &err), -EADDRINUSE);
	snprintf(want, sizeof(want),
		"net0: forward tcp port 127.0.0.1:%u: Address already "
		"in use (",
		f.host_port);
	assert_non_null(strstr(err.text, want));
	close(s);
}

static void ports_are_the_guests_only_while_it_is_here(void **state)
{
	uint16_t port = free_port();
	struct tcp t;

	plug_forward(port, true);
	vd_settle(&b);
	assert_int_equal(begin_connect(port), -ECONNREFUSED);
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	close(accept_forward(port, &t));
	virtio_net_settle(b.vdev, false);
	assert_int_equal(begin_connect(port), -ECONNREFUSED);
	virtio_net_settle(b.vdev, true);
	vd_settle(&b);
	close(accept_forward(port, &t));
}

static void after_a_move_old_connections_are_reset_and_new_ones_work(
	void **state)
{
	uint16_t port = free_port();
	struct state_writer w;
	struct error err;
	const uint8_t *p;
	struct tcp t, t2;
	unsigned len;
	char c;
	int s;

	plug_forward(port, false);
	s = accept_forward(port, &t);
	assert_int_equal(write(s, "x", 1), 1);
	expect_data(&t, "x");
	vbench_save(&b, &w);
	assert_int_equal(vbench_load(&b, &w, &err), 0);
	state_writer_fini(&w);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_true(read(s, &c, 1) <= 0); /* the host's end is over */
	close(s);
	send_tcp(&t, ACK, "lost", 4);
	do
		p = wait_ip(PROTO_TCP, &len);
	while (!(p[13] & RST));
	send_arp(1, GUEST, GATEWAY);
	s = accept_forward(port, &t2);
	assert_int_equal(write(s, "new", 3), 3);
	expect_data(&t2, "new");
	close(s);
}

static void a_guest_cannot_use_up_the_hosts_sockets(void **state)
{
	int before, now;
	uint16_t port;
	unsigned i;
	int s = bound(SOCK_DGRAM, &port);

	plug_and_start(&plain);
	before = testing_fd_count();
	for (i = 0; i < 2000; i++) {
		send_udp(GUEST, 2000 + i, GATEWAY, port, "?", 1);
		if (i % 16 == 0)
			vd_settle(&b);
	}
	now = testing_fd_count();
	assert_true(now - before >= 256);
	assert_true(now - before <= (int)USER_NET_SOCKETS_MAX + 16);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	vbench_unplug(&b);
	assert_true(testing_fd_count() <= before);
	close(s);
}

/* Echo replies that nobody fetches fill the FIFO, and then there are no turns
 * that would count sockets. */
static void a_guest_that_takes_no_frames_cannot_either(void **state)
{
	uint8_t echo[1400] = {8, 0, 0, 0, 0, 7, 0, 1};
	int before, now;
	uint16_t port;
	unsigned i;
	int s = bound(SOCK_DGRAM, &port);

	plug_and_start(&plain);
	send_arp(2, GUEST, GATEWAY);
	before = testing_fd_count();
	for (i = 0; i < 300; i++) {
		send_ip(PROTO_ICMP, GUEST, GATEWAY, echo, sizeof(echo), 2);
		vd_settle(&b);
	}
	for (i = 0; i < 800; i++)
		send_udp(GUEST, 2000 + i, GATEWAY, port, "?", 1);
	now = testing_fd_count();
	assert_true(now - before >= 256);
	assert_true(now - before <= (int)USER_NET_SOCKETS_MAX + 16);
	close(s);
}

/* One frame was enough to end libslirp 4.7, and us with it: the last part of a
 * datagram whose first part never came. */
static void parts_of_datagrams_do_not_reach_the_library(void **state)
{
	static const uint16_t parts[] = {0x1c00, 0x0001, 0x1fff, 0x5c00, 0x2000,
		0x3fff, 0x8000, 0xffff};
	uint8_t f[114] = {0x52, 0x55, 10, 0, 2, 2}, *ip = f + 14;
	unsigned i;

	plug_and_start(&plain);
	memcpy(f + 6, mac, 6);
	put16(f + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, 100);
	ip[8] = 64;
	ip[9] = PROTO_ICMP;
	put32(ip + 12, GUEST);
	put32(ip + 16, GATEWAY);
	for (i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		put16(ip + 4, i);
		put16(ip + 6, parts[i]);
		put16(ip + 10, 0);
		put16(ip + 10, checksum(0, ip, 20));
		send_frame(f, sizeof(f));
	}
	vd_settle(&b);
	the_gateway_answers();
}

static void frames_of_any_shape_are_survived(void **state)
{
	uint64_t seed = testing_seed("user_net");
	uint8_t f[1514];
	unsigned i, k, len;

	plug_and_start(&plain);
	for (i = 0; i < 3000; i++) {
		len = 14 + (unsigned)(testing_random(&seed) % 120);
		for (k = 0; k < len; k++)
			f[k] = (uint8_t)testing_random(&seed);
		put16(f + 12, i % 3 == 0 ? 0x0806 : 0x0800);
		f[14] = 0x45;
		f[23] = i % 2 ? PROTO_UDP : PROTO_ICMP;
		put32(f + 30, GATEWAY);
		send_frame(f, len);
	}
	vd_settle(&b);
}

static void impossible_networks_are_refused(void **state)
{
	struct user_net_options opt = {
		.name = "net0", .network = 0x0a000201, .prefix = 24};
	struct error err;

	assert_int_equal(plug(&opt, &err), -EINVAL);
	assert_non_null(strstr(err.text, "net0: a network is"));
	opt.network = 0x0a000000;
	opt.prefix = 28;
	assert_int_equal(plug(&opt, &err), -EINVAL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_gateway_answers_arp_and_ping),
		T(dhcp_gives_the_address_and_the_name_server),
		T(another_network_can_be_chosen),
		T(udp_reaches_the_host_and_comes_back),
		T(a_forwarded_port_leads_to_the_guest),
		T(a_taken_port_is_said_to_be_taken),
		T(ports_are_the_guests_only_while_it_is_here),
		T(after_a_move_old_connections_are_reset_and_new_ones_work),
		T(a_guest_cannot_use_up_the_hosts_sockets),
		T(a_guest_that_takes_no_frames_cannot_either),
		T(parts_of_datagrams_do_not_reach_the_library),
		T(frames_of_any_shape_are_survived),
		T(impossible_networks_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
