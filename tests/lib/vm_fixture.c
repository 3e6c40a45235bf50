/* SPDX-License-Identifier: Apache-2.0 */
/* tests/lib/vm_fixture.c - see vm_fixture.h. */
#include "tests/lib/vm_fixture.h"

#include "tests/lib/testing.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/error.h"

#define LOOK_NS 2000000 /* how often the output is looked at */

void vm_fixture_init(struct vm_fixture *f, const char *const *words)
{
	char serial[96];
	const char *argv[VM_FIXTURE_WORDS + 2];
	struct error err = {.text = ""};
	int argc = 0, fd;

	memset(f, 0, sizeof(*f));
	snprintf(f->serial_path, sizeof(f->serial_path),
		"/tmp/godwit-test.XXXXXX");
	fd = mkstemp(f->serial_path);
	assert_true(fd >= 0);
	close(fd);
	snprintf(serial, sizeof(serial), "file=%s", f->serial_path);
	argv[argc++] = "--serial";
	argv[argc++] = serial;
	while (*words && argc < VM_FIXTURE_WORDS)
		argv[argc++] = *words++;
	config_init(&f->cfg);
	if (config_parse_run(
		    &f->cfg, argc, (char *const *)(uintptr_t)argv, &err) < 0)
		fail_msg("config: %s", err.text);
	if (vm_create(&f->cfg, NULL, &f->vm, &err) < 0)
		fail_msg("vm_create: %s", err.text);
}

void vm_fixture_fini(struct vm_fixture *f)
{
	vm_destroy(f->vm);
	config_fini(&f->cfg);
	unlink(f->serial_path);
	free(f->text);
}

const char *vm_fixture_text(struct vm_fixture *f)
{
	struct stat st;
	ssize_t n;
	int fd;

	free(f->text);
	fd = open(f->serial_path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	f->text = calloc(1, (size_t)st.st_size + 1);
	assert_non_null(f->text);
	n = read(fd, f->text, (size_t)st.st_size);
	assert_true(n >= 0);
	close(fd);
	return f->text;
}

unsigned vm_fixture_count(const char *text, const char *needle)
{
	unsigned n = 0;

	while ((text = strstr(text, needle)) != NULL) {
		text += strlen(needle);
		n++;
	}
	return n;
}

static void look(void *opaque)
{
	struct vm_fixture *f = opaque;
	struct loop *loop = vm_loop(f->vm);

	if (vm_fixture_count(vm_fixture_text(f), f->wanted) >=
		f->wanted_count) {
		vm_stop(f->vm, VM_END_USER);
		return;
	}
	assert_int_equal(loop_timer_set(&f->watch,
				 loop_now_ns(loop, LOOP_MONOTONIC) + LOOK_NS),
		0);
}

enum vm_end vm_fixture_run_until(
	struct vm_fixture *f, const char *wanted, unsigned count)
{
	uint32_t code;
	enum vm_end end;

	f->wanted = wanted;
	f->wanted_count = count;
	loop_timer_init(&f->watch, vm_loop(f->vm), LOOP_MONOTONIC, look, f);
	look(f);
	end = vm_run(f->vm, &code);
	loop_timer_cancel(&f->watch);
	return end;
}
