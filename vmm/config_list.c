/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/config_list.c - see config_list.h.  Pure functions of their arguments. */
#include "vmm/config_list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEAR_LEN   24 /* longer words are not compared */
#define NEAR_EDITS 2

int config_list_next(const char **pos, struct config_item *ret_item)
{
	const char *in = *pos;
	char *text, *out;

	if (!in)
		return 0;
	text = malloc(strlen(in) + 1);
	if (!text)
		return -ENOMEM;
	for (out = text; *in != '\0'; in++) {
		if (*in == ',') {
			if (in[1] != ',')
				break;
			in++; /* a pair stands for one */
		}
		*out++ = *in;
	}
	*out = '\0';
	*pos = *in == ',' ? in + 1 : NULL;
	ret_item->key = text;
	ret_item->value = strchr(text, '=');
	if (ret_item->value)
		*ret_item->value++ = '\0';
	return 1;
}

int config_word_find(const char *const *words, unsigned count, const char *word)
{
	unsigned i;

	for (i = 0; i < count; i++)
		if (words[i] && strcmp(words[i], word) == 0)
			return (int)i;
	return -1;
}

const char *config_word_join(
	const char *const *words, unsigned count, char *buf, size_t size)
{
	size_t len = 0;
	unsigned i;

	buf[0] = '\0';
	for (i = 0; i < count && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s",
			i == 0		 ? ""
			: i + 1 == count ? " or "
					 : ", ",
			words[i]);
	return buf;
}

/* Levenshtein's distance, one row at a time. */
static unsigned edits(const char *a, const char *b)
{
	unsigned row[NEAR_LEN + 1], diagonal, above, best;
	size_t i, j, la = strlen(a), lb = strlen(b);

	if (la > NEAR_LEN || lb > NEAR_LEN)
		return NEAR_LEN;
	for (j = 0; j <= lb; j++)
		row[j] = (unsigned)j;
	for (i = 1; i <= la; i++) {
		diagonal = row[0];
		row[0] = (unsigned)i;
		for (j = 1; j <= lb; j++) {
			above = row[j];
			best = diagonal + (a[i - 1] != b[j - 1]);
			if (best > above + 1)
				best = above + 1;
			if (best > row[j - 1] + 1)
				best = row[j - 1] + 1;
			row[j] = best;
			diagonal = above;
		}
	}
	return row[lb];
}

int config_word_near(const char *const *words, unsigned count, const char *word)
{
	unsigned i, distance, best = NEAR_EDITS + 1;
	int found = -1;

	for (i = 0; i < count; i++) {
		if (!words[i])
			continue;
		distance = edits(words[i], word);
		/* A short word is near to everything: ask for more. */
		if (distance >= strlen(words[i]))
			continue;
		if (distance < best) {
			best = distance;
			found = (int)i;
		}
	}
	return found;
}
