/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/cpu_features.c - see cpu_features.h.  Names as in Linux's
 * /proc/cpuinfo where it has one.
 * Source: Intel SDM vol. 2A CPUID; AMD APM vol. 3 appendix E; Linux
 * Documentation/virt/kvm/x86/cpuid.rst.
 */
#include "vmm/x86/cpu_features.h"

#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

enum {
	W1C,
	W1D,
	W7B,
	W7C,
	W7D,
	W71A,
	W71D,
	W72D,
	W6A,
	WD1A,
	WE1C,
	WE1D,
	WE7D,
	WE8B,
	WEAD,
	WE21A,
	WKVM,
	W71B,
};

const struct cpu_word cpu_words[CPU_WORDS_MAX] = {
	/* ours: OSXSAVE; the others are emulated everywhere or checked apart */
	[W1C] = {1, 0, CPU_ECX, 1u << 27},
	[W1D] = {1, 0, CPU_EDX, 1u << 28}, /* HTT: topology */
	[W7B] = {7, 0, CPU_EBX, 0},
	[W7C] = {7, 0, CPU_ECX, 1u << 4}, /* OSPKE */
	[W7D] = {7, 0, CPU_EDX, 0},
	[W71A] = {7, 1, CPU_EAX, 0},
	[W71B] = {7, 1, CPU_EBX, 0},
	[W71D] = {7, 1, CPU_EDX, 0},
	[W72D] = {7, 2, CPU_EDX, 0},
	[W6A] = {6, 0, CPU_EAX, 0},
	[WD1A] = {0xd, 1, CPU_EAX, 0},
	[WE1C] = {0x80000001, 0, CPU_ECX, 1u << 1}, /* CMP_LEGACY: topology */
	[WE1D] = {0x80000001, 0, CPU_EDX, 0},
	[WE7D] = {0x80000007, 0, CPU_EDX, 0},
	[WE8B] = {0x80000008, 0, CPU_EBX, 0},
	[WEAD] = {0x8000000a, 0, CPU_EDX, 0},
	[WE21A] = {0x80000021, 0, CPU_EAX, 0},
	[WKVM] = {0x40000001, 0, CPU_EAX, 0},
};

