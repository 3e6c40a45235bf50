/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/serial.h - COM1: a 16550A between the guest and two host fds.
 *
 * Output.  A byte the guest writes goes into a ring of fixed size under the
 * device's lock; a bottom half writes the ring to the fd.  After a write the
 * loop comes back by itself for a while, every millisecond, so only the first
 * byte of a burst wakes it: an exit makes no allocation and no system call, and
 * a slow reader never blocks a vCPU: when less than a FIFO of the ring is free,
 * THRE stays 0 until half of it is.  A guest that does not look at THRE then
 * loses bytes, as on the real thing.  When the fd breaks, output is dropped
 * with one warning and the guest goes on.
 *
 * Input is read into a ring as long as that has room; what does not fit stays
 * with the host, which gives the sender back-pressure.
 *
 * Saved state: registers, FIFO, and input that the guest has not read yet.  Not
 * the output ring: the guest has handed these bytes over, and this host prints
 * them, once.  In the state they would be printed again by each restore.
 */
#ifndef GODWIT_DEVICES_SERIAL_H
#define GODWIT_DEVICES_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/bus.h"

struct device;
struct error;
struct loop;

#define SERIAL_TX_BYTES 8192u /* powers of two */
#define SERIAL_RX_BYTES 4096u

/* The user's end of the input, for a terminal.  Called on the main loop. */
struct serial_front {
	/* Take the user's commands out of @buf; return how many bytes stay. */
	size_t (*filter)(void *opaque, uint8_t *buf, size_t len);
	/* May the input be read now?  No: asked again twice a second. */
	bool (*ready)(void *opaque);
	void *opaque; /* borrowed */
};

struct serial_options {
	const char *name;  /* of the device, copied; NULL: "serial0" */
	struct loop *loop; /* borrowed; the main loop */
	int in_fd;	   /* borrowed; -1: no input */
	int out_fd;	   /* borrowed; -1: output is dropped */
	int irq_fd;	   /* borrowed eventfd, an edge a write; -1: none */
	/* NULL: every byte of in_fd is for the guest.  Else in_fd is read even
	 * while the guest reads nothing, so that the user can always leave;
	 * what does not fit is then lost. */
	const struct serial_front *front; /* copied */
};

/**
 * serial_create - a UART and its range of 8 ports.
 * Input is not touched before the first access of the guest or the first
 * resume, so that a device waiting for a load takes none.
 * Thread: main loop.
 * Return: 0, -ENOMEM, or -errno with @err when out_fd cannot be written to.
 *         An in_fd that cannot be read is no error: there is no input then.
 */
int serial_create(const struct serial_options *opt, struct device **ret_dev,
	struct bus_range *ret_range, struct error *err);

/**
 * serial_flush - get everything the guest has written out of this process.
 * For the end of a run.  Gives up after 2 s in which the reader took nothing.
 * Thread: main loop, vCPUs stopped.  Blocks.
 * Return: 0, or -ETIMEDOUT, -EPIPE or such: logged, the rest is lost.
 */
int serial_flush(struct device *dev);

#endif
