/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_cpuid.c - what CPUID tells a guest of each size, from leaves
 * as KVM lists them on an Intel and on an AMD host (vmm/x86/cpuid.c).  Fields
 * are taken apart here as the manuals have them. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/x86/cpuid.h"

#define INDEXED	 KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define TSC_KHZ	 2300000u
#define LEAVES	 64u
#define CANARY	 0xdeadbeefu
#define BASE	 0x40000000u
#define TIMING	 0x40000010u
#define ECX1_DDL (1u << 24)
#define EDX1_HTT (1u << 28)

#define LEAF(function, index, flags, eax, ebx, ecx, edx)                       \
	{                                                                      \
		function, index, flags, eax, ebx, ecx, edx,                    \
		{                                                              \
			0                                                      \
		}                                                              \
	}

/* A big host: 128 ids a package, HTT, its own APIC id 37, hyperthreads. */
static const struct kvm_cpuid_entry2 intel[] = {
	LEAF(0, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69),
	LEAF(1, 0, 0, 0x000806f8, 0x25800800, 0x77fefbff, 0x1fabfbff),
	LEAF(4, 0, INDEXED, 0xfc004121, 0x02c0003f, 0x3f, 0),
	LEAF(4, 1, INDEXED, 0xfc004122, 0x01c0003f, 0x3f, 0),
	LEAF(4, 2, INDEXED, 0xfc004143, 0x03c0003f, 0x7ff, 0),
	LEAF(4, 3, INDEXED, 0xfc1fc163, 0x0380003f, 0x1bfff, 4),
	LEAF(4, 4, INDEXED, 0, 0, 0, 0),
	LEAF(7, 0, INDEXED, 2, 0xf1bf07ab, 0x1b415f6e, 0xbc814410),
	/* As older kernels list it: the topology of the host. */
	LEAF(0xb, 0, INDEXED, 1, 2, 0x100, 37),
	LEAF(0xb, 1, INDEXED, 7, 112, 0x201, 37),
	LEAF(0xd, 0, INDEXED, 0x2e7, 0xa88, 0xa88, 0),
	LEAF(0x1f, 0, INDEXED, 0, 0, 0, 0),
	LEAF(BASE, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
	LEAF(0x40000001, 0, 0, 0x01007efb, 0, 0, 0),
	LEAF(0x80000000, 0, 0, 0x80000021, 0, 0, 0),
	LEAF(0x80000001, 0, 0, 0, 0, 0x121, 0x2c100800),
	LEAF(0x80000008, 0, 0, 0x3934, 0, 0, 0),
	LEAF(0x8000001d, 0, INDEXED, 0, 0, 0, 0),
	LEAF(0x8000001e, 0, 0, 0, 0, 0, 0),
};

static const struct kvm_cpuid_entry2 amd[] = {
	LEAF(0, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65),
	LEAF(1, 0, 0, 0x00a20f10, 0x05200800, 0x7ef8320b, 0x178bfbff),
	LEAF(4, 0, INDEXED, 0, 0, 0, 0),
	LEAF(0xb, 0, INDEXED, 0, 0, 0, 0),
	LEAF(BASE, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d),
	LEAF(0x40000001, 0, 0, 0x01007efb, 0, 0, 0),
	LEAF(0x80000000, 0, 0, 0x80000021, 0x68747541, 0x444d4163, 0x69746e65),
	LEAF(0x80000001, 0, 0, 0x00a20f10, 0x20000000, 0x00400bf3, 0x2fd3fbff),
	LEAF(0x80000008, 0, 0, 0x3030, 0x1000, 0x0005700f, 0),
	LEAF(0x8000001d, 0, INDEXED, 0x00004121, 0x01c0003f, 0x3f, 0),
	LEAF(0x8000001d, 1, INDEXED, 0x00004122, 0x01c0003f, 0x3f, 0),
	LEAF(0x8000001d, 2, INDEXED, 0x00004143, 0x01c0003f, 0x3ff, 2),
	LEAF(0x8000001d, 3, INDEXED, 0x0003c163, 0x03c0003f, 0x7fff, 1),
	LEAF(0x8000001d, 4, INDEXED, 0, 0, 0, 0),
	LEAF(0x8000001e, 0, 0, 0x25, 0x112, 1, 0),
};

#define COUNT(a) ((unsigned)(sizeof(a) / sizeof((a)[0])))

static const unsigned sizes[] = {1, 2, 3, 8, 128, 129, 255, 256, 300, 1024};

struct machine {
	struct kvm_cpuid2 *cpuid;
	unsigned cpus;
};

static void machine_init(struct machine *m, const struct kvm_cpuid_entry2 *e,
	unsigned n, const struct cpuid_spec *spec)
{
	unsigned i;

	assert_true(n + CPUID_SPARE < LEAVES);
	m->cpus = spec->cpus_max;
	m->cpuid = calloc(1, sizeof(*m->cpuid) + LEAVES * sizeof(*e));
	assert_non_null(m->cpuid);
	memcpy(m->cpuid->entries, e, n * sizeof(*e));
	m->cpuid->nent = n;
	for (i = n + CPUID_SPARE; i < LEAVES; i++)
		m->cpuid->entries[i].function = CANARY;
	cpuid_set_machine(m->cpuid, spec);
	assert_true(m->cpuid->nent <= n + CPUID_SPARE);
	for (i = n + CPUID_SPARE; i < LEAVES; i++)
		assert_int_equal(m->cpuid->entries[i].function, CANARY);
}

static void machine_fini(struct machine *m)
{
	free(m->cpuid);
}

/* The one entry of @function and @index. */
static const struct kvm_cpuid_entry2 *leaf(
	const struct machine *m, uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *e, *found = NULL;
	uint32_t i;

	for (i = 0; i < m->cpuid->nent; i++) {
		e = &m->cpuid->entries[i];
		if (e->function != function || e->index != index)
			continue;
		assert_null(found);
		found = e;
	}
	return found;
}

static uint32_t bits(uint32_t value, unsigned high, unsigned low)
{
	return value >> low & (uint32_t)((1ull << (high - low + 1)) - 1);
}

static uint32_t power_of_two(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

static uint32_t most(uint32_t n, uint32_t max)
{
	return n < max ? n : max;
}

static void each_size(const struct kvm_cpuid_entry2 *e, unsigned n,
	void (*check)(const struct machine *m))
{
	struct machine m;
	unsigned i;

	for (i = 0; i < COUNT(sizes); i++) {
		const struct cpuid_spec spec = {
			.cpus_max = sizes[i],
			.tsc_deadline = true,
			.tsc_khz = TSC_KHZ,
		};

		machine_init(&m, e, n, &spec);
		check(&m);
		machine_fini(&m);
	}
}

/* ---- both vendors ---- */

static void check_ids(const struct machine *m)
{
	unsigned id, step = m->cpus / 7 + 1;
	const uint32_t topology[] = {0xb, 0x1f};
	const struct kvm_cpuid_entry2 *e;
	unsigned t, level;

	for (id = 0; id < m->cpus; id += step) {
		cpuid_set_apic_id(m->cpuid, id);
		assert_int_equal(bits(leaf(m, 1, 0)->ebx, 31, 24), id & 0xff);
		for (t = 0; t < 2; t++)
			for (level = 0; level < 2; level++) {
				e = leaf(m, topology[t], level);
				if (e)
					assert_int_equal(e->edx, id);
			}
	}
}

static void every_vcpu_has_its_own_apic_id(void **state)
{
	each_size(intel, COUNT(intel), check_ids);
	each_size(amd, COUNT(amd), check_ids);
}

/* One socket of single-threaded cores, whatever the host is. */
static void check_topology_leaf(const struct machine *m, uint32_t function)
{
	const struct kvm_cpuid_entry2 *smt = leaf(m, function, 0);
	const struct kvm_cpuid_entry2 *core = leaf(m, function, 1);

	assert_non_null(smt);
	assert_non_null(core);
	assert_true(smt->flags & INDEXED && core->flags & INDEXED);
	assert_int_equal(smt->ecx, 0x100);
	assert_int_equal(smt->ebx, 1);
	assert_int_equal(smt->eax, 0);
	assert_int_equal(core->ecx, 0x201);
	assert_int_equal(core->ebx, m->cpus);
	/* What is left of the id names the package: 0 for all. */
	assert_int_equal(1u << core->eax, power_of_two(m->cpus));
	assert_null(leaf(m, function, 2));
}

static void check_intel_topology(const struct machine *m)
{
	check_topology_leaf(m, 0xb);
	check_topology_leaf(m, 0x1f);
}

static void check_amd_topology(const struct machine *m)
{
	check_topology_leaf(m, 0xb);
	assert_null(leaf(m, 0x1f, 0)); /* the host has none */
}

static void the_topology_is_one_socket_of_single_threaded_cores(void **state)
{
	each_size(intel, COUNT(intel), check_intel_topology);
	each_size(amd, COUNT(amd), check_amd_topology);
}

static void check_timing(const struct machine *m)
{
	const struct kvm_cpuid_entry2 *e = leaf(m, TIMING, 0);

	assert_int_equal(leaf(m, BASE, 0)->eax, TIMING);
	assert_int_equal(leaf(m, BASE, 0)->ebx, 0x4b4d564b);
	assert_non_null(e);
	assert_int_equal(e->eax, TSC_KHZ);
	assert_int_equal(e->ebx, 1000000);
	assert_true(leaf(m, 1, 0)->ecx & 1u << 31); /* hypervisor */
	assert_true(leaf(m, 1, 0)->ecx & ECX1_DDL);
}

static void the_guest_learns_its_tsc_and_apic_frequency(void **state)
{
	each_size(intel, COUNT(intel), check_timing);
	each_size(amd, COUNT(amd), check_timing);
}

static void what_the_host_lacks_is_not_promised(void **state)
{
	const struct cpuid_spec spec = {.cpus_max = 2};
	struct machine m;

	machine_init(&m, intel, COUNT(intel), &spec);
	assert_null(leaf(&m, TIMING, 0));
	assert_int_equal(leaf(&m, BASE, 0)->eax, 0x40000001);
	assert_false(leaf(&m, 1, 0)->ecx & ECX1_DDL);
	machine_fini(&m);
}

/* Not even the vendor leaf. */
static void an_empty_list_stays_empty(void **state)
{
	const struct cpuid_spec spec = {.cpus_max = 2, .tsc_khz = TSC_KHZ};
	struct machine m;

	machine_init(&m, intel, 0, &spec);
	cpuid_set_apic_id(m.cpuid, 1);
	assert_int_equal(m.cpuid->nent, 0);
	machine_fini(&m);
}

static void check_untouched(
	const struct machine *m, const struct kvm_cpuid_entry2 *was)
{
	const struct kvm_cpuid_entry2 *is = leaf(m, was->function, was->index);

	assert_non_null(is);
	assert_memory_equal(is, was, sizeof(*was));
}

static void leaves_that_are_no_concern_of_ours_stay(void **state)
{
	static const uint32_t ours[] = {1, 4, 0xb, 0x1f, BASE, 0x80000001,
		0x80000008, 0x8000001d, 0x8000001e};
	const struct cpuid_spec spec = {.cpus_max = 8, .tsc_khz = TSC_KHZ};
	const struct kvm_cpuid_entry2 *all[] = {intel, amd};
	const unsigned count[] = {COUNT(intel), COUNT(amd)};
	struct machine m;
	unsigned v, i, k;

	for (v = 0; v < 2; v++) {
		machine_init(&m, all[v], count[v], &spec);
		cpuid_set_apic_id(m.cpuid, 5);
		for (i = 0; i < count[v]; i++) {
			for (k = 0; k < COUNT(ours); k++)
				if (all[v][i].function == ours[k])
					break;
			if (k == COUNT(ours))
				check_untouched(&m, &all[v][i]);
		}
		machine_fini(&m);
	}
}

/* ---- Intel: SDM volume 2A, CPUID ---- */

static void check_intel_package(const struct machine *m)
{
	const struct kvm_cpuid_entry2 *e = leaf(m, 1, 0);

	assert_int_equal(!!(e->edx & EDX1_HTT), m->cpus > 1);
	/* Software rounds the number of ids up to a power of two. */
	assert_int_equal(power_of_two(bits(e->ebx, 23, 16)),
		most(power_of_two(m->cpus), 256));
	assert_int_equal(bits(e->ebx, 15, 0), 0x0800); /* CLFLUSH stays */
	/* Reserved on Intel: AMD's words do not go there. */
	assert_int_equal(leaf(m, 0x80000008, 0)->ecx, 0);
	assert_int_equal(leaf(m, 0x80000001, 0)->ecx, 0x121);
	cpuid_set_apic_id(m->cpuid, m->cpus - 1);
	assert_int_equal(leaf(m, 0x8000001e, 0)->eax, 0);
	assert_int_equal(leaf(m, 0x8000001d, 0)->eax, 0);
}

static void an_intel_package_has_room_for_every_id(void **state)
{
	each_size(intel, COUNT(intel), check_intel_package);
}

static void check_intel_caches(const struct machine *m)
{
	const struct kvm_cpuid_entry2 *e;
	uint32_t ids = power_of_two(m->cpus);
	unsigned i;

	for (i = 0; i < 4; i++) {
		e = leaf(m, 4, i);
		assert_int_equal(bits(e->eax, 31, 26), most(ids - 1, 63));
		assert_int_equal(
			bits(e->eax, 25, 14), i < 3 ? 0 : most(ids - 1, 4095));
		/* Type, level, flags and geometry are the host's. */
		assert_int_equal(
			bits(e->eax, 13, 0), bits(intel[2 + i].eax, 13, 0));
		assert_int_equal(e->ebx, intel[2 + i].ebx);
		assert_int_equal(e->ecx, intel[2 + i].ecx);
	}
	assert_int_equal(leaf(m, 4, 4)->eax, 0);
}

static void intel_cores_share_the_last_cache_only(void **state)
{
	each_size(intel, COUNT(intel), check_intel_caches);
}

/* ---- AMD: APM volume 3, appendix E ---- */

static void check_amd_package(const struct machine *m)
{
	const struct kvm_cpuid_entry2 *e = leaf(m, 1, 0);
	uint32_t width;

	assert_int_equal(!!(e->edx & EDX1_HTT), m->cpus > 1);
	assert_int_equal(bits(e->ebx, 23, 16), most(m->cpus, 255));
	assert_int_equal(leaf(m, 0x80000001, 0)->ecx & ~2u, 0x00400bf1);
	assert_int_equal(!!(leaf(m, 0x80000001, 0)->ecx & 2), m->cpus > 1);
	e = leaf(m, 0x80000008, 0);
	assert_int_equal(bits(e->ecx, 7, 0), most(m->cpus - 1, 255));
	width = bits(e->ecx, 15, 12);
	assert_int_equal(1u << width, power_of_two(m->cpus));
	assert_int_equal(bits(e->ecx, 31, 16), 5); /* PerfTscSize and up */
	assert_int_equal(e->eax, 0x3030);
	assert_int_equal(e->ebx, 0x1000);
}

static void an_amd_package_counts_its_cores(void **state)
{
	each_size(amd, COUNT(amd), check_amd_package);
}

static void check_amd_caches(const struct machine *m)
{
	const struct kvm_cpuid_entry2 *e;
	unsigned i;

	for (i = 0; i < 4; i++) {
		e = leaf(m, 0x8000001d, i);
		assert_int_equal(bits(e->eax, 25, 14),
			i < 3 ? 0 : most(m->cpus - 1, 4095));
		assert_int_equal(bits(e->eax, 31, 26), 0); /* reserved */
		assert_int_equal(
			bits(e->eax, 13, 0), bits(amd[9 + i].eax, 13, 0));
	}
	assert_int_equal(leaf(m, 4, 0)->eax, 0);
}

static void amd_cores_share_the_last_cache_only(void **state)
{
	each_size(amd, COUNT(amd), check_amd_caches);
}

static void check_amd_node(const struct machine *m)
{
	unsigned id = m->cpus - 1;
	const struct kvm_cpuid_entry2 *e;

	cpuid_set_apic_id(m->cpuid, id);
	e = leaf(m, 0x8000001e, 0);
	assert_int_equal(e->eax, id);
	assert_int_equal(bits(e->ebx, 7, 0), id & 0xff);
	assert_int_equal(bits(e->ebx, 15, 8), 0); /* one thread a core */
	assert_int_equal(e->ecx, 0);		  /* node 0 of 1 */
}

static void amd_cores_are_on_one_node(void **state)
{
	each_size(amd, COUNT(amd), check_amd_node);
}

static void hygon_counts_as_amd(void **state)
{
	const struct cpuid_spec spec = {.cpus_max = 6};
	struct kvm_cpuid_entry2 e[COUNT(amd)];
	struct machine m;

	memcpy(e, amd, sizeof(e));
	memcpy(&e[0].ebx, "Hygo", 4);
	memcpy(&e[0].edx, "nGen", 4);
	memcpy(&e[0].ecx, "uine", 4);
	machine_init(&m, e, COUNT(e), &spec);
	check_amd_package(&m);
	check_amd_node(&m);
	machine_fini(&m);
}

/* ---- sockets, cores, threads ---- */

static const struct {
	unsigned sockets, cores, threads;
} shapes[] = {{1, 1, 2}, {1, 2, 2}, {2, 1, 2}, {2, 2, 1}, {4, 2, 2}, {3, 4, 2},
	{1, 3, 2}, {1, 1, 3}, {2, 64, 2}, {4, 1, 1}};

static void machine_of_shape(struct machine *m,
	const struct kvm_cpuid_entry2 *e, unsigned n, unsigned shape)
{
	const struct cpuid_spec spec = {
		.cpus_max = shapes[shape].sockets * shapes[shape].cores *
			    shapes[shape].threads,
		.sockets = shapes[shape].sockets,
		.cores = shapes[shape].cores,
		.threads = shapes[shape].threads,
	};
	struct error err;

	assert_int_equal(cpuid_check_topology(&spec, &err), 0);
	machine_init(m, e, n, &spec);
}

/* As Linux does it: shift the id by what the leaf says, compare. */
static void ids_taken_apart_give_the_topology(void **state)
{
	const uint32_t leaves[] = {0xb, 0x1f};
	unsigned shape, t, id;
	struct machine m;

	for (shape = 0; shape < COUNT(shapes); shape++) {
		unsigned threads = shapes[shape].threads;
		unsigned per_socket = shapes[shape].cores * threads;

		machine_of_shape(&m, intel, COUNT(intel), shape);
		for (t = 0; t < 2; t++) {
			assert_int_equal(leaf(&m, leaves[t], 0)->ebx, threads);
			assert_int_equal(
				leaf(&m, leaves[t], 1)->ebx, per_socket);
		}
		for (id = 0; id < m.cpus; id++) {
			cpuid_set_apic_id(m.cpuid, id);
			assert_int_equal(
				id >> leaf(&m, 0xb, 0)->eax, id / threads);
			assert_int_equal(
				id >> leaf(&m, 0xb, 1)->eax, id / per_socket);
		}
		machine_fini(&m);
	}
}

static void intels_old_leaves_agree_with_the_new(void **state)
{
	const struct kvm_cpuid_entry2 *e;
	unsigned shape, i;
	struct machine m;

	for (shape = 0; shape < COUNT(shapes); shape++) {
		uint32_t threads = power_of_two(shapes[shape].threads);
		uint32_t package = power_of_two(
			shapes[shape].cores * shapes[shape].threads);

		machine_of_shape(&m, intel, COUNT(intel), shape);
		e = leaf(&m, 1, 0);
		assert_int_equal(bits(e->ebx, 23, 16), package);
		assert_int_equal(!!(e->edx & EDX1_HTT),
			shapes[shape].cores * shapes[shape].threads > 1);
		for (i = 0; i < 4; i++) {
			e = leaf(&m, 4, i);
			assert_int_equal(bits(e->eax, 31, 26),
				most(package / threads - 1, 63));
			assert_int_equal(bits(e->eax, 25, 14),
				(i < 3 ? threads : package) - 1);
		}
		machine_fini(&m);
	}
}

static void amds_leaves_tell_threads_cores_and_nodes(void **state)
{
	const struct kvm_cpuid_entry2 *e;
	unsigned shape, id;
	struct machine m;

	for (shape = 0; shape < COUNT(shapes); shape++) {
		unsigned threads = shapes[shape].threads;
		unsigned per_socket = shapes[shape].cores * threads;

		machine_of_shape(&m, amd, COUNT(amd), shape);
		assert_int_equal(bits(leaf(&m, 0x80000008, 0)->ecx, 7, 0),
			per_socket - 1);
		assert_int_equal(bits(leaf(&m, 1, 0)->ebx, 23, 16), per_socket);
		assert_int_equal(!!(leaf(&m, 0x80000001, 0)->ecx & 2),
			threads == 1 && per_socket > 1);
		assert_int_equal(bits(leaf(&m, 0x8000001d, 0)->eax, 25, 14),
			threads - 1);
		assert_int_equal(bits(leaf(&m, 0x8000001d, 3)->eax, 25, 14),
			per_socket - 1);
		for (id = 0; id < m.cpus; id++) {
			cpuid_set_apic_id(m.cpuid, id);
			e = leaf(&m, 0x8000001e, 0);
			assert_int_equal(e->eax, id);
			assert_int_equal(
				bits(e->ebx, 7, 0), id % per_socket / threads);
			assert_int_equal(bits(e->ebx, 15, 8), threads - 1);
			assert_int_equal(bits(e->ecx, 7, 0), id / per_socket);
		}
		machine_fini(&m);
	}
}

static void a_topology_with_gaps_in_its_ids_is_refused(void **state)
{
	static const struct {
		unsigned max, sockets, cores, threads;
		const char *why;
	} bad[] = {{6, 2, 3, 1, "cores=4"}, {6, 1, 2, 3, "threads"},
		{6, 2, 1, 3, "threads"}, {4, 2, 1, 1, "product"},
		{4, 65536, 65536, 1, "product"}, {12, 2, 3, 2, "cores=4"}};
	struct error err;
	unsigned i;

	for (i = 0; i < COUNT(bad); i++) {
		const struct cpuid_spec spec = {
			.cpus_max = bad[i].max,
			.sockets = bad[i].sockets,
			.cores = bad[i].cores,
			.threads = bad[i].threads,
		};

		assert_int_equal(cpuid_check_topology(&spec, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i].why));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_vcpu_has_its_own_apic_id),
		cmocka_unit_test(
			the_topology_is_one_socket_of_single_threaded_cores),
		cmocka_unit_test(the_guest_learns_its_tsc_and_apic_frequency),
		cmocka_unit_test(what_the_host_lacks_is_not_promised),
		cmocka_unit_test(an_empty_list_stays_empty),
		cmocka_unit_test(leaves_that_are_no_concern_of_ours_stay),
		cmocka_unit_test(an_intel_package_has_room_for_every_id),
		cmocka_unit_test(intel_cores_share_the_last_cache_only),
		cmocka_unit_test(an_amd_package_counts_its_cores),
		cmocka_unit_test(amd_cores_share_the_last_cache_only),
		cmocka_unit_test(amd_cores_are_on_one_node),
		cmocka_unit_test(hygon_counts_as_amd),
		cmocka_unit_test(ids_taken_apart_give_the_topology),
		cmocka_unit_test(intels_old_leaves_agree_with_the_new),
		cmocka_unit_test(amds_leaves_tell_threads_cores_and_nodes),
		cmocka_unit_test(a_topology_with_gaps_in_its_ids_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
