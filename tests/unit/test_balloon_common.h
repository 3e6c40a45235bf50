/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_balloon_common.h - a balloon in a small machine. */
#ifndef GODWIT_TESTS_UNIT_TEST_BALLOON_COMMON_H
#define GODWIT_TESTS_UNIT_TEST_BALLOON_COMMON_H

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/device.h"
#include "loop/loop.h"
#include "migrate/phase.h"
#include "tests/lib/testing.h"
#include "tests/lib/vdriver.h"
#include "virtio/balloon.h"
#include "vmm/error.h"

#define BIT(n) (1ull << (n))
#define ALL                                                                    \
	(BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST) |                                \
		BIT(VIRTIO_BALLOON_F_STATS_VQ) |                               \
		BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) |                         \
		BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) |                         \
		BIT(VIRTIO_BALLOON_F_PAGE_POISON) |                            \
		BIT(VIRTIO_BALLOON_F_REPORTING))
#define NO_POISON (ALL & ~BIT(VIRTIO_BALLOON_F_PAGE_POISON))

/* Queues of a driver that accepts everything. */
enum { INFLATE, DEFLATE, STATS, HINT, REPORT };

#define LIST	  0x300000u /* gpa: for lists, ids, figures */
#define PAGES	  0x400000u /* gpa: the rest of RAM, for pages */
#define PAGES_END ((uint32_t)VBENCH_RAM)
#define PFN(gpa)  ((uint32_t)((gpa) >> 12))
#define AT_TARGET (VIRTIO_MMIO_CONFIG + 0)
#define AT_ACTUAL (VIRTIO_MMIO_CONFIG + 4)
#define AT_HINT	  (VIRTIO_MMIO_CONFIG + 8)
#define AT_POISON (VIRTIO_MMIO_CONFIG + 12)

static struct vbench b;
static struct migrate_phases phases;
static unsigned changes;

static void note_change(void *opaque)
{
	changes++;
}

static inline struct balloon_options everything(void)
{
	return (struct balloon_options){
		.deflate_on_oom = true,
		.stats = true,
		.hinting = true,
		.reporting = true,
		.phases = &phases,
		.changed = note_change,
	};
}

static inline void plug_with(const struct balloon_options *opt)
{
	struct virtio_env env = vbench_env(&b);
	struct virtio_dev *dev;
	struct error err;

	vbench_unplug(&b);
	if (virtio_balloon_create(&env, "balloon0", opt, &dev, &err) < 0)
		fail_msg("%s", err.text);
	vbench_plug(&b, dev);
}

static inline void plug_all(void)
{
	struct balloon_options opt = everything();

	plug_with(&opt);
}

/* Other RAM under the machine; before a device. */
static inline void use_backing(enum guestmem_backing backing)
{
	struct guestmem_options opt = {
		.size = VBENCH_RAM, .backing = GUESTMEM_MEMFD};

	vbench_unplug(&b);
	guestmem_fini(&b.gm);
	if (backing == GUESTMEM_ANON)
		opt.backing = GUESTMEM_ANON;
	assert_int_equal(guestmem_init(&b.gm, &opt, NULL), 0);
	/* Huge pages need not be there: what matters is their size. */
	b.gm.backing = backing;
	b.next_gpa = 0x1000;
}

static inline int setup(void **state)
{
	vbench_init(&b);
	changes = 0;
	plug_all();
	return 0;
}

static inline int teardown(void **state)
{
	vbench_fini(&b);
	assert_null(phases.first);
	return 0;
}

static inline void start_with(uint64_t features)
{
	b.next_gpa = 0x1000;
	vd_start(&b, features | BIT(VIRTIO_RING_F_EVENT_IDX), 5, 64);
}

static inline void start(void)
{
	start_with(NO_POISON);
}

/* ---- memory ---- */

static inline void fill(uint64_t gpa, uint64_t len)
{
	memset(vd_at(&b, gpa), 0xaa, len);
}

/* Pages of [gpa, gpa + len) that have memory. */
static inline unsigned resident(uint64_t gpa, uint64_t len)
{
	unsigned char map[VBENCH_RAM / 4096];
	unsigned i, n = 0;

	assert_int_equal(mincore(b.gm.base + gpa, len, map), 0);
	for (i = 0; i < len / 4096; i++)
		n += map[i] & 1;
	return n;
}

static inline bool is_filled(uint64_t gpa)
{
	return *(uint8_t *)vd_at(&b, gpa) == 0xaa;
}

/* ---- requests ---- */

static inline void offer_list(unsigned q, const uint32_t *pfn, unsigned count)
{
	struct vd_buf buf = {LIST, 4 * count, false};
	uint32_t *list = vd_at(&b, LIST);
	unsigned i;

	for (i = 0; i < count; i++)
		list[i] = htole32(pfn[i]);
	vd_add(&b, q, &buf, 1);
	vd_kick(&b, q);
}

static inline void give_list(unsigned q, const uint32_t *pfn, unsigned count)
{
	offer_list(q, pfn, count);
	assert_int_equal(vd_wait(&b, q), 0);
}

/* [gpa, gpa + len) goes into, or comes out of, the balloon. */
static inline void give_range(unsigned q, uint64_t gpa, uint64_t len)
{
	static uint32_t pfn[VBENCH_RAM / 4096];
	unsigned i, n = (unsigned)(len / 4096);

	for (i = 0; i < n; i++)
		pfn[i] = PFN(gpa) + i;
	give_list(q, pfn, n);
}

static inline struct balloon_info info(void)
{
	struct balloon_info i;

	virtio_balloon_info(b.vdev, &i);
	return i;
}

#endif
