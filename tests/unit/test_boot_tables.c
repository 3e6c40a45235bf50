/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_boot_tables.c - what a kernel finds in RAM: memory map,
 * boot_params, PVH start info, GDT, page tables, command line, initrd, MP table
 * (vmm/x86/{boot,zeropage,pvh,lowmem,mptable}.c).  Offsets are written as the
 * specifications have them. */
#include "tests/unit/boot_images.h"

#include "vmm/x86/lowmem.h"
#include "vmm/x86/mptable.h"

struct tab_rig {
	struct bz bz;
	struct elf_file elf;
	struct rig rig; /* bzImage in 64 MiB */
};

static int set_up(void **state)
{
	struct tab_rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	bz_make(&r->bz);
	elf_make64(&r->elf, true);
	rig_init(&r->rig, 64 * MIB, r->bz.bytes, BZ_SIZE);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct tab_rig *r = *state;

	rig_fini(&r->rig);
	free(r);
	return 0;
}

static void use_elf(struct tab_rig *r)
{
	image_from_mem(&r->rig.kernel, r->elf.bytes, ELF_SIZE);
}

static void use_ram(struct tab_rig *r, uint64_t ram)
{
	const struct rig old = r->rig;

	rig_fini(&r->rig);
	rig_init(&r->rig, ram, NULL, 0);
	r->rig.spec = old.spec;
	r->rig.kernel = old.kernel;
	r->rig.initrd = old.initrd;
}

struct golden {
	uint64_t gpa, size;
	uint32_t type;
};

/* e820 entries of boot_params: count at 0x1e8, table of 20 bytes at 0x2d0. */
static void e820_is(
	const struct tab_rig *r, const struct golden *want, unsigned n)
{
	const uint64_t bp = LAYOUT_ZERO_PAGE;
	unsigned i;

	assert_int_equal(rig_le(&r->rig, bp + 0x1e8, 1), n);
	for (i = 0; i < n; i++) {
		uint64_t at = bp + 0x2d0 + i * 20;

		assert_int_equal(rig_le(&r->rig, at, 8), want[i].gpa);
		assert_int_equal(rig_le(&r->rig, at + 8, 8), want[i].size);
		assert_int_equal(rig_le(&r->rig, at + 16, 4), want[i].type);
	}
}

static void e820_of_128_mib(void **state)
{
	static const struct golden want[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x60400, 2},
		{0x100000, 0x7f00000, 1},
	};
	struct tab_rig *r = *state;

	use_ram(r, 128 * MIB);
	rig_loads(&r->rig);
	e820_is(r, want, 3);
}

static void e820_of_3_gib_ends_at_the_hole(void **state)
{
	static const struct golden want[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x60400, 2},
		{0x100000, 0xbff00000, 1},
	};
	struct tab_rig *r = *state;

	use_ram(r, 3 * GIB);
	rig_loads(&r->rig);
	e820_is(r, want, 3);
}

static void e820_of_6_gib_goes_on_above_the_hole(void **state)
{
	static const struct golden want[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x60400, 2},
		{0x100000, 0xbff00000, 1},
		{UINT64_C(0x100000000), 0xc0000000, 1},
	};
	struct tab_rig *r = *state;

	use_ram(r, 6 * GIB);
	rig_loads(&r->rig);
	e820_is(r, want, 4);
}

