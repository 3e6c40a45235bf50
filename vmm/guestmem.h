/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/guestmem.h - guest RAM and the only way from a guest address to a
 * pointer.
 *
 * RAM lies at [0, 3 GiB) and, what is more, from 4 GiB on.  Both parts are one
 * host mapping (and one memfd or hugetlb file), so a RAM offset is enough to
 * name a page: offset = gpa below the hole, gpa - 1 GiB above it.
 *
 * Threads: any may translate, read, write, mark dirty and discard; init, fini
 * and the dirty_log functions belong to the owner of struct vm.
 */
#ifndef GODWIT_VMM_GUESTMEM_H
#define GODWIT_VMM_GUESTMEM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct error;

#define GUESTMEM_PAGE	     UINT64_C(4096)
#define GUESTMEM_HOLE_START  UINT64_C(0xc0000000)  /* 3 GiB */
#define GUESTMEM_HOLE_END    UINT64_C(0x100000000) /* 4 GiB */
#define GUESTMEM_REGIONS_MAX 2

enum guestmem_backing {
	GUESTMEM_ANON,	  /* private anonymous: fastest with userfaultfd */
	GUESTMEM_MEMFD,	  /* shared memfd: clones, other processes */
	GUESTMEM_HUGETLB, /* memfd of 2 MiB huge pages, reserved at start */
};

struct guestmem_region {
	uint64_t gpa, size; /* bytes */
	uint64_t offset;    /* bytes from guestmem.base */
};

/* Wants to know when discards are allowed again; the caller's storage. */
struct guestmem_watch {
	void (*allowed)(void *opaque); /* any thread; must not call back */
	void *opaque;
	struct guestmem_watch *next; /* guestmem.c's */
};

struct guestmem {
	uint8_t *base; /* owned mapping of size bytes; fixed after init */
	uint64_t size; /* bytes */
	struct guestmem_region region[GUESTMEM_REGIONS_MAX];
	unsigned regions;
	enum guestmem_backing backing;
	bool thp; /* transparent huge pages were asked for */
	int fd;	  /* owned memfd, -1 with GUESTMEM_ANON */
	/* Pages written by the VMM since the last dirty_fetch, one bit a page
	 * of the RAM offset; owned; NULL while nobody logs. */
	_Atomic(_Atomic uint64_t *) dirty;
	_Atomic uint64_t *dirty_store; /* kept until fini: readers may race */
	pthread_mutex_t discard_lock;  /* of the following */
	unsigned discard_inhibits;
	struct guestmem_watch *watch; /* borrowed list */
	/* A pager has pages still to bring: those without memory need not be
	 * zero.  Set and cleared by migrate/pager.c; any thread reads. */
	_Atomic bool incomplete;
};

struct guestmem_options {
	uint64_t size; /* bytes; a non-zero multiple of the page size */
	enum guestmem_backing backing;
	bool thp; /* ask for transparent huge pages (ANON and MEMFD) */
};

/**
 * guestmem_init - give @gm zeroed RAM.  The caller ends it with _fini().
 * Return: 0, -EINVAL (size), or -errno of the failing call (@gm untouched).
 * Source: memfd_create(2), mmap(2), madvise(2).
 */
int guestmem_init(struct guestmem *gm, const struct guestmem_options *opt,
	struct error *err);
void guestmem_fini(struct guestmem *gm);

/* Borrowed pointer to guest bytes [gpa, gpa + len); NULL unless all are RAM of
 * one region.  Who writes through it calls guestmem_mark_dirty() afterwards. */
void *guestmem_at(const struct guestmem *gm, uint64_t gpa, uint64_t len);

/* The way back from a pointer that guestmem_at() gave. */
uint64_t guestmem_gpa(const struct guestmem *gm, const void *p);

/* Copy, across regions; false (and nothing copied) unless all is RAM.  The
 * write marks what it wrote. */
bool guestmem_read(
	const struct guestmem *gm, uint64_t gpa, void *dst, uint64_t len);
bool guestmem_write(
	const struct guestmem *gm, uint64_t gpa, const void *src, uint64_t len);

/* Tell dirty logging about bytes the VMM wrote.  One predictable branch when
 * nobody logs; ranges outside RAM are ignored. */
void guestmem_mark_dirty(const struct guestmem *gm, uint64_t gpa, uint64_t len);

/**
 * guestmem_dirty_log_start - begin to record VMM writes; the map starts clear.
 * Writers that began before may miss it: quiesce or sync RAM afterwards.
 * Return: 0 or -ENOMEM.
 */
int guestmem_dirty_log_start(struct guestmem *gm);
void guestmem_dirty_log_stop(struct guestmem *gm);

/* Move recorded bits into @bitmap by or, and clear them here.
 * Shape: size / 4096 bits by RAM offset, bit i of word i / 64. */
void guestmem_dirty_fetch(struct guestmem *gm, uint64_t *bitmap);

/* ---- giving memory back to the host ---- */

/* Bytes of a page of the backing: less than one cannot be given back. */
uint64_t guestmem_unit(const struct guestmem *gm);

/**
 * guestmem_discard - the pages wholly inside [gpa, gpa + len) give their memory
 * back to the host, read as zero from now on, and are marked dirty.
 * Thread: any; it may block as long as the host takes to free the pages.
 * Return: 0; -EINVAL (not RAM of one region); -EBUSY (inhibited, nothing was
 *         done); -errno of the host (some pages may have been given back).
 * Source: madvise(2) MADV_DONTNEED, fallocate(2) FALLOC_FL_PUNCH_HOLE.
 */
int guestmem_discard(struct guestmem *gm, uint64_t gpa, uint64_t len);

/**
 * guestmem_inhibit_discard - no discards until as many guestmem_allow_discard()
 * follow: while pages are missing, or being read for a snapshot.  One under way
 * is waited for.
 * Thread: any, but it must not be one that serves page faults.
 */
void guestmem_inhibit_discard(struct guestmem *gm);
void guestmem_allow_discard(struct guestmem *gm);
bool guestmem_discard_inhibited(struct guestmem *gm);

/* Call @watch->allowed whenever the last inhibit ends.  Thread: any.  After
 * _remove() no call is under way. */
void guestmem_watch_add(struct guestmem *gm, struct guestmem_watch *watch);
void guestmem_watch_remove(struct guestmem *gm, struct guestmem_watch *watch);

#endif
