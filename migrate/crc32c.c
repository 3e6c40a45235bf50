/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/crc32c.c - see crc32c.h.
 *
 * The crc32 instruction takes 8 bytes a cycle but answers after three, so three
 * independent streams keep it busy.  Long inputs are cut in blocks of three
 * equal lanes; a lane's sum is moved past the bytes that follow it by a
 * carry-less multiplication with a constant, x^(8n-33) mod P in reflected form
 * (33: the product of two reflected 32-bit values comes out one bit low, and
 * the crc32 instruction that reduces it multiplies by x^32).
 */
#include "migrate/crc32c.h"

#include <string.h>
#ifdef __x86_64__
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

/* Four bits at a time: 0x82f63b78 is the reflected Castagnoli polynomial. */
static uint32_t nibbles(uint32_t crc, const uint8_t *p, size_t len)
{
	static const uint32_t nibble[16] = {0x00000000, 0x105ec76f, 0x20bd8ede,
		0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4,
		0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

	while (len-- > 0) {
		crc ^= *p++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return crc;
}

uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len)
{
	return ~nibbles(~crc, buf, len);
}

#ifdef __x86_64__

#define INSTRUCTION __attribute__((target("sse4.2,pclmul")))

/* Bytes of a lane, and x^(8n-33) for one and for two lanes of that length. */
#define LONG_LANE    1360u
#define SHORT_LANE   128u
#define LONG_POWER1  0x3f70cc6fu
#define LONG_POWER2  0x5aa1f3cfu
#define SHORT_POWER1 0x0d3b6092u
#define SHORT_POWER2 0xb9e02b86u

INSTRUCTION static inline uint64_t word(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* @crc moved past as many bytes as @power stands for. */
INSTRUCTION static inline uint64_t shift(uint64_t crc, uint64_t power)
{
	__m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)crc),
		_mm_cvtsi64_si128((int64_t)power), 0);

	return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

/* One block: three lanes of @lane bytes each. */
INSTRUCTION static inline uint64_t block(uint64_t crc, const uint8_t *p,
	size_t lane, uint64_t power1, uint64_t power2)
{
	uint64_t b = 0, c = 0;
	size_t i;

	for (i = 0; i < lane; i += 8) {
		crc = _mm_crc32_u64(crc, word(p + i));
		b = _mm_crc32_u64(b, word(p + lane + i));
		c = _mm_crc32_u64(c, word(p + 2 * lane + i));
	}
	return shift(crc, power2) ^ shift(b, power1) ^ c;
}

INSTRUCTION static uint32_t instruction(
	uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t wide = crc;

	for (; len >= 3 * LONG_LANE; p += 3 * LONG_LANE, len -= 3 * LONG_LANE)
		wide = block(wide, p, LONG_LANE, LONG_POWER1, LONG_POWER2);
	for (; len >= 3 * SHORT_LANE;
		p += 3 * SHORT_LANE, len -= 3 * SHORT_LANE)
		wide = block(wide, p, SHORT_LANE, SHORT_POWER1, SHORT_POWER2);
	for (; len >= 8; p += 8, len -= 8)
		wide = _mm_crc32_u64(wide, word(p));
	for (; len > 0; p++, len--)
		wide = _mm_crc32_u8((uint32_t)wide, *p);
	return (uint32_t)wide;
}

bool crc32c_has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2") &&
	       __builtin_cpu_supports("pclmul");
}

uint32_t crc32c_instruction(uint32_t crc, const void *buf, size_t len)
{
	return ~instruction(~crc, buf, len);
}

#else

bool crc32c_has_instruction(void)
{
	return false;
}

uint32_t crc32c_instruction(uint32_t crc, const void *buf, size_t len)
{
	return crc32c_portable(crc, buf, len);
}

#endif

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	return crc32c_has_instruction() ? crc32c_instruction(crc, buf, len)
					: crc32c_portable(crc, buf, len);
}
