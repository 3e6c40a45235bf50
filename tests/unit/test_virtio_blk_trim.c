/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_virtio_blk_trim.c - discards and zeroes, the cache mode that
 * the driver chooses, and a disk that changes its size.
 */
#include "tests/unit/blk_bed.h"

#include <stddef.h>
#include <sys/stat.h>

#include "migrate/state.h"
#include "virtio/blk_private.h"

#define CONFIG(field)                                                          \
	(VIRTIO_MMIO_CONFIG + offsetof(struct virtio_blk_config, field))
#define SEG struct virtio_blk_discard_write_zeroes

static uint64_t config(uint64_t off, unsigned len)
{
	return b.range.ops->read(b.range.opaque, off, len);
}

static bool offered(unsigned bit)
{
	return vd_features(&b) >> bit & 1;
}

static void replug(struct virtio_blk_options opt, struct disk_options disk)
{
	vbench_unplug(&b);
	b.next_gpa = 0x1000;
	plug_with(opt, disk);
}

static void fill_image(uint8_t value)
{
	static uint8_t buf[SECTORS * 512];

	memset(buf, value, sizeof(buf));
	assert_int_equal(pwrite(image, buf, sizeof(buf), 0), sizeof(buf));
}

/* Sectors [from, to) are 0, the others @value. */
static void assert_image(uint8_t value, unsigned from, unsigned to)
{
	static uint8_t buf[SECTORS * 512];
	unsigned i;

	assert_int_equal(pread(image, buf, sizeof(buf), 0), sizeof(buf));
	for (i = 0; i < sizeof(buf); i++)
		if (buf[i] != (i / 512 >= from && i / 512 < to ? 0 : value))
			fail_msg("sector %u: %u", i / 512, buf[i]);
}

static uint8_t ask_trim(uint32_t type, const SEG *seg, unsigned bytes)
{
	memcpy(vd_at(&b, DATA), seg, bytes);
	return ask(type, 0, DATA, bytes);
}

/* ---- what is offered ---- */

static void limits_are_told_with_what_is_offered(void **state)
{
	assert_true(offered(VIRTIO_BLK_F_WRITE_ZEROES));
	assert_true(config(CONFIG(max_write_zeroes_sectors), 4) > 0);
	assert_int_equal(config(CONFIG(max_write_zeroes_seg), 4), 1);
	assert_int_equal(config(CONFIG(write_zeroes_may_unmap), 1),
		offered(VIRTIO_BLK_F_DISCARD));
	if (offered(VIRTIO_BLK_F_DISCARD)) {
		assert_true(config(CONFIG(max_discard_sectors), 4) > 0);
		assert_int_equal(config(CONFIG(max_discard_seg), 4), 16);
		assert_int_equal(
			config(CONFIG(discard_sector_alignment), 4), 1);
	}
	replug((struct virtio_blk_options){.no_discard = true},
		(struct disk_options){0});
	assert_false(offered(VIRTIO_BLK_F_DISCARD));
	assert_int_equal(config(CONFIG(max_discard_sectors), 4), 0);
	assert_int_equal(config(CONFIG(write_zeroes_may_unmap), 1), 0);
	replug((struct virtio_blk_options){.readonly = true},
		(struct disk_options){0});
	assert_false(offered(VIRTIO_BLK_F_DISCARD));
	assert_false(offered(VIRTIO_BLK_F_WRITE_ZEROES));
}

static void what_was_not_offered_is_unsupported(void **state)
{
	SEG seg = {.sector = 0, .num_sectors = 8};

	fill_image(1);
	replug((struct virtio_blk_options){.no_discard = true},
		(struct disk_options){0});
	vd_start(&b, 0, 1, 128);
	assert_int_equal(ask_trim(VIRTIO_BLK_T_DISCARD, &seg, sizeof(seg)),
		VIRTIO_BLK_S_UNSUPP);
	replug((struct virtio_blk_options){.readonly = true},
		(struct disk_options){0});
	vd_start(&b, 0, 1, 128);
	assert_int_equal(ask_trim(VIRTIO_BLK_T_WRITE_ZEROES, &seg, sizeof(seg)),
		VIRTIO_BLK_S_UNSUPP);
	assert_image(1, 0, 0);
}

