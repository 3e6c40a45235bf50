/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/machine.c - the one function that builds a machine, for run, restore and
 * receive alike.
 *
 * The order is fixed.  Memory slots come before the irqchip: the first slot of
 * a VM that has one waits 5 to 9 ms for a grace period of KVM's own.  Device
 * order, addresses and interrupts are migration ABI.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "loop/pool.h"
#include "vmm/config.h"
#include "vmm/machine_devices.h"
#include "vmm/error.h"
#include "vmm/irq.h"
#include "vmm/loops.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/regs.h"

#define APIC_IDS_PLAIN 255u /* beyond: x2APIC format of MSIs and routes */

/* ---- KVM, memory, irqchip ---- */

/* What a vCPU's events tell only when asked to: a pending page fault apart from
 * its address, a triple fault that nobody has seen yet. */
static int ask_for_events(struct vm *vm, struct error *err)
{
	static const enum kvm_cap_index wanted[] = {
		KVM_HAS_EXCEPTION_PAYLOAD, KVM_HAS_TRIPLE_FAULT_EVENT};
	unsigned i;
	int code;

	for (i = 0; i < 2; i++) {
		const struct kvm_cap *c = &kvm_cap_table()[wanted[i]];
		struct kvm_enable_cap cap = {.cap = c->number, .args[0] = 1};

		if (!kvm_caps_has(&vm->caps, wanted[i]))
			continue;
		code = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
		if (code < 0)
			return error_errno(err, code,
				"KVM_ENABLE_CAP of KVM_CAP_%s", c->name);
	}
	return 0;
}

static int open_kvm(struct vm *vm, struct error *err)
{
	int code;

	code = kvm_open(&vm->kvm, err);
	if (code < 0)
		return code;
	vm->fd = kvm_ioctl_num(vm->kvm.fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return error_errno(err, vm->fd, "KVM_CREATE_VM");
	code = kvm_caps_check(vm->fd, &vm->caps, err);
	if (code < 0)
		return code;
	code = kvm_caps_check_vcpus(&vm->caps, vm->cfg->cpus, err);
	if (code < 0)
		return code;
	return ask_for_events(vm, err);
}

static int add_slots(struct vm *vm, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < vm->gm.regions; i++) {
		const struct guestmem_region *r = &vm->gm.region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr =
				(uint64_t)(uintptr_t)(vm->gm.base + r->offset),
		};

		code = kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
		if (code < 0)
			return error_errno(
				err, code, "KVM_SET_USER_MEMORY_REGION %u", i);
	}
	return 0;
}

static int add_irqchip(struct vm *vm, struct error *err)
{
	uint64_t identity = LAYOUT_IDENTITY_MAP;
	struct kvm_pit_config pit = {.flags = 0};
	int code;

	code = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (code < 0)
		return error_errno(err, code, "KVM_SET_IDENTITY_MAP_ADDR");
	code = kvm_ioctl_num(vm->fd, KVM_SET_TSS_ADDR, LAYOUT_TSS);
	if (code < 0)
		return error_errno(err, code, "KVM_SET_TSS_ADDR");
	if (vm->cfg->cpus > APIC_IDS_PLAIN) {
		struct kvm_enable_cap cap = {
			.cap = KVM_CAP_X2APIC_API,
			.args[0] = KVM_X2APIC_API_USE_32BIT_IDS |
				   KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
		};

		code = kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
		if (code < 0)
			return error_errno(err, code,
				"more than %u vCPUs: KVM_CAP_X2APIC_API",
				APIC_IDS_PLAIN);
	}
	code = kvm_ioctl_num(vm->fd, KVM_CREATE_IRQCHIP, 0);
	if (code < 0)
		return error_errno(err, code, "KVM_CREATE_IRQCHIP");
	if (!vm->cfg->pit)
		return 0;
	code = kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
	return code < 0 ? error_errno(err, code, "KVM_CREATE_PIT2") : 0;
}

/* ---- vCPUs ---- */

void machine_guest_event(void *opaque, enum guest_event event, uint32_t code)
{
	static const enum vm_end end_of[] = {
		[GUEST_EVENT_NONE] = VM_END_NONE,
		[GUEST_EVENT_POWEROFF] = VM_END_POWEROFF,
		[GUEST_EVENT_RESET] = VM_END_RESET,
		[GUEST_EVENT_PANIC] = VM_END_PANIC,
		[GUEST_EVENT_CRASHLOAD] = VM_END_NONE,
		[GUEST_EVENT_DEBUG_EXIT] = VM_END_DEBUG_EXIT,
	};

	if (end_of[event] != VM_END_NONE)
		vm_post(opaque, end_of[event], code);
}

static void vcpu_crashed(void *opaque, bool host_fault)
{
	vm_post(opaque, host_fault ? VM_END_HOST : VM_END_CRASH, 0);
}

