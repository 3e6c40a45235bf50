/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/boot.h - put a kernel and its description into guest RAM.
 *
 * Formats: bzImage (64-bit entry, boot protocol 2.12+; 32-bit entry as the
 * fallback), ELF with a PVH note, plain ELF64 at the Linux 64-bit entry.
 * Pure functions of (spec, RAM): no KVM, no global state, safe on hostile
 * files.  Called again for a guest reset.
 */
#ifndef GODWIT_VMM_X86_BOOT_H
#define GODWIT_VMM_X86_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct guestmem;
struct image;

/* How the guest learns of its devices. */
enum boot_machine { BOOT_MACHINE_ACPI, BOOT_MACHINE_FDT, BOOT_MACHINE_CMDLINE };

/* Which entry point; AUTO prefers PVH for ELF, 64-bit for bzImage. */
enum boot_protocol {
	BOOT_AUTO,
	BOOT_PVH,     /* 32-bit protected mode, ebx = hvm_start_info */
	BOOT_LINUX64, /* long mode, rsi = boot_params */
	BOOT_LINUX32, /* 32-bit protected mode, esi = boot_params */
};

/* What the tables tell the guest; every pointer is borrowed. */
struct boot_spec {
	const struct image *kernel;
	const struct image *initrd; /* NULL: none */
	const char *cmdline;	    /* what the user gave, may be "" */
	enum boot_machine machine;
	enum boot_protocol protocol;
	unsigned cpus;		 /* present at start; APIC ids 0 .. cpus - 1 */
	unsigned cpus_max;	 /* listed in MADT; >= cpus */
	const bool *cpu_present; /* by id, cpus_max of them, instead of cpus;
				  * ACPI only; NULL: the first cpus ones */
	bool cpu_hotplug;	 /* they come and go: ACPI only */
	unsigned virtio_devices; /* slots 0 .. n - 1 of vmm/layout.h */
	bool serial;		 /* COM1 is there */
	bool pvpanic;
};

/* Register values of the boot CPU; APs wait for INIT/SIPI. */
struct boot_entry {
	enum boot_protocol protocol; /* never BOOT_AUTO */
	uint64_t rip;
	uint64_t rsi; /* boot_params gpa (LINUX64, LINUX32), else 0 */
	uint64_t rbx; /* hvm_start_info gpa (PVH), else 0 */
	uint64_t rsp; /* LAYOUT_BOOT_STACK */
	uint64_t cr3; /* identity map of 4 GiB (LINUX64), else 0 */
};

/**
 * boot_load - write kernel, initrd, command line, tables, GDT and page tables.
 * @gm: RAM; nothing outside it is touched, earlier content may remain.
 * Return: 0, or -errno with @err naming file, reason and remedy: -ENOEXEC (not
 *         a kernel we know), -EFBIG (does not fit into RAM), -E2BIG (command
 *         line), -EINVAL (header lies), I/O errors of the file.
 * Source: Linux Documentation/arch/x86/boot.rst; Xen docs/misc/pvh.pandoc;
 *         ACPI 6.5; Devicetree specification 0.4; Intel MP spec 1.4.
 */
int boot_load(const struct boot_spec *spec, struct guestmem *gm,
	struct boot_entry *ret_entry, struct error *err);

/**
 * boot_fdt_build - the device tree of --machine fdt (also --dump-dtb).
 * @cmdline: /chosen bootargs.  @initrd_gpa, @initrd_size: 0, 0 for none.
 * Return: 0 and a malloc'd blob of *ret_size bytes, or -errno.
 */
int boot_fdt_build(const struct boot_spec *spec, const struct guestmem *gm,
	const char *cmdline, uint64_t initrd_gpa, uint64_t initrd_size,
	void **ret_blob, size_t *ret_size, struct error *err);

#endif