/* ---- requests ---- */

static void a_discard_makes_the_image_smaller(void **state)
{
	SEG seg[16] = {{.sector = 0}};
	struct stat st;
	unsigned i;

	if (!offered(VIRTIO_BLK_F_DISCARD)) {
		print_message("# skip: no holes in the files of /tmp\n");
		skip();
	}
	fill_image(7);
	fsync(image);
	for (i = 0; i < 16; i++) {
		seg[i].sector = 256 + 64 * i;
		seg[i].num_sectors = 64;
	}
	vd_start(&b, 0, 1, 128);
	assert_int_equal(ask_trim(VIRTIO_BLK_T_DISCARD, seg, sizeof(seg)), 0);
	assert_image(7, 256, 256 + 16 * 64);
	assert_int_equal(fstat(image, &st), 0);
	assert_true(st.st_blocks < 1500);
}

static void zeroes_are_written_with_and_without_unmap(void **state)
{
	SEG seg = {.sector = 3, .num_sectors = 2000};
	unsigned unmap;

	vd_start(&b, 0, 1, 128);
	for (unmap = 0; unmap < 2; unmap++) {
		fill_image(9);
		seg.flags = unmap;
		assert_int_equal(
			ask_trim(VIRTIO_BLK_T_WRITE_ZEROES, &seg, sizeof(seg)),
			0);
		assert_image(9, 3, 2003);
	}
}

static void segments_that_lie_change_nothing(void **state)
{
	static const struct {
		uint32_t type;
		SEG seg[2];
		unsigned bytes;
		uint8_t status;
	} bad[] = {
		{VIRTIO_BLK_T_DISCARD, {{0, 0, 0}}, 16, 1},
		{VIRTIO_BLK_T_DISCARD, {{SECTORS, 1, 0}}, 16, 1},
		{VIRTIO_BLK_T_DISCARD, {{SECTORS - 1, 2, 0}}, 16, 1},
		{VIRTIO_BLK_T_DISCARD, {{UINT64_MAX, 2, 0}}, 16, 1},
		{VIRTIO_BLK_T_DISCARD, {{UINT64_MAX / 512 + 1, 1, 0}}, 16, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, UINT32_MAX, 0}}, 16, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 1}}, 16, 2},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 2}}, 16, 2},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}, {SECTORS, 1, 0}}, 32, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}, {8, 1, 4}}, 32, 2},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}, 15, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}, 17, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}, 0, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}, 272, 1},
		{VIRTIO_BLK_T_DISCARD, {{0, 8, 0}}, 1 << 20, 1},
		{VIRTIO_BLK_T_WRITE_ZEROES, {{0, 0, 0}}, 16, 1},
		{VIRTIO_BLK_T_WRITE_ZEROES, {{SECTORS - 1, 2, 0}}, 16, 1},
		{VIRTIO_BLK_T_WRITE_ZEROES, {{UINT64_MAX, 1, 1}}, 16, 1},
		{VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 2}}, 16, 2},
		{VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}, {8, 8, 0}}, 32, 1},
		{VIRTIO_BLK_T_WRITE_ZEROES, {{0, 8, 0}}, 8, 1},
	};
	unsigned i;

	if (!offered(VIRTIO_BLK_F_DISCARD))
		skip();
	fill_image(3);
	vd_start(&b, 0, 1, 128);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memcpy(vd_at(&b, DATA), bad[i].seg, sizeof(bad[i].seg));
		assert_int_equal(
			ask(bad[i].type, 0, DATA, bad[i].bytes), bad[i].status);
	}
	assert_image(3, 0, 0);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf);
}

