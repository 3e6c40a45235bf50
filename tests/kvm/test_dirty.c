/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_dirty.c - the dirty log against a running guest: what `work`
 * and the VMM write is found, by every method, and nothing is lost between a
 * sync, a clear and a copy.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/dirty.h"
#include "migrate/guest.h"
#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/vm_priv.h"

#define PAGE GUESTMEM_PAGE

static const enum dirty_method methods[] = {
	DIRTY_PLAIN, DIRTY_MANUAL, DIRTY_MANUAL_SET, DIRTY_BEST};
#define METHODS (sizeof(methods) / sizeof(methods[0]))

struct rig {
	struct vm_fixture f;
	struct guestmem *gm; /* borrowed */
	uint64_t pages, words;
	struct dirty_log *log;
	uint64_t *map;
};

static void rig_init(struct rig *r, const char *memory, const char *args)
{
	const char *words[] = {"-k", "kernels/work", "-a", args, "-c", "2",
		"-m", memory, NULL};

	vm_fixture_init(&r->f, words);
	r->gm = &r->f.vm->gm;
	r->pages = r->gm->size / PAGE;
	r->words = migrate_bitmap_words(r->pages);
	r->map = calloc(r->words, sizeof(*r->map));
	assert_non_null(r->map);
	r->log = NULL;
}

static void rig_fini(struct rig *r)
{
	dirty_log_stop(r->log);
	free(r->map);
	vm_fixture_fini(&r->f);
}

/* False: this KVM has no such method. */
static bool rig_start(struct rig *r, enum dirty_method method)
{
	struct error err;
	int code = dirty_log_start(r->f.vm->fd, r->gm, method, &r->log, &err);

	if (code == -ENOTSUP)
		return false;
	if (code < 0)
		fail_msg("%s", err.text);
	assert_int_not_equal(dirty_log_method(r->log), DIRTY_BEST);
	return true;
}

static void sync_log(struct rig *r)
{
	struct error err;

	if (dirty_log_sync(r->log, r->map, &err) < 0)
		fail_msg("%s", err.text);
}

static void clear_log(struct rig *r, uint64_t first, uint64_t count)
{
	struct error err;

	if (dirty_log_clear(r->log, r->map, first, count, &err) < 0)
		fail_msg("%s", err.text);
}

static bool is_dirty(const struct rig *r, uint64_t page)
{
	return r->map[page / 64] >> (page % 64) & 1;
}

static uint64_t dirty_count(const struct rig *r)
{
	uint64_t i, n = 0;

	for (i = 0; i < r->words; i++)
		n += (uint64_t)__builtin_popcountll(r->map[i]);
	return n;
}

/* ---- without a running guest ---- */

static void the_vmms_own_writes_are_found(void **state)
{
	struct rig r;
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < METHODS; i++) {
		rig_init(&r, "64M", "mem=8");
		if (!rig_start(&r, methods[i])) {
			rig_fini(&r);
			continue;
		}
		/* The first sync may call everything dirty. */
		sync_log(&r);
		clear_log(&r, 0, r.pages);
		memset(r.map, 0, r.words * 8);
		assert_true(guestmem_write(r.gm, 777 * PAGE - 1, "ab", 2));
		sync_log(&r);
		assert_int_equal(dirty_count(&r), 2);
		assert_true(is_dirty(&r, 776));
		assert_true(is_dirty(&r, 777));
		memset(r.map, 0, r.words * 8);
		sync_log(&r);
		assert_int_equal(dirty_count(&r), 0);
		rig_fini(&r);
	}
}

static void initially_set_calls_every_page_dirty(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r, "64M", "mem=8");
	if (!rig_start(&r, DIRTY_MANUAL_SET)) {
		rig_fini(&r);
		skip();
	}
	sync_log(&r);
	assert_int_equal(dirty_count(&r), r.pages);
	rig_fini(&r);
}

static void bad_ranges_are_refused(void **state)
{
	struct rig r;
	struct error err;

	testing_need_kvm();
	rig_init(&r, "64M", "mem=8");
	assert_true(rig_start(&r, DIRTY_BEST));
	assert_int_equal(dirty_log_clear(r.log, r.map, 1, 64, &err), -EINVAL);
	assert_int_equal(
		dirty_log_clear(r.log, r.map, 0, r.pages + 1, &err), -EINVAL);
	assert_int_equal(
		dirty_log_clear(r.log, r.map, r.pages, 64, &err), -EINVAL);
	assert_int_equal(
		dirty_log_clear(r.log, r.map, UINT64_MAX - 63, 64, &err),
		-EINVAL);
	assert_int_equal(
		dirty_log_clear(r.log, r.map, r.pages - 64, 64, &err), 0);
	rig_fini(&r);
}

