/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/boot.c - reads hvm_start_info and boot_params where they lie.
 * Nothing is copied: the guests leave low memory alone but for LOW_*, and
 * allocate (memory.c) only behind the image.
 *
 * Source: Xen public/arch-x86/hvm/start_info.h; Linux boot.rst, zero-page.rst.
 */
#include <stddef.h>

#include "kernels/lib/boot.h"
#include "kernels/lib/console.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"

#define HVM_MAGIC    0x336ec578u
#define ZP_E820_N    0x1e8
#define ZP_CMDLINE   0x228
#define ZP_E820	     0x2d0
#define ZP_E820_SIZE 20u
#define ZP_E820_MAX  128u
#define RAM_TYPE     1u

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_gpa, cmdline_gpa, rsdp_gpa;
	/* version 1 */
	uint64_t memmap_gpa;
	uint32_t memmap_entries, reserved;
};

struct hvm_memmap {
	uint64_t gpa, size;
	uint32_t type, reserved;
};

/* The boot CPU fills this before anything else runs. */
static struct {
	uint32_t kind;
	uint64_t info;
	const char *cmdline;
} boot;

static uint32_t load32(uint64_t gpa)
{
	return *(const uint32_t *)gpa;
}

static uint64_t load64(uint64_t gpa)
{
	return load32(gpa) | (uint64_t)load32(gpa + 4) << 32;
}

static const char *find_cmdline(void)
{
	const struct hvm_start_info *si;
	uint64_t gpa;

	if (boot.kind == START_PVH) {
		si = (const void *)boot.info;
		page_map(boot.info, sizeof(*si));
		gpa = si->magic == HVM_MAGIC ? si->cmdline_gpa : 0;
	} else {
		page_map(boot.info, 4096);
		gpa = load32(boot.info + ZP_CMDLINE);
	}
	if (gpa == 0)
		return "";
	page_map(gpa, 65536);
	return (const char *)gpa;
}

void guest_start(uint32_t kind, uint64_t info)
{
	boot.kind = kind;
	boot.info = info;
	boot.cmdline = find_cmdline();
	console_init();
	guest_exit(guest_main());
}

const char *boot_entry_name(void)
{
	if (boot.kind == START_PVH)
		return "pvh";
	return boot.kind == START_LINUX64 ? "linux64" : "linux32";
}

const char *boot_cmdline(void)
{
	return boot.cmdline;
}

static bool is_end(char c)
{
	return c == '\0' || c == ' ' || c == '\t' || c == '\n';
}

const char *boot_word(const char *key, unsigned nth)
{
	const char *p = boot.cmdline;
	size_t len = strlen(key), i;

	while (*p != '\0') {
		while (*p != '\0' && is_end(*p))
			p++;
		for (i = 0; i < len && p[i] == key[i]; i++)
			;
		if (i == len && (p[i] == '=' || is_end(p[i])) && nth-- == 0)
			return p[i] == '=' ? p + i + 1 : "";
		while (!is_end(*p))
			p++;
	}
	return NULL;
}

uint64_t boot_number(const char *key, uint64_t otherwise)
{
	const char *word = boot_word(key, 0), *end;
	uint64_t v;

	if (word == NULL)
		return otherwise;
	v = parse_uint(word, &end);
	return end == word ? otherwise : v;
}

bool word_is(const char *value, const char *text)
{
	while (*text != '\0')
		if (*value++ != *text++)
			return false;
	return is_end(*value) || *value == ':';
}

static unsigned pvh_ram(struct boot_ram *ret)
{
	const struct hvm_start_info *si = (const void *)boot.info;
	const struct hvm_memmap *map;
	unsigned i, n = 0;

	if (si->version < 1 || si->memmap_gpa == 0)
		return 0;
	map = (const void *)si->memmap_gpa;
	page_map(si->memmap_gpa, 65536);
	for (i = 0; i < si->memmap_entries && n < BOOT_RAM_MAX; i++)
		if (map[i].type == RAM_TYPE)
			ret[n++] = (struct boot_ram){map[i].gpa, map[i].size};
	return n;
}

unsigned boot_ram_map(struct boot_ram *ret)
{
	unsigned i, n = 0, count;
	uint64_t at;

	if (boot.kind == START_PVH)
		return pvh_ram(ret);
	count = *(const uint8_t *)(boot.info + ZP_E820_N);
	for (i = 0; i < count && i < ZP_E820_MAX && n < BOOT_RAM_MAX; i++) {
		at = boot.info + ZP_E820 + i * ZP_E820_SIZE;
		if (load32(at + 16) == RAM_TYPE)
			ret[n++] =
				(struct boot_ram){load64(at), load64(at + 8)};
	}
	return n;
}
