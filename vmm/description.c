/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/description.c - see description.h. */
#include "vmm/description.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "vmm/config.h"
#include "vmm/error.h"
#include "vmm/x86/cpuid_json.h"

int description_make(const struct config *cfg, const struct kvm_cpuid2 *cpuid,
	char **ret_text, struct error *err)
{
	json_t *root = NULL, *words, *leaves = NULL;
	int code;

	words = words_json(&cfg->words, &code);
	if (!words && code == -EILSEQ)
		return error_set(err, code,
			"machine description: a file name is not UTF-8 (rename "
			"the file)");
	if (!words || cpuid_describe(cpuid, &leaves) < 0)
		goto no_memory;
	root = json_pack("{s:i, s:s, s:O, s:o, s:O}", "format",
		DESCRIPTION_FORMAT, "godwit", GODWIT_VERSION, "words", words,
		"guest", config_guest_json(cfg), "cpuid", leaves);
	*ret_text = root ? json_dumps(root, JSON_COMPACT) : NULL;
	if (!*ret_text)
		goto no_memory;
	json_decref(root);
	json_decref(words);
	json_decref(leaves);
	return 0;
no_memory:
	json_decref(root);
	json_decref(words);
	json_decref(leaves);
	return error_errno(err, -ENOMEM, "machine description");
}

static int parse_words(
	const struct words *words, struct config *cfg, struct error *err)
{
	int code;

	/* A second list grows in @cfg while this one is read. */
	code = config_parse_run(cfg, (int)words->count, words->word, err);
	if (code == -ENOMEM)
		return code;
	if (code < 0) {
		error_prepend(err, "machine description");
		if (err)
			err->code = -EPROTO;
		return -EPROTO;
	}
	if (cfg->dry_run || cfg->dump_dtb || cfg->help)
		return error_set(err, -EPROTO,
			"machine description: an option that is no machine's");
	return 0;
}

/* The first key of which the two have different values. */
static const char *first_difference(const json_t *a, const json_t *b)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)a, key,
		value) if (!json_equal(value,
				   json_object_get(b, key))) return key;
	json_object_foreach((json_t *)(uintptr_t)b, key,
		value) if (!json_object_get(a, key)) return key;
	return NULL;
}

static int compare_guest(
	const struct config *cfg, const json_t *wanted, struct error *err)
{
	json_t *mine = config_guest_json(cfg);
	const char *key;
	int code = 0;

	if (!mine)
		return error_errno(err, -ENOMEM, "machine description");
	key = json_is_object(wanted) ? first_difference(wanted, mine) : "guest";
	if (key)
		code = error_set(err, -EPROTO,
			"machine description: \"%.64s\" would not be the same "
			"here (another version of godwit, or an override of "
			"what the guest sees)",
			key);
	json_decref(mine);
	return code;
}

static int parse_root(const json_t *root, const char *const *overrides,
	unsigned count, struct config *cfg, struct error *err)
{
	const json_t *format = json_object_get(root, "format");
	struct words words = {.word = NULL};
	unsigned i;
	int code;

	if (!json_is_integer(format) ||
		json_integer_value(format) != DESCRIPTION_FORMAT)
		return error_set(err, -EPROTO,
			"machine description: format is not %d (made by "
			"another version of godwit)",
			DESCRIPTION_FORMAT);
	code = words_from_json(&words, json_object_get(root, "words"), err);
	for (i = 0; code == 0 && i < count; i++)
		code = words_override(&words, overrides[i], err);
	if (code == 0)
		code = parse_words(&words, cfg, err);
	words_fini(&words);
	if (code == 0)
		code = compare_guest(cfg, json_object_get(root, "guest"), err);
	if (code == 0)
		code = cpuid_from_json(
			json_object_get(root, "cpuid"), &cfg->cpuid, err);
	cfg->incoming = true;
	return code;
}

int description_parse(const char *text, const char *const *overrides,
	unsigned count, struct config *cfg, struct error *err)
{
	json_error_t why;
	json_t *root;
	int code;

	root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return error_set(err, -EPROTO,
			"machine description: not JSON (line %d: %.100s)",
			why.line, why.text);
	code = parse_root(root, overrides, count, cfg, err);
	json_decref(root);
	return code;
}
