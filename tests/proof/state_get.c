/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/state_get.c - every body of up to 24 bytes, getters of every size.
 * promise: a getter that runs short gives 0 and an error, and reads nothing
 * break: migrate/state.c s/(len|n) > \(size_t\)\(r->end - r->pos\)/\1 > 1 + (size_t)(r->end - r->pos)/
 * options: -eva-slevel 600
 */
#include "tests/proof/proof.h"

#include "migrate/state.c"

uint32_t crc32c(uint32_t crc, const void *buf, size_t len)
{
	return (uint32_t)any_u64(0, UINT32_MAX);
}

int main(void)
{
	uint8_t bytes[24], copy[24];
	struct state_reader r;
	size_t have, want;

	anything(bytes, sizeof(bytes));
	for (have = 0; have <= 8; have++) {
		for (want = 0; want <= 12; want++) {
			r = (struct state_reader){
				.pos = bytes, .end = bytes + have};
			state_get_bytes(&r, copy, want);
			/*@ assert want <= have ==> r.error == 0; */
			/*@ assert want > have ==> r.error != 0; */
		}
		r = (struct state_reader){.pos = bytes, .end = bytes + have};
		state_get_u64(&r);
		/*@ assert have < 8 ==> r.error != 0; */
		state_get_u32(&r);
		state_get_bool(&r);
	}
	return 0;
}
