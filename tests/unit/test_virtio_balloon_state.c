/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_balloon_state.c - a balloon that moves (Q3). */
#include "tests/unit/device_test.h"

#include "tests/unit/test_balloon_common.h"

/* Offsets in the body: the transport's 16 bytes, the core's 23, and 33 for each
 * of 5 queues. */
enum {
	AT_BODY = 16 + 23 + 5 * 33,
	B_TARGET = AT_BODY,
	B_ACTUAL = AT_BODY + 4,
	B_POISON = AT_BODY + 8,
	B_HINT = AT_BODY + 12,
	B_HINT_ID = AT_BODY + 16,
	B_OWED = AT_BODY + 20,
	B_END = AT_BODY + 21,
};

static unsigned unused;

static void note_unused(void *opaque, uint64_t gpa, uint64_t len)
{
	unused++;
}

static const struct migrate_hints hints = {note_unused, NULL};

static void say(uint32_t id)
{
	struct vd_buf buf = {LIST, 4, false};

	*(uint32_t *)vd_at(&b, LIST) = htole32(id);
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	vd_wait(&b, HINT);
}

static void offer_figures(void)
{
	struct vd_buf buf = {LIST + 64, 10, false};

	memset(vd_at(&b, LIST + 64), 0, 10);
	vd_add(&b, STATS, &buf, 1);
	vd_kick(&b, STATS);
	vd_settle(&b);
}

/* A driver in the middle of its life. */
static void use(void)
{
	struct error err;

	start();
	assert_int_equal(virtio_balloon_set(b.vdev, 1 << 20, &err), 0);
	give_range(INFLATE, PAGES, 16 * 4096);
	vd_write(&b, AT_ACTUAL, 16);
	assert_int_equal(balloon_hint_start(b.vdev, &hints), 0);
	say(0x80000000);
	offer_figures();
}

/* Save, plug fresh hardware, load; not resumed. */
static struct bytes move(void)
{
	struct bytes first;

	b.dev->ops->quiesce(b.dev);
	first = saved(b.dev);
	plug_all();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &first), 0);
	assert_saves_as(b.dev, &first);
	return first;
}

static void resume(void)
{
	b.dev->ops->resume(b.dev);
	vd_settle(&b);
}

static void everything_survives_a_move(void **state)
{
	struct balloon_stats s;
	struct bytes first;

	use();
	first = move();
	assert_int_equal(vd_read(&b, AT_TARGET), 256);
	assert_int_equal(vd_read(&b, AT_ACTUAL), 16);
	resume();
	/* The buffer of statistics is kept here now. */
	virtio_balloon_stats(b.vdev, &s);
	assert_int_equal(s.updates, 1);
	assert_int_equal(s.valid, BIT(VIRTIO_BALLOON_S_SWAP_IN));
	assert_int_equal(virtio_balloon_ask_stats(b.vdev), 0);
	vd_wait(&b, STATS);
	fill(PAGES, 4096);
	give_range(INFLATE, PAGES, 4096);
	assert_int_equal(resident(PAGES, 4096), 0);
	give_range(DEFLATE, PAGES, 4096);
	free(first.p);
}

static void a_guest_moved_in_the_midst_of_hints_gets_its_pages(void **state)
{
	struct vd_buf buf = {PAGES, 4096, true};
	struct bytes first;

	use();
	first = move();
	assert_int_equal(vd_read(&b, AT_HINT), 0x80000000);
	vd_irqs(&b);
	resume();
	assert_int_equal(vd_read(&b, AT_HINT), VIRTIO_BALLOON_CMD_ID_DONE);
	assert_true(vd_irqs(&b) > 0);
	assert_true(vd_read(&b, VIRTIO_MMIO_INTERRUPT_STATUS) &
		    VIRTIO_MMIO_INT_CONFIG);
	unused = 0;
	vd_add(&b, HINT, &buf, 1);
	vd_kick(&b, HINT);
	vd_wait(&b, HINT);
	say(0x80000000);
	assert_int_equal(unused, 0);
	/* The ids go on where the old host ended. */
	assert_int_equal(balloon_hint_start(b.vdev, &hints), 0);
	assert_int_equal(vd_read(&b, AT_HINT), 0x80000001);
	free(first.p);
}

