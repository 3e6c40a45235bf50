/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_state.h - all KVM state of one vCPU, out of KVM and back.
 *
 * Save order: MP state first, because asking for it lets KVM digest pending
 * INIT/SIPI and so change the rest; then registers; the MSRs and the TSC offset
 * close together, because the two tell one instant; events last, because the
 * other getters may queue or clear some.  (Through the kvm_run page they come
 * with the registers: then all getters that queue were asked before.)
 *
 * Load order: the TSC rate, because offsets depend on it; sregs before LAPIC
 * (APIC base and mode); LAPIC before MSRs (the TSC deadline is dropped unless
 * the LAPIC timer is in that mode); the TSC before its deadline, since one is a
 * point of the other; xcrs before xsave (XCR0 says which components exist);
 * nested state after EFER and the feature-control MSR, that permit it; general
 * registers after nested state, which has registers of its own; events after
 * all that may raise some (they also take back an INIT of the life before); MP
 * state last, but for a vCPU that runs or halts, whose registers the kvm_run
 * page takes only in that state.  CPUID must be set before any of it.
 *
 * Time.  The TSCs of all vCPUs are saved as of one instant, and loaded as of
 * one, so that they differ by exactly what they differed before and go on from
 * where they stood: the time of the move itself does not pass for the guest.
 * Where KVM has no TSC offsets it gets the values, and aligns those that are
 * less than a second apart by itself.  A host whose TSC ticks at another rate
 * (beyond VCPU_STATE_TSC_PPM) must scale it, or the load is refused.
 *
 * Thread: the owner of struct vm, with the vCPU at the gate.
 */
#ifndef GODWIT_VMM_X86_VCPU_STATE_H
#define GODWIT_VMM_X86_VCPU_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

struct error;
struct kvm_caps;
struct state_reader;
struct state_writer;

#define VCPU_STATE_VERSION    2u
#define VCPU_STATE_MSRS_MAX   512u
#define VCPU_STATE_XSAVE_MAX  65536u /* bytes */
#define VCPU_STATE_NESTED_MAX 65536u /* bytes */
#define VCPU_STATE_TSC_PPM    250u   /* rates this close count as one */

/* Scratch of one VM, made once: what this KVM can save, and room for it. */
struct vcpu_scratch {
	struct kvm_msrs *msrs; /* owned; room for VCPU_STATE_MSRS_MAX */
	uint32_t *msr_index;   /* owned; msr_count indices to save */
	uint32_t msr_count;
	struct kvm_xsave *xsave;	 /* owned; xsave_bytes */
	size_t xsave_bytes;		 /* KVM_CAP_XSAVE2, at least 4096 */
	struct kvm_nested_state *nested; /* owned; NULL: KVM has none */
	size_t nested_bytes;
	bool sync_regs, sregs2, tsc_offset, tsc_scaling;
	/* Asked once: only a load changes the rate.  0: KVM cannot tell. */
	bool rate_known, scaled; /* scaled: ever */
	uint32_t host_khz, guest_khz;
	/* The instant of this round, see vcpu_state_begin(). */
	bool instant;	      /* the rest is known */
	uint64_t instant_tsc; /* save: a TSC then; load: the host's */
	uint64_t instant_offset;
};

/**
 * vcpu_scratch_init - ask KVM what there is to save.
 * @kvm_fd: /dev/kvm.
 * @caps:   of the VM.
 * Return: 0 or -errno with @err.
 */
int vcpu_scratch_init(struct vcpu_scratch *scratch, int kvm_fd,
	const struct kvm_caps *caps, struct error *err);
void vcpu_scratch_fini(struct vcpu_scratch *scratch);

/* Before the first vCPU of a VM is saved, or loaded: what follows, all its
 * vCPUs, belongs to one instant. */
void vcpu_state_begin(struct vcpu_scratch *scratch);

/**
 * vcpu_state_save - put the state of @vcpu_fd into the open section.
 * @run: its mapped kvm_run, which must have no exit to complete; NULL: make do
 *       with ioctls.
 * Errors of @w stay in @w.  Return: 0 or -errno with @err.
 */
int vcpu_state_save(int vcpu_fd, struct kvm_run *run,
	struct vcpu_scratch *scratch, struct state_writer *w,
	struct error *err);

/**
 * vcpu_state_load - read and check the whole section, then set it.
 * Return: 0; -EBADMSG or -EPROTO with the vCPU untouched, -ENOTSUP likewise
 *         (TSC rate, nested state); -EPROTO (an MSR) or -errno of a setter with
 *         the vCPU in between (destroy it).
 */
int vcpu_state_load(int vcpu_fd, struct kvm_run *run,
	struct vcpu_scratch *scratch, struct state_reader *r,
	struct error *err);

#endif
