/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/exits.c - everything that makes a vCPU leave the guest, once each,
 * with a check of what it brought back; and, on request (case=), the ways for
 * a guest to end, to hang and to break.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/power.h"
#include "kernels/lib/string.h"

#define PORT_NOBODY  0x5f0
#define PORT_RTC     0x70
#define PORT_I8042   0x64
#define PORT_PVPANIC 0x505
#define GPA_NOBODY   0xe0000000ull
#define VA_NOBODY    0x7000000000ull
#define PATIENCE_MS  10000u

static struct cpu boot_cpu;
static uint64_t ticks, ipis;
static bool qemu;

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

/* ---- ports ---------------------------------------------------------------*/

static void pio_nobody(void)
{
	outb(PORT_NOBODY, 0x11);
	outw(PORT_NOBODY, 0x2222);
	outl(PORT_NOBODY, 0x33333333);
	check("pio_byte", inb(PORT_NOBODY) == 0xff);
	check("pio_word", inw(PORT_NOBODY) == 0xffff);
	check("pio_dword", inl(PORT_NOBODY) == 0xffffffff);
}

static void pio_device(void)
{
	outb(COM1_SCR, 0x5a);
	check("pio_scratch", inb(COM1_SCR) == 0x5a);
	outb(COM1_SCR, 0xa5);
	check("pio_scratch_again", inb(COM1_SCR) == 0xa5);
}

static void pio_string(void)
{
	static const uint8_t out[8] = {1, 2, 3, 4, 5, 6, 7, 0x42};
	uint8_t in[64];
	unsigned i, same = 0;

	outsb(COM1_SCR, out, sizeof(out));
	memset(in, 0, sizeof(in));
	insb(COM1_SCR, in, sizeof(in));
	for (i = 0; i < sizeof(in); i++)
		same += in[i] == 0x42;
	check("pio_string", same == sizeof(in));
}

/* ---- memory nobody claims ------------------------------------------------*/

static uint16_t mmio_read16(uint64_t gpa)
{
	uint16_t v;

	__asm__ volatile("movw (%1), %0" : "=r"(v) : "r"(gpa) : "memory");
	return v;
}

static uint64_t mmio_read64(uint64_t gpa)
{
	uint64_t v;

	__asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(gpa) : "memory");
	return v;
}

static void mmio(void)
{
	uint8_t in[16], ones[16];

	page_map(GPA_NOBODY, 2 * BLOCK_SIZE);
	mmio_write8(GPA_NOBODY, 0x11);
	mmio_write32(GPA_NOBODY + 4, 0x44444444);
	__asm__ volatile("movq %0, (%1)"
			 :
			 : "r"(0x8888888888888888ull), "r"(GPA_NOBODY + 8)
			 : "memory");
	check("mmio_write", true); /* we are still here */
	if (qemu) {
		check_skip("mmio_read", "QEMU gives 0 where nobody is");
		return;
	}
	check("mmio_byte", mmio_read8(GPA_NOBODY) == 0xff);
	check("mmio_word", mmio_read16(GPA_NOBODY + 2) == 0xffff);
	check("mmio_dword", mmio_read32(GPA_NOBODY + 4) == 0xffffffff);
	check("mmio_qword", mmio_read64(GPA_NOBODY + 8) == ~0ull);
	check("mmio_two_pages", mmio_read64(GPA_NOBODY + 4093) == ~0ull);
	memset(ones, 0xff, sizeof(ones));
	memset(in, 0, sizeof(in));
	memcpy(in, (const void *)GPA_NOBODY, sizeof(in));
	check("mmio_string", memcmp(in, ones, sizeof(in)) == 0);
}

/* ---- sleep ---------------------------------------------------------------*/

static void hlt_timer(void)
{
	uint64_t before = ticks;

	apic_timer(VECTOR_TIMER, 1000, false);
	while (*(volatile uint64_t *)&ticks == before)
		irq_sleep();
	check("hlt_timer", ticks == before + 1);
	apic_timer_stop();
}

static void hlt_ipi(void)
{
	uint64_t before = ipis;

	apic_send(apic_id(), VECTOR_IPI);
	check("hlt_ipi", irq_wait(&ipis, before + 1, PATIENCE_MS));
}

/* ---- processor -----------------------------------------------------------*/

static void cpuid_leaves(void)
{
	static const char kvm[12] = "KVMKVMKVM";
	uint32_t r[4];

	cpuid(1, 0, r);
	check("cpuid_hypervisor", (r[2] >> 31) == 1);
	check("cpuid_apic_id", r[1] >> 24 == apic_id());
	cpuid(0x40000000, 0, r);
	if (memcmp(&r[1], "TCGTCGTCGTCG", 12) == 0)
		check_skip("cpuid_signature", "TCG");
	else
		check("cpuid_signature", memcmp(&r[1], kvm, 12) == 0);
}

static void tsc(void)
{
	uint64_t a = rdtsc(), b, c, never = 0;

	outb(PORT_NOBODY, 0); /* an exit in between */
	b = rdtsc();
	irq_wait(&never, 1, 1); /* a sleep */
	c = rdtsc();
	check("tsc", a < b && b < c);
}

/* probe_load() may fault; on_fault() then lets it return. */
uint64_t probe_load(uint64_t va);
extern char probe_load_end[];
__asm__(".pushsection .text.probe, \"ax\", @progbits\n"
	"probe_load: movq (%rdi), %rax\n"
	"probe_load_end: ret\n"
	".popsection");

static struct {
	uint64_t vector, error, address;
} last;

