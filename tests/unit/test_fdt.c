/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_fdt.c - the device tree of --machine fdt (vmm/x86/fdt.c),
 * read back through libfdt. */
#include "tests/unit/boot_images.h"

#include <libfdt.h>

struct tree_rig {
	struct bz bz;
	struct rig rig; /* bzImage in 64 MiB, serial, pvpanic, 3 virtio */
	void *fdt;	/* owned; what build() made */
	size_t size;
};

static int set_up(void **state)
{
	struct tree_rig *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	bz_make(&r->bz);
	rig_init(&r->rig, 64 * MIB, r->bz.bytes, BZ_SIZE);
	r->rig.spec.machine = BOOT_MACHINE_FDT;
	r->rig.spec.serial = true;
	r->rig.spec.pvpanic = true;
	r->rig.spec.virtio_devices = 3;
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct tree_rig *r = *state;

	free(r->fdt);
	rig_fini(&r->rig);
	free(r);
	return 0;
}

static void build(struct tree_rig *r, const char *cmdline, uint64_t initrd_gpa,
	uint64_t initrd_size)
{
	free(r->fdt);
	r->fdt = NULL;
	assert_int_equal(
		boot_fdt_build(&r->rig.spec, &r->rig.gm, cmdline, initrd_gpa,
			initrd_size, &r->fdt, &r->size, &r->rig.err),
		0);
	assert_int_equal(fdt_check_full(r->fdt, r->size), 0);
}

static const void *prop(
	const struct tree_rig *r, const char *path, const char *name, int len)
{
	int node = fdt_path_offset(r->fdt, path), got;
	const void *value;

	if (node < 0)
		fail_msg("no node %s", path);
	value = fdt_getprop(r->fdt, node, name, &got);
	if (!value || got != len)
		fail_msg("%s %s: %d bytes, not %d", path, name, got, len);
	return value;
}

static void text_is(const struct tree_rig *r, const char *path,
	const char *name, const char *want)
{
	assert_string_equal(prop(r, path, name, (int)strlen(want) + 1), want);
}

static void cells_are(const struct tree_rig *r, const char *path,
	const char *name, const uint32_t *want, unsigned n)
{
	const uint8_t *at = prop(r, path, name, (int)n * 4);
	unsigned i;

	for (i = 0; i < n; i++) {
		fdt32_t cell;

		memcpy(&cell, at + i * 4, 4);
		assert_int_equal(fdt32_to_cpu(cell), want[i]);
	}
}

#define CELLS(r, path, name, ...)                                              \
	cells_are(r, path, name, (const uint32_t[]){__VA_ARGS__},              \
		sizeof((const uint32_t[]){__VA_ARGS__}) / 4)

static void chosen_has_command_line_and_initrd(void **state)
{
	struct tree_rig *r = *state;
	int chosen;

	build(r, "console=ttyS0", 0x12345000, 0x6789);
	text_is(r, "/chosen", "bootargs", "console=ttyS0");
	text_is(r, "/chosen", "stdout-path", "/soc/isa@0/serial@3f8");
	assert_true(fdt_path_offset(r->fdt, "/soc/isa@0/serial@3f8") >= 0);
	CELLS(r, "/chosen", "linux,initrd-start", 0, 0x12345000);
	CELLS(r, "/chosen", "linux,initrd-end", 0, 0x1234b789);
	build(r, "", 0, 0);
	chosen = fdt_path_offset(r->fdt, "/chosen");
	assert_null(fdt_getprop(r->fdt, chosen, "linux,initrd-start", NULL));
	assert_null(fdt_getprop(r->fdt, chosen, "linux,initrd-end", NULL));
}

static void cpus_are_listed_by_apic_id(void **state)
{
	struct tree_rig *r = *state;
	char path[32];
	unsigned id;

	r->rig.spec.cpus = 300;
	r->rig.spec.cpus_max = 400;
	build(r, "", 0, 0);
	for (id = 0; id < 300; id++) {
		snprintf(path, sizeof(path), "/cpus/cpu@%x", id);
		text_is(r, path, "device_type", "cpu");
		text_is(r, path, "compatible", "intel,x86");
		CELLS(r, path, "reg", id);
	}
	assert_true(fdt_path_offset(r->fdt, "/cpus/cpu@12c") < 0);
}

static void memory_nodes_follow_the_regions(void **state)
{
	struct tree_rig *r = *state;
	struct boot_spec spec = r->rig.spec;

	build(r, "", 0, 0);
	CELLS(r, "/memory@0", "reg", 0, 0, 0, 64 * MIB);
	assert_true(fdt_path_offset(r->fdt, "/memory@100000000") < 0);
	rig_fini(&r->rig);
	rig_init(&r->rig, 8 * GIB, r->bz.bytes, BZ_SIZE);
	r->rig.spec = spec;
	build(r, "", 0, 0);
	CELLS(r, "/memory@0", "reg", 0, 0, 0, 0xc0000000);
	CELLS(r, "/memory@100000000", "reg", 1, 0, 1, 0x40000000);
}

