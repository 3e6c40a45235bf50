/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/acpi_cpus.h - vCPUs that come and go, as ACPI tells the guest: the
 * CPU container and the generic event device of the DSDT.  Private to vmm/x86.
 *
 * The AML drives the registers of devices/cpu_hotplug.h.  A CPU is one Device
 * that only knows its id; all else is shared methods, so that a thousand fit.
 */
#ifndef GODWIT_VMM_X86_ACPI_CPUS_H
#define GODWIT_VMM_X86_ACPI_CPUS_H

#include <stdint.h>

struct aml;

#define ACPI_X2APIC_FIRST     255u /* ids from here on have the long entry */
#define ACPI_CPU_ENABLED      1u   /* flags of an entry */
#define ACPI_CPU_ONLINE_LATER 2u   /* can be brought in while running */
#define ACPI_CPU_ENTRY_MAX    16u  /* bytes */

/* What MADT and _MAT say of CPU @id.  Return: bytes written to @out.
 * Source: ACPI 6.5, 5.2.12.2 and 5.2.12.12. */
uint32_t acpi_cpu_entry(
	uint8_t out[ACPI_CPU_ENTRY_MAX], unsigned id, uint32_t flags);

/* The devices CPUS and GED0, in the open scope \_SB; @max ids below 4096.
 * Source: ACPI 6.5, 5.6.9, 8.4, 6.3.3, 6.3.5. */
void acpi_add_cpus(struct aml *aml, unsigned max);

#endif
