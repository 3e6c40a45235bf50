/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_config_disk.c - what stands after --disk. */
#include "vmm/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

static int parse(const char *a, const char *c)
{
	const char *words[] = {"-k", "kernel", "-d", a, "-d", c};
	char *argv[6];
	unsigned i;

	for (i = 0; i < 6; i++)
		argv[i] = (char *)(uintptr_t)words[i];
	config_fini(&cfg);
	config_init(&cfg);
	return config_parse_run(&cfg, c ? 6 : 4, argv, &err);
}

static void accept(const char *a, const char *c)
{
	if (parse(a, c) < 0)
		fail_msg("%s", err.text);
}

static void a_disk_has_defaults(void **state)
{
	const struct config_disk *d = &cfg.disk[0];

	accept("path=a", NULL);
	assert_int_equal(d->queues, 1);
	assert_int_equal(d->cache, DISK_WRITEBACK);
	assert_false(d->no_discard || d->stop_when_full);
	assert_false(config_limited(&d->limits));
	assert_string_equal(d->group, "");
}

static void every_key_is_taken(void **state)
{
	const struct config_disk *d = &cfg.disk[0];

	accept("path=a,queues=16,cache=unsafe,discard=off,werror=stop", NULL);
	assert_int_equal(d->queues, 16);
	assert_int_equal(d->cache, DISK_UNSAFE);
	assert_true(d->no_discard && d->stop_when_full);
	accept("path=a,cache=writethrough,discard=on,werror=report", NULL);
	assert_int_equal(d->cache, DISK_WRITETHROUGH);
	assert_false(d->no_discard || d->stop_when_full);
	accept("path=a,cache=writeback", NULL);
	assert_int_equal(d->cache, DISK_WRITEBACK);
}

static void every_limit_has_its_place(void **state)
{
	static const char *const dir[] = {"-rd", "-wr", ""};
	const struct bucket_limits *l = &cfg.disk[0].limits;
	const struct bucket_limit *want;
	char value[96];
	unsigned i;

	for (i = 0; i < 6; i++) {
		snprintf(value, sizeof(value), "path=a,%s%s=3K,%s%s-burst=7M",
			i < 3 ? "iops" : "bps", dir[i % 3],
			i < 3 ? "iops" : "bps", dir[i % 3]);
		accept(value, NULL);
		want = i < 3 ? &l->ops[i % 3] : &l->bytes[i % 3];
		assert_int_equal(want->rate, 3 << 10);
		assert_int_equal(want->burst, 7 << 20);
		assert_true(config_limited(l));
	}
	assert_int_equal(BUCKET_READ, 0);
	assert_int_equal(BUCKET_WRITE, 1);
	assert_int_equal(BUCKET_DIRS, 2);
}

static void a_group_has_its_limits_once(void **state)
{
	accept("path=a,iops=5,group=g", "path=b,group=g");
	assert_string_equal(cfg.disk[1].group, "g");
	assert_false(config_limited(&cfg.disk[1].limits));
	accept("path=a,iops=5,group=g", "path=b,group=h,bps=1");
}

static void refusals_say_what_to_do(void **state)
{
	static const struct {
		const char *a, *c, *text;
	} bad[] = {
		{"path=a,queues=0", NULL, "(give 1 to 16)"},
		{"path=a,queues=17", NULL, "(give 1 to 16)"},
		{"path=a,queues=-1", NULL, "(give 1 to 16)"},
		{"path=a,cache=none", NULL,
			"(give writeback, writethrough or unsafe)"},
		{"path=a,discard=yes", NULL, "(give on or off)"},
		{"path=a,werror=ignore", NULL, "(give stop or report)"},
		{"path=a,iops=", NULL, "iops '' is not a limit"},
		{"path=a,iops=0", NULL, "iops '0' is not a limit"},
		{"path=a,bps-rd=fast", NULL, "bps-rd 'fast' is not a limit"},
		{"path=a,bps=2T", NULL, "at most 1T"},
		{"path=a,bps=1,bps-burst=5G", NULL, "at most 4G"},
		{"path=a,bps-burst=5", NULL, "(give both)"},
		{"path=a,bps-rd=1,bps-burst=5", NULL, "(give both)"},
		{"path=a,bps-xx=5", NULL, "'bps-xx' is not understood"},
		{"path=a,iopsrd=5", NULL, "'iopsrd' is not understood"},
		{"path=a,iops-rd-wr=5", NULL, "'iops-rd-wr' is not understood"},
		{"path=a,iops", NULL, "'iops' is not understood"},
		{"path=a,group=g", NULL, "group g has no limits (give iops="},
		{"path=a,group=a b,iops=1", NULL, "is not a name"},
		{"path=a,group=,iops=1", NULL, "is not a name"},
		{"path=a,iops=1,group=12345678901234567890123456789012", NULL,
			"is not a name"},
		{"path=a,group=g,iops=1", "path=b,group=g,iops=1",
			"has the limits of disk 0 already"},
	};
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i].a, bad[i].c), -EINVAL);
		if (!strstr(err.text, bad[i].text))
			fail_msg("%s", err.text);
		assert_null(strchr(err.text, '\n'));
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_disk_has_defaults),
		T(every_key_is_taken),
		T(every_limit_has_its_place),
		T(a_group_has_its_limits_once),
		T(refusals_say_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
