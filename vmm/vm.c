/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm.c - the life of a VM: create, run, pause, resume, reset, destroy.
 * Wiring is in machine.c, state in vm_save.c.
 */
#include "vmm/vm.h"

#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/serial.h"
#include "loop/loop.h"
#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/log.h"
#include "vmm/loops.h"
#include "vmm/machine.h"
#include "vmm/throttle.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/vm_state.h"

void vm_post(struct vm *vm, enum vm_end end, uint32_t code)
{
	uint64_t none = 0;
	uint64_t event = (uint64_t)end | (uint64_t)code << 32;

	atomic_compare_exchange_strong(&vm->event, &none, event);
	/* No vCPU starts another instruction once it looks at the gate; the
	 * one that caused this looks before it enters the guest again. */
	vcpu_gate_hold(&vm->gate, VCPU_HOLD_EVENT);
	loop_notify(vm->loop);
}

/* Apart from guest events, so that a guest in the middle of a reset cannot
 * swallow it. */
void vm_stop(struct vm *vm, enum vm_end why)
{
	atomic_store(&vm->stop, (uint32_t)why);
	loop_notify(vm->loop);
}

struct loop *vm_loop(struct vm *vm)
{
	return vm->loop;
}

struct loop *vm_io_loop(struct vm *vm, unsigned index)
{
	return index < vm->iothreads ? loops_get(vm, (int)index) : NULL;
}

void vm_dump_trace(const struct vm *vm, int fd)
{
	loops_dump_trace(vm, fd);
}

struct loop_guard *vm_guard(struct vm *vm)
{
	return &vm->guard;
}

struct guestmem *vm_guestmem(struct vm *vm)
{
	return &vm->gm;
}

struct virtio_dev *vm_balloon(struct vm *vm)
{
	return vm->balloon;
}

void vm_on_balloon(struct vm *vm, void (*fn)(void *opaque), void *opaque)
{
	vm->balloon_changed = fn;
	vm->balloon_opaque = opaque;
}

const struct device *vm_device(const struct vm *vm, unsigned index)
{
	return index < vm->devices ? vm->device[index] : NULL;
}

/* ---- quiesce ---- */

void vm_kick_vcpus(struct vm *vm)
{
	unsigned id;

	for (id = 0; vm->vcpu && id < vm->vcpus_max; id++)
		if (vm->vcpu[id])
			vcpu_kick(vm->vcpu[id]);
}

/* Until every vCPU thread waits at the gate.  Polling lets a register access
 * that needs a bottom half of this loop come to its end. */
static void gather(struct vm *vm)
{
	vm_kick_vcpus(vm);
	while (atomic_load(&vm->gate.arrived) < vm->vcpus_running)
		loop_poll(vm->loop, true);
}

static void quiesce_devices(struct vm *vm)
{
	unsigned i;

	loops_disable_external(vm);
	for (i = 0; i < vm->devices; i++)
		if (vm->device[i]->ops->quiesce)
			vm->device[i]->ops->quiesce(vm->device[i]);
}

static void resume_devices(struct vm *vm)
{
	unsigned i;

	for (i = vm->devices; i-- > 0;)
		if (vm->device[i]->ops->resume)
			vm->device[i]->ops->resume(vm->device[i]);
	loops_enable_external(vm);
}

/* A change begins: bottom halves with the guard wait.  Itself may be part of
 * one.  What comes in the middle of a change would find devices half quiesced,
 * and might wait for ever. */
bool vm_begin_change(struct vm *vm)
{
	bool outer = vm->guard.busy;

	assert(!vm->changing); /* a handler without vm_guard()? */
	vm->changing = true;
	vm->guard.busy = true;
	return outer;
}

void vm_end_change(struct vm *vm, bool outer)
{
	vm->changing = false;
	vm->guard.busy = outer;
}

void vm_pause(struct vm *vm)
{
	struct error err;
	bool outer;

	outer = vm_begin_change(vm);
	if (vm->pauses++ > 0) {
		vm_end_change(vm, outer);
		return;
	}
	vcpu_gate_hold(&vm->gate, VCPU_HOLD_PAUSE);
	gather(vm);
	quiesce_devices(vm);
	loops_stop_virtual(vm);
	if (clock_get(vm->fd, &vm->clock_ns, &err) < 0)
		log_warn("pause: %s: the guest's clock will jump", err.text);
	vm_end_change(vm, outer);
}

