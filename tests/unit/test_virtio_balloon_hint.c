/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_balloon_hint.c - free page hints: the machine of
 * command ids (Q6), and a migration that asks for them by phases (Q7). */
#include "tests/unit/test_balloon_common.h"

#define FIRST_ID 0x80000000u
#define STOP	 VIRTIO_BALLOON_CMD_ID_STOP
#define DONE	 VIRTIO_BALLOON_CMD_ID_DONE

/* What the migration was told. */
static struct {
	unsigned count;
	uint64_t gpa, len; /* the last one */
	uint64_t pages;
} told;

static void note_unused(void *opaque, uint64_t gpa, uint64_t len)
{
	assert_ptr_equal(opaque, &told);
	assert_non_null(guestmem_at(&b.gm, gpa, len));
	assert_int_equal((gpa | len) % 4096, 0);
	told.count++;
	told.gpa = gpa;
	told.len = len;
	told.pages += len / 4096;
}

static const struct migrate_hints hints = {note_unused, &told};

static uint32_t config_id(void)
{
	return vd_read(&b, AT_HINT);
}

/* The guest says @id. */
static void say(uint32_t id)
{
	struct vd_buf buf = {LIST, 4, false};

	*(uint32_t *)vd_at(&b, LIST) = htole32(id);
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	assert_int_equal(vd_wait(&b, HINT), 0);
}

/* It shows [gpa, gpa + len).  Return: were we told? */
static bool show(uint64_t gpa, uint32_t len)
{
	struct vd_buf buf = {gpa, len, true};
	unsigned before = told.count;

	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	assert_int_equal(vd_wait(&b, HINT), 0);
	return told.count > before;
}

static bool show_page(void)
{
	return show(PAGES, 4096);
}

static int hint_setup(void **state)
{
	memset(&told, 0, sizeof(told));
	setup(state);
	start();
	return 0;
}

static int ask(void)
{
	return balloon_hint_start(b.vdev, &hints);
}

/* ---- the machine ---- */

static void hints_count_from_the_echo_of_the_id_to_its_end(void **state)
{
	assert_int_equal(config_id(), STOP);
	assert_false(show_page());
	vd_irqs(&b);
	assert_int_equal(ask(), 0);
	assert_int_equal(config_id(), FIRST_ID);
	assert_int_equal(vd_irqs(&b), 1);
	assert_false(show_page()); /* REQUESTED: not said yet */
	say(FIRST_ID);
	assert_true(show_page());
	assert_int_equal(told.gpa, PAGES);
	assert_int_equal(told.len, 4096);
	assert_true(show(0x500000, 0x200000));
	say(STOP); /* it has no more */
	assert_false(show_page());
	assert_int_equal(config_id(), STOP);
	balloon_hint_done(b.vdev);
	assert_int_equal(config_id(), DONE);
	assert_false(show_page());
	/* Memory is not touched by any of it. */
	fill(PAGES, 4096);
	show_page();
	assert_true(is_filled(PAGES));
}

static void every_segment_of_a_hint_counts_in_whole_pages(void **state)
{
	struct vd_buf buf[5] = {{LIST, 4, false}, {PAGES + 1, 3 * 4096, true},
		{0x500000, 0, true}, {0x510000, 4095, true},
		{0x600000, 8192, true}};

	ask();
	/* The id and blocks in one chain. */
	*(uint32_t *)vd_at(&b, LIST) = htole32(FIRST_ID);
	vd_add(&b, HINT, buf, 5);
	vd_kick(&b, HINT);
	vd_wait(&b, HINT);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.pages, 4);
	assert_int_equal(told.gpa, 0x600000);
}

static void a_stale_stop_does_not_end_a_new_request(void **state)
{
	ask();
	say(FIRST_ID);
	balloon_hint_stop(b.vdev);
	assert_int_equal(config_id(), STOP);
	assert_int_equal(ask(), 0);
	assert_int_equal(config_id(), FIRST_ID + 1);
	/* What the guest had to say of the command before. */
	assert_false(show_page());
	say(STOP);
	say(FIRST_ID);
	assert_false(show_page());
	assert_int_equal(config_id(), FIRST_ID + 1);
	say(FIRST_ID + 1);
	assert_true(show_page());
}

static void no_hint_comes_after_a_stop_though_it_was_queued_before(void **state)
{
	struct vd_buf buf = {PAGES, 4096, true};

	ask();
	say(FIRST_ID);
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	balloon_hint_stop(b.vdev); /* before the loop saw it */
	vd_wait(&b, HINT);
	assert_int_equal(told.count, 0);
	balloon_hint_stop(b.vdev);
	balloon_hint_done(b.vdev);
	balloon_hint_stop(b.vdev);
	assert_int_equal(config_id(), DONE);
}

