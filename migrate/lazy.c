/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/lazy.c - a snapshot as the pager's source (snapshot.h).
 *
 * Holes of the file are present from the start: the pager makes them zero at
 * the first touch.  Other pages are read into a buffer, checked, and placed;
 * by the fault threads when somebody waits, and in order by the thread
 * "prefetch", which lets faults go first.  Two threads may read the same page;
 * one of them places it.
 *
 * The file is read through the page cache: other machines may be restored from
 * the same one.
 */
#include "migrate/snapshot_private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "migrate/pager.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define FAULT_THREADS 2u
#define WINDOW	      32u /* pages of one request, at most */
#define AHEAD	      64u /* pages of one read of the prefetch thread */
#define AHEAD_BYTES   (1u << 20)

struct lazy {
	struct snapshot *s;	     /* borrowed */
	struct pager *pager;	     /* owned */
	struct migrate_stats *stats; /* borrowed; may be NULL */
	pthread_t prefetch;
	bool has_prefetch;
	_Atomic bool stop;
	_Atomic bool failed;
	_Atomic bool loaded; /* the guest may run: lost pages are no zeros */
	_Atomic unsigned serving; /* faults that wait for a read */

	pthread_mutex_t
		lock; /* guards what follows; no RAM is touched under it */
	struct error first; /* what failed first */
	bool finished;	    /* pager_finish() is done */
};

static int fail(struct lazy *l, const struct error *err)
{
	pthread_mutex_lock(&l->lock);
	if (l->first.code == 0)
		l->first = *err;
	pthread_mutex_unlock(&l->lock);
	atomic_store(&l->failed, true);
	/* Whoever loads the machine would wait for ever. */
	if (!atomic_load(&l->loaded))
		pager_abandon(l->pager);
	return err->code;
}

