/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/elf.c - see elf.h.  Relocates nothing and looks at no section; every
 * header field is the word of a hostile file.
 */
#include "vmm/x86/elf.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/layout.h"

#define SEGMENTS_MAX 64u
#define NOTES_MAX    1024u /* of all PT_NOTE segments together */
#define NOTE_NAME    8u	   /* longest name that matters here, with its NUL */

#define XEN_ELFNOTE_GUEST_OS	 6u
#define XEN_ELFNOTE_PHYS32_ENTRY 18u

/* A program header of either class. */
struct segment {
	uint32_t type;
	uint64_t offset, filesz; /* in the file */
	uint64_t gpa, memsz;	 /* in RAM */
	uint64_t align;
};

struct elf {
	const struct image *img;
	bool is64;
	uint64_t entry;
	uint64_t phoff;
	unsigned segments;
	struct segment seg[SEGMENTS_MAX];
	unsigned notes; /* walked so far */
	bool has_pvh;
	bool is_linux;
	uint64_t pvh_entry;
};

bool elf_probe(const struct image *img)
{
	uint8_t magic[SELFMAG];

	return image_read(img, 0, magic, sizeof(magic)) == 0 &&
	       memcmp(magic, ELFMAG, SELFMAG) == 0;
}

static int check_ident(struct elf *elf, const uint8_t *ident, struct error *err)
{
	if (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64)
		return error_set(err, -EINVAL,
			"%s: ELF class %u is neither 32 nor 64 bit (the file "
			"is damaged: copy it again)",
			elf->img->name, ident[EI_CLASS]);
	if (ident[EI_DATA] != ELFDATA2LSB)
		return error_set(err, -ENOEXEC,
			"%s: an ELF of another CPU, not little endian (take an "
			"x86-64 kernel)",
			elf->img->name);
	elf->is64 = ident[EI_CLASS] == ELFCLASS64;
	return 0;
}

static int check_kind(const struct elf *elf, unsigned machine, unsigned type,
	struct error *err)
{
	if (machine != EM_X86_64 && (elf->is64 || machine != EM_386))
		return error_set(err, -ENOEXEC,
			"%s: an ELF for machine %u, not for x86 (take an "
			"x86-64 kernel)",
			elf->img->name, machine);
	if (type != ET_EXEC && type != ET_DYN)
		return error_set(err, -ENOEXEC,
			"%s: an ELF of type %u, not an executable (give the "
			"linked kernel)",
			elf->img->name, type);
	return 0;
}

static int check_table(struct elf *elf, unsigned phnum, unsigned phentsize,
	size_t want, struct error *err)
{
	if (phnum == 0 || phnum > SEGMENTS_MAX)
		return error_set(err, -EINVAL,
			"%s: %u program headers, a kernel has 1 to %u (give "
			"the linked kernel)",
			elf->img->name, phnum, SEGMENTS_MAX);
	if (phentsize != want)
		return error_set(err, -EINVAL,
			"%s: program headers of %u bytes, not %zu (the file is "
			"damaged: copy it again)",
			elf->img->name, phentsize, want);
	elf->segments = phnum;
	return 0;
}

static int read_header64(struct elf *elf, struct error *err)
{
	Elf64_Ehdr eh;
	int code = loader_read(elf->img, 0, &eh, sizeof(eh), err);

	if (code < 0)
		return code;
	code = check_kind(elf, eh.e_machine, eh.e_type, err);
	if (code < 0)
		return code;
	elf->entry = eh.e_entry;
	elf->phoff = eh.e_phoff;
	return check_table(
		elf, eh.e_phnum, eh.e_phentsize, sizeof(Elf64_Phdr), err);
}

static int read_header32(struct elf *elf, struct error *err)
{
	Elf32_Ehdr eh;
	int code = loader_read(elf->img, 0, &eh, sizeof(eh), err);

	if (code < 0)
		return code;
	code = check_kind(elf, eh.e_machine, eh.e_type, err);
	if (code < 0)
		return code;
	elf->entry = eh.e_entry;
	elf->phoff = eh.e_phoff;
	return check_table(
		elf, eh.e_phnum, eh.e_phentsize, sizeof(Elf32_Phdr), err);
}

