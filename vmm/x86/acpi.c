/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/acpi.c - see acpi.h.  Tables are written once per boot; what changes
 * while the guest runs (hotplug) belongs to devices behind them.
 */
#include "vmm/x86/acpi.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "devices/rtc.h"
#include "vmm/error.h"
#include "vmm/layout.h"
#include "vmm/x86/acpi_cpus.h"
#include "vmm/x86/aml.h"

#define RSDP_BYTES   36u
#define RSDP_V1	     20u /* what the first checksum covers */
#define RSDP_ROOM    64u
#define HEADER_BYTES 36u
#define ALIGNMENT    16u

/* Byte offsets in the FADT (ACPI 6.5, table 5.9). */
enum {
	FADT_DSDT = 40,
	FADT_CENTURY = 108,
	FADT_IAPC_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL = 244,
	FADT_SLEEP_STATUS = 256,
	FADT_HYPERVISOR = 268,
	FADT_BYTES = 276,
};

/* A VGA is not there, no 8042 keyboard controller is (its bit stays 0), and
 * the CMOS RTC is (its "not present" bit stays 0). */
#define IAPC_NO_VGA (1u << 2)

#define FADT_WBINVD	  (1u << 0)
#define FADT_PROC_C1	  (1u << 2)
#define FADT_PWR_BUTTON	  (1u << 4) /* no fixed-hardware button */
#define FADT_SLP_BUTTON	  (1u << 5)
#define FADT_FIX_RTC	  (1u << 6) /* no fixed-hardware RTC wake */
#define FADT_RESET_REG_OK (1u << 10)
#define FADT_HEADLESS	  (1u << 12)
#define FADT_HW_REDUCED	  (1u << 20)

#define GAS_SYSTEM_IO 1u
#define GAS_BYTE      1u

#define MADT_IOAPIC	1u
#define MADT_LAPIC_NMI	4u
#define MADT_X2APIC_NMI 10u
#define MADT_NMI_LINT	1u

/* Appends tables to one buffer; the AML writer does the bounds. */
struct tables {
	struct aml out;
	uint64_t gpa;
};

