/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vcpu.h - one virtual CPU: its KVM fd, its thread, its exits.
 *
 * A vCPU thread runs guest code, answers port and MMIO exits from the buses and
 * stops at the gate whenever the machine holds it.  It never frees its own
 * object and owns no loop.
 *
 * A vCPU can also be blocked on a page of guest RAM that userfaultfd has not
 * delivered, where no kick reaches it:
 *   - in KVM_RUN, with the fault taken for guest user code, the signal ends
 *     the wait: the vCPU comes to the gate, and faults again when it goes on;
 *   - in KVM_RUN for what KVM itself reads (emulated or kernel code of a host
 *     without hardware virtualisation, page table walks of ours), or in one of
 *     our devices' register handlers, it waits, whatever the signal, until the
 *     page is there.
 * So whoever pauses, unplugs or destroys while pages are missing must see to it
 * that faults are still answered: the pager goes on serving until the vCPUs are
 * at the gate, and when its source is lost for good it resolves what is waited
 * for (migrate/pager.h, closing) before vm_destroy().  vm_pause() polls and
 * waits meanwhile; nothing else in here gives up.
 */
#ifndef GODWIT_VMM_VCPU_H
#define GODWIT_VMM_VCPU_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/event.h"

struct bus;
struct error;
struct guestmem;
struct kvm_run;
struct loop;
struct vcpu;
struct vcpu_handle;

/* Reasons to stay out of guest code, bits of vcpu_gate.hold. */
#define VCPU_HOLD_PAUSE 1u /* vm_pause() */
#define VCPU_HOLD_EVENT 2u /* the guest asked for an end or a reset */

/*
 * Where the vCPUs of one VM stop.  The owner sets a hold bit, kicks every vCPU
 * and polls its loop until all have arrived; a vCPU that arrives notifies the
 * loop.  Polling, not blocking: a vCPU on its way may be inside a register
 * access that waits for a bottom half of that very loop.
 */
struct vcpu_gate {
	_Atomic unsigned hold;	  /* VCPU_HOLD_* */
	_Atomic unsigned arrived; /* vCPU threads waiting here */
	/* CLOCK_MONOTONIC: vCPUs wait here, too, while it is earlier; 0: off
	 * (vmm/throttle.c).  Those that do count as arrived. */
	_Atomic int64_t closed_until_ns;
	pthread_mutex_t lock; /* only around waiting and opening */
	pthread_cond_t open;
	struct loop *loop; /* borrowed: notified on each arrival */
};

void vcpu_gate_init(struct vcpu_gate *gate, struct loop *loop);
void vcpu_gate_fini(struct vcpu_gate *gate);
/* Set @bits; the vCPUs still need a kick.  Any thread, signal handlers too. */
void vcpu_gate_hold(struct vcpu_gate *gate, unsigned bits);
/* Clear @bits; those waiting go on when no bit is left.  Owner. */
void vcpu_gate_release(struct vcpu_gate *gate, unsigned bits);

/* Keep vCPUs out until @until_ns (CLOCK_MONOTONIC); 0: let them in at once.
 * Those in the guest still need a kick.  Owner. */
void vcpu_gate_close_until(struct vcpu_gate *gate, int64_t until_ns);

/* What a vCPU needs from its machine; every pointer is borrowed. */
struct vcpu_host {
	struct vcpu_gate *gate;
	const struct bus *pio, *mmio;
	const struct guestmem *gm; /* crash report only */
	struct guest_event_sink events;
	/* The vCPU cannot go on: reported already.  Called on its thread. */
	void (*crashed)(void *opaque, bool host_fault);
	void *opaque;
};

/**
 * vcpu_create - the object around a KVM vCPU; no thread yet.
 * @handle:    taken on success.
 * @run_bytes: size of its mapping.
 * Return: 0 or -errno with @err.
 */
int vcpu_create(struct vcpu_handle handle, unsigned id, size_t run_bytes,
	const struct vcpu_host *host, struct vcpu **ret_vcpu,
	struct error *err);

/* Start the thread.  It goes to the gate first and counts as arrived there.
 * Return: 0 or -errno (EAGAIN: too many threads) with @err. */
int vcpu_start(struct vcpu *vcpu, struct error *err);

bool vcpu_is_started(const struct vcpu *vcpu);

/* What interrupts KVM_RUN; the process has no other use for it. */
#define VCPU_KICK_SIGNAL SIGUSR2

/* Make the vCPU leave KVM_RUN and look at the gate.  Any thread, while the
 * owner neither starts nor stops it. */
void vcpu_kick(struct vcpu *vcpu);

/* End the thread and join it.  Polls the gate's loop until the thread is on
 * its way out, as vm_pause() does and for the same reason.  Owner. */
void vcpu_stop(struct vcpu *vcpu);

/* Stop, free the object, and give its KVM vCPU back for vcpu_park_put().
 * Owner. */
struct vcpu_handle vcpu_retire(struct vcpu *vcpu);

/* Stop, unmap, close.  Owner; NULL is allowed. */
void vcpu_destroy(struct vcpu *vcpu);

int vcpu_fd(const struct vcpu *vcpu); /* borrowed */
/* Its kvm_run, borrowed: for the owner while the vCPU is at the gate. */
struct kvm_run *vcpu_run_page(const struct vcpu *vcpu);
unsigned vcpu_id(const struct vcpu *vcpu);

#endif
