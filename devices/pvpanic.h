/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/pvpanic.h - the port by which a guest kernel tells that it panicked.
 *
 * Reading gives the events it understands; writing one of them reports it.
 * Source: QEMU docs/specs/pvpanic (bit 0 panicked, bit 1 crash kernel loaded).
 */
#ifndef GODWIT_DEVICES_PVPANIC_H
#define GODWIT_DEVICES_PVPANIC_H

#include "devices/event.h"
#include "vmm/bus.h"

struct device;

/**
 * pvpanic_create - the device "pvpanic" and its port.
 * @sink: gets GUEST_EVENT_PANIC or GUEST_EVENT_CRASHLOAD.
 * Thread: main loop.
 * Return: 0 or -ENOMEM.
 */
int pvpanic_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range *ret_range);

#endif
