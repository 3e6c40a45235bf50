/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/bzimage.h - load a Linux bzImage.  Private to vmm/x86. */
#ifndef GODWIT_VMM_X86_BZIMAGE_H
#define GODWIT_VMM_X86_BZIMAGE_H

#include <stdbool.h>

#include "vmm/x86/loader.h"

/* Does the file carry the magic of the Linux boot protocol? */
bool bzimage_probe(const struct image *img);

/**
 * bzimage_load - place the protected-mode part of spec->kernel in RAM.
 * @gm: RAM beyond 1 MiB.
 * Return: 0 and *ret filled in; -ENOEXEC (too old, or no such entry), -EINVAL
 *         (the header contradicts itself or the file), -EFBIG (RAM), I/O.
 * Source: Linux Documentation/arch/x86/boot.rst.
 */
int bzimage_load(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_kernel *ret, struct error *err);

#endif
