/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test_acpi.c - ACPI tables and the AML writer
 * (vmm/x86/{acpi,aml}.c): every table is found from the RSDP and its checksum
 * holds; the AML is walked by its lengths; offsets are written as ACPI 6.5 has
 * them. */
#include "tests/lib/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/layout.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/aml.h"

#define CAP (LAYOUT_ACPI_END - LAYOUT_ACPI)

struct acpi {
	struct boot_spec spec;
	uint8_t area[CAP];
	uint32_t len;
	const uint8_t *dsdt, *fadt, *madt, *xsdt;
};

static uint64_t le(const uint8_t *p, unsigned len)
{
	uint64_t value = 0;

	memcpy(&value, p, len);
	return value;
}

static unsigned sum(const uint8_t *p, uint64_t len)
{
	uint8_t total = 0;

	while (len-- > 0)
		total = (uint8_t)(total + *p++);
	return total;
}

static int set_up(void **state)
{
	struct acpi *a = calloc(1, sizeof(*a));

	assert_non_null(a);
	memset(a->area, 0xcc, sizeof(a->area)); /* the last boot's */
	a->spec = (struct boot_spec){
		.cpus = 2,
		.cpus_max = 4,
		.virtio_devices = 3,
		.serial = true,
		.pvpanic = true,
	};
	*state = a;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

/* A table at guest address @gpa with the signature @name, checked. */
static const uint8_t *table(
	const struct acpi *a, uint64_t gpa, const char *name)
{
	const uint8_t *t;

	assert_in_range(gpa, LAYOUT_ACPI, LAYOUT_ACPI + a->len - 36);
	t = a->area + (gpa - LAYOUT_ACPI);
	assert_memory_equal(t, name, 4);
	assert_in_range(le(t + 4, 4), 36, a->len - (gpa - LAYOUT_ACPI));
	assert_int_equal(sum(t, le(t + 4, 4)), 0);
	return t;
}

static void build(struct acpi *a)
{
	struct error err = {0};
	const uint8_t *rsdp = a->area;

	assert_int_equal(
		acpi_build(&a->spec, LAYOUT_ACPI, a->area, CAP, &a->len, &err),
		0);
	assert_true(a->len <= CAP);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_int_equal(rsdp[15], 2);
	assert_int_equal(le(rsdp + 16, 4), 0); /* no RSDT */
	assert_int_equal(le(rsdp + 20, 4), 36);
	a->xsdt = table(a, le(rsdp + 24, 8), "XSDT");
	assert_int_equal(le(a->xsdt + 4, 4), 36 + 2 * 8);
	a->fadt = table(a, le(a->xsdt + 36, 8), "FACP");
	a->madt = table(a, le(a->xsdt + 44, 8), "APIC");
	a->dsdt = table(a, le(a->fadt + 140, 8), "DSDT");
}

static void every_table_is_reached_and_its_checksum_holds(void **state)
{
	struct acpi *a = *state;

	build(a);
	assert_int_equal(a->dsdt[8], 2); /* 64-bit integers */
	assert_int_equal(a->fadt[8], 6);
	assert_int_equal(a->madt[8], 5);
}

static void gas_is_port(const uint8_t *gas, unsigned port)
{
	assert_int_equal(gas[0], 1); /* system I/O */
	assert_int_equal(gas[1], 8);
	assert_int_equal(gas[2], 0);
	assert_int_equal(gas[3], 1); /* byte access */
	assert_int_equal(le(gas + 4, 8), port);
}

static void fadt_describes_hardware_reduced_acpi(void **state)
{
	struct acpi *a = *state;
	uint64_t flags;
	unsigned i;

	build(a);
	assert_int_equal(le(a->fadt + 4, 4), 276);
	flags = le(a->fadt + 112, 4);
	assert_true(flags & 1u << 20); /* hardware-reduced */
	assert_true(flags & 1u << 10); /* reset register */
	assert_true(flags & 1u << 4);  /* no fixed power button */
	gas_is_port(a->fadt + 116, 0x602);
	assert_int_equal(a->fadt[128], 1);
	gas_is_port(a->fadt + 244, 0x600);
	gas_is_port(a->fadt + 256, 0x601);
	/* No VGA; no 8042; CMOS RTC there; no legacy devices. */
	assert_int_equal(le(a->fadt + 109, 2), 1u << 2);
	assert_int_equal(le(a->fadt + 40, 4), le(a->fadt + 140, 8));
	/* Fixed hardware blocks and SCI: none. */
	for (i = 46; i < 108; i++)
		assert_int_equal(a->fadt[i], 0);
	assert_int_equal(a->fadt[108], 0x32); /* CMOS byte of the century */
	for (i = 148; i < 244; i++)
		assert_int_equal(a->fadt[i], 0);
}

/* Count MADT entries by type, checking their lengths. */
static void madt_count(const struct acpi *a, unsigned count[16])
{
	static const uint8_t bytes[16] = {
		[0] = 8, [1] = 12, [4] = 6, [9] = 16, [10] = 12};
	const uint8_t *p = a->madt + 44, *end = a->madt + le(a->madt + 4, 4);

	while (p < end) {
		assert_true(p[0] < 16);
		assert_int_not_equal(bytes[p[0]], 0);
		assert_int_equal(p[1], bytes[p[0]]);
		count[p[0]]++;
		p += p[1];
	}
	assert_ptr_equal(p, end);
}

static void madt_lists_cpus_present_and_possible(void **state)
{
	struct acpi *a = *state;
	unsigned count[16] = {0}, i;
	const uint8_t *p;

	build(a);
	assert_int_equal(le(a->madt + 36, 4), 0xfee00000);
	madt_count(a, count);
	assert_int_equal(count[0], 4);
	assert_int_equal(count[1], 1);
	assert_int_equal(count[2], 0); /* no interrupt overrides */
	assert_int_equal(count[9], 0);
	for (i = 0, p = a->madt + 44; i < 4; i++, p += 8) {
		assert_int_equal(p[2], i);
		assert_int_equal(p[3], i);
		/* enabled, or online-capable; never both */
		assert_int_equal(le(p + 4, 4), i < 2 ? 1 : 2);
	}
	assert_int_equal(p[0], 1);
	assert_int_equal(le(p + 4, 4), 0xfec00000);
	assert_int_equal(le(p + 8, 4), 0);
}

static void apic_ids_from_255_on_are_x2apic_entries(void **state)
{
	struct acpi *a = *state;
	unsigned count[16] = {0}, i;
	const uint8_t *p;

	a->spec.cpus = 256;
	a->spec.cpus_max = 300;
	build(a);
	madt_count(a, count);
	assert_int_equal(count[0], 255);
	assert_int_equal(count[9], 45);
	assert_int_equal(count[10], 1); /* NMI for these */
	for (i = 255, p = a->madt + 44 + 255 * 8; i < 300; i++, p += 16) {
		assert_int_equal(le(p + 4, 4), i);
		assert_int_equal(le(p + 8, 4), i < 256 ? 1 : 2);
		assert_int_equal(le(p + 12, 4), i);
	}
}

static void more_cpus_than_fit_are_refused(void **state)
{
	struct acpi *a = *state;
	struct error err = {0};
	uint8_t *after = a->area + CAP / 2;

	a->spec.cpus_max = 4096;
	build(a);
	a->spec.cpus_max = 9000;
	memset(a->area, 0xcc, CAP);
	assert_int_equal(acpi_build(&a->spec, LAYOUT_ACPI, a->area, CAP / 2,
				 &a->len, &err),
		-EFBIG);
	assert_non_null(strstr(err.text, "9000 CPUs"));
	assert_int_equal(*after, 0xcc);
	assert_memory_equal(after, after + 1, CAP / 2 - 1);
}

/* PkgLength at *@p, moved behind it.  Return: where the package ends. */
static const uint8_t *package_end(const uint8_t **p)
{
	const uint8_t *start = *p;
	unsigned more = *start >> 6, i;
	uint32_t len = more ? *start & 0xf : *start & 0x3f;

	for (i = 1; i <= more; i++)
		len |= (uint32_t)start[i] << (8 * i - 4);
	*p = start + 1 + more;
	return start + len;
}

/* The device called @name in \_SB: [*@ret, return value) is its body. */
static const uint8_t *device(
	const struct acpi *a, const char *name, const uint8_t **ret)
{
	const uint8_t *p = a->dsdt + 36, *end, *next;

	assert_int_equal(*p++, 0x10); /* Scope */
	end = package_end(&p);
	assert_memory_equal(p, "_SB_", 4);
	for (p += 4; p < end; p = next) {
		assert_int_equal(*p++, 0x5b);
		assert_int_equal(*p++, 0x82); /* Device */
		next = package_end(&p);
		assert_true(next <= end);
		if (memcmp(p, name, 4) == 0) {
			*ret = p + 4;
			return next;
		}
	}
	assert_ptr_equal(p, end);
	return NULL;
}

static bool body_has(
	const struct acpi *a, const char *name, const void *bytes, size_t len)
{
	const uint8_t *body = NULL, *end = device(a, name, &body);

	return end && memmem(body, (size_t)(end - body), bytes, len);
}

static void dsdt_has_a_node_for_each_virtio_device(void **state)
{
	static const uint8_t crs[] = {/* Name (_CRS, Buffer (0x17) */
		0x08, '_', 'C', 'R', 'S', 0x11, 0x1a, 0x0a, 0x17,
		/* Memory32Fixed (ReadWrite, 0xd0002000, 0x200) */
		0x86, 9, 0, 1, 0x00, 0x20, 0x00, 0xd0, 0x00, 0x02, 0, 0,
		/* Interrupt (Consumer, Edge, ActiveHigh, Exclusive) {18} */
		0x89, 6, 0, 0x03, 1, 18, 0, 0, 0,
		/* end tag */
		0x79, 0};
	struct acpi *a = *state;
	const uint8_t *body;

	build(a);
	assert_true(body_has(a, "VR00", "\x08_HID\x0dLNRO0005", 15));
	assert_true(body_has(a, "VR01", "\x08_UID\x01\x08", 7));
	assert_true(body_has(a, "VR02", "\x08_UID\x0a\x02\x08", 8));
	assert_true(body_has(a, "VR02", crs, sizeof(crs)));
	assert_null(device(a, "VR03", &body));
	a->spec.virtio_devices = LAYOUT_VIRTIO_MAX;
	build(a);
	assert_true(body_has(a, "VR15", "\x08_UID\x0a\x0f\x08", 8));
}

static void dsdt_has_serial_rtc_and_pvpanic(void **state)
{
	static const uint8_t com1[] = {/* EISAID ("PNP0501") */
		0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01};
	static const uint8_t com1_crs[] = {/* IO, IRQNoFlags {4} */
		0x47, 1, 0xf8, 0x03, 0xf8, 0x03, 1, 8, 0x22, 0x10, 0x00};
	static const uint8_t rtc[] = {/* EISAID ("PNP0B00") */
		0x08, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x0b, 0x00};
	static const uint8_t rtc_crs[] = {
		0x47, 1, 0x70, 0, 0x70, 0, 1, 2, 0x22, 0x00, 0x01};
	static const uint8_t panic_crs[] = {
		0x47, 1, 0x05, 0x05, 0x05, 0x05, 1, 1, 0x79};
	struct acpi *a = *state;
	const uint8_t *body;

	build(a);
	assert_true(body_has(a, "COM1", com1, sizeof(com1)));
	assert_true(body_has(a, "COM1", com1_crs, sizeof(com1_crs)));
	assert_true(body_has(a, "RTC0", rtc, sizeof(rtc)));
	assert_true(body_has(a, "RTC0", rtc_crs, sizeof(rtc_crs)));
	assert_true(body_has(a, "PVPN", "QEMU0001", 9));
	assert_true(body_has(a, "PVPN", "\x08_STA\x0a\x0f", 7));
	assert_true(body_has(a, "PVPN", panic_crs, sizeof(panic_crs)));
	a->spec.serial = a->spec.pvpanic = false;
	build(a);
	assert_null(device(a, "COM1", &body));
	assert_null(device(a, "PVPN", &body));
	assert_non_null(device(a, "RTC0", &body));
}

/* ---- vCPU hotplug ---- */

static unsigned count_in(
	const uint8_t *p, const uint8_t *end, const void *bytes, size_t len)
{
	unsigned n = 0;

	while ((p = memmem(p, (size_t)(end - p), bytes, len)) != NULL) {
		p += len;
		n++;
	}
	return n;
}

static void cpus_are_devices_that_only_know_their_id(void **state)
{
	static const uint8_t cpu2[] = {/* Device (C002) */
		0x5b, 0x82, 0x47, 0x05, 'C', '0', '0', '2',
		/* Name (_HID, "ACPI0007"), Name (_UID, 2) */
		8, '_', 'H', 'I', 'D', 0x0d, 'A', 'C', 'P', 'I', '0', '0', '0',
		'7', 0, 8, '_', 'U', 'I', 'D', 0x0a, 2,
		/* Name (_MAT, Buffer (8): LAPIC, UID 2, id 2, enabled) */
		8, '_', 'M', 'A', 'T', 0x11, 11, 0x0a, 8, 0, 8, 2, 2, 1, 0, 0,
		0,
		/* Method (_STA) { Return (CSTA (2)) } */
		0x14, 13, '_', 'S', 'T', 'A', 0, 0xa4, 'C', 'S', 'T', 'A', 0x0a,
		2,
		/* Method (_EJ0, 1) { CEJ0 (2) } */
		0x14, 12, '_', 'E', 'J', '0', 1, 'C', 'E', 'J', '0', 0x0a, 2,
		/* Method (_OST, 3) { COST (2, Arg0, Arg1) } */
		0x14, 14, '_', 'O', 'S', 'T', 3, 'C', 'O', 'S', 'T', 0x0a, 2,
		0x68, 0x69};
	struct acpi *a = *state;
	const uint8_t *body = NULL, *end;

	a->spec.cpu_hotplug = true;
	build(a);
	end = device(a, "CPUS", &body);
	assert_non_null(end);
	assert_memory_equal(body,
		"\x08_HID\x0d"
		"ACPI0010",
		15);
	assert_int_equal(count_in(body, end, cpu2, sizeof(cpu2)), 1);
	assert_int_equal(count_in(body, end, "ACPI0007", 9), 4);
	/* The boot CPU cannot be ejected. */
	assert_int_equal(count_in(body, end, "_EJ0", 4), 3);
	assert_int_equal(count_in(body, end, "_OST", 4), 3);
	/* Four registers of 32 bits at port 0x620. */
	assert_int_equal(count_in(body, end,
				 "\x5b\x80"
				 "CREG\x01\x0b\x20\x06\x0a\x10",
				 11),
		1);
	assert_int_equal(count_in(body, end,
				 "CSEL\x20"
				 "CSTS\x20"
				 "CPND\x20"
				 "CRES\x20",
				 20),
		1);
}

static void long_apic_ids_have_the_long_entry_in_mat(void **state)
{
	static const uint8_t mat[] = {8, '_', 'M', 'A', 'T', 0x11, 19, 0x0a, 16,
		9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0};
	struct acpi *a = *state;
	const uint8_t *body = NULL, *end;

	a->spec.cpu_hotplug = true;
	a->spec.cpus_max = 300;
	build(a);
	end = device(a, "CPUS", &body);
	assert_int_equal(count_in(body, end, mat, sizeof(mat)), 1);
	assert_int_equal(count_in(body, end, "_MAT\x11\x0b", 6), 255);
	assert_int_equal(count_in(body, end, "_MAT\x11\x13", 6), 45);
}

static void the_event_device_has_interrupt_9_and_scans(void **state)
{
	static const uint8_t crs[] = {0x89, 6, 0, 0x03, 1, 9, 0, 0, 0, 0x79, 0};
	static const uint8_t evt[] = {/* Method (_EVT, 1), If (Arg0 == 9) */
		0x14, 27, '_', 'E', 'V', 'T', 1, 0xa0, 20, 0x93, 0x68, 0x0a, 9,
		/* { \_SB.CPUS.SCAN () } */
		'\\', 0x2f, 3, '_', 'S', 'B', '_', 'C', 'P', 'U', 'S', 'S', 'C',
		'A', 'N'};
	struct acpi *a = *state;

	a->spec.cpu_hotplug = true;
	build(a);
	assert_true(body_has(a, "GED0", "ACPI0013", 9));
	assert_true(body_has(a, "GED0", crs, sizeof(crs)));
	assert_true(body_has(a, "GED0", evt, sizeof(evt)));
}

static void without_hotplug_there_is_no_container(void **state)
{
	struct acpi *a = *state;
	const uint8_t *body;

	build(a);
	assert_null(device(a, "CPUS", &body));
	assert_null(device(a, "GED0", &body));
}

static void the_madt_follows_the_map_of_present_cpus(void **state)
{
	static const bool map[4] = {true, false, false, true};
	struct acpi *a = *state;
	unsigned i;

	a->spec.cpu_present = map;
	build(a);
	for (i = 0; i < 4; i++)
		assert_int_equal(
			le(a->madt + 44 + 8 * i + 4, 4), map[i] ? 1 : 2);
}

static void a_thousand_cpus_that_come_and_go_fit(void **state)
{
	struct acpi *a = *state;
	struct error err = {0};

	a->spec.cpu_hotplug = true;
	a->spec.cpus_max = 900;
	build(a);
	a->spec.cpus_max = 4000;
	assert_int_equal(
		acpi_build(&a->spec, LAYOUT_ACPI, a->area, CAP, &a->len, &err),
		-EFBIG);
	assert_non_null(strstr(err.text, "4000 CPUs"));
}

static void dsdt_ends_with_the_s5_package(void **state)
{
	static const uint8_t s5[] = {
		0x08, '_', 'S', '5', '_', 0x12, 7, 4, 0x0a, 5, 0, 0, 0};
	struct acpi *a = *state;
	const uint8_t *end;

	build(a);
	end = a->dsdt + le(a->dsdt + 4, 4);
	assert_memory_equal(end - sizeof(s5), s5, sizeof(s5));
}

/* One Scope of @body bytes in all: its PkgLength has @len_bytes. */
static void scope_of(uint32_t body, unsigned len_bytes)
{
	uint32_t cap = body + 16, block;
	uint8_t *buf = calloc(1, cap), *fill = calloc(1, body);
	struct aml aml = {.buf = buf, .cap = cap};
	const uint8_t *p = buf + 1;

	assert_non_null(buf);
	assert_non_null(fill);
	memset(fill, 0xa5, body);
	block = aml_open_scope(&aml, "ABCD");
	aml_put(&aml, fill, body - 4);
	aml_close(&aml, block);
	assert_false(aml.overflow);
	assert_int_equal(aml.len, 1 + len_bytes + body);
	assert_ptr_equal(package_end(&p), buf + aml.len);
	assert_ptr_equal(p, buf + 1 + len_bytes);
	assert_memory_equal(p, "ABCD", 4);
	assert_memory_equal(p + 4, fill, body - 4);
	free(buf);
	free(fill);
}

static void package_length_takes_the_shortest_form(void **state)
{
	scope_of(62, 1);
	scope_of(63, 2);
	scope_of(4095 - 2, 2);
	scope_of(4095 - 1, 3);
	scope_of((1u << 20) - 1 - 3, 3);
	scope_of((1u << 20) - 3, 4);
}

static void integers_take_the_shortest_form(void **state)
{
	static const uint8_t want[] = {0x00, 0x01, 0x0a, 2, 0x0a, 0xff, 0x0b,
		0x00, 0x01, 0x0c, 0, 0, 1, 0, 0x0e, 0, 0, 0, 0, 1, 0, 0, 0};
	uint8_t buf[64];
	struct aml aml = {.buf = buf, .cap = sizeof(buf)};

	aml_integer(&aml, 0);
	aml_integer(&aml, 1);
	aml_integer(&aml, 2);
	aml_integer(&aml, 0xff);
	aml_integer(&aml, 0x100);
	aml_integer(&aml, 0x10000);
	aml_integer(&aml, UINT64_C(0x100000000));
	assert_int_equal(aml.len, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static void writer_stops_at_its_buffer_and_remembers(void **state)
{
	uint8_t buf[64];
	uint32_t cap;

	for (cap = 0; cap < 40; cap++) {
		struct aml_resources res = {.len = 0};
		struct aml aml = {.buf = buf, .cap = cap};
		uint32_t dev;

		memset(buf, 0xcc, sizeof(buf));
		dev = aml_open_device(&aml, "COM1");
		aml_resource_io(&res, 1, 1);
		aml_name(&aml, "_CRS");
		aml_put_resources(&aml, &res);
		aml_close(&aml, dev);
		assert_true(aml.len <= cap);
		assert_int_equal(buf[cap], 0xcc);
		assert_memory_equal(
			buf + cap, buf + cap + 1, sizeof(buf) - cap - 1);
		/* 2 + 1 + 4 of device, 5 of name, 4 of buffer, 10 in it */
		assert_int_equal(aml.overflow, cap < 26);
	}
}

static void run(const char *command)
{
	int status = system(command);

	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) != 0)
		fail_msg("%s: status %d", command, WEXITSTATUS(status));
}

static void dump(const char *dir, const char *name, const uint8_t *t)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.dat", dir, name);
	f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(t, le(t + 4, 4), 1, f), 1);
	fclose(f);
}

