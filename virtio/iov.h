/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/iov.h - arithmetic on arrays of iovecs.
 *
 * Bounded by the array, never by what a length field claims.  Any thread; the
 * bytes are the caller's business.
 */
#ifndef GODWIT_VIRTIO_IOV_H
#define GODWIT_VIRTIO_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* Sum of the lengths, bytes. */
uint64_t iov_bytes(const struct iovec *iov, unsigned count);

/* Copy @len bytes at byte @off out of, or into, the array.
 * Return: bytes copied; fewer than @len when the array ends first. */
size_t iov_read(const struct iovec *iov, unsigned count, uint64_t off,
	void *dst, size_t len);
size_t iov_write(const struct iovec *iov, unsigned count, uint64_t off,
	const void *src, size_t len);

/**
 * iov_slice - describe bytes [off, off + len) of @iov.
 * @ret_iov: room for @room entries; may be @iov itself if @room >= @count.
 * Return: entries used; they hold fewer than @len bytes if the array, or the
 *         room, ends first.
 */
unsigned iov_slice(const struct iovec *iov, unsigned count, uint64_t off,
	uint64_t len, struct iovec *ret_iov, unsigned room);

#endif
