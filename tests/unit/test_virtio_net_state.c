/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_net_state.c - a network device that moves (Q3, P14).
 */
#include "tests/unit/device_test.h"

#include "tests/unit/test_net_common.h"

#define ANNOUNCE                                                               \
	(BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_CTRL_VQ) |                \
		BIT(VIRTIO_NET_F_GUEST_ANNOUNCE))
#define FEATURES                                                               \
	(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |       \
		BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_MTU) | ANNOUNCE)

/* Offsets in the body: the transport's 16 bytes, the core's 23, and 33 for each
 * of 5 queues. */
enum {
	AT_FEATURES = 20,
	AT_MAC = 16 + 23 + 5 * 33,
	AT_STATUS = AT_MAC + 6,
	AT_PAIRS = AT_STATUS + 2,
	AT_MTU = AT_PAIRS + 2,
};

static const uint8_t new_mac[6] = {6, 5, 4, 3, 2, 1};

static void plug_two(void)
{
	struct virtio_net_options opt = default_options();

	opt.mtu = 1400;
	plug_with(2, HDR, OFFLOADS, opt);
}

static void tell(uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	struct vd_buf buf[2] = {{BUF, 2 + len, false}, {BUF + 32, 1, true}};
	uint8_t *p = vd_at(&b, BUF);

	p[0] = class;
	p[1] = cmd;
	memcpy(p + 2, data, len);
	vd_add(&b, 4, buf, 2);
	kick(4);
	vd_wait(&b, 4);
	assert_int_equal(p[32], VIRTIO_NET_OK);
}

/* A driver in the middle of its life. */
static void use(void)
{
	uint16_t pairs = 2;
	unsigned i;

	b.next_gpa = 0x1000;
	start_with(FEATURES, 5, 16);
	tell(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, new_mac, 6);
	tell(VIRTIO_NET_CTRL_MQ, 0, &pairs, 2);
	for (i = 0; i < 5; i++) {
		give(RX, BUF + 4096 + 512 * i, 512);
		offer_frame(TX, BUF + 8192 + 512 * i, 60, 1, NULL);
	}
	kick(RX);
	kick(TX);
	for (i = 0; i < 3; i++)
		arrive(0, 60, (uint8_t)i);
	vd_wait(&b, TX);
	vd_wait(&b, RX);
}

/* Save, plug fresh hardware, load; not resumed. */
static struct bytes move(void (*replug)(void))
{
	struct bytes first;

	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	replug();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_saves_as(b.dev, &first);
	return first;
}

static void resume(void)
{
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
}

static void everything_survives_a_move(void **state)
{
	struct bytes first;
	uint8_t mac[6];

	plug_two();
	use();
	first = move(plug_two);
	virtio_dev_read_config(b.vdev, 0, mac, 6);
	assert_memory_equal(mac, new_mac, 6);
	assert_int_equal(fake->queues_used, 2);
	assert_int_equal(fake->forgot, 1);
	assert_true(fake->started);
	resume();
	vd_wait(&b, RX);
	vd_wait(&b, RX);
	arrive(0, 100, 9);
	assert_int_equal(vd_wait(&b, RX), HDR + 100);
	offer_frame(TX, BUF, 60, 4, NULL);
	kick(TX);
	assert_int_equal(fake->sent_count, 1);
	free(first.p);
}

static void the_golden_stream_is_still_written_and_read(void **state)
{
	struct bytes now, file;

	plug_two();
	use();
	b.dev->ops->quiesce(b.dev);
	now = saved(b.dev);
	file = golden("virtio-net-v1", &now);
	assert_same_bytes(&now, &file);
	plug_two();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &file), 0);
	assert_saves_as(b.dev, &file);
	resume();
	arrive(0, 100, 9);
	free(now.p);
	free(file.p);
}

static void a_frame_half_delivered_is_not_moved_but_its_buffers_are(
	void **state)
{
	struct bytes first;
	unsigned i;

	plug_two();
	use();
	for (i = 0; i < 2; i++)
		arrive(0, 60, 1);
	arrive(0, 1514, 2);
	give(RX, BUF + 0x10000, 1024);
	kick(RX);
	assert_int_equal(b.vdev->inflight, 1);
	first = move(plug_two);
	resume();
	while (vd_used(&b, RX) > 0)
		vd_wait(&b, RX);
	arrive(0, 700, 3);
	assert_int_equal(vd_wait(&b, RX), HDR + 700);
	assert_memory_equal(
		vd_at(&b, BUF + 0x10000 + HDR), frame_of(700, 3) + HDR, 700);
	free(first.p);
}

/* ---- announcements ---- */