/* @count pages, all with data, into @buf. */
static int read_pages(struct lazy *l, uint64_t page, uint32_t count,
	uint8_t *buf, struct error *err)
{
	uint64_t want = (uint64_t)count * SNAPSHOT_PAGE, got = 0, bad;
	ssize_t n;

	while (got < want) {
		n = pread(l->s->fd, buf + got, want - got,
			(off_t)(snapshot_offset(l->s, page) + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return error_errno(err, n < 0 ? -errno : -EIO,
				"snapshot: %s: read page %llu%s", l->s->path,
				(unsigned long long)(page +
						     got / SNAPSHOT_PAGE),
				n < 0 ? "" : " (the file was cut short)");
		got += (uint64_t)n;
	}
	bad = snapshot_first_bad(l->s, page, count, buf);
	return bad < count ? snapshot_bad_page(l->s, page + bad, err) : 0;
}

static int place(
	struct lazy *l, uint64_t page, uint32_t count, const uint8_t *buf)
{
	int code = pager_place(l->pager, page, count, buf);
	struct error err;

	if (code < 0) {
		error_errno(
			&err, code, "snapshot: %s: place a page", l->s->path);
		return fail(l, &err);
	}
	if (l->stats)
		migrate_count(&l->stats->pages_full, count);
	return 0;
}

static int bring(struct lazy *l, uint64_t page, uint32_t count, uint8_t *buf)
{
	struct error err;

	if (read_pages(l, page, count, buf, &err) < 0)
		return fail(l, &err);
	return place(l, page, count, buf);
}

/* Pager's request(): [page, page + count) are missing, so they have data. */
static int request(void *opaque, uint64_t page, uint32_t count)
{
	_Alignas(SNAPSHOT_PAGE) uint8_t buf[WINDOW * SNAPSHOT_PAGE];
	struct lazy *l = opaque;
	struct error ignored;
	int code;

	atomic_fetch_add(&l->serving, 1);
	if (l->stats)
		migrate_count(&l->stats->pages_requested, 1);
	/* A bad neighbour must not fail the page that somebody waits for. */
	if (count > 1 && read_pages(l, page, count, buf, &ignored) == 0)
		code = place(l, page, count, buf);
	else
		code = bring(l, page, 1, buf);
	atomic_fetch_sub(&l->serving, 1);
	return code;
}

/* ---- all the rest ---- */

/* Missing pages from @page on, AHEAD at most. */
static uint32_t missing_run(const struct lazy *l, uint64_t page)
{
	uint64_t left = snapshot_pages(l->s) - page;
	uint32_t n = 1;

	while (n < AHEAD && n < left && !pager_present(l->pager, page + n))
		n++;
	return n;
}

/* Have the file's next part read while this one is checked and placed. */
static void read_ahead(const struct lazy *l, uint64_t page, uint64_t *told)
{
	const uint64_t part = AHEAD_BYTES / SNAPSHOT_PAGE;

	if (page + part <= *told)
		return;
	*told = (page / part + 2) * part;
	posix_fadvise(l->s->fd, (off_t)snapshot_offset(l->s, *told - part),
		AHEAD_BYTES, POSIX_FADV_WILLNEED);
}

/* Bring what is missing, in order, until told to stop; NULL: nobody does. */
static int bring_all(struct lazy *l, bool yield, const _Atomic bool *stop)
{
	const struct timespec nap = {.tv_nsec = 20000};
	uint8_t *buf = aligned_alloc(SNAPSHOT_PAGE, AHEAD * SNAPSHOT_PAGE);
	struct error err = {0};
	uint64_t page = 0, told = 0;
	int code = 0;

	if (!buf) {
		error_errno(&err, -ENOMEM, "snapshot: buffer");
		return fail(l, &err);
	}
	while (code == 0 && !(stop && atomic_load(stop))) {
		while (yield && atomic_load(&l->serving) > 0)
			nanosleep(&nap, NULL);
		page = pager_next_missing(l->pager, page);
		if (page == UINT64_MAX)
			break;
		read_ahead(l, page, &told);
		code = bring(l, page, missing_run(l, page), buf);
	}
	free(buf);
	return code;
}

/* With nothing missing, userfaultfd's work is done. */
static void finish(struct lazy *l)
{
	pthread_mutex_lock(&l->lock);
	if (!l->finished && pager_missing(l->pager) == 0)
		l->finished = pager_finish(l->pager, false) == 0;
	pthread_mutex_unlock(&l->lock);
}

static void *prefetch_main(void *opaque)
{
	struct lazy *l = opaque;

	/* Of this thread alone, on Linux: the guest goes first. */
	setpriority(PRIO_PROCESS, (id_t)gettid(), 5);
	if (bring_all(l, true, &l->stop) == 0)
		finish(l);
	return NULL;
}

static int start_prefetch(struct lazy *l)
{
	sigset_t all, old;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&l->prefetch, NULL, prefetch_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (code)
		return -code;
	pthread_setname_np(l->prefetch, "prefetch");
	l->has_prefetch = true;
	return 0;
}

/* ---- begin and end ---- */

/* Pages without data are there. */
static uint64_t *holes(const struct snapshot *s)
{
	uint64_t words = snapshot_bitmap_bytes(s->layout.ram_bytes) / 8, i;
	uint64_t *map = malloc(words * 8);

	for (i = 0; map && i < words; i++)
		map[i] = ~le64toh(s->bitmap[i]);
	return map;
}

static int start_pager(struct lazy *l, struct guestmem *gm, struct error *err)
{
	struct pager_options opt = {.threads = FAULT_THREADS,
		.window_max = WINDOW,
		.stats = l->stats};
	struct pager_source source = {
		.request = request, .fd = -1, .opaque = l};
	uint64_t *present = holes(l->s);
	int code;

	if (!present)
		return error_errno(err, -ENOMEM, "snapshot: page map");
	code = pager_create(gm, present, &opt, &l->pager, err);
	free(present);
	if (code < 0)
		return code;
	return pager_start(l->pager, &source, err);
}

int snapshot_lazy_start(struct snapshot *s, struct guestmem *gm, bool prefetch,
	struct migrate_stats *stats, struct lazy **ret_lazy, struct error *err)
{
	struct lazy *l;
	int code = snapshot_check_ram(s, gm, err);

	if (code < 0)
		return code;
	l = calloc(1, sizeof(*l));
	if (!l)
		return error_errno(err, -ENOMEM, "snapshot");
	pthread_mutex_init(&l->lock, NULL);
	l->s = s;
	l->stats = stats;
	/* What is wanted is read as a whole; no guesses by the kernel. */
	posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
	code = start_pager(l, gm, err);
	if (code == 0 && prefetch) {
		code = start_prefetch(l);
		if (code < 0)
			error_errno(err, code, "snapshot: start a thread");
	}
	if (code < 0) {
		snapshot_lazy_stop(l);
		return code;
	}
	*ret_lazy = l;
	return 0;
}

int snapshot_lazy_loaded(struct lazy *l, struct error *err)
{
	atomic_store(&l->loaded, true);
	/* One of the two sees the other. */
	return snapshot_lazy_error(l, err);
}

int snapshot_lazy_complete(
	struct lazy *l, const _Atomic bool *cancel, struct error *err)
{
	int code = bring_all(l, false, cancel);

	if (code < 0)
		return snapshot_lazy_error(l, err);
	if (cancel && atomic_load(cancel))
		return error_set(err, -ECANCELED, "cancelled");
	finish(l);
	return 0;
}

bool snapshot_lazy_done(const struct lazy *l)
{
	return pager_missing(l->pager) == 0;
}

bool snapshot_lazy_failed(const struct lazy *l)
{
	return atomic_load(&l->failed) || pager_failed(l->pager);
}

int snapshot_lazy_error(struct lazy *l, struct error *err)
{
	int code;

	pthread_mutex_lock(&l->lock);
	code = l->first.code;
	if (code < 0 && err)
		*err = l->first;
	pthread_mutex_unlock(&l->lock);
	if (code == 0 && snapshot_lazy_failed(l))
		code = error_set(err, -EIO,
			"snapshot: %s: pages cannot be placed", l->s->path);
	return code;
}

void snapshot_lazy_stop(struct lazy *l)
{
	if (!l)
		return;
	atomic_store(&l->stop, true);
	if (l->has_prefetch)
		pthread_join(l->prefetch, NULL);
	if (l->pager)
		finish(l);
	pager_destroy(l->pager);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
