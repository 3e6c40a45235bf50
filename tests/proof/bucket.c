/* SPDX-License-Identifier: Apache-2.0 */
/* tests/proof/bucket.c - every rate, burst, charge and pair of times.
 * promise: a token bucket never overflows, never gives more than rate * time, and waits long enough
 * functions: least,burst_of,bucket_init,refill,bucket_wait_ns,bucket_charge
 * break: virtio/backend/bucket.c s/if \(passed > (missing \/ b->rate)\)/if (passed > 2 * (\1) + 1)/
 * break: virtio/backend/bucket.c s/\(debt \+ b->rate - 1\)/debt/
 */
#include "tests/proof/proof.h"
#include "tests/proof/wrap.h"

#include "virtio/backend/bucket.h"

#define UNIT 1000000000 /* tokens */

/*@ predicate sane(struct bucket *b) =
	b->rate <= BUCKET_RATE_MAX &&
	0 <= b->full <= BUCKET_BURST_MAX * UNIT &&
	-BUCKET_DEBT_MAX <= b->tokens <= b->full;
*/

/*@ assigns \nothing;
    ensures \result == \min(a, b);
*/
static uint64_t least(uint64_t a, uint64_t b);

/*@ requires \valid_read(limit) && rate <= BUCKET_RATE_MAX;
    assigns \nothing;
    ensures 1 <= \result <= BUCKET_BURST_MAX;
*/
static uint64_t burst_of(const struct bucket_limit *limit, uint64_t rate);

/*@ requires \valid(b) && \valid_read(limit) && \separated(b, limit);
    assigns *b;
    ensures sane(b) && b->tokens == b->full;
    ensures b->rate == \min(limit->rate, BUCKET_RATE_MAX);
    ensures b->rate > 0 ==> b->full >= UNIT;
    ensures b->last_ns == now_ns;
*/
void bucket_init(
	struct bucket *b, const struct bucket_limit *limit, int64_t now_ns);

/* What is in it afterwards: all that came and had room. */
/*@ requires \valid(b) && sane(b) && b->rate > 0;
    assigns b->tokens, b->last_ns;
    ensures sane(b) && b->last_ns == now_ns;
    ensures now_ns <= \old(b->last_ns) ==> b->tokens == \old(b->tokens);
    ensures now_ns > \old(b->last_ns) ==> b->tokens == \min(b->full,
	\old(b->tokens) + (now_ns - \old(b->last_ns)) * b->rate);
*/
static void refill(struct bucket *b, int64_t now_ns);

/* Enough, and not a nanosecond more. */
/*@ requires \valid(b) && sane(b);
    assigns b->tokens, b->last_ns;
    ensures sane(b) && \result >= 0;
    ensures b->rate > 0 ==> b->last_ns == now_ns;
    ensures b->rate > 0 ==> b->tokens + \result * b->rate >= 0;
    ensures \result > 0 ==> b->tokens + (\result - 1) * b->rate < 0;
*/
int64_t bucket_wait_ns(struct bucket *b, int64_t now_ns);

/*@ requires \valid(b) && sane(b);
    assigns b->tokens;
    ensures sane(b);
    ensures b->rate > 0 && units <= BUCKET_BURST_MAX ==> b->tokens ==
	\max(-BUCKET_DEBT_MAX, \old(b->tokens) - units * UNIT);
*/
void bucket_charge(struct bucket *b, uint64_t units);

/* at virtio/backend/bucket.c refill if (passed > missing
	assert missing == b->full - b->tokens;
	assert passed == now_ns - \at(b->last_ns, Pre);
	assert (missing / b->rate) * b->rate <= missing <
		(missing / b->rate + 1) * b->rate;
	assert passed <= missing / b->rate ==>
		passed * b->rate <= (missing / b->rate) * b->rate;
	assert passed > missing / b->rate ==>
		passed * b->rate >= (missing / b->rate + 1) * b->rate;
	assert 0 <= missing <= INT64_MAX;
	assert passed <= missing / b->rate ==>
		0 <= passed * b->rate <= missing;
	assert passed <= missing / b->rate ==>
		(int64_t)((uint64_t)(passed * b->rate)) == passed * b->rate;
	assert passed <= missing / b->rate ==>
		b->tokens + passed * b->rate <= b->full;
*/
#include "virtio/backend/bucket.c"