static void boot_params_fields_are_at_the_protocols_offsets(void **state)
{
	static const char initrd[] = "\x1f\x8b\x08 not really compressed";
	struct tab_rig *r = *state;
	const uint64_t bp = LAYOUT_ZERO_PAGE;

	rig_initrd(&r->rig, initrd, sizeof(initrd));
	memset(r->rig.gm.base, 0xff, MIB); /* the last boot's */
	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, bp + 0x070, 8), 0xe0000);
	assert_int_equal(rig_le(&r->rig, bp + 0x0c0, 4), 0); /* ext_ramdisk */
	assert_int_equal(rig_le(&r->rig, bp + 0x0c8, 4), 0); /* ext_cmd_line */
	assert_int_equal(rig_le(&r->rig, bp + 0x1ef, 1), 0); /* sentinel */
	assert_int_equal(rig_le(&r->rig, bp + 0x1fe, 2), 0xaa55);
	assert_int_equal(rig_le(&r->rig, bp + 0x202, 4), 0x53726448);
	assert_int_equal(rig_le(&r->rig, bp + 0x206, 2), 0x020f);
	assert_int_equal(rig_le(&r->rig, bp + 0x210, 1), 0xff);
	assert_int_equal(rig_le(&r->rig, bp + 0x211, 1), 0x81);
	assert_int_equal(rig_le(&r->rig, bp + 0x214, 4), 16 * MIB);
	assert_int_equal(rig_le(&r->rig, bp + 0x218, 4), 64 * MIB - 4096);
	assert_int_equal(rig_le(&r->rig, bp + 0x21c, 4), sizeof(initrd));
	assert_int_equal(rig_le(&r->rig, bp + 0x228, 4), 0x20000);
	assert_int_equal(rig_le(&r->rig, bp + 0x230, 4), 0x200000);
	assert_int_equal(rig_le(&r->rig, bp + 0x250, 8), 0); /* setup_data */
	assert_int_equal(rig_le(&r->rig, bp + 0x258, 8), 16 * MIB);
	assert_int_equal(rig_le(&r->rig, bp + 0x260, 4), 4 * MIB);
	assert_memory_equal(rig_at(&r->rig, 64 * MIB - 4096, sizeof(initrd)),
		initrd, sizeof(initrd));
}

static void setup_header_is_copied_to_its_end_and_no_further(void **state)
{
	struct tab_rig *r = *state;
	const uint64_t bp = LAYOUT_ZERO_PAGE;

	r->bz.bytes[0x1f0] = 0x11; /* just before the header */
	r->bz.bytes[0x267] = 0x22; /* inside, last byte */
	r->bz.bytes[0x268] = 0x33; /* behind, if it ends at 0x268 */
	bz_header(&r->bz)->jump = 0xeb | (0x268 - 0x202) << 8;
	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, bp + 0x1f0, 1), 0);
	assert_int_equal(rig_le(&r->rig, bp + 0x267, 1), 0x22);
	assert_int_equal(rig_le(&r->rig, bp + 0x268, 1), 0);
	/* A longer one of the future stops at what follows in boot_params. */
	r->bz.bytes[0x28f] = 0x44;
	r->bz.bytes[0x290] = 0x55;
	bz_header(&r->bz)->jump = 0xeb | 0xff << 8;
	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, bp + 0x28f, 1), 0x44);
	assert_int_equal(rig_le(&r->rig, bp + 0x290, 1), 0);
}

static void elf_gets_a_setup_header_made_up(void **state)
{
	struct tab_rig *r = *state;
	const uint64_t bp = LAYOUT_ZERO_PAGE;

	use_elf(r);
	r->rig.spec.protocol = BOOT_LINUX64;
	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, bp + 0x070, 8), 0xe0000);
	assert_int_equal(rig_le(&r->rig, bp + 0x1fe, 2), 0xaa55);
	assert_int_equal(rig_le(&r->rig, bp + 0x202, 4), 0x53726448);
	assert_int_equal(rig_le(&r->rig, bp + 0x206, 2), 0x020c);
	assert_int_equal(rig_le(&r->rig, bp + 0x210, 1), 0xff);
	assert_int_equal(rig_le(&r->rig, bp + 0x228, 4), 0x20000);
}

