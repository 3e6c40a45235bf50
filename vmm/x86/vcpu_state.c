/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/vcpu_state.c - see vcpu_state.h for the orders and their reasons. */
#include "vmm/x86/vcpu_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/x86/msr.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define XSAVE_LEGACY_BYTES 4096u
#define MSR_INDEX_MAX	   4096u

#define MSR_TSC		 0x10u
#define MSR_TSC_DEADLINE 0x6e0u

/* State that KVM keeps and does not list: the MTRRs. */
static const uint32_t unlisted[] = {0x2ff, 0x250, 0x258, 0x259, 0x268, 0x269,
	0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x200, 0x201, 0x202, 0x203,
	0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d,
	0x20e, 0x20f};

/* Everything but MSRs and xsave, whose sizes depend on the host. */
struct fixed {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
};

static int msr_list(int kvm_fd, struct kvm_msr_list **ret)
{
	struct kvm_msr_list probe = {.nmsrs = 0}, *list;
	int code;

	/* The first call only tells the count, with E2BIG. */
	code = kvm_ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);
	if (code < 0 && code != -E2BIG)
		return code;
	if (probe.nmsrs == 0 || probe.nmsrs > MSR_INDEX_MAX)
		return -ENOTSUP;
	list = calloc(
		1, sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
	if (!list)
		return -ENOMEM;
	list->nmsrs = probe.nmsrs;
	code = kvm_ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, list);
	if (code < 0) {
		free(list);
		return code;
	}
	*ret = list;
	return 0;
}

