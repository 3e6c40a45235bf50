/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_config_vsock.c - what stands after --vsock. */
#include "vmm/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/testing.h"
#include "vmm/error.h"
#include "vmm/words.h"

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

static int parse(const char *value, const char *second)
{
	const char *words[] = {"-k", "kernel", "--iothread=2", "--vsock", value,
		"--vsock", second};
	char *argv[7];
	unsigned i;

	for (i = 0; i < 7; i++)
		argv[i] = (char *)(uintptr_t)words[i];
	config_fini(&cfg);
	config_init(&cfg);
	return config_parse_run(&cfg, second ? 7 : 5, argv, &err);
}

static void accept(const char *value)
{
	if (parse(value, NULL) < 0)
		fail_msg("%s", err.text);
}

static void a_path_is_enough(void **state)
{
	accept("path=/x.sock");
	assert_string_equal(cfg.vsock.path, "/x.sock");
	assert_int_equal(cfg.vsock.cid, 3);
	assert_int_equal(cfg.vsock.max_conns, 256);
	assert_int_equal(cfg.vsock.iothread, 0); /* in turn */
}

static void all_of_it_can_be_said(void **state)
{
	accept("cid=4294967294,path=a,,b,max-conns=16384,iothread=1");
	assert_string_equal(cfg.vsock.path, "a,b");
	assert_int_equal(cfg.vsock.cid, 4294967294u);
	assert_int_equal(cfg.vsock.max_conns, 16384);
	assert_int_equal(cfg.vsock.iothread, 1);
	accept("path=a,path=b");
	assert_string_equal(cfg.vsock.path, "b");
}

static void what_is_wrong_is_refused_with_a_reason(void **state)
{
	static const struct {
		const char *value, *reason;
	} bad[] = {
		{"", "not understood"},
		{"cid=3", "no path"},
		{"path", "not understood"},
		{"path=", "the path is empty"},
		{"path=x,cid=2", "cid '2'"},
		{"path=x,cid=0", "cid '0'"},
		{"path=x,cid=-1", "cid '-1'"},
		{"path=x,cid=4294967295", "cid '4294967295'"},
		{"path=x,cid=3x", "cid '3x'"},
		{"path=x,cid", "not understood"},
		{"path=x,max-conns=0", "max-conns '0'"},
		{"path=x,max-conns=16385", "max-conns '16385'"},
		{"path=x,iothread=8", "iothread '8'"},
		{"path=x,iothread=2", "no such I/O thread"},
		{"path=x,port=5", "'port' is not understood"},
		{"path=123456789012345678901234567890123456789012345678901234567"
		 "8901234567890123456789012345678901234567",
			"the path has 97 bytes (give at most 96"},
	};
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(parse(bad[i].value, NULL), -EINVAL);
		if (!strstr(err.text, bad[i].reason) ||
			strncmp(err.text, "--vsock ", 8) != 0)
			fail_msg("%s: %s", bad[i].value, err.text);
	}
	assert_int_equal(parse("path=x", "path=y"), -EINVAL);
	assert_non_null(strstr(err.text, "there is one already"));
}

static void the_json_has_guest_and_host_apart(void **state)
{
	char *text = NULL, *guest, *host;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	accept("path=/x.sock,cid=77,max-conns=9");
	assert_int_equal(config_print_json(&cfg, f), 0);
	fclose(f);
	guest = strstr(text, "\"guest\"");
	host = strstr(text, "\"host\": {");
	assert_true(guest && host && guest < host);
	*host++ = '\0';
	assert_non_null(strstr(guest, "\"cid\": 77"));
	assert_null(strstr(guest, "x.sock"));
	assert_non_null(strstr(host, "\"path\": \"/x.sock\""));
	assert_non_null(strstr(host, "\"max_conns\": 9"));
	free(text);
}

/* What a restore does with the words of the machine. */
static void another_host_may_have_another_path(void **state)
{
	struct words words = {.count = 0};

	assert_int_equal(words_add(&words, "vsock", "cid=77,path=/x.sock"), 0);
	assert_int_equal(words_override(&words, "vsock.path=/y", &err), 0);
	assert_string_equal(words.word[0], "--vsock=path=/y,cid=77");
	words_fini(&words);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_path_is_enough),
		T(all_of_it_can_be_said),
		T(what_is_wrong_is_refused_with_a_reason),
		T(the_json_has_guest_and_host_apart),
		T(another_host_may_have_another_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
