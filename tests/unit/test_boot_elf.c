/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_boot_elf.c - ELF loading (vmm/x86/elf.c), and what is said of
 * files that are no kernel (vmm/x86/loader.c). */
#include "tests/unit/boot_images.h"

struct elf_rig {
	struct elf_file f; /* ELF64 with a PVH note */
	struct rig rig;	   /* 16 MiB */
};

static int set_up(void **state)
{
	struct elf_rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	elf_make64(&r->f, true);
	rig_init(&r->rig, 16 * MIB, r->f.bytes, ELF_SIZE);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct elf_rig *r = *state;

	rig_fini(&r->rig);
	free(r);
	return 0;
}

static void pvh_note_gives_the_entry(void **state)
{
	struct elf_rig *r = *state;

	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_PVH);
	assert_int_equal(r->rig.entry.rip, 2 * MIB + 0x40);
	assert_int_equal(r->rig.entry.rbx, LAYOUT_HVM_START_INFO);
	assert_int_equal(r->rig.entry.rsi, 0);
	assert_int_equal(r->rig.entry.cr3, 0);
	assert_int_equal(r->rig.entry.rsp, LAYOUT_BOOT_STACK);
}

static void segments_are_copied_and_their_rest_is_zeroed(void **state)
{
	struct elf_rig *r = *state;
	const uint8_t *rest;
	unsigned i;

	/* As after a guest reset: RAM is full of the last boot. */
	memset(r->rig.gm.base, 0xaa, r->rig.gm.size);
	rig_loads(&r->rig);
	assert_memory_equal(rig_at(&r->rig, 2 * MIB, ELF_SEG),
		r->f.bytes + ELF_BODY, ELF_SEG);
	assert_memory_equal(rig_at(&r->rig, 3 * MIB, ELF_SEG),
		r->f.bytes + ELF_BODY + ELF_SEG, ELF_SEG);
	rest = rig_at(&r->rig, 2 * MIB + ELF_SEG, 0x2000);
	for (i = 0; i < 0x2000; i++)
		assert_int_equal(rest[i], 0);
	assert_int_equal(rig_le(&r->rig, 2 * MIB + 0x3000, 1), 0xaa);
	assert_int_equal(rig_le(&r->rig, 2 * MIB - 1, 1), 0xaa);
}

static void elf64_without_a_note_starts_in_long_mode(void **state)
{
	struct elf_rig *r = *state;

	elf_make64(&r->f, false);
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX64);
	assert_int_equal(r->rig.entry.rip, 2 * MIB);
	assert_int_equal(r->rig.entry.rsi, LAYOUT_ZERO_PAGE);
	assert_int_equal(r->rig.entry.cr3, LAYOUT_PAGE_TABLES);
	r->rig.spec.protocol = BOOT_PVH;
	rig_refuses(&r->rig, -ENOEXEC, "no PVH note");
}

static void asked_for_64_bit_entry_overrides_the_note(void **state)
{
	struct elf_rig *r = *state;

	r->rig.spec.protocol = BOOT_LINUX64;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX64);
	assert_int_equal(r->rig.entry.rip, 2 * MIB);
	r->rig.spec.protocol = BOOT_LINUX32;
	rig_refuses(&r->rig, -ENOEXEC, "32-bit Linux entry");
}

static void device_tree_takes_the_entry_that_can_pass_it(void **state)
{
	struct elf_rig *r = *state;

	r->rig.spec.machine = BOOT_MACHINE_FDT;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX64);
	assert_int_equal(
		rig_params(&r->rig)->hdr.setup_data, LAYOUT_SETUP_DATA);
	r->rig.spec.protocol = BOOT_PVH;
	rig_refuses(&r->rig, -EINVAL, "device tree");
	r->rig.spec.protocol = BOOT_AUTO;
	elf_make32(&r->f, true);
	rig_refuses(&r->rig, -EINVAL, "device tree");
}

static void elf32_with_a_note_boots_and_without_is_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_make32(&r->f, true);
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_PVH);
	assert_int_equal(r->rig.entry.rip, MIB + 0x10);
	assert_memory_equal(
		rig_at(&r->rig, MIB, ELF_SEG), r->f.bytes + ELF_BODY, ELF_SEG);
	elf_make32(&r->f, false);
	rig_refuses(&r->rig, -ENOEXEC, "32-bit ELF without a PVH note");
}

