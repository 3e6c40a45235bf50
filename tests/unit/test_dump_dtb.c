/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_dump_dtb.c - --dump-dtb: a tree of the configured machine,
 * and what is left of the file when it cannot be written.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "vmm/config.h"
#include "vmm/dump_dtb.h"
#include "vmm/error.h"

struct folder {
	char dir[64], file[80];
};

static void make_folder(struct folder *f)
{
	strcpy(f->dir, "/tmp/godwit-dtb-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->file, sizeof(f->file), "%s/tree", f->dir);
}

static void remove_folder(const struct folder *f)
{
	unlink(f->file);
	assert_int_equal(rmdir(f->dir), 0);
}

/* dump_dtb() of a machine with two vCPUs, 64 MiB and @extra. */
static int dump(const char *path, const char *extra, struct error *err)
{
	char line[256], *argv[16], *save = NULL, *word;
	struct config cfg;
	int argc = 0, ret;

	snprintf(line, sizeof(line), "--dump-dtb %s -c 2 -m 64M %s", path,
		extra);
	for (word = strtok_r(line, " ", &save); word;
		word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	config_init(&cfg);
	ret = config_parse_run(&cfg, argc, argv, err);
	if (ret == 0)
		ret = dump_dtb(&cfg, err);
	config_fini(&cfg);
	return ret;
}

static size_t load(const char *path, void *buf, size_t size)
{
	FILE *in = fopen(path, "re");
	size_t len;

	assert_non_null(in);
	len = fread(buf, 1, size, in);
	fclose(in);
	return len;
}

/* Nodes at any depth whose name begins with @prefix. */
static int count_nodes(const void *fdt, const char *prefix)
{
	int offset = -1, depth = 0, count = 0;

	while ((offset = fdt_next_node(fdt, offset, &depth)) >= 0)
		count += strncmp(fdt_get_name(fdt, offset, NULL), prefix,
				 strlen(prefix)) == 0;
	return count;
}

static void the_tree_is_that_of_the_configured_machine(void **state)
{
	static uint64_t fdt[8192];
	struct error err = {0};
	struct folder f;
	const char *text;
	size_t len;
	int node;

	make_folder(&f);
	if (dump(f.file, "-a quiet --rng -d path=a -d path=b --console none",
		    &err) < 0)
		fail_msg("%s", err.text);
	len = load(f.file, fdt, sizeof(fdt));
	assert_int_equal(fdt_check_full(fdt, len), 0);
	assert_int_equal(count_nodes(fdt, "cpu@"), 2);
	assert_int_equal(count_nodes(fdt, "virtio"), 3);
	assert_int_equal(count_nodes(fdt, "serial@"), 1);
	node = fdt_path_offset(fdt, "/chosen");
	assert_true(node >= 0);
	text = fdt_getprop(fdt, node, "bootargs", NULL);
	assert_non_null(text);
	assert_string_equal(text, "quiet");

	/* A shorter tree replaces the longer one, whole. */
	assert_int_equal(dump(f.file, "--serial none", &err), 0);
	len = load(f.file, fdt, sizeof(fdt));
	assert_int_equal(fdt_check_full(fdt, len), 0);
	assert_int_equal(len, fdt_totalsize(fdt));
	assert_int_equal(count_nodes(fdt, "virtio"), 0);
	assert_int_equal(count_nodes(fdt, "serial@"), 0);
	remove_folder(&f);
}

static void a_file_that_fills_up_is_removed(void **state)
{
	struct rlimit old, tiny;
	struct error err = {0};
	struct folder f;
	int ret;

	make_folder(&f);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	tiny = old;
	tiny.rlim_cur = 100;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tiny), 0);
	ret = dump(f.file, "", &err);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(ret, -EFBIG);
	assert_non_null(strstr(err.text, f.file));
	assert_int_equal(access(f.file, F_OK), -1);
	remove_folder(&f);
}

static void a_full_device_is_reported_and_stays(void **state)
{
	struct error err = {0};
	struct folder f;
	int ret;

	make_folder(&f);
	if (mknod(f.file, S_IFCHR | 0600, makedev(1, 7)) < 0 ||
		access(f.file, W_OK) < 0) {
		remove_folder(&f);
		print_message("# skip: cannot make a device node\n");
		skip();
	}
	ret = dump(f.file, "", &err);
	/* A file system mounted nodev refuses the open. */
	assert_true(ret == -ENOSPC || ret == -EACCES);
	assert_int_equal(access(f.file, F_OK), 0);
	remove_folder(&f);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
	int before = testing_fd_count();
	struct error err = {0};

	assert_int_equal(dump("/nonexistent/tree", "", &err), -ENOENT);
	assert_string_equal(err.text,
		"--dump-dtb: open /nonexistent/tree for writing (name a file "
		"in a folder you may write to): No such file or directory");
	assert_int_equal(testing_fd_count(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_tree_is_that_of_the_configured_machine),
		cmocka_unit_test(a_file_that_fills_up_is_removed),
		cmocka_unit_test(a_full_device_is_reported_and_stays),
		cmocka_unit_test(a_folder_that_is_not_there_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
