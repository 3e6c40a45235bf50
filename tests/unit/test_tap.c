/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_tap.c - tap devices, in a network namespace of our own.
 *
 * The other end of the wire is a packet socket on the interface.  Without the
 * right to make namespaces, or /dev/net/tun, all of it is skipped.
 */
#include "virtio/backend/tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "virtio/net.h"
#include "vmm/error.h"

#define RX     0
#define TX     1
#define BUF    0x400000u
#define HDR    NET_HEADER_BYTES
#define TYPE   0x88b5 /* for local experiments */
#define BIT(n) (1ull << (n))

static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};

static struct vbench b;
static const char *why_not; /* no namespace */
/* One a test: a ring lets go of its files a little after it is closed. */
static char ifname[IFNAMSIZ];
static unsigned ifnumber;

/* ---- the host ---- */

static void change_flags(const char *name, short set, short clear)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_flags = 0};

	strcpy(ifr.ifr_name, name);
	assert_int_equal(ioctl(s, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags = (short)((ifr.ifr_flags | set) & ~clear);
	assert_int_equal(ioctl(s, SIOCSIFFLAGS, &ifr), 0);
	close(s);
}

/* A packet socket that sees our kind of frames (or @type) on @name. */
static int wire(const char *name, uint16_t type)
{
	struct sockaddr_ll a = {.sll_family = AF_PACKET,
		.sll_protocol = htons(type),
		.sll_ifindex = (int)if_nametoindex(name)};
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(type));

	assert_true(s >= 0 && a.sll_ifindex > 0);
	assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	return s;
}

static void put_on_wire(int s, uint8_t seed, unsigned len)
{
	uint8_t f[2048];
	unsigned i;

	for (i = 0; i < len; i++)
		f[i] = (uint8_t)(seed + i);
	memcpy(f, mac, 6);
	memcpy(f + 6, "\x02\0\0\0\0\1\x88\xb5", 8);
	assert_int_equal(send(s, f, len, 0), len);
}

static int make_tap(const char *name, int flags)
{
	struct ifreq ifr = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	strcpy(ifr.ifr_name, name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

/* ---- the guest ---- */

static int plug(const struct tap_options *opt, struct error *err)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_net_options net = {.backend = NULL};
	struct virtio_dev *dev;
	int rc;

	memcpy(net.mac, mac, 6);
	rc = tap_open(b.loop, opt, &net.backend, err);
	if (rc < 0)
		return rc;
	assert_int_equal(virtio_net_create(&env, "net0", &net, &dev, err), 0);
	vbench_plug(&b, dev);
	return 0;
}

static void plug_named(unsigned queues)
{
	struct tap_options opt = {
		.name = "net0", .ifname = ifname, .queues = queues};
	struct error err;

	if (plug(&opt, &err) < 0)
		fail_msg("%s", err.text);
	change_flags(ifname, IFF_UP, 0);
}

static void start(uint64_t features, unsigned queues)
{
	b.next_gpa = 0x1000;
	vd_start(&b, BIT(VIRTIO_RING_F_EVENT_IDX) | features, queues, 16);
}

static void send_frame(unsigned q, uint8_t seed, unsigned len)
{
	uint8_t *p = vd_at(&b, BUF + 0x10000);
	struct vd_buf buf = {BUF + 0x10000, HDR + len, false};
	unsigned i;

	memset(p, 0, HDR);
	for (i = 0; i < len; i++)
		p[HDR + i] = (uint8_t)(seed + i);
	memset(p + HDR, 0xff, 6);
	memcpy(p + HDR + 6, mac, 6);
	memcpy(p + HDR + 12, "\x88\xb5", 2);
	vd_add(&b, q, &buf, 1);
	vd_kick(&b, q);
	vd_wait(&b, q);
}

/* Descriptor n leads to slot n. */
static void give(unsigned q)
{
	struct vd_buf buf = {BUF + 2048 * (b.q[q].next_desc % 16), 2048, true};

	vd_add(&b, q, &buf, 1);
	vd_kick(&b, q);
}

/* Frames of our kind only: the kernel has things to say, too. */
static const uint8_t *wait_frame(unsigned q, uint32_t *ret_len)
{
	const uint8_t *f;
	uint16_t head;
	uint32_t len;

	for (;;) {
		while (!vd_take(&b, q, &head, &len))
			loop_poll(b.loop, true);
		f = (const uint8_t *)vd_at(&b, BUF + 2048 * head) + HDR;
		*ret_len = len - HDR;
		if (f[12] == 0x88 && f[13] == 0xb5)
			return f;
		give(q);
	}
}

/* ---- tests ---- */

static void next_name(void)
{
	snprintf(ifname, sizeof(ifname), "gwtap%u", ifnumber++);
}

static int setup(void **state)
{
	vbench_init(&b);
	next_name();
	return 0;
}

static int teardown(void **state)
{
	vbench_fini(&b);
	return 0;
}

static void need_namespace(void)
{
	if (!why_not)
		return;
	print_message("# skipped: %s\n", why_not);
	skip();
}

static void frames_pass_both_ways(void **state)
{
	uint8_t got[2048];
	const uint8_t *f;
	uint32_t len;
	unsigned i;
	int s;

	need_namespace();
	plug_named(1);
	s = wire(ifname, TYPE);
	start(BIT(VIRTIO_NET_F_MRG_RXBUF), 2);
	for (i = 0; i < 16; i++)
		give(RX);
	send_frame(TX, 7, 1514);
	assert_int_equal(recv(s, got, sizeof(got), 0), 1514);
	assert_memory_equal(
		got + 14, (uint8_t *)vd_at(&b, BUF + 0x10000) + HDR + 14, 1500);
	for (i = 0; i < 8; i++)
		put_on_wire(s, (uint8_t)(i + 1), 100 + i);
	for (i = 0; i < 8; i++) {
		f = wait_frame(RX, &len);
		assert_int_equal(len, 100 + i);
		assert_int_equal(f[99], (uint8_t)(i + 1 + 99));
	}
	close(s);
}

static void frames_wait_in_the_kernel_while_there_is_no_room(void **state)
{
	const uint8_t *f;
	uint32_t len;
	unsigned i;
	int s;

	need_namespace();
	plug_named(1);
	s = wire(ifname, TYPE);
	start(BIT(VIRTIO_NET_F_MRG_RXBUF), 2);
	for (i = 0; i < 20; i++)
		put_on_wire(s, (uint8_t)i, 60);
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false)); /* nobody spins */
	for (i = 0; i < 20; i++) {
		give(RX);
		f = wait_frame(RX, &len);
		assert_int_equal(f[20], (uint8_t)(i + 20));
	}
	close(s);
}

