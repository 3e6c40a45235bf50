/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/bzimage.c - see bzimage.h.  The real-mode part of the file is only
 * read for its header; boot_params are zeropage.c's.  Every header field is the
 * word of a hostile file.
 */
#include "vmm/x86/bzimage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <asm/bootparam.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"
#include "vmm/layout.h"

#define BOOT_FLAG_OFFSET 0x1feu
#define BOOT_FLAG	 0xaa55u
#define HDRS_OFFSET	 0x202u
#define SECTOR		 512u
#define ENTRY64_OFFSET	 0x200u

#define VERSION_OLDEST 0x0206u /* command line size, relocatable */
#define VERSION_SIZES  0x020au /* pref_address, init_size */
#define VERSION_64     0x020cu /* xloadflags */

/* Where the header must reach for the fields of these versions. */
#define HDR_END_OLDEST 0x23cu
#define HDR_END_SIZES  0x264u

#define INITRD_LAST_DEFAULT 0x37ffffffu
#define CMDLINE_MAX_DEFAULT 255u

struct bzimage {
	const struct image *img;
	struct setup_header hdr; /* fields past the header's end are 0 */
	uint64_t off, len;	 /* protected-mode part in the file, bytes */
	uint64_t load;		 /* gpa where it is put */
	uint64_t run;		 /* gpa where the kernel unpacks itself to */
};

bool bzimage_probe(const struct image *img)
{
	uint8_t magic[HDRS_OFFSET + 4 - BOOT_FLAG_OFFSET];

	if (image_read(img, BOOT_FLAG_OFFSET, magic, sizeof(magic)) < 0)
		return false;
	return magic[0] == (BOOT_FLAG & 0xff) && magic[1] == BOOT_FLAG >> 8 &&
	       memcmp(&magic[HDRS_OFFSET - BOOT_FLAG_OFFSET], "HdrS", 4) == 0;
}

static int read_header(
	struct bzimage *bz, struct loader_kernel *ret, struct error *err)
{
	uint32_t end, want, avail;
	int code;

	memset(&bz->hdr, 0, sizeof(bz->hdr));
	code = loader_read(bz->img, LOADER_HDR_OFFSET, &bz->hdr,
		HDR_END_OLDEST - LOADER_HDR_OFFSET, err);
	if (code < 0)
		return code;
	if (bz->hdr.version < VERSION_OLDEST)
		return error_set(err, -ENOEXEC,
			"%s: boot protocol %u.%02u is older than 2.06 (take a "
			"Linux of 2.6.22 or later)",
			bz->img->name, bz->hdr.version >> 8,
			bz->hdr.version & 0xff);
	/* The operand of the short jump at 0x200 tells where it ends. */
	end = HDRS_OFFSET + (bz->hdr.jump >> 8);
	want = bz->hdr.version >= VERSION_SIZES ? HDR_END_SIZES
						: HDR_END_OLDEST;
	if (end < want)
		return error_set(err, -EINVAL,
			"%s: setup header ends at 0x%x, but protocol %u.%02u "
			"needs 0x%x (the file is damaged: copy it again)",
			bz->img->name, end, bz->hdr.version >> 8,
			bz->hdr.version & 0xff, want);
	ret->header_bytes = end - LOADER_HDR_OFFSET;
	if (ret->header_bytes > sizeof(ret->header))
		ret->header_bytes = sizeof(ret->header);
	code = loader_read(bz->img, LOADER_HDR_OFFSET, ret->header,
		ret->header_bytes, err);
	if (code < 0)
		return code;
	avail = ret->header_bytes < sizeof(bz->hdr) ? ret->header_bytes
						    : sizeof(bz->hdr);
	memset(&bz->hdr, 0, sizeof(bz->hdr));
	memcpy(&bz->hdr, ret->header, avail);
	return 0;
}

static int find_payload(struct bzimage *bz, struct error *err)
{
	unsigned sects = bz->hdr.setup_sects ? bz->hdr.setup_sects : 4;
	uint64_t want = (uint64_t)bz->hdr.syssize * 16;

	if (!(bz->hdr.loadflags & LOADED_HIGH))
		return error_set(err, -ENOEXEC,
			"%s: a zImage, which loads below 1 MiB (build a "
			"bzImage)",
			bz->img->name);
	bz->off = (uint64_t)(sects + 1) * SECTOR;
	if (bz->off >= bz->img->size || want > bz->img->size - bz->off)
		return error_set(err, -EINVAL,
			"%s: %" PRIu64 " bytes of kernel after %" PRIu64
			" of setup are more than the %" PRIu64
			" bytes of the file (it is cut short: copy it again)",
			bz->img->name, want, bz->off, bz->img->size);
	/* All of it: what follows syssize may be a signature, or a kernel
	 * whose builder left the field alone. */
	bz->len = bz->img->size - bz->off;
	return 0;
}

