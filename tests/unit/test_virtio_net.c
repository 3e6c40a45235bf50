/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_net.c - frames both ways, friendly and hostile. */
#include "tests/unit/test_net_common.h"

#define MRG BIT(VIRTIO_NET_F_MRG_RXBUF)

static struct virtio_net_stats stats(void)
{
	struct virtio_net_stats s;

	virtio_net_stats(b.vdev, &s);
	return s;
}

/* ---- from the guest ---- */

static void frames_from_the_guest_go_out_as_they_are(void **state)
{
	start_with(0, 2, 16);
	offer_frame(TX, BUF, 1514, 3, NULL);
	kick(TX);
	assert_int_equal(vd_wait(&b, TX), 0);
	assert_int_equal(fake->sent_len, HDR + 1514);
	assert_memory_equal(fake->sent, frame_of(1514, 3), HDR + 1514);
	assert_int_equal(stats().tx.frames, 1);
	assert_int_equal(stats().tx.bytes, 1514);
}

static void a_header_may_be_cut_as_the_driver_likes(void **state)
{
	struct vd_buf cut[4] = {{BUF, 5, false}, {BUF + 5, 7, false},
		{BUF + 12, 3, false}, {BUF + 15, 61, false}};

	start_with(0, 2, 16);
	memcpy(vd_at(&b, BUF), frame_of(64, 9), HDR + 64);
	vd_add(&b, TX, cut, 4);
	kick(TX);
	vd_wait(&b, TX);
	assert_int_equal(fake->sent_len, HDR + 64);
	assert_memory_equal(fake->sent, frame_of(64, 9), HDR + 64);
}

static void without_a_header_only_the_frame_goes_out(void **state)
{
	plug_with(1, 0, 0, default_options());
	start_with(0, 2, 16);
	offer_frame(TX, BUF, 60, 3, NULL);
	kick(TX);
	vd_wait(&b, TX);
	assert_int_equal(fake->sent_len, 60);
	assert_memory_equal(fake->sent, frame_of(60, 3) + HDR, 60);
}

static void frames_of_impossible_length_are_dropped(void **state)
{
	struct vd_buf none = {BUF, 16, true},
		      half[2] = {
			      {BUF, 40000, false}, {BUF + 40000, 40000, false}};

	start_with(0, 2, 16);
	offer_frame(TX, BUF, NET_FRAME_MIN - 1, 1, NULL);
	offer_frame(TX, BUF, 0, 1, NULL);
	vd_add(&b, TX, &none, 1); /* nothing to read */
	vd_add(&b, TX, half, 2);
	kick(TX);
	assert_int_equal(vd_used(&b, TX), 4);
	assert_int_equal(fake->sent_count, 0);
	assert_int_equal(stats().tx.dropped, 4);
	offer_frame(TX, BUF, NET_FRAME_MIN, 1, NULL);
	offer_frame(TX, BUF + 4096, NET_FRAME_MAX, 2, NULL);
	kick(TX);
	assert_int_equal(fake->sent_count, 2);
	assert_int_equal(fake->sent_len, HDR + NET_FRAME_MAX);
}

static void offloads_not_negotiated_are_refused(void **state)
{
	struct virtio_net_hdr_v1 csum = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34};
	struct virtio_net_hdr_v1 tso = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 1448,
	};
	struct virtio_net_hdr_v1 ecn = tso, bare = tso, six = tso;

	ecn.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	six.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	bare.flags = 0;
	start_with(0, 2, 16);
	offer_frame(TX, BUF, 100, 1, &csum);
	offer_frame(TX, BUF + 4096, 100, 1, &tso);
	kick(TX);
	assert_int_equal(fake->sent_count, 0);
	start_with(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4), 2, 16);
	offer_frame(TX, BUF, 100, 1, &csum);
	offer_frame(TX, BUF + 4096, 100, 1, &tso);
	kick(TX);
	assert_int_equal(fake->sent_count, 2);
	assert_memory_equal(fake->sent, &tso, sizeof(tso));
	offer_frame(TX, BUF, 100, 1, &ecn);
	offer_frame(TX, BUF + 4096, 100, 1, &six);
	offer_frame(TX, BUF + 8192, 100, 1, &bare);
	kick(TX);
	assert_int_equal(vd_used(&b, TX), 5);
	assert_int_equal(fake->sent_count, 2);
}