static void note_with_8_byte_alignment_is_found(void **state)
{
	struct elf_rig *r = *state;
	const uint64_t entry = 2 * MIB + 0x80;
	const Elf32_Nhdr gnu = {4, 1, 5}, xen = {4, 8, 18};
	uint8_t *at = r->f.bytes + ELF_NOTES;

	/* 12 + 4 of header and name end at 16; the description of one byte is
	 * padded to 24, so the next note begins there and not at 20. */
	memset(at, 0, 0x100);
	memcpy(at, &gnu, sizeof(gnu));
	memcpy(at + 12, "GNU", 4);
	memcpy(at + 24, &xen, sizeof(xen));
	memcpy(at + 36, "Xen", 4);
	memcpy(at + 40, &entry, sizeof(entry));
	elf_phdr64(&r->f, 2)->p_align = 8;
	elf_phdr64(&r->f, 2)->p_filesz = 48;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.rip, entry);
}

static void linux_notes_limit_the_command_line_to_2047(void **state)
{
	struct elf_rig *r = *state;
	const uint64_t entry = 2 * MIB;
	char line[2049];
	uint32_t notes;

	memset(line, 'x', sizeof(line));
	line[2048] = '\0';
	r->rig.spec.cmdline = line;
	rig_loads(&r->rig); /* an ELF of unknown make */
	notes = elf_note(&r->f, 0, "Xen", 18, &entry, 8);
	notes = elf_note(&r->f, notes, "Linux", 256, "s", 2);
	elf_phdr64(&r->f, 2)->p_filesz = notes;
	rig_refuses(&r->rig, -E2BIG, "limit of 2047");
	notes = elf_note(&r->f, 0, "Xen", 18, &entry, 8);
	notes = elf_note(&r->f, notes, "Xen", 6, "linux", 6);
	elf_phdr64(&r->f, 2)->p_filesz = notes;
	rig_refuses(&r->rig, -E2BIG, "limit of 2047");
	line[2047] = '\0';
	rig_loads(&r->rig);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 2048), line);
}

static void segment_outside_of_ram_is_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_phdr64(&r->f, 1)->p_paddr = 16 * MIB - ELF_SEG;
	rig_loads(&r->rig);
	elf_phdr64(&r->f, 1)->p_paddr++;
	rig_refuses(&r->rig, -EFBIG,
		"segment 1 [0xfff001,0x1000001) lies outside of RAM (give the "
		"guest more memory with -m)");
	elf_phdr64(&r->f, 1)->p_paddr = UINT64_MAX;
	rig_refuses(&r->rig, -EFBIG, "outside of RAM");
	elf_phdr64(&r->f, 1)->p_paddr = 3 * MIB;
	elf_phdr64(&r->f, 1)->p_memsz = UINT64_MAX;
	rig_refuses(&r->rig, -EFBIG, "outside of RAM");
}

static void segment_in_the_memory_hole_is_refused(void **state)
{
	struct elf_rig *r = *state;

	rig_fini(&r->rig);
	rig_init(&r->rig, 6 * GIB, r->f.bytes, ELF_SIZE);
	elf_phdr64(&r->f, 1)->p_paddr = 3 * GIB - ELF_SEG;
	rig_loads(&r->rig);
	elf_phdr64(&r->f, 1)->p_paddr = 3 * GIB - 1;
	rig_refuses(&r->rig, -EFBIG, "below 3 GiB");
	elf_phdr64(&r->f, 1)->p_paddr = 4 * GIB;
	rig_refuses(&r->rig, -EFBIG, "below 3 GiB");
}

static void segment_over_the_boot_tables_is_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_phdr64(&r->f, 1)->p_paddr = MIB;
	rig_loads(&r->rig);
	elf_phdr64(&r->f, 1)->p_paddr = MIB - 1;
	rig_refuses(&r->rig, -EINVAL, "overlaps the first MiB");
	elf_phdr64(&r->f, 1)->p_paddr = 0;
	rig_refuses(&r->rig, -EINVAL, "overlaps the first MiB");
}

static void segments_that_overlap_are_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_phdr64(&r->f, 1)->p_paddr = 2 * MIB + 0x3000;
	rig_loads(&r->rig);
	elf_phdr64(&r->f, 1)->p_paddr--;
	rig_refuses(&r->rig, -EINVAL, "segment 1 [0x202fff,0x203fff) overlaps");
	elf_phdr64(&r->f, 1)->p_paddr = 2 * MIB - ELF_SEG + 1;
	rig_refuses(&r->rig, -EINVAL, "overlaps an earlier one");
}

static void segment_sizes_that_lie_are_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_phdr64(&r->f, 0)->p_filesz = 0x3001;
	rig_refuses(&r->rig, -EINVAL, "larger in the file");
	elf_phdr64(&r->f, 0)->p_filesz = ELF_SEG;
	elf_phdr64(&r->f, 0)->p_offset = ELF_SIZE - ELF_SEG + 1;
	rig_refuses(&r->rig, -EINVAL,
		"segment 0 [0x200000,0x203000) lies past the end of the file");
	elf_phdr64(&r->f, 0)->p_offset = UINT64_MAX;
	rig_refuses(&r->rig, -EINVAL, "segment 0");
}

