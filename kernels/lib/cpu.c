/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/cpu.c - descriptor tables and the dispatch of traps.
 */
#include <stddef.h>

#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/power.h"
#include "kernels/lib/start.h"

#define STUB_SIZE 16u /* bytes a stub in trap.S takes */

struct gate {
	uint16_t offset_lo, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_hi, reserved;
};

struct table_ptr {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

extern char trap_stubs[];
void trap_dispatch(struct trap_frame *frame); /* trap.S calls it */

static struct gate idt[TRAP_VECTORS];
static trap_fn *handlers[TRAP_VECTORS];

static struct gate gate_to(uint64_t entry)
{
	return (struct gate){.offset_lo = (uint16_t)entry,
		.selector = SEG_CODE,
		.type = 0x8e, /* present interrupt gate */
		.offset_mid = (uint16_t)(entry >> 16)};
}

static void fill_idt(void)
{
	uint64_t stub = (uint64_t)trap_stubs;
	unsigned i;

	for (i = 0; i < TRAP_VECTORS; i++, stub += STUB_SIZE)
		idt[i] = gate_to(stub);
}

void trap_gate(unsigned vector, void (*entry)(void))
{
	idt[vector] = gate_to((uint64_t)entry);
}

void cpu_init(struct cpu *cpu, unsigned index)
{
	uint64_t tss = (uint64_t)&cpu->tss;
	struct table_ptr ptr = {sizeof(cpu->gdt) - 1, (uint64_t)cpu->gdt};

	cpu->index = index;
	cpu->gdt[SEG_CODE32 / 8] = 0x00cf9b000000ffff;
	cpu->gdt[SEG_DATA / 8] = 0x00cf93000000ffff;
	cpu->gdt[SEG_CODE / 8] = 0x00af9b000000ffff;
	cpu->gdt[SEG_USER_DATA / 8] = 0x00cff3000000ffff;
	cpu->gdt[SEG_USER_CODE / 8] = 0x00affb000000ffff;
	cpu->gdt[SEG_TSS / 8] = (sizeof(cpu->tss) - 1) |
				(tss & 0xffffff) << 16 | 0x89ull << 40 |
				(tss >> 24 & 0xff) << 56;
	cpu->gdt[SEG_TSS / 8 + 1] = tss >> 32;
	__asm__ volatile("lgdt %0" : : "m"(ptr));
	__asm__ volatile("ltr %0" : : "r"((uint16_t)SEG_TSS));
	if (index == 0)
		fill_idt();
	ptr = (struct table_ptr){sizeof(idt) - 1, (uint64_t)idt};
	__asm__ volatile("lidt %0" : : "m"(ptr) : "memory");
}

void trap_handle(unsigned vector, trap_fn *fn)
{
	handlers[vector] = fn;
}

void trap_dispatch(struct trap_frame *frame)
{
	if (handlers[frame->vector] != NULL) {
		handlers[frame->vector](frame);
		return;
	}
	print("guest: trap %lu error %lx rip %lx cs %lx rsp %lx cr2 %lx\n",
		frame->vector, frame->error, frame->rip, frame->cs, frame->rsp,
		read_cr2());
	guest_exit(false);
}
