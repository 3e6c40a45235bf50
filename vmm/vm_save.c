/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_save.c - every section of a VM but RAM, out and back.
 *
 * Save order: clock, event, the map of vCPUs, irqchip, vCPUs, devices.  A load
 * takes the sections in any order but applies them in this one, because the map
 * says which vCPUs there are, the LAPICs look at the IOAPIC's routes and a
 * device may raise an interrupt when it is resumed.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loop/loop.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/loops.h"
#include "vmm/machine.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/vm_state.h"

#define EVENT_STATE_VERSION 1u
#define CPUS_STATE_VERSION  1u

#define SECTION_CLOCK	0u
#define SECTION_EVENT	1u
#define SECTION_CPUS	2u
#define SECTION_IRQCHIP 3u
#define SECTION_VCPUS	4u /* first of vm->vcpus_max, then the devices */

static int end_section(
	struct state_writer *w, int code, const char *name, struct error *err)
{
	state_end(w);
	if (code == 0 && state_writer_error(w) < 0)
		code = error_errno(err, state_writer_error(w), "write state");
	if (code < 0)
		error_prepend(err, "save %s", name);
	return code;
}

/* kvmclock as vm_pause() read it, and the virtual clock of the loop. */
static int save_clock(struct vm *vm, struct state_writer *w, struct error *err)
{
	state_begin(w, "clock", CLOCK_STATE_VERSION);
	state_put_u64(w, vm->clock_ns);
	state_put_u64(w, (uint64_t)loop_now_ns(vm->loop, LOOP_VIRTUAL));
	return end_section(w, 0, "clock", err);
}

static int load_clock(struct vm *vm, struct state_reader *r, struct error *err)
{
	uint64_t kvm_ns = state_get_u64(r);
	uint64_t virtual_ns = state_get_u64(r);
	int code;

	if (r->error == 0 && virtual_ns > INT64_MAX)
		return state_reject(r, err, "virtual clock out of range");
	if (r->error == 0 && kvm_ns > INT64_MAX)
		return state_reject(r, err, "kvmclock out of range");
	if (state_reader_end(r) < 0)
		return r->error;
	/* Now, too: loading vCPUs may make KVM tell the wall clock by it. */
	code = kvm_ns != 0 ? clock_set(vm->fd, kvm_ns, err) : 0;
	if (code < 0)
		return code;
	vm->clock_ns = kvm_ns;
	loops_set_virtual_ns(vm, (int64_t)virtual_ns);
	return 0;
}

/* What the guest has done and nobody has acted upon: its OUT is over, so it
 * would never ask again.  Trouble of this host's is not the guest's state. */
static int save_event(struct vm *vm, struct state_writer *w, struct error *err)
{
	uint64_t event = atomic_load(&vm->event);

	if ((uint32_t)event == VM_END_HOST)
		event = 0;
	state_begin(w, "event", EVENT_STATE_VERSION);
	state_put_u32(w, (uint32_t)event);
	state_put_u32(w, (uint32_t)(event >> 32));
	return end_section(w, 0, "event", err);
}

static int load_event(struct vm *vm, struct state_reader *r, struct error *err)
{
	uint32_t end = state_get_u32(r);
	uint32_t code = state_get_u32(r);

	if (r->error == 0 && end > VM_END_DEBUG_EXIT)
		return state_reject(r, err, "no event of a guest");
	if (state_reader_end(r) < 0)
		return r->error;
	atomic_store(&vm->event, 0);
	vcpu_gate_release(&vm->gate, VCPU_HOLD_EVENT);
	if (end != VM_END_NONE)
		vm_post(vm, (enum vm_end)end, code);
	return 0;
}

/* Made when first needed: many runs never save a vCPU. */
int vm_need_scratch(struct vm *vm, struct error *err)
{
	if (vm->scratch.msrs)
		return 0;
	return vcpu_scratch_init(&vm->scratch, vm->kvm.fd, &vm->caps, err);
}

