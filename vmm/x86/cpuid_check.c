/* SPDX-License-Identifier: Apache-2.0 */
/* vmm/x86/cpuid_check.c - can this host run that CPUID?  See cpu_model.h. */
#include "vmm/x86/cpu_model.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/error.h"
#include "vmm/kvm.h"
#include "vmm/x86/cpu_features.h"
#include "vmm/x86/cpuid.h"

#define X2APIC	     (1u << 21)
#define TSC_DEADLINE (1u << 24)
#define HYPERVISOR   (1u << 31)

/* What is missing, as a list of words. */
struct list {
	char text[ERROR_TEXT_MAX * 3 / 4];
	size_t len;
	unsigned count, left_out;
};

static void __attribute__((format(printf, 2, 3)))
add(struct list *l, const char *fmt, ...)
{
	char word[96];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(word, sizeof(word), fmt, ap);
	va_end(ap);
	l->count++;
	if (l->len + strlen(word) + 32 > sizeof(l->text)) {
		l->left_out++;
		return;
	}
	l->len += (size_t)snprintf(l->text + l->len, sizeof(l->text) - l->len,
		"%s%s", l->len ? ", " : "", word);
}

static struct kvm_cpuid_entry2 leaf(
	const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 none = {.function = function, .index = index};
	uint32_t i;

	for (i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function &&
			cpuid->entries[i].index == index)
			return cpuid->entries[i];
	return none;
}

static void check_vendor(struct list *l, const struct kvm_cpuid2 *wanted,
	const struct kvm_cpuid2 *host)
{
	struct kvm_cpuid_entry2 w = leaf(wanted, 0, 0), h = leaf(host, 0, 0);

	/* System calls, MSRs and nested paging differ by more than bits. */
	if (w.ebx != h.ebx || w.ecx != h.ecx || w.edx != h.edx)
		add(l, "its vendor (%.4s..., here %.4s...)",
			(const char *)&w.ebx, (const char *)&h.ebx);
}

static void check_features(struct list *l, const struct kvm_cpuid2 *wanted,
	const struct kvm_cpuid2 *host)
{
	char name[CPU_FEATURE_NAME_MAX + 1];
	uint32_t missing;
	unsigned i, bit;

	for (i = 0; i < CPU_WORDS_MAX; i++) {
		missing = cpu_word_get(wanted, i) & ~cpu_word_get(host, i) &
			  ~cpu_words[i].ours;
		/* The in-kernel LAPIC has it everywhere; so is KVM. */
		if (cpu_words[i].function == 1 && cpu_words[i].reg == CPU_ECX)
			missing &= ~(X2APIC | HYPERVISOR);
		for (bit = 0; bit < 32; bit++)
			if (missing >> bit & 1)
				add(l, "%s",
					cpu_feature_name(
						(struct cpu_bit){i, bit},
						name));
	}
}

/* The guest keeps its vector state where its own CPUID said. */
static void check_xsave(struct list *l, const struct kvm_cpuid2 *wanted,
	const struct kvm_cpuid2 *host)
{
	struct kvm_cpuid_entry2 w = leaf(wanted, 0xd, 0),
				h = leaf(host, 0xd, 0);
	uint64_t xcr0 = w.eax | (uint64_t)w.edx << 32;
	uint64_t here = h.eax | (uint64_t)h.edx << 32;
	unsigned n;

	for (n = 0; n < 63; n++) {
		if (!(xcr0 >> n & 1))
			continue;
		w = leaf(wanted, 0xd, n);
		h = leaf(host, 0xd, n);
		if (!(here >> n & 1))
			add(l, "xsave component %u", n);
		else if (n >= 2 && (w.eax != h.eax || w.ebx != h.ebx))
			add(l, "xsave component %u in that place", n);
	}
}

static void check_number(struct list *l, const char *what, uint32_t wanted,
	uint32_t host, unsigned shift)
{
	wanted = wanted >> shift & 0xff;
	host = host >> shift & 0xff;
	if (wanted > host)
		add(l, "%s %u (here %u)", what, wanted, host);
}

static void check_numbers(struct list *l, const struct kvm_cpuid2 *wanted,
	const struct kvm_cpuid2 *host)
{
	struct kvm_cpuid_entry2 w = leaf(wanted, 0x80000008, 0);
	struct kvm_cpuid_entry2 h = leaf(host, 0x80000008, 0);

	check_number(l, "physical address bits", w.eax, h.eax, 0);
	check_number(l, "linear address bits", w.eax, h.eax, 8);
	w = leaf(wanted, 0xa, 0);
	h = leaf(host, 0xa, 0);
	check_number(l, "performance monitoring version", w.eax, h.eax, 0);
	check_number(l, "performance counters", w.eax, h.eax, 8);
	check_number(l, "performance counter bits", w.eax, h.eax, 16);
}

int cpuid_check(const struct kvm_cpuid2 *wanted, const struct kvm_cpuid2 *host,
	struct error *err)
{
	struct list l = {.len = 0};
	char more[32] = "";

	check_vendor(&l, wanted, host);
	check_features(&l, wanted, host);
	check_xsave(&l, wanted, host);
	check_numbers(&l, wanted, host);
	if (l.count == 0)
		return 0;
	if (l.left_out > 0)
		snprintf(more, sizeof(more), " and %u more", l.left_out);
	return error_set(err, -ENOTSUP,
		"this host lacks what the guest's CPU has: %s%s (start the "
		"guest with --cpu baseline or without these)",
		l.text, more);
}

int cpuid_check_host(
	const struct kvm_cpuid2 *wanted, int kvm_fd, struct error *err)
{
	struct kvm_cpuid_entry2 *one;
	struct kvm_cpuid2 *host;
	int code;

	code = cpuid_supported(kvm_fd, &host, err);
	if (code < 0)
		return code;
	/* Not all KVMs list it among what they support. */
	one = cpu_leaf(host, 1, 0);
	if (one && kvm_ioctl_num(kvm_fd, KVM_CHECK_EXTENSION,
			   KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		one->ecx |= TSC_DEADLINE;
	code = cpuid_check(wanted, host, err);
	free(host);
	return code;
}
