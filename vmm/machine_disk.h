/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/machine_disk.h - disks of a machine, for machine*.c only. */
#ifndef GODWIT_VMM_MACHINE_DISK_H
#define GODWIT_VMM_MACHINE_DISK_H

struct error;
struct virtio_dev;
struct vm;

/* What all disks share: the pool, and the way to say that one is full.
 * Owner.  0 or -errno with @err; undone by machine_fini_disks(). */
int machine_init_disks(struct vm *vm, struct error *err);
/* After the devices are gone. */
void machine_fini_disks(struct vm *vm);

/* The device of vm->cfg->disk[@index], into vm->blk[@index] as well.  Owner; it
 * is made on the loop that serves it.  0 or -errno with @err. */
int machine_make_disk(struct vm *vm, unsigned index, const char *name,
	struct virtio_dev **ret_dev, struct error *err);

#endif
