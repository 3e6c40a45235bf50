/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/vcpu_fields.c - see vcpu_fields.h. */
#include "vmm/x86/vcpu_fields.h"

#include <string.h>

#include "migrate/state.h"

#define CR0_PE	       (1ull << 0)
#define CR0_NW	       (1ull << 29)
#define CR0_CD	       (1ull << 30)
#define CR0_PG	       (1ull << 31)
#define CR4_PAE	       (1ull << 5)
#define EFER_LME       (1ull << 8)
#define EFER_LMA       (1ull << 10)
#define RFLAGS_MAX     0x3fffffull
#define APIC_ENABLE    (1ull << 11)
#define APIC_X2	       (1ull << 10)
#define APIC_RESERVED  0x2ffull /* below the address, but for BSP */
#define PDPTE_PRESENT  1ull
#define PDPTE_RESERVED 0x1e6ull

#define EVENTS_FLAGS                                                           \
	(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |   \
		KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM |         \
		KVM_VCPUEVENT_VALID_PAYLOAD |                                  \
		KVM_VCPUEVENT_VALID_TRIPLE_FAULT)
#define VECTOR_NMI 2u

#define XSAVE_MXCSR  24u
#define XSAVE_HEADER 512u
#define XSAVE_MIN    576u
#define XSAVE_XCOMP  (XSAVE_HEADER + 8u)
#define TSC_KHZ_MIN  1000u	/* 1 MHz */
#define TSC_KHZ_MAX  100000000u /* 100 GHz */

void vcpu_fields_put(struct state_writer *w, const struct vcpu_fields *f)
{
	state_put_u32(w, f->mp.mp_state);
	state_put_bytes(w, &f->regs, sizeof(f->regs));
	state_put_bytes(w, &f->sregs, sizeof(f->sregs));
	state_put_bytes(w, &f->debug, sizeof(f->debug));
	state_put_bytes(w, &f->xcrs, sizeof(f->xcrs));
	state_put_bytes(w, &f->lapic, sizeof(f->lapic));
	state_put_bytes(w, &f->events, sizeof(f->events));
	state_put_u32(w, f->tsc_khz);
}

void vcpu_fields_get(struct state_reader *r, struct vcpu_fields *ret_f)
{
	ret_f->mp.mp_state = state_get_u32(r);
	state_get_bytes(r, &ret_f->regs, sizeof(ret_f->regs));
	state_get_bytes(r, &ret_f->sregs, sizeof(ret_f->sregs));
	state_get_bytes(r, &ret_f->debug, sizeof(ret_f->debug));
	state_get_bytes(r, &ret_f->xcrs, sizeof(ret_f->xcrs));
	state_get_bytes(r, &ret_f->lapic, sizeof(ret_f->lapic));
	state_get_bytes(r, &ret_f->events, sizeof(ret_f->events));
	ret_f->tsc_khz = state_get_u32(r);
}

static bool all_zero(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint8_t any = 0;
	size_t i;

	for (i = 0; i < len; i++)
		any |= p[i];
	return any == 0;
}

bool vcpu_fields_pae(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LMA);
}

static bool segment_bad(const struct kvm_segment *s)
{
	return s->type > 15 || s->present > 1 || s->dpl > 3 || s->db > 1 ||
	       s->s > 1 || s->l > 1 || s->g > 1 || s->avl > 1 ||
	       s->unusable > 1;
}

static const char *check_segments(const struct kvm_sregs2 *s)
{
	const struct kvm_segment *all[] = {&s->cs, &s->ds, &s->es, &s->fs,
		&s->gs, &s->ss, &s->tr, &s->ldt};
	unsigned i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (segment_bad(all[i]))
			return "a segment descriptor that cannot be";
	if (!all_zero(s->gdt.padding, sizeof(s->gdt.padding)) ||
		!all_zero(s->idt.padding, sizeof(s->idt.padding)))
		return "padding of a descriptor table is not zero";
	return NULL;
}

