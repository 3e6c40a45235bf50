/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_balloon_stats.c - a guest's memory statistics. */
#include "tests/unit/test_balloon_common.h"

#define NS_PER_S INT64_C(1000000000)

/* Entry @i of the list. */
static void put(unsigned i, uint16_t tag, uint64_t value)
{
	uint8_t *p = (uint8_t *)vd_at(&b, LIST) + 10 * i;

	tag = htole16(tag);
	value = htole64(value);
	memcpy(p, &tag, 2);
	memcpy(p + 2, &value, 8);
}

static void offer(uint32_t len)
{
	struct vd_buf buf = {LIST, len, false};

	vd_add(&b, STATS, &buf, 1);
	vd_kick(&b, STATS);
	vd_settle(&b);
}

static struct balloon_stats stats(void)
{
	struct balloon_stats s;

	virtio_balloon_stats(b.vdev, &s);
	return s;
}

/* The clock that statistics go by jumps on. */
static void pass(int64_t ns)
{
	loop_virtual_stop(b.loop);
	loop_virtual_set_ns(b.loop, loop_now_ns(b.loop, LOOP_VIRTUAL) + ns);
	loop_virtual_start(b.loop);
	vd_settle(&b);
}

static void figures_are_taken_in_any_order_and_unknown_ones_left(void **state)
{
	struct balloon_stats s;

	start();
	s = stats();
	assert_int_equal(s.age_ns, -1);
	assert_int_equal(s.valid, 0);
	put(0, VIRTIO_BALLOON_S_AVAIL, 1234567890123);
	put(1, 0xffff, 5);
	put(2, 10, 6);
	put(3, VIRTIO_BALLOON_S_SWAP_IN, 7);
	put(4, VIRTIO_BALLOON_S_MAJFLT, UINT64_MAX); /* not known */
	put(5, VIRTIO_BALLOON_S_HTLB_PGFAIL, 8);
	put(6, VIRTIO_BALLOON_S_SWAP_IN, 9);
	offer(70);
	s = stats();
	assert_int_equal(s.valid, BIT(VIRTIO_BALLOON_S_AVAIL) |
					  BIT(VIRTIO_BALLOON_S_SWAP_IN) |
					  BIT(VIRTIO_BALLOON_S_HTLB_PGFAIL));
	assert_int_equal(s.value[VIRTIO_BALLOON_S_AVAIL], 1234567890123);
	assert_int_equal(s.value[VIRTIO_BALLOON_S_SWAP_IN], 9);
	assert_int_equal(s.value[VIRTIO_BALLOON_S_HTLB_PGFAIL], 8);
	assert_int_equal(s.updates, 1);
	assert_true(s.age_ns >= 0);
	assert_int_equal(vd_used(&b, STATS), 0);
	assert_string_equal(
		balloon_stat_name(VIRTIO_BALLOON_S_AVAIL), "available_bytes");
}

static void a_cut_entry_and_what_is_too_much_are_left(void **state)
{
	unsigned i;

	start();
	put(0, VIRTIO_BALLOON_S_MEMFREE, 1);
	put(1, VIRTIO_BALLOON_S_MEMTOT, 2);
	offer(19);
	assert_int_equal(stats().valid, BIT(VIRTIO_BALLOON_S_MEMFREE));
	virtio_balloon_ask_stats(b.vdev);
	vd_wait(&b, STATS);
	for (i = 0; i < 1000; i++)
		put(i, i < 64 ? 99 : VIRTIO_BALLOON_S_MEMTOT, 2);
	offer(10000);
	assert_int_equal(stats().valid, 0);
	assert_int_equal(stats().updates, 2);
}

static void asking_gives_the_buffer_back_and_new_figures_come(void **state)
{
	start();
	put(0, VIRTIO_BALLOON_S_MEMFREE, 100);
	offer(10);
	vd_irqs(&b);
	assert_int_equal(virtio_balloon_ask_stats(b.vdev), 0);
	assert_int_equal(vd_used(&b, STATS), 1);
	assert_int_equal(vd_irqs(&b), 1);
	assert_int_equal(vd_wait(&b, STATS), 0);
	/* Asked already: a guest that is slow is not asked twice. */
	assert_int_equal(virtio_balloon_ask_stats(b.vdev), 0);
	assert_int_equal(vd_used(&b, STATS), 0);
	assert_int_equal(stats().value[VIRTIO_BALLOON_S_MEMFREE], 100);
	put(0, VIRTIO_BALLOON_S_MEMFREE, 200);
	offer(10);
	assert_int_equal(stats().value[VIRTIO_BALLOON_S_MEMFREE], 200);
	assert_int_equal(stats().updates, 2);
}

