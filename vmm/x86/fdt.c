/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/fdt.c - the device tree of --machine fdt, after the bindings that
 * Linux has for x86 (CONFIG_OF): intel,ce4100-* interrupt controllers.
 */
#include "vmm/x86/boot.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/guestmem.h"
#include "vmm/layout.h"

#define TREE_BYTES    16384u /* all that does not grow */
#define TREE_PER_CPU  160u
#define PHANDLE_INTC  1u
#define ISA_PORTS     0x10000u
#define ISA_IO	      1u /* first address cell: port space */
#define CONTROLLER    0x1000u
#define SERIAL_CLOCK  1843200u
#define SERIAL_PATH   "/soc/isa@0/serial@3f8"
#define NODE_NAME_MAX 40u

/* Second interrupt cell of intel,ce4100-ioapic: 0 is "edge rising".  (Linux
 * programs the pin active low for it; KVM's IOAPIC knows no polarity.) */
#define SENSE_EDGE 0u

/* libfdt's sequential writer with the first error kept. */
struct tree {
	void *fdt;
	int err; /* 0 or -FDT_ERR_*; once set, nothing more is written */
};

static void node(struct tree *t, const char *name)
{
	if (!t->err)
		t->err = fdt_begin_node(t->fdt, name);
}

/* name@unit */
static void node_at(struct tree *t, const char *name, uint64_t unit)
{
	char text[NODE_NAME_MAX];

	snprintf(text, sizeof(text), "%s@%" PRIx64, name, unit);
	node(t, text);
}

static void end(struct tree *t)
{
	if (!t->err)
		t->err = fdt_end_node(t->fdt);
}

static void text(struct tree *t, const char *name, const char *value)
{
	if (!t->err)
		t->err = fdt_property_string(t->fdt, name, value);
}

static void flag(struct tree *t, const char *name)
{
	if (!t->err)
		t->err = fdt_property(t->fdt, name, NULL, 0);
}

static void cell(struct tree *t, const char *name, uint32_t value)
{
	if (!t->err)
		t->err = fdt_property_u32(t->fdt, name, value);
}

static void cells(
	struct tree *t, const char *name, const uint32_t *value, unsigned n)
{
	fdt32_t be[8];
	unsigned i;

	assert(n <= sizeof(be) / sizeof(be[0]));
	for (i = 0; i < n; i++)
		be[i] = cpu_to_fdt32(value[i]);
	if (!t->err)
		t->err = fdt_property(
			t->fdt, name, be, (int)(n * sizeof(be[0])));
}

/* #address-cells and #size-cells of the children. */
static void shape(struct tree *t, uint32_t address, uint32_t size)
{
	cell(t, "#address-cells", address);
	cell(t, "#size-cells", size);
}

static void reg(struct tree *t, uint64_t gpa, uint64_t size)
{
	const uint32_t v[] = {(uint32_t)(gpa >> 32), (uint32_t)gpa,
		(uint32_t)(size >> 32), (uint32_t)size};

	cells(t, "reg", v, 4);
}

static void reg_port(struct tree *t, uint32_t port, uint32_t len)
{
	const uint32_t v[] = {ISA_IO, port, len};

	cells(t, "reg", v, 3);
}

static void interrupt(struct tree *t, uint32_t gsi)
{
	const uint32_t v[] = {gsi, SENSE_EDGE};

	cells(t, "interrupts", v, 2);
}

static void add_chosen(struct tree *t, const struct boot_spec *spec,
	const char *cmdline, uint64_t initrd_gpa, uint64_t initrd_size)
{
	node(t, "chosen");
	text(t, "bootargs", cmdline);
	if (spec->serial)
		text(t, "stdout-path", SERIAL_PATH);
	if (initrd_size > 0 && !t->err)
		t->err = fdt_property_u64(
			t->fdt, "linux,initrd-start", initrd_gpa);
	if (initrd_size > 0 && !t->err)
		t->err = fdt_property_u64(
			t->fdt, "linux,initrd-end", initrd_gpa + initrd_size);
	end(t);
}

static void add_cpus(struct tree *t, unsigned cpus)
{
	unsigned id;

	node(t, "cpus");
	shape(t, 1, 0);
	for (id = 0; id < cpus && !t->err; id++) {
		node_at(t, "cpu", id);
		text(t, "device_type", "cpu");
		text(t, "compatible", "intel,x86");
		cell(t, "reg", id); /* the APIC id */
		end(t);
	}
	end(t);
}

static void add_memory(struct tree *t, const struct guestmem *gm)
{
	unsigned i;

	for (i = 0; i < gm->regions; i++) {
		node_at(t, "memory", gm->region[i].gpa);
		text(t, "device_type", "memory");
		reg(t, gm->region[i].gpa, gm->region[i].size);
		end(t);
	}
}

