/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/debug_exit.h - a port that ends the run with a status.
 *
 * Compatible with QEMU's isa-debug-exit: a write of 1, 2 or 4 bytes ends the
 * run, and the process exits with (value << 1) | 1.  For tests; machine.c adds
 * it on request only.
 */
#ifndef GODWIT_DEVICES_DEBUG_EXIT_H
#define GODWIT_DEVICES_DEBUG_EXIT_H

#include "devices/event.h"
#include "vmm/bus.h"

struct device;

/**
 * debug_exit_create - the device "debug-exit" and its 4 ports.
 * @sink: gets GUEST_EVENT_DEBUG_EXIT with the value written as code.
 * Thread: main loop.
 * Return: 0 or -ENOMEM.
 */
int debug_exit_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range *ret_range);

#endif
