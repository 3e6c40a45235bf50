/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/cpuid.c - see cpuid.h. */
#include "vmm/x86/cpuid.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/kvm.h"

#define ENTRIES_FIRST 128u
#define ENTRIES_MAX   1024u

#define LEAF_KVM_BASE	  0x40000000u
#define LEAF_KVM_TIMING	  0x40000010u
#define ECX1_TSC_DEADLINE (1u << 24)
#define ECX1_HYPERVISOR	  (1u << 31)
#define EDX1_HTT	  (1u << 28)
#define CMP_LEGACY	  (1u << 1) /* 0x80000001 ecx: no SMT behind HTT */

/* The in-kernel LAPIC timer ticks at 1 GHz. */
#define KVM_APIC_BUS_KHZ 1000000u

/* Bits needed to number @n things. */
static unsigned width(unsigned n)
{
	unsigned bits = 0;

	while (bits < 31 && (1u << bits) < n)
		bits++;
	return bits;
}

static struct kvm_cpuid_entry2 *add(struct kvm_cpuid2 *cpuid, uint32_t function,
	uint32_t index, uint32_t flags)
{
	struct kvm_cpuid_entry2 *e = &cpuid->entries[cpuid->nent++];

	memset(e, 0, sizeof(*e));
	e->function = function;
	e->index = index;
	e->flags = flags;
	return e;
}

static struct kvm_cpuid_entry2 *find(
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

static int supported(int kvm_fd, struct kvm_cpuid2 **ret, struct error *err)
{
	struct kvm_cpuid2 *cpuid;
	uint32_t room;
	int code;

	for (room = ENTRIES_FIRST; room <= ENTRIES_MAX; room *= 2) {
		cpuid = calloc(
			1, sizeof(*cpuid) + (room + CPUID_SPARE) *
						    sizeof(cpuid->entries[0]));
		if (!cpuid)
			return error_errno(err, -ENOMEM, "cpuid");
		cpuid->nent = room;
		code = kvm_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid);
		if (code >= 0) {
			*ret = cpuid;
			return 0;
		}
		free(cpuid);
		if (code != -E2BIG)
			return error_errno(
				err, code, "KVM_GET_SUPPORTED_CPUID");
	}
	return error_set(err, -E2BIG,
		"KVM_GET_SUPPORTED_CPUID: more than %u leaves", ENTRIES_MAX);
}

