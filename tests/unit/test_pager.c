/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_pager.c - missing pages on real memory: host threads touch
 * it, as vCPUs and devices would.
 *
 * A thread that waits for a page cannot end before the page is placed, so "it
 * waits" is tested by what has been asked of the source, not by time.  What
 * hangs is ended by SIGALRM.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "migrate/pager.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define PAGE	   4096u
#define PAGES	   1000u /* no multiple of 64 */
#define WATCHDOG_S TESTING_WATCHDOG_S

/* ---- the bed: RAM, a pager, a source ---- */

struct bed {
	struct guestmem gm;
	struct pager *pager;
	struct migrate_stats stats;
	unsigned threads;
	/* WINDOW pages for answers of request(), and for the test's own. */
	uint8_t *buf, *own;
	bool silent;			  /* note requests, answer nothing */
	int code;			  /* what request() says */
	_Atomic unsigned requests, asked; /* calls; pages */
	_Atomic uint64_t last;		  /* page of the last request */
	int asked_fd;			  /* eventfd: one for each request */
};

#define WINDOW 256u

/* What page @page holds: differs everywhere from its neighbours. */
static uint64_t value_of(uint64_t page)
{
	return page * 0x9e3779b97f4a7c15ull | 1;
}

static void fill(uint8_t *dst, uint64_t page)
{
	uint64_t v = value_of(page);
	unsigned i;

	for (i = 0; i < PAGE / 8; i++)
		memcpy(dst + i * 8, &v, 8);
}

static uint64_t peek(const struct bed *b, uint64_t page)
{
	return *(volatile uint64_t *)(b->gm.base + page * PAGE + 2048);
}

static int place(struct bed *b, uint64_t page, uint32_t count, uint8_t *buf)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		fill(buf + i * PAGE, page + i);
	return pager_place(b->pager, page, count, buf);
}

static int request(void *opaque, uint64_t page, uint32_t count)
{
	struct bed *b = opaque;
	int code = b->code;

	atomic_fetch_add(&b->requests, 1);
	atomic_fetch_add(&b->asked, count);
	atomic_store(&b->last, page);
	if (code == 0 && !b->silent)
		code = place(b, page, count, b->buf);
	eventfd_write(b->asked_fd, 1);
	return code;
}

static void await_request(struct bed *b)
{
	eventfd_t n;

	assert_int_equal(eventfd_read(b->asked_fd, &n), 0);
}

static struct bed *bed_make(enum guestmem_backing backing, bool thp)
{
	struct guestmem_options opt = {
		.size = PAGES * PAGE, .backing = backing, .thp = thp};
	struct bed *b = calloc(1, sizeof(*b));
	struct error err;

	alarm(WATCHDOG_S);
	assert_non_null(b);
	assert_int_equal(guestmem_init(&b->gm, &opt, &err), 0);
	b->buf = aligned_alloc(PAGE, WINDOW * PAGE);
	b->own = aligned_alloc(PAGE, WINDOW * PAGE);
	assert_true(b->buf && b->own);
	b->asked_fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	assert_true(b->asked_fd >= 0);
	return b;
}

static void bed_create(struct bed *b, const uint64_t *present)
{
	struct pager_options opt = {.threads = b->threads, .stats = &b->stats};
	struct error err;

	assert_int_equal(
		pager_create(&b->gm, present, &opt, &b->pager, &err), 0);
}

static void bed_start(struct bed *b)
{
	struct pager_source source = {
		.request = request, .fd = -1, .opaque = b};
	struct error err;

	assert_int_equal(pager_start(b->pager, &source, &err), 0);
}

static struct bed *bed(enum guestmem_backing backing)
{
	struct bed *b = bed_make(backing, false);

	bed_create(b, NULL);
	bed_start(b);
	return b;
}

static void bed_end(struct bed *b)
{
	pager_destroy(b->pager);
	guestmem_fini(&b->gm);
	close(b->asked_fd);
	free(b->own);
	free(b->buf);
	free(b);
	alarm(0);
}

/* A thread that reads one page. */
struct toucher {
	struct bed *b;
	uint64_t page, got;
	_Atomic bool done;
	pthread_t thread;
};

static void *touch(void *opaque)
{
	struct toucher *t = opaque;

	t->got = peek(t->b, t->page);
	atomic_store(&t->done, true);
	return NULL;
}

