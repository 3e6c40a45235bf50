/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/hotplug.h - vCPUs come and go while the guest runs (V1-V4).
 *
 * Plug: a parked fd of that id, or KVM_CREATE_VCPU; reset; thread; the guest is
 * told.  Unplug: the guest is asked; when it ejects, the thread is joined and
 * the fd parked.  What the guest sees is devices/ (GED, CPU registers).
 *
 * Thread: the owner of the VM, in a bottom half with vm_guard() or with the VM
 * not running.
 */
#ifndef GODWIT_VMM_HOTPLUG_H
#define GODWIT_VMM_HOTPLUG_H

#include <stdbool.h>

struct error;
struct vm;

/* Every vCPU asked for is in place as far as we can see (plugged: its thread
 * waits for the guest's INIT/SIPI; unplugged: ejected and parked), or @code
 * says why not: -ETIMEDOUT (the guest did not eject), -EACCES (it refused by
 * _OST), -ECANCELED (reset, end of the VM).  @err and the code as usual. */
typedef void vm_cpus_done_fn(void *opaque, int code, const struct error *err);

/**
 * vm_set_cpus - plug or unplug until @count vCPUs are present.
 * Plug takes the lowest absent ids, unplug the highest present ones.  A paused
 * VM can be plugged (the guest hears of it when it runs); unplug wants it
 * running.
 * @timeout_ms: for the guest to eject; 0: 10 s.
 * @done:       once, after return 0; from a later poll of the loop.
 * Return: 0; -EINVAL (0: the boot CPU stays; above the maximum: nothing was
 *         tried), -EBUSY (one is under way, or the VM is being moved), -EAGAIN
 *         (paused, and vCPUs are to go), -errno of KVM or the thread; with
 * @err.
 */
int vm_set_cpus(struct vm *vm, unsigned count, int timeout_ms,
	vm_cpus_done_fn *done, void *opaque, struct error *err);

unsigned vm_cpus_present(const struct vm *vm);
unsigned vm_cpus_parked(const struct vm *vm);
unsigned vm_cpus_max(const struct vm *vm);
bool vm_cpu_is_present(const struct vm *vm, unsigned id);

/* While a move is under way vCPUs neither come nor go: vm_set_cpus() answers
 * -EBUSY.  Refused (-EBUSY) while a plug or unplug is under way.  Counted. */
int vm_cpus_freeze(struct vm *vm, struct error *err);
void vm_cpus_thaw(struct vm *vm);

#endif
