/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_fields.h - the part of a vCPU's state that has one size on every
 * host, as it stands in a section, and what it must look like to be believed.
 *
 * Checked here is what the architecture or KVM's API fixes, so that a lie is
 * named before anything is set.  What depends on the CPU (bits of CR4, features
 * of XCR0, MSR values) KVM itself refuses.  Not checked, because any value is
 * one a guest could have put there: general registers, addresses, the LAPIC's
 * registers (KVM masks what is reserved).
 *
 * Stateless: any thread.
 */
#ifndef GODWIT_VMM_X86_VCPU_FIELDS_H
#define GODWIT_VMM_X86_VCPU_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/kvm.h>

struct state_reader;
struct state_writer;

struct vcpu_fields {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	uint32_t tsc_khz; /* 0: not known */
};

/* Bytes of them in a section, in the order of the struct. */
#define VCPU_FIELDS_BYTES                                                      \
	(4 + sizeof(struct kvm_regs) + sizeof(struct kvm_sregs2) +             \
		sizeof(struct kvm_debugregs) + sizeof(struct kvm_xcrs) +       \
		sizeof(struct kvm_lapic_state) +                               \
		sizeof(struct kvm_vcpu_events) + 4)

void vcpu_fields_put(struct state_writer *w, const struct vcpu_fields *f);
/* Errors stay in @r. */
void vcpu_fields_get(struct state_reader *r, struct vcpu_fields *ret_f);

/* NULL, or a static string that says what is wrong with @f. */
const char *vcpu_fields_check(const struct vcpu_fields *f);

/* The same of an xsave area in KVM's layout, at least 576 bytes. */
const char *vcpu_fields_check_xsave(const void *xsave, size_t bytes);

/* Paging of 32-bit PAE kind, whose four page directory pointers are state. */
bool vcpu_fields_pae(uint64_t cr0, uint64_t cr4, uint64_t efer);

/* Between the two forms of system registers; the PDPTRs are left out. */
void vcpu_fields_to_sregs(const struct kvm_sregs2 *from, struct kvm_sregs *to);
void vcpu_fields_from_sregs(
	const struct kvm_sregs *from, struct kvm_sregs2 *to);

#endif
