/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_virtio_vsock.c - connections, streams and credit of a socket
 * device, with good and with hostile guests and clients.
 */
#include "tests/unit/test_vsock_common.h"

#define BUFFER VSOCK_BUFFER_BYTES

/* ---- what there is ---- */

static void the_guest_learns_its_cid(void **state)
{
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_VSOCK);
	assert_true(vd_features(&b) & 1); /* F_STREAM */
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_CONFIG), CID);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_CONFIG + 4), 0);
}

/* ---- connections from the host ---- */

static void a_client_connects_and_both_talk(void **state)
{
	struct peer p;
	struct got *g;

	start();
	p = meet(1234, MANY);
	assert_true(p.host_port >= VSOCK_PORT_FIRST);
	put(p.fd, "hello guest");
	g = expect(&p, RW);
	assert_int_equal(g->h.len, 11);
	assert_memory_equal(g->data, "hello guest", 11);
	say(&p, "hello host");
	expect_text(p.fd, "hello host");
	part(&p);
}

static void a_line_may_come_in_pieces_and_data_right_behind_it(void **state)
{
	struct peer p = {.guest_port = 7, .alloc = MANY};
	struct got *g;
	int fd;

	start();
	p.fd = fd = connect_host();
	put(fd, "CONN");
	expect_open(fd);
	put(fd, "ECT 7");
	expect_open(fd);
	put(fd, "\nCONNECT 8\n");
	g = next();
	assert_int_equal(g->h.op, REQUEST);
	assert_int_equal(g->h.dst_port, 7);
	p.host_port = g->h.src_port;
	tell(&p, RESPONSE, 0, NULL, 0);
	g = expect(&p, RW);
	assert_int_equal(g->h.len, 10);
	assert_memory_equal(g->data, "CONNECT 8\n", 10);
	part(&p);
}

static void a_client_the_guest_refuses_is_closed(void **state)
{
	struct peer p;

	start();
	p = ask(9, MANY);
	expect_open(p.fd);
	tell(&p, RST, 0, NULL, 0);
	expect_end(p.fd);
	assert_int_equal(device()->conns, 0);
	close(p.fd);
}

static void a_guest_that_does_not_answer_is_not_waited_for(void **state)
{
	struct peer p;

	opt.answer_ms = 20;
	plug();
	start();
	p = ask(9, MANY);
	expect_end(p.fd);
	expect(&p, RST);
	/* Too late: it belongs to nobody. */
	tell(&p, RESPONSE, 0, NULL, 0);
	expect(&p, RST);
	close(p.fd);
}

static void a_client_that_gives_up_is_taken_back(void **state)
{
	struct peer p;

	start();
	p = ask(9, MANY);
	close(p.fd);
	expect(&p, RST);
	assert_int_equal(device()->conns, 0);
}

static void lines_that_are_none_are_not_answered(void **state)
{
	static const char *const bad[] = {"\n", "CONNECT\n", "CONNECT \n",
		"CONNECT x\n", "CONNECT 1x\n", "CONNECT -1\n", "CONNECT 5 \n",
		"CONNECT 5\r\n", "connect 5\n", "CONNECT  5\n", " CONNECT 5\n",
		"CONNECT 4294967296\n", "CONNECT 99999999999999999999999\n",
		"GET / HTTP/1.0\r\n", "CONNECTCONNECTCONNECTCONNECTCONNECT"};
	unsigned i;
	int fd;

	start();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fd = connect_host();
		put(fd, bad[i]);
		expect_end(fd);
		close(fd);
	}
	expect_silence();
	assert_int_equal(device()->clients, 0);
}

static void half_a_line_is_waited_for_a_while_only(void **state)
{
	int fd, other;

	opt.line_ms = 20;
	plug();
	start();
	fd = connect_host();
	put(fd, "CONNECT 1");
	other = connect_host();
	expect_end(fd);
	expect_end(other);
	assert_int_equal(device()->clients, 0);
	close(fd);
	close(other);
}

static void a_flood_of_silent_clients_is_let_in_bit_by_bit(void **state)
{
	/* As many as fit beside the backlog. */
	enum { FLOOD = VSOCK_CLIENTS + 20 };
	int fd[FLOOD];
	unsigned i, before;
	struct peer p;

	start();
	before = (unsigned)testing_fd_count();
	for (i = 0; i < FLOOD; i++) {
		fd[i] = connect_host();
		vd_settle(&b);
	}
	assert_int_equal(device()->clients, VSOCK_CLIENTS);
	assert_int_equal(testing_fd_count(), before + FLOOD + VSOCK_CLIENTS);
	for (i = 0; i < FLOOD; i++) {
		close(fd[i]);
		vd_settle(&b);
		vd_settle(&b);
	}
	vd_settle(&b);
	assert_int_equal(device()->clients, 0);
	p = meet(5, MANY);
	part(&p);
}

