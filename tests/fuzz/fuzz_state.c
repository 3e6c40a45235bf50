/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_state.c - hostile sections: raw, and with a right checksum.
 *
 * Byte 0 selects: 0, the rest is a stream; else it is the body of one section,
 * read by getters that its own bytes choose.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Read a body; every getter stays within it, whatever it is asked. */
static void read_body(struct state_reader *r)
{
	struct state_reader sub;
	uint8_t buf[300];
	unsigned n = 0;

	while (r->error == 0 && r->pos < r->end && n++ < 1000) {
		const uint8_t *was = r->pos;

		switch (*r->pos % 8) {
		case 0:
			state_get_u8(r);
			break;
		case 1:
			state_get_u16(r);
			break;
		case 2:
			state_get_u32(r);
			break;
		case 3:
			state_get_u64(r);
			break;
		case 4:
			state_get_bool(r);
			break;
		case 5: /* STATE_SUB_MARK is one of these */
			if (state_sub_next(r, &sub) == 1) {
				assert(sub.pos >= was && sub.end <= r->pos);
				assert(strlen(sub.name) <= STATE_NAME_MAX);
				read_body(&sub);
			}
			break;
		default:
			state_get_bytes(r, buf, *r->pos);
		}
		assert(r->pos >= was && r->pos <= r->end);
	}
	state_reader_end(r);
}

/* A section that reads well is written again as the same bytes. */
static void rewrite(
	const struct state_reader *r, const uint8_t *from, const uint8_t *to)
{
	struct state_writer w;

	state_writer_init(&w);
	state_begin(&w, r->name, r->version);
	state_put_bytes(&w, r->pos, (size_t)(r->end - r->pos));
	state_end(&w);
	assert(state_writer_error(&w) == 0);
	assert(w.len == (size_t)(to - from));
	assert(memcmp(w.buf, from, w.len) == 0);
	state_writer_fini(&w);
}

static void read_stream(const uint8_t *data, size_t size)
{
	const uint8_t *pos = data, *end = data + size, *was = data;
	struct state_reader r;
	struct error err;

	while (state_next(&pos, end, &r, &err) == 1) {
		assert(pos > was && pos <= end);
		rewrite(&r, was, pos);
		read_body(&r);
		was = pos;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_writer w;

	if (size < 1)
		return 0;
	if (data[0] == 0) {
		read_stream(data + 1, size - 1);
		return 0;
	}
	state_writer_init(&w);
	state_begin(&w, "fuzz", data[0]);
	state_put_bytes(&w, data + 1, size - 1);
	state_end(&w);
	assert(state_writer_error(&w) == 0);
	read_stream(w.buf, w.len);
	state_writer_fini(&w);
	return 0;
}
