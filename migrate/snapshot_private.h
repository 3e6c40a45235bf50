/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/snapshot_private.h - an open snapshot, for snapshot_read.c (all at
 * once) and lazy.c (page by page).
 */
#ifndef GODWIT_MIGRATE_SNAPSHOT_PRIVATE_H
#define GODWIT_MIGRATE_SNAPSHOT_PRIVATE_H

#include <endian.h>

#include "migrate/snapshot.h"
#include "migrate/snapshot_format.h"

/* Fixed after open, but for O_DIRECT of fd. */
struct snapshot {
	char *path; /* owned */
	int fd;	    /* owned */
	struct snapshot_layout layout;
	uint8_t *head;		/* owned: the file's bytes [0, index end) */
	char *description;	/* owned, with terminator */
	const uint64_t *bitmap; /* in head, little endian */
	const uint32_t *crc;	/* in head, little endian */
};

static inline uint64_t snapshot_pages(const struct snapshot *s)
{
	return s->layout.ram_bytes / SNAPSHOT_PAGE;
}

static inline bool snapshot_has(const struct snapshot *s, uint64_t page)
{
	return le64toh(s->bitmap[page / 64]) >> (page % 64) & 1;
}

static inline uint64_t snapshot_offset(const struct snapshot *s, uint64_t page)
{
	return s->layout.pages_at + page * SNAPSHOT_PAGE;
}

/* The first of @count pages at @data whose CRC is wrong; @count: none. */
uint64_t snapshot_first_bad(const struct snapshot *s, uint64_t page,
	uint64_t count, const uint8_t *data);

/* -EBADMSG with the page named. */
int snapshot_bad_page(
	const struct snapshot *s, uint64_t page, struct error *err);

/* Does @gm have the size of @s?  0 or -EINVAL. */
int snapshot_check_ram(
	const struct snapshot *s, const struct guestmem *gm, struct error *err);

#endif
