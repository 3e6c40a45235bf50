/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_vsock_common.h - a socket device with a guest that speaks its
 * protocol packet by packet, and UNIX sockets of the host.
 */
#ifndef GODWIT_TESTS_UNIT_TEST_VSOCK_COMMON_H
#define GODWIT_TESTS_UNIT_TEST_VSOCK_COMMON_H

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "virtio/vsock_private.h"
#include "vmm/error.h"

#define CID		42u
#define RX		VSOCK_RX
#define TX		VSOCK_TX
#define EV		VSOCK_EVENT
#define HDR		VSOCK_HEADER
#define SLOTS		64u
#define SLOT		8192u /* apart */
#define ROOM		4096u /* of data in a receive buffer */
#define RX_BASE		0x200000u
#define TX_BASE		0x400000u
#define EV_BASE		0x600000u
#define MANY		(1u << 20) /* credit that is never short */
#define GUEST_SHUT_BOTH VSOCK_SHUT_BOTH

#define RST	       VIRTIO_VSOCK_OP_RST
#define REQUEST	       VIRTIO_VSOCK_OP_REQUEST
#define RESPONSE       VIRTIO_VSOCK_OP_RESPONSE
#define RW	       VIRTIO_VSOCK_OP_RW
#define SHUTDOWN       VIRTIO_VSOCK_OP_SHUTDOWN
#define CREDIT_UPDATE  VIRTIO_VSOCK_OP_CREDIT_UPDATE
#define CREDIT_REQUEST VIRTIO_VSOCK_OP_CREDIT_REQUEST
#define SHUT_RCV       VIRTIO_VSOCK_SHUTDOWN_RCV
#define SHUT_SEND      VIRTIO_VSOCK_SHUTDOWN_SEND

static struct vbench b;
static char folder[64], path[80];
static struct virtio_vsock_options opt;

/* One packet that came to the guest. */
struct got {
	struct virtio_vsock_hdr h;
	uint8_t data[SLOT];
	uint32_t len; /* all of it */
};

/* A connection as the guest sees it. */
struct peer {
	uint32_t host_port, guest_port;
	uint32_t alloc, fwd; /* that it says */
	int fd;		     /* the host's end */
};

static inline struct vsock *device(void)
{
	return vsock_of(b.vdev);
}

/* ---- set-up ---- */

static inline int plug_error(struct error *err)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev;
	int rc = virtio_vsock_create(&env, "vsock0", &opt, &dev, err);

	if (rc == 0)
		vbench_plug(&b, dev);
	return rc;
}

static inline void plug(void)
{
	struct error err;

	vbench_unplug(&b);
	if (plug_error(&err) < 0)
		fail_msg("%s", err.text);
}

static inline int vsock_setup(void **state)
{
	strcpy(folder, "/tmp/godwit-vsock-XXXXXX");
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/v", folder);
	opt = (struct virtio_vsock_options){
		.path = path, .cid = CID, .max_conns = 256};
	vbench_init(&b);
	plug();
	return 0;
}

static inline int vsock_teardown(void **state)
{
	vbench_fini(&b);
	/* The device took its socket away, and tests what they made. */
	assert_int_equal(rmdir(folder), 0);
	return 0;
}

static inline void give(unsigned q, uint64_t gpa, uint32_t len)
{
	struct vd_buf buf = {gpa, len, true};

	vd_add(&b, q, &buf, 1);
	vd_kick(&b, q);
}

static inline void give_all(void)
{
	unsigned i;

	for (i = 0; i < SLOTS; i++)
		give(RX, RX_BASE + i * SLOT, HDR + ROOM);
	vd_settle(&b);
}

