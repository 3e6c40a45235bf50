/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_fresh.h - make a used vCPU new again (V2).
 *
 * Every state that a getter tells is taken from a vCPU while it is new, and
 * put back when its fd is used again or the machine is reset.  Unlike a section
 * of vcpu_state.h this never leaves the host.
 *
 * Thread: the owner of struct vm, with the vCPU at the gate or without a
 * thread.
 */
#ifndef GODWIT_VMM_X86_VCPU_FRESH_H
#define GODWIT_VMM_X86_VCPU_FRESH_H

#include <stdbool.h>

struct error;
struct vcpu_fresh;
struct vcpu_scratch;

/**
 * vcpu_fresh_take - remember a vCPU that has its CPUID and platform registers
 * and has not run.
 * @ret_fresh: about 10 KB, for vcpu_fresh_free().
 * Return: 0 or -errno with @err.
 */
int vcpu_fresh_take(int vcpu_fd, struct vcpu_scratch *scratch,
	struct vcpu_fresh **ret_fresh, struct error *err);
void vcpu_fresh_free(struct vcpu_fresh *fresh);

/* The machine that a vCPU is put back into. */
enum vcpu_fresh_why {
	/* It goes on: MSRs that all vCPUs share stay, and the TSC is what KVM
	 * gives a new vCPU of a running machine, in step with the others. */
	VCPU_FRESH_JOIN,
	/* It starts anew, and this is the first vCPU of all: the TSC goes back,
	 * too, and the others, joining after it, follow. */
	VCPU_FRESH_POWER_ON,
};

/* Put all of it back.  0, or -errno with @err and the vCPU in between. */
int vcpu_fresh_put(int vcpu_fd, struct vcpu_scratch *scratch,
	const struct vcpu_fresh *fresh, enum vcpu_fresh_why why,
	struct error *err);

/* Bring the TSC of a vCPU that does not run in step with the machine's. */
int vcpu_fresh_sync_tsc(int vcpu_fd);

#endif
