/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/iov.c - see iov.h. */
#include "virtio/iov.h"

#include <string.h>

uint64_t iov_bytes(const struct iovec *iov, unsigned count)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

size_t iov_read(const struct iovec *iov, unsigned count, uint64_t off,
	void *dst, size_t len)
{
	size_t done = 0, n;
	unsigned i;

	for (i = 0; i < count && done < len; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		n = iov[i].iov_len - (size_t)off;
		if (n > len - done)
			n = len - done;
		memcpy((uint8_t *)dst + done, (uint8_t *)iov[i].iov_base + off,
			n);
		done += n;
		off = 0;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned count, uint64_t off,
	const void *src, size_t len)
{
	size_t done = 0, n;
	unsigned i;

	for (i = 0; i < count && done < len; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		n = iov[i].iov_len - (size_t)off;
		if (n > len - done)
			n = len - done;
		memcpy((uint8_t *)iov[i].iov_base + off,
			(const uint8_t *)src + done, n);
		done += n;
		off = 0;
	}
	return done;
}

unsigned iov_slice(const struct iovec *iov, unsigned count, uint64_t off,
	uint64_t len, struct iovec *ret_iov, unsigned room)
{
	unsigned i, used = 0;

	for (i = 0; i < count && len > 0 && used < room; i++) {
		struct iovec v = iov[i];

		if (off >= v.iov_len) {
			off -= v.iov_len;
			continue;
		}
		v.iov_base = (uint8_t *)v.iov_base + off;
		v.iov_len -= (size_t)off;
		off = 0;
		if (v.iov_len > len)
			v.iov_len = (size_t)len;
		len -= v.iov_len;
		ret_iov[used++] = v;
	}
	return used;
}
