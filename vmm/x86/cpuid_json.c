/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/cpuid_json.c - see cpuid_json.h. */
#include "vmm/x86/cpuid_json.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/x86/cpuid.h"

#define NUMBERS 7u

static size_t bytes_of(size_t leaves)
{
	return sizeof(struct kvm_cpuid2) +
	       leaves * sizeof(struct kvm_cpuid_entry2);
}

static int append(json_t *leaves, const struct kvm_cpuid_entry2 *e)
{
	const uint32_t n[NUMBERS] = {e->function, e->index, e->flags, e->eax,
		e->ebx, e->ecx, e->edx};
	json_t *leaf = json_array();
	unsigned i;

	for (i = 0; i < NUMBERS; i++)
		if (json_array_append_new(leaf, json_integer(n[i])) < 0)
			break;
	if (i == NUMBERS && json_array_append(leaves, leaf) == 0)
		i++;
	json_decref(leaf);
	return i == NUMBERS + 1 ? 0 : -ENOMEM;
}

int cpuid_describe(const struct kvm_cpuid2 *cpuid, json_t **ret_json)
{
	struct kvm_cpuid2 *copy = malloc(bytes_of(cpuid->nent));
	json_t *leaves = json_array(), *root;
	int code = copy && leaves ? 0 : -ENOMEM;
	uint32_t i;

	if (code == 0) {
		memcpy(copy, cpuid, bytes_of(cpuid->nent));
		cpuid_set_apic_id(copy, 0);
		for (i = 0; code == 0 && i < copy->nent; i++)
			code = append(leaves, &copy->entries[i]);
	}
	free(copy);
	if (code < 0) {
		json_decref(leaves);
		return code;
	}
	root = json_pack("{s:o}", "leaves", leaves);
	if (!root)
		return -ENOMEM;
	*ret_json = root;
	return 0;
}

/* Where CPUs, hypervisors and their makers have leaves. */
static bool known_range(uint32_t function)
{
	uint32_t page = function >> 16;

	return page == 0 || page == 0x4000 || page == 0x8000 || page == 0xc000;
}

static int read_leaf(
	json_t *leaf, struct kvm_cpuid_entry2 *ret_e, struct error *err)
{
	uint32_t n[NUMBERS];
	json_t *number;
	unsigned i;

	if (!json_is_array(leaf) || json_array_size(leaf) != NUMBERS)
		return error_set(err, -EPROTO,
			"cpuid: a leaf is not %u numbers", NUMBERS);
	for (i = 0; i < NUMBERS; i++) {
		number = json_array_get(leaf, i);
		if (!json_is_integer(number) ||
			json_integer_value(number) < 0 ||
			json_integer_value(number) > UINT32_MAX)
			return error_set(err, -EPROTO,
				"cpuid: a leaf with a number that is not of "
				"32 bits");
		n[i] = (uint32_t)json_integer_value(number);
	}
	memset(ret_e, 0, sizeof(*ret_e));
	ret_e->function = n[0];
	ret_e->index = n[1];
	ret_e->flags = n[2];
	ret_e->eax = n[3];
	ret_e->ebx = n[4];
	ret_e->ecx = n[5];
	ret_e->edx = n[6];
	if (!known_range(ret_e->function))
		return error_set(
			err, -EPROTO, "cpuid: no leaf 0x%x", ret_e->function);
	if (ret_e->flags & ~(uint32_t)KVM_CPUID_FLAG_SIGNIFCANT_INDEX ||
		(ret_e->flags == 0 && ret_e->index != 0))
		return error_set(err, -EPROTO,
			"cpuid: leaf 0x%x: flags that cannot be",
			ret_e->function);
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct kvm_cpuid_entry2 *x = a, *y = b;

	if (x->function != y->function)
		return x->function < y->function ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/* Leaves 0 and 1 must be there, and no leaf twice.  A leaf without index stands
 * for all: it has none beside it. */
static int check_set(const struct kvm_cpuid2 *cpuid, struct error *err)
{
	struct kvm_cpuid_entry2 *sorted;
	bool basic;
	uint32_t i;

	sorted = calloc(cpuid->nent, sizeof(*sorted));
	if (!sorted)
		return error_errno(err, -ENOMEM, "cpuid");
	memcpy(sorted, cpuid->entries, cpuid->nent * sizeof(*sorted));
	qsort(sorted, cpuid->nent, sizeof(*sorted), compare);
	basic = cpuid->nent >= 2 && sorted[0].function == 0 &&
		sorted[1].function == 1;
	for (i = 1; i < cpuid->nent; i++)
		if (sorted[i].function == sorted[i - 1].function &&
			(sorted[i].index == sorted[i - 1].index ||
				!sorted[i - 1].flags))
			break;
	free(sorted);
	if (!basic)
		return error_set(err, -EPROTO, "cpuid: leaf 0 or 1 is missing");
	if (i < cpuid->nent)
		return error_set(err, -EPROTO, "cpuid: a leaf comes twice");
	return 0;
}

int cpuid_from_json(
	json_t *json, struct kvm_cpuid2 **ret_cpuid, struct error *err)
{
	json_t *leaves = json_object_get(json, "leaves");
	size_t count = json_array_size(leaves), i;
	struct kvm_cpuid2 *cpuid;
	int code = 0;

	if (!json_is_array(leaves) || json_object_size(json) != 1)
		return error_set(
			err, -EPROTO, "cpuid: not an object with \"leaves\"");
	if (count == 0 || count > CPUID_JSON_LEAVES_MAX)
		return error_set(err, -EPROTO,
			"cpuid: %zu leaves (1 to %u can be)", count,
			CPUID_JSON_LEAVES_MAX);
	cpuid = calloc(1, bytes_of(count));
	if (!cpuid)
		return error_errno(err, -ENOMEM, "cpuid");
	cpuid->nent = (uint32_t)count;
	for (i = 0; code == 0 && i < count; i++)
		code = read_leaf(
			json_array_get(leaves, i), &cpuid->entries[i], err);
	if (code == 0)
		code = check_set(cpuid, err);
	if (code < 0) {
		free(cpuid);
		return code;
	}
	*ret_cpuid = cpuid;
	return 0;
}