/* AMD or its licensee: leaves 0x80000001 and up hold the topology. */
static bool is_amd(struct kvm_cpuid2 *cpuid)
{
	static const char *const names[] = {"AuthenticAMD", "HygonGenuine"};
	const struct kvm_cpuid_entry2 *e = find(cpuid, 0, 0);
	char name[13] = "";
	unsigned i;

	if (!e)
		return false;
	memcpy(name, &e->ebx, 4);
	memcpy(name + 4, &e->edx, 4);
	memcpy(name + 8, &e->ecx, 4);
	for (i = 0; i < 2; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* @n, or the most a field can hold. */
static uint32_t cap(uint32_t n, uint32_t max)
{
	return n < max ? n : max;
}

static void set_features(
	struct kvm_cpuid_entry2 *e, bool amd, const struct cpuid_spec *spec)
{
	unsigned cpus = spec->cpus_max;

	e->ecx |= ECX1_HYPERVISOR;
	e->ecx &= ~ECX1_TSC_DEADLINE;
	if (spec->tsc_deadline)
		e->ecx |= ECX1_TSC_DEADLINE;
	e->edx &= ~EDX1_HTT;
	if (cpus > 1)
		e->edx |= EDX1_HTT;
	/* Intel: ids a package may have.  AMD: how many it has. */
	e->ebx &= 0x0000ffffu;
	e->ebx |= cap(amd ? cpus : 1u << width(cpus), 255) << 16;
}

/* Leaf 4 and AMD's 0x8000001d: everyone shares the last level, nobody another.
 * Intel counts possible ids, and cores in the uppermost bits; AMD counts CPUs
 * and has nothing there. */
static void set_cache_sharing(
	struct kvm_cpuid_entry2 *e, bool amd, unsigned cpus)
{
	unsigned level = (e->eax >> 5) & 7;
	uint32_t others = amd ? cpus - 1 : (1u << width(cpus)) - 1;

	if ((e->eax & 0x1f) == 0)
		return; /* no more caches */
	e->eax &= 0x00003fffu;
	if (!amd)
		e->eax |= cap(others, 63) << 26;
	if (level >= 3)
		e->eax |= cap(others, 4095) << 14;
}

/* AMD leaf 0x80000008: cores, and bits of the APIC id that number them. */
static void set_amd_cores(struct kvm_cpuid_entry2 *e, unsigned cpus)
{
	e->ecx &= ~0xf0ffu;
	e->ecx |= cap(cpus - 1, 255) | cap(width(cpus), 15) << 12;
}

/* Leaves 0xb and 0x1f: one thread a core, all cores in one package.  Two
 * entries; KVM answers higher ones by itself, as "no more levels". */
static void set_topology(
	struct kvm_cpuid2 *cpuid, uint32_t function, unsigned cpus)
{
	struct kvm_cpuid_entry2 *e;
	uint32_t i, n;

	if (!find(cpuid, function, 0))
		return;
	for (i = n = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != function)
			cpuid->entries[n++] = cpuid->entries[i];
	cpuid->nent = n;
	e = add(cpuid, function, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	e->ebx = 1;
	e->ecx = 1 << 8; /* SMT */
	e = add(cpuid, function, 1, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	e->eax = width(cpus);
	e->ebx = cap(cpus, 0xffff);
	e->ecx = 1 | 2 << 8; /* level 1: cores */
}

static void set_timing(struct kvm_cpuid2 *cpuid, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 *base = find(cpuid, LEAF_KVM_BASE, 0);
	struct kvm_cpuid_entry2 *e;

	if (!base || tsc_khz == 0)
		return;
	e = find(cpuid, LEAF_KVM_TIMING, 0);
	if (!e)
		e = add(cpuid, LEAF_KVM_TIMING, 0, 0);
	e->eax = tsc_khz;
	e->ebx = KVM_APIC_BUS_KHZ;
	e->ecx = e->edx = 0;
	if (base->eax < LEAF_KVM_TIMING)
		base->eax = LEAF_KVM_TIMING;
}

void cpuid_set_machine(struct kvm_cpuid2 *cpuid, const struct cpuid_spec *spec)
{
	bool amd = is_amd(cpuid);
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			set_features(e, amd, spec);
			break;
		case 4:
			set_cache_sharing(e, false, spec->cpus_max);
			break;
		case 0x8000001du:
			set_cache_sharing(e, true, spec->cpus_max);
			break;
		case 0x80000001u:
			if (amd)
				e->ecx &= ~CMP_LEGACY;
			if (amd && spec->cpus_max > 1)
				e->ecx |= CMP_LEGACY;
			break;
		case 0x80000008u:
			if (amd)
				set_amd_cores(e, spec->cpus_max);
			break;
		}
	}
	set_topology(cpuid, 0xb, spec->cpus_max);
	set_topology(cpuid, 0x1f, spec->cpus_max);
	set_timing(cpuid, spec->tsc_khz);
}

void cpuid_set_apic_id(struct kvm_cpuid2 *cpuid, unsigned apic_id)
{
	bool amd = is_amd(cpuid);
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			e->ebx &= 0x00ffffffu;
			e->ebx |= (apic_id & 0xff) << 24;
			break;
		case 0xb:
		case 0x1f:
			e->edx = apic_id;
			break;
		case 0x8000001eu:
			/* KVM lists the leaf on Intel too, as zeroes. */
			if (!amd)
				break;
			e->eax = apic_id;
			e->ebx = apic_id & 0xff; /* one thread a core */
			e->ecx = 0;		 /* one node */
			break;
		}
	}
}

int cpuid_create(int kvm_fd, const struct cpuid_spec *spec,
	struct kvm_cpuid2 **ret_cpuid, struct error *err)
{
	struct kvm_cpuid2 *cpuid = NULL;
	int code;

	code = supported(kvm_fd, &cpuid, err);
	if (code < 0)
		return code;
	cpuid_set_machine(cpuid, spec);
	*ret_cpuid = cpuid;
	return 0;
}

int cpuid_apply(int vcpu_fd, struct kvm_cpuid2 *cpuid, unsigned apic_id,
	struct error *err)
{
	int code;

	cpuid_set_apic_id(cpuid, apic_id);
	code = kvm_ioctl(vcpu_fd, KVM_SET_CPUID2, cpuid);
	if (code < 0)
		return error_errno(
			err, code, "vcpu%u: KVM_SET_CPUID2", apic_id);
	return 0;
}
