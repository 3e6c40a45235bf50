/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/config_list.h - option values of the form "word,key=value,flag", and
 * sets of allowed words.  A comma inside a value is written twice.
 */
#ifndef GODWIT_VMM_CONFIG_LIST_H
#define GODWIT_VMM_CONFIG_LIST_H

#include <stddef.h>

struct config_item {
	char *key;   /* owned, starts the allocation; unescaped */
	char *value; /* into key, after the first '='; NULL: there was none */
};

/**
 * config_list_next - take the next item off a comma list.
 * @pos:      where to go on; NULL once the list is used up.
 * @ret_item: free(ret_item->key) when done.  Both may be empty strings.
 * Return: 1 (an item), 0 (end of the list), -ENOMEM.
 */
int config_list_next(const char **pos, struct config_item *ret_item);

/* Index of @word in @words, or -1.
 * Shape: @words is count strings; NULL entries match nothing. */
int config_word_find(
	const char *const *words, unsigned count, const char *word);

/* "a, b or c" into @buf, cut to @size bytes; returns @buf. */
const char *config_word_join(
	const char *const *words, unsigned count, char *buf, size_t size);

/**
 * config_word_near - the word of @words that is at most two typing errors
 * (a letter more, less or another) away from @word.
 * Return: its index, or -1 if none is near.
 */
int config_word_near(
	const char *const *words, unsigned count, const char *word);

#endif
