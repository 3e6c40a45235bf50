/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_check.c - `godwit check` on hosts that lack everything, and
 * the two forms of its report.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <jansson.h>

#include "vmm/check.h"

static struct check_report report; /* 40 KiB */

static const struct check_paths nothing = {
	.kvm = "/nonexistent/kvm",
	.userfaultfd = "/nonexistent/userfaultfd",
	.tun = "/nonexistent/tun",
};

static const struct check_item *find(const char *group, const char *name)
{
	unsigned i;

	for (i = 0; i < report.items; i++)
		if (strcmp(report.item[i].group, group) == 0 &&
			strcmp(report.item[i].name, name) == 0)
			return &report.item[i];
	fail_msg("no item %s: %s", group, name);
	return NULL;
}

static char *print(int (*fn)(const struct check_report *, FILE *))
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(fn(&report, out), 0);
	fclose(out);
	return text;
}

static void without_kvm_no_guest_can_run_and_the_rest_is_still_told(
	void **state)
{
	const struct check_item *item;
	char *text;

	check_gather(&nothing, &report);
	assert_false(report.can_run);
	assert_false(report.native_known);
	item = find("KVM", "open");
	assert_int_equal(item->grade, CHECK_FATAL);
	assert_non_null(strstr(item->value, "load kvm_intel or kvm_amd"));
	find("userfaultfd", "open");
	find("Event loop and disks", "io_uring");
	find("Memory", "huge pages free");
	find("Limits", "open files");
	item = find("Network", "tap");
	assert_int_equal(item->grade, CHECK_LOST);
	assert_non_null(strstr(item->value, "/nonexistent/tun: No such file"));
	text = print(check_print_text);
	assert_non_null(strstr(text, "\nNo guest can run here:\n  open: "));
	free(text);
}

static void a_node_that_is_not_kvm_is_fatal_too(void **state)
{
	struct check_paths paths = nothing;

	paths.kvm = "/dev/null";
	check_gather(&paths, &report);
	assert_false(report.can_run);
	assert_non_null(strstr(find("KVM", "open")->value, "this is not KVM"));
}

static void a_tiny_fd_limit_is_an_answer_not_a_crash(void **state)
{
	struct rlimit old, tiny;
	int limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	for (limit = 0; limit < 8; limit++) {
		tiny = old;
		tiny.rlim_cur = (rlim_t)limit;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &tiny), 0);
		check_gather(NULL, &report);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_false(report.can_run);
		assert_int_equal(
			find("Limits", "open files")->grade, CHECK_FATAL);
	}
}

static void gathering_leaves_no_file_open(void **state)
{
	int before = testing_fd_count();

	check_gather(NULL, &report);
	assert_int_equal(testing_fd_count(), before);
	check_gather(&nothing, &report);
	assert_int_equal(testing_fd_count(), before);
}

/* A report that does not depend on this host. */
static void make_up(bool native)
{
	memset(&report, 0, sizeof(report));
	report.can_run = report.native_known = true;
	report.native = native;
	report.guest_mips = native ? 4000 : 3.2;
	check_explain(check_add(&report, "KVM", "one", CHECK_OK, "%d", 1),
		"the first", "all of it");
	check_explain(check_add(&report, "KVM", "two", CHECK_LOST, "no"),
		"the second", "half of it");
	check_explain(check_add(&report, "Limits", "three", CHECK_OK, "many"),
		"the third", "");
}

static void the_text_groups_items_and_says_why_and_what_is_lost(void **state)
{
	static const char golden[] =
		"godwit " GODWIT_VERSION "\n"
		"\n"
		"KVM\n"
		"  ok       one                        1\n"
		"             for: the first\n"
		"             without: all of it\n"
		"  lacking  two                        no\n"
		"             for: the second\n"
		"             without: half of it\n"
		"\n"
		"Limits\n"
		"  ok       three                      many\n"
		"             for: the third\n"
		"\n"
		"A guest can run here, stock kernels too.\n";
	char *text;

	make_up(true);
	text = print(check_print_text);
	assert_string_equal(text, golden);
	free(text);
}

static void an_emulating_kvm_is_said_to_boot_no_stock_kernel(void **state)
{
	char *text;

	make_up(false);
	text = print(check_print_text);
	assert_non_null(strstr(text, "emulated, about 3 MIPS:\nstock kernels "
				     "will not boot here.\n"));
	assert_null(strstr(text, "stock kernels too"));
	free(text);
}

static void the_json_holds_every_item(void **state)
{
	json_t *root, *items, *item;
	char *text;

	make_up(false);
	text = print(check_print_json);
	root = json_loads(text, 0, NULL);
	free(text);
	assert_non_null(root);
	assert_true(json_is_true(json_object_get(root, "can_run")));
	assert_true(json_is_false(json_object_get(root, "stock_kernels")));
	items = json_object_get(root, "items");
	assert_int_equal(json_array_size(items), 3);
	item = json_array_get(items, 1);
	assert_string_equal(
		json_string_value(json_object_get(item, "name")), "two");
	assert_string_equal(
		json_string_value(json_object_get(item, "grade")), "lacking");
	assert_string_equal(
		json_string_value(json_object_get(item, "why")), "the second");
	assert_string_equal(
		json_string_value(json_object_get(item, "lost")), "half of it");
	json_decref(root);
	/* What could not be measured is null, not false. */
	report.native_known = false;
	text = print(check_print_json);
	root = json_loads(text, 0, NULL);
	free(text);
	assert_true(json_is_null(json_object_get(root, "stock_kernels")));
	json_decref(root);
}

static void a_full_report_drops_items_and_nothing_else(void **state)
{
	unsigned i;

	make_up(true);
	for (i = 0; i < 2 * CHECK_ITEMS_MAX; i++)
		check_add(&report, "KVM", "more", CHECK_OK, "%u", i);
	assert_int_equal(report.items, CHECK_ITEMS_MAX);
	check_add(&report, "KVM", "fatal", CHECK_FATAL, "no");
	assert_int_equal(report.items, CHECK_ITEMS_MAX);
	assert_false(report.can_run);
}

static void a_full_output_device_is_reported(void **state)
{
	FILE *full = fopen("/dev/full", "w");

	assert_non_null(full);
	make_up(true);
	assert_int_equal(check_print_text(&report, full), -EIO);
	assert_int_equal(check_print_json(&report, full), -EIO);
	fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			without_kvm_no_guest_can_run_and_the_rest_is_still_told),
		cmocka_unit_test(a_node_that_is_not_kvm_is_fatal_too),
		cmocka_unit_test(a_tiny_fd_limit_is_an_answer_not_a_crash),
		cmocka_unit_test(gathering_leaves_no_file_open),
		cmocka_unit_test(
			the_text_groups_items_and_says_why_and_what_is_lost),
		cmocka_unit_test(
			an_emulating_kvm_is_said_to_boot_no_stock_kernel),
		cmocka_unit_test(the_json_holds_every_item),
		cmocka_unit_test(a_full_report_drops_items_and_nothing_else),
		cmocka_unit_test(a_full_output_device_is_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
