/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/cpus.c - vCPU hotplug without ACPI: what the AML and Linux do, done
 * by hand on the registers (devices/cpu_hotplug.h).
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/smp.h"

#define GED_GSI	   9u
#define VECTOR_GED VECTOR_DEVICE

#define PORT_SELECT  0x620
#define PORT_STATUS  0x624 /* written: orders */
#define PORT_PENDING 0x628 /* written: _OST event */
#define PORT_COUNT   0x62c /* written: _OST status */

#define INSERT 2u
#define REMOVE 4u
#define EJECT  8u
#define NONE   0xffffffffu

#define NOTIFY_EJECT 3u
#define OST_BUSY     0x82u

#define KVM_FEATURES	 0x40000001u
#define KVM_CLOCK	 (1u << 3)
#define KVM_STEAL	 (1u << 5)
#define KVM_EOI		 (1u << 6)
#define MSR_KVM_CLOCK	 0x4b564d01u
#define MSR_KVM_STEAL	 0x4b564d03u
#define MSR_KVM_EOI	 0x4b564d04u
#define MSR_TSC_ADJUST	 0x3bu
#define MSR_MTRR_BASE0	 0x200u
#define MSR_MTRR_MASK0	 0x201u
#define MSR_PAT		 0x277u
#define MSR_STAR	 0xc0000081u
#define MSR_LSTAR	 0xc0000082u
#define MSR_FMASK	 0xc0000084u
#define MSR_KERNEL_GS	 0xc0000102u
#define LAPIC		 0xfee00000ull
#define LAPIC_TPR	 0x080
#define LAPIC_DFR	 0x0e0
#define LAPIC_LVT_PERF	 0x340
#define LAPIC_LVT_MASKED 0x10000u

static struct cpu boot_cpu;
static volatile uint64_t events, ticks;
static volatile uint64_t up[SMP_MAX]; /* how often each was started */
static uint64_t ups, gone;
static uint64_t refused; /* id; NONE */
static bool busy, dirty, quiet, deaf;

/* What KVM writes to, of each vCPU. */
static uint8_t shared[SMP_MAX][256] __attribute__((aligned(256)));

static void on_ged(struct trap_frame *frame)
{
	events++;
	apic_eoi();
}

static void on_timer(struct trap_frame *frame)
{
	ticks++;
	apic_eoi();
}

/* ---- on a vCPU that came ---- */

static void make_dirty(unsigned index)
{
	uint64_t gpa = (uint64_t)shared[index];
	uint32_t leaf[4];

	cpuid(KVM_FEATURES, 0, leaf);
	if (leaf[0] & KVM_CLOCK)
		wrmsr(MSR_KVM_CLOCK, gpa | 1);
	if (leaf[0] & KVM_STEAL)
		wrmsr(MSR_KVM_STEAL, (gpa + 64) | 1);
	if (leaf[0] & KVM_EOI)
		wrmsr(MSR_KVM_EOI, (gpa + 192) | 1);
	wrmsr(MSR_MTRR_BASE0, 0xd0000000);
	wrmsr(MSR_MTRR_MASK0, 0xfff000800);
	wrmsr(MSR_PAT, 0x0007040600070406);
	wrmsr(MSR_STAR, 0x0013000800000000);
	wrmsr(MSR_LSTAR, 0x123456);
	wrmsr(MSR_FMASK, 0x47700);
	wrmsr(MSR_KERNEL_GS, 0xffff800000000000);
	wrmsr(MSR_TSC_ADJUST, 12345);
	__asm__ volatile("movq %0, %%dr0" : : "r"(0x1000ull));
	__asm__ volatile("movq %0, %%dr3" : : "r"(0x2000ull));
	__asm__ volatile("movq %0, %%cr2" : : "r"(0xdeadb000ull));
	mmio_write32(LAPIC + LAPIC_TPR, 0x10);
	mmio_write32(LAPIC + LAPIC_DFR, 0x0fffffff);
	mmio_write32(LAPIC + LAPIC_LVT_PERF, LAPIC_LVT_MASKED | 0x55);
	apic_timer(VECTOR_TIMER, 3000000, true);
}

static void ap(struct cpu *cpu)
{
	up[cpu->index]++;
	if (dirty)
		make_dirty(cpu->index);
	for (;;) {
		if (busy)
			inb(COM1_LSR);
		else
			irq_sleep();
	}
}

/* ---- on the boot CPU ---- */

static void bring_in(unsigned id)
{
	uint64_t before;

	if (id >= SMP_MAX) {
		check("id_in_range", false);
		return;
	}
	before = up[id];
	if (!smp_start(id, ap)) {
		check("started", false);
		return;
	}
	while (up[id] == before)
		cpu_pause();
	ups++;
	if (!quiet)
		print("cpus: up %u\n", id);
}

static void give_up(unsigned id)
{
	if (deaf) {
		print("cpus: hears %u\n", id);
		return;
	}
	if (id == refused) {
		print("cpus: keeps %u\n", id);
		outl(PORT_PENDING, NOTIFY_EJECT);
		outl(PORT_COUNT, OST_BUSY);
		return;
	}
	outl(PORT_STATUS, EJECT);
	gone++;
	if (!quiet)
		print("cpus: gone %u\n", id);
}

static void scan(void)
{
	uint32_t id, status;

	while ((id = inl(PORT_PENDING)) != NONE) {
		outl(PORT_SELECT, id);
		status = inl(PORT_STATUS);
		outl(PORT_STATUS, status & (INSERT | REMOVE));
		if (status & INSERT)
			bring_in(id);
		outl(PORT_SELECT, id);
		if (status & REMOVE)
			give_up(id);
	}
}

bool guest_main(void)
{
	uint64_t enough = boot_number("gone", 0), before;
	unsigned id;

	cpu_init(&boot_cpu, 0);
	apic_init();
	busy = boot_number("busy", 0);
	dirty = boot_number("dirty", 0);
	quiet = boot_number("quiet", 0);
	deaf = boot_number("deaf", 0);
	refused = boot_number("refuse", NONE);
	trap_handle(VECTOR_GED, on_ged);
	trap_handle(VECTOR_TIMER, on_timer);
	ioapic_route(GED_GSI, VECTOR_GED, apic_id());
	print("cpus: entry %s max %u\n", boot_entry_name(), inl(PORT_COUNT));
	for (;;) {
		before = events;
		scan();
		if (enough != 0 && gone >= enough)
			break;
		while (events == before)
			irq_sleep();
	}
	print("cpus: started %lu gone %lu\n", ups, gone);
	for (id = 0, before = 0; id < SMP_MAX; id++)
		before += up[id];
	check("each_started_once_a_plug", before == ups);
	return check_summary("cpus");
}