int vm_save_irqchip(struct vm *vm, struct state_writer *w, struct error *err)
{
	int code;

	state_begin(w, "irqchip", IRQCHIP_STATE_VERSION);
	code = irqchip_state_save(vm->fd, vm->cfg->pit, w, err);
	return end_section(w, code, "irqchip", err);
}

static int save_cpu_map(
	struct vm *vm, struct state_writer *w, struct error *err)
{
	int code;

	state_begin(w, "cpus", CPUS_STATE_VERSION);
	code = hotplug_save(vm, w, err);
	return end_section(w, code, "cpus", err);
}

static int save_vcpus(struct vm *vm, struct state_writer *w, struct error *err)
{
	char name[16];
	unsigned id;
	int code;

	code = vm_need_scratch(vm, err);
	if (code < 0)
		return code;
	vcpu_state_begin(&vm->scratch);
	for (id = 0; code == 0 && id < vm->vcpus_max; id++) {
		if (!vm->vcpu[id])
			continue;
		snprintf(name, sizeof(name), "vcpu%u", id);
		state_begin(w, name, VCPU_STATE_VERSION);
		code = vcpu_state_save(vcpu_fd(vm->vcpu[id]),
			vcpu_run_page(vm->vcpu[id]), &vm->scratch, w, err);
		code = end_section(w, code, name, err);
	}
	return code;
}

int vm_save(struct vm *vm, struct state_writer *w, struct error *err)
{
	unsigned i;
	int code;

	code = save_clock(vm, w, err);
	if (code == 0)
		code = save_event(vm, w, err);
	if (code == 0)
		code = save_cpu_map(vm, w, err);
	if (code == 0)
		code = vm_save_irqchip(vm, w, err);
	if (code == 0)
		code = save_vcpus(vm, w, err);
	for (i = 0; code == 0 && i < vm->devices; i++) {
		code = device_save(vm->device[i], w);
		if (code < 0)
			error_errno(err, code, "save %s", vm->device[i]->name);
	}
	return code;
}

/* ---- load ---- */

static unsigned slot_count(const struct vm *vm)
{
	return SECTION_VCPUS + vm->vcpus_max + vm->devices;
}

/* Section name of @slot; @buf is used for those that are made up. */
static const char *slot_name(
	const struct vm *vm, unsigned slot, char buf[STATE_NAME_MAX + 1])
{
	if (slot == SECTION_CLOCK)
		return "clock";
	if (slot == SECTION_EVENT)
		return "event";
	if (slot == SECTION_CPUS)
		return "cpus";
	if (slot == SECTION_IRQCHIP)
		return "irqchip";
	if (slot >= SECTION_VCPUS + vm->vcpus_max)
		return vm->device[slot - SECTION_VCPUS - vm->vcpus_max]->name;
	snprintf(buf, STATE_NAME_MAX + 1, "vcpu%u", slot - SECTION_VCPUS);
	return buf;
}

/* Where a section belongs, or -1. */
static int slot_of(const struct vm *vm, const char *name)
{
	char buf[STATE_NAME_MAX + 1];
	unsigned slot;

	for (slot = 0; slot < slot_count(vm); slot++)
		if (strcmp(name, slot_name(vm, slot, buf)) == 0)
			return (int)slot;
	return -1;
}

static int apply_vcpu(
	struct vm *vm, unsigned id, struct state_reader *r, struct error *err)
{
	if (r->version != VCPU_STATE_VERSION)
		return error_set(err, -EPROTO,
			"version %u, this godwit reads %u", r->version,
			VCPU_STATE_VERSION);
	return vcpu_state_load(vcpu_fd(vm->vcpu[id]),
		vcpu_run_page(vm->vcpu[id]), &vm->scratch, r, err);
}

