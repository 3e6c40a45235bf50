/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/debug_exit.c - see debug_exit.h.
 *
 * No state and no lock: the sink does the rest.
 */
#include "devices/debug_exit.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/device.h"
#include "migrate/state.h"
#include "vmm/layout.h"

struct debug_exit {
	struct device dev;
	struct guest_event_sink sink;
};

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	return 0;
}

static void port_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct debug_exit *d = opaque;
	uint32_t code = (uint32_t)value;

	if (len < 4)
		code &= (1u << 8 * len) - 1;
	d->sink.fn(d->sink.opaque, GUEST_EVENT_DEBUG_EXIT, code);
}

static void nothing_to_reset(struct device *dev)
{
}

static int save(const struct device *dev, struct state_writer *w)
{
	return 0;
}

static int load(struct device *dev, struct state_reader *r, struct error *err)
{
	return state_reader_end(r);
}

static void destroy(struct device *dev)
{
	free(dev);
}

static const struct bus_ops port_ops = {port_read, port_write};

static const struct device_ops ops = {
	.kind = "debug-exit",
	.version = 1,
	.reset = nothing_to_reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

int debug_exit_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range *ret_range)
{
	struct debug_exit *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->dev = (struct device){.ops = &ops, .name = "debug-exit"};
	d->sink = sink;
	*ret_dev = &d->dev;
	*ret_range = (struct bus_range){
		LAYOUT_PIO_DEBUG_EXIT, 4, &port_ops, d, d->dev.name};
	return 0;
}
