/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/proof/wrap.h - what WP does not know of C's unsigned numbers: they wrap
 * (C11 6.3.1.3, 2).  Once round either way is all that is needed.
 */
#ifndef GODWIT_TESTS_PROOF_WRAP_H
#define GODWIT_TESTS_PROOF_WRAP_H

#include <stdint.h>

/*@ axiomatic wrap {
    axiom up64: \forall integer x;
	-0x10000000000000000 <= x < 0 ==>
		(uint64_t)x == x + 0x10000000000000000;
    axiom down64: \forall integer x;
	0x10000000000000000 <= x < 0x20000000000000000 ==>
		(uint64_t)x == x - 0x10000000000000000;
    axiom up32: \forall integer x;
	-0x100000000 <= x < 0 ==> (uint32_t)x == x + 0x100000000;
    axiom down32: \forall integer x;
	0x100000000 <= x < 0x200000000 ==> (uint32_t)x == x - 0x100000000;
    axiom up16: \forall integer x;
	-0x10000 <= x < 0 ==> (uint16_t)x == x + 0x10000;
    axiom down16: \forall integer x;
	0x10000 <= x < 0x20000 ==> (uint16_t)x == x - 0x10000;
    }
*/

#endif
