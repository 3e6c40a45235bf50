/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_net_common.h - a network device on a back end of memory. */
#ifndef GODWIT_TESTS_UNIT_TEST_NET_COMMON_H
#define GODWIT_TESTS_UNIT_TEST_NET_COMMON_H

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/fake_net.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "virtio/net.h"
#include "vmm/error.h"

#define RX	 0
#define TX	 1
#define BUF	 0x400000u
#define HDR	 NET_HEADER_BYTES
#define BIT(n)	 (1ull << (n))
#define OFFLOADS (NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6)

static const uint8_t our_mac[6] = {2, 0, 0, 0xaa, 0xbb, 1};

static struct vbench b;
static struct fake_net *fake;
static bool destroyed;

static inline struct virtio_net_options default_options(void)
{
	struct virtio_net_options opt = {.backend = NULL};

	memcpy(opt.mac, our_mac, sizeof(opt.mac));
	return opt;
}

/* Plug a device with @queues pairs; @opt's back end is made here. */
static inline void plug_with(unsigned queues, unsigned header_bytes,
	unsigned offloads, struct virtio_net_options opt)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev;
	struct error err;

	vbench_unplug(&b);
	destroyed = false;
	fake = fake_net_create(queues, header_bytes, offloads);
	fake->destroyed = &destroyed;
	opt.backend = &fake->be;
	if (virtio_net_create(&env, "net0", &opt, &dev, &err) < 0)
		fail_msg("%s", err.text);
	vbench_plug(&b, dev);
}

static inline void plug(void)
{
	plug_with(1, HDR, OFFLOADS, default_options());
}

/* DRIVER_OK with all of @features that is offered. */
static inline void start_with(uint64_t features, unsigned queues, uint16_t size)
{
	vd_start(&b, BIT(VIRTIO_RING_F_EVENT_IDX) | features, queues, size);
	assert_true(
		vd_read(&b, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline uint16_t config16(unsigned off)
{
	uint16_t v = 0;

	virtio_dev_read_config(b.vdev, off, &v, 2);
	return le16toh(v);
}

static inline uint16_t link_status(void)
{
	return config16(offsetof(struct virtio_net_config, status));
}

/* A frame of @len bytes behind a header of zeroes, each byte different. */
static inline const uint8_t *frame_of(uint32_t len, uint8_t seed)
{
	static uint8_t f[FAKE_NET_BYTES];
	uint32_t i;

	memset(f, 0, HDR);
	for (i = 0; i < len; i++)
		f[HDR + i] = (uint8_t)(seed + i * 7 + i / 251);
	return f;
}

/* Push frame_of() as the back end has it. */
static inline void arrive(unsigned queue, uint32_t len, uint8_t seed)
{
	unsigned skip = HDR - fake->be.header_bytes;

	fake_net_push(fake, queue, frame_of(len, seed) + skip,
		len + fake->be.header_bytes);
	vd_settle(&b);
}

static inline void give(unsigned q, uint64_t gpa, uint32_t len)
{
	struct vd_buf buf = {gpa, len, true};

	vd_add(&b, q, &buf, 1);
}

static inline void kick(unsigned q)
{
	vd_kick(&b, q);
	vd_settle(&b);
}

/* Header and frame in one buffer at @gpa, offered on @q. */
static inline void offer_frame(unsigned q, uint64_t gpa, uint32_t len,
	uint8_t seed, const struct virtio_net_hdr_v1 *h)
{
	struct vd_buf buf = {gpa, HDR + len, false};

	memcpy(vd_at(&b, gpa), frame_of(len, seed), HDR + len);
	if (h)
		memcpy(vd_at(&b, gpa), h, sizeof(*h));
	vd_add(&b, q, &buf, 1);
}

static inline int net_setup(void **state)
{
	vbench_init(&b);
	plug();
	return 0;
}

static inline int net_teardown(void **state)
{
	vbench_fini(&b);
	assert_true(destroyed);
	return 0;
}

#define T(f) cmocka_unit_test_setup_teardown(f, net_setup, net_teardown)

#endif
