/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz_elf.c - ELFs whose every field is hostile; once as 64-bit,
 * once as 32-bit. */
#include "tests/fuzz/boot_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t magic[6] = {0x7f, 'E', 'L', 'F', 2, 1};

	boot_fuzz_with_magic(data, size, 0, magic, sizeof(magic));
	magic[4] = 1;
	boot_fuzz_with_magic(data, size, 0, magic, sizeof(magic));
	return 0;
}
