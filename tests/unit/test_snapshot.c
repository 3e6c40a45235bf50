/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_snapshot.c - what is written is read; what was damaged, cut
 * or never one of ours is recognised.
 */
#include "tests/unit/snapshot_bed.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "migrate/snapshot_format.h"
#include "migrate/state.h"
#include "migrate/touched.h"
#include "migrate/zero.h"

/* ---- zero pages ---- */

static void one_bit_anywhere_makes_a_page_not_zero(void **state)
{
	uint8_t *page = aligned_alloc(PAGE, PAGE);
	unsigned i;

	memset(page, 0, PAGE);
	assert_true(page_is_zero(page));
	for (i = 0; i < PAGE; i++) {
		page[i] = (uint8_t)(1u << (i % 8));
		assert_false(page_is_zero(page));
		page[i] = 0;
	}
	free(page);
}

static void pages_without_memory_are_passed_over(void **state)
{
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	struct touched *t = malloc(sizeof(*t));
	struct guestmem gm;
	uint64_t end;
	unsigned k;

	for (k = 0; k < 2; k++) {
		bed_ram(&gm, 20000, backing[k]);
		gm.base[5000 * PAGE] = 1;
		gm.base[5001 * PAGE] = 0; /* touched, still zero */
		gm.base[19999 * PAGE] = 1;
		touched_init(t, &gm);
		assert_int_equal(touched_next(t, 0, &end), 5000);
		assert_int_equal(end, 5002);
		assert_int_equal(touched_next(t, 5001, &end), 5001);
		assert_int_equal(end, 5002);
		assert_int_equal(touched_next(t, 5002, &end), 19999);
		assert_int_equal(end, 20000);
		assert_int_equal(touched_next(t, 20000, &end), 20000);
		touched_fini(t);
		guestmem_fini(&gm);
	}
	free(t);
}

/* ---- round trips ---- */

static void what_is_written_is_read(void **state)
{
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	struct snapshot_options opt = {0};
	struct migrate_stats *stats = calloc(2, sizeof(*stats));
	struct snapshot_bed b;
	struct snapshot *s;
	struct guestmem gm;
	struct error err;
	size_t len;
	uint64_t i;
	unsigned k;

	for (k = 0; k < 4; k++) {
		int fds = testing_fd_count();

		memset(stats, 0, 2 * sizeof(*stats));
		bed_init(&b, 5003, backing[k % 2]);
		opt.buffered = k / 2;
		opt.stats = &stats[0];
		assert_int_equal(bed_write(&b, &opt, &err), 0);
		s = bed_open(&b);
		assert_string_equal(snapshot_description(s), DESCRIPTION);
		assert_memory_equal(snapshot_state(s, &len), STATE, 21);
		assert_int_equal(len, sizeof(STATE));
		assert_int_equal(snapshot_ram_bytes(s), 5003 * PAGE);
		assert_true(snapshot_paused(s));
		assert_int_equal(snapshot_stop_ns(s), 1234567890123);
		bed_ram(&gm, 5003, backing[k % 2]);
		opt.stats = &stats[1];
		assert_int_equal(snapshot_read(s, &gm, &opt, &err), 0);
		assert_memory_equal(gm.base, b.gm.base, gm.size);
		for (i = 0; i < 2; i++) {
			assert_int_equal(stats[i].pages_full, 5003 / 8 * 3);
			assert_int_equal(
				stats[i].pages_zero, 5003 - 5003 / 8 * 3);
		}
		snapshot_close(s);
		guestmem_fini(&gm);
		bed_fini(&b);
		assert_int_equal(testing_fd_count(), fds + 0);
	}
	free(stats);
}

