/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_tsc.h - the TSC's part of a vCPU's state: all vCPUs of a round
 * as of one instant, by their offsets, so that they keep their distances.
 *
 * Thread: the owner of the scratch.  Return: 0 or -errno, with @err where there
 * is one.
 */
#ifndef GODWIT_VMM_X86_VCPU_TSC_H
#define GODWIT_VMM_X86_VCPU_TSC_H

#include <stdint.h>

struct error;
struct vcpu_scratch;

/* Restate the TSC that was read with the MSRs as of the round's instant, which
 * is when the first vCPU's was read. */
int vcpu_tsc_save(int vcpu_fd, struct vcpu_scratch *s);

/* Before anything is set: can the guest's TSC tick here as it did there?
 * @khz: its rate there; 0: not known.  -ENOTSUP: it cannot. */
int vcpu_tsc_check_rate(
	int vcpu_fd, struct vcpu_scratch *s, uint32_t khz, struct error *err);

/* Set that rate.  A vCPU that was scaled once is told again, even to go back.
 */
int vcpu_tsc_load_rate(
	int vcpu_fd, struct vcpu_scratch *s, uint32_t khz, struct error *err);

/* Set an offset that makes the TSC go on from @tsc as of the round's instant.
 */
int vcpu_tsc_load(
	int vcpu_fd, struct vcpu_scratch *s, uint64_t tsc, struct error *err);

#endif
