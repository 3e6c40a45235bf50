/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/wire.c - frame types, headers, and what both ends agree on.  The
 * metas are wire_put.c's and wire_get.c's.  No state; any thread.
 */
#include "migrate/wire.h"

#include <errno.h>

#include "migrate/crc32c.h"
#include "migrate/wire_priv.h"
#include "vmm/error.h"

#define PAGES_META_MAX	 (WIRE_PAGES_MAX * ENTRY_BYTES)
#define PAGES_DATA_MAX	 (WIRE_PAGES_MAX * WIRE_PAGE_BYTES)
#define DISCARD_META_MAX (WIRE_RANGES_MAX * RANGE_BYTES)
#define STATE_META_MAX	 (WIRE_PACKAGE_MAX - PACKAGE_OVERHEAD)

static const struct wire_type_info types[] = {
	{WIRE_HELLO, false, "HELLO", HELLO_BYTES, HELLO_BYTES, 0, 0},
	{WIRE_MACHINE, false, "MACHINE", 2, WIRE_DESCRIPTION_MAX, 1, 0},
	{WIRE_ADVISE, false, "ADVISE", 0, 0, 0, 0},
	{WIRE_PAGES, false, "PAGES", ENTRY_BYTES, PAGES_META_MAX, ENTRY_BYTES,
		PAGES_DATA_MAX},
	{WIRE_ROUND, false, "ROUND", ROUND_BYTES, ROUND_BYTES, 0, 0},
	{WIRE_DISCARD, false, "DISCARD", RANGE_BYTES, DISCARD_META_MAX,
		RANGE_BYTES, 0},
	{WIRE_PACKAGE, false, "PACKAGE", 2 * WIRE_HEADER_BYTES + RUN_BYTES,
		WIRE_PACKAGE_MAX, 1, 0},
	{WIRE_COMMIT, false, "COMMIT", 0, 0, 0, 0},
	{WIRE_COMPLETE, false, "COMPLETE", 0, 0, 0, 0},
	{WIRE_CANCEL, false, "CANCEL", 0, 0, 0, 0},
	{WIRE_LISTEN, true, "LISTEN", 0, 0, 0, 0},
	{WIRE_STATE, true, "STATE", 0, STATE_META_MAX, 1, 0},
	{WIRE_RUN, true, "RUN", RUN_BYTES, RUN_BYTES, 0, 0},
	{WIRE_WELCOME, false, "WELCOME", WELCOME_BYTES, WELCOME_BYTES, 0, 0},
	{WIRE_ACCEPT, false, "ACCEPT", 0, 0, 0, 0},
	{WIRE_ADVISED, false, "ADVISED", 0, 0, 0, 0},
	{WIRE_LOADED, false, "LOADED", 0, 0, 0, 0},
	{WIRE_RUNNING, false, "RUNNING", 0, 0, 0, 0},
	{WIRE_DONE, false, "DONE", 0, WIRE_STATS_MAX, 1, 0},
	{WIRE_REQUEST, false, "REQUEST", REQUEST_BYTES, REQUEST_BYTES, 0, 0},
	{WIRE_ERROR, false, "ERROR", ERROR_MIN, ERROR_MIN + WIRE_TEXT_MAX, 1,
		0},
	{WIRE_SYNC, false, "SYNC", 4, 4, 0, 0},
	{WIRE_SYNCED, false, "SYNCED", 4, 4, 0, 0},
	{WIRE_ATTACH, false, "ATTACH", ATTACH_BYTES, ATTACH_BYTES, 0, 0},
	{WIRE_QUERY, false, "QUERY", WIRE_SESSION_BYTES, WIRE_SESSION_BYTES, 0,
		0},
	{WIRE_STATUS, false, "STATUS", STATUS_BYTES, STATUS_BYTES, 0, 0},
};

#define TYPES (sizeof(types) / sizeof(types[0]))