static void touch_start(struct toucher *t, struct bed *b, uint64_t page)
{
	*t = (struct toucher){.b = b, .page = page};
	assert_int_equal(pthread_create(&t->thread, NULL, touch, t), 0);
}

static uint64_t touch_end(struct toucher *t)
{
	assert_int_equal(pthread_join(t->thread, NULL), 0);
	return t->got;
}

static const enum guestmem_backing backings[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};

/* ---- walks ---- */

static void a_sequential_walk_is_answered_in_windows(void **state)
{
	unsigned i, k;

	for (k = 0; k < 2; k++) {
		struct bed *b = bed(backings[k]);

		for (i = 0; i < PAGES; i++)
			assert_int_equal(peek(b, i), value_of(i));
		assert_int_equal(atomic_load(&b->asked), PAGES);
		assert_true(atomic_load(&b->requests) < PAGES / 12);
		assert_int_equal(pager_missing(b->pager), 0);
		assert_int_equal(b->stats.pages_placed, PAGES);
		assert_int_equal(b->stats.pages_again, 0);
		assert_int_equal(b->stats.faults, b->requests);
		bed_end(b);
	}
}

static void a_random_walk_asks_for_no_more_than_it_touches(void **state)
{
	uint64_t seed = testing_seed("random walk"), touched = 0, page;
	uint8_t seen[PAGES] = {0};
	struct bed *b = bed(GUESTMEM_ANON);
	unsigned i;

	/* No page follows another one. */
	for (i = 0; i < 2000; i++) {
		page = testing_random(&seed) % (PAGES / 2) * 2;
		touched += !seen[page];
		seen[page] = 1;
		assert_int_equal(peek(b, page), value_of(page));
	}
	assert_int_equal(atomic_load(&b->asked), touched);
	assert_int_equal(pager_missing(b->pager), PAGES - touched);
	bed_end(b);
}

struct walker {
	struct bed *b;
	uint64_t from, to;
	pthread_barrier_t *gate;
	pthread_t thread;
	bool bad;
};

static void *walk(void *opaque)
{
	struct walker *w = opaque;
	uint64_t i;

	pthread_barrier_wait(w->gate);
	for (i = w->from; i < w->to; i++)
		w->bad |= peek(w->b, i) != value_of(i);
	return NULL;
}

static void two_threads_that_walk_are_told_apart(void **state)
{
	struct bed *b = bed(GUESTMEM_ANON);
	pthread_barrier_t gate;
	struct walker w[2] = {
		{.b = b, .from = 0, .to = 500, .gate = &gate},
		{.b = b, .from = 500, .to = PAGES, .gate = &gate},
	};
	unsigned i;

	pthread_barrier_init(&gate, NULL, 2);
	for (i = 0; i < 2; i++)
		pthread_create(&w[i].thread, NULL, walk, &w[i]);
	for (i = 0; i < 2; i++) {
		pthread_join(w[i].thread, NULL);
		assert_false(w[i].bad);
	}
	assert_int_equal(pager_missing(b->pager), 0);
	/* Each page alone would be 1000; thread ids may share a trail. */
	assert_true(atomic_load(&b->requests) <= PAGES);
	assert_int_equal(b->stats.pages_placed, PAGES);
	pthread_barrier_destroy(&gate);
	bed_end(b);
}

/* ---- one page, many threads ---- */

static void eight_threads_on_one_page_ask_once(void **state)
{
	struct bed *b = bed_make(GUESTMEM_ANON, false);
	struct toucher t[8];
	unsigned i;

	b->silent = true;
	bed_create(b, NULL);
	bed_start(b);
	for (i = 0; i < 8; i++)
		touch_start(&t[i], b, 7);
	await_request(b);
	assert_int_equal(place(b, 7, 1, b->own), 0);
	for (i = 0; i < 8; i++)
		assert_int_equal(touch_end(&t[i]), value_of(7));
	assert_int_equal(atomic_load(&b->requests), 1);
	assert_int_equal(b->stats.pages_placed, 1);
	bed_end(b);
}