static void ids_wrap_around_above_the_reserved_ones(void **state)
{
	uint32_t last = 0xfffffffe;
	struct state_writer w;

	/* As if it had been asked two thousand million times. */
	vbench_save(&b, &w);
	{
		struct state_writer again;
		const uint8_t *pos = w.buf;
		struct state_reader r;

		assert_int_equal(state_next(&pos, w.buf + w.len, &r, NULL), 1);
		state_writer_init(&again);
		state_begin(&again, r.name, r.version);
		last = htole32(last);
		state_put_bytes(&again, r.pos, 16 + 23 + 5 * 33 + 16);
		state_put_bytes(&again, &last, 4);
		state_put_bytes(&again, r.pos + 16 + 23 + 5 * 33 + 20, 1);
		state_end(&again);
		assert_int_equal(vbench_load(&b, &again, NULL), 0);
		state_writer_fini(&again);
	}
	state_writer_fini(&w);
	b.dev->ops->resume(b.dev);
	ask();
	assert_int_equal(config_id(), 0xffffffff);
	ask();
	assert_int_equal(config_id(), FIRST_ID);
	ask();
	assert_int_equal(config_id(), FIRST_ID + 1);
}

static void a_guest_that_never_answers_costs_nothing(void **state)
{
	ask();
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
	balloon_hint_stop(b.vdev);
	ask();
	balloon_hint_done(b.vdev);
	vd_settle(&b);
	assert_false(loop_poll(b.loop, false));
	assert_int_equal(config_id(), DONE);
}

static void only_an_id_that_was_asked_for_starts_hints(void **state)
{
	static const uint32_t ids[] = {0, 1, 2, 0x7fffffff, FIRST_ID + 1,
		0xffffffff, 0x00000080 /* the other byte order */};
	unsigned i;

	say(FIRST_ID);
	assert_false(show_page());
	ask();
	for (i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		say(ids[i]);
		assert_false(show_page());
		assert_int_equal(config_id(), FIRST_ID);
	}
	say(FIRST_ID);
	say(FIRST_ID); /* twice is not nice, and does no harm */
	assert_true(show_page());
	say(FIRST_ID + 7); /* anything else ends it */
	assert_false(show_page());
	say(FIRST_ID); /* and the same id does not begin it again */
	assert_false(show_page());
}

/* The list and the descriptors are the guest's to change: after an answer, and
 * after a malformed chain, everything goes on. */
static void malformed_chains_in_the_midst_of_hints_change_nothing(void **state)
{
	struct vd_buf bad[3] = {{VBENCH_RAM, 4096, true},
		{VBENCH_RAM - 4096, 8192, true}, {~4095ull, 4096, true}};
	struct vd_buf half[2] = {{PAGES, 4096, true}, {VBENCH_RAM, 4, true}};
	unsigned i;

	ask();
	say(FIRST_ID);
	for (i = 0; i < 3; i++) {
		vd_add(&b, HINT, &bad[i], 1);
		vd_kick(&b, HINT);
		assert_int_equal(vd_wait(&b, HINT), 0);
	}
	vd_add(&b, HINT, half, 2);
	vd_kick(&b, HINT);
	assert_int_equal(vd_wait(&b, HINT), 0);
	assert_int_equal(told.count, 0);
	assert_true(show_page());
	balloon_hint_stop(b.vdev);
	assert_int_equal(ask(), 0);
}

/* ---- who may not have any ---- */

static void start_poisoned(uint64_t features, uint32_t poison)
{
	unsigned q;

	b.next_gpa = 0x1000;
	vd_negotiate(&b, features | BIT(VIRTIO_F_VERSION_1));
	vd_write(&b, AT_POISON, poison);
	for (q = 0; q < 5; q++)
		vd_queue(&b, q, 16);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0xf);
}

static void poisoned_pages_are_never_hinted(void **state)
{
	start_poisoned(ALL, 0xaa);
	assert_int_equal(ask(), -EOPNOTSUPP);
	assert_int_equal(config_id(), STOP);
	say(FIRST_ID);
	assert_false(show_page());
	/* Zero is what they become anyway. */
	start_poisoned(ALL, 0);
	assert_int_equal(ask(), 0);
	/* A value without the feature is none: it depends on this one, and
	 * not on reporting or hinting. */
	start_poisoned(NO_POISON, 0xaa);
	assert_int_equal(ask(), 0);
	start_poisoned(ALL & ~BIT(VIRTIO_BALLOON_F_REPORTING), 0xaa);
	assert_int_equal(ask(), -EOPNOTSUPP);
}

static void without_driver_or_feature_there_are_none(void **state)
{
	start_with(NO_POISON & ~BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT));
	assert_int_equal(ask(), -EOPNOTSUPP);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(ask(), -EOPNOTSUPP);
	balloon_hint_stop(b.vdev);
	balloon_hint_done(b.vdev);
	assert_int_equal(config_id(), STOP);
}