static void an_interval_asks_by_itself(void **state)
{
	struct balloon_options opt = everything();

	opt.stats_interval_s = 5;
	plug_with(&opt);
	start();
	pass(100 * NS_PER_S); /* without a buffer nothing is asked */
	offer(0);
	pass(4 * NS_PER_S);
	assert_int_equal(vd_used(&b, STATS), 0);
	pass(2 * NS_PER_S);
	assert_int_equal(vd_used(&b, STATS), 1);
	vd_wait(&b, STATS);
	pass(100 * NS_PER_S); /* it does not answer: so be it */
	assert_int_equal(vd_used(&b, STATS), 0);
	offer(0);
	assert_int_equal(stats().updates, 2);
	virtio_balloon_set_interval(b.vdev, 0);
	pass(100 * NS_PER_S);
	assert_int_equal(vd_used(&b, STATS), 0);
	assert_true(stats().age_ns >= 100 * NS_PER_S);
	virtio_balloon_set_interval(b.vdev, 1);
	pass(2 * NS_PER_S);
	assert_int_equal(vd_used(&b, STATS), 1);
}

static void buffers_too_many_wait_their_turn(void **state)
{
	start();
	put(0, VIRTIO_BALLOON_S_MEMFREE, 1);
	offer(10);
	offer(10);
	offer(10);
	assert_int_equal(b.vdev->inflight, 1);
	assert_int_equal(stats().updates, 1);
	virtio_balloon_ask_stats(b.vdev);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, STATS), 1);
	assert_int_equal(stats().updates, 2);
	assert_false(loop_poll(b.loop, false));
}

static void a_pause_leaves_nothing_in_flight_and_makes_no_figures(void **state)
{
	start();
	put(0, VIRTIO_BALLOON_S_MEMFREE, 1);
	offer(10);
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(b.vdev->inflight, 0);
	assert_int_equal(vd_used(&b, STATS), 0);
	assert_int_equal(virtio_balloon_ask_stats(b.vdev), 0);
	put(0, VIRTIO_BALLOON_S_MEMFREE, 2);
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
	assert_int_equal(b.vdev->inflight, 1);
	assert_int_equal(stats().updates, 1);
	assert_int_equal(stats().value[VIRTIO_BALLOON_S_MEMFREE], 1);
	virtio_balloon_ask_stats(b.vdev);
	assert_int_equal(vd_wait(&b, STATS), 0);
	offer(10);
	assert_int_equal(stats().value[VIRTIO_BALLOON_S_MEMFREE], 2);
}

static void a_reset_ends_with_a_buffer_held(void **state)
{
	struct balloon_options opt = everything();

	opt.stats_interval_s = 5;
	plug_with(&opt);
	start();
	offer(0);
	assert_int_equal(b.vdev->inflight, 1);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(b.vdev->inflight, 0);
	pass(100 * NS_PER_S); /* its timer is gone, too */
	start();
	offer(0);
	assert_int_equal(stats().updates, 2);
	pass(6 * NS_PER_S);
	assert_int_equal(vd_used(&b, STATS), 1);
	/* Once more, and unplug. */
	vd_wait(&b, STATS);
	offer(0);
	vbench_unplug(&b);
	pass(100 * NS_PER_S);
}

static void without_the_feature_there_are_none(void **state)
{
	start_with(0);
	assert_int_equal(virtio_balloon_ask_stats(b.vdev), -EOPNOTSUPP);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(virtio_balloon_ask_stats(b.vdev), -EOPNOTSUPP);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(figures_are_taken_in_any_order_and_unknown_ones_left),
		T(a_cut_entry_and_what_is_too_much_are_left),
		T(asking_gives_the_buffer_back_and_new_figures_come),
		T(an_interval_asks_by_itself),
		T(buffers_too_many_wait_their_turn),
		T(a_pause_leaves_nothing_in_flight_and_makes_no_figures),
		T(a_reset_ends_with_a_buffer_held),
		T(without_the_feature_there_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