static void a_duplicate_leaves_the_page_as_it_is(void **state)
{
	struct bed *b = bed(GUESTMEM_ANON);
	uint64_t mine = 77;

	assert_int_equal(peek(b, 3), value_of(3));
	memcpy(b->gm.base + 3 * PAGE + 2048, &mine, 8);
	/* Pages 2 and 4 are new, 3 is not. */
	assert_int_equal(place(b, 2, 3, b->own), 0);
	assert_int_equal(peek(b, 2), value_of(2));
	assert_int_equal(peek(b, 3), 77);
	assert_int_equal(peek(b, 4), value_of(4));
	assert_int_equal(pager_place_zero(b->pager, 3, 1), 0);
	assert_int_equal(peek(b, 3), 77);
	assert_int_equal(atomic_load(&b->requests), 1);
	assert_int_equal(b->stats.pages_placed, 3);
	assert_int_equal(b->stats.pages_again, 2);
	assert_int_equal(pager_missing(b->pager), PAGES - 3);
	bed_end(b);
}

/* ---- zero pages ---- */

static void a_zero_page_wakes_who_waits(void **state)
{
	struct bed *b = bed_make(GUESTMEM_MEMFD, false);
	struct toucher t;

	b->silent = true;
	bed_create(b, NULL);
	bed_start(b);
	touch_start(&t, b, PAGES - 1);
	await_request(b);
	assert_false(atomic_load(&t.done));
	assert_int_equal(pager_place_zero(b->pager, PAGES - 1, 1), 0);
	assert_int_equal(touch_end(&t), 0);
	assert_true(pager_present(b->pager, PAGES - 1));
	assert_int_equal(pager_place_zero(b->pager, 0, PAGES - 1), 0);
	assert_int_equal(pager_missing(b->pager), 0);
	bed_end(b);
}

static void present_pages_without_memory_are_zero_and_others_stay(void **state)
{
	uint64_t present[(PAGES + 63) / 64];
	unsigned k;

	for (k = 0; k < 2; k++) {
		struct bed *b = bed_make(backings[k], false);

		memset(present, 0xff, sizeof(present));
		present[1] &= ~1ull; /* page 64 is missing */
		fill(b->gm.base + 5 * PAGE, 5);
		bed_create(b, present);
		bed_start(b);
		assert_int_equal(pager_missing(b->pager), 1);
		assert_int_equal(pager_next_missing(b->pager, 0), 64);
		assert_int_equal(pager_next_missing(b->pager, 64), 64);
		assert_int_equal(pager_next_missing(b->pager, 65), UINT64_MAX);
		assert_int_equal(
			pager_next_missing(b->pager, PAGES), UINT64_MAX);
		assert_int_equal(peek(b, 5), value_of(5));
		assert_int_equal(peek(b, 6), 0);
		assert_int_equal(peek(b, PAGES - 1), 0);
		b->gm.base[9 * PAGE] = 1; /* a write fault */
		assert_int_equal(atomic_load(&b->requests), 0);
		assert_int_equal(b->stats.faults, 3);
		assert_int_equal(peek(b, 64), value_of(64));
		assert_int_equal(atomic_load(&b->requests), 1);
		bed_end(b);
	}
}

/* ---- memory that is given up ---- */

static int give_up(struct bed *b, uint64_t page, uint64_t count)
{
	return madvise(b->gm.base + page * PAGE, count * PAGE,
		b->gm.backing == GUESTMEM_MEMFD ? MADV_REMOVE : MADV_DONTNEED);
}

static void pages_given_up_are_zero_and_not_fetched_again(void **state)
{
	unsigned k;

	for (k = 0; k < 2; k++) {
		struct bed *b = bed(backings[k]);

		assert_int_equal(peek(b, 10), value_of(10));
		assert_int_equal(peek(b, 100), value_of(100));
		assert_int_equal(give_up(b, 8, 4), 0); /* 10 is present */
		assert_int_equal(peek(b, 9), 0);
		assert_int_equal(pager_missing(b->pager), PAGES - 2 - 3);
		assert_int_equal(peek(b, 10), 0);
		assert_int_equal(place(b, 8, 4, b->own), 0); /* comes late */
		assert_int_equal(peek(b, 8), 0);
		assert_int_equal(peek(b, 11), 0);
		assert_int_equal(atomic_load(&b->requests), 2);
		assert_int_equal(peek(b, 100), value_of(100));
		assert_int_equal(peek(b, 12), value_of(12));
		bed_end(b);
	}
}

static void who_waits_for_a_page_given_up_gets_zero(void **state)
{
	struct bed *b = bed_make(GUESTMEM_ANON, false);
	struct toucher t;

	b->silent = true;
	bed_create(b, NULL);
	bed_start(b);
	touch_start(&t, b, 20);
	await_request(b);
	assert_int_equal(give_up(b, 16, 8), 0);
	assert_int_equal(touch_end(&t), 0);
	bed_end(b);
}

