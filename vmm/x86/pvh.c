/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/pvh.c - see pvh.h.  Chooses no address but those inside its page. */
#include "vmm/x86/pvh.h"

#include <assert.h>
#include <string.h>

#include "vmm/guestmem.h"
#include "vmm/layout.h"
#include "vmm/x86/lowmem.h"

#define START_MAGIC   0x336ec578u
#define START_VERSION 1u

/* All little endian, naturally aligned. */
struct start_info {
	uint32_t magic, version;
	uint32_t flags, modules;
	uint64_t modlist_gpa;
	uint64_t cmdline_gpa;
	uint64_t rsdp_gpa;
	uint64_t memmap_gpa;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct start_module {
	uint64_t gpa, size;
	uint64_t cmdline_gpa;
	uint64_t reserved;
};

struct start_memory {
	uint64_t gpa, size;
	uint32_t type;
	uint32_t reserved;
};

/* What lies at LAYOUT_HVM_START_INFO. */
struct start_page {
	struct start_info info;
	struct start_module module;
	struct start_memory memory[LOWMEM_MAP_MAX];
};

_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info v1");
_Static_assert(sizeof(struct start_module) == 32, "hvm_modlist_entry");
_Static_assert(sizeof(struct start_memory) == 24, "hvm_memmap_table_entry");
_Static_assert(
	LAYOUT_HVM_START_INFO + sizeof(struct start_page) <= LAYOUT_ZERO_PAGE,
	"the start info ends before boot_params");

void pvh_write(const struct guestmem *gm, const struct loader_handover *hand)
{
	const uint64_t gpa = LAYOUT_HVM_START_INFO;
	struct lowmem_range map[LOWMEM_MAP_MAX];
	unsigned i, n = lowmem_map(gm, map);
	struct start_page page = {
		.info =
			{
				.magic = START_MAGIC,
				.version = START_VERSION,
				.cmdline_gpa = hand->cmdline_gpa,
				.rsdp_gpa = hand->rsdp_gpa,
				.memmap_gpa = gpa + offsetof(struct start_page,
							    memory),
				.memmap_entries = n,
			},
	};
	bool ok;

	if (hand->initrd_bytes > 0) {
		page.info.modules = 1;
		page.info.modlist_gpa =
			gpa + offsetof(struct start_page, module);
		page.module.gpa = hand->initrd_gpa;
		page.module.size = hand->initrd_bytes;
	}
	for (i = 0; i < n; i++)
		page.memory[i] = (struct start_memory){
			.gpa = map[i].gpa,
			.size = map[i].size,
			.type = map[i].type,
		};
	ok = guestmem_write(gm, gpa, &page, sizeof(page));
	assert(ok);
}
