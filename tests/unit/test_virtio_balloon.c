/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_balloon.c - pages in and out of a balloon, and its
 * configuration. */
#include "tests/unit/test_balloon_common.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

/* ---- what the driver sees ---- */

static void each_option_offers_its_feature_and_no_other(void **state)
{
	static const uint64_t common = BIT(VIRTIO_F_VERSION_1) |
				       BIT(VIRTIO_RING_F_EVENT_IDX) |
				       BIT(VIRTIO_RING_F_INDIRECT_DESC) |
				       BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST);
	static const struct {
		struct balloon_options opt;
		uint64_t bits;
		unsigned queues;
	} table[] = {
		{{.bytes = 0}, 0, 2},
		{{.stats = true}, BIT(VIRTIO_BALLOON_F_STATS_VQ), 3},
		{{.deflate_on_oom = true}, BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM),
			2},
		{{.hinting = true},
			BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) |
				BIT(VIRTIO_BALLOON_F_PAGE_POISON),
			4},
		{{.reporting = true},
			BIT(VIRTIO_BALLOON_F_REPORTING) |
				BIT(VIRTIO_BALLOON_F_PAGE_POISON),
			5},
	};
	unsigned i, q;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		plug_with(&table[i].opt);
		assert_int_equal(vd_features(&b), common | table[i].bits);
		for (q = 0; q < 6; q++) {
			vd_write(&b, VIRTIO_MMIO_QUEUE_SEL, q);
			assert_int_equal(
				vd_read(&b, VIRTIO_MMIO_QUEUE_NUM_MAX) > 0,
				q < table[i].queues);
		}
	}
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BALLOON);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), 5);
}

static void the_target_is_there_from_the_start_and_changes_are_announced(
	void **state)
{
	struct balloon_options opt = everything();
	struct error err;

	opt.bytes = 1 << 20;
	plug_with(&opt);
	assert_int_equal(vd_read(&b, AT_TARGET), 256);
	start();
	vd_irqs(&b);
	assert_int_equal(virtio_balloon_set(b.vdev, 8191, &err), 0);
	assert_int_equal(vd_read(&b, AT_TARGET), 1);
	assert_int_equal(vd_irqs(&b), 1);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_INTERRUPT_STATUS) &
				 VIRTIO_MMIO_INT_CONFIG,
		VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(virtio_balloon_set(b.vdev, 4096, &err), 0);
	assert_int_equal(vd_irqs(&b), 0); /* as it was */
	assert_int_equal(virtio_balloon_set(b.vdev, VBENCH_RAM, &err), 0);
	assert_int_equal(
		virtio_balloon_set(b.vdev, VBENCH_RAM + 1, &err), -EINVAL);
	assert_non_null(strstr(err.text, "balloon0"));
	assert_int_equal(vd_read(&b, AT_TARGET), VBENCH_RAM / 4096);
}

static void the_driver_writes_actual_and_nothing_else(void **state)
{
	unsigned off;

	start_with(ALL);
	for (off = 0; off < 32; off += 4)
		vd_write(&b, VIRTIO_MMIO_CONFIG + off, 0x11223344);
	vd_settle(&b);
	for (off = 0; off < 32; off += 4)
		assert_int_equal(vd_read(&b, VIRTIO_MMIO_CONFIG + off),
			off == 4 ? 0x11223344 : 0);
	assert_int_equal(changes, 1);
	assert_int_equal(info().actual_bytes, 0x11223344ull << 12);
	/* Not in parts, nor beside it. */
	b.range.ops->write(b.range.opaque, AT_ACTUAL, 1, 0xff);
	b.range.ops->write(b.range.opaque, AT_ACTUAL + 2, 2, 0xffff);
	b.range.ops->write(b.range.opaque, AT_ACTUAL + 2, 4, 0xffff);
	b.range.ops->write(b.range.opaque, AT_ACTUAL, 8, 0xffff);
	assert_int_equal(vd_read(&b, AT_ACTUAL), 0x11223344);
	/* A driver that begins anew has nothing in its balloon. */
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(vd_read(&b, AT_ACTUAL), 0);
	vd_write(&b, AT_ACTUAL, 7);
	assert_int_equal(vd_read(&b, AT_ACTUAL), 0);
}