static void without_a_driver_clients_are_closed(void **state)
{
	int fd = connect_host();

	shout(fd, 5);
	expect_end(fd);
	close(fd);
}

/* ---- connections from the guest ---- */

static void the_guest_connects_to_the_socket_of_the_port(void **state)
{
	struct peer p;
	struct got *g;
	int l;

	start();
	l = listen_for(5000);
	p = reach(l, 5000, 77);
	say(&p, "ping");
	expect_text(p.fd, "ping");
	put(p.fd, "pong");
	g = expect(&p, RW);
	assert_memory_equal(g->data, "pong", 4);
	part(&p);
	listen_end(l, 5000);
}

static void where_nobody_listens_the_guest_is_refused(void **state)
{
	struct peer p = {.host_port = 5000, .guest_port = 77, .alloc = MANY};
	char name[112];
	int fd;

	start();
	tell(&p, REQUEST, 0, NULL, 0);
	expect(&p, RST);
	/* A file that is no socket. */
	snprintf(name, sizeof(name), "%s_5000", path);
	fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	tell(&p, REQUEST, 0, NULL, 0);
	expect(&p, RST);
	close(fd);
	unlink(name);
	/* A listener that does not come to accept. */
	fd = listen_for(5000);
	assert_int_equal(listen(fd, 0), 0);
	tell(&p, REQUEST, 0, NULL, 0);
	expect(&p, RESPONSE);
	p.guest_port++;
	tell(&p, REQUEST, 0, NULL, 0);
	expect(&p, RST);
	listen_end(fd, 5000);
	assert_int_equal(device()->conns, 1);
	p.guest_port--;
	tell(&p, RST, 0, NULL, 0);
}

/* ---- credit ---- */

static void the_guest_is_never_sent_more_than_it_has_room_for(void **state)
{
	static char big[100000];
	struct peer p;
	uint32_t have = 0;
	struct got *g;

	start();
	p = meet(5, 1000);
	assert_true(fcntl(p.fd, F_SETFL, O_NONBLOCK) == 0);
	assert_true(write(p.fd, big, sizeof(big)) >= 5000);
	g = expect(&p, RW);
	assert_int_equal(g->h.len, 1000);
	expect(&p, CREDIT_REQUEST);
	expect_silence();
	/* Room for 10 more. */
	p.fwd = 10;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(expect(&p, RW)->h.len, 10);
	expect(&p, CREDIT_REQUEST);
	/* A smaller buffer than what is on its way: nothing, and no wrap. */
	p.alloc = 500;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	expect_silence();
	p.fwd = 1010;
	p.alloc = 3000;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	while (have < 3000) {
		g = expect(&p, RW);
		have += g->h.len;
	}
	assert_int_equal(have, 3000);
	expect(&p, CREDIT_REQUEST);
	part(&p);
}

static void any_packet_of_the_guest_brings_its_credit(void **state)
{
	struct peer p;

	start();
	p = meet(5, 4);
	put(p.fd, "12345678");
	assert_int_equal(expect(&p, RW)->h.len, 4);
	expect(&p, CREDIT_REQUEST);
	p.fwd = 4;
	say(&p, "x");
	assert_memory_equal(expect(&p, RW)->data, "5678", 4);
	expect(&p, CREDIT_REQUEST);
	part(&p);
}

/* Fill the host's socket and then our buffer.  Return: bytes taken. */
static uint32_t stuff(struct peer *p)
{
	static uint8_t chunk[1024];
	struct vsock_conn *c =
		vsock_find(device(), p->host_port, p->guest_port);
	uint32_t sent = 0, i;

	while (vsock_buffered(c) < BUFFER) {
		for (i = 0; i < sizeof(chunk); i++)
			chunk[i] = (uint8_t)((sent + i) * 7 + (sent + i) / 256);
		i = BUFFER - vsock_buffered(c);
		if (i > sizeof(chunk))
			i = sizeof(chunk);
		tell(p, RW, 0, chunk, i);
		sent += i;
		assert_true(sent < 64u << 20);
	}
	return sent;
}

