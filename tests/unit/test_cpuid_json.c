/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_cpuid_json.c - CPUID in a machine's description: there and
 * back, and whatever else somebody may send (vmm/x86/cpuid_json.c). */
#include "tests/lib/testing.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/cpuid_json.h"

#define INDEXED	 KVM_CPUID_FLAG_SIGNIFCANT_INDEX
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct kvm_cpuid2 *make(void)
{
	static const struct kvm_cpuid_entry2 leaves[] = {
		{.eax = 0x1f, .ebx = 0x756e6547},
		{.function = 1, .ebx = 0x05800800, .edx = 0xffffffff},
		{.function = 0xb, .flags = INDEXED, .edx = 5},
		{.function = 0xb, .index = 1, .flags = INDEXED, .edx = 5},
		{.function = 0x40000000, .eax = 0x40000001},
		{.function = 0x80000000, .eax = 0x80000021},
	};
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + sizeof(leaves));

	assert_non_null(c);
	memcpy(c->entries, leaves, sizeof(leaves));
	c->nent = COUNT(leaves);
	return c;
}

static void what_is_described_is_read_back(void **state)
{
	struct kvm_cpuid2 *was = make(), *is = NULL;
	struct error err;
	json_t *json;

	assert_int_equal(cpuid_describe(was, &json), 0);
	assert_int_equal(cpuid_from_json(json, &is, &err), 0);
	assert_int_equal(is->nent, was->nent);
	/* All vCPUs of a machine give the same description. */
	assert_int_equal(was->entries[1].ebx >> 24, 5);
	cpuid_set_apic_id(was, 0);
	assert_memory_equal(
		is->entries, was->entries, was->nent * sizeof(is->entries[0]));
	json_decref(json);
	free(was);
	free(is);
}

static void refused(const char *text, const char *why)
{
	struct kvm_cpuid2 *cpuid = NULL;
	struct error err = {.text = ""};
	json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);

	assert_non_null(json);
	assert_int_equal(cpuid_from_json(json, &cpuid, &err), -EPROTO);
	if (!strstr(err.text, why))
		fail_msg("%s: \"%s\" says nothing of %s", text, err.text, why);
	assert_null(cpuid);
	json_decref(json);
}

#define OK "[0,0,0,1,2,3,4],[1,0,0,1,2,3,4]"

static void hostile_json_is_refused(void **state)
{
	refused("null", "object");
	refused("7", "object");
	refused("[]", "object");
	refused("{}", "object");
	refused("{\"leaves\":{}}", "object");
	refused("{\"leaves\":\"x\"}", "object");
	refused("{\"leaves\":[" OK "],\"more\":1}", "object");
	refused("{\"leaves\":[]}", "0 leaves");
	refused("{\"leaves\":[7]}", "numbers");
	refused("{\"leaves\":[[]]}", "numbers");
	refused("{\"leaves\":[[0,0,0,1,2,3]]}", "numbers");
	refused("{\"leaves\":[[0,0,0,1,2,3,4,5]]}", "numbers");
	refused("{\"leaves\":[[0,0,0,1,2,3,-1]]}", "32 bits");
	refused("{\"leaves\":[[0,0,0,1,2,3,4294967296]]}", "32 bits");
	refused("{\"leaves\":[[0,0,0,1,2,3,1.5]]}", "32 bits");
	refused("{\"leaves\":[[0,0,0,1,2,3,\"4\"]]}", "32 bits");
	refused("{\"leaves\":[[0,0,0,1,2,3,null]]}", "32 bits");
	refused("{\"leaves\":[" OK ",[65536,0,0,1,2,3,4]]}", "0x10000");
	refused("{\"leaves\":[" OK ",[3221291008,0,0,1,2,3,4]]}", "0xc0010000");
	refused("{\"leaves\":[" OK ",[4,0,2,1,2,3,4]]}", "flags");
	refused("{\"leaves\":[" OK ",[4,1,0,1,2,3,4]]}", "flags");
	refused("{\"leaves\":[[0,0,0,1,2,3,4]]}", "missing");
	refused("{\"leaves\":[[1,0,0,1,2,3,4],[2,0,0,0,0,0,0]]}", "missing");
	refused("{\"leaves\":[" OK ",[0,0,0,1,2,3,4]]}", "missing");
	refused("{\"leaves\":[" OK ",[1,0,0,1,2,3,4]]}", "twice");
	refused("{\"leaves\":[" OK ",[4,1,1,0,0,0,0],[4,1,1,0,0,0,0]]}",
		"twice");
	refused("{\"leaves\":[" OK ",[4,0,0,0,0,0,0],[4,1,1,0,0,0,0]]}",
		"twice");
}

static void as_many_leaves_as_can_be_and_no_more(void **state)
{
	struct kvm_cpuid2 *cpuid = NULL;
	json_t *leaves = json_array(), *root;
	struct error err;
	unsigned i;

	json_array_append_new(
		leaves, json_pack("[iiiiiii]", 0, 0, 0, 0, 0, 0, 0));
	for (i = 0; i + 1 < CPUID_JSON_LEAVES_MAX; i++)
		json_array_append_new(leaves,
			json_pack("[iiiiiii]", 1, (int)i, 1, 0, 0, 0, 0));
	root = json_pack("{s:o}", "leaves", leaves);
	assert_int_equal(cpuid_from_json(root, &cpuid, &err), 0);
	assert_int_equal(cpuid->nent, CPUID_JSON_LEAVES_MAX);
	free(cpuid);
	json_array_append_new(
		leaves, json_pack("[iiiiiii]", 2, 0, 0, 0, 0, 0, 0));
	assert_int_equal(cpuid_from_json(root, &cpuid, &err), -EPROTO);
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_described_is_read_back),
		cmocka_unit_test(hostile_json_is_refused),
		cmocka_unit_test(as_many_leaves_as_can_be_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