static void pvh_start_info_has_the_bytes_of_version_1(void **state)
{
	static const char initrd[5000] = "initrd";
	static const struct golden want[] = {
		{0, 0x9fc00, 1},
		{0x9fc00, 0x60400, 2},
		{0x100000, 0x3f00000, 1},
	};
	struct tab_rig *r = *state;
	const uint64_t si = LAYOUT_HVM_START_INFO;
	uint64_t mod, map;
	unsigned i;

	use_elf(r);
	r->rig.spec.cmdline = "console=ttyS0";
	rig_initrd(&r->rig, initrd, sizeof(initrd));
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.rbx, 0x6000);
	assert_int_equal(rig_le(&r->rig, si, 4), 0x336ec578);
	assert_int_equal(rig_le(&r->rig, si + 4, 4), 1);
	assert_int_equal(rig_le(&r->rig, si + 8, 4), 0);
	assert_int_equal(rig_le(&r->rig, si + 12, 4), 1);
	mod = rig_le(&r->rig, si + 16, 8);
	assert_string_equal(rig_at(&r->rig, rig_le(&r->rig, si + 24, 8), 14),
		"console=ttyS0");
	assert_int_equal(rig_le(&r->rig, si + 32, 8), 0xe0000);
	map = rig_le(&r->rig, si + 40, 8);
	assert_int_equal(rig_le(&r->rig, si + 48, 4), 3);
	assert_int_equal(rig_le(&r->rig, si + 52, 4), 0);
	assert_int_equal(rig_le(&r->rig, mod, 8), 64 * MIB - 8192);
	assert_int_equal(rig_le(&r->rig, mod + 8, 8), sizeof(initrd));
	assert_int_equal(rig_le(&r->rig, mod + 16, 8), 0);
	assert_int_equal(rig_le(&r->rig, mod + 24, 8), 0);
	for (i = 0; i < 3; i++, map += 24) {
		assert_int_equal(rig_le(&r->rig, map, 8), want[i].gpa);
		assert_int_equal(rig_le(&r->rig, map + 8, 8), want[i].size);
		assert_int_equal(rig_le(&r->rig, map + 16, 4), want[i].type);
		assert_int_equal(rig_le(&r->rig, map + 20, 4), 0);
	}
}

static void pvh_without_an_initrd_lists_no_module(void **state)
{
	struct tab_rig *r = *state;

	use_elf(r);
	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, 0x6000 + 12, 4), 0);
	assert_int_equal(rig_le(&r->rig, 0x6000 + 16, 8), 0);
}

static void gdt_holds_flat_segments_of_the_entrys_width(void **state)
{
	struct tab_rig *r = *state;

	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, 0x500, 8), 0);
	assert_int_equal(rig_le(&r->rig, 0x510, 8), 0x00af9b000000ffff);
	assert_int_equal(rig_le(&r->rig, 0x518, 8), 0x00cf93000000ffff);
	assert_int_equal(rig_le(&r->rig, 0x520, 8), 0x00008b0000000067);
	r->rig.spec.protocol = BOOT_LINUX32;
	rig_loads(&r->rig);
	assert_int_equal(rig_le(&r->rig, 0x510, 8), 0x00cf9b000000ffff);
	r->rig.spec.protocol = BOOT_AUTO;
	use_elf(r);
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_PVH);
	assert_int_equal(rig_le(&r->rig, 0x510, 8), 0x00cf9b000000ffff);
}

static void jump_to_the_bios_resets_the_machine(void **state)
{
	/* mov dx, 0x602; mov al, 1; out dx, al; hlt; jmp to the hlt */
	static const uint8_t code[] = {
		0xba, 0x02, 0x06, 0xb0, 1, 0xee, 0xf4, 0xeb, 0xfd};
	struct tab_rig *r = *state;
	unsigned machine;

	for (machine = 0; machine < 3; machine++) {
		memset(r->rig.gm.base, 0xff, MIB);
		r->rig.spec.machine = machine;
		rig_loads(&r->rig);
		assert_memory_equal(rig_at(&r->rig, 0xffff0, sizeof(code)),
			code, sizeof(code));
	}
}

/* What the MMU would make of @va; all ones if it is not mapped. */
static uint64_t walk(const struct rig *rig, uint64_t va)
{
	uint64_t table = rig->entry.cr3, entry;
	unsigned shift;

	for (shift = 39; shift >= 21; shift -= 9) {
		entry = rig_le(rig, table + ((va >> shift) & 511) * 8, 8);
		if ((entry & 3) != 3)
			return UINT64_MAX;
		if (shift == 21)
			assert_int_equal(entry & 0x80, 0x80);
		table = entry & UINT64_C(0xffffffffff000);
	}
	return table + (va & 0x1fffff);
}

