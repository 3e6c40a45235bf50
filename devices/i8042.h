/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/i8042.h - a keyboard controller with nothing plugged in.
 *
 * There for one thing: the reset line (0xfe to port 0x64, or bit 0 of the
 * output port).  The rest answers just enough that a kernel which probes it
 * finishes quickly: self test passes, no keyboard, no mouse, no interrupt.
 * Port 0x61 between its two ports is not its own.
 */
#ifndef GODWIT_DEVICES_I8042_H
#define GODWIT_DEVICES_I8042_H

#include "devices/event.h"
#include "vmm/bus.h"

struct device;

/**
 * i8042_create - the device "i8042" and its data and command ports.
 * @sink:       gets GUEST_EVENT_RESET.
 * @ret_ranges: 2: port 0x60, port 0x64.
 * Thread: main loop.
 * Return: 0 or -ENOMEM.
 */
int i8042_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range ret_ranges[2]);

#endif
