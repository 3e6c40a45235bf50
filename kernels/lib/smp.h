/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/smp.h - start the other vCPUs.
 */
#ifndef GODWIT_KERNELS_LIB_SMP_H
#define GODWIT_KERNELS_LIB_SMP_H

#include <stdbool.h>

#include "kernels/lib/cpu.h"

#define SMP_MAX 64u

/* Runs on the AP with interrupts off; if it returns, the AP halts. */
typedef void smp_fn(struct cpu *cpu);

/**
 * smp_start - wake the AP with APIC id @index and let it run @fn on a stack
 *             and with descriptor tables of its own.  Needs apic_init().
 *             Again for one that was stopped: on the same stack.
 * @index:  below SMP_MAX.
 * Return:     false when it did not show up in 10 s.
 */
bool smp_start(unsigned index, smp_fn *fn);

#endif
