/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/words.h - the options a machine was made from, as a list of words.
 *
 * Each word is "--name" or "--name=value", in the order given.  They are what a
 * snapshot or a migration carries as the description of a machine: whoever
 * rebuilds it parses them like a command line, so nothing can be forgotten and
 * hostile ones meet the same checks as a user's.
 *
 * Thread: the owner's.
 */
#ifndef GODWIT_VMM_WORDS_H
#define GODWIT_VMM_WORDS_H

#include <stddef.h>

struct error;
struct json_t;

#define WORDS_MAX 256u

/* Zero-initialise. */
struct words {
	char **word; /* owned array of owned strings */
	unsigned count;
};

void words_fini(struct words *words);
/* Append "--@name" or, with @value, "--@name=@value".  0, -ENOMEM or -E2BIG. */
int words_add(struct words *words, const char *name, const char *value);
/* Append text to word @index.  0 or -ENOMEM. */
int words_extend(struct words *words, unsigned index, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int words_copy(struct words *dst, const struct words *src);

/**
 * words_override - point a host resource elsewhere.
 * @text: "OPTION=VALUE" replaces the value of --OPTION, or adds it;
 *        "OPTIONn.KEY=VALUE" replaces KEY in the list of values of the n-th
 *        --OPTION (from 0): "disk0.path=/x.img".  path= and fd= replace each
 *        other, as do the tap=, fd= and user of a net.
 * Only options that name things of the host may be given.
 * Return: 0, -EINVAL with @err (unknown, not the host's, no such device), or
 *         -ENOMEM.
 */
int words_override(struct words *words, const char *text, struct error *err);

/* New JSON array of strings; NULL without memory.  -EILSEQ by *ret_code if a
 * word is not UTF-8. */
struct json_t *words_json(const struct words *words, int *ret_code);
/* The reverse, hostile: at most WORDS_MAX strings.  0, -EPROTO, -ENOMEM. */
int words_from_json(
	struct words *words, const struct json_t *array, struct error *err);

#endif
