/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_state.h - all KVM state of one vCPU, out of KVM and back.
 *
 * Save order: MP state first, because asking for it lets KVM digest pending
 * INIT/SIPI and so change the rest; then registers; events last, because the
 * other getters may queue or clear some.
 * Load order: sregs before LAPIC (APIC base and mode), LAPIC before MSRs (the
 * TSC deadline is dropped unless the LAPIC timer is in that mode), xcrs before
 * xsave (XCR0 says which components exist), events after all that may raise
 * some (they also take back an INIT of the life before), and MP state last.  Of
 * the MSRs the TSC is first and its deadline last, since one is a point of the
 * other.  CPUID must be set before any of it.
 *
 * Thread: the owner of struct vm, with the vCPU at the gate.
 */
#ifndef GODWIT_VMM_X86_VCPU_STATE_H
#define GODWIT_VMM_X86_VCPU_STATE_H

#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

struct error;
struct state_reader;
struct state_writer;

#define VCPU_STATE_VERSION   1u
#define VCPU_STATE_MSRS_MAX  512u
#define VCPU_STATE_XSAVE_MAX 65536u /* bytes */

/* Scratch of one VM, made once: what this KVM can save, and room for it. */
struct vcpu_scratch {
	struct kvm_msrs *msrs; /* owned; room for VCPU_STATE_MSRS_MAX */
	uint32_t *msr_index;   /* owned; msr_count indices to save */
	uint32_t msr_count;
	struct kvm_xsave *xsave; /* owned; xsave_bytes */
	size_t xsave_bytes;	 /* KVM_CAP_XSAVE2, at least 4096 */
};

/**
 * vcpu_scratch_init - ask KVM what there is to save.
 * @kvm_fd: /dev/kvm; @xsave_bytes: value of KVM_CAP_XSAVE2 on the VM, 0 if
 * none. Return: 0 or -errno with @err.
 */
int vcpu_scratch_init(struct vcpu_scratch *scratch, int kvm_fd,
	size_t xsave_bytes, struct error *err);
void vcpu_scratch_fini(struct vcpu_scratch *scratch);

/* Put the state of @vcpu_fd into the open section; errors of @w stay in @w.
 * 0 or -errno with @err. */
int vcpu_state_save(int vcpu_fd, struct vcpu_scratch *scratch,
	struct state_writer *w, struct error *err);

/**
 * vcpu_state_load - read and check the whole section, then set it.
 * Return: 0; -EBADMSG or -EPROTO with the vCPU untouched; -errno of a setter
 *         with the vCPU in between (destroy it).
 */
int vcpu_state_load(int vcpu_fd, struct vcpu_scratch *scratch,
	struct state_reader *r, struct error *err);

#endif
