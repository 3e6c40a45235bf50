/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/msr.h - one model specific register of a vCPU outside KVM_RUN. */
#ifndef GODWIT_VMM_X86_MSR_H
#define GODWIT_VMM_X86_MSR_H

#include <stdint.h>

/* Return: 0, -EINVAL if KVM does not know or refuses it, or another -errno. */
int msr_get(int vcpu_fd, uint32_t index, uint64_t *ret_value);
int msr_set(int vcpu_fd, uint32_t index, uint64_t value);

#endif
