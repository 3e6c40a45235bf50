/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/guestmem.h - guest RAM and the only way from a guest address to a
 * pointer.
 *
 * RAM lies at [0, 3 GiB) and, what is more, from 4 GiB on.  Both parts are one
 * host mapping (and one memfd or hugetlb file), so a RAM offset is enough to
 * name a page: offset = gpa below the hole, gpa - 1 GiB above it.
 *
 * Threads: any may translate, read, write and mark dirty; init, fini and the
 * dirty_log functions belong to the owner of struct vm.
 */
#ifndef GODWIT_VMM_GUESTMEM_H
#define GODWIT_VMM_GUESTMEM_H

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

#endif