static void on_fault(struct trap_frame *frame)
{
	last.vector = frame->vector;
	last.error = frame->error;
	last.address = read_cr2();
	if (frame->rip != (uint64_t)probe_load)
		guest_fail("a fault that was not asked for");
	frame->rip = (uint64_t)probe_load_end;
}

static void fault(void)
{
	trap_handle(TRAP_PF, on_fault);
	trap_handle(TRAP_GP, on_fault);
	probe_load(VA_NOBODY + 8);
	check("fault_page", last.vector == TRAP_PF && last.error == 0 &&
				    last.address == VA_NOBODY + 8);
	probe_load(0x8000000000000000ull); /* not canonical */
	check("fault_protection", last.vector == TRAP_GP && last.error == 0);
	trap_handle(TRAP_PF, NULL);
	trap_handle(TRAP_GP, NULL);
}

static void in_user_mode(void *arg)
{
	uint64_t cs;

	/* Which selector it is depends on the host if user mode is its own. */
	__asm__ volatile("movq %%cs, %0" : "=r"(cs));
	++*(uint64_t *)arg;
	user_leave(cs & 3);
}

static void spin_in_user_mode(void *arg)
{
	for (;;)
		__asm__ volatile("" : : : "memory");
}

static uint8_t user_stack[1024] __attribute__((aligned(16)));

static void user(void)
{
	uint64_t n = 0;
	unsigned i, right = 0;

	page_user_image();
	for (i = 0; i < 3; i++)
		right += user_enter(&boot_cpu, in_user_mode, &n,
				 user_stack + sizeof(user_stack)) == 3;
	check("user_mode", n == 3 && right == 3);
}

/* ---- devices that are always there under godwit --------------------------*/

static uint8_t rtc_read(uint8_t reg)
{
	outb(PORT_RTC, reg);
	return inb(PORT_RTC + 1);
}

static unsigned rtc_number(uint8_t reg)
{
	uint8_t v = rtc_read(reg);

	if ((rtc_read(0x0b) & 4) != 0) /* binary */
		return v;
	return (v >> 4) * 10u + (v & 15u);
}

static void rtc(void)
{
	if (qemu && rtc_read(0x0d) == 0xff) {
		check_skip("rtc", "not there");
		return;
	}
	check("rtc_valid", (rtc_read(0x0d) & 0x80) != 0);
	check("rtc_seconds", rtc_number(0x00) < 60);
	check("rtc_minutes", rtc_number(0x02) < 60);
	check("rtc_year", rtc_number(0x09) >= 24 && rtc_number(0x09) < 100);
	check("rtc_month", rtc_number(0x08) - 1 < 12);
}

static void i8042(void)
{
	uint8_t status = inb(PORT_I8042);

	if (qemu && status == 0xff)
		check_skip("i8042_status", "not there");
	else /* nothing to read; ready to be written to */
		check("i8042_status", (status & 0x03) == 0);
}

/* ---- the ends ------------------------------------------------------------*/

static void end_triple(void)
{
	power_triple_fault();
}

static void end_debugexit(void)
{
	const char *word = boot_word("case", 0);

	while (*word != ':' && *word != ' ' && *word != '\0')
		word++;
	power_debug_exit(
		*word == ':' ? (uint32_t)parse_uint(word + 1, NULL) : 0);
}

/* Code where there is no memory: KVM cannot fetch, cannot emulate. */
static void end_internal(void)
{
	page_map(GPA_NOBODY, BLOCK_SIZE);
	((void (*)(void))GPA_NOBODY)();
}

static void end_pvpanic(void)
{
	outb(PORT_PVPANIC, 1);
}

static void end_loop(void)
{
	const char *word = boot_word("case", 0);

	print("exits: looping\n");
	while (!word_is(word, "loop:user"))
		cpu_pause();
	page_user_image();
	user_enter(&boot_cpu, spin_in_user_mode, NULL,
		user_stack + sizeof(user_stack));
}

struct one_case {
	const char *name;
	void (*run)(void);
};

static const struct one_case checks[] = {
	{"pio", pio_nobody},
	{"scratch", pio_device},
	{"string", pio_string},
	{"mmio", mmio},
	{"timer", hlt_timer},
	{"ipi", hlt_ipi},
	{"cpuid", cpuid_leaves},
	{"tsc", tsc},
	{"fault", fault},
	{"user", user},
	{"rtc", rtc},
	{"i8042", i8042},
};

static const struct one_case ends[] = {
	{"triple", end_triple},
	{"reset8042", power_reset_i8042},
	{"resetacpi", power_reset_acpi},
	{"poweroff", power_off},
	{"halt", power_halt},
	{"debugexit", end_debugexit},
	{"internal", end_internal},
	{"pvpanic", end_pvpanic},
	{"loop", end_loop},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

bool guest_main(void)
{
	const char *only = boot_word("case", 0);
	bool found = false;
	size_t i;

	cpu_init(&boot_cpu, 0);
	apic_init();
	trap_handle(VECTOR_TIMER, on_timer);
	trap_handle(VECTOR_IPI, on_ipi);
	qemu = power_is_qemu();
	for (i = 0; only != NULL && i < COUNT(ends); i++)
		if (word_is(only, ends[i].name)) {
			print("exits: %s\n", ends[i].name);
			ends[i].run();
			/* pvpanic alone lets the guest go on. */
			return check(ends[i].name, ends[i].run == end_pvpanic);
		}
	print("exits: entry %s%s\n", boot_entry_name(), qemu ? " qemu" : "");
	for (i = 0; i < COUNT(checks); i++)
		if (only == NULL || word_is(only, checks[i].name)) {
			checks[i].run();
			found = true;
		}
	if (!found)
		check("case", false); /* no such case */
	return check_summary("exits");
}
