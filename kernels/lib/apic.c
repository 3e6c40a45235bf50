/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/apic.c - LAPIC and IOAPIC registers.
 */
#include "kernels/lib/apic.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/start.h"

#define LAPIC	     0xfee00000ull
#define LAPIC_ID     0x020
#define LAPIC_EOI    0x0b0
#define LAPIC_SVR    0x0f0
#define LAPIC_ICR_LO 0x300
#define LAPIC_ICR_HI 0x310
#define LAPIC_TIMER  0x320
#define LAPIC_LINT0  0x350
#define LAPIC_LINT1  0x360
#define LAPIC_COUNT  0x380
#define LAPIC_DIVIDE 0x3e0

#define LVT_MASKED   0x10000u
#define LVT_PERIODIC 0x20000u
#define SVR_ENABLE   0x100u
#define DIVIDE_BY_1  0xbu
#define ICR_ASSERT   0x4000u
#define ICR_INIT     0x500u
#define ICR_STARTUP  0x600u

#define IOAPIC	    0xfec00000ull
#define IOAPIC_DATA (IOAPIC + 0x10)

static uint64_t timeouts; /* of all vCPUs: irq_wait() only looks for changes */

static void lapic_write(unsigned reg, uint32_t v)
{
	mmio_write32(LAPIC + reg, v);
}

static void on_timeout(struct trap_frame *frame)
{
	timeouts++;
	apic_eoi();
}

static void on_spurious(struct trap_frame *frame)
{
}

void apic_init(void)
{
	trap_handle(VECTOR_TIMEOUT, on_timeout);
	trap_handle(VECTOR_SPURIOUS, on_spurious);
	if (apic_id() == 0) {
		outb(0x21, 0xff);
		outb(0xa1, 0xff);
	}
	lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
	lapic_write(LAPIC_LINT0, LVT_MASKED);
	lapic_write(LAPIC_LINT1, LVT_MASKED);
	lapic_write(LAPIC_DIVIDE, DIVIDE_BY_1);
	apic_timer_stop();
}

uint32_t apic_id(void)
{
	return mmio_read32(LAPIC + LAPIC_ID) >> 24;
}

void apic_eoi(void)
{
	lapic_write(LAPIC_EOI, 0);
}

void apic_timer(unsigned vector, uint32_t us, bool periodic)
{
	lapic_write(LAPIC_TIMER, vector | (periodic ? LVT_PERIODIC : 0));
	lapic_write(LAPIC_COUNT, us < 4000000 ? us * 1000 : 4000000000u);
}

void apic_timer_stop(void)
{
	lapic_write(LAPIC_TIMER, LVT_MASKED);
	lapic_write(LAPIC_COUNT, 0);
}

static void send(uint32_t dest, uint32_t low)
{
	lapic_write(LAPIC_ICR_HI, dest << 24);
	lapic_write(LAPIC_ICR_LO, low);
}

void apic_send(uint32_t dest, unsigned vector)
{
	send(dest, ICR_ASSERT | vector);
}

void apic_send_init(uint32_t dest)
{
	send(dest, ICR_ASSERT | ICR_INIT);
}

void apic_send_startup(uint32_t dest, unsigned page)
{
	send(dest, ICR_ASSERT | ICR_STARTUP | page);
}

static void ioapic_write(unsigned reg, uint32_t v)
{
	mmio_write32(IOAPIC, reg);
	mmio_write32(IOAPIC_DATA, v);
}

void ioapic_route(unsigned gsi, unsigned vector, uint32_t dest)
{
	ioapic_write(0x11 + 2 * gsi, dest << 24);
	ioapic_write(0x10 + 2 * gsi, vector);
}

void ioapic_mask(unsigned gsi)
{
	ioapic_write(0x10 + 2 * gsi, LVT_MASKED);
}

bool irq_wait(const volatile uint64_t *counter, uint64_t target, uint32_t ms)
{
	const volatile uint64_t *expired = &timeouts;
	uint64_t before;

	for (; ms > 0 && *counter < target; ms -= ms < 1000 ? ms : 1000) {
		before = *expired;
		apic_timer(
			VECTOR_TIMEOUT, (ms < 1000 ? ms : 1000) * 1000, false);
		while (*counter < target && *expired == before)
			irq_sleep();
		apic_timer_stop();
		irq_window(); /* a timeout that came late must not count later
			       */
	}
	return *counter >= target;
}
