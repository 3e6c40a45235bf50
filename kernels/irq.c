/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/irq.c - interrupts: LAPIC timer, IPIs, an IOAPIC line driven by the
 * serial port, the irqfds of virtio devices, and with smp=N the other vCPUs.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/smp.h"
#include "kernels/lib/virtio.h"

#define PATIENCE_MS  10000u
#define TICKS	     20u
#define COM1_GSI     4u
#define COM1_BYTES   8u
#define RNG_REQUESTS 16u
#define IER_EMPTY    0x02
#define MCR_OUT2     0x0b /* DTR, RTS, OUT2: lets the interrupt out */

static struct cpu boot_cpu;
static uint64_t ticks, ipis, com1s;

static void on_timer(struct trap_frame *frame)
{
	ticks++;
	apic_eoi();
}

static void on_ipi(struct trap_frame *frame)
{
	ipis++;
	apic_eoi();
}

static void on_com1(struct trap_frame *frame)
{
	inb(COM1_IIR); /* takes the transmitter's interrupt back */
	com1s++;
	apic_eoi();
}

static bool wait_ticks(uint64_t target)
{
	unsigned left = 100000;

	/* irq_wait() would take the timer away; ticks are what wakes us. */
	while (*(volatile uint64_t *)&ticks < target && left-- > 0)
		irq_sleep();
	return ticks >= target;
}

static void timer(void)
{
	ticks = 0;
	apic_timer(VECTOR_TIMER, 2000, false);
	check("timer_oneshot", wait_ticks(1) && ticks == 1);
	ticks = 0;
	apic_timer(VECTOR_TIMER, 1000, true);
	check("timer_periodic", wait_ticks(TICKS));
	apic_timer_stop();
	irq_window();
	print("irq: timer %lu\n", ticks);
	ticks = 0;
	apic_timer(VECTOR_TIMER, 3000000, false);
	apic_timer_stop();
	irq_window();
	check("timer_stopped", ticks == 0);
}

static void self_ipi(void)
{
	unsigned i, got = 0;

	for (i = 0; i < 4; i++) {
		apic_send(apic_id(), VECTOR_IPI);
		got += irq_wait(&ipis, i + 1, PATIENCE_MS);
	}
	check("ipi_self", got == 4 && ipis == 4);
}

static void com1(void)
{
	static const char text[COM1_BYTES + 1] = "com1irq\n";
	unsigned i, got = 0;

	ioapic_route(COM1_GSI, VECTOR_COM1, apic_id());
	trap_handle(VECTOR_COM1, on_com1);
	outb(COM1_MCR, MCR_OUT2);
	outb(COM1_IER, IER_EMPTY); /* empty already: the first one */
	got += irq_wait(&com1s, 1, PATIENCE_MS);
	for (i = 0; i < COM1_BYTES && got == i + 1; i++) {
		outb(COM1, (uint8_t)text[i]);
		got += irq_wait(&com1s, i + 2, PATIENCE_MS);
	}
	outb(COM1_IER, 0);
	irq_window();
	ioapic_mask(COM1_GSI);
	print("irq: com1 %lu\n", com1s);
	check("com1_transmit", got == COM1_BYTES + 1);
}

static bool one_random(struct virtio_device *dev, uint8_t *data)
{
	struct virtio_buffer buf = {data, 64, true};
	struct virtio_done done;
	uint64_t before = virtio_irqs(dev);

	if (virtio_add(dev, 0, &buf, 1) < 0)
		return false;
	virtio_kick(dev, 0);
	if (!virtio_irq_wait(dev, before + 1, PATIENCE_MS))
		return false;
	return virtio_wait(dev, 0, PATIENCE_MS, &done) && done.len > 0;
}

/* An rng request is an interrupt of the device's irqfd. */
static void virtio(void)
{
	static struct virtio_device dev;
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, k, n = virtio_find(place);
	uint8_t *data = page_alloc(1);
	const char *why = "no such device";

	for (i = 0; i < n; i++)
		if (virtio_probe(place[i].gpa) == VIRTIO_ID_RNG &&
			place[i].gsi < IOAPIC_PINS)
			break;
	if (i == n) {
		check_skip("irqfd", "no virtio rng on the command line");
		return;
	}
	why = virtio_open(&dev, &place[i], 0, 1, i, true);
	if (why != NULL) {
		print("irq: rng %s\n", why);
		check("irqfd", false);
		return;
	}
	for (k = 0; k < RNG_REQUESTS && one_random(&dev, data); k++)
		;
	virtio_close(&dev);
	print("irq: rng gsi %u interrupts %lu requests %u\n", place[i].gsi,
		virtio_irqs(&dev), k);
	check("irqfd", k == RNG_REQUESTS);
}

/* ---- other vCPUs ---------------------------------------------------------*/

static volatile uint64_t ap_ipis[SMP_MAX]; /* by index; each AP its own */
static volatile uint64_t ap_id[SMP_MAX];

static void on_ap_ipi(struct trap_frame *frame)
{
	ap_ipis[apic_id()]++;
	apic_eoi();
}

/* Sleeps; answers every IPI with one to the boot CPU. */
static void ap(struct cpu *cpu)
{
	uint64_t answered = 0;

	ap_id[cpu->index] = apic_id();
	for (;;) {
		while (ap_ipis[cpu->index] == answered)
			irq_sleep();
		answered++;
		apic_send(0, VECTOR_IPI);
	}
}

static void smp(unsigned cpus)
{
	unsigned i, round, started = 0, right = 0, answers = 0;

	trap_handle(VECTOR_AP, on_ap_ipi);
	for (i = 1; i < cpus; i++)
		if (smp_start(i, ap))
			started++;
	check("smp_started", started == cpus - 1);
	for (round = 0; round < 4; round++)
		for (i = 1; i <= started; i++) {
			uint64_t before = ipis;

			apic_send(i, VECTOR_AP);
			answers += irq_wait(&ipis, before + 1, PATIENCE_MS);
		}
	for (i = 1; i <= started; i++)
		right += ap_id[i] == i && ap_ipis[i] == 4;
	print("irq: smp %u started %u answers %u\n", cpus, started + 1,
		answers);
	check("smp_ipi", answers == 4 * (cpus - 1) && right == cpus - 1);
}

bool guest_main(void)
{
	uint64_t cpus = boot_number("smp", 1);

	cpu_init(&boot_cpu, 0);
	apic_init();
	trap_handle(VECTOR_TIMER, on_timer);
	trap_handle(VECTOR_IPI, on_ipi);
	print("irq: entry %s\n", boot_entry_name());
	timer();
	self_ipi();
	com1();
	virtio();
	if (cpus > 1 && cpus <= SMP_MAX)
		smp((unsigned)cpus);
	return check_summary("irq");
}
