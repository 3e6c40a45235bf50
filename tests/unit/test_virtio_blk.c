/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_virtio_blk.c - block requests, friendly and hostile. */
#include "tests/unit/blk_bed.h"

/* ---- friendly ---- */

static void what_is_written_is_read_back_and_in_the_image(void **state)
{
	uint8_t *data = vd_at(&b, DATA);
	uint8_t back[4096];
	uint32_t used;

	vd_start(&b, INDIRECT, 1, 128);
	fill(DATA, 4096, 7);
	assert_int_equal(ask_len(VIRTIO_BLK_T_OUT, 5, DATA, 4096, &used), 0);
	assert_int_equal(used, 1); /* the status byte */
	assert_int_equal(ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0), 0);
	assert_int_equal(pread(image, back, 4096, 5 * 512), 4096);
	assert_memory_equal(back, data, 4096);
	memset(data, 0, 4096);
	assert_int_equal(ask_len(VIRTIO_BLK_T_IN, 5, DATA, 4096, &used), 0);
	assert_int_equal(used, 4097);
	assert_memory_equal(back, data, 4096);
}

static void config_tells_the_geometry(void **state)
{
	uint64_t base = VIRTIO_MMIO_CONFIG;

	assert_int_equal(vd_read(&b, VIRTIO_MMIO_DEVICE_ID), 2);
	assert_int_equal(vd_read(&b, base), SECTORS);
	assert_int_equal(vd_read(&b, base + 4), 0);
	assert_int_equal(vd_read(&b, base + 12), 254); /* seg_max */
	assert_int_equal(vd_read(&b, base + 20), 512); /* blk_size */
	assert_int_equal(b.range.ops->read(b.range.opaque, base + 34, 2), 1);
	assert_true(vd_features(&b) >> VIRTIO_BLK_F_FLUSH & 1);
	assert_true(vd_features(&b) >> VIRTIO_BLK_F_SEG_MAX & 1);
	assert_true(vd_features(&b) >> VIRTIO_BLK_F_BLK_SIZE & 1);
	assert_false(vd_features(&b) >> VIRTIO_BLK_F_RO & 1);
}

static void get_id_gives_the_serial_padded_with_zeros(void **state)
{
	static const char want[20] = "serial-1";
	uint32_t used;

	vd_start(&b, 0, 1, 128);
	memset(vd_at(&b, DATA), 0x55, 64);
	assert_int_equal(ask_len(VIRTIO_BLK_T_GET_ID, 0, DATA, 20, &used), 0);
	assert_int_equal(used, 21);
	assert_memory_equal(vd_at(&b, DATA), want, 20);
	assert_int_equal(*(uint8_t *)vd_at(&b, DATA + 20), 0x55);
	memset(vd_at(&b, DATA), 0x55, 64);
	assert_int_equal(ask(VIRTIO_BLK_T_GET_ID, 0, DATA, 4), 0);
	assert_memory_equal(vd_at(&b, DATA), "seriUU", 6);
}

static void a_request_may_be_cut_anywhere(void **state)
{
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 1};
	struct vd_buf cut[] = {{HEADER, 3, false}, {HEADER + 3, 13, false},
		{DATA, 100, true}, {DATA + 100, 400, true},
		{DATA + 500, 13, true}};
	struct virtio_blk_outhdr w = {.type = VIRTIO_BLK_T_OUT, .sector = 9};
	struct vd_buf one[] = {
		{HEADER, 16 + 512, false}, {HEADER + 0x1000, 1, true}};
	uint8_t pattern[512], back[512];

	vd_start(&b, 0, 1, 128);
	memset(pattern, 0x3c, 512);
	assert_int_equal(pwrite(image, pattern, 512, 512), 512);
	memcpy(vd_at(&b, HEADER), &h, sizeof(h));
	memset(vd_at(&b, DATA), 0xee, 514);
	vd_add(&b, 0, cut, 5); /* the status byte is the last of the 513 */
	vd_kick(&b, 0);
	assert_int_equal(vd_wait(&b, 0), 513);
	assert_memory_equal(vd_at(&b, DATA), pattern, 512);
	assert_int_equal(*(uint8_t *)vd_at(&b, DATA + 512), 0);

	memcpy(vd_at(&b, HEADER), &w, sizeof(w));
	fill(HEADER + 16, 512, 3);
	vd_add(&b, 0, one, 2); /* header and data in one buffer */
	vd_kick(&b, 0);
	assert_int_equal(vd_wait(&b, 0), 1);
	assert_int_equal(pread(image, back, 512, 9 * 512), 512);
	assert_memory_equal(back, vd_at(&b, HEADER + 16), 512);
}

