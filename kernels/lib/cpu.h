/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/cpu.h - one vCPU's own things, traps, and user mode.
 */
#ifndef GODWIT_KERNELS_LIB_CPU_H
#define GODWIT_KERNELS_LIB_CPU_H

#include <stdbool.h>
#include <stdint.h>

struct tss {
	uint32_t reserved0;
	uint32_t rsp_ist[20]; /* rsp0 first, as two halves */
	uint32_t reserved1[3];
} __attribute__((packed));

struct cpu {
	uint64_t gdt[8];
	struct tss tss;
	unsigned index; /* 0: the boot CPU; equals the APIC id */
};

/* What lib/trap.S pushes, lowest address first. */
struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
	uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

typedef void trap_fn(struct trap_frame *frame);

#define TRAP_UD 6u
#define TRAP_GP 13u
#define TRAP_PF 14u

/* Own GDT, TSS and the common IDT for this vCPU.  @cpu: zeroed memory that
 * stays; the boot CPU calls it first. */
void cpu_init(struct cpu *cpu, unsigned index);

/* Handle @vector (< TRAP_VECTORS) with @fn on every vCPU.  Handlers run with
 * interrupts off.  A trap without one is printed and ends the guest. */
void trap_handle(unsigned vector, trap_fn *fn);

/* The same with an entry of the guest's own, as the gate has it: it saves what
 * it uses and ends with iretq.  trap_dispatch() knows nothing of it. */
void trap_gate(unsigned vector, void (*entry)(void));

/**
 * user_enter - run @fn(@arg) in user mode, interrupts on, until it executes
 *              ud2.  Needs page_user_image().
 * @stack_top: of user mode, 16-byte aligned.
 * Return:     what @fn left in rax.
 */
uint64_t user_enter(
	struct cpu *cpu, void (*fn)(void *arg), void *arg, void *stack_top);

/* The end of a user-mode function. */
static inline void __attribute__((noreturn)) user_leave(uint64_t value)
{
	__asm__ volatile("ud2" : : "a"(value) : "memory");
	__builtin_unreachable();
}

static inline uint64_t read_cr2(void)
{
	uint64_t v;

	__asm__ volatile("movq %%cr2, %0" : "=r"(v));
	return v;
}

#endif
