/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/boot_fuzz.h - boot_load() on a hostile file, for the two fuzzers.
 *
 * Input: the file, then BOOT_FUZZ_TAIL bytes that bend the request.  Guest RAM
 * is a mapping between inaccessible pages, so a write past it faults even where
 * the sanitizer sees plain mmap()ed memory.
 */
#ifndef GODWIT_TESTS_FUZZ_BOOT_FUZZ_H
#define GODWIT_TESTS_FUZZ_BOOT_FUZZ_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/layout.h"
#include "vmm/x86/boot.h"

#define BOOT_FUZZ_TAIL 4u
#define BOOT_FUZZ_RAM  (UINT64_C(8) << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t *boot_fuzz_map(void)
{
	uint8_t *area = mmap(NULL, BOOT_FUZZ_RAM + 2 * GUESTMEM_PAGE, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert(area != MAP_FAILED);
	assert(mprotect(area + GUESTMEM_PAGE, BOOT_FUZZ_RAM,
		       PROT_READ | PROT_WRITE) == 0);
	return area + GUESTMEM_PAGE;
}

/* The promises of boot.h that hold whatever the file says. */
static void boot_fuzz_check(
	int code, const struct boot_entry *entry, const struct error *err)
{
	if (code < 0) {
		assert(err->code == code);
		assert(err->text[0] != '\0');
		return;
	}
	assert(code == 0);
	assert(entry->protocol != BOOT_AUTO);
	assert(entry->rip >= LAYOUT_KERNEL && entry->rip < BOOT_FUZZ_RAM);
	assert((entry->rbx != 0) == (entry->protocol == BOOT_PVH));
	assert((entry->rsi != 0) == (entry->protocol != BOOT_PVH));
	assert((entry->cr3 != 0) == (entry->protocol == BOOT_LINUX64));
}

/* @data: a heap block, so that a read past it is caught. */
static void boot_fuzz_load(const uint8_t *data, size_t size)
{
	static uint8_t *ram;
	static const uint8_t initrd_bytes[5000];
	const uint8_t *tail = data + size - BOOT_FUZZ_TAIL;
	struct guestmem gm = {.size = BOOT_FUZZ_RAM, .regions = 1, .fd = -1};
	struct image kernel, initrd;
	struct boot_spec spec = {.kernel = &kernel, .cmdline = "a=b -- c"};
	struct boot_entry entry = {.protocol = BOOT_AUTO};
	struct error err = {.code = 0};

	if (!ram)
		ram = boot_fuzz_map();
	gm.base = ram;
	gm.region[0].size = BOOT_FUZZ_RAM;
	image_from_mem(&kernel, data, size - BOOT_FUZZ_TAIL);
	image_from_mem(&initrd, initrd_bytes, sizeof(initrd_bytes));
	spec.machine = tail[0] % 3;
	spec.protocol = tail[1] % 4;
	spec.cpus = 1 + tail[2] % 8;
	spec.cpus_max = spec.cpus + tail[2] / 8;
	spec.virtio_devices = tail[3] % (LAYOUT_VIRTIO_MAX + 1);
	spec.serial = tail[3] & 0x20;
	spec.pvpanic = tail[3] & 0x40;
	if (tail[3] & 0x80)
		spec.initrd = &initrd;
	boot_fuzz_check(boot_load(&spec, &gm, &entry, &err), &entry, &err);
}

/* boot_fuzz_load() of a copy that has @magic at @off. */
static void boot_fuzz_with_magic(const uint8_t *data, size_t size, size_t off,
	const void *magic, size_t len)
{
	uint8_t *copy;

	if (size < off + len + BOOT_FUZZ_TAIL)
		return;
	copy = malloc(size);
	assert(copy);
	memcpy(copy, data, size);
	memcpy(copy + off, magic, len);
	boot_fuzz_load(copy, size);
	free(copy);
}

#endif
