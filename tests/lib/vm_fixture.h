/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/vm_fixture.h - a VM in the test's own process, its serial line in a
 * file that the test reads.
 */
#ifndef GODWIT_TESTS_LIB_VM_FIXTURE_H
#define GODWIT_TESTS_LIB_VM_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>

#include "loop/loop.h"
#include "vmm/config.h"
#include "vmm/vm.h"

#define VM_FIXTURE_WORDS 32

struct vm_fixture {
	struct config cfg;
	struct vm *vm;
	char serial_path[64];
	char *text; /* owned: serial output as of vm_fixture_text() */
	struct loop_timer watch;
	const char *wanted; /* vm_fixture_run_until() */
	unsigned wanted_count;
};

/* Create a VM from the words of a `godwit run` command line, NULL-terminated;
 * --serial file=... is added.  Fails the test if it cannot. */
void vm_fixture_init(struct vm_fixture *f, const char *const *words);
void vm_fixture_fini(struct vm_fixture *f);

/* What came out of COM1 so far; valid until the next call. */
const char *vm_fixture_text(struct vm_fixture *f);

/* Run until the output holds @wanted @count times, then stop with VM_END_USER.
 * Returns what ended the run. */
enum vm_end vm_fixture_run_until(
	struct vm_fixture *f, const char *wanted, unsigned count);

/* How often @needle stands in @text. */
unsigned vm_fixture_count(const char *text, const char *needle);

#endif
