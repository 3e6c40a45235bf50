/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/cpuid.h - what CPUID tells the guest.
 *
 * Starts from what KVM supports on this host and sets what depends on the
 * machine: APIC ids, topology (one socket, one thread a core), the hypervisor
 * leaves with the KVM signature, and the TSC frequency.
 */
#ifndef GODWIT_VMM_X86_CPUID_H
#define GODWIT_VMM_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct kvm_cpuid2;

struct cpuid_spec {
	unsigned cpus_max; /* APIC ids 0 .. cpus_max - 1 */
	bool tsc_deadline; /* KVM_CAP_TSC_DEADLINE_TIMER */
	uint32_t tsc_khz;  /* 0: not known, leaf 0x40000010 left out */
};

/**
 * cpuid_create - the leaves of vCPU 0, to be freed with free().
 * @kvm_fd: /dev/kvm, borrowed.
 * Return: 0, -ENOMEM, or -errno of KVM_GET_SUPPORTED_CPUID with @err.
 * Source: Intel SDM vol. 2A CPUID; AMD APM vol. 3 appendix E; Linux
 *         Documentation/virt/kvm/x86/cpuid.rst.
 */
int cpuid_create(int kvm_fd, const struct cpuid_spec *spec,
	struct kvm_cpuid2 **ret_cpuid, struct error *err);

/* Make @cpuid the one of @apic_id, then KVM_SET_CPUID2.  0 or -errno. */
int cpuid_apply(int vcpu_fd, struct kvm_cpuid2 *cpuid, unsigned apic_id,
	struct error *err);

/* ---- what the two are made of: arithmetic on leaves, for tests ---- */

#define CPUID_SPARE 4u /* entries cpuid_set_machine() may add */

/* Turn the leaves that KVM supports into those of the machine, the same for
 * all its vCPUs.  @cpuid has room for CPUID_SPARE entries beyond nent. */
void cpuid_set_machine(struct kvm_cpuid2 *cpuid, const struct cpuid_spec *spec);

/* Put the ids of one vCPU into leaves made by cpuid_set_machine(). */
void cpuid_set_apic_id(struct kvm_cpuid2 *cpuid, unsigned apic_id);

#endif
