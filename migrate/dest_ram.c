/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/dest_ram.c - guest RAM before LISTEN.
 *
 * Data go from the connection straight into guest RAM.  Two maps tell what is
 * there: "received" pages came at least once and are not stale; "touched" ones
 * may hold something else than zero.  A zero page that was never touched costs
 * no memory: it is zero already.
 *
 * migrate-in only; nothing here runs after LISTEN.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "migrate/chan.h"
#include "migrate/dest_priv.h"
#include "migrate/pager.h"
#include "vmm/guestmem.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define POPULATE_LEAST 4u /* pages: for fewer a call is not worth it */

static bool bit(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *map, uint64_t i)
{
	map[i / 64] |= UINT64_C(1) << (i % 64);
}

static void bit_clear(uint64_t *map, uint64_t i)
{
	map[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

int dest_ram_init(struct dest *d)
{
	uint64_t words = migrate_bitmap_words(d->pages);

	d->received = calloc(words, sizeof(*d->received));
	d->touched = calloc(words, sizeof(*d->touched));
	return d->received && d->touched ? 0 : -ENOMEM;
}

void dest_ram_fini(struct dest *d)
{
	free(d->received);
	free(d->touched);
	d->received = d->touched = NULL;
}

static void received(struct dest *d, uint64_t page)
{
	if (bit(d->received, page))
		return;
	bit_set(d->received, page);
	d->received_count++;
}

static uint8_t *page_at(const struct dest *d, uint64_t page)
{
	return d->guest.gm->base + page * GUESTMEM_PAGE;
}

/* Memory for pages that come for the first time, all at once: a fault for each
 * of them would cost half as much again.  Only a help, so what the host says is
 * of no interest (Linux before 5.14 does not know it). */
static void populate(struct dest *d, uint64_t page, uint64_t count)
{
	if (count >= POPULATE_LEAST)
		madvise(page_at(d, page), count * GUESTMEM_PAGE,
			MADV_POPULATE_WRITE);
}

/* The full pages of @meta that were never touched. */
static void populate_new(struct dest *d, const uint8_t *meta, uint32_t count)
{
	uint64_t first = 0, run = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct wire_page p = wire_page_at(meta, i);

		if (p.kind != WIRE_PAGE_FULL || bit(d->touched, p.page))
			continue;
		if (run == 0 || p.page != first + run) {
			populate(d, first, run);
			first = p.page;
			run = 0;
		}
		run++;
	}
	populate(d, first, run);
}

int dest_ram_pages(
	struct dest *d, const struct wire_header *h, struct error *err)
{
	const uint8_t *meta = d->main.in.meta;
	struct iovec iov[WIRE_PAGES_MAX];
	uint64_t next = UINT64_MAX; /* page that the last piece ends at */
	uint32_t count, full = 0;
	int iovs = 0, code;

	code = wire_get_pages(h, meta, d->pages, &count, err);
	if (code < 0)
		return code;
	d->any_pages = true;
	populate_new(d, meta, count);
	for (uint32_t i = 0; i < count; i++) {
		struct wire_page p = wire_page_at(meta, i);

		received(d, p.page);
		if (p.kind == WIRE_PAGE_ZERO) {
			if (bit(d->touched, p.page))
				memset(page_at(d, p.page), 0, GUESTMEM_PAGE);
			continue;
		}
		bit_set(d->touched, p.page);
		if (p.page == next) {
			iov[iovs - 1].iov_len += GUESTMEM_PAGE;
		} else {
			iov[iovs].iov_base = page_at(d, p.page);
			iov[iovs++].iov_len = GUESTMEM_PAGE;
		}
		next = p.page + 1;
		full++;
	}
	code = iovs ? chan_readv(d->main.chan, iov, iovs) : 0;
	if (code < 0)
		return error_errno(err, code, "%s: read %u pages",
			chan_name(d->main.chan), full);
	migrate_count(&d->stats.pages_full, full);
	migrate_count(&d->stats.pages_zero, count - full);
	return 0;
}

static void forget(struct dest *d, uint64_t page, uint64_t count)
{
	uint64_t end = page + count;

	while (page < end) {
		if (page % 64 == 0 && end - page >= 64) {
			d->received_count -= (uint64_t)__builtin_popcountll(
				d->received[page / 64]);
			d->received[page / 64] = 0;
			d->touched[page / 64] = 0;
			page += 64;
			continue;
		}
		if (bit(d->received, page))
			d->received_count--;
		bit_clear(d->received, page);
		bit_clear(d->touched, page);
		page++;
	}
}

int dest_ram_discard(
	struct dest *d, const struct wire_header *h, struct error *err)
{
	const uint8_t *meta = d->main.in.meta;
	uint32_t count;
	int code;

	code = wire_get_discard(meta, h->meta_len, d->pages, &count, err);
	if (code < 0)
		return code;
	for (uint32_t i = 0; i < count; i++) {
		struct wire_range r = wire_range_at(meta, i);

		code = pager_discard(d->guest.gm, r.page, r.count, err);
		if (code < 0)
			return code;
		forget(d, r.page, r.count);
		migrate_count(&d->stats.pages_discarded, r.count);
	}
	return 0;
}

int dest_ram_forget_rest(struct dest *d, struct error *err)
{
	uint64_t first, page = 0;
	int code;

	while (page < d->pages) {
		if (bit(d->received, page)) {
			page++;
			continue;
		}
		first = page;
		while (page < d->pages && !bit(d->received, page))
			page++;
		code = pager_discard(d->guest.gm, first, page - first, err);
		if (code < 0)
			return code;
	}
	return 0;
}
