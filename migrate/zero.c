/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/zero.c - see zero.h.  Most pages with data show it in their first
 * bytes, so those are looked at alone; the rest goes in blocks, each or'ed
 * together and tested once.
 */
#include "migrate/zero.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define PAGE  4096u
#define BLOCK 256u /* bytes or'ed between two tests */

/* May alias whatever the page holds. */
typedef uint64_t __attribute__((may_alias)) word;

static bool zero_words(const void *page)
{
	const word *p = page, *end = p + PAGE / sizeof(*p);
	uint64_t any;
	unsigned i;

	for (; p < end; p += BLOCK / sizeof(*p)) {
		any = 0;
		for (i = 0; i < BLOCK / sizeof(*p); i++)
			any |= p[i];
		if (any)
			return false;
	}
	return true;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static bool zero_avx2(const void *page)
{
	const __m256i *p = page, *end = p + PAGE / sizeof(*p);

	for (; p < end; p += 8) {
		__m256i a = _mm256_or_si256(
			_mm256_loadu_si256(p), _mm256_loadu_si256(p + 1));
		__m256i b = _mm256_or_si256(
			_mm256_loadu_si256(p + 2), _mm256_loadu_si256(p + 3));
		__m256i c = _mm256_or_si256(
			_mm256_loadu_si256(p + 4), _mm256_loadu_si256(p + 5));
		__m256i d = _mm256_or_si256(
			_mm256_loadu_si256(p + 6), _mm256_loadu_si256(p + 7));

		a = _mm256_or_si256(
			_mm256_or_si256(a, b), _mm256_or_si256(c, d));
		if (!_mm256_testz_si256(a, a))
			return false;
	}
	return true;
}
#endif

bool page_is_zero(const void *page)
{
	if (*(const word *)page != 0)
		return false;
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		return zero_avx2(page);
#endif
	return zero_words(page);
}