static void a_move_after_the_hints_does_not_begin_them_again(void **state)
{
	struct bytes first;

	use();
	balloon_hint_stop(b.vdev);
	first = move();
	resume();
	assert_int_equal(vd_read(&b, AT_HINT), VIRTIO_BALLOON_CMD_ID_DONE);
	free(first.p);
	vd_irqs(&b);
	first = move();
	assert_int_equal(vd_read(&b, AT_HINT), VIRTIO_BALLOON_CMD_ID_DONE);
	resume();
	assert_false(vd_read(&b, VIRTIO_MMIO_INTERRUPT_STATUS) &
			     VIRTIO_MMIO_INT_CONFIG &&
		     vd_read(&b, AT_HINT) != VIRTIO_BALLOON_CMD_ID_DONE);
	free(first.p);
}

static void a_list_half_done_goes_on_at_the_other_end(void **state)
{
	struct vd_buf buf[8];
	uint32_t *list = vd_at(&b, LIST);
	struct bytes first;
	unsigned i;

	start();
	fill(PAGES, PAGES_END - PAGES);
	for (i = 0; i < 1024; i++)
		list[i] = htole32(PFN(PAGES)); /* but the last one: */
	for (i = 0; i < 8; i++)
		buf[i] = (struct vd_buf){LIST, 4096, false};
	buf[7].gpa = LIST + 4096;
	for (i = 0; i < 1024; i++)
		list[1024 + i] = htole32(PFN(PAGES) + i);
	vd_add(&b, INFLATE, buf, 8);
	vd_kick(&b, INFLATE);
	while (info().returned_bytes == 0)
		loop_poll(b.loop, false);
	assert_int_equal(vd_used(&b, INFLATE), 0);
	first = move();
	assert_true(first.len > 0);
	assert_non_null(memmem(first.p, first.len, "done", 4));
	assert_int_equal(resident(PAGES, PAGES_END - PAGES), 1023);
	/* What is done is not done again. */
	fill(PAGES, 4096);
	for (i = 0; i < 1024; i++)
		list[i] = htole32(PFN(PAGES) + 1);
	list[1024] = htole32(PFN(PAGES) + 1);
	resume();
	vd_wait(&b, INFLATE);
	assert_int_equal(resident(PAGES, PAGES_END - PAGES), 1);
	assert_true(is_filled(PAGES));
	free(first.p);
}

static void the_golden_stream_is_still_written_and_read(void **state)
{
	struct bytes now, file;

	use();
	b.dev->ops->quiesce(b.dev);
	now = saved(b.dev);
	file = golden("virtio-balloon-v1", &now);
	assert_same_bytes(&now, &file);
	plug_all();
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(load_bytes(b.dev, &file), 0);
	assert_saves_as(b.dev, &file);
	resume();
	give_range(INFLATE, PAGES, 4096);
	free(now.p);
	free(file.p);
}

static void a_fresh_device_survives_too(void **state)
{
	struct bytes first;

	first = move();
	resume();
	use();
	free(first.p);
}

static void streams_that_are_wrong_are_refused_and_change_nothing(void **state)
{
	static const struct {
		unsigned off;
		uint32_t value;
		const char *name;
	} table[] = {
		{B_TARGET, VBENCH_RAM / 4096 + 1, "a target over RAM"},
		{B_TARGET, 0xffffffff, "a target over everything"},
		{B_HINT, 2, "a reserved command"},
		{B_HINT, 0x7fffffff, "a command below the ids"},
		{B_HINT, 0x80000001, "a command never given"},
		{B_HINT, 0xffffffff, "the last command, never given"},
		{B_HINT, 1, "done, and owed"},
		{B_HINT_ID, 0, "no id, but a command"},
		{B_HINT_ID, 1, "a reserved id"},
		{B_HINT_ID, 0x7fffffff, "an id below the ids"},
		{B_HINT_ID, 0x80000001, "another id than the command"},
	};
	struct bytes good, was;
	uint32_t value;
	unsigned i;

	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	plug_all();
	b.dev->ops->quiesce(b.dev);
	was = saved(b.dev);
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		value = htole32(table[i].value);
		if (load_patched(b.dev, &good, table[i].off, &value, 4) !=
			-EPROTO)
			fail_msg("%s: not refused", table[i].name);
		assert_saves_as(b.dev, &was);
	}
	assert_true(load_with_byte(b.dev, &good, B_OWED, 2) < 0);
	assert_true(load_with_byte(b.dev, &good, B_OWED, 0) < 0);
	/* What the guest may write anyway is not judged. */
	value = 0xffffffff;
	assert_int_equal(load_patched(b.dev, &good, B_ACTUAL, &value, 4), 0);
	assert_int_equal(load_patched(b.dev, &good, B_POISON, &value, 4), 0);
	resume();
	free(good.p);
	free(was.p);
}

