/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm_save.c - every section of a VM but RAM, out and back.
 *
 * Save order: clock, event, irqchip, vCPUs, devices.  A load takes the sections
 * in any order but applies them in this one, because the LAPICs look at the
 * IOAPIC's routes and a device may raise an interrupt when it is resumed.
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
#include "vmm/vm_priv.h"
#include "vmm/x86/vm_state.h"

#define EVENT_STATE_VERSION 1u

#define SECTION_CLOCK	0u
#define SECTION_EVENT	1u
#define SECTION_IRQCHIP 2u
#define SECTION_VCPUS	3u /* first of vm->vcpus, then the devices */

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

	if (r->error == 0 && virtual_ns > INT64_MAX)
		return state_reject(r, err, "virtual clock out of range");
	if (state_reader_end(r) < 0)
		return r->error;
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
static int need_scratch(struct vm *vm, struct error *err)
{
	if (vm->scratch.msrs)
		return 0;
	return vcpu_scratch_init(&vm->scratch, vm->kvm.fd,
		(size_t)vm->caps.value[KVM_HAS_XSAVE2], err);
}

int vm_save_cpus(struct vm *vm, struct state_writer *w, struct error *err)
{
	char name[16];
	unsigned i;
	int code;

	code = need_scratch(vm, err);
	if (code < 0)
		return code;
	state_begin(w, "irqchip", IRQCHIP_STATE_VERSION);
	code = irqchip_state_save(vm->fd, vm->cfg->pit, w, err);
	code = end_section(w, code, "irqchip", err);
	for (i = 0; code == 0 && i < vm->vcpus; i++) {
		snprintf(name, sizeof(name), "vcpu%u", i);
		state_begin(w, name, VCPU_STATE_VERSION);
		code = vcpu_state_save(
			vcpu_fd(vm->vcpu[i]), &vm->scratch, w, err);
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
		code = vm_save_cpus(vm, w, err);
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
	return SECTION_VCPUS + vm->vcpus + vm->devices;
}

/* Section name of @slot; @buf is used for those that are made up. */
static const char *slot_name(
	const struct vm *vm, unsigned slot, char buf[STATE_NAME_MAX + 1])
{
	if (slot == SECTION_CLOCK)
		return "clock";
	if (slot == SECTION_EVENT)
		return "event";
	if (slot == SECTION_IRQCHIP)
		return "irqchip";
	if (slot >= SECTION_VCPUS + vm->vcpus)
		return vm->device[slot - SECTION_VCPUS - vm->vcpus]->name;
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

static int apply(
	struct vm *vm, unsigned slot, struct state_reader *r, struct error *err)
{
	uint32_t version = VCPU_STATE_VERSION;

	if (slot >= SECTION_VCPUS + vm->vcpus)
		return device_load(
			vm->device[slot - SECTION_VCPUS - vm->vcpus], r, err);
	if (slot == SECTION_CLOCK)
		version = CLOCK_STATE_VERSION;
	else if (slot == SECTION_EVENT)
		version = EVENT_STATE_VERSION;
	else if (slot == SECTION_IRQCHIP)
		version = IRQCHIP_STATE_VERSION;
	if (r->version != version)
		return error_set(err, -EPROTO,
			"version %u, this godwit reads %u", r->version,
			version);
	if (slot == SECTION_CLOCK)
		return load_clock(vm, r, err);
	if (slot == SECTION_EVENT)
		return load_event(vm, r, err);
	if (slot == SECTION_IRQCHIP)
		return irqchip_state_load(vm->fd, vm->cfg->pit, r, err);
	return vcpu_state_load(
		vcpu_fd(vm->vcpu[slot - SECTION_VCPUS]), &vm->scratch, r, err);
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

/* Load slots [first, last), all of which must be there and no other. */
static int load(struct vm *vm, const uint8_t *state, uint64_t len,
	unsigned first, unsigned last, struct error *err)
{
	unsigned count = slot_count(vm), i;
	char buf[STATE_NAME_MAX + 1];
	struct state_reader *slots;
	int code;

	code = need_scratch(vm, err);
	if (code < 0)
		return code;
	slots = calloc(count, sizeof(*slots));
	if (!slots)
		return error_errno(err, -ENOMEM, "load");
	code = collect(vm, state, state + len, slots, err);
	for (i = 0; code == 0 && i < count; i++)
		if (!slots[i].pos != (i < first || i >= last))
			code = error_set(err, -EPROTO, "load: section %s is %s",
				slot_name(vm, i, buf),
				slots[i].pos ? "out of place" : "missing");
	for (i = first; code == 0 && i < last; i++) {
		code = apply(vm, i, &slots[i], err);
		if (code < 0)
			error_prepend(err, "load: section %s", slots[i].name);
	}
	free(slots);
	return code;
}

int vm_load(
	struct vm *vm, const uint8_t *state, uint64_t len, struct error *err)
{
	return load(vm, state, len, 0, slot_count(vm), err);
}

int vm_load_cpus(struct vm *vm, const struct state_writer *w, struct error *err)
{
	return load(vm, w->buf, w->len, SECTION_IRQCHIP,
		SECTION_VCPUS + vm->vcpus, err);
}
