/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/boot.c - see boot.h.  Orders the steps and places what is no kernel:
 * command line, initrd, machine description.  Formats are the other files'.
 */
#include "vmm/x86/boot.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/bootparam.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/layout.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/bzimage.h"
#include "vmm/x86/elf.h"
#include "vmm/x86/loader.h"
#include "vmm/x86/lowmem.h"
#include "vmm/x86/mptable.h"
#include "vmm/x86/pvh.h"
#include "vmm/x86/zeropage.h"

#define VIRTIO_WORD_MAX 48u /* "virtio_mmio.device=0x200@0xd0000000:16 " */

static int load_kernel(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_kernel *kernel, struct error *err)
{
	if (gm->region[0].size <= LAYOUT_KERNEL)
		return error_set(err, -EFBIG,
			"memory: %" PRIu64
			" KiB hold no kernel above 1 MiB (give the guest more "
			"memory with -m)",
			gm->size >> 10);
	if (bzimage_probe(spec->kernel))
		return bzimage_load(spec, gm, kernel, err);
	if (elf_probe(spec->kernel))
		return elf_load(spec, gm, kernel, err);
	return loader_refuse(spec->kernel, err);
}

static bool blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where the kernel stops to read: a bare "--" hands the rest to init.  Quotes
 * count as the kernel counts them.  Return: bytes before it. */
static size_t kernel_part(const char *cmdline)
{
	bool quoted = false, fresh = true;
	const char *p;

	for (p = cmdline; *p; p++) {
		if (fresh && !quoted && p[0] == '-' && p[1] == '-' &&
			(blank(p[2]) || p[2] == '\0'))
			break;
		if (*p == '"')
			quoted = !quoted;
		fresh = blank(*p);
	}
	return (size_t)(p - cmdline);
}

/* The words that name our virtio devices, each with a blank after it. */
static size_t virtio_words(
	const struct boot_spec *spec, char words[], size_t cap)
{
	unsigned slot;
	size_t len = 0;

	words[0] = '\0';
	if (spec->machine != BOOT_MACHINE_CMDLINE)
		return 0;
	for (slot = 0; slot < spec->virtio_devices; slot++)
		len += (size_t)snprintf(words + len, cap - len,
			"virtio_mmio.device=0x%" PRIx64 "@0x%" PRIx64 ":%u ",
			(uint64_t)LAYOUT_VIRTIO_SIZE, layout_virtio_gpa(slot),
			layout_virtio_gsi(slot));
	assert(len < cap);
	return len;
}

static int write_cmdline(const struct boot_spec *spec,
	const struct guestmem *gm, const struct loader_kernel *kernel,
	struct error *err)
{
	char words[LAYOUT_VIRTIO_MAX * VIRTIO_WORD_MAX];
	size_t added = virtio_words(spec, words, sizeof(words));
	size_t total = strlen(spec->cmdline), head, gap = 0;
	uint64_t limit = kernel->cmdline_max, gpa = LAYOUT_CMDLINE;
	bool ok = true;

	head = added ? kernel_part(spec->cmdline) : total;
	if (added && head > 0 && !blank(spec->cmdline[head - 1]))
		gap = 1;
	if (added && head == total)
		added--; /* nothing follows: no blank at the end */
	if (limit > LAYOUT_CMDLINE_MAX - 1)
		limit = LAYOUT_CMDLINE_MAX - 1;
	if (total + gap + added > limit)
		return error_set(err, -E2BIG,
			"%s: command line of %zu bytes, %zu of them for virtio "
			"devices, exceeds the kernel's limit of %" PRIu64
			" (shorten it)",
			spec->kernel->name, total + gap + added, gap + added,
			limit);
	ok = ok && guestmem_write(gm, gpa, spec->cmdline, head);
	ok = ok && guestmem_write(gm, gpa + head, " ", gap);
	ok = ok && guestmem_write(gm, gpa + head + gap, words, added);
	/* The tail, and the NUL. */
	ok = ok && guestmem_write(gm, gpa + head + gap + added,
			   spec->cmdline + head, total - head + 1);
	assert(ok);
	return 0;
}

/* As high as possible, so that it is in nobody's way while the kernel grows. */
static int load_initrd(const struct boot_spec *spec, const struct guestmem *gm,
	const struct loader_kernel *kernel, struct loader_handover *hand,
	struct error *err)
{
	uint64_t ram = gm->region[0].size, top = ram, bottom, size, gpa;

