/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_rng.c - entropy device. */
#include "virtio/rng.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "migrate/state.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "virtio/backend/bucket.h"
#include "vmm/error.h"

static struct vbench b;

static void plug(const struct bucket_limit *limit)
{
	struct virtio_dev *dev;
	struct virtio_env env = vbench_env(&b);

	assert_int_equal(virtio_rng_create(&env, "rng0", limit, &dev, NULL), 0);
	vbench_plug(&b, dev);
}

static int setup(void **state)
{
	vbench_init(&b);
	plug(NULL);
	return 0;
}

static int teardown(void **state)
{
	vbench_fini(&b);
	return 0;
}

static uint32_t ask(const struct vd_buf *buf, unsigned n)
{
	vd_add(&b, 0, buf, n);
	vd_kick(&b, 0);
	return vd_wait(&b, 0);
}

static void buffers_are_filled_with_random_bytes(void **state)
{
	struct vd_buf buf[2] = {{0x400000, 100, true}, {0x401000, 28, true}};
	static const uint8_t zero[100];
	uint8_t first[100];

	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), 4);
	vd_start(&b, 1ull << VIRTIO_RING_F_EVENT_IDX, 1, 16);
	assert_int_equal(ask(buf, 2), 128);
	memcpy(first, vd_at(&b, 0x400000), 100);
	assert_memory_not_equal(first, zero, 100);
	assert_memory_not_equal(vd_at(&b, 0x401000), zero, 28);
	assert_memory_equal(vd_at(&b, 0x401000 + 28), zero, 28);
	assert_int_equal(ask(buf, 1), 100);
	assert_memory_not_equal(vd_at(&b, 0x400000), first, 100);
}

static void a_request_gets_a_bounded_number_of_bytes(void **state)
{
	struct vd_buf buf[2] = {{0x400000, VIRTIO_RNG_REQUEST_MAX - 1, true},
		{0x500000, 1 << 20, true}};
	const uint8_t *p = vd_at(&b, 0x500000);

	vd_start(&b, 0, 1, 16);
	assert_int_equal(ask(buf, 2), VIRTIO_RNG_REQUEST_MAX);
	assert_int_equal(p[1] | p[2] | p[3] | p[4096], 0);
}

static void a_request_with_nothing_to_fill_comes_back_empty(void **state)
{
	struct vd_buf out = {0x400000, 64, false}, none = {0x400000, 0, true};

	vd_start(&b, 0, 1, 16);
	assert_int_equal(ask(&out, 1), 0);
	assert_int_equal(ask(&none, 1), 0);
	assert_int_equal(*(uint64_t *)vd_at(&b, 0x400000), 0);
}

/* ---- limits ---- */

static void limit(uint64_t rate, uint64_t burst)
{
	struct bucket_limit l = {.rate = rate, .burst = burst};

	vbench_unplug(&b);
	plug(&l);
	vd_start(&b, 0, 1, 16);
}

static int64_t now_ns(void)
{
	return loop_now_ns(b.loop, LOOP_MONOTONIC);
}

static void so_many_bytes_take_their_time_and_no_less(void **state)
{
	struct vd_buf buf = {0x400000, 1000, true};
	int64_t start;
	unsigned i;

	limit(50000, 1000);
	start = now_ns();
	for (i = 0; i < 8; i++)
		assert_int_equal(ask(&buf, 1), 1000);
	/* 1000 at once, the first of them in debt: 6 times 20 ms. */
	assert_true(now_ns() - start >= 6 * 20000000ll);
}

static void a_burst_comes_at_once(void **state)
{
	struct vd_buf buf = {0x400000, 1000, true};
	unsigned i;

	/* At a byte a second the test would not end. */
	limit(1, 8000);
	for (i = 0; i < 9; i++)
		assert_int_equal(ask(&buf, 1), 1000);
	vd_add(&b, 0, &buf, 1);
	vd_kick(&b, 0);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, 0), 0); /* not the tenth */
}

static void a_reset_brings_no_new_tokens(void **state)
{
	struct vd_buf buf = {0x400000, 1000, true};

	limit(1, 1);
	assert_int_equal(ask(&buf, 1), 1000);
	vd_add(&b, 0, &buf, 1);
	vd_kick(&b, 0);
	vd_settle(&b);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	vd_settle(&b);
	vd_start(&b, 0, 1, 16);
	vd_add(&b, 0, &buf, 1);
	vd_kick(&b, 0);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, 0), 0);
}

/* Paused, saved, loaded into a device of the same words: it is answered there,
 * and the next one waits there. */
static void a_request_that_waits_moves_along(void **state)
{
	static const struct bucket_limit slow = {.rate = 1, .burst = 1};
	struct vd_buf buf = {0x400000, 1000, true};
	struct state_writer w;
	struct error err;

	limit(1, 1);
	assert_int_equal(ask(&buf, 1), 1000);
	vd_add(&b, 0, &buf, 1);
	vd_kick(&b, 0);
	vd_settle(&b);
	b.dev->ops->quiesce(b.dev);
	vbench_save(&b, &w);
	vbench_unplug(&b);
	plug(&slow);
	if (vbench_load(&b, &w, &err) < 0)
		fail_msg("%s", err.text);
	b.dev->ops->resume(b.dev);
	assert_int_equal(vd_wait(&b, 0), 1000);
	vd_add(&b, 0, &buf, 1);
	vd_kick(&b, 0);
	vd_settle(&b);
	assert_int_equal(vd_used(&b, 0), 0);
	state_writer_fini(&w);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(buffers_are_filled_with_random_bytes),
		T(a_request_gets_a_bounded_number_of_bytes),
		T(a_request_with_nothing_to_fill_comes_back_empty),
		T(so_many_bytes_take_their_time_and_no_less),
		T(a_burst_comes_at_once),
		T(a_reset_brings_no_new_tokens),
		T(a_request_that_waits_moves_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
