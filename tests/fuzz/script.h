/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/script.h - an input read as a script that drives one device on a
 * vbench; what the fuzzers of devices share.
 */
#ifndef GODWIT_TESTS_FUZZ_SCRIPT_H
#define GODWIT_TESTS_FUZZ_SCRIPT_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "tests/lib/vdriver.h"

struct script {
	const uint8_t *pos, *end;
};

/* The next @bytes as a number, big endian; what is not there is left out. */
static inline uint32_t take(struct script *s, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes-- > 0 && s->pos < s->end)
		v = v << 8 | *s->pos++;
	return v;
}

/* Bytes of the script into the first 128 KiB of RAM. */
static inline void ram(struct vbench *b, struct script *s)
{
	uint32_t at = 2 * take(s, 2), n = take(s, 1);

	if (n > (size_t)(s->end - s->pos))
		n = (uint32_t)(s->end - s->pos);
	memcpy(b->gm.base + at, s->pos, n);
	s->pos += n;
}

/* Save, load, save: the same bytes; then on with it. */
static inline void move(struct vbench *b)
{
	struct state_writer w, again;
	int rc;

	vbench_save(b, &w);
	rc = vbench_load(b, &w, NULL);
	assert(rc == 0);
	vbench_save(b, &again);
	assert(w.len == again.len && memcmp(w.buf, again.buf, w.len) == 0);
	state_writer_fini(&w);
	state_writer_fini(&again);
	b->dev->ops->resume(b->dev);
}

#endif
