/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/wire_request.c - every page number with counts around each bound;
 * then every content at once.
 * promise: a REQUEST that is taken names 1 to 256 pages, all of the guest
 * break: migrate/wire_get.c s/page > pages - count/page > pages/
 * options: -eva-slevel 200
 */
#include "tests/proof/proof.h"

#include "migrate/wire_get.c"

int main(void)
{
	struct wire_request r;
	uint8_t meta[12];
	static const uint16_t counts[] = {0, 1, 2, 255, 256, 257, 4096, 65535};
	uint32_t count, i;
	int rc;

	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		count = counts[i];
		anything(meta, 8);
		meta[8] = (uint8_t)count;
		meta[9] = (uint8_t)(count >> 8);
		meta[10] = meta[11] = 0;
		rc = wire_get_request(meta, sizeof(meta), 4096, &r, NULL);
		if (rc == 0) {
			/*@ assert 1 <= count <= 256; */
			/*@ assert r.count == count; */
			/*@ assert r.page + count <= 4096; */
		}
	}
	anything(meta, 8);
	anything(meta + 8, 4);
	rc = wire_get_request(meta, any_u64(0, 12), 4096, &r, NULL);
	/*@ assert rc == 0 || rc == -71 || rc == -74; */
	if (rc == 0) {
		/*@ assert 1 <= r.count <= 256; */
	}
	return 0;
}
