/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels/hello.c - says which way it came in, and leaves.
 */
#include "kernels/lib/boot.h"
#include "kernels/lib/console.h"

bool guest_main(void)
{
	print("hello from godwit guest (%s)\n", boot_entry_name());
	return true;
}