static int too_big(const struct bzimage *bz, uint64_t gpa, uint64_t len,
	uint64_t ram, struct error *err)
{
	return error_set(err, -EFBIG,
		"%s: needs %" PRIu64 " KiB at 0x%" PRIx64
		", low RAM ends at 0x%" PRIx64
		" (give the guest more memory with -m)",
		bz->img->name, (len >> 10) + 1, gpa, ram);
}

static int choose_address(
	struct bzimage *bz, const struct guestmem *gm, struct error *err)
{
	const struct setup_header *hdr = &bz->hdr;
	uint64_t ram = gm->region[0].size, align = 1;

	bz->run = LAYOUT_KERNEL;
	if (hdr->version >= VERSION_SIZES) {
		bz->run = hdr->pref_address;
		if (bz->run < LAYOUT_KERNEL || bz->run >= GUESTMEM_HOLE_START)
			return error_set(err, -EINVAL,
				"%s: preferred address 0x%" PRIx64
				" is not between 1 MiB and 3 GiB (the file is "
				"damaged: copy it again)",
				bz->img->name, bz->run);
	}
	if (hdr->relocatable_kernel && hdr->kernel_alignment)
		align = hdr->kernel_alignment;
	if (align & (align - 1))
		return error_set(err, -EINVAL,
			"%s: alignment 0x%" PRIx64 " is no power of two (the "
			"file is damaged: copy it again)",
			bz->img->name, align);
	/* Cannot wrap: run is below 3 GiB and align at most 2 GiB. */
	bz->run = (bz->run + align - 1) & ~(align - 1);
	bz->load = hdr->relocatable_kernel ? bz->run : LAYOUT_KERNEL;
	if (bz->load >= ram || bz->len > ram - bz->load)
		return too_big(bz, bz->load, bz->len, ram, err);
	if (bz->run >= ram || hdr->init_size > ram - bz->run)
		return too_big(bz, bz->run, hdr->init_size, ram, err);
	return 0;
}

static int choose_entry(struct bzimage *bz, enum boot_protocol wish,
	struct loader_kernel *ret, struct error *err)
{
	bool has64 = bz->hdr.version >= VERSION_64 &&
		     (bz->hdr.xloadflags & XLF_KERNEL_64);

	if (wish == BOOT_PVH)
		return error_set(err, -ENOEXEC,
			"%s: a bzImage has no PVH entry (give the vmlinux "
			"ELF, or another boot protocol)",
			bz->img->name);
	if (wish == BOOT_LINUX64 && !has64)
		return error_set(err, -ENOEXEC,
			"%s: has no 64-bit entry (use the 32-bit one, or a "
			"64-bit kernel)",
			bz->img->name);
	if (wish == BOOT_AUTO)
		wish = has64 ? BOOT_LINUX64 : BOOT_LINUX32;
	ret->protocol = wish;
	ret->entry = bz->load;
	if (wish == BOOT_LINUX64) {
		if (bz->len <= ENTRY64_OFFSET)
			return error_set(err, -EINVAL,
				"%s: ends before its 64-bit entry (it is cut "
				"short: copy it again)",
				bz->img->name);
		ret->entry += ENTRY64_OFFSET;
	}
	return 0;
}

int bzimage_load(const struct boot_spec *spec, const struct guestmem *gm,
	struct loader_kernel *ret, struct error *err)
{
	struct bzimage bz = {.img = spec->kernel};
	uint64_t run_end;
	int code;

	code = read_header(&bz, ret, err);
	if (code < 0)
		return code;
	code = find_payload(&bz, err);
	if (code < 0)
		return code;
	code = choose_address(&bz, gm, err);
	if (code < 0)
		return code;
	code = choose_entry(&bz, spec->protocol, ret, err);
	if (code < 0)
		return code;
	ret->load = bz.load;
	ret->end = bz.load + bz.len;
	run_end = bz.run + bz.hdr.init_size;
	if (ret->end < run_end)
		ret->end = run_end;
	ret->initrd_last = bz.hdr.initrd_addr_max ? bz.hdr.initrd_addr_max
						  : INITRD_LAST_DEFAULT;
	ret->cmdline_max =
		bz.hdr.cmdline_size ? bz.hdr.cmdline_size : CMDLINE_MAX_DEFAULT;
	return loader_read_ram(spec->kernel, bz.off, gm, bz.load, bz.len, err);
}
