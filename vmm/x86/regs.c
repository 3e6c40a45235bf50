/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/regs.c - see regs.h.  The selectors name descriptors of the GDT that
 * lowmem.c writes at LAYOUT_GDT: 0x10 code, 0x18 data, 0x20 TSS.
 */
#include "vmm/x86/regs.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/layout.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/lowmem.h"
#include "vmm/x86/msr.h"

#define CR0_PE	 (1u << 0)
#define CR0_ET	 (1u << 4)
#define CR0_PG	 (1u << 31)
#define CR4_PAE	 (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

#define MSR_MISC_ENABLE	     0x1a0u
#define MISC_ENABLE_FAST_STR 1u
#define MSR_MTRR_DEF_TYPE    0x2ffu
#define MTRR_ENABLE_WB	     ((1u << 11) | 6u)

#define LAPIC_LVT_LINT0	  0x350
#define LAPIC_LVT_LINT1	  0x360
#define LVT_MODE_EXTINT	  (7u << 8)
#define LVT_MODE_NMI	  (4u << 8)
#define LVT_MASK_MODE_BIT 0x10700u /* mask bit and delivery mode */

static void set_lint(struct kvm_lapic_state *lapic, unsigned reg, uint32_t mode)
{
	uint32_t lvt;

	memcpy(&lvt, &lapic->regs[reg], sizeof(lvt));
	lvt = (lvt & ~LVT_MASK_MODE_BIT) | mode;
	memcpy(&lapic->regs[reg], &lvt, sizeof(lvt));
}

int regs_set_platform(int vcpu_fd, unsigned id, struct error *err)
{
	struct kvm_lapic_state lapic;
	int code;

	code = msr_set(vcpu_fd, MSR_MISC_ENABLE, MISC_ENABLE_FAST_STR);
	if (code < 0)
		return error_errno(err, code, "vcpu%u: MSR 0x1a0", id);
	code = msr_set(vcpu_fd, MSR_MTRR_DEF_TYPE, MTRR_ENABLE_WB);
	if (code < 0)
		return error_errno(err, code, "vcpu%u: MSR 0x2ff", id);
	code = kvm_ioctl(vcpu_fd, KVM_GET_LAPIC, &lapic);
	if (code < 0)
		return error_errno(err, code, "vcpu%u: KVM_GET_LAPIC", id);
	set_lint(&lapic, LAPIC_LVT_LINT0, LVT_MODE_EXTINT);
	set_lint(&lapic, LAPIC_LVT_LINT1, LVT_MODE_NMI);
	code = kvm_ioctl(vcpu_fd, KVM_SET_LAPIC, &lapic);
	if (code < 0)
		return error_errno(err, code, "vcpu%u: KVM_SET_LAPIC", id);
	return 0;
}

static struct kvm_segment flat(uint16_t selector, bool code, bool is64)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = code ? 11 : 3, /* accessed, readable or writable */
		.present = 1,
		.s = 1,
		.g = 1,
		.l = code && is64,
		.db = !(code && is64),
	};
}

static void set_segments(struct kvm_sregs *sregs, bool is64)
{
	struct kvm_segment data = flat(LOWMEM_SEL_DATA, false, is64);

	sregs->cs = flat(LOWMEM_SEL_CODE, true, is64);
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = (struct kvm_segment){
		.selector = LOWMEM_SEL_TSS,
		.limit = 0x67,
		.type = 11, /* busy 32/64-bit TSS */
		.present = 1,
	};
	sregs->gdt.base = LAYOUT_GDT;
	sregs->gdt.limit = LOWMEM_GDT_BYTES - 1;
	sregs->idt.base = 0;
	sregs->idt.limit = 0;
}

int regs_set_entry(
	int vcpu_fd, const struct boot_entry *entry, struct error *err)
{
	bool is64 = entry->protocol == BOOT_LINUX64;
	struct kvm_sregs sregs;
	struct kvm_regs regs = {
		.rip = entry->rip,
		.rsi = entry->rsi,
		.rbx = entry->rbx,
		.rsp = entry->rsp,
		.rflags = 2, /* bit 1 is always set */
	};
	int code;

	code = kvm_ioctl(vcpu_fd, KVM_GET_SREGS, &sregs);
	if (code < 0)
		return error_errno(err, code, "vcpu0: KVM_GET_SREGS");
	set_segments(&sregs, is64);
	sregs.cr0 = CR0_PE | CR0_ET;
	sregs.cr4 = 0;
	sregs.efer = 0;
	if (is64) {
		sregs.cr0 |= CR0_PG;
		sregs.cr4 = CR4_PAE;
		sregs.cr3 = entry->cr3;
		sregs.efer = EFER_LME | EFER_LMA;
	}
	code = kvm_ioctl(vcpu_fd, KVM_SET_SREGS, &sregs);
	if (code < 0)
		return error_errno(err, code, "vcpu0: KVM_SET_SREGS");
	code = kvm_ioctl(vcpu_fd, KVM_SET_REGS, &regs);
	if (code < 0)
		return error_errno(err, code, "vcpu0: KVM_SET_REGS");
	return 0;
}