static void add_controllers(struct tree *t)
{
	node_at(t, "interrupt-controller", LAYOUT_IOAPIC);
	text(t, "compatible", "intel,ce4100-ioapic");
	flag(t, "interrupt-controller");
	cell(t, "#interrupt-cells", 2);
	cell(t, "#address-cells", 0);
	reg(t, LAYOUT_IOAPIC, CONTROLLER);
	cell(t, "phandle", PHANDLE_INTC);
	end(t);
	node_at(t, "interrupt-controller", LAYOUT_LAPIC);
	text(t, "compatible", "intel,ce4100-lapic");
	flag(t, "interrupt-controller");
	cell(t, "#interrupt-cells", 2);
	cell(t, "#address-cells", 0);
	/* No interrupt mode register: the PIC hangs on LINT0. */
	flag(t, "intel,virtual-wire-mode");
	reg(t, LAYOUT_LAPIC, CONTROLLER);
	end(t);
}

static void add_isa(struct tree *t, const struct boot_spec *spec)
{
	const uint32_t ranges[] = {ISA_IO, 0, 0, 0, ISA_PORTS};

	node_at(t, "isa", 0);
	text(t, "compatible", "isa");
	shape(t, 2, 1);
	cells(t, "ranges", ranges, 5);
	if (spec->serial) {
		node_at(t, "serial", LAYOUT_PIO_COM1);
		text(t, "compatible", "ns16550a");
		reg_port(t, LAYOUT_PIO_COM1, 8);
		interrupt(t, LAYOUT_GSI_COM1);
		cell(t, "clock-frequency", SERIAL_CLOCK);
		end(t);
	}
	node_at(t, "rtc", LAYOUT_PIO_RTC);
	text(t, "compatible", "motorola,mc146818");
	reg_port(t, LAYOUT_PIO_RTC, 2);
	interrupt(t, LAYOUT_GSI_RTC);
	end(t);
	if (spec->pvpanic) {
		node_at(t, "pvpanic", LAYOUT_PIO_PVPANIC);
		text(t, "compatible", "qemu,pvpanic-mmio");
		reg_port(t, LAYOUT_PIO_PVPANIC, 1);
		end(t);
	}
	end(t);
}

static void add_virtio(struct tree *t, unsigned slot)
{
	node_at(t, "virtio", layout_virtio_gpa(slot));
	text(t, "compatible", "virtio,mmio");
	reg(t, layout_virtio_gpa(slot), LAYOUT_VIRTIO_SIZE);
	interrupt(t, layout_virtio_gsi(slot));
	flag(t, "dma-coherent");
	end(t);
}

static void add_soc(struct tree *t, const struct boot_spec *spec)
{
	unsigned slot;

	node(t, "soc");
	text(t, "compatible", "simple-bus");
	shape(t, 2, 2);
	flag(t, "ranges"); /* addresses are the parent's */
	add_controllers(t);
	add_isa(t, spec);
	for (slot = 0; slot < spec->virtio_devices; slot++)
		add_virtio(t, slot);
	end(t);
}

static int write_tree(struct tree *t, uint32_t cap,
	const struct boot_spec *spec, const struct guestmem *gm,
	const char *cmdline, uint64_t initrd_gpa, uint64_t initrd_size)
{
	t->err = fdt_create(t->fdt, (int)cap);
	if (!t->err)
		t->err = fdt_finish_reservemap(t->fdt);
	node(t, "");
	shape(t, 2, 2);
	text(t, "model", "godwit");
	text(t, "compatible", "godwit,microvm");
	cell(t, "interrupt-parent", PHANDLE_INTC);
	add_chosen(t, spec, cmdline, initrd_gpa, initrd_size);
	add_cpus(t, spec->cpus);
	add_memory(t, gm);
	add_soc(t, spec);
	end(t);
	if (!t->err)
		t->err = fdt_finish(t->fdt);
	return t->err;
}

int boot_fdt_build(const struct boot_spec *spec, const struct guestmem *gm,
	const char *cmdline, uint64_t initrd_gpa, uint64_t initrd_size,
	void **ret_blob, size_t *ret_size, struct error *err)
{
	const size_t cap = TREE_BYTES + strlen(cmdline) +
			   (size_t)spec->cpus * TREE_PER_CPU;
	struct tree t = {.fdt = NULL};

	assert(spec->virtio_devices <= LAYOUT_VIRTIO_MAX);
	if (cap > INT32_MAX)
		return error_set(err, -EFBIG,
			"device tree: %u CPUs are too many (give fewer)",
			spec->cpus);
	t.fdt = calloc(1, cap); /* padding goes to the guest too */
	if (!t.fdt)
		return error_errno(err, -ENOMEM, "device tree");
	if (write_tree(&t, (uint32_t)cap, spec, gm, cmdline, initrd_gpa,
		    initrd_size) < 0) {
		free(t.fdt);
		return error_set(err, -EFBIG, "device tree: %s (libfdt)",
			fdt_strerror(t.err));
	}
	*ret_blob = t.fdt;
	*ret_size = fdt_totalsize(t.fdt);
	return 0;
}
