/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_fresh.c - see vcpu_fresh.h.  The order is that of vcpu_state.h,
 * for the reasons given there.
 *
 * The TSC of one that joins: KVM takes a host's write of 0 to mean what it does
 * for a new vCPU, "in step with the others".  A value of our own would begin
 * another generation of TSCs, and the guest's kvmclock would no longer be
 * stable until every vCPU, parked ones too, had been written.
 */
#include "vmm/x86/vcpu_fresh.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/x86/msr.h"
#include "vmm/x86/vcpu_state.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define XSAVE_LEGACY_BYTES 4096u

#define MSR_TSC		       0x10u
#define MSR_KVM_WALL_CLOCK_OLD 0x11u
#define MSR_HYPERV_FIRST       0x40000000u
#define MSR_HYPERV_LAST	       0x400001ffu

struct vcpu_fresh {
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs;
	struct kvm_fpu fpu;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	uint64_t tsc;
	struct kvm_xsave *xsave;	 /* owned */
	struct kvm_nested_state *nested; /* owned; NULL: KVM has none */
	struct kvm_msr_entry *msrs;	 /* owned; in the order to set them */
	uint32_t msr_count;
};

/* One get-ioctl and its set-ioctl. */
struct part {
	unsigned long get, set;
	size_t offset; /* in struct vcpu_fresh */
	const char *name;
};

#define PART(what, member)                                                     \
	{                                                                      \
		KVM_GET_##what, KVM_SET_##what,                                \
			offsetof(struct vcpu_fresh, member), #what             \
	}

/* Set in this order; events and MP state come after the MSRs. */
static const struct part before_msrs[] = {
	PART(REGS, regs),
	PART(SREGS, sregs),
	PART(XCRS, xcrs),
	/* KVM_SET_XSAVE leaves alone what is in its initial state. */
	PART(FPU, fpu),
	PART(DEBUGREGS, debug),
	PART(LAPIC, lapic),
};
static const struct part after_msrs[] = {
	PART(VCPU_EVENTS, events),
	PART(MP_STATE, mp),
};

static void *at(struct vcpu_fresh *f, const struct part *part)
{
	return (uint8_t *)f + part->offset;
}

static int get_parts(int fd, struct vcpu_fresh *f, const struct part *part,
	unsigned count, struct error *err)
{
	int code;

	/* Backwards: asking for the MP state lets KVM digest what is pending
	 * and so change the rest. */
	while (count-- > 0) {
		code = kvm_ioctl(fd, part[count].get, at(f, &part[count]));
		if (code < 0)
			return error_errno(
				err, code, "KVM_GET_%s", part[count].name);
	}
	return 0;
}

static int set_parts(int fd, const struct vcpu_fresh *f,
	const struct part *part, unsigned count, struct error *err)
{
	struct vcpu_fresh copy = *f; /* the ioctls want writable memory */
	unsigned i;
	int code;

	for (i = 0; i < count; i++) {
		code = kvm_ioctl(fd, part[i].set, at(&copy, &part[i]));
		if (code < 0)
			return error_errno(
				err, code, "KVM_SET_%s", part[i].name);
	}
	return 0;
}

/* ---- MSRs ---- */

/* KVM_GET_MSRS stops at one it lists but does not have for this CPUID. */
static int get_msrs(int fd, struct vcpu_scratch *s, struct vcpu_fresh *f)
{
	uint32_t next = 0, i, n;
	int done;

	f->msrs = calloc(s->msr_count + 1, sizeof(*f->msrs));
	if (!f->msrs)
		return -ENOMEM;
	while (next < s->msr_count) {
		n = s->msr_count - next;
		for (i = 0; i < n; i++)
			s->msrs->entries[i] = (struct kvm_msr_entry){
				.index = s->msr_index[next + i]};
		s->msrs->nmsrs = n;
		done = kvm_ioctl(fd, KVM_GET_MSRS, s->msrs);
		if (done < 0)
			return done;
		for (i = 0; i < (uint32_t)done; i++)
			if (s->msrs->entries[i].index != MSR_TSC)
				f->msrs[f->msr_count++] = s->msrs->entries[i];
		next += (uint32_t)done + 1;
	}
	return msr_get(fd, MSR_TSC, &f->tsc);
}

/* MSRs that belong to the machine and not to one vCPU.  Those of Hyper-V are
 * all left alone: we do not offer it, so the guest cannot write them. */
static bool is_shared(uint32_t index)
{
	return index == MSR_KVM_WALL_CLOCK_OLD ||
	       index == 0x4b564d00u /* MSR_KVM_WALL_CLOCK_NEW */ ||
	       (index >= MSR_HYPERV_FIRST && index <= MSR_HYPERV_LAST);
}

