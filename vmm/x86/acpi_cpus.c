/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/acpi_cpus.c - see acpi_cpus.h.  In ASL:
 *
 *   Device (CPUS) {
 *       Name (_HID, "ACPI0010")
 *       OperationRegion (CREG, SystemIO, 0x620, 16)
 *       Field (CREG, DWordAcc, NoLock, Preserve)
 *           { CSEL, 32, CSTS, 32, CPND, 32, CRES, 32 }
 *       Mutex (CLCK, 0)
 *       Method (CSTA, 1) { present ? 0xf : 0 }
 *       Method (CEJ0, 1) { eject }
 *       Method (COST, 3) { id, event, status }
 *       Device (C000) { _HID "ACPI0007", _UID, _MAT, _STA, _EJ0, _OST } ...
 *       Method (CNTF, 2) { If (Arg0 == 0) { Notify (C000, Arg1) } ... }
 *       Method (SCAN) { while something is pending: take it back, CNTF }
 *   }
 *   Device (GED0) { _HID "ACPI0013", _CRS the interrupt, _EVT calls SCAN }
 *
 * Select and access are two steps, hence the mutex; Notify only queues.
 */
#include "vmm/x86/acpi_cpus.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "devices/cpu_hotplug.h"
#include "vmm/layout.h"
#include "vmm/x86/aml.h"

#define MADT_LAPIC  0u
#define MADT_X2APIC 9u

#define STA_ALL 0xfu /* present, enabled, shown, working */

#define NOTIFY_DEVICE_CHECK 1u
#define NOTIFY_EJECT	    3u

/* Registers as fields, in the order of their offsets. */
#define F_SELECT  "CSEL"
#define F_STATUS  "CSTS" /* written: ORDER */
#define F_PENDING "CPND" /* written: EVENT */
#define F_RESULT  "CRES" /* read: COUNT */
#define LOCK	  "CLCK"

