/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vm.h - one virtual machine: owns its KVM fds, RAM, buses, vCPUs, devices.
 *
 * Everything hangs off struct vm; a process may hold several.  The thread that
 * creates it owns it and polls its loop.
 */
#ifndef GODWIT_VMM_VM_H
#define GODWIT_VMM_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/event.h"

struct config;
struct device;
struct error;
struct loop;
struct loop_guard;
struct serial_front;
struct state_writer;
struct virtio_dev;
struct vm;

/* Why a run ended. */
enum vm_end {
	VM_END_NONE,	   /* still going */
	VM_END_POWEROFF,   /* the guest powered off */
	VM_END_RESET,	   /* the guest asked for a reset, --no-reboot given */
	VM_END_PANIC,	   /* the guest kernel said that it panicked */
	VM_END_CRASH,	   /* triple fault, internal error, bad entry state */
	VM_END_DEBUG_EXIT, /* code: value written to the debug-exit port */
	VM_END_HOST,	   /* the host failed us; reported already */
	VM_END_USER,	   /* Ctrl-A x, SIGINT, SIGTERM */
	VM_END_MOVED,	   /* the guest goes on elsewhere */
};

/**
 * vm_create - build the machine of @cfg, loaded and ready, vCPUs paused.
 * @cfg:   borrowed for the life of the VM.
 * @front: the user's end of the input when the serial line or the console is on
 *         stdio (escape keys); copied; NULL: every byte is for the guest.
 * Thread: the caller becomes the owner.
 * Return: 0, or -errno with @err; nothing is left behind.
 */
int vm_create(const struct config *cfg, const struct serial_front *front,
	struct vm **ret_vm, struct error *err);

/* Stop, free and close everything.  Owner.  NULL is allowed. */
void vm_destroy(struct vm *vm);

/* Poll until the run ends; then the VM is paused and all it printed is out.
 * Resumes a paused VM first.  Owner.
 * @ret_code: value of the debug-exit port, else 0. */
enum vm_end vm_run(struct vm *vm, uint32_t *ret_code);

/* Told by vm_run() and vm_serve() before they stop the guest to end the run,
 * with what they are going to return; and VM_END_NONE when it runs on after all
 * (it was reset).  For a guest whose pages are lost, and which can therefore
 * not be stopped: then @fn does not return.  NULL: nobody.  Owner. */
typedef void vm_ending_fn(void *opaque, enum vm_end end, uint32_t code);
void vm_on_ending(struct vm *vm, vm_ending_fn *fn, void *opaque);

/* The same, but a VM that is paused stays so until somebody resumes it: for one
 * that waits for its state, or that the user wants to start by hand. */
enum vm_end vm_serve(struct vm *vm, uint32_t *ret_code);

/**
 * vm_call - run @fn on the owner's thread and wait until it returned.
 * It runs in a bottom half with vm_guard(), so it may pause, save, load and
 * resume.  Whoever ends vm_run() while others may call polls the loop until
 * they are gone.
 * Thread: any but the owner's, vCPUs' and I/O loops'.
 * Return: 0 or -ENOMEM (@fn did not run).
 */
int vm_call(struct vm *vm, void (*fn)(void *opaque), void *opaque);

/* The user's pause, one at most, whatever else pauses.  Owner, as vm_pause().
 * Return: 0 or -EALREADY. */
int vm_set_paused(struct vm *vm, bool paused);
bool vm_is_paused(const struct vm *vm); /* by the user */
/* Stopped to be moved: its state is on its way.  Owner. */
bool vm_is_away(const struct vm *vm);
/* The pause that a new VM has is the user's from here on: vm_serve() leaves it
 * paused, vm_set_paused() ends it. */
void vm_adopt_pause(struct vm *vm);

/**
 * vm_pause - quiesce: no vCPU in KVM_RUN, no half-done exit, no request in
 * flight, virtual clock stopped.  Counted.  Owner.
 * vm_resume - the reverse: clock, devices, vCPUs.
 *
 * Both poll the main loop, so handlers run meanwhile, and those find a VM that
 * is neither running nor paused.  So whoever wants to pause, save, load, reset
 * or destroy from inside vm_run() does it in a bottom half with vm_guard(),
 * which waits for the end of such a change.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
struct loop_guard *vm_guard(struct vm *vm); /* borrowed */

/* Print the loops' traces (--trace) to @fd.  Any thread, signal handlers too.
 */
void vm_dump_trace(const struct vm *vm, int fd);

/* End the run from outside: vm_run() returns @why, whatever the guest did
 * meanwhile.  One that comes while nothing runs ends the next run; of several
 * the last counts.  Any thread, signal handlers too. */
void vm_stop(struct vm *vm, enum vm_end why);

/* Power-on state: devices, vCPUs, kernel loaded again.  Owner, paused.
 * Return: 0 or -errno with @err. */
int vm_reset(struct vm *vm, struct error *err);

/* Every section but RAM, in machine order; with it what the guest has asked for
 * and not yet got (a reset, an end).  Owner, paused.  0 or -errno. */
int vm_save(struct vm *vm, struct state_writer *w, struct error *err);
/* Load what vm_save() wrote into a VM of the same configuration.  Owner,
 * paused.  -EPROTO and -EBADMSG name the section; @vm is then only fit for
 * vm_destroy(). */
int vm_load(
	struct vm *vm, const uint8_t *state, uint64_t len, struct error *err);

/* Take the disk images of an incoming VM.  Owner, paused.  0, -EBUSY. */
int vm_claim(struct vm *vm, struct error *err);

struct loop *vm_loop(struct vm *vm); /* borrowed */
/* The loop of I/O thread @index, borrowed; NULL past the last. */
struct loop *vm_io_loop(struct vm *vm, unsigned index);
struct guestmem *vm_guestmem(struct vm *vm); /* borrowed */
/* Borrowed; NULL: it has none.  Its loop is the VM's own. */
struct virtio_dev *vm_balloon(struct vm *vm);
/* Call @fn when the guest says that its balloon has another size; NULL: no
 * more.  Owner. */
void vm_on_balloon(struct vm *vm, void (*fn)(void *opaque), void *opaque);
/* In machine order, borrowed; NULL past the last.  Owner. */
const struct device *vm_device(const struct vm *vm, unsigned index);

#endif
