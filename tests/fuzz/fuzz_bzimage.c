/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_bzimage.c - bzImages whose every field is hostile, but for
 * the two magic numbers that make them bzImages. */
#include "tests/fuzz/boot_fuzz.h"

#define MAGIC 0x1feu /* boot_flag; the jump follows, then "HdrS" */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t magic[8] = {0x55, 0xaa, 0, 0, 'H', 'd', 'r', 'S'};

	if (size < MAGIC + sizeof(magic))
		return 0;
	memcpy(magic + 2, data + MAGIC + 2, 2);
	boot_fuzz_with_magic(data, size, MAGIC, magic, sizeof(magic));
	return 0;
}