static void put_le(uint8_t *out, uint64_t value, unsigned len)
{
	unsigned i;

	for (i = 0; i < len; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

uint32_t acpi_cpu_entry(
	uint8_t out[ACPI_CPU_ENTRY_MAX], unsigned id, uint32_t flags)
{
	memset(out, 0, ACPI_CPU_ENTRY_MAX);
	if (id < ACPI_X2APIC_FIRST) {
		out[0] = MADT_LAPIC;
		out[1] = 8;
		out[2] = (uint8_t)id; /* processor UID */
		out[3] = (uint8_t)id; /* APIC id */
		put_le(out + 4, flags, 4);
		return 8;
	}
	out[0] = MADT_X2APIC;
	out[1] = 16;
	put_le(out + 4, id, 4); /* APIC id */
	put_le(out + 8, flags, 4);
	put_le(out + 12, id, 4); /* processor UID */
	return 16;
}

static void add_registers(struct aml *aml)
{
	uint32_t field;

	aml_region_io(aml, "CREG", LAYOUT_PIO_CPUS, LAYOUT_PIO_CPUS_PORTS);
	field = aml_open_field(aml, "CREG");
	aml_field(aml, F_SELECT, 32);
	aml_field(aml, F_STATUS, 32);
	aml_field(aml, F_PENDING, 32);
	aml_field(aml, F_RESULT, 32);
	aml_close(aml, field);
	aml_mutex(aml, LOCK);
}

/* Acquire; select CPU Arg0. */
static void begin_access(struct aml *aml)
{
	aml_acquire(aml, LOCK);
	aml_op(aml, AML_STORE);
	aml_arg(aml, 0);
	aml_path(aml, F_SELECT);
}

static void add_sta(struct aml *aml)
{
	uint32_t method = aml_open_method(aml, "CSTA", 1), block;

	begin_access(aml);
	aml_op(aml, AML_STORE);
	aml_path(aml, F_STATUS);
	aml_local(aml, 0);
	aml_release(aml, LOCK);
	block = aml_open_if(aml);
	aml_op(aml, AML_AND);
	aml_local(aml, 0);
	aml_integer(aml, CPU_HOTPLUG_PRESENT);
	aml_integer(aml, 0);
	aml_op(aml, AML_RETURN);
	aml_integer(aml, STA_ALL);
	aml_close(aml, block);
	aml_op(aml, AML_RETURN);
	aml_integer(aml, 0);
	aml_close(aml, method);
}

static void add_ej0(struct aml *aml)
{
	uint32_t method = aml_open_method(aml, "CEJ0", 1);

	begin_access(aml);
	aml_op(aml, AML_STORE);
	aml_integer(aml, CPU_HOTPLUG_EJECT);
	aml_path(aml, F_STATUS);
	aml_release(aml, LOCK);
	aml_close(aml, method);
}

static void add_ost(struct aml *aml)
{
	uint32_t method = aml_open_method(aml, "COST", 3);

	begin_access(aml);
	aml_op(aml, AML_STORE);
	aml_arg(aml, 1);
	aml_path(aml, F_PENDING);
	aml_op(aml, AML_STORE);
	aml_arg(aml, 2);
	aml_path(aml, F_RESULT);
	aml_release(aml, LOCK);
	aml_close(aml, method);
}

static void cpu_name(char name[8], unsigned id)
{
	assert(id < 0x1000);
	snprintf(name, 8, "C%03X", id & 0xfffu);
}

/* _MAT says "enabled" always: Linux asks it only of a CPU that is present, and
 * takes no other answer. */
static void add_cpu(struct aml *aml, unsigned id)
{
	uint8_t entry[ACPI_CPU_ENTRY_MAX];
	uint32_t device, method;
	char name[8];

	cpu_name(name, id);
	device = aml_open_device(aml, name);
	aml_name(aml, "_HID");
	aml_string(aml, "ACPI0007");
	aml_name(aml, "_UID");
	aml_integer(aml, id);
	aml_name(aml, "_MAT");
	aml_buffer(aml, entry, acpi_cpu_entry(entry, id, ACPI_CPU_ENABLED));
	method = aml_open_method(aml, "_STA", 0);
	aml_op(aml, AML_RETURN);
	aml_path(aml, "CSTA");
	aml_integer(aml, id);
	aml_close(aml, method);
	/* The boot CPU stays, so it has no _EJ0 and no _OST. */
	if (id > 0) {
		method = aml_open_method(aml, "_EJ0", 1);
		aml_path(aml, "CEJ0");
		aml_integer(aml, id);
		aml_close(aml, method);
		method = aml_open_method(aml, "_OST", 3);
		aml_path(aml, "COST");
		aml_integer(aml, id);
		aml_arg(aml, 0);
		aml_arg(aml, 1);
		aml_close(aml, method);
	}
	aml_close(aml, device);
}

/* A device cannot be named by a number. */
static void add_notify(struct aml *aml, unsigned max)
{
	uint32_t method = aml_open_method(aml, "CNTF", 2), block;
	char name[8];
	unsigned id;

	for (id = 1; id < max && !aml->overflow; id++) {
		cpu_name(name, id);
		block = aml_open_if(aml);
		aml_op(aml, AML_EQUAL);
		aml_arg(aml, 0);
		aml_integer(aml, id);
		aml_op(aml, AML_NOTIFY);
		aml_path(aml, name);
		aml_arg(aml, 1);
		aml_close(aml, block);
	}
	aml_close(aml, method);
}

/* If (Local1 & @bit) { CNTF (Local0, @event) } */
static void notify_if(struct aml *aml, uint32_t bit, uint32_t event)
{
	uint32_t block = aml_open_if(aml);

	aml_op(aml, AML_AND);
	aml_local(aml, 1);
	aml_integer(aml, bit);
	aml_integer(aml, 0);
	aml_path(aml, "CNTF");
	aml_local(aml, 0);
	aml_integer(aml, event);
	aml_close(aml, block);
}

static void add_scan(struct aml *aml)
{
	uint32_t method = aml_open_method(aml, "SCAN", 0), loop, block;

	aml_acquire(aml, LOCK);
	loop = aml_open_while(aml);
	aml_integer(aml, 1);
	aml_op(aml, AML_STORE);
	aml_path(aml, F_PENDING);
	aml_local(aml, 0);
	block = aml_open_if(aml);
	aml_op(aml, AML_EQUAL);
	aml_local(aml, 0);
	aml_integer(aml, CPU_HOTPLUG_NONE);
	aml_op(aml, AML_BREAK);
	aml_close(aml, block);
	aml_op(aml, AML_STORE);
	aml_local(aml, 0);
	aml_path(aml, F_SELECT);
	aml_op(aml, AML_STORE);
	aml_path(aml, F_STATUS);
	aml_local(aml, 1);
	/* Writing INSERT and REMOVE back takes them away; PRESENT is no order,
	 * and STATUS has no EJECT. */
	aml_op(aml, AML_STORE);
	aml_local(aml, 1);
	aml_path(aml, F_STATUS);
	notify_if(aml, CPU_HOTPLUG_INSERT, NOTIFY_DEVICE_CHECK);
	notify_if(aml, CPU_HOTPLUG_REMOVE, NOTIFY_EJECT);
	aml_close(aml, loop);
	aml_release(aml, LOCK);
	aml_close(aml, method);
}

static void add_ged(struct aml *aml)
{
	struct aml_resources res = {.len = 0};
	uint32_t device = aml_open_device(aml, "GED0"), method, block;

	aml_name(aml, "_HID");
	aml_string(aml, "ACPI0013");
	aml_name(aml, "_UID");
	aml_integer(aml, 0);
	aml_resource_gsi(&res, LAYOUT_GSI_GED);
	aml_name(aml, "_CRS");
	aml_put_resources(aml, &res);
	method = aml_open_method(aml, "_EVT", 1);
	block = aml_open_if(aml);
	aml_op(aml, AML_EQUAL);
	aml_arg(aml, 0);
	aml_integer(aml, LAYOUT_GSI_GED);
	aml_path(aml, "\\_SB_.CPUS.SCAN");
	aml_close(aml, block);
	aml_close(aml, method);
	aml_close(aml, device);
}

void acpi_add_cpus(struct aml *aml, unsigned max)
{
	uint32_t container = aml_open_device(aml, "CPUS");
	unsigned id;

	aml_name(aml, "_HID");
	aml_string(aml, "ACPI0010");
	add_registers(aml);
	add_sta(aml);
	add_ej0(aml);
	add_ost(aml);
	for (id = 0; id < max && !aml->overflow; id++)
		add_cpu(aml, id);
	add_notify(aml, max);
	add_scan(aml);
	aml_close(aml, container);
	add_ged(aml);
}
