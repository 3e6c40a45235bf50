/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vcpu.h - one virtual CPU: its KVM fd, its thread, its exits.
 *
 * A vCPU thread runs guest code, answers port and MMIO exits from the buses and
 * stops at the gate whenever the machine holds it.  It never frees its own
 * object and owns no loop.
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
	pthread_mutex_t lock;	  /* only around waiting and opening */
	pthread_cond_t open;
	struct loop *loop; /* borrowed: notified on each arrival */
};

void vcpu_gate_init(struct vcpu_gate *gate, struct loop *loop);
void vcpu_gate_fini(struct vcpu_gate *gate);
/* Set @bits; the vCPUs still need a kick.  Any thread, signal handlers too. */
void vcpu_gate_hold(struct vcpu_gate *gate, unsigned bits);
/* Clear @bits; those waiting go on when no bit is left.  Owner. */
void vcpu_gate_release(struct vcpu_gate *gate, unsigned bits);

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
 * vcpu_create - KVM_CREATE_VCPU and the kvm_run mapping; no thread yet.
 * @vm_fd:     borrowed.
 * @run_bytes: KVM_GET_VCPU_MMAP_SIZE.
 * Return: 0 or -errno with @err.
 */
int vcpu_create(int vm_fd, unsigned id, size_t run_bytes,
	const struct vcpu_host *host, struct vcpu **ret_vcpu,
	struct error *err);

/* Start the thread.  It goes to the gate first and counts as arrived there.
 * Return: 0 or -errno (EAGAIN: too many threads) with @err. */
int vcpu_start(struct vcpu *vcpu, struct error *err);

/* What interrupts KVM_RUN; the process has no other use for it. */
#define VCPU_KICK_SIGNAL SIGUSR2

/* Make the vCPU leave KVM_RUN and look at the gate.  Any thread, while the
 * owner neither starts nor stops it. */
void vcpu_kick(struct vcpu *vcpu);

/* End the thread and join it.  Owner, with the vCPU at the gate: elsewhere it
 * might wait for the very loop that would stand in the join. */
void vcpu_stop(struct vcpu *vcpu);

/* Stop, unmap, close.  Owner; NULL is allowed. */
void vcpu_destroy(struct vcpu *vcpu);

int vcpu_fd(const struct vcpu *vcpu); /* borrowed */
unsigned vcpu_id(const struct vcpu *vcpu);

#endif
