/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_memory.c - guest RAM under a running guest: every backing, and
 * RAM on both sides of the hole below 4 GiB.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/vm_priv.h"

#define MIB	   (UINT64_C(1) << 20)
#define HUGE_BYTES (2 * MIB)
#define HUGE_PAGES 24u
#define HUGE_KNOB  "/proc/sys/vm/nr_hugepages"
#define CODE_GPA   0x4000u /* no guest of ours and no loader uses these */
#define PML4_GPA   0x10000u
#define PDPT_GPA   0x11000u
#define PD_GPA	   0x12000u /* 6: 1 GiB each */
#define GIB_MAPPED 6u

/* ---- backings ---- */

/* Run `work` on @memory and find its numbers where the host looks for them. */
static void work_on(const char *memory, struct vm_fixture *f)
{
	const char *words[] = {"-k", "kernels/work", "-a",
		"mem=8 smp=2 passes=20 fill=1", "-c", "2", "-m", memory, NULL};
	const char *text;
	uint32_t code;

	vm_fixture_init(f, words);
	assert_int_equal(vm_run(f->vm, &code), VM_END_POWEROFF);
	text = vm_fixture_text(f);
	if (!strstr(text, "work: verdict ok passes=40"))
		fail_msg("%s: %s", memory, text);
}

/* w(k, p) of kernels/README.md. */
static uint64_t word_of(uint64_t page, uint64_t pass)
{
	return (pass * (UINT64_C(1) << 32) + page) *
	       UINT64_C(0x9e3779b97f4a7c15);
}

/* gpa of page 0: "work: region gpa G pages N". */
static uint64_t first_page(struct vm_fixture *f)
{
	const char *line = strstr(vm_fixture_text(f), "work: region gpa ");

	assert_non_null(line);
	return strtoull(line + strlen("work: region gpa "), NULL, 16);
}

/* The file that backs RAM holds what the guest wrote last. */
static void the_file_is_the_ram(struct vm_fixture *f)
{
	const struct guestmem *gm = vm_guestmem(f->vm);
	uint64_t gpa = first_page(f), page, word;

	assert_true(gm->fd >= 0);
	for (page = 0; page < 64; page++) {
		assert_int_equal(pread(gm->fd, &word, sizeof(word),
					 (off_t)(gpa + page * GUESTMEM_PAGE)),
			sizeof(word));
		if (word != word_of(page, 20))
			fail_msg("page %" PRIu64 ": 0x%" PRIx64, page, word);
	}
}

static void every_ordinary_backing_carries_a_guest(void **state)
{
	static const char *const rows[] = {"48M", "48M,thp=on",
		"48M,backing=memfd", "48M,backing=memfd,thp=on"};
	struct vm_fixture f;
	unsigned i;

	testing_need_kvm();
	for (i = 0; i < 4; i++) {
		work_on(rows[i], &f);
		if (strstr(rows[i], "memfd"))
			the_file_is_the_ram(&f);
		else
			assert_int_equal(vm_guestmem(f.vm)->fd, -1);
		vm_fixture_fini(&f);
	}
}

static bool read_number(const char *path, uint64_t *ret)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fscanf(file, "%" SCNu64, ret) == 1;

	if (file)
		fclose(file);
	return ok;
}

static bool write_number(const char *path, uint64_t value)
{
	FILE *file = fopen(path, "we");
	bool ok;

	if (!file)
		return false;
	ok = fprintf(file, "%" PRIu64, value) > 0;
	return fclose(file) == 0 && ok;
}

/* A line of /proc/meminfo in its own unit; 0 if there is none. */
static uint64_t meminfo(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	uint64_t value = 0;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			value = strtoull(line + strlen(name), NULL, 10);
	fclose(file);
	return value;
}

/* Huge pages on top of those there are; *state keeps the old number. */
static int reserve_huge_pages(void **state)
{
	uint64_t *old = calloc(1, sizeof(*old));

	assert_non_null(old);
	*state = old;
	if (geteuid() == 0 && read_number(HUGE_KNOB, old))
		write_number(HUGE_KNOB, *old + HUGE_PAGES);
	return 0;
}

static int give_back_huge_pages(void **state)
{
	uint64_t *old = *state;

	if (geteuid() == 0)
		write_number(HUGE_KNOB, *old);
	free(old);
	return 0;
}