static void a_busy_back_end_stops_the_queue_and_loses_nothing(void **state)
{
	unsigned i;

	start_with(0, 2, 16);
	fake->again = true;
	for (i = 0; i < 3; i++)
		offer_frame(TX, BUF + 4096 * i, 60, (uint8_t)i, NULL);
	kick(TX);
	assert_int_equal(vd_used(&b, TX), 0);
	assert_int_equal(b.vdev->inflight, 0);
	assert_false(loop_poll(b.loop, false));
	fake_net_writable(fake, 0);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, TX), 3);
	assert_int_equal(fake->sent_count, 3);
	assert_memory_equal(fake->sent + HDR, frame_of(60, 2) + HDR, 60);
}

static void a_frame_the_host_refuses_costs_itself_only(void **state)
{
	start_with(0, 2, 16);
	fake->refuse = -EINVAL;
	offer_frame(TX, BUF, 60, 1, NULL);
	kick(TX);
	assert_int_equal(vd_used(&b, TX), 1);
	assert_int_equal(stats().tx.dropped, 1);
	fake->refuse = 0;
	offer_frame(TX, BUF, 60, 2, NULL);
	kick(TX);
	assert_int_equal(fake->sent_count, 1);
}

/* ---- to the guest ---- */

static void expect_frame(
	uint64_t gpa, uint32_t len, uint8_t seed, uint16_t buffers)
{
	const struct virtio_net_hdr_v1 *h = vd_at(&b, gpa);
	const uint8_t *want = frame_of(len, seed);

	assert_int_equal(le16toh(h->num_buffers), buffers);
	assert_memory_equal(vd_at(&b, gpa), want, 10);
	assert_memory_equal((uint8_t *)vd_at(&b, gpa) + HDR, want + HDR, len);
}

static void frames_to_the_guest_fill_its_buffers(void **state)
{
	start_with(MRG, 2, 16);
	give(RX, BUF, 2048);
	give(RX, BUF + 4096, 2048);
	kick(RX);
	arrive(0, 1514, 5);
	arrive(0, 60, 6);
	assert_int_equal(vd_wait(&b, RX), HDR + 1514);
	assert_int_equal(vd_wait(&b, RX), HDR + 60);
	expect_frame(BUF, 1514, 5, 1);
	expect_frame(BUF + 4096, 60, 6, 1);
	assert_int_equal(stats().rx.frames, 2);
	assert_int_equal(stats().rx.bytes, 1574);
	assert_true(vd_irqs(&b) >= 1);
}

static void without_a_header_the_guest_still_gets_one(void **state)
{
	plug_with(1, 0, 0, default_options());
	start_with(0, 2, 16);
	memset(vd_at(&b, BUF), 0xee, 2048);
	give(RX, BUF, 2048);
	kick(RX);
	arrive(0, 60, 5);
	assert_int_equal(vd_wait(&b, RX), HDR + 60);
	expect_frame(BUF, 60, 5, 1);
}

static void flags_are_for_a_guest_that_took_checksums(void **state)
{
	static const uint64_t csum[2] = {0, BIT(VIRTIO_NET_F_GUEST_CSUM)};
	const struct virtio_net_hdr_v1 *h;
	uint8_t frame[HDR + 60];
	unsigned i;

	plug_with(1, HDR, OFFLOADS, default_options());
	for (i = 0; i < 2; i++) {
		memcpy(frame, frame_of(60, 5), sizeof(frame));
		frame[0] = VIRTIO_NET_HDR_F_DATA_VALID;
		start_with(csum[i], 2, 16);
		give(RX, BUF, 2048);
		kick(RX);
		fake_net_push(fake, 0, frame, sizeof(frame));
		vd_settle(&b);
		assert_int_equal(vd_wait(&b, RX), HDR + 60);
		h = vd_at(&b, BUF);
		assert_int_equal(h->flags, i ? frame[0] : 0);
	}
}

