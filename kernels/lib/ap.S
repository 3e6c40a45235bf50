/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/ap.S - where an AP wakes up: real mode, copied by smp.c to
 * LOW_TRAMPOLINE.  Joins start.S at enter_long_mode.
 */
#include "kernels/lib/start.h"

	.section .rodata.ap, "a", @progbits
	.code16
	.globl ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	xorw %ax, %ax
	movw %ax, %ds
	lgdtl LOW_TRAMPOLINE + (ap_gdt_ptr - ap_trampoline)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEG_CODE32, $ap_start32
	.balign 4
ap_gdt_ptr:
	.word 4 * 8 - 1
	.long boot_gdt
ap_trampoline_end:

	.section .text.ap, "ax", @progbits
	.code32
ap_start32:
	movl $SEG_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $START_AP, %ebp
	jmp enter_long_mode

	.section .note.GNU-stack, "", @progbits
