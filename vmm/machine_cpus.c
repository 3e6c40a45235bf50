/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine_cpus.c - vCPUs into a machine and out of it, when it is built and
 * while it runs.  Who decides is vmm/hotplug.c.
 */
#include "vmm/machine.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>

#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/regs.h"
#include "vmm/x86/vcpu_fresh.h"

static void vcpu_crashed(void *opaque, bool host_fault)
{
	vm_post(opaque, host_fault ? VM_END_HOST : VM_END_CRASH, 0);
}

/* A vCPU that KVM has just made: CPUID, platform registers, and what it is
 * like now, for those that can be used twice. */
static int set_up(struct vm *vm, unsigned id, int fd, struct error *err)
{
	int code = 0;

	if (!vm->cpuid)
		code = machine_make_cpuid(vm, fd, err);
	if (code == 0)
		code = cpuid_apply(fd, vm->cpuid, id, err);
	if (code == 0)
		code = regs_set_platform(fd, id, err);
	/* Needed for a reset or a plug: leaving it out saves the time and the
	 * memory. */
	if (code < 0 || (vm->cfg->no_reboot && !vm->cpus_come_and_go))
		return code;
	code = vm_need_scratch(vm, err);
	if (code < 0)
		return code;
	code = vcpu_fresh_take(fd, &vm->scratch, &vm->fresh[id], err);
	if (code < 0)
		error_prepend(err, "vcpu%u: power-on state", id);
	return code;
}

/* The TSC rate of a machine that came from a host of another one.  Its value is
 * in step already: KVM sees to that for a new vCPU, vcpu_fresh_put() for a used
 * one.  (No ioctl may be made on another vCPU to find out: it would wait until
 * that one comes out of the guest.) */
static int set_tsc_rate(struct vm *vm, unsigned id, int fd, struct error *err)
{
	int code;

	if (vm->tsc_khz == 0 ||
		kvm_ioctl_num(fd, KVM_GET_TSC_KHZ, 0) == (int)vm->tsc_khz)
		return 0;
	code = kvm_ioctl_num(fd, KVM_SET_TSC_KHZ, vm->tsc_khz);
	if (code < 0)
		return error_errno(err, code, "vcpu%u: KVM_SET_TSC_KHZ", id);
	code = vcpu_fresh_sync_tsc(fd);
	return code < 0 ? error_errno(err, code, "vcpu%u: TSC", id) : 0;
}

void machine_note_tsc_rate(struct vm *vm)
{
	int khz = kvm_ioctl_num(vcpu_fd(vm->vcpu[0]), KVM_GET_TSC_KHZ, 0);

	vm->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
}

static int make_new_again(struct vm *vm, unsigned id, int fd, struct error *err)
{
	int code;

	code = vcpu_fresh_put(
		fd, &vm->scratch, vm->fresh[id], VCPU_FRESH_JOIN, err);
	if (code < 0)
		error_prepend(err, "vcpu%u: reset", id);
	return code;
}

/* A vCPU of @id that is as good as new, and its clock right. */
static int take(struct vm *vm, unsigned id, struct vcpu_handle *ret_handle,
	struct error *err)
{
	struct vcpu_handle handle;
	int code, parked;

	parked = vcpu_park_take(&vm->park, id, &handle, err);
	if (parked < 0)
		return parked;
	/* It was reset when it was parked, but INITs reach those, too. */
	code = parked ? make_new_again(vm, id, handle.fd, err)
		      : set_up(vm, id, handle.fd, err);
	if (code == 0 && id > 0)
		code = set_tsc_rate(vm, id, handle.fd, err);
	if (code == 0) {
		*ret_handle = handle;
		return 0;
	}
	/* One without its power-on state could not be used again. */
	if (parked || vm->fresh[id])
		vcpu_park_put(&vm->park, id, handle);
	else
		vcpu_handle_close(handle, vm->kvm.vcpu_bytes);
	return code;
}

