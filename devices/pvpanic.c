/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/pvpanic.c - see pvpanic.h.
 *
 * No state and no lock: the sink does the rest.
 */
#include "devices/pvpanic.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/device.h"
#include "migrate/state.h"
#include "vmm/layout.h"
#include "vmm/log.h"

#define PANICKED    1u
#define CRASHLOADED 2u

struct pvpanic {
	struct device dev;
	struct guest_event_sink sink;
	struct log_limit unknown;
};

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	return PANICKED | CRASHLOADED;
}

static void port_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct pvpanic *p = opaque;

	/* A panic is the worse news and the one that ends the run. */
	if (value & PANICKED)
		p->sink.fn(p->sink.opaque, GUEST_EVENT_PANIC, 0);
	else if (value & CRASHLOADED)
		p->sink.fn(p->sink.opaque, GUEST_EVENT_CRASHLOAD, 0);
	else
		log_limited(&p->unknown, LOG_WARN,
			"pvpanic: the guest reported unknown event 0x%02x",
			(unsigned)(value & 0xff));
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
	.kind = "pvpanic",
	.version = 1,
	.reset = nothing_to_reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

int pvpanic_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range *ret_range)
{
	struct pvpanic *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->dev = (struct device){.ops = &ops, .name = "pvpanic"};
	p->sink = sink;
	*ret_dev = &p->dev;
	*ret_range = (struct bus_range){
		LAYOUT_PIO_PVPANIC, 1, &port_ops, p, p->dev.name};
	return 0;
}
