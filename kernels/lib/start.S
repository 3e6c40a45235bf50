/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/start.S - the ways in, all ending in guest_start(kind, info).
 *
 *   +0      32 bit, esi = boot_params     bzImage    bss is zeroed here
 *   +0x200  64 bit, rsi = boot_params     bzImage    bss is zeroed here
 *   linux64_entry (e_entry), the same     ELF        loader has zeroed bss
 *   pvh_entry, 32 bit, ebx = start info   ELF note   loader has zeroed bss
 *
 * All map the first 4 MiB and the 2 MiB pages that hold virtio-mmio, IOAPIC
 * and LAPIC; page_map() adds others.  Few instructions on purpose: some hosts
 * emulate each of them.
 */
#include "kernels/lib/start.h"

#define PTE_TABLE 0x7       /* present, writable, user */
#define PTE_RAM   0x83      /* present, writable, 2 MiB */
#define PTE_MMIO  0x9b      /* the same, uncached */

/* Assembled once as 32-bit and once as 64-bit code; the upper halves are 0. */
.macro BUILD_TABLES
	movl $boot_pdpt + PTE_TABLE, boot_pml4
	movl $boot_pd0 + PTE_TABLE, boot_pdpt
	movl $boot_pd3 + PTE_TABLE, boot_pdpt + 3 * 8
	movl $PTE_RAM, boot_pd0
	movl $0x200000 + PTE_RAM, boot_pd0 + 8
	movl $0xd0000000 + PTE_MMIO, boot_pd3 + 128 * 8
	movl $0xfea00000 + PTE_MMIO, boot_pd3 + 501 * 8
	movl $0xfec00000 + PTE_MMIO, boot_pd3 + 502 * 8
	movl $0xfee00000 + PTE_MMIO, boot_pd3 + 503 * 8
.endm

	.section .head, "ax", @progbits
	.code32
	.globl linux32_entry
linux32_entry:
	cld
	movl $bss_start, %edi
	movl $bss_end, %ecx
	subl %edi, %ecx
	shrl $2, %ecx
	xorl %eax, %eax
	rep stosl
	movl $START_LINUX32, %ebp
	jmp start32

	.org 0x200
	.code64
linux64_flat:
	cld
	movl $bss_start, %edi
	movl $bss_end, %ecx
	subl %edi, %ecx
	shrl $3, %ecx
	xorl %eax, %eax
	rep stosq
	.globl linux64_entry
linux64_entry:
	cli
	cld
	BUILD_TABLES
	movl $boot_pml4, %eax
	movq %rax, %cr3
	lgdt boot_gdt_ptr
	movl $boot_stack_top, %esp
	movl $START_LINUX64, %ebp
	pushq $SEG_CODE
	pushq $start64
	lretq

	.code32
	.globl pvh_entry
pvh_entry:
	cld
	movl %ebx, %esi
	movl $START_PVH, %ebp
start32:
	cli
	BUILD_TABLES
	lgdt boot_gdt_ptr
	/* Also the way of an AP, which brings its own tables and stack. */
	.globl enter_long_mode
enter_long_mode:
	movl %cr4, %eax
	orl $0x20, %eax          /* PAE */
	movl %eax, %cr4
	movl $boot_pml4, %eax
	movl %eax, %cr3
	movl $0xc0000080, %ecx   /* EFER.LME */
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80010001, %eax    /* PG, WP, PE */
	movl %eax, %cr0
	ljmp $SEG_CODE, $start64

	.code64
start64:
	movl $SEG_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movl %esi, %esi          /* no loader knows an address above 4 GiB */
	cmpl $START_AP, %ebp
	je 1f
	movl $boot_stack_top, %esp
	movl %ebp, %edi
	xorl %ebp, %ebp
	call guest_start
1:	movl ap_stack, %esp      /* 0 in a guest without SMP: never reached */
	xorl %ebp, %ebp
	call *ap_entry

	.data
	.balign 8
	.globl boot_gdt_ptr
boot_gdt_ptr:
	.word boot_gdt_end - boot_gdt - 1
	.quad boot_gdt
	.balign 8
	.globl boot_gdt
boot_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* SEG_CODE32 */
	.quad 0x00cf93000000ffff /* SEG_DATA */
	.quad 0x00af9b000000ffff /* SEG_CODE */
boot_gdt_end:

	.bss
	.balign 4096
	.globl boot_pml4
boot_pml4:
	.skip 4096
boot_pdpt:
	.skip 4096
boot_pd0:
	.skip 4096
boot_pd3:
	.skip 4096
	.globl ap_stack, ap_entry
ap_stack:
	.skip 8
ap_entry:
	.skip 8

	.section .noinit, "aw", @nobits
	.balign 16
	.skip 8192
boot_stack_top:

	/* XEN_ELFNOTE_PHYS32_ENTRY; 64 bits wide, as QEMU reads it so. */
	.section .note.Xen, "a", @note
	.balign 4
	.long 4
	.long 8
	.long 18
	.asciz "Xen"
	.quad pvh_entry

	.section .note.GNU-stack, "", @progbits
