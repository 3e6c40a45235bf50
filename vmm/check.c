/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmm/check.c - see check.h.  The report, its KVM part and its two forms.
 */
#include "vmm/check.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>

#include <jansson.h>

#include "vmm/check_native.h"
#include "vmm/error.h"
#include "vmm/kvm.h"

#define GROUP_KVM  "KVM"
#define GROUP_NEED "KVM capabilities, required: without one no guest can run"
#define GROUP_WANT "KVM capabilities, optional"
#define GROUP_TIME "Time"

static const char *const grade_words[] = {
	[CHECK_OK] = "ok",
	[CHECK_LOST] = "lacking",
	[CHECK_FATAL] = "FATAL",
};

struct check_item *check_add(struct check_report *report, const char *group,
	const char *name, enum check_grade grade, const char *fmt, ...)
{
	/* A full report keeps its last item for whatever does not fit. */
	unsigned index = report->items < CHECK_ITEMS_MAX ? report->items++
							 : CHECK_ITEMS_MAX - 1;
	struct check_item *item = &report->item[index];
	va_list ap;

	memset(item, 0, sizeof(*item));
	item->group = group;
	item->grade = grade;
	snprintf(item->name, sizeof(item->name), "%s", name);
	va_start(ap, fmt);
	vsnprintf(item->value, sizeof(item->value), fmt, ap);
	va_end(ap);
	if (grade == CHECK_FATAL)
		report->can_run = false;
	return item;
}

void check_explain(struct check_item *item, const char *why, const char *lost)
{
	snprintf(item->why, sizeof(item->why), "%s", why);
	snprintf(item->lost, sizeof(item->lost), "%s", lost);
}

static void add_caps(struct check_report *report, const struct kvm_caps *caps)
{
	const struct kvm_cap *cap = kvm_cap_table();
	enum check_grade grade;
	unsigned i;

	for (i = 0; i < KVM_CAPS_COUNT; i++, cap++) {
		grade = CHECK_OK;
		if (!kvm_caps_has(caps, i))
			grade = cap->required ? CHECK_FATAL : CHECK_LOST;
		check_explain(check_add(report,
				      cap->required ? GROUP_NEED : GROUP_WANT,
				      cap->name, grade, "%d", caps->value[i]),
			cap->why, cap->lost);
	}
}

static void add_native(
	struct check_report *report, const struct check_native *native)
{
	double mips = native->instructions_per_us;

	report->native_known = true;
	report->native = native->native;
	report->guest_mips = mips;
	check_explain(check_add(report, GROUP_KVM, "guest kernel code",
			      native->native ? CHECK_OK : CHECK_LOST,
			      native->native ? "native, about %.0f MIPS"
					     : "emulated, about %.0f MIPS",
			      mips),
		"kernels run on the CPU itself",
		"stock kernels will not boot here; tiny guests do (use a host "
		"with kvm_intel or kvm_amd)");
	check_explain(
		check_add(report, GROUP_KVM, "exit to user space", CHECK_OK,
			"%.1f us", native->userspace_exit_ns / 1000.0),
		"what a register access of a device costs at least", "");
}

static void add_clock(
	struct check_report *report, const struct check_native *native)
{
	check_explain(check_add(report, GROUP_TIME, "TSC frequency",
			      native->tsc_khz ? CHECK_OK : CHECK_LOST, "%u kHz",
			      native->tsc_khz),
		"told to the guest, so that it need not calibrate",
		"the guest calibrates its TSC by itself at boot");
	check_explain(
		check_add(report, GROUP_TIME, "kvmclock",
			native->clock_stable ? CHECK_OK : CHECK_LOST, "%s",
			native->clock_stable ? "one stable TSC" : "not stable"),
		"guests read the time without leaving user space",
		"guests pay a system call to read the time (set the host's "
		"clocksource to tsc)");
}

/* A missing capability is an item of its own; a failing ioctl too. */
static void gather_caps(struct check_report *report, const struct kvm *kvm)
{
	struct kvm_caps caps = {.vcpus_max = 0};
	struct error err;

	if (kvm_caps_check(kvm->fd, &caps, &err) < 0 && caps.vcpus_max == 0) {
		check_explain(check_add(report, GROUP_KVM, "capabilities",
				      CHECK_FATAL, "%s", err.text),
			"what this KVM can do", "no guest can run");
		return;
	}
	check_explain(
		check_add(report, GROUP_KVM, "vCPUs", CHECK_OK,
			"at most %u a VM, %u advised, ids below %u",
			caps.vcpus_max, caps.vcpus_advised, caps.vcpu_id_max),
		"the limits of --cpus", "");
	check_explain(check_add(report, GROUP_KVM, "memory slots", CHECK_OK,
			      "%u a VM, %u bytes of shared page a vCPU",
			      caps.memslots_max, kvm->vcpu_bytes),
		"pieces that guest RAM can have", "");
	add_caps(report, &caps);
}