static int put_msrs(int fd, struct vcpu_scratch *s, const struct vcpu_fresh *f,
	bool shared, struct error *err)
{
	struct kvm_msr_entry *e = s->msrs->entries;
	uint32_t next = 0, i, n;
	uint64_t now;
	int done;

	while (next < f->msr_count) {
		for (i = next, n = 0; i < f->msr_count; i++)
			if (shared || !is_shared(f->msrs[i].index))
				e[n++] = f->msrs[i];
		s->msrs->nmsrs = n;
		done = n > 0 ? kvm_ioctl(fd, KVM_SET_MSRS, s->msrs) : 0;
		if (done < 0)
			return error_errno(err, done, "KVM_SET_MSRS");
		if ((uint32_t)done == n)
			return 0;
		/* It stops at the first it refuses: a read-only one is no
		 * error if it has its value. */
		if (msr_get(fd, e[done].index, &now) < 0 || now != e[done].data)
			return error_set(err, -EIO,
				"MSR 0x%x cannot be set back to 0x%" PRIx64,
				e[done].index, (uint64_t)e[done].data);
		while (f->msrs[next].index != e[done].index)
			next++;
		next++;
	}
	return 0;
}

int vcpu_fresh_sync_tsc(int vcpu_fd)
{
	return msr_set(vcpu_fd, MSR_TSC, 0);
}

/* ---- all of it ---- */

static int get_nested(
	int fd, const struct vcpu_scratch *s, struct vcpu_fresh *f)
{
	if (!s->nested)
		return 0;
	f->nested = calloc(1, s->nested_bytes);
	if (!f->nested)
		return -ENOMEM;
	f->nested->size = (uint32_t)s->nested_bytes;
	return kvm_ioctl(fd, KVM_GET_NESTED_STATE, f->nested);
}

int vcpu_fresh_take(int vcpu_fd, struct vcpu_scratch *scratch,
	struct vcpu_fresh **ret_fresh, struct error *err)
{
	struct vcpu_fresh *f = calloc(1, sizeof(*f));
	int code;

	if (f)
		f->xsave = calloc(1, scratch->xsave_bytes);
	if (!f || !f->xsave) {
		code = error_errno(err, -ENOMEM, "power-on state");
		goto fail;
	}
	code = get_parts(vcpu_fd, f, after_msrs, COUNT(after_msrs), err);
	if (code == 0)
		code = get_parts(
			vcpu_fd, f, before_msrs, COUNT(before_msrs), err);
	if (code < 0)
		goto fail;
	code = get_nested(vcpu_fd, scratch, f);
	if (code < 0) {
		error_errno(err, code, "KVM_GET_NESTED_STATE");
		goto fail;
	}
	code = kvm_ioctl(vcpu_fd,
		scratch->xsave_bytes > XSAVE_LEGACY_BYTES ? KVM_GET_XSAVE2
							  : KVM_GET_XSAVE,
		f->xsave);
	if (code < 0) {
		error_errno(err, code, "KVM_GET_XSAVE");
		goto fail;
	}
	code = get_msrs(vcpu_fd, scratch, f);
	if (code < 0) {
		error_errno(err, code, "KVM_GET_MSRS");
		goto fail;
	}
	*ret_fresh = f;
	return 0;
fail:
	vcpu_fresh_free(f);
	return code;
}

void vcpu_fresh_free(struct vcpu_fresh *fresh)
{
	if (!fresh)
		return;
	free(fresh->nested);
	free(fresh->xsave);
	free(fresh->msrs);
	free(fresh);
}

int vcpu_fresh_put(int vcpu_fd, struct vcpu_scratch *scratch,
	const struct vcpu_fresh *fresh, enum vcpu_fresh_why why,
	struct error *err)
{
	bool power_on = why == VCPU_FRESH_POWER_ON;
	int code = 0;

	/* Out of a nested guest first: its CR4 and EFER are not ours. */
	if (fresh->nested)
		code = kvm_ioctl(vcpu_fd, KVM_SET_NESTED_STATE, fresh->nested);
	if (code < 0)
		return error_errno(err, code, "KVM_SET_NESTED_STATE");
	code = set_parts(vcpu_fd, fresh, before_msrs, COUNT(before_msrs), err);
	if (code < 0)
		return code;
	code = kvm_ioctl(vcpu_fd, KVM_SET_XSAVE, fresh->xsave);
	if (code < 0)
		return error_errno(err, code, "KVM_SET_XSAVE");
	code = msr_set(vcpu_fd, MSR_TSC, power_on ? fresh->tsc : 0);
	if (code < 0)
		return error_errno(err, code, "MSR 0x10");
	code = put_msrs(vcpu_fd, scratch, fresh, power_on, err);
	if (code < 0)
		return code;
	return set_parts(vcpu_fd, fresh, after_msrs, COUNT(after_msrs), err);
}