static const struct {
	const char *name;
	struct cpu_bit at;
} names[] = {
	{"sse3", {W1C, 0}},
	{"pclmulqdq", {W1C, 1}},
	{"monitor", {W1C, 3}},
	{"vmx", {W1C, 5}},
	{"ssse3", {W1C, 9}},
	{"fma", {W1C, 12}},
	{"cx16", {W1C, 13}},
	{"pdcm", {W1C, 15}},
	{"pcid", {W1C, 17}},
	{"sse4_1", {W1C, 19}},
	{"sse4_2", {W1C, 20}},
	{"x2apic", {W1C, 21}},
	{"movbe", {W1C, 22}},
	{"popcnt", {W1C, 23}},
	{"tsc_deadline_timer", {W1C, 24}},
	{"aes", {W1C, 25}},
	{"xsave", {W1C, 26}},
	{"avx", {W1C, 28}},
	{"f16c", {W1C, 29}},
	{"rdrand", {W1C, 30}},
	{"hypervisor", {W1C, 31}},
	{"fpu", {W1D, 0}},
	{"vme", {W1D, 1}},
	{"de", {W1D, 2}},
	{"pse", {W1D, 3}},
	{"tsc", {W1D, 4}},
	{"msr", {W1D, 5}},
	{"pae", {W1D, 6}},
	{"mce", {W1D, 7}},
	{"cx8", {W1D, 8}},
	{"apic", {W1D, 9}},
	{"sep", {W1D, 11}},
	{"mtrr", {W1D, 12}},
	{"pge", {W1D, 13}},
	{"mca", {W1D, 14}},
	{"cmov", {W1D, 15}},
	{"pat", {W1D, 16}},
	{"pse36", {W1D, 17}},
	{"clflush", {W1D, 19}},
	{"mmx", {W1D, 23}},
	{"fxsr", {W1D, 24}},
	{"sse", {W1D, 25}},
	{"sse2", {W1D, 26}},
	{"ss", {W1D, 27}},
	{"arat", {W6A, 2}},
	{"fsgsbase", {W7B, 0}},
	{"tsc_adjust", {W7B, 1}},
	{"sgx", {W7B, 2}},
	{"bmi1", {W7B, 3}},
	{"hle", {W7B, 4}},
	{"avx2", {W7B, 5}},
	{"smep", {W7B, 7}},
	{"bmi2", {W7B, 8}},
	{"erms", {W7B, 9}},
	{"invpcid", {W7B, 10}},
	{"rtm", {W7B, 11}},
	{"mpx", {W7B, 14}},
	{"avx512f", {W7B, 16}},
	{"avx512dq", {W7B, 17}},
	{"rdseed", {W7B, 18}},
	{"adx", {W7B, 19}},
	{"smap", {W7B, 20}},
	{"avx512ifma", {W7B, 21}},
	{"clflushopt", {W7B, 23}},
	{"clwb", {W7B, 24}},
	{"intel_pt", {W7B, 25}},
	{"avx512pf", {W7B, 26}},
	{"avx512er", {W7B, 27}},
	{"avx512cd", {W7B, 28}},
	{"sha_ni", {W7B, 29}},
	{"avx512bw", {W7B, 30}},
	{"avx512vl", {W7B, 31}},
	{"avx512vbmi", {W7C, 1}},
	{"umip", {W7C, 2}},
	{"pku", {W7C, 3}},
	{"waitpkg", {W7C, 5}},
	{"avx512_vbmi2", {W7C, 6}},
	{"shstk", {W7C, 7}},
	{"gfni", {W7C, 8}},
	{"vaes", {W7C, 9}},
	{"vpclmulqdq", {W7C, 10}},
	{"avx512_vnni", {W7C, 11}},
	{"avx512_bitalg", {W7C, 12}},
	{"avx512_vpopcntdq", {W7C, 14}},
	{"la57", {W7C, 16}},
	{"rdpid", {W7C, 22}},
	{"bus_lock_detect", {W7C, 24}},
	{"cldemote", {W7C, 25}},
	{"movdiri", {W7C, 27}},
	{"movdir64b", {W7C, 28}},
	{"sgx_lc", {W7C, 30}},
	{"avx512_4vnniw", {W7D, 2}},
	{"avx512_4fmaps", {W7D, 3}},
	{"fsrm", {W7D, 4}},
	{"avx512_vp2intersect", {W7D, 8}},
	{"md_clear", {W7D, 10}},
	{"serialize", {W7D, 14}},
	{"tsxldtrk", {W7D, 16}},
	{"ibt", {W7D, 20}},
	{"amx_bf16", {W7D, 22}},
	{"avx512_fp16", {W7D, 23}},
	{"amx_tile", {W7D, 24}},
	{"amx_int8", {W7D, 25}},
	{"spec_ctrl", {W7D, 26}},
	{"intel_stibp", {W7D, 27}},
	{"flush_l1d", {W7D, 28}},
	{"arch_capabilities", {W7D, 29}},
	{"core_capabilities", {W7D, 30}},
	{"spec_ctrl_ssbd", {W7D, 31}},
	{"avx_vnni", {W71A, 4}},
	{"avx512_bf16", {W71A, 5}},
	{"cmpccxadd", {W71A, 7}},
	{"fzrm", {W71A, 10}},
	{"fsrs", {W71A, 11}},
	{"fsrc", {W71A, 12}},
	{"amx_fp16", {W71A, 21}},
	{"avx_ifma", {W71A, 23}},
	{"avx_vnni_int8", {W71D, 4}},
	{"avx_ne_convert", {W71D, 5}},
	{"amx_complex", {W71D, 8}},
	{"prefetchi", {W71D, 14}},
	{"xsaveopt", {WD1A, 0}},
	{"xsavec", {WD1A, 1}},
	{"xgetbv1", {WD1A, 2}},
	{"xsaves", {WD1A, 3}},
	{"xfd", {WD1A, 4}},
	{"lahf_lm", {WE1C, 0}},
	{"svm", {WE1C, 2}},
	{"cr8_legacy", {WE1C, 4}},
	{"abm", {WE1C, 5}},
	{"sse4a", {WE1C, 6}},
	{"misalignsse", {WE1C, 7}},
	{"3dnowprefetch", {WE1C, 8}},
	{"osvw", {WE1C, 9}},
	{"xop", {WE1C, 11}},
	{"fma4", {WE1C, 16}},
	{"tbm", {WE1C, 21}},
	{"topoext", {WE1C, 22}},
	{"perfctr_core", {WE1C, 23}},
	{"syscall", {WE1D, 11}},
	{"nx", {WE1D, 20}},
	{"mmxext", {WE1D, 22}},
	{"fxsr_opt", {WE1D, 25}},
	{"pdpe1gb", {WE1D, 26}},
	{"rdtscp", {WE1D, 27}},
	{"lm", {WE1D, 29}},
	{"3dnowext", {WE1D, 30}},
	{"3dnow", {WE1D, 31}},
	{"nonstop_tsc", {WE7D, 8}},
	{"clzero", {WE8B, 0}},
	{"xsaveerptr", {WE8B, 2}},
	{"wbnoinvd", {WE8B, 9}},
	{"ibpb", {WE8B, 12}},
	{"ibrs", {WE8B, 14}},
	{"stibp", {WE8B, 15}},
	{"ssbd", {WE8B, 24}},
	{"virt_ssbd", {WE8B, 25}},
	{"ssb_no", {WE8B, 26}},
	{"psfd", {WE8B, 28}},
	{"npt", {WEAD, 0}},
	{"nrip_save", {WEAD, 3}},
	{"lfence_rdtsc", {WE21A, 2}},
	{"null_sel_clr_base", {WE21A, 6}},
	{"autoibrs", {WE21A, 8}},
	{"kvm_clocksource", {WKVM, 0}},
	{"kvm_nop_io_delay", {WKVM, 1}},
	{"kvm_clocksource2", {WKVM, 3}},
	{"kvm_async_pf", {WKVM, 4}},
	{"kvm_steal_time", {WKVM, 5}},
	{"kvm_pv_eoi", {WKVM, 6}},
	{"kvm_pv_unhalt", {WKVM, 7}},
	{"kvm_pv_tlb_flush", {WKVM, 9}},
	{"kvm_async_pf_vmexit", {WKVM, 10}},
	{"kvm_pv_ipi", {WKVM, 11}},
	{"kvm_poll_control", {WKVM, 12}},
	{"kvm_pv_sched_yield", {WKVM, 13}},
	{"kvm_async_pf_int", {WKVM, 14}},
	{"kvm_msi_ext_dest_id", {WKVM, 15}},
	{"kvm_hc_map_gpa_range", {WKVM, 16}},
	{"kvm_migration_control", {WKVM, 17}},
	{"kvm_clocksource_stable", {WKVM, 24}},
};
#define NAMES (sizeof(names) / sizeof(names[0]))

