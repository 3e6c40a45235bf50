/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/boot.h - what the loader told us: entry, words, memory.
 */
#ifndef GODWIT_KERNELS_LIB_BOOT_H
#define GODWIT_KERNELS_LIB_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/lib/start.h"

#define BOOT_RAM_MAX 16

struct boot_ram {
	uint64_t gpa;
	uint64_t size; /* bytes */
};

/* Called by start.S once, on the boot CPU. */
void guest_start(uint32_t kind, uint64_t info) __attribute__((noreturn));

/* Every guest's own part.  Return: true if all went well; guest_exit(). */
bool guest_main(void);

/* "pvh", "linux64" or "linux32". */
const char *boot_entry_name(void);

/* The whole command line, NUL-terminated; "" if there is none. */
const char *boot_cmdline(void);

/**
 * boot_word - the value of a word KEY=VALUE of the command line.
 * @nth:   0 for the first word of that key, 1 for the second ...
 * Return: the text behind '=', which ends at a blank or the end of the line;
 *         "" for a bare KEY; NULL if there is no such word.
 */
const char *boot_word(const char *key, unsigned nth);

/* The same as a number, @otherwise without such a word. */
uint64_t boot_number(const char *key, uint64_t otherwise);

/* Does the word at @value begin with @text and end there, or at ':'? */
bool word_is(const char *value, const char *text);

/**
 * boot_ram_map - usable RAM as the loader listed it, in its order.
 * @ret:   room for BOOT_RAM_MAX entries.
 * Return: how many; 0 when the loader listed none.
 */
unsigned boot_ram_map(struct boot_ram *ret);

#endif
