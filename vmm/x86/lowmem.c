/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/lowmem.c - see lowmem.h.  Loads no kernel and sets no register. */
#include "vmm/x86/lowmem.h"

#include <assert.h>
#include <string.h>

#include "vmm/layout.h"

#define PAGE_PRESENT 0x1u
#define PAGE_WRITE   0x2u
#define PAGE_HUGE    0x80u
#define HUGE_BYTES   UINT64_C(0x200000)
#define TABLE_BYTES  UINT64_C(0x1000)
#define TABLE_SLOTS  512u
#define GIB_TABLES   4u /* page directories: 1 GiB each */

unsigned lowmem_map(
	const struct guestmem *gm, struct lowmem_range map[LOWMEM_MAP_MAX])
{
	unsigned i, n = 0;

	assert(gm->regions >= 1 && gm->region[0].gpa == 0);
	assert(gm->region[0].size > LAYOUT_KERNEL);
	map[n++] = (struct lowmem_range){0, LAYOUT_EBDA, LOWMEM_RAM};
	map[n++] = (struct lowmem_range){
		LAYOUT_EBDA, LAYOUT_KERNEL - LAYOUT_EBDA, LOWMEM_RESERVED};
	map[n++] = (struct lowmem_range){
		LAYOUT_KERNEL, gm->region[0].size - LAYOUT_KERNEL, LOWMEM_RAM};
	for (i = 1; i < gm->regions; i++)
		map[n++] = (struct lowmem_range){
			gm->region[i].gpa, gm->region[i].size, LOWMEM_RAM};
	return n;
}

void lowmem_write_gdt(const struct guestmem *gm, bool long_mode)
{
	/* Accessed and present already, so that no CPU writes to the table. */
	const uint64_t gdt[LOWMEM_GDT_BYTES / 8] = {
		[LOWMEM_SEL_CODE / 8] = long_mode
						? UINT64_C(0x00af9b000000ffff)
						: UINT64_C(0x00cf9b000000ffff),
		[LOWMEM_SEL_DATA / 8] = UINT64_C(0x00cf93000000ffff),
		[LOWMEM_SEL_TSS / 8] = UINT64_C(0x00008b0000000067),
	};
	bool ok = guestmem_write(gm, LAYOUT_GDT, gdt, sizeof(gdt));

	assert(ok);
}

void lowmem_write_page_tables(const struct guestmem *gm)
{
	const uint64_t bytes = (2 + GIB_TABLES) * TABLE_BYTES;
	const uint64_t link = PAGE_PRESENT | PAGE_WRITE;
	uint64_t *pml4 = guestmem_at(gm, LAYOUT_PAGE_TABLES, bytes);
	uint64_t *pdpt, *pd;
	unsigned i;

	assert(pml4);
	memset(pml4, 0, 2 * TABLE_BYTES);
	pdpt = pml4 + TABLE_SLOTS;
	pd = pdpt + TABLE_SLOTS;
	pml4[0] = (LAYOUT_PAGE_TABLES + TABLE_BYTES) | link;
	for (i = 0; i < GIB_TABLES; i++)
		pdpt[i] = (LAYOUT_PAGE_TABLES + (2 + i) * TABLE_BYTES) | link;
	for (i = 0; i < GIB_TABLES * TABLE_SLOTS; i++)
		pd[i] = i * HUGE_BYTES | link | PAGE_HUGE;
	guestmem_mark_dirty(gm, LAYOUT_PAGE_TABLES, bytes);
}

void lowmem_write_reset_vector(const struct guestmem *gm)
{
	const uint16_t port = LAYOUT_PIO_POWER + LAYOUT_POWER_RESET_REG;
	const uint8_t code[] = {
		0xba, (uint8_t)port, (uint8_t)(port >> 8), /* mov dx, port */
		0xb0, LAYOUT_POWER_RESET,		   /* mov al, value */
		0xee,					   /* out dx, al */
		0xf4,					   /* hlt */
		0xeb, 0xfd,				   /* jmp to hlt */
	};

	_Static_assert(sizeof(code) <= 16, "ends at 1 MiB");
	if (!guestmem_write(gm, LAYOUT_RESET_VECTOR, code, sizeof(code)))
		assert(!"RAM reaches beyond 1 MiB");
}
