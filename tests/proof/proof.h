/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/proof/proof.h - what a harness starts with.
 *
 * A harness includes the .c file it is about, so that static functions are in
 * reach, gives it every input there is (anything(), below) and asserts what must
 * hold.  Frama-C's Eva explores an over-approximation of all runs: no alarm
 * means that no run has undefined behaviour (a wild or out-of-bounds access, an
 * overflow of a signed number, a shift too far, an uninitialised read), and
 * "valid" means that the assertion holds in all of them.  run.sh wants both, and
 * wants each harness to fail when the line under test is broken.
 */
#ifndef GODWIT_TESTS_PROOF_H
#define GODWIT_TESTS_PROOF_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "__fc_builtin.h"
#include "vmm/error.h"

/* Byte order and atomics as this host's compiler has them, for one thread. */
#define le16toh(x)		  ((uint16_t)(x))
#define le32toh(x)		  ((uint32_t)(x))
#define le64toh(x)		  ((uint64_t)(x))
#define htole16(x)		  ((uint16_t)(x))
#define htole32(x)		  ((uint32_t)(x))
#define htole64(x)		  ((uint64_t)(x))
#define __atomic_load_n(p, o)	  (*(p))
#define __atomic_store_n(p, v, o) (*(p) = (v))

/* What Frama-C's headers lack; no value matters to a proof. */
#define MAP_NORESERVE	     0x4000
#define MADV_DONTNEED	     4
#define MADV_DONTFORK	     10
#define MADV_HUGEPAGE	     14
#define MADV_NOHUGEPAGE	     15
#define MADV_DONTDUMP	     16
#define GRND_NONBLOCK	     1
#define FALLOC_FL_KEEP_SIZE  1
#define FALLOC_FL_PUNCH_HOLE 2

/* Messages are none of a proof's business; what they return is. */
#define error_set(err, code, ...)   (code)
#define error_errno(err, code, ...) (code)
#define error_prepend(err, ...)	    (-1)

static inline uint64_t any_u64(uint64_t low, uint64_t high)
{
	return Frama_C_unsigned_long_long_interval(low, high);
}

static inline void anything(void *bytes, size_t len)
{
	Frama_C_make_unknown((char *)bytes, len);
}

#endif
