/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/power.c - the ways out.  An order of attempts ends in a triple
 * fault, which every VMM understands.
 */
#include <stddef.h>

#include "kernels/lib/boot.h"
#include "kernels/lib/console.h"
#include "kernels/lib/io.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"

#define PORT_SLEEP	0x600 /* ACPI hardware-reduced sleep control */
#define PORT_RESET	0x602
#define PORT_I8042	0x64
#define PORT_DEBUG_EXIT 0xf4
#define PORT_FW_CFG	0x510
#define SLEEP_S5	0x34 /* SLP_TYP 5, SLP_EN */

/* QEMU microvm with acpi=on: the same registers, elsewhere. */
#define QEMU_GED_SLEEP 0xfea00200ull
#define QEMU_GED_RESET 0xfea00202ull
#define QEMU_GED_VALUE 0x42

bool power_is_qemu(void)
{
	char name[4];

	outw(PORT_FW_CFG, 0);
	insb(PORT_FW_CFG + 1, name, sizeof(name));
	return memcmp(name, "QEMU", sizeof(name)) == 0;
}

/* QEMU acts on a request a little after the guest went on: a second or two,
 * so that nothing else ends the guest first. */
static void give_it_time(void)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < 4000000000ull)
		cpu_pause();
}

void power_off(void)
{
	outb(PORT_SLEEP, SLEEP_S5);
	if (power_is_qemu()) {
		mmio_write8(QEMU_GED_SLEEP, SLEEP_S5);
		give_it_time();
	}
}

void power_reset_acpi(void)
{
	outb(PORT_RESET, 1);
	if (power_is_qemu()) {
		mmio_write8(QEMU_GED_RESET, QEMU_GED_VALUE);
		give_it_time();
	}
}

void power_reset_i8042(void)
{
	outb(PORT_I8042, 0xfe);
}

void power_debug_exit(uint32_t value)
{
	outl(PORT_DEBUG_EXIT, value);
}

void power_triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	irq_off();
	__asm__ volatile("lidt %0" : : "m"(none));
	for (;;) /* a page fault, as nothing maps this; no way to deliver it */
		*(volatile uint8_t *)0x7000000000ull = 0;
}

void power_halt(void)
{
	for (;;) {
		irq_off();
		__asm__ volatile("hlt");
	}
}

void guest_fail(const char *why)
{
	print("guest: %s\n", why);
	guest_exit(false);
}

void guest_exit(bool ok)
{
	const char *how = boot_word("exit", 0), *value;
	uint32_t v = 0;

	if (how == NULL)
		how = "poweroff";
	if (word_is(how, "debug")) {
		value = how + sizeof("debug") - 1;
		if (*value == ':')
			v = (uint32_t)parse_uint(value + 1, NULL);
		power_debug_exit(ok ? v : v + 1);
	} else if (word_is(how, "reset")) {
		power_reset_acpi();
		power_reset_i8042();
	} else if (word_is(how, "halt")) {
		power_halt();
	} else if (!word_is(how, "triple")) {
		power_off();
		power_debug_exit(ok ? 0 : 1);
	}
	power_triple_fault();
}
