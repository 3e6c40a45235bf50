/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/snapshot.h - a stopped machine in a file, and back (P12).
 *
 * The file (docs/snapshot.md): a header, the description, the sections, an
 * index with one CRC a page, and the page area at fixed offsets with holes for
 * zero pages, so that a page is found by arithmetic.  It is written beside its
 * name, synced, and renamed: a file with the name is complete.
 *
 * Thread: any, one at a time for each object; blocks.
 */
#ifndef GODWIT_MIGRATE_SNAPSHOT_H
#define GODWIT_MIGRATE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/stats.h"

struct error;
struct guestmem;
struct pager;
struct snapshot;

struct snapshot_contents {
	const char *description; /* JSON text */
	const uint8_t *state;	 /* sections of vm_save() */
	size_t state_len;
	const struct guestmem *gm; /* not changing meanwhile */
	bool paused;		   /* by the user: restore it paused */
	uint64_t stop_ns;	   /* CLOCK_REALTIME */
};

struct snapshot_options {
	bool buffered; /* not O_DIRECT; also the fallback where it cannot be */
	bool no_sync;	    /* tests */
	struct migrate_stats *stats; /* bytes and pages as they go; or NULL */
	const _Atomic bool *cancel;  /* or NULL; -ECANCELED */
};

/**
 * snapshot_write - write @what to @path.
 * Return: 0, or -errno with @err; then @path is as it was before.
 */
int snapshot_write(const char *path, const struct snapshot_contents *what,
	const struct snapshot_options *opt, struct error *err);

/**
 * snapshot_open - open and check everything but the pages.
 * Return: 0; -EBADMSG (torn, flipped bits), -EPROTO (not a snapshot, a version
 *         or page size this godwit does not read), -errno; with @err.
 */
int snapshot_open(const char *path, struct snapshot **ret_snapshot,
	struct error *err);
void snapshot_close(struct snapshot *snapshot); /* NULL is allowed */

/* Borrowed until close. */
const char *snapshot_description(const struct snapshot *s);
const uint8_t *snapshot_state(const struct snapshot *s, size_t *ret_len);
uint64_t snapshot_ram_bytes(const struct snapshot *s);
bool snapshot_paused(const struct snapshot *s);
uint64_t snapshot_stop_ns(const struct snapshot *s);

/* Read all pages into @gm, which is all zero and untouched.  0, -EBADMSG
 * (a page's CRC), -errno; with @err naming the page. */
int snapshot_read(struct snapshot *s, struct guestmem *gm,
	const struct snapshot_options *opt, struct error *err);

struct lazy;

/**
 * snapshot_lazy_start - serve pages of @gm from @s as they are touched, and
 * bring the rest in the background by and by.
 * @prefetch: false: only what is touched.
 * @s stays open until snapshot_lazy_stop().
 * Return: 0, or -errno with @err.
 */
int snapshot_lazy_start(struct snapshot *s, struct guestmem *gm, bool prefetch,
	struct migrate_stats *stats, struct lazy **ret_lazy, struct error *err);
/* The machine's state has been loaded, which may have touched pages.  Until now
 * those that could not be read were zero; from now on who touches one waits.
 * 0, or the -errno of the first failure with @err: do not run the guest. */
int snapshot_lazy_loaded(struct lazy *lazy, struct error *err);
/* Bring every page that is still missing, from this thread.
 * @cancel: NULL, or looked at between reads: -ECANCELED.  0 or -errno. */
int snapshot_lazy_complete(
	struct lazy *lazy, const _Atomic bool *cancel, struct error *err);
/* All pages are here. */
bool snapshot_lazy_done(const struct lazy *lazy);
/* The file could not be read: what is missing will not come. */
bool snapshot_lazy_failed(const struct lazy *lazy);
/* What failed first: 0, or its -errno with @err. */
int snapshot_lazy_error(struct lazy *lazy, struct error *err);
void snapshot_lazy_stop(struct lazy *lazy); /* NULL is allowed */

#endif
