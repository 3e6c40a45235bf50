/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/string.h - the few C library functions the guests (and the
 * compiler, which may call the mem* ones by itself) need.
 */
#ifndef GODWIT_KERNELS_LIB_STRING_H
#define GODWIT_KERNELS_LIB_STRING_H

#include <stddef.h>
#include <stdint.h>

void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

/**
 * parse_uint - a number at the start of @s: decimal, or hexadecimal after 0x.
 * @ret_end: the first character behind it; may be NULL.
 * Return:   its value (modulo 2^64); 0 with *ret_end == @s if there is none.
 */
uint64_t parse_uint(const char *s, const char **ret_end);

#endif
