/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/aml.c - see aml.h.  Knows the encoding (ACPI 6.5, chapter 20), not
 * our machine. */
#include "vmm/x86/aml.h"

#include <assert.h>
#include <string.h>

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_QWORD = 0x0e,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_MULTI_NAME = 0x2f,
	OP_EXT = 0x5b,
	OP_EXT_MUTEX = 0x01,
	OP_EXT_ACQUIRE = 0x23,
	OP_EXT_RELEASE = 0x27,
	OP_EXT_REGION = 0x80,
	OP_EXT_FIELD = 0x81,
	OP_EXT_DEVICE = 0x82,
	OP_ROOT = 0x5c,
	OP_LOCAL0 = 0x60,
	OP_ARG0 = 0x68,
	OP_IF = 0xa0,
	OP_WHILE = 0xa2,
};

#define REGION_SYSTEM_IO   1u
#define FIELD_ACCESS_DWORD 3u

#define PKGLEN_MAX 4u

void aml_put(struct aml *aml, const void *bytes, uint32_t len)
{
	if (len > aml->cap - aml->len) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->buf + aml->len, bytes, len);
	aml->len += len;
}

static void put_le(struct aml *aml, uint64_t value, unsigned len)
{
	uint8_t bytes[8];
	unsigned i;

	for (i = 0; i < len; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	aml_put(aml, bytes, len);
}

static void put_name(struct aml *aml, const char *name)
{
	assert(strlen(name) == 4);
	aml_put(aml, name, 4);
}

uint32_t aml_open_scope(struct aml *aml, const char *name)
{
	uint32_t block;

	put_le(aml, OP_SCOPE, 1);
	block = aml->len;
	put_name(aml, name);
	return block;
}

uint32_t aml_open_device(struct aml *aml, const char *name)
{
	uint32_t block;

	put_le(aml, OP_EXT, 1);
	put_le(aml, OP_EXT_DEVICE, 1);
	block = aml->len;
	put_name(aml, name);
	return block;
}

uint32_t aml_open_package(struct aml *aml, uint8_t elements)
{
	uint32_t block;

	put_le(aml, OP_PACKAGE, 1);
	block = aml->len;
	put_le(aml, elements, 1);
	return block;
}

uint32_t aml_open_method(struct aml *aml, const char *name, unsigned args)
{
	uint32_t block;

	assert(args < 7);
	put_le(aml, OP_METHOD, 1);
	block = aml->len;
	put_name(aml, name);
	put_le(aml, args, 1);
	return block;
}

uint32_t aml_open_if(struct aml *aml)
{
	put_le(aml, OP_IF, 1);
	return aml->len;
}

uint32_t aml_open_while(struct aml *aml)
{
	put_le(aml, OP_WHILE, 1);
	return aml->len;
}

uint32_t aml_open_field(struct aml *aml, const char *region)
{
	uint32_t block;

	put_le(aml, OP_EXT, 1);
	put_le(aml, OP_EXT_FIELD, 1);
	block = aml->len;
	put_name(aml, region);
	put_le(aml, FIELD_ACCESS_DWORD, 1);
	return block;
}

/* The length counts its own bytes; the shortest form is chosen.
 * Return: bytes in @out. */
static unsigned encode_pkglen(uint32_t body, uint8_t out[PKGLEN_MAX])
{
	unsigned n = 1, i;
	uint32_t total;

	if (body + 1 > 0x3f)
		for (n = 2; n < PKGLEN_MAX && body + n >= 1u << (8 * n - 4);)
			n++;
	total = body + n;
	if (n == 1) {
		out[0] = (uint8_t)total;
		return 1;
	}
	assert(total < 1u << 28);
	out[0] = (uint8_t)((n - 1) << 6 | (total & 0xf));
	for (i = 1; i < n; i++)
		out[i] = (uint8_t)(total >> (8 * i - 4));
	return n;
}

void aml_close(struct aml *aml, uint32_t block)
{
	uint8_t pkglen[PKGLEN_MAX];
	uint32_t body = aml->len - block;
	unsigned n = encode_pkglen(body, pkglen);

	if (aml->overflow || n > aml->cap - aml->len) {
		aml->overflow = true;
		return;
	}
	/* Contents hold no offsets, so they may move to make room. */
	memmove(aml->buf + block + n, aml->buf + block, body);
	memcpy(aml->buf + block, pkglen, n);
	aml->len += n;
}

void aml_name(struct aml *aml, const char *name)
{
	put_le(aml, OP_NAME, 1);
	put_name(aml, name);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		put_le(aml, value ? OP_ONE : OP_ZERO, 1);
	} else if (value <= UINT8_MAX) {
		put_le(aml, OP_BYTE, 1);
		put_le(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		put_le(aml, OP_WORD, 1);
		put_le(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		put_le(aml, OP_DWORD, 1);
		put_le(aml, value, 4);
	} else {
		put_le(aml, OP_QWORD, 1);
		put_le(aml, value, 8);
	}
}

void aml_region_io(
	struct aml *aml, const char *name, uint16_t port, uint16_t len)
{
	put_le(aml, OP_EXT, 1);
	put_le(aml, OP_EXT_REGION, 1);
	put_name(aml, name);
	put_le(aml, REGION_SYSTEM_IO, 1);
	aml_integer(aml, port);
	aml_integer(aml, len);
}

void aml_field(struct aml *aml, const char *name, unsigned bits)
{
	assert(bits < 64); /* a length of one byte, not counting itself */
	put_name(aml, name);
	put_le(aml, bits, 1);
}

void aml_mutex(struct aml *aml, const char *name)
{
	put_le(aml, OP_EXT, 1);
	put_le(aml, OP_EXT_MUTEX, 1);
	put_name(aml, name);
	put_le(aml, 0, 1); /* sync level */
}

void aml_acquire(struct aml *aml, const char *mutex)
{
	put_le(aml, OP_EXT, 1);
	put_le(aml, OP_EXT_ACQUIRE, 1);
	put_name(aml, mutex);
	put_le(aml, 0xffff, 2);
}

void aml_release(struct aml *aml, const char *mutex)
{
	put_le(aml, OP_EXT, 1);
	put_le(aml, OP_EXT_RELEASE, 1);
	put_name(aml, mutex);
}

void aml_op(struct aml *aml, enum aml_op op)
{
	put_le(aml, op, 1);
}

void aml_local(struct aml *aml, unsigned n)
{
	assert(n < 8);
	put_le(aml, OP_LOCAL0 + n, 1);
}

void aml_arg(struct aml *aml, unsigned n)
{
	assert(n < 7);
	put_le(aml, OP_ARG0 + n, 1);
}

void aml_path(struct aml *aml, const char *path)
{
	size_t len = strlen(path);
	const char *p;

	if (path[0] != '\\') {
		put_name(aml, path);
		return;
	}
	assert(len % 5 == 0 && len / 5 <= UINT8_MAX);
	put_le(aml, OP_ROOT, 1);
	put_le(aml, OP_MULTI_NAME, 1);
	put_le(aml, len / 5, 1);
	/* A separator, then four characters. */
	for (p = path; p < path + len; p += 5)
		aml_put(aml, p + 1, 4);
}

void aml_buffer(struct aml *aml, const void *bytes, uint32_t len)
{
	uint32_t block;

	put_le(aml, OP_BUFFER, 1);
	block = aml->len;
	aml_integer(aml, len);
	aml_put(aml, bytes, len);
	aml_close(aml, block);
}

void aml_string(struct aml *aml, const char *text)
{
	put_le(aml, OP_STRING, 1);
	aml_put(aml, text, (uint32_t)strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
	assert((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'));
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A') + 10;
}

void aml_eisaid(struct aml *aml, const char *id)
{
	uint32_t value;

	assert(strlen(id) == 7);
	value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
		(uint32_t)(id[2] - '@') << 16 | hex_digit(id[3]) << 12 |
		hex_digit(id[4]) << 8 | hex_digit(id[5]) << 4 |
		hex_digit(id[6]);
	/* Stored with its bytes reversed. */
	put_le(aml, OP_DWORD, 1);
	put_le(aml, __builtin_bswap32(value), 4);
}

void aml_put_resources(struct aml *aml, const struct aml_resources *res)
{
	static const uint8_t end_tag[] = {0x79, 0}; /* 0: no checksum */
	uint32_t block;

	put_le(aml, OP_BUFFER, 1);
	block = aml->len;
	aml_integer(aml, res->len + sizeof(end_tag));
	aml_put(aml, res->bytes, res->len);
	aml_put(aml, end_tag, sizeof(end_tag));
	aml_close(aml, block);
}

static void add(struct aml_resources *res, const uint8_t *bytes, uint32_t len)
{
	/* Our own templates are short: running out is a bug of the caller. */
	assert(len <= AML_RESOURCES_MAX - res->len);
	memcpy(res->bytes + res->len, bytes, len);
	res->len += len;
}

void aml_resource_io(struct aml_resources *res, uint16_t port, uint8_t len)
{
	const uint8_t lo = (uint8_t)port, hi = (uint8_t)(port >> 8);
	/* tag, 16-bit decode, lowest, highest, alignment, length */
	const uint8_t io[] = {0x47, 1, lo, hi, lo, hi, 1, len};

	add(res, io, sizeof(io));
}

void aml_resource_irq(struct aml_resources *res, unsigned irq)
{
	/* tag, bit mask; without a third byte: edge, active high */
	const uint8_t small[] = {
		0x22, (uint8_t)(1u << irq), (uint8_t)(1u << irq >> 8)};

	assert(irq < 16);
	add(res, small, sizeof(small));
}

static void le32(uint8_t *out, uint32_t value)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

void aml_resource_memory(struct aml_resources *res, uint32_t gpa, uint32_t size)
{
	/* tag, length, read-write, base, size */
	uint8_t fixed[12] = {0x86, 9, 0, 1};

	le32(fixed + 4, gpa);
	le32(fixed + 8, size);
	add(res, fixed, sizeof(fixed));
}

void aml_resource_gsi(struct aml_resources *res, uint32_t gsi)
{
	/* tag, length, consumer and edge, one number */
	uint8_t ext[9] = {0x89, 6, 0, 0x03, 1};

	le32(ext + 5, gsi);
	add(res, ext, sizeof(ext));
}