struct giver {
	struct bed *b;
	_Atomic bool stop;
	_Atomic bool failed;
};

/* Gives up the even pages of the second half, again and again. */
static void *give(void *opaque)
{
	struct giver *g = opaque;
	uint64_t i;

	while (!atomic_load(&g->stop))
		for (i = PAGES / 2; i < PAGES; i += 2)
			if (give_up(g->b, i, 1) < 0)
				atomic_store(&g->failed, true);
	return NULL;
}

static void placing_goes_on_while_memory_is_given_up(void **state)
{
	unsigned k, i;

	for (k = 0; k < 2; k++) {
		struct bed *b = bed(backings[k]);
		struct giver g = {.b = b};
		uint8_t *buf = aligned_alloc(PAGE, 50 * PAGE);
		pthread_t thread;

		pthread_create(&thread, NULL, give, &g);
		/* The one fault thread places from within request(), this one
		 * beside it. */
		for (i = 0; i < PAGES / 2; i += 50) {
			assert_int_equal(place(b, i, 25, buf), 0);
			assert_int_equal(peek(b, i + 26), value_of(i + 26));
			assert_int_equal(peek(b, i + 49), value_of(i + 49));
			peek(b, PAGES / 2 + i);
		}
		for (i = 1; i < PAGES; i += 2)
			assert_int_equal(peek(b, i), value_of(i));
		for (i = 0; i < PAGES / 2; i++)
			assert_int_equal(peek(b, i), value_of(i));
		atomic_store(&g.stop, true);
		pthread_join(thread, NULL);
		assert_false(atomic_load(&g.failed));
		assert_false(pager_failed(b->pager));
		free(buf);
		bed_end(b);
	}
}

static void discarded_pages_are_asked_for_and_others_are_not(void **state)
{
	uint64_t present[(PAGES + 63) / 64];
	struct error err;
	unsigned k, i;

	for (k = 0; k < 2; k++) {
		struct bed *b = bed_make(backings[k], true);

		for (i = 0; i < PAGES; i++)
			fill(b->gm.base + i * PAGE, i + 5000);
		memset(present, 0xff, sizeof(present));
		present[2] = ~0xffull << 8; /* 128..143 */
		assert_int_equal(pager_discard(&b->gm, 128, 16, &err), 0);
		present[2] = ~0xffffull;
		bed_create(b, present);
		bed_start(b);
		assert_int_equal(pager_missing(b->pager), 16);
		for (i = 0; i < PAGES; i++)
			assert_int_equal(peek(b, i),
				value_of(i >= 128 && i < 144 ? i : i + 5000));
		assert_int_equal(pager_missing(b->pager), 0);
		bed_end(b);
	}
}

static void what_is_not_ram_is_refused(void **state)
{
	struct bed *b = bed(GUESTMEM_ANON);
	struct error err;

	assert_int_equal(pager_place(b->pager, PAGES, 1, b->own), -EINVAL);
	assert_int_equal(pager_place(b->pager, 990, 11, b->own), -EINVAL);
	assert_int_equal(pager_place(b->pager, UINT64_MAX, 2, b->own), -EINVAL);
	assert_int_equal(pager_place_zero(b->pager, PAGES, 1), -EINVAL);
	assert_int_equal(pager_place(b->pager, PAGES, 0, b->own), 0);
	assert_int_equal(pager_discard(&b->gm, PAGES, 1, &err), -EINVAL);
	assert_int_equal(pager_discard(&b->gm, 1, UINT64_MAX, &err), -EINVAL);
	assert_false(pager_present(b->pager, PAGES));
	assert_false(pager_failed(b->pager));
	bed_end(b);
}

/* ---- ends ---- */

static void a_source_that_fails_is_told_and_its_waiters_wait(void **state)
{
	struct bed *b = bed_make(GUESTMEM_ANON, false);
	struct toucher t;

	b->code = -EIO;
	bed_create(b, NULL);
	assert_int_equal(place(b, 1, 1, b->own), 0);
	bed_start(b);
	assert_false(pager_failed(b->pager));
	touch_start(&t, b, 0);
	await_request(b);
	while (!pager_failed(b->pager)) /* said right after the call */
		sched_yield();
	assert_int_equal(peek(b, 1), value_of(1));
	assert_false(atomic_load(&t.done));
	/* Another way may still bring it. */
	assert_int_equal(place(b, 0, 1, b->own), 0);
	assert_int_equal(touch_end(&t), value_of(0));
	bed_end(b);
}

