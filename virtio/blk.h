/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/blk.h - block device (virtio 1.2, 5.2) on a disk of the host.
 *
 * All queues of a device are served by its one loop: there is one owner of a
 * disk and no lock, and a loop serves more than a disk gives.  What several
 * queues are good for is the guest: its CPUs do not share a ring.
 */
#ifndef GODWIT_VIRTIO_BLK_H
#define GODWIT_VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/backend/disk.h"

struct bucket_group;
struct error;
struct virtio_dev;
struct virtio_env;

/* Bytes of one request; larger ones fail, so that a drain ends in good time. */
#define VIRTIO_BLK_REQUEST_MAX (64u << 20)
#define VIRTIO_BLK_SERIAL_MAX  20u
#define VIRTIO_BLK_QUEUES_MAX  16u

/* A write found no room: the request is held until the device is paused and
 * resumed, then done again.  On the device's loop. */
typedef void virtio_blk_full_fn(void *opaque);

struct virtio_blk_options {
	struct disk *disk;  /* on env->loop; taken, also if creation fails */
	const char *serial; /* copied; at most 20 bytes; NULL: none */
	bool readonly;	    /* for the guest; a read-only disk implies it */
	bool no_discard;    /* not even if the host can */
	unsigned queues;    /* 1 to VIRTIO_BLK_QUEUES_MAX; 0: 1 */
	/* Borrowed, or NULL.  Requests that have to wait do so in the ring, on
	 * the host's monotonic clock: what is limited is the host's, a group
	 * may have members on several loops, and a pause pays debts too. */
	struct bucket_group *limits;
	virtio_blk_full_fn *full; /* NULL: the guest gets an error */
	void *full_opaque;
};

/* Return: 0, or -errno with @err (EINVAL: serial too long, ENOMEM, EMFILE). */
int virtio_blk_create(const struct virtio_env *env, const char *name,
	const struct virtio_blk_options *opt, struct virtio_dev **ret_dev,
	struct error *err);

/* The following are for the main thread. */

/* disk_resize(), and the guest is told.  0 or -errno with @err. */
int virtio_blk_resize(
	struct virtio_dev *dev, uint64_t bytes, bool shrink, struct error *err);

/* Use @limits, borrowed, which may also be the same with other numbers: nobody
 * waits any more as the old ones wanted.  0 or -ENOMEM. */
int virtio_blk_set_limits(struct virtio_dev *dev, struct bucket_group *limits);

struct virtio_blk_stats {
	uint64_t bytes; /* capacity */
	uint64_t reads, writes, flushes, trims, errors;
	uint64_t throttled; /* had to wait */
	uint64_t held;	    /* found no room */
	struct disk_stats disk;
};

void virtio_blk_stats(
	struct virtio_dev *dev, struct virtio_blk_stats *ret_stats);

#endif