static void page_poison_is_told_before_the_start_only(void **state)
{
	b.next_gpa = 0x1000;
	vd_negotiate(&b, ALL | BIT(VIRTIO_F_VERSION_1));
	vd_write(&b, AT_POISON, 0xaaaaaaaa);
	assert_int_equal(vd_read(&b, AT_POISON), 0xaaaaaaaa);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
	vd_write(&b, AT_POISON, 0);
	assert_int_equal(vd_read(&b, AT_POISON), 0xaaaaaaaa);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(vd_read(&b, AT_POISON), 0);
	/* Nor without the feature. */
	vd_negotiate(&b, NO_POISON | BIT(VIRTIO_F_VERSION_1));
	vd_write(&b, AT_POISON, 0xaaaaaaaa);
	assert_int_equal(vd_read(&b, AT_POISON), 0);
}

/* ---- inflate and deflate ---- */

static void inflated_pages_give_their_memory_back(void **state)
{
	static const enum guestmem_backing backing[] = {
		GUESTMEM_ANON, GUESTMEM_MEMFD};
	static const uint32_t order[] = {
		0x405, 0x403, 0x40c, 0x404, 0x403, 0x40a};
	unsigned i;

	for (i = 0; i < 2; i++) {
		use_backing(backing[i]);
		plug_all();
		start();
		fill(PAGES, 16 * 4096);
		give_list(INFLATE, order, 6);
		assert_int_equal(resident(PAGES, 16 * 4096), 11);
		assert_int_equal(info().returned_bytes, 5 * 4096);
		assert_true(is_filled(0x402000) && is_filled(0x406000));
		assert_true(is_filled(0x409000) && is_filled(0x40b000));
		assert_int_equal(*(uint8_t *)vd_at(&b, 0x403000), 0);
		assert_int_equal(*(uint8_t *)vd_at(&b, 0x40afff), 0);
		/* Out again: just memory, zeroed. */
		give_list(DEFLATE, order, 6);
		fill(0x403000, 3 * 4096);
		assert_true(is_filled(0x404000));
		assert_int_equal(info().held_bytes, 0);
	}
}

static void what_is_no_ram_is_refused_and_the_rest_done(void **state)
{
	static const uint32_t list[] = {0x500, PFN(VBENCH_RAM), 0xd0000,
		0xfee00, 0xc0000, 0x100000, 0xffffffff, 0x7fffffff, 0x501,
		PFN(VBENCH_RAM) - 1};

	start();
	fill(0x500000, 2 * 4096);
	fill(VBENCH_RAM - 4096, 4096);
	give_list(INFLATE, list, 10);
	assert_int_equal(info().refused_pages, 7);
	assert_int_equal(info().returned_bytes, 3 * 4096);
	assert_int_equal(resident(0x500000, 2 * 4096), 0);
	assert_int_equal(resident(VBENCH_RAM - 4096, 4096), 0);
	give_list(DEFLATE, list, 10);
}

static void a_run_does_not_leap_over_the_hole(void **state)
{
	static const uint32_t list[] = {
		0xbffff, 0xc0000, 0xfffff, 0x100000, 0x100001};
	struct guestmem_options opt = {.size = (3ull << 30) + (2ull << 20)};

	vbench_unplug(&b);
	guestmem_fini(&b.gm);
	assert_int_equal(guestmem_init(&b.gm, &opt, NULL), 0);
	plug_all();
	start();
	fill(0xbffff000, 4096);
	fill(0x100000000, 3 * 4096);
	give_list(INFLATE, list, 5);
	assert_int_equal(info().refused_pages, 2);
	assert_int_equal(resident(0xbffff000, 4 * 4096), 1);
	assert_true(is_filled(0x100002000));
}

static void a_list_may_be_cut_anyhow(void **state)
{
	struct vd_buf cut[5] = {{LIST, 3, false}, {LIST + 3, 0, false},
		{LIST + 3, 6, false}, {LIST + 9, 5, false},
		{PAGES, 4096, true}};
	uint32_t *list = vd_at(&b, LIST);

	start();
	fill(PAGES, 4 * 4096);
	list[0] = htole32(0x400);
	list[1] = htole32(0x401);
	list[2] = htole32(0x402);
	list[3] = htole32(0x403); /* of it only two bytes are given */
	vd_add(&b, INFLATE, cut, 5);
	vd_kick(&b, INFLATE);
	assert_int_equal(vd_wait(&b, INFLATE), 0);
	assert_int_equal(resident(PAGES, 4 * 4096), 1);
	assert_true(is_filled(0x403000));
}

