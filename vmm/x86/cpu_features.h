/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/cpu_features.h - CPUID bits by name: which leaves hold features, what
 * Linux calls them, and which are nothing without another.
 *
 * A bit of a feature word without a name here is called by its place:
 * "cpuid.7.0.ecx.23".  Stateless: any thread.
 */
#ifndef GODWIT_VMM_X86_CPU_FEATURES_H
#define GODWIT_VMM_X86_CPU_FEATURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kvm_cpuid2;
struct kvm_cpuid_entry2;

enum cpu_reg { CPU_EAX, CPU_EBX, CPU_ECX, CPU_EDX };

/* A register whose bits are features. */
struct cpu_word {
	uint32_t function, index;
	enum cpu_reg reg;
	/* Bits that the machine or the guest's kernel sets, not the CPU: no
	 * host lacks them, and nobody may ask for them. */
	uint32_t ours;
};

#define CPU_WORDS_MAX 18u
extern const struct cpu_word cpu_words[CPU_WORDS_MAX];

#define CPU_FEATURE_NAME_MAX 31u /* bytes */

struct cpu_bit {
	unsigned word; /* index into cpu_words */
	unsigned bit;  /* 0 .. 31 */
};

/* Look @name up.  False: no such feature. */
bool cpu_feature_find(const char *name, struct cpu_bit *ret_bit);

/* The name of a bit, into @buf; returns @buf. */
const char *cpu_feature_name(
	struct cpu_bit bit, char buf[CPU_FEATURE_NAME_MAX + 1]);

/* The feature that @bit is nothing without.  False: it stands alone. */
bool cpu_feature_needs(struct cpu_bit bit, struct cpu_bit *ret_needs);

/* The entry of a leaf; @index counts where it is significant.  NULL: absent. */
struct kvm_cpuid_entry2 *cpu_leaf(
	struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index);

uint32_t *cpu_leaf_reg(struct kvm_cpuid_entry2 *e, enum cpu_reg reg);

/* A feature word of @cpuid: 0 where the leaf is absent. */
uint32_t cpu_word_get(const struct kvm_cpuid2 *cpuid, unsigned word);

#endif