static bool have_huge_pages(void)
{
	return meminfo("Hugepagesize:") * 1024 == HUGE_BYTES &&
	       meminfo("HugePages_Free:") - meminfo("HugePages_Rsvd:") >=
		       HUGE_PAGES;
}

static void huge_pages_carry_a_guest(void **state)
{
	struct vm_fixture f;
	struct statfs fs;

	testing_need_kvm();
	if (!have_huge_pages()) {
		print_message("# skip: no 24 huge pages of 2 MiB to be had\n");
		skip();
	}
	work_on("48M,backing=hugetlb", &f);
	the_file_is_the_ram(&f);
	assert_int_equal(fstatfs(vm_guestmem(f.vm)->fd, &fs), 0);
	assert_int_equal(fs.f_type, HUGETLBFS_MAGIC);
	assert_int_equal(fs.f_bsize, HUGE_BYTES);
	vm_fixture_fini(&f);
}

static void too_few_huge_pages_are_an_error_at_once(void **state)
{
	const char *words[] = {
		"-k", "kernels/hello", "-m", "256M,backing=hugetlb", NULL};
	struct error err = {.text = ""};
	int fds = testing_fd_count();
	struct config cfg;
	struct vm *vm;

	testing_need_kvm();
	if (meminfo("HugePages_Free:") * HUGE_BYTES >= 256 * MIB) {
		print_message("# skip: there are that many huge pages\n");
		skip();
	}
	config_init(&cfg);
	assert_int_equal(config_parse_run(&cfg, 4,
				 (char *const *)(uintptr_t)words, &err),
		0);
	assert_int_equal(vm_create(&cfg, NULL, &vm, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "vm.nr_hugepages"));
	config_fini(&cfg);
	assert_int_equal(testing_fd_count(), fds);
}

/* ---- the hole ---- */

static void need_memory(const char *line, uint64_t gib)
{
	if (meminfo(line) >= gib << 20)
		return;
	print_message("# skip: %s less than %" PRIu64 " GiB\n", line, gib);
	skip();
}

/* 2 MiB pages for the first GIB_MAPPED GiB. */
static void map_all(const struct guestmem *gm)
{
	uint64_t *pml4 = guestmem_at(gm, PML4_GPA, 4096);
	uint64_t *pdpt = guestmem_at(gm, PDPT_GPA, 4096);
	uint64_t *pd = guestmem_at(gm, PD_GPA, GIB_MAPPED * 4096);
	unsigned i;

	pml4[0] = PDPT_GPA | 3;
	for (i = 0; i < GIB_MAPPED; i++)
		pdpt[i] = (PD_GPA + i * 4096u) | 3;
	for (i = 0; i < GIB_MAPPED * 512; i++)
		pd[i] = i * HUGE_BYTES | 0x83;
}

/* At each of @gpa the guest adds 1 to the 64-bit word there, through a pointer
 * in rdi that walks over a table; then it powers off. */
static void run_adder(struct vm *vm, const uint64_t *gpa, unsigned count)
{
	const uint8_t code[] = {
		0x48, 0x8b, 0x07,	/* next: mov rax, [rdi] */
		0x48, 0x83, 0xc7, 0x08, /* add rdi, 8 */
		0x48, 0x85, 0xc0,	/* test rax, rax */
		0x74, 0x06,		/* jz end */
		0x48, 0x83, 0x00, 0x01, /* add qword [rax], 1 */
		0xeb, 0xee,		/* jmp next */
		0x66, 0xba, 0x00, 0x06, /* end: mov dx, 0x600 */
		0xb0, 0x34,		/* mov al, S5 and enable */
		0xee,			/* out dx, al */
		0xf4,			/* hlt */
	};
	const struct guestmem *gm = vm_guestmem(vm);
	int fd = vcpu_fd(vm->vcpu[0]);
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t *table;
	uint32_t end;

	map_all(gm);
	assert_true(guestmem_write(gm, CODE_GPA, code, sizeof(code)));
	table = guestmem_at(gm, CODE_GPA + 0x100, (count + 1) * 8);
	memcpy(table, gpa, count * 8);
	table[count] = 0;
	assert_int_equal(ioctl(fd, KVM_GET_REGS, &regs), 0);
	regs.rip = CODE_GPA;
	regs.rdi = CODE_GPA + 0x100;
	assert_int_equal(ioctl(fd, KVM_SET_REGS, &regs), 0);
	assert_int_equal(ioctl(fd, KVM_GET_SREGS, &sregs), 0);
	assert_true(sregs.efer & 0x400); /* long mode already */
	sregs.cr3 = PML4_GPA;
	assert_int_equal(ioctl(fd, KVM_SET_SREGS, &sregs), 0);
	assert_int_equal(vm_run(vm, &end), VM_END_POWEROFF);
}

