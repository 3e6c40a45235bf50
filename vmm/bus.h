/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/bus.h - who answers at a port or an MMIO address.
 *
 * A small sorted table that is complete before the first vCPU runs and never
 * changes after: lookups take no lock, no allocation and no system call.
 */
#ifndef GODWIT_VMM_BUS_H
#define GODWIT_VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct error;

#define BUS_RANGES_MAX 64

/* @off: bytes from the start of the range; @len: 1, 2, 4 or 8, and
 * off + len never exceeds the range.  Thread: any vCPU thread. */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t off, unsigned len);
	void (*write)(void *opaque, uint64_t off, unsigned len, uint64_t value);
};

struct bus_range {
	uint64_t base, size;	   /* bytes (MMIO) or ports (PIO) */
	const struct bus_ops *ops; /* borrowed */
	void *opaque;		   /* borrowed */
	const char *name;	   /* borrowed */
};

/* Zero-initialise. */
struct bus {
	struct bus_range range[BUS_RANGES_MAX]; /* sorted by base */
	unsigned count;
};

/* Return: 0, -EEXIST on overlap, -ENOSPC, -EINVAL (size 0 or wrapping). */
int bus_add(struct bus *bus, const struct bus_range *range, struct error *err);

/* False if nobody answers: reads then give all ones. */
bool bus_read(const struct bus *bus, uint64_t addr, unsigned len,
	uint64_t *ret_value);
bool bus_write(
	const struct bus *bus, uint64_t addr, unsigned len, uint64_t value);

#endif