static void drain(const struct peer *p, uint32_t bytes)
{
	static uint8_t buf[65536];
	uint32_t have = 0, i;
	ssize_t n;

	while (have < bytes) {
		wait_fd(p->fd);
		n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);
		assert_true(n > 0);
		for (i = 0; i < n; i++)
			assert_int_equal(buf[i],
				(uint8_t)((have + i) * 7 + (have + i) / 256));
		have += (uint32_t)n;
	}
	assert_int_equal(have, bytes);
}

static void a_slow_host_holds_up_the_guest_and_loses_nothing(void **state)
{
	uint32_t sent, told = 0;
	struct peer p;
	struct got g;

	start();
	p = meet(5, MANY);
	sent = stuff(&p);
	/* On the way it was told of what went into the socket, no more. */
	while (look(&g)) {
		assert_int_equal(g.h.op, CREDIT_UPDATE);
		told = g.h.fwd_cnt;
	}
	assert_true(told <= sent - BUFFER);
	drain(&p, sent);
	do {
		assert_int_equal(next()->h.op, CREDIT_UPDATE);
		tell(&p, CREDIT_REQUEST, 0, NULL, 0);
	} while (next()->h.fwd_cnt != sent);
	part(&p);
}

static void a_guest_that_sends_more_than_it_may_is_reset(void **state)
{
	struct peer p;
	struct got g;

	start();
	p = meet(5, MANY);
	stuff(&p);
	say(&p, "x");
	do
		g = *next();
	while (g.h.op == CREDIT_UPDATE);
	assert_int_equal(g.h.op, RST);
	assert_int_equal(device()->conns, 0);
	close(p.fd);
}

static void credit_requests_are_answered(void **state)
{
	struct peer p;
	struct got *g;
	unsigned i;

	start();
	p = meet(5, MANY);
	say(&p, "12345");
	tell(&p, CREDIT_REQUEST, 0, NULL, 0);
	g = expect(&p, CREDIT_UPDATE);
	assert_int_equal(g->h.fwd_cnt, 5);
	/* Asked many times at once, it answers once: nothing piles up. */
	for (i = 0; i < 10; i++)
		offer(&p, CREDIT_REQUEST, 0, NULL, 0);
	for (i = 0; i < 10; i++)
		vd_wait(&b, TX);
	expect(&p, CREDIT_UPDATE);
	expect_silence();
	part(&p);
}

static void the_guest_is_told_of_room_before_it_runs_out(void **state)
{
	static uint8_t chunk[BUFFER / 4];
	unsigned i, updates = 0;
	uint32_t have, told = 0;
	struct peer p;
	struct got g;
	ssize_t n;

	start();
	p = meet(5, MANY);
	for (i = 1; i <= 32; i++) {
		tell(&p, RW, 0, chunk, sizeof(chunk));
		for (have = 0; have < sizeof(chunk); have += (uint32_t)n) {
			wait_fd(p.fd);
			n = recv(
				p.fd, vd_at(&b, 0x700000), 65536, MSG_DONTWAIT);
			assert_true(n > 0);
		}
		vd_settle(&b);
		while (look(&g)) {
			assert_int_equal(g.h.op, CREDIT_UPDATE);
			told = g.h.fwd_cnt;
			updates++;
		}
		/* As it sees it there is always room for the next one. */
		assert_true(i * sizeof(chunk) - told < BUFFER - sizeof(chunk));
	}
	/* And not for every packet. */
	assert_true(updates <= 32 / 2);
	part(&p);
}

static void a_guest_that_lies_about_what_it_read_is_reset(void **state)
{
	struct peer p;

	start();
	p = meet(5, MANY);
	put(p.fd, "12345");
	expect(&p, RW);
	p.fwd = 6;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	expect(&p, RST);
	expect_end(p.fd);
	close(p.fd);
	p = ask(6, MANY);
	p.fwd = 1; /* nothing was sent yet */
	tell(&p, RESPONSE, 0, NULL, 0);
	expect(&p, RST);
	expect_end(p.fd);
	close(p.fd);
}

static void news_that_are_overtaken_do_no_harm(void **state)
{
	struct peer p;

	start();
	p = meet(5, 8);
	put(p.fd, "12345678abcd");
	assert_int_equal(expect(&p, RW)->h.len, 8);
	expect(&p, CREDIT_REQUEST);
	p.fwd = 4;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	assert_int_equal(expect(&p, RW)->h.len, 4);
	expect(&p, CREDIT_REQUEST);
	p.fwd = 2; /* sent earlier by another vCPU */
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	expect_silence();
	p.fwd = 12;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	put(p.fd, "z");
	assert_int_equal(expect(&p, RW)->h.len, 1);
	part(&p);
}

