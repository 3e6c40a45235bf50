/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/pager.c - the page maps, placing, begin and end.  The threads that
 * answer faults are in pager_fault.c.
 *
 * Any thread places; what decides is one atomic bit a page (pager_private.h).
 */
#include "migrate/pager_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/error.h"

#define FEATURES_ANON  (UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_THREAD_ID)
#define FEATURES_MEMFD (FEATURES_ANON | UFFD_FEATURE_MISSING_SHMEM)

#define NS_BITS	 40
#define NS_MASK	 ((1ull << NS_BITS) - 1)
#define RETRY_NS 10000000000ull /* and nothing has changed */
#define SPINS	 64u

uint64_t pager_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- what this host can do ---- */

static int check_backing(const struct guestmem *gm, struct error *err)
{
	if (gm->backing != GUESTMEM_HUGETLB)
		return 0;
	return error_set(err, -EOPNOTSUPP,
		"memory: pages of a hugetlb guest cannot come one by one (use "
		"backing anon or memfd, whose pages are 4 KiB)");
}

static int open_for(const struct guestmem *gm, struct error *err)
{
	bool memfd = !gm || gm->backing == GUESTMEM_MEMFD;

	return uffd_open(memfd ? FEATURES_MEMFD : FEATURES_ANON, err);
}

int pager_probe(const struct guestmem *gm, struct error *err)
{
	int code = gm ? check_backing(gm, err) : 0;

	if (code < 0)
		return code;
	code = open_for(gm, err);
	if (code < 0)
		return code;
	close(code);
	return 0;
}

/* ---- before registration ---- */

int pager_no_huge_pages(struct guestmem *gm, struct error *err)
{
	int code = check_backing(gm, err);

	if (code < 0)
		return code;
	/* EINVAL: a kernel without transparent huge pages. */
	if (madvise(gm->base, gm->size, MADV_NOHUGEPAGE) < 0 && errno != EINVAL)
		return error_errno(
			err, -errno, "memory: switch huge pages off");
	return 0;
}

int pager_discard(
	struct guestmem *gm, uint64_t page, uint64_t count, struct error *err)
{
	uint64_t pages = gm->size / GUESTMEM_PAGE;
	/* Of a memfd the page itself must go, not only our view of it. */
	int advice =
		gm->backing == GUESTMEM_MEMFD ? MADV_REMOVE : MADV_DONTNEED;
	int code;

	if (page > pages || count > pages - page)
		return error_set(err, -EINVAL,
			"memory: discard %" PRIu64 " pages at %" PRIu64
			" of %" PRIu64,
			count, page, pages);
	if (count == 0)
		return 0;
	code = pager_no_huge_pages(gm, err);
	if (code < 0)
		return code;
	if (madvise(gm->base + page * GUESTMEM_PAGE, count * GUESTMEM_PAGE,
		    advice) < 0)
		return error_errno(err, -errno,
			"memory: discard %" PRIu64 " pages at %" PRIu64, count,
			page);
	return 0;
}

/* ---- create ---- */

static uint64_t words(const struct pager *p)
{
	return (p->pages + 63) / 64;
}

static int make_maps(
	struct pager *p, const uint64_t *present, struct error *err)
{
	uint64_t n = words(p), i, v, there = 0;
	unsigned tail = p->pages % 64;

	p->claimed = calloc(n, sizeof(*p->claimed));
	p->present = calloc(n, sizeof(*p->present));
	if (!p->claimed || !p->present)
		return error_errno(err, -ENOMEM, "pager: page maps");
	for (i = 0; i < n; i++) {
		v = present ? present[i] : 0;
		if (i == n - 1 && tail != 0)
			v &= (1ull << tail) - 1;
		there += (uint64_t)__builtin_popcountll(v);
		/* Pages beyond the end are never missing. */
		if (i == n - 1 && tail != 0)
			v |= ~((1ull << tail) - 1);
		p->claimed[i] = v;
		p->present[i] = v;
	}
	p->missing = p->pages - there;
	return 0;
}

static void release(struct pager *p)
{
	if (p->stop_fd >= 0)
		close(p->stop_fd);
	if (p->uffd >= 0)
		close(p->uffd);
	free((void *)(uintptr_t)p->claimed);
	free((void *)(uintptr_t)p->present);
	free(p);
}

int pager_create(struct guestmem *gm, const uint64_t *present,
	const struct pager_options *opt, struct pager **ret_pager,
	struct error *err)
{
	struct pager *p;
	uint32_t window = opt && opt->window_max ? opt->window_max : 16;
	unsigned threads = opt && opt->threads ? opt->threads : 1;
	int code = pager_no_huge_pages(gm, err);

