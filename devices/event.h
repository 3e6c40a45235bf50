/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/event.h - what a device tells the machine about the guest's wishes.
 */
#ifndef GODWIT_DEVICES_EVENT_H
#define GODWIT_DEVICES_EVENT_H

#include <stdint.h>

enum guest_event {
	GUEST_EVENT_NONE,
	GUEST_EVENT_POWEROFF,
	GUEST_EVENT_RESET,
	GUEST_EVENT_PANIC,	/* pvpanic: the guest kernel panicked */
	GUEST_EVENT_CRASHLOAD,	/* pvpanic: a crash kernel takes over; go on */
	GUEST_EVENT_DEBUG_EXIT, /* code: the value written to the port */
};

/**
 * guest_event_fn - report @event; the first one that ends the run wins.
 * Called from vCPU threads (registers) under no device lock; it returns at
 * once, and the vCPU that caused it does not run guest code again before the
 * machine has acted.
 */
typedef void guest_event_fn(
	void *opaque, enum guest_event event, uint32_t code);

struct guest_event_sink {
	guest_event_fn *fn;
	void *opaque; /* borrowed */
};

#endif
