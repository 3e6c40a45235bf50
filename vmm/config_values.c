/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_values.c - see config_values.h.  Pure functions of their
 * arguments; every refusal goes through config_refuse(), so that all of them
 * read alike.
 */
#include "vmm/config_values.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/config_list.h"
#include "vmm/error.h"

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define VALUE_SHOWN	160 /* bytes of a value that a message repeats */
#define HUGE_PAGE_BYTES (2ull << 20)
#define MEMORY_MAX	(1ull << 51) /* physical addresses have 52 bits */

static const char *const backing_words[] = {
	[GUESTMEM_ANON] = "anon",
	[GUESTMEM_MEMFD] = "memfd",
	[GUESTMEM_HUGETLB] = "hugetlb",
};
const char *config_backing_name(enum guestmem_backing backing)
{
	return backing_words[backing];
}

int config_refuse(struct error *err, const char *option, const char *value,
	const char *fmt, ...)
{
	char text[512];
	size_t len = strlen(value);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return error_set(err, -EINVAL, "--%s %.*s%s: %s", option, VALUE_SHOWN,
		len == 0 ? "''" : value, len > VALUE_SHOWN ? "..." : "", text);
}

int config_set_text(char **slot, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

int config_parse_u32(const char *text, uint32_t *ret_value)
{
	uint64_t value = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9'; p++) {
		value = value * 10 + (uint64_t)(*p - '0');
		if (value > UINT32_MAX)
			return -EINVAL;
	}
	if (p == text || *p != '\0')
		return -EINVAL;
	*ret_value = (uint32_t)value;
	return 0;
}

static int digit_of(char c, unsigned base)
{
	int digit = -1;

	if (c >= '0' && c <= '9')
		digit = c - '0';
	else if (c >= 'a' && c <= 'f')
		digit = c - 'a' + 10;
	else if (c >= 'A' && c <= 'F')
		digit = c - 'A' + 10;
	return digit < (int)base ? digit : -1;
}

int config_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char suffixes[] = "KMGT";
	unsigned base = 10, shift = 0;
	uint64_t value = 0;
	const char *start, *suffix;

	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		base = 16;
		text += 2;
	}
	for (start = text; digit_of(*text, base) >= 0; text++) {
		if (__builtin_mul_overflow(value, base, &value) ||
			__builtin_add_overflow(
				value, (uint64_t)digit_of(*text, base), &value))
			return -ERANGE;
	}
	if (text == start)
		return -EINVAL;
	if (*text != '\0') {
		suffix = strchr(suffixes, toupper((unsigned char)*text));
		if (!suffix || text[1] != '\0')
			return -EINVAL;
		shift = 10 * (unsigned)(suffix - suffixes + 1);
	}
	if (value > UINT64_MAX >> shift)
		return -ERANGE;
	*ret_bytes = value << shift;
	return 0;
}

int config_value_word(const char *option, const char *value,
	const char *const *words, unsigned count, int *ret_index,
	struct error *err)
{
	char allowed[128];
	int index = config_word_find(words, count, value);

	if (index < 0)
		return config_refuse(err, option, value, "unknown (give %s)",
			config_word_join(
				words, count, allowed, sizeof(allowed)));
	*ret_index = index;
	return 0;
}

static int set_memory_item(struct guestmem_options *mem, bool *have_size,
	const struct config_item *item, const char *whole, struct error *err)
{
	char allowed[64];
	uint64_t bytes;
	int index, ret;

	if (!item->value && !*have_size) {
		ret = config_parse_size(item->key, &bytes);
		if (ret == -ERANGE)
			return config_refuse(err, "memory", whole,
				"the size is 2^64 bytes or more (give less "
				"than the host has)");
		if (ret < 0)
			return config_refuse(err, "memory", whole,
				"'%.64s' is not a size (give a number and K, "
				"M, G or T, for example 512M)",
				item->key);
		mem->size = bytes;
		*have_size = true;
		return 0;
	}
	if (item->value && strcmp(item->key, "backing") == 0) {
		index = config_word_find(
			backing_words, COUNT(backing_words), item->value);
		if (index < 0)
			return config_refuse(err, "memory", whole,
				"backing '%.64s' is unknown (give %s)",
				item->value,
				config_word_join(backing_words,
					COUNT(backing_words), allowed,
					sizeof(allowed)));
		mem->backing = (enum guestmem_backing)index;
		return 0;
	}
	if (item->value && strcmp(item->key, "thp") == 0) {
		if (strcmp(item->value, "on") != 0 &&
			strcmp(item->value, "off") != 0)
			return config_refuse(err, "memory", whole,
				"thp '%.64s' is unknown (give on or off)",
				item->value);
		mem->thp = strcmp(item->value, "on") == 0;
		return 0;
	}
	return config_refuse(err, "memory", whole,
		"'%.64s' is not understood (give "
		"SIZE[,backing=anon|memfd|hugetlb][,thp=on|off])",
		item->key);
}

static int check_memory(const struct guestmem_options *mem, bool have_size,
	const char *whole, struct error *err)
{
	uint64_t unit = mem->backing == GUESTMEM_HUGETLB ? HUGE_PAGE_BYTES
							 : GUESTMEM_PAGE;

	if (!have_size)
		return config_refuse(err, "memory", whole,
			"the size is missing (give it first, for example 512M)");
	if (mem->size == 0)
		return config_refuse(err, "memory", whole,
			"a VM needs memory (give at least 2M, for example "
			"512M)");
	if (mem->size > MEMORY_MAX)
		return config_refuse(err, "memory", whole,
			"no x86 machine has that much (give less than the host "
			"has)");
	if (mem->size % unit != 0)
		return config_refuse(err, "memory", whole,
			"the size is not a multiple of %" PRIu64
			" bytes (give %" PRIu64 "K)",
			unit, (mem->size / unit + 1) * (unit >> 10));
	if (mem->backing == GUESTMEM_HUGETLB && mem->thp)
		return config_refuse(err, "memory", whole,
			"hugetlb pages are huge already (drop thp=on)");
	return 0;
}

int config_value_memory(const char *value, struct guestmem_options *ret_memory,
	struct error *err)
{
	struct guestmem_options mem = {.size = 0};
	struct config_item item;
	const char *pos = value;
	bool have_size = false;
	int ret;

	while ((ret = config_list_next(&pos, &item)) > 0) {
		ret = set_memory_item(&mem, &have_size, &item, value, err);
		free(item.key);
		if (ret < 0)
			return ret;
	}
	if (ret == 0)
		ret = check_memory(&mem, have_size, value, err);
	if (ret == 0)
		*ret_memory = mem;
	return ret;
}

int config_value_char(const char *option, const char *value,
	struct config_char *chr, struct error *err)
{
	static const char file[] = "file=";
	enum config_chardev kind;
	char *path = NULL;

	if (strcmp(value, "stdio") == 0) {
		kind = CONFIG_CHAR_STDIO;
	} else if (strcmp(value, "none") == 0) {
		kind = CONFIG_CHAR_NONE;
	} else if (strncmp(value, file, strlen(file)) == 0) {
		kind = CONFIG_CHAR_FILE;
		value += strlen(file);
		if (value[0] == '\0')
			return config_refuse(err, option, "file=",
				"the file name is empty (give file=FILE)");
		path = strdup(value);
		if (!path)
			return -ENOMEM;
	} else {
		return config_refuse(err, option, value,
			"unknown (give stdio, file=FILE or none)");
	}
	free(chr->path);
	*chr = (struct config_char){.kind = kind, .path = path};
	return 0;
}