/* Groups of bits of one word that all need one feature. */
static const struct {
	unsigned word;
	uint32_t bits;
	struct cpu_bit needs;
} needs[] = {
	{W1C, 1u << 9 | 1u << 19, {W1C, 0}},		/* SSSE3, SSE4.1 */
	{W1C, 1u << 20, {W1C, 19}},			/* SSE4.2 */
	{W1C, 1u << 0 | 1u << 1 | 1u << 25, {W1D, 26}}, /* SSE3, AES */
	{W1C, 1u << 28, {W1C, 26}},			/* AVX: XSAVE */
	{W1C, 1u << 12 | 1u << 29, {W1C, 28}},		/* FMA, F16C: AVX */
	{W1D, 1u << 26, {W1D, 25}},			/* SSE2: SSE */
	{W1D, 1u << 25, {W1D, 24}},			/* SSE: FXSR */
	{W7B, 1u << 5, {W1C, 28}},			/* AVX2 */
	{W7B, 1u << 16, {W7B, 5}},			/* AVX-512F */
	{W7B, 0xdc220000u, {W7B, 16}},			/* the rest of it */
	{W7C, 0x00005842u, {W7B, 16}},
	{W7D, 1u << 2 | 1u << 3 | 1u << 8 | 1u << 23, {W7B, 16}},
	{W71A, 1u << 5, {W7B, 16}},
	{W7B, 1u << 10, {W1C, 17}},	      /* INVPCID: PCID */
	{W7B, 1u << 14, {W1C, 26}},	      /* MPX */
	{W7C, 1u << 3, {W1C, 26}},	      /* PKU */
	{W7C, 1u << 9 | 1u << 10, {W1C, 28}}, /* VAES */
	{W7D, 1u << 24, {W1C, 26}},	      /* AMX: XSAVE */
	{W7D, 1u << 22 | 1u << 25, {W7D, 24}}, {W71A, 1u << 21, {W7D, 24}},
	{W71D, 1u << 8, {W7D, 24}},
	{W71A, 1u << 4 | 1u << 23, {W7B, 5}}, /* AVX-VNNI: AVX2 */
	{W71D, 1u << 4 | 1u << 5, {W7B, 5}},
	{WD1A, 0x1f, {W1C, 26}},		/* XSAVEOPT ... */
	{WE1C, 1u << 11 | 1u << 16, {W1C, 28}}, /* XOP, FMA4 */
	{WE1D, 1u << 29, {W1D, 6}},		/* long mode: PAE */
	{WE1D, 1u << 26, {WE1D, 29}},		/* 1 GiB pages */
	{WEAD, ~0u, {WE1C, 2}},			/* SVM's own */
	{WKVM, 1u << 10 | 1u << 14, {WKVM, 4}}, /* async page fault */
};
#define NEEDS (sizeof(needs) / sizeof(needs[0]))

