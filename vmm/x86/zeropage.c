/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/zeropage.c - see zeropage.h.  Chooses no address. */
#include "vmm/x86/zeropage.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <asm/bootparam.h>

#include "vmm/guestmem.h"
#include "vmm/layout.h"
#include "vmm/x86/lowmem.h"

#define BOOT_FLAG	 0xaa55u
#define HDRS_MAGIC	 0x53726448u /* "HdrS" */
#define PROTOCOL	 0x020cu     /* told of an ELF: 2.12 */
#define LOADER_UNDEFINED 0xffu	     /* no id assigned to us */
#define HEAP_END	 0xfe00u     /* as after a BIOS boot; unused here */
#define ELF_ALIGNMENT	 0x1000000u

_Static_assert(offsetof(struct boot_params, hdr) == LOADER_HDR_OFFSET,
	"the setup header keeps its file offset");
_Static_assert(sizeof(struct boot_params) == 4096, "boot_params is one page");

static void fill_header(struct boot_params *bp,
	const struct loader_kernel *kernel, const struct loader_handover *hand)
{
	struct setup_header *hdr = &bp->hdr;

	if (kernel->header_bytes > 0) {
		memcpy((uint8_t *)bp + LOADER_HDR_OFFSET, kernel->header,
			kernel->header_bytes);
	} else {
		hdr->boot_flag = BOOT_FLAG;
		hdr->header = HDRS_MAGIC;
		hdr->version = PROTOCOL;
		hdr->kernel_alignment = ELF_ALIGNMENT;
		hdr->initrd_addr_max = (uint32_t)kernel->initrd_last;
		hdr->cmdline_size = (uint32_t)kernel->cmdline_max;
	}
	hdr->type_of_loader = LOADER_UNDEFINED;
	hdr->ext_loader_ver = 0;
	hdr->ext_loader_type = 0;
	hdr->loadflags |= LOADED_HIGH | CAN_USE_HEAP;
	hdr->heap_end_ptr = HEAP_END;
	hdr->code32_start = (uint32_t)kernel->load;
	hdr->cmd_line_ptr = (uint32_t)hand->cmdline_gpa;
	hdr->ramdisk_image = (uint32_t)hand->initrd_gpa;
	hdr->ramdisk_size = (uint32_t)hand->initrd_bytes;
	hdr->setup_data = hand->setup_data_gpa;
}

void zeropage_write(const struct guestmem *gm,
	const struct loader_kernel *kernel, const struct loader_handover *hand)
{
	struct boot_params *bp = guestmem_at(gm, LAYOUT_ZERO_PAGE, sizeof(*bp));
	struct lowmem_range map[LOWMEM_MAP_MAX];
	unsigned i, n = lowmem_map(gm, map);

	assert(bp);
	memset(bp, 0, sizeof(*bp));
	fill_header(bp, kernel, hand);
	bp->acpi_rsdp_addr = hand->rsdp_gpa;
	for (i = 0; i < n; i++)
		bp->e820_table[i] = (struct boot_e820_entry){
			map[i].gpa, map[i].size, map[i].type};
	bp->e820_entries = (uint8_t)n;
	guestmem_mark_dirty(gm, LAYOUT_ZERO_PAGE, sizeof(*bp));
}

uint64_t zeropage_setup_data_max(void)
{
	return LAYOUT_SETUP_DATA_MAX - sizeof(struct setup_data);
}

uint64_t zeropage_write_setup_data(const struct guestmem *gm, uint32_t type,
	const void *data, uint64_t len)
{
	struct setup_data head = {.next = 0, .type = type};
	bool ok;

	assert(len <= zeropage_setup_data_max());
	head.len = (uint32_t)len;
	ok = guestmem_write(gm, LAYOUT_SETUP_DATA, &head, sizeof(head)) &&
	     guestmem_write(gm, LAYOUT_SETUP_DATA + sizeof(head), data, len);
	assert(ok);
	return LAYOUT_SETUP_DATA;
}