static void gather_kvm(
	const struct check_paths *paths, struct check_report *report)
{
	struct check_native native;
	struct error err;
	struct kvm kvm;
	bool ran;

	if (kvm_open_path(paths->kvm, &kvm, &err) < 0) {
		check_explain(check_add(report, GROUP_KVM, "open", CHECK_FATAL,
				      "%s", err.text),
			"everything", "no guest can run");
		return;
	}
	check_explain(
		check_add(report, GROUP_KVM, "open", CHECK_OK,
			"%s, API version %d", paths->kvm, KVM_API_VERSION),
		"everything", "no guest can run");
	ran = check_native_measure(&kvm, &native, &err) == 0;
	if (ran)
		add_native(report, &native);
	else
		check_explain(check_add(report, GROUP_KVM, "scratch VM",
				      CHECK_FATAL, "%s", err.text),
			"a few instructions are run to see whether it works",
			"no guest can run");
	gather_caps(report, &kvm);
	if (ran)
		add_clock(report, &native);
	kvm_close(&kvm);
}

void check_gather(
	const struct check_paths *paths, struct check_report *ret_report)
{
	struct check_paths usual = {.kvm = NULL};

	if (paths)
		usual = *paths;
	if (!usual.kvm)
		usual.kvm = "/dev/kvm";
	if (!usual.userfaultfd)
		usual.userfaultfd = "/dev/userfaultfd";
	if (!usual.tun)
		usual.tun = "/dev/net/tun";
	ret_report->items = 0;
	ret_report->can_run = true;
	ret_report->native = ret_report->native_known = false;
	ret_report->guest_mips = 0;
	gather_kvm(&usual, ret_report);
	check_host_gather(&usual, ret_report);
}

static void print_verdict(const struct check_report *report, FILE *out)
{
	unsigned i;

	if (report->can_run && report->native)
		fprintf(out, "\nA guest can run here, stock kernels too.\n");
	else if (report->can_run)
		fprintf(out,
			"\nA guest can run here, but guest kernel code is "
			"emulated, about %.0f MIPS:\n"
			"stock kernels will not boot here.\n",
			report->guest_mips);
	else
		fprintf(out, "\nNo guest can run here:\n");
	for (i = 0; i < report->items; i++)
		if (report->item[i].grade == CHECK_FATAL)
			fprintf(out, "  %s: %s\n", report->item[i].name,
				report->item[i].value);
}

int check_print_text(const struct check_report *report, FILE *out)
{
	const struct check_item *item = report->item;
	const char *group = "";
	unsigned i;

	fprintf(out, "godwit %s\n", GODWIT_VERSION);
	for (i = 0; i < report->items; i++, item++) {
		if (strcmp(item->group, group) != 0)
			fprintf(out, "\n%s\n", item->group);
		group = item->group;
		fprintf(out, "  %-8s %-26s %s\n", grade_words[item->grade],
			item->name, item->value);
		fprintf(out, "  %-8s   for: %s\n", "", item->why);
		/* The heading of the required ones has said it for all. */
		if (item->lost[0] != '\0' && strcmp(group, GROUP_NEED) != 0)
			fprintf(out, "  %-8s   without: %s\n", "", item->lost);
	}
	print_verdict(report, out);
	return fflush(out) == EOF || ferror(out) ? -EIO : 0;
}

int check_print_json(const struct check_report *report, FILE *out)
{
	const struct check_item *item = report->item;
	json_t *root, *items = json_array();
	unsigned i;
	int ret = 0;

	for (i = 0; i < report->items; i++, item++)
		if (json_array_append_new(items,
			    json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "group",
				    item->group, "name", item->name, "grade",
				    grade_words[item->grade], "value",
				    item->value, "why", item->why, "lost",
				    item->lost)) < 0)
			ret = -ENOMEM;
	root = json_pack("{s:s, s:b, s:o, s:f, s:o}", "version", GODWIT_VERSION,
		"can_run", report->can_run, "stock_kernels",
		report->native_known ? json_boolean(report->native)
				     : json_null(),
		"guest_kernel_mips", report->guest_mips, "items", items);
	if (!root)
		return -ENOMEM;
	if (ret == 0 && (json_dumpf(root, out,
				 JSON_INDENT(2) | JSON_REAL_PRECISION(4)) < 0 ||
				fputc('\n', out) == EOF || fflush(out) == EOF))
		ret = -EIO;
	json_decref(root);
	return ret;
}
