/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/words.c - see words.h. */
#include "vmm/words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "vmm/error.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* What names things of the host, and may be given another value as a whole. */
static const char *const host_options[] = {"kernel", "initrd", "serial",
	"console", "loop", "iothread", "poll-us", "trace", "name", "control",
	"no-reboot", "vsock"};

/* Options that are given once a device, with a list of key=value. */
static const char *const list_options[] = {
	"disk", "net", "memory", "vsock", "rng"};

/* Keys of which one replaces the others. */
static const char *const disk_source[] = {"path", "fd"};
static const char *const net_source[] = {"tap", "fd", "user"};

void words_fini(struct words *words)
{
	unsigned i;

	for (i = 0; i < words->count; i++)
		free(words->word[i]);
	free(words->word);
	*words = (struct words){.word = NULL};
}

/* @word: taken, also on failure; may be NULL. */
static int take(struct words *words, char *word)
{
	char **more;

	if (!word)
		return -ENOMEM;
	if (words->count == WORDS_MAX) {
		free(word);
		return -E2BIG;
	}
	more = realloc(words->word, (words->count + 1) * sizeof(*more));
	if (!more) {
		free(word);
		return -ENOMEM;
	}
	words->word = more;
	words->word[words->count++] = word;
	return 0;
}

int words_add(struct words *words, const char *name, const char *value)
{
	char *word = NULL;
	int n;

	if (value)
		n = asprintf(&word, "--%s=%s", name, value);
	else
		n = asprintf(&word, "--%s", name);
	return take(words, n < 0 ? NULL : word);
}

int words_extend(struct words *words, unsigned index, const char *fmt, ...)
{
	char tail[128], *word;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(tail, sizeof(tail), fmt, ap);
	va_end(ap);
	word = realloc(words->word[index],
		strlen(words->word[index]) + strlen(tail) + 1);
	if (!word)
		return -ENOMEM;
	strcat(word, tail);
	words->word[index] = word;
	return 0;
}

int words_copy(struct words *dst, const struct words *src)
{
	unsigned i;
	int code = 0;

	for (i = 0; code == 0 && i < src->count; i++)
		code = take(dst, strdup(src->word[i]));
	return code;
}

/* ---- overrides ---- */

static bool in(
	const char *const *list, unsigned count, const char *text, size_t len)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (strlen(list[i]) == len && memcmp(list[i], text, len) == 0)
			return true;
	return false;
}

/* Slot of the @index-th "--name" or "--name=", UINT_MAX if there is none. */
static unsigned find(
	const struct words *words, const char *name, size_t len, unsigned index)
{
	unsigned i;

	for (i = 0; i < words->count; i++) {
		const char *w = words->word[i] + 2;

		if (strncmp(w, name, len) == 0 &&
			(w[len] == '\0' || w[len] == '=') && index-- == 0)
			return i;
	}
	return WORDS_MAX;
}

/* Does @key replace @old in the list of @option? */
static bool replaces(const char *option, size_t option_len, const char *key,
	size_t key_len, const char *old, size_t old_len)
{
	if (key_len == old_len && memcmp(key, old, key_len) == 0)
		return true;
	if (option_len == 4 && memcmp(option, "disk", 4) == 0)
		return in(disk_source, COUNT(disk_source), key, key_len) &&
		       in(disk_source, COUNT(disk_source), old, old_len);
	if (option_len == 3 && memcmp(option, "net", 3) == 0)
		return in(net_source, COUNT(net_source), key, key_len) &&
		       in(net_source, COUNT(net_source), old, old_len);
	return false;
}

/* The list in @word without what "@item" (key=value) replaces, and with it in
 * front.  NULL without memory. */
