/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/kvm/test_check.c - what this host's KVM says of itself, and the scratch
 * guest that measures it.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#include "vmm/check.h"
#include "vmm/check_native.h"
#include "vmm/error.h"
#include "vmm/kvm.h"

static void open_kvm(struct kvm *kvm)
{
	struct error err = {0};

	testing_need_kvm();
	if (kvm_open(kvm, &err) < 0)
		fail_msg("%s", err.text);
}

static void this_kvm_has_all_that_is_required(void **state)
{
	struct kvm_caps dev, caps;
	struct error err = {0};
	struct kvm kvm;
	int vm_fd;

	open_kvm(&kvm);
	assert_true(kvm.vcpu_bytes >= 4096);
	if (kvm_caps_check(kvm.fd, &dev, &err) < 0)
		fail_msg("%s", err.text);
	/* A VM answers too, which is what `godwit run` asks. */
	vm_fd = kvm_ioctl_num(kvm.fd, KVM_CREATE_VM, 0);
	assert_true(vm_fd >= 0);
	if (kvm_caps_check(vm_fd, &caps, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(caps.vcpus_advised >= 1);
	assert_true(caps.vcpus_max >= caps.vcpus_advised);
	assert_true(caps.vcpu_id_max >= caps.vcpus_max);
	assert_true(caps.memslots_max >= 2);
	close(vm_fd);
	kvm_close(&kvm);
}

static void a_vcpu_id_past_the_limit_is_refused_before_kvm_sees_it(void **state)
{
	struct error err = {0};
	struct kvm_caps caps;
	struct kvm kvm;
	int vm_fd;

	open_kvm(&kvm);
	vm_fd = kvm_ioctl_num(kvm.fd, KVM_CREATE_VM, 0);
	assert_true(vm_fd >= 0);
	assert_int_equal(kvm_caps_check(vm_fd, &caps, &err), 0);
	assert_int_equal(kvm_caps_check_vcpus(&caps, caps.vcpus_max, &err), 0);
	assert_int_equal(
		kvm_caps_check_vcpus(&caps, caps.vcpus_max + 1, &err), -EINVAL);
	/* And KVM would have refused that id, so the limit is the true one. */
	assert_int_equal(
		kvm_ioctl_num(vm_fd, KVM_CREATE_VCPU, caps.vcpu_id_max),
		-EINVAL);
	close(vm_fd);
	kvm_close(&kvm);
}

static void the_scratch_guest_counts_and_leaves_nothing_behind(void **state)
{
	struct check_native native = {0};
	struct error err = {0};
	struct kvm kvm;
	int before;

	open_kvm(&kvm);
	before = testing_fd_count();
	if (check_native_measure(&kvm, &native, &err) < 0)
		fail_msg("%s", err.text);
	print_message("# CPL0: %.1f instructions/us, %s, exit %d ns\n",
		native.instructions_per_us,
		native.native ? "native" : "emulated",
		native.userspace_exit_ns);
	assert_true(native.instructions_per_us > 0.01);
	assert_int_equal(
		native.native, native.instructions_per_us >= CHECK_NATIVE_MIN);
	assert_true(native.userspace_exit_ns > 0);
	assert_int_equal(testing_fd_count(), before);
	kvm_close(&kvm);
}

static void a_kvm_fd_that_is_none_fails_cleanly(void **state)
{
	struct check_native native = {.tsc_khz = 77};
	struct kvm kvm = {.fd = -1, .vcpu_bytes = 4096};
	struct error err = {0};

	assert_int_equal(check_native_measure(&kvm, &native, &err), -EBADF);
	assert_string_equal(
		err.text, "scratch VM: KVM_CREATE_VM: Bad file descriptor");
	assert_int_equal(native.tsc_khz, 77); /* untouched */
}

static void check_says_that_a_guest_can_run_here(void **state)
{
	static struct check_report report;
	unsigned i, required = 0;

	testing_need_kvm();
	check_gather(NULL, &report);
	assert_true(report.can_run);
	assert_true(report.native_known);
	assert_int_equal(report.native, report.guest_mips >= CHECK_NATIVE_MIN);
	assert_true(report.items < CHECK_ITEMS_MAX); /* none was dropped */
	for (i = 0; i < report.items; i++)
		required += strstr(report.item[i].group, "required") != NULL;
	assert_true(required > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(this_kvm_has_all_that_is_required),
		cmocka_unit_test(
			a_vcpu_id_past_the_limit_is_refused_before_kvm_sees_it),
		cmocka_unit_test(
			the_scratch_guest_counts_and_leaves_nothing_behind),
		cmocka_unit_test(a_kvm_fd_that_is_none_fails_cleanly),
		cmocka_unit_test(check_says_that_a_guest_can_run_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
