/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/touched.c - see touched.h.  Anonymous memory by /proc/self/pagemap,
 * which tells "present" and "swapped" to every user about itself; a memfd by
 * its holes.  One thread at a time.
 */
#include "migrate/touched.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "vmm/guestmem.h"

/* Source: Documentation/admin-guide/mm/pagemap.rst. */
#define HAS_MEMORY (3ull << 62) /* present or swapped */

void touched_init(struct touched *t, const struct guestmem *gm)
{
	t->gm = gm;
	t->pages = gm->size / GUESTMEM_PAGE;
	t->fd = -1;
	t->first = t->count = 0;
	if (gm->backing == GUESTMEM_ANON)
		t->fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void touched_fini(struct touched *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

static uint64_t all_from(struct touched *t, uint64_t page, uint64_t *ret_end)
{
	*ret_end = t->pages;
	return page;
}

static uint64_t next_in_file(
	struct touched *t, uint64_t page, uint64_t *ret_end)
{
	int fd = t->gm->fd;
	off_t data, hole;

	data = lseek(fd, (off_t)(page * GUESTMEM_PAGE), SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? t->pages : all_from(t, page, ret_end);
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return all_from(t, page, ret_end);
	*ret_end = ((uint64_t)hole + GUESTMEM_PAGE - 1) / GUESTMEM_PAGE;
	if (*ret_end > t->pages)
		*ret_end = t->pages;
	return (uint64_t)data / GUESTMEM_PAGE;
}

/* Entries from @page on; none left or none readable: count 0. */
static void load(struct touched *t, uint64_t page)
{
	uint64_t n = t->pages - page;
	uint64_t at = (uintptr_t)t->gm->base / GUESTMEM_PAGE + page;
	ssize_t got;

	n = n < TOUCHED_ENTRIES ? n : TOUCHED_ENTRIES;
	got = pread(t->fd, t->entry, n * 8, (off_t)(at * 8));
	t->first = page;
	t->count = got > 0 ? (uint64_t)got / 8 : 0;
}

uint64_t touched_next(struct touched *t, uint64_t page, uint64_t *ret_end)
{
	uint64_t i;

	if (page >= t->pages)
		return t->pages;
	/* No memory yet is not zero: reading brings it. */
	if (atomic_load(&t->gm->incomplete))
		return all_from(t, page, ret_end);
	if (t->gm->backing == GUESTMEM_MEMFD)
		return next_in_file(t, page, ret_end);
	if (t->fd < 0)
		return all_from(t, page, ret_end);
	for (;;) {
		if (page >= t->pages)
			return t->pages;
		if (page < t->first || page - t->first >= t->count)
			load(t, page);
		if (t->count == 0)
			return all_from(t, page, ret_end);
		i = page - t->first;
		while (i < t->count && !(t->entry[i] & HAS_MEMORY))
			i++;
		page = t->first + i;
		if (i == t->count)
			continue;
		while (i < t->count && (t->entry[i] & HAS_MEMORY))
			i++;
		*ret_end = t->first + i;
		return page;
	}
}
