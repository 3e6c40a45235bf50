/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_net_ctrl.c - the control queue, and several pairs. */
#include "tests/unit/test_net_common.h"

#define ALL                                                                    \
	(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CTRL_VQ) |             \
		BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |  \
		BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE))
#define MQ BIT(VIRTIO_NET_F_MQ)

/* A command of @len bytes of data on queue @q: the answer, 0xee for none. */
static uint8_t ask_on(
	unsigned q, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	struct vd_buf buf[3] = {
		{BUF, 2, false}, {BUF + 64, len, false}, {BUF + 32, 1, true}};
	uint8_t *p = vd_at(&b, BUF);

	p[0] = class;
	p[1] = cmd;
	p[32] = 0xee;
	memcpy(p + 64, data, len);
	vd_add(&b, q, buf, 3);
	kick(q);
	vd_wait(&b, q);
	return p[32];
}

static uint8_t ask(uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	return ask_on(2, class, cmd, data, len);
}

static void receive_modes_are_taken(void **state)
{
	uint8_t on = 1, off = 0, wrong = 2, two[2] = {1, 1};

	start_with(ALL, 3, 16);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 0, &on, 1), VIRTIO_NET_OK);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 1, &off, 1), VIRTIO_NET_OK);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 0, &wrong, 1), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 0, two, 2), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 0, two, 0), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 2, &on, 1), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_VLAN, 0, two, 2), VIRTIO_NET_ERR);
	assert_int_equal(ask(77, 77, two, 2), VIRTIO_NET_ERR);
}

static void filters_must_add_up(void **state)
{
	uint8_t t[4 + 12 + 4 + 6] = {0};

	start_with(ALL, 3, 16);
	t[0] = 2;
	t[16] = 1;
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
				 t, sizeof(t)),
		VIRTIO_NET_OK);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
				 t, sizeof(t) - 1),
		VIRTIO_NET_ERR);
	t[3] = 0xff; /* more entries than an int could multiply */
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
				 t, sizeof(t)),
		VIRTIO_NET_ERR);
	assert_int_equal(
		ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, t, 3),
		VIRTIO_NET_ERR);
}

static void the_mac_can_be_set_until_the_reset(void **state)
{
	uint8_t mac[6] = {2, 1, 2, 3, 4, 5}, group[6] = {1, 1, 1, 1, 1, 1};
	uint8_t got[6], zero[6] = {0};

	start_with(ALL, 3, 16);
	assert_int_equal(
		ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
		VIRTIO_NET_OK);
	virtio_dev_read_config(b.vdev, 0, got, 6);
	assert_memory_equal(got, mac, 6);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET,
				 group, 6),
		VIRTIO_NET_ERR);
	assert_int_equal(
		ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, zero, 6),
		VIRTIO_NET_ERR);
	assert_int_equal(
		ask(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 5),
		VIRTIO_NET_ERR);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	virtio_dev_read_config(b.vdev, 0, got, 6);
	assert_memory_equal(got, our_mac, 6);
}

static void what_was_not_negotiated_is_refused(void **state)
{
	uint8_t data[8] = {1};

	start_with(BIT(VIRTIO_NET_F_CTRL_VQ), 3, 16);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 0, data, 1), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, 0, data, 8), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MAC, 1, data, 6), VIRTIO_NET_ERR);
	assert_int_equal(
		ask(VIRTIO_NET_CTRL_ANNOUNCE, 0, data, 0), VIRTIO_NET_ERR);
	assert_int_equal(ask(VIRTIO_NET_CTRL_MQ, 0, data, 2), VIRTIO_NET_ERR);
}

static void hostile_commands_are_answered_where_they_can(void **state)
{
	struct vd_buf none = {BUF, 2, false}, only = {BUF, 1, true},
		      one[2] = {{BUF, 1, false}, {BUF + 8, 1, true}};

	start_with(ALL, 3, 16);
	vd_add(&b, 2, &none, 1); /* no room for the answer */
	vd_add(&b, 2, &only, 1); /* no command */
	vd_add(&b, 2, one, 2);	 /* half a command */
	kick(2);
	assert_int_equal(vd_wait(&b, 2), 0);
	assert_int_equal(vd_wait(&b, 2), 1);
	assert_int_equal(*(uint8_t *)vd_at(&b, BUF), VIRTIO_NET_ERR);
	assert_int_equal(vd_wait(&b, 2), 1);
	assert_int_equal(*(uint8_t *)vd_at(&b, BUF + 8), VIRTIO_NET_ERR);
}

