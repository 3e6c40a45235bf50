/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/power.c - see power.h.
 *
 * The one byte of state is atomic, so that no access needs a lock.
 */
#include "devices/power.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "devices/device.h"
#include "migrate/state.h"
#include "vmm/layout.h"
#include "vmm/log.h"

#define REG_CONTROL 0u
#define REG_STATUS  1u
#define REG_RESET   LAYOUT_POWER_RESET_REG
#define REGS	    3u

#define SLP_TYP	      0x1cu
#define SLP_TYP_SHIFT 2
#define SLP_EN	      0x20u

struct power {
	struct device dev;
	struct guest_event_sink sink;
	struct log_limit unknown;
	_Atomic uint8_t control; /* SLP_TYP as last written */
};

static uint64_t port_read(void *opaque, uint64_t off, unsigned len)
{
	struct power *p = opaque;

	return off == REG_CONTROL ? atomic_load(&p->control) : 0;
}

static void write_control(struct power *p, uint8_t value)
{
	unsigned type = (value & SLP_TYP) >> SLP_TYP_SHIFT;

	atomic_store(&p->control, value & SLP_TYP);
	if (!(value & SLP_EN))
		return;
	if (type == LAYOUT_POWER_S5)
		p->sink.fn(p->sink.opaque, GUEST_EVENT_POWEROFF, 0);
	else
		log_limited(&p->unknown, LOG_WARN,
			"power: the guest asked for sleep type %u; "
			"there is only %u (off)",
			type, LAYOUT_POWER_S5);
}

static void port_write(void *opaque, uint64_t off, unsigned len, uint64_t value)
{
	struct power *p = opaque;

	for (; len > 0; len--, off++, value >>= 8) {
		if (off == REG_CONTROL)
			write_control(p, (uint8_t)value);
		else if (off == REG_RESET &&
			 (uint8_t)value == LAYOUT_POWER_RESET)
			p->sink.fn(p->sink.opaque, GUEST_EVENT_RESET, 0);
	}
}

static struct power *power_of(struct device *dev)
{
	return (struct power *)dev;
}

static void reset(struct device *dev)
{
	atomic_store(&power_of(dev)->control, 0);
}

static int save(const struct device *dev, struct state_writer *w)
{
	const struct power *p = (const struct power *)dev;

	state_put_u8(w, atomic_load(&p->control));
	return 0;
}

static int load(struct device *dev, struct state_reader *r, struct error *err)
{
	uint8_t control = state_get_u8(r);
	int rc = state_reader_end(r);

	if (rc < 0)
		return rc;
	if (control & ~SLP_TYP)
		return state_reject(r, err, "sleep control with unknown bits");
	atomic_store(&power_of(dev)->control, control);
	return 0;
}

static void destroy(struct device *dev)
{
	free(power_of(dev));
}

static const struct bus_ops port_ops = {port_read, port_write};

static const struct device_ops ops = {
	.kind = "power",
	.version = 1,
	.reset = reset,
	.save = save,
	.load = load,
	.destroy = destroy,
};

int power_create(struct guest_event_sink sink, struct device **ret_dev,
	struct bus_range *ret_range)
{
	struct power *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->dev = (struct device){.ops = &ops, .name = "power"};
	p->sink = sink;
	*ret_dev = &p->dev;
	*ret_range = (struct bus_range){
		LAYOUT_PIO_POWER, REGS, &port_ops, p, p->dev.name};
	return 0;
}
