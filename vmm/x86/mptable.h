/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/mptable.h - the Intel MP table of --machine cmdline.  Private to
 * vmm/x86. */
#ifndef GODWIT_VMM_X86_MPTABLE_H
#define GODWIT_VMM_X86_MPTABLE_H

struct error;
struct guestmem;

/* The most CPUs: APIC ids have 8 bits, the IOAPIC takes one, 255 is all. */
#define MPTABLE_CPUS_MAX 254u

/**
 * mptable_write - floating pointer at LAYOUT_EBDA, table at LAYOUT_ACPI (whose
 * tables this machine has not, and where any number of CPUs fits).
 * @cpus: >= 1, APIC ids 0 .. cpus - 1.
 * Return: 0, or -EINVAL with @err for more than MPTABLE_CPUS_MAX.
 * Source: Intel MultiProcessor Specification 1.4, chapter 4.
 */
int mptable_write(const struct guestmem *gm, unsigned cpus, struct error *err);

#endif
