/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/blk.h - block device (virtio 1.2, 5.2) on a disk of the host. */
#ifndef GODWIT_VIRTIO_BLK_H
#define GODWIT_VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct error;
struct virtio_dev;
struct virtio_env;

/* Bytes of one request; larger ones fail, so that a drain ends in good time. */
#define VIRTIO_BLK_REQUEST_MAX (64u << 20)
#define VIRTIO_BLK_SERIAL_MAX  20u

struct virtio_blk_options {
	struct disk *disk;  /* on env->loop; taken, also if creation fails */
	const char *serial; /* copied; at most 20 bytes; NULL: none */
	bool readonly;	    /* for the guest; a read-only disk implies it */
};

/* Return: 0, or -errno with @err (EINVAL: serial too long, ENOMEM, EMFILE). */
int virtio_blk_create(const struct virtio_env *env, const char *name,
	const struct virtio_blk_options *opt, struct virtio_dev **ret_dev,
	struct error *err);

#endif