static int read_segments64(struct elf *elf, struct error *err)
{
	Elf64_Phdr ph[SEGMENTS_MAX];
	unsigned i;
	int code = loader_read(
		elf->img, elf->phoff, ph, elf->segments * sizeof(ph[0]), err);

	if (code < 0)
		return code;
	for (i = 0; i < elf->segments; i++)
		elf->seg[i] = (struct segment){ph[i].p_type, ph[i].p_offset,
			ph[i].p_filesz, ph[i].p_paddr, ph[i].p_memsz,
			ph[i].p_align};
	return 0;
}

static int read_segments32(struct elf *elf, struct error *err)
{
	Elf32_Phdr ph[SEGMENTS_MAX];
	unsigned i;
	int code = loader_read(
		elf->img, elf->phoff, ph, elf->segments * sizeof(ph[0]), err);

	if (code < 0)
		return code;
	for (i = 0; i < elf->segments; i++)
		elf->seg[i] = (struct segment){ph[i].p_type, ph[i].p_offset,
			ph[i].p_filesz, ph[i].p_paddr, ph[i].p_memsz,
			ph[i].p_align};
	return 0;
}

static int read_elf(struct elf *elf, struct error *err)
{
	uint8_t ident[EI_NIDENT];
	int code = loader_read(elf->img, 0, ident, sizeof(ident), err);

	if (code < 0)
		return code;
	code = check_ident(elf, ident, err);
	if (code < 0)
		return code;
	code = elf->is64 ? read_header64(elf, err) : read_header32(elf, err);
	if (code < 0)
		return code;
	return elf->is64 ? read_segments64(elf, err)
			 : read_segments32(elf, err);
}

static bool is_load(const struct segment *seg)
{
	return seg->type == PT_LOAD && seg->memsz > 0;
}

/* "kernel x: segment 2 [0x..,0x..) <why>"; the sizes may be nonsense. */
static int bad_segment(const struct elf *elf, unsigned i, int code,
	const char *why, struct error *err)
{
	const struct segment *seg = &elf->seg[i];

	return error_set(err, code,
		"%s: segment %u [0x%" PRIx64 ",0x%" PRIx64 ") %s",
		elf->img->name, i, seg->gpa, seg->gpa + seg->memsz, why);
}

static int check_segment(
	const struct elf *elf, unsigned i, uint64_t ram, struct error *err)
{
	const struct segment *seg = &elf->seg[i];
	unsigned j;

	if (seg->filesz > seg->memsz)
		return bad_segment(elf, i, -EINVAL,
			"is larger in the file than in memory (the file is "
			"damaged: copy it again)",
			err);
	if (seg->filesz > elf->img->size ||
		seg->offset > elf->img->size - seg->filesz)
		return bad_segment(elf, i, -EINVAL,
			"lies past the end of the file (it is cut short: copy "
			"it again)",
			err);
	if (seg->gpa < LAYOUT_KERNEL)
		return bad_segment(elf, i, -EINVAL,
			"overlaps the first MiB, which holds the boot tables "
			"(link the kernel at 1 MiB or above)",
			err);
	if (seg->gpa > ram || seg->memsz > ram - seg->gpa)
		return bad_segment(elf, i, -EFBIG,
			ram >= GUESTMEM_HOLE_START
				? "lies outside of RAM (link the kernel below "
				  "3 GiB)"
				: "lies outside of RAM (give the guest more "
				  "memory with -m)",
			err);
	for (j = 0; j < i; j++) {
		const struct segment *old = &elf->seg[j];

		if (is_load(old) && seg->gpa < old->gpa + old->memsz &&
			old->gpa < seg->gpa + seg->memsz)
			return bad_segment(elf, i, -EINVAL,
				"overlaps an earlier one (link the kernel "
				"again)",
				err);
	}
	return 0;
}

static int check_segments(const struct elf *elf, const struct guestmem *gm,
	struct loader_kernel *ret, struct error *err)
{
	unsigned i;
	int code;

