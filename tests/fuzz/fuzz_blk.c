/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_blk.c - a hostile driver on a block device: requests of any
 * shape, segments, cache mode, resizes, limits, moves.
 *
 * Byte 0: kind of device (queues, limits, read-only).  Then a script.  What is
 * asserted beside the device's own asserts: a move changes nothing, a reset
 * ends everything, a sane resize always works.
 */
#include <assert.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/state.h"
#include "tests/fuzz/script.h"
#include "tests/lib/vdriver.h"
#include "virtio/backend/bucket.h"
#include "virtio/blk.h"
#include "vmm/log.h"

#define RAM   0x20000u /* that scripts place and find zeroed */
#define KINDS 4u
#define STEPS 120u
#define IMAGE (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bucket_group limits;

static struct vbench *bench(unsigned kind)
{
	static const struct bucket_limits slow = {.ops[BUCKET_DIRS] = {1000, 8},
		.bytes[BUCKET_WRITE] = {1 << 20, 0}};
	static struct vbench benches[KINDS];
	struct virtio_blk_options opt = {.serial = "fuzz",
		.queues = kind & 1 ? 4 : 1,
		.limits = kind & 2 ? &limits : NULL,
		.readonly = kind == 3};
	struct disk_options disk = {.name = "disk0", .path = "memory"};
	struct vbench *b = &benches[kind];
	struct virtio_dev *dev;
	struct virtio_env env;
	int rc;

	if (b->loop)
		return b;
	log_set_level(LOG_ERROR);
	bucket_group_init(&limits, &slow, 0);
	vbench_init(b);
	env = vbench_env(b);
	disk.fd = memfd_create("disk", MFD_CLOEXEC);
	rc = ftruncate(disk.fd, IMAGE);
	assert(rc == 0);
	rc = disk_open(b->loop, b->pool, &disk, &opt.disk, NULL);
	assert(rc == 0);
	rc = virtio_blk_create(&env, "disk0", &opt, &dev, NULL);
	assert(rc == 0);
	vbench_plug(b, dev);
	return b;
}

static void start(struct vbench *b, struct script *s)
{
	uint16_t size = (uint16_t)(4u << (take(s, 1) & 5));
	uint64_t features = (uint64_t)take(s, 4);
	unsigned i;

	b->next_gpa = 0x1000;
	vd_negotiate(
		b, (features & vd_features(b)) | 1ull << VIRTIO_F_VERSION_1);
	for (i = 0; i < 4; i++)
		vd_queue(b, i, size);
	vd_write(b, 0x70, 0xf);
}

/* A request that makes sense, but for its numbers. */
static void request(struct vbench *b, struct script *s)
{
	unsigned q = take(s, 1) & 3;
	uint64_t at = 0x8000 + 64 * (take(s, 1) & 63);
	struct virtio_blk_outhdr h = {.type = take(s, 1) & 15};
	uint32_t len = take(s, 1);
	bool wide = h.type & 8, in;

	h.sector = wide ? (uint64_t)take(s, 4) << 32 | take(s, 4) : take(s, 2);
	h.type &= 7;
	if (take(s, 1) & 1)
		h.type = h.type & 1 ? VIRTIO_BLK_T_DISCARD
				    : VIRTIO_BLK_T_WRITE_ZEROES;
	in = h.type == VIRTIO_BLK_T_IN;
	len = h.type > VIRTIO_BLK_T_FLUSH ? 8 * (len & 63) : 512 * len;
	memcpy(vd_at(b, at), &h, sizeof(h));
	if (b->q[q].size >= 3)
		vd_add(b, q,
			(struct vd_buf[]){{at, sizeof(h), false},
				{0xc000, len, in}, {at + 32, 1, true}},
			3);
}

/* One that need not. */
static void chain(struct vbench *b, struct script *s)
{
	unsigned q = take(s, 1) & 3, n = 1 + take(s, 1) % 4, i;
	struct vd_buf buf[4];
	uint32_t what = take(s, 1);

	if (b->q[q].size < n)
		return;
	for (i = 0; i < n; i++)
		buf[i] = (struct vd_buf){
			.gpa = 0x8000 + take(s, 2),
			.len = what & 64 ? take(s, 2) : take(s, 1),
			.writable = what >> i & 1,
		};
	vd_add(b, q, buf, n);
}

static void step(struct vbench *b, struct script *s)
{
	uint32_t what = take(s, 1), n;

	switch (what & 15) {
	case 0:
		start(b, s);
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		request(b, s);
		break;
	case 5:
		chain(b, s);
		break;
	case 6:
		ram(b, s);
		break;
	case 7:
		vd_kick(b, take(s, 1));
		break;
	case 8:
		move(b);
		break;
	case 9:
		virtio_blk_resize(
			b->vdev, 512ull * (what >> 4) << 7, what & 16, NULL);
		break;
	case 10:
		b->range.ops->write(b->range.opaque, 0x100 + take(s, 1),
			1u << (what >> 4 & 3), take(s, 1));
		break;
	case 11:
		vd_write(b, 0x70, 0);
		break;
	default:
		for (n = 0; n < 4; n++)
			vd_kick(b, n);
		for (n = what >> 4; n > 0; n--)
			loop_poll(b->loop, false);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {data + 1, data + size};
	struct vbench *b;
	unsigned i;
	int rc;

	if (size < 1)
		return 0;
	b = bench(data[0] % KINDS);
	for (i = 0; i < STEPS && s.pos < s.end; i++)
		step(b, &s);
	vd_write(b, 0x70, 0);
	assert(vd_read(b, 0x70) == 0 && b->vdev->inflight == 0);
	rc = virtio_blk_resize(b->vdev, IMAGE, true, NULL);
	assert(rc == 0);
	while (loop_poll(b->loop, false))
		;
	memset(b->gm.base, 0, RAM);
	return 0;
}