static void many_requests_at_once_are_all_answered(void **state)
{
	struct asked a[42];
	unsigned i, done = 0;
	uint16_t head;
	uint32_t len;

	vd_start(&b, INDIRECT, 1, 128);
	fill(DATA, 42 * 4096, 11);
	for (i = 0; i < 42; i++)
		a[i] = offer(VIRTIO_BLK_T_OUT, i * 8, DATA + i * 4096, 4096);
	vd_kick(&b, 0);
	while (done < 42) {
		if (vd_take(&b, 0, &head, &len))
			done++;
		else
			loop_poll(b.loop, true);
	}
	for (i = 0; i < 42; i++) {
		assert_int_equal(status_of(a[i]), 0);
		assert_int_equal(
			ask(VIRTIO_BLK_T_IN, i * 8, DATA + (64 << 12), 4096),
			0);
		assert_memory_equal(vd_at(&b, DATA + (64 << 12)),
			vd_at(&b, DATA + i * 4096), 4096);
	}
}

/* ---- hostile ---- */

static void sectors_beyond_the_end_are_io_errors(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {{SECTORS, 512}, {SECTORS - 1, 1024}, {UINT64_MAX, 512},
		{UINT64_MAX - 1, 1024}, {UINT64_MAX / 512 + 1, 512},
		{1ull << 55, 512}, {0, 511}, {0, 513}, {0, 0}};
	uint8_t before[512] = {0}, after[512];
	unsigned i;

	vd_start(&b, 0, 1, 128);
	fill(DATA, 1024, 1);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			ask(VIRTIO_BLK_T_OUT, bad[i].sector, DATA, bad[i].len),
			VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask(VIRTIO_BLK_T_IN, bad[i].sector,
					 DATA + 0x1000, bad[i].len),
			VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(pread(image, after, 512, 0), 512);
	assert_memory_equal(before, after, 512);
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, SECTORS - 2, DATA, 1024), 0);
}