	hand->initrd_gpa = 0;
	hand->initrd_bytes = 0;
	if (!spec->initrd)
		return 0;
	size = spec->initrd->size;
	if (kernel->initrd_last < top)
		top = kernel->initrd_last + 1;
	bottom = (kernel->end + GUESTMEM_PAGE - 1) & ~(GUESTMEM_PAGE - 1);
	gpa = size <= top ? (top - size) & ~(GUESTMEM_PAGE - 1) : 0;
	if (gpa < bottom)
		return error_set(err, -EFBIG,
			"%s: %" PRIu64 " KiB do not fit between the kernel's "
			"end at 0x%" PRIx64 " and 0x%" PRIx64 " (%s)",
			spec->initrd->name, (size + 1023) >> 10, bottom, top,
			top < ram ? "the kernel takes none above: use a "
				    "smaller one"
				  : "give the guest more memory with -m");
	hand->initrd_gpa = gpa;
	hand->initrd_bytes = size;
	return loader_read_ram(spec->initrd, 0, gm, gpa, size, err);
}

static int write_acpi(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_handover *hand, struct error *err)
{
	const uint32_t cap = LAYOUT_ACPI_END - LAYOUT_ACPI;
	uint8_t *area = guestmem_at(gm, LAYOUT_ACPI, cap);
	uint32_t len = 0;
	int code;

	assert(area);
	code = acpi_build(spec, LAYOUT_ACPI, area, cap, &len, err);
	if (code < 0)
		return code;
	guestmem_mark_dirty(gm, LAYOUT_ACPI, len);
	hand->rsdp_gpa = LAYOUT_ACPI;
	return 0;
}

static int write_fdt(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_handover *hand, struct error *err)
{
	void *blob;
	size_t size;
	int code;

	code = boot_fdt_build(spec, gm, spec->cmdline, hand->initrd_gpa,
		hand->initrd_bytes, &blob, &size, err);
	if (code < 0)
		return code;
	if (size > zeropage_setup_data_max())
		code = error_set(err, -EFBIG,
			"device tree: %zu bytes for %u CPUs exceed %" PRIu64
			" (give fewer CPUs, or use --machine acpi)",
			size, spec->cpus, zeropage_setup_data_max());
	else
		hand->setup_data_gpa =
			zeropage_write_setup_data(gm, SETUP_DTB, blob, size);
	free(blob);
	return code;
}

static int write_machine(const struct boot_spec *spec,
	const struct guestmem *gm, struct loader_handover *hand,
	struct error *err)
{
	switch (spec->machine) {
	case BOOT_MACHINE_ACPI:
		return write_acpi(spec, gm, hand, err);
	case BOOT_MACHINE_FDT:
		return write_fdt(spec, gm, hand, err);
	case BOOT_MACHINE_CMDLINE:
		return mptable_write(gm, spec->cpus, err);
	}
	assert(!"machine");
	return -EINVAL;
}

static void write_entry(const struct guestmem *gm,
	const struct loader_kernel *kernel, const struct loader_handover *hand,
	struct boot_entry *ret_entry)
{
	struct boot_entry entry = {
		.protocol = kernel->protocol,
		.rip = kernel->entry,
		.rsp = LAYOUT_BOOT_STACK,
	};

	if (kernel->protocol == BOOT_PVH) {
		pvh_write(gm, hand);
		entry.rbx = LAYOUT_HVM_START_INFO;
	} else {
		zeropage_write(gm, kernel, hand);
		entry.rsi = LAYOUT_ZERO_PAGE;
	}
	lowmem_write_gdt(gm, kernel->protocol == BOOT_LINUX64);
	lowmem_write_reset_vector(gm);
	if (kernel->protocol == BOOT_LINUX64) {
		lowmem_write_page_tables(gm);
		entry.cr3 = LAYOUT_PAGE_TABLES;
	}
	*ret_entry = entry;
}

int boot_load(const struct boot_spec *spec, struct guestmem *gm,
	struct boot_entry *ret_entry, struct error *err)
{
	struct loader_kernel kernel = {.protocol = BOOT_AUTO};
	struct loader_handover hand = {.cmdline_gpa = LAYOUT_CMDLINE};
	int code;

	assert(spec->cpus >= 1 && spec->cpus_max >= spec->cpus);
	assert(spec->virtio_devices <= LAYOUT_VIRTIO_MAX);
	code = load_kernel(spec, gm, &kernel, err);
	if (code < 0)
		return code;
	code = write_cmdline(spec, gm, &kernel, err);
	if (code < 0)
		return code;
	code = load_initrd(spec, gm, &kernel, &hand, err);
	if (code < 0)
		return code;
	code = write_machine(spec, gm, &hand, err);
	if (code < 0)
		return code;
	write_entry(gm, &kernel, &hand, ret_entry);
	return 0;
}
