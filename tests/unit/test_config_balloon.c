/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_config_balloon.c - what stands after --balloon. */
#include "vmm/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

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

/* @option: one word of the command line, or NULL. */
static int parse(const char *option)
{
	const char *words[] = {"-k", "kernel", "-m", "16M", option};
	char *argv[5];
	unsigned i;

	for (i = 0; i < 5; i++)
		argv[i] = (char *)(uintptr_t)words[i];
	config_fini(&cfg);
	config_init(&cfg);
	return config_parse_run(&cfg, option ? 5 : 4, argv, &err);
}

static const struct config_balloon *accept(const char *option)
{
	if (parse(option) < 0)
		fail_msg("%s", err.text);
	return &cfg.balloon;
}

static void every_item_is_taken(void **state)
{
	const struct config_balloon *b;

	assert_false(accept(NULL)->present);
	b = accept("--balloon");
	assert_true(b->present);
	assert_int_equal(b->bytes, 0);
	assert_false(
		b->deflate_on_oom || b->stats || b->hinting || b->reporting);
	assert_true(accept("--balloon=")->present);
	assert_int_equal(accept("--balloon=8M")->bytes, 8 << 20);
	assert_int_equal(accept("--balloon=16M")->bytes, 16 << 20);
	b = accept("--balloon=4096,deflate-on-oom=on,stats=5,hinting=on,"
		   "reporting=on");
	assert_int_equal(b->bytes, 4096);
	assert_int_equal(b->stats_s, 5);
	assert_true(
		b->deflate_on_oom && b->stats && b->hinting && b->reporting);
	b = accept("--balloon=,stats=0,hinting=off");
	assert_true(b->stats && !b->hinting);
	assert_int_equal(b->stats_s, 0);
	assert_int_equal(accept("--balloon=stats=86400,1M")->bytes, 1 << 20);
}

static void what_makes_no_sense_is_refused_with_its_reason(void **state)
{
	static const struct {
		const char *option, *reason;
	} table[] = {
		{"--balloon=x", "not understood"},
		{"--balloon=-1", "not understood"},
		{"--balloon=4097", "4096"},
		{"--balloon=17M", "16 MiB"},
		{"--balloon=1M,1M", "'1M' is not understood"},
		{"--balloon=1M,", "not understood"},
		{"--balloon=stats", "not understood"},
		{"--balloon=stats=", "seconds"},
		{"--balloon=stats=86401", "86400"},
		{"--balloon=stats=1s", "seconds"},
		{"--balloon=hinting", "not understood"},
		{"--balloon=hinting=yes", "on or off"},
		{"--balloon=reporting=", "on or off"},
		{"--balloon=deflate-on-oom=1", "on or off"},
		{"--balloon=size=1M", "not understood"},
		{"--balloon=99999999999999999999", "not understood"},
	};
	unsigned i;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		if (parse(table[i].option) != -EINVAL)
			fail_msg("%s is taken", table[i].option);
		if (!strstr(err.text, "--balloon") ||
			!strstr(err.text, table[i].reason) ||
			strchr(err.text, '\n'))
			fail_msg("%s: %s", table[i].option, err.text);
	}
}

/* "--balloon 8M" would be a balloon and a stray word. */
static void the_value_is_no_word_of_its_own(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "-k", (char *)(uintptr_t) "K",
		(char *)(uintptr_t) "--balloon", (char *)(uintptr_t) "8M"};

	assert_int_equal(config_parse_run(&cfg, 4, argv, &err), -EINVAL);
	assert_non_null(strstr(err.text, "8M"));
}

static json_t *dump(void)
{
	char *text = NULL;
	json_t *root;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_int_equal(config_print_json(&cfg, out), 0);
	fclose(out);
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	free(text);
	return root;
}

static void what_the_guest_sees_is_told_apart_from_what_it_does_not(
	void **state)
{
	json_t *root, *guest, *host;

	accept("--balloon=1M,stats=5,reporting=on");
	root = dump();
	guest = json_object_get(json_object_get(root, "guest"), "balloon");
	host = json_object_get(json_object_get(root, "host"), "balloon");
	assert_true(json_is_true(json_object_get(guest, "stats")));
	assert_true(json_is_true(json_object_get(guest, "reporting")));
	assert_true(json_is_false(json_object_get(guest, "hinting")));
	assert_true(json_is_false(json_object_get(guest, "deflate_on_oom")));
	assert_int_equal(json_object_size(guest), 4);
	assert_int_equal(
		json_integer_value(json_object_get(host, "bytes")), 1 << 20);
	assert_int_equal(
		json_integer_value(json_object_get(host, "stats_s")), 5);
	json_decref(root);
	accept(NULL);
	root = dump();
	guest = json_object_get(json_object_get(root, "guest"), "balloon");
	assert_true(json_is_null(guest));
	json_decref(root);
}

/* A restore gives them again. */
static void the_words_make_the_same_machine_again(void **state)
{
	static const char *const options[] = {
		"--balloon", "--balloon=8M,hinting=on"};
	struct config again;
	unsigned i;

	for (i = 0; i < 2; i++) {
		accept(options[i]);
		config_init(&again);
		assert_int_equal(config_parse_run(&again, (int)cfg.words.count,
					 cfg.words.word, &err),
			0);
		assert_true(again.balloon.present);
		assert_int_equal(again.balloon.bytes, cfg.balloon.bytes);
		assert_int_equal(again.balloon.hinting, i);
		config_fini(&again);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_item_is_taken),
		T(what_makes_no_sense_is_refused_with_its_reason),
		T(the_value_is_no_word_of_its_own),
		T(what_the_guest_sees_is_told_apart_from_what_it_does_not),
		T(the_words_make_the_same_machine_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
