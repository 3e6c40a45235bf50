/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/layout.h - guest-visible addresses and interrupts.  Migration ABI: values
 * are never changed, only added.  docs/architecture.md shows the map.
 */
#ifndef GODWIT_VMM_LAYOUT_H
#define GODWIT_VMM_LAYOUT_H

#include <stdint.h>

/* Low memory, gpa in bytes.  All of it lies in RAM the guest owns. */
#define LAYOUT_GDT UINT64_C(0x500)
#define LAYOUT_HVM_START_INFO                                                  \
	UINT64_C(0x6000) /* PVH start info, modules, memmap */
#define LAYOUT_ZERO_PAGE   UINT64_C(0x7000) /* struct boot_params */
#define LAYOUT_BOOT_STACK  UINT64_C(0x8ff0)
#define LAYOUT_PAGE_TABLES UINT64_C(0x9000) /* PML4, PDPT, 4 PDs: 6 pages */
#define LAYOUT_CMDLINE	   UINT64_C(0x20000)
#define LAYOUT_CMDLINE_MAX UINT64_C(0x10000)
/* struct setup_data with the device tree (--machine fdt); ends before EBDA. */
#define LAYOUT_SETUP_DATA     UINT64_C(0x30000)
#define LAYOUT_SETUP_DATA_MAX UINT64_C(0x6f000)
#define LAYOUT_EBDA	      UINT64_C(0x9fc00) /* MP pointer (--machine cmdline) */
#define LAYOUT_ACPI	      UINT64_C(0xe0000) /* RSDP, tables; or the MP table */
#define LAYOUT_ACPI_END	      UINT64_C(0xffff0)
#define LAYOUT_RESET_VECTOR   UINT64_C(0xffff0) /* F000:FFF0, 16 bytes */
#define LAYOUT_KERNEL	      UINT64_C(0x100000)

/* 3 GiB .. 4 GiB: no RAM. */
#define LAYOUT_VIRTIO	     UINT64_C(0xd0000000)
#define LAYOUT_VIRTIO_STRIDE UINT64_C(0x1000)
#define LAYOUT_VIRTIO_SIZE   UINT64_C(0x200)
#define LAYOUT_VIRTIO_MAX    16u
#define LAYOUT_IOAPIC	     UINT64_C(0xfec00000)
#define LAYOUT_LAPIC	     UINT64_C(0xfee00000)
#define LAYOUT_IDENTITY_MAP  UINT64_C(0xfffbc000) /* KVM, 1 page (Intel) */
#define LAYOUT_TSS	     UINT64_C(0xfffbd000) /* KVM, 3 pages (Intel) */

/* Ports. */
#define LAYOUT_PIO_I8042       0x60u /* 0x60 and 0x64 */
#define LAYOUT_PIO_RTC	       0x70u
#define LAYOUT_PIO_DEBUG_EXIT  0xf4u
#define LAYOUT_PIO_COM1	       0x3f8u
#define LAYOUT_PIO_PVPANIC     0x505u
#define LAYOUT_PIO_POWER       0x600u /* +0 sleep control, +1 status, +2 reset */
#define LAYOUT_POWER_RESET_REG 2u     /* offset of the reset register */
#define LAYOUT_POWER_RESET     0x01u  /* written to it */
#define LAYOUT_POWER_S5	       5u     /* SLP_TYPx of \_S5 */
#define LAYOUT_PIO_CPUS	       0x620u /* vCPU hotplug, devices/cpu_hotplug.h */
#define LAYOUT_PIO_CPUS_PORTS  16u

/* Interrupts (GSI = IOAPIC pin, edge triggered, active high). */
#define LAYOUT_GSI_COM1	   4u
#define LAYOUT_GSI_RTC	   8u
#define LAYOUT_GSI_GED	   9u /* ACPI generic event device: vCPUs */
#define LAYOUT_IOAPIC_PINS 24u

/* GSI of virtio slot @slot < LAYOUT_VIRTIO_MAX: 16..23, then legacy pins that
 * nothing else uses. */
static inline uint32_t layout_virtio_gsi(unsigned slot)
{
	static const uint8_t gsi[LAYOUT_VIRTIO_MAX] = {
		16, 17, 18, 19, 20, 21, 22, 23, 5, 6, 7, 10, 11, 12, 14, 15};

	return gsi[slot];
}

static inline uint64_t layout_virtio_gpa(unsigned slot)
{
	return LAYOUT_VIRTIO + slot * LAYOUT_VIRTIO_STRIDE;
}

#endif
