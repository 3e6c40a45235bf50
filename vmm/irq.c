/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/irq.c - see irq.h. */
#include "vmm/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/kvm.h"

int irq_line_open(int vm_fd, uint32_t gsi, int *ret_fd, struct error *err)
{
	struct kvm_irqfd irqfd = {.gsi = gsi};
	int fd, code;

	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0)
		return error_errno(err, -errno, "interrupt %u: eventfd", gsi);
	irqfd.fd = (uint32_t)fd;
	code = kvm_ioctl(vm_fd, KVM_IRQFD, &irqfd);
	if (code < 0) {
		close(fd);
		return error_errno(err, code, "interrupt %u: KVM_IRQFD", gsi);
	}
	*ret_fd = fd;
	return 0;
}

void irq_line_close(int vm_fd, uint32_t gsi, int fd)
{
	struct kvm_irqfd irqfd = {
		.gsi = gsi,
		.fd = (uint32_t)fd,
		.flags = KVM_IRQFD_FLAG_DEASSIGN,
	};

	/* Closing the eventfd would do; this way it happens before we go on. */
	kvm_ioctl(vm_fd, KVM_IRQFD, &irqfd);
	close(fd);
}

int irq_line_edge(int vm_fd, uint32_t gsi)
{
	struct kvm_irq_level line = {.irq = gsi, .level = 1};
	int code = kvm_ioctl(vm_fd, KVM_IRQ_LINE, &line);

	line.level = 0;
	if (code >= 0)
		code = kvm_ioctl(vm_fd, KVM_IRQ_LINE, &line);
	return code < 0 ? code : 0;
}

int irq_bind_kick(int vm_fd, uint64_t gpa, unsigned len, uint64_t datamatch,
	int fd, bool on)
{
	struct kvm_ioeventfd io = {
		.datamatch = datamatch,
		.addr = gpa,
		.len = len,
		.fd = fd,
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH |
			 (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};
	int code = kvm_ioctl(vm_fd, KVM_IOEVENTFD, &io);

	return code < 0 ? code : 0;
}
