/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/touched.h - which pages of guest RAM have memory.
 *
 * The others are zero, and to look at them would be slow or, in a memfd, give
 * them memory.
 */
#ifndef GODWIT_MIGRATE_TOUCHED_H
#define GODWIT_MIGRATE_TOUCHED_H

#include <stdint.h>

struct guestmem;

#define TOUCHED_ENTRIES 4096u

struct touched {
	const struct guestmem *gm; /* borrowed */
	uint64_t pages;
	int fd; /* owned: /proc/self/pagemap; -1: not needed or not there */
	uint64_t first, count; /* pages whose entries are below */
	uint64_t entry[TOUCHED_ENTRIES];
};

/* Never fails: where the host does not tell, every page counts as touched. */
void touched_init(struct touched *t, const struct guestmem *gm);
void touched_fini(struct touched *t);

/**
 * touched_next - the next run of pages with memory.
 * @page: look from here on.
 * @ret_end: one behind the run; more may follow at once.
 * Return: the first page, or the number of all pages: no more.
 */
uint64_t touched_next(struct touched *t, uint64_t page, uint64_t *ret_end);

#endif
