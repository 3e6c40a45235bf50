/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon_stats.c - memory statistics of the guest (5.5.6.3).
 *
 * This queue works the other way round: the driver gives one buffer with
 * figures, we keep it, and giving it back is how we ask for new ones.  So a
 * driver that does not answer costs nothing: no timer runs without a buffer.
 *
 * A pause puts the buffer back and the resume takes it again, so that nothing
 * is in flight in between; what it holds is not news then.
 * Thread: the device's loop.
 */
#include "virtio/balloon_private.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "virtio/iov.h"

#define NS_PER_S    INT64_C(1000000000)
#define ENTRY_BYTES 10u /* le16 tag, le64 value */
#define ENTRIES_MAX 64u /* that are looked at */

static unsigned queue_of(const struct balloon *b)
{
	unsigned q = 0;

	while (b->role[q] != BALLOON_STATS_ROLE)
		q++;
	return q;
}

static int64_t now_ns(const struct balloon *b)
{
	return loop_now_ns(b->dev.loop, LOOP_VIRTUAL);
}

/* The buffer goes back to the driver, which brings a new one. */
static void ask(struct balloon *b)
{
	struct balloon_stats_queue *s = &b->stats;

	if (!s->holding || b->dev.quiesced)
		return;
	s->holding = false;
	loop_timer_cancel(&s->timer);
	virtio_dev_done(&b->dev, s->ticket, 0);
	virtio_dev_run(&b->dev, queue_of(b));
}

static void on_timer(void *opaque)
{
	ask(opaque);
}

static void arm(struct balloon *b)
{
	struct balloon_stats_queue *s = &b->stats;

	loop_timer_cancel(&s->timer);
	if (!s->holding || s->interval_s == 0)
		return;
	if (loop_timer_set(&s->timer, now_ns(b) + s->interval_s * NS_PER_S) < 0)
		log_limited(&b->dev.limit, LOG_WARN,
			"%s: statistics: no memory for a timer", b->dev.name);
}

void balloon_stats_init(struct balloon *b)
{
	loop_timer_init(
		&b->stats.timer, b->dev.loop, LOOP_VIRTUAL, on_timer, b);
	b->stats.interval_s = b->opt.stats_interval_s;
}

bool balloon_stats_ready(const struct balloon *b)
{
	return !b->stats.holding;
}

/* Tags that we do not know are for others; of a tag the last value counts. */
static void take_figures(struct balloon *b, const struct virtq_chain *chain)
{
	struct balloon_stats_queue *s = &b->stats;
	uint8_t raw[ENTRIES_MAX * ENTRY_BYTES];
	size_t len = iov_read(chain->iov, chain->readable, 0, raw, sizeof(raw));
	size_t at;

	s->valid = 0;
	for (at = 0; len - at >= ENTRY_BYTES; at += ENTRY_BYTES) {
		uint16_t tag;
		uint64_t value;

		memcpy(&tag, raw + at, sizeof(tag));
		memcpy(&value, raw + at + sizeof(tag), sizeof(value));
		tag = le16toh(tag);
		value = le64toh(value);
		/* A driver says that it does not know by all ones. */
		if (tag >= BALLOON_STATS || value == UINT64_MAX)
			continue;
		s->value[tag] = value;
		s->valid |= 1u << tag;
	}
	s->updates++;
	s->time_ns = now_ns(b);
}

void balloon_stats_request(struct balloon *b, const struct virtq_chain *chain,
	struct virtio_ticket t)
{
	struct balloon_stats_queue *s = &b->stats;

	assert(!s->holding);
	if (!s->again)
		take_figures(b, chain);
	s->again = false;
	s->holding = true;
	s->ticket = t;
	arm(b);
}

void balloon_stats_pause(struct balloon *b)
{
	struct balloon_stats_queue *s = &b->stats;

	if (!s->holding)
		return;
	s->holding = false;
	s->again = true;
	loop_timer_cancel(&s->timer);
	virtio_dev_putback(&b->dev, s->ticket);
}

/* The figures stay until there are new ones: they say when they were made. */
void balloon_stats_stop(struct balloon *b)
{
	struct balloon_stats_queue *s = &b->stats;

	loop_timer_cancel(&s->timer);
	s->again = false;
	if (!s->holding)
		return;
	s->holding = false;
	virtio_dev_done(&b->dev, s->ticket, 0); /* stale: only counted */
}

/* ---- for others ---- */

const char *balloon_stat_name(unsigned i)
{
	static const char *const names[BALLOON_STATS] = {
		[VIRTIO_BALLOON_S_SWAP_IN] = "swap_in_bytes",
		[VIRTIO_BALLOON_S_SWAP_OUT] = "swap_out_bytes",
		[VIRTIO_BALLOON_S_MAJFLT] = "major_faults",
		[VIRTIO_BALLOON_S_MINFLT] = "minor_faults",
		[VIRTIO_BALLOON_S_MEMFREE] = "free_bytes",
		[VIRTIO_BALLOON_S_MEMTOT] = "total_bytes",
		[VIRTIO_BALLOON_S_AVAIL] = "available_bytes",
		[VIRTIO_BALLOON_S_CACHES] = "cache_bytes",
		[VIRTIO_BALLOON_S_HTLB_PGALLOC] = "hugetlb_allocations",
		[VIRTIO_BALLOON_S_HTLB_PGFAIL] = "hugetlb_failures",
	};

	return names[i];
}

void virtio_balloon_stats(
	struct virtio_dev *dev, struct balloon_stats *ret_stats)
{
	const struct balloon *b = balloon_of(dev);
	const struct balloon_stats_queue *s = &b->stats;

	*ret_stats = (struct balloon_stats){
		.valid = s->valid,
		.age_ns = s->updates > 0 ? now_ns(b) - s->time_ns : -1,
		.updates = s->updates,
		.interval_s = s->interval_s,
	};
	memcpy(ret_stats->value, s->value, sizeof(s->value));
}

int virtio_balloon_ask_stats(struct virtio_dev *dev)
{
	if (!dev->active || !virtio_dev_has(dev, VIRTIO_BALLOON_F_STATS_VQ))
		return -EOPNOTSUPP;
	ask(balloon_of(dev));
	return 0;
}

void virtio_balloon_set_interval(struct virtio_dev *dev, unsigned seconds)
{
	struct balloon *b = balloon_of(dev);

	assert(seconds <= BALLOON_INTERVAL_MAX_S);
	b->stats.interval_s = seconds;
	arm(b);
}