static void page_tables_map_4_gib_onto_themselves(void **state)
{
	struct tab_rig *r = *state;
	uint64_t va;

	memset(r->rig.gm.base, 0xff, LAYOUT_CMDLINE);
	rig_loads(&r->rig);
	for (va = 0x123; va < 4 * GIB; va += 0x200000)
		assert_int_equal(walk(&r->rig, va), va);
	assert_int_equal(walk(&r->rig, 4 * GIB), UINT64_MAX);
	assert_int_equal(walk(&r->rig, UINT64_C(1) << 39), UINT64_MAX);
}

static void cmdline_machine_lists_its_virtio_devices(void **state)
{
	struct tab_rig *r = *state;

	r->rig.spec.machine = BOOT_MACHINE_CMDLINE;
	r->rig.spec.virtio_devices = 2;
	r->rig.spec.cmdline = "console=ttyS0 quiet";
	rig_loads(&r->rig);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1),
		"console=ttyS0 quiet "
		"virtio_mmio.device=0x200@0xd0000000:16 "
		"virtio_mmio.device=0x200@0xd0001000:17");
	r->rig.spec.cmdline = "";
	rig_loads(&r->rig);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1),
		"virtio_mmio.device=0x200@0xd0000000:16 "
		"virtio_mmio.device=0x200@0xd0001000:17");
	r->rig.spec.virtio_devices = 0;
	rig_loads(&r->rig);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1), "");
	r->rig.spec.machine = BOOT_MACHINE_ACPI;
	r->rig.spec.virtio_devices = 2;
	rig_loads(&r->rig);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1), "");
}

static void arguments_for_init_stay_behind_the_device_words(void **state)
{
	static const char dev[] = "virtio_mmio.device=0x200@0xd0000000:16";
	struct tab_rig *r = *state;
	char want[256];

	r->rig.spec.machine = BOOT_MACHINE_CMDLINE;
	r->rig.spec.virtio_devices = 1;
	r->rig.spec.cmdline = "quiet -- -x --";
	rig_loads(&r->rig);
	snprintf(want, sizeof(want), "quiet %s -- -x --", dev);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1), want);
	r->rig.spec.cmdline = "--";
	rig_loads(&r->rig);
	snprintf(want, sizeof(want), "%s --", dev);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1), want);
	/* Neither a word that begins so, nor one inside quotes, ends it. */
	r->rig.spec.cmdline = "--x a=\"b -- c\"";
	rig_loads(&r->rig);
	snprintf(want, sizeof(want), "--x a=\"b -- c\" %s", dev);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 1), want);
}

static void device_words_count_towards_the_command_line_limit(void **state)
{
	struct tab_rig *r = *state;

	r->rig.spec.machine = BOOT_MACHINE_CMDLINE;
	r->rig.spec.virtio_devices = 1;
	r->rig.spec.cmdline = "quiet";
	bz_header(&r->bz)->cmdline_size = 5 + 1 + 38;
	rig_loads(&r->rig);
	bz_header(&r->bz)->cmdline_size--;
	rig_refuses(&r->rig, -E2BIG, "39 of them for virtio devices");
}

static void initrd_lies_page_aligned_as_high_as_possible(void **state)
{
	struct tab_rig *r = *state;
	static uint8_t initrd[4097];

	memset(initrd, 0x5a, sizeof(initrd));
	rig_initrd(&r->rig, initrd, sizeof(initrd));
	rig_loads(&r->rig);
	assert_int_equal(
		rig_params(&r->rig)->hdr.ramdisk_image, 64 * MIB - 8192);
	assert_memory_equal(rig_at(&r->rig, 64 * MIB - 8192, sizeof(initrd)),
		initrd, sizeof(initrd));
	bz_header(&r->bz)->initrd_addr_max = 32 * MIB + 4095;
	rig_loads(&r->rig);
	assert_int_equal(
		rig_params(&r->rig)->hdr.ramdisk_image, 32 * MIB - 4096);
	use_ram(r, 6 * GIB);
	bz_header(&r->bz)->initrd_addr_max = UINT32_MAX;
	rig_loads(&r->rig);
	assert_int_equal(
		rig_params(&r->rig)->hdr.ramdisk_image, 3 * GIB - 8192);
}

