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

/* Take every disk image, or none (-EBUSY with @err); and give them up. Drained.
 */
int machine_lock_disks(struct vm *vm, struct error *err);
void machine_unlock_disks(struct vm *vm);

/* ---- vCPUs (machine_cpus.c) ---- */

struct kvm_cpuid2;

/* CPUID of all vCPUs into vm->cpuid; @vcpu_fd: the first of them. */
int machine_make_cpuid(struct vm *vm, int vcpu_fd, struct error *err);

/* vm->cfg->cpus vCPUs, those to be parked from the start, and the tables. */
int machine_add_vcpus(struct vm *vm, struct error *err);
void machine_fini_vcpus(struct vm *vm);

/* Make vCPU @id, absent, present and as good as new; no thread yet.
 * Return: 0 or -errno with @err, still absent. */
int machine_add_vcpu(struct vm *vm, unsigned id, struct error *err);
int machine_start_vcpu(struct vm *vm, unsigned id, struct error *err);
/* End vCPU @id, present and not the first, and park what KVM has of it.  Polls
 * the loop, as vm_pause() does. */
void machine_remove_vcpu(struct vm *vm, unsigned id);
/* Let KVM make vCPU @id, neither present nor parked, and park it. */
int machine_park_vcpu(struct vm *vm, unsigned id, struct error *err);

/* All present to power-on state.  Paused.  0 or -errno with @err. */
int machine_reset_vcpus(struct vm *vm, struct error *err);
/* The TSCs of the others were set: those parked follow. */
void machine_sync_parked(struct vm *vm);
/* The state of vCPU 0 was loaded: those to come follow its rate.  Paused. */
void machine_note_tsc_rate(struct vm *vm);

/* Free what machine_build() made, in reverse.  vCPU threads at the gate. */
void machine_fini(struct vm *vm);

/* What devices and vCPUs report; @opaque is the struct vm.  vCPU threads. */
void machine_guest_event(void *opaque, enum guest_event event, uint32_t code);

#endif
