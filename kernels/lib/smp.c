/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/smp.c - INIT, SIPI, and the first C code of an AP.  One AP is
 * started at a time, so what it needs to know waits in plain variables.
 */
#include <stddef.h>
#include <stdint.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/smp.h"
#include "kernels/lib/start.h"
#include "kernels/lib/string.h"

#define AP_STACK_PAGES 2u

extern uint64_t ap_stack;      /* start.S loads rsp from it ... */
extern void (*ap_entry)(void); /* ... and calls this */
extern const char ap_trampoline[], ap_trampoline_end[];

static struct {
	struct cpu *cpu;
	unsigned index;
	smp_fn *fn;
} next;

/* Of each index, for when it is started again. */
static struct {
	struct cpu *cpu;
	uint64_t stack_top;
} own[SMP_MAX];

static volatile uint64_t online; /* APs that have taken over @next */

static void ap_main(void)
{
	struct cpu *cpu = next.cpu;
	smp_fn *fn = next.fn;

	cpu_init(cpu, next.index);
	apic_init();
	barrier();
	online++;
	fn(cpu);
	power_halt();
}

bool smp_start(unsigned index, smp_fn *fn)
{
	uint64_t target = online + 1, never = 0;
	unsigned i;

	memcpy((void *)LOW_TRAMPOLINE, ap_trampoline,
		(uint64_t)ap_trampoline_end - (uint64_t)ap_trampoline);
	if (own[index].cpu == NULL) {
		own[index].cpu = page_alloc(1);
		own[index].stack_top = (uint64_t)page_alloc(AP_STACK_PAGES) +
				       AP_STACK_PAGES * PAGE_SIZE;
	}
	next.cpu = own[index].cpu;
	next.index = index;
	next.fn = fn;
	ap_stack = own[index].stack_top;
	ap_entry = ap_main;
	barrier();
	apic_send_init(index);
	irq_wait(&never, 1, 1);
	apic_send_startup(index, LOW_TRAMPOLINE >> 12);
	/* It is not an interrupt that we wait for, but a look every 1 ms. */
	for (i = 0; i < 10000; i++) {
		if (online >= target)
			return true;
		irq_wait(&never, 1, 1);
	}
	return false;
}
