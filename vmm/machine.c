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

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/cpu_hotplug.h"
#include "vmm/config.h"
#include "vmm/machine_devices.h"
#include "vmm/machine_disk.h"
#include "vmm/error.h"
#include "vmm/irq.h"
#include "vmm/loops.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/cpu_model.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/regs.h"

/* vCPUs, all there from the start, that can go and come back. */
#define HOTPLUG_ALWAYS_MAX 512u

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
	code = kvm_caps_check_vcpus(&vm->caps, vm->vcpus_max, err);
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
	if (vm->vcpus_max > APIC_IDS_PLAIN) {
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

/* A machine that comes from elsewhere keeps the CPUs it had there. */
static int copy_cpuid(int kvm_fd, const struct kvm_cpuid2 *from,
	struct kvm_cpuid2 **ret, struct error *err)
{
	size_t bytes = sizeof(*from) + from->nent * sizeof(from->entries[0]);
	int code;

	code = cpuid_check_host(from, kvm_fd, err);
	if (code < 0)
		return code;
	*ret = malloc(bytes);
	if (!*ret)
		return error_errno(err, -ENOMEM, "CPUID");
	memcpy(*ret, from, bytes);
	return 0;
}

int machine_make_cpuid(struct vm *vm, int vcpu_fd, struct error *err)
{
	int khz = kvm_ioctl_num(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	struct cpuid_spec spec = {
		.cpus_max = vm->vcpus_max,
		.sockets = vm->cfg->smp.sockets,
		.cores = vm->cfg->smp.cores,
		.threads = vm->cfg->smp.threads,
		.model = vm->cfg->cpu,
		.tsc_deadline =
			kvm_caps_has(&vm->caps, KVM_HAS_TSC_DEADLINE_TIMER),
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
	};

	if (vm->cfg->cpuid)
		return copy_cpuid(vm->kvm.fd, vm->cfg->cpuid, &vm->cpuid, err);
	return cpuid_create(vm->kvm.fd, &spec, &vm->cpuid, err);
}

/* Needed for a reset only: --no-reboot saves the time and the memory. */
static int keep_pristine(struct vm *vm, struct error *err)
{
	int code;

	if (vm->cfg->no_reboot)
		return 0;
	code = vm_save_irqchip(vm, &vm->pristine, err);
	if (code < 0)
		error_prepend(err, "power-on state");
	return code;
}

static int start_vcpus(struct vm *vm, struct error *err)
{
	unsigned id;
	int code = 0;

	for (id = 0; code == 0 && id < vm->cfg->cpus; id++)
		code = machine_start_vcpu(vm, id, err);
	return code;
}

/* ---- vCPU hotplug ---- */

/* Only ACPI can tell the guest.  A machine of many vCPUs that are all there may
 * use the room for its tables otherwise. */
static int choose_hotplug(struct vm *vm, struct error *err)
{
	unsigned cpus = vm->cfg->cpus, max = vm->cfg->smp.max;
	bool acpi = vm->cfg->machine == BOOT_MACHINE_ACPI;

	vm->vcpus_max = max > cpus ? max : cpus;
	if (max > cpus && !acpi)
		return error_set(err, -EINVAL,
			"--cpus %u,max=%u: only --machine acpi can tell a "
			"guest of more vCPUs (use it, or leave max out)",
			cpus, max);
	vm->cpus_come_and_go = acpi && vm->vcpus_max > 1 &&
			       (max > cpus || cpus <= HOTPLUG_ALWAYS_MAX);
	return 0;
}

static int add_cpu_registers(struct vm *vm, struct error *err)
{
	struct vm_irq *irq = &vm->irq[vm->irqs];
	struct cpu_hotplug_options opt;
	struct bus_range range;
	struct device *dev;
	int code;

	if (!vm->cpus_come_and_go)
		return 0;
	assert(vm->irqs < VM_DEVICES_MAX && vm->devices < VM_DEVICES_MAX);
	hotplug_options(vm, &opt);
	code = irq_line_open(vm->fd, LAYOUT_GSI_GED, &irq->fd, err);
	if (code < 0)
		return code;
	irq->gsi = LAYOUT_GSI_GED;
	vm->irqs++;
	opt.irq_fd = irq->fd;
	code = cpu_hotplug_create(&opt, &dev, &range);
	if (code < 0)
		return error_errno(err, code, "cpu-hotplug");
	vm->device[vm->devices++] = dev;
	hotplug_set_registers(vm, dev);
	return bus_add(&vm->pio, &range, err);
}

/* Which vCPUs the tables call present; to be freed. */
static int present_map(struct vm *vm, bool **ret_map, struct error *err)
{
	unsigned id;

	*ret_map = calloc(vm->vcpus_max, sizeof(**ret_map));
	if (!*ret_map)
		return error_errno(err, -ENOMEM, "map of vCPUs");
	for (id = 0; id < vm->vcpus_max; id++)
		(*ret_map)[id] = vm->vcpu[id] != NULL;
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

/* A machine that came from elsewhere needs its kernel again only when it is
 * reset. */
static int need_images(struct vm *vm, struct error *err)
{
	int code;

	if (vm->kernel.fd >= 0)
		return 0;
	code = open_images(vm, err);
	if (code < 0) {
		image_close(&vm->kernel);
		error_prepend(err, "boot again");
	}
	return code;
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
		.cpus_max = vm->vcpus_max,
		.cpu_hotplug = vm->cpus_come_and_go,
		.virtio_devices = vm->virtio_devices,
		.serial = vm->serial != NULL,
		.pvpanic = true,
	};
	struct boot_entry entry;
	bool *present;
	int code;

	code = need_images(vm, err);
	if (code < 0)
		return code;
	code = present_map(vm, &present, err);
	if (code < 0)
		return code;
	spec.cpu_present = present;
	code = boot_load(&spec, &vm->gm, &entry, err);
	free(present);
	if (code < 0)
		return code;
	return regs_set_entry(vcpu_fd(vm->vcpu[0]), &entry, err);
}

int machine_build(struct vm *vm, struct error *err)
{
	int code;

	code = choose_hotplug(vm, err);
	if (code == 0)
		code = hotplug_create(vm, err);
	if (code == 0 && !vm->cfg->incoming)
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
		code = add_cpu_registers(vm, err);
	if (code == 0)
		code = machine_add_vcpus(vm, err);
	if (code == 0)
		code = keep_pristine(vm, err);
	if (code == 0 && !vm->cfg->incoming)
		code = machine_load_guest(vm, err);
	if (code == 0)
		code = start_vcpus(vm, err);
	return code;
}

void machine_fini(struct vm *vm)
{
	unsigned i;

	machine_fini_vcpus(vm);
	hotplug_destroy(vm);
	free(vm->cpuid);
	for (i = vm->devices; i-- > 0;)
		vm->device[i]->ops->destroy(vm->device[i]);
	machine_fini_disks(vm);
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
