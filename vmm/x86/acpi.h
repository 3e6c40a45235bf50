/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/acpi.h - the ACPI tables of --machine acpi.  Private to vmm/x86.
 *
 * Hardware-reduced: no fixed hardware, no SCI, no 8259; reset and sleep are
 * byte registers in port space (vmm/layout.h).
 */
#ifndef GODWIT_VMM_X86_ACPI_H
#define GODWIT_VMM_X86_ACPI_H

#include <stdint.h>

#include "vmm/x86/boot.h"

/**
 * acpi_build - RSDP, DSDT, FADT, MADT and XSDT of @spec, in this order.
 * @gpa: where @buf will lie in guest RAM; below 4 GiB, 16-byte aligned.  The
 *       RSDP is the first of it.
 * @buf: at least 4 KiB, @cap bytes.
 * Return: 0 and the bytes used, or -EFBIG with @err: more CPUs than fit.
 * Source: ACPI 6.5, chapter 5.2.
 */
int acpi_build(const struct boot_spec *spec, uint64_t gpa, uint8_t *buf,
	uint32_t cap, uint32_t *ret_len, struct error *err);

#endif
