/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/guestmem_at.c - every size of RAM up to 2^48 bytes, every address,
 * every length.
 * promise: an address gives a pointer iff all its bytes are RAM, and to them
 * functions: lay_out,find,guestmem_at
 * edit: vmm/guestmem.[ch] s/^void \*(guestmem_at)/uint8_t *\1/
 * break: vmm/guestmem.c s/len > left\)$/len - 1 > left)/
 * break: vmm/guestmem.c s/\.size = gm->size - low/.size = gm->size/
 */
#include "tests/proof/proof.h"

#include "vmm/guestmem.h"

/*@ predicate laid_out(struct guestmem *gm) =
	1 <= gm->regions <= 2 &&
	gm->region[0].gpa == 0 && gm->region[0].offset == 0 &&
	(gm->regions == 1 ==>
		0 < gm->region[0].size == gm->size <= GUESTMEM_HOLE_START) &&
	(gm->regions == 2 ==>
		gm->region[0].size == GUESTMEM_HOLE_START < gm->size &&
		gm->region[1].gpa == GUESTMEM_HOLE_END &&
		gm->region[1].offset == GUESTMEM_HOLE_START &&
		gm->region[1].size == gm->size - GUESTMEM_HOLE_START);

    predicate high(struct guestmem *gm, integer gpa, integer len) =
	gm->regions == 2 && GUESTMEM_HOLE_END <= gpa &&
	gpa + len <= GUESTMEM_HOLE_END + gm->region[1].size;

    predicate low(struct guestmem *gm, integer gpa, integer len) =
	0 <= gpa && gpa + len <= gm->region[0].size;

    predicate mapped(struct guestmem *gm) =
	\valid_read(gm) && gm->size <= 1 << 48 &&
	\valid(gm->base + (0 .. gm->size - 1));
*/

/*@ requires \valid(gm) && 0 < gm->size <= 1 << 48;
    assigns gm->region[..], gm->regions;
    ensures laid_out(gm);
*/
static void lay_out(struct guestmem *gm);

/*@ requires mapped(gm) && laid_out(gm);
    requires \valid(ret_left) && \separated(ret_left, gm);
    assigns *ret_left;
    ensures \result == \null ==> !low(gm, gpa, 1) && !high(gm, gpa, 1);
    ensures \result != \null ==>
	\result == &gm->region[0] && low(gm, gpa, 1) &&
	*ret_left == gm->region[0].size - gpa ||
	\result == &gm->region[1] && high(gm, gpa, 1) &&
	*ret_left == GUESTMEM_HOLE_END + gm->region[1].size - gpa;
*/
static const struct guestmem_region *find(
	const struct guestmem *gm, uint64_t gpa, uint64_t *ret_left);

/*@ requires mapped(gm) && laid_out(gm);
    assigns \nothing;
    ensures \result != \null <==>
	len > 0 && (low(gm, gpa, len) || high(gm, gpa, len));
    ensures \result != \null ==>
	\valid(\result + (0 .. len - 1)) && \result == gm->base +
	(gpa < GUESTMEM_HOLE_START ? gpa :
	 gpa - GUESTMEM_HOLE_END + GUESTMEM_HOLE_START);
    ensures \result != \null ==> gm->base <= \result &&
	\result + len <= gm->base + gm->size;
*/
uint8_t *guestmem_at(const struct guestmem *gm, uint64_t gpa, uint64_t len);

/* at vmm/guestmem.c find for (i = 0;
	loop invariant 0 <= i <= gm->regions;
	loop invariant i >= 1 ==> !low(gm, gpa, 1);
	loop invariant i >= 2 ==> !high(gm, gpa, 1);
	loop assigns i;
	loop variant gm->regions - i;
*/
#include "vmm/guestmem.c"