static void counters_wrap_in_both_directions(void **state)
{
	static uint8_t chunk[3000];
	struct vsock_conn *c;
	struct peer p;
	unsigned i;
	struct got g;

	start();
	p = meet(5, 4000);
	c = vsock_find(device(), p.host_port, p.guest_port);
	p.fwd = c->sent = c->peer_fwd = UINT32_MAX - 4999;
	c->received = c->forwarded = c->told = UINT32_MAX - 4999;
	for (i = 0; i < 4; i++) {
		uint32_t have = 0;

		assert_int_equal(
			write(p.fd, chunk, sizeof(chunk)), sizeof(chunk));
		while (have < sizeof(chunk))
			have += expect(&p, RW)->h.len;
		p.fwd += sizeof(chunk);
		tell(&p, CREDIT_REQUEST, 0, NULL, 0);
		assert_int_equal(expect(&p, CREDIT_UPDATE)->h.fwd_cnt,
			UINT32_MAX - 4999 + i * (uint32_t)sizeof(chunk));
		tell(&p, RW, 0, chunk, sizeof(chunk));
		have = 0;
		while (have < sizeof(chunk)) {
			wait_fd(p.fd);
			have += (uint32_t)recv(p.fd, chunk, sizeof(chunk), 0);
		}
	}
	assert_int_equal(c->sent, p.fwd);
	assert_int_equal(c->sent, 7000); /* it has wrapped */
	/* And a lie across the wrap is still one. */
	c->sent = c->peer_fwd = UINT32_MAX;
	p.fwd = 0;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	do
		g = *next();
	while (g.h.op == CREDIT_UPDATE);
	assert_int_equal(g.h.op, RST);
	close(p.fd);
}

static void a_full_buffer_across_the_wrap_keeps_its_bytes(void **state)
{
	struct vsock_conn *c;
	struct peer p;
	struct got g;

	start();
	p = meet(5, MANY);
	c = vsock_find(device(), p.host_port, p.guest_port);
	c->received = c->forwarded = c->told = 0u - 300000;
	drain(&p, stuff(&p));
	while (look(&g))
		assert_int_equal(g.h.op, CREDIT_UPDATE);
	part(&p);
}

/* ---- hostile headers ---- */

/* What a packet differs in from good data of the connection. */
struct hostile {
	const char *what;
	uint64_t src_cid, dst_cid; /* 0: right */
	uint32_t cut;		   /* bytes fewer than len says */
	uint32_t flags, len;
	uint16_t type, op;
	enum { GETS_RST, GETS_OWN_RST, GETS_NOTHING } then;
};

