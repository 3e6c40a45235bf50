/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/lowmem.h - what every entry point finds below 1 MiB: descriptors,
 * page tables, and the memory map that is told to the guest.
 */
#ifndef GODWIT_VMM_X86_LOWMEM_H
#define GODWIT_VMM_X86_LOWMEM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/guestmem.h"

/* Selectors of the GDT at LAYOUT_GDT; the TSS takes two slots in long mode. */
#define LOWMEM_SEL_CODE	 0x10u
#define LOWMEM_SEL_DATA	 0x18u
#define LOWMEM_SEL_TSS	 0x20u
#define LOWMEM_GDT_BYTES 48u

/* Types of e820 and of the PVH memory map are the same numbers. */
enum lowmem_type { LOWMEM_RAM = 1, LOWMEM_RESERVED = 2 };

struct lowmem_range {
	uint64_t gpa, size; /* bytes */
	enum lowmem_type type;
};

#define LOWMEM_MAP_MAX (GUESTMEM_REGIONS_MAX + 2)

/**
 * lowmem_map - the memory map of @gm: RAM with EBDA and BIOS area cut out.
 * @gm:  only the regions are read; region 0 reaches beyond 1 MiB.
 * Shape: LOWMEM_MAP_MAX ranges, ascending, apart.
 * Return: ranges written.
 */
unsigned lowmem_map(
	const struct guestmem *gm, struct lowmem_range map[LOWMEM_MAP_MAX]);

/* Flat GDT at LAYOUT_GDT; @long_mode makes the code segment a 64-bit one.
 * RAM must reach beyond 1 MiB, as for everything here. */
void lowmem_write_gdt(const struct guestmem *gm, bool long_mode);

/* Identity map of the first 4 GiB in 2 MiB pages at LAYOUT_PAGE_TABLES. */
void lowmem_write_page_tables(const struct guestmem *gm);

/* Real-mode code at LAYOUT_RESET_VECTOR that resets the machine by its ACPI
 * register.  A kernel with hardware-reduced ACPI and no EFI runtime (Linux)
 * reboots by jumping there, as if to firmware. */
void lowmem_write_reset_vector(const struct guestmem *gm);

#endif
