/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/virtq_regs.c - every value of the queue registers, RAM of 256
 * bytes at 0.
 * promise: rings that are accepted lie wholly in RAM, aligned, size a power of two
 * break: virtio/queue.c s/return 6 \+ 8 \* \(uint64_t\)size/return 8 * (uint64_t)size/
 * options: -eva-slevel 3000
 */
#include "tests/proof/proof.h"

#define __asm__(...)

#include "virtio/queue.c"

static uint8_t ram[256];

void *guestmem_at(const struct guestmem *gm, uint64_t gpa, uint64_t len)
{
	if (len == 0 || len > sizeof(ram) || gpa > sizeof(ram) - len)
		return NULL;
	return ram + gpa;
}

void guestmem_mark_dirty(const struct guestmem *gm, uint64_t gpa, uint64_t len)
{
}

int main(void)
{
	struct virtq_pos pos = {0};
	struct virtq_regs regs;
	struct guestmem gm;
	struct virtq q;
	unsigned size;

	for (size = 0; size <= 9; size++) {
		regs.desc = any_u64(0, UINT64_MAX);
		regs.avail = any_u64(0, UINT64_MAX);
		regs.used = any_u64(0, UINT64_MAX);
		regs.size = (uint16_t)size;
		regs.ready = true;
		if (virtq_start(&q, &regs, 8, 0, &pos, &gm) < 0)
			continue;
		/*@ assert size == 1 || size == 2 || size == 4 || size == 8; */
		/*@ assert \valid_read(q.desc + (size - 1)); */
		/*@ assert \valid_read(&q.avail->ring[size]); */
		/*@ assert \valid((uint16_t *)&q.used->ring[size]); */
	}
	return 0;
}
