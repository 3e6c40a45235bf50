/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/blk_bed.h - a block device on an image of 1 MiB, and the requests
 * of its driver.
 */
#ifndef GODWIT_TESTS_UNIT_BLK_BED_H
#define GODWIT_TESTS_UNIT_BLK_BED_H

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "tests/unit/device_test.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "vmm/error.h"

#define SECTORS 2048u
#define HEADER	0x300000u /* gpa; requests take 32 bytes each from here */
#define DATA	0x400000u
#define INDIRECT                                                               \
	(1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX)

static struct vbench b;
static int image = -1;
static unsigned requests;

/* As @opt and @disk say, but for what every test has alike. */
static inline struct disk *plug_with(
	struct virtio_blk_options opt, struct disk_options disk)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev = NULL;
	struct error err = {0};

	disk.name = "disk0";
	disk.path = "image";
	disk.fd = dup(image);
	if (disk_open(b.loop, b.pool, &disk, &opt.disk, &err) < 0 ||
		virtio_blk_create(&env, "disk0", &opt, &dev, &err) < 0)
		fail_msg("%s", err.text);
	vbench_plug(&b, dev);
	return opt.disk;
}

static inline void plug(bool readonly, const char *serial)
{
	plug_with((struct virtio_blk_options){.serial = serial,
			  .readonly = readonly},
		(struct disk_options){0});
}

static inline int setup(void **state)
{
	char path[] = "/tmp/godwit-blk-XXXXXX";

	image = mkstemp(path);
	unlink(path);
	if (image < 0 || ftruncate(image, SECTORS * 512) < 0)
		return -1;
	vbench_init(&b);
	plug(false, "serial-1");
	return 0;
}

static inline int teardown(void **state)
{
	vbench_fini(&b);
	close(image);
	return 0;
}

/* ---- a driver's requests ---- */

struct asked {
	uint64_t header, status; /* gpa */
};

/* Offer {header, data, status} on queue @q of @v; @len 0: no data. */
static inline struct asked offer_to(struct vbench *v, unsigned q, uint32_t type,
	uint64_t sector, uint64_t data, uint32_t len)
{
	uint64_t at = HEADER + 32 * (requests++ % 1024);
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	struct vd_buf buf[3] = {{at, sizeof(h), false},
		{data, len,
			type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID},
		{at + 16, 1, true}};

	memcpy(vd_at(v, at), &h, sizeof(h));
	*(uint8_t *)vd_at(v, at + 16) = 0xee;
	if (len == 0) {
		buf[1] = buf[2];
		vd_add(v, q, buf, 2);
	} else {
		vd_add(v, q, buf, 3);
	}
	return (struct asked){at, at + 16};
}

static inline struct asked offer_on(
	unsigned q, uint32_t type, uint64_t sector, uint64_t data, uint32_t len)
{
	return offer_to(&b, q, type, sector, data, len);
}

static inline struct asked offer(
	uint32_t type, uint64_t sector, uint64_t data, uint32_t len)
{
	return offer_on(0, type, sector, data, len);
}

static inline uint8_t status_of(struct asked a)
{
	return *(uint8_t *)vd_at(&b, a.status);
}

static inline uint8_t ask_len(uint32_t type, uint64_t sector, uint64_t data,
	uint32_t len, uint32_t *ret_used)
{
	struct asked a = offer(type, sector, data, len);

	vd_kick(&b, 0);
	*ret_used = vd_wait(&b, 0);
	return status_of(a);
}

static inline uint8_t ask(
	uint32_t type, uint64_t sector, uint64_t data, uint32_t len)
{
	uint32_t used;

	return ask_len(type, sector, data, len, &used);
}

static inline void fill(uint64_t gpa, uint32_t len, uint64_t seed)
{
	uint8_t *p = vd_at(&b, gpa);

	while (len-- > 0)
		*p++ = (uint8_t)testing_random(&seed);
}

#endif
