/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/check.h - one line a check, one at the end.
 */
#ifndef GODWIT_KERNELS_LIB_CHECK_H
#define GODWIT_KERNELS_LIB_CHECK_H

#include <stdbool.h>

/* "ok @name" or "FAIL @name".  Return: @ok. */
bool check(const char *name, bool ok);

/* "skip @name (@why)": counts as neither. */
void check_skip(const char *name, const char *why);

/* "@guest: N ok, N failed".  Return: true if none failed. */
bool check_summary(const char *guest);

#endif
