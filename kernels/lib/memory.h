/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/memory.h - pages behind the image, and what is mapped.
 *
 * All mappings are readable and writable by kernel and user mode alike; the
 * guests protect nothing from themselves.
 */
#ifndef GODWIT_KERNELS_LIB_MEMORY_H
#define GODWIT_KERNELS_LIB_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_SIZE  4096ull
#define BLOCK_SIZE 0x200000ull /* what one page directory entry maps */

/* Identity-map [gpa, gpa + size); what is mapped already stays.  Boot CPU
 * only. */
void page_map(uint64_t gpa, uint64_t size);

/* Map one block at @va; both are multiples of BLOCK_SIZE.  Boot CPU only. */
void page_map_block(uint64_t va, uint64_t gpa);

/* @pages zeroed pages, identity-mapped, never freed; the guest ends with a
 * message when there are none.  Boot CPU only. */
void *page_alloc(unsigned pages);

/* The first byte that page_alloc() has not given away. */
uint64_t page_alloc_end(void);

/* What start.S maps is the kernel's alone: let user mode at the image too, and
 * at the block around @gpa, which is mapped. */
void page_user_image(void);
void page_user_block(uint64_t gpa);

#endif
