/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/virtio_fuzz.h - one machine a device, made once and used for every
 * input: an input ends with a reset, and with the RAM that scripts use cleared.
 */
#ifndef GODWIT_TESTS_FUZZ_VIRTIO_FUZZ_H
#define GODWIT_TESTS_FUZZ_VIRTIO_FUZZ_H

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "tests/lib/vdriver.h"
#include "tests/lib/vtoy.h"
#include "virtio/backend/disk.h"
#include "virtio/blk.h"
#include "virtio/console.h"
#include "virtio/rng.h"
#include "vmm/log.h"

#define FUZZ_DEVICES 4u
#define FUZZ_RAM     0x20000u /* bytes that inputs place and find zeroed */

static struct virtio_dev *fuzz_device(struct vbench *b, unsigned which)
{
	struct virtio_env env = vbench_env(b);
	struct disk_options disk = {.name = "disk0", .path = "memory"};
	struct virtio_blk_options blk = {.serial = "fuzz"};
	struct virtio_dev *dev = NULL;
	struct vtoy *toy;
	int null, rc = 0;

	switch (which) {
	case 0:
		rc = virtio_rng_create(&env, "rng0", NULL, &dev, NULL);
		break;
	case 1:
		disk.fd = memfd_create("disk", MFD_CLOEXEC);
		rc = ftruncate(disk.fd, 1 << 20);
		assert(rc == 0);
		rc = disk_open(b->loop, b->pool, &disk, &blk.disk, NULL);
		assert(rc == 0);
		rc = virtio_blk_create(&env, "disk0", &blk, &dev, NULL);
		break;
	case 2:
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		assert(null >= 0);
		rc = virtio_console_create(
			&env, "console0", null, null, &dev, NULL);
		break;
	default:
		toy = vtoy_create(&env);
		dev = &toy->dev;
	}
	assert(rc == 0);
	return dev;
}

static struct vbench *fuzz_bench(unsigned which)
{
	static struct vbench bench[FUZZ_DEVICES];
	struct vbench *b = &bench[which % FUZZ_DEVICES];

	if (!b->loop) {
		/* A thread is the home of one loop at a time. */
		log_set_level(LOG_ERROR);
		vbench_init(b);
		vbench_plug(b, fuzz_device(b, which % FUZZ_DEVICES));
	}
	return b;
}

static void fuzz_bench_clear(struct vbench *b)
{
	vd_write(b, 0x70, 0);
	assert(vd_read(b, 0x70) == 0 && b->vdev->inflight == 0);
	memset(b->gm.base, 0, FUZZ_RAM);
	b->next_gpa = 0x1000;
}

#endif
