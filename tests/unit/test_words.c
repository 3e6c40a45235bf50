/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_words.c - the options of a machine as words that travel. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/words.h"

static void parse(struct config *cfg, const char *const *words)
{
	struct error err = {.text = ""};
	int argc = 0;

	while (words[argc])
		argc++;
	config_init(cfg);
	if (config_parse_run(cfg, argc, (char *const *)(uintptr_t)words, &err) <
		0)
		fail_msg("%s", err.text);
}

static const char *const example[] = {"-k", "kernel", "--memory",
	"64M,backing=memfd", "-d", "path=/a.img,ro,serial=x", "--rng", "-d",
	"fd=7,direct", "--serial", "none", "-v", NULL};

static void a_parse_keeps_every_option_as_a_word_but_those_of_this_run(
	void **state)
{
	static const char *const want[] = {"--kernel=kernel",
		"--memory=64M,backing=memfd", "--disk=path=/a.img,ro,serial=x",
		"--rng", "--disk=fd=7,direct", "--serial=none"};
	struct config cfg;
	unsigned i;

	parse(&cfg, example);
	assert_int_equal(cfg.words.count, 6);
	for (i = 0; i < 6; i++)
		assert_string_equal(cfg.words.word[i], want[i]);
	config_fini(&cfg);
}

static void words_give_the_same_machine_again(void **state)
{
	struct config a, b;
	json_t *one, *two;

	parse(&a, example);
	config_init(&b);
	assert_int_equal(
		config_parse_run(&b, (int)a.words.count, a.words.word, NULL),
		0);
	one = config_guest_json(&a);
	two = config_guest_json(&b);
	assert_true(json_equal(one, two));
	assert_string_equal(b.disk[0].path, "/a.img");
	assert_int_equal(b.disk[1].fd, 7);
	json_decref(one);
	json_decref(two);
	config_fini(&a);
	config_fini(&b);
}

struct override_case {
	const char *text;
	const char *want; /* a word there must be afterwards; NULL: refused */
	const char *gone; /* one that must not, or NULL */
};

static const struct override_case cases[] = {
	{"disk0.path=/b.img", "--disk=path=/b.img,ro,serial=x",
		"--disk=path=/a.img,ro,serial=x"},
	{"disk1.path=/b.img", "--disk=path=/b.img,direct",
		"--disk=fd=7,direct"},
	{"disk0.fd=9", "--disk=fd=9,ro,serial=x", NULL},
	{"disk.path=/b.img", "--disk=path=/b.img,ro,serial=x", NULL},
	{"memory.backing=anon", "--memory=64M,backing=anon",
		"--memory=64M,backing=memfd"},
	{"serial=file=/log", "--serial=file=/log", "--serial=none"},
	{"kernel=/other", "--kernel=/other", "--kernel=kernel"},
	{"name=n2", "--name=n2", NULL},
	{"no-reboot", "--no-reboot", NULL},
	{"disk2.path=/b.img", NULL, NULL},
	{"disk99999999999.path=/b.img", NULL, NULL},
	{"cpus=4", NULL, NULL},
	{"append=x", NULL, NULL},
	{"cpus0.max=4", NULL, NULL},
	{"", NULL, NULL},
	{"=", NULL, NULL},
	{".=", NULL, NULL},
	{"disk0.path", NULL, NULL},
};

static bool has(const struct words *words, const char *word)
{
	unsigned i;

	for (i = 0; i < words->count; i++)
		if (strcmp(words->word[i], word) == 0)
			return true;
	return false;
}

static void an_override_changes_what_is_the_hosts_and_nothing_else(void **state)
{
	unsigned i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct override_case *c = &cases[i];
		struct error err = {.text = ""};
		struct config cfg;
		int code;

		parse(&cfg, example);
		code = words_override(&cfg.words, c->text, &err);
		if (!c->want) {
			if (code != -EINVAL)
				fail_msg("'%s' is taken", c->text);
			assert_true(strlen(err.text) > 10);
			assert_int_equal(cfg.words.count, 6);
		} else if (code != 0 || !has(&cfg.words, c->want) ||
			   (c->gone && has(&cfg.words, c->gone))) {
			fail_msg("'%s': %d %s", c->text, code, err.text);
		}
		config_fini(&cfg);
	}
}

static void another_name_does_not_change_what_the_guest_sees(void **state)
{
	static const char *const words[] = {
		"-k", "kernel", "-n", "user", "--name", "one", NULL};
	struct config a, b;
	json_t *one, *two;

	parse(&a, words);
	assert_int_equal(words_override(&a.words, "name=two", NULL), 0);
	config_init(&b);
	assert_int_equal(
		config_parse_run(&b, (int)a.words.count, a.words.word, NULL),
		0);
	assert_string_equal(b.name, "two");
	one = config_guest_json(&a);
	two = config_guest_json(&b);
	assert_true(json_equal(one, two));
	json_decref(one);
	json_decref(two);
	config_fini(&a);
	config_fini(&b);
}

static void words_travel_through_json(void **state)
{
	struct words back = {.word = NULL};
	struct config cfg;
	json_t *array;
	unsigned i;
	int code;

	parse(&cfg, example);
	array = words_json(&cfg.words, &code);
	assert_non_null(array);
	assert_int_equal(words_from_json(&back, array, NULL), 0);
	assert_int_equal(back.count, cfg.words.count);
	for (i = 0; i < back.count; i++)
		assert_string_equal(back.word[i], cfg.words.word[i]);
	words_fini(&back);
	json_decref(array);
	config_fini(&cfg);
}

static void hostile_words_are_refused(void **state)
{
	static const char *const texts[] = {"{}", "1", "[1]", "[\"\"]",
		"[\"--\"]", "[\"kernel\"]", "[\"-k\", \"x\"]", "[null]",
		"[\"--kernel=a\\u0000b\"]"};
	json_t *array, *many = json_array();
	struct words words;
	unsigned i;

	for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		words = (struct words){.word = NULL};
		array = json_loads(
			texts[i], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_non_null(array);
		assert_int_equal(words_from_json(&words, array, NULL), -EPROTO);
		words_fini(&words);
		json_decref(array);
	}
	for (i = 0; i <= WORDS_MAX; i++)
		json_array_append_new(many, json_string("--rng"));
	words = (struct words){.word = NULL};
	assert_int_equal(words_from_json(&words, many, NULL), -EPROTO);
	json_decref(many);
}

static void a_name_that_is_not_utf8_is_told_apart(void **state)
{
	struct words words = {.word = NULL};
	int code;

	assert_int_equal(words_add(&words, "kernel", "a\xff"), 0);
	assert_null(words_json(&words, &code));
	assert_int_equal(code, -EILSEQ);
	words_fini(&words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_parse_keeps_every_option_as_a_word_but_those_of_this_run),
		cmocka_unit_test(words_give_the_same_machine_again),
		cmocka_unit_test(
			an_override_changes_what_is_the_hosts_and_nothing_else),
		cmocka_unit_test(
			another_name_does_not_change_what_the_guest_sees),
		cmocka_unit_test(words_travel_through_json),
		cmocka_unit_test(hostile_words_are_refused),
		cmocka_unit_test(a_name_that_is_not_utf8_is_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