/* The edges of RAM, by the guest's address and by the host's offset. */
static void ram_above_4_gib_follows_ram_below_3_gib(void **state)
{
	static const char *const backing[] = {"5G", "5G,backing=memfd"};
	const uint64_t low = UINT64_C(0xc0000000), high = UINT64_C(0x100000000);
	const uint64_t gpa[] = {0x200000, low - 4096, low - 8, high, high + 8,
		high + 1024 * MIB, high + 2048 * MIB - 8};
	const uint64_t offset[] = {0x200000, low - 4096, low - 8, low, low + 8,
		low + 1024 * MIB, low + 2048 * MIB - 8};
	struct vm_fixture f;
	unsigned i, b;

	testing_need_kvm();
	need_memory("MemTotal:", 6);
	for (b = 0; b < 2; b++) {
		const char *words[] = {"-k", "kernels/hello", "--boot",
			"linux64", "-m", backing[b], NULL};
		uint64_t *word[7];

		vm_fixture_init(&f, words);
		for (i = 0; i < 7; i++) {
			word[i] = (uint64_t *)(void *)(vm_guestmem(f.vm)->base +
						       offset[i]);
			*word[i] = 100 + i;
		}
		run_adder(f.vm, gpa, 7);
		for (i = 0; i < 7; i++)
			assert_int_equal(*word[i], 101 + i);
		vm_fixture_fini(&f);
	}
}

/* Nobody is between 3 and 4 GiB but devices: writes go nowhere. */
static void there_is_no_ram_in_the_hole(void **state)
{
	const char *words[] = {
		"-k", "kernels/hello", "--boot", "linux64", "-m", "4G", NULL};
	const uint64_t gpa[] = {UINT64_C(0xc0000000), UINT64_C(0xe0000000),
		UINT64_C(0xf0000000)};
	const uint64_t offset = UINT64_C(0xc0000000); /* what lies at 4 GiB */
	struct vm_fixture f;
	const uint64_t *high;
	unsigned i;

	testing_need_kvm();
	need_memory("MemTotal:", 5);
	vm_fixture_init(&f, words);
	high = (const uint64_t *)(const void *)(vm_guestmem(f.vm)->base +
						offset);
	run_adder(f.vm, gpa, 3);
	for (i = 0; i < 3; i++)
		assert_int_equal(high[(gpa[i] - gpa[0]) / 8], 0);
	vm_fixture_fini(&f);
}

/* A guest that really uses all of it, and checks each page. */
static void a_guest_works_on_both_sides_of_the_hole(void **state)
{
	const char *words[] = {"-k", "kernels/work", "-a",
		"mem=1560 smp=2 passes=1", "-c", "2", "-m", "3200M,thp=on",
		NULL};
	struct vm_fixture f;
	uint32_t code;

	testing_need_kvm();
	need_memory("MemAvailable:", 5);
	vm_fixture_init(&f, words);
	assert_int_equal(vm_run(f.vm, &code), VM_END_POWEROFF);
	assert_non_null(strstr(
		vm_fixture_text(&f), "work: region gpa 100000000 pages"));
	assert_non_null(strstr(vm_fixture_text(&f), "work: verdict ok"));
	vm_fixture_fini(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_ordinary_backing_carries_a_guest),
		cmocka_unit_test_setup_teardown(huge_pages_carry_a_guest,
			reserve_huge_pages, give_back_huge_pages),
		cmocka_unit_test(too_few_huge_pages_are_an_error_at_once),
		cmocka_unit_test(ram_above_4_gib_follows_ram_below_3_gib),
		cmocka_unit_test(there_is_no_ram_in_the_hole),
		cmocka_unit_test(a_guest_works_on_both_sides_of_the_hole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