/* ---- several pairs ---- */

static void set_up_pairs(void)
{
	plug_with(2, HDR, 0, default_options());
	start_with(ALL | MQ, 5, 16);
}

static uint8_t use_pairs(uint16_t pairs)
{
	return ask_on(4, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
		&pairs, 2);
}

static void pairs_come_into_use_when_asked_for(void **state)
{
	set_up_pairs();
	assert_int_equal(fake->queues_used, 1);
	give(2, BUF + 4096, 512);
	kick(2);
	assert_int_equal(use_pairs(2), VIRTIO_NET_OK);
	assert_int_equal(fake->queues_used, 2);
	arrive(1, 60, 3);
	assert_int_equal(vd_wait(&b, 2), HDR + 60);
	offer_frame(3, BUF + 8192, 60, 1, NULL);
	kick(3);
	assert_int_equal(fake->sent_queue, 1);
	assert_int_equal(use_pairs(0), VIRTIO_NET_ERR);
	assert_int_equal(use_pairs(3), VIRTIO_NET_ERR);
	assert_int_equal(use_pairs(0x100), VIRTIO_NET_ERR);
	assert_int_equal(fake->queues_used, 2);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	b.next_gpa = 0x1000;
	start_with(ALL | MQ, 5, 16);
	assert_int_equal(fake->queues_used, 1);
}

static void a_pair_given_up_loses_its_half_delivered_frame(void **state)
{
	set_up_pairs();
	assert_int_equal(use_pairs(2), VIRTIO_NET_OK);
	give(2, BUF + 4096, 512);
	kick(2);
	arrive(1, 1514, 3);
	assert_int_equal(b.vdev->inflight, 1);
	assert_int_equal(use_pairs(1), VIRTIO_NET_OK);
	assert_int_equal(b.vdev->inflight, 0);
	assert_int_equal(use_pairs(2), VIRTIO_NET_OK);
	arrive(1, 60, 3);
	assert_int_equal(vd_wait(&b, 2), HDR + 60);
}

static void without_mq_the_control_queue_is_number_two(void **state)
{
	uint8_t on = 1;

	plug_with(2, HDR, 0, default_options());
	start_with(ALL, 5, 16);
	assert_int_equal(ask(VIRTIO_NET_CTRL_RX, 0, &on, 1), VIRTIO_NET_OK);
	kick(4); /* is nothing now */
	vd_add(&b, 4, &(struct vd_buf){BUF, 2, false}, 1);
	kick(4);
	assert_int_equal(vd_used(&b, 4), 0);
	assert_false(loop_poll(b.loop, false));
}

static void all_pairs_are_served_at_once(void **state)
{
	unsigned i;

	set_up_pairs();
	assert_int_equal(use_pairs(2), VIRTIO_NET_OK);
	for (i = 0; i < 8; i++) {
		give(0, BUF + 0x10000 + 512 * i, 512);
		give(2, BUF + 0x20000 + 512 * i, 512);
		offer_frame(1, BUF + 0x30000 + 512 * i, 60, 1, NULL);
		offer_frame(3, BUF + 0x40000 + 512 * i, 60, 1, NULL);
		arrive(i % 2, 60, 1);
	}
	for (i = 0; i < 4; i++)
		vd_kick(&b, i);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, 0), 4);
	assert_int_equal(vd_used(&b, 2), 4);
	assert_int_equal(vd_used(&b, 1), 8);
	assert_int_equal(vd_used(&b, 3), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(receive_modes_are_taken),
		T(filters_must_add_up),
		T(the_mac_can_be_set_until_the_reset),
		T(what_was_not_negotiated_is_refused),
		T(hostile_commands_are_answered_where_they_can),
		T(pairs_come_into_use_when_asked_for),
		T(a_pair_given_up_loses_its_half_delivered_frame),
		T(without_mq_the_control_queue_is_number_two),
		T(all_pairs_are_served_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