/* The same AML comes back from ACPICA's disassembler and compiler. */
static void iasl_reads_the_tables_and_compiles_the_same_aml(void **state)
{
	char dir[] = "/tmp/godwit-acpi-XXXXXX", command[512];
	struct acpi *a = *state;
	uint8_t *back = malloc(CAP);
	uint64_t len;
	FILE *f;

	if (system("command -v iasl >/dev/null") != 0) {
		print_message("# skip: no iasl (package acpica-tools)\n");
		free(back);
		skip();
	}
	a->spec.virtio_devices = LAYOUT_VIRTIO_MAX;
	a->spec.cpus_max = 300;
	a->spec.cpu_hotplug = true;
	build(a);
	assert_non_null(mkdtemp(dir));
	dump(dir, "dsdt", a->dsdt);
	dump(dir, "facp", a->fadt);
	dump(dir, "apic", a->madt);
	dump(dir, "xsdt", a->xsdt);
	snprintf(command, sizeof(command),
		"cd %s && iasl -d *.dat >log 2>&1 && ! grep -iE "
		"'error|warning|invalid' log && iasl -on -p back dsdt.dsl >log2 "
		"2>&1 && grep -q '0 Errors, 0 Warnings' log2",
		dir);
	run(command);
	snprintf(command, sizeof(command), "%s/back.aml", dir);
	f = fopen(command, "rb");
	assert_non_null(f);
	len = fread(back, 1, CAP, f);
	fclose(f);
	assert_int_equal(len, le(a->dsdt + 4, 4));
	assert_memory_equal(back + 36, a->dsdt + 36, len - 36);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	run(command);
	free(back);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_table_is_reached_and_its_checksum_holds),
		T(fadt_describes_hardware_reduced_acpi),
		T(madt_lists_cpus_present_and_possible),
		T(apic_ids_from_255_on_are_x2apic_entries),
		T(more_cpus_than_fit_are_refused),
		T(dsdt_has_a_node_for_each_virtio_device),
		T(dsdt_has_serial_rtc_and_pvpanic),
		T(cpus_are_devices_that_only_know_their_id),
		T(long_apic_ids_have_the_long_entry_in_mat),
		T(the_event_device_has_interrupt_9_and_scans),
		T(without_hotplug_there_is_no_container),
		T(the_madt_follows_the_map_of_present_cpus),
		T(a_thousand_cpus_that_come_and_go_fit),
		T(dsdt_ends_with_the_s5_package),
		cmocka_unit_test(package_length_takes_the_shortest_form),
		cmocka_unit_test(integers_take_the_shortest_form),
		cmocka_unit_test(writer_stops_at_its_buffer_and_remembers),
		T(iasl_reads_the_tables_and_compiles_the_same_aml),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