static void a_large_frame_takes_several_buffers_at_once(void **state)
{
	uint16_t head;
	uint32_t len, at;
	unsigned i;

	start_with(MRG, 2, 64);
	for (i = 0; i < 44; i++)
		give(RX, BUF + 1536 * i, 1536);
	kick(RX);
	arrive(0, NET_FRAME_MAX, 7);
	assert_int_equal(vd_used(&b, RX), (NET_FRAME_MAX + HDR + 1535) / 1536);
	assert_int_equal(le16toh(((struct virtio_net_hdr_v1 *)vd_at(&b, BUF))
					 ->num_buffers),
		vd_used(&b, RX));
	for (i = 0, at = 0; vd_take(&b, RX, &head, &len); i++) {
		assert_int_equal(head, i);
		assert_int_equal(len, NET_FRAME_MAX + HDR - at < 1536
					      ? NET_FRAME_MAX + HDR - at
					      : 1536);
		at += len;
	}
	assert_int_equal(at, NET_FRAME_MAX + HDR);
	assert_memory_equal((uint8_t *)vd_at(&b, BUF) + HDR,
		frame_of(NET_FRAME_MAX, 7) + HDR, NET_FRAME_MAX);
}

static void a_large_frame_waits_for_the_buffers_it_lacks(void **state)
{
	start_with(MRG, 2, 16);
	give(RX, BUF, 512);
	give(RX, BUF + 512, 512);
	kick(RX);
	arrive(0, 1514, 7);
	assert_int_equal(vd_used(&b, RX), 0); /* not a part of it */
	assert_false(loop_poll(b.loop, false));
	give(RX, BUF + 1024, 512);
	kick(RX);
	assert_int_equal(vd_used(&b, RX), 3);
	expect_frame(BUF, 1514, 7, 3);
}

static void without_mergeable_buffers_a_large_frame_is_dropped(void **state)
{
	start_with(0, 2, 16);
	give(RX, BUF, 1000);
	kick(RX);
	arrive(0, 1514, 1);
	assert_int_equal(vd_used(&b, RX), 0);
	assert_int_equal(stats().rx.dropped, 1);
	arrive(0, 100, 2);
	assert_int_equal(vd_wait(&b, RX), HDR + 100);
	expect_frame(BUF, 100, 2, 1);
}

static void frames_wait_in_the_host_until_there_is_room(void **state)
{
	unsigned recvs, i;

	start_with(MRG, 2, 16);
	for (i = 0; i < 100; i++)
		arrive(0, 100, (uint8_t)i);
	assert_int_equal(fake_net_waiting(fake, 0), 100);
	recvs = fake->recvs;
	assert_false(loop_poll(b.loop, false)); /* and nobody spins */
	assert_int_equal(fake->recvs, recvs);
	for (i = 0; i < 100; i++) {
		give(RX, BUF, 512);
		kick(RX);
		assert_int_equal(vd_wait(&b, RX), HDR + 100);
		expect_frame(BUF, 100, (uint8_t)i, 1);
	}
	give(RX, BUF, 512);
	kick(RX);
	assert_int_equal(vd_used(&b, RX), 0);
	arrive(0, 64, 9);
	assert_int_equal(vd_wait(&b, RX), HDR + 64);
}

static void a_flood_yields_after_a_batch(void **state)
{
	unsigned i, now;

	start_with(MRG, 2, 256);
	for (i = 0; i < 256; i++)
		give(RX, BUF + 256 * i, 256);
	fake->started = false; /* say so when all of them are there */
	for (i = 0; i < 256; i++)
		fake_net_push(fake, 0, frame_of(60, 1), HDR + 60);
	fake->started = true;
	fake->be.front.readable(fake->be.front.opaque, 0);
	now = vd_used(&b, RX);
	assert_int_equal(now, VIRTIO_BATCH);
	while (loop_poll(b.loop, false)) {
		assert_true(vd_used(&b, RX) - now <= VIRTIO_BATCH);
		now = vd_used(&b, RX);
	}
	assert_int_equal(now, 256);
}

