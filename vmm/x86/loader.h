/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/loader.h - what the kernel loaders share: their result, what is
 * handed to the guest, and checked reads into guest RAM.  Private to vmm/x86.
 */
#ifndef GODWIT_VMM_X86_LOADER_H
#define GODWIT_VMM_X86_LOADER_H

#include <stdint.h>

#include "vmm/x86/boot.h"

/* The setup header of the Linux boot protocol: its place in the file and in
 * boot_params, and the room that boot_params has for it. */
#define LOADER_HDR_OFFSET 0x1f1u
#define LOADER_HDR_MAX	  (0x290u - LOADER_HDR_OFFSET)

/* What an x86 Linux kernel takes, if its file does not say. */
#define LOADER_LINUX_CMDLINE_MAX 2047u

/* What a loader found out about the kernel that it put into RAM. */
struct loader_kernel {
	enum boot_protocol protocol; /* never BOOT_AUTO */
	uint64_t entry;		     /* gpa */
	uint64_t load;		     /* gpa of the first byte */
	uint64_t end;	       /* gpa; nothing of the kernel at or above it */
	uint64_t initrd_last;  /* highest gpa of an initrd byte */
	uint64_t cmdline_max;  /* bytes without the NUL */
	uint32_t header_bytes; /* of header; 0: the file has none (ELF) */
	uint8_t header[LOADER_HDR_MAX]; /* raw setup header */
};

/* What boot_params and hvm_start_info tell; 0 for what there is not. */
struct loader_handover {
	uint64_t cmdline_gpa;
	uint64_t initrd_gpa, initrd_bytes;
	uint64_t rsdp_gpa;
	uint64_t setup_data_gpa;
};

/* image_read() with a message.  Return: 0, -EINVAL (past the end of the file:
 * its header lies or it is cut short), or the -errno of the read. */
int loader_read(const struct image *img, uint64_t off, void *dst, uint64_t len,
	struct error *err);

/* The same straight into RAM; [gpa, gpa + len) has been checked before. */
int loader_read_ram(const struct image *img, uint64_t off,
	const struct guestmem *gm, uint64_t gpa, uint64_t len,
	struct error *err);

/* Say what @img looks like instead of a kernel.  Return: -ENOEXEC. */
int loader_refuse(const struct image *img, struct error *err);

#endif
