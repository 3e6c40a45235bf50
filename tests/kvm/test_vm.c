/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_vm.c - a VM in this process: how runs end, pause, reset, and
 * a move of all state from one VM to another.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/guestmem.h"

#define PAUSES 2000

static enum vm_end run(struct vm_fixture *f, uint32_t *ret_code)
{
	*ret_code = 0;
	return vm_run(f->vm, ret_code);
}

static void hello_prints_its_line_and_powers_off(void **state)
{
	const char *words[] = {"-k", "kernels/hello", NULL};
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	assert_int_equal(run(&f, &code), VM_END_POWEROFF);
	assert_non_null(
		strstr(vm_fixture_text(&f), "hello from godwit guest (pvh)"));
	vm_fixture_fini(&f);
}

static void every_entry_protocol_reaches_the_guest(void **state)
{
	static const struct {
		const char *kernel, *boot, *machine, *says;
	} rows[] = {
		{"kernels/hello", "pvh", "acpi", "(pvh)"},
		{"kernels/hello", "linux64", "acpi", "(linux64)"},
		{"kernels/hello", "linux64", "fdt", "(linux64)"},
		{"kernels/hello", "linux64", "cmdline", "(linux64)"},
		{"kernels/hello.bzimage", "linux64", "acpi", "(linux64)"},
		{"kernels/hello.bzimage", "linux32", "acpi", "hello"},
	};
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *words[] = {"-k", rows[i].kernel, "--boot",
			rows[i].boot, "--machine", rows[i].machine, NULL};
		struct vm_fixture f;
		uint32_t code;

		vm_fixture_init(&f, words);
		assert_int_equal(run(&f, &code), VM_END_POWEROFF);
		assert_non_null(strstr(vm_fixture_text(&f), rows[i].says));
		vm_fixture_fini(&f);
	}
}

static void every_way_to_end_is_told_apart(void **state)
{
	static const struct {
		const char *kernel, *append;
		enum vm_end end;
		uint32_t code;
	} rows[] = {
		{"kernels/hello", "exit=debug:21", VM_END_DEBUG_EXIT, 21},
		{"kernels/hello", "exit=reset", VM_END_RESET, 0},
		{"kernels/hello", "exit=triple", VM_END_CRASH, 0},
		{"kernels/exits", "case=reset8042", VM_END_RESET, 0},
		{"kernels/exits", "case=resetacpi", VM_END_RESET, 0},
		{"kernels/exits", "case=pvpanic", VM_END_PANIC, 0},
		{"kernels/exits", "case=internal", VM_END_CRASH, 0},
		{"kernels/exits", "case=poweroff", VM_END_POWEROFF, 0},
	};
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *words[] = {"-k", rows[i].kernel, "-a",
			rows[i].append, "--no-reboot", "--debug-exit", NULL};
		struct vm_fixture f;
		uint32_t code;

		vm_fixture_init(&f, words);
		if (run(&f, &code) != rows[i].end || code != rows[i].code)
			fail_msg("%s %s: wrong end", rows[i].kernel,
				rows[i].append);
		vm_fixture_fini(&f);
	}
}

static void a_reset_starts_the_guest_again_in_the_same_vm(void **state)
{
	const char *words[] = {
		"-k", "kernels/hello", "-a", "exit=reset", "-c", "2", NULL};
	struct vm_fixture f;
	int fds;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	fds = testing_fd_count();
	assert_int_equal(
		vm_fixture_run_until(&f, "hello from", 20), VM_END_USER);
	assert_int_equal(testing_fd_count(), fds);
	vm_fixture_fini(&f);
}

static void exits_all_pass(void **state)
{
	const char *words[] = {"-k", "kernels/exits", NULL};
	struct vm_fixture f;
	uint32_t code;
	const char *text;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	assert_int_equal(run(&f, &code), VM_END_POWEROFF);
	text = vm_fixture_text(&f);
	assert_null(strstr(text, "FAIL"));
	assert_non_null(strstr(text, ", 0 failed"));
	vm_fixture_fini(&f);
}

static void interrupts_reach_every_cpu(void **state)
{
	const char *words[] = {
		"-k", "kernels/irq", "-a", "smp=2", "-c", "2", NULL};
	struct vm_fixture f;
	uint32_t code;
	const char *text;

	testing_need_kvm();
	vm_fixture_init(&f, words);
	assert_int_equal(run(&f, &code), VM_END_POWEROFF);
	text = vm_fixture_text(&f);
	assert_null(strstr(text, "FAIL"));
	assert_non_null(strstr(text, ", 0 failed"));
	vm_fixture_fini(&f);
}

struct storm {
	struct vm *vm;
	struct loop_bh *bh;
	unsigned left;
};

static void pause_and_resume(void *opaque)
{
	struct storm *s = opaque;

	vm_pause(s->vm);
	vm_pause(s->vm); /* counted */
	vm_resume(s->vm);
	vm_resume(s->vm);
	if (--s->left == 0)
		vm_stop(s->vm, VM_END_USER);
	else
		loop_bh_schedule(s->bh);
}

/* Endless guests that are paused again and again: one that only computes, one
 * that makes exits without end. */