	ret->load = UINT64_MAX;
	ret->end = 0;
	for (i = 0; i < elf->segments; i++) {
		const struct segment *seg = &elf->seg[i];

		if (!is_load(seg))
			continue;
		code = check_segment(elf, i, gm->region[0].size, err);
		if (code < 0)
			return code;
		if (seg->gpa < ret->load)
			ret->load = seg->gpa;
		if (seg->gpa + seg->memsz > ret->end)
			ret->end = seg->gpa + seg->memsz;
	}
	if (ret->end == 0)
		return error_set(err, -EINVAL,
			"%s: an ELF without a segment to load (give the linked "
			"kernel)",
			elf->img->name);
	return 0;
}

static int take_note(struct elf *elf, const Elf32_Nhdr *nh, const char *name,
	uint64_t desc_off, struct error *err)
{
	uint8_t desc[8] = {0};
	int code;

	if (nh->n_namesz == 6 && memcmp(name, "Linux", 6) == 0)
		elf->is_linux = true;
	if (nh->n_namesz != 4 || memcmp(name, "Xen", 4) != 0)
		return 0;
	if (nh->n_type == XEN_ELFNOTE_GUEST_OS && nh->n_descsz >= 5 &&
		nh->n_descsz <= 6) {
		code = loader_read(elf->img, desc_off, desc, nh->n_descsz, err);
		if (code == 0 && memcmp(desc, "linux", 5) == 0)
			elf->is_linux = true;
		return code;
	}
	if (nh->n_type != XEN_ELFNOTE_PHYS32_ENTRY || elf->has_pvh)
		return 0;
	if (nh->n_descsz != 4 && nh->n_descsz != 8)
		return error_set(err, -EINVAL,
			"%s: PVH note of %u bytes, not 4 or 8 (the file is "
			"damaged: copy it again)",
			elf->img->name, nh->n_descsz);
	code = loader_read(elf->img, desc_off, desc, nh->n_descsz, err);
	if (code < 0)
		return code;
	memcpy(&elf->pvh_entry, desc, sizeof(desc));
	elf->has_pvh = true;
	return 0;
}

/* Bytes of @n rounded up to @align, a power of two; cannot wrap for 32 bits. */
static uint64_t padded(uint32_t n, uint64_t align)
{
	return ((uint64_t)n + align - 1) & ~(align - 1);
}

static int walk_notes(
	struct elf *elf, const struct segment *seg, struct error *err)
{
	uint64_t off = seg->offset, left = seg->filesz;
	uint64_t align = seg->align == 8 ? 8 : 4;

	while (left >= sizeof(Elf32_Nhdr)) {
		char name[NOTE_NAME] = "";
		uint64_t name_len, desc_off, whole;
		Elf32_Nhdr nh;
		int code;

		if (++elf->notes > NOTES_MAX)
			return error_set(err, -EINVAL,
				"%s: more than %u notes (the file is damaged: "
				"copy it again)",
				elf->img->name, NOTES_MAX);
		code = loader_read(elf->img, off, &nh, sizeof(nh), err);
		if (code < 0)
			return code;
		/* With 8-byte alignment the name's padding counts from the
		 * start of the note, header included. */
		desc_off = padded(nh.n_namesz, 4) + sizeof(nh);
		desc_off = (desc_off + align - 1) & ~(align - 1);
		if (desc_off > left || nh.n_descsz > left - desc_off)
			return error_set(err, -EINVAL,
				"%s: a note at 0x%" PRIx64
				" is longer than its segment (the file is "
				"damaged: copy it again)",
				elf->img->name, off);
		name_len =
			nh.n_namesz < sizeof(name) ? nh.n_namesz : sizeof(name);
		code = loader_read(
			elf->img, off + sizeof(nh), name, name_len, err);
		if (code < 0)
			return code;
		code = take_note(elf, &nh, name, off + desc_off, err);
		if (code < 0)
			return code;
		whole = desc_off + padded(nh.n_descsz, align);
		if (whole >= left)
			break; /* the last one may lack its padding */
		off += whole;
		left -= whole;
	}
	return 0;
}

