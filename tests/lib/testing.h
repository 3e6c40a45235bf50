/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/testing.h - what several tests need: cmocka's includes in the order
 * it wants them, fd counting, seeds.
 */
#ifndef GODWIT_TESTS_LIB_TESTING_H
#define GODWIT_TESTS_LIB_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Open fds of this process; the one used for counting is not counted. */
int testing_fd_count(void);

/* A seed from GODWIT_SEED if set, else from the clock; printed once so that a
 * failure can be repeated. */
uint64_t testing_seed(const char *test);

/* xorshift64*: the same sequence for the same seed on every host. */
uint64_t testing_random(uint64_t *state);

/* For the end of what another thread does, of which no event tells: look until
 * @condition holds, and fail after a minute, which only ends what hangs. */
#define testing_wait(condition)                                                \
	do {                                                                   \
		unsigned naps_ = 0;                                            \
		while (!(condition))                                           \
			if (!testing_nap(&naps_))                              \
				fail_msg("never: %s", #condition);             \
	} while (0)
bool testing_nap(unsigned *naps); /* false: it was the last one */

/* alarm() this before what must not hang; 0 after it.  It only ends what does: a
 * machine with much else to do, under a sanitizer, takes minutes. */
#define TESTING_WATCHDOG_S 500

/* A group's set-up for tests with threads: the first failure ends the program.
 * Else threads of the failed test would go on with what the next one has put in
 * the place of their data; and an assertion of a thread that is not cmocka's
 * could not be reported at all. */
int testing_end_at_failure(void **state);

/* Skip the running test with @why unless /dev/kvm can be opened; a failure
 * instead when KVM=required is in the environment. */
void testing_need_kvm(void);

#endif