/* ---- the ends of things ---- */

static void a_reset_in_the_midst_of_hints_ends_them(void **state)
{
	struct vd_buf buf = {PAGES, 4096, true};

	ask();
	say(FIRST_ID);
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	vd_settle(&b);
	assert_int_equal(told.count, 0);
	assert_int_equal(config_id(), STOP);
	/* The migration does not know; the next driver is not bothered. */
	balloon_hint_stop(b.vdev);
	balloon_hint_done(b.vdev);
	start();
	assert_int_equal(config_id(), STOP);
	say(FIRST_ID);
	assert_false(show_page());
	assert_int_equal(ask(), 0);
	assert_int_equal(config_id(), FIRST_ID + 1);
}

static void an_unplug_in_the_midst_of_hints_ends_them(void **state)
{
	struct migrate_phase_info info = {
		.phase = MIGRATE_AFTER_SYNC, .hints = &hints};
	struct vd_buf buf = {PAGES, 4096, true};

	migrate_publish(&phases, &info);
	say(FIRST_ID);
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	vbench_unplug(&b);
	vd_settle(&b);
	assert_int_equal(told.count, 0);
	assert_null(phases.first);
	info.phase = MIGRATE_BEFORE_SYNC;
	migrate_publish(&phases, &info); /* to nobody */
}

static void a_vm_stopped_in_the_midst_of_hints_gives_none(void **state)
{
	struct vd_buf buf = {PAGES, 4096, true};

	ask();
	say(FIRST_ID);
	b.dev->ops->quiesce(b.dev);
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	vd_settle(&b);
	assert_int_equal(told.count, 0);
	assert_int_equal(ask(), -EBUSY);
	balloon_hint_stop(b.vdev); /* the sync of a stopped guest */
	b.dev->ops->resume(b.dev);
	vd_wait(&b, HINT);
	assert_int_equal(told.count, 0);
	assert_int_equal(config_id(), STOP);
	/* A mere pause changes nothing. */
	ask();
	say(FIRST_ID + 1);
	b.dev->ops->quiesce(b.dev);
	b.dev->ops->resume(b.dev);
	assert_true(show_page());
}

/* ---- a migration ---- */

/* It sends what is dirty and not hinted, as Q6 wants it: hints end before the
 * log is read. */
struct fake_migration {
	uint64_t dirty[VBENCH_RAM / 4096 / 64];
	struct migrate_hints hints;
};

static void drop_page(void *opaque, uint64_t gpa, uint64_t len)
{
	struct fake_migration *m = opaque;

	for (; len > 0; gpa += 4096, len -= 4096)
		m->dirty[gpa / 4096 / 64] &= ~BIT(gpa / 4096 % 64);
}

static void publish(struct fake_migration *m, enum migrate_step phase)
{
	struct migrate_phase_info info = {.phase = phase,
		.hints = phase == MIGRATE_AFTER_SYNC ? &m->hints : NULL};

	migrate_publish(&phases, &info);
}

static void sync_log(struct fake_migration *m)
{
	publish(m, MIGRATE_BEFORE_SYNC);
	guestmem_dirty_fetch(&b.gm, m->dirty);
	publish(m, MIGRATE_AFTER_SYNC);
}

static bool is_dirty(const struct fake_migration *m, uint64_t gpa)
{
	return m->dirty[gpa / 4096 / 64] >> (gpa / 4096 % 64) & 1;
}

static void begin(struct fake_migration *m)
{
	m->hints = (struct migrate_hints){drop_page, m};
	memset(m->dirty, 0xff, sizeof(m->dirty));
	assert_int_equal(guestmem_dirty_log_start(&b.gm), 0);
	publish(m, MIGRATE_SETUP);
	assert_true(config_id() < FIRST_ID); /* it begins after the sync */
	sync_log(m);
}

