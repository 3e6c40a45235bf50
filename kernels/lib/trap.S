/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/trap.S - interrupt and exception stubs, and the way into user
 * mode and back.
 *
 * user_enter() makes rsp0 of the TSS the stack it stands on; so a trap from
 * user mode pushes its frame right below what user_enter() has saved, and ud2
 * needs only to drop that frame to be back in user_enter().
 */
#include "kernels/lib/start.h"

#define TSS_RSP0 (64 + 4) /* in struct cpu: behind gdt[8] */

	.section .text.trap, "ax", @progbits
	.code64

	.balign 16
	.globl trap_stubs
trap_stubs:
	.set vector, 0
	.rept TRAP_VECTORS
	.balign 16
	.if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && \
		vector != 21 && vector != 29 && vector != 30
	pushq $0                 /* in place of an error code */
	.endif
	pushq $vector
	.if vector == 6
	jmp trap_ud
	.else
	jmp trap_common
	.endif
	.set vector, vector + 1
	.endr

	/* The frame: vector, 0, rip, cs, rflags, rsp, ss. */
	.balign 16
trap_ud:
	testb $3, 24(%rsp)
	jz trap_common
	addq $(7 * 8), %rsp
	addq $8, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

trap_common:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	call trap_dispatch
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq

	/* user_enter(rdi cpu, rsi fn, rdx arg, rcx stack_top) */
	.section .text.user_enter, "ax", @progbits
	.globl user_enter
user_enter:
	cli
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	subq $8, %rsp            /* rsp0 on a multiple of 16 */
	movq %rsp, TSS_RSP0(%rdi)
	subq $8, %rcx            /* as if @fn had been called */
	pushq $SEG_USER_DATA
	pushq %rcx
	pushq $0x202             /* IF */
	pushq $SEG_USER_CODE
	pushq %rsi
	movq %rdx, %rdi
	iretq

	.section .note.GNU-stack, "", @progbits