static void put_le(uint8_t *out, uint64_t value, unsigned len)
{
	unsigned i;

	for (i = 0; i < len; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint8_t checksum(const uint8_t *bytes, uint32_t len)
{
	uint8_t sum = 0;

	while (len-- > 0)
		sum = (uint8_t)(sum + *bytes++);
	return (uint8_t)-sum;
}

static void append_le(struct tables *t, uint64_t value, unsigned len)
{
	uint8_t bytes[8];

	put_le(bytes, value, len);
	aml_put(&t->out, bytes, len);
}

/* Return: offset of the table, for close_table(). */
static uint32_t open_table(
	struct tables *t, const char *signature, uint8_t revision)
{
	static const uint8_t zero[ALIGNMENT];
	uint8_t head[HEADER_BYTES] = {0};
	uint32_t pad = -t->out.len % ALIGNMENT, start;

	aml_put(&t->out, zero, pad);
	start = t->out.len;
	memcpy(head, signature, 4);
	head[8] = revision;
	memcpy(head + 10, "GODWIT", 6);	  /* OEM */
	memcpy(head + 16, "GODWITVM", 8); /* OEM table */
	put_le(head + 24, 1, 4);
	memcpy(head + 28, "GDWT", 4); /* creator */
	put_le(head + 32, 1, 4);
	aml_put(&t->out, head, sizeof(head));
	return start;
}

static void close_table(struct tables *t, uint32_t start)
{
	uint8_t *table = t->out.buf + start;

	if (t->out.overflow)
		return;
	put_le(table + 4, t->out.len - start, 4);
	table[9] = checksum(table, t->out.len - start);
}

/* The parts of \_SB. */

static void add_serial(struct aml *dsdt)
{
	struct aml_resources res = {.len = 0};
	uint32_t dev = aml_open_device(dsdt, "COM1");

	aml_name(dsdt, "_HID");
	aml_eisaid(dsdt, "PNP0501");
	aml_name(dsdt, "_UID");
	aml_integer(dsdt, 1);
	aml_resource_io(&res, LAYOUT_PIO_COM1, 8);
	aml_resource_irq(&res, LAYOUT_GSI_COM1);
	aml_name(dsdt, "_CRS");
	aml_put_resources(dsdt, &res);
	aml_close(dsdt, dev);
}

static void add_rtc(struct aml *dsdt)
{
	struct aml_resources res = {.len = 0};
	uint32_t dev = aml_open_device(dsdt, "RTC0");

	aml_name(dsdt, "_HID");
	aml_eisaid(dsdt, "PNP0B00");
	aml_resource_io(&res, LAYOUT_PIO_RTC, 2);
	aml_resource_irq(&res, LAYOUT_GSI_RTC);
	aml_name(dsdt, "_CRS");
	aml_put_resources(dsdt, &res);
	aml_close(dsdt, dev);
}

static void add_pvpanic(struct aml *dsdt)
{
	struct aml_resources res = {.len = 0};
	uint32_t dev = aml_open_device(dsdt, "PVPN");

	aml_name(dsdt, "_HID");
	aml_string(dsdt, "QEMU0001");
	aml_name(dsdt, "_STA");
	aml_integer(dsdt, 0xf); /* present, enabled, shown, working */
	aml_resource_io(&res, LAYOUT_PIO_PVPANIC, 1);
	aml_name(dsdt, "_CRS");
	aml_put_resources(dsdt, &res);
	aml_close(dsdt, dev);
}

static void add_virtio(struct aml *dsdt, unsigned slot)
{
	struct aml_resources res = {.len = 0};
	char name[] = "VR00";
	uint32_t dev;

	name[2] = (char)('0' + slot / 10);
	name[3] = (char)('0' + slot % 10);
	dev = aml_open_device(dsdt, name);
	aml_name(dsdt, "_HID");
	aml_string(dsdt, "LNRO0005");
	aml_name(dsdt, "_UID");
	aml_integer(dsdt, slot);
	aml_name(dsdt, "_CCA");
	aml_integer(dsdt, 1);
	aml_resource_memory(
		&res, (uint32_t)layout_virtio_gpa(slot), LAYOUT_VIRTIO_SIZE);
	aml_resource_gsi(&res, layout_virtio_gsi(slot));
	aml_name(dsdt, "_CRS");
	aml_put_resources(dsdt, &res);
	aml_close(dsdt, dev);
}

static void add_s5(struct aml *dsdt)
{
	uint32_t package;
	unsigned i;

	aml_name(dsdt, "_S5_");
	package = aml_open_package(dsdt, 4);
	aml_integer(dsdt, LAYOUT_POWER_S5);
	for (i = 1; i < 4; i++)
		aml_integer(dsdt, 0);
	aml_close(dsdt, package);
}

static uint32_t add_dsdt(struct tables *t, const struct boot_spec *spec)
{
	uint32_t start = open_table(t, "DSDT", 2); /* 64-bit integers */
	struct aml *dsdt = &t->out;
	uint32_t scope = aml_open_scope(dsdt, "_SB_");
	unsigned slot;

	if (spec->serial)
		add_serial(dsdt);
	add_rtc(dsdt);
	for (slot = 0; slot < spec->virtio_devices; slot++)
		add_virtio(dsdt, slot);
	if (spec->pvpanic)
		add_pvpanic(dsdt);
	if (spec->cpu_hotplug)
		acpi_add_cpus(dsdt, spec->cpus_max);
	aml_close(dsdt, scope);
	add_s5(dsdt);
	close_table(t, start);
	return start;
}

/* Generic Address Structure of one port. */
static void put_gas(uint8_t *out, uint16_t port)
{
	out[0] = GAS_SYSTEM_IO;
	out[1] = 8; /* bits */
	out[2] = 0;
	out[3] = GAS_BYTE;
	put_le(out + 4, port, 8);
}

static uint32_t add_fadt(struct tables *t, uint32_t dsdt)
{
	uint8_t body[FADT_BYTES] = {0};
	uint32_t start = open_table(t, "FACP", 6);

	put_le(body + FADT_DSDT, t->gpa + dsdt, 4);
	put_le(body + FADT_IAPC_BOOT_ARCH, IAPC_NO_VGA, 2);
	put_le(body + FADT_FLAGS,
		FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
			FADT_FIX_RTC | FADT_RESET_REG_OK | FADT_HEADLESS |
			FADT_HW_REDUCED,
		4);
	put_gas(body + FADT_RESET_REG,
		LAYOUT_PIO_POWER + LAYOUT_POWER_RESET_REG);
	body[FADT_CENTURY] = RTC_CENTURY_REG;
	body[FADT_RESET_VALUE] = LAYOUT_POWER_RESET;
	body[FADT_MINOR] = 3; /* 6.3: the first with "online capable" */
	put_le(body + FADT_X_DSDT, t->gpa + dsdt, 8);
	put_gas(body + FADT_SLEEP_CONTROL, LAYOUT_PIO_POWER);
	put_gas(body + FADT_SLEEP_STATUS, LAYOUT_PIO_POWER + 1);
	memcpy(body + FADT_HYPERVISOR, "GODWIT", 6);
	aml_put(&t->out, body + HEADER_BYTES, FADT_BYTES - HEADER_BYTES);
	close_table(t, start);
	return start;
}

static bool is_present(const struct boot_spec *spec, unsigned id)
{
	return spec->cpu_present ? spec->cpu_present[id] : id < spec->cpus;
}

static void add_ioapic(struct tables *t)
{
	append_le(t, MADT_IOAPIC, 1);
	append_le(t, 12, 1);
	append_le(t, 0, 1); /* id */
	append_le(t, 0, 1);
	append_le(t, LAYOUT_IOAPIC, 4);
	append_le(t, 0, 4); /* first GSI */
}

/* NMI at LINT1 of every CPU. */
static void add_nmi(struct tables *t, bool x2apic)
{
	append_le(t, MADT_LAPIC_NMI, 1);
	append_le(t, 6, 1);
	append_le(t, 0xff, 1); /* all UIDs */
	append_le(t, 0, 2);    /* as the bus has it */
	append_le(t, MADT_NMI_LINT, 1);
	if (!x2apic)
		return;
	append_le(t, MADT_X2APIC_NMI, 1);
	append_le(t, 12, 1);
	append_le(t, 0, 2);
	append_le(t, 0xffffffff, 4); /* all UIDs */
	append_le(t, MADT_NMI_LINT, 1);
	append_le(t, 0, 3);
}

/* No interrupt overrides: every GSI is its own pin, edge and active high, which
 * is what the ISA defaults say.  No dual 8259 either (flags 0). */
static uint32_t add_madt(struct tables *t, const struct boot_spec *spec)
{
	uint32_t start = open_table(t, "APIC", 5);
	uint8_t entry[ACPI_CPU_ENTRY_MAX];
	unsigned id;

	append_le(t, LAYOUT_LAPIC, 4);
	append_le(t, 0, 4);
	for (id = 0; id < spec->cpus_max && !t->out.overflow; id++)
		aml_put(&t->out, entry,
			acpi_cpu_entry(entry, id,
				is_present(spec, id) ? ACPI_CPU_ENABLED
						     : ACPI_CPU_ONLINE_LATER));
	add_ioapic(t);
	add_nmi(t, spec->cpus_max > ACPI_X2APIC_FIRST);
	close_table(t, start);
	return start;
}

static uint32_t add_xsdt(struct tables *t, uint32_t fadt, uint32_t madt)
{
	uint32_t start = open_table(t, "XSDT", 1);

	append_le(t, t->gpa + fadt, 8);
	append_le(t, t->gpa + madt, 8);
	close_table(t, start);
	return start;
}

static void fill_rsdp(struct tables *t, uint32_t xsdt)
{
	uint8_t *rsdp = t->out.buf;

	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "GODWIT", 6);
	rsdp[15] = 2; /* revision; the RSDT address stays 0 */
	put_le(rsdp + 20, RSDP_BYTES, 4);
	put_le(rsdp + 24, t->gpa + xsdt, 8);
	rsdp[8] = checksum(rsdp, RSDP_V1);
	rsdp[32] = checksum(rsdp, RSDP_BYTES);
}

int acpi_build(const struct boot_spec *spec, uint64_t gpa, uint8_t *buf,
	uint32_t cap, uint32_t *ret_len, struct error *err)
{
	struct tables t = {.out = {.buf = buf, .cap = cap}, .gpa = gpa};
	uint32_t dsdt, fadt, madt, xsdt;

	assert(cap >= RSDP_ROOM && gpa % ALIGNMENT == 0);
	assert(spec->virtio_devices <= LAYOUT_VIRTIO_MAX);
	memset(buf, 0, RSDP_ROOM);
	t.out.len = RSDP_ROOM;
	dsdt = add_dsdt(&t, spec);
	fadt = add_fadt(&t, dsdt);
	madt = add_madt(&t, spec);
	xsdt = add_xsdt(&t, fadt, madt);
	if (t.out.overflow)
		return error_set(err, -EFBIG,
			"ACPI: %u CPUs do not fit into %u KiB of tables (give "
			"fewer CPUs)",
			spec->cpus_max, cap >> 10);
	fill_rsdp(&t, xsdt);
	*ret_len = t.out.len;
	return 0;
}
