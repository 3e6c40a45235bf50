/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_balloon.c - a hostile driver on a balloon.
 *
 * Byte 0: which features are offered (bits 0 to 2: stats, hinting, reporting)
 * and if RAM counts as huge pages (bit 3).  Then a script: start with features,
 * chains of any shape on any queue, bytes into RAM, kicks, what the host and a
 * migration ask for, inhibits, moves, resets.
 */
#include <assert.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/phase.h"
#include "migrate/state.h"
#include "tests/fuzz/script.h"
#include "tests/lib/vdriver.h"
#include "virtio/balloon.h"
#include "vmm/log.h"

#define RAM   0x20000u /* that scripts place and find zeroed */
#define KINDS 16u
#define STEPS 160u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct migrate_phases phases[KINDS];

static struct vbench *bench(unsigned kind)
{
	static struct vbench benches[KINDS];
	struct balloon_options opt = {
		.deflate_on_oom = true,
		.stats = kind & 1,
		.hinting = kind & 2,
		.reporting = kind & 4,
		.phases = &phases[kind],
	};
	struct guestmem_options mem = {
		.size = VBENCH_RAM, .backing = GUESTMEM_MEMFD};
	struct vbench *b = &benches[kind];
	struct virtio_dev *dev;
	struct virtio_env env;
	int rc;

	if (b->loop)
		return b;
	log_set_level(LOG_ERROR);
	vbench_init(b);
	if (kind & 8) {
		guestmem_fini(&b->gm);
		rc = guestmem_init(&b->gm, &mem, NULL);
		assert(rc == 0);
		b->gm.backing = GUESTMEM_HUGETLB;
	}
	env = vbench_env(b);
	rc = virtio_balloon_create(&env, "balloon0", &opt, &dev, NULL);
	assert(rc == 0);
	vbench_plug(b, dev);
	return b;
}

static void start(struct vbench *b, struct script *s)
{
	uint16_t size = (uint16_t)(1u << (take(s, 1) & 7));
	uint32_t what = take(s, 2);
	unsigned i;

	b->next_gpa = 0x1000;
	vd_negotiate(b, (what & 0x3f & vd_features(b)) |
				(uint64_t)(what >> 8 & 3) << 28 |
				1ull << VIRTIO_F_VERSION_1);
	vd_write(b, 0x100 + 12, what >> 15);
	for (i = 0; i < VDRIVER_QUEUES; i++)
		if (what >> (10 + i) & 1 || what == 0)
			vd_queue(b, i, size);
	vd_write(b, 0x70, 0xf);
}

/* Every length and place may be wrong; many are pages. */
static void chain(struct vbench *b, struct script *s)
{
	unsigned q = take(s, 1) % VDRIVER_QUEUES, n = 1 + take(s, 1) % 6, i;
	struct vd_buf buf[6];
	uint32_t what = take(s, 1);

	if (b->q[q].size < n)
		return;
	for (i = 0; i < n; i++)
		buf[i] = (struct vd_buf){
			.gpa = what & 64 ? take(s, 2) * 0x800ull
					 : 0x8000 + take(s, 2),
			.len = what & 128 ? take(s, 3) : take(s, 1),
			.writable = what >> i & 1,
		};
	vd_add(b, q, buf, n);
}

/* A list of neighbours, which scripts would not find by chance. */
static void pages(struct vbench *b, struct script *s)
{
	uint32_t first = take(s, 2), count = 1 + take(s, 1), i;
	uint32_t *list = (uint32_t *)(b->gm.base + 0x10000);
	unsigned q = take(s, 1) & 1;
	struct vd_buf buf = {0x10000, 4 * count, false};

	if (b->q[q].size == 0)
		return;
	for (i = 0; i < count; i++)
		list[i] = first % 0x900 + i;
	vd_add(b, q, &buf, 1);
}

static void check_unused(void *opaque, uint64_t gpa, uint64_t len)
{
	const struct vbench *b = opaque;

	assert(len > 0 && (gpa | len) % 4096 == 0);
	assert(guestmem_at(&b->gm, gpa, len));
}

static void migration(struct vbench *b, unsigned kind, uint32_t what)
{
	struct migrate_hints hints = {check_unused, b};
	struct migrate_phase_info info = {
		.phase = what % 5,
		.hints = &hints,
	};

	migrate_publish(&phases[kind], &info);
}

static void inhibit(struct vbench *b, bool on)
{
	if (on && !guestmem_discard_inhibited(&b->gm))
		guestmem_inhibit_discard(&b->gm);
	else if (!on && guestmem_discard_inhibited(&b->gm))
		guestmem_allow_discard(&b->gm);
}

/* Less than it says that it is, more than nothing: figures that hold. */
static void check(struct vbench *b)
{
	struct balloon_stats stats;
	struct balloon_info info;

	virtio_balloon_info(b->vdev, &info);
	assert(info.held_bytes <= VBENCH_RAM);
	assert(info.reported_bytes <= info.returned_bytes);
	assert(info.target_bytes <= VBENCH_RAM);
	virtio_balloon_stats(b->vdev, &stats);
	assert(stats.valid < 1u << BALLOON_STATS);
	assert(b->vdev->inflight <= 1); /* the buffer of statistics */
}

static void step(struct vbench *b, unsigned kind, struct script *s)
{
	uint32_t what = take(s, 1), n;

	switch (what & 15) {
	case 0:
		start(b, s);
		break;
	case 1:
	case 2:
	case 3:
		chain(b, s);
		break;
	case 4:
		ram(b, s);
		break;
	case 5:
		pages(b, s);
		break;
	case 6:
		migration(b, kind, what >> 4);
		break;
	case 7:
		vd_kick(b, take(s, 1));
		break;
	case 8:
		move(b);
		break;
	case 9:
		inhibit(b, what >> 4 & 1);
		break;
	case 10:
		virtio_balloon_set(b->vdev, take(s, 3), NULL);
		vd_write(b, 0x100 + (what >> 4), take(s, 2));
		break;
	case 11:
		virtio_balloon_ask_stats(b->vdev);
		virtio_balloon_set_interval(b->vdev, what >> 4);
		break;
	case 12:
		if (what >> 4 == 0)
			vd_write(b, 0x70, 0);
		break;
	default:
		for (n = what >> 4; n > 0; n--)
			loop_poll(b->loop, false);
		for (n = 0; n < VDRIVER_QUEUES; n++)
			vd_kick(b, n);
		break;
	}
	check(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct script s = {data + 1, data + size};
	unsigned i, kind;
	struct vbench *b;

	if (size < 1)
		return 0;
	kind = data[0] % KINDS;
	b = bench(kind);
	for (i = 0; i < STEPS && s.pos < s.end; i++)
		step(b, kind, &s);
	inhibit(b, false);
	vd_write(b, 0x70, 0);
	assert(vd_read(b, 0x70) == 0 && b->vdev->inflight == 0);
	while (loop_poll(b->loop, false))
		;
	virtio_balloon_set_interval(b->vdev, 0);
	memset(b->gm.base, 0, RAM);
	return 0;
}
