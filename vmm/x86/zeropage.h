/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/zeropage.h - struct boot_params of the Linux boot protocol.  Private
 * to vmm/x86. */
#ifndef GODWIT_VMM_X86_ZEROPAGE_H
#define GODWIT_VMM_X86_ZEROPAGE_H

#include <stdint.h>

#include "vmm/x86/loader.h"

/* Write boot_params at LAYOUT_ZERO_PAGE: the setup header of @kernel (made up
 * if it has none), memory map of @gm, and @hand.
 * Source: Linux Documentation/arch/x86/{boot,zero-page}.rst. */
void zeropage_write(const struct guestmem *gm,
	const struct loader_kernel *kernel, const struct loader_handover *hand);

/* Room for the payload of zeropage_write_setup_data(), bytes. */
uint64_t zeropage_setup_data_max(void);

/* Put one struct setup_data of @type at LAYOUT_SETUP_DATA, the end of the list.
 * @len: at most zeropage_setup_data_max().  Return: its gpa. */
uint64_t zeropage_write_setup_data(const struct guestmem *gm, uint32_t type,
	const void *data, uint64_t len);

#endif
