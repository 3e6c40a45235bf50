/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/loader.c - see loader.h.  Parses no kernel format. */
#include "vmm/x86/loader.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/image.h"

#define SNIFF_BYTES 64u

int loader_read(const struct image *img, uint64_t off, void *dst, uint64_t len,
	struct error *err)
{
	int code = image_read(img, off, dst, len);

	if (code == -ENODATA)
		return error_set(err, -EINVAL,
			"%s: 0x%" PRIx64 " bytes at 0x%" PRIx64
			" lie past the end of the file at 0x%" PRIx64
			" (it is damaged or cut short: copy it again)",
			img->name, len, off, img->size);
	if (code < 0)
		return error_errno(
			err, code, "%s: read at 0x%" PRIx64, img->name, off);
	return 0;
}

int loader_read_ram(const struct image *img, uint64_t off,
	const struct guestmem *gm, uint64_t gpa, uint64_t len,
	struct error *err)
{
	void *dst;
	int code;

	if (len == 0)
		return 0;
	dst = guestmem_at(gm, gpa, len);
	assert(dst);
	code = loader_read(img, off, dst, len, err);
	guestmem_mark_dirty(gm, gpa, len);
	return code;
}

struct look {
	unsigned off, len;
	const char *magic;
	const char *text; /* what it is, and the remedy */
};

static const struct look looks[] = {
	{0, 2, "\x1f\x8b", "looks like gzip data; unpack it with gunzip"},
	{0, 5, "\3757zXZ", "looks like xz data; unpack it with unxz"},
	{0, 4, "\x28\xb5\x2f\xfd",
		"looks like zstd data; unpack it with unzstd"},
	{0, 4, "\x02\x21\x4c\x18", "looks like lz4 data; unpack it with unlz4"},
	{0, 4, "\x04\x22\x4d\x18", "looks like lz4 data; unpack it with unlz4"},
	{0, 3, "BZh", "looks like bzip2 data; unpack it with bunzip2"},
	{0, 5, "07070", "looks like an initramfs (cpio); give it with -i"},
	{0, 2, "#!", "looks like a script; give a kernel image with -k"},
	{0, 4, "\x27\x05\x19\x56",
		"looks like a U-Boot image; give the kernel in it"},
	{0, 8, "!<arch>\n", "looks like a package or archive; unpack it"},
	{56, 4, "ARM\x64", "looks like an arm64 Image; take an x86-64 kernel"},
	{56, 4, "RSC\x05", "looks like a RISC-V Image; take an x86-64 kernel"},
	{0, 2, "MZ", "looks like an EFI program; take a bzImage or an ELF"},
};

#define LOOKS (sizeof(looks) / sizeof(looks[0]))

int loader_refuse(const struct image *img, struct error *err)
{
	uint8_t head[SNIFF_BYTES] = {0};
	uint64_t len = img->size < sizeof(head) ? img->size : sizeof(head);
	unsigned i;
	int code;

	code = loader_read(img, 0, head, len, err);
	if (code < 0)
		return code;
	for (i = 0; i < LOOKS; i++)
		if (memcmp(head + looks[i].off, looks[i].magic, looks[i].len) ==
			0)
			break;
	return error_set(err, -ENOEXEC,
		"%s: not a bzImage or an x86-64 ELF; first bytes "
		"%02x %02x %02x %02x (%s)",
		img->name, head[0], head[1], head[2], head[3],
		i < LOOKS ? looks[i].text
			  : "give a Linux bzImage or an x86-64 ELF kernel");
}