static bool in_list(const struct kvm_msr_list *list, uint32_t index)
{
	uint32_t i;

	for (i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

/* What to save, in the order in which it is to be loaded. */
static void choose_msrs(struct vcpu_scratch *s, const struct kvm_msr_list *list)
{
	uint32_t i, n = 0;

	if (in_list(list, MSR_TSC))
		s->msr_index[n++] = MSR_TSC;
	for (i = 0; i < COUNT(unlisted); i++)
		if (!in_list(list, unlisted[i]))
			s->msr_index[n++] = unlisted[i];
	for (i = 0; i < list->nmsrs; i++)
		if (list->indices[i] != MSR_TSC &&
			list->indices[i] != MSR_TSC_DEADLINE)
			s->msr_index[n++] = list->indices[i];
	if (in_list(list, MSR_TSC_DEADLINE))
		s->msr_index[n++] = MSR_TSC_DEADLINE;
	s->msr_count = n;
}

static int check_sizes(uint32_t msrs, size_t xsave_bytes, struct error *err)
{
	if (msrs > VCPU_STATE_MSRS_MAX - COUNT(unlisted))
		return error_set(err, -ENOTSUP,
			"KVM lists %u MSRs, at most %zu can be saved", msrs,
			VCPU_STATE_MSRS_MAX - COUNT(unlisted));
	if (xsave_bytes > VCPU_STATE_XSAVE_MAX)
		return error_set(err, -ENOTSUP,
			"KVM's xsave area has %zu bytes, at most %u can be "
			"saved",
			xsave_bytes, VCPU_STATE_XSAVE_MAX);
	return 0;
}

int vcpu_scratch_init(struct vcpu_scratch *scratch, int kvm_fd,
	size_t xsave_bytes, struct error *err)
{
	struct kvm_msr_list *list = NULL;
	int code;

	memset(scratch, 0, sizeof(*scratch));
	code = msr_list(kvm_fd, &list);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_MSR_INDEX_LIST");
	code = check_sizes(list->nmsrs, xsave_bytes, err);
	if (code < 0) {
		free(list);
		return code;
	}
	scratch->xsave_bytes = xsave_bytes < XSAVE_LEGACY_BYTES
				       ? XSAVE_LEGACY_BYTES
				       : xsave_bytes;
	scratch->msr_index = calloc(VCPU_STATE_MSRS_MAX, sizeof(uint32_t));
	scratch->msrs = calloc(
		1, sizeof(struct kvm_msrs) +
			   VCPU_STATE_MSRS_MAX * sizeof(struct kvm_msr_entry));
	scratch->xsave = calloc(1, scratch->xsave_bytes);
	if (!scratch->msr_index || !scratch->msrs || !scratch->xsave) {
		free(list);
		vcpu_scratch_fini(scratch);
		return error_errno(err, -ENOMEM, "vCPU state buffers");
	}
	choose_msrs(scratch, list);
	free(list);
	return 0;
}

void vcpu_scratch_fini(struct vcpu_scratch *scratch)
{
	free(scratch->msr_index);
	free(scratch->msrs);
	free(scratch->xsave);
	memset(scratch, 0, sizeof(*scratch));
}

/* KVM_GET_MSRS stops at the first MSR it cannot read (listed, but absent for
 * this CPUID); that one is dropped from the list and the rest read again. */
static int get_msrs(int vcpu_fd, struct vcpu_scratch *s)
{
	uint32_t i;
	int done;

	for (;;) {
		for (i = 0; i < s->msr_count; i++)
			s->msrs->entries[i] = (struct kvm_msr_entry){
				.index = s->msr_index[i]};
		s->msrs->nmsrs = s->msr_count;
		if (s->msr_count == 0)
			return 0;
		done = kvm_ioctl(vcpu_fd, KVM_GET_MSRS, s->msrs);
		if (done < 0)
			return done;
		if ((uint32_t)done >= s->msr_count)
			return 0;
		memmove(&s->msr_index[done], &s->msr_index[done + 1],
			(s->msr_count - (uint32_t)done - 1) * sizeof(uint32_t));
		s->msr_count--;
	}
}

/* KVM_SET_MSRS stops at the first it refuses.  Read-only ones that already
 * hold the wanted value are no error. */
static int set_msrs(int vcpu_fd, struct kvm_msrs *msrs, struct error *err)
{
	struct kvm_msrs *part;
	uint32_t at = 0, left;
	uint64_t now;
	int done;

	part = calloc(
		1, sizeof(*part) + msrs->nmsrs * sizeof(part->entries[0]));
	if (!part)
		return error_errno(err, -ENOMEM, "MSRs");
	while (at < msrs->nmsrs) {
		left = msrs->nmsrs - at;
		part->nmsrs = left;
		memcpy(part->entries, &msrs->entries[at],
			left * sizeof(part->entries[0]));
		done = kvm_ioctl(vcpu_fd, KVM_SET_MSRS, part);
		if (done < 0) {
			free(part);
			return error_errno(err, done, "KVM_SET_MSRS");
		}
		at += (uint32_t)done;
		if (at == msrs->nmsrs)
			break;
		if (msr_get(vcpu_fd, msrs->entries[at].index, &now) < 0 ||
			now != msrs->entries[at].data) {
			free(part);
			return error_set(err, -EPROTO,
				"MSR 0x%x: this host refuses the value "
				"0x%" PRIx64 " (another CPU or KVM version?)",
				msrs->entries[at].index,
				(uint64_t)msrs->entries[at].data);
		}
		at++;
	}
	free(part);
	return 0;
}

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

static void put(struct state_writer *w, const struct fixed *f,
	const struct vcpu_scratch *s)
{
	uint32_t i;

	state_put_u32(w, f->mp.mp_state);
	state_put_bytes(w, &f->regs, sizeof(f->regs));
	state_put_bytes(w, &f->sregs, sizeof(f->sregs));
	state_put_bytes(w, &f->debug, sizeof(f->debug));
	state_put_bytes(w, &f->xcrs, sizeof(f->xcrs));
	state_put_bytes(w, &f->lapic, sizeof(f->lapic));
	state_put_bytes(w, &f->events, sizeof(f->events));
	state_put_u32(w, (uint32_t)s->xsave_bytes);
	state_put_bytes(w, s->xsave, s->xsave_bytes);
	state_put_u32(w, s->msrs->nmsrs);
	for (i = 0; i < s->msrs->nmsrs; i++) {
		state_put_u32(w, s->msrs->entries[i].index);
		state_put_u64(w, s->msrs->entries[i].data);
	}
}

int vcpu_state_save(int vcpu_fd, struct vcpu_scratch *scratch,
	struct state_writer *w, struct error *err)
{
	struct fixed f;
	const struct call calls[] = {
		CALL(KVM_GET_MP_STATE, &f.mp),
		CALL(KVM_GET_REGS, &f.regs),
		CALL(KVM_GET_SREGS, &f.sregs),
		CALL(KVM_GET_XCRS, &f.xcrs),
		CALL(KVM_GET_DEBUGREGS, &f.debug),
		CALL(KVM_GET_LAPIC, &f.lapic),
	};
	int code;

	memset(&f, 0, sizeof(f));
	memset(scratch->xsave, 0, scratch->xsave_bytes);
	code = run_calls(vcpu_fd, calls, COUNT(calls), err);
	if (code < 0)
		return code;
	code = kvm_ioctl(vcpu_fd,
		scratch->xsave_bytes > XSAVE_LEGACY_BYTES ? KVM_GET_XSAVE2
							  : KVM_GET_XSAVE,
		scratch->xsave);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_XSAVE");
	code = get_msrs(vcpu_fd, scratch);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_MSRS");
	code = kvm_ioctl(vcpu_fd, KVM_GET_VCPU_EVENTS, &f.events);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_VCPU_EVENTS");
	put(w, &f, scratch);
	return 0;
}

static int get(struct state_reader *r, struct fixed *f, struct vcpu_scratch *s,
	struct error *err)
{
	uint32_t bytes, count, i;

	f->mp.mp_state = state_get_u32(r);
	state_get_bytes(r, &f->regs, sizeof(f->regs));
	state_get_bytes(r, &f->sregs, sizeof(f->sregs));
	state_get_bytes(r, &f->debug, sizeof(f->debug));
	state_get_bytes(r, &f->xcrs, sizeof(f->xcrs));
	state_get_bytes(r, &f->lapic, sizeof(f->lapic));
	state_get_bytes(r, &f->events, sizeof(f->events));
	bytes = state_get_u32(r);
	if (r->error == 0 && bytes > s->xsave_bytes)
		return state_reject(r, err,
			"xsave area larger than this host's (a CPU feature is "
			"missing here)");
	memset(s->xsave, 0, s->xsave_bytes);
	state_get_bytes(r, s->xsave, bytes);
	count = state_get_u32(r);
	if (r->error == 0 && count > VCPU_STATE_MSRS_MAX)
		return state_reject(r, err, "too many MSRs");
	for (i = 0; r->error == 0 && i < count; i++)
		s->msrs->entries[i] = (struct kvm_msr_entry){
			.index = state_get_u32(r),
			.data = state_get_u64(r),
		};
	s->msrs->nmsrs = count;
	if (r->error == 0 && f->xcrs.nr_xcrs > KVM_MAX_XCRS)
		return state_reject(r, err, "too many XCRs");
	return state_reader_end(r);
}

int vcpu_state_load(int vcpu_fd, struct vcpu_scratch *scratch,
	struct state_reader *r, struct error *err)
{
	struct fixed f;
	const struct call before[] = {
		CALL(KVM_SET_REGS, &f.regs),
		CALL(KVM_SET_SREGS, &f.sregs),
		CALL(KVM_SET_XCRS, &f.xcrs),
		CALL(KVM_SET_XSAVE, scratch->xsave),
		CALL(KVM_SET_DEBUGREGS, &f.debug),
		CALL(KVM_SET_LAPIC, &f.lapic),
	};
	const struct call after[] = {
		CALL(KVM_SET_VCPU_EVENTS, &f.events),
		CALL(KVM_SET_MP_STATE, &f.mp),
	};
	int code;

	memset(&f, 0, sizeof(f));
	code = get(r, &f, scratch, err);
	if (code < 0)
		return code;
	code = run_calls(vcpu_fd, before, COUNT(before), err);
	if (code < 0)
		return code;
	code = set_msrs(vcpu_fd, scratch->msrs, err);
	if (code < 0)
		return code;
	return run_calls(vcpu_fd, after, COUNT(after), err);
}