static int apply(
	struct vm *vm, unsigned slot, struct state_reader *r, struct error *err)
{
	static const uint32_t versions[SECTION_VCPUS] = {
		[SECTION_CLOCK] = CLOCK_STATE_VERSION,
		[SECTION_EVENT] = EVENT_STATE_VERSION,
		[SECTION_CPUS] = CPUS_STATE_VERSION,
		[SECTION_IRQCHIP] = IRQCHIP_STATE_VERSION,
	};

	if (slot >= SECTION_VCPUS + vm->vcpus_max)
		return device_load(
			vm->device[slot - SECTION_VCPUS - vm->vcpus_max], r,
			err);
	if (slot >= SECTION_VCPUS)
		return apply_vcpu(vm, slot - SECTION_VCPUS, r, err);
	if (r->version != versions[slot])
		return error_set(err, -EPROTO,
			"version %u, this godwit reads %u", r->version,
			versions[slot]);
	if (slot == SECTION_CLOCK)
		return load_clock(vm, r, err);
	if (slot == SECTION_EVENT)
		return load_event(vm, r, err);
	if (slot == SECTION_CPUS)
		return hotplug_load(vm, r, err);
	return irqchip_state_load(vm->fd, vm->cfg->pit, r, err);
}

/* Sections of vCPUs that are absent: none is wanted. */
static bool is_wanted(const struct vm *vm, unsigned slot)
{
	return slot < SECTION_VCPUS || slot >= SECTION_VCPUS + vm->vcpus_max ||
	       vm->vcpu[slot - SECTION_VCPUS];
}

/* Sort the sections into their slots; each at most once. */
static int collect(struct vm *vm, const uint8_t *pos, const uint8_t *end,
	struct state_reader *slots, struct error *err)
{
	struct state_reader section;
	int slot, code;

	while ((code = state_next(&pos, end, &section, err)) == 1) {
		slot = slot_of(vm, section.name);
		if (slot < 0)
			return error_set(err, -EPROTO,
				"load: section %s: this machine has no such "
				"part",
				section.name);
		if (slots[slot].pos)
			return error_set(err, -EPROTO,
				"load: section %s comes twice", section.name);
		slots[slot] = section;
	}
	return code;
}

static int load_slot(
	struct vm *vm, unsigned slot, struct state_reader *r, struct error *err)
{
	bool wanted = is_wanted(vm, slot);
	char buf[STATE_NAME_MAX + 1];
	int code;

	if (!r->pos != !wanted)
		return error_set(err, -EPROTO, "load: section %s is %s",
			slot_name(vm, slot, buf),
			wanted ? "missing" : "of a vCPU that is absent");
	if (!wanted)
		return 0;
	code = apply(vm, slot, r, err);
	if (code < 0)
		error_prepend(err, "load: section %s", r->name);
	return code;
}

int vm_load(
	struct vm *vm, const uint8_t *state, uint64_t len, struct error *err)
{
	unsigned count = slot_count(vm), i;
	struct state_reader *slots;
	int code;

	code = vm_need_scratch(vm, err);
	if (code < 0)
		return code;
	slots = calloc(count, sizeof(*slots));
	if (!slots)
		return error_errno(err, -ENOMEM, "load");
	hotplug_cancel(vm, "the VM is loaded");
	code = collect(vm, state, state + len, slots, err);
	vcpu_state_begin(&vm->scratch);
	/* In order: the map comes before the vCPUs it is about. */
	for (i = 0; code == 0 && i < count; i++)
		code = load_slot(vm, i, &slots[i], err);
	free(slots);
	if (code == 0)
		code = hotplug_check(vm, err);
	if (code == 0) {
		machine_note_tsc_rate(vm);
		machine_sync_parked(vm);
	}
	return code;
}

int vm_load_irqchip(
	struct vm *vm, const struct state_writer *w, struct error *err)
{
	const uint8_t *pos = w->buf;
	struct state_reader r;

	if (state_next(&pos, w->buf + w->len, &r, err) != 1)
		return -EBADMSG;
	return irqchip_state_load(vm->fd, vm->cfg->pit, &r, err);
}
