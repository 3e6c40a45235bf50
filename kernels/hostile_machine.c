/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hostile_machine.c - attacks on what every machine has: ports, holes,
 * and the devices behind them.
 *
 * Left out is what a guest may do to end itself (kernels/exits.c): reset, power
 * off, a panic, the debug exit.  And what KVM has in the kernel: PIC, APICs.
 */
#include "kernels/hostile.h"

#include "devices/cpu_hotplug.h"
#include "kernels/lib/console.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"
#include "vmm/layout.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define COM1_LCR (COM1 + 3)
#define COM1_MSR (COM1 + 6)
#define I8042	 LAYOUT_PIO_I8042
#define RTC	 LAYOUT_PIO_RTC
#define CPUS	 LAYOUT_PIO_CPUS
#define POWER	 LAYOUT_PIO_POWER
#define PVPANIC	 LAYOUT_PIO_PVPANIC

static uint8_t scratch[8192];

/* Let everything that was printed go out, for the line may be lost. */
static void drain(void)
{
	unsigned i;

	for (i = 0; i < 100000 && (inb(COM1_LSR) & 0x40) == 0; i++)
		;
}

/* As console_init() and the loader leave it: 8 bits, no divisor. */
static void serial_restore(void)
{
	outb(COM1_LCR, 3);
	outb(COM1_IER, 0);
	outb(COM1_MCR, 3);
	console_init();
}

static bool serial_well(void)
{
	outb(COM1_SCR, 0x5a);
	return inb(COM1_SCR) == 0x5a || wrong("the scratch register");
}

static bool serial_widths(struct victim *v)
{
	unsigned i;

	drain();
	for (i = 0; i < 8; i++) {
		if (i != 0) { /* that would be output */
			outw((uint16_t)(COM1 + i), 0);
			outl((uint16_t)(COM1 + i), 0);
		}
		inw((uint16_t)(COM1 + i));
		inl((uint16_t)(COM1 + i));
	}
	outl(COM1 - 3, 0);
	outw(COM1 - 1, 0);
	inl(COM1 - 2);
	serial_restore();
	return serial_well();
}

static bool serial_registers(struct victim *v)
{
	unsigned i, reg;

	drain();
	outb(COM1_MCR, 0x10); /* loopback: nothing goes out */
	for (i = 0; i < 3000; i++) {
		reg = chance() % 8;
		outb((uint16_t)(COM1 + reg),
			(uint8_t)(reg == 4 ? chance() | 0x10 : chance()));
		inb((uint16_t)(COM1 + chance() % 8));
	}
	serial_restore();
	return serial_well();
}

static bool serial_strings(struct victim *v)
{
	drain();
	memset(scratch, 0x11, sizeof(scratch));
	outsb(COM1_SCR, scratch, sizeof(scratch));
	insb(COM1_SCR, scratch, sizeof(scratch));
	if (scratch[0] != 0x11 || scratch[sizeof(scratch) - 1] != 0x11)
		return wrong("the scratch register");
	insb(COM1_LSR, scratch, sizeof(scratch));
	insb(COM1, scratch, 64);
	return serial_well();
}

/* Without a look at THRE: bytes may be lost, the machine not. */
static bool serial_deaf(struct victim *v)
{
	drain();
	memset(scratch, '.', sizeof(scratch));
	scratch[sizeof(scratch) - 1] = '\n';
	outsb(COM1, scratch, sizeof(scratch));
	drain();
	print("\n");
	return serial_well();
}

static bool rtc_registers(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 256; i++) {
		outb(RTC, (uint8_t)i);
		inb(RTC + 1);
		outb(RTC + 1, 0xff);
		inb(RTC + 1);
		outb(RTC + 1, 0);
	}
	for (i = 0; i < 2000; i++) {
		outb(RTC, (uint8_t)chance());
		outb(RTC + 1, (uint8_t)chance());
		inb(RTC + chance() % 2);
	}
	outb(RTC, 0x0b);
	outb(RTC + 1, 2);
	/* A clock that is set to nonsense still has a valid RAM bit. */
	outb(RTC, 0x0d);
	return (inb(RTC + 1) & 0x80) != 0 || wrong("register D");
}

