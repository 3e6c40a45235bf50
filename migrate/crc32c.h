/* SPDX-License-Identifier: Apache-2.0 */
/*
 * migrate/crc32c.h - CRC-32C (Castagnoli, reflected, as in RFC 3720), with the
 * processor's help where it can.  No state; any thread.
 */
#ifndef GODWIT_MIGRATE_CRC32C_H
#define GODWIT_MIGRATE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Continue @crc over @len bytes; start with 0. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

/* The same by one method alone, for tests and benches: the portable table; the
 * crc32 instruction, if crc32c_has_instruction(). */
uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len);
uint32_t crc32c_instruction(uint32_t crc, const void *buf, size_t len);
bool crc32c_has_instruction(void);

#endif
