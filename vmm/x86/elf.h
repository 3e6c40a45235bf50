/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/elf.h - load an ELF kernel.  Private to vmm/x86. */
#ifndef GODWIT_VMM_X86_ELF_H
#define GODWIT_VMM_X86_ELF_H

#include <stdbool.h>

#include "vmm/x86/loader.h"

/* Does the file begin as an ELF of any kind? */
bool elf_probe(const struct image *img);

/**
 * elf_load - place the PT_LOAD segments of spec->kernel at their physical
 * addresses, with the rest of each zeroed.
 *
 * BOOT_AUTO takes the PVH entry where the file notes one, and otherwise, or if
 * the machine needs boot_params (device tree), the 64-bit entry.
 *
 * @gm: RAM beyond 1 MiB.
 * Return: 0 and *ret filled in; -ENOEXEC (not for this CPU, no such entry),
 *         -EINVAL (contradicts itself or the file), -EFBIG (RAM), I/O.
 * Source: ELF gABI chapters 4, 5; Xen public/elfnote.h, docs/misc/pvh.pandoc.
 */
int elf_load(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_kernel *ret, struct error *err);

#endif