static bool rtc_widths(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 100; i++) {
		outw(RTC, (uint16_t)chance());
		outl(RTC - 2, chance());
		outl(RTC + 1, chance());
		inw(RTC);
		inl(RTC - 3);
		insb(RTC + 1, scratch, 64);
	}
	outb(RTC, 0x0d);
	return (inb(RTC + 1) & 0x80) != 0 || wrong("register D");
}

/* Every command but the pulses of the reset line (0xf0 and up, even), and the
 * output port only with that line high. */
static bool i8042_commands(struct victim *v)
{
	unsigned i, j;

	for (i = 0; i < 256; i++) {
		if (i >= 0xf0 && i % 2 == 0)
			continue;
		for (j = 0; j < 4; j++) {
			outb(I8042 + 4, (uint8_t)i);
			outb(I8042, (uint8_t)(chance() | 1));
			inb(I8042);
			inb(I8042 + 4);
		}
	}
	outb(I8042 + 4, 0xaa);
	return inb(I8042) == 0x55 || wrong("its self test");
}

static bool i8042_widths(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 20; i++) {
		/* All bytes odd, so that none is a pulse of the reset line. */
		outw(I8042, 0x0101);
		outw(I8042 + 4, 0xffff);
		outl(I8042 + 4, 0xffffffffu);
		outl(I8042 + 1, 0x01010101);
		inl(I8042 + 1);
		inw(I8042 + 4);
		insb(I8042, scratch, 100);
	}
	inb(I8042);
	outb(I8042 + 4, 0xaa);
	return inb(I8042) == 0x55 || wrong("its self test");
}

static bool pvpanic_events(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 256; i += 4) /* neither of the known two */
		outb(PVPANIC, (uint8_t)i);
	for (i = 0; i < 1000; i++)
		outb(PVPANIC, 0xfc);
	outw(PVPANIC, 0x0101); /* reaches past it: nobody's */
	outl(PVPANIC - 1, 0xffffffffu);
	outw(PVPANIC - 1, 0xffff);
	return inb(PVPANIC) == 3 || wrong("the known events");
}

/* Sleep types other than S5, resets other than 1. */
static bool power_values(struct victim *v)
{
	unsigned i;

	for (i = 0; i < 256; i++)
		if ((i & 0x3c) != 0x34)
			outb(POWER, (uint8_t)i);
	for (i = 0; i < 256; i++)
		if (i != 1)
			outb(POWER + 2, (uint8_t)i);
	for (i = 0; i < 100; i++)
		outb(POWER, 0x20);
	outb(POWER, 0);
	outw(POWER, 0xff20);
	outw(POWER + 1, 0x02ff);
	outl(POWER, 0x34343434);
	outw(POWER + 2, 0x0101);
	inl(POWER);
	return inb(POWER + 1) == 0 || wrong("the sleep status");
}

static uint32_t cpus_read(unsigned reg, uint32_t select)
{
	outl(CPUS + CPU_HOTPLUG_SELECT, select);
	return inl((uint16_t)(CPUS + reg));
}

/* Is there such a device?  Not in a machine whose vCPUs are fixed. */
static bool cpus_fixed(void)
{
	return inl(CPUS + CPU_HOTPLUG_COUNT) == ~0u;
}

static bool cpus_orders(struct victim *v)
{
	uint32_t count = inl(CPUS + CPU_HOTPLUG_COUNT), i, before;

	if (cpus_fixed())
		return true;
	for (i = 0; i < 100; i++) {
		outl(CPUS + CPU_HOTPLUG_SELECT,
			i % 2 == 0 ? count + i : chance());
		if (inl(CPUS + CPU_HOTPLUG_SELECT) >= count &&
			inl(CPUS + CPU_HOTPLUG_STATUS) != 0)
			return wrong("a vCPU past the last");
		outl(CPUS + CPU_HOTPLUG_ORDER, ~0u);
		outl(CPUS + CPU_HOTPLUG_EVENT, chance());
		outl(CPUS + CPU_HOTPLUG_RESULT, chance());
	}
	/* The boot CPU stays, an absent one stays absent. */
	before = cpus_read(CPU_HOTPLUG_STATUS, 0);
	for (i = 0; i < 100; i++)
		outl(CPUS + CPU_HOTPLUG_ORDER, CPU_HOTPLUG_EJECT);
	outl(CPUS + CPU_HOTPLUG_EVENT, 3);
	outl(CPUS + CPU_HOTPLUG_RESULT, 1);
	if (cpus_read(CPU_HOTPLUG_STATUS, 0) != before)
		return wrong("the boot CPU is gone");
	for (i = 1; i < count; i++) {
		outl(CPUS + CPU_HOTPLUG_SELECT, i);
		if (inl(CPUS + CPU_HOTPLUG_STATUS) != 0)
			continue;
		outl(CPUS + CPU_HOTPLUG_ORDER, 0xffffffffu);
		outl(CPUS + CPU_HOTPLUG_EVENT, 3);
		outl(CPUS + CPU_HOTPLUG_RESULT, 0x81);
		if (inl(CPUS + CPU_HOTPLUG_STATUS) != 0)
			return wrong_at("came by itself: vCPU", i);
	}
	return inl(CPUS + CPU_HOTPLUG_COUNT) == count ||
	       wrong("how many there can be");
}