static void unknown_and_short_requests_are_unsupported(void **state)
{
	struct vd_buf short_header[] = {
		{HEADER, 15, false}, {HEADER + 64, 1, true}};
	struct vd_buf no_header[] = {{HEADER + 65, 1, true}};

	vd_start(&b, 0, 1, 128);
	assert_int_equal(ask(VIRTIO_BLK_T_SECURE_ERASE, 0, DATA, 512),
		VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(77, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(UINT32_MAX, 0, 0, 0), VIRTIO_BLK_S_UNSUPP);
	memset(vd_at(&b, HEADER), 0, 128);
	vd_add(&b, 0, short_header, 2);
	vd_add(&b, 0, no_header, 1);
	vd_kick(&b, 0);
	vd_wait(&b, 0);
	vd_wait(&b, 0);
	assert_int_equal(*(uint8_t *)vd_at(&b, HEADER + 64), 2);
	assert_int_equal(*(uint8_t *)vd_at(&b, HEADER + 65), 2);
}

static void a_request_without_a_status_byte_comes_back_with_length_0(
	void **state)
{
	struct vd_buf buf[] = {{HEADER, 16, false}, {DATA, 512, false}};
	static const uint8_t zero[512];
	uint8_t back[512];

	vd_start(&b, 0, 1, 128);
	memcpy(vd_at(&b, HEADER),
		&(struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_OUT}, 16);
	fill(DATA, 512, 2);
	vd_add(&b, 0, buf, 2);
	vd_kick(&b, 0);
	assert_int_equal(vd_wait(&b, 0), 0);
	assert_int_equal(pread(image, back, 512, 0), 512);
	assert_memory_equal(back, zero, 512);
	assert_int_equal(vd_read(&b, VIRTIO_MMIO_STATUS), 0xf);
}

static void a_request_above_the_cap_is_an_io_error(void **state)
{
	uint64_t table = 0x200000, n = 129, i;
	struct vring_desc *d = vd_at(&b, table);
	struct asked a;

	/* 129 times the same half mebibyte: more than the cap, little RAM. */
	assert_int_equal(ftruncate(image, 512ll << 20), 0);
	vbench_unplug(&b);
	plug(false, NULL);
	vd_start(&b, INDIRECT, 1, 128);
	a = offer(VIRTIO_BLK_T_IN, 0, DATA, 512);
	assert_int_equal(n * (512 << 10) > VIRTIO_BLK_REQUEST_MAX, 1);
	d[0] = (struct vring_desc){.addr = a.header,
		.len = 16,
		.flags = VRING_DESC_F_NEXT,
		.next = 1};
	for (i = 1; i <= n; i++)
		d[i] = (struct vring_desc){.addr = DATA,
			.len = 512 << 10,
			.flags = VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
			.next = (uint16_t)(i + 1)};
	d[n + 1] = (struct vring_desc){
		.addr = a.status, .len = 1, .flags = VRING_DESC_F_WRITE};
	vd_desc(&b, 0, 0, table, (uint32_t)(16 * (n + 2)),
		VRING_DESC_F_INDIRECT, 0);
	vd_kick(&b, 0);
	vd_wait(&b, 0);
	assert_int_equal(status_of(a), VIRTIO_BLK_S_IOERR);
	d[n - 1].next = (uint16_t)(n + 1); /* two less: within the cap */
	vd_offer(&b, 0, 0);
	vd_kick(&b, 0);
	vd_wait(&b, 0);
	assert_int_equal(status_of(a), VIRTIO_BLK_S_OK);
}

static void a_read_only_disk_refuses_writes(void **state)
{
	uint8_t back[512];
	static const uint8_t zero[512];

	vbench_unplug(&b);
	plug(true, NULL);
	assert_true(vd_features(&b) >> VIRTIO_BLK_F_RO & 1);
	vd_start(&b, 0, 1, 128);
	fill(DATA, 512, 5);
	assert_int_equal(
		ask(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(pread(image, back, 512, 0), 512);
	assert_memory_equal(back, zero, 512);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), 0);
	assert_int_equal(ask(VIRTIO_BLK_T_FLUSH, 0, 0, 0), 0);
}

static void a_host_error_is_an_io_error(void **state)
{
	vd_start(&b, 0, 1, 128);
	assert_int_equal(ftruncate(image, 512 * 10), 0);
	assert_int_equal(
		ask(VIRTIO_BLK_T_IN, 20, DATA, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 9, DATA, 512), 0);
}

static void a_header_changed_after_the_kick_does_not_matter(void **state)
{
	struct asked a;
	struct virtio_blk_outhdr *h;

	vd_start(&b, 0, 1, 128);
	fill(DATA, 512, 5);
	a = offer(VIRTIO_BLK_T_OUT, 3, DATA, 512);
	h = vd_at(&b, a.header);
	vd_kick(&b, 0);
	while (b.vdev->inflight == 0 && vd_used(&b, 0) == 0)
		loop_poll(b.loop, true);
	h->sector = SECTORS + 5;
	h->type = 99;
	vd_wait(&b, 0);
	assert_int_equal(status_of(a), 0);
}

/* ---- reset, pause, dirty logging ---- */

static void a_reset_with_requests_in_flight_drops_their_answers(void **state)
{
	struct vring_used *used;
	struct asked a[30];
	unsigned i, round;

	for (round = 0; round < 10; round++) {
		b.next_gpa = 0x1000;
		vd_start(&b, INDIRECT, 1, 128);
		for (i = 0; i < 30; i++)
			a[i] = offer(VIRTIO_BLK_T_IN, i * 8, DATA + i * 0x8000,
				0x8000);
		vd_kick(&b, 0);
		while (b.vdev->inflight == 0)
			loop_poll(b.loop, true);
		used = vd_at(&b, b.q[0].used);
		for (i = 0; i < 30; i++)
			*(uint8_t *)vd_at(&b, a[i].status) = 0xee;
		used->idx = 0;
		vd_write(&b, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(b.vdev->inflight, 0);
		/* What was answered before the reset is known to used->idx;
		 * the rest must never be. */
		memset(vd_at(&b, DATA), 0xab, 0x8000);
		vd_settle(&b);
		assert_int_equal(*(uint8_t *)vd_at(&b, DATA), 0xab);
		assert_int_equal(used->idx, 0);
		for (i = 0; i < 30; i++)
			assert_int_equal(status_of(a[i]), 0xee);
	}
	b.next_gpa = 0x1000;
	vd_start(&b, INDIRECT, 1, 128);
	assert_int_equal(ask(VIRTIO_BLK_T_IN, 0, DATA, 512), 0);
}

static void a_pause_ends_with_nothing_in_flight(void **state)
{
	unsigned i;

	vd_start(&b, INDIRECT, 1, 128);
	for (i = 0; i < 30; i++)
		offer(VIRTIO_BLK_T_IN, i * 8, DATA + i * 0x8000, 0x8000);
	vd_kick(&b, 0);
	while (b.vdev->inflight == 0)
		loop_poll(b.loop, true);
	b.dev->ops->quiesce(b.dev);
	assert_int_equal(b.vdev->inflight, 0);
	b.dev->ops->resume(b.dev);
	for (i = 0; i < 30; i++)
		vd_wait(&b, 0);
}

static bool is_dirty(const uint64_t *map, uint64_t gpa)
{
	return map[gpa / 4096 / 64] >> gpa / 4096 % 64 & 1;
}

static void what_a_read_wrote_is_logged_dirty(void **state)
{
	uint64_t map[VBENCH_RAM / 4096 / 64] = {0};
	struct asked a;

	vd_start(&b, 0, 1, 128);
	assert_int_equal(guestmem_dirty_log_start(&b.gm), 0);
	a = offer(VIRTIO_BLK_T_IN, 0, DATA, 0x3000);
	vd_kick(&b, 0);
	vd_wait(&b, 0);
	guestmem_dirty_fetch(&b.gm, map);
	assert_true(is_dirty(map, DATA) && is_dirty(map, DATA + 0x2fff));
	assert_false(is_dirty(map, DATA + 0x3000));
	assert_true(is_dirty(map, a.status));
	memset(map, 0, sizeof(map));
	assert_int_equal(ask(VIRTIO_BLK_T_OUT, 0, DATA, 0x3000), 0);
	guestmem_dirty_fetch(&b.gm, map);
	assert_false(is_dirty(map, DATA));
}

static void a_serial_too_long_is_refused_and_leaks_nothing(void **state)
{
	struct virtio_env env = vbench_env(&b);
	int fds = testing_fd_count();
	struct disk_options disk = {
		.name = "disk1", .path = "other", .readonly = true};
	struct virtio_blk_options opt = {.serial = "123456789012345678901"};
	char path[] = "/tmp/godwit-blk-XXXXXX";
	struct virtio_dev *dev;
	struct error err;

	disk.fd = mkstemp(path);
	unlink(path);
	assert_int_equal(ftruncate(disk.fd, 512), 0);
	assert_int_equal(disk_open(b.loop, b.pool, &disk, &opt.disk, &err), 0);
	assert_int_equal(
		virtio_blk_create(&env, "disk1", &opt, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, "disk1: serial"));
	assert_int_equal(testing_fd_count(), fds);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(what_is_written_is_read_back_and_in_the_image),
		T(config_tells_the_geometry),
		T(get_id_gives_the_serial_padded_with_zeros),
		T(a_request_may_be_cut_anywhere),
		T(many_requests_at_once_are_all_answered),
		T(sectors_beyond_the_end_are_io_errors),
		T(unknown_and_short_requests_are_unsupported),
		T(a_request_without_a_status_byte_comes_back_with_length_0),
		T(a_request_above_the_cap_is_an_io_error),
		T(a_read_only_disk_refuses_writes),
		T(a_host_error_is_an_io_error),
		T(a_header_changed_after_the_kick_does_not_matter),
		T(a_reset_with_requests_in_flight_drops_their_answers),
		T(a_pause_ends_with_nothing_in_flight),
		T(what_a_read_wrote_is_logged_dirty),
		T(a_serial_too_long_is_refused_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
