/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/bus_find.c - three ranges, every address, every width.
 * promise: no handler sees an access that leaves its range
 * break: vmm/bus.c s/return len <= r->size - \(addr - r->base\) \? r : NULL/return r/
 * options: -eva-slevel 500
 */
#include "tests/proof/proof.h"

#include "vmm/bus.c"

static uint64_t seen_off;
static unsigned seen;

static uint64_t on_read(void *opaque, uint64_t off, unsigned len)
{
	/*@ assert off + len <= 16; */
	return off;
}

static void on_write(void *opaque, uint64_t off, unsigned len, uint64_t v)
{
	/*@ assert off + len <= 16; */
}

int main(void)
{
	static const unsigned widths[] = {1, 2, 4, 8};
	static const struct bus_ops ops = {.read = on_read, .write = on_write};
	struct bus bus = {.count = 3};
	uint64_t value;
	unsigned i;

	for (i = 0; i < 3; i++)
		bus.range[i] = (struct bus_range){
			.base = i == 2 ? UINT64_MAX - 15 : i * 0x100,
			.size = 16,
			.ops = &ops};
	for (i = 0; i < 4; i++) {
		bus_read(&bus, any_u64(0, UINT64_MAX), widths[i], &value);
		bus_write(&bus, any_u64(0, UINT64_MAX), widths[i], 0);
	}
	return 0;
}
