/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/bus.c - see bus.h. */
#include "vmm/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/error.h"

int bus_add(struct bus *bus, const struct bus_range *range, struct error *err)
{
	uint64_t last = range->base + (range->size - 1);
	unsigned i, at = 0;

	if (range->size == 0 || last < range->base)
		return error_set(err, -EINVAL,
			"bus: %s: bad range 0x%" PRIx64 "+0x%" PRIx64,
			range->name, range->base, range->size);
	if (bus->count == BUS_RANGES_MAX)
		return error_set(err, -ENOSPC, "bus: %s: more than %u ranges",
			range->name, BUS_RANGES_MAX);
	for (i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->range[i];

		if (range->base <= r->base + (r->size - 1) && r->base <= last)
			return error_set(err, -EEXIST,
				"bus: %s overlaps %s at 0x%" PRIx64,
				range->name, r->name, r->base);
		if (r->base < range->base)
			at = i + 1;
	}
	memmove(&bus->range[at + 1], &bus->range[at],
		(bus->count - at) * sizeof(bus->range[0]));
	bus->range[at] = *range;
	bus->count++;
	return 0;
}

/* The range that holds all of [addr, addr + len), or NULL. */
static const struct bus_range *find(
	const struct bus *bus, uint64_t addr, unsigned len)
{
	unsigned lo = 0, hi = bus->count;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		const struct bus_range *r = &bus->range[mid];

		if (addr < r->base)
			hi = mid;
		else if (addr - r->base >= r->size)
			lo = mid + 1;
		else
			return len <= r->size - (addr - r->base) ? r : NULL;
	}
	return NULL;
}

bool bus_read(
	const struct bus *bus, uint64_t addr, unsigned len, uint64_t *ret_value)
{
	const struct bus_range *r = find(bus, addr, len);

	if (!r || !r->ops->read) {
		*ret_value = UINT64_MAX;
		return false;
	}
	*ret_value = r->ops->read(r->opaque, addr - r->base, len);
	return true;
}

bool bus_write(
	const struct bus *bus, uint64_t addr, unsigned len, uint64_t value)
{
	const struct bus_range *r = find(bus, addr, len);

	if (!r || !r->ops->write)
		return false;
	r->ops->write(r->opaque, addr - r->base, len, value);
	return true;
}
