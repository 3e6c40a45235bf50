/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/balloon.c - the driver's side of the first balloon: a pool of pages
 * that goes into it and comes out again as the host asks.
 *
 * Each page of the pool holds its number; one that was in the balloon may hold
 * that or zeroes, and must be good for writing again.  The guest also keeps a
 * buffer of statistics with the host, answers the first request for hints with
 * pages that are not in the balloon, uses some of them again at once, and
 * reports some once.
 */
#include <stddef.h>

#include "kernels/lib/apic.h"
#include "kernels/lib/boot.h"
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"
#include "kernels/lib/cpu.h"
#include "kernels/lib/io.h"
#include "kernels/lib/memory.h"
#include "kernels/lib/string.h"
#include "kernels/lib/virtio.h"

#define F_STATS	    1u
#define F_HINT	    3u
#define F_REPORTING 5u
#define WANTED                                                                 \
	(1ull << 0 | 1ull << F_STATS | 1ull << F_HINT | 1ull << F_REPORTING)

#define AT_TARGET 0u
#define AT_ACTUAL 4u
#define AT_HINT	  8u

#define LIST_MAX   256u
#define BLOCKS	   4u	  /* of hints */
#define PATIENCE   10000u /* ms for an answer */
#define LOOK_MS	   20u	  /* between two looks without an interrupt */
#define TAG_FREE   4u
#define TAG_TOTAL  5u
#define STAT_BYTES 10u
#define NO_QUEUE   99u

static struct {
	struct virtio_device dev;
	uint8_t *pool;
	uint32_t pages, actual;
	uint32_t *list; /* LIST_MAX page numbers; small things behind them */
	uint8_t *small;
	unsigned stats, hint, report; /* their queues */
	uint32_t hint_id;	      /* seen last */
	uint32_t hinted,
		reuse; /* pages shown; the first of them in use again */
	uint64_t kept, zeroed, wrong;
} me;

static struct cpu boot_cpu;

static uint64_t *page(uint32_t i)
{
	return (uint64_t *)(me.pool + i * PAGE_SIZE);
}

static uint64_t mark(uint32_t i)
{
	return 0x6262000000000001ull + i;
}

static bool answered(unsigned queue, const struct virtio_buffer *buf)
{
	struct virtio_done done;

	if (virtio_add(&me.dev, queue, buf, 1) < 0)
		return false;
	virtio_kick(&me.dev, queue);
	return virtio_wait(&me.dev, queue, PATIENCE, &done);
}

/* ---- the balloon: pages [0, actual) of the pool are in it ---- */

static bool send_pages(unsigned queue, uint32_t first, uint32_t count)
{
	struct virtio_buffer buf = {me.list, 4 * count, false};
	uint32_t i;

	for (i = 0; i < count; i++)
		me.list[i] = (uint32_t)((uint64_t)page(first + i) / PAGE_SIZE);
	return answered(queue, &buf);
}

static bool inflate(uint32_t count)
{
	if (!send_pages(0, me.actual, count))
		return false;
	me.actual += count;
	return true;
}

static bool deflate(uint32_t count)
{
	uint32_t i;

	me.actual -= count;
	if (!send_pages(1, me.actual, count))
		return false;
	for (i = me.actual; i < me.actual + count; i++) {
		if (*page(i) == 0)
			me.zeroed++;
		else if (*page(i) == mark(i))
			me.kept++;
		else
			me.wrong++;
		*page(i) = mark(i);
	}
	return true;
}

/* Return: false when the device does not answer. */
static bool follow(uint32_t target)
{
	uint32_t n =
		target > me.actual ? target - me.actual : me.actual - target;
	bool up = target > me.actual, fine;

	if (n > LIST_MAX)
		n = LIST_MAX;
	fine = up ? inflate(n) : deflate(n);
	virtio_set_config32(&me.dev, AT_ACTUAL, me.actual);
	if (fine && me.actual == target)
		print("balloon: %s to %u zeroed %lu kept %lu wrong %lu\n",
			up ? "inflated" : "deflated", me.actual, me.zeroed,
			me.kept, me.wrong);
	return fine;
}

/* Do the pages outside the balloon hold what they should? */
static bool sound(void)
{
	uint32_t i;

	for (i = me.actual; i < me.pages; i++)
		if (*page(i) != mark(i))
			return false;
	return me.wrong == 0;
}

/* ---- the rest ---- */

static void put_stat(unsigned i, uint16_t tag, uint64_t value)
{
	memcpy(me.small + i * STAT_BYTES, &tag, 2);
	memcpy(me.small + i * STAT_BYTES + 2, &value, 8);
}

static void give_stats(void)
{
	struct virtio_buffer buf = {me.small, 2 * STAT_BYTES, false};

	put_stat(0, TAG_FREE, (me.pages - me.actual) * PAGE_SIZE);
	put_stat(1, TAG_TOTAL, me.pages * PAGE_SIZE);
	virtio_add(&me.dev, me.stats, &buf, 1);
	virtio_kick(&me.dev, me.stats);
}

static void look_at_stats(void)
{
	struct virtio_queue *q = &me.dev.queue[me.stats];
	struct virtio_done done;

	if (me.stats == NO_QUEUE || q->used[1] == q->used_idx)
		return;
	if (virtio_wait(&me.dev, me.stats, PATIENCE, &done))
		give_stats();
}

static bool say(uint32_t id)
{
	uint32_t *word = (uint32_t *)(me.small + 64);
	struct virtio_buffer buf = {word, 4, false};

	*word = id;
	return answered(me.hint, &buf);
}

static uint64_t new_mark(uint32_t i)
{
	return ~mark(i);
}

