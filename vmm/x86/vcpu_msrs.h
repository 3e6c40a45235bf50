/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vcpu_msrs.h - which MSRs are state, and the way in and out for all of
 * them at once, in the buffer of a struct vcpu_scratch.
 *
 * Saved is what KVM lists, every paravirtual MSR of KVM's (0x4b564d00 and up,
 * with the two old ones), and the MTRRs, which KVM keeps and does not list.
 *
 * Thread: the owner of the scratch.
 */
#ifndef GODWIT_VMM_X86_VCPU_MSRS_H
#define GODWIT_VMM_X86_VCPU_MSRS_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct state_reader;
struct vcpu_scratch;

#define VCPU_MSR_TSC 0x10u

/* Fill msr_index and msr_count, in the order of a load: the TSC first, its
 * deadline last.  0 or -errno with @err. */
int vcpu_msrs_choose(struct vcpu_scratch *s, int kvm_fd, struct error *err);

/* Read them all into s->msrs.  Those that this vCPU lacks leave the list for
 * good.  0 or -errno. */
int vcpu_msrs_get(int vcpu_fd, struct vcpu_scratch *s);

/**
 * vcpu_msrs_read - take count and list off @r into s->msrs.
 * An MSR that this host does not know passes if its value is 0, which is what
 * the guest will find; such are left out of s->msrs.
 * Return: 0, or -EPROTO or -EBADMSG with @err.
 */
int vcpu_msrs_read(
	struct state_reader *r, struct vcpu_scratch *s, struct error *err);

/* Write s->msrs.  Its entries are used up.
 * Return: 0, -EPROTO with @err naming an MSR that KVM refuses, or -errno. */
int vcpu_msrs_set(int vcpu_fd, struct vcpu_scratch *s, struct error *err);

#endif