static void program_headers_are_bounded(void **state)
{
	struct elf_rig *r = *state;

	r->f.e64.e_phnum = 0;
	rig_refuses(&r->rig, -EINVAL, "program headers");
	r->f.e64.e_phnum = 65;
	rig_refuses(&r->rig, -EINVAL, "65 program headers");
	r->f.e64.e_phnum = PN_XNUM;
	rig_refuses(&r->rig, -EINVAL, "program headers");
	r->f.e64.e_phnum = 3;
	r->f.e64.e_phentsize = 57;
	rig_refuses(&r->rig, -EINVAL, "57 bytes");
	r->f.e64.e_phentsize = sizeof(Elf64_Phdr);
	r->f.e64.e_phoff = ELF_SIZE - 3 * sizeof(Elf64_Phdr) + 1;
	rig_refuses(&r->rig, -EINVAL, "past the end of the file");
	r->f.e64.e_phoff = UINT64_MAX;
	rig_refuses(&r->rig, -EINVAL, "past the end of the file");
}

static void elf_without_anything_to_load_is_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_phdr64(&r->f, 0)->p_type = PT_NULL;
	elf_phdr64(&r->f, 1)->p_memsz = 0;
	elf_phdr64(&r->f, 1)->p_filesz = 0;
	rig_refuses(&r->rig, -EINVAL, "without a segment to load");
}

static void entry_outside_of_the_segments_is_refused(void **state)
{
	struct elf_rig *r = *state;

	r->f.e64.e_entry = 2 * MIB + 0x3000;
	r->rig.spec.protocol = BOOT_LINUX64;
	rig_refuses(&r->rig, -EINVAL, "64-bit entry 0x203000 lies in no");
	r->f.e64.e_entry = UINT64_C(0xffffffff80200000);
	rig_refuses(&r->rig, -EINVAL, "64-bit entry");
	r->f.e64.e_entry = 2 * MIB + 0x2fff;
	rig_loads(&r->rig);
	elf_phdr64(&r->f, 0)->p_memsz = 0x1000;
	elf_phdr64(&r->f, 0)->p_paddr = 4 * MIB;
	r->rig.spec.protocol = BOOT_PVH;
	rig_refuses(&r->rig, -EINVAL, "PVH entry 0x200040 lies in no");
}

static void notes_that_run_over_their_segment_are_refused(void **state)
{
	struct elf_rig *r = *state;
	uint32_t huge = UINT32_MAX;

	elf_phdr64(&r->f, 2)->p_filesz -= 1; /* the PVH note's last byte */
	rig_refuses(&r->rig, -EINVAL, "longer than its segment");
	elf_phdr64(&r->f, 2)->p_filesz += 1;
	memcpy(r->f.bytes + ELF_NOTES, &huge, 4); /* name */
	rig_refuses(&r->rig, -EINVAL, "longer than its segment");
	elf_make64(&r->f, true);
	memcpy(r->f.bytes + ELF_NOTES + 4, &huge, 4); /* description */
	rig_refuses(&r->rig, -EINVAL, "longer than its segment");
	elf_make64(&r->f, true);
	elf_phdr64(&r->f, 2)->p_offset = ELF_SIZE;
	rig_refuses(&r->rig, -EINVAL, "past the end of the file");
}

static void walk_over_notes_is_bounded(void **state)
{
	struct elf_rig *r = *state;
	uint8_t *big = calloc(1, ELF_SIZE + 12 * 1025);

	/* A zeroed note is 12 bytes: no name, no description. */
	assert_non_null(big);
	memcpy(big, r->f.bytes, ELF_SIZE);
	elf_phdr64((struct elf_file *)big, 2)->p_offset = ELF_SIZE;
	elf_phdr64((struct elf_file *)big, 2)->p_filesz = 12 * 1024;
	image_from_mem(&r->rig.kernel, big, ELF_SIZE + 12 * 1025);
	rig_loads(&r->rig);
	elf_phdr64((struct elf_file *)big, 2)->p_filesz = 12 * 1025;
	rig_refuses(&r->rig, -EINVAL, "more than 1024 notes");
	free(big);
}

static void pvh_note_of_a_strange_size_is_refused(void **state)
{
	struct elf_rig *r = *state;

	elf_phdr64(&r->f, 2)->p_filesz =
		elf_note(&r->f, 0, "Xen", 18, "123456", 6);
	rig_refuses(&r->rig, -EINVAL, "PVH note of 6 bytes");
}

