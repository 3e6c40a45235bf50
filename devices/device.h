/* SPDX-License-Identifier: Apache-2.0 */
/*
 * devices/device.h - the one interface between a machine and its devices.
 *
 * machine.c creates each device by its own *_create(), in a fixed order, and
 * adds it to the VM; from then on the VM sees struct device only.  Registers
 * are reached from vCPU threads under the device's own lock; everything below
 * runs on the main loop.  save, load and reset are called only between quiesce
 * and resume with every vCPU paused, so they take no lock.
 */
#ifndef GODWIT_DEVICES_DEVICE_H
#define GODWIT_DEVICES_DEVICE_H

#include <stdint.h>

struct device;
struct error;
struct state_reader;
struct state_writer;

#define DEVICE_NAME_MAX 32

struct device_ops {
	const char *kind; /* "serial", "virtio-blk": for messages */
	uint32_t version; /* of the state section; load refuses others */

	/* Back to power-on values. */
	void (*reset)(struct device *dev);
	/* Finish what is in flight; after it, no guest RAM is touched and no
	 * state changes until resume.  NULL: nothing is ever in flight. */
	void (*quiesce)(struct device *dev);
	/* Undo quiesce; after a load, raise and kick again whatever the old
	 * host may have lost.  NULL: nothing to do. */
	void (*resume)(struct device *dev);
	/* Put the fields; the caller opened and closes the section. */
	int (*save)(const struct device *dev, struct state_writer *w);
	/* Read all, check all, then change @dev; -EPROTO or -EBADMSG leaves it
	 * as it was. */
	int (*load)(
		struct device *dev, struct state_reader *r, struct error *err);
	/* Free @dev with all it owns.  Quiesced. */
	void (*destroy)(struct device *dev);
};

/* First member of every device's own struct. */
struct device {
	const struct device_ops *ops;
	char name[DEVICE_NAME_MAX]; /* unique in the VM: "disk0"; section name
				     */
};

/**
 * device_save - append @dev's section to @w.
 * Thread: main loop, quiesced.
 * Return: 0, -errno of ops->save, or that of the writer (then @w is lost).
 */
int device_save(const struct device *dev, struct state_writer *w);

/**
 * device_load - give @dev the state in @section.
 * ops->load itself calls state_reader_end() before it changes anything.
 * Thread: main loop, quiesced.
 * Return: 0, -EPROTO (name, version or a value), -EBADMSG (wrong length).
 */
int device_load(
	struct device *dev, struct state_reader *section, struct error *err);

#endif
