/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_snapshot.c - hostile snapshot files: raw, and with right
 * checksums.
 *
 * Byte 0 selects: 0, the rest is the file.  Else it is the first 116 bytes of a
 * header, which gets its checksum, and what lies from byte 4096 on, of which
 * bit 1 says that it gets its checksums, too, and bit 2 that the file is as
 * long as the header has it.  What opens is read.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/snapshot.h"
#include "migrate/snapshot_format.h"
#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define FIELDS	  116u
#define FILE_MAX  (64u << 20)
#define RAM_MAX	  (16u << 20)
#define FIX_SUMS  2u
#define FULL_SIZE 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static void sum(uint8_t *dst, const uint8_t *file, size_t size, uint64_t at,
	uint64_t len)
{
	uint32_t crc;

	if (at > size || len > size - at)
		return;
	crc = state_crc32c(0, file + at, len);
	memcpy(dst, &crc, 4);
}

static void fix(uint8_t *file, size_t size, bool body)
{
	if (body) {
		sum(file + 104, file, size, get64(file + 48), get64(file + 56));
		sum(file + 108, file, size, get64(file + 64), get64(file + 72));
		sum(file + 112, file, size, get64(file + 80), get64(file + 88));
	}
	sum(file + 4092, file, size, 0, 4092);
}

/* What opened is consistent, and can be read or says why not. */
static void use(struct snapshot *s)
{
	struct guestmem_options opt = {.size = snapshot_ram_bytes(s)};
	struct snapshot_options how = {.buffered = true};
	struct guestmem gm;
	struct error err;
	size_t len, i;
	uint32_t all = 0;
	int code;

	assert(strlen(snapshot_description(s)) > 0);
	for (i = 0; i < strlen(snapshot_description(s)); i++)
		all += (uint8_t)snapshot_description(s)[i];
	snapshot_state(s, &len);
	for (i = 0; i < len; i++)
		all += snapshot_state(s, &len)[i];
	assert(all < UINT32_MAX);
	assert(opt.size > 0 && opt.size % 4096 == 0);
	if (opt.size > RAM_MAX || guestmem_init(&gm, &opt, &err) < 0)
		return;
	code = snapshot_read(s, &gm, &how, &err);
	assert(code == 0 || code == -EBADMSG || code == -EIO);
	guestmem_fini(&gm);
}

static void try_file(const uint8_t *file, size_t size, uint64_t full)
{
	struct snapshot *s = NULL;
	struct error err;
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC), code;

	assert(fd >= 0);
	if (write(fd, file, size) != (ssize_t)size ||
		(full > size && ftruncate(fd, (off_t)full) < 0))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	code = snapshot_open(path, &s, &err);
	if (code == 0)
		use(s);
	else
		assert(!s && (code == -EPROTO || code == -EBADMSG));
	snapshot_close(s);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t full = 0;
	uint8_t *file;
	size_t rest;

	if (size < 1 || data[0] == 0) {
		try_file(data + 1, size > 0 ? size - 1 : 0, 0);
		return 0;
	}
	if (size < 1 + FIELDS)
		return 0;
	rest = size - 1 - FIELDS;
	file = calloc(1, SNAPSHOT_HEADER_BYTES + rest);
	assert(file);
	memcpy(file, data + 1, FIELDS);
	memcpy(file + SNAPSHOT_HEADER_BYTES, data + 1 + FIELDS, rest);
	fix(file, SNAPSHOT_HEADER_BYTES + rest, data[0] & FIX_SUMS);
	if (data[0] & FULL_SIZE)
		full = get64(file + 40);
	if (full <= FILE_MAX)
		try_file(file, SNAPSHOT_HEADER_BYTES + rest, full);
	free(file);
	return 0;
}
