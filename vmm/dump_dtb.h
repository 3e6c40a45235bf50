/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/dump_dtb.h - `godwit run --dump-dtb FILE`. */
#ifndef GODWIT_VMM_DUMP_DTB_H
#define GODWIT_VMM_DUMP_DTB_H

struct config;
struct error;

/**
 * dump_dtb - write the device tree that --machine fdt would hand over.
 * An initrd's place is settled only when a kernel is loaded, so the tree is
 * that of a machine without one.  What was in the file is replaced; a
 * regular file that could not be written whole is removed.
 * @cfg: dump_dtb names the file.
 * Return: 0, or -errno with @err.
 */
int dump_dtb(const struct config *cfg, struct error *err);

#endif
