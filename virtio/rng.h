/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/rng.h - entropy device (virtio 1.2, 5.4). */
#ifndef GODWIT_VIRTIO_RNG_H
#define GODWIT_VIRTIO_RNG_H

struct bucket_limit;
struct error;
struct virtio_dev;
struct virtio_env;

#define VIRTIO_RNG_REQUEST_MAX 4096u /* bytes given for one request */

/* @limit: of the bytes given; copied, NULL: none.
 * Return: 0, or -errno with @err (ENOMEM, EMFILE). */
int virtio_rng_create(const struct virtio_env *env, const char *name,
	const struct bucket_limit *limit, struct virtio_dev **ret_dev,
	struct error *err);

#endif
