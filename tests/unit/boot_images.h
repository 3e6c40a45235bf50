/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/boot_images.h - synthetic kernels for the loader tests: a bzImage
 * and ELFs whose every field a test can bend, and the machine to load them
 * into.
 */
#ifndef GODWIT_TESTS_UNIT_BOOT_IMAGES_H
#define GODWIT_TESTS_UNIT_BOOT_IMAGES_H

#include "tests/lib/testing.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/layout.h"
#include "vmm/x86/boot.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define UNUSED __attribute__((unused))

/* ---- a bzImage: setup_sects = 1, so the kernel proper begins at 1024 ---- */

#define BZ_HEADER_END 0x26cu
#define BZ_SETUP      1024u
#define BZ_PAYLOAD    4096u
#define BZ_SIZE	      (BZ_SETUP + BZ_PAYLOAD)

struct bz {
	uint8_t bytes[BZ_SIZE];
};

UNUSED static struct setup_header *bz_header(struct bz *bz)
{
	void *at = bz->bytes + 0x1f1; /* packed: any address will do */

	return at;
}

/* A healthy 64-bit one: protocol 2.15, relocatable, preferred 16 MiB. */
UNUSED static void bz_make(struct bz *bz)
{
	struct setup_header *hdr = bz_header(bz);
	unsigned i;

	memset(bz, 0, sizeof(*bz));
	for (i = BZ_SETUP; i < BZ_SIZE; i++)
		bz->bytes[i] = (uint8_t)(i * 7 + i / 256);
	bz->bytes[0x1ef] = 0xff; /* the sentinel of header.S */
	hdr->setup_sects = 1;
	hdr->syssize = BZ_PAYLOAD / 16;
	hdr->vid_mode = 0xffff;
	hdr->boot_flag = 0xaa55;
	hdr->jump = 0xeb | (BZ_HEADER_END - 0x202) << 8;
	memcpy(&hdr->header, "HdrS", 4);
	hdr->version = 0x020f;
	hdr->loadflags = LOADED_HIGH;
	hdr->initrd_addr_max = 0x7fffffff;
	hdr->kernel_alignment = 0x200000;
	hdr->relocatable_kernel = 1;
	hdr->xloadflags = XLF_KERNEL_64;
	hdr->cmdline_size = 2047;
	hdr->pref_address = 16 * MIB;
	hdr->init_size = 4 * MIB;
}

/* ---- an ELF: headers, then notes at 0x400, then segments at 0x1000 ------ */

#define ELF_NOTES 0x400u
#define ELF_BODY  0x1000u
#define ELF_SEG	  0x1000u /* bytes of each segment in the file */
#define ELF_SEGS  2u
#define ELF_SIZE  (ELF_BODY + ELF_SEGS * ELF_SEG)

struct elf_file {
	union {
		Elf64_Ehdr e64;
		Elf32_Ehdr e32;
		uint8_t bytes[ELF_SIZE];
	};
};

UNUSED static Elf64_Phdr *elf_phdr64(struct elf_file *f, unsigned i)
{
	void *at = f->bytes + sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr);

	return at;
}

UNUSED static Elf32_Phdr *elf_phdr32(struct elf_file *f, unsigned i)
{
	void *at = f->bytes + sizeof(Elf32_Ehdr) + i * sizeof(Elf32_Phdr);

	return at;
}

/* Append a note at ELF_NOTES + @off.  Return: the offset behind it. */
UNUSED static uint32_t elf_note(struct elf_file *f, uint32_t off,
	const char *name, uint32_t type, const void *desc, uint32_t desc_len)
{
	uint32_t name_len = (uint32_t)strlen(name) + 1;
	Elf32_Nhdr nh = {name_len, desc_len, type};
	uint8_t *at = f->bytes + ELF_NOTES + off;

	memcpy(at, &nh, sizeof(nh));
	at += sizeof(nh);
	memcpy(at, name, name_len);
	at += (name_len + 3) & ~3u;
	memcpy(at, desc, desc_len);
	at += (desc_len + 3) & ~3u;
	return (uint32_t)(at - (f->bytes + ELF_NOTES));
}

UNUSED static void elf_fill(struct elf_file *f, uint8_t class)
{
	unsigned i;

	memset(f, 0, sizeof(*f));
	for (i = ELF_BODY; i < ELF_SIZE; i++)
		f->bytes[i] = (uint8_t)(i * 11 + i / 256);
	memcpy(f->bytes, ELFMAG, SELFMAG);
	f->bytes[EI_CLASS] = class;
	f->bytes[EI_DATA] = ELFDATA2LSB;
	f->bytes[EI_VERSION] = EV_CURRENT;
}

/* ELF64: two segments at 2 MiB (0x1000 of 0x3000 bytes from the file) and
 * 3 MiB, 64-bit entry at 2 MiB, PVH entry (if asked for) at 2 MiB + 0x40. */