/* Tell kvmclock that the pause was ours, or the guest's watchdogs bark.  A
 * guest that does not use kvmclock gets EINVAL here, which is fine. */
static void excuse_clocks(struct vm *vm)
{
	unsigned id;

	for (id = 0; id < vm->vcpus_max; id++)
		if (vm->vcpu[id])
			kvm_ioctl_num(
				vcpu_fd(vm->vcpu[id]), KVM_KVMCLOCK_CTRL, 0);
}

void vm_resume(struct vm *vm)
{
	struct error err;
	bool outer;

	assert(vm->pauses > 0);
	outer = vm_begin_change(vm);
	if (--vm->pauses > 0) {
		vm_end_change(vm, outer);
		return;
	}
	loops_start_virtual(vm);
	if (vm->clock_ns != 0 && clock_set(vm->fd, vm->clock_ns, &err) < 0)
		log_warn("resume: %s: the guest's clock jumps", err.text);
	excuse_clocks(vm);
	resume_devices(vm);
	vcpu_gate_release(&vm->gate, VCPU_HOLD_PAUSE);
	vm_end_change(vm, outer);
}

int vm_set_paused(struct vm *vm, bool paused)
{
	if (paused == vm->user_paused)
		return -EALREADY;
	vm->user_paused = paused;
	vm->paused_for_disks = 0;
	if (paused)
		vm_pause(vm);
	else
		vm_resume(vm);
	return 0;
}

bool vm_is_paused(const struct vm *vm)
{
	return vm->user_paused;
}

bool vm_is_away(const struct vm *vm)
{
	return vm->away;
}

void vm_adopt_pause(struct vm *vm)
{
	assert(vm->pauses == 1);
	vm->user_paused = true;
}

int vm_claim(struct vm *vm, struct error *err)
{
	return machine_lock_disks(vm, err);
}

/* ---- orders from other threads ---- */

struct call {
	void (*fn)(void *opaque);
	void *opaque;
	pthread_mutex_t lock; /* guards done */
	pthread_cond_t ended;
	bool done;
};

static void run_call(void *opaque)
{
	struct call *call = opaque;

	call->fn(call->opaque);
	/* The caller frees it when it has the lock and sees done. */
	pthread_mutex_lock(&call->lock);
	call->done = true;
	pthread_cond_signal(&call->ended);
	pthread_mutex_unlock(&call->lock);
}

int vm_call(struct vm *vm, void (*fn)(void *opaque), void *opaque)
{
	struct call call = {.fn = fn, .opaque = opaque};
	struct loop_bh *bh;
	int code;

	code = loop_bh_create(
		vm->loop, run_call, &call, "vm-call", &vm->guard, &bh);
	if (code < 0)
		return code;
	pthread_mutex_init(&call.lock, NULL);
	pthread_cond_init(&call.ended, NULL);
	loop_bh_schedule(bh);
	pthread_mutex_lock(&call.lock);
	while (!call.done)
		pthread_cond_wait(&call.ended, &call.lock);
	pthread_mutex_unlock(&call.lock);
	loop_bh_delete(bh);
	pthread_cond_destroy(&call.ended);
	pthread_mutex_destroy(&call.lock);
	return 0;
}

/* ---- create, run, reset, destroy ---- */

int vm_create(const struct config *cfg, const struct serial_front *front,
	struct vm **ret_vm, struct error *err)
{
	const struct loop_polling polling = loops_polling(cfg);
	struct loop_options opt = {
		.backend = cfg->loop, .name = "main", .polling = &polling};
	struct vm *vm;
	int code;

	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return error_errno(err, -ENOMEM, "vm");
	vm->cfg = cfg;
	vm->front = front;
	vm->fd = vm->kvm.fd = vm->gm.fd = -1;
	vm->kernel.fd = vm->initrd.fd = -1;
	state_writer_init(&vm->pristine);
	code = loop_create(&opt, &vm->loop, err);
	if (code < 0) {
		state_writer_fini(&vm->pristine);
		free(vm);
		return code;
	}
	loop_poll(vm->loop, false); /* this thread is its home from here on */
	vcpu_gate_init(&vm->gate, vm->loop);
	/* Born paused: threads that start go straight to the gate. */
	vcpu_gate_hold(&vm->gate, VCPU_HOLD_PAUSE);
	vm->pauses = 1;
	code = machine_build(vm, err);
	if (code < 0) {
		vm_destroy(vm);
		return code;
	}
	vm->front = NULL; /* copied by now */
	quiesce_devices(vm);
	loops_stop_virtual(vm);
	*ret_vm = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	if (!vm)
		return;
	vm_throttle(vm, 0);
	vm_begin_change(vm); /* it has no end */
	vcpu_gate_hold(&vm->gate, VCPU_HOLD_PAUSE);
	gather(vm);
	if (vm->pauses == 0)
		quiesce_devices(vm);
	machine_fini(vm);
	vcpu_gate_fini(&vm->gate);
	loop_destroy(vm->loop);
	state_writer_fini(&vm->pristine);
	free(vm);
}

