/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/vcpu_tsc.c - see vcpu_tsc.h. */
#include "vmm/x86/vcpu_tsc.h"

#include <errno.h>
#include <inttypes.h>

#include <linux/kvm.h>

#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/log.h"
#include "vmm/x86/msr.h"
#include "vmm/x86/vcpu_msrs.h"
#include "vmm/x86/vcpu_state.h"

static int tsc_attr(int vcpu_fd, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)offset,
	};

	return kvm_ioctl(vcpu_fd, request, &attr);
}

static void learn_rate(int vcpu_fd, struct vcpu_scratch *s)
{
	int khz;

	if (s->rate_known)
		return;
	khz = kvm_ioctl_num(vcpu_fd, KVM_GET_TSC_KHZ, 0);
	s->host_khz = s->guest_khz = khz > 0 ? (uint32_t)khz : 0;
	s->rate_known = true;
}

int vcpu_tsc_save(int vcpu_fd, struct vcpu_scratch *s)
{
	struct kvm_msr_entry *tsc = &s->msrs->entries[0];
	uint64_t offset;
	int code;

	learn_rate(vcpu_fd, s);
	if (!s->tsc_offset || s->msrs->nmsrs == 0 ||
		tsc->index != VCPU_MSR_TSC) {
		s->instant = true;
		return 0;
	}
	code = tsc_attr(vcpu_fd, KVM_GET_DEVICE_ATTR, &offset);
	if (code < 0)
		return code;
	if (!s->instant) {
		s->instant = true;
		s->instant_tsc = tsc->data;
		s->instant_offset = offset;
	}
	tsc->data = s->instant_tsc + (offset - s->instant_offset);
	return 0;
}

static bool same_rate(uint32_t a, uint32_t b)
{
	uint64_t apart = a > b ? a - b : b - a;

	return apart * 1000000 <= (uint64_t)b * VCPU_STATE_TSC_PPM;
}

int vcpu_tsc_check_rate(
	int vcpu_fd, struct vcpu_scratch *s, uint32_t khz, struct error *err)
{
	learn_rate(vcpu_fd, s);
	if (khz == 0 || s->host_khz == 0 || same_rate(khz, s->host_khz) ||
		s->tsc_scaling)
		return 0;
	return error_set(err, -ENOTSUP,
		"the guest's TSC ticks at %u kHz, this host's at %u kHz, and "
		"its KVM cannot scale (move to a host of that rate, or one "
		"with KVM_CAP_TSC_CONTROL)",
		khz, s->host_khz);
}

/* A KVM may take offsets and not keep them: its guests see the host's TSC.
 * Then nothing can be done but to say so, if the guest can tell. */
static int check_kept(int vcpu_fd, struct vcpu_scratch *s, uint64_t offset,
	uint64_t tsc, struct error *err)
{
	uint64_t kept, now;
	int code;

	code = tsc_attr(vcpu_fd, KVM_GET_DEVICE_ATTR, &kept);
	if (code == 0 && kept == offset)
		return 0;
	s->tsc_offset = false;
	if (code == 0)
		code = msr_get(vcpu_fd, VCPU_MSR_TSC, &now);
	if (code < 0)
		return error_errno(err, code, "read the TSC");
	if (now < tsc)
		log_warn("load: this KVM cannot move the TSC: the guest sees "
			 "it step back by %" PRIu64 " ticks",
			tsc - now);
	return 0;
}

int vcpu_tsc_load_rate(
	int vcpu_fd, struct vcpu_scratch *s, uint32_t khz, struct error *err)
{
	int code;

	if (khz == 0 || s->host_khz == 0)
		return 0;
	if (same_rate(khz, s->host_khz))
		khz = s->host_khz;
	if (khz == s->host_khz && !s->scaled)
		return 0;
	code = kvm_ioctl_num(vcpu_fd, KVM_SET_TSC_KHZ, khz);
	if (code < 0)
		return error_errno(err, code, "KVM_SET_TSC_KHZ %u", khz);
	s->scaled = true;
	s->guest_khz = khz;
	return 0;
}

/* The TSC is the host's, scaled, plus the offset. */
int vcpu_tsc_load(
	int vcpu_fd, struct vcpu_scratch *s, uint64_t tsc, struct error *err)
{
	bool first = !s->instant;
	uint64_t offset, now;
	int code = 0;

	if (first) {
		code = tsc_attr(vcpu_fd, KVM_GET_DEVICE_ATTR, &offset);
		if (code == 0)
			code = msr_get(vcpu_fd, VCPU_MSR_TSC, &now);
		if (code < 0)
			return error_errno(err, code, "read the TSC");
		s->instant = true;
		s->instant_tsc = now - offset;
	}
	offset = tsc - s->instant_tsc;
	code = tsc_attr(vcpu_fd, KVM_SET_DEVICE_ATTR, &offset);
	if (code < 0)
		return error_errno(err, code, "set the TSC offset");
	return first ? check_kept(vcpu_fd, s, offset, tsc, err) : 0;
}
