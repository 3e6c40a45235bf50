/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_rng.c - entropy device. */
#include "virtio/rng.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"

static struct vbench b;

static int setup(void **state)
{
	struct virtio_dev *dev;
	struct virtio_env env;

	vbench_init(&b);
	env = vbench_env(&b);
	if (virtio_rng_create(&env, "rng0", &dev, NULL) < 0)
		return -1;
	vbench_plug(&b, dev);
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

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(buffers_are_filled_with_random_bytes),
		T(a_request_gets_a_bounded_number_of_bytes),
		T(a_request_with_nothing_to_fill_comes_back_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
