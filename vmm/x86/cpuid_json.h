/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/cpuid_json.h - CPUID as part of a machine's description, which
 * travels to another host and is read back there.
 *
 * {"leaves": [[function, index, flags, eax, ebx, ecx, edx], ..]}, numbers below
 * 2^32, flags 0 or 1 (the index is significant).  The ids of a single vCPU are
 * those of APIC id 0.
 */
#ifndef GODWIT_VMM_X86_CPUID_JSON_H
#define GODWIT_VMM_X86_CPUID_JSON_H

#include <jansson.h>

struct error;
struct kvm_cpuid2;

#define CPUID_JSON_LEAVES_MAX 1024u

/* Describe @cpuid, of whichever vCPU.  0 with a new reference, or -ENOMEM. */
int cpuid_describe(const struct kvm_cpuid2 *cpuid, json_t **ret_json);

/**
 * cpuid_from_json - read it back; @json may say anything.
 * @ret_cpuid: to be freed with free(); for cpuid_apply().
 * Return: 0, -EPROTO with @err (what is wrong with it), or -ENOMEM.
 */
int cpuid_from_json(
	json_t *json, struct kvm_cpuid2 **ret_cpuid, struct error *err);

#endif
