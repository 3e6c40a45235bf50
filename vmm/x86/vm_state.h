/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/vm_state.h - KVM state that belongs to the whole VM: both PICs, the
 * IOAPIC, the PIT if there is one, and kvmclock.
 *
 * Thread: the owner of struct vm, every vCPU at the gate.
 */
#ifndef GODWIT_VMM_X86_VM_STATE_H
#define GODWIT_VMM_X86_VM_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct state_reader;
struct state_writer;

#define IRQCHIP_STATE_VERSION 1u
#define CLOCK_STATE_VERSION   1u

/* Section "irqchip".  0 or -errno with @err; a bad section changes nothing. */
int irqchip_state_save(
	int vm_fd, bool pit, struct state_writer *w, struct error *err);
int irqchip_state_load(
	int vm_fd, bool pit, struct state_reader *r, struct error *err);

/*
 * kvmclock in ns.  It runs on while the vCPUs wait, so the owner reads it when
 * it pauses and writes the reading back when it resumes: a guest that was
 * paused or moved sees no jump, its monotonic time does not count the pause.
 * The TSC goes on from where it stood when it is moved (vcpu_state.h), and
 * counts a pause in place, as hardware does.
 *
 * Wall-clock time is not moved at all.  Guests ask for it (kvmclock's wall
 * clock, the RTC) when they boot or wake from sleep and get this host's; after
 * a pause or a move they lag by its length until then, or until NTP corrects
 * them, as under QEMU.  KVM_CLOCK_REALTIME, which would set kvmclock forward
 * by the time away, is not used: watchdogs and leases of a guest restored after
 * a week would all run out at once.
 *
 * 0 or -errno with @err.
 */
int clock_get(int vm_fd, uint64_t *ret_ns, struct error *err);
int clock_set(int vm_fd, uint64_t ns, struct error *err);

#endif
