/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/cpuid.c - see cpuid.h. */
#include "vmm/x86/cpuid.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/x86/cpu_features.h"
#include "vmm/x86/cpu_model.h"

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

int cpuid_supported(int kvm_fd, struct kvm_cpuid2 **ret, struct error *err)
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

/* ---- topology ---- */

/* The three numbers, with what was left out filled in. */
static struct cpuid_spec filled(const struct cpuid_spec *spec)
{
	struct cpuid_spec s = *spec;

	if (s.sockets == 0 || s.cores == 0 || s.threads == 0) {
		s.sockets = s.threads = 1;
		s.cores = s.cpus_max;
	}
	return s;
}

static bool power_of_two(unsigned n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

int cpuid_check_topology(const struct cpuid_spec *spec, struct error *err)
{
	const struct cpuid_spec s = filled(spec);

	if ((uint64_t)s.sockets * s.cores * s.threads != s.cpus_max ||
		s.sockets > s.cpus_max || s.cores > s.cpus_max)
		return error_set(err, -EINVAL,
			"%u sockets x %u cores x %u threads are not %u vCPUs "
			"(make the product max=)",
			s.sockets, s.cores, s.threads, s.cpus_max);
	if (!power_of_two(s.threads) && s.cores * s.sockets > 1)
		return error_set(err, -EINVAL,
			"%u threads a core: no power of two (give 1 or 2, or "
			"one core)",
			s.threads);
	if (!power_of_two(s.cores * s.threads) && s.sockets > 1)
		return error_set(err, -EINVAL,
			"%u vCPUs a socket: no power of two, so that APIC ids "
			"would have gaps (give sockets=1, or cores=%u)",
			s.cores * s.threads, 1u << width(s.cores));
	return 0;
}

/* AMD or its licensee: leaves 0x80000001 and up hold the topology. */
static bool is_amd(struct kvm_cpuid2 *cpuid)
{
	static const char *const names[] = {"AuthenticAMD", "HygonGenuine"};
	const struct kvm_cpuid_entry2 *e = cpu_leaf(cpuid, 0, 0);
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

/* A package: its threads, and bits of an APIC id that number them. */
struct package {
	bool amd;
	unsigned threads;      /* of a core */
	unsigned cpus;	       /* of the package */
	unsigned thread_width; /* bits */
	unsigned width;	       /* bits, those of the thread included */
};

static void set_features(struct kvm_cpuid_entry2 *e, const struct package *p,
	const struct cpuid_spec *spec)
{
	e->ecx |= ECX1_HYPERVISOR;
	e->ecx &= ~ECX1_TSC_DEADLINE;
	if (spec->tsc_deadline)
		e->ecx |= ECX1_TSC_DEADLINE;
	e->edx &= ~EDX1_HTT;
	if (p->cpus > 1)
		e->edx |= EDX1_HTT;
	/* Intel: ids a package may have.  AMD: how many it has. */
	e->ebx &= 0x0000ffffu;
	e->ebx |= cap(p->amd ? p->cpus : 1u << p->width, 255) << 16;
}

/* Leaf 4 and AMD's 0x8000001d: a package shares the last level, a core the
 * others.  Intel counts possible ids, and cores in the uppermost bits; AMD
 * counts CPUs and has nothing there. */
static void set_cache_sharing(
	struct kvm_cpuid_entry2 *e, const struct package *p, bool intel_leaf)
{
	unsigned level = (e->eax >> 5) & 7;
	uint32_t package, core;

	if ((e->eax & 0x1f) == 0)
		return; /* no more caches */
	package = intel_leaf ? (1u << p->width) - 1 : p->cpus - 1;
	core = intel_leaf ? (1u << p->thread_width) - 1 : p->threads - 1;
	e->eax &= 0x00003fffu;
	if (intel_leaf)
		e->eax |= cap(package >> p->thread_width, 63) << 26;
	e->eax |= cap(level >= 3 ? package : core, 4095) << 14;
}

/* AMD leaf 0x80000008: threads, and bits of the APIC id that number them. */
static void set_amd_cores(struct kvm_cpuid_entry2 *e, const struct package *p)
{
	e->ecx &= ~0xf0ffu;
	e->ecx |= cap(p->cpus - 1, 255) | cap(p->width, 15) << 12;
}

/* Leaves 0xb and 0x1f: threads of a core, CPUs of a package.  Two entries; KVM
 * answers higher ones by itself, as "no more levels". */
static void set_topology(
	struct kvm_cpuid2 *cpuid, uint32_t function, const struct package *p)
{
	struct kvm_cpuid_entry2 *e;
	uint32_t i, n;

	if (!cpu_leaf(cpuid, function, 0))
		return;
	for (i = n = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != function)
			cpuid->entries[n++] = cpuid->entries[i];
	cpuid->nent = n;
	e = add(cpuid, function, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	e->eax = p->thread_width;
	e->ebx = cap(p->threads, 0xffff);
	e->ecx = 1 << 8; /* SMT */
	e = add(cpuid, function, 1, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	e->eax = p->width;
	e->ebx = cap(p->cpus, 0xffff);
	e->ecx = 1 | 2 << 8; /* level 1: cores */
}

static void set_timing(struct kvm_cpuid2 *cpuid, uint32_t tsc_khz)
{
	struct kvm_cpuid_entry2 *base = cpu_leaf(cpuid, LEAF_KVM_BASE, 0);
	struct kvm_cpuid_entry2 *e;

	if (!base || tsc_khz == 0)
		return;
	e = cpu_leaf(cpuid, LEAF_KVM_TIMING, 0);
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
	const struct cpuid_spec s = filled(spec);
	const struct package p = {
		.amd = is_amd(cpuid),
		.threads = s.threads,
		.cpus = s.cores * s.threads,
		.thread_width = width(s.threads),
		.width = width(s.cores * s.threads),
	};
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			set_features(e, &p, spec);
			break;
		case 4:
			set_cache_sharing(e, &p, true);
			break;
		case 0x8000001du:
			set_cache_sharing(e, &p, false);
			break;
		case 0x80000001u:
			if (p.amd)
				e->ecx &= ~CMP_LEGACY;
			if (p.amd && p.threads == 1 && p.cpus > 1)
				e->ecx |= CMP_LEGACY;
			break;
		case 0x80000008u:
			if (p.amd)
				set_amd_cores(e, &p);
			break;
		case 0x8000001eu:
			/* KVM lists the leaf on Intel too, as zeroes. */
			if (p.amd)
				e->ebx = cap(p.threads - 1, 255) << 8;
			break;
		}
	}
	set_topology(cpuid, 0xb, &p);
	set_topology(cpuid, 0x1f, &p);
	set_timing(cpuid, spec->tsc_khz);
}

/* AMD's extended id: core and node, from what cpuid_set_machine() wrote. */
static void set_amd_id(
	struct kvm_cpuid2 *cpuid, struct kvm_cpuid_entry2 *e, unsigned apic_id)
{
	const struct kvm_cpuid_entry2 *sizes = cpu_leaf(cpuid, 0x80000008, 0);
	unsigned package = sizes ? sizes->ecx >> 12 & 15 : 31;
	unsigned thread = width((e->ebx >> 8 & 0xff) + 1);
	unsigned local = apic_id & ((1u << package) - 1);

	e->eax = apic_id;
	e->ebx &= 0xff00u;
	e->ebx |= local >> thread & 0xff;
	e->ecx = cap(apic_id >> package, 255); /* one node a socket */
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
			if (amd)
				set_amd_id(cpuid, e, apic_id);
			break;
		}
	}
}

int cpuid_create(int kvm_fd, const struct cpuid_spec *spec,
	struct kvm_cpuid2 **ret_cpuid, struct error *err)
{
	struct kvm_cpuid2 *cpuid = NULL;
	int code;

	code = cpuid_supported(kvm_fd, &cpuid, err);
	if (code < 0)
		return code;
	code = cpuid_check_topology(spec, err);
	if (code == 0) {
		cpuid_set_machine(cpuid, spec);
		code = cpu_model_apply(spec->model, cpuid, err);
	}
	if (code < 0) {
		free(cpuid);
		return code;
	}
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