static void hostile_packets_get_what_they_deserve(void **state)
{
	static const struct hostile bad[] = {
		{"another machine's", 43, 0, 0, 0, 1, 1, RW, GETS_NOTHING},
		{"the host's own", 2, 0, 0, 0, 1, 1, RW, GETS_NOTHING},
		{"a CID of 33 bits", 1ull << 32 | CID, 0, 0, 0, 1, 1, RW,
			GETS_NOTHING},
		{"to another machine", 0, 43, 0, 0, 1, 1, RW, GETS_OWN_RST},
		{"to a CID of 33 bits", 0, 1ull << 32 | 2, 0, 0, 1, 1, RW,
			GETS_OWN_RST},
		{"request to another machine", 0, 43, 0, 0, 0, 1, REQUEST,
			GETS_OWN_RST},
		{"seqpacket", 0, 0, 0, 0, 1, 2, RW, GETS_OWN_RST},
		{"type 0", 0, 0, 0, 0, 1, 65535, RW, GETS_OWN_RST},
		{"seqpacket request", 0, 0, 0, 0, 0, 2, REQUEST, GETS_OWN_RST},
		{"op 0", 0, 0, 0, 0, 0, 1, 0, GETS_RST},
		{"op 8", 0, 0, 0, 0, 0, 1, 8, GETS_RST},
		{"op 65535", 0, 0, 0, 0, 0, 1, 65535, GETS_RST},
		{"a second request", 0, 0, 0, 0, 0, 1, REQUEST, GETS_RST},
		{"a second response", 0, 0, 0, 0, 0, 1, RESPONSE, GETS_RST},
		{"data that is not there", 0, 0, 100, 0, 100, 1, RW, GETS_RST},
		{"a byte short", 0, 0, 1, 0, 100, 1, RW, GETS_RST},
		{"4 GiB", 0, 0, UINT32_MAX, 0, UINT32_MAX, 1, RW, GETS_RST},
		{"an update with data", 0, 0, 0, 0, 1, 1, CREDIT_UPDATE,
			GETS_RST},
		{"unknown shutdown flags", 0, 0, 0, 4, 0, 1, SHUTDOWN,
			GETS_RST},
		{"an RST of another type", 0, 0, 0, 0, 0, 2, RST, GETS_NOTHING},
		{"no data at all", 0, 0, 0, 0, 0, 1, RW, GETS_NOTHING},
		{"a shutdown of nothing", 0, 0, 0, 0, 0, 1, SHUTDOWN,
			GETS_NOTHING},
	};
	static uint8_t data[128];
	unsigned i;

	start();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct peer p = meet(100 + i, MANY);
		const struct hostile *t = &bad[i];
		struct virtio_vsock_hdr h = header(&p, t->op, t->len);
		struct got *g;

		print_message("%s\n", t->what);
		h.type = t->type;
		h.flags = t->flags;
		if (t->src_cid)
			h.src_cid = t->src_cid;
		if (t->dst_cid)
			h.dst_cid = t->dst_cid;
		offer_raw(&h, data, t->len - t->cut);
		vd_wait(&b, TX);
		if (t->then != GETS_NOTHING) {
			g = next();
			assert_int_equal(g->h.op, RST);
			assert_int_equal(g->h.src_cid, h.dst_cid);
			assert_int_equal(g->h.src_port, p.host_port);
			assert_int_equal(g->h.dst_port, p.guest_port);
			assert_int_equal(g->h.type, t->type);
		}
		expect_silence();
		if (t->then == GETS_RST) {
			expect_end(p.fd);
			close(p.fd);
			assert_int_equal(device()->conns, 0);
			continue;
		}
		/* The connection has nothing to do with it. */
		if (t->op == RW && t->len > 0 && t->then == GETS_NOTHING)
			expect_open(p.fd);
		say(&p, "fine");
		expect_text(p.fd, "fine");
		part(&p);
	}
}

static void what_belongs_to_no_connection_is_reset(void **state)
{
	static const uint16_t ops[] = {
		0, RESPONSE, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST, 8};
	struct peer p = {.host_port = 5, .guest_port = 6, .alloc = MANY};
	unsigned i;

	start();
	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		tell(&p, ops[i], 0, NULL, 0);
		expect(&p, RST);
	}
	tell(&p, RST, 0, NULL, 0); /* an RST is not answered */
	expect_silence();
	assert_int_equal(device()->conns, 0);
}

static void before_a_connection_stands_nothing_can_be_said(void **state)
{
	static const uint16_t ops[] = {
		REQUEST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST};
	struct peer p, q = {.host_port = 50, .guest_port = 6, .alloc = MANY};
	struct virtio_vsock_hdr *h = vd_at(&b, RX_BASE);
	unsigned i;
	int l;

	start();
	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		p = ask(5, MANY);
		tell(&p, ops[i], 0, NULL, 0);
		expect(&p, RST);
		expect_end(p.fd);
		close(p.fd);
	}
	/* Its own request, and data before the response was there. */
	start_bare();
	l = listen_for(50);
	tell(&q, REQUEST, 0, NULL, 0);
	say(&q, "early");
	give(RX, RX_BASE, HDR);
	assert_int_equal(vd_wait(&b, RX), HDR);
	assert_int_equal(h->op, RST);
	assert_int_equal(device()->conns, 0);
	listen_end(l, 50);
}

