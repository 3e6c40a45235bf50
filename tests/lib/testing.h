/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/testing.h - what several tests need: cmocka's includes in the order
 * it wants them, fd counting, seeds.
 */
#ifndef GODWIT_TESTS_LIB_TESTING_H
#define GODWIT_TESTS_LIB_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
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

/* Skip the running test with @why unless /dev/kvm can be opened; a failure
 * instead when KVM=required is in the environment. */
void testing_need_kvm(void);

#endif