static const char *check_pdptrs(const struct kvm_sregs2 *s)
{
	unsigned i;

	if (s->flags & ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID)
		return "unknown flags of system registers";
	if (!(s->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
		return NULL;
	if (!vcpu_fields_pae(s->cr0, s->cr4, s->efer))
		return "page directory pointers without PAE paging";
	for (i = 0; i < 4; i++)
		if (s->pdptrs[i] & PDPTE_PRESENT &&
			s->pdptrs[i] & PDPTE_RESERVED)
			return "reserved bits of a page directory pointer";
	return NULL;
}

static const char *check_sregs(const struct kvm_sregs2 *s)
{
	bool paged = s->cr0 & CR0_PG;

	if (s->cr0 >> 32 || (paged && !(s->cr0 & CR0_PE)) ||
		(s->cr0 & CR0_NW && !(s->cr0 & CR0_CD)))
		return "a CR0 that cannot be";
	if (s->cr8 > 15)
		return "a CR8 above 15";
	if (!!(s->efer & EFER_LMA) != (paged && s->efer & EFER_LME))
		return "EFER and CR0 disagree about long mode";
	if (s->efer & EFER_LMA && !(s->cr4 & CR4_PAE))
		return "long mode without PAE";
	if (s->apic_base & APIC_RESERVED ||
		(s->apic_base & APIC_X2 && !(s->apic_base & APIC_ENABLE)))
		return "an APIC base that cannot be";
	return NULL;
}

static const char *check_debug(const struct kvm_debugregs *d)
{
	if (d->flags || !all_zero(d->reserved, sizeof(d->reserved)))
		return "unknown flags of debug registers";
	if (d->dr6 >> 32 || d->dr7 >> 32)
		return "reserved bits of DR6 or DR7";
	return NULL;
}

/* KVM knows XCR0 and no other. */
static const char *check_xcrs(const struct kvm_xcrs *x)
{
	if (x->nr_xcrs > 1)
		return "too many XCRs";
	if (x->flags || !all_zero(x->padding, sizeof(x->padding)))
		return "unknown flags of XCRs";
	if (x->nr_xcrs == 1 && (x->xcrs[0].xcr != 0 || x->xcrs[0].reserved))
		return "an XCR other than XCR0";
	if (x->nr_xcrs == 1 && !(x->xcrs[0].value & 1))
		return "an XCR0 without x87";
	return NULL;
}

static const char *check_events(const struct kvm_vcpu_events *e)
{
	if (e->flags & ~EVENTS_FLAGS ||
		!all_zero(e->reserved, sizeof(e->reserved)))
		return "unknown flags of events";
	if (e->exception.injected > 1 || e->exception.pending > 1 ||
		e->exception.has_error_code > 1 || e->exception_has_payload > 1)
		return "an exception that cannot be";
	if ((e->exception.injected || e->exception.pending) &&
		(e->exception.nr > 31 || e->exception.nr == VECTOR_NMI))
		return "no vector of an exception";
	if (e->interrupt.injected > 1 || e->interrupt.soft > 1 ||
		e->interrupt.shadow >
			(KVM_X86_SHADOW_INT_MOV_SS | KVM_X86_SHADOW_INT_STI))
		return "an interrupt that cannot be";
	if (e->nmi.injected > 1 || e->nmi.masked > 1 || e->nmi.pad ||
		e->sipi_vector > 0xff)
		return "an NMI or start-up vector that cannot be";
	if (e->smi.smm > 1 || e->smi.pending > 1 || e->smi.smm_inside_nmi > 1 ||
		e->smi.latched_init > 1 || e->triple_fault.pending > 1)
		return "an SMI, INIT or triple fault that cannot be";
	return NULL;
}

const char *vcpu_fields_check(const struct vcpu_fields *f)
{
	const char *why;

	if (f->mp.mp_state > KVM_MP_STATE_SIPI_RECEIVED)
		return "no MP state of an x86 vCPU";
	if (f->regs.rflags > RFLAGS_MAX)
		return "reserved bits of RFLAGS";
	if (f->tsc_khz != 0 &&
		(f->tsc_khz < TSC_KHZ_MIN || f->tsc_khz > TSC_KHZ_MAX))
		return "no rate of a TSC";
	why = check_segments(&f->sregs);
	if (!why)
		why = check_sregs(&f->sregs);
	if (!why)
		why = check_pdptrs(&f->sregs);
	if (!why)
		why = check_debug(&f->debug);
	if (!why)
		why = check_xcrs(&f->xcrs);
	return why ? why : check_events(&f->events);
}

const char *vcpu_fields_check_xsave(const void *xsave, size_t bytes)
{
	const uint8_t *p = xsave;
	uint32_t mxcsr;

	if (bytes < XSAVE_MIN)
		return "an xsave area without a header";
	memcpy(&mxcsr, p + XSAVE_MXCSR, sizeof(mxcsr));
	if (mxcsr >> 16 && mxcsr >> 16 != 2) /* AMD's misaligned SSE mask */
		return "reserved bits of MXCSR";
	if (!all_zero(p + XSAVE_XCOMP, XSAVE_MIN - XSAVE_XCOMP))
		return "an xsave area in compacted form";
	return NULL;
}

#define SREGS_SAME(from, to)                                                   \
	do {                                                                   \
		(to)->cs = (from)->cs;                                         \
		(to)->ds = (from)->ds;                                         \
		(to)->es = (from)->es;                                         \
		(to)->fs = (from)->fs;                                         \
		(to)->gs = (from)->gs;                                         \
		(to)->ss = (from)->ss;                                         \
		(to)->tr = (from)->tr;                                         \
		(to)->ldt = (from)->ldt;                                       \
		(to)->gdt = (from)->gdt;                                       \
		(to)->idt = (from)->idt;                                       \
		(to)->cr0 = (from)->cr0;                                       \
		(to)->cr2 = (from)->cr2;                                       \
		(to)->cr3 = (from)->cr3;                                       \
		(to)->cr4 = (from)->cr4;                                       \
		(to)->cr8 = (from)->cr8;                                       \
		(to)->efer = (from)->efer;                                     \
		(to)->apic_base = (from)->apic_base;                           \
	} while (0)

void vcpu_fields_to_sregs(const struct kvm_sregs2 *from, struct kvm_sregs *to)
{
	memset(to, 0, sizeof(*to)); /* the interrupt is one of the events */
	SREGS_SAME(from, to);
}

void vcpu_fields_from_sregs(const struct kvm_sregs *from, struct kvm_sregs2 *to)
{
	memset(to, 0, sizeof(*to));
	SREGS_SAME(from, to);
}