static void more_sectors_than_a_segment_may_have_are_refused(void **state)
{
	SEG seg = {.num_sectors = BLK_ZERO_SECTORS + 1};

	assert_int_equal(ftruncate(image, 4ll << 30), 0);
	replug((struct virtio_blk_options){0}, (struct disk_options){0});
	vd_start(&b, 0, 1, 128);
	assert_int_equal(
		ask_trim(VIRTIO_BLK_T_WRITE_ZEROES, &seg, sizeof(seg)), 1);
	seg.num_sectors--;
	assert_int_equal(
		ask_trim(VIRTIO_BLK_T_WRITE_ZEROES, &seg, sizeof(seg)), 0);
	seg.num_sectors = BLK_DISCARD_SECTORS + 1;
	assert_int_equal(ask_trim(VIRTIO_BLK_T_DISCARD, &seg, sizeof(seg)), 1);
	seg.num_sectors--;
	assert_int_equal(ask_trim(VIRTIO_BLK_T_DISCARD, &seg, sizeof(seg)), 0);
}

static void a_reset_in_the_middle_of_a_discard_ends_it(void **state)
{
	SEG seg[16] = {{.sector = 0}};
	unsigned i, round;
	struct asked a;

	for (i = 0; i < 16; i++)
		seg[i].num_sectors = SECTORS;
	for (round = 0; round < 20; round++) {
		b.next_gpa = 0x1000;
		vd_start(&b, 0, 1, 128);
		memcpy(vd_at(&b, DATA), seg, sizeof(seg));
		a = offer(VIRTIO_BLK_T_DISCARD, 0, DATA, sizeof(seg));
		vd_kick(&b, 0);
		while (b.vdev->inflight == 0 && vd_used(&b, 0) == 0)
			loop_poll(b.loop, true);
		if (vd_used(&b, 0) == 0)
			*(uint8_t *)vd_at(&b, a.status) = 0xee;
		vd_write(&b, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(b.vdev->inflight, 0);
	}
	b.next_gpa = 0x1000;
	vd_start(&b, 0, 1, 128);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), 0);
}

/* ---- cache mode ---- */

static bool writethrough(void)
{
	return blk_writethrough((struct blk *)b.vdev);
}

static void write_wce(uint32_t value)
{
	b.range.ops->write(b.range.opaque, CONFIG(wce), 1, value);
}

static void the_driver_chooses_the_cache_mode(void **state)
{
	assert_true(offered(VIRTIO_BLK_F_CONFIG_WCE));
	assert_int_equal(config(CONFIG(wce), 1), 1);
	vd_start(&b,
		1ull << VIRTIO_BLK_F_CONFIG_WCE | 1ull << VIRTIO_BLK_F_FLUSH, 1,
		128);
	assert_false(writethrough());
	write_wce(0);
	assert_int_equal(config(CONFIG(wce), 1), 0);
	assert_true(writethrough());
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 4096), 0);
	write_wce(0xff);
	assert_int_equal(config(CONFIG(wce), 1), 1);
	assert_false(writethrough());
	/* Nothing else of it may be written. */
	write_wce(0);
	b.range.ops->write(b.range.opaque, VIRTIO_MMIO_CONFIG, 4, 0);
	b.range.ops->write(b.range.opaque, CONFIG(wce), 2, 1);
	b.range.ops->write(b.range.opaque, CONFIG(wce), 4, 1);
	assert_int_equal(config(VIRTIO_MMIO_CONFIG, 4), SECTORS);
	assert_int_equal(config(CONFIG(wce), 1), 0);
	vd_write(&b, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(config(CONFIG(wce), 1), 1); /* the default again */
}

static void who_does_not_choose_gets_what_it_expects(void **state)
{
	vd_start(&b, 0, 1, 128); /* cannot flush */
	assert_true(writethrough());
	write_wce(0);
	assert_int_equal(config(CONFIG(wce), 1), 1);
	b.next_gpa = 0x1000;
	vd_start(&b, 1ull << VIRTIO_BLK_F_FLUSH, 1, 128);
	assert_false(writethrough());
	replug((struct virtio_blk_options){0},
		(struct disk_options){.cache = DISK_WRITETHROUGH});
	assert_int_equal(config(CONFIG(wce), 1), 0);
	vd_start(&b, 1ull << VIRTIO_BLK_F_FLUSH, 1, 128);
	assert_true(writethrough());
	b.next_gpa = 0x1000;
	vd_start(&b, 1ull << VIRTIO_BLK_F_CONFIG_WCE, 1, 128);
	assert_true(writethrough());
	write_wce(1);
	assert_false(writethrough());
}