static void a_storm_of_pauses_loses_nothing(void **state)
{
	static const char *const kernels[][2] = {
		{"kernels/exits", "case=loop"},
		{"kernels/work", "mem=4 passes=0 smp=2"},
	};
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < 2; i++) {
		const char *words[] = {"-k", kernels[i][0], "-a", kernels[i][1],
			"-c", "2", NULL};
		struct storm s = {.left = PAUSES};
		struct vm_fixture f;
		uint32_t code;

		vm_fixture_init(&f, words);
		s.vm = f.vm;
		assert_int_equal(loop_bh_create(vm_loop(f.vm), pause_and_resume,
					 &s, "storm", vm_guard(f.vm), &s.bh),
			0);
		loop_bh_schedule(s.bh);
		assert_int_equal(run(&f, &code), VM_END_USER);
		assert_int_equal(s.left, 0);
		assert_null(strstr(vm_fixture_text(&f), "LOST"));
		loop_bh_delete(s.bh);
		vm_fixture_fini(&f);
	}
}

/* Everything a migration does, without the wire: all state and RAM of a running
 * SMP guest go to a second VM in the same process, again and again; the guest's
 * own check finds every lost write. */
static void a_running_guest_moves_to_another_vm_and_does_not_notice(
	void **state)
{
	const char *words[] = {"-k", "kernels/work", "-a",
		"mem=4 passes=0 smp=2 report=1p", "-c", "2", "-m", "32M",
		"--no-reboot", NULL};
	struct vm_fixture hosts[2], *from, *to;
	struct state_writer w;
	struct error err;
	unsigned hop;

	testing_need_kvm();
	vm_fixture_init(&hosts[0], words);
	for (hop = 0; hop < 20; hop++) {
		from = &hosts[hop % 2];
		to = &hosts[(hop + 1) % 2];
		assert_int_equal(vm_fixture_run_until(from, "work: pass", 2),
			VM_END_USER);
		assert_null(strstr(vm_fixture_text(from), "LOST"));
		state_writer_init(&w);
		if (vm_save(from->vm, &w, &err) < 0)
			fail_msg("save: %s", err.text);
		vm_fixture_init(to, words);
		memcpy(vm_guestmem(to->vm)->base, vm_guestmem(from->vm)->base,
			(size_t)vm_guestmem(to->vm)->size);
		if (vm_load(to->vm, w.buf, w.len, &err) < 0)
			fail_msg("load: %s", err.text);
		state_writer_fini(&w);
		vm_fixture_fini(from);
	}
	vm_fixture_fini(&hosts[hop % 2]);
}

static void state_of_another_machine_is_refused(void **state)
{
	const char *one[] = {"-k", "kernels/hello", NULL};
	const char *two[] = {"-k", "kernels/hello", "-c", "2", NULL};
	struct vm_fixture a, b;
	struct state_writer w;
	struct error err;

	testing_need_kvm();
	vm_fixture_init(&a, one);
	vm_fixture_init(&b, two);
	state_writer_init(&w);
	assert_int_equal(vm_save(a.vm, &w, &err), 0);
	assert_int_equal(vm_load(b.vm, w.buf, w.len, &err), -EPROTO);
	assert_non_null(strstr(err.text, "cpus: another number"));
	state_writer_fini(&w);
	state_writer_init(&w);
	assert_int_equal(vm_save(b.vm, &w, &err), 0);
	assert_int_equal(vm_load(a.vm, w.buf, w.len, &err), -EPROTO);
	assert_non_null(strstr(err.text, "vcpu1"));
	/* Cut anywhere, flip anything: refused, never a crash. */
	assert_int_equal(vm_load(b.vm, w.buf, w.len - 1, &err), -EBADMSG);
	w.buf[w.len / 2] ^= 1;
	assert_int_equal(vm_load(b.vm, w.buf, w.len, &err), -EBADMSG);
	state_writer_fini(&w);
	vm_fixture_fini(&a);
	vm_fixture_fini(&b);
}

static void what_cannot_be_built_leaves_nothing_behind(void **state)
{
	static const char *const rows[][8] = {
		{"-k", "/nonexistent", NULL},
		{"-k", "/dev", NULL},
		{"-k", "Makefile", NULL},
		{"-k", "kernels/hello", "-i", "/nonexistent", NULL},
		{"-k", "kernels/hello", "-m", "64K", NULL},
		{"-k", "kernels/hello", "-c", "60000", NULL},
		{"-k", "kernels/hello", "-d", "path=/nonexistent", NULL},
		{"-k", "kernels/hello", "--serial", "file=/nonexistent/x",
			NULL},
	};
	int fds = testing_fd_count();
	unsigned i, argc;

	testing_need_kvm();
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct error err = {.text = ""};
		struct config cfg;
		struct vm *vm;

		for (argc = 0; rows[i][argc]; argc++)
			;
		config_init(&cfg);
		assert_int_equal(
			config_parse_run(&cfg, (int)argc,
				(char *const *)(uintptr_t)rows[i], &err),
			0);
		assert_true(vm_create(&cfg, NULL, &vm, &err) < 0);
		assert_true(strlen(err.text) > 10);
		config_fini(&cfg);
		assert_int_equal(testing_fd_count(), fds);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_prints_its_line_and_powers_off),
		cmocka_unit_test(every_entry_protocol_reaches_the_guest),
		cmocka_unit_test(every_way_to_end_is_told_apart),
		cmocka_unit_test(a_reset_starts_the_guest_again_in_the_same_vm),
		cmocka_unit_test(exits_all_pass),
		cmocka_unit_test(interrupts_reach_every_cpu),
		cmocka_unit_test(a_storm_of_pauses_loses_nothing),
		cmocka_unit_test(
			a_running_guest_moves_to_another_vm_and_does_not_notice),
		cmocka_unit_test(state_of_another_machine_is_refused),
		cmocka_unit_test(what_cannot_be_built_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