static void initrd_never_reaches_into_the_kernel(void **state)
{
	struct tab_rig *r = *state;
	uint8_t *initrd = calloc(1, 44 * MIB + 1);

	assert_non_null(initrd);
	/* RAM from the kernel's 16 + 4 MiB to 64 MiB. */
	rig_initrd(&r->rig, initrd, 44 * MIB);
	rig_loads(&r->rig);
	assert_int_equal(rig_params(&r->rig)->hdr.ramdisk_image, 20 * MIB);
	rig_initrd(&r->rig, initrd, 44 * MIB + 1);
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
	rig_initrd(&r->rig, initrd, 8 * MIB);
	bz_header(&r->bz)->initrd_addr_max = 27 * MIB;
	rig_refuses(&r->rig, -EFBIG, "smaller one");
	r->rig.initrd.size = UINT64_MAX;
	rig_refuses(&r->rig, -EFBIG, "do not fit");
	free(initrd);
}

static uint8_t sum(const struct rig *rig, uint64_t gpa, uint64_t len)
{
	const uint8_t *p = rig_at(rig, gpa, len);
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *p++);
	return total;
}

/* Walks the table as a kernel would; counts entries by type. */
static void mp_walk(const struct rig *rig, unsigned count[5])
{
	static const uint8_t bytes[5] = {20, 8, 8, 8, 8};
	const uint64_t mp = 0x9fc00;
	uint64_t table, at, end;
	unsigned entries, i, type;

	assert_memory_equal(rig_at(rig, mp, 4), "_MP_", 4);
	assert_int_equal(rig_le(rig, mp + 8, 1), 1);
	assert_int_equal(rig_le(rig, mp + 9, 1), 4);
	assert_int_equal(sum(rig, mp, 16), 0);
	table = rig_le(rig, mp + 4, 4);
	assert_memory_equal(rig_at(rig, table, 4), "PCMP", 4);
	end = table + rig_le(rig, table + 4, 2);
	assert_true(end <= MIB);
	assert_int_equal(sum(rig, table, end - table), 0);
	assert_int_equal(rig_le(rig, table + 36, 4), 0xfee00000);
	entries = (unsigned)rig_le(rig, table + 34, 2);
	for (i = 0, at = table + 44; i < entries; i++) {
		type = (unsigned)rig_le(rig, at, 1);
		assert_true(type < 5);
		count[type]++;
		at += bytes[type];
	}
	assert_int_equal(at, end);
}

static void mp_table_lists_cpus_ioapic_and_every_usable_pin(void **state)
{
	struct tab_rig *r = *state;
	unsigned count[5] = {0}, cpus = 3, pin, n;
	uint64_t cpu = 0xe0000 + 44, at;

	r->rig.spec.machine = BOOT_MACHINE_CMDLINE;
	r->rig.spec.cpus = r->rig.spec.cpus_max = cpus;
	rig_loads(&r->rig);
	assert_int_equal(rig_params(&r->rig)->acpi_rsdp_addr, 0);
	mp_walk(&r->rig, count);
	assert_int_equal(count[0], cpus);
	assert_int_equal(count[1], 1);
	assert_int_equal(count[2], 1);
	assert_int_equal(count[3], 23);
	assert_int_equal(count[4], 2);
	for (n = 0; n < cpus; n++, cpu += 20) {
		assert_int_equal(rig_le(&r->rig, cpu + 1, 1), n);
		assert_int_equal(rig_le(&r->rig, cpu + 3, 1), n ? 1 : 3);
	}
	at = cpu;
	assert_memory_equal(rig_at(&r->rig, at + 2, 6), "ISA   ", 6);
	assert_int_equal(rig_le(&r->rig, at + 8 + 1, 1), cpus);
	assert_int_equal(rig_le(&r->rig, at + 8 + 4, 4), 0xfec00000);
	for (at += 16, pin = 0; pin < 24; pin++) {
		if (pin == 2)
			continue;
		assert_int_equal(rig_le(&r->rig, at + 1, 1), 0);
		assert_int_equal(rig_le(&r->rig, at + 2, 2), 5);
		assert_int_equal(rig_le(&r->rig, at + 5, 1), pin);
		assert_int_equal(rig_le(&r->rig, at + 6, 1), cpus);
		assert_int_equal(rig_le(&r->rig, at + 7, 1), pin);
		at += 8;
	}
}

