/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/kvm.h - the way into KVM: /dev/kvm, checked ioctls, what this KVM can do.
 *
 * Knows nothing of machines.  `struct vm` opens it, `godwit check` prints it.
 * Everything here is stateless but struct kvm itself: any thread may call.
 */
#ifndef GODWIT_VMM_KVM_H
#define GODWIT_VMM_KVM_H

#include <stdbool.h>
#include <stdint.h>

struct error;

struct kvm {
	int fd;		     /* owned: /dev/kvm */
	uint32_t vcpu_bytes; /* to mmap per vCPU fd: KVM_GET_VCPU_MMAP_SIZE */
};

/**
 * kvm_open - open /dev/kvm and check its API version.
 * @ret_kvm: the caller ends it with kvm_close().
 * Return: 0, or -errno with @err: -ENOENT or -ENODEV (no KVM), -EACCES or
 *         -EPERM (not permitted), -EMFILE, -ENOTTY (not KVM), -ENOTSUP (API
 *         version other than 12), -EPROTO (absurd vCPU map size).
 * Source: Linux Documentation/virt/kvm/api.rst, 4.1 and 4.5.
 */
int kvm_open(struct kvm *ret_kvm, struct error *err);

/* Same, from another device node; unit tests only. */
int kvm_open_path(const char *path, struct kvm *ret_kvm, struct error *err);

/* Close what kvm_open() opened; again, or with fd -1, it does nothing. */
void kvm_close(struct kvm *kvm);

/**
 * kvm_close_vm - close a VM fd without waiting for what KVM does then.
 * The last close of a young VM with an irqchip waits 10 to 15 ms for grace
 * periods of KVM's own.  Nobody needs to: the fd's last reference is given to
 * an io_uring, whose end a worker of the kernel's attends to.  Where io_uring
 * is forbidden this is a plain close().
 * @fd:    taken; any fd.  Errors of a close are of no use to anybody here.
 * Thread: any, once every vCPU fd of the VM is closed and unmapped.
 * Source: io_uring_register(2), IORING_REGISTER_FILES.
 */
void kvm_close_vm(int fd);

/**
 * kvm_ioctl, kvm_ioctl_num - one ioctl with a pointer, or with a number.
 * EINTR is retried: every KVM ioctl but KVM_RUN either did nothing or may be
 * repeated.  Never use it for KVM_RUN, where EINTR is an answer.
 * Thread: any; may block.
 * Return: the ioctl's value (>= 0), or -errno.
 */
int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_ioctl_num(int fd, unsigned long request, unsigned long arg);

/* Index into the capability table and into kvm_caps.value. */
enum kvm_cap_index {
	/* no guest runs without these */
	KVM_HAS_USER_MEMORY,
	KVM_HAS_IRQCHIP,
	KVM_HAS_IRQFD,
	KVM_HAS_IOEVENTFD,
	KVM_HAS_IMMEDIATE_EXIT,
	KVM_HAS_EXT_CPUID,
	KVM_HAS_MP_STATE,
	KVM_HAS_VCPU_EVENTS,
	KVM_HAS_DEBUGREGS,
	KVM_HAS_XSAVE,
	KVM_HAS_XCRS,
	KVM_HAS_ADJUST_CLOCK,
	KVM_HAS_SET_TSS_ADDR,
	KVM_HAS_SET_IDENTITY_MAP_ADDR,
	KVM_HAS_NR_MEMSLOTS,
	/* something is lost without these */
	KVM_HAS_NR_VCPUS,
	KVM_HAS_MAX_VCPUS,
	KVM_HAS_MAX_VCPU_ID,
	KVM_HAS_XSAVE2,
	KVM_HAS_GET_TSC_KHZ,
	KVM_HAS_TSC_CONTROL,
	KVM_HAS_VCPU_ATTRIBUTES,
	KVM_HAS_TSC_DEADLINE_TIMER,
	KVM_HAS_KVMCLOCK_CTRL,
	KVM_HAS_X2APIC_API,
	KVM_HAS_SYNC_REGS,
	KVM_HAS_SREGS2,
	KVM_HAS_NESTED_STATE,
	KVM_HAS_SYNC_MMU,
	KVM_HAS_DIRTY_LOG_PROTECT2,
	KVM_HAS_DIRTY_RING,
	KVM_HAS_GET_MSR_FEATURES,
	KVM_HAS_EXCEPTION_PAYLOAD,
	KVM_HAS_TRIPLE_FAULT_EVENT,
	KVM_HAS_EMULATION_FAILURE_EXIT,
	KVM_HAS_INTERNAL_ERROR_DATA,
	KVM_CAPS_COUNT
};

struct kvm_cap {
	uint32_t number;  /* KVM_CAP_* of <linux/kvm.h> */
	const char *name; /* without the KVM_CAP_ prefix */
	int32_t minimum;  /* smallest value that will do, >= 1 */
	bool required;
	const char *why;  /* what godwit does with it */
	const char *lost; /* what is lost without it */
};

/* The table, KVM_CAPS_COUNT entries in the order of enum kvm_cap_index. */
const struct kvm_cap *kvm_cap_table(void);

struct kvm_caps {
	int32_t value[KVM_CAPS_COUNT]; /* as KVM answered; 0: absent */
	uint32_t vcpus_advised; /* more than this many compete for CPUs */
	uint32_t vcpus_max;	/* vCPUs a VM may have, >= 1 */
	uint32_t vcpu_id_max;	/* vCPU ids are below this, >= vcpus_max */
	uint32_t memslots_max;
};

/* True iff capability @index is at or above its minimum. */
bool kvm_caps_has(const struct kvm_caps *caps, enum kvm_cap_index index);

/**
 * kvm_caps_check - ask for every capability of the table.
 * @fd:       a VM (its answers are the exact ones) or /dev/kvm; borrowed.
 * @ret_caps: written even if something required is missing, so that `godwit
 *            check` can print it; untouched when the ioctl itself fails.
 * Thread: any; about 10 us.
 * Return: 0, -ENOTSUP with @err naming the first missing capability and what
 *         it is for, or the -errno of KVM_CHECK_EXTENSION.
 * Source: api.rst 4.4 and chapters 6 to 8.
 */
int kvm_caps_check(int fd, struct kvm_caps *ret_caps, struct error *err);

/* 0, or -ENOTSUP with @err naming the first required capability that @caps
 * lacks. */
int kvm_caps_missing(const struct kvm_caps *caps, struct error *err);

/**
 * kvm_caps_check_vcpus - refuse more vCPUs than this KVM takes, by name.
 * KVM answers a bare EINVAL; call this before KVM_CREATE_VCPU.
 * @count: vCPUs wanted, ids 0 .. count - 1.
 * Return: 0, or -EINVAL with @err naming count, id and limit.
 */
int kvm_caps_check_vcpus(
	const struct kvm_caps *caps, unsigned count, struct error *err);

#endif
