/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/wire_header.c - every 24 bytes.
 * promise: no header makes us expect more than 64 MiB of meta or 2 MiB of pages
 * break: migrate/wire.c s/if \(!data_len_ok\(info, &h\)\)/if (0)/
 * options: -eva-slevel 3000
 */
#include "tests/proof/proof.h"

#include "migrate/wire.c"

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	return (uint32_t)any_u64(0, UINT32_MAX);
}

int main(void)
{
	uint8_t bytes[WIRE_HEADER_BYTES];
	struct wire_header h;

	anything(bytes, sizeof(bytes));
	if (wire_header(bytes, &h, NULL) == 0) {
		/*@ assert h.flags == 0; */
		/*@ assert h.meta_len <= 64 << 20; */
		/*@ assert h.data_len <= 512 * 4096; */
	}
	return 0;
}
