/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/memory.c - a bump allocator and 2 MiB mappings.  Tables are made
 * on demand: filling them costs real time where kernel code is emulated.
 */
#include <stddef.h>

#include "kernels/lib/console.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"

#define PTE_PRESENT 0x01u
#define PTE_TABLE   0x07u /* present, writable, user */
#define PTE_BLOCK   0x87u
#define PTE_ADDR    0x000ffffffffff000ull

extern uint64_t boot_pml4[512];
extern char guest_end[];

static uint64_t next_gpa; /* 0: nothing allocated yet */

uint64_t page_alloc_end(void)
{
	return next_gpa != 0 ? next_gpa : (uint64_t)guest_end;
}

void *page_alloc(unsigned pages)
{
	uint64_t gpa = page_alloc_end();

	next_gpa = gpa + pages * PAGE_SIZE;
	/* start.S maps 4 MiB; a table for more may come from those. */
	if (next_gpa > 2 * BLOCK_SIZE - PAGE_SIZE)
		page_map(gpa, pages * PAGE_SIZE);
	memset((void *)gpa, 0, pages * PAGE_SIZE);
	return (void *)gpa;
}

static uint64_t *table_at(uint64_t *entry)
{
	if ((*entry & PTE_PRESENT) == 0)
		*entry = (uint64_t)page_alloc(1) | PTE_TABLE;
	return (uint64_t *)(*entry & PTE_ADDR);
}

void page_map_block(uint64_t va, uint64_t gpa)
{
	uint64_t *pdpt = table_at(&boot_pml4[va >> 39 & 511]);
	uint64_t *pd = table_at(&pdpt[va >> 30 & 511]);

	if ((pd[va >> 21 & 511] & PTE_PRESENT) == 0)
		pd[va >> 21 & 511] = gpa | PTE_BLOCK;
}

void page_map(uint64_t gpa, uint64_t size)
{
	uint64_t end = gpa + size;

	if (end <= 2 * BLOCK_SIZE)
		return;
	for (gpa &= ~(BLOCK_SIZE - 1); gpa < end; gpa += BLOCK_SIZE)
		page_map_block(gpa, gpa);
}

/* No stale translation: reload them all. */
static void reload(void)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(boot_pml4) : "memory");
}

void page_user_block(uint64_t gpa)
{
	uint64_t *pdpt = (uint64_t *)(boot_pml4[gpa >> 39 & 511] & PTE_ADDR);
	uint64_t *pd = (uint64_t *)(pdpt[gpa >> 30 & 511] & PTE_ADDR);

	pd[gpa >> 21 & 511] |= PTE_TABLE;
	reload();
}

void page_user_image(void)
{
	uint64_t *pdpt = (uint64_t *)(boot_pml4[0] & PTE_ADDR);
	uint64_t *pd = (uint64_t *)(pdpt[0] & PTE_ADDR);

	pd[0] |= PTE_TABLE;
	pd[1] |= PTE_TABLE;
	reload();
}