bool cpu_feature_find(const char *name, struct cpu_bit *ret_bit)
{
	char buf[CPU_FEATURE_NAME_MAX + 1];
	struct cpu_bit at;
	unsigned i;

	for (i = 0; i < NAMES; i++)
		if (strcmp(names[i].name, name) == 0) {
			*ret_bit = names[i].at;
			return true;
		}
	if (strncmp(name, "cpuid.", 6) != 0)
		return false;
	for (i = 0; i < CPU_WORDS_MAX * 32; i++) {
		at = (struct cpu_bit){i / 32, i % 32};
		if (strcmp(cpu_feature_name(at, buf), name) == 0) {
			*ret_bit = at;
			return true;
		}
	}
	return false;
}

const char *cpu_feature_name(
	struct cpu_bit bit, char buf[CPU_FEATURE_NAME_MAX + 1])
{
	static const char *const regs[] = {"eax", "ebx", "ecx", "edx"};
	const struct cpu_word *w = &cpu_words[bit.word];
	unsigned i;

	for (i = 0; i < NAMES; i++)
		if (names[i].at.word == bit.word &&
			names[i].at.bit == bit.bit) {
			snprintf(buf, CPU_FEATURE_NAME_MAX + 1, "%s",
				names[i].name);
			return buf;
		}
	snprintf(buf, CPU_FEATURE_NAME_MAX + 1, "cpuid.%x.%x.%s.%u",
		w->function, w->index, regs[w->reg], bit.bit);
	return buf;
}

bool cpu_feature_needs(struct cpu_bit bit, struct cpu_bit *ret_needs)
{
	unsigned i;

	for (i = 0; i < NEEDS; i++)
		if (needs[i].word == bit.word && needs[i].bits >> bit.bit & 1) {
			*ret_needs = needs[i].needs;
			return true;
		}
	return false;
}

struct kvm_cpuid_entry2 *cpu_leaf(
	struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == function &&
			(e->index == index ||
				!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return e;
	}
	return NULL;
}

uint32_t *cpu_leaf_reg(struct kvm_cpuid_entry2 *e, enum cpu_reg reg)
{
	uint32_t *const regs[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

	return regs[reg];
}

uint32_t cpu_word_get(const struct kvm_cpuid2 *cpuid, unsigned word)
{
	const struct cpu_word *w = &cpu_words[word];
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 e = cpuid->entries[i];

		if (e.function == w->function &&
			(e.index == w->index ||
				!(e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return *cpu_leaf_reg(&e, w->reg);
	}
	return 0;
}
