/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/crash.h - the report on a vCPU that cannot go on. */
#ifndef GODWIT_VMM_X86_CRASH_H
#define GODWIT_VMM_X86_CRASH_H

struct guestmem;
struct kvm_run;

/**
 * crash_report - say to the log why, where, on which instruction, and the
 * likely cause: exit reason, registers, code bytes.
 * @run_errno: errno of a failed KVM_RUN, 0 to read the reason from @run.
 * Thread: the vCPU's own, outside KVM_RUN.
 */
void crash_report(int vcpu_fd, unsigned id, const struct kvm_run *run,
	int run_errno, const struct guestmem *gm);

#endif