static void a_driver_that_can_is_asked_to_announce_itself(void **state)
{
	struct bytes first;

	plug_two();
	use();
	first = move(plug_two);
	vd_irqs(&b);
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	resume();
	assert_int_equal(
		link_status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_true(
		vd_read(&b, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_ISR_CONFIG);
	assert_int_equal(fake->announced, 0);
	free(first.p);
	/* It has not answered when it moves on. */
	first = move(plug_two);
	assert_int_equal(
		link_status(), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	resume();
	tell(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, "", 0);
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	/* Once a move. */
	b.dev->ops->quiesce(b.dev);
	resume();
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	free(first.p);
}

static void for_other_drivers_the_back_end_announces(void **state)
{
	struct bytes first;

	start_with(BIT(VIRTIO_NET_F_MRG_RXBUF), 2, 16);
	first = move(plug);
	assert_int_equal(fake->announced, 0); /* not before it runs */
	resume();
	assert_true(fake->announced >= 1);
	assert_memory_equal(fake->mac, our_mac, 6);
	while (fake->announced < 3)
		loop_poll(b.loop, true);
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	free(first.p);
}

static void nobody_announces_without_a_driver_or_a_move(void **state)
{
	struct bytes first;

	first = move(plug);
	resume();
	assert_int_equal(fake->announced, 0);
	start_with(0, 2, 16);
	b.dev->ops->quiesce(b.dev);
	resume();
	assert_int_equal(fake->announced, 0);
	free(first.p);
}

static void the_back_end_settles_when_the_guest_runs(void **state)
{
	assert_false(fake->here);
	resume();
	assert_true(fake->here);
	virtio_net_settle(b.vdev, false);
	assert_false(fake->here);
	resume(); /* the move failed: it stays after all */
	assert_true(fake->here);
}

static void another_link_here_is_told_after_the_move(void **state)
{
	struct virtio_net_options opt = default_options();
	struct bytes first;

	start_with(BIT(VIRTIO_NET_F_STATUS), 2, 16);
	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	opt.link_down = true;
	plug_with(1, HDR, OFFLOADS, opt);
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	vd_irqs(&b);
	resume();
	assert_int_equal(link_status(), 0);
	assert_true(vd_irqs(&b) >= 1);
	free(first.p);
}

/* ---- hostile streams ---- */

static void wrong_lengths_are_refused_and_change_nothing(void **state)
{
	struct bytes good;

	plug_two();
	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	plug_two();
	assert_refuses_wrong_lengths(b.dev, &good);
	assert_int_equal(load_bytes(b.dev, &good), 0);
	assert_refuses_wrong_lengths(b.dev, &good);
	free(good.p);
}

static void impossible_values_are_refused(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} bad[] = {{AT_MAC, 1}, {AT_STATUS, 4}, {AT_STATUS + 1, 1},
		{AT_PAIRS, 0}, {AT_PAIRS, 3}, {AT_PAIRS + 1, 1}, {AT_MTU, 0},
		{AT_FEATURES + 2, 0xff}};
	struct bytes good;
	unsigned i;

	plug_two();
	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			load_with_byte(b.dev, &good, bad[i].at, bad[i].value),
			-EPROTO);
		assert_saves_as(b.dev, &good);
	}
	assert_int_equal(load_patched(b.dev, &good, AT_MAC, (uint8_t[6]){0}, 6),
		-EPROTO);
	free(good.p);
}

static void what_needs_a_feature_is_off_without_it(void **state)
{
	struct bytes good;
	uint64_t features = BIT(VIRTIO_F_VERSION_1);

	plug_two();
	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	assert_int_equal(
		load_patched(b.dev, &good, AT_FEATURES, &features, 8), 0);
	assert_int_equal(fake->queues_used, 1);
	resume();
	free(good.p);
}

static void offloads_stay_where_they_are_possible(void **state)
{
	struct bytes first;

	start_with(BIT(VIRTIO_NET_F_GUEST_CSUM), 2, 16);
	first = move(plug);
	assert_int_equal(fake->offloads, NET_OFFLOAD_CSUM);
	plug_with(1, 0, 0, default_options());
	assert_int_equal(load_bytes(b.dev, &first), -EPROTO);
	free(first.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(everything_survives_a_move),
		T(the_golden_stream_is_still_written_and_read),
		T(a_frame_half_delivered_is_not_moved_but_its_buffers_are),
		T(a_driver_that_can_is_asked_to_announce_itself),
		T(for_other_drivers_the_back_end_announces),
		T(nobody_announces_without_a_driver_or_a_move),
		T(the_back_end_settles_when_the_guest_runs),
		T(another_link_here_is_told_after_the_move),
		T(wrong_lengths_are_refused_and_change_nothing),
		T(impossible_values_are_refused),
		T(what_needs_a_feature_is_off_without_it),
		T(offloads_stay_where_they_are_possible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