static void both_sides_of_the_hole_are_logged(void **state)
{
	const uint64_t gpa[] = {GUESTMEM_HOLE_START - PAGE, GUESTMEM_HOLE_END,
		GUESTMEM_HOLE_END + 64 * PAGE};
	const uint64_t low = GUESTMEM_HOLE_START / PAGE;
	struct rig r;

	testing_need_kvm();
	/* 3 GiB and 65 pages: the last slot ends inside a word. */
	rig_init(&r, "3145988K", "mem=8");
	assert_int_equal(r.pages, low + 65);
	assert_true(rig_start(&r, DIRTY_BEST));
	sync_log(&r);
	clear_log(&r, 0, r.pages);
	memset(r.map, 0, r.words * 8);
	for (unsigned i = 0; i < 3; i++)
		assert_true(guestmem_write(r.gm, gpa[i], "x", 1));
	sync_log(&r);
	assert_int_equal(dirty_count(&r), 3);
	assert_true(is_dirty(&r, low - 1));
	assert_true(is_dirty(&r, low));
	assert_true(is_dirty(&r, low + 64));
	/* Across both slots, and up to the very end. */
	clear_log(&r, low - 64, 64 + 65);
	rig_fini(&r);
}

/* ---- under a running guest ---- */

/* A copy of RAM kept up to date by the log alone, while the guest writes. */
struct copier {
	struct rig *r;
	uint8_t *copy; /* owned, RAM's size */
	_Atomic bool stop;
	uint64_t rounds, pages;
	pthread_t thread;
};

__attribute__((noinline, no_sanitize("thread"))) static void copy_page(
	struct copier *c, uint64_t page)
{
	const volatile uint64_t *src =
		(const volatile uint64_t *)(c->r->gm->base + page * PAGE);
	uint64_t *dst = (uint64_t *)(c->copy + page * PAGE);

	for (unsigned i = 0; i < PAGE / 8; i++)
		dst[i] = src[i];
}

static void copy_round(struct copier *c)
{
	uint64_t w, bits;

	sync_log(c->r);
	for (w = 0; w < c->r->words; w++) {
		bits = c->r->map[w];
		if (bits == 0)
			continue;
		clear_log(c->r, w * 64,
			w * 64 + 64 > c->r->pages ? c->r->pages - w * 64 : 64);
		c->r->map[w] = 0;
		for (; bits != 0; bits &= bits - 1, c->pages++)
			copy_page(c, w * 64 + (uint64_t)__builtin_ctzll(bits));
	}
	c->rounds++;
}

static void *copier_main(void *arg)
{
	struct copier *c = arg;

	while (!c->stop)
		copy_round(c);
	return NULL;
}

static void a_copy_by_the_log_is_the_guests_memory(void **state)
{
	struct rig r;
	struct copier c;
	uint32_t code;
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < METHODS; i++) {
		rig_init(&r, "64M", "mem=8 smp=2 passes=60 fill=1");
		if (!rig_start(&r, methods[i])) {
			rig_fini(&r);
			continue;
		}
		memset(&c, 0, sizeof(c));
		c.r = &r;
		c.copy = calloc(1, r.gm->size);
		assert_non_null(c.copy);
		memset(r.map, 0xff, r.words * 8);
		if (r.pages % 64)
			r.map[r.words - 1] = (UINT64_C(1) << r.pages % 64) - 1;
		assert_int_equal(
			pthread_create(&c.thread, NULL, copier_main, &c), 0);
		assert_int_equal(vm_run(r.f.vm, &code), VM_END_POWEROFF);
		c.stop = true;
		pthread_join(c.thread, NULL);
		assert_non_null(strstr(
			vm_fixture_text(&r.f), "work: verdict ok passes=120"));
		/* The vCPUs are out: one more round is the last. */
		copy_round(&c);
		assert_memory_equal(c.copy, r.gm->base, r.gm->size);
		/* A second pass happened: some pages were copied again. */
		assert_true(c.pages > r.pages);
		free(c.copy);
		rig_fini(&r);
	}
}

/* A log may follow another, of another kind; the VM does not mind. */
static void logs_may_follow_each_other(void **state)
{
	struct rig r;
	unsigned i;

	testing_need_kvm();
	rig_init(&r, "64M", "mem=8");
	for (i = 0; i < 3 * METHODS; i++) {
		if (!rig_start(&r, methods[i % METHODS]))
			continue;
		sync_log(&r);
		clear_log(&r, 0, r.pages);
		memset(r.map, 0, r.words * 8);
		guestmem_write(r.gm, 5 * PAGE, "x", 1);
		sync_log(&r);
		assert_int_equal(dirty_count(&r), 1);
		dirty_log_stop(r.log);
		r.log = NULL;
		assert_null(r.gm->dirty);
	}
	rig_fini(&r);
}

static void a_vm_that_is_none_is_reported(void **state)
{
	struct rig r;
	struct error err;

	testing_need_kvm();
	rig_init(&r, "64M", "mem=8");
	assert_true(dirty_log_start(0, r.gm, DIRTY_BEST, &r.log, &err) < 0);
	assert_null(r.log);
	assert_non_null(strstr(err.text, "dirty log"));
	assert_null(r.gm->dirty);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_vmms_own_writes_are_found),
		cmocka_unit_test(initially_set_calls_every_page_dirty),
		cmocka_unit_test(bad_ranges_are_refused),
		cmocka_unit_test(both_sides_of_the_hole_are_logged),
		cmocka_unit_test(a_copy_by_the_log_is_the_guests_memory),
		cmocka_unit_test(logs_may_follow_each_other),
		cmocka_unit_test(a_vm_that_is_none_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
