/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/guestmem.c - see guestmem.h.  Knows nothing of KVM: vm.c turns the
 * regions into memory slots.
 */
#include "vmm/guestmem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/error.h"

#define HUGE_BYTES UINT64_C(0x200000)

static uint64_t page_bytes(enum guestmem_backing backing)
{
	return backing == GUESTMEM_HUGETLB ? HUGE_BYTES : GUESTMEM_PAGE;
}

static int check_size(const struct guestmem_options *opt, struct error *err)
{
	uint64_t unit = page_bytes(opt->backing);
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) *
			(uint64_t)sysconf(_SC_PAGESIZE);

	if (opt->size == 0 || opt->size % unit != 0)
		return error_set(err, -EINVAL,
			"memory: size %" PRIu64 " is not a multiple of %" PRIu64
			" bytes, or is 0 (round it with -m)",
			opt->size, unit);
	if (opt->size > host)
		return error_set(err, -ENOMEM,
			"memory: %" PRIu64
			" MiB asked for, the host has %" PRIu64
			" MiB (give a smaller -m)",
			opt->size >> 20, host >> 20);
	return 0;
}

/* A mapping aligned to 2 MiB, so that huge pages line up with guest ones. */
static void *map_aligned(uint64_t size, int flags, int fd)
{
	uint8_t *area, *base;
	size_t head;

	area = mmap(NULL, size + HUGE_BYTES, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return MAP_FAILED;
	head = (size_t)(-(uintptr_t)area & (HUGE_BYTES - 1));
	base = mmap(area + head, size, PROT_READ | PROT_WRITE,
		flags | MAP_FIXED | MAP_NORESERVE, fd, 0);
	if (base == MAP_FAILED) {
		int saved = errno;

		munmap(area, size + HUGE_BYTES);
		errno = saved;
		return MAP_FAILED;
	}
	if (head > 0)
		munmap(area, head);
	munmap(base + size, HUGE_BYTES - head);
	return base;
}

static int open_backing(
	const struct guestmem_options *opt, int *ret_fd, struct error *err)
{
	unsigned flags = MFD_CLOEXEC;
	int fd, code;

	if (opt->backing == GUESTMEM_ANON) {
		*ret_fd = -1;
		return 0;
	}
	if (opt->backing == GUESTMEM_HUGETLB)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	fd = memfd_create("guest-ram", flags);
	if (fd < 0)
		return error_errno(err, -errno, "memory: memfd_create");
	if (ftruncate(fd, (off_t)opt->size) < 0) {
		code = error_errno(err, -errno,
			"memory: size the memfd to %" PRIu64 " MiB",
			opt->size >> 20);
		close(fd);
		return code;
	}
	*ret_fd = fd;
	return 0;
}

static int map_backing(const struct guestmem_options *opt, int fd,
	uint8_t **ret_base, struct error *err)
{
	void *base;
	int code;

	if (opt->backing == GUESTMEM_HUGETLB)
		/* Huge pages are reserved here, so that a shortage is an error
		 * now and not a SIGBUS under the guest. */
		base = mmap(NULL, opt->size, PROT_READ | PROT_WRITE, MAP_SHARED,
			fd, 0);
	else if (opt->backing == GUESTMEM_MEMFD)
		base = map_aligned(opt->size, MAP_SHARED, fd);
	else
		base = map_aligned(opt->size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (base == MAP_FAILED) {
		code = -errno;
		if (opt->backing == GUESTMEM_HUGETLB)
			return error_errno(err, code,
				"memory: map %" PRIu64
				" huge pages of 2 MiB (reserve them: sysctl "
				"vm.nr_hugepages=%" PRIu64 ")",
				opt->size / HUGE_BYTES, opt->size / HUGE_BYTES);
		return error_errno(err, code, "memory: map %" PRIu64 " MiB",
			opt->size >> 20);
	}
	/* Advice only: a kernel without transparent huge pages says EINVAL. */
	if (opt->backing != GUESTMEM_HUGETLB)
		madvise(base, opt->size,
			opt->thp ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	/* Guest RAM is no part of our core dumps, nor of a child's memory. */
	madvise(base, opt->size, MADV_DONTDUMP);
	madvise(base, opt->size, MADV_DONTFORK);
	*ret_base = base;
	return 0;
}

static void lay_out(struct guestmem *gm)
{
	uint64_t low =
		gm->size < GUESTMEM_HOLE_START ? gm->size : GUESTMEM_HOLE_START;

	gm->region[0] = (struct guestmem_region){.gpa = 0, .size = low};
	gm->regions = 1;
	if (gm->size > low) {
		gm->region[1] = (struct guestmem_region){
			.gpa = GUESTMEM_HOLE_END,
			.size = gm->size - low,
			.offset = low,
		};
		gm->regions = 2;
	}
}

int guestmem_init(struct guestmem *gm, const struct guestmem_options *opt,
	struct error *err)
{
	uint8_t *base = NULL;
	int fd = -1, code;

	code = check_size(opt, err);
	if (code < 0)
		return code;
	code = open_backing(opt, &fd, err);
	if (code < 0)
		return code;
	code = map_backing(opt, fd, &base, err);
	if (code < 0) {
		if (fd >= 0)
			close(fd);
		return code;
	}
	memset(gm, 0, sizeof(*gm));
	gm->base = base;
	gm->size = opt->size;
	gm->backing = opt->backing;
	gm->thp = opt->thp && opt->backing != GUESTMEM_HUGETLB;
	gm->fd = fd;
	pthread_mutex_init(&gm->discard_lock, NULL);
	lay_out(gm);
	return 0;
}

void guestmem_fini(struct guestmem *gm)
{
	if (!gm->base)
		return;
	munmap(gm->base, gm->size);
	if (gm->fd >= 0)
		close(gm->fd);
	free((void *)(uintptr_t)gm->dirty_store);
	pthread_mutex_destroy(&gm->discard_lock);
	memset(gm, 0, sizeof(*gm));
	gm->fd = -1;
}

/* The region that holds @gpa, and how many bytes of it follow. */
static const struct guestmem_region *find(
	const struct guestmem *gm, uint64_t gpa, uint64_t *ret_left)
{
	unsigned i;

	for (i = 0; i < gm->regions; i++) {
		const struct guestmem_region *r = &gm->region[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size) {
			*ret_left = r->size - (gpa - r->gpa);
			return r;
		}
	}
	return NULL;
}

void *guestmem_at(const struct guestmem *gm, uint64_t gpa, uint64_t len)
{
	const struct guestmem_region *r;
	uint64_t left;

	r = find(gm, gpa, &left);
	if (!r || len == 0 || len > left)
		return NULL;
	return gm->base + r->offset + (gpa - r->gpa);
}

uint64_t guestmem_gpa(const struct guestmem *gm, const void *p)
{
	uint64_t off = (uint64_t)((const uint8_t *)p - gm->base);
	unsigned i;

	for (i = 0; i < gm->regions; i++)
		if (off - gm->region[i].offset < gm->region[i].size)
			return gm->region[i].gpa + off - gm->region[i].offset;
	assert(!"not guest RAM");
	return 0;
}

/* Regions are apart in guest space, so a range is RAM iff one region has it. */
bool guestmem_read(
	const struct guestmem *gm, uint64_t gpa, void *dst, uint64_t len)
{
	const void *src;

	if (len == 0)
		return true;
	src = guestmem_at(gm, gpa, len);
	if (!src)
		return false;
	memcpy(dst, src, len);
	return true;
}

bool guestmem_write(
	const struct guestmem *gm, uint64_t gpa, const void *src, uint64_t len)
{
	void *dst;

	if (len == 0)
		return true;
	dst = guestmem_at(gm, gpa, len);
	if (!dst)
		return false;
	memcpy(dst, src, len);
	guestmem_mark_dirty(gm, gpa, len);
	return true;
}

void guestmem_mark_dirty(const struct guestmem *gm, uint64_t gpa, uint64_t len)
{
	/* Pairs with the release in guestmem_dirty_log_start(). */
	_Atomic uint64_t *map =
		atomic_load_explicit(&gm->dirty, memory_order_acquire);
	const struct guestmem_region *r;
	uint64_t left, page, last;

	if (__builtin_expect(!map, 1))
		return;
	r = find(gm, gpa, &left);
	if (!r || len == 0 || len > left)
		return;
	page = (r->offset + (gpa - r->gpa)) / GUESTMEM_PAGE;
	last = (r->offset + (gpa - r->gpa) + len - 1) / GUESTMEM_PAGE;
	for (; page <= last; page++)
		/* Release: whoever fetches the bit sees the bytes. */
		atomic_fetch_or_explicit(&map[page / 64], 1ull << (page % 64),
			memory_order_release);
}

static size_t bitmap_words(const struct guestmem *gm)
{
	return (size_t)((gm->size / GUESTMEM_PAGE + 63) / 64);
}

int guestmem_dirty_log_start(struct guestmem *gm)
{
	size_t words = bitmap_words(gm), i;

	if (!gm->dirty_store) {
		gm->dirty_store = calloc(words, sizeof(*gm->dirty_store));
		if (!gm->dirty_store)
			return -ENOMEM;
	}
	for (i = 0; i < words; i++)
		atomic_store_explicit(
			&gm->dirty_store[i], 0, memory_order_relaxed);
	atomic_store_explicit(
		&gm->dirty, gm->dirty_store, memory_order_release);
	return 0;
}

void guestmem_dirty_log_stop(struct guestmem *gm)
{
	/* The store stays until fini: a writer may still hold the pointer. */
	atomic_store_explicit(&gm->dirty, NULL, memory_order_release);
}

void guestmem_dirty_fetch(struct guestmem *gm, uint64_t *bitmap)
{
	size_t words = bitmap_words(gm), i;

	if (!gm->dirty_store)
		return;
	for (i = 0; i < words; i++)
		if (atomic_load_explicit(
			    &gm->dirty_store[i], memory_order_relaxed))
			bitmap[i] |= atomic_exchange_explicit(
				&gm->dirty_store[i], 0, memory_order_acquire);
}

/* ---- giving memory back to the host ---- */

uint64_t guestmem_unit(const struct guestmem *gm)
{
	return page_bytes(gm->backing);
}

static int drop(struct guestmem *gm, uint64_t off, uint64_t len)
{
	int ret;

	if (gm->backing == GUESTMEM_ANON)
		ret = madvise(gm->base + off, len, MADV_DONTNEED);
	else
		ret = fallocate(gm->fd,
			FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
			(off_t)len);
	return ret < 0 ? -errno : 0;
}

int guestmem_discard(struct guestmem *gm, uint64_t gpa, uint64_t len)
{
	uint64_t left, first, end, unit = guestmem_unit(gm);
	const struct guestmem_region *r = find(gm, gpa, &left);
	int ret;

	if (!r || len == 0 || len > left)
		return -EINVAL;
	first = r->offset + (gpa - r->gpa);
	end = (first + len) & ~(unit - 1);
	first = (first + unit - 1) & ~(unit - 1);
	/* Held over the system call, so that an inhibit waits for its end. */
	pthread_mutex_lock(&gm->discard_lock);
	if (gm->discard_inhibits > 0) {
		pthread_mutex_unlock(&gm->discard_lock);
		return -EBUSY;
	}
	ret = first < end ? drop(gm, first, end - first) : 0;
	pthread_mutex_unlock(&gm->discard_lock);
	if (first < end)
		guestmem_mark_dirty(
			gm, r->gpa + (first - r->offset), end - first);
	return ret;
}

void guestmem_inhibit_discard(struct guestmem *gm)
{
	pthread_mutex_lock(&gm->discard_lock);
	gm->discard_inhibits++;
	pthread_mutex_unlock(&gm->discard_lock);
}

void guestmem_allow_discard(struct guestmem *gm)
{
	struct guestmem_watch *w;

	pthread_mutex_lock(&gm->discard_lock);
	assert(gm->discard_inhibits > 0);
	if (--gm->discard_inhibits == 0)
		for (w = gm->watch; w; w = w->next)
			w->allowed(w->opaque);
	pthread_mutex_unlock(&gm->discard_lock);
}

bool guestmem_discard_inhibited(struct guestmem *gm)
{
	bool inhibited;

	pthread_mutex_lock(&gm->discard_lock);
	inhibited = gm->discard_inhibits > 0;
	pthread_mutex_unlock(&gm->discard_lock);
	return inhibited;
}

void guestmem_watch_add(struct guestmem *gm, struct guestmem_watch *watch)
{
	pthread_mutex_lock(&gm->discard_lock);
	watch->next = gm->watch;
	gm->watch = watch;
	pthread_mutex_unlock(&gm->discard_lock);
}

void guestmem_watch_remove(struct guestmem *gm, struct guestmem_watch *watch)
{
	struct guestmem_watch **at;

	pthread_mutex_lock(&gm->discard_lock);
	for (at = &gm->watch; *at; at = &(*at)->next) {
		if (*at == watch) {
			*at = watch->next;
			break;
		}
	}
	pthread_mutex_unlock(&gm->discard_lock);
}
