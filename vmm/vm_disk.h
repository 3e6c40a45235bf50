/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_disk.h - what may be done with the disks of a VM while it runs.
 *
 * Disks are counted from 0 on, in the order of the configuration.
 * Thread: the owner of the VM; waits for the loop that serves the disk.
 */
#ifndef GODWIT_VMM_VM_DISK_H
#define GODWIT_VMM_VM_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/backend/bucket.h"

struct error;
struct virtio_blk_stats;
struct vm;

unsigned vm_disks(const struct vm *vm);
/* virtio_blk_resize().  In a bottom half with vm_guard(); may poll. */
int vm_disk_resize(struct vm *vm, unsigned disk, uint64_t bytes, bool shrink,
	struct error *err);
void vm_disk_stats(
	struct vm *vm, unsigned disk, struct virtio_blk_stats *ret_stats);

/* Those of its group; all zero: none. */
void vm_disk_limits(
	struct vm *vm, unsigned disk, struct bucket_limits *ret_limits);
/* They hold from the next request on, for the whole group.  0 or -ENOMEM. */
int vm_disk_set_limits(
	struct vm *vm, unsigned disk, const struct bucket_limits *limits);

/* Call @fn after the VM was paused because there is no room for a write of
 * @disk; NULL: no more. */
/* Bit i: the VM is paused because disk i has no room for a write. */
uint32_t vm_paused_for_disks(const struct vm *vm);
/* ... and is told. */
void vm_on_disk_full(
	struct vm *vm, void (*fn)(void *opaque, unsigned disk), void *opaque);

#endif
