/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/irq.h - interrupts into the guest and kicks out of it, as eventfds.
 *
 * An interrupt line is an eventfd that KVM watches (irqfd): writing 1 to it is
 * an edge on that GSI, from any thread, with no further call.  A kick is the
 * other way round (ioeventfd): a guest write that KVM turns into an eventfd
 * write, with no exit to us.
 */
#ifndef GODWIT_VMM_IRQ_H
#define GODWIT_VMM_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct error;

/**
 * irq_line_open - an eventfd wired to @gsi; needs the in-kernel irqchip.
 * Return: 0 and an owned, non-blocking fd, or -errno with @err.
 * Source: Linux Documentation/virt/kvm/api.rst, KVM_IRQFD.
 */
int irq_line_open(int vm_fd, uint32_t gsi, int *ret_fd, struct error *err);
void irq_line_close(int vm_fd, uint32_t gsi, int fd);

/**
 * irq_line_edge - raise one edge of @gsi now.
 * What an eventfd of irq_line_open() does, but without the kernel's worker that
 * KVM needs for lines of an IOAPIC: where all CPUs are busy, it comes late.
 * Thread: any.
 * Return: 0 or -errno of KVM_IRQ_LINE.
 */
int irq_line_edge(int vm_fd, uint32_t gsi);

/**
 * irq_bind_kick - let KVM write @fd when the guest writes @datamatch, @len
 * bytes wide, to MMIO address @gpa; @on false takes it back.
 * Return: 0 or -errno.  Thread: any.
 */
int irq_bind_kick(int vm_fd, uint64_t gpa, unsigned len, uint64_t datamatch,
	int fd, bool on);

#endif
