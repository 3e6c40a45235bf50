/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/snapshot_format.c - the header, encoded and decoded.  Bytes only; any
 * thread.
 */
#include "migrate/snapshot_format.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"

#define CRC_AT	    (SNAPSHOT_HEADER_BYTES - 4)
#define FLAG_PAUSED 1u

/* Where each field lies. */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_PAGE = 12,
	AT_FLAGS = 16, /* u32, and 4 bytes 0 */
	AT_STOP = 24,
	AT_RAM = 32,
	AT_FILE = 40,
	AT_DESCRIPTION = 48, /* offset, length */
	AT_STATE = 64,
	AT_INDEX = 80,
	AT_PAGES = 96,
	AT_CRCS = 104, /* description, state, index */
	AT_REST = 116, /* 0 */
};

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, 8);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return le64toh(v);
}

static uint64_t round_up(uint64_t v, uint64_t unit)
{
	return (v + unit - 1) / unit * unit;
}

uint64_t snapshot_bitmap_bytes(uint64_t ram_bytes)
{
	return round_up(ram_bytes / SNAPSHOT_PAGE, 64) / 8;
}

int snapshot_layout_fill(struct snapshot_layout *l, struct error *err)
{
	if (l->ram_bytes == 0 || l->ram_bytes > SNAPSHOT_RAM_MAX ||
		l->ram_bytes % SNAPSHOT_PAGE != 0)
		return error_set(err, -EINVAL,
			"%" PRIu64 " bytes of RAM (at most 1 TiB, in pages of "
			"4096)",
			l->ram_bytes);
	if (l->description_len == 0 ||
		l->description_len > SNAPSHOT_DESCRIPTION_MAX)
		return error_set(err, -EINVAL,
			"a description of %" PRIu64 " bytes (1 to 1 MiB)",
			l->description_len);
	if (l->state_len > SNAPSHOT_STATE_MAX)
		return error_set(err, -EINVAL,
			"state of %" PRIu64 " bytes (at most 256 MiB)",
			l->state_len);
	l->description_at = SNAPSHOT_HEADER_BYTES;
	l->state_at = round_up(l->description_at + l->description_len, 8);
	l->index_at = round_up(l->state_at + l->state_len, 8);
	l->index_len = snapshot_bitmap_bytes(l->ram_bytes) +
		       l->ram_bytes / SNAPSHOT_PAGE * 4;
	l->pages_at = round_up(l->index_at + l->index_len, SNAPSHOT_ALIGN);
	l->file_bytes = l->pages_at + l->ram_bytes;
	return 0;
}

void snapshot_header_encode(const struct snapshot_layout *l, uint8_t *buf)
{
	memset(buf, 0, SNAPSHOT_HEADER_BYTES);
	memcpy(buf + AT_MAGIC, SNAPSHOT_MAGIC, 8);
	put32(buf + AT_VERSION, SNAPSHOT_VERSION);
	put32(buf + AT_PAGE, SNAPSHOT_PAGE);
	put32(buf + AT_FLAGS, l->paused ? FLAG_PAUSED : 0);
	put64(buf + AT_STOP, l->stop_ns);
	put64(buf + AT_RAM, l->ram_bytes);
	put64(buf + AT_FILE, l->file_bytes);
	put64(buf + AT_DESCRIPTION, l->description_at);
	put64(buf + AT_DESCRIPTION + 8, l->description_len);
	put64(buf + AT_STATE, l->state_at);
	put64(buf + AT_STATE + 8, l->state_len);
	put64(buf + AT_INDEX, l->index_at);
	put64(buf + AT_INDEX + 8, l->index_len);
	put64(buf + AT_PAGES, l->pages_at);
	put32(buf + AT_CRCS, l->description_crc);
	put32(buf + AT_CRCS + 4, l->state_crc);
	put32(buf + AT_CRCS + 8, l->index_crc);
	put32(buf + CRC_AT, state_crc32c(0, buf, CRC_AT));
}

/* Magic, version and CRC keep their places in all versions, so that a file of a
 * later one is told from a damaged one. */
static int check_kind(const uint8_t *buf, struct error *err)
{
	uint32_t version = get32(buf + AT_VERSION);

	if (memcmp(buf + AT_MAGIC, SNAPSHOT_MAGIC, 8) != 0)
		return error_set(err, -EPROTO, "not a godwit snapshot");
	if (get32(buf + CRC_AT) == state_crc32c(0, buf, CRC_AT)) {
		if (version == SNAPSHOT_VERSION)
			return 0;
		return error_set(err, -EPROTO,
			"snapshot format %" PRIu32
			", this godwit reads %u (use the one that wrote it)",
			version, SNAPSHOT_VERSION);
	}
	return error_set(err, -EBADMSG,
		"the header's checksum is wrong (a damaged file)");
}

static bool offsets_equal(const uint8_t *buf, const struct snapshot_layout *l)
{
	return get64(buf + AT_FILE) == l->file_bytes &&
	       get64(buf + AT_DESCRIPTION) == l->description_at &&
	       get64(buf + AT_STATE) == l->state_at &&
	       get64(buf + AT_INDEX) == l->index_at &&
	       get64(buf + AT_INDEX + 8) == l->index_len &&
	       get64(buf + AT_PAGES) == l->pages_at;
}

static bool rest_is_zero(const uint8_t *buf)
{
	unsigned i;

	for (i = AT_REST; i < CRC_AT; i++)
		if (buf[i] != 0)
			return false;
	return get32(buf + AT_FLAGS + 4) == 0 &&
	       (get32(buf + AT_FLAGS) & ~FLAG_PAUSED) == 0;
}

int snapshot_header_decode(
	const uint8_t *buf, struct snapshot_layout *ret, struct error *err)
{
	struct snapshot_layout l = {0};
	int code = check_kind(buf, err);

	if (code < 0)
		return code;
	if (get32(buf + AT_PAGE) != SNAPSHOT_PAGE)
		return error_set(err, -EPROTO,
			"pages of %" PRIu32 " bytes, this host's have %u",
			get32(buf + AT_PAGE), SNAPSHOT_PAGE);
	l.paused = get32(buf + AT_FLAGS) & FLAG_PAUSED;
	l.stop_ns = get64(buf + AT_STOP);
	l.ram_bytes = get64(buf + AT_RAM);
	l.description_len = get64(buf + AT_DESCRIPTION + 8);
	l.state_len = get64(buf + AT_STATE + 8);
	l.description_crc = get32(buf + AT_CRCS);
	l.state_crc = get32(buf + AT_CRCS + 4);
	l.index_crc = get32(buf + AT_CRCS + 8);
	if (snapshot_layout_fill(&l, err) < 0) {
		error_prepend(err, "header");
		if (err)
			err->code = -EPROTO;
		return -EPROTO;
	}
	if (!offsets_equal(buf, &l) || !rest_is_zero(buf))
		return error_set(err, -EPROTO,
			"header: fields that do not fit together");
	*ret = l;
	return 0;
}
