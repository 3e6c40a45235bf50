/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/backend/bucket.h - token buckets: so much a second, so much at once.
 *
 * Pure arithmetic on a clock that the caller reads; no timer, no allocation.
 * A bucket holds tokens of 1/10^9 unit, so a nanosecond brings exactly `rate`
 * of them and nothing is ever rounded.  Who finds it not below zero may charge
 * any amount; a debt makes the next one wait until it is paid.  So a request
 * larger than the burst gets through too, and the rate holds all the same.
 *
 * A group is what several devices share: buckets for operations and bytes,
 * together and by direction.  Reservations are served in the order in which
 * they were made, whichever device made them.
 *
 * Thread: a bucket has one owner; a group has a lock.
 */
#ifndef GODWIT_VIRTIO_BACKEND_BUCKET_H
#define GODWIT_VIRTIO_BACKEND_BUCKET_H

#include <pthread.h>
#include <stdint.h>

#define BUCKET_RATE_MAX	 (UINT64_C(1) << 40) /* units a second */
#define BUCKET_BURST_MAX (UINT64_C(1) << 32) /* units; also of one charge */
#define BUCKET_DEBT_MAX	 (UINT64_C(1) << 62) /* 1/10^9 units */

/* What the user asked for. */
struct bucket_limit {
	uint64_t rate;	/* units a second; 0: no limit */
	uint64_t burst; /* units at once; 0: what comes in 100 ms, 1 at least */
};

/* Zeroed: no limit. */
struct bucket {
	uint64_t rate;	 /* units a second; 0: no limit */
	int64_t full;	 /* most tokens it holds */
	int64_t tokens;	 /* -BUCKET_DEBT_MAX .. full */
	int64_t last_ns; /* tokens are those of this moment */
};

/* Begin with a full bucket.  Larger values are cut to the limits above. */
void bucket_init(
	struct bucket *b, const struct bucket_limit *limit, int64_t now_ns);

/**
 * bucket_wait_ns - how long until somebody may go ahead.
 * @now_ns: a clock; one that goes back brings nothing and takes nothing.
 * Return: 0: now, then bucket_charge(); else nanoseconds to wait.
 */
int64_t bucket_wait_ns(struct bucket *b, int64_t now_ns);

/* Take @units, at most BUCKET_BURST_MAX, as of the last bucket_wait_ns(). */
void bucket_charge(struct bucket *b, uint64_t units);

/* ---- groups ---- */

enum bucket_dir { BUCKET_READ, BUCKET_WRITE, BUCKET_DIRS };

/* [BUCKET_DIRS] is for both directions together. */
struct bucket_limits {
	struct bucket_limit ops[BUCKET_DIRS + 1];
	struct bucket_limit bytes[BUCKET_DIRS + 1];
};

struct bucket_group {
	pthread_mutex_t lock; /* leaf; guards the rest */
	struct bucket ops[BUCKET_DIRS + 1], bytes[BUCKET_DIRS + 1];
};

void bucket_group_init(struct bucket_group *g,
	const struct bucket_limits *limits, int64_t now_ns);
void bucket_group_fini(struct bucket_group *g);

/* Change the limits; what was reserved stays reserved. */
void bucket_group_set(struct bucket_group *g,
	const struct bucket_limits *limits, int64_t now_ns);

/* Begin anew with other limits: debts are forgotten.  Any thread. */
void bucket_group_reset(struct bucket_group *g,
	const struct bucket_limits *limits, int64_t now_ns);
/* The limits as they are, bursts and all.  Any thread. */
void bucket_group_get(struct bucket_group *g, struct bucket_limits *ret_limits);

/**
 * bucket_group_reserve - one operation of @bytes; it is paid for at once.
 * @now_ns: of a clock that all members share.
 * Thread: any; takes the lock for a few sums.
 * Return: nanoseconds after which it may begin; 0: now.
 */
int64_t bucket_group_reserve(struct bucket_group *g, enum bucket_dir dir,
	uint64_t bytes, int64_t now_ns);

#endif
