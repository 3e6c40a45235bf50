/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/string.c - memory and text.  The string instructions are the
 * cheapest way on hosts that emulate kernel code.
 */
#include "kernels/lib/string.h"

void *memcpy(void *dst, const void *src, size_t n)
{
	void *to = dst;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(n)::"memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	uint8_t *to = dst;
	const uint8_t *from = src;

	if (to <= from || to >= from + n)
		return memcpy(dst, src, n);
	while (n-- > 0)
		((volatile uint8_t *)to)[n] = from[n];
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *to = dst;
	size_t bytes = n & 7;

	n >>= 3;
	__asm__ volatile("rep stosq"
			 : "+D"(to), "+c"(n)
			 : "a"((uint8_t)c * 0x0101010101010101ull)
			 : "memory");
	__asm__ volatile("rep stosb"
			 : "+D"(to), "+c"(bytes)
			 : "a"(c)
			 : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const volatile uint8_t *x = a, *y = b;

	for (; n > 0; n--, x++, y++) {
		int d = *x - *y;

		if (d != 0)
			return d;
	}
	return 0;
}

size_t strlen(const char *s)
{
	const volatile char *p = s; /* volatile: or it may become strlen() */
	size_t n = 0;

	while (p[n] != '\0')
		n++;
	return n;
}

uint64_t parse_uint(const char *s, const char **ret_end)
{
	uint64_t v = 0, base = 10;
	const char *digits;

	if (s[0] == '0' && (s[1] | 0x20) == 'x') {
		base = 16;
		s += 2;
	}
	for (digits = s;; s++) {
		unsigned d = (unsigned char)*s - '0';

		if (d > 9)
			d = ((unsigned char)*s | 0x20u) - 'a' + 10;
		if (d >= base || (d > 9 && *s < 'A'))
			break;
		v = v * base + d;
	}
	if (ret_end != NULL)
		*ret_end = s == digits && base == 16 ? s - 1 : s;
	return v;
}