static void frames_of_the_host_of_impossible_length_are_dropped(void **state)
{
	unsigned i;

	start_with(MRG, 2, 64);
	for (i = 0; i < 64; i++)
		give(RX, BUF + 2048 * i, 2048);
	kick(RX);
	arrive(0, NET_FRAME_MIN - 1, 1);
	arrive(0, NET_FRAME_MAX + 1, 1);
	assert_int_equal(vd_used(&b, RX), 0);
	assert_int_equal(stats().rx.dropped, 2);
	arrive(0, NET_FRAME_MIN, 2);
	assert_int_equal(vd_wait(&b, RX), HDR + NET_FRAME_MIN);
	expect_frame(BUF, NET_FRAME_MIN, 2, 1);
}

static void hostile_receive_buffers_are_answered(void **state)
{
	struct vd_buf readable = {BUF, 512, false};
	unsigned i;

	start_with(MRG, 2, 16);
	vd_add(&b, RX, &readable, 1); /* nothing to write to */
	give(RX, BUF, HDR - 1);	      /* no room for the header */
	kick(RX);
	arrive(0, 60, 1);
	assert_int_equal(vd_wait(&b, RX), 0);
	assert_int_equal(vd_wait(&b, RX), 0);
	give(RX, BUF, HDR); /* the header and nothing else */
	for (i = 0; i < 15; i++)
		give(RX, BUF + 64 * i + 64, 2);
	kick(RX);
	/* All of the ring is not enough: the frame is dropped, the ring is
	 * there for the next one. */
	assert_int_equal(vd_used(&b, RX), 0);
	assert_int_equal(b.vdev->inflight, 0);
	assert_int_equal(stats().rx.dropped, 1);
	arrive(0, 14, 3);
	assert_int_equal(vd_wait(&b, RX), HDR);
	for (i = 1; i < 8; i++)
		assert_int_equal(vd_wait(&b, RX), 2);
	assert_int_equal(vd_wait(&b, RX), 0); /* no header fits the rest */
	assert_false(
		vd_read(&b, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void a_header_cut_in_two_gets_its_count(void **state)
{
	struct vd_buf cut[3] = {
		{BUF, 11, true}, {BUF + 100, 1, true}, {BUF + 200, 500, true}};

	start_with(MRG, 2, 16);
	memset(vd_at(&b, BUF), 0xee, 1024);
	vd_add(&b, RX, cut, 3);
	give(RX, BUF + 1024, 1024);
	kick(RX);
	arrive(0, 600, 1);
	assert_int_equal(vd_used(&b, RX), 2);
	assert_int_equal(((uint8_t *)vd_at(&b, BUF))[10], 2);
	assert_int_equal(((uint8_t *)vd_at(&b, BUF))[100], 0);
	assert_memory_equal(vd_at(&b, BUF + 200), frame_of(600, 1) + HDR, 500);
	assert_memory_equal(
		vd_at(&b, BUF + 1024), frame_of(600, 1) + HDR + 500, 100);
}

/* ---- reset, pause, link ---- */

static void a_reset_in_the_middle_of_a_frame_ends_it(void **state)
{
	start_with(MRG, 2, 16);
	give(RX, BUF, 512);
	kick(RX);
	arrive(0, 1514, 7);
	assert_int_equal(b.vdev->inflight, 1);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(b.vdev->inflight, 0);
	assert_false(fake->started);
	b.next_gpa = 0x1000;
	start_with(MRG, 2, 16);
	give(RX, BUF, 512);
	kick(RX);
	arrive(0, 60, 8);
	assert_int_equal(vd_wait(&b, RX), HDR + 60);
	expect_frame(BUF, 60, 8, 1);
}

static void a_pause_in_the_middle_of_a_frame_gives_it_up(void **state)
{
	start_with(MRG, 2, 16);
	give(RX, BUF, 512);
	kick(RX);
	arrive(0, 1514, 7);
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(b.vdev->inflight, 0);
	assert_int_equal(stats().rx.dropped, 1);
	arrive(0, 60, 8);
	offer_frame(TX, BUF + 4096, 60, 1, NULL);
	kick(TX);
	assert_int_equal(vd_used(&b, RX) + vd_used(&b, TX), 0);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(vd_wait(&b, RX), HDR + 60);
	assert_int_equal(vd_wait(&b, TX), 0);
	expect_frame(BUF, 60, 8, 1);
}

static void a_pulled_cable_is_told_and_drops_frames(void **state)
{
	start_with(MRG | BIT(VIRTIO_NET_F_STATUS), 2, 16);
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	give(RX, BUF, 512);
	kick(RX);
	vd_irqs(&b);
	virtio_net_set_link(b.vdev, false);
	assert_int_equal(vd_irqs(&b), 1);
	assert_int_equal(link_status(), 0);
	arrive(0, 60, 1);
	offer_frame(TX, BUF + 4096, 60, 1, NULL);
	kick(TX);
	assert_int_equal(vd_used(&b, TX), 1);
	assert_int_equal(vd_used(&b, RX), 0);
	assert_int_equal(fake->sent_count, 0);
	assert_int_equal(fake_net_waiting(fake, 0), 0);
	virtio_net_set_link(b.vdev, true);
	assert_int_equal(link_status(), VIRTIO_NET_S_LINK_UP);
	arrive(0, 60, 2);
	assert_int_equal(vd_wait(&b, RX), HDR + 60);
	expect_frame(BUF, 60, 2, 1);
}

static void a_back_end_that_goes_away_is_a_link_down(void **state)
{
	start_with(MRG | BIT(VIRTIO_NET_F_STATUS), 2, 16);
	give(RX, BUF, 512);
	kick(RX);
	vd_irqs(&b);
	fake->broken = -EIO;
	arrive(0, 60, 1);
	assert_int_equal(link_status(), 0);
	assert_true(vd_irqs(&b) >= 1);
	assert_false(fake->started);
	offer_frame(TX, BUF + 4096, 60, 1, NULL);
	kick(TX);
	assert_int_equal(vd_used(&b, TX), 1);
	assert_int_equal(fake->sent_count, 0);
	virtio_net_set_link(b.vdev, true);
	assert_int_equal(link_status(), 0);
}

/* ---- throttling ---- */

static void throttled_frames_wait_and_then_come(void **state)
{
	struct virtio_net_options opt = default_options();
	int64_t before;
	unsigned i;

	opt.rx.frames = (struct bucket_limit){.rate = 200, .burst = 1};
	opt.tx.bytes = (struct bucket_limit){.rate = 20000, .burst = 1};
	plug_with(1, HDR, 0, opt);
	start_with(MRG, 2, 16);
	before = loop_now_ns(b.loop, LOOP_VIRTUAL);
	for (i = 0; i < 4; i++) {
		give(RX, BUF + 512 * i, 512);
		offer_frame(TX, BUF + 8192 + 512 * i, 100, 1, NULL);
		fake_net_push(fake, 0, frame_of(60, 1), HDR + 60);
	}
	kick(RX);
	kick(TX);
	assert_true(vd_used(&b, RX) < 4);
	assert_true(vd_used(&b, TX) < 4);
	for (i = 0; i < 4; i++) {
		vd_wait(&b, RX);
		vd_wait(&b, TX);
	}
	/* Two of four are waited for at 5 ms each; noise only adds to it. */
	assert_true(loop_now_ns(b.loop, LOOP_VIRTUAL) - before >= 10000000);
	assert_int_equal(fake->sent_count, 4);
}

/* ---- set-up ---- */

static void what_the_back_end_can_do_is_what_is_offered(void **state)
{
	const uint64_t gso =
		BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
		BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6);
	const uint64_t csum =
		BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM);
	struct virtio_net_options opt = default_options();

	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_NET);
	assert_true((vd_features(&b) & (gso | csum)) == (gso | csum));
	assert_false(vd_features(&b) &
		     (BIT(VIRTIO_NET_F_MQ) | BIT(VIRTIO_NET_F_MTU)));
	start_with(BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO6),
		2, 16);
	assert_int_equal(fake->offloads, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO6);
	start_with(BIT(VIRTIO_NET_F_GUEST_TSO4), 2, 16);
	assert_int_equal(fake->offloads, 0); /* no segments without CSUM */
	opt.mtu = 9000;
	plug_with(2, 0, 0, opt);
	assert_false(vd_features(&b) & (gso | csum));
	assert_true(vd_features(&b) & BIT(VIRTIO_NET_F_MQ));
	assert_true(vd_features(&b) & BIT(VIRTIO_NET_F_MTU));
	assert_int_equal(config16(10), 9000);
	assert_int_equal(config16(8), 2);
}