static void hostile_buffers_are_answered(void **state)
{
	struct peer p = {.host_port = 5, .guest_port = 6};
	struct virtio_vsock_hdr h = header(&p, RW, 0);
	struct vd_buf cut[3] = {{TX_BASE, 20, false}, {TX_BASE + 32, 20, false},
		{TX_BASE + 64, 4, false}};
	struct vd_buf small = {TX_BASE, 43, false};
	struct vd_buf wrong = {TX_BASE, 64, true};
	uint8_t *t;

	start_bare();
	vd_add(&b, TX, &small, 1);
	vd_add(&b, TX, &wrong, 1);
	vd_kick(&b, TX);
	vd_wait(&b, TX);
	vd_wait(&b, TX);
	assert_int_equal(device()->refusals, 0);
	/* A header in pieces is one all the same. */
	t = vd_at(&b, TX_BASE);
	memcpy(t, &h, 20);
	memcpy(t + 32, (uint8_t *)&h + 20, 20);
	memcpy(t + 64, (uint8_t *)&h + 40, 4);
	vd_add(&b, TX, cut, 3);
	vd_kick(&b, TX);
	vd_wait(&b, TX);
	assert_int_equal(device()->refusals, 1);
	/* Receive buffers without room go back empty; the packet waits. */
	give(RX, RX_BASE, 43);
	assert_int_equal(vd_wait(&b, RX), 0);
	vd_add(&b, RX, &(struct vd_buf){RX_BASE, 64, false}, 1);
	vd_kick(&b, RX);
	assert_int_equal(vd_wait(&b, RX), 0);
	give(RX, RX_BASE, 44);
	assert_int_equal(vd_wait(&b, RX), 44);
	assert_int_equal(device()->refusals, 0);
}

static void buffers_of_a_header_hold_up_no_data(void **state)
{
	struct peer p = {.guest_port = 5, .alloc = MANY};
	struct virtio_vsock_hdr *h = vd_at(&b, RX_BASE);

	start_bare();
	p.fd = connect_host();
	shout(p.fd, 5);
	give(RX, RX_BASE, HDR);
	assert_int_equal(vd_wait(&b, RX), HDR);
	p.host_port = h->src_port;
	tell(&p, RESPONSE, 0, NULL, 0);
	put(p.fd, "data");
	vd_settle(&b);
	give(RX, RX_BASE, HDR);
	assert_int_equal(vd_wait(&b, RX), HDR);
	assert_int_equal(h->op, CREDIT_UPDATE);
	give(RX, RX_BASE, HDR + 3);
	assert_int_equal(vd_wait(&b, RX), HDR + 3);
	assert_int_equal(h->op, RW);
	give(RX, RX_BASE, HDR + 3);
	assert_int_equal(vd_wait(&b, RX), HDR + 1);
	part(&p);
}

static void refusals_that_nobody_takes_hold_up_the_guest(void **state)
{
	enum { LOT = SLOTS };
	struct peer p = {.host_port = 5, .guest_port = 6};
	struct got g;
	unsigned i, n = 0, used;

	start_bare();
	for (i = 0; i < LOT; i++)
		offer(&p, RW, 0, NULL, 0);
	vd_settle(&b);
	for (i = 0; i < LOT; i++)
		vd_wait(&b, TX);
	assert_int_equal(device()->refusals, VSOCK_REFUSALS);
	for (i = 0; i < LOT / 2; i++)
		offer(&p, RW, 0, NULL, 0);
	vd_settle(&b);
	used = vd_used(&b, TX);
	assert_int_equal(used, 0);
	give_all();
	while (n < LOT + LOT / 2) {
		if (look(&g)) {
			assert_int_equal(g.h.op, RST);
			n++;
		} else {
			loop_poll(b.loop, true);
		}
	}
	expect_silence();
	assert_int_equal(vd_used(&b, TX), LOT / 2);
}

/* ---- ends ---- */

static void the_host_may_end_its_half(void **state)
{
	struct peer p;

	start();
	p = meet(5, MANY);
	put(p.fd, "last");
	shutdown(p.fd, SHUT_WR);
	assert_int_equal(expect(&p, RW)->h.len, 4);
	assert_int_equal(expect(&p, SHUTDOWN)->h.flags, SHUT_SEND);
	expect_silence();
	say(&p, "answer");
	expect_text(p.fd, "answer");
	/* The guest agrees to the whole. */
	tell(&p, SHUTDOWN, GUEST_SHUT_BOTH, NULL, 0);
	expect(&p, RST);
	expect_end(p.fd);
	close(p.fd);
}

static void the_guest_may_end_its_half(void **state)
{
	struct peer p;

	start();
	p = meet(5, MANY);
	say(&p, "last");
	tell(&p, SHUTDOWN, SHUT_SEND, NULL, 0);
	expect_text(p.fd, "last");
	expect_end(p.fd);
	put(p.fd, "answer");
	assert_int_equal(expect(&p, RW)->h.len, 6);
	/* What it sends after its end is no good. */
	say(&p, "more");
	expect(&p, RST);
	close(p.fd);
}