static void the_cache_mode_moves_with_the_driver(void **state)
{
	struct disk_options modes[] = {
		{.cache = DISK_WRITEBACK}, {.cache = DISK_WRITETHROUGH}};
	struct state_writer first, second;
	struct error err = {0};
	unsigned i, k, wce;

	for (i = 0; i < 8; i++) {
		wce = i & 1;
		k = i >> 1 & 1;
		replug((struct virtio_blk_options){0}, modes[i >> 2]);
		vd_start(&b, 1ull << VIRTIO_BLK_F_CONFIG_WCE, 1, 128);
		write_wce(wce);
		vbench_save(&b, &first);
		replug((struct virtio_blk_options){0}, modes[k]);
		if (vbench_load(&b, &first, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(config(CONFIG(wce), 1), wce);
		assert_int_equal(writethrough(), !wce);
		vbench_save(&b, &second);
		assert_int_equal(second.len, first.len);
		assert_memory_equal(second.buf, first.buf, first.len);
		state_writer_fini(&first);
		state_writer_fini(&second);
		b.dev->ops->resume(b.dev);
	}
}

static void the_saved_form_of_version_1_stays(void **state)
{
	struct virtio_blk_options opt = {.queues = 2};
	struct disk_options wt = {.cache = DISK_WRITETHROUGH};
	struct bytes now, file;

	replug(opt, wt);
	vd_start(&b, 1ull << VIRTIO_BLK_F_CONFIG_WCE, 2, 128);
	assert_int_equal(ask(VIRTIO_BLK_T_GET_ID, 0, DATA, 20), 0);
	b.dev->ops->quiesce(b.dev);
	now = saved(b.dev);
	file = golden("virtio-blk-wce-v1", &now);
	assert_same_bytes(&now, &file);
	replug(opt, wt);
	assert_int_equal(load_bytes(b.dev, &file), 0);
	assert_true(writethrough());
	assert_saves_as(b.dev, &file);
	free(now.p);
	free(file.p);
}

static void what_is_no_cache_mode_is_refused(void **state)
{
	struct disk_options wt = {.cache = DISK_WRITETHROUGH};
	struct bytes good, was;
	struct state_reader r;
	const uint8_t *pos;
	size_t len;

	replug((struct virtio_blk_options){0}, wt);
	vd_start(&b, 1ull << VIRTIO_BLK_F_CONFIG_WCE, 1, 128);
	b.dev->ops->quiesce(b.dev);
	good = saved(b.dev);
	replug((struct virtio_blk_options){0}, wt);
	was = saved(b.dev);
	pos = good.p;
	assert_int_equal(state_next(&pos, pos + good.len, &r, NULL), 1);
	len = (size_t)(r.end - r.pos);
	/* The subsection's body is the last byte. */
	assert_int_equal(load_with_byte(b.dev, &good, len - 1, 2), -EPROTO);
	assert_int_equal(load_with_byte(b.dev, &good, len - 1, 1), -EPROTO);
	assert_saves_as(b.dev, &was);
	assert_int_equal(load_with_byte(b.dev, &good, len - 1, 0), 0);
	free(good.p);
	free(was.p);
}

/* ---- size ---- */

static void a_grown_disk_tells_the_driver(void **state)
{
	uint32_t generation;
	struct error err;

	vd_start(&b, 0, 1, 128);
	assert_int_equal(
		ask(VIRTIO_BLK_T_IN, SECTORS, DATA, 512), VIRTIO_BLK_S_IOERR);
	generation = vd_read(&b, VIRTIO_MMIO_CONFIG_GENERATION);
	vd_irqs(&b);
	vd_write(&b, VIRTIO_MMIO_INTERRUPT_ACK, 3);
	assert_int_equal(
		virtio_blk_resize(b.vdev, 2 * SECTORS * 512, false, &err), 0);
	assert_int_equal(config(VIRTIO_MMIO_CONFIG, 4), 2 * SECTORS);
	assert_true(vd_read(&b, VIRTIO_MMIO_CONFIG_GENERATION) != generation);
	assert_int_equal(vd_irqs(&b), 1);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_INTERRUPT_STATUS), 2);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 2 * SECTORS - 1, DATA, 512), 0);
	/* The same size again is no news. */
	vd_irqs(&b);
	assert_int_equal(virtio_blk_resize(b.vdev, 0, false, &err), 0);
	assert_int_equal(vd_irqs(&b), 0);
}