static bool cpus_widths(struct victim *v)
{
	uint32_t status = cpus_read(CPU_HOTPLUG_STATUS, 0);
	unsigned i;

	if (cpus_fixed())
		return true;
	for (i = 0; i < 16; i++) {
		outb((uint16_t)(CPUS + i), 0xff);
		outw((uint16_t)(CPUS + i), 0xffff);
		if (i % 4 != 0)
			outl((uint16_t)(CPUS + i), ~0u);
		inb((uint16_t)(CPUS + i));
		inw((uint16_t)(CPUS + i));
		inl((uint16_t)(CPUS + i));
	}
	outl(CPUS - 2, ~0u);
	insb(CPUS, scratch, 200);
	if (inl(CPUS + CPU_HOTPLUG_SELECT) != 0)
		return wrong("a narrow write selects");
	outl(CPUS + CPU_HOTPLUG_ORDER, 0); /* no half order is left */
	return cpus_read(CPU_HOTPLUG_STATUS, 0) == status ||
	       wrong("the boot CPU's status");
}

/* Ports of KVM's PIC and PIT, and of what ends the machine. */
static bool port_is_known(unsigned port)
{
	static const struct {
		uint16_t first, last;
	} known[] = {{0x20, 0x21}, {0x40, 0x43}, {0x5e, 0x71}, {0xa0, 0xa1},
		{0xf0, 0xf7}, {0x3f5, 0x3ff}, {0x4d0, 0x4d1}, {0x502, 0x505},
		{0x5fd, 0x602}, {0x61d, 0x62f}};
	unsigned i;

	for (i = 0; i < COUNT(known); i++)
		if (port >= known[i].first && port <= known[i].last)
			return true;
	return false;
}

static bool ports_unknown(struct victim *v)
{
	unsigned port;

	for (port = 0; port < 0x10000; port += port < 0x1000 ? 1 : 37) {
		if (port_is_known(port))
			continue;
		if (inb((uint16_t)port) != 0xff)
			return wrong_at("something at port", port);
		outb((uint16_t)port, 0xff);
		if (port % 16 == 0) {
			outw((uint16_t)port, 0);
			inw((uint16_t)port);
		}
	}
	inl(0xfffd);
	inl(0xffff);
	outl(0xffff, 0x12345678);
	return true;
}

static bool ports_strings(struct victim *v)
{
	static const uint16_t at[] = {0x80, 0xcf8, 0x1f0, 0x2f8, 0xfffe};
	unsigned i;

	for (i = 0; i < COUNT(at); i++) {
		outsb(at[i], scratch, sizeof(scratch));
		insb(at[i], scratch, sizeof(scratch));
		if (scratch[sizeof(scratch) - 1] != 0xff)
			return wrong_at("something at port", at[i]);
	}
	return true;
}

static uint64_t read64(uint64_t gpa)
{
	return *(const volatile uint64_t *)gpa;
}

