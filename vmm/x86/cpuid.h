/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/cpuid.h - what CPUID tells the guest.
 *
 * Starts from what KVM supports on this host and sets what depends on the
 * machine: APIC ids, topology, the hypervisor leaves with the KVM signature,
 * the TSC frequency, and what the CPU model takes away (cpu_model.h).
 */
#ifndef GODWIT_VMM_X86_CPUID_H
#define GODWIT_VMM_X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct kvm_cpuid2;

struct cpuid_spec {
	unsigned cpus_max; /* APIC ids 0 .. cpus_max - 1 */
	/* Their product is cpus_max; all 0: one socket, one thread a core. */
	unsigned sockets, cores, threads;
	bool tsc_deadline; /* KVM_CAP_TSC_DEADLINE_TIMER */
	uint32_t tsc_khz;  /* 0: not known, leaf 0x40000010 left out */
	const char *model; /* --cpu, see cpu_model.h; NULL: host */
};

/**
 * cpuid_create - the leaves of vCPU 0, to be freed with free().
 * @kvm_fd: /dev/kvm, borrowed.
 * Return: 0, -ENOMEM, -errno of KVM_GET_SUPPORTED_CPUID, -EINVAL (topology) or
 *         that of the model, with @err.
 * Source: Intel SDM vol. 2A CPUID; AMD APM vol. 3 appendix E; Linux
 *         Documentation/virt/kvm/x86/cpuid.rst.
 */
int cpuid_create(int kvm_fd, const struct cpuid_spec *spec,
	struct kvm_cpuid2 **ret_cpuid, struct error *err);

/* Make @cpuid the one of @apic_id, then KVM_SET_CPUID2.  0 or -errno. */
int cpuid_apply(int vcpu_fd, struct kvm_cpuid2 *cpuid, unsigned apic_id,
	struct error *err);

/**
 * cpuid_check_topology - can ids that have no gaps express this topology?
 * An APIC id is a socket, a core and a thread number side by side, each in bits
 * of its own; ids without gaps therefore want powers of two, but for the
 * uppermost number that is used.
 * Return: 0, or -EINVAL with @err and what to give instead.
 */
int cpuid_check_topology(const struct cpuid_spec *spec, struct error *err);

/**
 * cpuid_supported - what KVM supports, to be freed with free().
 * Half a millisecond and more: KVM executes CPUID for each leaf, which on a
 * nested host are as many exits.
 * Return: 0 or -errno with @err; there is room for CPUID_SPARE more entries.
 */
int cpuid_supported(
	int kvm_fd, struct kvm_cpuid2 **ret_cpuid, struct error *err);

/* ---- what the two are made of: arithmetic on leaves, for tests ---- */

#define CPUID_SPARE 4u /* entries cpuid_set_machine() may add */

/* Turn the leaves that KVM supports into those of the machine, the same for
 * all its vCPUs.  @cpuid has room for CPUID_SPARE entries beyond nent. */
void cpuid_set_machine(struct kvm_cpuid2 *cpuid, const struct cpuid_spec *spec);

/* Put the ids of one vCPU into leaves made by cpuid_set_machine(). */
void cpuid_set_apic_id(struct kvm_cpuid2 *cpuid, unsigned apic_id);

#endif