static void destroy_lets_waiters_go_with_zero(void **state)
{
	struct bed *b = bed_make(GUESTMEM_ANON, false);
	struct toucher t[4];
	unsigned i;

	b->silent = true;
	bed_create(b, NULL);
	bed_start(b);
	for (i = 0; i < 4; i++)
		touch_start(&t[i], b, i * 3);
	for (i = 0; i < 4; i++)
		await_request(b);
	pager_destroy(b->pager);
	b->pager = NULL;
	for (i = 0; i < 4; i++)
		assert_int_equal(touch_end(&t[i]), 0);
	bed_end(b);
}

static void after_a_lost_link_only_missing_pages_wait(void **state)
{
	uint64_t present[(PAGES + 63) / 64];
	struct bed *b = bed_make(GUESTMEM_ANON, false);
	struct toucher t, late;
	unsigned asked;

	memset(present, 0xff, sizeof(present));
	present[0] &= ~6ull; /* 1 and 2 are missing */
	b->silent = true;
	b->threads = 2;
	bed_create(b, present);
	bed_start(b);
	touch_start(&t, b, 1);
	await_request(b);
	assert_int_equal(pager_finish(b->pager, false), -EBUSY);
	assert_int_equal(pager_finish(b->pager, true), 0);
	assert_true(pager_failed(b->pager));
	asked = atomic_load(&b->requests);
	touch_start(&late, b, 2);
	assert_int_equal(peek(b, 700), 0); /* present, no memory */
	assert_int_equal(give_up(b, 700, 1), 0);
	assert_int_equal(peek(b, 700), 0);
	assert_false(atomic_load(&t.done));
	assert_int_equal(atomic_load(&b->requests), asked);
	pager_destroy(b->pager);
	b->pager = NULL;
	assert_int_equal(touch_end(&t), 0);
	assert_int_equal(touch_end(&late), 0);
	bed_end(b);
}

/* The flags of the mapping that begins at @base, as the kernel has them. */
static bool has_flag(const void *base, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512], key[32];
	bool ours = false, found = false;

	assert_non_null(f);
	snprintf(key, sizeof(key), "%lx-", (unsigned long)(uintptr_t)base);
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) == 0)
			ours = true;
		if (ours && strncmp(line, "VmFlags:", 8) == 0) {
			found = strstr(line, flag) != NULL;
			break;
		}
	}
	fclose(f);
	return found;
}

static void finish_gives_memory_back_with_huge_pages_as_configured(void **state)
{
	unsigned thp, i;

	for (thp = 0; thp < 2; thp++) {
		struct bed *b = bed_make(GUESTMEM_ANON, thp);

		assert_int_equal(has_flag(b->gm.base, " hg"), thp);
		bed_create(b, NULL);
		assert_true(has_flag(b->gm.base, " nh"));
		assert_true(has_flag(b->gm.base, " um"));
		bed_start(b);
		for (i = 0; i < PAGES; i += 100)
			assert_int_equal(place(b, i, 100, b->own), 0);
		assert_int_equal(pager_finish(b->pager, false), 0);
		assert_false(has_flag(b->gm.base, " um"));
		assert_int_equal(has_flag(b->gm.base, " hg"), thp);
		assert_int_equal(give_up(b, 0, 1), 0); /* nobody reads events */
		assert_int_equal(peek(b, 0), 0);
		assert_int_equal(peek(b, 1), value_of(1));
		bed_end(b);
	}
}

static void no_fd_is_left(void **state)
{
	int fds = testing_fd_count();
	struct bed *b = bed(GUESTMEM_MEMFD);

	peek(b, 1);
	bed_end(b);
	assert_int_equal(testing_fd_count(), fds);
}

/* ---- a source that answers later, by its fd ---- */

struct remote {
	struct bed *b;
	int to[2], from[2]; /* pipes of page numbers */
	pthread_t thread;
};

static int remote_request(void *opaque, uint64_t page, uint32_t count)
{
	struct remote *r = opaque;

	return write(r->to[1], &page, 8) == 8 ? 0 : -errno;
}

static int remote_ready(void *opaque)
{
	struct remote *r = opaque;
	uint64_t page;

	if (read(r->from[0], &page, 8) != 8)
		return -EPIPE;
	return place(r->b, page, 1, r->b->buf);
}