static int read_notes(struct elf *elf, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < elf->segments; i++) {
		const struct segment *seg = &elf->seg[i];

		if (seg->type != PT_NOTE)
			continue;
		if (seg->filesz > elf->img->size ||
			seg->offset > elf->img->size - seg->filesz)
			return bad_segment(elf, i, -EINVAL,
				"of notes lies past the end of the file (it is "
				"cut short: copy it again)",
				err);
		code = walk_notes(elf, seg, err);
		if (code < 0)
			return code;
	}
	return 0;
}

static int choose_protocol(const struct elf *elf, const struct boot_spec *spec,
	struct loader_kernel *ret, struct error *err)
{
	const char *name = elf->img->name;

	/* PVH hands over no device tree: Linux takes it from boot_params. */
	bool fdt = spec->machine == BOOT_MACHINE_FDT;

	switch (spec->protocol) {
	case BOOT_AUTO:
		if (elf->has_pvh && !(fdt && elf->is64))
			ret->protocol = BOOT_PVH;
		else
			ret->protocol = BOOT_LINUX64;
		break;
	case BOOT_PVH:
	case BOOT_LINUX64:
		ret->protocol = spec->protocol;
		break;
	case BOOT_LINUX32:
		return error_set(err, -ENOEXEC,
			"%s: an ELF has no 32-bit Linux entry (give the "
			"bzImage, or use PVH)",
			name);
	}
	if (ret->protocol == BOOT_PVH && !elf->has_pvh)
		return error_set(err, -ENOEXEC,
			"%s: has no PVH note (build it with CONFIG_PVH=y)",
			name);
	if (ret->protocol == BOOT_PVH && fdt)
		return error_set(err, -EINVAL,
			"%s: PVH cannot pass a device tree (use --machine acpi "
			"or cmdline, or a bzImage)",
			name);
	if (ret->protocol == BOOT_LINUX64 && !elf->is64)
		return error_set(err, -ENOEXEC,
			"%s: a 32-bit ELF without a PVH note (take an x86-64 "
			"kernel)",
			name);
	return 0;
}

static int choose_entry(
	const struct elf *elf, struct loader_kernel *ret, struct error *err)
{
	bool pvh = ret->protocol == BOOT_PVH;
	unsigned i;

	ret->entry = pvh ? elf->pvh_entry : elf->entry;
	for (i = 0; i < elf->segments; i++) {
		const struct segment *seg = &elf->seg[i];

		if (is_load(seg) && ret->entry >= seg->gpa &&
			ret->entry - seg->gpa < seg->memsz)
			return 0;
	}
	return error_set(err, -EINVAL,
		"%s: %s entry 0x%" PRIx64
		" lies in no segment (link the kernel at its physical address)",
		elf->img->name, pvh ? "PVH" : "64-bit", ret->entry);
}

static int place_segments(
	const struct elf *elf, const struct guestmem *gm, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < elf->segments; i++) {
		const struct segment *seg = &elf->seg[i];
		uint64_t rest = seg->memsz - seg->filesz;

		if (!is_load(seg))
			continue;
		code = loader_read_ram(
			elf->img, seg->offset, gm, seg->gpa, seg->filesz, err);
		if (code < 0)
			return code;
		if (rest == 0)
			continue;
		memset(guestmem_at(gm, seg->gpa + seg->filesz, rest), 0, rest);
		guestmem_mark_dirty(gm, seg->gpa + seg->filesz, rest);
	}
	return 0;
}

int elf_load(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_kernel *ret, struct error *err)
{
	struct elf elf = {.img = spec->kernel};
	int code;

	code = read_elf(&elf, err);
	if (code < 0)
		return code;
	code = check_segments(&elf, gm, ret, err);
	if (code < 0)
		return code;
	code = read_notes(&elf, err);
	if (code < 0)
		return code;
	code = choose_protocol(&elf, spec, ret, err);
	if (code < 0)
		return code;
	code = choose_entry(&elf, ret, err);
	if (code < 0)
		return code;
	ret->header_bytes = 0;
	ret->initrd_last = GUESTMEM_HOLE_START - 1;
	/* An ELF does not tell its limit; Linux cuts what it cannot hold. */
	ret->cmdline_max = elf.is_linux ? LOADER_LINUX_CMDLINE_MAX
					: LAYOUT_CMDLINE_MAX - 1;
	return place_segments(&elf, gm, err);
}
