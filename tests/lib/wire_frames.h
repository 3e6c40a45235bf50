/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/lib/wire_frames.h - the golden streams of the migration protocol, and
 * one call that decodes any meta.  Used by test_wire and fuzz_wire.
 *
 * A golden stream is tests/data/wire/NAME.hex.  It is ABI: what a released
 * version wrote is never written differently by that version.
 */
#ifndef GODWIT_TESTS_LIB_WIRE_FRAMES_H
#define GODWIT_TESTS_LIB_WIRE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "migrate/wire.h"

/* RAM of the guest that the golden streams are about. */
#define GOLDEN_PAGES 16u

struct bytes_out {
	uint8_t *p; /* owned */
	size_t len, cap;
};

unsigned golden_count(void);
const char *golden_name(unsigned index); /* NULL past the end */
/* True for a stream of one frame. */
bool golden_is_frame(unsigned index);
/* What this godwit writes today; @ret->p to be freed. */
void golden_build(unsigned index, struct bytes_out *ret);
/* The source's side of a whole migration; its index. */
unsigned golden_session(void);

/* Check and take apart the meta of @header, whatever its type, for a guest of
 * @pages.  What the type's wire_get_...() says. */
int wire_decode(const struct wire_header *header, const uint8_t *meta,
	uint64_t pages, struct error *err);

/* Write length, seq and CRC of the frame of @len bytes anew (its meta may have
 * been changed), its data_len as it is; sub-frames are left alone. */
void wire_reseal(uint8_t *frame, size_t meta_len, uint32_t seq);

#endif