static void segments_and_checksums_are_left_to_the_kernel(void **state)
{
	struct virtio_net_hdr_v1 *h = vd_at(&b, BUF + 0x10000);
	struct vd_buf buf = {BUF + 0x10000, HDR + 14 + 20 + 20 + 4000, false};
	uint8_t got[65536], *p = (uint8_t *)h + HDR;
	unsigned bytes = 0, frames = 0;
	struct pollfd pfd;
	ssize_t n;
	int s;

	need_namespace();
	plug_named(1);
	assert_true(vd_features(&b) >> VIRTIO_NET_F_HOST_TSO4 & 1);
	s = wire(ifname, ETH_P_IP);
	start(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4), 2);
	*h = (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1000,
		.csum_start = 34,
		.csum_offset = 16,
	};
	memset(p, 0, 4054);
	memset(p, 0xff, 6);
	memcpy(p + 6, mac, 6);
	memcpy(p + 12, "\x08\0\x45\0\x0f\xc8", 6); /* IPv4, 4040 bytes */
	memcpy(p + 22, "\x40\x06", 2);		   /* TCP */
	memcpy(p + 26, "\x0a\0\0\1\x0a\0\0\2", 8);
	p[46] = 0x50;
	vd_add(&b, TX, &buf, 1);
	vd_kick(&b, TX);
	vd_wait(&b, TX);
	/* As one large frame or as its segments: all bytes get through. */
	pfd = (struct pollfd){.fd = s, .events = POLLIN};
	while (bytes < 4000) {
		assert_int_equal(poll(&pfd, 1, -1), 1);
		n = recv(s, got, sizeof(got), 0);
		assert_true(n > 54);
		bytes += (unsigned)n - 54;
		frames++;
	}
	assert_int_equal(bytes, 4000);
	assert_true(frames >= 1);
	close(s);
}

static void several_queues_work(void **state)
{
	uint8_t got[2048], *p = vd_at(&b, BUF + 0x20000);
	struct vd_buf cmd[2] = {
		{BUF + 0x20000, 4, false}, {BUF + 0x20010, 1, true}};
	uint32_t len;
	unsigned i;
	int s;

	need_namespace();
	plug_named(2);
	s = wire(ifname, TYPE);
	start(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) |
			BIT(VIRTIO_NET_F_MQ),
		5);
	for (i = 0; i < 8; i++)
		give(RX);
	put_on_wire(s, 1, 60); /* one queue in use: it comes there */
	wait_frame(RX, &len);
	memcpy(p, "\4\0\2\0", 4);
	vd_add(&b, 4, cmd, 2);
	vd_kick(&b, 4);
	vd_wait(&b, 4);
	assert_int_equal(p[16], VIRTIO_NET_OK);
	send_frame(TX, 1, 60);
	send_frame(3, 2, 60);
	assert_int_equal(recv(s, got, sizeof(got), 0), 60);
	assert_int_equal(recv(s, got, sizeof(got), 0), 60);
	assert_int_equal(got[20], 22);
	p[2] = 1;
	vd_add(&b, 4, cmd, 2);
	vd_kick(&b, 4);
	vd_wait(&b, 4);
	put_on_wire(s, 1, 61);
	wait_frame(RX, &len);
	close(s);
}

