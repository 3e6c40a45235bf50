/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/hotplug.c - see hotplug.h.  One operation at a time:
 *
 *   IDLE --vm_set_cpus()--> ASKING --ejected, refused, time--> ENDED --> IDLE
 *                  `--plug, or nothing to do------------------^
 *
 * Two maps say which vCPUs there are: the registers', which changes under the
 * guest's hands, and vm->vcpu[], which follows in a bottom half.  A vCPU that
 * the guest ejects unasked is parked all the same.
 */
#include "vmm/hotplug.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/cpu_hotplug.h"
#include "loop/loop.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/machine.h"
#include "vmm/vm_priv.h"

#define TIMEOUT_MS 10000

enum op { OP_IDLE, OP_ASKING, OP_ENDED };

struct hotplug {
	struct vm *vm;		/* borrowed */
	struct device *regs;	/* borrowed; NULL: vCPUs neither come nor go */
	struct loop_bh *follow; /* owned */
	struct loop_bh *report; /* owned */
	unsigned frozen;

	enum op op;
	bool *asked; /* owned; by id: to be given up by the guest */
	/* Virtual: a guest that is stopped cannot answer. */
	struct loop_timer limit;
	int timeout_ms;
	vm_cpus_done_fn *done;
	void *opaque; /* borrowed */
	int code;     /* the result, with err */
	struct error err;
};

/* ---- the end of an operation ---- */

static void forget_asked(struct hotplug *h)
{
	unsigned id;

	for (id = 0; id < h->vm->vcpus_max; id++) {
		if (h->asked[id])
			cpu_hotplug_withdraw(h->regs, id);
		h->asked[id] = false;
	}
}

static void end_op(struct hotplug *h, int code)
{
	loop_timer_cancel(&h->limit);
	forget_asked(h);
	h->code = code;
	h->op = OP_ENDED;
	loop_bh_schedule(h->report);
}

static void report(void *opaque)
{
	struct hotplug *h = opaque;
	struct error err;
	int code;

	if (h->op != OP_ENDED)
		return;
	/* The callback may start the next one. */
	h->op = OP_IDLE;
	code = h->code;
	err = h->err;
	h->done(h->opaque, code, code < 0 ? &err : NULL);
}

static void cancel(struct hotplug *h, const char *why)
{
	if (h->op != OP_ASKING)
		return;
	error_set(&h->err, -ECANCELED, "vCPUs to go: %s", why);
	end_op(h, -ECANCELED);
}

/* ---- following the guest ---- */

static const char *ost_text(uint32_t status)
{
	switch (status) {
	case 0x80:
		return "its kernel does not support that";
	case 0x81:
		return "in use";
	case 0x82:
		return "busy";
	case 0x83:
		return "something that depends on it is busy";
	default:
		return "no reason given";
	}
}

/* Has every vCPU asked for an answer? */
static void check_answers(struct hotplug *h)
{
	uint32_t status = 0;
	int code = 0;
	unsigned id;

	for (id = 0; id < h->vm->vcpus_max; id++) {
		if (!h->asked[id] || !h->vm->vcpu[id])
			continue;
		if (cpu_hotplug_answer_of(h->regs, id, &status) !=
			CPU_HOTPLUG_REFUSED)
			return;
		if (code == 0)
			code = error_set(&h->err, -EACCES,
				"vcpu%u: the guest refused to give it up (_OST "
				"status 0x%x: %s)",
				id, status, ost_text(status));
	}
	end_op(h, code);
}

static void park_ejected(struct hotplug *h)
{
	struct vm *vm = h->vm;
	unsigned id;

	for (id = 0; id < vm->vcpus_max; id++)
		if (vm->vcpu[id] && !cpu_hotplug_is_present(h->regs, id))
			machine_remove_vcpu(vm, id);
}

/* The guest has done something to the registers. */
static void follow(void *opaque)
{
	struct hotplug *h = opaque;

	if (h->frozen == 0)
		park_ejected(h);
	if (h->op == OP_ASKING)
		check_answers(h);
}

static void registers_changed(void *opaque)
{
	struct vm *vm = opaque;

	loop_bh_schedule(vm->hotplug->follow);
}

static void time_is_up(void *opaque)
{
	struct hotplug *h = opaque;
	unsigned id;

	if (h->op != OP_ASKING)
		return;
	for (id = 0; id < h->vm->vcpus_max; id++)
		if (h->asked[id] && h->vm->vcpu[id])
			break;
	error_set(&h->err, -ETIMEDOUT,
		"vcpu%u: the guest has not given it up in %d ms (does its "
		"kernel know ACPI CPU hotplug?)",
		id, h->timeout_ms);
	end_op(h, -ETIMEDOUT);
}

/* ---- plug and unplug ---- */

/* The guest hears of none before all are there, so that a failure in between
 * has nothing to take back. */
static int plug(struct hotplug *h, unsigned count, struct error *err)
{
	struct vm *vm = h->vm;
	unsigned id;
	int code = 0;

	memset(h->asked, 0, vm->vcpus_max * sizeof(h->asked[0]));
	for (id = 0; code == 0 && vm->vcpus < count; id++) {
		if (vm->vcpu[id])
			continue;
		code = machine_add_vcpu(vm, id, err);
		if (code == 0) {
			h->asked[id] = true;
			code = machine_start_vcpu(vm, id, err);
		}
	}
	for (id = 0; id < vm->vcpus_max; id++) {
		if (!h->asked[id])
			continue;
		h->asked[id] = false;
		if (code < 0)
			machine_remove_vcpu(vm, id);
		else
			cpu_hotplug_insert(h->regs, id, true);
	}
	if (code < 0)
		error_prepend(err, "plug");
	return code;
}

static void ask(struct hotplug *h, unsigned count)
{
	struct vm *vm = h->vm;
	unsigned id, left = vm->vcpus;

	h->op = OP_ASKING;
	for (id = vm->vcpus_max - 1; left > count; id--) {
		if (!vm->vcpu[id])
			continue;
		h->asked[id] = true;
		cpu_hotplug_ask(h->regs, id);
		left--;
	}
	/* Without the timer we could wait for ever. */
	if (loop_timer_set(
		    &h->limit, loop_now_ns(vm->loop, LOOP_VIRTUAL) +
				       h->timeout_ms * INT64_C(1000000)) < 0) {
		error_errno(&h->err, -ENOMEM, "vCPUs to go");
		end_op(h, -ENOMEM);
	}
}

static int check(struct hotplug *h, unsigned count, struct error *err)
{
	unsigned max = h->vm->vcpus_max;

	if (count == 0)
		return error_set(err, -EINVAL,
			"0 vCPUs: the boot CPU stays (give 1 to %u)", max);
	if (count > max)
		return error_set(err, -EINVAL,
			"%u vCPUs: this machine has room for %u (start it with "
			"a higher max=)",
			count, max);
	if (!h->regs)
		return error_set(err, -EINVAL,
			"vCPUs neither come nor go in this machine (start it "
			"with --machine acpi and --cpus N,max=M)");
	if (h->frozen > 0)
		return error_set(err, -EBUSY,
			"the VM is being moved (ask again when that is over)");
	if (h->op != OP_IDLE)
		return error_set(err, -EBUSY,
			"vCPUs are coming or going already (ask again when "
			"that is over)");
	return 0;
}

int vm_set_cpus(struct vm *vm, unsigned count, int timeout_ms,
	vm_cpus_done_fn *done, void *opaque, struct error *err)
{
	struct hotplug *h = vm->hotplug;
	int code;

	code = check(h, count, err);
	if (code < 0)
		return code;
	park_ejected(h); /* the guest may have been quicker than we */
	if (count < vm->vcpus && vm->pauses > 0)
		return error_set(err, -EAGAIN,
			"the VM is paused, and its guest must give the vCPUs "
			"up (resume it first)");
	if (count > vm->vcpus) {
		code = plug(h, count, err);
		if (code < 0)
			return code;
	}
	h->done = done;
	h->opaque = opaque;
	h->timeout_ms = timeout_ms > 0 ? timeout_ms : TIMEOUT_MS;
	if (count < vm->vcpus)
		ask(h, count);
	else
		end_op(h, 0);
	return 0;
}

unsigned vm_cpus_present(const struct vm *vm)
{
	return vm->vcpus;
}

unsigned vm_cpus_parked(const struct vm *vm)
{
	return vm->park.count;
}

unsigned vm_cpus_max(const struct vm *vm)
{
	return vm->vcpus_max;
}

bool vm_cpu_is_present(const struct vm *vm, unsigned id)
{
	return id < vm->vcpus_max && vm->vcpu[id];
}

int vm_cpus_freeze(struct vm *vm, struct error *err)
{
	struct hotplug *h = vm->hotplug;

	if (h->op != OP_IDLE)
		return error_set(err, -EBUSY,
			"vCPUs are coming or going (try again when that is "
			"over)");
	h->frozen++;
	return 0;
}

void vm_cpus_thaw(struct vm *vm)
{
	struct hotplug *h = vm->hotplug;

	assert(h->frozen > 0);
	/* What the guest has ejected meanwhile is still to be parked. */
	if (--h->frozen == 0 && h->regs)
		loop_bh_schedule(h->follow);
}

/* ---- state ---- */

static void put_map(struct state_writer *w, const uint8_t *map, unsigned count)
{
	state_put_bytes(w, map, (count + 7) / 8);
}

static bool in_map(const uint8_t *map, unsigned id)
{
	return map[id / 8] >> id % 8 & 1;
}

int hotplug_save(struct vm *vm, struct state_writer *w, struct error *err)
{
	unsigned bytes = (vm->vcpus_max + 7) / 8, id;
	uint8_t *present = calloc(2, bytes), *parked;

	if (!present)
		return error_errno(err, -ENOMEM, "map of vCPUs");
	parked = present + bytes;
	for (id = 0; id < vm->vcpus_max; id++) {
		if (vm->vcpu[id])
			present[id / 8] |= (uint8_t)(1u << id % 8);
		if (vcpu_park_fd(&vm->park, id) >= 0)
			parked[id / 8] |= (uint8_t)(1u << id % 8);
	}
	state_put_u32(w, vm->vcpus_max);
	put_map(w, present, vm->vcpus_max);
	put_map(w, parked, vm->vcpus_max);
	free(present);
	return 0;
}

/* NULL, or what is wrong with the maps. */
static const char *check_maps(
	const struct vm *vm, const uint8_t *present, const uint8_t *parked)
{
	unsigned max = vm->vcpus_max, id;

	if (!in_map(present, 0))
		return "the boot CPU is absent";
	for (id = max; id % 8 != 0; id++)
		if (in_map(present, id) || in_map(parked, id))
			return "a vCPU past the last";
	for (id = 0; id < max; id++) {
		if (in_map(present, id) && in_map(parked, id))
			return "a vCPU both present and parked";
		if (!vm->hotplug->regs && in_map(present, id) != !!vm->vcpu[id])
			return "another set of vCPUs than this machine has";
	}
	return NULL;
}

/* Make the set of vCPUs that of the maps.  What the registers say comes with
 * their own section. */
static int match(struct vm *vm, const uint8_t *present, const uint8_t *parked,
	struct error *err)
{
	unsigned id;
	int code = 0;

	for (id = 0; code == 0 && id < vm->vcpus_max; id++) {
		if (!in_map(present, id) && vm->vcpu[id])
			machine_remove_vcpu(vm, id);
		if (in_map(present, id) && !vm->vcpu[id]) {
			code = machine_add_vcpu(vm, id, err);
			if (code == 0)
				code = machine_start_vcpu(vm, id, err);
		}
		/* So that a plug is as quick here as it was there. */
		if (code == 0 && in_map(parked, id) &&
			vcpu_park_fd(&vm->park, id) < 0)
			code = machine_park_vcpu(vm, id, err);
	}
	return code;
}

int hotplug_load(struct vm *vm, struct state_reader *r, struct error *err)
{
	unsigned bytes = (vm->vcpus_max + 7) / 8;
	uint32_t max = state_get_u32(r);
	uint8_t *present, *parked;
	const char *wrong;
	int code;

	if (r->error == 0 && max != vm->vcpus_max)
		return state_reject(r, err,
			"another number of possible vCPUs (give the same "
			"max=)");
	present = calloc(2, bytes);
	if (!present)
		return error_errno(err, -ENOMEM, "map of vCPUs");
	parked = present + bytes;
	state_get_bytes(r, present, bytes);
	state_get_bytes(r, parked, bytes);
	code = state_reader_end(r);
	if (code == 0) {
		wrong = check_maps(vm, present, parked);
		code = wrong ? state_reject(r, err, wrong)
			     : match(vm, present, parked, err);
	}
	free(present);
	return code;
}

int hotplug_check(struct vm *vm, struct error *err)
{
	struct hotplug *h = vm->hotplug;
	unsigned id;

	for (id = 0; h->regs && id < vm->vcpus_max; id++)
		if (cpu_hotplug_is_present(h->regs, id) && !vm->vcpu[id])
			return error_set(err, -EPROTO,
				"load: section %s: vCPU %u is present, and "
				"section cpus does not have it",
				h->regs->name, id);
	return 0;
}

/* ---- life ---- */

void hotplug_cancel(struct vm *vm, const char *why)
{
	if (vm->hotplug)
		cancel(vm->hotplug, why);
}

void hotplug_settle(struct vm *vm)
{
	if (vm->hotplug->regs && vm->hotplug->frozen == 0)
		park_ejected(vm->hotplug);
}

void hotplug_set_registers(struct vm *vm, struct device *regs)
{
	vm->hotplug->regs = regs;
}

void hotplug_options(struct vm *vm, struct cpu_hotplug_options *ret_opt)
{
	*ret_opt = (struct cpu_hotplug_options){
		.max = vm->vcpus_max,
		.count = vm->cfg->cpus,
		.irq_fd = -1,
		.changed = registers_changed,
		.opaque = vm,
	};
}

int hotplug_create(struct vm *vm, struct error *err)
{
	struct hotplug *h = calloc(1, sizeof(*h));
	int code = -ENOMEM;

	if (!h)
		return error_errno(err, code, "vCPU hotplug");
	h->vm = vm;
	vm->hotplug = h;
	loop_timer_init(&h->limit, vm->loop, LOOP_VIRTUAL, time_is_up, h);
	h->asked = calloc(vm->vcpus_max, sizeof(h->asked[0]));
	if (h->asked)
		code = loop_bh_create(vm->loop, follow, h, "cpu-follow",
			&vm->guard, &h->follow);
	if (code == 0)
		code = loop_bh_create(vm->loop, report, h, "cpu-report",
			&vm->guard, &h->report);
	return code < 0 ? error_errno(err, code, "vCPU hotplug") : 0;
}

void hotplug_destroy(struct vm *vm)
{
	struct hotplug *h = vm->hotplug;

	if (!h)
		return;
	cancel(h, "the VM has come to its end");
	report(h);
	loop_bh_delete(h->follow);
	loop_bh_delete(h->report);
	free(h->asked);
	free(h);
	vm->hotplug = NULL;
}