static void an_endless_list_holds_nobody_up(void **state)
{
	struct vd_buf buf[60];
	unsigned turns = 0, i;

	start();
	memset(vd_at(&b, LIST), 0xff, 0x100000);
	for (i = 0; i < 60; i++)
		buf[i] = (struct vd_buf){LIST, 0x100000, false};
	/* 60 x 1 MiB are 15 million pages. */
	vd_add(&b, INFLATE, buf, 60);
	vd_kick(&b, INFLATE);
	for (i = 0; i < 100; i++)
		turns += loop_poll(b.loop, false);
	assert_int_equal(turns, 100);
	assert_int_equal(vd_used(&b, INFLATE), 0);
	assert_int_equal(b.vdev->inflight, 0); /* nor a pause, nor a reset */
	assert_in_range(info().refused_pages, 20000, 250000);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0);
	/* What was done of it is no part of the next one. */
	start();
	fill(PAGES, 4096);
	give_range(INFLATE, PAGES, 4096);
	assert_int_equal(resident(PAGES, 4096), 0);
}

static void a_long_list_is_done_to_its_end(void **state)
{
	start();
	fill(PAGES, PAGES_END - PAGES);
	give_range(INFLATE, PAGES, PAGES_END - PAGES);
	assert_int_equal(resident(PAGES, PAGES_END - PAGES), 0);
	/* Longer than a turn: each page twice. */
	fill(PAGES, PAGES_END - PAGES);
	{
		struct vd_buf buf[8];
		unsigned i;

		for (i = 0; i < 8; i++)
			buf[i] = (struct vd_buf){LIST, 4096, false};
		vd_add(&b, INFLATE, buf, 8);
		vd_kick(&b, INFLATE);
		assert_int_equal(vd_wait(&b, INFLATE), 0);
	}
	assert_int_equal(resident(PAGES, PAGES_END - PAGES), 0);
}

static void what_is_discarded_is_dirty(void **state)
{
	uint64_t map[VBENCH_RAM / 4096 / 64] = {0};
	struct vd_buf range = {0x480000 + 100, 3 * 4096, true};

	start();
	assert_int_equal(guestmem_dirty_log_start(&b.gm), 0);
	give_range(INFLATE, PAGES, 3 * 4096);
	vd_add(&b, REPORT, &range, 1);
	vd_kick(&b, REPORT);
	vd_wait(&b, REPORT);
	guestmem_dirty_fetch(&b.gm, map);
	assert_int_equal(map[0x400 / 64], 7);
	assert_int_equal(map[0x480 / 64], 6); /* the two whole pages */
	guestmem_dirty_log_stop(&b.gm);
}

/* ---- inhibited ---- */

static void while_inhibited_memory_stays_and_is_given_back_later(void **state)
{
	struct balloon_info i;

	start();
	fill(PAGES, 8 * 4096);
	guestmem_inhibit_discard(&b.gm);
	guestmem_inhibit_discard(&b.gm);
	give_range(INFLATE, PAGES, 8 * 4096);
	i = info();
	assert_true(i.inhibited);
	assert_int_equal(i.held_bytes, 8 * 4096);
	assert_int_equal(i.returned_bytes, 0);
	assert_int_equal(resident(PAGES, 8 * 4096), 8);
	/* Of it the guest takes two pages back. */
	give_range(DEFLATE, PAGES + 3 * 4096, 2 * 4096);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_int_equal(resident(PAGES, 8 * 4096), 8); /* it was counted */
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_int_equal(resident(PAGES, 8 * 4096), 2);
	assert_true(is_filled(0x403000) && is_filled(0x404000));
	assert_int_equal(info().held_bytes, 0);
	assert_int_equal(info().returned_bytes, 6 * 4096);
}

static void a_driver_that_need_not_tell_is_never_robbed_later(void **state)
{
	start_with(NO_POISON & ~BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST));
	fill(PAGES, 2 * 4096);
	guestmem_inhibit_discard(&b.gm);
	give_range(INFLATE, PAGES, 2 * 4096);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_int_equal(resident(PAGES, 2 * 4096), 2);
	assert_int_equal(info().held_bytes, 0);
	/* At once it may be. */
	give_range(INFLATE, PAGES, 2 * 4096);
	assert_int_equal(resident(PAGES, 2 * 4096), 0);
}

static void a_reset_gives_all_pages_back_to_the_guest(void **state)
{
	start();
	fill(PAGES, 4096);
	guestmem_inhibit_discard(&b.gm);
	give_range(INFLATE, PAGES, 4096);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_true(is_filled(PAGES));
	assert_int_equal(resident(PAGES, 4096), 1);
}

static void a_pause_holds_what_is_late_until_the_resume(void **state)
{
	start();
	fill(PAGES, 4096);
	guestmem_inhibit_discard(&b.gm);
	give_range(INFLATE, PAGES, 4096);
	b.dev->ops->quiesce(b.dev);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_int_equal(resident(PAGES, 4096), 1);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(resident(PAGES, 4096), 0);
}

