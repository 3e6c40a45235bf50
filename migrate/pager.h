/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/pager.h - missing guest pages, served on demand by userfaultfd.
 *
 * Postcopy and lazy restore are two sources behind it: the peer and a file.
 * Fault threads wait for userfaultfd and for the source's own fd in one
 * poll(2), so that a fault costs no hand-over between threads of ours.
 *
 * A page is missing or present.  Present pages without memory behind them are
 * zero and are placed by the pager itself at the first touch; so zero pages
 * that came before registration need no work.
 *
 * The fault threads never touch guest RAM but to place pages, take no lock but
 * the source's own, and neither allocate nor log.
 */
#ifndef GODWIT_MIGRATE_PAGER_H
#define GODWIT_MIGRATE_PAGER_H

#include <stdbool.h>
#include <stdint.h>

#include "migrate/stats.h"

struct error;
struct guestmem;
struct pager;

struct pager_source {
	/* A fault waits for @page; [page, page + count) would be of use.  They
	 * come by pager_place() from any thread, from inside this call too.
	 * Fault threads.  0 or -errno: then pager_failed() is true. */
	int (*request)(void *opaque, uint64_t page, uint32_t count);
	/* NULL, or: @fd is readable.  Fault thread 0.  0, 1: there is more,
	 * whatever @fd says, or -errno. */
	int (*ready)(void *opaque);
	int fd; /* borrowed; -1: none */
	void *opaque;
};

struct pager_options {
	unsigned threads;    /* fault threads; 0: 1 */
	uint32_t window_max; /* pages of one sequential request; 0: 16 */
	struct migrate_stats *stats; /* borrowed; may be NULL */
};

/* Can this host do it, for @gm (NULL: in general)?  0, or -errno with @err that
 * names the remedy (/dev/userfaultfd, sysctl, huge pages). */
int pager_probe(const struct guestmem *gm, struct error *err);

/**
 * pager_create - register all of @gm.
 * @present: bitmap of pages that are there (or zero), copied; NULL: none.
 *           Pages that are not must have no memory: pager_discard() them first.
 * From here on a touch of a missing page blocks until it is placed.
 * Return: 0 or -errno with @err.
 * Source: userfaultfd(2), ioctl_userfaultfd(2).
 */
int pager_create(struct guestmem *gm, const uint64_t *present,
	const struct pager_options *opt, struct pager **ret_pager,
	struct error *err);

/* Give up the memory of pages [page, page + count): before pager_create().
 * Huge pages are switched off for all of @gm at the first call or before. */
int pager_discard(
	struct guestmem *gm, uint64_t page, uint64_t count, struct error *err);
int pager_no_huge_pages(struct guestmem *gm, struct error *err);

/* Start the fault threads.  @source: copied. */
int pager_start(struct pager *pager, const struct pager_source *source,
	struct error *err);

/**
 * pager_place, pager_place_zero - bring pages and wake who waits for them.
 * Those already present are left alone: a duplicate is harmless.
 * @data: count * 4096 bytes, page aligned for speed.
 * Thread: any, several at a time.
 * Return: 0 or -errno.
 */
int pager_place(
	struct pager *pager, uint64_t page, uint32_t count, const void *data);
int pager_place_zero(struct pager *pager, uint64_t page, uint32_t count);

bool pager_present(const struct pager *pager, uint64_t page);
uint64_t pager_missing(const struct pager *pager); /* pages */
/* The first missing page at or after @page; UINT64_MAX: none. */
uint64_t pager_next_missing(const struct pager *pager, uint64_t page);
bool pager_failed(const struct pager *pager);

/* Stop serving.  With nothing missing the memory is given back to the host's
 * ordinary care (huge pages as configured).  With @lost, pages that are still
 * missing stay registered and whoever touches them goes on waiting, until
 * pager_destroy(). */
int pager_finish(struct pager *pager, bool lost);
/* Whoever waits for a page gets a zero page, and so does who comes later; those
 * that come now are refused.  Only for a guest that will not run.  Any thread.
 */
void pager_abandon(struct pager *pager);
/* Stop the threads and unregister.  Whoever still waits for a page gets a zero
 * page: only for a guest that will not run again.  NULL is allowed. */
void pager_destroy(struct pager *pager);

#endif
