/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_error_log.c - errors carry their story; logs cannot flood. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/log.h"

static void an_error_tells_object_operation_and_reason(void **state)
{
	struct error err;

	assert_int_equal(
		error_errno(&err, -EACCES, "disk0: open %s", "/x"), -EACCES);
	assert_int_equal(err.code, -EACCES);
	assert_string_equal(err.text, "disk0: open /x: Permission denied");
	assert_int_equal(error_set(&err, -EINVAL, "plain %d", 7), -EINVAL);
	assert_string_equal(err.text, "plain 7");
	/* Dropping the text keeps the code. */
	assert_int_equal(error_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_errno(NULL, -EIO, "x"), -EIO);
}

static void context_goes_in_front_and_the_code_stays(void **state)
{
	struct error err;

	error_set(&err, -ENOSPC, "inner");
	assert_int_equal(error_prepend(&err, "outer %u", 3), -ENOSPC);
	assert_string_equal(err.text, "outer 3: inner");
	assert_int_equal(error_prepend(NULL, "outer"), 0);
}

static void a_text_too_long_loses_its_tail_not_its_head(void **state)
{
	char big[2 * ERROR_TEXT_MAX];
	struct error err;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	error_set(&err, -EIO, "head %s", big);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	error_prepend(&err, "first");
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
	assert_int_equal(strncmp(err.text, "first: head xxx", 15), 0);
	error_errno(&err, -EIO, "%s", big);
	assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
}

/* Stderr goes into a pipe while @fn runs; what came out is in @out. */
static void capture(void (*fn)(void), char *out, size_t size)
{
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	assert_int_equal(pipe(fds), 0);
	assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
	fn();
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	close(fds[1]);
	n = read(fds[0], out, size - 1);
	close(fds[0]);
	assert_true(n >= 0);
	out[n] = '\0';
}

static void log_levels(void)
{
	log_set_level(LOG_WARN);
	log_error("one %d", 1);
	log_info("not shown");
	log_set_level(LOG_DEBUG);
	log_debug("two");
	log_set_level(LOG_WARN);
}

static void messages_above_the_level_are_dropped(void **state)
{
	char out[512];

	errno = EBADF;
	capture(log_levels, out, sizeof(out));
	assert_string_equal(out, "godwit: one 1\ngodwit: two\n");
}

static struct log_limit limit;

static void log_flood(void)
{
	unsigned i;

	for (i = 0; i < 1000; i++)
		log_limited(&limit, LOG_WARN, "the guest did it again");
}

static void log_after_a_second(void)
{
	atomic_store(&limit.next_ns, 0); /* as if the second were over */
	log_limited(&limit, LOG_WARN, "later");
}

static void a_flood_is_one_line_and_a_count(void **state)
{
	char out[2048];

	capture(log_flood, out, sizeof(out));
	/* A second may begin during the loop on a slow machine: at most a few
	 * lines, never a thousand. */
	assert_true(strlen(out) < 8 * 64);
	assert_int_equal(
		strncmp(out, "godwit: the guest did it again\n", 31), 0);
	assert_true(atomic_load(&limit.dropped) > 900);
	capture(log_after_a_second, out, sizeof(out));
	assert_non_null(strstr(out, "godwit: later ("));
	assert_non_null(strstr(out, " more like it)"));
	assert_int_equal(atomic_load(&limit.dropped), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_tells_object_operation_and_reason),
		cmocka_unit_test(context_goes_in_front_and_the_code_stays),
		cmocka_unit_test(a_text_too_long_loses_its_tail_not_its_head),
		cmocka_unit_test(messages_above_the_level_are_dropped),
		cmocka_unit_test(a_flood_is_one_line_and_a_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
