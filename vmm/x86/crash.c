/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/crash.c - see crash.h.  Only reads; a report that cannot be complete
 * prints what it has.
 */
#include "vmm/x86/crash.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/guestmem.h"
#include "vmm/log.h"

#define CODE_BYTES 15 /* the longest x86 instruction */
#define EFER_LMA   (1u << 10)

/* Several vCPUs may report at once: each line says whose it is. */
#define say(id, fmt, ...) log_error("vcpu%u:   " fmt, id, __VA_ARGS__)

struct scene {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint64_t linear; /* of rip */
	uint64_t gpa;
	bool mapped; /* rip translates */
	bool in_ram; /* ... to RAM */
	uint8_t code[CODE_BYTES];
	unsigned code_len;
};

static bool translate(int vcpu_fd, uint64_t linear, uint64_t *ret_gpa)
{
	struct kvm_translation tr = {.linear_address = linear};

	if (ioctl(vcpu_fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid)
		return false;
	*ret_gpa = tr.physical_address;
	return true;
}

static void read_code(int vcpu_fd, struct scene *s, const struct kvm_run *run,
	const struct guestmem *gm)
{
	uint64_t gpa = s->gpa;
	unsigned len = CODE_BYTES, i;

	if (run && run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
		run->emulation_failure.suberror ==
			KVM_INTERNAL_ERROR_EMULATION &&
		run->emulation_failure.ndata >= 1 &&
		(run->emulation_failure.flags &
			KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		len = run->emulation_failure.insn_size;
		s->code_len = len <= CODE_BYTES ? len : CODE_BYTES;
		memcpy(s->code, run->emulation_failure.insn_bytes, s->code_len);
		return;
	}
	/* Byte by byte, so that code at the end of RAM still shows; the next
	 * page may be anywhere. */
	for (i = 0; s->in_ram && i < len; i++, gpa++) {
		if (i > 0 && (s->linear + i) % GUESTMEM_PAGE == 0 &&
			!translate(vcpu_fd, s->linear + i, &gpa))
			break;
		if (!guestmem_read(gm, gpa, &s->code[i], 1))
			break;
	}
	s->code_len = i;
}

static bool look(int vcpu_fd, struct scene *s, const struct kvm_run *run,
	const struct guestmem *gm)
{
	bool long_mode;
	uint8_t probe;

	memset(s, 0, sizeof(*s));
	if (ioctl(vcpu_fd, KVM_GET_REGS, &s->regs) < 0 ||
		ioctl(vcpu_fd, KVM_GET_SREGS, &s->sregs) < 0)
		return false;
	long_mode = s->sregs.efer & EFER_LMA && s->sregs.cs.l;
	s->linear = s->regs.rip + (long_mode ? 0 : s->sregs.cs.base);
	s->mapped = translate(vcpu_fd, s->linear, &s->gpa);
	s->in_ram = s->mapped && guestmem_read(gm, s->gpa, &probe, 1);
	read_code(vcpu_fd, s, run, gm);
	return true;
}

static const char *reason_name(const struct kvm_run *run, int run_errno)
{
	if (run_errno)
		return "KVM_RUN failed";
	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		return "triple fault";
	case KVM_EXIT_INTERNAL_ERROR:
		return "KVM internal error";
	case KVM_EXIT_FAIL_ENTRY:
		return "the CPU refused to enter the guest";
	case KVM_EXIT_UNKNOWN:
		return "unknown hardware exit";
	default:
		return "unexpected exit";
	}
}

static void log_internal(unsigned id, const struct kvm_run *run)
{
	char text[80] = "";
	size_t len = 0;
	uint32_t i;

	/* Words beyond ndata are of an earlier exit. */
	for (i = 0; i < run->internal.ndata && i < 3; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			" 0x%" PRIx64, (uint64_t)run->internal.data[i]);
	say(id, "suberror %u%s%s", run->internal.suberror, len ? ", data" : "",
		text);
}

static void log_detail(unsigned id, const struct kvm_run *run, int run_errno)
{
	char why[128];

	if (run_errno)
		say(id, "errno %d (%s)", run_errno,
			strerror_r(run_errno, why, sizeof(why)));
	else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		log_internal(id, run);
	else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
		say(id, "hardware reason 0x%" PRIx64,
			(uint64_t)
				run->fail_entry.hardware_entry_failure_reason);
	else if (run->exit_reason != KVM_EXIT_SHUTDOWN)
		say(id, "exit reason %u", run->exit_reason);
}

static void log_regs(unsigned id, const struct scene *s)
{
	const struct kvm_regs *r = &s->regs;

	say(id, "rip %016" PRIx64 " rflags %08" PRIx64 " cs %04x cpl %u",
		(uint64_t)r->rip, (uint64_t)r->rflags, s->sregs.cs.selector,
		s->sregs.ss.dpl);
	say(id,
		"rax %016" PRIx64 " rbx %016" PRIx64 " rcx %016" PRIx64
		" rdx %016" PRIx64,
		(uint64_t)r->rax, (uint64_t)r->rbx, (uint64_t)r->rcx,
		(uint64_t)r->rdx);
	say(id,
		"rsi %016" PRIx64 " rdi %016" PRIx64 " rsp %016" PRIx64
		" rbp %016" PRIx64,
		(uint64_t)r->rsi, (uint64_t)r->rdi, (uint64_t)r->rsp,
		(uint64_t)r->rbp);
	say(id,
		"r8  %016" PRIx64 " r9  %016" PRIx64 " r10 %016" PRIx64
		" r11 %016" PRIx64,
		(uint64_t)r->r8, (uint64_t)r->r9, (uint64_t)r->r10,
		(uint64_t)r->r11);
	say(id,
		"r12 %016" PRIx64 " r13 %016" PRIx64 " r14 %016" PRIx64
		" r15 %016" PRIx64,
		(uint64_t)r->r12, (uint64_t)r->r13, (uint64_t)r->r14,
		(uint64_t)r->r15);
	say(id,
		"cr0 %08" PRIx64 " cr2 %016" PRIx64 " cr3 %08" PRIx64
		" cr4 %08" PRIx64 " efer %04" PRIx64,
		(uint64_t)s->sregs.cr0, (uint64_t)s->sregs.cr2,
		(uint64_t)s->sregs.cr3, (uint64_t)s->sregs.cr4,
		(uint64_t)s->sregs.efer);
}

static void log_code(unsigned id, const struct scene *s)
{
	char text[CODE_BYTES * 3 + 1] = "";
	unsigned i;

	for (i = 0; i < s->code_len; i++)
		snprintf(text + i * 3, sizeof(text) - i * 3, "%02x ",
			s->code[i]);
	if (s->code_len)
		say(id, "code at rip: %s", text);
	else if (!s->mapped)
		say(id, "code at rip: %s", "not mapped by the guest");
	else
		say(id, "code at rip: guest address 0x%" PRIx64 " is not RAM",
			s->gpa);
}

static const char *likely_cause(
	const struct scene *s, const struct kvm_run *run, int run_errno)
{
	if (run_errno == ENOMEM || run_errno == EFAULT)
		return "guest memory could not be provided by the host (check "
		       "free memory and huge pages)";
	if (run_errno)
		return "the host's KVM refused to run this vCPU";
	/* SVM has no state left to show: KVM puts the vCPU into reset. */
	if (run->exit_reason == KVM_EXIT_SHUTDOWN &&
		s->sregs.cs.selector == 0xf000 && s->regs.rip == 0xfff0)
		return "a fault while the guest handled a fault; this CPU has "
		       "reset its registers since, so those above tell nothing";
	if (!s->mapped || !s->in_ram)
		return "the guest jumped to where there is no memory (wrong "
		       "entry point, or too little memory: try a larger -m)";
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
		run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		return "this KVM had to emulate the instruction and cannot; "
		       "hosts that emulate all guest kernel code do not run "
		       "stock kernels (`godwit check` tells)";
	if (run->exit_reason == KVM_EXIT_SHUTDOWN)
		return "a fault while the guest handled a fault, often with no "
		       "valid IDT or stack; some guests reset this way";
	if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
		return "invalid guest state, or a CPU feature the host lacks";
	return "not known";
}

void crash_report(int vcpu_fd, unsigned id, const struct kvm_run *run,
	int run_errno, const struct guestmem *gm)
{
	struct scene s;

	log_error("vcpu%u: %s", id, reason_name(run, run_errno));
	log_detail(id, run, run_errno);
	/* A KVM_RUN that failed left @run as an earlier exit made it. */
	if (!look(vcpu_fd, &s, run_errno ? NULL : run, gm)) {
		say(id, "%s", "registers cannot be read");
		return;
	}
	log_regs(id, &s);
	log_code(id, &s);
	say(id, "likely cause: %s", likely_cause(&s, run, run_errno));
}
