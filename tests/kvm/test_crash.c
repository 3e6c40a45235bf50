/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_crash.c - what the report on a dead vCPU says: reasons, code
 * bytes, causes.  The vCPU is real, the exits are made up here, so that each is
 * the same on every host.
 */
#include "tests/lib/testing.h"
#include "tests/lib/vm_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/vm_priv.h"
#include "vmm/x86/crash.h"

#define MIB	    (UINT64_C(1) << 20)
#define CODE_GPA    UINT64_C(0x200000)
#define PML4_GPA    UINT64_C(0x300000)
#define VIRT	    UINT64_C(0x40000000) /* two pages, far apart in RAM */
#define FIRST_GPA   UINT64_C(0x500000)
#define SECOND_GPA  UINT64_C(0x400000)
#define REPORT_SIZE 8192

struct rig {
	struct vm_fixture f;
	struct kvm_run run;
	char text[REPORT_SIZE]; /* the last report */
};

static void rig_init(struct rig *r)
{
	static const char *const words[] = {"-k", "kernels/hello", "--boot",
		"linux64", "-c", "2", "-m", "16M", NULL};

	memset(r, 0, sizeof(*r));
	vm_fixture_init(&r->f, words);
}

static void rig_fini(struct rig *r)
{
	vm_fixture_fini(&r->f);
}

static int cpu(const struct rig *r)
{
	return vcpu_fd(r->f.vm->vcpu[0]);
}

/* Everything that goes to stderr meanwhile, in r->text. */
static void report(struct rig *r, int run_errno)
{
	char path[] = "/tmp/godwit-crash.XXXXXX";
	int fd = mkstemp(path), old = dup(STDERR_FILENO);
	ssize_t n;

	assert_true(fd >= 0 && old >= 0);
	unlink(path);
	assert_true(dup2(fd, STDERR_FILENO) >= 0);
	crash_report(cpu(r), 7, &r->run, run_errno, &r->f.vm->gm);
	assert_true(dup2(old, STDERR_FILENO) >= 0);
	close(old);
	n = pread(fd, r->text, sizeof(r->text) - 1, 0);
	assert_true(n > 0);
	r->text[n] = '\0';
	close(fd);
}

static void says(const struct rig *r, const char *what)
{
	if (!strstr(r->text, what))
		fail_msg("no '%s' in:\n%s", what, r->text);
}

static void does_not_say(const struct rig *r, const char *what)
{
	if (strstr(r->text, what))
		fail_msg("'%s' in:\n%s", what, r->text);
}

static void set_rip(struct rig *r, uint64_t rip)
{
	struct kvm_regs regs;

	assert_int_equal(ioctl(cpu(r), KVM_GET_REGS, &regs), 0);
	regs.rip = rip;
	regs.rax = 0x1122334455667788;
	regs.r15 = 0xfedcba9876543210;
	assert_int_equal(ioctl(cpu(r), KVM_SET_REGS, &regs), 0);
}

/* ---- where and on what ---- */

static void the_report_has_registers_and_the_bytes_at_rip(void **state)
{
	uint8_t code[15];
	struct rig r;
	unsigned i;

	testing_need_kvm();
	rig_init(&r);
	for (i = 0; i < sizeof(code); i++)
		code[i] = (uint8_t)(0xa0 + i);
	guestmem_write(&r.f.vm->gm, CODE_GPA, code, sizeof(code));
	set_rip(&r, CODE_GPA);
	r.run.exit_reason = KVM_EXIT_SHUTDOWN;
	report(&r, 0);
	says(&r, "vcpu7: triple fault");
	says(&r, "rip 0000000000200000");
	says(&r, "rax 1122334455667788");
	says(&r, "r15 fedcba9876543210");
	says(&r, "efer 0500");
	says(&r, "code at rip: a0 a1 a2 a3 a4 a5 a6 a7 a8 a9 aa ab ac ad ae");
	says(&r, "likely cause: a fault while the guest handled a fault");
	rig_fini(&r);
}

static void each_line_says_whose_it_is(void **state)
{
	const char *line, *end;
	unsigned lines = 0;
	struct rig r;

	testing_need_kvm();
	rig_init(&r);
	r.run.exit_reason = KVM_EXIT_SHUTDOWN;
	report(&r, 0);
	for (line = r.text; *line; line = end + 1, lines++) {
		end = strchr(line, '\n');
		assert_non_null(end);
		if (strncmp(line, "godwit: vcpu7: ", 15) != 0)
			fail_msg("%.*s", (int)(end - line), line);
	}
	assert_true(lines >= 8);
	rig_fini(&r);
}