static void mp_table_takes_254_cpus_and_refuses_more(void **state)
{
	struct tab_rig *r = *state;
	unsigned count[5] = {0};

	r->rig.spec.machine = BOOT_MACHINE_CMDLINE;
	r->rig.spec.cpus = r->rig.spec.cpus_max = 254;
	rig_loads(&r->rig);
	mp_walk(&r->rig, count);
	assert_int_equal(count[0], 254);
	r->rig.spec.cpus = r->rig.spec.cpus_max = 255;
	rig_refuses(&r->rig, -EINVAL, "use --machine acpi");
}

static void loading_twice_gives_the_same_ram(void **state)
{
	struct tab_rig *r = *state;
	static uint8_t initrd[10000];
	uint8_t *first = malloc(64 * MIB);
	unsigned machine;

	assert_non_null(first);
	rig_initrd(&r->rig, initrd, sizeof(initrd));
	for (machine = 0; machine < 3; machine++) {
		r->rig.spec.machine = machine;
		rig_loads(&r->rig);
		memcpy(first, r->rig.gm.base, 64 * MIB);
		rig_loads(&r->rig);
		assert_int_equal(memcmp(first, r->rig.gm.base, 64 * MIB), 0);
	}
	free(first);
}

static void everything_written_is_marked_dirty(void **state)
{
	struct tab_rig *r = *state;
	static uint8_t initrd[10000];
	uint64_t map[64 * MIB / 4096 / 64], page;
	unsigned pass;

	memset(initrd, 1, sizeof(initrd));
	rig_initrd(&r->rig, initrd, sizeof(initrd));
	r->rig.spec.cmdline = "x";
	for (pass = 0; pass < 6; pass++) {
		r->rig.spec.machine = pass % 3;
		if (pass == 3) {
			use_elf(r);
			r->rig.spec.protocol = BOOT_LINUX64;
		}
		memset(r->rig.gm.base, 0xaa, r->rig.gm.size);
		memset(map, 0, sizeof(map));
		assert_int_equal(guestmem_dirty_log_start(&r->rig.gm), 0);
		rig_loads(&r->rig);
		guestmem_dirty_fetch(&r->rig.gm, map);
		guestmem_dirty_log_stop(&r->rig.gm);
		for (page = 0; page < 64 * MIB / 4096; page++) {
			const uint8_t *p = r->rig.gm.base + page * 4096;

			if (map[page / 64] >> (page % 64) & 1)
				continue;
			assert_int_equal(p[0], 0xaa);
			assert_memory_equal(p, p + 1, 4095);
		}
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(e820_of_128_mib),
		T(e820_of_3_gib_ends_at_the_hole),
		T(e820_of_6_gib_goes_on_above_the_hole),
		T(boot_params_fields_are_at_the_protocols_offsets),
		T(setup_header_is_copied_to_its_end_and_no_further),
		T(elf_gets_a_setup_header_made_up),
		T(pvh_start_info_has_the_bytes_of_version_1),
		T(pvh_without_an_initrd_lists_no_module),
		T(gdt_holds_flat_segments_of_the_entrys_width),
		T(jump_to_the_bios_resets_the_machine),
		T(page_tables_map_4_gib_onto_themselves),
		T(cmdline_machine_lists_its_virtio_devices),
		T(arguments_for_init_stay_behind_the_device_words),
		T(device_words_count_towards_the_command_line_limit),
		T(initrd_lies_page_aligned_as_high_as_possible),
		T(initrd_never_reaches_into_the_kernel),
		T(mp_table_lists_cpus_ioapic_and_every_usable_pin),
		T(mp_table_takes_254_cpus_and_refuses_more),
		T(loading_twice_gives_the_same_ram),
		T(everything_written_is_marked_dirty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
