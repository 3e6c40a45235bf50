/* SPDX-License-Identifier: Apache-2.0 */
/* migrate/zero.h - is a page all zero?  Vectorised where the CPU can. */
#ifndef GODWIT_MIGRATE_ZERO_H
#define GODWIT_MIGRATE_ZERO_H

#include <stdbool.h>

/**
 * page_is_zero - are the 4096 bytes at @page all zero?
 * @page:  8-byte aligned.  Others may write to it meanwhile; then either
 *         answer may come, and their write must reach the dirty log.
 * Thread: any.
 */
bool page_is_zero(const void *page);

#endif
