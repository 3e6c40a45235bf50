/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/msr.c - see msr.h. */
#include "vmm/x86/msr.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "vmm/kvm.h"

/* struct kvm_msrs ends in a flexible array: room for one entry after it. */
#define ONE_MSR_BYTES (sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry))

static int one_msr(int fd, unsigned long request, uint32_t index, uint64_t *v)
{
	_Alignas(struct kvm_msr_entry) uint8_t raw[ONE_MSR_BYTES];
	struct kvm_msrs *msrs = (struct kvm_msrs *)(void *)raw;
	int done;

	memset(raw, 0, sizeof(raw));
	msrs->nmsrs = 1;
	msrs->entries[0].index = index;
	msrs->entries[0].data = *v;
	done = kvm_ioctl(fd, request, msrs);
	if (done != 1)
		return done < 0 ? done : -EINVAL;
	*v = msrs->entries[0].data;
	return 0;
}

int msr_get(int vcpu_fd, uint32_t index, uint64_t *ret_value)
{
	uint64_t value = 0;
	int code = one_msr(vcpu_fd, KVM_GET_MSRS, index, &value);

	if (code == 0)
		*ret_value = value;
	return code;
}

int msr_set(int vcpu_fd, uint32_t index, uint64_t value)
{
	return one_msr(vcpu_fd, KVM_SET_MSRS, index, &value);
}