/* True if the run goes on after @end. */
static bool survive(struct vm *vm, enum vm_end end)
{
	struct error err;

	if (end != VM_END_RESET || vm->cfg->no_reboot)
		return false;
	if (vm_reset(vm, &err) < 0) {
		log_error("reset: %s", err.text);
		return false;
	}
	atomic_store(&vm->event, 0);
	vcpu_gate_release(&vm->gate, VCPU_HOLD_EVENT);
	return true;
}

/* Something ends the run, or interrupts it for a reset. */
static bool pending(struct vm *vm)
{
	return atomic_load(&vm->stop) != 0 ||
	       (!vm->away && atomic_load(&vm->event) != 0);
}

/* The VM is paused.  An order from outside comes before the guest's event,
 * which then waits for the next run.  VM_END_NONE: go on. */
static enum vm_end take_end(struct vm *vm, uint32_t *ret_code)
{
	uint32_t stop = atomic_exchange(&vm->stop, 0);
	uint64_t event = atomic_load(&vm->event);
	enum vm_end end = (enum vm_end)(uint32_t)event;

	*ret_code = 0;
	if (stop)
		return (enum vm_end)stop;
	if (survive(vm, end))
		return VM_END_NONE;
	*ret_code = (uint32_t)(event >> 32);
	/* A reset that was wanted but failed is the host's fault. */
	if (end == VM_END_RESET && !vm->cfg->no_reboot)
		return VM_END_HOST;
	return end;
}

void vm_on_ending(struct vm *vm, vm_ending_fn *fn, void *opaque)
{
	vm->ending = fn;
	vm->ending_opaque = opaque;
}

static void tell_ending(struct vm *vm)
{
	uint32_t stop = atomic_load(&vm->stop);
	uint64_t event = atomic_load(&vm->event);
	enum vm_end end = (enum vm_end)(stop ? stop : (uint32_t)event);

	/* A reset that cannot even stop the guest has failed. */
	if (end == VM_END_RESET && !vm->cfg->no_reboot)
		end = VM_END_HOST;
	if (vm->ending)
		vm->ending(vm->ending_opaque, end,
			stop ? 0 : (uint32_t)(event >> 32));
}

enum vm_end vm_run(struct vm *vm, uint32_t *ret_code)
{
	while (vm->pauses > 0)
		vm_resume(vm);
	vm->user_paused = false;
	return vm_serve(vm, ret_code);
}

enum vm_end vm_serve(struct vm *vm, uint32_t *ret_code)
{
	enum vm_end end;

	for (;;) {
		while (!pending(vm))
			loop_poll(vm->loop, true);
		tell_ending(vm);
		vm_pause(vm);
		end = take_end(vm, ret_code);
		if (end != VM_END_NONE)
			break;
		if (vm->ending)
			vm->ending(vm->ending_opaque, end, 0);
		/* Only what we paused: it may be paused otherwise, too. */
		vm_resume(vm);
	}
	if (vm->serial)
		serial_flush(vm->serial);
	return end;
}

int vm_reset(struct vm *vm, struct error *err)
{
	unsigned i;
	bool outer;
	int code;

	hotplug_cancel(vm, "the guest was reset");
	hotplug_settle(vm);
	outer = vm_begin_change(vm);
	for (i = 0; i < vm->devices; i++)
		vm->device[i]->ops->reset(vm->device[i]);
	code = vm_load_irqchip(vm, &vm->pristine, err);
	if (code == 0)
		code = machine_reset_vcpus(vm, err);
	if (code == 0)
		code = machine_load_guest(vm, err);
	vm_end_change(vm, outer);
	return code;
}