static void elf_of_another_kind_is_refused(void **state)
{
	struct elf_rig *r = *state;

	r->f.e64.e_machine = EM_AARCH64;
	rig_refuses(&r->rig, -ENOEXEC, "machine 183");
	r->f.e64.e_machine = EM_386; /* 64-bit class: no such thing */
	rig_refuses(&r->rig, -ENOEXEC, "not for x86");
	r->f.e64.e_machine = EM_X86_64;
	r->f.e64.e_type = ET_REL;
	rig_refuses(&r->rig, -ENOEXEC, "not an executable");
	r->f.bytes[EI_DATA] = ELFDATA2MSB;
	rig_refuses(&r->rig, -ENOEXEC, "little endian");
	r->f.bytes[EI_CLASS] = 3;
	rig_refuses(&r->rig, -EINVAL, "class 3");
}

static void truncated_elf_is_refused_at_every_length(void **state)
{
	struct elf_rig *r = *state;
	uint64_t size;

	for (size = SELFMAG; size < ELF_SIZE; size++) {
		image_from_mem(&r->rig.kernel, r->f.bytes, size);
		assert_int_equal(rig_load(&r->rig), -EINVAL);
		assert_true(r->rig.err.text[0] != '\0');
	}
}

static void memory_that_ends_below_1_mib_is_refused(void **state)
{
	struct elf_rig *r = *state;

	rig_fini(&r->rig);
	rig_init(&r->rig, MIB, r->f.bytes, ELF_SIZE);
	rig_refuses(&r->rig, -EFBIG, "memory: 1024 KiB hold no kernel");
}

static void file_that_is_no_kernel_is_named_for_what_it_is(void **state)
{
	static const struct {
		const char *head, *word;
		unsigned off;
	} no_kernel[] = {
		{"\x1f\x8b\x08", "gunzip", 0},
		{"\3757zXZ", "unxz", 0},
		{"\x28\xb5\x2f\xfd", "unzstd", 0},
		{"\x02\x21\x4c\x18", "unlz4", 0},
		{"\x04\x22\x4d\x18", "unlz4", 0},
		{"BZh9", "bunzip2", 0},
		{"070701", "initramfs", 0},
		{"#!/bin/sh\n", "script", 0},
		{"!<arch>\n", "archive", 0},
		{"\x27\x05\x19\x56", "U-Boot", 0},
		{"ARM\x64", "arm64", 56},
		{"RSC\x05", "RISC-V", 56},
		{"MZ", "EFI", 0},
		{"root:x:0:0", "72 6f 6f 74", 0},
	};
	struct elf_rig *r = *state;
	unsigned i;

	for (i = 0; i < sizeof(no_kernel) / sizeof(no_kernel[0]); i++) {
		memset(r->f.bytes, 0, sizeof(r->f.bytes));
		memcpy(r->f.bytes + no_kernel[i].off, no_kernel[i].head,
			strlen(no_kernel[i].head));
		rig_refuses(&r->rig, -ENOEXEC, no_kernel[i].word);
		assert_non_null(strstr(r->rig.err.text,
			"not a bzImage or an x86-64 ELF; first bytes"));
	}
	image_from_mem(&r->rig.kernel, "x", 1);
	rig_refuses(&r->rig, -ENOEXEC, "first bytes 78 00 00 00");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pvh_note_gives_the_entry),
		T(segments_are_copied_and_their_rest_is_zeroed),
		T(elf64_without_a_note_starts_in_long_mode),
		T(asked_for_64_bit_entry_overrides_the_note),
		T(device_tree_takes_the_entry_that_can_pass_it),
		T(elf32_with_a_note_boots_and_without_is_refused),
		T(note_with_8_byte_alignment_is_found),
		T(linux_notes_limit_the_command_line_to_2047),
		T(segment_outside_of_ram_is_refused),
		T(segment_in_the_memory_hole_is_refused),
		T(segment_over_the_boot_tables_is_refused),
		T(segments_that_overlap_are_refused),
		T(segment_sizes_that_lie_are_refused),
		T(program_headers_are_bounded),
		T(elf_without_anything_to_load_is_refused),
		T(entry_outside_of_the_segments_is_refused),
		T(notes_that_run_over_their_segment_are_refused),
		T(walk_over_notes_is_bounded),
		T(pvh_note_of_a_strange_size_is_refused),
		T(elf_of_another_kind_is_refused),
		T(truncated_elf_is_refused_at_every_length),
		T(memory_that_ends_below_1_mib_is_refused),
		T(file_that_is_no_kernel_is_named_for_what_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