static void cut_streams_are_refused(void **state)
{
	struct bytes good;

	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	plug_all();
	b.dev->ops->quiesce(b.dev);
	assert_refuses_wrong_lengths(b.dev, &good);
	free(good.p);
}

/* A section with the subsection "done" of @version and @n numbers. */
static int load_done(const struct bytes *good, uint32_t version,
	const uint64_t *done, unsigned n)
{
	const uint8_t *pos = good->p;
	struct state_reader r;
	struct state_writer w;
	unsigned i;
	int rc;

	assert_int_equal(state_next(&pos, good->p + good->len, &r, NULL), 1);
	state_writer_init(&w);
	state_begin(&w, r.name, r.version);
	state_put_bytes(&w, r.pos, B_END);
	state_sub_begin(&w, "done", version);
	for (i = 0; i < n; i++)
		state_put_u64(&w, done[i]);
	state_sub_end(&w);
	state_end(&w);
	rc = load_bytes(b.dev, &(struct bytes){w.buf, w.len});
	state_writer_fini(&w);
	return rc;
}

static void what_is_done_of_a_list_is_checked_and_harmless(void **state)
{
	static const uint64_t odd[3] = {2, 0, 0}, odd2[3] = {0, 5, 0};
	static const uint64_t far[3] = {~3ull, ~3ull, ~0ull};
	struct vd_buf range = {PAGES, 4096, true};
	struct bytes good;

	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	assert_true(load_done(&good, 1, odd, 3) < 0);
	assert_true(load_done(&good, 1, odd2, 3) < 0);
	assert_true(load_done(&good, 2, far, 3) < 0);
	assert_true(load_done(&good, 1, far, 2) < 0);
	/* Past the end of whatever list comes: it counts as done. */
	assert_int_equal(load_done(&good, 1, far, 3), 0);
	resume();
	fill(PAGES, 4096);
	give_range(INFLATE, PAGES, 4096);
	assert_true(is_filled(PAGES));
	give_range(DEFLATE, PAGES, 4096);
	vd_add(&b, REPORT, &range, 1);
	vd_kick(&b, REPORT);
	vd_wait(&b, REPORT);
	assert_true(is_filled(PAGES));
	give_range(INFLATE, PAGES, 4096);
	assert_int_equal(resident(PAGES, 4096), 0);
	free(good.p);
}

/* Every byte of the device's part, changed: refused or taken, never worse. */
static void any_byte_may_be_wrong(void **state)
{
	struct bytes good;
	unsigned off, bit;

	use();
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	for (off = 0; off < B_END; off++)
		for (bit = 0; bit < 8; bit++) {
			load_with_byte(b.dev, &good, off, (uint8_t)(1 << bit));
			resume();
			b.dev->ops->quiesce(b.dev);
		}
	assert_int_equal(load_bytes(b.dev, &good), 0);
	resume();
	give_range(DEFLATE, PAGES, 4096);
	free(good.p);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(everything_survives_a_move),
		T(a_guest_moved_in_the_midst_of_hints_gets_its_pages),
		T(a_move_after_the_hints_does_not_begin_them_again),
		T(a_list_half_done_goes_on_at_the_other_end),
		T(the_golden_stream_is_still_written_and_read),
		T(a_fresh_device_survives_too),
		T(streams_that_are_wrong_are_refused_and_change_nothing),
		T(cut_streams_are_refused),
		T(what_is_done_of_a_list_is_checked_and_harmless),
		T(any_byte_may_be_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