	if (code < 0)
		return code;
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_errno(err, -ENOMEM, "pager");
	p->gm = gm;
	p->stats = opt ? opt->stats : NULL;
	p->pages = gm->size / GUESTMEM_PAGE;
	p->window_max = window < PAGER_WINDOW_MAX ? window : PAGER_WINDOW_MAX;
	p->threads = threads < PAGER_THREADS_MAX ? threads : PAGER_THREADS_MAX;
	p->epoch = pager_now_ns();
	p->uffd = -1;
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->stop_fd < 0) {
		code = error_errno(err, -errno, "pager: eventfd");
		goto fail;
	}
	code = make_maps(p, present, err);
	if (code < 0)
		goto fail;
	code = open_for(gm, err);
	if (code < 0)
		goto fail;
	p->uffd = code;
	code = uffd_register(p->uffd, gm->base, gm->size, err);
	if (code < 0)
		goto fail;
	atomic_store(&gm->incomplete, pager_missing(p) > 0);
	*ret_pager = p;
	return 0;
fail:
	release(p);
	return code;
}

int pager_start(
	struct pager *p, const struct pager_source *source, struct error *err)
{
	assert(p->running == 0);
	p->source = *source;
	p->has_source = true;
	return pager_threads_start(p, p->threads, err);
}

/* ---- waiting faults ---- */

static uint64_t wait_tag(uint64_t page)
{
	return page / PAGER_WAITS << NS_BITS;
}

bool pager_wait_begin(struct pager *p, uint64_t page, uint64_t ns)
{
	_Atomic uint64_t *slot = &p->wait[page % PAGER_WAITS];
	uint64_t old = atomic_load_explicit(slot, memory_order_relaxed);

	if (old != 0 && (old & ~NS_MASK) == wait_tag(page))
		return false;
	/* The lowest bit keeps a slot in use from being 0. */
	/* Before the caller looks again whether the page is present: one of the
	 * two sees the other. */
	atomic_store(slot, wait_tag(page) | ((ns - p->epoch) & NS_MASK) | 1);
	return true;
}

void pager_wait_end(struct pager *p, uint64_t page)
{
	_Atomic uint64_t *slot = &p->wait[page % PAGER_WAITS];
	uint64_t old = atomic_load(slot);

	if (old == 0 || (old & ~NS_MASK) != wait_tag(page))
		return;
	if (atomic_compare_exchange_strong(slot, &old, 0) && p->stats)
		migrate_stats_fault(
			p->stats, (pager_now_ns() - p->epoch - old) & NS_MASK);
}

/* ---- placing ---- */

void pager_fail(struct pager *p)
{
	atomic_store(&p->failed, true);
}

/* Whoever gives memory up goes on as soon as its message is read, and the map
 * is free from then until it gives up the next piece.  So after reading we try
 * again and again without leaving the CPU, to be in between. */
int pager_retry(struct pager *p, struct pager_retry *r)
{
	uint64_t removes = atomic_load(&p->removes);
	pid_t self = gettid();
	unsigned i;

	if (++r->tries % SPINS != 1)
		return 0;
	if (r->tries == 1 || removes != r->removes) {
		r->since_ns = pager_now_ns();
		r->removes = removes;
	} else if (pager_now_ns() - r->since_ns > RETRY_NS) {
		return -ETIMEDOUT;
	}
	for (i = 0; i < PAGER_THREADS_MAX; i++)
		if (atomic_load(&p->thread[i].tid) == self) {
			pager_read_on(&p->thread[i]);
			return 0;
		}
	/* It may want our CPU, as may the fault thread. */
	nanosleep(&(struct timespec){.tv_nsec = 2000}, NULL);
	return 0;
}

/* The bits of pages [page, page + count), which one word holds. */
static uint64_t word_mask(uint64_t page, uint64_t count)
{
	return (count == 64 ? ~0ull : (1ull << count) - 1) << (page % 64);
}

/* Those that are ours; they were missing. */
static void set_present(struct pager *p, uint64_t page, uint64_t count)
{
	uint64_t i;

	atomic_fetch_or(&p->present[page / 64], word_mask(page, count));
	atomic_fetch_sub(&p->missing, count);
	for (i = page; i < page + count; i++)
		pager_wait_end(p, i);
}

/* Pages we have claimed. */
static int place_run(
	struct pager *p, uint64_t page, uint32_t count, const uint8_t *data)
{
	uint64_t done = 0, part;
	struct pager_retry retry = {0};
	int code;

	while (done < count) {
		uint64_t len = (count - done) * GUESTMEM_PAGE;
		void *dst = pager_hva(p, page + done);

		code = data ? uffd_copy(p->uffd, dst,
				      data + done * GUESTMEM_PAGE, len, &part)
			    : uffd_zero(p->uffd, dst, len, &part);
		part /= GUESTMEM_PAGE;
		/* There is memory: it was never discarded, and is kept. */
		if (code == -EEXIST && part == 0)
			part = 1;
		if (part > 0) {
			set_present(p, page + done, part);
			done += part;
			retry.tries = 0;
			continue;
		}
		if (code == -EAGAIN)
			code = pager_retry(p, &retry);
		if (code < 0) {
			atomic_fetch_and(&p->claimed[page / 64],
				~word_mask(page + done, count - done));
			return code;
		}
	}
	return 0;
}

