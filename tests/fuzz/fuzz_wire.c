/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz_wire.c - a hostile peer's frames: raw, and with right
 * lengths, sequence numbers and checksums, so that the decoders behind them are
 * reached.
 *
 * Byte 0 selects: bit 0, frames are made good; bit 1, those inside a PACKAGE
 * too; the rest is the stream.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/wire.h"
#include "tests/lib/wire_frames.h"
#include "vmm/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Seal the frames one after the other in [p, p + len). */
static void seal_inner(uint8_t *p, size_t len)
{
	struct wire_header h;
	uint32_t seq = 0;

	while (len >= WIRE_HEADER_BYTES && wire_header(p, &h, NULL) == 0 &&
		h.meta_len <= len - WIRE_HEADER_BYTES) {
		wire_reseal(p, h.meta_len, seq++);
		p += WIRE_HEADER_BYTES + h.meta_len;
		len -= WIRE_HEADER_BYTES + h.meta_len;
	}
}

/* What decodes is written again as the same bytes. */
static void rewrite(const struct wire_header *h, const uint8_t *meta)
{
	static uint64_t entry[WIRE_PAGES_MAX];
	static struct wire_range range[WIRE_RANGES_MAX];
	struct wire_package p;
	struct wire_out out;
	uint32_t n, i;
	int rc;

	wire_out_init(&out);
	switch (h->type) {
	case WIRE_PAGES:
		n = h->meta_len / 8;
		for (i = 0; i < n; i++) {
			struct wire_page page = wire_page_at(meta, i);

			entry[i] = wire_page_entry(page.page, page.kind);
		}
		rc = wire_pages(&out, entry, n, h->seq);
		break;
	case WIRE_DISCARD:
		n = h->meta_len / 16;
		for (i = 0; i < n; i++)
			range[i] = wire_range_at(meta, i);
		rc = wire_discard(&out, range, n, h->seq);
		break;
	case WIRE_PACKAGE:
		rc = wire_get_package(meta, h->meta_len, &p, NULL);
		assert(rc == 0);
		rc = wire_package(
			&out, p.listen, p.state, p.state_len, &p.run, h->seq);
		break;
	default:
		return;
	}
	assert(rc == 0);
	assert(out.len == WIRE_HEADER_BYTES + h->meta_len);
	assert(memcmp(out.buf + WIRE_HEADER_BYTES, meta, h->meta_len) == 0);
	wire_out_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t pages[] = {GOLDEN_PAGES, 1, UINT64_C(1) << 40};
	struct wire_header h;
	struct error err = {0};
	uint8_t *copy, *p;
	uint32_t seq = 0;
	size_t left;
	int mode;

	if (size < 1)
		return 0;
	mode = data[0];
	left = size - 1;
	copy = malloc(left + 1);
	assert(copy);
	memcpy(copy, data + 1, left);
	for (p = copy; left >= WIRE_HEADER_BYTES; seq++) {
		if (wire_header(p, &h, &err) < 0)
			break;
		if (h.meta_len > left - WIRE_HEADER_BYTES)
			break;
		if ((mode & 2) && h.type == WIRE_PACKAGE)
			seal_inner(p + WIRE_HEADER_BYTES, h.meta_len);
		if (mode & 1) {
			wire_reseal(p, h.meta_len, seq);
			assert(wire_header(p, &h, &err) == 0);
		}
		if (wire_check(p, &h, p + WIRE_HEADER_BYTES, seq, &err) < 0)
			break;
		if (wire_decode(&h, p + WIRE_HEADER_BYTES,
			    pages[(unsigned)mode / 4 % 3], &err) == 0)
			rewrite(&h, p + WIRE_HEADER_BYTES);
		left -= WIRE_HEADER_BYTES + h.meta_len;
		p += WIRE_HEADER_BYTES + h.meta_len;
		/* Data that would follow are as good as any; leave them out
		 * unless they are there. */
		if (h.data_len <= left) {
			p += h.data_len;
			left -= h.data_len;
		}
	}
	free(copy);
	return 0;
}
