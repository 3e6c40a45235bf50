/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/speed_irq.S - the interrupt of the device that is measured: what
 * Linux's vm_interrupt() does with the registers, in as few instructions as it
 * takes.  Where kernel code is emulated, lib/trap.S would cost more than the
 * device.
 */
	.section .text.speed_irq, "ax", @progbits
	.code64
	.globl speed_irq
speed_irq:
	pushq %rax
	pushq %rdx
	movq speed_irq_gpa, %rdx
	movl 0x60(%rdx), %eax    /* InterruptStatus */
	movl %eax, 0x64(%rdx)    /* InterruptACK */
	incq speed_irq_count
	movl $0xfee000b0, %edx   /* end of interrupt */
	movl $0, (%rdx)
	popq %rdx
	popq %rax
	iretq

	.section .note.GNU-stack, "", @progbits
