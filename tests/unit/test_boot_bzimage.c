/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_boot_bzimage.c - bzImage loading (vmm/x86/bzimage.c). */
#include "tests/unit/boot_images.h"

#include <glob.h>

struct bz_rig {
	struct bz bz;
	struct rig rig;
};

static int set_up(void **state)
{
	struct bz_rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	bz_make(&r->bz);
	rig_init(&r->rig, 64 * MIB, r->bz.bytes, BZ_SIZE);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct bz_rig *r = *state;

	rig_fini(&r->rig);
	free(r);
	return 0;
}

static void kernel_is_at(const struct bz_rig *r, uint64_t gpa)
{
	assert_memory_equal(rig_at(&r->rig, gpa, BZ_PAYLOAD),
		r->bz.bytes + BZ_SETUP, BZ_PAYLOAD);
}

static void relocatable_kernel_goes_to_its_preferred_address(void **state)
{
	struct bz_rig *r = *state;

	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX64);
	assert_int_equal(r->rig.entry.rip, 16 * MIB + 0x200);
	assert_int_equal(r->rig.entry.rsi, LAYOUT_ZERO_PAGE);
	assert_int_equal(r->rig.entry.rbx, 0);
	assert_int_equal(r->rig.entry.rsp, LAYOUT_BOOT_STACK);
	assert_int_equal(r->rig.entry.cr3, LAYOUT_PAGE_TABLES);
	kernel_is_at(r, 16 * MIB);
}

static void preferred_address_is_aligned_as_the_kernel_asks(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->pref_address = 3 * MIB;
	bz_header(&r->bz)->kernel_alignment = 0x800000;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.rip, 8 * MIB + 0x200);
	kernel_is_at(r, 8 * MIB);
}

static void fixed_kernel_is_put_at_1_mib_and_unpacks_elsewhere(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->relocatable_kernel = 0;
	bz_header(&r->bz)->kernel_alignment = 3; /* says nothing here */
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.rip, MIB + 0x200);
	kernel_is_at(r, MIB);
	/* Its 4 MiB at 16 MiB have to be RAM all the same. */
	bz_header(&r->bz)->init_size = 48 * MIB + 1;
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
}

static void kernel_without_64_bit_entry_starts_in_32_bit_mode(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->xloadflags = 0;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX32);
	assert_int_equal(r->rig.entry.rip, 16 * MIB);
	assert_int_equal(r->rig.entry.rsi, LAYOUT_ZERO_PAGE);
	assert_int_equal(r->rig.entry.cr3, 0);
	r->rig.spec.protocol = BOOT_LINUX64;
	rig_refuses(&r->rig, -ENOEXEC, "no 64-bit entry");
}

static void xloadflags_count_only_from_protocol_2_12(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->version = 0x020b;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX32);
}

static void protocol_2_06_has_no_preferred_address(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->version = 0x0206;
	bz_header(&r->bz)->jump = 0xeb | (0x23c - 0x202) << 8;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.rip, 2 * MIB); /* aligned from 1 MiB */
	kernel_is_at(r, 2 * MIB);
	bz_header(&r->bz)->version = 0x0205;
	rig_refuses(&r->rig, -ENOEXEC, "2.05");
}

static void asked_for_32_bit_entry_is_used(void **state)
{
	struct bz_rig *r = *state;

	r->rig.spec.protocol = BOOT_LINUX32;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX32);
	assert_int_equal(r->rig.entry.rip, 16 * MIB);
	r->rig.spec.protocol = BOOT_PVH;
	rig_refuses(&r->rig, -ENOEXEC, "PVH");
}

static void init_size_must_fit_into_ram(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->init_size = 48 * MIB;
	rig_loads(&r->rig);
	bz_header(&r->bz)->init_size = 48 * MIB + 1;
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
	bz_header(&r->bz)->init_size = UINT32_MAX;
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
}

static void kernel_itself_must_fit_into_ram(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->kernel_alignment = 16;
	bz_header(&r->bz)->init_size = 16;
	bz_header(&r->bz)->pref_address = 64 * MIB - BZ_PAYLOAD;
	rig_loads(&r->rig);
	bz_header(&r->bz)->pref_address += 16;
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
}

static void preferred_address_outside_of_low_ram_is_refused(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->pref_address = 64 * MIB;
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
	bz_header(&r->bz)->pref_address = UINT64_MAX;
	rig_refuses(&r->rig, -EINVAL, "preferred address");
	bz_header(&r->bz)->pref_address = MIB - 1;
	rig_refuses(&r->rig, -EINVAL, "preferred address");
	bz_header(&r->bz)->pref_address = 3 * GIB - 1;
	bz_header(&r->bz)->kernel_alignment = 0x80000000;
	rig_refuses(&r->rig, -EFBIG, "more memory with -m");
}

static void alignment_must_be_a_power_of_two(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->kernel_alignment = 0x300000;
	rig_refuses(&r->rig, -EINVAL, "power of two");
	bz_header(&r->bz)->kernel_alignment = 0;
	rig_loads(&r->rig);
}