/* Pages that follow each other for the guest do not do so in RAM. */
static void code_that_crosses_a_page_is_followed(void **state)
{
	const uint64_t tables[] = {PML4_GPA, (PML4_GPA + 0x1000) | 3,
		PML4_GPA + 0x1000 + 8, (PML4_GPA + 0x2000) | 3,
		PML4_GPA + 0x2000, (PML4_GPA + 0x3000) | 3, PML4_GPA + 0x3000,
		FIRST_GPA | 3, PML4_GPA + 0x3000 + 8, SECOND_GPA | 3};
	struct kvm_sregs sregs;
	struct guestmem *gm;
	struct rig r;
	unsigned i;

	testing_need_kvm();
	rig_init(&r);
	gm = &r.f.vm->gm;
	memset(guestmem_at(gm, PML4_GPA, 0x4000), 0, 0x4000);
	for (i = 0; i < 10; i += 2)
		guestmem_write(gm, tables[i], &tables[i + 1], 8);
	memset(guestmem_at(gm, FIRST_GPA, 8192), 0xee, 8192);
	memset(guestmem_at(gm, FIRST_GPA + 4096 - 3, 3), 0x11, 3);
	memset(guestmem_at(gm, SECOND_GPA, 4096), 0x22, 4096);
	assert_int_equal(ioctl(cpu(&r), KVM_GET_SREGS, &sregs), 0);
	sregs.cr3 = PML4_GPA;
	assert_int_equal(ioctl(cpu(&r), KVM_SET_SREGS, &sregs), 0);
	set_rip(&r, VIRT + 4096 - 3);
	r.run.exit_reason = KVM_EXIT_SHUTDOWN;
	report(&r, 0);
	says(&r, "code at rip: 11 11 11 22 22 22 22 22 22 22 22 22 22 22 22");
	/* The third page is not there: what there is, is shown. */
	set_rip(&r, VIRT + 8192 - 2);
	report(&r, 0);
	says(&r, "code at rip: 22 22 \n");
	set_rip(&r, VIRT + 8192);
	report(&r, 0);
	says(&r, "code at rip: not mapped by the guest");
	says(&r, "jumped to where there is no memory");
	rig_fini(&r);
}

static void code_at_the_end_of_ram_still_shows(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r);
	memset(guestmem_at(&r.f.vm->gm, 16 * MIB - 2, 2), 0x33, 2);
	set_rip(&r, 16 * MIB - 2);
	r.run.exit_reason = KVM_EXIT_SHUTDOWN;
	report(&r, 0);
	says(&r, "code at rip: 33 33 \n");
	set_rip(&r, UINT64_C(0xe0000000));
	report(&r, 0);
	says(&r, "guest address 0xe0000000 is not RAM");
	says(&r, "try a larger -m");
	rig_fini(&r);
}

/* ---- why ---- */

static void emulation_failures_show_kvms_own_bytes(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r);
	set_rip(&r, CODE_GPA);
	r.run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
	r.run.emulation_failure.suberror = KVM_INTERNAL_ERROR_EMULATION;
	r.run.emulation_failure.ndata = 4;
	r.run.emulation_failure.flags =
		KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	r.run.emulation_failure.insn_size = 3;
	memcpy(r.run.emulation_failure.insn_bytes, "\x0f\xc7\x0f", 3);
	report(&r, 0);
	says(&r, "vcpu7: KVM internal error");
	says(&r, "suberror 1");
	says(&r, "code at rip: 0f c7 0f \n");
	says(&r, "do not run stock kernels");
	/* A size that cannot be is not believed. */
	r.run.emulation_failure.insn_size = 255;
	report(&r, 0);
	says(&r, "code at rip: 0f c7 0f ");
	rig_fini(&r);
}

static void words_kvm_did_not_write_are_not_shown(void **state)
{
	struct rig r;

	testing_need_kvm();
	rig_init(&r);
	r.run.exit_reason = KVM_EXIT_INTERNAL_ERROR;
	r.run.internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	r.run.internal.data[0] = 0xaaaa;
	r.run.internal.data[1] = 0xbbbb;
	r.run.internal.data[2] = 0xcccc;
	report(&r, 0);
	says(&r, "suberror 3\n");
	does_not_say(&r, "0xaaaa");
	r.run.internal.ndata = 2;
	report(&r, 0);
	says(&r, "suberror 3, data 0xaaaa 0xbbbb\n");
	r.run.internal.ndata = UINT32_MAX;
	report(&r, 0);
	says(&r, "data 0xaaaa 0xbbbb 0xcccc\n");
	rig_fini(&r);
}

static void each_reason_has_a_name(void **state)
{
	static const struct {
		uint32_t reason;
		int run_errno;
		const char *says[2];
	} rows[] = {
		{KVM_EXIT_FAIL_ENTRY, 0,
			{"refused to enter the guest",
				"hardware reason 0x80000021"}},
		{KVM_EXIT_UNKNOWN, 0,
			{"unknown hardware exit", "exit reason 0"}},
		{KVM_EXIT_DEBUG, 0, {"unexpected exit", "exit reason 4"}},
		{KVM_EXIT_SHUTDOWN, EFAULT,
			{"KVM_RUN failed", "errno 14 (Bad address)"}},
		{KVM_EXIT_SHUTDOWN, ENOMEM, {"KVM_RUN failed", "free memory"}},
		{KVM_EXIT_SHUTDOWN, EINVAL,
			{"KVM_RUN failed", "refused to run"}},
	};
	struct rig r;
	unsigned i;

	testing_need_kvm();
	rig_init(&r);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		r.run.exit_reason = rows[i].reason;
		r.run.fail_entry.hardware_entry_failure_reason = 0x80000021;
		report(&r, rows[i].run_errno);
		says(&r, rows[i].says[0]);
		says(&r, rows[i].says[1]);
		says(&r, "likely cause: ");
	}
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_report_has_registers_and_the_bytes_at_rip),
		cmocka_unit_test(each_line_says_whose_it_is),
		cmocka_unit_test(code_that_crosses_a_page_is_followed),
		cmocka_unit_test(code_at_the_end_of_ram_still_shows),
		cmocka_unit_test(emulation_failures_show_kvms_own_bytes),
		cmocka_unit_test(words_kvm_did_not_write_are_not_shown),
		cmocka_unit_test(each_reason_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
