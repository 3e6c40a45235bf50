/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test_kvm.c - opening KVM where there is none, the capability
 * table, and the vCPU limits.  What a real KVM says is tests/kvm/test_check.c.
 */
#include "tests/lib/testing.h"

#include <errno.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/error.h"
#include "vmm/kvm.h"

static void an_absent_kvm_is_named_with_the_remedy(void **state)
{
	struct kvm kvm = {.fd = 77};
	struct error err = {0};

	assert_int_equal(
		kvm_open_path("/nonexistent/kvm", &kvm, &err), -ENOENT);
	assert_string_equal(err.text,
		"/nonexistent/kvm: open: No such file or directory (load "
		"kvm_intel or kvm_amd, or enable virtualisation in the "
		"firmware)");
	assert_int_equal(kvm.fd, 77); /* untouched */
}

static void a_kvm_that_may_not_be_opened_names_the_group(void **state)
{
	struct error err = {0};
	struct kvm kvm;
	char path[] = "/tmp/godwit-kvm-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0), 0);
	if (geteuid() == 0 && seteuid(65534) < 0) {
		unlink(path);
		close(fd);
		print_message("# skip: cannot give up root\n");
		skip();
	}
	assert_int_equal(kvm_open_path(path, &kvm, &err), -EACCES);
	assert_int_equal(seteuid(getuid()), 0);
	unlink(path);
	close(fd);
	assert_non_null(strstr(err.text,
		": Permission denied (add the user to group kvm, or run as "
		"root)"));
}

static void a_file_that_is_not_kvm_is_refused_and_closed(void **state)
{
	int before = testing_fd_count();
	struct error err = {0};
	struct kvm kvm;

	assert_int_equal(kvm_open_path("/dev/null", &kvm, &err), -ENOTTY);
	assert_non_null(strstr(err.text, "/dev/null: this is not KVM"));
	assert_int_equal(testing_fd_count(), before);
}

static void a_used_up_fd_limit_is_named_with_the_remedy(void **state)
{
	struct rlimit old, none;
	struct error err = {0};
	struct kvm kvm;
	int ret;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	ret = kvm_open_path("/dev/null", &kvm, &err);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(ret, -EMFILE);
	assert_non_null(strstr(
		err.text, "Too many open files (raise the limit: ulimit -n"));
}

static void closing_twice_closes_once(void **state)
{
	int before = testing_fd_count();
	struct kvm kvm = {.fd = dup(0)};

	kvm_close(&kvm);
	assert_int_equal(kvm.fd, -1);
	kvm_close(&kvm);
	assert_int_equal(testing_fd_count(), before);
}

/* A pipe stands for a VM: its reader sees the end once the last reference to
 * the writing side is gone, whoever held it. */
static void closing_a_vm_drops_the_last_reference_in_the_end(void **state)
{
	struct pollfd end;
	int fds[2], before = testing_fd_count();

	assert_int_equal(pipe(fds), 0);
	kvm_close_vm(fds[1]);
	end = (struct pollfd){.fd = fds[0], .events = POLLIN};
	assert_int_equal(poll(&end, 1, 60000), 1);
	assert_true(end.revents & POLLHUP);
	close(fds[0]);
	assert_int_equal(testing_fd_count(), before);
}

static void every_capability_says_why_and_what_is_lost(void **state)
{
	const struct kvm_cap *cap = kvm_cap_table();
	unsigned i, k, required = 0;

	for (i = 0; i < KVM_CAPS_COUNT; i++) {
		assert_non_null(cap[i].name);
		assert_true(cap[i].minimum >= 1);
		assert_true(strlen(cap[i].why) > 5);
		assert_true(strlen(cap[i].lost) > 5);
		required += cap[i].required;
		for (k = 0; k < i; k++) {
			assert_string_not_equal(cap[k].name, cap[i].name);
			assert_int_not_equal(cap[k].number, cap[i].number);
		}
	}
	assert_true(required > 5 && required < KVM_CAPS_COUNT);
	assert_int_equal(
		cap[KVM_HAS_DIRTY_RING].number, KVM_CAP_DIRTY_LOG_RING);
	assert_int_equal(cap[KVM_HAS_IRQCHIP].number, KVM_CAP_IRQCHIP);
}