/* A driver without receive buffers. */
static inline void start_bare(void)
{
	b.next_gpa = 0x1000;
	vd_start(&b, 1ull << VIRTIO_RING_F_EVENT_IDX, 3, SLOTS);
	assert_true(
		vd_read(&b, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void start(void)
{
	start_bare();
	give_all();
}

/* ---- packets ---- */

/* The next packet if there is one; its buffer goes back. */
static inline bool look(struct got *g)
{
	struct vring_desc *table = vd_at(&b, b.q[RX].desc);
	struct virtio_vsock_hdr *h = &g->h;
	uint16_t head;
	uint8_t *p;

	if (!vd_take(&b, RX, &head, &g->len))
		return false;
	p = vd_at(&b, table[head].addr);
	assert_true(g->len >= HDR && g->len <= table[head].len);
	memcpy(h, p, HDR);
	memcpy(g->data, p + HDR, g->len - HDR);
	assert_int_equal(h->dst_cid, CID);
	assert_int_equal(h->len, g->len - HDR);
	assert_true(h->op == RW || h->len == 0);
	give(RX, table[head].addr, table[head].len);
	return true;
}

static inline struct got *next(void)
{
	static struct got g;

	while (!look(&g)) {
		if (b.thread)
			vd_settle(&b);
		else
			loop_poll(b.loop, true);
	}
	return &g;
}

static inline struct got *expect(const struct peer *p, uint16_t op)
{
	struct got *g = next();

	if (g->h.op != op)
		fail_msg("op %u instead of %u", g->h.op, op);
	assert_int_equal(g->h.src_cid, VSOCK_HOST_CID);
	assert_int_equal(g->h.src_port, p->host_port);
	assert_int_equal(g->h.dst_port, p->guest_port);
	assert_int_equal(g->h.type, VIRTIO_VSOCK_TYPE_STREAM);
	if (op != RST)
		assert_int_equal(g->h.buf_alloc, VSOCK_BUFFER_BYTES);
	return g;
}

static inline void expect_silence(void)
{
	struct got g;

	vd_settle(&b);
	if (look(&g))
		fail_msg("op %u, %u bytes", g.h.op, g.len);
}

static inline struct virtio_vsock_hdr header(
	const struct peer *p, uint16_t op, uint32_t len)
{
	return (struct virtio_vsock_hdr){
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = p->guest_port,
		.dst_port = p->host_port,
		.len = len,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = p->alloc,
		.fwd_cnt = p->fwd,
	};
}

/* Offer @h and @bytes of @data behind it, in two buffers. */
static inline void offer_raw(
	const struct virtio_vsock_hdr *h, const void *data, uint32_t bytes)
{
	static unsigned turn;
	uint64_t gpa = TX_BASE + turn++ % 4 * 0x60000u;
	struct vd_buf buf[2] = {{gpa, HDR, false}, {gpa + 64, bytes, false}};

	memcpy(vd_at(&b, gpa), h, HDR);
	if (bytes > 0)
		memcpy(vd_at(&b, gpa + 64), data, bytes);
	vd_add(&b, TX, buf, bytes > 0 ? 2 : 1);
	vd_kick(&b, TX);
}

static inline void offer(const struct peer *p, uint16_t op, uint32_t flags,
	const void *data, uint32_t len)
{
	struct virtio_vsock_hdr h = header(p, op, len);

	h.flags = flags;
	offer_raw(&h, data, len);
}

/* The same, and wait until the device has taken it. */
static inline void tell(const struct peer *p, uint16_t op, uint32_t flags,
	const void *data, uint32_t len)
{
	offer(p, op, flags, data, len);
	assert_int_equal(vd_wait(&b, TX), 0);
}

static inline void say(const struct peer *p, const char *text)
{
	tell(p, RW, 0, text, (uint32_t)strlen(text));
}

/* ---- the host's ends ---- */

static inline int connect_path(const char *to)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", to);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static inline int connect_host(void)
{
	return connect_path(path);
}

static inline void put(int fd, const char *text)
{
	assert_int_equal(
		send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static inline void shout(int fd, uint32_t port)
{
	char line[32];

	snprintf(line, sizeof(line), "CONNECT %u\n", port);
	put(fd, line);
}

/* Let the loop run until @fd has something, or is at its end. */
static inline void wait_fd(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (poll(&p, 1, 1) == 0)
		vd_settle(&b);
}

/* Exactly @text has come, and no more. */
static inline void expect_text(int fd, const char *text)
{
	size_t want = strlen(text), have = 0;
	char buf[256];
	ssize_t n;

	while (have < want) {
		wait_fd(fd);
		n = recv(fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_int_equal(have, want);
	assert_memory_equal(buf, text, want);
}

static inline void expect_end(int fd)
{
	char c;

	wait_fd(fd);
	if (recv(fd, &c, 1, MSG_DONTWAIT) != 0)
		assert_int_equal(errno, ECONNRESET);
}

static inline void expect_open(int fd)
{
	char c;

	vd_settle(&b);
	assert_int_equal(recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

/* A client of the host connects to @guest_port, as far as the REQUEST. */
static inline struct peer ask(uint32_t guest_port, uint32_t alloc)
{
	struct peer p = {.guest_port = guest_port, .alloc = alloc};
	struct got *g;

	p.fd = connect_host();
	shout(p.fd, guest_port);
	g = next();
	assert_int_equal(g->h.op, REQUEST);
	assert_int_equal(g->h.dst_port, guest_port);
	p.host_port = g->h.src_port;
	return p;
}

/* All the way. */
static inline struct peer meet(uint32_t guest_port, uint32_t alloc)
{
	struct peer p = ask(guest_port, alloc);
	char ok[32];

	tell(&p, RESPONSE, 0, NULL, 0);
	snprintf(ok, sizeof(ok), "OK %u\n", p.host_port);
	expect_text(p.fd, ok);
	return p;
}

/* A listener for connections of the guest to @port. */
static inline int listen_for(uint32_t port)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s_%u", path, port);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static inline void listen_end(int fd, uint32_t port)
{
	char name[112];

	close(fd);
	snprintf(name, sizeof(name), "%s_%u", path, port);
	assert_int_equal(unlink(name), 0);
}

/* The guest connects to @host_port, where @listener is. */
static inline struct peer reach(
	int listener, uint32_t host_port, uint32_t guest_port)
{
	struct peer p = {.host_port = host_port,
		.guest_port = guest_port,
		.alloc = MANY};

	tell(&p, REQUEST, 0, NULL, 0);
	expect(&p, RESPONSE);
	p.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.fd >= 0);
	return p;
}

/* The guest ends it; nothing is left. */
static inline void part(struct peer *p)
{
	tell(p, RST, 0, NULL, 0);
	assert_null(vsock_find(device(), p->host_port, p->guest_port));
	close(p->fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, vsock_setup, vsock_teardown)

#endif
