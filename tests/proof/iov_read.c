/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/iov_read.c - three buffers of any length up to 8, every offset,
 * every length up to 24.
 * promise: copies to and from iovecs stay within the iovecs and the buffer
 * break: virtio/iov.c s/if \(n > len - done\)/if (0)/
 * options: -eva-slevel 3000
 */
#include "tests/proof/proof.h"

#include "virtio/iov.c"

int main(void)
{
	uint8_t part[3][4], flat[6];
	struct iovec iov[3], slice[3];
	unsigned a, b, off, len, used;
	size_t done;

	anything(part, sizeof(part));
	anything(flat, sizeof(flat));
	for (a = 0; a <= 4; a += 2) {
		for (b = 0; b <= 4; b += 2) {
			iov[0] = (struct iovec){part[0], a};
			iov[1] = (struct iovec){part[1], b};
			iov[2] = (struct iovec){part[2], 3};
			for (off = 0; off <= 12; off += 3) {
				for (len = 0; len <= 6; len += 2) {
					done = iov_read(iov, 3, off, flat, len);
					/*@ assert done <= len; */
					done = iov_write(
						iov, 3, off, flat, len);
					/*@ assert done <= len; */
					used = iov_slice(
						iov, 3, off, len, slice, 3);
					/*@ assert used <= 3; */
				}
			}
		}
	}
	return 0;
}