/* Pages [page, page + count) of one word of the map. */
static int place_word(struct pager *p, uint64_t page, uint32_t count,
	const uint8_t *data, uint64_t *ret_placed)
{
	uint64_t mask = word_mask(page, count);
	uint64_t old = atomic_fetch_or(&p->claimed[page / 64], mask);
	uint64_t mine = (mask & ~old) >> (page % 64);
	uint32_t at, n;
	int code;

	while (mine != 0) {
		at = (uint32_t)__builtin_ctzll(mine);
		n = ~(mine >> at) ? (uint32_t)__builtin_ctzll(~(mine >> at))
				  : 64;
		mine &= n == 64 ? 0 : ~(((1ull << n) - 1) << at);
		code = place_run(p, page + at, n,
			data ? data + at * GUESTMEM_PAGE : NULL);
		if (code < 0) {
			/* What is left of our claim. */
			atomic_fetch_and(
				&p->claimed[page / 64], ~(mine << (page % 64)));
			return code;
		}
		*ret_placed += n;
	}
	return 0;
}

static int place(
	struct pager *p, uint64_t page, uint32_t count, const uint8_t *data)
{
	uint64_t at = page, end = page + count, placed = 0;
	int code = 0;

	if (page > p->pages || count > p->pages - page)
		return -EINVAL;
	if (count == 0)
		return 0;
	while (code == 0 && at < end) {
		uint64_t n = 64 - at % 64;

		n = n < end - at ? n : end - at;
		code = place_word(p, at, (uint32_t)n,
			data ? data + (at - page) * GUESTMEM_PAGE : NULL,
			&placed);
		at += n;
	}
	if (p->stats) {
		migrate_count(&p->stats->pages_placed, placed);
		if (code == 0)
			migrate_count(&p->stats->pages_again, count - placed);
	}
	/* Also those that had been there: their own wake may have come before
	 * the one who waits. */
	uffd_wake(p->uffd, pager_hva(p, page), count * GUESTMEM_PAGE);
	if (code < 0)
		pager_fail(p);
	return code;
}

int pager_place(
	struct pager *p, uint64_t page, uint32_t count, const void *data)
{
	return place(p, page, count, data);
}

int pager_place_zero(struct pager *p, uint64_t page, uint32_t count)
{
	return place(p, page, count, NULL);
}

int pager_fill_zero(struct pager *p, uint64_t page)
{
	void *dst = pager_hva(p, page);
	struct pager_retry retry = {0};
	uint64_t done;
	int code;

	for (;;) {
		code = uffd_zero(p->uffd, dst, GUESTMEM_PAGE, &done);
		if (code == -EAGAIN)
			code = pager_retry(p, &retry);
		else
			return code == -EEXIST ? 0 : code;
		if (code < 0)
			return code;
	}
}

/* ---- questions ---- */

bool pager_present(const struct pager *p, uint64_t page)
{
	return page < p->pages && pager_bit(p->present, page);
}

uint64_t pager_missing(const struct pager *p)
{
	return atomic_load(&p->missing);
}

uint64_t pager_next_missing(const struct pager *p, uint64_t page)
{
	uint64_t n = words(p), i = page / 64, v;

	if (page >= p->pages)
		return UINT64_MAX;
	v = ~atomic_load_explicit(&p->present[i], memory_order_acquire) &
	    ~0ull << (page % 64);
	while (v == 0) {
		if (++i >= n)
			return UINT64_MAX;
		v = ~atomic_load_explicit(&p->present[i], memory_order_acquire);
	}
	return i * 64 + (uint64_t)__builtin_ctzll(v);
}

bool pager_failed(const struct pager *p)
{
	return atomic_load(&p->failed);
}

/* ---- end ---- */

int pager_finish(struct pager *p, bool lost)
{
	struct guestmem *gm = p->gm;
	int code;

	if (pager_missing(p) > 0) {
		if (!lost)
			return -EBUSY;
		/* Present pages without memory must go on coming, and memory
		 * that is given up: one thread, and no source. */
		pager_fail(p);
		pager_threads_stop(p);
		p->has_source = false;
		return pager_threads_start(p, 1, NULL);
	}
	pager_threads_stop(p);
	p->has_source = false;
	atomic_store(&gm->incomplete, false);
	code = uffd_unregister(p->uffd, gm->base, gm->size);
	if (code == 0 && gm->thp)
		madvise(gm->base, gm->size, MADV_HUGEPAGE);
	return code;
}

void pager_abandon(struct pager *p)
{
	pager_fail(p);
	uffd_unregister(p->uffd, p->gm->base, p->gm->size);
}

void pager_destroy(struct pager *p)
{
	if (!p)
		return;
	pager_threads_stop(p);
	atomic_store(&p->gm->incomplete, false);
	uffd_unregister(p->uffd, p->gm->base, p->gm->size);
	release(p);
}
