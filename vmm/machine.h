/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine.h - building a machine and taking it apart.  For vm.c.
 * Thread: the owner of struct vm, but where a line says otherwise.
 */
#ifndef GODWIT_VMM_MACHINE_H
#define GODWIT_VMM_MACHINE_H

#include <stdint.h>

#include "devices/event.h"

struct error;
struct vm;

/**
 * machine_build - the only way a VM comes to be: memory, irqchip, I/O threads,
 * buses, devices, vCPUs, in that order; then boot_load() and the entry
 * registers.
 * @vm: zeroed but for cfg, loop, gate, fds -1.  On failure vm_destroy() frees
 *      whatever is there.
 * Return: 0 or -errno with @err.
 */
int machine_build(struct vm *vm, struct error *err);

/* Load kernel, initrd and tables into RAM and point vCPU 0 at the entry. */
int machine_load_guest(struct vm *vm, struct error *err);

/* Free what machine_build() made, in reverse.  vCPU threads at the gate. */
void machine_fini(struct vm *vm);

/* What devices and vCPUs report; @opaque is the struct vm.  vCPU threads. */
void machine_guest_event(void *opaque, enum guest_event event, uint32_t code);

#endif