static void zero_pages_are_holes_and_the_file_is_private(void **state)
{
	struct snapshot_bed b;
	struct stat st;

	bed_init(&b, 4096, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	assert_int_equal(stat(b.path, &st), 0);
	assert_int_equal(st.st_size, 2 * 1024 * 1024 + 4096 * PAGE);
	/* 3 of 8 pages have data; the head is small. */
	assert_true((uint64_t)st.st_blocks * 512 < 4096 * PAGE / 2);
	assert_int_equal(st.st_mode & 0777, 0600);
	bed_fini(&b);
}

static void a_page_is_found_by_arithmetic(void **state)
{
	struct snapshot_bed b;
	uint64_t at, v = 0;
	int fd;

	bed_init(&b, 100, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	fd = open(b.path, O_RDONLY);
	at = SNAPSHOT_ALIGN + 43 * PAGE + 43 * 8;
	assert_int_equal(pread(fd, &v, 8, (off_t)at), 8);
	assert_int_equal(v, bed_value(43, 0));
	close(fd);
	bed_fini(&b);
}

static uint64_t pages_with_memory(const struct guestmem *gm)
{
	struct touched *t = malloc(sizeof(*t));
	uint64_t page = 0, end, n = 0;

	touched_init(t, gm);
	while ((page = touched_next(t, page, &end)) < t->pages) {
		n += end - page;
		page = end;
	}
	touched_fini(t);
	free(t);
	return n;
}

static void ram_beyond_the_hole_is_kept_and_untouched_ram_stays_so(void **state)
{
	const uint64_t pages = (5ull << 30) / PAGE, low = (3ull << 30) / PAGE;
	enum guestmem_backing backing[] = {GUESTMEM_ANON, GUESTMEM_MEMFD};
	struct snapshot_bed b;
	struct snapshot *s;
	struct guestmem gm;
	unsigned k;

	for (k = 0; k < 2; k++) {
		bed_init(&b, 1, GUESTMEM_ANON);
		guestmem_fini(&b.gm);
		bed_ram(&b.gm, pages, backing[k]);
		b.gm.base[(low - 1) * PAGE] = 1;
		*(uint8_t *)guestmem_at(&b.gm, GUESTMEM_HOLE_END, 1) = 2;
		b.gm.base[(pages - 1) * PAGE + 4095] = 3;
		assert_int_equal(bed_write(&b, NULL, NULL), 0);
		assert_int_equal(pages_with_memory(&b.gm), 3);
		s = bed_open(&b);
		bed_ram(&gm, pages, backing[k]);
		assert_int_equal(snapshot_read(s, &gm, NULL, NULL), 0);
		assert_int_equal(pages_with_memory(&gm), 3);
		assert_int_equal(gm.base[(low - 1) * PAGE], 1);
		assert_int_equal(gm.base[low * PAGE], 2);
		assert_int_equal(gm.base[(pages - 1) * PAGE + 4095], 3);
		guestmem_fini(&gm);
		snapshot_close(s);
		bed_fini(&b);
	}
}

static void ram_of_another_size_is_refused(void **state)
{
	struct snapshot_bed b;
	struct guestmem gm;
	struct snapshot *s;
	struct error err;

	bed_init(&b, 16, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	s = bed_open(&b);
	bed_ram(&gm, 17, GUESTMEM_ANON);
	assert_int_equal(snapshot_read(s, &gm, NULL, &err), -EINVAL);
	guestmem_fini(&gm);
	snapshot_close(s);
	bed_fini(&b);
}

/* ---- writing that does not come to its end ---- */

static void a_cancelled_write_leaves_the_old_file(void **state)
{
	_Atomic bool cancel = true;
	struct snapshot_options opt = {.cancel = &cancel};
	struct snapshot_bed b;
	struct error err;

	bed_init(&b, 3000, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, &opt, &err), -ECANCELED);
	assert_int_equal(bed_files(&b), 0);
	assert_int_equal(bed_write(&b, NULL, &err), 0);
	bed_fill(&b, 1);
	assert_int_equal(bed_write(&b, &opt, &err), -ECANCELED);
	assert_int_equal(bed_files(&b), 1);
	assert_int_equal(bed_check(&b, 0), 0);
	assert_int_equal(bed_write(&b, NULL, &err), 0);
	assert_int_equal(bed_check(&b, 1), 0);
	bed_fini(&b);
}

static void a_target_that_cannot_be_is_refused(void **state)
{
	struct snapshot_bed b;
	struct snapshot_contents what;
	struct error err;
	char path[64];

	bed_init(&b, 16, GUESTMEM_ANON);
	what = bed_contents(&b);
	assert_int_equal(snapshot_write(b.dir, &what, NULL, &err), -EINVAL);
	assert_int_equal(
		snapshot_write("/dev/null", &what, NULL, &err), -EINVAL);
	snprintf(path, sizeof(path), "%s/none/x", b.dir);
	assert_int_equal(snapshot_write(path, &what, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "none"));
	what.description = "";
	assert_int_equal(snapshot_write(b.path, &what, NULL, &err), -EINVAL);
	assert_int_equal(bed_files(&b), 0);
	bed_fini(&b);
}

/* ---- damaged files ---- */

static void each_flipped_byte_of_the_head_is_noticed(void **state)
{
	struct snapshot_bed b;
	struct snapshot *s;
	struct error err;
	uint64_t at, end;
	unsigned noticed = 0;
	uint8_t was, now;
	int fd, code;

	bed_init(&b, 72, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	fd = open(b.path, O_RDWR);
	/* Description 13 bytes, state 21: 3 bytes of padding after each. */
	end = 4096 + 16 + 24 + 16 + 72 * 4;
	for (at = 0; at < end; at++) {
		if ((at >= 4109 && at < 4112) || (at >= 4133 && at < 4136))
			continue;
		assert_int_equal(pread(fd, &was, 1, (off_t)at), 1);
		now = was ^ (uint8_t)(1u << (at % 8));
		assert_int_equal(pwrite(fd, &now, 1, (off_t)at), 1);
		s = NULL;
		code = snapshot_open(b.path, &s, &err);
		if (code != -EBADMSG && code != -EPROTO)
			fail_msg("byte %u: %d", (unsigned)at, code);
		assert_null(s);
		assert_non_null(strstr(err.text, b.path));
		noticed++;
		assert_int_equal(pwrite(fd, &was, 1, (off_t)at), 1);
	}
	assert_int_equal(noticed, end - 6);
	assert_int_equal(bed_check(&b, 0), 0);
	close(fd);
	bed_fini(&b);
}

static void a_flipped_bit_of_a_page_is_named_and_zero_pages_have_none(
	void **state)
{
	struct snapshot_bed b;
	struct snapshot *s;
	struct guestmem gm;
	struct error err;
	uint64_t i;
	uint8_t x;
	int fd, code;

	bed_init(&b, 40, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	fd = open(b.path, O_RDWR);
	for (i = 0; i < 40; i++) {
		off_t at = (off_t)(SNAPSHOT_ALIGN + i * PAGE + i * 97 % PAGE);
		char name[32];

		snprintf(name, sizeof(name), "page %u ", (unsigned)i);
		assert_int_equal(pread(fd, &x, 1, at), 1);
		x ^= 0x10;
		assert_int_equal(pwrite(fd, &x, 1, at), 1);
		s = bed_open(&b);
		bed_ram(&gm, 40, GUESTMEM_ANON);
		err.text[0] = '\0';
		code = snapshot_read(s, &gm, NULL, &err);
		if (bed_value(i, 0) != 0) {
			assert_int_equal(code, -EBADMSG);
			assert_non_null(strstr(err.text, name));
		} else {
			assert_int_equal(code, 0);
			assert_int_equal(gm.base[i * PAGE + i * 97 % PAGE], 0);
		}
		guestmem_fini(&gm);
		snapshot_close(s);
		x ^= 0x10;
		assert_int_equal(pwrite(fd, &x, 1, at), 1);
	}
	close(fd);
	bed_fini(&b);
}

static void each_truncation_is_noticed(void **state)
{
	struct snapshot_bed b;
	struct snapshot *s;
	struct error err;
	off_t size;
	int code;

	bed_init(&b, 16, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	size = (off_t)(SNAPSHOT_ALIGN + 16 * PAGE);
	/* Longer, too. */
	assert_int_equal(truncate(b.path, size + 1), 0);
	assert_int_equal(snapshot_open(b.path, &s, &err), -EBADMSG);
	for (size -= 512; size >= 0; size -= 512) {
		assert_int_equal(truncate(b.path, size), 0);
		code = snapshot_open(b.path, &s, &err);
		if (code != (size == 0 ? -EPROTO : -EBADMSG))
			fail_msg("%u bytes: %d", (unsigned)size, code);
	}
	bed_fini(&b);
}

/* ---- other people's files ---- */

static int open_bytes(const void *bytes, size_t len, struct error *err)
{
	struct snapshot *s = NULL;
	char path[] = "/tmp/godwit-alien-XXXXXX";
	int fd = mkstemp(path), code;

	assert_int_equal(write(fd, bytes, len), len);
	code = snapshot_open(path, &s, err);
	assert_true(code < 0);
	close(fd);
	unlink(path);
	return code;
}

static void files_that_are_no_snapshots_are_told_so(void **state)
{
	const char *alien[] = {
		"/proc/self/exe", "/etc/passwd", "/", "/dev/zero"};
	struct snapshot *s = NULL;
	struct error err;
	uint8_t zero[8192] = {0};
	unsigned i;

	for (i = 0; i < 4; i++) {
		assert_int_equal(snapshot_open(alien[i], &s, &err), -EPROTO);
		assert_non_null(strstr(err.text, "not a godwit snapshot"));
	}
	assert_int_equal(open_bytes("", 0, &err), -EPROTO);
	assert_int_equal(open_bytes("GODWIT", 6, &err), -EPROTO);
	assert_int_equal(open_bytes("GODWITSN", 8, &err), -EBADMSG);
	assert_int_equal(open_bytes(zero, sizeof(zero), &err), -EPROTO);
	assert_int_equal(snapshot_open("/nonexistent/x", &s, &err), -ENOENT);
	assert_null(s);
}

/* Change a u32 or u64 of the header and make its checksum right again. */
static int open_edited(const struct snapshot_bed *b, unsigned at, uint64_t v,
	unsigned bytes, struct error *err)
{
	uint8_t was[SNAPSHOT_HEADER_BYTES], now[SNAPSHOT_HEADER_BYTES];
	struct snapshot *s = NULL;
	int fd = open(b->path, O_RDWR), code;
	uint32_t crc;

	assert_int_equal(pread(fd, was, sizeof(was), 0), sizeof(was));
	memcpy(now, was, sizeof(was));
	memcpy(now + at, &v, bytes);
	crc = state_crc32c(0, now, sizeof(now) - 4);
	memcpy(now + sizeof(now) - 4, &crc, 4);
	assert_int_equal(pwrite(fd, now, sizeof(now), 0), sizeof(now));
	code = snapshot_open(b->path, &s, err);
	if (code == 0)
		snapshot_close(s);
	assert_int_equal(pwrite(fd, was, sizeof(was), 0), sizeof(was));
	close(fd);
	return code;
}

static void headers_with_a_right_checksum_are_still_not_trusted(void **state)
{
	static const struct {
		unsigned at, bytes;
		uint64_t v;
		int code;
	} edit[] = {
		{8, 4, 2, -EPROTO},	 /* version */
		{12, 4, 16384, -EPROTO}, /* page size */
		{16, 4, 3, -EPROTO},	 /* unknown flag */
		{20, 4, 1, -EPROTO},	 /* not 0 */
		{32, 8, 0, -EPROTO},	 /* RAM */
		{32, 8, 4097, -EPROTO}, {32, 8, UINT64_MAX, -EPROTO},
		{32, 8, UINT64_MAX - 4095, -EPROTO},
		{32, 8, 1ull << 40, -EPROTO}, /* file_bytes differ */
		{40, 8, 4096, -EPROTO},	      /* file_bytes */
		{48, 8, 0, -EPROTO},	      /* description */
		{56, 8, 0, -EPROTO}, {56, 8, UINT64_MAX, -EPROTO},
		{64, 8, 4096, -EPROTO}, /* state */
		{72, 8, UINT64_MAX, -EPROTO}, {72, 8, 1ull << 28, -EPROTO},
		{80, 8, 0, -EPROTO},			  /* index */
		{88, 8, 8, -EPROTO}, {96, 8, 0, -EPROTO}, /* pages */
		{104, 4, 1, -EBADMSG},			  /* checksums */
		{108, 4, 1, -EBADMSG}, {112, 4, 1, -EBADMSG},
		{116, 4, 1, -EPROTO},		      /* not 0 */
		{4088, 4, 1, -EPROTO}, {16, 4, 0, 0}, /* not paused: fine */
	};
	struct snapshot_bed b;
	struct error err;
	unsigned i;
	int code;

	bed_init(&b, 16, GUESTMEM_ANON);
	assert_int_equal(bed_write(&b, NULL, NULL), 0);
	for (i = 0; i < sizeof(edit) / sizeof(edit[0]); i++) {
		code = open_edited(
			&b, edit[i].at, edit[i].v, edit[i].bytes, &err);
		if (code != edit[i].code)
			fail_msg("edit %u: %d", i, code);
		if (edit[i].at == 8)
			assert_non_null(strstr(err.text, "format 2"));
	}
	bed_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_bit_anywhere_makes_a_page_not_zero),
		cmocka_unit_test(pages_without_memory_are_passed_over),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(zero_pages_are_holes_and_the_file_is_private),
		cmocka_unit_test(a_page_is_found_by_arithmetic),
		cmocka_unit_test(
			ram_beyond_the_hole_is_kept_and_untouched_ram_stays_so),
		cmocka_unit_test(ram_of_another_size_is_refused),
		cmocka_unit_test(a_cancelled_write_leaves_the_old_file),
		cmocka_unit_test(a_target_that_cannot_be_is_refused),
		cmocka_unit_test(each_flipped_byte_of_the_head_is_noticed),
		cmocka_unit_test(
			a_flipped_bit_of_a_page_is_named_and_zero_pages_have_none),
		cmocka_unit_test(each_truncation_is_noticed),
		cmocka_unit_test(files_that_are_no_snapshots_are_told_so),
		cmocka_unit_test(
			headers_with_a_right_checksum_are_still_not_trusted),
	};

	return cmocka_run_group_tests(tests, testing_end_at_failure, NULL);
}
