/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio/balloon_pages.c - pages that go into the balloon and come out of it.
 *
 * What goes in gives its memory back at once, if that is allowed.  A page that
 * cannot (discards are inhibited, or its huge page is not wholly in the
 * balloon) is remembered and follows later.  That takes a driver that tells
 * before it uses a page again (MUST_TELL_HOST); of another one's pages we let
 * go at once or never.
 *
 * Nothing is done when a page comes out: the first touch brings memory.
 *
 * A chain may list any number of pages.  A turn of the loop looks at so many;
 * then the chain is put back, with a note how much of it is done.
 * Thread: the device's loop.
 */
#include "virtio/balloon_private.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/iov.h"

#define TURN_PAGES  2048u
#define BATCH_PAGES 256u
#define LATE_RUNS   512u
#define LATE_PAGES  16384u /* of one run: 64 MiB */
#define PFN_BYTES   4u

bool balloon_pages_ready(struct balloon *b, unsigned q)
{
	if (b->budget > 0)
		return true;
	b->budget = TURN_PAGES;
	virtio_dev_run(&b->dev, q);
	return false;
}

int64_t balloon_give_back(struct balloon *b, uint64_t gpa, uint64_t len)
{
	uint64_t unit = guestmem_unit(b->dev.gm);
	uint64_t first = (gpa + unit - 1) & ~(unit - 1);
	uint64_t end = (gpa + len) & ~(unit - 1);
	int rc = guestmem_discard(b->dev.gm, gpa, len);

	if (rc == -EBUSY)
		return rc;
	if (rc < 0) {
		log_limited(&b->dev.limit, LOG_WARN,
			"%s: give memory back: %s (it stays with the VM)",
			b->dev.name, strerror(-rc));
		return rc;
	}
	if (first >= end)
		return 0;
	b->returned_bytes += end - first;
	return (int64_t)(end - first);
}

/* ---- pages in the balloon that still have memory ---- */

static uint64_t ram_pages(const struct balloon *b)
{
	return b->dev.gm->size / GUESTMEM_PAGE;
}

static uint64_t unit_pages(const struct balloon *b)
{
	return guestmem_unit(b->dev.gm) / GUESTMEM_PAGE;
}

static bool is_held(const struct balloon *b, uint64_t page)
{
	return b->held[page / 64] >> (page % 64) & 1;
}

/* By RAM offset.  @gpa is RAM. */
static uint64_t page_of(const struct balloon *b, uint64_t gpa)
{
	const uint8_t *p = guestmem_at(b->dev.gm, gpa, 1);

	return (uint64_t)(p - b->dev.gm->base) / GUESTMEM_PAGE;
}

static uint64_t gpa_of(const struct balloon *b, uint64_t page)
{
	return guestmem_gpa(b->dev.gm, b->dev.gm->base + page * GUESTMEM_PAGE);
}

static void set_held(
	struct balloon *b, uint64_t page, uint64_t count, bool held)
{
	for (; count > 0; page++, count--) {
		if (is_held(b, page) == held)
			continue;
		b->held[page / 64] ^= UINT64_C(1) << (page % 64);
		b->held_pages += held ? 1 : UINT64_MAX;
	}
}

/* Remember them, if that is any use. */
static bool hold(struct balloon *b, uint64_t page, uint64_t count)
{
	if (!virtio_dev_has(&b->dev, VIRTIO_BALLOON_F_MUST_TELL_HOST))
		return false;
	if (!b->held)
		b->held = calloc((ram_pages(b) + 63) / 64, sizeof(*b->held));
	if (!b->held)
		return false;
	set_held(b, page, count, true);
	return true;
}

static bool unit_is_full(const struct balloon *b, uint64_t page)
{
	uint64_t end = page + unit_pages(b);

	for (; page < end; page++)
		if (!is_held(b, page))
			return false;
	return true;
}

/* Give back what is wholly held of [page, page + count), whole units.  -EBUSY:
 * not now. */
static int64_t give_back_units(struct balloon *b, uint64_t page, uint64_t count)
{
	int64_t rc =
		balloon_give_back(b, gpa_of(b, page), count * GUESTMEM_PAGE);

	if (rc == -EBUSY)
		b->late_page = 0; /* look at all of it then */
	else if (unit_pages(b) == 1)
		set_held(b, page, count, false);
	return rc;
}

/* The first page from @page on whose unit is full; ram_pages(): none.  */
static uint64_t next_full(const struct balloon *b, uint64_t page)
{
	uint64_t unit = unit_pages(b), end = ram_pages(b);

	while (page < end) {
		if (page % 64 == 0 && b->held[page / 64] == 0)
			page += unit > 64 ? unit : 64;
		else if (unit_is_full(b, page))
			return page;
		else
			page += unit;
	}
	return end;
}

/* How many pages from @page on are in full units next to each other. */
static uint64_t full_run(const struct balloon *b, uint64_t page)
{
	uint64_t unit = unit_pages(b), end = ram_pages(b), n = unit;

	/* A run ends at the hole, though the offsets go on. */
	while (n < LATE_PAGES && page + n < end && unit_is_full(b, page + n) &&
		gpa_of(b, page + n) == gpa_of(b, page) + n * GUESTMEM_PAGE)
		n += unit;
	return n;
}

