/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/vcpu_park.h - vCPU fds that no vCPU uses (V1).
 *
 * KVM cannot destroy one vCPU of a live VM: its fd and kvm_run mapping are kept
 * here, keyed by id, until a vCPU of that id comes again.
 *
 * Thread: the owner of struct vm.
 */
#ifndef GODWIT_VMM_VCPU_PARK_H
#define GODWIT_VMM_VCPU_PARK_H

#include <stdbool.h>
#include <stddef.h>

struct error;
struct kvm_run;

/* What KVM_CREATE_VCPU gave.  Copied freely, owned by one. */
struct vcpu_handle {
	int fd;		     /* -1: none */
	struct kvm_run *run; /* mapping of KVM_GET_VCPU_MMAP_SIZE bytes */
};

struct vcpu_park {
	int vm_fd; /* borrowed */
	size_t run_bytes;
	unsigned max;		  /* ids are below it */
	unsigned count;		  /* of handles here */
	struct vcpu_handle *slot; /* owned; max of them, by id; fd -1: none */
};

/**
 * vcpu_park_init - an empty park.
 * @vm_fd: borrowed.  @max: ids are below it; checked against KVM's limits.
 * Return: 0 or -ENOMEM with @err; _fini() is due after either.
 */
int vcpu_park_init(struct vcpu_park *park, int vm_fd, size_t run_bytes,
	unsigned max, struct error *err);

/* Close all that is parked.  A zeroed park is allowed. */
void vcpu_park_fini(struct vcpu_park *park);

/**
 * vcpu_park_take - the parked handle of @id, or a new one.
 * @ret_handle: the caller's: vcpu_park_put() or vcpu_handle_close().
 * Return: 1 (it was parked), 0 (KVM_CREATE_VCPU), -EINVAL (id at or above the
 *         maximum; no ioctl was made), -errno of KVM, with @err.
 */
int vcpu_park_take(struct vcpu_park *park, unsigned id,
	struct vcpu_handle *ret_handle, struct error *err);

/* Keep @handle, taken, of vCPU @id; none of that id is here. */
void vcpu_park_put(
	struct vcpu_park *park, unsigned id, struct vcpu_handle handle);

/* The fd parked for @id, borrowed; -1: none. */
int vcpu_park_fd(const struct vcpu_park *park, unsigned id);

void vcpu_handle_close(struct vcpu_handle handle, size_t run_bytes);

#endif
