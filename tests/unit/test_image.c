/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_image.c - bounded reads of files (vmm/image.c). */
#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/image.h"

struct dir {
	char path[64];
	char file[80];
};

static int set_up(void **state)
{
	struct dir *dir = calloc(1, sizeof(*dir));

	assert_non_null(dir);
	strcpy(dir->path, "/tmp/godwit-image-XXXXXX");
	assert_non_null(mkdtemp(dir->path));
	snprintf(dir->file, sizeof(dir->file), "%s/f", dir->path);
	*state = dir;
	return 0;
}

static int tear_down(void **state)
{
	struct dir *dir = *state;

	unlink(dir->file);
	rmdir(dir->path);
	free(dir);
	return 0;
}

static void write_file(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static void refuses(const char *path, int code, const char *word)
{
	int fds = testing_fd_count();
	struct error err = {0};
	struct image img;

	assert_int_equal(image_open(&img, "kernel", path, &err), code);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.text, "kernel "));
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, word));
	assert_int_equal(testing_fd_count(), fds);
}

static void reads_exactly_what_was_asked_for(void **state)
{
	struct dir *dir = *state;
	struct error err = {0};
	struct image img;
	char got[4] = "";

	write_file(dir->file, "0123456789", 10);
	assert_int_equal(image_open(&img, "initrd", dir->file, &err), 0);
	assert_int_equal(img.size, 10);
	assert_non_null(strstr(img.name, "initrd "));
	assert_non_null(strstr(img.name, dir->file));
	assert_int_equal(image_read(&img, 3, got, 3), 0);
	assert_string_equal(got, "345");
	assert_int_equal(image_read(&img, 7, got, 3), 0);
	assert_string_equal(got, "789");
	image_close(&img);
	assert_int_equal(img.fd, -1);
}

static void never_reads_past_the_size_seen_at_open(void **state)
{
	struct dir *dir = *state;
	struct error err = {0};
	struct image img;
	char got[16] = "untouched";

	write_file(dir->file, "0123456789", 10);
	assert_int_equal(image_open(&img, "kernel", dir->file, &err), 0);
	write_file(dir->file, "0123456789abcdef", 16);
	assert_int_equal(image_read(&img, 8, got, 3), -ENODATA);
	assert_int_equal(image_read(&img, 11, got, 0), -ENODATA);
	assert_int_equal(image_read(&img, UINT64_MAX, got, 2), -ENODATA);
	assert_int_equal(image_read(&img, 2, got, UINT64_MAX), -ENODATA);
	assert_int_equal(image_read(&img, 10, got, 0), 0);
	assert_string_equal(got, "untouched");
	image_close(&img);
}

static void file_truncated_after_open_is_an_error_not_a_crash(void **state)
{
	struct dir *dir = *state;
	struct error err = {0};
	struct image img;
	char got[16];

	write_file(dir->file, "0123456789", 10);
	assert_int_equal(image_open(&img, "kernel", dir->file, &err), 0);
	assert_int_equal(truncate(dir->file, 4), 0);
	assert_int_equal(image_read(&img, 0, got, 10), -ENODATA);
	assert_int_equal(image_read(&img, 0, got, 4), 0);
	image_close(&img);
}

static void memory_has_the_same_bounds_as_a_file(void **state)
{
	static const char bytes[] = "0123456789";
	struct image img;
	char got[4] = "";

	image_from_mem(&img, bytes, 10);
	assert_int_equal(image_read(&img, 7, got, 3), 0);
	assert_string_equal(got, "789");
	assert_int_equal(image_read(&img, 8, got, 3), -ENODATA);
	assert_int_equal(image_read(&img, UINT64_MAX, got, 1), -ENODATA);
	image_close(&img);
}

static void refusals_name_the_file_and_leak_no_fd(void **state)
{
	struct dir *dir = *state;

	refuses(dir->file, -ENOENT, "No such file");
	refuses(dir->path, -EISDIR, "directory");
	refuses("/dev/null", -EINVAL, "not a regular file");
	write_file(dir->file, "", 0);
	refuses(dir->file, -ENODATA, "empty");
}

static void fifo_is_refused_without_waiting_for_a_writer(void **state)
{
	struct dir *dir = *state;

	assert_int_equal(mkfifo(dir->file, 0600), 0);
	refuses(dir->file, -EINVAL, "not a regular file");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(reads_exactly_what_was_asked_for),
		T(never_reads_past_the_size_seen_at_open),
		T(file_truncated_after_open_is_an_error_not_a_crash),
		T(memory_has_the_same_bounds_as_a_file),
		T(refusals_name_the_file_and_leak_no_fd),
		T(fifo_is_refused_without_waiting_for_a_writer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