static void an_inherited_tap_works_with_and_without_a_header(void **state)
{
	static const int flags[2] = {0, IFF_VNET_HDR};
	struct tap_options opt = {.name = "net0", .queues = 1};
	uint8_t got[2048];
	struct error err;
	uint32_t len;
	unsigned i;
	int s, fd;

	need_namespace();
	for (i = 0; i < 2; i++) {
		fd = make_tap(ifname, IFF_TAP | IFF_NO_PI | flags[i]);
		opt.fd = &fd;
		assert_int_equal(plug(&opt, &err), 0);
		change_flags(ifname, IFF_UP, 0);
		assert_int_equal(vd_features(&b) >> VIRTIO_NET_F_CSUM & 1, i);
		s = wire(ifname, TYPE);
		start(0, 2);
		give(RX);
		send_frame(TX, 1, 99);
		assert_int_equal(recv(s, got, sizeof(got), 0), 99);
		put_on_wire(s, 1, 98);
		wait_frame(RX, &len);
		assert_int_equal(len, 98);
		close(s);
		vbench_unplug(&b);
		next_name();
	}
}

static void a_deleted_interface_is_a_link_down(void **state)
{
	uint16_t status = VIRTIO_NET_S_LINK_UP;
	char command[64];

	need_namespace();
	plug_named(1);
	start(BIT(VIRTIO_NET_F_STATUS), 2);
	snprintf(command, sizeof(command), "ip link del %s", ifname);
	if (system(command) != 0) {
		print_message("# skipped: no ip(8)\n");
		skip();
	}
	while (status & VIRTIO_NET_S_LINK_UP) {
		loop_poll(b.loop, true);
		virtio_dev_read_config(b.vdev, 6, &status, 2);
	}
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
}

static void the_back_end_announces_by_rarp(void **state)
{
	struct state_writer w;
	uint8_t got[128];
	struct error err;
	int s;

	need_namespace();
	plug_named(1);
	s = wire(ifname, ETH_P_RARP);
	start(0, 2);
	vbench_save(&b, &w);
	assert_int_equal(vbench_load(&b, &w, &err), 0);
	state_writer_fini(&w);
	b.dev->ops->resume(b.dev);
	assert_int_equal(recv(s, got, sizeof(got), 0), 60);
	assert_memory_equal(got, "\xff\xff\xff\xff\xff\xff", 6);
	assert_memory_equal(got + 6, mac, 6);
	assert_memory_equal(got + 22, mac, 6);
	assert_int_equal(got[21], 3); /* reverse request */
	close(s);
}

static void what_is_wrong_is_said_with_its_remedy(void **state)
{
	struct tap_options opt = {
		.name = "net0", .ifname = ifname, .queues = 1};
	struct error err;
	int fd, null;

	need_namespace();
	fd = make_tap(ifname, IFF_TAP | IFF_NO_PI);
	assert_int_equal(plug(&opt, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another program has it"));
	opt.ifname = "lo";
	assert_int_equal(plug(&opt, &err), -EINVAL);
	assert_non_null(strstr(err.text, "ip tuntap add"));
	opt.ifname = "a-name-that-is-too-long";
	assert_int_equal(plug(&opt, &err), -EINVAL);
	opt.ifname = NULL;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	opt.fd = &null;
	assert_int_equal(plug(&opt, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no tap device"));
	assert_int_equal(fcntl(null, F_GETFD), -1); /* taken all the same */
	close(fd);
}

static void enter_namespace(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0) {
		why_not = "no right to make a network namespace";
		return;
	}
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		why_not = "/dev/net/tun cannot be opened";
	else
		close(fd);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(frames_pass_both_ways),
		T(frames_wait_in_the_kernel_while_there_is_no_room),
		T(segments_and_checksums_are_left_to_the_kernel),
		T(several_queues_work),
		T(an_inherited_tap_works_with_and_without_a_header),
		T(a_deleted_interface_is_a_link_down),
		T(the_back_end_announces_by_rarp),
		T(what_is_wrong_is_said_with_its_remedy),
	};

	enter_namespace();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
