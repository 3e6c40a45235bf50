/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/power.h - ACPI hardware-reduced sleep and reset registers.
 *
 *   +0 sleep control  bits 4:2 SLP_TYP, bit 5 SLP_EN (write only)
 *   +1 sleep status   bit 7 WAK_STS: always 0, nothing ever sleeps
 *   +2 reset          LAYOUT_POWER_RESET resets the machine
 *
 * Source: ACPI 6.4, 4.8.3.7 Sleep Control and Status Registers, 4.8.3.6 Reset.
 */
#ifndef GODWIT_DEVICES_POWER_H
#define GODWIT_DEVICES_POWER_H

#include "devices/event.h"
#include "vmm/bus.h"

struct device;

/**
 * power_create - the device "power" and its 3 ports.
 * @sink: gets GUEST_EVENT_POWEROFF or GUEST_EVENT_RESET.
 * Thread: main loop.
 * Return: 0 or -ENOMEM.
 */
int power_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range *ret_range);

#endif