static bool holes(struct victim *v)
{
	const uint64_t at[] = {0xc0000000ull, 0xcffffff8ull, 0xd0000200ull,
		0xd0010000ull, 0xd0fffff8ull, 0xe0000000ull, 0xf0000000ull,
		0xfeb00000ull, 0xfed00000ull, 0xfffffff8ull, 1ull << 32,
		1ull << 36, (1ull << 36) - 8};
	unsigned i;

	for (i = 0; i < COUNT(at); i++) {
		page_map(at[i], 8);
		if (read64(at[i]) != ~0ull)
			return wrong_at("something at", at[i]);
		*(volatile uint64_t *)at[i] = 0;
		*(volatile uint8_t *)(at[i] + 1) = 1;
		*(volatile uint16_t *)(at[i] + 3) = 1;
		if (*(volatile uint32_t *)(at[i] + 1) != ~0u)
			return wrong_at("it was written:", at[i]);
	}
	return true;
}

static bool hole_strings(struct victim *v)
{
	uint64_t at = 0xe0000000ull, n = 4096;
	void *to = scratch;

	page_map(at, 8192);
	__asm__ volatile("rep movsb"
			 : "+S"(at), "+D"(to), "+c"(n)
			 :
			 : "memory");
	if (scratch[0] != 0xff || scratch[4095] != 0xff)
		return wrong("something in a hole");
	at = 0xe0000000ull;
	n = 1024;
	__asm__ volatile("rep stosl" : "+D"(at), "+c"(n) : "a"(0) : "memory");
	at = 0xe0000ffdull; /* crooked, and over two pages */
	*(volatile uint64_t *)at = 0;
	return read64(at) == ~0ull || wrong("something in a hole");
}

/* No slot behind the last device answers. */
static bool slots_empty(struct victim *v)
{
	unsigned i, n = 0;

	for (i = 0; i < LAYOUT_VIRTIO_MAX; i++)
		if (mmio_read32(layout_virtio_gpa(i)) == 0x74726976u)
			n++;
	for (i = n; i < LAYOUT_VIRTIO_MAX; i++) {
		mmio_write32(layout_virtio_gpa(i) + REG_STATUS, 0);
		mmio_write32(layout_virtio_gpa(i) + REG_QUEUE_NOTIFY, 0);
		if (mmio_read32(layout_virtio_gpa(i)) != ~0u)
			return wrong_at("something in slot", i);
	}
	return true;
}

static bool msrs(struct victim *v)
{
	/* An MSR that KVM lets us write with an address: its own clock, in a
	 * place where there is no RAM.  The host must not mind. */
	static const uint64_t at[] = {
		0xc0000001ull, 0xd0000001ull, 0xfffffffffffff001ull, 1};
	unsigned i;

	for (i = 0; i < COUNT(at); i++) {
		wrmsr(0x4b564d01, at[i]);
		rdtsc();
	}
	wrmsr(0x4b564d01, 0);
	return true;
}

const struct hostile_case hostile_machine[] = {
	{"serial_widths", ID_MACHINE, "take any width", serial_widths},
	{"serial_registers", ID_MACHINE, "take any value", serial_registers},
	{"serial_strings", ID_MACHINE, "take floods", serial_strings},
	{"serial_deaf", ID_MACHINE, "lose what it has no room for",
		serial_deaf},
	{"rtc_registers", ID_MACHINE, "take any time", rtc_registers},
	{"rtc_widths", ID_MACHINE, "take any width", rtc_widths},
	{"i8042_commands", ID_MACHINE, "pass its self test", i8042_commands},
	{"i8042_widths", ID_MACHINE, "pass its self test", i8042_widths},
	{"pvpanic_events", ID_MACHINE, "ignore what it does not know",
		pvpanic_events},
	{"power_values", ID_MACHINE, "ignore what it does not know",
		power_values},
	{"cpus_orders", ID_MACHINE, "keep the boot CPU, invent none",
		cpus_orders},
	{"cpus_widths", ID_MACHINE, "be written in words only", cpus_widths},
	{"ports_unknown", ID_MACHINE, "read all ones", ports_unknown},
	{"ports_strings", ID_MACHINE, "read all ones", ports_strings},
	{"holes", ID_MACHINE, "read all ones", holes},
	{"hole_strings", ID_MACHINE, "read all ones", hole_strings},
	{"slots_empty", ID_MACHINE, "not answer", slots_empty},
	{"msr_clock_nowhere", ID_MACHINE, "not mind", msrs},
	{NULL, 0, NULL, NULL},
};