static char *put_item(const char *word, const char *option, size_t option_len,
	const char *item)
{
	const char *list = strchr(word, '='), *end;
	size_t key_len = strcspn(item, "="), len;
	char *text = malloc(strlen(word) + strlen(item) + 3);
	size_t at;

	if (!text)
		return NULL;
	at = (size_t)sprintf(text, "--%.*s=", (int)option_len, option);
	list = list ? list + 1 : "";
	/* A size stands first and has no key. */
	if (option_len == 6 && memcmp(option, "memory", 6) == 0) {
		len = strcspn(list, ",");
		memcpy(text + at, list, len);
		at += len;
		text[at++] = ',';
		list += len + (list[len] == ',');
	}
	at += (size_t)sprintf(text + at, "%s", item);
	for (; *list != '\0'; list = *end == ',' ? end + 1 : end) {
		end = list + strcspn(list, ",");
		if (replaces(option, option_len, item, key_len, list,
			    strcspn(list, "=,")))
			continue;
		text[at++] = ',';
		memcpy(text + at, list, (size_t)(end - list));
		at += (size_t)(end - list);
	}
	text[at] = '\0';
	return text;
}

static int override_item(struct words *words, const char *text,
	size_t option_len, const char *item, struct error *err)
{
	unsigned index = 0, slot;
	size_t name_len = option_len;
	char *word;

	while (name_len > 0 && text[name_len - 1] >= '0' &&
		text[name_len - 1] <= '9')
		name_len--;
	if (option_len - name_len > 4 ||
		!in(list_options, COUNT(list_options), text, name_len))
		return error_set(err, -EINVAL,
			"--override %.160s: '%.*s' is no device of the host's "
			"(give disk0.path=FILE, net0.tap=NAME or the like)",
			text, (int)option_len, text);
	if (option_len > name_len)
		index = (unsigned)strtoul(text + name_len, NULL, 10);
	slot = find(words, text, name_len, index);
	if (slot == WORDS_MAX)
		return error_set(err, -EINVAL,
			"--override %.160s: the machine has no %.*s%u", text,
			(int)name_len, text, index);
	word = put_item(words->word[slot], text, name_len, item);
	if (!word)
		return error_errno(err, -ENOMEM, "--override");
	free(words->word[slot]);
	words->word[slot] = word;
	return 0;
}

int words_override(struct words *words, const char *text, struct error *err)
{
	size_t len = strcspn(text, ".=");
	unsigned slot;
	char name[32];
	int code;

	if (text[len] == '.' && strchr(text + len, '='))
		return override_item(words, text, len, text + len + 1, err);
	if (!in(host_options, COUNT(host_options), text, len))
		return error_set(err, -EINVAL,
			"--override %.160s: not a thing of the host's (give "
			"disk0.path=FILE, net0.tap=NAME, serial=file=FILE, "
			"kernel=FILE or the like)",
			text);
	while ((slot = find(words, text, len, 0)) != WORDS_MAX) {
		free(words->word[slot]);
		words->count--;
		memmove(&words->word[slot], &words->word[slot + 1],
			(words->count - slot) * sizeof(char *));
	}
	snprintf(name, sizeof(name), "%.*s", (int)len, text);
	code = words_add(words, name, text[len] ? text + len + 1 : NULL);
	return code < 0 ? error_errno(err, code, "--override %.160s", text) : 0;
}

/* ---- JSON ---- */

json_t *words_json(const struct words *words, int *ret_code)
{
	json_t *array = json_array(), *text;
	unsigned i;

	*ret_code = -ENOMEM;
	for (i = 0; array && i < words->count; i++) {
		text = json_string(words->word[i]);
		if (!text)
			*ret_code = -EILSEQ;
		if (!text || json_array_append_new(array, text) < 0) {
			json_decref(array);
			return NULL;
		}
	}
	return array;
}

int words_from_json(struct words *words, const json_t *array, struct error *err)
{
	size_t i;
	int code;

	if (!json_is_array(array) || json_array_size(array) > WORDS_MAX)
		return error_set(err, -EPROTO,
			"machine description: \"words\" is no list of at most "
			"%u options",
			WORDS_MAX);
	for (i = 0; i < json_array_size(array); i++) {
		const char *word = json_string_value(json_array_get(array, i));

		/* Words by themselves, so that none is taken for the value of
		 * another. */
		if (!word || strncmp(word, "--", 2) != 0 || word[2] == '\0' ||
			strlen(word) !=
				json_string_length(json_array_get(array, i)))
			return error_set(err, -EPROTO,
				"machine description: word %zu is no option",
				i);
		code = take(words, strdup(word));
		if (code < 0)
			return error_errno(err, code, "machine description");
	}
	return 0;
}
