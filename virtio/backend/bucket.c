/* SPDX-License-Identifier: Apache-2.0 */
/* virtio/backend/bucket.c - see bucket.h. */
#include "virtio/backend/bucket.h"

#include <string.h>

#define NANO 1000000000u /* tokens of a unit; nanoseconds of a second */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t burst_of(const struct bucket_limit *limit, uint64_t rate)
{
	uint64_t burst = limit->burst ? limit->burst : rate / 10;

	return burst == 0 ? 1 : least(burst, BUCKET_BURST_MAX);
}

void bucket_init(
	struct bucket *b, const struct bucket_limit *limit, int64_t now_ns)
{
	uint64_t rate = least(limit->rate, BUCKET_RATE_MAX);

	*b = (struct bucket){.rate = rate, .last_ns = now_ns};
	if (rate > 0)
		b->full = (int64_t)(burst_of(limit, rate) * NANO);
	b->tokens = b->full;
}

/* What came since the last look. */
static void refill(struct bucket *b, int64_t now_ns)
{
	uint64_t missing, passed;

	if (now_ns <= b->last_ns) {
		b->last_ns = now_ns;
		return;
	}
	passed = (uint64_t)now_ns - (uint64_t)b->last_ns;
	b->last_ns = now_ns;
	missing = (uint64_t)b->full - (uint64_t)b->tokens;
	/* passed * rate >= missing, without the product */
	if (passed > missing / b->rate)
		b->tokens = b->full;
	else
		b->tokens += (int64_t)(passed * b->rate);
}

int64_t bucket_wait_ns(struct bucket *b, int64_t now_ns)
{
	uint64_t debt;

	if (b->rate == 0)
		return 0;
	refill(b, now_ns);
	if (b->tokens >= 0)
		return 0;
	debt = (uint64_t)-b->tokens;
	return (int64_t)((debt + b->rate - 1) / b->rate);
}

void bucket_charge(struct bucket *b, uint64_t units)
{
	const int64_t lowest = -(int64_t)BUCKET_DEBT_MAX;
	int64_t price = (int64_t)(least(units, BUCKET_BURST_MAX) * NANO);

	if (b->rate == 0)
		return;
	/* tokens is between -2^62 and 2^62: neither difference wraps. */
	if (b->tokens - lowest < price)
		b->tokens = lowest;
	else
		b->tokens -= price;
}

/* ---- groups ---- */

void bucket_group_init(struct bucket_group *g,
	const struct bucket_limits *limits, int64_t now_ns)
{
	unsigned i;

	memset(g, 0, sizeof(*g));
	pthread_mutex_init(&g->lock, NULL);
	for (i = 0; i <= BUCKET_DIRS; i++) {
		bucket_init(&g->ops[i], &limits->ops[i], now_ns);
		bucket_init(&g->bytes[i], &limits->bytes[i], now_ns);
	}
}

void bucket_group_fini(struct bucket_group *g)
{
	pthread_mutex_destroy(&g->lock);
}

/* A debt is a matter of time: it stays what it was in nanoseconds. */
static void change(
	struct bucket *b, const struct bucket_limit *limit, int64_t now_ns)
{
	uint64_t wait = (uint64_t)bucket_wait_ns(b, now_ns);

	bucket_init(b, limit, now_ns);
	if (b->rate > 0 && wait > 0)
		b->tokens = -(int64_t)(least(wait, BUCKET_DEBT_MAX / b->rate) *
				       b->rate);
}

void bucket_group_set(struct bucket_group *g,
	const struct bucket_limits *limits, int64_t now_ns)
{
	unsigned i;

	pthread_mutex_lock(&g->lock);
	for (i = 0; i <= BUCKET_DIRS; i++) {
		change(&g->ops[i], &limits->ops[i], now_ns);
		change(&g->bytes[i], &limits->bytes[i], now_ns);
	}
	pthread_mutex_unlock(&g->lock);
}

void bucket_group_reset(struct bucket_group *g,
	const struct bucket_limits *limits, int64_t now_ns)
{
	unsigned i;

	pthread_mutex_lock(&g->lock);
	for (i = 0; i <= BUCKET_DIRS; i++) {
		bucket_init(&g->ops[i], &limits->ops[i], now_ns);
		bucket_init(&g->bytes[i], &limits->bytes[i], now_ns);
	}
	pthread_mutex_unlock(&g->lock);
}

static struct bucket_limit limit_of(const struct bucket *b)
{
	return (struct bucket_limit){
		.rate = b->rate, .burst = (uint64_t)b->full / NANO};
}

void bucket_group_get(struct bucket_group *g, struct bucket_limits *ret_limits)
{
	unsigned i;

	pthread_mutex_lock(&g->lock);
	for (i = 0; i <= BUCKET_DIRS; i++) {
		ret_limits->ops[i] = limit_of(&g->ops[i]);
		ret_limits->bytes[i] = limit_of(&g->bytes[i]);
	}
	pthread_mutex_unlock(&g->lock);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

int64_t bucket_group_reserve(struct bucket_group *g, enum bucket_dir dir,
	uint64_t bytes, int64_t now_ns)
{
	const unsigned use[] = {dir, BUCKET_DIRS};
	int64_t wait = 0;
	unsigned i;

	pthread_mutex_lock(&g->lock);
	for (i = 0; i < 2; i++) {
		wait = later(wait, bucket_wait_ns(&g->ops[use[i]], now_ns));
		wait = later(wait, bucket_wait_ns(&g->bytes[use[i]], now_ns));
		bucket_charge(&g->ops[use[i]], 1);
		bucket_charge(&g->bytes[use[i]], bytes);
	}
	pthread_mutex_unlock(&g->lock);
	return wait;
}