const struct wire_type_info *wire_type_info(uint16_t type)
{
	size_t i;

	for (i = 0; i < TYPES; i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

const char *wire_type_name(uint16_t type)
{
	const struct wire_type_info *info = wire_type_info(type);

	return info ? info->name : "?";
}

bool wire_in_package_only(uint16_t type)
{
	const struct wire_type_info *info = wire_type_info(type);

	return info && info->packaged;
}

/* ---- headers ---- */

static bool meta_len_ok(const struct wire_type_info *info, uint32_t len)
{
	if (len < info->meta_min || len > info->meta_max)
		return false;
	return info->unit == 0 || (len - info->meta_min) % info->unit == 0;
}

/* No more pages than entries: the rest is for wire_get_pages(). */
static bool data_len_ok(
	const struct wire_type_info *info, const struct wire_header *h)
{
	if (h->data_len > info->data_max)
		return false;
	return h->data_len % WIRE_PAGE_BYTES == 0 &&
	       h->data_len / WIRE_PAGE_BYTES <= h->meta_len / ENTRY_BYTES;
}

int wire_header(
	const uint8_t *bytes, struct wire_header *ret_header, struct error *err)
{
	const struct wire_type_info *info;
	struct wire_header h = {
		.type = load_le16(bytes + 4),
		.flags = load_le16(bytes + 6),
		.meta_len = load_le32(bytes + 8),
		.data_len = load_le32(bytes + 12),
		.seq = load_le32(bytes + 16),
		.crc = load_le32(bytes + 20),
	};

	if (load_le32(bytes) != WIRE_MAGIC)
		return error_set(err, -EBADMSG,
			"not a godwit migration stream, or out of step");
	info = wire_type_info(h.type);
	if (!info)
		return error_set(err, -EPROTO, "unknown frame type %u", h.type);
	if (h.flags != 0)
		return error_set(err, -EBADMSG, "%s: unknown flags 0x%x",
			info->name, h.flags);
	if (!meta_len_ok(info, h.meta_len))
		return error_set(err, -EBADMSG, "%s: a meta of %u bytes",
			info->name, h.meta_len);
	if (!data_len_ok(info, &h))
		return error_set(err, -EBADMSG, "%s: %u bytes of data",
			info->name, h.data_len);
	*ret_header = h;
	return 0;
}

int wire_check(const uint8_t *bytes, const struct wire_header *header,
	const uint8_t *meta, uint32_t seq, struct error *err)
{
	const char *name = wire_type_name(header->type);
	uint32_t crc = crc32c(0, bytes, HEADER_SUMMED);

	if (crc32c(crc, meta, header->meta_len) != header->crc)
		return error_set(err, -EBADMSG, "%s: wrong checksum", name);
	if (header->seq != seq)
		return error_set(err, -EBADMSG,
			"%s: frame %u where %u should come", name, header->seq,
			seq);
	return 0;
}

/* ---- what both ends agree on ---- */

int wire_choose(const struct wire_hello *hello, uint64_t features,
	struct wire_welcome *ret_welcome, struct error *err)
{
	if (hello->version_max < WIRE_VERSION_MIN ||
		hello->version_min > WIRE_VERSION)
		return error_set(err, -EPROTO,
			"the source speaks versions %u to %u, this godwit %u to %u "
			"(update the older one)",
			hello->version_min, hello->version_max,
			WIRE_VERSION_MIN, WIRE_VERSION);
	*ret_welcome = (struct wire_welcome){
		.version = hello->version_max < WIRE_VERSION
				   ? hello->version_max
				   : WIRE_VERSION,
		.features = hello->features & features,
	};
	return 0;
}

int wire_check_welcome(const struct wire_hello *hello,
	const struct wire_welcome *welcome, struct error *err)
{
	if (welcome->version < hello->version_min ||
		welcome->version > hello->version_max)
		return error_set(err, -EPROTO,
			"WELCOME: version %u was not offered",
			welcome->version);
	if (welcome->features & ~hello->features)
		return error_set(err, -EPROTO,
			"WELCOME: features 0x%llx were not offered",
			(unsigned long long)(welcome->features &
					     ~hello->features));
	return 0;
}