/* All there, at the least value that will do. */
static void fill(struct kvm_caps *caps)
{
	unsigned i;

	memset(caps, 0, sizeof(*caps));
	for (i = 0; i < KVM_CAPS_COUNT; i++)
		caps->value[i] = kvm_cap_table()[i].minimum;
}

static void a_missing_required_capability_is_named_an_optional_one_not(
	void **state)
{
	const struct kvm_cap *cap = kvm_cap_table();
	struct kvm_caps caps;
	struct error err;
	unsigned i;

	fill(&caps);
	assert_int_equal(kvm_caps_missing(&caps, &err), 0);
	for (i = 0; i < KVM_CAPS_COUNT; i++) {
		fill(&caps);
		caps.value[i] = cap[i].minimum - 1;
		assert_false(kvm_caps_has(&caps, i));
		memset(&err, 0, sizeof(err));
		if (!cap[i].required) {
			assert_int_equal(kvm_caps_missing(&caps, &err), 0);
			continue;
		}
		assert_int_equal(kvm_caps_missing(&caps, &err), -ENOTSUP);
		assert_non_null(strstr(err.text, cap[i].name));
		assert_non_null(strstr(err.text, cap[i].why));
	}
}

static void too_many_vcpus_are_refused_by_count_and_id(void **state)
{
	struct kvm_caps caps = {.vcpus_max = 8, .vcpu_id_max = 8};
	struct error err = {0};

	assert_int_equal(kvm_caps_check_vcpus(&caps, 1, &err), 0);
	assert_int_equal(kvm_caps_check_vcpus(&caps, 8, &err), 0);
	assert_int_equal(kvm_caps_check_vcpus(&caps, 0, &err), -EINVAL);
	assert_int_equal(kvm_caps_check_vcpus(&caps, 9, &err), -EINVAL);
	assert_string_equal(err.text,
		"--cpus 9: this KVM takes 8 vCPUs a VM (give 1 to 8)");
	caps.vcpus_max = 64;
	assert_int_equal(kvm_caps_check_vcpus(&caps, 9, &err), -EINVAL);
	assert_string_equal(err.text,
		"--cpus 9: vCPU id 8 is too high, this KVM's ids end at 7 "
		"(give 1 to 8)");
}

static void a_failing_ioctl_gives_its_errno(void **state)
{
	struct kvm_caps caps = {.vcpus_max = 77};
	struct error err = {0};
	int data = 0;

	assert_int_equal(kvm_ioctl(-1, KVM_GET_CLOCK, &data), -EBADF);
	assert_int_equal(kvm_ioctl_num(-1, KVM_CREATE_VM, 0), -EBADF);
	assert_int_equal(kvm_caps_check(-1, &caps, &err), -EBADF);
	assert_non_null(strstr(err.text, "KVM_CHECK_EXTENSION"));
	assert_int_equal(caps.vcpus_max, 77); /* untouched */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_absent_kvm_is_named_with_the_remedy),
		cmocka_unit_test(a_kvm_that_may_not_be_opened_names_the_group),
		cmocka_unit_test(a_file_that_is_not_kvm_is_refused_and_closed),
		cmocka_unit_test(a_used_up_fd_limit_is_named_with_the_remedy),
		cmocka_unit_test(closing_twice_closes_once),
		cmocka_unit_test(
			closing_a_vm_drops_the_last_reference_in_the_end),
		cmocka_unit_test(every_capability_says_why_and_what_is_lost),
		cmocka_unit_test(
			a_missing_required_capability_is_named_an_optional_one_not),
		cmocka_unit_test(too_many_vcpus_are_refused_by_count_and_id),
		cmocka_unit_test(a_failing_ioctl_gives_its_errno),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