int machine_add_vcpu(struct vm *vm, unsigned id, struct error *err)
{
	struct vcpu_host host = {
		.gate = &vm->gate,
		.pio = &vm->pio,
		.mmio = &vm->mmio,
		.gm = &vm->gm,
		.events = {machine_guest_event, vm},
		.crashed = vcpu_crashed,
		.opaque = vm,
	};
	struct vcpu_handle handle;
	int code;

	code = take(vm, id, &handle, err);
	if (code < 0)
		return code;
	code = vcpu_create(
		handle, id, vm->kvm.vcpu_bytes, &host, &vm->vcpu[id], err);
	if (code < 0) {
		vcpu_park_put(&vm->park, id, handle);
		return code;
	}
	vm->vcpus++;
	return 0;
}

int machine_start_vcpu(struct vm *vm, unsigned id, struct error *err)
{
	int code = vcpu_start(vm->vcpu[id], err);

	if (code == 0)
		vm->vcpus_running++;
	return code;
}

void machine_remove_vcpu(struct vm *vm, unsigned id)
{
	struct vcpu *vcpu = vm->vcpu[id];
	bool running = vcpu_is_started(vcpu), outer;
	struct vcpu_handle handle;
	struct error err;

	assert(id > 0);
	outer = vm_begin_change(vm); /* waiting for its thread polls the loop */
	vm->vcpu[id] = NULL;	     /* nobody kicks it any more */
	handle = vcpu_retire(vcpu);
	vm->vcpus--;
	if (running)
		vm->vcpus_running--;
	vcpu_park_put(&vm->park, id, handle);
	/* Now, so that no interrupt finds its APIC, and again when it is taken.
	 */
	if (make_new_again(vm, id, handle.fd, &err) < 0)
		log_warn("%s (it is tried again when it is plugged)", err.text);
	vm_end_change(vm, outer);
}

int machine_park_vcpu(struct vm *vm, unsigned id, struct error *err)
{
	struct vcpu_handle handle;
	int code = take(vm, id, &handle, err);

	if (code == 0)
		vcpu_park_put(&vm->park, id, handle);
	return code;
}

int machine_add_vcpus(struct vm *vm, struct error *err)
{
	unsigned id;
	int code;

	vm->vcpu = calloc(vm->vcpus_max, sizeof(*vm->vcpu));
	vm->fresh = calloc(vm->vcpus_max, sizeof(*vm->fresh));
	if (!vm->vcpu || !vm->fresh)
		return error_errno(err, -ENOMEM, "vCPU table");
	code = vcpu_park_init(
		&vm->park, vm->fd, vm->kvm.vcpu_bytes, vm->vcpus_max, err);
	for (id = 0; code == 0 && id < vm->cfg->cpus; id++)
		code = machine_add_vcpu(vm, id, err);
	for (; code == 0 && vm->cfg->smp.precreate && id < vm->vcpus_max; id++)
		code = machine_park_vcpu(vm, id, err);
	return code;
}

int machine_reset_vcpus(struct vm *vm, struct error *err)
{
	unsigned id;
	int code;

	code = vcpu_fresh_put(vcpu_fd(vm->vcpu[0]), &vm->scratch, vm->fresh[0],
		VCPU_FRESH_POWER_ON, err);
	if (code < 0)
		return error_prepend(err, "vcpu0: reset");
	for (id = 1; code == 0 && id < vm->vcpus_max; id++)
		if (vm->vcpu[id])
			code = make_new_again(
				vm, id, vcpu_fd(vm->vcpu[id]), err);
	machine_sync_parked(vm);
	return code;
}

/* KVM holds kvmclock to be stable only while the TSCs of all vCPUs that it has
 * ever made are of one generation. */
void machine_sync_parked(struct vm *vm)
{
	unsigned id;
	int fd;

	for (id = 0; id < vm->vcpus_max; id++) {
		fd = vcpu_park_fd(&vm->park, id);
		if (fd >= 0 && vcpu_fresh_sync_tsc(fd) < 0)
			log_warn("vcpu%u: TSC of the parked vCPU", id);
	}
}

void machine_fini_vcpus(struct vm *vm)
{
	unsigned id;

	for (id = vm->vcpu ? vm->vcpus_max : 0; id-- > 0;)
		vcpu_destroy(vm->vcpu[id]);
	vcpu_park_fini(&vm->park);
	for (id = vm->fresh ? vm->vcpus_max : 0; id-- > 0;)
		vcpu_fresh_free(vm->fresh[id]);
	free(vm->vcpu);
	free(vm->fresh);
	vm->vcpu = NULL;
	vm->fresh = NULL;
}
