/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_virtqueue.c - a hostile ring and hostile descriptors.
 *
 * Byte 0: log2 of the queue size (bits 0-3), EVENT_IDX (4), INDIRECT_DESC (5).
 * Byte 1: log2 of the alignment of the rings.  The rest is guest RAM from 0 on:
 * the available ring, the used ring, the descriptor table, data.
 */
#include <assert.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/queue.h"
#include "vmm/guestmem.h"

#define RAM (64u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_chain(const struct guestmem *gm, const struct virtq_chain *c)
{
	unsigned i, count = (unsigned)c->readable + c->writable;
	const uint8_t *p;

	assert(count <= VIRTQ_SIZE_MAX);
	for (i = 0; i < count; i++) {
		p = c->iov[i].iov_base;
		assert(c->iov[i].iov_len > 0 && c->iov[i].iov_len <= RAM);
		assert(p >= gm->base);
		assert(p + c->iov[i].iov_len <= gm->base + gm->size);
	}
}

static void drain(struct virtq *q, struct virtq_chain *c)
{
	unsigned n, done = 0;
	int rc;

	for (n = 0; n < 3 * VIRTQ_SIZE_MAX; n++) {
		rc = virtq_pop(q, c);
		if (rc == 0 && !virtq_notify_on(q))
			return;
		if (rc == -EPROTO) {
			assert(q->broken && virtq_pop(q, c) == -EPROTO);
			return;
		}
		if (rc != 1)
			continue;
		check_chain(q->gm, c);
		virtq_notify_off(q);
		if (n % 5 == 4) {
			virtq_unpop(q);
			continue;
		}
		/* What a device does: all of the writable part is written. */
		if (c->writable > 0)
			memset(virtq_chain_in(c)[0].iov_base, (int)n, 1);
		virtq_mark_written(
			q->gm, virtq_chain_in(c), c->writable, UINT64_MAX);
		virtq_done(q, c->head, n);
		virtq_wants_interrupt(q);
		done++;
	}
	/* The guest does not run meanwhile, but what a device writes may be
	 * the available ring itself; so this may go on.  The caller's batch
	 * bound is what ends it. */
	assert(done > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct virtq_chain chain;
	static struct guestmem gm;
	static uint64_t map[RAM / 4096 / 64 + 1];
	struct guestmem_options opt = {.size = RAM};
	struct virtq_regs regs = {.ready = true};
	struct virtq_pos pos = {0};
	struct virtq q;
	uint64_t step;

	if (!gm.base && (guestmem_init(&gm, &opt, NULL) < 0 ||
				guestmem_dirty_log_start(&gm) < 0))
		abort();
	if (size < 2)
		return 0;
	regs.size = (uint16_t)(1u << (data[0] & 15));
	step = 1u << (data[1] & 15);
	regs.avail = 0;
	regs.used = (6 + 2u * regs.size + step - 1) / step * step;
	regs.desc = (regs.used + 6 + 8u * regs.size + step - 1) / step * step;
	memset(gm.base, 0, RAM);
	if (size - 2 > RAM)
		size = RAM + 2;
	memcpy(gm.base, data + 2, size - 2);
	if (virtq_start(&q, &regs, VIRTQ_SIZE_MAX,
		    (uint64_t)(data[0] >> 4 & 1) << VIRTIO_RING_F_EVENT_IDX |
			    (uint64_t)(data[0] >> 5 & 1)
				    << VIRTIO_RING_F_INDIRECT_DESC,
		    &pos, &gm) < 0)
		return 0;
	drain(&q, &chain);
	virtq_may_be_unseen(&q);
	guestmem_dirty_fetch(&gm, map);
	return 0;
}
