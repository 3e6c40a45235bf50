/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/lib/check.c - counts checks.  Boot CPU only.
 */
#include "kernels/lib/check.h"
#include "kernels/lib/console.h"

static unsigned passed, failed;

bool check(const char *name, bool ok)
{
	print("%s %s\n", ok ? "ok" : "FAIL", name);
	if (ok)
		passed++;
	else
		failed++;
	return ok;
}

void check_skip(const char *name, const char *why)
{
	print("skip %s (%s)\n", name, why);
}

bool check_summary(const char *guest)
{
	print("%s: %u ok, %u failed\n", guest, passed, failed);
	return failed == 0;
}
