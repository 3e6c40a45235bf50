/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/wire_priv.h - what wire.c, wire_put.c and wire_get.c share: the one
 * table of frame types, and little-endian access.
 */
#ifndef GODWIT_MIGRATE_WIRE_PRIV_H
#define GODWIT_MIGRATE_WIRE_PRIV_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* What a type allows.  The meta is @meta_min bytes and then whole units, up to
 * @meta_max; a unit of 0 means exactly @meta_min. */
struct wire_type_info {
	uint16_t type;
	bool packaged; /* inside a PACKAGE only */
	const char *name;
	uint32_t meta_min, meta_max, unit;
	uint32_t data_max; /* whole pages */
};

/* NULL if unknown. */
const struct wire_type_info *wire_type_info(uint16_t type);

/* Bytes of the fixed metas. */
#define HELLO_BYTES   (4 + 4 + 8 + WIRE_SESSION_BYTES + 4 + 8)
#define WELCOME_BYTES (4 + 8)
#define ROUND_BYTES   (4 + 8 + 8)
#define REQUEST_BYTES (8 + 4)
#define ATTACH_BYTES  (WIRE_SESSION_BYTES + 4 + 4)
#define RUN_BYTES     (1 + 8)
#define STATUS_BYTES  (WIRE_SESSION_BYTES + 4)
#define ERROR_MIN     4u
#define ENTRY_BYTES   8u
#define RANGE_BYTES   16u
/* LISTEN, STATE and RUN around the sections. */
#define PACKAGE_OVERHEAD (3 * WIRE_HEADER_BYTES + RUN_BYTES)

/* The CRC covers the header up to its own field. */
#define HEADER_SUMMED (WIRE_HEADER_BYTES - 4)

static inline uint16_t load_le16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t load_le32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t load_le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void store_le16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void store_le32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

#endif
