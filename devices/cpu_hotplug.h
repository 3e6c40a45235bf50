/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/cpu_hotplug.h - the registers through which the guest's ACPI code
 * learns of vCPUs that come, are asked to go, and are given up.
 *
 * 16 ports of 32-bit registers, little endian; narrower reads give a part of
 * the register, other writes than whole registers are ignored:
 *
 *   +0  SELECT  rw  vCPU id that STATUS, ORDER and the OST registers speak of
 *   +4  STATUS  r   of it: bit 0 present, bit 1 it has come, bit 2 it is asked
 *                   to go; 0 for an id past the last
 *   +4  ORDER   w   bits 1 and 2 take the same bit of STATUS back, bit 3
 *                   ejects: the vCPU is absent from then on
 *   +8  PENDING r   the lowest id with bit 1 or 2 of STATUS set, or ffffffff
 *   +8  EVENT   w   _OST: the notification it answers
 *   +12 COUNT   r   how many vCPUs there can be
 *   +12 RESULT  w   _OST: its status code; EVENT is written before it
 *
 * An event is announced by an edge of the interrupt, once for several; the
 * guest reads PENDING until there is none.  The boot CPU cannot be ejected.
 *
 * Source: ACPI 6.5, 5.6.9 (GED), 6.3.3 _EJ0, 6.3.5 _OST, 8.4 processors.
 */
#ifndef GODWIT_DEVICES_CPU_HOTPLUG_H
#define GODWIT_DEVICES_CPU_HOTPLUG_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"

struct device;

#define CPU_HOTPLUG_SELECT  0u
#define CPU_HOTPLUG_STATUS  4u /* read */
#define CPU_HOTPLUG_ORDER   4u /* write */
#define CPU_HOTPLUG_PENDING 8u
#define CPU_HOTPLUG_EVENT   8u
#define CPU_HOTPLUG_COUNT   12u
#define CPU_HOTPLUG_RESULT  12u

#define CPU_HOTPLUG_PRESENT 1u
#define CPU_HOTPLUG_INSERT  2u
#define CPU_HOTPLUG_REMOVE  4u
#define CPU_HOTPLUG_EJECT   8u /* ORDER only */

#define CPU_HOTPLUG_NONE UINT32_C(0xffffffff)

struct cpu_hotplug_options {
	unsigned max;	/* vCPUs there can be, >= 1 */
	unsigned count; /* ids 0 .. count - 1 are present at first */
	int irq_fd;	/* eventfd of the GED's interrupt, borrowed; -1: none */
	/* The guest has ejected a vCPU or answered a request; after a load,
	 * perhaps.  Vcpu threads, under no lock of the device. */
	void (*changed)(void *opaque);
	void *opaque; /* borrowed */
};

/**
 * cpu_hotplug_create - the device "cpu-hotplug" and its ports.
 * Thread: main loop, as everything below.
 * Return: 0 or -ENOMEM.
 */
int cpu_hotplug_create(const struct cpu_hotplug_options *opt,
	struct device **ret_dev, struct bus_range *ret_range);

bool cpu_hotplug_is_present(const struct device *dev, unsigned id);

/* Make @id present; @tell the guest.  It answers when it likes, or never. */
void cpu_hotplug_insert(struct device *dev, unsigned id, bool tell);
/* Ask the guest to give up @id, which is present and not the boot CPU. */
void cpu_hotplug_ask(struct device *dev, unsigned id);
/* Forget the question.  A guest that has heard it may eject all the same. */
void cpu_hotplug_withdraw(struct device *dev, unsigned id);

/* What became of the last cpu_hotplug_ask() of @id. */
enum cpu_hotplug_answer {
	CPU_HOTPLUG_SILENT,  /* nothing yet, or "in progress" */
	CPU_HOTPLUG_EJECTED, /* or was never present */
	CPU_HOTPLUG_REFUSED, /* by _OST */
};

/* @ret_status: the _OST status code, for CPU_HOTPLUG_REFUSED. */
enum cpu_hotplug_answer cpu_hotplug_answer_of(
	const struct device *dev, unsigned id, uint32_t *ret_status);

#endif
