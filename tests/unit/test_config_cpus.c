/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_config_cpus.c - what --cpus takes and refuses
 * (vmm/config_cpus.c). */
#include "tests/lib/testing.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/config_values.h"
#include "vmm/error.h"

static void counts_and_topologies_are_taken(void **state)
{
	static const struct {
		const char *value;
		unsigned cpus, max;
		bool precreate;
		unsigned sockets, cores, threads;
	} good[] = {
		{"1", 1, 1, false, 1, 1, 1},
		{"7", 7, 7, false, 1, 7, 1},
		{"65536", 65536, 65536, false, 1, 65536, 1},
		{"1,max=8", 1, 8, false, 1, 8, 1},
		{"2,precreate,max=3", 2, 3, true, 1, 3, 1},
		{"2,precreate", 2, 2, true, 1, 2, 1},
		{"2,max=8,sockets=2", 2, 8, false, 2, 4, 1},
		{"8,threads=2", 8, 8, false, 1, 4, 2},
		{"8,cores=2", 8, 8, false, 4, 2, 1},
		{"8,cores=2,threads=2", 8, 8, false, 2, 2, 2},
		{"3,max=12,sockets=1,cores=6,threads=2", 3, 12, false, 1, 6, 2},
		{"256,sockets=16,cores=8,threads=2", 256, 256, false, 16, 8, 2},
	};
	struct config_cpus smp;
	struct error err;
	unsigned i, cpus;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (config_value_cpus(good[i].value, &cpus, &smp, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(cpus, good[i].cpus);
		assert_int_equal(smp.max, good[i].max);
		assert_int_equal(smp.precreate, good[i].precreate);
		assert_int_equal(smp.sockets, good[i].sockets);
		assert_int_equal(smp.cores, good[i].cores);
		assert_int_equal(smp.threads, good[i].threads);
		assert_int_equal(
			smp.sockets * smp.cores * smp.threads, smp.max);
	}
}

static void all_else_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *value, *says;
	} bad[] = {
		{"", "not a number"},
		{"x", "not a number"},
		{"-1", "not a number"},
		{"+1", "not a number"},
		{" 1", "not a number"},
		{"1.5", "not a number"},
		{"4294967297", "not a number"},
		{"max=4", "not a number"},
		{",2", "not a number"},
		{"0", "at least one vCPU"},
		{"0,max=4", "at least one vCPU"},
		{"65537", "too many vCPUs"},
		{"1,", "unknown part"},
		{"1,,max=2", "not a number"},
		{"1,2", "unknown part 2"},
		{"1,maxi=2", "unknown part maxi"},
		{"1,max", "max is not a number (give max=N"},
		{"1,max=", "max is not a number"},
		{"1,max=0", "max is not a number"},
		{"1,max=2x", "max is not a number"},
		{"1,max=65537", "max=65537 is too many (give at most 65536"},
		{"1,cores=4294967295", "too many"},
		{"4,max=3", "max=3 is below the 4 vCPUs"},
		{"1,max=2,max=2", "max is given twice"},
		{"1,precreate,precreate", "precreate is given twice"},
		{"1,precreate=1", "precreate takes no value"},
		{"4,sockets=3", "are not 4 vCPUs"},
		{"4,cores=3", "are not 4 vCPUs"},
		{"4,threads=3", "are not 4 vCPUs"},
		{"4,sockets=2,cores=2,threads=2", "are not 4 vCPUs"},
		{"1,sockets=65536,cores=65536,threads=65536", "not 1 vCPUs"},
		{"1,sockets=65536,threads=65536", "not 1 vCPUs"},
	};
	const struct config_cpus before = {.max = 99, .cores = 7};
	struct config_cpus smp = before;
	unsigned i, cpus = 42;
	struct error err;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			config_value_cpus(bad[i].value, &cpus, &smp, &err),
			-EINVAL);
		assert_memory_equal(err.text, "--cpus ", 7);
		if (!strstr(err.text, bad[i].says))
			fail_msg("'%s': %s", bad[i].value, err.text);
		assert_int_equal(cpus, 42);
		assert_int_equal(smp.max, before.max);
		assert_int_equal(smp.cores, before.cores);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_and_topologies_are_taken),
		cmocka_unit_test(all_else_is_refused_with_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