/* The peer: answers what it is asked. */
static void *remote_main(void *opaque)
{
	struct remote *r = opaque;
	uint64_t page;

	while (read(r->to[0], &page, 8) == 8 && page != UINT64_MAX)
		if (write(r->from[1], &page, 8) != 8)
			break;
	close(r->from[1]);
	return NULL;
}

static void answers_that_come_by_the_source_fd_are_taken(void **state)
{
	struct bed *b = bed_make(GUESTMEM_ANON, false);
	struct remote r = {.b = b};
	struct pager_source source = {
		.request = remote_request, .ready = remote_ready, .opaque = &r};
	struct error err;
	uint64_t sum = 0;
	unsigned i;

	b->threads = 3;
	assert_int_equal(pipe(r.to), 0);
	assert_int_equal(pipe(r.from), 0);
	pthread_create(&r.thread, NULL, remote_main, &r);
	source.fd = r.from[0];
	bed_create(b, NULL);
	assert_int_equal(pager_start(b->pager, &source, &err), 0);
	for (i = 0; i < PAGES; i += 7)
		assert_int_equal(peek(b, i), value_of(i));
	assert_int_equal(b->stats.faults, (PAGES + 6) / 7);
	for (i = 0; i < MIGRATE_BUCKETS; i++)
		sum += b->stats.fault_bucket[i];
	assert_int_equal(sum, b->stats.faults);
	assert_true(b->stats.fault_ns > 0);
	/* The peer goes: known at once, though nobody waits. */
	i = (unsigned)write(r.to[1], &(uint64_t){UINT64_MAX}, 8);
	assert_int_equal(i, 8);
	pthread_join(r.thread, NULL);
	while (!pager_failed(b->pager))
		sched_yield();
	bed_end(b);
	close(r.to[0]);
	close(r.to[1]);
	close(r.from[0]);
}

/* ---- all at once ---- */

struct racer {
	struct bed *b;
	uint64_t seed;
	pthread_t thread;
	bool bad;
};

static void *race_place(void *opaque)
{
	struct racer *r = opaque;
	uint8_t *buf = aligned_alloc(PAGE, WINDOW * PAGE);
	uint64_t page;
	uint32_t n;

	while (pager_missing(r->b->pager) > 0) {
		page = pager_next_missing(
			r->b->pager, testing_random(&r->seed) % PAGES);
		if (page == UINT64_MAX)
			continue;
		n = 1 + (uint32_t)testing_random(&r->seed) % 80;
		n = n < PAGES - page ? n : (uint32_t)(PAGES - page);
		r->bad |= place(r->b, page, n, buf) != 0;
	}
	free(buf);
	return NULL;
}

static void *race_touch(void *opaque)
{
	struct racer *r = opaque;
	uint64_t page;
	unsigned i;

	for (i = 0; i < 3000; i++) {
		page = testing_random(&r->seed) % PAGES;
		r->bad |= peek(r->b, page) != value_of(page);
	}
	return NULL;
}

/* request() is called by several fault threads at once. */
static int race_request(void *opaque, uint64_t page, uint32_t count)
{
	uint8_t buf[4 * PAGE];

	return place(opaque, page, count < 4 ? count : 4, buf);
}

static void each_page_is_placed_once_whoever_brings_it(void **state)
{
	uint64_t seed = testing_seed("race");
	unsigned round, i;

	for (round = 0; round < 20; round++) {
		struct bed *b = bed_make(backings[round % 2], false);
		struct pager_source source = {
			.request = race_request, .fd = -1, .opaque = b};
		struct racer r[6];
		struct error err;

		b->threads = 3;
		bed_create(b, NULL);
		assert_int_equal(pager_start(b->pager, &source, &err), 0);
		for (i = 0; i < 6; i++) {
			r[i] = (struct racer){
				.b = b, .seed = testing_random(&seed)};
			pthread_create(&r[i].thread, NULL,
				i < 2 ? race_place : race_touch, &r[i]);
		}
		for (i = 0; i < 6; i++) {
			pthread_join(r[i].thread, NULL);
			assert_false(r[i].bad);
		}
		/* Pages may be seen a moment before they count. */
		while (pager_missing(b->pager) > 0)
			sched_yield();
		assert_int_equal(pager_finish(b->pager, false), 0);
		assert_int_equal(b->stats.pages_placed, PAGES);
		bed_end(b);
	}
}

