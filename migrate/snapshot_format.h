/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/snapshot_format.h - the bytes of a snapshot file (docs/snapshot.md).
 *
 * Little endian; offsets in the file:
 *
 *	0		header, 4096 bytes, of which the last 4 are its CRC
 *	4096		description: JSON text, no terminator
 *	then		state: sections; begins at a multiple of 8
 *	then		index; begins at a multiple of 8:
 *			  bitmap, a u64 for 64 pages: bit set = has data
 *			  a u32 for each page: CRC-32C of its bytes, or 0
 *	pages_at	guest RAM by RAM offset; a multiple of 2 MiB; a page
 *			  without data is a hole
 *	file_bytes	end
 *
 * Every offset follows from the lengths; the header states them all the same,
 * and a reader wants them to be equal.
 */
#ifndef GODWIT_MIGRATE_SNAPSHOT_FORMAT_H
#define GODWIT_MIGRATE_SNAPSHOT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define SNAPSHOT_MAGIC		 "GODWITSN"
#define SNAPSHOT_VERSION	 1u
#define SNAPSHOT_PAGE		 4096u
#define SNAPSHOT_HEADER_BYTES	 4096u
#define SNAPSHOT_ALIGN		 UINT64_C(0x200000)
#define SNAPSHOT_DESCRIPTION_MAX (UINT64_C(1) << 20)
#define SNAPSHOT_STATE_MAX	 (UINT64_C(1) << 28)
#define SNAPSHOT_RAM_MAX	 (UINT64_C(1) << 40)

struct snapshot_layout {
	bool paused;
	uint64_t stop_ns;
	uint64_t ram_bytes;
	uint64_t description_len, state_len;
	uint32_t description_crc, state_crc, index_crc;
	/* Set by snapshot_layout_fill(). */
	uint64_t description_at, state_at, index_at, index_len, pages_at;
	uint64_t file_bytes;
};

/* Lengths to offsets.  0, or -EINVAL with @err: a length is 0 or too large, or
 * RAM is no whole number of pages. */
int snapshot_layout_fill(struct snapshot_layout *l, struct error *err);

/* @buf: SNAPSHOT_HEADER_BYTES, all of them written. */
void snapshot_header_encode(const struct snapshot_layout *l, uint8_t *buf);

/**
 * snapshot_header_decode - check and read a header.
 * Return: 0; -EPROTO (no snapshot; version, page size or lengths not ours),
 *         -EBADMSG (CRC); with @err.
 */
int snapshot_header_decode(
	const uint8_t *buf, struct snapshot_layout *ret, struct error *err);

/* The index's bitmap, in bytes; the CRCs follow it. */
uint64_t snapshot_bitmap_bytes(uint64_t ram_bytes);

#endif
