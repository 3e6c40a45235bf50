/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/bucket.h - a token bucket that may run into debt: what was written is
 * booked afterwards, and the next write waits until the debt is paid.  The
 * caller brings the clock.  No locking.
 */
#ifndef GODWIT_MIGRATE_BUCKET_H
#define GODWIT_MIGRATE_BUCKET_H

#include <stdint.h>

/* Unused time is saved up for so long; a burst is no longer than this. */
#define SOURCE_BUCKET_NS UINT64_C(20000000)
/* Longer than anybody waits. */
#define SOURCE_BUCKET_MAX_NS UINT64_C(1000000000000000000)

/* All zero to begin with. */
struct source_bucket {
	uint64_t rate;	  /* bytes/s that the debt was booked under */
	uint64_t paid_ns; /* when the last byte booked is paid for */
	uint64_t rest;	  /* of the last division, in byte * 1e9 */
};

/* How long to wait at @now_ns before the next write under a limit of @rate
 * bytes/s, > 0; 0: not at all.  A debt from before the limit changed is paid at
 * the new rate. */
static inline uint64_t source_bucket_wait(
	struct source_bucket *b, uint64_t rate, uint64_t now_ns)
{
	unsigned __int128 debt;

	if (b->rate != rate) {
		if (b->paid_ns > now_ns) {
			debt = (unsigned __int128)(b->paid_ns - now_ns) *
			       b->rate / rate;
			if (debt > SOURCE_BUCKET_MAX_NS)
				debt = SOURCE_BUCKET_MAX_NS;
			b->paid_ns = now_ns + (uint64_t)debt;
		}
		b->rate = rate;
		b->rest = 0;
	}
	return b->paid_ns > now_ns ? b->paid_ns - now_ns : 0;
}

/* @bytes were written at @now_ns under that limit. */
static inline void source_bucket_take(
	struct source_bucket *b, uint64_t bytes, uint64_t rate, uint64_t now_ns)
{
	unsigned __int128 cost;

	source_bucket_wait(b, rate, now_ns);
	cost = (unsigned __int128)bytes * 1000000000u + b->rest;
	if (b->paid_ns + SOURCE_BUCKET_NS < now_ns)
		b->paid_ns = now_ns - SOURCE_BUCKET_NS;
	b->paid_ns += (uint64_t)(cost / rate);
	b->rest = (uint64_t)(cost % rate);
}

#endif
