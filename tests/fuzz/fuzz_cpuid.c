/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_cpuid.c - a hostile CPUID in a machine's description:
 * refused, or one that is told again as the same, put to use and compared. */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>

#include "vmm/error.h"
#include "vmm/x86/cpu_model.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/cpuid_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kvm_cpuid2 *cpuid, *again;
	json_t *json, *told;
	struct error err;
	int code;

	json = json_loadb((const char *)data, size, 0, NULL);
	if (!json)
		return 0;
	code = cpuid_from_json(json, &cpuid, &err);
	json_decref(json);
	if (code < 0) {
		assert(code == -EPROTO);
		return 0;
	}
	assert(cpuid_describe(cpuid, &told) == 0);
	assert(cpuid_from_json(told, &again, &err) == 0);
	assert(again->nent == cpuid->nent);
	assert(cpuid_check(cpuid, again, &err) == 0);
	cpuid_set_apic_id(cpuid, 3);
	cpu_model_apply("baseline,-sse4_2", cpuid, &err);
	json_decref(told);
	free(again);
	free(cpuid);
	return 0;
}
