/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/throttle.h - let vCPUs run a part of the time only (for precopy that does
 * not converge).
 *
 * Thread: the owner of the VM.
 */
#ifndef GODWIT_VMM_THROTTLE_H
#define GODWIT_VMM_THROTTLE_H

struct vm;

/* @percent: of each 10 ms taken from every vCPU, 0 (off, the default) to 99.
 * Holds for vCPUs plugged later, too.  Return: 0 or -EINVAL. */
int vm_throttle(struct vm *vm, unsigned percent);
unsigned vm_throttle_percent(const struct vm *vm);

#endif