static void interrupt_controllers_are_where_kvm_has_them(void **state)
{
	static const char ioapic[] = "/soc/interrupt-controller@fec00000";
	static const char lapic[] = "/soc/interrupt-controller@fee00000";
	struct tree_rig *r = *state;
	uint32_t phandle;

	build(r, "", 0, 0);
	text_is(r, ioapic, "compatible", "intel,ce4100-ioapic");
	CELLS(r, ioapic, "reg", 0, 0xfec00000, 0, 0x1000);
	CELLS(r, ioapic, "#interrupt-cells", 2);
	prop(r, ioapic, "interrupt-controller", 0);
	text_is(r, lapic, "compatible", "intel,ce4100-lapic");
	CELLS(r, lapic, "reg", 0, 0xfee00000, 0, 0x1000);
	phandle = fdt_get_phandle(r->fdt, fdt_path_offset(r->fdt, ioapic));
	assert_true(phandle != 0);
	CELLS(r, "/", "interrupt-parent", phandle);
}

static void every_virtio_slot_has_its_address_and_pin(void **state)
{
	struct tree_rig *r = *state;
	char path[40];
	unsigned slot;

	r->rig.spec.virtio_devices = LAYOUT_VIRTIO_MAX;
	build(r, "", 0, 0);
	for (slot = 0; slot < LAYOUT_VIRTIO_MAX; slot++) {
		uint32_t gpa = 0xd0000000 + slot * 0x1000;

		snprintf(path, sizeof(path), "/soc/virtio@%x", gpa);
		text_is(r, path, "compatible", "virtio,mmio");
		CELLS(r, path, "reg", 0, gpa, 0, 0x200);
		CELLS(r, path, "interrupts", layout_virtio_gsi(slot), 0);
	}
	r->rig.spec.virtio_devices = 1;
	build(r, "", 0, 0);
	assert_true(fdt_path_offset(r->fdt, "/soc/virtio@d0001000") < 0);
}

static void isa_devices_are_in_port_space(void **state)
{
	struct tree_rig *r = *state;

	build(r, "", 0, 0);
	CELLS(r, "/soc/isa@0", "ranges", 1, 0, 0, 0, 0x10000);
	text_is(r, "/soc/isa@0/serial@3f8", "compatible", "ns16550a");
	CELLS(r, "/soc/isa@0/serial@3f8", "reg", 1, 0x3f8, 8);
	CELLS(r, "/soc/isa@0/serial@3f8", "interrupts", 4, 0);
	text_is(r, "/soc/isa@0/rtc@70", "compatible", "motorola,mc146818");
	CELLS(r, "/soc/isa@0/rtc@70", "reg", 1, 0x70, 2);
	CELLS(r, "/soc/isa@0/pvpanic@505", "reg", 1, 0x505, 1);
	r->rig.spec.serial = r->rig.spec.pvpanic = false;
	build(r, "", 0, 0);
	assert_true(fdt_path_offset(r->fdt, "/soc/isa@0/serial@3f8") < 0);
	assert_true(fdt_path_offset(r->fdt, "/soc/isa@0/pvpanic@505") < 0);
	assert_null(fdt_getprop(r->fdt, fdt_path_offset(r->fdt, "/chosen"),
		"stdout-path", NULL));
}

static void kernel_finds_the_tree_as_setup_data(void **state)
{
	struct tree_rig *r = *state;
	const uint8_t *initrd = r->bz.bytes;
	uint64_t at;

	r->rig.spec.cmdline = "quiet";
	rig_initrd(&r->rig, initrd, 4096);
	rig_loads(&r->rig);
	assert_int_equal(rig_params(&r->rig)->acpi_rsdp_addr, 0);
	at = rig_params(&r->rig)->hdr.setup_data;
	assert_int_equal(at % 8, 0);
	assert_int_equal(rig_le(&r->rig, at, 8), 0);
	assert_int_equal(rig_le(&r->rig, at + 8, 4), 2); /* SETUP_DTB */
	build(r, "quiet", 64 * MIB - 4096, 4096);
	assert_int_equal(rig_le(&r->rig, at + 12, 4), r->size);
	assert_memory_equal(rig_at(&r->rig, at + 16, r->size), r->fdt, r->size);
}

static void tree_that_does_not_fit_below_the_ebda_is_refused(void **state)
{
	struct tree_rig *r = *state;

	r->rig.spec.cpus = r->rig.spec.cpus_max = 8000;
	rig_refuses(&r->rig, -EFBIG, "device tree");
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chosen_has_command_line_and_initrd),
		T(cpus_are_listed_by_apic_id),
		T(memory_nodes_follow_the_regions),
		T(interrupt_controllers_are_where_kvm_has_them),
		T(every_virtio_slot_has_its_address_and_pin),
		T(isa_devices_are_in_port_space),
		T(kernel_finds_the_tree_as_setup_data),
		T(tree_that_does_not_fit_below_the_ebda_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
