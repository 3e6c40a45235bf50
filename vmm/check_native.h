/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/check_native.h - does this KVM run guest kernel code on the CPU itself?
 *
 * Some KVMs run guest user code natively and interpret guest kernel code, at
 * some 3 instructions a microsecond and with gaps; stock kernels do not boot
 * there.  Nothing announces it, so it is measured.
 */
#ifndef GODWIT_VMM_CHECK_NATIVE_H
#define GODWIT_VMM_CHECK_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct kvm;

/* Interpreters reach about 3, a CPU emulated by QEMU more than 100, hardware
 * more than 1000. */
#define CHECK_NATIVE_MIN 30u

struct check_native {
	double instructions_per_us;
	bool native;		   /* at or above CHECK_NATIVE_MIN */
	uint32_t tsc_khz;	   /* of the scratch vCPU; 0: not told */
	bool clock_stable;	   /* kvmclock follows one stable TSC */
	int32_t userspace_exit_ns; /* one KVM_RUN that leaves at once */
};

/**
 * check_native_measure - run a counting loop at CPL0, in long mode, in a
 * scratch VM.
 * @kvm: open; borrowed.
 * Thread: any; blocks for about 2 ms, and 10-15 ms more to close the VM.
 * Return: 0, or -errno with @err naming the step; -EIO when the loop did not
 *         end as it must (KVM cannot run a guest).
 */
int check_native_measure(const struct kvm *kvm, struct check_native *ret_native,
	struct error *err);

#endif