UNUSED static void elf_make64(struct elf_file *f, bool pvh)
{
	const uint64_t pvh_entry = 2 * MIB + 0x40;
	uint32_t notes = 0;

	elf_fill(f, ELFCLASS64);
	f->e64.e_type = ET_EXEC;
	f->e64.e_machine = EM_X86_64;
	f->e64.e_entry = 2 * MIB;
	f->e64.e_phoff = sizeof(Elf64_Ehdr);
	f->e64.e_phentsize = sizeof(Elf64_Phdr);
	f->e64.e_phnum = 3;
	*elf_phdr64(f, 0) = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = ELF_BODY,
		.p_paddr = 2 * MIB,
		.p_filesz = ELF_SEG,
		.p_memsz = 0x3000};
	*elf_phdr64(f, 1) = (Elf64_Phdr){.p_type = PT_LOAD,
		.p_offset = ELF_BODY + ELF_SEG,
		.p_paddr = 3 * MIB,
		.p_filesz = ELF_SEG,
		.p_memsz = ELF_SEG};
	notes = elf_note(f, notes, "GNU", 3, "0123456789abcdefghij", 20);
	if (pvh)
		notes = elf_note(f, notes, "Xen", 18, &pvh_entry, 8);
	*elf_phdr64(f, 2) = (Elf64_Phdr){.p_type = PT_NOTE,
		.p_offset = ELF_NOTES,
		.p_filesz = notes,
		.p_memsz = notes,
		.p_align = 4};
}

/* ELF32 with one segment at 1 MiB and a PVH note of 4 bytes. */
UNUSED static void elf_make32(struct elf_file *f, bool pvh)
{
	const uint32_t pvh_entry = (uint32_t)MIB + 0x10;
	uint32_t notes = 0;

	elf_fill(f, ELFCLASS32);
	f->e32.e_type = ET_EXEC;
	f->e32.e_machine = EM_386;
	f->e32.e_entry = (uint32_t)MIB;
	f->e32.e_phoff = sizeof(Elf32_Ehdr);
	f->e32.e_phentsize = sizeof(Elf32_Phdr);
	f->e32.e_phnum = 2;
	*elf_phdr32(f, 0) = (Elf32_Phdr){.p_type = PT_LOAD,
		.p_offset = ELF_BODY,
		.p_paddr = (uint32_t)MIB,
		.p_filesz = ELF_SEG,
		.p_memsz = ELF_SEG};
	if (pvh)
		notes = elf_note(f, notes, "Xen", 18, &pvh_entry, 4);
	*elf_phdr32(f, 1) = (Elf32_Phdr){.p_type = PT_NOTE,
		.p_offset = ELF_NOTES,
		.p_filesz = notes,
		.p_align = 4};
}

/* ---- a machine to load into --------------------------------------------- */

struct rig {
	struct guestmem gm;
	struct image kernel, initrd;
	struct boot_spec spec; /* ACPI, one CPU, no devices, no initrd */
	struct boot_entry entry;
	struct error err;
};

UNUSED static void rig_init(
	struct rig *rig, uint64_t ram, const void *file, uint64_t size)
{
	const struct guestmem_options opt = {.size = ram};

	memset(rig, 0, sizeof(*rig));
	assert_int_equal(guestmem_init(&rig->gm, &opt, &rig->err), 0);
	image_from_mem(&rig->kernel, file, size);
	rig->spec = (struct boot_spec){
		.kernel = &rig->kernel,
		.cmdline = "",
		.cpus = 1,
		.cpus_max = 1,
	};
}

UNUSED static void rig_fini(struct rig *rig)
{
	guestmem_fini(&rig->gm);
}

UNUSED static void rig_initrd(struct rig *rig, const void *file, uint64_t size)
{
	image_from_mem(&rig->initrd, file, size);
	rig->spec.initrd = &rig->initrd;
}

UNUSED static int rig_load(struct rig *rig)
{
	memset(&rig->err, 0, sizeof(rig->err));
	memset(&rig->entry, 0xee, sizeof(rig->entry));
	return boot_load(&rig->spec, &rig->gm, &rig->entry, &rig->err);
}

/* boot_load() refuses with @code, says so in @err, and its text has @word. */
UNUSED static void rig_refuses(struct rig *rig, int code, const char *word)
{
	assert_int_equal(rig_load(rig), code);
	assert_int_equal(rig->err.code, code);
	if (!strstr(rig->err.text, word))
		fail_msg("\"%s\" lacks \"%s\"", rig->err.text, word);
}

UNUSED static void rig_loads(struct rig *rig)
{
	if (rig_load(rig) != 0)
		fail_msg("%s", rig->err.text);
}

UNUSED static const void *rig_at(
	const struct rig *rig, uint64_t gpa, uint64_t len)
{
	const void *at = guestmem_at(&rig->gm, gpa, len);

	assert_non_null(at);
	return at;
}

UNUSED static const struct boot_params *rig_params(const struct rig *rig)
{
	return rig_at(rig, LAYOUT_ZERO_PAGE, sizeof(struct boot_params));
}

UNUSED static uint64_t rig_le(const struct rig *rig, uint64_t gpa, unsigned len)
{
	uint64_t value = 0;

	memcpy(&value, rig_at(rig, gpa, len), len);
	return value;
}

#endif
