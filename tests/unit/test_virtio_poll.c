/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_virtio_poll.c - queues that the loop looks at before it
 * sleeps (L10), and interrupts that need no eventfd.
 *
 * The budget of the loop is set from inside: an hour, so that it looks until it
 * finds, or nothing, so that it sleeps at once.  An alarm ends what hangs.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <unistd.h>

#include "loop/private.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vtoy.h"

#define HOUR	  3600000000000
#define SIZE	  8u
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)

static struct vbench bench;
static struct vtoy *toy;

static int setup(void **state)
{
	const struct loop_polling polling = {HOUR, 2, 1};
	struct virtio_env env;

	alarm(60);
	bench = (struct vbench){0};
	vbench_init(&bench);
	bench.edge = true;
	env = vbench_env(&bench);
	toy = vtoy_create(&env);
	toy->polled = true;
	vbench_plug(&bench, &toy->dev);
	assert_int_equal(loop_set_polling(bench.loop, &polling), 0);
	return 0;
}

static int teardown(void **state)
{
	vbench_fini(&bench);
	alarm(0);
	return 0;
}

static void add(unsigned q)
{
	struct vd_buf buf = {.gpa = 0x400000, .len = 5, .writable = true};

	vd_add(&bench, q, &buf, 1);
}

/* Would a driver that adds one request now have to kick? */
static bool kick_wanted(unsigned q)
{
	const struct vring_view *v = &bench.q[q];
	const struct vring_used *used = vd_at(&bench, v->used);
	const uint16_t *event = (const uint16_t *)&used->ring[v->size];

	if (bench.event_idx)
		return *event == v->avail_idx;
	return !(used->flags & VRING_USED_F_NO_NOTIFY);
}

/* Start, and one request by a kick; from then on the queue is polled. */
static void start(uint64_t features)
{
	vd_start(&bench, features, 2, SIZE);
	bench.loop->poll_ns = HOUR;
	add(0);
	vd_kick(&bench, 0);
	while (vd_used(&bench, 0) < 1)
		loop_poll(bench.loop, true);
	add(0);
	while (vd_used(&bench, 0) < 2)
		loop_poll(bench.loop, true);
}

static void serve_without_a_kick(uint64_t features)
{
	unsigned i;

	start(features);
	for (i = 2; i < 5; i++) {
		assert_false(kick_wanted(0));
		add(0);
		while (vd_used(&bench, 0) <= i)
			loop_poll(bench.loop, true);
	}
}

static void a_polled_queue_needs_no_kick(void **state)
{
	serve_without_a_kick(0);
}

static void a_polled_queue_needs_no_kick_event_idx(void **state)
{
	serve_without_a_kick(EVENT_IDX);
}

/* A turn that looks for so long at most, and has something else to do. */
static void turn(int64_t budget_ns)
{
	bench.loop->poll_ns = budget_ns;
	vd_kick(&bench, 1);
	loop_poll(bench.loop, true);
}

static void ask_for_kicks(uint64_t features)
{
	start(features);
	turn(0);
	assert_true(kick_wanted(0));
	turn(HOUR);
	assert_false(kick_wanted(0));
	add(0); /* nobody kicks: that is what the ring says */
	bench.loop->poll_ns = 0;
	while (vd_used(&bench, 0) < 3)
		loop_poll(bench.loop, true);
	assert_true(kick_wanted(0));
	add(0);
	vd_kick(&bench, 0);
	bench.loop->poll_ns = 0;
	while (vd_used(&bench, 0) < 4)
		loop_poll(bench.loop, true);
}

static void a_sleeping_loop_has_asked_for_kicks(void **state)
{
	ask_for_kicks(0);
}

static void a_sleeping_loop_has_asked_for_kicks_event_idx(void **state)
{
	ask_for_kicks(EVENT_IDX);
}

static void a_queue_that_cannot_go_on_is_not_looked_at_again(void **state)
{
	start(EVENT_IDX);
	toy->not_ready = true;
	add(0);
	loop_poll(bench.loop, true); /* finds it, can do nothing */
	while (loop_poll(bench.loop, false))
		;
	assert_false(loop_polling_check(bench.loop));
	assert_int_equal(vd_used(&bench, 0), 2);
	toy->not_ready = false;
	virtio_dev_run(&toy->dev, 0);
	while (vd_used(&bench, 0) < 3)
		loop_poll(bench.loop, true);
}

static void a_paused_queue_is_not_looked_at(void **state)
{
	start(EVENT_IDX);
	virtio_dev_quiesce(&toy->dev);
	add(0);
	assert_false(loop_polling_check(bench.loop));
	assert_int_equal(vd_used(&bench, 0), 2);
	virtio_dev_resume(&toy->dev);
	while (vd_used(&bench, 0) < 3)
		loop_poll(bench.loop, true);
}

static void a_reset_ends_the_polling(void **state)
{
	start(EVENT_IDX);
	vd_write(&bench, VIRTIO_MMIO_STATUS, 0);
	assert_false(loop_polling_check(bench.loop));
	vd_start(&bench, EVENT_IDX, 2, SIZE);
	bench.loop->poll_ns = 0;
	assert_true(kick_wanted(0));
	add(0);
	vd_kick(&bench, 0);
	while (vd_used(&bench, 0) < 1)
		loop_poll(bench.loop, true);
	turn(0);
	assert_true(kick_wanted(0));
}

static void other_queues_are_kicked_as_ever(void **state)
{
	start(EVENT_IDX);
	assert_true(kick_wanted(1));
	add(1);
	vd_kick(&bench, 1);
	while (vd_used(&bench, 1) < 1)
		loop_poll(bench.loop, true);
	assert_true(kick_wanted(1));
}

/* ---- interrupts ---- */

static void an_edge_of_our_own_needs_no_eventfd(void **state)
{
	vd_start(&bench, 0, 1, SIZE);
	bench.edges = 0;
	vd_irqs(&bench);
	add(0);
	vd_kick(&bench, 0);
	assert_int_equal(vd_wait(&bench, 0), 5);
	vd_settle(&bench);
	assert_int_equal(bench.edges, 1);
	assert_int_equal(vd_irqs(&bench), 0);
	assert_int_equal(vd_read(&bench, VIRTIO_MMIO_INTERRUPT_STATUS), 1);
}

static void an_edge_that_fails_takes_the_eventfd(void **state)
{
	vd_start(&bench, 0, 1, SIZE);
	vd_irqs(&bench);
	bench.edge_result = -EIO;
	add(0);
	vd_kick(&bench, 0);
	assert_int_equal(vd_wait(&bench, 0), 5);
	vd_settle(&bench);
	assert_int_equal(vd_irqs(&bench), 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_polled_queue_needs_no_kick),
		TEST(a_polled_queue_needs_no_kick_event_idx),
		TEST(a_sleeping_loop_has_asked_for_kicks),
		TEST(a_sleeping_loop_has_asked_for_kicks_event_idx),
		TEST(a_queue_that_cannot_go_on_is_not_looked_at_again),
		TEST(a_paused_queue_is_not_looked_at),
		TEST(a_reset_ends_the_polling),
		TEST(other_queues_are_kicked_as_ever),
		TEST(an_edge_of_our_own_needs_no_eventfd),
		TEST(an_edge_that_fails_takes_the_eventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