static void truncated_file_is_refused(void **state)
{
	struct bz_rig *r = *state;
	uint64_t size;

	image_from_mem(&r->rig.kernel, r->bz.bytes, BZ_SIZE - 1);
	rig_refuses(&r->rig, -EINVAL, "cut short");
	image_from_mem(&r->rig.kernel, r->bz.bytes, BZ_SETUP);
	rig_refuses(&r->rig, -EINVAL, "cut short");
	for (size = 0x206; size < BZ_SETUP; size++) {
		image_from_mem(&r->rig.kernel, r->bz.bytes, size);
		assert_int_equal(rig_load(&r->rig), -EINVAL);
	}
}

static void file_without_room_for_the_64_bit_entry_is_refused(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->syssize = 0x200 / 16;
	image_from_mem(&r->rig.kernel, r->bz.bytes, BZ_SETUP + 0x200);
	rig_refuses(&r->rig, -EINVAL, "64-bit entry");
	image_from_mem(&r->rig.kernel, r->bz.bytes, BZ_SETUP + 0x201);
	rig_loads(&r->rig);
}

static void header_shorter_than_its_version_needs_is_refused(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->jump = 0xeb | (0x263 - 0x202) << 8;
	rig_refuses(&r->rig, -EINVAL, "setup header ends");
	bz_header(&r->bz)->jump = 0xeb;
	rig_refuses(&r->rig, -EINVAL, "setup header ends");
}

static void zimage_is_refused(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->loadflags = 0;
	rig_refuses(&r->rig, -ENOEXEC, "zImage");
}

static void zero_setup_sects_means_four(void **state)
{
	struct bz_rig *r = *state;

	bz_header(&r->bz)->setup_sects = 0;
	bz_header(&r->bz)->syssize = (BZ_SIZE - 5 * 512) / 16;
	rig_loads(&r->rig);
	assert_memory_equal(rig_at(&r->rig, 16 * MIB, BZ_SIZE - 5 * 512),
		r->bz.bytes + 5 * 512, BZ_SIZE - 5 * 512);
}

static void command_line_up_to_the_kernels_limit_is_passed(void **state)
{
	struct bz_rig *r = *state;
	char line[102];

	memset(line, 'x', sizeof(line));
	line[100] = '\0';
	r->rig.spec.cmdline = line;
	bz_header(&r->bz)->cmdline_size = 100;
	rig_loads(&r->rig);
	assert_string_equal(rig_at(&r->rig, LAYOUT_CMDLINE, 101), line);
	line[100] = 'x';
	line[101] = '\0';
	rig_refuses(&r->rig, -E2BIG, "limit of 100");
}

static void command_line_limit_of_the_header_cannot_pass_ours(void **state)
{
	struct bz_rig *r = *state;
	char *line = malloc(LAYOUT_CMDLINE_MAX + 1);

	assert_non_null(line);
	memset(line, 'x', LAYOUT_CMDLINE_MAX);
	line[LAYOUT_CMDLINE_MAX] = '\0';
	r->rig.spec.cmdline = line;
	bz_header(&r->bz)->cmdline_size = UINT32_MAX;
	rig_refuses(&r->rig, -E2BIG, "limit of 65535");
	line[LAYOUT_CMDLINE_MAX - 1] = '\0';
	rig_loads(&r->rig);
	free(line);
}

static const char cached[] = ".cache/kernels/*/boot/vmlinuz-*";

/* Not of our own making: a Debian kernel, if one has been unpacked here. */
static void debian_kernel_loads_at_its_64_bit_entry(void **state)
{
	struct bz_rig *r = *state;
	struct image img;
	glob_t found = {0};

	if (glob(cached, 0, NULL, &found) != 0) {
		print_message("# skip: no %s\n", cached);
		skip();
	}
	assert_int_equal(
		image_open(&img, "kernel", found.gl_pathv[0], &r->rig.err), 0);
	rig_fini(&r->rig);
	rig_init(&r->rig, 256 * MIB, NULL, 0);
	r->rig.spec.kernel = &img;
	rig_loads(&r->rig);
	assert_int_equal(r->rig.entry.protocol, BOOT_LINUX64);
	assert_int_equal(r->rig.entry.rip, 16 * MIB + 0x200);
	image_close(&img);
	globfree(&found);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(relocatable_kernel_goes_to_its_preferred_address),
		T(preferred_address_is_aligned_as_the_kernel_asks),
		T(fixed_kernel_is_put_at_1_mib_and_unpacks_elsewhere),
		T(kernel_without_64_bit_entry_starts_in_32_bit_mode),
		T(xloadflags_count_only_from_protocol_2_12),
		T(protocol_2_06_has_no_preferred_address),
		T(asked_for_32_bit_entry_is_used),
		T(init_size_must_fit_into_ram),
		T(kernel_itself_must_fit_into_ram),
		T(preferred_address_outside_of_low_ram_is_refused),
		T(alignment_must_be_a_power_of_two),
		T(truncated_file_is_refused),
		T(file_without_room_for_the_64_bit_entry_is_refused),
		T(header_shorter_than_its_version_needs_is_refused),
		T(zimage_is_refused),
		T(zero_setup_sects_means_four),
		T(command_line_up_to_the_kernels_limit_is_passed),
		T(command_line_limit_of_the_header_cannot_pass_ours),
		T(debian_kernel_loads_at_its_64_bit_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
