/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/x86/cpu_model.h - which features the guest's CPU has, and whether another
 * host can run it.
 *
 * --cpu MODEL[,+FEATURE][,-FEATURE]...  MODEL is
 *   host      what KVM supports here (the default)
 *   baseline  x86-64-v2 and what guests need for timers and paravirtualisation,
 *             and nothing else: every VT-x or SVM host of the last twelve years
 *             has it.  One that lacks a part of it is refused, unless that part
 *             is taken away by name.  Mitigations that need microcode are not
 *             in it; add them by name where all hosts have them.
 *   FILE      a JSON template, at most CPU_MODEL_FILE_MAX bytes:
 *             {"base": "host" | "baseline", "features": ["-avx2", "+aes", ..],
 *              "masks": [{"leaf": 7, "index": 0, "register": "ebx",
 *                         "keep": 4294967295}, ..]}
 *             All are optional.  Masks can only take bits away.  A name with a
 *             slash or a dot is always a file.
 * A feature can be added only if KVM supports it.  One whose base is taken
 * away (AVX without XSAVE) goes with it; asking for both is refused.
 *
 * Stateless: any thread; a FILE is read when the VM is built.
 */
#ifndef GODWIT_VMM_X86_CPU_MODEL_H
#define GODWIT_VMM_X86_CPU_MODEL_H

#include <stdbool.h>

struct error;
struct kvm_cpuid2;

#define CPU_MODEL_FILE_MAX    65536u
#define CPU_MODEL_CHANGES_MAX 512u

/* Is @text well formed, its features known?  Opens nothing.
 * Return: 0, or -EINVAL with @err (without the option's name). */
int cpu_model_check_form(const char *text, struct error *err);

/**
 * cpu_model_apply - take away from @cpuid what the model does not have.
 * @text:  as after --cpu; NULL: host.
 * @cpuid: what KVM supports, the machine's leaves set.
 * Return: 0; -EINVAL (form, template), -ENOTSUP (this host lacks a feature that
 *         was asked for; @err names it), -errno of the file.
 */
int cpu_model_apply(
	const char *text, struct kvm_cpuid2 *cpuid, struct error *err);

/**
 * cpuid_check - can a host that supports @host run @wanted?
 * Compared: vendor, every feature bit, XSAVE components with their places,
 * width of addresses, performance counters.  Not compared, because KVM shows
 * what it is told and no instruction fails by it: topology and ids, caches and
 * TLBs, family, model and brand, frequencies, highest leaf.
 * Return: 0, or -ENOTSUP with @err naming what is missing.
 */
int cpuid_check(const struct kvm_cpuid2 *wanted, const struct kvm_cpuid2 *host,
	struct error *err);

/* The same, of this host.
 * @kvm_fd: /dev/kvm.  Return: that of cpuid_check(), or -errno of KVM. */
int cpuid_check_host(
	const struct kvm_cpuid2 *wanted, int kvm_fd, struct error *err);

#endif
