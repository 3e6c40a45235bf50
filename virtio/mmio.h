/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/mmio.h - the virtio-mmio transport, version 2 (virtio 1.2, 4.2).
 *
 * One 512-byte register window and one edge-triggered interrupt a device.
 * Registers are read and written by vCPU threads under the device's lock;
 * InterruptStatus, InterruptACK and QueueNotify take no lock at all.
 */
#ifndef GODWIT_VIRTIO_MMIO_H
#define GODWIT_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stdint.h>

struct bus_range;
struct device;
struct error;
struct virtio_dev;

#define VIRTIO_MMIO_SIZE   0x200u
#define VIRTIO_MMIO_VENDOR 0x54574447u /* "GDWT" */

struct virtio_mmio_options {
	uint64_t gpa; /* of the window */
	int irq_fd;   /* borrowed eventfd; a write is one edge */
	uint32_t gsi; /* for @edge */

	/**
	 * Raise one edge at once, by the calling thread.  The loop or the main
	 * thread.  0 or -errno; on failure, or if it is NULL, @irq_fd does it,
	 * for which KVM may have to wake a worker of its own.
	 */
	int (*edge)(void *opaque, uint32_t gsi);

	/**
	 * Make guest writes of @datamatch to @gpa signal @fd without an exit
	 * (@on), or end that.  Called first when a driver starts the device,
	 * because KVM is slow at it, and undone by destroy.  vCPU threads or
	 * the main loop.  0 or -errno; on failure writes exit, which works too.
	 * NULL: there is no such thing.
	 */
	int (*ioeventfd)(void *opaque, uint64_t gpa, unsigned len,
		uint64_t datamatch, int fd, bool on);
	void *opaque; /* borrowed */
};

/**
 * virtio_mmio_create - put @dev behind a register window.
 * @dev:       taken, also if this fails.
 * @ret_range: for the MMIO bus; borrows from the device.
 * Return: 0, or -ENOMEM with @err.
 */
int virtio_mmio_create(struct virtio_dev *dev,
	const struct virtio_mmio_options *opt, struct device **ret_device,
	struct bus_range *ret_range, struct error *err);

#endif