/* In use again while the host may think that they are not. */
static void use_again(void)
{
	uint32_t first = me.pages - me.hinted, i;

	if (me.reuse > me.hinted)
		me.reuse = me.hinted;
	for (i = first; i < first + me.reuse; i++)
		*page(i) = new_mark(i);
	if (me.reuse > 0)
		print("balloon: reused %u\n", me.reuse);
}

/* All are ours again; what was in use must have kept what it held. */
static void hints_done(void)
{
	uint32_t first = me.pages - me.hinted, i;
	uint64_t lost = 0, zeroed = 0, kept = 0;

	for (i = first; i < me.pages; i++) {
		if (i < first + me.reuse)
			lost += *page(i) != new_mark(i);
		else if (*page(i) == 0)
			zeroed++;
		else if (*page(i) == mark(i))
			kept++;
		else
			me.wrong++;
		*page(i) = mark(i);
	}
	print("balloon: hints done lost %lu zeroed %lu kept %lu\n", lost,
		zeroed, kept);
	me.wrong += lost;
	me.hinted = me.reuse = 0;
}

/* Show the last quarter of the pool, in blocks, as far as it is ours; pages
 * that were shown stay aside until the host is done. */
static bool look_at_hints(void)
{
	struct virtio_buffer buf = {NULL, 0, true};
	uint32_t id, first, n = me.pages / 4 / BLOCKS, i;

	if (me.hint == NO_QUEUE)
		return true;
	id = virtio_config32(&me.dev, AT_HINT);
	if (id == me.hint_id)
		return true;
	me.hint_id = id;
	if (id == 1)
		hints_done();
	if (id < 2)
		return true;
	if (!say(id))
		return false;
	for (i = 0; me.hinted == 0 && i < BLOCKS; i++) {
		first = me.pages - (i + 1) * n;
		if (first < me.actual)
			break;
		buf.data = page(first);
		buf.len = n * (uint32_t)PAGE_SIZE;
		if (!answered(me.hint, &buf))
			return false;
	}
	if (!say(0))
		return false;
	print("balloon: hinted %u\n", i * n);
	if (i > 0) {
		me.hinted = i * n;
		use_again();
	}
	return true;
}

/* Give [0, count) away for a moment: they are zero, or as they were. */
static bool report(uint32_t count)
{
	struct virtio_buffer buf = {page(0), count * (uint32_t)PAGE_SIZE, true};
	uint64_t zeroed = 0, kept = 0;
	uint32_t i;

	if (!answered(me.report, &buf))
		return false;
	print("balloon: reported\n");
	for (i = 0; i < count; i++) {
		zeroed += *page(i) == 0;
		kept += *page(i) == mark(i);
		*page(i) = mark(i);
	}
	print("balloon: after the report zeroed %lu kept %lu\n", zeroed, kept);
	return zeroed + kept == count;
}

/* ---- set-up ---- */

/* The number of a queue is how many before it exist. */
static unsigned number(unsigned feature, unsigned *next)
{
	return me.dev.features >> feature & 1 ? (*next)++ : NO_QUEUE;
}

static bool set_up(void)
{
	struct virtio_place place[VIRTIO_MAX];
	unsigned i, n = virtio_find(place), queues = 2;
	const char *why;

	for (i = 0; i < n && virtio_probe(place[i].gpa) != VIRTIO_ID_BALLOON;
		i++)
		;
	if (i == n) {
		print("balloon: no balloon\n");
		return false;
	}
	/* Which queues there are: first as many as every balloon has. */
	why = virtio_open(&me.dev, &place[i], WANTED, 2, i, true);
	if (why == NULL) {
		me.stats = number(F_STATS, &queues);
		me.hint = number(F_HINT, &queues);
		me.report = number(F_REPORTING, &queues);
		if (queues > 2) {
			virtio_close(&me.dev);
			why = virtio_open(
				&me.dev, &place[i], WANTED, queues, i, true);
		}
	}
	if (why != NULL)
		print("balloon: device %u: %s\n", i, why);
	return why == NULL;
}

static void fill_pool(void)
{
	uint32_t i;

	me.list = page_alloc(1);
	me.small = page_alloc(1);
	me.pages = (uint32_t)boot_number("pages", 1024);
	me.reuse = (uint32_t)boot_number("reuse", 0);
	me.pool = page_alloc(me.pages);
	for (i = 0; i < me.pages; i++)
		*page(i) = mark(i);
}

/* Until the balloon was empty again @cycles times. */
static bool serve(uint64_t cycles)
{
	uint32_t target, was;
	uint64_t seen;

	while (cycles > 0) {
		seen = virtio_irqs(&me.dev);
		look_at_stats();
		if (!look_at_hints())
			return false;
		target = virtio_config32(&me.dev, AT_TARGET);
		if (target > me.pages)
			target = me.pages;
		was = me.actual;
		if (target == was) {
			virtio_irq_wait(&me.dev, seen + 1, LOOK_MS);
			continue;
		}
		if (!follow(target))
			return false;
		if (was > 0 && me.actual == 0)
			cycles--;
	}
	return true;
}

bool guest_main(void)
{
	uint32_t count = (uint32_t)boot_number("report", 0);

	cpu_init(&boot_cpu, 0);
	apic_init();
	print("balloon: entry %s\n", boot_entry_name());
	fill_pool();
	if (!check("device", set_up()))
		return check_summary("balloon");
	print("balloon: features %lx pages %u\n", me.dev.features, me.pages);
	if (me.stats != NO_QUEUE)
		give_stats();
	print("balloon: ready\n");
	if (count > 0 && me.report != NO_QUEUE)
		check("report", report(count));
	check("balloon", serve(boot_number("cycles", 1)));
	check("memory", sound());
	virtio_close(&me.dev);
	return check_summary("balloon");
}
