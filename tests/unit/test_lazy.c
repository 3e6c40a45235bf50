/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_lazy.c - RAM that comes from a snapshot as it is touched. */
#include "tests/unit/snapshot_bed.h"

#include "migrate/touched.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "migrate/snapshot_format.h"

#define PAGES 5003u

struct lazy_bed {
	struct snapshot_bed b;
	struct snapshot *s;
	struct guestmem gm;
	struct migrate_stats stats;
	struct lazy *lazy;
};

static void lazy_bed(
	struct lazy_bed *l, enum guestmem_backing backing, bool prefetch)
{
	struct snapshot_options opt = {.no_sync = true};
	struct error err = {0};

	memset(l, 0, sizeof(*l));
	bed_init(&l->b, PAGES, backing);
	assert_int_equal(bed_write(&l->b, &opt, NULL), 0);
	l->s = bed_open(&l->b);
	bed_ram(&l->gm, PAGES, backing);
	if (snapshot_lazy_start(
		    l->s, &l->gm, prefetch, &l->stats, &l->lazy, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(snapshot_lazy_loaded(l->lazy, NULL), 0);
}

static void lazy_end(struct lazy_bed *l)
{
	snapshot_lazy_stop(l->lazy);
	snapshot_close(l->s);
	guestmem_fini(&l->gm);
	bed_fini(&l->b);
}

static uint64_t peek(struct lazy_bed *l, uint64_t page)
{
	return bed_peek(&l->gm, page);
}

static void only_what_is_touched_is_read(void **state)
{
	struct lazy_bed l;

	lazy_bed(&l, GUESTMEM_ANON, false);
	assert_int_equal(peek(&l, 3), bed_value(3, 0));
	assert_int_equal(peek(&l, 8), 0);
	assert_int_equal(peek(&l, 4003), bed_value(4003, 0));
	assert_int_equal(peek(&l, PAGES - 1), bed_value(PAGES - 1, 0));
	assert_int_equal(l.stats.pages_requested, 2);
	assert_int_equal(l.stats.pages_placed, 2);
	assert_int_equal(l.stats.faults, 4);
	assert_false(snapshot_lazy_done(l.lazy));
	assert_false(snapshot_lazy_failed(l.lazy));
	lazy_end(&l);
}

struct walker {
	struct lazy_bed *l;
	uint64_t seed;
	bool random, bad;
	pthread_t thread;
};

static void *walk(void *opaque)
{
	struct walker *w = opaque;
	uint64_t i, page;

	for (i = 0; i < PAGES; i++) {
		page = w->random ? testing_random(&w->seed) % PAGES : i;
		w->bad |= peek(w->l, page) != bed_value(page, 0);
	}
	return NULL;
}

static void walkers_and_prefetch_bring_every_page_once(void **state)
{
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	uint64_t seed = testing_seed("lazy");
	struct walker w[4];
	struct lazy_bed l;
	unsigned round, i;

	for (round = 0; round < 8; round++) {
		int fds = testing_fd_count();

		lazy_bed(&l, backing[round % 2], round / 2 % 2);
		for (i = 0; i < 4; i++) {
			w[i] = (struct walker){.l = &l,
				.random = i > 0,
				.seed = testing_random(&seed)};
			pthread_create(&w[i].thread, NULL, walk, &w[i]);
		}
		for (i = 0; i < 4; i++) {
			pthread_join(w[i].thread, NULL);
			assert_false(w[i].bad);
		}
		/* One of them saw all pages; the count follows what is seen. */
		while (!snapshot_lazy_done(l.lazy))
			sched_yield();
		snapshot_lazy_stop(l.lazy);
		l.lazy = NULL;
		assert_int_equal(l.stats.pages_placed, PAGES / 8 * 3);
		lazy_end(&l);
		assert_int_equal(testing_fd_count(), fds);
	}
}

static void prefetch_alone_brings_all(void **state)
{
	struct lazy_bed l;

	lazy_bed(&l, GUESTMEM_ANON, true);
	while (!snapshot_lazy_done(l.lazy))
		sched_yield();
	assert_memory_equal(l.gm.base, l.b.gm.base, l.gm.size);
	assert_int_equal(l.stats.pages_requested, 0);
	lazy_end(&l);
}

static void complete_brings_the_rest_beside_prefetch(void **state)
{
	struct lazy_bed l;
	struct error err;
	unsigned k;

	for (k = 0; k < 2; k++) {
		lazy_bed(&l, GUESTMEM_ANON, k);
		l.gm.base[4 * PAGE + 1] = 7; /* the guest writes */
		assert_int_equal(snapshot_lazy_complete(l.lazy, NULL, &err), 0);
		assert_true(snapshot_lazy_done(l.lazy));
		assert_int_equal(l.gm.base[4 * PAGE + 1], 7);
		l.gm.base[4 * PAGE + 1] = 0;
		assert_memory_equal(l.gm.base, l.b.gm.base, l.gm.size);
		assert_int_equal(snapshot_lazy_complete(l.lazy, NULL, &err), 0);
		lazy_end(&l);
	}
}

static void a_complete_that_is_cancelled_leaves_the_rest_to_come(void **state)
{
	const _Atomic bool cancel = true;
	struct lazy_bed l;
	struct error err;

	lazy_bed(&l, GUESTMEM_ANON, false);
	assert_int_equal(
		snapshot_lazy_complete(l.lazy, &cancel, &err), -ECANCELED);
	assert_false(snapshot_lazy_done(l.lazy));
	assert_false(snapshot_lazy_failed(l.lazy));
	assert_int_equal(peek(&l, 4003), bed_value(4003, 0));
	lazy_end(&l);
}

static void stopping_early_is_allowed(void **state)
{
	struct lazy_bed l;

	lazy_bed(&l, GUESTMEM_ANON, true);
	lazy_end(&l);
	snapshot_lazy_stop(NULL);
}

/* ---- failures ---- */

struct toucher {
	struct lazy_bed *l;
	uint64_t page, got;
	_Atomic bool done;
	pthread_t thread;
};

static void *touch(void *opaque)
{
	struct toucher *t = opaque;

	t->got = peek(t->l, t->page);
	atomic_store(&t->done, true);
	return NULL;
}

static void damage(struct lazy_bed *l, uint64_t page)
{
	off_t at = (off_t)(SNAPSHOT_ALIGN + page * PAGE);
	int fd = open(l->b.path, O_RDWR);

	assert_int_equal(pwrite(fd, "bad", 3, at), 3);
	close(fd);
}

/* Touch @page, wait for the failure, stop with the toucher still waiting. */
static void fails_at(struct lazy_bed *l, uint64_t page, const char *why)
{
	struct toucher t = {.l = l, .page = page};
	struct error err;

	pthread_create(&t.thread, NULL, touch, &t);
	while (!snapshot_lazy_failed(l->lazy))
		sched_yield();
	assert_true(snapshot_lazy_error(l->lazy, &err) < 0);
	if (!strstr(err.text, why) || !strstr(err.text, l->b.path))
		fail_msg("%s", err.text);
	assert_false(atomic_load(&t.done));
	assert_false(snapshot_lazy_done(l->lazy));
	snapshot_lazy_stop(l->lazy);
	l->lazy = NULL;
	pthread_join(t.thread, NULL);
	assert_int_equal(t.got, 0);
}

static void a_damaged_page_never_reaches_the_guest(void **state)
{
	struct lazy_bed l;

	lazy_bed(&l, GUESTMEM_ANON, false);
	damage(&l, 803);
	assert_int_equal(peek(&l, 804), bed_value(804, 0));
	assert_int_equal(snapshot_lazy_error(l.lazy, NULL), 0);
	fails_at(&l, 803, "page 803 ");
	lazy_end(&l);
}

/* Or a migration would take them for zero. */
static void pages_that_are_missing_count_as_touched(void **state)
{
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	struct touched t;
	struct lazy_bed l;
	uint64_t end = 0;
	unsigned i;

	for (i = 0; i < 2; i++) {
		lazy_bed(&l, backing[i], false);
		touched_init(&t, &l.gm);
		assert_int_equal(touched_next(&t, 0, &end), 0);
		assert_int_equal(end, PAGES);
		assert_int_equal(snapshot_lazy_complete(l.lazy, NULL, NULL), 0);
		/* All is here: what has no memory is zero again. */
		assert_true(touched_next(&t, 0, &end) > 0 || end < PAGES);
		touched_fini(&t);
		lazy_end(&l);
	}
}

/* Nobody else could end the wait of whoever loads the machine. */
static void a_damaged_page_touched_while_loading_fails_the_restore(void **state)
{
	struct lazy_bed l;
	struct error err;

	lazy_bed(&l, GUESTMEM_ANON, false);
	snapshot_lazy_stop(l.lazy);
	guestmem_fini(&l.gm);
	bed_ram(&l.gm, PAGES, GUESTMEM_ANON);
	damage(&l, 803);
	assert_int_equal(
		snapshot_lazy_start(l.s, &l.gm, false, &l.stats, &l.lazy, &err),
		0);
	assert_int_equal(peek(&l, 804), bed_value(804, 0));
	assert_int_equal(peek(&l, 803), 0);
	assert_int_equal(snapshot_lazy_loaded(l.lazy, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "page 803 "));
	lazy_end(&l);
}

static void a_damaged_neighbour_fails_nobody_who_did_not_touch_it(void **state)
{
	struct lazy_bed l;
	struct error err;
	unsigned i;

	lazy_bed(&l, GUESTMEM_ANON, false);
	damage(&l, 5); /* in the window of 3, after 0..2 were walked */
	for (i = 0; i < 5; i++)
		assert_int_equal(peek(&l, i), bed_value(i, 0));
	assert_false(snapshot_lazy_failed(l.lazy));
	assert_int_equal(snapshot_lazy_complete(l.lazy, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "page 5 "));
	assert_true(snapshot_lazy_failed(l.lazy));
	/* Those that are good still come. */
	assert_int_equal(peek(&l, 4003), bed_value(4003, 0));
	lazy_end(&l);
}

static void a_file_cut_short_meanwhile_is_an_error_not_a_signal(void **state)
{
	struct lazy_bed l;

	lazy_bed(&l, GUESTMEM_ANON, false);
	assert_int_equal(peek(&l, 11), bed_value(11, 0));
	assert_int_equal(
		truncate(l.b.path, (off_t)SNAPSHOT_ALIGN + 4000 * PAGE), 0);
	assert_int_equal(peek(&l, 19), bed_value(19, 0));
	fails_at(&l, 4003, "cut short");
	lazy_end(&l);
}

static void ram_of_another_size_is_refused(void **state)
{
	struct snapshot_bed b;
	struct guestmem gm;
	struct lazy *lazy = NULL;
	struct snapshot *s;

	bed_init(&b, 16, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	s = bed_open(&b);
	bed_ram(&gm, 15, GUESTMEM_ANON);
	assert_int_equal(
		snapshot_lazy_start(s, &gm, true, NULL, &lazy, NULL), -EINVAL);
	assert_null(lazy);
	guestmem_fini(&gm);
	snapshot_close(s);
	bed_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_touched_is_read),
		cmocka_unit_test(walkers_and_prefetch_bring_every_page_once),
		cmocka_unit_test(prefetch_alone_brings_all),
		cmocka_unit_test(complete_brings_the_rest_beside_prefetch),
		cmocka_unit_test(
			a_complete_that_is_cancelled_leaves_the_rest_to_come),
		cmocka_unit_test(stopping_early_is_allowed),
		cmocka_unit_test(a_damaged_page_never_reaches_the_guest),
		cmocka_unit_test(pages_that_are_missing_count_as_touched),
		cmocka_unit_test(
			a_damaged_page_touched_while_loading_fails_the_restore),
		cmocka_unit_test(
			a_damaged_neighbour_fails_nobody_who_did_not_touch_it),
		cmocka_unit_test(
			a_file_cut_short_meanwhile_is_an_error_not_a_signal),
		cmocka_unit_test(ram_of_another_size_is_refused),
	};
	struct error err;

	/* Needs a privilege that not every host gives. */
	if (pager_probe(NULL, &err) < 0) {
		printf("1..0 # SKIP %s\n", err.text);
		return 0;
	}
	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
