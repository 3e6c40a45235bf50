/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/pvh.h - the start info of the PVH entry.  Private to vmm/x86. */
#ifndef GODWIT_VMM_X86_PVH_H
#define GODWIT_VMM_X86_PVH_H

#include "vmm/x86/loader.h"

/* Write hvm_start_info version 1 at LAYOUT_HVM_START_INFO, with the initrd as
 * module 0 and the memory map of @gm.  setup_data has no place in it.
 * Source: Xen public/arch-x86/hvm/start_info.h. */
void pvh_write(const struct guestmem *gm, const struct loader_handover *hand);

#endif