static void a_shrunk_disk_has_no_sectors_behind_its_end(void **state)
{
	struct asked a[30];
	struct error err;
	unsigned i;

	vd_start(&b, INDIRECT, 1, 128);
	assert_int_equal(
		virtio_blk_resize(b.vdev, 512 * 512, false, &err), -EPERM);
	assert_int_equal(config(VIRTIO_MMIO_CONFIG, 4), SECTORS);
	/* With a driver that goes on meanwhile. */
	for (i = 0; i < 30; i++)
		a[i] = offer(
			VIRTIO_BLK_T_OUT, i * 64, DATA + i * 0x8000, 0x8000);
	vd_kick(&b, 0);
	while (b.vdev->inflight == 0)
		loop_poll(b.loop, true);
	assert_int_equal(virtio_blk_resize(b.vdev, 512 * 512, true, &err), 0);
	assert_int_equal(config(VIRTIO_MMIO_CONFIG, 4), 512);
	for (i = 0; i < 30; i++)
		vd_wait(&b, 0);
	for (i = 0; i < 8; i++)
		assert_int_equal(status_of(a[i]), 0);
	assert_int_equal(lseek(image, 0, SEEK_END), 512 * 512);
	assert_int_equal(
		ask(VIRTIO_BLK_T_IN, 512, DATA, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 511, DATA, 512), 0);
}

static void a_larger_image_is_used_as_far_as_the_driver_knows(void **state)
{
	struct state_writer w;
	struct error err = {0};

	vd_start(&b, 0, 1, 128);
	vbench_save(&b, &w);
	assert_int_equal(ftruncate(image, 2 * SECTORS * 512), 0);
	replug((struct virtio_blk_options){0}, (struct disk_options){0});
	if (vbench_load(&b, &w, &err) < 0)
		fail_msg("%s", err.text);
	state_writer_fini(&w);
	b.dev->ops->resume(b.dev);
	assert_int_equal(config(VIRTIO_MMIO_CONFIG, 4), SECTORS);
	assert_int_equal(
		ask(VIRTIO_BLK_T_IN, SECTORS, DATA, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(virtio_blk_resize(b.vdev, 0, false, &err), 0);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, SECTORS, DATA, 512), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(limits_are_told_with_what_is_offered),
		T(what_was_not_offered_is_unsupported),
		T(a_discard_makes_the_image_smaller),
		T(zeroes_are_written_with_and_without_unmap),
		T(segments_that_lie_change_nothing),
		T(more_sectors_than_a_segment_may_have_are_refused),
		T(a_reset_in_the_middle_of_a_discard_ends_it),
		T(the_driver_chooses_the_cache_mode),
		T(who_does_not_choose_gets_what_it_expects),
		T(the_cache_mode_moves_with_the_driver),
		T(the_saved_form_of_version_1_stays),
		T(what_is_no_cache_mode_is_refused),
		T(a_grown_disk_tells_the_driver),
		T(a_shrunk_disk_has_no_sectors_behind_its_end),
		T(a_larger_image_is_used_as_far_as_the_driver_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