void balloon_pages_late(void *opaque)
{
	struct balloon *b = opaque;
	unsigned runs;
	uint64_t n;

	if (b->late_page == UINT64_MAX || !b->dev.active || b->dev.quiesced)
		return; /* the resume schedules it again */
	for (runs = 0; runs < LATE_RUNS; runs++) {
		b->late_page = next_full(b, b->late_page);
		if (b->late_page == ram_pages(b)) {
			b->late_page = UINT64_MAX;
			return;
		}
		n = full_run(b, b->late_page);
		if (give_back_units(b, b->late_page, n) == -EBUSY)
			return; /* whoever allows it schedules us */
		b->late_page += n;
	}
	loop_bh_schedule(b->late);
}

void balloon_pages_forget(struct balloon *b)
{
	free(b->held);
	b->held = NULL;
	b->held_pages = 0;
	b->late_page = UINT64_MAX;
	memset(b->done, 0, sizeof(b->done));
}

uint64_t balloon_pages_waiting(const struct balloon *b)
{
	uint64_t page, full = 0;

	if (!b->held || b->late_page != UINT64_MAX || unit_pages(b) == 1)
		return b->held_pages;
	for (page = 0; (page = next_full(b, page)) < ram_pages(b);
		page += unit_pages(b))
		full += unit_pages(b);
	return b->held_pages - full;
}

/* ---- inflate and deflate ---- */

/* [page, page + count) of small pages. */
static void inflate_small(struct balloon *b, uint64_t gpa, uint64_t count)
{
	if (balloon_give_back(b, gpa, count * GUESTMEM_PAGE) == -EBUSY &&
		hold(b, page_of(b, gpa), count))
		b->late_page = 0;
}

static void inflate_huge(struct balloon *b, uint64_t gpa, uint64_t count)
{
	uint64_t page = page_of(b, gpa), unit = unit_pages(b), at;

	if (!hold(b, page, count))
		return;
	for (at = page & ~(unit - 1); at < page + count; at += unit)
		if (unit_is_full(b, at))
			give_back_units(b, at, unit);
}

static void run_over(
	struct balloon *b, enum balloon_role role, uint64_t pfn, uint64_t count)
{
	uint64_t gpa = pfn << VIRTIO_BALLOON_PFN_SHIFT;

	if (role == BALLOON_DEFLATE)
		set_held(b, page_of(b, gpa), count, false);
	else if (unit_pages(b) == 1)
		inflate_small(b, gpa, count);
	else
		inflate_huge(b, gpa, count);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Copy @count page numbers from byte @off of @chain; those of RAM, in order. */
static unsigned read_batch(struct balloon *b, const struct virtq_chain *chain,
	uint64_t off, unsigned count, uint32_t *ret_pfn)
{
	unsigned i, kept = 0;

	iov_read(chain->iov, chain->readable, off, ret_pfn, count * PFN_BYTES);
	for (i = 0; i < count; i++) {
		uint32_t pfn = le32toh(ret_pfn[i]);

		if (guestmem_at(b->dev.gm,
			    (uint64_t)pfn << VIRTIO_BALLOON_PFN_SHIFT,
			    GUESTMEM_PAGE))
			ret_pfn[kept++] = pfn;
	}
	if (kept < count) {
		b->refused_pages += count - kept;
		log_limited(&b->dev.limit, LOG_WARN,
			"%s: the driver gives pages that are no RAM",
			b->dev.name);
	}
	qsort(ret_pfn, kept, sizeof(*ret_pfn), by_number);
	return kept;
}

/* Pages that lie next to each other are one run.  Parts of RAM do not. */
static void batch_over(struct balloon *b, enum balloon_role role,
	const uint32_t *pfn, unsigned count)
{
	unsigned i, first = 0;

	for (i = 1; i <= count; i++) {
		if (i < count && pfn[i] - pfn[i - 1] <= 1)
			continue;
		run_over(b, role, pfn[first],
			(uint64_t)pfn[i - 1] - pfn[first] + 1);
		first = i;
	}
}

void balloon_pages_request(struct balloon *b, struct virtq_chain *chain,
	struct virtio_ticket t, enum balloon_role role)
{
	uint64_t total = iov_bytes(chain->iov, chain->readable) &
			 ~(uint64_t)(PFN_BYTES - 1);
	uint64_t *done = &b->done[role], left;
	uint32_t pfn[BATCH_PAGES];
	unsigned n;

	if (role == BALLOON_DEFLATE && !b->held)
		*done = total; /* there is nothing to forget */
	while (*done < total && b->budget > 0) {
		left = (total - *done) / PFN_BYTES;
		n = left < BATCH_PAGES ? (unsigned)left : BATCH_PAGES;
		n = n < b->budget ? n : b->budget;
		batch_over(b, role, pfn, read_batch(b, chain, *done, n, pfn));
		*done += (uint64_t)n * PFN_BYTES;
		b->budget -= n;
	}
	if (*done < total) {
		virtio_dev_putback(&b->dev, t);
		return;
	}
	*done = 0;
	virtio_dev_done(&b->dev, t, 0);
}
