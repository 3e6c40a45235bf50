/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/regs.h - the first values of a vCPU: registers for the entry point
 * that boot_load() chose, and the MSRs and LAPIC pins firmware would have set.
 */
#ifndef GODWIT_VMM_X86_REGS_H
#define GODWIT_VMM_X86_REGS_H

struct boot_entry;
struct error;

/**
 * regs_set_platform - MSRs and LAPIC as firmware leaves them: write-back memory
 * type, fast strings, LINT0 = ExtINT, LINT1 = NMI.  Every vCPU, after CPUID.
 * Return: 0 or -errno with @err.
 * Source: Intel SDM vol. 3 chapters 11 (APIC), 12 (MTRR); MP spec 1.4, 3.8.
 */
int regs_set_platform(int vcpu_fd, unsigned id, struct error *err);

/* Segment, control and general registers for @entry.  The boot CPU only. */
int regs_set_entry(
	int vcpu_fd, const struct boot_entry *entry, struct error *err);

#endif
