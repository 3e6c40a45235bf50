/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_config_rng.c - what stands after --rng. */
#include "vmm/config.h"

#include <errno.h>
#include <string.h>

#include "tests/lib/testing.h"
#include "vmm/error.h"

static struct config cfg;
static struct error err;

static int setup(void **state)
{
	config_init(&cfg);
	return 0;
}

static int teardown(void **state)
{
	config_fini(&cfg);
	return 0;
}

static int parse(const char *option)
{
	const char *words[] = {"-k", "kernel", option};
	char *argv[3];
	unsigned i;

	for (i = 0; i < 3; i++)
		argv[i] = (char *)(uintptr_t)words[i];
	config_fini(&cfg);
	config_init(&cfg);
	return config_parse_run(&cfg, 3, argv, &err);
}

static void accept(const char *option, uint64_t rate, uint64_t burst)
{
	if (parse(option) < 0)
		fail_msg("%s", err.text);
	assert_true(cfg.rng);
	assert_int_equal(cfg.rng_limit.rate, rate);
	assert_int_equal(cfg.rng_limit.burst, burst);
}

static void limits_are_taken(void **state)
{
	accept("--rng", 0, 0);
	accept("--rng=", 0, 0);
	accept("--rng=bps=0", 0, 0);
	accept("--rng=bps=64K", 65536, 0);
	accept("--rng=bps=1000,bps-burst=1M", 1000, 1 << 20);
	accept("--rng=bps-burst=1,bps=1T", 1ull << 40, 1);
}

static void what_makes_no_sense_is_refused_with_its_reason(void **state)
{
	static const struct {
		const char *option, *reason;
	} table[] = {
		{"--rng=on", "'on' is not understood"},
		{"--rng=bps", "'bps' is not understood"},
		{"--rng=iops=1", "'iops' is not understood"},
		{"--rng=bps=", "bps is ''"},
		{"--rng=bps=-1", "give bytes, like 1M"},
		{"--rng=bps=2T", "give at most 1T"},
		{"--rng=bps=1,bps-burst=5G", "give at most 4G"},
		{"--rng=bps-burst=5", "give bps= too"},
	};
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (parse(table[i].option) != -EINVAL)
			fail_msg("%s is taken", table[i].option);
		if (!strstr(err.text, "--rng") ||
			!strstr(err.text, table[i].reason) ||
			strchr(err.text, '\n'))
			fail_msg("%s: %s", table[i].option, err.text);
	}
}

/* A restore, and the other end of a move, keep the limit. */
static void the_words_make_the_same_machine_again(void **state)
{
	struct config again;

	accept("--rng=bps=1000,bps-burst=2000", 1000, 2000);
	config_init(&again);
	assert_int_equal(config_parse_run(&again, (int)cfg.words.count,
				 cfg.words.word, &err),
		0);
	assert_true(again.rng);
	assert_int_equal(again.rng_limit.rate, 1000);
	assert_int_equal(again.rng_limit.burst, 2000);
	config_fini(&again);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(limits_are_taken),
		T(what_makes_no_sense_is_refused_with_its_reason),
		T(the_words_make_the_same_machine_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