static int make_cpuid(struct vm *vm, struct error *err)
{
	int khz = kvm_ioctl_num(vcpu_fd(vm->vcpu[0]), KVM_GET_TSC_KHZ, 0);
	struct cpuid_spec spec = {
		.cpus_max = vm->cfg->cpus,
		.tsc_deadline =
			kvm_caps_has(&vm->caps, KVM_HAS_TSC_DEADLINE_TIMER),
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
	};

	return cpuid_create(vm->kvm.fd, &spec, &vm->cpuid, err);
}

static int add_vcpu(struct vm *vm, unsigned id, struct error *err)
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
	int code;

	code = vcpu_create(vm->fd, id, vm->kvm.vcpu_bytes, &host,
		&vm->vcpu[vm->vcpus], err);
	if (code < 0)
		return code;
	vm->vcpus++;
	if (!vm->cpuid) {
		code = make_cpuid(vm, err);
		if (code < 0)
			return code;
	}
	code = cpuid_apply(vcpu_fd(vm->vcpu[id]), vm->cpuid, id, err);
	if (code < 0)
		return code;
	return regs_set_platform(vcpu_fd(vm->vcpu[id]), id, err);
}

static int add_vcpus(struct vm *vm, struct error *err)
{
	unsigned id;
	int code;

	vm->vcpu = calloc(vm->cfg->cpus, sizeof(struct vcpu *));
	if (!vm->vcpu)
		return error_errno(err, -ENOMEM, "vCPU table");
	for (id = 0; id < vm->cfg->cpus; id++) {
		code = add_vcpu(vm, id, err);
		if (code < 0)
			return code;
	}
	return 0;
}

/* Needed for a reset only: --no-reboot saves the time and the memory. */
static int keep_pristine(struct vm *vm, struct error *err)
{
	int code;

	if (vm->cfg->no_reboot)
		return 0;
	code = vm_save_cpus(vm, &vm->pristine, err);
	if (code < 0)
		error_prepend(err, "power-on state");
	return code;
}

static int start_vcpus(struct vm *vm, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < vm->vcpus; i++) {
		code = vcpu_start(vm->vcpu[i], err);
		if (code < 0)
			return code;
		vm->vcpus_running++;
	}
	return 0;
}

/* ---- the guest ---- */

static int open_images(struct vm *vm, struct error *err)
{
	int code;

	code = image_open(&vm->kernel, "kernel", vm->cfg->kernel, err);
	if (code < 0 || !vm->cfg->initrd)
		return code;
	return image_open(&vm->initrd, "initrd", vm->cfg->initrd, err);
}

int machine_load_guest(struct vm *vm, struct error *err)
{
	struct boot_spec spec = {
		.kernel = &vm->kernel,
		.initrd = vm->cfg->initrd ? &vm->initrd : NULL,
		.cmdline = vm->cfg->append,
		.machine = vm->cfg->machine,
		.protocol = vm->cfg->protocol,
		.cpus = vm->vcpus,
		.cpus_max = vm->vcpus,
		.virtio_devices = vm->virtio_devices,
		.serial = vm->serial != NULL,
		.pvpanic = true,
	};
	struct boot_entry entry;
	int code;

	code = boot_load(&spec, &vm->gm, &entry, err);
	if (code < 0)
		return code;
	return regs_set_entry(vcpu_fd(vm->vcpu[0]), &entry, err);
}

int machine_build(struct vm *vm, struct error *err)
{
	int code;

	code = open_images(vm, err);
	if (code == 0)
		code = open_kvm(vm, err);
	if (code == 0)
		code = guestmem_init(&vm->gm, &vm->cfg->memory, err);
	if (code == 0)
		code = add_slots(vm, err);
	if (code == 0)
		code = add_irqchip(vm, err);
	if (code == 0)
		code = loops_start_threads(vm, err);
	if (code == 0)
		loops_start_trace(vm);
	if (code == 0)
		code = machine_add_devices(vm, err);
	if (code == 0)
		code = add_vcpus(vm, err);
	if (code == 0)
		code = keep_pristine(vm, err);
	if (code == 0)
		code = machine_load_guest(vm, err);
	if (code == 0)
		code = start_vcpus(vm, err);
	return code;
}

void machine_fini(struct vm *vm)
{
	unsigned i;

	for (i = vm->vcpus; i-- > 0;)
		vcpu_destroy(vm->vcpu[i]);
	free(vm->vcpu);
	free(vm->cpuid);
	for (i = vm->devices; i-- > 0;)
		vm->device[i]->ops->destroy(vm->device[i]);
	pool_destroy(vm->pool);
	loops_stop_threads(vm);
	for (i = vm->irqs; i-- > 0;)
		irq_line_close(vm->fd, vm->irq[i].gsi, vm->irq[i].fd);
	for (i = vm->host_fds; i-- > 0;)
		close(vm->host_fd[i]);
	vcpu_scratch_fini(&vm->scratch);
	guestmem_fini(&vm->gm);
	if (vm->fd >= 0)
		kvm_close_vm(vm->fd);
	kvm_close(&vm->kvm);
	image_close(&vm->kernel);
	image_close(&vm->initrd);
}