static void a_cable_may_be_out_at_first(void **state)
{
	struct virtio_net_options opt = default_options();

	opt.link_down = true;
	plug_with(1, HDR, 0, opt);
	assert_int_equal(link_status(), 0);
}

static void impossible_options_are_refused_and_the_back_end_freed(void **state)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_net_options opt = default_options();
	struct virtio_dev *dev;
	struct error err;
	bool gone = false;

	opt.backend = &fake_net_create(1, 0, 0)->be;
	((struct fake_net *)opt.backend)->destroyed = &gone;
	opt.mac[0] = 3;
	assert_int_equal(
		virtio_net_create(&env, "net9", &opt, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, "net9: the MAC"));
	assert_true(gone);
	opt = default_options();
	opt.backend = &fake_net_create(1, 0, 0)->be;
	opt.mtu = 67;
	assert_int_equal(
		virtio_net_create(&env, "net9", &opt, &dev, &err), -EINVAL);
}

/* ---- an I/O thread ---- */

static void an_io_thread_serves_a_device_as_well(void **state)
{
	unsigned i;

	vbench_fini(&b);
	vbench_init_threaded(&b);
	plug();
	start_with(MRG, 2, 16);
	for (i = 0; i < 200; i++) {
		offer_frame(TX, BUF, 60, (uint8_t)i, NULL);
		vd_kick(&b, TX);
		vd_wait(&b, TX);
	}
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(stats().tx.frames, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(frames_from_the_guest_go_out_as_they_are),
		T(a_header_may_be_cut_as_the_driver_likes),
		T(without_a_header_only_the_frame_goes_out),
		T(frames_of_impossible_length_are_dropped),
		T(offloads_not_negotiated_are_refused),
		T(a_busy_back_end_stops_the_queue_and_loses_nothing),
		T(a_frame_the_host_refuses_costs_itself_only),
		T(frames_to_the_guest_fill_its_buffers),
		T(without_a_header_the_guest_still_gets_one),
		T(flags_are_for_a_guest_that_took_checksums),
		T(a_large_frame_takes_several_buffers_at_once),
		T(a_large_frame_waits_for_the_buffers_it_lacks),
		T(without_mergeable_buffers_a_large_frame_is_dropped),
		T(frames_wait_in_the_host_until_there_is_room),
		T(a_flood_yields_after_a_batch),
		T(frames_of_the_host_of_impossible_length_are_dropped),
		T(hostile_receive_buffers_are_answered),
		T(a_header_cut_in_two_gets_its_count),
		T(a_reset_in_the_middle_of_a_frame_ends_it),
		T(a_pause_in_the_middle_of_a_frame_gives_it_up),
		T(a_pulled_cable_is_told_and_drops_frames),
		T(a_back_end_that_goes_away_is_a_link_down),
		T(throttled_frames_wait_and_then_come),
		T(what_the_back_end_can_do_is_what_is_offered),
		T(a_cable_may_be_out_at_first),
		T(impossible_options_are_refused_and_the_back_end_freed),
		T(an_io_thread_serves_a_device_as_well),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
