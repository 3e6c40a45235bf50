/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_state.c - see vcpu_state.h for the orders and their reasons.
 *
 * The kvm_run page (KVM_CAP_SYNC_REGS) replaces three getters or two setters by
 * one KVM_RUN that does not enter the guest.  That KVM_RUN is not the vCPU
 * thread's, and KVM before Linux 6.13 waits for a grace period when the thread
 * changes, far longer than what is gained; so it is used from there on.
 */
#include "vmm/x86/vcpu_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/log.h"
#include "vmm/x86/msr.h"
#include "vmm/x86/vcpu_fields.h"
#include "vmm/x86/vcpu_msrs.h"
#include "vmm/x86/vcpu_tsc.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define XSAVE_LEGACY_BYTES 4096u

#define SYNC_SAVE (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)
/* Events are set last, by their own ioctl. */
#define SYNC_LOAD (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS)

/* ---- the scratch ---- */

/* Since when KVM_RUN may change threads without waiting. */
static bool cheap_thread_change(void)
{
	unsigned major = 0, minor = 0;
	struct utsname name;

	if (uname(&name) < 0 ||
		sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return false;
	return major > 6 || (major == 6 && minor >= 13);
}

static int alloc_buffers(struct vcpu_scratch *s)
{
	s->msr_index = calloc(VCPU_STATE_MSRS_MAX, sizeof(uint32_t));
	s->msrs = calloc(
		1, sizeof(struct kvm_msrs) +
			   VCPU_STATE_MSRS_MAX * sizeof(struct kvm_msr_entry));
	s->xsave = calloc(1, s->xsave_bytes);
	if (s->nested_bytes > 0)
		s->nested = calloc(1, s->nested_bytes);
	if (!s->msr_index || !s->msrs || !s->xsave ||
		(s->nested_bytes > 0 && !s->nested))
		return -ENOMEM;
	return 0;
}

int vcpu_scratch_init(struct vcpu_scratch *scratch, int kvm_fd,
	const struct kvm_caps *caps, struct error *err)
{
	size_t xsave = (size_t)caps->value[KVM_HAS_XSAVE2];
	size_t nested = (size_t)caps->value[KVM_HAS_NESTED_STATE];
	int code;

	memset(scratch, 0, sizeof(*scratch));
	if (xsave > VCPU_STATE_XSAVE_MAX || nested > VCPU_STATE_NESTED_MAX)
		return error_set(err, -ENOTSUP,
			"KVM's %s area has %zu bytes, at most %u can be saved",
			xsave > VCPU_STATE_XSAVE_MAX ? "xsave" : "nested state",
			xsave > VCPU_STATE_XSAVE_MAX ? xsave : nested,
			VCPU_STATE_XSAVE_MAX);
	scratch->xsave_bytes =
		xsave < XSAVE_LEGACY_BYTES ? XSAVE_LEGACY_BYTES : xsave;
	if (nested >= sizeof(struct kvm_nested_state))
		scratch->nested_bytes = nested;
	scratch->sync_regs =
		kvm_caps_has(caps, KVM_HAS_SYNC_REGS) && cheap_thread_change();
	scratch->sregs2 = kvm_caps_has(caps, KVM_HAS_SREGS2);
	scratch->tsc_offset = kvm_caps_has(caps, KVM_HAS_VCPU_ATTRIBUTES);
	scratch->tsc_scaling = kvm_caps_has(caps, KVM_HAS_TSC_CONTROL);
	code = alloc_buffers(scratch);
	if (code < 0)
		error_errno(err, code, "vCPU state buffers");
	else
		code = vcpu_msrs_choose(scratch, kvm_fd, err);
	if (code < 0)
		vcpu_scratch_fini(scratch);
	return code;
}

void vcpu_scratch_fini(struct vcpu_scratch *scratch)
{
	free(scratch->msr_index);
	free(scratch->msrs);
	free(scratch->xsave);
	free(scratch->nested);
	memset(scratch, 0, sizeof(*scratch));
}

void vcpu_state_begin(struct vcpu_scratch *scratch)
{
	scratch->instant = false;
}

/* ---- calls ---- */

struct call {
	unsigned long request;
	void *arg;
	const char *name;
};

static int run_calls(
	int fd, const struct call *call, unsigned count, struct error *err)
{
	unsigned i;
	int code;

	for (i = 0; i < count; i++) {
		code = kvm_ioctl(fd, call[i].request, call[i].arg);
		if (code < 0)
			return error_errno(err, code, "%s", call[i].name);
	}
	return 0;
}

#define CALL(request, arg)                                                     \
	{                                                                      \
		request, arg, #request                                         \
	}

/* KVM_RUN that only exchanges registers with the page.  False: it did not; what
 * it should have set is no longer asked for. */
static bool exchange(
	int vcpu_fd, struct kvm_run *run, uint64_t valid, uint64_t dirty)
{
	bool taken;

	__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	run->kvm_valid_regs = valid;
	run->kvm_dirty_regs = dirty;
	taken = ioctl(vcpu_fd, KVM_RUN, 0) < 0 && errno == EINTR &&
		run->kvm_dirty_regs == 0;
	run->kvm_valid_regs = 0;
	run->kvm_dirty_regs = 0;
	return taken;
}

/* ---- nested state ---- */

/* Has the guest ever become a hypervisor?  A header alone with nothing in it
 * says no. */
static bool nested_used(const struct kvm_nested_state *n)
{
	if (n->size > sizeof(*n))
		return true;
	if (n->format == KVM_STATE_NESTED_FORMAT_VMX)
		return n->hdr.vmx.vmxon_pa != UINT64_MAX;
	return n->flags & ~KVM_STATE_NESTED_GIF_SET;
}

static int get_nested(int vcpu_fd, struct vcpu_scratch *s, bool *ret_used)
{
	int code;

	*ret_used = false;
	if (!s->nested)
		return 0;
	memset(s->nested, 0, s->nested_bytes);
	s->nested->size = (uint32_t)s->nested_bytes;
	code = kvm_ioctl(vcpu_fd, KVM_GET_NESTED_STATE, s->nested);
	/* KVM says EINVAL when this vCPU's CPUID has no virtualisation. */
	if (code == -EINVAL)
		return 0;
	if (code == 0)
		*ret_used = nested_used(s->nested);
	return code < 0 ? code : 0;
}

/* As at power-on: what the life before left must not stay. */
static void clear_nested(struct kvm_nested_state *n)
{
	uint16_t format = n->format;

	memset(n, 0, sizeof(*n));
	n->format = format;
	n->size = sizeof(*n);
	if (format == KVM_STATE_NESTED_FORMAT_VMX) {
		n->hdr.vmx.vmxon_pa = UINT64_MAX;
		n->hdr.vmx.vmcs12_pa = UINT64_MAX;
	} else {
		n->flags = KVM_STATE_NESTED_GIF_SET;
	}
}

static int read_nested(struct state_reader *r, struct vcpu_scratch *s,
	uint32_t *ret_bytes, struct error *err)
{
	uint32_t bytes = state_get_u32(r);

	if (r->error == 0 && bytes > 0 && !s->nested) {
		r->error = -ENOTSUP;
		return error_set(err, -ENOTSUP,
			"the guest is a hypervisor, and this KVM cannot load "
			"nested state (enable nesting: kvm_intel or kvm_amd "
			"with nested=1)");
	}
	if (r->error == 0 && bytes > 0 &&
		(bytes < sizeof(*s->nested) || bytes > s->nested_bytes))
		return state_reject(r, err, "nested state of another size");
	if (r->error == 0 && bytes > 0) {
		memset(s->nested, 0, s->nested_bytes);
		state_get_bytes(r, s->nested, bytes);
		if (r->error == 0 && s->nested->size != bytes)
			return state_reject(
				r, err, "nested state and its size disagree");
	}
	*ret_bytes = bytes;
	return r->error;
}

static int load_nested(
	int vcpu_fd, struct vcpu_scratch *s, uint32_t bytes, struct error *err)
{
	bool used = true;
	int code = 0;

	if (!s->nested)
		return 0;
	if (bytes == 0) {
		code = get_nested(vcpu_fd, s, &used);
		clear_nested(s->nested);
	}
	if (code == 0 && used)
		code = kvm_ioctl(vcpu_fd, KVM_SET_NESTED_STATE, s->nested);
	return code < 0 ? error_errno(err, code, "KVM_SET_NESTED_STATE") : 0;
}

/* ---- save ---- */

/* Registers and events.  Those of PAE paging the page does not hold. */
static int get_registers(int vcpu_fd, struct kvm_run *run,
	struct vcpu_scratch *s, struct vcpu_fields *f, struct error *err)
{
	struct kvm_sregs sregs;
	const struct call plain[] = {
		CALL(KVM_GET_REGS, &f->regs),
		CALL(KVM_GET_SREGS, &sregs),
		CALL(KVM_GET_VCPU_EVENTS, &f->events),
	};
	const struct call full[] = {CALL(KVM_GET_SREGS2, &f->sregs)};
	int code = 0;

	if (run && s->sync_regs && exchange(vcpu_fd, run, SYNC_SAVE, 0)) {
		f->regs = run->s.regs.regs;
		sregs = run->s.regs.sregs;
		f->events = run->s.regs.events;
	} else {
		code = run_calls(vcpu_fd, plain, COUNT(plain), err);
	}
	if (code < 0)
		return code;
	vcpu_fields_from_sregs(&sregs, &f->sregs);
	if (s->sregs2 && vcpu_fields_pae(sregs.cr0, sregs.cr4, sregs.efer))
		code = run_calls(vcpu_fd, full, COUNT(full), err);
	return code;
}

static void put(struct state_writer *w, const struct vcpu_fields *f,
	const struct vcpu_scratch *s, bool nested)
{
	uint32_t i;

	vcpu_fields_put(w, f);
	state_put_u32(w, (uint32_t)s->xsave_bytes);
	state_put_bytes(w, s->xsave, s->xsave_bytes);
	state_put_u32(w, s->msrs->nmsrs);
	for (i = 0; i < s->msrs->nmsrs; i++) {
		state_put_u32(w, s->msrs->entries[i].index);
		state_put_u64(w, s->msrs->entries[i].data);
	}
	state_put_u32(w, nested ? s->nested->size : 0);
	if (nested)
		state_put_bytes(w, s->nested, s->nested->size);
}

int vcpu_state_save(int vcpu_fd, struct kvm_run *run,
	struct vcpu_scratch *scratch, struct state_writer *w, struct error *err)
{
	struct vcpu_fields f;
	const struct call first[] = {
		CALL(KVM_GET_MP_STATE, &f.mp),
		CALL(KVM_GET_XCRS, &f.xcrs),
		CALL(KVM_GET_DEBUGREGS, &f.debug),
		CALL(KVM_GET_LAPIC, &f.lapic),
	};
	bool nested;
	int code;

	memset(&f, 0, sizeof(f));
	memset(scratch->xsave, 0, scratch->xsave_bytes);
	code = run_calls(vcpu_fd, first, COUNT(first), err);
	if (code < 0)
		return code;
	code = kvm_ioctl(vcpu_fd,
		scratch->xsave_bytes > XSAVE_LEGACY_BYTES ? KVM_GET_XSAVE2
							  : KVM_GET_XSAVE,
		scratch->xsave);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_XSAVE");
	code = vcpu_msrs_get(vcpu_fd, scratch);
	if (code == 0)
		code = vcpu_tsc_save(vcpu_fd, scratch);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_MSRS");
	f.tsc_khz = scratch->guest_khz;
	code = get_nested(vcpu_fd, scratch, &nested);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_NESTED_STATE");
	code = get_registers(vcpu_fd, run, scratch, &f, err);
	if (code == 0)
		put(w, &f, scratch, nested);
	return code;
}

/* ---- load ---- */

/* The whole section, checked. */
static int get(struct state_reader *r, struct vcpu_fields *f,
	struct vcpu_scratch *s, uint32_t *ret_nested, struct error *err)
{
	const char *why;
	uint32_t bytes;
	int code;

	vcpu_fields_get(r, f);
	bytes = state_get_u32(r);
	if (r->error == 0 && bytes > s->xsave_bytes)
		return state_reject(r, err,
			"xsave area larger than this host's (a CPU feature is "
			"missing here)");
	memset(s->xsave, 0, s->xsave_bytes);
	state_get_bytes(r, s->xsave, bytes);
	if (r->error < 0)
		return state_reader_end(r);
	why = vcpu_fields_check(f);
	if (!why)
		why = vcpu_fields_check_xsave(s->xsave, bytes);
	if (why)
		return state_reject(r, err, why);
	code = vcpu_msrs_read(r, s, err);
	if (code == 0)
		code = read_nested(r, s, ret_nested, err);
	return code < 0 ? code : state_reader_end(r);
}

/* Take the TSC out of the MSRs if it is set as an offset. */
static bool take_tsc(struct vcpu_scratch *s, uint64_t *ret_tsc)
{
	struct kvm_msrs *m = s->msrs;
	uint32_t i;

	if (!s->tsc_offset)
		return false;
	for (i = 0; i < m->nmsrs; i++)
		if (m->entries[i].index == VCPU_MSR_TSC)
			break;
	if (i == m->nmsrs)
		return false;
	*ret_tsc = m->entries[i].data;
	m->nmsrs--;
	memmove(&m->entries[i], &m->entries[i + 1],
		(m->nmsrs - i) * sizeof(m->entries[0]));
	return true;
}

/* General and system registers.  The page takes them from a vCPU only that may
 * run, and not the directory pointers of PAE, which KVM would then read from
 * guest memory. */
static int set_registers(int vcpu_fd, struct kvm_run *run,
	struct vcpu_scratch *s, struct vcpu_fields *f, bool *ret_mp_set,
	struct error *err)
{
	bool pointers = f->sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID;
	bool runs = f->mp.mp_state == KVM_MP_STATE_RUNNABLE ||
		    f->mp.mp_state == KVM_MP_STATE_HALTED;
	struct kvm_sregs sregs;
	const struct call mp[] = {CALL(KVM_SET_MP_STATE, &f->mp)};
	const struct call plain[] = {
		CALL(KVM_SET_REGS, &f->regs),
		CALL(KVM_SET_SREGS, &sregs),
	};
	const struct call full[] = {
		CALL(KVM_SET_REGS, &f->regs),
		CALL(KVM_SET_SREGS2, &f->sregs),
	};
	int code;

	vcpu_fields_to_sregs(&f->sregs, &sregs);
	if (run && s->sync_regs && runs && !pointers) {
		code = run_calls(vcpu_fd, mp, 1, err);
		if (code < 0)
			return code;
		run->s.regs.regs = f->regs;
		run->s.regs.sregs = sregs;
		*ret_mp_set = exchange(vcpu_fd, run, 0, SYNC_LOAD);
		if (*ret_mp_set)
			return 0;
		/* Refused: the setters say why. */
	}
	return run_calls(vcpu_fd, pointers && s->sregs2 ? full : plain, 2, err);
}

static int set_all(int vcpu_fd, struct kvm_run *run, struct vcpu_scratch *s,
	struct vcpu_fields *f, uint32_t nested, struct error *err)
{
	const struct call lapic[] = {
		CALL(KVM_SET_XCRS, &f->xcrs),
		CALL(KVM_SET_XSAVE, s->xsave),
		CALL(KVM_SET_DEBUGREGS, &f->debug),
		CALL(KVM_SET_LAPIC, &f->lapic),
	};
	const struct call regs[] = {CALL(KVM_SET_REGS, &f->regs)};
	const struct call last[] = {
		CALL(KVM_SET_VCPU_EVENTS, &f->events),
		CALL(KVM_SET_MP_STATE, &f->mp),
	};
	bool mp_set = false;
	uint64_t tsc;
	int code;

	code = set_registers(vcpu_fd, run, s, f, &mp_set, err);
	if (code == 0)
		code = vcpu_tsc_load_rate(vcpu_fd, s, f->tsc_khz, err);
	if (code == 0 && take_tsc(s, &tsc))
		code = vcpu_tsc_load(vcpu_fd, s, tsc, err);
	if (code == 0)
		code = run_calls(vcpu_fd, lapic, COUNT(lapic), err);
	if (code == 0)
		code = vcpu_msrs_set(vcpu_fd, s, err);
	if (code == 0)
		code = load_nested(vcpu_fd, s, nested, err);
	if (code == 0 && nested)
		code = run_calls(vcpu_fd, regs, 1, err);
	if (code == 0)
		code = run_calls(vcpu_fd, last, mp_set ? 1 : 2, err);
	return code;
}

int vcpu_state_load(int vcpu_fd, struct kvm_run *run,
	struct vcpu_scratch *scratch, struct state_reader *r, struct error *err)
{
	struct vcpu_fields f;
	uint32_t nested = 0;
	int code;

	memset(&f, 0, sizeof(f));
	code = get(r, &f, scratch, &nested, err);
	if (code < 0)
		return code;
	code = vcpu_tsc_check_rate(vcpu_fd, scratch, f.tsc_khz, err);
	if (code < 0)
		return code;
	return set_all(vcpu_fd, run, scratch, &f, nested, err);
}