static void an_allow_after_the_unplug_finds_nobody(void **state)
{
	start();
	guestmem_inhibit_discard(&b.gm);
	give_range(INFLATE, PAGES, 4096);
	vbench_unplug(&b);
	assert_null(b.gm.watch);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
}

static void huge_pages_go_when_all_of_one_is_in_the_balloon(void **state)
{
	use_backing(GUESTMEM_HUGETLB);
	plug_all();
	start();
	fill(PAGES, PAGES_END - PAGES);
	give_range(INFLATE, PAGES, 0x1ff000);
	assert_int_equal(resident(PAGES, 0x200000), 512);
	assert_int_equal(info().held_bytes, 0x1ff000);
	give_range(INFLATE, PAGES + 0x1ff000, 4096);
	assert_int_equal(resident(PAGES, 0x400000), 512);
	assert_int_equal(info().held_bytes, 0);
	assert_int_equal(info().returned_bytes, 0x200000);
	assert_true(is_filled(0x600000));
	/* One small page is used again, and given back. */
	give_range(DEFLATE, PAGES, 4096);
	fill(PAGES, 4096);
	assert_int_equal(info().held_bytes, 0x1ff000);
	give_range(INFLATE, PAGES, 4096);
	assert_int_equal(*(uint8_t *)vd_at(&b, PAGES), 0);
	/* Late ones. */
	guestmem_inhibit_discard(&b.gm);
	fill(PAGES, PAGES_END - PAGES);
	give_range(INFLATE, 0x600000, 0x200000);
	assert_int_equal(resident(0x600000, 0x200000), 512);
	guestmem_allow_discard(&b.gm);
	vd_settle(&b);
	assert_int_equal(resident(0x600000, 0x200000), 0);
}

/* ---- threads: a vCPU, the loop, and whoever inhibits ---- */

static void *inhibit_now_and_then(void *opaque)
{
	_Atomic bool *stop = opaque;

	while (!atomic_load(stop)) {
		guestmem_inhibit_discard(&b.gm);
		sched_yield();
		guestmem_allow_discard(&b.gm);
		sched_yield();
	}
	return NULL;
}

static void read_info(void *opaque)
{
	virtio_balloon_info(b.vdev, opaque);
}

static int setup_threaded(void **state)
{
	vbench_init_threaded(&b);
	plug_all();
	return 0;
}

static void inflate_write_and_inhibit_at_once_and_lose_no_page(void **state)
{
	_Atomic bool stop = false;
	struct balloon_info i;
	pthread_t thread;
	unsigned round;

	start();
	assert_int_equal(
		pthread_create(&thread, NULL, inhibit_now_and_then, &stop), 0);
	for (round = 1; round <= 200; round++) {
		fill(PAGES, 32 * 4096);
		give_range(INFLATE, PAGES, 32 * 4096);
		vd_write(&b, AT_ACTUAL, round);
		virtio_balloon_set(b.vdev, round * 4096ull, NULL);
		/* Nothing is taken from now on. */
		give_range(DEFLATE, PAGES, 32 * 4096);
		fill(PAGES, 32 * 4096);
		vd_settle(&b);
		assert_true(is_filled(PAGES) && is_filled(PAGES + 31 * 4096));
		assert_int_equal(resident(PAGES, 32 * 4096), 32);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	give_range(INFLATE, PAGES, 32 * 4096);
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	do
		assert_int_equal(
			loop_run_sync(b.loop, read_info, &i, "info"), 0);
	while (i.held_bytes > 0);
	assert_int_equal(resident(PAGES, 32 * 4096), 0);
	assert_int_equal(i.actual_bytes, 200 * 4096);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_option_offers_its_feature_and_no_other),
		T(the_target_is_there_from_the_start_and_changes_are_announced),
		T(the_driver_writes_actual_and_nothing_else),
		T(page_poison_is_told_before_the_start_only),
		T(inflated_pages_give_their_memory_back),
		T(what_is_no_ram_is_refused_and_the_rest_done),
		T(a_run_does_not_leap_over_the_hole),
		T(a_list_may_be_cut_anyhow),
		T(an_endless_list_holds_nobody_up),
		T(a_long_list_is_done_to_its_end),
		T(what_is_discarded_is_dirty),
		T(while_inhibited_memory_stays_and_is_given_back_later),
		T(a_driver_that_need_not_tell_is_never_robbed_later),
		T(a_reset_gives_all_pages_back_to_the_guest),
		T(a_pause_holds_what_is_late_until_the_resume),
		T(an_allow_after_the_unplug_finds_nobody),
		T(huge_pages_go_when_all_of_one_is_in_the_balloon),
		cmocka_unit_test_setup_teardown(
			inflate_write_and_inhibit_at_once_and_lose_no_page,
			setup_threaded, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
