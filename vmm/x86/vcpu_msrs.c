/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/vcpu_msrs.c - see vcpu_msrs.h. */
#include "vmm/x86/vcpu_msrs.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "migrate/state.h"
#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/x86/msr.h"
#include "vmm/x86/vcpu_state.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define LISTED_MAX	 4096u
#define MSR_TSC_DEADLINE 0x6e0u
/* Hyper-V's counters of time and run time: they tick while they are looked at,
 * and we offer no Hyper-V. */
#define MSR_HV_RUN_TIME 0x40000010u
#define MSR_HV_TIME	0x40000020u

/* State that some KVM keeps and does not list: the MTRRs, and what guests and
 * KVM say to each other. */
static const uint32_t unlisted[] = {0x2ff, 0x250, 0x258, 0x259, 0x268, 0x269,
	0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x200, 0x201, 0x202, 0x203,
	0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d,
	0x20e, 0x20f, 0x11, 0x12, 0x4b564d00, 0x4b564d01, 0x4b564d02,
	0x4b564d03, 0x4b564d04, 0x4b564d05, 0x4b564d06, 0x4b564d07, 0x4b564d08};

static int list_msrs(int kvm_fd, struct kvm_msr_list **ret)
{
	struct kvm_msr_list probe = {.nmsrs = 0}, *list;
	int code;

	/* The first call only tells the count, with E2BIG. */
	code = kvm_ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);
	if (code < 0 && code != -E2BIG)
		return code;
	if (probe.nmsrs == 0 || probe.nmsrs > LISTED_MAX)
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

static void choose(struct vcpu_scratch *s, const struct kvm_msr_list *list)
{
	uint32_t i, n = 0;

	if (in_list(list, VCPU_MSR_TSC))
		s->msr_index[n++] = VCPU_MSR_TSC;
	for (i = 0; i < COUNT(unlisted); i++)
		if (!in_list(list, unlisted[i]))
			s->msr_index[n++] = unlisted[i];
	for (i = 0; i < list->nmsrs; i++)
		if (list->indices[i] != VCPU_MSR_TSC &&
			list->indices[i] != MSR_TSC_DEADLINE &&
			list->indices[i] != MSR_HV_RUN_TIME &&
			list->indices[i] != MSR_HV_TIME)
			s->msr_index[n++] = list->indices[i];
	if (in_list(list, MSR_TSC_DEADLINE))
		s->msr_index[n++] = MSR_TSC_DEADLINE;
	s->msr_count = n;
}

int vcpu_msrs_choose(struct vcpu_scratch *s, int kvm_fd, struct error *err)
{
	struct kvm_msr_list *list = NULL;
	int code;

	code = list_msrs(kvm_fd, &list);
	if (code < 0)
		return error_errno(err, code, "KVM_GET_MSR_INDEX_LIST");
	if (list->nmsrs <= VCPU_STATE_MSRS_MAX - COUNT(unlisted))
		choose(s, list);
	else
		code = error_set(err, -ENOTSUP,
			"KVM lists %u MSRs, at most %zu can be saved",
			list->nmsrs, VCPU_STATE_MSRS_MAX - COUNT(unlisted));
	free(list);
	return code;
}

/* KVM_GET_MSRS stops at the first it cannot read: listed or guessed, but absent
 * for this KVM or this CPUID.  That one is dropped and the rest read again. */
int vcpu_msrs_get(int vcpu_fd, struct vcpu_scratch *s)
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

/* Position of @index in the host's list, looked for from @hint on: the same
 * KVM lists them in the same order.  msr_count: not there. */
static uint32_t find(
	const struct vcpu_scratch *s, uint32_t index, uint32_t hint)
{
	uint32_t i;

	if (hint < s->msr_count && s->msr_index[hint] == index)
		return hint;
	for (i = 0; i < s->msr_count; i++)
		if (s->msr_index[i] == index)
			return i;
	return s->msr_count;
}

int vcpu_msrs_read(
	struct state_reader *r, struct vcpu_scratch *s, struct error *err)
{
	bool seen[VCPU_STATE_MSRS_MAX] = {false};
	uint32_t count = state_get_u32(r), i, at, hint = 0;

	s->msrs->nmsrs = 0;
	if (r->error == 0 && count > VCPU_STATE_MSRS_MAX)
		return state_reject(r, err, "too many MSRs");
	for (i = 0; r->error == 0 && i < count; i++) {
		uint32_t index = state_get_u32(r);
		uint64_t value = state_get_u64(r);

		at = find(s, index, hint);
		hint = at + 1;
		if (at == s->msr_count && value != 0) {
			r->error = -EPROTO;
			return error_set(err, -EPROTO,
				"MSR 0x%x = 0x%" PRIx64 ": this host's KVM "
				"does not have it (another CPU or an older "
				"kernel?)",
				index, value);
		}
		if (at == s->msr_count)
			continue;
		if (seen[at])
			return state_reject(r, err, "an MSR comes twice");
		seen[at] = true;
		s->msrs->entries[s->msrs->nmsrs++] =
			(struct kvm_msr_entry){.index = index, .data = value};
	}
	return r->error;
}

/* KVM_SET_MSRS stops at the first it refuses.  Read-only ones that already
 * hold the wanted value are no error. */
int vcpu_msrs_set(int vcpu_fd, struct vcpu_scratch *s, struct error *err)
{
	struct kvm_msrs *msrs = s->msrs;
	struct kvm_msr_entry *refused;
	uint64_t now;
	int done;

	while (msrs->nmsrs > 0) {
		done = kvm_ioctl(vcpu_fd, KVM_SET_MSRS, msrs);
		if (done < 0)
			return error_errno(err, done, "KVM_SET_MSRS");
		if ((uint32_t)done >= msrs->nmsrs)
			break;
		refused = &msrs->entries[done];
		if (msr_get(vcpu_fd, refused->index, &now) < 0)
			now = 0; /* not there: reads as nothing */
		if (now != refused->data)
			return error_set(err, -EPROTO,
				"MSR 0x%x: this host refuses the value "
				"0x%" PRIx64 " (another CPU or KVM version?)",
				refused->index, (uint64_t)refused->data);
		msrs->nmsrs -= (uint32_t)done + 1;
		memmove(msrs->entries, refused + 1,
			msrs->nmsrs * sizeof(msrs->entries[0]));
	}
	return 0;
}