static void a_guest_that_reads_no_more_ends_the_hosts_writes(void **state)
{
	struct peer p;

	start();
	p = meet(5, MANY);
	tell(&p, SHUTDOWN, SHUT_RCV, NULL, 0);
	expect_silence();
	assert_int_equal(send(p.fd, "x", 1, MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	say(&p, "still");
	expect_text(p.fd, "still");
	close(p.fd);
	assert_int_equal(expect(&p, SHUTDOWN)->h.flags, GUEST_SHUT_BOTH);
	tell(&p, RST, 0, NULL, 0);
	assert_int_equal(device()->conns, 0);
}

static void a_guest_that_closes_loses_nothing(void **state)
{
	struct peer p;
	uint32_t sent;
	struct got g;

	start();
	p = meet(5, MANY);
	sent = stuff(&p);
	tell(&p, SHUTDOWN, SHUT_SEND, NULL, 0);
	tell(&p, SHUTDOWN, SHUT_RCV, NULL, 0);
	while (look(&g))
		assert_int_equal(g.h.op, CREDIT_UPDATE);
	drain(&p, sent);
	do
		g = *next();
	while (g.h.op == CREDIT_UPDATE);
	assert_int_equal(g.h.op, RST);
	expect_end(p.fd);
	close(p.fd);
}

static void a_host_that_does_not_read_the_rest_is_not_waited_for(void **state)
{
	struct peer p;
	struct got g;

	opt.linger_ms = 20;
	plug();
	start();
	p = meet(5, MANY);
	stuff(&p);
	tell(&p, SHUTDOWN, GUEST_SHUT_BOTH, NULL, 0);
	do
		g = *next();
	while (g.h.op == CREDIT_UPDATE);
	assert_int_equal(g.h.op, RST);
	assert_int_equal(device()->conns, 0);
	close(p.fd);
}

static void a_host_that_closes_asks_the_guest_to_do_so(void **state)
{
	struct peer p;

	start();
	p = meet(5, MANY);
	put(p.fd, "last");
	close(p.fd);
	assert_int_equal(expect(&p, RW)->h.len, 4);
	assert_int_equal(expect(&p, SHUTDOWN)->h.flags, GUEST_SHUT_BOTH);
	say(&p, "on its way already");
	expect_silence();
	tell(&p, SHUTDOWN, SHUT_RCV, NULL, 0);
	expect_silence();
	tell(&p, SHUTDOWN, SHUT_SEND, NULL, 0);
	expect(&p, RST);
	assert_int_equal(device()->conns, 0);
}

static void a_guest_that_does_not_close_is_not_waited_for(void **state)
{
	struct peer p;

	opt.linger_ms = 20;
	plug();
	start();
	p = meet(5, MANY);
	close(p.fd);
	expect(&p, SHUTDOWN);
	expect(&p, RST);
	assert_int_equal(device()->conns, 0);
}

static void a_host_that_vanishes_with_bytes_unread_is_seen(void **state)
{
	struct peer p;
	struct got g;

	start();
	p = meet(5, MANY);
	stuff(&p);
	close(p.fd);
	do
		g = *next();
	while (g.h.op == CREDIT_UPDATE);
	while (g.h.op == SHUTDOWN && g.h.flags != GUEST_SHUT_BOTH)
		g = *next();
	assert_int_equal(g.h.op, SHUTDOWN);
	tell(&p, SHUTDOWN, GUEST_SHUT_BOTH, NULL, 0);
	expect(&p, RST);
	assert_int_equal(device()->conns, 0);
}

static void a_hang_up_before_unread_bytes_does_not_keep_us_busy(void **state)
{
	struct peer p;

	start();
	p = meet(5, 4);
	put(p.fd, "12345678");
	close(p.fd);
	assert_int_equal(expect(&p, RW)->h.len, 4);
	expect(&p, CREDIT_REQUEST);
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
	p.fwd = 4;
	p.alloc = 100;
	tell(&p, CREDIT_UPDATE, 0, NULL, 0);
	assert_memory_equal(expect(&p, RW)->data, "5678", 4);
	assert_int_equal(expect(&p, SHUTDOWN)->h.flags, GUEST_SHUT_BOTH);
	tell(&p, RST, 0, NULL, 0);
}

static void nobody_spins_while_the_guest_has_no_buffers(void **state)
{
	struct peer p = {.guest_port = 5, .alloc = MANY};
	struct virtio_vsock_hdr *h = vd_at(&b, RX_BASE);

	start_bare();
	p.fd = connect_host();
	shout(p.fd, 5);
	give(RX, RX_BASE, HDR);
	vd_wait(&b, RX);
	p.host_port = h->src_port;
	tell(&p, RESPONSE, 0, NULL, 0);
	put(p.fd, "data");
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
	close(p.fd);
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
	give(RX, RX_BASE, HDR + 64);
	assert_int_equal(vd_wait(&b, RX), HDR + 4);
	give(RX, RX_BASE, HDR + 64);
	vd_wait(&b, RX);
	assert_int_equal(h->op, SHUTDOWN);
	tell(&p, RST, 0, NULL, 0);
}

/* ---- bounds ---- */

static void there_are_no_more_connections_than_allowed(void **state)
{
	struct peer a, c, extra = {.host_port = 50, .guest_port = 1};
	int fd, l;

	opt.max_conns = 2;
	plug();
	start();
	a = meet(5, MANY);
	l = listen_for(50);
	c = reach(l, 50, 2);
	fd = connect_host();
	shout(fd, 6);
	expect_end(fd);
	close(fd);
	tell(&extra, REQUEST, 0, NULL, 0);
	expect(&extra, RST);
	part(&a);
	extra.alloc = MANY;
	extra = reach(l, 50, 1);
	part(&extra);
	part(&c);
	listen_end(l, 50);
}

static void a_thousand_connections_leave_nothing_behind(void **state)
{
	int before, l;
	struct peer p;
	unsigned i;

	start();
	l = listen_for(50);
	before = testing_fd_count();
	for (i = 0; i < 1000; i++) {
		p = i % 2 ? meet(5, MANY) : reach(l, 50, 1000 + i);
		say(&p, "x");
		expect_text(p.fd, "x");
		if (i % 3 == 0) {
			part(&p);
		} else if (i % 3 == 1) {
			tell(&p, SHUTDOWN, GUEST_SHUT_BOTH, NULL, 0);
			expect(&p, RST);
			close(p.fd);
		} else {
			close(p.fd);
			expect(&p, SHUTDOWN);
			tell(&p, RST, 0, NULL, 0);
		}
		assert_int_equal(device()->conns, 0);
	}
	assert_int_equal(testing_fd_count(), before);
	listen_end(l, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_guest_learns_its_cid),
		T(a_client_connects_and_both_talk),
		T(a_line_may_come_in_pieces_and_data_right_behind_it),
		T(a_client_the_guest_refuses_is_closed),
		T(a_guest_that_does_not_answer_is_not_waited_for),
		T(a_client_that_gives_up_is_taken_back),
		T(lines_that_are_none_are_not_answered),
		T(half_a_line_is_waited_for_a_while_only),
		T(a_flood_of_silent_clients_is_let_in_bit_by_bit),
		T(without_a_driver_clients_are_closed),
		T(the_guest_connects_to_the_socket_of_the_port),
		T(where_nobody_listens_the_guest_is_refused),
		T(the_guest_is_never_sent_more_than_it_has_room_for),
		T(any_packet_of_the_guest_brings_its_credit),
		T(a_slow_host_holds_up_the_guest_and_loses_nothing),
		T(a_guest_that_sends_more_than_it_may_is_reset),
		T(credit_requests_are_answered),
		T(the_guest_is_told_of_room_before_it_runs_out),
		T(a_guest_that_lies_about_what_it_read_is_reset),
		T(news_that_are_overtaken_do_no_harm),
		T(counters_wrap_in_both_directions),
		T(a_full_buffer_across_the_wrap_keeps_its_bytes),
		T(hostile_packets_get_what_they_deserve),
		T(what_belongs_to_no_connection_is_reset),
		T(before_a_connection_stands_nothing_can_be_said),
		T(hostile_buffers_are_answered),
		T(buffers_of_a_header_hold_up_no_data),
		T(refusals_that_nobody_takes_hold_up_the_guest),
		T(the_host_may_end_its_half),
		T(the_guest_may_end_its_half),
		T(a_guest_that_reads_no_more_ends_the_hosts_writes),
		T(a_guest_that_closes_loses_nothing),
		T(a_host_that_does_not_read_the_rest_is_not_waited_for),
		T(a_host_that_closes_asks_the_guest_to_do_so),
		T(a_guest_that_does_not_close_is_not_waited_for),
		T(a_host_that_vanishes_with_bytes_unread_is_seen),
		T(a_hang_up_before_unread_bytes_does_not_keep_us_busy),
		T(nobody_spins_while_the_guest_has_no_buffers),
		T(there_are_no_more_connections_than_allowed),
		T(a_thousand_connections_leave_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