static void huge_pages_of_hugetlb_are_refused_with_the_remedy(void **state)
{
	struct guestmem gm = {.backing = GUESTMEM_HUGETLB, .size = 2 << 20};
	struct pager *pager = NULL;
	struct error err;

	assert_int_equal(pager_probe(&gm, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "memfd"));
	assert_int_equal(
		pager_create(&gm, NULL, NULL, &pager, &err), -EOPNOTSUPP);
	assert_null(pager);
}

/* ---- the end, and who touches just then ---- */

#define ENDS	   1000u
#define END_PAGES  64u
#define END_SPREAD 3000u /* turns of a loop, a few microseconds */
#define END_TURNS  300u

struct ends {
	struct bed *b;
	_Atomic unsigned begun, touched; /* rounds */
};

/* On its CPU at first, or the two would hardly ever meet. */
static void until(_Atomic unsigned *what, unsigned round)
{
	unsigned turns = 0;

	while (atomic_load(what) < round)
		if (++turns > END_TURNS)
			sched_yield();
}

static void *touch_each_round(void *opaque)
{
	struct ends *e = opaque;
	unsigned round, page;

	for (round = 1; round <= ENDS; round++) {
		until(&e->begun, round);
		for (page = 0; page < END_PAGES; page++)
			assert_int_equal(peek(e->b, page), 0);
		atomic_store(&e->touched, round);
	}
	return NULL;
}

/* A kernel may have woken all that wait before it lets nobody wait any more. */
static void who_begins_to_wait_at_the_end_does_not_wait_for_ever(void **state)
{
	struct ends e = {.b = bed_make(GUESTMEM_ANON, false)};
	uint64_t seed = testing_seed(__func__), turns;
	pthread_t thread;
	unsigned round;

	assert_int_equal(
		pthread_create(&thread, NULL, touch_each_round, &e), 0);
	for (round = 1; round <= ENDS; round++) {
		assert_int_equal(
			madvise(e.b->gm.base, END_PAGES * PAGE, MADV_DONTNEED),
			0);
		bed_create(e.b, NULL);
		atomic_store(&e.begun, round);
		for (turns = testing_random(&seed) % END_SPREAD; turns; turns--)
			atomic_load(&e.begun);
		pager_abandon(e.b->pager);
		until(&e.touched, round);
		pager_destroy(e.b->pager);
		e.b->pager = NULL;
	}
	pthread_join(thread, NULL);
	bed_end(e.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			huge_pages_of_hugetlb_are_refused_with_the_remedy),
		cmocka_unit_test(a_sequential_walk_is_answered_in_windows),
		cmocka_unit_test(
			a_random_walk_asks_for_no_more_than_it_touches),
		cmocka_unit_test(two_threads_that_walk_are_told_apart),
		cmocka_unit_test(eight_threads_on_one_page_ask_once),
		cmocka_unit_test(a_duplicate_leaves_the_page_as_it_is),
		cmocka_unit_test(a_zero_page_wakes_who_waits),
		cmocka_unit_test(
			present_pages_without_memory_are_zero_and_others_stay),
		cmocka_unit_test(pages_given_up_are_zero_and_not_fetched_again),
		cmocka_unit_test(who_waits_for_a_page_given_up_gets_zero),
		cmocka_unit_test(placing_goes_on_while_memory_is_given_up),
		cmocka_unit_test(
			discarded_pages_are_asked_for_and_others_are_not),
		cmocka_unit_test(what_is_not_ram_is_refused),
		cmocka_unit_test(
			a_source_that_fails_is_told_and_its_waiters_wait),
		cmocka_unit_test(destroy_lets_waiters_go_with_zero),
		cmocka_unit_test(after_a_lost_link_only_missing_pages_wait),
		cmocka_unit_test(
			finish_gives_memory_back_with_huge_pages_as_configured),
		cmocka_unit_test(
			who_begins_to_wait_at_the_end_does_not_wait_for_ever),
		cmocka_unit_test(no_fd_is_left),
		cmocka_unit_test(answers_that_come_by_the_source_fd_are_taken),
		cmocka_unit_test(each_page_is_placed_once_whoever_brings_it),
	};
	struct error err;

	/* Needs a privilege that not every host gives. */
	if (pager_probe(NULL, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.text);
		return 0;
	}
	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
