/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/apic.h - local APIC (at its usual address, not x2APIC), its
 * timer, IPIs, and the IOAPIC.
 *
 * The timer counts nanoseconds: KVM's and QEMU's bus clock is 1 GHz.
 */
#ifndef GODWIT_KERNELS_LIB_APIC_H
#define GODWIT_KERNELS_LIB_APIC_H

#include <stdbool.h>
#include <stdint.h>

#define VECTOR_TIMER	0x20u
#define VECTOR_TIMEOUT	0x21u /* irq_wait()'s own */
#define VECTOR_IPI	0x22u
#define VECTOR_COM1	0x23u
#define VECTOR_AP	0x24u /* to another vCPU */
#define VECTOR_DEVICE	0x28u /* and 15 more: one a virtio device */
#define VECTOR_SPURIOUS 0x3fu

#define IOAPIC_PINS 24u

/* Switch this vCPU's APIC on, nothing routed, timer off.  The boot CPU's call
 * also closes a PIC, if there is one. */
void apic_init(void);

uint32_t apic_id(void);
void apic_eoi(void);

/* @vector after @us microseconds (at most 4 s), once or again and again. */
void apic_timer(unsigned vector, uint32_t us, bool periodic);
void apic_timer_stop(void);

void apic_send(uint32_t apic_id, unsigned vector);
void apic_send_init(uint32_t apic_id);
/* @page: below 256; the AP starts at @page << 12 in real mode. */
void apic_send_startup(uint32_t apic_id, unsigned page);

/* Edge-triggered, active high, to APIC @dest; then closed again. */
void ioapic_route(unsigned gsi, unsigned vector, uint32_t dest);
void ioapic_mask(unsigned gsi);

/**
 * irq_wait - sleep until @counter (counted up by a trap handler) is at least
 *            @target.  Uses the timer of this vCPU; interrupts off before and
 *            after.
 * Return:    false when @ms passed first (a multiple of 1 ms).
 */
bool irq_wait(const volatile uint64_t *counter, uint64_t target, uint32_t ms);

#endif
