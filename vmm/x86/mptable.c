/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/mptable.c - see mptable.h.  Every IOAPIC pin is listed as the ISA
 * interrupt of its number, so that a guest may use any of them. */
#include "vmm/x86/mptable.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/layout.h"

#define SPEC_REV       4 /* 1.4 */
#define LAPIC_VERSION  0x14
#define IOAPIC_VERSION 0x11
#define CPU_SIGNATURE  0x600u /* family 6 */
#define CPU_FEATURES   0x201u /* FPU, APIC */
#define CASCADE_PIN    2u     /* no ISA device has it */

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INT, ENTRY_LOCAL_INT };
enum { CPU_ENABLED = 1, CPU_BOOT = 2 };
enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXTINT = 3 };

#define ALL_LAPICS	 0xff
#define EDGE_ACTIVE_HIGH 0x5u

struct mp_pointer {
	char signature[4];
	uint32_t table_gpa;
	uint8_t length; /* in 16 bytes */
	uint8_t spec_rev;
	uint8_t checksum;
	uint8_t feature[5];
};

struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t spec_rev;
	uint8_t checksum;
	char oem[8];
	char product[12];
	uint32_t oem_table;
	uint16_t oem_length;
	uint16_t entries;
	uint32_t lapic_gpa;
	uint16_t ext_length;
	uint8_t ext_checksum;
	uint8_t reserved;
};

struct mp_cpu {
	uint8_t type, apic_id, version, flags;
	uint32_t signature, features;
	uint32_t reserved[2];
};

struct mp_bus {
	uint8_t type, id;
	char name[6];
};

struct mp_ioapic {
	uint8_t type, id, version, flags;
	uint32_t gpa;
};

/* Of an IOAPIC pin or of a local APIC's LINT pin. */
struct mp_int {
	uint8_t type, kind;
	uint16_t flags;
	uint8_t bus, bus_irq;
	uint8_t apic_id, pin;
};

/* CPU entries come first, so the rest has a fixed shape. */
struct mp_rest {
	struct mp_bus bus;
	struct mp_ioapic ioapic;
	struct mp_int pin[LAYOUT_IOAPIC_PINS - 1]; /* all but the cascade */
	struct mp_int lint[2];
};

struct mp_table {
	struct mp_header header;
	struct mp_cpu cpu[MPTABLE_CPUS_MAX];
	struct mp_rest rest; /* follows the last CPU when written */
};

_Static_assert(sizeof(struct mp_pointer) == 16, "MP 1.4, 4.1");
_Static_assert(sizeof(struct mp_header) == 44, "MP 1.4, 4.2");
_Static_assert(sizeof(struct mp_cpu) == 20, "MP 1.4, 4.3.1");
_Static_assert(sizeof(struct mp_int) == 8, "MP 1.4, 4.3.4");
_Static_assert(sizeof(struct mp_table) < LAYOUT_ACPI_END - LAYOUT_ACPI,
	"the table ends below 1 MiB");

static uint8_t sum(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *p++);
	return total;
}

static void fill_rest(struct mp_rest *rest, uint8_t ioapic_id)
{
	unsigned pin, n = 0;

	memset(rest, 0, sizeof(*rest));
	rest->bus = (struct mp_bus){.type = ENTRY_BUS};
	memcpy(rest->bus.name, "ISA   ", sizeof(rest->bus.name));
	rest->ioapic = (struct mp_ioapic){ENTRY_IOAPIC, ioapic_id,
		IOAPIC_VERSION, 1, (uint32_t)LAYOUT_IOAPIC};
	for (pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++)
		if (pin != CASCADE_PIN)
			rest->pin[n++] = (struct mp_int){ENTRY_INT,
				INT_VECTORED, EDGE_ACTIVE_HIGH, 0, (uint8_t)pin,
				ioapic_id, (uint8_t)pin};
	rest->lint[0] =
		(struct mp_int){ENTRY_LOCAL_INT, INT_EXTINT, 0, 0, 0, 0, 0};
	rest->lint[1] = (struct mp_int){
		ENTRY_LOCAL_INT, INT_NMI, 0, 0, 0, ALL_LAPICS, 1};
}

static void fill_header(
	struct mp_header *header, unsigned cpus, uint16_t length)
{
	unsigned fixed = 2 + LAYOUT_IOAPIC_PINS - 1 + 2;

	memset(header, 0, sizeof(*header));
	memcpy(header->signature, "PCMP", 4);
	memcpy(header->oem, "GODWIT  ", sizeof(header->oem));
	memcpy(header->product, "MICROVM     ", sizeof(header->product));
	header->length = length;
	header->spec_rev = SPEC_REV;
	header->entries = (uint16_t)(cpus + fixed);
	header->lapic_gpa = (uint32_t)LAYOUT_LAPIC;
}

int mptable_write(const struct guestmem *gm, unsigned cpus, struct error *err)
{
	const uint32_t head = (uint32_t)offsetof(struct mp_table, cpu) +
			      cpus * (uint32_t)sizeof(struct mp_cpu);
	const uint32_t length = head + (uint32_t)sizeof(struct mp_rest);
	struct mp_table table;
	struct mp_pointer pointer = {
		.signature = {'_', 'M', 'P', '_'},
		.table_gpa = (uint32_t)LAYOUT_ACPI,
		.length = 1,
		.spec_rev = SPEC_REV,
	};
	unsigned i;
	bool ok;

	if (cpus > MPTABLE_CPUS_MAX)
		return error_set(err, -EINVAL,
			"machine cmdline: %u CPUs are more than the %u of an "
			"MP table (use --machine acpi)",
			cpus, MPTABLE_CPUS_MAX);
	fill_header(&table.header, cpus, (uint16_t)length);
	for (i = 0; i < cpus; i++)
		table.cpu[i] = (struct mp_cpu){ENTRY_CPU, (uint8_t)i,
			LAPIC_VERSION, CPU_ENABLED | (i == 0 ? CPU_BOOT : 0),
			CPU_SIGNATURE, CPU_FEATURES, {0, 0}};
	fill_rest(&table.rest, (uint8_t)cpus);
	table.header.checksum =
		(uint8_t) -
		(sum(&table, head) + sum(&table.rest, sizeof(table.rest)));
	pointer.checksum = (uint8_t)-sum(&pointer, sizeof(pointer));
	ok = guestmem_write(gm, LAYOUT_EBDA, &pointer, sizeof(pointer)) &&
	     guestmem_write(gm, LAYOUT_ACPI, &table, head) &&
	     guestmem_write(
		     gm, LAYOUT_ACPI + head, &table.rest, sizeof(table.rest));
	assert(ok);
	return 0;
}