static void a_migration_skips_hinted_pages_until_they_are_written(void **state)
{
	struct fake_migration m = {.dirty = {0}};
	struct vd_buf late = {0x402000, 4096, true};

	begin(&m);
	assert_int_equal(config_id(), FIRST_ID);
	say(FIRST_ID);
	show(PAGES, 2 * 4096);
	assert_false(is_dirty(&m, PAGES) || is_dirty(&m, PAGES + 4096));
	assert_true(is_dirty(&m, PAGES + 2 * 4096));
	/* Used again before the next sync. */
	guestmem_mark_dirty(&b.gm, PAGES, 1);
	/* Just before the log is read: no more. */
	publish(&m, MIGRATE_BEFORE_SYNC);
	assert_int_equal(config_id(), STOP);
	show(0x403000, 4096);
	assert_true(is_dirty(&m, 0x403000));
	publish(&m, MIGRATE_AFTER_SYNC);
	say(FIRST_ID + 1);
	/* A hint on its way while the log is read is too late for it. */
	guestmem_mark_dirty(&b.gm, 0x402000, 1);
	vd_add(&b, HINT, &late, 1);
	vd_kick(&b, HINT);
	sync_log(&m);
	vd_wait(&b, HINT);
	assert_true(is_dirty(&m, PAGES));
	assert_false(is_dirty(&m, PAGES + 4096));
	assert_true(is_dirty(&m, 0x402000));
	assert_int_equal(config_id(), FIRST_ID + 2);
	say(FIRST_ID + 2);
	show(0x402000, 4096);
	assert_false(is_dirty(&m, 0x402000));
	publish(&m, MIGRATE_COMPLETE);
	assert_int_equal(config_id(), STOP);
	memset(m.dirty, 0xff, sizeof(m.dirty));
	show(PAGES, 4096);
	assert_true(is_dirty(&m, PAGES));
	publish(&m, MIGRATE_CLEANUP);
	assert_int_equal(config_id(), DONE);
	guestmem_dirty_log_stop(&b.gm);
}

static bool has_hints(void)
{
	bool has = false;
	struct migrate_phase_info info = {
		.phase = MIGRATE_SETUP, .ret_hints = &has};

	migrate_publish(&phases, &info);
	assert_int_equal(config_id(), STOP); /* nothing is asked for yet */
	return has;
}

static void a_migration_is_told_who_would_give_hints(void **state)
{
	assert_true(has_hints());
	b.dev->ops->quiesce(b.dev);
	assert_false(has_hints());
	b.dev->ops->resume(b.dev);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	vd_settle(&b);
	assert_false(has_hints());
}

static void a_migration_given_up_gives_the_guest_its_pages(void **state)
{
	struct fake_migration m = {.dirty = {0}};

	begin(&m);
	say(FIRST_ID);
	vd_irqs(&b);
	publish(&m, MIGRATE_CLEANUP);
	assert_int_equal(config_id(), DONE);
	assert_int_equal(vd_irqs(&b), 1);
	/* And the next one begins anew. */
	begin(&m);
	assert_int_equal(config_id(), FIRST_ID + 1);
	publish(&m, MIGRATE_CLEANUP);
	guestmem_dirty_log_stop(&b.gm);
}

static void without_the_option_a_migration_is_not_watched(void **state)
{
	struct balloon_options opt = everything();

	opt.hinting = false;
	plug_with(&opt);
	assert_null(phases.first);
}

/* ---- the list ---- */

static char order[8];

static void add_letter(void *opaque, const struct migrate_phase_info *info)
{
	strcat(order, opaque);
}

static void remove_itself(void *opaque, const struct migrate_phase_info *info)
{
	strcat(order, "x");
	migrate_watch_remove(&phases, opaque);
}

static void watchers_are_told_in_order_and_may_leave_when_told(void **state)
{
	struct migrate_phase_info info = {.phase = MIGRATE_SETUP};
	struct migrate_watch a = {add_letter, (char[]){"a"}, NULL}, x, c;

	x = (struct migrate_watch){remove_itself, &x, NULL};
	c = (struct migrate_watch){add_letter, (char[]){"c"}, NULL};
	migrate_watch_add(&phases, &a);
	migrate_watch_add(&phases, &x);
	migrate_watch_add(&phases, &c);
	migrate_publish(&phases, &info);
	migrate_publish(&phases, &info);
	assert_string_equal(order, "axcac");
	migrate_watch_remove(&phases, &c);
	migrate_watch_remove(&phases, &c); /* it is not there: harmless */
	migrate_watch_remove(&phases, &a);
}

#define T(f) cmocka_unit_test_setup_teardown(f, hint_setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(hints_count_from_the_echo_of_the_id_to_its_end),
		T(every_segment_of_a_hint_counts_in_whole_pages),
		T(a_stale_stop_does_not_end_a_new_request),
		T(no_hint_comes_after_a_stop_though_it_was_queued_before),
		T(ids_wrap_around_above_the_reserved_ones),
		T(a_guest_that_never_answers_costs_nothing),
		T(only_an_id_that_was_asked_for_starts_hints),
		T(malformed_chains_in_the_midst_of_hints_change_nothing),
		T(poisoned_pages_are_never_hinted),
		T(without_driver_or_feature_there_are_none),
		T(a_reset_in_the_midst_of_hints_ends_them),
		T(an_unplug_in_the_midst_of_hints_ends_them),
		T(a_vm_stopped_in_the_midst_of_hints_gives_none),
		T(a_migration_skips_hinted_pages_until_they_are_written),
		T(a_migration_is_told_who_would_give_hints),
		T(a_migration_given_up_gives_the_guest_its_pages),
		T(without_the_option_a_migration_is_not_watched),
		T(watchers_are_told_in_order_and_may_leave_when_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
